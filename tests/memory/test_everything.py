"""Everything that can be done with memory, in any order, beside a slow model: every byte is what the model says.

The machine is small, so that memory runs out, pages go to swap and come back, and dirty pages have to be written first.
Transfers fail and allocations fail on the way. After each step the core checks itself. In the end everything is closed,
and what was handed out has come back: frames, references, swap slots, blocks, host memory.

`PYMIGRATE_LONG=1` draws many more examples. hypothesis prints the program of a failure, shrunk, and the line that
repeats it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from memory_model import PAGE, READ, WRITE, ModelFile, ModelSpace, pages_of

from pymigrate import (
    AddressError,
    AddressSpace,
    BlockDevice,
    BusyError,
    DeviceError,
    File,
    Machine,
    MemoryOptions,
    OutOfMemoryError,
    Owner,
    Pin,
    Settings,
    SwapError,
    ZoneKind,
)
from pymigrate._core import lib
from pymigrate.errors import ArgumentError

pytestmark = pytest.mark.asan
LONG = bool(os.environ.get("PYMIGRATE_LONG"))
RELEASE = os.environ.get("PYMIGRATE_TEST_FLAVOUR", "release") == "release"

WHY = {"FAULT": lib.PM_ERR_FAULT, "ACCESS": lib.PM_ERR_ACCESS, "BEYOND": lib.PM_ERR_BEYOND}
# What may come of anything on a machine as small and as ailing as this one.
TROUBLE = (OutOfMemoryError, DeviceError)
BASE = 1 << 20  # pages: where the test maps at addresses of its own choice
SPACES_MAX, PAGES_MAX = 5, 60

pages = st.one_of(st.integers(1, 4), st.integers(1, 40))
prots = st.sampled_from([0, READ, READ | WRITE, READ | WRITE, READ | WRITE])
# A page of the space: mostly one that is mapped (see `spot`).
places = st.tuples(st.sampled_from([True] * 7 + [False]), st.integers(0, PAGES_MAX - 1))
inside = st.integers(0, PAGE - 1)
lengths = st.one_of(st.integers(1, 64), st.integers(1, 3 * PAGE), st.integers(1, 20 * PAGE))
seeds = st.integers(1, 255)


def pattern(seed: int, n: int) -> bytes:
    """Bytes that differ from page to page and within one."""
    return bytes((seed + i * 7 + i // PAGE * 13) & 0xFF for i in range(min(n, 4099))) * (n // 4099 + 1)


def spot(model: ModelSpace, place: tuple[bool, int]) -> int:
    """The page number that a drawn place comes to."""
    mapped, number = place
    known = sorted(model.slots)
    return known[number * len(known) // PAGES_MAX] if mapped and known else BASE + number


class Everything(RuleBasedStateMachine):
    spaces: Bundle[Any] = Bundle("spaces")
    files: Bundle[Any] = Bundle("files")
    pins: Bundle[Any] = Bundle("pins")
    windows: Bundle[Any] = Bundle("windows")
    blocks: Bundle[int] = Bundle("blocks")

    # ---- the machine ----

    @initialize(
        target=spaces,
        frames=st.sampled_from([140, 200, 320, 512]),
        tables=st.booleans(),
        guard=st.sampled_from(["epoch", "fence", "lock"]),
        swap_on_disk=st.booleans(),
    )
    def make(self, frames: int, tables: bool, guard: Any, swap_on_disk: bool) -> Any:
        self.machine = Machine(
            [(ZoneKind.NORMAL, 0, frames)],
            cpus=2,
            settings=Settings(min_free_kbytes=64, pcp=False),
            memory=MemoryOptions(tables_in_frames=tables, guard=guard),
        )
        self.live: list[tuple[AddressSpace, ModelSpace]] = []
        self.open_files: list[tuple[File, ModelFile]] = []
        self.held: list[Pin] = []
        self.seen: list[Any] = []
        self.failing: tuple[int, bool] = (0, False)
        self.turn = False
        self.warm_up()
        self.at_start = (self.machine.zones[0].nr_free, self.machine.host_pieces)
        self.disk = BlockDevice(self.machine, 4096, read_ns=10_000, write_ns=20_000, depth=2)
        self.swap_disk = BlockDevice(self.machine, 300, read_ns=10_000, write_ns=20_000)
        self.swap_target = self.swap_disk if swap_on_disk else None
        self.balloon = Owner(self.machine, "movable-ops")
        pair = self.new_pair(AddressSpace(self.machine), ModelSpace())
        # Something to begin with: an example of random maps alone would seldom hit what it mapped.
        self.first_file = (
            File(self.machine, "buffers", device=self.disk, size=10 * PAGE),
            ModelFile(10 * PAGE, 10 * PAGE),
        )
        self.open_files.append(self.first_file)
        self.map(pair, 0, 16, READ | WRITE, False, False, False, None, 0)
        self.map(pair, 16, 8, READ | WRITE, True, False, False, None, 0)
        self.map(pair, 26, 8, READ | WRITE, True, False, False, self.first_file, 0)
        self.map(pair, 36, 8, READ | WRITE, False, False, False, self.first_file, 2)
        return pair

    def new_pair(self, space: AddressSpace, model: ModelSpace) -> Any:
        self.live.append((space, model))
        return self.live[-1]

    def warm_up(self) -> None:
        """Pools keep their memory: what is counted begins after each has been used once."""
        machine = self.machine
        with (
            BlockDevice(machine, 16) as disk,
            File(machine, "buffers", device=disk, size=PAGE) as file,
            Owner(machine) as owner,
            AddressSpace(machine) as space,
        ):
            owner.alloc()
            addr = space.map(PAGE, file=file, shared=True)
            with space.pin(addr, "direct-io") as pin:
                other = space.map(PAGE)
                with space.pin(other, "direct-io", write=True) as second:
                    file_two = File(machine, "common", device=disk, size=PAGE)
                    file_two.direct_read(second, 0).wait()
                    file_two.close()
                assert pin.pfn != second.pfn

    def do(self, call: Callable[[], Any], *allowed: type[Exception]) -> Any:
        """Runs a call of the core, with an allocation that fails where one is due. Returns its result, or the error."""
        nth, forever = self.failing
        self.failing = (0, False)
        if nth:
            self.machine.fail_allocations(nth, from_then_on=forever)
        self.turn = not self.turn
        try:
            with self.machine.on_cpu(int(self.turn)):
                return call()
        except (*TROUBLE, *allowed) as error:
            return error
        finally:
            if nth:
                self.machine.fail_allocations(0)

    @rule(nth=st.integers(1, 12), forever=st.booleans())
    def let_an_allocation_fail(self, nth: int, forever: bool) -> None:
        self.failing = (nth, forever)

    @rule(target=files)
    def offer_first_file(self) -> Any:
        return self.first_file

    # ---- spaces ----

    @rule(target=spaces)
    def new_space(self) -> Any:
        if len(self.live) >= SPACES_MAX:
            return multiple()
        space = self.do(lambda: AddressSpace(self.machine))
        if isinstance(space, Exception):
            return multiple()
        return self.new_pair(space, ModelSpace())

    @rule(target=spaces, pair=spaces)
    def fork(self, pair: Any) -> Any:
        space, model = pair
        if len(self.live) >= SPACES_MAX or pair not in self.live:
            return multiple()
        child = self.do(space.fork)
        if isinstance(child, Exception):
            return multiple()
        return self.new_pair(child, model.fork())

    @rule(pair=consumes(spaces))
    def exit(self, pair: Any) -> None:
        if pair in self.live:
            pair[0].exit()
            self.live.remove(pair)

    # ---- mappings ----

    @rule(
        pair=spaces,
        place=st.integers(0, PAGES_MAX - 1),
        n=pages,
        prot=prots,
        shared=st.booleans(),
        locked=st.sampled_from([False, False, False, True]),
        populate=st.booleans(),
        file=st.one_of(st.none(), files),
        index=st.integers(0, 4),
    )
    def map(
        self,
        pair: Any,
        place: int,
        n: int,
        prot: int,
        shared: bool,
        locked: bool,
        populate: bool,
        file: Any,
        index: int,
    ) -> None:
        space, model = pair
        if pair not in self.live or (file is not None and file not in self.open_files):
            return
        n = min(n, PAGES_MAX - place)
        source = file[1] if file else ModelFile(n * PAGE, n * PAGE) if shared else None
        options = {"prot": prot, "shared": shared, "locked": locked, "populate": populate}
        if file:
            options |= {"file": file[0], "offset": index * PAGE}
        addr = (BASE + place) * PAGE
        got = self.do(lambda: space.map(n * PAGE, addr=addr, **options), AddressError)
        if isinstance(got, Exception) and "addr" not in getattr(got, "details", {}):
            assert isinstance(got, TROUBLE)
            return
        model.map(BASE + place, n, prot, shared, locked, source, index if file else 0)
        wanted = any(model.slots[v].beyond() for v in range(BASE + place, BASE + place + n)) and prot
        if isinstance(got, AddressError):
            assert got.status == lib.PM_ERR_BEYOND
            assert wanted
            assert locked or populate
        else:
            assert isinstance(got, Exception) or got == addr
        self.learn_own(pair, BASE + place, n)

    @rule(pair=spaces, place=places, n=pages)
    def unmap(self, pair: Any, place: Any, n: int) -> None:
        if pair in self.live:
            vpn = spot(pair[1], place)
            if self.do(lambda: pair[0].unmap(vpn * PAGE, n * PAGE)) is None:
                pair[1].unmap(vpn, n)

    @rule(pair=spaces, place=places, n=pages, prot=prots)
    def protect(self, pair: Any, place: Any, n: int, prot: int) -> None:
        if pair not in self.live:
            return
        first = spot(pair[1], place)
        got = self.do(lambda: pair[0].protect(first * PAGE, n * PAGE, prot), AddressError)
        if isinstance(got, AddressError):
            assert not pair[1].covers(first, n)
        elif got is None:
            assert pair[1].covers(first, n)
            for vpn in range(first, first + n):
                pair[1].slots[vpn].prot = prot

    @rule(pair=spaces, place=places, n=pages, lock=st.booleans())
    def mlock(self, pair: Any, place: Any, n: int, lock: bool) -> None:
        space, model = pair
        if pair not in self.live:
            return
        first = spot(model, place)
        change = space.mlock if lock else space.munlock
        got = self.do(lambda: change(first * PAGE, n * PAGE), AddressError)
        if not model.covers(first, n):
            assert isinstance(got, (AddressError, OutOfMemoryError))
            return
        if isinstance(got, AddressError):
            assert got.status == lib.PM_ERR_BEYOND
            assert any(model.slots[v].beyond() for v in range(first, first + n))
        locked = {v: a.locked for a in space.areas() for v in range(a.start // PAGE, a.end // PAGE)}
        for vpn in range(first, first + n):
            assert lock == locked[vpn] or isinstance(got, TROUBLE)
            model.slots[vpn].locked = locked[vpn]
        self.learn_own(pair, first, n)

    @rule(pair=spaces, place=places, n=pages, new_n=pages, to=st.one_of(st.none(), st.integers(0, PAGES_MAX)))
    def remap(self, pair: Any, place: Any, n: int, new_n: int, to: int | None) -> None:
        space, model = pair
        if pair not in self.live:
            return
        vpn = spot(model, place)
        target = vpn if to is None else BASE + to
        single = any(a.start <= vpn * PAGE and a.end >= (vpn + n) * PAGE for a in space.areas())
        clash = to is not None and target < vpn + n and vpn < target + new_n
        new_addr = None if to is None else target * PAGE
        before = set(model.slots)
        got = self.do(
            lambda: space.remap(vpn * PAGE, n * PAGE, new_n * PAGE, new_addr=new_addr, move=to is not None),
            AddressError,
            ArgumentError,
        )
        now = {v for a in space.areas() for v in range(a.start // PAGE, a.end // PAGE)}
        if not isinstance(got, Exception):
            assert single
            assert not clash
            assert got == target * PAGE
            done = True
        elif isinstance(got, ArgumentError) or (isinstance(got, AddressError) and got.status == lib.PM_ERR_FAULT):
            assert clash or not single
            done = False
        else:
            # It ran out of memory on the way: what is mapped now says how far it came.
            moved = target != vpn and vpn not in now
            shrunk = target == vpn and new_n < n and vpn + n - 1 not in now
            grown = target == vpn and new_n > n and vpn + n in now - before
            done = moved or shrunk or grown
        if done:
            self.move_in_model(model, vpn, n, target, new_n)
            self.learn_own(pair, target, new_n)
        gone = set(model.slots) - now
        assert gone <= set(range(target, target + new_n)) | set(range(vpn + new_n, vpn + n))
        for v in gone:
            del model.slots[v]
        assert set(model.slots) == now

    @staticmethod
    def move_in_model(model: ModelSpace, vpn: int, n: int, target: int, new_n: int) -> None:
        if target != vpn:
            model.unmap(target, new_n)
        model.remap(vpn, n, target, new_n)

    # ---- access ----

    @rule(pair=spaces, place=places, offset=inside, n=lengths, seed=seeds)
    def write(self, pair: Any, place: Any, offset: int, n: int, seed: int) -> None:
        if pair in self.live:
            addr = spot(pair[1], place) * PAGE + offset
            data = pattern(seed, n)[: pair[1].write_limit(addr, n)]
            if data:
                self.store(pair, addr, data, lambda: pair[0].write(addr, data))

    @rule(pair=spaces, place=places, offset=inside, n=lengths, value=seeds)
    def fill(self, pair: Any, place: Any, offset: int, n: int, value: int) -> None:
        if pair in self.live:
            addr = spot(pair[1], place) * PAGE + offset
            n = pair[1].write_limit(addr, n)
            if n:
                self.store(pair, addr, bytes([value]) * n, lambda: pair[0].fill(addr, value, n))

    def store(self, pair: Any, addr: int, data: bytes, call: Callable[[], Any]) -> None:
        model = pair[1]
        reach, why = model.reach(addr, len(data), write=True)
        got = self.do(call, AddressError)
        done = self.progress(got, len(data), reach, why)
        model.write(addr, data[:done])
        self.learn_own(pair, addr // PAGE, pages_of(addr % PAGE + len(data)))

    @rule(pair=spaces, place=places, offset=inside, n=lengths)
    def read(self, pair: Any, place: Any, offset: int, n: int) -> None:
        space, model = pair
        if pair not in self.live:
            return
        addr = spot(model, place) * PAGE + offset
        reach, why = model.reach(addr, n, write=False)
        got = self.do(lambda: space.read(addr, n), AddressError)
        if self.progress(got, n, reach, why) == n:
            assert got == model.read(addr, n)

    @rule(pair=spaces, place=places, offset=inside, n=st.integers(1, 2 * PAGE))
    def checksum(self, pair: Any, place: Any, offset: int, n: int) -> None:
        space, model = pair
        if pair not in self.live:
            return
        addr = spot(model, place) * PAGE + offset
        reach, why = model.reach(addr, n, write=False)
        got = self.do(lambda: space.checksum(addr, n), AddressError)
        if self.progress(got, n, reach, why) == n:
            total = 0xCBF29CE484222325
            for byte in model.read(addr, n):
                total = (total ^ byte) * 0x100000001B3 & (1 << 64) - 1
            assert got == total

    @rule(pair=spaces, place=places, n=pages, write=st.booleans())
    def touch(self, pair: Any, place: Any, n: int, write: bool) -> None:
        space, model = pair
        if pair not in self.live:
            return
        vpn = spot(model, place)
        addr = vpn * PAGE
        reach, why = model.reach(addr, n * PAGE, write)
        got = self.do(lambda: space.touch(addr, n * PAGE, write=write), AddressError)
        self.progress(got, n * PAGE, reach, why)
        self.learn_own(pair, vpn, n)

    @staticmethod
    def progress(got: Any, n: int, reach: int, why: str | None) -> int:
        """Checks how far an access came, and returns it."""
        if isinstance(got, AddressError):
            assert why is not None
            assert (got.status, got.details["done"]) == (WHY[why], reach)
            return reach
        if isinstance(got, Exception):
            assert got.details["done"] <= reach  # type: ignore[attr-defined]
            return int(got.details["done"])  # type: ignore[attr-defined]
        assert reach == n
        return n

    def learn_own(self, pair: Any, vpn: int, n: int) -> None:
        """Which private pages of files became the space's own: a failure on the way does not tell how far it came."""
        space, model = pair
        for v in range(vpn, vpn + n):
            slot = model.slots.get(v)
            if slot is None or slot.file is None or slot.shared or slot.own is not None:
                continue
            pte = space.lookup(v * PAGE)
            if pte.kind == "swap" or (pte.pfn is not None and self.machine.page_info(pte.pfn).use == "anon"):
                slot.make_own()

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
        held = (pin, model.slots[vpn].held(write), self.file_page(model, vpn))
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
        seen = (window, model.slots[vpn].held(write), self.file_page(model, vpn))
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
        nth=st.integers(1, 6),
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
        for file, model in self.open_files:
            assert file.read(0, 1 << 40) == model.read(0, model.size)
        for space, wanted in self.live:
            for vpn, slot in sorted(wanted.slots.items()):
                if wanted.why_not(vpn, write=False) is None:
                    got = self.do(lambda s=space, v=vpn: s.read(v * PAGE, PAGE))
                    # A page that was never touched may find no frame any more.
                    assert got == slot.content() or isinstance(got, OutOfMemoryError)
            space.exit()
        for file, _ in self.open_files:
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
