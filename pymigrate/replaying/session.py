"""What both replays share: stepping through the events from sample to sample, and looking at the machine in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pymigrate._core import ffi, lib
from pymigrate.errors import check
from pymigrate.gfp import ZoneKind
from pymigrate.layout import Settings, Zone
from pymigrate.machine import Machine
from pymigrate.memory import MemoryOptions
from pymigrate.recording import Recording
from pymigrate.replaying.policy import SYSCTLS, Policy
from pymigrate.replaying.probe import Probe, Prober
from pymigrate.replaying.result import ModeResult
from pymigrate.replaying.scores import score

NR_TYPES: int = lib.PM_NR_MIGRATETYPES
NR_OCCUPANTS: int = lib.PM_NR_OCCUPANTS

# How many events are played between two looks at the clock and at Ctrl-C.
STEP = 1 << 17

# From a sample's clock to the moment at which the kernel's lists were read. Our recorder keeps the file open and reads
# at once; a script that opens it first comes later (docs/FIDELITY.md tells from what that is known).
OWN_SAMPLE_DELAY_NS = 50_000
SAMPLE_DELAY_NS = 230_000

Progress = Callable[[str, int, int], None]
"""Called with the mode, the events played so far, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a replay is watched.

    Attributes:
        until_ns: Events after this clock are not played.
        map_bins: Parts of the frame table in the map; 0: no map.
        map_rows: Most rows of the map.
        progress: Told how far the replay is.
        probe: What a simulation is asked on the way; None: nothing.
    """

    until_ns: int | None = None
    map_bins: int = 0
    map_rows: int = 240
    progress: Progress | None = None
    probe: Probe | None = None


def zones_of(recording: Recording) -> list[Zone]:
    """The recorded zones as a layout."""
    kinds = {kind.label: kind for kind in ZoneKind}
    return [Zone(kinds[span.name], span.start_pfn, span.spanned) for span in recording.zones]


def settings_of(recording: Recording, policy: Policy) -> Settings:
    """The recorded machine's sysctls with the policy's changes."""
    sysctl = recording.host.get("sysctl", {})
    values: dict[str, object] = {key: int(str(sysctl[key])) for key in SYSCTLS if key in sysctl}
    ratio = [int(word) for word in str(sysctl.get("lowmem_reserve_ratio", "")).split()]
    if ratio:
        # The kernel lists one number a zone it was built with; ours are DMA, DMA32, Normal, Movable.
        values["lowmem_reserve_ratio"] = tuple((ratio + [0] * 4)[:4])
    values |= {key: value for key, value in policy.settings.items() if key in Settings.__dataclass_fields__}
    for key in ("defrag_mode", "pcp"):
        if key in values:
            values[key] = bool(values[key])
    return Settings(**values)  # type: ignore[arg-type]


def make_machine(
    recording: Recording,
    policy: Policy,
    *,
    holes: NDArray[np.int64],
    reserved: NDArray[np.int64],
    pageblock_types: NDArray[np.uint8],
    memory: MemoryOptions | None = None,
) -> Machine:
    """The recorded machine with its pageblock types, no frame placed yet; with `memory` its frames can have owners."""
    machine = Machine(
        zones_of(recording),
        cpus=recording.cpus,
        holes=holes.tolist(),
        reserved=reserved.tolist(),
        start="unplaced",
        settings=settings_of(recording, policy),
        memory=memory,
    )
    machine.load_pageblock_types(pageblock_types)
    return machine


def occupancy(machine: Machine, bins: int) -> NDArray[np.uint32]:
    """Frames by occupant in equal parts of the frame table: uint32 [bins, occupants]."""
    counts = np.zeros((bins, NR_OCCUPANTS), dtype=np.uint32)
    check(
        lib.pm_occupancy(machine.handle, bins, ffi.from_buffer("uint32_t[]", counts.reshape(-1), require_writable=True))
    )
    return counts


@dataclass(kw_only=True)
class Session:
    """One replay under way: plays in steps, and keeps what it saw at the samples.

    Attributes:
        recording: What is played.
        machine: Where.
        mode: ``"simulate"`` or ``"reconstruct"``.
        first: Index of the first event to play.
        start_ns: The clock from which samples count.
        prepare_seconds: Time spent before the session.
        play: Plays events [from, to).
        options: How it is watched.
    """

    recording: Recording
    machine: Machine
    mode: str
    first: int
    start_ns: int
    prepare_seconds: float
    play: Callable[[int, int], None]
    options: Options
    zone_columns: list[int] = field(init=False)
    position: int = field(init=False)
    seconds: float = field(init=False, default=0.0)
    stopped: bool = field(init=False, default=False)
    prober: Prober | None = field(init=False, default=None)
    free: list[NDArray[np.int64]] = field(init=False, default_factory=list)
    rows: list[NDArray[np.uint32]] = field(init=False, default_factory=list)
    row_ns: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        events = self.recording.events
        until = self.options.until_ns
        self.last = (
            len(events) if until is None else int(np.searchsorted(events.time_ns, np.uint64(until), side="right"))
        )
        self.last = max(self.last, self.first)
        names = [name for _, name in self.recording.samples.zones]
        self.zone_columns = [names.index(span.name) for span in self.recording.zones] if names else []
        self.position = self.first
        t_ns = self.recording.samples.t_ns
        end_ns = np.uint64(2**63 - 1 if until is None else until)
        self.samples = np.flatnonzero((t_ns > np.uint64(self.start_ns)) & (t_ns <= end_ns))
        c_events, _keep = events.as_c()
        delay_ns = OWN_SAMPLE_DELAY_NS if "record" in self.recording.host else SAMPLE_DELAY_NS
        self.sample_at = [lib.pm_events_seen(c_events, int(t_ns[sample]), delay_ns) for sample in self.samples.tolist()]

    def advance(self, to: int) -> None:
        """Plays up to event `to`, and makes the probes that are due on the way."""
        while self.prober is not None and (at := self.prober.next_at()) is not None and at < to:
            self._play_to(at)
            self.prober.ask()
        self._play_to(to)

    def _play_to(self, to: int) -> None:
        """Plays in steps, so that an interrupt is noticed."""
        while self.position < to:
            step = min(self.position + STEP, to)
            began = time.perf_counter()
            self.play(self.position, step)
            self.seconds += time.perf_counter() - began
            self.position = step
            if self.options.progress is not None:
                self.options.progress(self.mode, self.position - self.first, self.last - self.first)

    def look(self, sample: int) -> None:
        """Keeps the free lists at a sample, and a row of the map where one is due."""
        self.free.append(self.machine.free_blocks())
        if self.options.map_bins and sample % max(1, -(-len(self.samples) // self.options.map_rows)) == 0:
            self.rows.append(occupancy(self.machine, self.options.map_bins))
            self.row_ns.append(int(self.recording.samples.t_ns[self.samples[sample]]))

    def run(self) -> None:
        """Plays everything. Ctrl-C stops cleanly: what was played stays, and `stopped` is set."""
        try:
            for number, at in enumerate(self.sample_at):
                self.advance(min(int(at), self.last))
                self.look(number)
            self.advance(self.last)
        except KeyboardInterrupt:
            self.stopped = True

    def kernel_fallbacks(self) -> NDArray[np.int64]:
        """The recorded fallbacks among the events played, by type pair."""
        events = self.recording.events
        part = slice(self.first, self.position)
        pick = (events.kind[part] == lib.PM_EV_EXTFRAG) & (events.migratetype[part] >= 0)
        wanted, found = events.migratetype[part][pick].astype(np.int64), events.arg1[part][pick].astype(np.int64)
        good = (wanted < NR_TYPES) & (found < NR_TYPES)
        pairs = np.bincount(wanted[good] * NR_TYPES + found[good], minlength=NR_TYPES * NR_TYPES)
        return pairs.reshape(NR_TYPES, NR_TYPES).astype(np.int64)

    def result(
        self,
        *,
        counts: dict[str, int],
        unresolved: int,
        start: dict[str, int],
        claims: NDArray[np.int64],
        steals: NDArray[np.int64],
    ) -> ModeResult:
        """What the session saw."""
        seen = self.samples[: len(self.free)]
        shape = (0, self.machine.nr_zones, lib.PM_NR_ORDERS, NR_TYPES)
        free = np.stack(self.free) if self.free else np.zeros(shape, np.int64)
        if len(seen):
            kernel = self.recording.samples.buddy[seen][:, self.zone_columns].astype(np.int64)
        else:
            kernel = np.zeros(shape[:3], np.int64)
        bins = self.options.map_bins
        return ModeResult(
            mode=self.mode,
            zones=tuple(span.name for span in self.recording.zones),
            t_ns=self.recording.samples.t_ns[seen],
            free=free,
            kernel_free=kernel,
            scores=score(free.sum(axis=3), kernel) if len(seen) else None,
            claims=claims,
            steals=steals,
            kernel_fallbacks=self.kernel_fallbacks(),
            counts=counts,
            events=self.position - self.first,
            seconds=self.seconds,
            unresolved=unresolved,
            prepare_seconds=self.prepare_seconds,
            start=start,
            map_t_ns=np.array(self.row_ns, np.uint64),
            probe=self.prober.result() if self.prober is not None else None,
            map=np.stack(self.rows) if self.rows else np.zeros((0, bins, NR_OCCUPANTS), np.uint32),
        )
