"""The page-frame allocator beside what stands next to it: `python -m benchmarks.alloc [--quick]`.

Each workload runs in rounds; in a round every target takes its turn, and a ratio is the median over the rounds of
the ratio within a round. Times are CPU time of the threads at work, per operation. What an operation is, by workload:

- pair: allocate one block and free it, repeated; of order 0 and of order 9;
- bulk: allocate a quarter of memory block by block (batch: 1,024 blocks a call), then free it: one of each;
  the second time is measured;
- shuffled: two threads allocate, the blocks are shuffled together, each frees half of them: one free;
- random: with 90 % of memory allocated, free 64 blocks at random and allocate 64 (batch: a call each): one of each;
- mutex, cas: an uncontended lock and unlock of a pthread mutex; a compare-and-swap.

The mutex and the compare-and-swap run in the same process as the core; mimalloc, jemalloc and tcmalloc run each in a
process of its own, with blocks of 4 KiB.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial
from statistics import median

import click

from benchmarks.drivers import Driver, Request, core_driver, malloc_drivers
from benchmarks.report import Samples, figure, interleave, ratio, table

GIB = 1 << 30
PAIR_ROUNDS = 500_000
SIZES = {"64 MiB": 1 << 26, "1 GiB": 1 << 30, "16 GiB": 1 << 34, "256 GiB": 1 << 38}


def requests(size_bytes: int, threads: int, scale: float) -> dict[str, Request]:
    """Returns the workloads of one size and number of threads, by the name of their row."""
    quarter = size_bytes // 4096 // 4 // threads
    pairs = max(64, int(PAIR_ROUNDS * scale) // threads)

    def make(name: str, rounds: int, *, order: int = 0, batch: bool = False) -> Request:
        return Request(name, threads=threads, size_bytes=size_bytes, order=order, rounds=rounds, batch=batch)

    found = {
        "pair, order 0": make("pair", pairs),
        "pair, order 9": make("pair", pairs, order=9),
        "bulk": make("bulk", quarter),
        "bulk, batch": make("bulk", quarter, batch=True),
        "random": make("random", pairs),
        "random, batch": make("random", pairs, batch=True),
    }
    if threads > 1:
        found["shuffled"] = make("shuffled", quarter)
        found["shuffled, batch"] = make("shuffled", quarter, batch=True)
    return found


def measure_beside(core: Driver, others: dict[str, Driver], rounds: int, size_bytes: int, scale: float) -> Samples:
    """Runs all workloads on all targets; a sample's name is ``target/threads/workload``."""
    steps = max(64, int(1_000_000 * scale))
    asked: dict[str, tuple[Driver, Request]] = {}
    for threads in (1, 2):
        asked[f"core/{threads}/cas"] = (core, Request("cas", threads=threads, rounds=steps))
        asked[f"core/{threads}/mutex"] = (core, Request("mutex", threads=threads, rounds=steps))
        for name, request in requests(size_bytes, threads, scale).items():
            # The mutex is measured beside each workload: a ratio to one of another second would carry its noise.
            asked[f"core/{threads}/mutex for {name}"] = (core, Request("mutex", threads=1, rounds=steps))
            asked[f"core/{threads}/{name}"] = (core, request)
            for other, driver in others.items():
                if not request.batch and request.order == 0:
                    asked[f"{other}/{threads}/{name}"] = (driver, request)
    # The first round of each target takes memory from the system, and is thrown away.
    samples = interleave(rounds + 1, {name: partial(driver.ask, request) for name, (driver, request) in asked.items()})
    return {name: values[1:] for name, values in samples.items()}


def print_beside(samples: Samples, others: list[str]) -> None:
    """Prints the table and the figures of `measure_beside`."""
    for threads in (1, 2):
        rows: list[list[str | float | None]] = []
        for name in requests(GIB, threads, 1.0):
            mutex = f"core/{threads}/mutex for {name}"
            values = [samples.get(f"{target}/{threads}/{name}") for target in ["core", *others]]
            cells = [None if value is None else median(value) for value in values]
            rows.append([name, *cells, median(samples[mutex]), ratio(samples, f"core/{threads}/{name}", mutex)])
        rows.append(["compare-and-swap", median(samples[f"core/{threads}/cas"]), *[None] * (len(others) + 2)])
        columns = ["", "pymigrate", *others, "mutex pair", "pymigrate per mutex"]
        table(f"{threads} thread{'s' * (threads > 1)}: CPU ns per operation", columns, rows)

    def per_mutex(threads: int, name: str) -> float:
        return ratio(samples, f"core/{threads}/{name}", f"core/{threads}/mutex for {name}")

    figure("pair.order0.per_mutex", per_mutex(1, "pair, order 0"), "ratio")
    figure("pair.order9.per_mutex", per_mutex(1, "pair, order 9"), "ratio")
    figure("bulk.per_mutex", per_mutex(1, "bulk, batch"), "ratio")
    figure("bulk.scalar.per_mutex", per_mutex(1, "bulk"), "ratio")
    figure("shuffled_free.per_mutex", per_mutex(2, "shuffled"), "ratio")
    figure("shuffled_free.batch.per_mutex", per_mutex(2, "shuffled, batch"), "ratio")
    if "tcmalloc" in others:
        figure("random90.per_tcmalloc", ratio(samples, "core/1/random, batch", "tcmalloc/1/random"), "ratio")
        figure("random90.scalar.per_tcmalloc", ratio(samples, "core/1/random", "tcmalloc/1/random"), "ratio")
    growth = {name: ratio(samples, f"core/2/{name}", f"core/1/{name}") for name in requests(GIB, 1, 1.0)}
    figure("threads2.cpu_ratio", growth["pair, order 0"], "ratio")
    # Threads that share nothing: what is above 1 here is the machine's doing.
    figure("threads2.mutex.cpu_ratio", ratio(samples, "core/2/mutex", "core/1/mutex"), "ratio")
    for name in ("pair, order 9", "bulk", "bulk, batch", "random", "random, batch"):
        figure(f"threads2.{name.replace(', ', '.').replace(' ', '')}.cpu_ratio", growth[name], "ratio")


def measure_growth(core: Driver, rounds: int, scale: float) -> None:
    """Prints how the time of an operation grows with simulated memory, all else equal."""
    pairs = max(64, int(PAIR_ROUNDS * scale))
    # As many blocks at every size: the bulk is 32 MiB of them.
    kinds = {
        "pair, order 0": Request("pair", rounds=pairs),
        "pair, order 9": Request("pair", rounds=pairs, order=9),
        "bulk": Request("bulk", rounds=8192),
        "bulk, batch": Request("bulk", rounds=8192, batch=True),
    }
    samples: Samples = {}
    for _ in range(rounds):
        for size_name, size in SIZES.items():
            for kind, request in kinds.items():
                sized = replace(request, size_bytes=size)
                # The driver makes a new machine for a new size: the first touch of its tables is not what grows.
                core.ask(sized)
                samples.setdefault(f"{size_name}/{kind}", []).append(core.ask(sized))
    rows: list[list[str | float | None]] = [
        [kind, *[median(samples[f"{size}/{kind}"]) for size in SIZES]] for kind in kinds
    ]
    table("Simulated memory: CPU ns per operation, 1 thread", ["", *SIZES], rows)
    for kind in kinds:
        medians = [median(samples[f"{size}/{kind}"]) for size in SIZES]
        name = kind.replace(", ", ".").replace(" ", "")
        figure(f"growth.{name}.64mib_to_256gib", max(medians) / medians[0], "ratio")


def measure_metadata(core: Driver) -> None:
    """Prints what a frame costs in resident memory once every frame of a machine has been allocated."""
    core.ask(Request("bulk", rounds=64, size_bytes=1 << 26))
    before = core.resident_bytes()
    size = 4 * GIB
    frames = size // 4096
    # Watermarks keep a part back, and nothing is allocated of that: its frames count all the same, untouched or not.
    core.ask(Request("random", rounds=64, size_bytes=size))
    figure("metadata.bytes_per_frame", (core.resident_bytes() - before) / frames, "bytes")
    start = time.perf_counter()
    core.ask(Request("pair", rounds=64, size_bytes=1 << 40))
    figure("create.1tib", time.perf_counter() - start, "seconds")
    figure("create.1tib.resident", (core.resident_bytes() - before) / (1 << 20), "MiB")


@click.command()
@click.option("--quick", is_flag=True, help="Less of everything: a smoke test, its ratios are rough.")
def main(quick: bool) -> None:
    """Compare the allocator with mutexes, other allocators, and itself from Python."""
    rounds, size_bytes, scale = (3, GIB // 4, 0.1) if quick else (11, GIB, 1.0)
    core = core_driver()
    others, missing = malloc_drivers()
    print(f"{os.cpu_count()} processors; {rounds} rounds; {size_bytes >> 20} MiB of simulated memory")
    for line in missing:
        print(line)
    print_beside(measure_beside(core, others, rounds, size_bytes, scale), list(others))
    for driver in others.values():
        driver.close()
    measure_growth(core, 3 if quick else 7, scale)
    measure_metadata(core)
    core.close()
    from benchmarks.python_calls import measure_python

    measure_python(quick=quick)


if __name__ == "__main__":
    main()
