"""The README's Python runs as it stands, and its command lines name commands and options that exist."""

import importlib
import re
import shlex
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
LINES = [
    line.removeprefix("$ ").split("#")[0].split("<")[0]
    for block in re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ seqae ")
]


@pytest.mark.slow
@pytest.mark.parametrize("code", BLOCKS)
def test_python_blocks_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hours = pd.date_range("2026-01-01", periods=1000, freq="h")
    rng = np.random.default_rng(0)
    flow = np.sin(2 * np.pi * hours.hour / 24) + 0.1 * rng.standard_normal(1000)
    pd.DataFrame({"timestamp": hours, "flow": flow, "pressure": 2 - flow}).to_csv("pump.csv", index=False)
    exec(compile(code, "README.md", "exec"), {})


def test_there_are_blocks_and_lines():
    assert len(BLOCKS) == 2
    assert len(LINES) >= 9


@pytest.mark.parametrize("line", LINES)
def test_command_lines_parse(line):
    name, *arguments = shlex.split(line)[1:]
    # The runs that are named are not there: those of the section on images are models of images.
    images = any(run in line for run in ("runs/digits", "runs/threes")) or "file.ini" in line
    module = "seqae.cli.images" if images else "seqae.cli"
    command = importlib.import_module(f"{module}.{name.replace('-', '_')}").command
    context = click.Context(command, info_name=name)
    _, rest, _ = command.make_parser(context).parse_args(command.dashed(arguments))
    assert not rest
