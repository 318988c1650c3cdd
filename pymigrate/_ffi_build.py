"""The binding: cffi in API mode over csrc/include/pymigrate.h, compiled together with the core into `pymigrate._core`.

The header is the only description of the interface: what stands between its BINDING markers goes to cffi as it is, less
the two attribute macros. Run by setup.py; never imported by the package.

The schedule search (`pymigrate explore`) is a second module, `pymigrate._explore`: the core in its test flavour with
csrc/sched, over csrc/sched/explore.h. It takes as long to compile as the first, so a plain install goes without:
setup.py says when it is built.

Environment:
    PYMIGRATE_EXPLORE: ``1`` builds `pymigrate._explore` too.
    PYMIGRATE_FLAVOUR: ``release`` (the default), ``debug``, ``asan``, ``tsan`` or ``coverage``. The last three
        need clang (``CC=clang-19 LDSHARED="clang-19 -shared"``); tools/job.py sets all of it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import cffi

# What the binding adds to the core: see the comments in the source. The last two are called through ctypes, which keeps
# the interpreter's lock; cffi needs their addresses only.
OWN_DECLARATIONS = """
uint64_t pm_binding_monotonic_ns(void *context);
void *pm_binding_own(void *machine);
void *pm_binding_show(void *owner, uint64_t pin);
"""
OWN_SOURCE = r"""
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Nanoseconds of the host's monotonic clock: for struct pm_memory_options.now_ns. The core itself calls no clock. */
static uint64_t pm_binding_monotonic_ns(void *context)
{
	struct timespec now;

	(void)context;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#define PM_BINDING_OWNER "pymigrate.machine"
#define PM_BINDING_VIEW "pymigrate.view"

/* A child of fork(2) ends nothing of its parent's: a lock may be held by a thread that the child does not have. */
static int pm_binding_is_ours(PyObject *owner)
{
	return PyCapsule_GetContext(owner) == (void *)(uintptr_t)getpid();
}

static void pm_binding_owner_gone(PyObject *owner)
{
	struct pm_machine *machine = PyCapsule_GetPointer(owner, PM_BINDING_OWNER);

	if (!pm_binding_is_ours(owner))
		return;
	Py_BEGIN_ALLOW_THREADS
	pm_machine_destroy(machine);
	Py_END_ALLOW_THREADS
}

/* A capsule that destroys a machine with its last reference: its destructor runs when nothing refers to it any more. */
/* The garbage collector would call a finalizer while others in the same cycle can still use the machine. */
static void *pm_binding_own(void *machine)
{
	PyObject *owner = PyCapsule_New(machine, PM_BINDING_OWNER, pm_binding_owner_gone);

	if (owner)
		PyCapsule_SetContext(owner, (void *)(uintptr_t)getpid());
	return owner;
}

struct pm_binding_view {
	PyObject *owner;
	uint64_t pin;
};

static void pm_binding_view_gone(PyObject *capsule)
{
	struct pm_binding_view *view = PyCapsule_GetPointer(capsule, PM_BINDING_VIEW);
	struct pm_machine *machine = PyCapsule_GetPointer(view->owner, PM_BINDING_OWNER);

	if (pm_binding_is_ours(view->owner)) {
		enum pm_status status;

		Py_BEGIN_ALLOW_THREADS
		/* Does not wait: a window is never the target of a transfer. Every machine has a CPU 0. */
		/* A closed machine refuses it, and gives all pins back when it ends. */
		status = pm_unpin(machine, 0, view->pin);
		Py_END_ALLOW_THREADS
		(void)status;
	}
	Py_DECREF(view->owner);
	free(view);
}

/* A capsule that keeps a machine, and gives a pin back with its last reference. */
static void *pm_binding_show(void *owner, uint64_t pin)
{
	struct pm_binding_view *view = malloc(sizeof(*view));
	PyObject *capsule;

	if (!view)
		return PyErr_NoMemory();
	view->owner = (PyObject *)owner;
	view->pin = pin;
	capsule = PyCapsule_New(view, PM_BINDING_VIEW, pm_binding_view_gone);
	if (capsule)
		Py_INCREF(view->owner);
	else
		free(view);
	return capsule;
}
"""

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "csrc" / "include" / "pymigrate.h"
EXPLORE_HEADER = ROOT / "csrc" / "sched" / "explore.h"
FOLDERS = ("base", "phys", "virt", "back", "move", "replay", "embed")

COMPILE_FLAGS = [
    "-std=c11",
    "-pthread",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
]

# CPython's own flags may hold -fwrapv, which would hide signed overflow from UBSan: hence -fno-wrapv.
_CLANG_RUNTIME = ["-shared-libsan"]
_TEST = ["-DPM_TEST_FLAVOUR=1", "-g", "-fno-omit-frame-pointer", "-fno-wrapv"]
_ASAN = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", *_CLANG_RUNTIME]
_TSAN = ["-fsanitize=thread", *_CLANG_RUNTIME]
_COVERAGE = ["-fprofile-instr-generate", "-fcoverage-mapping"]
FLAVOURS: dict[str, tuple[list[str], list[str]]] = {
    "release": (["-O3", "-fno-semantic-interposition"], []),
    "debug": (["-O0", *_TEST], []),
    "asan": (["-O1", *_TEST, *_ASAN], _ASAN),
    "tsan": (["-O1", *_TEST, *_TSAN], _TSAN),
    "coverage": (["-O0", *_TEST, *_COVERAGE], _COVERAGE),
}


def binding_text(header: str) -> str:
    """Returns the declarations for cffi.

    Args:
        header: The text of pymigrate.h.

    Raises:
        ValueError: A marker is missing, or a preprocessor line stands between them.
    """
    match = re.search(r"/\* BINDING-BEGIN \*/(.*?)/\* BINDING-END \*/", header, re.DOTALL)
    if match is None:
        raise ValueError("pymigrate.h has no BINDING-BEGIN / BINDING-END markers")
    text = re.sub(r"\b(?:PM_API|PM_NODISCARD)\b", "", match.group(1))
    # A constant that no int holds cannot be an enumerator in C11; cffi asks the C compiler for the value.
    text = re.sub(r"^#define[ \t]+(PM_\w+)[ \t].*$", r"#define \1 ...", text, flags=re.MULTILINE)
    if re.search(r"^\s*#(?!define PM_\w+ \.\.\.$)", text, re.MULTILINE):
        raise ValueError("pymigrate.h has a preprocessor line other than #define PM_X between its BINDING markers")
    return text


def core_files(suffix: str, folders: tuple[str, ...] = FOLDERS) -> list[str]:
    """Returns the core's files with `suffix`, relative to the root, in a fixed order so that builds repeat."""
    found = [path for folder in folders for path in sorted((ROOT / "csrc" / folder).glob(f"*{suffix}"))]
    return [path.relative_to(ROOT).as_posix() for path in found]


def make_builder() -> cffi.FFI:
    """Returns the cffi builder of the flavour that PYMIGRATE_FLAVOUR names."""
    flavour = os.environ.get("PYMIGRATE_FLAVOUR") or "release"
    if flavour not in FLAVOURS:
        raise ValueError(f"PYMIGRATE_FLAVOUR={flavour!r}: expected one of {', '.join(FLAVOURS)}")
    compile_flags, link_flags = FLAVOURS[flavour]
    builder = cffi.FFI()
    builder.cdef(binding_text(HEADER.read_text(encoding="utf-8")))
    builder.cdef(OWN_DECLARATIONS)
    builder.set_source(
        "pymigrate._core",
        f'#include "pymigrate.h"\n{OWN_SOURCE}',
        sources=core_files(".c"),
        depends=[*core_files(".h"), "csrc/include/pymigrate.h", "pymigrate/_ffi_build.py"],
        include_dirs=["csrc", "csrc/include"],
        define_macros=[("_GNU_SOURCE", "1"), ("Py_LIMITED_API", "0x030b0000")],
        extra_compile_args=[*COMPILE_FLAGS, *compile_flags],
        extra_link_args=["-pthread", *link_flags],
        py_limited_api=True,
    )
    return builder


# Tables of handles are small: every schedule begins with a copy of all that a machine has.
_EXPLORE_FLAGS = ["-O2", "-DPM_TEST_FLAVOUR=1", "-DPM_CFG_POOL_CHUNKS=8"]


def make_explore_builder() -> cffi.FFI:
    """Returns the cffi builder of the schedule search."""
    builder = cffi.FFI()
    builder.cdef("enum pm_status { PM_OK, ... };")
    builder.cdef(binding_text(EXPLORE_HEADER.read_text(encoding="utf-8")))
    folders = (*FOLDERS, "sched")
    builder.set_source(
        "pymigrate._explore",
        '#include "sched/explore.h"\n',
        sources=core_files(".c", folders),
        depends=[*core_files(".h", folders), "csrc/include/pymigrate.h", "pymigrate/_ffi_build.py"],
        include_dirs=["csrc", "csrc/include"],
        define_macros=[("_GNU_SOURCE", "1"), ("Py_LIMITED_API", "0x030b0000")],
        extra_compile_args=[*COMPILE_FLAGS, *_EXPLORE_FLAGS],
        extra_link_args=["-pthread"],
        py_limited_api=True,
    )
    return builder
