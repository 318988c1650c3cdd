"""How to record the same with perf or trace-cmd, for where `pymigrate record` cannot."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

__all__ = ["other_ways", "short_way"]


def _wrapped(words: Sequence[str], per_line: int) -> str:
    rows = [" ".join(words[at : at + per_line]) for at in range(0, len(words), per_line)]
    return " \\\n    ".join(rows)


def short_way(words: Sequence[str]) -> str:
    """The shortest that gives a recording, without frames and samples: by perf, and by trace-cmd.

    Args:
        words: The command to record; empty: a minute of whatever runs.

    Example:
        >>> print(short_way(["make"]).splitlines()[1].strip())
        pymigrate import perf.data -o rec.npz
    """
    command = shlex.join(words) if words else "sleep 60"
    return (
        "  perf record -a -k mono -m 8M -e 'kmem:mm_page_*' -e 'compaction:mm_*' -e 'migrate:*' "
        f"-o perf.data -- {command}\n"
        "    pymigrate import perf.data -o rec.npz\n"
        f"  trace-cmd record -a -C mono -b 16384 -e kmem -e compaction -e migrate -o trace.dat {command}\n"
        "    pymigrate import trace.dat -o rec.npz"
    )


def other_ways(events: Sequence[str], words: Sequence[str]) -> str:
    r"""Shell commands that record the same events, the frames and the samples, and import them.

    Args:
        events: SYSTEM/EVENT each.
        words: The command to record; empty: a minute of whatever runs.

    Example:
        >>> print(other_ways(["kmem/mm_page_free"], ["make"]).splitlines()[7])
        perf record -a -k mono -m 8M -o rec/perf.data \
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
