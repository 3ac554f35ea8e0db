"""The page's HTML: headline, chart places, tables and footer; every text of a user is escaped."""

from __future__ import annotations

__all__ = ["Facts", "page"]

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqae.report.words import (
    METRICS,
    MODEL,
    SCORING,
    THRESHOLD,
    TRAINING,
    Clock,
    alarm_words,
    count,
    number,
    rhythm,
    share,
    value_words,
)
from seqae.series import Series

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
LIBRARIES = ("seqae", "torch", "numpy", "pandas", "scipy", "scikit-learn", "plotly")
MANY = 30  # events, and the table begins with the most severe
COUNTS = ("window", "rows", "unscored", "anomalies", "note")
METHODS = {"score": "this model", "random": "a random score", "energy": "smoothed energy, no model"}


class Facts(NamedTuple):
    """What a page says beside its charts; `seqae.report.html` settles it."""

    series: Series
    clock: Clock
    scores: pd.DataFrame
    events: pd.DataFrame
    listed: NDArray[np.int64]
    """Places of the events in the page's table, the most severe first."""
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    peak: NDArray[np.int64]
    threshold: Mapping[str, Any] | None
    """As `Calibration.provenance` tells it."""
    options: Mapping[str, Any]
    window: int
    reason: str
    """Why the window is as long as it is, where the data settled it."""
    history: Mapping[str, Any]
    training_data: Mapping[str, Any]
    level: float
    title: str
    names: Mapping[str, str]
    shown: int
    told: int
    detailed: int
    labelled: bool
    metrics: pd.DataFrame | str | None


def page(facts: Facts, *, style: str, script: str, library: str, data: str) -> str:
    """Return the whole page; data: JSON that is safe in a script element."""
    title = escape(facts.title)
    kind = "below" if facts.threshold is not None else "below plain"
    below = [_labels_section(facts.metrics), _threshold_section(facts), _training_section(facts)]
    main = f'{_series_section(facts)}\n<div class="{kind}">\n{chr(10).join(filter(None, below))}\n</div>'
    body = f"{_head(facts, title)}\n<main>\n{main}\n</main>\n{_footer(facts)}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}
<script type="application/json" id="report-data">{data}</script>
<script>{_closed(library)}</script>
<script>
{_closed(script)}</script>
</body>
</html>
"""


def _closed(script: str) -> str:
    """Return a script that holds no end of its own element."""
    return script.replace("</script", "<\\/script")


def _head(facts: Facts, title: str) -> str:
    series, scores, events = facts.series, facts.scores, facts.events
    flagged = int(scores["is_anomaly"].sum()) if facts.threshold is not None else 0
    unscored = int(scores["score"].isna().sum())
    missing = float((~series.observed).mean()) if series.values.size else 0.0
    rows = count(len(series), "row") + rhythm(series)
    notes = [f"{count(unscored, 'row')} could not be scored"] if unscored else []
    notes += [f"{share(missing)} of the values are missing"] if missing else []
    span = f"{facts.clock.text(0)} to {facts.clock.text(len(series) - 1)}"
    zone = f", {facts.clock.title}" if facts.clock.kind == "date" and facts.clock.title else ""
    model = ", ".join(str(facts.options[name]) for name in ("model", "cell", "decoder_type") if facts.options[name])
    where = count(flagged, "row") + (f" in {count(len(events), 'event')}" if flagged else "")
    told = [
        ("Model", _named(facts.names.get("model"), f"{model or 'a model of your own'}, window of {facts.window} rows")),
        ("Data", _named(facts.names.get("data"), f"{series.name}, {count(len(series.channels), 'channel')}")),
        ("Span", escape(span + zone)),
        ("Rows", escape("; ".join([rows, *notes]))),
        ("Flagged", "–" if facts.threshold is None else where),
    ]
    lead = f"{count(len(events), 'event').capitalize()} found in {count(len(series), 'row')}."
    terms = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in told)
    return (
        f"<header>\n<h1>{title}</h1>\n"
        f'<p class="lead"><strong>{lead}</strong> {escape(alarm_words(facts.threshold))}</p>\n'
        f"<dl>{terms}</dl>\n</header>\n<noscript><p>The charts need JavaScript; the tables do not.</p></noscript>"
    )


def _named(name: str | None, text: str) -> str:
    return escape(text) if name is None else f"<code>{escape(name)}</code><br>{escape(text)}"


def _series_section(facts: Facts) -> str:
    channels, limited = len(facts.series.channels), facts.threshold is not None and facts.threshold["value"] is not None
    keys = [("line ink", "observed"), ("line expected", "expected (reconstruction)")]
    keys += [("area band", f"band of {share(facts.level)}"), ("line score", "score")]
    keys += [("dash alarm", "threshold")] * limited
    keys += [("area alarm", "event")] * bool(len(facts.events)) + [("area labelled", "labelled")] * facts.labelled
    legend = "".join(f'<li><span class="key {kind}"></span>{escape(text)}</li>' for kind, text in keys)
    return f"""<section aria-labelledby="series-title">
<h2 id="series-title">The series, what was expected, and the score</h2>
<div class="board{"" if len(facts.events) or facts.threshold is not None else " plain"}">
<div class="charts">
<div class="bar">
<button type="button" id="whole">Whole series</button>
<button type="button" id="previous">Previous event</button>
<button type="button" id="next">Next event</button>
<label id="log-label" hidden><input type="checkbox" id="log"> logarithmic score axis</label>
</div>
<ul class="legend">{legend}</ul>
{_channel_choice(facts, channels)}
<div id="chart" role="img" aria-label="Channels with reconstruction, score and events over time"></div>
<p class="note">Drag across the chart to zoom, double-click for the whole series. {escape(_resolution(facts))}</p>
</div>
<div class="side">
{_events_table(facts)}
<div id="chosen" aria-live="polite"></div>
{_histogram(facts)}
</div>
</div>
</section>"""


def _channel_choice(facts: Facts, channels: int) -> str:
    if channels <= facts.shown:
        return ""
    left = f" {channels - facts.told} more are not in this file." if channels > facts.told else ""
    order = "first those that matter most to the events" if len(facts.events) else "first those that score highest"
    return (
        f'<details class="choice"><summary><span id="channel-count">{facts.shown} of {channels} channels shown, '
        f"{channels - facts.shown} not shown</span></summary>"
        f'<p class="note">In this order: {order}.{left}</p><div id="channels" data-all="{channels}"></div></details>'
    )


def _resolution(facts: Facts) -> str:
    if facts.detailed >= len(facts.listed) and facts.told * len(facts.series) * 16 < 1_000_000:
        return "Every row is in this file."
    text = "Where many rows share a pixel, the lowest and the highest are drawn."
    if len(facts.listed) and facts.detailed < len(facts.listed):
        text += (
            f" The {count(facts.detailed, 'event')} with the highest severity and their surroundings are told in full."
        )
    if len(facts.events) > MANY:
        text += " Of many events in view, the most severe are shaded."
    return text


def _events_table(facts: Facts) -> str:
    if not len(facts.events):
        why = "" if facts.threshold is not None else " The model has no threshold."
        return f"<h3>Events</h3>\n<p>No events.{why}</p>"
    rows = []
    for place in np.sort(facts.listed):
        event = facts.events.iloc[int(place)]
        first, last, peak = (int(where[place]) for where in (facts.first, facts.last, facts.peak))
        start, end, top = (escape(facts.clock.text(row)) for row in (first, last, peak))
        button = f'<button type="button" data-event="{place + 1}" aria-pressed="false">{place + 1}</button>'
        detail = f"{start} to {end}, peak {top}, score {number(event['score'])}"
        rows.append(
            f'<tr data-told="{detail}"><th scope="row">{button}</th><td>{start}</td>'
            f'<td class="n">{number(last - first + 1)}</td><td class="n">{number(event["severity"], 3)}</td>'
            f"<td>{escape(str(event['channels']) or 'no single one')}</td></tr>"
        )
    left = len(facts.events) - len(facts.listed)
    note = (
        f'<p class="note">{left:,} less severe events are not listed; the strip above the chart has them all.</p>'
        if left
        else ""
    )
    heads = '<th scope="col">Event</th><th scope="col">Start</th><th scope="col" class="n">Rows</th>'
    heads += '<th scope="col" class="n">Severity</th><th scope="col">Channels</th>'
    by_severity = " selected" if len(facts.listed) > MANY else ""
    order = (
        f'<select id="order"><option value="time">time</option><option value="severity"{by_severity}>severity</option>'
    )
    return (
        "<h3>Events</h3>\n<p class='note'>Choose a number to zoom there. Severity is 0 at the usual level and 1 at the "
        f"threshold. <label>Order by {order}</select></label></p>\n"
        "<div class='scroll' tabindex='0' role='region' aria-label='Events'><table id='events'>\n"
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>\n{note}"
    )


def _labels_section(metrics: pd.DataFrame | str | None) -> str:
    if metrics is None:
        return ""
    head = '<section aria-labelledby="labels-title">\n<h2 id="labels-title">Against the labels</h2>\n'
    if isinstance(metrics, str):
        return f"{head}<p>{escape(metrics)}</p>\n</section>"
    about = "A score is worth something where it is better than chance and than the plain energy of the values."
    if {"rows", "unscored", "anomalies"} <= set(metrics.columns):
        rows, left, spans = (int(metrics[name].iloc[0]) for name in ("rows", "unscored", "anomalies"))
        about += f" Measured on {count(rows, 'row')} with {count(spans, 'labelled span')}"
        about += f"; {count(left, 'row')} without a score left out." if left else "."
    if "event_precision" in metrics.columns:
        about += " Events are runs of flagged rows here, which may be wider than those in the list."
    columns = [METHODS.get(str(name), str(name)) for name in metrics.index]
    lines = [
        (METRICS.get(str(name), str(name).replace("_", " ")), *(_metric(value) for value in metrics[name]))
        for name in metrics.columns
        if name not in COUNTS
    ]
    notes = [str(note) for note in dict.fromkeys(metrics.get("note", ())) if note]
    said = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    return f"{head}<p>{about}</p>\n{_table(('Metric', *columns), lines)}\n{said}</section>"


def _metric(value: Any) -> str:
    return number(float(value), 3) if isinstance(value, int | float | np.number) else str(value)


def _histogram(facts: Facts) -> str:
    if facts.threshold is None:
        return ""
    return (
        "<h3>Scores of the calibration rows</h3>\n"
        '<div id="calibration" class="small" role="img" aria-label="Histogram of the calibration scores"></div>\n'
        '<p class="note" id="beyond"></p>'
    )


def _threshold_section(facts: Facts) -> str:
    threshold = facts.threshold
    head = '<section aria-labelledby="threshold-title">\n<h2 id="threshold-title">How the threshold was chosen</h2>\n'
    if threshold is None:
        return f"{head}<p>{escape(alarm_words(None))}</p>\n</section>"
    told = dict(threshold)
    told["value"] = "out of reach" if told["value"] is None else told["value"]
    told |= {name: share(told[name]) for name in ("alpha", "false_alarm_rate") if told.get(name) is not None}
    if told.get("rate_interval"):
        told["rate_interval"] = " to ".join(map(share, told["rate_interval"]))
    return f"{head}{_settings(told, THRESHOLD)}\n</section>"


def _training_section(facts: Facts) -> str:
    history, epochs = facts.history, len(facts.history.get("epochs", ()))
    head = '<section aria-labelledby="training-title">\n<h2 id="training-title">Training</h2>\n'
    if not epochs:
        return f"{head}<p>No epoch was completed.</p>\n</section>"
    stopped = {"finished": "all epochs done", "early": "no further improvement", "time": "the time was up"}
    why = stopped.get(history.get("stopped", ""), history.get("stopped", ""))
    text = (
        f"{count(epochs, 'epoch')} in {number(history.get('seconds'), 2)} s; {why}. The weights are those of epoch "
        f"{history.get('best_epoch')}."
    )
    return (
        f'{head}<p>{escape(text)}</p>\n<div class="pair">\n<div><h3>Loss, nats per window</h3>'
        '<div id="loss" class="small" role="img" aria-label="Loss by epoch"></div></div>\n'
        '<div id="kl-box"><h3>KL divergence, nats per window</h3>'
        '<div id="kl" class="small" role="img" aria-label="KL divergence by epoch"></div></div>\n</div>\n'
        "</section>"
    )


def _footer(facts: Facts) -> str:
    options = {**facts.options, **({"window_reason": facts.reason} if facts.reason else {})}
    model = {name: options[name] for name in MODEL if name in options}
    scoring = {name: value for name, value in options.items() if name not in MODEL}
    data, used = _settings(facts.training_data, TRAINING), {name: version(name) for name in LIBRARIES}
    boxes = [
        f"<h3>Training data</h3>{data}\n<h3>Versions that made this page</h3>{_settings(used, {})}",
        f"<h3>Model</h3>{_settings(model, MODEL)}",
        f"<h3>Scores and events</h3>{_settings(scoring, SCORING)}",
    ]
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    inner = "\n".join(f"<div>{box}</div>" for box in boxes)
    return (
        f'<footer aria-labelledby="origin-title">\n<h2 id="origin-title">Where this comes from</h2>\n'
        f'<div class="trio">\n{inner}\n</div>\n<p class="note">Written {written} by seqae. Nothing in this file is '
        "fetched from a network.</p>\n</footer>"
    )


def _settings(told: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return settings as a table, nested ones on lines of their own."""
    rows = []
    for key, value in told.items():
        label = names.get(key, key.replace("_", " "))
        if isinstance(value, Mapping) and value:
            inner = {name: f"{label}: {str(name).replace('_', ' ')}" for name in value}
            rows += [(names.get(inner[name], inner[name]), value_words(part)) for name, part in value.items()]
        else:
            rows.append((label, value_words(value)))
    return _table((), rows, kind="settings")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "figures") -> str:
    """Return a table whose rows begin with their heading."""
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    lines = []
    for name, *values in rows:
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    head = f"<thead><tr>{top}</tr></thead>" if heads else ""
    return f'<table class="{kind}">{head}<tbody>{"".join(lines)}</tbody></table>'
