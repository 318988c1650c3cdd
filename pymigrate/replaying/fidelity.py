"""How far a replay is from the kernel, and which mechanism the rest comes from.

Two ways to ask. *Ablation*: the simulation once more with one mechanism left out; what its scores lose is what the
mechanism is worth, and what they gain is what it does wrong. *Divergence*: the simulation beside the reconstruction,
which does to memory what the kernel did; for each pageblock the first stretch of events after which other frames are
free in it, and what the kernel did there in that stretch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymigrate._core import ffi, lib
from pymigrate.errors import ArgumentError, check
from pymigrate.machine import Machine
from pymigrate.recording import Events, Recording
from pymigrate.replaying.frames import PAGEBLOCK_ORDER, pcp_order
from pymigrate.replaying.policy import KEYS, Policy
from pymigrate.replaying.reconstruct import open_reconstruction, reconstruct
from pymigrate.replaying.result import ModeResult
from pymigrate.replaying.session import Options
from pymigrate.replaying.simulate import open_simulation, simulate
from pymigrate.replaying.ticks import COMPACTION_KINDS

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

# What can be left out of a simulation: a name for it, and the setting that leaves it out.
MECHANISMS: dict[str, tuple[str, int]] = {
    "per-CPU lists": ("pcp", 0),
    "the kernel's own lists": ("start_exact", 0),
    "what is in them at the start": ("start_pcp", 0),
    "what they had learnt by then": ("start_learn", 0),
    "pageblock types at the start": ("start_types", 0),
    "order of the lists at the start": ("start_order", 0),
    "decay by the timer": ("decay", 0),
    "kswapd at work": ("kswapd", 0),
    "drains by reclaim": ("reclaim_drain", 0),
    "drains take time": ("drain_time", 0),
    "watermark boost": ("watermark_boost_factor", 0),
    "moves of compaction": ("compaction_moves", 0),
    "blocks held by compaction": ("compaction_hold", 0),
    "drains by compaction": ("compaction_drain", 0),
    "blocks captured from compaction": ("capture", 0),
}

NR_TYPES: int = lib.PM_NR_MIGRATETYPES

# Into how many stretches the events are cut to look for the first divergence.
STRETCHES = 400

# What the kernel did in a pageblock, by number; the first that happened in the stretch is named.
CAUSES = (
    "differs from the start",
    "refill of a per-CPU list",
    "request past the per-CPU lists",
    "fallback",
    "drain after a free",
    "drain by compaction or reclaim",
    "drain by the timer",
    "free past the per-CPU lists",
    "scan of compaction",
    "only ours: the kernel did nothing here",
)
ONLY_OURS = len(CAUSES) - 1

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Divergence:
    """The first divergence of each pageblock, N of them.

    Attributes:
        pageblocks: How many were compared.
        pageblock: Those that diverged, int64 (N,).
        event: The kernel's first event in it in the stretch after which it differed, else the stretch's last; (N,).
        cause: Index into `CAUSES`, uint8 (N,).
    """

    pageblocks: int
    pageblock: I64
    event: I64
    cause: U8

    @property
    def share(self) -> float:
        """Of all pageblocks, those that diverged at some time."""
        return len(self.pageblock) / self.pageblocks if self.pageblocks else 0.0

    def by_cause(self) -> dict[str, int]:
        """Pageblocks by cause, most first."""
        counts = np.bincount(self.cause, minlength=len(CAUSES))
        return {CAUSES[i]: int(counts[i]) for i in np.argsort(-counts, kind="stable").tolist() if counts[i]}


@dataclass(frozen=True, kw_only=True, eq=False)
class Fidelity:
    """All that is known of one recording's replays.

    Attributes:
        name: What the recording is called.
        modes: Both replays.
        without: The simulation without a mechanism, by the mechanism's name in `MECHANISMS`.
        divergence: None unless it was asked for.
        kernel_splits: The kernel's fallbacks by requested type and type of the block: claims and steals, shape (T, T).
    """

    name: str
    modes: dict[str, ModeResult]
    kernel_splits: tuple[I64, I64]
    without: dict[str, ModeResult] = field(default_factory=dict)
    divergence: Divergence | None = None

    def figures(self) -> dict[str, tuple[float, str]]:
        """Figures by name, each with its unit; a mechanism goes by its setting."""
        found: dict[str, tuple[float, str]] = {}
        for mode, result in self.modes.items():
            found |= {f"{mode}.{name}": value for name, value in result.figures().items()}
        found["kernel.claims"] = (int(self.kernel_splits[0].sum()), "events")
        found["kernel.steals"] = (int(self.kernel_splits[1].sum()), "events")
        for mechanism, result in self.without.items():
            names = ("free.error.mean", "unusable4.error.mean", "unusable9.error.mean", "blocks9.error.mean")
            figures = result.figures()
            key = MECHANISMS[mechanism][0]
            found |= {f"without.{key}.{name}": figures[name] for name in names if name in figures}
        if self.divergence is not None:
            found["diverged.share"] = (self.divergence.share, "share")
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        found = self.divergence
        return {
            "recording": self.name,
            "modes": {mode: result.as_json() for mode, result in self.modes.items()},
            "kernel_fallbacks": {
                name: part.tolist() for name, part in zip(("claims", "steals"), self.kernel_splits, strict=True)
            },
            "without": {
                name: {"setting": MECHANISMS[name][0], "figures": {k: v for k, (v, _) in result.figures().items()}}
                for name, result in self.without.items()
            },
            "divergence": None
            if found is None
            else {
                "pageblocks": found.pageblocks,
                "by_cause": found.by_cause(),
                "first": [
                    {"pageblock": int(block), "event": int(event), "cause": CAUSES[cause]}
                    for block, event, cause in zip(found.pageblock, found.event, found.cause, strict=True)
                ],
            },
        }


def kernel_splits(events: Events) -> tuple[I64, I64]:
    """The kernel's recorded fallbacks by type pair: claims, which change a pageblock's type, and steals."""
    fallback = (events.kind == lib.PM_EV_EXTFRAG) & (events.migratetype >= 0)
    fallback &= (events.migratetype < NR_TYPES) & (events.arg1 < NR_TYPES)
    pairs = events.migratetype.astype(np.int64) * NR_TYPES + events.arg1.astype(np.int64)
    claimed = events.arg2 == 1
    claims, steals = (
        np.bincount(pairs[fallback & part], minlength=NR_TYPES**2).reshape(NR_TYPES, NR_TYPES).astype(np.int64)
        for part in (claimed, ~claimed)
    )
    return claims, steals


def _digest(machine: Machine, n: int) -> U64:
    found = np.zeros(n, np.uint64)
    check(lib.pm_free_digest(machine.handle, n, ffi.from_buffer("uint64_t[]", found, require_writable=True)))
    return found


def event_causes(events: Events) -> U8:
    """What each event did to the free lists: an index into `CAUSES`, `ONLY_OURS` for nothing."""
    kind = events.kind
    cause = np.full(len(events), ONLY_OURS, np.uint8)
    cause[kind == lib.PM_EV_ZONE_LOCKED] = np.where(events.arg0 == 1, 1, 2)[kind == lib.PM_EV_ZONE_LOCKED]
    cause[kind == lib.PM_EV_EXTFRAG] = 3
    cause[(kind == lib.PM_EV_FREE) & ~pcp_order(events.order)] = 7
    cause[(kind == lib.PM_EV_ISOLATE_FREE) & (events.arg2 > 0)] = 8
    drains = np.flatnonzero(kind == lib.PM_EV_PCPU_DRAIN)
    # What a thread did before it drained: it freed, or it compacts or reclaims, or it is a timer's.
    by_thread = np.argsort(events.tid, kind="stable")
    draining = kind[by_thread] == lib.PM_EV_PCPU_DRAIN
    before = np.maximum.accumulate(np.where(draining, -1, np.arange(len(by_thread))))
    previous = np.full(len(events), -1, np.int64)
    previous[by_thread] = np.where(before >= 0, by_thread[np.maximum(before, 0)], -1)
    last = previous[drains]
    same = (last >= 0) & (events.tid[np.maximum(last, 0)] == events.tid[drains])
    freed = same & np.isin(kind[np.maximum(last, 0)], (lib.PM_EV_FREE, lib.PM_EV_FREE_BATCHED))
    compacting = np.isin(events.tid[drains], np.unique(events.tid[np.isin(kind, COMPACTION_KINDS)]))
    cause[drains] = np.where(freed, 4, np.where(compacting, 5, 6))
    return cause


def _first_in_stretch(events: Events, cause: U8, first: int, last: int, n: int) -> I64:
    """By pageblock, the first of events [first, last) that did something to the free lists there; -1: none."""
    found = np.full(n, -1, np.int64)
    part = np.flatnonzero(cause[first:last] != ONLY_OURS) + first
    block = events.pfn[part].astype(np.int64) >> PAGEBLOCK_ORDER
    inside = block < n
    found[block[inside][::-1]] = part[inside][::-1]
    return found


def first_divergences(recording: Recording, policy: Policy | None = None, *, stretches: int = STRETCHES) -> Divergence:
    """Plays both replays side by side and notes when each pageblock first has other frames free.

    Args:
        recording: What is played.
        policy: Settings of the simulation.
        stretches: How often the two are compared; a divergence is known to lie within a stretch.
    """
    policy = policy or Policy()
    ours, theirs = open_simulation(recording, policy), open_reconstruction(recording, Policy())
    events, first, end = recording.events, ours.first, len(recording.events)
    n = -(-recording.pfn_end >> PAGEBLOCK_ORDER)
    cause = event_causes(events)
    pending = np.ones(n, np.bool_)
    blocks: list[I64] = []
    at: list[I64] = []
    causes: list[U8] = []
    if theirs.first < first:
        theirs.play(theirs.first, first)
    edges = np.unique(np.linspace(first, end, stretches + 1).astype(np.int64))
    for begin, stop in zip(np.append(edges[0], edges[:-1]).tolist(), edges.tolist(), strict=True):
        if stop > begin:
            ours.play(begin, stop)
            theirs.play(begin, stop)
        new = np.flatnonzero(pending & (_digest(ours.machine, n) != _digest(theirs.machine, n)))
        pending[new] = False
        event = _first_in_stretch(events, cause, begin, stop, n)[new]
        why = np.where(event >= 0, cause[np.maximum(event, 0)], ONLY_OURS) if len(events) else np.zeros(len(new))
        blocks.append(new)
        at.append(np.where(event >= 0, event, max(stop - 1, 0)))
        causes.append((np.zeros(len(new)) if stop == begin else why).astype(np.uint8))
    return Divergence(
        pageblocks=n, pageblock=np.concatenate(blocks), event=np.concatenate(at), cause=np.concatenate(causes)
    )


def fidelity(
    recording: Recording,
    *,
    name: str = "",
    without: Iterable[str] | None = None,
    diverge: bool = True,
    tell: Tell | None = None,
) -> Fidelity:
    """Replays a recording in both ways, and asks which mechanism the rest comes from.

    Args:
        recording: What `Recording.load` gave.
        name: What to call it.
        without: Which of `MECHANISMS` to leave out in turn; None: all that the recording has.
        diverge: Look for the first divergence of each pageblock, too.
        tell: Told what is done next.

    Raises:
        ArgumentError: A mechanism that is not in `MECHANISMS`.
    """
    there = [name for name in MECHANISMS if recording.lists is not None or MECHANISMS[name][0] != "start_exact"]
    chosen = there if without is None else list(without)
    for mechanism in chosen:
        if mechanism not in MECHANISMS:
            raise ArgumentError(f"unknown mechanism {mechanism!r}: there are {', '.join(MECHANISMS)}")
        assert MECHANISMS[mechanism][0] in KEYS
    say: Tell = tell or (lambda text: None)
    modes: dict[str, ModeResult] = {}
    for mode, play in (("reconstruct", reconstruct), ("simulate", simulate)):
        say(mode)
        modes[mode], stopped = play(recording, Policy(), Options())
        if stopped:
            raise KeyboardInterrupt
    results: dict[str, ModeResult] = {}
    for mechanism in chosen:
        say(f"without {mechanism}")
        key, value = MECHANISMS[mechanism]
        results[mechanism], stopped = simulate(recording, Policy(settings={key: value}), Options())
        if stopped:
            raise KeyboardInterrupt
    if diverge:
        say("first divergences")
    return Fidelity(
        name=name,
        modes=modes,
        without=results,
        divergence=first_divergences(recording) if diverge else None,
        kernel_splits=kernel_splits(recording.events),
    )
