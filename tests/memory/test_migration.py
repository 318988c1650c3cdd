"""Migration from Python: results, errors, steps with anything in between, and what is left when it is broken off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pymigrate import (
    AddressSpace,
    BlockDevice,
    ClosedError,
    Destination,
    File,
    FrameError,
    Gfp,
    HandleError,
    Machine,
    MemoryOptions,
    Migration,
    Owner,
    StateError,
    ZoneKind,
    migrate,
)
from pymigrate.errors import ArgumentError
from pymigrate.migration import PROTOCOLS, REASONS, STATES, counters

pytestmark = pytest.mark.asan
PAGE = 4096
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine([(ZoneKind.NORMAL, 0, 2048), (ZoneKind.MOVABLE, 2048, 2048)], cpus=4, memory=MemoryOptions()) as made:
        made.swap_on(256)
        yield made


def pages(machine: Machine, n: int) -> tuple[AddressSpace, int, np.ndarray[Any, Any]]:
    space = AddressSpace(machine)
    addr = space.map(n * PAGE)
    for i in range(n):
        space.write(addr + i * PAGE, bytes([i + 1]) * PAGE)
    return space, addr, frames(space, addr, n)


def frames(space: AddressSpace, addr: int, n: int) -> np.ndarray[Any, Any]:
    return np.array([space.lookup(addr + i * PAGE).pfn for i in range(n)], dtype=np.uint64)


def intact(space: AddressSpace, addr: int, n: int) -> bool:
    return all(space.read(addr + i * PAGE, PAGE) == bytes([i + 1]) * PAGE for i in range(n))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", ["async", "sync-light", "sync"])
def test_every_page_moves_and_keeps_its_bytes(machine: Machine, protocol: Any, mode: Any) -> None:
    space, addr, pfns = pages(machine, 100)
    result = migrate(machine, pfns, protocol=protocol, mode=mode)
    assert result.moved == 100
    assert not result.reasons()
    assert (result.to != pfns).all()
    assert intact(space, addr, 100)
    assert (frames(space, addr, 100) == result.to).all()
    assert counters(machine).moved[protocol] == 100
    machine.validate()


@pytest.mark.parametrize(
    ("destination", "low", "high"),
    [
        (Destination(zone=1), 2048, 4096),
        (Destination(zone=0), 0, 2048),
        (Destination(below=100), 0, 100),
        (Destination(above=4000), 4000, 4096),
        (Destination(frames=(3000, 3002, 3004)), 3000, 3005),
    ],
)
def test_destinations(machine: Machine, destination: Destination, low: int, high: int) -> None:
    space, addr, pfns = pages(machine, 3)
    result = migrate(machine, pfns, destination=destination)
    assert result.moved == 3
    assert ((result.to >= low) & (result.to < high)).all()
    assert destination.frames is None or result.to.tolist() == list(destination.frames)
    assert intact(space, addr, 3)


def test_wrong_arguments_are_named(machine: Machine) -> None:
    _, _, pfns = pages(machine, 2)
    wrong: Any = "entries"
    with pytest.raises(ValueError, match="protocol"):
        migrate(machine, pfns, protocol=wrong)
    with pytest.raises(ValueError, match="mode"):
        migrate(machine, pfns, mode=wrong)
    with pytest.raises(ValueError, match="one of zone, below"):
        Destination(zone=1, below=2)
    with pytest.raises(ValueError, match="zone=-1"):
        Destination(zone=-1)
    with pytest.raises(ValueError, match="2 frames move, and 1 are given"):
        migrate(machine, pfns, destination=Destination(frames=(5,)))
    with pytest.raises(ArgumentError):
        migrate(machine, pfns, destination=Destination(zone=2))
    with pytest.raises(ArgumentError):
        migrate(machine, [-1])
    with pytest.raises(ArgumentError):
        migrate(machine, [0.5])
    with pytest.raises(FrameError):
        Migration(machine, 4096)
    assert migrate(machine, np.array([4096, 2**63], dtype=np.uint64)).reasons() == {"not movable": 2}
    assert migrate(machine, []).moved == 0
    with Machine.from_size("16M") as bare, pytest.raises(StateError):
        migrate(bare, [0])


def test_why_pages_stay(machine: Machine) -> None:
    space, addr, pfns = pages(machine, 8)
    with space.pin(addr, "direct-io"), space.pin(addr + PAGE, "short"):
        assert migrate(machine, pfns).reasons() == {"pinned": 1, "referenced in passing": 1}
    child = space.fork()
    now = frames(space, addr, 8)
    assert migrate(machine, now, protocol="table-lock").reasons() == {"mapped more than once": 8}
    child.exit()
    machine.swap_off()
    assert migrate(machine, now, protocol="swap-cache").reasons() == {"no swap slot": 8}
    assert migrate(machine, now, destination=Destination(below=0)).reasons() == {"no destination": 8}
    assert set(counters(machine).failed) <= set(REASONS)
    assert intact(space, addr, 8)


def test_movable_blocks_move_and_others_do_not(machine: Machine) -> None:
    with Owner(machine, "movable-ops") as balloon, Owner(machine) as slab:
        block, other = balloon.alloc(4), slab.alloc(0)
        result = migrate(machine, [balloon.frame(block), slab.frame(other)], destination=Destination(zone=1))
        assert result.moved == 1
        assert balloon.frame(block) == result.to[0] >= 2048
        assert result.reasons() == {"not movable": 1}


def test_a_dirty_file_page_moves_by_its_filesystems_rules(machine: Machine) -> None:
    disk = BlockDevice(machine, 256)
    written = {}
    for kind in ("ram", "common", "buffers", "fallback", "release"):
        with File(machine, kind, device=None if kind == "ram" else disk, size=4 * PAGE) as file:
            space = AddressSpace(machine)
            addr = space.map(4 * PAGE, file=file, shared=True)
            space.write(addr, b"x" * 4 * PAGE)
            result = migrate(machine, frames(space, addr, 4))
            assert result.moved == (0 if kind == "fallback" else 4)
            assert space.read(addr, 4 * PAGE) == b"x" * 4 * PAGE
            written[kind] = file.info().writeouts
            space.exit()
    assert written == {"ram": 0, "common": 4, "buffers": 0, "fallback": 0, "release": 4}


# ---- step by step ----


def test_the_steps_are_the_table(machine: Machine) -> None:
    space, addr, pfns = pages(machine, 1)
    seen = []
    with Migration(machine, int(pfns[0])) as migration:
        while not migration.over:
            seen.append(migration.state)
            assert migration.step()
        assert (migration.state, migration.reason) == ("done", "moved")
        assert migration.to == space.lookup(addr).pfn
        with pytest.raises(StateError):
            migration.step()
    assert seen == [state.name for state in STATES[:-2]]
    with pytest.raises(HandleError):
        migration.step()
    migration.close()


Disturbance = Callable[[AddressSpace, int], Any]
DISTURBANCES: dict[str, Disturbance] = {
    "read": lambda space, addr: space.read(addr, PAGE),
    "write": lambda space, addr: space.write(addr, b"\x01" * PAGE),
    "fork": lambda space, addr: space.fork().exit(),
    "protect": lambda space, addr: space.protect(addr, PAGE, 1),
    "mlock": lambda space, addr: space.mlock(addr, PAGE),
    "pin": lambda space, addr: space.pin(addr, "direct-io").unpin(),
    "page out": lambda space, addr: space.page_out(addr, PAGE),
    "unmap": lambda space, addr: space.unmap(addr, PAGE),
    "exit": lambda space, addr: space.exit(),
    "swap off": lambda space, addr: space.machine.swap_off(),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("what", DISTURBANCES)
def test_anything_between_two_steps(protocol: Any, what: str) -> None:
    """By another thread, which may have to wait until the migration has been stepped to its end."""
    moved = 0
    for steps in range(12):
        with Machine.from_size("4M", cpus=2, memory=MemoryOptions()) as machine:
            machine.swap_on(64)
            space, addr, pfns = pages(machine, 1)
            errors: list[BaseException] = []

            def disturb(space: AddressSpace = space, addr: int = addr, errors: list[BaseException] = errors) -> None:
                try:
                    DISTURBANCES[what](space, addr)
                except BaseException as error:
                    errors.append(error)

            with Migration(machine, int(pfns[0]), protocol=protocol, touch=True) as migration:
                for _ in range(steps):
                    if not migration.over:
                        migration.step()
                thread = threading.Thread(target=disturb)
                thread.start()
                thread.join(0.003)
                # A step may have to wait for the other thread, which is on its way.
                for _ in range(2000):
                    if migration.over:
                        break
                    if not migration.step():
                        thread.join(0.001)
                moved += migration.reason == "moved"
            thread.join(30)
            assert not thread.is_alive()
            assert not errors
            if what not in ("unmap", "exit"):
                assert space.read(addr, PAGE) == b"\x01" * PAGE
            machine.validate()
    assert moved >= 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_machine_closes_over_a_migration_half_way(protocol: Any) -> None:
    for steps in range(11):
        machine = Machine.from_size("4M", memory=MemoryOptions())
        machine.swap_on(64)
        _, _, pfns = pages(machine, 1)
        migration = Migration(machine, int(pfns[0]), protocol=protocol)
        for _ in range(steps):
            if not migration.over:
                migration.step()
        machine.close()
        with pytest.raises(ClosedError):
            migration.step()
        migration.close()
        with pytest.raises(ClosedError):
            migrate(machine, pfns)


def test_ctrl_c_while_a_migration_waits(machine: Machine) -> None:
    """A page whose writeback does not end: SYNC waits, Ctrl-C is heard, and the page is as it was."""
    disk = BlockDevice(machine, 16)
    with File(machine, "buffers", device=disk, size=PAGE) as file:
        space = AddressSpace(machine)
        addr = space.map(PAGE, file=file, shared=True)
        space.write(addr, b"\x01" * PAGE)
        pfn = space.lookup(addr).pfn
        disk.stick("write")
        file.sync(wait=False)
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            migrate(machine, [pfn])
        machine.validate()
        assert space.lookup(addr).pfn == pfn
        disk.release()
        assert migrate(machine, [pfn]).moved == 1
        assert intact(space, addr, 1)
        space.exit()


# ---- the document ----


def test_the_document_shows_the_sources_table() -> None:
    text = (ROOT / "docs" / "PROTOCOLS.md").read_text("utf-8")
    for state in STATES[:-2]:
        assert f"| `{state.name}` | {state.needs or '-'} | {state.does} |" in text
    for protocol in PROTOCOLS:
        assert f"| `{protocol}` |" in text
    for reason in REASONS:
        assert f"| {reason} |" in text


def test_blocks_are_split_where_no_destination_of_their_order_exists(machine: Machine) -> None:
    balloon = Owner(machine, "movable-ops")
    number = balloon.alloc(order=4, gfp=Gfp.KERNEL)
    before = balloon.frames(number)
    assert before.tolist() == list(range(balloon.frame(number), balloon.frame(number) + 16))
    # Only every other frame of the movable zone is free, and the last one is not.
    for pfn in range(2048, 4096):
        machine.take(pfn)
    for pfn in range(2048, 2048 + 2 * 10, 2):
        machine.free(pfn)
    machine.drain()
    there = Destination(zone=1)
    whole = migrate(machine, before[:1], destination=there)
    assert whole.moved == 0
    assert whole.split.tolist() == [0]
    assert balloon.frames(number).tolist() == before.tolist()
    parts = migrate(machine, before[:1], destination=there, split=True)
    assert parts.reasons() == {"no destination": 1}
    assert (parts.split.tolist(), parts.split_moved.tolist()) == ([16], [10])
    after = balloon.frames(number)
    assert (after[:10] >= 2048).all()
    assert after[10:].tolist() == before[10:].tolist()
    assert balloon.frame(number) == after[0]
    assert (counters(machine).split, counters(machine).split_moved) == (1, 10)
    machine.validate()
    first = balloon.move(number, gfp=Gfp.KERNEL)
    assert balloon.frames(number).tolist() == list(range(first, first + 16))
    machine.validate()
    with pytest.raises(FrameError):
        balloon.frames(number + 1)
    balloon.close()
    machine.validate()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_validate_says_what_is_half_way(machine: Machine, protocol: Any) -> None:
    space, addr, pfns = pages(machine, 1)
    assert machine.validate() == ""
    with Migration(machine, int(pfns[0]), protocol=protocol) as migration:
        while migration.step() and not migration.over:
            said = machine.validate()
            assert f"frame {pfns[0]}" in said
            assert said.endswith(f"next step is {migration.state}")
        assert migration.reason == "moved"
    assert machine.validate() == ""
    assert intact(space, addr, 1)
