"""Objects in a machine that the core names by handles.

A handle is a number with a kind and a generation, so that one that is dead, or of something else, is known as such.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from pymigrate._core import lib
from pymigrate._life import MachineLife
from pymigrate.errors import ArgumentError, ClosedError, HandleError

if TYPE_CHECKING:
    from pymigrate.machine import Machine

_INTR: int = lib.PM_ERR_INTR


def machine_of(value: object) -> Machine:
    """Returns `value` if it is a machine."""
    from pymigrate.machine import Machine

    if not isinstance(value, Machine):
        raise TypeError(f"a Machine is needed, not {type(value).__name__}")
    return value


class Named:
    """Base of what has a handle.

    Dropping the Python object does not end what it names: `close` does, or the end of the machine.
    """

    __slots__ = ("_handle", "_machine")

    _machine: Machine
    _handle: int

    @property
    def machine(self) -> Machine:
        """The machine that it lives in."""
        return self._machine

    @property
    def handle(self) -> int:
        """The core's number for it; never used again for another."""
        return self._handle

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._handle:#x}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied")

    def _end(self, function: Any, *args: Any) -> None:
        """Calls what ends the object; that it is gone already, or its machine, is as good."""
        try:
            self._machine._wait(function, *args)
        except (HandleError, ClosedError):
            return


class Closeable(Named):
    """What is closed, by itself or at the end of a `with` statement."""

    __slots__ = ()

    def close(self) -> None:
        """Ends it. May be called again."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


def handle_in(machine: MachineLife, value: object, kind: type[Named], what: str) -> int:
    """Returns the handle of an object of `kind` that lives in `machine`."""
    if not isinstance(value, kind):
        raise TypeError(f"{what} is a {kind.__name__}, not {type(value).__name__}")
    if value._machine is not machine:
        raise ArgumentError(f"{what} belongs to another machine")
    return value._handle
