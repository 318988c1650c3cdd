"""The command line tells a person what went wrong in one line, and a script by its exit code."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import click
import pytest

from pymigrate import __version__, cli
from pymigrate.errors import FrameError, RecordingError


def with_command(monkeypatch: pytest.MonkeyPatch, function: object) -> None:
    """Gives the command line a command `probe` that calls `function`."""
    module = ModuleType("probe_module")

    @click.command("probe")
    def probe() -> None:
        assert callable(function)
        function()

    module.probe = probe  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "probe_module", module)
    monkeypatch.setitem(cli.COMMANDS, "probe", ("probe_module", "probe", "A probe."))


def raising(error: BaseException) -> object:
    def function() -> None:
        raise error

    return function


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"pymigrate {__version__}\n"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in cli.COMMANDS)


@pytest.mark.parametrize("args", [["no-such-command"], ["--no-such-option"], ["replay", "--no-such-option"]])
def test_wrong_usage_ends_with_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(args) == 2
    assert "Error" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_of_the_table_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([name, "--help"]) == 0
    assert "Usage: pymigrate" in capsys.readouterr().out


def test_a_command_that_works_ends_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    with_command(monkeypatch, lambda: None)
    assert cli.run(["probe"]) == 0


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FrameError("the frame is free already (pfn=7)", status=-8), "the frame is free already (pfn=7)"),
        (RecordingError("damaged\nin two lines", path="x.txt", line=3), "x.txt:3: damaged in two lines"),
        (FileNotFoundError(2, "No such file or directory", "gone.npz"), "gone.npz: No such file or directory"),
    ],
)
def test_an_error_is_one_line_and_ends_with_1(
    error: Exception, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_command(monkeypatch, raising(error))
    assert cli.run(["probe"]) == 1
    assert capsys.readouterr().err == f"pymigrate: error: {text}\n"


@pytest.mark.parametrize(("module", "extra"), [("matplotlib.pyplot", "plot"), ("zstandard", "zstd")])
def test_a_missing_extra_is_named(
    module: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_command(monkeypatch, raising(ModuleNotFoundError(f"No module named {module!r}", name=module)))
    assert cli.run(["probe"]) == 1
    assert f"pip install 'pymigrate[{extra}]'" in capsys.readouterr().err


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with_command(monkeypatch, raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.run(["probe"])


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with_command(monkeypatch, raising(KeyboardInterrupt()))
    assert cli.run(["probe"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_the_list_of_commands_costs_no_import_of_them() -> None:
    # Shell completion runs this at every key: numpy and rich alone take longer than the rest.
    code = "import sys; from pymigrate import cli; cli.run(['--help']); sys.exit('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
