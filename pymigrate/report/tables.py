"""Tables on a terminal: what a recording is, what its replay did, and how far that is from the kernel's counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pymigrate._core import lib
from pymigrate.recording import Recording
from pymigrate.replaying import ModeResult, ReplayResult
from pymigrate.replaying.result import TYPE_NAMES

__all__ = ["compare_figures", "figure_lines", "figure_text", "print_comparison", "print_replay"]

Floats = NDArray[np.float64]

PAGE_BYTES: int = lib.PM_PAGE_SIZE
FRAMES_PER_MIB = (1 << 20) // PAGE_BYTES

TIMES = 10
SPARK_WIDTH = 29
# So that two quantities of three columns fit into 80.
SHORT = {"reconstruct": "recon."}
SPARKS = "▁▂▃▄▅▆▇█"
# From here on, two tables stand side by side.
WIDE_COLUMNS = 116

# What an end user reads for a name in `ModeResult.counts`, in the order of the table.
COUNT_LABELS = {
    "allocated": "requests served with a block",
    "scattered": "requests served in single frames, for want of a block",
    "freed": "frees",
    "ignored": "events that neither ask nor free",
    "forced": "blocks from the reserves of urgent requests",
    "split": "blocks split because they were freed in pieces",
    "captured": "blocks emptied for a request, as compaction did",
    "decays": "times that idle per-CPU lists shrank",
    "decays_skipped": "timers that drained nothing, and cannot have run",
    "moved": "blocks that recorded compaction moved",
    "not_moved": "recorded moves that could not be made here",
    "no_target": "blocks that found no room to move to",
    "isolated": "frames that compaction held",
    "returned": "of them, given back unused",
    "targets_elsewhere": "blocks moved to where no recorded scan looked",
    "compaction_drains": "times that compaction drained per-CPU lists",
    "highatomic_reserved": "pageblocks reserved for HIGHATOMIC",
    "frames_compared": "frames taken from the free lists",
    "same_frame": "of them, where our policy takes the same",
    "given_compared": "frames taken that had come back since the start",
    "same_frame_given": "of them, where our policy takes the same",
}
FAILURE_LABELS = {"failed": "ours, where the kernel served", "kernel_failed": "the kernel's"}
CAUSE_LABELS = {
    "unresolved": "frees without a known allocation",
    "refused": "of them, frees of what we do not hold",
}
START_LABELS = {
    "walked": "blocks as the kernel's own lists had them",
    "pcp_known": "frames in per-CPU lists that events name",
    "pcp_filled": "  guessed, to reach the counts of zoneinfo",
    "pcp_surplus": "  beyond the counts of zoneinfo",
    "pageblocks_known": "pageblock types that events name",
    "pageblocks_guessed": "  not Movable, guessed from what is in them",
}
SCORE_LABELS = (
    ("free.error.mean", "free frames, relative error, mean"),
    ("free.error.worst", "free frames, relative error, worst sample"),
    ("unusable4.error.mean", "unusable index, order 4, difference, mean"),
    ("unusable9.error.mean", "unusable index, order 9, difference, mean"),
    ("blocks9.error.mean", "free blocks of order >= 9, relative error, mean"),
    ("fallback.ours", "fallbacks, ours"),
    ("fallback.kernel", "fallbacks, the kernel's"),
    ("same_frame.share", "the very frame that the kernel took"),
    ("same_frame.given.share", "the same, of frames given back since the start"),
    ("unresolved.share", "events not explained"),
    ("events_per_second", "events per second"),
)


# ---- numbers ----


def percent(value: float) -> str:
    """A share for people: three digits that count.

    Example:
        >>> percent(0.002514), percent(0.0), percent(1e-5)
        ('0.251 %', '0 %', '0.001 %')
    """
    return f"{value * 100:.3g} %"


def for_people(value: float, unit: str) -> str:
    """A figure as a table shows it.

    Example:
        >>> for_people(0.0025, "share"), for_people(12345.0, "events"), for_people(0.00123456, "index")
        ('0.25 %', '12,345', '0.00123')
    """
    if unit == "share":
        return percent(value)
    if unit == "index":
        return f"{value:.3g}"
    return f"{value:,.1f}" if unit == "MiB" else f"{value:,.0f}"


def figure_text(value: float, unit: str) -> str:
    """A figure as a script reads it: counts whole, the rest with six digits that count.

    Example:
        >>> figure_text(13418134.4, "1/s"), figure_text(0.00251399123, "share")
        ('13418134', '0.00251399')
    """
    return f"{value:.0f}" if unit in ("events", "1/s", "frames", "probes") else f"{value:.6g}"


def figure_lines(figures: dict[str, tuple[float, str]]) -> Iterator[str]:
    """Lines ``figure NAME VALUE UNIT``.

    Example:
        >>> list(figure_lines({"simulate.fallback.ours": (5.0, "events")}))
        ['figure simulate.fallback.ours 5 events']
    """
    for name, (value, unit) in figures.items():
        yield f"figure {name} {figure_text(value, unit)} {unit}"


def memory_text(frames: int) -> str:
    """An amount of memory for people.

    Example:
        >>> memory_text(1 << 18), memory_text(3840)
        ('1.0 GiB', '15.0 MiB')
    """
    size = frames * PAGE_BYTES
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.1f} MiB"


def sparkline(values: Floats, low: float, high: float, width: int = SPARK_WIDTH) -> str:
    """Values as a row of bars between two bounds: the mean of each part.

    Example:
        >>> import numpy as np
        >>> sparkline(np.array([0.0, 1.0, 2.0, 7.0]), 0.0, 7.0)
        '▁▂▃█'
    """
    parts = np.array([part.mean() for part in np.array_split(values, min(width, len(values))) if len(part)])
    if not len(parts):
        return ""
    span = high - low
    steps = np.zeros(len(parts)) if span <= 0 else (parts - low) / span * (len(SPARKS) - 1)
    return "".join(SPARKS[round(step)] for step in np.clip(steps, 0, len(SPARKS) - 1))


# ---- parts ----


def _table(title: str, columns: Sequence[tuple[str, Literal["left", "right"]]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False)
    for name, justify in columns:
        table.add_column(name, justify=justify, no_wrap=justify == "right")
    return table


def _mode_table(title: str, label: str, modes: Iterable[str]) -> Table:
    return _table(title, [(label, "left"), *((mode, "right") for mode in modes)])


def _facts(recording: Recording, result: ReplayResult) -> Table:
    host = recording.host
    managed = {info.name: info.managed for info in recording.zoneinfo}
    zones = ", ".join(f"{zone.name} {memory_text(managed.get(zone.name, zone.spanned))}" for zone in recording.zones)
    sampled = f"{len(recording.samples):,} samples of the kernel's counters"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    rows = {
        "recording": result.name or "(without a name)",
        "kernel": f"{host.get('kernel', 'unknown')} {host.get('machine', '')}".strip(),
        "memory": zones or "none",
        "CPUs": str(recording.cpus),
        "length": f"{recording.seconds:,.3f} s, {len(recording.events):,} events, {sampled}",
    }
    if not len(recording.frame_flags):
        rows["start"] = "no snapshot of the frames: memory starts empty"
    parse = recording.stats.get("parse", {})
    gaps = {"lost by the tracer": parse.get("lost_events", 0), "damaged lines passed over": parse.get("skipped", 0)}
    if any(gaps.values()):
        rows["gaps"] = ", ".join(f"{count:,} {what}" for what, count in gaps.items() if count)
    if result.settings:
        rows["changed"] = ", ".join(f"{key}={value}" for key, value in result.settings.items())
    for key, value in rows.items():
        grid.add_row(key, Text(value))
    return grid


def _event_table(result: ReplayResult) -> Table:
    table = _table("Events recorded", [("event", "left"), ("count", "right")])
    for name, count in sorted(result.events_by_kind.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{count:,}")
    return table


def _is_cause(name: str) -> bool:
    return name in CAUSE_LABELS or name.startswith("unresolved")


def _label(name: str, labels: dict[str, str]) -> str:
    return labels.get(name, name.removeprefix("unresolved").strip("._").replace("_", " ").replace("-", " "))


def _count_table(title: str, names: Iterable[str], labels: dict[str, str], modes: dict[str, ModeResult]) -> Table:
    table = _mode_table(title, "", modes)
    for name in names:
        cells = [f"{mode.counts[name]:,}" if name in mode.counts else "-" for mode in modes.values()]
        table.add_row(_label(name, labels), *cells)
    return table


def _names(modes: dict[str, ModeResult], wanted: Callable[[str], bool], first: Iterable[str]) -> list[str]:
    """Names of counts that some mode has: those of `first` in their order, then the others."""
    found = [name for mode in modes.values() for name in mode.counts if wanted(name)]
    return [name for name in dict.fromkeys((*first, *found)) if name in found]


def _happened(modes: dict[str, ModeResult]) -> Table:
    names = _names(modes, lambda name: name not in FAILURE_LABELS and not _is_cause(name), COUNT_LABELS)
    table = _count_table("What was played", names, COUNT_LABELS, modes)
    table.add_section()
    table.add_row("events played", *(f"{mode.events:,}" for mode in modes.values()))
    return table


def _start(modes: dict[str, ModeResult]) -> Iterator[RenderableType]:
    names = dict.fromkeys(name for mode in modes.values() for name in mode.start)
    if not names:
        return
    table = _mode_table("How well the start is known", "", modes)
    for name in names:
        cells = [f"{mode.start[name]:,}" if name in mode.start else "-" for mode in modes.values()]
        table.add_row(_label(name, START_LABELS), *cells)
    yield table


def _failures(modes: dict[str, ModeResult]) -> Table:
    return _count_table("Allocation failures", _names(modes, FAILURE_LABELS.__contains__, ()), FAILURE_LABELS, modes)


def _unresolved(recording: Recording, modes: dict[str, ModeResult]) -> Iterator[RenderableType]:
    table = _count_table("Events not explained, by cause", _names(modes, _is_cause, CAUSE_LABELS), CAUSE_LABELS, modes)
    table.add_section()
    table.add_row("in all", *(f"{mode.unresolved:,}" for mode in modes.values()))
    yield table
    causes: dict[str, Any] = recording.stats.get("resolve", {}).get("unresolved", {})
    known = ", ".join(f"{name} {count:,}" for name, count in causes.items() if count)
    if known:
        yield Text(f"Allocs and frees that the import could not pair: {known}", style="dim")


def _pairs(*tables: NDArray[np.int64]) -> Iterator[tuple[int, int, str]]:
    """The type pairs that occur, most frequent first."""
    total = np.sum(tables, axis=0)
    for flat in np.argsort(-total, axis=None, kind="stable"):
        wanted, found = (int(at) for at in np.unravel_index(flat, total.shape))
        if total[wanted, found] == 0:
            return
        yield wanted, found, f"{TYPE_NAMES[wanted]} from {TYPE_NAMES[found]}"


def _fallbacks(modes: dict[str, ModeResult]) -> Table:
    columns: list[tuple[str, Literal["left", "right"]]] = [("requested from block of", "left"), ("kernel", "right")]
    for mode in modes:
        columns += [(f"{mode}\nCLAIM", "right"), ("\nSTEAL", "right")]
    table = _table("Fallbacks", columns)
    kernel = np.max([mode.kernel_fallbacks for mode in modes.values()], axis=0)
    ours = [part for mode in modes.values() for part in (mode.claims, mode.steals)]
    for wanted, found, label in _pairs(kernel, *ours):
        table.add_row(label, *(f"{int(part[wanted, found]):,}" for part in (kernel, *ours)))
    table.add_section()
    table.add_row("in all", *(f"{int(part.sum()):,}" for part in (kernel, *ours)))
    return table


# ---- over time ----

Series = Callable[[ModeResult], tuple[NDArray[Any], NDArray[Any]]]
QUANTITIES: tuple[tuple[str, str, Series], ...] = (
    ("free MiB", "MiB", lambda mode: _scaled(mode.free_frames())),
    ("blocks >= 9", "pageblocks", lambda mode: mode.large_blocks()),
    ("unusable 4", "index", lambda mode: mode.unusable(4)),
    ("unusable 9", "index", lambda mode: mode.unusable(9)),
)


def _scaled(pair: tuple[NDArray[Any], NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    return pair[0] / FRAMES_PER_MIB, pair[1] / FRAMES_PER_MIB


def _at_time(value: float, unit: str) -> str:
    return {"MiB": f"{value:,.1f}", "index": f"{value:.4f}"}.get(unit, f"{value:,.0f}")


def _times(modes: dict[str, ModeResult]) -> list[int]:
    """About ten moments of all that were sampled, evenly spaced, the first and the last among them."""
    every = np.unique(np.concatenate([mode.t_ns for mode in modes.values()]))
    picks = np.unique(np.linspace(0, len(every) - 1, min(TIMES, len(every))).round().astype(int))
    return [int(t) for t in every[picks]]


def _time_table(
    title: str, quantities: Sequence[tuple[str, str, Series]], modes: dict[str, ModeResult], origin_ns: int
) -> Table:
    columns: list[tuple[str, Literal["left", "right"]]] = [("\ns", "right")]
    for name, _, _ in quantities:
        columns += [(f"{name}\nkernel", "right"), *((f"\n{SHORT.get(mode, mode)}", "right") for mode in modes)]
    table = _table(title, columns)
    series = [(unit, [of(mode) for mode in modes.values()]) for _, unit, of in quantities]
    times = _times(modes)
    digits = 1 if times[-1] - times[0] >= 5e9 else 3
    for t in times:
        at = [int(np.searchsorted(mode.t_ns, np.uint64(t))) for mode in modes.values()]
        has = [i < len(mode.t_ns) and int(mode.t_ns[i]) == t for i, mode in zip(at, modes.values(), strict=True)]
        cells: list[str] = []
        for unit, pairs in series:
            ours = [_at_time(pair[0][i], unit) if known else "-" for pair, i, known in zip(pairs, at, has, strict=True)]
            known_at = has.index(True)
            cells += [_at_time(pairs[known_at][1][at[known_at]], unit), *ours]
        table.add_row(f"{(t - origin_ns) * 1e-9:.{digits}f}", *cells)
    return table


def _spark_table(modes: dict[str, ModeResult]) -> Table:
    table = _table(
        "Over time",
        [("", "left"), ("", "left"), ("lowest", "right"), ("highest", "right"), ("first to last sample", "left")],
    )
    for name, unit, of in QUANTITIES:
        pairs = {mode: of(result) for mode, result in modes.items()}
        rows = {"kernel": next(iter(pairs.values()))[1], **{mode: pair[0] for mode, pair in pairs.items()}}
        low = min(float(values.min()) for values in rows.values())
        high = max(float(values.max()) for values in rows.values())
        for number, (who, values) in enumerate(rows.items()):
            bounds = (_at_time(float(values.min()), unit), _at_time(float(values.max()), unit))
            bars = sparkline(values.astype(np.float64), low, high)
            table.add_row("" if number else name, who, *bounds, bars, end_section=number == len(rows) - 1)
    return table


def _over_time(console: Console, recording: Recording, modes: dict[str, ModeResult]) -> Iterator[RenderableType]:
    sampled = {name: mode for name, mode in modes.items() if len(mode.t_ns)}
    if not sampled:
        yield Text("No samples of the kernel's counters in the replayed time: nothing to compare.", style="yellow")
        return
    origin = int(recording.events.time_ns[0]) if len(recording.events) else 0
    first = _time_table("Free memory, beside the kernel's", QUANTITIES[:2], sampled, origin)
    second = _time_table("Unusable free space index (0..1)", QUANTITIES[2:], sampled, origin)
    if console.width >= WIDE_COLUMNS + 20 * (len(sampled) - 1):
        yield Columns([first, second], padding=(0, 4))
    else:
        yield first
        yield second
    if not console.options.ascii_only:
        yield _spark_table(sampled)


def _probes(recording: Recording, modes: dict[str, ModeResult]) -> Iterator[RenderableType]:
    """How often a probe found a block, in ten equal parts of its time, and what it cost to make one."""
    for mode in modes.values():
        if mode.probe is None:
            continue
        asked = mode.probe.probe
        title = f"Was a block of order {asked.order} there? Made by: {asked.strategy}"
        table = _table(title, [("to second", "right"), ("asked", "right"), ("there", "right")])
        for name in ("there after", "frames moved"):
            table.add_column(name, justify="right")
        origin = int(recording.events.time_ns[0]) if len(recording.events) else 0
        parts = [part for part in np.array_split(np.arange(len(mode.probe.t_ns)), TIMES) if len(part)]
        for part in [*parts, np.arange(len(mode.probe.t_ns))]:
            last = len(table.rows) == len(parts)
            if last:
                table.add_section()
            table.add_row(
                "in all" if last else f"{(int(mode.probe.t_ns[part[-1]]) - origin) / 1e9:.1f}",
                f"{len(part):,}",
                *(f"{int(of[part].sum()):,}" for of in (mode.probe.there, mode.probe.there_after, mode.probe.moved)),
            )
        yield table


def _scores(modes: dict[str, ModeResult]) -> Table:
    table = _mode_table("How far from the kernel's counters", "", modes)
    figures = {name: mode.figures() for name, mode in modes.items()}
    for key, label in SCORE_LABELS:
        if any(key in found for found in figures.values()):
            table.add_row(label, *(for_people(*found[key]) if key in found else "-" for found in figures.values()))
    samples = [str(mode.scores.samples) if mode.scores else "0" for mode in modes.values()]
    table.add_row("samples compared", *samples)
    return table


def print_replay(console: Console, recording: Recording, result: ReplayResult) -> None:
    """Prints what a recording is, what its replays did, and their scores, each mode in a column.

    Args:
        console: Where to.
        recording: What was replayed.
        result: What `replay` returned.
    """
    modes = result.modes
    parts: list[RenderableType] = [_facts(recording, result), _event_table(result)]
    if modes:
        parts += [*_start(modes), _happened(modes), _failures(modes), *_unresolved(recording, modes), _fallbacks(modes)]
        parts += [*_over_time(console, recording, modes), *_probes(recording, modes), _scores(modes)]
    for part in parts:
        console.print(part)
        console.print()


# ---- two settings ----


def compare_figures(mode: ModeResult) -> dict[str, tuple[float, str]]:
    """What a comparison of settings shows beyond `ModeResult.figures`: failures, and means and ends of the indices."""
    found: dict[str, tuple[float, str]] = {}
    if "failed" in mode.counts:
        found["failed"] = (mode.counts["failed"], "events")
    if len(mode.t_ns):
        for name, (values, unit) in _summaries(mode, 0).items():
            found[f"{name}.mean"] = (float(values.mean()), unit)
            found[f"{name}.end"] = (float(values[-1]), unit)
    return found


def _summaries(mode: ModeResult, which: Literal[0, 1]) -> dict[str, tuple[NDArray[Any], str]]:
    """Series of ours (0) or the kernel's (1) by name."""
    return {
        "free": (_scaled(mode.free_frames())[which], "MiB"),
        "unusable4": (mode.unusable(4)[which], "index"),
        "unusable9": (mode.unusable(9)[which], "index"),
        "blocks9": (mode.large_blocks()[which], "pageblocks"),
    }


def _difference(a: float, b: float, text: Callable[[float], str]) -> str:
    if a == b:
        return "="
    return f"{'+' if b > a else '-'}{text(abs(b - a))}"


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A line of a comparison; `text` writes its numbers."""

    label: str
    kernel: float | None = None
    a: float
    b: float
    text: Callable[[float], str]


def _count_text(value: float) -> str:
    return f"{value:,.0f}"


def _count_rows(a: ModeResult, b: ModeResult) -> Iterator[_Row]:
    for label, name, kernel in (("requests served", "allocated", ""), ("failures", "failed", "kernel_failed")):
        if name in a.counts and name in b.counts:
            theirs = a.counts.get(kernel)
            yield _Row(label=label, kernel=theirs, a=a.counts[name], b=b.counts[name], text=_count_text)


def _fallback_rows(a: ModeResult, b: ModeResult) -> Iterator[_Row]:
    total = {"kernel": a.fallback_kernel, "a": a.fallback_ours, "b": b.fallback_ours}
    yield _Row(label="fallbacks", **total, text=_count_text)
    for wanted, found, label in _pairs(a.claims + a.steals, b.claims + b.steals, a.kernel_fallbacks):
        at = (wanted, found)
        ours, other = (int(mode.claims[at] + mode.steals[at]) for mode in (a, b))
        yield _Row(label=f"  {label}", kernel=int(a.kernel_fallbacks[at]), a=ours, b=other, text=_count_text)
    yield _Row(label="  CLAIM", a=int(a.claims.sum()), b=int(b.claims.sum()), text=_count_text)
    yield _Row(label="  STEAL", a=int(a.steals.sum()), b=int(b.steals.sum()), text=_count_text)


def _index_rows(a: ModeResult, b: ModeResult) -> Iterator[_Row]:
    if not (len(a.t_ns) and len(b.t_ns)):
        return
    labels = {"free": "free MiB", "blocks9": "blocks >= 9", "unusable4": "unusable 4", "unusable9": "unusable 9"}
    kernel, left, right = _summaries(a, 1), _summaries(a, 0), _summaries(b, 0)
    for name, label in labels.items():
        text = partial(_at_time, unit=left[name][1])
        three = [series[name][0] for series in (kernel, left, right)]
        for when, values in (("mean", [part.mean() for part in three]), ("end", [part[-1] for part in three])):
            theirs, ours, other = (float(value) for value in values)
            yield _Row(label=f"{label}, {when}", kernel=theirs, a=ours, b=other, text=text)


def _score_rows(a: ModeResult, b: ModeResult) -> Iterator[_Row]:
    left, right = a.figures(), b.figures()
    labels = {
        "free.error.mean": "free, error, mean",
        "free.error.worst": "free, error, worst",
        "unusable4.error.mean": "unusable 4, error, mean",
        "unusable9.error.mean": "unusable 9, error, mean",
        "blocks9.error.mean": "blocks >= 9, error, mean",
        "unresolved.share": "events not explained",
    }
    for key, label in labels.items():
        if key in left and key in right:
            text = partial(for_people, unit=left[key][1])
            yield _Row(label=label, a=left[key][0], b=right[key][0], text=text)


def print_comparison(console: Console, recording: Recording, a: ReplayResult, b: ReplayResult) -> None:
    """Prints two replays of one recording side by side.

    Args:
        console: Where to.
        recording: What was replayed.
        a: Under the first settings.
        b: Under the others.
    """
    facts = _facts(recording, ReplayResult(name=a.name, events_by_kind={}, modes={}, settings={}))
    for name, result in (("a", a), ("b", b)):
        words = ", ".join(f"{key}={value}" for key, value in result.settings.items())
        facts.add_row(name, Text(words or "as recorded"))
    console.print(facts)
    console.print("")
    for mode in a.modes:
        if mode not in b.modes:
            continue
        table = _table(
            f"Two settings ({mode})",
            [("", "left"), ("kernel", "right"), ("a", "right"), ("b", "right"), ("b - a", "right")],
        )
        for rows in (_count_rows, _fallback_rows, _index_rows, _score_rows):
            for row in rows(a.modes[mode], b.modes[mode]):
                kernel = "" if row.kernel is None else row.text(row.kernel)
                table.add_row(row.label, kernel, row.text(row.a), row.text(row.b), _difference(row.a, row.b, row.text))
            table.add_section()
        console.print(table)
        console.print()
