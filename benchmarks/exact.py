"""What the exact start state adds: `python -m benchmarks.exact REC`.

REC was recorded with `pymigrate record --exact`. The simulation runs twice from the moment at which the kernel's lists
were walked: with the start state that is inferred from snapshot and events, and with the kernel's own lists. Printed
are the scores of both, and how right the inference was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.report import figure, table
from pymigrate.recording import Recording
from pymigrate.recording.lists import NO_CPU, FreeLists
from pymigrate.replaying import Policy, replay
from pymigrate.replaying.frames import FREE, PAGEBLOCK_ORDER, PCP, expand
from pymigrate.replaying.start import StartState, start_state

SCORES = ("free_error_mean", "free_error_worst", "unusable4_error_mean", "unusable9_error_mean", "blocks9_error_mean")


def scores_with(recording: Recording, *, exact: bool) -> dict[str, float]:
    """The simulation's scores from the lists that were walked, or from inferred ones of the same moment."""
    policy = Policy(settings={"start_exact": int(exact)})
    scores = replay(recording, policy=policy, mode="simulate")["simulate"].scores
    return {name: float(getattr(scores, name)) for name in SCORES}


def _frames(pfn: Any, order: Any, n: int) -> Any:
    flags = np.zeros(n, np.bool_)
    frames = expand(pfn.astype(np.int64), order.astype(np.int64))[0]
    flags[frames[frames < n]] = True
    return flags


def inference(state: StartState, lists: FreeLists) -> None:
    """Prints how much of the inferred state is as the kernel had it."""
    n = len(state.frames.place)
    blocks = state.blocks
    exact_pcp = _frames(lists.pfn[lists.cpu != NO_CPU], lists.order[lists.cpu != NO_CPU], n)
    exact_free = _frames(lists.pfn[lists.cpu == NO_CPU], lists.order[lists.cpu == NO_CPU], n)
    pcp = _frames(blocks.pfn[blocks.place == PCP], blocks.order[blocks.place == PCP], n)
    free = _frames(blocks.pfn[blocks.place == FREE], blocks.order[blocks.place == FREE], n)
    figure("exact.free.agree", (free & exact_free).sum() / max(1, (free | exact_free).sum()), "share")
    figure("exact.pcp.agree", (pcp & exact_pcp).sum() / max(1, (pcp | exact_pcp).sum()), "share")
    small = (lists.cpu == NO_CPU) & (lists.order < PAGEBLOCK_ORDER) & (lists.pfn < n)
    types = state.pageblock_types[lists.pfn[small] >> PAGEBLOCK_ORDER]
    figure("exact.types.agree", float((types == lists.migratetype[small]).mean()) if small.any() else 1.0, "share")
    _order_of_lists(state, lists)


def _order_of_lists(state: StartState, lists: FreeLists) -> None:
    """Of the pairs of neighbours in a list of the kernel's: how many stand in that order with us too."""
    blocks = state.blocks
    place = np.full(len(state.frames.place) + 1, -1, np.int64)
    free = blocks.place == FREE
    place[blocks.pfn[free].astype(np.int64)] = np.flatnonzero(free)
    inside = (lists.cpu == NO_CPU) & (lists.pfn < len(place) - 1)
    at, key = place[lists.pfn[inside]], lists.order[inside].astype(np.int64) * 64 + lists.migratetype[inside] * 8
    key = key + lists.zone[inside]
    pair = (key[1:] == key[:-1]) & (at[1:] >= 0) & (at[:-1] >= 0)
    figure("exact.order.agree", float((at[1:] > at[:-1])[pair].mean()) if pair.any() else 1.0, "share")


@click.command()
@click.argument("path", metavar="REC", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(path: Path) -> None:
    """Compare a simulation from the inferred start state with one from the kernel's own lists."""
    recording = Recording.load(path)
    if recording.lists is None:
        raise click.ClickException(f"{path} was recorded without --exact")
    lists = recording.lists
    inference(start_state(recording, lists.moment_ns), lists)
    found = {"inferred": scores_with(recording, exact=False), "exact": scores_with(recording, exact=True)}
    for name, scores in found.items():
        for score, value in scores.items():
            figure(f"{name}.{score}", value, "share" if "unusable" not in score else "index")
    rows = [(score, *(f"{scores[score]:.6f}" for scores in found.values())) for score in SCORES]
    table("The simulation's difference from the kernel's counters", ("score", *found), rows)


if __name__ == "__main__":
    main()
