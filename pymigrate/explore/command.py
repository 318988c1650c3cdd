"""`pymigrate explore`: the options, and what is printed. Which programs run is in campaign.py."""

from __future__ import annotations

import shlex
import statistics
from dataclasses import dataclass

import click

from pymigrate.errors import PymigrateError
from pymigrate.explore.campaign import (
    Budget,
    Tally,
    Trial,
    planted_trials,
    search,
    small_trials,
    usual_trials,
)
from pymigrate.explore.program import PROTOCOLS, Program
from pymigrate.explore.search import MOST, Explorer, Finding, Planted, Switch, planted_bugs, shrink_program
from pymigrate.explore.small import SmallPrograms

__all__ = ["explore"]

EXIT_FOUND = 1
SECONDS = {"s": 1, "m": 60, "h": 3600}


class _BudgetType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Seconds ("30s", "2m", "8h") or a number of schedules."""

    name = "budget"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Budget:
        if isinstance(value, Budget):
            return value
        text = str(value)
        number, unit = (text[:-1], text[-1]) if text[-1:] in SECONDS else (text, "")
        try:
            amount = float(number)
        except ValueError:
            amount = -1.0
        if not 0 < amount < float("inf") or (not unit and amount != int(amount)):
            self.fail(f"{text!r}: expected a time as 30s, 2m or 8h, or a number of schedules", param, ctx)
        return Budget(seconds=amount * SECONDS[unit]) if unit else Budget(schedules=int(amount))


class _PartType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """One of several equal parts, as 2/8."""

    name = "part"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        one, slash, parts = str(value).partition("/")
        if not (slash and one.isdecimal() and parts.isdecimal() and 1 <= int(one) <= int(parts)):
            self.fail(f"{value!r}: expected a part as 2/8, from 1/8 to 8/8", param, ctx)
        return int(one), int(parts)


@dataclass(frozen=True)
class _Settings:
    """What the options say."""

    seed: int
    preemptions: int
    protocols: tuple[str, ...]
    small: bool
    part: tuple[int, int]
    figures: bool


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


def _figures(tally: Tally) -> None:
    if tally.seconds > 0:
        click.echo(f"figure steps_per_second {tally.steps / tally.seconds:.0f} /s")
        click.echo(f"figure schedules_per_second {tally.schedules / tally.seconds:.0f} /s")


def _explore_planted(bugs: list[Planted], budget: Budget, settings: _Settings) -> int:
    """Looks for each planted bug with a budget of its own. Returns the exit code: 0 if all were found."""
    total, needed, sizes = Tally(), [], []
    for bug in bugs:
        tally = Tally()
        with Explorer(bug.number) as explorer:
            trials = planted_trials(bug.race, settings.seed, settings.preemptions, settings.protocols)
            found = search(explorer, trials, budget.fresh(), settings.preemptions, tally)
            total.merge(tally)
            if found is None:
                click.echo(f"{bug.name:22s} not found in {tally.schedules} schedules ({bug.breaks})")
                continue
            program, finding = shrink_program(explorer, *found, preemptions=settings.preemptions)
            needed.append(tally.schedules)
            sizes.append(len(program.operations))
            click.echo(
                f"{bug.name:22s} {tally.schedules:7d} schedules; {finding.failure}; {program}; "
                f"{finding.preemptions} preemptions"
            )
            if len(bugs) == 1:
                _tell(explorer, program, finding, bug.name)
    if settings.figures:
        _figures(total)
        click.echo(f"figure planted.found {len(needed)} bugs")
        click.echo(f"figure planted.total {len(bugs)} bugs")
        if needed:
            click.echo(f"figure planted.schedules.median {statistics.median(needed):.0f} schedules")
            click.echo(f"figure planted.schedules.most {max(needed)} schedules")
            click.echo(f"figure planted.operations.most {max(sizes)} operations")
    return 0 if len(needed) == len(bugs) else EXIT_FOUND


def _report(tally: Tally, settings: _Settings) -> None:
    """Prints what a search has done."""
    click.echo(
        f"seed {settings.seed}: {tally.programs} programs ({tally.complete} with all schedules of up to "
        f"{settings.preemptions} preemptions), {tally.schedules} schedules, {tally.steps} steps, {tally.seconds:.1f} s"
    )
    if settings.small:
        click.echo(f"of {len(SmallPrograms(settings.protocols))} programs of up to three operations with a migration")
    for name, attempted, moved in zip(PROTOCOLS, tally.attempted, tally.moved, strict=True):
        if attempted:
            click.echo(f"{name}: {moved} of {attempted} frames moved")
    if settings.figures:
        _figures(tally)


def _explore(planted: Planted | None, program: Program | None, budget: Budget, settings: _Settings) -> int:
    """Searches the sound core, or one program of one planted bug. Returns the exit code."""
    tally = Tally()
    with Explorer(planted.number if planted else 0) as explorer:
        if program:
            trials = iter([Trial(program, settings.preemptions, MOST)])
        elif settings.small:
            trials = small_trials(settings.seed, settings.preemptions, settings.protocols, settings.part)
        else:
            trials = usual_trials(settings.seed, settings.preemptions, settings.protocols)
        found = search(explorer, trials, budget, settings.preemptions, tally)
        _report(tally, settings)
        if found is not None:
            program, finding = shrink_program(explorer, *found, preemptions=settings.preemptions)
            if finding.lost:
                raise PymigrateError("the failing schedule has too many switches to be repeated")
            _tell(explorer, program, finding, planted.name if planted else "")
            return EXIT_FOUND
    idle = tally.idle_protocols() if program is None else []
    if idle:
        click.echo(f"fewer than a tenth of the frames moved by {', '.join(idle)}: what does not happen is not tested")
        return EXIT_FOUND
    click.echo("nothing found")
    return 0


@click.command()
@click.option(
    "--budget",
    type=_BudgetType(),
    default="30s",
    show_default=True,
    help="A time (30s, 2m, 8h), or a number of schedules; for each planted bug anew.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the drawn programs, and of the order of the others.",
)
@click.option(
    "--preemptions",
    type=click.IntRange(0, 4),
    default=2,
    show_default=True,
    help="Run all schedules with at most so many.",
)
@click.option(
    "--protocol",
    type=click.Choice([*PROTOCOLS, "all"]),
    default="all",
    show_default=True,
    help="Of the migrations.",
)
@click.option(
    "--small",
    is_flag=True,
    help="Run every program of up to three operations with a migration, whole: hours. The budget takes a sample.",
)
@click.option("--part", type=_PartType(), default=None, help="With --small: a part of them alone, as 2/8.")
@click.option(
    "--program",
    "text",
    default="",
    help="Search this program alone, as 'common memory; write A0 / read A0 / migrate A0 entry'.",
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
    budget: Budget,
    seed: int,
    preemptions: int,
    protocol: str,
    small: bool,
    part: tuple[int, int] | None,
    text: str,
    schedule: str | None,
    planted: str,
    figures: bool,
) -> None:
    """Search for schedules under which the core goes wrong.

    Small programs run in a tiny world under every interleaving with few preemptions. A failure is shrunk, told as a
    story, and comes with the command that repeats it; the exit code is 1 then, and also if fewer than a tenth of the
    migrations moved their frame. With --planted, 1 means that a planted bug was not found.
    """
    try:
        program = Program.parse(text) if text else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--program") from None
    if part is not None and not small:
        raise click.UsageError("--part needs --small")
    if small and (program is not None or planted):
        raise click.UsageError("--small takes neither --program nor --planted")
    protocols = PROTOCOLS if protocol == "all" else (protocol,)
    settings = _Settings(seed, preemptions, protocols, small, part or (1, 1), figures)
    bugs = _find_planted(planted) if planted else []
    if program is not None and len(bugs) > 1:
        raise click.UsageError("--program takes one planted bug")
    if schedule is not None:
        if program is None:
            raise click.UsageError("--replay needs --program")
        switches = _parse_schedule(schedule)
        with Explorer(bugs[0].number if bugs else 0) as explorer:
            finding, story = explorer.replay(program, switches)
        click.echo(story, nl=False)
        ctx.exit(EXIT_FOUND if finding.failed else 0)
    if bugs and program is None:
        ctx.exit(_explore_planted(bugs, budget, settings))
    ctx.exit(_explore(bugs[0] if bugs else None, program, budget.fresh(), settings))
