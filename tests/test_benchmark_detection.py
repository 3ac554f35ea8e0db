"""The detection benchmark: splits, baselines that find what is planted, failures that count, resuming, tables."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqae.errors import DataError

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
WINDOW = 20


@pytest.fixture(scope="module")
def modules():
    """The benchmark's modules, imported as the script does: from its own folder."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield {name: importlib.import_module(name) for name in ("labelled", "baselines", "standings", "detection")}
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def data(tmp_path):
    """A small copy of the layout of ../shared/data: two labelled series, four NAB files, one without labels."""
    for folder in ("labelled/ucr", "labelled/asd", "nab/data/real", "nab/labels"):
        (tmp_path / folder).mkdir(parents=True)
    wave = np.sin(np.arange(900) / 20 * 2 * np.pi)
    label = (np.arange(900) >= 700) & (np.arange(900) < 720)
    spoiled = np.where(label, 0.0, wave)
    pd.DataFrame({"value": spoiled, "label": label.astype(int)}).to_csv(
        tmp_path / "labelled/ucr/1_wave.csv.gz", index=False
    )
    gaps = np.where(np.arange(900) % 50 == 3, np.nan, wave)
    pd.DataFrame({"c00": gaps, "c01": spoiled, "label": label.astype(int)}).to_csv(
        tmp_path / "labelled/asd/two.csv.gz", index=False
    )
    index = "file,rows,channels,train_rows,anomalous_rows,note\n"
    index += "ucr/1_wave.csv.gz,900,1,500,20,x\nasd/two.csv.gz,900,2,500,20,y\n"
    (tmp_path / "labelled/index.csv").write_text(index)
    stamps = pd.date_range("2020-01-01", periods=1000, freq="5min")
    windows = {}
    for name, start in (("late", 600), ("early", 150), ("short", 60), ("calm", None)):
        frame = pd.DataFrame({"timestamp": stamps, "value": np.arange(1000.0)})
        frame.to_csv(tmp_path / f"nab/data/real/{name}.csv", index=False)
        given = [] if start is None else [[f"{stamps[start]}.000000", f"{stamps[start + 9]}.000000"]]
        windows[f"real/{name}.csv"] = given
    (tmp_path / "nab/labels/combined_windows.json").write_text(json.dumps(windows))
    return tmp_path


def toy(channels, seed=0):
    """Noisy waves (R + M, C), 600 rows to train on; one period at 900 is flat: its rows are returned too."""
    rows = np.arange(1200)
    noise = np.random.default_rng(seed).normal(0, 0.05, (1200, channels))
    values = np.sin(2 * np.pi * rows / WINDOW)[:, None] * np.arange(1, channels + 1) + noise
    values[900:920] = 0
    return values.astype(np.float32), slice(900, 920)


def line(case, method, seed, vus_pr, kind="classical", **more):
    measured = {"vus_pr": vus_pr, "vus_roc": 0.5, "ap": 0.1, "auroc": 0.5, "ucr_hit": 1.0 if case[0] == "u" else None}
    measured |= {"false_alarms": 10.0, "event_recall": 1.0, "window": 20, "vus_window": 30}
    about = {
        "case": case,
        "method": method,
        "seed": seed,
        "kind": kind,
        "made_with": "",
        "failure": None,
        "seconds": 2.0,
    }
    return about | measured | more


def failed(case, method, seed, reason, kind="peer"):
    bare = line(case, method, seed, None, kind, failure=reason)
    return {name: value for name, value in bare.items() if name not in ("vus_pr", "ap", "auroc", "vus_roc")}


# ---- data and splits ----


def test_keys_are_all_that_is_labelled_by_collection(modules, data):
    keys = modules["labelled"].keys(data)
    assert keys == ["ucr/1_wave", "nab/real/late", "nab/real/early", "nab/real/short", "asd/two"]
    assert modules["labelled"].keys(data, "nab/real/e") == ["nab/real/early"]


def test_the_train_part_is_the_index_s_or_nab_s_quarter_before_the_first_window(modules, data):
    load = modules["labelled"].load
    assert [load(key, data).train_rows for key in modules["labelled"].keys(data)] == [500, 250, 150, 60, 500]
    wave = load("ucr/1_wave", data)
    assert np.flatnonzero(wave.labels).tolist() == list(range(700, 720))
    assert wave.train.shape == (500, 1)
    assert wave.test.shape == (400, 1)
    assert wave.truth.sum() == 20
    late = load("nab/real/late", data)
    assert np.flatnonzero(late.labels).tolist() == list(range(600, 610))
    assert late.index[600] == pd.Timestamp("2020-01-03 02:00")
    two = load("asd/two", data)
    assert np.isnan(two.values[:, 0]).sum() == 18
    assert not np.isnan(two.values[:, 1]).any()


def test_a_train_part_that_is_too_short_is_an_error_not_a_gap_in_the_list(modules, data):
    short = modules["labelled"].load("nab/real/short", data)
    with pytest.raises(DataError, match="60 rows to train on"):
        short.require_train()
    with pytest.raises(DataError, match=r"absent.*README"):
        modules["labelled"].load("ucr/none", data)


def test_gaps_are_filled_by_the_last_known_value(modules):
    given = np.array([[np.nan, np.nan], [1, np.nan], [np.nan, np.nan], [3, np.nan]], dtype=np.float32)
    assert modules["labelled"].filled(given).tolist() == [[1, 0], [1, 0], [1, 0], [3, 0]]


# ---- baselines ----


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "method", ["window-PCA", "nearest window", "k-means", "k-means normalised", "isolation forest"]
)
def test_what_knows_windows_finds_a_flat_period(modules, method, channels):
    values, planted = toy(channels)
    fit = modules["baselines"].CLASSICAL[method]
    calibration, scores = modules["baselines"].scores_of(fit, values[:600], values[600:], WINDOW, 0)
    assert calibration.shape == (120,)
    assert scores.shape == (600,)
    assert not np.isnan(scores).any()
    assert planted.start - WINDOW <= 600 + np.argmax(scores) < planted.stop + WINDOW
    normal = np.r_[scores[: planted.start - 600 - 2 * WINDOW], scores[planted.stop - 600 + 2 * WINDOW :]]
    assert scores[planted.start - 600 : planted.stop - 600].mean() > normal.max()


PROFILE = """
import numpy as np
from baselines import matrix_profile
wave = np.sin(np.arange(170) / 3.1)[:, None] * [1, 2] + np.random.default_rng(0).normal(0, 0.05, (170, 2))
wave = np.c_[wave, np.full(170, 4.0)].astype(np.float32)  # a constant channel says nothing
wave[130:145] = wave[130]
rows, given = wave[:80], wave[80:]
scores = matrix_profile(rows, 12, 0)(given)

def normalised(window):
    return (window - window.mean()) / window.std() if window.std() > 1e-6 else np.zeros(len(window))

def distance(start, channel):
    own = normalised(given[start : start + 12, channel])
    return min(np.linalg.norm(own - normalised(rows[s : s + 12, channel])) for s in range(69))

each = np.array([(distance(start, 0) + distance(start, 1)) / 2 for start in range(79)])
naive = [each[max(0, t - 11) : t + 1].mean() for t in range(90)]
np.testing.assert_allclose(scores, naive, rtol=1e-3)
assert 40 <= scores.argmax() < 75, scores.argmax()
"""


def test_the_matrix_profile_is_the_naive_one():
    pytest.importorskip("stumpy")
    # interpreted: compiling all of it takes a minute
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    found = subprocess.run(
        [sys.executable, "-c", PROFILE], cwd=BENCHMARKS, env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr


def test_energy_is_the_smoothed_mean_square_of_standardised_values(modules):
    values, _ = toy(2)
    values[700] = 9
    scorer = modules["baselines"].energy(values[:480], 4, 0)
    known = values[:480].astype(float)
    z = ((values - known.mean(axis=0)) / known.std(axis=0)) ** 2
    own = z.mean(axis=1)
    expected = [own[max(0, t - 1) : t + 1].mean() for t in range(len(own))]
    assert scorer(values) == pytest.approx(expected, rel=1e-4)


def test_a_window_s_score_is_spread_over_its_steps_as_the_naive_loop_does(modules):
    module = modules["baselines"]
    generator = np.random.default_rng(3)
    for rows, window, step in ((30, 7, 1), (31, 7, 4), (7, 7, 3), (12, 5, 5)):
        starts = module.starts_of(rows, window, step)
        assert starts[0] == 0
        assert starts[-1] == rows - window
        each = generator.random(len(starts))
        cover = [[s for s, start in zip(each, starts, strict=True) if start <= t < start + window] for t in range(rows)]
        assert module.spread(each, starts, window, rows) == pytest.approx([np.mean(c) for c in cover])


def test_a_moving_mean_is_the_naive_one(modules):
    values = np.random.default_rng(4).random(23)
    for width in (1, 2, 5, 30):
        naive = [values[max(0, t - width // 2) : t - width // 2 + width].mean() for t in range(23)]
        assert modules["baselines"].moving_mean(values, width) == pytest.approx(naive)


def test_principal_directions_are_the_same_by_either_product(modules):
    generator = np.random.default_rng(5)
    wide = generator.normal(size=(12, 40)) * np.linspace(4, 0.1, 40)
    wide -= wide.mean(axis=0)
    directions = modules["baselines"].principal(wide, 0.8)
    assert directions @ directions.T == pytest.approx(np.eye(len(directions)), abs=1e-8)
    variance = np.linalg.svd(wide, compute_uv=False) ** 2
    count = int(np.searchsorted(np.cumsum(variance) / variance.sum(), 0.8)) + 1
    assert len(directions) == count
    explained = ((wide @ directions.T) ** 2).sum() / variance.sum()
    assert explained == pytest.approx(variance[:count].sum() / variance.sum())
    tall = modules["baselines"].principal(wide.T - wide.T.mean(axis=0), 0.8)
    assert tall @ tall.T == pytest.approx(np.eye(len(tall)), abs=1e-8)
    assert modules["baselines"].principal(np.zeros((5, 3)), 0.9).shape == (0, 3)


def test_the_fit_sees_neither_the_held_back_part_nor_the_test_part(modules):
    values, _ = toy(1)
    seen = []

    def fit(rows, window, seed):
        seen.append(rows)
        return lambda given: given[:, 0].astype(float)

    calibration, scores = modules["baselines"].scores_of(fit, values[:600], values[600:], WINDOW, 0)
    assert np.array_equal(seen[0], values[:480])
    assert np.array_equal(calibration, values[480:600, 0])
    assert np.array_equal(scores, values[600:, 0])


def test_the_conformal_threshold_is_exceeded_by_at_most_alpha(modules):
    threshold = modules["baselines"].conformal_threshold
    assert threshold(np.arange(1.0, 100.0), 0.01) == 99  # rank ceil(100 · .99) of 99
    assert threshold(np.arange(1.0, 200.0), 0.01) == 198
    assert threshold(np.arange(98.0), 0.01) == np.inf


def test_a_constant_channel_keeps_its_unit(modules):
    rows = np.c_[np.full(50, 7.0), np.arange(50)].astype(np.float32)
    scaled = modules["baselines"].Scale(rows)(np.array([[8, 24.5]], dtype=np.float32))
    assert scaled.tolist() == [[1.0, 0.0]]


# ---- running and resuming ----


@pytest.fixture
def runs(modules, data, tmp_path, monkeypatch):
    """Run the command over the small data in this process, with two methods; return the cache and the output."""
    detection, names = modules["detection"], modules["labelled"]
    monkeypatch.setattr(names, "DATA", data)
    for name in ("keys", "load"):
        function = getattr(names, name)
        monkeypatch.setattr(names, name, lambda *a, _f=function, **k: _f(*a, **{"data": data, **k}))
    detection.loaded.cache_clear()
    calls = []

    def broken(rows, window, seed):
        calls.append(seed)
        raise MemoryError("no room | at all")

    menu = {"random": modules["baselines"].random, "energy": modules["baselines"].energy, "broken": broken}
    monkeypatch.setattr(modules["baselines"], "CLASSICAL", menu)
    monkeypatch.setattr(detection, "OURS", {})
    monkeypatch.setattr(detection.peers, "PEERS", {})
    monkeypatch.setattr(detection, "warmed", lambda method: None)

    def here(jobs, workers, run_one, keep, died, told):
        for job in jobs:
            keep(run_one(job))

    monkeypatch.setattr(detection, "work", here)
    cache, output = tmp_path / "cache.jsonl", tmp_path / "out" / "detection.md"

    def command(*arguments):
        detection.main([*arguments, "--cache", str(cache), "--output", str(output), "--seeds", "2"])
        return [json.loads(text) for text in cache.read_text().splitlines()]

    return command, cache, output, calls


def test_every_series_and_method_has_a_line_and_failures_are_counted(runs):
    command, _, output, calls = runs
    lines = command()
    assert len(lines) == 5 * 4  # random twice, energy and broken once
    assert calls == [0] * 4  # the series that is too short fails before
    reasons = {text["case"]: text["failure"] for text in lines if text["method"] == "broken"}
    assert reasons["ucr/1_wave"] == "MemoryError: no room | at all"
    assert "60 rows to train on" in reasons["nab/real/short"]
    text = output.read_text()
    assert "20 runs, 8 failed, 0 not run" in text
    assert "| broken | ucr/1_wave | 0 | MemoryError: no room / at all |" in text
    assert "DataError: nab/real/short: 60 rows" in text
    assert len(pd.read_csv(output.with_name("detection-series.csv"))) == 5


def test_a_second_run_does_only_what_is_missing(runs, capsys):
    command, cache, _, calls = runs
    first = command("--methods", "energy", "--only", "ucr/")
    assert [(text["case"], text["method"]) for text in first] == [("ucr/1_wave", "energy")]
    assert first[0]["vus_pr"] > 0
    assert first[0]["ucr_hit"] in (0.0, 1.0)
    assert first[0]["unscored"] == 0
    cache.write_text(cache.read_text() + '{"case": "nab/re')  # interrupted while writing
    with pytest.raises(json.JSONDecodeError):
        command("--methods", "energy,broken")
    assert "is no JSON" in capsys.readouterr().err
    cache.write_text("".join(text + "\n" for text in cache.read_text().splitlines() if text.endswith("}")))
    assert len(command("--methods", "energy,broken")) == 1 + 4 + 5
    assert len(calls) == 4
    command("--methods", "broken", "--again")
    assert len(calls) == 8
    assert len(command("--table")) == 15


MORTAL = """
import os
from typing import NamedTuple

class Job(NamedTuple):
    case: str
    method: str
    seed: int
    max_time: float = 1.0

def run(job):
    if job.seed == 1:
        os._exit(9)
    return {"case": job.case, "method": job.method, "seed": job.seed, "failure": None, "vus_pr": 0.5, "seconds": 0.1}
"""


def test_a_process_that_dies_fails_its_own_job_alone(modules, tmp_path, monkeypatch):
    (tmp_path / "mortal.py").write_text(MORTAL)
    monkeypatch.syspath_prepend(tmp_path)
    mortal = importlib.import_module("mortal")
    lines = []
    jobs = [mortal.Job("ucr/a", "random", seed) for seed in range(4)]
    detection = modules["detection"]
    detection.work(jobs, 2, mortal.run, lines.append, detection.died, detection.told)
    failed = {found["seed"]: found["failure"] for found in lines}
    assert failed == {0: None, 1: "the process died", 2: None, 3: None}
    assert len(lines) == 4


def test_an_unknown_method_is_refused_by_name(runs):
    with pytest.raises(SystemExit, match=r"cannot run nothing\. Here are: random, energy, broken"):
        runs[0]("--methods", "nothing")


def test_a_run_that_takes_too_long_is_a_failure(modules, runs, monkeypatch):
    detection = modules["detection"]

    def endless(rows, window, seed):
        while True:
            pass

    monkeypatch.setitem(modules["baselines"].CLASSICAL, "endless", endless)
    found = detection.record(detection.Job("ucr/1_wave", "endless", 0, 1.0, 0.05))
    assert found["failure"] == "more than 0.05 s"


def test_rows_without_a_score_count_as_the_least_strange_and_are_not_flagged(modules, data):
    detection, case = modules["detection"], modules["labelled"].load("ucr/1_wave", data)
    scores = case.truth.astype(float)
    flags = np.ones(len(scores), dtype=bool)
    whole = detection.measure(detection.Outcome(scores, flags, 20, {"adaptive": case.truth}), case)
    assert (whole["false_alarms_adaptive"], whole["event_recall_adaptive"]) == (0, 1)
    assert whole["ap"] == 1
    assert whole["event_recall"] == 1
    assert whole["false_alarms"] == 1000
    assert whole["ucr_hit"] == 1
    scores[case.truth] = np.nan
    flags = case.truth.copy()
    hidden = detection.measure(detection.Outcome(scores, flags, 20), case)
    assert hidden["unscored"] == 20
    assert hidden["event_recall"] == 0
    assert hidden["auroc"] == 0.5
    with pytest.raises(ValueError, match="no row"):
        detection.measure(detection.Outcome(np.full(400, np.nan), flags, 20), case)


# ---- tables ----


LINES = [
    *(line("ucr/a", "random", seed, value) for seed, value in ((0, 0.1), (1, 0.3))),
    *(line("ucr/b", "random", seed, 0.2) for seed in (0, 1)),
    line("nab/c", "random", 0, 0.3),
    *(line(f"ucr/{case}", "seqae", seed, value, "ours") for case in "ab" for seed, value in ((0, 0.6), (1, 0.8))),
    line("nab/c", "seqae", 0, 0.5, "ours"),
    line("ucr/a", "their AE", 0, 0.9, "peer"),
    failed("ucr/b", "their AE", 0, "ValueError: nan"),
    line("nab/c", "their AE", 0, 0.6, "peer"),
    line("ucr/a", "energy", 0, 0.4),
    line("ucr/b", "energy", 0, 0.6),
    line("nab/c", "energy", 0, 0.4),
]


def test_ours_at_other_thresholds_is_told_by_collection(modules):
    more = {"false_alarms_adaptive": 4.0, "event_recall_adaptive": 0.5}
    found = modules["standings"].thresholds([*LINES, line("ucr/z", "seqae", 0, 0.7, "ours") | more])
    assert [row.split(" | ")[1] for row in found[2:]] == ["conformal", "adaptive"]
    assert found[3].split(" | ")[2] == "4.0, 0.50"
    assert modules["standings"].thresholds(LINES) == ["Not run."]


def test_a_failed_run_counts_as_chance_in_comparisons_and_not_in_the_mean_over_successes(modules):
    standings = modules["standings"]
    table = standings.frame(LINES)
    wide = standings.by_collection(table)
    assert wide.loc["their AE", "ucr"] == pytest.approx((0.9 + 0.2) / 2)
    assert wide.loc["seqae"].to_dict() == pytest.approx({"ucr": 0.7, "nab": 0.5, "mean": 0.6})
    assert list(wide.columns) == ["ucr", "nab", "mean"]
    assert next(iter(wide.index)) == "seqae"
    found = standings.rows(table[table["collection"] == "ucr"], {"energy": 3})
    assert found.loc["their AE", ["vus_pr", "failed", "runs"]].tolist() == [0.9, 1, 2]
    assert found.loc["energy", "not run"] == 3
    assert found.loc["seqae", "failed"] == 0
    assert found.loc["seqae", "±"] == pytest.approx(np.std([0.6, 0.8], ddof=1))
    assert np.isnan(found.loc["energy", "±"])


def test_a_method_that_only_failed_keeps_its_row(modules):
    standings = modules["standings"]
    table = standings.frame([line("ucr/a", "random", 0, 0.1), failed("ucr/a", "their AE", 0, "OSError: x")])
    found = standings.rows(table, {})
    assert found.loc["their AE", "failed"] == 1
    assert np.isnan(found.loc["their AE", "vus_pr"])
    assert standings.by_collection(table).loc["their AE", "ucr"] == pytest.approx(0.1)


def test_the_verdict_names_what_is_not_beaten(modules):
    text = modules["standings"].verdicts(modules["standings"].frame(LINES))
    assert text[2].startswith("| **seqae** | UCR | 0.700 | 0.200 | 0.500 |")
    assert "below window-PCA" in text[2]
    nab = text[3]
    assert "0.600 their AE" in nab
    assert nab.endswith("| below window-PCA, their AE |")
    full = [*LINES, *(line(case, "window-PCA", 0, 0.1) for case in ("ucr/a", "ucr/b", "nab/c"))]
    answers = [row.split(" | ")[-1] for row in modules["standings"].verdicts(modules["standings"].frame(full))[2:]]
    assert answers == ["yes |", "below their AE |", "yes |"]


def test_where_others_are_ahead_every_series_is_told(modules):
    text = modules["standings"].ahead(modules["standings"].frame(LINES))
    assert text == [
        "", "NAB:", "", "| series | **seqae** | their AE |", "|---|---|---|", "| nab/c | 0.500 | 0.600 |"
    ]  # fmt: skip
    without = [one for one in LINES if one["method"] != "their AE"]
    assert modules["standings"].ahead(modules["standings"].frame(without)) == ["", "In no group."]


def test_the_latest_line_of_a_run_counts(modules):
    table = modules["standings"].frame([line("ucr/a", "energy", 0, 0.1), line("ucr/a", "energy", 0, 0.7)])
    assert table["vus_pr"].tolist() == [0.7]


def test_the_files_say_what_is_missing_and_what_was_best_for_each_series(modules, tmp_path):
    expected = {(text["case"], text["method"], text["seed"]) for text in LINES}
    expected |= {("nab/c", "energy", 1), ("nab/c", "absent AE", 0)}
    made = {"ours": "{} max_time=20", "peer": "pyod 3.6", "classical": "classical"}
    lines = [text | {"made_with": made[text["kind"]]} for text in LINES]
    output = tmp_path / "detection.md"
    modules["standings"].write(output, lines, expected, ["absent AE", "their AE"], command="COMMAND", versions="V 1")
    text = output.read_text()
    assert "`COMMAND`" in text
    assert "V 1" in text
    assert "16 runs, 1 failed, 1 not run" in text
    assert "Not run at all: absent AE (not installed)." in text
    assert "V 1, pyod 3.6" in text
    assert "for every series: seqae: {} max_time=20." in text
    assert "| energy † | 0.500 | 0.400 | 0.450 |" in text
    assert "| their AE | ucr/b | 0 | ValueError: nan |" in text
    series = pd.read_csv(tmp_path / "detection-series.csv", index_col="series")
    assert list(series.index) == ["ucr/a", "ucr/b", "nab/c"]
    assert series.loc["ucr/a", ["seqae", "best peer", "best classical VUS-PR"]].tolist() == [0.7, "their AE", 0.4]
    assert series.loc["ucr/b", "failed runs"] == 1
    assert series.loc["ucr/b", "best peer VUS-PR"] == 0.2
