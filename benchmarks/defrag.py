"""Strategies of defragmentation side by side, and beside the kernel: `python -m benchmarks.defrag [--quick]`.

Times are CPU time of the compacting thread. Blocks are of 2 MiB (order 9).

- block: memory with contents and a hole at every other page, compacted as far as the strategy goes. What a block costs
  beside a copy of 256 pages, the least that has to move for one (stores past the cache; and with memcpy), what a page
  costs; the kernel's own compaction (a write to compact_memory) of the same pattern in the same run. Its blocks are
  counted in /proc/buddyinfo. Needs root; skipped elsewhere.
- size: the same pattern without contents, 4 and 64 GiB (``--tib``: 1,024 too, which takes 11 GiB of memory and
  minutes). Seconds to compact, and how much more than memory they grow.
- success: memory filled one frame at a time by the page cache (0, 1, 5 % of the requests unmovable, grouped by the
  allocator as in the kernel), freed at random until it is 50 to 95 % full; then blocks are asked for until free memory
  is down to the MIN mark, with the strategy's help where there is none. The share that was had. ``--scattered``: the
  unmovable frames lie anywhere, as without grouping by mobility.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import click

from benchmarks.drivers import Driver, compile_driver
from benchmarks.report import figure, table
from pymigrate import _ffi_build
from pymigrate._core import ffi, lib

FULL = (50, 80, 90, 95)
UNMOVABLE = (0, 1, 5)
NONE = "none"

Row = list[str | float | None]
Rates = dict[tuple[str, int, int], float]


def strategies(driver: Driver) -> dict[str, int]:
    """The strategies of this build by name."""
    there = driver.numbers("strategies")
    return {ffi.string(lib.pm_strategy_name(i)).decode(): i for i, has in enumerate(there) if has}


def kernel_row(kernel: list[list[float]], ours: list[list[float]]) -> Row:
    """What the kernel's pages and, where it gained any, blocks cost."""
    page = median(one[0] / one[2] for one in kernel)
    counts = [f"{median(one[3] for one in kernel):.0f}", f"{median(one[2] for one in kernel):.0f}"]
    figure("kernel.page.ns", page, "ns")
    gained = [ns / blocks for ns, _, _, blocks in kernel if blocks > 0]
    if not gained:
        print("the kernel gained no block: what one costs it cannot be said")
        return ["kernel", *counts, None, None, None, page, 1.0, 1e9 / page, None]
    block = median(gained)
    stream, copied = (block / 256 / median(one[i] for one in ours) for i in (3, 4))
    figure("kernel.block.per_copy256", stream, "ratio")
    return ["kernel", *counts, block / 1e3, stream, copied, page, 1.0, 1e9 / page, 1e9 / block]


def measure_blocks(driver: Driver, names: dict[str, int], rounds: int, mib: int) -> None:
    """Prints what a block and a page cost, beside a copy and beside the kernel."""
    samples: dict[str, list[list[float]]] = {name: [] for name in names}
    kernel: list[list[float]] = []
    for _ in range(rounds):
        for name, number in names.items():
            samples[name].append(driver.numbers(f"block {number} {mib}"))
        answer = driver.numbers(f"kernel {2 * mib}")
        if answer[1] == 1:
            print("no permission for /proc/sys/vm/compact_memory: the kernel's figures are skipped (root only)")
        elif answer[1] == 2:
            print("compact_memory moved next to nothing this time: not counted")
        else:
            kernel.append(answer)
    kernel_page = median(ns / moved for ns, _, moved, _ in kernel) if kernel else None
    rows: list[Row] = []
    for name, found in samples.items():
        if not all(one[1] > 0 for one in found):
            rows.append([name, f"{median(one[1] for one in found):.0f}", f"{median(one[2] for one in found):.0f}"])
            continue
        ns = [one[0] / one[1] for one in found]
        stream = median(one[0] / one[1] / (256 * one[3]) for one in found)
        copied = median(one[0] / one[1] / (256 * one[4]) for one in found)
        page = median(one[0] / one[2] for one in found)
        beside = None if kernel_page is None else page / kernel_page
        counts = [f"{median(one[i] for one in found):.0f}" for i in (1, 2)]
        rows.append([name, *counts, median(ns) / 1e3, stream, copied, page, beside, 1e9 / page, 1e9 / median(ns)])
        figure(f"{name}.block.per_copy256", stream, "ratio")
        figure(f"{name}.block.per_memcpy256", copied, "ratio")
        figure(f"{name}.pages_per_second", 1e9 / page, "1/s")
        figure(f"{name}.blocks_per_second", 1e9 / median(ns), "1/s")
        if beside is not None:
            figure(f"{name}.page.per_kernel", beside, "ratio")
        if name == "planner":
            figure("block.per_copy256", stream, "ratio")
            if beside is not None:
                figure("page.per_kernel", beside, "ratio")
    if kernel:
        rows.append(kernel_row(kernel, [one for found in samples.values() for one in found]))
    columns = ["", "blocks", "moved", "us/block", "/copy256", "/memcpy256", "ns/page", "/kernel", "pages/s", "blocks/s"]
    full = [row + [None] * (len(columns) - len(row)) for row in rows]
    table(f"A hole at every other page, {mib} MiB with contents", columns, full)


def measure_sizes(driver: Driver, names: dict[str, int], sizes: tuple[int, ...]) -> None:
    """Prints how long memory without contents takes."""
    rows: list[Row] = []
    for name, number in names.items():
        took: dict[int, float] = {}
        done = 0.0
        for gib in sizes:
            ns, blocks, moved, scanned = driver.numbers(f"size {number} {gib * 1024}")
            took[gib] = ns / 1e9
            done += moved
            rows.append([f"{name}, {gib} GiB", ns / 1e9, f"{blocks:.0f}", f"{moved:.0f}", f"{scanned:.0f}"])
            figure(f"{name}.compact.{gib}gib", ns / 1e9, "s")
        for small, large in pairwise(sizes):
            # 1: as memory grows; below: more slowly. Who found nothing to begin with has not been measured.
            if not done:
                continue
            growth = took[large] / took[small] / (large / small)
            figure(f"{name}.compact.growth.{small}_to_{large}", growth, "ratio")
    table("Without contents, a hole at every other page", ["", "seconds", "blocks", "moved", "scanned"], rows)


def measure_success(driver: Driver, names: dict[str, int], rounds: int, mib: int, scattered: bool) -> Rates:
    """Prints how many of the blocks that free memory could make were had."""
    rates: Rates = {}
    for full in FULL:
        for unmovable in UNMOVABLE:
            for name, number in {NONE: -1, **names}.items():
                found = [
                    driver.numbers(f"success {number} {full * 10} {unmovable * 10} {mib} {seed} {int(scattered)}")
                    for seed in range(rounds)
                ]
                rates[name, full, unmovable] = sum(had for _, had, _ in found) / max(1, sum(n for n, _, _ in found))
                prefix = "success.scattered" if scattered else "success"
                figure(f"{prefix}.{name}.{full}.{unmovable}", rates[name, full, unmovable], "share")
    rows: list[Row] = [
        [name, *(rates[name, full, unmovable] for full in FULL for unmovable in UNMOVABLE)] for name in (NONE, *names)
    ]
    columns = ["full / unmovable, %", *(f"{full}/{unmovable}" for full in FULL for unmovable in UNMOVABLE)]
    how = "scattered over it" if scattered else "kept together by the allocator"
    table(f"Share of 2 MiB blocks that were had, {mib} MiB, unmovable frames {how}", columns, rows)
    return rates


def plot(rates: Rates, path: str) -> None:
    """Draws the success rates: a panel for each share of unmovable requests."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for name, _, _ in rates))
    drawing = Figure(figsize=(11, 4), layout="constrained")
    for axes, unmovable in zip(drawing.subplots(1, len(UNMOVABLE), sharey=True), UNMOVABLE, strict=True):
        for name in names:
            axes.plot(FULL, [100 * rates[name, full, unmovable] for full in FULL], marker="o", label=name)
        axes.set_title(f"{unmovable} % unmovable", fontsize="medium")
        axes.set_xlabel("memory full, %")
        axes.set_ylim(-3, 103)
        axes.grid(alpha=0.3)
    drawing.axes[0].set_ylabel("2 MiB blocks had, % of the free memory's")
    drawing.axes[0].legend(fontsize="small")
    drawing.savefig(path)


@click.command()
@click.option("--quick", is_flag=True, help="Less of everything: a smoke test, its ratios are rough.")
@click.option("--tib", is_flag=True, help="Compact 1,024 GiB too: 11 GiB of memory and minutes.")
@click.option("--plot", "plot_file", metavar="FILE", help="Draw the success rates (.png, .svg, .pdf).")
@click.option(
    "--scattered",
    is_flag=True,
    help="The unmovable requests of the part success look like movable ones: no block type keeps them together.",
)
@click.option(
    "--only", type=click.Choice(["block", "size", "success"]), multiple=True, help="These parts alone. Default: all."
)
def main(quick: bool, tib: bool, plot_file: str | None, scattered: bool, only: tuple[str, ...]) -> None:
    """Compare the strategies with each other, with a copy, and with the host kernel's compaction."""
    if plot_file is not None and only and "success" not in only:
        raise click.UsageError("--plot draws the part success, which --only leaves out")
    flags, _ = _ffi_build.FLAVOURS["release"]
    driver = Driver(compile_driver("defrag", with_core=True, flags=["-fPIC", *flags]))
    names = strategies(driver)
    if not only or "block" in only:
        measure_blocks(driver, names, 1 if quick else 3, 256 if quick else 1024)
    if not only or "size" in only:
        measure_sizes(driver, names, (1, 4) if quick else (4, 64, 1024) if tib else (4, 64))
    if not only or "success" in only:
        rates = measure_success(driver, names, 1 if quick else 3, 256 if quick else 1024, scattered)
        if plot_file is not None:
            plot(rates, plot_file)
    driver.close()


if __name__ == "__main__":
    main()
