"""A spool: ring-buffer pages and format files as they lie in tracefs. What `pymigrate record` keeps until its end.

A folder with ``header_page``, ``events/SYSTEM/EVENT/format`` and ``cpuN.pages``: the bytes of
per_cpu/cpuN/trace_pipe_raw. Made by any means, it is read like a trace.dat; so a recording that was killed is not lost.
"""

from __future__ import annotations

import re
from pathlib import Path

from pymigrate.errors import RecordingError
from pymigrate.recording.decode import Decoder, Progress
from pymigrate.recording.events import Events
from pymigrate.recording.sections import MAX_CPUS, TraceData, mapped
from pymigrate.recording.trace import ParseStats

__all__ = ["is_spool", "page_bytes_of", "read_spool"]

MAX_FORMAT_BYTES = 1 << 20


def is_spool(folder: Path) -> bool:
    """Whether a folder is a spool itself."""
    return folder.is_dir() and (folder / "header_page").is_file()


def page_bytes_of(header_page: str, path: str = "header_page") -> int:
    """The size of a ring-buffer page, from the text of events/header_page.

    Raises:
        RecordingError: The text does not tell.

    Example:
        >>> page_bytes_of("field: char data; offset:16; size:4080; signed:0;")
        4096
    """
    match = re.search(r"\bdata;\s*offset:(\d{1,5});\s*size:(\d{1,6});", header_page)
    size = int(match[1]) + int(match[2]) if match else 0
    if not 64 <= size <= 65536:
        raise RecordingError("it tells no size of a page between 64 and 65536 bytes", path=path)
    return size


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_FORMAT_BYTES + 1)
    if len(data) > MAX_FORMAT_BYTES:
        raise RecordingError(f"a format of more than {MAX_FORMAT_BYTES} bytes", path=str(path))
    return data


def read_spool(
    folder: Path, *, lenient: bool = False, progress: Progress | None = None
) -> tuple[Events, ParseStats, TraceData]:
    """Reads a spool.

    Args:
        folder: The folder.
        lenient: Count what is damaged and pass over it.
        progress: Called with the bytes and the events so far.

    Returns:
        The events in order of time (of one time: lower CPUs first), the counts, and how many CPUs there are.

    Raises:
        RecordingError: A file is missing or damaged.
    """
    header = _bytes_of(folder / "header_page")
    page_bytes = page_bytes_of(header.decode(errors="replace"), str(folder / "header_page"))
    formats = sorted(folder.glob("events/*/*/format"))
    named = ((re.fullmatch(r"cpu(\d{1,5})\.pages", path.name), path) for path in folder.iterdir())
    pages = {int(match[1]): path for match, path in named if match}
    if not formats or not pages or max(pages) >= MAX_CPUS:
        raise RecordingError("no events/SYSTEM/EVENT/format, or no cpuN.pages", path=str(folder))
    with Decoder("tracefs", str(folder), lenient=lenient, progress=progress) as decoder:
        decoder.set_header_page(header)
        for path in formats:
            decoder.add_format(_bytes_of(path), str(path))
        for cpu in sorted(pages):
            with mapped(pages[cpu]) as data:
                if len(data):
                    with memoryview(data) as view:
                        decoder.pages(cpu, page_bytes, view)
        events, stats = decoder.finish()
    return events, stats, TraceData(cpus=max(pages) + 1)
