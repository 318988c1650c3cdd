"""Files that a command writes: whole or not at all, and known to be writable before the work begins."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from pymigrate.errors import PymigrateError

__all__ = ["OutputFile"]


class OutputFile:
    """A file to be: what is written lies beside it under another name, and takes its place when it is whole.

    Used as a context. Leaving it without `write` leaves an older file of that name as it was. ``-`` is the standard
    output; a device or a pipe is written directly.

    Raises:
        PymigrateError: On entry: the file cannot be written there.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._temporary: Path | None = None

    @property
    def is_stdout(self) -> bool:
        """Whether the standard output is meant."""
        return self.path == "-"

    def __enter__(self) -> Self:
        target = Path(self.path)
        if self.is_stdout or (target.exists() and not target.is_file() and not target.is_dir()):
            return self
        if target.is_dir():
            raise PymigrateError(f"cannot write {self.path}: it is a folder")
        # Through a link to the file that it names, so that the link stays.
        target = target.resolve()
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            temporary.open("xb").close()
        except OSError as error:
            raise PymigrateError(f"cannot write {self.path}: {error.strerror}") from error
        self._temporary = temporary
        return self

    def write(self, data: bytes) -> None:
        """Writes the whole content, and puts it in place.

        Raises:
            PymigrateError: The disk is full, or the folder is gone.
        """
        try:
            if self.is_stdout:
                sys.stdout.flush()
                sys.stdout.buffer.write(data)
                sys.stdout.flush()
            elif self._temporary is None:
                Path(self.path).write_bytes(data)
            else:
                self._temporary.write_bytes(data)
                self._temporary.replace(Path(self.path).resolve())
                self._temporary = None
        except BrokenPipeError:
            raise
        except OSError as error:
            raise PymigrateError(f"cannot write {self.path}: {error.strerror}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.unlink()
