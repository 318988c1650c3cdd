"""A slow, obvious model of one zone's free lists, written from REFERENCE section 4 and nothing else.

No per-CPU lists and no watermarks above zero: then every allocation's frame follows from the operations before it, and
the core must give that very frame. Free lists are Python lists, head first; blocks are looked up by scanning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

ORDERS = 11
MAX_ORDER = 10
PAGEBLOCK_ORDER = 9
PAGEBLOCK = 512

UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC, ISOLATE = range(5)
ORDINARY = (UNMOVABLE, MOVABLE, RECLAIMABLE)
FALLBACKS = {
    UNMOVABLE: (RECLAIMABLE, MOVABLE),
    MOVABLE: (RECLAIMABLE, UNMOVABLE),
    RECLAIMABLE: (UNMOVABLE, MOVABLE),
}

HOLE, RESERVED, _UNPLACED, FREE, _PCP, USED = range(6)


class RefusedError(Exception):
    """An operation that the core must refuse, with the name of the status."""


@dataclasses.dataclass
class Block:
    pfn: int
    order: int
    type: int

    @property
    def end(self) -> int:
        return self.pfn + (1 << self.order)


class Model:
    """One zone [start, end) with absent frames; all others are free at first, in the largest aligned blocks."""

    def __init__(
        self,
        start: int,
        end: int,
        *,
        holes: tuple[range, ...] = (),
        reserved: tuple[range, ...] = (),
        defrag: bool = False,
    ) -> None:
        self.start, self.end, self.defrag = start, end, defrag
        self.holes = {pfn for hole in holes for pfn in hole}
        self.reserved = {pfn for part in reserved for pfn in part} - self.holes
        self.lists: dict[tuple[int, int], list[int]] = {(o, t): [] for o in range(ORDERS) for t in range(5)}
        self.used: dict[int, Block] = {}
        self.types = [MOVABLE] * (end // PAGEBLOCK + 2)
        self.isolated: set[int] = set()
        pfn = start
        while pfn < end:
            order = MAX_ORDER
            while order >= 0 and not self._fits(pfn, order):
                order -= 1
            if order >= 0:
                self.lists[order, MOVABLE].append(pfn)
            pfn += 1 << max(order, 0)

    def _fits(self, pfn: int, order: int) -> bool:
        frames = range(pfn, pfn + (1 << order))
        absent = self.holes | self.reserved
        return pfn % (1 << order) == 0 and frames.stop <= self.end and not any(frame in absent for frame in frames)

    # ---- looking ----

    def free_blocks(self) -> Iterator[Block]:
        for (order, kind), pfns in self.lists.items():
            for pfn in pfns:
                yield Block(pfn, order, kind)

    def free_at(self, pfn: int) -> Block | None:
        """The free block that covers a frame."""
        for block in self.free_blocks():
            if block.pfn <= pfn < block.end:
                return block
        return None

    def nr_free(self) -> int:
        return sum(1 << block.order for block in self.free_blocks() if block.type != ISOLATE)

    def nr_isolated(self) -> int:
        return sum(len(self.lists[order, ISOLATE]) << order for order in range(ORDERS))

    def type_of(self, pfn: int) -> int:
        pageblock = pfn // PAGEBLOCK
        return ISOLATE if pageblock in self.isolated else self.types[pageblock]

    def states(self) -> bytes:
        """One byte a frame of [0, end), as `Machine.frame_states`."""
        out = bytearray(self.end)
        for pfn in self.reserved:
            out[pfn] = RESERVED
        for block in self.free_blocks():
            out[block.pfn : block.end] = bytes([FREE | block.type << 3]) * (1 << block.order)
        for block in self.used.values():
            out[block.pfn : block.end] = bytes([USED | block.type << 3]) * (1 << block.order)
        return bytes(out)

    # ---- allocate ----

    def alloc(self, order: int, kind: int) -> int:
        reserve = sum(len(self.lists[o, HIGHATOMIC]) << o for o in range(ORDERS))
        if self.nr_free() - reserve - ((1 << order) - 1) <= 0:
            raise RefusedError("WATERMARK")
        if not any(self.lists[o, t] for o in range(order, ORDERS) for t in ORDINARY):
            raise RefusedError("NO_BLOCK")
        pfn = self._ladder(order, kind, careful=self.defrag)
        if pfn is None and self.defrag:
            pfn = self._ladder(order, kind, careful=False)
        if pfn is None:
            raise RefusedError("NO_BLOCK")
        self.used[pfn] = Block(pfn, order, kind)
        return pfn

    def _ladder(self, order: int, kind: int, *, careful: bool) -> int | None:
        for rung in (self._own, self._claim_careful if careful else self._claim):
            pfn = rung(order, kind)
            if pfn is not None:
                return pfn
        return None if careful else self._steal(order, kind)

    def _own(self, order: int, kind: int) -> int | None:
        for found in range(order, ORDERS):
            if self.lists[found, kind]:
                return self._take_head(found, kind, order, kind)
        return None

    def _take_head(self, found: int, source: int, order: int, rest: int) -> int:
        """Takes the head of a list, and gives what is too much to the heads of the lists of type `rest`."""
        pfn = self.lists[found, source].pop(0)
        while found > order:
            found -= 1
            self.lists[found, rest].insert(0, pfn + (1 << found))
        return pfn

    def _other(self, order: int, kind: int) -> int | None:
        return next((other for other in FALLBACKS[kind] if self.lists[order, other]), None)

    def _claim_careful(self, order: int, kind: int) -> int | None:
        return self._claim(order, kind, lowest=max(order, PAGEBLOCK_ORDER))

    def _claim(self, order: int, kind: int, lowest: int | None = None) -> int | None:
        for found in range(MAX_ORDER, (order if lowest is None else lowest) - 1, -1):
            if found < PAGEBLOCK_ORDER // 2 and kind == MOVABLE:
                return None
            other = self._other(found, kind)
            if other is None:
                continue
            head = self.lists[found, other][0]
            if found >= PAGEBLOCK_ORDER:
                for pageblock in range(head // PAGEBLOCK, (head + (1 << found)) // PAGEBLOCK):
                    self.types[pageblock] = kind
                return self._take_head(found, other, order, kind)
            if self._worth(head // PAGEBLOCK, kind, other):
                self._move(head // PAGEBLOCK, kind)
                self.types[head // PAGEBLOCK] = kind
                return self._own(order, kind)
        return None

    def _worth(self, pageblock: int, kind: int, other: int) -> bool:
        frames = range(pageblock * PAGEBLOCK, (pageblock + 1) * PAGEBLOCK)
        if frames.start < self.start or frames.stop > self.end:
            return False  # the zone's edge cuts it
        free = sum(1 << block.order for block in self.free_blocks() if block.pfn in frames)
        movable = sum(
            len(range(max(block.pfn, frames.start), min(block.end, frames.stop)))
            for block in self.used.values()
            if block.type == MOVABLE
        )
        alike = 0
        if kind == MOVABLE:
            alike = movable
        elif other == MOVABLE:
            alike = PAGEBLOCK - free - movable
        return free + alike >= PAGEBLOCK // 2

    def _steal(self, order: int, kind: int) -> int | None:
        for found in range(order, ORDERS):
            other = self._other(found, kind)
            if other is not None:
                return self._take_head(found, other, order, other)
        return None

    # ---- free ----

    def why_not_free(self, pfn: int, order: int) -> str | None:
        """The status that a free must be refused with; None if it is right."""
        if not self.start <= pfn < self.end or pfn in self.holes:
            return "RANGE"
        if pfn in self.reserved:
            return "RESERVED"
        if self.free_at(pfn):
            return "DOUBLE_FREE"
        return None if pfn in self.used and self.used[pfn].order == order else "ORDER"

    def free(self, pfn: int, order: int) -> None:
        reason = self.why_not_free(pfn, order)
        if reason:
            raise RefusedError(reason)
        del self.used[pfn]
        part = min(order, PAGEBLOCK_ORDER)
        for at in range(pfn, pfn + (1 << order), 1 << part):
            self._merge(at, part, self.type_of(at))

    def _is_free(self, pfn: int, order: int) -> bool:
        return any(pfn in self.lists[order, kind] for kind in range(5))

    def _merge(self, pfn: int, order: int, kind: int) -> None:
        while order < MAX_ORDER:
            buddy = pfn ^ (1 << order)
            other = next((t for t in range(5) if buddy in self.lists[order, t]), None)
            if other is None:
                break
            if order >= PAGEBLOCK_ORDER and other != kind:
                if kind not in ORDINARY or other not in ORDINARY:
                    break
                self.types[buddy // PAGEBLOCK] = kind
            self.lists[order, other].remove(buddy)
            pfn = min(pfn, buddy)
            order += 1
        pair = pfn & ~(1 << order)
        later = order < PAGEBLOCK_ORDER and self._is_free(pair ^ (1 << (order + 1)), order + 1)
        self.lists[order, kind].insert(len(self.lists[order, kind]) if later else 0, pfn)

    # ---- the rest ----

    def take(self, pfn: int, order: int, kind: int) -> None:
        if not self.start <= pfn < self.end or pfn in self.holes:
            raise RefusedError("RANGE")
        if pfn % (1 << order):
            raise RefusedError("ORDER")
        if pfn in self.reserved:
            raise RefusedError("RESERVED")
        block = self.free_at(pfn)
        if block is None or block.order < order:
            raise RefusedError("BUSY")
        self.lists[block.order, block.type].remove(block.pfn)
        head = block.pfn
        for half in range(block.order - 1, order - 1, -1):
            upper = head + (1 << half)
            self.lists[half, block.type].insert(0, head if pfn >= upper else upper)
            head = upper if pfn >= upper else head
        self.used[pfn] = Block(pfn, order, kind)

    def split(self, pfn: int, order: int, new_order: int) -> None:
        kind = self.used.pop(pfn).type
        for part in range(pfn, pfn + (1 << order), 1 << new_order):
            self.used[part] = Block(part, new_order, kind)

    def _move(self, pageblock: int, kind: int) -> None:
        """Moves a pageblock's free blocks to the tails of the lists of a type, lowest first."""
        frames = range(pageblock * PAGEBLOCK, (pageblock + 1) * PAGEBLOCK)
        for block in sorted((b for b in self.free_blocks() if b.pfn in frames), key=lambda b: b.pfn):
            self.lists[block.order, block.type].remove(block.pfn)
            self.lists[block.order, kind].append(block.pfn)

    def _whole(self, pfn: int) -> int:
        if not self.start <= pfn < self.end or pfn in self.holes:
            raise RefusedError("RANGE")
        pageblock = pfn // PAGEBLOCK
        if pageblock * PAGEBLOCK < self.start or (pageblock + 1) * PAGEBLOCK > self.end:
            raise RefusedError("INVAL")
        return pageblock

    def set_isolated(self, pfn: int, isolated: bool) -> None:
        pageblock = self._whole(pfn)
        if (pageblock in self.isolated) == isolated:
            raise RefusedError("BUSY")
        self._break_up(pageblock)
        if isolated:
            self.isolated.add(pageblock)
        else:
            self.isolated.remove(pageblock)
        self._settle(pageblock)

    def set_type(self, pfn: int, kind: int) -> None:
        pageblock = self._whole(pfn)
        if pageblock in self.isolated:
            self.types[pageblock] = kind
            return
        self._break_up(pageblock)
        self.types[pageblock] = kind
        self._settle(pageblock)

    def _break_up(self, pageblock: int) -> None:
        """A free block over several pageblocks falls apart into them before one of them changes."""
        block = self.free_at(pageblock * PAGEBLOCK)
        if block is not None and block.order > PAGEBLOCK_ORDER:
            self.lists[block.order, block.type].remove(block.pfn)
            self.lists[PAGEBLOCK_ORDER, block.type] += [block.pfn, block.pfn + PAGEBLOCK]

    def _settle(self, pageblock: int) -> None:
        self._move(pageblock, self.type_of(pageblock * PAGEBLOCK))
        for number in (pageblock, pageblock ^ 1):
            pfn = number * PAGEBLOCK
            for kind in range(5):
                if pfn in self.lists[PAGEBLOCK_ORDER, kind]:
                    self.lists[PAGEBLOCK_ORDER, kind].remove(pfn)
                    self._merge(pfn, PAGEBLOCK_ORDER, kind)
                    break
