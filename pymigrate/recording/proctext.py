"""The kernel's texts about zones: /proc/buddyinfo, /proc/pagetypeinfo, /proc/zoneinfo, /proc/vmstat, /proc/meminfo.

Every parser takes the text and returns frozen dataclasses with numpy arrays; damaged text is a `RecordingError` that
names the line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pymigrate.errors import RecordingError

__all__ = [
    "BuddyInfo",
    "PageTypeInfo",
    "PerCpuLists",
    "ZoneInfo",
    "parse_buddyinfo",
    "parse_counters",
    "parse_pagetypeinfo",
    "parse_zoneinfo",
]

ZoneKey = tuple[int, str]
"""A zone: its node's number and its name, such as ``(0, "Normal")``."""


def _number(text: str, *, line: int, what: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise RecordingError(f"{what}: {text[:40]!r} is not a number", line=line) from None
    if not -(2**63) <= value < 2**63:
        raise RecordingError(f"{what}: {text[:40]} is out of range", line=line)
    return value


def _row(text: str, *, line: int, what: str) -> list[int]:
    # pagetypeinfo stops counting at 100000 and says so with a '>'.
    return [_number(word.lstrip(">"), line=line, what=what) for word in text.split()]


@dataclass(frozen=True, kw_only=True, eq=False)
class BuddyInfo:
    """Free blocks.

    Attributes:
        zones: Z zones, in the order of the text.
        free: Free blocks by zone and order, shape ``(Z, orders)``.
    """

    zones: tuple[ZoneKey, ...]
    free: NDArray[np.int64]


_BUDDY_LINE = re.compile(r"Node\s+(\d+), zone\s+(\S+)\s+([\d\s]+)$")


def parse_buddyinfo(text: str) -> BuddyInfo:
    r"""Parses /proc/buddyinfo.

    Raises:
        RecordingError: A line is damaged; the message names it.

    Example:
        >>> parse_buddyinfo("Node 0, zone   Normal      3      1 \n").free.tolist()
        [[3, 1]]
    """
    zones: list[ZoneKey] = []
    rows: list[list[int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _BUDDY_LINE.match(line)
        if match is None:
            raise RecordingError(f"buddyinfo: {line[:60]!r} is not a zone's line", line=number)
        zones.append((int(match[1]), match[2]))
        rows.append(_row(match[3], line=number, what="buddyinfo"))
        if len(rows[-1]) != len(rows[0]) or len(rows[-1]) > 64:
            raise RecordingError(f"buddyinfo: {len(rows[-1])} orders, {len(rows[0])} in the first line", line=number)
    free = np.array(rows, np.int64).reshape(len(rows), len(rows[0]) if rows else 0)
    return BuddyInfo(zones=tuple(zones), free=free)


@dataclass(frozen=True, kw_only=True, eq=False)
class PageTypeInfo:
    """Free blocks and pageblocks by migrate type.

    Attributes:
        zones: Z zones, in the order of the text.
        types: T names of migrate types, by their number in that kernel.
        pageblock_order: Order of a pageblock.
        free: Free blocks by zone, type and order, shape ``(Z, T, orders)``. Kernels stop counting at 100000.
        blocks: Pageblocks by zone and type, shape ``(Z, T)``.
    """

    zones: tuple[ZoneKey, ...]
    types: tuple[str, ...]
    pageblock_order: int
    free: NDArray[np.int64]
    blocks: NDArray[np.int64]


_TYPE_LINE = re.compile(r"Node\s+(\d+), zone\s+(\S+), type\s+(\S+)\s+([\d\s>]+)$")
_BLOCKS_LINE = re.compile(r"Node\s+(\d+), zone\s+(\S+)\s+([\d\s]+)$")


def parse_pagetypeinfo(text: str) -> PageTypeInfo:
    """Parses /proc/pagetypeinfo.

    Raises:
        RecordingError: A line is damaged or missing; the message names it.
    """
    free: dict[ZoneKey, dict[str, list[int]]] = {}
    blocks: dict[ZoneKey, list[int]] = {}
    types: tuple[str, ...] = ()
    order = -1
    number = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("Page block order:"):
            order = _number(line.partition(":")[2].strip(), line=number, what="pagetypeinfo")
        elif line.startswith("Number of blocks type"):
            types = tuple(line[len("Number of blocks type") :].split())
        elif (match := _TYPE_LINE.match(line)) is not None:
            row = free.setdefault((int(match[1]), match[2]), {})
            row[match[3]] = _row(match[4], line=number, what="pagetypeinfo")
        elif (match := _BLOCKS_LINE.match(line)) is not None:
            blocks[int(match[1]), match[2]] = _row(match[3], line=number, what="pagetypeinfo")
        elif line.strip() and not line.startswith(("Pages per block:", "Free pages count", "Number of mixed")):
            raise RecordingError(f"pagetypeinfo: {line[:60]!r} is not known", line=number)
    zones = tuple(free)
    if not types:
        types = tuple(free[zones[0]]) if zones else ()
    if set(blocks) != set(zones):
        raise RecordingError("pagetypeinfo: the two parts name different zones", line=number)
    try:
        free_array = np.array([[free[zone][name] for name in types] for zone in zones], np.int64)
        blocks_array = np.array([blocks[zone] for zone in zones], np.int64)
    except (KeyError, ValueError):
        raise RecordingError("pagetypeinfo: the zones have different types or orders", line=number) from None
    if zones and (free_array.ndim != 3 or blocks_array.shape != free_array.shape[:2]):
        raise RecordingError("pagetypeinfo: the zones have different types or orders", line=number)
    return PageTypeInfo(zones=zones, types=types, pageblock_order=order, free=free_array, blocks=blocks_array)


@dataclass(frozen=True, kw_only=True)
class PerCpuLists:
    """A zone's per-CPU lists on one CPU, in frames; fields that an older kernel does not print are -1."""

    cpu: int
    count: int = -1
    high: int = -1
    batch: int = -1
    high_min: int = -1
    high_max: int = -1


@dataclass(frozen=True, kw_only=True)
class ZoneInfo:
    """One zone of /proc/zoneinfo. Sizes and watermarks are in frames.

    Attributes:
        node: The node's number.
        name: The zone's name.
        start_pfn: First frame; -1 where the zone is not populated (then all sizes are 0).
        free: Free frames in the zone's lists.
        boost: Watermark boost.
        min: Watermark.
        low: Watermark.
        high: Watermark.
        promo: Watermark, or -1.
        spanned: Frames from the first to the last, holes included.
        present: Frames that exist.
        managed: Frames that the allocator manages.
        cma: Frames in CMA areas.
        protection: lowmem_reserve by zone of the request.
        pagesets: The per-CPU lists, by CPU.
        counters: Every other counter of the zone by its name.
    """

    node: int
    name: str
    start_pfn: int = -1
    free: int = 0
    boost: int = 0
    min: int = 0
    low: int = 0
    high: int = 0
    promo: int = -1
    spanned: int = 0
    present: int = 0
    managed: int = 0
    cma: int = 0
    protection: tuple[int, ...] = ()
    pagesets: tuple[PerCpuLists, ...] = ()
    counters: dict[str, int] = field(default_factory=dict)


_ZONE_HEAD = re.compile(r"Node\s+(\d+), zone\s+(\S+)\s*$")
_ZONE_FIELDS = frozenset(
    ("start_pfn", "free", "boost", "min", "low", "high", "promo", "spanned", "present", "managed", "cma")
)
_LIST_FIELDS = frozenset(("count", "high", "batch", "high_min", "high_max"))


class _ZoneText:
    """What was read of one zone so far."""

    def __init__(self, node: int, name: str) -> None:
        self.node = node
        self.name = name
        self.values: dict[str, int] = {}
        self.counters: dict[str, int] = {}
        self.protection: tuple[int, ...] = ()
        self.lists: list[dict[str, int]] = []
        self.per_node = False

    def take(self, line: str, number: int) -> None:
        words = line.replace("pages free", "free").split()
        name = words[0].rstrip(":")
        if line.strip() == "per-node stats":
            self.per_node = True
        elif name == "protection":
            found = re.findall(r"\d+", line)
            self.protection = tuple(_number(word, line=number, what="zoneinfo") for word in found)
        elif name == "cpu" and len(words) == 2:
            self.lists.append({"cpu": _number(words[1], line=number, what="zoneinfo")})
        elif len(words) == 2:
            self._take_value(name, _number(words[1], line=number, what="zoneinfo"))
        elif line.strip() != "pagesets" and not line.strip().startswith("vm stats threshold"):
            raise RecordingError(f"zoneinfo: {line[:60]!r} is not known", line=number)

    def _take_value(self, name: str, value: int) -> None:
        if name == "free":
            self.per_node = False
        if self.lists and name in _LIST_FIELDS:
            self.lists[-1][name] = value
        elif name in _ZONE_FIELDS:
            self.values[name] = value
        elif not self.per_node:
            self.counters[name] = value

    def done(self) -> ZoneInfo:
        if not self.values.get("spanned"):
            self.values["start_pfn"] = -1
        lists = tuple(PerCpuLists(**values) for values in self.lists)
        return ZoneInfo(
            node=self.node,
            name=self.name,
            protection=self.protection,
            pagesets=lists,
            counters=self.counters,
            **self.values,
        )


def parse_zoneinfo(text: str) -> tuple[ZoneInfo, ...]:
    """Parses /proc/zoneinfo, zones without memory included.

    Raises:
        RecordingError: A line is damaged; the message names it.
    """
    zones: list[_ZoneText] = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _ZONE_HEAD.match(line)
        if match is not None:
            zones.append(_ZoneText(int(match[1]), match[2]))
        elif line.strip():
            if not zones:
                raise RecordingError(f"zoneinfo: {line[:60]!r} before the first zone", line=number)
            zones[-1].take(line, number)
    return tuple(zone.done() for zone in zones)


def parse_counters(text: str) -> dict[str, int]:
    """Parses /proc/vmstat or /proc/meminfo (the values there are in KiB) to numbers by name.

    Raises:
        RecordingError: A line is damaged; the message names it.
    """
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if len(words) == 3 and words[2] == "kB":
            words.pop()
        if not words:
            continue
        if len(words) != 2:
            raise RecordingError(f"counters: {line[:60]!r} is not a name and a number", line=number)
        found[words[0].rstrip(":")] = _number(words[1], line=number, what="counters")
    return found
