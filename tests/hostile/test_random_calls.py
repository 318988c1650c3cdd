"""Random calls with random arguments: live, dead and forged handles, any addresses and lengths, wrong types.

Whatever comes of a call is a result or an exception of the documented kinds; the machine stays consistent, and ends
well. `PYMIGRATE_HOSTILE_CALLS` says how many calls; a failure prints the seed, and
`PYMIGRATE_HOSTILE_SEED` repeats it.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pymigrate import (
    AddressSpace,
    BlockDevice,
    File,
    Machine,
    MemoryOptions,
    Owner,
    Pin,
    PymigrateError,
    Settings,
    Transfer,
    Window,
    ZoneKind,
)
from pymigrate.errors import ClosedError, CorruptionError

PAGE = 4096
ALLOWED = (PymigrateError, TypeError, ValueError, OverflowError, MemoryError, BufferError)
NONSENSE: tuple[Any, ...] = (None, "x", b"x", 1.5, [], {}, object(), True, -1, 1 << 64, -(1 << 70))


class Caller:
    """Draws calls. What it made and what it ended stay in its pockets alike."""

    def __init__(self, seed: int, machine: Machine) -> None:
        self.rng = random.Random(seed)
        self.machine = machine
        self.things: dict[type, list[Any]] = {
            kind: [] for kind in (AddressSpace, BlockDevice, File, Owner, Pin, Transfer, Window)
        }
        # Also those that are in no pocket any more: something may be stuck in them.
        self.disks: list[BlockDevice] = []
        self.addresses = [0, 1 << 32]
        self.keep(AddressSpace(machine))
        self.keep(BlockDevice(machine, 512, read_ns=100, write_ns=100))

    def keep(self, thing: Any) -> None:
        pocket = self.things[type(thing)]
        if isinstance(thing, BlockDevice):
            self.disks.append(thing)
        if len(pocket) >= 12:
            old = pocket.pop(self.rng.randrange(len(pocket)))
            if isinstance(old, Pin):
                self.end(old.unpin)
            elif not isinstance(old, Transfer):
                self.end(old.close)
        pocket.append(thing)

    @staticmethod
    def end(call: Callable[[], Any]) -> None:
        try:
            call()
        except PymigrateError:
            return

    # ---- arguments ----

    def some(self, kind: type) -> Any:
        """A thing of a kind: mostly one that was made; now and then with the handle of another, or of nothing."""
        rng = self.rng
        if rng.random() < 0.02:
            return rng.choice(NONSENSE)
        if rng.random() < 0.02:
            kind = rng.choice(list(self.things))
        pocket = self.things[kind]
        if not pocket or (kind is not Window and rng.random() < 0.05):
            return self.forged(kind)
        return rng.choice(pocket)

    def forged(self, kind: type) -> Any:
        others = [t._handle for pocket in self.things.values() for t in pocket if not isinstance(t, Window)]
        handle = self.rng.choice([0, 1, (1 << 64) - 1, self.rng.getrandbits(64), self.rng.choice(others)])
        handle ^= self.rng.choice([0, 0, 1, 1 << 24, 1 << 56])
        if kind is Window:
            return self.rng.choice(NONSENSE)
        thing = kind.__new__(kind)
        thing._machine, thing._handle = self.machine, handle
        if kind is Owner:
            thing._gfp = self.number()
        return thing

    def number(self) -> Any:
        rng = self.rng
        kind = rng.random()
        if kind < 0.03:
            return rng.choice(NONSENSE)
        if kind < 0.5:
            return rng.choice([0, 1, 2, 3, 7, 10, 11, 63, 64, 255, 256, 4095, 4096, 4097])
        if kind < 0.8:
            return rng.randrange(1, 64) * PAGE
        if kind < 0.9:
            return (1 << rng.randrange(65)) + rng.choice([-1, 0, 1])
        return rng.getrandbits(rng.randrange(1, 66))

    def size(self) -> Any:
        return self.number() if self.rng.random() < 0.3 else self.rng.randrange(1, 40) * PAGE

    def addr(self) -> Any:
        if self.rng.random() < 0.15:
            return self.number()
        return self.rng.choice(self.addresses) + self.rng.choice([0, 0, PAGE, 2 * PAGE, self.rng.randrange(8 * PAGE)])

    def page(self) -> Any:
        return self.addr() if self.rng.random() < 0.1 else self.rng.choice(self.addresses) & -PAGE

    def flag(self) -> Any:
        return self.rng.random() < 0.5

    def data(self) -> Any:
        return self.rng.choice([b"", b"x", bytes(5000), bytearray(70), memoryview(bytes(9000))[::2], "text", None])

    def word(self, *words: str) -> Any:
        return self.rng.choice(words) if self.rng.random() < 0.97 else self.rng.choice([*NONSENSE, "other"])

    # ---- calls ----

    def make(self) -> Any:
        machine, word = self.machine, self.word
        return self.rng.choice(
            [
                lambda: AddressSpace(machine),
                lambda: self.some(AddressSpace).fork(),
                lambda: BlockDevice(machine, self.number(), read_ns=self.number(), write_ns=self.number()),
                lambda: File(machine, word("ram")),
                lambda: File(
                    machine,
                    word("common", "buffers", "fallback", "release"),
                    device=self.some(BlockDevice),
                    size=self.size(),
                    capacity=self.size(),
                ),
                lambda: Owner(machine, word("unmovable", "movable-ops")),
                lambda: self.some(AddressSpace).pin(self.addr(), word("short", "direct-io", "long"), write=self.flag()),
                lambda: self.some(AddressSpace).window(self.addr(), write=self.flag()),
                lambda: self.some(File).direct_read(self.some(Pin), self.page() & 0xFFFF),
                lambda: self.some(File).direct_write(self.some(Pin), self.number()),
            ]
        )()

    def map(self) -> Any:
        file = self.some(File) if self.flag() else None
        addr = self.some(AddressSpace).map(
            self.size(),
            prot=3 if self.rng.random() < 0.7 else self.rng.choice([0, 1, 2, 4, self.number()]),
            file=file,
            offset=0 if file is None and self.rng.random() < 0.9 else self.rng.choice([0, 0, 0, PAGE, self.number()]),
            shared=self.flag(),
            addr=self.rng.choice([None, None, self.page()]),
            locked=self.rng.random() < 0.1,
            populate=self.rng.random() < 0.2,
        )
        self.addresses[self.rng.randrange(len(self.addresses))] = addr
        if len(self.addresses) < 16:
            self.addresses.append(addr)
        return addr

    def on_space(self) -> Any:
        space, addr, page, size = self.some(AddressSpace), self.addr(), self.page(), self.size()
        return self.rng.choice(
            [
                lambda: space.read(addr, size),
                lambda: space.read_into(addr, bytearray(5000)),
                lambda: space.write(addr, self.data()),
                lambda: space.fill(addr, self.number(), size),
                lambda: space.checksum(addr, size),
                lambda: space.touch(addr, size, write=self.flag()),
                lambda: space.unmap(page, size),
                lambda: space.protect(page, size, self.rng.choice([0, 1, 3, self.number()])),
                lambda: space.remap(page, size, self.size(), new_addr=self.rng.choice([None, self.page()])),
                lambda: space.mlock(page, size),
                lambda: space.munlock(page, size),
                lambda: space.page_out(page, size),
                lambda: space.lookup(addr),
                space.areas,
                space.info,
                space.exit if self.rng.random() < 0.3 else space.info,
            ]
        )()

    def on_file(self) -> Any:
        file, offset, size = self.some(File), self.number(), self.size()
        return self.rng.choice(
            [
                lambda: file.read(offset, size),
                lambda: file.write(offset, self.data()),
                lambda: file.touch(offset, size, write=self.flag()),
                lambda: file.sync(offset, size, wait=self.flag()),
                lambda: file.drop(offset, size),
                lambda: file.truncate(size),
                lambda: file.frame(offset),
                file.info,
                file.close if self.rng.random() < 0.3 else file.info,
            ]
        )()

    def on_device(self) -> Any:
        disk = self.some(BlockDevice)
        return self.rng.choice(
            [
                lambda: disk.fail(self.word("read", "write", "both"), self.number(), from_then_on=self.flag()),
                lambda: disk.fail("both", 0),
                lambda: disk.stick(self.word("read", "write", "both"), self.number()),
                lambda: disk.release(fail=self.flag()),
                lambda: disk.set_bad_blocks(self.number(), self.number()),
                lambda: disk.peek(self.number()),
                disk.info,
                disk.close,
                # Not all numbers: a hundred million slots are allowed, and take a while.
                lambda: self.machine.swap_on(
                    self.rng.choice([1, 64, 300, 1 << 40, None]), self.rng.choice([None, disk])
                ),
            ]
        )()

    def on_machine(self) -> Any:
        machine, number = self.machine, self.number()
        return self.rng.choice(
            [
                machine.swap_off,
                machine.swap_info,
                lambda: machine.swap_slot_info(number),
                lambda: machine.page_info(number),
                lambda: machine.rmap(number),
                lambda: machine.reclaim(self.rng.choice([0, number]), self.number()),
                lambda: machine.kswapd(self.rng.choice([0, number])),
                lambda: machine.lru_sizes(self.rng.choice([0, number])),
                lambda: machine.advance_clock(self.rng.choice([1000, number])),
                lambda: machine.fail_allocations(self.rng.choice([0, 3, number]), from_then_on=self.flag()),
                lambda: machine.fail_allocations(0),
                lambda: machine.free(number),
                lambda: machine.free(machine.alloc()),
                lambda: machine.frame_info(number),
                machine.memory_counters,
                machine.backing_counters,
            ]
        )()

    def on_rest(self) -> Any:
        owner, pin = self.some(Owner), self.some(Pin)
        return self.rng.choice(
            [
                lambda: owner.alloc(self.rng.choice([0, 1, self.number()])),
                lambda: owner.free(self.number()),
                lambda: owner.move(self.number()),
                lambda: owner.frame(self.number()),
                owner.close,
                pin.unpin,
                lambda: self.some(Transfer).wait(),
                lambda: self.some(Window).close(),
                lambda: self.some(Window).view[self.number()],
            ]
        )()

    def call(self) -> None:
        """One call, on any CPU."""
        kinds = [self.make, self.map, self.on_space, self.on_space, self.on_file, self.on_device, self.on_machine]
        kind = self.rng.choice([*kinds, self.on_rest])
        cpu = self.rng.choice([0, 1, self.number()])
        try:
            with self.machine.on_cpu(cpu):
                result = kind()
        except CorruptionError:
            raise
        except (*ALLOWED, AttributeError, IndexError) as error:
            # A wrong thing where a thing is needed has no such method: that is Python's own exception.
            if isinstance(error, (AttributeError, IndexError)) and isinstance(error, PymigrateError):
                raise
            return
        if kind == self.make:
            self.keep(result)


def release_for_ever(machine: Machine, caller: Caller, stop: threading.Event) -> None:
    """Whatever gets stuck is let go after a while: the caller has one thread, and would wait for itself."""
    while not stop.wait(0.02):
        for disk in list(caller.disks):
            try:
                disk.release()
            except PymigrateError:
                continue


def run(seed: int, calls: int) -> None:
    machine = Machine(
        [(ZoneKind.NORMAL, 0, 1024)], cpus=2, settings=Settings(min_free_kbytes=128), memory=MemoryOptions()
    )
    caller = Caller(seed, machine)
    stop = threading.Event()
    helper = threading.Thread(target=release_for_ever, args=(machine, caller, stop))
    helper.start()
    try:
        for i in range(calls):
            caller.call()
            if i % 2000 == 1999:
                machine.fail_allocations(0)
                machine.validate()
    finally:
        stop.set()
        helper.join()
    finish(machine, caller)


def finish(machine: Machine, caller: Caller) -> None:
    """Everything is closed, whatever state it is in; nothing may be left."""
    machine.fail_allocations(0)
    for disk in caller.disks:
        for call in (lambda d=disk: d.fail("both", 0), lambda d=disk: d.stick("both", 0), disk.release):
            Caller.end(call)
        Caller.end(lambda d=disk: d.set_bad_blocks(0, 0))
    machine.advance_clock(1 << 61)
    machine.validate()
    machine.close()
    with pytest.raises(ClosedError):
        machine.swap_info()


@pytest.mark.asan
@pytest.mark.timeout(200)
@pytest.mark.parametrize("number", range(5))
def test_random_calls_give_exceptions_only(number: int) -> None:
    seed = int(os.environ.get("PYMIGRATE_HOSTILE_SEED") or time.time_ns() % 10**9) + number
    calls = int(os.environ.get("PYMIGRATE_HOSTILE_CALLS") or 100_000) // 5
    print(f"PYMIGRATE_HOSTILE_SEED={seed - number}, number {number}")
    run(seed, calls)
