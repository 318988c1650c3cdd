"""Results made by hand, so that what a report shows does not depend on what a replay finds."""

from __future__ import annotations

import numpy as np
from tiny import tiny_recording

from pymigrate._core import lib
from pymigrate.replaying import ModeResult, ReplayResult, score

NR_TYPES = lib.PM_NR_MIGRATETYPES


def mode_result(mode: str, *, off: int = 0, failed: int = 0, samples: bool = True) -> ModeResult:
    """A replay of the tiny recording that has `off` free frames too few, and as many STEALs too many."""
    recording = tiny_recording(samples=samples)
    t_ns = recording.samples.t_ns
    kernel = recording.samples.buddy.astype(np.int64) if samples else np.zeros((0, 1, lib.PM_NR_ORDERS), np.int64)
    free = np.zeros((*kernel.shape, NR_TYPES), np.int64)
    free[..., lib.PM_MT_MOVABLE] = kernel
    free[:, 0, 5, lib.PM_MT_MOVABLE] -= off
    fallbacks = np.zeros((NR_TYPES, NR_TYPES), np.int64)
    fallbacks[lib.PM_MT_UNMOVABLE, lib.PM_MT_MOVABLE] = 2
    steals = np.zeros_like(fallbacks)
    steals[lib.PM_MT_RECLAIMABLE, lib.PM_MT_UNMOVABLE] = off
    counts = {"allocated": 40, "freed": 18, "ignored": 2, "failed": failed, "kernel_failed": 1, "unresolved": 3}
    if mode == "reconstruct":
        counts = {"frames_compared": 40, "same_frame": 30, "unresolved.never_seen": 3, "of_no_label": 7}
    occupied = np.zeros((len(t_ns), 32, lib.PM_NR_OCCUPANTS), np.uint32)
    occupied[..., lib.PM_OCC_FREE_LARGE] = 512
    occupied[:, 4, lib.PM_OCC_UNMOVABLE] = 100
    return ModeResult(
        mode=mode,
        zones=("DMA32",),
        t_ns=t_ns,
        free=free,
        kernel_free=kernel,
        scores=score(free.sum(axis=3), kernel) if samples else None,
        claims=fallbacks,
        steals=steals,
        kernel_fallbacks=fallbacks,
        counts=counts,
        events=60,
        seconds=6e-6,
        unresolved=3,
        start={"pcp_known": 12} if mode == "simulate" else {},
        map_t_ns=t_ns,
        map=occupied,
    )


def replay_result(*modes: ModeResult, **settings: int) -> ReplayResult:
    """These modes as one result."""
    return ReplayResult(
        name="tiny.npz",
        events_by_kind=tiny_recording().events.counts(),
        modes={mode.mode: mode for mode in modes},
        settings=settings,
    )
