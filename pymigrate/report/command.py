"""`pymigrate replay` and `pymigrate compare`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from pymigrate.cli import EXIT_INTERRUPTED
from pymigrate.errors import PymigrateError
from pymigrate.recording import Recording, sample_path
from pymigrate.replaying import Policy, Probe, ReplayResult
from pymigrate.replaying import replay as replay_recording
from pymigrate.replaying.policy import KEYS
from pymigrate.replaying.probe import MOST_ORDER, PROBE_STRATEGIES
from pymigrate.report.files import OutputFile
from pymigrate.report.tables import compare_figures, figure_lines, print_comparison, print_replay

__all__ = ["compare", "replay"]

PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
MAP_BINS = 400

Report = Callable[[str, int, int], None]


class _Watch:
    """A progress bar on stderr, on a terminal only; a bar for each mode."""

    def __init__(self, bar: Progress | None) -> None:
        self.bar = bar
        self.tasks: dict[str, TaskID] = {}

    def say(self, text: str) -> None:
        """Says what goes on before events are played."""
        if self.bar is not None and text not in self.tasks:
            self.tasks[text] = self.bar.add_task(text, total=None)

    def done(self, text: str) -> None:
        if self.bar is not None and text in self.tasks:
            self.bar.remove_task(self.tasks.pop(text))

    def report(self, prefix: str = "") -> Report | None:
        """What `replay` calls while it plays."""
        bar = self.bar
        if bar is None:
            return None

        def played(mode: str, done: int, total: int) -> None:
            name = f"{prefix}{mode}"
            if name not in self.tasks:
                self.tasks[name] = bar.add_task(name, total=total)
            bar.update(self.tasks[name], completed=done)

        return played


@contextmanager
def _watch() -> Iterator[_Watch]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Watch(None)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("events"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Watch(bar)


# ---- options ----


def _policy(words: Sequence[str], option: str) -> Policy:
    try:
        return Policy.from_words(list(words))
    except PymigrateError as error:
        raise PymigrateError(f"{option}: {error}") from error


def _finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter("is not a number of seconds", ctx, param)
    return value


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s)", value)
    seconds = float(match[1]) * (1e-3 if match[2] == "ms" else 1.0) if match else 0.0
    if not 0.001 <= seconds <= 3600:
        raise click.BadParameter(f"{value!r} is no time such as 100ms or 1s, from 1ms to 3600s", ctx, param)
    return seconds


def _picture_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and Path(value).suffix.lower() not in PICTURE_SUFFIXES:
        raise click.BadParameter(f"{value!r} does not end in {', '.join(PICTURE_SUFFIXES)}", ctx, param)
    return value


def _split_words(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[str]:
    return [word.strip() for value in values for word in value.split(",") if word.strip()]


def _load(name: str | None) -> tuple[Recording, str]:
    path = sample_path() if name is None else Path(name)
    if name is None and not path.exists():
        raise PymigrateError(f"this build ships no sample recording ({path}): name one, or make one: pymigrate import")
    return Recording.load(path), path.name


def _json_bytes(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


_KEYS_HELP = "Keys: " + "; ".join(f"{key}: {text}" for key, (_, _, text) in KEYS.items()) + "."
_recording = click.argument("recording", required=False, metavar="[REC]")
_until = click.option(
    "--until",
    type=click.FloatRange(min=0),
    callback=_finite,
    metavar="SECONDS",
    help="Stop so long after the first event.",
)
_json = click.option("--json", "json_file", metavar="FILE", help="Write the results as JSON (-: to the output).")
_plot = click.option(
    "--plot", metavar="FILE", callback=_picture_name, help="Draw the picture (.png, .svg or .pdf; needs matplotlib)."
)
_figures = click.option("--figures", is_flag=True, help="Print a line for each figure: figure NAME VALUE UNIT.")


# ---- commands ----


class _Outputs:
    """The files that a command was asked for, opened before the work begins."""

    def __init__(self, stack: ExitStack, json_file: str | None, plot: str | None) -> None:
        if plot is not None:
            # Named before an hour of replay rather than after it.
            import matplotlib.figure  # noqa: F401
        self.json = stack.enter_context(OutputFile(json_file)) if json_file is not None else None
        self.plot = stack.enter_context(OutputFile(plot)) if plot is not None else None
        json_to_stdout = self.json is not None and self.json.is_stdout
        self.console = Console(stderr=json_to_stdout, highlight=False)
        self.to_stderr = json_to_stdout

    def line(self, text: str) -> None:
        """A line that nothing wraps or colours."""
        click.echo(text, err=self.to_stderr)

    def picture_format(self) -> str:
        assert self.plot is not None
        return Path(self.plot.path).suffix.lower().removeprefix(".")


def _interrupted(ctx: click.Context, out: _Outputs) -> None:
    kept = [file.path for file in (out.json, out.plot) if file is not None]
    what = f"; not written: {', '.join(kept)}" if kept else ""
    click.echo(f"pymigrate: interrupted: the results cover what was played{what}", err=True)
    ctx.exit(EXIT_INTERRUPTED)


@click.command("replay", epilog=_KEYS_HELP)
@_recording
@click.option(
    "--mode",
    type=click.Choice(["simulate", "reconstruct", "both"]),
    default="both",
    show_default=True,
    help="simulate: our policy places everything; reconstruct: every event moves the frames that it names.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting (may be repeated).")
@click.option(
    "--compaction",
    type=click.Choice(list(PROBE_STRATEGIES)),
    help="Ask the simulation at intervals whether a large block is there; where none is, make one so (or not).",
)
@click.option(
    "--probe-order", type=click.IntRange(1, MOST_ORDER), help="Order of that block; 9 unless given: a huge page."
)
@click.option(
    "--probe-every", metavar="TIME", callback=_seconds, help="Recorded time between two probes; 100ms unless given."
)
@_until
@_json
@_plot
@_figures
@click.pass_context
def replay(
    ctx: click.Context,
    recording: str | None,
    mode: str,
    settings: tuple[str, ...],
    compaction: str | None,
    probe_order: int | None,
    probe_every: float | None,
    until: float | None,
    json_file: str | None,
    plot: str | None,
    figures: bool,
) -> None:
    """Replay a recording and score it against the kernel's own counters.

    Without REC, the sample recording that ships in the package.
    """
    policy = _policy(settings, "--set")
    probe = None
    if (compaction, probe_order, probe_every) != (None, None, None):
        probe = Probe(strategy=compaction or "none", order=probe_order or 9, every=probe_every or 0.1)
        if mode == "reconstruct":
            raise click.UsageError("--compaction and --probe-... ask a simulation: not with --mode reconstruct", ctx)
    with ExitStack() as stack:
        out = _Outputs(stack, json_file, plot)
        with _watch() as watch:
            watch.say("reading")
            loaded, name = _load(recording)
            watch.done("reading")
            result = replay_recording(
                loaded,
                policy=policy,
                mode=mode,  # type: ignore[arg-type]
                until=until,
                map_bins=min(MAP_BINS, loaded.pfn_end) if plot is not None else 0,
                progress=watch.report(),
                name=name,
                probe=probe,
            )
        print_replay(out.console, loaded, result)
        if figures:
            for line in figure_lines(result.figures()):
                out.line(line)
        if result.stopped:
            _interrupted(ctx, out)
        if out.json is not None:
            out.json.write(_json_bytes(result.as_json()))
        if out.plot is not None:
            from pymigrate.report.pictures import draw_replay

            out.plot.write(draw_replay(loaded, result, out.picture_format()))


@click.command("compare", epilog=_KEYS_HELP)
@_recording
@click.option(
    "--a",
    "a_words",
    multiple=True,
    callback=_split_words,
    metavar="KEY=VALUE[,…]",
    help="The first settings; none: as recorded.",
)
@click.option("--b", "b_words", multiple=True, callback=_split_words, metavar="KEY=VALUE[,…]", help="The other ones.")
@_until
@_json
@_plot
@_figures
@click.pass_context
def compare(
    ctx: click.Context,
    recording: str | None,
    a_words: list[str],
    b_words: list[str],
    until: float | None,
    json_file: str | None,
    plot: str | None,
    figures: bool,
) -> None:
    """Replay a recording under two settings, side by side.

    Both are simulations: the recording says who asks and who frees. Without REC, the sample that ships in the package.
    """
    if not a_words and not b_words:
        raise click.UsageError("give --a, --b, or both: what is to differ?", ctx)
    policies = {"a": _policy(a_words, "--a"), "b": _policy(b_words, "--b")}
    with ExitStack() as stack:
        out = _Outputs(stack, json_file, plot)
        results: dict[str, ReplayResult] = {}
        with _watch() as watch:
            watch.say("reading")
            loaded, name = _load(recording)
            watch.done("reading")
            for which, policy in policies.items():
                results[which] = replay_recording(
                    loaded,
                    policy=policy,
                    mode="simulate",
                    until=until,
                    map_bins=min(MAP_BINS, loaded.pfn_end) if plot is not None else 0,
                    progress=watch.report(f"{which}: "),
                    name=name,
                )
                if results[which].stopped:
                    break
        if any(result.stopped for result in results.values()):
            # Two settings that were not played equally far cannot be compared.
            print_replay(out.console, loaded, results[max(results)])
            _interrupted(ctx, out)
        print_comparison(out.console, loaded, results["a"], results["b"])
        if figures:
            for which, result in results.items():
                found = result.figures()
                for mode_name, played in result.modes.items():
                    found |= {f"{mode_name}.{key}": value for key, value in compare_figures(played).items()}
                for line in figure_lines({f"{which}.{key}": value for key, value in found.items()}):
                    out.line(line)
        if out.json is not None:
            out.json.write(_json_bytes({which: result.as_json() for which, result in results.items()}))
        if out.plot is not None:
            from pymigrate.report.pictures import draw_comparison

            out.plot.write(draw_comparison(loaded, results["a"], results["b"], out.picture_format()))
