"""Whole replays: of the sample that ships, and of the shared recordings where they are."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_recording

import pymigrate
from pymigrate.errors import ArgumentError
from pymigrate.recording import Recording, import_recording, sample_path
from pymigrate.replaying import Policy, ReplayResult, replay
from pymigrate.replaying.frames import snapshot_moment
from pymigrate.replaying.session import Options
from pymigrate.replaying.simulate import build_machine, simulate
from pymigrate.replaying.start import start_state

DATA = Path(os.environ.get("PYMIGRATE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
FIGURES = {
    "free.error.mean", "free.error.worst", "unusable4.error.mean", "unusable9.error.mean", "blocks9.error.mean",
    "fallback.ours", "fallback.kernel", "events_per_second", "unresolved.share",
}  # fmt: skip


@pytest.fixture(scope="module")
def sample() -> Recording:
    return Recording.load(sample_path())


@pytest.fixture(scope="module")
def both(sample: Recording) -> ReplayResult:
    return replay(sample, map_bins=64)


@pytest.fixture(scope="module")
def db() -> Recording:
    folder = DATA / "replay-db"
    if not folder.is_dir():
        pytest.skip(f"no recording in {folder} (PYMIGRATE_DATA)")
    return import_recording(folder).recording


def same(a: ReplayResult, b: ReplayResult, mode: str) -> bool:
    return np.array_equal(a[mode].free, b[mode].free) and a[mode].counts == b[mode].counts


# ---- the start ----


def check_start(recording: Recording) -> None:
    """The machine that a simulation starts from agrees with what the kernel said at that moment."""
    machine = build_machine(recording, start_state(recording), Policy())
    machine.validate()
    for ours, kernel in zip(machine.zones, (z for z in recording.zoneinfo if z.managed), strict=True):
        assert (ours.name, ours.managed, ours.spanned) == (kernel.name, kernel.managed, kernel.spanned)
        assert ours.wmark[:3] == (kernel.min, kernel.low, kernel.high)
        assert abs(ours.nr_free - kernel.free) < 100
        lists = sum(pages.count for pages in kernel.pagesets)
        assert abs(ours.nr_pcp - lists) < max(100, lists // 100)
    assert recording.pagetypeinfo is not None
    free = machine.free_blocks().transpose(0, 2, 1)[:, :3]
    # A kernel stops counting at 100,000.
    known = np.minimum(recording.pagetypeinfo.free[:, :3], 100_000)
    assert np.abs(np.minimum(free, 100_000) - known).sum() <= 0.002 * known.sum()


def test_the_samples_start_is_the_kernels(sample: Recording) -> None:
    check_start(sample)


def test_the_start_of_replay_db_is_the_kernels(db: Recording) -> None:
    check_start(db)


def test_without_a_snapshot_memory_starts_empty() -> None:
    recording = tiny_recording()
    machine = build_machine(recording, start_state(recording), Policy())
    machine.validate()
    (zone,) = machine.zones
    assert zone.nr_free == zone.managed == zone.spanned


# ---- the replays ----


def test_reconstruct_is_the_kernel(both: ReplayResult) -> None:
    scores = both["reconstruct"].scores
    assert scores is not None
    assert scores.free_error_mean < 1e-4
    assert scores.free_error_worst < 1e-3
    assert scores.unusable4_error_mean < 1e-3
    assert scores.unusable9_error_mean < 1e-3
    assert scores.blocks9_error_mean < 1e-3
    assert both["reconstruct"].unresolved_share < 1e-3
    counts = both["reconstruct"].counts
    assert 0.3 < counts["same_frame"] / counts["frames_compared"] < 1


def test_simulate_stays_near_the_kernel(both: ReplayResult) -> None:
    scores = both["simulate"].scores
    assert scores is not None
    assert scores.free_error_mean < 0.01
    assert scores.unusable4_error_mean < 0.01
    assert scores.unusable9_error_mean < 0.005
    assert scores.blocks9_error_mean < 0.02


def test_replay_db_both_ways(db: Recording) -> None:
    result = replay(db)
    exact, ours = result["reconstruct"].scores, result["simulate"].scores
    assert exact is not None
    assert ours is not None
    assert exact.free_error_mean < 1e-5
    assert exact.blocks9_error_mean == 0
    assert ours.free_error_mean < 5e-3
    assert ours.free_error_worst < 1e-2
    assert ours.unusable4_error_mean < 0.01
    assert ours.unusable9_error_mean < 0.005
    assert ours.blocks9_error_mean < 0.01
    assert result["reconstruct"].fallback_ours == result["reconstruct"].fallback_kernel == 4


def test_equal_replays_are_equal(sample: Recording, both: ReplayResult) -> None:
    again = replay(sample)
    assert same(again, both, "simulate")
    assert same(again, both, "reconstruct")


def test_every_event_is_counted_once(both: ReplayResult) -> None:
    simulated = both["simulate"]
    exclusive = ("allocated", "scattered", "failed", "kernel_failed", "freed", "unresolved", "ignored")
    assert sum(simulated.counts[name] for name in exclusive) == simulated.events


def test_the_machine_is_sound_after_a_simulation_and_has_all_its_frames(
    sample: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines: list[pymigrate.Machine] = []

    def remember(*args: object) -> pymigrate.Machine:
        machines.append(build_machine(*args))  # type: ignore[arg-type]
        return machines[-1]

    monkeypatch.setattr(importlib.import_module("pymigrate.replaying.simulate"), "build_machine", remember)
    simulate(sample, Policy(), Options())
    (machine,) = machines
    # Every frame is in exactly one place: free, in a per-CPU list, or used.
    machine.validate()
    assert all(zone.nr_unplaced == 0 for zone in machine.zones)


@pytest.mark.parametrize(
    "setting", ["pcp=0", "min_free_kbytes=2000000", "decay=0", "kswapd=0", "compaction_moves=0", "pcp_batch=7"]
)
def test_a_setting_changes_the_outcome(sample: Recording, both: ReplayResult, setting: str) -> None:
    changed = replay(sample, mode="simulate", policy=Policy.from_words([setting]))
    assert not same(changed, both, "simulate")
    assert changed.settings == Policy.from_words([setting]).settings


def test_figures_have_the_names_that_were_asked_for(both: ReplayResult) -> None:
    names = set(both.figures())
    for mode in ("simulate", "reconstruct"):
        assert {f"{mode}.{name}" for name in FIGURES} <= names
    assert "reconstruct.same_frame.share" in names


def test_the_map_accounts_for_every_frame(sample: Recording, both: ReplayResult) -> None:
    for mode in both.modes.values():
        assert mode.map.shape[0] == len(mode.map_t_ns) > 0
        assert (mode.map.sum(axis=(1, 2)) == sample.pfn_end).all()


def test_until_cuts_in_time(sample: Recording) -> None:
    start_s = (snapshot_moment(sample) - int(sample.events.time_ns[0])) * 1e-9
    short = replay(sample, mode="simulate", until=start_s + 3)["simulate"]
    assert 0 < short.events < len(sample.events)
    assert int(short.t_ns.max()) <= int(sample.events.time_ns[0]) + int((start_s + 3) * 1e9)
    none = replay(sample, mode="simulate", until=0.0)["simulate"]
    assert none.events == 0
    assert none.scores is None


def test_progress_rises_and_an_interrupt_keeps_what_was_played(sample: Recording) -> None:
    seen: list[tuple[str, int, int]] = []
    replay(sample, mode="simulate", progress=lambda *at: seen.append(at))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert seen[-1][1] == seen[-1][2]

    def interrupt(_mode: str, done: int, whole: int) -> None:
        if done > whole // 2:
            raise KeyboardInterrupt

    stopped = replay(sample, progress=interrupt)
    assert stopped.stopped
    assert list(stopped.modes) == ["reconstruct"]
    assert 0 < stopped["reconstruct"].events < seen[-1][2]


@pytest.mark.parametrize("arguments", [{"mode": "guess"}, {"until": -1.0}, {"until": float("nan")}])
def test_bad_arguments_are_named(sample: Recording, arguments: dict[str, object]) -> None:
    with pytest.raises(ArgumentError, match=r"mode|until"):
        replay(sample, **arguments)  # type: ignore[arg-type]
