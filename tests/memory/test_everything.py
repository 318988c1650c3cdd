"""Everything that can be done with memory, in any order, beside a slow model: every byte is what the model says.

The machine is small, so that memory runs out, pages go to swap and come back, and dirty pages have to be written first.
Transfers fail and allocations fail on the way. After each step the core checks itself. In the end everything is closed,
and what was handed out has come back: frames, references, swap slots, blocks, host memory.

`PYMIGRATE_LONG=1` draws many more examples. hypothesis prints the program of a failure, shrunk, and the line that
repeats it.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, consumes, invariant, multiple, rule
from mappings import PAGES_MAX, TROUBLE, WHY, Mappings, inside, lengths, pattern, places, seeds, spot
from memory_model import PAGE, ModelFile, ModelSpace, pages_of
from moving import Moving

from pymigrate import (
    AddressError,
    BusyError,
    File,
    OutOfMemoryError,
    SwapError,
)
from pymigrate.errors import ArgumentError

pytestmark = pytest.mark.asan
LONG = bool(os.environ.get("PYMIGRATE_LONG"))
RELEASE = os.environ.get("PYMIGRATE_TEST_FLAVOUR", "release") == "release"


class Everything(Moving):
    """The second half: what holds pages, what is behind them, and the end."""

    spaces = Mappings.spaces
    files = Mappings.files
    pins: Bundle[Any] = Bundle("pins")
    windows: Bundle[Any] = Bundle("windows")
    blocks: Bundle[int] = Bundle("blocks")

    # ---- pins and windows ----

    @rule(
        target=pins,
        pair=spaces,
        place=places,
        kind=st.sampled_from(["short", "direct-io", "long"]),
        write=st.booleans(),
    )
    def pin(self, pair: Any, place: Any, kind: Any, write: bool) -> Any:
        space, model = pair
        if pair not in self.live:
            return multiple()
        vpn = spot(model, place)
        why = model.why_not(vpn, write)
        pin = self.do(lambda: space.pin(vpn * PAGE, kind, write=write), AddressError)
        if isinstance(pin, Exception):
            assert isinstance(pin, TROUBLE) or pin.status == WHY[why or ""]
            self.learn_own(pair, vpn, 1)
            return multiple()
        assert why is None
        # What a short pin for reading holds may stop being the space's page at the next write: it is only held.
        page = bytearray() if kind == "short" and not write else model.slots[vpn].held()
        held = (pin, page, self.file_page(model, vpn))
        self.held.append(pin)
        return held

    @staticmethod
    def file_page(model: ModelSpace, vpn: int) -> tuple[ModelFile, int] | None:
        slot = model.slots[vpn]
        return None if slot.file is None or slot.own is not None else (slot.file, slot.index)

    @rule(held=consumes(pins))
    def unpin(self, held: Any) -> None:
        held[0].unpin()
        self.held.remove(held[0])

    @rule(target=windows, pair=spaces, place=places, write=st.booleans())
    def open_window(self, pair: Any, place: Any, write: bool) -> Any:
        space, model = pair
        if pair not in self.live:
            return multiple()
        vpn = spot(model, place)
        why = model.why_not(vpn, write)
        window = self.do(lambda: space.window(vpn * PAGE, write=write), AddressError)
        if isinstance(window, Exception):
            assert isinstance(window, TROUBLE) or window.status == WHY[why or ""]
            self.learn_own(pair, vpn, 1)
            return multiple()
        assert why is None
        seen = (window, model.slots[vpn].held(), self.file_page(model, vpn))
        self.seen.append(seen)
        return seen

    @rule(seen=windows, offset=inside, n=st.integers(1, 100), seed=seeds)
    def write_window(self, seen: Any, offset: int, n: int, seed: int) -> None:
        window, page, origin = seen
        if seen not in self.seen or window.view.readonly:
            return
        limit = self.page_end(page, origin)
        data = pattern(seed, n)[: max(0, min(n, limit - offset))]
        window.view[offset : offset + len(data)] = data
        page[offset : offset + len(data)] = data

    @staticmethod
    def page_end(page: bytearray, origin: tuple[ModelFile, int] | None) -> int:
        """How much of a held page is in front of the end of the file that it is a page of, if it still is."""
        if origin is None or origin[0].pages.get(origin[1]) is not page:
            return PAGE
        return origin[0].size - origin[1] * PAGE

    @rule(seen=windows)
    def look_through_window(self, seen: Any) -> None:
        if seen in self.seen:
            assert bytes(seen[0].view) == bytes(seen[1])

    @rule(seen=consumes(windows))
    def close_window(self, seen: Any) -> None:
        if seen in self.seen:
            assert bytes(seen[0].view) == bytes(seen[1])
            seen[0].close()
            self.seen.remove(seen)

    # ---- files ----

    @rule(
        target=files,
        kind=st.sampled_from(["ram", "common", "buffers", "fallback", "release"]),
        size=st.integers(0, 6 * PAGE),
        more=st.integers(0, 6 * PAGE),
    )
    def open_file(self, kind: Any, size: int, more: int) -> Any:
        if len(self.open_files) >= 4:
            return multiple()
        disk = None if kind == "ram" else self.disk
        file = self.do(lambda: File(self.machine, kind, device=disk, size=size, capacity=size + more))
        if isinstance(file, Exception):
            return multiple()
        room = 1 << 40 if kind == "ram" else pages_of(size + more) * PAGE
        pair = (file, ModelFile(size, room))
        self.open_files.append(pair)
        return pair

    @rule(pair=consumes(files))
    def close_file(self, pair: Any) -> None:
        if pair in self.open_files:
            pair[0].close()
            self.open_files.remove(pair)

    @rule(pair=files, offset=st.integers(0, 8 * PAGE), n=lengths, seed=seeds)
    def write_file(self, pair: Any, offset: int, n: int, seed: int) -> None:
        file, model = pair
        if pair not in self.open_files:
            return
        data = pattern(seed, n)[:n]
        got = self.do(lambda: file.write(offset, data), ArgumentError)
        if isinstance(got, ArgumentError):
            assert pages_of(offset + n) * PAGE > model.capacity
        elif got is None:
            assert pages_of(offset + n) * PAGE <= model.capacity
        done = n if got is None else got.details["done"]
        if done:
            self.change_size(model, max(model.size, offset))
        model.write(offset, data[:done])
        if got is not None:
            # It may have grown, and not been written to.
            assert file.info().size in (model.size, *range(model.size, offset + n + 1))
            self.change_size(model, file.info().size)

    @rule(pair=files, offset=st.integers(0, 8 * PAGE), n=lengths)
    def read_file(self, pair: Any, offset: int, n: int) -> None:
        if pair in self.open_files:
            got = self.do(lambda: pair[0].read(offset, n))
            assert isinstance(got, Exception) or got == pair[1].read(offset, n)

    @rule(pair=files, size=st.one_of(st.integers(0, 12 * PAGE), st.integers(0, 12).map(lambda i: i * PAGE)))
    def truncate(self, pair: Any, size: int) -> None:
        file, model = pair
        if pair not in self.open_files:
            return
        got = self.do(lambda: file.truncate(size), ArgumentError)
        if isinstance(got, ArgumentError):
            assert pages_of(size) * PAGE > model.capacity
        elif got is None:
            self.change_size(model, size)
        else:
            assert file.info().size in (size, model.size)
            self.change_size(model, file.info().size)

    def change_size(self, model: ModelFile, size: int) -> None:
        if size != model.size:
            model.resize(size)
            for _, space in self.live:
                space.truncated(model)

    @rule(pair=files, wait=st.booleans())
    def sync(self, pair: Any, wait: bool) -> None:
        if pair in self.open_files:
            self.do(lambda: pair[0].sync(wait=wait))

    @rule(pair=files)
    def drop(self, pair: Any) -> None:
        if pair in self.open_files:
            self.do(pair[0].drop)

    @rule(held=pins, pair=files, index=st.integers(0, 6), write=st.booleans())
    def direct_io(self, held: Any, pair: Any, index: int, write: bool) -> None:
        pin, page, origin = held
        file, model = pair
        whole = (index + 1) * PAGE <= model.size and self.page_end(page, origin) >= PAGE
        if pair not in self.open_files or pin not in self.held or not whole or pin.kind == "short":
            return
        begin = file.direct_write if write else file.direct_read
        got = self.do(lambda: begin(pin, index * PAGE).wait(), BusyError, AddressError, ArgumentError)
        if isinstance(got, AddressError):
            assert not write
            assert not pin.write
        elif isinstance(got, ArgumentError):
            assert file.info().kind == "ram"
        elif got is None and write:
            model.pages[index] = bytearray(page)
        elif got is None:
            page[:] = model.page(index)

    # ---- swap, reclaim, devices ----

    @rule(slots=st.sampled_from([4, 64, 300]))
    def swap_on(self, slots: int) -> None:
        self.do(lambda: self.machine.swap_on(slots, self.swap_target), BusyError)

    @rule()
    def swap_off(self) -> None:
        self.do(self.machine.swap_off, SwapError)

    @rule(pair=spaces, place=places, n=st.integers(1, PAGES_MAX))
    def page_out(self, pair: Any, place: Any, n: int) -> None:
        if pair in self.live:
            self.do(lambda: pair[0].page_out(spot(pair[1], place) * PAGE, n * PAGE))

    @rule(nr=st.integers(1, 200))
    def reclaim(self, nr: int) -> None:
        self.do(lambda: self.machine.reclaim(0, nr))

    @rule()
    def kswapd(self) -> None:
        self.do(lambda: self.machine.kswapd(0))

    @rule(
        swap=st.booleans(),
        direction=st.sampled_from(["read", "write", "both"]),
        nth=st.sampled_from([1, 1, 1, 2, 5]),
        forever=st.booleans(),
    )
    def ail(self, swap: bool, direction: Any, nth: int, forever: bool) -> None:
        (self.swap_disk if swap else self.disk).fail(direction, nth, from_then_on=forever)

    @rule()
    def heal(self) -> None:
        for disk in (self.disk, self.swap_disk):
            disk.fail("both", 0)

    @rule(us=st.integers(1, 1000))
    def time_passes(self, us: int) -> None:
        self.machine.advance_clock(us * 1000)

    # ---- kernel-like users ----

    @rule(target=blocks, order=st.integers(0, 3))
    def owner_alloc(self, order: int) -> Any:
        number = self.do(lambda: self.balloon.alloc(order))
        return multiple() if isinstance(number, Exception) else number

    @rule(number=blocks)
    def owner_move(self, number: int) -> None:
        before = self.balloon.frame(number)
        got = self.do(lambda: self.balloon.move(number))
        assert self.balloon.frame(number) == (before if isinstance(got, Exception) else got)

    @rule(number=consumes(blocks))
    def owner_free(self, number: int) -> None:
        self.balloon.free(number)

    # ---- what must always hold ----

    @invariant()
    def the_core_agrees_with_itself(self) -> None:
        if hasattr(self, "balloon"):
            self.machine.validate()

    def teardown(self) -> None:
        if not hasattr(self, "balloon"):
            return
        try:
            self.failing = (0, False)
            self.heal()
            self.compare_all_and_close()
            self.compare_with_start()
        finally:
            self.machine.close()

    def compare_all_and_close(self) -> None:
        for seen in self.seen:
            assert bytes(seen[0].view) == bytes(seen[1])
            seen[0].close()
        for pin in self.held:
            pin.unpin()
        self.balloon.close()
        for space, wanted in self.live:
            for vpn, slot in sorted(wanted.slots.items()):
                if wanted.why_not(vpn, write=False) is None:
                    got = self.do(lambda s=space, v=vpn: s.read(v * PAGE, PAGE))
                    # A page that was never touched may find no frame any more.
                    assert got == slot.content() or isinstance(got, OutOfMemoryError)
            space.exit()
        # With the spaces gone, and what they had locked, there is memory for the files.
        for file, model in self.open_files:
            assert file.read(0, 1 << 40) == model.read(0, model.size)
            file.close()

    def compare_with_start(self) -> None:
        machine = self.machine
        machine.advance_clock(10**12)
        info = machine.swap_info()
        assert (info.nr_used, info.entries, info.nr_cached) == (0, 0, 0)
        if info.on:
            machine.swap_off()
        self.disk.close()
        self.swap_disk.close()
        machine.validate()
        assert (machine.zones[0].nr_free, machine.host_pieces) == self.at_start


Everything.TestCase.settings = settings(
    max_examples=settings.default.max_examples * (20 if LONG else 1),
    stateful_step_count=60 if RELEASE else 30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    deadline=None,
)
TestEverything = pytest.mark.timeout(3600 if LONG else 600)(Everything.TestCase)


def test_migrations_of_everything_mostly_moved() -> None:
    """A check that nothing is lost would pass if nothing ever moved."""
    if Everything.tried == 0:
        pytest.skip("the state machine has not run")
    assert Everything.moved * 10 >= Everything.tried
