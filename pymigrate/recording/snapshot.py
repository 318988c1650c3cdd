"""Snapshots: a folder with the state of every frame and what the kernel said of its zones at that time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymigrate.errors import RecordingError
from pymigrate.recording import proctext
from pymigrate.recording.sources import find_file, read_all

__all__ = ["FLAG_NAMES", "FrameTimes", "Snapshot", "flag_bit", "pack_flags", "read_snapshot"]

MAX_FRAMES = 1 << 31
MAX_TEXT_BYTES = 16 << 20
TEXTS = ("buddyinfo", "pagetypeinfo", "zoneinfo", "vmstat", "meminfo")

FLAG_NAMES: tuple[str, ...] = (
    "LOCKED",
    "ERROR",
    "REFERENCED",
    "UPTODATE",
    "DIRTY",
    "LRU",
    "ACTIVE",
    "SLAB",
    "WRITEBACK",
    "RECLAIM",
    "BUDDY",
    "MMAP",
    "ANON",
    "SWAPCACHE",
    "SWAPBACKED",
    "COMPOUND_HEAD",
    "COMPOUND_TAIL",
    "HUGE",
    "UNEVICTABLE",
    "HWPOISON",
    "NOPAGE",
    "KSM",
    "THP",
    "OFFLINE",
    "ZERO_PAGE",
    "IDLE",
    "PGTABLE",
    "RESERVED",
    "MLOCKED",
    "MAPPEDTODISK",
    "PRIVATE",
    "PRIVATE_2",
)
"""What each bit of `frame_flags` says. Bits 0-26 are those of /proc/kpageflags; 27-31 are its bits 32-36."""


def flag_bit(name: str) -> int:
    """The mask of a flag in `frame_flags`.

    Example:
        >>> flag_bit("BUDDY")
        1024
    """
    return 1 << FLAG_NAMES.index(name)


def pack_flags(words: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Reduces words of /proc/kpageflags to 32 bits: 0-26 stay, 32-36 become 27-31, the others are dropped."""
    low = (words & np.uint64((1 << 27) - 1)).astype(np.uint32)
    high = ((words >> np.uint64(32)) & np.uint64(31)).astype(np.uint32)
    return low | high << np.uint32(27)


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameTimes:
    """When the frames were read: C chunks in frame order; a chunk's frames were read one after the other.

    Attributes:
        first_pfn: First frame of each chunk, shape ``(C,)``.
        begin_ns: The clock before the chunk was read, shape ``(C,)``.
        end_ns: The clock after it, shape ``(C,)``.
    """

    first_pfn: NDArray[np.uint32]
    begin_ns: NDArray[np.uint64]
    end_ns: NDArray[np.uint64]

    def __post_init__(self) -> None:
        shape = self.first_pfn.shape
        if len(shape) != 1 or self.begin_ns.shape != shape or self.end_ns.shape != shape:
            raise RecordingError("the times of the frame table have different lengths")
        if len(self) and (self.first_pfn[0] != 0 or np.any(self.first_pfn[1:] <= self.first_pfn[:-1])):
            raise RecordingError("the times of the frame table are not in order of frames, from 0")
        if np.any(self.end_ns < self.begin_ns):
            raise RecordingError("a chunk of the frame table ends before it begins")

    def __len__(self) -> int:
        return int(self.first_pfn.shape[0])

    @classmethod
    def empty(cls) -> FrameTimes:
        """Nothing is known: the frames were read before the first event."""
        return cls(first_pfn=np.empty(0, np.uint32), begin_ns=np.empty(0, np.uint64), end_ns=np.empty(0, np.uint64))

    @classmethod
    def from_json(cls, rows: Any) -> FrameTimes:
        """From ``[[first_pfn, begin_ns, end_ns], ...]``.

        Raises:
            RecordingError: The rows have another form.
        """
        try:
            array = np.array(rows, np.uint64).reshape(len(rows), 3)
            if len(array) and int(array[:, 0].max()) >= MAX_FRAMES:
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise RecordingError("times.json: kpageflags is no list of [first_pfn, begin_ns, end_ns]") from None
        return cls(
            first_pfn=array[:, 0].astype(np.uint32),
            begin_ns=np.ascontiguousarray(array[:, 1]),
            end_ns=np.ascontiguousarray(array[:, 2]),
        )

    def of(self, pfn: NDArray[np.uint32], *, pfn_end: int) -> NDArray[np.uint64]:
        """When given frames were read: interpolated within their chunk, 0 where nothing is known.

        Args:
            pfn: Frame numbers.
            pfn_end: The end of the frame table, which is where the last chunk ends.
        """
        if not len(self):
            return np.zeros(pfn.shape, np.uint64)
        chunk = np.searchsorted(self.first_pfn, pfn, side="right") - 1
        ends = np.append(self.first_pfn[1:], max(pfn_end, int(self.first_pfn[-1]) + 1)).astype(np.float64)
        share = (pfn.astype(np.float64) - self.first_pfn[chunk]) / (ends[chunk] - self.first_pfn[chunk])
        spent = (self.end_ns - self.begin_ns)[chunk] * np.clip(share, 0.0, 1.0)
        times: NDArray[np.uint64] = self.begin_ns[chunk] + spent.astype(np.uint64)
        return times


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """Every frame at one time, and the kernel's texts.

    Attributes:
        flags: 32 bits a frame, see `FLAG_NAMES`; shape ``(frames,)``, frame 0 first. Empty where there was no table.
        mapcount: How often each frame is mapped, shape ``(frames,)``, or empty.
        times: When the frames' flags were read.
        texts: The texts that were there, by their name.
        text_ns: When each text was read, where that is known.
    """

    flags: NDArray[np.uint32]
    mapcount: NDArray[np.uint16]
    times: FrameTimes
    texts: dict[str, str]
    text_ns: dict[str, int]

    @property
    def buddyinfo(self) -> proctext.BuddyInfo | None:
        """The free lists as the kernel counted them."""
        return proctext.parse_buddyinfo(self.texts["buddyinfo"]) if "buddyinfo" in self.texts else None

    @property
    def pagetypeinfo(self) -> proctext.PageTypeInfo | None:
        """The free lists and pageblocks by migrate type."""
        return proctext.parse_pagetypeinfo(self.texts["pagetypeinfo"]) if "pagetypeinfo" in self.texts else None

    @property
    def zoneinfo(self) -> tuple[proctext.ZoneInfo, ...]:
        """The zones; empty where the text is missing."""
        return proctext.parse_zoneinfo(self.texts["zoneinfo"]) if "zoneinfo" in self.texts else ()

    @property
    def vmstat(self) -> dict[str, int]:
        """Event counters; empty where the text is missing."""
        return proctext.parse_counters(self.texts.get("vmstat", ""))

    @property
    def meminfo(self) -> dict[str, int]:
        """/proc/meminfo, in KiB; empty where the text is missing."""
        return proctext.parse_counters(self.texts.get("meminfo", ""))


def _read_words(folder: Path, name: str) -> NDArray[np.uint64]:
    path = find_file(folder, f"{name}.u64")
    if path is None:
        return np.empty(0, np.uint64)
    data = read_all(path, max_bytes=MAX_FRAMES * 8)
    if len(data) % 8:
        raise RecordingError("not a whole number of 64-bit words", path=str(path))
    return np.frombuffer(data, "<u8")


def _read_texts(folder: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name in TEXTS:
        path = find_file(folder, name)
        if path is not None:
            texts[name] = read_all(path, max_bytes=MAX_TEXT_BYTES).decode("utf-8", errors="replace")
    return texts


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        RecordingError: It is no JSON, or too long.
    """
    try:
        return json.loads(read_all(path, max_bytes=MAX_TEXT_BYTES))
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise RecordingError(f"not JSON: {error}", path=str(path), line=line) from error


def _check_texts(snapshot: Snapshot, folder: Path) -> None:
    for name in ("buddyinfo", "pagetypeinfo", "zoneinfo", "vmstat", "meminfo"):
        try:
            getattr(snapshot, name)
        except RecordingError as error:
            raise RecordingError(str(error), path=str(folder / name), line=error.line) from error


def read_snapshot(folder: Path) -> Snapshot:
    """Reads a snapshot's folder; files that are not there are left out.

    Read are ``kpageflags.u64``, ``kpagecount.u64`` (also with ``.zst`` or ``.gz``), the texts ``buddyinfo``,
    ``pagetypeinfo``, ``zoneinfo``, ``vmstat``, ``meminfo``, and ``times.json``.

    Raises:
        RecordingError: A file is damaged, or the two frame tables have different lengths.
        FileNotFoundError: There is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder", str(folder))
    words = _read_words(folder, "kpageflags")
    counts = _read_words(folder, "kpagecount")
    if len(counts) and len(counts) != len(words):
        raise RecordingError(f"kpagecount has {len(counts)} frames, kpageflags {len(words)}", path=str(folder))
    times_path = folder / "times.json"
    times = read_json(times_path) if times_path.is_file() else {}
    if not isinstance(times, dict):
        raise RecordingError("not a JSON object", path=str(times_path))
    frame_times = FrameTimes.from_json(times["kpageflags"]) if "kpageflags" in times else FrameTimes.empty()
    snapshot = Snapshot(
        flags=pack_flags(words),
        mapcount=np.minimum(counts, np.uint64(0xFFFF)).astype(np.uint16),
        times=frame_times,
        texts=_read_texts(folder),
        text_ns={name: value for name, value in times.items() if isinstance(value, int)},
    )
    _check_texts(snapshot, folder)
    return snapshot
