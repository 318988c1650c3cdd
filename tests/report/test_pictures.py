"""The picture is drawn for whatever was replayed, also where there is nothing to draw."""

from __future__ import annotations

import numpy as np
import pytest
from results import mode_result, replay_result
from tiny import tiny_recording

from pymigrate._core import lib
from pymigrate.replaying import ReplayResult

pytest.importorskip("matplotlib")

from pymigrate.report.pictures import OCCUPANTS, draw_comparison, draw_replay, map_colours

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "result",
    [
        replay_result(mode_result("simulate", off=2)),
        replay_result(mode_result("simulate", off=2), mode_result("reconstruct")),
        replay_result(mode_result("simulate", samples=False)),
        replay_result(),
    ],
    ids=["simulate", "both", "no samples", "nothing"],
)
def test_every_result_can_be_drawn(result: ReplayResult) -> None:
    data = draw_replay(tiny_recording(), result)
    assert data.startswith(PNG)
    assert len(data) > 4000


@pytest.mark.parametrize(("form", "magic"), [("png", PNG), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_formats_and_same_result_same_bytes(form: str, magic: bytes) -> None:
    result = replay_result(mode_result("simulate", off=2))
    first, second = (draw_replay(tiny_recording(), result, form) for _ in range(2))
    assert first.startswith(magic)
    assert first == second


def test_a_comparison_can_be_drawn() -> None:
    a = replay_result(mode_result("simulate"))
    b = replay_result(mode_result("simulate", off=2), **{f"setting_{n}": 1 << 20 for n in range(20)})
    assert draw_comparison(tiny_recording(), a, b).startswith(PNG)


def test_every_occupant_has_a_colour_of_its_own() -> None:
    assert sorted(occupant for occupant, _, _ in OCCUPANTS) == list(range(lib.PM_NR_OCCUPANTS))
    pure = map_colours(np.eye(lib.PM_NR_OCCUPANTS, dtype=np.uint32))
    assert len({tuple(colour) for colour in pure.round(3)}) == lib.PM_NR_OCCUPANTS
    assert pure.min() >= 0
    assert pure.max() <= 1


def test_a_part_without_frames_is_as_if_absent() -> None:
    none = np.zeros((2, lib.PM_NR_OCCUPANTS), np.uint32)
    absent = none.copy()
    absent[:, lib.PM_OCC_ABSENT] = 9
    assert np.array_equal(map_colours(none), map_colours(absent))
