"""The parts of a replay: scores, frames, ticks, policies."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymigrate._core import lib
from pymigrate.errors import ArgumentError
from pymigrate.replaying import Policy, score
from pymigrate.replaying.frames import aligned_blocks, expand
from pymigrate.replaying.policy import KEYS
from pymigrate.replaying.scores import free_frames, large_blocks, unusable_index

MODULES = ("frames", "scores", "ticks", "start", "policy", "fidelity")


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
