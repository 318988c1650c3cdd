"""`pymigrate compact` and `pymigrate why` on a small snapshot that is made here."""

from __future__ import annotations

import json

import pytest
from snapshot_pictures import random_words, words_of, write_case, write_snapshot

from pymigrate.cli import run
from pymigrate.costs import Costs, costs_text
from pymigrate.defrag.run import STRATEGIES

PASSES = [
    {
        "seconds": 0.5,
        "pgmigrate_success": 700,
        "pgmigrate_fail": 3,
        "compact_migrate_scanned": 5000,
        "compact_free_scanned": 400,
        "buddyinfo": ["Node 0, zone   Normal 9 0 0 0 0 0 0 0 0 1 1 "],
    }
] + [{"seconds": 0.1, "pgmigrate_success": 2} for _ in range(3)]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    before = random_words(16 * 512, seed=5, full=0.5, unmovable=0.0005)
    before[:512] = words_of("k")[0]
    after = before.copy()
    after[1024:2048] = words_of(".")[0]
    return write_case(tmp_path_factory.mktemp("defrag") / "case", before, after, compact_passes=PASSES)


def figures_of(text: str) -> dict[str, float]:
    rows = [line.split() for line in text.splitlines() if line.startswith("figure ")]
    return {row[1]: float(row[2]) for row in rows}


def test_all_strategies_stand_beside_the_kernel(case, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["compact", str(case), "--figures"]) == 0
    out = capsys.readouterr().out
    figures = figures_of(out)
    for name in (*STRATEGIES, "kernel"):
        assert name in out
        for key in ("blocks.before", "blocks.after", "blocks.bound", "moved", "moved.minimum", "scanned"):
            assert f"{name}.{key}" in figures
        assert figures[f"{name}.blocks.bound"] == figures["planner.blocks.bound"] > 0
    assert figures["planner.blocks.after"] == figures["planner.blocks.bound"]
    assert figures["planner.moved"] == figures["planner.moved.minimum"] > 0
    gained = figures["planner.blocks.after"] - figures["planner.blocks.before"]
    assert figures["planner.moved_per_block"] == pytest.approx(figures["planner.moved"] / gained, rel=0.01)
    # Two blocks of 512 frames; what the passes moved and scanned is added up.
    assert figures["kernel.blocks.after"] - figures["kernel.blocks.before"] == 2
    assert figures["kernel.moved"] == 706
    assert figures["kernel.scanned"] == 5400
    assert "passes 2-4: 2" in out


def test_json_says_what_the_table_says(case, capsys, tmp_path):
    file = tmp_path / "result.json"
    assert run(["compact", str(case), "--strategy", "planner", "--blocks", "1", "--json", str(file), "--figures"]) == 0
    figures = figures_of(capsys.readouterr().out)
    found = json.loads(file.read_text())
    planner = found["strategies"]["planner"]
    assert list(found["strategies"]) == ["planner"]
    assert planner["blocks_after"] - planner["blocks_before"] == found["wanted"] == 1
    assert planner["moved"] == planner["minimum"] == found["minimum"] == figures["planner.moved"]
    assert found["kernel"]["moved"] == 706
    # Alone, it goes to the output, and everything else to the error output.
    assert run(["compact", str(case), "--strategy", "planner", "--blocks", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["minimum"] == found["minimum"]
    assert "planner" in err


def test_an_order_below_the_pageblock(case, capsys):
    assert run(["compact", str(case), "--strategy", "planner", "--order", "4", "--all", "--figures"]) == 0
    figures = figures_of(capsys.readouterr().out)
    assert figures["planner.blocks.after"] == figures["planner.blocks.bound"]
    assert figures["planner.moved"] == figures["planner.moved.minimum"]


def test_without_a_word_of_the_kernel_there_is_no_column(tmp_path, capsys):
    folder = tmp_path / "alone"
    write_snapshot(folder / "before", random_words(2048, seed=1, full=0.4))
    # Without meta.json nobody says where the zones are: they are taken to be a PC's.
    assert run(["compact", str(folder), "--strategy", "planner", "--figures"]) == 0
    out = capsys.readouterr().out
    assert "kernel" not in out
    assert "planner.moved" in figures_of(out)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--strategy", "hope"], "'hope' is none of linux, planner"),
        (["--blocks", "0"], "--blocks"),
        (["--order", "11"], "--order"),
        (["--blocks", "3", "--all"], "exclude each other"),
    ],
)
def test_wrong_usage_is_named(case, args, says, capsys):
    assert run(["compact", str(case), *args]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_folder_without_frames_is_named(tmp_path, capsys):
    for command in ("compact", "why"):
        assert run([command, str(tmp_path)]) == 1
        assert "kpageflags" in capsys.readouterr().err
        assert run([command, str(tmp_path / "nowhere")]) == 1
        assert "nowhere" in capsys.readouterr().err


# ---- beside what the kernel did, and what it costs ----


def test_a_run_ends_where_the_kernel_did(tmp_path, capsys):
    # A dirty folio is in the way, which the kernel found room for; the one that it stopped at came later.
    before = words_of("a." * 4096)
    before[:4] = words_of("4444")
    before[0] |= words_of("d")[0]
    after = words_of("." * 2048 + "a." * 1024 + "a" * 4096)
    after[2048:2052] = words_of("4444")
    case = write_case(tmp_path / "case", before, after, compact_passes=PASSES[:1])
    assert run(["compact", str(case), "--strategy", "linux", "--stop-like-kernel", "--figures"]) == 0
    out = capsys.readouterr().out
    figures = figures_of(out)
    assert figures["linux.moved"] < 32
    assert figures["linux-to-stop.blocks.after"] == figures["kernel.blocks.after"] == 4
    # What stood in those four: half of their frames, and of the folio the other two as well.
    assert figures["linux-to-stop.moved"] == 4 * 256 + 2
    assert "told to end" in " ".join(out.split())
    # Nobody says where the kernel stopped.
    alone = write_case(tmp_path / "alone", before)
    assert run(["compact", str(alone), "--stop-like-kernel"]) == 1
    assert "after/" in capsys.readouterr().err


ZONEINFO = """Node 0, zone   Normal
  pages free     1536
        min      0
        low      1
        high     2
        spanned  2048
        present  2048
        managed  2048
  pagesets
    cpu: 0
              count:    2
              high:     100
              batch:    63
    cpu: 1
              count:    1
              high:     100
              batch:    63
"""


def test_frames_without_a_flag_may_lie_in_per_cpu_lists(tmp_path, capsys):
    # Three of them among free frames and pages, 512 in a block of their own, of which no list has any.
    before = words_of("." * 1024 + "a" * 512 + "k" * 512)
    before[[7, 600, 1030]] = words_of("kkk")
    after = words_of("." * 1024 + "a" * 512 + "k" * 512)
    after[600] = words_of("k")[0]
    case = write_case(tmp_path / "case", before, after, compact_passes=PASSES[:1])
    for folder in ("before", "after"):
        (case / folder / "zoneinfo").write_text(ZONEINFO)
    args = ["compact", str(case), "--strategy", "planner", "--figures"]
    assert run(args) == 0
    stuck = figures_of(capsys.readouterr().out)
    assert stuck["planner.blocks.bound"] == 0
    assert "planner.gained.drained" not in stuck
    assert run([*args, "--flagless", "pcp"]) == 0
    found = figures_of(capsys.readouterr().out)
    # By the frame table alone nothing can be had; with the lists drained two are free at once.
    assert found["planner.blocks.bound"] == 0
    assert found["planner.blocks.bound.drained"] == 2
    assert found["planner.blocks.after"] == 2
    assert found["planner.moved"] == found["planner.gained.drained"] == 0
    # The kernel's tables: one block was free, and the frame of the other lies in a list before and after.
    assert found["kernel.gained.drained"] == 0


def test_work_is_priced_at_a_machines_costs(case, capsys, tmp_path):
    costs, file = tmp_path / "costs.json", tmp_path / "result.json"
    constants = Costs(copy_ns=400.0, page_ns=300.0, scan_ns=2.0, flush_ns=5000.0, lock_ns=20.0)
    costs.write_text(costs_text(constants))
    assert run(["compact", str(case), "--costs", str(costs), "--json", str(file), "--figures"]) == 0
    out = capsys.readouterr().out
    figures, found = figures_of(out), json.loads(file.read_text())["strategies"]
    for name in STRATEGIES:
        # A batch is at least a page; what does not move stalls nobody.
        assert figures[f"{name}.stall.ns"] >= (5400 if found[name]["moved"] else 0)
        assert figures[f"{name}.stall.ns"] == pytest.approx(found[name]["price"]["stall_ns"], rel=0.01)
        assert figures[f"{name}.cost.ns"] >= found[name]["moved"] * 400
    assert "kernel.stall.ns" not in figures
    stalls = sorted(STRATEGIES, key=lambda name: found[name]["price"]["stall_ns"])
    assert f"shortest first: {', '.join(stalls)}." in " ".join(out.split())
    costs.write_text("{}")
    assert run(["compact", str(case), "--costs", str(costs)]) == 1
    assert "costs.json" in capsys.readouterr().err


# ---- why ----


@pytest.fixture(scope="module")
def stuck(tmp_path_factory):
    """Four pageblocks: a slab and a page table in one, one reserved, one kernel frame among others, one that can go."""
    words = words_of("." * 2048)
    words[5], words[9] = words_of("s")[0], words_of("t")[0]
    words[512:1024] = words_of("r")[0]
    words[1024:1030] = words_of("kmwaaf")
    words[1536:1600] = words_of("a")[0]
    return write_case(tmp_path_factory.mktemp("why") / "stuck", words)


def test_why_counts_and_lists_what_stands_in_the_way(stuck, capsys, tmp_path):
    file = tmp_path / "why.json"
    assert run(["why", str(stuck), "--json", str(file), "--figures"]) == 0
    out = capsys.readouterr().out
    assert "3 of 4 blocks" in out
    assert "1 other kernel" in out
    figures = figures_of(out)
    assert figures["why.stuck"] == 3
    assert figures["why.slab"] == figures["why.page_table"] == figures["why.reserved"] == 1
    found = json.loads(file.read_text())
    assert found["causes"]["slab"] == {"blocks": 1, "alone": 0, "frames": 1}
    assert found["causes"]["other kernel"] == {"blocks": 1, "alone": 1, "frames": 1}
    assert found["list"] == [
        {"pfn": 0, "slab": 1, "page table": 1, "free": 510},
        {"pfn": 512, "reserved": 512},
        {"pfn": 1024, "other kernel": 1, "unevictable": 1, "writeback": 1, "movable": 3, "free": 506},
    ]


def test_why_lists_as_many_as_asked_for(stuck, capsys):
    assert run(["why", str(stuck), "--limit", "1"]) == 0
    assert "and 2 more" in capsys.readouterr().out
    assert run(["why", str(stuck), "--limit", "0"]) == 0
    assert "in the way" not in capsys.readouterr().out


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_why_draws_a_picture(stuck, tmp_path, form):
    pytest.importorskip("matplotlib")
    file = tmp_path / f"why.{form}"
    assert run(["why", str(stuck), "--plot", str(file)]) == 0
    head = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[form]
    assert file.read_bytes().startswith(head)
    if form == "svg":
        # The names of the causes are in it as text or as glyphs; the colours for sure.
        assert b"#f0e442" in file.read_bytes().lower()


def test_why_of_memory_that_can_all_be_freed(tmp_path, capsys):
    case = write_case(tmp_path / "case", words_of("." * 512 + "a" * 512))
    assert run(["why", str(case), "--plot", str(tmp_path / "p.png"), "--json"]) == 0
    out, _ = capsys.readouterr()
    assert json.loads(out)["list"] == []


def test_a_picture_has_a_known_form(stuck, capsys):
    assert run(["why", str(stuck), "--plot", "why.gif"]) == 2
    assert "why.gif" in capsys.readouterr().err
