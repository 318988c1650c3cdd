"""Reclaim on a device that is broken for good: it may free nothing, but it has to come back."""

from __future__ import annotations

import pytest

from pymigrate import AddressSpace, BlockDevice, Machine, MemoryOptions, Settings, ZoneKind


@pytest.mark.timeout(60)
def test_reclaim_comes_back_where_writes_always_fail() -> None:
    machine = Machine(
        [(ZoneKind.NORMAL, 0, 1024)], settings=Settings(min_free_kbytes=128), memory=MemoryOptions(contents="none")
    )
    disk = BlockDevice(machine, 400, write_ns=1000, depth=1)
    machine.swap_on(300, disk)
    disk.fail("both", from_then_on=True)
    space = AddressSpace(machine)
    addr = space.map(100 * 4096)
    space.touch(addr, 100 * 4096, write=True)
    assert machine.reclaim(0, 50) == 0
    assert disk.info().errors > 0
    disk.fail("both", 0)
    # The first call begins the writes that had failed, and does not wait for all of them.
    assert sum(machine.reclaim(0, 50) for _ in range(3)) > 0
    machine.validate()
    machine.close()
