"""Address spaces beside the host kernel's own, on the same machine in the same run: `python -m benchmarks.virt [--quick]`.

Times are CPU time of the thread at work (user and system). In a round every measure takes its turn; a ratio is the
median over the rounds of the ratio within a round.

- fault: the first write to each page of a fresh anonymous mapping, zero fill included; ours by one `pm_touch` over the
  range (and, as `fault.calls.per_kernel`, by one `pm_write` a page), the kernel's by a store to each page of an mmap.
  Pages of 4 KiB on both sides (no huge pages); both have their memory already, and zero it.
- fork: a space with 1 GiB of touched anonymous memory; the kernel's by fork(2) of a process with as much.
- access: an 8-byte read from page after page; with the epoch, a fence, or a lock a CPU as what a flush waits for. A whole
  page copied out of a space, beside process_vm_readv(2), the kernel's way to do so by page table.
- rmap: for a page that 1 to 1,000 forked spaces map, a walk's time for each mapping; for a page of one child's own,
  the walk's time while as many others live.
"""

from __future__ import annotations

from functools import partial
from statistics import median

import click

from benchmarks.drivers import Driver, compile_driver
from benchmarks.report import Samples, figure, interleave, ratio, table
from pymigrate import _ffi_build

GIB_PAGES = (1 << 30) >> 12
FORKS = (1, 10, 100, 1000)


def measure(driver: Driver, *, rounds: int, pages: int, accesses: int) -> Samples:
    """Takes all measures: the name of a sample is the request's, with its number for the walks."""
    numbers = {
        "fault_core": pages,
        "fault_core_calls": pages,
        "fault_kernel": pages,
        "fork_core": GIB_PAGES,
        "fork_kernel": GIB_PAGES,
        "access_epoch": accesses,
        "access_fence": accesses,
        "access_lock": accesses,
        "page_core": accesses // 4,
        "page_kernel": accesses // 16,
    }
    measures = {name: partial(driver.send, f"{name} {number}") for name, number in numbers.items()}
    for forks in FORKS:
        for kind in ("rmap_shared", "rmap_private"):
            measures[f"{kind} {forks}"] = partial(driver.send, f"{kind} {forks}")
    # The first round makes the machines, and is thrown away.
    samples = interleave(rounds + 1, measures)
    return {name: values[1:] for name, values in samples.items()}


def print_all(samples: Samples) -> None:
    """Prints the tables and the figures."""

    def middle(name: str) -> float:
        return median(samples[name])

    table(
        "Beside the kernel",
        ["", "pymigrate", "kernel", "ratio"],
        [
            [
                "fault, ns a page",
                middle("fault_core"),
                middle("fault_kernel"),
                ratio(samples, "fault_core", "fault_kernel"),
            ],
            [
                "fault, a call a page, ns",
                middle("fault_core_calls"),
                middle("fault_kernel"),
                ratio(samples, "fault_core_calls", "fault_kernel"),
            ],
            [
                "fork of 1 GiB, ms",
                middle("fork_core") / 1e6,
                middle("fork_kernel") / 1e6,
                ratio(samples, "fork_core", "fork_kernel"),
            ],
            [
                "page copied out, ns",
                middle("page_core"),
                middle("page_kernel"),
                ratio(samples, "page_core", "page_kernel"),
            ],
        ],
    )
    table(
        "Access of 8 bytes, ns",
        ["epoch", "fence", "lock"],
        [[f"{middle('access_epoch'):.2f}", middle("access_fence"), middle("access_lock")]],
    )
    table(
        "Reverse map, ns",
        ["forks", "a mapping of a page that all map", "a walk for a page of one child"],
        [[str(forks), middle(f"rmap_shared {forks}"), middle(f"rmap_private {forks}")] for forks in FORKS],
    )
    figure("fault.per_kernel", ratio(samples, "fault_core", "fault_kernel"), "ratio")
    figure("fault.calls.per_kernel", ratio(samples, "fault_core_calls", "fault_kernel"), "ratio")
    figure("fork1gib.per_kernel", ratio(samples, "fork_core", "fork_kernel"), "ratio")
    figure("access.ns", middle("access_epoch"), "ns")
    figure("access.epoch_per_lock", ratio(samples, "access_epoch", "access_lock"), "ratio")
    figure("access.epoch_per_fence", ratio(samples, "access_epoch", "access_fence"), "ratio")
    figure("access.page.per_kernel", ratio(samples, "page_core", "page_kernel"), "ratio")
    figure("rmap.walk.per_mapping.ns", middle(f"rmap_shared {FORKS[-1]}"), "ns")
    figure("rmap.walk.shared.1_to_1000", ratio(samples, f"rmap_shared {FORKS[-1]}", f"rmap_shared {FORKS[1]}"), "ratio")
    figure(
        "rmap.walk.private.1_to_1000", ratio(samples, f"rmap_private {FORKS[-1]}", f"rmap_private {FORKS[0]}"), "ratio"
    )


@click.command()
@click.option("--quick", is_flag=True, help="Less of everything: a smoke test, its ratios are rough.")
def main(quick: bool) -> None:
    """Compare faults, forks, accesses and reverse-map walks with the host kernel's."""
    flags, _ = _ffi_build.FLAVOURS["release"]
    driver = Driver(compile_driver("virt", with_core=True, flags=["-fPIC", *flags]))
    samples = measure(
        driver, rounds=2 if quick else 11, pages=1 << (13 if quick else 16), accesses=1 << (16 if quick else 20)
    )
    driver.close()
    print_all(samples)


if __name__ == "__main__":
    main()
