from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

import seqae
from seqae.anomaly.pipeline import Preparation, cut, drop_inserted
from seqae.anomaly.provenance import fingerprint
from seqae.anomaly.scoring import LEAST_OBSERVED
from seqae.errors import DataError, ModelFileError, NotFittedError, OptionError, SeqaeWarning
from seqae.series import Panel, Series

WINDOW = 20
# Windows that share a batch share matrix products, whose summation order depends on the batch's size.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}
# One head, not smoothed: what a change reaches, and what a score is made of, can be said exactly.
QUICK = {"window": WINDOW, "cell": "gru", "hidden": 8, "latent": 2, "alpha": 0.05, "scorer": "nll", "smoothing": 1}
SHORT = {"epochs": 2, "device": "cpu"}


def frame(rows=1000, seed=0, start="2024-03-01", tz=None, step="5min"):
    """Two related waves with noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    clean = np.column_stack([20 + 3 * np.sin(2 * np.pi * t / 20), 500 + 100 * np.cos(2 * np.pi * t / 40)])
    noisy = clean + rng.standard_normal((rows, 2)) * [0.3, 10]
    return pd.DataFrame(noisy, index=pd.date_range(start, periods=rows, freq=step, tz=tz), columns=["temp", "flow"])


def series(rows=1000, seed=0, name="pump.csv", **options):
    return Series.from_frame(frame(rows, seed, **options), name=name)


def weights(detector):
    return {name: weight.clone() for name, weight in detector.model.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def fitted():
    return seqae.Detector(**QUICK).fit(series(), epochs=15, learning_rate=4e-3, device="cpu", seed=1)


@pytest.fixture(scope="module")
def causal():
    return seqae.Detector(**QUICK, mode="causal").fit(series(), **SHORT)


# What goes in comes back, row by row


@pytest.mark.parametrize("tz", [None, "UTC", "Europe/Berlin"])
def test_a_table_comes_back_on_its_own_index(fitted, tz):
    given = frame(300, seed=1, tz=tz, start="2024-03-31 00:00")  # Berlin's clocks go forward on that day
    scores = fitted.score(given)
    pd.testing.assert_index_equal(scores.index, given.index)
    assert list(scores) == ["score", "p_value", "is_anomaly", "coverage", "error", "score_temp", "score_flow"]
    assert scores["score"].notna().all()


def test_other_indexes_are_kept_too(fitted):
    given = frame(300, seed=1)
    expected = fitted.score(given)
    for index in (pd.RangeIndex(300), pd.Index(np.arange(300) * 7 + 3)):
        scores = fitted.score(given.set_axis(index))
        pd.testing.assert_index_equal(scores.index, index)
        pd.testing.assert_frame_equal(scores.reset_index(drop=True), expected.reset_index(drop=True))


def test_gaps_of_the_time_axis(fitted):
    given = frame(300, seed=1).drop(frame(300).index[100:140])
    scores = fitted.score(given)
    pd.testing.assert_index_equal(scores.index, given.index)  # a table has its own rows only
    full = Series.from_frame(given)
    whole = fitted.score(full)  # a Series has all of its rows
    pd.testing.assert_index_equal(whole.index, full.index)
    assert len(whole) == 300
    assert np.array_equal(whole["coverage"].to_numpy() == 0, ~full.present)
    assert np.array_equal(whole["score"].isna().to_numpy(), ~full.present)
    assert not whole["is_anomaly"][~full.present].any()
    assert whole["p_value"][~full.present].isna().all()
    pd.testing.assert_frame_equal(drop_inserted(whole, full), scores, check_freq=False)


@pytest.mark.parametrize("mode", ["overlap", "causal", "centred"])
def test_windows_that_are_nearly_all_gap_say_nothing(mode):
    """A row amid a gap is judged by nothing; a channel that falls silent is flagged where that is asked for."""
    values = series(400).values[:, :1]
    detector = seqae.Detector(**QUICK | {"scorer": "nll"}, mode=mode).fit(values, **SHORT)
    today = values[:300].copy()
    today[100:200] = np.nan
    today[150] = 20.0  # alone in the gap
    scores = detector.score(today)
    assert np.array_equal(scores["coverage"] == 0, scores["score"].isna())
    assert scores["score"].iloc[100:200].isna().all()
    assert scores["error"].iloc[100:200].isna().all()
    silent = scores["score"].iloc[200:].isna().sum()  # a window's last half from where there are values again
    assert silent == (WINDOW // 2 - 1 if mode == "causal" else 0)
    everything = seqae.Detector(**QUICK | {"scorer": "nll"}, mode=mode).fit(values, **SHORT, min_observed=0.0)
    assert everything.score(today)["score"].notna().iloc[[150, 200]].all()
    scored = seqae.Detector(**QUICK | {"scorer": "nll"}, mode=mode, missing="score").fit(values, **SHORT)
    assert scored.score(today)["is_anomaly"].iloc[120:180].drop(150).all()


def test_the_share_that_windows_need_is_kept_with_the_model(tmp_path):
    values = series(400).values
    values[np.arange(400) % 10 > 2] = np.nan  # 30 % of the rows have values
    detector = seqae.Detector(**QUICK).fit(values, **SHORT, min_observed=0.3)
    assert (detector.score(values)["score"].notna().to_numpy() == ~np.isnan(values[:, 0])).all()
    detector.save(tmp_path / "model.safetensors")
    again = seqae.Detector.load(tmp_path / "model.safetensors")
    assert again.preparation.min_observed == 0.3
    pd.testing.assert_frame_equal(again.score(values), detector.score(values))
    older = detector.preparation.to_document()
    del older["min_observed"]
    assert Preparation.from_document(older).min_observed == LEAST_OBSERVED == 0.5


def test_a_missing_value_leaves_the_other_channels_part(fitted):
    given = frame(300, seed=1)
    given.iloc[50, 0] = np.nan
    given.iloc[60] = np.nan
    scores = fitted.score(given)
    assert np.isnan(scores["score_temp"].iloc[50])
    assert scores["score"].iloc[50] == scores["score_flow"].iloc[50]
    assert scores["coverage"].iloc[50] == WINDOW
    assert scores["coverage"].iloc[60] == 0
    assert scores.index[scores["score"].isna()].tolist() == [given.index[60]]


def test_the_score_is_the_mean_of_its_parts_and_flags_follow(fitted):
    scores = fitted.score(frame(300, seed=1))
    parts = scores[["score_temp", "score_flow"]].to_numpy(dtype=np.float64)
    np.testing.assert_allclose(scores["score"], parts.mean(axis=1))
    threshold = fitted.calibration.threshold
    assert np.array_equal(scores["is_anomaly"], scores["score"] > threshold.value)
    assert np.array_equal(scores["is_anomaly"], scores["p_value"] <= 0.05)


def test_every_kind_of_data_gives_the_same_scores(fitted):
    given = frame(200, seed=2)
    expected = fitted.score(given).reset_index(drop=True)
    array = given.to_numpy()
    for single in (Series.from_frame(given), array, given[["flow", "temp"]]):
        scores = fitted.score(single)
        assert isinstance(scores, pd.DataFrame)
        pd.testing.assert_frame_equal(scores.reset_index(drop=True), expected)
    several = {
        "Panel": Panel([Series.from_frame(given, name="a")]), "list": [given], "mapping": {"a": given},
        "3-D array": array[None], "list of arrays": [array],
    }  # fmt: skip
    for kind, data in several.items():
        (scores,) = fitted.score(data).values()
        pd.testing.assert_frame_equal(scores.reset_index(drop=True), expected, obj=kind)


def test_channels_are_matched_by_name_and_named_where_they_differ(fitted):
    given = frame(200, seed=2)
    with pytest.raises(
        DataError, match=r"has the channels temp, wind; .* on temp, flow \(missing: flow; unknown: wind\)"
    ):
        fitted.score(given.rename(columns={"flow": "wind"}))
    with pytest.raises(DataError, match=r"unknown: extra"):
        fitted.score(given.assign(extra=1.0))
    with pytest.raises(DataError, match=r"has the channels c0, c1, c2; .* trained on temp, flow"):
        fitted.score(np.zeros((50, 3)))


# Scores


def test_a_spike_is_found_where_it_is_and_with_its_channel(fitted):
    given = frame(400, seed=3)
    given.iloc[200:203, 1] += 600
    found = fitted.detect(given)
    event = found.events.sort_values("severity").iloc[-1]
    assert given.index[199] <= event["start"] <= given.index[200]
    assert given.index[202] <= event["end"] <= given.index[203]
    assert event["peak"] in given.index[200:203]
    assert event["channels"].split(", ")[0] == "flow"
    assert event["severity"] > 3
    assert event["score"] == found.scores["score"].max()
    assert found.threshold == fitted.calibration.threshold.value
    pd.testing.assert_frame_equal(found.scores, fitted.score(given))


def test_events_of_a_panel_name_their_series_and_rules_can_be_given(fitted):
    calm, spiky = frame(200, seed=4), frame(200, seed=5)
    spiky.iloc[[100, 104], 0] += 40
    found = fitted.detect({"calm": calm, "spiky": spiky}, merge=5)
    assert list(found.events)[:2] == ["series", "start"]
    worst = found.events.sort_values("severity").iloc[-1]
    assert worst["series"] == "spiky"
    assert worst["start"] <= spiky.index[100] < spiky.index[104] <= worst["end"]
    assert set(found.scores) == {"calm", "spiky"}
    none = fitted.detect({"calm": calm, "spiky": spiky}, min_length=100).events
    assert len(none) == 0
    assert list(none) == list(found.events)


@pytest.mark.parametrize("rows", [WINDOW, 51, 299])
def test_causal_scores_do_not_know_the_future(causal, rows):
    given = frame(300, seed=6)
    whole, part = causal.score(given), causal.score(given.iloc[:rows])
    numbers = ["score", "p_value", "coverage", "score_temp", "score_flow"]
    np.testing.assert_allclose(part[numbers], whole[numbers].iloc[:rows], **ROUNDING)
    assert whole["score"].isna().to_numpy().nonzero()[0].tolist() == list(range(WINDOW - 1))


@pytest.mark.parametrize("batch_size", [1, 13])
def test_scores_do_not_depend_on_the_batch_size(fitted, batch_size):
    given = frame(200, seed=6)
    np.testing.assert_allclose(
        fitted.score(given, batch_size=batch_size)["score"], fitted.score(given)["score"], **ROUNDING
    )


def test_the_false_alarm_rate_holds_on_fresh_normal_data():
    detector = seqae.Detector(**QUICK | {"alpha": 0.02}).fit(series(6000, seed=7), epochs=5, device="cpu")
    rate = detector.score(frame(20_000, seed=8))["is_anomaly"].mean()
    assert detector.calibration.threshold.false_alarm_rate == pytest.approx(24 / 1201)
    assert 0.5 * 0.02 < rate < 1.75 * 0.02  # 1200 calibration scores, 60 windows without common rows


# Parts of the training data


def test_the_threshold_comes_from_the_last_part_scored_as_any_data_are(fitted):
    last = series()[800:]
    scores = fitted.score(last)["score"].to_numpy()
    np.testing.assert_allclose(fitted.calibration.threshold.scores, np.sort(scores), **ROUNDING)
    origin = fitted.describe()["threshold"]
    assert origin["source"] == "the last 20% of the training data, held back"
    assert (origin["first"], origin["last"]) == (str(last.index[0]), str(last.index[-1]))
    assert origin["rows"] == 200
    assert origin["disjoint_windows"] == 10
    assert origin["false_alarm_rate"] == pytest.approx(10 / 201)
    assert origin["false_alarms_per_day"] == pytest.approx(288 * 10 / 201)
    assert fitted.training_data["parts"] == {"fit": 700, "validation": 100, "calibration": 200}


def test_nothing_of_a_later_part_reaches_an_earlier_one():
    base = series(400)
    other = {
        name: Series.from_frame(pd.concat([frame(400).iloc[:row], frame(400, seed=9).iloc[row:]]))
        for name, row in (("calibration", 320), ("validation", 280))
    }
    detector = seqae.Detector(**QUICK).fit(base, **SHORT)
    changed = seqae.Detector(**QUICK).fit(other["calibration"], **SHORT)
    assert same(weights(detector), weights(changed))
    assert detector.calibration.threshold.value != changed.calibration.threshold.value
    changed = seqae.Detector(**QUICK).fit(other["validation"], **SHORT)
    assert np.array_equal(detector.preparation.scaler.centre, changed.preparation.scaler.centre)
    records = zip(detector.history["epochs"], changed.history["epochs"], strict=True)
    assert all(one["train_total"] == two["train_total"] for one, two in records)
    assert detector.history["epochs"][0]["validation_total"] != changed.history["epochs"][0]["validation_total"]


def rows_of(panel, part):
    return {one.name: set(one.index) for one in part} if part is not None else {}


@pytest.mark.parametrize("lengths", [[300], [60], [61, 500, 79]])
@pytest.mark.parametrize(("validation", "calibration"), [(0.1, 0.2), (0.0, 0.3), (0.25, 0.0), (0.0, 0.0), (0.48, 0.5)])
def test_cut_in_time(lengths, validation, calibration):
    panel = Panel(series(length, name=str(length)) for length in lengths)
    parts = cut(panel, WINDOW, validation=validation, calibration=calibration)
    assert (parts.validation is None, parts.calibration is None) == (validation == 0, calibration == 0)
    for one in panel:
        pieces = [part[one.name] for part in parts if part is not None]
        assert all(len(piece) >= WINDOW for piece in pieces)
        assert np.array_equal(np.concatenate([piece.values for piece in pieces]), one.values)
        if len(one) == 300 and validation <= 0.25:
            assert [len(piece) for piece in pieces[1:]] == [round(300 * s) for s in (validation, calibration) if s]


def test_short_series_of_a_panel_go_whole_into_the_fit():
    panel = Panel(series(rows, name=f"{i}") for i, rows in enumerate([30, 500, 59, 60]))
    parts = cut(panel, WINDOW, validation=0.1, calibration=0.2)
    assert [part.names for part in parts] == [tuple("0123"), ("1", "3"), ("1", "3")]
    assert [len(one) for one in parts.fit] == [30, 350, 59, 20]
    assert [len(one) for one in parts.validation] == [50, 20]
    assert [len(one) for one in parts.calibration] == [100, 20]


def test_series_too_short_to_be_held_back_of_are_named_once():
    long, short = [series(300, name="long")], [series(30 + i, name=f"short-{i}") for i in range(7)]
    with pytest.warns(SeqaeWarning, match="too short to hold rows back") as said:
        seqae.Detector(**QUICK).fit(Panel(short[:2] + long), **SHORT)
    assert [str(one.message) for one in said] == [
        "2 of 3 series are too short to hold rows back (short-0, short-1): 3 parts of window=20 need 60 rows. They are "
        "fitted whole, and the threshold knows nothing of them. Use --window 10 or less, or leave them out."
    ]
    with pytest.warns(SeqaeWarning, match=r"7 of 8 .*short-0, short-1, short-2, short-3, short-4 and 2 more\)"):
        seqae.Detector(**QUICK).fit(Panel(short + long), **SHORT)
    seqae.Detector(**QUICK).fit(Panel([*long, series(300, 1, name="other")]), **SHORT)
    seqae.Detector(**QUICK | {"alpha": 0.1}).fit(Panel(short), **SHORT)  # cut by whole series


def test_cut_by_whole_series_where_all_are_too_short():
    panel = Panel(series(rows, name=f"{i}") for i, rows in enumerate([59, 50, 15, 40, 40, 30, 40, 20, 40, 40]))
    parts = cut(panel, WINDOW, validation=0.1, calibration=0.2)
    assert [part.names for part in parts] == [tuple("0123456"), ("7",), ("8", "9")]
    parts = cut(Panel(list(panel)[:3]), WINDOW, validation=0.01, calibration=0.01)
    assert [part.names for part in parts] == [("0",), ("1",), ("2",)]


@pytest.mark.parametrize(
    ("rows", "shares", "words"),
    [
        ([15], {}, r"pump has 15 rows; window=20 needs at least 20\. Use --window 5 or less\."),
        ([1], {}, r"pump has 1 row; window=20 needs"),
        ([15, 12], {}, r"pump has 15 rows; window=20 needs at least 20\. Use --window 5 or less\."),
        ([50], {}, r"pump has 50 rows; 3 parts .* of window=20 need 60\. Use --window 16 or less, --validation 0"),
        ([30, 90], {"validation": 0}, None),
        ([30, 50], {}, r"other 1 has 50 rows; 3 parts"),
        ([500], {"validation": 0.5, "calibration": 0.5}, "sum to less than 1"),
        ([500], {"validation": -0.1}, "from 0"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_cure(rows, shares, words):
    panel = Panel(series(n, name="pump" if i == 0 else f"other {i}") for i, n in enumerate(rows))
    if words is None:
        assert cut(panel, WINDOW, **shares).calibration.names == ("other 1",)
        return
    with pytest.raises((DataError, OptionError), match=words):
        cut(panel, WINDOW, **shares)


def test_too_short_to_fit_or_to_score(fitted):
    with pytest.raises(DataError) as told:
        seqae.Detector(window=128).fit(series(90))
    assert str(told.value) == "pump.csv has 90 rows; window=128 needs at least 128. Use --window 30 or less."
    with pytest.raises(DataError, match=r"^pump.csv has 12 rows; window=20 needs at least 20\. Give as many, or train"):
        fitted.score(series(12))


@pytest.mark.parametrize("mode", ["overlap", "causal"])
def test_a_panel_of_short_series(mode):
    panel = Panel(
        series(rows, seed=i, name=f"unit {i}") for i, rows in enumerate([45, 12, 50, 30, 47, 40, 52, 38, 44, 49])
    )
    detector = seqae.Detector(**QUICK | {"alpha": 0.1}, mode=mode).fit(panel, **SHORT)
    assert detector.training_data["parts"] == {
        "fit": 45 + 12 + 50 + 30 + 47 + 40 + 52,
        "validation": 38,
        "calibration": 93,
    }
    scores = detector.score(panel)
    assert {name: len(table) for name, table in scores.items()} == {one.name: len(one) for one in panel}
    assert scores["unit 0"]["score"].notna().sum() == (45 if mode == "overlap" else 45 - WINDOW + 1)
    assert scores["unit 1"]["score"].notna().sum() == (12 if mode == "overlap" else 0)
    if mode == "overlap":
        assert (scores["unit 1"]["coverage"] == 1).all()


def test_labelled_rows_are_left_out_on_request():
    given = series(400)
    labels = np.zeros(400, dtype=bool)
    labels[[50, 51, 52, 300, 390]] = True
    labelled = Series(given.values, given.channels, index=given.index, labels=labels, step=given.step)
    blanked = np.where(labels[:, None], np.nan, given.values)
    blank = Series(blanked, given.channels, index=given.index, step=given.step)
    one = seqae.Detector(**QUICK).fit(labelled, labelled="exclude", **SHORT)
    two = seqae.Detector(**QUICK).fit(blank, **SHORT)
    kept = seqae.Detector(**QUICK).fit(labelled, **SHORT)
    assert same(weights(one), weights(two))
    assert np.array_equal(one.calibration.threshold.scores, two.calibration.threshold.scores)
    assert len(one.calibration.threshold.scores) == 79
    assert len(kept.calibration.threshold.scores) == 80
    assert not same(weights(one), weights(kept))
    with pytest.raises(OptionError, match="needs labels"):
        seqae.Detector(**QUICK).fit(given, labelled="exclude", **SHORT)


def test_the_seed_decides_the_model():
    one, two, three = (seqae.Detector(**QUICK).fit(series(400), seed=seed, **SHORT) for seed in (0, 0, 1))
    assert same(weights(one), weights(two))
    assert not same(weights(one), weights(three))


def test_training_leaves_the_global_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    seqae.Detector(**QUICK).fit(series(200), **SHORT)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_run_that_is_resumed_ends_where_an_unbroken_one_does(tmp_path):
    (tmp_path / "run").mkdir()
    whole = seqae.Detector(**QUICK).fit(series(300), epochs=4, device="cpu")
    seqae.Detector(**QUICK).fit(series(300), epochs=2, device="cpu", log_dir=tmp_path / "run")
    resumed = seqae.Detector(**QUICK).fit(series(300), epochs=4, device="cpu", log_dir=tmp_path / "run", resume=True)
    assert same(weights(whole), weights(resumed))
    assert whole.calibration.threshold.value == resumed.calibration.threshold.value


# Calibration


def test_calibrate_on_other_data_and_again():
    detector = seqae.Detector(**QUICK).fit(series(400), **SHORT)
    before = weights(detector)
    other = series(300, seed=11)
    detector.calibrate(other, alpha=0.1)
    assert same(before, weights(detector))
    np.testing.assert_allclose(
        detector.calibration.threshold.scores, np.sort(detector.score(other)["score"]), **ROUNDING
    )
    assert detector.describe()["threshold"]["source"] == "data given to calibrate()"
    assert detector.calibration.threshold.value == np.sort(detector.calibration.threshold.scores)[-30]  # ⌊0.1 · 301⌋
    detector.calibrate(threshold="quantile", alpha=0.25)
    scores = detector.calibration.threshold.scores
    assert detector.calibration.threshold.value == pytest.approx(np.quantile(scores, 0.75))
    assert detector.describe()["options"]["threshold"] == "quantile"


def test_without_calibration_there_are_scores_but_no_flags():
    detector = seqae.Detector(**QUICK).fit(series(200), calibration=0, **SHORT)
    scores = detector.score(series(100))
    assert scores["score"].notna().all()
    assert scores["p_value"].isna().all()
    assert scores["is_anomaly"].isna().all()
    for ask in (lambda: detector.detect(series(100)), lambda: detector.calibrate(alpha=0.1)):
        with pytest.raises(NotFittedError, match=r"Call calibrate\(data\) first"):
            ask()
    assert detector.describe()["threshold"] is None
    assert len(detector.calibrate(series(100)).detect(series(100)).scores) == 100


def test_too_few_calibration_rows_for_alpha_are_said():
    with pytest.warns(SeqaeWarning, match="Calibrate on at least 999 rows"):
        seqae.Detector(**QUICK | {"alpha": 0.001}).fit(series(200), **SHORT)


@pytest.mark.parametrize("part", ["fit", "validation", "calibration"])
def test_a_part_without_values_stops_the_work_before_training(part):
    given = frame(400)
    rows = {"fit": slice(0, 280), "validation": slice(280, 320), "calibration": slice(320, 400)}[part]
    given.iloc[rows] = np.nan
    with pytest.raises(DataError, match="no observed value"):
        seqae.Detector(**QUICK).fit(given, epochs=10**6, device="cpu")


def test_nothing_works_before_fit():
    detector = seqae.Detector()
    for ask in (detector.score, detector.detect, detector.calibrate, detector.reconstruct, detector.encode):
        with pytest.raises(NotFittedError, match=r"Call fit\(data\) first"):
            ask(series(100))
    for ask in (detector.sample, detector.describe, lambda: detector.save("nowhere.safetensors")):
        with pytest.raises(NotFittedError):
            ask()


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "GAN"}, "Choose one of: AE, VAE, CVAE"),
        ({"mode": "sideways"}, "Choose one of: causal, overlap, centred"),
        ({"scorer": "vibes"}, "Choose one of: nll, squared_error, absolute_error"),
        ({"threshold": "guess"}, "Choose one of: quantile, mad, conformal"),
        ({"scaling": "log"}, "Choose one of: standard, robust, minmax, none"),
        ({"likelihood": "cauchy"}, "Choose one of: normal"),
        ({"model": "VAE", "condition": "calendar"}, "VAE takes no condition"),
        ({"model": "AE", "condition": ["load"]}, "AE takes no condition"),
        ({"prior": "conditional"}, "needs a condition"),
        ({"likelihood": "bernoulli"}, r"needs values in \[0, 1\].*--scaling minmax"),
        ({"mode": "causal", "stride": 4}, "its stride is 1"),
        ({"window": 0}, "window=0"),
        ({"window": 2.5}, "window=2.5"),
        ({"stride": 0}, "stride=0"),
        ({"merge": -1}, "merge=-1"),
        ({"min_length": 0}, "min_length=0"),
        ({"alpha": 1.0}, "alpha=1.0"),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(options, words):
    with pytest.raises(OptionError, match=words):
        seqae.Detector(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beta_schedule": "wobbly"}, "Choose one of: constant, linear, cyclical"),
        ({"labelled": "maybe"}, "Choose one of: keep, exclude"),
        ({"noise": "loud"}, "Choose one of: gaussian, masking"),
        ({"train_stride": 0}, "stride=0"),
        ({"epochs": 0}, "epochs"),
        ({"resume": True}, "resume"),
    ],
)
def test_training_options_that_cannot_be_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        seqae.Detector(**QUICK).fit(series(200), **{"device": "cpu"} | options)


def test_a_cvae_takes_the_calendar_where_there_is_one():
    hours = series(24 * 16, step="h")
    detector = seqae.Detector(**QUICK, model="CVAE").fit(hours, **SHORT)
    assert detector.preparation.conditions.names[:2] == ("hour_sin", "hour_cos")
    shifted = hours.to_frame().set_axis(hours.index + pd.Timedelta(hours=7))
    assert not np.allclose(detector.score(hours)["score"], detector.score(shifted)["score"])
    with pytest.raises(OptionError, match=r"CVAE needs a condition, and series has no time index.*--time.*--model VAE"):
        seqae.Detector(**QUICK, model="CVAE").fit(hours.values, **SHORT)
    with pytest.raises(DataError, match="time index"):
        detector.score(hours.values)


def test_named_columns_of_a_table_are_conditions():
    given = frame(400).assign(load=np.tile([1.0, 2.0], 200), shift=["day", "night"] * 195 + ["dawn"] * 10)
    detector = seqae.Detector(**QUICK, model="CVAE", condition=["load", "shift"])
    with pytest.raises(DataError, match="dawn"):  # only the calibration part has it
        detector.fit(given, **SHORT)
    given = given.replace({"shift": {"dawn": "day"}})
    detector.fit(given, **SHORT)
    assert detector.preparation.channels == ("temp", "flow")
    assert detector.preparation.conditions.names == ("load", "shift=day", "shift=night")
    assert len(detector.score(given)) == 400
    with pytest.raises(DataError, match="evening"):
        detector.score(given.replace({"shift": {"night": "evening"}}))
    with pytest.raises(DataError, match="shift"):
        detector.score(given.drop(columns="shift"))


def test_bernoulli_refuses_what_lies_outside_its_range():
    share = pd.DataFrame({"share": (np.sin(np.arange(400) / 3) + 1) / 2})
    share.iloc[390] = 1.2  # in the calibration part, which the range is to hold too
    detector = seqae.Detector(**QUICK, likelihood="bernoulli", scaling="minmax").fit(share, **SHORT)
    assert detector.score(share)["score"].notna().all()
    beyond = share.copy()
    beyond.iloc[200] = 1.5
    with pytest.raises(DataError, match=r"needs values in \[0, 1\]"):
        detector.score(beyond)
    with pytest.raises(DataError, match=r"needs values in \[0, 1\]"):  # said before the first epoch
        seqae.Detector(**QUICK, likelihood="bernoulli", scaling="none").fit(
            beyond.iloc[::-1].reset_index(drop=True), epochs=10**6, device="cpu"
        )
    lenient = seqae.Detector(**QUICK | {"likelihood": "bernoulli", "scaling": "minmax", "scorer": "squared_error"}).fit(
        share, **SHORT
    )
    assert lenient.score(beyond)["score"].idxmax() == 200


def test_another_sampling_step_is_said(fitted):
    with pytest.warns(SeqaeWarning, match="has a row every 1h; the model was trained on one every 5min"):
        fitted.score(frame(100, step="h"))


# Reconstructions, latents, samples


def test_reconstruction_of_one_window_is_the_models_own(fitted):
    given = series(WINDOW, seed=12)
    table = fitted.reconstruct(given)
    scaler, model = fitted.preparation.scaler, fitted.model
    with torch.no_grad():
        output = model(torch.from_numpy(scaler.apply(given.values))[None])
        mean, sigma = output.likelihood.mean[0].numpy(), output.likelihood.scale[0].numpy()
    for c, name in enumerate(given.channels):
        np.testing.assert_array_equal(table[name], given.values[:, c])
        for ending, z in (("_reconstructed", 0), ("_lower", -1.959964), ("_upper", 1.959964)):
            np.testing.assert_allclose(table[name + ending], scaler.invert(mean + z * sigma)[:, c], rtol=1e-4)


def test_reconstruction_fills_in_and_follows_the_data(fitted):
    given = frame(300, seed=13)
    truth = given["flow"].iloc[150]
    given.iloc[150] = np.nan
    table, narrow = fitted.reconstruct(given), fitted.reconstruct(given, level=0.5)
    assert np.isnan(table["flow"].iloc[150])
    assert abs(table["flow_reconstructed"].iloc[150] - truth) < 100  # the wave goes from 400 to 600
    assert np.corrcoef(table["flow_reconstructed"], given["flow"].fillna(truth))[0, 1] > 0.7
    width, less = table["flow_upper"] - table["flow_lower"], narrow["flow_upper"] - narrow["flow_lower"]
    np.testing.assert_allclose(less / width, 0.6744898 / 1.959964, rtol=1e-4)
    with pytest.raises(OptionError, match="level"):
        fitted.reconstruct(given, level=1.0)


def test_encode_gives_each_windows_mean(fitted):
    given = series(WINDOW + 3, seed=14)
    table = fitted.encode(given)
    starts = range(4)  # the scoring stride is WINDOW // 16 = 1
    assert table["start"].tolist() == [given.index[s] for s in starts]
    assert table["end"].tolist() == [given.index[s + WINDOW - 1] for s in starts]
    windows = np.stack([fitted.preparation.scaler.apply(given.values[s : s + WINDOW]) for s in starts])
    with torch.no_grad():
        expected = fitted.model.encode(torch.from_numpy(windows)).numpy()
    np.testing.assert_allclose(table[["z0", "z1"]], expected, **ROUNDING)
    panel = Panel([given, series(5, name="short")])
    both = fitted.encode(panel)
    np.testing.assert_allclose(both["pump.csv"][["z0", "z1"]], expected, **ROUNDING)
    assert both["short"]["end"].tolist() == [panel["short"].index[4]]


def test_samples_look_like_the_data_and_follow_the_seed(fitted):
    drawn = fitted.sample(300, seed=5)
    assert list(drawn) == ["sample", "step", "temp", "flow"]
    assert drawn.groupby("sample")["step"].apply(list).tolist() == [list(range(WINDOW))] * 300
    for name in ("temp", "flow"):
        data = frame()[name]
        assert abs(drawn[name].mean() - data.mean()) < 0.3 * data.std()
        assert 0.6 < drawn[name].std() / data.std() < 1.4
    pd.testing.assert_frame_equal(drawn, fitted.sample(300, seed=5))
    assert not drawn.equals(fitted.sample(300, seed=6))
    assert fitted.sample(2, steps=7)["step"].max() == 6
    with pytest.raises(OptionError, match="at least 1"):
        fitted.sample(0)


def test_samples_under_a_condition():
    hours = series(24 * 16, step="h")
    detector = seqae.Detector(**QUICK, model="CVAE").fit(hours, **SHORT)
    one = detector.sample(2, condition_from=hours, noise=False)
    other = detector.sample(2, condition_from=hours[6:], noise=False)
    assert not np.allclose(one["temp"], other["temp"])
    with pytest.raises(OptionError, match="give condition_from"):
        detector.sample(2)
    with pytest.raises(DataError, match="has 10 rows to take a condition from"):
        detector.sample(2, condition_from=hours[:10])


# Files


@pytest.mark.parametrize("options", [{}, {"mode": "causal", "model": "AE", "cell": "lstm", "scorer": "absolute_error"}])
def test_a_saved_detector_is_the_same_detector(tmp_path, options):
    detector = seqae.Detector(**QUICK | options).fit(series(300), **SHORT)
    detector.reading = {"time": "stamp", "tz": "UTC"}
    detector.save(tmp_path / "model.safetensors")
    loaded = seqae.Detector.load(tmp_path / "model.safetensors")
    given = frame(100, seed=15)
    one, two = detector.detect(given), loaded.detect(given)
    pd.testing.assert_frame_equal(one.scores, two.scores, check_exact=True)
    pd.testing.assert_frame_equal(one.events, two.events, check_exact=True)
    assert one.threshold == two.threshold
    assert loaded.describe() == detector.describe()
    assert loaded.reading == {"time": "stamp", "tz": "UTC"}
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_a_conditional_detector_is_saved_with_its_conditions(tmp_path):
    given = frame(400).assign(shift=np.tile(["day", "night"], 200))
    detector = seqae.Detector(**QUICK, model="CVAE", condition=("calendar", "shift"), prior="conditional")
    detector.fit(given, calibration=0, **SHORT).save(tmp_path / "model.safetensors")
    loaded = seqae.Detector.load(tmp_path / "model.safetensors")
    pd.testing.assert_frame_equal(loaded.score(given), detector.score(given), check_exact=True)
    assert loaded.calibration is None


def test_describe_is_json_and_tells_what_was_done(fitted):
    told = json.loads(json.dumps(fitted.describe()))
    assert told["options"]["window"] == WINDOW
    assert told["preparation"] == {
        "channels": ["temp", "flow"],
        "scaler": "standard",
        "conditions": [],
        "missing_rate": list(fitted.preparation.missing_rate),
        "step": {"text": "5min", "seconds": 300.0},
        "min_observed": 0.5,
    }
    assert told["training_data"]["sha256"] == fingerprint(Panel([series()]))["sha256"]
    assert told["history"]["epochs"] == len(fitted.history["epochs"])
    assert told["parameters"] == sum(weight.numel() for weight in fitted.model.parameters())


def test_fingerprints_tell_data_apart(monkeypatch):
    base = Panel([series(50)])
    assert fingerprint(base) == fingerprint(Panel([series(50)]))
    known = fingerprint(base)
    with monkeypatch.context() as smaller:
        smaller.setattr("seqae.anomaly.provenance._BLOCK", 7)
        assert fingerprint(base) == known
    values = base[0].values.copy()
    values[3, 1] = np.nan
    for other in (
        series(50, name="x"),
        series(50, seed=1),
        Series(values, base.channels, index=base[0].index, name="pump.csv"),
    ):
        assert fingerprint(Panel([other]))["sha256"] != fingerprint(base)["sha256"]


def test_other_files_are_refused(tmp_path, fitted):
    seqae.save_model(fitted.model, tmp_path / "bare.safetensors")
    with pytest.raises(ModelFileError, match="holds a model, not a detector"):
        seqae.Detector.load(tmp_path / "bare.safetensors")
    with pytest.raises(ModelFileError, match="no file"):
        seqae.Detector.load(tmp_path / "nothing.safetensors")
    seqae.save_model(fitted.model, tmp_path / "odd.safetensors", kind="detector", options={"colour": "red"})
    with pytest.raises(ModelFileError, match="does not fit this version"):
        seqae.Detector.load(tmp_path / "odd.safetensors")


def test_parts_of_ones_own(tmp_path):
    torch.manual_seed(0)
    own = seqae.AE(channels=2, latent=3, hidden=8)
    detector = seqae.Detector(**QUICK | {"model": own, "scorer": lambda x, output: (x - output.likelihood.mean) ** 4})
    detector.fit(series(300), **SHORT)
    assert detector.model is own
    given = series(WINDOW, seed=16)
    scaled = torch.from_numpy(detector.preparation.scaler.apply(given.values))[None]
    with torch.no_grad():
        expected = (scaled - own.reconstruct(scaled))[0].numpy() ** 4
    np.testing.assert_allclose(detector.score(given)[["score_temp", "score_flow"]], expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(OptionError, match=r"scorer .* is your own part"):
        detector.save(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_value_can_be_scored_by_how_rarely_values_are_missing():
    """−log of the channel's missing rate in the training data, and nothing else changes."""
    values = np.sin(np.arange(400) / 5)[:, None] * [1.0, 2.0]
    values[::10, 1] = np.nan  # a channel that often has no value
    options = {"window": 16, "hidden": 8, "latent": 2, "alpha": 0.05, "scorer": "nll", "smoothing": 1}
    ignoring = seqae.Detector(**options).fit(values, epochs=1)
    scoring = seqae.Detector(**options, missing="score").fit(values, epochs=1)
    today = values[200:300].copy()
    today[50:60, 0] = np.nan
    a, b = ignoring.score(today), scoring.score(today)
    rates = [1 / 282, 29 / 282]  # of the 280 rows of the fit part
    for c, rate in enumerate(rates):
        lost = np.isnan(today[:, c])
        assert a.loc[lost, f"score_c{c}"].isna().all()
        np.testing.assert_allclose(b.loc[lost, f"score_c{c}"], -np.log(rate), rtol=1e-6)
        np.testing.assert_array_equal(a.loc[~lost, f"score_c{c}"], b.loc[~lost, f"score_c{c}"])
    with pytest.raises(OptionError, match="--score nll"):
        seqae.Detector(missing="score", scorer="squared_error")


def test_rows_labelled_anomalous_do_not_make_missing_values_usual():
    labels = np.arange(400) % 4 == 0
    given = Series(series(400).values[:, :1], ("flow",), labels=labels)
    detector = seqae.Detector(**QUICK).fit(given, epochs=1, labelled="exclude")
    assert detector.preparation.missing_rate == (pytest.approx(1 / (280 * 3 / 4 + 2), rel=1e-6),)


OPTIONS_OF_FIT = {
    "batch_size": 7, "learning_rate": 0.0123, "optimizer": "adamw", "weight_decay": 0.02, "clip": 0.5,
    "schedule": "plateau", "patience": 3, "max_time": 77.0, "precision": "float32", "seed": 5, "epochs": 2,
}  # fmt: skip


def test_every_option_of_fit_reaches_the_loop_and_the_objective(monkeypatch):
    from seqae.anomaly import fitting

    told = {}
    real_fit, real_objective, real_windows = fitting.loop.fit, fitting.Objective, fitting.Preparation.windows

    def spy_fit(model, data, **given):
        told.update(given)
        return real_fit(model, data, **given)

    def spy_objective(**given):
        told["objective_options"] = given
        return real_objective(**given)

    def spy_windows(self, panel, **given):
        told.setdefault("windows", []).append(given)
        return real_windows(self, panel, **given)

    monkeypatch.setattr(fitting.loop, "fit", spy_fit)
    monkeypatch.setattr(fitting, "Objective", spy_objective)
    monkeypatch.setattr(fitting.Preparation, "windows", spy_windows)
    detector = seqae.Detector(**QUICK | {"decoder_type": "output_as_input", "feedback": "output"})
    detector.fit(
        series(400), **OPTIONS_OF_FIT, beta=3.0, beta_schedule="cyclical", warmup=4.0, free_bits=0.05, noise="masking",
        noise_level=0.35, teacher_forcing=0.6, forcing_schedule="linear", forcing_epochs=8.0, train_stride=3,
        min_observed=0.25,
    )  # fmt: skip
    assert {name: told[name] for name in OPTIONS_OF_FIT} == OPTIONS_OF_FIT
    objective = told["objective_options"]
    assert (objective["free_bits"], objective["noise"], objective["noise_level"]) == (0.05, "masking", 0.35)
    assert (objective["beta"].final, objective["beta"](0.0), objective["beta"](1.0)) == (3.0, 0.0, 1.5)
    assert (objective["teacher_forcing"](0.0), objective["teacher_forcing"](4.0)) == (0.6, pytest.approx(0.3))
    fit_windows = told["windows"][0]
    assert (fit_windows["stride"], fit_windows["min_observed"], fit_windows["phase"]) == (3, 0.25, "random")


def test_events_carry_the_rows_own_labels_or_the_time():
    rows = series(400).to_frame().reset_index(drop=True).iloc[100:]  # row numbers 100 to 399
    detector = seqae.Detector(**QUICK | {"alpha": 0.1}).fit(rows, epochs=1)
    today = rows.copy()
    today.iloc[200:210] += 50.0
    found = detector.detect(today)
    flagged = found.scores.index[found.scores["is_anomaly"]]
    assert found.events["start"].min() == flagged.min() >= 100
    stamped = today.reset_index(drop=True)
    stamped.insert(0, "when", pd.date_range("2026-01-01", periods=300, freq="h"))
    found = detector.detect(stamped)
    assert found.scores["when"].tolist() == stamped["when"].tolist()
    event = found.events.loc[found.events["score"].idxmax()]
    assert stamped["when"][200] - pd.Timedelta("20h") <= event["start"] <= stamped["when"][200]


def test_minmax_is_fitted_to_the_fit_part_unless_the_likelihood_has_bounds():
    values = np.sin(np.arange(400) / 5)
    values[390] = 50.0  # in the calibration part
    options = QUICK | {"scaling": "minmax"}
    narrow = seqae.Detector(**options).fit(values, epochs=1).preparation.scaler.width[0]
    assert narrow == pytest.approx(2.0, abs=0.01)
    whole = seqae.Detector(**options, likelihood="bernoulli").fit(values, epochs=1).preparation.scaler.width[0]
    assert whole == pytest.approx(51.0, abs=0.01)


def test_a_likelihood_with_arguments_survives_the_file_and_is_fitted_anew(tmp_path):
    from seqae.nn.likelihoods import Normal

    detector = seqae.Detector(**QUICK, likelihood={"name": "normal_fixed", "sigma": 0.1}).fit(series(400), epochs=1)
    detector.save(tmp_path / "m.safetensors")
    loaded = seqae.Detector.load(tmp_path / "m.safetensors").fit(series(400), epochs=1)
    assert loaded.model.likelihood.sigma == 0.1
    own = seqae.Detector(**QUICK, likelihood=Normal(series(400).values.shape[1]))
    first = own.fit(series(400), epochs=2).history["epochs"][-1]["train_total"]
    assert own.fit(series(400), epochs=2).history["epochs"][-1]["train_total"] == first


def test_numbers_of_numpy_are_numbers_and_a_stride_has_an_end():
    assert seqae.Detector(**QUICK | {"window": np.int64(16)}).fit(series(400), epochs=1).window == 16
    with pytest.raises(OptionError, match="longer than window=20"):
        seqae.Detector(window=20, stride=21)


def test_series_of_one_panel_with_other_steps_are_noticed():
    hours, days = (pd.date_range("2026-01-01", periods=200, freq=step) for step in ("h", "D"))
    panel = {"a": pd.DataFrame({"x": np.sin(np.arange(200) / 4)}, index=hours)}
    panel["b"] = panel["a"].set_axis(days, axis=0)
    with pytest.warns(SeqaeWarning, match="has a row every"):
        seqae.Detector(**QUICK).fit(panel, epochs=1)
