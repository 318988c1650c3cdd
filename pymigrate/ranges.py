"""Ranges of frames: isolated, taken in one piece, sent offline. What stands there moves away, while others use it.

>>> from pymigrate import AddressSpace, Machine, MemoryOptions
>>> from pymigrate import ranges
>>> machine = Machine.from_size("64M", memory=MemoryOptions())
>>> space = AddressSpace(machine)
>>> addr = space.map(1 << 20, populate=True)
>>> space.write(addr, b"still here")

Contiguous frames of any length, wherever the fewest pages have to move:

>>> taken = ranges.take(machine, 3000, align=512)
>>> taken.ok, taken.nr, taken.start % 512
(True, 3000, 0)
>>> ranges.free(machine, taken.start, taken.nr)

A range that must be emptied goes offline, and comes back:

>>> pfn = space.lookup(addr).pfn
>>> start = pfn // 512 * 512
>>> gone = ranges.offline(machine, start, start + 512)
>>> gone.ok, sum(zone.managed for zone in machine.zones), space.read(addr, 10)
(True, 15871, b'still here')
>>> ranges.online(machine, start, start + 512)

What cannot be emptied is named, and all is as it was:

>>> with space.pin(addr, "long", write=True) as pin:
...     start = pin.pfn // 512 * 512
...     refused = ranges.offline(machine, start, start + 512, tries=3)
...     refused.ok, refused.reasons(), refused.obstacles["pfn"].tolist() == [pin.pfn]
(False, {'pinned': 1}, True)
>>> machine.close()
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pymigrate._core import ffi, lib
from pymigrate._named import Closeable, machine_of
from pymigrate.errors import ArgumentError, BusyError, StateError, error_of
from pymigrate.memory import choose
from pymigrate.migration import _MODES, _PROTOCOL, REASONS, Mode, Protocol

if TYPE_CHECKING:
    from pymigrate.machine import Machine

__all__ = [
    "OBSTACLE_DTYPE",
    "Kind",
    "Range",
    "RangeError",
    "RangeResult",
    "free",
    "isolate",
    "offline",
    "online",
    "take",
]

Kind = Literal["isolate", "take", "offline"]

_KINDS = {"isolate": lib.PM_RANGE_ISOLATE, "take": lib.PM_RANGE_TAKE, "offline": lib.PM_RANGE_OFFLINE}
_ENDS = (lib.PM_ERR_BUSY, lib.PM_ERR_WATERMARK, lib.PM_ERR_NO_BLOCK, lib.PM_ERR_INTR)
_new = ffi.new

OBSTACLE_DTYPE = np.dtype([("pfn", "<u8"), ("nr", "<u4"), ("reason", "<u4")])
"""Who is in the way: first frame of a block, its frames, why (an index in `pymigrate.migration.REASONS`)."""


@dataclasses.dataclass(frozen=True, slots=True)
class RangeResult:
    """How work on a range ended.

    Attributes:
        ok: Whether it is isolated, taken or offline. If not, all is as it was before.
        text: Why not; ``"done"``.
        status: 0 or the core's `enum pm_status`.
        start: First frame of the range, or of the one that was tried last.
        nr: Its frames.
        moved: Frames that moved away.
        put_back: Of these, frames that came back after a failure.
        passes: Passes over what stood in the range.
        tried: Ranges tried.
        obstacles: `OBSTACLE_DTYPE` [n]: who was in the way in the last pass.
    """

    ok: bool
    text: str
    status: int
    start: int
    nr: int
    moved: int
    put_back: int
    passes: int
    tried: int
    obstacles: npt.NDArray[np.void]

    def reasons(self) -> dict[str, int]:
        """Counts the frames in the way, by why."""
        numbers = np.bincount(self.obstacles["reason"], weights=self.obstacles["nr"], minlength=len(REASONS))
        return {REASONS[i]: int(count) for i, count in enumerate(numbers) if count}


class RangeError(BusyError):
    """A range could not be isolated.

    Attributes:
        result: Says what was in the way.
    """

    result: RangeResult


class Range(Closeable):
    """Work on a range; nothing is done before `run`. The functions of this module are the short way.

    The end of a `with` statement (and `close`) undoes what is not over, and ends the isolation of a range of kind
    ``"isolate"``. What was taken or sent offline stays so.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        kind: ``"isolate"``: nothing new is allocated there; ``"take"``: the frames are the caller's; ``"offline"``:
            they leave their zone.
        start: First frame.
        end: One past the last. Whole pageblocks (512 frames), but for ``"take"``.
        nr: For ``"take"``: so many frames anywhere in [start, end), the range first from which the fewest have to move.
        align: With `nr`: the range starts at a multiple of this power of two; None: the largest that divides `nr`.
        candidates: With `nr`: how many ranges to try.
        tries: Passes over what stands there; 0: until nothing does. None: 5 for ``"take"``, 0 for ``"offline"``.
        mode: As for `pymigrate.migrate`.
        protocol: As for `pymigrate.migrate`.
        keep_moves: After a failure what had moved stays where it is, as in Linux; otherwise it moves back.

    Raises:
        ValueError: An argument is out of its range, or the range is not one of whole pageblocks.
        FrameError: It does not lie in one zone, or is partly offline.
        StateError: The machine has no owners of frames.
    """

    __slots__ = ("_info", "_kind")

    def __init__(
        self,
        machine: Machine,
        kind: Kind,
        start: int = 0,
        end: int | None = None,
        *,
        nr: int | None = None,
        align: int | None = None,
        candidates: int = lib.PM_RANGE_MAX_CANDIDATES,
        tries: int | None = None,
        mode: Mode = "sync",
        protocol: Protocol = "entry",
        keep_moves: bool = False,
    ) -> None:
        self._machine = machine_of(machine)
        self._kind = kind
        if nr is None and (align is not None or end is None):
            raise ArgumentError("a range has an end, or a number of frames to look for (nr)")
        raw = _new("struct pm_range_request *")
        lib.pm_range_request_default(choose("kind", kind, _KINDS), raw)
        raw.mode, raw.protocol = choose("mode", mode, _MODES), choose("protocol", protocol, _PROTOCOL)
        try:
            raw.start, raw.end, raw.candidates = start, 2**64 - 1 if end is None else end, candidates
            raw.flags = lib.PM_RANGE_KEEP_MOVES if keep_moves else 0
            if tries is not None:
                raw.tries = tries
            if nr is not None:
                raw.flags |= lib.PM_RANGE_SEARCH
                raw.nr, raw.align = nr, align or 0
        except OverflowError as error:
            raise ArgumentError(f"an argument is out of its range: {error}") from None
        out = _new("uint64_t *")
        named: dict[str, Any] = {} if nr is None else {"nr": nr, "align": align, "candidates": candidates}
        named = {name: value for name, value in named.items() if value is not None}
        if nr is None or start or end is not None:
            named |= {"start": start, "end": end}
        machine._call(lib.pm_range_begin, raw, out, context=named)
        self._handle = int(out[0])
        self._info: Any = _new("struct pm_range_info *")

    def run(self) -> RangeResult:
        """Works until it is over; `cancel`, from another thread, ends it soon.

        Ctrl-C is heard meanwhile; `close` then undoes what was done.

        Raises:
            StateError: It was over before.
            BusyError: Another thread works on it.
        """
        machine, info = self._machine, self._info
        try:
            while True:
                status = lib.pm_range_run(machine._handle, machine._this_cpu(), self._handle, info)
                if status != lib.PM_ERR_INTR or info.over:
                    break
        except (TypeError, OverflowError) as error:
            raise machine._bad_call(error) from None
        if status == lib.PM_ERR_STATE:
            raise error_of(status, text="the work on this range is over")
        if status and status not in _ENDS:
            raise error_of(status)
        text = "done"
        if status:
            text = "cancelled" if status == lib.PM_ERR_INTR else ffi.string(lib.pm_status_text(status)).decode()
            if status == lib.PM_ERR_BUSY:
                text = "something is in the way"
        return RangeResult(
            ok=status == 0,
            text=text,
            status=int(status),
            start=int(info.start),
            nr=int(info.end - info.start),
            moved=int(info.moved),
            put_back=int(info.put_back),
            passes=int(info.passes),
            tried=int(info.tried),
            obstacles=self.obstacles(),
        )

    def cancel(self) -> None:
        """Lets the `run` of another thread end: everything is undone, and the result says ``"cancelled"``."""
        self._machine._call(lib.pm_range_cancel, self._handle)

    @property
    def state(self) -> str:
        """How far the last `run` came, or came when it was interrupted."""
        text: str = ffi.string(lib.pm_range_state_name(self._info.state)).decode()
        return text

    def obstacles(self) -> npt.NDArray[np.void]:
        """Who stood in the way in the last pass: `OBSTACLE_DTYPE` [n]."""
        found, room = _new("size_t *"), int(self._info.nr_obstacles)
        table = np.zeros(room, dtype=OBSTACLE_DTYPE)
        pointer = ffi.from_buffer("struct pm_obstacle[]", table, require_writable=True) if room else ffi.NULL
        self._machine._call(lib.pm_range_obstacles, self._handle, room, pointer, found)
        return table[: found[0]]

    def close(self) -> None:
        """Gives it up. May be called again."""
        self._end(lib.pm_range_end, self._machine._this_cpu(), self._handle)


def take(
    machine: Machine,
    nr: int,
    *,
    align: int | None = None,
    within: tuple[int, int] | None = None,
    tries: int | None = None,
    candidates: int = lib.PM_RANGE_MAX_CANDIDATES,
    mode: Mode = "sync",
    protocol: Protocol = "entry",
    keep_moves: bool = False,
) -> RangeResult:
    """Allocates `nr` frames in one piece, of any length; movable pages in the way move elsewhere.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        nr: Frames; 262,144 are a gibibyte.
        align: As for `Range`.
        within: Frames [start, end) to look in; a window of exactly `nr` frames is the range itself. None: everywhere.
        tries: As for `Range`.
        candidates: As for `Range`.
        mode: As for `Range`.
        protocol: As for `Range`.
        keep_moves: As for `Range`.

    Returns:
        Where it is; `free` gives it back. ``ok`` is False where no range could be emptied: then all is as it was.
    """
    start, end = (0, None) if within is None else within
    search: dict[str, Any] = {"nr": nr, "align": align, "candidates": candidates}
    if end is not None and end - start == nr and align is None:
        search = {}
    with Range(
        machine, "take", start, end, tries=tries, mode=mode, protocol=protocol, keep_moves=keep_moves, **search
    ) as work:
        return work.run()


def free(machine: Machine, start: int, nr: int) -> None:
    """Frees frames that `take` gave, or a part of them whose ends are ends of blocks.

    Raises:
        FrameError: One is free already, or not the start of a block as `take` made it; those before it are freed.
    """
    done = _new("uint64_t *")
    where = machine_of(machine)
    where._call(lib.pm_range_free, where._this_cpu(), start, nr, done, context={"start": start, "nr": nr})


def isolate(machine: Machine, start: int, end: int, *, tries: int | None = None) -> Range:
    """Isolates whole pageblocks: nothing new is allocated there until the returned range is closed. Nothing moves.

    Raises:
        RangeError: Something there can never move, or a pageblock is isolated already; ``result`` says what.
    """
    work = Range(machine, "isolate", start, end, tries=tries)
    try:
        result = work.run()
    except BaseException:
        work.close()
        raise
    if result.ok:
        return work
    work.close()
    refused = error_of(result.status, text=result.text, kind=RangeError, start=start, end=end)
    assert isinstance(refused, RangeError)
    refused.result = result
    raise refused


def offline(
    machine: Machine,
    start: int,
    end: int,
    *,
    tries: int | None = None,
    mode: Mode = "sync",
    protocol: Protocol = "entry",
    keep_moves: bool = False,
) -> RangeResult:
    """Empties whole pageblocks, and takes their frames out of their zone's counts; the watermarks follow.

    Waits for what is in the way for a while (pins too) unless `tries` says how often; what can never move ends it at
    once. A whole zone: ``offline(machine, zone.start_pfn, zone.start_pfn + zone.spanned)``.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        start: First frame.
        end: One past the last.
        tries: As for `Range`.
        mode: As for `Range`.
        protocol: As for `Range`.
        keep_moves: As for `Range`.
    """
    with Range(
        machine, "offline", start, end, tries=tries, mode=mode, protocol=protocol, keep_moves=keep_moves
    ) as work:
        return work.run()


def online(machine: Machine, start: int, end: int) -> None:
    """Gives offline pageblocks back to their zone, free.

    Raises:
        StateError: One of them is not offline; nothing was done.
        FrameError: They are no whole pageblocks of one zone.
    """
    try:
        machine_of(machine)._call(lib.pm_range_online, start, end, context={"start": start, "end": end})
    except StateError as error:
        text = "a pageblock of the range is not offline"
        raise error_of(error.status, text=text, start=start, end=end) from None
