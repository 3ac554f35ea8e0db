"""Execute the notebooks of this folder and write their pages: Markdown with what each cell printed and drew.

    python docs/examples/build.py [NAME ...]

A notebook is the source, kept without outputs; its page is made of it and never edited. Cells are run here as plain
Python, in one namespace each notebook, so that neither this nor the tests need Jupyter. Published sets are read from
the folder in SEQAE_DATA (default: ../shared/data from the project's root). With --text nothing is run: the outputs of
the page stay, which is right as long as only the notebook's prose has changed.
"""

from __future__ import annotations

__all__ = ["FOLDER", "NAMES", "Cell", "execute", "main", "page", "plain", "read"]

import argparse
import ast
import contextlib
import io
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image

import seqae

NAMES = ("sequences", "mnist-plane", "denoising", "beta-vae", "conv-cifar10", "one-class")
FOLDER = Path(__file__).parent
DATA = FOLDER.parents[2] / "shared" / "data"
DPI, COLOURS = 100, 256  # of a picture in grey all of them
BEGIN, END = "<!-- output -->", "<!-- end of output -->"


class Cell(NamedTuple):
    """A cell of a notebook: code, or Markdown."""

    code: bool
    text: str


def read(name: str) -> list[Cell]:
    """Return the cells of a notebook."""
    document = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [Cell(cell["cell_type"] == "code", "".join(cell["source"])) for cell in document["cells"]]


def execute(name: str) -> Iterator[list[Any]]:
    """Run a notebook's code cells in its folder; yield what each gave: printed text (str), a last expression's value.

    A str that is a value comes as its repr, as in a notebook.
    """
    space: dict[str, Any] = {"__name__": name}
    for number, cell in enumerate(read(name), 1):
        if not cell.code:
            continue
        tree, last = ast.parse(cell.text), None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]
        where = f"{name}.ipynb, cell {number}"
        with contextlib.chdir(FOLDER), contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(tree, where, "exec"), space)
            value = None if last is None else eval(compile(last, where, "eval"), space)
        shown = [said.getvalue()] if said.getvalue() else []
        yield [*shown, repr(value) if isinstance(value, str) else value] if value is not None else shown


def page(name: str, outputs: Sequence[str]) -> str:
    """Return a notebook's page with the output of each code cell, and of the whole run at last; "" where is none."""
    parts = [f"<!-- Made of {name}.ipynb by build.py: edit the notebook, not this page. -->"]
    remaining = iter(outputs)
    for cell in read(name):
        parts.append(f"```python\n{cell.text}\n```" if cell.code else cell.text)
        if cell.code:
            parts.append(_marked(next(remaining)))
    parts.append(_marked(next(remaining, "")))
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str) -> str:
    """Return a page without its outputs."""
    return re.sub(rf"\n*{BEGIN}.*?{END}", "", text, flags=re.DOTALL)


def kept(name: str) -> list[str]:
    """Return the outputs that a page has; ValueError where the code is no longer that of the notebook."""
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.compile(rf"```python\n(.*?)\n```(?:\n\n{BEGIN}\n\n(.*?)\n\n{END})?", re.DOTALL).findall(text)
    if [code for code, _ in blocks] != [cell.text for cell in read(name) if cell.code]:
        raise ValueError(f"the code of {name}.ipynb is not that of {name}.md. Run it anew, without --text.")
    of_the_run = re.search(rf"{BEGIN}\n\n(\*Executed.*?)\n\n{END}", text, re.DOTALL)
    return [output for _, output in blocks] + [of_the_run[1] if of_the_run else ""]


def written(name: str) -> list[str]:
    """Execute a notebook; return its outputs as Markdown, and write its pictures."""
    for old in FOLDER.glob(f"{name}-*.png"):
        old.unlink()
    began, pictures, outputs = time.perf_counter(), 0, []
    for values in execute(name):
        parts = []
        for value in values:
            if isinstance(value, Figure):
                pictures += 1
                file = FOLDER / f"{name}-{pictures}.png"
                draw(value, file)
                parts.append(f"![{title(value)}]({file.name})")
            else:
                parts.append(table(value) if isinstance(value, pd.DataFrame) else _text(value))
        outputs.append("\n\n".join(parts))
    threads = torch.get_num_threads()
    outputs.append(
        f"*Executed on {date.today()} in {time.perf_counter() - began:.0f} s on {threads} "
        f"{'thread' if threads == 1 else 'threads'} of a CPU: seqae {seqae.__version__}, torch {torch.__version__}.*"
    )
    return outputs


def draw(figure: Figure, file: Path) -> None:
    """Write a figure as a PNG of few colours."""
    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=DPI)
    Image.open(raw).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(file, optimize=True)


def title(figure: Figure) -> str:
    """Return a figure's title in one line."""
    over = figure.get_suptitle()
    titles = [over, *(axes.get_title(loc) for axes in figure.axes for loc in ("left", "center"))]
    return " ".join(next((one for one in titles if one), "picture").split())


def table(frame: pd.DataFrame) -> str:
    """Return a table as Markdown, its index first; a column of floats has as many digits as its longest number."""
    columns = [[str(one) for one in frame.index], *(_cells(frame[name]) for name in frame)]
    heads = [str(frame.index.name or ""), *map(str, frame.columns)]
    rows = [heads, ["---"] + ["---:"] * frame.shape[1], *zip(*columns, strict=True)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |" for row in rows)


def _cells(column: pd.Series[Any]) -> list[str]:
    if column.dtype.kind != "f":
        return ["–" if pd.isna(one) else str(one) for one in column]
    values = column.to_numpy()  # of float32 the shortest digits, not those of the same number as a float64
    digits = max((len(str(one).partition(".")[2]) for one in values if one % 1), default=0)
    return ["–" if pd.isna(one) else f"{one:.{digits}f}" for one in values]


def _text(value: object) -> str:
    return f"```text\n{str(value).rstrip()}\n```"


def _marked(output: str) -> str:
    return f"{BEGIN}\n\n{output}\n\n{END}" if output else ""


def main() -> None:
    """Write the pages that the command line names, all where it names none."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--text", action="store_true", help="run nothing: only the notebook's prose has changed")
    given = parser.parse_args()
    os.environ.setdefault("SEQAE_DATA", str(DATA))
    for name in given.names or NAMES:
        outputs = kept(name) if given.text else written(name)
        (FOLDER / f"{name}.md").write_text(page(name, outputs), encoding="utf-8")
        print(f"{name}.md: {outputs[-1].strip('*')}", flush=True)


if __name__ == "__main__":
    main()
