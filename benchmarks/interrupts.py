"""How soon Ctrl-C is heard in every call that can wait: `python -m benchmarks.interrupts`.

Each scenario brings a call to a point where it would wait for ever (a transfer that never ends, a lock that somebody
holds), or that takes long, and a second thread sends SIGINT to the process. Measured is the time from there to the
KeyboardInterrupt in the caller. The same call is interrupted again and again; after that its device lets go, and the
machine has to be as consistent as before.

Not among them: a space's lock, and the exit of a space in use. Whoever holds them while it waits comes back to Python
itself within the same time, and so lets them go.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator

import click

from benchmarks.report import figure, table
from pymigrate import AddressSpace, BlockDevice, ClosedError, File, Machine, MemoryOptions, Pin, PymigrateError

PAGE = 4096
Call = Callable[[], object]
SCENARIOS: dict[str, Callable[[Machine, BlockDevice], contextlib.AbstractContextManager[Call]]] = {}


def scenario(
    function: Callable[[Machine, BlockDevice], Iterator[Call]],
) -> Callable[[Machine, BlockDevice], Iterator[Call]]:
    """Registers a scenario under its name; what it yields is the call to interrupt."""
    SCENARIOS[function.__name__] = contextlib.contextmanager(function)
    return function


@contextlib.contextmanager
def beside(call: Call) -> Iterator[None]:
    """Runs a call that waits in a thread of its own, and gives it time to get there."""

    def run() -> None:
        with contextlib.suppress(PymigrateError):
            call()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    time.sleep(0.02)
    yield
    thread.join(60)


def cached_file(machine: Machine, disk: BlockDevice) -> File:
    """An empty file of a few pages."""
    return File(machine, "buffers", device=disk, size=16 * PAGE)


def swapped_page(machine: Machine, disk: BlockDevice) -> tuple[AddressSpace, int]:
    """A space whose page is in swap, on a device whose next read gets stuck."""
    machine.swap_on(64, disk)
    space = AddressSpace(machine)
    addr = space.map(PAGE)
    space.write(addr, b"swapped")
    space.page_out(addr, PAGE)
    assert space.lookup(addr).kind == "swap"
    disk.stick("read")
    return space, addr


def pinned_page(machine: Machine) -> Pin:
    """A page for a device to write to."""
    space = AddressSpace(machine)
    return space.pin(space.map(PAGE), "direct-io", write=True)


@scenario
def file_read(machine: Machine, disk: BlockDevice) -> Iterator[Call]:
    """A buffered read from a device that does not answer."""
    file = written_file(machine, disk)
    disk.stick("read")
    yield lambda: file.read(0, 10)


def written_file(machine: Machine, disk: BlockDevice) -> File:
    """A file whose pages are on the device and not in memory."""
    file = cached_file(machine, disk)
    file.write(0, bytes(range(256)) * 256)
    file.sync()
    file.drop()
    return file


@scenario
def file_fault(machine: Machine, disk: BlockDevice) -> Iterator[Call]:
    """A fault on a mapped page of the file."""
    file = written_file(machine, disk)
    space = AddressSpace(machine)
    addr = space.map(PAGE, file=file, shared=True)
    disk.stick("read")
    yield lambda: space.read(addr, 10)


@scenario
def writeback(machine: Machine, disk: BlockDevice) -> Iterator[Call]:
    """Waiting for a dirty page to be written."""
    file = cached_file(machine, disk)
    file.write(0, b"dirty")
    disk.stick("write")
    yield file.sync


@scenario
def truncate(machine: Machine, disk: BlockDevice) -> Iterator[Call]:
    """Truncation of a page that is being written."""
    file = cached_file(machine, disk)
    file.write(PAGE, b"dirty")
    disk.stick("write")
    file.sync(wait=False)
    yield lambda: file.truncate(0)


@scenario
def swap_in(machine: Machine, disk: BlockDevice) -> Iterator[Call]:
    """A fault on a page in swap."""
    space, addr = swapped_page(machine, disk)
    yield lambda: space.read(addr, 10)


@scenario
def swap_off(machine: Machine, disk: BlockDevice) -> Iterator[Call]:
    """The end of swap."""
    swapped_page(machine, disk)
    yield machine.swap_off


@scenario
def page_out(machine: Machine, disk: BlockDevice) -> Iterator[Call]:
    """Waiting until a page has gone to swap."""
    machine.swap_on(64, disk)
    space = AddressSpace(machine)
    addr = space.map(PAGE, populate=True)
    disk.stick("write")
    yield lambda: space.page_out(addr, PAGE)


@scenario
def out_of_memory(machine: Machine, disk: BlockDevice) -> Iterator[Call]:
    """A fault that waits for memory, which only the writing of other pages could free."""
    for_ever_ns = 1 << 60
    machine.swap_on(4000, BlockDevice(machine, 4096, write_ns=for_ever_ns))
    space = AddressSpace(machine)
    addr = space.map(2 * machine.nr_frames * PAGE)
    yield lambda: space.touch(addr, 2 * machine.nr_frames * PAGE, write=True)


@scenario
def frame_lock(machine: Machine, disk: BlockDevice) -> Iterator[Call]:
    """A frame that another thread has locked while it is read."""
    file = written_file(machine, disk)
    disk.stick("read")
    with beside(lambda: file.read(0, 10)):
        yield lambda: file.write(5, b"x")


@scenario
def unpin(machine: Machine, disk: BlockDevice) -> Iterator[Call]:
    """A pin under a transfer that has not ended."""
    file, pin = written_file(machine, disk), pinned_page(machine)
    disk.stick("read")
    file.direct_read(pin, 0)
    yield pin.unpin


@scenario
def direct_wait(machine: Machine, disk: BlockDevice) -> Iterator[Call]:
    """A transfer of direct I/O."""
    file, pin = written_file(machine, disk), pinned_page(machine)
    disk.stick("read")
    transfer = file.direct_read(pin, 0)
    yield transfer.wait


@scenario
def long_fill(machine: Machine, disk: BlockDevice) -> Iterator[Call]:
    """Nothing to wait for, only much to do."""
    file = File(machine, "ram", size=PAGE)
    space = AddressSpace(machine)
    base = 1 << 32
    for i in range(1 << 12):
        space.map(PAGE, file=file, shared=True, addr=base + i * PAGE)

    def fill() -> None:
        while True:
            space.fill(base, 7, PAGE << 12)

    yield fill


def interrupt(call: Call, delay_s: float) -> float:
    """Interrupts a call once. Returns how long that took, in milliseconds."""
    sent = 0.0
    go = threading.Event()

    def send() -> None:
        nonlocal sent
        go.wait()
        time.sleep(delay_s)
        sent = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        go.set()
        result = call()
    except KeyboardInterrupt:
        heard = time.perf_counter()
        sender.join()
        return 1000 * (heard - sent)
    raise AssertionError(f"the call ended by itself: {result!r}")


def measure(name: str, rounds: int, rng: random.Random) -> list[float]:
    """Interrupts the call of one scenario `rounds` times."""
    with Machine.from_size("8M", cpus=2, memory=MemoryOptions(clock="real")) as machine:
        disk = BlockDevice(machine, 4096, depth=256)
        with SCENARIOS[name](machine, disk) as call:
            times = [interrupt(call, rng.uniform(0.001, 0.03)) for _ in range(rounds)]
            disk.stick("both", 0)
            disk.release()
        machine.validate()
    try:
        call()
    except ClosedError:
        return times
    raise AssertionError(f"{name}: the call works on a closed machine")


@click.command()
@click.option("--rounds", default=84, show_default=True, help="Interruptions of each scenario.")
@click.option("--seed", default=1, show_default=True)
@click.option("--only", type=click.Choice(sorted(SCENARIOS)), multiple=True, help="Only these scenarios.")
def main(rounds: int, seed: int, only: tuple[str, ...]) -> None:
    """Interrupt every call that can wait, and print how soon it was heard."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = random.Random(seed)
    times = {name: sorted(measure(name, rounds, rng)) for name in only or SCENARIOS}

    def quantile(values: list[float], q: float) -> float:
        return values[min(len(values) - 1, int(q * len(values)))]

    rows: list[list[str | float | None]] = [
        [name, quantile(v, 0.5), quantile(v, 0.99), v[-1]] for name, v in times.items()
    ]
    table(f"from SIGINT to KeyboardInterrupt, ms, {rounds} each", ["call", "median", "p99", "worst"], rows)
    everything = sorted(t for values in times.values() for t in values)
    figure("interrupt.count", len(everything), "interruptions")
    figure("interrupt.p99.ms", quantile(everything, 0.99), "ms")
    figure("interrupt.worst.ms", everything[-1], "ms")


if __name__ == "__main__":
    main()
