"""Programs for hypothesis: small, and shrinking to fewer and simpler operations."""

from __future__ import annotations

from hypothesis import strategies as st

from pymigrate.explore import Operation, Program
from pymigrate.explore.program import COMPACTIONS, FILES, KINDS, ORDERS, PROTOCOLS, SETUP, STEPPED, SWAPS, TOUCH

LIMITS = {"order": ORDERS, "pageblock": 2, "compaction": len(COMPACTIONS)}
PAGES = st.sampled_from([0, 0, 0, 2, 4, 1, 6])


@st.composite
def migrations(draw: st.DrawFn) -> int:
    """The value of a migration: its protocol, mode and flag."""
    mode = draw(st.sampled_from([2, 2, 2, 1, 0]))
    flags = draw(st.sampled_from([0, 0, TOUCH])) + draw(st.sampled_from([0, 0, STEPPED]))
    return draw(st.integers(0, len(PROTOCOLS) - 1)) + 8 * mode + flags


@st.composite
def operations(draw: st.DrawFn, task: int) -> Operation:
    kind = draw(st.sampled_from([*KINDS, "migrate", "migrate"]))
    page = 0 if kind == "migrate_all" else draw(PAGES)
    value = draw(st.integers(0, 1)) if kind in ("fork", "protect", "truncate") else 0
    if KINDS[kind].endswith("migration"):
        value = draw(migrations())
    if KINDS[kind] in LIMITS:
        value = draw(st.integers(0, LIMITS[KINDS[kind]] - 1))
    return Operation(
        task, kind, draw(st.sampled_from([0, 0, 1])), page % 2 if KINDS[kind] == "file page" else page, value
    )


@st.composite
def programs(draw: st.DrawFn) -> Program:
    setup = draw(st.lists(st.sampled_from(["write", "fork", "page_out"]), max_size=2))
    parts = [Operation(SETUP, kind, page=draw(st.sampled_from([0, 2]))) for kind in setup]
    for task in range(draw(st.sampled_from([2, 2, 2, 3]))):
        parts += draw(st.lists(operations(task), min_size=1, max_size=2))
    return Program(
        tuple(parts),
        draw(st.sampled_from(FILES[1:])),
        draw(st.sampled_from(SWAPS)),
        draw(st.booleans()),
        draw(st.booleans()),
    )
