"""A KV cache under a synthetic stream of requests: how it fragments, and what compaction costs.

python examples/kv_cache.py
"""

from __future__ import annotations

import random

from pymigrate.adapters.token_blocks import TokenBlocks

ORDER = 9
BLOCKS = 16384


def main(seed: int = 1, requests: int = 4000) -> None:
    """Runs the trace, and prints a line for each quarter of it and one for the compaction."""
    draw = random.Random(seed)
    live: list[int] = []
    refused = 0
    with TokenBlocks(BLOCKS, tokens_per_block=16) as cache:
        for request in range(requests):
            # A prompt of some hundred tokens; each live sequence is as likely as any other to end.
            while live and (len(live) > 400 or cache.free_blocks < BLOCKS // 12):
                cache.end(live.pop(draw.randrange(len(live))))
            try:
                cache.append(request, draw.randint(50, 1500))
                live.append(request)
            except MemoryError:
                refused += 1
            # Decoding: some of the live ones grow.
            for sequence in draw.sample(live, min(8, len(live))):
                cache.append(sequence, draw.randint(1, 64))
            if request % (requests // 4) == requests // 4 - 1:
                print(
                    f"{request + 1:5d} requests: {len(live)} live, {1 - cache.free_blocks / BLOCKS:.0%} in use, "
                    f"{cache.fragmentation(ORDER):.0%} of what is free is of no use for {1 << ORDER} blocks in a row"
                )
        plan = cache.plan(ORDER)
        assert plan is not None
        moved, last = cache.compact(plan), plan.start + (1 << ORDER) - 1
        print(f"compaction: {moved} of {len(plan.sources)} blocks moved, and blocks {plan.start}..{last} are free")
        print(f"refused: {refused}; tables hold {sum(len(cache.table(s)) for s in live)} blocks")


if __name__ == "__main__":
    main()
