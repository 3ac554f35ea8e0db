"""`seqae report`: one HTML page about a scored series."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Any

import click

from seqae.cli.command import COMMON, CONFIG, Command, Session, option
from seqae.cli.options import DATA, LEVEL, MODEL, RELIMIT, REREADING, RUNNING
from seqae.cli.output import check_output, write_text
from seqae.cli.plot import chosen_series
from seqae.cli.reading import DEFAULT_DATA, found_by, load, reread
from seqae.errors import OptionError
from seqae.report.html import report_html

ENDINGS = (".html", ".htm")


@click.command(
    "report",
    cls=Command,
    examples=(
        "seqae report runs/pump/model.safetensors today.csv -o today.html",
        "seqae report runs/elnino -o elnino.html --title 'Sea-surface temperature off Peru'",
    ),
)
@MODEL
@DATA
@option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", required=True, help="A .html file.")
@option("--series", "name", help="Which series of a panel to report on.")
@option("--title", help="The page's heading.", show_default="the name of the series")
@LEVEL
@RUNNING
@REREADING
@RELIMIT
@CONFIG
@COMMON
@click.pass_obj
def command(
    session: Session,
    model: Path,
    data: str | None,
    output: Path,
    name: str | None,
    title: str | None,
    level: float,
    **settings: Any,
) -> None:
    """Write one HTML page: series, score, events, threshold, training.

    MODEL is a model file or the folder of a run. DATA is a CSV or Parquet file, a folder of them, or - for stdin.
    The page is one file that needs no network: the series with what the model expected, events that zoom when they
    are clicked, each channel's share in them, how the threshold was chosen and, with --label, how the model did.
    """
    check_output(output, data, model)
    if output.suffix.lower() not in ENDINGS:
        raise OptionError(f"{output} does not end like a page. Give a name that ends with {' or '.join(ENDINGS)}.")
    detector = load(model, settings["device"])
    series = chosen_series(reread(session, detector, data, settings), name)
    found = found_by(detector, series, session, settings)
    names = {"model": str(model), "data": DEFAULT_DATA if data is None else data}
    text = report_html(detector, series, found=found, level=level, title=title, names=names)
    write_text(text, output)
    session.say(f"{len(series)} rows and {len(found.events)} events reported in {output}, {len(text) / 1e6:.1f} MB.")
