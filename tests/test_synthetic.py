from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from seqae.datasets.synthetic import INJECTIONS, SYNTHETIC, inject, multichannel, regime_switching, seasonal, trending
from seqae.errors import DataError, OptionError, UserError
from seqae.series import Series


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit for bit, missing values included."""
    return a.tobytes() == b.tobytes()


def intervals(labels: np.ndarray) -> list[tuple[int, int]]:
    """First row and row after the last of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], labels, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def peak(values: np.ndarray) -> float:
    """The strongest frequency, in turns per row."""
    windowed = (values - values.mean()) * np.hanning(len(values))
    power = np.abs(np.fft.rfft(windowed, 16 * len(values)))
    return float(power.argmax() / (16 * len(values)))


# The generators


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_seed_settles_everything(name: str) -> None:
    make = SYNTHETIC[name]
    first, again, other = make(500, 3, seed=4), make(500, 3, seed=4), make(500, 3, seed=5)
    assert first.name == name
    assert first.values.shape == (500, 3)
    assert first.labels is None
    assert same(first.values, again.values)
    assert not np.isclose(first.values, other.values).all(axis=0).any()


@pytest.mark.parametrize("name", SYNTHETIC)
def test_a_time_axis_can_be_given(name: str) -> None:
    index = pd.date_range("2024-01-01", periods=300, freq="h")
    series = SYNTHETIC[name](300, 2, index=index)
    assert series.index.equals(index)
    assert series.step == pd.Timedelta("1h")
    assert same(series.values, SYNTHETIC[name](300, 2).values)
    with pytest.raises(OptionError, match="300 stamps for length=200"):
        SYNTHETIC[name](200, index=index)


@pytest.mark.parametrize("option", ["length", "channels", "period"])
@pytest.mark.parametrize("name", SYNTHETIC)
def test_sizes_of_nothing_are_refused(name: str, option: str) -> None:
    with pytest.raises(OptionError, match=f"{option}=0: it must be above 0"):
        SYNTHETIC[name](**{option: 0})


def test_seasonal_repeats_with_its_period_and_has_the_noise_and_trend_asked_for() -> None:
    clean = seasonal(2000, 3, period=40, noise=0, seed=1).values.astype(np.float64)
    np.testing.assert_allclose(clean[40:], clean[:-40], atol=1e-5)
    np.testing.assert_allclose(clean.var(axis=0), 1, atol=1e-4)
    assert not np.allclose(clean[20:], clean[:-20], atol=0.5)
    noisy = seasonal(2000, 3, period=40, noise=0.3, seed=1).values - clean
    np.testing.assert_allclose(noisy.std(axis=0), 0.3, rtol=0.1)
    risen = seasonal(2000, 3, period=40, noise=0, trend=7, seed=1).values - clean
    np.testing.assert_allclose(risen, np.tile(np.linspace(0, 7, 2000)[:, None], 3), atol=1e-5)


def test_trending_is_seasonal_on_straight_pieces_with_corners() -> None:
    series = trending(1001, knots=3, period=50, noise=0, seed=2).values[:, 0].astype(np.float64)
    line = series[50:] - series[:-50]  # the waves cancel; a straight piece leaves a constant
    pieces = [line[start : start + 200] for start in (0, 250, 500, 750)]
    for piece in pieces:
        assert np.ptp(piece) < 1e-4
    slopes = [piece[0] for piece in pieces]
    assert min(abs(a - b) for a, b in pairwise(slopes)) > 0.01


def test_regimes_differ_in_level_and_speed_and_last_as_long_as_asked() -> None:
    series = regime_switching(20_000, 1, regimes=3, dwell=200, period=50, seed=3)
    regime = series.covariates["regime"].to_numpy()
    assert set(regime) == {"r0", "r1", "r2"}
    runs = 1 + np.count_nonzero(regime[1:] != regime[:-1])
    assert 20_000 / runs == pytest.approx(200, rel=0.3)
    levels = sorted(series.values[regime == one].mean() for one in set(regime))
    np.testing.assert_allclose(levels, [0, 2, 4], atol=0.15)
    longest = {one: max(intervals(regime == one), key=lambda run: run[1] - run[0]) for one in set(regime)}
    speeds = sorted(peak(series.values[start:stop, 0]) * 50 for start, stop in longest.values())
    np.testing.assert_allclose(speeds, [0.6, np.sqrt(0.6 * 1.6), 1.6], rtol=0.05)


@pytest.mark.parametrize("factors", [1, 2, 4])
def test_channels_that_share_factors_are_correlated_and_can_be_told_from_each_other(factors: int) -> None:
    channels = 6
    values = multichannel(8000, channels, factors=factors, seed=6).values.astype(np.float64)
    np.testing.assert_allclose(values.std(axis=0), 1, rtol=0.15)
    relation = np.abs(np.corrcoef(values.T)[np.triu_indices(channels, 1)])
    assert relation.min() > 0.3
    for c in range(channels):
        others = np.delete(values, c, axis=1)
        rest = values[:, c] - others @ np.linalg.lstsq(others, values[:, c], rcond=None)[0]
        assert rest.std() < 0.2  # noise 0.1, and what the others' noise adds
    if factors > 1:
        assert relation.min() < 0.95


# Injection, what holds for every kind


def plain(rows: int = 2000, channels: int = 3, seed: int = 0) -> Series:
    return multichannel(rows, channels, seed=seed)


@pytest.mark.parametrize("kind", INJECTIONS)
def test_labels_cover_exactly_the_changed_rows_and_all_else_is_bit_identical(kind: str) -> None:
    series = plain()
    before = series.values.copy()
    injected = inject(series, kind, count=4, seed=1)
    assert same(series.values, before)
    assert series.labels is None
    assert np.array_equal(injected.labels, (injected.values != series.values).any(axis=1))
    runs = intervals(injected.labels)
    assert [stop - start for start, stop in runs] == [INJECTIONS[kind].length] * 4
    assert injected.name == series.name


@pytest.mark.parametrize("kind", INJECTIONS)
def test_the_seed_settles_an_injection(kind: str) -> None:
    series = plain()
    first, again, other = (inject(series, kind, count=2, length=30, seed=seed) for seed in (7, 7, 8))
    assert same(first.values, again.values)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)


@pytest.mark.parametrize("kind", [kind for kind in INJECTIONS if kind != "channel_decoupling"])
def test_only_the_channels_named_are_touched(kind: str) -> None:
    series = plain()
    injected = inject(series, kind, channels=["c2", "c0"], length=20, seed=2)
    changed = (injected.values != series.values).any(axis=0)
    assert changed.tolist() == [True, False, True]
    alone = inject(series, kind, channels="c1", length=20, seed=2)
    assert (alone.values != series.values).any(axis=0).tolist() == [False, True, False]


@pytest.mark.parametrize("kind", INJECTIONS)
def test_missing_values_stay_missing_and_others_do_not_become_so(kind: str) -> None:
    series = plain()
    values = series.values.copy()
    values[np.random.default_rng(3).random(values.shape) < 0.2] = np.nan
    gappy = Series(values, series.channels)
    injected = inject(gappy, kind, count=3, length=40, seed=3)
    assert injected.labels.sum() == 120
    outside = ~injected.labels
    assert same(injected.values[outside], values[outside])
    if kind == "missing_pattern":
        assert np.isnan(injected.values[injected.labels]).all()
    else:
        assert np.array_equal(np.isnan(injected.values), np.isnan(values))


@pytest.mark.parametrize("kind", INJECTIONS)
@pytest.mark.parametrize("seed", range(6))
def test_intervals_keep_apart_from_each_other_and_from_labels_that_are_there(kind: str, seed: int) -> None:
    series = plain(400)
    once = inject(series, kind, count=4, length=20, seed=seed)
    twice = inject(once, "level_shift", count=4, length=20, seed=seed + 100)
    assert [stop - start for start, stop in intervals(twice.labels)] == [20] * 8
    first = once.labels
    assert same(twice.values[first], once.values[first])


def test_a_packing_that_just_fits_is_found() -> None:
    series = plain(1 + 8 * 11 - 1)  # row 0, then 8 intervals of 10 rows with a row between
    for seed in range(10):
        injected = inject(series, "level_shift", count=8, length=10, seed=seed)
        assert intervals(injected.labels) == [(1 + 11 * k, 11 + 11 * k) for k in range(8)]
    with pytest.raises(DataError, match=r"room for 8 of 9 interval\(s\) of 10"):
        inject(series, "level_shift", count=9, length=10)


@pytest.mark.parametrize(("start", "row"), [(None, 1), (0, 1), (0.5, 1000), (1500, 1500), (np.int64(1990), 1990)])
def test_only_rows_from_start_on_are_touched(start: float | None, row: int) -> None:
    series = plain()
    firsts = [
        intervals(inject(series, "level_shift", length=5, start=start, seed=seed).labels)[0][0] for seed in range(60)
    ]
    assert min(firsts) >= row
    assert max(firsts) <= 1995
    assert min(firsts) < row + (2000 - row) / 4  # and they do reach down there


def test_time_axis_covariates_and_known_labels_are_kept() -> None:
    index = pd.date_range("2024-01-01", periods=300, freq="h")
    series = regime_switching(300, index=index)
    labels = np.zeros(300, bool)
    labels[10:20] = True
    series = Series(**{**vars(series), "labels": labels})
    injected = inject(series, "spike", count=3, seed=0)
    assert injected.index.equals(index)
    assert injected.covariates.equals(series.covariates)
    assert injected.labels[10:20].all()
    assert injected.labels.sum() == 13
    assert labels.sum() == 10


# The truth of each kind


def rows_of(series: Series, kind: str, **options: object) -> tuple[Series, slice]:
    injected = inject(series, kind, **options)  # type: ignore[arg-type]
    ((start, stop),) = intervals(injected.labels)
    return injected, slice(start, stop)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_a_spike_peaks_at_its_strength_in_standard_deviations(length: int) -> None:
    series = Series(100 + 20 * plain().values, ("a", "b", "c"))
    injected, rows = rows_of(series, "spike", strength=5, length=length, seed=1)
    apart = (injected.values[rows] - series.values[rows]).astype(np.float64)
    np.testing.assert_allclose(np.abs(apart).max(axis=0), 5 * series.values.std(axis=0), rtol=1e-4)
    assert (np.sign(apart) == np.sign(apart[0])).all()


def test_a_level_shift_is_constant_within() -> None:
    series = Series(100 + 20 * plain().values, ("a", "b", "c"))
    injected, rows = rows_of(series, "level_shift", strength=4, length=60, seed=2)
    apart = (injected.values[rows] - series.values[rows]).astype(np.float64)
    np.testing.assert_allclose(np.abs(apart), np.tile(4 * series.values.std(axis=0), (60, 1)), rtol=1e-4)
    assert (np.sign(apart) == np.sign(apart[0])).all()


def test_both_directions_occur() -> None:
    series = plain(500, 1)
    for kind in ("spike", "level_shift"):
        signs = set()
        for seed in range(12):
            injected, rows = rows_of(series, kind, seed=seed)
            signs.add(float(np.sign(injected.values[rows] - series.values[rows]).sum()) > 0)
        assert signs == {True, False}


@pytest.mark.parametrize("factor", [0.5, 1.5, 2.0, 3.0])
def test_a_frequency_change_moves_the_spectral_peak_by_its_factor_and_keeps_the_phase(factor: float) -> None:
    series = seasonal(3000, period=50, harmonics=1, noise=0.0, seed=4)
    injected, rows = rows_of(series, "frequency_change", strength=factor, length=400, seed=4)
    assert peak(series.values[rows, 0]) == pytest.approx(1 / 50, rel=0.02)
    assert peak(injected.values[rows, 0]) == pytest.approx(factor / 50, rel=0.02)
    # In phase: the first step is `factor` times the slope at the row before, so no jump there.
    before = rows.start - 1
    wave = series.values[:, 0].astype(np.float64)
    steepest = np.abs(np.diff(wave)).max()
    assert abs(injected.values[rows.start, 0] - wave[before]) <= factor * steepest * 1.01
    clock = before + factor * np.arange(1, 401)
    quadrature = np.interp(clock, np.arange(3000), wave)
    np.testing.assert_allclose(injected.values[rows, 0], quadrature, atol=1e-6)


def test_twice_the_speed_is_every_other_row_of_the_original() -> None:
    series = plain()
    injected, rows = rows_of(series, "frequency_change", strength=2, length=50, seed=5)
    assert same(injected.values[rows], series.values[rows.start + 1 : rows.start + 101 : 2].copy())


def test_a_frequency_change_never_reads_past_the_end() -> None:
    series = plain(200)
    for seed in range(30):
        _, rows = rows_of(series, "frequency_change", strength=3, length=60, seed=seed)
        assert rows.start - 1 + 3 * 60 <= 199
    with pytest.raises(DataError, match="room for 0 of 1"):
        inject(series, "frequency_change", strength=3.5, length=60)


@pytest.mark.parametrize("factor", [0.2, 2.5])
def test_an_amplitude_change_scales_about_the_interval_s_mean(factor: float) -> None:
    series = Series(plain().values + 30, ("a", "b", "c"))
    injected, rows = rows_of(series, "amplitude_change", strength=factor, length=80, seed=6)
    before, after = series.values[rows].astype(np.float64), injected.values[rows].astype(np.float64)
    np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(after.std(axis=0), factor * before.std(axis=0), rtol=1e-4)
    assert np.corrcoef(after[:, 0], before[:, 0])[0, 1] == pytest.approx(1)


def test_a_flatline_holds_the_value_before_it() -> None:
    series = plain()
    injected, rows = rows_of(series, "flatline", length=40, seed=7)
    assert np.array_equal(injected.values[rows], np.tile(series.values[rows.start - 1], (40, 1)))
    assert injected.values[rows].astype(np.float64).std(axis=0).max() == 0


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_missing_pattern_loses_its_share_in_the_interval_only(share: float) -> None:
    series = plain()
    injected, rows = rows_of(series, "missing_pattern", strength=share, length=100, seed=8)
    assert rows.stop - rows.start == 100
    missing = np.isnan(injected.values)
    assert missing[rows].sum(axis=0).tolist() == [round(100 * share)] * 3
    assert missing.sum() == missing[rows].sum()
    assert same(injected.values[~missing], series.values[~missing])


@pytest.mark.parametrize("seed", range(8))
def test_decoupling_lowers_the_correlation_within_only_and_looks_right_by_itself(seed: int) -> None:
    series = multichannel(4000, 4, seed=seed)
    injected, rows = rows_of(series, "channel_decoupling", length=150, seed=seed)
    (c,) = np.flatnonzero((injected.values != series.values).any(axis=0))

    def relation(values: np.ndarray) -> np.ndarray:
        return np.abs(np.delete(np.corrcoef(values.T.astype(np.float64))[c], c))

    outside = ~injected.labels
    assert same(injected.values[outside], series.values[outside])
    assert relation(series.values[rows]).max() > 0.8
    assert relation(injected.values[rows]).max() < 0.5
    assert relation(injected.values[rows]).mean() < 0.4 * relation(series.values[rows]).mean()
    own = series.values[:, c].astype(np.float64)
    inside = injected.values[rows, c].astype(np.float64)
    assert inside.mean() == pytest.approx(own[rows].mean(), abs=1e-5)
    stretches = np.lib.stride_tricks.sliding_window_view(own, 150)
    shapes = stretches - stretches.mean(axis=1, keepdims=True)
    assert np.abs(shapes - (inside - inside.mean())).max(axis=1).min() < 1e-5  # it is a stretch of the channel itself


def test_half_a_decoupling_is_half_way_there() -> None:
    series = multichannel(4000, 4, seed=1)
    full, half = (inject(series, "channel_decoupling", strength=share, seed=1).values for share in (1.0, 0.5))
    np.testing.assert_allclose(half, (series.values + full) / 2, atol=1e-6)


def test_every_channel_named_is_decoupled() -> None:
    series = multichannel(2000, 4, seed=2)
    injected = inject(series, "channel_decoupling", channels=["c1", "c3"], seed=2)
    assert (injected.values != series.values).any(axis=0).tolist() == [False, True, False, True]


# Refusals


@pytest.mark.parametrize(
    ("kind", "options", "error", "words"),
    [
        ("earthquake", {}, OptionError, "'earthquake' does not exist.*spike, level_shift, frequency_change"),
        ("spike", {"strength": 0}, OptionError, "standard deviations of the channel, not 0"),
        ("spike", {"strength": np.nan}, OptionError, "strength=nan"),
        ("frequency_change", {"strength": 1}, OptionError, "a factor above 0, not 1"),
        ("frequency_change", {"strength": -2}, OptionError, "a factor above 0"),
        ("amplitude_change", {"strength": 1.0}, OptionError, "not 1"),
        ("flatline", {"strength": 3}, OptionError, "left out"),
        ("missing_pattern", {"strength": 1.5}, OptionError, "a share above 0 and up to 1"),
        ("channel_decoupling", {"strength": 0}, OptionError, "a share above 0"),
        ("spike", {"count": 0}, OptionError, "both must be 1 or more"),
        ("flatline", {"length": 0}, OptionError, "both must be 1 or more"),
        ("flatline", {"length": 500}, DataError, r"multichannel has room for 0 of 1 interval\(s\) of 500"),
        ("flatline", {"length": 501}, DataError, "room for 0 of 1"),
        ("flatline", {"length": 10_000}, DataError, "room for 0 of 1"),
        ("flatline", {"length": 100, "count": 5}, DataError, "room for 4 of 5"),
        ("flatline", {"start": 490, "length": 11}, DataError, "from row 490 on"),
        ("spike", {"start": 500}, OptionError, "start=500: multichannel has 500 rows"),
        ("spike", {"start": 1.0}, OptionError, "a fraction below 1"),
        ("spike", {"start": -1}, OptionError, "start=-1"),
        ("spike", {"channels": ["c0", "flow"]}, DataError, "no channel 'flow'. It has: c0, c1, c2"),
        ("spike", {"channels": []}, DataError, "no channel"),
        ("amplitude_change", {"length": 1}, DataError, "changes nothing in rows"),
    ],
)
def test_what_cannot_be_injected_is_refused_in_one_line(kind: str, options: dict, error: type, words: str) -> None:
    series = plain(500)
    with pytest.raises(error, match=words) as caught:
        inject(series, kind, **options)
    assert isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)


def test_one_channel_cannot_be_decoupled() -> None:
    with pytest.raises(DataError, match=r"at least two channels; seasonal has 1 \(value\)"):
        inject(seasonal(500), "channel_decoupling")


def test_a_constant_channel_takes_no_spike_and_no_flatline() -> None:
    still = Series(np.full((100, 1), 3.0), ("still",))
    for kind in ("spike", "level_shift", "flatline", "amplitude_change", "frequency_change"):
        with pytest.raises(DataError, match="of still, which may be constant there"):
            inject(still, kind, length=10)


def test_a_channel_without_values_has_no_room() -> None:
    empty = Series(np.full((100, 1), np.nan), ("silent",))
    with pytest.raises(DataError, match="room for 0 of 1"):
        inject(empty, "spike")
