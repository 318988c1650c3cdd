"""A snapshot as a machine: every frame is what it was, and can do what it could."""

from __future__ import annotations

import json

import numpy as np
import pytest
from snapshot_pictures import meta_of, random_words, recording_of, words_of, write_case, write_snapshot

from pymigrate.defrag.load import Kind, load_memory, prepare
from pymigrate.defrag.run import STANDINGS, census
from pymigrate.defrag.source import read_source
from pymigrate.errors import RecordingError
from pymigrate.migration import Destination, migrate
from pymigrate.recording import Recording, sample_path

PICTURE = "aamm ffdh 8888 8888 4444 22wl strk gg.. .... .... .... ...."


def test_every_frame_is_what_it_was(tmp_path):
    with load_memory(recording_of(PICTURE, tmp_path / "s")) as loaded:
        machine = loaded.machine
        machine.validate()
        assert loaded.uses.kind[:4].tolist() == [Kind.ANON] * 4
        assert [Kind(k).name for k in loaded.uses.kind[4:8]] == ["FILE", "FILE", "FILE", "SHMEM"]
        assert set(loaded.uses.kind[8:22].tolist()) == {Kind.FOLIO}
        kinds = [Kind.SLAB, Kind.TABLE, Kind.RESERVED, Kind.KERNEL, Kind.HUGETLB]
        assert loaded.uses.kind[24:29].tolist() == kinds
        assert [machine.page_info(pfn).use for pfn in (0, 4, 8, 24)] == ["anon", "file", "owner", "none"]
        assert [machine.page_info(pfn).order for pfn in (8, 16, 20)] == [3, 2, 1]
        assert "unevictable" in machine.page_info(2).flags
        assert {"dirty", "private"} <= set(machine.page_info(6).flags)
        assert "writeback" in machine.page_info(22).flags
        assert "locked" in machine.page_info(23).flags
        # The free frames are the free blocks that they make.
        assert machine.free_blocks().sum(axis=(0, 2)).tolist()[:5] == [0, 1, 0, 0, 1]


def test_what_was_loaded_migrates_without_contents(tmp_path):
    with load_memory(recording_of(PICTURE, tmp_path / "s")) as loaded:
        result = migrate(loaded.machine, [0, 2, 4, 6, 7, 8, 22, 23], destination=Destination(above=32))
        # What is read or written out is waited for.
        assert result.moved == 8, result.reasons()
        loaded.machine.validate()
        assert loaded.space is not None
        assert loaded.space.info().present == 4


def test_a_compound_page_that_is_not_whole_cannot_move(tmp_path):
    words = words_of("4444 aa.. .... ....")
    words[3] = words_of("a")[0]
    with load_memory(recording_of(words, tmp_path / "s")) as loaded:
        loaded.machine.validate()
        assert loaded.uses.kind[:4].tolist() == [Kind.KERNEL] * 3 + [Kind.ANON]
        assert migrate(loaded.machine, [0]).reasons() == {"not movable": 1}


def test_loading_again_gives_the_same_memory(tmp_path):
    ready = prepare(recording_of(random_words(4096, seed=3, full=0.5, unmovable=0.1), tmp_path / "s"))
    tables = []
    for _ in range(2):
        with load_memory(ready) as loaded:
            tables.append(census(loaded.machine))
    assert np.array_equal(*tables)
    assert tables[0].sum() == 4096
    assert tables[0][:, STANDINGS.index("free")].sum() == (ready.uses.kind == Kind.FREE).sum()


def test_a_recordings_start_loads():
    recording = Recording.load(sample_path())
    with load_memory(recording) as loaded:
        loaded.machine.validate()
        free = int(census(loaded.machine)[:, STANDINGS.index("free")].sum())
        assert free == int((loaded.uses.kind == Kind.FREE).sum()) > 0


# ---- where it comes from ----


def test_sources_of_all_forms(tmp_path):
    words = words_of("aa.. ....")
    case = write_case(tmp_path / "case", words, words_of(".... .aa."), compact_passes=[])
    assert read_source(case).after is not None
    assert read_source(case / "before").blocks(2) == 1
    alone = tmp_path / "alone"
    write_snapshot(alone, words)
    (alone / "meta.json").write_text(json.dumps(meta_of(8)))
    assert read_source(alone).kernel(2) is None
    (tmp_path / "started").mkdir()
    write_snapshot(tmp_path / "started" / "start", words)
    (tmp_path / "started" / "meta.json").write_text(json.dumps(meta_of(8)))
    assert len(read_source(tmp_path / "started").recording.frame_flags) == 8
    assert read_source(sample_path()).name == sample_path().name


def test_bad_sources_are_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_source(tmp_path / "nowhere")
    with pytest.raises(RecordingError, match=r"no kpageflags\.u64"):
        read_source(tmp_path)
    case = write_case(tmp_path / "case", words_of("aa.. ...."), words_of("...."))
    with pytest.raises(RecordingError, match="after/ has 4 frames, before/ 8"):
        read_source(case)
    wrong = write_case(tmp_path / "wrong", words_of("aa.. ...."), compact_passes={"no": "list"})
    with pytest.raises(RecordingError, match="compact_passes"):
        read_source(wrong).kernel(9)
    other = write_case(tmp_path / "other", words_of("aa.. ...."), pageblock_order=10)
    with pytest.raises(RecordingError, match="pageblocks of order 10"):
        read_source(other)
    (case / "meta.json").write_text("[]")
    with pytest.raises(RecordingError, match="not a JSON object"):
        read_source(case)


def test_a_recording_without_frames_has_nothing_to_load(tmp_path):
    recording = recording_of("aa..", tmp_path / "s")
    empty = Recording(
        **{**vars(recording), "frame_flags": np.empty(0, np.uint32), "frame_mapcount": np.empty(0, np.uint16)}
    )
    with pytest.raises(RecordingError, match="no frame table"):
        load_memory(empty)
