"""The life of a machine: its handle, the CPU of a thread, closing, fork(2), and the end of the interpreter.

Who holds the core's `struct pm_machine *` (this object, a call in another thread, a view) keeps the machine alive; it
is destroyed when the last of them is gone, and not before. A child of fork(2) destroys nothing: a lock in
there may be held by a thread that the child does not have.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import itertools
import operator
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, NoReturn, Self

from pymigrate._core import ffi, lib
from pymigrate.errors import ArgumentError, ClosedError, error_of

# The number of the calling thread, counted from 0 in the order of their first calls: it picks the CPU. A context
# variable, since it costs a third of a thread-local; a task that inherits its parent's number shares its CPU.
thread_number: ContextVar[int] = ContextVar("pymigrate_thread_number")
_thread_number_get = thread_number.get
_turns = itertools.count()
_INTR: int = lib.PM_ERR_INTR

_open_machines: weakref.WeakSet[MachineLife] = weakref.WeakSet()
_own = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p)(
    int(ffi.cast("uintptr_t", ffi.addressof(lib, "pm_binding_own")))
)


def _keep(core: object, pointer: Any) -> None:
    """Destructor of a pointer: it has nothing to do but to hold `core` as long as the pointer is there."""


def own_handle(raw: Any) -> tuple[object, Any]:
    """Returns what owns a new machine, and a `struct pm_machine *` that holds it.

    The owner is a capsule of the binding, which destroys the machine when its last reference goes. The pointer holds it
    by a destructor, and the garbage collector calls destructors in a cycle in any order: who lets others see the
    machine's memory (a view) holds the owner itself.
    """
    core = _own(int(ffi.cast("uintptr_t", raw)))
    return core, ffi.gc(raw, functools.partial(_keep, core))


class MachineLife:
    """Base of `Machine`: what does not depend on what a machine is for."""

    __slots__ = ("__weakref__", "_core", "_forked", "_handle", "nr_cpus", "nr_frames", "nr_zones")

    nr_cpus: int
    nr_frames: int
    nr_zones: int

    def __init__(self) -> None:
        self._core: object = None
        self._handle: Any = None
        self._forked = False

    def _begin(self, core: object, handle: Any) -> None:
        self._core = core
        self.nr_cpus = lib.pm_nr_cpus(handle)
        self.nr_zones = lib.pm_nr_zones(handle)
        self.nr_frames = lib.pm_nr_frames(handle)
        self._handle = handle
        _open_machines.add(self)

    def close(self) -> None:
        """Ends the machine. May be called again.

        Calls that wait are woken and raise `ClosedError`, as do later ones; those in flight are waited for. The memory
        is given back once nothing uses it any more: a view of a frame or a table keeps it.
        """
        handle = self._handle
        if handle is None:
            return
        try:
            lib.pm_machine_shut(handle)
        finally:
            self._handle = self._core = None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._handle is None

    @property
    def handle(self) -> Any:
        """The core's `struct pm_machine *`, for other modules of pymigrate: who holds it keeps it alive."""
        return self._open()

    @contextmanager
    def on_cpu(self, cpu: int) -> Iterator[None]:
        """Lets what the calling thread (or task) does inside the `with` statement happen on a CPU of its choice.

        Args:
            cpu: 0..nr_cpus-1.

        Raises:
            ValueError: There is no such CPU.
        """
        if not 0 <= cpu < self.nr_cpus:
            raise ArgumentError(f"cpu is 0..{self.nr_cpus - 1}, not {cpu}")
        token = thread_number.set(operator.index(cpu))
        try:
            yield
        finally:
            thread_number.reset(token)

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Machine cannot be pickled or copied")

    # ---- inside ----

    def _open(self) -> Any:
        handle = self._handle
        if handle is None:
            raise self._closed_error()
        return handle

    def _open_core(self) -> object:
        core = self._core
        if core is None:
            raise self._closed_error()
        return core

    def _this_cpu(self) -> int:
        number = _thread_number_get(-1)
        if number < 0:
            number = next(_turns)
            thread_number.set(number)
        return number % self.nr_cpus

    def _closed_error(self) -> ClosedError:
        return ClosedError(
            "the machine belongs to the parent process" if self._forked else "the machine is closed",
            status=lib.PM_ERR_CLOSED,
        )

    def _bad_call(self, error: Exception) -> Exception:
        """What to raise when cffi refused the arguments: the handle of a closed machine is None."""
        if self._handle is None:
            return self._closed_error()
        return ArgumentError(f"an argument is out of its range: {error}") if isinstance(error, OverflowError) else error

    def _call(self, function: Any, *args: Any, context: dict[str, Any] | None = None) -> None:
        """Calls the core once."""
        try:
            status = function(self._handle, *args)
        except (TypeError, OverflowError) as error:
            raise self._bad_call(error) from None
        if status:
            raise error_of(status, **(context or {}))

    def _wait(self, function: Any, *args: Any, context: dict[str, Any] | None = None) -> None:
        """Calls the core until it has not come back for signals alone.

        A call that waits comes back every few hundredths of a second. Python handles signals on the way round.
        """
        try:
            status = function(self._handle, *args)
            while status == _INTR:
                status = function(self._handle, *args)
        except (TypeError, OverflowError) as error:
            raise self._bad_call(error) from None
        if status:
            raise error_of(status, **(context or {}))

    def _wait_count(self, function: Any, *args: Any, out: Any, context: dict[str, Any] | None = None) -> int:
        """The same for a call whose count `out` begins anew each time: returns the sum."""
        total = 0
        try:
            status = function(self._handle, *args, out)
            while status == _INTR:
                total += out[0]
                out[0] = 0
                status = function(self._handle, *args, out)
        except (TypeError, OverflowError) as error:
            raise self._bad_call(error) from None
        if status:
            raise error_of(status, **(context or {}), done=total)
        return total + int(out[0])


def _close_in_child() -> None:
    """After fork(2) a lock may be held by a thread that the child does not have: its machines are closed, not ended."""
    for machine in list(_open_machines):
        machine._forked = machine._handle is not None
        machine._handle = machine._core = None


def _close_at_exit() -> None:
    """Threads may be inside: their calls come back with an error, and the interpreter can go."""
    for machine in list(_open_machines):
        machine.close()


os.register_at_fork(after_in_child=_close_in_child)
atexit.register(_close_at_exit)
