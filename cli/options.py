"""Options that several commands share. Defaults come from the library's own signatures, choices from its menus."""

from __future__ import annotations

__all__ = [
    "DATA",
    "ELNINO",
    "JSON",
    "LEVEL",
    "MODEL",
    "NETWORK",
    "READING",
    "RELIMIT",
    "REREADING",
    "RUNNING",
    "SCORING",
    "TRAINING",
    "table_output",
]

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from seqae.anomaly.detector import SCORER, Detector
from seqae.anomaly.fusion import FUSIONS
from seqae.anomaly.pipeline import LABELLED
from seqae.anomaly.scoring import MISSING, MODES, SCORERS
from seqae.anomaly.thresholds.rules import THRESHOLDS
from seqae.cli.command import Group, Names, OrOff, option
from seqae.datasets.tables import read_csv
from seqae.models import MODELS
from seqae.nn.decoders import DECODERS, FEEDBACKS
from seqae.nn.latents import PRIORS
from seqae.nn.likelihoods import LIKELIHOODS
from seqae.nn.recurrence import CELLS
from seqae.objectives import NOISES
from seqae.scaling import SCALINGS
from seqae.timeaxis import DUPLICATES, IRREGULAR, ORDERS, TIME_UNITS
from seqae.training.devices import PRECISIONS
from seqae.training.loop import OPTIMIZERS
from seqae.training.schedules import FORCINGS, LEARNING_RATES, SCHEDULES


def _whole(least: int) -> click.IntRange:
    kind = click.IntRange(min=least)
    kind.name = "whole number"  # what click's message calls a value that is none
    return kind


def _number(least: float, below: float | None = None, *, least_open: bool = False) -> click.FloatRange:
    kind = click.FloatRange(min=least, max=below, min_open=least_open, max_open=True)
    kind.name = "number"
    return kind


COUNT, SIZE = _whole(0), _whole(1)
POSITIVE, WEIGHT = _number(0, least_open=True), _number(0)
SHARE, RATE = _number(0, 1), click.FloatRange(0, 1)
FALSE_ALARMS, LEVELS = _number(0, 0.5, least_open=True), _number(0, 1, least_open=True)


def one_of(menu: Iterable[str]) -> click.Choice[str]:
    """Return the choice of a menu's names."""
    return click.Choice(list(menu))


def of(function: Callable[..., Any], section: str) -> Callable[..., Callable[[Any], Any]]:
    """Return `setting(name, type, help, *more_names)`: an option whose default is that of a parameter of `function`."""
    parameters = inspect.signature(function).parameters

    def setting(name: str, kind: click.ParamType, text: str, *names: str, **more: Any) -> Callable[[Any], Any]:
        default = parameters[name].default
        names = names or (f"--{name.replace('_', '-')}",)
        if isinstance(kind, OrOff) and default is None:
            more = {"show_default": "off"} | more
        return option(*names, name, type=kind, section=section, help=text, **{"default": default} | more)

    return setting


def switch(name: str, text: str, section: str) -> Callable[[Any], Any]:
    """Return an on-off option of Detector."""
    default = inspect.signature(Detector).parameters[name].default
    flag = name.replace("_", "-")
    return option(f"--{flag}/--no-{flag}", name, default=default, section=section, help=text)


def _reading(*, again: bool) -> Group:
    """Return the options for reading a table; None where not given: then read_csv's default holds, or training's."""
    title = "Reading the table" + (" (as for training, where not given)" if again else "")
    parameters = inspect.signature(read_csv).parameters

    def setting(name: str, kind: click.ParamType, text: str, **more: Any) -> Callable[[Any], Any]:
        default = parameters[name].default
        more = {} if again else {"show_default": default} | more
        return option(f"--{name.replace('_', '-')}", name, type=kind, section=title, help=text, **more)

    return Group(
        setting("time", click.STRING, "The time column.", show_default="the one that looks like it"),
        option("--no-time", is_flag=True, section=title, help="There is no time column: rows are even steps."),
        setting("columns", Names(), "The channels.", show_default="all numeric columns"),
        setting("drop", Names(), "Columns to leave out."),
        setting("label", click.STRING, "The column that marks anomalous rows; it is never shown to the model."),
        setting("id", click.STRING, "The column that says which series a row belongs to."),
        setting("na_values", Names(), "What means a missing value, beside an empty field: -9999, or -9999,off."),
        setting("time_unit", one_of(TIME_UNITS), "What a numeric time column counts since 1970."),
        setting("time_format", click.STRING, "How stamps are written, such as '%d/%m/%Y %H:%M'."),
        setting("tz", click.STRING, "The time zone of the stamps, such as Europe/Berlin."),
        setting("order", one_of(ORDERS), "What to do with stamps that do not increase."),
        setting("duplicates", one_of(DUPLICATES), "What to do with a stamp that occurs twice."),
        setting("irregular", one_of(IRREGULAR), "What to do with uneven steps."),
        setting("resample", click.STRING, "Average into even steps, such as 5min or 1h."),
        setting("delimiter", click.STRING, "What separates the columns: one character, or tab."),
        setting("decimal", click.STRING, "The decimal mark."),
    )


READING = _reading(again=False)
REREADING = _reading(again=True)

_model = of(Detector, "Model")
NETWORK = Group(
    _model("model", one_of(MODELS), "Autoencoder, variational, or conditional variational."),
    _model("cell", one_of(CELLS), "The recurrent cell."),
    _model(
        "decoder_type", one_of(DECODERS), "What the decoder is fed at every step.", "--decoder_type", "--decoder-type"
    ),
    _model("feedback", one_of(FEEDBACKS), "What of the step before is fed back."),
    switch("reverse", "Decode from the last step to the first.", "Model"),
    _model("window", _whole(2), "Steps in a window.", show_default="one period of the data, from 16 to 256 steps"),
    _model("latent", SIZE, "Latent dimensions."),
    _model("hidden", SIZE, "Units of a recurrent layer."),
    _model("layers", SIZE, "Recurrent layers."),
    switch("bidirectional", "Let the encoder read both ways.", "Model"),
    _model("likelihood", one_of(LIKELIHOODS), "The distribution of a value around its reconstruction."),
    _model("prior", one_of(PRIORS), "The latent's prior; conditional needs a CVAE."),
    _model(
        "condition",
        Names(),
        "What a CVAE is told beforehand: calendar, or columns of the table.",
        show_default="calendar for a CVAE, where there is a time axis",
    ),
    _model("scaling", one_of(SCALINGS), "How channels are brought to one scale."),
)

_fit = of(Detector.fit, "Training")
TRAINING = Group(
    _fit("epochs", SIZE, "The most epochs to train."),
    _fit("batch_size", SIZE, "Windows in a batch."),
    _fit("least_steps", SIZE, "Batches an epoch has at least: several passes over the windows where one has fewer."),
    _fit("learning_rate", POSITIVE, "The optimiser's step."),
    _fit("optimizer", one_of(OPTIMIZERS), "The optimiser."),
    _fit("weight_decay", WEIGHT, "Decay of the weights."),
    _fit("clip", OrOff(POSITIVE), "The largest norm of a gradient, or off."),
    _fit("schedule", one_of(LEARNING_RATES), "How the learning rate changes."),
    _fit("patience", OrOff(SIZE), "Epochs without improvement until training stops, or off."),
    _fit("max_time", OrOff(POSITIVE), "Seconds until training stops, or off."),
    _fit("beta", WEIGHT, "The weight of the KL term."),
    _fit("beta_schedule", one_of(SCHEDULES), "How that weight comes up."),
    _fit("warmup", POSITIVE, "Epochs of its rise, or of one cycle."),
    _fit("free_bits", WEIGHT, "Nats of KL a latent dimension has for nothing."),
    _fit("noise", OrOff(one_of(NOISES)), "Corrupt what the encoder sees in training, or off."),
    _fit("noise_level", WEIGHT, "Standard deviation of that noise, or the share masked."),
    _fit(
        "importance_samples",
        SIZE,
        "Draws of the importance-weighted bound to train by (IWAE; with --beta-schedule constant); 1 is the ELBO.",
    ),
    _fit("teacher_forcing", RATE, "The share of steps fed with true values; needs --feedback output."),
    _fit("forcing_schedule", one_of(FORCINGS), "How that share falls."),
    _fit("forcing_epochs", POSITIVE, "Epochs of its fall; k of the inverse sigmoid."),
    _fit("train_stride", SIZE, "Steps between training windows.", show_default="window / 8, or rows / 1000 if fewer"),
    _fit("min_observed", RATE, "The share of observed values that a window needs, in training and in scoring."),
    _fit("validation", SHARE, "The share of rows held back to stop training by."),
    _fit("calibration", SHARE, "The share of rows held back to set the threshold by."),
    _fit("labelled", one_of(LABELLED), "Whether rows labelled anomalous are trained and calibrated on."),
    _fit("device", click.STRING, "auto, cpu, cuda, cuda:1 or mps."),
    _fit("precision", one_of(PRECISIONS), "What matrix products are computed in."),
    _fit("seed", COUNT, "The same seed gives the same model."),
)

_score = of(Detector, "Scores and events")


def _limit(*, again: bool) -> Group:
    """Return the options that turn scores into events; with `again`, None where not given: then as in training."""
    more: dict[str, Any] = {"default": None} if again else {}
    return Group(
        _score(
            "threshold",
            one_of(THRESHOLDS),
            "How the threshold follows from the calibration scores; adaptive goes on to follow what is scored.",
            **more,
        ),
        _score("alpha", FALSE_ALARMS, "The share of normal rows that may be flagged.", **more),
        _score("merge", COUNT, "Normal steps between two events that are still one.", **more),
        _score("min_length", SIZE, "Steps that an event needs.", **more),
    )


SCORING = Group(
    _score(
        "scorer",
        Names(SCORERS),
        f"What is strange: one of these or several, such as nll,energy: {', '.join(SCORERS)}.",
        "--score",
        "--scorer",
        show_default=",".join(SCORER),
    ),
    _score("fusion", one_of(FUSIONS), "How several heads are made one."),
    _score(
        "mode",
        one_of(MODES),
        "Whose error is a step's score: all windows that see it (overlap: smooth, blurs by up to a window), the one "
        "that ends there (causal: only the past, exact onsets), or the one around it (centred).",
    ),
    _score("smoothing", SIZE, "Steps of the moving mean over scores.", show_default="half the window; causal: none"),
    _score("missing", one_of(MISSING), "Whether a missing value is part of the score: strange where it is rare."),
    _score("stride", SIZE, "Steps between scored windows.", show_default="a sixteenth of the window; 1 for causal"),
    *_limit(again=False).options,
    switch("per_series", "Let each series of a panel have a threshold of its own.", "Scores and events"),
)
RELIMIT = Group(
    option(
        "--calibrate", metavar="FILE", help="Set the threshold anew, by other normal data.", section="Scores and events"
    ),
    *_limit(again=True).options,
)

RUNNING = Group(
    option("--device", default="cpu", help="auto, cpu, cuda, cuda:1 or mps."),
    of(Detector.detect, "Options")("batch_size", SIZE, "Windows that are evaluated at a time."),
)
ELNINO = {"model": "CVAE", "window": 24, "latent": 4, "labelled": "exclude", "scorer": ("nll",), "smoothing": 1}
"""What suits the bundled series: 61 years of months with a yearly cycle, its strong El Niño episodes labelled. Events
of a few months want scores exact in time: one head that scores each month, not smoothed."""

LEVEL = option(
    "--level",
    type=LEVELS,
    default=inspect.signature(Detector.reconstruct).parameters["level"].default,
    help="The share of values that the band should cover.",
)
JSON = option("--json", "as_json", is_flag=True, help="Write JSON.")
DATA = click.argument("data", required=False)
MODEL = click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))


def table_output(text: str) -> Callable[[Any], Any]:
    """Return -o for a table."""
    return option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help=text, show_default="stdout")
