"""`pymigrate compact`: strategies of defragmentation on real memory, side by side, and beside the kernel."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from pymigrate._core import lib
from pymigrate.costs import load_costs
from pymigrate.defrag.compare import Column, Comparison, compare_strategies
from pymigrate.defrag.load import FLAGLESS
from pymigrate.defrag.run import STRATEGIES
from pymigrate.defrag.source import read_source
from pymigrate.defrag.strategy import strategy_names
from pymigrate.report.files import OutputFile
from pymigrate.report.tables import figure_lines

__all__ = ["compact", "json_bytes", "print_table", "progress"]


def _count(n: int) -> str:
    return f"{n:,}"


def _short(n: int) -> str:
    """A count that tells its size: exactly, it is a figure."""
    return _count(n) if n < 1_000_000 else f"{n / 1e6:,.1f} M"


def _time(ns: float) -> str:
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if ns >= factor:
            return f"{ns / factor:,.1f} {unit}"
    return f"{ns:,.0f} ns"


def _drained(column: Column) -> str:
    return "" if column.drained is None else _count(column.drained)


def _over(a: float, b: float, form: str) -> str:
    return format(a / b, form) if b > 0 else "-"


def _rows(found: Comparison) -> list[tuple[str, Callable[[Column], str]]]:
    possible = found.bound - found.blocks
    reasons = sorted({why for column in found.columns().values() for why in column.failed})
    rows: list[tuple[str, Callable[[Column], str]]] = [
        ("blocks before", lambda c: _count(c.before)),
        ("blocks after", lambda c: _count(c.after)),
        ("gained", lambda c: _count(c.gained)),
        *([("gained, lists drained", _drained)] if found.drained is not None else []),
        ("of the possible", lambda c: _over(c.gained, possible, ".1%")),
        ("frames moved", lambda c: _count(c.moved)),
        ("least for that", lambda c: _count(c.minimum)),
        ("times the least", lambda c: _over(c.moved, c.minimum, ",.2f")),
        ("moved per block", lambda c: _over(c.moved, c.gained, ",.1f")),
        ("frames scanned", lambda c: _short(c.scanned)),
        ("blocks split", lambda c: "" if c.split is None else _count(c.split)),
        *((f"failed: {why}", lambda c, why=why: _count(c.failed[why]) if why in c.failed else "") for why in reasons),
        ("seconds", lambda c: f"{c.seconds:.2f}"),
    ]
    if any(column.price is not None for column in found.columns().values()):
        rows += [
            ("stall", lambda c: "" if c.price is None else _time(c.price.stall_ns)),
            ("CPU time", lambda c: "" if c.price is None else _time(c.price.total_ns)),
        ]
    return rows


def _bounds(found: Comparison) -> str:
    if found.bound == found.bound_by_tables:
        return f"{found.bound:,}"
    return f"{found.bound_by_tables:,} by the frame table alone, {found.bound:,} with the per-CPU lists drained"


def print_table(console: Console, found: Comparison) -> None:
    """The comparison as a table, with a column for each strategy and one for the kernel; below it, why each ended."""
    columns = found.columns()
    wanted = "all that can be had" if found.wanted is None else f"{found.wanted:,} more"
    console.print(
        f"{found.name}: {found.blocks:,} free blocks of order {found.order}; the most that there can be is "
        f"{_bounds(found)}.\nWanted: {wanted}, for which {found.minimum:,} frames have to move at least."
    )
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for label, text in _rows(found):
        table.add_row(label, *(text(column) for column in columns.values()))
    console.print(table)
    for name, column in columns.items():
        console.print(f"{name}: {'; '.join(column.ended)}.")
    if found.by_stall:
        console.print(f"By stall, the shortest first: {', '.join(found.by_stall)}.")


def json_bytes(value: dict[str, Any]) -> bytes:
    """A value as a file of JSON."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def progress() -> Any:
    """A context that gives a function to say what goes on, which shows on a terminal only."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return nullcontext(lambda _text: None)

    @contextmanager
    def watch() -> Any:
        with console.status("reading") as status:
            yield status.update

    return watch()


def _strategies(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> list[str]:
    known = (*STRATEGIES, *strategy_names())
    for value in values:
        if value not in known:
            raise click.BadParameter(f"{value!r} is none of {', '.join(known)}", ctx, param)
    return list(dict.fromkeys(values)) or list(STRATEGIES)


@click.command("compact")
@click.argument("snapshot", metavar="SNAPSHOT")
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    callback=_strategies,
    metavar="NAME",
    help="A strategy (may be repeated): linux, planner, coalesce-2004, coalesce-2004-rfc, or one that a package "
    "registers. Default: all of ours.",
)
@click.option(
    "--order",
    type=click.IntRange(0, lib.PM_MAX_ORDER),
    default=9,
    show_default=True,
    help="Of the blocks that are wanted.",
)
@click.option("--blocks", type=click.IntRange(min=1), metavar="K", help="So many blocks more are wanted.")
@click.option("--all", "everything", is_flag=True, help="All blocks that can be had are wanted. The default.")
@click.option(
    "--json",
    "json_file",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Write the results as JSON; without FILE, and for -, to the output.",
)
@click.option(
    "--flagless",
    type=click.Choice(FLAGLESS),
    default=FLAGLESS[0],
    show_default=True,
    help="Frames without a flag: all of them stand still, or as many as the per-CPU lists held lie in these.",
)
@click.option(
    "--stop-like-kernel",
    is_flag=True,
    help="Run linux once more, to where the kernel's scanner stopped by the frame table in after/.",
)
@click.option(
    "--costs", "costs_file", metavar="FILE", help="Price the work at the constants that pymigrate calibrate wrote."
)
@click.option("--figures", is_flag=True, help="Print a line for each figure: figure NAME VALUE UNIT.")
@click.pass_context
def compact(
    ctx: click.Context,
    snapshot: str,
    strategies: list[str],
    order: int,
    blocks: int | None,
    everything: bool,
    json_file: str | None,
    flagless: str,
    stop_like_kernel: bool,
    costs_file: str | None,
    figures: bool,
) -> None:
    """Defragment the memory of a real machine, by one strategy after the other.

    SNAPSHOT is a folder with a frame table (kpageflags.u64), or with one in before/ and another in after/, or a
    recording. Each strategy begins with the same memory; what the kernel did to it stands beside them, if it is known.
    """
    if everything and blocks is not None:
        raise click.UsageError("--blocks and --all exclude each other", ctx)
    costs = load_costs(costs_file) if costs_file is not None else None
    with ExitStack() as stack:
        file = stack.enter_context(OutputFile(json_file)) if json_file is not None else None
        to_stderr = file is not None and file.is_stdout
        with progress() as say:
            found = compare_strategies(
                read_source(snapshot),
                strategies,
                order=order,
                blocks=blocks,
                flagless=flagless,
                to_stop=stop_like_kernel,
                costs=costs,
                say=say,
            )
        print_table(Console(stderr=to_stderr, highlight=False), found)
        if figures:
            for line in figure_lines(found.figures()):
                click.echo(line, err=to_stderr)
        if file is not None:
            file.write(json_bytes(found.as_json()))
