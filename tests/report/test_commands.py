"""`pymigrate replay` and `pymigrate compare`, as a person and as a script use them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from tiny import tiny_recording

from pymigrate import cli
from pymigrate.recording import Recording, sample_path
from pymigrate.replaying import Policy, session
from pymigrate.replaying import replay as replay_recording
from pymigrate.report import command

FIGURE = re.compile(r"^figure \S+ \S+ \S+$")
NAMES = ("free.error.mean", "free.error.worst", "unusable4.error.mean", "unusable9.error.mean", "blocks9.error.mean")
NAMES += ("fallback.ours", "fallback.kernel", "events_per_second", "unresolved.share")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.npz"
    tiny_recording().save(path)
    return path


def figures_of(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if line.startswith("figure ")]
    assert all(FIGURE.match(line) for line in lines)
    return {line.split()[1]: float(line.split()[2]) for line in lines}


# ---- replay ----


def test_replay_prints_what_it_is_what_happened_and_how_close(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["replay", str(tiny), "--mode", "simulate"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for text in (
        "6.18.0-tiny", "DMA32 64.0 MiB", "mm_page_alloc_extfrag", "Allocation failures", "Unmovable from Movable",
        "unusable 9", "How far from the kernel's counters", "free frames, relative error, mean", "events per second",
    ):  # fmt: skip
        assert text in out
    assert "\x1b" not in out
    assert "figure " not in out


def test_figures_agree_with_json_and_python(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "found.json"
    assert cli.run(["replay", str(tiny), "--figures", "--json", str(found), "--set", "pcp=0"]) == 0
    figures = figures_of(capsys.readouterr().out)
    assert {f"simulate.{name}" for name in NAMES} <= figures.keys()
    result = replay_recording(Recording.load(tiny), policy=Policy(settings={"pcp": 0}))
    stored = json.loads(found.read_text())
    assert stored["settings"] == {"pcp": 0}
    assert not stored["stopped"]
    for mode, played in result.modes.items():
        assert stored["modes"][mode]["free_blocks"] == played.free.sum(axis=3).tolist()
        assert stored["modes"][mode]["counts"] == played.counts
        for name, (value, _) in played.figures().items():
            if name not in ("events_per_second", "prepare.seconds"):
                assert figures[f"{mode}.{name}"] == pytest.approx(value, rel=1e-5)
                assert stored["modes"][mode]["figures"][name] == pytest.approx(value)


def test_until_stops_early(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["replay", str(tiny), "--mode", "simulate", "--until", "0.03", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    mode = json.loads(out)["modes"]["simulate"]
    assert len(mode["t_ns"]) == 2
    assert mode["events"] < 40
    assert "6.18.0-tiny" in err


def test_the_picture_is_written(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "replay.png"
    assert cli.run(["replay", str(tiny), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["replay.png", "tiny.npz"]


@pytest.mark.skipif(not sample_path().exists(), reason="this build ships no sample recording")
def test_without_arguments_the_sample_is_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["replay", "--figures"]) == 0
    out = capsys.readouterr().out
    assert "sample.npz" in out
    figures = figures_of(out)
    assert figures["simulate.free.error.mean"] < 0.05
    assert figures["simulate.unresolved.share"] < 0.01


def test_without_a_sample_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "sample_path", lambda: tmp_path / "sample.npz")
    assert cli.run(["replay"]) == 1
    assert "pymigrate import" in capsys.readouterr().err


# ---- what goes wrong ----


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--set", "colour=1"], "unknown setting 'colour'"),
        (["--set", "pcp"], "expected KEY=NUMBER"),
        (["--set", "pcp=2"], "must be from 0 to 1"),
        (["--json", "/nowhere/x.json"], "cannot write /nowhere/x.json: No such file"),
        (["--plot", "/nowhere/x.png"], "cannot write /nowhere/x.png: No such file"),
    ],
)
def test_an_error_is_one_line(
    tiny: Path, args: list[str], text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if "--plot" in args:
        pytest.importorskip("matplotlib")
    assert cli.run(["replay", str(tiny), *args]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert text in err
    assert list(tmp_path.iterdir()) == [tiny]


@pytest.mark.parametrize("content", [None, b"", b"no recording", b"PK\x03\x04"])
def test_what_is_no_recording_is_named(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.npz"
    if content is not None:
        path.write_bytes(content)
    for verb in (["replay"], ["compare", "--b", "pcp=0"]):
        assert cli.run([verb[0], str(path), *verb[1:]]) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert str(path) in err


@pytest.mark.parametrize(
    "args",
    [
        ["replay", "--plot", "x.jpeg"],
        ["replay", "--mode", "neither"],
        ["replay", "--until", "-1"],
        ["replay", "--until", "nan"],
        ["replay", "--until", "inf"],
        ["compare"],
    ],
)
def test_wrong_usage(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(args) == 2
    assert "Error: " in capsys.readouterr().err


def test_without_matplotlib_it_says_what_to_install_before_it_replays(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.run(["replay", str(tiny), "--plot", "x.png"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "pip install 'pymigrate[plot]'" in err


def interrupt_at_event_20(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Ctrl-C were pressed while the 20th event is played."""

    def played(_mode: str, done: int, _total: int) -> None:
        if done >= 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(session, "STEP", 4)
    monkeypatch.setattr(command._Watch, "report", lambda _self, _prefix="": played)


@pytest.mark.parametrize("verb", [["replay"], ["compare", "--b", "pcp=0"]])
def test_ctrl_c_prints_what_was_played_and_leaves_no_half_file(
    verb: list[str], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_at_event_20(monkeypatch)
    found = tmp_path / "found.json"
    assert cli.run([verb[0], str(tiny), *verb[1:], "--json", str(found)]) == 130
    out, err = capsys.readouterr()
    assert "How far from the kernel's counters" in out
    assert "interrupted" in err
    assert str(found) in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == [tiny]


@pytest.mark.parametrize("strategy", ["none", "linux", "planner", "coalesce-2004"])
def test_probes_are_in_the_table_the_figures_and_the_json(
    strategy: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tmp_path / "found.json"
    args = ["replay", str(tiny), "--compaction", strategy, "--probe-every", "10ms", "--figures", "--json", str(found)]
    assert cli.run(args) == 0
    out = capsys.readouterr().out
    assert f"Made by: {strategy}" in out
    figures = figures_of(out)
    modes = json.loads(found.read_text())["modes"]
    stored = modes["simulate"]["probe"]
    assert modes["reconstruct"]["probe"] is None
    assert figures["simulate.probe.count"] == len(stored["t_ns"]) == 5
    assert figures["simulate.probe.hits"] == sum(stored["there"]) == 5
    assert figures["simulate.probe.hits_after"] == 5
    assert figures["simulate.probe.moved"] == sum(stored["moved"]) == 0


@pytest.mark.parametrize(
    "args",
    [
        ["--compaction", "coalesce-2004-rfc"],
        ["--probe-order", "10"],
        ["--probe-every", "0"],
        ["--probe-every", "100"],
        ["--compaction", "planner", "--mode", "reconstruct"],
    ],
)
def test_wrong_probes_are_wrong_usage(args: list[str], tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["replay", str(tiny), *args]) == 2
    assert "Error: " in capsys.readouterr().err


# ---- compare ----


def test_compare_shows_both_and_their_difference(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tmp_path / "found.json"
    args = ["compare", str(tiny), "--b", "pcp=0,kswapd=0", "--b", "defrag_mode=1", "--json", str(found), "--figures"]
    assert cli.run(args) == 0
    out = capsys.readouterr().out
    assert "as recorded" in out
    assert "pcp=0, kswapd=0, defrag_mode=1" in out
    assert "b - a" in out
    figures = figures_of(out)
    assert {f"{which}.simulate.{name}" for which in "ab" for name in NAMES} <= figures.keys()
    stored = json.loads(found.read_text())
    assert stored["b"]["settings"] == {"pcp": 0, "kswapd": 0, "defrag_mode": 1}
    for which in "ab":
        blocks = stored[which]["modes"]["simulate"]["free_blocks"][-1][0]
        frames = sum(count << order for order, count in enumerate(blocks))
        assert figures[f"{which}.simulate.free.end"] == pytest.approx(frames / 256, rel=1e-5)
    # Without per-CPU lists, what they held is free.
    assert figures["b.simulate.free.end"] >= figures["a.simulate.free.end"]


def test_the_same_settings_twice_differ_in_nothing(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["compare", str(tiny), "--a", "pcp=0", "--b", "pcp=0"]) == 0
    rows = capsys.readouterr().out.partition("b - a")[2].splitlines()[2:]
    assert {row.split()[-1] for row in rows if row.strip()} == {"="}


def test_compare_draws(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "compare.svg"
    assert cli.run(["compare", str(tiny), "--b", "pcp=0", "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"<?xml")
