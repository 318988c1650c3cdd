"""The command line: one command a verb.

Commands are imported when they are run, so that `pymigrate --version` and shell completion stay quick. To add one,
add a line to `COMMANDS`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

# name -> (module, attribute, one line for the list of commands)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "record": ("pymigrate.recording.record_command", "record_", "Record this machine: events, frames, samples."),
    "import": ("pymigrate.recording.command", "import_", "Turn a kernel's trace into a recording."),
    "export": ("pymigrate.recording.export_command", "export", "Write a recording in the form of another tool."),
    "calibrate": ("pymigrate.defrag.calibrate", "calibrate", "Measure what moving, scanning and flushing cost here."),
    "replay": ("pymigrate.report.command", "replay", "Replay a recording and score it against the kernel."),
    "fidelity": ("pymigrate.report.fidelity", "fidelity", "How close a replay comes, and where the rest comes from."),
    "image": ("pymigrate.image_command", "image", "Aged memory as a file: make, look, load."),
    "compact": ("pymigrate.defrag.command", "compact", "Defragment real memory by every strategy, beside the kernel."),
    "why": ("pymigrate.defrag.why", "why", "Say what keeps each block of real memory from coming free."),
    "explore": ("pymigrate.explore.command", "explore", "Search for interleavings under which the core goes wrong."),
    "compare": ("pymigrate.report.command", "compare", "Replay a recording under two settings, side by side."),
}

# What provides a module that is not a dependency of the bare package.
EXTRAS = {"matplotlib": "plot", "simpy": "simpy", "zstandard": "zstd"}

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130


class _LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module_name, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module_name), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module_name}.{attribute} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in COMMANDS.items()])


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from pymigrate import __version__

    click.echo(f"pymigrate {__version__}")
    ctx.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Physical memory in user space: replay what a real kernel's page allocator did."""


def _fail(message: str, code: int = EXIT_ERROR) -> int:
    one_line = " ".join(message.split())
    click.echo(f"pymigrate: error: {one_line}", err=True)
    return code


def run(args: Sequence[str] | None = None) -> int:
    """Runs one command line.

    Args:
        args: The arguments after the program's name; None takes them from `sys.argv`.

    Returns:
        The exit code: 0; 1 for an error, which is printed as one line; 2 for wrong usage; 130 after Ctrl-C.
    """
    from pymigrate.errors import PymigrateError

    try:
        result = cli.main(args=None if args is None else list(args), prog_name="pymigrate", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("pymigrate: interrupted", err=True)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        click.echo("pymigrate: interrupted", err=True)
        return EXIT_INTERRUPTED
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PymigrateError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # The reader of our output (head, less) is gone: nothing to say, and nobody to say it to.
        sys.stderr.close()
        return EXIT_ERROR
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _fail(f"this needs {error.name}, which is not installed: pip install 'pymigrate[{extra}]'")
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}")
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """Entry point of the `pymigrate` command."""
    sys.exit(run())


if __name__ == "__main__":
    main()
