"""Which interpreter this is: the package works in the main one of a process only."""

from __future__ import annotations

import ctypes


def is_subinterpreter() -> bool:
    """Whether the calling thread runs a subinterpreter. Both functions are part of the stable ABI."""
    api = ctypes.pythonapi
    current = api.PyInterpreterState_Get
    current.restype, current.argtypes = ctypes.c_void_p, []
    number = api.PyInterpreterState_GetID
    number.restype, number.argtypes = ctypes.c_int64, [ctypes.c_void_p]
    return bool(number(current()) != 0)


def refuse_subinterpreters() -> None:
    """Raises ImportError in a subinterpreter.

    The extension module has one copy of itself for the whole process: machines, exceptions and the hooks that end them
    would pass from one interpreter to another.
    """
    if is_subinterpreter():
        raise ImportError("pymigrate does not work in a subinterpreter: import it in the main interpreter")
