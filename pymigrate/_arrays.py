"""Between numpy and the core: arrays as arguments, and tables of the core as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pymigrate._core import ffi
from pymigrate.errors import ArgumentError

# The one object that numpy gives to arrays of uint64 in the machine's byte order: an array that has it is one for sure.
U64 = np.dtype(np.uint64)
_U64_ARRAY = ffi.typeof("uint64_t[]")
_from_buffer = ffi.from_buffer

FRAME_DTYPE = np.dtype([("word", "<u4"), ("tag", "<u4"), ("prev", "<u4"), ("next", "<u4")])
PAGE_DTYPE = np.dtype([("references", "<u4"), ("mapcount", "<u4"), ("flags", "<u4"), ("mapping", "<u4")])
PAGEBLOCK_DTYPE = np.dtype(
    [
        ("prev", "<u4"),
        ("next", "<u4"),
        ("type", "u1"),
        ("isolated", "u1"),
        ("free_order", "u1"),
        ("zone", "u1"),
        ("free_list", "u1"),
        ("queue", "u1"),
        ("offline", "u1"),
        ("pad", "u1"),
    ]
)


class Table:
    """Owner of a view: numpy keeps it as the array's base, and it keeps what the memory belongs to."""

    def __init__(
        self, keeper: object, address: Any, length: int, dtype: np.dtype[Any], *, writable: bool = False
    ) -> None:
        self._keeper = keeper
        self.__array_interface__ = {
            "version": 3,
            "shape": (length,),
            "typestr": dtype.str,
            "descr": dtype.descr,
            "data": (int(ffi.cast("uintptr_t", address)), not writable),
        }


def as_array(values: npt.ArrayLike, dtype: type[np.unsignedinteger[Any]]) -> npt.NDArray[Any]:
    """Returns a flat contiguous array of `dtype`; a number that it cannot hold is an error, not a wrap."""
    given = np.asarray(values)
    if given.dtype != dtype:
        if given.size and given.dtype.kind not in "iub":
            raise ArgumentError(f"integers are needed, not {given.dtype}")
        if given.size and (given.min() < 0 or int(given.max()) > np.iinfo(dtype).max):
            raise ArgumentError(f"a number does not fit {np.dtype(dtype).name}")
    return np.ascontiguousarray(given, dtype=dtype).reshape(-1)


def as_u64(values: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Returns a flat contiguous uint64 array, as `as_array` does, but quickly where the values are one already."""
    if type(values) is np.ndarray and values.dtype is U64 and values.ndim == 1 and values.flags.c_contiguous:
        return values
    return as_array(values, np.uint64)


def u64_pointer(array: npt.NDArray[np.uint64], writable: bool = False) -> Any:
    # Types and flags by position: cffi takes twice as long to read a declaration and keywords.
    return _from_buffer(_U64_ARRAY, array, writable)


def outcome(result: int) -> tuple[int, int]:
    """Takes the failure of a bulk call apart: the status, and how many blocks were done before it."""
    return -(-result & 0xFF), -result >> 8
