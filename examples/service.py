"""A service whose memory is compacted while it works: how much slower it gets, in simulated time, and the picture.

python examples/service.py [service.png]
"""

from __future__ import annotations

import random
import sys
from collections.abc import Generator
from typing import Any

import numpy as np
import simpy

from pymigrate import AddressSpace, Destination, Machine, MemoryOptions
from pymigrate.adapters.simpy_memory import Costs, SimulatedMemory

PAGES = 6000
PAGES_PER_REQUEST = 20
REQUEST_EVERY_NS = 5_000
END_NS = 30_000_000
COMPACTION_NS = (10_000_000, 20_000_000)


def request(
    env: simpy.Environment, memory: SimulatedMemory, space: AddressSpace, draw: random.Random, log: list[Any]
) -> Generator[simpy.Event, Any, None]:
    """One request: reads and writes some pages, one after the other."""
    began, stall = env.now, 0
    for _ in range(PAGES_PER_REQUEST):
        done = yield from memory.access(space, draw.randrange(PAGES) * 4096, write=draw.random() < 0.3)
        stall += done.stall_ns
    log.append((began, env.now - began, stall))


def clients(
    env: simpy.Environment, memory: SimulatedMemory, space: AddressSpace, draw: random.Random, log: list[Any]
) -> Generator[simpy.Event, Any, None]:
    """Requests arrive at random."""
    while env.now < END_NS:
        env.process(request(env, memory, space, draw, log))
        yield env.timeout(max(1, round(draw.expovariate(1 / REQUEST_EVERY_NS))))


def compaction(
    env: simpy.Environment, memory: SimulatedMemory, space: AddressSpace, draw: random.Random
) -> Generator[simpy.Event, Any, None]:
    """Moves the service's pages to the lower end of memory, and again, until its time is over."""
    yield env.timeout(COMPACTION_NS[0])
    while env.now < COMPACTION_NS[1]:
        pages = draw.sample(range(PAGES), 256)
        frames = [pfn for page in pages if (pfn := space.lookup(page * 4096).pfn) is not None]
        yield from memory.migrate(frames, destination=Destination(below=1 << 15), batch=64, pause_ns=20_000)


def main(picture: str | None = None, seed: int = 1) -> None:
    """Runs it, prints a line for each of the three parts, and draws the picture if it is given a name."""
    draw = random.Random(seed)
    env = simpy.Environment()
    log: list[Any] = []
    with Machine.from_size("128M", memory=MemoryOptions(contents="none")) as machine:
        memory = SimulatedMemory(env, machine, costs=Costs(hit_ns=100))
        space = AddressSpace(machine)
        # Warm: the service has touched its memory.
        for page in range(PAGES):
            space.translate(page * 4096, write=True, huge=False)
        env.process(clients(env, memory, space, draw, log))
        env.process(compaction(env, memory, space, draw))
        env.run()
    began, latency, stall = np.array(log, dtype=np.int64).T
    parts = {"before": (0, COMPACTION_NS[0]), "compaction": COMPACTION_NS, "after": (COMPACTION_NS[1], END_NS)}
    for name, (first, end) in parts.items():
        these = (began >= first) & (began < end)
        p50, p99 = np.percentile(latency[these], [50, 99])
        stalled = np.mean(stall[these] > 0)
        print(f"{name:11s} p50 {p50 / 1e3:6.2f} us, p99 {p99 / 1e3:6.2f} us, stalled {stalled:.1%} of requests")
    if picture is not None:
        draw_picture(picture, began, latency)


def draw_picture(picture: str, began: np.ndarray, latency: np.ndarray) -> None:
    """Latency over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4))
    axes.plot(began / 1e6, latency / 1e3, ".", markersize=2)
    axes.axvspan(COMPACTION_NS[0] / 1e6, COMPACTION_NS[1] / 1e6, alpha=0.15, label="compaction")
    axes.set(
        xlabel="simulated time, ms", ylabel="latency of a request, us", title="A service while its memory is compacted"
    )
    axes.legend()
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
