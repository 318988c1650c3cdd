"""The numbers of REFERENCE section 4, and of real machines."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pymigrate import Machine, Settings, ZoneKind
from pymigrate._core import ffi, lib

DATA = Path(os.environ.get("PYMIGRATE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
SNAPSHOTS = sorted(DATA.glob("*/start/zoneinfo"))
KINDS = {kind.label: kind for kind in ZoneKind}


def test_watermarks_and_batch_of_one_gibibyte() -> None:
    machine = Machine([(ZoneKind.NORMAL, 0, 1 << 18)])
    assert machine.zones[0].wmark == (1024, 1286, 1548, 1810)
    assert machine.pcp_info(0, 0).batch == 63


@pytest.mark.parametrize(
    ("blocks", "order", "fragmentation", "unusable"),
    [({0: 1024}, 9, 998, 1000), ({3: 64}, 4, 485, 1000), ({0: 100, 9: 1}, 9, -1000, 163), ({}, 4, 0, 1000)],
)
def test_indices(blocks: dict[int, int], order: int, fragmentation: int, unusable: int) -> None:
    counts = ffi.new("uint64_t[]", [blocks.get(o, 0) for o in range(lib.PM_NR_ORDERS)])
    assert lib.pm_fragmentation_index(counts, order) == fragmentation
    assert lib.pm_unusable_index(counts, order) == unusable
    if not blocks:
        return
    # The same blocks on the lists of a machine: each in a stretch of its own, so that nothing merges.
    pfns, orders = [], []
    at = 0
    for o, n in blocks.items():
        pfns += [at + (i << (o + 1)) for i in range(n)]
        orders += [o] * n
        at += (n << (o + 1)) + 1024 & ~1023
    machine = Machine([(ZoneKind.NORMAL, 0, at + 1024)], start="unplaced")
    machine.load_blocks(pfns, orders, np.full(len(pfns), lib.PM_PLACE_FREE), np.ones(len(pfns), dtype=int))
    assert machine.fragmentation_index(order) == fragmentation
    assert machine.unusable_index(order, zone=0) == unusable
    assert machine.extfrag().fragmentation[0, order] == fragmentation
    assert machine.extfrag().unusable[0, order] == unusable


def real_zones(text: str) -> dict[str, dict[str, Any]]:
    """What a zoneinfo text says about each zone that has memory, read in the crudest way."""
    zones = {}
    for part in re.split(r"^Node 0, zone\s+", text, flags=re.MULTILINE)[1:]:
        name = part.split(maxsplit=1)[0]
        numbers = {
            k: int(v) for k, v in re.findall(r"^\s+(min|low|high|promo|spanned|present|managed)\s+(\d+)$", part, re.M)
        }
        if not numbers.get("managed"):
            continue
        pages = re.findall(r"^\s+(high_min|high_max|batch):\s+(\d+)$", part, re.M)
        protection = re.search(r"protection: \(([\d, ]+)\)", part)
        start = re.search(r"start_pfn:\s+(\d+)", part)
        boost = re.search(r"boost\s+(\d+)", part)
        assert protection
        assert start
        zones[name] = {
            **numbers,
            **{key: int(value) for key, value in pages},
            "boost": int(boost[1]) if boost else 0,
            "protection": tuple(int(v) for v in protection[1].split(", "))[:4],
            "start_pfn": int(start[1]),
        }
    return zones


def absent(zone: dict[str, Any]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Holes and reserved frames at a zone's end, as many as the real zone has: where they are does not matter here."""
    end = zone["start_pfn"] + zone["spanned"]
    present_end = end - (zone["spanned"] - zone["present"])
    managed_end = present_end - (zone["present"] - zone["managed"])
    holes = [(present_end, end)] if present_end < end else []
    return holes, [(managed_end, present_end)] if managed_end < present_end else []


@pytest.mark.skipif(not SNAPSHOTS, reason=f"no recordings in {DATA} (PYMIGRATE_DATA)")
@pytest.mark.parametrize("path", SNAPSHOTS, ids=[path.parts[-3] for path in SNAPSHOTS])
def test_a_real_machine_has_the_same_marks(path: Path) -> None:
    """Same zones, same min_free_kbytes: same watermarks, reserves and sizes of the per-CPU lists as that kernel."""
    meta = json.loads((path.parents[1] / "meta.json").read_text())
    real = real_zones(path.read_text())
    parts = [absent(zone) for zone in real.values()]
    machine = Machine(
        [(KINDS[name], zone["start_pfn"], zone["spanned"]) for name, zone in real.items()],
        cpus=meta["cpus"],
        holes=[pair for holes, _ in parts for pair in holes],
        reserved=[pair for _, reserved in parts for pair in reserved],
        settings=Settings(
            min_free_kbytes=int(meta["sysctl"]["min_free_kbytes"]),
            watermark_scale_factor=int(meta["sysctl"]["watermark_scale_factor"]),
        ),
    )
    for index, (zone, want) in enumerate(zip(machine.zones, real.values(), strict=True)):
        pcp = machine.pcp_info(0, index)
        got = {
            "spanned": zone.spanned,
            "present": zone.present,
            "managed": zone.managed,
            **dict(zip(("min", "low", "high", "promo"), (mark + want["boost"] for mark in zone.wmark), strict=True)),
            "protection": zone.lowmem_reserve,
            "batch": pcp.batch,
            "high_min": pcp.high_min,
            "high_max": pcp.high_max,
        }
        assert got == {key: want[key] for key in got}
    # And our own text says the same to the same reader.
    ours = real_zones(machine.zoneinfo())
    for name, want in real.items():
        marks = {
            key: value + want["boost"] * (key in ("min", "low", "high", "promo"))
            for key, value in ours[name].items()
            if isinstance(value, int)
        }
        marks.pop("boost")
        assert marks == {key: want[key] for key in marks}


def columns(text: str) -> list[list[int]]:
    """Where the fields of each line end: what a script that cuts columns sees."""
    return [[match.end() for match in re.finditer(r"\S+", line)] for line in text.splitlines()]


@pytest.mark.skipif(not SNAPSHOTS, reason=f"no recordings in {DATA} (PYMIGRATE_DATA)")
@pytest.mark.parametrize("name", ["buddyinfo", "pagetypeinfo"])
def test_the_texts_have_the_columns_of_the_kernel(name: str) -> None:
    real = (SNAPSHOTS[0].parent / name).read_text()
    machine = Machine([(ZoneKind.DMA, 1, 4095), (ZoneKind.DMA32, 4096, 1044480), (ZoneKind.NORMAL, 1 << 20, 5505024)])
    ours = getattr(machine, name)()
    assert columns(ours) == columns(real)
    words = [[word for word in line.split() if not word.strip(",").isdigit()] for line in real.splitlines()]
    assert [[word for word in line.split() if not word.strip(",").isdigit()] for line in ours.splitlines()] == words
