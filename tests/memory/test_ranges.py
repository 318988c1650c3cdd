"""Ranges from Python: what is taken is in one piece, what fails is named and undone, Ctrl-C and `cancel` are heard."""

from __future__ import annotations

import contextlib
import signal
import threading
import time

import pytest

from pymigrate import AddressSpace, FrameState, Machine, MemoryOptions, Owner, Zone, ZoneKind, ranges
from pymigrate.errors import ArgumentError, FrameError, HandleError, OutOfMemoryError, StateError
from pymigrate.ranges import Range, RangeError

pytestmark = pytest.mark.asan

PAGE = 4096
BLOCK = 512


@pytest.fixture
def machine() -> Machine:
    return Machine.from_size("64M", memory=MemoryOptions())


@pytest.fixture
def filled(machine: Machine) -> tuple[Machine, AddressSpace, int]:
    """Two thirds of memory with a number in each page."""
    space = AddressSpace(machine)
    addr = space.map(10_000 * PAGE)
    for page in range(10_000):
        space.write(addr + page * PAGE, page.to_bytes(4, "little"))
    return machine, space, addr


def check(filled: tuple[Machine, AddressSpace, int]) -> None:
    machine, space, addr = filled
    assert all(space.read(addr + page * PAGE, 4) == page.to_bytes(4, "little") for page in range(10_000))
    machine.validate()


def test_what_is_taken_is_in_one_piece_and_nobody_elses(filled: tuple[Machine, AddressSpace, int]) -> None:
    machine = filled[0]
    taken = ranges.take(machine, 4000)
    assert taken.ok
    assert taken.nr == 4000
    assert taken.moved > 0
    assert taken.start % 32 == 0
    states = machine.frame_states(taken.start, taken.nr) & 7
    assert set(states.tolist()) == {FrameState.USED}
    check(filled)
    ranges.free(machine, taken.start, taken.nr)
    with pytest.raises(FrameError):
        ranges.free(machine, taken.start, taken.nr)
    check(filled)


def test_a_given_range_is_that_range(filled: tuple[Machine, AddressSpace, int]) -> None:
    machine = filled[0]
    taken = ranges.take(machine, 777, within=(5000, 5777))
    assert taken.ok
    assert (taken.start, taken.nr) == (5000, 777)
    check(filled)


def test_a_failure_says_who_is_in_the_way_and_leaves_no_trace(filled: tuple[Machine, AddressSpace, int]) -> None:
    machine, space, addr = filled
    block = Owner(machine, "unmovable").alloc(3)
    pinned = [space.pin(addr + page * PAGE, "long") for page in (100, 7000)]
    machine.drain()
    before = machine.frame_states().copy(), machine.free_blocks()
    whole = ranges.take(machine, machine.nr_frames - 6144, within=(6144, machine.nr_frames))
    assert not whole.ok
    assert whole.moved == whole.put_back
    in_the_way = {int(row["pfn"]) for row in whole.obstacles}
    assert {pin.pfn for pin in pinned if pin.pfn >= 6144} <= in_the_way
    assert sum(whole.reasons().values()) == int(whole.obstacles["nr"].sum())
    assert (machine.frame_states() == before[0]).all()
    assert (machine.free_blocks() == before[1]).all()
    del block
    check(filled)


def test_nothing_is_allocated_while_a_range_is_isolated(machine: Machine) -> None:
    with ranges.isolate(machine, 8 * BLOCK, 16 * BLOCK):
        pfns: list[int] = []
        with contextlib.suppress(OutOfMemoryError):
            while True:
                pfns.append(machine.alloc())
        assert not any(8 * BLOCK <= pfn < 16 * BLOCK for pfn in pfns)
        with pytest.raises(RangeError) as caught:
            ranges.isolate(machine, 8 * BLOCK, 24 * BLOCK, tries=1)
        assert not caught.value.result.ok
    assert all(zone.nr_isolated == 0 for zone in machine.zones)
    pfns.append(machine.alloc())
    for pfn in pfns:
        machine.free(pfn)
    machine.validate()


def test_a_zone_goes_offline_and_comes_back() -> None:
    zones = [Zone(ZoneKind.NORMAL, 0, 32 * BLOCK), Zone(ZoneKind.MOVABLE, 32 * BLOCK, 16 * BLOCK)]
    machine = Machine(zones, memory=MemoryOptions())
    space = AddressSpace(machine)
    addr = space.map(10_000 * PAGE)
    for page in range(10_000):
        space.write(addr + page * PAGE, page.to_bytes(4, "little"))
    start, end = 32 * BLOCK, 48 * BLOCK
    before = machine.zones
    gone = ranges.offline(machine, start, end)
    assert gone.ok
    assert gone.moved > 0
    assert machine.zones[1].managed == machine.zones[1].present == 0
    assert set((machine.frame_states(start, end - start) & 7).tolist()) == {FrameState.OFFLINE}
    assert machine.zones[0].lowmem_reserve[ZoneKind.MOVABLE] < before[0].lowmem_reserve[ZoneKind.MOVABLE]
    check((machine, space, addr))
    with pytest.raises(FrameError):
        ranges.take(machine, 10, within=(start, start + 10))
    with pytest.raises(StateError, match="not offline"):
        ranges.online(machine, 12 * BLOCK, 13 * BLOCK)
    ranges.online(machine, start, end)
    after = machine.zones
    assert [(zone.managed, zone.present, zone.wmark) for zone in after] == [
        (zone.managed, zone.present, zone.wmark) for zone in before
    ]
    check((machine, space, addr))
    machine.close()


def test_another_thread_cancels(filled: tuple[Machine, AddressSpace, int]) -> None:
    machine, space, addr = filled
    pin = space.pin(addr, "long")
    start = pin.pfn // BLOCK * BLOCK
    with Range(machine, "offline", start, start + BLOCK) as work:
        timer = threading.Timer(0.05, work.cancel)
        timer.start()
        result = work.run()
        timer.join()
        assert not result.ok
        assert result.text == "cancelled"
        assert result.moved == result.put_back
        assert work.state == "failed"
        with pytest.raises(StateError):
            work.run()
    with pytest.raises(HandleError):
        work.cancel()
    pin.unpin()
    assert ranges.offline(machine, start, start + BLOCK).ok
    check(filled)


def test_ctrl_c_is_heard_and_everything_is_undone(filled: tuple[Machine, AddressSpace, int]) -> None:
    machine, space, addr = filled
    pin = space.pin(addr, "long")
    start = pin.pfn // BLOCK * BLOCK

    def interrupt() -> None:
        while not any(zone.nr_isolated for zone in machine.zones):
            time.sleep(0.001)
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        ranges.offline(machine, start, start + BLOCK)
    thread.join()
    assert all(zone.nr_isolated == 0 for zone in machine.zones)
    pin.unpin()
    check(filled)


def test_bad_arguments_name_what_is_wrong(machine: Machine) -> None:
    with pytest.raises(ArgumentError):
        Range(machine, "take", 0)
    with pytest.raises(ArgumentError):
        Range(machine, "take", 5, -1)
    with pytest.raises(ArgumentError, match="kind"):
        Range(machine, "away", 0, 512)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="align=3"):
        ranges.take(machine, 100, align=3)
    with pytest.raises(ArgumentError):
        ranges.offline(machine, 4096, 4196)
    with pytest.raises(FrameError):
        ranges.offline(machine, 0, machine.nr_frames * 2)
    with pytest.raises(StateError), Machine.from_size("64M") as bare:
        ranges.take(bare, 1)
