"""Records this machine: tracing on, snapshot, the command with samples, snapshot, tracing off; then all is decoded."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymigrate.exact.walk import Walker, WalkError, zones_with_memory
from pymigrate.recording.importer import ImportResult, Parts, assemble
from pymigrate.recording.lists import FreeLists
from pymigrate.recording.live.capture import Capture
from pymigrate.recording.live.machine import Sampler, describe, pfn_end, take_snapshot
from pymigrate.recording.live.tracefs import (
    DEFAULT_EVENTS,
    Instance,
    RecordError,
    choose_events,
    instance,
    remove_stale,
    tracefs,
)
from pymigrate.recording.proctext import parse_counters
from pymigrate.recording.samples import read_samples
from pymigrate.recording.snapshot import Snapshot
from pymigrate.recording.spool import page_bytes_of, read_spool

__all__ = ["RecordOptions", "RecordResult", "record"]

BUFFER_KIB_MAX = 16384
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """How to record.

    Attributes:
        events: SYSTEM/EVENT each.
        sample_every_s: Seconds between samples of the kernel's counters.
        max_bytes: Most bytes of ring-buffer pages; above it the recording ends. A byte of them costs about four of
            memory at the end. 0: 1 GiB, or an eighth of the available memory where that is less.
        buffer_kib: Ring buffer of each CPU; 0: 16 MiB, less on a small machine.
        with_names: Keep thread ids, their names and the command's words. Otherwise threads are numbered anew.
        snapshot: Read every frame at the start and the end.
        exact: Walk the kernel's own lists after the start snapshot, by BPF. Left out with a note where that cannot be.
    """

    events: tuple[str, ...] = DEFAULT_EVENTS
    sample_every_s: float = 0.1
    max_bytes: int = 0
    buffer_kib: int = 0
    with_names: bool = False
    snapshot: bool = True
    exact: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordResult:
    """What was recorded.

    Attributes:
        imported: The recording and what its making counted.
        exit_code: The command's, 128 + signal where one ended it; 0 without a command.
        lost: Events that the ring buffers lost.
        seconds: From tracing on to tracing off.
        bytes: Of ring-buffer pages.
        stopped: Why it ended before the command did; or empty.
        missing: Events that this kernel does not have.
    """

    imported: ImportResult
    exit_code: int
    lost: int
    seconds: float
    bytes: int
    stopped: str
    missing: tuple[str, ...]


class _Signals:
    """Turns the signals that end a program into a wish to stop; a second one ends it at once."""

    def __init__(self) -> None:
        self.got: int | None = None
        self.child: subprocess.Popen[bytes] | None = None
        self.read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.got = self.got is not None, number
        # A terminal sends Ctrl-C to the command too; whoever kills us means the command as well.
        if self.child is not None and number != signal.SIGINT:
            with suppress(ProcessLookupError):
                self.child.send_signal(number)
        with suppress(BlockingIOError):
            os.write(self._write_fd, b"x")
        if again:
            raise KeyboardInterrupt

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Within the block the signals are ours; outside of the main thread they cannot be."""
        before = {}
        with suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                before[number] = signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self.read_fd)
            os.close(self._write_fd)


@dataclass(kw_only=True)
class _Taken:
    """What the recording left, before it is decoded."""

    start: Snapshot | None = None
    end: Snapshot | None = None
    seconds: float = 0.0
    traced_ns: tuple[int, int] = (0, 0)
    lost: int = 0
    lost_by_cpu: dict[int, int] | None = None
    bytes: int = 0
    stopped: str = ""
    exit_code: int = 0
    names: dict[int, str] | None = None
    missing: tuple[str, ...] = ()
    lists: FreeLists | None = None


def _buffer_kib(options: RecordOptions) -> int:
    if options.buffer_kib:
        return options.buffer_kib
    memory_kib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 10
    return max(1024, min(BUFFER_KIB_MAX, memory_kib // 64 // (os.cpu_count() or 1)))


def _max_bytes(options: RecordOptions) -> int:
    if options.max_bytes:
        return options.max_bytes
    available_kib = parse_counters(Path("/proc/meminfo").read_text()).get("MemAvailable", 8 << 20)
    return min(1 << 30, max(16 << 20, available_kib * 1024 // 8))


def _run_until_done(
    child: subprocess.Popen[bytes] | None, sampler: Sampler, capture: Capture, signals: _Signals, every_s: float
) -> str:
    """Takes samples until the command ends or something else does. Returns what else did, or nothing."""
    watched = [signals.read_fd, capture.wake_fd]
    pidfd = os.pidfd_open(child.pid) if child is not None else -1
    try:
        if pidfd >= 0:
            watched.append(pidfd)
        due = time.monotonic() + every_s
        while True:
            ready, _, _ = select.select(watched, [], [], max(0.0, due - time.monotonic()))
            if signals.got is not None:
                return "" if signals.got == signal.SIGINT else f"signal {signals.got}"
            if capture.wake_fd in ready:
                return f"writing failed: {capture.error.strerror}" if capture.error is not None else "--max-size"
            if pidfd in ready:
                return ""
            if time.monotonic() >= due:
                sampler.take()
                # A sample that came late does not make the next ones come in a heap.
                due = max(due + every_s, time.monotonic() + every_s / 2)
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def _exit_code(child: subprocess.Popen[bytes] | None, signals: _Signals) -> int:
    if child is None:
        return 0 if signals.got in (None, signal.SIGINT) else 128 + int(signals.got)
    code = child.wait()
    return code if code >= 0 else 128 - code


def _start(words: Sequence[str]) -> subprocess.Popen[bytes] | None:
    if not words:
        return None
    try:
        return subprocess.Popen(list(words))
    except OSError as error:
        raise RecordError(f"{words[0]}: cannot be run: {error.strerror}") from error


def _end(child: subprocess.Popen[bytes] | None) -> None:
    """Ends a command that is left over when we fail."""
    if child is not None and child.poll() is None:
        child.terminate()
        child.wait()


def _thread_names(root: Path) -> dict[int, str]:
    """Names of threads as the kernel remembers them, and of those that still run."""
    names = {}
    for path in Path("/proc").glob("[0-9]*/task/[0-9]*/comm"):
        with suppress(OSError):
            names[int(path.parent.name)] = path.read_text().strip()
    with suppress(OSError):
        for line in (root / "saved_cmdlines").read_text(errors="replace").splitlines():
            number, _, name = line.partition(" ")
            if number.isdigit():
                names[int(number)] = name
    return names


def _capture(
    made: Instance,
    folder: Path,
    words: Sequence[str],
    options: RecordOptions,
    signals: _Signals,
    taken: _Taken,
    walker: Walker | None,
    say: Say,
) -> None:
    page_bytes = page_bytes_of((made.root / "events" / "header_page").read_text())
    subbuf = made.folder / "buffer_subbuf_size_kb"
    if subbuf.exists():
        page_bytes = int(subbuf.read_text()) << 10
    (folder / "tracefs").mkdir()
    (folder / "meta.json").write_text(json.dumps(describe()))
    with (
        Capture(made, folder / "tracefs", page_bytes=page_bytes, max_bytes=_max_bytes(options)) as capture,
        Sampler(folder / "samples.jsonl") as sampler,
    ):
        began = time.monotonic()
        made.start()
        on_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        taken.start = take_snapshot(pfn_end() if options.snapshot else 0)
        if walker is not None:
            taken.lists = _walk(walker, say)
        # The first sample is whole and may take a while: before the command, not beside it.
        sampler.take(whole=True)
        signals.child = _start(words)
        taken.stopped = _run_until_done(signals.child, sampler, capture, signals, options.sample_every_s)
        if not capture.cut and capture.error is None:
            sampler.take(whole=True)
            taken.end = take_snapshot(pfn_end() if options.snapshot else 0)
        taken.traced_ns = on_ns, time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        made.stop()
        taken.seconds = time.monotonic() - began
        capture.finish()
        if options.with_names:
            taken.names = _thread_names(made.root)
        taken.lost_by_cpu = {cpu: lost for cpu in made.cpus if (lost := made.lost(cpu))}
    taken.lost = sum(taken.lost_by_cpu.values())
    taken.bytes = capture.bytes
    if capture.cut:
        # What came after the last event tells of another state.
        taken.end = None
        taken.stopped = "far above --max-size before the snapshot of the end was read, which is left out"
    if capture.error is not None:
        raise RecordError(f"{folder}: {capture.error.strerror}")


def number_threads(tid: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Thread ids by numbers of our own: 0 stays 0, the others count from 1 in order of their ids."""
    top = int(tid.max()) if tid.size else 0
    if top >= 1 << 23:
        values, codes = np.unique(tid, return_inverse=True)
        numbers = np.arange(len(values), dtype=np.uint32) + np.uint32(values[0] != 0)
        return numbers[codes.reshape(-1)]
    there = np.zeros(top + 1, np.bool_)
    there[tid] = True
    there[0] = False
    table = np.cumsum(there, dtype=np.uint32)
    table[0] = 0
    return table[tid]


def _make(folder: Path, words: Sequence[str], options: RecordOptions, taken: _Taken) -> ImportResult:
    """Decodes the spool and makes the recording."""
    began = time.perf_counter()
    events, parse, _ = read_spool(folder / "tracefs")
    decode_seconds = time.perf_counter() - began
    samples, _ = read_samples(folder / "samples.jsonl")
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    meta |= {"seconds": round(taken.seconds, 3), "exit": taken.exit_code, "lost_events": taken.lost}
    meta["record"] = {
        "events": [event for event in options.events if event not in taken.missing],
        "events_missing": list(taken.missing),
        "page_bytes": taken.bytes,
        # On a quiet machine the first event comes long after tracing was switched on.
        "traced_ns": list(taken.traced_ns),
        "lost_by_cpu": {str(cpu): lost for cpu, lost in (taken.lost_by_cpu or {}).items()},
        "stopped": taken.stopped,
        "names": options.with_names,
    }
    if options.with_names:
        seen = {str(tid): name for tid in np.unique(events.tid).tolist() if (name := (taken.names or {}).get(tid))}
        meta |= {"threads": seen, "command": list(words)}
    else:
        events = events.with_columns(tid=number_threads(events.tid))
    # The buffers' own counts are exact; a page says only that something before it is missing.
    parse = replace(parse, lost_events=max(parse.lost_events, taken.lost))
    start, end = taken.start, taken.end
    parts = Parts(
        name="tracefs",
        events=events,
        parse=parse,
        decode_seconds=decode_seconds,
        start=start,
        end=end,
        samples=samples,
        meta=meta,
        path=str(folder),
        lists=taken.lists,
    )
    return assemble(parts, began=began)


def _walk(walker: Walker, say: Say) -> FreeLists | None:
    try:
        return walker.walk(zones_with_memory())
    except WalkError as error:
        say(f"the order of the free lists will be inferred: {error}")
        return None


@contextmanager
def _walker(options: RecordOptions, say: Say) -> Iterator[Walker | None]:
    """The program that walks the lists, where it is wanted and can be had."""
    if not options.exact:
        yield None
        return
    try:
        walker = Walker()
    except WalkError as error:
        say(f"the order of the free lists will be inferred: {error}")
        yield None
        return
    with walker:
        yield walker


def _record_into(
    folder: Path, words: Sequence[str], options: RecordOptions, signals: _Signals, taken: _Taken, say: Say
) -> None:
    """Everything that needs tracefs."""
    with tracefs() as root:
        for name in remove_stale(root):
            say(f"removed {name}, which a recorder that was killed had left")
        events, taken.missing = choose_events(root, options.events)
        for event in taken.missing:
            say(f"this kernel has no event {event}: left out")
        with (
            _walker(options, say) as walker,
            instance(root, events, buffer_kib=_buffer_kib(options)) as made,
        ):
            _capture(made, folder, words, options, signals, taken, walker, say)


def record(
    words: Sequence[str], output: Path, *, options: RecordOptions | None = None, say: Say = lambda text: None
) -> RecordResult:
    """Records this machine while a command runs, or until Ctrl-C, and writes the recording.

    Whatever ends it, the instance of tracing is removed, and tracefs unmounted where it was not mounted before. If the
    pages cannot be made into a recording, they stay in a folder beside `output` that `pymigrate import` reads.

    Args:
        words: The command; empty: until Ctrl-C or SIGTERM.
        output: Where the recording is written.
        options: How to record.
        say: Called with what a person should know.

    Raises:
        RecordError: This machine cannot be recorded: no root, no tracefs, an event that is needed is missing.
        OSError: The output cannot be written.
    """
    options = options or RecordOptions()
    folder = output.with_name(f".{output.name}.{os.getpid()}.spool")
    signals, taken = _Signals(), _Taken()
    folder.mkdir(parents=False)
    keep = False
    try:
        with signals.handled():
            try:
                _record_into(folder, words, options, signals, taken, say)
                if signals.child is not None and signals.child.poll() is None:
                    say("the recording has ended; the command has not")
                taken.exit_code = _exit_code(signals.child, signals)
            except BaseException:
                _end(signals.child)
                raise
        keep = True
        result = _make(folder, words, options, taken)
        result.recording.save(output)
        keep = False
    finally:
        if keep:
            say(f"the pages are kept: pymigrate import {folder} -o {output}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return RecordResult(
        imported=result,
        exit_code=taken.exit_code,
        lost=result.parse.lost_events,
        seconds=taken.seconds,
        bytes=taken.bytes,
        stopped=taken.stopped,
        missing=taken.missing,
    )
