from __future__ import annotations

import io
import json
import os
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqae import Detector, read_table
from seqae.anomaly.fleets.attention import summarise
from seqae.anomaly.fleets.fleet import Fleet
from seqae.cli.main import run

QUICK = ["--epochs", "2", "--window", "8", "--hidden", "8", "--latent", "2", "--alpha", "0.05", "--device", "cpu"]


def pump(seed, rows=200, fault=None):
    rng = np.random.default_rng(seed)
    t = 2 * np.pi * np.arange(rows) / 8
    table = pd.DataFrame(
        {
            "time": pd.date_range("2024-03-04", periods=rows, freq="h").strftime("%Y-%m-%dT%H:%M"),
            "flow": np.sin(t) + 0.1 * rng.standard_normal(rows),
            "heat": 20 + np.cos(t) + 0.1 * rng.standard_normal(rows),
        }
    ).round(4)
    if fault is not None:
        table.loc[fault:, "heat"] += 5
    return table


class Program:
    """`seqae` in this process, in a folder of its own."""

    def __init__(self, folder, capsys):
        self.folder, self._capsys, self.stderr = folder, capsys, ""

    def __call__(self, *arguments, code=0):
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            result = run([str(argument) for argument in arguments])
        finally:
            os.chdir(before)
        out, self.stderr = self._capsys.readouterr()
        assert result == code, self.stderr
        return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the series of pumps/ and today/, one faulty, and a fleet trained on pumps/ in runs/pumps."""
    folder = tmp_path_factory.mktemp("fleet")
    for place, rows, first in (("pumps", 200, 0), ("today", 60, 10)):
        (folder / place).mkdir()
        for number, name in enumerate(("north", "south", "east")):
            table = pump(first + number, rows, 50 if (place, name) == ("today", "south") else None)
            table.to_csv(folder / place / f"{name}.csv", index=False)
    assert run(["train", str(folder / "pumps"), "--each", *QUICK, "-q", "-o", str(folder / "runs" / "pumps")]) == 0
    return folder


@pytest.fixture
def program(trained, capsys):
    return Program(trained, capsys)


def test_train_each_gives_a_fleet_as_the_library_does(program):
    run = program.folder / "runs" / "pumps"
    assert sorted(path.name for path in run.iterdir()) == ["config.toml", "fleet.json", "models"]
    fleet = Fleet.load(run)
    assert list(fleet.detectors) == ["east", "north", "south"]
    today = read_table(program.folder / "today")
    for one in read_table(program.folder / "pumps"):
        alone = Detector(window=8, hidden=8, latent=2, alpha=0.05).fit(one, epochs=2, device="cpu")
        pd.testing.assert_frame_equal(alone.score(today[one.name]), fleet[one.name].score(today[one.name]))
    config = tomllib.loads((run / "config.toml").read_text())
    assert (config["each"], config["jobs"]) == (True, 1)


def test_score_takes_a_fleet_like_a_model(program):
    files = ["-o", "scores.csv", "--events", "events.csv", "--summary", "summary.csv"]
    program("score", "runs/pumps", "today", *files)
    fleet, today = Fleet.load(program.folder / "runs" / "pumps"), read_table(program.folder / "today")
    found = fleet.detect(today)
    scores = pd.read_csv(program.folder / "scores.csv")
    assert scores["series"].tolist() == [name for name in today.names for _ in range(60)]
    np.testing.assert_allclose(scores["score"], np.concatenate([one["score"] for one in found.scores.values()]))
    assert scores["is_anomaly"].tolist() == [flag for one in found.scores.values() for flag in one["is_anomaly"]]
    events = pd.read_csv(program.folder / "events.csv")
    assert events["series"].tolist() == found.events["series"].tolist()
    np.testing.assert_allclose(events["severity"], found.events["severity"])
    summary, expected = pd.read_csv(program.folder / "summary.csv"), summarise(fleet, found)
    assert list(summary) == list(expected)
    assert summary["series"].tolist() == expected["series"].tolist()
    assert summary["series"][0] == "south"
    assert summary["ongoing"].tolist() == expected["ongoing"].tolist()
    for name in ("severity", "flagged_share", "expected_share"):
        np.testing.assert_allclose(summary[name], expected[name])
    said = program.stderr.splitlines()
    assert said[-5].split() == [
        "series", "ongoing", "severity", "events", "peak", "last", "end", "channels", "flagged", "expected"
    ]  # fmt: skip
    assert said[-4].split()[:2] == ["south", "yes"]


def test_one_file_is_scored_by_the_model_of_its_name(program):
    scores = pd.read_csv(io.StringIO(program("score", "runs/pumps", "today/south.csv")))
    alone = Fleet.load(program.folder / "runs" / "pumps")["south"]
    expected = alone.score(read_table(program.folder / "today" / "south.csv"))
    np.testing.assert_allclose(scores["score"], expected["score"])
    assert "no data for 2 of 3 models: east, north" in program.stderr


def test_a_file_without_a_model_has_rows_without_score(program, tmp_path):
    for name in ("north", "west"):
        pump(5, 60).to_csv(tmp_path / f"{name}.csv", index=False)
    out = program("score", "runs/pumps", tmp_path, "--summary", tmp_path / "summary.out")
    scores = pd.read_csv(io.StringIO(out)).set_index("series")
    assert len(scores) == 120
    assert scores.loc["west", "score"].isna().all()
    assert scores.loc["north", "score"].notna().all()
    assert "no score for 1 of 2 series. west: there is no model of that name" in program.stderr
    summary = pd.read_csv(tmp_path / "summary.out").set_index("series")
    assert summary.loc["west", "note"].startswith("not scored: there is no model")
    assert summary.loc["east", "note"] == "no data for its model"
    program("score", "runs/pumps", tmp_path / "west.csv", code=2)
    assert "no score for any of 1 series" in program.stderr


def test_thresholds_are_set_anew_for_a_fleet(program):
    fleet, today = Fleet.load(program.folder / "runs" / "pumps"), read_table(program.folder / "today")
    options = (["--alpha", "0.2"], ["--calibrate", "today"], ["--calibrate", "today", "--threshold", "quantile"])
    anew = (lambda: fleet.calibrate(alpha=0.2), lambda: fleet.calibrate(today, alpha=0.05),
            lambda: fleet.calibrate(today, threshold="quantile"))  # fmt: skip
    for given, change in zip(options, anew, strict=True):
        scores = pd.read_csv(io.StringIO(program("score", "runs/pumps", "today", *given)))
        change()
        flags = [flag for one in fleet.score(today).values() for flag in one["is_anomaly"]]
        assert scores["is_anomaly"].tolist() == flags


def test_a_panel_model_is_summarised_likewise(program):
    program("train", "pumps", *QUICK, "--per-series", "-o", "runs/panel")
    program("score", "runs/panel", "today", "-o", "scores.csv", "--summary", "panel.csv")
    judge = Detector.load(program.folder / "runs" / "panel" / "model.safetensors")
    expected = summarise(judge, judge.detect(read_table(program.folder / "today")))
    summary = pd.read_csv(program.folder / "panel.csv")
    assert summary["series"].tolist() == expected["series"].tolist()
    np.testing.assert_allclose(summary["expected_share"], expected["expected_share"])
    assert program.stderr.splitlines()[-4].split()[0] == "south"
    program("score", "runs/panel", "today/south.csv", "-o", "scores.csv")
    assert "severity" not in program.stderr  # a single series needs no order


def test_detect_each_lists_the_events_of_the_rest(program):
    for name in ("north", "south"):
        (program.folder / "long").mkdir(exist_ok=True)
        pump(7, 300, 290 if name == "south" else None).to_csv(program.folder / "long" / f"{name}.csv", index=False)
    files = ["-o", "found.csv", "--scores", "all.csv", "--summary", "rest.csv", "--save", "kept"]
    program("detect", "long", "--each", "--train-rows", "240", *QUICK, *files)
    given = read_table(program.folder / "long")
    fleet = Fleet(window=8, hidden=8, latent=2, alpha=0.05)
    fleet.fit({one.name: one[:240] for one in given}, epochs=2, device="cpu")
    found = fleet.detect(given)
    late = found.events[found.events["end"] >= given["north"].index[240]]
    events = pd.read_csv(program.folder / "found.csv")
    assert events["series"].tolist() == late["series"].tolist()
    np.testing.assert_allclose(events["severity"], late["severity"])
    assert len(pd.read_csv(program.folder / "all.csv")) == 600
    summary = pd.read_csv(program.folder / "rest.csv").set_index("series")
    assert summary["rows"].tolist() == [60, 60]
    assert summary.index[0] == "south"
    for name in given.names:
        assert summary.loc[name, "flagged"] == found.scores[name]["is_anomaly"].iloc[240:].sum()
        assert summary.loc[name, "events"] == (late["series"] == name).sum()
    assert list(Fleet.load(program.folder / "kept").detectors) == ["north", "south"]


def test_a_series_that_fails_is_named_and_the_others_are_trained(program):
    (program.folder / "mixed").mkdir()
    pump(1).to_csv(program.folder / "mixed" / "long.csv", index=False)
    pump(2, 5).to_csv(program.folder / "mixed" / "short.csv", index=False)
    (program.folder / "mixed" / "empty.csv").touch()
    told = json.loads(program("train", "mixed", "--each", *QUICK, "--json", "-o", "runs/mixed"))
    assert "left out: empty.csv is empty" in program.stderr
    assert "no model for 1 of 2 series. short has 5 rows; window=8 needs at least 8" in program.stderr
    assert "  no model     1 series: short" in program.stderr
    assert list(told["series"]) == ["long"]
    assert told["failures"]["short"].startswith("short has 5 rows")
    assert len(pd.read_csv(io.StringIO(program("score", "runs/mixed", "mixed"))).query("series == 'long'")) == 200
    assert "left out: empty.csv is empty" in program.stderr
    program("train", "mixed", *QUICK, "-o", "runs/one", code=2)  # one model of all: a file that is none is no detail
    assert "empty.csv is empty" in program.stderr
    (program.folder / "mixed" / "long.csv").unlink()
    program("train", "mixed", "--each", *QUICK, "-o", "runs/none", code=2)
    assert "none of the 1 series could be trained on" in program.stderr
    assert not (program.folder / "runs" / "none").exists()


def test_a_run_takes_the_place_of_another_only_when_asked(program):
    pump(1).to_csv(program.folder / "one.csv", index=False)
    program("train", "pumps", "--each", *QUICK, "-o", "runs/swap")
    program("train", "one.csv", *QUICK, "-o", "runs/swap", code=2)
    assert "already holds a run" in program.stderr
    program("train", "one.csv", *QUICK, "-o", "runs/swap", "--overwrite")
    assert not (program.folder / "runs" / "swap" / "fleet.json").exists()
    assert not (program.folder / "runs" / "swap" / "models").exists()
    program("train", "pumps", "--each", *QUICK, "-o", "runs/swap", "--overwrite")
    assert len(Fleet.load(program.folder / "runs" / "swap")) == 3
    assert not (program.folder / "runs" / "swap" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "pumps", "--jobs", "2"], "--jobs trains several models at a time, and without --each there is one"),
        (["detect", "pumps", "--jobs", "2"], "--jobs trains several models at a time"),
        (["train", "pumps", "--each", "--resume", "-o", "runs/pumps"], "--resume goes on with a single model's run"),
        (["train", "pumps", "--each", "--from", "runs/pumps"], "--from goes on from a single model"),
        (["train", "pumps", "--each", "--jobs", "0"], "0 is not in the range x>=1"),
        (["encode", "runs/pumps", "today"], "holds a model for each series. Name one of them, in runs/pumps/models"),
        (["score", "runs/pumps", "today", "--summary", "runs"], "cannot write runs: it is a folder"),
        (
            ["score", "runs/pumps", "today/south.csv", "--chunk-rows", "9"],
            "--chunk-rows is for one model and one series",
        ),
        (["score", "runs/pumps", "today", "-o", "a.csv", "--summary", "a.csv"], "a.csv is named twice"),
    ],
)
def test_contradictions_are_refused_in_a_line(program, arguments, message):
    program(*arguments, code=2)
    assert message in " ".join(program.stderr.split())
    assert program.stderr.count("\n") == 1


def test_data_that_have_left_the_training_datas_range_are_named(program, tmp_path):
    for name in ("north", "south"):
        moved = pump(5, 60)
        moved["flow"] += 20 if name == "south" else 0
        moved.to_csv(tmp_path / f"{name}.csv", index=False)
    program("score", "runs/pumps", tmp_path, "-o", tmp_path / "out", "--summary", tmp_path / "summary.out")
    (said,) = [line for line in program.stderr.splitlines() if line.startswith("seqae: warning: south")]
    note = pd.read_csv(tmp_path / "summary.out", keep_default_na=False).set_index("series")["note"]
    assert said.removeprefix("seqae: warning: ") in " ".join(note["south"].split())
    assert note["north"] == ""


def test_info_tells_of_a_fleet(program):
    told = json.loads(program("info", "runs/pumps", "--json"))
    assert told == json.loads(json.dumps(Fleet.load(program.folder / "runs" / "pumps").describe()))
    assert "north" in program("info", "runs/pumps")


def test_models_without_a_threshold_give_scores_and_say_so(program):
    program("train", "pumps", "--each", *QUICK, "--score", "nll", "--calibration", "0", "-o", "runs/bare")
    scores = pd.read_csv(io.StringIO(program("score", "runs/bare", "today", "--summary", "bare.csv")))
    assert scores["score"].notna().all()
    assert scores["is_anomaly"].isna().all()
    assert "have no threshold: nothing is flagged" in program.stderr
    summary = pd.read_csv(program.folder / "bare.csv")
    assert summary["events"].tolist() == [0, 0, 0]
    assert summary["series"].tolist()[0] == "south"
    best = scores.loc[scores.groupby("series")["score"].idxmax()].set_index("series")
    for line in summary.itertuples():
        assert (line.score, line.peak) == (best.loc[line.series, "score"], best.loc[line.series, "time"])
    assert summary["channels"][0] == "heat"
    assert summary["note"].str.endswith("no threshold: nothing is flagged.").all()
    assert summary["flagged_share"].isna().all()
    header, first = program.stderr.splitlines()[-5:-3]
    assert header.split() == ["series", "score", "peak", "channels", "scored", "note"]
    assert first.split()[0] == "south"


def test_models_without_a_threshold_keep_their_reasons(program, tmp_path):
    program("train", "pumps", "--each", *QUICK, "--score", "nll", "--calibration", "0", "-o", "runs/reasons")
    for name in ("north", "south", "west"):
        moved = pump(5, 60)
        moved["flow"] += 20 if name == "north" else 0
        moved.to_csv(tmp_path / f"{name}.csv", index=False)
    program("score", "runs/reasons", tmp_path, "-o", tmp_path / "out", "--summary", tmp_path / "summary.out")
    summary = pd.read_csv(tmp_path / "summary.out").set_index("series")
    assert summary.index.tolist() == ["west", "east", "north", "south"]
    assert summary.loc["west", "note"].startswith("not scored: there is no model of that name")
    assert summary.loc["east", "note"] == "no data for its model"
    assert summary.loc["north", "note"].startswith("north is unlike the training data in 1 of 2 channels")
    assert summary.loc["south", "note"] == "no threshold: nothing is flagged."
