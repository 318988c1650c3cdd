"""A recording: what a machine was, each frame at the start, the events, and samples of the kernel's counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymigrate.errors import RecordingError
from pymigrate.recording import proctext
from pymigrate.recording.events import Events
from pymigrate.recording.lists import FreeLists
from pymigrate.recording.samples import Samples
from pymigrate.recording.snapshot import FrameTimes

__all__ = ["InitialAllocations", "Recording", "ZoneSpan", "sample_path"]


@dataclass(frozen=True, kw_only=True)
class ZoneSpan:
    """Where a zone lies: its name, its first frame, and how many frames it spans."""

    name: str
    start_pfn: int
    spanned: int


@dataclass(frozen=True, kw_only=True, eq=False)
class InitialAllocations:
    """Allocations older than the recording, known by their free. Entry i has the id ``first_id + i``.

    Attributes:
        first_id: How many ids the recording's own allocations take.
        pfn: First frame, shape ``(n,)``.
        order: Order of the block, shape ``(n,)``.
    """

    first_id: int
    pfn: NDArray[np.uint32]
    order: NDArray[np.int8]

    def __post_init__(self) -> None:
        if self.pfn.ndim != 1 or self.pfn.shape != self.order.shape:
            raise RecordingError("initial allocations: pfn and order have different lengths")

    def __len__(self) -> int:
        return int(self.pfn.shape[0])

    @classmethod
    def empty(cls) -> InitialAllocations:
        """None."""
        return cls(first_id=0, pfn=np.empty(0, np.uint32), order=np.empty(0, np.int8))


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """A recording of a real kernel. docs/RECORDING_FORMAT.md describes it as a file.

    Attributes:
        events: The events in order of time.
        frame_flags: State of each frame at the start, 32 bits a frame (`pymigrate.recording.FLAG_NAMES`), shape
            ``(frames,)``; empty where there was no snapshot: then memory starts empty.
        frame_mapcount: How often each frame is mapped (at most 65535), shape ``(frames,)`` or ``(0,)``.
        frame_times: When each frame was read: an event counts for a frame only if it came later.
        samples: The kernel's counters over time.
        initial: Allocations older than the recording.
        host: What the machine was: ``kernel``, ``machine``, ``cpus``, ``page_size``, ``pageblock_order``, ``zones``,
            ``pfn_end``, ``sysctl`` and what else the source told.
        start: The kernel's texts at the start by name (``buddyinfo``, ``pagetypeinfo``, ``zoneinfo``, ...).
        end: The same at the end.
        start_ns: When each text of `start` was read.
        end_ns: When each text of `end` was read.
        end_frame_flags: State of each frame at the end, as `frame_flags`; empty where it was not read.
        end_frame_times: When each frame was read at the end.
        lists: The kernel's own lists shortly after the start, where they were walked (`pymigrate record --exact`).
        stats: What the import counted: ``parse``, ``resolve``, ``source``.
    """

    events: Events
    frame_flags: NDArray[np.uint32]
    frame_mapcount: NDArray[np.uint16]
    frame_times: FrameTimes
    samples: Samples
    initial: InitialAllocations
    host: dict[str, Any]
    start: dict[str, str] = field(default_factory=dict)
    end: dict[str, str] = field(default_factory=dict)
    start_ns: dict[str, int] = field(default_factory=dict)
    end_ns: dict[str, int] = field(default_factory=dict)
    end_frame_flags: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    end_frame_times: FrameTimes = field(default_factory=FrameTimes.empty)
    lists: FreeLists | None = None
    stats: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.frame_mapcount) not in (0, len(self.frame_flags)):
            raise RecordingError("frame_mapcount and frame_flags have different lengths")
        if len(self.end_frame_flags) not in (0, len(self.frame_flags)):
            raise RecordingError("end_frame_flags and frame_flags have different lengths")

    @property
    def zones(self) -> tuple[ZoneSpan, ...]:
        """The zones with memory, in order of frames."""
        return tuple(ZoneSpan(**zone) for zone in self.host["zones"])

    @property
    def cpus(self) -> int:
        """How many CPUs the machine had."""
        return int(self.host["cpus"])

    @property
    def pfn_end(self) -> int:
        """One past the last frame."""
        return int(self.host["pfn_end"])

    @property
    def zoneinfo(self) -> tuple[proctext.ZoneInfo, ...]:
        """The zones' sizes, watermarks and per-CPU lists at the start; empty where unknown."""
        return proctext.parse_zoneinfo(self.start["zoneinfo"]) if "zoneinfo" in self.start else ()

    @property
    def pagetypeinfo(self) -> proctext.PageTypeInfo | None:
        """Free lists and pageblocks by type at the start."""
        return proctext.parse_pagetypeinfo(self.start["pagetypeinfo"]) if "pagetypeinfo" in self.start else None

    @property
    def buddyinfo(self) -> proctext.BuddyInfo | None:
        """Free lists at the start."""
        return proctext.parse_buddyinfo(self.start["buddyinfo"]) if "buddyinfo" in self.start else None

    @property
    def seconds(self) -> float:
        """Time from the first event to the last."""
        times = self.events.time_ns
        return float(int(times[-1]) - int(times[0])) * 1e-9 if len(times) else 0.0

    def frame_read_ns(self, pfn: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """When given frames were read into the start snapshot; 0 where nothing is known."""
        return self.frame_times.of(pfn, pfn_end=len(self.frame_flags))

    def save(self, path: str | PathLike[str], *, compression: str = "deflate") -> None:
        """Writes the recording to one file, which replaces an older one only when it is whole.

        Args:
            path: Where to; by convention it ends in ``.npz``.
            compression: ``"deflate"``, or ``"lzma"``: smaller and slower, also read by numpy alone.

        Raises:
            OSError: The file cannot be written.
        """
        from pymigrate.recording.fileformat import save_recording

        save_recording(self, Path(fspath(path)), compression=compression)

    @classmethod
    def load(cls, path: str | PathLike[str], *, max_bytes: int = 64 << 30) -> Recording:
        """Reads a recording.

        Args:
            path: A file that `save` or `pymigrate import` wrote.
            max_bytes: The most memory that the arrays may take; checked before any of it is taken.

        Raises:
            RecordingError: The file is damaged, of another format version, or too large.
            OSError: The file cannot be read.
        """
        from pymigrate.recording.fileformat import load_recording

        return load_recording(Path(fspath(path)), max_bytes=max_bytes)


def sample_path() -> Path:
    """The recording that ships in the package: a slice of a real one."""
    return Path(__file__).resolve().parent.parent / "data" / "sample.npz"
