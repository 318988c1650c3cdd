"""The JSON of the fragmentation tracker in mcgrof/plot-fragmentation: read, and written for its pictures.

The tracker lists fallbacks (``extfrag``) and outcomes of compaction, with seconds since its start. Of a recording these
are ``mm_page_alloc_extfrag`` and ``mm_compaction_finished``; frames are not in that form.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pymigrate._core import ffi, lib
from pymigrate.errors import RecordingError
from pymigrate.recording.events import COLUMN_DTYPES, EVENT_KINDS, NO_PFN, Events
from pymigrate.recording.recording import Recording
from pymigrate.recording.sections import TraceData
from pymigrate.recording.sources import read_all
from pymigrate.recording.trace import ParseStats

__all__ = ["is_tracker", "read_tracker", "tracker_json"]

MAX_BYTES = 1 << 30
TYPES = ("UNMOVABLE", "MOVABLE", "RECLAIMABLE", "PCPTYPES", "HIGHATOMIC", "CMA", "ISOLATE")
"""What the tracker calls migrate types, by number. A kernel without CMA has HIGHATOMIC at 3 and ISOLATE at 4."""
ZONES = ("DMA", "DMA32", "Normal", "Movable", "HighMem", "Device")

_EXTFRAG, _FINISHED = EVENT_KINDS.index("mm_page_alloc_extfrag"), EVENT_KINDS.index("mm_compaction_finished")
_SUCCESS, _COMPLETE = 8, 5
_MAX_S = 1e9


def is_tracker(head: bytes) -> bool:
    """Whether a file that starts so is the tracker's."""
    text = head.lstrip()[:4096]
    return text.startswith(b"{") and b'"metadata"' in text and (b'"total_events"' in text or b'"events"' in text)


# ---- reading ----


class _Row:
    """One event of the JSON, with checks that name it."""

    def __init__(self, number: int, row: Any, path: str) -> None:
        self.number, self.path = number, path
        if not isinstance(row, dict):
            raise self.fail("not an object")
        self.row: dict[str, Any] = row

    def fail(self, message: str) -> RecordingError:
        return RecordingError(f"event {self.number}: {message}", path=self.path)

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        value = self.row.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fail(f"{name} is {value!r}, no number from {low} to {high}")
        return value

    def seconds(self) -> float:
        value = self.row.get("timestamp")
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MAX_S:
            raise self.fail(f"timestamp is {value!r}, no number of seconds")
        return float(value)

    def migratetype(self, name: str) -> int:
        value = str(self.row.get(name))
        if value in TYPES:
            return TYPES.index(value)
        number = value.removeprefix("TYPE_")
        if number != value and number.isdigit() and int(number) <= 7:
            return int(number)
        raise self.fail(f"{name} is {value!r}, no migrate type")

    def zone(self) -> int:
        name = self.row.get("zone")
        return ZONES.index(name) if name in ZONES else 0xFFFFFFFF


def _extfrag(row: _Row) -> dict[str, int]:
    steal = row.row.get("is_steal")
    if not isinstance(steal, bool):
        raise row.fail(f"is_steal is {steal!r}, not true or false")
    return {
        "kind": _EXTFRAG,
        "tid": row.integer("tid", 0, 0xFFFFFFFF, row.row.get("pid")),
        "order": row.integer("order", 0, 10),
        "migratetype": row.migratetype("migrate_to"),
        "arg0": row.integer("fallback_order", 0, 10),
        "arg1": row.migratetype("migrate_from"),
        "arg2": int(not steal),
    }


def _compaction(row: _Row, *, success: bool) -> dict[str, int]:
    return {
        "kind": _FINISHED,
        "tid": row.integer("tid", 0, 0xFFFFFFFF, row.row.get("pid")),
        "order": row.integer("order", -1, 10),
        "arg0": row.zone(),
        "arg1": _SUCCESS if success else _COMPLETE,
    }


def _fields(row: _Row) -> dict[str, int]:
    match row.row.get("event_type"):
        case "extfrag":
            return _extfrag(row)
        case "compaction_success":
            return _compaction(row, success=True)
        case "compaction_failure":
            return _compaction(row, success=False)
        case other:
            raise row.fail(f"event_type is {other!r}")


def read_tracker(path: Path, *, lenient: bool = False) -> tuple[Events, ParseStats, TraceData]:
    """Reads the tracker's JSON, plain, gzip or zstd.

    Times count from the tracker's start. The index that it notes beside an event is an estimate by order, and dropped.

    Args:
        path: The file.
        lenient: Count damaged events and pass over them.

    Raises:
        RecordingError: It is no JSON of the tracker; the message names the event.
    """
    name = str(path)
    data = read_all(path, max_bytes=MAX_BYTES)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"not JSON: {error}", path=name) from error
    if not isinstance(content, dict) or not isinstance(content.get("events"), list):
        raise RecordingError("no list of events", path=name)
    columns: dict[str, list[int]] = {column: [] for column in COLUMN_DTYPES if column != "time_ns"}
    defaults = dict.fromkeys(columns, 0) | {"order": -1, "migratetype": -1, "pfn": NO_PFN, "allocation": NO_PFN}
    seconds: list[float] = []
    skipped = 0
    for number, item in enumerate(content["events"], 1):
        try:
            row = _Row(number, item, name)
            at, fields = row.seconds(), defaults | _fields(row)
        except RecordingError:
            if not lenient:
                raise
            skipped += 1
            continue
        seconds.append(at)
        for column, values in columns.items():
            values.append(fields[column])
    # An event may come before the moment that the tracker took for its start.
    since = np.array(seconds, np.float64) - min(0.0, min(seconds, default=0.0))
    times = np.rint(since * 1e9).astype(np.uint64)
    arrays = {column: np.array(values, COLUMN_DTYPES[column]) for column, values in columns.items()}
    events = Events(time_ns=times, **arrays).take(np.argsort(times, kind="stable"))
    stats = ParseStats(
        format="tracker",
        bytes=len(data),
        lines=len(content["events"]),
        events=len(events),
        skipped=skipped,
        others={},
    )
    metadata = content.get("metadata")
    kernel = metadata.get("kernel_version") if isinstance(metadata, dict) else None
    return events, stats, TraceData(kernel=kernel if isinstance(kernel, str) else "")


# ---- writing ----


def _type_name(number: int) -> str:
    return TYPES[number] if 0 <= number < len(TYPES) else f"TYPE_{number}"


class _Index:
    """The kernel's fragmentation index, in thousandths, from the sample before an event."""

    def __init__(self, recording: Recording) -> None:
        self._samples = recording.samples
        self._names = [name for _, name in recording.samples.zones]
        self._largest = 0
        if len(self._samples) and self._samples.buddy.size:
            weights = 1 << np.arange(self._samples.buddy.shape[2])
            self._largest = int(np.argmax((self._samples.buddy[0] * weights).sum(axis=1)))

    def of(self, time_ns: int, order: int, zone: str) -> int:
        """Of `zone`, or of the zone with the most free memory; -1 where there are no samples."""
        if not len(self._samples) or not 0 <= order <= 10 or self._samples.buddy.shape[2] != 11:
            return -1
        at = max(0, int(np.searchsorted(self._samples.t_ns, np.uint64(time_ns), side="right")) - 1)
        which = self._names.index(zone) if zone in self._names else self._largest
        blocks = ffi.new("uint64_t[]", [int(n) for n in self._samples.buddy[at, which]])
        return int(lib.pm_fragmentation_index(blocks, order))


def _rows(recording: Recording) -> Iterator[dict[str, Any]]:
    events = recording.events
    # The tracker sees requests; the compaction of a whole zone has no order.
    outcome = (events.kind == _FINISHED) & np.isin(events.arg1, (_SUCCESS, _COMPLETE)) & (events.order >= 0)
    chosen = np.flatnonzero((events.kind == _EXTFRAG) | outcome)
    names: dict[str, Any] = recording.host.get("threads") or {}
    begin = int(events.time_ns[0]) if len(events) else 0
    epoch = float(recording.host.get("started_s") or 0.0)
    index = _Index(recording)
    for i in chosen.tolist():
        time_ns, tid, order = int(events.time_ns[i]), int(events.tid[i]), int(events.order[i])
        seconds = (time_ns - begin) * 1e-9
        row: dict[str, Any] = {
            "timestamp": round(seconds, 9),
            "absolute_time": datetime.fromtimestamp(epoch + seconds, UTC).replace(tzinfo=None).isoformat(),
        }
        who = {"pid": tid, "tid": tid, "comm": str(names.get(str(tid), ""))}
        if events.kind[i] == _EXTFRAG:
            yield (
                row
                | {"event_type": "extfrag"}
                | who
                | {
                    "order": order,
                    "fallback_order": int(events.arg0[i]),
                    "migrate_from": _type_name(int(events.arg1[i])),
                    "migrate_to": _type_name(int(events.migratetype[i])),
                    "is_steal": not events.arg2[i],
                    "node": 0,
                    "fragmentation_index": index.of(time_ns, order, ""),
                }
            )
            continue
        zone = ZONES[events.arg0[i]] if events.arg0[i] < len(ZONES) else ""
        success = int(events.arg1[i]) == _SUCCESS
        row |= {"event_type": "compaction_success" if success else "compaction_failure"} | who | {"order": order}
        row["fragmentation_index"] = index.of(time_ns, order, zone) if success else -1
        yield row | ({"zone": zone, "node": 0} if success else {})


def tracker_json(recording: Recording) -> dict[str, Any]:
    """A recording's fallbacks and outcomes of compaction as the tracker would have written them.

    The index beside each is the kernel's, from the sample before it. Names are there where the recording kept them.
    """
    rows = list(_rows(recording))
    started = float(recording.host.get("started_s") or 0.0)
    extfrag = Counter(row["order"] for row in rows if row["event_type"] == "extfrag")
    compaction: dict[str, dict[str, int]] = {}
    for row in rows:
        if row["event_type"] != "extfrag":
            counts = compaction.setdefault(str(row["order"]), {"success": 0, "failure": 0})
            counts[row["event_type"].removeprefix("compaction_")] += 1
    return {
        "metadata": {
            "start_time": started,
            "end_time": started + recording.seconds,
            "duration": recording.seconds,
            "total_events": len(rows),
            "kernel_version": str(recording.host.get("kernel", "")),
        },
        "events": rows,
        "statistics": {"extfrag": {str(order): n for order, n in sorted(extfrag.items())}, "compaction": compaction},
    }
