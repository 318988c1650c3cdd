"""A machine's physical memory: zones, free lists, per-CPU lists. A thin, typed layer over the core.

    >>> from pymigrate import Gfp, Machine
    >>> with Machine.from_size("1G", cpus=2) as machine:
    ...     pfn = machine.alloc(order=0, gfp=Gfp.HIGHUSER_MOVABLE)
    ...     machine.free(pfn)
    ...     _ = machine.validate()

Any thread may work on any CPU. Where a method takes `cpu` and none is given, the calling thread uses a CPU of its own,
handed out in turn when it first calls.

Threads and `close`: closing is safe at any time; calls in flight are waited for, and calls that begin later raise
`ClosedError`. Arrays that are views keep the memory behind them alive.

What belongs to somebody (address spaces, files, swap) needs ``memory=…``; see pymigrate.memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pymigrate import info
from pymigrate._arrays import FRAME_DTYPE, PAGEBLOCK_DTYPE, U64, Table, as_array, as_u64, outcome, u64_pointer
from pymigrate._core import ffi, lib
from pymigrate._life import MachineLife, own_handle, thread_number
from pymigrate.errors import ArgumentError, CorruptionError, error_of
from pymigrate.gfp import Gfp, MigrateType
from pymigrate.info import Counters, Extfrag, FrameInfo, PcpInfo, ZoneInfo
from pymigrate.layout import Settings, Start, Zone, frames_of_size, make_layout, zones_like_x86
from pymigrate.memory import MemoryOptions, OwnedMemory

__all__ = ["Counters", "Extfrag", "FrameInfo", "Machine", "PcpInfo", "ZoneInfo"]

NR_ORDERS: int = lib.PM_NR_ORDERS
NR_TYPES: int = lib.PM_NR_MIGRATETYPES

_KERNEL = int(Gfp.KERNEL)
_ALL_CPUS: int = lib.PM_ALL_CPUS
_MESSAGE_BYTES = 512

# What the fast path needs, bound once.
_alloc = lib.pm_alloc_pfn
_free = lib.pm_free
_alloc_many = lib.pm_alloc_pfns
_free_many = lib.pm_free_pfns
_new = ffi.new

_thread_number_get = thread_number.get


class Machine(OwnedMemory):
    """Physical memory and its allocator.

    Args:
        zones: `Zone` objects or (kind, start_pfn, spanned). At most one of a kind; no two share a pageblock.
        cpus: How many CPUs, 1..1024.
        holes: (start, end) pairs of frames inside zones that do not exist; in order, not overlapping.
        reserved: (start, end) pairs of present frames that the allocator never owns; likewise.
        start: ``"free"``: all frames are free, as after boot. ``"unplaced"``: none is anywhere until `load_blocks`.
        settings: What an administrator can set.
        memory: What frames with owners are like. None: there are none (`AddressSpace` and the like raise
            `StateError`), and the machine is an allocator alone, which costs less.

    Raises:
        ValueError: The layout contradicts itself.
        OutOfMemoryError: The host has no memory for the tables (16 bytes a frame, taken as they are touched).

    Example:
        >>> from pymigrate import ZoneKind
        >>> machine = Machine([(ZoneKind.NORMAL, 0, 1024)], settings=Settings(pcp=False, min_free_kbytes=0))
        >>> machine.alloc(order=2), machine.alloc(order=0)
        (0, 4)
        >>> machine.free(0, order=2)
        >>> machine.free(0, order=2)
        Traceback (most recent call last):
            ...
        pymigrate.errors.FrameError: the frame is free already (pfn=0, order=2)
        >>> machine.close()
    """

    __slots__ = ("settings",)

    settings: Settings

    def __init__(
        self,
        zones: Iterable[Zone | Sequence[int]],
        *,
        cpus: int = 1,
        holes: Iterable[Sequence[int]] = (),
        reserved: Iterable[Sequence[int]] = (),
        start: Start = "free",
        settings: Settings | None = None,
        memory: MemoryOptions | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings = Settings() if settings is None else settings
        layout, _alive = make_layout(zones, cpus=cpus, holes=holes, reserved=reserved, start=start, settings=settings)
        out = _new("struct pm_machine **")
        status = lib.pm_machine_create(layout, out)
        if status:
            raise (
                error_of(status, what="the layout of a machine")
                if status != lib.PM_ERR_LIMIT
                else ArgumentError("a machine may have at most 2^32 - 16 frames", status=status)
            )
        core, handle = own_handle(out[0])
        if memory is not None:
            memory.enable(handle)
        self.memory = memory
        self._begin(core, handle)

    @classmethod
    def from_size(
        cls,
        size: int | str,
        *,
        cpus: int = 1,
        settings: Settings | None = None,
        start: Start = "free",
        memory: MemoryOptions | None = None,
    ) -> Machine:
        """Makes a machine laid out as x86-64: DMA (frames 1..4095), DMA32 up to 4 GiB, Normal above.

        Args:
            size: Bytes, or a text such as ``"4G"``.
            cpus: How many CPUs.
            settings: What an administrator can set.
            start: As for `Machine`.
            memory: As for `Machine`.

        Example:
            >>> [zone.name for zone in Machine.from_size("8G").zones]
            ['DMA', 'DMA32', 'Normal']
        """
        return cls(zones_like_x86(frames_of_size(size)), cpus=cpus, settings=settings, start=start, memory=memory)

    @classmethod
    def _adopt(cls, raw: Any, settings: Settings, memory: MemoryOptions | None) -> Machine:
        """Makes a `Machine` of a core's machine that nobody else owns yet."""
        machine = cls.__new__(cls)
        MachineLife.__init__(machine)
        machine.settings = settings
        core, handle = own_handle(raw)
        if memory is not None:
            memory.enable(handle)
        machine.memory = memory
        machine._begin(core, handle)
        return machine

    def __repr__(self) -> str:
        if self.closed:
            return "<Machine, closed>"
        return f"<Machine of {self.nr_frames} frames, {self.nr_zones} zones, {self.nr_cpus} CPUs>"

    # ---- allocate and free ----

    def alloc(self, order: int = 0, gfp: int = _KERNEL, *, cpu: int | None = None) -> int:
        """Allocates a block of 2^order frames.

        Args:
            order: 0..10.
            gfp: `Gfp` flags.
            cpu: Whose lists serve; None: this thread's.

        Returns:
            The first frame of the block.

        Raises:
            OutOfMemoryError: `reason` says why: ``"watermark"``, ``"no-block"`` or ``"zone"``.
            ValueError: An argument is out of range, or the flags contradict each other.
        """
        try:
            where = _thread_number_get() % self.nr_cpus if cpu is None else cpu
            pfn: int = _alloc(self._handle, where, order, gfp)
        except LookupError:
            return self.alloc(order, gfp, cpu=self._this_cpu())
        except (TypeError, OverflowError) as error:
            raise self._bad_call(error) from None
        if pfn < 0:
            raise error_of(pfn, order=order, gfp=Gfp(gfp) if 0 <= gfp <= lib.PM_GFP_ALL else hex(gfp))
        return pfn

    def free(self, pfn: int, order: int = 0, *, cpu: int | None = None) -> None:
        """Frees the block of 2^order frames at `pfn`.

        Raises:
            FrameError: It is free already, has another order, is reserved, or does not exist. Of several threads that
                free one block at once, one succeeds.
            ValueError: An argument is out of range.
        """
        try:
            where = _thread_number_get() % self.nr_cpus if cpu is None else cpu
            status = _free(self._handle, where, pfn, order)
        except LookupError:
            status = _free(self._open(), self._this_cpu(), pfn, order)
        except (TypeError, OverflowError) as error:
            raise self._bad_call(error) from None
        if status:
            raise error_of(status, pfn=pfn, order=order)

    def alloc_bulk(
        self, n: int, order: int = 0, gfp: int = _KERNEL, *, cpu: int | None = None, partial: bool = False
    ) -> npt.NDArray[np.uint64]:
        """Allocates `n` blocks of 2^order frames; `order`, `gfp` and `cpu` as for `alloc`.

        Args:
            n: How many.
            order: 0..10.
            gfp: `Gfp` flags.
            cpu: Whose lists serve.
            partial: Return fewer blocks where there are not enough, instead of giving them back and raising.

        Returns:
            uint64 [n]: the first frame of each.

        Raises:
            OutOfMemoryError: Not all of them could be had, and `partial` is false.
            ValueError: An argument is out of range.
        """
        if n < 0:
            raise ArgumentError(f"n is negative: {n}")
        # No machine has more blocks than frames: one more than that is as good as any larger number, and fits.
        n = min(n, self.nr_frames + 1)
        pfns: npt.NDArray[np.uint64] = np.empty(n, U64)
        try:
            where = self._this_cpu() if cpu is None else cpu
            got: int = _alloc_many(self._handle, where, order, gfp, n, u64_pointer(pfns, True))
        except (TypeError, OverflowError) as error:
            raise self._bad_call(error) from None
        if got >= 0:
            return pfns
        status, got = outcome(got)
        failure = error_of(status, order=order, gfp=gfp, n=n, got=got)
        if partial and isinstance(failure, MemoryError):
            return pfns[:got].copy()
        if got:
            self.free_bulk(pfns[:got], order, cpu=where)
        raise failure

    def free_bulk(self, pfns: npt.ArrayLike, order: int = 0, *, cpu: int | None = None) -> None:
        """Frees blocks of one order.

        Args:
            pfns: Their first frames, any shape; uint64 and contiguous is not copied.
            order: 0..10.
            cpu: Whose lists take them; None: this thread's.

        Raises:
            FrameError: One cannot be freed; those before it, which `index` in the message counts, were.
            ValueError: An argument is out of range.
        """
        array = as_u64(pfns)
        try:
            where = self._this_cpu() if cpu is None else cpu
            done = _free_many(self._handle, where, order, array.size, u64_pointer(array))
        except (TypeError, OverflowError) as error:
            raise self._bad_call(error) from None
        if done < 0:
            status, index = outcome(done)
            raise error_of(status, pfn=int(array[index]) if index < array.size else None, order=order, index=index)

    def take(self, pfn: int, order: int = 0, migratetype: int = MigrateType.MOVABLE) -> None:
        """Takes the free block of 2^order frames at exactly `pfn`, splitting a larger one where needed.

        Raises:
            FrameError: Not all of it is free as one block or part of one.
        """
        self._call(lib.pm_take, pfn, order, migratetype, context={"pfn": pfn, "order": order})

    def split(self, pfn: int, order: int, new_order: int = 0) -> None:
        """Splits an allocated block into blocks of `new_order`, each of which is freed by itself."""
        self._call(lib.pm_split, pfn, order, new_order, context={"pfn": pfn, "order": order})

    def set_tag(self, pfn: int, tag: int) -> None:
        """Sets the caller's own number (32 bits) of the allocated block that starts at `pfn`."""
        self._call(lib.pm_set_tag, pfn, tag, context={"pfn": pfn})

    # ---- upkeep ----

    def drain(self, cpu: int | None = None) -> None:
        """Moves the blocks on the lists of `cpu` (None: of all CPUs) to the free lists."""
        self._call(lib.pm_drain, _ALL_CPUS if cpu is None else cpu)

    def decay_pcp(self, cpu: int) -> None:
        """What the kernel's vmstat work does to a CPU's lists about once a second: they shrink towards `high_min`."""
        self._call(lib.pm_decay_pcp, cpu)

    def set_reclaim_active(self, zone: int, active: bool) -> None:
        """Says that reclaim is active in a zone (its per-CPU lists then hold less), or no longer."""
        self._call(lib.pm_set_reclaim_active, zone, active)

    def set_isolated(self, pfn: int, isolated: bool = True) -> None:
        """Isolates the pageblock of `pfn`: its free blocks no longer count as free. Or undoes it.

        Raises:
            FrameError: It is in that state already, or does not exist.
        """
        self._call(lib.pm_set_isolated, pfn, isolated, context={"pfn": pfn})

    def set_pageblock_type(self, pfn: int, migratetype: int) -> None:
        """Gives the pageblock of `pfn` a type, and moves its free blocks to the lists of that type."""
        self._call(lib.pm_set_pageblock_type, pfn, migratetype, context={"pfn": pfn})

    def unreserve_highatomic(self, migratetype: int = MigrateType.MOVABLE) -> int:
        """Gives all HIGHATOMIC pageblocks back as `migratetype`. Returns how many."""
        out = _new("uint64_t *")
        self._call(lib.pm_unreserve_highatomic, migratetype, out)
        return int(out[0])

    # ---- load a snapshot ----

    def load_blocks(
        self,
        pfns: npt.ArrayLike,
        orders: npt.ArrayLike,
        places: npt.ArrayLike,
        migratetypes: npt.ArrayLike,
        cpus: npt.ArrayLike | None = None,
    ) -> None:
        """Places blocks on a machine made with ``start="unplaced"``. One thread.

        A free or per-CPU block goes to the *tail* of its list: the order of the arrays is the order of the lists. A
        free block goes on the list of its pageblock's type (`load_pageblock_types` comes first).

        Args:
            pfns: uint64 [n], first frames.
            orders: uint8 [n].
            places: uint8 [n], `Place`.
            migratetypes: uint8 [n], of used and per-CPU blocks.
            cpus: uint16 [n], read for `Place.PCP`; may be None if there is none.

        Raises:
            FrameError: A block is outside, reserved, or overlaps another; those before it are placed.
            ValueError: The arrays differ in length, or a number is out of range.
        """
        first = as_u64(pfns)
        rest = [as_array(values, np.uint8) for values in (orders, places, migratetypes)]
        where = None if cpus is None else as_array(cpus, np.uint16)
        if any(array.size != first.size for array in (*rest, *(() if where is None else (where,)))):
            raise ArgumentError("the arrays of load_blocks differ in length")
        done = _new("size_t *")
        status = lib.pm_load_blocks(
            self._open(),
            first.size,
            u64_pointer(first),
            *(ffi.from_buffer("uint8_t[]", array) for array in rest),
            ffi.NULL if where is None else ffi.from_buffer("uint16_t[]", where),
            done,
        )
        if status:
            index = done[0]
            raise error_of(status, pfn=int(first[index]), order=int(rest[0][index]), index=index)

    def load_pageblock_types(self, types: npt.ArrayLike, first: int = 0) -> None:
        """Sets the types of the pageblocks from number `first` on (number 0 starts at frame 0); before `load_blocks`.

        Args:
            types: uint8 [n], `MigrateType` below ISOLATE.
            first: Pageblock of types[0].

        Raises:
            FrameError: There are not so many pageblocks, or blocks were placed already.
        """
        array = as_array(types, np.uint8)
        self._call(lib.pm_load_pageblock_types, first, array.size, ffi.from_buffer("uint8_t[]", array))

    def load_pcp(self, cpu: int, zone: int, *, high: int, alloc_factor: int = 0, free_count: int = 0) -> None:
        """Sets what the lists of a CPU and zone have learnt. `high` in frames."""
        self._call(lib.pm_load_pcp, cpu, zone, high, alloc_factor, free_count)

    # ---- look ----

    @property
    def zones(self) -> tuple[ZoneInfo, ...]:
        """The zones, each at a moment of its own."""
        return tuple(self.zone_info(index) for index in range(self.nr_zones))

    def zone_info(self, zone: int) -> ZoneInfo:
        """One zone, by its index in the layout."""
        raw = _new("struct pm_zone_info *")
        self._call(lib.pm_zone_info, zone, raw)
        return info.read_zone_info(raw)

    def pcp_info(self, cpu: int, zone: int) -> PcpInfo:
        """The lists of a CPU and zone."""
        raw = _new("struct pm_pcp_info *")
        self._call(lib.pm_pcp_info, cpu, zone, raw)
        return info.read_pcp_info(raw)

    def counters(self) -> Counters:
        """What has happened since the machine was made."""
        raw = _new("struct pm_counters *")
        lib.pm_counters(self._open(), raw)
        return info.read_counters(raw)

    def free_blocks(self) -> npt.NDArray[np.int64]:
        """Counts the free blocks: int64 [zone, order, type]. Each zone at a moment of its own."""
        counts = np.zeros((self.nr_zones, NR_ORDERS, NR_TYPES), dtype=np.uint64)
        for zone in range(self.nr_zones):
            self._call(lib.pm_free_blocks, zone, u64_pointer(counts[zone], True))
        return counts.astype(np.int64)

    def buddyinfo(self) -> str:
        """The text of /proc/buddyinfo."""
        return self._text(lib.PM_TEXT_BUDDYINFO)

    def pagetypeinfo(self) -> str:
        """The text of /proc/pagetypeinfo."""
        return self._text(lib.PM_TEXT_PAGETYPEINFO)

    def zoneinfo(self) -> str:
        """The text of /proc/zoneinfo, as far as there is something to say."""
        return self._text(lib.PM_TEXT_ZONEINFO)

    def fragmentation_index(self, order: int, zone: int | None = None) -> int:
        """Says why a request of `order` would fail, as the kernel's fragmentation index does (REFERENCE section 4).

        Args:
            order: 0..10.
            zone: An index; None: all zones as if they were one.

        Returns:
            Thousandths: near 0 for lack of memory, near 1000 for fragmentation; -1000 where it would not fail.
        """
        return self._index(lib.pm_fragmentation_index, order, zone)

    def unusable_index(self, order: int, zone: int | None = None) -> int:
        """The share of free memory that a request of `order` cannot use, in thousandths.

        Args:
            order: 0..10.
            zone: An index; None: all zones as if they were one.
        """
        return self._index(lib.pm_unusable_index, order, zone)

    def extfrag(self) -> Extfrag:
        """Both indices for every zone and order, as debugfs' extfrag_index and unusable_index."""
        tables = np.zeros((2, self.nr_zones, NR_ORDERS), dtype=np.int64)
        per_zone = self.free_blocks().sum(axis=2).astype(np.uint64)
        for zone, order in itertools.product(range(self.nr_zones), range(NR_ORDERS)):
            blocks = u64_pointer(per_zone[zone])
            tables[0, zone, order] = lib.pm_fragmentation_index(blocks, order)
            tables[1, zone, order] = lib.pm_unusable_index(blocks, order)
        return Extfrag(*tables)

    @property
    def frame_table(self) -> npt.NDArray[np.void]:
        """The frame table itself, read-only: [nr_frames] with fields word, tag, prev, next (csrc/phys/frame.h).

        `word` is kind << 8 | migrate type << 4 | order in the first frame of a block (kind 0: none, 1: free,
        2: per-CPU, 3: used), 0 elsewhere; a free block of the pageblock order or more is in `pageblock_table` instead.
        Others may write to it at any time.
        """
        core, handle = self._open_core(), self._open()
        return np.asarray(Table(core, lib.pm_frame_table(handle), self.nr_frames, FRAME_DTYPE))

    @property
    def pageblock_table(self) -> npt.NDArray[np.void]:
        """The pageblock table itself, read-only: one entry for each 512 frames, fields as in csrc/phys/frame.h."""
        core, handle = self._open_core(), self._open()
        length = -(-self.nr_frames // int(lib.PM_PAGEBLOCK_NR_PAGES))
        return np.asarray(Table(core, lib.pm_pageblock_table(handle), length, PAGEBLOCK_DTYPE))

    def frame_states(self, start: int = 0, n: int | None = None) -> npt.NDArray[np.uint8]:
        """Says where each of `n` frames from `start` is (None: up to the last).

        Returns:
            uint8 [n]: `FrameState` in the low 3 bits, the migrate type of the block above them. Not one moment as a
            whole while others allocate.

        Raises:
            FrameError: There are not so many frames.
        """
        n = self.nr_frames - start if n is None else n
        if not 0 <= start <= self.nr_frames or not 0 <= n <= self.nr_frames - start:
            raise error_of(lib.PM_ERR_RANGE, start=start, n=n)
        states = np.empty(n, dtype=np.uint8)
        self._call(lib.pm_frame_states, start, n, ffi.from_buffer("uint8_t[]", states, require_writable=True))
        return states

    def frame_info(self, pfn: int) -> FrameInfo:
        """Where one frame is, and the block that holds it.

        Raises:
            FrameError: The frame is beyond the last.
        """
        raw = _new("struct pm_frame_info *")
        self._call(lib.pm_frame_info, pfn, raw, context={"pfn": pfn})
        return info.read_frame_info(raw, self.nr_zones)

    def validate(self) -> str:
        """Walks everything: each frame in exactly one place, lists and counters agree, no unmerged buddies.

        Nobody else may use the machine meanwhile.

        Returns:
            What is in the middle of a `Migration` that is stepped; empty where nothing is.

        Raises:
            CorruptionError: Says what is wrong and where.
        """
        message = _new("char[]", _MESSAGE_BYTES)
        status = lib.pm_machine_validate(self._open(), message, _MESSAGE_BYTES)
        if status == lib.PM_ERR_CORRUPT:
            raise CorruptionError(ffi.string(message).decode(), status=status)
        if status:
            raise error_of(status)
        said: str = ffi.string(message).decode()
        return said

    # ---- inside ----

    def _text(self, which: int) -> str:
        length = _new("size_t *")
        size = 0
        while True:
            buffer = _new("char[]", size + 1)
            self._call(lib.pm_text, which, buffer, size + 1, length)
            # Numbers may have got more digits since the length was asked for.
            if length[0] <= size:
                text: bytes = ffi.string(buffer)
                return text.decode()
            size = length[0]

    def _index(self, function: Any, order: int, zone: int | None) -> int:
        if not 0 <= order < NR_ORDERS:
            raise ArgumentError(f"order is 0..{NR_ORDERS - 1}, not {order}")
        if zone is not None and not 0 <= zone < self.nr_zones:
            raise ArgumentError(f"zone is 0..{self.nr_zones - 1}, not {zone}")
        per_zone = self.free_blocks().sum(axis=2)
        blocks = per_zone.sum(axis=0) if zone is None else per_zone[zone]
        return int(function(u64_pointer(blocks.astype(np.uint64)), order))
