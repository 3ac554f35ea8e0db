"""The two examples at the end of every command's help are run as they stand there."""

from __future__ import annotations

import os
import shlex
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest

from seqae.cli.main import COMMANDS, run


def examples(name: str) -> list[str]:
    """The examples as a user reads them in the help."""
    command = import_module(f"seqae.cli.{name}").command
    text = command.get_help(click.Context(command, info_name=f"seqae {name}"))
    section = text.split("\nExamples:\n")[1]
    return [line.strip() for line in section.splitlines() if line.strip()]


def telemetry(rows: int, start: str, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    day = 2 * np.pi * np.arange(rows) / 144
    clean = {"temperature": 20 + 3 * np.sin(day), "pressure": 4 + np.cos(2 * day), "flow": 7 + np.sin(2 * day + 1)}
    table = pd.DataFrame(clean) + 0.1 * draw.normal(size=(rows, 3))
    table.insert(0, "timestamp", pd.date_range(start, periods=rows, freq="10min").astype(str))
    return table.round(3)


def run_line(line: str, capsys: pytest.CaptureFixture[str] | None = None) -> tuple[str, str]:
    """Run a command line here; `> file` as the shell does it. Returns stdout (or what went to the file) and stderr."""
    program, *words = shlex.split(line)
    assert program == "seqae"
    target = Path(words.pop()) if ">" in words else None
    if target is not None:
        words.remove(">")
    assert run(words) == 0, line
    out, err = ("", "") if capsys is None else capsys.readouterr()
    if target is not None:
        target.write_text(out)
    return out, err


def outputs(line: str) -> list[Path]:
    words = shlex.split(line)
    takers = {"-o", "--events", "--scores", "--plot", ">"}
    return [Path(value) for option, value in pairwise(words) if option in takers]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the tables that the examples name, and the runs that the examples of `train` make there."""
    folder = tmp_path_factory.mktemp("examples")
    telemetry(1500, "2024-03-04", 0).to_csv(folder / "pump.csv", index=False)
    telemetry(200, "2024-03-15", 1).to_csv(folder / "today.csv", index=False)
    before = Path.cwd()
    os.chdir(folder)
    try:
        for line in examples("train"):
            run_line(line)
    finally:
        os.chdir(before)
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_two_examples(name):
    lines = examples(name)
    assert len(lines) == 2
    assert all(line.startswith(f"seqae {name} ") for line in lines)


@pytest.mark.slow
def test_the_examples_of_train_leave_runs(workplace):
    for line in examples("train"):
        (folder,) = outputs(line)
        assert (workplace / folder / "model.safetensors").is_file()
        assert (workplace / folder / "config.toml").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for name in COMMANDS if name != "train" for line in examples(name)])
def test_an_example_runs_as_it_stands(line, workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    capsys.readouterr()
    out, err = run_line(line, capsys)
    assert "warning" not in err
    for path in outputs(line):
        assert path.stat().st_size > 20
    assert outputs(line) or len(out) > 20
