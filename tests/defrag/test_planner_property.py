"""The planner against brute force: what it moves is the least that any method has to move, on small memories."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshot_pictures import random_words, recording_of

from pymigrate import Machine
from pymigrate.defrag.compare import cheapest
from pymigrate.defrag.load import LoadedMemory, load_memory
from pymigrate.defrag.run import STANDINGS, STRATEGIES, bound, census, compact
from pymigrate.errors import ArgumentError, StateError

ORDER = 2
SIZE = 1 << ORDER


def load(picture: str | np.ndarray) -> LoadedMemory:
    with tempfile.TemporaryDirectory() as folder:
        return load_memory(recording_of(picture, Path(folder) / "s"))


def brute_force(picture: str, size: int) -> dict[int, int]:
    """For each number of free blocks that can be had, the fewest moves: every set of blocks is tried."""
    blocks = [picture[i : i + size] for i in range(0, len(picture), size)]
    good = [block for block in blocks if not set(block) & set("st")]
    best: dict[int, int] = {}
    for k in range(len(good) + 1):
        for chosen in itertools.combinations(range(len(good)), k):
            inside = sum(len(good[i]) - good[i].count(".") for i in chosen)
            free_outside = picture.count(".") - sum(good[i].count(".") for i in chosen)
            if inside <= free_outside:
                best[k] = min(best.get(k, inside), inside)
    return best


single_frames = st.lists(st.text("..aafdms", min_size=SIZE, max_size=SIZE), min_size=2, max_size=8).map("".join)


@given(single_frames, st.data())
def test_the_planner_moves_as_few_frames_as_any_method_could(picture, data):
    best = brute_force(picture, SIZE)
    with load(picture) as loaded:
        machine = loaded.machine
        before = bound(machine, order=ORDER)
        assert before.bound == max(best)
        assert before.minimum == best[max(best)]
        wanted = data.draw(st.none() | st.integers(1, 9), label="wanted")
        result = compact(machine, "planner", order=ORDER, blocks=wanted)
        target = max(best) if wanted is None else min(before.blocks + wanted, max(best))
        assert result.blocks_after == target
        assert result.moved == best[target]
        machine.validate()
        assert bound(machine, order=ORDER).blocks == target
        if loaded.space is not None:
            assert loaded.space.info().present == sum(picture.count(what) for what in "am")


FOLIOS = {1: "..aafst", 2: "22", 4: "4444"}


@st.composite
def with_folios(draw):
    """Frames and folios, each where its size allows."""
    picture = ""
    nr = SIZE * draw(st.integers(2, 10))
    while len(picture) < nr:
        size = draw(st.sampled_from([n for n in FOLIOS if len(picture) % n == 0 and len(picture) + n <= nr]))
        picture += draw(st.sampled_from(FOLIOS[1])) if size == 1 else FOLIOS[size]
    return picture


@given(with_folios(), st.integers(1, 3))
def test_folios_move_whole_or_are_split_and_never_cost_more(picture, order):
    picture += "." * (-len(picture) % (1 << order))
    best = brute_force(picture, 1 << order)
    with load(picture) as loaded:
        result = compact(loaded.machine, "planner", order=order)
        assert result.blocks_after == max(best)
        assert result.moved == best[max(best)]
        loaded.machine.validate()
        stands = census(loaded.machine, order=0).sum(axis=0)
        assert stands[STANDINGS.index("movable")] == sum(picture.count(what) for what in "af24")


@given(with_folios(), st.sampled_from(sorted(STRATEGIES)), st.integers(1, 3))
def test_no_strategy_loses_anything(picture, strategy, order):
    with load(picture) as loaded:
        machine = loaded.machine
        costs = cheapest(census(machine, order=order))
        best = bound(machine, order=order)
        result = compact(machine, strategy, order=order)
        machine.validate()
        assert best.bound >= result.blocks_after
        if result.gained > 0:
            # A block can come free by a move of a folio that stands in several of them.
            assert strategy != "planner" or result.moved >= costs[result.gained]
        if strategy in ("planner", "coalesce-2004"):
            assert result.gained >= 0
        machine.drain()
        after = census(machine, order=0).sum(axis=0)
        with load(picture) as again:
            assert np.array_equal(after, census(again.machine, order=0).sum(axis=0))


@pytest.mark.parametrize("full", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_holes_are_gathered_at_the_least_cost(full, seed):
    with load(random_words(16384, seed=seed, full=full, unmovable=0.001)) as loaded:
        machine = loaded.machine
        before = bound(machine)
        assert before.minimum == cheapest(census(machine))[before.wanted]
        result = compact(machine, "planner")
        assert result.gained == before.wanted
        assert result.moved == before.minimum
        machine.validate()


def test_bad_arguments_are_named():
    with load("aa.. ....") as loaded:
        machine = loaded.machine
        for bad in (
            {"strategy": "hope"},
            {"priority": "now"},
            {"protocol": "none"},
            {"blocks": 0},
            {"order": 11},
            {"zone": 7},
        ):
            with pytest.raises(ArgumentError):
                compact(machine, **{"strategy": "planner", "order": 1, **bad})
        with pytest.raises(ArgumentError):
            census(machine, order=11)
        with pytest.raises(ArgumentError):
            bound(machine, order=11)
        with pytest.raises(ArgumentError, match="zone=7"):
            bound(machine, zone=7)
    with Machine.from_size("8M") as plain:
        with pytest.raises(StateError):
            compact(plain, "planner")
        with pytest.raises(StateError):
            bound(plain)
