"""What embedders get, beside what they would write themselves: `python -m benchmarks.embed [--quick]`.

Times are CPU time of one thread. In a round every measure takes its turn; a ratio is the median over the rounds.

- hits: translations of random pages that were touched before, of 64 MiB and (`far`) of 3.4 GiB, where a look at a page
  table is a miss in the host's caches; the other side is a random page map, a hash table from pages to frames.
- first touches: of page after page, in single frames, and (`huge`) in huge pages where they are to be had. The other
  side draws a frame and puts it into its table, where two pages may share it.
- an image of aged memory: loaded, beside ageing a machine anew by the same recipe.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import click

from benchmarks.drivers import Driver, compile_driver
from benchmarks.report import Samples, figure, interleave, ratio, table
from pymigrate import _ffi_build, image


def measure(driver: Driver, *, rounds: int, hits: int, touches: int) -> Samples:
    """Takes all measures, in nanoseconds an operation."""
    numbers = {
        "hit_core": hits,
        "hit_map": hits,
        "hit_far_core": hits // 4,
        "hit_far_map": hits // 4,
        "touch_core": touches,
        "touch_huge_core": touches,
        "touch_map": touches,
    }
    measures = {name: partial(driver.send, f"{name} {number}") for name, number in numbers.items()}
    # The first round makes the machines, and is thrown away.
    samples = interleave(rounds + 1, measures)
    return {name: values[1:] for name, values in samples.items()}


def print_all(samples: Samples) -> None:
    """Prints the table and the figures."""

    def millions(name: str) -> float:
        return 1e3 / median(samples[name])

    rows: list[list[str | float | None]] = [
        [title, millions(core), millions(other), ratio(samples, core, other)]
        for title, core, other in (
            ("hits, 64 MiB", "hit_core", "hit_map"),
            ("hits, 3.4 GiB", "hit_far_core", "hit_far_map"),
            ("first touches", "touch_core", "touch_map"),
            ("first touches, huge pages", "touch_huge_core", "touch_map"),
        )
    ]
    table("Translations, millions a second", ["", "pymigrate", "random map", "time, ratio"], rows)
    figure("translate.hits_per_second", 1e6 * millions("hit_core"), "1/s")
    figure("translate.hits_far_per_second", 1e6 * millions("hit_far_core"), "1/s")
    figure("translate.first_touches_per_second", 1e6 * millions("touch_core"), "1/s")
    figure("translate.first_touches_huge_per_second", 1e6 * millions("touch_huge_core"), "1/s")
    figure("translate.hit_per_random_map", ratio(samples, "hit_core", "hit_map"), "ratio")
    figure("translate.first_touch_per_random_map", ratio(samples, "touch_core", "touch_map"), "ratio")


def images(size_gib: int, rounds: int) -> None:
    """Times loading an image of each recipe, and making it anew; prints the table and the figure of the worst."""
    rows: list[list[str | float | None]] = []
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, named in image.RECIPES.items():
            recipe = dataclasses.replace(named, size=f"{size_gib}G")
            file = Path(folder) / f"{name}.img"
            loads, makes = [], []
            with recipe.make() as machine:
                about = image.save(machine, file)
            for _ in range(rounds):
                began = time.perf_counter()
                image.load(file).close()
                loads.append((time.perf_counter() - began) / size_gib)
                began = time.perf_counter()
                recipe.make().close()
                makes.append((time.perf_counter() - began) / size_gib)
            worst = max(worst, median(loads))
            rows.append([name, about.nr_bytes / 1024 / size_gib, 1e3 * median(loads), 1e3 * median(makes)])
    table("Images, a GiB", ["", "KiB", "load, ms", "age anew, ms"], rows)
    figure("image.load.seconds_per_gib", worst, "s/GiB")


@click.command()
@click.option("--quick", is_flag=True, help="Less of everything: a smoke test, its figures are rough.")
def main(quick: bool) -> None:
    """Compare translations with a random page map, and loading an image with ageing anew."""
    flags, _ = _ffi_build.FLAVOURS["release"]
    driver = Driver(compile_driver("embed", with_core=True, flags=["-fPIC", *flags]))
    samples = measure(
        driver, rounds=2 if quick else 7, hits=1 << (18 if quick else 22), touches=1 << (15 if quick else 19)
    )
    driver.close()
    print_all(samples)
    images(1 if quick else 4, 1 if quick else 5)


if __name__ == "__main__":
    main()
