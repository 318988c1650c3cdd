"""The first half of test_everything.py: a small, ailing machine; its address spaces; access to them. Beside a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule
from memory_model import PAGE, READ, WRITE, ModelFile, ModelSpace, pages_of

from pymigrate import (
    AddressError,
    AddressSpace,
    BlockDevice,
    DeviceError,
    File,
    Machine,
    MemoryOptions,
    Migration,
    OutOfMemoryError,
    Owner,
    Pin,
    Settings,
    ZoneKind,
)
from pymigrate._core import lib
from pymigrate.errors import ArgumentError

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


class Mappings(RuleBasedStateMachine):
    """Spaces, mappings and access; and what every step needs."""

    spaces: Bundle[Any] = Bundle("spaces")
    files: Bundle[Any] = Bundle("files")

    # ---- the machine ----

    @initialize(
        target=spaces,
        frames=st.sampled_from([72, 96, 160, 512]),
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
            Migration(machine, pin.pfn).close()

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
