"""`pymigrate image`: aged memory as a file."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import click

from pymigrate._core import ffi, lib
from pymigrate.errors import PymigrateError
from pymigrate.image import RECIPES, Recipe, info, load, machine_at, save
from pymigrate.machine import Machine
from pymigrate.recording.recording import Recording

__all__ = ["image"]

_FILE = click.Path(dir_okay=False, path_type=Path)
_INPUT = click.Path(exists=True, dir_okay=False, path_type=Path)


def _orders(_ctx: click.Context, _param: click.Parameter, value: str | None) -> dict[int, int] | None:
    if value is None:
        return None
    try:
        return {int(order): int(weight) for order, _, weight in (word.partition(":") for word in value.split(","))}
    except ValueError:
        raise click.BadParameter(f"{value!r} is not like 0:1000,1:60") from None


@click.group()
def image() -> None:
    """Aged memory as a file, so that experiments start from the same fragmentation."""


@image.command()
@click.argument("recipe", required=False, type=click.Choice(list(RECIPES)))
@click.option("-o", "--output", required=True, type=_FILE, help="The file to write.")
@click.option("--size", help="Of the memory, such as 4G.")
@click.option("--cpus", type=int, help="How many CPUs.")
@click.option("--occupancy", type=float, help="Part of the memory that is allocated, 0..0.95.")
@click.option("--unmovable", type=float, help="Part of the blocks that is kernel memory.")
@click.option("--reclaimable", type=float, help="Part of the blocks that is reclaimable kernel memory.")
@click.option("--orders", callback=_orders, help="Weights of the orders, such as 0:1000,1:60.")
@click.option("--turnover", type=int, help="How often memory fills up and empties on the way.")
@click.option("--clump", type=int, help="Up to how many blocks are freed together; 1 fragments most.")
@click.option("--seed", type=int, help="Equal seeds give equal images.")
@click.option("--recording", type=_INPUT, help="Instead of a recipe: as in this recording …")
@click.option("--at", "at_seconds", type=float, help="… so many seconds after its snapshot.")
def make(recipe: str | None, output: Path, recording: Path | None, at_seconds: float | None, **changes: object) -> None:
    """Make an image by a RECIPE, with what the options change of it, or of a recording at a moment."""
    given = {name: value for name, value in changes.items() if value is not None}
    if recording is not None:
        if recipe is not None or given:
            raise click.UsageError("a recording is as it is: no RECIPE, and none of its options, beside --recording")
        machine = machine_at(Recording.load(recording), 0.0 if at_seconds is None else at_seconds)
    else:
        if at_seconds is not None:
            raise click.UsageError("--at is a moment of a --recording")
        if recipe is None and not given:
            raise click.UsageError("which RECIPE? " + "; ".join(f"{n}: {r.summary}" for n, r in RECIPES.items()))
        machine = dataclasses.replace(Recipe() if recipe is None else RECIPES[recipe], **given).make()  # type: ignore[arg-type]
    with machine:
        about = save(machine, output)
    click.echo(f"{output}: {about.nr_frames:,} frames in {about.nr_bytes:,} bytes, hash {about.hash}")


def _describe(machine: Machine) -> list[str]:
    """A line for each zone: how full it is, and how much of what is free is too scattered for a huge page."""
    lines = []
    blocks = machine.free_blocks()
    for number, zone in enumerate(machine.zones):
        by_order = ffi.new("uint64_t[]", blocks[number].sum(axis=1).tolist())
        unusable = lib.pm_unusable_index(by_order, lib.PM_HUGE_ORDER) / 1000
        free = zone.nr_free + zone.nr_pcp
        lines.append(
            f"{zone.name:8s} {zone.managed:>10,} frames, {1 - free / max(zone.managed, 1):6.1%} allocated, "
            f"{unusable:6.1%} of what is free is of no use for a huge page"
        )
    return lines


@image.command("info")
@click.argument("file", type=_INPUT)
def info_(file: Path) -> None:
    """Say what is in an image."""
    about = info(file)
    click.echo(f"hash     {about.hash}")
    click.echo(f"form     {about.version}, {about.nr_bytes:,} bytes")
    click.echo(f"machine  {about.nr_frames:,} frames, {about.nr_zones} zones, {about.nr_cpus} CPUs")
    with load(file) as machine:
        for line in _describe(machine):
            click.echo(line)


@image.command("load")
@click.argument("file", type=_INPUT)
@click.option("--hash", "wanted", help="Refuse an image with another hash.")
@click.option("--figures", is_flag=True, help="Print how long it took, as a figure.")
def load_(file: Path, wanted: str | None, figures: bool) -> None:
    """Load an image, check everything, and print its free blocks as /proc/buddyinfo has them."""
    about = info(file)
    if wanted is not None and wanted.lower() != about.hash:
        raise PymigrateError(f"{file}: its hash is {about.hash}, not {wanted}")
    began = time.perf_counter()
    with load(file) as machine:
        seconds = time.perf_counter() - began
        machine.validate()
        click.echo(machine.buddyinfo(), nl=False)
    if figures:
        gib = about.nr_frames * lib.PM_PAGE_SIZE / (1 << 30)
        click.echo(f"figure image.load.seconds_per_gib {seconds / gib:.4g} s/GiB")
