"""Where the header and the libraries are, for who compiles a C or C++ program against them: `pymigrate-config`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from pymigrate.errors import StateError

__all__ = ["get_cmake_dir", "get_include", "get_library_dir", "get_pkgconfig_dir"]

_PACKAGE = Path(__file__).resolve().parent


def _built(path: Path) -> str:
    if not path.exists():
        raise StateError(
            f"{path} is not there: this copy of pymigrate was built without the libraries to link with (a test flavour)"
        )
    return str(path.parent)


def get_include() -> str:
    """Returns the folder of pymigrate.h, for ``-I``.

    Raises:
        StateError: This copy was built without what embedders need.
    """
    return _built(_PACKAGE / "include" / "pymigrate.h")


def get_library_dir() -> str:
    """Returns the folder of libpymigrate.so and libpymigrate.a, for ``-L``.

    Raises:
        StateError: This copy was built without what embedders need.
    """
    return _built(_PACKAGE / "lib" / "libpymigrate.so")


def get_pkgconfig_dir() -> str:
    """Returns the folder of pymigrate.pc, for ``PKG_CONFIG_PATH``."""
    return str(_PACKAGE / "lib" / "pkgconfig")


def get_cmake_dir() -> str:
    """Returns the folder of pymigrate-config.cmake, for ``pymigrate_DIR``."""
    return str(_PACKAGE / "lib" / "cmake" / "pymigrate")


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.option("--cflags", is_flag=True, help="Words for the compiler.")
@click.option("--libs", is_flag=True, help="Words for the linker, with a path to find the shared library at run time.")
@click.option("--static", is_flag=True, help="With --libs: the static library in its place.")
@click.option("--includedir", is_flag=True, help="The folder of pymigrate.h.")
@click.option("--libdir", is_flag=True, help="The folder of the libraries.")
@click.option("--pkgconfigdir", is_flag=True, help="The folder of pymigrate.pc, for PKG_CONFIG_PATH.")
@click.option("--cmakedir", is_flag=True, help="The folder of the CMake package, for pymigrate_DIR.")
@click.option("--version", is_flag=True, help="The version of the package.")
def config(**options: bool) -> None:
    """Print how to compile and link a program with pymigrate; what is asked for comes on one line."""
    from pymigrate import __version__

    words = []
    if options["version"]:
        words.append(__version__)
    if options["includedir"]:
        words.append(get_include())
    if options["libdir"]:
        words.append(get_library_dir())
    if options["pkgconfigdir"]:
        words.append(get_pkgconfig_dir())
    if options["cmakedir"]:
        words.append(get_cmake_dir())
    if options["cflags"]:
        words.append(f"-I{get_include()}")
    if options["libs"]:
        folder = get_library_dir()
        words += (
            [f"{folder}/libpymigrate.a"]
            if options["static"]
            else [f"-L{folder}", f"-Wl,-rpath,{folder}", "-lpymigrate"]
        )
        words.append("-pthread")
    elif options["static"]:
        raise click.UsageError("--static says which library --libs names: give both")
    click.echo(" ".join(words))


def main() -> NoReturn:
    """Entry point of the `pymigrate-config` command."""
    try:
        code = config.main(prog_name="pymigrate-config", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except StateError as error:
        click.echo(f"pymigrate-config: error: {error}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
