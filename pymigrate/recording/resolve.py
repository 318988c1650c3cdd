"""Normalising: names the allocation that each event belongs to. The core does it, in csrc/replay/resolve.c."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymigrate._core import ffi, lib
from pymigrate.errors import check
from pymigrate.recording.events import Events
from pymigrate.recording.recording import InitialAllocations
from pymigrate.recording.snapshot import FrameTimes

__all__ = ["RESOLUTIONS", "ResolveStats", "resolve_allocations"]

RESOLUTIONS: dict[int, str] = {
    lib.PM_RES_NEW: "new",
    lib.PM_RES_FREED: "freed",
    lib.PM_RES_FREED_PIECE: "freed-piece",
    lib.PM_RES_FREED_INITIAL: "freed-initial",
    lib.PM_RES_ALLOC_FAILED: "alloc-failed",
    lib.PM_RES_BEFORE_START: "before-start",
    lib.PM_RES_MIGRATION_SOURCE: "migration-source",
    lib.PM_RES_COMPACTION_RETURN: "compaction-return",
    lib.PM_RES_FREED_MOVED: "freed-moved",
    lib.PM_RES_FREED_MOVED_INITIAL: "freed-moved-initial",
    lib.PM_RES_UNSEEN_ALLOC: "unseen-alloc",
    lib.PM_RES_FREE_OF_FREE: "free-of-free",
    lib.PM_RES_ALLOC_OF_OWNED: "alloc-of-owned",
    lib.PM_RES_ORDER_MISMATCH: "order-mismatch",
}
"""Names of `enum pm_resolution`."""


@dataclass(frozen=True, kw_only=True)
class ResolveStats:
    """What the pass found.

    Attributes:
        counts: ALLOC and FREE events by how they were resolved, by the names in `RESOLUTIONS`.
        details: The other counts of `struct pm_resolve_stats`, by name.
    """

    counts: dict[str, int]
    details: dict[str, int]

    @property
    def unresolved(self) -> dict[str, int]:
        """The events without an explanation, by cause."""
        causes = [name for value, name in RESOLUTIONS.items() if value >= lib.PM_RES_UNRESOLVED]
        return {name: self.counts.get(name, 0) for name in causes}

    @property
    def unresolved_share(self) -> float:
        """Events without an explanation, as a share of all ALLOC and FREE events; 0 where there are none."""
        total = sum(self.counts.values())
        return sum(self.unresolved.values()) / total if total else 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "counts": self.counts,
            "details": self.details,
            "unresolved": self.unresolved,
            "unresolved_share": self.unresolved_share,
        }


_DETAILS = (
    "allocations",
    "initial",
    "split_allocations",
    "migrations",
    "migrations_failed",
    "migrations_unpaired",
    "mixed_frees",
    "silent_moves",
    "silent_settled",
    "silent_found",
    "migrate_batches",
    "migrate_batches_agree",
    "unseen_frees",
)


def _stats(resolve: Any) -> ResolveStats:
    raw = ffi.new("struct pm_resolve_stats *")
    lib.pm_resolve_stats(resolve, raw)
    return ResolveStats(
        counts={name: int(raw.counts[value]) for value, name in RESOLUTIONS.items()},
        details={name: int(getattr(raw, name)) for name in _DETAILS},
    )


def _initial(resolve: Any, first_id: int) -> InitialAllocations:
    pfn, order = ffi.new("uint32_t **"), ffi.new("int8_t **")
    n = lib.pm_resolve_initial(resolve, pfn, order)
    if n == 0:
        return InitialAllocations(first_id=first_id, pfn=np.empty(0, np.uint32), order=np.empty(0, np.int8))
    return InitialAllocations(
        first_id=first_id,
        pfn=np.frombuffer(ffi.buffer(pfn[0], n * 4), np.uint32).copy(),
        order=np.frombuffer(ffi.buffer(order[0], n), np.int8).copy(),
    )


def resolve_input(events: Events, *, frame_flags: NDArray[np.uint32], frame_times: FrameTimes) -> tuple[Any, list[Any]]:
    """A `struct pm_resolve_input *` over the arrays, without copies, and what must be kept alive while it is used."""
    c_events, keep = events.as_c()
    source = ffi.new("struct pm_resolve_input *")
    arrays = {
        "frame_flags": ("uint32_t[]", frame_flags),
        "chunk_first_pfn": ("uint32_t[]", frame_times.first_pfn),
        "chunk_begin_ns": ("uint64_t[]", frame_times.begin_ns),
        "chunk_end_ns": ("uint64_t[]", frame_times.end_ns),
    }
    for name, (ctype, array) in arrays.items():
        keep.append(ffi.from_buffer(ctype, np.ascontiguousarray(array)))
        setattr(source, name, keep[-1])
    source.events, source.n_frames, source.n_chunks = c_events, len(frame_flags), len(frame_times)
    keep.append(source)
    return source, keep


def resolve_allocations(
    events: Events, *, frame_flags: NDArray[np.uint32], frame_times: FrameTimes
) -> tuple[Events, InitialAllocations, ResolveStats]:
    """Fills the columns `allocation` and `resolution`.

    Args:
        events: In order of time.
        frame_flags: State of each frame at the start, or empty.
        frame_times: When each frame was read, or empty: before the first event.

    Returns:
        The events with their allocations, the allocations older than the recording, and the counts.

    Raises:
        RecordingError: A frame number, or how many ids there would be, is beyond 2^31.
        OutOfMemoryError: The host has no memory for the tables: 8 bytes a frame, 12 an ALLOC event.
    """
    allocation = np.empty(len(events), np.uint32)
    resolution = np.empty(len(events), np.uint8)
    source, _keep = resolve_input(events, frame_flags=frame_flags, frame_times=frame_times)
    handle = ffi.new("struct pm_resolve **")
    check(
        lib.pm_resolve_allocations(
            source, ffi.from_buffer("uint32_t[]", allocation), ffi.from_buffer("uint8_t[]", resolution), handle
        )
    )
    try:
        stats = _stats(handle[0])
        initial = _initial(handle[0], stats.details["allocations"])
    finally:
        lib.pm_resolve_destroy(handle[0])
    return events.with_columns(allocation=allocation, resolution=resolution), initial, stats
