"""Readers of traces and snapshots, and the recording they make."""

from __future__ import annotations

from pymigrate.recording.events import EVENT_KINDS, NO_PFN, Events
from pymigrate.recording.importer import ImportResult, import_recording
from pymigrate.recording.proctext import (
    BuddyInfo,
    PageTypeInfo,
    PerCpuLists,
    ZoneInfo,
    parse_buddyinfo,
    parse_counters,
    parse_pagetypeinfo,
    parse_zoneinfo,
)
from pymigrate.recording.recording import InitialAllocations, Recording, ZoneSpan, sample_path
from pymigrate.recording.resolve import RESOLUTIONS, ResolveStats, resolve_allocations
from pymigrate.recording.samples import Samples, parse_samples, read_samples
from pymigrate.recording.snapshot import FLAG_NAMES, FrameTimes, Snapshot, flag_bit, pack_flags, read_snapshot
from pymigrate.recording.trace import FORMATS, ParseProblem, ParseStats, parse_trace

__all__ = [
    "EVENT_KINDS",
    "FLAG_NAMES",
    "FORMATS",
    "NO_PFN",
    "RESOLUTIONS",
    "BuddyInfo",
    "Events",
    "FrameTimes",
    "ImportResult",
    "InitialAllocations",
    "PageTypeInfo",
    "ParseProblem",
    "ParseStats",
    "PerCpuLists",
    "Recording",
    "ResolveStats",
    "Samples",
    "Snapshot",
    "ZoneInfo",
    "ZoneSpan",
    "flag_bit",
    "import_recording",
    "pack_flags",
    "parse_buddyinfo",
    "parse_counters",
    "parse_pagetypeinfo",
    "parse_samples",
    "parse_trace",
    "parse_zoneinfo",
    "read_samples",
    "read_snapshot",
    "resolve_allocations",
    "sample_path",
]
