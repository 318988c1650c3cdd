"""What recording costs: `python -m benchmarks.record`, as root.

A load that faults and one that writes and reads files run alone, under `pymigrate record` and under `perf record` of
the same events, in turns; each times itself. The figures compare the quickest rounds, so that what else runs on the
machine counts little; run it on a quiet one all the same. The load's own CPU time is printed beside its time. Then what
was recorded is decoded: our own ring-buffer pages, perf.data, and trace.dat where trace-cmd works here.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks.drivers import compile_driver
from benchmarks.report import Samples, figure, interleave, table
from pymigrate.recording.detect import read_events
from pymigrate.recording.live import DEFAULT_EVENTS, RecordError, RecordOptions, record
from pymigrate.recording.live.tracefs import choose_events, tracefs

LOADS = ("fault", "io")


class Bench:
    """The load under each recorder, and what came of it."""

    def __init__(self, folder: Path, events: tuple[str, ...], rounds_of: dict[str, int]) -> None:
        self.folder, self.events, self.rounds_of = folder, events, rounds_of
        self.program = compile_driver("record_load", with_core=False, flags=["-O2"])
        self.lost = {"record": 0, "perf": 0}
        self.decode: dict[str, list[float]] = {}
        self.cpu: list[float] = []
        self.options = RecordOptions(events=events, snapshot=False, max_bytes=4 << 30)

    def words(self, load: str, times: int = 1) -> list[str]:
        """The load's command, `times` as long; its seconds go to a file."""
        command = f'exec "$@" > {self.folder}/seconds'
        return ["sh", "-c", command, "sh", str(self.program), load, str(times * self.rounds_of[load]), str(self.folder)]

    def seconds(self) -> float:
        """What the load measured of itself; its CPU time is kept for later."""
        wall, cpu = (self.folder / "seconds").read_text().split()
        self.cpu.append(float(cpu))
        return float(wall)

    def alone(self, load: str) -> float:
        """The load alone."""
        subprocess.run(self.words(load), check=True)
        return self.seconds()

    def record(self, load: str) -> float:
        """The load under our recorder."""
        result = record(self.words(load), self.folder / f"{load}.npz", options=self.options)
        self.lost["record"] += result.lost
        if len(result.imported.recording.events) > 100_000:
            self.decode.setdefault("tracefs", []).append(result.imported.events_per_second)
        return self.seconds()

    def perf(self, load: str) -> float:
        """The load under perf record."""
        path = self.folder / "perf.data"
        chosen = [word for event in self.events for word in ("-e", event.replace("/", ":"))]
        words = ["perf", "record", "-q", "-a", "-k", "mono", "-m", "8M", "-o", str(path), *chosen, "--"]
        subprocess.run([*words, *self.words(load)], check=True, stderr=subprocess.DEVNULL)
        found = read_events(path)
        self.lost["perf"] += found.parse.lost_events
        if len(found.events) > 100_000:
            self.decode.setdefault("perf_data", []).append(len(found.events) / found.seconds)
        return self.seconds()

    def trace_cmd(self, load: str) -> None:
        """Decodes a trace.dat of the load, where trace-cmd works."""
        path = self.folder / "trace.dat"
        chosen = [word for event in self.events for word in ("-e", event.replace("/", ":"))]
        # Long enough that reading the formats of a thousand events counts little.
        words = ["trace-cmd", "record", "-a", "-C", "mono", "-b", "16384", "-o", str(path), *chosen]
        words += self.words(load, times=6)
        done = subprocess.run(words, cwd=self.folder, capture_output=True, check=False)
        if done.returncode != 0:
            done = subprocess.run(stand_ins(self.folder, words), cwd=self.folder, capture_output=True, check=False)
        if done.returncode != 0 or not path.exists():
            reason = done.stderr.decode(errors="replace").strip().replace("\n", " ")
            print(f"left out: trace-cmd cannot record here: {reason[:200]}")
            return
        reads = [read_events(path) for _ in range(3)]
        self.decode["trace_dat"] = [len(found.events) / found.seconds for found in reads]


def stand_ins(folder: Path, words: list[str]) -> list[str]:
    """A command with other files in place of those of the function tracer, which trace-cmd insists on writing."""
    files = ["/proc/sys/kernel/ftrace_enabled"]
    files += [f"/sys/kernel/tracing/{name}" for name in ("set_ftrace_pid", "set_ftrace_filter", "set_ftrace_notrace")]
    mounts = ""
    for number, file in enumerate(files):
        stand_in = folder / f"stand-in.{number}"
        stand_in.write_text("1")
        mounts += f"[ ! -e {file} ] || mount --bind {stand_in} {file}; "
    return ["unshare", "-m", "sh", "-c", f'{mounts} exec "$@"', "sh", *words]


def extra(samples: Samples, name: str) -> float:
    """The share by which the load takes longer, by the quickest round of each."""
    return min(samples[name]) / min(samples["alone"]) - 1


def report(load: str, samples: Samples, cpu: Samples) -> float | None:
    """Prints a load's figures. Returns our extra time by perf's."""
    figure(f"overhead.{load}.alone", min(samples["alone"]), "s")
    for name in samples:
        if name != "alone":
            figure(f"overhead.{load}.{name}", 100 * extra(samples, name), "%")
            figure(f"overhead.{load}.{name}.cpu", 100 * extra(cpu, name), "%")
    per_perf = None
    if "perf" in samples and extra(samples, "perf") > 0:
        per_perf = extra(samples, "record") / extra(samples, "perf")
        figure(f"overhead.{load}.per_perf", per_perf, "times")
    if "perf" in cpu and extra(cpu, "perf") > 0:
        figure(f"overhead.{load}.per_perf.cpu", extra(cpu, "record") / extra(cpu, "perf"), "times")
    rows: list[Sequence[Any]] = [
        (name, min(values), 100 * extra(samples, name), 100 * extra(cpu, name)) for name, values in samples.items()
    ]
    table(f"The load {load}", ("under", "seconds", "longer by %", "more CPU time by %"), rows)
    return per_perf


def measures(bench: Bench, load: str, *, with_perf: bool) -> dict[str, Callable[[], float]]:
    """What is taken in turns."""
    found = {"alone": lambda: bench.alone(load), "record": lambda: bench.record(load)}
    if with_perf:
        found["perf"] = lambda: bench.perf(load)
    return found


@click.command()
@click.option("--load", "loads", type=click.Choice(LOADS), multiple=True, default=LOADS, help="One load only.")
@click.option("--rounds", default=8, show_default=True, help="How often each is measured.")
@click.option("--fault-rounds", default=4, show_default=True, help="Times that the fault load maps 64 MiB.")
@click.option("--io-rounds", default=10, show_default=True, help="Times that the io load writes 32 MiB.")
def main(loads: tuple[str, ...], rounds: int, fault_rounds: int, io_rounds: int) -> None:
    """Measure what recording costs, beside perf record of the same events."""
    began = time.monotonic()
    try:
        with tracefs() as root:
            events, _ = choose_events(root, DEFAULT_EVENTS)
    except RecordError as error:
        sys.exit(f"nothing can be recorded here: {error}")
    with_perf = shutil.which("perf") is not None
    if not with_perf:
        print("left out: perf is not installed")
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), events, {"fault": fault_rounds, "io": io_rounds})
        for load in loads:
            bench.cpu.clear()
            samples = interleave(rounds, measures(bench, load, with_perf=with_perf))
            cpu = {name: bench.cpu[i :: len(samples)] for i, name in enumerate(samples)}
            per_perf = report(load, samples, cpu)
            ratios += [per_perf] if per_perf is not None else []
        if shutil.which("trace-cmd") is not None:
            bench.trace_cmd("fault")
    if ratios:
        # The worse of the two loads.
        figure("overhead.per_perf", max(ratios), "times")
    figure("lost", bench.lost["record"], "events")
    if with_perf:
        figure("lost.perf", bench.lost["perf"], "events")
    for source, rates in bench.decode.items():
        figure(f"decode.{source}.events_per_second", median(rates), "1/s")
    figure("decode.events_per_second", median(bench.decode["tracefs"]), "1/s")
    print(f"took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
