"""`seqae plot`: the picture of a scored series."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Any, cast

import click
import pandas as pd

from seqae.anomaly.detector import Detection, Detector
from seqae.anomaly.fleets.folder import listed
from seqae.cli.command import COMMON, CONFIG, Command, Numbers, Session, option
from seqae.cli.options import DATA, LEVEL, MODEL, RELIMIT, REREADING, RUNNING
from seqae.cli.output import check_inputs, check_output, replaced
from seqae.cli.reading import found_by, load, reread
from seqae.errors import OptionError
from seqae.report.figures import figure_series
from seqae.report.series_gallery import GALLERY, Look
from seqae.series import Panel, Series, as_panel

FORMATS = (".png", ".svg", ".pdf")


@click.command(
    "plot",
    cls=Command,
    examples=(
        "seqae plot runs/pump/model.safetensors today.csv -o today.png",
        "seqae plot runs/elnino -o elnino.png --title 'Sea-surface temperature off Peru'",
    ),
)
@MODEL
@DATA
@option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", required=True, help="A .png, .svg or .pdf file."
)
@option(
    "--what",
    type=click.Choice(["series", *GALLERY]),
    default="series",
    help="The series with score and events; the codes of its windows, by label or time; what changes along each latent "
    "dimension; new windows over real ones (of a CVAE that knows the month, by month); the way between two windows.",
)
@option(
    "--rows",
    type=Numbers(),
    metavar="N,N",
    help="Of interpolation: rows at which its two windows begin.",
    show_default="the two ends of the latent space's main direction",
)
@option("-n", "--number", type=click.IntRange(1, 1000), default=50, help="Of samples: how many.")
@option("--seed", type=click.IntRange(min=0), default=0, help="Of samples: the same seed draws the same ones.")
@option("--series", "name", help="Which series of a panel to draw.")
@option("--title", help="The picture's title.", show_default="the name of the series, or what is shown")
@option("--dpi", type=click.IntRange(40, 600), default=150, help="Pixels an inch; the picture is 12 inches wide.")
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
    what: str,
    rows: tuple[int, ...] | None,
    number: int,
    seed: int,
    name: str | None,
    title: str | None,
    dpi: int,
    level: float,
    **settings: Any,
) -> None:
    """Draw the series, its reconstruction, the score and the events.

    With --what: what the model has learned of windows.

    MODEL is a model file or the folder of a run. DATA is a CSV or Parquet file, a folder of them, or - for stdin.
    Events are shaded and numbered as in the tables of the other commands.
    """
    detector = load(model, settings["device"])
    check_inputs(data, settings["calibrate"])
    check_picture(output, data, model)
    series = chosen_series(reread(session, detector, data, settings), name)
    if what != "series":
        figure = GALLERY[what](detector, Look(series, rows or (), number, seed, title))
        with replaced(output) as part:
            figure.savefig(part, dpi=dpi, format=output.suffix[1:].lower())
        session.say(f"{what} drawn in {output}.")
        return
    found = found_by(detector, series, session, settings)
    draw(detector, series, found, output, title=title, dpi=dpi, level=level)
    session.say(f"{len(series)} rows and {len(found.events)} events drawn in {output}.")


def check_picture(output: Path | None, *inputs: Path | str | None) -> None:
    """Refuse a picture that could not be written, before the long work."""
    check_output(output, *inputs)
    if output is not None and output.suffix.lower() not in FORMATS:
        raise OptionError(f"{output} ends with no picture format. Give a name that ends with {', '.join(FORMATS)}.")


def chosen_series(data: Series | Panel, name: str | None) -> Series:
    """Return the series to draw or to report on: the only one, or the one named."""
    if isinstance(data, Series) and name in (None, data.name):
        return data
    panel = as_panel(data)
    if name in panel.names:
        return panel[name]
    asked = f"there is no series {name!r}" if name is not None else f"there are {len(panel)} series, and one is wanted"
    raise OptionError(f"{asked}. Name one of them with --series: {listed(panel.names)}.")


def draw(
    detector: Detector,
    series: Series,
    found: Detection,
    output: Path,
    *,
    title: str | None = None,
    dpi: int = 150,
    level: float = 0.95,
) -> None:
    """Write the picture of one series with what was found in it."""
    own = detector.calibration_of(series.name)
    figure = figure_series(
        series,
        reconstruction=cast(pd.DataFrame, detector.reconstruct(series, level)),  # of one series, one table
        scores=cast(pd.DataFrame, found.scores),
        events=found.events,
        threshold=found.threshold if own is None else own.threshold.value,
        title=title,
    )
    with replaced(output) as part:
        figure.savefig(part, dpi=dpi, format=output.suffix[1:].lower())
