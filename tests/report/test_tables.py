"""What a person reads on a terminal stays as it is, fits, and can be piped into a file.

After a deliberate change: ``PYMIGRATE_WRITE_EXPECTED=1 pytest tests/report/test_tables.py``, and read the difference.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from results import mode_result, replay_result
from rich.console import Console
from tiny import tiny_recording

from pymigrate.report.tables import figure_lines, print_comparison, print_replay

EXPECTED = Path(__file__).resolve().parent / "expected"


def printed(width: int, show: Callable[[Console], None]) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width, highlight=False))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def both(console: Console) -> None:
    result = replay_result(mode_result("simulate", off=2, failed=5), mode_result("reconstruct"), pcp=0)
    print_replay(console, tiny_recording(), result)


def two_settings(console: Console) -> None:
    a = replay_result(mode_result("simulate"))
    b = replay_result(mode_result("simulate", off=2, failed=5), pcp=0, defrag_mode=1)
    print_comparison(console, tiny_recording(), a, b)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("show", [both, two_settings])
def test_the_report_is_as_expected(show: Callable[[Console], None], width: int) -> None:
    text = printed(width, show)
    path = EXPECTED / f"{show.__name__}-{width}.txt"
    if os.environ.get("PYMIGRATE_WRITE_EXPECTED"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 100, 120, 160])
@pytest.mark.parametrize("show", [both, two_settings])
def test_nothing_is_cut_or_too_wide(show: Callable[[Console], None], width: int) -> None:
    text = printed(width, show)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "\x1b" not in text


def test_a_recording_without_samples_says_that_nothing_is_compared() -> None:
    result = replay_result(mode_result("simulate", samples=False))
    text = printed(80, lambda console: print_replay(console, tiny_recording(samples=False), result))
    assert "No samples of the kernel's counters" in text
    assert "samples compared" in text


def test_gaps_of_the_recording_are_told() -> None:
    recording = tiny_recording()
    recording.stats["parse"] = {"lost_events": 1234, "skipped": 0}
    text = printed(80, lambda console: print_replay(console, recording, replay_result(mode_result("simulate"))))
    assert "1,234 lost by the tracer" in text
    assert "damaged lines" not in text


def test_a_replay_stopped_before_it_began_is_printed() -> None:
    text = printed(80, lambda console: print_replay(console, tiny_recording(), replay_result()))
    assert "6.18.0-tiny" in text


def test_markup_in_a_name_is_no_markup() -> None:
    result = replay_result(mode_result("simulate"))
    object.__setattr__(result, "name", "[red]rec[/red].npz")
    assert "[red]rec[/red].npz" in printed(80, lambda console: print_replay(console, tiny_recording(), result))


def test_figures_name_value_unit() -> None:
    figures = replay_result(mode_result("simulate", off=2), mode_result("reconstruct")).figures()
    lines = list(figure_lines(figures))
    assert "figure simulate.fallback.ours 4 events" in lines
    assert "figure reconstruct.same_frame.share 0.75 share" in lines
    assert "figure reconstruct.free.error.mean 0 share" in lines
    assert "figure simulate.events_per_second 10000000 1/s" in lines
    assert len(lines) == len(figures)
