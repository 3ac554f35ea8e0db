from __future__ import annotations

import json
import os
import shlex
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest

from seqae.anomaly.metrics.evaluation import FLAG_METRICS, SCORE_METRICS, evaluate
from seqae.anomaly.metrics.vus import vus_window
from seqae.cli.evaluate import TITLES
from seqae.cli.main import run
from seqae.cli.output import write_table

ROWS = 600
STAMPS = pd.date_range("2024-03-15", periods=ROWS, freq="10min", name="timestamp")
NAB = Path(os.environ.get("SEQAE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "nab"


def example(seed=0):
    """Scores, flags, labels and values of one series."""
    draw = np.random.default_rng(seed)
    labels = np.zeros(ROWS, dtype=bool)
    labels[200 + seed : 230] = labels[450:460] = True
    values = np.stack([np.sin(np.arange(ROWS) / 6), np.cos(np.arange(ROWS) / 6)], axis=1).round(6)
    scores = (0.5 * labels + draw.random(ROWS)).round(6)
    return scores, scores > 1, labels, values


def scores_table(seed=0, *, stamps=True):
    scores, flags, _, _ = example(seed)
    first = {"timestamp": STAMPS} if stamps else {"row": range(ROWS)}
    return pd.DataFrame({**first, "score": scores, "p_value": 0.5, "is_anomaly": flags, "coverage": 3})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the tables that the examples name, as `seqae score` and a user write them."""
    monkeypatch.chdir(tmp_path)
    _, _, labels, values = example()
    write_table(scores_table(), Path("scores.csv"))
    stamps = STAMPS.astype(str)
    pd.DataFrame({"timestamp": stamps, "label": labels.astype(int)}).to_csv("labels.csv", index=False)
    pd.DataFrame({"timestamp": stamps, "x": values[:, 0], "y": values[:, 1]}).to_csv("today.csv", index=False)
    pd.DataFrame({"start": stamps[[200, 450]], "end": stamps[[229, 459]]}).to_csv("faults.csv", index=False)
    return tmp_path


def told(capsys, *words):
    capsys.readouterr()
    code = run(["evaluate", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def measured(capsys, *words):
    code, out, err = told(capsys, *words, "--json")
    assert code == 0, err
    return pd.DataFrame(json.loads(out)).set_index("method"), err


def check(found, expected):
    """The command's figures, rounded as they are written, are the library's."""
    names = [name for name in TITLES if name in expected.columns]
    assert set(names) <= set(found.columns)
    for method in expected.index:
        own = found.loc[method, names].astype(float).to_numpy()
        np.testing.assert_allclose(own, expected.loc[method, names].astype(float).to_numpy(), rtol=1e-8)


def test_the_figures_are_those_of_the_library(folder, capsys):
    scores, flags, labels, values = example()
    found, err = measured(capsys, "scores.csv", "--labels", "labels.csv", "--data", "today.csv")
    window = vus_window(values)
    assert window == 38
    check(found, evaluate(scores, labels, flags=flags, values=values))
    assert list(found.index) == ["score", "random", "energy"]
    assert (found["window"] == 38).all()
    assert (found["vus_variant"] == "TSB-AD").all()
    assert (found["window_from"] == "values").all()
    assert "margins of VUS up to 38 rows, the period of the values." in err


def test_intervals_numbers_and_json_give_the_same(folder, capsys):
    scores, flags, labels, _ = example()
    expected = evaluate(scores, labels, flags=flags, window=20)
    Path("numbers.csv").write_text("start,end\n200,229\n450,459\n")
    stamps = STAMPS.astype(str)
    pairs = [[stamps[200], stamps[229]], [stamps[450], stamps[459]]]
    Path("windows.json").write_text(json.dumps({"real/pump.csv": pairs, "real/fan.csv": []}))
    write_table(scores_table(), Path("scores.json"), as_json=True)
    write_table(scores_table(stamps=False), Path("rows.csv"))
    for words in (
        ("scores.csv", "--labels", "faults.csv"),
        ("scores.csv", "--labels", "numbers.csv"),
        ("scores.csv", "--labels", "windows.json", "--key", "pump"),
        ("scores.json", "--labels", "labels.csv"),
        ("rows.csv", "--labels", "labels.csv"),
        ("rows.csv", "--labels", "numbers.csv"),
    ):
        check(measured(capsys, *words, "--window", 20)[0], expected)


def test_numbers_beside_the_labels_are_the_values(folder, capsys):
    scores, flags, labels, values = example()
    table = pd.read_csv("today.csv").assign(fault=labels)
    table.to_csv("both.csv", index=False)
    found, _ = measured(capsys, "scores.csv", "--labels", "both.csv", "--label-column", "fault")
    check(found, evaluate(scores, labels, flags=flags, values=values))


def test_a_part_of_the_rows_is_measured(folder, capsys):
    scores, flags, labels, values = example()
    part = slice(300, 500)
    words = ("scores.csv", "--labels", "labels.csv", "--data", "today.csv", "--from-row", 300, "--to-row", 500)
    found, _ = measured(capsys, *words, "--window", 30, "--seed", 4)
    check(found, evaluate(scores[part], labels[part], flags=flags[part], values=values[part], window=30, seed=4))
    assert (found["rows"] == 200).all()


def test_rows_without_a_score_are_counted(folder, capsys):
    scores, flags, labels, _ = example()
    table = scores_table()
    table.loc[:49, ["score", "is_anomaly"]] = np.nan, False
    table = table.assign(is_anomaly=table["is_anomaly"].astype(bool))
    for name, as_json in (("cut.csv", False), ("cut.json", True)):
        write_table(table, Path(name), as_json=as_json)
        found, _ = measured(capsys, name, "--labels", "labels.csv", "--window", 10)
        check(found, evaluate(scores[50:], labels[50:], flags=flags[50:], window=10))
        assert (found["unscored"] == 50).all()
    assert "550 rows, 2 anomalies; 50 without a score left out" in told(capsys, "cut.csv", "--labels", "labels.csv")[1]


def test_any_table_with_scores_will_do(folder, capsys):
    scores, _, labels, _ = example()
    pd.DataFrame({"strange": scores}).to_csv("own.csv", index=False)
    found, _ = measured(capsys, "own.csv", "--labels", "labels.csv", "--score-column", "strange", "--window", 5)
    check(found, evaluate(scores, labels, window=5))
    assert "event_recall" not in found.columns


def test_the_text_names_the_variant_and_sets_baselines_beside_each_figure(folder, capsys):
    scores, flags, labels, values = example()
    code, out, _ = told(capsys, "scores.csv", "--labels", "labels.csv", "--data", "today.csv")
    assert code == 0
    lines = out.splitlines()
    expected = evaluate(scores, labels, flags=flags, values=values)
    assert lines[0] == "600 rows, 2 anomalies"
    assert lines[1].split() == ["score", "random", "energy"]
    assert lines[2] == f"{'VUS-PR (TSB-AD)':<38}" + "".join(f" {one:>9.4f}" for one in expected["vus_pr"])
    for line, title in zip(lines[2:], TITLES.values(), strict=False):
        assert line.startswith(title)
        assert len(line.removeprefix(title).split()) == 3
    assert "PA%20" not in "".join(lines[:-6])  # last of all, before the notes
    assert lines[-3] == "margins of VUS up to 38 rows, the period of the values."
    assert lines[-2].startswith("events: runs of flagged rows (is_anomaly); --events measures")
    assert lines[-1] == "UCR hit is undefined: it is for one anomaly, and there are 2"


def test_a_margin_that_comes_from_the_scores_is_said_to_and_can_be_set(folder, capsys):
    scores, *_ = example()
    _, out, _ = told(capsys, "scores.csv", "--labels", "labels.csv")
    assert f"margins of VUS up to {vus_window(scores)} rows" in out
    assert "to compare other scores with these, give --data, or the same --window to all." in out
    _, out, _ = told(capsys, "scores.csv", "--labels", "labels.csv", "--window", 17)
    assert "margins of VUS up to 17 rows, as given." in out
    found, _ = measured(capsys, "scores.csv", "--labels", "labels.csv")
    assert (found["window_from"] == "scores").all()


def test_listed_events_are_measured_in_place_of_runs(folder, capsys):
    scores, _, labels, _ = example()
    stamps = STAMPS.astype(str)
    # one narrow event in each anomaly, two side by side in none: a run would count these as one
    spans = np.array([[210, 213], [452, 454], [300, 303], [303, 305]])
    rows = pd.DataFrame({"event": range(1, 5), "start": stamps[spans[:, 0]], "end": stamps[spans[:, 1] - 1]})
    rows.to_csv("events.csv", index=False)
    Path("events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows.to_dict("records")))
    expected = evaluate(scores, labels, events=spans, window=20)
    assert (expected.loc["score", "event_precision"], expected.loc["score", "event_recall"]) == (0.5, 1.0)
    as_runs = np.zeros(ROWS, dtype=bool)
    for first, stop in spans:
        as_runs[first:stop] = True
    assert evaluate(scores, labels, flags=as_runs, window=20).loc["score", "event_precision"] == 2 / 3
    for name in ("events.csv", "events.jsonl"):
        found, _ = measured(capsys, "scores.csv", "--labels", "labels.csv", "--window", 20, "--events", name)
        check(found, expected)
        assert (found["events_from"] == name).all()
    found, _ = measured(
        capsys, "scores.csv", "--labels", "labels.csv", "--window", 20, "--events", "events.csv", "--to-row", 302
    )
    assert found.loc["score", "event_precision"] == 0.5
    assert (
        "events: those listed in events.csv"
        in told(capsys, "scores.csv", "--labels", "labels.csv", "--events", "events.csv")[1]
    )
    rows[:0].to_csv("none.csv", index=False)
    found, _ = measured(capsys, "scores.csv", "--labels", "labels.csv", "--window", 20, "--events", "none.csv")
    assert found.loc["score", "event_recall"] == 0


def test_every_metric_has_a_title():
    assert set(TITLES) == {name for menu in (SCORE_METRICS, FLAG_METRICS) for names in menu for name in names}


def test_the_table_is_written(folder, capsys):
    scores, flags, labels, _ = example()
    code, out, err = told(capsys, "scores.csv", "--labels", "labels.csv", "--window", 9, "-o", "quality.csv")
    assert (code, out) == (0, "")
    assert "VUS-PR (TSB-AD)" in err
    check(pd.read_csv("quality.csv").set_index("method"), evaluate(scores, labels, flags=flags, window=9))


def test_labels_without_an_anomaly_are_said_to_leave_nothing_to_measure(folder, capsys):
    pd.read_csv("labels.csv").assign(label=0).to_csv("none.csv", index=False)
    code, out, _ = told(capsys, "scores.csv", "--labels", "none.csv")
    assert code == 0
    assert "VUS is undefined: no row is labelled anomalous" in out
    assert [line.split()[-2:] for line in out.splitlines() if line.startswith("AUROC")] == [["-", "-"]]


# ---- several series ----


def test_events_of_several_series_are_told_apart(panel, capsys):
    stamps = STAMPS.astype(str)
    rows = pd.DataFrame({"series": "pump-1", "start": [stamps[205], stamps[300]], "end": [stamps[206], stamps[301]]})
    rows.to_csv("events.csv", index=False)
    found = by_series(capsys, "--labels", "long.csv", "--events", "events.csv")
    assert found["pump-1"].loc["score", ["event_precision", "event_recall"]].tolist() == [0.5, 0.5]
    assert found["pump-0"].loc["score", "event_recall"] == 0
    code, _, err = told(capsys, "scores.csv", "--labels", "labels.csv", "--events", "events.csv")
    assert code == 0, err
    rows.assign(series=["pump-0", "pump-1"]).to_csv("two.csv", index=False)
    code, _, err = told(capsys, "scores.csv", "--labels", "labels.csv", "--events", "two.csv")
    assert code == 2
    assert "two.csv lists events of 2 series, the scores are of one" in err


@pytest.fixture
def panel(folder):
    """Scores of two series, the second without an anomaly in its labels."""
    both = pd.concat([scores_table(seed).assign(series=f"pump-{seed}") for seed in (0, 1)], ignore_index=True)
    write_table(both[["series", *both.columns[:-1]]], Path("panel.csv"))
    parts = []
    for seed in (1, 0):
        _, _, labels, values = example(seed)
        frame = pd.DataFrame({"series": f"pump-{seed}", "timestamp": STAMPS.astype(str), "x": values[:, 0]})
        parts.append(frame.assign(label=labels.astype(int)))
    pd.concat(parts).to_csv("long.csv", index=False)
    return folder


def by_series(capsys, *words):
    code, out, err = told(capsys, "panel.csv", *words, "--json")
    assert code == 0, err
    table = pd.DataFrame(json.loads(out))
    return {name: part.set_index("method") for name, part in table.groupby("series")}


def test_each_series_has_its_result_and_all_have_a_mean(panel, capsys):
    found = by_series(capsys, "--labels", "long.csv")
    assert list(found) == ["(mean)", "pump-0", "pump-1"]
    expected = {}
    for seed in (0, 1):
        scores, flags, labels, values = example(seed)
        expected[seed] = evaluate(scores, labels, flags=flags, values=values[:, :1])
        check(found[f"pump-{seed}"], expected[seed])
    metrics = [name for name in TITLES if name != "ucr_hit"]
    mean = (expected[0][metrics] + expected[1][metrics]) / 2
    check(found["(mean)"], mean)
    assert (found["(mean)"]["rows"] == 2 * ROWS).all()


def test_folders_and_json_have_the_series_by_name(panel, capsys):
    Path("data").mkdir()
    for name, part in pd.read_csv("long.csv").groupby("series"):
        part.drop(columns="series").to_csv(f"data/{name}.csv", index=False)
    stamps = STAMPS.astype(str)
    pairs = {f"x/pump-{seed}.csv": [[stamps[200 + seed], stamps[229]], [stamps[450], stamps[459]]] for seed in (0, 1)}
    Path("windows.json").write_text(json.dumps(pairs))
    expected = by_series(capsys, "--labels", "long.csv")
    for words in (["--labels", "data"], ["--labels", "windows.json", "--data", "data"]):
        found = by_series(capsys, *words)
        for name, table in expected.items():
            check(found[name], table)


def test_the_mean_is_over_the_series_that_have_an_anomaly(panel, capsys):
    Path("faults.csv").write_text("series,start,end\npump-0,200,229\npump-0,450,459\n")
    found = by_series(capsys, "--labels", "faults.csv", "--window", 9)
    assert found["pump-1"]["vus_pr"].isna().all()
    assert found["(mean)"]["vus_pr"].equals(found["pump-0"]["vus_pr"])
    assert (found["(mean)"]["note"] == "of 2 series, 1 with a VUS").all()
    code, out, _ = told(capsys, "panel.csv", "--labels", "faults.csv", "--window", 9)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "VUS-PR (TSB-AD) of each series"
    assert lines[3].split() == ["pump-1", "-", "-", "0"]
    assert lines[5] == "mean over the series, where defined"


def test_series_go_by_another_column(panel, capsys):
    pd.read_csv("panel.csv").rename(columns={"series": "pump"}).to_csv("other.csv", index=False)
    pd.read_csv("long.csv").rename(columns={"series": "pump"}).to_csv("marks.csv", index=False)
    code, out, err = told(capsys, "other.csv", "--labels", "marks.csv", "--id", "pump", "--json")
    assert code == 0, err
    assert {row["series"] for row in json.loads(out)} == {"pump-0", "pump-1", "(mean)"}


# ---- mistakes ----


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("none.csv --labels labels.csv", "There is no file none.csv"),
        ("scores.csv --labels none.csv", "There is no file none.csv"),
        ("scores.csv --labels none.csv -o no/out.csv", "There is no file none.csv"),
        ("scores.csv --labels labels.csv --events none.csv", "There is no file none.csv"),
        ("scores.csv --labels labels.csv --events labels.csv", "labels.csv has no column 'start'"),
        ("scores.csv --labels labels.csv --data none.csv", "There is no file none.csv"),
        ("scores.csv", "Missing option '--labels'"),
        ("labels.csv --labels labels.csv", "no column 'score'. Name it with --score-column; the columns are"),
        ("scores.csv --labels today.csv", "no column that looks like labels"),
        ("scores.csv --labels labels.csv --label-column x", "no column 'x'"),
        ("scores.csv --labels labels.csv --key x", "no key 'x'"),
        ("scores.csv --labels labels.csv --from-row 600", "none from 600. Correct"),
        ("scores.csv --labels labels.csv --id pump", "no column 'pump' for --id"),
        ("scores.csv --labels short.csv", "no row for 500 of 600"),
        ("scores.csv --labels short.csv --no-time", "100 rows for 600 scores"),
        ("scores.csv --labels labels.csv --time a --no-time", "contradict"),
        ("scores.csv --labels labels.csv --time a", "no column 'a'"),
        ("scores.csv --labels labels.csv --window -1", "Invalid value for '--window'"),
        ("scores.csv --labels labels.csv --score-column timestamp", "does not hold numbers"),
        ("scores.csv --labels labels.csv -o scores.csv", "named twice"),
        ("scores.csv --labels far.csv", "no scored row lies in an interval"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(folder, capsys, words, message):
    pd.read_csv("labels.csv").head(100).to_csv("short.csv", index=False)
    Path("far.csv").write_text("start,end\n2020-01-01,2020-01-02\n")
    code, out, err = told(capsys, *words.split())
    assert (code, out) == (2, "")
    assert message in err
    assert len([line for line in err.splitlines() if line.startswith("seqae: error: ")]) == 1


def test_the_examples_run_as_they_stand(folder, capsys):
    command = import_module("seqae.cli.evaluate").command
    text = command.get_help(click.Context(command, info_name="seqae evaluate"))
    lines = [line.strip() for line in text.split("\nExamples:\n")[1].splitlines() if line.strip()]
    assert len(lines) == 2
    for line in lines:
        program, name, *words = shlex.split(line)
        assert (program, name) == ("seqae", "evaluate")
        target = words[words.index(">") + 1 :] if ">" in words else []
        code, out, err = told(capsys, *words[: len(words) - 2 * len(target)])
        assert code == 0
        assert "warning" not in err
        assert len(json.loads(out)) == 3 if target else "VUS-PR (TSB-AD)" in out


def test_a_file_of_nab_with_its_own_labels(tmp_path, monkeypatch, capsys):
    file, labels = NAB / "data/realKnownCause/nyc_taxi.csv", NAB / "labels/combined_windows.json"
    if not file.is_file() or not labels.is_file():
        pytest.skip(f"{file} or {labels} is not there")
    monkeypatch.chdir(tmp_path)
    table = pd.read_csv(file)
    table.assign(score=table["value"].sub(table["value"].mean()).abs()).drop(columns="value").to_csv(
        "s.csv", index=False
    )
    found, _ = measured(capsys, "s.csv", "--labels", labels, "--key", "nyc_taxi", "--data", file)
    assert (found["rows"] == 10320).all()
    assert (found["anomalies"] == 5).all()
    assert (found["window"] == vus_window(table["value"])).all()
    inside = sum(
        table["timestamp"].between(start[:19], end[:19]).sum()
        for start, end in json.loads(labels.read_text())["realKnownCause/nyc_taxi.csv"]
    )
    assert found.loc["random", "average_precision"] == pytest.approx(inside / 10320, abs=0.01)
