"""The cost model: constants that are measured, kept and read again, and what they make of a strategy's work."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pymigrate import AddressSpace, Machine, MemoryOptions, PymigrateError
from pymigrate.cli import cli
from pymigrate.costs import Costs, Price, costs_text, load_costs, measure, price
from pymigrate.defrag.run import compact

COSTS = Costs(copy_ns=400, page_ns=300, scan_ns=2, flush_ns=5000, lock_ns=20)


def test_the_measured_constants_are_in_the_order_that_they_must_have() -> None:
    costs = measure(rounds=3)
    assert all(value > 0 for value in dataclasses.astuple(costs))
    # To look at a frame is less than to copy it.
    assert costs.scan_ns < costs.copy_ns


def test_a_strategys_work_is_priced_by_what_it_did() -> None:
    with Machine.from_size("64M", memory=MemoryOptions()) as machine:
        space = AddressSpace(machine)
        addr = space.map(10_000 * 4096, populate=True)
        for page in range(0, 10_000, 2):
            space.unmap(addr + page * 4096, 4096)
        result = compact(machine, "planner", blocks=3)
    paid = price(result, COSTS)
    assert result.moved > 0
    assert paid.copy_ns == 400 * result.moved
    assert paid.scan_ns == 2 * result.scanned
    assert paid.flush_ns == 5000 * result.flushes
    assert 0 < paid.stall_ns < paid.total_ns
    assert isinstance(paid, Price)


def test_what_calibrate_keeps_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(PymigrateError, match="calibrate"):
        load_costs()
    done = CliRunner().invoke(cli, ["calibrate", "--rounds", "1", "--figures"])
    assert done.exit_code == 0, done.output
    kept = load_costs()
    assert kept == load_costs(tmp_path / "pymigrate" / "costs.json")
    for name in ("copy", "page", "scan", "flush", "lock"):
        assert f"figure calibrate.{name} " in done.output
    done = CliRunner().invoke(cli, ["calibrate", "--rounds", "1", "-o", "-"])
    assert json.loads(done.stdout)["costs"].keys() == dataclasses.asdict(kept).keys()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "no JSON"),
        ("[]", "format"),
        ('{"format": "other", "costs": {}}', "format"),
        (costs_text(COSTS).replace("20", '"x"'), "lock_ns"),
        (costs_text(COSTS).replace("400", "-1"), "copy_ns"),
        (costs_text(COSTS).replace("400", "NaN"), "copy_ns"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "costs.json"
    file.write_text(text)
    with pytest.raises(PymigrateError, match=what) as caught:
        load_costs(file)
    assert str(file) in str(caught.value)
