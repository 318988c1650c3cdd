"""The real recordings, where they are: PYMIGRATE_DATA names their folder, else it stands beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pymigrate.recording import Recording, flag_bit, import_recording, read_snapshot, sample_path

DATA = Path(os.environ.get("PYMIGRATE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recordings in {DATA}: set PYMIGRATE_DATA")


@needs_data
@pytest.mark.parametrize("name", ["compaction-anon/before", "compaction-mixed/after"])
def test_snapshot_is_close_to_its_buddyinfo(name):
    snapshot = read_snapshot(DATA / name)
    free = int(((snapshot.flags & flag_bit("BUDDY")) != 0).sum())
    info = snapshot.buddyinfo
    assert info is not None
    # The machine ran on between the reading of the frames and of the text.
    counted = int((info.free * (1 << np.arange(info.free.shape[1]))).sum())
    assert free == pytest.approx(counted, rel=0.02)
    assert sum(zone.free for zone in snapshot.zoneinfo) == pytest.approx(counted, rel=0.02)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["db", "build", "files", "huge"])
def test_real_recordings_are_complete_and_resolved(name, tmp_path):
    result = import_recording(DATA / f"replay-{name}")
    assert result.parse.skipped == result.parse.other_events == result.parse.lost_events == 0
    assert result.parse.unknown_gfp == result.parse.undecoded_ptes == 0
    assert result.resolve.unresolved_share < 1e-3
    result.recording.save(tmp_path / "rec.npz")
    loaded = Recording.load(tmp_path / "rec.npz")
    for column, array in result.recording.events.columns():
        assert np.array_equal(array, getattr(loaded.events, column)), column


def test_the_sample_ships_with_the_package():
    path = sample_path()
    assert path.stat().st_size < 3_000_000
    recording = Recording.load(path)
    assert len(recording.samples) >= 5
    assert len(recording.events) > 100_000
    assert recording.samples.t_ns[0] > recording.events.time_ns[0]
    assert recording.samples.t_ns[-1] <= recording.events.time_ns[-1]
