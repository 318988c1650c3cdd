"""The exceptions of the package: one tree, and each keeps the status that the core returned."""

from __future__ import annotations

from typing import Any

from pymigrate._core import ffi, lib

__all__ = [
    "ClosedError",
    "CorruptionError",
    "FrameError",
    "OutOfMemoryError",
    "PymigrateError",
    "RecordingError",
    "check",
]


class PymigrateError(Exception):
    """Base of every error that pymigrate raises on purpose.

    Attributes:
        status: The core's `enum pm_status`, a negative number; 0 where the error did not come from the core.
    """

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
    """A frame number does not allow the operation: a double free, a wrong order, a hole, a reserved or busy frame."""


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
_FRAME = {lib.PM_ERR_RANGE, lib.PM_ERR_DOUBLE_FREE, lib.PM_ERR_ORDER, lib.PM_ERR_BUSY, lib.PM_ERR_RESERVED}
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


def error_of(status: int, /, **context: Any) -> PymigrateError:
    """Returns the exception for a failed status, not raised. See `check`."""
    text = ffi.string(lib.pm_status_text(status)).decode()
    if status in _RECORDING:
        path, line = context.pop("path", None), context.pop("line", None)
        return RecordingError(_message(text, context), status=status, path=path, line=line)
    message = _message(text, context)
    if status in _OUT_OF_MEMORY:
        return OutOfMemoryError(message, status=status, reason=_OUT_OF_MEMORY[status])
    if status in _FRAME:
        return FrameError(message, status=status)
    if status == lib.PM_ERR_CORRUPT:
        return CorruptionError(message, status=status)
    return ArgumentError(message, status=status)


def _message(text: str, context: dict[str, Any]) -> str:
    named = ", ".join(f"{name}={value}" for name, value in context.items())
    return f"{text} ({named})" if named else text
