"""Drift: exact figures, how often ordinary data are called drifted, how often real changes are found."""

from __future__ import annotations

import json
import re
import zlib

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import ks_2samp

from seqae.anomaly.drift import Reference, Tally, _counts, drift, warning
from seqae.datasets.synthetic import regime_switching
from seqae.errors import DataError, ModelFileError
from seqae.series import Panel, Series

ROWS = 4000


def autoregressive(rows, phi, rng):
    return lfilter([1.0], [1.0, -phi], rng.standard_normal(rows + 500) * np.sqrt(1 - phi**2))[500:]


def daily(rows, rng):
    turn = 2 * np.pi * np.arange(rows) / (ROWS / 14.3) + rng.uniform(0, 2 * np.pi)
    return np.sin(turn) + 0.4 * np.sin(2 * turn + 1) + 0.2 * autoregressive(rows, 0.9, rng)


def regimes(rows, rng):
    return regime_switching(rows, dwell=40, seed=int(rng.integers(1 << 30))).values[:, 0]


ORDINARY = {
    "white": lambda rows, rng: rng.standard_normal(rows),
    "autoregressive": lambda rows, rng: autoregressive(rows, 0.9, rng),
    "daily": daily,
    "regimes": regimes,
    "counts": lambda rows, rng: rng.poisson(0.5, rows).astype(float),
}
DRAWS, SHARES = 12, (1 / 20, 1 / 4, 1)
"""Simulated pairs for each process and length; the lengths of the new data, in those of the training data. One
twentieth of `daily` is 0.7 of a cycle."""


def spiked(values, std, rng):
    values, size = values.copy(), len(values) // 50
    start = rng.integers(len(values) - size)
    values[start : start + size] += 6 * std
    return values


CHANGES = {
    "up by 1 sd": lambda x, std, rng: x + std,
    "down by 2 sd": lambda x, std, rng: x - 2 * std,
    "spread doubled": lambda x, std, rng: 2 * (x - x.mean()) + x.mean(),
    "stuck": lambda x, std, rng: np.full(len(x), x[0]),
    "moved": lambda x, std, rng: x + 8 * std,
    "half missing": lambda x, std, rng: np.where(rng.random(len(x)) < 0.5, np.nan, x),
}


def pairs(share):
    """Yield training values, and new ones of the same process some time later."""
    for name, process in ORDINARY.items():
        rng = np.random.default_rng(zlib.crc32(f"{name} {share}".encode()))
        for _ in range(DRAWS):
            gap = int(rng.integers(ROWS))
            values = process(ROWS + gap + int(share * ROWS), rng)
            yield values[:ROWS], values[ROWS + gap :], rng


def drifted(reference, values):
    return bool(drift(reference, Series.from_array(values))["drifted"].any())


def test_ordinary_data_and_short_anomalies_are_no_drift():
    plain, strange = [], []
    for share in SHARES:
        for train, new, rng in pairs(share):
            reference = Reference.fit(train)
            plain.append(drifted(reference, new))
            strange.append(drifted(reference, spiked(new, train.std(), rng)))
    assert len(plain) == 180
    assert np.mean(plain) < 0.02
    assert np.mean(strange) < 0.03


@pytest.mark.parametrize("change", CHANGES)
def test_real_changes_are_found(change):
    found = []
    for train, new, rng in pairs(1):
        found.append(drifted(Reference.fit(train), CHANGES[change](new, train.std(), rng)))
    assert np.mean(found) > 0.95


@pytest.mark.parametrize("change", ["stuck", "moved", "half missing"])
def test_plain_faults_are_found_in_short_data(change):
    found = [drifted(Reference.fit(train), CHANGES[change](new, train.std(), rng)) for train, new, rng in pairs(1 / 20)]
    assert np.mean(found) > 0.95


def test_false_warnings_do_not_add_up_over_channels():
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(20):
        values = np.stack([autoregressive(3000, 0.8, rng) for _ in range(20)], axis=1)
        wrong += drifted(Reference.fit(values[:2000]), values[2500:])
    assert wrong == 0


def test_a_walk_within_the_training_data_is_no_drift_at_the_same_pace():
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(50):
        values = np.cumsum(rng.standard_normal(2200))
        wrong += drifted(Reference.fit(values[:2000]), values[2000:2100])
    assert wrong <= 4


def test_figures_are_those_of_the_definitions():
    rng = np.random.default_rng(0)
    train = rng.normal(20, 2, size=4001).astype(np.float32)
    new = rng.normal(23, 3, size=3000).astype(np.float32)
    train[5:105], new[:600] = np.nan, np.nan
    row = drift(Reference.fit(train), new).loc["value"]
    old, now = train[~np.isnan(train)].astype(float), new[600:].astype(float)
    assert row["rows"] == 3000
    assert row["mean"] == pytest.approx(now.mean(), rel=1e-12)
    assert row["std"] == pytest.approx(now.std(), rel=1e-12)
    assert row["mean_training"] == pytest.approx(old.mean(), rel=1e-12)
    assert row["shift"] == pytest.approx((now.mean() - old.mean()) / old.std(), rel=1e-12)
    assert row["spread_ratio"] == pytest.approx(now.std() / old.std(), rel=1e-12)
    reach = 0.05 * np.ptp(old)
    assert row["outside"] == pytest.approx(((now < old.min() - reach) | (now > old.max() + reach)).mean())
    assert row["missing"] == pytest.approx(0.2)
    assert row["missing_training"] == pytest.approx(100 / 4001)
    exact = ks_2samp(old, now).statistic
    assert exact - 0.05 <= row["distance"] <= exact + 1e-3  # quantiles are 5 % apart at most


def test_a_tally_of_pieces_ends_with_the_same_table():
    rng = np.random.default_rng(1)
    reference = Reference.fit(rng.standard_normal((900, 3)))
    new = Series.from_array(1e3 + rng.standard_normal((500, 3)))
    new.values[rng.random(new.values.shape) < 0.1] = np.nan
    new.values[100:200, 1] = np.nan
    tally = Tally(reference)
    for start, stop in ((0, 1), (1, 100), (100, 200), (200, 200), (200, 500)):
        tally.add(new[start:stop])
    whole, pieces = drift(reference, new), tally.table()
    assert list(whole.index) == ["c0", "c1", "c2"]
    assert whole["std"].to_numpy() == pytest.approx(np.nanstd(new.values.astype(float), axis=0), rel=1e-9)
    for column in whole:
        if whole[column].dtype.kind == "f":
            assert pieces[column].to_numpy() == pytest.approx(whole[column].to_numpy(), rel=1e-9)
        else:
            assert pieces[column].tolist() == whole[column].tolist()


def test_the_document_is_json_and_brings_back_the_same_tables():
    rng = np.random.default_rng(3)
    train = rng.standard_normal((20_000, 2))
    train[rng.random(train.shape) < 0.2] = np.nan
    reference = Reference.fit(train)
    text = json.dumps(reference.to_document(), allow_nan=False)
    assert len(text) < 2 * 5000
    again = Reference.from_document(json.loads(text))
    assert again.to_document() == reference.to_document()
    for new in (train[:1000], train[:1000] + 2):
        assert drift(again, new).equals(drift(reference, new))
    with pytest.raises(ModelFileError, match="Train the model again"):
        Reference.from_document({"channels": {"a": {"mean": 1.0}}})


def test_constant_and_switched_channels():
    rng = np.random.default_rng(4)
    train = np.stack([np.full(2000, 7.0), rng.integers(0, 2, 2000), (rng.random(2000) < 0.002)], axis=1)
    reference = Reference.fit(train)
    assert not drifted(reference, train[:300])
    assert not drifted(reference, train[:300] * (1 + 1e-7))  # the last digit of float32
    strange = train[:300].copy()
    strange[50:56] = 9
    assert not drifted(reference, strange)
    table = drift(reference, np.stack([np.full(300, 8.0), np.zeros(300), np.ones(300)], axis=1))
    assert table["drifted"].all()
    assert "still" in table.loc["c1", "reasons"]
    assert "still" not in table.loc["c0", "reasons"]  # it never moved
    assert np.isnan(table.loc["c0", "shift"])


def test_each_new_series_of_a_fleet_may_have_a_level_of_its_own():
    rng = np.random.default_rng(6)
    fleet = Panel(Series.from_array(rng.standard_normal(300) + 2 * level, name=str(k))
                  for k, level in enumerate(rng.standard_normal(40)))  # fmt: skip
    reference = Reference.fit(fleet)
    assert not any(drifted(reference, rng.standard_normal(300) + 2 * level) for level in (-2, -1, 0, 1, 2))
    assert drifted(reference, rng.standard_normal(300) + 20)
    assert drift(reference, fleet)["shift"].to_numpy() == pytest.approx(0, abs=1e-9)


def test_too_little_to_tell_and_wrong_channels():
    rng = np.random.default_rng(7)
    for rows in (1, 2, 7, 15, 17, 40):
        reference = Reference.fit(rng.standard_normal(rows))
        json.dumps(reference.to_document(), allow_nan=False)
        assert not drifted(reference, np.full(7, 100.0))
    assert Tally(reference).table()["mean"].isna().all()
    table = drift(reference, Series(np.full((60, 1), np.nan), ("value",)))
    assert table["reasons"].tolist() == ["missing"]
    with pytest.raises(DataError, match="no channel"):
        drift(reference, rng.standard_normal((50, 2)))
    with pytest.raises(DataError, match="'c1' has no observed value"):
        Reference.fit(np.stack([np.arange(9.0), np.full(9, np.nan)], axis=1))


def test_the_warning_names_the_worst_channels_with_their_figures():
    rng = np.random.default_rng(8)
    train = Series.from_array(rng.standard_normal((3000, 5)), ["temp", "flow", "level", "power", "door"])
    reference = Reference.fit(train)
    assert warning(drift(reference, train), "pump") is None
    new = rng.standard_normal((1000, 5))
    new[:, 0] = 9.8 + new[:, 0] / 2
    new[:500, 1] = np.nan
    new[:, 2] += 2
    new[:, 3] = 0.25
    table = drift(reference, Series(new, train.channels))
    assert table["drifted"].tolist() == [True, True, True, True, False]
    text = warning(table, "pump")
    assert text.startswith("pump is unlike the training data in 4 of 5 channels: channel temp: mean 9.")
    assert re.search(
        r"\(shift 9\.8 standard deviations\), standard deviation 0\.(47|48|49|5|51) times that in training, ", text
    )
    assert "% of values outside the training range" in text
    assert "channel power: one value only, mean 0.25" in text
    assert "; and 1 more. Train on newer data (seqae train --from MODEL), or calibrate again (--calibrate)." in text
    assert "50% missing, in training 0%" in warning(table, "pump", most=4)
    assert "\n" not in text


def test_values_are_counted_alike_in_pieces():
    values = np.random.default_rng(0).normal(size=(4, 11))
    values[1, 3:9] = np.nan
    edges = np.linspace(-2, 2, 6)
    counts = _counts(edges, values, 5)
    for row, own in zip(values, counts, strict=True):
        given = row[~np.isnan(row)]
        expected = [(given < edges[0]).sum(), *np.histogram(given, edges)[0], (given > edges[-1]).sum()]
        assert own.tolist() == expected
    assert np.array_equal(counts, _counts(edges, values))
