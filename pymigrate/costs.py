"""What a strategy's work costs in nanoseconds: constants of this machine, and the work they are multiplied with.

>>> from pymigrate.costs import Costs, price
>>> from pymigrate.defrag.run import CompactResult
>>> costs = Costs(copy_ns=400.0, page_ns=300.0, scan_ns=2.0, flush_ns=5000.0, lock_ns=20.0)
>>> work = CompactResult(
...     strategy="planner", order=9, blocks_before=0, blocks_after=2, moved=512, failed={"pinned": 1}, scanned=10_000,
...     split=0, batches=1, flushes=1, status="success", captured=None, zones=(),
... )
>>> paid = price(work, costs)
>>> paid.copy_ns, paid.scan_ns, paid.flush_ns
(204800.0, 20000.0, 5000.0)
>>> paid.total_ns == paid.copy_ns + paid.page_ns + paid.scan_ns + paid.flush_ns + paid.lock_ns
True

`measure` takes the constants on the machine that it runs on, and `pymigrate calibrate` keeps them in a file.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np

from pymigrate._core import lib
from pymigrate.errors import PymigrateError
from pymigrate.gfp import ZoneKind
from pymigrate.layout import Zone
from pymigrate.machine import Machine
from pymigrate.memory import MemoryOptions
from pymigrate.migration import migrate
from pymigrate.space import AddressSpace

__all__ = ["Costs", "Price", "Work", "default_path", "load_costs", "measure", "price"]

FORMAT = "pymigrate-costs-1"
# Locks that a page takes on its way (protocol entry, in a batch): off its list by age and back on one, its frame, its
# entry's table to unmap and to map. Memory comes and goes by the batch.
LOCKS_PER_PAGE = 5
# A scanner looks at one block of the largest order under one hold of the zone lock.
FRAMES_PER_LOCK = 1 << lib.PM_MAX_ORDER
BATCH = 512
PAGE = int(lib.PM_PAGE_SIZE)


@dataclasses.dataclass(frozen=True, slots=True)
class Costs:
    """Constants of a machine, in nanoseconds.

    Attributes:
        copy_ns: To copy a page of 4 KiB, between frames far apart.
        page_ns: All else that moving a page takes (entries, references, lists) but copy, flush and locks.
        scan_ns: To look at a frame.
        flush_ns: A TLB flush.
        lock_ns: To take a free lock and give it back.
    """

    copy_ns: float
    page_ns: float
    scan_ns: float
    flush_ns: float
    lock_ns: float


class Work(Protocol):
    """What `price` reads of a result: `pymigrate.defrag.run.CompactResult` has it."""

    @property
    def moved(self) -> int:
        """Frames that moved."""

    @property
    def failed(self) -> Mapping[str, int]:
        """Frames that did not, by why."""

    @property
    def scanned(self) -> int:
        """Frames looked at."""

    @property
    def batches(self) -> int:
        """Calls of the migration engine."""

    @property
    def flushes(self) -> int:
        """TLB flushes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Price:
    """What some work costs, in nanoseconds of one CPU.

    Attributes:
        copy_ns: Copying.
        page_ns: Entries, references and lists of the pages that moved or failed to.
        scan_ns: Looking at frames.
        flush_ns: TLB flushes.
        lock_ns: Locks.
        stall_ns: How long somebody waits who meets a page of an average batch just as it is unmapped: a flush, and the
            batch's copies.
    """

    copy_ns: float
    page_ns: float
    scan_ns: float
    flush_ns: float
    lock_ns: float
    stall_ns: float

    @property
    def total_ns(self) -> float:
        """The sum of all but `stall_ns`, which is part of it."""
        return self.copy_ns + self.page_ns + self.scan_ns + self.flush_ns + self.lock_ns


def price(result: Work, costs: Costs) -> Price:
    """Returns what the work of a result costs at the constants of a machine.

    A page that failed to move costs what one that moved does, less the copy.
    """
    failed = sum(result.failed.values())
    pages = result.moved + failed
    locks = pages * LOCKS_PER_PAGE + result.scanned / FRAMES_PER_LOCK
    batch = result.moved / result.batches if result.batches else 0.0
    each = costs.copy_ns + costs.page_ns + LOCKS_PER_PAGE * costs.lock_ns
    return Price(
        copy_ns=result.moved * costs.copy_ns,
        page_ns=pages * costs.page_ns,
        scan_ns=result.scanned * costs.scan_ns,
        flush_ns=result.flushes * costs.flush_ns,
        lock_ns=locks * costs.lock_ns,
        stall_ns=(costs.flush_ns if result.flushes else 0.0) + min(batch, BATCH) * each,
    )


# ---- measured ----


def _per_one(rounds: int, n: int, work: Callable[[], object]) -> float:
    """Median over the rounds of the CPU time of `work`, for one of the n things that it does."""
    samples = []
    for _ in range(rounds):
        begin = time.thread_time_ns()
        work()
        samples.append((time.thread_time_ns() - begin) / n)
    return median(samples)


def _exercise(machine: Machine, what: int, n: int, rounds: int) -> float:
    def work() -> None:
        machine._call(lib.pm_exercise, 0, what, n)

    work()
    return _per_one(rounds, n, work)


def _moved_page(pages: int, rounds: int) -> float:
    """CPU time to move a page that has no contents, in large batches."""
    machine = Machine([Zone(ZoneKind.NORMAL, 0, 4 * pages)], cpus=2, memory=MemoryOptions(contents="none"))
    space = AddressSpace(machine)
    addr = space.map(pages * PAGE, populate=True)
    with machine.on_cpu(1):
        # Another CPU has been here: flushes have somebody to wait for.
        space.touch(addr, PAGE)
    samples = []
    with machine.on_cpu(0):
        for _ in range(rounds + 1):
            frames = np.array([space.lookup(addr + i * PAGE).pfn for i in range(pages)], dtype=np.uint64)
            begin = time.thread_time_ns()
            moved = migrate(machine, frames).moved
            samples.append((time.thread_time_ns() - begin) / max(1, moved))
    machine.close()
    return median(samples[1:])


def measure(*, rounds: int = 9) -> Costs:
    """Measures the constants on this machine, in a few seconds.

    Args:
        rounds: Of each measure; the median counts.
    """
    pages = 1 << 13
    machine = Machine([Zone(ZoneKind.NORMAL, 0, 4 * pages)], cpus=2, memory=MemoryOptions())
    space = AddressSpace(machine)
    addr = space.map(3 * pages * PAGE, populate=True)
    with machine.on_cpu(1):
        space.read(addr, 1)
    lock = _exercise(machine, lib.PM_EXERCISE_LOCK, 1 << 18, rounds)
    flush = _exercise(machine, lib.PM_EXERCISE_FLUSH, 256, rounds)
    scan = _exercise(machine, lib.PM_EXERCISE_SCAN, 1 << 18, rounds)
    # The last one: it overwrites what is there.
    copy = _exercise(machine, lib.PM_EXERCISE_COPY, 1 << 13, rounds)
    machine.close()
    page = max(0.0, _moved_page(pages, rounds) - flush / BATCH - LOCKS_PER_PAGE * lock)
    return Costs(copy_ns=copy, page_ns=page, scan_ns=scan, flush_ns=flush, lock_ns=lock)


# ---- kept ----


def default_path() -> Path:
    """Where `pymigrate calibrate` keeps the constants: the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pymigrate" / "costs.json"


def costs_text(costs: Costs) -> str:
    """The file's content."""
    rounded = {name: round(value, 3) for name, value in dataclasses.asdict(costs).items()}
    return json.dumps({"format": FORMAT, "costs": rounded}, indent=1) + "\n"


def load_costs(path: str | os.PathLike[str] | None = None) -> Costs:
    """Reads constants that `pymigrate calibrate` wrote.

    Args:
        path: The file; None: where it writes them by default.

    Raises:
        PymigrateError: There is no such file, or it is none of these; the message names it and what is wrong.
    """
    where = default_path() if path is None else Path(path)
    try:
        found: Any = json.loads(where.read_text("utf-8"))
    except OSError as error:
        hint = "" if path is not None else " (pymigrate calibrate writes it)"
        raise PymigrateError(f"cannot read {where}: {error.strerror}{hint}") from error
    except ValueError as error:
        raise PymigrateError(f"{where}: no JSON: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("costs"), dict):
        raise PymigrateError(f"{where}: not written by pymigrate calibrate: its format is not {FORMAT!r}")
    values: dict[str, float] = {}
    for field in dataclasses.fields(Costs):
        value = found["costs"].get(field.name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
            raise PymigrateError(f"{where}: {field.name} is not a number of nanoseconds: {value!r}")
        values[field.name] = float(value)
    return Costs(**values)
