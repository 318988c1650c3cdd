"""The words of the allocator as Python enums: gfp flags, migrate types, zones, and where a frame can be."""

from __future__ import annotations

import enum
import re
from typing import Any

from pymigrate._core import ffi, lib
from pymigrate.errors import check

__all__ = ["FrameState", "Gfp", "GfpBits", "MigrateType", "Place", "ZoneKind"]


class Gfp(enum.IntFlag):
    """What a request may do, and for whom: the kernel's gfp flags under numbers of our own.

    The zone flags (`DMA`, `DMA32`, `HIGHMEM`, `MOVABLE`) say which zones may serve; `MOVABLE` and `RECLAIMABLE` say the
    migrate type (neither: unmovable); `HIGH`, `MEMALLOC` and the absence of `DIRECT_RECLAIM` open the reserves.

    Example:
        >>> Gfp.KERNEL == Gfp.DIRECT_RECLAIM | Gfp.KSWAPD_RECLAIM | Gfp.IO | Gfp.FS
        True
        >>> Gfp.parse("GFP_KERNEL|__GFP_ZERO") == Gfp.KERNEL | Gfp.ZERO
        True
    """

    DMA = lib.PM_GFP_DMA
    HIGHMEM = lib.PM_GFP_HIGHMEM
    DMA32 = lib.PM_GFP_DMA32
    MOVABLE = lib.PM_GFP_MOVABLE
    RECLAIMABLE = lib.PM_GFP_RECLAIMABLE
    HIGH = lib.PM_GFP_HIGH
    IO = lib.PM_GFP_IO
    FS = lib.PM_GFP_FS
    ZERO = lib.PM_GFP_ZERO
    DIRECT_RECLAIM = lib.PM_GFP_DIRECT_RECLAIM
    KSWAPD_RECLAIM = lib.PM_GFP_KSWAPD_RECLAIM
    WRITE = lib.PM_GFP_WRITE
    NOWARN = lib.PM_GFP_NOWARN
    RETRY_MAYFAIL = lib.PM_GFP_RETRY_MAYFAIL
    NOFAIL = lib.PM_GFP_NOFAIL
    NORETRY = lib.PM_GFP_NORETRY
    MEMALLOC = lib.PM_GFP_MEMALLOC
    COMP = lib.PM_GFP_COMP
    NOMEMALLOC = lib.PM_GFP_NOMEMALLOC
    HARDWALL = lib.PM_GFP_HARDWALL
    THISNODE = lib.PM_GFP_THISNODE
    ACCOUNT = lib.PM_GFP_ACCOUNT
    ZEROTAGS = lib.PM_GFP_ZEROTAGS
    NOLOCKDEP = lib.PM_GFP_NOLOCKDEP
    NO_OBJ_EXT = lib.PM_GFP_NO_OBJ_EXT
    KERNEL = lib.PM_GFP_KERNEL
    ATOMIC = lib.PM_GFP_ATOMIC
    NOWAIT = lib.PM_GFP_NOWAIT
    HIGHUSER_MOVABLE = lib.PM_GFP_HIGHUSER_MOVABLE

    @classmethod
    def parse(cls, text: str) -> Gfp:
        """Reads flags as a kernel prints them: names joined by ``|``, ``none``, or the hexadecimal of a 6.x kernel.

        Args:
            text: For example ``"GFP_ATOMIC|__GFP_NOWARN"``.

        Raises:
            ValueError: A name or a bit is not known.
        """
        raw = text.encode()
        unknown = ffi.new("uint32_t *")
        flags = lib.pm_gfp_parse(raw, len(raw), unknown)
        if unknown[0]:
            raise ValueError(f"gfp flags {text!r}: {unknown[0]} of them are not known")
        return cls(flags)


class GfpBits:
    """What each bit of a kernel's gfp mask stands for: kernels have numbered them differently.

    Example:
        >>> GfpBits.of_version("4.14").parse("0x14000c0") == Gfp.KERNEL
        True
        >>> GfpBits.of_version("6.1").parse("0xcc0") == Gfp.KERNEL
        True
    """

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        """A `struct pm_gfp_bits *`."""

    @classmethod
    def of_version(cls, version: str) -> GfpBits:
        """The layout of a kernel's version, from 4.5 on. Bits that depend on its configuration (24 and up) are unknown.

        Args:
            version: Such as ``"5.15"`` or ``"6.1.0-18-amd64"``.

        Raises:
            ValueError: It is no version, or older than 4.5.
        """
        match = re.match(r"(\d{1,3})\.(\d{1,3})", version)
        raw = ffi.new("struct pm_gfp_bits *")
        if match is None or lib.pm_gfp_bits_of_version(int(match[1]), int(match[2]), raw) != lib.PM_OK:
            raise ValueError(f"gfp flags of kernel {version!r}: expected a version from 4.5 on, such as 5.15")
        return cls(raw)

    @classmethod
    def of_format(cls, text: bytes) -> GfpBits:
        """The layout that an event's format file gives, as of events/kmem/mm_page_alloc/format.

        Raises:
            ValueError: The text is no such format.
        """
        decoder = ffi.new("struct pm_decoder **")
        raw = ffi.new("struct pm_gfp_bits *")
        check(lib.pm_decoder_create(False, lib.PM_DECODE_BATCH_MIN, decoder))
        try:
            status = lib.pm_decoder_add_format(decoder[0], text, len(text))
            if status != lib.PM_OK or lib.pm_decoder_gfp_bits(decoder[0], raw) != lib.PM_OK:
                raise ValueError("no format file of an event with gfp flags")
        finally:
            lib.pm_decoder_destroy(decoder[0])
        return cls(raw)

    def parse(self, text: str) -> Gfp:
        """`Gfp.parse` for hexadecimal flags of this kernel.

        Raises:
            ValueError: A name or a bit is not known.
        """
        raw = text.encode()
        unknown = ffi.new("uint32_t *")
        flags = lib.pm_gfp_parse_bits(self.raw, raw, len(raw), unknown)
        if unknown[0]:
            raise ValueError(f"gfp flags {text!r}: {unknown[0]} of them are not known")
        return Gfp(flags)


class MigrateType(enum.IntEnum):
    """What a pageblock, or a block of memory, is for. Numbered as in the kernel built without CMA."""

    UNMOVABLE = lib.PM_MT_UNMOVABLE
    MOVABLE = lib.PM_MT_MOVABLE
    RECLAIMABLE = lib.PM_MT_RECLAIMABLE
    HIGHATOMIC = lib.PM_MT_HIGHATOMIC
    ISOLATE = lib.PM_MT_ISOLATE


class ZoneKind(enum.IntEnum):
    """The kinds of zones, lowest first."""

    DMA = lib.PM_ZONE_DMA
    DMA32 = lib.PM_ZONE_DMA32
    NORMAL = lib.PM_ZONE_NORMAL
    MOVABLE = lib.PM_ZONE_MOVABLE

    @property
    def label(self) -> str:
        """The name that /proc prints: ``DMA``, ``DMA32``, ``Normal`` or ``Movable``."""
        return self.name if self <= ZoneKind.DMA32 else self.name.capitalize()


class Place(enum.IntEnum):
    """Where `Machine.load_blocks` puts a block."""

    FREE = lib.PM_PLACE_FREE
    PCP = lib.PM_PLACE_PCP
    USED = lib.PM_PLACE_USED


class FrameState(enum.IntEnum):
    """Where a frame is."""

    HOLE = lib.PM_STATE_HOLE
    RESERVED = lib.PM_STATE_RESERVED
    UNPLACED = lib.PM_STATE_UNPLACED
    FREE = lib.PM_STATE_FREE
    PCP = lib.PM_STATE_PCP
    USED = lib.PM_STATE_USED
    OFFLINE = lib.PM_STATE_OFFLINE
