"""Builds trace.dat files of both versions, as trace-cmd.dat.v6(5) and v7(5) describe them, from formats and pages."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from pathlib import Path

import zstandard

FILES = Path(__file__).resolve().parent / "files"
MAGIC = b"\x17\x08\x44tracing"


def stored() -> dict:
    """What was kept of a real trace: formats by system, pages by CPU, and what trace-cmd report printed of it."""
    return json.loads(gzip.decompress((FILES / "ring.json.gz").read_bytes()))


def pages_of(kept: dict) -> dict[int, bytes]:
    return {int(cpu): bytes.fromhex(text) for cpu, text in kept["pages"].items()}


def header_info(kept: dict) -> bytes:
    page, event = kept["header_page"].encode(), kept["header_event"].encode()
    return (
        b"header_page\0"
        + struct.pack("<Q", len(page))
        + page
        + b"header_event\0"
        + struct.pack("<Q", len(event))
        + event
    )


def event_formats(kept: dict) -> bytes:
    out = struct.pack("<I", len(kept["formats"]))
    for system, texts in kept["formats"].items():
        out += system.encode() + b"\0" + struct.pack("<I", len(texts))
        out += b"".join(struct.pack("<Q", len(text.encode())) + text.encode() for text in texts)
    return out


def version_6(kept: dict, *, instance: bool = False, times: dict[int, bytes] | None = None) -> bytes:
    pages = pages_of(kept)
    head = (
        MAGIC
        + b"6\0"
        + bytes([0, kept.get("long_bytes", 8)])
        + struct.pack("<I", 4096)
        + header_info(kept)
        + struct.pack("<I", 0)
    )
    head += event_formats(kept) + struct.pack("<IIQ", 0, 0, 0) + struct.pack("<I", len(pages))
    clock = b"local [mono] boot"
    options = b"options  \0" + struct.pack("<HI", 4, len(clock)) + clock
    for number, data in (times or {}).items():
        options += struct.pack("<HI", number, len(data)) + data
    after = struct.pack("<H", 0) + b"flyrecord\0"
    table = 16 * len(pages)
    if instance:
        # An instance's pages stand behind a flyrecord of their own; the top one's are empty.
        option = struct.pack("<HI", 3, 14)
        top = len(head) + len(options) + len(option) + 14 + len(after)
        options += option + struct.pack("<Q", top + table) + b"inst\0\0"
        head += options + after + struct.pack("<QQ", 0, 0) * len(pages) + b"flyrecord\0"
    else:
        head += options + after
    at = (len(head) + table + 4095) // 4096 * 4096
    places, body = b"", b""
    for cpu in sorted(pages):
        places += struct.pack("<QQ", at + len(body), len(pages[cpu]))
        body += pages[cpu]
    return (head + places).ljust(at, b"\0") + body


FIELD = "\tfield:{};\toffset:{};\tsize:{};\tsigned:{};\n"


def narrow() -> tuple[dict, list[tuple]]:
    """A trace of a little-endian kernel of 32 bits, in the form of `stored`, and its events: kind, time, frame, order.

    There a word and a ring-buffer page's length take 4 bytes, and no frame is 0xffffffff.
    """
    common = [("unsigned short common_type", 0, 2, 0), ("unsigned char common_flags", 2, 1, 0)]
    common += [("unsigned char common_preempt_count", 3, 1, 0), ("int common_pid", 4, 4, 1)]
    block = [("unsigned long pfn", 8, 4, 0), ("unsigned int order", 12, 4, 0)]
    more = [("unsigned long gfp_flags", 16, 4, 0), ("int migratetype", 20, 4, 1)]
    print_alloc = "pfn=0x%lx order=%d migratetype=%d gfp_flags=0x%lx"
    own = {
        "mm_page_alloc": ([*block, *more], print_alloc, "REC->pfn, REC->order, REC->migratetype, REC->gfp_flags"),
        "mm_page_free": (block, "pfn=0x%lx order=%d", "REC->pfn, REC->order"),
    }
    texts = []
    for number, (name, (fields, form, values)) in enumerate(own.items(), 100):
        text = f"name: {name}\nID: {number}\nformat:\n" + "".join(FIELD.format(*f) for f in common) + "\n"
        texts.append(text + "".join(FIELD.format(*f) for f in fields) + f'\nprint fmt: "{form}", {values}\n')
    events = [(0, 5_000_000_100, 0x1234, 3), (1, 5_000_000_300, 0x1234, 3), (0, 5_000_000_700, 0xFFFFFFFF, 9)]
    data, last = b"", 5_000_000_000
    for kind, time_ns, pfn, order in events:
        body = struct.pack("<HBBiII", 100 + kind, 0, 0, 42, pfn, order)
        body += struct.pack("<Ii", 0xCC0, 1) if kind == 0 else b""
        data += struct.pack("<I", (time_ns - last) << 5 | len(body) // 4) + body
        last = time_ns
    page = struct.pack("<QI", 5_000_000_000, len(data)) + data
    header = "".join(
        FIELD.format(*f)
        for f in (
            ("u64 timestamp", 0, 8, 0),
            ("local_t commit", 8, 4, 1),
            ("int overwrite", 8, 1, 1),
            ("char data", 12, 4084, 1),
        )
    )
    kept = {
        "long_bytes": 4,
        "header_page": header,
        "header_event": stored()["header_event"],
        "formats": {"kmem": texts},
    }
    return kept | {"pages": {"0": page.ljust(4096, b"\0").hex()}}, events


def squeeze(algorithm: str, data: bytes) -> bytes:
    return zlib.compress(data) if algorithm == "zlib" else zstandard.ZstdCompressor().compress(data)


def version_7(kept: dict, algorithm: str = "none", *, times: dict[int, bytes] | None = None) -> bytes:
    out = bytearray(
        MAGIC
        + b"7\0"
        + bytes([0, kept.get("long_bytes", 8)])
        + struct.pack("<I", 4096)
        + algorithm.encode()
        + b"\0"
        + b"1\0"
    )
    first_options = len(out)
    out += struct.pack("<Q", 0)

    def section(number: int, data: bytes) -> int:
        at = len(out)
        # trace-cmd leaves the options plain.
        if algorithm == "none" or number == 0:
            out.extend(struct.pack("<HHIQ", number, 0, 0, len(data)) + data)
        else:
            packed = squeeze(algorithm, data)
            body = struct.pack("<II", len(packed), len(data)) + packed
            out.extend(struct.pack("<HHIQ", number, 1, 0, len(body)) + body)
        return at

    options = b""
    for number, data in ((16, header_info(kept)), (18, event_formats(kept))):
        options += struct.pack("<HIQ", number, 8, section(number, data))
    buffer = struct.pack("<Q", len(out)) + b"\0" + b"mono\0" + struct.pack("<II", 4096, len(kept["pages"]))
    header = len(out)
    out.extend(struct.pack("<HHIQ", 3, algorithm != "none", 0, 0))
    for cpu, pages in pages_of(kept).items():
        out.extend(b"\0" * (-len(out) % 4096))
        at = len(out)
        if algorithm == "none":
            out.extend(pages)
        else:
            # Two chunks, as trace-cmd cuts longer data.
            cut = len(pages) // 4096 // 2 * 4096
            chunks = [chunk for chunk in (pages[:cut], pages[cut:]) if chunk]
            out.extend(struct.pack("<I", len(chunks)))
            for chunk in chunks:
                packed = squeeze(algorithm, chunk)
                out.extend(struct.pack("<II", len(packed), len(chunk)) + packed)
        buffer += struct.pack("<IQQ", cpu, at, len(out) - at)
    struct.pack_into("<Q", out, header + 8, len(out) - header - 16)
    uname = b"Linux host 6.18.0 #1 SMP x86_64\0"
    options += struct.pack("<HI", 3, len(buffer)) + buffer + struct.pack("<HI", 5, len(uname)) + uname
    for number, data in (times or {}).items():
        options += struct.pack("<HI", number, len(data)) + data
    options += struct.pack("<HIQ", 0, 8, 0)
    struct.pack_into("<Q", out, first_options, section(0, options))
    return bytes(out)
