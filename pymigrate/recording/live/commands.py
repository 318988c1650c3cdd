"""How to record the same with perf or trace-cmd, for where `pymigrate record` cannot."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

__all__ = ["other_ways"]


def _wrapped(words: Sequence[str], per_line: int) -> str:
    rows = [" ".join(words[at : at + per_line]) for at in range(0, len(words), per_line)]
    return " \\\n    ".join(rows)


def other_ways(events: Sequence[str], words: Sequence[str]) -> str:
    r"""Shell commands that record the same events, the frames and the samples, and import them.

    Args:
        events: SYSTEM/EVENT each.
        words: The command to record; empty: a minute of whatever runs.

    Example:
        >>> print(other_ways(["kmem/mm_page_free"], ["make"]).splitlines()[7])
        perf record -a -k mono -m 8M -o rec/perf.data \\
    """
    command = shlex.join(words) if words else "sleep 60"
    perf = _wrapped([word for event in events for word in ("-e", event.replace("/", ":"))], 4)
    cmd = _wrapped([word for event in events for word in ("-e", event.replace("/", ":"))], 4)
    return f"""\
# The frames at the start, as root. Frames that change between this and the first event are not seen right.
mkdir -p rec/start rec/end
for text in buddyinfo pagetypeinfo zoneinfo vmstat meminfo; do cat /proc/$text > rec/start/$text; done
cat /proc/kpageflags > rec/start/kpageflags.u64
cat /proc/kpagecount > rec/start/kpagecount.u64

# The events, by perf (Debian: linux-perf) ...
perf record -a -k mono -m 8M -o rec/perf.data \\
    {perf} \\
    -- {command}

# ... or by trace-cmd, with the same clock.
trace-cmd record -a -C mono -b 16384 -o rec/trace.dat \\
    {cmd} \\
    {command}

# What became of the free lists, and the recording.
for text in buddyinfo pagetypeinfo zoneinfo vmstat meminfo; do cat /proc/$text > rec/end/$text; done
pymigrate import rec -o rec.npz
"""
