"""All programs of two or three operations one of which is a migration, up to what makes no difference.

They are about one page: an anonymous one, one of a shared mapping of the file, or one of a private mapping; in each of
a few states of the world. There are about a hundred thousand of them, so they come by number, in an order that a seed
shuffles.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement, product

from pymigrate.explore.program import PROTOCOLS, Program

__all__ = ["SmallPrograms"]

# The world and what happens before, with the page it is about.
WORLDS = (
    ("common memory; write A0", 0),
    ("common device; write A0", 0),
    ("common memory; write A0, fork A B", 0),
    ("common memory; write A0, page_out A0, read A0", 0),
    ("ram memory; write A2", 2),
    ("common memory; read A2", 2),
    ("buffers memory; write A2", 2),
    ("release memory; write A2", 2),
    ("common memory; read A4", 4),
    ("buffers memory; write A4", 4),
)
ON_A_PAGE = ("read", "write", "unmap", "mlock", "munlock", "poke", "pin", "page_out")
EVERYWHERE = ("fork A B", "exit A", "unpin", "swap_off", "swap_on", "reclaim")
ON_THE_FILE = ("truncate 0", "sync", "drop", "file_read 0", "file_write 0")
# How a migration M and two others lie on two tasks.
SHAPES = ("M / {0}, {1}", "M, {0} / {1}", "{0}, M / {1}")


def _others(setup: str, page: int) -> list[str]:
    """What may come by a page."""
    others = [f"{kind} A{page}" for kind in ON_A_PAGE]
    others += [f"protect A{page} r", f"protect A{page} rw", *EVERYWHERE]
    others += [f"remap A{page}"] if page == 0 else list(ON_THE_FILE)
    if "fork" in setup:
        others += [f"read B{page}", f"write B{page}", "exit B", f"remap B{page}"]
    return others


def _migrations(page: int, protocols: Sequence[str]) -> list[str]:
    """The migrations of a page, one of each protocol; by `swap-cache` also with what maps it again at once."""
    plain = [f"migrate A{page} {protocol}" for protocol in protocols]
    return plain + ([f"migrate A{page} swap-cache touch"] if "swap-cache" in protocols else [])


@dataclass(frozen=True)
class _Group:
    """The programs of one world and one migration."""

    setup: str
    migration: str
    others: tuple[str, ...]

    @cached_property
    def bodies(self) -> list[str]:
        """What the tasks do."""
        _, place, *how = self.migration.split()
        others = [*self.others, self.migration, " ".join(["migrate_all", place[0], *how])]
        pairs = list(product(others, repeat=2))
        three = [f"{self.migration} / {one} / {two}" for one, two in combinations_with_replacement(others, 2)]
        three += [shape.replace("M", self.migration).format(*pair) for shape in SHAPES for pair in pairs]
        # A pair of equal ones comes in two shapes.
        return list(dict.fromkeys([*(f"{self.migration} / {one}" for one in others), *three]))


class SmallPrograms:
    """The programs, by number.

    Args:
        protocols: Of the migrations.

    Example:
        >>> programs = SmallPrograms(["entry"])
        >>> print(programs[0])
        common memory; write A0 / migrate A0 entry / read A0
    """

    def __init__(self, protocols: Sequence[str] = PROTOCOLS) -> None:
        self._groups = [
            _Group(setup, migration, tuple(_others(setup, page)))
            for setup, page in WORLDS
            for migration in _migrations(page, protocols)
        ]
        self._starts = [0]
        for group in self._groups:
            self._starts.append(self._starts[-1] + len(group.bodies))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Program:
        if not 0 <= number < len(self):
            raise IndexError(number)
        at = next(i for i, start in enumerate(self._starts[1:]) if number < start)
        group = self._groups[at]
        return Program.parse(f"{group.setup} / {group.bodies[number - self._starts[at]]}")

    def shuffled(self, seed: int) -> Iterator[Program]:
        """All of them, in an order that the seed gives."""
        numbers = list(range(len(self)))
        random.Random(seed).shuffle(numbers)
        return (self[number] for number in numbers)
