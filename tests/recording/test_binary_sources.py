"""trace.dat, perf.data and spools: every event as the tool of their maker printed it, whatever the container."""

from __future__ import annotations

import struct

import numpy as np
import perfdata_files as perf
import pytest
import tracedat_files as ring
from hypothesis import given, settings
from hypothesis import strategies as st

from pymigrate.errors import RecordingError
from pymigrate.recording import import_recording, parse_trace
from pymigrate.recording.detect import kind_of, read_events
from pymigrate.recording.spool import read_spool

RING = ring.stored()
PERF = perf.stored_perf()
TRACE_DAT = {
    "6": ring.version_6(RING),
    "6, instance": ring.version_6(RING, instance=True),
    "7": ring.version_7(RING),
    "7, zlib": ring.version_7(RING, "zlib"),
    "7, zstd": ring.version_7(RING, "zstd"),
}
PERF_DATA = {
    "file": perf.as_file(PERF),
    "pipe": perf.as_pipe(PERF),
    "zstd": perf.as_file(PERF, perf.compressed(perf.records(PERF))),
}


def expect_same(found, report):
    expected, stats = parse_trace([report.encode()])
    assert len(found.events) == len(expected) > 100
    for name, column in expected.columns():
        assert np.array_equal(getattr(found.events, name), column), name
    assert found.parse.other_events == stats.other_events
    assert found.parse.others == stats.others
    assert found.parse.unknown_gfp == 0


def written(tmp_path, data, name="source"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("form", TRACE_DAT)
def test_trace_dat_is_what_trace_cmd_prints(form, tmp_path):
    found = read_events(written(tmp_path, TRACE_DAT[form]))
    expect_same(found, RING["report"])
    assert found.parse.format == "trace.dat"
    assert found.data.clock == "mono"


@pytest.mark.parametrize("form", PERF_DATA)
def test_perf_data_is_what_perf_script_prints(form, tmp_path):
    found = read_events(written(tmp_path, PERF_DATA[form]))
    expect_same(found, PERF["report"])
    assert found.parse.format == "perf.data"
    assert (found.data.clock, found.data.cpus) == ("mono", 0 if form == "pipe" else 2)


@pytest.fixture
def read_perf(tmp_path):
    def read(data, **options):
        return read_events(written(tmp_path, perf.as_file(PERF, data)), **options)

    return read


def test_compressed_records_may_be_cut_at_any_byte(read_perf):
    """perf compresses a piece of a ring buffer at a time, and cuts the stream where a record is full."""
    data = perf.records(PERF)
    whole, n = read_perf(data).events, len(data)
    stream = perf.plain_stream(data, block=5000)
    # The head of the stream, and around a block's head, where two records of perf's meet, and in the middle of one.
    for cut in [*range(1, 40), *range(4990, 5100), *range(len(stream) - 30, len(stream))]:
        events = read_perf(perf.records_of(stream, [cut])).events
        assert np.array_equal(events.pfn, whole.pfn), cut
    for block in (1, 7, 8, n - 1):
        stream = perf.plain_stream(data, block=block)
        found = read_perf(perf.records_of(stream, list(range(1000, len(stream), 1000))))
        assert np.array_equal(found.events.time_ns, whole.time_ns)
        assert found.parse.lost_events == found.parse.truncated == 0
    some = data[: perf.borders(data)[20]]
    stream = perf.plain_stream(some)
    events = read_perf(perf.records_of(stream, list(range(1, len(stream))))).events
    assert np.array_equal(events.pfn, read_perf(some).events.pfn)


FULL = 65527


@pytest.mark.parametrize("inside_event", [True, False])
def test_what_perf_left_in_its_compressor_is_counted_as_lost(read_perf, inside_event):
    """perf does not flush what has no room in its last record: an end inside a block, behind a full record."""
    data = perf.records(PERF) * 4
    stream = perf.plain_stream(data)
    before, border = [end for end in perf.borders(data) if end < 100_000][-2:]
    kept = len(stream) - len(data) + border - 5 * inside_event
    found = read_perf(perf.records_of(stream[:kept], [kept - FULL]))
    expected = read_perf(data[: before if inside_event else border]).events
    assert np.array_equal(found.events.pfn, expected.pfn)
    assert (found.parse.lost_lines, found.parse.lost_events, found.parse.truncated) == (1, 1, 0)


@pytest.mark.parametrize("kept", [40_000, 100_000, -1])
def test_any_other_end_inside_a_block_is_damage(read_perf, kept):
    data = perf.records(PERF) * 4
    stream = perf.plain_stream(data)[:kept]
    cut = perf.records_of(stream, [*range(FULL, len(stream), FULL), len(stream) - 999])
    with pytest.raises(RecordingError, match="end inside a record"):
        read_perf(cut)
    found = read_perf(cut, lenient=True)
    assert found.parse.truncated == 1
    assert found.parse.lost_lines == 0


def make_spool(folder):
    (folder / "events").mkdir(parents=True)
    (folder / "header_page").write_text(RING["header_page"])
    for system, texts in RING["formats"].items():
        for text in texts:
            event = folder / "events" / system / text.split("\n")[0].removeprefix("name: ")
            event.mkdir(parents=True)
            (event / "format").write_text(text)
    for cpu, pages in ring.pages_of(RING).items():
        (folder / f"cpu{cpu}.pages").write_bytes(pages)
    return folder


def test_a_spool_is_read_like_a_trace_dat(tmp_path):
    found = read_events(make_spool(tmp_path / "tracefs"))
    expect_same(found, RING["report"])
    assert found.data.cpus == 2
    # Beside it may lie what else a recording needs: then the folder around it is the source.
    assert len(import_recording(tmp_path).recording.events) == len(found.events)


def test_what_a_file_is_follows_from_its_content(tmp_path):
    assert kind_of(written(tmp_path, TRACE_DAT["7"], "a.txt")) == "trace.dat"
    assert kind_of(written(tmp_path, PERF_DATA["pipe"], "trace.dat")) == "perf.data"
    assert kind_of(written(tmp_path, b"# tracer: nop\n")) == "text"
    with pytest.raises(RecordingError, match="already"):
        kind_of(written(tmp_path, b"PK\x03\x04"))


def test_an_import_keeps_what_the_file_says_of_its_machine(tmp_path):
    result = import_recording(written(tmp_path, TRACE_DAT["7, zstd"]))
    assert result.recording.host["kernel"] == "6.18.0"
    assert result.recording.host["clock"] == "mono"
    result.recording.save(tmp_path / "rec.npz")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TRACE_DAT["6"][:10] + b"9\0" + TRACE_DAT["6"][12:], "version '9'"),
        (TRACE_DAT["6"][:12] + b"\1" + TRACE_DAT["6"][13:], "big-endian"),
        (TRACE_DAT["6"][:13] + b"\4" + TRACE_DAT["6"][14:], "32-bit"),
        (TRACE_DAT["6"][:3000], "are left"),
        (TRACE_DAT["6"][:-4096], "beyond the end of the file"),
        (TRACE_DAT["7, zstd"][:-40], "are left"),
        (PERF_DATA["file"][:200], "beyond the end|cut|left"),
        (PERF_DATA["pipe"][:-9], "end inside a record"),
        (TRACE_DAT["6"][:-4088] + struct.pack("<Q", 5000) + TRACE_DAT["6"][-4080:], "more than a page"),
        (perf.as_file(PERF, perf.records(PERF)[:6] + b"\4\0" + perf.records(PERF)[8:]), "less than 8 bytes"),
        (PERF_DATA["file"][:48] + struct.pack("<Q", 0) + PERF_DATA["file"][56:], "did not end in order"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(data, message, tmp_path):
    path = written(tmp_path, data)
    with pytest.raises(RecordingError, match=message) as error:
        read_events(path)
    assert str(path) in str(error.value)


def test_lenient_reads_a_perf_data_that_perf_did_not_close(tmp_path):
    data = PERF_DATA["file"]
    start, size = struct.unpack_from("<QQ", data, 40)
    # The features stand behind the data, so that a file that was cut has no formats; one in a pipe has.
    with pytest.raises(RecordingError, match="no formats"):
        read_events(written(tmp_path, data[:48] + struct.pack("<Q", 0) + data[56 : start + size]), lenient=True)
    found = read_events(written(tmp_path, PERF_DATA["pipe"][:-9]), lenient=True)
    assert found.parse.truncated == 1
    assert len(found.events) >= 320


def test_pages_say_how_many_events_were_lost(tmp_path):
    folder = make_spool(tmp_path / "tracefs")
    page = bytearray((folder / "cpu0.pages").read_bytes()[:4096])
    (commit,) = struct.unpack_from("<Q", page, 8)
    page[16 + 1000 :] = b"\0" * (4096 - 16 - 1000)
    # A shorter page, with room behind its data for the count: cut at an event's border.
    at = 0
    while at < 1000:
        head = struct.unpack_from("<I", page, 16 + at)[0]
        step = 8 if head & 31 >= 30 else 4 + 4 * (head & 31)
        if at + step > 900:
            break
        at += step
    assert commit > at
    struct.pack_into("<Q", page, 8, at | 3 << 30)
    struct.pack_into("<Q", page, 16 + at, 1234)
    (folder / "cpu0.pages").write_bytes(page)
    events, stats, _ = read_spool(folder)
    assert stats.lost_events == 1234
    assert stats.lost_lines == 1
    assert len(events)


SOURCES = {**{f"trace.dat {k}": v for k, v in TRACE_DAT.items()}, **{f"perf.data {k}": v for k, v in PERF_DATA.items()}}


@settings(deadline=None)
@given(form=st.sampled_from(sorted(SOURCES)), lenient=st.booleans(), data=st.data())
def test_a_hostile_file_costs_an_error_and_nothing_else(form, lenient, data, tmp_path_factory):
    """Whatever is done to a valid file: it is read, or refused with a RecordingError."""
    content = bytearray(SOURCES[form])
    for _ in range(data.draw(st.integers(1, 5))):
        # Headers are short and pages long: most damage is done where sizes stand.
        at = data.draw(st.one_of(st.integers(0, min(4000, len(content) - 1)), st.integers(0, len(content) - 1)))
        match data.draw(st.sampled_from(["flip", "cut", "large"])):
            case "flip":
                content[at] = data.draw(st.integers(0, 255))
            case "cut":
                del content[max(at, 20) :]
            case "large":
                content[at : at + 8] = struct.pack(
                    "<Q", data.draw(st.sampled_from([2**64 - 1, 2**63, 2**32, 2**31, 0]))
                )
    path = tmp_path_factory.mktemp("hostile") / "file"
    path.write_bytes(content)
    try:
        found = read_events(path, lenient=lenient)
    except RecordingError:
        return
    assert np.all(found.events.time_ns[1:] >= found.events.time_ns[:-1])
    if not lenient and found.parse.format != "perf-script":
        assert found.parse.skipped == 0
