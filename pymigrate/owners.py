"""Kernel-like users of memory: a slab, which nobody can move, and a balloon, which moves its pages itself.

>>> from pymigrate import Machine, MemoryOptions, Owner
>>> machine = Machine.from_size("64M", memory=MemoryOptions())
>>> balloon = Owner(machine, "movable-ops")
>>> number = balloon.alloc()
>>> before = balloon.frame(number)
>>> balloon.move(number) == balloon.frame(number) != before
True
>>> machine.page_info(balloon.frame(number)).use
'owner'
>>> machine.close()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pymigrate._arrays import u64_pointer
from pymigrate._core import ffi, lib
from pymigrate._named import Closeable, machine_of
from pymigrate.gfp import Gfp
from pymigrate.memory import choose

if TYPE_CHECKING:
    import numpy.typing as npt

    from pymigrate.machine import Machine

__all__ = ["Owner", "OwnerKind"]

OwnerKind = Literal["unmovable", "movable-ops", "movable-whole"]
_KINDS = {
    "unmovable": lib.PM_OWNER_UNMOVABLE,
    "movable-ops": lib.PM_OWNER_MOVABLE_OPS,
    "movable-whole": lib.PM_OWNER_MOVABLE_WHOLE,
}
_DEFAULT_GFP = {
    "unmovable": int(Gfp.KERNEL),
    "movable-ops": int(Gfp.HIGHUSER_MOVABLE),
    "movable-whole": int(Gfp.HIGHUSER_MOVABLE),
}
_new = ffi.new


class Owner(Closeable):
    """A user of memory outside every address space.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        kind: ``"unmovable"``: slab-like, nobody can move its blocks. ``"movable-ops"``: balloon-like, it moves its
            blocks itself when asked. ``"movable-whole"``: the same, and a block is never split.

    Raises:
        StateError: The machine has no owners of frames.
    """

    __slots__ = ("_gfp",)

    def __init__(self, machine: Machine, kind: OwnerKind = "unmovable") -> None:
        self._machine = machine_of(machine)
        out = _new("uint64_t *")
        machine._wait(lib.pm_owner_create, choose("kind", kind, _KINDS), out)
        self._handle = int(out[0])
        self._gfp = _DEFAULT_GFP[kind]

    def close(self) -> None:
        """Frees its blocks and ends it. May be called again."""
        self._end(lib.pm_owner_destroy, self._machine._this_cpu(), self._handle)

    def alloc(self, order: int = 0, gfp: int | None = None) -> int:
        """Allocates a block of 2^order frames.

        Args:
            order: 0..10.
            gfp: `Gfp` flags; None: KERNEL, or HIGHUSER_MOVABLE for what can be moved.

        Returns:
            Its number with this owner, by which it is found wherever it moves.

        Raises:
            OutOfMemoryError: There is no such block, and none could be reclaimed.
        """
        out = _new("uint32_t *")
        self._wait(lib.pm_owner_alloc, order, self._gfp if gfp is None else gfp, out, context={"order": order})
        return int(out[0])

    def free(self, number: int) -> None:
        """Frees a block.

        Raises:
            FrameError: No block has that number.
        """
        self._wait(lib.pm_owner_free, number, context={"number": number})

    def move(self, number: int, gfp: int | None = None) -> int:
        """Moves a block, contents and all, to a frame that the allocator chooses as for a new one.

        A block that was split is whole afterwards.

        Returns:
            The new frame.

        Raises:
            FrameError: No block has that number.
            AddressError: The owner's blocks are not movable.
            OutOfMemoryError: There is no frame to move to.
        """
        out = _new("uint64_t *")
        self._wait(lib.pm_owner_move, number, self._gfp if gfp is None else gfp, out, context={"number": number})
        return int(out[0])

    def frame(self, number: int) -> int:
        """Where a block is now: its first frame.

        Raises:
            FrameError: No block has that number.
        """
        out = _new("uint64_t *")
        self._wait(lib.pm_owner_frame, number, out, context={"number": number})
        return int(out[0])

    def frames(self, number: int) -> npt.NDArray[np.uint64]:
        """Where each frame of a block is, in order: those of a block that migration has split may lie apart.

        Returns:
            uint64 [2^order].

        Raises:
            FrameError: No block has that number.
        """
        room = 1 << lib.PM_MAX_ORDER
        found, n = np.empty(room, dtype=np.uint64), _new("size_t *")
        self._wait(lib.pm_owner_frames, number, room, u64_pointer(found, True), n, context={"number": number})
        return found[: n[0]].copy()

    def _wait(self, function: Any, *args: Any, context: dict[str, Any] | None = None) -> None:
        machine = self._machine
        machine._wait(function, machine._this_cpu(), self._handle, *args, context=context)
