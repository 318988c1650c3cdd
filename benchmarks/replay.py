"""How fast events are printed, imported and replayed: `python -m benchmarks.replay`.

Where perf and root are there, a short load is recorded on this machine and `perf script` prints its events; the import
reads the same text. The replay plays the recording that ships in the package (or another), as often as it takes to be
longer than a second. All rates are events a second on one core, from one run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click

from benchmarks.report import figure, table
from pymigrate.recording import Recording, import_recording, sample_path
from pymigrate.replaying import replay

EVENTS = (
    "kmem:mm_page_alloc",
    "kmem:mm_page_free",
    "kmem:mm_page_free_batched",
    "kmem:mm_page_alloc_zone_locked",
    "kmem:mm_page_pcpu_drain",
    "kmem:mm_page_alloc_extfrag",
)
# Touches and drops memory, so that pages are allocated and freed.
LOAD = "import mmap\nfor _ in range(40):\n m = mmap.mmap(-1, 16 << 20)\n m[::4096] = bytes(4096)\n m.close()\n"


def perf_text(folder: Path) -> tuple[Path, float] | str:
    """Records a load and prints it with `perf script`: the text and the seconds that printing took, or why not."""
    perf = shutil.which("perf")
    if perf is None:
        return "perf is not installed"
    data, text = folder / "perf.data", folder / "events.txt"
    record = [perf, "record", "-q", "-a", "-m", "8M", "-o", str(data)]
    record += [word for event in EVENTS for word in ("-e", event)]
    done = subprocess.run([*record, "--", sys.executable, "-c", LOAD], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not data.is_file():
        return (
            f"perf cannot record here: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason'}"
        )
    began = time.perf_counter()
    with text.open("wb") as out:
        command = [perf, "script", "-i", str(data), "-F", "tid,cpu,time,event,trace", "--ns"]
        subprocess.run(command, stdout=out, stderr=subprocess.DEVNULL, check=True)
    return text, time.perf_counter() - began


def replay_rate(recording: Recording, mode: str) -> float:
    """Events a second of one mode, the median of five replays."""
    rates = []
    for _ in range(5):
        result = replay(recording, mode="simulate" if mode == "simulate" else "reconstruct")[mode]
        rates.append(result.events_per_second)
    return median(rates)


@click.command()
@click.argument("path", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(path: Path | None) -> None:
    """Compare the replay of PATH (the shipped sample by default) with the time that `perf script` takes to print."""
    rows: list[tuple[str, float | None]] = []
    with tempfile.TemporaryDirectory() as name:
        found = perf_text(Path(name))
        printed = None
        if isinstance(found, str):
            print(f"left out: {found}")
        else:
            text, seconds = found
            result = import_recording(text)
            printed = len(result.recording.events) / seconds
            rows.append(("perf script prints", printed))
            figure("perf_script.events_per_second", printed, "1/s")
            figure("import.events_per_second", result.events_per_second, "1/s")
            rows.append(("import reads the same text", result.events_per_second))
    recording = Recording.load(path or sample_path())
    for mode in ("reconstruct", "simulate"):
        rate = replay_rate(recording, mode)
        rows.append((f"{mode} plays", rate))
        figure(f"{mode}.events_per_second", rate, "1/s")
        if printed:
            figure(f"{mode}.per_perf_script", rate / printed, "times")
    table("Million events a second", ("what", "rate"), [(what, rate and rate / 1e6) for what, rate in rows])


if __name__ == "__main__":
    main()
