"""`pymigrate explore`."""

from __future__ import annotations

import random
import shlex
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import click

from pymigrate.errors import PymigrateError
from pymigrate.explore.corpus import corpus
from pymigrate.explore.program import Program, draw_program
from pymigrate.explore.search import Explorer, Finding, Planted, Switch, planted_bugs, shrink_program

__all__ = ["explore"]

EXIT_FOUND = 1
MOST_OF_A_PROGRAM = 20000


class _BudgetType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Seconds ("30s", "2m") or a number of schedules."""

    name = "budget"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> _Budget:
        if isinstance(value, _Budget):
            return value
        text = str(value)
        number, unit = (text[:-1], text[-1]) if text[-1:] in ("s", "m") else (text, "")
        try:
            amount = float(number)
        except ValueError:
            amount = -1.0
        if not amount > 0 or (not unit and amount != int(amount)):
            self.fail(f"{text!r}: expected seconds as 30s or 2m, or a number of schedules", param, ctx)
        return _Budget(seconds=amount * (60 if unit == "m" else 1)) if unit else _Budget(schedules=int(amount))


@dataclass
class _Budget:
    seconds: float | None = None
    schedules: int | None = None
    started: float = field(default_factory=time.monotonic)

    def left(self, done: int) -> int:
        """Schedules that may still be run."""
        if self.schedules is not None:
            return max(self.schedules - done, 0)
        return MOST_OF_A_PROGRAM if time.monotonic() - self.started < (self.seconds or 0.0) else 0


@dataclass
class _Tally:
    programs: int = 0
    complete: int = 0
    schedules: int = 0
    steps: int = 0
    seconds: float = 0.0

    def add(self, finding: Finding) -> None:
        self.programs += 1
        self.complete += finding.complete
        self.schedules += finding.schedules
        self.steps += finding.steps

    def figures(self) -> None:
        click.echo(f"figure steps_per_second {self.steps / self.seconds:.0f} /s")
        click.echo(f"figure schedules_per_second {self.schedules / self.seconds:.0f} /s")


def _programs(seed: int, race: str = "") -> Iterator[Program]:
    """The known ones, those of a race first, then drawn ones without end."""
    yield from corpus(race)
    source = random.Random(seed)
    while True:
        yield draw_program(source)


def _search(
    explorer: Explorer, programs: Iterator[Program], budget: _Budget, preemptions: int, tally: _Tally
) -> tuple[Program, Finding] | None:
    """Runs program after program until one fails or the budget is used up."""
    started = time.monotonic()
    try:
        for program in programs:
            most = min(budget.left(tally.schedules), MOST_OF_A_PROGRAM)
            if most == 0:
                return None
            found = explorer.all(program, preemptions=preemptions, most=most)
            tally.add(found)
            if found.failed:
                return program, found
        return None
    finally:
        tally.seconds += time.monotonic() - started


def _schedule_text(schedule: tuple[Switch, ...]) -> str:
    return ",".join(f"{one.step}:{one.task}" for one in schedule)


def _parse_schedule(text: str) -> list[Switch]:
    switches = []
    for word in filter(None, text.split(",")):
        step, colon, task = word.partition(":")
        if not colon or not step.isdecimal() or not task.isdecimal():
            raise click.BadParameter(f"{word!r}: expected STEP:TASK, with commas between them", param_hint="--replay")
        switches.append(Switch(int(step), int(task)))
    return switches


def _tell(explorer: Explorer, program: Program, finding: Finding, planted: str) -> None:
    """Prints a failing schedule: what is wrong, the command that repeats it, and its story."""
    click.echo(f"{finding.failure}: {finding.message}")
    click.echo(f"  {len(program.operations)} operations, {finding.preemptions} preemptions; repeat it with")
    words = ["pymigrate", "explore", *(["--planted", planted] if planted else []), "--program", str(program)]
    click.echo(f"  {shlex.join([*words, '--replay', _schedule_text(finding.schedule)])}")
    click.echo(explorer.replay(program, finding.schedule)[1])


def _find_planted(name: str) -> list[Planted]:
    bugs = planted_bugs()
    if name == "all":
        return bugs
    chosen = [bug for bug in bugs if bug.name == name]
    if name and not chosen:
        raise click.BadParameter(
            f"{name!r}: expected all or one of {', '.join(bug.name for bug in bugs)}", param_hint="--planted"
        )
    return chosen


def _explore_planted(bugs: list[Planted], budget: _Budget, seed: int, preemptions: int, figures: bool) -> int:
    """Looks for each planted bug with a budget of its own. Returns the exit code: 0 if all were found."""
    total, needed = _Tally(), []
    for bug in bugs:
        tally = _Tally()
        own = _Budget(seconds=budget.seconds, schedules=budget.schedules)
        with Explorer(bug.number) as explorer:
            found = _search(explorer, _programs(seed, bug.race), own, preemptions, tally)
            total.schedules, total.steps, total.seconds = (
                total.schedules + tally.schedules,
                total.steps + tally.steps,
                total.seconds + tally.seconds,
            )
            if found is None:
                click.echo(f"{bug.name:22s} not found in {tally.schedules} schedules ({bug.breaks})")
                continue
            program, finding = shrink_program(explorer, *found, preemptions=preemptions)
            needed.append(tally.schedules)
            click.echo(
                f"{bug.name:22s} {tally.schedules:7d} schedules; {finding.failure}; {program}; "
                f"{finding.preemptions} preemptions"
            )
            if len(bugs) == 1:
                _tell(explorer, program, finding, bug.name)
    if figures:
        total.figures()
        click.echo(f"figure planted.found {len(needed)} bugs")
        click.echo(f"figure planted.total {len(bugs)} bugs")
        if needed:
            click.echo(f"figure planted.schedules.median {statistics.median(needed):.0f} schedules")
    return 0 if len(needed) == len(bugs) else EXIT_FOUND


@click.command()
@click.option(
    "--budget",
    type=_BudgetType(),
    default="30s",
    show_default=True,
    help="Seconds (30s, 2m), or a number of schedules; for each planted bug anew.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the drawn programs, which follow the known ones.",
)
@click.option(
    "--preemptions",
    type=click.IntRange(0, 4),
    default=2,
    show_default=True,
    help="Run all schedules with at most so many.",
)
@click.option(
    "--program",
    "text",
    default="",
    help="Search this program alone, as 'common memory; write A0 / read A0 / unmap A0'.",
)
@click.option(
    "--replay",
    "schedule",
    default=None,
    help="Run --program under this schedule alone, as '12:1,30:0', and tell its story.",
)
@click.option(
    "--planted", default="", help="Plant a bug by name, or all of them one after the other: each has to be found."
)
@click.option("--figures", is_flag=True, help="Print figures to quote.")
@click.pass_context
def explore(
    ctx: click.Context,
    budget: _Budget,
    seed: int,
    preemptions: int,
    text: str,
    schedule: str | None,
    planted: str,
    figures: bool,
) -> None:
    """Search for schedules under which the core goes wrong.

    Small programs run in a tiny world under every interleaving with few preemptions. A failure is shrunk, told as a
    story, and comes with the command that repeats it; the exit code is 1 then. With --planted, 1 means that a planted
    bug was not found.
    """
    try:
        program = Program.parse(text) if text else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--program") from None
    bugs = _find_planted(planted) if planted else []
    budget.started = time.monotonic()
    if schedule is not None:
        if program is None:
            raise click.UsageError("--replay needs --program")
        if len(bugs) > 1:
            raise click.UsageError("--replay takes one planted bug")
        switches = _parse_schedule(schedule)
        with Explorer(bugs[0].number if bugs else 0) as explorer:
            finding, story = explorer.replay(program, switches)
        click.echo(story, nl=False)
        ctx.exit(EXIT_FOUND if finding.failed else 0)
    if bugs and program is None:
        ctx.exit(_explore_planted(bugs, budget, seed, preemptions, figures))
    if len(bugs) > 1:
        raise click.UsageError("--program takes one planted bug")
    tally = _Tally()
    with Explorer(bugs[0].number if bugs else 0) as explorer:
        found = _search(explorer, iter([program]) if program else _programs(seed), budget, preemptions, tally)
        click.echo(
            f"seed {seed}: {tally.programs} programs ({tally.complete} with all schedules of up to {preemptions} "
            f"preemptions), {tally.schedules} schedules, {tally.steps} steps, {tally.seconds:.1f} s"
        )
        if figures and tally.seconds > 0:
            tally.figures()
        if found is None:
            click.echo("nothing found")
            ctx.exit(0)
        program, finding = shrink_program(explorer, *found, preemptions=preemptions)
        if finding.lost:
            raise PymigrateError("the failing schedule has too many switches to be repeated")
        _tell(explorer, program, finding, planted)
    ctx.exit(EXIT_FOUND)
