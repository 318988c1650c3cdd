"""Pictures of memory: which blocks cannot be freed, and what stands in them."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from pymigrate.defrag.why import CAUSES, Obstacles
from pymigrate.report.pictures import new_figure, saved

__all__ = ["draw_obstacles"]

# Okabe and Ito's colours, which colour-blind people tell apart, and greys.
COLOURS = {
    "absent": "#606060",
    "reserved": "#A0A0A0",
    "slab": "#F0E442",
    "page table": "#0072B2",
    "hugetlb": "#CC79A7",
    "other kernel": "#D55E00",
    "pinned": "#000000",
}
CAN_BE_FREED = "#FFFFFF"
WIDTH = 128


def draw_obstacles(found: Obstacles, form: str = "png") -> bytes:
    """Draws a map of the blocks in the colours of what mostly stands in those that cannot be freed, and the causes.

    Args:
        found: By `find_obstacles`.
        form: ``"png"``, ``"svg"`` or ``"pdf"``.

    Returns:
        The file's content.
    """
    figure = new_figure(
        f"{found.name}: {len(found.block):,} of {found.total:,} blocks of order {found.order} cannot be freed"
    )
    where, bars = figure.subplots(2, 1, height_ratios=(3, 1))
    last = int(found.block.max()) + 1 if len(found.block) else 1
    cells = np.zeros(-(-max(last, 1) // WIDTH) * WIDTH, np.int64)
    cells[found.block] = 1 + found.causes.argmax(axis=1)
    colours = ListedColormap([CAN_BE_FREED, *(COLOURS[cause] for cause in CAUSES)])
    where.imshow(
        cells.reshape(-1, WIDTH),
        cmap=colours,
        vmin=-0.5,
        vmax=len(CAUSES) + 0.5,
        aspect="auto",
        interpolation="nearest",
    )
    where.set_title("what most of the unmovable frames of each block are", fontsize="medium")
    where.set_xlabel(f"block, {WIDTH} a row")
    where.set_ylabel(f"row, from frame 0; each {WIDTH << found.order:,} frames")
    summary = found.summary()
    shown = [Patch(facecolor=COLOURS[cause], label=cause) for cause in summary]
    where.legend(
        handles=[*shown, Patch(facecolor=CAN_BE_FREED, edgecolor="#000000", label="can be freed")],
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        fontsize="small",
    )
    names = list(summary)
    bars.barh(names, [summary[name]["blocks"] for name in names], color=[COLOURS[name] for name in names], alpha=0.5)
    bars.barh(names, [summary[name]["alone"] for name in names], color=[COLOURS[name] for name in names])
    bars.set_xlabel("blocks in which it stands (full colour: it alone)")
    figure.tight_layout()
    return saved(figure, form)
