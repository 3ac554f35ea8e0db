"""`seqae evaluate`: what scores are worth against labels."""

from __future__ import annotations

__all__ = ["command"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from seqae.anomaly.metrics.evaluation import evaluate
from seqae.anomaly.metrics.labels import LABEL_NAMES, IntervalLabels, marks_of, read_events, read_labels
from seqae.anomaly.metrics.rows import ROW, Table, read_parts, read_rows
from seqae.anomaly.metrics.segments import Flags, Floats
from seqae.anomaly.metrics.vus import FALLBACK, VARIANT, vus_window
from seqae.cli.command import COMMON, CONFIG, Command, Session, option
from seqae.cli.options import JSON, table_output
from seqae.cli.output import check_inputs, check_output, write_table
from seqae.errors import DataError, OptionError
from seqae.timeaxis import TIME_UNITS

SERIES, FLAGS, MEAN = "series", "is_anomaly", "(mean)"
COUNT = click.IntRange(min=0)
COUNT.name = "whole number"
TITLES = {
    "vus_pr": f"VUS-PR ({VARIANT})",
    "vus_roc": f"VUS-ROC ({VARIANT})",
    "average_precision": "average precision",
    "auroc": "AUROC",
    "ucr_hit": "UCR hit",
    "event_precision": "event precision",
    "event_recall": "event recall",
    "false_alarms_per_thousand": "false alarms per 1,000 normal rows",
    "precision": "precision of rows",
    "composite_f1": "composite F1",
    "affiliation_precision": "affiliation precision",
    "affiliation_recall": "affiliation recall",
    "pa20_f1": "PA%20 F1",
    "best_pa20_f1": "PA%20 F1, best threshold by the labels",
}
"""What a metric is called, in the order of the output."""


@click.command(
    "evaluate",
    cls=Command,
    examples=(
        "seqae evaluate scores.csv --labels labels.csv",
        "seqae evaluate scores.csv --labels faults.csv --data today.csv --json > quality.json",
    ),
)
@click.argument("scores")
@option(
    "--labels", metavar="FILE", required=True, help="A table with a column of labels, or of start and end; or JSON."
)
@option(
    "--label-column", metavar="NAME", help="The column of labels.", show_default=f"{', '.join(LABEL_NAMES[:4])}, ..."
)
@option("--key", metavar="NAME", help="The entry of a JSON file, such as realTweets/Twitter_volume_AAPL.csv.")
@option(
    "--events",
    metavar="FILE",
    help="The events that seqae score listed (--events), CSV or .jsonl: measure these, not runs of flagged rows.",
)
@option("--data", metavar="FILE", help="The scored table, for the energy.", show_default="numbers beside the labels")
@option("--id", metavar="NAME", help="The column that says which series a row belongs to.", show_default=SERIES)
@option("--score-column", metavar="NAME", default="score", help="The column of scores.")
@option("--time", metavar="NAME", help="The time column of labels and data.", show_default="that of the scores")
@option("--no-time", is_flag=True, help="Match labels and data by row number.")
@option("--time-unit", type=click.Choice(list(TIME_UNITS)), help="What a numeric time column counts since 1970.")
@option("--window", type=COUNT, metavar="N", help="The widest margin of VUS, in rows.", show_default="the period")
@option("--from-row", type=COUNT, default=0, metavar="N", help="The first row to measure, counted from 0.")
@option("--to-row", type=COUNT, metavar="N", help="The row to stop before.", show_default="the end")
@option("--seed", type=COUNT, default=0, help="The random score's seed.")
@table_output("The results as a table, a row for each series and method.")
@JSON
@CONFIG
@COMMON
@click.pass_obj
def command(
    session: Session,
    scores: str,
    labels: str,
    data: str | None,
    events: str | None,
    output: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure scores against labels.

    SCORES is a table that seqae score wrote, or any with a column of scores; - is stdin. Labels are matched by stamp,
    or by row number, from 0. They are a column of 0 and 1 in a table; or intervals, both ends included, in a table with
    the columns start and end or in NAB's JSON. Beside each figure stands that of a random score (the mean of 10) and,
    where the scored values are known, that of their smoothed energy: a score that beats neither has found nothing.

    Events are runs of flagged rows (is_anomaly), or with --events those that seqae score listed, which are narrower:
    narrowed to the rows that are off, and several in a run where several are. VUS has margins around the labels, as
    wide as one period of the values; where those are not known it is that of the scores, so that two models may
    differ in it: compare them with --data, or with the same --window.
    """
    check_inputs(scores, labels, data, events)
    check_output(output, scores, labels, data, events)
    if settings["no_time"] and settings["time"]:
        raise click.UsageError("--time and --no-time contradict each other. Give one of them.")
    tables = _scores(scores, settings)
    several = None if list(tables) == [""] else list(tables)
    first = next(iter(tables.values()))
    axis: dict[str, Any] = {
        "time": False if settings["no_time"] or isinstance(first.axis, pd.RangeIndex) else settings["time"],
        "time_unit": settings["time_unit"],
        "likely": first.time,
    }
    where: dict[str, Any] = {"series": several, "id": settings["id"] or SERIES}
    marks = read_labels(labels, column=settings["label_column"], key=settings["key"], **where, **axis)
    listed = {} if events is None else read_events(events, series=several, id=where["id"])
    parts = {} if data is None else read_parts(data, **where)
    results = {}
    for name, table in tables.items():
        known = marks[name].on(table.axis)
        if data is None:
            values = marks[name].values_on(table.axis)
        elif name in parts:
            own = Table.of(parts[name], Path(data).name, **axis)
            values = own.numbers([*LABEL_NAMES, str(settings["label_column"])])
            values = None if values is None else values[own.rows_at(table.axis)]
        else:
            raise DataError(f"{Path(data).name} has no row for the series {name!r}. Leave out --data, or correct it.")
        results[name] = _measure(name or table.name, table, known, values, listed.get(name), settings)
    rows = _rows(results)
    if output is None and not as_json:
        click.echo(_text(rows))
        return
    if as_json:
        session.say(_margins(rows))
    write_table(rows, output, as_json=as_json)
    if output is not None:
        session.say(_text(rows))


def _scores(path: str, settings: Mapping[str, Any]) -> dict[str, Table]:
    """Return the table of each series, or of the only one, called ""."""
    shown, column, id_column = "stdin" if path == "-" else Path(path).name, settings["score_column"], settings["id"]
    frame = read_rows(path)
    if column not in frame.columns:
        there = ", ".join(frame.columns)
        raise DataError(f"{shown} has no column {column!r}. Name it with --score-column; the columns are {there}.")
    name = next((one for one in (id_column, SERIES) if one in frame.columns), None)
    if name is None and id_column is not None:
        raise DataError(f"{shown} has no column {id_column!r} for --id; the columns are {', '.join(frame.columns)}.")
    groups = (
        {"": frame} if name is None else {str(one): part for one, part in frame.groupby(name, sort=False, dropna=False)}
    )
    return {
        one: _table(part.reset_index(drop=True).drop(columns=name or []), shown, column) for one, part in groups.items()
    }


def _table(frame: pd.DataFrame, shown: str, column: str) -> Table:
    """Return the scores on their axis, which seqae score writes first: stamps, or numbers that increase."""
    first = frame.columns[0]
    numbers = frame[first].to_numpy() if first not in (column, ROW) and frame[first].dtype.kind in "iuf" else None
    return Table.of(frame, shown, time=first if numbers is not None and (np.diff(numbers) > 0).all() else None)


def _measure(
    name: str, table: Table, marks: Flags, values: Floats | None, events: IntervalLabels | None,
    settings: Mapping[str, Any],
) -> pd.DataFrame:  # fmt: skip
    """Return the metrics of one series, within the rows that are asked for."""
    column, window, start, stop = (settings[key] for key in ("score_column", "window", "from_row", "to_row"))
    try:
        scores = pd.to_numeric(table.frame[column]).to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as problem:
        raise DataError(f"{table.name}: column {column!r} does not hold numbers. Name that of the scores.") from problem
    asked = slice(start, stop)
    if not len(scores[asked]):
        asked_for = f"from {start or 0}" + ("" if stop is None else f" to {stop}")
        raise OptionError(f"{name} has {len(scores)} rows, and none {asked_for}. Correct --from-row, --to-row.")
    origin = "option"
    if window is None:
        finite = scores[~np.isnan(scores)]
        origin = "values" if values is not None else "scores"
        window = vus_window(values if values is not None else finite if len(finite) else scores)
    flags, spans, told = None, None, "none"
    if events is not None:
        low, high, _ = asked.indices(len(scores))
        spans = events.rows_on(table.axis).clip(low, high) - low
        spans = spans[spans[:, 0] < spans[:, 1]]
        told = events.name
    elif FLAGS in table.frame.columns:
        flags, told = marks_of(table.frame[FLAGS], table.name)[asked], FLAGS
    found = evaluate(
        scores[asked],
        marks[asked],
        flags=flags,
        events=spans,
        values=None if values is None else values[asked],
        window=window,
        seed=settings["seed"],
    )
    return found.assign(window_from=origin, events_from=told)


def _rows(results: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row for each series and method; of several series also their mean, where it is defined."""
    tables = []
    for name, table in results.items():
        titled = table.reset_index(names="method")
        titled.insert(1, "vus_variant", VARIANT)
        if name:
            titled.insert(0, SERIES, name)
        tables.append(titled)
    rows = pd.concat(tables, ignore_index=True)
    if SERIES not in rows.columns:
        return rows
    counted = ["rows", "unscored", "anomalies"]
    metrics = [name for name in TITLES if name in rows.columns]
    by_method = rows.groupby("method", sort=False)
    means = by_method[metrics].mean().join(by_method[counted].sum()).reset_index()
    defined = by_method["vus_pr"].count().to_numpy()
    note = [f"of {len(results)} series, {count} with a VUS" for count in defined]
    means = means.assign(series=MEAN, vus_variant=VARIANT, note=note, events_from=rows["events_from"].iloc[0])
    return pd.concat([rows, means], ignore_index=True)


def _text(rows: pd.DataFrame) -> str:
    """Return the results for reading: the methods side by side; of several series a line each, then their mean."""
    if SERIES not in rows.columns:
        return _side_by_side(rows, _margins(rows))
    lines = [f"{TITLES['vus_pr']} of each series"]
    methods = list(dict.fromkeys(rows["method"]))
    wide = max(map(len, rows[SERIES]))
    lines.append(" ".join([f"{'series':<{wide}}", *(f"{one:>9}" for one in methods), "  anomalies"]))
    for name, part in rows[rows[SERIES] != MEAN].groupby(SERIES, sort=False):
        of = part.set_index("method")
        shown = [_number(of["vus_pr"].get(method, np.nan)) for method in methods]
        lines.append(" ".join([f"{name!s:<{wide}}", *shown, f"{of['anomalies'].iloc[0]:>11}"]))
    mean = _side_by_side(rows[rows[SERIES] == MEAN], _margins(rows))
    return "\n".join([*lines, "", "mean over the series, where defined", mean])


def _margins(rows: pd.DataFrame) -> str:
    """Say how wide the margins of VUS were, why, and whether others' scores would have had the same."""
    own = rows[(rows["method"] == "score") & rows["window_from"].notna()]
    least, most = int(own["window"].min()), int(own["window"].max())
    wide = f"{least} rows" if least == most else f"{least} to {most} rows, each series its own"
    origin = own["window_from"].iloc[0]
    if origin == "option":
        return f"margins of VUS up to {wide}, as given."
    period = f"the period of the {origin}" if most != FALLBACK else f"taken where the {origin} show no period"
    cure = (
        "" if origin == "values" else "; to compare other scores with these, give --data, or the same --window to all"
    )
    return f"margins of VUS up to {wide}, {period}{cure}."


def _side_by_side(rows: pd.DataFrame, margins: str) -> str:
    of = rows.set_index("method")
    own = of.loc["score"]
    left_out = f"; {own['unscored']:.0f} without a score left out" if own["unscored"] else ""
    wide = max(map(len, TITLES.values()))
    lines = [f"{own['rows']:.0f} rows, {own['anomalies']:.0f} anomalies{left_out}"]
    lines.append(" ".join([" " * wide, *(f"{method:>9}" for method in of.index)]))
    for name, title in TITLES.items():
        if name in of.columns:
            lines.append(" ".join([f"{title:<{wide}}", *map(_number, of[name])]))
    lines.append(margins)
    source = own["events_from"]
    if source == FLAGS:
        lines.append("events: runs of flagged rows (is_anomaly); --events measures those that seqae score lists.")
    elif source != "none":
        lines.append(f"events: those listed in {source}, and their rows, in place of is_anomaly.")
    alike = of["note"].nunique() == 1
    notes = dict.fromkeys(note if alike else f"{method}: {note}" for method, note in of["note"].items() if note)
    return "\n".join([*lines, *notes])


def _number(value: float) -> str:
    return f"{value:>9.4f}" if np.isfinite(value) else f"{'-':>9}"
