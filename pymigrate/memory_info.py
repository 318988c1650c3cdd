"""What frames with owners say about themselves: frozen results of `Machine` and of what lives in one."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeVar

from pymigrate._core import ffi, lib

__all__ = [
    "BackingCounters",
    "LruSizes",
    "MemoryCounters",
    "PageInfo",
    "PageUse",
    "Rmap",
    "RmapEntry",
    "TickReport",
    "Translation",
    "TranslationKind",
]

PageUse = Literal["none", "anon", "file", "owner", "table", "detached"]
_USES: dict[int, PageUse] = {
    lib.PM_USE_NONE: "none",
    lib.PM_USE_ANON: "anon",
    lib.PM_USE_FILE: "file",
    lib.PM_USE_OWNER: "owner",
    lib.PM_USE_TABLE: "table",
    lib.PM_USE_DETACHED: "detached",
}
_PINS = (
    ("short", lib.PM_PIN_SHORT),
    ("direct-io", lib.PM_PIN_DIRECT_IO),
    ("long", lib.PM_PIN_LONG),
    ("window", lib.PM_PIN_WINDOW),
)

TranslationKind = Literal["hit", "touch", "swap", "other"]
TRANSLATION_KINDS: dict[int, TranslationKind] = {
    lib.PM_TRANSLATED_HIT: "hit",
    lib.PM_TRANSLATED_TOUCH: "touch",
    lib.PM_TRANSLATED_SWAP: "swap",
    lib.PM_TRANSLATED_OTHER: "other",
}

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Translation:
    """Where an address is.

    Attributes:
        pfn: The frame that holds it.
        order: 0, or that of a huge page: the aligned 2^order pages around the address lie in the block around `pfn`.
        kind: ``"hit"``: it was there; ``"touch"``: first touch; ``"swap"``: it came back from swap; ``"other"``: a copy
            on write, or a page that was moving.
    """

    pfn: int
    order: int
    kind: TranslationKind


@dataclasses.dataclass(frozen=True, slots=True)
class TickReport:
    """What a tick did. Frames.

    Attributes:
        drained: Moved from per-CPU lists to the free lists.
        reclaimed: Freed by kswapd.
        moved: Moved by kcompactd.
    """

    drained: int
    reclaimed: int
    moved: int


def read_fields(cls: type[T], raw: Any) -> T:
    """Returns a dataclass whose fields are those of a C struct, by name; what is annotated ``bool`` becomes one."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    return cls(*(bool(getattr(raw, f.name)) if f.type == "bool" else int(getattr(raw, f.name)) for f in fields))


def page_flag_names() -> tuple[str, ...]:
    """Returns the names of a frame's flags, from bit 0 on."""
    names: list[str] = []
    while (text := lib.pm_page_flag_name(len(names))) != ffi.NULL:
        names.append(ffi.string(text).decode())
    return tuple(names)


_FLAG_NAMES = page_flag_names()


@dataclasses.dataclass(frozen=True, slots=True)
class PageInfo:
    """What a frame belongs to, and who refers to it.

    Attributes:
        use: Its owner; ``"none"``: free, or allocated by `Machine.alloc`. ``"detached"``: its file was truncated, or it
            is on its way to or from an owner.
        flags: Names of the flags that are set, such as ``"dirty"``, ``"lru"``, ``"mlocked"``, ``"swapcache"``.
        references: Page-table entries, caches, buffers, pins (a pin other than a short one counts 1024), users in
            passing.
        mapcount: Page-table entries that map it.
        order: Of its block.
        index: Page offset in its file or in anonymous memory.
        object: Handle of its file or owner; None: there is none, or it is closed.
        swap_slot: Where it is in the swap cache; None: it is not.
        pins: How many pins of each kind (``"short"``, ``"direct-io"``, ``"long"``, ``"window"``); none that are zero.
    """

    use: PageUse
    flags: frozenset[str]
    references: int
    mapcount: int
    order: int
    index: int
    object: int | None
    swap_slot: int | None
    pins: dict[str, int]


def read_page_info(raw: Any) -> PageInfo:
    """Returns what a `struct pm_page_info` says."""
    flags = frozenset(name for bit, name in enumerate(_FLAG_NAMES) if raw.flags >> bit & 1)
    return PageInfo(
        use=_USES[raw.use],
        flags=flags,
        references=raw.references,
        mapcount=raw.mapcount,
        order=raw.order,
        index=raw.index,
        object=raw.object or None,
        swap_slot=raw.swap_slot if "swapcache" in flags else None,
        pins={name: raw.pins[kind] for name, kind in _PINS if raw.pins[kind]},
    )


@dataclasses.dataclass(frozen=True, slots=True)
class RmapEntry:
    """A place where a frame is mapped.

    Attributes:
        space: `AddressSpace.handle`.
        addr: Virtual address of the page.
    """

    space: int
    addr: int


@dataclasses.dataclass(frozen=True, slots=True)
class Rmap:
    """Every place where a frame is mapped.

    Attributes:
        entries: A child comes after its parent.
        visited: How many areas had to be looked at to find them.
    """

    entries: tuple[RmapEntry, ...]
    visited: int


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryCounters:
    """What has happened in the address spaces of a machine.

    Attributes:
        fault_anon: Faults that gave a page of zeros.
        fault_file: Faults that mapped a page of a file.
        fault_swap: Faults that brought a page back from swap.
        fault_cow_copy: Writes that took a copy of a shared page.
        fault_cow_reuse: Writes to a shared page that nobody else shared any more.
        fault_notify: First writes to a clean page of a shared file mapping.
        fault_retry: Faults in which somebody else was faster.
        flushes: TLB flushes.
        flush_skipped: Of these, those that had nobody to wait for.
        flush_waits: Times that a flush found a CPU inside an access.
        forks: Address spaces forked.
        fork_pages: Pages that forks shared.
        reclaim_calls: Allocations that had to reclaim.
        fault_migration: Faults that met a migration entry, and waited until it was replaced.
    """

    fault_anon: int
    fault_file: int
    fault_swap: int
    fault_cow_copy: int
    fault_cow_reuse: int
    fault_notify: int
    fault_retry: int
    flushes: int
    flush_skipped: int
    flush_waits: int
    forks: int
    fork_pages: int
    reclaim_calls: int
    fault_migration: int


@dataclasses.dataclass(frozen=True, slots=True)
class BackingCounters:
    """What has happened behind the address spaces of a machine, in pages.

    Attributes:
        file_reads: Read from a device into the page cache.
        file_writes: Written out from it.
        swap_reads: Read from swap.
        swap_writes: Written to swap.
        io_errors: Transfers that failed.
        scanned: Looked at by reclaim.
        reclaimed_file: Given up by reclaim, of files.
        reclaimed_anon: Given up by reclaim, anonymous.
        activated: Found in use by reclaim.
        deactivated: Aged to an inactive list.
        unevictable: Found to be mlocked.
        waits: Times that reclaim waited for a transfer.
        truncated: Given up by truncation.
        dropped: Given up by `File.drop`.
    """

    file_reads: int
    file_writes: int
    swap_reads: int
    swap_writes: int
    io_errors: int
    scanned: int
    reclaimed_file: int
    reclaimed_anon: int
    activated: int
    deactivated: int
    unevictable: int
    waits: int
    truncated: int
    dropped: int


@dataclasses.dataclass(frozen=True, slots=True)
class LruSizes:
    """Pages of a zone on its lists by age."""

    inactive_anon: int
    active_anon: int
    inactive_file: int
    active_file: int
    unevictable: int
