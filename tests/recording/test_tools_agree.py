"""Recorded on the spot: our readers against what the tools print of the same file, event for event."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest
import tracedat_files as ring
from thismachine import COMMAND, alone, needs_tracing, perf, trace_cmd

from pymigrate.recording import parse_trace
from pymigrate.recording.detect import read_events
from pymigrate.recording.live import DEFAULT_EVENTS
from pymigrate.recording.live.tracefs import choose_events, tracefs

pytestmark = pytest.mark.slow


def chosen(separator):
    with tracefs() as root:
        events, _ = choose_events(root, DEFAULT_EVENTS)
    return [word for event in events for word in ("-e", event.replace("/", separator))]


def expect_same(path, text):
    found = read_events(path)
    expected, _ = parse_trace([text])
    assert len(found.events) == len(expected) > 10_000
    # perf script prints what it finds too late to sort behind what it printed already.
    expected = expected.take(np.argsort(expected.time_ns, kind="stable"))
    for name, column in expected.columns():
        assert np.array_equal(getattr(found.events, name), column), name
    # perf may lose events on a busy machine; what it has kept must be the same.
    assert found.parse.skipped == found.parse.unknown_gfp == 0


@pytest.mark.parametrize("options", [(), ("-z",), ("--call-graph", "fp"), ("--weight", "--data", "--phys-data")])
def test_perf(options, tmp_path):
    needs_tracing()
    path = tmp_path / "perf.data"
    with alone():
        perf("record", "-q", "-a", "-k", "mono", "-m", "8M", *options, "-o", path, *chosen(":"), "--", *COMMAND)
    text = perf("script", "-i", path, "-F", "tid,cpu,time,event,trace", "--ns")
    expect_same(path, text)


def test_perf_through_a_pipe(tmp_path):
    needs_tracing()
    path = tmp_path / "piped"
    with alone():
        path.write_bytes(
            perf("record", "-q", "-a", "-k", "mono", "-m", "8M", "-o", "-", *chosen(":"), "--", "sh", "-c",
                 'exec "$@" >/dev/null', "sh", *COMMAND)
        )  # fmt: skip
    if path.stat().st_size < 1000:
        pytest.skip("perf writes nothing into a pipe here")
    with path.open("rb") as file:
        import subprocess

        words = ["perf", "script", "-i", "-", "-F", "tid,cpu,time,event,trace", "--ns"]
        text = subprocess.run(words, stdin=file, capture_output=True, check=True).stdout
    expect_same(path, text)


@pytest.mark.parametrize("options", [("6", "none"), ("7", "none"), ("7", "zlib"), ("7", "zstd")])
def test_trace_cmd(options, tmp_path):
    needs_tracing()
    path = tmp_path / "trace.dat"
    version, compression = options
    kind = ["--file-version", version] + (["--compression", compression] if version == "7" else [])
    with alone():
        trace_cmd("record", "-a", *kind, "-C", "mono", "-b", "16384", "-o", path, *chosen(":"), *COMMAND)
    if not path.exists() or path.read_bytes()[10:11] != version.encode():
        pytest.skip(f"this trace-cmd does not write version {version} with {compression}")
    expect_same(path, trace_cmd("report", "-t", "-i", path))


@pytest.mark.parametrize("options", [("--date",), ("--ts-offset", "123456789")])
def test_trace_cmd_with_other_times(options, tmp_path):
    needs_tracing()
    path = tmp_path / "trace.dat"
    with alone():
        events = ("-e", "kmem:mm_page_alloc", "-e", "kmem:mm_page_free")
        load = (sys.executable, "-c", "bytearray(60 << 20)")
        trace_cmd("record", "-a", "-C", "mono", *options, "-b", "16384", "-o", path, *events, *load)
    expect_same(path, trace_cmd("report", "-t", "-i", path))


@pytest.mark.parametrize("build", [ring.version_6, ring.version_7])
def test_trace_cmd_converts_ticks_as_we_do(build, tmp_path):
    """A clock that trace-cmd cannot offer here, in a file that we made."""
    path = tmp_path / "trace.dat"
    path.write_bytes(build(ring.stored(), times={1: b"0x10\0", 7: b"77\0", 14: struct.pack("<IIQ", 0x30000001, 30, 5)}))
    expected, _ = parse_trace([trace_cmd("report", "-t", "-i", path)])
    assert np.array_equal(read_events(path).events.time_ns, expected.time_ns)
    assert len(expected) > 1000


def test_trace_cmd_reads_a_trace_of_32_bits_as_we_do(tmp_path):
    path = tmp_path / "trace.dat"
    path.write_bytes(ring.version_6(ring.narrow()[0]))
    lines = trace_cmd("report", "-t", "-i", path).decode().splitlines()[-3:]
    events = read_events(path).events
    assert [f"{ns // 10**9}.{ns % 10**9:09}:" for ns in events.time_ns.tolist()] == [line.split()[2] for line in lines]
    assert [f"order={order}" in line for order, line in zip(events.order.tolist(), lines, strict=True)] == [True] * 3
    assert "pfn=0x1234 " in lines[0]
    assert int(events.pfn[0]) == 0x1234
