"""What this machine allows: root, tracefs, perf, trace-cmd. Tests that record on the spot ask here, or are skipped."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pymigrate.recording.live.tracefs import RecordError, tracefs

# Tracers share the machine: one test at a time.
LOCK = Path(tempfile.gettempdir()) / "pymigrate-tests-tracing.lock"
# Allocates and frees memory of its own and of the page cache, in a second or two.
LOAD = (
    "import mmap, os, tempfile\n"
    "with tempfile.TemporaryDirectory() as folder:\n"
    "    for i in range(60):\n"
    "        m = mmap.mmap(-1, 8 << 20); m[::4096] = bytes(2048); m.close()\n"
    "        p = os.path.join(folder, str(i % 7)); open(p, 'wb').write(bytes(3 << 20))\n"
    "        os.spawnlp(os.P_WAIT, 'true', 'true') if i % 10 == 0 else None\n"
)
COMMAND = (sys.executable, "-c", LOAD)


@functools.cache
def why_not() -> str:
    """Why nothing can be recorded here; empty where it can."""
    if os.geteuid() != 0:
        return "recording needs root"
    if not os.access("/proc/kpageflags", os.R_OK):
        return "recording needs /proc/kpageflags"
    try:
        with tracefs() as root:
            folder = root / "instances" / f"test-of-pymigrate-{os.getpid()}"
            folder.mkdir()
            folder.rmdir()
    except (RecordError, OSError) as error:
        return f"recording needs tracefs with instances: {error}"
    return ""


def needs_tracing() -> None:
    """Skips the test where nothing can be recorded."""
    if reason := why_not():
        pytest.skip(reason)


@contextlib.contextmanager
def alone():
    """No other test of ours traces meanwhile."""
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def instances() -> list[str]:
    with tracefs() as root:
        return [path.name for path in (root / "instances").iterdir() if path.name.startswith("pymigrate-")]


def run(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(word) for word in words], capture_output=True, check=False, timeout=120)


def perf(*words: str) -> bytes:
    program = shutil.which("perf")
    if program is None:
        pytest.skip("perf is not installed")
    done = run(program, *words)
    if done.returncode != 0:
        pytest.skip(f"perf cannot do this here: {done.stderr[-300:].decode(errors='replace')}")
    return done.stdout


def trace_cmd(*words: str) -> bytes:
    """Runs trace-cmd.

    Where the files of the function tracer may not be written, which it insists on, others stand in for them.
    """
    program = shutil.which("trace-cmd")
    if program is None:
        pytest.skip("trace-cmd is not installed")
    done = run(program, *words)
    if done.returncode != 0 and shutil.which("unshare"):
        files = ["/proc/sys/kernel/ftrace_enabled"]
        files += [
            f"/sys/kernel/tracing/{name}" for name in ("set_ftrace_pid", "set_ftrace_filter", "set_ftrace_notrace")
        ]
        with tempfile.TemporaryDirectory() as folder:
            mounts = ""
            for i, file in enumerate(files):
                stand_in = Path(folder, str(i))
                stand_in.write_text("1")
                mounts += f"[ ! -e {file} ] || mount --bind {stand_in} {file}; "
            done = run("unshare", "-m", "sh", "-c", f'{mounts} exec "$@"', "sh", program, *words)
    if done.returncode != 0:
        pytest.skip(f"trace-cmd cannot do this here: {done.stderr[-300:].decode(errors='replace')}")
    return done.stdout
