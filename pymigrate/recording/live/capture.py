"""The ring buffers' pages to files: one thread for all CPUs, without copying through user space."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import shutil
import threading
from pathlib import Path
from types import TracebackType

from pymigrate.recording.live.tracefs import Instance

__all__ = ["Capture"]

PIPE_BYTES = 1 << 20
POLL_MS = 200
MARGIN_BYTES = 128 << 20
"""What may come while the snapshot of the end is read, beyond twice the limit."""
_SPLICE_MOVE, _SPLICE_NONBLOCK = 1, 2


class Capture:
    """Moves the pages of an instance to ``cpuN.pages`` in a folder, until it is stopped. Used in a ``with`` block.

    The kernel wakes the reader when a buffer is half full: then it empties that buffer into its file, by splice(2).

    Args:
        instance: Whose buffers.
        folder: Where to; the header and the formats are written beside the pages, so that the folder is a spool.
        page_bytes: Size of a page.
        max_bytes: Above this, `full` is set and `wake_fd` readable; far above it (`cut`)
            tracing is stopped. 0: no limit.

    Attributes:
        bytes: How much was taken.
        full: There was more than `max_bytes`.
        cut: There was more than twice that and `MARGIN_BYTES`, and tracing was stopped.
        error: Why nothing more could be taken: say, the disk is full.
        wake_fd: Becomes readable when the recording is to end.
    """

    def __init__(self, instance: Instance, folder: Path, *, page_bytes: int, max_bytes: int = 0) -> None:
        self._instance, self._page_bytes, self._max_bytes = instance, page_bytes, max_bytes
        self.bytes = 0
        self.full = False
        self.cut = False
        self.error: OSError | None = None
        self.wake_fd, self._wake_write = os.pipe()
        self._stop = threading.Event()
        self._copy_formats(folder)
        self._pipe = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._pipe[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._files: dict[int, tuple[int, int]] = {}
        for cpu in instance.cpus:
            source = os.open(instance.folder / "per_cpu" / f"cpu{cpu}" / "trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
            target = os.open(folder / f"cpu{cpu}.pages", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._files[cpu] = source, target
        self._thread = threading.Thread(target=self._run, name="pymigrate-capture", daemon=True)

    def _copy_formats(self, folder: Path) -> None:
        source = self._instance.folder / "events"
        header = source / "header_page"
        if not header.exists():
            header = self._instance.root / "events" / "header_page"
        (folder / "header_page").write_bytes(header.read_bytes())
        for event in self._instance.events:
            (folder / "events" / event).mkdir(parents=True)
            shutil.copyfile(source / event / "format", folder / "events" / event / "format")

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()
        for source, target in self._files.values():
            os.close(source)
            os.close(target)
        for fd in (*self._pipe, self.wake_fd, self._wake_write):
            os.close(fd)
        self._files.clear()

    def _drain_pipe(self, target: int, size: int) -> None:
        while size > 0:
            size -= os.splice(self._pipe[0], target, size, flags=_SPLICE_MOVE)

    def _move(self, cpu: int) -> bool:
        """Moves whole pages of a CPU; False: there are none left."""
        source, target = self._files[cpu]
        try:
            moved = os.splice(source, self._pipe[1], PIPE_BYTES, flags=_SPLICE_MOVE | _SPLICE_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR):
                return False
            raise
        if moved <= 0:
            return False
        self._drain_pipe(target, moved)
        self.bytes += moved
        return True

    def _read_rest(self, cpu: int) -> None:
        """The page that is not full yet, which splice leaves."""
        source, target = self._files[cpu]
        while True:
            try:
                page = os.read(source, self._page_bytes)
            except BlockingIOError:
                return
            if not page:
                return
            os.write(target, page)
            self.bytes += len(page)

    def _run(self) -> None:
        try:
            # The buffers must be emptied in time, however busy the machine is.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -15)
            poll = select.poll()
            by_fd = {source: cpu for cpu, (source, _) in self._files.items()}
            for fd in by_fd:
                poll.register(fd, select.POLLIN)
            while not self._stop.is_set():
                for fd, _ in poll.poll(POLL_MS):
                    while self._move(by_fd[fd]):
                        self._check_size()
                        if self._stop.is_set():
                            return
        except OSError as error:
            self.error = error
            # Nobody empties the buffers from here on.
            with contextlib.suppress(Exception):
                self._instance.stop()
            os.write(self._wake_write, b"x")

    def _check_size(self) -> None:
        """Above the limit the caller is told, who ends the recording; until then more is taken, within bounds."""
        if self._max_bytes == 0 or self.bytes < self._max_bytes:
            return
        if not self.full:
            self.full = True
            os.write(self._wake_write, b"x")
        if self.bytes >= 2 * self._max_bytes + MARGIN_BYTES and not self.cut:
            self.cut = True
            self._instance.stop()

    def finish(self) -> None:
        """Stops the reader and takes what is left in the buffers; tracing must be off by now. May be called twice."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.error is not None:
            return
        try:
            for cpu in self._files:
                while self._move(cpu):
                    pass
                self._read_rest(cpu)
        except OSError as error:
            self.error = error
