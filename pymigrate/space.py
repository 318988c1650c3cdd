"""Address spaces: what a process sees of a machine's memory.

>>> from pymigrate import AddressSpace, Machine, MemoryOptions
>>> machine = Machine.from_size("64M", memory=MemoryOptions())
>>> parent = AddressSpace(machine)
>>> addr = parent.map(4 * 4096)
>>> parent.write(addr, b"parent")
>>> child = parent.fork()
>>> child.write(addr, b"child ")
>>> parent.read(addr, 6), child.read(addr, 6)
(b'parent', b'child ')
>>> machine.memory_counters().fault_cow_copy
1
>>> parent.read(0, 1)
Traceback (most recent call last):
...
pymigrate.errors.AddressError: nothing is mapped at this address (addr=0x0, done=0)
>>> machine.close()
"""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Any, Literal

from pymigrate._core import ffi, lib
from pymigrate._named import Closeable, handle_in, machine_of
from pymigrate.errors import ArgumentError, error_of
from pymigrate.memory import choose
from pymigrate.memory_info import TRANSLATION_KINDS, Translation, read_fields
from pymigrate.pins import PIN_KINDS, Pin, PinKind, Window

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from pymigrate.files import File
    from pymigrate.machine import Machine

__all__ = ["AddressSpace", "Area", "Prot", "PteInfo", "SpaceInfo"]

PteKind = Literal["none", "present", "swap", "migration"]
_PTE_KINDS: dict[int, PteKind] = {
    lib.PM_PTE_NONE: "none",
    lib.PM_PTE_PRESENT: "present",
    lib.PM_PTE_SWAP: "swap",
    lib.PM_PTE_MIGRATION: "migration",
}
_INTR: int = lib.PM_ERR_INTR
_NOWHERE = (1 << 64) - 1
_BYTES_MAX = 1 << lib.PM_VA_BITS
# A read takes memory as it goes: who asks for more than is mapped gets the error before that is a lot.
_READ_CHUNK = 1 << 24

_new = ffi.new
_new_bytes = ffi.new_allocator(should_clear_after_alloc=False)
_buffer = ffi.buffer


class Prot(enum.IntFlag):
    """What a mapping allows. Writing includes reading."""

    NONE = lib.PM_PROT_NONE
    READ = lib.PM_PROT_READ
    WRITE = lib.PM_PROT_WRITE


READ_WRITE = Prot.READ | Prot.WRITE


@dataclasses.dataclass(frozen=True, slots=True)
class Area:
    """One mapping, as a line of /proc/PID/maps.

    Attributes:
        start: First byte.
        end: One past the last.
        prot: What it allows.
        shared: Writes reach the file, and forked spaces share them.
        locked: Kept out of reclaim (`AddressSpace.mlock`).
        file: `File.handle`; None: anonymous, or of a file that was closed.
        offset: Bytes, in the file or in the anonymous memory that it was cut from.
    """

    start: int
    end: int
    prot: Prot
    shared: bool
    locked: bool
    file: int | None
    offset: int


@dataclasses.dataclass(frozen=True, slots=True)
class PteInfo:
    """One page of a space, as its page table has it.

    Attributes:
        kind: ``"none"``: nothing yet.
        writable: A write needs no fault.
        young: It was accessed since reclaim last looked.
        dirty: It was written to.
        exclusive: An anonymous page that no other space shares.
        pfn: The frame; None: there is none.
        swap_slot: Where it is in swap; None: it is not.
    """

    kind: PteKind
    writable: bool
    young: bool
    dirty: bool
    exclusive: bool
    pfn: int | None
    swap_slot: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class SpaceInfo:
    """How much a space maps.

    Attributes:
        mapped: Pages in areas.
        present: Pages with a frame.
        swapped: Pages in swap.
        locked: Pages in mlocked areas.
        tables: Page tables.
    """

    mapped: int
    present: int
    swapped: int
    locked: int
    tables: int


class AddressSpace(Closeable):
    """An address space. It lives until `close` (or `exit`), or until its machine is closed.

    Addresses are below 2^44; where a mapping is changed, addresses and lengths are multiples of the page size. Any
    number of threads may use one space.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.

    Raises:
        StateError: The machine has no owners of frames.

    Every method may raise `HandleError` (the space has ended), `ClosedError`, `OutOfMemoryError`, and `ArgumentError`.
    """

    __slots__ = ()

    def __init__(self, machine: Machine) -> None:
        self._machine = machine_of(machine)
        out = _new("uint64_t *")
        machine._wait(lib.pm_space_create, out)
        self._handle = int(out[0])

    # ---- life ----

    def fork(self) -> AddressSpace:
        """Makes a child that shares all frames copy-on-write; shared mappings stay shared, locks are not inherited."""
        out = _new("uint64_t *")
        self._wait(lib.pm_space_fork, out)
        child = AddressSpace.__new__(AddressSpace)
        child._machine = self._machine
        child._handle = int(out[0])
        return child

    def exit(self) -> None:
        """Ends the space: waits for the calls that work on it, then unmaps everything. Its pins stay.

        Raises:
            HandleError: It has ended already.
        """
        self._wait(lib.pm_space_exit)

    def close(self) -> None:
        """Does what `exit` does. May be called again."""
        self._end(lib.pm_space_exit, self._machine._this_cpu(), self._handle)

    # ---- mappings ----

    def map(
        self,
        length: int,
        *,
        prot: int = READ_WRITE,
        file: File | None = None,
        offset: int = 0,
        shared: bool = False,
        addr: int | None = None,
        locked: bool = False,
        populate: bool = False,
    ) -> int:
        """Maps anonymous memory or a file.

        Args:
            length: Bytes.
            prot: `Prot` flags.
            file: What to map; None: anonymous memory.
            offset: Where in the file, in bytes.
            shared: Writes reach the file, and forked spaces share them; otherwise they are this space's own.
            addr: At this address, instead of what is mapped there; None: anywhere.
            locked: As `mlock`.
            populate: Fault everything in.

        Returns:
            The address.

        Raises:
            OutOfMemoryError: There is no room; or, with ``addr`` among its `details`, the mapping is there, but not all
                of it could be faulted in.
        """
        flags = (
            (lib.PM_MAP_SHARED if shared else 0)
            | (lib.PM_MAP_FIXED if addr is not None else 0)
            | (lib.PM_MAP_LOCKED if locked else 0)
            | (lib.PM_MAP_POPULATE if populate else 0)
        )
        machine = self._machine
        try:
            fields = {"addr": addr or 0, "length": length, "prot": prot, "flags": flags, "offset": offset}
            request = _new("struct pm_map_request *", fields)
        except OverflowError as error:
            raise machine._bad_call(error) from None
        if file is not None:
            from pymigrate.files import File

            request.file = handle_in(machine, file, File, "file")
        out = _new("uint64_t *", _NOWHERE)
        status = _INTR
        while status == _INTR and out[0] == _NOWHERE:
            status = self._try(lib.pm_map, request, out)
        place = int(out[0])
        if status == _INTR:
            # It is mapped, and partly faulted in.
            self._populate(place, length, prot, shared, locked)
        elif status and place == _NOWHERE:
            raise error_of(status, text=_NO_ROOM if status == lib.PM_ERR_NO_BLOCK else "", length=length)
        elif status:
            raise error_of(status, addr=place, length=length)
        return place

    def unmap(self, addr: int, length: int) -> None:
        """Unmaps [addr, addr + length), holes included."""
        self._wait(lib.pm_unmap, addr, length, context={"addr": addr, "length": length})

    def protect(self, addr: int, length: int, prot: int) -> None:
        """Changes what a range allows.

        Raises:
            AddressError: Part of it is not mapped; nothing was changed.
        """
        self._wait(lib.pm_protect, addr, length, prot, context={"addr": addr, "length": length})

    def remap(self, addr: int, length: int, new_length: int, *, new_addr: int | None = None, move: bool = True) -> int:
        """Moves or resizes a mapping, pages and all, as mremap(2).

        Args:
            addr: Where it is.
            length: Bytes of it.
            new_length: Bytes that it is to have.
            new_addr: Where it goes, instead of what is mapped there; None: where there is room.
            move: Whether it may go to another place at all.

        Returns:
            Where it is now.

        Raises:
            AddressError: The range is not one mapping.
            OutOfMemoryError: There is no room.
        """
        fixed = new_addr is not None
        flags = (lib.PM_MAP_FIXED if fixed else 0) | (lib.PM_MAP_MAYMOVE if move else 0)
        out = _new("uint64_t *", _NOWHERE)
        status = _INTR
        while status == _INTR and out[0] == _NOWHERE:
            status = self._try(lib.pm_remap, addr, length, new_length, flags, new_addr or 0, out)
        place = int(out[0])
        if status == _INTR:
            # It has moved; the new part of a locked mapping is partly faulted in.
            self.mlock(place + length, new_length - length)
        elif status:
            text = _NO_ROOM if status == lib.PM_ERR_NO_BLOCK else ""
            raise error_of(status, text=text, addr=addr if place == _NOWHERE else place, length=new_length)
        return place

    def mlock(self, addr: int, length: int) -> None:
        """Faults a range in and keeps it out of reclaim.

        Raises:
            AddressError: Part of it is not mapped; nothing was changed.
        """
        self._wait(lib.pm_mlock, addr, length, True, context={"addr": addr, "length": length})

    def munlock(self, addr: int, length: int) -> None:
        """Lets a range be reclaimed again.

        Raises:
            AddressError: Part of it is not mapped; nothing was changed.
        """
        self._wait(lib.pm_mlock, addr, length, False, context={"addr": addr, "length": length})

    # ---- access ----

    def read(self, addr: int, n: int) -> bytes:
        """Reads `n` bytes, across pages.

        Raises:
            AddressError: Not all of them can be read.
            DeviceError: A page could not be read from its device.
            StateError: The machine keeps no contents.
        """
        if not 0 <= n <= _BYTES_MAX:
            raise ArgumentError(f"n is 0..2^{lib.PM_VA_BITS}, not {n}")
        if n <= _READ_CHUNK:
            target = _new_bytes("char[]", n)
            self._access(lib.pm_read, addr, target, n)
            return bytes(_buffer(target))
        parts = []
        for done in range(0, n, _READ_CHUNK):
            part = min(_READ_CHUNK, n - done)
            target = _new_bytes("char[]", part)
            self._access(lib.pm_read, addr + done, target, part)
            parts.append(bytes(_buffer(target)))
        return b"".join(parts)

    def read_into(self, addr: int, target: Buffer) -> int:
        """Fills a writable buffer with what is at `addr`; raises as `read`.

        Returns:
            How many bytes that were.
        """
        pointer = ffi.from_buffer("char[]", target, require_writable=True)
        self._access(lib.pm_read, addr, pointer, len(pointer))
        return len(pointer)

    def write(self, addr: int, data: Buffer) -> None:
        """Writes bytes, across pages.

        Raises:
            AddressError: Not all of them can be written; `details` says in ``done`` how many were.
            DeviceError: A page could not be read from its device first.
            StateError: The machine keeps no contents.
        """
        pointer = ffi.from_buffer("char[]", data)
        self._access(lib.pm_write, addr, pointer, len(pointer))

    def fill(self, addr: int, value: int, n: int) -> None:
        """Writes `n` bytes of one value (0..255); raises as `write`."""
        cpu, done, at = self._machine._this_cpu(), _new("size_t *"), 0
        status = _INTR
        while status == _INTR:
            status = self._raw(lib.pm_fill, cpu, addr + at, value, n - at, done)
            at += done[0]
        if status:
            raise error_of(status, addr=addr + at, done=at)

    def checksum(self, addr: int, n: int) -> int:
        """FNV-1a, 64 bits, of `n` bytes; raises as `read`."""
        cpu, done, at = self._machine._this_cpu(), _new("size_t *"), 0
        total = _new("uint64_t *", lib.PM_CHECKSUM_START)
        status = _INTR
        while status == _INTR:
            status = self._raw(lib.pm_checksum, cpu, addr + at, n - at, total, done)
            at += done[0]
        if status:
            raise error_of(status, addr=addr + at, done=at)
        return int(total[0])

    def touch(self, addr: int, length: int, *, write: bool = False) -> None:
        """Faults every page of a range in, without a look at its contents; works without contents too.

        Raises:
            AddressError: Not all of it can be accessed.
        """
        cpu, done, at = self._machine._this_cpu(), _new("uint64_t *"), 0
        status = _INTR
        while status == _INTR:
            status = self._raw(lib.pm_touch, cpu, addr + at, length - at, bool(write), done)
            at += done[0]
        if status:
            raise error_of(status, addr=addr + at, done=at)

    # ---- hold ----

    def pin(self, addr: int, kind: PinKind = "short", *, write: bool = False) -> Pin:
        """Faults the page at `addr` in, and holds its frame: it neither moves nor goes before `Pin.unpin`.

        Args:
            addr: An address in the page.
            kind: ``"short"``: a system call, a reference in passing. ``"direct-io"``: a device reads or writes it.
                ``"long"``: registered for good.
            write: Whether the frame will be written to.

        Raises:
            AddressError: The page cannot be accessed so.
        """
        pfn, out = _new("uint64_t *"), _new("uint64_t *")
        number = choose("kind", kind, PIN_KINDS)
        self._wait(lib.pm_pin, addr, number, bool(write), pfn, out, context={"addr": addr})
        return Pin(self._machine, int(out[0]), int(pfn[0]), kind, bool(write))

    def window(self, addr: int, *, write: bool = False) -> Window:
        """Opens a view of the page at `addr`, without a copy; see `Window`.

        Raises:
            AddressError: The page cannot be accessed so.
            StateError: The machine keeps no contents.
        """
        address, out = _new("void **"), _new("uint64_t *")
        self._wait(lib.pm_window, addr, bool(write), address, out, context={"addr": addr})
        return Window(self._machine, int(out[0]), address[0], bool(write))

    def page_out(self, addr: int, length: int) -> int:
        """Reclaims the pages of a range, whether or not they were used lately, as madvise MADV_PAGEOUT.

        Pages that are mlocked, pinned, dirty on an ailing device or without swap stay; that is no error.

        Returns:
            How many frames came free.
        """
        machine, freed = self._machine, _new("uint64_t *")
        return machine._wait_count(
            *(lib.pm_page_out, machine._this_cpu(), self._handle, addr, length), out=freed, context={"addr": addr}
        )

    def translate(self, addr: int, *, write: bool = False, huge: bool = True, mapped: bool = False) -> Translation:
        """Where an address is, as a load or a store finds it; memory comes on first touch, where nothing is mapped too.

        Args:
            addr: Below 2^44.
            write: As a store: a page shared copy-on-write gets its own frame.
            huge: A first touch may take a huge page, where one is to be had.
            mapped: Only what `map` has mapped.

        Raises:
            AddressError: The mapping does not allow it, the address is too high, or (`mapped`) nothing is mapped.
            OutOfMemoryError: Nothing came free.
        """
        flags = (lib.PM_TRANSLATE_WRITE if write else 0) | (0 if huge else lib.PM_TRANSLATE_SMALL)
        raw = _new("struct pm_translation *")
        self._wait(
            lib.pm_translate, addr, flags | (lib.PM_TRANSLATE_MAPPED if mapped else 0), raw, context={"addr": addr}
        )
        return Translation(raw.pfn, raw.order, TRANSLATION_KINDS[raw.kind])

    # ---- look ----

    def lookup(self, addr: int) -> PteInfo:
        """What is at an address, without a fault.

        Raises:
            AddressError: Nothing is mapped there.
        """
        raw = _new("struct pm_pte_info *")
        self._wait(lib.pm_lookup, addr, raw, context={"addr": addr})
        kind = _PTE_KINDS[raw.kind]
        return PteInfo(
            kind=kind,
            writable=bool(raw.writable),
            young=bool(raw.young),
            dirty=bool(raw.dirty),
            exclusive=bool(raw.exclusive),
            pfn=int(raw.pfn) if kind in ("present", "migration") else None,
            swap_slot=int(raw.pfn) if kind == "swap" else None,
        )

    def areas(self) -> tuple[Area, ...]:
        """The mappings, in order of address."""
        found, room = _new("size_t *"), 16
        while True:
            raw = _new("struct pm_area[]", room)
            self._wait(lib.pm_space_areas, room, raw, found)
            if found[0] <= room:
                return tuple(_read_area(raw[i]) for i in range(found[0]))
            room = 2 * found[0]

    def info(self) -> SpaceInfo:
        """How much is mapped, present and swapped."""
        raw = _new("struct pm_space_info *")
        self._wait(lib.pm_space_info, raw)
        return read_fields(SpaceInfo, raw)

    # ---- inside ----

    def _wait(self, function: Any, *args: Any, context: dict[str, Any] | None = None) -> None:
        machine = self._machine
        machine._wait(function, machine._this_cpu(), self._handle, *args, context=context)

    def _raw(self, function: Any, cpu: int, *args: Any) -> int:
        """One call, status and all."""
        machine = self._machine
        try:
            status: int = function(machine._handle, cpu, self._handle, *args)
        except (TypeError, OverflowError) as error:
            raise machine._bad_call(error) from None
        return status

    def _try(self, function: Any, *args: Any) -> int:
        return self._raw(function, self._machine._this_cpu(), *args)

    def _access(self, function: Any, addr: int, pointer: Any, n: int) -> None:
        """A read or a write, carried on where it came back for signals."""
        machine, done = self._machine, _new("size_t *")
        cpu = machine._this_cpu()
        try:
            status = function(machine._handle, cpu, self._handle, addr, pointer, n, done)
            at = done[0]
            while status == _INTR:
                status = function(machine._handle, cpu, self._handle, addr + at, pointer + at, n - at, done)
                at += done[0]
        except (TypeError, OverflowError) as error:
            raise machine._bad_call(error) from None
        if status:
            raise error_of(status, addr=addr + at, done=at)

    def _populate(self, addr: int, length: int, prot: int, shared: bool, locked: bool) -> None:
        """Goes on with what `map` began: the same accesses as the core's."""
        if locked:
            self.mlock(addr, length)
        elif prot != Prot.NONE:
            self.touch(addr, length, write=bool(prot & Prot.WRITE) and not shared)


_NO_ROOM = "there is no room of this length in the address space"


def _read_area(raw: Any) -> Area:
    return Area(
        start=raw.start,
        end=raw.end,
        prot=Prot(raw.prot),
        shared=bool(raw.flags & lib.PM_MAP_SHARED),
        locked=bool(raw.flags & lib.PM_MAP_LOCKED),
        file=raw.file or None,
        offset=raw.offset,
    )
