"""Series and panels: what they hold, how they are cut, and what a table's columns become."""

import numpy as np
import pandas as pd
import pytest

from seqae.errors import DataError, OptionError, SeqaeWarning, TimeAxisError
from seqae.series import Panel, Series, as_panel, from_table
from seqae.timeaxis import Origin

DAYS = pd.date_range("2020-01-01", periods=10, freq="D")


def full(length=10, **parts):
    """A series with every part filled in, whose first channel counts the rows."""
    values = np.stack([np.arange(length), -np.arange(length)], axis=1).astype(float)
    given = {
        "index": pd.date_range("2020-01-01", periods=length, freq="D"),
        "labels": np.arange(length) % 3 == 0,
        "covariates": pd.DataFrame({"mode": list("abcdefghijklmnopqrstuvwxyz"[:length])}),
        "present": np.arange(length) != 4,
        "step": pd.Timedelta("1D"),
    }
    return Series(values, ("up", "down"), **(given | parts))


# ---- one series ----


def test_values_become_float32_and_nan_means_missing():
    series = Series.from_array([[1, 2.5], [np.nan, 4]])
    assert series.values.dtype == np.float32
    assert series.channels == ("c0", "c1")
    assert series.observed.tolist() == [[True, True], [False, True]]
    assert Series.from_array([1, 2, 3]).channels == ("value",)
    assert list(Series.from_array([1, 2, 3]).index_or_range) == [0, 1, 2]


def test_an_array_of_float32_is_not_copied():
    values = np.ones((5, 2), dtype=np.float32)
    assert np.shares_memory(Series.from_array(values).values, values)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Series(np.zeros((3, 2)), ("a",)), DataError, r"shape \(3, 2\) do not fit 1 channels"),
        (lambda: Series(np.zeros((3, 2)), ("a", "a")), DataError, "channel name occurs twice in a, a"),
        (lambda: Series(np.zeros((3, 1)), ("a",), index=DAYS), DataError, "index has 10 rows, the values have 3"),
        (lambda: Series(np.zeros((3, 1)), ("a",), labels=np.zeros(2)), DataError, "labels has 2 rows"),
        (
            lambda: Series(np.zeros((3, 1)), ("a",), covariates=pd.DataFrame({"x": [1]})),
            DataError,
            "covariates has 1 rows",
        ),
        (lambda: Series(np.zeros((3, 1)), ("a",), present=np.ones(4)), DataError, "present has 4 rows"),
        (lambda: Series(np.zeros((2, 1)), ("a",), index=DAYS[[1, 0]]), TimeAxisError, "must increase"),
        (lambda: Series(np.zeros((2, 1)), ("a",), index=DAYS[[1, 1]]), TimeAxisError, "must increase"),
        (lambda: Series.from_array([1, np.inf]), DataError, "'value' holds inf in row 1|value holds inf in row 1"),
        (lambda: Series.from_array([[0, 0], [0, -1e39]]), DataError, r"c1 holds -1e\+39 in row 1"),
        (lambda: Series.from_array(np.zeros((2, 2, 2))), DataError, r"shape \(2, 2, 2\) is no series"),
        (lambda: Series.from_array(["a", "b"]), DataError, "cannot be read as numbers"),
        (lambda: Series.from_array([1j]), DataError, "cannot be read as numbers"),
        (lambda: Series.from_array("pump.csv"), DataError, r"'pump.csv' is text.*read_csv"),
    ],
)
def test_parts_that_do_not_fit_are_refused(build, error, message):
    with pytest.raises(error, match=message) as refusal:
        build()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("offset", [1e9, -2e9])
def test_a_signal_that_float32_blurs_is_said(offset):
    with pytest.warns(SeqaeWarning, match="float32 blur.*Subtract a constant"):
        Series.from_array(offset + np.arange(5.0))
    with pytest.warns(SeqaeWarning, match="'pressure' varies by 4"):
        Series.from_frame(pd.DataFrame({"pressure": offset + np.arange(5.0), "ok": np.arange(5.0)}))
    Series.from_array(np.full(5, offset))
    Series.from_array(offset + 1e6 * np.arange(5.0))


@pytest.mark.parametrize("rows", [slice(2, 7), slice(None, -3), slice(8, 20), slice(5, 2), slice(1, 9, 3)])
def test_a_slice_cuts_every_part_alike(rows):
    series = full()
    part = series[rows]
    truth = list(range(10))[rows]
    assert part.values[:, 0].tolist() == truth
    assert part.index.equals(series.index[rows])
    assert part.labels.tolist() == [row % 3 == 0 for row in truth]
    assert part.present.tolist() == [row != 4 for row in truth]
    assert part.covariates["mode"].tolist() == ["abcdefghij"[row] for row in truth]
    assert list(part.covariates.index) == list(range(len(truth)))
    assert part.step == pd.Timedelta("1D") * (rows.step or 1)


def test_a_slice_needs_to_be_one_and_forward():
    with pytest.raises(TypeError, match="slice of rows"):
        full()[3]
    with pytest.raises(DataError, match="turns time round"):
        full()[::-1]


@pytest.mark.parametrize(
    ("fractions", "lengths"),
    [((0.7,), [7, 3]), ((0.6, 0.2), [6, 2, 2]), ((0.5, 0.5), [5, 5]), ((0.1,) * 10, [1] * 10), ((0.29,), [3, 7])],
)
def test_split_cuts_in_time_order_and_loses_nothing(fractions, lengths):
    series = full()
    parts = series.split(*fractions)
    assert [len(part) for part in parts] == lengths
    assert np.concatenate([part.values for part in parts]).tolist() == series.values.tolist()
    assert [stamp for part in parts for stamp in part.index] == list(series.index)


@pytest.mark.parametrize("fractions", [(), (0.0,), (1.2,), (-0.5,), (0.6, 0.6)])
def test_split_refuses_other_fractions(fractions):
    with pytest.raises(OptionError, match="sum to at most 1"):
        full().split(*fractions)


def test_split_refuses_empty_parts():
    with pytest.raises(DataError, match=r"10 rows; split\(0.01,\) would leave a part empty"):
        full().split(0.01)


def test_select_reorders_and_names_what_is_missing():
    series = full().select(["down", "up"])
    assert series.channels == ("down", "up")
    assert series.values[3].tolist() == [-3, 3]
    with pytest.raises(DataError, match=r"no channel left. Select among these: up, down"):
        full().select(["left"])


def test_a_frame_of_a_series_reads_back():
    series = full(covariates=None, present=None)
    again = Series.from_frame(series.to_frame())
    assert again.index.equals(series.index)
    assert again.values.tolist() == series.values.tolist()
    assert again.labels.tolist() == series.labels.tolist()
    assert again.step == series.step


# ---- panels ----


def test_a_panel_finds_its_series():
    first, second = full(name="a"), full(5, name="b").select(["down", "up"])
    panel = Panel([first, second])
    assert (panel.names, panel.channels, len(panel)) == (("a", "b"), ("up", "down"), 2)
    assert panel["a"] is panel[0]
    assert panel["b"].channels == ("up", "down")
    assert panel[-1].values[2].tolist() == [2, -2]
    assert [series.name for series in panel[1:]] == ["b"]
    train, rest = panel.split(0.6)
    assert ([len(one) for one in train], [len(one) for one in rest]) == ([6, 3], [4, 2])
    assert panel.select(["down"]).channels == ("down",)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Panel([]), "no series cannot be used"),
        (lambda: Panel([full(), full()]), "Two series of a panel are called 'series'"),
        (lambda: Panel([full(), full(name="b").select(["up"])]), "b has the channels up; series has up, down"),
        (lambda: Panel([full()])["pump"], "No series is called 'pump'. There are: series"),
    ],
)
def test_panels_refuse(build, message):
    with pytest.raises(DataError, match=message):
        build()


def test_anything_that_is_data_becomes_a_panel():
    rows = np.arange(12.0)
    frame = pd.DataFrame({"value": rows}, index=pd.date_range("2020", periods=12, freq="h"))
    series = Series.from_array(rows, name="mine")
    assert as_panel(series)[0] is series
    assert as_panel(as_panel(series)) is not series
    for data in (rows, rows[:, None], rows.tolist(), frame, frame["value"], [rows], (series,)):
        panel = as_panel(data)
        assert len(panel) == 1
        assert panel[0].values[:, 0].tolist() == rows.tolist()
    assert as_panel(frame)[0].step == pd.Timedelta("1h")
    assert as_panel(rows.reshape(3, 2, 2)).names == ("series-0", "series-1", "series-2")
    assert as_panel(rows.reshape(3, 2, 2))[2].values.tolist() == [[8, 9], [10, 11]]
    assert as_panel([rows, series, frame]).names == ("series-0", "mine", "series-2")
    assert as_panel({"a": rows, "b": series}).names == ("a", "b")
    panel = Panel([series])
    assert as_panel(panel) is panel


@pytest.mark.parametrize("data", ["pump.csv", None, [], np.zeros((2, 2, 2, 2)), {}, [["a", "b"]], object()])
def test_what_is_no_data_is_refused(data):
    with pytest.raises(DataError):
        as_panel(data)


# ---- tables ----


def table(**columns):
    return pd.DataFrame({"v": np.arange(4.0), **columns})


def test_a_date_index_is_the_time_axis():
    index = pd.DatetimeIndex(["2020-01-01", "2020-02-01", "2020-04-01", "2020-05-01"], name="month")
    series = Series.from_frame(table().set_index(index), name="mine")
    assert series.step == pd.DateOffset(months=1)
    assert list(series.index) == list(pd.date_range("2020-01-01", periods=5, freq="MS"))
    assert series.index.name == "month"
    assert series.present.tolist() == [True, True, False, True, True]
    np.testing.assert_array_equal(series.values[:, 0], [0, 1, np.nan, 2, 3])
    assert Series.from_frame(table().set_index(index), time=False).index is None
    assert Series.from_frame(table().set_index(index), time="month").index.equals(series.index)


@pytest.mark.parametrize(
    ("index", "axis"),
    [
        (pd.RangeIndex(4), None),
        (pd.RangeIndex(0, 8, 2), None),
        (pd.Index([3, 5, 7, 9]), None),
        (pd.Index([3, 5, 7, 9], name="second"), [3, 5, 7, 9]),
        (pd.Index([0.0, 0.5, 1.0, 1.5]), [0, 0.5, 1, 1.5]),
        (pd.to_timedelta([0, 1, 2, 3], "s"), [0, 1, 2, 3]),
        (pd.period_range("2020-01", periods=4, freq="M"), list(pd.date_range("2020-01-01", periods=4, freq="MS"))),
        (pd.Index(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"]), list(DAYS[:4])),
    ],
)
def test_other_indices(index, axis):
    read = Series.from_frame(table().set_index(index)).index
    assert (None if read is None else list(read)) == axis


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (pd.Index(list("abcd")), "index of text such as 'a'"),
        (pd.MultiIndex.from_product([[1, 2], [3, 4]]), "index of 2 levels. Use reset_index"),
    ],
)
def test_indices_that_are_no_time_axis(index, message):
    with pytest.raises(DataError, match=message):
        Series.from_frame(table().set_index(index))


def test_columns_take_their_roles():
    frame = table(
        when=["2020-01-01", "2020-01-02", "2020-01-04", "2020-01-05"],
        label=[0, 1, 0, 0],
        mode=list("aabb"),
        load=[1.0, 2.0, 3.0, 4.0],
        note=list("wxyz"),
    )
    series = Series.from_frame(frame, covariates=["mode", "load"], drop="note")
    assert series.channels == ("v",)
    assert list(series.index) == list(DAYS[:5])
    assert series.labels.tolist() == [False, True, False, False, False]
    assert series.covariates["load"].fillna(-1).tolist() == [1, 2, -1, 3, 4]
    assert series.covariates["mode"].isna().tolist() == [False, False, True, False, False]
    assert Series.from_frame(frame, columns=["load", "v"], time=False).channels == ("load", "v")
    assert Series.from_frame(frame, columns="load,label", time=False).channels == ("load", "label")
    assert Series.from_frame(frame, columns="v", label=None).labels is None


@pytest.mark.parametrize(
    ("frame", "options", "error", "message"),
    [
        (table(note=list("abcd")), {}, DataError, r"'note' holds 'a' in row 0, not a number. Use --drop note, --covar"),
        (table(x=[1, "2", "3,5", 4]), {}, DataError, r"'x' holds '3,5' in row 2.*--decimal ','"),
        (table(x=[0, 0, -np.inf, 0]), {}, DataError, r"'x' holds -inf in row 2"),
        (table(x=[0, 0, np.inf, 0]), {"covariates": "x"}, DataError, r"'x' holds inf in row 2"),
        (table(x=[0, 0, 1e300, 0]), {}, DataError, r"'x' holds 1e\+300 in row 2"),
        (table(x=DAYS[:4], y=DAYS[:4]), {}, DataError, r"'y' holds '2020-01-01 00:00:00' in row 0"),
        (table(), {"columns": ["w"]}, DataError, "no column 'w'. Correct --columns; the columns are v"),
        (table(), {"drop": "v"}, DataError, "no column left to be a channel"),
        (table(x=1), {"columns": "x", "drop": "x"}, OptionError, "'x' is given to both --columns and --drop"),
        (table(label=[0, 1, 2, 0]), {}, DataError, "label column 'label' holds '2' in row 2, not 0 or 1"),
        (table(label=[0, 1, None, 0]), {}, DataError, "'label' holds 'nan' in row 2"),
        (table(y=[0, 1, 5, 0]), {"label": "y"}, DataError, "label column 'y' holds '5'"),
        (table(), {"label": "y"}, DataError, "no column 'y'. Correct --label"),
        (table() * np.nan, {}, DataError, "every value of v is missing"),
        (table()[:0], {}, DataError, "has 0 rows and 1 columns"),
        (table().rename(columns={"v": 1}).assign(**{"1": 2}), {}, DataError, "more than one column '1'"),
        (table(), {"tz": "UTC"}, OptionError, "no time axis, which --tz UTC needs"),
        (table(), {"time_unit": "s"}, OptionError, "no time axis, which --time-unit s needs"),
        (table(), {"resample": "5min"}, OptionError, "no time axis, which --resample 5min needs"),
        (table(x=1j), {}, DataError, r"'x' holds '1j' in row 0, not a number"),
        (table(), {"tiem": "when"}, OptionError, r"option 'tiem' does not exist. Choose one of: time, columns"),
        (table(), {"time": "when"}, DataError, "no column 'when'. Correct --time"),
        (table(time=[1, 2, 3, 4]), {}, TimeAxisError, "--time time --time-unit s"),
        (table(d=["2020-01-01"] * 4, t=["10:00"] * 4), {}, DataError, r"Use --time d\+t if it is the time of day"),
    ],
)
def test_tables_that_must_be_explained(frame, options, error, message):
    with pytest.raises(error, match=message) as refusal:
        Series.from_frame(frame, **options)
    assert "\n" not in str(refusal.value)


def test_date_and_time_of_day_are_joined():
    frame = table(Date=["31/12/2020"] * 2 + ["01/01/2021"] * 2, Hour=["00:00", "12:00"] * 2)
    series = Series.from_frame(frame, time="Date+Hour")
    assert list(series.index) == list(pd.date_range("2020-12-31", periods=4, freq="12h"))
    assert series.channels == ("v",)


def test_numbers_in_other_clothes_are_numbers():
    frame = pd.DataFrame({"a": ["1", "2.5"], "b": [True, False], "c": pd.array([1, None], dtype="Int64")})
    np.testing.assert_array_equal(Series.from_frame(frame).values, [[1, 1, 1], [2.5, 0, np.nan]])
    mixed = pd.DataFrame({"a": pd.Series([True, None, False], dtype=object), "b": [1, 2, 3]})
    np.testing.assert_array_equal(Series.from_frame(mixed).values[:, 0], [1, np.nan, 0])


def test_a_long_table_becomes_a_panel():
    rng = np.random.default_rng(0)
    names = ["pump", "fan", "belt"]
    parts = {}
    for number, name in enumerate(names):
        index = pd.date_range("2020", periods=20 + number, freq=f"{number + 1}h")
        parts[name] = pd.DataFrame({"id": name, "time": index, "v": rng.normal(size=len(index)).astype(np.float32)})
    order = rng.permutation(sum(map(len, parts.values())))
    long = pd.concat(parts.values(), ignore_index=True)
    panel = Panel.from_frame(long, id="id")
    assert panel.names == tuple(names)
    for name, part in parts.items():
        assert panel[name].values[:, 0].tolist() == part["v"].tolist()
        assert list(panel[name].index) == list(part["time"])
    assert [series.step for series in panel] == [pd.Timedelta(hours=hours) for hours in (1, 2, 3)]
    with pytest.raises(TimeAxisError, match=r"the origin, .*in line .*--order sort"):
        from_table(long.iloc[order], id="id", time="time", origin=Origin("the origin", "line {}".format))
    together = pd.concat([long] * 50, keys=range(50)).sort_values("time", kind="stable")
    turns = Panel.from_frame(together.drop(columns="time"), id="id", time=False)
    for name in names:
        assert turns[name].values[:, 0].tolist() == together["v"][together["id"] == name].tolist()
    mixed = Panel.from_frame(long.iloc[order], id="id", time="time", order="sort")
    for name in names:
        assert mixed[name].values.tolist() == panel[name].values.tolist()


def test_a_refusal_in_a_long_table_names_the_row_of_the_table():
    long = pd.DataFrame(
        {"id": list("abab"), "time": ["2020-01-02", "2020-01-01", "2020-01-01", "2020-01-02"], "v": 1.0}
    )
    with pytest.raises(TimeAxisError, match="series, a: 2020-01-01 00:00:00 in row 2 comes after 2020-01-02"):
        Panel.from_frame(long, id="id")
    with pytest.raises(DataError, match="column 'id' is empty in row 3"):
        Panel.from_frame(long.assign(id=["a", "b", "b", None], v=[1, 2, 3, 4]), id="id", time=False, drop="time")
