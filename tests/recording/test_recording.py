from __future__ import annotations

import dataclasses
import gzip
import io
import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces import BUDDYINFO, PAGETYPEINFO, PERF, ZONEINFO

from pymigrate.errors import RecordingError
from pymigrate.recording import NO_PFN, RESOLUTIONS, Recording, flag_bit, import_recording, pack_flags, sources

FRAMES = 0x1000


def write_source(folder):
    """A folder laid out like a recording of a real machine."""
    (folder / "start").mkdir(parents=True)
    (folder / "events.perf-script.txt").write_text(PERF)
    flags = np.zeros(FRAMES, "<u8")
    flags[0x100:0x140] = 1 << 10
    flags[:16] = 1 << 32
    (folder / "start" / "kpageflags.u64").write_bytes(flags.tobytes())
    (folder / "start" / "kpagecount.u64").write_bytes((flags >> 10).tobytes())
    for name, text in (("buddyinfo", BUDDYINFO), ("pagetypeinfo", PAGETYPEINFO), ("zoneinfo", ZONEINFO)):
        (folder / "start" / name).write_text(text)
    times = {"kpageflags": [[0, 8022_000_000_000, 8022_250_000_000]], "buddyinfo": 8022_260_000_000}
    (folder / "start" / "times.json").write_text(json.dumps(times))
    sample = {"buddyinfo": BUDDYINFO, "pagetypeinfo": PAGETYPEINFO, "vmstat": {"pgfree": 7}}
    lines = [json.dumps({"t_ns": t, **sample}) for t in (8022_300_000_000, 8022_500_000_000, 8023_000_000_000)]
    (folder / "samples.jsonl").write_text("\n".join(lines))
    meta = {
        "kernel": "6.18",
        "cpus": 2,
        "page_size": 4096,
        "pageblock_order": 9,
        "zones": [{"name": "DMA", "start_pfn": 1, "spanned": FRAMES - 1}],
        "pfn_end": FRAMES,
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "source")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    path = folder / "rec.npz"
    import_recording(write_source(folder / "source")).recording.save(path)
    return path


def same(left, right):
    """Whether two recordings hold the same, field by field."""
    for field in dataclasses.fields(left):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if dataclasses.is_dataclass(a):
            same(a, b)
        elif isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        else:
            assert a == b, field.name
    return True


def test_import_of_a_folder(source):
    result = import_recording(source)
    recording = result.recording
    assert recording.cpus == 2
    assert recording.pfn_end == FRAMES
    assert [zone.name for zone in recording.zones] == ["DMA"]
    assert recording.frame_flags[0x100] == flag_bit("BUDDY")
    assert recording.frame_flags[3] == flag_bit("RESERVED")
    assert recording.start_ns == {"buddyinfo": 8022_260_000_000}
    assert len(recording.samples) == 3
    assert recording.zoneinfo[0].managed == 3840
    assert result.parse.skipped == 0
    assert result.resolve.unresolved_share == 0.0


def test_events_older_than_the_snapshot_of_their_frame_do_not_count(source):
    events = import_recording(source).recording.events
    # Frame 0x400 of 0x1000 was read a quarter into the 250 ms that the reading took; its ALLOC came later.
    names = [RESOLUTIONS.get(value, "") for value in events.resolution]
    assert names[3] == "new"
    assert names[8] == "freed-initial"
    assert events.allocation[3] == 1
    assert events.allocation[8] == 2


def test_roundtrip(source, tmp_path):
    recording = import_recording(source).recording
    for compression in ("deflate", "lzma"):
        path = tmp_path / f"{compression}.npz"
        recording.save(path, compression=compression)
        assert same(recording, Recording.load(path))
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".npz") == ["source"]


def test_the_same_recording_makes_the_same_bytes(source, tmp_path):
    recording = import_recording(source).recording
    recording.save(tmp_path / "a.npz")
    recording.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_readable_with_numpy_alone(saved):
    code = (
        "import sys, json, numpy as np\n"
        "with np.load(sys.argv[1], allow_pickle=False) as file:\n"
        "    meta = json.loads(file['meta'].tobytes())\n"
        "    times = meta['events']['time_first_ns'] + np.cumsum(file['events_time_step'], dtype=np.uint64)\n"
        "    pfn = np.cumsum(file['events_pfn_step'], dtype=np.uint32)\n"
        "print(int(times[-1]), hex(pfn[0]), meta['host']['kernel'])\n"
    )
    printed = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["8022708086728", "0x53b87b", "6.18"]


@pytest.mark.parametrize("pack", ["gzip", "zstd", "zstd-program"])
def test_compressed_sources(source, pack, monkeypatch):
    path = source / "events.perf-script.txt"
    if pack == "gzip":
        (source / "events.perf-script.txt.gz").write_bytes(gzip.compress(PERF.encode()))
    else:
        zstandard = pytest.importorskip("zstandard")
        (source / "events.perf-script.txt.zst").write_bytes(zstandard.compress(PERF.encode()))
    path.unlink()
    if pack == "zstd-program":
        if shutil.which("zstd") is None:
            pytest.skip("no program zstd here")
        monkeypatch.setattr(sources, "_zstandard", lambda: None)
    assert len(import_recording(source).recording.events) == 9


@pytest.mark.parametrize("pack", ["gzip", "zstd", "zstd-program"])
def test_cut_compressed_sources(source, pack, monkeypatch):
    if pack == "gzip":
        data = gzip.compress(PERF.encode() * 50)
    else:
        data = pytest.importorskip("zstandard").compress(PERF.encode() * 50)
    (source / "events.perf-script.txt").write_bytes(data[: len(data) // 2])
    if pack == "zstd-program":
        if shutil.which("zstd") is None:
            pytest.skip("no program zstd here")
        monkeypatch.setattr(sources, "_zstandard", lambda: None)
    with pytest.raises(RecordingError, match=r"gzip|zstd"):
        import_recording(source)


def test_no_way_to_read_zstd(source, monkeypatch):
    (source / "events.perf-script.txt").write_bytes(b"\x28\xb5\x2f\xfd rest")
    monkeypatch.setattr(sources, "_zstandard", lambda: None)
    monkeypatch.setattr(sources.shutil, "which", lambda _: None)
    with pytest.raises(RecordingError, match=r"pymigrate\[zstd\]"):
        import_recording(source)


def test_a_file_alone_starts_empty(source):
    recording = import_recording(source / "events.perf-script.txt").recording
    assert len(recording.frame_flags) == 0
    assert recording.host["zones_assumed"]
    assert [zone.name for zone in recording.zones] == ["DMA", "DMA32", "Normal"]
    assert recording.pfn_end >= 0x640000
    assert recording.cpus == 2


def test_a_file_with_snapshot_and_samples(source):
    recording = import_recording(
        source / "events.perf-script.txt", snapshot=source / "start", samples=source / "samples.jsonl"
    ).recording
    assert len(recording.frame_flags) == FRAMES
    assert [(zone.name, zone.start_pfn) for zone in recording.zones] == [("DMA", 1)]
    assert len(recording.samples) == 3


def test_cuts(source):
    recording = import_recording(source, from_s=0.15, until_s=0.5).recording
    assert len(recording.events) == 5
    assert recording.samples.t_ns.tolist() == [8022_300_000_000, 8022_500_000_000]
    assert len(recording.frame_flags) == FRAMES
    with pytest.raises(ValueError, match="before"):
        import_recording(source, from_s=2, until_s=1)


def test_events_out_of_order_are_sorted_and_counted(source):
    lines = PERF.splitlines(keepends=True)
    lines[0], lines[4] = lines[4], lines[0]
    (source / "events.perf-script.txt").write_text("".join(lines))
    result = import_recording(source)
    assert result.parse.unsorted > 0
    assert np.all(np.diff(result.recording.events.time_ns.astype(np.int64)) >= 0)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("start/kpageflags.u64", b"1234567", "64-bit words"),
        ("start/kpagecount.u64", b"12345678", "kpagecount has 1 frames"),
        ("start/times.json", b"{", "not JSON"),
        ("start/times.json", b'{"kpageflags": [[1, 2]]}', "first_pfn"),
        ("start/times.json", b'{"kpageflags": [[5, 2, 3]]}', "from 0"),
        ("start/buddyinfo", b"what\n", "buddyinfo:1"),
        ("start/zoneinfo", b"what\n", "zoneinfo:1"),
        ("samples.jsonl", b"{}\n", "samples.jsonl:1"),
        ("meta.json", b"[]", "not a JSON object"),
        ("meta.json", b'{"zones": 5}', "zones"),
        ("meta.json", b'{"page_size": 65536}', "pages of 65536"),
        ("events.perf-script.txt", b"what\n", "events.perf-script.txt:1"),
    ],
)
def test_a_damaged_source_names_its_file(source, name, content, match):
    (source / name).write_bytes(content)
    with pytest.raises(RecordingError, match=match):
        import_recording(source)


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        import_recording(tmp_path / "nothing")
    with pytest.raises(RecordingError, match="found none"):
        import_recording(tmp_path)


def members(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def reject(path, arrays, match=None):
    np.savez(path, **arrays)
    with pytest.raises(RecordingError, match=match):
        Recording.load(path)


def change_meta(arrays, change):
    meta = json.loads(arrays["meta"].tobytes())
    change(meta)
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)


HOSTILE = {
    "missing": (lambda a: a.pop("events_cpu"), "missing"),
    "dtype": (lambda a: a.update(events_kind=a["events_kind"].astype("f8")), "events_kind is float64"),
    "objects": (lambda a: a.update(events_kind=np.array([{}, 1], object)), None),
    "dimensions": (lambda a: a.update(events_cpu=a["events_cpu"].reshape(1, -1)), "dimensions"),
    "length": (lambda a: a.update(events_cpu=a["events_cpu"][:-1]), "events_cpu has 8 entries"),
    "kind": (lambda a: a.update(events_kind=a["events_kind"] + np.uint8(200)), "outside"),
    "order": (lambda a: a.update(events_order=a["events_order"] + np.int8(9)), "outside"),
    "no-order": (lambda a: a.update(events_order=np.full_like(a["events_order"], -1)), "without its order"),
    "code": (lambda a: a.update(events_tid_code=a["events_tid_code"] + np.uint8(9)), "beyond"),
    "flags": (lambda a: a.update(frames_flags_values=a["frames_flags_values"][:1]), "beyond"),
    "clock": (lambda a: a.update(events_time_step=np.full(9, 2**62, "u8")), "runs over"),
    "age": (lambda a: a.update(events_age=a["events_age"] + np.uint8(99)), "outside"),
    "initial": (lambda a: a.update(events_initial_step=a["events_initial_step"] + np.uint8(99)), "outside"),
    "resolution": (lambda a: a.update(events_resolution=a["events_resolution"] * 0 + np.uint8(77)), None),
    "chunks": (lambda a: a.update(frames_chunk_first_pfn=a["frames_chunk_first_pfn"] + np.uint32(1)), "from 0"),
    "samples": (lambda a: a.update(samples_buddy=a["samples_buddy"][:1]), "shape"),
    "no-json": (lambda a: a.update(meta=np.frombuffer(b"{", np.uint8)), "not JSON"),
    "name": (lambda a: change_meta(a, lambda m: m.update(format="other")), "not a pymigrate recording"),
    "version": (lambda a: change_meta(a, lambda m: m.update(version=99)), "format version 99"),
    "cpus": (lambda a: change_meta(a, lambda m: m["host"].update(cpus=-1)), "cpus"),
    "zones": (lambda a: change_meta(a, lambda m: m["host"].update(zones=[{"name": 1}])), "zones"),
    "count": (lambda a: change_meta(a, lambda m: m["events"].update(n=1)), "count of events"),
    "texts": (lambda a: change_meta(a, lambda m: m["start"].update(zoneinfo=1)), "texts"),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_recording_is_an_error(saved, tmp_path, name):
    change, match = HOSTILE[name]
    arrays = members(saved)
    change(arrays)
    reject(tmp_path / "hostile.npz", arrays, match)


def test_sizes_are_checked_before_memory_is_taken(saved, tmp_path):
    with pytest.raises(RecordingError, match="bytes of memory"):
        Recording.load(saved, max_bytes=1000)
    # A header that promises 2^40 events over a few stored bytes.
    path = tmp_path / "bomb.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, header.getvalue() if info.filename == "events_kind.npy" else old.read(info))
    with pytest.raises(RecordingError, match="stored"):
        Recording.load(path)


@settings(max_examples=100)
@given(data=st.data())
def test_random_damage_to_the_file(saved, tmp_path_factory, data):
    content = bytearray(saved.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    path = tmp_path_factory.mktemp("damage") / "x.npz"
    path.write_bytes(content[:cut])
    try:
        recording = Recording.load(path)
    except RecordingError as error:
        assert error.path == str(path)  # noqa: PT017
    else:
        assert isinstance(recording, Recording)


def test_a_failed_save_leaves_nothing(saved, tmp_path):
    recording = Recording.load(saved)
    path = tmp_path / "rec.npz"
    path.write_bytes(b"older")
    events = recording.events.with_columns(time_ns=recording.events.time_ns[::-1].copy())
    with pytest.raises(RecordingError, match="order of time"):
        dataclasses.replace(recording, events=events).save(path)
    assert path.read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["rec.npz"]


def test_pack_flags_keeps_what_linux_has_above_bit_31():
    words = np.array([1 << 10, 1 << 32, 1 << 36, (1 << 26) | (1 << 40)], np.uint64)
    expected = [flag_bit("BUDDY"), flag_bit("RESERVED"), flag_bit("PRIVATE_2"), flag_bit("PGTABLE")]
    assert pack_flags(words).tolist() == expected


def test_frame_read_times_are_interpolated(saved):
    recording = Recording.load(saved)
    times = recording.frame_read_ns(np.array([0, FRAMES // 2], np.uint32))
    assert times.tolist() == [8022_000_000_000, 8022_125_000_000]


def test_no_pfn_means_none(saved):
    events = Recording.load(saved).events
    assert events.pfn[1] == NO_PFN
    assert events.allocation[1] == NO_PFN
