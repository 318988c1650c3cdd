"""Tracefs: where it is, which events it has, and an instance of our own that disturbs no other tracing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pymigrate.errors import PymigrateError

__all__ = ["DEFAULT_EVENTS", "NEEDED_EVENTS", "Instance", "RecordError", "choose_events", "tracefs"]

DEFAULT_EVENTS: tuple[str, ...] = (
    "kmem/mm_page_alloc",
    "kmem/mm_page_free",
    "kmem/mm_page_free_batched",
    "kmem/mm_page_alloc_zone_locked",
    "kmem/mm_page_pcpu_drain",
    "kmem/mm_page_alloc_extfrag",
    "compaction/mm_compaction_isolate_freepages",
    "compaction/mm_compaction_fast_isolate_freepages",
    "compaction/mm_compaction_isolate_migratepages",
    "compaction/mm_compaction_begin",
    "compaction/mm_compaction_end",
    "compaction/mm_compaction_finished",
    "compaction/mm_compaction_suitable",
    "compaction/mm_compaction_try_to_compact_pages",
    "compaction/mm_compaction_kcompactd_wake",
    "compaction/mm_compaction_migratepages",
    "migrate/set_migration_pte",
    "migrate/remove_migration_pte",
    "migrate/mm_migrate_pages",
    "vmscan/mm_vmscan_kswapd_wake",
    "vmscan/mm_vmscan_wakeup_kswapd",
    "vmscan/mm_vmscan_direct_reclaim_begin",
)
"""All events that pymigrate uses, as SYSTEM/EVENT."""

NEEDED_EVENTS = ("kmem/mm_page_alloc", "kmem/mm_page_free")
"""Without these there is nothing to replay."""

_PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_PREFIX = "pymigrate-"


class RecordError(PymigrateError):
    """This machine cannot be recorded, or not so: the message says what is missing."""


def _mount(folder: str) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.mount(b"nodev", folder.encode(), b"tracefs", 0, None)) == 0


@contextmanager
def tracefs() -> Iterator[Path]:
    """The folder of tracefs. Mounted for the time of the block where it is not, and unmounted after it.

    Raises:
        RecordError: The kernel has none, or it may not be mounted or read.
    """
    for place in _PLACES:
        try:
            there = Path(place, "available_events").exists()
        except PermissionError:
            raise RecordError(f"{place} may not be read: it needs root, try sudo") from None
        if there:
            yield Path(place)
            return
    folder = _PLACES[0]
    if not Path(folder).is_dir():
        raise RecordError(f"no tracefs: {folder} does not exist (a kernel without CONFIG_TRACING, or no sysfs here)")
    if not _mount(folder):
        reason = os.strerror(ctypes.get_errno())
        raise RecordError(f"no tracefs: mounting it at {folder} failed: {reason} (it needs root: try sudo)")
    try:
        yield Path(folder)
    finally:
        ctypes.CDLL(None).umount2(folder.encode(), 0)


def choose_events(root: Path, wanted: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which of the wanted events this kernel has.

    Args:
        root: Tracefs.
        wanted: SYSTEM/EVENT each.

    Returns:
        Those that are there, and those that are not.

    Raises:
        RecordError: One that is needed is not there.
    """
    there = tuple(event for event in wanted if (root / "events" / event / "format").is_file())
    missing = tuple(event for event in wanted if event not in there)
    lacking = [event for event in NEEDED_EVENTS if event in missing]
    if lacking:
        release = os.uname().release
        raise RecordError(f"this kernel ({release}) has no event {', '.join(lacking)}: nothing could be replayed")
    return there, missing


@dataclass
class Instance:
    """An instance of tracing: `tracing`, `events` and buffers of our own.

    Attributes:
        root: Tracefs.
        folder: The instance's folder.
        events: SYSTEM/EVENT each.
    """

    root: Path
    folder: Path
    events: tuple[str, ...]

    def write(self, name: str, text: str) -> None:
        """Writes a file of the instance.

        Raises:
            RecordError: The kernel refuses.
        """
        path = self.folder / name
        try:
            # No O_TRUNC or O_CREAT: some files of tracefs take these as a command.
            fd = os.open(path, os.O_WRONLY)
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise RecordError(f"{path}: writing {text!r} failed: {error.strerror}") from error

    def read(self, name: str) -> str:
        """A text of the instance."""
        return (self.folder / name).read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Switches tracing on."""
        self.write("tracing_on", "1")

    def stop(self) -> None:
        """Switches tracing off; what is in the buffers stays there."""
        self.write("tracing_on", "0")

    def lost(self, cpu: int) -> int:
        """How many events the ring buffer of a CPU has lost since it was made, as it counts them itself."""
        total = 0
        for line in self.read(f"per_cpu/cpu{cpu}/stats").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("overrun", "commit overrun", "dropped events"):
                total += int(value)
        return total

    @property
    def cpus(self) -> list[int]:
        """The CPUs that have a buffer."""
        names = (path.name for path in (self.folder / "per_cpu").iterdir())
        return sorted(int(name[3:]) for name in names if name.startswith("cpu") and name[3:].isdigit())


def _remove(folder: Path) -> bool:
    """Switches an instance off and removes it. False: something else holds it."""
    for name, text in (("tracing_on", "0"), ("events/enable", "0")):
        with contextlib.suppress(OSError):
            (folder / name).write_text(text)
    for _ in range(50):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            time.sleep(0.02)
        else:
            return True
    return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def remove_stale(root: Path) -> list[str]:
    """Removes the instances of recorders that were killed before they could do so. Returns their names."""
    removed = []
    for folder in (root / "instances").glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX)
        if pid.isdigit() and not _is_alive(int(pid)) and _remove(folder):
            removed.append(folder.name)
    return removed


@contextmanager
def instance(root: Path, events: tuple[str, ...], *, buffer_kib: int) -> Iterator[Instance]:
    """An instance with these events enabled and tracing off; removed at the end of the block, whatever ends it.

    Args:
        root: Tracefs.
        events: SYSTEM/EVENT each.
        buffer_kib: Size of the ring buffer of each CPU.

    Raises:
        RecordError: The kernel refuses.
    """
    folder = root / "instances" / f"{_PREFIX}{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        raise RecordError(f"{folder}: an instance of tracing cannot be made: {error.strerror}") from error
    try:
        made = Instance(root=root, folder=folder, events=events)
        made.stop()
        made.write("trace_clock", "mono")
        made.write("buffer_size_kb", str(buffer_kib))
        for event in events:
            made.write(f"events/{event}/enable", "1")
        yield made
    finally:
        if not _remove(folder):
            raise RecordError(f"{folder} could not be removed: another program holds it; rmdir it later")
