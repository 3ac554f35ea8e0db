from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import seqae
from seqae import Detector
from seqae.anomaly.metrics.evaluation import evaluate
from seqae.errors import DataError
from seqae.report.aggregate import CURVE_ROWS, extreme_rows, outer_band, packed_band, packed_curve, plan
from seqae.report.html import report_html, write_report
from seqae.report.words import alarm_words, clock_of, count, number, per_time, value_words
from seqae.series import Panel, Series

HOSTILE = "flow </script><img src=x onerror=alert(1)> & \"'"
QUIET = pytest.mark.filterwarnings("ignore::seqae.errors.SeqaeWarning")
pytestmark = QUIET


def waves(rows=3000, channels=2, *, strange=(2200, 2600, 2800), seed=0, index=None) -> Series:
    """Sines with noise, shifted for ten rows from each row of `strange`, in turn in one channel after the other."""
    draw = np.random.default_rng(seed)
    values = np.sin(2 * np.pi * np.arange(rows)[:, None] / (20 + 5 * np.arange(channels)))
    values = values + 0.1 * draw.normal(size=values.shape)
    labels = np.zeros(rows, bool)
    for number_, row in enumerate(strange):
        values[row : row + 10, number_ % channels] += 5 + number_
        labels[row : row + 10] = True
    names = tuple(HOSTILE if c == 1 else f"c{c}" for c in range(channels))
    return Series(values, names, index=index, labels=labels, name="pump")


@pytest.fixture(scope="module")
def detector() -> Detector:
    quick = {"window": 32, "hidden": 8, "latent": 2, "scorer": "nll"}
    return Detector(**quick).fit(waves(2000, strange=()), epochs=2, seed=0)


class Elements(HTMLParser):
    """Every element with its attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_data(self, data):
        if self._inside:
            self.scripts[-1] += data

    def handle_endtag(self, tag):
        self._inside = False


def payload(text: str) -> dict:
    return json.loads(re.search(r'id="report-data">(.*?)</script>', text, re.DOTALL).group(1))


def unpacked(curve: dict, rows: int, key: str = "values") -> tuple[np.ndarray, np.ndarray]:
    values = np.frombuffer(base64.b64decode(curve[key]), "<f4")
    kept = np.arange(rows) if curve["rows"] is None else np.frombuffer(base64.b64decode(curve["rows"]), "<u4")
    return kept, values


def visible(text: str) -> str:
    """What a reader sees: no scripts, no styles, no tags."""
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


# ---- thinning ----


def naive_rows(values, buckets):
    if len(values) <= 2 * buckets:
        return list(range(len(values)))
    edges = np.linspace(0, len(values), buckets + 1).astype(int)
    kept = set()
    for start, stop in pairwise(edges):
        known = [row for row in range(start, stop) if not math.isnan(values[row])]
        if known:
            kept |= {min(known, key=lambda row: values[row]), max(known, key=lambda row: values[row])}
        else:
            kept.add(start)
    return sorted(kept)


@pytest.mark.parametrize("seed", range(20))
def test_extreme_rows_agree_with_a_loop(seed):
    draw = np.random.default_rng(seed)
    values = draw.integers(0, 9, size=int(draw.integers(0, 200))).astype(float)  # ties
    values[draw.random(len(values)) < draw.choice([0, 0.2, 1])] = np.nan
    buckets = int(draw.integers(1, 30))
    assert extreme_rows(values, buckets).tolist() == naive_rows(values, buckets)


@pytest.mark.parametrize("values", [[], [1.0], [np.nan] * 50, [2.0] * 50])
def test_extreme_rows_of_little(values):
    assert extreme_rows(np.array(values), 4).tolist() == naive_rows(values, 4)


@pytest.mark.parametrize("seed", range(10))
def test_a_thinned_band_covers_the_whole_band(seed):
    draw = np.random.default_rng(seed)
    lower = draw.normal(size=300)
    upper = lower + draw.random(300)
    lower[100:150] = upper[100:150] = np.nan
    rows, low, high = outer_band(lower, upper, 20)
    edges = np.linspace(0, 300, 21).astype(int)
    assert len(rows) == 20
    for k, (start, stop) in enumerate(pairwise(edges)):
        assert start <= rows[k] < stop
        inside = ~np.isnan(lower[start:stop])
        if not inside.any():
            assert np.isnan([low[k], high[k]]).all()
        else:
            assert (low[k], high[k]) == (np.nanmin(lower[start:stop]), np.nanmax(upper[start:stop]))


def test_details_keep_every_row_and_long_ones_their_extremes():
    values = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    details = [(1000, 1400), (20_000, 20_000 + 10 * CURVE_ROWS), (1300, 1500)]
    rows, kept = unpacked(packed_curve(values, 300, details), len(values))
    assert (np.diff(rows.astype(int)) > 0).all()
    assert np.array_equal(kept, values[rows])
    assert set(range(1000, 1500)) <= set(rows.tolist())
    assert set((20_000 + extreme_rows(values[20_000:35_000], CURVE_ROWS)).tolist()) <= set(rows.tolist())
    assert len(rows) <= 600 + 400 + 200 + 2 * CURVE_ROWS
    band = packed_band(values, values + 1, 300, details)
    rows, low = unpacked(band, len(values), "lower")
    near = (rows >= 1000) & (rows < 1500)
    assert rows[near].tolist() == list(range(1000, 1500))
    assert np.array_equal(low[near], values[1000:1500])  # no row of the overview among them


def test_a_plan_stays_within_its_budget_and_serves_the_first_events():
    near = [(k * 1000, k * 1000 + 500) for k in range(500)]
    made = plan(10**6, 3, 0, near, budget=1_000_000)
    assert made.details == tuple(near[: len(made.details)])
    assert 0 < len(made.details) < 500
    rng = np.random.default_rng(0)
    spent = 0
    for _ in range(3):
        values = rng.normal(size=10**6).astype(np.float32)
        for curve in (packed_curve(values, made.buckets, made.details),) * 2:
            spent += sum(len(text) * 3 / 4 for text in curve.values() if text)
        spent += sum(len(t) * 3 / 4 for t in packed_band(values, values, made.buckets, made.details).values() if t)
    spent += sum(len(t) * 3 / 4 for t in packed_curve(values, made.buckets, made.details).values() if t)
    assert 0.7e6 < spent <= 1_000_000
    assert plan(1000, 3, 0, near) == (1000, 1000, ())


# ---- the page ----


def test_nothing_in_the_page_is_fetched_and_no_name_breaks_out(detector):
    text = report_html(detector, waves(), title="<b>Tom & Jerry</b> </title><script>", names={"data": "<i>.csv"})
    page = Elements(text)
    assert [tag for tag, _ in page.found if tag in {"script", "img", "link", "iframe", "b", "i"}] == ["script"] * 3
    for _, attributes in page.found:
        assert not {"src", "href", "srcset", "data", "action"} & set(attributes)
    (policy,) = (given["content"] for tag, given in page.found if given.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert not re.search(r"url\(|@import", text[: text.index("</style>")])
    assert "plotly.js v" in page.scripts[1][:60]
    assert payload(text)["channels"][1]["name"] == HOSTILE
    assert "&lt;b&gt;Tom &amp; Jerry&lt;/b&gt;" in text


def test_a_series_that_fits_is_in_the_page_row_by_row(detector):
    series = waves()
    values = series.values.copy()
    values[500:520, 0] = np.nan
    series = replace(series, values=values)
    told = payload(report_html(detector, series))
    expected = detector.reconstruct(series)
    for c, channel in enumerate(told["channels"]):
        rows, observed = unpacked(channel["observed"], len(series))
        assert len(rows) == len(series)
        np.testing.assert_array_equal(observed, values[:, c])
        for key in ("lower", "upper"):
            _, edge = unpacked(channel["band"], len(series), key)
            np.testing.assert_array_equal(edge, expected[f"{channel['name']}_{key}"].to_numpy(np.float32))
    _, score = unpacked(told["score"], len(series))
    np.testing.assert_array_equal(score, detector.score(series)["score"].to_numpy(np.float32))
    assert told["score"]["threshold"] == detector.calibration.threshold.value
    assert told["axis"] == {"kind": "linear", "title": "row", "ends": [0.0, 2999.0], "start": 0.0, "step": 1.0}


def test_events_zoom_with_margin_and_tell_shares_as_the_table_of_events_does(detector):
    series = waves(index=pd.date_range("2024-01-01", periods=3000, freq="10min"))
    found = detector.detect(series)
    told = payload(report_html(detector, series, found=found))["events"]
    assert [event["number"] for event in told] == list(range(1, len(found.events) + 1))
    at = (series.index - pd.Timestamp(0)) / pd.Timedelta("1ms")
    for event, (_, line) in zip(told, found.events.iterrows(), strict=True):
        start, end = (series.index.get_loc(line[name]) for name in ("start", "end"))
        margin = max(32, (end - start + 1) // 2)
        assert event["view"] == [at[max(start - margin, 0)], at[min(end + margin, 2999)]]
        assert event["span"] == [at[start] - 300_000, at[end] + 300_000]
        top = [f"{share:.2f}" for share in event["shares"] if share >= 0.1]
        assert top == line["shares"].split(", ")
        assert ", ".join(series.channels[c] for c in event["channels"][: len(top)]) == line["channels"]
    assert {2200, 2600, 2800} <= {
        row
        for event in found.events.itertuples()
        for row in range(series.index.get_loc(event.start), series.index.get_loc(event.end) + 1)
    }


def test_a_long_series_stays_small_and_loses_no_spike(detector):
    series = waves(120_000, strange=(70_000, 90_000))
    series.values[33_333, 0] = 40.0
    found = detector.detect(series)
    text = report_html(detector, series, found=found, labels=np.zeros(120_000, bool), budget=200_000)
    told = payload(text)
    rows, observed = unpacked(told["channels"][0]["observed"], len(series))
    assert 33_333 in rows
    assert observed.max() == 40.0
    worst = found.events["severity"].to_numpy().argmax()
    start, end = (int(found.events[name].iloc[worst]) for name in ("start", "end"))
    near = set(range(max(start - 32, 0), end + 33))
    assert near <= set(rows.tolist())
    library = len(Elements(text).scripts[1])
    assert len(text) - library < 200_000 * 4 / 3 + 60_000 + 600 * len(told["events"])
    assert "with the highest severity and their surroundings are told in full" in visible(text)


def test_of_many_channels_those_of_the_events_come_first():
    series = waves(2500, 55, strange=())
    values = series.values.copy()
    values[2200:2220, 40] += 12
    values[2300:2320, 17] += 6
    series = replace(series, values=values)
    detector = Detector(window=32, hidden=8, latent=2, scorer="nll").fit(series[:2000], epochs=1, seed=0)
    text = report_html(detector, series)
    told = payload(text)
    assert [channel["name"] for channel in told["channels"][:2]] == ["c40", "c17"]
    assert (len(told["channels"]), told["shown"]) == (55, 6)
    assert "6 of 55 channels shown, 49 not shown" in visible(text)
    wide = payload(report_html(detector, series, budget=20_000))
    assert len(wide["channels"]) == 55


def test_no_events_no_threshold_and_labels(detector):
    calm = report_html(detector.calibrate(alpha=0.4).calibrate(alpha=0.01), waves(600, strange=())[:100])
    assert "No events found in 100 rows" in visible(calm)
    plain = Detector(window=32, hidden=8, latent=2, scorer="nll").fit(waves(1000), epochs=1, calibration=0, seed=0)
    series = waves()
    text = report_html(plain, series)
    told = payload(text)
    assert told["events"] == []
    assert told["calibration"] is None
    assert told["score"]["threshold"] is None
    assert "The model has no threshold" in visible(text)
    scores = plain.score(series)
    table = evaluate(scores["score"], series.labels, values=series.values)
    shown = visible(text)
    for name, column in {"VUS-PR": "vus_pr", "AUROC": "auroc"}.items():
        numbers = " ".join(number(float(value), 3) for value in table[column])
        assert f"{name} {numbers}" in shown
    assert told["labelled"] == [[2199.5, 2599.5, 2799.5], [2209.5, 2609.5, 2809.5]]
    assert "Against the labels" not in visible(report_html(plain, replace(series, labels=None)))


def test_calibration_scores_and_epochs_are_told_as_they_were(detector):
    told = payload(report_html(detector, waves()))
    scores, histogram = detector.calibration.threshold.scores, told["calibration"]
    assert sum(histogram["counts"]) + histogram["beyond"] == len(scores)
    inside = scores[scores <= histogram["edges"][-1]]
    assert histogram["counts"] == np.histogram(inside, bins=histogram["edges"])[0].tolist()
    records = detector.history["epochs"]
    assert told["epochs"]["train_total"] == [record["train_total"] for record in records]
    assert told["epochs"]["validation_kl"] == [record["validation_kl"] for record in records]
    text = visible(report_html(detector, waves()))
    assert detector.training_data["sha256"] in text
    assert number(detector.calibration.threshold.value) in text


def test_a_report_is_about_one_series_and_what_belongs_to_it(detector, tmp_path):
    series = waves()
    with pytest.raises(DataError, match="about one series; 2 were given"):
        report_html(detector, Panel([series, replace(series, name="other")]))
    with pytest.raises(DataError, match=r"labels has 5 rows, the series 3000"):
        report_html(detector, series, labels=[False] * 5)
    with pytest.raises(DataError, match=r"found\.scores has 3000 rows, the series 2900"):
        report_html(detector, series[:2900], found=detector.detect(series))
    with pytest.raises(DataError):
        write_report(detector, series, tmp_path / "page.html", labels=[True])
    assert list(tmp_path.iterdir()) == []
    write_report(detector, series.to_frame().drop(columns="label"), tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_series_with_its_own_threshold_and_a_model_of_the_callers_own():
    panel = Panel([replace(waves(2000, strange=()), name="a"), replace(waves(2000, strange=(), seed=5), name="b")])
    model = seqae.AE(channels=2, latent=2, hidden=8, cell="gru")
    detector = Detector(model=model, window=32, scorer="nll", per_series=True).fit(panel, epochs=1, seed=0)
    own = {name: detector.calibration_of(name).threshold.value for name in panel.names}
    assert own["a"] != own["b"]
    text = report_html(detector, panel["b"])
    assert payload(text)["score"]["threshold"] == own["b"]
    assert "AE, gru, repeat_latent, window of 32 rows" in visible(text)


# ---- clocks and words ----


def clock(index, rows=6):
    return clock_of(Series(np.zeros((rows, 1)), ("v",), index=index))


def test_clocks():
    steady = clock(pd.date_range("2024-01-10", periods=6, freq="1h", tz="Europe/Berlin"))
    assert (steady.kind, steady.title) == ("date", "Europe/Berlin")
    assert steady.positions[1] == pd.Timestamp("2024-01-10 01:00").value / 1e6
    assert steady.text(1) == "2024-01-10 01:00:00"
    turning = clock(pd.date_range("2024-10-26 22:00", periods=6, freq="1h", tz="UTC").tz_convert("Europe/Berlin"))
    assert turning.title == "UTC (the data's zone is Europe/Berlin)"
    assert turning.text(0) == "2024-10-26 22:00:00"
    assert (np.diff(turning.positions) == 3_600_000).all()
    assert clock(pd.date_range("2024-01-01", periods=6, freq="1D")).text(2) == "2024-01-03"
    fine = clock(pd.date_range("2024-01-01", periods=6, freq="100us"))
    assert fine.kind == "linear"
    np.testing.assert_allclose(fine.positions, np.arange(6) * 1e-4)
    assert fine.text(1) == "2024-01-01 00:00:00.000100"
    numbers = clock(pd.Index(np.arange(6) * 0.25, name="seconds"))
    assert (numbers.kind, numbers.title, numbers.text(3)) == ("linear", "seconds", "0.75")
    assert (clock(None).title, clock(None).text(3)) == ("row", "3")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"), (1234.5678, "1235"), (12345.678, "12,346"), (0.00012345, "0.0001234"), (-2.5, "−2.5"),
        (None, "–"), (np.nan, "–"), (np.inf, "∞"), (-3.0, "−3"), (1e13, "1e+13"),
    ],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


def test_rates_counts_and_settings_in_words():
    assert per_time(14.4) == "about 14 a day"
    assert per_time(1 / 3) == "about one every 3 days"
    assert per_time(1 / 7) == "about one a week"
    assert per_time(1 / (12 * 365.25)) == "about one every 12 years"
    assert (count(0, "row"), count(1, "row"), count(2000, "row")) == ("no rows", "1 row", "2,000 rows")
    assert value_words({"a": True, "b": [1, None]}) == "a yes, b 1, none"
    assert value_words(list(range(20))).endswith("(20 in all)")
    assert value_words(math.sin) == "sin"
    told = {
        "method": "conformal",
        "value": 2.5,
        "alpha": 0.01,
        "false_alarm_rate": 0.009,
        "false_alarms_per_day": 1.3,
        "rows": 900,
    }
    assert alarm_words(told) == (
        "Rows whose score is above 2.5 are flagged. Of normal rows, 0.9 % are expected to be flagged by chance, "
        "about 1.3 a day."
    )
    for method, others in (("adaptive", "the rows before it"), ("benjamini_hochberg", "the rows it is scored with")):
        said = alarm_words(told | {"method": method})
        assert said.startswith(f"A row needs a score above 2.5 to be flagged; how much, {others} say. Of normal")
    assert "room for 0.1 % to 2 %" in alarm_words(told | {"rate_interval": [0.001, 0.02]})
    assert alarm_words(told | {"value": None}).startswith("Nothing can be flagged: 900 calibration scores")
