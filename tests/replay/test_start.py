"""What a start state tells of pageblocks that no list of the zone names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tiny import FRAMES, tiny_recording

from pymigrate._core import lib
from pymigrate.replaying import Policy
from pymigrate.replaying.simulate import build_machine
from pymigrate.replaying.start import _fitting, start_state


def test_a_frame_freed_and_handed_out_again_tells_its_pageblocks_type() -> None:
    recording = tiny_recording()
    events = recording.events
    columns = {name: getattr(events, name).copy() for name in ("kind", "pfn", "order", "migratetype", "allocation")}
    # After the 40 requests: frame 6000 is freed, and a Reclaimable request gets it.
    for at, kind, migratetype in ((41, lib.PM_EV_FREE, -1), (42, lib.PM_EV_ALLOC, lib.PM_MT_RECLAIMABLE)):
        columns["kind"][at], columns["pfn"][at], columns["order"][at] = kind, 6000, 0
        columns["migratetype"][at] = migratetype
    changed = type(recording)(**{**vars(recording), "events": events.with_columns(**columns)})
    assert start_state(recording).pageblock_types[6000 >> 9] == lib.PM_MT_MOVABLE
    assert start_state(changed).pageblock_types[6000 >> 9] == lib.PM_MT_RECLAIMABLE
    assert start_state(changed, settings={"start_types": 0}).pageblock_types[6000 >> 9] == lib.PM_MT_MOVABLE


def test_guessed_types_add_up_to_the_totals() -> None:
    free = np.array([[3, 0], [1, 1], [2, 2], [5, 1], [0, 0]])
    ranked = np.arange(5)
    # The likeliest two that fit are 0 and 1; only 1 and 2 add up.
    assert sorted(_fitting(ranked, free, np.array([3, 3]), 2).tolist()) == [1, 2]
    # Where nothing fits, rank decides.
    assert _fitting(ranked[3:4], free, np.array([0, 0]), 1).tolist() == [3]
    assert _fitting(ranked, free, np.array([9, 9]), 0).tolist() == []


def test_the_first_refill_tells_how_far_refills_are_scaled() -> None:
    recording = tiny_recording()
    events = recording.events
    text = f"""Node 0, zone    DMA32
  pages free     16384
        min      10
        low      13
        high     16
        spanned  {FRAMES}
        present  {FRAMES}
        managed  {FRAMES}
  pagesets
    cpu: 0
              count:    0
              high:     0
              batch:    2
              high_min: 6
              high_max: 240
  start_pfn:           0
"""

    def scale(size: int, *, freed_first: bool = False) -> int:
        columns = {name: getattr(events, name).copy() for name in ("kind", "order", "arg0")}
        if freed_first:
            columns["kind"][0], columns["order"][0] = lib.PM_EV_FREE, 0
        columns["kind"][1 : 1 + size], columns["order"][1 : 1 + size] = lib.PM_EV_ZONE_LOCKED, 0
        columns["arg0"][1 : 1 + size] = 1
        changed = replace(recording, events=events.with_columns(**columns), start={"zoneinfo": text})
        return int(start_state(changed).alloc_factor[0, 0])

    assert [scale(size) for size in (2, 4, 8, 7)] == [0, 1, 2, 2]
    # What was freed before halved it, we do not know from what.
    assert scale(2, freed_first=True) == lib.PM_PCP_SCALE_MAX
    assert int(start_state(recording).alloc_factor[0, 0]) == lib.PM_PCP_SCALE_MAX


def test_lists_of_the_start_can_be_left_in_order_of_address() -> None:
    recording = tiny_recording()
    by_use, by_address = start_state(recording), start_state(recording, settings={"start_order": 0})
    assert sorted(by_use.blocks.pfn.tolist()) == by_address.blocks.pfn.tolist()
    build_machine(recording, by_address, Policy()).validate()
