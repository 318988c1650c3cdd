"""What a machine says about itself: frozen results of `Machine`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from pymigrate.gfp import FrameState, MigrateType, ZoneKind

__all__ = ["Counters", "Extfrag", "FrameInfo", "PcpInfo", "ZoneInfo"]


@dataclasses.dataclass(frozen=True, slots=True)
class ZoneInfo:
    """One zone at one moment. All counts are frames.

    Attributes:
        kind: Which zone it is.
        start_pfn: Its first frame.
        spanned: Frames from there, holes included.
        present: Frames that exist.
        managed: Frames that the allocator owns.
        nr_free: On the free lists, without ISOLATE.
        nr_free_highatomic: Of those, on the HIGHATOMIC lists.
        nr_isolated: On the ISOLATE lists.
        nr_pcp: On per-CPU lists.
        nr_unplaced: Not placed yet by `Machine.load_blocks`.
        nr_reserved_highatomic: In HIGHATOMIC pageblocks.
        wmark: The marks MIN, LOW, HIGH and PROMO, without the boost.
        watermark_boost: What is added to each of them at the moment.
        lowmem_reserve: By the highest `ZoneKind` that a request may use: what it must leave in this zone.
        below_high: Free frames are known to be below HIGH.
        reclaim_active: Somebody said that reclaim is active here.
    """

    kind: ZoneKind
    start_pfn: int
    spanned: int
    present: int
    managed: int
    nr_free: int
    nr_free_highatomic: int
    nr_isolated: int
    nr_pcp: int
    nr_unplaced: int
    nr_reserved_highatomic: int
    wmark: tuple[int, int, int, int]
    watermark_boost: int
    lowmem_reserve: tuple[int, int, int, int]
    below_high: bool
    reclaim_active: bool

    @property
    def name(self) -> str:
        """The name that /proc prints, such as ``Normal``."""
        return self.kind.label

    @property
    def end_pfn(self) -> int:
        """One past its last frame."""
        return self.start_pfn + self.spanned


@dataclasses.dataclass(frozen=True, slots=True)
class PcpInfo:
    """The lists of one CPU and zone, in frames; `alloc_factor` counts the doublings of the next refill."""

    count: int
    high: int
    high_min: int
    high_max: int
    batch: int
    alloc_factor: int
    free_count: int


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Counters:
    """What has happened since the machine was made.

    Attributes:
        alloc: Blocks handed out.
        free: Blocks taken back.
        fail_watermark: Requests refused because every zone was below the mark.
        fail_no_block: Requests refused although there were enough free frames.
        pcp_refill: Blocks moved to per-CPU lists.
        pcp_drain: Blocks moved from them.
        claim: uint64 [5, 5], [type of the request, type of the block]: fallbacks that retyped a pageblock.
        steal: uint64 [5, 5]: fallbacks that took one block.
        highatomic_reserved: Pageblocks put into the high-order atomic reserve.
    """

    alloc: int
    free: int
    fail_watermark: int
    fail_no_block: int
    pcp_refill: int
    pcp_drain: int
    claim: npt.NDArray[np.uint64]
    steal: npt.NDArray[np.uint64]
    highatomic_reserved: int


@dataclasses.dataclass(frozen=True, slots=True)
class FrameInfo:
    """Where a frame is, and the block that holds it.

    Attributes:
        state: Where it is.
        zone: Index of its zone; None outside every zone.
        head: First frame of its block; the frame itself where there is no block.
        order: Order of the block.
        migratetype: Type of the block.
        pageblock_type: Type of the pageblock; ISOLATE while it is isolated.
        tag: The caller's own number for an allocated block.
    """

    state: FrameState
    zone: int | None
    head: int
    order: int
    migratetype: MigrateType
    pageblock_type: MigrateType
    tag: int


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Extfrag:
    """The indices of debugfs' extfrag_index and unusable_index, for every zone and order.

    Attributes:
        fragmentation: int64 [zone, order], thousandths; -1000: the request would succeed.
        unusable: int64 [zone, order], thousandths.
    """

    fragmentation: npt.NDArray[np.int64]
    unusable: npt.NDArray[np.int64]


def read_zone_info(raw: Any) -> ZoneInfo:
    """Returns what a `struct pm_zone_info` says."""
    values = {field.name: getattr(raw, field.name) for field in dataclasses.fields(ZoneInfo)}
    values["kind"] = ZoneKind(values["kind"])
    for name in ("wmark", "lowmem_reserve"):
        values[name] = tuple(values[name])
    for name in ("below_high", "reclaim_active"):
        values[name] = bool(values[name])
    return ZoneInfo(**values)


def read_pcp_info(raw: Any) -> PcpInfo:
    """Returns what a `struct pm_pcp_info` says."""
    return PcpInfo(*(getattr(raw, field.name) for field in dataclasses.fields(PcpInfo)))


def read_counters(raw: Any) -> Counters:
    """Returns what a `struct pm_counters` says."""
    values = {field.name: getattr(raw, field.name) for field in dataclasses.fields(Counters)}
    for name in ("claim", "steal"):
        values[name] = np.array([list(row) for row in values[name]], dtype=np.uint64)
    return Counters(**values)


def read_frame_info(raw: Any, nr_zones: int) -> FrameInfo:
    """Returns what a `struct pm_frame_info` says."""
    return FrameInfo(
        state=FrameState(raw.state),
        zone=raw.zone if raw.zone < nr_zones else None,
        head=raw.head,
        order=raw.order,
        migratetype=MigrateType(raw.migratetype),
        pageblock_type=MigrateType(raw.pageblock_type),
        tag=raw.tag,
    )
