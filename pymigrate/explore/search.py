"""The explorer: loads a program and runs it under schedules."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from pymigrate.errors import PymigrateError
from pymigrate.explore.program import FILES, NUMBER_OF, PROTOCOLS, SWAPS, Program

__all__ = ["Explorer", "Finding", "Planted", "Switch", "planted_bugs", "shrink_program"]

NOT_BUILT = (
    "pymigrate was installed without the schedule search. Install it again with it: PYMIGRATE_EXPLORE=1 pip install . "
    "(an editable install always has it)"
)
MOST = 2**62


def _module() -> Any:
    """The compiled search."""
    try:
        return importlib.import_module("pymigrate._explore")
    except ModuleNotFoundError as error:
        if error.name != "pymigrate._explore":
            raise
        raise PymigrateError(NOT_BUILT) from None


@dataclass(frozen=True)
class Switch:
    """Where a schedule leaves the usual course.

    Attributes:
        step: Of the run.
        task: Which goes on there.
        forced: The running task could not go on, so this is no preemption.
    """

    step: int
    task: int
    forced: bool = False


@dataclass(frozen=True)
class Finding:
    """What a search came to.

    Attributes:
        failure: "none", or what kind of failure.
        message: What was wrong.
        schedules: How many were run, the failing one included.
        steps: Yield points that were passed in them.
        complete: Every schedule within the bound was run.
        schedule: The failing one.
        lost: Switches of it that were too many to be kept: then it cannot be replayed.
        attempted: Frames that were to move, by protocol (`PROTOCOLS`).
        moved: Those that did.
        compactions: How many there were.
        compactions_moved: Those that moved something.
    """

    failure: str
    message: str
    schedules: int
    steps: int
    complete: bool
    schedule: tuple[Switch, ...] = ()
    lost: int = 0
    attempted: tuple[int, ...] = (0,) * len(PROTOCOLS)
    moved: tuple[int, ...] = (0,) * len(PROTOCOLS)
    compactions: int = 0
    compactions_moved: int = 0

    @property
    def failed(self) -> bool:
        """Was anything wrong?"""
        return self.failure != "none"

    @property
    def preemptions(self) -> int:
        """Preemptions of the failing schedule."""
        return sum(not one.forced for one in self.schedule)


@dataclass(frozen=True)
class Planted:
    """A bug that can be planted in the core under test."""

    number: int
    name: str
    breaks: str
    race: str


def planted_bugs() -> list[Planted]:
    """The bugs that can be planted, in the order of their numbers."""
    module = _module()
    ffi, lib = module.ffi, module.lib
    bugs = []
    number = 1
    while (name := lib.pm_planted_name(number)) != ffi.NULL:
        texts = [
            ffi.string(text).decode() for text in (name, lib.pm_planted_breaks(number), lib.pm_planted_race(number))
        ]
        bugs.append(Planted(number, *texts))
        number += 1
    return bugs


class Explorer:
    """A tiny world in which programs run. One thread at a time.

    Args:
        planted: The number of a bug to plant; 0: none.
    """

    def __init__(self, planted: int = 0) -> None:
        module = _module()
        self._ffi, self._lib = module.ffi, module.lib
        ret = self._ffi.new("struct pm_explorer **")
        if self._lib.pm_explorer_create(ret) != 0:
            raise PymigrateError("the world of the schedule search could not be made: no memory")
        self._explorer: Any = ret[0]
        self._result = self._ffi.new("struct pm_explored *")
        if self._lib.pm_explorer_plant(self._explorer, planted) != 0:
            self.close()
            raise ValueError(f"planted={planted}: there is no such bug")

    def close(self) -> None:
        """Gives the world back. May be called again."""
        if self._explorer is not None:
            self._lib.pm_explorer_destroy(self._explorer)
            self._explorer = None

    def __enter__(self) -> Explorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self, program: Program) -> Any:
        if self._explorer is None:
            raise ValueError("the explorer is closed")
        given = self._ffi.new("struct pm_program *")
        given.nr = len(program.operations)
        for i, one in enumerate(program.operations):
            given.operations[i] = (one.task, NUMBER_OF[one.kind], one.space, one.page, one.value)
        given.fs, given.swap = FILES.index(program.fs), SWAPS.index(program.swap)
        given.share_cpu, given.lists = program.share_cpu, program.lists
        if self._lib.pm_explorer_load(self._explorer, given, self._result) != 0:
            raise ValueError(f"no program: {program}")
        return self._result

    def _finding(self) -> Finding:
        got = self._result
        return Finding(
            failure=self._ffi.string(self._lib.pm_explore_failure_name(got.failure)).decode(),
            message=self._ffi.string(got.message).decode(errors="replace"),
            schedules=got.schedules,
            steps=got.steps,
            complete=bool(got.complete),
            schedule=tuple(Switch(one.step, one.task, bool(one.forced)) for one in got.schedule[0 : got.nr]),
            lost=got.lost,
            attempted=tuple(got.attempted),
            moved=tuple(got.moved),
            compactions=got.compact_attempted,
            compactions_moved=got.compact_moved,
        )

    def all(self, program: Program, *, preemptions: int = 2, most: int = MOST) -> Finding:
        """Runs every schedule with at most `preemptions` preemptions, up to `most` of them, until one fails."""
        self._load(program)
        self._lib.pm_explore_all(self._explorer, preemptions, most, self._result)
        return self._finding()

    def random(self, program: Program, *, seed: int, most: int, one_in: int = 0) -> Finding:
        """Runs `most` random schedules, with a switch at one of `one_in` steps (0: a mixture), until one fails."""
        self._load(program)
        self._lib.pm_explore_random(self._explorer, seed, one_in, most, self._result)
        return self._finding()

    def pct(self, program: Program, *, seed: int, most: int, depth: int = 3) -> Finding:
        """Runs `most` schedules by random priorities, which change `depth` - 1 times, until one fails."""
        self._load(program)
        self._lib.pm_explore_pct(self._explorer, seed, depth, most, self._result)
        return self._finding()

    def replay(self, program: Program, schedule: Sequence[Switch]) -> tuple[Finding, str]:
        """Runs one schedule. Returns what it came to, and its story."""
        self._load(program)
        given = self._ffi.new("struct pm_preemption[]", [(one.step, one.task, one.forced) for one in schedule])
        self._lib.pm_explore_replay(self._explorer, len(schedule), given, self._result)
        return self._finding(), self._ffi.string(self._lib.pm_explorer_story(self._explorer)).decode(errors="replace")

    def shrink(self, program: Program, finding: Finding) -> Finding:
        """Takes away what a failing schedule does not need, as long as it fails in the same way."""
        self.replay(program, finding.schedule)
        self._lib.pm_explore_shrink(self._explorer, self._result)
        return self._finding()


def shrink_program(
    explorer: Explorer, program: Program, finding: Finding, *, preemptions: int = 2, most: int = 20000
) -> tuple[Program, Finding]:
    """Takes operations away from a failing program as long as the search still finds a failure of the same kind.

    Returns:
        The smallest program found and its failing schedule, shrunk too.
    """
    smaller = True
    while smaller:
        smaller = False
        for index in range(len(program.operations)):
            less = program.without(index)
            if less.nr_tasks == 0:
                continue
            found = explorer.all(less, preemptions=preemptions, most=most)
            if found.failure == finding.failure:
                program, finding, smaller = less, found, True
                break
    shrunk = explorer.shrink(program, finding)
    return program, replace(shrunk if shrunk.failure == finding.failure else finding, schedules=finding.schedules)
