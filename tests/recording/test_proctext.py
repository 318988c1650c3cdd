from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import BUDDYINFO, PAGETYPEINFO, ZONEINFO

from pymigrate.errors import RecordingError
from pymigrate.recording import (
    Samples,
    parse_buddyinfo,
    parse_counters,
    parse_pagetypeinfo,
    parse_samples,
    parse_zoneinfo,
)
from pymigrate.recording.samples import NOT_READ


def test_buddyinfo():
    info = parse_buddyinfo(BUDDYINFO)
    assert info.zones == ((0, "DMA"), (0, "Normal"))
    assert info.free.shape == (2, 11)
    assert info.free[0].tolist() == [0] * 8 + [1, 1, 3]
    assert info.free[1, 1] == 61123


def test_pagetypeinfo():
    info = parse_pagetypeinfo(PAGETYPEINFO)
    assert info.types == ("Unmovable", "Movable")
    assert info.pageblock_order == 9
    assert info.free.shape == (2, 2, 11)
    assert info.free[1, 1, 0] == 100000
    assert info.blocks.tolist() == [[1, 7], [120, 10540]]


def test_zoneinfo():
    dma, movable = parse_zoneinfo(ZONEINFO)
    assert (dma.name, dma.start_pfn, dma.spanned, dma.present, dma.managed) == ("DMA", 1, 4095, 3998, 3840)
    assert (dma.min, dma.low, dma.high, dma.promo, dma.boost) == (10, 13, 16, 19, 0)
    assert dma.protection == (0, 3018, 24090)
    assert [(p.cpu, p.count, p.high, p.batch, p.high_max) for p in dma.pagesets] == [
        (0, 5, 6, 1, 240),
        (1, 0, 0, 1, -1),
    ]
    assert dma.counters["nr_free_pages"] == 3840
    assert "nr_inactive_anon" not in dma.counters
    assert (movable.spanned, movable.start_pfn) == (0, -1)


def test_counters():
    assert parse_counters("nr_free_pages 12\nMemFree:   34 kB\n") == {"nr_free_pages": 12, "MemFree": 34}


@pytest.mark.parametrize(
    ("parse", "text", "line"),
    [
        (parse_buddyinfo, "Node 0, zone DMA 1 2\nNode 0, zone X 1\n", 2),
        (parse_buddyinfo, "hello\n", 1),
        (parse_pagetypeinfo, "Page block order: nine\n", 1),
        (parse_pagetypeinfo, PAGETYPEINFO.replace("Node 0, zone   Normal          120", "Node 0, zone   Moon 120"), 12),
        (parse_zoneinfo, "  pages free 1\n", 1),
        (parse_zoneinfo, "Node 0, zone DMA\n  min zebra\n", 2),
        (parse_counters, "a 1\nb 2 3\n", 2),
    ],
)
def test_damage_names_the_line(parse, text, line):
    with pytest.raises(RecordingError) as error:
        parse(text)
    assert error.value.line == line


@given(
    parse=st.sampled_from([parse_buddyinfo, parse_pagetypeinfo, parse_zoneinfo, parse_counters]),
    text=st.sampled_from([BUDDYINFO, PAGETYPEINFO, ZONEINFO]),
    at=st.integers(0, 3000),
    insert=st.text(max_size=9),
    drop=st.integers(0, 30),
)
def test_damage_is_an_error_or_harmless(parse, text, at, insert, drop):
    at %= len(text)
    try:
        parse(text[:at] + insert + text[at + drop :])
    except RecordingError as error:
        assert error.line is not None  # noqa: PT017


def sample(t_ns, **more):
    return json.dumps(
        {"t_ns": t_ns, "buddyinfo": BUDDYINFO, "pagetypeinfo": PAGETYPEINFO, "vmstat": {"a": t_ns}, **more}
    )


def test_samples():
    samples, skipped = parse_samples([(sample(5) + "\n" + sample(9, vmstat={"a": 1, "b": 2}) + "\n").encode()])
    assert skipped == 0
    assert samples.t_ns.tolist() == [5, 9]
    assert samples.buddy.shape == (2, 2, 11)
    assert samples.free_by_type.shape == (2, 2, 2, 11)
    assert samples.blocks_by_type.shape == (2, 2, 2)
    assert samples.vmstat["a"].tolist() == [5, 1]
    assert samples.vmstat["b"].tolist() == [-1, 2]
    assert samples.between(6, 9).t_ns.tolist() == [9]


def test_a_sample_may_come_without_the_text_that_costs_the_kernel_much():
    light = json.dumps({"t_ns": 7, "buddyinfo": BUDDYINFO, "vmstat": {"a": 1}})
    samples, skipped = parse_samples([(sample(5) + "\n" + light + "\n" + sample(9) + "\n").encode()])
    assert skipped == 0
    assert samples.types == ("Unmovable", "Movable")
    assert np.all(samples.free_by_type[1] == NOT_READ)
    assert np.all(samples.blocks_by_type[1] == NOT_READ)
    assert np.array_equal(samples.free_by_type[0], samples.free_by_type[2])
    assert samples.buddy[1].sum() > 0


def test_samples_without_types():
    samples, _ = parse_samples([json.dumps({"t_ns": 1, "buddyinfo": BUDDYINFO}).encode()])
    assert samples.free_by_type.shape == (1, 2, 0, 11)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"t_ns": "now"}',
        '{"t_ns": -1}',
        sample(7, buddyinfo=BUDDYINFO.replace("DMA", "AMD")),
        sample(7, vmstat=[1]),
        sample(7, pagetypeinfo=5),
    ],
)
def test_a_damaged_sample(line):
    text = [(sample(5) + "\n" + line + "\n").encode()]
    with pytest.raises(RecordingError) as error:
        parse_samples(text, path="samples.jsonl")
    assert error.value.line == 2
    samples, skipped = parse_samples(text, lenient=True)
    assert (len(samples), skipped) == (1, 1)


def test_samples_out_of_order():
    with pytest.raises(RecordingError, match="order of time"):
        parse_samples([(sample(5) + "\n" + sample(4)).encode()])


def test_no_samples():
    samples, _ = parse_samples([])
    assert len(samples) == len(Samples.empty()) == 0
    assert np.asarray(samples.buddy).shape == (0, 0, 0)
