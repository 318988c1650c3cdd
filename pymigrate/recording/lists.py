"""The allocator's own lists at one moment: every free block and every block of a per-CPU list, in list order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymigrate.errors import RecordingError

__all__ = ["NO_CPU", "FreeLists", "ZoneWalk"]

NO_CPU = 0xFFFF
"""The block is on a free list, not on a CPU's."""


@dataclass(frozen=True, kw_only=True)
class ZoneWalk:
    """How one zone was walked.

    Attributes:
        zone: Its place in the node: 0 DMA, 1 DMA32, 2 Normal, 3 Movable, 4 Device.
        begin_ns: The recording's clock before the walk.
        end_ns: The clock after it.
        locked: Whether the zone's lock was held: then its free lists stood still.
        broken: How many lists were cut off, because their blocks changed under the walk.
    """

    zone: int
    begin_ns: int
    end_ns: int
    locked: bool
    broken: int


@dataclass(frozen=True, kw_only=True, eq=False)
class FreeLists:
    """Blocks in the order of their lists: the first of a list is the one that is taken next.

    Attributes:
        pfn: First frame, shape ``(n,)``.
        order: Order, shape ``(n,)``.
        migratetype: Which list, as the kernel numbers the types, shape ``(n,)``.
        cpu: Whose list, `NO_CPU` for the zone's free lists, shape ``(n,)``.
        zone: Which zone, as in `ZoneWalk`, shape ``(n,)``.
        walks: How each zone was walked.
    """

    pfn: NDArray[np.uint32]
    order: NDArray[np.uint8]
    migratetype: NDArray[np.uint8]
    cpu: NDArray[np.uint16]
    zone: NDArray[np.uint8]
    walks: tuple[ZoneWalk, ...]

    def __post_init__(self) -> None:
        for name in ("order", "migratetype", "cpu", "zone"):
            if getattr(self, name).shape != self.pfn.shape or self.pfn.ndim != 1:
                raise RecordingError(f"free lists: {name} and pfn have different lengths")
        if len(self.order) and (int(self.order.max()) > 10 or int(self.migratetype.max()) > 7):
            raise RecordingError("free lists: an order or a migrate type is out of its range")

    def __len__(self) -> int:
        return int(self.pfn.shape[0])

    @property
    def moment_ns(self) -> int:
        """When the busiest zone was walked: the moment that the lists belong to."""
        counts = np.bincount(self.zone, minlength=8)
        locked = [walk for walk in self.walks if walk.locked]
        return max(locked or self.walks, key=lambda walk: int(counts[walk.zone])).begin_ns

    def walks_json(self) -> list[list[int]]:
        """`walks` as plain JSON values."""
        return [[w.zone, w.begin_ns, w.end_ns, int(w.locked), w.broken] for w in self.walks]

    @staticmethod
    def walks_from_json(rows: Any) -> tuple[ZoneWalk, ...]:
        """The opposite of `walks_json`.

        Raises:
            RecordingError: The rows have another form.
        """
        try:
            walks = tuple(
                ZoneWalk(zone=int(z), begin_ns=int(b), end_ns=int(e), locked=bool(k), broken=int(n))
                for z, b, e, k, n in rows
            )
        except (TypeError, ValueError):
            raise RecordingError("free lists: the walks are damaged") from None
        if not walks or any(not 0 <= walk.zone < 8 or not 0 <= walk.begin_ns < 2**63 for walk in walks):
            raise RecordingError("free lists: a walk is out of its range")
        return walks
