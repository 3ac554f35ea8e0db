"""The default detector and its options, end to end: windows from the data, heads fused, thresholds, going on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import seqae
from seqae.anomaly import judge
from seqae.anomaly.detector import SCORER
from seqae.anomaly.scoring import SCORERS
from seqae.datasets import synthetic
from seqae.errors import DataError, NotFittedError, OptionError
from seqae.series import Panel, Series

SMALL = {"hidden": 8, "latent": 2, "alpha": 0.05}
SHORT = {"epochs": 2, "device": "cpu"}


def waves(rows, seed=0, name="pump", level=0.0):
    rng = np.random.default_rng(seed)
    turn = 2 * np.pi * (np.arange(rows) + 7 * seed) / 24
    values = np.stack([np.sin(turn), np.cos(2 * turn)], axis=1) + 0.1 * rng.standard_normal((rows, 2)) + level
    index = pd.date_range("2026-01-01", periods=rows, freq="1h", name="time")
    return Series.from_frame(pd.DataFrame(values, index=index, columns=["temp", "flow"]), name=name)


@pytest.fixture(scope="module")
def fitted():
    return seqae.Detector(**SMALL).fit(waves(1200), epochs=15, device="cpu")


def test_the_window_is_a_period_of_the_data_and_the_reason_is_kept(fitted, tmp_path):
    assert fitted.options["window"] is None
    assert (fitted.window, fitted.stride, fitted.smoothing) == (24, 1, 12)
    fitted.save(tmp_path / "m.safetensors")
    again = seqae.Detector.load(tmp_path / "m.safetensors")
    assert again.window == 24
    assert again.describe()["window_choice"]["reason"] == "the period is 24 steps"
    with pytest.raises(NotFittedError):
        seqae.Detector().window  # noqa: B018


def test_the_score_is_the_most_evident_head_and_the_mean_of_its_parts(fitted):
    table = fitted.score(waves(300, seed=1))
    heads = table[[f"head_{name}" for name in SCORER]]
    np.testing.assert_allclose(table["score"], heads.max(axis=1))
    np.testing.assert_allclose(table[["score_temp", "score_flow"]].mean(axis=1), table["score"], rtol=1e-5, atol=1e-6)
    assert table["is_anomaly"].mean() < 0.2


@pytest.mark.parametrize("kind", ["level_shift", "flatline", "amplitude_change"])
def test_the_default_finds_what_is_strange_and_says_where(fitted, kind):
    today = synthetic.inject(waves(400, seed=2), kind, length=30, start=200, channels="flow", count=1)
    first = int(np.flatnonzero(today.labels)[0])
    events = fitted.detect(today).events
    worst = events.loc[events["severity"].idxmax()]
    start, peak, end = (today.index.get_loc(worst[name]) for name in ("start", "peak", "end"))
    assert worst["channels"].split(", ")[0] == "flow"
    assert first - fitted.window // 2 <= peak < first + 30 + fitted.window // 2
    assert start <= first + 10
    assert end >= first + 15
    assert end - start < 30 + 2 * fitted.window  # narrower than the rows whose windows see it


@pytest.mark.parametrize("scorer", [*SCORERS, SCORER])
def test_every_head_is_causal_saved_and_the_same_at_any_length(scorer, tmp_path):
    detector = seqae.Detector(**SMALL, window=12, scorer=scorer, mode="causal", smoothing=3)
    detector.fit(waves(500), **SHORT)
    today = waves(90, seed=3)
    whole = detector.score(today)
    for rows in (12, 31, 89):
        part = detector.score(today[:rows])
        pd.testing.assert_frame_equal(part, whole.iloc[:rows], rtol=1e-4, atol=1e-5, check_freq=False)
    detector.save(tmp_path / "m.safetensors")
    pd.testing.assert_frame_equal(seqae.Detector.load(tmp_path / "m.safetensors").score(today), whole)


@pytest.mark.parametrize("mode", ["causal", "overlap", "centred"])
def test_long_series_are_heard_in_pieces_and_nothing_changes(mode, monkeypatch, capfd):
    rng = np.random.default_rng(3)
    panel = Panel([waves(300, name="short"), waves(9000, 1, "long"), waves(7000, 2, "other")])
    panel[1].values[rng.random(panel[1].values.shape) < 0.05] = np.nan
    panel[1].values[2000:2100] = np.nan

    def trained():
        detector = seqae.Detector(**SMALL, window=8, stride=1 if mode == "causal" else 2, mode=mode, smoothing=5)
        detector.fit(panel, **SHORT, calibration=0.4, progress=True)
        return detector, detector.score(panel)

    whole, expected = trained()
    assert " pieces" not in capfd.readouterr().err
    monkeypatch.setattr(judge, "PIECE", 2500)
    pieces, found = trained()
    assert " pieces" in capfd.readouterr().err
    assert list(found) == ["short", "long", "other"]
    for name, table in found.items():
        pd.testing.assert_frame_equal(table, expected[name], check_exact=False, rtol=1e-5)
    one, other = pieces.to_document()["thresholds"][0][1], whole.to_document()["thresholds"][0][1]
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert value == (pytest.approx(other[key], rel=1e-5) if isinstance(value, float) else other[key]), key


@pytest.mark.parametrize("mode", ["causal", "overlap", "centred"])
def test_the_pieces_of_one_series_have_its_scores_to_the_last_bit(mode, monkeypatch):
    detector = seqae.Detector(**SMALL, window=8, stride=1 if mode == "causal" else 2, mode=mode, smoothing=5)
    detector.fit(waves(600), **SHORT)
    whole = detector.score(waves(9000, 1))
    monkeypatch.setattr(judge, "PIECE", 2500)
    pd.testing.assert_frame_equal(detector.score(waves(9000, 1)), whole, check_exact=True)


def test_heads_are_compared_on_rows_that_set_no_threshold():
    detector = seqae.Detector(**SMALL, window=12).fit(waves(900), **SHORT)
    parts = detector.training_data["parts"]
    assert detector.judge.fusion.to_document()["rows"] == parts["validation"] == 90
    assert len(detector.calibration.threshold.scores) == parts["calibration"] == 180
    # without a validation part, the first third of the calibration part
    other = seqae.Detector(**SMALL, window=12).fit(waves(900), **SHORT, validation=0, patience=None)
    assert other.judge.fusion.to_document()["rows"] == 60
    assert len(other.calibration.threshold.scores) == 120


def test_calibrating_anew_leaves_the_scores_as_they_are(fitted, tmp_path):
    fitted.save(tmp_path / "m.safetensors")
    detector = seqae.Detector.load(tmp_path / "m.safetensors")
    before, threshold = detector.score(waves(200, 4)), detector.calibration.threshold.value
    detector.calibrate(waves(300, 5), alpha=0.2)
    after = detector.score(waves(200, 4))
    pd.testing.assert_series_equal(before["score"], after["score"])
    assert detector.calibration.threshold.value != threshold
    assert detector.calibration.origin["rows"] == 300


def test_several_heads_need_something_to_be_compared_by():
    with pytest.raises(OptionError, match="or one head, such as --score nll"):
        seqae.Detector(**SMALL, window=12).fit(waves(300), **SHORT, validation=0, calibration=0, patience=None)
    alone = seqae.Detector(**SMALL, window=12, scorer="nll")
    alone.fit(waves(300), **SHORT, validation=0, calibration=0, patience=None)
    assert alone.score(waves(100))["score"].notna().all()


def test_each_series_of_a_panel_may_have_a_threshold_of_its_own(tmp_path):
    loud = waves(500, 1, "loud")
    loud = Series(loud.values * 3, loud.channels, loud.index, name="loud")
    panel = Panel([waves(500, 0, "calm"), loud])
    detector = seqae.Detector(**SMALL, window=12, per_series=True).fit(panel, **SHORT)
    limits = {name: detector.calibration_of(name).threshold.value for name in ("calm", "loud", "unknown")}
    assert limits["calm"] < limits["loud"]
    assert limits["unknown"] == detector.calibration.threshold.value
    assert detector.calibration_of("calm").origin["series"] == 1
    found = detector.detect(panel)
    for name in ("calm", "loud"):
        table = found.scores[name]
        assert np.array_equal(table["is_anomaly"], table["score"] > limits[name])
    detector.save(tmp_path / "m.safetensors")
    again = seqae.Detector.load(tmp_path / "m.safetensors")
    assert again.calibration_of("loud").threshold.value == limits["loud"]
    assert set(again.describe()["thresholds"]) == {"calm", "loud"}
    again.calibrate(alpha=0.2)
    assert again.calibration_of("loud").threshold.alpha == 0.2


def test_going_on_keeps_weights_window_and_conditions_and_takes_new_scaling():
    detector = seqae.Detector(**SMALL, model="CVAE", window=12).fit(waves(600), epochs=8, device="cpu")
    before = {name: weight.clone() for name, weight in detector.model.state_dict().items()}
    loss = detector.history["epochs"][-1]["validation_reconstruction"]
    fresh = seqae.Detector(**SMALL, model="CVAE", window=12).fit(waves(600, level=40.0), epochs=1, device="cpu")
    detector.fit(waves(600, level=40.0), epochs=1, device="cpu", warm_start=True)
    assert detector.window == 12
    assert any(not bool((before[name] == weight).all()) for name, weight in detector.model.state_dict().items())
    assert detector.preparation.scaler.centre == pytest.approx([40, 40], abs=0.2)
    went_on, anew = (one.history["epochs"][0]["validation_reconstruction"] for one in (detector, fresh))
    assert went_on < (loss + anew) / 2  # nearer to where it had come than to a fresh start
    with pytest.raises(DataError, match="trained on"):
        detector.fit(waves(600).select(["temp"]), epochs=1, warm_start=True)
    with pytest.raises(NotFittedError):
        seqae.Detector().fit(waves(600), warm_start=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scorer": []}, "there is no scorer"),
        ({"scorer": ["nll", "nll"]}, "nll is named twice"),
        ({"scorer": ["nll", "vibes"]}, "'vibes' does not exist"),
        ({"scorer": "reconstruction_probability", "model": "AE"}, "Use --model VAE"),
        ({"fusion": "vote"}, "Choose one of: max, sum"),
        ({"smoothing": 0}, "at least 1"),
        ({"missing": "score"}, "--score nll"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(OptionError, match=said):
        seqae.Detector(**options)
