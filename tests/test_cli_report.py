from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqae import Detector, read_csv
from seqae.anomaly.fleets.fleet import Fleet
from seqae.cli.main import run

pytestmark = pytest.mark.filterwarnings("ignore::seqae.errors.SeqaeWarning")


def table(rows=1500, seed=0, machine="a") -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    flow = np.sin(2 * np.pi * np.arange(rows) / 24) + 0.1 * draw.normal(size=rows)
    fault = np.zeros(rows, int)
    if seed:
        flow[700:712] += 4
        fault[700:712] = 1
    stamps = pd.date_range("2024-03-04", periods=rows, freq="10min")
    return pd.DataFrame({"timestamp": stamps, "flow": flow.round(4), "fault": fault, "machine": machine})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("report")
    table().drop(columns=["fault", "machine"]).to_csv(place / "normal.csv", index=False)
    table(seed=1).drop(columns="machine").to_csv(place / "today.csv", index=False)
    both = pd.concat([table(seed=1, machine="a"), table(seed=2, machine="b")])
    both.drop(columns="fault").to_csv(place / "machines.csv", index=False)
    detector = Detector(window=32, hidden=8, latent=2, scorer="nll")
    detector.fit(read_csv(place / "normal.csv"), epochs=2, seed=0).save(place / "model.safetensors")
    return place


@pytest.fixture
def program(folder, capsys, monkeypatch):
    def call(*arguments: object, code: int = 0) -> str:
        monkeypatch.chdir(folder)
        assert run([str(argument) for argument in arguments]) == code
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return said.err

    return call


def payload(path: Path) -> dict:
    return json.loads(re.search(r'id="report-data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL).group(1))


def test_a_page_with_the_events_that_detect_finds(program, folder):
    said = program(
        "report", "model.safetensors", "today.csv", "-o", "today.html", "--drop", "fault", "--title", "<A&B>"
    )
    detector = Detector.load(folder / "model.safetensors")
    found = detector.detect(read_csv(folder / "today.csv", drop=["fault"]))
    told = payload(folder / "today.html")
    assert len(told["events"]) == len(found.events) > 0
    assert told["labelled"] is None
    assert f"1500 rows and {len(found.events)} events reported in today.html" in said
    text = (folder / "today.html").read_text("utf-8")
    assert "<h1>&lt;A&amp;B&gt;</h1>" in text
    assert "<code>model.safetensors</code>" in text
    assert "<code>today.csv</code>" in text


def test_labels_and_another_threshold(program, folder):
    program("report", "model.safetensors", "today.csv", "-o", "labelled.html", "--label", "fault", "--alpha", "0.05")
    told = payload(folder / "labelled.html")
    first = pd.Timestamp("2024-03-04").value / 1e6
    assert told["labelled"] == [[first + 600_000 * 699.5], [first + 600_000 * 711.5]]
    detector = Detector.load(folder / "model.safetensors").calibrate(alpha=0.05)
    assert told["score"]["threshold"] == detector.calibration.threshold.value
    assert "Against the labels" in (folder / "labelled.html").read_text("utf-8")


def test_one_series_of_a_panel(program, folder):
    arguments = ["report", "model.safetensors", "machines.csv", "--id", "machine", "-o", "b.html"]
    assert "Name one of them with --series: a, b" in program(*arguments, code=2)
    assert not (folder / "b.html").exists()
    program(*arguments, "--series", "b")
    assert "<h1>b</h1>" in (folder / "b.html").read_text("utf-8")


def test_one_series_of_a_fleet(program, folder):
    (folder / "pumps").mkdir()
    for number, name in enumerate(("north", "south")):
        table(seed=number).drop(columns=["fault", "machine"])[:600].to_csv(
            folder / "pumps" / f"{name}.csv", index=False
        )
    quick = ("--window", 16, "--hidden", 8, "--latent", 2, "--score", "nll", "--epochs", 1, "-q")
    program("train", "pumps", "--each", *quick, "-o", "fleet")
    said = program("report", "fleet", "pumps", "-o", "one.html", code=2)
    assert "holds a model for each series. Name one of its 2 with --series: north, south." in said
    said = program("report", "fleet", "pumps", "--series", "west", "-o", "one.html", code=2)
    assert "no model for a series 'west'. Name one of its 2 with --series: north, south." in said
    assert not (folder / "one.html").exists()
    program("report", "fleet", "pumps", "--series", "south", "-o", "south.html")
    own = Fleet.load(folder / "fleet")["south"]
    assert payload(folder / "south.html")["score"]["threshold"] == own.calibration.threshold.value
    program("report", "fleet", "pumps/south.csv", "-o", "file.html")  # its name says whose it is
    assert payload(folder / "file.html") == payload(folder / "south.html")
    (folder / "pumps" / "south.csv").rename(folder / "renamed.csv")
    program("report", "fleet", "renamed.csv", "--series", "south", "-o", "named.html")
    assert payload(folder / "named.html") == payload(folder / "south.html")
    program("report", "model.safetensors", "renamed.csv", "--series", "zz", "-o", "no.html", code=2)
    program("report", "fleet", "pumps", "--series", "north", "--calibrate", "pumps", "--alpha", "0.1", "-o", "new.html")
    north = Fleet.load(folder / "fleet")["north"].calibrate(read_csv(folder / "pumps" / "north.csv"), alpha=0.1)
    assert payload(folder / "new.html")["score"]["threshold"] == north.calibration.threshold.value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.csv", "-o", "nowhere/today.html"), "There is no file missing.csv"),
        (("today.csv", "-o", "today.png"), "Give a name that ends with .html"),
        (("today.csv", "-o", "nowhere/today.html"), "there is no folder nowhere"),
        (("today.csv",), "Missing option '-o'"),
        (("missing.csv", "-o", "x.html"), "missing.csv"),
        ((), "Missing option"),
        (("-o", "x.html"), "no DATA is named"),
        (("today.csv", "-o", "x.html", "--level", "1.5"), "--level"),
    ],
)
def test_mistakes_are_told_in_one_line_and_leave_nothing(program, folder, arguments, message):
    said = program("report", "model.safetensors", *arguments, code=2)
    assert message in said
    assert len(said.strip().splitlines()) == 1
    assert not (folder / "x.html").exists()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
