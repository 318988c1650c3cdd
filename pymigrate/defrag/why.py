"""`pymigrate why`: for every block that cannot be freed, what stands in it."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from pymigrate._core import lib
from pymigrate.defrag.command import json_bytes, progress
from pymigrate.defrag.load import Kind, Uses, load_memory, prepare
from pymigrate.defrag.run import STANDINGS, census
from pymigrate.defrag.source import read_source
from pymigrate.report.files import OutputFile
from pymigrate.report.tables import figure_lines

__all__ = ["CAUSES", "COMPANY", "Obstacles", "find_obstacles", "why"]

CAUSES = ("absent", "reserved", "slab", "page table", "hugetlb", "other kernel", "pinned")
"""What keeps a block from coming free."""
COMPANY = ("unevictable", "writeback", "locked", "isolated", "movable", "free")
"""What else stands in such a block; it could go."""

KIND_CAUSES = {
    Kind.RESERVED: "reserved",
    Kind.SLAB: "slab",
    Kind.TABLE: "page table",
    Kind.HUGETLB: "hugetlb",
    Kind.KERNEL: "other kernel",
}
PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
LISTED = 20


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Obstacles:
    """The blocks of a machine that cannot be freed, and what stands in them.

    Attributes:
        name: Of the snapshot.
        order: Of the blocks.
        total: Blocks with memory in them.
        block: Numbers of the blocks that cannot be freed, from frame 0 on, [n].
        causes: Frames in each, [n, `CAUSES`].
        company: Frames in each, [n, `COMPANY`].
    """

    name: str
    order: int
    total: int
    block: NDArray[np.int64]
    causes: NDArray[np.int64]
    company: NDArray[np.int64]

    def summary(self) -> dict[str, dict[str, int]]:
        """For each cause that there is: in how many blocks it stands, in how many it alone, and how many frames."""
        there = self.causes > 0
        alone = there & (there.sum(axis=1) == 1)[:, None]
        counts = zip(
            there.sum(axis=0).tolist(), alone.sum(axis=0).tolist(), self.causes.sum(axis=0).tolist(), strict=True
        )
        return {
            cause: {"blocks": blocks, "alone": by_itself, "frames": frames}
            for cause, (blocks, by_itself, frames) in zip(CAUSES, counts, strict=True)
            if blocks
        }

    def hopeful(self) -> NDArray[np.int64]:
        """Indices of the blocks, those that the fewest frames keep from coming free first."""
        return np.argsort(self.causes.sum(axis=1), kind="stable")

    def row(self, i: int) -> dict[str, int]:
        """What stands in a block: only what there is."""
        names, counts = (*CAUSES, *COMPANY), (*self.causes[i].tolist(), *self.company[i].tolist())
        return {name: count for name, count in zip(names, counts, strict=True) if count}

    def figures(self) -> dict[str, tuple[float, str]]:
        """Figures by name, each with its unit."""
        found: dict[str, tuple[float, str]] = {
            "why.blocks": (self.total, "blocks"),
            "why.stuck": (len(self.block), "blocks"),
        }
        for cause, counts in self.summary().items():
            found[f"why.{cause.replace(' ', '_')}"] = (counts["blocks"], "blocks")
        return found

    def as_json(self) -> dict[str, Any]:
        """All of it, for a file."""
        size = 1 << self.order
        return {
            "name": self.name,
            "order": self.order,
            "blocks": self.total,
            "stuck": len(self.block),
            "causes": self.summary(),
            "list": [{"pfn": int(self.block[i]) * size} | self.row(i) for i in range(len(self.block))],
        }


def _per_block(flags: NDArray[np.bool_], size: int, nr: int) -> NDArray[np.int64]:
    whole = np.zeros(nr * size, np.bool_)
    whole[: len(flags)] = flags
    counts: NDArray[np.int64] = whole.reshape(nr, size).sum(axis=1, dtype=np.int64)
    return counts


def find_obstacles(name: str, uses: Uses, counts: NDArray[np.uint32], order: int) -> Obstacles:
    """Puts together what the snapshot says of frames, and what the machine made of it says.

    Args:
        name: Of the snapshot.
        uses: What each frame is.
        counts: What stands in each block, by `census`.
        order: Of the blocks.
    """
    size, nr = 1 << order, len(counts)
    column = {standing: counts[:, i].astype(np.int64) for i, standing in enumerate(STANDINGS)}
    found = {cause: np.zeros(nr, np.int64) for cause in CAUSES}
    for kind, cause in KIND_CAUSES.items():
        found[cause] = _per_block(uses.kind == kind, size, nr)
    found["pinned"] = column["pinned"]
    # The machine counts reserved frames among those that are not there.
    found["absent"] = column["absent"] - found["reserved"]
    company = {
        "unevictable": column["unevictable"],
        "writeback": column["writeback"],
        "locked": column["locked"],
        "isolated": column["isolated"],
        "movable": column["movable"],
        "free": column["free"] + column["per-CPU list"],
    }
    causes = np.stack([found[cause] for cause in CAUSES], axis=1)
    # A block of which nothing is there is no block.
    real = found["absent"] < size
    stuck = np.flatnonzero((causes.sum(axis=1) > 0) & real)
    return Obstacles(
        name=name,
        order=order,
        total=int(real.sum()),
        block=stuck,
        causes=causes[stuck],
        company=np.stack([company[key] for key in COMPANY], axis=1)[stuck],
    )


def print_obstacles(console: Console, found: Obstacles, limit: int) -> None:
    """The causes, and the blocks that the fewest frames keep from coming free."""
    console.print(
        f"{found.name}: {len(found.block):,} of {found.total:,} blocks of order {found.order} cannot be freed. "
        "(Pins do not show in a snapshot.)"
    )
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for head in ("what stands in them", "blocks", "it alone", "frames"):
        table.add_column(head, justify="left" if head.startswith("what") else "right")
    for cause, counts in found.summary().items():
        table.add_row(cause, *(f"{counts[key]:,}" for key in ("blocks", "alone", "frames")))
    console.print(table)
    if not len(found.block) or not limit:
        return
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), title="the fewest frames in the way", title_justify="left")
    table.add_column("frame", justify="right")
    table.add_column("in the way")
    table.add_column("beside it")
    for i in found.hopeful()[:limit].tolist():
        row = found.row(i)
        parts = [", ".join(f"{row[key]} {key}" for key in keys if key in row) for keys in (CAUSES, COMPANY)]
        table.add_row(f"{int(found.block[i]) << found.order}", *parts)
    console.print(table)
    if (rest := len(found.block) - limit) > 0:
        console.print(f"and {rest:,} more: --limit 0 lists none, --json all of them.")


def _picture_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and Path(value).suffix.lower() not in PICTURE_SUFFIXES:
        raise click.BadParameter(f"{value!r} does not end in {', '.join(PICTURE_SUFFIXES)}", ctx, param)
    return value


@click.command("why")
@click.argument("snapshot", metavar="SNAPSHOT")
@click.option("--order", type=click.IntRange(0, lib.PM_MAX_ORDER), default=9, show_default=True, help="Of the blocks.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=LISTED, show_default=True, help="List so many blocks in the table."
)
@click.option(
    "--json",
    "json_file",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Write all blocks as JSON; without FILE, and for -, to the output.",
)
@click.option(
    "--plot", metavar="FILE", callback=_picture_name, help="Draw the picture (.png, .svg or .pdf; needs matplotlib)."
)
@click.option("--figures", is_flag=True, help="Print a line for each figure: figure NAME VALUE UNIT.")
def why(snapshot: str, order: int, limit: int, json_file: str | None, plot: str | None, figures: bool) -> None:
    """Say for every block that cannot be freed what stands in it.

    SNAPSHOT is what `pymigrate compact` takes.
    """
    with ExitStack() as stack:
        if plot is not None:
            # Named before the work rather than after it.
            import matplotlib.figure  # noqa: F401
        file = stack.enter_context(OutputFile(json_file)) if json_file is not None else None
        picture = stack.enter_context(OutputFile(plot)) if plot is not None else None
        to_stderr = file is not None and file.is_stdout
        with progress() as say:
            source = read_source(snapshot)
            say("loading")
            ready = prepare(source.recording)
            with load_memory(ready) as loaded:
                found = find_obstacles(source.name, ready.uses, census(loaded.machine, order=order), order)
        print_obstacles(Console(stderr=to_stderr, highlight=False), found, limit)
        if figures:
            for line in figure_lines(found.figures()):
                click.echo(line, err=to_stderr)
        if file is not None:
            file.write(json_bytes(found.as_json()))
        if picture is not None:
            from pymigrate.defrag.pictures import draw_obstacles

            picture.write(draw_obstacles(found, Path(picture.path).suffix.lower().removeprefix(".")))
