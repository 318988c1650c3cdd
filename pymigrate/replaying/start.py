"""The machine at the moment a simulation begins, worked out from the recording's snapshot and its events.

A snapshot does not show everything: which frames sit in per-CPU lists, which migrate type a pageblock has, in what
order the lists are. The events tell most of it:

- a frame that is allocated later without leaving the free lists again was in a per-CPU list at the start, on the CPU
  that allocated it; so was one that is drained without having been freed;
- a drain names its pageblock's type, and a block taken from the free lists the type of its list;
- what is taken first stands first in its list, what is drained first stands last.

What no event names is filled in from the totals of zoneinfo and pagetypeinfo, and counted in :class:`StartReport`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pymigrate._core import lib
from pymigrate.recording import Recording, ZoneSpan, flag_bit
from pymigrate.recording.proctext import ZoneInfo
from pymigrate.replaying.frames import (
    BLOCK_KINDS,
    COSTLY_ORDER,
    FREE,
    NONE,
    NR_ORDERS,
    PAGEBLOCK_ORDER,
    PCP,
    USED,
    FrameStates,
    aligned_blocks,
    expand,
    frame_states,
    is_kind,
    layout_ranges,
    pcp_order,
    snapshot_moment,
)

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]

PAGEBLOCK = 1 << PAGEBLOCK_ORDER
UNKNOWN_TYPE = 0xFF
# Of how many pageblocks, likeliest first, one is chosen to have a type that pagetypeinfo's totals lack.
CANDIDATES = 16
UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC = (
    lib.PM_MT_UNMOVABLE,
    lib.PM_MT_MOVABLE,
    lib.PM_MT_RECLAIMABLE,
    lib.PM_MT_HIGHATOMIC,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """Blocks of frames for `Machine.load_blocks`: arrays of one length, in the order of their lists.

    Attributes:
        pfn: First frame of each block.
        order: Orders, 0..10.
        place: `enum pm_place`.
        migratetype: Type of a used or per-CPU block; 0 for a free one, which takes its pageblock's.
        cpu: CPU of a per-CPU block; 0 otherwise.
    """

    pfn: NDArray[np.uint64]
    order: U8
    place: U8
    migratetype: U8
    cpu: NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True)
class StartReport:
    """How well the start state is known.

    Attributes:
        pcp_known: Frames in per-CPU lists that an event names.
        pcp_filled: Frames put into per-CPU lists to reach zoneinfo's counts.
        pcp_surplus: Frames that events place in per-CPU lists beyond zoneinfo's counts.
        pageblocks_known: Pageblocks whose type an event names.
        pageblocks_guessed: Pageblocks given another type than MOVABLE by what stands in them.
        walked: Blocks that stand as the kernel's own lists had them, in a recording that has those.
    """

    pcp_known: int
    pcp_filled: int
    pcp_surplus: int
    pageblocks_known: int
    pageblocks_guessed: int
    walked: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class StartState:
    """All that is needed to build the machine.

    Attributes:
        frames: The frames it was made from.
        blocks: Where every block is.
        pageblock_types: One a pageblock, from frame 0 on.
        holes: Runs of frames that do not exist, int64 [n, 2].
        reserved: Runs of frames that the allocator never owns, int64 [n, 2].
        pcp_high: `high` of each CPU's lists, int64 [cpus, zones]; -1 where unknown.
        alloc_factor: How far each CPU's refills are scaled before the first event, int64 [cpus, zones].
        report: What was known and what was filled in.
    """

    frames: FrameStates
    blocks: Blocks
    pageblock_types: U8
    holes: I64
    reserved: I64
    pcp_high: I64
    alloc_factor: I64
    report: StartReport


@dataclass(frozen=True, kw_only=True, eq=False)
class MachineShape:
    """What a machine is made of, whoever uses its frames.

    Attributes:
        holes: Runs of frames that do not exist, int64 [n, 2].
        reserved: Runs of frames that the allocator never owns, int64 [n, 2].
        pageblock_types: One a pageblock, from frame 0 on.
    """

    holes: I64
    reserved: I64
    pageblock_types: U8


def _fitting(ranked: I64, free: I64, room: I64, lacking: int) -> I64:
    """As many of the first pageblocks in a ranking as are wanted, so that their free blocks add up to a type's totals.

    Begins with the likeliest whose free blocks find room, and exchanges as long as that brings the sum closer.

    Args:
        ranked: Pageblocks, likeliest first.
        free: Free blocks by pageblock and order.
        room: How many free blocks of each order the type has that no known pageblock accounts for.
        lacking: How many pageblocks are wanted.
    """
    ranked = ranked[: CANDIDATES * lacking]
    left, chosen = np.maximum(room, 0), np.zeros(len(ranked), np.bool_)
    for at, block in enumerate(ranked.tolist()):
        if chosen.sum() == lacking:
            break
        if (free[block] <= left).all():
            left, chosen[at] = left - free[block], True
    rest = np.flatnonzero(~chosen)[: lacking - int(chosen.sum())]
    chosen[rest] = True
    for _ in range(lacking):
        ins, outs = np.flatnonzero(chosen), np.flatnonzero(~chosen)
        if not len(ins) or not len(outs):
            break
        error = room - free[ranked[ins]].sum(axis=0)
        after = np.abs(error + free[ranked[ins]][:, None] - free[ranked[outs]][None, :]).sum(axis=2)
        best = np.unravel_index(int(after.argmin()), after.shape)
        if after[best] >= np.abs(error).sum():
            break
        chosen[ins[best[0]]], chosen[outs[best[1]]] = False, True
    return ranked[chosen]


class _Builder:
    """Works out one start state; each method fills in one part."""

    def __init__(self, recording: Recording, moment_ns: int, settings: Mapping[str, int]) -> None:
        self.settings = settings
        self.recording = recording
        self.events = recording.events
        self.frames = frame_states(recording, moment_ns)
        self.place = self.frames.place
        self.n = recording.pfn_end
        self.nr_pageblocks = -(-self.n >> PAGEBLOCK_ORDER)
        self.info = {zone.name: zone for zone in recording.zoneinfo}
        self.filled = self.surplus = self.known_pcp = 0
        self.in_lists = np.zeros(self.n, np.bool_)
        self.blocks = self.upcoming()

    def upcoming(self) -> tuple[I64, I64, I64]:
        """Blocks that exist at the start because an event names them before any of their parts: heads, events, orders.

        A block that is named only after one of its frames was named otherwise has been made since the start; a frame
        inside a block that is named first says nothing about the start either.
        """
        following = self.frames.next
        heads = np.flatnonzero(following != NONE)
        event = following[heads].astype(np.int64)
        order = self.events.order[event].astype(np.int64)
        large = np.flatnonzero(order > 0)
        large = large[np.argsort(-event[large], kind="stable")]
        frames, which = expand(heads[large], order[large])
        covered_by = np.full(self.n, NONE, dtype=np.uint32)
        covered_by[frames] = event[large][which].astype(np.uint32)
        good = event <= covered_by[heads]
        # The earliest event inside each large block must be its own.
        earliest = np.minimum(following, covered_by)[frames].astype(np.int64)
        first_of = np.cumsum(np.int64(1) << order[large]) - (np.int64(1) << order[large])
        if len(large):
            good[large] &= np.minimum.reduceat(earliest, first_of) >= event[large]
        return heads[good], event[good], order[good]

    # -- pageblock types ------------------------------------------------------------------------------------------

    def pageblock_types(self) -> tuple[U8, int, int]:
        """Types of the pageblocks: first events, then totals. Returns them, how many were known, how many guessed."""
        if not self.settings.get("start_types", 1):
            return np.full(self.nr_pageblocks, MOVABLE, np.uint8), 0, 0
        ev = self.events
        named = is_kind(ev.kind, (lib.PM_EV_PCPU_DRAIN, lib.PM_EV_ZONE_LOCKED, lib.PM_EV_EXTFRAG)) & (ev.pfn < self.n)
        index = np.flatnonzero(named)
        types = ev.migratetype[index].astype(np.uint8)
        changed = ev.kind[index] == lib.PM_EV_EXTFRAG
        # Before it was claimed or stolen from, a pageblock had the type of the list that its block was on.
        types[changed] = ev.arg1[index[changed]].astype(np.uint8)
        good = types < lib.PM_MT_ISOLATE
        index, types = index[good], types[good]
        result = np.full(self.nr_pageblocks, UNKNOWN_TYPE, dtype=np.uint8)
        # The first event after the start if there is one, else the last before it: assigned in the opposite order.
        before = index < self.frames.split
        order = np.concatenate((np.flatnonzero(before), np.flatnonzero(~before)[::-1]))
        result[ev.pfn[index[order]].astype(np.int64) >> PAGEBLOCK_ORDER] = types[order]
        self._reused_types(result)
        known = int((result != UNKNOWN_TYPE).sum())
        guessed = self._guess_types(result)
        result[result == UNKNOWN_TYPE] = MOVABLE
        return result, known, guessed

    def _reused_types(self, types: U8) -> None:
        """Pageblocks that no list of the zone names: a frame freed there and handed out again has its pageblock's type.

        A freed frame is queued under its pageblock's type, and a request takes from the queue of its own.
        """
        ev = self.events
        index = np.flatnonzero(is_kind(ev.kind, BLOCK_KINDS) & (ev.pfn < self.n) & (ev.order >= 0))
        index = index[types[ev.pfn[index].astype(np.int64) >> PAGEBLOCK_ORDER] == UNKNOWN_TYPE]
        index = index[np.argsort(ev.pfn[index], kind="stable")]
        freed, taken = index[:-1], index[1:]
        again = (
            (ev.pfn[freed] == ev.pfn[taken]) & (ev.order[freed] == ev.order[taken]) & (ev.order[freed] <= COSTLY_ORDER)
        )
        again &= (ev.kind[freed] == lib.PM_EV_FREE) & (ev.kind[taken] == lib.PM_EV_ALLOC)
        again &= (ev.migratetype[taken] >= 0) & (ev.migratetype[taken] < lib.PM_NR_PCP_TYPES)
        # The first of each pageblock is assigned last.
        found = np.sort(taken[again])[::-1]
        types[ev.pfn[found].astype(np.int64) >> PAGEBLOCK_ORDER] = ev.migratetype[found].astype(np.uint8)

    def _guess_types(self, types: U8) -> int:
        """Gives pageblocks without an event the types that pagetypeinfo's totals still lack, likeliest first.

        pagetypeinfo also counts each type's free blocks: a pageblock that has free blocks which its type has not, is
        not of that type.
        """
        totals = self.recording.pagetypeinfo
        if totals is None or not len(self.recording.frame_flags):
            return 0
        slab, kernel = self._kernel_frames()
        by_zone = {key[1]: i for i, key in enumerate(totals.zones)}
        guessed = 0
        for span in self.recording.zones:
            if span.name not in by_zone:
                continue
            first, last = span.start_pfn >> PAGEBLOCK_ORDER, -(-(span.start_pfn + span.spanned) >> PAGEBLOCK_ORDER)
            free = self._free_by_pageblock(span, first, last)
            window = types[first:last]
            for wanted, likely in ((RECLAIMABLE, slab), (UNMOVABLE, kernel)):
                lacking = int(totals.blocks[by_zone[span.name], wanted]) - int((window == wanted).sum())
                if lacking <= 0:
                    continue
                score = np.where(window == UNKNOWN_TYPE, likely[first:last], 0)
                ranked = np.argsort(-score, kind="stable")
                ranked = ranked[: int((score > 0).sum())]
                room = totals.free[by_zone[span.name], wanted] - free[window == wanted].sum(axis=0)
                best = _fitting(ranked, free, room, lacking)
                window[best] = wanted
                guessed += len(best)
        return guessed

    def _free_by_pageblock(self, span: ZoneSpan, first: int, last: int) -> I64:
        """Free blocks at the start by pageblock from `first` to `last` and order, where they begin."""
        pfn, order = self._zone_blocks(span)
        counts = np.zeros((last - first, NR_ORDERS), np.int64)
        np.add.at(counts, ((pfn >> PAGEBLOCK_ORDER) - first, order), 1)
        return counts

    def _kernel_frames(self) -> tuple[I64, I64]:
        """For each pageblock, its slab frames, and all its frames that the kernel itself seems to own."""
        flags = self.recording.frame_flags
        owned = self.place[: len(flags)] == USED
        slab = owned & (flags & flag_bit("SLAB") != 0)
        kernel = owned & (flags & (flag_bit("LRU") | flag_bit("ANON") | flag_bit("UNEVICTABLE")) == 0)
        kernel |= owned & (flags & flag_bit("PGTABLE") != 0)
        return self._per_pageblock(slab), self._per_pageblock(kernel)

    def _per_pageblock(self, flags: NDArray[np.bool_]) -> I64:
        padded = np.zeros(self.nr_pageblocks << PAGEBLOCK_ORDER, dtype=np.bool_)
        padded[: len(flags)] = flags
        sums: I64 = padded.reshape(-1, PAGEBLOCK).sum(axis=1).astype(np.int64)
        return sums

    # -- per-CPU lists --------------------------------------------------------------------------------------------

    def pcp_blocks(self, types: U8) -> tuple[I64, U8, U8, NDArray[np.uint16]]:
        """Blocks in per-CPU lists in list order: first frames, orders, types, CPUs. Marks their frames as PCP."""
        if not self.settings.get("start_pcp", 1):
            return np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.uint8), np.empty(0, np.uint16)
        heads, events, _ = self.blocks
        kind = self.events.kind[events]
        held = (self.place[heads] == USED) | (self.place[heads] == PCP)
        held &= pcp_order(self.events.order[events])
        held &= (kind == lib.PM_EV_ALLOC) | (kind == lib.PM_EV_PCPU_DRAIN)
        frames, which = expand(heads[held], self.events.order[events[held]].astype(np.int64))
        whole = np.ones(int(held.sum()), np.bool_)
        whole[which[(self.place[frames] != USED) & (self.place[frames] != PCP)]] = False
        named, event = heads[held][whole], events[held][whole]
        drained = self.events.kind[event] == lib.PM_EV_PCPU_DRAIN
        # Handed out soonest: at the front. Drained soonest: at the back. Between them what no event names.
        rank = np.where(drained, np.int64(1) << 40, 0) + np.where(
            drained, -event.astype(np.int64), event.astype(np.int64)
        )
        block_order = self.events.order[event].astype(np.uint8)
        cpu = self.events.cpu[event].copy()
        self._mark(named, block_order)
        self.known_pcp = int((np.int64(1) << block_order.astype(np.int64)).sum())
        more, more_order, more_cpu = self._unnamed(named, block_order, cpu, types)
        pfn = np.concatenate((named, more))
        order_all = np.concatenate((block_order, more_order))
        cpu_all = np.concatenate((cpu, more_cpu))
        rank = np.concatenate((rank, np.full(len(more), np.int64(1) << 39)))
        mt = self._queue_types(pfn, types)
        mt[: len(named)] = np.where(
            self.events.migratetype[event] >= 0, self.events.migratetype[event], mt[: len(named)]
        )
        mt[mt >= lib.PM_NR_PCP_TYPES] = MOVABLE
        by_rank = np.lexsort((rank if self.settings.get("start_order", 1) else pfn, cpu_all))
        return pfn[by_rank], order_all[by_rank], mt[by_rank], cpu_all[by_rank]

    def _queue_types(self, pfn: I64, types: U8) -> U8:
        found: U8 = types[pfn >> PAGEBLOCK_ORDER].copy()
        found[found >= lib.PM_NR_PCP_TYPES] = MOVABLE
        return found

    def _mark(self, pfn: I64, order: U8) -> None:
        frames = expand(pfn, order.astype(np.int64))[0]
        self.place[frames] = PCP
        self.in_lists[frames] = True

    def _refilled(self, span: ZoneSpan) -> NDArray[np.bool_]:
        """Which lists, [cpus, orders 0-3, types], were refilled from this zone after the start.

        A refill means that the list was empty, so all that it held at the start had been named by an event until then.
        """
        ev = self.events
        after = slice(self.frames.split, None)
        refill = (ev.order[after] >= 0) & (ev.order[after] <= COSTLY_ORDER)
        refill &= (ev.pfn[after] >= span.start_pfn) & (ev.pfn[after] < span.start_pfn + span.spanned)
        refill &= ((ev.kind[after] == lib.PM_EV_ZONE_LOCKED) & (ev.arg0[after] == 1)) | (
            ev.kind[after] == lib.PM_EV_EXTFRAG
        )
        refill &= (ev.migratetype[after] >= 0) & (ev.migratetype[after] < lib.PM_NR_PCP_TYPES)
        refill &= ev.cpu[after] < self.recording.cpus
        found = np.zeros((self.recording.cpus, COSTLY_ORDER + 1, lib.PM_NR_PCP_TYPES), np.bool_)
        found[ev.cpu[after][refill], ev.order[after][refill], ev.migratetype[after][refill]] = True
        return found

    def _unnamed(self, named: I64, order: U8, cpu: NDArray[np.uint16], types: U8) -> tuple[I64, U8, NDArray[np.uint16]]:
        """Fills the lists up to zoneinfo's counts with flagless frames that no event names.

        A CPU whose order-0 lists were all refilled can only hold them in its lists of orders 1-3, so it gets aligned
        groups, and gets them first. What the lists hold beyond zoneinfo's count is left as it is, and counted.
        """
        waiting = self._flagless()
        frames = np.int64(1) << order.astype(np.int64)
        parts: list[tuple[I64, U8, int]] = []
        for span in self.recording.zones:
            info = self.info.get(span.name)
            if info is None:
                continue
            pool = np.sort(waiting[(waiting >= span.start_pfn) & (waiting < span.start_pfn + span.spanned)])
            refilled = self._refilled(span)
            inside = (named >= span.start_pfn) & (named < span.start_pfn + span.spanned)
            lack = {
                lists.cpu: lists.count - int(frames[inside & (cpu == lists.cpu)].sum())
                for lists in info.pagesets
                if lists.cpu < self.recording.cpus
            }
            self.surplus += sum(max(-value, 0) for value in lack.values())
            # One CPU's drain empties another's lists too, so a surplus on one is set against what another lacks.
            spare = max(sum(lack.values()), 0)
            for c in sorted(lack, key=lambda one: (int((~refilled[one, 0]).sum()), one)):
                wanted = min(max(lack[c], 0), spare)
                pfn, orders = self._fill(pool, types, refilled[c], wanted)
                parts.append((pfn, orders, c))
                used = expand(pfn, orders.astype(np.int64))[0]
                pool, spare = np.setdiff1d(pool, used, assume_unique=True), spare - len(used)
                self.filled += len(used)
        pfn = np.concatenate([part for part, _, _ in parts]) if parts else np.empty(0, np.int64)
        orders = np.concatenate([part for _, part, _ in parts]) if parts else np.empty(0, np.uint8)
        cpus = (
            np.concatenate([np.full(len(part), c, np.uint16) for part, _, c in parts])
            if parts
            else np.empty(0, np.uint16)
        )
        self._mark(pfn, orders)
        return pfn, orders, cpus

    def _fill(self, pool: I64, types: U8, refilled: NDArray[np.bool_], wanted: int) -> tuple[I64, U8]:
        """Blocks of about `wanted` frames from a pool, for the lists of one CPU that were not refilled.

        Single frames first; where they do not suffice, aligned groups of the others for the lists of orders 1-3.
        """
        queue = self._queue_types(pool, types)
        fits = ~refilled[0][queue]
        # A frame without flags in a kernel pageblock is likelier the kernel's own: those come last.
        single = pool[fits][np.argsort(queue[fits] != MOVABLE, kind="stable")][:wanted]
        rest = pool[~fits]
        group, order = self._groups(rest, types, refilled, wanted - len(single))
        return np.concatenate((single, group)), np.concatenate((np.zeros(len(single), np.uint8), order))

    def _groups(self, pool: I64, types: U8, refilled: NDArray[np.bool_], wanted: int) -> tuple[I64, U8]:
        """Aligned groups of 2 to 8 frames from a pool, as many as `wanted` frames have room for."""
        if not len(pool) or wanted <= 0:
            return np.empty(0, np.int64), np.empty(0, np.uint8)
        free = np.zeros(int(pool[-1]) + 1, np.bool_)
        free[pool] = True
        pfn, order = aligned_blocks(free, 0)
        # What is larger than the lists hold is cut into parts of order 3.
        part, which = expand(np.zeros(len(pfn), np.int64), np.maximum(order.astype(np.int64) - COSTLY_ORDER, 0))
        pfn, order = pfn[which] + (part << COSTLY_ORDER), np.minimum(order, COSTLY_ORDER)[which]
        fitting = (order > 0) & ~refilled[order.astype(np.int64), self._queue_types(pfn, types)]
        pfn, order = pfn[fitting], order[fitting]
        likely = np.argsort(self._queue_types(pfn, types) != MOVABLE, kind="stable")
        pfn, order = pfn[likely], order[likely]
        enough = np.cumsum(np.int64(1) << order.astype(np.int64)) <= wanted
        return pfn[enough], order[enough].astype(np.uint8)

    def _flagless(self) -> I64:
        """Frames that may be in a per-CPU list: left there by an event, or without flags, mappings and events."""
        flags, counts = self.recording.frame_flags, self.recording.frame_mapcount
        left = np.zeros(self.n, np.bool_)
        left[: len(flags)] = (
            (flags == 0) & (self.place[: len(flags)] == USED) & (self.frames.last[: len(flags)] == NONE)
        )
        if len(counts):
            left[: len(counts)] &= counts == 0
        left &= self.frames.next == NONE
        marked = (self.place == PCP) & (self.frames.next == NONE) & ~self.in_lists
        return np.concatenate((np.flatnonzero(marked), np.flatnonzero(left)))

    # -- used blocks ----------------------------------------------------------------------------------------------

    def used_blocks(self, types: U8) -> tuple[I64, U8, U8]:
        """Allocated blocks: those freed later with their orders, the rest a frame each."""
        heads, event, order = self.blocks
        whole = (self.events.kind[event] == lib.PM_EV_FREE) & (order > 0) & (heads & ((np.int64(1) << order) - 1) == 0)
        heads, order = heads[whole], order[whole]
        # A block counts only if all its frames are used.
        covered = np.zeros(self.n, np.bool_)
        frames, which = expand(heads, order)
        usable = (self.place[frames] == USED) & ~self.in_lists[frames]
        good = np.ones(len(heads), np.bool_)
        good[which[~usable]] = False
        heads, order = heads[good], order[good]
        covered[expand(heads, order)[0]] = True
        single = np.flatnonzero((self.place == USED) & ~covered & ~self.in_lists)
        pfn = np.concatenate((heads, single))
        orders = np.concatenate((order, np.zeros(len(single), np.int64))).astype(np.uint8)
        return pfn, orders, self._owner_types(pfn, types)

    def _owner_types(self, pfn: I64, types: U8) -> U8:
        """MOVABLE for what is on the LRU, else the pageblock's type if that is a kernel type, else UNMOVABLE."""
        found: U8 = types[pfn >> PAGEBLOCK_ORDER].copy()
        found[(found == MOVABLE) | (found >= lib.PM_NR_PCP_TYPES)] = UNMOVABLE
        flags = self.recording.frame_flags
        inside = pfn < len(flags)
        movable = np.zeros(len(pfn), np.bool_)
        movable[inside] = flags[pfn[inside]] & (flag_bit("LRU") | flag_bit("ANON")) != 0
        found[movable] = MOVABLE
        return found

    # -- free lists -----------------------------------------------------------------------------------------------

    def free_blocks(self) -> tuple[I64, U8]:
        """Free blocks in list order: what is taken first comes first, what is never taken last, by address."""
        parts = [self._zone_blocks(span) for span in self.recording.zones]
        pfn = np.concatenate([part[0] for part in parts])
        order = np.concatenate([part[1] for part in parts])
        if not self.settings.get("start_order", 1):
            return pfn, order
        upcoming = self.frames.next[pfn].astype(np.int64)
        return pfn[(by := np.argsort(upcoming, kind="stable"))], order[by]

    def _zone_blocks(self, span: ZoneSpan) -> tuple[I64, U8]:
        return aligned_blocks(self.place[span.start_pfn : span.start_pfn + span.spanned] == FREE, span.start_pfn)

    def pcp_high(self) -> I64:
        high = np.full((self.recording.cpus, len(self.recording.zones)), -1, dtype=np.int64)
        for z, span in enumerate(self.recording.zones):
            info: ZoneInfo | None = self.info.get(span.name)
            for lists in info.pagesets if info else ():
                if lists.cpu < self.recording.cpus:
                    high[lists.cpu, z] = lists.high
        return high

    def alloc_factor(self) -> I64:
        """How far refills are scaled: by the first refill of single frames, if nothing was freed to the lists before.

        Each free halves the scale; a CPU of which nothing else is known is taken to have only allocated.
        """
        ev = self.events
        factor = np.full((self.recording.cpus, len(self.recording.zones)), lib.PM_PCP_SCALE_MAX, np.int64)
        freed = (ev.kind == lib.PM_EV_FREE) & (ev.order >= 0) & pcp_order(ev.order)
        refill = (ev.kind == lib.PM_EV_ZONE_LOCKED) & (ev.order == 0) & (ev.arg0 == 1)
        for z, span in enumerate(self.recording.zones):
            info = self.info.get(span.name)
            inside = (freed | refill) & (ev.pfn >= span.start_pfn) & (ev.pfn < span.start_pfn + span.spanned)
            for lists in info.pagesets if info else ():
                index = np.flatnonzero(inside & (ev.cpu == lists.cpu))
                if lists.cpu < self.recording.cpus and lists.batch > 0 and len(index) and refill[index[0]]:
                    factor[lists.cpu, z] = self._scale_of(index, lists.batch)
        return factor

    def _scale_of(self, index: I64, batch: int) -> int:
        """Scale of the refill that begins with event `index[0]` and ends when its thread gets its frame."""
        ev = self.events
        first = int(index[0])
        got = np.flatnonzero((ev.tid[first:] == ev.tid[first]) & (ev.kind[first:] == lib.PM_EV_ALLOC))
        size = int((index < first + got[0]).sum()) if len(got) else 1
        return min((-(-size // batch) - 1).bit_length(), int(lib.PM_PCP_SCALE_MAX))

    def build(self) -> StartState:
        types, known, guessed = self.pageblock_types()
        pcp_pfn, pcp_orders, pcp_mt, pcp_cpu = self.pcp_blocks(types)
        # Left in a list by an event, but not needed to reach the counts: used.
        self.place[(self.place == PCP) & ~self.in_lists] = USED
        free_pfn, free_order = self.free_blocks()
        used_pfn, used_order, used_mt = self.used_blocks(types)
        blocks = Blocks(
            pfn=np.concatenate((free_pfn, pcp_pfn, used_pfn)).astype(np.uint64),
            order=np.concatenate((free_order, pcp_orders, used_order)),
            place=np.repeat(np.array([FREE, PCP, USED], np.uint8), [len(free_pfn), len(pcp_pfn), len(used_pfn)]),
            migratetype=np.concatenate((np.zeros(len(free_pfn), np.uint8), pcp_mt, used_mt)),
            cpu=np.concatenate((np.zeros(len(free_pfn), np.uint16), pcp_cpu, np.zeros(len(used_pfn), np.uint16))),
        )
        holes, reserved = layout_ranges(self.recording, self.place)
        return StartState(
            frames=self.frames,
            blocks=blocks,
            pageblock_types=types,
            holes=holes,
            reserved=reserved,
            pcp_high=self.pcp_high(),
            alloc_factor=self.alloc_factor(),
            report=StartReport(
                pcp_known=self.known_pcp,
                pcp_filled=self.filled,
                pcp_surplus=self.surplus,
                pageblocks_known=known,
                pageblocks_guessed=guessed,
            ),
        )


def start_state(
    recording: Recording, moment_ns: int | None = None, *, settings: Mapping[str, int] | None = None
) -> StartState:
    """Works out the machine's state at a moment.

    Args:
        recording: Any recording; without a snapshot, memory starts empty.
        moment_ns: On the recording's clock; by default when the start snapshot had been read.
        settings: Of these (`KEYS`), those that leave out a part of what the recording tells.
    """
    moment_ns = snapshot_moment(recording) if moment_ns is None else moment_ns
    return _Builder(recording, moment_ns, settings or {}).build()


def machine_shape(recording: Recording, moment_ns: int) -> MachineShape:
    """The part of the start state that does not depend on who uses which frame."""
    builder = _Builder(recording, moment_ns, {})
    holes, reserved = layout_ranges(recording, builder.place)
    return MachineShape(holes=holes, reserved=reserved, pageblock_types=builder.pageblock_types()[0])
