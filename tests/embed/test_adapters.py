"""Adapters to other simulators in Python: what waits waits as long as it should, and plans do what they say."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymigrate import AddressError, AddressSpace, Machine, MemoryOptions
from pymigrate.adapters.token_blocks import TokenBlocks

simpy = pytest.importorskip("simpy")
from pymigrate.adapters.simpy_memory import Access, Costs, Moved, SimulatedMemory  # noqa: E402

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COSTS = Costs(hit_ns=10, touch_ns=1000, copy_ns=400, entry_ns=50, flush_ns=2000)


@pytest.fixture
def machine() -> Generator[Machine, None, None]:
    with Machine.from_size("64M", memory=MemoryOptions(contents="none")) as machine:
        yield machine


def test_translate_and_tick_from_python(machine: Machine) -> None:
    space = AddressSpace(machine)
    first = space.translate(1 << 21, write=True)
    assert (first.kind, first.order) == ("touch", 9)
    assert space.translate((1 << 21) + 4096).pfn == first.pfn + 1
    assert space.translate(1 << 30, huge=False).order == 0
    with pytest.raises(AddressError):
        space.translate(1 << 41, mapped=True)
    with pytest.raises(AddressError):
        space.translate(1 << 44)
    before = machine.clock_ns
    machine.tick(1_500_000_000)
    assert machine.clock_ns == before + 1_500_000_000
    with pytest.raises(ValueError, match=r"tick|range"):
        machine.tick(-1)


def test_an_access_waits_for_a_page_that_moves_and_for_no_other(machine: Machine) -> None:
    env = simpy.Environment()
    memory = SimulatedMemory(env, machine, costs=COSTS)
    space = AddressSpace(machine)
    frames = [space.translate(page * 4096, huge=False).pfn for page in range(4)]
    seen: dict[str, Access] = {}

    def reader(name: str, page: int, at: int) -> Generator[Any, Any, None]:
        yield env.timeout(at)
        seen[name] = yield from memory.access(space, page * 4096)

    move = env.process(memory.migrate(frames[:2]))
    env.process(reader("moving", 1, 1000))
    env.process(reader("staying", 3, 1000))
    env.process(reader("late", 0, 4000))
    assert env.run(move) == Moved(2, 2, 2000 + 2 * 50 + 2 * 400)
    assert space.translate(4096).pfn != frames[1]
    env.run()
    assert seen["moving"] == Access("hit", 1900 + 10, 1900)
    assert seen["staying"] == Access("hit", 10, 0)
    assert seen["late"] == Access("hit", 10, 0)


def test_batches_leave_time_for_others(machine: Machine) -> None:
    env = simpy.Environment()
    memory = SimulatedMemory(env, machine, costs=COSTS)
    space = AddressSpace(machine)
    frames = [space.translate(page * 4096, huge=False).pfn for page in range(10)]
    moved = env.run(env.process(memory.migrate(frames, batch=4, pause_ns=100)))
    assert moved == Moved(10, 10, 3 * 2000 + 10 * 450 + 2 * 100)


def test_background_work_happens_in_simulated_time(machine: Machine) -> None:
    env = simpy.Environment()
    memory = SimulatedMemory(env, machine, costs=COSTS)
    env.process(memory.background(every_ns=1_000_000))
    env.run(until=3_500_000)
    assert machine.clock_ns == 3_000_000


# ---- token blocks ----


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 400)), min_size=1, max_size=60), st.integers(3, 7))
def test_token_blocks_are_shared_by_nobody_and_plans_empty_what_they_say(
    steps: list[tuple[int, int]], order: int
) -> None:
    with TokenBlocks(1000, tokens_per_block=16) as cache:
        tokens: dict[int, int] = {}
        for sequence, n in steps:
            if n % 5 == 0 and sequence in tokens:
                cache.end(sequence)
                del tokens[sequence]
            else:
                cache.append(sequence, n)
                tokens[sequence] = tokens.get(sequence, 0) + n
        tables = {sequence: cache.table(sequence) for sequence in tokens}
        assert {s: len(t) for s, t in tables.items()} == {s: -(-n // 16) for s, n in tokens.items()}
        used = np.concatenate([*tables.values(), np.zeros(0, np.uint64)])
        assert len(np.unique(used)) == len(used) == 1000 - cache.free_blocks
        plan = cache.plan(order)
        if plan is None:
            # What is left is in the last piece, which is cut.
            assert (used >= 1000 >> order << order).all()
            return
        piece = set(range(plan.start, plan.start + (1 << order)))
        assert set(plan.sources.tolist()) == piece & set(used.astype(int).tolist())
        assert cache.compact(plan) == len(plan.sources)
        after = np.concatenate([cache.table(sequence) for sequence in tokens])
        assert not piece & set(after.astype(int).tolist())
        assert len(np.unique(after)) == len(used)
        cache.machine.validate()


def test_a_pool_that_is_empty_says_so_and_takes_nothing_halfway() -> None:
    with TokenBlocks(64, tokens_per_block=1) as cache:
        cache.append("a", 60)
        with pytest.raises(MemoryError):
            cache.append("b", 5)
        with pytest.raises(MemoryError):
            cache.append("a", 5)
        assert len(cache.table("a")) == 60
        assert cache.free_blocks == 4
        for nobody in ("b", "c"):
            with pytest.raises(KeyError):
                cache.table(nobody)
            with pytest.raises(KeyError):
                cache.end(nobody)
        with pytest.raises(ValueError, match="tokens is -1"):
            cache.append("a", -1)
        with pytest.raises(ValueError, match=r"order is 0\.\.10, not 11"):
            cache.fragmentation(11)


# ---- the examples ----


def test_the_kv_cache_example(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "kv_cache.py"))["main"](requests=400)
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 6
    assert "blocks moved" in out[4]


def test_the_service_example_is_slower_while_its_memory_is_compacted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    runpy.run_path(str(EXAMPLES / "service.py"))["main"](str(tmp_path / "service.png"))
    lines = capsys.readouterr().out.splitlines()
    p99 = {line.split()[0]: float(line.split("p99")[1].split()[0]) for line in lines}
    assert p99["compaction"] > 5 * p99["before"]
    assert p99["after"] == p99["before"]
    assert (tmp_path / "service.png").read_bytes().startswith(b"\x89PNG")
    assert "matplotlib" in sys.modules
