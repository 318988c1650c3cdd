"""Strategies from outside of the core: a class with one method, which looks at memory and says what moves where.

A package registers one by an entry point of the group ``pymigrate.strategies``; then ``pymigrate compact --strategy
NAME`` knows it. docs/DEFRAGMENTATION.md has an example.
"""

from __future__ import annotations

import dataclasses
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from pymigrate._arrays import PAGE_DTYPE, Table, as_u64, u64_pointer
from pymigrate._core import ffi, lib
from pymigrate._named import machine_of
from pymigrate.defrag.run import CompactResult, read_result
from pymigrate.errors import ArgumentError, PymigrateError, StateError, error_of
from pymigrate.migration import REASONS

if TYPE_CHECKING:
    from pymigrate.machine import Machine

__all__ = ["GROUP", "Memory", "Strategy", "load_strategy", "look", "run_strategy", "strategy_names"]

GROUP = "pymigrate.strategies"

FREE, PCP, USED, OWNED = 1, 2, 3, 4
"""Kinds of a block, in the word of its first frame: ``word >> 8``."""
MOVABLE_FLAGS: int = 1 << 6 | 1 << 16
"""Of a page's flags: on a list by age, or its owner moves it. An owned frame with neither stays."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What a strategy sees: the core's own tables, read-only, without a copy. Others may write to them at any time.

    Attributes:
        frames: One entry a frame, fields ``word`` (kind << 8 | migrate type << 4 | order in the first frame of a block,
            0 in the others; kinds `FREE`, `PCP`, `USED`, `OWNED`), ``tag``, ``prev``, ``next``.
        pages: One entry a frame, fields ``references``, ``mapcount``, ``flags``, ``mapping``; for frames that are
            `OWNED`. One can move where ``flags & MOVABLE_FLAGS`` is not 0.
        pageblocks: One entry for 512 frames, fields ``type``, ``free_order`` and others: a free block of the pageblock
            order or more is here, and not in `frames`.
        order: Of the blocks that are wanted.
        blocks: How many more of them; None: as many as can be had.
    """

    frames: npt.NDArray[np.void]
    pages: npt.NDArray[np.void]
    pageblocks: npt.NDArray[np.void]
    order: int
    blocks: int | None


class Strategy(Protocol):
    """A strategy of defragmentation."""

    def moves(self, memory: Memory) -> tuple[npt.ArrayLike, npt.ArrayLike]:
        """Says what moves where.

        Returns:
            First frames of the blocks that move, and for each the first of free frames as many: arrays of one length.
        """
        ...


def strategy_names() -> tuple[str, ...]:
    """Names of the strategies that installed packages register."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load_strategy(name: str) -> Strategy:
    """Makes the strategy that an installed package registers under a name.

    Raises:
        ValueError: None does.
        PymigrateError: What is registered cannot be imported, or has no method ``moves``.
    """
    found: list[EntryPoint] = [point for point in entry_points(group=GROUP) if point.name == name]
    if not found:
        raise ArgumentError(f"no package registers a strategy {name!r} in the group {GROUP}")
    try:
        made: Any = found[0].load()()
    except Exception as error:
        raise PymigrateError(f"the strategy {name!r} ({found[0].value}) cannot be made: {error}") from error
    if not callable(getattr(made, "moves", None)):
        raise PymigrateError(f"the strategy {name!r} ({found[0].value}) has no method moves")
    strategy: Strategy = made
    return strategy


def look(machine: Machine, *, order: int = 9, blocks: int | None = None) -> Memory:
    """What a strategy sees of a machine.

    Raises:
        StateError: The machine has no owners of frames.
    """
    where = machine_of(machine)
    core, pages = where._open_core(), lib.pm_page_table(where._open())
    if pages == ffi.NULL:
        raise StateError("the machine has no owners of frames: make it with memory=MemoryOptions(…)")
    return Memory(
        frames=where.frame_table,
        pages=np.asarray(Table(core, pages, where.nr_frames, PAGE_DTYPE)),
        pageblocks=where.pageblock_table,
        order=order,
        blocks=blocks,
    )


def run_strategy(
    machine: Machine, strategy: Strategy, *, order: int = 9, blocks: int | None = None, name: str | None = None
) -> CompactResult:
    """Asks a strategy once, and does what it says in one call of the core.

    A move that cannot be made is no error: the result says how many and why.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        strategy: With a method `moves`.
        order: Of the blocks that are wanted.
        blocks: How many more of them; None: as many as can be had.
        name: For the result; None: the class's.

    Raises:
        ValueError: The two arrays differ in length, or hold no frame numbers.
        StateError: The machine has no owners of frames.
    """
    where = machine_of(machine)
    if not 0 <= order <= lib.PM_MAX_ORDER:
        raise ArgumentError(f"order is 0..{lib.PM_MAX_ORDER}, not {order}")
    # What lies in per-CPU lists is free, and shows as free only in the free lists.
    where.drain()
    first, to = (as_u64(array) for array in strategy.moves(look(where, order=order, blocks=blocks)))
    called = type(strategy).__name__ if name is None else name
    if first.size != to.size:
        raise ArgumentError(f"{called}: {first.size} blocks move, and {to.size} are given to move to")
    return _do(where, order, first, to, called)


def _blocks(machine: Machine, order: int) -> int:
    free = machine.free_blocks().sum(axis=(0, 2))
    return int(sum(int(n) << (o - order) for o, n in enumerate(free) if o >= order))


def _do(
    machine: Machine, order: int, first: npt.NDArray[np.uint64], to: npt.NDArray[np.uint64], name: str
) -> CompactResult:
    total = ffi.new("struct pm_compact_result *")
    before, done, whole = _blocks(machine, order), 0, None
    mode, protocol = lib.PM_MIGRATE_SYNC, lib.PM_PROTOCOL_ENTRY
    while True:
        some, there = first[done:], to[done:]
        results = ffi.new("struct pm_migrate_result[]", max(1, some.size))
        arrays = (some.size, u64_pointer(some), u64_pointer(there), results)
        where = (machine._handle, machine._this_cpu())
        status = lib.pm_compact_moves(*where, order, mode, protocol, *arrays, total)
        if status not in (0, lib.PM_ERR_INTR):
            raise error_of(status, strategy=name)
        result = read_result(total, name, order)
        whole = result if whole is None else _sum(whole, result)
        if status == 0:
            break
        # It comes back for signals: on with what it had not come to.
        reasons = np.frombuffer(ffi.buffer(results), dtype=np.uint32).reshape(-1, 4)[: some.size, 1]
        left = np.flatnonzero(reasons == lib.PM_WHY_CANCELLED)
        if not left.size:
            break
        done += int(left[0])
    # What was emptied lies in per-CPU lists, and comes together only in the free lists.
    machine.drain()
    failed = {why: n for why, n in whole.failed.items() if why != REASONS[lib.PM_WHY_CANCELLED]}
    return dataclasses.replace(whole, blocks_before=before, blocks_after=_blocks(machine, order), failed=failed)


def _sum(a: CompactResult, b: CompactResult) -> CompactResult:
    counts = ("moved", "scanned", "split", "batches", "flushes")
    failed = {why: a.failed.get(why, 0) + b.failed.get(why, 0) for why in (*a.failed, *b.failed)}
    return dataclasses.replace(b, failed=failed, **{key: getattr(a, key) + getattr(b, key) for key in counts})
