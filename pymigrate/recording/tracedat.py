"""trace.dat, the file of trace-cmd, versions 6 and 7: read without trace-cmd.

Sections and their order are described in trace-cmd.dat.v6(5) and trace-cmd.dat.v7(5). Every size in the file is
compared with the file's own length before anything is read, and what is decompressed with what the file says of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pymigrate.errors import RecordingError
from pymigrate.recording.decode import Decoder, Progress
from pymigrate.recording.events import Events
from pymigrate.recording.sections import (
    MAX_CPUS,
    Cursor,
    TraceData,
    mapped,
    read_event_formats,
    read_header_info,
)
from pymigrate.recording.sources import unzstd
from pymigrate.recording.trace import ParseStats

__all__ = ["MAGIC", "read_trace_dat"]

MAGIC = b"\x17\x08\x44tracing"
MAX_SECTION_BYTES = 256 << 20
MAX_CHUNK_BYTES = 64 << 20

_OPTION_DONE, _OPTION_BUFFER, _OPTION_CLOCK, _OPTION_UNAME, _OPTION_CPUCOUNT = 0, 3, 4, 5, 8
_OPTION_DATE, _OPTION_OFFSET, _OPTION_TSC2NSEC = 1, 7, 14
_OPTION_HEADER_INFO, _OPTION_EVENT_FORMATS, _OPTION_CMDLINES = 16, 18, 21
_FLAG_COMPRESSED = 1


@dataclass(kw_only=True)
class _Buffer:
    """The ring buffer of one CPU in the file."""

    cpu: int
    offset: int
    size: int
    page_bytes: int


@dataclass(kw_only=True)
class _Times:
    """How the file's times become those that ``trace-cmd report`` prints.

    Attributes:
        offset_ns: From ``--date`` or ``--ts-offset``.
        mult: A tick of the clock in nanoseconds, times 2^`shift`; 0: the times are taken as they are.
        shift: See `mult`.
    """

    offset_ns: int = 0
    mult: int = 0
    shift: int = 0

    def apply(self, events: Events, path: str, *, offset: bool) -> Events:
        """The events at their true times."""
        time_ns = events.time_ns
        if self.mult:
            low, high, mult = time_ns & np.uint64(0xFFFFFFFF), time_ns >> np.uint64(32), np.uint64(self.mult)
            # As the kernel multiplies: what is above 64 bits is lost.
            time_ns = (low * mult >> np.uint64(self.shift)) + (high * mult << np.uint64(32 - self.shift))
        added = self.offset_ns if offset else 0
        if len(time_ns) and not 0 <= int(time_ns[0]) + added <= int(time_ns[-1]) + added < 1 << 63:
            raise RecordingError(
                f"with the offset of {added} ns that it asks for, its times are out of range", path=path
            )
        return events.with_columns(time_ns=(time_ns.astype(np.int64) + added).astype(np.uint64))


@dataclass(kw_only=True)
class _Contents:
    times: _Times = field(default_factory=_Times)
    data: TraceData = field(default_factory=TraceData)
    header_page: bytes = b""
    formats: list[bytes] = field(default_factory=list)
    buffers: list[_Buffer] = field(default_factory=list)
    compressed: bool = False


def _clock_of(text: bytes) -> str:
    """The clock in brackets of the text of trace_clock; or the text itself."""
    words = text.rstrip(b"\0").decode(errors="replace").split()
    chosen = [word[1:-1] for word in words if word.startswith("[") and word.endswith("]")]
    return chosen[0] if chosen else " ".join(words)


def _number_of(text: bytes, path: str) -> int:
    """A number as strtoll(3) reads it."""
    words = text.rstrip(b"\0").decode(errors="replace").strip()
    try:
        value = int(words, 0)
    except ValueError:
        value = 1 << 63
    if not -(1 << 53) < value < 1 << 62:
        raise RecordingError(f"an offset of times that is no number: {words[:40]!r}", path=path)
    return value


def _time_option(number: int, data: bytes, contents: _Contents, path: str) -> None:
    if number == _OPTION_DATE:
        # Microseconds, unlike the other.
        contents.times.offset_ns += 1000 * _number_of(data, path)
    elif number == _OPTION_OFFSET:
        contents.times.offset_ns += _number_of(data, path)
    elif number == _OPTION_TSC2NSEC and len(data) >= 8:
        contents.times.mult, contents.times.shift = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4))
        if contents.times.shift > 32:
            raise RecordingError(f"a tick of its clock is shifted by {contents.times.shift} bits", path=path)


def _plain_option(number: int, data: bytes, contents: _Contents, path: str) -> None:
    _time_option(number, data, contents, path)
    if number == _OPTION_CLOCK:
        contents.data.clock = _clock_of(data)
    elif number == _OPTION_UNAME:
        words = data.rstrip(b"\0").decode(errors="replace").split()
        contents.data.kernel = words[2] if len(words) > 2 else ""
    elif number == _OPTION_CPUCOUNT and len(data) >= 4:
        contents.data.cpus = min(int.from_bytes(data[:4], "little"), MAX_CPUS)


# ---- version 6: everything in one fixed order ----


def _read_6(cursor: Cursor, page_bytes: int) -> _Contents:
    contents = _Contents()
    contents.header_page = read_header_info(cursor)
    for _ in range(cursor.number(4, "the number of ftrace events")):
        cursor.take(cursor.number(8, "a size"), "a format")
    contents.formats = read_event_formats(cursor)
    cursor.take(cursor.number(4, "a size"), "kallsyms")
    cursor.take(cursor.number(4, "a size"), "printk formats")
    cursor.take(cursor.number(8, "a size"), "the command lines")
    cpus = cursor.number(4, "the number of CPUs")
    contents.data.cpus = min(cpus, MAX_CPUS)
    instances: list[int] = []
    word = cursor.take(10, "the kind of data")
    if word == b"options  \0":
        instances = _options_6(cursor, contents)
        word = cursor.take(10, "the kind of data")
    if word != b"flyrecord\0":
        raise cursor.fail("no ring-buffer pages: it holds a latency tracer's text")
    _buffers_6(cursor, contents, cpus, page_bytes)
    for offset in instances:
        cursor.at = offset
        if cursor.take(10, "the kind of data") == b"flyrecord\0":
            _buffers_6(cursor, contents, cpus, page_bytes)
    return contents


def _options_6(cursor: Cursor, contents: _Contents) -> list[int]:
    """The options; where the pages of instances are."""
    instances = []
    while (number := cursor.number(2, "an option")) != _OPTION_DONE:
        data = cursor.take(cursor.number(4, "a size"), "an option")
        if number == _OPTION_BUFFER and len(data) >= 8:
            instances.append(int.from_bytes(data[:8], "little"))
        else:
            _plain_option(number, data, contents, cursor.path)
    return instances


def _buffers_6(cursor: Cursor, contents: _Contents, cpus: int, page_bytes: int) -> None:
    if cpus > MAX_CPUS:
        raise cursor.fail(f"{cpus} CPUs")
    for cpu in range(cpus):
        offset, size = cursor.number(8, "an offset"), cursor.number(8, "a size")
        contents.buffers.append(_Buffer(cpu=cpu, offset=offset, size=size, page_bytes=page_bytes))


# ---- version 7: sections, found through options ----


class _Sections:
    """The sections of a file of version 7."""

    def __init__(self, cursor: Cursor, algorithm: str) -> None:
        self.cursor, self.algorithm = cursor, algorithm

    def open(self, offset: int, number: int) -> Cursor:
        """A section's content, decompressed."""
        cursor = self.cursor
        cursor.at = offset
        found, flags = cursor.number(2, "a section"), cursor.number(2, "its flags")
        cursor.number(4, "its description")
        size = cursor.number(8, "its size")
        if found != number:
            raise cursor.fail(f"section {found}, expected {number}")
        if not flags & _FLAG_COMPRESSED:
            return Cursor(cursor.take(size, "a section"), cursor.path)
        packed, plain = cursor.number(4, "a size"), cursor.number(4, "a size")
        if plain > MAX_SECTION_BYTES:
            raise cursor.fail(f"a section of {plain} bytes")
        return Cursor(unpack(self.algorithm, cursor.take(packed, "a section"), plain, cursor.path), cursor.path)


def unpack(algorithm: str, data: bytes, size: int, path: str) -> bytes:
    """Decompresses `data`, which gives `size` bytes and no more."""
    if algorithm == "zlib":
        engine = zlib.decompressobj()
        try:
            plain = engine.decompress(data, size)
        except zlib.error as error:
            raise RecordingError(f"the zlib data are damaged: {error}", path=path) from error
    elif algorithm == "zstd":
        plain = unzstd(data, size, path)
    else:
        raise RecordingError(f"compressed with {algorithm!r}: this build knows zlib and zstd", path=path)
    if len(plain) != size:
        raise RecordingError(f"compressed data of {len(plain)} bytes, the file says {size}", path=path)
    return plain


def _buffer_7(data: bytes, contents: _Contents, path: str) -> None:
    cursor = Cursor(data, path)
    cursor.number(8, "an offset")
    cursor.text("an instance's name")
    clock = cursor.text("a clock")
    if clock and not contents.data.clock:
        contents.data.clock = _clock_of(clock)
    page_bytes = cursor.number(4, "the size of a page")
    for _ in range(cursor.number(4, "the number of CPUs")):
        cpu = cursor.number(4, "a CPU")
        if cpu >= MAX_CPUS:
            raise cursor.fail(f"CPU {cpu}")
        offset, size = cursor.number(8, "an offset"), cursor.number(8, "a size")
        contents.buffers.append(_Buffer(cpu=cpu, offset=offset, size=size, page_bytes=page_bytes))


def _read_7(cursor: Cursor, algorithm: str) -> _Contents:
    contents = _Contents(compressed=algorithm not in ("none", ""))
    sections = _Sections(cursor, algorithm)
    offset, seen = cursor.number(8, "the options' offset"), set[int]()
    while offset:
        if offset in seen:
            raise cursor.fail("the options refer back to themselves")
        seen.add(offset)
        options = sections.open(offset, 0)
        while True:
            number = options.number(2, "an option")
            data = options.take(options.number(4, "a size"), "an option")
            if number == _OPTION_DONE:
                offset = int.from_bytes(data[:8], "little")
                break
            if number == _OPTION_BUFFER:
                _buffer_7(data, contents, cursor.path)
            elif number == _OPTION_HEADER_INFO:
                contents.header_page = read_header_info(sections.open(int.from_bytes(data[:8], "little"), number))
            elif number == _OPTION_EVENT_FORMATS:
                contents.formats += read_event_formats(sections.open(int.from_bytes(data[:8], "little"), number))
            else:
                _plain_option(number, data, contents, cursor.path)
    return contents


def _chunks(cursor: Cursor, buffer: _Buffer, algorithm: str) -> Iterator[bytes]:
    """The pages of a CPU that are compressed in chunks."""
    cursor.at = buffer.offset
    for _ in range(cursor.number(4, "the number of chunks")):
        packed, plain = cursor.number(4, "a size"), cursor.number(4, "a size")
        if plain > MAX_CHUNK_BYTES or plain % buffer.page_bytes:
            raise cursor.fail(f"a chunk of {plain} bytes, with pages of {buffer.page_bytes}")
        yield unpack(algorithm, cursor.take(packed, "a chunk"), plain, cursor.path)


def _read_head(data: Any, path: str) -> tuple[_Contents, str]:
    cursor = Cursor(data, path)
    cursor.expect(MAGIC)
    version = cursor.text("the version", 16).decode(errors="replace")
    if version not in ("6", "7"):
        raise cursor.fail(f"trace.dat of version {version!r}: this build reads 6 and 7")
    if cursor.number(1, "the byte order") != 0:
        raise cursor.fail("recorded on a big-endian machine, which is not supported")
    if cursor.number(1, "the size of a long") not in (4, 8):
        raise cursor.fail("recorded on a machine whose longs have neither 32 nor 64 bits")
    page_bytes = cursor.number(4, "the size of a page")
    if version == "6":
        return _read_6(cursor, page_bytes), "none"
    algorithm = cursor.text("the compression", 32).decode(errors="replace")
    cursor.text("the compression's version", 64)
    return _read_7(cursor, algorithm), algorithm


def read_trace_dat(
    path: Path, *, lenient: bool = False, raw_times: bool = False, progress: Progress | None = None
) -> tuple[Events, ParseStats, TraceData]:
    """Reads a trace.dat of trace-cmd, version 6 or 7, plain or compressed with zlib or zstd.

    Events of all instances in the file are taken. Times are those that ``trace-cmd report`` prints: of the trace's
    clock, or what ``--date``, ``--ts-offset`` and ``--tsc2nsec`` make of it.

    Args:
        path: The file.
        lenient: Count what is damaged in the pages and pass over it. The sections before them must be whole.
        raw_times: Leave out the offset of ``--date`` and ``--ts-offset``: for what has the trace's clock beside it.
        progress: Called with the bytes of pages and the events so far.

    Returns:
        The events in order of time (of one time: lower CPUs first), the counts, and what else the file says.

    Raises:
        RecordingError: The file is damaged, of another version, or of a big-endian kernel.
    """
    name = str(path)
    with mapped(path) as data, Decoder("trace.dat", name, lenient=lenient, progress=progress) as decoder:
        contents, algorithm = _read_head(data, name)
        if contents.header_page:
            decoder.set_header_page(contents.header_page)
        for text in contents.formats:
            decoder.add_format(text)
        cursor = Cursor(data, name)
        for buffer in sorted(contents.buffers, key=lambda b: b.cpu):
            if buffer.size == 0:
                continue
            if not 64 <= buffer.page_bytes <= 65536:
                raise cursor.fail(f"pages of {buffer.page_bytes} bytes")
            if contents.compressed:
                for chunk in _chunks(cursor, buffer, algorithm):
                    decoder.pages(buffer.cpu, buffer.page_bytes, chunk)
                continue
            if buffer.offset > len(data) or buffer.size > len(data) - buffer.offset:
                if not lenient:
                    raise RecordingError(f"the pages of CPU {buffer.cpu} reach beyond the end of the file", path=name)
                buffer.size = max(0, len(data) - buffer.offset)
            with memoryview(data)[buffer.offset : buffer.offset + buffer.size] as pages:
                decoder.pages(buffer.cpu, buffer.page_bytes, pages)
        events, stats = decoder.finish()
    events = contents.times.apply(events, name, offset=not raw_times)
    contents.data.offset_ns = 0 if raw_times else contents.times.offset_ns
    return events, stats, contents.data
