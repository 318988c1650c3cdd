"""One command for each job of a developer: `python tools/job.py JOB …`; without arguments it lists them.

Each job runs with the Python that runs this script, from any folder, and stops at the first failure. Sanitizers of the
extension module are built beside the sources, in build/py-FLAVOUR: the installed package stays what it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
JOBS: dict[str, Callable[[], None]] = {}


def job(function: Callable[[], None]) -> Callable[[], None]:
    """Registers a job under its name, with dashes for underscores."""
    JOBS[function.__name__.strip("_").replace("_", "-")] = function
    return function


def run(*command: str | Path, **environment: str) -> None:
    """Runs a command in the root folder; ends this program with its exit code if that is not 0."""
    words = [str(word) for word in command]
    shown = [f"{key}={value}" for key, value in environment.items()] + words
    print("+", " ".join(shown), flush=True)
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **environment}, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode if done.returncode > 0 else 1)


def make(*words: str) -> None:
    """Runs csrc/Makefile."""
    run("make", "--no-print-directory", "-s", f"-j{os.cpu_count() or 1}", "-C", "csrc", *words)


def clang() -> str:
    """Returns clang's name, or ends with what to install."""
    found = shutil.which("clang-19") or shutil.which("clang")
    if found is None:
        sys.exit("this job needs clang: apt-get install clang-19 libclang-rt-19-dev llvm-19")
    return found


def build_flavour(flavour: str) -> Path:
    """Builds the package with its extension in a flavour, outside the source tree.

    Returns:
        A folder for PYTHONPATH.
    """
    out = BUILD / f"py-{flavour}"
    compiler = clang()
    # A stale module would be tested instead of the source.
    shutil.rmtree(out / "lib", ignore_errors=True)
    run(
        *(sys.executable, "setup.py", "-q", "build", "--build-base", out, "--build-lib", out / "lib"),
        PYMIGRATE_FLAVOUR=flavour,
        CC=compiler,
        LDSHARED=f"{compiler} -shared",
    )
    return out / "lib"


def runtime(name: str) -> str:
    """Returns the path of clang's shared sanitizer runtime."""
    for file_name in (f"libclang_rt.{name}-{os.uname().machine}.so", f"libclang_rt.{name}.so"):
        done = subprocess.run([clang(), f"-print-file-name={file_name}"], capture_output=True, text=True, check=True)
        path = Path(done.stdout.strip())
        if path.is_absolute() and path.exists():
            return str(path.resolve())
    sys.exit(f"clang has no shared {name} runtime: apt-get install libclang-rt-19-dev")


def setarch() -> list[str]:
    """Returns the words that switch address randomisation off, where that is allowed."""
    words = ["setarch", "-R"]
    if shutil.which("setarch") is None or subprocess.run([*words, "true"], check=False).returncode != 0:
        return []
    return words


def pytest_under(flavour: str, sanitizer: str, marker: str, **environment: str) -> None:
    """Runs the marked tests against a sanitizer build of the extension."""
    folder = build_flavour(flavour)
    settings = {"PYTHONPATH": str(folder), "PYTHONMALLOC": "malloc", "LD_PRELOAD": runtime(sanitizer), **environment}
    words = [f"{key}={value}" for key, value in settings.items()]
    run(
        *setarch(),
        *("env", *words),
        # -P: the source folder must not come before PYTHONPATH.
        *(sys.executable, "-P", "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", "-m", marker),
        PYMIGRATE_TEST_FLAVOUR=flavour,
    )


@job
def lint() -> None:
    """Ruff: lint and format, nothing is changed."""
    run(sys.executable, "-m", "ruff", "check", ".")
    run(sys.executable, "-m", "ruff", "format", "--check", ".")


@job
def fmt() -> None:
    """Ruff: fix and format in place."""
    run(sys.executable, "-m", "ruff", "check", "--fix", ".")
    run(sys.executable, "-m", "ruff", "format", ".")


@job
def types() -> None:
    """Mypy, strict."""
    run(sys.executable, "-m", "mypy")


@job
def build() -> None:
    """Build the extension module in place, for an editable install."""
    run(sys.executable, "setup.py", "-q", "build_ext", "--inplace")


@job
def tests() -> None:
    """All Python tests."""
    run(sys.executable, "-m", "pytest", "-n", "auto")


@job
def ctest() -> None:
    """C unit tests, release flavour."""
    make("test", "FLAVOUR=release")


@job
def asan() -> None:
    """C unit tests under AddressSanitizer and UBSan."""
    make("test", "FLAVOUR=asan")


@job
def tsan() -> None:
    """C unit tests under ThreadSanitizer."""
    make("test", "FLAVOUR=tsan")


@job
def msan() -> None:
    """C unit tests under MemorySanitizer."""
    make("test", "FLAVOUR=msan")


@job
def constants() -> None:
    """C unit tests of the allocator with other constants of the build: orders, pageblocks, page size."""
    make("constants")


@job
def thread_safety() -> None:
    """Clang's lock analysis of the core."""
    make("thread-safety")


@job
def models() -> None:
    """The Promela models of two protocols, checked with spin; and that planted bugs are found."""
    run(sys.executable, "tools/models.py")


@job
def fuzz() -> None:
    """Fuzz the parsers and operation sequences for FUZZ_SECONDS (60) in all."""
    make("fuzz", f"FUZZ_SECONDS={os.environ.get('FUZZ_SECONDS', '60')}")


@job
def py_asan() -> None:
    """Python tests marked `asan`, the core under AddressSanitizer and UBSan."""
    # The interpreter and numpy keep memory until the end on purpose: leaks of the core are the C tests' business.
    pytest_under("asan", "asan", "asan", ASAN_OPTIONS="detect_leaks=0", UBSAN_OPTIONS="print_stacktrace=1")


@job
def py_tsan() -> None:
    """Python tests marked `asan`, the core under ThreadSanitizer."""
    pytest_under("tsan", "tsan", "asan", TSAN_OPTIONS="halt_on_error=1 exitcode=66")


@job
def coverage() -> None:
    """Line coverage of the C core, by its unit tests and by the Python tests that are not slow (in COVERAGE_TESTS)."""
    folder = build_flavour("coverage")
    profiles = BUILD / "py-coverage" / "profile"
    shutil.rmtree(profiles, ignore_errors=True)
    run(
        *(sys.executable, "-P", "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", "-m", "not slow"),
        *os.environ.get("COVERAGE_TESTS", "tests").split(),
        PYTHONPATH=str(folder),
        LLVM_PROFILE_FILE=str(profiles / "%p-%m.profraw"),
        PYMIGRATE_TEST_FLAVOUR="coverage",
    )
    make(
        "coverage",
        f"EXTRA_OBJECTS={folder / 'pymigrate' / '_core.abi3.so'}",
        f"EXTRA_PROFILES={' '.join(str(path) for path in sorted(profiles.glob('*.profraw')))}",
    )


@job
def bench() -> None:
    """The allocator's benchmark, with figures."""
    run(sys.executable, "-m", "benchmarks.alloc")


@job
def bench_record() -> None:
    """What recording costs, beside perf record; as root."""
    run(sys.executable, "-m", "benchmarks.record")


@job
def explore() -> None:
    """The schedule search for EXPLORE_BUDGET (60s), and every planted bug, with figures."""
    command = (sys.executable, "-m", "pymigrate", "explore", "--figures", "--budget")
    run(*command, os.environ.get("EXPLORE_BUDGET", "60s"), "--seed", os.environ.get("EXPLORE_SEED", "0"))
    run(*command, "60s", "--planted", "all")


@job
def reference() -> None:
    """The C reference of pymigrate.h, in build/reference/html; needs doxygen."""
    if shutil.which("doxygen") is None:
        sys.exit("this job needs doxygen: apt-get install doxygen")
    BUILD.mkdir(exist_ok=True)
    run("doxygen", "docs/Doxyfile")


@job
def wheel() -> None:
    """The abi3 wheel, in dist/."""
    run(sys.executable, "-m", "build", "--wheel")


def main(names: list[str]) -> None:
    """Runs the named jobs in order."""
    unknown = [name for name in names if name not in JOBS]
    if unknown or not names:
        for name, function in JOBS.items():
            print(f"{name:14s} {(function.__doc__ or '').splitlines()[0]}")
        sys.exit(f"no such job: {', '.join(unknown)}" if unknown else 0)
    for name in names:
        JOBS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
