"""What the layout of the C core promises: order of folders, no hidden state, a header that stands alone.

Someone who embeds the core relies on it: two machines in one process share nothing, and the core is silent and
repeatable because it asks neither the clock nor the environment.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
# A file includes from its own folder and from those before it.
FOLDERS = ("include", "base", "phys", "virt", "back", "move", "replay", "embed", "sched", "tests")
CORE_FOLDERS = FOLDERS[1:8]
LINES_MAX = 600
FORBIDDEN_CALLS = {
    "time", "clock", "gettimeofday", "clock_gettime", "rand", "srand", "random", "srandom", "rand_r", "drand48",
    "getrandom", "getentropy", "arc4random", "getenv", "secure_getenv", "setenv", "strtok", "localtime", "gmtime",
}  # fmt: skip

CC = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
CXX = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
NM = shutil.which("nm")
needs_compiler = pytest.mark.skipif(CC is None or NM is None, reason="no C compiler or no nm here")


def core_sources() -> list[Path]:
    return [path for folder in CORE_FOLDERS for path in sorted((CSRC / folder).glob("*.c"))]


def project_includes(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.MULTILINE)


def include_faults(folder: str, name: str, includes: list[str]) -> list[str]:
    faults = []
    for include in includes:
        source = FOLDERS[0] if include == "pymigrate.h" else include.partition("/")[0] if "/" in include else folder
        if source not in FOLDERS:
            faults.append(f"{folder}/{name} includes {include!r}: no such folder")
        elif FOLDERS.index(source) > FOLDERS.index(folder):
            faults.append(f"{folder}/{name} includes {include!r}, which is below it")
    return faults


def test_a_folder_includes_only_itself_and_those_above() -> None:
    faults = []
    for folder in FOLDERS:
        for path in sorted((CSRC / folder).rglob("*.[ch]")):
            faults += include_faults(folder, path.name, project_includes(path))
    assert not faults, "\n".join(faults)


def test_the_order_check_sees_an_include_from_below() -> None:
    assert include_faults("base", "x.c", ["base/lock.h", "pymigrate.h", "x.h"]) == []
    assert len(include_faults("base", "x.c", ["phys/zone.h", "nowhere/y.h"])) == 2


def test_the_core_includes_no_c_file() -> None:
    faults = [f"{path.name}: {i}" for path in CSRC.rglob("*.[ch]") for i in project_includes(path) if i.endswith(".c")]
    assert not faults


def test_files_fit_in_a_head() -> None:
    folders = (CSRC, ROOT / "pymigrate", ROOT / "benchmarks", ROOT / "tests", ROOT / "tools")
    sources = [path for folder in folders for suffix in ("*.c", "*.h", "*.py") for path in folder.rglob(suffix)]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources}
    # The public header is one file by design: an embedder copies it, and the binding reads it. A build copies it, too.
    lengths = {path: n for path, n in lengths.items() if path.name != "pymigrate.h"}
    faults = [f"{path.relative_to(ROOT)}: {n} lines" for path, n in sorted(lengths.items()) if n > LINES_MAX]
    assert not faults, "\n".join(faults)


@pytest.fixture(scope="session")
def core_symbols(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    """The symbols of each core object in the release flavour: (nm's letter, name)."""
    assert CC is not None
    assert NM is not None
    out = tmp_path_factory.mktemp("objects")
    sources = core_sources()
    # Without -fPIC a constant table of pointers lands in .rodata, where nm can tell it from data that changes.
    command = [
        CC,
        "-std=c11",
        "-O1",
        "-D_GNU_SOURCE",
        "-pthread",
        "-fno-pic",
        f"-I{CSRC}",
        f"-I{CSRC / 'include'}",
        "-c",
    ]
    symbols = {}
    for source in sources:
        name = source.relative_to(CSRC).as_posix()
        target = out / f"{source.parent.name}_{source.stem}.o"
        subprocess.run([*command, str(source), "-o", str(target)], check=True)
        lines = subprocess.run([NM, str(target)], check=True, capture_output=True, text=True).stdout.splitlines()
        symbols[name] = [(fields[-2], fields[-1]) for fields in map(str.split, lines) if len(fields) >= 2]
    assert symbols, "the core has no sources"
    return symbols


@needs_compiler
def test_no_mutable_globals(core_symbols: dict[str, list[tuple[str, str]]]) -> None:
    faults = [f"{file}: {name}" for file, found in core_symbols.items() for kind, name in found if kind in "DdBbCGgSs"]
    assert not faults, "state outside a struct pm_machine:\n" + "\n".join(faults)


@needs_compiler
def test_the_core_asks_neither_clock_nor_environment(core_symbols: dict[str, list[tuple[str, str]]]) -> None:
    faults = [
        f"{file}: {name}"
        for file, found in core_symbols.items()
        for kind, name in found
        if kind == "U" and name.lstrip("_").removesuffix("_chk") in FORBIDDEN_CALLS
    ]
    assert not faults, "\n".join(faults)


@needs_compiler
def test_every_linked_name_is_ours(core_symbols: dict[str, list[tuple[str, str]]]) -> None:
    faults = [
        f"{file}: {name}"
        for file, found in core_symbols.items()
        for kind, name in found
        if kind in "TDBRVWC" and not name.startswith("pm_")
    ]
    assert not faults, "\n".join(faults)


@needs_compiler
def test_the_header_defines_what_it_declares(core_symbols: dict[str, list[tuple[str, str]]]) -> None:
    header = (CSRC / "include" / "pymigrate.h").read_text(encoding="utf-8")
    declared = set(re.findall(r"^\s*PM_API\b[^;{]*?\b(pm_\w+)\s*\(", header, re.MULTILINE))
    defined = {name for found in core_symbols.values() for kind, name in found if kind == "T"}
    assert declared
    assert not declared - defined, "declared in pymigrate.h, defined nowhere"


@needs_compiler
@pytest.mark.parametrize("language", ["c11", "c++17"])
def test_the_public_header_stands_alone(tmp_path: Path, language: str) -> None:
    compiler = CC if language == "c11" else CXX
    if compiler is None:
        pytest.skip("no C++ compiler here")
    source = tmp_path / ("alone.c" if language == "c11" else "alone.cc")
    source.write_text('#include "pymigrate.h"\n#include "pymigrate.h"\nint main(void) { return (int)PM_OK; }\n')
    flags = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", f"-I{CSRC / 'include'}"]
    done = subprocess.run(
        [compiler, f"-std={language}", *flags, str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@needs_compiler
def test_private_headers_stand_alone(tmp_path: Path) -> None:
    assert CC is not None
    faults = []
    for folder in CORE_FOLDERS:
        for header in sorted((CSRC / folder).glob("*.h")):
            source = tmp_path / "alone.c"
            source.write_text(f'#include "{folder}/{header.name}"\n')
            command = [
                CC,
                "-std=c11",
                "-D_GNU_SOURCE",
                "-fsyntax-only",
                f"-I{CSRC}",
                f"-I{CSRC / 'include'}",
                str(source),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                faults.append(f"{folder}/{header.name}:\n{done.stderr}")
    assert not faults, "\n".join(faults)
