"""Programs that everybody should know: each brings two or three operations together that race in a kernel."""

from __future__ import annotations

from collections.abc import Sequence

from pymigrate.explore.program import PROTOCOLS, Program

__all__ = ["BLOCKS", "CORPUS", "MOVES", "corpus", "known_races"]

# By race; the names are those of the reference.
CORPUS: dict[str, tuple[str, ...]] = {
    "fault": (
        "common memory / write A0 / write A0",
        "common memory / read A0 / write A0",
        "common memory; file_write 0, sync, drop / file_read 0 / file_read 0",
        "common memory; file_write 0, sync, drop / file_read 0 / file_read 0 / file_read 0",
        "common memory / read A2 / write A2",
        "common memory; file_write 0, sync, drop / read A2 / read A2",
    ),
    "fork": (
        "common memory; write A0 / write A0 / fork A B, read B0",
        "common memory; write A0 / write A0 / fork A B, write B0",
        "common memory; write A0, fork A B / write A0 / write B0",
        "common memory; write A0, fork A B / read A0 / write A0 / exit B",
    ),
    "mprotect, copy-on-write": (
        "common memory; write A0, fork A B / write A0 / write A0",
        "common memory; write A0 / write A0 / protect A0 r, read A0",
        "common memory; write A0, fork A B / write A0 / protect A0 rw",
        "common memory; write A0, fork A B, page_out A0, read A0 / write A0 / read B0",
        "common memory; write A0, fork A B, exit B / write A0 / page_out A0",
        "common memory; file_write 0 / write A4 / read A4, file_write 0",
    ),
    "exit, munmap": (
        "common memory; write A0 / read A0 / unmap A0",
        "common memory; write A0 / write A0 / unmap A0",
        "common memory; write A0 / read A0 / exit A",
        "common memory; write A0, fork A B / page_out A0 / exit A",
        "common memory; write A0 / page_out A0 / unmap A0",
    ),
    "mremap": (
        "common memory; write A0 / write A0 / remap A0, read A6",
        "common memory; write A0 / page_out A0 / remap A0",
        "common memory; write A0 / fork A B / remap A0, write A6",
    ),
    "stale TLB": (
        "common memory; write A0 / write A0 / page_out A0",
        "common device; write A0 / write A0 / page_out A0",
        "common memory; write A2 / write A2 / page_out A2",
    ),
    "swap-in, swapoff": (
        "common memory; write A0, page_out A0 / read A0 / read A0",
        "common device; write A0, page_out A0 / read A0 / write A0",
        "common memory; write A0, page_out A0 / fork A B / read A0",
        "common device; write A0, fork A B, page_out A0 / read A0 / read B0",
        "common memory; write A0, fork A B, page_out A0 / write A0 / read B0",
        "common device; write A0, page_out A0 / swap_off / read A0",
        "common memory; write A0, page_out A0 / swap_off / write A0",
        "common device; write A0 / page_out A0 / swap_off",
    ),
    "truncate": (
        "common memory; write A2 / read A2 / truncate 0",
        "common memory; file_write 0 / read A2 / truncate 0",
        "common memory; write A2 / write A2 / truncate 0",
        "common memory; file_write 0, read A2 / write A2 / truncate 0",
        "common memory; write A4 / read A4 / truncate 0",
        "common memory; file_write 0 / file_write 0 / truncate 0",
    ),
    "direct I/O pin": (
        "common memory; write A0 / poke A0 / fork A B, read B0",
        "common memory; write A0 / poke A0 / page_out A0",
        "common memory; write A0 / poke A0 / page_out A0, fork A B, read B0",
        "common memory; write A0 / poke A0 / unmap A0",
        "common memory; write A2 / poke A2 / sync",
        "release memory; write A2 / poke A2 / sync",
    ),
    "mlock": (
        "common memory; write A0, mlock A0 / read A0 / page_out A0",
        "common memory; write A0 / mlock A0 / page_out A0",
        "common memory; write A0, page_out A0 / mlock A0 / page_out A0",
    ),
    "writeback start": (
        "common memory / poke A2 / sync",
        "common memory; write A2 / write A2 / sync",
        "buffers memory; write A2 / write A2 / sync",
        "release memory; write A2 / write A2 / sync",
        "common memory; write A2 / file_write 0 / sync",
        "common memory; write A2 / sync / drop",
        "common memory; write A0, page_out A0, read A0 / write A0 / page_out A0",
    ),
}

# With compaction, and with ranges.
BLOCKS: dict[str, tuple[str, ...]] = {
    "isolation": (
        "common memory lists / isolate 0 / alloc 1, free",
        "common memory lists; alloc 1 / free / isolate 0",
        "common memory lists; alloc 0, free / isolate 0, alloc 0 / alloc 0",
        "common memory lists; alloc 1 / free, alloc 1 / isolate 0, release 0",
        "common memory; alloc 2 / free / isolate 0, release 0",
        "common memory; write A0 / isolate 0, alloc 0 / unmap A0",
        "common memory / isolate 0 / isolate 0, release 0",
        "common memory; write A0 / take 0 / write A0",
        "common memory; alloc 1 / take 0, free / free",
    ),
    "offlining": (
        "common memory; write A0, write A1 / compact linux / alloc 0",
        "common memory; write A0, write A1 / compact planner / alloc 0",
        "common memory; write A0, write A1 / compact linux / alloc 3, free",
        "common memory; write A0, write A1, alloc 0 / compact linux / free",
        "common memory; write A0, write A1, alloc 0 / compact planner / free",
        "common memory; write A0, write A1 / compact linux / write A0",
        "common memory; write A0, write A1 / compact planner / unmap A0",
        "common memory; write A0, write A1 / compact linux / compact planner",
        "common memory lists; write A0, write A1, alloc 1 / compact linux / free, alloc 1",
        "common memory; write A0, write A1 / compact linux / fork A B, write A0",
        "common memory; write A0 / offline 0 / write A0",
        "common memory; write A0 / offline 0 / read A1, write A1",
        "common memory / offline 0 / write A0",
        "common memory; write A0 / offline 0 / unmap A0",
        "common memory; write A0, page_out A0 / offline 0 / read A0",
        "common memory lists; alloc 1 / offline 0 / free",
        "common memory; write A0 / offline 0, online 0 / write A1",
        "common memory; alloc 0 / offline 0 / read A0",
        "common memory; write A0, pin A0 / offline 0 / unpin",
        "common memory; write A0 / offline 0 / offline 1",
    ),
}


# With a migration, by race; `@` is a protocol.
MOVES: dict[str, tuple[str, ...]] = {
    "fault": (
        "common memory; write A0 / migrate A0 @ / write A0",
        "common memory; write A0 / migrate A0 @ / migrate A0 @",
        "common memory; write A0 / migrate A0 @ stepped / write A0",
        "common memory; write A0, fork A B / migrate A0 @ / write A0",
        "common memory; write A0, write A1 / migrate_all A @ / write A1, write A0",
        "common memory; write A0 / migrate A0 @ touch / migrate A0 @ touch",
        "ram memory; write A2 / migrate A2 @ / read A2 / read A2",
        "common memory; write A0 / migrate A0 @ / read A0 / read A0",
    ),
    "fork": (
        "common memory; write A0 / migrate A0 @ / fork A B",
        "common memory; write A0 / migrate A0 @ / fork A B, write A0",
        "common memory; write A0 / migrate A0 @ stepped / fork A B",
        "common memory; write A0, fork A B / migrate A0 @ / fork A C",
        "common memory; write A0, fork A B / migrate A0 @ / write B0",
    ),
    "exit, munmap": (
        "common memory; write A0 / migrate A0 @ / unmap A0",
        "common memory; write A0 / migrate A0 @ / exit A",
        "common memory; write A0 / migrate A0 @ stepped / unmap A0",
        "common memory; write A0, fork A B / migrate A0 @ / exit B",
        "common memory; write A0 / migrate A0 @ / poke A0",
        "common memory; write A0 / migrate A0 @ / exit A / fork A B",
    ),
    "mremap": (
        "common memory; write A0 / migrate A0 @ / remap A0",
        "common memory; write A0 / migrate A0 @ / remap A0, write A6",
        "common memory; write A0, remap A0 / migrate A6 @ / remap A6",
    ),
    "swap-in, swapoff": (
        "common memory; write A0, page_out A0, read A0 / migrate A0 @ / page_out A0, read A0",
        "common memory; write A0, fork A B, page_out A0 / read A0 / migrate A0 @",
        "common device; write A0, page_out A0 / read A0 / migrate A0 @",
        "common memory; write A0, page_out A0, read A0 / migrate A0 @ / swap_off",
        "common memory; write A0, fork A B, page_out A0, read A0 / migrate A0 @ / read B0",
        "common memory; write A0 / migrate A0 @ / page_out A0",
        "common memory; write A0, fork A B / migrate A0 @ / write A0",
    ),
    "truncate": (
        "ram memory; write A2 / migrate A2 @ / truncate 0",
        "common memory; read A2 / migrate A2 @ / truncate 0",
        "buffers memory; write A2 / migrate A2 @ / truncate 0",
        "common memory; read A4 / migrate A4 @ / truncate 0",
        "buffers memory; write A2 / migrate A2 @ stepped / truncate 0",
    ),
    "cache lookup": (
        "ram memory; file_write 0 / migrate A2 @ / file_read 0",
        "ram memory; file_write 0 / migrate A2 @ / file_write 0",
        "common memory; file_write 0, sync / migrate A2 @ / file_write 0",
        "buffers memory; write A2 / migrate A2 @ / file_read 0",
        "common memory; write A0, fork A B / migrate A0 @ / write A0",
        "buffers memory; file_write 0 / migrate A2 @ / read A2",
    ),
    "direct I/O pin": (
        "common memory; write A0 / migrate A0 @ / poke A0",
        "common memory; write A0, pin A0 / migrate A0 @ / read A0",
        "ram memory; write A2 / migrate A2 @ / poke A2",
    ),
    "stale TLB": (
        "common memory; write A0 / migrate A0 @ / write A0",
        "ram memory; write A2 / migrate A2 @ / write A2",
    ),
    "mprotect, copy-on-write": (
        "common memory; write A0 / migrate A0 @ / protect A0 r",
        "common memory; write A0, fork A B / migrate A0 @ / read B0",
        "common memory; write A0, fork A B / migrate A0 @ / write A0",
        "common memory; write A0, protect A0 r / migrate A0 @ / protect A0 rw, write A0",
    ),
    "mlock": (
        "common memory; write A0, mlock A0 / migrate A0 @ / read A0",
        "common memory; write A0, mlock A0 / migrate A0 @ touch / read A0",
        "common memory; write A0 / migrate A0 @ / mlock A0",
        "common memory; write A0, mlock A0 / migrate A0 @ / munlock A0",
    ),
    "writeback start": (
        "common memory; write A0, page_out A0, read A0, write A0 / migrate A0 @ / page_out A0",
        "buffers memory; write A2 / migrate A2 @ / sync",
        "common memory; write A2 / migrate A2 @ / sync",
        "common device; write A0 / migrate A0 @ / page_out A0",
        "release memory; write A2 / migrate A2 @ / sync",
    ),
}


def known_races() -> list[str]:
    """The names of all races that a known program is about."""
    return sorted({*CORPUS, *BLOCKS, *MOVES})


def corpus(
    race: str = "", *, protocols: Sequence[str] = PROTOCOLS, race_only: bool = False, moves_only: bool = False
) -> list[Program]:
    """The known programs, those of `race` first, each migration by each of the protocols.

    Args:
        race: A name of `known_races()`, or nothing.
        protocols: Of the migrations; none leaves them out.
        race_only: Leave out those of other races.
        moves_only: Leave out programs without a migration.
    """
    programs = []
    for name in sorted(known_races(), key=lambda one: one != race):
        if race_only and name != race:
            continue
        texts = [] if moves_only else [*CORPUS.get(name, ()), *BLOCKS.get(name, ())]
        texts += [text.replace("@", protocol) for text in MOVES.get(name, ()) for protocol in protocols]
        programs += [Program.parse(text) for text in texts]
    return programs
