"""What the benchmarks print: tables for a reader, and lines `figure NAME VALUE UNIT` for grep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

Samples = dict[str, list[float]]


def figure(name: str, value: float, unit: str) -> None:
    """Prints one figure on a line of its own."""
    print(f"figure {name} {value:.4g} {unit}", flush=True)


def interleave(rounds: int, measures: Mapping[str, Callable[[], float]]) -> Samples:
    """Takes every measure once a round, so that all see the same moods of the machine.

    Returns:
        For each measure its samples, one a round.
    """
    samples: Samples = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            samples[name].append(measure())
    return samples


def ratio(samples: Samples, above: str, below: str) -> float:
    """Returns the median over the rounds of one measure divided by another of the same round."""
    return median(a / b for a, b in zip(samples[above], samples[below], strict=True))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> None:
    """Prints a plain table; numbers with two digits, None as a dash."""

    def cell(value: str | float | None) -> str:
        return "-" if value is None else value if isinstance(value, str) else f"{value:.2f}"

    lines = [list(columns), *[[cell(value) for value in row] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    print(f"\n{title}")
    for line in lines:
        first, *rest = line
        print("  " + first.ljust(widths[0]) + "".join("  " + w.rjust(n) for w, n in zip(rest, widths[1:], strict=True)))
    print(flush=True)
