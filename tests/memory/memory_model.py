"""A slow, obvious model of address spaces and files: what every byte is, and nothing about where it is kept.

A page is a bytearray. Who holds one (a window, a pin) and who may write to it share the object: that a page is shared,
or a copy, is the identity of these objects. A fork copies at once what the core copies at the first write.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

PAGE = 4096
READ, WRITE = 1, 2


def pages_of(size: int) -> int:
    return -(-size // PAGE)


class ModelFile:
    """Bytes with a size. Pages that nobody wrote to are zeros."""

    def __init__(self, size: int, capacity: int) -> None:
        self.size = size
        self.capacity = max(capacity, size)
        self.pages: dict[int, bytearray] = {}

    def page(self, index: int) -> bytearray:
        return self.pages.setdefault(index, bytearray(PAGE))

    def read(self, offset: int, n: int) -> bytes:
        end = min(offset + n, self.size)
        out = bytearray()
        while offset < end:
            part = min(end - offset, PAGE - offset % PAGE)
            at = offset % PAGE
            out += self.pages.get(offset // PAGE, bytes(PAGE))[at : at + part]
            offset += part
        return bytes(out)

    def write(self, offset: int, data: bytes) -> None:
        if not data:
            return
        if offset + len(data) > self.size:
            self.resize(offset + len(data))
        done = 0
        while done < len(data):
            at = (offset + done) % PAGE
            part = min(len(data) - done, PAGE - at)
            self.page((offset + done) // PAGE)[at : at + part] = data[done : done + part]
            done += part

    def resize(self, size: int) -> None:
        """Both ways: what is behind the smaller of the two sizes reads as zeros if the file grows over it."""
        edge = min(size, self.size)
        for index in [i for i in self.pages if i >= pages_of(edge)]:
            del self.pages[index]
        if edge % PAGE and edge // PAGE in self.pages:
            self.pages[edge // PAGE][edge % PAGE :] = bytes(PAGE - edge % PAGE)
        self.size = size


@dataclasses.dataclass
class Slot:
    """One page of an area."""

    prot: int
    shared: bool
    locked: bool
    file: ModelFile | None
    index: int
    own: bytearray | None = None

    def beyond(self) -> bool:
        return self.file is not None and self.own is None and self.index >= pages_of(self.file.size)

    def content(self) -> bytes:
        if self.own is not None:
            return bytes(self.own)
        if self.file is not None:
            return bytes(self.file.pages.get(self.index, bytes(PAGE)))
        return bytes(PAGE)

    def make_own(self) -> bytearray:
        """What a write sees to first: a private page becomes this space's own."""
        if self.own is None:
            self.own = bytearray(self.content())
        return self.own

    def held(self) -> bytearray:
        """The page that a write goes to, and a window or a lasting pin holds: a private page is the space's own."""
        if self.file is not None and self.shared:
            return self.file.page(self.index)
        return self.make_own()

    def writable_bytes(self) -> int:
        """How much of the page a test may write through it: what is behind the end of a shared file goes nowhere."""
        if self.file is None or not self.shared:
            return PAGE
        return max(0, min(PAGE, self.file.size - self.index * PAGE))


class ModelSpace:
    """Slots by page number."""

    def __init__(self) -> None:
        self.slots: dict[int, Slot] = {}

    def fork(self) -> ModelSpace:
        child = ModelSpace()
        for vpn, slot in self.slots.items():
            own = None if slot.own is None else bytearray(slot.own)
            child.slots[vpn] = dataclasses.replace(slot, own=own, locked=False)
        return child

    def map(
        self, vpn: int, pages: int, prot: int, shared: bool, locked: bool, file: ModelFile | None, index: int
    ) -> None:
        for i in range(pages):
            self.slots[vpn + i] = Slot(prot, shared, locked, file, index + i)

    def unmap(self, vpn: int, pages: int) -> None:
        for i in range(vpn, vpn + pages):
            self.slots.pop(i, None)

    def covers(self, vpn: int, pages: int) -> bool:
        return all(i in self.slots for i in range(vpn, vpn + pages))

    def remap(self, vpn: int, pages: int, new_vpn: int, new_pages: int) -> None:
        """Everything moves; what is new goes on as the last page ended."""
        moved = [self.slots.pop(vpn + i) for i in range(pages)]
        last = moved[-1]
        more = range(1, new_pages - pages + 1)
        moved += [dataclasses.replace(last, index=last.index + i, own=None) for i in more]
        for i in range(new_pages):
            self.slots[new_vpn + i] = moved[i]

    def truncated(self, file: ModelFile) -> None:
        """Private copies of pages that are wholly behind the end are gone too."""
        for slot in self.slots.values():
            if slot.file is file and slot.index >= pages_of(file.size):
                slot.own = None

    def why_not(self, vpn: int, write: bool) -> str | None:
        slot = self.slots.get(vpn)
        if slot is None:
            return "FAULT"
        if not slot.prot & WRITE if write else slot.prot == 0:
            return "ACCESS"
        return "BEYOND" if slot.beyond() else None

    def reach(self, addr: int, n: int, write: bool) -> tuple[int, str | None]:
        """How many bytes from `addr` on can be accessed, at most `n`, and what stops there."""
        done = 0
        while done < n:
            why = self.why_not((addr + done) // PAGE, write)
            if why:
                return done, why
            done += PAGE - (addr + done) % PAGE
        return n, None

    def parts(self, addr: int, n: int) -> Iterator[tuple[Slot, int, int, int]]:
        """Slot, place in it, length, and what was before, of each page of a range."""
        done = 0
        while done < n:
            at = (addr + done) % PAGE
            part = min(n - done, PAGE - at)
            yield self.slots[(addr + done) // PAGE], at, part, done
            done += part

    def read(self, addr: int, n: int) -> bytes:
        return b"".join(slot.content()[at : at + part] for slot, at, part, _ in self.parts(addr, n))

    def write(self, addr: int, data: bytes) -> None:
        for slot, at, part, done in self.parts(addr, len(data)):
            slot.held()[at : at + part] = data[done : done + part]

    def write_limit(self, addr: int, n: int) -> int:
        """How much of a write stays in front of the ends of shared files."""
        done = 0
        while done < n:
            slot = self.slots.get((addr + done) // PAGE)
            at = (addr + done) % PAGE
            if slot is not None and not slot.beyond() and slot.writable_bytes() < min(PAGE, at + n - done):
                return done + max(0, slot.writable_bytes() - at)
            done += PAGE - at
        return n
