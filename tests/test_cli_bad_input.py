"""Broken inputs to the command line: each gives one line with a cure, exit code 2, and leaves no file behind."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from seqae import VAE, save_model
from seqae.cli.main import run
from seqae.training.checkpoints import read_safetensors

QUICK = ["--epochs", "1", "--window", "16", "--hidden", "4", "--latent", "2"]


def stamped(rows: int = 200, step: str = "10min") -> pd.DataFrame:
    """A table that nothing is wrong with."""
    values = np.sin(np.arange(rows) / 7).round(4)
    stamps = pd.date_range("2024-03-04", periods=rows, freq=step).strftime("%Y-%m-%d %H:%M:%S")
    return pd.DataFrame({"time": stamps, "flow": values, "heat": (values**2).round(4)})


def csv(table: pd.DataFrame, **options: object) -> bytes:
    return table.to_csv(index=False, **options).encode()


def with_value(column: str, row: int, value: object) -> bytes:
    table = stamped().astype({column: object})
    table.loc[row, column] = value
    return csv(table)


def stamps_as(change: Callable[[pd.Series], object]) -> bytes:
    return csv(stamped().assign(time=lambda table: change(table["time"])))


GOOD = csv(stamped())
LATIN = b"time,gr\xf6\xdfe\n2024-01-01,1\n2024-01-02,2\n"

# name: (what x.csv holds, further options of `seqae train x.csv`, what the line must say)
TABLES: dict[str, tuple[bytes, list[str], str]] = {
    "an empty file": (b"", [], "x.csv is empty. Give a CSV file"),
    "only blank lines": (b"\n \n", [], "x.csv is empty. Give a CSV file"),
    "only a header": (b"time,flow\n", [], "a header and no rows. Give"),
    "one row": (csv(stamped(1)), [], "has 1 row; window=16 needs at least 16. Give more rows."),
    "no header": (b"1.5,2\n3,4.5\n5,6.5\n", [], "no header: line 1 is '1.5,2'. Add a line"),
    "a window longer than the series": (csv(stamped(90)), ["--window", "128"], "Use --window 30 or less"),
    "too few rows for three parts": (csv(stamped(40)), [], "Use --window 13 or less"),
    "text in a number column": (with_value("heat", 7, "broken"), [], "'broken' in line 9"),
    "a number with a unit": (with_value("flow", 0, "3.2 bar"), [], "'3.2 bar' in line 2"),
    "missing everywhere": (csv(stamped().assign(flow=np.nan, heat=np.nan)), [], "At least one number is needed"),
    "a channel without any value": (csv(stamped().assign(heat=np.nan)), [], "--drop"),
    "constant columns": (csv(stamped().assign(flow=1.0, heat=2.0)), [], "Give data with a channel that changes"),
    "an infinite value": (with_value("flow", 3, "inf"), [], "line 5"),
    "a value beyond float32": (with_value("flow", 3, 1e300), [], "line 5"),
    "another delimiter": (csv(stamped(), sep=";"), [], "Use --delimiter ';'"),
    "tabs": (csv(stamped(), sep="\t"), [], "Use --delimiter tab"),
    "a decimal comma": (csv(stamped(), sep=";", decimal=","), ["--delimiter", ";"], "--decimal"),
    "a delimiter of two characters": (GOOD, ["--delimiter", "::"], "Use one character"),
    "a header that says a name twice": (GOOD.replace(b"heat", b"flow", 1), [], "more than one column 'flow'"),
    "a row with too many fields": (GOOD + b"2024-04-01,1,2,3\n", [], "line 202 has 4 fields, the header has 3"),
    "a row with too few fields": (GOOD + b"2024-04-01,1\n", [], "line 202 has 2 fields, the header has 3"),
    "an open quote": (GOOD + b'"2024-04-01,1,2\n', [], "quote"),
    "a time column that is not there": (GOOD, ["--time", "when"], "time, flow, heat"),
    "a channel that is not there": (GOOD, ["--columns", "flow,speed"], "time, flow, heat"),
    "a dropped column that is not there": (GOOD, ["--drop", "speed"], "time, flow, heat"),
    "a label column that is not there": (GOOD, ["--label", "bad"], "time, flow, heat"),
    "labels that are no labels": (GOOD, ["--label", "heat"], "not 0 or 1. Correct it"),
    "an id column that is not there": (GOOD, ["--id", "machine"], "time, flow, heat"),
    "no channel left": (GOOD, ["--drop", "flow,heat"], "no column left to be a channel"),
    "a column with two roles": (GOOD, ["--columns", "flow", "--drop", "flow"], "flow"),
    "numbers as time": (stamps_as(lambda time: 1.7e9 + 600 * np.arange(len(time))), [], "--time-unit s"),
    "unreadable stamps": (with_value("time", 5, "yesterday"), ["--time", "time"], "yesterday"),
    "days or months first": (
        stamps_as(lambda time: [f"{1 + row % 9:02}/{1 + row % 8:02}/2024" for row in range(len(time))]),
        [],
        "--time-format",
    ),
    "unsorted stamps": (stamps_as(lambda time: time[::-1].to_numpy()), [], "--order sort"),
    "doubled stamps": (csv(pd.concat([stamped(), stamped()[50:51]]).sort_values("time")), [], "--duplicates"),
    "irregular stamps": (
        stamps_as(lambda time: pd.to_datetime(time) + pd.to_timedelta(np.arange(len(time)) ** 2 % 7, unit="s")),
        [],
        "--irregular keep",
    ),
    "a gap of a hundred years": (with_value("time", 199, "2124-01-01 00:00:00"), [], "--resample"),
    "an unknown time zone": (GOOD, ["--tz", "Europe/Atlantis"], "Europe/Atlantis"),
    "an unknown bin": (GOOD, ["--resample", "5 parsecs"], "5 parsecs"),
    "an hour that the clocks skip": (
        csv(stamped(200).assign(time=pd.date_range("2024-03-30", periods=200, freq="10min").astype(str))),
        ["--tz", "Europe/Berlin"],
        "--tz UTC",
    ),
    "not UTF-8": (LATIN, [], "iconv -f CP1252"),
    "UTF-16": (GOOD.decode().encode("utf-16"), [], "iconv -f UTF-16"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(100), [], "save it as CSV"),
    "a gzip file cut short": (gzip.compress(GOOD)[:-20], [], "cut short or damaged"),
    "a Parquet file by another name": (b"PAR1" + bytes(100), [], "ending .parquet"),
    "a CVAE without a time axis": (csv(stamped()[["flow", "heat"]]), ["--model", "CVAE"], "--condition"),
    "a condition that is not there": (GOOD, ["--model", "CVAE", "--condition", "speed"], "Correct --condition"),
    "a condition for a VAE": (GOOD, ["--condition", "calendar"], "Use --model CVAE"),
    "a calendar over two hours": (csv(stamped(100, "1min")), ["--model", "CVAE"], "--condition COLUMN"),
    "labels to exclude that are not there": (GOOD, ["--labelled", "exclude"], "--label"),
    "values outside a Bernoulli's range": (GOOD, ["--likelihood", "bernoulli", "--scaling", "none"], "[0, 1]"),
}

CHOSEN = """model cell decoder_type feedback likelihood prior scaling optimizer schedule beta-schedule noise labelled
precision score mode missing threshold time-unit order duplicates irregular"""
MENUS = [f"--{name}" for name in CHOSEN.split()]

# name: (arguments, what the line must say); the folder holds good.csv, model.safetensors and so on, see `workplace`
COMMANDS: dict[str, tuple[list[str], str]] = {
    "an unknown command": (["trian", "good.csv"], "See 'seqae --help'."),
    "an unknown option": (["train", "good.csv", "--epoch", "3"], "--epochs"),
    "an argument too many": (["train", "good.csv", "good.csv"], "See 'seqae train --help'."),
    "no model named": (["score"], "MODEL"),
    "no picture named": (["plot", "model.safetensors", "good.csv"], "--output"),
    **{f"an unknown {option[2:]}": (["train", "good.csv", option, "magic"], "is not one of") for option in MENUS},
    "an unknown device": (["train", "good.csv", *QUICK, "--device", "tpu"], "auto, cpu, cuda"),
    "an absent GPU": (["score", "model.safetensors", "good.csv", "--device", "cuda:99"], "--device cpu"),
    "negative epochs": (["train", "good.csv", "--epochs", "-3"], "x>=1"),
    "epochs in words": (["train", "good.csv", "--epochs", "many"], "is not a valid whole number"),
    "half an epoch": (["train", "good.csv", "--epochs", "0.5"], "is not a valid whole number"),
    "a window of one": (["train", "good.csv", "--window", "1"], "x>=2"),
    "no learning": (["train", "good.csv", "--learning-rate", "0"], "x>0"),
    "alpha of one": (["train", "good.csv", "--alpha", "1"], "0<x<0.5"),
    "shares that leave nothing": (["train", "good.csv", *QUICK, "--validation", "0.5", "--calibration", "0.6"], "less"),
    "a time column and none": (["train", "good.csv", "--time", "time", "--no-time"], "Give one of them"),
    "teacher forcing without output": (["train", "good.csv", *QUICK, "--teacher-forcing", "0.5"], "feedback"),
    "a prior without condition": (["train", "good.csv", "--prior", "conditional"], "Use --model CVAE"),
    "a causal stride": (["train", "good.csv", "--mode", "causal", "--stride", "4"], "stride"),
    "Bernoulli on standardised data": (["train", "good.csv", "--likelihood", "bernoulli"], "--scaling minmax"),
    "an empty name": (["train", "good.csv", "--columns", "flow,,heat"], "single commas"),
    "no file": (["train", "nothing.csv"], "There is no file nothing.csv"),
    "a folder without data": (["train", "folder"], "a folder without data"),
    "a folder and an id": (["train", "folder", "--id", "machine"], "Use --id for one long table"),
    "reading options without data": (["train", "--delimiter", ";"], "Name a file"),
    "resume without a folder": (["train", "good.csv", "--resume"], "Name it with -o"),
    "resume of nothing": (["train", "good.csv", "--resume", "-o", "folder"], "holds no run to resume"),
    "resume and overwrite": (["train", "good.csv", "--resume", "--overwrite", "-o", "run"], "Give one of them"),
    "resume with another network": (["train", "--resume", "-o", "run", "--hidden", "7"], "hidden"),
    "resume with other data": (["train", "other.csv", "--resume", "-o", "run"], "without --resume"),
    "a run where one is": (["train", "good.csv", *QUICK, "-o", "run"], "--overwrite"),
    "a run where a file is": (["train", "good.csv", *QUICK, "-o", "good.csv"], "it is a file"),
    "a run below a file": (["train", "good.csv", *QUICK, "-o", "good.csv/run"], "is a file"),
    "no settings file": (["train", "--config", "no.toml"], "there is no settings file no.toml"),
    "settings that are no TOML": (["train", "--config", "bad.toml"], "bad.toml is not TOML"),
    "an unknown setting": (["train", "good.csv", "--config", "typo.toml"], "Did you mean 'epochs'?"),
    "settings in tables": (["train", "good.csv", "--config", "nested.toml"], "Write the options at the top level"),
    "a setting of another kind": (["train", "good.csv", "--config", "kind.toml"], "must be true or false"),
    "a list for one number": (["train", "good.csv", "--config", "list.toml"], "a single number or text"),
    "a setting out of range": (["train", "good.csv", "--config", "range.toml"], "x>=1"),
    "no model file": (["score", "nothing.safetensors", "good.csv"], "nothing.safetensors"),
    "a folder without a model": (["score", "folder", "good.csv"], "model.safetensors"),
    "a table as a model": (["score", "good.csv", "good.csv"], "safetensors"),
    "a model file cut short": (["score", "short.safetensors", "good.csv"], "short.safetensors"),
    "an empty model file": (["score", "empty.safetensors", "good.csv"], "empty.safetensors"),
    "a pickle": (["score", "pickle.safetensors", "good.csv"], "pickle.safetensors"),
    "a model of another program": (["score", "foreign.safetensors", "good.csv"], "foreign.safetensors"),
    "a bare model": (["score", "bare.safetensors", "good.csv"], "seqae train"),
    "a model of a later format": (["score", "later.safetensors", "good.csv"], "later.safetensors"),
    "fewer channels": (["score", "model.safetensors", "one.csv"], "missing: heat"),
    "more channels": (["score", "model.safetensors", "three.csv"], "unknown: third"),
    "too few rows to score": (["score", "model.safetensors", "short.csv"], "window=16 needs at least 16. Give as many"),
    "no data for a model of other channels": (["score", "model.safetensors"], "Name a file to read"),
    "no normal data": (["score", "model.safetensors", "good.csv", "--calibrate", "nothing.csv"], "nothing.csv"),
    "a time zone where training had none": (["encode", "calendar.safetensors", "zoned.csv"], "--tz"),
    "a condition that the data lack": (["score", "conditional.safetensors", "good.csv"], "kind"),
    "a category never seen": (["score", "conditional.safetensors", "unseen.csv"], "unseen"),
    "an output in no folder": (["score", "model.safetensors", "good.csv", "-o", "no/s.csv"], "Make it first"),
    "an output that is a folder": (["score", "model.safetensors", "good.csv", "-o", "folder"], "Give a file name"),
    "an output over the data": (["score", "model.safetensors", "good.csv", "-o", "./good.csv"], "would destroy"),
    "an output over the model": (["encode", "model.safetensors", "good.csv", "-o", "model.safetensors"], "destroy"),
    "events over the scores": (
        ["score", "model.safetensors", "good.csv", "-o", "kept.csv", "--events", "kept.csv"],
        "Give another path",
    ),
    "a picture of no format": (["plot", "model.safetensors", "good.csv", "-o", "x.jpeg"], ".png, .svg, .pdf"),
    "a picture of many series": (["plot", "many.safetensors", "many.csv", "-o", "x.png"], "--series: a, b, c, d"),
    "a series that is not there": (
        ["plot", "many.safetensors", "many.csv", "--series", "z", "-o", "x.png"],
        "--series: a, b, c, d",
    ),
    "a band of everything": (["reconstruct", "model.safetensors", "good.csv", "--level", "1"], "0<x<1"),
    "no samples": (["sample", "model.safetensors", "-n", "0"], "x>=1"),
    "samples of an AE": (["sample", "ae.safetensors"], "AE"),
    "conditions for a VAE": (["sample", "model.safetensors", "good.csv"], "Leave good.csv out"),
    "conditions for fewer steps": (["sample", "conditional.safetensors", "ten.csv", "--steps", "50"], "50"),
    "two ways to cut": (["detect", "good.csv", "--train-rows", "9", "--train-fraction", "0.5"], "Give one of them"),
    "more rows to train on than there are": (["detect", "good.csv", *QUICK, "--train-rows", "999"], "of the 200 rows"),
    "training until before the start": (["detect", "good.csv", *QUICK, "--train-until", "1999"], "0 of the 200 rows"),
    "training until some time": (["detect", "good.csv", *QUICK, "--train-until", "Tuesday-ish"], "Write it likewise"),
    "training until a time without times": (["detect", "bare.csv", *QUICK, "--train-until", "2024"], "--train-rows"),
    "no part to calibrate on": (["detect", "good.csv", "--calibration", "0"], "--calibration above 0"),
    "a model kept in no folder": (["detect", "good.csv", "--save", "no/model.safetensors"], "Make it first"),
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with good tables, models trained on them, and every broken file that COMMANDS names."""
    folder = tmp_path_factory.mktemp("workplace")
    kinds = stamped().assign(kind=np.where(np.arange(200) % 5, "on", "off"))
    tables = {
        "good": stamped(),
        "other": stamped().assign(flow=lambda table: table["flow"] + 1),
        "one": stamped()[["time", "flow"]],
        "three": stamped().assign(third=lambda table: table["flow"]),
        "short": stamped(10),
        "ten": kinds[:10],
        "zoned": stamped().assign(time=lambda table: table["time"] + "+02:00"),
        "bare": stamped()[["flow"]],
        "kinds": kinds,
        "unseen": kinds.replace({"kind": {"off": "unseen"}}),
        "many": pd.concat([stamped(150).assign(machine=name) for name in "abcd"]),
    }
    for name, table in tables.items():
        (folder / f"{name}.csv").write_bytes(csv(table))
    (folder / "folder").mkdir()
    settings = {"bad": "epochs = ", "typo": "epoch = 3", "nested": "[training]\nepochs = 3", "kind": "reverse = 'yes'"}
    settings |= {"list": "epochs = [1, 2]", "range": "epochs = -1"}
    for name, text in settings.items():
        (folder / f"{name}.toml").write_text(text)
    models = {
        "model": ["good.csv"],
        "ae": ["good.csv", "--model", "AE"],
        "calendar": ["good.csv", "--model", "CVAE"],
        "conditional": ["kinds.csv", "--model", "CVAE", "--condition", "kind"],
        "many": ["many.csv", "--id", "machine"],
    }
    before = Path.cwd()
    os.chdir(folder)
    try:
        for name, arguments in models.items():
            assert run(["train", *arguments, *QUICK, "-q", "-o", f"runs/{name}"]) == 0
            (folder / f"runs/{name}/model.safetensors").rename(folder / f"{name}.safetensors")
        assert run(["train", "good.csv", *QUICK, "-q", "-o", "run"]) == 0
    finally:
        os.chdir(before)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "short.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "pickle.safetensors").write_bytes(pickle.dumps({"weights": [1.0, 2.0]}))
    save_file({"weight": torch.zeros(3)}, folder / "foreign.safetensors")
    save_model(VAE(channels=2), folder / "bare.safetensors")
    document = read_safetensors(folder / "model.safetensors")[1] | {"format_version": 99}
    save_file({"weight": torch.zeros(3)}, folder / "later.safetensors", {"seqae": json.dumps(document)})
    return folder


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(folder: Path, arguments: list[str], said: str, monkeypatch, capsys) -> None:
    before, folders = listing(folder), {path for path in folder.rglob("*") if path.is_dir()}
    monkeypatch.chdir(folder)
    code = run(arguments)
    out, err = capsys.readouterr()
    print(err)  # shown where the test fails
    assert code == 2
    assert out == ""
    assert err.startswith("seqae: error: ")
    assert err.endswith((".\n", "?\n"))
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert said in err
    assert listing(folder) == before
    assert {path for path in folder.rglob("*") if path.is_dir()} == folders


@pytest.mark.parametrize("name", TABLES)
def test_a_broken_table_is_refused_in_one_line_with_a_cure(name, tmp_path, monkeypatch, capsys):
    content, options, said = TABLES[name]
    (tmp_path / "x.csv").write_bytes(content)
    assert_refused(tmp_path, ["train", "x.csv", *QUICK, *options, "-o", "run"], said, monkeypatch, capsys)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_broken_command_is_refused_in_one_line_with_a_cure(name, workplace, monkeypatch, capsys):
    arguments, said = COMMANDS[name]
    if arguments[0] in ("train", "detect") and "-o" not in arguments:
        arguments = [*arguments, "-o", "out"]
    if name == "resume without a folder":
        arguments = COMMANDS[name][0]
    assert_refused(workplace, arguments, said, monkeypatch, capsys)


def test_there_are_enough_of_them():
    assert len(TABLES) + len(COMMANDS) > 45


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user who may not write everywhere")
def test_a_folder_without_leave_to_write_is_found_out_before_the_work(workplace, tmp_path, monkeypatch, capsys):
    tmp_path.chmod(0o500)
    arguments = ["score", "model.safetensors", "good.csv", "-o", str(tmp_path / "scores.csv")]
    assert_refused(workplace, arguments, "Give another path", monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text in a number column", "a window longer than the series"])
def test_the_installed_program_behaves_the_same(name, tmp_path):
    content, options, said = TABLES[name]
    (tmp_path / "x.csv").write_bytes(content)
    command = [sys.executable, "-m", "seqae.cli", "train", "x.csv", *QUICK, *options, "-o", "run"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
