r"""Files: page cache, dirty pages, writeback, direct I/O.

>>> from pymigrate import AddressSpace, BlockDevice, File, Machine, MemoryOptions
>>> machine = Machine.from_size("64M", memory=MemoryOptions())
>>> disk = BlockDevice(machine, 256)
>>> file = File(machine, "buffers", device=disk, size=8192)
>>> space = AddressSpace(machine)
>>> addr = space.map(8192, file=file, shared=True)
>>> space.write(addr, b"through the mapping")
>>> file.read(0, 19)
b'through the mapping'
>>> disk.peek(file.info().first_block)[:4]
b'\x00\x00\x00\x00'
>>> file.sync()
>>> disk.peek(file.info().first_block)[:7]
b'through'
>>> machine.close()
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from pymigrate._core import ffi, lib
from pymigrate._named import Closeable, handle_in, machine_of
from pymigrate.devices import BlockDevice
from pymigrate.errors import AddressError, ArgumentError, BusyError, DeviceError, PymigrateError, error_of
from pymigrate.memory import choose
from pymigrate.pins import Pin, Transfer

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from pymigrate.machine import Machine

__all__ = ["File", "FileInfo", "FileKind"]

FileKind = Literal["ram", "common", "buffers", "fallback", "release"]
_KINDS = {
    "ram": lib.PM_FS_RAM,
    "common": lib.PM_FS_COMMON,
    "buffers": lib.PM_FS_BUFFERS,
    "fallback": lib.PM_FS_FALLBACK,
    "release": lib.PM_FS_RELEASE,
}
_KIND_NAMES: dict[int, FileKind] = {number: name for name, number in _KINDS.items()}  # type: ignore[misc]
_INTR: int = lib.PM_ERR_INTR
_CHUNK = 1 << 24  # bytes that are moved at once
_REST = 1 << 44  # bytes: more than the largest file has
_MEANINGS: dict[int, tuple[type[PymigrateError], str]] = {
    lib.PM_ERR_LIMIT: (ArgumentError, "beyond what the file can grow to"),
    lib.PM_ERR_BUSY: (BusyError, "the cached page is in use"),
    lib.PM_ERR_NO_BLOCK: (DeviceError, "the device has no room for it in one piece"),
}
_new = ffi.new


@dataclasses.dataclass(frozen=True, slots=True)
class FileInfo:
    """A file as it is now.

    Attributes:
        kind: As given to `File`.
        size: Bytes.
        capacity: Bytes that it can grow to.
        device: `BlockDevice.handle`; None: there is none.
        first_block: Of its part of the device.
        nr_pages: In the page cache.
        nr_dirty: Of these, known to be dirty; page-table entries may know of more.
        nr_writeback: Being written out.
        nr_buffers: With private data.
        writeouts: Pages written out so far.
        areas: Areas that map it.
    """

    kind: FileKind
    size: int
    capacity: int
    device: int | None
    first_block: int
    nr_pages: int
    nr_dirty: int
    nr_writeback: int
    nr_buffers: int
    writeouts: int
    areas: int


class File(Closeable):
    """A file without a name: it lives while it is open or an area maps it, and its contents go with it.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        kind: What its pages are like; mostly a matter of what migration may do with them. ``"ram"``: memory alone,
            never written out nor reclaimed. ``"common"``: a page gets buffers when it is written to; migration has to
            write it out and drop them. ``"buffers"``: every page has buffers, which move with it. ``"fallback"``: as
            ``"common"``, and without an operation to migrate. ``"release"``: a page that is written to gets private
            data, which its own operation gives up only once the page is on the device.
        device: Where it is; None for ``"ram"`` and only there.
        size: Bytes; a new file reads as zeros.
        capacity: Bytes that it can grow to: blocks of the device are set aside.

    Raises:
        DeviceError: The device has no room for it in one piece.
        StateError: The machine has no owners of frames.
    """

    __slots__ = ()

    def __init__(
        self,
        machine: Machine,
        kind: FileKind = "ram",
        *,
        device: BlockDevice | None = None,
        size: int = 0,
        capacity: int = 0,
    ) -> None:
        self._machine = machine_of(machine)
        options = _new("struct pm_file_options *")
        options.fs = choose("kind", kind, _KINDS)
        if device is not None:
            options.device = handle_in(machine, device, BlockDevice, "device")
        try:
            options.size, options.capacity = size, capacity
        except OverflowError as error:
            raise machine._bad_call(error) from None
        out = _new("uint64_t *")
        self._wait_plain(lib.pm_file_create, options, out)
        self._handle = int(out[0])

    def close(self) -> None:
        """Gives the file up; areas that map it keep it. May be called again."""
        self._end(lib.pm_file_close, self._machine._this_cpu(), self._handle)

    # ---- transfers ----

    def read(self, offset: int, n: int) -> bytes:
        """Reads through the page cache. Returns fewer bytes than `n` at the end of the file.

        Raises:
            DeviceError: A page could not be read.
            StateError: The machine keeps no contents.
        """
        if not 0 <= n <= _REST:
            raise ArgumentError(f"n is 0..2^44, not {n}")
        parts: list[bytes] = []
        left = n
        while True:
            part = min(_CHUNK, left)
            target = _new("char[]", part)
            done = self._transfer(lib.pm_file_read, offset + n - left, target, part)
            parts.append(bytes(ffi.buffer(target, done)))
            left -= done
            if done < part or not left:
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset: int, data: Buffer) -> None:
        """Writes through the page cache; beyond the end it makes the file longer.

        Raises:
            ArgumentError: Beyond its capacity; `details` says in ``done`` how many bytes were written.
            DeviceError: A page that is only partly written to could not be read first.
            StateError: The machine keeps no contents.
        """
        pointer = ffi.from_buffer("char[]", data)
        self._transfer(lib.pm_file_write, offset, pointer, len(pointer))

    def touch(self, offset: int, n: int, *, write: bool = False) -> int:
        """Reads or dirties pages without a look at their contents, which also works without contents.

        Returns:
            How many bytes of `n` there were.
        """
        return self._transfer(lib.pm_file_write if write else lib.pm_file_read, offset, None, n)

    def sync(self, offset: int = 0, length: int = _REST, *, wait: bool = True) -> None:
        """Writes the dirty pages of a range out.

        Raises:
            DeviceError: A page could not be written; it is still dirty.
        """
        self._wait(lib.pm_file_sync, offset, length, bool(wait))

    def drop(self, offset: int = 0, length: int = _REST) -> int:
        """Drops the pages of a range that are clean, not mapped and not in use. Returns how many."""
        machine, out = self._machine, _new("uint64_t *")
        return machine._wait_count(lib.pm_file_drop, machine._this_cpu(), self._handle, offset, length, out=out)

    def truncate(self, size: int) -> None:
        """Makes the file shorter (pages beyond are unmapped everywhere, private copies too) or longer (by zeros).

        Raises:
            ArgumentError: Beyond its capacity.
        """
        self._wait(lib.pm_file_truncate, size)

    def direct_read(self, pin: Pin, offset: int) -> Transfer:
        """Begins to read a page of the file into a pinned frame, past the page cache.

        Args:
            pin: Pinned for writing. It may be given back before the transfer ends: the frame is held until then.
            offset: Bytes, a multiple of the page size, below the file's size.

        Raises:
            BusyError: The page is cached and in use.
            AddressError: Beyond the end, or the frame may not be written to.
        """
        return self._direct(pin, offset, lib.PM_IO_READ)

    def direct_write(self, pin: Pin, offset: int) -> Transfer:
        """Begins to write a pinned frame to a page of the file; `pin`, `offset` and errors as for `direct_read`."""
        return self._direct(pin, offset, lib.PM_IO_WRITE)

    # ---- look ----

    def frame(self, offset: int) -> int | None:
        """The frame that caches the page at `offset`; None: none does."""
        out = _new("uint64_t *")
        try:
            self._wait(lib.pm_file_frame, offset, out)
        except AddressError:
            return None
        return int(out[0])

    def info(self) -> FileInfo:
        """The file as it is now."""
        raw = _new("struct pm_file_info *")
        self._wait(lib.pm_file_info, raw)
        return FileInfo(
            kind=_KIND_NAMES[raw.fs],
            size=raw.size,
            capacity=raw.capacity,
            device=raw.device or None,
            first_block=raw.first_block,
            nr_pages=raw.nr_pages,
            nr_dirty=raw.nr_dirty,
            nr_writeback=raw.nr_writeback,
            nr_buffers=raw.nr_buffers,
            writeouts=raw.writeouts,
            areas=raw.areas,
        )

    # ---- inside ----

    def _wait(self, function: Any, *args: Any) -> None:
        self._wait_plain(function, self._machine._this_cpu(), self._handle, *args)

    def _wait_plain(self, function: Any, *args: Any) -> None:
        machine, status = self._machine, _INTR
        while status == _INTR:
            try:
                status = function(machine._handle, *args)
            except (TypeError, OverflowError) as error:
                raise machine._bad_call(error) from None
        if status:
            raise _error(status)

    def _transfer(self, function: Any, offset: int, pointer: Any, n: int) -> int:
        """A buffered transfer, in pieces after each of which signals are heard. Returns the bytes done."""
        machine, done, at, part, status = self._machine, _new("size_t *"), 0, 0, _INTR
        cpu = machine._this_cpu()
        while status == _INTR or (not status and done[0] == part and at < n):
            try:
                part = min(n - at, _CHUNK)
                bytes_ = ffi.NULL if pointer is None else pointer + at
                status = function(machine._handle, cpu, self._handle, offset + at, bytes_, part, done)
            except (TypeError, OverflowError) as error:
                raise machine._bad_call(error) from None
            at += done[0]
        if status:
            raise _error(status, offset=offset + at, done=at)
        return at

    def _direct(self, pin: Pin, offset: int, direction: int) -> Transfer:
        machine, out = self._machine, _new("uint64_t *")
        held = handle_in(machine, pin, Pin, "pin")
        self._wait_plain(lib.pm_direct_io, machine._this_cpu(), held, self._handle, offset, direction, out)
        return Transfer(machine, int(out[0]))


def _error(status: int, **context: Any) -> PymigrateError:
    """The exception for a status, some of which mean something of their own for a file."""
    kind, text = _MEANINGS.get(status, (None, ""))
    return error_of(status, kind=kind, text=text, **context)
