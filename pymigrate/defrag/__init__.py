"""Defragmentation: strategies, what any of them could reach, and real memory to try them on.

>>> from pymigrate import AddressSpace, Machine, MemoryOptions
>>> from pymigrate.defrag import bound, compact
>>> machine = Machine.from_size("64M", memory=MemoryOptions(contents="none"))
>>> space = AddressSpace(machine)
>>> addr = space.map(32 << 20, populate=True)
>>> for page in range(0, 32 << 20, 8192):
...     space.unmap(addr + page, 4096)
>>> machine.drain()
>>> best = bound(machine)
>>> result = compact(machine, "planner")
>>> result.blocks_after == best.bound, result.moved == best.minimum
(True, True)
>>> machine.close()
"""

from __future__ import annotations

from pymigrate.defrag.compare import Comparison, compare_strategies
from pymigrate.defrag.load import Kind, LoadedMemory, Uses, load_memory, prepare
from pymigrate.defrag.run import STANDINGS, STRATEGIES, Bound, CompactResult, bound, census, compact
from pymigrate.defrag.source import KernelResult, Source, read_source
from pymigrate.defrag.strategy import (
    FREE,
    MOVABLE_FLAGS,
    OWNED,
    PCP,
    USED,
    Memory,
    Strategy,
    load_strategy,
    look,
    run_strategy,
    strategy_names,
)

__all__ = [
    "FREE",
    "MOVABLE_FLAGS",
    "OWNED",
    "PCP",
    "STANDINGS",
    "STRATEGIES",
    "USED",
    "Bound",
    "CompactResult",
    "Comparison",
    "KernelResult",
    "Kind",
    "LoadedMemory",
    "Memory",
    "Source",
    "Strategy",
    "Uses",
    "bound",
    "census",
    "compact",
    "compare_strategies",
    "load_memory",
    "load_strategy",
    "look",
    "prepare",
    "read_source",
    "run_strategy",
    "strategy_names",
]
