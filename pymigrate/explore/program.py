"""Programs of the schedule search, as text and as values.

A program as text: the world, what happens before the tasks begin, and each task, with slashes between them:

    common memory; write A0, fork A B / write A0 / exit B, read A0

The world is the kind of the file (ram, common, buffers, fallback, release), swap (none, memory, device), and perhaps
`shared`: all tasks on one CPU, or `lists`. Spaces are A to D, of which A exists. Pages 0 and 1 are anonymous, 2 and 3
a shared mapping of the file, 4 and 5 a private one; 0 and 1 can be moved to 6 and 7.

A migration names its protocol, its mode where that is not the usual one, `touch` (map the page again at once), and
`stepped` (one step a call):

    common memory; write A0 / migrate A0 entry / migrate_all A swap-cache async touch stepped

Free memory has users of its own: `alloc` takes a block of an order from 0 to 3, and `free` gives back the last one.
`compact` is for one block of order 3 (`linux`, `planner`, or `linux capture`: the block is the user's). The zone lies
in two pageblocks, 0 and 1, which can be isolated (until `release`), or go offline and online; `take` gives the first 8
frames of one to a user. In a world with `lists` the CPUs keep lists of free frames:

    common memory lists; write A0, alloc 1 / free / isolate 0
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["KINDS", "PROTOCOLS", "SETUP", "Operation", "Program", "draw_program"]

SETUP = 255
FILES = ("ram", "common", "buffers", "fallback", "release")
SWAPS = ("none", "memory", "device")
SPACES = "ABCD"
PAGES = 8
TASKS_MAX = 4
OPERATIONS_MAX = 24

# In the order of enum pm_operation_kind, with what follows the name.
KINDS: dict[str, str] = {
    "read": "page", "write": "page", "fork": "child", "exit": "space", "unmap": "page", "protect": "protection",
    "remap": "page", "mlock": "page", "munlock": "page", "poke": "page", "pin": "page", "unpin": "", "page_out": "page",
    "truncate": "number", "sync": "", "drop": "", "file_read": "file page", "file_write": "file page", "swap_off": "",
    "swap_on": "", "reclaim": "", "migrate": "page migration", "migrate_all": "space migration",
    "alloc": "order", "free": "", "compact": "compaction", "isolate": "pageblock", "release": "pageblock",
    "offline": "pageblock", "online": "pageblock", "take": "pageblock",
}  # fmt: skip
NUMBER_OF = {name: number for number, name in enumerate(KINDS)}

# As enum pm_migrate_protocol and enum pm_migrate_mode; "" is what a migration does that names none.
PROTOCOLS = ("entry", "swap-cache", "table-lock", "semaphore", "waitqueue")
MODES = ("async", "light", "")
TOUCH, STEPPED = 32, 64

# As PM_VALUE_PLANNER and PM_VALUE_CAPTURE of csrc/sched/explore.h.
COMPACTIONS = ("linux", "planner", "linux capture")
ORDERS = 4


@dataclass(frozen=True)
class Operation:
    """One operation of a task.

    Attributes:
        task: Which task does it, or `SETUP`: before the tasks begin.
        kind: One of `KINDS`.
        space: 0 to 3, for A to D.
        page: 0 to 7.
        value: Of `fork` the child (0 to 2, for B to D), of `protect` 0 (read) or 1 (write too), of `truncate` the pages
            that stay, of a migration its protocol, its mode times 8, 32 for `touch`, and 64 for `stepped`.
    """

    task: int
    kind: str
    space: int = 0
    page: int = 0
    value: int = 0

    def __str__(self) -> str:
        what = KINDS[self.kind]
        space = SPACES[self.space]
        if what == "page":
            return f"{self.kind} {space}{self.page}"
        if what == "protection":
            return f"{self.kind} {space}{self.page} {'rw' if self.value & 1 else 'r'}"
        if what == "child":
            return f"{self.kind} {space} {SPACES[1 + self.value % 3]}"
        if what == "space":
            return f"{self.kind} {space}"
        if what in ("number", "order", "pageblock"):
            return f"{self.kind} {self.value}"
        if what == "compaction":
            return f"{self.kind} {COMPACTIONS[self.value]}"
        if what.endswith("migration"):
            page = str(self.page) if what == "page migration" else ""
            flags = ("touch" if self.value & TOUCH else "", "stepped" if self.value & STEPPED else "")
            words = (PROTOCOLS[self.value % 8], MODES[self.value // 8 % 4], *flags)
            return " ".join([self.kind, f"{space}{page}", *filter(None, words)])
        return f"{self.kind} {self.page}" if what == "file page" else self.kind

    @staticmethod
    def parse(text: str, task: int) -> Operation:
        """Reads one operation.

        Raises:
            ValueError: The text is no operation; the message says what is wrong.
        """
        words = text.split()
        if not words or words[0] not in KINDS:
            raise ValueError(f"{text.strip()!r} is no operation: expected one of {', '.join(KINDS)}")
        what, rest = KINDS[words[0]], words[1:]
        if what.endswith("migration"):
            return _parse_migration(words, text, task)
        if what == "compaction":
            if " ".join(rest) not in COMPACTIONS:
                raise ValueError(f"{text.strip()!r}: {words[0]} takes one of {', '.join(COMPACTIONS)}")
            return Operation(task, words[0], value=COMPACTIONS.index(" ".join(rest)))
        wanted = {
            "order": 1,
            "pageblock": 1,
            "page": 1,
            "space": 1,
            "number": 1,
            "file page": 1,
            "child": 2,
            "protection": 2,
            "": 0,
        }[what]
        if len(rest) != wanted:
            raise ValueError(f"{text.strip()!r}: {words[0]} takes {wanted} words, as {what or 'nothing'}")
        operation = Operation(task, words[0])
        if what in ("page", "protection"):
            operation = replace(operation, space=_space(rest[0][:1], text), page=_number(rest[0][1:], PAGES, text))
        elif what in ("space", "child"):
            operation = replace(operation, space=_space(rest[0], text))
        elif what == "file page":
            operation = replace(operation, page=_number(rest[0], 2, text))
        elif what in ("number", "order", "pageblock"):
            below = {"number": 3, "order": ORDERS, "pageblock": 2}[what]
            operation = replace(operation, value=_number(rest[0], below, text))
        if what == "child":
            child = _space(rest[1], text)
            if child == 0:
                raise ValueError(f"{text.strip()!r}: A exists already")
            operation = replace(operation, value=child - 1)
        if what == "protection":
            if rest[1] not in ("r", "rw"):
                raise ValueError(f"{text.strip()!r}: the protection is r or rw")
            operation = replace(operation, value=int(rest[1] == "rw"))
        return operation


def _parse_migration(words: list[str], where: str, task: int) -> Operation:
    """Reads what follows `migrate` or `migrate_all`."""
    kind, rest = words[0], words[1:]
    if len(rest) < 2 or rest[1] not in PROTOCOLS:
        raise ValueError(f"{where.strip()!r}: {kind} takes a place and a protocol: one of {', '.join(PROTOCOLS)}")
    value, more = PROTOCOLS.index(rest[1]), rest[2:]
    mode = MODES.index(more.pop(0)) if more and more[0] in MODES[:2] else MODES.index("")
    value += 8 * mode
    for name, flag in (("touch", TOUCH), ("stepped", STEPPED)):
        if more and more[0] == name:
            value += flag
            more.pop(0)
    if more:
        raise ValueError(f"{where.strip()!r}: a protocol may be followed by async or light, by touch, and by stepped")
    page = 0
    if KINDS[kind] == "page migration":
        page = _number(rest[0][1:], PAGES, where)
    elif len(rest[0]) != 1:
        raise ValueError(f"{where.strip()!r}: {kind} takes a space, A to D")
    return Operation(task, kind, _space(rest[0][:1], where), page, value)


def _space(text: str, where: str) -> int:
    if len(text) != 1 or text not in SPACES:
        raise ValueError(f"{where.strip()!r}: spaces are A to D")
    return SPACES.index(text)


def _number(text: str, below: int, where: str) -> int:
    if not text.isdecimal() or int(text) >= below:
        raise ValueError(f"{where.strip()!r}: expected a number from 0 to {below - 1}")
    return int(text)


@dataclass(frozen=True)
class Program:
    """What a few tasks do in the tiny world."""

    operations: tuple[Operation, ...]
    fs: str = "common"
    swap: str = "memory"
    share_cpu: bool = False
    lists: bool = False

    def __str__(self) -> str:
        world = f"{self.fs} {self.swap}{' shared' if self.share_cpu else ''}{' lists' if self.lists else ''}"
        setup = ", ".join(str(one) for one in self.operations if one.task == SETUP)
        tasks = [", ".join(str(one) for one in self.operations if one.task == task) for task in range(self.nr_tasks)]
        return " / ".join([f"{world}; {setup}" if setup else world, *tasks])

    @property
    def nr_tasks(self) -> int:
        """How many tasks it has."""
        return max((one.task + 1 for one in self.operations if one.task != SETUP), default=0)

    @staticmethod
    def parse(text: str) -> Program:
        """Reads a program: see the head of this module.

        Raises:
            ValueError: The message says what is wrong.
        """
        head, *tasks = text.split("/")
        world, _, setup = head.partition(";")
        words = world.split()
        if (
            len(words) < 2
            or words[0] not in FILES
            or words[1] not in SWAPS
            or words[2:] not in ([], ["shared"], ["lists"], ["shared", "lists"])
        ):
            raise ValueError(
                f"{world.strip()!r} is no world: expected {'|'.join(FILES)} {'|'.join(SWAPS)} [shared] [lists]"
            )
        if not 1 <= len(tasks) <= TASKS_MAX:
            raise ValueError(f"a program has 1 to {TASKS_MAX} tasks, this one has {len(tasks)}")
        operations = [Operation.parse(one, SETUP) for one in setup.split(",") if one.strip()]
        for task, line in enumerate(tasks):
            operations += [Operation.parse(one, task) for one in line.split(",") if one.strip()]
        if len(operations) > OPERATIONS_MAX:
            raise ValueError(f"a program has at most {OPERATIONS_MAX} operations, this one has {len(operations)}")
        return Program(tuple(operations), words[0], words[1], "shared" in words, "lists" in words)

    def without(self, index: int) -> Program:
        """The program less one operation; tasks that have nothing left to do go, and the others move up."""
        left = [one for i, one in enumerate(self.operations) if i != index]
        used = sorted({one.task for one in left if one.task != SETUP})
        moved = {task: i for i, task in enumerate(used)} | {SETUP: SETUP}
        return replace(self, operations=tuple(replace(one, task=moved[one.task]) for one in left))


def draw_program(
    source: random.Random, *, kinds: Sequence[str] = tuple(KINDS), protocols: Sequence[str] = PROTOCOLS
) -> Program:
    """Draws a program of two or three tasks whose operations meet: most are about one page.

    Args:
        source: Of random numbers; the same one gives the same programs.
        kinds: The operations to draw from. If migrations are among them, half of the programs have one at least.
        protocols: Of the migrations.
    """
    nr_tasks = source.choice((2, 2, 2, 3))
    page = source.choice((0, 0, 0, 2, 2, 4))
    operations = [
        Operation(SETUP, kind, page=0 if kind == "fork" else page)
        for kind in source.choice(((), ("write",), ("write",), ("write", "fork"), ("write", "page_out")))
    ]
    operations += [_draw_operation(source, SETUP, kinds, page, protocols)] if source.random() < 0.3 else []
    tasks = [*range(nr_tasks), *(source.randrange(nr_tasks) for _ in range(source.choice((0, 0, 1, 1, 2))))]
    drawn = [_draw_operation(source, task, kinds, page, protocols) for task in sorted(tasks)]
    if "migrate" in kinds and source.random() < 0.5:
        at = source.randrange(len(drawn))
        drawn[at] = _draw_operation(source, drawn[at].task, ("migrate",), page, protocols)
    operations += drawn
    where = (source.choice(FILES), source.choice(SWAPS))
    return Program(tuple(operations), *where, source.random() < 0.1, source.random() < 0.2)


def draw_migration(source: random.Random, protocols: Sequence[str] = PROTOCOLS) -> int:
    """Draws the value of a migration: the usual mode most of the time."""
    mode = source.choice((0, 1, 2, 2, 2, 2))
    flags = (TOUCH if source.random() < 0.3 else 0) + (STEPPED if source.random() < 0.2 else 0)
    return PROTOCOLS.index(source.choice(tuple(protocols))) + 8 * mode + flags


def _draw_operation(
    source: random.Random, task: int, kinds: Sequence[str], page: int, protocols: Sequence[str]
) -> Operation:
    kind = source.choice((*kinds, *(one for one in ("read", "write", "write", "fork", "page_out") if one in kinds)))
    where = page if source.random() < 0.85 else source.choice((0, 1, 2, 4, 6))
    below = {"order": ORDERS, "compaction": len(COMPACTIONS)}.get(KINDS[kind], 2)
    migrates = KINDS[kind].endswith("migration")
    value = draw_migration(source, protocols) if migrates else source.randrange(below)
    drawn = Operation(
        task=task,
        kind=kind,
        space=source.choice((0, 0, 0, 1)),
        page=where % 2 if KINDS[kind] == "file page" else where,
        value=value,
    )
    # Without what its text does not say.
    return Operation.parse(str(drawn), task)
