from __future__ import annotations

import contextlib
import gzip
import inspect
import io
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
import torch

from seqae import Detector, read_csv
from seqae.anomaly.detector import SCORER
from seqae.anomaly.fusion import FUSIONS
from seqae.anomaly.scoring import MODES, SCORERS
from seqae.anomaly.thresholds.rules import THRESHOLDS
from seqae.cli.main import COMMANDS, run
from seqae.cli.output import fresh_run_folder, replaced
from seqae.errors import OptionError, SeqaeWarning, TrainingError
from seqae.models import MODELS
from seqae.nn.decoders import DECODERS
from seqae.nn.likelihoods import LIKELIHOODS
from seqae.nn.recurrence import CELLS
from seqae.scaling import SCALINGS
from seqae.training.checkpoints import read_safetensors

QUICK = ["--epochs", "2", "--window", "16", "--hidden", "8", "--latent", "2"]


def pump(rows=600, seed=0, start="2024-03-04", gap=0) -> pd.DataFrame:
    """Telemetry with a daily shape, every ten minutes; `gap` rows are missing in the middle."""
    draw = np.random.default_rng(seed)
    day = 2 * np.pi * np.arange(rows) / 144
    table = pd.DataFrame(
        {
            "timestamp": pd.date_range(start, periods=rows, freq="10min").strftime("%Y-%m-%dT%H:%M:%S"),
            "temperature": (20 + 3 * np.sin(day) + 0.2 * draw.normal(size=rows)).round(3),
            "pressure": (4 + np.cos(2 * day) + 0.1 * draw.normal(size=rows)).round(3),
            "flow": (7 + np.sin(day) * np.cos(day) + 0.1 * draw.normal(size=rows)).round(3),
        }
    )
    return table.drop(index=range(rows // 2, rows // 2 + gap))


class Program:
    """`seqae` in this process, in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys

    def __call__(self, *arguments: object, code: int = 0) -> str:
        """Run a command and return its stdout; `self.stderr` keeps what it said."""
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            result = run([str(argument) for argument in arguments])
        finally:
            os.chdir(before)
        out, self.stderr = self._capsys.readouterr()
        assert result == code, self.stderr
        assert "Traceback" not in self.stderr
        return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with pump.csv, today.csv (with a gap and a fault) and a CVAE trained on pump.csv in runs/pump."""
    folder = tmp_path_factory.mktemp("trained")
    pump().to_csv(folder / "pump.csv", index=False)
    today = pump(200, seed=1, start="2024-03-11", gap=7)
    today.loc[50:60, "pressure"] += 4
    today.to_csv(folder / "today.csv", index=False)
    options = ["--model", "CVAE", "--decoder_type", "repeat_latent", "-o", str(folder / "runs/pump"), "-q"]
    assert run(["train", str(folder / "pump.csv"), *QUICK, *options]) == 0
    return folder


@pytest.fixture
def program(trained, capsys):
    return Program(trained, capsys)


@pytest.fixture
def fresh(tmp_path, capsys):
    pump().to_csv(tmp_path / "pump.csv", index=False)
    return Program(tmp_path, capsys)


def table(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


def command_of(name: str) -> click.Command:
    return import_module(f"seqae.cli.{name.replace('-', '_')}").command


# ---- the program as a whole ----


def test_help_and_version_load_nothing_heavy():
    heavy = "{'torch', 'pandas', 'numpy', 'numba', 'matplotlib', 'scipy', 'sklearn'}"
    for option in ("--help", "--version"):
        code = (
            f"import sys; from seqae.cli.main import run; assert run(['{option}']) == 0; "
            f"print(sorted({heavy} & set(sys.modules)))"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name):
    command = command_of(name)
    assert command.name == name
    first = inspect.cleandoc(command.help or "").splitlines()[0]
    assert COMMANDS[name] == first


def test_without_a_command_the_list_of_commands_is_shown(program):
    assert program() == program("--help")
    for name in COMMANDS:
        assert f"  {name} " in program()


@pytest.mark.parametrize("name", ["train", "detect"])
def test_choices_are_the_menus_and_defaults_the_library_s_own(name):
    options = {parameter.name: parameter for parameter in command_of(name).params}
    menus = {"model": MODELS, "cell": CELLS, "decoder_type": DECODERS, "likelihood": LIKELIHOODS}
    menus |= {"mode": MODES, "threshold": THRESHOLDS, "scaling": SCALINGS, "fusion": FUSIONS}
    for option, menu in menus.items():
        assert list(options[option].type.choices) == list(menu)
    assert list(options["scorer"].type.of) == list(SCORERS)
    for function in (Detector, Detector.fit):
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name not in {"self", "data", "log_dir", "resume", "progress", "warm_start"}:
                assert options[parameter.name].default == parameter.default, parameter.name
    assert {"--decoder_type", "--decoder-type"} <= set(options["decoder_type"].opts)
    assert "[default: repeat_latent]" in " ".join(command_of(name).get_help(click.Context(command_of(name))).split())


@pytest.mark.parametrize("option", ["--learning-rate", "--learning_rate"])
def test_long_options_are_written_with_either_mark(fresh, option):
    fresh("train", "pump.csv", *QUICK, f"{option}=0.002", "-o", "run")
    assert tomllib.loads((fresh.folder / "run/config.toml").read_text())["learning_rate"] == 0.002


@pytest.mark.parametrize(
    ("problem", "code", "line"),
    [
        (OptionError("no such thing. Use another."), 2, "seqae: error: no such thing. Use another.\n"),
        (TrainingError("the loss is\nnot finite."), 1, "seqae: error: the loss is not finite.\n"),
        (KeyboardInterrupt(), 130, "seqae: error: interrupted.\n"),
        (OSError(28, "No space left on device", "x.csv"), 1, "seqae: error: x.csv: No space left on device.\n"),
        (MemoryError(), 1, "seqae: error: out of memory."),
        (ZeroDivisionError("what"), 1, "seqae: error: unexpected ZeroDivisionError: what. Run again with --debug"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_every_failure_is_one_line_and_an_exit_code(program, monkeypatch, problem, code, line):
    def fail(*_, **__):
        raise problem

    monkeypatch.setattr("seqae.cli.info.load", fail)
    monkeypatch.setattr("seqae.cli.main._silence_stdout", lambda: None)
    assert program("info", "runs/pump", code=code) == ""
    assert program.stderr.lstrip("\n").startswith(line)
    assert program.stderr.strip("\n").count("\n") == 0


def test_verbose_says_what_was_read_and_what_computed(fresh):
    pump(400, gap=4).to_csv(fresh.folder / "gap.csv", index=False)
    fresh("-v", "train", "gap.csv", *QUICK, "-o", "run")
    assert "read gap: 400 rows, one every 10min, 1.0% of the values of temp" in fresh.stderr
    assert "gap: 4 steps of its time axis have no row" in fresh.stderr
    assert f"weights on cpu ({torch.get_num_threads()} threads)" in fresh.stderr


def test_debug_shows_the_traceback(program, capsys):
    for arguments in (["--debug", "info", "nowhere"], ["info", "nowhere", "--debug"]):
        assert run(arguments) == 2
        assert "Traceback" in capsys.readouterr().err


def test_warnings_are_one_line_each_and_said_once(program, monkeypatch):
    def load(*_):
        import warnings

        for _ in range(2):
            warnings.warn("two\nlines", SeqaeWarning, stacklevel=1)
        raise OptionError("over.")

    monkeypatch.setattr("seqae.cli.info.load", load)
    program("info", "runs/pump", code=2)
    assert program.stderr == "seqae: warning: two lines\nseqae: error: over.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "none", "pump.csv", "-o", "no/out.csv"),
        ("score", "runs/pump", "none.csv", "--summary", "no/out.csv"),
        ("score", "runs/pump", "pump.csv", "--calibrate", "none.csv", "-o", "no/out.csv"),
        ("detect", "none.csv", "-o", "no/out.csv"),
        ("train", "none.csv", "-o", "runs/pump"),
        ("plot", "runs/pump", "none.csv", "-o", "no/out.png"),
        ("encode", "none", "pump.csv", "-o", "no/out.csv"),
        ("reconstruct", "runs/pump", "none.csv", "-o", "no/out.csv"),
        ("sample", "none", "-o", "no/out.csv"),
    ],
)
def test_a_missing_input_is_told_before_what_is_wrong_with_an_output(program, arguments):
    program(*arguments, code=2)
    assert "here is no file none" in program.stderr
    assert program.stderr.count("\n") == 1


# ---- train ----


def test_train_tells_what_it_did_and_leaves_a_run_folder(fresh):
    out = fresh("train", "pump.csv", *QUICK, "--model", "CVAE", "-o", "runs/new")
    assert out == ""
    said = fresh.stderr
    assert "CVAE (lstm, repeat_latent) trained on pump" in said
    assert "600 rows of 3 channels (temperature, pressure, flow), 2024-03-04 00:00:00 to 2024-03-08 03:50:00" in said
    assert "420 fit, 60 validation, 120 calibration\n  window       16 steps\n" in said
    assert "2 in " in said
    assert "nats per value (validation" in said
    folder = fresh.folder / "runs/new"
    names = {"model.safetensors", "last.safetensors", "metrics.jsonl", "tensorboard", "config.toml"}
    assert {path.name for path in folder.iterdir()} == names
    assert [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    detector = Detector.load(folder / "model.safetensors")
    assert detector.preparation.conditions.names == ("minute_sin", "minute_cos", "hour_sin", "hour_cos")
    assert detector.training_data["rows"] == 600


def test_train_json_is_what_info_tells(fresh):
    told = json.loads(fresh("train", "pump.csv", *QUICK, "-o", "run", "--json"))
    assert told.pop("model_file") == "run/model.safetensors"
    assert told.pop("folder") == "run"
    assert told == json.loads(fresh("info", "run", "--json"))
    assert told["threshold"]["method"] == "conformal"
    text = fresh("info", "run/model.safetensors")
    titles = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert titles == [
        "VAE (lstm, repeat_latent) of temperature, pressure, flow",
        "Model",
        "Training",
        "Score",
        "Threshold",
        "Drift",
    ]
    assert "  window         16 steps of 10min: as given\n" in text
    threshold, low = told["threshold"], Detector.load(fresh.folder / "run/model.safetensors").preparation.reference
    assert f"  value          {threshold['value']:.4g} (conformal, alpha " in text
    assert f"{100 * threshold['false_alarm_rate']:.3g} % of normal rows are flagged, about " in text
    assert f"{100 * threshold['rate_interval'][1]:.3g} % of as many new normal rows (90 %)" in text
    for name, weight in zip(told["fusion"]["names"], told["fusion"]["weights"], strict=True):
        assert any(line.split()[-3:] == [name, "weight", f"{weight:.2g}"] for line in text.splitlines())
    assert f"temperature  {low.channels['temperature'].mean:.4g}" in " ".join(text.split()).replace(
        "temperature ", "temperature  "
    )
    shown = text.splitlines()
    assert ["sha256", told["training_data"]["sha256"]] in [line.split() for line in shown]


def test_the_configuration_of_a_run_makes_the_same_model_and_flags_win(fresh):
    options = ["--condition", "calendar,flow", "--columns", "temperature,pressure", "--clip", "off", "--score", "nll"]
    fresh("train", "pump.csv", *QUICK, "--model", "CVAE", *options, "--seed", "3", "-o", "one")
    fresh("train", "--config", "one/config.toml", "-o", "two")
    fresh("train", "--config", "one/config.toml", "--seed", "4", "-o", "three")
    weights = [read_safetensors(fresh.folder / name / "model.safetensors")[0] for name in ("one", "two", "three")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not all(torch.equal(weights[0][key], weights[2][key]) for key in weights[0])
    one, two, three = (
        tomllib.loads((fresh.folder / name / "config.toml").read_text()) for name in ("one", "two", "three")
    )
    assert one == two == three | {"seed": 3}
    assert one["condition"] == ["calendar", "flow"]
    assert one["clip"] == "off"
    assert Detector.load(fresh.folder / "two/model.safetensors").preparation.channels == ("temperature", "pressure")


def test_a_resumed_run_equals_one_that_was_never_stopped(fresh):
    fresh("train", "pump.csv", *QUICK, "-o", "whole", "--epochs", "4")
    fresh("train", "pump.csv", *QUICK, "-o", "parts")
    fresh("train", "-o", "parts", "--resume", "--epochs", "4")
    whole, parts = (read_safetensors(fresh.folder / name / "model.safetensors")[0] for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert tomllib.loads((fresh.folder / "parts/config.toml").read_text())["epochs"] == 4


def test_without_data_the_bundled_series_is_taken_with_its_calendar_and_without_its_labelled_rows(fresh):
    fresh("train", "--epochs", "1", "--hidden", "8", "-q")
    assert fresh.stderr == ""
    detector = Detector.load(fresh.folder / "runs/elnino/model.safetensors")
    assert detector.options["model"] == "CVAE"
    assert detector.preparation.conditions.names == ("month_sin", "month_cos")
    assert detector.window == 24
    config = tomllib.loads((fresh.folder / "runs/elnino/config.toml").read_text())
    assert config["labelled"] == "exclude"
    assert "data" not in config
    scores = table(fresh("score", "runs/elnino"))
    assert list(scores["date"].iloc[[0, -1]]) == ["1950-01-01", "2010-12-01"]
    assert len(scores) == 732


def test_a_run_is_replaced_only_when_asked_and_only_by_a_complete_one(fresh):
    fresh("train", "pump.csv", *QUICK, "-o", "run")
    (fresh.folder / "run/notes.txt").write_text("mine")

    def files():
        paths = (path for path in (fresh.folder / "run").rglob("*") if path.is_file())
        return {path.relative_to(fresh.folder): path.read_bytes() for path in paths}

    before = files()
    fresh("train", "pump.csv", *QUICK, "-o", "run", code=2)
    assert "already holds a run" in fresh.stderr
    fresh("train", "nothing.csv", *QUICK, "-o", "run", "--overwrite", code=2)
    fresh("train", "pump.csv", *QUICK, "--window", "500", "-o", "run", "--overwrite", code=2)
    assert files() == before
    fresh("train", "pump.csv", *QUICK, "--seed", "1", "-o", "run", "--overwrite")
    after = files()
    assert after[Path("run/notes.txt")] == b"mine"
    assert after[Path("run/model.safetensors")] != before[Path("run/model.safetensors")]
    assert set(map(_kind, after)) == set(map(_kind, before))
    assert len(after) == len(before)  # nothing of the old run is left beside the new one


def test_the_run_that_is_replaced_is_there_until_it_is(tmp_path):
    folder = tmp_path / "run"
    (folder / "tensorboard").mkdir(parents=True)
    for name in ("model.safetensors", "metrics.jsonl", "tensorboard/old", "notes.txt"):
        (folder / name).write_text("old")
    (folder / ".new").mkdir()  # of a run that was killed
    (folder / ".new/last.safetensors").write_text("killed")
    with fresh_run_folder(folder, overwrite=True) as place:
        assert [path.name for path in place.iterdir()] == []
        (place / "tensorboard").mkdir()
        for name in ("model.safetensors", "last.safetensors", "tensorboard/new"):
            (place / name).write_text("new")
        assert (folder / "model.safetensors").read_text() == "old"
    there = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    new = dict.fromkeys(("model.safetensors", "last.safetensors", "tensorboard/new"), "new")
    assert there == new | {"notes.txt": "old"}

    def broken_off():
        with fresh_run_folder(folder, overwrite=True) as place:
            (place / "last.safetensors").write_text("newer")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()} == there


def _kind(path: Path) -> str:
    return path.name.split(".")[0]


def test_a_run_that_fails_after_an_epoch_keeps_what_it_can_be_resumed_from(fresh, monkeypatch):
    def broken(self, *_):
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Detector, "save", broken)
        fresh("train", "pump.csv", *QUICK, "-o", "run", code=1)
    assert {path.name for path in (fresh.folder / "run").iterdir()} >= {"last.safetensors", "config.toml"}
    fresh("train", "-o", "run", "--resume", "--epochs", "3")
    assert Detector.load(fresh.folder / "run/model.safetensors").history["best_epoch"] >= 1


# ---- score ----


def test_every_row_comes_back_in_its_order_with_its_time_and_the_library_s_scores(program, trained):
    program("score", "runs/pump/model.safetensors", "today.csv", "-o", "scores.csv", "--events", "events.csv")
    given, scores = pd.read_csv(trained / "today.csv"), pd.read_csv(trained / "scores.csv")
    assert "193 rows scored" in program.stderr
    assert list(pd.to_datetime(scores["timestamp"])) == list(pd.to_datetime(given["timestamp"]))
    parts = [f"score_{name}" for name in ("temperature", "pressure", "flow")]
    heads = [f"head_{name}" for name in SCORER]
    assert list(scores.columns) == ["timestamp", "score", "p_value", "is_anomaly", "coverage", "error", *parts, *heads]

    series = read_csv(trained / "today.csv")
    assert len(series) == 200  # the gap is filled inside, and left out of the answer
    found = Detector.load(trained / "runs/pump/model.safetensors").detect(series)
    expected = found.scores[series.present]
    np.testing.assert_allclose(scores["score"], expected["score"], rtol=1e-6)
    np.testing.assert_allclose(scores[parts], expected[parts], rtol=1e-6)
    assert scores["is_anomaly"].tolist() == expected["is_anomaly"].tolist()
    events = pd.read_csv(trained / "events.csv")
    assert events["event"].tolist() == list(range(1, len(found.events) + 1))
    assert pd.to_datetime(events["start"]).tolist() == found.events["start"].tolist()
    assert events.loc[events["severity"].idxmax(), "channels"].split(", ")[0] == "pressure"


def test_scores_go_to_stdout_as_csv_or_json_and_messages_to_stderr(program):
    text = program("score", "runs/pump", "today.csv")
    assert program.stderr.startswith("today: 7 steps of its time axis have no row")
    assert program.stderr.count("\n") == 2
    assert program("score", "runs/pump", "today.csv", "--chunk-rows", "50") == text
    assert program.stderr.startswith("today: 7 steps of its time axis have no row")
    rows = json.loads(program("score", "runs/pump", "today.csv", "--json"))
    csv = table(text)
    assert [row["timestamp"] for row in rows] == csv["timestamp"].tolist()
    np.testing.assert_allclose([row["score"] for row in rows], csv["score"])
    assert rows[0]["is_anomaly"] in (True, False)
    program("score", "runs/pump", "today.csv", "-q", "-o", "quiet.csv")
    assert program.stderr == ""


def test_scores_are_packed_where_the_name_says_so(program, trained):
    text = program("score", "runs/pump", "today.csv")
    program("score", "runs/pump", "today.csv", "-o", "scores.csv.gz")
    assert gzip.decompress((trained / "scores.csv.gz").read_bytes()).decode() == text


def test_standard_input_is_read_where_a_dash_stands(program, trained, monkeypatch):
    expected = program("score", "runs/pump", "today.csv")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((trained / "today.csv").read_bytes())))
    assert program("score", "runs/pump", "-") == expected


def test_a_threshold_is_set_anew_by_the_same_scores_or_by_other_data(program, trained):
    usual = table(program("score", "runs/pump", "today.csv"))
    strict = table(program("score", "runs/pump", "today.csv", "--alpha", "0.1"))
    np.testing.assert_array_equal(usual["score"], strict["score"])
    assert strict["is_anomaly"].sum() > usual["is_anomaly"].sum()
    assert ((strict["p_value"] <= 0.1) == strict["is_anomaly"]).all()
    program("score", "runs/pump", "today.csv", "--calibrate", "today.csv", "--threshold", "quantile", "-o", "own.csv")
    own = pd.read_csv(trained / "own.csv")
    expected = own["score"] > np.quantile(usual["score"].dropna(), 0.99)
    assert abs(own["is_anomaly"].sum() - expected.sum()) <= 1  # the filled gap has scores of its own


def test_a_model_without_threshold_still_scores(fresh):
    fresh("train", "pump.csv", *QUICK, "--calibration", "0", "-o", "run")
    assert "threshold    none" in fresh.stderr
    scores = table(fresh("score", "run", "pump.csv"))
    assert fresh.stderr.startswith("seqae: warning: this model was trained with --calibration 0")
    assert scores["score"].notna().all()
    assert scores[["p_value", "is_anomaly"]].isna().all(axis=None)
    assert json.loads(fresh("score", "run", "pump.csv", "--json"))[0]["is_anomaly"] is None
    scores = table(fresh("score", "run", "pump.csv", "--calibrate", "pump.csv"))
    assert scores["p_value"].notna().all()


def test_scoring_reads_as_training_did_and_flags_win(fresh):
    german = pump(300)
    german["pressure"] = german["pressure"].map(lambda value: str(value).replace(".", ","))
    german = german[["timestamp", "pressure"]].rename(columns={"pressure": "Druck"})
    german["bad"] = 0
    german.to_csv(fresh.folder / "german.csv", sep=";", index=False)
    fresh("train", "german.csv", *QUICK, "--delimiter", ";", "--decimal", ",", "--label", "bad", "-o", "run")
    german.drop(columns="bad").to_csv(fresh.folder / "unlabelled.csv", sep=";", index=False)
    first = fresh("score", "run", "german.csv")
    assert fresh("score", "run", "unlabelled.csv") == first
    english = pump(300)[["timestamp", "pressure"]].rename(columns={"pressure": "Druck"})
    english.to_csv(fresh.folder / "english.csv", index=False)
    assert fresh("score", "run", "english.csv", "--delimiter", ",", "--decimal", ".") == first


def test_codes_of_missing_values_are_told_and_kept_with_the_model(fresh):
    plain = pump(300)
    plain.loc[[20, 50, 51, 290], "flow"] = np.nan
    plain.fillna({"flow": -9999}).to_csv(fresh.folder / "coded.csv", index=False)
    plain.to_csv(fresh.folder / "plain.csv", index=False)
    fresh("train", "coded.csv", *QUICK, "-o", "doubted")
    assert "'flow' holds -9999 in 4 rows" in fresh.stderr
    assert "--na-values -9999" in fresh.stderr
    fresh("train", "coded.csv", *QUICK, "--na-values", "-9999,-999", "-o", "run")
    assert "-9999" not in fresh.stderr
    fresh("train", "plain.csv", *QUICK, "-o", "other")
    expected = fresh("score", "other", "plain.csv")
    assert fresh("score", "run", "coded.csv") == expected
    assert fresh("score", "run", "coded.csv", "--chunk-rows", "70") == expected
    assert fresh("score", "other", "coded.csv", "--na-values", "-9999") == expected
    assert tomllib.loads((fresh.folder / "run/config.toml").read_text())["na_values"] == ["-9999", "-999"]
    fresh("train", "--config", "run/config.toml", "-o", "again", "--overwrite")
    assert "-9999" not in fresh.stderr


def test_many_series_stand_one_after_the_other(fresh):
    parts = [pump(200, seed=seed).assign(machine=name) for seed, name in enumerate(("a", "b", "c", "d", "e"))]
    pd.concat(parts).sort_values(["timestamp", "machine"]).to_csv(fresh.folder / "machines.csv", index=False)
    fresh("train", "machines.csv", *QUICK, "--id", "machine", "-o", "run")
    assert "5 series, 1000 rows of 3 channels" in fresh.stderr
    scores = table(fresh("score", "run", "machines.csv"))
    assert scores["series"].tolist() == [name for name in "abcde" for _ in range(200)]
    alone = pd.concat(parts)[lambda rows: rows["machine"] == "d"]
    alone.to_csv(fresh.folder / "d.csv", index=False)
    one = table(fresh("score", "run", "d.csv"))
    np.testing.assert_allclose(one["score"], scores.loc[scores["series"] == "d", "score"], rtol=1e-5)
    (fresh.folder / "apart").mkdir()  # a folder has a series in each file, whatever parted those of the training table
    for name, part in zip("abcde", parts, strict=True):
        part.drop(columns="machine").to_csv(fresh.folder / "apart" / f"{name}.csv", index=False)
    pd.testing.assert_frame_equal(table(fresh("score", "run", "apart")), scores)
    latents = table(fresh("encode", "run", "machines.csv"))
    assert latents["series"].unique().tolist() == list("abcde")
    fresh("plot", "run", "machines.csv", "-o", "x.png", code=2)
    assert "--series: a, b, c, d, e." in fresh.stderr
    fresh("plot", "run", "machines.csv", "--series", "b", "-o", "x.png", "--dpi", "50")


# ---- the other commands ----


def test_detect_trains_on_the_first_part_and_lists_the_events_of_the_rest(fresh):
    rows = pump(600)
    for start in (100, 500):
        rows.loc[start : start + 12, "flow"] += 5
    rows["label"] = 0
    rows.loc[500:512, "label"] = 1
    rows.to_csv(fresh.folder / "pump.csv", index=False)
    options = ["--train-rows", "400", "--alpha", "0.05", "--merge", "3", "--epochs", "8"]
    files = ["-o", "e.csv", "--scores", "s.csv", "--save", "m.safetensors", "--plot", "p.png"]
    fresh("detect", "pump.csv", *QUICK, *options, *files)
    said, (events, scores) = fresh.stderr, (pd.read_csv(fresh.folder / name) for name in ("e.csv", "s.csv"))
    assert "1 of 1 labelled stretches in them are met by an event" in said
    assert (pd.to_datetime(events["end"]) >= pd.Timestamp(rows["timestamp"][400])).all()
    worst = events.loc[events["severity"].idxmax()]
    assert pd.Timestamp(rows["timestamp"][500]) <= pd.Timestamp(worst["peak"]) <= pd.Timestamp(rows["timestamp"][512])
    assert worst["channels"].split(", ")[0] == "flow"
    assert len(scores) == 600
    assert (fresh.folder / "p.png").read_bytes().startswith(b"\x89PNG")
    detector = Detector.load(fresh.folder / "m.safetensors")
    assert detector.training_data["rows"] == 400
    again = table(fresh("score", "m.safetensors", "pump.csv"))
    np.testing.assert_allclose(again["score"], scores["score"], rtol=1e-5)

    shown = fresh("detect", "pump.csv", *QUICK, *options)
    assert shown.split("\n")[0].split()[:4] == ["event", "start", "end", "peak"]
    assert len(shown.strip().split("\n")) == len(events) + 1
    until = [*options[2:], "--train-until", rows["timestamp"][399]]
    assert json.loads(fresh("detect", "pump.csv", *QUICK, *until, "--json"))[0]["start"] == str(events["start"][0])


def test_encode_reconstruct_and_sample_give_the_library_s_numbers(program, trained):
    detector, series = Detector.load(trained / "runs/pump/model.safetensors"), read_csv(trained / "today.csv")
    latents = table(program("encode", "runs/pump", "today.csv"))
    np.testing.assert_allclose(latents.filter(regex="^z"), detector.encode(series).filter(regex="^z"), rtol=1e-5)
    assert list(latents.columns) == ["start", "end", "z0", "z1"]
    expected = detector.reconstruct(series, 0.5)[series.present]
    told = table(program("reconstruct", "runs/pump", "today.csv", "--level", "0.5"))
    np.testing.assert_allclose(told.drop(columns="timestamp"), expected, rtol=1e-5)
    drawn = table(program("sample", "runs/pump", "today.csv", "-n", "2", "--steps", "20", "--seed", "5"))
    same = detector.sample(2, steps=20, condition_from=series, seed=5)
    assert pd.to_datetime(drawn.pop("timestamp")).tolist() == same.pop("timestamp").tolist()
    np.testing.assert_allclose(drawn, same, rtol=1e-5)
    assert drawn["sample"].tolist() == [0] * 20 + [1] * 20


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plot_draws_in_the_format_of_the_name(program, trained, ending, start):
    program("plot", "runs/pump", "today.csv", "-o", f"x.{ending}", "--dpi", "60", "--title", "Pump 7")
    assert (trained / f"x.{ending}").read_bytes().startswith(start)
    assert "200 rows and" in program.stderr


# ---- files, signals, pipes ----


def _write_half(target: Path) -> None:
    with contextlib.suppress(OSError), replaced(target) as part:
        part.write_text("ne")
        raise OSError("full")


def test_an_output_that_breaks_off_leaves_the_old_one_whole(tmp_path):
    target = tmp_path / "scores.csv"
    target.write_text("old")
    _write_half(target)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]
    with replaced(target) as part:
        part.write_text("new")
    assert target.read_text() == "new"
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.slow
def test_ctrl_c_keeps_the_model_and_gives_130(tmp_path):
    pump().to_csv(tmp_path / "pump.csv", index=False)
    command = [sys.executable, "-m", "seqae.cli", "train", "pump.csv", *QUICK, "-o", "run"]
    command += ["--epochs", "1000000", "--patience", "off"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run/last.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert Detector.load(tmp_path / "run/model.safetensors").calibration is not None


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(trained):
    command = [sys.executable, "-m", "seqae.cli", "score", "runs/pump", "today.csv", "-q"]
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(command, cwd=trained, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert result.returncode == 141
    assert result.stderr == ""


def test_a_run_too_short_for_one_epoch_leaves_a_usable_model_and_says_so(fresh, tmp_path):
    fresh("train", "pump.csv", *QUICK, "--max-time", "0.000001", "-o", "run")
    assert "not one epoch was completed" in fresh.stderr
    assert "0 in 0 s (stopped by --max-time)" in fresh.stderr
    assert Detector.load(tmp_path / "run/model.safetensors").calibration is not None


def test_a_threshold_out_of_reach_is_said_when_scoring(program):
    program("score", "runs/pump", "today.csv", "--alpha", "0.0001")
    assert "nothing can be flagged: the threshold at alpha 0.0001 is out of reach" in program.stderr


# ---- pieces, going on, drift ----


@pytest.mark.parametrize("rows", ["50", "16384"])
def test_a_file_scored_in_pieces_gives_the_same_bytes(program, trained, rows):
    program("score", "runs/pump", "pump.csv", "-o", "whole.csv", "--events", "whole-events.csv", "--chunk-rows", "0")
    said = program.stderr
    program("score", "runs/pump", "pump.csv", "-o", "pieces.csv", "--events", "pieces-events.csv", "--chunk-rows", rows)
    assert program.stderr == said
    for name in (".csv", "-events.csv"):
        assert (trained / f"pieces{name}").read_bytes() == (trained / f"whole{name}").read_bytes()
    as_json = [program("score", "runs/pump", "pump.csv", "--json", "--chunk-rows", one) for one in ("0", rows)]
    assert as_json[0] == as_json[1]


def test_pieces_and_what_needs_the_whole_file_are_refused_together(program):
    program("score", "runs/pump", "pump.csv", "--chunk-rows", "100", "--id", "flow", code=2)
    assert "--chunk-rows 0" in program.stderr


def test_training_goes_on_from_a_model(fresh):
    fresh("train", "pump.csv", *QUICK, "--model", "CVAE", "-o", "one")
    first = Detector.load(fresh.folder / "one/model.safetensors")
    fresh("train", "pump.csv", "--from", "one", "--epochs", "1", "--alpha", "0.1", "-o", "two")
    second = Detector.load(fresh.folder / "two/model.safetensors")
    assert (second.window, second.options["model"], second.options["hidden"]) == (16, "CVAE", 8)
    assert second.calibration.threshold.alpha == 0.1
    assert second.preparation.conditions.names == first.preparation.conditions.names
    config = tomllib.loads((fresh.folder / "two/config.toml").read_text())
    assert (config["from"], config["window"], config["alpha"]) == ("one", 16, 0.1)
    fresh("train", "pump.csv", "--from", "one", "--hidden", "9", "-o", "three", code=2)
    assert "--hidden and --from contradict each other" in fresh.stderr
    assert not (fresh.folder / "three").exists()


def test_scoring_data_that_have_moved_warns_with_the_figures(program, trained):
    rows = pd.read_csv(trained / "pump.csv")
    rows["pressure"] += 40
    rows.to_csv(trained / "moved.csv", index=False)
    program("score", "runs/pump", "moved.csv", "-o", "moved-scores.csv")
    warned = [line for line in program.stderr.splitlines() if "unlike the training data" in line]
    assert len(warned) == 1
    assert "1 of 3 channels" in warned[0]
    assert "channel pressure: mean" in warned[0]
    assert "seqae train --from MODEL" in warned[0]
    program("score", "runs/pump", "pump.csv", "-o", "still-scores.csv")
    assert "unlike" not in program.stderr


def test_events_are_written_as_json_lines(program, trained):
    program("score", "runs/pump", "today.csv", "-o", "s.csv", "--events", "events.jsonl")
    program("score", "runs/pump", "today.csv", "-o", "s.csv", "--events", "events.csv")
    rows = [json.loads(line) for line in (trained / "events.jsonl").read_text().splitlines()]
    events = pd.read_csv(trained / "events.csv")
    assert [row["start"] for row in rows] == events["start"].tolist()
    assert [row["severity"] for row in rows] == pytest.approx(events["severity"].tolist(), rel=1e-8)
    assert len(rows) > 0
