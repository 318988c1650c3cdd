from __future__ import annotations

import re

import pytest
from click.testing import CliRunner
from traces import PERF

from pymigrate.recording import Recording
from pymigrate.recording.command import import_


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.txt"
    path.write_text(PERF)
    return path


def run(*args):
    return CliRunner().invoke(import_, [str(arg) for arg in args], catch_exceptions=False)


def test_import_writes_a_recording_and_says_what_it_holds(trace, tmp_path):
    output = tmp_path / "rec.npz"
    result = run(trace, "-o", output, "--figures")
    assert result.exit_code == 0
    assert "mm_page_alloc" in result.output
    assert "memory starts empty" in result.output
    assert re.search(r"^figure import.events_per_second \d+ 1/s$", result.output, re.MULTILINE)
    assert "figure import.skipped 0 events" in result.output
    assert re.search(r"^figure unresolved.share \S+ share$", result.output, re.MULTILINE)
    assert len(Recording.load(output).events) == 9


def test_lenient_shows_the_lines(trace, tmp_path):
    trace.write_text(PERF + "garbage\n")
    result = run(trace, "-o", tmp_path / "rec.npz", "--lenient", "--figures")
    assert "1 damaged lines were skipped" in result.output
    assert "line 10, byte 1: no [cpu]" in result.output
    assert "figure import.skipped 1 events" in result.output


def test_cut(trace, tmp_path):
    run(trace, "-o", tmp_path / "rec.npz", "--until", "0.25")
    assert len(Recording.load(tmp_path / "rec.npz").events) == 3
    assert run(trace, "-o", tmp_path / "rec.npz", "--from", "2", "--until", "1").exit_code == 2
