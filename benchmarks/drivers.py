"""Builds the C drivers of the benchmarks and talks to them.

A driver is a process that reads one request a line and answers with nanoseconds per operation. All drivers live through
the whole run, so that requests to them can alternate: what slows the machine for a second then slows all of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pymigrate import _ffi_build

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
SOURCES = ROOT / "benchmarks" / "csrc"
# As Debian names them; LD_PRELOAD finds them on the linker's path.
ALLOCATORS = {"mimalloc": "libmimalloc.so.2", "jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}
PACKAGES = {"mimalloc": "libmimalloc-dev", "jemalloc": "libjemalloc-dev", "tcmalloc": "libgoogle-perftools-dev"}


@dataclass(frozen=True)
class Request:
    """One workload with its size: see benchmarks/csrc/workloads.h.

    Attributes:
        name: ``pair``, ``bulk``, ``shuffled``, ``random``, ``mutex`` or ``cas``.
        threads: How many threads, each on a CPU of its own.
        size_bytes: Simulated memory.
        order: Of every block.
        rounds: Operations, or blocks for what fills, for each thread.
        batch: One call with an array, where the target has such a call.
    """

    name: str
    threads: int = 1
    size_bytes: int = 1 << 30
    order: int = 0
    rounds: int = 64
    batch: bool = False


class Driver:
    """A running driver process."""

    def __init__(self, program: Path, preload: str = "") -> None:
        environment = {**os.environ, "LD_PRELOAD": preload} if preload else dict(os.environ)
        self._process = subprocess.Popen(
            [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, request: Request) -> float:
        """Runs a request.

        Returns:
            CPU time per operation in nanoseconds, over all threads.

        Raises:
            RuntimeError: The driver ended; it has said why on standard error.
        """
        r = request
        return self.send(f"{r.name} {r.threads} {r.size_bytes} {r.order} {r.rounds} {int(r.batch)}")

    def send(self, line: str) -> float:
        """Sends one line and returns the first number that the driver answers. Raises as `numbers`."""
        return self.numbers(line)[0]

    def numbers(self, line: str) -> list[float]:
        """Sends one line and returns all numbers that the driver answers.

        Raises:
            RuntimeError: The driver ended; it has said why on standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the benchmark driver ended at {line!r}")
        return [float(word) for word in answer.split()]

    def resident_bytes(self) -> int:
        """Returns what the process has in memory now."""
        fields = Path(f"/proc/{self._process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        """Ends the process. May be called twice."""
        self._process.communicate()


def compile_driver(name: str, *, with_core: bool, flags: list[str]) -> Path:
    """Compiles benchmarks/csrc/`name`.c, with the core's sources where wanted, as the package compiles them.

    Raises:
        SystemExit: There is no C compiler, or it failed; its message was printed.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        sys.exit("the benchmarks need a C compiler: apt-get install gcc")
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / name
    core = [str(ROOT / source) for source in _ffi_build.core_files(".c")] if with_core else []
    words = [*compiler.split(), "-std=c11", "-D_GNU_SOURCE", "-pthread", "-Wall", "-Wextra", *flags]
    words += [
        f"-I{ROOT / 'csrc'}",
        f"-I{ROOT / 'csrc' / 'include'}",
        *core,
        str(SOURCES / f"{name}.c"),
        "-o",
        str(program),
    ]
    if subprocess.run(words, check=False).returncode != 0:
        sys.exit(f"the benchmark driver {name} did not compile")
    return program


def core_driver() -> Driver:
    """Starts the driver of our own core, compiled as the extension module is: position-independent code and -O3."""
    flags, _ = _ffi_build.FLAVOURS["release"]
    return Driver(compile_driver("alloc_core", with_core=True, flags=["-fPIC", *flags]))


def malloc_drivers() -> tuple[dict[str, Driver], list[str]]:
    """Starts one driver for each allocator that is installed.

    Returns:
        The drivers by name, and a line for each allocator that is not there.
    """
    program = compile_driver("alloc_malloc", with_core=False, flags=["-O2", "-fno-builtin"])
    drivers, missing = {}, []
    for name, library in ALLOCATORS.items():
        # The dynamic linker only warns about a library that it cannot preload, so its message is the test.
        environment = {**os.environ, "LD_PRELOAD": library}
        done = subprocess.run(["true"], env=environment, capture_output=True, text=True, check=False)
        if library in done.stderr:
            missing.append(f"{name} is not installed: its figures are skipped (apt-get install {PACKAGES[name]})")
        else:
            drivers[name] = Driver(program, preload=library)
    return drivers, missing
