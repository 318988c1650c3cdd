"""`pymigrate fidelity`: how close the replays come, and where the rest comes from."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import click
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from pymigrate.errors import PymigrateError
from pymigrate.recording import Recording, sample_path
from pymigrate.replaying.fidelity import MECHANISMS, Fidelity
from pymigrate.replaying.fidelity import fidelity as ask
from pymigrate.replaying.result import TYPE_NAMES
from pymigrate.report.files import OutputFile
from pymigrate.report.tables import figure_lines

__all__ = ["fidelity", "print_fidelity"]

# The scores of the table: name of the figure, head of the column.
COLUMNS = (
    ("free.error.mean", "free"),
    ("free.error.worst", "worst"),
    ("unusable4.error.mean", "unus. 4"),
    ("unusable9.error.mean", "unus. 9"),
    ("blocks9.error.mean", ">= 9"),
    ("fallback.ours", "fallb."),
)


def _short(value: float, unit: str) -> str:
    return f"{value:.0f}" if unit == "events" else f"{value:.1e}" if value else "0"


def _scores(table: Table, label: str, figures: dict[str, tuple[float, str]]) -> None:
    table.add_row(label, *(_short(*figures[name]) if name in figures else "" for name, _ in COLUMNS))


def _fallbacks(found: Fidelity) -> Table:
    """Fallbacks by type pair: the kernel's, and the simulation's."""
    ours = found.modes["simulate"]
    parts = (*found.kernel_splits, ours.claims, ours.steals)
    table = Table(box=box.SIMPLE, title="fallbacks", title_justify="left")
    table.add_column("requested from block of")
    for head in ("kernel CLAIM", "STEAL", "ours CLAIM", "STEAL"):
        table.add_column(head, justify="right")
    for wanted, given in np.argwhere(np.sum(parts, axis=0)).tolist():
        label = f"{TYPE_NAMES[wanted]} from {TYPE_NAMES[given]}"
        table.add_row(label, *(str(int(part[wanted, given])) for part in parts))
    table.add_row("in all", *(str(int(part.sum())) for part in parts))
    return table


def print_fidelity(console: Console, found: Fidelity) -> None:
    """The scores of both replays, of the simulation without each mechanism, and the causes of first divergences."""
    table = Table(box=box.SIMPLE, title=f"fidelity of {found.name}", title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("replay, and without (-)", no_wrap=True)
    for _, head in COLUMNS:
        table.add_column(head, justify="right", no_wrap=True)
    for mode, result in found.modes.items():
        _scores(table, mode, result.figures())
    for mechanism, result in found.without.items():
        _scores(table, f"- {MECHANISMS[mechanism][0]}", result.figures())
    console.print(table)
    console.print(_fallbacks(found))
    if (same := found.modes["reconstruct"].figures().get("same_frame.share")) is not None:
        console.print(f"One step at a time, our policy gives the kernel's very frame in {same[0]:.2%} of the cases.")
    if found.divergence is None:
        return
    causes = Table(box=box.SIMPLE, title="first divergence of each pageblock", title_justify="left")
    causes.add_column("what the kernel did there first in the stretch")
    causes.add_column("pageblocks", justify="right")
    for cause, count in found.divergence.by_cause().items():
        causes.add_row(cause, str(count))
    causes.add_row("never differs", str(found.divergence.pageblocks - len(found.divergence.pageblock)))
    console.print(causes)


def _split_names(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[str] | None:
    """Mechanisms by their settings, as the figures name them; None: all."""
    by_setting = {key: name for name, (key, _) in MECHANISMS.items()}
    for value in values:
        if value not in by_setting and value != "none":
            raise click.BadParameter(f"{value!r} is none of {', '.join(by_setting)}, none", ctx, param)
    return [by_setting[value] for value in values if value != "none"] if values else None


@click.command("fidelity")
@click.argument("recordings", nargs=-1, metavar="[REC…]")
@click.option(
    "--without",
    multiple=True,
    callback=_split_names,
    metavar="SETTING",
    help="Leave out only this mechanism (may be repeated; none: none). Default: each in turn.",
)
@click.option("--divergence/--no-divergence", default=True, show_default=True, help="Look at each pageblock.")
@click.option("--json", "json_file", metavar="FILE", help="Write the results as JSON (-: to the output).")
@click.option("--figures", is_flag=True, help="Print a line for each figure: figure RECORDING.NAME VALUE UNIT.")
def fidelity(
    recordings: tuple[str, ...], without: list[str] | None, divergence: bool, json_file: str | None, figures: bool
) -> None:
    """How close the replays of recordings come to the kernel, and which mechanism the rest comes from.

    The simulation is repeated with one mechanism left out, for each in turn; and it is played beside the
    reconstruction, to find what the kernel did where each pageblock first differs. Without REC, the sample recording.
    """
    if not recordings and not sample_path().exists():
        raise PymigrateError("this build ships no sample recording: name one, or make one: pymigrate import")
    names = [Path(name) for name in recordings] or [sample_path()]
    with ExitStack() as stack:
        out = stack.enter_context(OutputFile(json_file)) if json_file is not None else None
        to_stderr = out is not None and out.is_stdout
        console = Console(stderr=to_stderr, highlight=False)
        progress = Console(stderr=True)
        results: list[Fidelity] = []
        for path in names:
            with progress.status(f"{path.name}: reading") as status:
                found = ask(
                    Recording.load(path),
                    name=path.stem,
                    without=without,
                    diverge=divergence,
                    tell=lambda text, path=path: status.update(f"{path.name}: {text}"),  # type: ignore[misc]
                )
            results.append(found)
            print_fidelity(console, found)
            if figures:
                for line in figure_lines({f"{found.name}.{key}": value for key, value in found.figures().items()}):
                    click.echo(line, err=to_stderr)
        if out is not None:
            text = json.dumps([found.as_json() for found in results], indent=1, allow_nan=False) + "\n"
            out.write(text.encode())
