"""`pymigrate record` on this machine, where it can be: what is recorded, and that everything is put back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from thismachine import COMMAND, alone, instances, needs_tracing

from pymigrate import replay
from pymigrate.recording import EVENT_KINDS, Recording, flag_bit, import_recording
from pymigrate.recording.live import DEFAULT_EVENTS, RecordError, RecordOptions, record, tracefs
from pymigrate.recording.live.recorder import number_threads
from pymigrate.recording.record_command import record_


@pytest.fixture
def this_machine():
    needs_tracing()
    with alone():
        before = instances()
        yield
        assert set(instances()) <= set(before), "the recorder left its instance"


def command_line(*words):
    return [sys.executable, "-m", "pymigrate.cli", *map(str, words)]


def left_over(folder):
    return [path.name for path in folder.iterdir() if "spool" in path.name or "tmp" in path.name]


@pytest.mark.slow
def test_a_real_workload_replays_with_an_error_below_one_percent(this_machine, tmp_path):
    """What CI holds: recorded here, reconstructed, and beside the kernel's own counts."""
    path = tmp_path / "rec.npz"
    result = record(COMMAND, path)
    assert result.exit_code == result.lost == 0
    recording = Recording.load(path)
    assert len(recording.events) > 20_000
    assert len(recording.samples) >= 3
    scores = replay(recording, mode="reconstruct")["reconstruct"].scores
    assert scores.free_error_mean < 0.01
    # The snapshots lie within the tracing, or the first and last states would not be explained.
    on_ns, off_ns = recording.host["record"]["traced_ns"]
    assert on_ns <= recording.frame_times.begin_ns[0]
    assert recording.end_frame_times.end_ns[-1] <= off_ns
    # The events of what the recorder itself does meanwhile are among them.
    assert recording.events.time_ns[0] < recording.end_frame_times.end_ns[-1]
    assert (recording.end_frame_flags & flag_bit("BUDDY")).any()


def test_the_commands_exit_code_is_ours(this_machine, tmp_path):
    done = subprocess.run(
        command_line("record", "-o", tmp_path / "rec.npz", "--figures", "--no-snapshot", "--", "sh", "-c", "exit 7"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert "figure lost 0 events" in done.stdout
    assert "figure decode.events_per_second " in done.stdout
    assert Recording.load(tmp_path / "rec.npz").host["exit"] == 7
    assert not left_over(tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_a_signal_ends_the_recording_and_it_is_written(this_machine, tmp_path, number, code):
    process = subprocess.Popen(
        command_line("record", "-o", tmp_path / "rec.npz", "--no-snapshot"), stderr=subprocess.PIPE, text=True
    )
    wait_for_instance()
    time.sleep(0.3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert len(Recording.load(tmp_path / "rec.npz").samples) >= 1
    assert not left_over(tmp_path)


def wait_for_instance():
    for _ in range(600):
        if instances():
            return
        time.sleep(0.02)
    raise AssertionError("the recorder made no instance")


def test_sigterm_reaches_the_command(this_machine, tmp_path):
    process = subprocess.Popen(
        command_line("record", "-o", tmp_path / "rec.npz", "--no-snapshot", "sleep", "60"), stderr=subprocess.DEVNULL
    )
    wait_for_instance()
    time.sleep(0.5)
    process.terminate()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM


def test_what_a_killed_recorder_left_is_removed_by_the_next_and_can_be_read(this_machine, tmp_path):
    process = subprocess.Popen(
        command_line("record", "-o", tmp_path / "rec.npz", "--no-snapshot", "sleep", "2"), stderr=subprocess.DEVNULL
    )
    wait_for_instance()
    time.sleep(1.0)
    process.kill()
    process.wait()
    assert instances()
    heard = []
    record(["true"], tmp_path / "second.npz", options=RecordOptions(snapshot=False), say=heard.append)
    assert not instances()
    assert any("killed" in text for text in heard)
    (spool,) = left_over(tmp_path)
    assert len(import_recording(tmp_path / spool).recording.events) >= 0


def test_an_exception_of_ours_puts_everything_back(this_machine, tmp_path, monkeypatch):
    import pymigrate.recording.live.recorder as recorder

    def fail(*args, **options):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(recorder, "_run_until_done", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        record(["sleep", "60"], tmp_path / "rec.npz", options=RecordOptions(snapshot=False))
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_does_not_exist_is_named(this_machine, tmp_path):
    with pytest.raises(RecordError, match="no-such-command"):
        record(["no-such-command"], tmp_path / "rec.npz", options=RecordOptions(snapshot=False))
    assert list(tmp_path.iterdir()) == []


def test_names_and_ids_are_left_out_unless_asked_for(this_machine, tmp_path):
    options = RecordOptions(snapshot=False)
    anonymous = record([sys.executable, "-c", "bytearray(50 << 20)"], tmp_path / "a.npz", options=options)
    host = anonymous.imported.recording.host
    assert "threads" not in host
    assert "command" not in host
    tid = anonymous.imported.recording.events.tid
    assert int(tid.max()) < len(np.unique(tid)) + 1
    options = RecordOptions(snapshot=False, with_names=True)
    named = record([sys.executable, "-c", "bytearray(50 << 20)"], tmp_path / "b.npz", options=options)
    host = named.imported.recording.host
    assert host["command"][0] == sys.executable
    assert set(host["threads"]) <= {str(t) for t in np.unique(named.imported.recording.events.tid)}
    assert host["threads"]


def test_lost_events_are_counted(this_machine, tmp_path):
    """The smallest buffers, and a load that fills them faster than anybody reads."""
    options = RecordOptions(snapshot=False, buffer_kib=64)
    load = "import mmap\nfor _ in range(20):\n m = mmap.mmap(-1, 64 << 20); m[::4096] = bytes(16384); m.close()\n"
    result = record([sys.executable, "-c", load], tmp_path / "rec.npz", options=options)
    recording = Recording.load(tmp_path / "rec.npz")
    counted = sum(recording.host["record"]["lost_by_cpu"].values())
    assert result.lost >= counted
    assert recording.host["lost_events"] == counted
    if counted:
        assert recording.stats["parse"]["lost_events"] >= counted


def test_max_size_ends_the_recording_and_says_so(this_machine, tmp_path):
    options = ["--no-snapshot", "--max-size", "64K", "--buffer-size", "512K"]
    load = [sys.executable, "-c", "bytearray(300 << 20); import sys; sys.exit(5)"]
    words = command_line("record", "-o", tmp_path / "rec.npz", *options, "--", *load)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "--max-size" in done.stderr
    assert Recording.load(tmp_path / "rec.npz").host["record"]["stopped"] == "--max-size"


def test_chosen_events_alone_are_recorded(this_machine, tmp_path):
    events = ("kmem/mm_page_alloc", "kmem/mm_page_free")
    result = record(["true"], tmp_path / "rec.npz", options=RecordOptions(snapshot=False, events=events))
    kinds = {EVENT_KINDS[kind] for kind in np.unique(result.imported.recording.events.kind)}
    assert kinds == {"mm_page_alloc", "mm_page_free"}


# ---- what needs no tracing ----


def test_without_tracefs_it_says_what_is_missing_and_what_to_run(monkeypatch, tmp_path):
    monkeypatch.setattr(tracefs, "_PLACES", (str(tmp_path / "nowhere"),))
    result = CliRunner().invoke(record_, ["-o", str(tmp_path / "rec.npz"), "true"])
    assert isinstance(result.exception, RecordError)
    assert "no tracefs" in str(result.exception)
    assert "--print-commands" in result.output
    assert "perf record -a -k mono" in result.output
    assert "trace-cmd record -a -C mono" in result.output
    assert list(tmp_path.iterdir()) == []


def test_without_root_it_says_so(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("nothing to give up")
    tmp_path.chmod(0o777)
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from pymigrate.recording.live import RecordError, record\n"
        "os.chdir(sys.argv[1]); os.setegid(65534); os.seteuid(65534)\n"
        "try:\n"
        "    record(['true'], Path('rec.npz'))\n"
        "except RecordError as error:\n"
        "    print(error)\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "root" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_event_that_is_needed_but_missing_is_named(tmp_path):
    with pytest.raises(RecordError, match="mm_page_alloc"):
        tracefs.choose_events(tmp_path, DEFAULT_EVENTS)
    for event in tracefs.NEEDED_EVENTS:
        (tmp_path / "events" / event).mkdir(parents=True)
        (tmp_path / "events" / event / "format").touch()
    there, missing = tracefs.choose_events(tmp_path, DEFAULT_EVENTS)
    assert there == tracefs.NEEDED_EVENTS
    assert len(missing) == len(DEFAULT_EVENTS) - 2


def test_print_commands_gives_both_tools_every_event():
    result = CliRunner().invoke(record_, ["--print-commands", "--", "make", "-j4", "a b"])
    assert result.exit_code == 0
    for event in DEFAULT_EVENTS:
        assert result.output.split().count(event.replace("/", ":")) == 2
    assert result.output.count("make -j4 'a b'") == 2
    done = subprocess.run(["sh", "-n"], input=result.output, text=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--events", "kmem,foo"], "'foo'"),
        (["--sample-every", "0"], "'0' is no time"),
        (["--max-size", "lots"], "'lots' is no size"),
    ],
)
def test_bad_arguments_are_named(words, message):
    result = CliRunner().invoke(record_, [*words, "true"])
    assert result.exit_code == 2
    assert message in result.output


def test_events_may_be_chosen_by_system_or_name():
    result = CliRunner().invoke(record_, ["--events", "mm_page_pcpu_drain migrate", "--print-commands"])
    assert result.output.count("migrate:") == 6
    assert result.output.split().count("-e") == 2 * (2 + 1 + 3)
    assert "vmscan" not in result.output


def test_threads_are_numbered_anew():
    tid = np.array([0, 700, 12, 700, 0], np.uint32)
    assert number_threads(tid).tolist() == [0, 2, 1, 2, 0]
    huge = np.array([4_000_000_000, 5, 4_000_000_000], np.uint32)
    assert number_threads(huge).tolist() == [2, 1, 2]
    assert number_threads(np.empty(0, np.uint32)).tolist() == []
