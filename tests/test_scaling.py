from __future__ import annotations

import json
import statistics

import numpy as np
import pytest

from seqae.errors import DataError, ModelFileError, OptionError, SeqaeWarning
from seqae.scaling import SCALINGS, Scaler
from seqae.series import Panel, Series


def gappy(rows: int = 500, channels: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, channels)) * [0.1, 10, 3] + [5, -100, 0]
    values[rng.random(values.shape) < 0.2] = np.nan
    return values


def test_standard_agrees_with_the_statistics_module() -> None:
    values = gappy()
    scaler = Scaler.fit(values)
    for c in range(3):
        observed = values[~np.isnan(values[:, c]), c].tolist()
        assert scaler.centre[c] == pytest.approx(statistics.fmean(observed), rel=1e-13)
        assert scaler.width[c] == pytest.approx(statistics.pstdev(observed), rel=1e-13)


def test_robust_agrees_with_the_statistics_module_and_with_sigma_on_normal_data() -> None:
    values = np.random.default_rng(1).normal(7, 2, size=20_001)
    scaler = Scaler.fit(values, "robust")
    low, middle, high = statistics.quantiles(values.tolist(), n=4, method="inclusive")
    assert scaler.centre[0] == pytest.approx(middle, rel=1e-13)
    assert scaler.width[0] == pytest.approx((high - low) / (2 * statistics.NormalDist().inv_cdf(0.75)), rel=1e-13)
    assert scaler.width[0] == pytest.approx(2, rel=0.03)
    shaken = values.copy()
    shaken[:100] = 1e6  # half a percent of wild values
    assert Scaler.fit(shaken, "robust").width[0] == pytest.approx(scaler.width[0], rel=0.02)


def test_minmax_brings_the_fitted_data_to_exactly_zero_and_one() -> None:
    values = gappy()
    scaled = Scaler.fit(values, "minmax").apply(values)
    assert np.array_equal(np.nanmin(scaled, axis=0), [0, 0, 0])
    assert np.array_equal(np.nanmax(scaled, axis=0), [1, 1, 1])


def test_none_leaves_the_values_alone() -> None:
    values = gappy().astype(np.float32)
    assert np.array_equal(Scaler.fit(values, "none").apply(values), values, equal_nan=True)


@pytest.mark.parametrize("kind", SCALINGS)
def test_missing_values_stay_missing_and_invert_undoes_apply(kind: str) -> None:
    values = gappy()
    scaler = Scaler.fit(values, kind)
    scaled = scaler.apply(values)
    assert scaled.dtype == np.float32
    assert np.array_equal(np.isnan(scaled), np.isnan(values))
    np.testing.assert_allclose(scaler.invert(scaled), values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["standard", "robust", "minmax"])
def test_a_large_offset_costs_no_precision(kind: str) -> None:
    small = np.random.default_rng(2).integers(-1000, 1000, size=(5000, 1)) / 1024  # exact beside 1e9 in float64
    far, near = Scaler.fit(small + 1e9, kind), Scaler.fit(small, kind)
    assert far.width[0] == pytest.approx(near.width[0], rel=1e-9)
    np.testing.assert_allclose(far.apply(small + 1e9), near.apply(small), atol=1e-5)


def test_deviations_too_small_to_square_still_have_a_width() -> None:
    values = np.array([[1.0], [3.0]]) * 1e-200
    assert Scaler.fit(values).width[0] == pytest.approx(1e-200, rel=1e-12)


def test_all_series_of_a_panel_count_together_row_by_row() -> None:
    values = gappy(300)
    panel = Panel(
        Series(part, ("a", "b", "c"), name=name) for name, part in zip("xy", np.split(values, [100]), strict=True)
    )
    joined = Series(values, ("a", "b", "c"))
    for whole in (joined, [part.values for part in panel], joined.values.reshape(3, 100, 3)):
        assert np.array_equal(Scaler.fit(panel).centre, Scaler.fit(whole).centre)
        assert np.array_equal(Scaler.fit(panel).width, Scaler.fit(whole).width)


def test_any_leading_axes() -> None:
    values = gappy(60)
    scaler = Scaler.fit(values)
    assert np.array_equal(
        scaler.apply(values.reshape(3, 20, 3)), scaler.apply(values).reshape(3, 20, 3), equal_nan=True
    )
    with pytest.raises(DataError, match=r"\(\.\.\., 3\)"):
        scaler.apply(values[:, :2])


def test_the_json_round_trip_is_exact() -> None:
    scaler = Scaler.fit(gappy() * np.pi * 1e-7 + 1 / 3, "robust")
    back = Scaler.from_document(json.loads(json.dumps(scaler.to_document())))
    assert back.kind == "robust"
    assert back.centre.tobytes() == scaler.centre.tobytes()
    assert back.width.tobytes() == scaler.width.tobytes()


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"kind": "standard", "centre": [0.0]},
        {"kind": "standard", "centre": [0.0], "width": [0.0]},
        {"kind": "standard", "centre": [0.0], "width": [1.0, 1.0]},
        {"kind": "standard", "centre": ["x"], "width": [1.0]},
        {"kind": "nonsense", "centre": [0.0], "width": [1.0]},
        None,
    ],
)
def test_a_broken_document_is_a_model_file_error(document: dict) -> None:
    with pytest.raises(ModelFileError, match="scaler cannot be read"):
        Scaler.from_document(document)


def test_a_constant_channel_is_named_and_gets_width_one() -> None:
    values = np.column_stack([np.full(50, 0.1), np.arange(50.0)])
    with pytest.warns(SeqaeWarning, match="'flat'") as caught:
        scaler = Scaler.fit(values, channels=["flat", "ramp"])
    assert caught[0].filename == __file__
    assert scaler.width[0] == 1
    assert np.array_equal(scaler.apply(values)[:, 0], np.zeros(50))


def test_a_channel_that_mostly_stands_still_falls_back_to_its_standard_deviation() -> None:
    values = np.zeros((100, 1))
    values[:10] = 5
    with pytest.warns(SeqaeWarning, match="interquartile range of channel 'c0' is 0"):
        scaler = Scaler.fit(values, "robust")
    assert scaler.width[0] == pytest.approx(5 * np.sqrt(0.1 * 0.9))


@pytest.mark.parametrize("kind", SCALINGS)
@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones((20, 2)), "nothing varies.*channels 'left', 'right'"),
        (np.column_stack([np.arange(5.0), np.full(5, np.nan)]), "'right' has no observed value.*--drop right"),
        (np.array([[1, 2], [2, np.inf]]), "'right' holds infinite"),
        (np.arange(6.0).reshape(2, 3), "2 channel names were given for 3"),
    ],
)
def test_unusable_data_is_refused_with_the_channel_named(kind: str, values: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        Scaler.fit(values, kind, channels=["left", "right"])
    assert "\n" not in str(caught.value)


def test_unknown_kind_lists_the_menu() -> None:
    with pytest.raises(OptionError, match="standard, robust, minmax, none"):
        Scaler.fit(gappy(), "z-score")


def test_a_scaler_cannot_be_changed_afterwards() -> None:
    given = np.array([1.0])
    scaler = Scaler("standard", given, np.array([2.0]))
    given[0] = 5
    assert scaler.centre[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        scaler.centre[0] = 3


def test_rows_scaled_some_at_a_time_are_those_scaled_at_once(monkeypatch):
    values = np.random.default_rng(0).normal(1e6, 3.0, (50, 2)).astype(np.float32)
    values[7, 1] = np.nan
    scaler = Scaler.fit(values)
    expected = ((values.astype(np.float64) - scaler.centre) / scaler.width).astype(np.float32)
    monkeypatch.setattr("seqae.scaling._BLOCK", 16)
    np.testing.assert_array_equal(scaler.apply(values), expected)
    np.testing.assert_array_equal(scaler.apply(values.reshape(5, 10, 2)), expected.reshape(5, 10, 2))
    np.testing.assert_array_equal(scaler.apply(values[3]), expected[3])


@pytest.mark.parametrize("kind", SCALINGS)
def test_rows_taken_in_pieces_give_the_same_scale(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = (1e6 + np.random.default_rng(0).normal(size=(50, 2))).astype(np.float32)
    values[10:25, 1] = np.nan  # a whole piece without a value among them
    whole = SCALINGS[kind](values)
    monkeypatch.setattr("seqae.scaling._BLOCK", 7)
    pieces = SCALINGS[kind](values)
    for one, other in zip(pieces, whole, strict=True):
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, rtol=1e-12)
    if kind == "standard":
        exact = values.astype(np.float64)
        np.testing.assert_allclose(pieces[0], np.nanmean(exact, axis=0), rtol=1e-14)
        np.testing.assert_allclose(pieces[1], np.nanstd(exact, axis=0), rtol=1e-9)
