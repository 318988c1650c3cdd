"""Physical memory in user space: zones, a buddy allocator and their replay, in the manner of Linux."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version

from pymigrate.errors import CorruptionError, FrameError, OutOfMemoryError, PymigrateError, RecordingError

try:
    __version__ = _version("pymigrate")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"

__all__ = [
    "CorruptionError",
    "FrameError",
    "OutOfMemoryError",
    "PymigrateError",
    "RecordingError",
    "__version__",
]
