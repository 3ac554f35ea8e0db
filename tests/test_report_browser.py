"""The report in a real browser, headless and without a network. Skipped where there is no Chromium."""

from __future__ import annotations

import html
import json
import math
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqae import Detector
from seqae.report.html import report_html
from seqae.series import Series

NAMES = ("chromium", "chromium-browser", "google-chrome")


def works(path: str | None) -> bool:
    """Whether a browser starts: where it comes as a snap, its name may be that of a script that only says so."""
    try:
        return path is not None and subprocess.run([path, "--version"], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


CHROMIUM = next(filter(works, [os.environ.get("CHROMIUM"), *map(shutil.which, NAMES)]), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install one, or name it in $CHROMIUM"),
    pytest.mark.filterwarnings("ignore::seqae.errors.SeqaeWarning"),
]

# What goes wrong while the page opens: errors, complaints on the console, and whatever it tries to fetch.
WATCH = """<script>
const wrong = [];
addEventListener("error", (event) => wrong.push(`error: ${event.message}`), true);
addEventListener("unhandledrejection", (event) => wrong.push(`rejected: ${event.reason}`));
addEventListener("securitypolicyviolation", (event) => wrong.push(`fetched: ${event.blockedURI}`));
for (const level of ["error", "warn"]) console[level] = (...said) => wrong.push(`${level}: ${said.join(" ")}`);
</script>"""
TELL = """<script>
const chart = document.getElementById("chart"), found = {};
const later = (steps) => setTimeout(() => {
  if (steps.length) { steps[0](); later(steps.slice(1)); return; }
  found.wrong = wrong.concat(performance.getEntriesByType("resource").map((one) => `fetched: ${one.name}`));
  document.documentElement.dataset.found = JSON.stringify(found);
}, 300);
const button = (number) => document.querySelector(`button[data-event="${number}"]`);
const drawn = (kind) => chart.data.find((one) => (one.hovertemplate || "").startsWith(kind));
later([%s]);
</script>"""


def opened(text: str, folder: Path, *steps: str) -> dict:
    """Open a page, take the steps one after the other, and return what they noted in `found`."""
    page = folder / "page.html"
    policy = re.search(r"<meta http-equiv.*?>", text).group(0)
    text = text.replace(policy, policy + WATCH, 1) + TELL % ", ".join(f"() => {{ {step} }}" for step in steps)
    page.write_text(text, encoding="utf-8")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,1400",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9", f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=20000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, timeout=120, check=True)
    seen = re.search(r'<html[^>]* data-found="(.*?)"', result.stdout.decode("utf-8"), re.DOTALL)
    assert seen, "the page did not get to its end"
    return json.loads(html.unescape(seen.group(1)))


def waves(rows: int, channels: int = 2, index: pd.Index | None = None) -> Series:
    """Sines with noise and two shifts, one in each of the first two channels."""
    draw = np.random.default_rng(0)
    values = np.sin(2 * np.pi * np.arange(rows)[:, None] / (20 + 5 * np.arange(channels)))
    values = values + 0.1 * draw.normal(size=values.shape)
    labels = np.zeros(rows, bool)
    for channel, row in enumerate((rows // 2, 3 * rows // 4)[:channels]):
        values[row : row + 12, channel] += 6
        labels[row : row + 12] = True
    names = tuple(f"c{c} <b>&amp;</b>" for c in range(channels))
    return Series(values, names, index=index, labels=labels, name="</script><script>wrong.push('broke out')</script>")


def trained(channels: int) -> Detector:
    detector = Detector(window=32, hidden=8, latent=2, scorer="nll", alpha=0.005)
    calm = np.sin(2 * np.pi * np.arange(2000)[:, None] / (20 + 5 * np.arange(channels)))
    calm = calm + 0.1 * np.random.default_rng(1).normal(size=calm.shape)
    return detector.fit(Series(calm, waves(10, channels).channels), epochs=2, seed=0)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return trained(2)


def stamps(found: list) -> pd.DatetimeIndex:
    return pd.DatetimeIndex([pd.Timestamp(one) for one in found])


def test_a_click_on_an_event_zooms_to_it_and_the_button_goes_back(detector, tmp_path):
    series = waves(3000, index=pd.date_range("2024-01-01", periods=3000, freq="10min"))
    events = detector.detect(series).events
    assert len(events) >= 2
    state = "found.%s = [...chart.layout.xaxis.range]; "
    found = opened(
        report_html(detector, series), tmp_path,
        state % "whole" + "found.events = document.querySelectorAll('button[data-event]').length",
        "button(2).click()",
        state % "zoomed" + "found.row = document.querySelector('tr.chosen').dataset.told;"
        "found.pressed = [...document.querySelectorAll('[aria-pressed=true]')].map((one) => one.textContent);"
        "found.told = document.getElementById('chosen').textContent;"
        "found.drawn = drawn('observed').x.length; found.inner = [...drawn('observed').y]",
        "document.getElementById('next').click()",
        "found.next = document.querySelector('[aria-pressed=true]')?.textContent ?? null",
        "document.getElementById('whole').click()",
        state % "back" + "found.left = document.querySelectorAll('[aria-pressed=true], tr.chosen').length",
        "Plotly.relayout(chart, {'xaxis.range': ['2024-01-03 12:00', '2024-01-05']})",
        state % "dragged" + "found.rows = drawn('observed').x.length",
    )  # fmt: skip
    assert found["wrong"] == []
    assert found["events"] == len(events)
    start, end = (series.index.get_loc(events[name].iloc[1]) for name in ("start", "end"))
    margin = max(detector.window, (end - start + 1) // 2)
    low, high = start - margin, min(end + margin, 2999)
    assert list(stamps(found["zoomed"])) == [series.index[low], series.index[high]]
    assert found["pressed"] == ["2"]
    assert str(events["start"].iloc[1]) in found["row"]
    assert "Event 2" in found["told"]
    assert events["channels"].iloc[1].split(", ")[0] in found["told"]
    inside = series.values[max(low - 1, 0) : high + 1, 0]
    assert found["drawn"] == len(inside)  # every row of the neighbourhood, and one before it
    np.testing.assert_array_equal(np.float32(found["inner"]), inside)
    assert found["next"] == ("3" if len(events) > 2 else "2")
    assert found["back"] == found["whole"]
    whole = stamps(found["whole"])
    assert whole[0] < series.index[0]
    assert whole[1] > series.index[-1]
    assert found["left"] == 0
    assert list(stamps(found["dragged"])) == [pd.Timestamp("2024-01-03 12:00"), pd.Timestamp("2024-01-05")]
    assert found["rows"] == 36 * 6 + 1 + 1


def test_a_long_series_with_gaps_is_drawn_thinned_with_its_spikes(detector, tmp_path):
    series = waves(100_000)
    values = series.values.copy()
    values[12_345, 0] = 77.0
    values[40_000:45_000] = np.nan
    series = replace(series, values=values, labels=None)
    text = report_html(detector, series, budget=300_000)
    steps = (
        "const one = drawn('observed'); found.x = one.x; found.y = one.y; found.score = drawn('score').y;"
        "found.texts = drawn('score').text; found.kinds = [chart.layout.yaxis3.type]",
        "document.getElementById('log').click()",
        "found.kinds.push(chart.layout.yaxis3.type); found.linear = drawn('score').y",
    )
    found = opened(text, tmp_path, *steps)
    assert found["wrong"] == []
    assert 1000 < len(found["x"]) <= 2 * 1200 + 4
    place = found["x"].index(12_345)
    assert found["y"][place] == 77.0
    inside = [y for x, y in zip(found["x"], found["y"], strict=True) if 40_100 < x < 44_900]
    assert inside
    assert set(inside) == {None}
    known = np.array([y for y in found["y"] if y is not None])
    assert known.min() == np.nanmin(values[:, 0])
    score = np.array([float(text or "nan") for text in found["texts"]])  # of four digits
    assert found["kinds"] == ["log", "linear"]
    for axis in ("score", "linear"):
        np.testing.assert_allclose(np.array(found[axis], float), score, rtol=1e-3)
    # Where scores can be negative the axis is linear up to a power of ten.
    knee = 10 ** math.ceil(math.log10(detector.calibration.threshold.value))
    bent = np.where(np.abs(score) <= knee, score / knee, np.sign(score) * (1 + np.log10(np.abs(score) / knee)))
    found = opened(text.replace('"positive":true', '"positive":false'), tmp_path, *steps)
    assert found["kinds"] == ["linear", "linear"]
    np.testing.assert_allclose(np.array(found["score"], float), bent, rtol=2e-3, atol=1e-3)


def test_many_channels_can_be_chosen_and_none_is_broken_by_its_name(tmp_path):
    detector = trained(12)
    found = opened(
        report_html(detector, waves(2500, 12)), tmp_path,
        "found.axes = Object.keys(chart.layout).filter((key) => key.startsWith('yaxis')).length;"
        "found.boxes = document.querySelectorAll('#channels input').length",
        "document.querySelectorAll('#channels input')[8].click()",
        "found.more = Object.keys(chart.layout).filter((key) => key.startsWith('yaxis')).length;"
        "found.said = document.getElementById('channel-count').textContent;"
        "found.bold = document.querySelectorAll('h1 b, td b, label b').length;"
        "found.head = chart.layout.annotations.map((one) => one.text).find((one) => one.startsWith('<b>c'))",
    )  # fmt: skip
    assert found["wrong"] == []
    assert (found["axes"], found["more"], found["boxes"]) == (7, 8, 12)
    assert found["said"] == "7 of 12 channels shown, 5 not shown"
    assert found["bold"] == 0
    assert found["head"].endswith("&lt;b&gt;&amp;amp;&lt;/b&gt;</b>")


def test_a_page_without_events_or_threshold_opens(tmp_path):
    series = waves(1000, 1)
    plain = Detector(window=32, hidden=8, latent=2, scorer="nll", model="AE")
    plain.fit(series, epochs=1, calibration=0, seed=0)
    found = opened(
        report_html(plain, series), tmp_path,
        "found.disabled = document.querySelectorAll('button:disabled').length;"
        "found.kl = !!document.getElementById('kl');"
        "found.lines = document.querySelectorAll('#loss .scatterlayer .trace').length",
    )  # fmt: skip
    assert found == {"wrong": [], "disabled": 2, "kl": False, "lines": 2}


def test_the_watch_sees_what_a_page_would_fetch_and_what_breaks(detector, tmp_path):
    text = report_html(detector, waves(500)).replace("<body>", "<body><img src='http://127.0.0.1:9/x.png'>")
    found = opened(text, tmp_path, "setTimeout(() => { throw new Error('on purpose') }, 0)", "")
    assert any("127.0.0.1:9" in one for one in found["wrong"])
    assert any("on purpose" in one for one in found["wrong"])
