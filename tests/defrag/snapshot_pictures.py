"""Snapshots made by hand: memory as a picture, a character a frame.

``.`` free, ``a`` anonymous, ``f`` file, ``m`` mlocked anonymous, ``w`` file under writeback, ``l`` file being read,
``d`` dirty file, ``h`` shared memory, ``s`` slab, ``t`` page table, ``k`` kernel without flags, ``r`` reserved,
``g`` hugetlb, ``2 4 8`` a folio of so many frames. Blanks are for the eye.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pymigrate.recording import Recording, read_snapshot
from pymigrate.recording.importer import recording_of_snapshot

BITS = {
    "LOCKED": 0, "UPTODATE": 3, "DIRTY": 4, "LRU": 5, "SLAB": 7, "WRITEBACK": 8, "BUDDY": 10, "MMAP": 11, "ANON": 12,
    "SWAPBACKED": 14, "HEAD": 15, "TAIL": 16, "HUGE": 17, "UNEVICTABLE": 18, "THP": 22, "PGTABLE": 26, "RESERVED": 32,
    "MLOCKED": 33, "PRIVATE": 35,
}  # fmt: skip
FLAGS = {
    ".": "BUDDY",
    "a": "UPTODATE LRU MMAP ANON SWAPBACKED",
    "m": "UPTODATE LRU MMAP ANON SWAPBACKED UNEVICTABLE MLOCKED",
    "f": "UPTODATE LRU",
    "d": "UPTODATE LRU DIRTY PRIVATE",
    "w": "UPTODATE LRU WRITEBACK",
    "l": "LOCKED LRU",
    "h": "UPTODATE LRU SWAPBACKED DIRTY",
    "s": "SLAB",
    "t": "PGTABLE",
    "k": "",
    "r": "RESERVED",
    "g": "HUGE",
    "2": "UPTODATE LRU THP",
    "4": "UPTODATE LRU THP",
    "8": "UPTODATE LRU THP",
}


def _word(names: str) -> int:
    return sum(1 << BITS[name] for name in names.split())


def words_of(picture: str) -> np.ndarray:
    """Words as in /proc/kpageflags."""
    frames = picture.replace(" ", "")
    words = np.array([_word(FLAGS[what]) for what in frames], np.uint64)
    at = 0
    while at < len(frames):
        size = int(frames[at]) if frames[at].isdigit() else 1
        if size > 1:
            words[at] |= np.uint64(1 << BITS["HEAD"])
            words[at + 1 : at + size] |= np.uint64(1 << BITS["TAIL"])
        at += size
    return words


def meta_of(nr: int, **more: object) -> dict[str, object]:
    """What meta.json says of a machine with one Normal zone from frame 0."""
    sysctl = {"min_free_kbytes": "0", "watermark_scale_factor": "1"}
    return {
        "cpus": 2, "page_size": 4096, "pageblock_order": 9, "pfn_end": nr, "sysctl": sysctl,
        "zones": [{"name": "Normal", "start_pfn": 0, "spanned": nr}],
    } | more  # fmt: skip


def write_snapshot(folder: Path, words: np.ndarray) -> None:
    """A folder with a frame table."""
    folder.mkdir(parents=True)
    (folder / "kpageflags.u64").write_bytes(words.astype("<u8").tobytes())


def write_case(folder: Path, before: np.ndarray, after: np.ndarray | None = None, **more: object) -> Path:
    """A folder as those with what the kernel's compaction did."""
    write_snapshot(folder / "before", before)
    if after is not None:
        write_snapshot(folder / "after", after)
    (folder / "meta.json").write_text(json.dumps(meta_of(len(before), **more)))
    return folder


def recording_of(picture: str | np.ndarray, folder: Path) -> Recording:
    """A snapshot as a recording."""
    words = words_of(picture) if isinstance(picture, str) else picture
    write_snapshot(folder, words)
    return recording_of_snapshot(read_snapshot(folder), meta_of(len(words)), str(folder))


def random_words(nr: int, *, seed: int, full: float, unmovable: float = 0.0) -> np.ndarray:
    """Random holes: so much of memory in use, and of that so much unmovable."""
    draw = np.random.default_rng(seed)
    used = draw.random(nr) < full
    stays = used & (draw.random(nr) < unmovable)
    words = np.where(used, _word(FLAGS["a"]), _word(FLAGS["."])).astype(np.uint64)
    words[stays] = _word(FLAGS["s"])
    return words
