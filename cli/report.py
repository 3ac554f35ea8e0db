"""`seqae report`: one HTML page about a scored series."""

from __future__ import annotations

__all__ = ["command"]

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from seqae.anomaly.fleets.folder import INDEX, holds_fleet, member_file, read_index
from seqae.cli.command import COMMON, CONFIG, Command, Session, option
from seqae.cli.options import DATA, LEVEL, MODEL, RELIMIT, REREADING, RUNNING
from seqae.cli.output import check_inputs, check_output, write_text
from seqae.cli.plot import chosen_series
from seqae.cli.reading import DEFAULT_DATA, found_by, load, name_of, reread
from seqae.errors import OptionError
from seqae.report.html import report_html
from seqae.series import Panel, Series

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
@option("--series", "name", metavar="NAME", help="Which of several series to report on.")
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
    Of several series (a folder, --id, or a run of `seqae train --each`) --series says which the page is about.
    The page is one file that needs no network: the series with what the model expected, events that zoom when they
    are clicked, each channel's share in them, how the threshold was chosen and, with --label, how the model did.
    """
    each = holds_fleet(model)
    whose = _member(model, data, name) if each else name
    detector = load(member_file(model, whose) if each else model, settings["device"])
    check_inputs(data, settings["calibrate"])
    check_output(output, data, model)
    if output.suffix.lower() not in ENDINGS:
        raise OptionError(f"{output} does not end like a page. Give a name that ends with {' or '.join(ENDINGS)}.")
    series = _named(reread(session, detector, data, settings), whose, own=each or whose in detector.judge.calibrations)
    if each and settings["calibrate"] is not None:  # by the same series of the normal data
        normal = reread(session, detector, settings["calibrate"], settings)
        detector.calibrate(_named(normal, whose, own=True), threshold=settings["threshold"], alpha=settings["alpha"])
        settings |= {"calibrate": None, "threshold": None, "alpha": None}
    found = found_by(detector, series, session, settings)
    names = {"model": str(model), "data": DEFAULT_DATA if data is None else data}
    text = report_html(detector, series, found=found, level=level, title=title, names=names)
    write_text(text, output)
    session.say(f"{len(series)} rows and {len(found.events)} events reported in {output}, {len(text) / 1e6:.1f} MB.")


def _member(model: Path, data: str | None, name: str | None) -> str | None:
    """Return whose model of a fleet is to be taken: the one named, or that of the only file's name."""
    if name is not None or data is None or Path(data).is_dir():
        return name
    return name_of(data) if name_of(data) in read_index(model / INDEX)["series"] else None


def _named(given: Series | Panel, name: str | None, *, own: bool) -> Series:
    """Return one of the series. own: whether the model knows it by its name, whatever an only file is called."""
    if own and name is not None and isinstance(given, Series):
        return replace(given, name=name)
    return chosen_series(given, name)
