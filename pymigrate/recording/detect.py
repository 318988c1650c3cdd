"""What a source of events is, by its content; and its events, whatever it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pymigrate.errors import RecordingError
from pymigrate.gfp import GfpBits
from pymigrate.recording import perfdata, spool, tracedat, tracker
from pymigrate.recording.decode import Progress
from pymigrate.recording.events import Events
from pymigrate.recording.sections import TraceData
from pymigrate.recording.sources import is_packed, read_chunks
from pymigrate.recording.trace import ParseStats, parse_trace

__all__ = ["SourceEvents", "kind_of", "read_events"]

_ZIP_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceEvents:
    """The events of a source.

    Attributes:
        events: In the order of the source; not yet resolved.
        parse: What was counted.
        data: What the source says of its machine.
        seconds: Time spent in decoding and in putting the events in order, without reading text and decompressing it.
    """

    events: Events
    parse: ParseStats
    data: TraceData
    seconds: float


def kind_of(path: Path) -> str:
    """``"spool"``, ``"trace.dat"``, ``"perf.data"``, ``"tracker"``, or ``"text"``: of a tracer or of page_owner.

    Raises:
        RecordingError: It is a recording already, or a binary trace within gzip or zstd.
        OSError: It cannot be read.
    """
    if path.is_dir():
        return "spool"
    head = next(read_chunks(path), b"")
    binary = {tracedat.MAGIC: "trace.dat", perfdata.MAGIC: "perf.data"}
    for magic, kind in binary.items():
        if head.startswith(magic):
            if is_packed(path):
                raise RecordingError(f"a {kind} within a compressed file: decompress it first", path=str(path))
            return kind
    if head.startswith(_ZIP_MAGIC):
        raise RecordingError("a recording already: nothing is to be imported", path=str(path))
    return "tracker" if tracker.is_tracker(head) else "text"


class _Clock:
    """Counts the time spent in the reader of the chunks, so that the parse can be timed without it."""

    def __init__(self) -> None:
        self.reading = 0.0

    def chunks(self, path: Path) -> Iterator[bytes]:
        source = read_chunks(path)
        while True:
            before = time.perf_counter()
            chunk = next(source, None)
            self.reading += time.perf_counter() - before
            if chunk is None:
                return
            yield chunk


def read_events(
    path: Path,
    *,
    form: str = "auto",
    lenient: bool = False,
    until_ns: int | None = None,
    gfp_bits: GfpBits | None = None,
    raw_times: bool = False,
    progress: Progress | None = None,
) -> SourceEvents:
    """The events of a file, or of a folder of ring-buffer pages, whatever wrote it.

    Args:
        path: The source.
        form: Of text: one of `pymigrate.recording.FORMATS`.
        lenient: Count what is damaged and pass over it.
        until_ns: Of text: stop once a batch is later than this after the first event.
        gfp_bits: Of text: what hexadecimal flags mean. Binary traces say so themselves.
        raw_times: Of trace.dat: without the offset that the file asks for.
        progress: Called with the bytes and the events so far.

    Raises:
        RecordingError: The source is damaged.
        OSError: It cannot be read.
    """
    kind = kind_of(path)
    before = time.perf_counter()
    clock = _Clock()
    data = TraceData()
    if kind == "spool":
        events, parse, data = spool.read_spool(path, lenient=lenient, progress=progress)
    elif kind == "trace.dat":
        events, parse, data = tracedat.read_trace_dat(path, lenient=lenient, raw_times=raw_times, progress=progress)
    elif kind == "perf.data":
        events, parse, data = perfdata.read_perf_data(path, lenient=lenient, progress=progress)
    elif kind == "tracker":
        events, parse, data = tracker.read_tracker(path, lenient=lenient)
    else:
        events, parse = parse_trace(
            clock.chunks(path),
            form=form,
            lenient=lenient,
            path=str(path),
            until_ns=until_ns,
            gfp_bits=gfp_bits,
            progress=progress,
        )
    seconds = time.perf_counter() - before - clock.reading
    return SourceEvents(events=events, parse=parse, data=data, seconds=seconds)
