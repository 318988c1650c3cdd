"""What may be changed in a replay: the kernel's settings, and which of its background mechanisms are imitated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pymigrate.errors import ArgumentError

# Settings of the allocator that a recording's sysctls give under the same name.
SYSCTLS = ("min_free_kbytes", "watermark_scale_factor", "watermark_boost_factor", "defrag_mode")

# name -> (lowest, highest, what it does)
KEYS: dict[str, tuple[int, int, str]] = {
    "min_free_kbytes": (0, 1 << 40, "memory kept free, KiB (sysctl)"),
    "watermark_scale_factor": (1, 10000, "distance between the watermarks, parts of 10,000 (sysctl)"),
    "watermark_boost_factor": (0, 1 << 20, "boost after a fallback, parts of 10,000 of HIGH; 0: none (sysctl)"),
    "defrag_mode": (0, 1, "1: mix types in a pageblock only as a last resort (sysctl)"),
    "pcp": (0, 1, "0: no per-CPU lists"),
    "pcp_batch": (1, 1 << 20, "frames that a per-CPU list takes or gives at once"),
    "pcp_high_min": (0, 1 << 29, "frames that a CPU's lists hold at least before they drain"),
    "pcp_high_max": (0, 1 << 29, "frames that a CPU's lists may grow to"),
    "decay": (0, 1, "1: idle per-CPU lists shrink when their CPU's timer runs, once a second"),
    "kswapd": (0, 1, "1: while the recorded kswapd is at work, per-CPU lists are short"),
    "compaction_drain": (0, 1, "1: recorded compaction drains the lists of its CPU"),
    "drain_time": (0, 1, "1: a drain goes on until its CPU's next event"),
    "start_pcp": (0, 1, "1: per-CPU lists hold at the start what the recording tells; 0: they are empty"),
    "start_types": (0, 1, "1: pageblocks have at the start the types that the recording tells; 0: all are Movable"),
    "start_order": (0, 1, "1: lists are at the start in the order in which they are used; 0: by address"),
    "start_exact": (0, 1, "1: lists are at the start as the kernel had them, where the recording has walked them"),
    "start_learn": (0, 1, "1: refills and drains are scaled at the start by the events before it"),
    "capture": (0, 1, "1: requests that recorded compaction served get the block that it emptied"),
    "reclaim_drain": (0, 1, "1: all CPUs' lists are drained where recorded reclaim drained them"),
    "compaction_hold": (0, 1, "1: recorded compaction holds the free blocks that it finds until it ends"),
    "compaction_moves": (0, 1, "1: what recorded compaction moved is moved here too"),
}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A named policy and the settings that differ from the recorded machine's.

    Attributes:
        name: ``"linux"``: placement, fallback and per-CPU lists as Linux 6.18 does them.
        settings: Values by the names of `KEYS`.

    Raises:
        ArgumentError: An unknown policy or setting, or a value out of range.
    """

    name: str = "linux"
    settings: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name != "linux":
            raise ArgumentError(f"unknown policy {self.name!r}: there is 'linux'")
        for key, value in self.settings.items():
            if key not in KEYS:
                raise ArgumentError(f"unknown setting {key!r}: there are {', '.join(KEYS)}")
            low, high, _ = KEYS[key]
            if not low <= value <= high:
                raise ArgumentError(f"setting {key}={value}: must be from {low} to {high}")

    @classmethod
    def from_words(cls, words: tuple[str, ...] | list[str]) -> Policy:
        """From ``KEY=VALUE`` words.

        Raises:
            ArgumentError: A word of another form, an unknown key, or a value out of range.
        """
        settings: dict[str, int] = {}
        for word in words:
            key, equals, value = word.partition("=")
            try:
                settings[key.strip()] = int(value, 0)
            except ValueError:
                equals = ""
            if not equals:
                raise ArgumentError(f"{word!r}: expected KEY=NUMBER, with KEY one of {', '.join(KEYS)}")
        return cls(settings=settings)
