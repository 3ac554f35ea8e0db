"""Samples with a time axis, variations of windows, and bounds of a Detector's model."""

import numpy as np
import pandas as pd
import pytest
import torch

import seqae
from seqae.errors import DataError, OptionError
from seqae.generative.bounds import evaluate
from seqae.generative.series import decode_windows, evaluate_series, real_and_drawn, vary, windows_of

QUICK = {"window": 24, "latent": 2, "hidden": 12, "cell": "gru"}


def waves(rows=900, seed=0):
    rng = np.random.default_rng(seed)
    index = pd.date_range("2024-01-01", periods=rows, freq="h")
    day = 2 * np.pi * np.arange(rows) / 24
    values = np.stack([20 + 3 * np.sin(day), 100 - 10 * np.cos(day)], axis=1) + 0.2 * rng.normal(size=(rows, 2))
    return pd.DataFrame(values, index=index, columns=["warm", "load"])


@pytest.fixture(scope="module")
def fitted():
    return seqae.Detector(model="VAE", **QUICK).fit(waves(), epochs=15, max_time=20, learning_rate=1e-2, seed=0)


@pytest.fixture(scope="module")
def conditional():
    return seqae.Detector(model="CVAE", condition="calendar", **QUICK).fit(
        waves(), epochs=15, max_time=20, learning_rate=1e-2, seed=0
    )


def test_a_start_gives_samples_a_time_axis_and_the_calendar_its_condition(conditional):
    drawn = conditional.sample(2, steps=30, start="2030-06-01 05:00", noise=False)
    expected = pd.date_range("2030-06-01 05:00", periods=30, freq="h")
    assert list(drawn.columns) == ["sample", "step", "time", "warm", "load"]
    for sample in (0, 1):
        assert list(drawn.loc[drawn["sample"] == sample, "time"]) == list(expected)
    # The same hours later in the same day: what is drawn has moved along with the clock.
    day = conditional.sample(1, steps=48, start="2030-06-01 00:00", noise=False)
    later = conditional.sample(1, steps=48, start="2030-06-01 12:00", noise=False)
    peak = day.loc[day["warm"].idxmax(), "time"].hour
    assert abs(peak - later.loc[later["warm"].idxmax(), "time"].hour) <= 3
    assert 3 <= peak <= 9  # the sine's, at 6


def test_the_time_of_the_rows_that_a_condition_is_taken_from_is_kept(conditional):
    part = waves()[100:124].rename_axis("when")
    drawn = conditional.sample(1, condition_from=part)
    assert list(drawn["when"]) == list(part.index)
    with pytest.raises(OptionError, match="Give one of the two"):
        conditional.sample(1, condition_from=part, start="2030-01-01")


def test_what_cannot_start_is_refused(fitted):
    with pytest.raises(OptionError, match="has a date and time for each row; got start=7"):
        fitted.sample(1, start=7)
    plain = seqae.Detector(**QUICK).fit(waves()["warm"].to_numpy(), epochs=1)
    with pytest.raises(OptionError, match="without an even time axis"):
        plain.sample(1, start="2030-01-01")
    assert "time" not in plain.sample(1).columns


def test_variations_are_near_their_windows_and_samples_are_not(fitted):
    data = waves(seed=1)
    table = vary(fitted, data, 3, noise=False, seed=2)
    assert list(table.columns) == ["sample", "step", "time", "warm", "load"]
    assert len(table) == (900 // 24) * 3 * 24
    truth = data.loc[table["time"], ["warm", "load"]].to_numpy()
    near = np.abs(table[["warm", "load"]].to_numpy() - truth).mean(0)
    drawn = fitted.sample(len(table) // 24, noise=False, seed=2)[["warm", "load"]].to_numpy()
    assert (near < 0.8 * np.abs(drawn - truth).mean(0)).all()
    assert not np.allclose(table.loc[table["sample"] == 0, "warm"], table.loc[table["sample"] == 1, "warm"])
    pd.testing.assert_frame_equal(table, vary(fitted, data, 3, noise=False, seed=2))
    assert not table.equals(vary(fitted, data, 3, noise=False, seed=3))


def test_variations_of_many_series_say_whose_they_are_and_short_ones_stay_short(fitted):
    data = {"a": waves(100), "b": waves(60, seed=3)}
    table = vary(fitted, data, 2)
    assert list(table.columns[:3]) == ["series", "sample", "step"]
    assert dict(table.groupby("series")["sample"].nunique()) == {"a": 8, "b": 4}
    assert table["sample"].nunique() == 12
    assert (table.groupby("sample")["step"].count() == 24).all()
    # a training set that was augmented: one series for each sample
    more = {f"{name}": part[["warm", "load"]].to_numpy() for name, part in table.groupby("sample")}
    seqae.Detector(**QUICK).fit(more, epochs=1, calibration=0)


def test_the_draws_leave_the_global_generator_alone(fitted):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    vary(fitted, waves(100), 1)
    real_and_drawn(fitted, waves(200), 10)
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_autoencoder_has_nothing_to_vary():
    plain = seqae.Detector(model="AE", **QUICK).fit(waves(300), epochs=1, calibration=0)
    with pytest.raises(OptionError, match="no posterior to draw variations from"):
        vary(plain, waves(100))


def test_the_bounds_of_a_detector_are_those_of_its_windows(fitted):
    found = evaluate_series(fitted, waves(seed=1), samples=(1, 10))
    _, windows = windows_of(fitted, waves(seed=1))
    assert found == evaluate(fitted.model, windows, samples=(1, 10))
    assert found.windows == len(range(0, 900 - 24 + 1, fitted.stride))
    assert found.bounds[10] > found.bounds[1]
    assert found.values == 48
    with pytest.raises(DataError, match="window=24 needs at least 24"):
        evaluate_series(fitted, waves(10))


def test_real_windows_and_drawn_ones_are_in_the_datas_units(fitted, conditional):
    for detector in (fitted, conditional):
        real, drawn = real_and_drawn(detector, waves(seed=1), 100, seed=4)
        assert real.shape == drawn.shape == (100, 24, 2)
        assert np.abs(real.mean((0, 1)) - [20, 100]).max() < 1
        assert np.abs(drawn.mean((0, 1)) - [20, 100]).max() < 3
    gappy = waves()
    gappy.iloc[::20] = np.nan
    with pytest.raises(DataError, match="no window of the data is complete"):
        real_and_drawn(fitted, gappy, 10)


def test_a_conditional_model_draws_under_the_conditions_of_the_real_windows(conditional):
    real, drawn = real_and_drawn(conditional, waves(seed=1), 60, noise=False)
    # Both begin at the same hour, so they rise and fall together.
    together = [np.corrcoef(a[:, 0], b[:, 0])[0, 1] for a, b in zip(real, drawn, strict=True)]
    assert np.median(together) > 0.9


def test_decoded_codes_are_the_reconstructions(fitted):
    data = waves(seed=1)
    _, windows = windows_of(fitted, data)
    batch = windows.gather(torch.arange(3))
    with torch.no_grad():
        z = fitted.model.encode(*batch)
        expected = fitted.preparation.scaler.invert(fitted.model.reconstruct(*batch).numpy())
    np.testing.assert_allclose(decode_windows(fitted, z.numpy()), expected, rtol=1e-5)
