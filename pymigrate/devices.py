"""Block devices, and swap as it is seen from outside.

>>> from pymigrate import AddressSpace, BlockDevice, Machine, MemoryOptions
>>> machine = Machine.from_size("64M", memory=MemoryOptions())
>>> disk = BlockDevice(machine, 256, read_ns=100_000, write_ns=200_000)
>>> machine.swap_on(64, disk)
>>> space = AddressSpace(machine)
>>> addr = space.map(4096)
>>> space.write(addr, b"far away")
>>> space.page_out(addr, 4096), space.lookup(addr).kind
(1, 'swap')
>>> space.read(addr, 8), disk.info().writes, disk.info().reads
(b'far away', 1, 1)
>>> machine.close()
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from pymigrate._core import ffi, lib
from pymigrate._life import MachineLife
from pymigrate._named import Closeable, handle_in, machine_of
from pymigrate.errors import BusyError, DeviceError, OutOfMemoryError
from pymigrate.memory import choose
from pymigrate.memory_info import read_fields

if TYPE_CHECKING:
    from pymigrate.machine import Machine

__all__ = ["BlockDevice", "DeviceInfo", "Direction", "SwapInfo", "SwapSlotInfo"]

Direction = Literal["read", "write", "both"]
_DIRECTIONS = {"read": lib.PM_IO_READ, "write": lib.PM_IO_WRITE, "both": lib.PM_IO_BOTH}
_PAGE_SIZE: int = lib.PM_PAGE_SIZE
_NEVER = (1 << 64) - 1
_new = ffi.new


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device as it is now.

    Attributes:
        nr_blocks: Its size.
        nr_used: Blocks that files and swap have.
        in_service: Transfers that are worked on, stuck ones too.
        queued: Transfers that wait for their turn.
        stuck: Transfers that do not end by themselves.
        reads: Transfers ended, well or not.
        writes: Transfers ended, well or not.
        errors: Of these, failed.
        next_ns: When the next one ends, by the machine's clock; None: nothing will.
    """

    nr_blocks: int
    nr_used: int
    in_service: int
    queued: int
    stuck: int
    reads: int
    writes: int
    errors: int
    next_ns: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class SwapInfo:
    """Swap as it is now.

    Attributes:
        on: Whether there is any.
        leaving: `Machine.swap_off` is at work.
        nr_slots: Pages that fit.
        nr_used: Slots that a page-table entry names or a frame has.
        nr_cached: Of these, with a frame in the swap cache.
        entries: Page-table entries that name a slot.
        outs: Pages written.
        ins: Pages read.
        device: `BlockDevice.handle`; 0: in memory.
    """

    on: bool
    leaving: bool
    nr_slots: int
    nr_used: int
    nr_cached: int
    entries: int
    outs: int
    ins: int
    device: int


@dataclasses.dataclass(frozen=True, slots=True)
class SwapSlotInfo:
    """One slot of swap.

    Attributes:
        used: Whether something is in it.
        entries: Page-table entries that name it.
        cached: Whether a frame in the swap cache has it.
        pfn: That frame.
        block: Where it is on the device.
    """

    used: bool
    entries: int
    cached: bool
    pfn: int
    block: int


class BlockDevice(Closeable):
    """A block device: blocks of a page, latency, a queue, and faults on demand.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        nr_blocks: Its size, 1..2^32-2.
        read_ns: How long a transfer is in service; 0: it ends at once.
        write_ns: The same for writes.
        depth: Transfers in service at once; the others queue. None: as the core has it.
        contents: Whether blocks keep what is written; otherwise reads give zeros. None: if the machine has contents.

    Raises:
        StateError: The machine has no owners of frames, or no contents for blocks that should keep some.
    """

    __slots__ = ()

    def __init__(
        self,
        machine: Machine,
        nr_blocks: int,
        *,
        read_ns: int = 0,
        write_ns: int = 0,
        depth: int | None = None,
        contents: bool | None = None,
    ) -> None:
        self._machine = machine_of(machine)
        options = _new("struct pm_device_options *")
        lib.pm_device_options_default(options)
        has_contents = machine.memory is not None and machine.memory.contents != "none"
        try:
            options.nr_blocks, options.read_ns, options.write_ns = nr_blocks, read_ns, write_ns
            options.depth = options.depth if depth is None else depth
        except OverflowError as error:
            raise machine._bad_call(error) from None
        options.contents = has_contents if contents is None else bool(contents)
        out = _new("uint64_t *")
        machine._call(lib.pm_device_create, options, out, context={"nr_blocks": nr_blocks})
        self._handle = int(out[0])

    def close(self) -> None:
        """Ends the device. May be called again.

        Raises:
            BusyError: A file or swap is on it, or a transfer is under way; nothing was done.
        """
        try:
            self._end(lib.pm_device_destroy, self._handle)
        except BusyError as error:
            text = "a file or swap is on the device, or a transfer is under way"
            raise BusyError(text, status=error.status) from None

    def fail(self, direction: Direction, nth: int = 1, *, from_then_on: bool = False) -> None:
        """Lets a transfer fail.

        Args:
            direction: Which transfers are counted.
            nth: Which one, counted from 1 from now on; 0: none any more.
            from_then_on: All later ones too.
        """
        self._call(lib.pm_device_fail, choose("direction", direction, _DIRECTIONS), nth, bool(from_then_on))

    def stick(self, direction: Direction, nth: int = 1) -> None:
        """Lets a transfer get stuck: it never ends by itself and keeps its place in service.

        Args:
            direction: Which transfers are counted.
            nth: Which one, counted from 1 from now on; 0: none any more.
        """
        self._call(lib.pm_device_stick, choose("direction", direction, _DIRECTIONS), nth)

    def release(self, *, fail: bool = False) -> int:
        """Ends all stuck transfers now, well or not. Returns how many there were."""
        out = _new("uint64_t *")
        self._call(lib.pm_device_release, bool(fail), out)
        return int(out[0])

    def set_bad_blocks(self, first: int, nr: int) -> None:
        """Every transfer of a block in [first, first + nr) fails, instead of an earlier range; `nr` 0: all are good."""
        self._call(lib.pm_device_bad_blocks, first, nr)

    def peek(self, block: int) -> bytes:
        """The bytes of a block as they are now, without a transfer: to look at, not a way to read.

        Raises:
            FrameError: There is no such block.
            StateError: The device keeps no contents.
        """
        target = _new("char[]", _PAGE_SIZE)
        self._call(lib.pm_device_peek, block, target)
        return bytes(ffi.buffer(target))

    def info(self) -> DeviceInfo:
        """The device as it is now."""
        raw = _new("struct pm_device_info *")
        self._call(lib.pm_device_info, raw)
        found = read_fields(DeviceInfo, raw)
        return dataclasses.replace(found, next_ns=None) if found.next_ns == _NEVER else found

    def _call(self, function: Any, *args: Any) -> None:
        self._machine._call(function, self._handle, *args)


def swap_on(machine: MachineLife, nr_slots: int, device: BlockDevice | None) -> None:
    """See `Machine.swap_on`."""
    options = _new("struct pm_swap_options *")
    try:
        options.nr_slots = nr_slots
    except OverflowError as error:
        raise machine._bad_call(error) from None
    if device is not None:
        options.device = handle_in(machine, device, BlockDevice, "device")
    try:
        machine._call(lib.pm_swap_on, options, context={"nr_slots": nr_slots})
    except BusyError as error:
        raise BusyError("swap is on already", status=error.status) from None
    except OutOfMemoryError as error:
        if error.status != lib.PM_ERR_NO_BLOCK:
            raise
        raise DeviceError("the device has no room for it in one piece", status=error.status) from None
