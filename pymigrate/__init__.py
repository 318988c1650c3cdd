"""Physical memory in user space: an allocator, address spaces, files and swap, and replays, in the manner of Linux."""

from __future__ import annotations

from importlib import import_module as _import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from pymigrate._interpreter import refuse_subinterpreters as _refuse_subinterpreters

# Before the core is loaded: its objects would be shared between interpreters that know nothing of each other.
_refuse_subinterpreters()

from pymigrate.errors import (  # noqa: E402
    AddressError,
    ArgumentError,
    BusyError,
    ClosedError,
    CorruptionError,
    DeviceError,
    FrameError,
    HandleError,
    OutOfMemoryError,
    PymigrateError,
    RecordingError,
    StateError,
    SwapError,
)

if TYPE_CHECKING:
    from pymigrate.devices import BlockDevice
    from pymigrate.embedding import get_cmake_dir, get_include, get_library_dir, get_pkgconfig_dir
    from pymigrate.files import File
    from pymigrate.gfp import FrameState, Gfp, MigrateType, Place, ZoneKind
    from pymigrate.layout import Settings, Zone
    from pymigrate.machine import Machine
    from pymigrate.memory import MemoryOptions
    from pymigrate.migration import Destination, Migration, MigrationResult, migrate
    from pymigrate.owners import Owner
    from pymigrate.pins import Pin, Transfer, Window
    from pymigrate.recording import Recording
    from pymigrate.replaying import ModeResult, Policy, ReplayResult, replay
    from pymigrate.space import AddressSpace, Prot

try:
    __version__ = _version("pymigrate")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"

__all__ = [
    "AddressError",
    "AddressSpace",
    "ArgumentError",
    "BlockDevice",
    "BusyError",
    "ClosedError",
    "CorruptionError",
    "Destination",
    "DeviceError",
    "File",
    "FrameError",
    "FrameState",
    "Gfp",
    "HandleError",
    "Machine",
    "MemoryOptions",
    "MigrateType",
    "Migration",
    "MigrationResult",
    "ModeResult",
    "OutOfMemoryError",
    "Owner",
    "Pin",
    "Place",
    "Policy",
    "Prot",
    "PymigrateError",
    "Recording",
    "RecordingError",
    "ReplayResult",
    "Settings",
    "StateError",
    "SwapError",
    "Transfer",
    "Window",
    "Zone",
    "ZoneKind",
    "__version__",
    "get_cmake_dir",
    "get_include",
    "get_library_dir",
    "get_pkgconfig_dir",
    "migrate",
    "replay",
]

# name -> module, imported when the name is first used, so that `pymigrate --help` does not wait for numpy. A type
# checker needs the same import under `if TYPE_CHECKING:` above, and the name in `__all__`.
_LAZY: dict[str, str] = {
    **dict.fromkeys(("FrameState", "Gfp", "MigrateType", "Place", "ZoneKind"), "pymigrate.gfp"),
    **dict.fromkeys(("Settings", "Zone"), "pymigrate.layout"),
    "BlockDevice": "pymigrate.devices",
    **dict.fromkeys(("get_cmake_dir", "get_include", "get_library_dir", "get_pkgconfig_dir"), "pymigrate.embedding"),
    "File": "pymigrate.files",
    "Machine": "pymigrate.machine",
    "MemoryOptions": "pymigrate.memory",
    **dict.fromkeys(("Destination", "Migration", "MigrationResult", "migrate"), "pymigrate.migration"),
    "Owner": "pymigrate.owners",
    **dict.fromkeys(("Pin", "Transfer", "Window"), "pymigrate.pins"),
    **dict.fromkeys(("AddressSpace", "Prot"), "pymigrate.space"),
    "Recording": "pymigrate.recording",
    **dict.fromkeys(("ModeResult", "Policy", "ReplayResult", "replay"), "pymigrate.replaying"),
}


def __getattr__(name: str) -> Any:
    if name == "capi":
        # PyCapsule_Import("pymigrate.capi._C_API") imports the package, and takes the rest for attributes.
        return _import_module("pymigrate.capi")
    if name not in _LAZY:
        raise AttributeError(f"module 'pymigrate' has no attribute {name!r}")
    value = getattr(_import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
