"""A real machine's memory, from a snapshot, as a machine whose frames have owners; without contents.

A snapshot says of each frame whether it is free, and of the others what the kernel keeps about them. Frames on the
LRU become pages: anonymous ones are mapped in an address space, those of files lie in a page cache, and a folio of more
than one frame is a block of an owner that can move it. Everything else that is not free stands where it stands. Pins do
not show. Frames in per-CPU lists have no flag, as many other frames of the kernel: they stand still too, or as many of
those without a flag as zoneinfo counts in the lists are put there (`FLAGLESS`).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymigrate._arrays import u64_pointer
from pymigrate._core import ffi, lib
from pymigrate.devices import BlockDevice
from pymigrate.errors import ArgumentError, RecordingError, error_of
from pymigrate.files import File
from pymigrate.machine import Machine
from pymigrate.memory import MemoryOptions
from pymigrate.owners import Owner, OwnerKind
from pymigrate.recording import Recording, flag_bit
from pymigrate.replaying.frames import FREE, PCP, USED, expand
from pymigrate.replaying.policy import Policy
from pymigrate.replaying.session import make_machine
from pymigrate.replaying.start import Blocks, StartState, start_state
from pymigrate.space import AddressSpace

__all__ = [
    "FLAGLESS",
    "Kind",
    "LoadedMemory",
    "Prepared",
    "Uses",
    "blocks_drained",
    "bound_by_tables",
    "classify",
    "large_folios",
    "load_memory",
    "prepare",
]

FLAGLESS = ("stuck", "pcp")
"""What frames without a flag are: all of the kernel, or in per-CPU lists as far as zoneinfo counts frames there."""

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]

MAX_ORDER: int = lib.PM_MAX_ORDER
PAGE_SIZE: int = lib.PM_PAGE_SIZE
MOVABLE: int = lib.PM_MT_MOVABLE
UNMOVABLE: int = lib.PM_MT_UNMOVABLE

# How long a page stays under writeback or locked by a read, in virtual time: until somebody waits for it.
TRANSFER_NS = 1_000_000


class Kind(enum.IntEnum):
    """What a frame is, as far as moving it goes."""

    ABSENT = 0
    FREE = 1
    PCP = 2
    ANON = 3
    FILE = 4
    SHMEM = 5
    FOLIO = 6
    SLAB = 7
    TABLE = 8
    HUGETLB = 9
    RESERVED = 10
    KERNEL = 11

    @property
    def movable(self) -> bool:
        """Whether migration can move it."""
        return self in (Kind.ANON, Kind.FILE, Kind.SHMEM, Kind.FOLIO)


MOBILE = [int(kind) for kind in Kind if kind.movable or kind == Kind.FREE]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Uses:
    """Every frame of a machine and the blocks in use.

    Attributes:
        kind: `Kind` of each frame, uint8 [frames].
        flags: The snapshot's flags of each frame (`pymigrate.recording.FLAG_NAMES`), uint32 [frames].
        pfn: First frames of the blocks in use, ascending.
        order: Their orders.
    """

    kind: U8
    flags: U32
    pfn: I64
    order: U8

    def blocks(self, *kinds: Kind) -> NDArray[np.bool_]:
        """Which of the blocks in use are of some kinds."""
        found: NDArray[np.bool_] = np.isin(self.kind[self.pfn], [int(kind) for kind in kinds])
        return found


def _has(flags: U32, *names: str) -> NDArray[np.bool_]:
    mask = np.uint32(sum(flag_bit(name) for name in names))
    found: NDArray[np.bool_] = (flags & mask) != 0
    return found


def _used_blocks(flags: U32, used: NDArray[np.bool_]) -> tuple[I64, U8]:
    """Blocks in use: compound pages as one where they are whole and the allocator could have made them, else frames."""
    tail = _has(flags, "COMPOUND_TAIL") & used
    heads = np.flatnonzero(_has(flags, "COMPOUND_HEAD") & used)
    ends = np.flatnonzero(~np.concatenate((tail, [False])))
    size = ends[np.searchsorted(ends, heads, side="right")] - heads
    order = np.where(size > 0, np.log2(np.maximum(size, 1)), 0).astype(np.int64)
    whole = (size == np.int64(1) << order) & (order <= MAX_ORDER) & (heads & (size - 1) == 0)
    heads, order = heads[whole], order[whole]
    inside = np.zeros(len(flags), np.bool_)
    inside[expand(heads, order)[0]] = True
    single = np.flatnonzero(used & ~inside)
    pfn = np.concatenate((heads, single))
    by_pfn = np.argsort(pfn, kind="stable")
    return pfn[by_pfn], np.concatenate((order, np.zeros(len(single), np.int64)))[by_pfn].astype(np.uint8)


def _kinds(flags: U32, place: U8, pfn: I64, order: U8) -> U8:
    kind = np.full(len(flags), Kind.ABSENT, np.uint8)
    kind[place == FREE] = Kind.FREE
    kind[place == PCP] = Kind.PCP
    used = place == USED
    kind[used] = Kind.KERNEL
    # In the order of the kernel's own tests: a slab's other bits mean something else.
    lru = used & _has(flags, "LRU", "UNEVICTABLE") & ~_has(flags, "SLAB", "PGTABLE", "HUGE", "OFFLINE", "RESERVED")
    kind[lru] = Kind.FILE
    kind[lru & _has(flags, "SWAPBACKED")] = Kind.SHMEM
    kind[lru & _has(flags, "ANON")] = Kind.ANON
    for name, what in (("SLAB", Kind.SLAB), ("PGTABLE", Kind.TABLE), ("HUGE", Kind.HUGETLB)):
        kind[used & _has(flags, name)] = what
    large = order > 0
    folios = large & lru[pfn]
    kind[expand(pfn[folios], order[folios].astype(np.int64))[0]] = Kind.FOLIO
    # A part of a compound page that is not whole cannot be moved by itself.
    torn = np.zeros(len(flags), np.bool_)
    torn[pfn[~large]] = True
    kind[torn & lru & _has(flags, "COMPOUND_HEAD", "COMPOUND_TAIL")] = Kind.KERNEL
    return kind


def large_folios(flags: U32) -> tuple[I64, U8]:
    """Folios of more than one frame on the LRU in a frame table: first frames, ascending, and orders."""
    used = ~_has(flags, "BUDDY", "SLAB", "PGTABLE", "HUGE", "OFFLINE", "RESERVED")
    pfn, order = _used_blocks(flags, used)
    some = (order > 0) & _has(flags[pfn], "LRU", "UNEVICTABLE")
    return pfn[some], order[some]


def bound_by_tables(uses: Uses, order: int) -> int:
    """Most blocks of an order that can be free at once, by the frame table alone.

    Frames on the LRU can move, everything else that is not free cannot: neither can frames in per-CPU lists.
    """
    possible = _whole(np.isin(uses.kind, MOBILE), order)
    return min(possible, int((uses.kind == Kind.FREE).sum()) >> order)


def blocks_drained(uses: Uses, order: int) -> int:
    """Free blocks of an order, were what is in per-CPU lists free."""
    return _whole(np.isin(uses.kind, [Kind.FREE, Kind.PCP]), order)


def _whole(frames: NDArray[np.bool_], order: int) -> int:
    """How many aligned blocks have nothing but such frames."""
    size = 1 << order
    return int(frames[: len(frames) // size * size].reshape(-1, size).all(axis=1).sum())


def _listed(recording: Recording, uses: Uses) -> tuple[I64, NDArray[np.uint16]]:
    """Frames without a flag that are taken to lie in per-CPU lists, and whose.

    zoneinfo counts them; which ones they are nobody says. Those come first that stand among the most pages and free
    frames: what was just freed did so, while the kernel's own frames keep to pageblocks of their own.
    """
    mapped = np.zeros(len(uses.kind), np.bool_)
    mapped[: len(recording.frame_mapcount)] = recording.frame_mapcount[: len(mapped)] != 0
    plain = (uses.kind == Kind.KERNEL) & (uses.flags == 0) & ~mapped
    company = np.isin(uses.kind, MOBILE)
    blocks = np.arange(len(uses.kind)) >> lib.PM_PAGEBLOCK_ORDER
    score = np.bincount(blocks, weights=company)
    infos = {zone.name: zone for zone in recording.zoneinfo}
    frames: list[I64] = []
    cpus: list[NDArray[np.uint16]] = []
    for span in recording.zones:
        known = infos[span.name].pagesets if span.name in infos else ()
        lists = [one for one in known if one.cpu < recording.cpus]
        counts = [one.count for one in lists]
        pfn = span.start_pfn + np.flatnonzero(plain[span.start_pfn : span.start_pfn + span.spanned])
        pfn = pfn[score[blocks[pfn]] > 0]
        pfn = pfn[np.argsort(-score[blocks[pfn]], kind="stable")][: sum(counts)]
        frames.append(pfn)
        cpus.append(np.repeat(np.array([one.cpu for one in lists], np.uint16), counts)[: len(pfn)])
    return np.concatenate(frames), np.concatenate(cpus)


def _into_lists(recording: Recording, state: StartState, uses: Uses) -> StartState:
    """The state with frames without a flag in per-CPU lists: these win over what the state says of them."""
    pfn, cpu = _listed(recording, uses)
    blocks, nr = state.blocks, len(pfn)
    zeros = np.zeros(nr, np.uint8)
    more = Blocks(
        pfn=np.concatenate((blocks.pfn, pfn.astype(np.uint64))),
        order=np.concatenate((blocks.order, zeros)),
        place=np.concatenate((blocks.place, zeros + np.uint8(PCP))),
        migratetype=np.concatenate((blocks.migratetype, zeros + np.uint8(MOVABLE))),
        cpu=np.concatenate((blocks.cpu, cpu)),
    )
    return dataclasses.replace(state, blocks=more)


def classify(recording: Recording, state: StartState) -> Uses:
    """Says of each frame what it is.

    Args:
        recording: With a frame table.
        state: Where each frame is, by `start_state`.
    """
    n = recording.pfn_end
    flags = np.zeros(n, np.uint32)
    flags[: len(recording.frame_flags)] = recording.frame_flags[:n]
    blocks = state.blocks
    place = np.zeros(n, np.uint8)
    frames, which = expand(blocks.pfn.astype(np.int64), blocks.order.astype(np.int64))
    place[frames] = blocks.place[which]
    # What an event took since the snapshot was read is somebody's, and nobody says whose.
    flags[(place == USED) & _has(flags, "BUDDY")] = 0
    pfn, order = _used_blocks(flags, place == USED)
    kind = _kinds(flags, place, pfn, order)
    for first, end in state.reserved.tolist():
        kind[first:end] = Kind.RESERVED
    return Uses(kind=kind, flags=flags, pfn=pfn, order=order)


def _states(flags: U32) -> U8:
    """`enum pm_load_state` of frames."""
    states = np.zeros(len(flags), np.uint8)
    for name, bit in (
        ("ACTIVE", lib.PM_LOAD_ACTIVE),
        ("REFERENCED", lib.PM_LOAD_REFERENCED),
        ("UNEVICTABLE", lib.PM_LOAD_UNEVICTABLE),
        ("DIRTY", lib.PM_LOAD_DIRTY),
        ("WRITEBACK", lib.PM_LOAD_DIRTY),
        ("PRIVATE", lib.PM_LOAD_PRIVATE),
    ):
        states[_has(flags, name)] |= bit
    states[_has(flags, "LOCKED") & ~_has(flags, "UPTODATE", "WRITEBACK")] |= lib.PM_LOAD_LOCKED
    return states


@dataclasses.dataclass(kw_only=True, eq=False)
class LoadedMemory:
    """A machine with a snapshot's memory.

    Attributes:
        machine: The machine; closing it ends everything in it.
        uses: What each frame was when it was loaded.
        space: Maps the anonymous pages; None: there are none.
        files: The page caches: of files on a device, and of shared memory.
        folios: Owners of the folios of more than one frame: of those that cannot be split, and of the others.
    """

    machine: Machine
    uses: Uses
    space: AddressSpace | None = None
    files: list[File] = dataclasses.field(default_factory=list)
    folios: list[Owner] = dataclasses.field(default_factory=list)

    def close(self) -> None:
        """Ends the machine."""
        self.machine.close()

    def __enter__(self) -> LoadedMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _run(machine: Machine, function: Any, *args: Any) -> None:
    """A bulk call, whose frames are known to be as it wants them: a failure is the host's lack of memory."""
    done = ffi.new("size_t *")
    status = function(machine.handle, machine._this_cpu(), *args, done)
    if status:
        raise error_of(status, done=int(done[0]))


def _pointer(states: U8) -> Any:
    return ffi.from_buffer("uint8_t[]", np.ascontiguousarray(states))


def _load_anon(loaded: LoadedMemory) -> None:
    uses, machine = loaded.uses, loaded.machine
    pfns = uses.pfn[uses.blocks(Kind.ANON)]
    if not len(pfns):
        return
    # Those that are mlocked last, so that one call locks their range.
    locked = _has(uses.flags[pfns], "UNEVICTABLE")
    frames = np.concatenate((pfns[~locked], pfns[locked])).astype(np.uint64)
    loaded.space = space = AddressSpace(machine)
    addr = space.map(len(frames) * PAGE_SIZE)
    states = _states(uses.flags[frames.astype(np.int64)])
    _run(machine, lib.pm_load_anon, space.handle, addr, len(frames), u64_pointer(frames), _pointer(states))
    if nr := int(locked.sum()):
        space.mlock(addr + (len(frames) - nr) * PAGE_SIZE, nr * PAGE_SIZE)


def _load_file(loaded: LoadedMemory, file: File, pfns: I64) -> None:
    # Those under writeback last: one call begins it for them and no other dirty page.
    flags = loaded.uses.flags[pfns]
    writeback = _has(flags, "WRITEBACK")
    frames = np.concatenate((pfns[~writeback], pfns[writeback])).astype(np.uint64)
    states = _states(loaded.uses.flags[frames.astype(np.int64)])
    _run(loaded.machine, lib.pm_load_file, file.handle, 0, len(frames), u64_pointer(frames), _pointer(states))
    if nr := int(writeback.sum()):
        file.sync((len(frames) - nr) * PAGE_SIZE, nr * PAGE_SIZE, wait=False)


def _load_files(loaded: LoadedMemory) -> None:
    uses, machine = loaded.uses, loaded.machine
    pfns = uses.pfn[uses.blocks(Kind.FILE)]
    if len(pfns):
        device = BlockDevice(machine, len(pfns), read_ns=TRANSFER_NS, write_ns=TRANSFER_NS, contents=False)
        loaded.files.append(File(machine, "buffers", device=device, size=len(pfns) * PAGE_SIZE))
        _load_file(loaded, loaded.files[-1], pfns)
    pfns = uses.pfn[uses.blocks(Kind.SHMEM)]
    if len(pfns):
        loaded.files.append(File(machine, "ram", size=len(pfns) * PAGE_SIZE))
        _load_file(loaded, loaded.files[-1], pfns)


def _load_folios(loaded: LoadedMemory, passed: Mapping[int, int]) -> None:
    # A dirty folio of a file has buffers that are not given up, so the kernel cannot split it: but those that it is
    # known to have got past were clean, or found room, when it came by.
    pfns = loaded.uses.pfn[loaded.uses.blocks(Kind.FOLIO)].astype(np.uint64)
    flags = loaded.uses.flags[pfns.astype(np.int64)]
    dirty = _has(flags, "DIRTY") & ~_has(flags, "ANON", "SWAPBACKED")
    for start, end in passed.items():
        dirty &= (pfns < start) | (pfns >= end)
    kinds: tuple[tuple[NDArray[np.bool_], OwnerKind], ...] = ((dirty, "movable-whole"), (~dirty, "movable-ops"))
    for whole, kind in kinds:
        some = np.ascontiguousarray(pfns[whole])
        if len(some):
            owner = Owner(loaded.machine, kind)
            loaded.folios.append(owner)
            _run(loaded.machine, lib.pm_load_owner, owner.handle, len(some), u64_pointer(some))


def _place(machine: Machine, blocks: Blocks, uses: Uses) -> None:
    """Free and per-CPU blocks as the start state has them, and those in use as compound pages make them."""
    kept = blocks.place != USED
    movable = uses.blocks(*(kind for kind in Kind if kind.movable))
    nr = len(uses.pfn)
    machine.load_blocks(
        np.concatenate((blocks.pfn[kept], uses.pfn.astype(np.uint64))),
        np.concatenate((blocks.order[kept], uses.order)),
        np.concatenate((blocks.place[kept], np.full(nr, USED, np.uint8))),
        np.concatenate((blocks.migratetype[kept], np.where(movable, MOVABLE, UNMOVABLE).astype(np.uint8))),
        np.concatenate((blocks.cpu[kept], np.zeros(nr, np.uint16))),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """What a snapshot says, ready to be loaded any number of times.

    Attributes:
        recording: Where it is from.
        state: Where each frame is, the machine's holes and its pageblocks' types.
        uses: What each frame is.
    """

    recording: Recording
    state: StartState
    uses: Uses


def prepare(recording: Recording, *, flagless: str = "stuck") -> Prepared:
    """Works out what a recording's start snapshot shows.

    Args:
        recording: With a frame table; its events are not played.
        flagless: What frames without a flag are, one of `FLAGLESS`.

    Raises:
        RecordingError: There is no frame table.
    """
    if flagless not in FLAGLESS:
        raise ArgumentError(f"flagless is one of {', '.join(map(repr, FLAGLESS))}, not {flagless!r}")
    if not len(recording.frame_flags):
        raise RecordingError("there is no frame table (kpageflags): nobody knows what stands where")
    # Which frames lie in per-CPU lists the frame table does not say, and there are no events that do.
    state = start_state(recording, settings={"start_pcp": 0})
    uses = classify(recording, state)
    if flagless == "pcp":
        state = _into_lists(recording, state, uses)
        uses = classify(recording, state)
    return Prepared(recording=recording, state=state, uses=uses)


def load_memory(snapshot: Prepared | Recording, *, passed: Mapping[int, int] | None = None) -> LoadedMemory:
    """Makes the machine that a snapshot shows, every frame with its owner, without contents.

    Args:
        snapshot: By `prepare`, or a recording with a frame table.
        passed: First frames of ranges to their ends: folios in these can be split, even dirty ones.

    Raises:
        RecordingError: There is no frame table.
        OutOfMemoryError: The host has no memory for the tables (about 40 bytes a frame).
    """
    ready = prepare(snapshot) if isinstance(snapshot, Recording) else snapshot
    machine = make_machine(
        ready.recording,
        Policy(),
        holes=ready.state.holes,
        reserved=ready.state.reserved,
        pageblock_types=ready.state.pageblock_types,
        memory=MemoryOptions(contents="none"),
    )
    try:
        loaded = LoadedMemory(machine=machine, uses=ready.uses)
        _place(machine, ready.state.blocks, loaded.uses)
        _load_anon(loaded)
        _load_files(loaded)
        _load_folios(loaded, passed or {})
    except BaseException:
        machine.close()
        raise
    return loaded
