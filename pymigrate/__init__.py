"""Physical memory in user space: zones, a buddy allocator and their replay, in the manner of Linux."""

from __future__ import annotations

from importlib import import_module as _import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from pymigrate.errors import ClosedError, CorruptionError, FrameError, OutOfMemoryError, PymigrateError, RecordingError

if TYPE_CHECKING:
    from pymigrate.gfp import FrameState, Gfp, MigrateType, Place, ZoneKind
    from pymigrate.layout import Settings, Zone
    from pymigrate.machine import Machine
    from pymigrate.recording import Recording
    from pymigrate.replaying import ModeResult, Policy, ReplayResult, replay

try:
    __version__ = _version("pymigrate")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"

__all__ = [
    "ClosedError",
    "CorruptionError",
    "FrameError",
    "FrameState",
    "Gfp",
    "Machine",
    "MigrateType",
    "ModeResult",
    "OutOfMemoryError",
    "Place",
    "Policy",
    "PymigrateError",
    "Recording",
    "RecordingError",
    "ReplayResult",
    "Settings",
    "Zone",
    "ZoneKind",
    "__version__",
    "replay",
]

# name -> module, imported when the name is first used, so that `pymigrate --help` does not wait for numpy. A type
# checker needs the same import under `if TYPE_CHECKING:` above, and the name in `__all__`.
_LAZY: dict[str, str] = {
    **dict.fromkeys(("FrameState", "Gfp", "MigrateType", "Place", "ZoneKind"), "pymigrate.gfp"),
    **dict.fromkeys(("Settings", "Zone"), "pymigrate.layout"),
    "Machine": "pymigrate.machine",
    "Recording": "pymigrate.recording",
    **dict.fromkeys(("ModeResult", "Policy", "ReplayResult", "replay"), "pymigrate.replaying"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'pymigrate' has no attribute {name!r}")
    value = getattr(_import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
