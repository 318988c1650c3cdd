"""A start state with the kernel's own lists in place of those that were inferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pymigrate._core import lib
from pymigrate.recording.lists import NO_CPU, FreeLists
from pymigrate.replaying.frames import FREE, PAGEBLOCK_ORDER, PCP, USED, expand
from pymigrate.replaying.start import Blocks, StartState

__all__ = ["refine"]


def refine(state: StartState, lists: FreeLists, *, settings: Mapping[str, int] | None = None) -> StartState:
    """Puts the kernel's lists into a start state of the moment at which they were walked.

    Free blocks and those of per-CPU lists come from the walk, in its order; pageblocks with a free block get its type.
    What the state had as free and the walk has not is used, a frame each.

    Args:
        state: Of `lists.moment_ns`.
        lists: What was walked.
        settings: As in `start_state`: what is left out there (`start_pcp`, `start_types`, `start_order`) is not taken
            from the walk either.
    """
    wanted = settings or {}
    n = len(state.frames.place)
    inside = (lists.pfn.astype(np.int64) + (np.int64(1) << lists.order.astype(np.int64))) <= n
    pfn, order = lists.pfn[inside].astype(np.int64), lists.order[inside]
    cpu, mt = lists.cpu[inside], lists.migratetype[inside]
    if not wanted.get("start_order", 1):
        by_address = np.argsort(pfn, kind="stable")
        pfn, order, cpu, mt = pfn[by_address], order[by_address], cpu[by_address], mt[by_address]
    free = cpu == NO_CPU
    listed = np.zeros(n, np.bool_)
    listed[expand(pfn, order.astype(np.int64))[0]] = True

    old = state.blocks
    old_pfn, old_order = old.pfn.astype(np.int64), old.order.astype(np.int64)
    frames, which = expand(old_pfn, old_order)
    untouched = np.ones(len(old_pfn), np.bool_)
    untouched[which[listed[frames]]] = False
    keep = untouched & (old.place == USED)
    # A frame of any other block that is on no list is somebody's.
    single = frames[~listed[frames] & ~keep[which]]
    single_mt = np.full(len(single), lib.PM_MT_MOVABLE, np.uint8)
    kept_mt = old.migratetype[keep]

    types = state.pageblock_types.copy()
    small = free & (mt < lib.PM_MT_ISOLATE) & bool(wanted.get("start_types", 1))
    types[pfn[small][::-1] >> PAGEBLOCK_ORDER] = mt[small][::-1]
    wide = small & (order > PAGEBLOCK_ORDER)
    types[(pfn[wide] >> PAGEBLOCK_ORDER) + 1] = mt[wide]

    held = ~free
    in_pcp = PCP if wanted.get("start_pcp", 1) else USED
    parts = {
        "pfn": (pfn[free], pfn[held], old_pfn[keep], single),
        "order": (order[free], order[held], old.order[keep], np.zeros(len(single), np.uint8)),
        "migratetype": (np.zeros(int(free.sum()), np.uint8), mt[held], kept_mt, single_mt),
        "cpu": (np.zeros(int(free.sum()), np.uint16), cpu[held], np.zeros(len(kept_mt) + len(single), np.uint16)),
    }
    counts = [int(free.sum()), int(held.sum()), len(kept_mt) + len(single)]
    blocks = Blocks(
        pfn=np.concatenate(parts["pfn"]).astype(np.uint64),
        order=np.concatenate(parts["order"]).astype(np.uint8),
        place=np.repeat(np.array([FREE, in_pcp, USED], np.uint8), counts),
        migratetype=np.concatenate(parts["migratetype"]).astype(np.uint8),
        cpu=np.concatenate(parts["cpu"]).astype(np.uint16),
    )
    report = replace(state.report, walked=len(pfn), pcp_known=0, pcp_filled=0, pcp_surplus=0)
    return replace(state, blocks=blocks, pageblock_types=types, report=report)
