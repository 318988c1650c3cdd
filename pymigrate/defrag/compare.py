"""The same memory defragmented by one strategy after the other, each on a fresh copy, and by the kernel itself."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymigrate.costs import Costs, Price, price
from pymigrate.defrag.afterwards import kernel_drained, kernel_stops
from pymigrate.defrag.load import blocks_drained, bound_by_tables, load_memory, prepare
from pymigrate.defrag.run import STANDINGS, STRATEGIES, CompactResult, bound, census, compact
from pymigrate.defrag.source import KernelResult, Source
from pymigrate.defrag.strategy import load_strategy, run_strategy

__all__ = ["TO_STOP", "Column", "Comparison", "Run", "cheapest", "compare_strategies"]

TO_STOP = "linux-to-stop"
"""The run of ``linux`` that ends where the kernel's scanner did."""

FIXED = [STANDINGS.index(name) for name in ("absent", "pinned", "unmovable")]
MOVABLE = [STANDINGS.index(name) for name in ("movable", "unevictable", "writeback", "locked", "isolated")]


def cheapest(counts: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The fewest frames that have to move for 0, 1, 2, … blocks more: the blocks' costs in order, added up.

    Args:
        counts: What stands in each block, by `census`.
    """
    costs = counts[:, MOVABLE].sum(axis=1, dtype=np.int64)[counts[:, FIXED].sum(axis=1) == 0]
    return np.concatenate(([0], np.cumsum(np.sort(costs[costs > 0]))))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one strategy came to.

    Attributes:
        result: What it did.
        minimum: Frames that have to move at least for as many blocks.
        seconds: How long it took.
        price: What its work costs, where constants of a machine are given.
    """

    result: CompactResult
    minimum: int
    seconds: float
    price: Price | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a strategy, or the kernel, came to, in the same terms. Blocks of the order, and frames.

    Attributes:
        before: Free blocks at first.
        after: At the end.
        moved: Frames moved.
        minimum: Frames that have to move at least for as many blocks.
        scanned: Frames looked at.
        split: Large blocks split; None: not known.
        failed: Frames that did not move, by why.
        seconds: How long it took.
        ended: Why it ended; a line for each zone where these differ.
        price: What its work costs; None: not known.
        drained: Blocks gained, were per-CPU lists drained before and after; None: not known.
    """

    before: int
    after: int
    moved: int
    minimum: int
    scanned: int
    split: int | None
    failed: dict[str, int]
    seconds: float
    ended: tuple[str, ...]
    price: Price | None = None
    drained: int | None = None

    @property
    def gained(self) -> int:
        """Blocks gained."""
        return self.after - self.before


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Strategies side by side.

    Attributes:
        name: Of the snapshot.
        order: Of the blocks.
        wanted: How many more of them were wanted; None: all that can be had.
        blocks: Blocks that were free at first.
        bound: Most blocks that can be free at once.
        bound_by_tables: The same by the frame table alone: frames in per-CPU lists stay where they are.
        flagless: What frames without a flag were taken to be (`FLAGLESS`).
        stops: By zone index where the kernel's scanner stopped; only with the run `TO_STOP`.
        minimum: Frames that have to move at least for the wanted ones.
        runs: By strategy.
        kernel: What the kernel did; None where nobody says.
        kernel_minimum: Frames that have to move at least for what the kernel gained.
        drained: With frames in per-CPU lists, blocks that were free at first were these drained; None otherwise.
        kernel_drained: The same after the kernel was done; None: not known.
    """

    name: str
    order: int
    wanted: int | None
    blocks: int
    bound: int
    bound_by_tables: int
    flagless: str
    stops: dict[int, int]
    minimum: int
    runs: dict[str, Run]
    kernel: KernelResult | None
    kernel_minimum: int
    drained: int | None = None
    kernel_drained: int | None = None

    def columns(self) -> dict[str, Column]:
        """The strategies, and ``kernel`` where that is known."""
        # Every strategy leaves drained lists.
        found = {name: _column(run, self._since(run.result.blocks_after)) for name, run in self.runs.items()}
        if self.kernel is not None:
            kernel = self.kernel
            found["kernel"] = Column(
                before=kernel.blocks_before,
                after=kernel.blocks_after,
                moved=kernel.moved,
                minimum=self.kernel_minimum,
                scanned=kernel.scanned,
                split=None,
                failed={"not said why": kernel.failed} if kernel.failed else {},
                seconds=kernel.seconds,
                ended=_passes(kernel),
                drained=self._since(self.kernel_drained),
            )
        return found

    def _since(self, after: int | None) -> int | None:
        return None if self.drained is None or after is None else after - self.drained

    def figures(self) -> dict[str, tuple[float, str]]:
        """Figures by name, each with its unit; moved_per_block only where a block was gained."""
        found: dict[str, tuple[float, str]] = {}
        for name, column in self.columns().items():
            found[f"{name}.blocks.before"] = (column.before, "blocks")
            found[f"{name}.blocks.after"] = (column.after, "blocks")
            found[f"{name}.blocks.bound"] = (self.bound_by_tables, "blocks")
            if self.bound != self.bound_by_tables:
                found[f"{name}.blocks.bound.drained"] = (self.bound, "blocks")
            found[f"{name}.moved"] = (column.moved, "frames")
            found[f"{name}.moved.minimum"] = (column.minimum, "frames")
            if column.gained > 0:
                found[f"{name}.moved_per_block"] = (column.moved / column.gained, "frames")
            found[f"{name}.scanned"] = (column.scanned, "frames")
            if column.drained is not None:
                found[f"{name}.gained.drained"] = (column.drained, "blocks")
            if column.price is not None:
                found[f"{name}.stall.ns"] = (column.price.stall_ns, "ns")
                found[f"{name}.cost.ns"] = (column.price.total_ns, "ns")
        return found

    @property
    def by_stall(self) -> list[str]:
        """The strategies whose work has a price, by how long it stalls others: the shortest first."""
        priced = {name: run.price.stall_ns for name, run in self.runs.items() if run.price is not None}
        return sorted(priced, key=lambda name: priced[name])

    def as_json(self) -> dict[str, Any]:
        """All of it, for a file."""
        return {
            "name": self.name,
            "order": self.order,
            "wanted": self.wanted,
            "blocks": self.blocks,
            "bound": self.bound,
            "bound_by_tables": self.bound_by_tables,
            "flagless": self.flagless,
            "stops": self.stops,
            "drained": self.drained,
            "kernel_drained": self.kernel_drained,
            "minimum": self.minimum,
            "strategies": {
                name: dataclasses.asdict(run.result)
                | {"minimum": run.minimum, "seconds": run.seconds}
                | ({} if run.price is None else {"price": dataclasses.asdict(run.price)})
                for name, run in self.runs.items()
            },
            "kernel": None
            if self.kernel is None
            else dataclasses.asdict(self.kernel) | {"moved": self.kernel.moved, "minimum": self.kernel_minimum},
        }


def _passes(kernel: KernelResult) -> tuple[str, ...]:
    """What each pass moved; those that follow one another and moved as little in one line."""
    lines: list[str] = []
    first = 0
    for i, one in enumerate(kernel.passes):
        if i + 1 < len(kernel.passes) and kernel.passes[i + 1].moved == one.moved:
            continue
        which = f"pass {i + 1}" if first == i else f"passes {first + 1}-{i + 1}"
        lines.append(f"{which}: {one.moved:,}")
        first = i + 1
    return tuple(lines)


def _column(run: Run, drained: int | None) -> Column:
    result = run.result
    zones = []
    for zone in result.zones:
        where = "" if zone.stopped_pfn is None else f", order {zone.stopped_order} at frame {zone.stopped_pfn}"
        zones.append(f"zone {zone.zone}: {zone.status}{where}")
    return Column(
        before=result.blocks_before,
        after=result.blocks_after,
        moved=result.moved,
        minimum=run.minimum,
        scanned=result.scanned,
        split=result.split,
        failed=result.failed,
        seconds=run.seconds,
        ended=tuple(zones) or (result.status,),
        price=run.price,
        drained=drained,
    )


def compare_strategies(
    source: Source,
    strategies: Sequence[str],
    *,
    order: int = 9,
    blocks: int | None = None,
    flagless: str = "stuck",
    to_stop: bool = False,
    costs: Costs | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Loads a snapshot anew for each strategy and runs it.

    Args:
        source: The snapshot.
        strategies: Names: the core's (`STRATEGIES`), or registered ones.
        order: Of the blocks that are wanted.
        blocks: How many more of them; None: all that can be had.
        flagless: What frames without a flag are taken to be, one of `pymigrate.defrag.load.FLAGLESS`.
        to_stop: Run ``linux`` once more, as `TO_STOP`: over what the kernel's scanner went over.
        costs: Constants of a machine that the work is priced with.
        say: Told what is being done.

    Raises:
        RecordingError: Nobody says where the kernel stopped.
    """
    # Whatever is wrong with a name is said before anything is loaded.
    outside = {name: load_strategy(name) for name in strategies if name not in STRATEGIES}
    say("reading the frames")
    ready = prepare(source.recording, flagless=flagless)
    stops = kernel_stops(source) if to_stop else {}
    starts = [span.start_pfn for span in source.recording.zones]
    runs: dict[str, Run] = {}
    least: NDArray[np.int64] | None = None
    for name in [*strategies, *([TO_STOP] if to_stop else [])]:
        say(f"{name}: loading")
        passed = {starts[zone]: end for zone, end in stops.items()} if name == TO_STOP else None
        with load_memory(ready, passed=passed) as loaded:
            machine = loaded.machine
            if least is None:
                best = bound(machine, order=order, blocks=blocks)
                least = cheapest(census(machine, order=order))
            say(name)
            began = time.perf_counter()
            if name == TO_STOP:
                result = dataclasses.replace(compact(machine, "linux", order=order, stop=stops), strategy=name)
            elif name in outside:
                result = run_strategy(machine, outside[name], order=order, blocks=blocks, name=name)
            else:
                result = compact(machine, name, order=order, blocks=blocks)
            seconds = time.perf_counter() - began
        runs[name] = Run(
            result=result,
            minimum=_least(least, result.gained),
            seconds=seconds,
            price=None if costs is None else price(result, costs),
        )
    if least is None:
        raise ValueError("no strategy is named")
    kernel = source.kernel(order)
    with_lists = flagless == "pcp"
    return Comparison(
        name=source.name,
        order=order,
        wanted=blocks,
        blocks=best.blocks,
        bound=best.bound,
        bound_by_tables=bound_by_tables(ready.uses, order),
        flagless=flagless,
        stops=stops,
        minimum=best.minimum,
        runs=runs,
        kernel=kernel,
        drained=blocks_drained(ready.uses, order) if with_lists else None,
        kernel_drained=kernel_drained(source, order) if with_lists else None,
        kernel_minimum=0 if kernel is None else _least(least, kernel.blocks_after - kernel.blocks_before),
    )


def _least(costs: NDArray[np.int64], gained: int) -> int:
    return int(costs[min(max(gained, 0), len(costs) - 1)])
