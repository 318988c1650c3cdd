"""What holds a frame where it is: pins, windows onto a page, transfers of direct I/O.

>>> from pymigrate import AddressSpace, Machine, MemoryOptions
>>> machine = Machine.from_size("64M", memory=MemoryOptions())
>>> space = AddressSpace(machine)
>>> addr = space.map(4096)
>>> with space.pin(addr, "long", write=True) as pin:
...     machine.page_info(pin.pfn).pins
{'long': 1}
>>> pin.unpin()
Traceback (most recent call last):
...
pymigrate.errors.HandleError: no such object: of another kind, gone already, or never made
>>> with space.window(addr, write=True) as view:
...     view[:5] = b"hello"
>>> space.read(addr, 5)
b'hello'
>>> machine.close()
"""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from pymigrate._arrays import Table
from pymigrate._core import ffi, lib
from pymigrate._named import Named
from pymigrate.errors import HandleError

if TYPE_CHECKING:
    from pymigrate.machine import Machine

__all__ = ["Pin", "PinKind", "Transfer", "Window"]

PinKind = Literal["short", "direct-io", "long"]
PIN_KINDS = {"short": lib.PM_PIN_SHORT, "direct-io": lib.PM_PIN_DIRECT_IO, "long": lib.PM_PIN_LONG}
_PAGE_SIZE: int = lib.PM_PAGE_SIZE


class Pin(Named):
    """A token that holds a frame: it neither moves nor goes before the token is given back. Made by `AddressSpace.pin`.

    It is used once: given back a second time, it raises `HandleError`. The end of a `with` statement gives it back if
    that has not happened yet. It outlives its address space.
    """

    __slots__ = ("_kind", "_pfn", "_write")

    def __init__(self, machine: Machine, handle: int, pfn: int, kind: PinKind, write: bool) -> None:
        self._machine = machine
        self._handle = handle
        self._pfn = pfn
        self._kind: PinKind = kind
        self._write = write

    @property
    def pfn(self) -> int:
        """The frame."""
        return self._pfn

    @property
    def kind(self) -> PinKind:
        """What it is for."""
        return self._kind

    @property
    def write(self) -> bool:
        """Whether what holds it may write."""
        return self._write

    def unpin(self) -> None:
        """Gives the pin back, once the transfers that use it have ended.

        Raises:
            HandleError: It was given back before.
        """
        self._machine._wait(lib.pm_unpin, self._machine._this_cpu(), self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._end(lib.pm_unpin, self._machine._this_cpu(), self._handle)


class Transfer(Named):
    """A transfer of direct I/O under way. Made by `File.direct_read` and `File.direct_write`."""

    __slots__ = ()

    def __init__(self, machine: Machine, handle: int) -> None:
        self._machine = machine
        self._handle = handle

    def wait(self) -> None:
        """Waits until it has ended, and gives it up.

        Raises:
            DeviceError: It failed.
            HandleError: It was waited for before.
        """
        self._machine._wait(lib.pm_direct_wait, self._machine._this_cpu(), self._handle)


_BYTE = np.dtype(np.uint8)
_show = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_uint64)(
    int(ffi.cast("uintptr_t", ffi.addressof(lib, "pm_binding_show")))
)


class Window:
    """A view of the bytes of one page, without a copy; the page does not move as long as there is one.

    Made by `AddressSpace.window`. In a `with` statement it is the view itself. `close` releases that view; slices of it
    and arrays over it stay valid, and the page stays where it is, until the last of them is gone.
    """

    __slots__ = ("__weakref__", "_view")

    def __init__(self, machine: Machine, pin: int, address: Any, write: bool) -> None:
        # Holds the machine, and gives the pin back with the last view.
        keeper = _show(machine._open_core(), pin)
        page: Any = np.asarray(Table(keeper, address, _PAGE_SIZE, _BYTE, writable=write))
        self._view: memoryview | None = memoryview(page)

    @property
    def view(self) -> memoryview:
        """The bytes of the page.

        Raises:
            HandleError: The window is closed.
        """
        view = self._view
        if view is None:
            raise HandleError("the window is closed", status=lib.PM_ERR_HANDLE)
        return view

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._view is None

    def close(self) -> None:
        """Releases the view. May be called again."""
        view, self._view = self._view, None
        if view is not None:
            try:
                view.release()
            except BufferError:
                # Something was built on it, such as an array: the page is held until that is gone.
                return

    def __enter__(self) -> memoryview:
        return self.view

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()
