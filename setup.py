"""Build of the C extension: everything else is declared in pyproject.toml.

The extensions themselves are described by pymigrate/_ffi_build.py. This file adds: sources compiled side by side; an
error that a person can act on where the machine has no C compiler or no Python headers; the abi3 tag of the wheel; the
header and the libraries for programs in C (docs/EMBED_LINKED.md); and when the schedule search is built: for who works
on pymigrate (an editable install, a build in place), and where PYMIGRATE_EXPLORE=1 asks.
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

INSTALL_HINT = (
    "pymigrate needs a C compiler and the Python headers to build its core. Install them and run the command again:\n"
    "  Debian, Ubuntu:  apt-get install gcc libc6-dev python3-dev\n"
    "  Fedora, RHEL:    dnf install gcc python3-devel\n"
    "  Arch:            pacman -S gcc\n"
    "  Alpine:          apk add gcc musl-dev linux-headers python3-dev\n"
    "  openSUSE:        zypper install gcc python3-devel"
)


def compile_side_by_side(compiler: Any) -> None:
    """Let a compiler object compile as many sources at once as there are CPUs."""
    one_after_the_other = compiler.compile

    def compile_all(sources: list[str], *args: Any, **options: Any) -> list[str]:
        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            objects = threads.map(lambda source: one_after_the_other([source], *args, **options), sources)
            return [path for paths in objects for path in paths]

    compiler.compile = compile_all


class BuildCore(build_ext):
    """`build_ext` that says what to install when it cannot compile."""

    def finalize_options(self) -> None:
        """Leave the schedule search out of a plain install, and compile side by side what is left."""
        super().finalize_options()
        wanted = os.environ.get("PYMIGRATE_EXPLORE")
        release = os.environ.get("PYMIGRATE_FLAVOUR", "release") in ("", "release")
        developing = (self.inplace or getattr(self, "editable_mode", False)) and release
        if wanted != "1" and (wanted == "0" or not developing):
            self.extensions = [one for one in self.extensions if one.name != "pymigrate._explore"]
        if self.parallel is None and len(self.extensions) > 1:
            self.parallel = 2

    def build_extension(self, ext: Extension) -> None:
        """Give each module a folder for its objects: both compile the same sources, each in its own way."""
        own = copy.copy(self)
        own.build_temp = os.path.join(self.build_temp, ext.name)
        super(BuildCore, own).build_extension(ext)
        if ext.name == "pymigrate._core" and os.environ.get("PYMIGRATE_FLAVOUR", "release") in ("", "release"):
            self.build_libraries(Path(own.build_temp))

    def copy_extensions_to_source(self) -> None:
        """For a build in place and an editable install: the header and the libraries as well."""
        super().copy_extensions_to_source()
        built = Path(self.build_lib, "pymigrate")
        for name in ("include/pymigrate.h", "lib/libpymigrate.a", "lib/libpymigrate.so"):
            if (built / name).exists():
                Path("pymigrate", name).parent.mkdir(exist_ok=True)
                shutil.copyfile(built / name, Path("pymigrate", name))

    def build_libraries(self, objects_of_core: Path) -> None:
        """Put the header and the two libraries into the package, from the objects that the extension was made of."""
        package = Path(self.get_ext_fullpath("pymigrate._core")).parent
        objects = [str(path) for path in sorted((objects_of_core / "csrc").rglob("*.o"))]
        libraries = package / "lib"
        static, shared = libraries / "libpymigrate.a", libraries / "libpymigrate.so"
        libraries.mkdir(parents=True, exist_ok=True)
        (package / "include").mkdir(exist_ok=True)
        shutil.copyfile("csrc/include/pymigrate.h", package / "include" / "pymigrate.h")
        # The archiver adds to what is there; a member whose source is gone must not stay.
        static.unlink(missing_ok=True)
        self.compiler.create_static_lib(objects, "pymigrate", output_dir=str(libraries))
        # -S: without what a debugger reads, which is most of a file.
        self.compiler.link_shared_object(
            objects,
            str(shared),
            extra_preargs=["-Wl,-soname,libpymigrate.so", "-Wl,-S"],
            extra_postargs=["-pthread"],
            target_lang="c",
        )
        if shutil.which("strip"):
            subprocess.run(["strip", "--strip-debug", str(static)], check=True)

    def build_extensions(self) -> None:
        """Check for the compiler and the headers before the first file is compiled."""
        compiler = str(self.compiler.compiler_so[0])
        if shutil.which(compiler) is None:
            raise CompileError(f"no C compiler: {compiler!r} was not found.\n{INSTALL_HINT}")
        header = os.path.join(sysconfig.get_path("include"), "Python.h")
        if not os.path.exists(header):
            raise CompileError(f"no Python headers: Python.h was not found.\n{INSTALL_HINT}")
        compile_side_by_side(self.compiler)
        try:
            super().build_extensions()
        except CompileError as error:
            raise CompileError(f"the C core did not compile: {error}\nIf it misses a header: {INSTALL_HINT}") from error


setup(
    cffi_modules=["pymigrate/_ffi_build.py:make_builder", "pymigrate/_ffi_build.py:make_explore_builder"],
    cmdclass={"build_ext": BuildCore},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
