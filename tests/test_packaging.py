"""The build tells a person what to do, and the binding says exactly what the header says."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pymigrate import _ffi_build
from pymigrate._core import lib

ROOT = Path(__file__).resolve().parent.parent


def test_without_a_compiler_the_error_says_what_to_install(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path)]
    environment = {**os.environ, "CC": "nonexistent-compiler", "PYMIGRATE_FLAVOUR": "release"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "'nonexistent-compiler' was not found" in done.stderr
    assert "apt-get install gcc" in done.stderr
    assert "dnf install gcc" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_flavour_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYMIGRATE_FLAVOUR", "fast")
    with pytest.raises(ValueError, match="expected one of release, debug, asan"):
        _ffi_build.make_builder()


def test_the_binding_is_what_stands_between_the_markers() -> None:
    header = """int hidden(void);
    /* BINDING-BEGIN */
    #define PM_BIG 0xffffffffu ///< too big for an enumerator
    PM_API PM_NODISCARD int pm_shown(void);
    /* BINDING-END */
    int hidden_too(void);"""
    text = _ffi_build.binding_text(header.replace("    ", ""))
    assert "pm_shown" in text
    assert "#define PM_BIG ...\n" in text
    assert "hidden" not in text
    assert "PM_API" not in text


@pytest.mark.parametrize("header", ["", "/* BINDING-BEGIN */\n#ifdef X\n/* BINDING-END */"])
def test_a_header_that_cannot_be_bound_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match=r"pymigrate\.h"):
        _ffi_build.binding_text(header)


def test_constants_come_from_the_header() -> None:
    assert (lib.PM_PAGE_SIZE, lib.PM_NR_ORDERS, lib.PM_PAGEBLOCK_NR_PAGES) == (4096, 11, 512)
    assert lib.PM_NO_PFN32 == 0xFFFFFFFF


def test_the_package_is_typed_and_asks_for_little() -> None:
    required = metadata.requires("pymigrate") or []
    run_time = {line.split(">")[0].split("~")[0].strip() for line in required if "extra ==" not in line}
    assert run_time == {"cffi", "click", "numpy", "rich"}
    assert (Path(_ffi_build.__file__).parent / "py.typed").exists()
