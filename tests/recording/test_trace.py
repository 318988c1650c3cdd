from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import FTRACE, PERF, TRACE_CMD

from pymigrate.errors import RecordingError
from pymigrate.recording import EVENT_KINDS, NO_PFN, parse_trace

TEXTS = {"perf-script": PERF, "trace-cmd": TRACE_CMD, "ftrace": FTRACE}


def parse(text, **options):
    return parse_trace([text.encode()], **options)


def test_perf_script_fills_every_column():
    events, stats = parse(PERF)
    assert stats.format == "perf-script"
    assert [EVENT_KINDS[kind] for kind in events.kind[:4]] == [
        "mm_page_alloc",
        "mm_page_alloc",
        "mm_page_alloc_zone_locked",
        "mm_page_alloc",
    ]
    assert events.time_ns[0] == 8022_008_086_728
    assert events.tid.tolist()[:1] == [5856]
    assert events.cpu.tolist() == [1, 1, 0, 0, 1, 1, 1, 1, 0]
    assert events.pfn[0] == 0x53B87B
    assert events.pfn[1] == NO_PFN
    assert events.order.tolist()[:5] == [0, 9, 0, 3, 0]
    assert events.migratetype.tolist()[:5] == [0, 1, 1, 1, -1]
    assert events.arg0[2] == 1
    assert (events.pfn[7], events.arg0[7], events.arg1[7], events.arg2[7]) == (0x63FE00, 0x640000, 512, 0)


@pytest.mark.parametrize("form", ["trace-cmd", "ftrace"])
def test_the_kernels_own_forms_say_the_same(form):
    events, stats = parse(TEXTS[form])
    assert stats.format == form
    assert events.kind.tolist() == [0, 1]
    assert events.pfn.tolist() == [0x53B87B] * 2
    assert events.tid.tolist() == [5856, 0]
    assert events.time_ns.tolist() == [8022_008_086_000, 8022_108_086_000]
    assert stats.lost_events == (12 if form == "ftrace" else 0)


@pytest.mark.parametrize("form", sorted(TEXTS))
def test_the_form_may_be_given(form):
    events, stats = parse(TEXTS[form], form=form)
    assert stats.format == form
    assert len(events)


def test_a_form_that_is_not_known():
    with pytest.raises(ValueError, match="expected one of"):
        parse(PERF, form="etw")


def test_strict_names_the_line_and_the_byte():
    lines = PERF.splitlines(keepends=True)
    lines[4] = lines[4].replace("pfn=0x53b87b", "pfn=zebra")
    with pytest.raises(RecordingError, match=r"trace.txt:5: byte .*not a number") as error:
        parse("".join(lines), path="trace.txt")
    assert error.value.line == 5
    assert error.value.path == "trace.txt"
    assert error.value.status < 0


def test_lenient_counts_and_remembers():
    lines = PERF.splitlines(keepends=True)
    lines[4] = "what is this\n"
    events, stats = parse("".join(lines), lenient=True)
    assert len(events) == 8
    assert stats.skipped == 1
    assert [problem.line for problem in stats.problems] == [5]


def test_a_cut_text_is_an_error():
    with pytest.raises(RecordingError, match="ends inside this line") as error:
        parse(PERF[:-12])
    assert error.value.line == 9
    _, stats = parse(PERF[:-12], lenient=True)
    assert (stats.truncated, stats.skipped) == (1, 1)


def test_events_that_are_not_used_are_counted_by_name():
    _, stats = parse(PERF + " 1 [000] 9000.000000: sched:sched_switch: prev_comm=x ==> next_comm=y\n")
    assert stats.others == {"sched_switch": 1}


def test_no_text_is_no_events():
    events, stats = parse("")
    assert len(events) == 0
    assert stats.lines == 0


def same(a, b):
    return all((left == right).all() for (_, left), (_, right) in zip(a.columns(), b.columns(), strict=True))


@given(form=st.sampled_from(sorted(TEXTS)), cuts=st.lists(st.integers(0, 2000), max_size=8))
def test_pieces_do_not_matter(form, cuts):
    text = TEXTS[form].encode()
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [text[low:high] for low, high in itertools.pairwise(edges)]
    assert same(parse_trace(pieces)[0], parse_trace([text])[0])


@given(form=st.sampled_from(sorted(TEXTS)), data=st.data())
def test_damage_is_named_or_harmless(form, data):
    """Whatever is done to a valid text: strict parses it or names a line that exists, lenient always parses it."""
    text = bytearray(TEXTS[form].encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "delete", "insert"])):
            case "flip":
                text[at] = data.draw(st.integers(0, 255))
            case "cut":
                del text[max(at, 1) :]
            case "delete":
                del text[at : at + data.draw(st.integers(1, 40))]
            case "insert":
                text[at:at] = data.draw(st.binary(min_size=1, max_size=20))
        if not text:
            return
    lines = bytes(text).count(b"\n") + (not text.endswith(b"\n"))
    _, stats = parse_trace([bytes(text)], lenient=True)
    assert stats.lines == lines
    assert stats.lines == stats.events + stats.other_events + stats.comments + stats.lost_lines + stats.skipped
    try:
        _, strict = parse_trace([bytes(text)])
    except RecordingError as error:
        assert error.line is not None  # noqa: PT017
        assert 1 <= error.line <= lines  # noqa: PT017
        assert stats.skipped > 0
        assert stats.problems[0].line == error.line  # noqa: PT017
    else:
        assert strict.events == stats.events
