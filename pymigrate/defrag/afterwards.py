"""What the frame table tells that was read after the kernel's own compaction: where it stopped, what lies in lists.

The kernel moves what it passes: a clean folio goes to a block of its order, or is split. So below the place where the
scanner stopped no folio of more than one frame is left, and the first one that is left is where it stopped: a dirty
folio with buffers, for which no destination of its order was at hand and which cannot be split. Often that folio was
made after the first frame table was read, so a run on that table cannot stop at it by itself: it is told to.

The frames that it empties go to per-CPU lists, which a write to compact_memory does not drain: what it gained shows in
full only if they are counted as free.
"""

from __future__ import annotations

import numpy as np

from pymigrate._core import lib
from pymigrate.defrag.load import blocks_drained, large_folios, prepare
from pymigrate.defrag.source import Source
from pymigrate.errors import RecordingError
from pymigrate.recording.importer import recording_of_snapshot

__all__ = ["kernel_drained", "kernel_stops"]


def kernel_stops(source: Source) -> dict[int, int]:
    """Returns by zone index the first frame of the first folio that is left which compaction would have moved.

    Zones without one are not in it: there the scanners met. Folios as large as a pageblock are passed over, by the
    kernel too.

    Raises:
        RecordingError: Nobody says what the memory was afterwards.
    """
    if source.after is None:
        raise RecordingError("no frame table in after/: nobody knows where the kernel stopped", path=source.path)
    pfn, order = large_folios(source.after.flags)
    pfn = pfn[order < lib.PM_PAGEBLOCK_ORDER]
    found: dict[int, int] = {}
    for index, span in enumerate(source.recording.zones):
        at = int(np.searchsorted(pfn, span.start_pfn))
        if at < len(pfn) and pfn[at] < span.start_pfn + span.spanned:
            found[index] = int(pfn[at])
    return found


def kernel_drained(source: Source, order: int) -> int | None:
    """Free blocks after the kernel's compaction were its per-CPU lists drained; None: nobody says.

    Args:
        source: The snapshot.
        order: Of the blocks.
    """
    if source.after is None:
        return None
    later = recording_of_snapshot(source.after, source.meta, source.path)
    return blocks_drained(prepare(later, flagless="pcp").uses, order)
