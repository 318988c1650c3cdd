"""What a call from Python costs beside the least that any call can cost, and a batch beside the same batch in C.

A second cffi module has empty functions with the very arguments of `pm_alloc` and `pm_free`, and a loop in C that
calls the core through pointers from the first module: the same machine code on the same machine, without Python.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import cffi
import numpy as np

from benchmarks.drivers import BUILD, ROOT
from benchmarks.report import figure, interleave, ratio, table
from pymigrate import _ffi_build
from pymigrate._core import ffi, lib
from pymigrate.gfp import ZoneKind
from pymigrate.layout import Zone
from pymigrate.machine import Machine

BATCH = 1024

_DECLARATIONS = """
enum pm_status bench_alloc(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp, uint64_t *ret);
enum pm_status bench_free(struct pm_machine *m, uint32_t cpu, uint64_t pfn, uint32_t order);
double bench_batches(void *alloc, void *free, struct pm_machine *m, size_t n, uint64_t *pfns, size_t rounds);
"""
_SOURCE = """
#include <time.h>
#include "pymigrate.h"

static enum pm_status bench_alloc(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp, uint64_t *ret)
{
	(void)m; (void)cpu; (void)order; (void)gfp; (void)ret;
	return PM_OK;
}

static enum pm_status bench_free(struct pm_machine *m, uint32_t cpu, uint64_t pfn, uint32_t order)
{
	(void)m; (void)cpu; (void)pfn; (void)order;
	return PM_OK;
}

/* Nanoseconds for one round: a batch allocated and freed. */
static double bench_batches(void *alloc, void *free_, struct pm_machine *m, size_t n, uint64_t *pfns, size_t rounds)
{
	enum pm_status (*get)(struct pm_machine *, uint32_t, uint32_t, uint32_t, size_t, uint64_t *, size_t *) =
		(enum pm_status (*)(struct pm_machine *, uint32_t, uint32_t, uint32_t, size_t, uint64_t *, size_t *))alloc;
	enum pm_status (*put)(struct pm_machine *, uint32_t, uint32_t, size_t, const uint64_t *, size_t *) =
		(enum pm_status (*)(struct pm_machine *, uint32_t, uint32_t, size_t, const uint64_t *, size_t *))free_;
	struct timespec a, b;
	size_t done;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	for (size_t i = 0; i < rounds; i++)
		if (get(m, 0, 0, PM_GFP_HIGHUSER_MOVABLE, n, pfns, &done) != PM_OK || put(m, 0, 0, n, pfns, &done) != PM_OK)
			return -1;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / (double)rounds;
}
"""


def build_beside() -> ModuleType:
    """Compiles and imports the second module; its types are those of `pymigrate._core`."""
    name = "_pymigrate_bench"
    builder = cffi.FFI()
    builder.include(_ffi_build.make_builder())
    builder.cdef(_DECLARATIONS)
    builder.set_source(
        name,
        _SOURCE,
        include_dirs=[str(ROOT / "csrc" / "include")],
        define_macros=[("_GNU_SOURCE", "1")],
        extra_compile_args=["-O3", "-std=c11"],
    )
    BUILD.mkdir(parents=True, exist_ok=True)
    path = builder.compile(tmpdir=str(BUILD))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def make_machine(size_bytes: int) -> Any:
    """Returns a machine of one zone, freed with the handle."""
    zone = ffi.new(
        "struct pm_zone_layout *", {"kind": lib.PM_ZONE_NORMAL, "start_pfn": 0, "spanned": size_bytes // 4096}
    )
    layout = ffi.new("struct pm_layout *", {"zones": zone, "nr_zones": 1, "nr_cpus": 1, "start": lib.PM_START_FREE})
    lib.pm_settings_default(ffi.addressof(layout, "settings"))
    out = ffi.new("struct pm_machine **")
    if lib.pm_machine_create(layout, out) != 0:
        raise MemoryError("no machine for the benchmark")
    return ffi.gc(out[0], lib.pm_machine_destroy)


def _scalar(alloc: Callable[..., int], free: Callable[..., int], machine: Any, rounds: int) -> Callable[[], float]:
    """Returns a measure: nanoseconds for an allocation and a free, called from a Python loop."""
    flags = int(lib.PM_GFP_HIGHUSER_MOVABLE)
    out = ffi.new("uint64_t *")

    def measure() -> float:
        steps = range(rounds)
        start = time.process_time_ns()
        for _ in steps:
            alloc(machine, 0, 0, flags, out)
            free(machine, 0, out[0], 0)
        return (time.process_time_ns() - start) / rounds

    return measure


def _batch(machine: Any, rounds: int) -> Callable[[], float]:
    """Returns a measure: nanoseconds for a batch allocated and freed, with a numpy array, called from Python."""
    flags = int(lib.PM_GFP_HIGHUSER_MOVABLE)
    frames = np.zeros(BATCH, dtype=np.uint64)
    array = ffi.typeof("uint64_t[]")
    alloc, free, from_buffer = lib.pm_alloc_pfns, lib.pm_free_pfns, ffi.from_buffer

    def measure() -> float:
        steps = range(rounds)
        start = time.process_time_ns()
        for _ in steps:
            pfns = from_buffer(array, frames, True)
            alloc(machine, 0, 0, flags, BATCH, pfns)
            free(machine, 0, 0, BATCH, pfns)
        return (time.process_time_ns() - start) / rounds

    return measure


def _typed_scalar(machine: Machine, rounds: int) -> Callable[[], float]:
    """Returns a measure: nanoseconds for `Machine.alloc` and `Machine.free`."""
    flags = int(lib.PM_GFP_HIGHUSER_MOVABLE)

    def measure() -> float:
        alloc, free = machine.alloc, machine.free
        start = time.process_time_ns()
        for _ in range(rounds):
            free(alloc(0, flags, cpu=0), 0, cpu=0)
        return (time.process_time_ns() - start) / rounds

    return measure


def _typed_batch(machine: Machine, rounds: int) -> Callable[[], float]:
    """Returns a measure: nanoseconds for `Machine.alloc_bulk` and `Machine.free_bulk` of a batch."""
    flags = int(lib.PM_GFP_HIGHUSER_MOVABLE)

    def measure() -> float:
        start = time.process_time_ns()
        for _ in range(rounds):
            machine.free_bulk(machine.alloc_bulk(BATCH, 0, flags, cpu=0), 0, cpu=0)
        return (time.process_time_ns() - start) / rounds

    return measure


def measure_python(*, quick: bool) -> None:
    """Measures calls from Python and prints their table and figures."""
    rounds, calls, batches = (5, 10_000, 200) if quick else (15, 50_000, 1_000)
    beside = build_beside()
    machine = make_machine(1 << 30)
    typed = Machine([Zone(ZoneKind.NORMAL, 0, (1 << 30) // 4096)], cpus=1)
    frames = np.zeros(BATCH, dtype=np.uint64)
    alloc = ffi.cast("void *", ffi.addressof(lib, "pm_alloc_bulk"))
    free = ffi.cast("void *", ffi.addressof(lib, "pm_free_bulk"))
    pfns = ffi.from_buffer("uint64_t[]", frames, require_writable=True)
    samples = interleave(
        rounds,
        {
            "empty": _scalar(beside.lib.bench_alloc, beside.lib.bench_free, machine, calls),
            "scalar": _scalar(lib.pm_alloc, lib.pm_free, machine, calls),
            "c": lambda: float(beside.lib.bench_batches(alloc, free, machine, BATCH, pfns, batches)),
            "batch": _batch(machine, batches),
            "typed": _typed_scalar(typed, calls),
            "typed batch": _typed_batch(typed, batches),
        },
    )
    table(
        "From Python (ns): an allocation and a free of order 0",
        ["", "median", "least"],
        [
            ["two empty cffi calls with the same arguments", _median(samples["empty"]), min(samples["empty"])],
            ["pm_alloc, pm_free", _median(samples["scalar"]), min(samples["scalar"])],
            ["Machine.alloc, Machine.free", _median(samples["typed"]), min(samples["typed"])],
            [f"{BATCH} at once, in C", _median(samples["c"]), min(samples["c"])],
            [f"{BATCH} at once, from Python with a numpy array", _median(samples["batch"]), min(samples["batch"])],
            [
                f"{BATCH} at once, Machine.alloc_bulk, free_bulk",
                _median(samples["typed batch"]),
                min(samples["typed batch"]),
            ],
        ],
    )
    figure("python.scalar.per_cffi", ratio(samples, "scalar", "empty"), "ratio")
    figure("python.scalar.typed.per_cffi", ratio(samples, "typed", "empty"), "ratio")
    figure("python.batch1024.per_c", ratio(samples, "batch", "c"), "ratio")
    figure("python.batch1024.typed.per_c", ratio(samples, "typed batch", "c"), "ratio")
    typed.close()


def _median(values: list[float]) -> float:
    return float(np.median(values))
