"""Where every frame of a recorded machine is at a given moment, and what the events after it say about that moment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pymigrate._core import lib
from pymigrate.recording import Events, Recording, ZoneSpan, flag_bit
from pymigrate.recording.proctext import ZoneInfo

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

NR_ORDERS: int = lib.PM_NR_ORDERS
COSTLY_ORDER: int = lib.PM_COSTLY_ORDER
PAGEBLOCK_ORDER: int = lib.PM_PAGEBLOCK_ORDER
NONE = np.uint32(0xFFFFFFFF)

# Places of a frame: the values of `enum pm_place`, and the two kinds of frames that the allocator never owns.
FREE: int = lib.PM_PLACE_FREE
PCP: int = lib.PM_PLACE_PCP
USED: int = lib.PM_PLACE_USED
RESERVED = 4
HOLE = 5

# Kernels online memory in sections of 128 MiB: a hole is made of whole ones.
SECTION = 1 << 15

BLOCK_KINDS = (lib.PM_EV_ALLOC, lib.PM_EV_FREE, lib.PM_EV_ZONE_LOCKED, lib.PM_EV_PCPU_DRAIN, lib.PM_EV_EXTFRAG)


def is_kind(kind: U8, kinds: Iterable[int]) -> Bools:
    """Which events are of some kinds: a look-up, since `np.isin` sorts.

    Example:
        >>> is_kind(np.array([0, 3, 1], np.uint8), (1, 3)).tolist()
        [False, True, True]
    """
    table = np.zeros(256, np.bool_)
    table[list(kinds)] = True
    found: Bools = table[kind]
    return found


def expand(pfn: I64, order: I64) -> tuple[I64, I64]:
    """Every frame of some blocks in the blocks' order, and for each the index of its block."""
    counts = np.int64(1) << order
    which = np.repeat(np.arange(len(pfn)), counts)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return pfn[which] + np.arange(len(which)) - starts, which


def pcp_order(order: NDArray[np.int8]) -> Bools:
    """Which orders the per-CPU lists hold: 0-3, and the huge-page order."""
    held: Bools = (order <= COSTLY_ORDER) | (order == PAGEBLOCK_ORDER)
    return held


def aligned_blocks(free: Bools, first_pfn: int) -> tuple[I64, U8]:
    """Greedy aligned merging: the free blocks that a set of free frames makes.

    Args:
        free: One flag a frame, from `first_pfn` on.
        first_pfn: Frame number of the first flag.

    Returns:
        The first frames of the blocks, ascending, and their orders.

    Example:
        >>> import numpy as np
        >>> pfn, order = aligned_blocks(np.array([True, True, True, False, True]), 2)
        >>> pfn.tolist(), order.tolist()
        ([2, 4, 6], [1, 0, 0])
    """
    top = NR_ORDERS - 1
    low = first_pfn >> top << top
    lead = first_pfn - low
    whole = np.zeros(-(-(lead + len(free)) >> top) << top, dtype=np.bool_)
    whole[lead : lead + len(free)] = free
    heads: list[I64] = []
    orders: list[U8] = []
    for order in range(NR_ORDERS):
        pairs = whole[0::2] & whole[1::2] if order < top else np.zeros(0, np.bool_)
        single = whole & ~np.repeat(pairs, 2) if order < top else whole
        found = np.flatnonzero(single)
        heads.append((found << order) + low)
        orders.append(np.full(len(found), order, dtype=np.uint8))
        whole = pairs
    pfn = np.concatenate(heads)
    by_pfn = np.argsort(pfn)
    return pfn[by_pfn], np.concatenate(orders)[by_pfn]


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameStates:
    """Every frame at one moment of a recording.

    Attributes:
        time_ns: The moment.
        split: Events before this index have happened.
        place: FREE, PCP, USED, RESERVED or HOLE, shape (frames,).
        last: Index of the last event on the frame before the moment; NONE where there was none.
        next: Index of the first event after the moment on a block that starts at the frame; NONE where there is none.
    """

    time_ns: int
    split: int
    place: U8
    last: U32
    next: U32


def snapshot_moment(recording: Recording) -> int:
    """When all of the start snapshot that a replay needs had been read; without one, just before the first event."""
    times = recording.frame_times
    moments = [int(times.end_ns.max())] if len(times) else []
    moments += [recording.start_ns[name] for name in ("zoneinfo", "pagetypeinfo") if name in recording.start_ns]
    if moments:
        return max(moments)
    return int(recording.events.time_ns[0]) - 1 if len(recording.events) else 0


def _block_events(events: Events, n: int) -> I64:
    """Indices of the events that move a block, of those whose block is a real one."""
    which = is_kind(events.kind, BLOCK_KINDS) & (events.pfn < n) & (events.order >= 0) & (events.order < NR_ORDERS)
    found = np.flatnonzero(which)
    ends = events.pfn[found].astype(np.int64) + (np.int64(1) << events.order[found].astype(np.int64))
    return found[ends <= n]


def places_after(events: Events, index: I64) -> U8:
    """Where each event of `BLOCK_KINDS` leaves its block."""
    kind, order = events.kind[index], events.order[index]
    in_pcp = pcp_order(order)
    place = np.full(len(index), USED, dtype=np.uint8)
    place[(kind == lib.PM_EV_ZONE_LOCKED) & (events.arg0[index] == 1)] = PCP
    place[(kind == lib.PM_EV_EXTFRAG) & in_pcp] = PCP
    place[kind == lib.PM_EV_FREE] = np.where(in_pcp, PCP, FREE)[kind == lib.PM_EV_FREE]
    place[kind == lib.PM_EV_PCPU_DRAIN] = FREE
    return place


def _find_holes(recording: Recording, place: U8, touched: Bools) -> None:
    """Marks whole sections of flagless frames that no event names as holes, as many as zoneinfo says are missing."""
    flags = recording.frame_flags
    for span, info in _spans(recording):
        missing = span.spanned - info.present if info else 0
        first = -(-span.start_pfn // SECTION)
        nr = (span.start_pfn + span.spanned) // SECTION - first
        if missing < SECTION or nr <= 0:
            continue
        window = slice(first * SECTION, (first + nr) * SECTION)
        busy = (flags[window] != 0) | touched[window]
        empty = np.flatnonzero(~busy.reshape(nr, SECTION).any(axis=1))[: missing // SECTION]
        for section in empty:
            at = int(first + section) * SECTION
            place[at : at + SECTION] = HOLE


def _spans(recording: Recording) -> list[tuple[ZoneSpan, ZoneInfo | None]]:
    """Each zone's place, and what zoneinfo says of it where that is known."""
    by_name = {info.name: info for info in recording.zoneinfo}
    return [(span, by_name.get(span.name)) for span in recording.zones]


def frame_states(recording: Recording, moment_ns: int) -> FrameStates:
    """Brings the start snapshot up to a moment.

    An event counts for a frame only if it came after that frame was read. Without a snapshot every frame of a zone is
    free at the beginning.

    Args:
        recording: With or without frame tables.
        moment_ns: On the recording's clock.
    """
    events, n = recording.events, recording.pfn_end
    split = int(np.searchsorted(events.time_ns, np.uint64(moment_ns), side="right"))
    place = np.full(n, HOLE, dtype=np.uint8)
    index = _block_events(events, n)
    heads = events.pfn[index].astype(np.int64)
    touched = np.zeros(n, np.bool_)
    touched[heads] = True
    for span, _ in _spans(recording):
        place[span.start_pfn : span.start_pfn + span.spanned] = USED
    if len(recording.frame_flags):
        flags = recording.frame_flags
        place[: len(flags)][flags & flag_bit("BUDDY") != 0] = FREE
        place[: len(flags)][(flags & flag_bit("RESERVED") != 0) & (place[: len(flags)] != HOLE)] = RESERVED
        place[: len(flags)][flags & flag_bit("NOPAGE") != 0] = HOLE
        _find_holes(recording, place, touched)
    else:
        place[place == USED] = FREE
    last = np.full(n, NONE, dtype=np.uint32)
    _apply(recording, index[index < split], place, last)
    later = index[index >= split]
    upcoming = np.full(n, NONE, dtype=np.uint32)
    upcoming[events.pfn[later][::-1]] = later[::-1].astype(np.uint32)
    return FrameStates(time_ns=moment_ns, split=split, place=place, last=last, next=upcoming)


def _apply(recording: Recording, index: I64, place: U8, last: U32) -> None:
    """Applies the events before the moment to the frames they name, in order."""
    events = recording.events
    frames, which = expand(events.pfn[index].astype(np.int64), events.order[index].astype(np.int64))
    event = index[which]
    counts = events.time_ns[event] > recording.frame_read_ns(frames.astype(np.uint32))
    counts &= place[frames] < RESERVED
    frames, event = frames[counts], event[counts]
    place[frames] = places_after(events, event)
    last[frames] = event.astype(np.uint32)


def runs(flags: Bools) -> I64:
    """Runs of set flags as [start, end) rows.

    Example:
        >>> import numpy as np
        >>> runs(np.array([False, True, True, False, True])).tolist()
        [[1, 3], [4, 5]]
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return edges.reshape(-1, 2).astype(np.int64)


def layout_ranges(recording: Recording, place: U8) -> tuple[I64, I64]:
    """The holes within zones, and the reserved frames, as [start, end) rows."""
    inside = np.zeros(len(place), np.bool_)
    for span in recording.zones:
        inside[span.start_pfn : span.start_pfn + span.spanned] = True
    return runs(inside & (place == HOLE)), runs(place == RESERVED)
