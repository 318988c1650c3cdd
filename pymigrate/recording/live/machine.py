"""What is read of the machine: every frame, the kernel's texts, its samples, and what it is."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pymigrate.recording.live.tracefs import RecordError
from pymigrate.recording.proctext import parse_zoneinfo
from pymigrate.recording.snapshot import TEXTS, FrameTimes, Snapshot, pack_flags

__all__ = ["Sampler", "describe", "pfn_end", "take_snapshot"]

CHUNK_FRAMES = 1 << 14
"""Frames read at once: the moment of each is known to within the time that a chunk takes, about 2 ms."""

_SYSCTLS = (
    "min_free_kbytes",
    "watermark_scale_factor",
    "watermark_boost_factor",
    "extfrag_threshold",
    "compaction_proactiveness",
    "lowmem_reserve_ratio",
    "percpu_pagelist_high_fraction",
    "defrag_mode",
    "swappiness",
)
_COUNTERS = (
    "nr_free_",
    "nr_slab_",
    "nr_anon_pages",
    "nr_file_pages",
    "pswp",
    "pgalloc_",
    "allocstall_",
    "pgfree",
    "pgfault",
    "pgsteal_",
    "pgscan_",
    "pgmigrate_",
    "compact_",
    "thp_fault_",
    "thp_collapse_",
)


def pfn_end() -> int:
    """One past the last frame of the last zone, as /proc/zoneinfo tells it."""
    zones = parse_zoneinfo(Path("/proc/zoneinfo").read_text())
    return max((zone.start_pfn + zone.spanned for zone in zones if zone.spanned), default=0)


def _read_texts() -> tuple[dict[str, str], dict[str, int]]:
    texts, times = {}, {}
    for name in TEXTS:
        path = Path("/proc", name)
        if path.exists():
            texts[name] = path.read_text()
            times[name] = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return texts, times


def _read_words(fd: int, first: int, words: memoryview, path: str) -> int:
    """Reads words from a frame on; how many there are (fewer at the end of memory)."""
    done = 0
    while done < len(words):
        got = os.preadv(fd, [words[done:]], first * 8 + done)
        if got == 0:
            break
        done += got
    if done % 8:
        raise RecordError(f"{path} ends inside a word")
    return done // 8


def take_snapshot(frames: int) -> Snapshot:
    """Reads every frame's flags and mapcount, and the kernel's texts after them.

    Args:
        frames: How many there are.

    Raises:
        RecordError: /proc/kpageflags may not be read.
    """
    flags, mapcount = np.zeros(frames, np.uint32), np.zeros(frames, np.uint16)
    words = np.empty(CHUNK_FRAMES, np.uint64)
    rows = []
    paths = ("/proc/kpageflags", "/proc/kpagecount")
    try:
        fds = [os.open(path, os.O_RDONLY) for path in paths]
    except OSError as error:
        raise RecordError(f"{error.filename}: {error.strerror} (it needs root: try sudo)") from error
    try:
        for first in range(0, frames, CHUNK_FRAMES):
            wanted = min(CHUNK_FRAMES, frames - first)
            view = memoryview(words[:wanted].data).cast("B")
            begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            n = _read_words(fds[0], first, view, paths[0])
            rows.append([first, begin, time.clock_gettime_ns(time.CLOCK_MONOTONIC)])
            flags[first : first + n] = pack_flags(words[:n])
            n = _read_words(fds[1], first, view, paths[1])
            mapcount[first : first + n] = np.minimum(words[:n], np.uint64(0xFFFF))
            if n < wanted:
                break
    finally:
        for fd in fds:
            os.close(fd)
    texts, text_ns = _read_texts()
    return Snapshot(flags=flags, mapcount=mapcount, times=FrameTimes.from_json(rows), texts=texts, text_ns=text_ns)


def _counters(text: str) -> dict[str, int]:
    rows = (line.split() for line in text.splitlines() if line.startswith(_COUNTERS))
    return {row[0]: int(row[1]) for row in rows if len(row) == 2}


class Sampler:
    """Appends samples of the kernel's counters to a file, a line each. Its files stay open: a sample is three reads."""

    def __init__(self, path: Path) -> None:
        self._out = path.open("w", encoding="utf-8")
        self._fds = {
            name: os.open(f"/proc/{name}", os.O_RDONLY)
            for name in ("buddyinfo", "pagetypeinfo", "vmstat")
            if os.access(f"/proc/{name}", os.R_OK)
        }
        self.count = 0
        self._types_due = 0.0

    def __enter__(self) -> Sampler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.close()
        for fd in self._fds.values():
            os.close(fd)

    def _text(self, name: str) -> str:
        parts, at = [], 0
        while part := os.pread(self._fds[name], 1 << 17, at):
            parts.append(part)
            at += len(part)
        return b"".join(parts).decode(errors="replace")

    def take(self, *, whole: bool = False) -> None:
        """Takes one sample: the clock first, then the free lists, then the rest.

        The kernel walks all free lists for pagetypeinfo, with the zone's lock held: tens of milliseconds where memory
        is fragmented. So that text is read in a twentieth of the time at most.

        Args:
            whole: Read it in any case.
        """
        sample: dict[str, Any] = {"t_ns": time.clock_gettime_ns(time.CLOCK_MONOTONIC)}
        for name in self._fds:
            if name == "pagetypeinfo" and not whole and time.monotonic() < self._types_due:
                continue
            begin = time.monotonic()
            text = self._text(name)
            if name == "pagetypeinfo":
                self._types_due = begin + 20 * (time.monotonic() - begin)
            sample[name] = _counters(text) if name == "vmstat" else text
        self._out.write(json.dumps(sample) + "\n")
        self.count += 1


def _sysctl(name: str) -> str | None:
    path = Path("/proc/sys/vm", name)
    return path.read_text().strip() if path.exists() else None


def describe() -> dict[str, Any]:
    """What the machine is, for the recording's `host`: nothing of who uses it."""
    thp = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": os.cpu_count() or 1,
        "page_size": os.sysconf("SC_PAGE_SIZE"),
        "clock": "mono",
        "started_s": round(time.time(), 3),
        "sysctl": {name: value for name in _SYSCTLS if (value := _sysctl(name)) is not None},
        "thp": thp.read_text().strip() if thp.exists() else "",
    }
