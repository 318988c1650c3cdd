"""Token blocks: the blocks of a language model's KV cache as frames of a machine, with the same reports.

A cache that hands out blocks of a fixed number of tokens fragments as physical memory does: sequences end, and what
they leave is too scattered for whoever wants a large piece (a second model, a longer page). Here each block is a frame,
so fragmentation is measured and mended by the same means.

Example:
    >>> cache = TokenBlocks(4096, tokens_per_block=16)
    >>> cache.append("a", 100)
    >>> cache.table("a").shape, cache.free_blocks
    ((7,), 4089)
    >>> cache.end("a")
    >>> cache.close()
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from pymigrate._core import ffi, lib
from pymigrate.errors import ArgumentError
from pymigrate.gfp import FrameState, Gfp, ZoneKind
from pymigrate.layout import Settings, Zone
from pymigrate.machine import Machine
from pymigrate.memory import MemoryOptions
from pymigrate.migration import Destination, migrate
from pymigrate.owners import Owner

__all__ = ["CompactionPlan", "TokenBlocks"]


@dataclass(frozen=True, eq=False)
class CompactionPlan:
    """Which blocks to move, so that an aligned piece comes free.

    Attributes:
        start: The first block of the piece.
        order: It has 2^order blocks.
        sources: Blocks to move, uint64 [n].
        targets: Where to, uint64 [n]: free blocks outside of it, those with the fullest surroundings first.
    """

    start: int
    order: int
    sources: npt.NDArray[np.uint64]
    targets: npt.NDArray[np.uint64]


class TokenBlocks:
    """A pool of token blocks.

    Args:
        nr_blocks: How many.
        tokens_per_block: Tokens that a block holds.

    Raises:
        ValueError: One of them is not positive.
    """

    def __init__(self, nr_blocks: int, *, tokens_per_block: int = 16) -> None:
        if nr_blocks < 1 or tokens_per_block < 1:
            raise ArgumentError("nr_blocks and tokens_per_block are positive")
        self.tokens_per_block = tokens_per_block
        self.nr_blocks = nr_blocks
        # No reserves and no per-CPU lists: every block is there to be handed out.
        settings = Settings(min_free_kbytes=0, pcp=False, watermark_boost_factor=0)
        self.machine = Machine(
            [Zone(ZoneKind.NORMAL, 0, nr_blocks)], settings=settings, memory=MemoryOptions(contents="none")
        )
        self._owner = Owner(self.machine, "movable-ops")
        self._numbers: dict[Hashable, list[int]] = {}
        self._tokens: dict[Hashable, int] = {}

    def append(self, sequence: Hashable, tokens: int) -> None:
        """Makes room for more tokens of a sequence.

        Raises:
            OutOfMemoryError: The pool is empty; what the sequence had it still has, and no more.
            ValueError: `tokens` is negative.
        """
        if tokens < 0:
            raise ArgumentError(f"a sequence does not shrink: tokens is {tokens}")
        numbers = self._numbers.get(sequence, [])
        total = self._tokens.get(sequence, 0) + tokens
        before = len(numbers)
        try:
            while len(numbers) * self.tokens_per_block < total:
                numbers.append(self._owner.alloc(0, Gfp.HIGHUSER_MOVABLE))
        except MemoryError:
            for number in numbers[before:]:
                self._owner.free(number)
            del numbers[before:]
            raise
        self._numbers[sequence], self._tokens[sequence] = numbers, total

    def end(self, sequence: Hashable) -> None:
        """Gives a sequence's blocks back. KeyError: there is no such sequence."""
        self._tokens.pop(sequence)
        for number in self._numbers.pop(sequence):
            self._owner.free(number)

    def table(self, sequence: Hashable) -> npt.NDArray[np.uint64]:
        """The block table of a sequence: which block holds its i-th piece. A compaction changes it."""
        return np.array([self._owner.frame(number) for number in self._numbers[sequence]], dtype=np.uint64)

    @property
    def free_blocks(self) -> int:
        """How many blocks are free."""
        return sum(zone.nr_free for zone in self.machine.zones)

    def fragmentation(self, order: int) -> float:
        """Part of what is free that is of no use to who wants 2^order blocks in a row: 0 (none) to 1 (all of it)."""
        if not 0 <= order <= lib.PM_MAX_ORDER:
            raise ArgumentError(f"order is 0..{lib.PM_MAX_ORDER}, not {order}")
        by_order = self.machine.free_blocks()[0].sum(axis=1).tolist()
        return float(lib.pm_unusable_index(ffi.new("uint64_t[]", by_order), order)) / 1000

    def plan(self, order: int) -> CompactionPlan | None:
        """Finds the aligned piece of 2^order blocks, not free yet, that costs least to empty.

        None: all are free, or too little is free outside of it. The blocks move to where there is least room, so that
        large pieces stay whole.
        """
        if not 0 <= order <= lib.PM_MAX_ORDER or self.nr_blocks < 1 << order:
            raise ArgumentError(f"no piece of order {order} fits into {self.nr_blocks} blocks")
        size = 1 << order
        pieces = self.nr_blocks // size
        free = (self.machine.frame_states() & 7) == FrameState.FREE
        free_in_piece = free[: pieces * size].reshape(pieces, size).sum(axis=1)
        best = int(np.argmax(np.where(free_in_piece < size, free_in_piece, -1)))
        if free_in_piece[best] == size:
            return None
        start = best * size
        inside = np.arange(start, start + size)
        sources = inside[~free[inside]]
        outside = np.flatnonzero(free)
        outside = outside[(outside < start) | (outside >= start + size)]
        if len(outside) < len(sources):
            return None
        # The last piece may be cut; its blocks are as good as those of the fullest.
        room = np.append(free_in_piece, 0)[np.minimum(outside // size, pieces)]
        targets = outside[np.argsort(room, kind="stable")][: len(sources)]
        return CompactionPlan(start, order, sources.astype(np.uint64), targets.astype(np.uint64))

    def compact(self, plan: CompactionPlan) -> int:
        """Moves the blocks of a plan.

        Returns:
            How many moved: all of them, unless the pool has changed since.
        """
        if not len(plan.sources):
            return 0
        targets = Destination(frames=tuple(int(pfn) for pfn in plan.targets))
        return migrate(self.machine, plan.sources, destination=targets).moved

    def close(self) -> None:
        """Ends the pool. May be called again."""
        self.machine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()
