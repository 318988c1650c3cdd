"""The recording as a file: an .npz of numpy arrays and one JSON text. docs/RECORDING_FORMAT.md is its description.

Written so that numpy alone can read it, and read so that a hostile file costs an error and nothing else: every array's
type, shape and size is checked against the others before memory is taken for it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from pymigrate.errors import RecordingError
from pymigrate.recording.events import COLUMN_DTYPES, EVENT_KINDS, NO_PFN, Events
from pymigrate.recording.lists import FreeLists
from pymigrate.recording.recording import InitialAllocations, Recording
from pymigrate.recording.samples import Samples
from pymigrate.recording.snapshot import MAX_FRAMES, FrameTimes

__all__ = ["FORMAT_NAME", "FORMAT_VERSION", "load_recording", "save_recording"]

FORMAT_NAME = "pymigrate-recording"
FORMAT_VERSION = 1
MAX_META_BYTES = 64 << 20
MAX_EVENTS = 1 << 31
_LISTS = ("pfn", "order", "migratetype", "cpu", "zone")
_COMPRESSIONS = {"deflate": zipfile.ZIP_DEFLATED, "lzma": zipfile.ZIP_LZMA}

Array = NDArray[Any]

# Kinds of events (enum pm_event_kind) that carry a value; for the others the column holds its default.
_WITH_MIGRATETYPE = (0, 3, 4, 5)
_WITH_GFP = (0, 16, 19, 20)
_WITH_ORDER = (0, 1, 2, 3, 4, 5, 9, 10)
_WITH_ARGS = {
    "arg0": (3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 21),
    "arg1": (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 21),
    "arg2": (5, 6, 7, 8, 11, 12, 13),
}
# enum pm_resolution: what gives a new id, what names an id of the recording, what names one of the initial table.
_RESOLVED_KINDS = (0, 1)
_NEW = (1, 17)
_OWN = (2, 3, 9, 18)
_INITIAL = (4, 10)


def _is_any(column: Array, values: Iterable[int]) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(values)] = True
    return table[column]


def _smallest(column: Array) -> Array:
    """The same numbers in the smallest unsigned type."""
    top = int(column.max()) if column.size else 0
    for dtype in (np.uint8, np.uint16, np.uint32):
        if top <= np.iinfo(dtype).max:
            return column.astype(dtype)
    return column


def _codes(column: Array, name: str) -> dict[str, Array]:
    values, codes = np.unique(column, return_inverse=True)
    return {f"{name}_values": values.astype(np.uint32), f"{name}_code": _smallest(codes.reshape(-1))}


# ---- writing ----


def _pack_ids(events: Events, initial: InitialAllocations) -> dict[str, Array]:
    """Allocations as distances: how many ids ago the allocation began; for initial ones the step to the next entry."""
    resolution = events.resolution
    new = _is_any(resolution, _NEW)
    if not np.array_equal(events.allocation[new], np.arange(int(new.sum()), dtype=np.uint32)):
        raise RecordingError("the allocations are not numbered in order")
    own, old = _is_any(resolution, _OWN), _is_any(resolution, _INITIAL)
    given = np.cumsum(new, dtype=np.int64)[own]
    index = events.allocation[old].astype(np.int64) - initial.first_id
    return {
        "events_resolution": resolution[_is_any(events.kind, _RESOLVED_KINDS)],
        "events_age": _smallest((given - 1 - events.allocation[own]).astype(np.uint32)),
        "events_initial_step": _smallest((np.diff(index, prepend=-1) & 0xFFFFFFFF).astype(np.uint32)),
    }


def _pack_events(events: Events, initial: InitialAllocations) -> dict[str, Array]:
    steps = np.diff(events.time_ns, prepend=events.time_ns[:1])
    if np.any(events.time_ns[1:] < events.time_ns[:-1]):
        raise RecordingError("the events are not in order of time")
    kind = events.kind
    arrays: dict[str, Array] = {
        "events_kind": kind,
        "events_time_step": steps if steps.size and int(steps.max()) > 0xFFFFFFFF else steps.astype(np.uint32),
        "events_cpu": _smallest(events.cpu),
        "events_order": events.order,
        "events_pfn_step": np.diff(events.pfn, prepend=np.zeros(1, np.uint32)),
        "events_migratetype": events.migratetype[_is_any(kind, _WITH_MIGRATETYPE)],
    }
    arrays |= _codes(events.tid, "events_tid")
    arrays |= _codes(events.gfp[_is_any(kind, _WITH_GFP)], "events_gfp")
    for name, kinds in _WITH_ARGS.items():
        arrays[f"events_{name}"] = _smallest(getattr(events, name)[_is_any(kind, kinds)])
    return arrays | _pack_ids(events, initial)


def _pack_samples(samples: Samples) -> dict[str, Array]:
    return {
        "samples_t_ns": samples.t_ns,
        "samples_buddy": samples.buddy,
        "samples_free_by_type": samples.free_by_type,
        "samples_blocks_by_type": samples.blocks_by_type,
        "samples_vmstat": samples.vmstat_values,
    }


def _pack(recording: Recording) -> dict[str, Array]:
    times = recording.frame_times
    arrays = {
        **_pack_events(recording.events, recording.initial),
        **_codes(recording.frame_flags, "frames_flags"),
        "frames_mapcount": _smallest(recording.frame_mapcount),
        "frames_chunk_first_pfn": times.first_pfn,
        "frames_chunk_begin_ns": times.begin_ns,
        "frames_chunk_end_ns": times.end_ns,
        "initial_pfn": recording.initial.pfn,
        "initial_order": recording.initial.order,
        **_pack_samples(recording.samples),
    }
    if len(recording.end_frame_flags):
        times = recording.end_frame_times
        arrays |= _codes(recording.end_frame_flags, "end_frames_flags")
        arrays |= {
            "end_frames_chunk_first_pfn": times.first_pfn,
            "end_frames_chunk_begin_ns": times.begin_ns,
            "end_frames_chunk_end_ns": times.end_ns,
        }
    if recording.lists is not None:
        arrays |= {f"lists_{name}": getattr(recording.lists, name) for name in _LISTS}
    return {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()}


def _meta(recording: Recording) -> dict[str, Any]:
    times = recording.events.time_ns
    samples = recording.samples
    return {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "events": {
            "n": len(recording.events),
            "time_first_ns": int(times[0]) if len(times) else 0,
            "kinds": list(EVENT_KINDS),
            "allocations": recording.initial.first_id,
        },
        "samples": {
            "zones": [list(zone) for zone in samples.zones],
            "types": list(samples.types),
            "vmstat": list(samples.vmstat_names),
        },
        "host": recording.host,
        "start": recording.start,
        "end": recording.end,
        "start_ns": recording.start_ns,
        "end_ns": recording.end_ns,
        "stats": recording.stats,
    } | ({"lists": {"walks": recording.lists.walks_json()}} if recording.lists is not None else {})


def _write_zip(file: IO[bytes], arrays: dict[str, Array], compression: int) -> None:
    # A fixed date, so that the same recording makes the same bytes.
    with zipfile.ZipFile(file, "w", compression, allowZip64=True) as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = compression
            with archive.open(info, "w", force_zip64=array.nbytes >= 1 << 31) as member:
                np.lib.format.write_array(cast(Any, member), array, allow_pickle=False)


def save_recording(recording: Recording, path: Path, *, compression: str = "deflate") -> None:
    """Writes a recording. See `Recording.save`."""
    if compression not in _COMPRESSIONS:
        raise ValueError(f"compression={compression!r}: expected one of {', '.join(_COMPRESSIONS)}")
    text = json.dumps(_meta(recording), separators=(",", ":"), allow_nan=False).encode()
    arrays = {"meta": np.frombuffer(text, np.uint8), **_pack(recording)}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            _write_zip(file, arrays, _COMPRESSIONS[compression])
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


# ---- reading ----

_U = ("u1", "u2", "u4")
# name -> (dtypes allowed, dimensions)
_SCHEMA: dict[str, tuple[tuple[str, ...], int]] = {
    "meta": (("u1",), 1),
    "events_kind": (("u1",), 1),
    "events_time_step": (("u4", "u8"), 1),
    "events_tid_values": (("u4",), 1),
    "events_tid_code": (_U, 1),
    "events_cpu": (("u1", "u2"), 1),
    "events_order": (("i1",), 1),
    "events_pfn_step": (("u4",), 1),
    "events_migratetype": (("i1",), 1),
    "events_gfp_values": (("u4",), 1),
    "events_gfp_code": (_U, 1),
    "events_arg0": (_U, 1),
    "events_arg1": (_U, 1),
    "events_arg2": (_U, 1),
    "events_resolution": (("u1",), 1),
    "events_age": (_U, 1),
    "events_initial_step": (_U, 1),
    "frames_flags_values": (("u4",), 1),
    "frames_flags_code": (_U, 1),
    "frames_mapcount": (("u1", "u2"), 1),
    "frames_chunk_first_pfn": (("u4",), 1),
    "frames_chunk_begin_ns": (("u8",), 1),
    "frames_chunk_end_ns": (("u8",), 1),
    "initial_pfn": (("u4",), 1),
    "initial_order": (("i1",), 1),
    "samples_t_ns": (("u8",), 1),
    "samples_buddy": (("u4",), 3),
    "samples_free_by_type": (("u4",), 4),
    "samples_blocks_by_type": (("u4",), 3),
    "samples_vmstat": (("i8",), 2),
}
# The frames at the end: all of these, or none.
_OPTIONAL: dict[str, tuple[tuple[str, ...], int]] = {
    "end_frames_flags_values": (("u4",), 1),
    "end_frames_flags_code": (_U, 1),
    "end_frames_chunk_first_pfn": (("u4",), 1),
    "end_frames_chunk_begin_ns": (("u8",), 1),
    "end_frames_chunk_end_ns": (("u8",), 1),
}
# The kernel's own lists: all of these, or none.
_OPTIONAL_LISTS: dict[str, tuple[tuple[str, ...], int]] = {
    "lists_pfn": (("u4",), 1),
    "lists_order": (("u1",), 1),
    "lists_migratetype": (("u1",), 1),
    "lists_cpu": (("u2",), 1),
    "lists_zone": (("u1",), 1),
}
# What an event and a frame take in memory once they are unpacked, beside the packed arrays.
_EVENT_BYTES = 2 * sum(dtype.itemsize for dtype in COLUMN_DTYPES.values())
_FRAME_BYTES = 16


class _Reader:
    """The members of one file: headers first, then the data of those that passed."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self.archive = archive
        self.path = path
        self.headers: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}

    def fail(self, message: str) -> RecordingError:
        return RecordingError(message, path=str(self.path))

    def read_headers(self) -> None:
        found = {info.filename: info for info in self.archive.infolist()}
        if len(found) != len(self.archive.infolist()):
            raise self.fail("two members have the same name")
        schema = dict(_SCHEMA)
        for optional in (_OPTIONAL, _OPTIONAL_LISTS):
            if any(f"{name}.npy" in found for name in optional):
                schema |= optional
        for name, (dtypes, dimensions) in schema.items():
            info = found.get(f"{name}.npy")
            if info is None:
                raise self.fail(f"the array {name} is missing: not a recording, or a damaged one")
            with self.archive.open(info) as member:
                shape, dtype = self._header(member, name)
                size = member.tell() + math.prod(shape) * dtype.itemsize
            if dtype.str[1:] not in dtypes or dtype.str[0] not in "<|" or len(shape) != dimensions:
                raise self.fail(f"{name} is {dtype}{shape}: expected {' or '.join(dtypes)}, {dimensions} dimensions")
            if size != info.file_size:
                raise self.fail(f"{name} says it has {size} bytes, but {info.file_size} are stored")
            self.headers[name] = shape, dtype

    def _header(self, member: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        try:
            version = np.lib.format.read_magic(cast(Any, member))
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(cast(Any, member), max_header_size=4096)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError) as error:
            raise self.fail(f"{name}: not a numpy array: {error}") from error
        if fortran and len(shape) > 1:
            raise self.fail(f"{name} is in Fortran order")
        if dtype.hasobject or any(size < 0 for size in shape):
            raise self.fail(f"{name} is no plain array")
        return shape, dtype

    def length(self, name: str) -> int:
        return self.headers[name][0][0]

    @property
    def has_end_frames(self) -> bool:
        """Whether the frames at the end are there."""
        return "end_frames_flags_code" in self.headers

    def same_length(self, n: int, *names: str) -> None:
        for name in names:
            if self.length(name) != n:
                raise self.fail(f"{name} has {self.length(name)} entries, expected {n}")

    def bytes_needed(self) -> int:
        packed = sum(math.prod(shape) * dtype.itemsize for shape, dtype in self.headers.values())
        frames = self.length("frames_flags_code") * (2 if self.has_end_frames else 1)
        return packed + self.length("events_kind") * _EVENT_BYTES + frames * _FRAME_BYTES

    def array(self, name: str) -> Array:
        shape, dtype = self.headers[name]
        with self.archive.open(f"{name}.npy") as member:
            self._header(member, name)
            data = member.read()
        if len(data) != math.prod(shape) * dtype.itemsize:
            raise self.fail(f"{name} ends too early")
        return np.frombuffer(data, dtype).reshape(shape)

    def coded(self, name: str) -> NDArray[np.uint32]:
        values, codes = self.array(f"{name}_values"), self.array(f"{name}_code")
        if codes.size and int(codes.max()) >= values.size:
            raise self.fail(f"{name}_code: a code beyond the {values.size} values")
        decoded: NDArray[np.uint32] = values[codes]
        return decoded

    def in_range(self, name: str, array: Array, low: int, high: int) -> Array:
        if array.size and (int(array.min()) < low or int(array.max()) > high):
            raise self.fail(f"{name}: a value outside {low}..{high}")
        return array


def _check_lengths(reader: _Reader, max_bytes: int) -> None:
    n = reader.length("events_kind")
    reader.same_length(n, "events_time_step", "events_tid_code", "events_cpu", "events_order", "events_pfn_step")
    chunks = reader.length("frames_chunk_first_pfn")
    reader.same_length(chunks, "frames_chunk_begin_ns", "frames_chunk_end_ns")
    reader.same_length(reader.length("initial_pfn"), "initial_order")
    frames = reader.length("frames_flags_code")
    if reader.has_end_frames:
        reader.same_length(frames, "end_frames_flags_code")
        chunks = reader.length("end_frames_chunk_first_pfn")
        reader.same_length(chunks, "end_frames_chunk_begin_ns", "end_frames_chunk_end_ns")
    if reader.length("frames_mapcount"):
        reader.same_length(frames, "frames_mapcount")
    if n >= MAX_EVENTS or frames > MAX_FRAMES or reader.length("meta") > MAX_META_BYTES:
        raise reader.fail("more events, frames or metadata than this build allows")
    if reader.bytes_needed() > max_bytes:
        raise reader.fail(f"needs {reader.bytes_needed()} bytes of memory, more than the {max_bytes} allowed")


def _load_meta(reader: _Reader) -> dict[str, Any]:
    try:
        meta = json.loads(reader.array("meta").tobytes())
    except (ValueError, RecursionError) as error:
        raise reader.fail(f"the metadata are not JSON: {error}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT_NAME:
        raise reader.fail("not a pymigrate recording")
    if meta.get("version") != FORMAT_VERSION:
        raise reader.fail(f"format version {meta.get('version')}: this build reads version {FORMAT_VERSION}")
    shapes: dict[str, type] = dict.fromkeys(
        ("events", "samples", "host", "start", "end", "start_ns", "end_ns", "stats"), dict
    )
    for name, kind in shapes.items():
        if not isinstance(meta.get(name), kind):
            raise reader.fail(f"the metadata have no {name}")
    for name in ("start", "end"):
        if not all(isinstance(text, str) for text in meta[name].values()):
            raise reader.fail(f"the metadata's {name} holds more than texts")
    for name in ("start_ns", "end_ns"):
        if not all(isinstance(value, int) for value in meta[name].values()):
            raise reader.fail(f"the metadata's {name} holds more than numbers")
    _check_host(reader, meta["host"])
    return cast(dict[str, Any], meta)


def _is_count(value: Any, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= high


def _check_host(reader: _Reader, host: dict[str, Any]) -> None:
    if not _is_count(host.get("cpus"), 1 << 16) or not _is_count(host.get("pfn_end"), MAX_FRAMES):
        raise reader.fail("the host's cpus or pfn_end is missing or out of range")
    zones = host.get("zones")
    if not isinstance(zones, list):
        raise reader.fail("the host's zones are missing")
    for zone in zones:
        good = (
            isinstance(zone, dict) and set(zone) == {"name", "start_pfn", "spanned"} and isinstance(zone["name"], str)
        )
        if not good or not all(_is_count(zone[name], MAX_FRAMES) for name in ("start_pfn", "spanned")):
            raise reader.fail("the host's zones have another form")


def _load_ids(reader: _Reader, kind: Array, meta: dict[str, Any]) -> tuple[Array, Array]:
    resolved = _is_any(kind, _RESOLVED_KINDS)
    reader.same_length(int(resolved.sum()), "events_resolution")
    resolution = np.zeros(len(kind), np.uint8)
    resolution[resolved] = reader.array("events_resolution")
    new, own, old = (_is_any(resolution, which) for which in (_NEW, _OWN, _INITIAL))
    reader.same_length(int(own.sum()), "events_age")
    reader.same_length(int(old.sum()), "events_initial_step")
    given = np.cumsum(new, dtype=np.int64)
    first_id = int(given[-1]) if len(given) else 0
    if meta["events"].get("allocations") != first_id:
        raise reader.fail("the count of allocations is not that of the events")
    allocation = np.full(len(kind), NO_PFN, np.uint32)
    allocation[new] = np.arange(first_id, dtype=np.uint32)
    ages = given[own] - 1 - reader.array("events_age")
    allocation[own] = reader.in_range("events_age", ages, 0, max(first_id - 1, 0))
    index = np.cumsum(reader.array("events_initial_step").astype(np.uint32), dtype=np.uint32) - np.uint32(1)
    top = reader.length("initial_pfn") - 1
    allocation[old] = reader.in_range("events_initial_step", index, 0, max(top, 0)) + np.uint32(first_id)
    return allocation, resolution


def _sparse(reader: _Reader, name: str, which: NDArray[np.bool_], default: int, dtype: str) -> Array:
    reader.same_length(int(which.sum()), f"events_{name}")
    column = np.full(len(which), default, dtype)
    column[which] = reader.array(f"events_{name}")
    return column


def _load_times(reader: _Reader, meta: dict[str, Any]) -> NDArray[np.uint64]:
    first = meta["events"].get("time_first_ns")
    if not _is_count(first, (1 << 63) - 1):
        raise reader.fail("events.time_first_ns is missing or out of range")
    steps = reader.array("events_time_step").astype(np.uint64)
    # Summed as floats first: close enough to see an overflow coming.
    if first + float(steps.sum(dtype=np.float64)) >= 2.0**63:
        raise reader.fail("events_time_step: the clock runs over")
    return np.cumsum(steps, dtype=np.uint64) + np.uint64(first)


def _load_events(reader: _Reader, meta: dict[str, Any]) -> Events:
    kind = reader.in_range("events_kind", reader.array("events_kind"), 0, len(EVENT_KINDS) - 1)
    if meta["events"].get("n") != len(kind):
        raise reader.fail("the count of events is not that of the arrays")
    order = reader.in_range("events_order", reader.array("events_order"), -1, 10)
    if np.any(order[_is_any(kind, _WITH_ORDER)] < 0):
        raise reader.fail("events_order: an event of a block without its order")
    gfp_kinds = _is_any(kind, _WITH_GFP)
    reader.same_length(int(gfp_kinds.sum()), "events_gfp_code")
    gfp = np.zeros(len(kind), np.uint32)
    gfp[gfp_kinds] = reader.coded("events_gfp")
    allocation, resolution = _load_ids(reader, kind, meta)
    args = {name: _sparse(reader, name, _is_any(kind, kinds), 0, "u4") for name, kinds in _WITH_ARGS.items()}
    migratetype = _sparse(reader, "migratetype", _is_any(kind, _WITH_MIGRATETYPE), -1, "i1")
    return Events(
        time_ns=_load_times(reader, meta),
        tid=reader.coded("events_tid"),
        cpu=reader.array("events_cpu").astype(np.uint16),
        kind=kind,
        order=order,
        migratetype=reader.in_range("events_migratetype", migratetype, -1, 7),
        pfn=np.cumsum(reader.array("events_pfn_step"), dtype=np.uint32),
        gfp=gfp,
        allocation=allocation,
        resolution=reader.in_range("events_resolution", resolution, 0, 18),
        **args,
    )


def _load_samples(reader: _Reader, meta: dict[str, Any]) -> Samples:
    names = meta["samples"]
    try:
        zones = tuple((int(node), str(name)) for node, name in names["zones"])
        types, vmstat = tuple(map(str, names["types"])), tuple(map(str, names["vmstat"]))
    except (KeyError, TypeError, ValueError) as error:
        raise reader.fail(f"the metadata of the samples are damaged: {error}") from error
    samples = Samples(
        t_ns=reader.array("samples_t_ns"),
        zones=zones,
        types=types,
        buddy=reader.array("samples_buddy"),
        free_by_type=reader.array("samples_free_by_type"),
        blocks_by_type=reader.array("samples_blocks_by_type"),
        vmstat_names=vmstat,
        vmstat_values=reader.array("samples_vmstat"),
    )
    if np.any(samples.t_ns[1:] < samples.t_ns[:-1]):
        raise reader.fail("samples_t_ns is not in order of time")
    return samples


def _load_frame_times(reader: _Reader, prefix: str) -> FrameTimes:
    return FrameTimes(
        first_pfn=reader.array(f"{prefix}_chunk_first_pfn"),
        begin_ns=reader.array(f"{prefix}_chunk_begin_ns"),
        end_ns=reader.array(f"{prefix}_chunk_end_ns"),
    )


def _load_lists(reader: _Reader, meta: dict[str, Any]) -> FreeLists | None:
    if "lists_pfn" not in reader.headers:
        return None
    about = meta.get("lists")
    if not isinstance(about, dict):
        raise reader.fail("the metadata have no lists")
    arrays = {name: reader.array(f"lists_{name}") for name in _LISTS}
    return FreeLists(**arrays, walks=FreeLists.walks_from_json(about.get("walks")))


def _load(reader: _Reader, max_bytes: int) -> Recording:
    reader.read_headers()
    _check_lengths(reader, max_bytes)
    meta = _load_meta(reader)
    mapcount = reader.array("frames_mapcount").astype(np.uint16)
    return Recording(
        events=_load_events(reader, meta),
        frame_flags=reader.coded("frames_flags"),
        frame_mapcount=mapcount,
        frame_times=_load_frame_times(reader, "frames"),
        samples=_load_samples(reader, meta),
        initial=InitialAllocations(
            first_id=meta["events"]["allocations"],
            pfn=reader.array("initial_pfn"),
            order=reader.in_range("initial_order", reader.array("initial_order"), 0, 10),
        ),
        host=meta["host"],
        start=meta["start"],
        end=meta["end"],
        start_ns=meta["start_ns"],
        end_ns=meta["end_ns"],
        stats=meta["stats"],
        end_frame_flags=reader.coded("end_frames_flags") if reader.has_end_frames else np.empty(0, np.uint32),
        lists=_load_lists(reader, meta),
        end_frame_times=_load_frame_times(reader, "end_frames") if reader.has_end_frames else FrameTimes.empty(),
    )


def load_recording(path: Path, *, max_bytes: int) -> Recording:
    """Reads a recording. See `Recording.load`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _load(_Reader(archive, path), max_bytes)
    except RecordingError as error:
        raise error if error.path is not None else RecordingError(str(error), path=str(path)) from error
    # What a damaged archive makes zipfile and its decompressors raise; none of it is documented as complete.
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        KeyError,
        ValueError,
        OverflowError,
    ) as error:
        raise RecordingError(f"not a recording, or a damaged one: {error}", path=str(path)) from error
