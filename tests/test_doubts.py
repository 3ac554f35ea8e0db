"""What is doubted in training data: what was met, what it means, the cure; and no false doubt."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import seqae
from seqae.anomaly.doubts import find_codes, find_fault, warn_of_codes
from seqae.errors import SeqaeWarning
from seqae.series import Panel, Series

DATA = Path(__file__).parent.parent.parent / "shared/data"


def channel(code, rows=3, n=500, low=3.0, high=24.0):
    values = np.random.default_rng(0).uniform(low, high, n).astype(np.float32)
    values[:2] = low, high
    values[100 : 100 + rows] = code
    return values


@pytest.mark.parametrize("code", [-9999, -999, 999, 9999, 99999, -999.9, 1e30, -1e31, 3.4028235e38, 9.96921e36, -32768])
def test_customary_codes_are_found(code):
    (found,) = find_codes(channel(code), "flow")
    assert (np.float32(found.number), found.rows) == (np.float32(code), 3)
    assert (found.low, found.high) == (3.0, 24.0)


@pytest.mark.parametrize(
    "values",
    [
        channel(-1, low=1e4, high=1e5),  # no customary code
        channel(0, low=1e4, high=1e5),
        channel(-9998),
        channel(-9999, rows=1),  # one may be a fault
        channel(999, low=-500, high=1500),  # amid the others
        channel(-99, low=0, high=20),  # less than five ranges away
        channel(999, low=5.0, high=5.0),  # no range to tell by
        np.full(50, 999, dtype=np.float32),
        np.full(50, np.nan, dtype=np.float32),
    ],
)
def test_other_numbers_are_not(values):
    assert find_codes(values, "flow") == []


def test_the_warning_names_channel_number_rows_and_cure():
    columns = np.stack([channel(-9999), channel(7.0), channel(1e30, rows=4)], axis=1)
    two = channel(-9999, rows=5)
    two[200:202] = -999
    others = np.stack([two, channel(7.0), channel(7.0)], axis=1)
    panel = Panel(Series(one, ("temp", "load", "flow"), name=f"{k}") for k, one in enumerate((columns, others)))
    with pytest.warns(SeqaeWarning) as said:
        warn_of_codes(panel)
    assert [str(one.message) for one in said] == [
        "the training data seem to hold codes for missing values, which count as values: 'temp' holds -9999 in 8 rows "
        "(else 3 to 24), 'temp' holds -999 in 2 rows (else 3 to 24), 'flow' holds 1e+30 in 4 rows (else 3 to 24). Read "
        "them as missing (--na-values -9999,-999,1e+30), or make them NaN."
    ]
    many = Panel([Series(np.stack([channel(-9999)] * 7, axis=1), tuple("abcdefg"))])
    with pytest.warns(SeqaeWarning, match=r"'e' holds -9999 in 3 rows \(else 3 to 24\) and 2 more\. Read"):
        warn_of_codes(many)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_codes(Panel([Series(columns[:, 1:2], ("load",))]))


def test_no_real_file_is_doubted():
    files = [*DATA.glob("nab/data/*/*.csv"), *DATA.glob("labelled/*/*.csv.gz")]
    if not files:
        pytest.skip(f"there is no {DATA}")
    for path in files:
        table = pd.read_csv(path).drop(columns=["timestamp", "label"], errors="ignore")
        for name, column in table.items():
            assert find_codes(column.to_numpy(np.float32), name) == [], path


def scores(n=600, seed=0):
    return np.random.default_rng(seed).gamma(4.0, 0.25, n)


def test_a_stretch_that_alone_sets_the_threshold_is_a_fault():
    own = scores()
    own[:8] = np.nan
    assert find_fault([own], 0.01, 20) is None
    faulty = own.copy()
    faulty[300:320] = 60.0
    faulty[311] = 5.0  # a dip does not part it
    found = find_fault([scores(400, 1), faulty], 0.01, 20)
    assert (found.series, found.first, found.last) == (1, 300, 319)
    rest = np.concatenate([scores(400, 1), own[8:290], own[330:]])
    assert found.limit_without == np.quantile(rest, 0.99)
    assert found.limit == 60.0
    assert find_fault([faulty, scores(400, 1)], 0.01, 20).series == 0
    assert find_fault([faulty], 0.01, 20, least=59.0) is not None
    assert find_fault([faulty], 0.01, 20, least=60.0) is None


@pytest.mark.parametrize(
    "change",
    [
        {(300, 303): 60.0},  # too few rows to move the threshold
        {(300, 320): 8.0},  # not far enough
        {(200, 560): 60.0},  # most of it: who says which is normal?
        {(0, 600): 1.0},  # all alike
        {(100, 120): 60.0, (400, 420): 60.0},  # it happens again and again
    ],
)
def test_what_is_no_single_stretch_or_harms_nothing_is_none(change):
    own = scores()
    for (first, stop), value in change.items():
        own[first:stop] = value
    assert find_fault([own], 0.01, 20) is None


def test_a_fault_in_the_rows_held_back_is_said_with_its_time():
    t = np.arange(2400)
    values = np.sin(2 * np.pi * t / 24) + 0.1 * np.random.default_rng(0).standard_normal(2400)
    frame = pd.DataFrame({"flow": values}, index=pd.date_range("2024-01-01", periods=2400, freq="1h"))
    options = {"window": 24, "hidden": 16, "latent": 4}
    detector = seqae.Detector(**options).fit(frame, epochs=3)  # without one nothing is said
    frame.iloc[2200:2240] += 4.0
    with pytest.warns(SeqaeWarning, match="look like a fault") as said:
        faulty = seqae.Detector(**options).fit(frame, epochs=3)
    text = str(said[0].message)
    first, last = (pd.Timestamp(stamp) for stamp in text.split(" of series ")[0].split(" to "))
    assert abs(first - frame.index[2200]) < pd.Timedelta("36h")
    assert abs(last - frame.index[2239]) < pd.Timedelta("36h")
    assert "the last 20% of the training data, held back" in text
    assert "--labelled exclude" in text
    assert faulty.calibration.threshold.value > 5 * detector.calibration.threshold.value
    labelled = frame.assign(label=(t >= 2200) & (t < 2240))
    cured = seqae.Detector(**options).fit(labelled, epochs=3, labelled="exclude")
    assert cured.calibration.threshold.value < faulty.calibration.threshold.value / 5
    with pytest.warns(SeqaeWarning, match=r"rows \d+ to \d+ of series .*\(data given to calibrate\(\)\)"):
        detector.calibrate(frame["flow"].to_numpy()[1500:])


def test_codes_are_found_across_pieces(monkeypatch):
    values = np.array([1, 2, -9999, np.nan, np.nan, np.nan, 3, -9999, 2.5, -9999], dtype=np.float32)
    whole = find_codes(values, "flow")
    monkeypatch.setattr("seqae.anomaly.doubts._PIECE", 3)
    (found,) = find_codes(values, "flow")
    assert [found] == whole
    assert (found.number, found.rows, found.low, found.high) == (-9999, 3, 1, 3)
