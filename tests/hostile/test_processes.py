"""Forks, exits and subinterpreters: each in processes of its own, under load, without a hang."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest

RELEASE = os.environ.get("PYMIGRATE_TEST_FLAVOUR", "release") == "release"
pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork") or not RELEASE, reason="no fork here, or not beside a sanitizer"),
]

# A machine with threads in all kinds of calls, one of them stuck in a transfer that never ends.
LOAD = """
import gc, os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from pymigrate import *
PAGE = 4096
def load(threads, daemon=True):
    machine = Machine.from_size("16M", cpus=4, memory=MemoryOptions(clock="real"))
    disk = BlockDevice(machine, 4096, write_ns=1000, read_ns=1000)
    machine.swap_on(1000, disk)
    stuck = BlockDevice(machine, 64)
    file = File(machine, "buffers", device=stuck, size=PAGE)
    file.write(0, b"x" * PAGE)
    file.sync()
    file.drop()
    stuck.stick("read")
    def work(number):
        space = AddressSpace(machine)
        addr = space.map(32 * PAGE)
        while True:
            space.fill(addr, number, 32 * PAGE)
            child = space.fork()
            child.write(addr, b"child")
            space.page_out(addr, 32 * PAGE)
            child.exit()
            with space.window(addr, write=True) as view:
                view[0] = number
            machine.free(machine.alloc())
    def run(target, *args):
        try:
            target(*args)
        except ClosedError:
            pass
    calls = [(work, i) for i in range(threads)] + [(file.read, 0, 1)]
    for call in calls:
        threading.Thread(target=run, args=call, daemon=daemon).start()
    space = AddressSpace(machine)
    addr = space.map(PAGE)
    space.write(addr, b"parent")
    return machine, space, addr
"""


def run(program: str, timeout: int) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", LOAD + textwrap.dedent(program)]
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)


FORKS = """
machine, space, addr = load(3)
view = space.window(addr).view
count = int({count})
for i in range(count):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)  # A hang becomes a failure.
        code = 0
        calls = [
            machine.alloc, lambda: AddressSpace(machine), lambda: space.read(addr, 1), space.fork, space.exit,
            lambda: machine.page_info(5), lambda: machine.handle,
        ]
        for call in calls:
            try:
                call()
                code = 1
            except ClosedError as error:
                if "parent" not in str(error):
                    code = 2
        space.close()
        machine.close()
        if i % 50 == 7:
            # The long way out: all objects are collected, and the exit hooks run.
            del view, calls
            gc.collect()
            sys.exit(code)
        if i % 50 == 8:
            # A machine of its own works.
            own = Machine.from_size("4M", memory=MemoryOptions())
            own_space = AddressSpace(own)
            own_addr = own_space.map(PAGE)
            own_space.write(own_addr, b"child")
            code = code or int(own_space.read(own_addr, 5) != b"child")
            own.close()
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    if status:
        print("child", i, "ended with", status)
        os._exit(1)
assert space.read(addr, 6) == b"parent"
assert bytes(view[:6]) == b"parent"
machine.close()
print("done", count)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_thousand_forks_under_load() -> None:
    done = run(FORKS.format(count=1000), timeout=500)
    assert (done.stdout, done.returncode) == ("done 1000\n", 0), done.stderr


def test_a_few_forks_under_load() -> None:
    done = run(FORKS.format(count=30), timeout=200)
    assert (done.stdout, done.returncode) == ("done 30\n", 0), done.stderr


EXITS = """
for i in range(int({count})):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        machine, space, addr = load(3)
        view = space.window(addr).view
        time.sleep(0.01)
        if i % 3 == 0:
            del machine, space, view
            gc.collect()
        sys.exit(7)
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != 7:
        print("exit", i, "ended with", status)
        os._exit(1)
print("done")
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_exits_with_busy_threads() -> None:
    done = run(EXITS.format(count=200), timeout=500)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_a_few_exits_with_busy_threads() -> None:
    done = run(EXITS.format(count=8), timeout=200)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_an_exception_ends_the_program_with_busy_threads() -> None:
    done = run("load(3)\nraise KeyError('the end')", timeout=100)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("KeyError: 'the end'")


def test_threads_that_python_waits_for_may_finish_their_work() -> None:
    """An exit closes machines when Python is done with waiting for threads, not before."""
    program = """
    machine = Machine.from_size("8M", memory=MemoryOptions())
    def work():
        space = AddressSpace(machine)
        addr = space.map(PAGE)
        for i in range(200):
            space.fill(addr, i, PAGE)
            time.sleep(0.001)
        print("finished", space.read(addr, 1))
    threading.Thread(target=work).start()
    """
    done = run(program, timeout=100)
    assert (done.stdout, done.returncode) == (f"finished {bytes([199])!r}\n", 0), done.stderr


SUBINTERPRETER = """
{first}
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
number = interpreters.create()
program = '''
import sys
try:
    import pymigrate
except ImportError as error:
    print("refused:", error, flush=True)
else:
    print("imported", flush=True)
'''
interpreters.run_string(number, program)
interpreters.destroy(number)
import pymigrate
with pymigrate.Machine.from_size("4M") as machine:
    print(machine.alloc(), flush=True)
"""


@pytest.mark.parametrize("first", ["", "import pymigrate; pymigrate.Machine.from_size('4M').close()"])
def test_a_subinterpreter_is_refused(first: str) -> None:
    if not any(map(importlib.util.find_spec, ("_interpreters", "_xxsubinterpreters"))):
        pytest.skip("this Python cannot make subinterpreters")
    words = [sys.executable, "-c", SUBINTERPRETER.format(first=first)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    refused, frame = done.stdout.splitlines()
    assert refused.startswith("refused: ")
    assert frame.isdigit()
