"""The time axis against calendars and pandas: what is read, what is refused, and that the cure in a refusal works."""

import re
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from seqae.errors import OptionError, SeqaeWarning, TimeAxisError
from seqae.timeaxis import (
    Origin,
    find_step,
    find_time,
    lay_out,
    looks_like_time,
    read_stamps,
    spell,
    step_seconds,
)


def column(*stamps, name="time"):
    return pd.Series(stamps, name=name)


def stamps(*texts):
    return pd.DatetimeIndex([pd.Timestamp(text) for text in texts])


def at_least_ns(index):
    return index.as_unit("ns")


# ---- reading stamps ----


@pytest.mark.parametrize(
    ("texts", "truth"),
    [
        (["2020-01-31", "2020-02-01"], [datetime(2020, 1, 31), datetime(2020, 2, 1)]),
        (["2020-01-31 14:05", "2020-01-31T14:06:07"], [datetime(2020, 1, 31, 14, 5), datetime(2020, 1, 31, 14, 6, 7)]),
        (["20200131T140500", "20200131T140501"], [datetime(2020, 1, 31, 14, 5), datetime(2020, 1, 31, 14, 5, 1)]),
        (["1950-01", "1950-02"], [datetime(1950, 1, 1), datetime(1950, 2, 1)]),
        (["2020/01/31", "2020/02/01"], [datetime(2020, 1, 31), datetime(2020, 2, 1)]),
        (
            ["2020-01-31 00:00:00", "2020-01-31 00:00:00.5"],
            [datetime(2020, 1, 31), datetime(2020, 1, 31, 0, 0, 0, 500000)],
        ),
        (["2020-01-31 00:00:00,125"], [datetime(2020, 1, 31, 0, 0, 0, 125000)]),
        ([" 2020-01-31 ", "2020-02-01"], [datetime(2020, 1, 31), datetime(2020, 2, 1)]),
        (["2020Q1", "2020-Q4"], [datetime(2020, 1, 1), datetime(2020, 10, 1)]),
        (["31/01/2020", "01/02/2020"], [datetime(2020, 1, 31), datetime(2020, 2, 1)]),
        (["01/31/2020 14:05", "02/01/2020 14:05"], [datetime(2020, 1, 31, 14, 5), datetime(2020, 2, 1, 14, 5)]),
        (["31.01.2020 14:05:06"], [datetime(2020, 1, 31, 14, 5, 6)]),
        (["01/31/2020 02:05:06 PM"], [datetime(2020, 1, 31, 14, 5, 6)]),
        (["31-Jan-2020 14:05"], [datetime(2020, 1, 31, 14, 5)]),
        (["Jan 31, 2020"], [datetime(2020, 1, 31)]),
        (["16/12/06 17:24:00"], [datetime(2006, 12, 16, 17, 24)]),
    ],
)
def test_text_is_read_as_the_time_it_says(texts, truth):
    read = read_stamps(column(*texts))
    assert read.tz is None
    assert list(read.to_pydatetime()) == truth
    assert looks_like_time(column(*texts))


def test_nanoseconds_are_kept_wherever_they_first_appear():
    read = read_stamps(column("2020-01-01", "2020-01-01 00:00:00.000000001", "2020-01-01T00:00:00.123456789"))
    assert list(at_least_ns(read).asi8 - pd.Timestamp("2020-01-01").value) == [0, 1, 123456789]


@pytest.mark.parametrize(
    ("texts", "offset"),
    [
        (["2020-01-31T14:05:00Z", "2020-01-31T14:05:00.250Z"], 0),
        (["2020-01-31T14:05:00+00:00", "2020-01-31T14:05:00Z"], 0),
        (["2020-01-31 14:05:00+01:00", "2020-01-31 15:05:00+0100", "2020-01-31 15:05:00 +01"], 60),
        (["2020-01-31T14:05:00-03:30", "2020-01-31T14:06:00-03:30"], -210),
    ],
)
def test_one_offset_stays_local(texts, offset):
    read = read_stamps(column(*texts))
    zone = timezone(timedelta(minutes=offset))
    assert read[0].utcoffset() == timedelta(minutes=offset)
    for stamp, text in zip(read.to_pydatetime(), texts, strict=True):
        plain = re.sub(r"(Z| ?[+-]\d\d(:?\d\d)?)$", "", text)
        assert stamp == datetime.fromisoformat(plain).replace(tzinfo=zone)


def test_different_offsets_become_utc():
    # Every quarter of an hour around both changes of the clocks in Berlin, written as a local logger would.
    local = pd.date_range("2021-10-31 00:00", periods=20, freq="15min", tz="Europe/Berlin")
    local = local.append(pd.date_range("2022-03-27 01:00", periods=12, freq="15min", tz="Europe/Berlin"))
    texts = [stamp.isoformat() for stamp in local]
    assert len({text[-6:] for text in texts}) == 2
    read = read_stamps(column(*texts))
    assert str(read.tz) == "UTC"
    assert list(read.to_pydatetime()) == [datetime.fromisoformat(text) for text in texts]


@pytest.mark.parametrize(
    ("unit", "numbers", "truth"),
    [
        ("s", [1609459200, 1609459201], ["2021-01-01T00:00:00Z", "2021-01-01T00:00:01Z"]),
        ("s", [1609459200.25, 1609459200.123456], ["2021-01-01T00:00:00.25Z", "2021-01-01T00:00:00.123456Z"]),
        ("s", [1609459200.1, 1609459200.000007], ["2021-01-01T00:00:00.1Z", "2021-01-01T00:00:00.000007Z"]),
        ("ms", [1609459200123, -1], ["2021-01-01T00:00:00.123Z", "1969-12-31T23:59:59.999Z"]),
        ("us", [1609459200000001], ["2021-01-01T00:00:00.000001Z"]),
        ("ns", [1609459200000000001], ["2021-01-01T00:00:00.000000001Z"]),
    ],
)
def test_epoch_numbers_count_from_1970_in_utc(unit, numbers, truth):
    read = read_stamps(column(*numbers), time_unit=unit)
    assert list(at_least_ns(read)) == [pd.Timestamp(text) for text in truth]
    assert str(read.tz) == "UTC"
    berlin = lay_out(read.sort_values(), tz="Europe/Berlin", irregular="keep").index
    assert list(berlin) == sorted(pd.Timestamp(text) for text in truth)


def test_a_wrong_epoch_unit_is_refused_and_the_named_one_reads():
    numbers = column(1609459200000, 1609459260000)
    with pytest.raises(TimeAxisError, match=r"row 0.*--time-unit s is outside.*Use --time-unit ms"):
        read_stamps(numbers, time_unit="s")
    assert read_stamps(numbers, time_unit="ms")[1] == pd.Timestamp("2021-01-01 00:01", tz="UTC")


def test_numbers_without_unit_stay_numbers():
    assert list(read_stamps(column(0, 5, 10))) == [0, 5, 10]
    assert list(read_stamps(column(0.5, 0.75))) == [0.5, 0.75]


@pytest.mark.parametrize(
    ("values", "options", "truth"),
    [
        ([20200131, 20200201], "%Y%m%d", ["2020-01-31", "2020-02-01"]),
        (["31|01|2020"], "%d|%m|%Y", ["2020-01-31"]),
        (["01/02/2020", "02/02/2020"], "%d/%m/%Y", ["2020-02-01", "2020-02-02"]),
    ],
)
def test_a_named_format_is_used(values, options, truth):
    assert list(read_stamps(column(*values), time_format=options)) == [pd.Timestamp(text) for text in truth]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (["2020-01-01", "2020-13-01"], {}, r"'2020-13-01' in row 1, column 'time', is no date"),
        (["2020-01-01", "rubbish"], {}, r"'rubbish' in row 1"),
        (["31/01/2020", "32/01/2020"], {}, r"'32/01/2020' in row 1"),
        (["2020-01-01", "now"], {}, r"'now' in row 1"),
        (["31.12.2020", " Today"], {}, r"' Today' in row 1"),
        (["2020-01-01 24:00"], {}, r"'2020-01-01 24:00' in row 0"),
        (["17:24:00", "17:25:00"], {}, r"'17:24:00' in row 0.*no date and time"),
        (["2020-01-01", None, "2020-01-03"], {}, r"no stamp in row 1"),
        (["01/02/2020", "02/02/2020"], {}, r"day or month first.*--time-format"),
        (["2020-01-01T00:00", "2020-01-01T00:00+01:00"], {}, r"offset in row 1 .*none in row 0"),
        (["2020-01-01T00:00+01:00", "2020-01-01T00:00"], {}, r"offset in row 0 .*none in row 1"),
        (["2020-01-01", "2020-01-02"], {"time_format": "%d.%m.%Y"}, r"'2020-01-01' in row 0.*'%d.%m.%Y'"),
        ([0.0, np.inf], {}, r"inf in row 1"),
        ([0.0, 1e300], {"time_unit": "s"}, r"1e\+300 in row 1"),
    ],
)
def test_unreadable_stamps_are_refused_by_row(values, options, message):
    with pytest.raises(TimeAxisError, match=message) as refusal:
        read_stamps(pd.Series(values, name="time"), **options)
    assert "\n" not in str(refusal.value)


def test_time_units_are_a_menu_and_need_numbers():
    with pytest.raises(OptionError, match=r"time unit 'h' does not exist. Choose one of: s, ms, us, ns"):
        read_stamps(column(1, 2), time_unit="h")
    with pytest.raises(OptionError, match="--time-unit needs numbers"):
        read_stamps(column("2020-01-01"), time_unit="s")


def test_other_types_of_time_columns_are_read():
    days = pd.date_range("2020-01-01", periods=3)
    assert read_stamps(pd.Series(days)).equals(pd.DatetimeIndex(list(days)))
    assert read_stamps(pd.Series(pd.period_range("2020-01", periods=3, freq="M")))[2] == pd.Timestamp("2020-03-01")
    assert list(read_stamps(pd.Series(pd.to_timedelta([0, 250], "ms")))) == [0.0, 0.25]
    assert list(read_stamps(pd.Series([day.date() for day in days], dtype=object))) == list(days)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"v": [1.0], "Timestamp": ["2020-01-01"]}, "Timestamp"),
        ({"start": ["2020-01-01"], "time": ["2021-01-01"], "v": [1.0]}, "time"),
        ({"mode": ["a"], "when": ["2020-01-01"], "v": [1.0]}, "when"),
        ({"mode": ["a"], "v": [1.0]}, None),
        ({"date": ["never"], "v": [1.0]}, "date"),
        ({"date": ["2020-01-01"], "ts": [1.0]}, "date"),
    ],
)
def test_the_time_column_is_found(columns, found):
    assert find_time(pd.DataFrame(columns), list(columns), Origin()) == found


@pytest.mark.parametrize(
    ("name", "numbers", "cure"),
    [
        ("timestamp", [1609459200], "--time timestamp --time-unit s"),
        ("Time (s)", [0.1], "--time Time (s) --time-unit s"),
        ("date", [20200131], "--time-format %Y%m%d"),
        ("date", [1999], "--time-format %Y,"),
        ("ts", [20200131235900], "--time-format %Y%m%d%H%M%S"),
        ("epoch_ms", [1609459200000], "--time epoch_ms --time-unit s .or ms"),
    ],
)
def test_numbers_named_like_a_time_must_be_explained(name, numbers, cure):
    frame = pd.DataFrame({name: numbers, "v": 1.0})
    with pytest.raises(TimeAxisError, match=re.escape(cure).replace(r"\.", ".")):
        find_time(frame, list(frame.columns), Origin())
    assert find_time(frame, list(frame.columns), Origin(), numbers=True) == name


# ---- finding the step, filling gaps ----

BERLIN = "Europe/Berlin"
MONTH_30 = pd.DatetimeIndex([pd.Timestamp(2019 + m // 12, m % 12 + 1, 1) for m in range(40)])
MONTH_30 = MONTH_30 + pd.to_timedelta(np.minimum(30, MONTH_30.days_in_month) - 1, "D") + pd.Timedelta("06:30:00")
AXES = {
    "ns": (pd.date_range("2020", periods=40, freq="7ns", unit="ns"), "7ns"),
    "250 ms": (pd.date_range("2020", periods=40, freq="250ms", unit="ms"), "250ms"),
    "seconds": (pd.date_range("2020", periods=40, freq="5s", unit="s"), "5s"),
    "5 min": (pd.date_range("2020", periods=40, freq="5min", unit="us"), "5min"),
    "hours across spring": (pd.date_range("2021-03-27 12:00", periods=40, freq="h", tz=BERLIN), "1h"),
    "hours across autumn": (pd.date_range("2021-10-30 12:00", periods=40, freq="h", tz=BERLIN), "1h"),
    "days": (pd.date_range("2020-02-20", periods=40, freq="D"), "1D"),
    "local days across spring": (pd.date_range("2021-03-10", periods=40, freq="D", tz=BERLIN), "1 day"),
    "local days across autumn": (pd.date_range("2021-10-10 04:30", periods=40, freq="D", tz=BERLIN), "1 day"),
    "local weeks": (pd.date_range("2021-01-04", periods=60, freq="7D", tz=BERLIN), "7 days"),
    "weeks": (pd.date_range("2021-01-04", periods=40, freq="7D"), "7D"),
    "month starts": (pd.date_range("1950-01-01", periods=40, freq="MS", unit="s"), "1 month"),
    "month ends": (pd.date_range("2019-01-31", periods=40, freq="ME"), "1 month"),
    "the 30th or the last": (MONTH_30, "1 month"),
    "local month starts": (pd.date_range("2021-01-01", periods=40, freq="MS", tz=BERLIN), "1 month"),
    "quarters": (pd.date_range("2019-01-01", periods=40, freq="QS"), "3 months"),
    "quarter ends": (pd.date_range("2019-03-31", periods=40, freq="QE"), "3 months"),
    "years": (pd.date_range("2001-07-01", periods=40, freq="YS-JUL"), "1 year"),
    "leap days": (pd.date_range("1980-02-29", periods=40, freq="YE-FEB", unit="s"), "1 year"),
    "whole numbers": (pd.Index(np.arange(40) * 3 + 7), "3"),
    "tenths": (pd.Index(np.arange(40) * 0.1), "0.1"),
    "tenths added up": (pd.Index(np.cumsum(np.full(40, 0.1))), "0.1"),
    "linspace": (pd.Index(np.linspace(0, np.pi, 40)), f"{np.pi / 39:g}"),
}


@pytest.mark.parametrize("axis", AXES)
def test_a_whole_axis_is_kept_and_its_step_is_found(axis):
    index, words = AXES[axis]
    layout = lay_out(index)
    assert spell(layout.step) == words
    assert layout.index.equals(index)
    assert layout.present is None
    if not isinstance(index, pd.DatetimeIndex):
        np.testing.assert_allclose(np.diff(index), layout.step)
    if isinstance(index, pd.DatetimeIndex) and axis != "the 30th or the last":
        assert all(before + layout.step == after for before, after in pairwise(index))


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("seed", [0, 1])
def test_rows_taken_out_come_back_as_gaps(axis, seed):
    index = AXES[axis][0]
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.choice(len(index), size=28, replace=False))
    kept = np.union1d(kept, [0, 1, 2, 10, 11, 12, 13, 20, 21, 22, len(index) - 1])
    layout = lay_out(index[kept])
    if index.dtype.kind == "f":
        np.testing.assert_allclose(layout.index, index, rtol=1e-9)
    else:
        assert layout.index.equals(index)
    assert list(np.flatnonzero(layout.present)) == list(kept)
    values = rng.normal(size=(len(kept), 2))
    placed = layout.mean(values)
    np.testing.assert_array_equal(placed[kept], values)
    assert np.isnan(np.delete(placed, kept, axis=0)).all()


@pytest.mark.parametrize(("hertz", "unit"), [(3, "ms"), (30, "ms"), (60, "ms"), (44100, "us"), (7, "s")])
def test_stamps_rounded_to_their_last_digit_are_even(hertz, unit):
    # 7 "Hz" to the second is one row every 7 / 3 s: 2 or 3 s apart.
    period = 7 / 3 if unit == "s" else 1 / hertz
    digits = {"s": 0, "ms": 3, "us": 6}[unit]
    for rounding in (np.rint, np.floor):
        ticks = rounding(np.arange(5000) * period * 10**digits).astype(np.int64)
        index = pd.DatetimeIndex(ticks.view(f"M8[{unit}]"))
        assert len(np.unique(np.diff(index.asi8))) == 2
        layout = lay_out(index)
        assert layout.index.equals(index)
        assert step_seconds(layout.step) == pytest.approx(period, rel=1e-7, abs=1e-9)
        gappy = lay_out(np.delete(index, slice(1000, 1200)))
        assert len(gappy.index) == 5000
        assert np.abs(gappy.index.asi8 - index.asi8).max() <= 1
        assert (~gappy.present).sum() == 200


def test_a_clock_that_wanders_is_uneven():
    rng = np.random.default_rng(0)
    index = pd.Timestamp("2020") + pd.to_timedelta(np.cumsum(rng.integers(9, 12, size=500)), "s")
    assert find_step(index) is None
    with pytest.raises(TimeAxisError, match=r"--resample \d+s .mean per step., or --irregular keep"):
        lay_out(index)


@pytest.mark.parametrize("length", [0, 1])
def test_fewer_than_two_stamps_have_no_step(length):
    assert find_step(pd.date_range("2020", periods=length)) is None


def test_a_few_stamps_far_apart_are_refused_with_the_gap():
    index = pd.date_range("2020", periods=50, freq="s").append(pd.date_range("2021", periods=50, freq="s"))
    with pytest.raises(
        TimeAxisError, match=r"would add 31622350 empty rows to 100; the longest gap is 2020-01-01 00:00:49"
    ):
        lay_out(index)
    kept = lay_out(index, irregular="keep")
    assert kept.index.equals(index)
    assert kept.step is None
    assert kept.present is None


def test_more_gaps_than_rows_are_said():
    index = pd.date_range("2020", periods=30, freq="s")
    with pytest.warns(SeqaeWarning, match="11 rows on steps of 1s leave 19 steps empty"):
        layout = lay_out(index[[*range(10), 29]])
    assert layout.index.equals(index)


@pytest.mark.parametrize(
    ("step", "words", "seconds"),
    [
        (pd.Timedelta("5min"), "5min", 300.0),
        (pd.Timedelta("90s"), "90s", 90.0),
        (pd.Timedelta("1500us"), "1500us", 0.0015),
        (pd.Timedelta("2D"), "2D", 172800.0),
        (pd.DateOffset(days=1), "1 day", 86400.0),
        (pd.DateOffset(months=1), "1 month", 365.2425 / 12 * 86400),
        (pd.offsets.MonthEnd(3), "3 months", 365.2425 / 4 * 86400),
        (pd.DateOffset(months=1) * 24, "2 years", 365.2425 * 2 * 86400),
        (0.5, "0.5", None),
        (None, "", None),
    ],
)
def test_steps_in_words_and_seconds(step, words, seconds):
    assert spell(step) == words
    assert step_seconds(step) == (None if seconds is None else pytest.approx(seconds))


# ---- order, duplicates, bins ----


def shuffled(seed=0):
    """300 rows over 200 stamps in disorder, two channels with missing values, labels and a text column."""
    rng = np.random.default_rng(seed)
    index = pd.date_range("2020", periods=200, freq="5min")
    rows = np.concatenate([np.arange(200), rng.integers(0, 200, 100)])
    rng.shuffle(rows)
    values = rng.normal(size=(300, 2))
    values[rng.random((300, 2)) < 0.2] = np.nan
    return index[rows], values, rng.random(300) < 0.1


@pytest.mark.parametrize("how", ["first", "last", "mean"])
def test_sorting_and_merging_agree_with_pandas(how):
    index, values, labels = shuffled()
    layout = lay_out(index, order="sort", duplicates=how)
    # "first" of the rows, not of the values: pandas' own groupby first skips missing values.
    pick = {"first": lambda g: g.iloc[0], "last": lambda g: g.iloc[-1], "mean": lambda g: g.mean()}[how]
    frame = pd.DataFrame(values, index=index)
    truth = pd.DataFrame({stamp: pick(group) for stamp, group in frame.groupby(level=0, sort=True)}).T
    assert layout.index.equals(pd.DatetimeIndex(truth.index))
    np.testing.assert_allclose(layout.mean(values), truth.to_numpy(), rtol=1e-12)
    if how == "mean":
        assert list(layout.any(labels)) == list(pd.Series(labels, index=index).groupby(level=0).any())


@pytest.mark.parametrize("width", ["15min", "7min", "1h", "1D", "1MS"])
@pytest.mark.parametrize("tz", [None, "America/New_York"])
def test_resampling_agrees_with_pandas(width, tz):
    rng = np.random.default_rng(1)
    index = pd.Timestamp("2021-10-20") + pd.to_timedelta(np.sort(rng.choice(30 * 86400, 3000, replace=False)), "s")
    values = rng.normal(size=(3000, 2))
    values[rng.random((3000, 2)) < 0.2] = np.nan
    index = index if tz is None else index.tz_localize("UTC").tz_convert(tz)
    layout = lay_out(index, resample=width)
    truth = pd.DataFrame(values, index=index).resample(width.removeprefix("1") if width == "1MS" else width).mean()
    assert layout.index.equals(truth.index)
    np.testing.assert_allclose(layout.mean(values), truth.to_numpy(), rtol=1e-10)
    filled = pd.Series(1, index=index).resample(truth.index.freq).sum().to_numpy() > 0
    assert (layout.present is None) == filled.all()
    if layout.present is not None:
        assert list(layout.present) == list(filled)


def test_numbers_are_binned_from_zero():
    layout = lay_out(pd.Index([0.1, 0.4, 0.6, 2.1]), resample="0.5")
    np.testing.assert_allclose(layout.index, [0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(layout.mean(np.array([[1.0], [3.0], [5.0], [7.0]]))[:, 0], [2, 5, np.nan, np.nan, 7])
    tenths = lay_out(pd.Index(np.arange(100) / 10), resample="0.1")
    assert list(tenths.steps) == list(range(100))


@pytest.mark.parametrize(
    ("offsets", "complaint"),
    [
        ([0, 5, 10, 20, 15, 25], "in row 4 comes after"),
        ([0, 5, 5, 10, 15], "in row 2 occurs more than once"),
        ([0, 5, 10, 13, 18, 23, 28], "in row 3 comes 3min after"),
        ([25, 20, 15, 10, 5, 0], "in row 1 comes after"),
        ([0, 10, 5, 5, 15, 20, 22, 27, 32], "in row 2 comes after"),
    ],
)
def test_the_cure_of_a_refusal_is_complete(offsets, complaint):
    index = pd.Timestamp("2020-01-01") + pd.to_timedelta(offsets, "min")
    with pytest.raises(TimeAxisError, match=complaint) as refusal:
        lay_out(index)
    cure = dict(re.findall(r"--(order|duplicates|resample) (\w+)", str(refusal.value)))
    layout = lay_out(index, **cure)
    assert layout.step == pd.Timedelta("5min")
    assert layout.mean(np.ones((len(index), 1)))[layout.steps].min() == 1
    with pytest.raises(TimeAxisError):
        lay_out(index, **dict(list(cure.items())[:-1]))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"order": "shuffle"}, OptionError, "order 'shuffle' does not exist. Choose one of: refuse, sort"),
        ({"duplicates": "drop"}, OptionError, "Choose one of: refuse, first, last, mean"),
        ({"irregular": "fix"}, OptionError, "Choose one of: refuse, keep"),
        ({"resample": "5min", "irregular": "keep"}, OptionError, "Use one of the two"),
        ({"resample": "often"}, OptionError, "--resample often is no step. Use a number and a unit"),
        ({"resample": 5}, OptionError, "--resample 5 is no step"),
        ({"resample": "-5min"}, OptionError, "longer than nothing"),
        ({"resample": "1s"}, TimeAxisError, "would make more than 1100 rows of 100"),
        ({"tz": "Mars/Base"}, OptionError, "'Mars/Base' is no time zone"),
        ({"tz": ""}, OptionError, "is no time zone"),
    ],
)
def test_options_that_cannot_be_met(options, error, message):
    with pytest.raises(error, match=message):
        lay_out(pd.date_range("2020", periods=100, freq="5min"), **options)


def test_options_for_stamps_do_not_fit_numbers():
    with pytest.raises(OptionError, match="Give --time-unit too"):
        lay_out(pd.Index([1, 2, 3]), tz="UTC")
    with pytest.raises(OptionError, match=r"Use a number, such as 0.5"):
        lay_out(pd.Index([1, 2, 3]), resample="5min")


def test_text_beside_merged_rows_must_agree():
    index = pd.date_range("2020", periods=6, freq="5min")
    table = pd.DataFrame({"mode": list("aabbcc"), "load": [1.0, 3, 5, 7, 9, 11]})
    merged = lay_out(index, resample="10min").table(table, Origin())
    assert list(merged["mode"]) == ["a", "b", "c"]
    assert list(merged["load"]) == [2, 6, 10]
    with pytest.raises(TimeAxisError, match="'mode' holds different texts at 2020-01-01 00:00:00"):
        lay_out(index, resample="15min").table(table, Origin())
    gappy = lay_out(index[[0, 1, 2, 5]]).table(table.iloc[[0, 1, 2, 5]], Origin())
    assert list(gappy["load"].fillna(-1)) == [1, 3, 5, -1, -1, 11]


# ---- clocks that change ----


def test_local_stamps_through_the_repeated_hour():
    for freq in ("h", "15min", "10s"):
        truth = pd.date_range("2021-10-31 00:00", "2021-10-31 06:00", freq=freq, tz=BERLIN)
        wall = truth.tz_localize(None)
        assert not wall.is_monotonic_increasing or not wall.is_unique
        layout = lay_out(wall, tz=BERLIN)
        assert layout.index.equals(truth)
        assert layout.present is None


def test_the_hint_at_changed_clocks_reads_the_file():
    wall = pd.date_range("2021-10-30", periods=72, freq="h", tz=BERLIN).tz_localize(None)
    with pytest.raises(
        TimeAxisError, match=r"--tz with the time zone .as in Europe/Berlin. if clocks were set back there"
    ):
        lay_out(wall)
    assert spell(lay_out(wall, tz=BERLIN).step) == "1h"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["2021-03-28 01:00", "2021-03-28 02:00", "2021-03-28 03:00"], "2021-03-28 02:00:00 in row 1 does not exist"),
        (["2021-10-31 02:30", "2021-10-31 03:30"], "2021-10-31 02:30:00 in row 0 occurs twice"),
        (["2021-10-31 02:00", "2021-10-31 02:00", "2021-10-31 02:00"], "occurs twice in Europe/Berlin"),
        (["2021-11-01", "2021-10-31 02:30", "2021-10-31 02:30"], "occurs twice in Europe/Berlin"),
    ],
)
def test_stamps_no_zone_can_place_are_refused(texts, message):
    with pytest.raises(TimeAxisError, match=message + ".*UTC offset"):
        lay_out(stamps(*texts), tz=BERLIN)


def test_aware_stamps_are_shown_in_another_zone():
    utc = pd.date_range("2021-10-30 12:00", periods=30, freq="h", tz="UTC")
    layout = lay_out(utc, tz=BERLIN)
    assert list(layout.index) == list(utc)
    assert str(layout.index.tz) == BERLIN
    assert spell(layout.step) == "1h"


def test_local_midnights_written_with_offsets_are_days():
    local = pd.date_range("2021-10-25", periods=14, freq="D", tz=BERLIN)
    read = read_stamps(column(*[stamp.isoformat() for stamp in local]))
    assert find_step(read) is None
    assert lay_out(read, tz=BERLIN).index.equals(local)
