"""Builds perf.data files, as perf's perf.data-file-format.txt describes them, from attributes and records."""

from __future__ import annotations

import gzip
import json
import struct

import zstandard
from tracedat_files import FILES, event_formats, header_info, stored

FEATURE_TRACING_DATA, FEATURE_OSRELEASE, FEATURE_NRCPUS, FEATURE_COMPRESSED = 1, 4, 7, 27


def stored_perf() -> dict:
    """What was kept of a real perf.data: attributes with ids, samples, and what perf script printed of them."""
    return json.loads(gzip.decompress((FILES / "perf.json.gz").read_bytes()))


def tracing_data() -> bytes:
    kept = stored()
    out = b"\x17\x08\x44tracing" + b"0.6\0" + bytes([0, 8]) + struct.pack("<I", 4096) + header_info(kept)
    return out + struct.pack("<I", 0) + event_formats(kept) + struct.pack("<IIQ", 0, 0, 0)


def records(kept: dict) -> bytes:
    return bytes.fromhex(kept["records"])


def borders(data: bytes) -> list[int]:
    """Where records end."""
    found, at = [], 0
    while at < len(data):
        at += struct.unpack_from("<H", data, at + 6)[0]
        found.append(at)
    return found


def release() -> bytes:
    text = b"6.18.0\0".ljust(64, b"\0")
    return struct.pack("<I", len(text)) + text


def as_file(kept: dict, data: bytes | None = None) -> bytes:
    data = records(kept) if data is None else data
    attrs = [(bytes.fromhex(attr), ids) for attr, ids in kept["attrs"]]
    size = len(attrs[0][0]) + 16
    ids_at, ids = 104, b""
    table = b""
    for attr, numbers in attrs:
        table += attr + struct.pack("<QQ", ids_at + len(ids), 8 * len(numbers))
        ids += b"".join(struct.pack("<Q", number) for number in numbers)
    attrs_at = ids_at + len(ids)
    data_at = attrs_at + len(table)
    features = {
        FEATURE_TRACING_DATA: tracing_data(),
        FEATURE_OSRELEASE: release(),
        FEATURE_NRCPUS: struct.pack("<II", 2, 2),
        FEATURE_COMPRESSED: struct.pack("<IIIII", 1, 1, 1, 5, 528384),
    }
    bits = sum(1 << bit for bit in features)
    head = b"PERFILE2" + struct.pack("<QQ", 104, size) + struct.pack("<QQ", attrs_at, len(table))
    head += struct.pack("<QQ", data_at, len(data)) + struct.pack("<QQ", 0, 0) + bits.to_bytes(32, "little")
    at = data_at + len(data) + 16 * len(features)
    places, bodies = b"", b""
    for bit in sorted(features):
        places += struct.pack("<QQ", at + len(bodies), len(features[bit]))
        bodies += features[bit]
    return head + ids + table + data + places + bodies


def as_pipe(kept: dict) -> bytes:
    out = b"PERFILE2" + struct.pack("<Q", 16)
    for attr, numbers in kept["attrs"]:
        body = bytes.fromhex(attr) + b"".join(struct.pack("<Q", number) for number in numbers)
        out += struct.pack("<IHH", 64, 0, 8 + len(body)) + body
    tracing = tracing_data()
    tracing = tracing.ljust((len(tracing) + 7) // 8 * 8, b"\0")
    out += struct.pack("<IHHI", 66, 0, 12, len(tracing)) + tracing
    return out + records(kept)


def records_of(stream: bytes, cuts: list[int]) -> bytes:
    """Compressed records of a zstd stream, cut at these bytes."""
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    return b"".join(struct.pack("<IHH", 81, 0, 8 + len(part)) + part for part in parts if part)


def plain_stream(data: bytes, block: int = 1 << 17) -> bytes:
    """A zstd stream of blocks that are not compressed (RFC 8878, 3.1.1), which like perf's never ends."""
    out = b"\x28\xb5\x2f\xfd\x00\x38"
    for at in range(0, len(data), block):
        piece = data[at : at + block]
        out += (len(piece) << 3).to_bytes(3, "little") + piece
    return out


def compressed(data: bytes, piece: int = 3000) -> bytes:
    """Compressed records as `perf record -z` writes them: one stream of zstd, cut anywhere."""
    engine = zstandard.ZstdCompressor().compressobj()
    out = b""
    for at in range(0, len(data), piece):
        packed = engine.compress(data[at : at + piece]) + engine.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        for part in range(0, len(packed), 60000):
            chunk = packed[part : part + 60000]
            out += struct.pack("<IHH", 81, 0, 8 + len(chunk)) + chunk
    return out
