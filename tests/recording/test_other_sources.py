"""page_owner's text, the JSON of plot-fragmentation's tracker, and gfp masks of other kernels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from traces import BUDDYINFO

from pymigrate.errors import RecordingError
from pymigrate.gfp import Gfp, GfpBits
from pymigrate.recording import EVENT_KINDS, NO_PFN, Recording, import_recording, parse_trace
from pymigrate.recording.command import import_
from pymigrate.recording.export_command import export
from pymigrate.recording.tracker import TYPES, read_tracker, tracker_json

PAGE_OWNER = """\
Page allocated via order 0, mask 0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), pid 14, tgid 12 (a (b)), ts 7000 ns
PFN 0x2001 type Movable Block 16 type Movable Flags 0x17fffc0000(referenced|uptodate|lru)
 get_page_from_freelist+0x1b0/0x1f0
 __alloc_pages+0x10/0x20

Page allocated via order 3, mask 0x52c40(GFP_NOIO|__GFP_NORETRY|__GFP_COMP), pid 9, ts 5000 ns, free_ts 4000 ns
PFN 8200 type Unmovable Block 16 type Unmovable Flags 0x10200(slab|head)
 new_slab+0x25f/0x3c0

"""


def test_page_owner_gives_the_allocations_that_live(tmp_path):
    path = tmp_path / "page_owner.txt"
    path.write_text(PAGE_OWNER)
    result = import_recording(path)
    events = result.recording.events
    assert result.parse.format == "page-owner"
    assert events.time_ns.tolist() == [5000, 7000]
    assert events.pfn.tolist() == [8200, 0x2001]
    assert events.order.tolist() == [3, 0]
    assert events.migratetype.tolist() == [0, 1]
    assert events.tid.tolist() == [9, 14]
    assert Gfp(int(events.gfp[1])) == Gfp.HIGHUSER_MOVABLE | Gfp.COMP
    assert result.parse.skipped == result.parse.unsorted == 0
    assert result.parse.lines == PAGE_OWNER.count("\n")


def test_page_owner_of_an_old_kernel_has_neither_time_nor_pid():
    text = b"Page allocated via order 1, mask 0xcc0\nPFN 77 type Reclaimable Block 0 type Movable Flags 0x0()\n"
    events, _ = parse_trace([text])
    assert (events.time_ns[0], events.tid[0], events.pfn[0], events.migratetype[0]) == (0, 0, 77, 2)
    assert Gfp(int(events.gfp[0])) == Gfp.KERNEL


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ("Page allocated via order 11, mask 0x0(none)\n", "the order is out of its range", 1),
        ("Page allocated via order 1\n", "no mask", 1),
        ("Page allocated via order 1, mask 0\nPage allocated via order 1, mask 0\n", "no frame number", 2),
        ("Page allocated via order 1, mask 0\nPFN x type Movable\n", "frame number", 2),
        ("Page allocated via order 1, mask 0\nPFN 5 type Strange\n", "no migrate type", 2),
    ],
)
def test_damage_in_page_owner_is_named(text, reason, line):
    with pytest.raises(RecordingError, match=reason) as error:
        parse_trace([text.encode()])
    assert error.value.line == line


TRACKER = {
    "metadata": {"start_time": 1.5, "end_time": 9.5, "duration": 8.0, "total_events": 3, "kernel_version": "6.17.0"},
    "events": [
        {
            "timestamp": 2.5,
            "absolute_time": "2025-09-03T13:03:33.518124",
            "event_type": "extfrag",
            "pid": 48,
            "tid": 49,
            "comm": "mount",
            "order": 3,
            "fallback_order": 10,
            "migrate_from": "MOVABLE",
            "migrate_to": "UNMOVABLE",
            "is_steal": False,
            "node": -1,
            "fragmentation_index": 700,
        },
        {
            "timestamp": -0.000001,
            "event_type": "compaction_success",
            "pid": 50,
            "order": 9,
            "zone": "Normal",
            "node": 0,
        },
        {"timestamp": 3.25, "event_type": "compaction_failure", "pid": 51, "order": 9, "fragmentation_index": -1},
    ],
    "statistics": {},
}


def written(tmp_path, content):
    path = tmp_path / "tracker.json"
    path.write_text(json.dumps(content, indent=2))
    return path


def test_the_trackers_json_is_read(tmp_path):
    result = import_recording(written(tmp_path, TRACKER))
    events = result.recording.events
    assert [EVENT_KINDS[kind] for kind in events.kind] == [
        "mm_compaction_finished",
        "mm_page_alloc_extfrag",
        "mm_compaction_finished",
    ]
    assert events.time_ns.tolist() == [0, 2_500_001_000, 3_250_001_000]
    assert events.tid.tolist() == [50, 49, 51]
    assert (events.order[1], events.migratetype[1], events.pfn[1]) == (3, 0, NO_PFN)
    assert (events.arg0[1], events.arg1[1], events.arg2[1]) == (10, 1, 1)
    assert result.recording.host["kernel"] == "6.17.0"
    result.recording.save(tmp_path / "rec.npz")


def test_what_is_exported_reads_the_same(tmp_path):
    import_recording(written(tmp_path, TRACKER)).recording.save(tmp_path / "rec.npz")
    done = CliRunner().invoke(export, [str(tmp_path / "rec.npz"), "-o", str(tmp_path / "again.json")])
    assert done.exit_code == 0
    first, _, _ = read_tracker(tmp_path / "tracker.json")
    again, _, _ = read_tracker(tmp_path / "again.json")
    for name, column in first.columns():
        assert np.array_equal(column, getattr(again, name)), name
    content = json.loads((tmp_path / "again.json").read_text())
    assert content["metadata"]["total_events"] == 3
    assert content["statistics"] == {"extfrag": {"3": 1}, "compaction": {"9": {"success": 1, "failure": 1}}}
    # What the tracker writes, all of it.
    extfrag = next(row for row in content["events"] if row["event_type"] == "extfrag")
    assert set(extfrag) == set(TRACKER["events"][0])


def test_the_exported_index_is_the_kernels(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    event = "pfn=0x200 alloc_order=9 fallback_order=10 alloc_migratetype=1 fallback_migratetype=0 change_ownership=1"
    (folder / "events.txt").write_text(f" 1 [000] 5.000000001: kmem:mm_page_alloc_extfrag: page=0 {event}\n")
    (folder / "samples.jsonl").write_text(json.dumps({"t_ns": 1, "buddyinfo": BUDDYINFO}) + "\n")
    content = tracker_json(import_recording(folder).recording)
    free = [21887, 61123, 43378, 14731, 2045, 70, 4, 7, 3]
    frames = sum(n << order for order, n in enumerate(free))
    assert content["events"][0]["fragmentation_index"] == 1000 - (1000 + frames * 1000 // 512) // sum(free)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestamp": "soon"}, "event 1: timestamp"),
        ({"timestamp": float("nan")}, "event 1: timestamp"),
        ({"order": 11}, "event 1: order"),
        ({"migrate_to": "BLUE"}, "event 1: migrate_to"),
        ({"is_steal": 1}, "event 1: is_steal"),
        ({"event_type": "party"}, "event 1: event_type"),
    ],
)
def test_damage_in_the_trackers_json_is_named(change, message, tmp_path):
    content = {**TRACKER, "events": [TRACKER["events"][0] | change]}
    with pytest.raises(RecordingError, match=message):
        read_tracker(written(tmp_path, content))
    assert read_tracker(written(tmp_path, content), lenient=True)[1].skipped == 1


@given(
    st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda c: st.lists(c, max_size=3)),
    st.text(max_size=9),
)
def test_any_json_is_read_or_refused(tmp_path_factory, value, name):
    path = tmp_path_factory.mktemp("json") / "x"
    path.write_text(json.dumps({"metadata": value, "events": [{"event_type": "extfrag", name: value}]}))
    with pytest.raises(RecordingError):
        read_tracker(path)


def test_types_have_the_trackers_names():
    assert TYPES[:3] == ("UNMOVABLE", "MOVABLE", "RECLAIMABLE")


@pytest.mark.parametrize(
    ("version", "mask", "flags"),
    [
        ("4.9.0-19-amd64", "0x24000c0", Gfp.KERNEL),
        ("4.14", "0x14200ca", Gfp.HIGHUSER_MOVABLE),
        ("4.19.1", "0x6280ca", Gfp.HIGHUSER_MOVABLE | Gfp.ZERO),
        ("5.4", "0x100cca", Gfp.HIGHUSER_MOVABLE),
        ("5.10", "0xa20", Gfp.ATOMIC),
        ("6.1", "0x820", Gfp.ATOMIC),
    ],
)
def test_hexadecimal_flags_mean_what_their_kernel_meant(version, mask, flags):
    assert GfpBits.of_version(version).parse(mask) == flags


def test_import_takes_the_kernels_version_or_its_format_file(tmp_path):
    text = " 12 [001] 5.000000001: kmem:mm_page_alloc: page=0x9 pfn=0x9 order=3 migratetype=0 gfp_flags=0x24000c0\n"
    trace, output = tmp_path / "trace.txt", tmp_path / "rec.npz"
    trace.write_text(text)

    def flags_with(*options):
        done = CliRunner().invoke(import_, [str(trace), "-o", str(output), *options])
        assert done.exit_code == 0, done.output
        return Gfp(int(Recording.load(output).events.gfp[0]))

    assert flags_with("--gfp", "4.9") == Gfp.KERNEL
    assert flags_with() != Gfp.KERNEL
    format_file = tmp_path / "format"
    common = "field:unsigned short common_type; offset:0; size:2;\nfield:int common_pid; offset:4; size:4;\n"
    fields = "".join(
        f"field:unsigned long {name}; offset:{offset}; size:8;\n"
        for name, offset in (("pfn", 8), ("order", 16), ("gfp_flags", 24), ("migratetype", 32))
    )
    flags = '{(unsigned long)(1UL << 25), "__GFP_IO"}, {(1UL) << 22, "__GFP_FS"}, {0xc0, "GFP_USER"}'
    format_file.write_text(
        f"name: mm_page_alloc\nID: 9\nformat:\n{common}{fields}\n"
        f'print fmt: "", __print_flags(REC->gfp_flags, "|", {flags})\n'
    )
    assert flags_with("--gfp", str(format_file)) == Gfp.IO | Gfp.FS
    assert CliRunner().invoke(import_, [str(trace), "-o", str(output), "--gfp", "2.6"]).exit_code == 2
