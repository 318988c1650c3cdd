"""Samples: the kernel's own counters over time, the truth that a replay is scored against."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymigrate.errors import RecordingError
from pymigrate.recording.proctext import ZoneKey, parse_buddyinfo, parse_pagetypeinfo
from pymigrate.recording.sources import read_chunks

__all__ = ["NOT_READ", "Samples", "parse_samples", "read_samples"]

MAX_LINE_BYTES = 1 << 20
NOT_READ = 0xFFFFFFFF
"""A count by type in a sample that came without pagetypeinfo."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """S samples of Z zones, T migrate types and O orders.

    Attributes:
        t_ns: The clock of the events, shape ``(S,)``.
        zones: Node and name of each zone.
        types: Names of the migrate types, by the recorded kernel's numbers.
        buddy: Free blocks, shape ``(S, Z, O)``.
        free_by_type: Free blocks by type, shape ``(S, Z, T, O)``; T is 0 where pagetypeinfo was not sampled, and
            `NOT_READ` stands where a sample came without it.
        blocks_by_type: Pageblocks by type, shape ``(S, Z, T)``.
        vmstat_names: Names of the V counters.
        vmstat_values: Counters, shape ``(S, V)``; -1 where a sample lacks one.
    """

    t_ns: NDArray[np.uint64]
    zones: tuple[ZoneKey, ...]
    types: tuple[str, ...]
    buddy: NDArray[np.uint32]
    free_by_type: NDArray[np.uint32]
    blocks_by_type: NDArray[np.uint32]
    vmstat_names: tuple[str, ...]
    vmstat_values: NDArray[np.int64]

    def __post_init__(self) -> None:
        s, z, t = len(self.t_ns), len(self.zones), len(self.types)
        orders = self.buddy.shape[-1] if self.buddy.ndim == 3 else 0
        expected = {
            "t_ns": (s,),
            "buddy": (s, z, orders),
            "free_by_type": (s, z, t, orders),
            "blocks_by_type": (s, z, t),
            "vmstat_values": (s, len(self.vmstat_names)),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise RecordingError(f"samples: {name} has the shape {getattr(self, name).shape}, expected {shape}")

    def __len__(self) -> int:
        return int(self.t_ns.shape[0])

    @classmethod
    def empty(cls) -> Samples:
        """No samples."""
        return cls(
            t_ns=np.empty(0, np.uint64),
            zones=(),
            types=(),
            buddy=np.empty((0, 0, 0), np.uint32),
            free_by_type=np.empty((0, 0, 0, 0), np.uint32),
            blocks_by_type=np.empty((0, 0, 0), np.uint32),
            vmstat_names=(),
            vmstat_values=np.empty((0, 0), np.int64),
        )

    @property
    def vmstat(self) -> dict[str, NDArray[np.int64]]:
        """Each counter over time, shape ``(S,)``, by its name."""
        return {name: self.vmstat_values[:, i] for i, name in enumerate(self.vmstat_names)}

    def between(self, first_ns: int, last_ns: int) -> Samples:
        """The samples with ``first_ns <= t_ns <= last_ns``."""
        which = (self.t_ns >= np.uint64(first_ns)) & (self.t_ns <= np.uint64(last_ns))
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("t_ns", "buddy", "free_by_type", "blocks_by_type", "vmstat_values"):
            values[name] = values[name][which]
        return Samples(**values)


def _counts(array: NDArray[np.int64]) -> NDArray[np.uint32]:
    if array.size and (int(array.min()) < 0 or int(array.max()) > 0xFFFFFFFF):
        raise RecordingError("a count is out of range")
    return array.astype(np.uint32)


class _Builder:
    """The samples read so far."""

    def __init__(self) -> None:
        self.t_ns: list[int] = []
        self.zones: tuple[ZoneKey, ...] | None = None
        self.types: tuple[str, ...] = ()
        self.arrays: dict[str, list[NDArray[np.uint32]]] = {"buddy": [], "free": [], "blocks": []}
        self.vmstat: list[dict[str, int]] = []

    def take(self, sample: Any) -> None:
        if not isinstance(sample, dict) or not isinstance(sample.get("t_ns"), int):
            raise RecordingError("a sample is an object with t_ns")
        if not 0 <= sample["t_ns"] < 2**63:
            raise RecordingError("t_ns is out of range")
        buddy = parse_buddyinfo(_text(sample, "buddyinfo"))
        types = parse_pagetypeinfo(_text(sample, "pagetypeinfo"))
        if self.zones is None:
            self.zones, self.types = buddy.zones, types.types
        z, orders = buddy.free.shape
        if self.types and not types.types:
            # The text was left out of this sample: it costs the kernel much where memory is fragmented.
            types = replace(
                types,
                types=self.types,
                zones=self.zones,
                free=np.full((z, len(self.types), orders), NOT_READ, np.int64),
                blocks=np.full((z, len(self.types)), NOT_READ, np.int64),
            )
        if buddy.zones != self.zones or types.types != self.types or (types.types and types.zones != self.zones):
            raise RecordingError("zones or types differ from those of the first sample")
        counters = sample.get("vmstat", {})
        if not isinstance(counters, dict) or not all(
            isinstance(value, int) and -(2**63) <= value < 2**63 for value in counters.values()
        ):
            raise RecordingError("vmstat is an object of numbers")
        arrays = {
            "buddy": buddy.free,
            "free": types.free if types.types else np.zeros((z, 0, orders), np.int64),
            "blocks": types.blocks if types.types else np.zeros((z, 0), np.int64),
        }
        # All of a sample is checked before any of it is kept.
        kept = {name: self._checked(name, array) for name, array in arrays.items()}
        for name, array in kept.items():
            self.arrays[name].append(array)
        self.vmstat.append(counters)
        self.t_ns.append(sample["t_ns"])

    def _checked(self, name: str, array: NDArray[np.int64]) -> NDArray[np.uint32]:
        parts = self.arrays[name]
        if parts and parts[0].shape != array.shape:
            raise RecordingError(f"{name} has another shape than in the first sample")
        return _counts(array)

    def done(self) -> Samples:
        if self.zones is None:
            return Samples.empty()
        names = tuple(dict.fromkeys(name for counters in self.vmstat for name in counters))
        values = [[counters.get(name, -1) for name in names] for counters in self.vmstat]
        return Samples(
            t_ns=np.array(self.t_ns, np.uint64),
            zones=self.zones,
            types=self.types,
            buddy=np.stack(self.arrays["buddy"]),
            free_by_type=np.stack(self.arrays["free"]),
            blocks_by_type=np.stack(self.arrays["blocks"]),
            vmstat_names=names,
            vmstat_values=np.array(values, np.int64).reshape(len(values), len(names)),
        )


def _text(sample: dict[str, Any], name: str) -> str:
    text = sample.get(name, "")
    if not isinstance(text, str):
        raise RecordingError(f"{name} is not text")
    return text


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise RecordingError(f"a line of more than {MAX_LINE_BYTES} bytes")
        yield from whole
    if rest:
        yield rest


def parse_samples(chunks: Iterable[bytes], *, lenient: bool = False, path: str | None = None) -> tuple[Samples, int]:
    """Parses samples: JSON objects, one a line, with ``t_ns``, ``buddyinfo``, ``pagetypeinfo`` and ``vmstat``.

    Args:
        chunks: The text in pieces.
        lenient: Pass over damaged lines and count them.
        path: A name for messages.

    Returns:
        The samples in order of time, and how many lines were passed over.

    Raises:
        RecordingError: A damaged line (strict), with its number.
    """
    builder = _Builder()
    skipped = 0
    for number, line in enumerate(_lines(chunks), 1):
        if not line.strip():
            continue
        try:
            builder.take(json.loads(line))
        except (ValueError, RecursionError) as error:
            if not lenient:
                raise RecordingError(f"a damaged sample: {error}", path=path, line=number) from error
            skipped += 1
    samples = builder.done()
    if np.any(samples.t_ns[1:] < samples.t_ns[:-1]):
        raise RecordingError("samples are not in order of time", path=path)
    return samples, skipped


def read_samples(path: Path, *, lenient: bool = False) -> tuple[Samples, int]:
    """Reads samples.jsonl, plain or compressed. See `parse_samples`."""
    return parse_samples(read_chunks(path), lenient=lenient, path=str(path))
