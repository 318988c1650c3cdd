"""What a machine is made of, before it is made: zones, holes, and what an administrator can set."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pymigrate._core import ffi, lib
from pymigrate.errors import ArgumentError
from pymigrate.gfp import ZoneKind

__all__ = ["Settings", "Start", "Zone", "frames_of_size", "zones_like_x86"]

Start = Literal["free", "unplaced"]

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_DMA_END_PFN = 4096  # 16 MiB
_DMA32_END_PFN = 1 << 20  # 4 GiB


@dataclasses.dataclass(frozen=True, slots=True)
class Zone:
    """One zone of a layout.

    Attributes:
        kind: Which zone; a machine has at most one of each kind.
        start_pfn: Its first frame.
        spanned: Frames from there, holes included.
    """

    kind: ZoneKind
    start_pfn: int
    spanned: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an administrator can set. The defaults are those of the kernel; None is what it works out from the memory.

    Attributes:
        min_free_kbytes: KiB that the watermarks start from.
        watermark_scale_factor: Distance between watermarks, in parts of 10,000 of a zone (at most 10,000).
        watermark_boost_factor: Largest boost, in parts of 10,000 of the HIGH mark; 0: no boost.
        lowmem_reserve_ratio: By `ZoneKind`: one frame in so many of the zones above is kept from requests that could
            use those; 0: none.
        defrag_mode: Take a block of another type below the pageblock order only as a last resort.
        pcp: Whether there are per-CPU lists; without, every block comes from and goes to the free lists.
        pcp_high_min: Frames that the lists of a CPU and zone may always hold.
        pcp_high_max: Frames that they may hold at most.
        pcp_batch: Frames that are moved to or from them at once.

    Example:
        >>> Settings(pcp=False, min_free_kbytes=0).watermark_scale_factor
        10
    """

    min_free_kbytes: int | None = None
    watermark_scale_factor: int = 10
    watermark_boost_factor: int = 15000
    lowmem_reserve_ratio: tuple[int, int, int, int] = (256, 256, 32, 0)
    defrag_mode: bool = False
    pcp: bool = True
    pcp_high_min: int | None = None
    pcp_high_max: int | None = None
    pcp_batch: int | None = None


def frames_of_size(size: int | str) -> int:
    """Returns the whole frames in an amount of memory.

    Args:
        size: Bytes, or a text such as ``"512M"``, ``"4G"``, ``"4GiB"`` (powers of 1024).

    Raises:
        ValueError: The text is not a size, or the size is below one frame.

    Example:
        >>> frames_of_size("1G")
        262144
    """
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d+)\s*([KMGT]?)(?:i?B)?\s*", size, re.IGNORECASE)
        if match is None:
            raise ArgumentError(f"{size!r} is not a size such as 512M or 4G")
        size = int(match[1]) << _UNITS[match[2].upper()]
    if size < lib.PM_PAGE_SIZE:
        raise ArgumentError(f"a machine needs at least one frame of {lib.PM_PAGE_SIZE} bytes, not {size} bytes")
    return size // int(lib.PM_PAGE_SIZE)


def zones_like_x86(nr_frames: int) -> tuple[Zone, ...]:
    """Lays frames out as x86-64 does: DMA from frame 1 to 16 MiB, DMA32 to 4 GiB, Normal above; no holes.

    Example:
        >>> [(zone.kind.label, zone.start_pfn, zone.spanned) for zone in zones_like_x86(1 << 18)]
        [('DMA', 1, 4095), ('DMA32', 4096, 258048)]
    """
    edges = ((ZoneKind.DMA, 1, _DMA_END_PFN), (ZoneKind.DMA32, _DMA_END_PFN, _DMA32_END_PFN))
    zones = [Zone(kind, start, min(end, nr_frames) - start) for kind, start, end in edges if nr_frames > start]
    if nr_frames > _DMA32_END_PFN:
        zones.append(Zone(ZoneKind.NORMAL, _DMA32_END_PFN, nr_frames - _DMA32_END_PFN))
    return tuple(zones)


def make_layout(
    zones: Iterable[Zone | Sequence[int]],
    *,
    cpus: int,
    holes: Iterable[Sequence[int]],
    reserved: Iterable[Sequence[int]],
    start: Start,
    settings: Settings,
) -> tuple[Any, list[Any]]:
    """Returns a `struct pm_layout *` and what must stay alive as long as it is used."""
    if start not in ("free", "unplaced"):
        raise ArgumentError(f'start is "free" or "unplaced", not {start!r}')
    rows = [dataclasses.astuple(zone) if isinstance(zone, Zone) else tuple(zone) for zone in zones]
    try:
        tables = [
            ffi.new(
                "struct pm_zone_layout[]", [(int(kind), int(first), int(spanned)) for kind, first, spanned in rows]
            ),
            ffi.new("struct pm_range[]", [(int(first), int(end)) for first, end in holes]),
            ffi.new("struct pm_range[]", [(int(first), int(end)) for first, end in reserved]),
        ]
        layout = ffi.new("struct pm_layout *")
        layout.zones, layout.holes, layout.reserved = tables
        layout.nr_zones, layout.nr_holes, layout.nr_reserved = map(len, tables)
        layout.nr_cpus = cpus
        layout.start = lib.PM_START_FREE if start == "free" else lib.PM_START_UNPLACED
        _fill_settings(layout.settings, settings)
    except (OverflowError, ValueError) as error:
        raise ArgumentError(f"a layout's numbers are out of range or of the wrong shape: {error}") from error
    return layout, tables


def _fill_settings(target: Any, settings: Settings) -> None:
    lib.pm_settings_default(ffi.addressof(target))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value is None:
            continue
        if isinstance(value, int) and value < 0:
            raise ArgumentError(f"{field.name} is negative: {value}")
        setattr(target, field.name, list(value) if isinstance(value, tuple) else value)
