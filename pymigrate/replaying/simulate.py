"""Simulate: the recording says who asks and who frees; where memory comes from and goes to is ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pymigrate._core import ffi, lib
from pymigrate.errors import check
from pymigrate.machine import Machine
from pymigrate.recording import Recording
from pymigrate.replaying.exact_start import refine
from pymigrate.replaying.policy import Policy
from pymigrate.replaying.probe import Prober
from pymigrate.replaying.result import ModeResult
from pymigrate.replaying.session import Options, Session, make_machine
from pymigrate.replaying.start import StartState, start_state
from pymigrate.replaying.ticks import background

NO_ID = np.uint32(lib.PM_NO_PFN32)
COUNTS = (
    "allocated",
    "failed",
    "kernel_failed",
    "freed",
    "unresolved",
    "ignored",
    "forced",
    "scattered",
    "captured",
    "split",
    "refused",
    "decays",
    "decays_skipped",
    "moved",
    "not_moved",
    "no_target",
    "isolated",
    "returned",
    "targets_elsewhere",
    "compaction_drains",
)


def build_machine(recording: Recording, state: StartState, policy: Policy) -> Machine:
    """Makes the recorded machine and puts every frame where the start state has it."""
    machine = make_machine(
        recording, policy, holes=state.holes, reserved=state.reserved, pageblock_types=state.pageblock_types
    )
    blocks = state.blocks
    machine.load_blocks(blocks.pfn, blocks.order, blocks.place, blocks.migratetype, blocks.cpu)
    for (cpu, zone), high in np.ndenumerate(state.pcp_high):
        if high >= 0:
            machine.load_pcp(int(cpu), int(zone), high=int(high), alloc_factor=int(state.alloc_factor[cpu, zone]))
    if not machine.settings.pcp:
        machine.drain()
    return machine


# Fields of `struct pm_simulation_options`, which are settings of the same name.
OPTIONS = ("compaction_drain", "compaction_moves", "compaction_hold", "capture", "drain_time")


def _options(policy: Policy) -> Any:
    options = ffi.new("struct pm_simulation_options *")
    lib.pm_simulation_options_default(options)
    for name in OPTIONS:
        setattr(options, name, policy.settings.get(name, getattr(options, name)))
    return options


def _place(simulation: Any, recording: Recording, split: int) -> None:
    """Tells the simulation where the allocations are that were made before it starts."""
    events, initial = recording.events, recording.initial
    made = np.flatnonzero(
        (events.kind[:split] == lib.PM_EV_ALLOC) & (events.pfn[:split] != NO_ID) & (events.allocation[:split] != NO_ID)
    )
    ids = np.arange(initial.first_id, initial.first_id + len(initial), dtype=np.uint32)
    allocations = np.concatenate((ids, events.allocation[made]))
    pfns = np.concatenate((initial.pfn, events.pfn[made])).astype(np.uint32)
    orders = np.concatenate((initial.order, events.order[made])).astype(np.uint8)
    check(
        lib.pm_simulation_place(
            simulation,
            len(allocations),
            ffi.from_buffer("uint32_t[]", allocations),
            ffi.from_buffer("uint32_t[]", pfns),
            ffi.from_buffer("uint8_t[]", orders),
        ),
        what="the allocations older than the simulation",
    )


def _set_ticks(simulation: Any, recording: Recording, policy: Policy, moment_ns: int) -> None:
    """Tells the simulation what happens in the background, and when."""
    changed = policy.settings
    times, kinds, where = background(
        recording,
        moment_ns,
        decay=bool(changed.get("decay", 1)),
        kswapd=bool(changed.get("kswapd", 1)),
        reclaim_drain=bool(changed.get("reclaim_drain", 1)),
    )
    check(
        lib.pm_simulation_set_ticks(
            simulation,
            len(times),
            ffi.from_buffer("uint64_t[]", times),
            ffi.from_buffer("uint8_t[]", kinds),
            ffi.from_buffer("uint16_t[]", where),
        ),
        what="the background",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """A simulation that can be played.

    Attributes:
        machine: Where.
        state: The start state that it was made from.
        handle: `struct pm_simulation *`.
        first: Index of the first event to play.
        play: Plays events [from, to).
    """

    machine: Machine
    state: StartState
    handle: Any
    first: int
    play: Callable[[int, int], None]


def starting_state(recording: Recording, policy: Policy) -> StartState:
    """The state that a simulation starts from.

    Where the recording holds the kernel's own lists, it starts at the moment when they were walked. They are used
    unless a walk was cut off, which leaves out blocks; then, and with `start_exact` 0, the lists are inferred.
    """
    settings, lists = policy.settings, recording.lists
    if lists is None:
        return start_state(recording, settings=settings)
    state = start_state(recording, lists.moment_ns, settings=settings)
    if not settings.get("start_exact", 1) or any(walk.broken for walk in lists.walks):
        return state
    return refine(state, lists, settings=settings)


def open_simulation(recording: Recording, policy: Policy) -> Simulation:
    """Works out the start state and puts the machine into it."""
    state = starting_state(recording, policy)
    machine = build_machine(recording, state, policy)
    ids = recording.events.allocation
    nr_ids = recording.initial.first_id + len(recording.initial)
    nr_ids = max(nr_ids, int(ids[ids != NO_ID].max(initial=0)) + 1)
    out = ffi.new("struct pm_simulation **")
    check(lib.pm_simulation_create(machine.handle, nr_ids, _options(policy), out), what="a simulation")
    simulation = ffi.gc(out[0], lib.pm_simulation_destroy)
    _place(simulation, recording, state.frames.split)
    events, keep = recording.events.as_c()
    _set_ticks(simulation, recording, policy, state.frames.time_ns)
    if policy.settings.get("start_learn", 1):
        check(lib.pm_simulation_learn(simulation, events, 0, state.frames.split), what="the events before the start")

    def play(first: int, last: int, _keep: object = keep) -> None:
        check(lib.pm_simulation_run(simulation, events, first, last), what=f"events {first} to {last}")

    return Simulation(machine=machine, state=state, handle=simulation, first=state.frames.split, play=play)


def simulate(recording: Recording, policy: Policy, options: Options) -> tuple[ModeResult, bool]:
    """Plays a recording through our allocator.

    Returns:
        The result, and whether it was interrupted.
    """
    began = time.perf_counter()
    simulation = open_simulation(recording, policy)
    machine, state = simulation.machine, simulation.state
    session = Session(
        recording=recording,
        machine=machine,
        mode="simulate",
        first=simulation.first,
        start_ns=state.frames.time_ns,
        prepare_seconds=time.perf_counter() - began,
        play=simulation.play,
        options=options,
    )
    if options.probe is not None:
        session.prober = Prober(
            probe=options.probe,
            simulation=simulation.handle,
            events=recording.events,
            first=session.first,
            last=session.last,
            start_ns=session.start_ns,
        )
    before = machine.counters()
    session.run()
    after = machine.counters()
    stats = ffi.new("struct pm_simulation_stats *")
    lib.pm_simulation_stats(simulation.handle, stats)
    counts = {name: int(getattr(stats, name)) for name in COUNTS}
    counts["highatomic_reserved"] = after.highatomic_reserved
    result = session.result(
        counts=counts,
        unresolved=counts["unresolved"] + counts["failed"],
        start=asdict(state.report),
        claims=(after.claim - before.claim).astype(np.int64),
        steals=(after.steal - before.steal).astype(np.int64),
    )
    return result, session.stopped
