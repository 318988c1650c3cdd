"""Migration: frames move while others use them, many at once or one step at a time.

>>> from pymigrate import AddressSpace, Machine, MemoryOptions
>>> from pymigrate.migration import Migration, migrate
>>> machine = Machine.from_size("64M", memory=MemoryOptions())
>>> space = AddressSpace(machine)
>>> addr = space.map(4 * 4096)
>>> space.write(addr, b"still here")
>>> pfn = space.lookup(addr).pfn
>>> result = migrate(machine, [pfn], protocol="entry")
>>> result.moved, space.lookup(addr).pfn == int(result.to[0]) != pfn, space.read(addr, 10)
(1, True, b'still here')

A migration that is stepped: anything may happen between two steps.

>>> with Migration(machine, space.lookup(addr).pfn) as migration:
...     while not migration.over:
...         name = migration.state
...         _ = migration.step()
...         print(name, end=" ")
isolate allocate lock writeback prepare unmap flush settle copy remap finish
>>> machine.close()
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pymigrate._arrays import as_u64, u64_pointer
from pymigrate._core import ffi, lib
from pymigrate._named import Closeable, machine_of
from pymigrate.errors import ArgumentError, error_of
from pymigrate.memory import choose

if TYPE_CHECKING:
    from pymigrate.machine import Machine

__all__ = [
    "PROTOCOLS",
    "REASONS",
    "STATES",
    "Destination",
    "MigrateCounters",
    "Migration",
    "MigrationResult",
    "Mode",
    "Protocol",
    "State",
    "counters",
    "migrate",
]

Mode = Literal["async", "sync-light", "sync"]
Protocol = Literal["entry", "swap-cache", "table-lock", "semaphore", "waitqueue"]

_MODES = {"async": lib.PM_MIGRATE_ASYNC, "sync-light": lib.PM_MIGRATE_SYNC_LIGHT, "sync": lib.PM_MIGRATE_SYNC}
_NO_FRAME = 2**64 - 1
_new = ffi.new


def _texts(function: Any, n: int) -> tuple[str, ...]:
    return tuple(ffi.string(function(i)).decode() for i in range(n))


PROTOCOLS: tuple[str, ...] = _texts(lib.pm_migrate_protocol_name, lib.PM_NR_PROTOCOLS)
"""Names of the protocols by their number in the core."""
REASONS: tuple[str, ...] = _texts(lib.pm_migrate_reason_text, lib.PM_NR_WHY)
"""Why a frame did not move, by number; 0: it moved."""
_PROTOCOL = {name: number for number, name in enumerate(PROTOCOLS)}


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """A line of the engine's table of states.

    Attributes:
        name: Of the step that is taken from here.
        needs: What must hold.
        does: What the step does.
    """

    name: str
    needs: str
    does: str


def _read_states() -> tuple[State, ...]:
    found: list[State] = []
    while (name := lib.pm_migration_state_name(len(found))) != ffi.NULL:
        number = len(found)
        texts = (name, lib.pm_migration_state_needs(number), lib.pm_migration_state_does(number))
        found.append(State(*(ffi.string(text).decode() for text in texts)))
    return tuple(found)


STATES: tuple[State, ...] = _read_states()
"""The engine's table of states; the last two are the ends."""


@dataclasses.dataclass(frozen=True, slots=True)
class Destination:
    """Where frames may move to. Without arguments: wherever the allocator puts a movable page. At most one of them.

    Attributes:
        zone: In the zone with this index.
        below: Below this frame.
        above: At this frame or above.
        frames: To these free frames, the i-th to the i-th.
    """

    zone: int | None = None
    below: int | None = None
    above: int | None = None
    frames: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.zone, self.below, self.above, self.frames)) > 1:
            raise ArgumentError("a destination is one of zone, below, above and frames")
        for name in ("zone", "below", "above"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1 << 64:
                raise ArgumentError(f"{name}={value} is no number of a zone or frame")

    def check_number(self, n: int) -> None:
        """Refuses to be where n frames move to, if that is not as many as are given."""
        if self.frames is not None and len(self.frames) != n:
            raise ArgumentError(f"{n} frames move, and {len(self.frames)} are given to move to")

    def fill(self, raw: Any, n: int) -> Any:
        """Fills a `struct pm_destination` for n frames; returns what has to stay alive with it."""
        self.check_number(n)
        raw.kind = lib.PM_DEST_ANY
        for kind, value in (
            (lib.PM_DEST_ZONE, self.zone),
            (lib.PM_DEST_BELOW, self.below),
            (lib.PM_DEST_ABOVE, self.above),
        ):
            if value is not None:
                raw.kind, raw.value = kind, value
        if self.frames is None:
            return None
        frames = as_u64(self.frames)
        pointer = u64_pointer(frames)
        raw.kind, raw.frames = lib.PM_DEST_GIVEN, pointer
        return frames, pointer


_RESULT = np.dtype([("status", "<i4"), ("reason", "<u4"), ("to", "<u8"), ("split", "<u4"), ("split_moved", "<u4")])


@dataclasses.dataclass(frozen=True, slots=True)
class MigrationResult:
    """What became of each of n frames.

    Attributes:
        status: int32 [n], 0 or the core's `enum pm_status`.
        reason: uint32 [n], index in `REASONS`: 0 for those that moved.
        to: uint64 [n], the new frame; 2^64 - 1 for none. Of a block that was split: its first, if all moved.
        split: uint32 [n], frames into which a block was split; 0: it was not.
        split_moved: uint32 [n], how many of these have moved.
    """

    status: npt.NDArray[np.int32]
    reason: npt.NDArray[np.uint32]
    to: npt.NDArray[np.uint64]
    split: npt.NDArray[np.uint32]
    split_moved: npt.NDArray[np.uint32]

    @property
    def moved(self) -> int:
        """How many moved."""
        return int(np.count_nonzero(self.to != _NO_FRAME))

    def reasons(self) -> dict[str, int]:
        """Counts the frames that did not move, by why."""
        numbers, counts = np.unique(self.reason[self.to == _NO_FRAME], return_counts=True)
        return {REASONS[int(number)]: int(count) for number, count in zip(numbers, counts, strict=True)}


@dataclasses.dataclass(frozen=True, slots=True)
class MigrateCounters:
    """What migration has done on a machine.

    Attributes:
        moved: Frames by protocol.
        failed: Frames that did not move, by why; those that never happened are left out.
        batches: Passes over many frames with one flush.
        flushes: TLB flushes.
        swap_slots: Taken by the swap-cache protocol.
        writeouts: Pages that a filesystem wrote out so that they could move.
        split: Blocks that were split.
        split_moved: Frames of these that have moved.
    """

    moved: dict[str, int]
    failed: dict[str, int]
    batches: int
    flushes: int
    swap_slots: int
    writeouts: int
    split: int
    split_moved: int


def counters(machine: Machine) -> MigrateCounters:
    """Returns what migration has done on a machine so far."""
    raw = _new("struct pm_migrate_counters *")
    lib.pm_migrate_counters(machine_of(machine).handle, raw)
    return MigrateCounters(
        moved={name: int(raw.moved[i]) for i, name in enumerate(PROTOCOLS)},
        failed={name: int(raw.failed[i]) for i, name in enumerate(REASONS) if raw.failed[i]},
        batches=int(raw.batches),
        flushes=int(raw.flushes),
        swap_slots=int(raw.swap_slots),
        writeouts=int(raw.writeouts),
        split=int(raw.split),
        split_moved=int(raw.split_moved),
    )


def migrate(
    machine: Machine,
    pfns: npt.ArrayLike,
    *,
    protocol: Protocol = "entry",
    mode: Mode = "sync",
    destination: Destination | None = None,
    touch: bool = False,
    split: bool = False,
) -> MigrationResult:
    """Moves frames, in batches of at most 512 with one TLB flush each, retried as in Linux 6.x.

    That a frame does not move is no error: the result says why. It is then as it was before.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        pfns: Frames, any shape.
        protocol: What blocks accessors while a frame moves: one of `PROTOCOLS`.
        mode: ``"async"`` never sleeps, ``"sync-light"`` sleeps for locks, ``"sync"`` for writeback too.
        destination: Where to; None: wherever the allocator puts a movable page.
        touch: With ``swap-cache``: map pages again at once where they were mapped, instead of at the next fault.
        split: A block of more than one frame (`Owner` with movable-ops) for which there is no destination of its order
            is split: as many of its frames move as there are single destinations, the others stay where they are.
            `Owner.frames` says where they are; `Owner.move` makes the block whole again. Not with given frames.

    Returns:
        A result for each frame, in their order.

    Raises:
        ValueError: An argument is out of its range.
        StateError: The machine has no owners of frames.
    """
    where = machine_of(machine)
    frames = as_u64(pfns)
    to = Destination() if destination is None else destination
    to.check_number(frames.size)
    number, how = choose("protocol", protocol, _PROTOCOL), choose("mode", mode, _MODES)
    status = np.full(frames.size, lib.PM_ERR_INTR, dtype=np.int32)
    reason = np.full(frames.size, lib.PM_WHY_CANCELLED, dtype=np.uint32)
    target = np.full(frames.size, _NO_FRAME, dtype=np.uint64)
    parts = np.zeros((2, frames.size), dtype=np.uint32)
    left = np.arange(frames.size)
    while True:
        raw = _new("struct pm_migrate_request *")
        some = np.ascontiguousarray(frames[left])
        pointer = u64_pointer(some)
        picked = to if to.frames is None else Destination(frames=tuple(as_u64(to.frames)[left]))
        alive = picked.fill(raw.destination, some.size)
        raw.pfns, raw.n, raw.mode, raw.protocol = pointer, some.size, how, number
        raw.flags = (lib.PM_MIGRATE_TOUCH if touch else 0) | (lib.PM_MIGRATE_SPLIT if split else 0)
        results, moved = _new("struct pm_migrate_result[]", max(1, some.size)), _new("size_t *")
        try:
            done = lib.pm_migrate(where._handle, where._this_cpu(), raw, results, moved)
        except (TypeError, OverflowError) as error:
            raise where._bad_call(error) from None
        del alive
        if done not in (0, lib.PM_ERR_INTR):
            raise error_of(done, protocol=protocol, mode=mode)
        table = np.frombuffer(ffi.buffer(results), dtype=_RESULT, count=some.size)
        status[left], reason[left], target[left] = table["status"], table["reason"], table["to"]
        parts[0, left], parts[1, left] = table["split"], table["split_moved"]
        # A call comes back for signals: what it had not come to is asked for again.
        left = left[table["reason"] == lib.PM_WHY_CANCELLED]
        if done == 0 or not left.size:
            return MigrationResult(status, reason, target, parts[0], parts[1])


class Migration(Closeable):
    """A migration of one frame, taken step by step. Nothing is done before the first step.

    The end of a `with` statement (and `close`) undoes one that is not over.

    Args:
        machine: Made with ``memory=MemoryOptions(…)``.
        pfn: The frame.
        protocol: One of `PROTOCOLS`; ``table-lock`` goes from unmap to remap in one step.
        mode: As for `migrate`.
        destination: As for `migrate`.
        touch: As for `migrate`.

    Raises:
        FrameError: The frame is outside every zone.
        StateError: The machine has no owners of frames.
    """

    __slots__ = ("_info",)

    def __init__(
        self,
        machine: Machine,
        pfn: int,
        *,
        protocol: Protocol = "entry",
        mode: Mode = "sync",
        destination: Destination | None = None,
        touch: bool = False,
    ) -> None:
        self._machine = machine_of(machine)
        raw, out = _new("struct pm_destination *"), _new("uint64_t *")
        alive = (Destination() if destination is None else destination).fill(raw, 1)
        how, number = choose("mode", mode, _MODES), choose("protocol", protocol, _PROTOCOL)
        flags = lib.PM_MIGRATE_TOUCH if touch else 0
        machine._call(lib.pm_migration_begin, pfn, raw, how, number, flags, out, context={"pfn": pfn})
        del alive
        self._handle = int(out[0])
        self._info: Any = _new("struct pm_migration_info *", {"from": pfn, "to": _NO_FRAME})

    def step(self) -> bool:
        """Takes the next step.

        Returns:
            True if it was taken; False if it would have had to wait, and can be taken later.

        Raises:
            StateError: It is over.
            HandleError: It was closed.
        """
        machine = self._machine
        try:
            status = lib.pm_migration_step(machine._handle, machine._this_cpu(), self._handle, self._info)
        except (TypeError, OverflowError) as error:
            raise machine._bad_call(error) from None
        if status and status != lib.PM_ERR_AGAIN:
            raise error_of(status)
        return bool(status == 0)

    @property
    def state(self) -> str:
        """Name of the step that is next; ``"done"`` or ``"failed"`` at the end."""
        return STATES[int(self._info.state)].name

    @property
    def over(self) -> bool:
        """Whether it is done or has failed."""
        return bool(self._info.over)

    @property
    def reason(self) -> str:
        """Why it failed, of `REASONS`; ``"moved"`` where it did not."""
        return REASONS[int(self._info.reason)]

    @property
    def to(self) -> int | None:
        """The new frame, once there is one."""
        return None if self._info.to == _NO_FRAME else int(self._info.to)

    def close(self) -> None:
        """Gives it up; undone if it is not over. May be called again."""
        self._end(lib.pm_migration_end, self._machine._this_cpu(), self._handle)
