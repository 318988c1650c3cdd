"""What the files of tracers have in common: sections of lengths and texts, read with every length checked."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymigrate.errors import RecordingError

__all__ = ["MAX_CPUS", "Cursor", "TraceData", "mapped", "read_event_formats", "read_header_info"]

MAX_CPUS = 65536


@dataclass(kw_only=True)
class TraceData:
    """What a file of a tracer says beside its events.

    Attributes:
        clock: The clock of the events, where the file tells.
        kernel: The kernel's release, where the file tells.
        cpus: How many CPUs the machine had; 0: not told.
        offset_ns: What the file says is to be added to its times, and was added.
    """

    clock: str = ""
    kernel: str = ""
    cpus: int = 0
    offset_ns: int = 0


class Cursor:
    """A place in bytes that checks every length against what there is."""

    def __init__(self, data: Any, path: str, at: int = 0) -> None:
        self.data, self.path, self.at = data, path, at

    def fail(self, message: str) -> RecordingError:
        """An error that names the file and the byte."""
        return RecordingError(f"byte {self.at}: {message}", path=self.path)

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes."""
        if size < 0 or size > len(self.data) - self.at:
            raise self.fail(f"{what} of {size} bytes, but {max(0, len(self.data) - self.at)} are left")
        self.at += size
        return bytes(self.data[self.at - size : self.at])

    def number(self, size: int, what: str) -> int:
        """The next number, of `size` bytes."""
        return int.from_bytes(self.take(size, what), "little")

    def text(self, what: str, limit: int = 4096) -> bytes:
        """The next text, up to its zero."""
        stop = self.data.find(b"\0", self.at, self.at + limit)
        if stop < 0:
            raise self.fail(f"no end of {what}")
        found = bytes(self.data[self.at : stop])
        self.at = stop + 1
        return found

    def expect(self, word: bytes) -> None:
        """Goes behind a word that must come next."""
        if self.take(len(word), word.decode().rstrip("\0")) != word:
            raise self.fail(f"{word.decode().rstrip(chr(0))} is missing")


def read_header_info(cursor: Cursor) -> bytes:
    """The headers of a tracer's file: returns the text of header_page."""
    cursor.expect(b"header_page\0")
    page = cursor.take(cursor.number(8, "a size"), "header_page")
    cursor.expect(b"header_event\0")
    cursor.take(cursor.number(8, "a size"), "header_event")
    return page


def read_event_formats(cursor: Cursor) -> list[bytes]:
    """The format files of all events, by system."""
    formats: list[bytes] = []
    for _ in range(cursor.number(4, "the number of systems")):
        cursor.text("a system's name")
        count = cursor.number(4, "the number of events")
        formats.extend(cursor.take(cursor.number(8, "a size"), "a format") for _ in range(count))
    return formats


@contextmanager
def mapped(path: Path) -> Iterator[Any]:
    """A file's bytes, mapped for reading."""
    with path.open("rb") as file:
        file.seek(0, 2)
        if file.tell() == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
