"""Compiles and loads the BPF program beside this file, and lets it walk the allocator's lists."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import platform
import re
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pymigrate.errors import PymigrateError
from pymigrate.recording.lists import NO_CPU, FreeLists, ZoneWalk

__all__ = ["WalkError", "Walker"]

SOURCE = Path(__file__).with_name("free_lists.bpf.c")
ENTRIES_MAX = 1 << 22
ZONES = 5
# struct control of the program.
_NODE, _VMEMMAP, _PAGE_BYTES, _WANTED, _UNLOCKED, _CPUS, _N, _ZONES_AT, _ZONE_BYTES = 0, 8, 16, 20, 24, 28, 40, 48, 32
_STIR_BYTES = 32 << 20
_LIBRARIES = ("libbpf.so.1", "libbpf.so.0", "libbpf.so")


class WalkError(PymigrateError):
    """The kernel's lists cannot be walked here: the message says what is missing."""


def _clang() -> str:
    names = ["clang", *(f"clang-{version}" for version in range(30, 11, -1))]
    for name in names:
        if found := shutil.which(name):
            return found
    raise WalkError("clang is missing (Debian: apt-get install clang libbpf-dev)")


def _compile(folder: Path) -> Path:
    target = folder / "free_lists.o"
    include = f"/usr/include/{platform.machine()}-linux-gnu"
    words = [_clang(), "-O2", "-g", "-mcpu=v3", "-target", "bpf", "-D__TARGET_ARCH_x86", f"-I{include}"]
    done = subprocess.run([*words, "-c", str(SOURCE), "-o", str(target)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        first = next((line for line in done.stderr.splitlines() if "error" in line), "no reason given")
        raise WalkError(f"the BPF program does not compile: {first} (Debian: apt-get install clang libbpf-dev)")
    return target


def _library() -> Any:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name, use_errno=True)
        except OSError:
            continue
        pointer, integer = ctypes.c_void_p, ctypes.c_int
        for function, result, arguments in (
            ("bpf_object__open_file", pointer, (ctypes.c_char_p, pointer)),
            ("bpf_object__load", integer, (pointer,)),
            ("bpf_object__find_program_by_name", pointer, (pointer, ctypes.c_char_p)),
            ("bpf_object__find_map_by_name", pointer, (pointer, ctypes.c_char_p)),
            ("bpf_object__close", None, (pointer,)),
            ("bpf_program__attach", pointer, (pointer,)),
            ("bpf_link__fd", integer, (pointer,)),
            ("bpf_link__destroy", integer, (pointer,)),
            ("bpf_iter_create", integer, (integer,)),
            ("bpf_map__fd", integer, (pointer,)),
            ("libbpf_set_print", pointer, (pointer,)),
        ):
            found = getattr(library, function)
            found.restype, found.argtypes = result, arguments
        library.libbpf_set_print(None)
        return library
    raise WalkError("libbpf is missing (Debian: apt-get install libbpf1)")


def _stir() -> None:
    """Makes the allocator take from the free lists of the zone that it prefers.

    A few huge pages, which the per-CPU lists hardly hold; where those are switched off, as many small ones.
    """
    with mmap.mmap(-1, _STIR_BYTES) as memory:
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
        memory[:: mmap.PAGESIZE] = bytes(_STIR_BYTES // mmap.PAGESIZE)


class Walker:
    """The loaded program. To be used in a ``with`` block; everything in the kernel is gone after it.

    Raises:
        WalkError: Something is missing, or the kernel refuses the program.
    """

    def __init__(self) -> None:
        if platform.machine() != "x86_64":
            raise WalkError(f"on {platform.machine()} it is not known where the kernel keeps struct page")
        if not Path("/sys/kernel/btf/vmlinux").exists():
            raise WalkError("this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)")
        self._lib = _library()
        with tempfile.TemporaryDirectory() as folder:
            path = _compile(Path(folder))
            self._object = self._lib.bpf_object__open_file(str(path).encode(), None)
            if not self._object:
                raise WalkError("libbpf cannot read the compiled program")
            status = self._lib.bpf_object__load(self._object)
        if status != 0:
            self._lib.bpf_object__close(self._object)
            raise WalkError(f"the kernel refuses the BPF program: {os.strerror(-status)} (it needs root)")
        self._control = self._map(b"control", mmap.PAGESIZE)
        self._entries = self._map(b"entries", ENTRIES_MAX * 8)

    def __enter__(self) -> Walker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._control.close()
        self._entries.close()
        self._lib.bpf_object__close(self._object)

    def _map(self, name: bytes, size: int) -> mmap.mmap:
        fd = self._lib.bpf_map__fd(self._lib.bpf_object__find_map_by_name(self._object, name))
        return mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def _attach(self, name: bytes) -> Any:
        link = self._lib.bpf_program__attach(self._lib.bpf_object__find_program_by_name(self._object, name))
        if not link:
            raise WalkError(f"the program {name.decode()} cannot be attached: {os.strerror(ctypes.get_errno())}")
        return link

    def _get(self, offset: int) -> int:
        return int(struct.unpack_from("<I", self._control, offset)[0])

    def _set(self, offset: int, value: int) -> None:
        struct.pack_into("<I", self._control, offset, value)

    def _run_iterator(self) -> None:
        link = self._attach(b"tasks")
        try:
            fd = self._lib.bpf_iter_create(self._lib.bpf_link__fd(link))
            if fd < 0:
                raise WalkError("the iterator over tasks cannot be made")
            try:
                while os.read(fd, 4096):
                    pass
            finally:
                os.close(fd)
        finally:
            self._lib.bpf_link__destroy(link)

    def _walk_locked(self, wait_s: float) -> None:
        """Zones in which something happens are walked by the allocator's own tracepoints, under its lock."""
        links = [self._attach(name) for name in (b"drain", b"locked")]
        try:
            begin, stirred = time.monotonic(), False
            while self._get(_WANTED) and time.monotonic() < begin + wait_s:
                time.sleep(0.002)
                if not stirred and time.monotonic() > begin + wait_s / 4:
                    _stir()
                    stirred = True
        finally:
            for link in links:
                self._lib.bpf_link__destroy(link)

    def walk(self, zones: int, *, wait_s: float = 0.2) -> FreeLists:
        """Walks the lists of the zones of node 0.

        Args:
            zones: A bit for each zone, as the kernel numbers them.
            wait_s: How long to wait for something to happen in a zone; then it is walked without its lock.

        Raises:
            WalkError: The kernel's zones were not found, or what was found is none.
        """
        self._control[:] = bytes(mmap.PAGESIZE)
        self._set(_CPUS, min(os.cpu_count() or 1, 256))
        self._run_iterator()
        node, vmemmap = struct.unpack_from("<QQ", self._control, 0)
        if not node or not vmemmap or self._get(_PAGE_BYTES) != 64:
            raise WalkError("the kernel's zones were not found, or its struct page has not 64 bytes")
        self._set(_WANTED, zones)
        self._walk_locked(wait_s)
        self._set(_UNLOCKED, 1)
        self._run_iterator()
        return self._result(zones)

    def _result(self, zones: int) -> FreeLists:
        entries = np.frombuffer(self._entries, np.uint64, count=self._get(_N)).copy()
        zone_of = np.zeros(len(entries), np.uint8)
        walks = []
        for zone in range(ZONES):
            if not zones >> zone & 1:
                continue
            begin, end, first, n, broken, locked = struct.unpack_from(
                "<QQIIII", self._control, _ZONES_AT + zone * _ZONE_BYTES
            )
            zone_of[first : first + n] = zone
            walks.append(ZoneWalk(zone=zone, begin_ns=begin, end_ns=end, locked=bool(locked), broken=broken))
        cpu = (entries >> np.uint64(48)).astype(np.int64) - 1
        return FreeLists(
            pfn=(entries & np.uint64(0xFFFFFFFF)).astype(np.uint32),
            order=(entries >> np.uint64(32) & np.uint64(0xFF)).astype(np.uint8),
            migratetype=(entries >> np.uint64(40) & np.uint64(0xFF)).astype(np.uint8),
            cpu=np.where(cpu < 0, NO_CPU, cpu).astype(np.uint16),
            zone=zone_of,
            walks=tuple(walks),
        )


def zones_with_memory() -> int:
    """A bit for each zone of node 0 that has memory."""
    order = ("DMA", "DMA32", "Normal", "Movable", "Device")
    text = Path("/proc/zoneinfo").read_text()
    found = re.findall(r"Node 0, zone\s+(\w+)(.*?)(?=Node|\Z)", text, re.DOTALL)
    return sum(1 << order.index(name) for name, body in found if name in order and re.search(r"managed\s+[1-9]", body))
