"""Events in columns: the arrays of `struct pm_events`, and what each kind of event is called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymigrate._core import ffi
from pymigrate.errors import RecordingError

__all__ = ["COLUMN_DTYPES", "EVENT_KINDS", "NO_PFN", "Events"]

NO_PFN = 0xFFFFFFFF
"""No frame, no allocation, no argument: `PM_NO_PFN32`."""

EVENT_KINDS: tuple[str, ...] = (
    "mm_page_alloc",
    "mm_page_free",
    "mm_page_free_batched",
    "mm_page_alloc_zone_locked",
    "mm_page_pcpu_drain",
    "mm_page_alloc_extfrag",
    "mm_compaction_isolate_freepages",
    "mm_compaction_fast_isolate_freepages",
    "mm_compaction_isolate_migratepages",
    "set_migration_pte",
    "remove_migration_pte",
    "mm_migrate_pages",
    "mm_compaction_begin",
    "mm_compaction_end",
    "mm_compaction_finished",
    "mm_compaction_suitable",
    "mm_compaction_try_to_compact_pages",
    "mm_compaction_kcompactd_wake",
    "mm_vmscan_kswapd_wake",
    "mm_vmscan_wakeup_kswapd",
    "mm_vmscan_direct_reclaim_begin",
    "mm_compaction_migratepages",
)
"""The kernel's name of each `enum pm_event_kind`, by number."""

COLUMN_DTYPES: dict[str, np.dtype[Any]] = {
    "time_ns": np.dtype("u8"),
    "tid": np.dtype("u4"),
    "cpu": np.dtype("u2"),
    "kind": np.dtype("u1"),
    "order": np.dtype("i1"),
    "migratetype": np.dtype("i1"),
    "pfn": np.dtype("u4"),
    "gfp": np.dtype("u4"),
    "allocation": np.dtype("u4"),
    "arg0": np.dtype("u4"),
    "arg1": np.dtype("u4"),
    "arg2": np.dtype("u4"),
    "resolution": np.dtype("u1"),
}
"""The columns and their element types, named as in `struct pm_events`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Events:
    """Events in order of time: all arrays have the shape ``(n,)``.

    What a column means depends on the kind: see `enum pm_event_kind` in pymigrate.h.

    Attributes:
        time_ns: The recording's clock, in nanoseconds.
        tid: Thread id.
        cpu: The CPU that the event happened on.
        kind: `enum pm_event_kind`; `EVENT_KINDS` has the names.
        order: Order of the block, -1 where the kind has none.
        migratetype: As the recorded kernel numbers it, -1 where the kind has none.
        pfn: Frame number, `NO_PFN` where there is none.
        gfp: `enum pm_gfp` bits.
        allocation: Which allocation an ALLOC or FREE belongs to, `NO_PFN` for none.
        arg0: By kind.
        arg1: By kind.
        arg2: By kind.
        resolution: `enum pm_resolution`: how `allocation` was found, or why it was not.
    """

    time_ns: NDArray[np.uint64]
    tid: NDArray[np.uint32]
    cpu: NDArray[np.uint16]
    kind: NDArray[np.uint8]
    order: NDArray[np.int8]
    migratetype: NDArray[np.int8]
    pfn: NDArray[np.uint32]
    gfp: NDArray[np.uint32]
    allocation: NDArray[np.uint32]
    arg0: NDArray[np.uint32]
    arg1: NDArray[np.uint32]
    arg2: NDArray[np.uint32]
    resolution: NDArray[np.uint8]

    def __post_init__(self) -> None:
        for name, dtype in COLUMN_DTYPES.items():
            column = getattr(self, name)
            if column.dtype != dtype or column.shape != self.time_ns.shape or column.ndim != 1:
                raise RecordingError(f"column {name} is {column.dtype}{column.shape}: expected {dtype}({len(self)},)")

    def __len__(self) -> int:
        return int(self.time_ns.shape[0])

    @classmethod
    def empty(cls) -> Events:
        """No events."""
        return cls(**{name: np.empty(0, dtype) for name, dtype in COLUMN_DTYPES.items()})

    def columns(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yields each column's name and array."""
        for field in fields(self):
            yield field.name, getattr(self, field.name)

    def take(self, which: slice | NDArray[Any]) -> Events:
        """The events that a slice, a mask or an index array picks."""
        return Events(**{name: np.ascontiguousarray(column[which]) for name, column in self.columns()})

    def with_columns(self, **columns: NDArray[Any]) -> Events:
        """The same events with some columns replaced."""
        return replace(self, **columns)

    def counts(self) -> dict[str, int]:
        """How many events of each kind there are, by the kernel's name; kinds without any are left out."""
        found = np.bincount(self.kind, minlength=len(EVENT_KINDS))
        return {EVENT_KINDS[kind]: int(count) for kind, count in enumerate(found) if count}

    def as_c(self) -> tuple[Any, list[Any]]:
        """The events as the core takes them, without copies.

        Returns:
            A `struct pm_events *`, and what must be kept alive as long as it is used.
        """
        struct = ffi.new("struct pm_events *")
        keep: list[Any] = [struct, self]
        struct.n = len(self)
        for name, column in self.columns():
            ctype = _CTYPES[column.dtype.str[1:]]
            pointer = ffi.from_buffer(f"{ctype}[]", np.ascontiguousarray(column))
            keep.append(pointer)
            setattr(struct, name, pointer)
        return struct, keep


_CTYPES = {"u1": "uint8_t", "u2": "uint16_t", "u4": "uint32_t", "u8": "uint64_t", "i1": "int8_t"}
