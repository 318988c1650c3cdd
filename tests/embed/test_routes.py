"""The three routes into another program work as their pages say: vendored, linked, and inside a Python process.

Each example in examples/ is compiled with warnings as errors, as an embedder with strict habits would, and run.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import pymigrate
from pymigrate import _ffi_build
from pymigrate.errors import StateError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
sys.path.insert(0, str(ROOT))

from tools import amalgamate  # noqa: E402

CC = shutil.which("cc") or shutil.which("gcc")
CXX = shutil.which("c++") or shutil.which("g++")
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Werror"]
needs_cc = pytest.mark.skipif(CC is None, reason="no C compiler")
needs_cxx = pytest.mark.skipif(CXX is None, reason="no C++ compiler")
RELEASE = os.environ.get("PYMIGRATE_TEST_FLAVOUR", "release") == "release"
needs_libraries = pytest.mark.skipif(not RELEASE, reason="only the release flavour brings libraries to link with")


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    words = [str(word) for word in command]
    env = {**os.environ, **environment}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


def config(*options: str) -> list[str]:
    return run(sys.executable, "-m", "pymigrate.embedding", *options).split()


# ---- vendored ----


@pytest.fixture(scope="module")
def vendored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vendored")
    amalgamate.write(folder)
    shutil.copy(EXAMPLES / "vendored" / "main.c", folder)
    return folder


@needs_cc
@pytest.mark.parametrize("compiler", ["gcc", "clang-19"])
def test_vendored_two_files_and_a_compiler_are_enough(vendored: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    program = vendored / f"main-{compiler}"
    run(compiler, "-std=c11", "-O1", "-pthread", *WARNINGS, "main.c", "pymigrate.c", "-o", program, cwd=vendored)
    # The same frames from every compiler and on every machine.
    assert run(program) == ("199952 hits, 48 first touches, 200000 accesses to huge pages, hash 671ce9c50e1a4461\n")


def test_a_table_of_a_structure_without_a_name_has_its_own_name_alone() -> None:
    text = "static const struct {\n\tint a;\n} table[2] = { { 1 } };\nstatic int f(void) { return 1; }\n"
    assert amalgamate.file_names(text) == {"table", "f"}


def test_the_amalgamation_holds_all_of_the_core(vendored: Path) -> None:
    assert amalgamate.FOLDERS == _ffi_build.FOLDERS
    text = (vendored / "pymigrate.c").read_text("utf-8")
    parts = re.findall(r"^/\* ---- (\w+/\S+) ---- \*/$", text, re.MULTILINE)
    assert set(_ffi_build.core_files(".c")) <= {f"csrc/{name}" for name in parts}
    assert len(parts) == len(set(parts))


def test_names_that_two_files_share_are_told_apart() -> None:
    text = "static int put(struct s *s)\n{\n\treturn s->put + s.put; /* put */\n}\n"
    text += "enum { A, B = (1, 2), C };\n#define D 1\n"
    assert amalgamate.file_names(text) == {"put", "A", "B", "C", "D"}
    renamed = amalgamate.rename(text, {"put": "x__put"})
    assert "static int x__put(struct s *s)" in renamed
    assert "return s->put + s.put; /* put */" in renamed


# ---- linked ----


@needs_libraries
@needs_cxx
@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_linked_by_pymigrate_config(tmp_path: Path, static: bool) -> None:
    assert CXX is not None
    words = config("--cflags", "--libs", *(["--static"] if static else []))
    program = tmp_path / "main"
    run(CXX, "-std=c++17", *WARNINGS, EXAMPLES / "linked" / "main.cpp", *words, "-o", program)
    assert "first touch: frame" in run(program)


@needs_libraries
@needs_cxx
@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="no pkg-config")
def test_linked_by_pkg_config(tmp_path: Path) -> None:
    assert CXX is not None
    path = {"PKG_CONFIG_PATH": pymigrate.get_pkgconfig_dir()}
    words = run("pkg-config", "--cflags", "--libs", "pymigrate", **path).split()
    run(CXX, "-std=c++17", EXAMPLES / "linked" / "main.cpp", *words, "-o", tmp_path / "main")
    assert "first touch: frame" in run(tmp_path / "main")
    assert run("pkg-config", "--modversion", "pymigrate", **path).strip() == pymigrate.__version__


@needs_libraries
@needs_cxx
@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")
def test_linked_by_cmake(tmp_path: Path) -> None:
    folder = f"-Dpymigrate_DIR={pymigrate.get_cmake_dir()}"
    run("cmake", "-S", EXAMPLES / "linked", "-B", tmp_path, folder)
    run("cmake", "--build", tmp_path)
    for program in ("main", "main_static"):
        assert "first touch: frame" in run(tmp_path / program)


@needs_libraries
@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm")
def test_the_shared_library_exports_the_header_and_nothing_else() -> None:
    library = Path(pymigrate.get_library_dir()) / "libpymigrate.so"
    header = (Path(pymigrate.get_include()) / "pymigrate.h").read_text("utf-8")
    exported = {line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()}
    assert exported == set(re.findall(r"^PM_API\b[^;{]*?\b(pm_\w+)\s*\(", header, re.MULTILINE))


@needs_libraries
def test_the_header_beside_the_libraries_is_the_one_they_were_built_with() -> None:
    assert (Path(pymigrate.get_include()) / "pymigrate.h").read_bytes() == _ffi_build.HEADER.read_bytes()


def test_all_files_that_name_a_version_name_this_one() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    folder = ROOT / "pymigrate" / "lib"
    assert f"Version: {version}\n" in (folder / "pkgconfig" / "pymigrate.pc").read_text("utf-8")
    cmake = (folder / "cmake" / "pymigrate" / "pymigrate-config-version.cmake").read_text("utf-8")
    assert f'set(PACKAGE_VERSION "{version}")' in cmake


def test_build_systems_find_the_pkg_config_folder_by_its_entry_point() -> None:
    (entry,) = metadata.entry_points(group="pkg_config", name="pymigrate")
    folder = ROOT.joinpath(*entry.value.split("."))
    assert folder.resolve() == Path(pymigrate.get_pkgconfig_dir()).resolve() or not RELEASE


def test_a_copy_without_libraries_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pymigrate.embedding._PACKAGE", tmp_path)
    with pytest.raises(StateError, match="built without the libraries"):
        pymigrate.get_library_dir()
    with pytest.raises(StateError, match="built without the libraries"):
        pymigrate.get_include()


def test_static_without_libs_is_refused() -> None:
    command = [sys.executable, "-m", "pymigrate.embedding", "--static"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--static says which library --libs names" in done.stderr


# ---- inside a Python process ----


@needs_cc
def test_an_extension_takes_functions_and_a_machine_from_capsules(tmp_path: Path) -> None:
    import sysconfig

    assert CC is not None
    include = f"-I{EXAMPLES.parent / 'csrc' / 'include'}"
    python = f"-I{sysconfig.get_path('include')}"
    flags = ["-std=c11", "-O1", "-shared", "-fPIC", *WARNINGS, "-Wno-missing-field-initializers", python, include]
    run(CC, *flags, EXAMPLES / "extension" / "hostsim.c", "-o", tmp_path / "hostsim.so")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    out = run(sys.executable, EXAMPLES / "extension" / "run.py", PYTHONPATH=path)
    # 2048 pages from a multiple of 2 MiB on: four huge pages.
    assert out == "2048 pages by 4 first touches, then 0; frames: the same\n"


# As of PM_ABI 1.0. Add new members behind these, and raise PM_ABI_MINOR.
FIRST_MEMBERS = """
abi bytes status_text settings_default machine_create machine_shut machine_destroy machine_validate
nr_zones nr_cpus nr_frames zone_info free_blocks frame_info counters fragmentation_index alloc free
alloc_bulk free_bulk drain memory_options_default memory_enable clock_now tick
notify_options_default notify space_create space_fork space_exit map unmap protect translate touch
lookup read write rmap page_info owner_create owner_destroy owner_alloc owner_free owner_frame
swap_on reclaim migrate
"""


def test_the_table_only_ever_grows_at_its_end() -> None:
    """An extension that was compiled against an older header finds every member where it was."""
    from pymigrate import _core
    from pymigrate._core import ffi, lib

    members = [name for name, _ in ffi.typeof("struct pm_api").fields]
    first = FIRST_MEMBERS.split()
    assert members[: len(first)] == first
    assert len(members) == len(first) or lib.PM_ABI_MINOR > 0
    table = lib.pm_api()
    assert (table.abi, table.bytes) == (lib.pm_abi_version(), ffi.sizeof("struct pm_api"))
    symbols = ctypes.CDLL(_core.__file__)
    for name in members[2:]:
        namesake = ctypes.cast(getattr(symbols, f"pm_{name}"), ctypes.c_void_p).value
        assert int(ffi.cast("uintptr_t", getattr(table, name))) == namesake, name


def test_a_closed_machine_has_no_capsule() -> None:
    from pymigrate.capi import machine_capsule

    machine = pymigrate.Machine.from_size("16M")
    capsule = machine_capsule(machine)
    assert "pymigrate.machine" in repr(capsule)
    machine.close()
    with pytest.raises(pymigrate.ClosedError):
        machine_capsule(machine)


# ---- adapters ----


@pytest.fixture(scope="module")
def adapters_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if CXX is None or not RELEASE:
        pytest.skip("no C++ compiler, or no libraries")
    program = tmp_path_factory.mktemp("adapters") / "driver"
    words = config("--cflags", "--libs")
    run(CXX, "-std=c++17", "-O1", *WARNINGS, EXAMPLES / "adapters" / "driver.cpp", *words, "-o", program)
    return program


@pytest.mark.parametrize("seed", range(1, 7))
def test_no_two_live_pages_share_a_frame_behind_the_adapters(adapters_driver: Path, seed: int) -> None:
    out = run(adapters_driver, str(seed), "40000")
    match = re.search(r"40000 accesses, (\d+) pages moved: no two live pages on one frame", out)
    assert match
    assert int(match[1]) > 100
