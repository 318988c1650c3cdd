"""Reconstruct: every event is applied to the very frames that it names.

No policy of ours takes part. Where the events are complete, the free lists are the kernel's at every moment; what they
do not explain is counted by cause. On the way our policy is asked at each step which frame it would have given.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pymigrate._core import ffi, lib
from pymigrate.errors import check
from pymigrate.machine import Machine
from pymigrate.recording import Recording
from pymigrate.recording.resolve import resolve_input
from pymigrate.replaying.frames import snapshot_moment
from pymigrate.replaying.policy import Policy
from pymigrate.replaying.result import ModeResult
from pymigrate.replaying.session import Options, Session, make_machine
from pymigrate.replaying.start import machine_shape


def _counts(handle: object) -> dict[str, int]:
    """The counts by cause; names of what stays unexplained begin with ``unresolved``."""
    raw = ffi.new("uint64_t[]", int(lib.PM_NR_RC_CAUSES))
    lib.pm_reconstruct_counts(handle, raw)
    counts: dict[str, int] = {}
    for cause in range(lib.PM_NR_RC_CAUSES):
        text = ffi.string(lib.pm_reconstruct_cause_text(cause)).decode()
        name = f"unresolved.{text}" if cause < lib.PM_RC_NR_UNEXPLAINED else text
        counts[name] = int(raw[cause])
    return counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction:
    """A reconstruction that can be played.

    Attributes:
        machine: Where.
        handle: `struct pm_reconstruct *`.
        first: Index of the first event to play.
        play: Plays events up to the second argument.
    """

    machine: Machine
    handle: Any
    first: int
    play: Callable[[int, int], None]


def open_reconstruction(recording: Recording, policy: Policy) -> Reconstruction:
    """Makes the plan, and a machine with the free lists of the start."""
    shape = machine_shape(recording, snapshot_moment(recording))
    machine = make_machine(
        recording, policy, holes=shape.holes, reserved=shape.reserved, pageblock_types=shape.pageblock_types
    )
    source, keep = resolve_input(recording.events, frame_flags=recording.frame_flags, frame_times=recording.frame_times)
    out = ffi.new("struct pm_reconstruct **")
    check(lib.pm_reconstruct_create(machine.handle, source, out), what="a reconstruction")
    handle = ffi.gc(out[0], lib.pm_reconstruct_destroy)

    def play(_first: int, last: int, _keep: object = keep) -> None:
        check(lib.pm_reconstruct_run(handle, last), what=f"events up to {last}")

    return Reconstruction(machine=machine, handle=handle, first=lib.pm_reconstruct_first(handle), play=play)


def reconstruct(recording: Recording, policy: Policy, options: Options) -> tuple[ModeResult, bool]:
    """Applies a recording's events to the frames they name.

    The policy's settings do not change what is applied.

    Returns:
        The result, and whether it was interrupted.
    """
    began = time.perf_counter()
    opened = open_reconstruction(recording, policy)
    handle = opened.handle
    session = Session(
        recording=recording,
        machine=opened.machine,
        mode="reconstruct",
        first=opened.first,
        start_ns=snapshot_moment(recording),
        prepare_seconds=time.perf_counter() - began,
        play=opened.play,
        options=options,
    )
    session.run()
    counts = _counts(handle)
    steps = ffi.new("struct pm_policy_steps *")
    lib.pm_reconstruct_steps(handle, steps)
    counts["same_frame"], counts["frames_compared"] = int(steps.same), int(steps.compared)
    counts["same_frame_given"], counts["given_compared"] = int(steps.given_same), int(steps.given_compared)
    fallbacks = np.array([list(row) for row in steps.fallback], np.int64)
    counts["operations on the free lists"] = int(lib.pm_reconstruct_operations(handle))
    result = session.result(
        counts=counts,
        unresolved=sum(count for name, count in counts.items() if name.startswith("unresolved")),
        start={},
        claims=fallbacks,
        steals=np.zeros_like(fallbacks),
    )
    return result, session.stopped
