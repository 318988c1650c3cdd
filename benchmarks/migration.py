"""The five migration protocols side by side: `python -m benchmarks.migration [--quick]`.

One run, one table; docs/PROTOCOLS.md says what it shows. All pages are 4 KiB with contents.

- page: CPU time a moved page (mode SYNC, all in one call), beside a copy of the same list of pages with stores past
  the cache, and with memcpy, right after each move; one mapping, 8 more across forks, pages of a file with buffers.
- kernel: system time for each page that writing /proc/sys/vm/compact_memory moves in memory with a hole at every other
  page, by pgmigrate_success of /proc/vmstat. Needs root; skipped elsewhere.
- movers: pages a second, one thread and two (each with pages of its own): by wall time, which is right where two
  processors have nothing else to do, and by CPU time, which others at work on the machine disturb less.
- stall: an accessor reads random pages while another thread moves all of them again and again. Of the accesses that
  met a page on its way (they faulted): median, 99th percentile and worst. Where others are at work the upper end is
  how long an accessor or the mover waited for a processor.
- bystander: an access to pages that do not move, while others do, beside the same access alone.
- swap slots, failures by reason with swap full, absent, and pins on 1 % of the pages; pages written out to move 4,096
  dirty file pages.
"""

from __future__ import annotations

from statistics import median

import click

from benchmarks.drivers import Driver, compile_driver
from benchmarks.report import figure, table
from pymigrate import _ffi_build
from pymigrate._core import ffi, lib

PROTOCOLS = [ffi.string(lib.pm_migrate_protocol_name(i)).decode() for i in range(lib.PM_NR_PROTOCOLS)]
REASONS = [ffi.string(lib.pm_migrate_reason_text(i)).decode() for i in range(lib.PM_NR_WHY)]
COMMON, BUFFERS = int(lib.PM_FS_COMMON), int(lib.PM_FS_BUFFERS)

Row = list[str | float | None]


def measure_pages(driver: Driver, rounds: int, kernel_mib: int) -> None:
    """Prints what a moved page costs, beside a copy and beside the kernel."""
    cases = {"1 mapping": (0, -1), "9 mappings": (8, -1), "file, buffers": (0, BUFFERS)}
    samples: dict[tuple[int, str], list[list[float]]] = {}
    kernel: list[float] = []
    for _ in range(rounds):
        for number in range(len(PROTOCOLS)):
            for case, (children, fs) in cases.items():
                answer = driver.numbers(f"page {number} {children} {fs} 3")
                samples.setdefault((number, case), []).append(answer)
        answer = driver.numbers(f"kernel {kernel_mib}")
        if answer[1] == 0:
            kernel.append(answer[0])
        elif answer[1] == 1:
            print("no permission for /proc/sys/vm/compact_memory: the kernel's figures are skipped (root only)")
        else:
            print("compact_memory moved next to nothing this time: not counted")
    rows: list[Row] = []
    for number, name in enumerate(PROTOCOLS):
        for case in cases:
            taken = [one for one in samples[number, case] if one[3] > 0]
            if not taken:
                rows.append([f"{name}, {case}", None, None, None, None, 0.0])
                continue
            page, stream = median(one[0] for one in taken), median(one[0] / one[1] for one in taken)
            copied, share = median(one[0] / one[2] for one in taken), median(one[3] / one[4] for one in taken)
            beside = median(page / one for one in kernel) if kernel else None
            rows.append([f"{name}, {case}", page, stream, copied, beside, 100 * share])
            if case == "1 mapping":
                figure(f"{name}.page.ns", page, "ns")
                figure(f"{name}.page.per_copy", stream, "ratio")
                if beside is not None:
                    figure(f"{name}.page.per_kernel", beside, "ratio")
            else:
                figure(f"{name}.page.per_copy.{case.replace(', ', '.').replace(' ', '')}", stream, "ratio")
    columns = ["a moved page", "CPU ns", "per streaming copy", "per memcpy", "per kernel's", "moved, %"]
    table("Moving pages", columns, rows)
    if kernel:
        figure("kernel.page.ns", median(kernel), "ns")


def measure_threads(driver: Driver, rounds: int) -> None:
    """Prints how two movers do beside one, and what accessors feel."""
    rows: list[Row] = []
    for number, name in enumerate(PROTOCOLS):
        one, two, scaled, by_cpu = [], [], [], []
        stalls: list[list[float]] = []
        slowed: list[float] = []
        for _ in range(rounds):
            alone, both = driver.numbers(f"movers {number} 1 4"), driver.numbers(f"movers {number} 2 4")
            one.append(alone[0])
            two.append(both[0])
            scaled.append(both[0] / alone[0])
            by_cpu.append(both[1] / alone[1])
            stalls.append(driver.numbers(f"stall {number} 200"))
            bystander = driver.numbers(f"bystander {number} 40")
            slowed.append(bystander[1] / bystander[0])
        p50, p99, worst = (median(one[i] for one in stalls) for i in range(3))
        rows.append([name, median(one), median(two), median(scaled), p50, p99, worst, median(slowed)])
        figure(f"{name}.movers2", median(scaled), "ratio")
        figure(f"{name}.movers2.cpu", median(by_cpu), "ratio")
        for what, value in (("p50", p50), ("p99", p99), ("worst", worst)):
            figure(f"{name}.stall.{what}", value, "ns")
        figure(f"{name}.bystander.slowdown", median(slowed), "ratio")
    columns = ["", "pages/s", "2 movers", "ratio", "stall p50, ns", "p99", "worst", "bystander"]
    table("Beside each other", columns, rows)


def measure_failures(driver: Driver) -> None:
    """Prints what cannot be moved, and why; swap slots and transfers that a move takes."""
    cases = {"swap, 1 % pinned": (16384, 100), "swap for half": (4096, 0), "no swap": (0, 0)}
    rows: list[Row] = []
    for number, name in enumerate(PROTOCOLS):
        for case, (slots, pins) in cases.items():
            answer = driver.numbers(f"failures {number} {slots} {pins}")
            why = {REASONS[i]: int(n) for i, n in enumerate(answer[1:-1]) if n}
            said = ", ".join(f"{n} {reason}" for reason, n in why.items()) or "-"
            rows.append([f"{name}, {case}", f"{answer[0]:.0f}", said, f"{answer[-1]:.0f}"])
            if case == "swap, 1 % pinned":
                figure(f"{name}.swap_slots", answer[-1], "slots")
                figure(f"{name}.pinned.failed", sum(why.values()), "pages")
    table("8,192 pages", ["", "moved", "failed", "swap slots"], rows)
    for name, fs in (("common", COMMON), ("buffers", BUFFERS)):
        written, moved = driver.numbers(f"writeouts {fs}")
        figure(f"{name}.writeouts", written, "pages")
        figure(f"{name}.moved", moved, "pages")


@click.command()
@click.option("--quick", is_flag=True, help="Less of everything: a smoke test, its ratios are rough.")
def main(quick: bool) -> None:
    """Compare the protocols with each other, with a copy, and with the host kernel's compaction."""
    flags, _ = _ffi_build.FLAVOURS["release"]
    driver = Driver(compile_driver("migration", with_core=True, flags=["-fPIC", *flags]))
    measure_pages(driver, 1 if quick else 5, 512 if quick else 2048)
    measure_threads(driver, 1 if quick else 5)
    measure_failures(driver)
    driver.close()


if __name__ == "__main__":
    main()
