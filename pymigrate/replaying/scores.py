"""How far a replay came from the kernel's own counters.

All scores compare free blocks by order at the recording's samples. They are machine-wide: the free lists of all zones
summed, as a person reads /proc/buddyinfo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pymigrate._core import lib

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

PAGEBLOCK_ORDER: int = lib.PM_PAGEBLOCK_ORDER


def free_frames(blocks: I64) -> I64:
    """Free frames from free blocks by order.

    Args:
        blocks: Counts of free blocks, orders along the last axis.

    Returns:
        Frames, with the last axis summed away.
    """
    frames: I64 = (blocks << np.arange(blocks.shape[-1])).sum(axis=-1)
    return frames


def unusable_index(blocks: I64, order: int) -> F64:
    """Unusable free space index: the share of free memory that a block of `order` cannot be taken from.

    Source: (F - S x 2^k) / F with S the blocks of order k that the larger ones make; 1 where nothing is free. This is
    the kernel's debugfs `unusable_index` without its rounding to thousandths.

    Example:
        >>> import numpy as np
        >>> hundred_pages_and_a_pageblock = np.array([100, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0])
        >>> round(float(unusable_index(hundred_pages_and_a_pageblock, 9)), 3)
        0.163
    """
    free = free_frames(blocks)
    usable = (blocks << np.arange(blocks.shape[-1]))[..., order:].sum(axis=-1)
    return np.where(free > 0, (free - usable) / np.maximum(free, 1), 1.0)


def large_blocks(blocks: I64) -> I64:
    """Free memory in blocks of at least a pageblock, counted in pageblocks."""
    orders = np.arange(blocks.shape[-1] - PAGEBLOCK_ORDER)
    pageblocks: I64 = (blocks[..., PAGEBLOCK_ORDER:] << orders).sum(axis=-1)
    return pageblocks


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Distance from the kernel's counters, over the samples.

    Attributes:
        free_error_mean: Free frames, relative error, mean.
        free_error_worst: The same at the worst sample.
        unusable4_error_mean: Unusable free space index for order 4 (0..1), absolute difference, mean.
        unusable9_error_mean: The same for order 9.
        blocks9_error_mean: Free blocks of at least order 9, relative error, mean (against 1 where the kernel has none).
        samples: How many samples were compared.
    """

    free_error_mean: float
    free_error_worst: float
    unusable4_error_mean: float
    unusable9_error_mean: float
    blocks9_error_mean: float
    samples: int


def score(ours: I64, kernel: I64) -> Scores:
    """Scores free blocks against the kernel's.

    Args:
        ours: int64 [samples, zones, orders].
        kernel: The same from the recording's samples.

    Raises:
        ValueError: The shapes differ, or there is no sample to compare.
    """
    if ours.shape != kernel.shape:
        raise ValueError(f"cannot compare free blocks of shape {ours.shape} with {kernel.shape}")
    if len(ours) == 0:
        raise ValueError("the recording has no counter samples in the replayed time")
    a, b = ours.sum(axis=1), kernel.sum(axis=1)
    free_a, free_b = free_frames(a), free_frames(b)
    free = np.abs(free_a - free_b) / np.maximum(free_b, 1)
    large_a, large_b = large_blocks(a), large_blocks(b)
    return Scores(
        free_error_mean=float(free.mean()),
        free_error_worst=float(free.max()),
        unusable4_error_mean=float(np.abs(unusable_index(a, 4) - unusable_index(b, 4)).mean()),
        unusable9_error_mean=float(np.abs(unusable_index(a, 9) - unusable_index(b, 9)).mean()),
        blocks9_error_mean=float((np.abs(large_a - large_b) / np.maximum(large_b, 1)).mean()),
        samples=len(ours),
    )
