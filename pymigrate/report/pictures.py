"""Pictures of a replay: free memory by order, the unusable index, fallbacks, and a map of the memory over time.

Drawn with matplotlib's own canvas, without a display and without pyplot's global state.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pymigrate._core import lib
from pymigrate.recording import Recording
from pymigrate.replaying import ModeResult, ReplayResult
from pymigrate.replaying.result import TYPE_NAMES

__all__ = ["draw_comparison", "draw_replay", "map_colours", "new_figure", "saved"]

Array = NDArray[Any]
Floats = NDArray[np.float64]

PAGE_BYTES: int = lib.PM_PAGE_SIZE
NR_ORDERS: int = lib.PM_NR_ORDERS
MIB_PER_FRAME = PAGE_BYTES / (1 << 20)
SIZE_INCHES = (12.0, 10.0)
DPI = 110

# Okabe and Ito's colours, which colour-blind people tell apart, and two greys.
KERNEL_COLOUR = "#000000"
MODE_COLOURS = {"reconstruct": "#009E73", "simulate": "#D55E00", "a": "#0072B2", "b": "#D55E00"}
MODE_STYLES: dict[str, Literal[":", "-"]] = {"reconstruct": ":", "simulate": "-", "a": "-", "b": "-"}
# By `enum pm_occupant`.
OCCUPANTS: tuple[tuple[int, str, str], ...] = (
    (lib.PM_OCC_MOVABLE, "movable", "#56B4E9"),
    (lib.PM_OCC_UNMOVABLE, "unmovable", "#D55E00"),
    (lib.PM_OCC_RECLAIMABLE, "reclaimable", "#F0E442"),
    (lib.PM_OCC_PCP, "per-CPU lists", "#CC79A7"),
    (lib.PM_OCC_FREE_SMALL, "free, below order 9", "#009E73"),
    (lib.PM_OCC_FREE_LARGE, "free, order 9 and more", "#FFFFFF"),
    (lib.PM_OCC_ABSENT, "absent or reserved", "#606060"),
    (lib.PM_OCC_UNPLACED, "in use, by whom is not known", "#B0C4DE"),
)


# ---- parts ----


def _seconds(t_ns: NDArray[np.uint64], origin_ns: int) -> Floats:
    return np.asarray((t_ns.astype(np.int64) - origin_ns) * 1e-9, np.float64)


def _origin_ns(recording: Recording) -> int:
    return int(recording.events.time_ns[0]) if len(recording.events) else 0


def _empty(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#606060")
    axes.set_xticks([])
    axes.set_yticks([])


def _order_label(order: int) -> str:
    size = PAGE_BYTES << order >> 10
    return f"{order}: {size >> 10} MiB" if size >= 1024 else f"{order}: {size} KiB"


def _stack_of_orders(axes: Axes, mode: ModeResult, origin_ns: int) -> None:
    """Our free memory, an area for each order, and the kernel's total as a line."""
    axes.set_title(f"Free memory by order ({mode.mode})", loc="left")
    if not len(mode.t_ns):
        return _empty(axes, "no samples in the replayed time")
    t = _seconds(mode.t_ns, origin_ns)
    mib = mode.free.sum(axis=(1, 3)) * (1 << np.arange(NR_ORDERS)) * MIB_PER_FRAME
    # Large blocks below: what is fragmented lies on top of what is not.
    orders = list(range(NR_ORDERS - 1, -1, -1))
    colours = mpl.colormaps["viridis"](np.linspace(0.05, 0.95, NR_ORDERS))
    areas = axes.stackplot(
        t, mib[:, orders].T, colors=[tuple(colours[order]) for order in orders], edgecolor="white", linewidth=0.2
    )
    kernel = mode.free_frames()[1] * MIB_PER_FRAME
    (line,) = axes.plot(t, kernel, color=KERNEL_COLOUR, linestyle="--", linewidth=1.2)
    axes.set_ylabel("MiB")
    axes.set_xlabel("seconds")
    axes.set_ylim(0, float(max(mib.sum(axis=1).max(), kernel.max(), 1.0)) * 1.05)
    axes.margins(x=0)
    axes.legend(
        [line, *areas[::-1]],
        ["kernel, all", *(_order_label(order) for order in orders[::-1])],
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        fontsize="small",
        frameon=False,
    )
    return None


def _kernel_and(axes: Axes, series: Mapping[str, tuple[Array, Array, Array]]) -> None:
    """Lines of each series (seconds, ours, the kernel's); the kernel's once, on top."""
    for name, (t, ours, _) in series.items():
        style = MODE_STYLES.get(name, "-")
        axes.plot(t, ours, color=MODE_COLOURS[name], linestyle=style, linewidth=2.6 if style == ":" else 1.8)
    t, _, kernel = next(iter(series.values()))
    axes.plot(t, kernel, color=KERNEL_COLOUR, linestyle="--", linewidth=1.0)


def _line_key(names: Sequence[str]) -> list[Line2D]:
    kernel = Line2D([], [], color=KERNEL_COLOUR, linestyle="--", linewidth=1.0, label="kernel")
    ours = [
        Line2D([], [], color=MODE_COLOURS[name], linestyle=MODE_STYLES.get(name, "-"), linewidth=1.8, label=name)
        for name in names
    ]
    return [kernel, *ours]


def _unusable(axes: Axes, modes: dict[str, ModeResult], origin_ns: int) -> None:
    """The unusable index for orders 4 and 9: ours solid, the kernel's dashed."""
    axes.set_title("Unusable free space index", loc="left")
    modes = {name: mode for name, mode in modes.items() if len(mode.t_ns)}
    if not modes:
        return _empty(axes, "no samples in the replayed time")
    ends: list[float] = []
    right = 0.0
    low, high = 1.0, 0.0
    for order in (4, 9):
        series = {}
        for name, mode in modes.items():
            ours, kernel = mode.unusable(order)
            series[name] = (_seconds(mode.t_ns, origin_ns), ours, kernel)
            low, high = min(low, ours.min(), kernel.min()), max(high, ours.max(), kernel.max())
        _kernel_and(axes, series)
        t, _, kernel = next(iter(series.values()))
        ends.append(float(kernel[-1]))
        right = max(right, float(t[-1]))
    margin = max((high - low) * 0.12, 0.001)
    bottom, top = max(0.0, low - margin), min(1.0, high + margin)
    axes.set_ylim(bottom, top)
    # Labels at the lines' ends, apart from each other even where the lines are not.
    apart = (top - bottom) * 0.07
    if ends[1] - ends[0] < apart:
        middle = sum(ends) / 2
        ends = [middle - apart / 2, middle + apart / 2]
    for order, y in zip((4, 9), ends, strict=True):
        axes.annotate(
            f"order {order}", (right, y), xytext=(4, 0), textcoords="offset points", va="center", annotation_clip=False
        )
    axes.margins(x=0)
    axes.set_xlabel("seconds")
    axes.set_ylabel("share of free memory")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(handles=_line_key(list(modes)), fontsize="small", frameon=False, loc="best")
    return None


def _fallback_bars(axes: Axes, modes: dict[str, ModeResult]) -> None:
    """Fallbacks by type pair: a bar for the kernel, one for each mode."""
    axes.set_title("Fallbacks by type", loc="left")
    kernel = np.max([mode.kernel_fallbacks for mode in modes.values()], axis=0)
    counts = {"kernel": kernel, **{name: mode.claims + mode.steals for name, mode in modes.items()}}
    total = sum(counts.values())
    pairs = [tuple(at) for at in np.argwhere(total > 0)]
    pairs.sort(key=lambda at: -int(total[at]))
    pairs = pairs[:8]
    if not pairs:
        return _empty(axes, "no fallbacks, neither ours nor the kernel's")
    top = max(int(count[at]) for count in counts.values() for at in pairs)
    wide = top > 50
    height = 0.8 / len(counts)
    for number, (name, count) in enumerate(counts.items()):
        values = [int(count[at]) for at in pairs]
        y = np.arange(len(pairs)) + (number - (len(counts) - 1) / 2) * height
        colour = KERNEL_COLOUR if name == "kernel" else MODE_COLOURS[name]
        bars = axes.barh(y, values, height * 0.9, color=colour, label=name, alpha=0.6 if name == "kernel" else 1.0)
        axes.bar_label(bars, labels=[f"{value:,}" for value in values], padding=3, fontsize="small")
    names = [f"{TYPE_NAMES[wanted]}\nfrom {TYPE_NAMES[found]}" for wanted, found in pairs]
    axes.set_yticks(np.arange(len(pairs)), names)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    if wide:
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(0, top * 30)
    else:
        axes.set_xlim(0, top * 1.2)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_xlabel("events" + (" (log)" if wide else ""))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small", frameon=False, loc="upper right", bbox_to_anchor=(1.0, -0.12), ncols=len(counts))
    return None


def map_colours(counts: NDArray[np.uint32]) -> NDArray[np.float64]:
    """The colour of each part of the memory: those of its occupants, mixed by the roots of their shares.

    The root lets the few be seen among the many: one unmovable frame in a hundred is what fragments memory.

    Args:
        counts: Frames by occupant, shape (..., occupants).

    Returns:
        Red, green and blue from 0 to 1, shape (..., 3). A part without frames is as if absent.

    Example:
        >>> import numpy as np
        >>> all_free = np.array([0, 0, 512, 0, 0, 0, 0], np.uint32)
        >>> map_colours(all_free).tolist()
        [1.0, 1.0, 1.0]
    """
    palette = np.zeros((counts.shape[-1], 3))
    for occupant, _, colour in OCCUPANTS:
        palette[occupant] = to_rgb(colour)
    frames = counts.sum(axis=-1, keepdims=True)
    weights = np.sqrt(counts)
    weights[..., lib.PM_OCC_ABSENT] += frames[..., 0] == 0
    mixed: Floats = np.clip((weights / weights.sum(axis=-1, keepdims=True)) @ palette, 0.0, 1.0)
    return mixed


_MAP_LEGEND: dict[str, Any] = {
    "fontsize": "small",
    "frameon": False,
    "ncols": 4,
    "handlelength": 1.2,
    "columnspacing": 1.2,
}


def _occupant_key(*maps: NDArray[np.uint32]) -> list[Patch]:
    """A patch for each occupant that the maps show."""
    seen = [bool(sum(int(counts[..., occupant].sum()) for counts in maps)) for occupant, _, _ in OCCUPANTS]
    return [
        Patch(facecolor=colour, edgecolor="#606060", label=name)
        for (_, name, colour), there in zip(OCCUPANTS, seen, strict=True)
        if there
    ]


def _memory_map(axes: Axes, mode: ModeResult, title: str, pfn_end: int, origin_ns: int, *, key: bool = True) -> None:
    """Frame number by time, coloured by what occupies the frames."""
    axes.set_title(title, loc="left")
    if not len(mode.map_t_ns):
        return _empty(axes, "no samples in the replayed time")
    t = _seconds(mode.map_t_ns, origin_ns)
    # The rows are about evenly spaced: each moment shows the last row before it.
    moments = np.linspace(t[0], t[-1], max(2, len(t)))
    rows = np.clip(np.searchsorted(t, moments, side="right") - 1, 0, len(t) - 1)
    image = map_colours(mode.map)[rows].transpose(1, 0, 2)
    step = (moments[-1] - moments[0]) / (len(moments) - 1) or 1.0
    gib = pfn_end * PAGE_BYTES / (1 << 30)
    unit, height = ("GiB", gib) if gib >= 1 else ("MiB", gib * 1024)
    axes.imshow(
        image,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(moments[0] - step / 2, moments[-1] + step / 2, 0, height),
    )
    axes.set_xlabel("seconds")
    axes.set_ylabel(f"physical address, {unit}")
    if key:
        axes.legend(handles=_occupant_key(mode.map), loc="upper center", bbox_to_anchor=(0.5, -0.12), **_MAP_LEGEND)
    return None


# ---- pictures ----


def _heading(recording: Recording, result: ReplayResult, what: str) -> str:
    host = recording.host
    kernel = f"Linux {host['kernel']}" if "kernel" in host else "an unknown kernel"
    cpus = f"{recording.cpus} CPU{'s' if recording.cpus != 1 else ''}"
    stopped = ", interrupted" if result.stopped else ""
    return f"{result.name or 'recording'}: {kernel}, {cpus}, {what}{stopped}"


def saved(figure: Figure, form: str) -> bytes:
    """A drawn figure as a file's content: the same figure makes the same bytes."""
    out = io.BytesIO()
    # Without the program's version and the date in the file, the same replay makes the same bytes.
    metadata: Mapping[str, None] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[
        form
    ]
    with mpl.rc_context({"svg.hashsalt": "pymigrate"}):
        figure.savefig(out, format=form, dpi=DPI, metadata=metadata)
    return out.getvalue()


def new_figure(title: str) -> Figure:
    """An empty page with a title."""
    figure = Figure(figsize=SIZE_INCHES)
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize="large", y=0.98)
    return figure


def draw_replay(recording: Recording, result: ReplayResult, form: str = "png") -> bytes:
    """Draws a replay: free memory by order, unusable index, fallbacks, and a map of the memory.

    The areas show the reconstructed mode where there is one: they are then the recorded machine's. The map shows the
    simulation where there is one: only that knows who owns a frame.

    Args:
        recording: What was replayed.
        result: What `replay` returned, with a map.
        form: ``"png"``, ``"svg"`` or ``"pdf"``.

    Returns:
        The file's content.
    """
    modes = result.modes
    figure = new_figure(_heading(recording, result, " and ".join(modes) or "not replayed"))
    if not modes:
        return saved(figure, form)
    shown = modes.get("reconstruct") or next(iter(modes.values()))
    origin = _origin_ns(recording)
    _stack_of_orders(figure.add_axes((0.07, 0.58, 0.31, 0.32)), shown, origin)
    _unusable(figure.add_axes((0.575, 0.58, 0.345, 0.32)), modes, origin)
    mapped = modes.get("simulate", shown)
    title = f"What occupies the memory ({mapped.mode})"
    _memory_map(figure.add_axes((0.07, 0.12, 0.50, 0.36)), mapped, title, recording.pfn_end, origin)
    _fallback_bars(figure.add_axes((0.715, 0.12, 0.265, 0.36)), modes)
    return saved(figure, form)


def _free_lines(axes: Axes, modes: dict[str, ModeResult], origin_ns: int) -> None:
    axes.set_title("Free memory", loc="left")
    modes = {name: mode for name, mode in modes.items() if len(mode.t_ns)}
    if not modes:
        return _empty(axes, "no samples in the replayed time")
    series = {}
    for name, mode in modes.items():
        ours, kernel = mode.free_frames()
        series[name] = (_seconds(mode.t_ns, origin_ns), ours * MIB_PER_FRAME, kernel * MIB_PER_FRAME)
    _kernel_and(axes, series)
    axes.set_xlabel("seconds")
    axes.set_ylabel("MiB")
    axes.margins(x=0)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(handles=_line_key(list(modes)), fontsize="small", frameon=False, loc="best")
    return None


def _settings_text(result: ReplayResult) -> str:
    return ", ".join(f"{key}={value}" for key, value in result.settings.items()) or "as recorded"


def draw_comparison(recording: Recording, a: ReplayResult, b: ReplayResult, form: str = "png") -> bytes:
    """Draws two simulations of one recording: free memory, unusable index, fallbacks, and a map of each.

    Args:
        recording: What was replayed.
        a: Under the first settings, with a map.
        b: Under the others.
        form: ``"png"``, ``"svg"`` or ``"pdf"``.

    Returns:
        The file's content.
    """
    modes = {"a": a.modes["simulate"], "b": b.modes["simulate"]}
    lines = [
        textwrap.shorten(f"{which}: {_settings_text(of)}", 110, placeholder=" …") for which, of in (("a", a), ("b", b))
    ]
    what = "\n".join(("two settings", *lines))
    figure = new_figure(_heading(recording, a, what))
    origin = _origin_ns(recording)
    _free_lines(figure.add_axes((0.07, 0.55, 0.37, 0.32)), modes, origin)
    _unusable(figure.add_axes((0.55, 0.55, 0.37, 0.32)), modes, origin)
    left, right = figure.add_axes((0.07, 0.12, 0.25, 0.34)), figure.add_axes((0.335, 0.12, 0.25, 0.34))
    _memory_map(left, modes["a"], "a: what occupies the memory", recording.pfn_end, origin, key=False)
    _memory_map(right, modes["b"], "b", recording.pfn_end, origin, key=False)
    right.set_ylabel("")
    right.set_yticklabels([])
    handles = _occupant_key(modes["a"].map, modes["b"].map)
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.33, 0.07), **_MAP_LEGEND)
    _fallback_bars(figure.add_axes((0.72, 0.12, 0.26, 0.34)), modes)
    return saved(figure, form)
