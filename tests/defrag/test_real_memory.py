"""The snapshots of a real machine, where they are: in PYMIGRATE_DATA, else beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pymigrate.defrag import Kind, compare_strategies, load_memory, prepare, read_source
from pymigrate.defrag.compare import TO_STOP
from pymigrate.defrag.load import FLAGLESS, bound_by_tables
from pymigrate.defrag.run import STANDINGS, census
from pymigrate.recording import flag_bit

DATA = Path(os.environ.get("PYMIGRATE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no snapshots in {DATA}: set PYMIGRATE_DATA")
# Whole blocks that the data's README says are the most that can be gained.
CASES = {"compaction-anon": 3204, "compaction-mixed": 2839, "compaction-pinned": 3768}


@needs_data
@pytest.mark.parametrize(
    "name",
    ["compaction-pinned", *(pytest.param(n, marks=pytest.mark.slow) for n in ("compaction-anon", "compaction-mixed"))],
)
def test_the_planner_gains_what_there_is_at_the_least_cost(name):
    found = compare_strategies(read_source(DATA / name), ["planner"])
    column = found.columns()["planner"]
    assert found.bound - found.blocks == CASES[name]
    assert column.gained >= 0.95 * CASES[name]
    assert column.moved <= 1.1 * column.minimum
    assert found.kernel is not None
    assert found.kernel.blocks_before == found.blocks == column.before


@needs_data
def test_the_bound_is_the_frame_tables_own_whatever_lies_in_lists():
    ready = [prepare(read_source(DATA / "compaction-pinned").recording, flagless=what) for what in FLAGLESS]
    assert [bound_by_tables(one.uses, 9) for one in ready] == [4643 + CASES["compaction-pinned"]] * 2
    # As many frames are in lists as zoneinfo counts.
    assert int((ready[1].uses.kind == Kind.PCP).sum()) == 297034 + 33667 + 24 + 7
    with load_memory(ready[1]) as loaded:
        loaded.machine.validate()


@needs_data
@pytest.mark.parametrize("name", ["compaction-pinned", pytest.param("compaction-mixed", marks=pytest.mark.slow)])
def test_linux_moves_what_the_kernel_moved_up_to_its_stop(name):
    found = compare_strategies(read_source(DATA / name), ["linux"], to_stop=True).columns()
    assert abs(found[TO_STOP].moved - found["kernel"].moved) < 0.15 * found["kernel"].moved


@needs_data
def test_every_frame_of_a_real_machine_finds_its_place():
    source = read_source(DATA / "compaction-mixed")
    ready = prepare(source.recording)
    flags = source.recording.frame_flags
    free, lru, slab = ((flags & flag_bit(name)) != 0 for name in ("BUDDY", "LRU", "SLAB"))
    with load_memory(ready) as loaded:
        loaded.machine.validate()
        counts = census(loaded.machine).sum(axis=0, dtype=np.int64)
        found = dict(zip(STANDINGS, counts.tolist(), strict=True))
        assert found["free"] == int(free.sum())
        movable = sum(found[key] for key in ("movable", "unevictable", "writeback", "locked"))
        assert movable == int((lru & ~slab & ~free).sum())
        assert source.blocks(9) == 1739
