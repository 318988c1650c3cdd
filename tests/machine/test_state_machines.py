"""The allocator beside a slow model: the same operations, and the very same frames.

`PYMIGRATE_LONG=1` draws many more examples. hypothesis prints the program of a failure, shrunk, and the line that
repeats it.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from model import PAGEBLOCK, PAGEBLOCK_ORDER, Block, Model, RefusedError

from pymigrate import FrameError, Gfp, Machine, MigrateType, OutOfMemoryError, Settings, ZoneKind
from pymigrate._core import lib
from pymigrate.errors import PymigrateError

pytestmark = pytest.mark.asan
LONG = bool(os.environ.get("PYMIGRATE_LONG"))
RELEASE = os.environ.get("PYMIGRATE_TEST_FLAVOUR", "release") == "release"

GFP = {
    int(MigrateType.UNMOVABLE): int(Gfp.KERNEL),
    int(MigrateType.MOVABLE): int(Gfp.HIGHUSER_MOVABLE),
    int(MigrateType.RECLAIMABLE): int(Gfp.KERNEL | Gfp.RECLAIMABLE),
}
NO_FRAME = 0xFFFFFFFF
# start, end, holes, reserved
LAYOUTS: tuple[tuple[int, int, tuple[range, ...], tuple[range, ...]], ...] = (
    (0, 1024, (), ()),
    (1024, 4096, (), ()),
    (100, 1700, (range(600, 640),), (range(1024, 1025), range(1500, 1600))),
)
kinds = st.sampled_from(sorted(GFP))
orders = st.one_of(st.integers(0, 3), st.sampled_from([9, 10]), st.integers(0, 10))
frames = st.one_of(
    st.integers(0, 8).map(lambda i: i * PAGEBLOCK), st.integers(0, 4200), st.sampled_from([2**32, 2**63, 2**64 - 1])
)


def status_of(error: PymigrateError) -> str:
    names = ("INVAL", "RANGE", "WATERMARK", "NO_BLOCK", "DOUBLE_FREE", "ORDER", "BUSY", "RESERVED")
    return next(name for name in names if getattr(lib, f"PM_ERR_{name}") == error.status)


def outcome(call: Any, *args: Any) -> Any:
    """What a call on either side comes to: its result, or the name of the status."""
    try:
        return call(*args)
    except RefusedError as refused:
        return str(refused)
    except PymigrateError as error:
        return status_of(error)


class ExactPlacement(RuleBasedStateMachine):
    """Without per-CPU lists and watermarks the core gives the frame that the model gives, every time."""

    blocks: Bundle[tuple[int, int]] = Bundle("blocks")

    def __init__(self) -> None:
        super().__init__()
        self.crowd: list[tuple[int, int]] = []

    @initialize(layout=st.sampled_from(LAYOUTS), defrag=st.booleans())
    def make(self, layout: Any, defrag: bool) -> None:
        start, end, holes, reserved = layout
        self.model = Model(start, end, holes=holes, reserved=reserved, defrag=defrag)
        self.machine = Machine(
            [(ZoneKind.NORMAL, start, end - start)],
            holes=[(r.start, r.stop) for r in holes],
            reserved=[(r.start, r.stop) for r in reserved],
            settings=Settings(min_free_kbytes=0, watermark_scale_factor=0, pcp=False, defrag_mode=defrag),
        )

    def _alloc(self, order: int, kind: int) -> tuple[int, int] | None:
        expected = outcome(self.model.alloc, order, kind)
        assert outcome(self.machine.alloc, order, GFP[kind]) == expected
        return None if isinstance(expected, str) else (expected, order)

    @rule(target=blocks, order=orders, kind=kinds)
    def alloc(self, order: int, kind: int) -> Any:
        block = self._alloc(order, kind)
        return multiple() if block is None else block

    @rule(block=consumes(blocks))
    def free(self, block: tuple[int, int]) -> None:
        if self.model.why_not_free(*block) is None:
            self.model.free(*block)
            self.machine.free(*block)

    @rule(n=st.sampled_from([3, 40, 500, 3000]), order=st.integers(0, 2), kind=kinds)
    def crowd_in(self, n: int, order: int, kind: int) -> None:
        """Fills memory, so that the ladder is climbed."""
        for _ in range(n):
            block = self._alloc(order, kind)
            if block is None:
                break
            self.crowd.append(block)

    @rule(seed=st.integers(0, 1000), share=st.sampled_from([0.1, 0.5, 0.9, 1.0]), within=st.integers(0, 8))
    def thin_out(self, seed: int, share: float, within: int) -> None:
        """Frees a part of the crowd at random; of one pageblock where there is such a pageblock."""
        draw = random.Random(seed)
        chosen = [b for b in self.crowd if within == 8 or b[0] // PAGEBLOCK == within]
        draw.shuffle(chosen)
        chosen = chosen[: int(len(chosen) * share)]
        gone = set(chosen)
        self.crowd = [b for b in self.crowd if b not in gone]
        for block in chosen:
            self.model.free(*block)
            self.machine.free(*block)

    @rule(pfn=frames, order=orders)
    def free_anything(self, pfn: int, order: int) -> None:
        reason = self.model.why_not_free(pfn, order)
        if reason is None:
            return
        with pytest.raises(FrameError) as caught:
            self.machine.free(pfn, order)
        assert status_of(caught.value) == reason

    @rule(target=blocks, pfn=frames, order=orders, kind=kinds)
    def take(self, pfn: int, order: int, kind: int) -> Any:
        expected = outcome(self.model.take, pfn, order, kind)
        assert outcome(self.machine.take, pfn, order, kind) == expected
        return multiple() if isinstance(expected, str) else (pfn, order)

    @rule(target=blocks, block=consumes(blocks), new_order=st.integers(0, 10))
    def split(self, block: tuple[int, int], new_order: int) -> Any:
        pfn, order = block
        if new_order >= order:
            return block
        self.model.split(pfn, order, new_order)
        self.machine.split(pfn, order, new_order)
        # The first part goes on by itself; the others join the crowd.
        self.crowd += [(part, new_order) for part in range(pfn + (1 << new_order), pfn + (1 << order), 1 << new_order)]
        return (pfn, new_order)

    @rule(pfn=frames, isolated=st.booleans())
    def isolate(self, pfn: int, isolated: bool) -> None:
        assert outcome(self.machine.set_isolated, pfn, isolated) == outcome(self.model.set_isolated, pfn, isolated)

    @rule(pfn=frames, kind=st.integers(0, 3))
    def retype(self, pfn: int, kind: int) -> None:
        assert outcome(self.machine.set_pageblock_type, pfn, kind) == outcome(self.model.set_type, pfn, kind)

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "machine"):
            return
        self.machine.validate()
        zone = self.machine.zones[0]
        assert zone.nr_free == self.model.nr_free()
        assert zone.nr_isolated == self.model.nr_isolated()
        assert self.machine.frame_states().tobytes() == self.model.states()
        blocks = self.machine.free_blocks()[0]
        assert {key: int(blocks[key]) for key in self.model.lists} == {k: len(v) for k, v in self.model.lists.items()}
        self._same_order()

    def _same_order(self) -> None:
        """Every list has its blocks in the model's order: what comes first is handed out first."""
        frames, pageblocks = self.machine.frame_table, self.machine.pageblock_table
        for (order, _), pfns in self.model.lists.items():
            if not pfns:
                continue
            links = frames[pfns] if order < PAGEBLOCK_ORDER else pageblocks[[pfn // PAGEBLOCK for pfn in pfns]]
            assert links["next"].tolist() == [*pfns[1:], NO_FRAME]
            # The first block's prev means nothing: it is not written, so that taking the first touches no other frame.
            assert links["prev"].tolist()[1:] == pfns[:-1]

    def teardown(self) -> None:
        if hasattr(self, "machine"):
            self.machine.close()


class WithPerCpuLists(RuleBasedStateMachine):
    """With per-CPU lists on two CPUs: nothing is lost or handed out twice, and nothing fails that could be served."""

    blocks: Bundle[tuple[int, int]] = Bundle("blocks")
    FRAMES = 2048

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, Block] = {}
        self.taken = bytearray(self.FRAMES)

    @initialize(
        batch=st.sampled_from([None, 1, 4, 31]), high=st.sampled_from([None, 0, 8, 200]), mark=st.sampled_from([0, 128])
    )
    def make(self, batch: int | None, high: int | None, mark: int) -> None:
        self.mark = mark
        self.machine = Machine(
            [(ZoneKind.NORMAL, 0, self.FRAMES)],
            cpus=2,
            settings=Settings(
                min_free_kbytes=mark, watermark_scale_factor=0, pcp_batch=batch, pcp_high_min=high, pcp_high_max=high
            ),
        )

    def _hold(self, pfn: int, order: int) -> None:
        block = Block(pfn, order, 0)
        assert pfn % (1 << order) == 0
        assert block.end <= self.FRAMES
        assert not any(self.taken[pfn : block.end])
        self.taken[pfn : block.end] = bytes([1]) * (1 << order)
        self.held[pfn] = block

    def _drop(self, pfn: int) -> None:
        block = self.held.pop(pfn)
        self.taken[pfn : block.end] = bytes(1 << block.order)

    def _room(self, order: int) -> bool:
        states = self.machine.frame_states()
        rows = states.reshape(-1, 1 << order) & 7
        usable = (rows == lib.PM_STATE_FREE) & (states.reshape(-1, 1 << order) >> 3 < MigrateType.HIGHATOMIC)
        return bool(usable.all(axis=1).any())

    @rule(target=blocks, order=orders, kind=kinds, cpu=st.integers(0, 1))
    def alloc(self, order: int, kind: int, cpu: int) -> Any:
        try:
            pfn = self.machine.alloc(order, GFP[kind], cpu=cpu)
        except OutOfMemoryError:
            self.machine.drain()
            room = self._room(order)
            zone = self.machine.zones[0]
            enough = zone.nr_free - zone.nr_free_highatomic - (1 << order) + 1 > zone.wmark[0] + zone.watermark_boost
            try:
                pfn = self.machine.alloc(order, GFP[kind], cpu=cpu)
            except OutOfMemoryError as error:
                assert not (room and enough), "a spurious failure"
                reason = error.reason
            else:
                reason = ""
            if reason:
                assert reason == ("no-block" if enough else "watermark")
                return multiple()
        self._hold(pfn, order)
        return (pfn, order)

    @rule(block=consumes(blocks), cpu=st.integers(0, 1))
    def free(self, block: tuple[int, int], cpu: int) -> None:
        self.machine.free(*block, cpu=cpu)
        self._drop(block[0])
        with pytest.raises(FrameError):
            self.machine.free(*block, cpu=1 - cpu)

    @rule(n=st.integers(0, 700), order=st.integers(0, 3), kind=kinds, cpu=st.integers(0, 1), back=st.integers(0, 1))
    def in_bulk(self, n: int, order: int, kind: int, cpu: int, back: int) -> None:
        """Many at once, and all of them back, on one CPU or the other."""
        pfns = self.machine.alloc_bulk(n, order, GFP[kind], cpu=cpu, partial=True)
        for pfn in pfns.tolist():
            self._hold(pfn, order)
        self.machine.validate()
        self.machine.free_bulk(pfns[::-1], order, cpu=back)
        for pfn in pfns.tolist():
            self._drop(pfn)

    @rule(pfn=frames, order=orders, cpu=st.integers(0, 1))
    def free_anything(self, pfn: int, order: int, cpu: int) -> None:
        if pfn in self.held and self.held[pfn].order == order:
            return
        with pytest.raises(FrameError):
            self.machine.free(pfn, order, cpu=cpu)

    @rule(pfn=st.integers(0, FRAMES - 1), what=st.sampled_from(["isolate", "undo", "retype"]), kind=st.integers(0, 3))
    def disturb(self, pfn: int, what: str, kind: int) -> None:
        if what == "retype":
            self.machine.set_pageblock_type(pfn, kind)
            return
        isolated = self.machine.frame_info(pfn).pageblock_type == MigrateType.ISOLATE
        if isolated != (what == "isolate"):
            self.machine.set_isolated(pfn, what == "isolate")

    @rule(cpu=st.sampled_from([None, 0, 1]), decay=st.booleans())
    def drain(self, cpu: int | None, decay: bool) -> None:
        if decay and cpu is not None:
            self.machine.decay_pcp(cpu)
        else:
            self.machine.drain(cpu)

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "machine"):
            return
        self.machine.validate()
        zone = self.machine.zones[0]
        held = sum(1 << block.order for block in self.held.values())
        assert zone.nr_free + zone.nr_isolated + zone.nr_pcp + held == self.FRAMES

    def teardown(self) -> None:
        if hasattr(self, "machine"):
            self.machine.close()


_settings = settings(
    max_examples=1000 if LONG else 80 if RELEASE else 8,
    stateful_step_count=60 if LONG else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestExactPlacement = ExactPlacement.TestCase
TestExactPlacement.settings = _settings
TestWithPerCpuLists = WithPerCpuLists.TestCase
TestWithPerCpuLists.settings = _settings
