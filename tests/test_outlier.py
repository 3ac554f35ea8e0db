from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import seqae
from seqae.errors import DataError, OptionError

EXPECTED_FAILED_CHECKS = {
    "check_methods_sample_order_invariance": "rows are time steps: a step's score depends on those before and after it",
    "check_methods_subset_invariance": "a step cannot be scored without the steps of its window",
}
CAUSAL_FAILED_CHECKS = EXPECTED_FAILED_CHECKS | {
    "check_outliers_train": "the first window - 1 rows have no past to be scored by: NaN, and not called outliers",
}
QUICK = {"epochs": 2, "hidden": 8, "latent": 2}


@parametrize_with_checks(
    [seqae.SequenceOutlierDetector(**QUICK), seqae.SequenceOutlierDetector(model="AE", mode="causal", **QUICK)],
    expected_failed_checks=lambda estimator: (
        CAUSAL_FAILED_CHECKS if estimator.mode == "causal" else EXPECTED_FAILED_CHECKS
    ),
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def waves(rows=800, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    clean = np.column_stack([np.sin(2 * np.pi * t / 25), np.cos(2 * np.pi * t / 50)])
    return clean + 0.1 * rng.standard_normal(clean.shape)


@pytest.fixture(scope="module")
def fitted():
    return seqae.SequenceOutlierDetector(epochs=15, hidden=16, window=25, random_state=0).fit(waves())


def test_signs_are_scikit_learns(fitted):
    X = waves(300, seed=1)
    X[150, 0] += 6
    scores, decision, labels = fitted.score_samples(X), fitted.decision_function(X), fitted.predict(X)
    table = fitted.detector_.score(X)
    assert np.array_equal(scores, -table["score"].to_numpy())
    assert np.array_equal(decision, scores - fitted.offset_)
    assert np.array_equal(labels == -1, table["is_anomaly"].to_numpy())
    assert np.argmin(scores) == 150
    assert labels[150] == -1
    assert (labels == 1).mean() > 0.9


@pytest.mark.parametrize(("rows", "window"), [(6, 2), (15, 2), (80, 10), (511, 63), (2000, 64)])
def test_the_default_window_follows_the_number_of_samples(rows, window):
    detector = seqae.SequenceOutlierDetector(epochs=1, hidden=4, latent=1).fit(waves(rows))
    assert detector.window_ == window
    assert len(detector.score_samples(waves(rows))) == rows


def test_missing_values_are_scored_around_and_never_called_outliers(fitted):
    X = waves(200, seed=2)
    X[100] = np.nan
    X[120, 0] = np.nan
    scores = fitted.score_samples(X)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [100]
    assert fitted.predict(X)[100] == 1


def test_in_a_pipeline_by_column_names_and_cloned():
    X = pd.DataFrame(waves(300), columns=["left", "right"])
    estimator = seqae.SequenceOutlierDetector(epochs=1, hidden=4, random_state=3)
    first = make_pipeline(StandardScaler().set_output(transform="pandas"), clone(estimator)).fit(X)
    again = make_pipeline(StandardScaler().set_output(transform="pandas"), clone(estimator)).fit(X)
    assert np.array_equal(first.decision_function(X), again.decision_function(X))
    assert first[-1].feature_names_in_.tolist() == ["left", "right"]
    assert first[-1].detector_.preparation.channels == ("left", "right")


def test_what_it_cannot_do_is_said(fitted):
    with pytest.raises(DataError, match="X has 10 rows; window=25 needs at least 25"):
        fitted.score_samples(waves(10))
    with pytest.raises(OptionError, match="CVAE needs a condition"):
        seqae.SequenceOutlierDetector(model="CVAE").fit(waves(100))
    with pytest.raises(ValueError, match="minimum of 6"):
        seqae.SequenceOutlierDetector().fit(waves(5))


def test_every_parameter_reaches_the_detector(monkeypatch):
    from seqae.anomaly import outlier

    told = {}
    real = outlier.Detector

    class Spy:
        def __new__(cls, **given):
            told.update(given)
            made = real(**given)
            fit = made.fit

            def spied(rows, **running):
                told.update(running)
                return fit(rows, **running)

            made.fit = spied
            return made

    monkeypatch.setattr(outlier, "Detector", Spy)
    parameters = {
        "model": "AE", "cell": "lstm", "decoder_type": "output_as_input", "window": 12, "latent": 3, "hidden": 7,
        "likelihood": "laplace", "scaling": "robust", "scorer": "absolute_error", "mode": "centred", "smoothing": 3,
        "threshold": "conformal", "alpha": 0.07, "epochs": 1, "batch_size": 9, "learning_rate": 0.004, "device": "cpu",
    }  # fmt: skip
    assert set(parameters) | {"random_state"} == set(seqae.SequenceOutlierDetector().get_params())
    seqae.SequenceOutlierDetector(**parameters).fit(waves())
    assert {name: told[name] for name in parameters} == parameters


def test_a_threshold_without_an_offset_is_refused():
    with pytest.raises(OptionError, match="offset_ cannot say"):
        seqae.SequenceOutlierDetector(threshold="benjamini_hochberg", **QUICK).fit(waves(100))
