"""The header that embedders compile against: clean in C and C++, every call described, nothing else exported."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from pymigrate import _core
from pymigrate._core import lib

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "csrc" / "include" / "pymigrate.h"

COMPILERS = [
    pytest.param(name, standard, id=f"{name}-{standard}", marks=pytest.mark.skipif(not shutil.which(name), reason=name))
    for name, standard in (("gcc", "c11"), ("clang-19", "c11"), ("g++", "c++17"), ("clang++-19", "c++17"))
]


def declared_functions(header: str) -> set[str]:
    return set(re.findall(r"^PM_API\b[^;{]*?\b(pm_\w+)\s*\(", header, re.MULTILINE))


def undocumented(header: str) -> list[str]:
    """The PM_API declarations without a `///` comment right above, or a `///<` behind."""
    faults = []
    lines = header.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("PM_API"):
            continue
        end = next(i for i in range(number, len(lines)) if ";" in lines[i])
        if not lines[number - 1].strip().startswith("///") and "///<" not in lines[end]:
            faults.append(f"pymigrate.h:{number + 1}: {line}")
    return faults


@pytest.mark.parametrize(("compiler", "standard"), COMPILERS)
def test_the_header_is_clean_in_c_and_cpp(compiler: str, standard: str, tmp_path: Path) -> None:
    source = tmp_path / ("uses.cc" if standard.startswith("c++") else "uses.c")
    source.write_text('#include "pymigrate.h"\nint main(void) { return pm_abi_version() == PM_ABI_VERSION ? 0 : 1; }\n')
    flags = ["-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wshadow", "-Werror", f"-I{HEADER.parent}"]
    done = subprocess.run(
        [compiler, f"-std={standard}", *flags, "-fsyntax-only", str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_files_of_build_systems_name_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    folder = ROOT / "pymigrate" / "lib"
    assert f"\nVersion: {version}\n" in (folder / "pkgconfig" / "pymigrate.pc").read_text("utf-8")
    cmake = (folder / "cmake" / "pymigrate" / "pymigrate-config-version.cmake").read_text("utf-8")
    assert f'set(PACKAGE_VERSION "{version}")' in cmake


def test_every_function_has_a_comment() -> None:
    assert not undocumented(HEADER.read_text("utf-8"))


def test_a_function_without_a_comment_is_seen() -> None:
    header = "/// What it does.\nPM_API int pm_a(void);\nPM_API int pm_b(void);\nPM_API int pm_c(void); ///< this too\n"
    assert undocumented(header) == ["pymigrate.h:3: PM_API int pm_b(void);"]


def test_the_library_says_which_interface_it_has() -> None:
    assert lib.pm_abi_version() == lib.PM_ABI_MAJOR << 16 | lib.PM_ABI_MINOR == lib.PM_ABI_VERSION


@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm")
def test_the_extension_exports_what_the_header_declares_and_nothing_else() -> None:
    out = subprocess.run(["nm", "-D", "--defined-only", _core.__file__], check=True, capture_output=True, text=True)
    exported = {line.split()[-1] for line in out.stdout.splitlines()}
    # A sanitizer's or a profiler's build adds names of its own.
    ours = {name for name in exported if not name.startswith(("_", "lprof", "asan."))}
    assert ours - {"PyInit__core"} == declared_functions(HEADER.read_text("utf-8"))


@pytest.mark.skipif(shutil.which("doxygen") is None, reason="no doxygen")
def test_the_reference_renders_without_a_warning(tmp_path: Path) -> None:
    settings = (ROOT / "docs" / "Doxyfile").read_text("utf-8") + f"\nOUTPUT_DIRECTORY = {tmp_path}\n"
    done = subprocess.run(
        ["doxygen", "-"], input=settings, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "html" / "pymigrate_8h.html").read_text("utf-8")
    assert "pm_abi_version" in page
    assert "Version of the binary interface" in page
