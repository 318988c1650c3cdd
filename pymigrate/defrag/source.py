"""Where a snapshot of memory may come from: a folder of frame tables, before and after a compaction, or a recording."""

from __future__ import annotations

import dataclasses
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from pymigrate.errors import RecordingError
from pymigrate.recording import Recording, Snapshot, flag_bit, read_snapshot
from pymigrate.recording.importer import recording_of_snapshot
from pymigrate.recording.snapshot import read_json
from pymigrate.recording.sources import find_file
from pymigrate.replaying.frames import aligned_blocks

__all__ = ["KernelPass", "KernelResult", "Source", "read_source"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KernelPass:
    """One write to /proc/sys/vm/compact_memory. Frames.

    Attributes:
        moved: pgmigrate_success.
        failed: pgmigrate_fail.
        scanned: compact_migrate_scanned and compact_free_scanned.
        seconds: How long it took.
        blocks_after: Free blocks of the order that is asked about, by the pass's buddyinfo; None where it has none.
    """

    moved: int
    failed: int
    scanned: int
    seconds: float
    blocks_after: int | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KernelResult:
    """What the kernel itself did to the memory of a snapshot.

    Attributes:
        blocks_before: Free blocks of the order and above, in units of the order, by the frame table.
        blocks_after: The same afterwards.
        passes: One by one.
    """

    blocks_before: int
    blocks_after: int
    passes: tuple[KernelPass, ...]

    @property
    def moved(self) -> int:
        """Frames moved by all passes."""
        return sum(one.moved for one in self.passes)

    @property
    def failed(self) -> int:
        """Frames that did not move."""
        return sum(one.failed for one in self.passes)

    @property
    def scanned(self) -> int:
        """Frames looked at."""
        return sum(one.scanned for one in self.passes)

    @property
    def seconds(self) -> float:
        """All passes together."""
        return sum(one.seconds for one in self.passes)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A snapshot with what is known around it.

    Attributes:
        name: What it is called.
        recording: The snapshot as a recording; it may have events, which are not looked at.
        after: The same memory after the kernel compacted it; None.
        meta: What its meta.json says.
        path: For messages.
    """

    name: str
    recording: Recording
    after: Snapshot | None
    meta: dict[str, Any]
    path: str

    def blocks(self, order: int, *, after: bool = False) -> int:
        """Free blocks of an order and above, in units of the order, by the frame table: whole aligned free runs."""
        flags = self.after.flags if after and self.after is not None else self.recording.frame_flags
        free = (flags & np.uint32(flag_bit("BUDDY"))) != 0
        count = 0
        for span in self.recording.zones:
            _, orders = aligned_blocks(free[span.start_pfn : span.start_pfn + span.spanned], span.start_pfn)
            large = orders[orders >= order].astype(np.int64)
            count += int((np.int64(1) << (large - order)).sum())
        return count

    def kernel(self, order: int) -> KernelResult | None:
        """What the kernel did, in units of an order; None where nobody says.

        Raises:
            RecordingError: meta.json describes the passes in another form.
        """
        rows = self.meta.get("compact_passes")
        if rows is None and self.after is None:
            return None
        try:
            passes = tuple(_read_pass(row, order) for row in rows or ())
        except (TypeError, KeyError, ValueError, AttributeError):
            raise RecordingError("compact_passes is no list of passes with their counters", path=self.path) from None
        known = [one.blocks_after for one in passes if one.blocks_after is not None]
        before = self.blocks(order)
        after = self.blocks(order, after=True) if self.after is not None else known[-1] if known else before
        return KernelResult(blocks_before=before, blocks_after=after, passes=passes)


def _read_pass(row: dict[str, Any], order: int) -> KernelPass:
    lines = row.get("buddyinfo")
    blocks = None
    if lines is not None:
        rows = [[int(word) for word in line.split("zone", 1)[1].split()[1:]] for line in lines]
        blocks = sum(n << (o - order) for counts in rows for o, n in enumerate(counts) if o >= order)
    return KernelPass(
        moved=int(row.get("pgmigrate_success", 0)),
        failed=int(row.get("pgmigrate_fail", 0)),
        scanned=int(row.get("compact_migrate_scanned", 0)) + int(row.get("compact_free_scanned", 0)),
        seconds=float(row.get("seconds", 0.0)),
        blocks_after=blocks,
    )


def _meta_of(*folders: Path) -> tuple[dict[str, Any], str]:
    for folder in folders:
        path = folder / "meta.json"
        if path.is_file():
            meta = read_json(path)
            if not isinstance(meta, dict):
                raise RecordingError("not a JSON object", path=str(path))
            return meta, str(path)
    return {}, str(folders[0])


def read_source(path: str | PathLike[str]) -> Source:
    """Reads a snapshot.

    Args:
        path: A recording's file; or a folder with ``before/`` (and ``after/``), with ``start/``, or with a frame table
            (``kpageflags.u64``) itself. ``meta.json`` is looked for in the folder, then above the frame table's.

    Raises:
        RecordingError: There is no frame table, or a file is damaged.
        FileNotFoundError: There is no such file or folder.
    """
    where = Path(fspath(path))
    if where.is_file():
        recording = Recording.load(where)
        if not len(recording.frame_flags):
            raise RecordingError("the recording has no frame table", path=str(where))
        return Source(name=where.name, recording=recording, after=None, meta={}, path=str(where))
    if not where.is_dir():
        raise FileNotFoundError(2, "no such file or folder", str(where))
    inner = next((where / name for name in ("before", "start") if (where / name).is_dir()), where)
    if find_file(inner, "kpageflags.u64") is None:
        raise RecordingError("there is no kpageflags.u64 in it, nor in before/ or start/", path=str(where))
    meta, meta_path = _meta_of(inner.parent, inner) if inner != where else _meta_of(where, where.parent)
    after = inner.parent / "after"
    snapshot = read_snapshot(inner)
    later = read_snapshot(after) if inner.name == "before" and find_file(after, "kpageflags.u64") is not None else None
    if later is not None and len(later.flags) != len(snapshot.flags):
        raise RecordingError(f"after/ has {len(later.flags)} frames, before/ {len(snapshot.flags)}", path=str(where))
    return Source(
        name=where.resolve().name,
        recording=recording_of_snapshot(snapshot, meta, meta_path),
        after=later,
        meta=meta,
        path=meta_path,
    )
