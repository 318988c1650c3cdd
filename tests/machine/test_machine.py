"""The typed API: what it returns, what it refuses, and how a machine ends."""

from __future__ import annotations

import copy
import doctest
import gc
import importlib
import os
import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import pymigrate
from pymigrate import (
    ClosedError,
    CorruptionError,
    FrameError,
    FrameState,
    Gfp,
    Machine,
    MigrateType,
    OutOfMemoryError,
    Place,
    Settings,
    Zone,
    ZoneKind,
)
from pymigrate._core import ffi

pytestmark = pytest.mark.asan
RELEASE = os.environ.get("PYMIGRATE_TEST_FLAVOUR", "release") == "release"

BARE = Settings(min_free_kbytes=0, watermark_scale_factor=0, pcp=False)
NORMAL = ZoneKind.NORMAL


@pytest.fixture
def machine() -> Machine:
    return Machine([Zone(NORMAL, 0, 2048)], settings=BARE)


@pytest.mark.parametrize("name", ["gfp", "layout", "machine"])
def test_examples_in_the_documentation(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"pymigrate.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


# ---- making ----


def test_a_size_is_laid_out_like_x86() -> None:
    assert [(z.name, z.start_pfn, z.end_pfn) for z in Machine.from_size("6G").zones] == [
        ("DMA", 1, 4096),
        ("DMA32", 4096, 1 << 20),
        ("Normal", 1 << 20, 6 << 18),
    ]
    assert [zone.name for zone in Machine.from_size(1 << 20).zones] == ["DMA"]


@pytest.mark.parametrize("size", ["", "G", "4X", "-1G", "1.5G", 0, 4095, -5])
def test_bad_sizes(size: object) -> None:
    with pytest.raises(ValueError, match=r"size|frame"):
        Machine.from_size(size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("zones", "options"),
    [
        ([], {}),
        ([(NORMAL, 0, 0)], {}),
        ([(NORMAL, 0, 1024), (NORMAL, 1024, 1024)], {}),
        ([(NORMAL, 0, 1024), (ZoneKind.DMA32, 1000, 1024)], {}),
        ([(9, 0, 1024)], {}),
        ([(NORMAL, -1, 1024)], {}),
        ([(NORMAL, 0, 2**70)], {}),
        ([(NORMAL, 0, 2**33)], {}),
        ([(NORMAL, 0)], {}),
        ([(NORMAL, 0, 1024)], {"cpus": 0}),
        ([(NORMAL, 0, 1024)], {"cpus": 2000}),
        ([(NORMAL, 0, 1024)], {"holes": [(5, 3)]}),
        ([(NORMAL, 0, 1024)], {"holes": [(5, 3, 1)]}),
        ([(NORMAL, 0, 1024)], {"reserved": [(0, 10), (5, 20)]}),
        ([(NORMAL, 0, 1024)], {"start": "used"}),
        ([(NORMAL, 0, 1024)], {"settings": Settings(watermark_scale_factor=20000)}),
        ([(NORMAL, 0, 1024)], {"settings": Settings(min_free_kbytes=-1)}),
        ([(NORMAL, 0, 1024)], {"settings": Settings(pcp_batch=0)}),
        ([(NORMAL, 0, 1024)], {"settings": Settings(lowmem_reserve_ratio=(1, 2, 3, 4, 5))}),  # type: ignore[arg-type]
    ],
)
def test_layouts_that_contradict_themselves(zones: object, options: dict[str, object]) -> None:
    with pytest.raises((ValueError, IndexError)):
        Machine(zones, **options)  # type: ignore[arg-type]


# ---- allocate and free ----


def test_an_allocation_says_why_it_failed(machine: Machine) -> None:
    with pytest.raises(OutOfMemoryError) as caught:
        machine.alloc(gfp=Gfp.KERNEL | Gfp.DMA)
    assert caught.value.reason == "zone"
    single = machine.alloc_bulk(2048, 0, Gfp.HIGHUSER_MOVABLE)
    with pytest.raises(MemoryError) as full:
        machine.alloc()
    assert isinstance(full.value, OutOfMemoryError)
    assert full.value.reason == "watermark"
    machine.free_bulk(single[::2])
    with pytest.raises(OutOfMemoryError) as fragmented:
        machine.alloc(order=1)
    assert fragmented.value.reason == "no-block"
    counters = machine.counters()
    assert (counters.alloc, counters.free, counters.fail_watermark, counters.fail_no_block) == (2048, 1024, 1, 1)


@pytest.mark.parametrize("order", [-1, 11, 2**31, 2**32, 2**64])
def test_orders_out_of_range(machine: Machine, order: int) -> None:
    for call in (
        machine.alloc,
        lambda o: machine.free(0, o),
        lambda o: machine.take(0, o),
        lambda o: machine.split(0, o),
    ):
        with pytest.raises(ValueError, match=r"range|order"):
            call(order)


@pytest.mark.parametrize("cpu", [-1, 1, 2**32])
def test_cpus_out_of_range(machine: Machine, cpu: int) -> None:
    for call in (machine.drain, machine.decay_pcp):
        with pytest.raises(ValueError, match="range"):
            call(cpu)
    with pytest.raises(ValueError, match="range"):
        machine.alloc(cpu=cpu)


@pytest.mark.parametrize("gfp", [-1, 1 << 30, 1 << 40, Gfp.DMA | Gfp.DMA32, Gfp.MOVABLE | Gfp.RECLAIMABLE])
def test_bad_flags(machine: Machine, gfp: int) -> None:
    with pytest.raises(ValueError, match=r"range|contradict"):
        machine.alloc(gfp=gfp)


@pytest.mark.parametrize("argument", ["0", 1.5, None, [0]])
def test_arguments_of_the_wrong_type(machine: Machine, argument: object) -> None:
    with pytest.raises(TypeError):
        machine.free(argument)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        machine.alloc(argument)  # type: ignore[arg-type]


def test_a_bulk_allocation_is_all_or_nothing(machine: Machine) -> None:
    with pytest.raises(OutOfMemoryError, match="got=2048"):
        machine.alloc_bulk(3000)
    assert machine.zones[0].nr_free == 2048
    pfns = machine.alloc_bulk(3000, partial=True)
    assert pfns.dtype == np.uint64
    assert sorted(pfns.tolist()) == list(range(2048))
    with pytest.raises(OutOfMemoryError):
        machine.alloc_bulk(10**18)
    with pytest.raises(ValueError, match="negative"):
        machine.alloc_bulk(-1)
    assert machine.alloc_bulk(0).size == 0
    machine.validate()


def test_a_bulk_free_names_the_block(machine: Machine) -> None:
    pfns = machine.alloc_bulk(4)
    with pytest.raises(FrameError, match="pfn=0, order=0, index=3"):
        machine.free_bulk([2, 3, 0, 0])
    machine.free_bulk(np.array([1], dtype=np.int32))
    assert machine.zones[0].nr_free == 2048
    for bad in ([-1], [1.5], [2**64], np.array([-(2**40)]), ["1"]):
        with pytest.raises((ValueError, OverflowError)):
            machine.free_bulk(bad)
    with pytest.raises(FrameError, match="outside"):
        machine.free_bulk([2**64 - 1])
    assert pfns.size == 4


def test_take_split_tag_and_look(machine: Machine) -> None:
    machine.take(600, 3, MigrateType.RECLAIMABLE)
    machine.set_tag(600, 0xFFFFFFFF)
    info = machine.frame_info(605)
    assert (info.state, info.head, info.order, info.tag) == (FrameState.USED, 600, 3, 0xFFFFFFFF)
    assert info.migratetype is MigrateType.RECLAIMABLE
    machine.split(600, 3, 1)
    assert machine.frame_info(605).head == 604
    with pytest.raises(FrameError, match="not free"):
        machine.take(600)
    with pytest.raises(ValueError, match="range"):
        machine.set_tag(600, 2**32)
    states = machine.frame_states(600, 8)
    assert set((states & 7).tolist()) == {FrameState.USED}
    assert set((states >> 3).tolist()) == {MigrateType.RECLAIMABLE}
    for start, n in ((0, 2049), (-1, 2), (2049, 0), (0, -1)):
        with pytest.raises(ValueError, match="outside"):
            machine.frame_states(start, n)


def test_pageblocks(machine: Machine) -> None:
    machine.set_isolated(512)
    assert machine.zones[0].nr_isolated == 512
    with pytest.raises(FrameError):
        machine.set_isolated(512)
    machine.set_isolated(512, False)
    machine.set_pageblock_type(512, MigrateType.HIGHATOMIC)
    assert machine.free_blocks()[0, 9, MigrateType.HIGHATOMIC] == 1
    assert machine.unreserve_highatomic() == 1
    machine.validate()


def test_a_snapshot_is_loaded() -> None:
    machine = Machine([(NORMAL, 0, 1024)], start="unplaced", cpus=2)
    machine.load_pageblock_types([MigrateType.UNMOVABLE, MigrateType.MOVABLE])
    machine.load_blocks(
        [0, 512, 520],
        [8, 3, 0],
        [Place.FREE, Place.USED, Place.PCP],
        [0, MigrateType.MOVABLE, MigrateType.MOVABLE],
        [0, 0, 1],
    )
    machine.load_pcp(1, 0, high=50, alloc_factor=2, free_count=7)
    assert machine.pcp_info(1, 0).count == 1
    assert machine.pcp_info(1, 0).high == 50
    assert machine.free_blocks()[0, 8, MigrateType.UNMOVABLE] == 1
    assert machine.zones[0].nr_unplaced == 1024 - 256 - 8 - 1
    machine.validate()
    with pytest.raises(FrameError, match="pfn=512, order=0, index=1"):
        machine.load_blocks([900, 512], [0, 0], [3, 3], [1, 1])
    with pytest.raises(ValueError, match="length"):
        machine.load_blocks([900, 512], [0], [3, 3], [1, 1])
    with pytest.raises(ValueError, match="fit"):
        machine.load_blocks([900], [256], [3], [1])
    with pytest.raises(FrameError):
        machine.load_pageblock_types([0, 1])


def test_settings_reach_the_core() -> None:
    machine = Machine(
        [(NORMAL, 0, 1 << 18)],
        cpus=3,
        settings=Settings(
            min_free_kbytes=400, watermark_scale_factor=100, pcp_batch=7, pcp_high_min=70, pcp_high_max=700
        ),
    )
    assert machine.zones[0].wmark == (100, 100 + 2621, 100 + 2 * 2621, 100 + 3 * 2621)
    pcp = machine.pcp_info(2, 0)
    assert (pcp.batch, pcp.high_min, pcp.high_max) == (7, 70, 700)
    with pytest.raises(ValueError, match="range"):
        machine.pcp_info(3, 0)
    machine.set_reclaim_active(0, True)
    assert machine.zones[0].reclaim_active


# ---- views ----


def test_views_are_live_read_only_and_keep_the_machine(machine: Machine) -> None:
    frames, blocks = machine.frame_table, machine.pageblock_table
    assert frames.shape == (2048,)
    assert blocks.shape == (4,)
    assert frames.itemsize == blocks.itemsize == 16
    pfn = machine.alloc(2)
    assert frames["word"][pfn] == 3 << 8 | MigrateType.UNMOVABLE << 4 | 2
    assert blocks["type"].tolist() == [0, 0, 1, 1]
    assert blocks["free_order"].tolist() == [0, 9, 10, 0]
    with pytest.raises(ValueError, match="read-only"):
        frames["word"][0] = 0
    machine.close()
    del machine
    gc.collect()
    assert frames["word"][pfn] == 3 << 8 | 2
    assert int(frames["word"].sum()) > 0


def test_validate_says_what_is_wrong(machine: Machine) -> None:
    pfn = machine.alloc()
    address = machine.frame_table.__array_interface__["data"][0]
    ffi.cast("uint32_t *", address)[4 * pfn] = 0
    with pytest.raises(CorruptionError, match="1 frames are nowhere"):
        machine.validate()


# ---- the end ----


def test_a_closed_machine_refuses_everything(machine: Machine) -> None:
    machine.close()
    machine.close()
    assert machine.closed
    assert "closed" in repr(machine)
    calls = [
        machine.alloc,
        lambda: machine.free(0),
        lambda: machine.alloc_bulk(1),
        lambda: machine.free_bulk([0]),
        lambda: machine.take(0),
        lambda: machine.split(0, 1),
        machine.drain,
        lambda: machine.decay_pcp(0),
        lambda: machine.set_isolated(0),
        lambda: machine.set_pageblock_type(0, 0),
        machine.unreserve_highatomic,
        lambda: machine.load_blocks([0], [0], [3], [1]),
        lambda: machine.load_pageblock_types([0]),
        lambda: machine.load_pcp(0, 0, high=1),
        lambda: machine.zones,
        lambda: machine.pcp_info(0, 0),
        machine.counters,
        machine.free_blocks,
        machine.buddyinfo,
        machine.pagetypeinfo,
        machine.zoneinfo,
        lambda: machine.fragmentation_index(0),
        machine.extfrag,
        lambda: machine.frame_table,
        lambda: machine.pageblock_table,
        machine.frame_states,
        lambda: machine.frame_info(0),
        machine.validate,
        lambda: machine.set_tag(0, 0),
        machine.__enter__,
        lambda: machine.handle,
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="closed"):
            call()


def test_the_with_statement_closes() -> None:
    with Machine.from_size("64M") as machine:
        machine.free(machine.alloc())
    assert machine.closed


def test_a_machine_is_not_copied(machine: Machine) -> None:
    for call in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="pickled or copied"):
            call(machine)


def test_a_machine_that_was_never_made_can_be_dropped() -> None:
    with pytest.raises(ValueError, match="range"):
        Machine([(NORMAL, 0, 1024)], cpus=0)
    gc.collect()


def test_close_while_others_work() -> None:
    """Each thread works until it is told that the machine is closed; none crashes."""
    for _ in range(20):
        machine = Machine.from_size("256M", cpus=4)
        started = threading.Barrier(5)
        ends: list[str] = []

        def work(machine: Machine = machine, started: threading.Barrier = started, ends: list[str] = ends) -> None:
            started.wait()
            try:
                while True:
                    machine.free_bulk(machine.alloc_bulk(256))
                    machine.free(machine.alloc(3), 3)
                    machine.frame_states(0, 4096)
            except ClosedError as error:
                ends.append(str(error))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        machine.close()
        for thread in threads:
            thread.join(60)
        assert ends == ["the machine is closed"] * 4


@pytest.mark.skipif(not hasattr(os, "fork") or not RELEASE, reason="no fork here, or not beside a sanitizer")
def test_a_child_gets_an_exception(machine: Machine) -> None:
    machine.alloc()
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            machine.alloc()
        except ClosedError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"the machine belongs to the parent process"
    os.close(read)
    machine.alloc()


# ---- threads ----


def test_each_thread_gets_a_cpu_of_its_own() -> None:
    machine = Machine.from_size("1G", cpus=4)
    ready = threading.Barrier(4)

    def work() -> None:
        ready.wait()
        machine.free(machine.alloc())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(sum(machine.pcp_info(cpu, zone).count for zone in range(machine.nr_zones)) > 0 for cpu in range(4))


def test_threads_free_each_others_blocks() -> None:
    """Blocks pass between threads on their own and on shared CPUs; nothing is lost."""
    machine = Machine([(NORMAL, 0, 1 << 15)], cpus=2, settings=Settings(min_free_kbytes=0, watermark_scale_factor=0))
    pool: list[tuple[int, int]] = []
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        draw = np.random.default_rng(seed)
        try:
            for order in draw.integers(0, 4, size=3000).tolist():
                if draw.random() < 0.5:
                    pool.append((machine.alloc(order, Gfp.HIGHUSER_MOVABLE), order))
                else:
                    try:
                        block = pool.pop()
                    except IndexError:
                        continue
                    machine.free(*block)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    machine.validate()
    zone = machine.zones[0]
    assert zone.nr_free + zone.nr_pcp + sum(1 << order for _, order in pool) == 1 << 15
    for block in pool:
        machine.free(*block)
    machine.drain()
    machine.validate()
    assert machine.zones[0].nr_free == 1 << 15


def test_of_several_frees_one_succeeds() -> None:
    machine = Machine.from_size("64M", cpus=4)
    pfns = machine.alloc_bulk(500).tolist()
    won: list[int] = []
    ready = threading.Barrier(4)

    def work() -> None:
        ready.wait()
        for pfn in pfns:
            try:
                machine.free(pfn)
            except FrameError:
                continue
            won.append(pfn)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(pfns)
    machine.validate()


# ---- size ----


@pytest.mark.skipif(not RELEASE, reason="a sanitizer's shadow memory is resident too")
def test_a_tebibyte_costs_little_until_it_is_used() -> None:
    """Under 64 MiB resident; how long it takes is printed, not tested (benchmarks do that)."""
    program = """
import os, time
import numpy
import pymigrate
pymigrate.Machine.from_size("1M").close()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before, start = resident(), time.perf_counter()
machine = pymigrate.Machine.from_size("1T", cpus=8)
print(resident() - before, time.perf_counter() - start)
machine.free(machine.alloc())
"""
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    cost_bytes, seconds = map(float, out.split())
    print(f"1 TiB: {cost_bytes / 2**20:.1f} MiB resident, {seconds * 1000:.0f} ms")
    assert cost_bytes < 64 << 20


def test_metadata_is_at_most_32_bytes_a_frame(machine: Machine) -> None:
    assert machine.frame_table.itemsize + machine.pageblock_table.itemsize / 512 <= 32


def test_names_are_exported() -> None:
    assert {"Machine", "Settings", "Gfp", "MigrateType", "ClosedError"} <= set(pymigrate.__all__)
    assert Gfp.parse("GFP_KERNEL") == Gfp.KERNEL
    with pytest.raises(ValueError, match="not known"):
        Gfp.parse("GFP_NONSENSE")
