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
from pymigrate.defrag.compare import Column, Comparison, compare_strategies
from pymigrate.defrag.run import STRATEGIES
from pymigrate.defrag.source import read_source
from pymigrate.defrag.strategy import strategy_names
from pymigrate.report.files import OutputFile
from pymigrate.report.tables import figure_lines

__all__ = ["compact", "json_bytes", "print_table", "progress"]


def _count(n: int) -> str:
    return f"{n:,}"


def _over(a: float, b: float, form: str) -> str:
    return format(a / b, form) if b > 0 else "-"


def _rows(found: Comparison) -> list[tuple[str, Callable[[Column], str]]]:
    possible = found.bound - found.blocks
    reasons = sorted({why for column in found.columns().values() for why in column.failed})
    return [
        ("blocks before", lambda c: _count(c.before)),
        ("blocks after", lambda c: _count(c.after)),
        ("gained", lambda c: _count(c.gained)),
        ("of the possible", lambda c: _over(c.gained, possible, ".1%")),
        ("frames moved", lambda c: _count(c.moved)),
        ("least for that", lambda c: _count(c.minimum)),
        ("times the least", lambda c: _over(c.moved, c.minimum, ",.2f")),
        ("moved per block", lambda c: _over(c.moved, c.gained, ",.1f")),
        ("frames scanned", lambda c: _count(c.scanned)),
        ("blocks split", lambda c: "" if c.split is None else _count(c.split)),
        *((f"failed: {why}", lambda c, why=why: _count(c.failed[why]) if why in c.failed else "") for why in reasons),
        ("seconds", lambda c: f"{c.seconds:.2f}"),
        ("ended", lambda c: "\n".join(c.ended)),
    ]


def print_table(console: Console, found: Comparison) -> None:
    """The comparison as a table: a column for each strategy, and one for the kernel."""
    columns = found.columns()
    wanted = "all that can be had" if found.wanted is None else f"{found.wanted:,} more"
    console.print(
        f"{found.name}: {found.blocks:,} free blocks of order {found.order}; the most that there can be is "
        f"{found.bound:,}.\nWanted: {wanted}, for which {found.minimum:,} frames have to move at least."
    )
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for label, text in _rows(found):
        table.add_row(label, *(text(column) for column in columns.values()))
    console.print(table)


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
    figures: bool,
) -> None:
    """Defragment the memory of a real machine, by one strategy after the other.

    SNAPSHOT is a folder with a frame table (kpageflags.u64), or with one in before/ and another in after/, or a
    recording. Each strategy begins with the same memory; what the kernel did to it stands beside them, if it is known.
    """
    if everything and blocks is not None:
        raise click.UsageError("--blocks and --all exclude each other", ctx)
    with ExitStack() as stack:
        file = stack.enter_context(OutputFile(json_file)) if json_file is not None else None
        to_stderr = file is not None and file.is_stdout
        with progress() as say:
            found = compare_strategies(read_source(snapshot), strategies, order=order, blocks=blocks, say=say)
        print_table(Console(stderr=to_stderr, highlight=False), found)
        if figures:
            for line in figure_lines(found.figures()):
                click.echo(line, err=to_stderr)
        if file is not None:
            file.write(json_bytes(found.as_json()))
