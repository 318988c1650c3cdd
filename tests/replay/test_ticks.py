"""The background of a simulation: when timers ran, when and where kswapd was at work, when reclaim drained lists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tiny import FRAMES, MS, tiny_recording

from pymigrate._core import lib
from pymigrate.recording import Recording, ZoneSpan
from pymigrate.replaying.ticks import (
    SECOND_NS,
    cpu_ticks,
    reclaim_drains,
    reclaim_spans,
    seen_ticks,
    tick_runs,
    vmstat_ticks,
)

TIMER, TASK, COMPACTOR = 9, 1, 35


def changed(**columns: dict[int, int]) -> Recording:
    """The tiny recording with some elements of its columns replaced."""
    recording = tiny_recording()
    arrays = {name: getattr(recording.events, name).copy() for name in columns}
    for name, values in columns.items():
        arrays[name][list(values)] = list(values.values())
    return replace(recording, events=recording.events.with_columns(**arrays))


def drains(where: range, tid: int) -> dict[str, dict[int, int]]:
    return {"kind": dict.fromkeys(where, lib.PM_EV_PCPU_DRAIN), "tid": dict.fromkeys(where, tid)}


def clock(recording: Recording, event: int) -> int:
    return int(recording.events.time_ns[event])


# ---- timers ----


def test_ticks_are_a_second_apart_and_seen_ones_win() -> None:
    seen = np.array([2 * SECOND_NS + 50_000_000, 5 * SECOND_NS + 400_000_000])
    ticks, was_seen = cpu_ticks(seen, SECOND_NS // 2, 6 * SECOND_NS, phase=0)
    assert was_seen.tolist() == [False, True, False, False, False]
    assert (ticks / SECOND_NS).tolist() == [1.05, 2.05, 3.05, 4.05, 5.05]


def test_a_second_without_a_burst_is_as_late_as_those_at_its_place() -> None:
    # 250 jiffies a second, 8 to a grain: 32, 24, 16 and 8 ms late in turn.
    late = (32, 24, 16, 8)
    points = np.array([second * SECOND_NS + late[second % 4] * MS for second in range(1, 9)])
    ticks, was_seen = cpu_ticks(points[:5], SECOND_NS // 2, 8 * SECOND_NS + SECOND_NS // 2, phase=0)
    assert ticks.tolist() == points.tolist()
    assert was_seen.sum() == 5


def test_a_burst_of_drains_without_a_free_is_a_tick() -> None:
    recording = changed(**drains(range(10, 13), TIMER))
    assert seen_ticks(recording.events, 0).tolist() == [clock(recording, 10)]
    assert len(seen_ticks(recording.events.with_columns(cpu=np.ones(60, np.uint16)), 0)) == 0


def test_a_drain_that_a_free_caused_is_no_tick() -> None:
    caused = changed(kind={20: lib.PM_EV_FREE, 21: lib.PM_EV_PCPU_DRAIN})
    assert len(seen_ticks(caused.events, 0)) == 0


def test_a_free_of_the_timers_own_thread_long_before_is_no_cause() -> None:
    apart = changed(kind={20: lib.PM_EV_FREE, 21: lib.PM_EV_PCPU_DRAIN}, tid={20: TIMER, 21: TIMER})
    late = apart.events.time_ns.copy()
    late[21:] += 100 * MS
    events = apart.events.with_columns(time_ns=late)
    assert seen_ticks(events, 0).tolist() == [int(late[21])]


def test_threads_that_compact_have_no_ticks() -> None:
    columns = drains(range(10, 13), COMPACTOR)
    columns["kind"][40], columns["tid"][40] = lib.PM_EV_COMPACT_BEGIN, COMPACTOR
    assert len(seen_ticks(changed(**columns).events, 0)) == 0


def with_batch(recording: Recording, batch: int) -> Recording:
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
              batch:    {batch}
              high_min: 6
              high_max: 240
  start_pfn:           0
"""
    return replace(recording, start={"zoneinfo": text})


def test_a_burst_beyond_what_one_run_may_drain_is_two() -> None:
    # 3 batches and a frame more a batch, 32 times: one run drains 128 frames at most with a batch of 3.
    columns = drains(range(10, 27), TIMER) | {"order": dict.fromkeys(range(10, 27), 3)}
    columns["pfn"] = {at: 1024 + 8 * at for at in range(10, 27)}
    recording = with_batch(changed(**columns), 3)
    tick = np.array([clock(recording, 10)])
    assert tick_runs(recording, 0, tick).tolist() == [2]
    assert tick_runs(with_batch(recording, 63), 0, tick).tolist() == [1]
    times, kinds, cpus = vmstat_ticks(recording, 500 * MS)
    assert times.tolist() == [clock(recording, 10)] * 2
    assert kinds.tolist() == [lib.PM_TICK_DECAY] * 2
    assert cpus.tolist() == [0, 0]


# ---- reclaim ----


def test_reclaim_lasts_from_the_wake_up_to_the_threads_last_event() -> None:
    recording = changed(kind=dict.fromkeys((5, 30), lib.PM_EV_KSWAPD_WAKE), tid=dict.fromkeys((5, 8, 30), 45))
    begin, end, highest = reclaim_spans(recording, 0)
    assert begin.tolist() == [clock(recording, 5), clock(recording, 30)]
    assert end.tolist() == [clock(recording, 8), clock(recording, 30)]
    assert highest.tolist() == [0, 0]


def two_zones(recording: Recording) -> Recording:
    half = FRAMES // 2
    zones = (ZoneSpan(name="DMA32", start_pfn=0, spanned=half), ZoneSpan(name="Normal", start_pfn=half, spanned=half))
    host = recording.host | {"zones": [vars(zone) for zone in zones]}
    return replace(recording, host=host)


def test_a_boost_wakes_reclaim_for_its_own_zone_only() -> None:
    columns = {
        "kind": {4: lib.PM_EV_EXTFRAG, 5: lib.PM_EV_WAKEUP_KSWAPD, 6: lib.PM_EV_KSWAPD_WAKE},
        "order": {5: 0, 6: 0},
        "gfp": {5: 0},
        "pfn": {4: 512},
        "tid": {6: 45},
    }
    assert reclaim_spans(two_zones(changed(**columns)), 0)[2].tolist() == [0]
    # The fallback was in the upper zone; or somebody asked who may use all zones; or for a larger block.
    assert reclaim_spans(two_zones(changed(**columns | {"pfn": {4: FRAMES - 512}})), 0)[2].tolist() == [1]
    assert reclaim_spans(two_zones(changed(**columns | {"gfp": {5: lib.PM_GFP_IO}})), 0)[2].tolist() == [1]
    assert reclaim_spans(two_zones(changed(**columns | {"order": {5: 0, 6: 9}})), 0)[2].tolist() == [1]


def test_a_request_that_reclaim_did_not_help_drains_all_lists() -> None:
    columns = drains(range(12, 20), TASK)
    columns["kind"] |= {10: lib.PM_EV_DIRECT_RECLAIM_BEGIN, 11: lib.PM_EV_COMPACT_SUITABLE}
    recording = changed(**columns)
    times, _ = reclaim_drains(recording, 0)
    assert times.tolist() == [clock(recording, 12)]
    assert len(reclaim_drains(recording, clock(recording, 12))[0]) == 0
    columns["kind"][11] = lib.PM_EV_FREE
    assert len(reclaim_drains(changed(**columns), 0)[0]) == 0
