"""The core under every interleaving of small programs.

A failure here is a byte that a user would lose, or a call that never returns.
"""

from __future__ import annotations

import os
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, note, settings
from strategies import programs

from pymigrate.explore import Explorer, Finding, Planted, Program, planted_bugs, shrink_program
from pymigrate.explore.campaign import Budget, Tally, Trial, planted_trials, search, small_trials
from pymigrate.explore.corpus import corpus, known_races
from pymigrate.explore.program import PROTOCOLS, SETUP
from pymigrate.explore.small import SmallPrograms

pytest.importorskip("pymigrate._explore", reason="built without the schedule search (PYMIGRATE_EXPLORE=1)")

# Of each program; PYMIGRATE_LONG=1 asks for all.
LONG = os.environ.get("PYMIGRATE_LONG") == "1"
MOST = 10**9 if LONG else 3000
MOST_FOR_A_BUG = 200_000


def story(explorer: Explorer, program: Program, finding: Finding) -> str:
    return f"{program}\n{finding.failure}: {finding.message}\n{explorer.replay(program, finding.schedule)[1]}"


@pytest.mark.parametrize("race", known_races())
def test_no_schedule_of_a_known_program_fails(race: str) -> None:
    with Explorer() as explorer:
        for program in corpus(race, protocols=(), race_only=True):
            found = explorer.all(program, preemptions=3 if LONG else 2, most=MOST)
            assert not found.failed, story(explorer, program, found)
            drawn = explorer.pct(program, seed=1, depth=4, most=300)
            assert not drawn.failed, story(explorer, program, drawn)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pages_move_and_no_schedule_of_a_known_migration_fails(protocol: str) -> None:
    attempted, moved = 0, 0
    with Explorer() as explorer:
        for program in corpus(protocols=[protocol], moves_only=True):
            found = explorer.all(program, preemptions=2 if LONG else 1, most=MOST)
            assert not found.failed, story(explorer, program, found)
            drawn = explorer.pct(program, seed=1, depth=4, most=100)
            assert not drawn.failed, story(explorer, program, drawn)
            attempted += sum(found.attempted)
            moved += sum(found.moved)
    # A search in which nothing moves proves nothing.
    assert moved * 10 >= attempted > 0


def test_no_schedule_of_a_small_migration_fails() -> None:
    """A sample; `pymigrate explore --small --budget 24h` runs them all, whole."""
    with Explorer() as explorer:
        for number, trial in enumerate(small_trials(1, 2, PROTOCOLS, (1, 1))):
            if number == (2000 if LONG else 60):
                break
            found = explorer.all(trial.program, preemptions=2, most=20000 if LONG else 1000)
            assert not found.failed, story(explorer, trial.program, found)


def test_the_small_programs_are_all_different_and_come_in_parts() -> None:
    programs = SmallPrograms(["entry"])
    whole = list(programs.shuffled(5))
    texts = {str(program) for program in whole}
    assert len(texts) == len(programs)
    assert all("migrate" in text for text in texts)
    assert all(2 <= sum(one.task != SETUP for one in program.operations) <= 3 for program in whole)
    for part in (1, 2, 3):
        trials = islice(small_trials(5, 2, ["entry"], (part, 3)), 100)
        assert [trial.program for trial in trials] == whole[part - 1 : 300 : 3]


@settings(max_examples=400 if LONG else 25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs())
def test_no_schedule_of_a_drawn_program_fails(program: Program) -> None:
    note(str(program))
    with Explorer() as explorer:
        found = explorer.all(program, preemptions=2, most=20000 if LONG else 1000)
        assert not found.failed, story(explorer, program, found)


def find(bug: Planted) -> tuple[Program, Finding, int]:
    """The first failure, shrunk, and how many schedules it took: as `pymigrate explore --planted` looks for it."""
    tally = Tally()
    with Explorer(bug.number) as explorer:
        found = search(explorer, planted_trials(bug.race, 0, 2), Budget(schedules=MOST_FOR_A_BUG), 2, tally)
        if found is None:
            pytest.fail(f"{bug.name} was not found in {tally.schedules} schedules: {bug.breaks}")
        return *shrink_program(explorer, *found), tally.schedules


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
    assert {bug.race for bug in BUGS} == set(known_races())
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 60


def test_a_search_in_which_nothing_moves_says_so() -> None:
    """A migration that always fails would pass every other check."""
    tally = Tally()
    with Explorer() as explorer:
        pinned = Program.parse("common memory; write A0, pin A0 / migrate A0 entry / read A0")
        search(explorer, iter([Trial(pinned, 1)]), Budget(schedules=1000), 1, tally)
        assert tally.idle_protocols() == ["entry"]
        assert tally.moved == [0] * len(PROTOCOLS)
        free = Program.parse("common memory; write A0 / migrate A0 entry / read A0")
        search(explorer, iter([Trial(free, 1)]), Budget(schedules=2000), 1, tally)
    assert tally.idle_protocols() == []


@pytest.mark.parametrize(
    ("bug", "program", "words"),
    [
        ("move-no-wake", "common memory / migrate A0 entry / write A0", "sleeps for frame 456's lock or writeback"),
        (
            "move-semaphore-kept",
            "common memory; write A0, fork A B / migrate A0 semaphore / write A0",
            "waits for a space's migration semaphore, which it holds itself",
        ),
    ],
)
def test_the_watchdog_names_who_waits_for_a_migration(bug: str, program: str, words: str) -> None:
    number = next(one.number for one in BUGS if one.name == bug)
    with Explorer(number) as explorer:
        found = explorer.all(Program.parse(program))
    assert found.failure == "deadlock"
    assert words in found.message


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
