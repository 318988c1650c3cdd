"""The parts of a replay: scores, frames, ticks, policies."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_recording

from pymigrate._core import lib
from pymigrate.errors import ArgumentError
from pymigrate.replaying import Policy, score
from pymigrate.replaying.frames import aligned_blocks, expand
from pymigrate.replaying.policy import KEYS
from pymigrate.replaying.scores import free_frames, large_blocks, unusable_index
from pymigrate.replaying.ticks import SECOND_NS, cpu_ticks, reclaim_spans, seen_ticks

MODULES = ("frames", "scores", "ticks", "start", "policy")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"pymigrate.replaying.{name}")).failed == 0


# ---- scores ----


def blocks(**counts: int) -> np.ndarray:
    row = np.zeros(lib.PM_NR_ORDERS, np.int64)
    for order, count in counts.items():
        row[int(order[1:])] = count
    return row


def test_scores_are_those_worked_out_by_hand() -> None:
    kernel = np.array([[blocks(o0=100, o9=1)], [blocks(o0=24, o10=1)]])
    ours = np.array([[blocks(o0=112, o9=1)], [blocks(o0=24, o9=1)]])
    assert free_frames(kernel).tolist() == [[612], [1048]]
    assert large_blocks(kernel).tolist() == [[1], [2]]
    found = score(ours, kernel)
    assert found.samples == 2
    assert found.free_error_mean == pytest.approx((12 / 612 + 512 / 1048) / 2)
    assert found.free_error_worst == pytest.approx(512 / 1048)
    assert found.blocks9_error_mean == pytest.approx((0 + 1 / 2) / 2)
    apart = [abs(112 / 624 - 100 / 612), abs(24 / 536 - 24 / 1048)]
    assert found.unusable9_error_mean == pytest.approx(sum(apart) / 2)


def test_zones_are_summed_before_they_are_compared() -> None:
    kernel = np.array([[blocks(o0=5), blocks(o3=1)]])
    ours = np.array([[blocks(o3=1), blocks(o0=5)]])
    assert score(ours, kernel).free_error_worst == 0
    assert score(ours, kernel).unusable4_error_mean == 0


def test_nothing_free_is_wholly_unusable() -> None:
    assert unusable_index(blocks(), 4) == 1.0


@pytest.mark.parametrize("shape", [(2, 1, 11), (0, 1, 11)])
def test_what_cannot_be_compared_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"compare|no counter samples"):
        score(np.zeros(shape, np.int64), np.zeros((0, 1, 11), np.int64))


# ---- frames ----


@given(st.lists(st.booleans(), max_size=300), st.integers(0, 3000))
def test_aligned_blocks_are_the_free_frames_merged_as_far_as_they_can(flags: list[bool], first: int) -> None:
    free = np.array(flags, np.bool_)
    pfn, order = aligned_blocks(free, first)
    found = set(zip(pfn.tolist(), order.tolist(), strict=True))
    covered = [frame for head, o in found for frame in range(head, head + (1 << o))]
    assert sorted(covered) == [first + i for i, flag in enumerate(flags) if flag]
    for head, o in found:
        assert head % (1 << o) == 0
        assert o == lib.PM_MAX_ORDER or (head ^ (1 << o), o) not in found
    assert pfn.tolist() == sorted(pfn.tolist())


def test_expand_names_every_frame_of_every_block() -> None:
    frames, which = expand(np.array([8, 3]), np.array([2, 0]))
    assert frames.tolist() == [8, 9, 10, 11, 3]
    assert which.tolist() == [0, 0, 0, 0, 1]


# ---- ticks ----


def test_ticks_are_a_second_apart_and_seen_ones_win() -> None:
    seen = np.array([2 * SECOND_NS + 50_000_000, 5 * SECOND_NS + 400_000_000])
    ticks = cpu_ticks(seen, SECOND_NS // 2, 6 * SECOND_NS, phase=0)
    assert (ticks / SECOND_NS).tolist() == [1.0, 2.05, 3.0, 4.0, 5.0, 6.0]


def test_a_burst_of_drains_without_a_free_is_a_tick() -> None:
    events = tiny_recording().events
    kind, tid, cpu = events.kind.copy(), events.tid.copy(), events.cpu.copy()
    kind[10:13] = lib.PM_EV_PCPU_DRAIN  # after an ALLOC of thread 1
    tid[10:13] = 9
    kind[20], kind[21] = lib.PM_EV_FREE, lib.PM_EV_PCPU_DRAIN  # a drain that a free caused
    changed = events.with_columns(kind=kind, tid=tid)
    assert seen_ticks(changed, 0).tolist() == [int(events.time_ns[10])]
    cpu[:] = 1
    assert len(seen_ticks(changed.with_columns(cpu=cpu), 0)) == 0


def test_reclaim_lasts_from_the_wake_up_to_the_threads_last_event() -> None:
    recording = tiny_recording()
    events = recording.events
    kind, tid = events.kind.copy(), events.tid.copy()
    kind[[5, 30]] = lib.PM_EV_KSWAPD_WAKE
    tid[[5, 8, 30]] = 45
    changed = type(recording)(**{**vars(recording), "events": events.with_columns(kind=kind, tid=tid)})
    begin, end = reclaim_spans(changed, 0)
    assert begin.tolist() == [int(events.time_ns[5]), int(events.time_ns[30])]
    assert end.tolist() == [int(events.time_ns[8]), int(events.time_ns[30])]


# ---- policies ----


def test_words_become_settings() -> None:
    assert Policy.from_words(["pcp=0", "min_free_kbytes=0x400"]).settings == {"pcp": 0, "min_free_kbytes": 1024}


@pytest.mark.parametrize("word", ["pcp", "pcp=", "=1", "pcp=yes", "no_such=1", "pcp=2", "decay=-1"])
def test_bad_words_say_what_is_allowed(word: str) -> None:
    with pytest.raises(ArgumentError, match=r"KEY|setting"):
        Policy.from_words([word])


def test_every_key_has_a_range_and_a_meaning() -> None:
    for key, (low, high, meaning) in KEYS.items():
        assert low < high, key
        assert meaning, key
    with pytest.raises(ArgumentError, match="policy"):
        Policy(name="best")
