"""The schedule search: small programs of a few tasks in a tiny world, run under every interleaving that matters.

    >>> from pymigrate.explore import Explorer, Program
    >>> with Explorer() as explorer:
    ...     found = explorer.all(Program.parse("common memory / write A0 / fork A B, read B0"), preemptions=1)
    >>> found.failure
    'none'

The core under test is the module `pymigrate._explore`, which a plain install does not have:
`PYMIGRATE_EXPLORE=1 pip install .` builds it.
"""

from pymigrate.explore.program import Operation, Program, draw_program
from pymigrate.explore.search import Explorer, Finding, Planted, Switch, planted_bugs, shrink_program

__all__ = [
    "Explorer",
    "Finding",
    "Operation",
    "Planted",
    "Program",
    "Switch",
    "draw_program",
    "planted_bugs",
    "shrink_program",
]
