"""Aged memory as a file: a machine's allocator saved whole, and recipes that make it anew.

An experiment that compares two policies has to begin with the same fragmentation. A recipe and its seed give the same
machine everywhere; an image keeps any machine, with a hash of what is in it. What is loaded hands out the same
frames that the saved machine would have. In C: `pm_age`, `pm_image_save`, `pm_image_load`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pymigrate._core import ffi, lib
from pymigrate.errors import ArgumentError, check, error_of
from pymigrate.layout import Settings
from pymigrate.machine import Machine
from pymigrate.memory import MemoryOptions
from pymigrate.recording.recording import Recording

__all__ = ["RECIPES", "ImageInfo", "Recipe", "age", "info", "load", "machine_at", "save"]

_PPM = 1_000_000
_NOT_SAVED = {
    lib.PM_ERR_OWNED: "no image of a machine with owners: a frame belongs to an address space, a file or another owner",
    lib.PM_ERR_BUSY: "no image of a machine with a pageblock that is isolated or offline",
}
_NOT_LOADED = {
    lib.PM_ERR_SYNTAX: "no image of memory, or one that contradicts itself",
    lib.PM_ERR_CORRUPT: "the image is damaged: its hash is another",
    lib.PM_ERR_LIMIT: "the image is of another version, or of a build with other constants",
}
_ORDERS = MappingProxyType({0: 1000, 1: 60, 2: 40, 3: 30, 4: 8, 5: 2, 6: 1, 9: 4})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to make and age a machine.

    Attributes:
        summary: One line about it.
        size: Of its memory, as for `Machine.from_size`.
        cpus: How many CPUs.
        occupancy: Part of the memory that is allocated in the end, 0..0.95.
        unmovable: Part of the allocated blocks that is kernel memory.
        reclaimable: Part of the allocated blocks that is reclaimable kernel memory; the rest is movable.
        orders: How often a block has each order.
        turnover: How often memory fills up to 95 % and empties again, on the way.
        clump: Up to how many blocks that were born one after the other are freed together; 1 fragments most.
        seed: Equal seeds age alike.
    """

    summary: str = ""
    size: str = "1G"
    cpus: int = 2
    occupancy: float = 0.7
    unmovable: float = 0.08
    reclaimable: float = 0.04
    orders: Mapping[int, int] = field(default_factory=lambda: _ORDERS)
    turnover: int = 4
    clump: int = 256
    seed: int = 1

    def make(self, *, memory: MemoryOptions | None = None) -> Machine:
        """Makes the machine.

        Raises:
            ValueError: A number is out of its range.
        """
        machine = Machine.from_size(self.size, cpus=self.cpus, memory=memory)
        age(machine, self)
        return machine


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "fresh": Recipe(summary="after boot: a little kernel memory", occupancy=0.03, unmovable=0.9, turnover=0),
        "desktop": Recipe(summary="programs begin and end for days", occupancy=0.6, clump=2048, turnover=6),
        "server": Recipe(summary="nearly full, much of it cache", occupancy=0.9, unmovable=0.1, turnover=8),
        "fragmented": Recipe(summary="half is free, in single frames", occupancy=0.5, clump=1, orders={0: 1}),
        "pinned": Recipe(summary="kernel memory in every pageblock", occupancy=0.5, unmovable=0.4, clump=8),
    }
)
"""Named images: made when they are asked for, and the same everywhere."""


def _ppm(name: str, value: float) -> int:
    if not 0 <= value <= 1:
        raise ArgumentError(f"{name} is a part of a whole, 0..1, not {value}")
    return round(value * _PPM)


def age(machine: Machine, recipe: Recipe) -> int:
    """Ages a machine as a recipe says; its size and CPUs are the machine's own.

    What is left allocated may be freed block by block; each block's tag is the number of its birth.

    Returns:
        How many blocks are allocated by it.

    Raises:
        ValueError: A number is out of its range.
    """
    options = ffi.new("struct pm_age_options *")
    options.seed = recipe.seed & (1 << 64) - 1
    options.occupancy_ppm = _ppm("occupancy", recipe.occupancy)
    options.unmovable_ppm = _ppm("unmovable", recipe.unmovable)
    options.reclaimable_ppm = _ppm("reclaimable", recipe.reclaimable)
    for name in ("turnover", "clump"):
        if not 0 <= getattr(recipe, name) < 1 << 32:
            raise ArgumentError(f"{name} is out of its range: {getattr(recipe, name)}")
        setattr(options, name, getattr(recipe, name))
    for order, weight in recipe.orders.items():
        if not 0 <= order < lib.PM_NR_ORDERS or not 0 <= weight < 1 << 32:
            raise ArgumentError(f"orders are 0..{lib.PM_NR_ORDERS - 1} with weights of 32 bits, not {order}: {weight}")
        options.order_weight[order] = weight
    blocks = ffi.new("uint64_t *")
    check(
        lib.pm_age(machine.handle, options, blocks),
        what="a recipe (occupancy is at most 0.95, unmovable and reclaimable 1 together, turnover 1000, clump 1..2^20)",
    )
    return int(blocks[0])


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """What an image says of itself.

    Attributes:
        hash: Of all that is saved: equal states have equal hashes.
        nr_bytes: Length of the file.
        nr_frames: Frames that the zones span.
        nr_cpus: CPUs.
        nr_zones: Zones.
        version: Of the form.
        settings: What an administrator had set.
    """

    hash: str
    nr_bytes: int
    nr_frames: int
    nr_cpus: int
    nr_zones: int
    version: int
    settings: Settings


def save(machine: Machine, path: str | os.PathLike[str]) -> ImageInfo:
    """Saves what the allocator of a machine knows. Nobody else may use the machine meanwhile.

    Counters and tags are not saved.

    Raises:
        FrameError: A frame belongs to an address space or another owner.
        BusyError: A pageblock is isolated or offline.
    """
    handle = machine.handle
    length = ffi.new("size_t *")
    status = lib.pm_image_save(handle, ffi.NULL, 0, length)
    if status:
        raise error_of(status, text=_NOT_SAVED.get(status, ""), path=os.fspath(path))
    content = bytearray(length[0])
    check(lib.pm_image_save(handle, ffi.from_buffer("char[]", content), len(content), length), what="an image")
    Path(path).write_bytes(content)
    return _info(bytes(content), os.fspath(path))


def _settings(raw: Any) -> Settings:
    def chosen(value: int) -> int | None:
        return None if value < 0 else value

    return Settings(
        min_free_kbytes=chosen(raw.min_free_kbytes),
        watermark_scale_factor=raw.watermark_scale_factor,
        watermark_boost_factor=raw.watermark_boost_factor,
        lowmem_reserve_ratio=tuple(raw.lowmem_reserve_ratio),
        defrag_mode=bool(raw.defrag_mode),
        pcp=bool(raw.pcp),
        pcp_high_min=chosen(raw.pcp_high_min),
        pcp_high_max=chosen(raw.pcp_high_max),
        pcp_batch=chosen(raw.pcp_batch),
    )


def _info(content: bytes, name: str) -> ImageInfo:
    raw = ffi.new("struct pm_image_info *")
    status = lib.pm_image_info(ffi.from_buffer(content), len(content), raw)
    if status:
        raise error_of(status, text=_NOT_LOADED.get(status, ""), path=name)
    return ImageInfo(
        hash=f"{raw.hash:016x}",
        nr_bytes=len(content),
        nr_frames=raw.nr_frames,
        nr_cpus=raw.nr_cpus,
        nr_zones=raw.nr_zones,
        version=raw.version,
        settings=_settings(raw.settings),
    )


def info(path: str | os.PathLike[str]) -> ImageInfo:
    """Reads what an image says of itself, and checks its hash.

    Raises:
        PymigrateError: It is no image, it is damaged, or a build with other constants wrote it.
    """
    return _info(Path(path).read_bytes(), os.fspath(path))


def load(path: str | os.PathLike[str], *, memory: MemoryOptions | None = None) -> Machine:
    """Makes the machine that was saved.

    Args:
        path: The image.
        memory: As for `Machine`: what was allocated stays allocated beside the frames of owners.

    Raises:
        PymigrateError: As for `info`.
    """
    content = Path(path).read_bytes()
    about = _info(content, os.fspath(path))
    out = ffi.new("struct pm_machine **")
    status = lib.pm_image_load(ffi.from_buffer(content), len(content), out)
    if status:
        raise error_of(status, text=_NOT_LOADED.get(status, ""), path=os.fspath(path))
    return Machine._adopt(out[0], about.settings, memory)


def machine_at(recording: Recording, seconds: float) -> Machine:
    """Makes a machine as it is, by the simulation, so many seconds after a recording's snapshot.

    Raises:
        ValueError: The recording is shorter, or `seconds` is negative.
    """
    import numpy as np

    from pymigrate.replaying.policy import Policy
    from pymigrate.replaying.simulate import open_simulation

    simulation = open_simulation(recording, Policy())
    times = recording.events.time_ns
    first = simulation.first
    length = (int(times[-1]) - simulation.state.frames.time_ns) / 1e9 if len(times) > first else 0.0
    if not 0 <= seconds <= length:
        raise ArgumentError(f"the recording goes on for {length:.3f} s after its snapshot: {seconds} is outside of it")
    until = simulation.state.frames.time_ns + round(seconds * 1e9)
    last = max(first, int(np.searchsorted(times, np.uint64(until), side="right")))
    simulation.play(first, last)
    return simulation.machine
