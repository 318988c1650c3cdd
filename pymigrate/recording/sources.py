"""Sources of text: plain, gzip or zstd, read in chunks so that memory stays bounded whatever the length."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import io
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pymigrate.errors import RecordingError

__all__ = [
    "CHUNK_BYTES",
    "SUFFIXES",
    "ZstdBlocks",
    "find_file",
    "is_packed",
    "read_all",
    "read_chunks",
    "unzstd",
    "unzstd_stream",
]

CHUNK_BYTES = 1 << 20
SUFFIXES = ("", ".zst", ".gz")
"""What may follow a file's name, in order of preference."""

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_GZIP_MAGIC = b"\x1f\x8b"


def find_file(folder: Path, name: str) -> Path | None:
    """`folder`/`name`, plain or compressed; None where there is none."""
    for suffix in SUFFIXES:
        path = folder / (name + suffix)
        if path.is_file():
            return path
    return None


def is_packed(path: Path) -> bool:
    """Whether a file is gzip or zstd, by its first bytes."""
    with path.open("rb") as file:
        magic = file.read(4)
    return magic.startswith(_GZIP_MAGIC) or magic == _ZSTD_MAGIC


def _zstandard() -> Any:
    """The zstandard package, or None: it is an extra."""
    try:
        return importlib.import_module("zstandard")
    except ImportError:
        return None


def _read_plain(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _read_gzip(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise RecordingError(f"the gzip data are damaged: {error}", path=str(path)) from error


def _read_zstandard(path: Path, zstandard: Any) -> Iterator[bytes]:
    ended = True
    with path.open("rb") as file:
        try:
            decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            while chunk := file.read(CHUNK_BYTES // 8):
                while chunk:
                    if decompressor is None:
                        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
                    text = decompressor.decompress(chunk)
                    ended = bool(decompressor.eof)
                    chunk = decompressor.unused_data if ended else b""
                    if ended:
                        decompressor = None
                    # A small chunk may hold a lot of text: hand it on in pieces.
                    for at in range(0, len(text), CHUNK_BYTES):
                        yield text[at : at + CHUNK_BYTES]
        except zstandard.ZstdError as error:
            raise RecordingError(f"the zstd data are damaged: {error}", path=str(path)) from error
    if not ended:
        raise RecordingError("the zstd data end too early", path=str(path))


def _read_zstd_program(path: Path) -> Iterator[bytes]:
    program = shutil.which("zstd")
    if program is None:
        raise _missing_zstd(str(path))
    with subprocess.Popen(
        [program, "-dcq", "--", str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            while chunk := process.stdout.read(CHUNK_BYTES):
                yield chunk
            complaint = process.stderr.read(4096).decode(errors="replace").strip()
            if process.wait() != 0:
                raise RecordingError(f"the zstd data are damaged: {complaint}", path=str(path))
        finally:
            # The reader may stop early: then the program would wait for ever on a full pipe.
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yields a file's bytes, decompressed, in chunks of about `CHUNK_BYTES`.

    What the file is follows from its first bytes, not from its name. zstd is read with the `zstandard` package (the
    extra ``zstd``) or, where that is missing, with the program ``zstd``.

    Raises:
        RecordingError: The compressed data are damaged or end too early, or nothing here can read zstd.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(_GZIP_MAGIC):
        yield from _read_gzip(path)
    elif magic == _ZSTD_MAGIC:
        zstandard = _zstandard()
        yield from _read_zstd_program(path) if zstandard is None else _read_zstandard(path, zstandard)
    else:
        yield from _read_plain(path)


def read_all(path: Path, *, max_bytes: int) -> bytes:
    """A whole file, decompressed.

    Args:
        path: The file, plain or compressed.
        max_bytes: The most that is taken into memory.

    Raises:
        RecordingError: The data are damaged, or longer than `max_bytes`.
    """
    buffer = io.BytesIO()
    for chunk in read_chunks(path):
        if buffer.tell() + len(chunk) > max_bytes:
            raise RecordingError(f"more than {max_bytes} bytes", path=str(path))
        buffer.write(chunk)
    return buffer.getvalue()


def _missing_zstd(path: str) -> RecordingError:
    return RecordingError(
        "to read zstd, install the package (pip install 'pymigrate[zstd]') or the program zstd", path=path
    )


def unzstd(data: bytes, size: int, path: str) -> bytes:
    """Decompresses one zstd frame that holds `size` bytes.

    Args:
        data: The frame.
        size: How many bytes are expected; no more than one above that is taken into memory.
        path: A name for messages.

    Raises:
        RecordingError: The data are damaged, or nothing here can read zstd.
    """
    zstandard = _zstandard()
    if zstandard is not None:
        try:
            with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data) as reader:
                plain: bytes = reader.read(size + 1)
                return plain
        except zstandard.ZstdError as error:
            raise RecordingError(f"the zstd data are damaged: {error}", path=path) from error
    program = shutil.which("zstd")
    if program is None:
        raise _missing_zstd(path)
    done = subprocess.run([program, "-dcq"], input=data, capture_output=True, check=False)
    if done.returncode != 0:
        raise RecordingError(f"the zstd data are damaged: {done.stderr[:200].decode(errors='replace')}", path=path)
    return done.stdout[: size + 1]


def unzstd_stream(path: str) -> Callable[[bytes], Iterator[bytes]]:
    """Returns a function that decompresses a zstd stream: what it yields at once stays below about 8 MiB.

    Raises:
        RecordingError: Nothing here can read zstd in pieces. The function itself: the data are damaged.
    """
    zstandard = _zstandard()
    if zstandard is None:
        raise RecordingError("to read compressed perf.data, install: pip install 'pymigrate[zstd]'", path=path)
    engine: list[Any] = []

    def feed(data: bytes) -> Iterator[bytes]:
        # A block of zstd takes four bytes and may hold 128 KiB.
        for at in range(0, len(data), 256):
            piece = data[at : at + 256]
            while piece:
                if not engine:
                    engine.append(zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj())
                try:
                    yield engine[0].decompress(piece)
                except zstandard.ZstdError as error:
                    raise RecordingError(f"the zstd data are damaged: {error}", path=path) from error
                piece = engine[0].unused_data if engine[0].eof else b""
                if engine[0].eof:
                    engine.clear()

    return feed


class ZstdBlocks:
    """Follows the frames and blocks of a zstd stream (RFC 8878, 3.1) that comes in pieces, without decompressing it."""

    def __init__(self) -> None:
        self._head, self._need = bytearray(), 5
        self._skip = 0
        self._in_frame = False
        self._checksum = False

    @property
    def inside(self) -> bool:
        """Whether what has come so far ends inside a frame's head or a block, so that something is missing."""
        return self._skip > 0 or len(self._head) > 0

    def feed(self, data: bytes) -> None:
        """Goes over the next piece; what is damaged is left to the decompressor to say."""
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
            else:
                step = min(self._need - len(self._head), len(data) - at)
                self._head += data[at : at + step]
                if len(self._head) == self._need:
                    self._take_head()
            at += step

    def _take_head(self) -> None:
        head, self._head = self._head, bytearray()
        if not self._in_frame:
            # A frame's descriptor tells how long the rest of its head is.
            descriptor = head[4]
            single = descriptor >> 5 & 1
            content = (single, 2, 4, 8)[descriptor >> 6]
            self._skip = 1 - single + (0, 1, 2, 4)[descriptor & 3] + content
            self._checksum = bool(descriptor & 4)
            self._in_frame, self._need = True, 3
            return
        word = int.from_bytes(head, "little")
        kind, size = word >> 1 & 3, word >> 3
        self._skip = 1 if kind == 1 else size
        if word & 1:
            self._skip += 4 if self._checksum else 0
            self._in_frame, self._need = False, 5
