"""From a trace, a snapshot and samples to a recording."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from pymigrate.errors import RecordingError
from pymigrate.gfp import GfpBits
from pymigrate.recording.decode import Progress
from pymigrate.recording.detect import SourceEvents, read_events
from pymigrate.recording.events import NO_PFN, Events
from pymigrate.recording.lists import FreeLists
from pymigrate.recording.recording import InitialAllocations, Recording
from pymigrate.recording.resolve import ResolveStats, resolve_allocations
from pymigrate.recording.samples import Samples, read_samples
from pymigrate.recording.snapshot import MAX_FRAMES, FrameTimes, Snapshot, read_json, read_snapshot
from pymigrate.recording.spool import is_spool
from pymigrate.recording.trace import ParseStats

__all__ = ["ImportResult", "Parts", "assemble", "import_recording", "recording_of_snapshot"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ImportResult:
    """What an import made.

    Attributes:
        recording: The recording.
        parse: What the parser counted.
        resolve: How the events' allocations were found.
        parse_seconds: Time in the parser and in copying its columns, without reading and decompressing.
        total_seconds: Time of the whole import.
        samples_skipped: Damaged samples that were passed over.
    """

    recording: Recording
    parse: ParseStats
    resolve: ResolveStats
    parse_seconds: float
    total_seconds: float
    samples_skipped: int

    @property
    def events_per_second(self) -> float:
        """Events parsed a second."""
        return self.parse.events / self.parse_seconds if self.parse_seconds > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The files of an import."""

    events: Path
    start: Path | None
    end: Path | None
    samples: Path | None
    meta: Path | None


def _events_file(folder: Path) -> Path:
    found = [
        p
        for p in sorted(folder.iterdir())
        if p.is_file() and p.name.startswith(("events", "trace")) and ".txt" in p.name
    ]
    if not found:
        found = [p for name in ("trace.dat", "perf.data", "trace", "events") if (p := folder / name).is_file()]
    if not found and (folder / "tracefs").is_dir():
        found = [folder / "tracefs"]
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise RecordingError(
            f"expected one source of events (events*.txt*, trace*.txt*, trace.dat, perf.data, tracefs/), found {names}",
            path=str(folder),
        )
    return found[0]


def _find(source: Path, snapshot: Path | None, samples: Path | None) -> _Source:
    if not source.exists():
        raise FileNotFoundError(2, "no such file or folder", str(source))
    if not source.is_dir() or is_spool(source):
        return _Source(events=source, start=snapshot, end=None, samples=samples, meta=None)

    def optional(name: str) -> Path | None:
        path = source / name
        return path if path.exists() else None

    return _Source(
        events=_events_file(source),
        start=snapshot or optional("start"),
        end=optional("end"),
        samples=samples or optional("samples.jsonl"),
        meta=optional("meta.json"),
    )


def _in_order(events: Events) -> Events:
    times = events.time_ns
    if np.any(times[1:] < times[:-1]):
        return events.take(np.argsort(times, kind="stable"))
    return events


def _cut(events: Events, from_s: float | None, until_s: float | None) -> Events:
    if not len(events) or (from_s is None and until_s is None):
        return events
    first = int(events.time_ns[0])
    low = first + round((from_s or 0.0) * 1e9)
    high = None if until_s is None else first + round(until_s * 1e9)
    start = int(np.searchsorted(events.time_ns, np.uint64(low), side="left"))
    stop = len(events) if high is None else int(np.searchsorted(events.time_ns, np.uint64(high), side="right"))
    return events.take(slice(start, max(stop, start)))


def _assumed_zones(pfn_end: int) -> list[dict[str, Any]]:
    """The zones of an x86-64 machine with memory up to `pfn_end`, for traces that come without a snapshot."""
    borders = (("DMA", 1, 4096), ("DMA32", 4096, 1 << 20), ("Normal", 1 << 20, MAX_FRAMES))
    return [
        {"name": name, "start_pfn": low, "spanned": min(high, pfn_end) - low}
        for name, low, high in borders
        if pfn_end > low
    ]


def _pfn_end(events: Events, snapshot: Snapshot | None) -> int:
    if snapshot is not None and len(snapshot.flags):
        return len(snapshot.flags)
    known = events.pfn[events.pfn != NO_PFN]
    last = int(known.max()) if len(known) else 0
    if snapshot is not None:
        last = max([last, *(zone.start_pfn + zone.spanned - 1 for zone in snapshot.zoneinfo if zone.spanned)])
    # A whole largest block, so that the last allocation lies inside.
    return (last // 1024 + 1) * 1024


def _clean_zones(zones: Any, path: str | None) -> list[dict[str, Any]]:
    try:
        return [
            {"name": str(zone["name"]), "start_pfn": int(zone["start_pfn"]), "spanned": int(zone["spanned"])}
            for zone in zones
        ]
    except (TypeError, KeyError, ValueError):
        raise RecordingError("zones are no list of name, start_pfn and spanned", path=path) from None


def _host(meta: dict[str, Any], events: Events, snapshot: Snapshot | None, path: str | None) -> dict[str, Any]:
    host: dict[str, Any] = {key: value for key, value in meta.items() if key not in ("zones", "pfn_end", "cpus")}
    info = snapshot.zoneinfo if snapshot is not None else ()
    pfn_end = int(meta.get("pfn_end", 0)) or _pfn_end(events, snapshot)
    if "zones" in meta:
        zones = _clean_zones(meta["zones"], path)
    elif info:
        zones = [
            {"name": zone.name, "start_pfn": zone.start_pfn, "spanned": zone.spanned} for zone in info if zone.spanned
        ]
    else:
        zones = _assumed_zones(pfn_end)
        host["zones_assumed"] = True
    lists = max((len(zone.pagesets) for zone in info), default=0)
    seen = int(events.cpu.max()) + 1 if len(events) else 1
    host["cpus"] = int(meta.get("cpus", 0)) or max(lists, seen)
    host.setdefault("page_size", 4096)
    types = snapshot.pagetypeinfo if snapshot is not None else None
    host.setdefault("pageblock_order", types.pageblock_order if types is not None else 9)
    return host | {"zones": zones, "pfn_end": pfn_end}


def _check_order(host: dict[str, Any], path: str) -> None:
    if host["page_size"] != 4096 or host["pageblock_order"] not in (9, -1):
        raise RecordingError(
            f"pages of {host['page_size']} bytes, pageblocks of order {host['pageblock_order']}: this build has "
            "4096 and 9",
            path=path,
        )


def import_recording(
    source: str | PathLike[str],
    *,
    snapshot: str | PathLike[str] | None = None,
    samples: str | PathLike[str] | None = None,
    form: str = "auto",
    lenient: bool = False,
    from_s: float | None = None,
    until_s: float | None = None,
    gfp_bits: GfpBits | None = None,
    progress: Progress | None = None,
) -> ImportResult:
    """Imports a trace.

    Args:
        source: A folder with ``events*.txt``, ``trace.dat``, ``perf.data`` or ``tracefs/`` and, optionally,
            ``start/``, ``end/``, ``samples.jsonl`` and ``meta.json``; or one of these sources of events alone. Texts
            may be plain, gzip or zstd. What a file is follows from its content.
        snapshot: A folder with the state at the start; for a folder `source`, in place of its ``start/``.
        samples: A file of samples; for a folder `source`, in place of its own.
        form: The trace's text form: ``auto``, ``perf-script``, ``trace-cmd`` or ``ftrace``.
        lenient: Count damaged lines and pass over them.
        from_s: Leave out events before this many seconds after the first.
        until_s: Leave out events after this many seconds after the first. Samples are cut with the events; the start
            snapshot stays.
        gfp_bits: What hexadecimal gfp flags in a text mean; those of kernel 6.x unless told otherwise.
        progress: Called with the bytes and the events so far.

    Returns:
        The recording and what was counted.

    Raises:
        RecordingError: The source is damaged; the message names the file and the line.
        OSError: A file cannot be read.
        ValueError: `form` is not known, or the cut is empty.
    """
    began = time.perf_counter()
    if from_s is not None and until_s is not None and until_s < from_s:
        raise ValueError(f"until_s={until_s} is before from_s={from_s}")
    files = _find(Path(fspath(source)), _path(snapshot), _path(samples))
    source_events = read_events(
        files.events,
        form=form,
        lenient=lenient,
        until_ns=None if until_s is None else round(until_s * 1e9),
        gfp_bits=gfp_bits,
        progress=progress,
    )
    if not source_events.parse.events and source_events.parse.skipped:
        raise RecordingError("no line of it is an event", path=str(files.events))
    cut = (from_s is not None, until_s is not None)
    parts = _read_parts(files, source_events, lenient=lenient, with_end=not cut[1])
    events = _cut(_in_order(parts.events), from_s, until_s)
    parts = replace(parts, events=events, samples=_cut_samples(parts.samples, events, cut))
    return assemble(parts, began=began)


def _path(path: str | PathLike[str] | None) -> Path | None:
    return None if path is None else Path(fspath(path))


def _cut_samples(samples: Samples, events: Events, cut: tuple[bool, bool]) -> Samples:
    if not len(events) or not any(cut):
        return samples
    first = int(events.time_ns[0]) if cut[0] else 0
    last = int(events.time_ns[-1]) if cut[1] else (1 << 64) - 1
    return samples.between(first, last)


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """What a recording is made of.

    Attributes:
        name: What the source of the events is called.
        events: In order of time, not resolved.
        parse: What the decoder counted.
        decode_seconds: How long it took.
        start: The frames and texts at the start.
        end: The same at the end.
        samples: The kernel's counters over time.
        samples_skipped: Damaged samples that were passed over.
        meta: What is known of the machine.
        path: The file for messages about `meta`.
        lists: The kernel's own lists, where they were walked.
    """

    name: str
    events: Events
    parse: ParseStats
    decode_seconds: float
    start: Snapshot | None
    end: Snapshot | None
    samples: Samples
    samples_skipped: int = 0
    meta: dict[str, Any]
    path: str | None = None
    lists: FreeLists | None = None


def _read_parts(files: _Source, source: SourceEvents, *, lenient: bool, with_end: bool) -> Parts:
    start = read_snapshot(files.start) if files.start is not None else None
    # An end snapshot belongs to the end of the whole trace.
    end = read_snapshot(files.end) if files.end is not None and with_end else None
    samples, samples_skipped = read_samples(files.samples, lenient=lenient) if files.samples else (Samples.empty(), 0)
    meta = read_json(files.meta) if files.meta is not None else {}
    if not isinstance(meta, dict):
        raise RecordingError("not a JSON object", path=str(files.meta))
    told = {"kernel": source.data.kernel, "cpus": source.data.cpus, "clock": source.data.clock}
    meta = {name: value for name, value in told.items() if value} | meta
    return Parts(
        name=files.events.name,
        events=source.events,
        parse=source.parse,
        decode_seconds=source.seconds,
        start=start,
        end=end,
        samples=samples,
        samples_skipped=samples_skipped,
        meta=meta,
        path=str(files.meta or files.start or files.events),
    )


def recording_of_snapshot(snapshot: Snapshot, meta: dict[str, Any], path: str) -> Recording:
    """A recording without events: a snapshot and what is known of its machine.

    Args:
        snapshot: The frames and texts.
        meta: What `meta.json` says; zones that it lacks are taken from the snapshot's zoneinfo.
        path: The file for messages about `meta`.

    Raises:
        RecordingError: The machine is one that this build cannot imitate.
    """
    events = Events.empty()
    host = _host(meta, events, snapshot, path)
    _check_order(host, path)
    return Recording(
        events=events,
        frame_flags=snapshot.flags,
        frame_mapcount=snapshot.mapcount,
        frame_times=snapshot.times,
        samples=Samples.empty(),
        initial=InitialAllocations.empty(),
        host=host,
        start=snapshot.texts,
        start_ns=snapshot.text_ns,
    )


def assemble(parts: Parts, *, began: float) -> ImportResult:
    """Resolves the events' allocations and makes the recording.

    Args:
        parts: What it is made of.
        began: `time.perf_counter` when the import began.

    Raises:
        RecordingError: The parts contradict each other, or the machine is one that this build cannot replay.
    """
    start, end = parts.start, parts.end
    host = _host(parts.meta, parts.events, start, parts.path)
    _check_order(host, str(parts.path))
    flags = start.flags if start is not None else np.empty(0, np.uint32)
    times = start.times if start is not None else FrameTimes.empty()
    events, initial, resolve = resolve_allocations(parts.events, frame_flags=flags, frame_times=times)
    recording = Recording(
        events=events,
        frame_flags=flags,
        frame_mapcount=start.mapcount if start is not None else np.empty(0, np.uint16),
        frame_times=times,
        samples=parts.samples,
        initial=initial if len(events) else InitialAllocations.empty(),
        host=host,
        start=start.texts if start is not None else {},
        end=end.texts if end is not None else {},
        start_ns=start.text_ns if start is not None else {},
        end_ns=end.text_ns if end is not None else {},
        end_frame_flags=end.flags if end is not None and len(end.flags) == len(flags) else np.empty(0, np.uint32),
        lists=parts.lists,
        end_frame_times=end.times if end is not None and len(end.flags) == len(flags) else FrameTimes.empty(),
        stats={
            "source": {"name": parts.name, "samples_skipped": parts.samples_skipped},
            "parse": parts.parse.to_json(),
            "resolve": resolve.to_json(),
        },
    )
    return ImportResult(
        recording=recording,
        parse=parts.parse,
        resolve=resolve,
        parse_seconds=parts.decode_seconds,
        total_seconds=time.perf_counter() - began,
        samples_skipped=parts.samples_skipped,
    )
