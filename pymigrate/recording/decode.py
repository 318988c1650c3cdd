"""From binary traces to columns: drives the decoder of the core."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np

from pymigrate._core import ffi, lib
from pymigrate.errors import RecordingError, check, error_of
from pymigrate.recording.events import Events
from pymigrate.recording.trace import Columns, ParseStats, take_stats

__all__ = ["Decoder", "Progress"]

BATCH = 1 << 17
Progress = Callable[[int, int], None]


class Decoder:
    """A `struct pm_decoder` and the columns that came out of it. To be used in a ``with`` block.

    Args:
        form: What the source is called in `ParseStats.format`.
        path: A name for messages.
        lenient: Count what is damaged and pass over it.
        progress: Called with the bytes and the events so far.
    """

    def __init__(self, form: str, path: str, *, lenient: bool = False, progress: Progress | None = None) -> None:
        handle = ffi.new("struct pm_decoder **")
        check(lib.pm_decoder_create(lenient, BATCH, handle))
        decoder = handle[0]
        self._decoder = decoder
        self._form, self._path, self._lenient, self._progress = form, path, lenient, progress
        self._columns = Columns(
            lambda view: lib.pm_decoder_columns(decoder, view), lambda: lib.pm_decoder_drain(decoder)
        )
        self._used = ffi.new("size_t *")
        self._rest = b""

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        lib.pm_decoder_destroy(self._decoder)
        self._decoder = ffi.NULL

    def fail(self, message: str) -> RecordingError:
        """An error that names the file."""
        return RecordingError(message, path=self._path)

    def add_format(self, text: bytes, name: str = "") -> None:
        """Adds an event's format file.

        Raises:
            RecordingError: It is none, or of a kernel whose event lacks what is needed.
        """
        status = lib.pm_decoder_add_format(self._decoder, text, len(text))
        if status == lib.PM_ERR_SYNTAX:
            problem = ffi.string(lib.pm_decoder_problem(self._decoder)).decode()
            first = name or text.split(b"\n", 1)[0][:80].decode(errors="replace")
            raise self.fail(f"{problem} ({first})")
        check(status)

    def set_header_page(self, text: bytes) -> None:
        """The text of events/header_page.

        Raises:
            RecordingError: It describes no page that is known.
        """
        status = lib.pm_decoder_set_header_page(self._decoder, text, len(text))
        if status != lib.PM_OK:
            raise self.fail(ffi.string(lib.pm_decoder_problem(self._decoder)).decode())

    def _stats(self) -> ParseStats:
        raw = ffi.new("struct pm_parse_stats *")
        decoder = self._decoder
        lib.pm_decoder_stats(decoder, raw)
        return take_stats(raw, lambda i, other: int(lib.pm_decoder_other(decoder, i, other)), self._form)

    def _failed(self, status: int) -> RecordingError:
        stats = self._stats()
        if not stats.problems or status not in (lib.PM_ERR_SYNTAX, lib.PM_ERR_TRUNCATED):
            return self.fail(str(error_of(status)))
        problem = stats.problems[-1]
        return RecordingError(
            f"record {problem.line}, byte {problem.column - 1} of the data: {problem.reason}",
            status=status,
            path=self._path,
        )

    def report(self) -> None:
        """Tells the caller how far the decoding is."""
        if self._progress is not None:
            raw = ffi.new("struct pm_parse_stats *")
            lib.pm_decoder_stats(self._decoder, raw)
            self._progress(int(raw.bytes), int(raw.events))

    def pages(self, cpu: int, page_bytes: int, data: bytes | memoryview) -> None:
        """Decodes ring-buffer pages of a CPU.

        Raises:
            RecordingError: The pages are damaged (strict).
        """
        at, size = 0, len(data)
        # Given back at once, or the traceback of an error would hold on to the caller's bytes.
        with ffi.from_buffer("char[]", data) as view:
            while at < size:
                status = lib.pm_decoder_pages(self._decoder, cpu, page_bytes, view + at, size - at, self._used)
                if status != lib.PM_OK:
                    raise self._failed(status)
                at += self._used[0]
                if at < size:
                    self._columns.take()
        self._columns.take(at_least=BATCH // 4)
        self.report()

    def set_perf(self, sample_types: list[int], read_formats: list[int], ids: list[tuple[int, int]]) -> None:
        """How a perf.data file's samples are laid out; `ids` are pairs of an id and the index of its event.

        Raises:
            RecordingError: The samples cannot be told apart.
        """
        numbers = np.array([number for number, _ in ids], np.uint64)
        owners = np.array([owner for _, owner in ids], np.uint32)
        status = lib.pm_decoder_set_perf(
            self._decoder,
            len(sample_types),
            ffi.from_buffer("uint64_t[]", np.array(sample_types, np.uint64)),
            ffi.from_buffer("uint64_t[]", np.array(read_formats, np.uint64)),
            len(ids),
            ffi.from_buffer("uint64_t[]", numbers),
            ffi.from_buffer("uint32_t[]", owners),
        )
        if status == lib.PM_ERR_INVAL:
            raise self.fail("its events have samples of different layouts without an identifier")
        check(status)

    def perf(self, data: bytes | memoryview, unpack: Callable[[bytes], Iterator[bytes]]) -> int:
        """Decodes records of perf.data.

        Args:
            data: The records; they may end anywhere.
            unpack: Yields what zstd makes of a compressed record's data, in pieces.

        Returns:
            How many bytes were whole records; the rest is to be fed again with what follows.

        Raises:
            RecordingError: The records are damaged (strict).
        """
        with ffi.from_buffer("char[]", data) as view:
            return self._perf(view, data, unpack)

    def _perf(self, view: Any, data: bytes | memoryview, unpack: Callable[[bytes], Iterator[bytes]]) -> int:
        """`perf`, with `view` a pointer to the data."""
        at, size = 0, len(data)
        span = ffi.new("struct pm_perf_span *")
        while True:
            status = lib.pm_decoder_perf(self._decoder, view + at, size - at, self._used, span)
            if status != lib.PM_OK and not self._lenient:
                raise self._failed(status)
            start, at = at, at + self._used[0]
            self._columns.take(at_least=1 if span.stop == lib.PM_PERF_FULL else BATCH // 4)
            if status != lib.PM_OK:
                # Nothing says where the next record begins.
                return size
            if span.stop == lib.PM_PERF_END:
                self.report()
                return int(at)
            if span.stop == lib.PM_PERF_COMPRESSED:
                # A copy, 64 KiB at most: the traceback of an error would hold on to a view of the file.
                for piece in unpack(bytes(data[start + span.pos : start + span.pos + span.size])):
                    self._rest += piece
                    self._rest = self._rest[self.perf(self._rest, self._refuse) :]

    def _refuse(self, data: bytes) -> Iterator[bytes]:
        raise self.fail("a compressed record within a compressed record")

    @property
    def rest(self) -> int:
        """Bytes of a record within compressed ones whose end has not come."""
        return len(self._rest)

    def finish(self, *, truncated: bool = False, tail_lost: bool = False) -> tuple[Events, ParseStats]:
        """The events of all CPUs in order of time, and the counts.

        Args:
            truncated: The source ended too early, which the caller has found out and may pass over.
            tail_lost: The tracer lost events at the end, nobody knows how many: they count as one.
        """
        self._columns.take()
        stats = self._stats()
        if truncated:
            stats = replace(stats, truncated=1)
        if tail_lost:
            stats = replace(
                stats,
                lost_lines=stats.lost_lines + 1,
                lost_events=stats.lost_events + 1,
                first_lost_line=stats.first_lost_line or stats.lines,
            )
        return self._columns.join(merge=True), stats
