"""The kernel's own lists: walked where they can be, kept in the recording, and a start state made of them."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
from thismachine import COMMAND, alone, needs_tracing

from pymigrate import Policy
from pymigrate.errors import RecordingError
from pymigrate.exact import Walker, WalkError, refine
from pymigrate.exact import walk as walk_module
from pymigrate.recording import Recording, sample_path
from pymigrate.recording.lists import NO_CPU, FreeLists, ZoneWalk
from pymigrate.recording.live import RecordOptions, record
from pymigrate.replaying.frames import FREE, PCP, expand, snapshot_moment
from pymigrate.replaying.start import start_state

simulation = importlib.import_module("pymigrate.replaying.simulate")


@pytest.fixture
def needs_walker():
    needs_tracing()
    try:
        with Walker():
            pass
    except WalkError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_the_walk_is_what_the_frames_and_events_say(needs_walker, tmp_path):
    path = tmp_path / "rec.npz"
    with alone():
        record(COMMAND, path, options=RecordOptions(exact=True))
    recording = Recording.load(path)
    lists = recording.lists
    assert lists is not None
    busiest = max(lists.walks, key=lambda walk: int((lists.zone == walk.zone).sum()))
    if not busiest.locked:
        pytest.skip("no event with the zone's lock held came by in time: the walk was made without it")
    assert busiest.broken == 0
    state = start_state(recording, lists.moment_ns)
    walked = np.zeros(recording.pfn_end, np.bool_)
    free = (lists.cpu == NO_CPU) & (lists.zone == busiest.zone)
    walked[expand(lists.pfn[free].astype(np.int64), lists.order[free].astype(np.int64))[0]] = True
    span = next(zone for zone in recording.zones if zone.name == ("DMA", "DMA32", "Normal", "Movable")[busiest.zone])
    window = slice(span.start_pfn, span.start_pfn + span.spanned)
    known = state.frames.place[window] == FREE
    # Both see the same lists at the same moment; what differs is of lists that the walk could not hold still.
    assert (known != walked[window]).sum() <= 0.001 * max(1, walked[window].sum())
    machine = simulation.build_machine(recording, refine(state, lists), Policy())
    machine.validate()
    machine.close()


def lists_of(blocks, *, order, cpu):
    n = len(blocks)
    return FreeLists(
        pfn=np.array(blocks, np.uint32),
        order=np.full(n, order, np.uint8),
        migratetype=np.full(n, 1, np.uint8),
        cpu=np.full(n, cpu, np.uint16),
        zone=np.full(n, 2, np.uint8),
        walks=(ZoneWalk(zone=2, begin_ns=5, end_ns=6, locked=True, broken=0),),
    )


@pytest.fixture(scope="module")
def sample():
    return Recording.load(sample_path())


def test_lists_are_kept_in_the_file(sample, tmp_path):
    lists = lists_of([4096, 8192], order=3, cpu=1)
    replace(sample, lists=lists).save(tmp_path / "rec.npz")
    loaded = Recording.load(tmp_path / "rec.npz").lists
    assert loaded is not None
    assert loaded.pfn.tolist() == [4096, 8192]
    assert loaded.cpu.tolist() == [1, 1]
    assert loaded.walks == lists.walks
    assert loaded.moment_ns == 5
    assert Recording.load(sample_path()).lists is None


def test_damaged_lists_are_refused():
    good = lists_of([4096], order=3, cpu=1)
    with pytest.raises(RecordingError, match="out of its range"):
        replace(good, order=np.array([11], np.uint8))
    with pytest.raises(RecordingError, match="different lengths"):
        replace(good, cpu=np.empty(0, np.uint16))
    for rows in (None, [], [[1, 2]], [[9, 0, 0, 0, 0]], [["x", 0, 0, 0, 0]], [[1, 2**64, 0, 0, 0]]):
        with pytest.raises(RecordingError, match="walk"):
            FreeLists.walks_from_json(rows)


def some_of(state, *, moment_ns=5, broken=0):
    """Lists with a thousand free blocks and fifty of per-CPU lists of a state, in another order."""
    blocks = state.blocks
    listed = np.flatnonzero((blocks.place == FREE) & (blocks.order <= 9))[::-1][:1000]
    held = np.flatnonzero(blocks.place == PCP)[:50]
    which = np.concatenate((listed, held))
    return FreeLists(
        pfn=blocks.pfn[which].astype(np.uint32),
        order=blocks.order[which],
        migratetype=np.where(
            blocks.place[which] == FREE,
            state.pageblock_types[blocks.pfn[which].astype(np.int64) >> 9],
            blocks.migratetype[which],
        ).astype(np.uint8),
        cpu=np.where(blocks.place[which] == FREE, NO_CPU, blocks.cpu[which]).astype(np.uint16),
        zone=np.full(len(which), 2, np.uint8),
        walks=(ZoneWalk(zone=2, begin_ns=moment_ns, end_ns=moment_ns + 1, locked=True, broken=broken),),
    )


def test_a_refined_state_holds_every_frame_once_and_the_lists_in_their_order(sample):
    state = start_state(sample)
    blocks, lists = state.blocks, some_of(state)
    refined = refine(state, lists)
    frames = expand(refined.blocks.pfn.astype(np.int64), refined.blocks.order.astype(np.int64))[0]
    before = expand(blocks.pfn.astype(np.int64), blocks.order.astype(np.int64))[0]
    assert np.array_equal(np.sort(frames), np.sort(before))
    free = refined.blocks.place == FREE
    assert np.array_equal(refined.blocks.pfn[free], lists.pfn[lists.cpu == NO_CPU])
    assert int((refined.blocks.place == PCP).sum()) == 50


def test_a_simulation_starts_from_the_lists_that_its_recording_has(sample):
    moment = snapshot_moment(sample) + 100_000_000
    lists = some_of(start_state(sample, moment), moment_ns=moment)
    exact = replace(sample, lists=lists)
    opened = simulation.open_simulation(exact, Policy())
    assert opened.state.frames.time_ns == moment
    assert int(sample.events.time_ns[opened.first]) > moment
    assert opened.state.report.walked == len(lists)
    free = opened.state.blocks.place == FREE
    assert np.array_equal(opened.state.blocks.pfn[free], lists.pfn[lists.cpu == NO_CPU])
    opened.machine.validate()
    # What is left out of the start is not taken from the walk either.
    state = simulation.starting_state(exact, Policy(settings={"start_order": 0}))
    assert np.array_equal(state.blocks.pfn[state.blocks.place == FREE], np.sort(lists.pfn[lists.cpu == NO_CPU]))
    state = simulation.starting_state(exact, Policy(settings={"start_pcp": 0}))
    assert not (state.blocks.place == PCP).any()
    state = simulation.starting_state(exact, Policy(settings={"start_types": 0}))
    assert set(state.pageblock_types.tolist()) == {1}
    # Without them, or where the walk was cut off, they are inferred for the same moment.
    inferred = simulation.starting_state(exact, Policy(settings={"start_exact": 0}))
    cut = replace(sample, lists=some_of(inferred, moment_ns=moment, broken=1))
    for state in (inferred, simulation.starting_state(cut, Policy())):
        assert state.report.walked == 0
        assert state.frames.time_ns == moment
        assert int((state.blocks.place == FREE).sum()) > 1000


def test_without_clang_the_order_is_inferred_and_that_is_said(monkeypatch, tmp_path):
    needs_tracing()
    monkeypatch.setattr(walk_module.shutil, "which", lambda name: None)
    heard = []
    with alone():
        result = record(
            ["true"], tmp_path / "rec.npz", options=RecordOptions(exact=True, snapshot=False), say=heard.append
        )
    assert result.imported.recording.lists is None
    assert any("inferred" in text and "clang is missing" in text for text in heard)
