"""`seqae info`: what is in a model file."""

from __future__ import annotations

__all__ = ["command", "section"]

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from seqae.anomaly.detector import Detector
from seqae.anomaly.fleets.fleet import Fleet
from seqae.cli.command import COMMON, Command
from seqae.cli.fitting import STOPPED
from seqae.cli.fleet import load
from seqae.cli.options import JSON, MODEL
from seqae.cli.output import to_json
from seqae.report.words import count, number, per_time, share, value_words

Line = tuple[str, str]

SHOWN = 10
"""Series and channels that are listed; --json has all."""
MODES = {
    "overlap": "all windows that see a row have a say, also those of later rows",
    "causal": "the past alone, as seqae stream needs it",
    "centred": "the window around a row",
}
FUSIONS = {"max": "the highest wins", "sum": "they are added"}
WIDTH = 14


@click.command(
    "info",
    cls=Command,
    examples=("seqae info runs/pump/model.safetensors", "seqae info runs/pump --json"),
)
@MODEL
@JSON
@COMMON
def command(model: Path, as_json: bool) -> None:
    """Say what is in a model file.

    MODEL is a model file or the folder of a run. Shown are the model, its window and why, the data and the training,
    the score's heads and their weights, the threshold and the false alarms to be expected, and what the training data
    were like, which new data are compared with. --json has every option and number, the recipe and the fingerprint.
    """
    judge = load(model, "cpu")
    if as_json:
        click.echo(to_json(judge.describe()))
        return
    click.echo("\n".join(_fleet(judge) if isinstance(judge, Fleet) else _model(judge)))


def _model(detector: Detector) -> Iterator[str]:
    """Yield the lines that tell of one model."""
    told = detector.describe()
    options, channels = told["options"], told["preparation"]["channels"]
    yield f"{_kind(options)} of {_listed(channels)}"
    yield from section("Model", _network(detector, told))
    yield from section("Training", _training(told))
    yield from section("Score", _score(detector, told))
    yield from section("Threshold", _threshold(detector, told))
    yield from section("Drift", _drift(detector))


def _fleet(fleet: Fleet) -> Iterator[str]:
    """Yield the lines that tell of a model for each series."""
    told = fleet.describe()
    each: Mapping[str, Mapping[str, Any]] = told["series"]
    yield f"{count(len(each), 'model')}, one for each series: {_kind(told['options'])}"
    yield ""
    rows = [("series", "rows", "window", "epochs", "threshold", "false alarms to be expected")]
    for name, one in list(each.items())[:SHOWN]:
        own = fleet[name].describe()["threshold"]
        value = "none" if own is None else "out of reach" if own["value"] is None else number(own["value"])
        alarms = "-" if own is None or own["value"] is None else _rate(own)
        rows.append((name, number(one["rows"]), number(one["window"]), number(one["epochs"]), value, alarms))
    yield from _table(rows)
    if len(each) > SHOWN:
        yield f"  and {len(each) - SHOWN} more"
    for title, said in (("No model", fleet.failures), ("Remarks", {n: " ".join(t) for n, t in fleet.remarks.items()})):
        if said:
            yield from section(title, list(said.items())[:SHOWN])
            if len(said) > SHOWN:
                yield f"  and {len(said) - SHOWN} more"


def _network(detector: Detector, told: Mapping[str, Any]) -> Iterator[Line]:
    options, step = told["options"], told["preparation"]["step"]
    layers = f"{count(options['hidden'], 'unit')} in {count(options['layers'], 'layer')}"
    yield "network", f"{options['latent']} latent dimensions, {layers}; {count(told['parameters'], 'weight')}"
    yield "likelihood", f"{value_words(options['likelihood'])}; prior {options['prior']}"
    yield "condition", value_words(told["preparation"]["conditions"])
    why = "as given" if options["window"] else told["window_choice"].get("reason", "")
    every = "" if step is None else f" of {step['text']}"
    yield "window", f"{count(detector.window, 'step')}{every}" + (f": {why}" if why else "")
    channels = told["preparation"]["channels"]
    yield "channels", f"{len(channels)}: {_listed(channels)}; scaling {told['preparation']['scaler']}"


def _training(told: Mapping[str, Any]) -> Iterator[Line]:
    data, history = told["training_data"], told["history"]
    many = f"{data['series']} series, " if data["series"] > 1 else ""
    yield (
        "data",
        f"{many}{count(data['rows'], 'row')}" + (f", {data['first']} to {data['last']}" if data["first"] else ""),
    )
    used = {"fit": "to fit", "validation": "to stop by", "calibration": "to set the threshold by"}
    yield "rows", ", ".join(f"{number(rows)} {used.get(part, part)}" for part, rows in data["parts"].items() if rows)
    ended = STOPPED.get(history["stopped"], history["stopped"])
    best = f"; the best was epoch {history['best_epoch']}" if history["best"] else ""
    yield "epochs", f"{history['epochs']} in {number(history['seconds'], 2)} s ({ended}){best}"
    yield "sha256", data["sha256"]


def _score(detector: Detector, told: Mapping[str, Any]) -> Iterator[Line]:
    options, fusion = told["options"], told["fusion"]
    yield "mode", f"{options['mode']}: {MODES.get(options['mode'], '')}"
    yield "smoothing", "none" if detector.smoothing == 1 else f"a mean over {detector.smoothing} rows"
    weights = [1.0] * len(detector.judge.names) if fusion is None else fusion["weights"]
    for place, (name, weight) in enumerate(zip(detector.judge.names, weights, strict=True)):
        yield "" if place else "heads", name if fusion is None else f"{name:<18} weight {number(weight, 2)}"
    if fusion is not None:
        how = FUSIONS.get(fusion["how"], "")
        yield "fusion", f"{fusion['how']}: {how}, each by how rare it is among {count(fusion['rows'], 'held-back row')}"


def _threshold(detector: Detector, told: Mapping[str, Any]) -> Iterator[Line]:
    own = told["threshold"]
    if own is None:
        yield "value", "none: trained with --calibration 0. Set one with --calibrate FILE of normal data"
        return
    value = "out of reach: nothing can be flagged" if own["value"] is None else number(own["value"])
    yield "value", f"{value} ({own['method']}, alpha {own['alpha']:g})"
    if own["value"] is not None:
        yield "expected", f"{_rate(own)}, by chance"
        if own["rate_interval"]:
            low, high = own["rate_interval"]
            yield "bounds", f"{share(low)} to {share(high)} of as many new normal rows (90 %)"
    worth = f", worth about {number(own['effective'], 3)} independent ones" if own.get("effective") else ""
    span = f", {own['first']} to {own['last']}" if own.get("first") else ""
    yield "calibrated on", f"{own['source']}: {count(own['rows'], 'scored row')}{span}{worth}"
    doubt = None if detector.calibration is None else detector.calibration.doubt()
    if doubt is not None:
        yield "doubt", doubt
    for place, (name, one) in enumerate(list(told["thresholds"].items())[:SHOWN]):
        level = "out of reach" if one["value"] is None else f"{number(one['value'])}; {_rate(one)}"
        yield "" if place else "each series", f"{name}: {level}"
    if len(told["thresholds"]) > SHOWN:
        yield "", f"and {len(told['thresholds']) - SHOWN} more series"


def _drift(detector: Detector) -> Iterator[Line]:
    reference = detector.preparation.reference
    if reference is None:
        yield "reference", "none: new data cannot be compared with those of the training"
        return
    yield "reference", "new data are warned of that have left what those of the training were like:"
    rows: list[Sequence[str]] = [("channel", "mean", "deviation", "lowest", "highest", "missing")]
    for name, one in list(reference.channels.items())[:SHOWN]:
        figures = (one.mean, one.std, one.quantiles[0], one.quantiles[-1])
        rows.append((name, *map(number, figures), share(one.missing)))
    for line in _table(rows, indent=""):
        yield "", line
    if len(reference.channels) > SHOWN:
        yield "", f"and {len(reference.channels) - SHOWN} more channels"


def _kind(options: Mapping[str, Any]) -> str:
    return f"{options['model']} ({options['cell']}, {options['decoder_type']})"


def _rate(threshold: Mapping[str, Any]) -> str:
    """Return how many false alarms are to be expected."""
    often = f", {per_time(daily)}" if (daily := threshold.get("false_alarms_per_day")) else ""
    return f"{share(threshold['false_alarm_rate'])} of normal rows are flagged{often}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def section(title: str, lines: Iterator[Line] | Sequence[Line]) -> Iterator[str]:
    """Yield a heading and its lines, what they say in one column."""
    yield ""
    yield title
    for name, text in lines:
        yield f"  {name:<{WIDTH}} {text}".rstrip()


def _table(rows: Sequence[Sequence[str]], indent: str = "  ") -> Iterator[str]:
    """Yield rows as aligned text, the first column to the left, numbers to the right, the last as it is."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for first, *middle, last in rows:
        cells = [f"{text:>{width}}" for text, width in zip(middle, widths[1:-1], strict=True)]
        yield f"{indent}{'  '.join([f'{first:<{widths[0]}}', *cells, last])}"
