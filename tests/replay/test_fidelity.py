"""Where the distance from the kernel comes from: ablation, first divergences, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny import tiny_recording

from pymigrate._core import lib
from pymigrate.cli import cli
from pymigrate.errors import ArgumentError
from pymigrate.recording import Recording, sample_path
from pymigrate.replaying import Policy
from pymigrate.replaying.fidelity import (
    CAUSES,
    MECHANISMS,
    event_causes,
    fidelity,
    first_divergences,
    kernel_splits,
)
from pymigrate.replaying.policy import KEYS


@pytest.fixture(scope="module")
def sample() -> Recording:
    return Recording.load(sample_path())


def test_every_mechanism_has_a_setting() -> None:
    for setting, value in MECHANISMS.values():
        low, high, _ = KEYS[setting]
        assert low <= value <= high


@pytest.mark.parametrize("mechanism", ["what is in them at the start", "decay by the timer", "kswapd at work"])
def test_leaving_a_mechanism_out_costs_fidelity(sample: Recording, mechanism: str) -> None:
    found = fidelity(sample, without=[mechanism], diverge=False)
    whole, less = found.modes["simulate"].scores, found.without[mechanism].scores
    assert whole is not None
    assert less is not None
    assert less.free_error_mean > 2 * whole.free_error_mean
    assert found.divergence is None
    with pytest.raises(ArgumentError, match="magic"):
        fidelity(sample, without=["magic"])


def test_drains_are_told_apart_by_what_their_thread_did_before() -> None:
    events = tiny_recording().events
    kind, tid, arg0 = events.kind.copy(), events.tid.copy(), events.arg0.copy()
    kind[10], tid[10] = lib.PM_EV_FREE, 1
    kind[11:13], tid[11:13] = lib.PM_EV_PCPU_DRAIN, 1
    kind[14], tid[14] = lib.PM_EV_COMPACT_BEGIN, 35
    kind[15], tid[15] = lib.PM_EV_PCPU_DRAIN, 35
    kind[16], tid[16] = lib.PM_EV_PCPU_DRAIN, 9
    kind[17:19], arg0[17] = lib.PM_EV_ZONE_LOCKED, 1
    names = [CAUSES[cause] for cause in event_causes(events.with_columns(kind=kind, tid=tid, arg0=arg0))[11:19]]
    assert names[0] == names[1] == "drain after a free"
    assert names[4:] == [
        "drain by compaction or reclaim",
        "drain by the timer",
        "refill of a per-CPU list",
        "request past the per-CPU lists",
    ]


def test_claims_and_steals_of_the_kernel_are_told_apart_by_type() -> None:
    events = tiny_recording().events
    claims, steals = kernel_splits(events)
    assert claims[lib.PM_MT_UNMOVABLE, lib.PM_MT_MOVABLE] == claims.sum() == 2
    assert steals.sum() == 0
    change = events.arg2.copy()
    change[events.kind == lib.PM_EV_EXTFRAG] = [0, 1]
    claims, steals = kernel_splits(events.with_columns(arg2=change))
    assert claims.sum() == steals[lib.PM_MT_UNMOVABLE, lib.PM_MT_MOVABLE] == 1


def test_a_pageblock_diverges_once_and_where_the_kernel_did_something(sample: Recording) -> None:
    found = first_divergences(sample, stretches=40)
    assert len(set(found.pageblock.tolist())) == len(found.pageblock)
    assert found.share < 0.5
    assert sum(found.by_cause().values()) == len(found.pageblock)
    done = found.cause < len(CAUSES) - 1
    inside = sample.events.pfn[found.event[done]].astype(np.int64) >> 9
    known = found.cause[done] > 0
    assert (inside[known] == found.pageblock[done][known]).all()
    # Without what the recording tells of the start, more pageblocks go astray.
    assert first_divergences(sample, Policy(settings={"start_order": 0}), stretches=40).share > found.share


def test_the_command_reports_all_it_found(tmp_path: Path) -> None:
    path, out = tmp_path / "tiny.npz", tmp_path / "out.json"
    tiny_recording().save(path)
    done = CliRunner().invoke(cli, ["fidelity", str(path), "--without", "decay", "--figures", "--json", str(out)])
    assert done.exit_code == 0, done.output
    assert "- decay " in done.output
    assert "first divergence" in done.output
    assert "Unmovable from Movable" in done.output
    for name in ("simulate.free.error.mean", "without.decay.free.error.mean", "kernel.claims", "diverged.share"):
        assert f"figure tiny.{name} " in done.output
    (found,) = json.loads(out.read_text())
    assert found["without"]["decay by the timer"]["setting"] == "decay"
    assert found["divergence"]["pageblocks"] == 32
    assert CliRunner().invoke(cli, ["fidelity", str(path), "--without", "magic"]).exit_code == 2
