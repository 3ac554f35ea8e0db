from __future__ import annotations

import calendar
import json
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from seqae.conditions import Conditions
from seqae.errors import DataError, ModelFileError, OptionError, SeqaeWarning, UserError
from seqae.series import Panel, Series


def series(
    rows: int | pd.DatetimeIndex, *, name: str = "pump", present: list[bool] | None = None, **columns: object
) -> Series:
    index = None if isinstance(rows, int) else rows
    length = rows if isinstance(rows, int) else len(rows)
    covariates = pd.DataFrame(columns) if columns else None
    values = np.zeros((length, 1), np.float32)
    return Series(values, ("x",), index=index, covariates=covariates, present=present, name=name)


def through_json(conditions: Conditions) -> Conditions:
    return Conditions.from_document(json.loads(json.dumps(conditions.to_document())))


def naive_calendar(stamp: datetime, cycle: str) -> float:
    """The phase, from the words alone."""
    seconds = stamp.hour * 3600 + stamp.minute * 60 + stamp.second + stamp.microsecond / 1e6
    days = calendar.monthrange(stamp.year, stamp.month)[1]
    return {
        "minute": (stamp.minute * 60 + stamp.second + stamp.microsecond / 1e6) / 3600,
        "hour": seconds / 86400,
        "weekday": (stamp.isoweekday() - 1 + seconds / 86400) / 7,
        "month": (stamp.month - 1 + (stamp.day - 1 + seconds / 86400) / days) / 12,
    }[cycle]


def test_no_condition_has_no_features() -> None:
    for spec in (None, (), []):
        conditions = Conditions.fit(spec, series(5))
        assert (conditions.size, conditions.names, conditions.columns) == (0, (), ())
        assert conditions(series(7)).shape == (7, 0)
        assert through_json(conditions) == conditions


@pytest.mark.parametrize(
    ("freq", "rows", "cycles"),
    [
        ("s", 7200, "minute"),
        ("s", 7199, ""),
        ("15min", 8, "minute"),
        ("29min", 200, "minute hour"),
        ("30min", 200, "hour"),  # half an hour: exactly two values per hour, not below half a cycle
        ("h", 48, "hour"),
        ("h", 47, ""),
        ("h", 14 * 24, "hour weekday"),
        ("12h", 60, "weekday"),
        ("D", 14, "weekday"),
        ("D", 730, "weekday month"),
        ("D", 729, "weekday"),
        ("W", 105, "month"),
        ("MS", 24, "month"),
        ("MS", 23, ""),
        ("QS", 8, "month"),
        ("YS", 60, ""),
        ("5min", 2 * 366 * 288, "minute hour weekday month"),
    ],
)
def test_calendar_takes_the_cycles_that_step_and_span_can_show(freq: str, rows: int, cycles: str) -> None:
    given = series(pd.date_range("2021-03-01", periods=rows, freq=freq))
    if not cycles:
        with pytest.raises(DataError, match="Give more data or --condition COLUMN"):
            Conditions.fit("calendar", given)
        return
    names = tuple(f"{cycle}_{wave}" for cycle in cycles.split() for wave in ("sin", "cos"))
    assert Conditions.fit("calendar", given).names == names


@pytest.mark.parametrize("unit", ["s", "ns"])
def test_calendar_features_agree_with_the_naive_phases(unit: str) -> None:
    stamps = pd.date_range("1967-12-30 23:17:03.25", "1972-03-02", freq="47min").as_unit("ms").as_unit(unit)
    conditions = Conditions.fit("calendar", series(stamps))
    assert [name for name in conditions.names if name.endswith("sin")] == ["hour_sin", "weekday_sin", "month_sin"]
    angles = (
        2
        * np.pi
        * np.array(
            [
                [naive_calendar(stamp, cycle) for cycle in ("hour", "weekday", "month")]
                for stamp in stamps.to_pydatetime()
            ]
        )
    )
    expected = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(len(stamps), 6)
    features = conditions(series(stamps))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=2e-7)


def test_months_lie_evenly_on_the_circle_leap_years_included() -> None:
    conditions = Conditions.fit("calendar", series(pd.date_range("1950-01-01", "1961-12-01", freq="MS")))
    features = conditions(series(pd.date_range("2023-01-01", "2024-12-01", freq="MS"))).astype(np.float64)
    np.testing.assert_allclose(features[:12], features[12:], atol=1e-7)
    turns = np.unwrap(np.arctan2(features[:, 0], features[:, 1]))
    np.testing.assert_allclose(np.diff(turns), 2 * np.pi / 12, atol=1e-6)


def test_the_clock_on_the_wall_counts_across_the_change_to_summer_time() -> None:
    berlin = pd.date_range("2024-03-25", "2024-04-08", freq="h", tz="Europe/Berlin", inclusive="left")  # 31 March: 23 h
    conditions = Conditions.fit("calendar", series(berlin))
    features = conditions(series(berlin))
    eight = features[berlin.hour == 8]
    assert len(eight) == 14
    np.testing.assert_allclose(eight[:, :2], np.tile(eight[0, :2], (14, 1)), atol=0)
    as_utc = Conditions.fit("calendar", series(berlin.tz_convert("UTC")))
    assert not np.allclose(as_utc(series(berlin))[berlin.hour == 8][:, 0], eight[:, 0])


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "+05:30"])
def test_scoring_data_are_brought_to_the_training_zone(zone: str) -> None:
    stamps = pd.date_range("2024-01-01", periods=21 * 24, freq="h", tz=zone)
    conditions = through_json(Conditions.fit("calendar", series(stamps)))
    abroad = series(stamps.tz_convert("America/Los_Angeles"))
    assert np.array_equal(conditions(abroad), conditions(series(stamps)))
    plain = Conditions.fit("calendar", series(stamps.tz_localize(None)))
    assert np.array_equal(plain(series(stamps.tz_localize(None))), conditions(series(stamps)))


def test_stamps_with_and_without_zone_do_not_mix() -> None:
    plain = pd.date_range("2024-01-01", periods=100, freq="h")
    aware = plain.tz_localize("Europe/Berlin")
    with pytest.raises(DataError, match=r"no time zone, the training data's had Europe/Berlin\. .*--tz Europe/Berlin"):
        Conditions.fit("calendar", series(aware))(series(plain))
    with pytest.raises(DataError, match="in Europe/Berlin, the training data's had no time zone"):
        Conditions.fit("calendar", series(plain))(series(aware))
    with pytest.raises(DataError, match="second: the stamps have no time zone"):
        Conditions.fit("calendar", Panel([series(aware, name="first"), series(plain, name="second")]))


def test_time_that_several_series_cover_counts_once_and_successive_ones_add_up() -> None:
    days = [pd.date_range(f"2024-05-{day:02}", periods=24, freq="h") for day in range(1, 15)]
    successive = Panel(series(day, name=str(number)) for number, day in enumerate(days))
    assert "weekday_sin" in Conditions.fit("calendar", successive).names
    parallel = Panel(series(days[number // 7], name=str(number)) for number in range(14))
    assert Conditions.fit("calendar", parallel).names == ("hour_sin", "hour_cos")
    far_apart = Panel([series(days[0], name="a"), series(days[0] + pd.DateOffset(years=10), name="b")])
    assert Conditions.fit("calendar", far_apart).names == ("hour_sin", "hour_cos")


def test_a_day_lost_to_the_clock_change_is_still_two_days_on_the_wall() -> None:
    stamps = pd.date_range("2024-03-30", "2024-04-01", freq="h", tz="Europe/Berlin", inclusive="left")
    assert len(stamps) == 47
    assert Conditions.fit("calendar", series(stamps)).names == ("hour_sin", "hour_cos")


def test_numbers_are_standardised_with_the_training_datas_constants() -> None:
    train = Panel([series(3, name="a", load=[1, 2, 3]), series(2, name="b", load=[4, 10])])
    conditions = through_json(Conditions.fit(["load"], train))
    assert conditions.names == conditions.columns == ("load",)
    np.testing.assert_allclose(conditions(train[0])[:, 0], (np.array([1, 2, 3]) - 4) / np.sqrt(10), rtol=1e-6)
    np.testing.assert_allclose(conditions(series(1, load=[104.0]))[0, 0], 100 / np.sqrt(10), rtol=1e-6)


def test_categories_are_one_hot_in_sorted_order_whatever_the_row_order() -> None:
    train = series(4, state=["run", "idle", "run", "fault"])
    conditions = through_json(Conditions.fit("state", train))
    assert conditions.names == ("state=fault", "state=idle", "state=run")
    assert np.array_equal(conditions(train), [[0, 0, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert Conditions.fit("state", series(3, state=["fault", "idle", "run"])) == conditions
    assert np.array_equal(conditions(series(1, state=["run"])), [[0, 0, 1]])


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ([1, 2, 3], ("v",)),
        ([0.5, 1.0, 1.5], ("v",)),
        (pd.array([1, 2, 3], dtype="Int64"), ("v",)),
        (np.array([1, 2, 3], np.uint8), ("v",)),
        ([True, False, True], ("v=False", "v=True")),
        (pd.array([True, False, True], dtype="boolean"), ("v=False", "v=True")),
        (pd.Categorical([3, 1, 3]), ("v=1", "v=3")),
        (["3", "1", "3"], ("v=1", "v=3")),
        (pd.Series([3, "on", 3.0], dtype=object), ("v=3", "v=on")),
    ],
)
def test_numeric_dtypes_are_numbers_and_anything_else_is_categories(column: object, names: tuple[str, ...]) -> None:
    assert Conditions.fit("v", series(3, v=column)).names == names


def test_codes_are_known_again_when_a_gap_made_floats_of_them_or_only_digits_are_left() -> None:
    conditions = Conditions.fit("code", series(3, code=["7", "A1", "7"]))
    assert np.array_equal(conditions(series(2, code=[7, 7])), [[1, 0], [1, 0]])
    gap = series(3, code=[7.0, np.nan, 7.0], present=[True, False, True])
    assert np.array_equal(conditions(gap), [[1, 0], [1, 0], [1, 0]])


def test_several_parts_stand_side_by_side_in_the_order_named() -> None:
    stamps = pd.date_range("2024-01-01", periods=50, freq="h")
    given = series(stamps, load=np.arange(50.0), state=["a", "b"] * 25)
    conditions = Conditions.fit(["state", "calendar", "load"], given)
    assert conditions.names == ("state=a", "state=b", "hour_sin", "hour_cos", "load")
    assert conditions.size == 5
    assert conditions.columns == ("state", "load")
    alone = [Conditions.fit(name, given)(given) for name in ("state", "calendar", "load")]
    assert np.array_equal(conditions(given), np.hstack(alone))
    assert np.array_equal(conditions(given[10:20]), conditions(given)[10:20])


def test_rows_that_fill_a_gap_carry_the_last_given_value_forward() -> None:
    present = [False, True, False, False, True, False]
    load, state = [np.nan, 5, np.nan, np.nan, 9, np.nan], [None, "on", None, None, "off", None]
    gappy = series(6, load=load, state=state, present=present)
    full = series(6, load=[5, 5, 5, 5, 9, 9], state=["on"] * 4 + ["off"] * 2)
    conditions = Conditions.fit(["load", "state"], full)
    assert np.array_equal(conditions(gappy), conditions(full))
    assert Conditions.fit(["state"], gappy) == Conditions.fit(["state"], full)


def test_a_column_that_never_varies_is_said() -> None:
    with pytest.warns(SeqaeWarning, match=r"'load' is 3\.0 throughout"):
        conditions = Conditions.fit("load", series(4, load=[3.0] * 4))
    assert np.array_equal(conditions(series(1, load=[4.0])), [[1.0]])
    with pytest.warns(SeqaeWarning, match="'state' is on throughout"):
        assert Conditions.fit("state", series(2, state=["on", "on"])).names == ("state=on",)


STAMPS = pd.date_range("2024-01-01", periods=4, freq="h")


@pytest.mark.parametrize(
    ("spec", "given", "error", "words"),
    [
        ("calendar", series(4), DataError, "needs a time index. Name the time column with --time, or give --condition"),
        (
            "calendar",
            Series(np.zeros((4, 1)), ("x",), index=pd.Index([0.5, 1, 1.5, 2])),
            DataError,
            "needs a time index",
        ),
        ("calendar", series(STAMPS[:1]), DataError, "show no hour, day, week or year twice"),
        ("calendar", series(STAMPS), DataError, r"rows every 1 hours over 4 hours"),
        ("speed", series(4), DataError, "no condition column 'speed'; it has none"),
        (
            "speed",
            series(2, load=[1, 2], state=["a", "b"]),
            DataError,
            "it has load, state. Read it with --covariates speed",
        ),
        (
            "load",
            series(STAMPS, load=[1, np.nan, 2, np.nan]),
            DataError,
            r"missing at 2024-01-01 01:00:00 \(2 rows in all",
        ),
        ("state", series(2, state=["a", None]), DataError, "missing in row 1"),
        ("load", series(2, load=[np.nan, np.nan], present=[False, False]), DataError, "missing in row 0"),
        ("load", series(3, load=[1, np.inf, 2]), DataError, "holds 'inf' in row 1"),
        ("id", series(500, id=[f"row {row}" for row in range(500)]), DataError, "500 different values.*at most 200"),
        ("load", series(4, load=[1, 2, 3, 4])[4:], DataError, "no rows"),
        (["load", "load"], series(2, load=[1, 2]), OptionError, "named twice"),
        (["calendar"], series(2, calendar=["x", "y"]), OptionError, "called calendar too"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(spec: object, given: Series, error: type, words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        Conditions.fit(spec, given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (series(2, load=[1, 2], state=["run", "stop"]), "'state' is 'stop' in row 1; the training data knew idle, run"),
        (series(2, load=["1", "fast"], state=["run", "run"]), "'load' holds 'fast' in row 1"),
        (series(2, load=[1, np.nan], state=["run", "run"]), "'load' is missing in row 1"),
        (series(2, load=[1, 2]), "no condition column 'state'"),
    ],
)
def test_what_the_training_data_did_not_have_is_refused(given: Series, words: str) -> None:
    conditions = Conditions.fit(["load", "state"], series(2, load=[1, 2], state=["run", "idle"]))
    with pytest.raises(UserError, match=words) as caught:
        conditions(given)
    assert isinstance(caught.value, DataError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"parts": [{"kind": "moon"}]},
        {"parts": [{"kind": "number", "column": "x"}]},
        {"parts": [{"kind": "calendar", "cycles": ["tide"], "timezone": None}]},
        {"parts": [{"kind": "calendar", "cycles": ["hour"], "timezone": "Mars/Olympus"}]},
        {"parts": "calendar"},
    ],
)
def test_a_broken_document_is_a_model_file_error(document: dict) -> None:
    with pytest.raises(ModelFileError, match="conditions cannot be read"):
        Conditions.from_document(document)
