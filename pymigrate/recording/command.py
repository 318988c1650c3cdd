"""`pymigrate import`: from a kernel's trace to a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pymigrate.gfp import GfpBits
from pymigrate.recording.importer import ImportResult, import_recording
from pymigrate.recording.live.tracefs import tracefs
from pymigrate.recording.trace import FORMATS

__all__ = ["import_"]


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[int, int], None] | None]:
    """A line with the events so far, on a terminal only; how long a compressed text is, only its end tells."""
    if not console.is_terminal:
        yield None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("events, {task.fields[mib]:.0f} MiB of text"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None, mib=0.0)
        yield lambda size, events: bar.update(task, completed=events, mib=size / (1 << 20))


def _count(value: int) -> str:
    return f"{value:,}"


def _event_table(result: ImportResult) -> Table:
    table = Table(title="Events", title_justify="left")
    table.add_column("event")
    table.add_column("count", justify="right")
    for name, count in sorted(result.recording.events.counts().items(), key=lambda item: -item[1]):
        table.add_row(name, _count(count))
    for name, count in sorted(result.parse.others.items(), key=lambda item: -item[1]):
        table.add_row(f"{name} (not used)", _count(count), style="dim")
    return table


def _resolve_table(result: ImportResult) -> Table:
    table = Table(title="Allocations of the alloc and free events", title_justify="left")
    table.add_column("how found")
    table.add_column("events", justify="right")
    unresolved = result.resolve.unresolved
    for name, count in result.resolve.counts.items():
        if count:
            table.add_row(name, _count(count), style="yellow" if name in unresolved else None)
    table.add_section()
    table.add_row("unresolved, share", f"{result.resolve.unresolved_share:.6f}")
    return table


def _notes(result: ImportResult) -> Iterator[str]:
    """What a reader must know of the source before he trusts the recording."""
    parse = result.parse
    if parse.skipped:
        yield f"{_count(parse.skipped)} damaged lines were skipped"
        for problem in parse.problems:
            yield f"  line {problem.line}, byte {problem.column}: {problem.reason}"
    if parse.lost_events:
        yield f"the tracer lost {_count(parse.lost_events)} events, first said in line {parse.first_lost_line}"
    if result.samples_skipped:
        yield f"{_count(result.samples_skipped)} damaged samples were skipped"
    if parse.no_final_newline and not parse.truncated:
        yield "the last line has no newline: the text may have been cut"
    if parse.unsorted:
        yield f"{_count(parse.unsorted)} events were out of order of time, and sorted"
    if parse.unknown_gfp:
        yield f"{_count(parse.unknown_gfp)} events have gfp flags that are not known"
    if parse.undecoded_ptes:
        yield f"{_count(parse.undecoded_ptes)} migration events have no frame number"
    if not len(result.recording.frame_flags):
        yield "no snapshot of the frames: memory starts empty"


def _summary(console: Console, result: ImportResult, output: Path) -> None:
    recording = result.recording
    console.print(_event_table(result))
    console.print(_resolve_table(result))
    for note in _notes(result):
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False)
    console.print(
        f"{output}: {len(recording.events):,} events in {recording.seconds:.3f} s on {recording.cpus} CPUs, "
        f"{len(recording.frame_flags):,} frames, {len(recording.samples)} samples, {output.stat().st_size:,} bytes; "
        f"imported in {result.total_seconds:.1f} s",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _figures(result: ImportResult) -> None:
    click.echo(f"figure import.events_per_second {result.events_per_second:.0f} 1/s")
    click.echo(f"figure import.skipped {result.parse.skipped} events")
    click.echo(f"figure unresolved.share {result.resolve.unresolved_share:.6g} share")
    for cause, count in result.resolve.unresolved.items():
        click.echo(f"figure unresolved.{cause} {count} events")


def _gfp_bits(ctx: click.Context, param: click.Parameter, value: str | None) -> GfpBits | None:
    if value is None:
        return None
    try:
        if value == "running":
            with tracefs() as root:
                return GfpBits.of_format((root / "events/kmem/mm_page_alloc/format").read_bytes())
        if Path(value).is_file():
            return GfpBits.of_format(Path(value).read_bytes())
        return GfpBits.of_version(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


_FILE = click.Path(exists=True, path_type=Path)


@click.command("import")
@click.argument("source", type=_FILE)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The recording to write (.npz).",
)
@click.option("--snapshot", type=_FILE, help="A folder with the state of the frames at the start.")
@click.option("--samples", type=_FILE, help="A file of samples of the kernel's counters (samples.jsonl).")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="auto", show_default=True, help="What wrote the text."
)
@click.option(
    "--lenient", is_flag=True, help="Count damaged lines and pass over them, instead of stopping at the first."
)
@click.option(
    "--from",
    "from_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Leave out events before this, counted from the first.",
)
@click.option(
    "--until",
    "until_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Leave out events after this, counted from the first.",
)
@click.option(
    "--compression",
    type=click.Choice(["deflate", "lzma"]),
    default="deflate",
    show_default=True,
    help="lzma is smaller and slower.",
)
@click.option(
    "--gfp",
    "gfp_bits",
    callback=_gfp_bits,
    metavar="KERNEL",
    help="What hexadecimal gfp flags in a text mean: those of a kernel's version (5.15), of the running kernel "
    "(running), or of a format file of an event (its path). [default: 6.x]",
)
@click.option("--figures", is_flag=True, help="Print a line for each figure: figure NAME VALUE UNIT.")
def import_(
    source: Path,
    output: Path,
    snapshot: Path | None,
    samples: Path | None,
    form: str,
    lenient: bool,
    from_s: float | None,
    until_s: float | None,
    compression: str,
    gfp_bits: GfpBits | None,
    figures: bool,
) -> None:
    """Turn a kernel's trace into a recording.

    SOURCE is a folder with a source of events and, beside it, start/, end/, samples.jsonl and meta.json; or a source
    of events alone. What it is follows from its content: the text of perf script, trace-cmd report, ftrace or
    page_owner (plain, gzip or zstd), trace.dat, perf.data, the JSON of plot-fragmentation's tracker, or a folder of
    ring-buffer pages as pymigrate record leaves it when it is killed.
    """
    if until_s is not None and from_s is not None and until_s < from_s:
        raise click.BadParameter("is before --from", param_hint="--until")
    with _progress(Console(stderr=True)) as progress:
        result = import_recording(
            source,
            snapshot=snapshot,
            samples=samples,
            form=form,
            lenient=lenient,
            from_s=from_s,
            until_s=until_s,
            gfp_bits=gfp_bits,
            progress=progress,
        )
    result.recording.save(output, compression=compression)
    _summary(Console(), result, output)
    if figures:
        _figures(result)
