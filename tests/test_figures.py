from __future__ import annotations

import subprocess
import sys
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.dates import date2num, num2date
from matplotlib.figure import Figure
from matplotlib.text import Text

from seqae.errors import DataError
from seqae.report.figures import _choose_scale, _envelope, decimate, figure_series
from seqae.series import Series


def scored(rows, channels=1, index=None, events=3, labels=True, seed=0, names=None):
    """A series with `events` shifted stretches, the exact reconstruction, and squared errors as scores."""
    draw = np.random.default_rng(seed)
    clean = np.sin(2 * np.pi * np.arange(rows)[:, None] / (30 + 7 * np.arange(channels)))
    values = clean + 0.1 * draw.normal(size=clean.shape)
    flags = np.zeros(rows, bool)
    axis = pd.RangeIndex(rows) if index is None else index
    found = []
    for start in np.sort(draw.choice(rows - 10, events, replace=False)):
        values[start : start + 5] += 2
        flags[start : start + 5] = True
        found.append((axis[start], axis[start + 4], float(draw.uniform(1, 9))))
    names = names or [f"c{c}" for c in range(channels)]
    errors = ((values - clean) / 0.1) ** 2
    columns = {}
    for c, name in enumerate(names):
        columns |= {f"{name}_reconstructed": clean[:, c], f"{name}_lower": clean[:, c] - 0.2}
        columns |= {f"{name}_upper": clean[:, c] + 0.2}
    scores = pd.DataFrame(
        {"score": errors.mean(1)} | {f"score_{n}": errors[:, c] for c, n in enumerate(names)}, index=axis
    )
    return {
        "series": Series(values, tuple(names), index=index, labels=flags if labels else None, name="pump"),
        "reconstruction": pd.DataFrame(columns, index=axis),
        "scores": scores,
        "events": pd.DataFrame(found, columns=["start", "end", "severity"]),
    }


def draw(parts, **options) -> Figure:
    parts = dict(parts)
    return figure_series(parts.pop("series"), **parts, **{"threshold": 10.0} | options)


def drawn_texts(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[Text]:
    """The texts that drawing puts on the picture: no ticks beyond the limits, none that shared axes hide."""
    figure.draw_without_rendering()
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", lambda text, renderer: seen.append(text))
        figure.canvas.draw()
    return [text for text in seen if text.get_visible() and text.get_text().strip()]


CASES = {
    "a hundred rows": {"rows": 100, "events": 1, "labels": False},
    "months": {"rows": 732, "index": pd.date_range("1950-01", periods=732, freq="MS"), "events": 4},
    "three channels, crowded": {
        "rows": 2000,
        "channels": 3,
        "index": pd.date_range("2024", periods=2000, freq="5min", tz="UTC"),
        "events": 60,
    },
    "long names": {"rows": 300, "channels": 2, "names": ["temperature of the outer ring in kelvin", "$cost$ in $"]},
    "twelve channels": {"rows": 900, "channels": 12, "events": 20},
    "numbers as time": {"rows": 400, "index": pd.Index(1e6 + np.arange(400) * 0.25, name="seconds"), "events": 2},
}


@pytest.mark.parametrize("case", CASES)
def test_all_text_lies_on_the_picture_and_none_overlaps_another(case, monkeypatch):
    figure = draw(scored(**CASES[case]))
    boxes = [(text.get_text(), text.get_window_extent().padded(-0.5)) for text in drawn_texts(figure, monkeypatch)]
    assert len(boxes) > 10
    whole = figure.bbox.padded(1)
    off = [name for name, box in boxes if not (whole.contains(box.x0, box.y0) and whole.contains(box.x1, box.y1))]
    assert off == []
    assert [(a, b) for (a, here), (b, there) in combinations(boxes, 2) if here.overlaps(there)] == []


def test_lines_show_the_very_numbers_where_there_are_few():
    parts = scored(200, channels=2)
    figure = draw(parts)
    for c, axes in enumerate(figure.axes[:2]):
        reconstructed, observed = axes.lines[0].get_ydata(), axes.lines[1].get_ydata()
        np.testing.assert_array_equal(observed, parts["series"].values[:, c].astype(float))
        np.testing.assert_array_equal(reconstructed, parts["reconstruction"][f"c{c}_reconstructed"])
    score = figure.axes[2]
    np.testing.assert_array_equal(score.lines[0].get_ydata(), parts["scores"]["score"])
    above = score.lines[1].get_ydata()
    np.testing.assert_array_equal(~np.isnan(above), parts["scores"]["score"] > 10)
    assert list(score.lines[2].get_ydata()) == [10.0, 10.0]


def test_events_and_labels_are_shaded_where_they_are():
    index = pd.date_range("2024-03-01", periods=300, freq="h", tz="Europe/Berlin")
    parts = scored(300, index=index, events=2)
    figure = draw(parts)
    step = 1 / 24
    spans = [path.get_extents() for path in figure.axes[0].collections[-1].get_paths()]
    for span, (start, end) in zip(spans, parts["events"][["start", "end"]].to_numpy(), strict=True):
        assert span.x0 == pytest.approx(date2num(start) - step / 2)
        assert span.x1 == pytest.approx(date2num(end) + step / 2)
    strip = [path.get_extents() for path in figure.axes[2].collections[0].get_paths()]
    assert [s.x0 for s in strip] == pytest.approx([s.x0 for s in spans])  # this series is labelled where it has events
    assert {t.get_text() for t in figure.axes[0].texts} == {"1", "2"}
    assert figure.axes[0].get_xlim() == figure.axes[2].get_xlim()


def test_crowded_events_keep_the_numbers_of_the_most_severe():
    parts = scored(5000, events=300)
    figure = draw(parts)
    numbers = [int(t.get_text()) for t in figure.axes[0].texts]
    assert 10 < len(numbers) < 80
    assert numbers[0] - 1 == parts["events"]["severity"].argmax()
    assert f"{len(numbers)} of 300 events" in figure.axes[0].get_title("right")


def test_dates_are_told_in_the_time_zone_of_the_index():
    index = pd.date_range("2024-01-01", periods=240, freq="h", tz="Asia/Tokyo")
    figure = draw(scored(240, index=index, events=1))
    figure.draw_without_rendering()
    axis = figure.axes[-1].xaxis
    for tick, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True):
        local = pd.Timestamp(num2date(tick)).tz_convert("Asia/Tokyo")
        assert local == local.normalize()
        assert label.get_text() in (f"{local:%d}", f"{local:%b}")
    assert figure.axes[-1].get_xlabel() == "Asia/Tokyo"


def test_of_many_channels_those_with_the_highest_scores_are_shown():
    parts = scored(300, channels=20, events=1)
    for name in ("c3", "c17"):
        parts["scores"][f"score_{name}"] += 1e6
    figure = draw(parts, max_channels=2)
    assert [axes.get_ylabel() for axes in figure.axes[:3]] == ["c3", "c17", "score"]
    assert "2 of 20 channels" in figure.axes[0].get_title("right")


@pytest.mark.parametrize(
    ("scores", "threshold", "scale"),
    [
        (np.r_[np.full(99, 1.0), 9.0], 5.0, "linear"),
        (np.r_[np.full(99, 1.0), 900.0], 5.0, "log"),
        (np.r_[np.full(99, -1.0), 900.0], 5.0, "symlog"),
        (np.r_[np.full(99, -1.0), -0.5], None, "linear"),
        (np.zeros(5), None, "linear"),
        (np.r_[np.full(99, 1.0), 900.0], float("inf"), "log"),
    ],
)
def test_the_score_axis_is_logarithmic_only_where_it_helps_and_shows_peaks_and_threshold(scores, threshold, scale):
    axes = Figure().add_subplot()
    _choose_scale(axes, scores, threshold)
    assert axes.get_yscale() == scale
    low, high = axes.get_ylim()
    assert low <= np.quantile(scores, 0.01)
    assert high > scores.max()
    if threshold is not None and np.isfinite(threshold):
        assert low < threshold < high


def test_decimation_keeps_every_bucket_minimum_and_maximum_in_order():
    values = np.random.default_rng(1).normal(size=100_003)
    values[54_321], values[77_777] = 50, -60
    x, y = decimate(np.arange(len(values), dtype=float), values, buckets=500)
    assert len(y) <= 1000
    assert (np.diff(x) > 0).all()
    np.testing.assert_array_equal(y, values[x.astype(int)])
    edges = np.linspace(0, len(values), 501).astype(int)
    for first, stop in pairwise(edges):
        inside = y[(x >= first) & (x < stop)]
        assert inside.min() == values[first:stop].min()
        assert inside.max() == values[first:stop].max()


def test_decimation_leaves_gaps_open_and_short_lines_alone():
    values = np.sin(np.arange(50_000) / 300)
    values[20_000:25_000] = np.nan
    values[31_111] = np.nan  # one missing value hides nothing around it
    x, y = decimate(np.arange(50_000, dtype=float), values, buckets=500)
    gap = (x >= 20_100) & (x < 24_900)
    assert gap.any()
    assert np.isnan(y[gap]).all()
    assert np.isfinite(y[(x > 31_000) & (x < 31_300)]).any()
    short = np.arange(900.0)
    assert decimate(short, short, buckets=500)[1] is short


def test_the_thinned_band_still_covers_the_whole_band():
    draw_ = np.random.default_rng(2)
    middle = draw_.normal(size=40_000).cumsum()
    lower, upper = middle - 1, middle + 1
    lower[100:200] = upper[100:200] = np.nan
    x, low, high = _envelope(np.arange(40_000.0), lower, upper, buckets=300)
    edges = [*x.astype(int), 40_000]
    assert len(x) == 300
    for bucket, (first, stop) in enumerate(pairwise(edges)):
        if np.isfinite(lower[first:stop]).any():
            assert low[bucket] == np.nanmin(lower[first:stop])
            assert high[bucket] == np.nanmax(upper[first:stop])


def test_a_value_between_two_missing_ones_is_still_seen():
    values = np.full(50, np.nan)
    values[[10, 30, 31]] = 1.0, 2.0, 3.0
    axes = figure_series(Series.from_array(values)).axes[0]
    assert list(axes.lines[-1].get_xdata()) == [10]
    assert axes.lines[-1].get_marker() == "."


def test_nothing_known_is_still_a_picture(monkeypatch):
    figure = figure_series(
        Series.from_array(np.full(10, np.nan)), events=pd.DataFrame(columns=["start", "end", "severity"])
    )
    assert len(figure.axes) == 1
    assert [text.get_text() for text in drawn_texts(figure, monkeypatch)][-1] == "observed"


def test_tables_of_another_length_are_refused():
    parts = scored(100)
    with pytest.raises(DataError, match="scores has 99 rows, the series 100"):
        draw(parts | {"scores": parts["scores"].iloc[1:]})


@pytest.mark.slow
def test_a_million_rows_are_drawn_in_seconds_without_pyplot(tmp_path):
    code = f"""
import sys, time, numpy as np, pandas as pd
from seqae.report.figures import figure_series
from seqae.series import Series
series = Series.from_array(np.random.default_rng(0).normal(size=(1_000_000, 2)))
begin = time.perf_counter()
scores = pd.DataFrame({{"score": series.values[:, 0]}})
figure_series(series, scores=scores, threshold=3.0).savefig(r"{tmp_path / "x.png"}")
assert time.perf_counter() - begin < 10
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_coloured_is_what_is_flagged():
    values = np.sin(np.arange(100.0) / 5)
    scores = pd.DataFrame({"score": np.linspace(0, 9, 100), "is_anomaly": np.arange(100) >= 90})
    for given, count in ((scores, 10), (scores.drop(columns="is_anomaly"), 44)):
        figure = figure_series(Series.from_array(values), scores=given, threshold=5.0)
        flagged = next(line for line in figure.axes[1].lines if line.get_marker() == ".")
        assert np.isfinite(flagged.get_ydata()).sum() == count
