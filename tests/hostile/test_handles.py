"""A hostile caller: ends things twice, keeps what is gone, passes what it likes. It gets exceptions; nothing breaks."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from pymigrate import (
    AddressError,
    AddressSpace,
    BlockDevice,
    BusyError,
    ClosedError,
    File,
    FrameError,
    HandleError,
    Machine,
    MemoryOptions,
    Owner,
    Pin,
    Prot,
    PymigrateError,
    StateError,
)
from pymigrate._core import ffi, lib
from pymigrate.errors import ArgumentError

pytestmark = pytest.mark.asan
PAGE = 4096


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine.from_size("8M", cpus=2, memory=MemoryOptions()) as machine:
        yield machine
        if not machine.closed:
            machine.validate()


# ---- ends twice, keeps handles ----


def test_what_ended_is_known_as_such_whatever_has_its_place_now(machine: Machine) -> None:
    old = AddressSpace(machine)
    addr = old.map(PAGE)
    old.exit()
    new = AddressSpace(machine)
    assert new.map(PAGE) == addr
    calls: list[Callable[[], Any]] = [
        old.exit,
        old.fork,
        old.areas,
        old.info,
        lambda: old.map(PAGE),
        lambda: old.unmap(addr, PAGE),
        lambda: old.protect(addr, PAGE, Prot.READ),
        lambda: old.remap(addr, PAGE, 2 * PAGE),
        lambda: old.mlock(addr, PAGE),
        lambda: old.munlock(addr, PAGE),
        lambda: old.read(addr, 1),
        lambda: old.write(addr, b"x"),
        lambda: old.fill(addr, 1, 1),
        lambda: old.checksum(addr, 1),
        lambda: old.touch(addr, 1),
        lambda: old.lookup(addr),
        lambda: old.pin(addr),
        lambda: old.window(addr),
        lambda: old.page_out(addr, PAGE),
    ]
    for call in calls:
        with pytest.raises(HandleError):
            call()
    old.close()
    assert new.read(addr, 1) == b"\0"


def test_every_other_object_ends_once(machine: Machine) -> None:
    disk = BlockDevice(machine, 64)
    file = File(machine, "buffers", device=disk, size=PAGE)
    owner = Owner(machine)
    with pytest.raises(BusyError, match="file or swap"):
        disk.close()
    for thing in (file, owner, disk):
        thing.close()
        thing.close()
    calls: list[Callable[[], Any]] = [
        disk.info,
        disk.release,
        lambda: disk.fail("read"),
        lambda: disk.stick("read"),
        lambda: disk.peek(0),
        lambda: disk.set_bad_blocks(0, 1),
        file.info,
        file.sync,
        file.drop,
        lambda: file.frame(0),
        lambda: file.read(0, 1),
        lambda: file.write(0, b"x"),
        lambda: file.truncate(0),
        owner.alloc,
        lambda: owner.free(0),
        lambda: owner.move(0),
        lambda: owner.frame(0),
        lambda: File(machine, "buffers", device=disk, size=PAGE),
        lambda: machine.swap_on(4, disk),
        lambda: AddressSpace(machine).map(PAGE, file=file),
    ]
    for call in calls:
        with pytest.raises(HandleError):
            call()


def test_a_pin_is_given_back_once(machine: Machine) -> None:
    space = AddressSpace(machine)
    addr = space.map(PAGE)
    pin = space.pin(addr, "long", write=True)
    pin.unpin()
    for _ in range(2):
        with pytest.raises(HandleError):
            pin.unpin()
    second = space.pin(addr, "long")
    with pytest.raises(HandleError):
        pin.unpin()
    assert machine.page_info(second.pfn).pins == {"long": 1}
    never = Pin(machine, second.handle ^ 1 << 30, second.pfn, "long", True)
    with pytest.raises(HandleError):
        never.unpin()
    with second:
        second.unpin()
    assert machine.page_info(second.pfn).pins == {}


def test_a_pin_outlives_its_space(machine: Machine) -> None:
    with AddressSpace(machine) as space:
        addr = space.map(PAGE)
        pin = space.pin(addr, "direct-io", write=True)
    info = machine.page_info(pin.pfn)
    assert (info.mapcount, info.pins) == (0, {"direct-io": 1})
    machine.validate()
    pin.unpin()
    assert machine.page_info(pin.pfn).use == "none"


def test_a_transfer_is_waited_for_once(machine: Machine) -> None:
    file = File(machine, "buffers", device=BlockDevice(machine, 64), size=PAGE)
    space = AddressSpace(machine)
    pin = space.pin(space.map(PAGE), "direct-io", write=True)
    transfer = file.direct_read(pin, 0)
    pin.unpin()
    transfer.wait()
    with pytest.raises(HandleError):
        transfer.wait()


def test_one_kind_of_handle_is_not_another(machine: Machine) -> None:
    """The core checks: Python could not tell two numbers apart."""
    handle = machine.handle
    space = AddressSpace(machine)
    addr = space.map(PAGE)
    pin = space.pin(addr)
    owner, disk = Owner(machine), BlockDevice(machine, 8)
    out, size = ffi.new("uint64_t *"), ffi.new("size_t *")
    for number in (0, 1, 2**64 - 1, pin.handle, owner.handle, disk.handle, space.handle + 1, space.handle + (1 << 24)):
        assert lib.pm_space_fork(handle, 0, number, out) == lib.PM_ERR_HANDLE
        assert lib.pm_read(handle, 0, number, addr, ffi.new("char[]", 1), 1, size) == lib.PM_ERR_HANDLE
    for number in (0, 1, 2**64 - 1, space.handle, owner.handle, disk.handle):
        assert lib.pm_unpin(handle, 0, number) == lib.PM_ERR_HANDLE
        assert lib.pm_direct_wait(handle, 0, number) == lib.PM_ERR_HANDLE
        assert lib.pm_file_close(handle, 0, number) == lib.PM_ERR_HANDLE
    pin.unpin()


def test_things_of_another_machine_are_refused(machine: Machine) -> None:
    """Their handles may well be good numbers here."""
    with Machine.from_size("8M", memory=MemoryOptions()) as other:
        theirs, ours = BlockDevice(other, 64), BlockDevice(machine, 64)
        file = File(other, "buffers", device=theirs, size=PAGE)
        our_file = File(machine, "buffers", device=ours, size=PAGE)
        assert (theirs.handle, file.handle) == (ours.handle, our_file.handle)
        space, our_space = AddressSpace(other), AddressSpace(machine)
        pin = space.pin(space.map(PAGE), "direct-io", write=True)
        calls: list[Callable[[], Any]] = [
            lambda: machine.swap_on(4, theirs),
            lambda: File(machine, "buffers", device=theirs, size=PAGE),
            lambda: our_space.map(PAGE, file=file),
            lambda: our_file.direct_read(pin, 0),
        ]
        for call in calls:
            with pytest.raises(ArgumentError, match="another machine"):
                call()


@pytest.mark.parametrize("bad", [None, "x", 1.5, [], object(), b""])
def test_none_and_other_nonsense(machine: Machine, bad: Any) -> None:
    space = AddressSpace(machine)
    addr = space.map(2 * PAGE)
    file, disk = File(machine, size=PAGE), BlockDevice(machine, 8)
    pin = space.pin(addr, "direct-io", write=True)
    calls: list[Callable[[], Any]] = [
        lambda: AddressSpace(bad),
        lambda: File(bad),
        lambda: BlockDevice(bad, 1),
        lambda: Owner(bad),
        lambda: BlockDevice(machine, bad),
        lambda: File(machine, bad),
        lambda: File(machine, size=bad),
        lambda: space.map(bad),
        lambda: space.map(PAGE, prot=bad),
        lambda: space.unmap(bad, PAGE),
        lambda: space.read(bad, 1),
        lambda: space.read(addr, bad),
        lambda: space.fill(addr, bad, 1),
        lambda: space.pin(addr, bad),
        lambda: space.pin(bad),
        lambda: space.window(bad),
        lambda: space.lookup(bad),
        lambda: file.read(bad, 1),
        lambda: file.direct_read(bad, 0),
        lambda: file.direct_read(pin, bad),
        lambda: file.truncate(bad),
        lambda: disk.fail(bad),
        lambda: disk.stick("read", bad),
        lambda: machine.rmap(bad),
        lambda: machine.page_info(bad),
        lambda: machine.reclaim(0, bad),
        lambda: machine.swap_on(bad),
        lambda: machine.advance_clock(bad),
        lambda: machine.fail_allocations(bad),
        lambda: machine.on_cpu(bad).__enter__(),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError)):
            call()
    if bad != b"":
        with pytest.raises(TypeError):
            space.write(addr, bad)
    if bad is not None:
        with pytest.raises(TypeError):
            space.map(PAGE, file=bad)
        with pytest.raises((TypeError, ValueError)):
            machine.swap_on(4, bad)
    pin.unpin()


@pytest.mark.parametrize("number", [-1, 1 << 44, (1 << 44) + 1, (1 << 64) - 1, 1 << 64, 1 << 100, 1, PAGE + 1])
def test_addresses_and_lengths_from_anywhere(machine: Machine, number: int) -> None:
    space = AddressSpace(machine)
    addr = space.map(PAGE)
    for call in (
        lambda: space.read(number, 1),
        lambda: space.write(number, b"x"),
        lambda: space.fill(number, 0, 1),
        lambda: space.checksum(number, 1),
        lambda: space.touch(number, 1),
        lambda: space.lookup(number),
        lambda: space.pin(number),
        lambda: space.window(number),
        lambda: space.protect(number, PAGE, Prot.READ),
        lambda: space.mlock(number, PAGE),
        lambda: space.remap(number, PAGE, 2 * PAGE),
    ):
        with pytest.raises((AddressError, ArgumentError)):
            call()
    if number not in (1, PAGE + 1):
        for call in (
            lambda: space.read(addr, number),
            lambda: space.fill(addr, 0, number),
            lambda: space.checksum(addr, number),
            lambda: space.touch(addr, number),
            lambda: space.unmap(addr, number),
        ):
            with pytest.raises((AddressError, ArgumentError)):
                call()
    for call in (
        lambda: space.map(number),
        lambda: space.unmap(number, PAGE),
        lambda: space.remap(addr, PAGE, number),
        lambda: space.map(PAGE, addr=number),
    ):
        with pytest.raises((ArgumentError, MemoryError)):
            call()
    assert len(space.areas()) == 1


def test_a_read_of_more_than_there_is_takes_no_memory_for_it(machine: Machine) -> None:
    space = AddressSpace(machine)
    addr = space.map(PAGE)
    with pytest.raises(AddressError, match="done=4096"):
        space.read(addr, 1 << 43)


def test_a_plain_machine_says_what_it_lacks() -> None:
    with Machine.from_size("8M") as plain:
        for make in (AddressSpace, File, Owner, lambda m: BlockDevice(m, 8)):
            with pytest.raises(StateError):
                make(plain)
        for call in (
            lambda: plain.swap_on(4),
            plain.swap_off,
            plain.swap_info,
            lambda: plain.reclaim(0, 1),
            lambda: plain.kswapd(0),
            lambda: plain.rmap(5),
            lambda: plain.page_info(5),
            lambda: plain.advance_clock(1),
            lambda: plain.fail_allocations(1),
        ):
            with pytest.raises(StateError):
                call()
        assert plain.clock_ns == 0
    with Machine.from_size("8M", memory=MemoryOptions(contents="none")) as empty:
        space = AddressSpace(empty)
        addr = space.map(PAGE)
        space.touch(addr, PAGE, write=True)
        for call in (lambda: space.read(addr, 1), lambda: space.write(addr, b"x"), lambda: space.window(addr)):
            with pytest.raises(StateError):
                call()


def test_owned_frames_are_not_the_callers_to_free(machine: Machine) -> None:
    space = AddressSpace(machine)
    addr = space.map(PAGE)
    space.write(addr, b"mine")
    pfn = space.lookup(addr).pfn
    assert pfn is not None
    for call in (lambda: machine.free(pfn), lambda: machine.free_bulk([pfn]), lambda: machine.split(pfn, 0, 0)):
        with pytest.raises(PymigrateError):
            call()
    with pytest.raises(FrameError):
        machine.free(pfn)
    assert space.read(addr, 4) == b"mine"


# ---- views ----


def test_a_view_outlives_the_window_the_space_and_the_machine() -> None:
    machine = Machine.from_size("8M", memory=MemoryOptions())
    space = AddressSpace(machine)
    addr = space.map(PAGE)
    window = space.window(addr, write=True)
    window.view[:5] = b"hello"
    pfn = space.lookup(addr).pfn
    part, array = window.view[1:4], np.frombuffer(window.view, dtype=np.uint8)
    window.close()
    window.close()
    with pytest.raises(HandleError, match="closed"):
        _ = window.view
    # Somebody still looks: the frame stays.
    assert machine.page_info(pfn).pins == {"window": 1}
    space.exit()
    assert bytes(part) == b"ell"
    array[0] = ord("j")
    machine.close()
    del machine, space, window
    gc.collect()
    assert bytes(array[:5]) == b"jello"
    part.release()
    del array, part
    gc.collect()


def test_the_page_is_given_back_with_its_last_view(machine: Machine) -> None:
    space = AddressSpace(machine)
    addr = space.map(PAGE)
    with space.window(addr) as view:
        assert view.readonly
        pfn = space.lookup(addr).pfn
        part = view[:8]
        with pytest.raises(TypeError):
            view[0] = 1
    with pytest.raises(ValueError, match="released"):
        view[0]
    assert machine.page_info(pfn).pins == {"window": 1}
    assert bytes(part) == bytes(8)
    del part
    assert machine.page_info(pfn).pins == {}
    # Dropped without a word.
    space.window(addr)
    assert machine.page_info(pfn).pins == {}


@pytest.mark.parametrize("first", [True, False])
def test_the_garbage_collector_takes_a_machine_and_its_views_in_any_order(first: bool) -> None:
    """All of it is one cycle, whose finalizers run in an order of their own: the machine outlives what can see it."""
    seen: list[object] = []

    class Last:
        def __del__(self) -> None:
            self.view[0] = 5
            seen.extend([self.view[0], self.space.read(self.addr, 1), len(self.table), self.table["word"].sum() > 0])
            self.machine.free(self.machine.alloc())

    def make() -> None:
        last = Last() if first else None
        machine = Machine.from_size("8M", memory=MemoryOptions())
        space = AddressSpace(machine)
        addr = space.map(PAGE)
        window = space.window(addr, write=True)
        last = last or Last()
        last.machine, last.space, last.addr, last.view = machine, space, addr, window.view
        last.table = machine.frame_table
        last.itself = last

    make()
    gc.collect()
    assert seen == [5, b"\5", 2048, True]


# ---- closed machines ----


def test_what_lived_in_a_closed_machine_is_closed(machine: Machine) -> None:
    space, disk, owner = AddressSpace(machine), BlockDevice(machine, 64), Owner(machine)
    addr = space.map(PAGE)
    file = File(machine, "buffers", device=disk, size=PAGE)
    pin, window = space.pin(addr, "direct-io", write=True), space.window(addr)
    transfer = file.direct_read(pin, 0)
    machine.close()
    for call in (
        lambda: AddressSpace(machine),
        space.fork,
        space.exit,
        lambda: space.read(addr, 1),
        lambda: space.map(PAGE),
        file.info,
        lambda: file.read(0, 1),
        disk.info,
        owner.alloc,
        pin.unpin,
        transfer.wait,
        machine.swap_info,
        machine.memory_counters,
        machine.backing_counters,
        lambda: machine.page_info(5),
        lambda: machine.clock_ns,
        lambda: machine.host_pieces,
    ):
        with pytest.raises(ClosedError):
            call()
    for thing in (space, file, disk, owner, window):
        thing.close()
    with pin, space:
        pass


def test_things_in_a_machine_are_not_copied(machine: Machine) -> None:
    for thing in (AddressSpace(machine), BlockDevice(machine, 8), File(machine), Owner(machine)):
        for call in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="pickled or copied"):
                call(thing)
        assert hex(thing.handle) in repr(thing)
