"""What a replay found: free lists over time beside the kernel's, scores, fallbacks, failures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymigrate.replaying.probe import ProbeResult
from pymigrate.replaying.scores import Scores, free_frames, large_blocks, unusable_index

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

TYPE_NAMES = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate")


@dataclass(frozen=True, kw_only=True, eq=False)
class ModeResult:
    """One replay of one recording: S samples, Z zones, T migrate types, O orders.

    Attributes:
        mode: ``"simulate"`` or ``"reconstruct"``.
        zones: Names of the zones.
        t_ns: When the free lists were compared: the recording's samples within the replayed time, shape (S,).
        free: Our free blocks, shape (S, Z, O, T).
        kernel_free: The kernel's, shape (S, Z, O).
        scores: How far ours are from the kernel's; None where the recording has no sample in the replayed time.
        claims: Our CLAIM fallbacks by requested type and type of the block, shape (T, T). For ``"reconstruct"`` all the
            fallbacks that our policy would have chosen, one step at a time.
        steals: Our STEAL fallbacks.
        kernel_fallbacks: The recorded `mm_page_alloc_extfrag` events by type pair, shape (T, T).
        counts: What happened, by name: requests, failures, unresolved events by cause.
        events: Events played.
        seconds: Time that playing them took.
        prepare_seconds: Time before that: working out the start state, and for ``"reconstruct"`` the plan.
        unresolved: Events of `events` that could not be explained.
        start: How well the start state is known, by name.
        probe: What a simulation was asked on the way; None: nothing.
        map_t_ns: When the rows of `map` were taken, shape (M,).
        map: Frames by occupant (`enum pm_occupant`), shape (M, bins, occupants); M is 0 unless a map was asked for.
    """

    mode: str
    zones: tuple[str, ...]
    t_ns: NDArray[np.uint64]
    free: I64
    kernel_free: I64
    scores: Scores | None
    claims: I64
    steals: I64
    kernel_fallbacks: I64
    counts: dict[str, int]
    events: int
    seconds: float
    unresolved: int
    prepare_seconds: float = 0.0
    start: dict[str, int] = field(default_factory=dict)
    probe: ProbeResult | None = None
    map_t_ns: NDArray[np.uint64]
    map: NDArray[np.uint32]

    @property
    def events_per_second(self) -> float:
        """Events played in a second of processor time, without reading the recording."""
        return self.events / self.seconds if self.seconds > 0 else 0.0

    @property
    def unresolved_share(self) -> float:
        """The share of the events played that could not be explained."""
        return self.unresolved / self.events if self.events else 0.0

    @property
    def fallback_ours(self) -> int:
        """Our fallbacks, CLAIM and STEAL together."""
        return int(self.claims.sum() + self.steals.sum())

    @property
    def fallback_kernel(self) -> int:
        """The kernel's recorded fallbacks."""
        return int(self.kernel_fallbacks.sum())

    def free_frames(self) -> tuple[I64, I64]:
        """Free frames at the samples: ours and the kernel's."""
        return free_frames(self.free.sum(axis=(1, 3))), free_frames(self.kernel_free.sum(axis=1))

    def unusable(self, order: int) -> tuple[F64, F64]:
        """Unusable free space index (0..1) at the samples: ours and the kernel's."""
        return unusable_index(self.free.sum(axis=(1, 3)), order), unusable_index(self.kernel_free.sum(axis=1), order)

    def large_blocks(self) -> tuple[I64, I64]:
        """Free blocks of at least order 9, in pageblocks: ours and the kernel's."""
        return large_blocks(self.free.sum(axis=(1, 3))), large_blocks(self.kernel_free.sum(axis=1))

    def figures(self) -> dict[str, tuple[float, str]]:
        """The figures of this mode by name, each with its unit."""
        found: dict[str, tuple[float, str]] = {}
        if self.scores is not None:
            s = self.scores
            found["free.error.mean"] = (s.free_error_mean, "share")
            found["free.error.worst"] = (s.free_error_worst, "share")
            found["unusable4.error.mean"] = (s.unusable4_error_mean, "index")
            found["unusable9.error.mean"] = (s.unusable9_error_mean, "index")
            found["blocks9.error.mean"] = (s.blocks9_error_mean, "share")
        found["fallback.ours"] = (self.fallback_ours, "events")
        found["fallback.kernel"] = (self.fallback_kernel, "events")
        if "same_frame" in self.counts:
            found["same_frame.share"] = (self.counts["same_frame"] / max(self.counts["frames_compared"], 1), "share")
        if "same_frame_given" in self.counts:
            share = self.counts["same_frame_given"] / max(self.counts["given_compared"], 1)
            found["same_frame.given.share"] = (share, "share")
        found["events_per_second"] = (self.events_per_second, "1/s")
        found["prepare.seconds"] = (self.prepare_seconds, "s")
        found["unresolved.share"] = (self.unresolved_share, "share")
        return found | (self.probe.figures() if self.probe is not None else {})

    def as_json(self) -> dict[str, Any]:
        """Everything but the map, as JSON values."""
        return {
            "mode": self.mode,
            "zones": list(self.zones),
            "t_ns": self.t_ns.tolist(),
            "free_blocks": self.free.sum(axis=3).tolist(),
            "kernel_free_blocks": self.kernel_free.tolist(),
            "scores": asdict(self.scores) if self.scores else None,
            "claims": self.claims.tolist(),
            "steals": self.steals.tolist(),
            "kernel_fallbacks": self.kernel_fallbacks.tolist(),
            "types": list(TYPE_NAMES),
            "counts": self.counts,
            "events": self.events,
            "seconds": self.seconds,
            "prepare_seconds": self.prepare_seconds,
            "unresolved": self.unresolved,
            "start": self.start,
            "probe": self.probe.as_json() if self.probe is not None else None,
            "figures": {name: value for name, (value, _) in self.figures().items()},
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplayResult:
    """The replays of one recording.

    Attributes:
        name: What the recording is called.
        events_by_kind: All recorded events by the kernel's name for them.
        modes: The replays by mode, in the order they were made.
        settings: The settings that were changed, by name.
        stopped: True if the replay was interrupted: the results cover what was played.
    """

    name: str
    events_by_kind: dict[str, int]
    modes: dict[str, ModeResult]
    settings: dict[str, int]
    stopped: bool = False

    def __getitem__(self, mode: str) -> ModeResult:
        return self.modes[mode]

    def figures(self) -> dict[str, tuple[float, str]]:
        """All figures: ``MODE.NAME`` to value and unit."""
        return {
            f"{mode}.{name}": value for mode, result in self.modes.items() for name, value in result.figures().items()
        }

    def as_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "recording": self.name,
            "events_by_kind": self.events_by_kind,
            "settings": self.settings,
            "stopped": self.stopped,
            "modes": {mode: result.as_json() for mode, result in self.modes.items()},
        }
