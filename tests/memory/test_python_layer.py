"""The typed layer over address spaces, files, devices and swap: what it returns, and what it carries on by itself."""

from __future__ import annotations

import doctest
import importlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pymigrate import (
    AddressError,
    AddressSpace,
    BlockDevice,
    BusyError,
    DeviceError,
    File,
    Gfp,
    Machine,
    MemoryOptions,
    OutOfMemoryError,
    Owner,
    Prot,
    Settings,
    SwapError,
    ZoneKind,
)
from pymigrate.errors import ArgumentError

pytestmark = pytest.mark.asan
PAGE = 4096


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine.from_size("8M", cpus=2, memory=MemoryOptions()) as machine:
        yield machine
        machine.validate()


@pytest.mark.parametrize("name", ["memory", "space", "pins", "devices", "files", "owners", "errors"])
def test_examples_in_the_documentation(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"pymigrate.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("contents", ["private", "shared"])
@pytest.mark.parametrize("guard", ["epoch", "fence", "lock"])
@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_every_kind_of_machine_holds_bytes(contents: Any, guard: Any, clock: Any) -> None:
    options = MemoryOptions(contents=contents, guard=guard, clock=clock, tables_in_frames=True)
    with Machine.from_size("8M", memory=options) as machine:
        assert machine.memory == options
        disk = BlockDevice(machine, 64, write_ns=1000, read_ns=1000)
        machine.swap_on(16, disk)
        space = AddressSpace(machine)
        addr = space.map(2 * PAGE)
        space.write(addr + 100, b"bytes" * 1000)
        assert space.page_out(addr, 2 * PAGE) == 2
        assert space.read(addr + 100, 5000) == b"bytes" * 1000
        assert space.info().tables > 0
        machine.validate()


@pytest.mark.parametrize(
    "options", [{"contents": "some"}, {"guard": "none"}, {"clock": 5}, {"contents": None}, {"guard": ["epoch"]}]
)
def test_options_that_do_not_exist(options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="is one of"):
        MemoryOptions(**options)


def test_a_real_clock_goes_by_itself_and_a_virtual_one_when_told() -> None:
    with Machine.from_size("8M", memory=MemoryOptions(clock="real")) as machine:
        before = machine.clock_ns
        time.sleep(0.002)
        assert machine.clock_ns - before >= 2_000_000
        with pytest.raises(ArgumentError):
            machine.advance_clock(5)
    with Machine.from_size("8M", memory=MemoryOptions()) as machine:
        before = machine.clock_ns
        time.sleep(0.002)
        assert machine.clock_ns == before
        machine.advance_clock(7)
        assert machine.clock_ns == before + 7


def test_mappings_are_listed_as_they_were_made(machine: Machine) -> None:
    space = AddressSpace(machine)
    file = File(machine, size=4 * PAGE)
    base = 1 << 30
    space.map(4 * PAGE, addr=base, prot=Prot.READ)
    space.map(2 * PAGE, addr=base + 8 * PAGE, file=file, offset=PAGE, shared=True, locked=True)
    space.protect(base + PAGE, PAGE, Prot.NONE)
    areas = space.areas()
    assert [(a.start - base, a.end - base, a.prot) for a in areas] == [
        (0, PAGE, Prot.READ),
        (PAGE, 2 * PAGE, Prot.NONE),
        (2 * PAGE, 4 * PAGE, Prot.READ),
        (8 * PAGE, 10 * PAGE, Prot.READ | Prot.WRITE),
    ]
    last = areas[-1]
    assert (last.file, last.offset, last.shared, last.locked) == (file.handle, PAGE, True, True)
    assert areas[0].file is None
    assert (space.info().mapped, space.info().locked) == (6, 2)
    # More than fit at once.
    for i in range(60):
        space.map(PAGE, addr=base + (100 + 2 * i) * PAGE, prot=Prot.READ)
    assert len(space.areas()) == 64


def test_a_page_says_who_has_it(machine: Machine) -> None:
    space = AddressSpace(machine)
    addr = space.map(PAGE)
    assert space.lookup(addr).kind == "none"
    space.write(addr, b"x")
    pte = space.lookup(addr)
    assert (pte.kind, pte.writable, pte.dirty, pte.young, pte.exclusive) == ("present", True, True, True, True)
    children = [space.fork() for _ in range(40)]
    assert not space.lookup(addr).exclusive
    pfn = pte.pfn
    assert pfn is not None
    info = machine.page_info(pfn)
    assert (info.use, info.mapcount, info.references, info.pins) == ("anon", 41, 41, {})
    assert {"anon", "dirty", "lru", "uptodate"} <= info.flags
    rmap = machine.rmap(pfn)
    assert [entry.space for entry in rmap.entries] == [space.handle, *(child.handle for child in children)]
    assert {entry.addr for entry in rmap.entries} == {addr}
    assert rmap.visited >= 41
    with space.pin(addr, "short"), space.pin(addr, "short"), children[0].pin(addr, "long") as copy:
        assert machine.page_info(pfn).pins == {"short": 2}
        assert machine.page_info(copy.pfn).pins == {"long": 1}
    assert machine.rmap(0x7FF).entries == ()


def test_a_file_says_how_it_is(machine: Machine) -> None:
    disk = BlockDevice(machine, 64)
    file = File(machine, "common", device=disk, size=100, capacity=3 * PAGE)
    file.write(5000, b"far")
    info = file.info()
    assert (info.kind, info.size, info.capacity, info.device) == ("common", 5003, 3 * PAGE, disk.handle)
    assert (info.nr_dirty, info.areas) == (info.nr_pages, 0)
    assert info.nr_buffers == info.nr_pages > 0
    assert file.read(0, 1 << 40) == bytes(5000) + b"far"
    assert file.read(6000, 10) == b""
    frame = file.frame(4096)
    assert frame is not None
    assert machine.page_info(frame).object == file.handle
    file.sync()
    assert file.info().writeouts > 0
    assert file.drop() == 2
    assert file.frame(4096) is None
    with pytest.raises(ArgumentError, match="can grow to") as caught:
        file.write(3 * PAGE, b"x")
    assert caught.value.details["done"] == 0
    with pytest.raises(ArgumentError, match="can grow to"):
        file.truncate(4 * PAGE)
    with pytest.raises(DeviceError, match="no room") as full:
        File(machine, "common", device=disk, size=64 * PAGE)
    assert full.value.errno is not None
    assert file.touch(0, 2 * PAGE) == 5003
    assert File(machine).info().device is None


def test_failed_transfers_lose_nothing(machine: Machine) -> None:
    disk = BlockDevice(machine, 64)
    file = File(machine, "buffers", device=disk, size=2 * PAGE)
    file.write(0, b"precious")
    disk.fail("write", from_then_on=True)
    with pytest.raises(DeviceError):
        file.sync()
    assert file.info().nr_dirty == 1
    assert file.drop() == 0
    disk.fail("write", 0)
    file.sync()
    assert disk.peek(file.info().first_block)[:8] == b"precious"
    file.drop()
    disk.set_bad_blocks(file.info().first_block, 1)
    with pytest.raises(OSError, match="transfer failed"):
        file.read(0, 8)
    disk.set_bad_blocks(0, 0)
    assert file.read(0, 8) == b"precious"
    assert disk.info().errors >= 2
    assert machine.backing_counters().io_errors >= 2


def test_swap_from_on_to_off(machine: Machine) -> None:
    with pytest.raises(SwapError):
        machine.swap_off()
    disk = BlockDevice(machine, 64)
    with pytest.raises(DeviceError, match="no room"):
        machine.swap_on(65, disk)
    machine.swap_on(8, disk)
    with pytest.raises(BusyError, match="on already"):
        machine.swap_on(8)
    space = AddressSpace(machine)
    addr = space.map(12 * PAGE)
    space.fill(addr, 9, 12 * PAGE)
    assert space.page_out(addr, 12 * PAGE) == 8
    info = machine.swap_info()
    assert (info.on, info.nr_slots, info.nr_used, info.entries, info.device) == (True, 8, 8, 8, disk.handle)
    pte = next(p for p in (space.lookup(addr + i * PAGE) for i in range(12)) if p.kind == "swap")
    assert pte.swap_slot is not None
    slot = machine.swap_slot_info(pte.swap_slot)
    assert (slot.used, slot.entries, slot.cached) == (True, 1, False)
    machine.swap_off()
    assert (machine.swap_info().on, space.info().swapped) == (False, 0)
    assert space.read(addr, 12 * PAGE) == bytes([9]) * 12 * PAGE
    disk.close()


def test_reclaim_and_its_counters(machine: Machine) -> None:
    disk = BlockDevice(machine, 512)
    file = File(machine, "buffers", device=disk, size=100 * PAGE)
    file.read(0, 100 * PAGE)
    sizes = machine.lru_sizes(0)
    assert sizes.inactive_file + sizes.active_file == 100
    assert machine.reclaim(0, 30) >= 30
    assert machine.reclaim(0, 1000) + 30 >= 90
    assert machine.backing_counters().reclaimed_file >= 90
    assert machine.kswapd(0) == 0
    for bad in (1, 2**32):
        with pytest.raises(ArgumentError):
            machine.reclaim(bad, 1)


def test_a_mapping_that_cannot_be_faulted_in_says_where_it_is(machine: Machine) -> None:
    space = AddressSpace(machine)
    with pytest.raises(OutOfMemoryError) as caught:
        space.map(4000 * PAGE, populate=True)
    addr = caught.value.details["addr"]
    assert space.areas()[0].start == addr
    space.unmap(addr, 4000 * PAGE)
    assert space.areas() == ()
    with pytest.raises(OutOfMemoryError, match="no room"):
        space.map(1 << 44)


def test_an_allocation_that_is_made_to_fail(machine: Machine) -> None:
    space = AddressSpace(machine)
    addr = space.map(PAGE)
    machine.fail_allocations(1)
    with pytest.raises(OutOfMemoryError):
        space.write(addr, b"x")
    assert machine.fail_allocations(0) == 1
    space.write(addr, b"x")


def test_windows_are_arrays_too(machine: Machine) -> None:
    space = AddressSpace(machine)
    addr = space.map(PAGE)
    with space.window(addr + 100, write=True) as view:
        np.frombuffer(view, dtype=np.uint32)[:] = np.arange(1024)
    assert np.frombuffer(space.read(addr, PAGE), dtype=np.uint32).tolist() == list(range(1024))
    target = bytearray(8)
    assert space.read_into(addr + 4, target) == 8
    assert target == np.array([1, 2], dtype=np.uint32).tobytes()
    assert space.checksum(addr, 0) == 0xCBF29CE484222325


def test_owners_of_both_kinds(machine: Machine) -> None:
    slab, balloon = Owner(machine), Owner(machine, "movable-ops")
    block, page = slab.alloc(2), balloon.alloc()
    assert machine.page_info(slab.frame(block)).order == 2
    assert "movable_ops" in machine.page_info(balloon.frame(page)).flags
    with pytest.raises(AddressError):
        slab.move(block)
    before = balloon.frame(page)
    assert balloon.move(page, Gfp.KERNEL) != before
    assert machine.page_info(before).use == "none"
    frame = slab.frame(block)
    slab.close()
    assert machine.page_info(frame).use == "none"


def test_a_cpu_can_be_chosen(machine: Machine) -> None:
    """Also by threads that do not own it: the core counts them then."""
    space = AddressSpace(machine)
    addr = space.map(8 * PAGE)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with machine.on_cpu(1):
                for _ in range(50):
                    space.fill(addr + number * PAGE, number, PAGE)
                    assert space.read(addr + number * PAGE, PAGE) == bytes([number]) * PAGE
                    space.page_out(addr, 8 * PAGE)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for bad in (-1, 2):
        with pytest.raises(ArgumentError, match="cpu is"), machine.on_cpu(bad):
            pass


def test_a_call_that_came_back_for_signals_goes_on_by_itself() -> None:
    """More transfers than a call may wait for at once: the caller does not see that it took several calls."""
    with Machine.from_size("8M", memory=MemoryOptions()) as machine:
        disk = BlockDevice(machine, 1024, read_ns=1000, write_ns=1000)
        file = File(machine, "buffers", device=disk, size=64 * PAGE)
        data = bytes(range(256)) * 16 * 64
        file.write(0, data)
        file.sync()
        file.drop()
        space = AddressSpace(machine)
        addr = space.map(64 * PAGE, file=file, shared=True)
        assert space.read(addr, 64 * PAGE) == data
        assert machine.memory_counters().fault_file == 64
        space.unmap(addr, 64 * PAGE)
        file.drop()
        assert file.read(0, 64 * PAGE) == data
        file.drop()
        addr = space.map(64 * PAGE, file=file, populate=True, locked=True)
        assert space.info().present == 64
        file.truncate(PAGE)
        space.unmap(addr, 64 * PAGE)
        machine.swap_on(512, disk)
        addr = space.map(200 * PAGE)
        space.fill(addr, 5, 200 * PAGE)
        assert space.page_out(addr, 200 * PAGE) == 200
        assert space.checksum(addr, 200 * PAGE) == space.fork().checksum(addr, 200 * PAGE)
        assert space.page_out(addr, 200 * PAGE) >= 0
        machine.swap_off()
        space.mlock(addr, 200 * PAGE)
        machine.validate()


def test_transfers_longer_than_a_piece_are_whole() -> None:
    """Long transfers are cut, so that signals are heard; nobody sees the cuts."""
    n = (1 << 25) + 12345
    with Machine.from_size("80M", memory=MemoryOptions()) as machine:
        file = File(machine, "ram", size=0)
        data = np.arange(n // 4 + 1, dtype=np.uint32).tobytes()[:n]
        file.write(7, data)
        assert file.info().size == n + 7
        assert file.read(0, n + 100) == bytes(7) + data
        assert file.touch(7, 2 * n) == n
        space = AddressSpace(machine)
        addr = space.map(9000 * PAGE, file=file)
        assert space.read(addr + 7, n) == data


def test_memory_that_ran_short_is_waited_for() -> None:
    """More than there is, by way of swap on a device that takes its time."""
    with Machine([(ZoneKind.NORMAL, 0, 256)], settings=Settings(min_free_kbytes=64), memory=MemoryOptions()) as machine:
        machine.swap_on(1000, BlockDevice(machine, 1000, read_ns=10_000, write_ns=10_000))
        space = AddressSpace(machine)
        addr = space.map(600 * PAGE)
        for i in range(600):
            space.write(addr + i * PAGE, i.to_bytes(4, "little"))
        assert all(space.read(addr + i * PAGE, 4) == i.to_bytes(4, "little") for i in range(600))
        assert machine.memory_counters().reclaim_calls > 0
        assert machine.swap_info().outs >= 344
        machine.validate()
