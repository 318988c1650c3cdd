"""A recording small enough to be read: 64 MiB of memory, 60 events, 4 samples."""

from __future__ import annotations

import numpy as np

from pymigrate._core import lib
from pymigrate.recording import NO_PFN, Events, InitialAllocations, Recording, Samples
from pymigrate.recording.events import COLUMN_DTYPES
from pymigrate.recording.snapshot import FrameTimes

FRAMES = 1 << 14
MS = 1_000_000
GFP_KERNEL = 0xCC0


def _events() -> Events:
    """40 blocks of orders 0 to 3 are taken, a millisecond apart; then 18 are freed, and two fallbacks are told."""
    rows: list[dict[str, int]] = []
    pfn = 1024
    for number in range(40):
        order = number % 4
        pfn = (pfn + (1 << order) - 1) >> order << order
        migratetype = (lib.PM_MT_UNMOVABLE, lib.PM_MT_MOVABLE)[number % 2]
        rows.append(
            {
                "kind": lib.PM_EV_ALLOC,
                "order": order,
                "migratetype": migratetype,
                "pfn": pfn,
                "gfp": GFP_KERNEL,
                "allocation": number,
                "resolution": 1,
            }
        )
        pfn += 1 << order
    frees = [{**rows[n], "kind": lib.PM_EV_FREE, "migratetype": -1, "gfp": 0, "resolution": 2} for n in range(0, 36, 2)]
    fallback = {
        "kind": lib.PM_EV_EXTFRAG,
        "order": 0,
        "migratetype": lib.PM_MT_UNMOVABLE,
        "pfn": 4096,
        "arg0": 9,
        "arg1": lib.PM_MT_MOVABLE,
        "arg2": 1,
    }
    rows += [*frees, fallback, fallback]
    defaults = {"pfn": NO_PFN, "allocation": NO_PFN, "migratetype": -1, "order": -1, "cpu": 0, "tid": 1}
    defaults |= dict.fromkeys(("gfp", "arg0", "arg1", "arg2", "resolution"), 0)
    columns = {name: [{**defaults, "time_ns": 0, **row}[name] for row in rows] for name in COLUMN_DTYPES}
    columns["time_ns"] = [1000 * MS + number * MS for number in range(len(rows))]
    return Events(**{name: np.array(columns[name], dtype) for name, dtype in COLUMN_DTYPES.items()})


def _samples() -> Samples:
    """The counters of a kernel that took a little more than ours at each sample."""
    t_ns = np.array([1000 * MS + at * MS for at in (10, 25, 40, 57)], np.uint64)
    buddy = np.zeros((4, 1, lib.PM_NR_ORDERS), np.uint32)
    buddy[:, 0, 10] = 15
    buddy[:, 0, 9] = 1
    buddy[:, 0, 8] = [1, 1, 1, 1]
    buddy[:, 0, 5] = [6, 5, 4, 3]
    buddy[:, 0, 0] = [3, 1, 4, 1]
    return Samples(
        t_ns=t_ns,
        zones=((0, "DMA32"),),
        types=(),
        buddy=buddy,
        free_by_type=np.zeros((4, 1, 0, lib.PM_NR_ORDERS), np.uint32),
        blocks_by_type=np.zeros((4, 1, 0), np.uint32),
        vmstat_names=(),
        vmstat_values=np.zeros((4, 0), np.int64),
    )


def tiny_recording(*, samples: bool = True) -> Recording:
    """The recording; without samples it cannot be scored."""
    return Recording(
        events=_events(),
        frame_flags=np.empty(0, np.uint32),
        frame_mapcount=np.empty(0, np.uint16),
        frame_times=FrameTimes.empty(),
        samples=_samples() if samples else Samples.empty(),
        initial=InitialAllocations(first_id=40, pfn=np.empty(0, np.uint32), order=np.empty(0, np.int8)),
        host={
            "kernel": "6.18.0-tiny",
            "machine": "x86_64",
            "cpus": 1,
            "page_size": 4096,
            "pageblock_order": 9,
            "zones": [{"name": "DMA32", "start_pfn": 0, "spanned": FRAMES}],
            "pfn_end": FRAMES,
            "sysctl": {"min_free_kbytes": "256"},
        },
        stats={"resolve": {"unresolved": {"free-of-free": 1, "alloc-of-owned": 0}}},
    )
