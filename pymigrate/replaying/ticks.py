"""When each CPU's vmstat timer ran, so that its per-CPU lists decay in a simulation when they did in the kernel.

The timer runs once a second, and no event names it. But where it had something to drain, the recording has a burst of
drains by a thread that was not freeing. From those the phase of each timer follows; where none is near a second's
point, the timer is taken to have run there with nothing to do.

The kernel's timer wheel rounds up to its own grain (8 jiffies, or 64), which does not divide a second. So a timer is
late by another amount each second, and the amounts repeat after at most 8 of them, whatever the jiffy. A second without
a burst is taken to be as late as those that stand at its place among the 8; failing such, among 4, 2, or all.

Where a burst drains more than one run may, the timer's work ran twice: the kernel's watcher of idle timers (the vmstat
shepherd) queues it again when it looks while the work runs, for then it is not pending.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pymigrate._core import lib
from pymigrate.recording import Events, Recording
from pymigrate.replaying.frames import is_kind

SECOND_NS = 1_000_000_000
# Drains of one thread that are closer together than this belong to one burst.
BURST_NS = 5_000_000
# How far a burst may be from its second's point and still be the timer's.
NEAR_NS = 60_000_000
# The lateness of a timer repeats after so many seconds, with a grain of 8 or 64 jiffies and 100, 250, 300 or 1000 of
# them a second.
CYCLES = (8, 4, 2, 1)
# A run goes on although other threads drain or preempt it, but not longer than this.
RUN_NS = 40_000_000

# What only a thread that compacts or reclaims does.
COMPACTION_KINDS = (
    lib.PM_EV_ISOLATE_FREE,
    lib.PM_EV_FAST_ISOLATE_FREE,
    lib.PM_EV_ISOLATE_MIGRATE,
    lib.PM_EV_MIGRATE_PAGES,
    lib.PM_EV_COMPACT_BEGIN,
    lib.PM_EV_TRY_TO_COMPACT,
    lib.PM_EV_KSWAPD_WAKE,
    lib.PM_EV_DIRECT_RECLAIM_BEGIN,
)

# What a thread in direct reclaim did last before it drained all CPUs' lists: it began, or looked whether compaction
# could go on.
BEFORE_RECLAIM_DRAIN = (lib.PM_EV_DIRECT_RECLAIM_BEGIN, lib.PM_EV_COMPACT_SUITABLE)

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]


def _compacting_threads(events: Events) -> NDArray[np.uint32]:
    """Threads that compact or reclaim: they drain for other reasons than a timer's."""
    return np.unique(events.tid[is_kind(events.kind, COMPACTION_KINDS)])


def seen_ticks(events: Events, cpu: int) -> I64:
    """Clocks of the bursts of drains on a CPU that no free and no compaction caused, int64 nanoseconds."""
    index = np.flatnonzero(events.cpu == cpu)
    kind, tid = events.kind[index], events.tid[index]
    time_ns = events.time_ns[index].astype(np.int64)
    drain = kind[1:] == lib.PM_EV_PCPU_DRAIN
    same_thread = tid[1:] == tid[:-1]
    follows = same_thread & (np.diff(time_ns) < BURST_NS)
    freeing = follows & ((kind[:-1] == lib.PM_EV_FREE) | (kind[:-1] == lib.PM_EV_FREE_BATCHED))
    in_burst = follows & (kind[:-1] == lib.PM_EV_PCPU_DRAIN)
    found = np.flatnonzero(drain & ~freeing & ~in_burst) + 1
    found = found[~np.isin(tid[found], _compacting_threads(events))]
    ticks: I64 = time_ns[found]
    return ticks


def _phase(ticks: I64) -> int:
    """The point within a second that most ticks are near."""
    points = ticks % SECOND_NS
    apart = np.abs(points[:, None] - points[None, :])
    apart = np.minimum(apart, SECOND_NS - apart)
    best = int(np.argmin(np.median(apart, axis=1)))
    near = apart[best] < NEAR_NS
    offset = (points[near] - points[best] + SECOND_NS // 2) % SECOND_NS - SECOND_NS // 2
    return int((points[best] + int(np.median(offset))) % SECOND_NS)


def _lateness(offsets: I64, numbers: I64, wanted: I64) -> I64:
    """How late each of the `wanted` seconds is, from the `offsets` of the seconds `numbers` whose bursts were seen."""
    result = np.zeros(len(wanted), np.int64)
    for at, second in enumerate(wanted.tolist()):
        for cycle in CYCLES:
            alike = offsets[numbers % cycle == second % cycle]
            if len(alike):
                result[at] = int(np.median(alike))
                break
    return result


def cpu_ticks(seen: I64, first_ns: int, last_ns: int, *, phase: int) -> tuple[I64, Bools]:
    """One tick a second from `first_ns` to `last_ns`: a seen one where one is near the second's point, else a guess.

    Returns:
        The ticks, and which of them were seen. Where none was seen, the timer had nothing to do, or did not run: it
        waits while its CPU sleeps.

    Example:
        >>> second = 1_000_000_000
        >>> seen = np.array([2 * second + 30_000_000, 3 * second + 22_000_000])
        >>> ticks, was_seen = cpu_ticks(seen, second, 6 * second, phase=10_000_000)
        >>> (ticks / 1e9).tolist()
        [1.022, 2.03, 3.022, 4.03, 5.022]
        >>> was_seen.tolist()
        [False, True, True, False, False]
    """
    points = np.arange(first_ns - (first_ns - phase) % SECOND_NS, last_ns + NEAR_NS, SECOND_NS, dtype=np.int64)
    was_seen = np.zeros(len(points), np.bool_)
    if len(seen) and len(points):
        # Every burst has its second, also those before `first_ns`.
        numbers = np.round((seen - phase) / SECOND_NS).astype(np.int64)
        offsets = seen - phase - numbers * SECOND_NS
        near = np.abs(offsets) < NEAR_NS
        nearest = seen[np.abs(points[:, None] - seen[None, :]).argmin(axis=1)]
        guess = points + _lateness(offsets[near], numbers[near], (points - phase) // SECOND_NS)
        was_seen = np.abs(nearest - points) < NEAR_NS
        points = np.where(was_seen, nearest, guess)
    good = (points > first_ns) & (points <= last_ns)
    return points[good], was_seen[good]


def tick_runs(recording: Recording, cpu: int, ticks: I64) -> I64:
    """How often the timer's work ran at each tick of a CPU: once, or again where it drained more than one run may.

    A run drains a batch at a time, at most as many batches as refills may grow to, and each may take a block too much.
    """
    runs = np.ones(len(ticks), np.int64)
    events = recording.events
    low = events.order <= lib.PM_COSTLY_ORDER
    drain = np.flatnonzero((events.cpu == cpu) & (events.kind == lib.PM_EV_PCPU_DRAIN) & low)
    times = events.time_ns[drain].astype(np.int64)
    batches = {info.name: lists.batch for info in recording.zoneinfo for lists in info.pagesets if lists.cpu == cpu}
    for at, tick in enumerate(ticks.tolist()):
        part = drain[slice(*np.searchsorted(times, (tick, tick + RUN_NS)))]
        if not len(part) or int(events.time_ns[part[0]]) != tick:
            continue
        part = part[events.tid[part] == events.tid[part[0]]]
        frames = np.int64(1) << events.order[part].astype(np.int64)
        for span in recording.zones:
            inside = (events.pfn[part] >= span.start_pfn) & (events.pfn[part] < span.start_pfn + span.spanned)
            most = (batches.get(span.name, 0) + 1) << lib.PM_PCP_SCALE_MAX
            if batches.get(span.name, 0) > 1:
                runs[at] = max(runs[at], -(-int(frames[inside].sum()) // most))
    return runs


def vmstat_ticks(recording: Recording, first_ns: int) -> tuple[U64, NDArray[np.uint8], NDArray[np.uint16]]:
    """When the timers run after a moment: clocks in order, kinds (`enum pm_tick`), and the CPU of each.

    Args:
        recording: Whose drains show the timers.
        first_ns: Only ticks after this clock.
    """
    events = recording.events
    if not len(events):
        return np.empty(0, np.uint64), np.empty(0, np.uint8), np.empty(0, np.uint16)
    last_ns = int(events.time_ns[-1])
    seen = [seen_ticks(events, cpu) for cpu in range(recording.cpus)]
    phases = [_phase(ticks) if len(ticks) else None for ticks in seen]
    # A CPU whose timer never had anything to do is taken to tick with another.
    other = next((phase for phase in phases if phase is not None), 0)
    times: list[I64] = []
    kinds: list[U8] = []
    for cpu, (bursts, phase) in enumerate(zip(seen, phases, strict=True)):
        ticks, was_seen = cpu_ticks(bursts, first_ns, last_ns, phase=other if phase is None else phase)
        runs = tick_runs(recording, cpu, ticks)
        times.append(np.repeat(ticks, runs))
        kind = np.where(was_seen, lib.PM_TICK_DECAY, lib.PM_TICK_DECAY_QUIET).astype(np.uint8)
        kinds.append(np.repeat(kind, runs))
    cpus = np.repeat(np.arange(recording.cpus, dtype=np.uint16), [len(part) for part in times])
    clocks = np.concatenate(times)
    order = np.argsort(clocks, kind="stable")
    return clocks[order].astype(np.uint64), np.concatenate(kinds)[order], cpus[order]


def reclaim_spans(recording: Recording, first_ns: int) -> tuple[U64, U64, NDArray[np.uint16]]:
    """When kswapd was at work after a moment: clocks of begin and end, and the index of the highest zone it worked on.

    It begins with its recorded wake-up, and ends with its thread's last event before the next wake-up.
    """
    events = recording.events
    wakes = np.flatnonzero((events.kind == lib.PM_EV_KSWAPD_WAKE) & (events.time_ns > np.uint64(max(first_ns, 0))))
    begin = events.time_ns[wakes]
    end = begin.copy()
    for thread in np.unique(events.tid[wakes]):
        mine = np.flatnonzero(events.tid == thread)
        own = np.flatnonzero(events.tid[wakes] == thread)
        following = np.append(wakes[own][1:], len(events))
        end[own] = events.time_ns[mine[np.searchsorted(mine, following) - 1]]
    return begin, end, _reclaimed_zones(recording, wakes)


def _reclaimed_zones(recording: Recording, wakes: I64) -> NDArray[np.uint16]:
    """The highest zone of each of kswapd's wake-ups: all, but where only boosts of lower zones' watermarks woke it.

    A boost wakes it for order 0 and without flags, on behalf of the zone where the same thread has just fallen back.
    """
    events, zones = recording.events, recording.zones
    last = len(zones) - 1
    highest = np.full(len(wakes), last, np.uint16)
    calls = np.flatnonzero(events.kind == lib.PM_EV_WAKEUP_KSWAPD)
    fallbacks = np.flatnonzero(events.kind == lib.PM_EV_EXTFRAG)
    ends = np.array([span.start_pfn + span.spanned for span in zones], np.int64)
    before = 0
    for at, wake in enumerate(wakes.tolist()):
        mine, before = calls[before : (until := int(np.searchsorted(calls, wake)))], until
        if not len(mine) or events.order[wake] > 0 or events.gfp[mine].any() or events.order[mine].any():
            continue
        asked = [fallbacks[: np.searchsorted(fallbacks, call)] for call in mine]
        own = [part[events.tid[part] == events.tid[call]] for part, call in zip(asked, mine, strict=True)]
        if all(len(part) for part in own):
            pfns = events.pfn[[int(part[-1]) for part in own]].astype(np.int64)
            highest[at] = min(int(np.searchsorted(ends, pfns, side="right").max()), last)
    return highest


def reclaim_drains(recording: Recording, first_ns: int) -> tuple[U64, NDArray[np.uint16]]:
    """When requests that reclaim had not helped enough drained all CPUs' lists after a moment: clocks, and CPUs.

    A thread in direct reclaim drains although it frees nothing just then, and nothing of its compaction is under way:
    the first drain after its reclaim began that follows none of its frees and none of its scans.
    """
    events = recording.events
    direct = np.unique(events.tid[events.kind == lib.PM_EV_DIRECT_RECLAIM_BEGIN])
    index = np.flatnonzero(np.isin(events.tid, direct) & (events.time_ns > np.uint64(max(first_ns, 0))))
    # By thread, each in order of time.
    index = index[np.argsort(events.tid[index], kind="stable")]
    kind, tid = events.kind[index], events.tid[index]
    starts = np.flatnonzero((kind == lib.PM_EV_PCPU_DRAIN) & np.append(True, kind[:-1] != lib.PM_EV_PCPU_DRAIN))
    starts = starts[starts > 0]
    starts = starts[(tid[starts - 1] == tid[starts]) & is_kind(kind[starts - 1], BEFORE_RECLAIM_DRAIN)]
    found = np.sort(index[starts])
    return events.time_ns[found], events.cpu[found]


def background(
    recording: Recording, first_ns: int, *, decay: bool, kswapd: bool, reclaim_drain: bool
) -> tuple[U64, NDArray[np.uint8], NDArray[np.uint16]]:
    """All that happens in the background after a moment, in order: clocks, kinds (`enum pm_tick`), CPUs or zones."""
    ticks, decays, cpus = vmstat_ticks(recording, first_ns if decay else 1 << 62)
    begin, end, highest = reclaim_spans(recording, first_ns if kswapd else 1 << 62)
    drains, drain_cpus = reclaim_drains(recording, first_ns if reclaim_drain else 1 << 62)
    times = np.concatenate((ticks, begin, end, drains))
    spans = np.array([lib.PM_TICK_RECLAIM_BEGIN, lib.PM_TICK_RECLAIM_END], np.uint8)
    all_cpus = np.full(len(drains), lib.PM_TICK_DRAIN_ALL, np.uint8)
    kinds = np.concatenate((decays, np.repeat(spans, [len(begin), len(end)]), all_cpus))
    where = np.concatenate((cpus, highest, highest, drain_cpus))
    # At one moment, the end of one span comes before the beginning of the next.
    order = np.lexsort((kinds != lib.PM_TICK_RECLAIM_END, times))
    return times[order], kinds[order], where[order]
