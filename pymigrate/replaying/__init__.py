"""Replaying a recording: reconstruct moves the frames that events name, simulate lets our policy place everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pymigrate.errors import ArgumentError
from pymigrate.recording import Recording
from pymigrate.replaying.policy import Policy
from pymigrate.replaying.probe import Probe, ProbeResult
from pymigrate.replaying.reconstruct import reconstruct
from pymigrate.replaying.result import ModeResult, ReplayResult
from pymigrate.replaying.scores import Scores, score
from pymigrate.replaying.session import Options, Progress
from pymigrate.replaying.simulate import simulate

__all__ = ["ModeResult", "Policy", "Probe", "ProbeResult", "ReplayResult", "Scores", "replay", "score"]

Mode = Literal["simulate", "reconstruct", "both"]

RUNNERS: dict[str, Callable[[Recording, Policy, Options], tuple[ModeResult, bool]]] = {
    "reconstruct": reconstruct,
    "simulate": simulate,
}


def replay(
    recording: Recording,
    *,
    policy: Policy | None = None,
    mode: Mode = "both",
    until: float | None = None,
    map_bins: int = 0,
    progress: Progress | None = None,
    name: str = "",
    probe: Probe | None = None,
) -> ReplayResult:
    """Replays a recording and scores it against the kernel's own counters.

    Args:
        recording: What `Recording.load` or `pymigrate import` gave.
        policy: Settings that differ from the recorded machine's.
        mode: Which replay, or both.
        until: Stop so many seconds after the first event.
        map_bins: Keep a map of the frames over time in so many equal parts; 0: none.
        progress: Called with the mode, the events played, and how many there are.
        name: What to call the recording in reports.
        probe: What the simulation is asked on the way: whether a large block is there, and what it costs to make one.

    Returns:
        Free lists over time beside the kernel's, scores and counts, for each mode. A replay that Ctrl-C stopped
        covers what was played, and says so.

    Raises:
        ArgumentError: An unknown mode, a negative time, or a probe without a simulation.
        RecordingError: The recording names CPUs, frames or allocations that it does not have.
    """
    if mode not in (*RUNNERS, "both"):
        raise ArgumentError(f"unknown mode {mode!r}: there are {', '.join(RUNNERS)} and both")
    if until is not None and not until >= 0:
        raise ArgumentError(f"until={until}: must be seconds from the first event")
    if probe is not None and mode == "reconstruct":
        raise ArgumentError("a probe needs a simulation: a reconstruction does not know what could move")
    policy = policy or Policy()
    until_ns = None
    if until is not None and len(recording.events):
        until_ns = int(recording.events.time_ns[0]) + int(until * 1e9)
    options = Options(until_ns=until_ns, map_bins=map_bins, progress=progress, probe=probe)
    modes: dict[str, ModeResult] = {}
    stopped = False
    for one in RUNNERS if mode == "both" else (mode,):
        modes[one], stopped = RUNNERS[one](recording, policy, options)
        if stopped:
            break
    return ReplayResult(
        name=name,
        events_by_kind=recording.events.counts(),
        modes=modes,
        settings=dict(policy.settings),
        stopped=stopped,
    )
