"""The two examples at the end of every command's help are run as they stand there."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from seqae.cli.main import COMMANDS, run
from seqae.cli.routes import TWINS

IMAGES = "seqae.cli.images"


def examples(name: str, package: str = "seqae.cli") -> list[str]:
    """The examples as a user reads them in the help."""
    command = import_module(f"{package}.{name.replace('-', '_')}").command
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


def idx(path: Path, values: np.ndarray) -> None:
    """Write an array as MNIST's files are written."""
    head = b"\0\0\x08" + bytes([values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(head + values.astype(np.uint8).tobytes())


def pictures(folder: Path) -> None:
    """Write a small set under MNIST's names, and a folder of photos."""
    draw = np.random.default_rng(0)
    for part, n in (("train", 90), ("t10k", 40)):
        labels = np.arange(n) % 10
        images = 25 * labels[:, None, None] + draw.integers(0, 30, size=(n, 28, 28))
        (folder / "data" / "mnist").mkdir(parents=True, exist_ok=True)
        idx(folder / "data" / "mnist" / f"{part}-images-idx3-ubyte", images)
        idx(folder / "data" / "mnist" / f"{part}-labels-idx1-ubyte", labels)
    (folder / "photos" / "today").mkdir(parents=True)
    for k in range(30):
        Image.fromarray(draw.integers(0, 255, size=(28, 28), dtype=np.uint8)).save(folder / f"photos/today/{k}.png")


def run_line(line: str, capsys: pytest.CaptureFixture[str] | None = None) -> tuple[str, str]:
    """Run a command line here, with < and > as in a shell. Returns stdout (or what went to the file) and stderr."""
    program, *words = shlex.split(line)
    assert program == "seqae"
    files: dict[str, Path] = {}
    for mark in ("<", ">"):
        if mark in words:
            place = words.index(mark)
            files[mark] = Path(words.pop(place + 1))
            words.pop(place)
    target = files.get(">")
    with contextlib.ExitStack() as stack:
        if "<" in files:
            before, sys.stdin = sys.stdin, stack.enter_context(files["<"].open())
            stack.callback(setattr, sys, "stdin", before)
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
        run_line("seqae train pump.csv --mode causal --window 16 --hidden 8 --epochs 1 -q -o runs/live")
        run_line(examples("score")[0])  # leaves scores.csv
        stamps = pd.read_csv("today.csv")["timestamp"]
        labels = pd.DataFrame({"timestamp": stamps, "label": stamps.index.isin(range(80, 100)).astype(int)})
        labels.to_csv("labels.csv", index=False)
        pd.DataFrame({"start": [stamps[80]], "end": [stamps[99]]}).to_csv("faults.csv", index=False)
        pictures(folder)
        run_line("seqae train photos/today --epochs 1 -q -o runs/parts")
        for line in examples("train", IMAGES):
            run_line(line)
    finally:
        os.chdir(before)
    return folder


BOTH = [*((name, "seqae.cli") for name in COMMANDS), *((name, IMAGES) for name in TWINS)]


@pytest.mark.parametrize(("name", "package"), BOTH)
def test_every_help_ends_with_two_examples(name, package):
    lines = examples(name, package)
    assert len(lines) == 2
    assert all(line.startswith(f"seqae {name} ") for line in lines)


@pytest.mark.slow
def test_the_examples_of_train_leave_runs(workplace):
    for line in examples("train"):
        (folder,) = outputs(line)
        assert (workplace / folder / "model.safetensors").is_file()
        assert (workplace / folder / "config.toml").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", [line for name, package in BOTH if name != "train" for line in examples(name, package)]
)
def test_an_example_runs_as_it_stands(line, workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    if line.startswith("seqae evaluate "):
        run_line(examples("score")[0])  # another example has left other scores under that name
    capsys.readouterr()
    out, err = run_line(line, capsys)
    assert "warning" not in err
    for path in outputs(line):
        assert path.stat().st_size > 20
    assert outputs(line) or len(out) > 20
