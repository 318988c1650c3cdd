"""Compaction from Python: a captured block, the slow path by policy, kcompactd in the caller's time, and errors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pymigrate import AddressSpace, ArgumentError, Gfp, Machine, MemoryOptions, OutOfMemoryError, Owner, StateError
from pymigrate.compaction import (
    POLICIES,
    CompactionSettings,
    allocate,
    capture_block,
    compact,
    counters,
    kcompactd_tick,
    set_settings,
    settings,
    wake_kcompactd,
    zone_hints,
)

PAGE = 4096
MIB = 1 << 20
PATTERN = b"page %08d"


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine.from_size("64M", cpus=2, memory=MemoryOptions()) as made:
        yield made
        made.validate()


def fill(machine: Machine) -> tuple[Owner, list[int]]:
    """Fills memory with pages that nobody can move."""
    slab = Owner(machine)
    numbers = []
    while True:
        try:
            numbers.append(slab.alloc(gfp=Gfp.KERNEL & ~Gfp.DIRECT_RECLAIM))
        except OutOfMemoryError:
            return slab, numbers


def take_all(machine: Machine, order: int) -> None:
    while True:
        try:
            machine.alloc(order=order, gfp=Gfp.HIGHUSER_MOVABLE & ~Gfp.DIRECT_RECLAIM)
        except OutOfMemoryError:
            return


@pytest.fixture
def holes(machine: Machine) -> tuple[AddressSpace, int]:
    """48 MiB of which every other page is there, and no free block of 64 KiB or more beside it."""
    space = AddressSpace(machine)
    addr = space.map(48 * MIB)
    for page in range(48 * MIB // PAGE):
        space.write(addr + page * PAGE, PATTERN % page)
    for page in range(0, 48 * MIB // PAGE, 2):
        space.unmap(addr + page * PAGE, PAGE)
    machine.drain()
    for order in range(9, 3, -1):
        take_all(machine, order)
    return space, addr


def check(space: AddressSpace, addr: int) -> None:
    for page in range(1, 48 * MIB // PAGE, 2):
        assert space.read(addr + page * PAGE, 13) == PATTERN % page


def test_all_of_memory(machine: Machine, holes: tuple[AddressSpace, int]) -> None:
    result = compact(machine, "linux")
    assert result.blocks_before == 0
    assert result.gained >= 8
    assert result.moved <= result.gained * 512
    check(*holes)
    done = counters(machine)
    # One run for each of the two zones.
    assert (done.runs, done.captured) == (2, 0)


def test_a_captured_block_is_the_callers(machine: Machine, holes: tuple[AddressSpace, int]) -> None:
    pfn, result = capture_block(machine, 9)
    assert pfn is not None
    assert pfn == result.captured
    assert pfn % 512 == 0
    assert result.status == "captured"
    assert result.blocks_after == 0
    machine.free(pfn, order=9)
    assert counters(machine).captured == 1
    check(*holes)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_gets_a_block_of_a_costly_order(
    machine: Machine, holes: tuple[AddressSpace, int], policy: str
) -> None:
    machine.swap_on(8192)
    found = allocate(machine, 5, policy=policy, gfp=Gfp.HIGHUSER_MOVABLE | Gfp.RETRY_MAYFAIL)  # type: ignore[arg-type]
    assert found.slow
    assert found.pfn % 32 == 0
    if policy == "reclaim":
        assert (found.compactions, found.moved) == (0, 0)
        assert found.reclaimed > 0
    else:
        # Half of memory is free: to move is enough.
        assert (found.compactions, found.reclaims) == (1, 0)
        assert found.priority == "async"
    machine.free(found.pfn, order=5)
    check(*holes)


def test_piggin_with_the_strategy_of_his_time(machine: Machine, holes: tuple[AddressSpace, int]) -> None:
    for order in (3, 2, 1):
        take_all(machine, order)
    found = allocate(machine, 1, policy="piggin-2004", strategy="coalesce-2004")
    assert found.compactions == 1
    assert not found.captured
    assert found.reclaims == 0
    machine.free(found.pfn, order=1)
    # For a larger block there is no seed: no free block of the two orders below it.
    with pytest.raises(OutOfMemoryError) as caught:
        allocate(machine, 5, policy="piggin-2004", strategy="coalesce-2004")
    assert caught.value.details["moved"] == 0
    assert caught.value.details["reclaims"] >= 1
    check(*holes)


def test_a_refusal_says_what_was_tried(machine: Machine) -> None:
    fill(machine)
    with pytest.raises(OutOfMemoryError) as caught:
        allocate(machine, 9)
    assert caught.value.details["order"] == 9
    assert caught.value.details["reclaims"] >= 1
    assert "compactions" in caught.value.details


def test_kcompactd_works_for_who_may_not_wait(machine: Machine, holes: tuple[AddressSpace, int]) -> None:
    set_settings(machine, CompactionSettings(proactiveness=0))
    with pytest.raises(OutOfMemoryError):
        allocate(machine, 6, gfp=Gfp.HIGHUSER_MOVABLE & ~Gfp.DIRECT_RECLAIM)
    assert kcompactd_tick(machine, 0).order == 6
    assert not allocate(machine, 6, gfp=Gfp.HIGHUSER_MOVABLE & ~Gfp.DIRECT_RECLAIM).slow
    assert kcompactd_tick(machine, 1).order == 0
    wake_kcompactd(machine, 9)
    report = kcompactd_tick(machine, 2)
    assert report.order == 9
    assert report.result.moved > 0
    check(*holes)


def test_kcompactd_of_its_own_accord(machine: Machine, holes: tuple[AddressSpace, int]) -> None:
    set_settings(machine, CompactionSettings(proactiveness=100))
    report = kcompactd_tick(machine, 0)
    assert report.proactive
    assert report.score_after < report.score_before
    assert report.score_after < 50
    # A second look within 500 ms is none.
    assert not kcompactd_tick(machine, report.next_ns - 1).proactive
    check(*holes)


def test_deferral_is_seen(machine: Machine) -> None:
    slab, numbers = fill(machine)
    for number in numbers[::2]:
        slab.free(number)
    machine.drain()
    assert zone_hints(machine).order_failed == 11
    assert capture_block(machine, 9)[0] is None
    hints = zone_hints(machine)
    assert (hints.defer_shift, hints.order_failed) == (1, 9)
    assert hints.skipped > 0
    assert capture_block(machine, 9)[1].status == "deferred"


def test_bad_arguments(machine: Machine) -> None:
    with pytest.raises(ArgumentError, match="policy is one of 'linux', 'piggin-2004', 'reclaim', not 'hope'"):
        allocate(machine, 1, policy="hope")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="strategy is one of"):
        allocate(machine, 1, strategy="hope")
    with pytest.raises(ArgumentError, match="priority is one of"):
        capture_block(machine, 9, priority="hope")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError):
        capture_block(machine, 11)
    with pytest.raises(ArgumentError, match=r"proactiveness is 0\.\.100, not 101"):
        CompactionSettings(proactiveness=101)
    with pytest.raises(ArgumentError):
        zone_hints(machine, 4)
    assert settings(machine) == CompactionSettings()
    with Machine.from_size("8M") as bare, pytest.raises(StateError):
        allocate(bare, 1)
