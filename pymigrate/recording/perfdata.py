"""perf.data, the file of `perf record`: read without perf.

Also what it writes to a pipe, and compressed records (``-z``).

The layout is that of tools/perf/Documentation/perf.data-file-format.txt and perf_event_open(2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymigrate.errors import RecordingError
from pymigrate.recording.decode import Decoder, Progress
from pymigrate.recording.events import Events
from pymigrate.recording.sections import MAX_CPUS, Cursor, TraceData, mapped, read_event_formats, read_header_info
from pymigrate.recording.sources import ZstdBlocks, unzstd_stream
from pymigrate.recording.trace import ParseStats

__all__ = ["MAGIC", "read_perf_data"]

MAGIC = b"PERFILE2"
MAX_IDS = 1 << 22
FEED_BYTES = 16 << 20

_TRACING_MAGIC = b"\x17\x08\x44tracing"
_FEATURE_TRACING_DATA, _FEATURE_OSRELEASE, _FEATURE_NRCPUS = 1, 4, 7
_RECORD_ATTR, _RECORD_TRACING_DATA, _RECORD_FEATURE, _RECORD_COMPRESSED = 64, 66, 80, (81, 83)
_RECORD_SAMPLE = 9
# A record's size has 16 bits; perf leaves room for the head (8 bytes, or 16 and padding) and one more.
_FULL_RECORD_BYTES = 65536 - 16 - 8
_ATTR_BYTES_MIN, _USE_CLOCKID = 64, 1 << 25
_CLOCKS = {0: "realtime", 1: "mono", 4: "mono_raw", 7: "boot", 11: "tai"}


@dataclass(kw_only=True)
class _Contents:
    data: TraceData = field(default_factory=TraceData)
    sample_types: list[int] = field(default_factory=list)
    read_formats: list[int] = field(default_factory=list)
    ids: list[tuple[int, int]] = field(default_factory=list)
    header_page: bytes = b""
    formats: list[bytes] = field(default_factory=list)
    start: int = 0
    stop: int = 0
    truncated: bool = False


def _take_attr(attr: bytes, ids: bytes, contents: _Contents) -> None:
    owner = len(contents.sample_types)
    contents.sample_types.append(int.from_bytes(attr[24:32], "little"))
    contents.read_formats.append(int.from_bytes(attr[32:40], "little"))
    contents.ids += [(int.from_bytes(ids[at : at + 8], "little"), owner) for at in range(0, len(ids) - 7, 8)]
    if int.from_bytes(attr[40:48], "little") & _USE_CLOCKID and len(attr) >= 96:
        number = int.from_bytes(attr[92:96], "little", signed=True)
        contents.data.clock = _CLOCKS.get(number, f"clock {number}")


def _take_tracing_data(cursor: Cursor, contents: _Contents) -> None:
    """The tracer's part: as the head of a trace.dat, under versions of its own."""
    cursor.expect(_TRACING_MAGIC)
    cursor.text("the version of the tracing data", 16)
    if cursor.number(1, "the byte order") != 0 or cursor.number(1, "the size of a long") != 8:
        raise cursor.fail("recorded on a big-endian or 32-bit machine, which is not supported")
    cursor.number(4, "the size of a page")
    contents.header_page = read_header_info(cursor)
    for _ in range(cursor.number(4, "the number of ftrace events")):
        cursor.take(cursor.number(8, "a size"), "a format")
    contents.formats = read_event_formats(cursor)


def _take_feature(number: int, cursor: Cursor, contents: _Contents) -> None:
    if number == _FEATURE_TRACING_DATA:
        _take_tracing_data(cursor, contents)
    elif number == _FEATURE_OSRELEASE:
        text = cursor.take(cursor.number(4, "a size"), "the kernel's release")
        contents.data.kernel = text.split(b"\0", 1)[0].decode(errors="replace")
    elif number == _FEATURE_NRCPUS:
        contents.data.cpus = min(cursor.number(4, "the number of CPUs"), MAX_CPUS)


def _section(cursor: Cursor, what: str) -> tuple[int, int]:
    offset, size = cursor.number(8, f"the offset of {what}"), cursor.number(8, f"the size of {what}")
    if offset > len(cursor.data) or size > len(cursor.data) - offset:
        raise cursor.fail(f"{what} reach beyond the end of the file: {size} bytes from {offset}")
    return offset, size


def _read_attrs(cursor: Cursor, offset: int, size: int, attr_bytes: int, contents: _Contents) -> None:
    if not _ATTR_BYTES_MIN + 16 <= attr_bytes <= 4096 or size % attr_bytes:
        raise cursor.fail(f"{size} bytes of events of {attr_bytes} bytes each")
    for at in range(offset, offset + size, attr_bytes):
        cursor.at = at
        attr = cursor.take(attr_bytes - 16, "an event")
        ids_offset, ids_size = _section(cursor, "an event's ids")
        if ids_size // 8 + len(contents.ids) > MAX_IDS:
            raise cursor.fail(f"more than {MAX_IDS} ids")
        cursor.at = ids_offset
        _take_attr(attr, cursor.take(ids_size, "ids"), contents)


def _read_file_head(cursor: Cursor, *, lenient: bool) -> _Contents:
    contents = _Contents()
    cursor.number(8, "the header's size")
    attr_bytes = cursor.number(8, "the size of an event")
    attrs = _section(cursor, "the events")
    data_at, data_size = cursor.number(8, "the offset of the data"), cursor.number(8, "the size of the data")
    _section(cursor, "the event types")
    bits = int.from_bytes(cursor.take(32, "the list of features"), "little")
    left = len(cursor.data) - data_at
    if data_at > len(cursor.data) or data_size > left or data_size == 0:
        # perf writes the size when it ends.
        if not lenient or data_at > len(cursor.data):
            raise cursor.fail("cut, or perf did not end in order: its data section has no end")
        data_size, bits, contents.truncated = left, 0, True
    contents.start, contents.stop = data_at, data_at + data_size
    _read_attrs(cursor, *attrs, attr_bytes, contents)
    cursor.at = contents.stop
    features = [bit for bit in range(256) if bits >> bit & 1]
    places = {bit: _section(cursor, f"feature {bit}") for bit in features}
    for bit, (offset, size) in places.items():
        _take_feature(bit, Cursor(bytes(cursor.data[offset : offset + size]), cursor.path), contents)
    return contents


def _read_pipe_head(cursor: Cursor) -> _Contents:
    """What stands in a pipe before the first sample: records instead of sections."""
    contents = _Contents(start=cursor.at, stop=len(cursor.data))
    data = cursor.data
    while len(data) - cursor.at >= 8:
        at = cursor.at
        kind, size = int.from_bytes(data[at : at + 4], "little"), int.from_bytes(data[at + 6 : at + 8], "little")
        if kind == _RECORD_SAMPLE or kind in _RECORD_COMPRESSED:
            break
        body = Cursor(cursor.take(max(size, 8), "a record"), cursor.path, 8)
        if kind == _RECORD_ATTR:
            length = int.from_bytes(body.data[12:16], "little")
            if length < _ATTR_BYTES_MIN:
                raise cursor.fail(f"an event of {length} bytes")
            attr = body.take(length, "an event")
            _take_attr(attr, body.take(len(body.data) - body.at, "ids"), contents)
        elif kind == _RECORD_TRACING_DATA:
            length = body.number(4, "the size of the tracing data")
            _take_tracing_data(Cursor(cursor.take((length + 7) & ~7, "the tracing data"), cursor.path), contents)
        elif kind == _RECORD_FEATURE and size >= 16:
            number = body.number(8, "a feature")
            if number != _FEATURE_TRACING_DATA:
                _take_feature(number, body, contents)
        if len(contents.ids) > MAX_IDS:
            raise cursor.fail(f"more than {MAX_IDS} ids")
    return contents


def _read_head(data: Any, path: str, *, lenient: bool) -> _Contents:
    cursor = Cursor(data, path)
    cursor.expect(MAGIC)
    size = int.from_bytes(data[8:16], "little")
    if size == 16:
        cursor.at = 16
        contents = _read_pipe_head(cursor)
    else:
        contents = _read_file_head(cursor, lenient=lenient)
    if not contents.sample_types:
        raise cursor.fail("no events were recorded into it")
    if not contents.formats:
        raise cursor.fail("no formats of tracepoints: recorded without any, or cut")
    return contents


class _Unpacker:
    """Decompresses the data of compressed records, which are pieces of one zstd stream, cut anywhere.

    The reader of zstd is asked for only when a compressed record comes.

    Attributes:
        blocks: Where in the stream's blocks the data so far end.
        full: Whether the last record was as long as perf makes them.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._feed: Callable[[bytes], Iterator[bytes]] | None = None
        self.blocks = ZstdBlocks()
        self.full = False

    def __call__(self, piece: bytes) -> Iterator[bytes]:
        if self._feed is None:
            self._feed = unzstd_stream(self._path)
        self.full = len(piece) >= _FULL_RECORD_BYTES
        self.blocks.feed(piece)
        yield from self._feed(piece)

    @property
    def tail_lost(self) -> bool:
        """Whether perf left the end of the stream in its compressor.

        perf flushes the compressor once for each piece of a ring buffer. Where what it has to say does not fit into the
        record under way, the rest comes with the next piece; after the last piece it never comes, and perf ends in
        order (tools/perf/util/zstd.c, to this day). So the stream ends inside a block, behind a full record.
        """
        return self.full and self.blocks.inside


def read_perf_data(
    path: Path, *, lenient: bool = False, progress: Progress | None = None
) -> tuple[Events, ParseStats, TraceData]:
    """Reads a perf.data file of tracepoints.

    Args:
        path: The file.
        lenient: Count damaged samples and pass over them; read a file that perf did not close up to where it was cut.
            Events that perf itself lost are counted in any case.
        progress: Called with the bytes of records and the events so far.

    Returns:
        The events in order of time (of one time: in the file's order), the counts, and what else the file says.

    Raises:
        RecordingError: The file is damaged, holds no tracepoints, or is of a big-endian or 32-bit machine.
    """
    name = str(path)
    unpack = _Unpacker(name)
    with mapped(path) as data, Decoder("perf.data", name, lenient=lenient, progress=progress) as decoder:
        contents = _read_head(data, name, lenient=lenient)
        if contents.header_page:
            decoder.set_header_page(contents.header_page)
        for text in contents.formats:
            decoder.add_format(text)
        decoder.set_perf(contents.sample_types, contents.read_formats, contents.ids)
        at = contents.start
        while at < contents.stop:
            with memoryview(data)[at : min(at + FEED_BYTES, contents.stop)] as piece:
                done = decoder.perf(piece, unpack)
                at += done
                if done == 0 and len(piece) < FEED_BYTES:
                    break
            if done == 0:
                raise RecordingError(f"byte {at}: a record of more than {FEED_BYTES} bytes", path=name)
        whole = at == contents.stop and not contents.truncated
        tail_lost = whole and unpack.tail_lost
        truncated = not whole or (not tail_lost and (decoder.rest > 0 or unpack.blocks.inside))
        if truncated and not lenient:
            raise RecordingError("the data end inside a record", path=name)
        events, stats = decoder.finish(truncated=truncated, tail_lost=tail_lost)
    return events, stats, contents.data
