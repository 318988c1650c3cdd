"""Probes of a simulation: was a large block there, and what does it cost to make one?"""

from __future__ import annotations

import importlib
from dataclasses import replace as changed

import numpy as np
import pytest
from tiny import tiny_recording

from pymigrate._core import lib
from pymigrate.errors import ArgumentError
from pymigrate.recording import Events, InitialAllocations, Recording, sample_path
from pymigrate.recording.events import COLUMN_DTYPES
from pymigrate.replaying import ModeResult, Policy, Probe, ProbeResult, replay
from pymigrate.replaying.probe import PROBE_STRATEGIES
from pymigrate.replaying.session import Options
from pymigrate.replaying.simulate import simulate

FRAMES = 1 << 13
MOVABLE_GFP = int(lib.PM_GFP_HIGHUSER_MOVABLE)
MS = 1_000_000
MAKERS = tuple(name for name in PROBE_STRATEGIES if name != "none")


@pytest.fixture(scope="module")
def sample() -> Recording:
    return Recording.load(sample_path())


def holes_recording() -> Recording:
    """Memory of 32 MiB fills up with single movable frames, one a microsecond; then every other is freed.

    From 100 ms on, once a millisecond, 100 of the others are freed: whoever moved them must have kept track.
    """
    taken = np.arange(FRAMES - 300)
    freed = taken[::2]
    later = taken[1::2][:100]
    number = np.concatenate((taken, freed, later))
    at = np.arange(len(taken) + len(freed)) * 1000
    n = len(number)
    columns = {name: np.zeros(n, dtype) for name, dtype in COLUMN_DTYPES.items()}
    columns["time_ns"] = (np.concatenate((at, 100 * MS + MS * np.arange(len(later)))) + MS).astype(np.uint64)
    columns["kind"][:] = lib.PM_EV_FREE
    columns["kind"][: len(taken)] = lib.PM_EV_ALLOC
    columns["pfn"][:], columns["allocation"][:] = number, number
    columns["gfp"][:] = MOVABLE_GFP
    columns["migratetype"][:] = lib.PM_MT_MOVABLE
    columns["tid"][:] = 1
    tiny = tiny_recording(samples=False)
    host = tiny.host | {
        "zones": [{"name": "DMA32", "start_pfn": 0, "spanned": FRAMES}],
        "pfn_end": FRAMES,
        "sysctl": {"min_free_kbytes": "128"},
    }
    nobody = InitialAllocations(first_id=len(taken), pfn=np.empty(0, np.uint32), order=np.empty(0, np.int8))
    return changed(tiny, events=Events(**columns), initial=nobody, host=host)


def probed(recording: Recording, strategy: str, **options: float) -> ModeResult:
    probe = Probe(strategy=strategy, **options)  # type: ignore[arg-type]
    return replay(recording, mode="simulate", probe=probe)["simulate"]


def series(mode: ModeResult) -> ProbeResult:
    assert mode.probe is not None
    return mode.probe


# ---- looking ----


@pytest.mark.parametrize("every", [0.1, 0.013])
def test_a_probe_that_only_looks_leaves_every_number_as_it_is(sample: Recording, every: float) -> None:
    plain, looked = replay(sample, mode="simulate")["simulate"], probed(sample, "none", every=every)
    assert plain.probe is None
    assert np.array_equal(plain.free, looked.free)
    assert plain.counts == looked.counts
    assert np.array_equal(plain.claims, looked.claims)
    assert np.array_equal(plain.steals, looked.steals)
    found = series(looked)
    assert np.array_equal(found.there, found.there_after)
    assert not found.moved.any()
    assert 0 < found.there.sum() < len(found.there)


def test_probes_are_as_far_apart_as_was_said(sample: Recording) -> None:
    found = series(probed(sample, "none", every=0.25))
    assert set(np.diff(found.t_ns).tolist()) == {250 * MS}
    assert found.t_ns[-1] <= sample.events.time_ns[-1] < found.t_ns[-1] + 250 * MS


def test_a_replay_that_ends_early_asks_no_longer(sample: Recording) -> None:
    until = 5.0
    found = series(replay(sample, mode="simulate", until=until, probe=Probe())["simulate"])
    assert len(found.t_ns)
    assert found.t_ns[-1] <= int(sample.events.time_ns[0]) + until * 1e9


def test_a_recording_without_events_is_asked_nothing() -> None:
    recording = tiny_recording()
    empty = recording.events.with_columns(**{name: np.empty(0, dtype) for name, dtype in COLUMN_DTYPES.items()})
    mode = probed(changed(recording, events=empty), "planner")
    assert series(mode).as_json()["there"] == []
    assert mode.figures()["probe.count"] == (0, "probes")


# ---- making ----


def test_full_of_holes_there_is_none_and_the_planner_makes_one() -> None:
    recording = holes_recording()
    looked = series(probed(recording, "none", every=0.05))
    assert not looked.there[1:].any()
    made = series(probed(recording, "planner", every=0.05))
    assert made.there_after.all()
    # Of the pageblock that did not fill up 212 frames were taken, and half of these freed: there is no cheaper one.
    assert made.moved[np.flatnonzero(made.moved)[0]] == 106


@pytest.mark.parametrize("strategy", MAKERS)
def test_what_moved_is_found_when_the_recording_frees_it(strategy: str) -> None:
    recording = holes_recording()
    plain = replay(recording, mode="simulate")["simulate"]
    mode = probed(recording, strategy, every=0.05)
    for name in ("allocated", "freed", "unresolved", "failed", "moved", "isolated", "targets_elsewhere"):
        assert mode.counts[name] == plain.counts[name], name
    assert mode.counts["freed"] == (FRAMES - 300) // 2 + 100


@pytest.mark.parametrize("strategy", MAKERS)
def test_the_sample_with_each_strategy(sample: Recording, strategy: str) -> None:
    without, mode = series(probed(sample, "none")), probed(sample, strategy)
    found = series(mode)
    assert found.there_after.sum() > without.there.sum()
    assert found.moved.sum() > 0
    # Nothing is moved for a block that is there.
    assert not found.moved[found.there].any()
    assert (found.there <= found.there_after).all()
    assert mode.counts["unresolved"] == 0
    assert mode.counts["failed"] == 0


@pytest.mark.parametrize("strategy", MAKERS)
def test_the_machine_stays_whole(sample: Recording, strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("pymigrate.replaying.simulate")
    opened = []
    build = module.build_machine

    def keep(*args: object) -> object:
        opened.append(build(*args))  # type: ignore[arg-type]
        return opened[-1]

    monkeypatch.setattr(module, "build_machine", keep)
    simulate(sample, Policy(), Options(probe=Probe(strategy=strategy, every=0.02)))
    (machine,) = opened
    machine.validate()


def test_the_planner_moves_fewer_than_the_others_for_the_first_block(sample: Recording) -> None:
    found = {name: series(probed(sample, name)) for name in MAKERS}
    # Up to the first probe without a block all simulations are the same.
    first = {int(np.argmin(one.there)) for one in found.values()}
    assert len(first) == 1
    cost = {name: int(one.moved[min(first)]) for name, one in found.items()}
    assert cost["planner"] == min(cost.values())


def test_the_same_replay_twice_gives_the_same_series(sample: Recording) -> None:
    a, b = (series(probed(sample, "linux", every=0.02)).as_json() for _ in range(2))
    assert a == b


def test_smaller_blocks_are_there_more_often(sample: Recording) -> None:
    small, large = (series(probed(sample, "none", order=order)).there for order in (3, 9))
    assert (large <= small).all()
    assert small.sum() > large.sum()


# ---- wrong ----


def test_wrong_probes_are_refused(sample: Recording) -> None:
    with pytest.raises(ArgumentError, match="'coalesce-2004-rfc' for a replay: there are none, linux"):
        Probe(strategy="coalesce-2004-rfc")
    for order in (0, 10):
        with pytest.raises(ArgumentError, match=f"order={order}"):
            Probe(order=order)
    for every in (0.0, float("nan"), 1e9):
        with pytest.raises(ArgumentError, match="every="):
            Probe(every=every)
    with pytest.raises(ArgumentError, match="needs a simulation"):
        replay(sample, mode="reconstruct", probe=Probe())
