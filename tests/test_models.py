"""The Promela models: what a user of the two protocols relies on holds, and the check would notice if it did not."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
RUNNER = ROOT / "tools" / "models.py"
SOURCES = sorted((ROOT / "models").glob("*.pml"))

needs_spin = pytest.mark.skipif(
    shutil.which("spin") is None or shutil.which("gcc") is None,
    reason="the models need spin: apt-get install spin gcc",
)


@pytest.fixture(scope="module")
def models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("models_runner", RUNNER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(RUNNER), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@needs_spin
@pytest.mark.parametrize(
    "word", ["entry:PIN", "entry:PROTECT", "entry:REMAP", "entry:LIVE", "swap_cache:PROTECT", "swap_cache:TOUCH"]
)
def test_a_small_configuration_holds_and_its_planted_bugs_do_not(word: str) -> None:
    done = run(word)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"^{word} +\d+ +[\d.]+  holds$", done.stdout, re.MULTILINE)


@needs_spin
@pytest.mark.parametrize(
    "word",
    [
        "entry:BASIC:BUG_LATE_QUEUE",
        "entry:BASIC:BUG_WAKE_ONE",
        "entry:FORK:BUG_CHILD_FIRST",
        "swap_cache:BASIC:BUG_WAKE_ONE",
        "swap_cache:REFAULT:BUG_WAITS_FOR_ENTRIES",
        "swap_cache:SWAPIN:BUG_SLOT_STILL_NAMED",
    ],
)
def test_a_planted_bug_is_found(word: str) -> None:
    done = run(word)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WRONG" not in done.stdout


@needs_spin
def test_a_model_in_which_nothing_migrates_is_refused(models: ModuleType, tmp_path: Path) -> None:
    """A protocol that never succeeds breaks no rule: it must not pass for that."""
    for command in (
        ["spin", "-a", "-DPIN", "-DTRIES=0", str(ROOT / "models" / "entry.pml")],
        ["gcc", "-O0", "-w", "-DSAFETY", "-o", "pan", "pan.c"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    text = subprocess.run(["./pan", "-m10000"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    problem = models.judge(models.Run("entry", "PIN"), text, trail=False)[2]
    assert problem == "no migration succeeds in this configuration"


def test_a_planted_bug_that_passes_is_refused(models: ModuleType) -> None:
    text = "State-vector 92 byte, depth reached 98, errors: 0\n    13562 states, stored\n"
    planted = models.Run("entry", "PIN", "BUG_X")
    assert models.judge(planted, text, trail=False)[2] == "the planted bug was not found"
    assert models.judge(models.Run("entry", "PIN"), text, trail=False)[2] == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "error: max search depth too small\nState-vector 92 byte, depth reached 99, errors: 0\n  135 states, stored\n",
        "Warning: Search not completed\nState-vector 92 byte, depth reached 99, errors: 0\n  135 states, stored\n",
        "pan:1: invalid end state (at depth 9)\nState-vector 92 byte, depth reached 9, errors: 1\n  9 states, stored\n",
    ],
)
def test_a_search_that_failed_or_did_not_end_is_refused(models: ModuleType, text: str) -> None:
    assert models.judge(models.Run("entry", "PIN"), text, trail="pan:1" in text)[2]


def test_every_bug_in_the_sources_is_run_and_every_run_is_in_the_document(models: ModuleType) -> None:
    """A bug that no run plants, or a run that plants one that is not there, would go unnoticed."""
    planted = {name for path in SOURCES for name in re.findall(r"\bBUG_[A-Z_]*[A-Z]\b", path.read_text("utf-8"))}
    assert {bug for bugs in models.BUGS.values() for bug in bugs} == planted
    assert all(len(bugs) >= 6 for bugs in models.BUGS.values())
    document = (ROOT / "docs" / "MODELS.md").read_text("utf-8")
    names = planted | {name for names in models.CONFIGURATIONS.values() for name in names}
    assert not [name for name in names if f"`{name}`" not in document]
    for model, bugs in models.BUGS.items():
        assert set(bugs.values()) <= set(models.CONFIGURATIONS[model])


def test_a_name_that_is_none_is_an_error() -> None:
    done = run("entry:PINS")
    assert done.returncode == 2
    assert "'entry:PINS'" in done.stderr


def test_without_spin_it_says_what_to_install(tmp_path: Path) -> None:
    done = run("entry:PIN", PATH=str(tmp_path))
    assert done.returncode == 2
    assert "apt-get install spin gcc" in done.stderr
