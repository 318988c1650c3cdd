"""`pymigrate explore`, and programs as text."""

from __future__ import annotations

import random
import shlex
import sys

import pytest
from click.testing import CliRunner, Result

from pymigrate.explore import Program, draw_program
from pymigrate.explore.command import explore
from pymigrate.explore.corpus import corpus

BROKEN = "common memory; write A0 / read A0 / unmap A0"


def invoke(*words: str) -> Result:
    return CliRunner().invoke(explore, list(words))


def test_a_program_is_what_its_text_says() -> None:
    source = random.Random(7)
    for program in [*corpus(), *(draw_program(source) for _ in range(300))]:
        assert Program.parse(str(program)) == program


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("common", "is no world"),
        ("common memory", "has 1 to 4 tasks"),
        ("common memory / jump A0", "is no operation"),
        ("common memory / write", "write takes 1 words"),
        ("common memory / write E0", "spaces are A to D"),
        ("common memory / write A9", "a number from 0 to 7"),
        ("common memory / fork A A", "A exists already"),
        ("common memory / protect A0 x", "r or rw"),
        ("common memory / migrate A0", "takes a place and a protocol"),
        ("common memory / migrate A0 magic", "takes a place and a protocol"),
        ("common memory / migrate A0 entry soon", "async or light, and by touch"),
        ("common memory / migrate A9 entry", "a number from 0 to 7"),
        ("common memory / migrate_all A0 entry", "takes a space, A to D"),
        ("common memory / " + ", ".join(["sync"] * 25), "at most 24 operations"),
    ],
)
def test_a_text_that_is_no_program_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Program.parse(text)
    result = invoke("--program", text)
    assert result.exit_code == 2
    assert message in result.output.replace("\n", " ")


class TestSearch:
    """What needs the compiled search."""

    pytest.importorskip("pymigrate._explore", reason="built without the schedule search (PYMIGRATE_EXPLORE=1)")

    def test_a_sound_core_is_searched_with_figures(self) -> None:
        result = invoke("--budget", "300", "--figures")
        assert result.exit_code == 0, result.output
        assert "nothing found" in result.output
        assert "figure steps_per_second" in result.output
        assert "figure schedules_per_second" in result.output

    def test_one_protocol_is_searched_alone_and_its_pages_move(self) -> None:
        result = invoke("--budget", "2000", "--protocol", "waitqueue")
        assert result.exit_code == 0, result.output
        assert "waitqueue: " in result.output
        assert "entry: " not in result.output

    def test_small_programs_run_whole_and_in_parts(self) -> None:
        result = invoke("--budget", "500", "--protocol", "entry", "--small", "--part", "2/9", "--seed", "3")
        assert result.exit_code == 0, result.output
        assert "programs of up to three operations with a migration" in result.output

    def test_a_failure_comes_with_the_command_that_repeats_it(self) -> None:
        found = invoke("--planted", "unmap-no-flush", "--program", BROKEN, "--budget", "5000")
        assert found.exit_code == 1, found.output
        line = next(line.strip() for line in found.output.splitlines() if line.strip().startswith("pymigrate explore"))
        again = invoke(*shlex.split(line)[2:])
        assert again.exit_code == 1
        assert "contents:" in again.output
        assert again.output.strip() in found.output
        assert (
            invoke(*[word for word in shlex.split(line)[2:] if word not in ("--planted", "unmap-no-flush")]).exit_code
            == 0
        )

    def test_planted_bugs_are_told_with_figures(self) -> None:
        result = invoke("--planted", "fork-exclusive", "--budget", "2000", "--figures")
        assert result.exit_code == 0, result.output
        assert "figure planted.found 1 bugs" in result.output
        assert "figure planted.schedules.median" in result.output

    @pytest.mark.parametrize(
        "words",
        [
            ("--planted", "no-such-bug"),
            ("--replay", "1:0"),
            ("--program", BROKEN, "--replay", "1"),
            ("--budget", "much"),
            ("--budget", "0"),
            ("--protocol", "magic"),
            ("--part", "1/2"),
            ("--small", "--part", "3/2"),
            ("--small", "--program", BROKEN),
            ("--program", BROKEN, "--planted", "all"),
        ],
    )
    def test_wrong_usage_is_refused(self, words: tuple[str, ...]) -> None:
        assert invoke(*words).exit_code == 2


def test_without_the_search_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymigrate._explore", None)
    result = invoke("--budget", "10")
    assert result.exit_code != 0
    assert "PYMIGRATE_EXPLORE=1 pip install" in str(result.exception)
