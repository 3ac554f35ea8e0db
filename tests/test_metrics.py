from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from seqae.anomaly.metrics import (
    affiliation,
    auroc,
    average_precision,
    best_pa_k,
    composite_f1,
    event_precision,
    event_recall,
    false_alarms_per_thousand,
    pa_k,
    ucr_hit,
    vus,
    vus_window,
)
from seqae.anomaly.metrics.evaluation import FLAG_METRICS, SCORE_METRICS, energy, evaluate
from seqae.anomaly.metrics.segments import segments
from seqae.errors import DataError, OptionError


def bits(text):
    return np.array(list(text)) == "1"


def rows(length, *runs):
    marks = np.zeros(length, dtype=bool)
    for start, end in runs:
        marks[start:end] = True
    return marks


def random_case(seed):
    """Scores with ties and labels in runs; at least one row of either kind."""
    draw = np.random.default_rng(seed)
    n = int(draw.integers(2, 120))
    labels = np.repeat(draw.random(n) < 0.3, draw.integers(1, 8, n))[:n]
    labels[[0, -1]] = draw.permutation([True, False])
    scores = draw.normal(size=n) + labels
    return np.round(scores, int(draw.integers(0, 3))), labels


# ---- scores ----


def test_average_precision_is_made_of_steps():
    assert average_precision([0, 0.1, 1, 0.5, 0, 0], [0, 1, 1, 0, 0, 0]) == pytest.approx(5 / 6)


@pytest.mark.parametrize("seed", range(20))
def test_auroc_and_average_precision_are_those_of_scikit_learn(seed):
    scores, labels = random_case(seed)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


def test_a_constant_score_is_worth_nothing():
    labels = rows(100, (10, 30))
    assert auroc(np.zeros(100), labels) == 0.5
    assert average_precision(np.zeros(100), labels) == 0.2


def test_infinite_scores_have_a_rank():
    labels = [1, 0, 1, 0]
    assert auroc([np.inf, 1, 2, -np.inf], labels) == auroc([9, 1, 2, 0], labels) == 1


@pytest.mark.parametrize(
    ("peak", "run", "hit"),
    [
        (400, (500, 520), True),
        (399, (500, 520), False),
        (619, (500, 520), True),
        (620, (500, 520), False),
        (300, (500, 700), True),
        (299, (500, 700), False),
        (899, (500, 700), True),
        (900, (500, 700), False),
    ],
)
def test_ucr_hit_allows_a_hundred_rows_or_the_length(peak, run, hit):
    scores = np.zeros(1000)
    scores[peak] = 1
    assert ucr_hit(scores, rows(1000, run)) is hit


def test_a_tie_for_the_highest_score_is_a_hit_only_if_all_of_it_is():
    labels = rows(1000, (500, 520))
    scores = np.zeros(1000)
    assert not ucr_hit(scores, labels)
    scores[[490, 530]] = 1
    assert ucr_hit(scores, labels)
    scores[10] = 1
    assert not ucr_hit(scores, labels)


def test_ucr_hit_is_for_one_anomaly():
    with pytest.raises(DataError, match="there are 2"):
        ucr_hit(np.arange(50.0), rows(50, (3, 5), (9, 12)))


# ---- flags ----


@pytest.mark.parametrize(("k", "f1"), [(0, 12 / 13), (20, 12 / 13), (24.9, 12 / 13), (25, 0.6), (50, 0.6), (100, 0.6)])
def test_pa_k_is_as_published(k, f1):
    assert pa_k(bits("0100010110"), bits("0111100110"), k).f1 == pytest.approx(f1, abs=1e-6)


def naive_pa_k(flags, labels, k):
    flags = np.array(flags)
    starts, ends = segments(labels)
    for start, end in zip(starts, ends, strict=True):
        if flags[start : end + 1].sum() * 100 > k * (end - start + 1):
            flags[start : end + 1] = True
    true = (flags & labels).sum()
    precision, recall = true / flags.sum(), true / labels.sum()
    return precision, recall, 0.0 if true == 0 else 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("k", [0, 10, 20, 50, 100])
@pytest.mark.parametrize("seed", range(12))
def test_pa_k_and_its_best_threshold_are_the_naive_ones(seed, k):
    scores, labels = random_case(seed)
    thresholds = np.unique(scores)[::-1]
    of_all = [naive_pa_k(scores >= threshold, labels, k) for threshold in thresholds]
    for threshold, expected in zip(thresholds, of_all, strict=True):
        assert tuple(pa_k(scores >= threshold, labels, k)) == pytest.approx(expected, abs=1e-12)
    best = best_pa_k(scores, labels, k)
    assert best.f1 == pytest.approx(max(f1 for _, _, f1 in of_all), abs=1e-12)
    assert any(tuple(best) == pytest.approx(one, abs=1e-12) for one in of_all)


def test_point_adjustment_makes_a_random_score_look_good():
    labels = rows(20_000, (3000, 3500), (12_000, 12_500))
    scores = np.random.default_rng(0).random(20_000)
    assert best_pa_k(scores, labels, 0).f1 > 0.9
    assert best_pa_k(scores, labels, 100).f1 < 0.15


def test_composite_f1_is_as_published():
    found = composite_f1(rows(100, (15, 17), (55, 62)), rows(100, (10, 20), (50, 60)))
    assert found == pytest.approx((7 / 9, 1, 0.875))


def test_events_are_counted_once():
    labels = rows(100, (10, 20), (50, 60), (80, 81))
    flags = rows(100, (0, 3), (12, 13), (15, 16), (19, 22), (58, 70), (90, 95))
    assert event_recall(flags, labels) == pytest.approx(2 / 3)
    assert event_precision(flags, labels) == pytest.approx(4 / 6)
    assert false_alarms_per_thousand(flags, labels) == pytest.approx(1000 * (3 + 2 + 10 + 5) / 79)


def test_one_flagged_run_may_meet_several_anomalies():
    assert event_recall(rows(50, (5, 40)), rows(50, (10, 12), (20, 25))) == 1
    assert event_precision(rows(50, (5, 40)), rows(50, (10, 12), (20, 25))) == 1


# ---- affiliation ----


def naive_affiliation(flags, labels, fine=400):
    """Sums over midpoints of a fine grid, straight from the definition."""
    starts, ends = segments(labels)
    events = [(s, e + 1) for s, e in zip(starts, ends, strict=True)]
    borders = [0.0, *((a[1] + b[0]) / 2 for a, b in pairwise(events)), len(labels)]
    grid = (np.arange(len(labels) * fine) + 0.5) / fine
    flagged = flags[grid.astype(int)]
    precision, recall = [], []
    for (first, last), low, high in zip(events, borders[:-1], borders[1:], strict=True):
        zone = grid[(grid > low) & (grid < high)]
        hits = zone[flagged[(grid > low) & (grid < high)]]
        inside = zone[(zone > first) & (zone < last)]
        if not len(hits):
            recall.append(0.0)
            continue
        far = np.maximum(np.maximum(first - hits, hits - last), 0)
        # The share of the zone at least as far from the anomaly; all of it for a hit inside.
        there = np.sort(np.maximum(np.maximum(first - zone, zone - last), 0))
        precision.append(np.mean(1 - np.searchsorted(there, far - 1e-9) / len(zone)))
        place = np.clip(np.searchsorted(hits, inside), 1, max(len(hits) - 1, 1))
        near = np.minimum(np.abs(inside - hits[np.minimum(place, len(hits) - 1)]), np.abs(inside - hits[place - 1]))
        left, right = np.maximum(inside - near - low, 0), np.maximum(high - inside - near, 0)
        recall.append(np.mean((left + right) / (high - low)))
    return np.mean(precision), np.mean(recall)


def test_affiliation_is_as_published():
    found = affiliation(bits("0000100010"), bits("0001000111"))
    assert found.precision == pytest.approx(0.8181818182, abs=1e-10)
    assert found.recall == pytest.approx(0.8442760943, abs=1e-10)


@pytest.mark.parametrize("seed", range(25))
def test_affiliation_is_the_naive_integral(seed):
    draw = np.random.default_rng(seed)
    n = int(draw.integers(2, 60))
    labels = np.repeat(draw.random(n) < 0.2, draw.integers(1, 5, n))[:n]
    flags = draw.random(n) < draw.choice([0.03, 0.2, 0.8])
    labels[draw.integers(n)] = True
    flags[draw.integers(n)] = True
    assert tuple(affiliation(flags, labels)) == pytest.approx(naive_affiliation(flags, labels), abs=4e-3)


def test_affiliation_is_one_for_the_labels_and_a_half_for_everything():
    labels = rows(10_000, (3000, 3010))
    assert tuple(affiliation(labels, labels)) == pytest.approx((1, 1))
    assert affiliation(np.ones(10_000, dtype=bool), labels).precision == pytest.approx(0.5, abs=0.1)


# ---- undefined cases ----

NONE, ALL, SOME = rows(20), rows(20, (0, 20)), rows(20, (3, 6))
SCORES = np.arange(20.0)


@pytest.mark.parametrize("metric", [auroc, average_precision, ucr_hit, best_pa_k, lambda s, y: vus(s, y, 4)])
def test_a_score_without_two_kinds_of_rows_is_undefined(metric):
    with pytest.raises(DataError, match="undefined: no row is labelled anomalous"):
        metric(SCORES, NONE)
    with pytest.raises(DataError, match="undefined: every row is labelled anomalous"):
        metric(SCORES, ALL)
    with pytest.raises(DataError, match="1 of 20 rows have no score"):
        metric(np.where(SCORES == 4, np.nan, SCORES), SOME)
    with pytest.raises(DataError, match="19"):
        metric(SCORES, SOME[1:])


@pytest.mark.parametrize("metric", [pa_k, composite_f1, event_recall, affiliation])
def test_flags_without_an_anomaly_are_undefined(metric):
    with pytest.raises(DataError, match="undefined: no row is labelled"):
        metric(SOME, NONE)
    with pytest.raises(DataError, match="19"):
        metric(SOME, SOME[1:])


@pytest.mark.parametrize("metric", [pa_k, composite_f1, event_precision, affiliation])
def test_the_precision_of_no_flag_is_undefined(metric):
    with pytest.raises(DataError, match="undefined: no row is flagged"):
        metric(NONE, SOME)


def test_what_is_defined_without_flags_or_with_nothing_but_anomalies():
    assert event_recall(NONE, SOME) == 0
    assert false_alarms_per_thousand(NONE, SOME) == 0
    assert tuple(pa_k(SOME, ALL)) == pytest.approx((1, 0.15, 0.3 / 1.15))
    with pytest.raises(DataError, match="false alarms are undefined"):
        false_alarms_per_thousand(SOME, ALL)


@pytest.mark.parametrize("labels", [np.full(20, 2), np.full(20, np.nan), ["a"] * 20, np.zeros((20, 2))])
def test_labels_are_zeros_and_ones(labels):
    with pytest.raises(DataError):
        event_recall(SOME, labels)


@pytest.mark.parametrize("k", [-1, 101])
def test_k_is_a_percentage(k):
    with pytest.raises(OptionError, match="percentage"):
        pa_k(SOME, SOME, k)


# ---- the table ----

COLUMNS = [name for menu in (SCORE_METRICS, FLAG_METRICS) for names in menu for name in names]


def wave(seed=0, length=2000):
    draw = np.random.default_rng(seed)
    values = np.stack([np.sin(np.arange(length) / 8), np.cos(np.arange(length) / 8)], axis=1)
    values += 0.05 * draw.normal(size=values.shape)
    labels = rows(length, (900, 940))
    values[labels, 0] += 4
    return values, labels, draw


def test_the_table_holds_each_metric_of_the_score_and_its_baselines():
    values, labels, draw = wave()
    scores = labels * 0.4 + draw.random(len(labels))
    flags = scores > 0.9
    table = evaluate(scores, labels, flags=flags, values=values)
    assert list(table.index) == ["score", "random", "energy"]
    assert list(table.columns) == [*COLUMNS, "window", "rows", "unscored", "anomalies", "note"]
    own = table.loc["score"]
    window = vus_window(values)
    assert window == own["window"] == round(2 * np.pi * 8)
    assert (own["vus_pr"], own["vus_roc"]) == vus(scores, labels, window)
    assert own["average_precision"] == average_precision(scores, labels)
    assert own["auroc"] == auroc(scores, labels)
    assert own["ucr_hit"] == ucr_hit(scores, labels)
    assert own["best_pa20_f1"] == best_pa_k(scores, labels, 20).f1
    assert own["event_precision"] == event_precision(flags, labels)
    assert own["event_recall"] == event_recall(flags, labels)
    assert own["false_alarms_per_thousand"] == false_alarms_per_thousand(flags, labels)
    assert (own["precision"], own["composite_f1"]) == composite_f1(flags, labels)[::2]
    assert (own["affiliation_precision"], own["affiliation_recall"]) == affiliation(flags, labels)
    assert own["pa20_f1"] == pa_k(flags, labels, 20).f1
    assert (table["note"] == "").all()
    smoothed = energy(values, window // 2)
    assert table.loc["energy", "auroc"] == auroc(smoothed, labels) > 0.95
    assert table.loc["energy", "event_recall"] == 1


def test_the_random_score_is_a_mean_over_draws_by_its_seed():
    _, labels, _ = wave()
    scores = labels.astype(float)
    first, again, other = (evaluate(scores, labels, window=20, seed=seed).loc["random"] for seed in (1, 1, 2))
    pd.testing.assert_series_equal(first, again)
    assert first["auroc"] != other["auroc"]
    draw = np.random.default_rng(1)
    assert first["auroc"] == pytest.approx(np.mean([auroc(draw.random(len(labels)), labels) for _ in range(10)]))


def test_baselines_flag_as_many_rows_as_the_score():
    values, labels, _ = wave()
    flags = rows(len(labels), (0, 100))
    table = evaluate(np.zeros(len(labels)), labels, flags=flags, values=values)
    normal = (~labels).sum()
    for name in table.index:
        false = table.loc[name, "false_alarms_per_thousand"] * normal / 1000
        assert table.loc[name, "precision"] == pytest.approx(1 - false / 100)


def test_rows_without_a_score_are_left_out_and_counted():
    values, labels, draw = wave()
    scores = draw.random(len(labels)) + labels
    cut = scores.copy()
    cut[:300] = np.nan
    table = evaluate(cut, labels, flags=scores > 1, values=values, window=30)
    assert (table["rows"] == 1700).all()
    assert (table["unscored"] == 300).all()
    assert table.loc["score", "auroc"] == auroc(scores[300:], labels[300:])
    assert table.loc["score", "event_precision"] == event_precision((scores > 1)[300:], labels[300:])
    assert table.loc["energy", "auroc"] == auroc(energy(values, 15)[300:], labels[300:])


def test_undefined_metrics_are_nan_with_a_reason():
    scores = np.random.default_rng(0).random(50)
    none = evaluate(scores, rows(50), flags=scores > 0.9).loc["score"]
    assert np.isnan([none[name] for name in ("vus_pr", "auroc", "event_recall", "pa20_f1")]).all()
    assert none["event_precision"] == 0
    assert none["false_alarms_per_thousand"] == pytest.approx(1000 * (scores > 0.9).mean())
    assert "VUS is undefined: no row is labelled anomalous" in none["note"]
    silent = evaluate(scores, rows(50, (3, 5)), flags=scores > 2).loc["score"]
    assert silent["event_recall"] == 0
    assert np.isnan(silent["event_precision"])
    assert "no row is flagged" in silent["note"]
    nothing = evaluate(np.full(50, np.nan), rows(50, (3, 5)), flags=scores > 2)
    assert nothing[COLUMNS].isna().all(axis=None)
    assert (nothing["note"] == "no row has a score").all()
    assert (nothing["unscored"] == 50).all()


def test_parts_that_do_not_fit_are_refused():
    labels = rows(50, (3, 5))
    for given in ({"flags": np.zeros(49, dtype=bool)}, {"values": np.zeros((49, 2))}):
        with pytest.raises(DataError, match="49"):
            evaluate(np.arange(50.0), labels, window=3, **given)
    with pytest.raises(DataError, match="50 labels"):
        evaluate(np.arange(49.0), labels)


@pytest.mark.parametrize("width", [1, 2, 5, 100])
def test_energy_is_the_smoothed_square(width):
    draw = np.random.default_rng(width)
    values = draw.normal(3, 2, (60, 3))
    values[:, 2] = 0.1  # constant: no energy
    values[4, 0] = values[5, :] = np.nan
    expected = np.zeros((60, 3))
    for c in range(2):
        expected[:, c] = ((values[:, c] - np.nanmean(values[:, c])) / np.nanstd(values[:, c])) ** 2
    raw = np.nan_to_num(expected).mean(axis=1)
    smoothed = [raw[max(t - (width - 1) // 2, 0) : t + width // 2 + 1].mean() for t in range(60)]
    np.testing.assert_allclose(energy(values, width), smoothed, rtol=1e-9)
