"""`pymigrate calibrate`: what a strategy's elementary work costs on this machine."""

from __future__ import annotations

import dataclasses

import click

from pymigrate.costs import costs_text, default_path, measure
from pymigrate.errors import PymigrateError
from pymigrate.report.files import OutputFile

__all__ = ["calibrate"]

_SAYS = {
    "copy_ns": "a page copied",
    "page_ns": "a page moved, all but copy, flush and locks",
    "scan_ns": "a frame looked at",
    "flush_ns": "a TLB flush",
    "lock_ns": "a lock taken and given back",
}


@click.command("calibrate")
@click.option("-o", "--output", metavar="FILE", help="Where to keep them; - for the output. Default: the user's cache.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=9, show_default=True, help="Of each measure.")
@click.option("--figures", is_flag=True, help="Print a line for each figure: figure NAME VALUE UNIT.")
def calibrate(output: str | None, rounds: int, figures: bool) -> None:
    """Measure what elementary work costs on this machine, and keep it.

    Strategies of defragmentation differ in how much they copy, look at, flush and lock. With these constants their
    work is priced in nanoseconds: pymigrate compact --costs FILE, or pymigrate.costs in Python.
    """
    path = output or str(default_path())
    if output is None:
        try:
            default_path().parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PymigrateError(f"cannot make {error.filename}: {error.strerror}") from error
    with OutputFile(path) as file:
        costs = measure(rounds=rounds)
        file.write(costs_text(costs).encode())
    # Where the file is the output, nothing may stand beside it.
    if not file.is_stdout:
        for name, value in dataclasses.asdict(costs).items():
            click.echo(f"{value:12,.1f} ns  {_SAYS[name]}")
        click.echo(f"kept in {path}")
    if figures:
        for name, value in dataclasses.asdict(costs).items():
            click.echo(f"figure calibrate.{name.removesuffix('_ns')} {value:.4g} ns", err=file.is_stdout)
