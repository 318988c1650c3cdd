"""Probes of a simulation: was a large block there, and what would it have cost to make one?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymigrate._core import ffi, lib
from pymigrate.errors import ArgumentError, check
from pymigrate.recording import Events

PROBE_STRATEGIES: dict[str, int] = {
    "none": lib.PM_PROBE_NONE,
    "linux": lib.PM_PROBE_LINUX,
    "planner": lib.PM_PROBE_PLANNER,
    "coalesce-2004": lib.PM_PROBE_COALESCE_2004,
}
MOST_ORDER: int = lib.PM_PAGEBLOCK_ORDER
LEAST_SECONDS = 0.001


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a simulation is asked again and again.

    Attributes:
        strategy: What makes a block where none is: ``"linux"``, ``"planner"``, ``"coalesce-2004"``; or ``"none"``.
        order: Order of the block, 1 to 9.
        every: Seconds of recorded time between two probes, at least 0.001.
    """

    strategy: str = "none"
    order: int = 9
    every: float = 0.1

    def __post_init__(self) -> None:
        if self.strategy not in PROBE_STRATEGIES:
            known = ", ".join(PROBE_STRATEGIES)
            raise ArgumentError(f"unknown strategy {self.strategy!r} for a replay: there are {known}")
        if not 1 <= self.order <= MOST_ORDER:
            raise ArgumentError(f"order={self.order}: a probe is of an order from 1 to {MOST_ORDER}")
        if not LEAST_SECONDS <= self.every <= 3600:
            raise ArgumentError(f"every={self.every}: must be from {LEAST_SECONDS} to 3600 seconds")


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeResult:
    """What the probes found: P probes.

    Attributes:
        probe: What was asked.
        t_ns: When, on the recording's clock, shape (P,).
        there: A block was there, shape (P,).
        there_after: One was there when the strategy had run, shape (P,).
        moved: Frames that the strategy moved, shape (P,).
    """

    probe: Probe
    t_ns: NDArray[np.uint64]
    there: NDArray[np.bool_]
    there_after: NDArray[np.bool_]
    moved: NDArray[np.int64]

    def figures(self) -> dict[str, tuple[float, str]]:
        """The figures by name, each with its unit."""
        return {
            "probe.count": (len(self.t_ns), "probes"),
            "probe.hits": (int(self.there.sum()), "probes"),
            "probe.hits_after": (int(self.there_after.sum()), "probes"),
            "probe.moved": (int(self.moved.sum()), "frames"),
        }

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "strategy": self.probe.strategy,
            "order": self.probe.order,
            "every": self.probe.every,
            "t_ns": self.t_ns.tolist(),
            "there": self.there.tolist(),
            "there_after": self.there_after.tolist(),
            "moved": self.moved.tolist(),
        }


@dataclass(kw_only=True)
class Prober:
    """Probes a simulation at its moments: each when all events before it have been played.

    Attributes:
        probe: What is asked.
        simulation: `struct pm_simulation *`.
        events: The recording's.
        first: Index of the first event to play.
        last: Index behind the last one.
        start_ns: The clock at which the replay starts.
        done: Probes made so far: there, there afterwards, frames moved.
    """

    probe: Probe
    simulation: Any
    events: Events
    first: int
    last: int
    start_ns: int
    done: list[tuple[bool, bool, int]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        time_ns = self.events.time_ns
        # A recording without events, or none to play, has no time in which to ask.
        end_ns = int(time_ns[self.last - 1]) if self.last > self.first else self.start_ns
        every_ns = round(self.probe.every * 1e9)
        self.t_ns = np.arange(self.start_ns + every_ns, end_ns + 1, every_ns, dtype=np.uint64)
        found = np.searchsorted(time_ns[self.first : self.last], self.t_ns, side="left") + self.first
        self.at: list[int] = found.tolist()

    def next_at(self) -> int | None:
        """The event before which the next probe is due; None: there is none left."""
        return self.at[len(self.done)] if len(self.done) < len(self.at) else None

    def ask(self) -> None:
        """Makes the next probe."""
        at, found = self.at[len(self.done)], ffi.new("struct pm_probe *")
        # The event's CPU asks: it is at work at this moment.
        status = lib.pm_simulation_probe(
            self.simulation,
            int(self.events.cpu[at]),
            self.probe.order,
            PROBE_STRATEGIES[self.probe.strategy],
            found,
        )
        check(status, what=f"the probe before event {at}")
        self.done.append((bool(found.there), bool(found.there_after), int(found.moved)))

    def result(self) -> ProbeResult:
        """What the probes found so far."""
        there, after, moved = zip(*self.done, strict=True) if self.done else ((), (), ())
        return ProbeResult(
            probe=self.probe,
            t_ns=self.t_ns[: len(self.done)],
            there=np.array(there, np.bool_),
            there_after=np.array(after, np.bool_),
            moved=np.array(moved, np.int64),
        )
