from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.signal import lfilter

from seqae import Series
from seqae.anomaly.fusion import Scored
from seqae.anomaly.thresholds.calibration import Calibration
from seqae.anomaly.thresholds.dependence import effective_number, rate_interval
from seqae.anomaly.thresholds.rules import THRESHOLDS, Conformal, PeaksOverThreshold, Quantile
from seqae.errors import DataError, ModelFileError, SeqaeWarning
from seqae.series import Panel


def related(n, seed=0):
    rng = np.random.default_rng(seed)
    return lfilter([1.0], [1.0, -0.9], rng.standard_normal(n + 300))[300:].astype(np.float32)


def panel(*lengths):
    return Panel(Series.from_array(np.zeros(n), name=f"s{k}") for k, n in enumerate(lengths))


def scored(total):
    total = np.asarray(total, dtype=np.float64)
    n = len(total)
    return Scored(total, total[:, None].astype(np.float32), np.ones(n, dtype=np.int32), total, np.empty((0, n)))


def calibrate(kind, alpha, *totals):
    found = [scored(total) for total in totals]
    return Calibration.fit(kind, alpha, panel(*map(len, totals)), found, window=10, source="held back")


def test_the_effective_number_is_counted_in_time_order_and_the_interval_follows():
    one, two = related(3000), related(2000, 1)
    one[:9] = np.nan
    fitted = calibrate(Conformal, 0.05, one, two)
    told = fitted.provenance(60.0)
    assert told["rows"] == 4991
    assert told["effective"] == pytest.approx(effective_number([one, two]), abs=0.06)
    assert told["effective"] < 1000 < effective_number([np.random.default_rng(0).permutation(one)])
    rate = Conformal(np.concatenate([one[9:], two]), 0.05).false_alarm_rate
    expected = rate_interval(rate, told["effective"], ahead=told["effective"])
    assert told["rate_interval"] == pytest.approx(list(expected))
    assert told["rate_interval"][0] < 0.05 < told["rate_interval"][1]


@pytest.mark.parametrize("name", THRESHOLDS)
def test_what_is_written_is_read_again(name):
    fitted = calibrate(THRESHOLDS[name], 0.02, related(1000))
    told = json.loads(json.dumps(fitted.provenance(60.0)))
    again = Calibration.restore(told, fitted.tensors())
    assert again.provenance(60.0) == told
    assert again.threshold.name == name
    assert again.threshold.value == fitted.threshold.value
    assert again.rate_interval == fitted.rate_interval


def test_another_threshold_by_the_same_scores_keeps_their_worth():
    fitted = calibrate(Conformal, 0.05, related(4000))
    other = fitted.again(PeaksOverThreshold, 0.1)
    assert other.origin == fitted.origin
    assert other.threshold.alpha == 0.1
    assert other.rate_interval[1] > fitted.rate_interval[1]


def test_a_rate_that_is_a_guess_is_said_with_the_rows_that_it_takes():
    fitted = calibrate(Quantile, 0.01, related(400))
    effective, (low, high) = fitted.origin["effective"], fitted.rate_interval
    told = fitted.doubt()
    assert f"The 400 calibration scores are worth about {effective:.0f} independent ones" in told
    assert f"from {low:.2g} to {high:.2g} (90%)" in told
    assert f"about {float(f'{400 / effective / 0.01:.2g}'):.0f} rows" in told
    # from where the rate to be expected, 1 / (effective + 1), is more than twice alpha
    assert fitted.again(Quantile, 0.51 / (effective + 1)).doubt() is None
    assert fitted.again(Quantile, 0.49 / (effective + 1)).doubt() is not None


def test_what_cannot_be_flagged_is_said_once():
    with pytest.warns(SeqaeWarning) as said:
        fitted = calibrate(Conformal, 0.01, related(40))
    assert ["Nothing can be flagged" in str(one.message) for one in said] == [True]
    assert fitted.doubt() is None
    assert fitted.rate_interval == (0, 0)
    assert fitted.provenance(None)["value"] is None


def test_a_file_without_an_effective_number_is_still_read():
    fitted = calibrate(Conformal, 0.05, related(2000))
    told = fitted.provenance(None)
    del told["effective"], told["rate_interval"]
    again = Calibration.restore(told, fitted.tensors())
    assert again.threshold.value == fitted.threshold.value
    assert again.provenance(None)["rate_interval"] is None
    assert again.doubt() is None
    with pytest.raises(ModelFileError, match="calibration cannot be read"):
        Calibration.restore({**told, "method": "none such"}, fitted.tensors())


def test_rows_without_any_score_are_refused():
    with pytest.raises(DataError, match="no row of held back has a score"):
        calibrate(Conformal, 0.05, np.full(50, np.nan))
