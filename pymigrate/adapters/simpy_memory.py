"""Memory in SimPy's time: accesses and migrations as processes, with what faults, moves and waiting cost.

The state is a `Machine`'s; the time is the environment's, in nanoseconds. While a page moves, whoever accesses it waits
for the event at which it has arrived, as a thread waits for a migration entry.

Example:
    >>> import simpy
    >>> from pymigrate import AddressSpace, Machine, MemoryOptions
    >>> env = simpy.Environment()
    >>> machine = Machine.from_size("64M", memory=MemoryOptions(contents="none"))
    >>> memory = SimulatedMemory(env, machine, costs=Costs(touch_ns=1000, hit_ns=10))
    >>> space = AddressSpace(machine)
    >>> env.run(env.process(memory.access(space, 4096, write=True)))
    Access(kind='touch', latency_ns=1010, stall_ns=0)
    >>> env.run(env.process(memory.access(space, 4096)))
    Access(kind='hit', latency_ns=10, stall_ns=0)
    >>> machine.close()
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

import simpy

from pymigrate._core import lib
from pymigrate.machine import Machine
from pymigrate.memory_info import TranslationKind
from pymigrate.migration import Destination, migrate
from pymigrate.space import AddressSpace

__all__ = ["Access", "Costs", "Moved", "SimulatedMemory"]

_PAGE_SIZE: int = lib.PM_PAGE_SIZE


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What things cost, in nanoseconds.

    Attributes:
        hit_ns: An access, whatever else it costs.
        touch_ns: A first touch.
        swap_ns: A page that comes back from swap.
        other_ns: A copy on write.
        copy_ns: To copy a page that moves.
        entry_ns: To take a page-table entry away and give it back.
        flush_ns: To flush the TLBs, once a batch.
    """

    hit_ns: int = 100
    touch_ns: int = 1_000
    swap_ns: int = 100_000
    other_ns: int = 1_500
    copy_ns: int = 400
    entry_ns: int = 50
    flush_ns: int = 2_000


@dataclass(frozen=True)
class Access:
    """What one access met.

    Attributes:
        kind: As in `Translation`.
        latency_ns: From its begin to its end.
        stall_ns: Of these, waiting for a page that was moving.
    """

    kind: TranslationKind
    latency_ns: int
    stall_ns: int


@dataclass(frozen=True)
class Moved:
    """What a migration did.

    Attributes:
        moved: Frames that moved.
        asked: Frames that were to move.
        time_ns: How long it took.
    """

    moved: int
    asked: int
    time_ns: int


class SimulatedMemory:
    """A machine in the time of a SimPy environment.

    Args:
        env: Its clock counts nanoseconds.
        machine: Made with ``memory=MemoryOptions(…)``; ``contents="none"`` is enough.
        costs: What things cost.
    """

    def __init__(self, env: simpy.Environment, machine: Machine, *, costs: Costs | None = None) -> None:
        self.env = env
        self.machine = machine
        self.costs = Costs() if costs is None else costs
        self._moving: dict[tuple[int, int], simpy.Event] = {}

    def access(
        self, space: AddressSpace, addr: int, *, write: bool = False, huge: bool = False
    ) -> Generator[simpy.Event, Any, Access]:
        """A process: one load or store.

        Args:
            space: Whose.
            addr: Where; nothing need be mapped there.
            write: A store.
            huge: A first touch may take a huge page.

        Raises:
            OutOfMemoryError: Nothing came free.
        """
        began = self.env.now
        place = (space.handle, addr // _PAGE_SIZE)
        while place in self._moving:
            yield self._moving[place]
        stall = self.env.now - began
        kind = space.translate(addr, write=write, huge=huge).kind
        costs = self.costs
        extra = {"hit": 0, "touch": costs.touch_ns, "swap": costs.swap_ns, "other": costs.other_ns}[kind]
        yield self.env.timeout(costs.hit_ns + extra)
        return Access(kind, int(self.env.now - began), int(stall))

    def migrate(
        self, pfns: Iterable[int], *, destination: Destination | None = None, batch: int = 32, pause_ns: int = 0
    ) -> Generator[simpy.Event, Any, Moved]:
        """A process: moves frames, a batch at a time. Its pages are away for as long as their batch takes.

        Args:
            pfns: Frames.
            destination: Where to; None: wherever the allocator puts a movable page.
            batch: Frames that are away at once.
            pause_ns: Between two batches, for others.
        """
        began = self.env.now
        frames = [int(pfn) for pfn in pfns]
        moved = 0
        for first in range(0, len(frames), batch):
            if first and pause_ns:
                yield self.env.timeout(pause_ns)
            moved += yield from self._move_batch(frames[first : first + batch], destination)
        return Moved(moved, len(frames), int(self.env.now - began))

    def _move_batch(self, frames: list[int], destination: Destination | None) -> Generator[simpy.Event, Any, int]:
        arrived = self.env.event()
        # Another migration may have a page already: it is that one's then.
        places = {
            (entry.space, entry.addr // _PAGE_SIZE): pfn for pfn in frames for entry in self.machine.rmap(pfn).entries
        }
        places = {place: pfn for place, pfn in places.items() if place not in self._moving}
        self._moving |= dict.fromkeys(places, arrived)
        costs = self.costs
        yield self.env.timeout(costs.flush_ns + len(places) * costs.entry_ns + len(frames) * costs.copy_ns)
        result = migrate(self.machine, frames, destination=destination)
        for place in places:
            del self._moving[place]
        arrived.succeed()
        return result.moved

    def background(self, *, every_ns: int = 1_000_000_000, cpu_ns: int = 0) -> Generator[simpy.Event, Any, None]:
        """A process without an end: lets the machine's own time pass, so that kswapd and the timers do their work.

        Args:
            every_ns: How often.
            cpu_ns: What each reclaimed frame costs.
        """
        while True:
            yield self.env.timeout(every_ns)
            report = self.machine.tick(every_ns)
            if report.reclaimed * cpu_ns:
                yield self.env.timeout(report.reclaimed * cpu_ns)
