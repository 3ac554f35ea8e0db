from __future__ import annotations

import time

import numpy as np
import pytest

from seqae.anomaly.metrics.vus import THRESHOLDS, vus, vus_window
from seqae.errors import DataError, OptionError


def golden():
    labels = np.zeros(200, dtype=bool)
    for start, end in ((10, 20), (28, 33), (110, 120)):
        labels[start:end] = True
    scores = np.random.default_rng(41).random(200) * 0.5
    for start, end in ((16, 22), (33, 38), (160, 170)):
        scores[start:end] = 1
    return scores, labels


def naive_runs(labels):
    runs = []
    for t, anomalous in enumerate(labels):
        if anomalous and (t == 0 or not labels[t - 1]):
            runs.append([t, t])
        elif anomalous:
            runs[-1][1] = t
    return runs


def naive_vus(scores, labels, window):
    """The definition, row by row: margins added up and clipped, anomalies whose margins meet are one."""
    n, runs = len(scores), naive_runs(labels)
    falling = sorted(scores, reverse=True)
    pr_of, roc_of = [], []
    for width in range(window + 1):
        half = width // 2
        weight = np.asarray(labels, dtype=float)
        for start, end in runs:
            for d in range(1, half + 1):
                for t in (start - d, end + d):
                    if 0 <= t < n:
                        weight[t] += np.sqrt(1 - d / width)
        weight = np.minimum(weight, 1)
        merged = [list(runs[0])]
        for start, end in runs[1:]:
            if merged[-1][1] + half < start - half:
                merged.append([start, end])
            else:
                merged[-1][1] = end
        tpr, fpr, precision = [0.0], [0.0], [1.0]
        for i in np.linspace(0, n - 1, THRESHOLDS).astype(int):
            predicted = scores >= falling[i]
            true = np.sum(weight[predicted])
            margin = np.sum(weight[predicted & ~labels])
            real = np.sum(labels) + margin / 2
            found = sum(predicted[max(s - half, 0) : e + half + 1].any() for s, e in merged)
            tpr.append(min(true / real, 1) * found / len(merged))
            fpr.append((predicted.sum() - true) / (n - real))
            precision.append(true / predicted.sum())
        pr_of.append(sum((tpr[k] - tpr[k - 1]) * precision[k] for k in range(1, len(tpr))))
        tpr.append(1.0)
        fpr.append(1.0)
        roc_of.append(sum((fpr[k] - fpr[k - 1]) * (tpr[k] + tpr[k - 1]) / 2 for k in range(1, len(tpr))))
    return np.mean(pr_of), np.mean(roc_of)


@pytest.mark.parametrize(
    ("window", "pr", "roc"),
    [
        (0, 0.1477478008, 0.5103238095),
        (20, 0.3480870803, 0.7506486498),
        (200, 0.7289826681, 0.9389229978),
    ],
)
def test_the_golden_vector_gives_the_values_of_tsb_ad(window, pr, roc):
    found = vus(*golden(), window)
    assert found.pr == pytest.approx(pr, abs=1e-10)
    assert found.roc == pytest.approx(roc, abs=1e-10)


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_naive_definition(seed):
    draw = np.random.default_rng(seed)
    n = int(draw.choice([2, 3, 7, 40, 150, 400]))
    labels = draw.random(n) < draw.choice([0.02, 0.1, 0.5, 0.9])
    if seed % 3 == 0:  # long anomalies, at the ends of the series among them
        labels = np.repeat(labels[: n // 5 + 1], 5)[:n]
    labels[draw.integers(n)] = True
    labels[draw.choice(np.flatnonzero(np.arange(n) != np.flatnonzero(labels)[0]))] = False
    scores = draw.normal(size=n)
    if seed % 2:
        scores = np.round(scores)  # ties
    window = int(draw.choice([0, 1, 2, 3, 11, 30]))
    assert tuple(vus(scores, labels, window)) == pytest.approx(naive_vus(scores, labels, window), abs=1e-12)


@pytest.mark.parametrize("where", [[0], [29], [0, 29], [0, 1, 28, 29], [10, 12, 14, 16]])
@pytest.mark.parametrize("scores", [np.zeros(30), np.arange(30.0), np.r_[np.inf, np.arange(28.0), -np.inf]])
def test_anomalies_at_the_ends_and_scores_without_an_order_are_the_naive_definition(where, scores):
    labels = np.zeros(30, dtype=bool)
    labels[where] = True
    for window in (0, 5, 40):
        assert tuple(vus(scores, labels, window)) == pytest.approx(naive_vus(scores, labels, window), abs=1e-12)


def test_a_perfect_score_without_a_margin_fills_both_volumes():
    labels = np.zeros(1000, dtype=bool)
    labels[400:480] = True
    assert tuple(vus(labels.astype(float), labels, 0)) == pytest.approx((1, 1))


def test_only_the_order_of_the_scores_counts():
    scores, labels = golden()
    assert vus(scores, labels, 20) == vus(np.exp(5 * scores) - 3, labels, 20)


def test_a_million_rows_take_seconds():
    draw = np.random.default_rng(0)
    scores, labels = draw.random(1_000_000), np.zeros(1_000_000, dtype=bool)
    for start in draw.integers(0, 999_000, 2000):
        labels[start : start + draw.integers(1, 60)] = True
    before = time.perf_counter()
    found = vus(scores, labels, 100)
    assert time.perf_counter() - before < 15
    assert 0 < found.pr < 0.5 < found.roc < 1


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1.0, 2.0], [0, 0], "no row is labelled anomalous"),
        ([1.0, 2.0], [1, 1], "every row is labelled anomalous"),
        ([1.0, np.nan], [0, 1], "1 of 2 rows have no score"),
        ([1.0, 2.0], [0, 1, 0], "3 labels for scores of the shape"),
        ([1.0, 2.0], [0, 2], "the labels hold 2"),
        ([], [], "no row"),
    ],
)
def test_undefined_cases_say_so(scores, labels, message):
    with pytest.raises(DataError, match=message):
        vus(np.array(scores), np.array(labels), 10)


@pytest.mark.parametrize("window", [-1, 2.5])
def test_a_margin_is_a_whole_number(window):
    with pytest.raises(OptionError, match="whole number"):
        vus([1.0, 2.0], [0, 1], window)


def naive_window(values):
    """TSB-AD's find_length_rank, with the autocorrelation written out."""
    x = values[:20_000] - np.mean(values[:20_000])
    correlation = [np.dot(x[: len(x) - lag], x[lag:]) for lag in range(min(401, len(x)))]
    correlation = correlation[3:]
    peaks = [
        i
        for i in range(1, len(correlation) - 1)
        if correlation[i] > correlation[i - 1] and correlation[i] > correlation[i + 1]
    ]
    if not peaks:
        return 125
    best = max(peaks, key=lambda i: correlation[i])
    return 125 if best < 3 or best > 300 else best + 3


@pytest.mark.parametrize("period", [4, 6, 24, 144, 250, 340])
@pytest.mark.parametrize("rows", [50, 700, 21_000])
def test_the_window_is_the_period_as_tsb_ad_finds_it(period, rows):
    steps = np.arange(rows)
    values = np.sin(2 * np.pi * steps / period) + 0.1 * np.random.default_rng(period).normal(size=rows)
    assert vus_window(values) == naive_window(values)


def test_the_period_of_a_clean_cycle_is_found():
    values = np.sin(2 * np.pi * np.arange(5000) / 50)
    assert vus_window(values) == 50
    assert vus_window(np.stack([values, np.zeros(5000)], axis=1)) == 50
    values[100:130] = np.nan
    assert vus_window(values) == 50


@pytest.mark.parametrize("values", [np.zeros(500), np.arange(100.0), [3.0], [np.nan, np.nan], np.full(50, 0.1)])
def test_without_a_period_it_falls_back(values):
    assert vus_window(values) == 125


def test_no_rows_have_no_period():
    with pytest.raises(DataError, match="no period"):
        vus_window([])


def test_the_variant_of_aeon_is_another():
    pytest.importorskip("aeon")
    aeon = pytest.importorskip("aeon.benchmarking.metrics.anomaly_detection")
    scores, labels = golden()
    theirs = (
        aeon.range_pr_vus_score(labels.astype(int), scores, 200),
        aeon.range_roc_vus_score(labels.astype(int), scores, 200),
    )
    assert theirs == pytest.approx((0.7493254559, 0.8763382130), abs=1e-9)
    # The same idea with other margins and thresholds: near in precision and recall, which is all that can be asked.
    assert vus(scores, labels, 200).pr == pytest.approx(theirs[0], abs=0.03)
    assert vus(scores, labels, 200).pr != pytest.approx(theirs[0], abs=0.01)
