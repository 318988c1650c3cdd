"""The examples in the documents are programs: each Python block runs, and what documents link to is there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pymigrate.recording import Recording, sample_path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    broken = [link for link in LINK.findall(document.read_text("utf-8")) if not (document.parent / link).exists()]
    assert not broken


def test_a_recording_is_read_with_numpy_alone_as_the_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(sample_path(), "rec.npz")
    (block,) = BLOCK.findall((ROOT / "docs" / "RECORDING_FORMAT.md").read_text("utf-8"))
    names: dict[str, Any] = {}
    exec(compile(block, "RECORDING_FORMAT.md", "exec"), names)
    events = Recording.load("rec.npz").events
    for column in ("time_ns", "pfn", "gfp"):
        assert (names[column] == getattr(events, column)).all()


def test_the_readmes_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    assert len(blocks) >= 2
    for block in blocks:
        names: dict[str, object] = {}
        exec(compile(block, "README.md", "exec"), names)
        assert "result" in names or "machine" in names


def test_the_example_on_ranges_runs() -> None:
    (block,) = BLOCK.findall((ROOT / "docs" / "RANGES.md").read_text("utf-8"))
    names: dict[str, Any] = {}
    exec(compile(block, "RANGES.md", "exec"), names)
    assert names["piece"].ok
    assert names["gone"].ok
