"""Which programs a search runs, in which order, and for how long."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pymigrate.explore.corpus import corpus
from pymigrate.explore.program import PROTOCOLS, Program, draw_program
from pymigrate.explore.search import MOST, Explorer, Finding
from pymigrate.explore.small import SmallPrograms

__all__ = ["MOST_OF_A_PROGRAM", "Budget", "Tally", "Trial", "planted_trials", "search", "small_trials", "usual_trials"]

# Schedules; a program that has more is cut off, so that others have their turn.
MOST_OF_A_PROGRAM = 20000
SHORT_OF_A_PROGRAM = 4000
# Of the frames that were to move.
SUCCESS_SHARE = 0.1


@dataclass
class Budget:
    """How long a search may go on: for some seconds, or a number of schedules."""

    seconds: float | None = None
    schedules: int | None = None
    started: float = field(default_factory=time.monotonic)

    def left(self, done: int) -> int:
        """Schedules that may still be run of a program, after so many of all."""
        if self.schedules is not None:
            return max(self.schedules - done, 0)
        return MOST if time.monotonic() - self.started < (self.seconds or 0.0) else 0

    def fresh(self) -> Budget:
        """The same again, from now on."""
        return Budget(seconds=self.seconds, schedules=self.schedules)


@dataclass(frozen=True)
class Trial:
    """A program to run under every schedule with at most so many preemptions.

    Attributes:
        program: What to run.
        preemptions: The bound.
        most: Schedules after which it is given up.
    """

    program: Program
    preemptions: int
    most: int = MOST_OF_A_PROGRAM


@dataclass
class Tally:
    """What a search has done.

    Attributes:
        programs: That were run under the whole bound.
        complete: Those of them of which no schedule is missing.
        schedules: Of all trials.
        steps: Yield points.
        seconds: Spent.
        attempted: Frames that were to move, by protocol.
        moved: Those that did.
    """

    programs: int = 0
    complete: int = 0
    schedules: int = 0
    steps: int = 0
    seconds: float = 0.0
    attempted: list[int] = field(default_factory=lambda: [0] * len(PROTOCOLS))
    moved: list[int] = field(default_factory=lambda: [0] * len(PROTOCOLS))

    def add(self, finding: Finding, *, whole: bool) -> None:
        """Notes what one trial came to; `whole`: with the bound that was asked for."""
        self.programs += whole
        self.complete += whole and finding.complete
        self.schedules += finding.schedules
        self.steps += finding.steps
        self.attempted = [a + b for a, b in zip(self.attempted, finding.attempted, strict=True)]
        self.moved = [a + b for a, b in zip(self.moved, finding.moved, strict=True)]

    def merge(self, other: Tally) -> None:
        """Adds what another search has done."""
        self.programs += other.programs
        self.complete += other.complete
        self.schedules += other.schedules
        self.steps += other.steps
        self.seconds += other.seconds

    def idle_protocols(self) -> list[str]:
        """Protocols by which too few frames moved: a search in which nothing moves proves nothing."""
        return [
            name
            for name, attempted, moved in zip(PROTOCOLS, self.attempted, self.moved, strict=True)
            if moved < attempted * SUCCESS_SHARE
        ]


def usual_trials(seed: int, preemptions: int, protocols: Sequence[str]) -> Iterator[Trial]:
    """What the command runs, without end.

    The known programs with few preemptions; then, in turns, one of them with all, one of the small programs with a
    migration, and a drawn one.
    """
    source = random.Random(seed)
    known = corpus(protocols=protocols)
    for program in known if preemptions > 1 else []:
        yield Trial(program, 1)
    source.shuffle(known)
    small = SmallPrograms(protocols).shuffled(seed)
    while True:
        if known:
            yield Trial(known.pop(), preemptions)
        chosen = next(small, None)
        if chosen is not None:
            yield Trial(chosen, preemptions)
        yield Trial(draw_program(source, protocols=protocols), preemptions)


def small_trials(seed: int, preemptions: int, protocols: Sequence[str], part: tuple[int, int]) -> Iterator[Trial]:
    """Every small program with a migration, none cut off: part `part[0]` of `part[1]`, from 1."""
    number, parts = part
    for at, program in enumerate(SmallPrograms(protocols).shuffled(seed)):
        if at % parts == number - 1:
            yield Trial(program, preemptions, MOST)


def planted_trials(race: str, seed: int, preemptions: int, protocols: Sequence[str] = PROTOCOLS) -> Iterator[Trial]:
    """For a planted bug: what is about its race first, and few preemptions first, since most bugs need no more.

    The whole bound comes twice: in short for the programs about the race, then for all known programs. Then drawn ones.
    """
    about = corpus(race, protocols=protocols, race_only=True)
    others = corpus(race, protocols=protocols)[len(about) :]
    few = range(min(preemptions, 2))
    yield from (Trial(program, bound) for bound in few for program in about)
    yield from (Trial(program, preemptions, SHORT_OF_A_PROGRAM) for program in about)
    yield from (Trial(program, bound) for bound in few for program in others)
    yield from (Trial(program, preemptions) for program in about + others)
    source = random.Random(seed)
    while True:
        yield Trial(draw_program(source, protocols=protocols), preemptions)


def search(
    explorer: Explorer, trials: Iterator[Trial], budget: Budget, preemptions: int, tally: Tally
) -> tuple[Program, Finding] | None:
    """Runs trial after trial until one fails, there are no more, or the budget is used up."""
    started = time.monotonic()
    try:
        for trial in trials:
            most = min(budget.left(tally.schedules), trial.most)
            if most == 0:
                return None
            found = explorer.all(trial.program, preemptions=trial.preemptions, most=most)
            tally.add(found, whole=trial.preemptions >= preemptions)
            if found.failed:
                return trial.program, found
        return None
    finally:
        tally.seconds += time.monotonic() - started
