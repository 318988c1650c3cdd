"""Compaction: one block or all of memory, in the background, or because an allocation found nothing.

`pymigrate.defrag.compact` runs a strategy now. Here is the rest: a block that is captured as it comes together,
kcompactd, and allocations that compact and reclaim as a named policy says.

>>> from pymigrate import AddressSpace, Machine, MemoryOptions
>>> from pymigrate.compaction import allocate, capture_block, kcompactd_tick
>>> machine = Machine.from_size("64M", memory=MemoryOptions())
>>> space = AddressSpace(machine)
>>> addr = space.map(48 << 20)
>>> space.touch(addr, 48 << 20, write=True)
>>> for page in range(0, 48 << 20, 8192):
...     space.unmap(addr + page, 4096)
>>> machine.drain()
>>> kept = [machine.alloc(order=9) for _ in range(7)]

No block of 2 MiB is left, but half of 48 MiB is free in single pages:

>>> found = allocate(machine, 9, policy="linux")
>>> found.captured, found.compactions, found.reclaims, found.moved > 0
(True, 1, 0, True)
>>> machine.free(found.pfn, order=9)
>>> report = kcompactd_tick(machine, 0)
>>> report.proactive, report.score_after < report.score_before
(True, True)
>>> machine.close()
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from pymigrate._core import ffi, lib
from pymigrate._named import machine_of
from pymigrate.defrag.run import STRATEGIES, CompactResult, compact, read_result
from pymigrate.errors import ArgumentError, error_of
from pymigrate.gfp import Gfp
from pymigrate.memory import choose
from pymigrate.memory_info import read_fields
from pymigrate.migration import PROTOCOLS

if TYPE_CHECKING:
    from pymigrate.machine import Machine
    from pymigrate.migration import Protocol

__all__ = [
    "POLICIES",
    "CompactionCounters",
    "CompactionSettings",
    "KcompactdReport",
    "Policy",
    "Priority",
    "SlowAllocation",
    "ZoneHints",
    "allocate",
    "capture_block",
    "compact",
    "counters",
    "kcompactd_tick",
    "set_settings",
    "settings",
    "wake_kcompactd",
    "zone_hints",
]

Priority = Literal["async", "sync-light", "full"]
Policy = Literal["linux", "piggin-2004", "reclaim"]

_PRIORITIES = {"async": lib.PM_COMPACT_ASYNC, "sync-light": lib.PM_COMPACT_SYNC_LIGHT, "full": lib.PM_COMPACT_FULL}
_PRIORITY_NAMES: tuple[Priority, ...] = ("async", "sync-light", "full")
_new = ffi.new

POLICIES: dict[str, int] = {
    ffi.string(lib.pm_alloc_policy_name(number)).decode(): number for number in range(lib.PM_NR_POLICIES)
}
"""What an allocation does that finds no block, by name."""


def _status(number: int) -> str:
    text: bytes = ffi.string(lib.pm_compact_status_text(number))
    return text.decode()


def _protocol(name: str) -> int:
    return choose("protocol", name, {text: number for number, text in enumerate(PROTOCOLS)})


def capture_block(
    machine: Machine,
    order: int,
    *,
    gfp: Gfp = Gfp.HIGHUSER_MOVABLE,
    priority: Priority = "sync-light",
    protocol: Protocol = "entry",
) -> tuple[int | None, CompactResult]:
    """Compacts for one block, as strategy ``linux`` does for a request, and keeps it.

    The block is the caller's in the step in which it comes together, so nobody else can take it first.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        order: Of the block.
        gfp: Of the request: its type, and the zones that it may use.
        priority: ``"async"`` never sleeps; ``"full"`` ignores hints, deferrals and types of pageblocks.
        protocol: What blocks accessors meanwhile.

    Returns:
        The block's first frame, to be given to `Machine.free`, and what was done. None: none came together; the
        result says why.

    Raises:
        ValueError: An argument is out of its range.
        StateError: The machine has no owners of frames.
    """
    where = machine_of(machine)
    raw, result, before = (
        _new("struct pm_compact_request *"),
        _new("struct pm_compact_result *"),
        _new("struct pm_compact_result *"),
    )
    lib.pm_compact_request_default(raw)
    raw.blocks, raw.flags = 1, lib.PM_COMPACT_CAPTURE
    raw.priority, raw.protocol = choose("priority", priority, _PRIORITIES), _protocol(protocol)
    try:
        raw.order, raw.gfp = order, int(gfp)
        while (status := lib.pm_compact(where._handle, where._this_cpu(), raw, result)) == lib.PM_ERR_INTR:
            # It comes back for signals, and goes on from there.
            before[0] = result[0]
            raw.resume = before
    except (TypeError, OverflowError) as error:
        raise where._bad_call(error) from None
    if status:
        raise error_of(status, order=order, priority=priority)
    found = read_result(result, "linux", order)
    return found.captured, found


# ---- allocations that find no block ----


@dataclasses.dataclass(frozen=True, slots=True)
class SlowAllocation:
    """A block, and what it cost.

    Attributes:
        pfn: First frame of the block.
        order: Its order.
        slow: Whether there was none at once.
        captured: Whether it was captured as it came together.
        compactions: Attempts to compact.
        priority: Of the last of them; None: there was none.
        status: Why the last of them ended, in words; None.
        reclaims: Times that memory was reclaimed.
        reclaimed: Frames that came free by that.
        moved: Frames moved by compaction.
        scanned: Frames looked at by compaction.
    """

    pfn: int
    order: int
    slow: bool
    captured: bool
    compactions: int
    priority: Priority | None
    status: str | None
    reclaims: int
    reclaimed: int
    moved: int
    scanned: int


def allocate(
    machine: Machine,
    order: int = 0,
    *,
    gfp: Gfp = Gfp.HIGHUSER_MOVABLE,
    policy: Policy = "linux",
    strategy: str = "linux",
    protocol: Protocol = "entry",
) -> SlowAllocation:
    """Allocates a block; where there is none, does what the policy says.

    ``"linux"``: costly orders (above 3) compact first, without waiting; then reclaim and compaction take turns, harder
    each time. ``"piggin-2004"``: with little free memory reclaim; otherwise one easy try to coalesce, and reclaim only
    if that fails. ``"reclaim"``: reclaim alone.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        order: Of the block.
        gfp: Without ``DIRECT_RECLAIM`` it only wakes kcompactd; ``NORETRY`` and ``RETRY_MAYFAIL`` say how often it
            tries.
        policy: One of `POLICIES`.
        strategy: Of its compactions, one of `pymigrate.defrag.run.STRATEGIES`. Only ``"linux"`` captures.
        protocol: What blocks accessors meanwhile.

    Returns:
        The block, to be given to `Machine.free`, and what it cost.

    Raises:
        OutOfMemoryError: There is no block; its `details` say what was tried.
        ValueError: An argument is out of its range.
        StateError: The machine has no owners of frames.
    """
    where = machine_of(machine)
    raw, report, out = _new("struct pm_slow_request *"), _new("struct pm_slow_report *"), _new("uint64_t *")
    raw.policy, raw.strategy = choose("policy", policy, POLICIES), choose("strategy", strategy, STRATEGIES)
    raw.protocol = _protocol(protocol)
    tried: dict[str, Any] = dict.fromkeys(("compactions", "reclaims", "reclaimed", "moved", "scanned"), 0)
    status, slow = lib.PM_ERR_INTR, False
    try:
        raw.order, raw.gfp = order, int(gfp)
        # It comes back for signals; what it did until then counts.
        while status == lib.PM_ERR_INTR:
            status = lib.pm_alloc_slow(where._handle, where._this_cpu(), raw, report, out)
            slow |= bool(report.slow)
            for name in tried:
                tried[name] += int(getattr(report, name))
    except (TypeError, OverflowError) as error:
        raise where._bad_call(error) from None
    if status:
        raise error_of(status, order=order, policy=policy, **tried)
    return SlowAllocation(
        pfn=int(out[0]),
        order=order,
        slow=slow,
        captured=bool(report.captured),
        priority=_PRIORITY_NAMES[report.priority] if report.compactions else None,
        status=_status(report.status) if report.compactions else None,
        **tried,
    )


# ---- kcompactd ----


@dataclasses.dataclass(frozen=True, slots=True)
class KcompactdReport:
    """What a tick of kcompactd did.

    Attributes:
        order: It worked for requests of this order; 0: for none.
        proactive: Whether it worked of its own accord.
        score_before: 0..100: how much of free memory is in blocks below 2 MiB, zones weighed by their size.
        score_after: The same at its end.
        next_ns: When it looks at the score again.
        result: What was moved; for no request and without a reason to be proactive: nothing.
    """

    order: int
    proactive: bool
    score_before: int
    score_after: int
    next_ns: int
    result: CompactResult


def kcompactd_tick(machine: Machine, now_ns: int) -> KcompactdReport:
    """Lets kcompactd have a look, in the caller's time, as `Machine.kswapd` does for kswapd.

    First for requests that found no block, once there is enough free memory to move things to. Without any, every
    500 ms, the score: above the high mark it compacts every zone down to the low one; where that did not help, it waits
    64 times as long.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        now_ns: Of any clock that does not go back.

    Raises:
        StateError: The machine has no owners of frames.
    """
    where = machine_of(machine)
    raw = _new("struct pm_kcompactd_report *")
    parts: list[KcompactdReport] = []
    status = lib.PM_ERR_INTR
    try:
        # It comes back for signals, and has more to do then.
        while status == lib.PM_ERR_INTR:
            status = lib.pm_kcompactd_tick(where._handle, where._this_cpu(), now_ns, raw)
            parts.append(_read_report(raw))
    except (TypeError, OverflowError) as error:
        raise where._bad_call(error) from None
    if status:
        raise error_of(status, now_ns=now_ns)
    first, last = parts[0], parts[-1]
    sums = {
        name: sum(getattr(part.result, name) for part in parts) for name in ("moved", "scanned", "split", "batches")
    }
    return dataclasses.replace(
        last,
        order=max(part.order for part in parts),
        proactive=any(part.proactive for part in parts),
        score_before=first.score_before,
        result=dataclasses.replace(last.result, blocks_before=first.result.blocks_before, **sums),
    )


def _read_report(raw: Any) -> KcompactdReport:
    return KcompactdReport(
        order=int(raw.order),
        proactive=bool(raw.proactive),
        score_before=int(raw.score_before),
        score_after=int(raw.score_after),
        next_ns=int(raw.next_ns),
        result=read_result(ffi.addressof(raw, "compact"), "linux", int(raw.order) or lib.PM_PAGEBLOCK_ORDER),
    )


def wake_kcompactd(machine: Machine, order: int, *, gfp: Gfp = Gfp.HIGHUSER_MOVABLE) -> None:
    """Tells kcompactd of a request that found no block; it works at the next tick at which that can help."""
    machine_of(machine)._call(lib.pm_kcompactd_wake, order, int(gfp), context={"order": order})


# ---- settings, hints, counts ----


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CompactionSettings:
    """What an administrator can set.

    Attributes:
        proactiveness: 0..100, how little of free memory kcompactd wants in small blocks; 0: it does nothing of its own
            accord.
        extfrag_threshold: 0..1000: with a fragmentation index up to this a failure is for want of memory, and nothing
            is compacted for costly orders.
    """

    proactiveness: int = 20
    extfrag_threshold: int = 500

    def __post_init__(self) -> None:
        for name, most in (("proactiveness", 100), ("extfrag_threshold", 1000)):
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 <= value <= most:
                raise ArgumentError(f"{name} is 0..{most}, not {value!r}")


def settings(machine: Machine) -> CompactionSettings:
    """Returns the settings as they are."""
    raw = _new("struct pm_compact_settings *")
    machine_of(machine)._call(lib.pm_compact_settings, raw)
    return CompactionSettings(proactiveness=int(raw.proactiveness), extfrag_threshold=int(raw.extfrag_threshold))


def set_settings(machine: Machine, new: CompactionSettings) -> None:
    """Changes the settings."""
    raw = _new("struct pm_compact_settings *", dataclasses.asdict(new))
    machine_of(machine)._call(lib.pm_set_compact_settings, raw)


@dataclasses.dataclass(frozen=True, slots=True)
class ZoneHints:
    """What strategy ``linux`` remembers of a zone.

    Attributes:
        cached_migrate_async: Where the next scan without waiting begins.
        cached_migrate: Where the next scan that may wait begins.
        cached_free: Where the free scanner begins.
        considered: Attempts since the last failure.
        defer_shift: Of ``2 ** defer_shift`` attempts one is made.
        order_failed: The smallest order that failed; `PM_NR_ORDERS` (11): none has.
        skipped: Pageblocks that are passed over, since nothing was found in them.
        score: 0..100, the part of its free memory that is in blocks below 2 MiB.
    """

    cached_migrate_async: int
    cached_migrate: int
    cached_free: int
    considered: int
    defer_shift: int
    order_failed: int
    skipped: int
    score: int


def zone_hints(machine: Machine, zone: int = 0) -> ZoneHints:
    """Returns what is remembered of the zone with this index."""
    raw = _new("struct pm_compact_zone_info *")
    machine_of(machine)._call(lib.pm_compact_zone_info, zone, raw, context={"zone": zone})
    return read_fields(ZoneHints, raw)


@dataclasses.dataclass(frozen=True, slots=True)
class CompactionCounters:
    """What strategy ``linux`` has done on a machine.

    Attributes:
        runs: Runs over a zone.
        success: Of these, ended with what was wanted.
        failed: Of these, went through to the end without.
        captured: Of these, captured a block.
        deferred: Not begun, because others had failed.
        stalls: Allocations that compacted.
        wakes: Times that kcompactd had a request to work for.
        proactive: Times that kcompactd worked of its own accord.
    """

    runs: int
    success: int
    failed: int
    captured: int
    deferred: int
    stalls: int
    wakes: int
    proactive: int


def counters(machine: Machine) -> CompactionCounters:
    """Returns what has been done so far."""
    raw = _new("struct pm_compact_counters *")
    lib.pm_compact_counters(machine_of(machine).handle, raw)
    return read_fields(CompactionCounters, raw)
