"""Checks the Promela models of `models/` with spin: `python tools/models.py [--list] [MODEL[:CONFIGURATION[:BUG]] …]`.

A model as it is must hold in every configuration, be searched to the end, and contain a migration that succeeds.
With a mistake planted, the same model must fail. Prints states and seconds of each run, then the figures; ends with 1
if anything is not as it must be.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "models"
BUILD = ROOT / "build" / "models"
MISSING = "spin is missing: apt-get install spin gcc"
#: Most memory a search may take, in MiB, and its greatest depth.
MEMORY_MIB, DEPTH = 4000, 200_000

CONFIGURATIONS = {
    "entry": [
        "BASIC",
        "FORK",
        "EXIT",
        "REMAP",
        "PIN",
        "PROTECT",
        "TRUNCATE",
        "WRITEBACK",
        "REFAULT",
        "SWAPIN",
        "REUSE",
        "LIVE",
    ],
    "swap_cache": [
        "BASIC",
        "FORK",
        "EXIT",
        "REWIND",
        "PROTECT",
        "TRUNCATE",
        "WRITEBACK",
        "REFAULT",
        "SWAPIN",
        "TOUCH",
        "LIVE",
    ],
}

#: Each planted bug, and the configuration in which it has to be found.
BUGS = {
    "entry": {
        "BUG_NO_FLUSH": "BASIC",
        "BUG_WAKE_ONE": "BASIC",
        "BUG_LATE_QUEUE": "BASIC",
        "BUG_WAITER_REF": "BASIC",
        "BUG_UNLOCK_EARLY": "BASIC",
        "BUG_EARLY_RESTORE": "BASIC",
        "BUG_CHILD_FIRST": "FORK",
        "BUG_WIDER": "PROTECT",
        "BUG_PTE_UNCHECKED": "FORK",
        "BUG_REMAP_UNLOCKED": "REMAP",
        "BUG_PIN_EARLY": "PIN",
        "BUG_NOT_FROZEN": "WRITEBACK",
        "BUG_REWIND_NO_WAKE": "WRITEBACK",
        "BUG_WRITEBACK_IGNORED": "WRITEBACK",
        "BUG_DIRTY_LOST": "WRITEBACK",
        "BUG_SLOT_UNCHECKED": "TRUNCATE",
        "BUG_DOUBLE_PUT": "TRUNCATE",
    },
    "swap_cache": {
        "BUG_NO_FLUSH": "PROTECT",
        "BUG_WAKE_ONE": "BASIC",
        "BUG_UNLOCK_EARLY": "PROTECT",
        "BUG_PTE_UNCHECKED": "EXIT",
        "BUG_REWIND_NO_WAKE": "REWIND",
        "BUG_AGAIN_IGNORED": "REWIND",
        "BUG_NEW_FREED_EARLY": "REWIND",
        "BUG_SLOT_UNCHECKED": "TRUNCATE",
        "BUG_NO_DRAIN": "TRUNCATE",
        "BUG_TRUNCATED_BY_COUNT": "TRUNCATE",
        "BUG_DOUBLE_PUT": "TRUNCATE",
        "BUG_WAITS_FOR_ENTRIES": "REFAULT",
        "BUG_WRITEBACK_IGNORED": "WRITEBACK",
        "BUG_DIRTY_LOST": "WRITEBACK",
        "BUG_SWITCH_IN_STEPS": "SWAPIN",
        "BUG_SLOT_STILL_NAMED": "SWAPIN",
    },
}


@dataclass(frozen=True)
class Run:
    """One search: a model in a configuration, as it is (`bug` empty) or with a mistake planted."""

    model: str
    configuration: str
    bug: str = ""

    @property
    def name(self) -> str:
        """How the command line names it."""
        return ":".join(filter(None, (self.model, self.configuration, self.bug)))


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        run: The run.
        states: Distinct states that were stored.
        seconds: Of the search alone, by the wall clock.
        found: What spin found wrong with the model, or nothing.
        problem: Why the run is not as it must be, or nothing.
    """

    run: Run
    states: int
    seconds: float
    found: str
    problem: str


def all_runs() -> list[Run]:
    """Returns every run: all configurations of both models, then all planted bugs."""
    correct = [Run(model, name) for model, names in CONFIGURATIONS.items() for name in names]
    return correct + [Run(model, name, bug) for model, bugs in BUGS.items() for bug, name in bugs.items()]


def select(wanted: list[str]) -> list[Run]:
    """Returns the runs that the words name: `entry` all of a model, `entry:PIN` all of a configuration.

    Raises:
        ValueError: A word names nothing.
    """
    runs = all_runs()
    for word in wanted:
        if not any(f"{run.name}:".startswith(f"{word}:") for run in runs):
            raise ValueError(f"no model, configuration or bug is called {word!r}: --list names them")
    return [run for run in runs if not wanted or any(f"{run.name}:".startswith(f"{word}:") for word in wanted)]


def command(words: list[str | Path], folder: Path) -> str:
    """Runs a command and returns what it printed. A failure ends with that text."""
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}\n{done.stdout}")
    return done.stdout


def judge(run: Run, text: str, *, trail: bool) -> tuple[int, str, str]:
    """Reads a verifier's output.

    Returns:
        The states stored, what was found wrong with the model, and why the run is not as it must be.
    """
    states = re.search(r"^\s*(\d+) states, stored", text, re.MULTILINE)
    errors = re.search(r"errors: (\d+)", text)
    if states is None or errors is None:
        return 0, "", f"the search ended without a result:\n{text}"
    first = re.search(r"^pan:1: (.*?) \(at depth \d+\)", text, re.MULTILINE)
    found = first.group(1) if first and trail else ""
    if bool(int(errors.group(1))) != bool(found):
        return int(states.group(1)), found, f"an error without a trail, or a trail without an error:\n{text}"
    if run.bug:
        return int(states.group(1)), found, "" if found else "the planted bug was not found"
    if found:
        return int(states.group(1)), found, "the model does not hold"
    if "max search depth too small" in text or "Search not completed" in text:
        return int(states.group(1)), found, "the search did not reach the end"
    # spin lists the steps that no run takes; after the copy no migration fails any more.
    if '"fr[d].v1 = fr[s].v1"' in text:
        return int(states.group(1)), found, "no migration succeeds in this configuration"
    return int(states.group(1)), found, ""


def check(run: Run) -> Result:
    """Makes the verifier of a run and lets it search."""
    folder = BUILD / run.name.replace(":", "-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    macros = [f"-D{name}" for name in (run.configuration, run.bug) if name]
    live = run.configuration == "LIVE"
    # Compiling with optimisation takes longer than the search gains by it.
    kind = ["-DNFAIR=3"] if live else ["-DSAFETY"]
    try:
        command(["spin", "-a", *macros, MODELS / f"{run.model}.pml"], folder)
        command(["gcc", "-O0", "-w", *kind, "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MIB}", "-o", "pan", "pan.c"], folder)
        start = time.monotonic()
        text = command(["./pan", f"-m{DEPTH}", "-w20", *(["-a", "-f"] if live else [])], folder)
    except RuntimeError as error:
        return Result(run, 0, 0.0, "", str(error))
    states, found, problem = judge(run, text, trail=any(folder.glob("*.trail")))
    return Result(run, states, time.monotonic() - start, found, problem)


def how_to_see(run: Run) -> str:
    """Returns the command that prints the steps that led to what was found, in the folder of the run."""
    macros = " ".join(f"-D{name}" for name in (run.configuration, run.bug) if name)
    folder = (BUILD / run.name.replace(":", "-")).relative_to(ROOT)
    return f"spin -k {folder}/{run.model}.pml.trail -p -g {macros} models/{run.model}.pml"


def show(result: Result) -> None:
    """Prints one line of the table, and more if the run is not as it must be."""
    outcome = result.found[:60] if result.run.bug else "holds"
    if result.problem:
        outcome = "WRONG"
    print(f"{result.run.name:44s} {result.states:9d} {result.seconds:7.2f}  {outcome}", flush=True)
    if result.problem:
        print(f"    {result.problem}")
    if result.problem and result.found:
        print(f"    {result.found}\n    {how_to_see(result.run)}")


def show_figures(results: list[Result], seconds: float) -> None:
    """Prints what the documents quote; the processor time is what a busy host changes little."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    for model in CONFIGURATIONS:
        correct = [result for result in results if result.run.model == model and not result.run.bug]
        planted = [result for result in results if result.run.model == model and result.run.bug]
        if not correct and not planted:
            continue
        print(f"figure {model}.configurations {len(correct)} count")
        print(f"figure {model}.states {sum(result.states for result in correct)} states")
        print(f"figure {model}.states.largest {max((result.states for result in correct), default=0)} states")
        print(f"figure {model}.planted.found {sum(bool(result.found) for result in planted)} count")
        print(f"figure {model}.planted.total {len(planted)} count")
    print(f"figure models.memory.largest {used.ru_maxrss / 1024:.0f} MiB")
    print(f"figure models.processor {used.ru_utime + used.ru_stime:.1f} s")
    print(f"figure models.seconds {seconds:.1f} s")


def main(words: list[str]) -> int:
    """Runs what the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description="Check the Promela models with spin.")
    parser.add_argument("wanted", nargs="*", metavar="MODEL[:CONFIGURATION[:BUG]]", help="all, if none is named")
    parser.add_argument("--list", action="store_true", help="print the names of all runs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="searches at once")
    options = parser.parse_args(words)
    try:
        runs = select(options.wanted)
    except ValueError as error:
        parser.error(str(error))
    if options.jobs < 1:
        parser.error("--jobs has to be at least 1")
    if options.list:
        print("\n".join(run.name for run in runs))
        return 0
    if shutil.which("spin") is None or shutil.which("gcc") is None:
        print(MISSING, file=sys.stderr)
        return 2
    start = time.monotonic()
    print(f"{'run':44s} {'states':>9s} {'seconds':>7s}  outcome")
    results = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(check, runs):
            show(result)
            results.append(result)
    show_figures(results, time.monotonic() - start)
    return 1 if any(result.problem for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
