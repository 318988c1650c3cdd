"""The core for other extension modules of the same process: a table of functions, and machines, in capsules.

In C, with ``pymigrate.get_include()`` on the include path and nothing to link with::

    const struct pm_api *pm = PyCapsule_Import("pymigrate.capi._C_API", 0);

docs/EMBED_IN_PROCESS.md says more, and examples/extension is a whole module.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from pymigrate._core import ffi, lib

if TYPE_CHECKING:
    from pymigrate.machine import Machine

__all__ = ["machine_capsule"]

_new = ctypes.pythonapi.PyCapsule_New
_new.restype = ctypes.py_object
_new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
# A capsule keeps the pointer to its name, not the name.
_NAME = ctypes.c_char_p(b"pymigrate.capi._C_API")

_C_API: object = _new(int(ffi.cast("uintptr_t", lib.pm_api())), _NAME, None)


def machine_capsule(machine: Machine) -> object:
    """Returns a capsule named ``pymigrate.machine`` that holds the ``struct pm_machine *`` of a machine.

    Who keeps the capsule keeps the memory of the machine. After `Machine.close` its calls return `PM_ERR_CLOSED` (those
    that do not wait may still work). Calls that wait come back with `PM_ERR_INTR` now and then, so that
    signals can be handled (`PyErr_CheckSignals`): call again for the rest.

    Raises:
        ClosedError: The machine is closed already.
    """
    return machine._open_core()
