"""Calls that would wait for ever: Ctrl-C, `close` and `exit` get through to them, and nothing hangs.

No time is asserted but that of a hang; `python -m benchmarks.interrupts` measures how soon an interrupt is heard.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pymigrate import (
    AddressSpace,
    BlockDevice,
    ClosedError,
    DeviceError,
    File,
    HandleError,
    Machine,
    MemoryOptions,
    PymigrateError,
)

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = 4096
HANG_S = 60


def machine_with_stuck_reads() -> tuple[Machine, BlockDevice, File]:
    """A file whose next read never ends."""
    machine = Machine.from_size("8M", cpus=2, memory=MemoryOptions())
    disk = BlockDevice(machine, 64)
    file = File(machine, "buffers", device=disk, size=4 * PAGE)
    file.write(0, b"x" * 4 * PAGE)
    file.sync()
    file.drop()
    disk.stick("read")
    return machine, disk, file


class Beside:
    """A call in another thread, and what became of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.result: Any = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._call()
        except PymigrateError as error:
            self.result = error

    def join(self) -> Any:
        self._thread.join(HANG_S)
        assert not self._thread.is_alive(), "the call hangs"
        return self.result

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.001)


@pytest.mark.slow
def test_ctrl_c_is_heard_in_every_call_that_waits() -> None:
    command = [sys.executable, "-m", "benchmarks.interrupts", "--rounds", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    found = re.search(r"figure interrupt\.count (\d+)", done.stdout)
    assert found is not None
    assert int(found[1]) == 4 * len(re.findall(r"^  \w+ +\d", done.stdout, re.MULTILINE)) > 40


@pytest.mark.asan
def test_close_wakes_who_waits() -> None:
    machine, disk, file = machine_with_stuck_reads()
    space = AddressSpace(machine)
    addr = space.map(PAGE, file=file, shared=True)
    waiting = [Beside(lambda: space.read(addr, 1)), Beside(lambda: file.read(0, 1)), Beside(file.sync)]
    wait_for(lambda: disk.info().stuck == 1)
    time.sleep(0.05)
    assert not waiting[0].ended
    machine.close()
    results = [call.join() for call in waiting]
    assert isinstance(results[0], ClosedError)
    assert isinstance(results[1], ClosedError)


@pytest.mark.asan
def test_exit_gets_a_space_from_those_who_wait_in_it() -> None:
    machine, disk, file = machine_with_stuck_reads()
    space = AddressSpace(machine)
    addr = space.map(PAGE, file=file, shared=True)
    reader = Beside(lambda: space.read(addr, 1))
    wait_for(lambda: disk.info().stuck == 1)
    space.exit()
    assert isinstance(reader.join(), HandleError)
    assert disk.release() == 1
    machine.validate()
    machine.close()


@pytest.mark.asan
def test_others_change_a_space_whose_reader_waits() -> None:
    machine, disk, file = machine_with_stuck_reads()
    space = AddressSpace(machine)
    addr = space.map(PAGE, file=file, shared=True)
    reader = Beside(lambda: space.read(addr, 1))
    wait_for(lambda: disk.info().stuck == 1)
    other = space.map(PAGE)
    space.write(other, b"meanwhile")
    child = space.fork()
    assert child.read(other, 9) == b"meanwhile"
    assert not reader.ended
    disk.release()
    assert reader.join() == b"x"
    machine.close()


@pytest.mark.asan
def test_a_released_transfer_ends_the_wait_well_or_not() -> None:
    for fail in (False, True):
        machine, disk, file = machine_with_stuck_reads()
        reader = Beside(lambda file=file: file.read(0, 1))
        wait_for(lambda disk=disk: disk.info().stuck == 1)
        disk.release(fail=fail)
        result = reader.join()
        assert isinstance(result, DeviceError) if fail else result == b"x"
        assert file.read(0, 1) == b"x"
        machine.validate()
        machine.close()


@pytest.mark.asan
def test_unpin_waits_for_the_transfer_that_uses_the_frame() -> None:
    machine, disk, file = machine_with_stuck_reads()
    space = AddressSpace(machine)
    addr = space.map(PAGE)
    pin = space.pin(addr, "direct-io", write=True)
    transfer = file.direct_read(pin, 0)
    giver = Beside(pin.unpin)
    wait_for(lambda: disk.info().stuck == 1)
    time.sleep(0.05)
    assert not giver.ended
    disk.release()
    assert giver.join() is None
    transfer.wait()
    assert space.read(addr, 1) == b"x"
    machine.close()


@pytest.mark.asan
def test_close_while_many_others_work() -> None:
    """Each thread works until it is told that the machine is closed; none crashes, and none waits for ever."""
    for _ in range(10):
        machine = Machine.from_size("8M", cpus=3, memory=MemoryOptions())
        disk = BlockDevice(machine, 4096, read_ns=1000, write_ns=1000)
        machine.swap_on(2000, disk)
        ends: list[str] = []
        started = threading.Barrier(5)

        def work(
            number: int, machine: Machine = machine, started: threading.Barrier = started, ends: list[str] = ends
        ) -> None:
            try:
                space = AddressSpace(machine)
                started.wait()
                while True:
                    addr = space.map(64 * PAGE)
                    space.fill(addr, number, 64 * PAGE)
                    child = space.fork()
                    child.write(addr, b"child")
                    space.page_out(addr, 64 * PAGE)
                    with space.window(addr, write=True) as view, child.pin(addr, "long"):
                        view[0] = number
                    child.exit()
                    assert space.read(addr, 64 * PAGE) == bytes([number]) * 64 * PAGE
                    space.unmap(addr, 64 * PAGE)
            except ClosedError as error:
                ends.append(str(error))

        threads = [threading.Thread(target=work, args=(i + 1,), daemon=True) for i in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        time.sleep(0.02)
        machine.close()
        for thread in threads:
            thread.join(HANG_S)
        assert len(ends) == 4
