"""From a trace's text to columns: drives the parser of the core, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pymigrate._core import ffi, lib
from pymigrate.errors import RecordingError, check
from pymigrate.gfp import GfpBits
from pymigrate.recording.events import COLUMN_DTYPES, Events

__all__ = ["FORMATS", "ParseProblem", "ParseStats", "parse_trace"]

FORMATS: tuple[str, ...] = ("auto", "perf-script", "trace-cmd", "ftrace", "page-owner")
"""Names of `enum pm_text_format`, by number. Sources that are no text are known by their content alone."""

BATCH = 1 << 16
_PARSED = tuple(name for name in COLUMN_DTYPES if name not in ("allocation", "resolution"))


@dataclass(frozen=True, kw_only=True)
class ParseProblem:
    """A damaged line: its number and the byte in it (both from 1), and what is wrong."""

    line: int
    column: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class ParseStats:
    """What the parser saw; `struct pm_parse_stats` documents each count.

    Attributes:
        format: Which of `FORMATS` the text was found to be.
        others: Events that pymigrate does not use: how many of each name.
        problems: The first damaged lines.
    """

    format: str = "auto"
    bytes: int = 0
    lines: int = 0
    events: int = 0
    other_events: int = 0
    comments: int = 0
    lost_lines: int = 0
    lost_events: int = 0
    first_lost_line: int = 0
    skipped: int = 0
    truncated: int = 0
    no_final_newline: int = 0
    unsorted: int = 0
    unknown_gfp: int = 0
    odd_ranges: int = 0
    undecoded_ptes: int = 0
    others: dict[str, int]
    problems: tuple[ParseProblem, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        plain = asdict(self)
        plain["problems"] = list(plain["problems"])
        return plain


@contextmanager
def _parser(form: str, *, lenient: bool) -> Iterator[Any]:
    handle = ffi.new("struct pm_parser **")
    check(lib.pm_parser_create(FORMATS.index(form), lenient, BATCH, handle))
    try:
        yield handle[0]
    finally:
        lib.pm_parser_destroy(handle[0])


def take_stats(raw: Any, other_of: Callable[[int, Any], int], form: str | None = None) -> ParseStats:
    """A `struct pm_parse_stats` as Python values; `other_of` fills in the i-th name of events that were passed over."""
    others: dict[str, int] = {}
    other = ffi.new("struct pm_parse_other *")
    for i in range(raw.nr_others):
        check(other_of(i, other))
        name = ffi.string(other.name).decode(errors="replace")
        others[name] = others.get(name, 0) + other.count
    problems = tuple(
        ParseProblem(line=p.line, column=p.column, reason=ffi.string(p.reason).decode())
        for p in (raw.problems[i] for i in range(raw.nr_problems))
    )
    counts = {
        name: int(getattr(raw, name))
        for name in ParseStats.__dataclass_fields__
        if name not in ("format", "others", "problems")
    }
    return ParseStats(format=form or FORMATS[raw.format], others=others, problems=problems, **counts)


def _stats(parser: Any) -> ParseStats:
    raw = ffi.new("struct pm_parse_stats *")
    lib.pm_parser_stats(parser, raw)
    return take_stats(raw, lambda i, other: int(lib.pm_parser_other(parser, i, other)))


class Columns:
    """The events so far: each batch is copied out of the core, and joined column by column at the end.

    Args:
        view: Fills a `struct pm_events` with the batch.
        drain: Forgets the batch.
    """

    def __init__(self, view: Callable[[Any], None], drain: Callable[[], None]) -> None:
        self.parts: dict[str, list[Any]] = {name: [] for name in _PARSED}
        self._view, self._drain = view, drain
        self._batch = ffi.new("struct pm_events *")

    def take(self, *, at_least: int = 1) -> None:
        """Takes the batch, where it holds enough."""
        self._view(self._batch)
        n = self._batch.n
        if n >= at_least:
            for name in _PARSED:
                dtype = COLUMN_DTYPES[name]
                buffer = ffi.buffer(getattr(self._batch, name), n * dtype.itemsize)
                self.parts[name].append(np.frombuffer(buffer, dtype).copy())
            self._drain()

    def join(self, *, merge: bool = False) -> Events:
        """All events.

        Args:
            merge: Put them in order of time; those of one time stay in the order in which they came.
        """
        columns: dict[str, Any] = {}
        order = None
        for name in _PARSED:
            parts = self.parts.pop(name)
            column = np.concatenate(parts) if parts else np.empty(0, COLUMN_DTYPES[name])
            if merge and name == "time_ns" and np.any(column[1:] < column[:-1]):
                order = np.argsort(column, kind="stable")
            columns[name] = column if order is None else column[order]
        n = len(columns["time_ns"])
        columns["allocation"] = np.full(n, 0xFFFFFFFF, np.uint32)
        columns["resolution"] = np.zeros(n, np.uint8)
        return Events(**columns)


def _fail(parser: Any, status: int, path: str | None) -> RecordingError:
    stats = _stats(parser)
    if not stats.problems:
        return RecordingError("the parser failed", status=status, path=path)
    problem = stats.problems[-1]
    return RecordingError(f"byte {problem.column}: {problem.reason}", status=status, path=path, line=problem.line)


def parse_trace(
    chunks: Iterable[bytes],
    *,
    form: str = "auto",
    lenient: bool = False,
    path: str | None = None,
    until_ns: int | None = None,
    gfp_bits: GfpBits | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Events, ParseStats]:
    r"""Parses the text of a trace.

    Args:
        chunks: The text in pieces, which may be cut anywhere.
        form: One of `FORMATS`; ``"auto"`` tells it by the first lines.
        lenient: Pass over damaged lines and count them, instead of failing at the first.
        path: A name for messages.
        gfp_bits: What hexadecimal gfp flags mean; those of kernel 6.x unless told otherwise.
        until_ns: Stop once every event of a batch is later than this after the first event (a cut of a long trace).
        progress: Called with the bytes and the events so far.

    Returns:
        The events as they stand in the text (`allocation` is not resolved, `unsorted` ones are not yet in order), and
        the counts.

    Raises:
        RecordingError: A damaged line (strict), with its number in ``line``; or a text that ends inside a line.

    Example:
        >>> text = b" 12 [001] 5.000000001: kmem:mm_page_free: page=0x9 pfn=0x9 order=0\n"
        >>> events, stats = parse_trace([text])
        >>> events.pfn.tolist(), events.time_ns.tolist(), stats.format
        ([9], [5000000001], 'perf-script')
    """
    if form not in FORMATS:
        raise ValueError(f"form={form!r}: expected one of {', '.join(FORMATS)}")
    first_ns: int | None = None
    used = ffi.new("size_t *")
    with _parser(form, lenient=lenient) as parser:
        if gfp_bits is not None:
            check(lib.pm_parser_set_gfp_bits(parser, gfp_bits.raw))
        columns = Columns(lambda view: lib.pm_parser_columns(parser, view), lambda: lib.pm_parser_drain(parser))
        for chunk in chunks:
            at = 0
            view = ffi.from_buffer("char[]", chunk)
            while at < len(chunk):
                status = lib.pm_parser_feed(parser, view + at, len(chunk) - at, used)
                if status != lib.PM_OK:
                    raise _fail(parser, status, path)
                at += used[0]
                if at < len(chunk):
                    columns.take()
            # Short chunks are left to fill the batch: a copy for each would cost more than the parse.
            columns.take(at_least=BATCH // 4)
            if progress is not None:
                stats = _stats(parser)
                progress(stats.bytes, stats.events)
            times = columns.parts["time_ns"]
            if until_ns is not None and times:
                first_ns = int(times[0][0]) if first_ns is None else first_ns
                if int(times[-1].min()) > first_ns + until_ns:
                    columns.take()
                    return columns.join(), _stats(parser)
        status = lib.pm_parser_finish(parser)
        if status != lib.PM_OK:
            raise _fail(parser, status, path)
        columns.take()
        return columns.join(), _stats(parser)
