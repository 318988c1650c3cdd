"""A file that a command writes is whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pymigrate.errors import PymigrateError
from pymigrate.report.files import OutputFile


def test_it_takes_its_place_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with OutputFile(str(path)) as file:
        assert path.read_bytes() == b"old"
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), OutputFile(str(path)):
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "real", tmp_path / "link"
    path.write_bytes(b"old")
    link.symlink_to(path)
    with OutputFile(str(link)) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"


def test_a_device_is_written_as_it_is() -> None:
    with OutputFile(os.devnull) as file:
        file.write(b"new")
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("name", ["gone/out", "."])
def test_what_cannot_be_written_is_said_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(PymigrateError, match="cannot write"), OutputFile(str(tmp_path / name)):
        pytest.fail("it was opened")
