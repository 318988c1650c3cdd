"""Running a strategy of defragmentation on a machine, and what any strategy could reach at best."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pymigrate._core import ffi, lib
from pymigrate._named import machine_of
from pymigrate.errors import ArgumentError, error_of
from pymigrate.migration import PROTOCOLS, REASONS

if TYPE_CHECKING:
    from pymigrate.machine import Machine

__all__ = [
    "PRIORITIES",
    "STANDINGS",
    "STRATEGIES",
    "Bound",
    "CompactResult",
    "ZoneResult",
    "bound",
    "census",
    "compact",
]

ALL_BLOCKS: int = lib.PM_ALL_BLOCKS
EVERY_ZONE: int = lib.PM_EVERY_ZONE
NO_FRAME: int = lib.PM_NO_FRAME
PRIORITIES = ("async", "sync-light", "full")


def _names(function: Any, n: int) -> dict[str, int]:
    found = {number: function(number) for number in range(n)}
    return {ffi.string(name).decode(): number for number, name in found.items() if name != ffi.NULL}


STRATEGIES: dict[str, int] = _names(lib.pm_strategy_name, lib.PM_NR_STRATEGIES)
"""The core's strategies by name."""
STANDINGS: tuple[str, ...] = tuple(_names(lib.pm_standing_name, lib.PM_NR_STANDING))
"""What a frame can be for whoever wants the block around it, by the core's number."""


@dataclasses.dataclass(frozen=True, slots=True)
class ZoneResult:
    """Why a zone's turn ended.

    Attributes:
        zone: Its index.
        status: In words.
        stopped_pfn: The block that found no destination of its order, where that ended the turn; None otherwise.
        stopped_order: That block's order.
    """

    zone: int
    status: str
    stopped_pfn: int | None
    stopped_order: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CompactResult:
    """What a strategy did. Frames, where nothing else is said.

    Attributes:
        strategy: Its name.
        order: Of the blocks that were wanted.
        blocks_before: Free blocks of the order and above, in units of the order.
        blocks_after: The same at the end.
        moved: Frames that moved.
        failed: Frames that did not, by why.
        scanned: Frames looked at, for something to move and for somewhere to move it to.
        split: Blocks split because they found no destination of their order.
        batches: Calls of the migration engine.
        flushes: TLB flushes.
        status: Why it ended, in words.
        captured: First frame of the block that is the caller's; None.
        zones: Why each zone's turn ended, where the strategy goes by zones.
        planned: What the planner's first plan was to move; 0 for the others.
    """

    strategy: str
    order: int
    blocks_before: int
    blocks_after: int
    moved: int
    failed: dict[str, int]
    scanned: int
    split: int
    batches: int
    flushes: int
    status: str
    captured: int | None
    zones: tuple[ZoneResult, ...]
    planned: int = 0

    @property
    def gained(self) -> int:
        """Blocks gained."""
        return self.blocks_after - self.blocks_before

    @property
    def moved_per_block(self) -> float | None:
        """Frames moved for each block gained; None where none was."""
        return self.moved / self.gained if self.gained > 0 else None


def _status(number: int) -> str:
    text: bytes = ffi.string(lib.pm_compact_status_text(number))
    return text.decode()


def read_result(raw: Any, strategy: str, order: int) -> CompactResult:
    """A `struct pm_compact_result` in Python."""
    zones = tuple(
        ZoneResult(
            zone=i,
            status=_status(zone.status),
            stopped_pfn=None if zone.stopped_pfn == NO_FRAME else int(zone.stopped_pfn),
            stopped_order=int(zone.stopped_order),
        )
        for i, zone in enumerate(raw.zone)
        if zone.looked_at
    )
    return CompactResult(
        strategy=strategy,
        order=order,
        blocks_before=int(raw.blocks_before),
        blocks_after=int(raw.blocks_after),
        moved=int(raw.moved),
        failed={name: int(raw.failed[i]) for i, name in enumerate(REASONS) if raw.failed[i]},
        scanned=int(raw.scanned_migrate) + int(raw.scanned_free),
        split=int(raw.split),
        batches=int(raw.batches),
        flushes=int(raw.flushes),
        status=_status(raw.status),
        captured=None if raw.captured == NO_FRAME else int(raw.captured),
        zones=zones,
        planned=int(raw.planned),
    )


def _index(name: str, value: str, names: tuple[str, ...]) -> int:
    if value not in names:
        raise ArgumentError(f"{name} is one of {', '.join(map(repr, names))}, not {value!r}")
    return names.index(value)


def _check_blocks(blocks: int | None) -> int:
    if blocks is not None and not 0 < blocks < ALL_BLOCKS:
        raise ArgumentError(f"blocks is a number above 0, or None for all that can be had, not {blocks}")
    return ALL_BLOCKS if blocks is None else blocks


def _zone(zone: int | None) -> dict[str, Any]:
    """For messages, where one was named."""
    return {} if zone is None else {"zone": zone}


def compact(
    machine: Machine,
    strategy: str = "linux",
    *,
    order: int = 9,
    blocks: int | None = None,
    zone: int | None = None,
    priority: str = "full",
    protocol: str = "entry",
    stop: Mapping[int, int] | None = None,
) -> CompactResult:
    """Runs one of the core's strategies now.

    That less is gained than was wanted is no error: the result says why.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        strategy: One of `STRATEGIES`.
        order: Of the blocks that are wanted.
        blocks: How many of them beside those that are there; None: as many as can be had.
        zone: In the zone with this index; None: in every zone.
        priority: ``"async"``, ``"sync-light"`` or ``"full"``.
        protocol: What blocks accessors meanwhile (`pymigrate.migration.PROTOCOLS`).
        stop: For ``"linux"``: by a zone's index the frame where its migrate scanner ends; zones that are not in it are
            gone through.

    Raises:
        ValueError: An argument is out of its range.
        StateError: The machine has no owners of frames.
    """
    where = machine_of(machine)
    raw = ffi.new("struct pm_compact_request *")
    lib.pm_compact_request_default(raw)
    raw.strategy = STRATEGIES[tuple(STRATEGIES)[_index("strategy", strategy, tuple(STRATEGIES))]]
    raw.priority = _index("priority", priority, PRIORITIES)
    raw.protocol = _index("protocol", protocol, PROTOCOLS)
    raw.blocks = _check_blocks(blocks)
    result, before = ffi.new("struct pm_compact_result *"), ffi.new("struct pm_compact_result *")
    try:
        for index, pfn in (stop or {}).items():
            if not 0 <= index < len(raw.stop_pfn) or pfn <= 0:
                raise ArgumentError(f"stop names frames above 0 by a zone's index, not {index}: {pfn}")
            raw.stop_pfn[index] = pfn
        raw.order, raw.zone = order, EVERY_ZONE if zone is None else zone
        while True:
            status = lib.pm_compact(where._handle, where._this_cpu(), raw, result)
            # It comes back for signals, and goes on from there.
            if status != lib.PM_ERR_INTR:
                break
            before[0] = result[0]
            raw.resume = before
    except (TypeError, OverflowError) as error:
        raise where._bad_call(error) from None
    if status:
        raise error_of(status, strategy=strategy, order=order, **_zone(zone))
    return read_result(result, strategy, order)


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """What can be had at all, by whatever method.

    Attributes:
        free_frames: Free, in lists of the zones and of CPUs.
        possible: Blocks in which nothing stays.
        blocks: Of these, blocks without anything in them.
        bound: Most blocks that can be free at once.
        wanted: Blocks beside those that are there, as many as asked for or as the bound allows.
        minimum: Frames that have to move for them at least.
    """

    free_frames: int
    possible: int
    blocks: int
    bound: int
    wanted: int
    minimum: int


def bound(machine: Machine, *, order: int = 9, blocks: int | None = None, zone: int | None = None) -> Bound:
    """Works out the most blocks that can be had, and the fewest frames that have to move for some of them.

    Any set of blocks in which nothing stays can be emptied if it is no larger than the free frames together: what
    stands in it then finds room outside. So the cheapest blocks are the minimum.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        order: Of the blocks.
        blocks: For how many more the minimum is wanted; None: for as many as there can be.
        zone: In the zone with this index; None: in every zone.
    """
    raw = ffi.new("struct pm_bound *")
    wanted = ALL_BLOCKS if blocks is None else blocks
    where = EVERY_ZONE if zone is None else zone
    machine_of(machine)._call(lib.pm_compact_bound, where, order, wanted, raw, context={"order": order} | _zone(zone))
    return Bound(*(int(getattr(raw, field.name)) for field in dataclasses.fields(Bound)))


def census(machine: Machine, *, order: int = 9) -> NDArray[np.uint32]:
    """Counts what stands in each aligned block: uint32 [blocks, `STANDINGS`], from frame 0 on."""
    if not 0 <= order <= lib.PM_MAX_ORDER:
        raise ArgumentError(f"order is 0..{lib.PM_MAX_ORDER}, not {order}")
    nr = -(-machine_of(machine).nr_frames // (1 << order))
    counts = np.zeros((nr, len(STANDINGS)), np.uint32)
    pointer = ffi.from_buffer("uint32_t[]", counts.reshape(-1), require_writable=True)
    machine._call(lib.pm_blocks_census, order, 0, nr, pointer, context={"order": order})
    return counts
