"""The exceptions of the package: one tree, and each keeps the status that the core returned."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pymigrate._core import ffi, lib

__all__ = [
    "AddressError",
    "ArgumentError",
    "BusyError",
    "ClosedError",
    "CorruptionError",
    "DeviceError",
    "FrameError",
    "HandleError",
    "OutOfMemoryError",
    "PymigrateError",
    "RecordingError",
    "StateError",
    "SwapError",
    "check",
]


class PymigrateError(Exception):
    """Base of every error that pymigrate raises on purpose.

    Attributes:
        status: The core's `enum pm_status`, a negative number; 0 where the error did not come from the core.
        details: What the message names, such as ``pfn``, ``addr``, or ``done``: how much was done before.
    """

    details: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class OutOfMemoryError(PymigrateError, MemoryError):
    """An allocation failed, in the simulated machine or (status `PM_ERR_NOMEM`) on the host.

    Attributes:
        reason: Which of the core's reasons it was: ``"watermark"``, ``"no-block"``, ``"zone"`` or ``"host"``.
    """

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message, status=status)
        self.reason = reason


class FrameError(PymigrateError, ValueError):
    """A frame does not allow the operation: a double free, a wrong order, a hole, a reserved, owned or pinned frame."""


class BusyError(FrameError):
    """What is needed is in use: a frame that is not free, a cached page, a device with a file on it.

    The same call may succeed later.
    """


class AddressError(PymigrateError, ValueError):
    """Nothing is mapped at an address, the mapping does not allow the access, or the file behind it is shorter."""


class HandleError(PymigrateError, ValueError):
    """An address space, file, device, owner, pin or transfer is gone: it was closed, given back, or waited for."""


class DeviceError(PymigrateError, OSError):
    """A transfer failed (``errno`` EIO) or a device has no room (ENOSPC).

    Nothing is lost by a failed transfer: what was to be written is still dirty, and can be written again.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message, status=status)
        self.errno = errno.ENOSPC if status == lib.PM_ERR_NO_BLOCK else errno.EIO


class SwapError(PymigrateError, RuntimeError):
    """Swap is full or not on."""


class StateError(PymigrateError, RuntimeError):
    """The machine was made without what the call needs: ``memory=…``, or contents of frames."""


class RecordingError(PymigrateError, ValueError):
    """A recording is damaged.

    Attributes:
        path: The file, where there is one.
        line: The line, counted from 1, where that is known.
    """

    def __init__(self, message: str, *, status: int = 0, path: str | None = None, line: int | None = None) -> None:
        place = "" if path is None else path if line is None else f"{path}:{line}"
        if path is None and line is not None:
            place = f"line {line}"
        super().__init__(f"{place}: {message}" if place else message, status=status)
        self.path = path
        self.line = line


class CorruptionError(PymigrateError):
    """The core's own state contradicts itself: always a bug of pymigrate."""


class ClosedError(PymigrateError, ValueError):
    """The machine was closed, or belongs to the process that this one was forked from."""


class ArgumentError(PymigrateError, ValueError):
    """An argument is out of its range, or contradicts another."""


_OUT_OF_MEMORY = {
    lib.PM_ERR_NOMEM: "host",
    lib.PM_ERR_WATERMARK: "watermark",
    lib.PM_ERR_NO_BLOCK: "no-block",
    lib.PM_ERR_ZONE: "zone",
}
_SIMPLE: dict[int, type[PymigrateError]] = {
    lib.PM_ERR_RANGE: FrameError,
    lib.PM_ERR_DOUBLE_FREE: FrameError,
    lib.PM_ERR_ORDER: FrameError,
    lib.PM_ERR_RESERVED: FrameError,
    lib.PM_ERR_OWNED: FrameError,
    lib.PM_ERR_PINNED: FrameError,
    lib.PM_ERR_BUSY: BusyError,
    lib.PM_ERR_AGAIN: BusyError,
    lib.PM_ERR_INTR: BusyError,
    lib.PM_ERR_CORRUPT: CorruptionError,
    lib.PM_ERR_CLOSED: ClosedError,
    lib.PM_ERR_HANDLE: HandleError,
    lib.PM_ERR_STATE: StateError,
    lib.PM_ERR_NO_CONTENTS: StateError,
    lib.PM_ERR_FAULT: AddressError,
    lib.PM_ERR_ACCESS: AddressError,
    lib.PM_ERR_BEYOND: AddressError,
    lib.PM_ERR_IO: DeviceError,
    lib.PM_ERR_NO_SWAP: SwapError,
}
_RECORDING = {lib.PM_ERR_SYNTAX, lib.PM_ERR_TRUNCATED, lib.PM_ERR_LIMIT}


def check(status: int, /, **context: Any) -> None:
    """Raises the exception that belongs to a failed status; does nothing for `PM_OK`.

    Args:
        status: What a function of the core returned.
        **context: What to name in the message, such as ``pfn=…``. ``path`` and ``line`` also become attributes of a
            `RecordingError`.

    Raises:
        OutOfMemoryError: The host or the simulated machine has no memory for the request.
        FrameError: The frame does not allow the operation.
        AddressError, BusyError, ClosedError, DeviceError, HandleError, StateError, SwapError: As they say.
        RecordingError: A recording is damaged or too large.
        CorruptionError: The core found a contradiction in its own state.
        ArgumentError: An argument is out of range (also a ValueError).

    Example:
        >>> check(0)
        >>> try:
        ...     check(-8, pfn=77)
        ... except FrameError as error:
        ...     print(error.status, "(pfn=77)" in str(error))
        -8 True
    """
    if status == 0:
        return
    raise error_of(status, **context)


def error_of(
    status: int, /, *, text: str = "", kind: type[PymigrateError] | None = None, **context: Any
) -> PymigrateError:
    """Returns the exception for a failed status, not raised. See `check`.

    Args:
        status: What a function of the core returned.
        text: A sentence that fits the call better than the core's own.
        kind: A class that fits it better.
        **context: As for `check`.
    """
    text = text or ffi.string(lib.pm_status_text(status)).decode()
    error: PymigrateError
    if kind is not None:
        error = kind(_message(text, context), status=status)
    elif status in _RECORDING:
        path, line = context.pop("path", None), context.pop("line", None)
        error = RecordingError(_message(text, context), status=status, path=path, line=line)
    elif status in _OUT_OF_MEMORY:
        error = OutOfMemoryError(_message(text, context), status=status, reason=_OUT_OF_MEMORY[status])
    else:
        error = _SIMPLE.get(status, ArgumentError)(_message(text, context), status=status)
    error.details = MappingProxyType(context)
    return error


def _message(text: str, context: dict[str, Any]) -> str:
    named = ", ".join(
        f"{name}={value:#x}" if name == "addr" and isinstance(value, int) else f"{name}={value}"
        for name, value in context.items()
    )
    return f"{text} ({named})" if named else text
