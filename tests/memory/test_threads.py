"""Two to eight threads: each one's own memory is exact, and so is what they share, whatever happens beside them."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pymigrate import AddressSpace, BlockDevice, File, Machine, MemoryOptions, OutOfMemoryError, Settings, ZoneKind

pytestmark = pytest.mark.asan
PAGE = 4096
RELEASE = os.environ.get("PYMIGRATE_TEST_FLAVOUR", "release") == "release"
ROUNDS = 300 if RELEASE else 40


class Team:
    """Threads that begin together; the first error of any of them is the test's."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.stop = threading.Event()
        self._workers: list[threading.Thread] = []
        self._helpers: list[threading.Thread] = []

    def _run(self, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            call(*args)
        except BaseException as error:
            self.errors.append(error)
            self.stop.set()

    def add(self, call: Callable[..., Any], *args: Any) -> None:
        self._workers.append(threading.Thread(target=self._run, args=(call, args), daemon=True))

    def beside(self, call: Callable[[], Any]) -> None:
        """Does something again and again until the workers are done."""

        def repeat() -> None:
            while not self.stop.wait(0.0005):
                call()

        self._helpers.append(threading.Thread(target=self._run, args=(repeat, ()), daemon=True))

    def go(self) -> None:
        for thread in self._workers + self._helpers:
            thread.start()
        for thread in self._workers:
            thread.join(120)
            assert not thread.is_alive() or self.errors, "a worker hangs"
        self.stop.set()
        for thread in self._helpers:
            thread.join(120)
            assert not thread.is_alive(), "a helper hangs"
        if self.errors:
            raise self.errors[0]


def small_machine(frames: int, cpus: int, guard: Any = "epoch") -> tuple[Machine, BlockDevice]:
    """A machine with swap, and a disk; memory is short."""
    machine = Machine(
        [(ZoneKind.NORMAL, 0, frames)],
        cpus=cpus,
        settings=Settings(min_free_kbytes=128),
        memory=MemoryOptions(guard=guard, tables_in_frames=True),
    )
    machine.swap_on(4000, BlockDevice(machine, 4000, read_ns=1000, write_ns=1000, depth=4))
    return machine, BlockDevice(machine, 2000, read_ns=1000, write_ns=1000)


def check_end(machine: Machine) -> None:
    """Everything was closed: nothing may be left."""
    machine.advance_clock(10**12)
    machine.validate()
    info = machine.swap_info()
    assert (info.nr_used, info.entries) == (0, 0)
    machine.swap_off()
    machine.drain()
    zone = machine.zones[0]
    assert zone.nr_free == zone.managed
    machine.close()


@pytest.mark.parametrize(("threads", "cpus"), [(2, 2), (4, 2), (4, 1), (8, 8)])
@pytest.mark.parametrize("guard", ["epoch", "fence", "lock"])
def test_each_thread_sees_its_own_memory_exactly(threads: int, cpus: int, guard: str) -> None:
    """In spaces of their own and in areas of one space, with reclaim, forks and swap beside them."""
    machine, _ = small_machine(512, cpus, guard)
    common = AddressSpace(machine)
    common_addr = common.map(threads * 8 * PAGE)
    team = Team()

    def work(number: int) -> None:
        draw = random.Random(number)
        own = AddressSpace(machine)
        addr = own.map(24 * PAGE)
        here = common_addr + number * 8 * PAGE
        wanted, wanted_here = bytearray(24 * PAGE), bytearray(8 * PAGE)
        for _ in range(ROUNDS):
            at, n = draw.randrange(23 * PAGE), draw.randrange(1, PAGE)
            data = draw.randbytes(n)
            own.write(addr + at, data)
            wanted[at : at + n] = data
            at, n = draw.randrange(7 * PAGE), draw.randrange(1, PAGE)
            data = draw.randbytes(n)
            common.write(here + at, data)
            wanted_here[at : at + n] = data
            if draw.random() < 0.2:
                child = own.fork()
                own.write(addr, b"parent's own")
                wanted[:12] = b"parent's own"
                child.write(addr + 100, b"child")
                got = child.read(addr + 12, 24 * PAGE - 12)
                assert got[:88] == wanted[12:100]
                assert got[93:] == wanted[105:]
                child.exit()
            if draw.random() < 0.3:
                own.page_out(addr, 24 * PAGE)
            assert own.read(addr, 24 * PAGE) == wanted
            assert common.read(here, 8 * PAGE) == wanted_here
        own.exit()

    for number in range(threads):
        team.add(work, number)
    team.beside(lambda: machine.reclaim(0, 32))
    team.beside(lambda: common.fork().exit())
    team.go()
    common.exit()
    check_end(machine)


def test_threads_share_a_file_and_shared_memory() -> None:
    """Each has a stripe of every page; pages are written out, dropped, and read again beside them."""
    machine, disk = small_machine(512, 4)
    file = File(machine, "buffers", device=disk, size=16 * PAGE)
    parent = AddressSpace(machine)
    anon = parent.map(16 * PAGE, shared=True)
    team = Team()

    def work(number: int) -> None:
        draw = random.Random(number)
        space = parent.fork()
        mapped = space.map(16 * PAGE, file=file, shared=True)
        stripe, width = number * 512, 512
        last = dict.fromkeys(range(16), bytes(width))
        for _ in range(ROUNDS):
            page = draw.randrange(16)
            data = draw.randbytes(width)
            space.write(anon + page * PAGE + stripe, data)
            if draw.random() < 0.5:
                space.write(mapped + page * PAGE + stripe, data)
            else:
                file.write(page * PAGE + stripe, data)
            last[page] = data
            page = draw.randrange(16)
            assert file.read(page * PAGE + stripe, width) == last[page]
            assert space.read(mapped + page * PAGE + stripe, width) == last[page]
            assert space.read(anon + page * PAGE + stripe, width) == last[page]
        space.exit()

    for number in range(8):
        team.add(work, number)
    team.beside(file.sync)
    team.beside(file.drop)
    team.beside(lambda: machine.reclaim(0, 8))
    team.go()
    assert file.read(0, 16 * PAGE) == parent.read(anon, 16 * PAGE)
    parent.exit()
    file.close()
    check_end(machine)


def test_threads_pin_map_and_unmap_one_space() -> None:
    """What one thread has pinned or looks at through a window stays, while others change everything around it."""
    machine, _ = small_machine(400, 3)
    space = AddressSpace(machine)
    team = Team()

    def work(number: int) -> None:
        draw = random.Random(number)
        for _ in range(ROUNDS):
            pages = draw.randrange(1, 12)
            addr = space.map(pages * PAGE)
            space.fill(addr, number + 1, pages * PAGE)
            with space.window(addr, write=True) as view, space.pin(addr, "long") as pin:
                assert space.lookup(addr).pfn == pin.pfn
                space.page_out(addr, pages * PAGE)
                view[:4] = b"seen"
                assert space.read(addr, 4) == b"seen"
                moved = space.remap(addr, pages * PAGE, (pages + 1) * PAGE)
                assert space.lookup(moved).pfn == pin.pfn
                if draw.random() < 0.3:
                    space.unmap(moved, (pages + 1) * PAGE)
                    assert bytes(view[:5]) == b"seen" + bytes([number + 1])
                    continue
            assert space.read(moved + 4, pages * PAGE - 4) == bytes([number + 1]) * (pages * PAGE - 4)
            space.unmap(moved, (pages + 1) * PAGE)

    for number in range(5):
        team.add(work, number)
    team.beside(lambda: space.fork().exit())
    team.beside(lambda: machine.reclaim(0, 16))
    team.go()
    assert space.areas() == ()
    space.exit()
    check_end(machine)


def test_too_little_memory_is_an_error_for_whom_it_hits_and_no_more() -> None:
    """Without swap, four threads want more than there is; who gets an error finds the rest as it was."""
    machine = Machine([(ZoneKind.NORMAL, 0, 300)], cpus=4, memory=MemoryOptions())
    team = Team()
    failed: list[int] = []

    full = threading.Barrier(4, timeout=100)

    def work(number: int) -> None:
        space = AddressSpace(machine)
        addr = space.map(200 * PAGE)
        written = 0
        try:
            while written < 200 * PAGE:
                space.fill(addr + written, number + 1, 5 * PAGE)
                written += 5 * PAGE
        except OutOfMemoryError as error:
            failed.append(number)
            written += error.details["done"]
        assert space.read(addr, written) == bytes([number + 1]) * written
        # All keep what they have until nobody goes on.
        full.wait()
        space.exit()

    for number in range(4):
        team.add(work, number)
    team.go()
    assert failed
    with AddressSpace(machine) as space:
        space.fill(space.map(200 * PAGE), 1, 200 * PAGE)
    machine.drain()
    machine.validate()
    zone = machine.zones[0]
    assert zone.nr_free == zone.managed
    machine.close()
