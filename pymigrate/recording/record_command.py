"""`pymigrate record`: records this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console

from pymigrate.recording.live import DEFAULT_EVENTS, RecordError, RecordOptions, RecordResult, record
from pymigrate.recording.live.commands import other_ways, short_way
from pymigrate.recording.live.tracefs import NEEDED_EVENTS

__all__ = ["record_"]

_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_TIMES = {"ms": 1e-3, "s": 1.0, "": 1.0}


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,12})([KMGT]?)i?B?", value)
    if match is None or int(match[1]) == 0:
        raise click.BadParameter(f"{value!r} is no size such as 500M or 2G", ctx, param)
    return int(match[1]) * _SIZES[match[2]]


def _seconds(ctx: click.Context, param: click.Parameter, value: str) -> float:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|)", value)
    seconds = float(match[1]) * _TIMES[match[2]] if match else 0.0
    if not 0.001 <= seconds <= 3600:
        raise click.BadParameter(f"{value!r} is no time such as 100ms or 1s, from 1ms to 3600s", ctx, param)
    return seconds


def _events(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    chosen: set[str] = set(NEEDED_EVENTS)
    for word in filter(None, re.split(r"[,\s]+", value)):
        found = [event for event in DEFAULT_EVENTS if word == "all" or _matches(event, word.replace(":", "/"))]
        if not found:
            systems = ", ".join(dict.fromkeys(event.partition("/")[0] for event in DEFAULT_EVENTS))
            raise click.BadParameter(f"{word!r}: there are the systems {systems} and their events", ctx, param)
        chosen.update(found)
    return tuple(event for event in DEFAULT_EVENTS if event in chosen)


def _matches(event: str, word: str) -> bool:
    system, _, name = event.partition("/")
    return word in (event, system, name)


def _notes(result: RecordResult) -> Iterator[str]:
    """What a reader must know of the recording before he trusts it."""
    if result.lost:
        yield f"{result.lost:,} events were lost: the ring buffers were full (--buffer-size makes them larger)"
    if result.stopped:
        yield f"it ended before the command did: {result.stopped}"
    parse = result.imported.parse
    if parse.unknown_gfp:
        yield f"{parse.unknown_gfp:,} events have gfp flags that are not known"
    if not len(result.imported.recording.frame_flags):
        yield "no snapshot of the frames: memory starts empty in a replay"


def _summary(result: RecordResult, output: Path, *, figures: bool) -> None:
    recording = result.imported.recording
    console = Console(stderr=True)
    for note in _notes(result):
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{output}: {len(recording.events):,} events in {result.seconds:.1f} s on {recording.cpus} CPUs, "
        f"{len(recording.frame_flags):,} frames, {len(recording.samples)} samples, {output.stat().st_size:,} bytes",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    click.echo(f"figure lost {result.lost} events", err=not figures)
    if figures:
        click.echo(f"figure record.events {len(recording.events)} events")
        click.echo(f"figure record.seconds {result.seconds:.3f} s")
        click.echo(f"figure record.page_bytes {result.bytes} bytes")
        click.echo(f"figure record.file_bytes {output.stat().st_size} bytes")
        click.echo(f"figure decode.events_per_second {result.imported.events_per_second:.0f} 1/s")
        click.echo(f"figure unresolved.share {result.imported.resolve.unresolved_share:.6g} share")


@click.command(
    "record",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
    epilog="Events: " + ", ".join(event.partition("/")[2] for event in DEFAULT_EVENTS) + ".",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND...]")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="rec.npz",
    show_default=True,
    help="The recording to write.",
)
@click.option(
    "--events",
    callback=_events,
    metavar="LIST",
    default="all",
    show_default=True,
    help="Systems or events, separated by commas. mm_page_alloc and mm_page_free are always recorded.",
)
@click.option(
    "--sample-every",
    "sample_every_s",
    callback=_seconds,
    metavar="TIME",
    default="100ms",
    show_default=True,
    help="How often the kernel's own counters are read.",
)
@click.option(
    "--max-size",
    "max_bytes",
    callback=_size,
    metavar="SIZE",
    help="End the recording when it has taken so many bytes of trace; making it takes four times that of memory.  "
    "[default: 1G, at most an eighth of the available memory]",
)
@click.option(
    "--buffer-size",
    "buffer_bytes",
    callback=_size,
    metavar="SIZE",
    help="Ring buffer of each CPU.  [default: up to 16M]",
)
@click.option(
    "--no-snapshot", "snapshot", flag_value=False, default=True, help="Do not read the frames at start and end."
)
@click.option(
    "--with-names", is_flag=True, help="Keep thread ids, their names and the command; without it they are left out."
)
@click.option(
    "--exact",
    is_flag=True,
    help="Walk the kernel's own lists at the start, by BPF; needs clang and libbpf. Inferred where that cannot be.",
)
@click.option("--print-commands", is_flag=True, help="Print how to record the same with perf or trace-cmd, and end.")
@click.option("--figures", is_flag=True, help="Print a line for each figure: figure NAME VALUE UNIT.")
def record_(
    words: tuple[str, ...],
    output: Path,
    events: tuple[str, ...],
    sample_every_s: float,
    max_bytes: int | None,
    buffer_bytes: int | None,
    snapshot: bool,
    with_names: bool,
    exact: bool,
    print_commands: bool,
    figures: bool,
) -> int:
    """Record this machine while COMMAND runs, or until Ctrl-C. Needs root.

    Tracing happens in an instance of its own and is put back on any exit. The exit code is that of COMMAND.
    """
    if print_commands:
        click.echo(other_ways(events, words), nl=False)
        return 0
    options = RecordOptions(
        events=events,
        sample_every_s=sample_every_s,
        max_bytes=max_bytes or 0,
        buffer_kib=0 if buffer_bytes is None else max(64, buffer_bytes >> 10),
        with_names=with_names,
        snapshot=snapshot,
        exact=exact,
    )
    if not words:
        click.echo("recording until Ctrl-C", err=True)
    try:
        result = record(words, output, options=options, say=lambda text: click.echo(f"pymigrate: {text}", err=True))
    except RecordError:
        click.echo(f"pymigrate: with other tools, as root on the machine in question:\n{short_way(words)}", err=True)
        click.echo("pymigrate: with frames and samples, too: pymigrate record --print-commands", err=True)
        raise
    _summary(result, output, figures=figures)
    return result.exit_code
