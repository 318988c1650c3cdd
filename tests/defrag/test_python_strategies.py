"""Strategies from outside: the example of the documentation, registered as a package would, and bad ones."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from snapshot_pictures import random_words, recording_of, write_case

from pymigrate import Machine
from pymigrate.cli import run
from pymigrate.defrag import bound, load_memory, look, run_strategy, strategy_names
from pymigrate.errors import ArgumentError, PymigrateError, StateError

DOCS = Path(__file__).resolve().parents[2] / "docs" / "DEFRAGMENTATION.md"


def example() -> str:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    found = [block for block in blocks if "def moves" in block]
    assert len(found) == 1
    return found[0]


def register(folder: Path, name: str, source: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What installing a package does: a module, and a dist-info folder with its entry point."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pymigrate.strategies]\n{target}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)


def test_the_example_of_the_docs_is_short_and_works(tmp_path, monkeypatch, capsys):
    source = example()
    assert len(source.splitlines()) < 30
    register(tmp_path, "emptiest_strategy", source, "emptiest = emptiest_strategy:Emptiest", monkeypatch)
    assert "emptiest" in strategy_names()
    case = write_case(tmp_path / "case", random_words(16 * 512, seed=7, full=0.4, unmovable=0.0005))
    assert run(["compact", str(case), "--strategy", "emptiest", "--strategy", "planner", "--figures"]) == 0
    out = capsys.readouterr().out
    figures = {row[1]: float(row[2]) for row in map(str.split, out.splitlines()) if row and row[0] == "figure"}
    gained = figures["emptiest.blocks.after"] - figures["emptiest.blocks.before"]
    # It takes single holes only, so it falls short of the best; but it moves no more than it has to.
    assert 0 < gained <= figures["planner.blocks.after"] - figures["planner.blocks.before"]
    assert figures["emptiest.moved"] == figures["emptiest.moved.minimum"]
    assert run(["compact", str(case), "--strategy", "emptiest", "--blocks", "2", "--figures"]) == 0
    assert "figure emptiest.blocks.after 2 " in capsys.readouterr().out


@pytest.fixture
def machine():
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_memory(recording_of("aa.. .... .u".replace("u", "s") + ".. ....", Path(folder) / "s"))
    with loaded:
        yield loaded.machine


class Fixed:
    """Moves what it was told."""

    def __init__(self, first, to):
        self.answer = first, to

    def moves(self, memory):
        return self.answer


def test_views_are_the_cores_own_tables(machine):
    memory = look(machine, order=2, blocks=1)
    assert len(memory.frames) == len(memory.pages) == machine.nr_frames
    assert not memory.frames.flags.writeable
    assert not memory.pages.flags.writeable
    before = int(memory.pages["references"][0])
    assert before == machine.page_info(0).references == 1
    run_strategy(machine, Fixed([0], [8]), order=2)
    # What is seen changes with the machine: nothing was copied.
    assert memory.pages["references"][8] == 1
    assert memory.frames["word"][8] >> 8 == 4


def test_what_cannot_move_is_counted_by_why(machine):
    result = run_strategy(machine, Fixed([0, 1, 9, 3], [8, 9, 10, 11]), order=2)
    assert result.moved == 1
    assert result.failed == {"no destination": 1, "not movable": 2}
    assert result.strategy == "Fixed"
    machine.validate()


def test_moves_in_many_calls_are_added_up():
    with (
        tempfile.TemporaryDirectory() as folder,
        load_memory(recording_of(random_words(1 << 18, seed=2, full=0.5), Path(folder) / "s")) as loaded,
    ):
        machine = loaded.machine
        word = look(machine).frames["word"]
        pages = np.flatnonzero(word >> 8 == 4)
        holes = np.flatnonzero((word >> 8 == 1) & (word & 15 == 0))
        n = min(len(pages), len(holes), 60000)
        result = run_strategy(machine, Fixed(pages[:n], holes[-n:]), order=9)
        assert result.moved + sum(result.failed.values()) == n
        assert result.moved == n
        machine.validate()


def test_blocks_before_and_after_are_of_the_order(machine):
    before = bound(machine, order=2)
    result = run_strategy(machine, Fixed([0, 1], [8, 10]), order=2)
    assert (result.blocks_before, result.blocks_after) == (before.blocks, before.blocks + 1)


def test_bad_strategies_are_named(machine, tmp_path, monkeypatch):
    with pytest.raises(ArgumentError, match="2 blocks move, and 1"):
        run_strategy(machine, Fixed([0, 1], [8]), order=2)
    with pytest.raises(ArgumentError, match="fit uint64"):
        run_strategy(machine, Fixed([-1], [8]), order=2)
    with pytest.raises(ArgumentError, match="order is"):
        run_strategy(machine, Fixed([], []), order=99)
    with Machine.from_size("8M") as plain, pytest.raises(StateError, match="no owners"):
        run_strategy(plain, Fixed([], []))
    source = "class Mute:\n    pass\nclass Broken:\n    def __init__(self):\n        raise RuntimeError('not today')\n"
    register(
        tmp_path, "bad_strategies", source, "mute = bad_strategies:Mute\nbroken = bad_strategies:Broken", monkeypatch
    )
    from pymigrate.defrag import load_strategy

    with pytest.raises(PymigrateError, match="has no method moves"):
        load_strategy("mute")
    with pytest.raises(PymigrateError, match="not today"):
        load_strategy("broken")
    with pytest.raises(ArgumentError, match="no package registers"):
        load_strategy("unheard-of")
