"""Programs that everybody should know: each brings two or three operations together that race in a kernel."""

from __future__ import annotations

from pymigrate.explore.program import Program

__all__ = ["CORPUS", "corpus"]

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


def corpus(race: str = "") -> list[Program]:
    """All of them, those of `race` first."""
    races = sorted(CORPUS, key=lambda name: name != race)
    return [Program.parse(text) for name in races for text in CORPUS[name]]
