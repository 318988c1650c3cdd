"""Frames with owners: what a machine needs for address spaces, files and swap, and what it says about them.

    >>> from pymigrate import AddressSpace, Machine, MemoryOptions
    >>> with Machine.from_size("64M", memory=MemoryOptions()) as machine:
    ...     space = AddressSpace(machine)
    ...     addr = space.map(8192)
    ...     space.write(addr + 4090, b"across two pages")
    ...     space.read(addr + 4090, 16), machine.memory_counters().fault_anon
    (b'across two pages', 2)

A machine gets owners when it is made, with ``memory=MemoryOptions(…)``, and not otherwise: `pm_memory_enable` may not
run beside other calls, and a machine that only allocates stays as cheap as it is.

Calls that wait (for a transfer, for a page that somebody holds, for memory) come back to Python every few hundredths of
a second, so that Ctrl-C is heard. What such a call had done by then stands.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from pymigrate._core import ffi, lib
from pymigrate._life import MachineLife
from pymigrate.errors import ArgumentError, check, error_of
from pymigrate.memory_info import (
    BackingCounters,
    LruSizes,
    MemoryCounters,
    PageInfo,
    Rmap,
    RmapEntry,
    TickReport,
    read_fields,
    read_page_info,
)

if TYPE_CHECKING:
    from pymigrate.devices import BlockDevice, SwapInfo, SwapSlotInfo

__all__ = ["Clock", "Contents", "Guard", "MemoryOptions", "OwnedMemory"]

Contents = Literal["none", "private", "shared"]
Guard = Literal["epoch", "fence", "lock"]
Clock = Literal["virtual", "real"]

_CONTENTS = {"none": lib.PM_CONTENTS_NONE, "private": lib.PM_CONTENTS_PRIVATE, "shared": lib.PM_CONTENTS_SHARED}
_GUARDS = {"epoch": lib.PM_GUARD_EPOCH, "fence": lib.PM_GUARD_FENCE, "lock": lib.PM_GUARD_LOCK}
_CLOCKS = ("virtual", "real")

# A sleep of the core is 5 ms at most: a call that waits is back after 20 ms, in time for a Ctrl-C within 100 ms,
# also on a busy host.
WAIT_SLICES = 4

_new = ffi.new


def choose(name: str, value: object, choices: dict[str, int]) -> int:
    """Returns the number of a named choice, or says which there are."""
    if not isinstance(value, str) or value not in choices:
        raise ArgumentError(f"{name} is one of {', '.join(map(repr, choices))}, not {value!r}")
    return choices[value]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOptions:
    """What frames with owners are like.

    Attributes:
        contents: Do the frames hold bytes? ``"none"``: no, there are mappings, faults and reclaim, but `read` and
            `write` raise `StateError`. ``"private"``: in memory of this process, which is committed as it is
            touched. ``"shared"``: in a memory file.
        tables_in_frames: Every page table takes an unmovable frame of the machine.
        guard: What stands in for a TLB: ``"epoch"``, an access without a fence; ``"fence"`` and ``"lock"`` to compare
            with.
        clock: Of block devices. ``"virtual"``: goes on when somebody waits, and by `Machine.advance_clock`. ``"real"``:
            the host's.

    Example:
        >>> MemoryOptions(contents="none").guard
        'epoch'
        >>> MemoryOptions(guard="hope")
        Traceback (most recent call last):
            ...
        pymigrate.errors.ArgumentError: guard is one of 'epoch', 'fence', 'lock', not 'hope'
    """

    contents: Contents = "private"
    tables_in_frames: bool = False
    guard: Guard = "epoch"
    clock: Clock = "virtual"

    def __post_init__(self) -> None:
        choose("contents", self.contents, _CONTENTS)
        choose("guard", self.guard, _GUARDS)
        choose("clock", self.clock, dict.fromkeys(_CLOCKS, 0))

    def enable(self, handle: Any) -> None:
        """Prepares a machine that nobody uses yet."""
        raw = _new("struct pm_memory_options *")
        lib.pm_memory_options_default(raw)
        raw.contents = _CONTENTS[self.contents]
        raw.tables_in_frames = bool(self.tables_in_frames)
        raw.guard = _GUARDS[self.guard]
        raw.wait_slices = WAIT_SLICES
        if self.clock == "real":
            raw.now_ns = ffi.addressof(lib, "pm_binding_monotonic_ns")
        status = lib.pm_memory_enable(handle, raw)
        if status:
            raise error_of(status, what="the memory options of a machine")


class OwnedMemory(MachineLife):
    """Base of `Machine`: its frames with owners, its swap, its clock."""

    __slots__ = ("memory",)

    memory: MemoryOptions | None

    # ---- look ----

    def page_info(self, pfn: int) -> PageInfo:
        """What a frame belongs to, and who refers to it.

        Raises:
            FrameError: The frame is outside every zone, or in a hole.
            StateError: The machine has no owners.
        """
        raw = _new("struct pm_page_info *")
        self._call(lib.pm_page_info, pfn, raw, context={"pfn": pfn})
        return read_page_info(raw)

    def rmap(self, pfn: int) -> Rmap:
        """Every place where a frame is mapped, by the reverse map; empty for a frame without an owner.

        Raises:
            FrameError: The frame is outside every zone, or in a hole.
            StateError: The machine has no owners.
        """
        found, visited = _new("size_t *"), _new("uint64_t *")
        room = 16
        while True:
            entries = _new("struct pm_rmap_entry[]", room)
            self._wait(lib.pm_rmap, self._this_cpu(), pfn, room, entries, found, visited, context={"pfn": pfn})
            if found[0] <= room:
                listed = tuple(RmapEntry(entries[i].space, entries[i].addr) for i in range(found[0]))
                return Rmap(listed, int(visited[0]))
            room = 2 * found[0]

    def memory_counters(self) -> MemoryCounters:
        """What has happened in the address spaces."""
        raw = _new("struct pm_memory_counters *")
        lib.pm_memory_counters(self._open(), raw)
        return read_fields(MemoryCounters, raw)

    def backing_counters(self) -> BackingCounters:
        """What has happened behind them: page cache, swap, reclaim."""
        raw = _new("struct pm_backing_counters *")
        lib.pm_backing_counters(self._open(), raw)
        return read_fields(BackingCounters, raw)

    def lru_sizes(self, zone: int) -> LruSizes:
        """Pages of a zone (an index) on its lists by age."""
        sizes = _new("uint64_t[5]")
        self._call(lib.pm_lru_sizes, zone, sizes, context={"zone": zone})
        return LruSizes(*map(int, sizes))

    @property
    def host_pieces(self) -> int:
        """Pieces of host memory that the machine's owners hold: back where it was when all that was made is closed."""
        return int(lib.pm_host_pieces(self._open()))

    # ---- time ----

    @property
    def clock_ns(self) -> int:
        """Nanoseconds of the machine's clock; 0 for a machine without owners."""
        return int(lib.pm_clock_now(self._open()))

    def advance_clock(self, ns: int) -> None:
        """Moves virtual time on, and ends the transfers that are due then.

        Raises:
            ValueError: The machine has a real clock.
            StateError: The machine has no owners.
        """
        self._call(lib.pm_clock_advance, ns, context={"ns": ns})

    def tick(self, ns: int) -> TickReport:
        """Lets time pass, and does what a kernel does in the background meanwhile.

        Virtual time goes on, transfers that are due end, the per-CPU lists decay once for each full second, kswapd
        looks after every zone, and kcompactd at the machine. Nothing of it happens by itself.

        Raises:
            ValueError: `ns` is negative, or 2^62 or more.
            StateError: The machine has no owners.
        """
        raw = _new("struct pm_tick_report *")
        drained = reclaimed = moved = 0
        while True:
            handle = self._open()
            try:
                status = lib.pm_tick(handle, self._this_cpu(), ns, raw)
            except (TypeError, OverflowError) as error:
                raise self._bad_call(error) from None
            drained += raw.drained
            reclaimed += raw.reclaimed
            moved += raw.moved
            if status != lib.PM_ERR_INTR:
                check(status, what=f"a tick of {ns} ns")
                return TickReport(drained, reclaimed, moved)
            # The time has passed; kswapd has not come to its end.
            ns = 0

    # ---- reclaim ----

    def reclaim(self, zone: int, nr: int) -> int:
        """Reclaims up to `nr` frames of a zone (an index), waiting for transfers where it has to.

        Returns:
            How many frames came free. 0: there is nothing that could be given up.

        Raises:
            DeviceError: A transfer failed.
        """
        freed = _new("uint64_t *")
        return self._wait_count(lib.pm_reclaim, self._this_cpu(), zone, nr, out=freed, context={"zone": zone})

    def kswapd(self, zone: int) -> int:
        """Does what kswapd does when it is woken: if a zone is below its LOW mark, reclaims until HIGH.

        Returns:
            How many frames came free.
        """
        freed = _new("uint64_t *")
        return self._wait_count(lib.pm_kswapd, self._this_cpu(), zone, out=freed, context={"zone": zone})

    # ---- swap ----

    def swap_on(self, nr_slots: int, device: BlockDevice | None = None) -> None:
        """Begins to swap.

        Args:
            nr_slots: Pages that fit.
            device: Where to; None: in memory, without latency.

        Raises:
            BusyError: Swap is on already.
            DeviceError: The device has no such room in one piece.
        """
        from pymigrate.devices import swap_on

        swap_on(self, nr_slots, device)

    def swap_off(self) -> None:
        """Brings everything back and ends swap. After a failure swap is on as before; call again for the rest.

        Raises:
            SwapError: Swap is not on.
            BusyError: Another call is at it.
            OutOfMemoryError: Not everything fits.
            DeviceError: A page could not be read.
        """
        self._wait(lib.pm_swap_off, self._this_cpu())

    def swap_info(self) -> SwapInfo:
        """Swap as it is now."""
        from pymigrate.devices import SwapInfo

        raw = _new("struct pm_swap_info *")
        self._call(lib.pm_swap_info, raw)
        return read_fields(SwapInfo, raw)

    def swap_slot_info(self, slot: int) -> SwapSlotInfo:
        """One slot.

        Raises:
            FrameError: There is no such slot.
        """
        from pymigrate.devices import SwapSlotInfo

        raw = _new("struct pm_swap_slot_info *")
        self._call(lib.pm_swap_slot_info, slot, raw, context={"slot": slot})
        return read_fields(SwapSlotInfo, raw)

    # ---- failures ----

    def fail_allocations(self, nth: int, *, from_then_on: bool = False) -> int:
        """Lets a request of the core for memory fail: host memory and frames for owners alike.

        Args:
            nth: Which one from now on, counted from 1; 0: none any more.
            from_then_on: All later ones too.

        Returns:
            How many requests there were since the last call with an `nth` that was not 0.
        """
        count = _new("uint64_t *")
        self._call(lib.pm_fail_allocations, nth, bool(from_then_on), count, context={"nth": nth})
        return int(count[0])
