"""The core under every interleaving of small programs.

A failure here is a byte that a user would lose, or a call that never returns.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, note, settings
from strategies import programs

from pymigrate.explore import Explorer, Finding, Planted, Program, planted_bugs, shrink_program
from pymigrate.explore.corpus import CORPUS, corpus

pytest.importorskip("pymigrate._explore", reason="built without the schedule search (PYMIGRATE_EXPLORE=1)")

# Of each program; PYMIGRATE_LONG=1 asks for all.
LONG = os.environ.get("PYMIGRATE_LONG") == "1"
MOST = 10**9 if LONG else 3000


def story(explorer: Explorer, program: Program, finding: Finding) -> str:
    return f"{program}\n{finding.failure}: {finding.message}\n{explorer.replay(program, finding.schedule)[1]}"


@pytest.mark.parametrize("race", CORPUS)
def test_no_schedule_of_a_known_program_fails(race: str) -> None:
    with Explorer() as explorer:
        for text in CORPUS[race]:
            program = Program.parse(text)
            found = explorer.all(program, preemptions=3 if LONG else 2, most=MOST)
            assert not found.failed, story(explorer, program, found)
            drawn = explorer.pct(program, seed=1, depth=4, most=300)
            assert not drawn.failed, story(explorer, program, drawn)


@settings(max_examples=400 if LONG else 25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs())
def test_no_schedule_of_a_drawn_program_fails(program: Program) -> None:
    note(str(program))
    with Explorer() as explorer:
        found = explorer.all(program, preemptions=2, most=20000 if LONG else 1000)
        assert not found.failed, story(explorer, program, found)


def find(bug: Planted) -> tuple[Program, Finding, int]:
    """The first failure in the known programs, shrunk, and how many schedules it took."""
    schedules = 0
    with Explorer(bug.number) as explorer:
        for program in corpus(bug.race):
            found = explorer.all(program, preemptions=2, most=20000)
            schedules += found.schedules
            if found.failed:
                return *shrink_program(explorer, program, found), schedules
    pytest.fail(f"{bug.name} was not found in {schedules} schedules: {bug.breaks}")


BUGS = planted_bugs()


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_planted_bug_is_found_and_shrinks(bug: Planted) -> None:
    program, finding, schedules = find(bug)
    print(f"{bug.name}: {schedules} schedules; {finding.failure}; {program}; {finding.preemptions} preemptions")
    assert len(program.operations) <= 5
    assert finding.preemptions <= 2
    with Explorer(bug.number) as explorer:
        again, told = explorer.replay(program, finding.schedule)
    assert (again.failure, again.message) == (finding.failure, finding.message)
    assert finding.message in told
    # It is the bug that is found, not a fault of the search.
    with Explorer() as explorer:
        assert not explorer.replay(program, finding.schedule)[0].failed


def test_the_table_of_planted_bugs_covers_the_races() -> None:
    assert {bug.race for bug in BUGS} >= set(CORPUS)
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 15


def test_one_seed_gives_one_result() -> None:
    program = Program.parse("common memory; write A0 / read A0 / unmap A0")
    number = next(bug.number for bug in BUGS if bug.name == "unmap-no-flush")
    results = []
    for _ in range(2):
        with Explorer(number) as explorer:
            results.append((explorer.random(program, seed=3, most=5000), explorer.pct(program, seed=3, most=5000)))
    assert results[0] == results[1]
    assert all(finding.failed for finding in results[0])


def test_all_schedules_within_the_bound_means_all() -> None:
    with Explorer() as explorer:
        counts = [
            explorer.all(Program.parse("common memory / read A0 / write A0"), preemptions=bound) for bound in range(3)
        ]
    assert all(one.complete for one in counts)
    assert counts[0].schedules < counts[1].schedules < counts[2].schedules


def test_a_bug_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no such bug"):
        Explorer(10**6)


def test_a_closed_explorer_says_so() -> None:
    explorer = Explorer()
    explorer.close()
    explorer.close()
    with pytest.raises(ValueError, match="closed"):
        explorer.all(Program.parse("common memory / read A0"))
