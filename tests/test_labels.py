from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from seqae.anomaly.metrics.labels import ColumnLabels, IntervalLabels, marks_of, nab_key, read_labels
from seqae.anomaly.metrics.rows import Table, read_parts, read_rows
from seqae.errors import DataError, OptionError, SeqaeWarning, TimeAxisError

HOURS = pd.date_range("2024-03-01", periods=48, freq="h")
ROWS = pd.RangeIndex(48)


def marked(*runs, length=48):
    marks = np.zeros(length, dtype=bool)
    for first, last in runs:
        marks[first : last + 1] = True
    return marks


def write(folder, text, name="labels.csv"):
    path = folder / name
    path.write_text(text)
    return path


def table(folder, name="labels.csv", *, stamps=HOURS, marks=None, **columns):
    frame = pd.DataFrame({} if stamps is None else {"timestamp": stamps.astype(str)})
    frame = frame.assign(**columns)
    frame["label"] = marked((5, 9), (30, 30)).astype(int) if marks is None else marks
    frame.to_csv(folder / name, index=False)
    return folder / name


def on(path, axis, **options):
    return read_labels(path, **options)[""].on(axis)


# ---- a column ----


@pytest.mark.parametrize("axis", [HOURS, ROWS])
@pytest.mark.parametrize("stamps", [HOURS, None])
def test_a_column_is_matched_by_stamp_or_by_number(tmp_path, axis, stamps):
    np.testing.assert_array_equal(on(table(tmp_path, stamps=stamps), axis), marked((5, 9), (30, 30)))


def test_stamps_decide_not_the_order(tmp_path):
    order = np.random.default_rng(0).permutation(48)
    path = table(tmp_path, stamps=HOURS[order], marks=marked((5, 9))[order].astype(int))
    np.testing.assert_array_equal(on(path, HOURS), marked((5, 9)))
    np.testing.assert_array_equal(on(path, HOURS[7:20]), marked((5, 9))[7:20])


def test_a_stamp_that_occurs_twice_is_anomalous_where_any_row_is(tmp_path):
    path = table(tmp_path, stamps=HOURS[[0, 1, 1, 2, 2]], marks=[0, 0, 1, 1, 0], value=[1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_array_equal(on(path, HOURS[:3]), [False, True, True])
    np.testing.assert_array_equal(read_labels(path)[""].values_on(HOURS[:3]), [[1.0], [3.0], [4.0]])


def test_the_same_instant_is_found_in_another_zone_and_resolution(tmp_path):
    path = table(tmp_path, stamps=HOURS.tz_localize("Europe/Berlin"))
    axis = HOURS.tz_localize("Europe/Berlin").tz_convert("UTC").as_unit("ns")
    np.testing.assert_array_equal(on(path, axis), marked((5, 9), (30, 30)))


def test_some_rows_of_the_labels_are_found_by_their_numbers(tmp_path):
    path = table(tmp_path, stamps=None, value=np.arange(48.0))
    found = read_labels(path)[""]
    np.testing.assert_array_equal(found.on(pd.RangeIndex(8, 40)), marked((5, 9), (30, 30))[8:40])
    np.testing.assert_array_equal(found.values_on(pd.RangeIndex(8, 40))[:, 0], np.arange(8.0, 40))


@pytest.mark.parametrize(
    "words", [("false", "true"), ("False", "True"), ("0", "1"), ("0.0", "1.0"), (" false", "TRUE ")]
)
def test_labels_are_zeros_and_ones_or_words(tmp_path, words):
    path = write(tmp_path, "anomaly\n" + "\n".join(words[one] for one in (0, 1, 1, 0)))
    np.testing.assert_array_equal(on(path, pd.RangeIndex(4)), [False, True, True, False])


@pytest.mark.parametrize("held", ["2", "yes", "", "0.5"])
def test_another_label_is_refused_with_its_row(tmp_path, held):
    with pytest.raises(DataError, match=r"column 'label' holds .* in row 2"):
        on(write(tmp_path, f"x,label\n1,0\n2,1\n3,{held}\n"), pd.RangeIndex(3))


def test_marks_of_bool_with_a_hole_are_refused():
    with pytest.raises(DataError, match="row 1"):
        marks_of(pd.Series([True, None, False], name="flag"), "t.csv")


@pytest.mark.parametrize(
    ("header", "column"),
    [("x,label", "label"), ("Label,x", "Label"), ("is_anomaly,label", "label"), ("x,outlier", "outlier")],
)
def test_the_column_is_found_by_its_name(tmp_path, header, column):
    other, path = next(one for one in header.split(",") if one != column), tmp_path / "t.csv"
    pd.DataFrame({column: [0, 1], other: [1, 0]})[header.split(",")].to_csv(path, index=False)
    np.testing.assert_array_equal(on(path, pd.RangeIndex(2)), [False, True])


def test_a_named_column_wins(tmp_path):
    path = write(tmp_path, "start,end,label,fault\n1,2,0,1\n3,4,1,0\n")
    np.testing.assert_array_equal(on(path, pd.RangeIndex(2), column="fault"), [True, False])
    with pytest.raises(DataError, match=r"no column 'fualt'.*start, end, label, fault"):
        on(path, pd.RangeIndex(2), column="fualt")


def test_a_table_without_labels_names_its_columns(tmp_path):
    with pytest.raises(DataError, match=r"looks like labels.*--label-column; the columns are a, b"):
        on(write(tmp_path, "a,b\n1,2\n"), pd.RangeIndex(1))


def test_the_numbers_beside_the_labels_are_the_values(tmp_path):
    path = table(tmp_path, a=np.arange(48), name_of=["x"] * 48, is_anomaly=[0] * 48, b=np.arange(48) / 2)
    found = read_labels(path)[""]
    np.testing.assert_array_equal(found.values_on(HOURS), np.stack([np.arange(48), np.arange(48) / 2], axis=1))
    assert read_labels(table(tmp_path))[""].values_on(HOURS) is None


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (pd.RangeIndex(47), "48 rows for 47 scores"),
        (
            pd.date_range("2024-03-02", periods=30, freq="h"),
            r"no row for 6 of 30 scored stamps, such as 2024-03-03 00:00",
        ),
        (HOURS + pd.Timedelta("1min"), "no row for 48 of 48"),
        (HOURS.tz_localize("UTC"), "only one of them has a time zone"),
        (pd.Index(np.arange(48) / 2), "dates meet numbers"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, axis, message):
    with pytest.raises(DataError, match=message):
        on(table(tmp_path), axis)


def test_numeric_stamps_need_their_unit(tmp_path):
    path = table(tmp_path, stamps=None, ts=HOURS.as_unit("s").asi8)
    with pytest.raises(TimeAxisError, match="--time-unit s"):
        on(path, HOURS.tz_localize("UTC"))
    expected = marked((5, 9), (30, 30))
    np.testing.assert_array_equal(on(path, HOURS.tz_localize("UTC"), time_unit="s"), expected)
    np.testing.assert_array_equal(on(path, pd.Index(HOURS.as_unit("s").asi8), likely="ts"), expected)
    np.testing.assert_array_equal(on(path, HOURS, time=False), expected)
    with pytest.raises(DataError, match="no column 'tt'"):
        on(path, HOURS, time="tt")


# ---- intervals ----


def test_intervals_of_stamps_hold_both_ends(tmp_path):
    path = write(tmp_path, "start,end,why\n2024-03-01 05:00,2024-03-01 09:00,a\n2024-03-02 06:00,2024-03-02 06:00,b\n")
    np.testing.assert_array_equal(on(path, HOURS), marked((5, 9), (30, 30)))
    between = write(tmp_path, "Start,End\n2024-03-01T04:30:00,2024-03-01T09:59:59.999\n")
    np.testing.assert_array_equal(on(between, HOURS), marked((5, 9)))


@pytest.mark.parametrize("axis", [ROWS, HOURS])
def test_intervals_of_numbers_are_rows(tmp_path, axis):
    path = write(tmp_path, "start,end\n5,9\n30,30\n8,10\n")
    np.testing.assert_array_equal(on(path, axis), marked((5, 10), (30, 30)))


def test_intervals_of_numbers_are_times_on_a_numeric_axis(tmp_path):
    path = write(tmp_path, "start,end\n2.5,4.6\n")
    np.testing.assert_array_equal(on(path, pd.Index(np.arange(48) / 2)), marked((5, 9)))


def test_row_numbers_count_from_the_first_scored_row(tmp_path):
    path = write(tmp_path, "start,end\n12,13\n")
    np.testing.assert_array_equal(on(path, pd.RangeIndex(10, 20)), marked((2, 3), length=10))


def test_an_interval_without_a_row_is_said(tmp_path):
    path = write(tmp_path, "start,end\n5,9\n100,110\n")
    with pytest.warns(SeqaeWarning, match="1 of 2 intervals hold no scored row"):
        np.testing.assert_array_equal(on(path, ROWS), marked((5, 9)))


@pytest.mark.parametrize(
    ("text", "axis", "message"),
    [
        ("start,end\n100,110\n", ROWS, "no scored row lies in an interval; they are 100 to 110, the scores 0 to 47"),
        ("start,end\n2023-01-01,2023-01-02\n", HOURS, "no scored row"),
        ("start,end\n2024-03-01 05:00,2024-03-01 09:00\n", ROWS, "intervals of stamps"),
        ("start,end\n2024-03-01T05:00Z,2024-03-01T09:00Z\n", HOURS, "time zone"),
        ("start,end\n9,5\n", ROWS, "row 0 ends at 5, before it starts at 9"),
        ("start,end\n5,\n", ROWS, "no stamp in row 0"),
        ("start,end\nlately,now\n", HOURS, "lately"),
        ("start,end\n", ROWS, "has no rows"),
    ],
)
def test_bad_intervals_are_refused(tmp_path, text, axis, message):
    with pytest.raises(DataError, match=message):
        on(write(tmp_path, text), axis)


# ---- NAB ----

NAB = {
    "realTweets/Twitter_volume_AAPL.csv": [["2024-03-01 05:00:00.000000", "2024-03-01 09:00:00.000000"]],
    "realTweets/Twitter_volume_AMZN.csv": [["2024-03-02 06:00:00.000000", "2024-03-02 06:30:00.000000"]],
    "artificialNoAnomaly/art_flatline.csv": [],
    "other/art_flatline.csv": [[2, 3]],
}


def nab(folder, held=NAB):
    return write(folder, json.dumps(held), "combined_windows.json")


@pytest.mark.parametrize(
    "key",
    [
        "realTweets/Twitter_volume_AAPL.csv",
        "Twitter_volume_AAPL.csv",
        "Twitter_volume_AAPL",
        "Twitter_volume_AAPL.csv.gz",
    ],
)
def test_nab_windows_are_found_by_key_or_its_end(tmp_path, key):
    np.testing.assert_array_equal(on(nab(tmp_path), HOURS, key=key), marked((5, 9)))


def test_nab_series_without_an_anomaly_are_normal(tmp_path):
    assert not on(nab(tmp_path), HOURS, key="artificialNoAnomaly/art_flatline.csv").any()


def test_several_series_are_found_by_their_names(tmp_path):
    found = read_labels(nab(tmp_path), series=["Twitter_volume_AMZN", "Twitter_volume_AAPL"])
    np.testing.assert_array_equal(found["Twitter_volume_AMZN"].on(HOURS), marked((30, 30)))
    np.testing.assert_array_equal(found["Twitter_volume_AAPL"].on(HOURS), marked((5, 9)))


def test_the_only_entry_and_a_bare_list_need_no_key(tmp_path):
    pairs = [[5, 9], [30, 30]]
    np.testing.assert_array_equal(on(nab(tmp_path, {"a.csv": pairs}), ROWS), marked((5, 9), (30, 30)))
    np.testing.assert_array_equal(on(nab(tmp_path, pairs), ROWS), marked((5, 9), (30, 30)))


def test_an_unknown_key_lists_the_near_ones():
    with pytest.raises(DataError, match=r"no entry for 'Twiter_AAPL'.*--key: realTweets/Twitter_volume_AAPL.csv"):
        nab_key(NAB, "Twiter_AAPL", "w.json")
    with pytest.raises(DataError, match=r"2 entries for 'art_flatline'.*artificialNoAnomaly/.*other/"):
        nab_key(NAB, "art_flatline", "w.json")
    with pytest.raises(DataError, match="such as realTweets"):
        nab_key(NAB, "zzz", "w.json")
    with pytest.raises(DataError, match="no entry for 'volume_AAPL'"):
        nab_key(NAB, "volume_AAPL", "w.json")


@pytest.mark.parametrize(
    ("held", "options", "message"),
    [
        (NAB, {}, "labels of 4 files"),
        ({}, {}, "NAB's form"),
        (3, {}, "NAB's form"),
        ({"a": [[1, 2, 3]]}, {}, "pairs"),
        ({"a": [[3, 1]]}, {}, "pair 0 ends at 1"),
        (NAB, {"column": "label"}, "--label-column"),
        (NAB, {"key": "art_flatline", "series": ["a", "b"]}, "several"),
    ],
)
def test_bad_json_is_refused(tmp_path, held, options, message):
    with pytest.raises((DataError, OptionError), match=message):
        read_labels(nab(tmp_path, held), **options)


def test_text_that_is_no_json_and_files_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_labels(write(tmp_path, "{", "x.json"))
    for name in ("none.json", "none.csv"):
        with pytest.raises(DataError, match="There is no file"):
            read_labels(tmp_path / name)
    with pytest.raises(OptionError, match="--key"):
        read_labels(table(tmp_path), key="a")


# ---- several series ----


def test_a_long_table_is_parted_by_its_series(tmp_path):
    path = tmp_path / "long.csv"
    frame = pd.DataFrame({"pump": ["a", "b"] * 4, "label": [0, 1, 0, 0, 1, 0, 0, 1]})
    frame.to_csv(path, index=False)
    found = read_labels(path, series=["b", "a"], id="pump")
    np.testing.assert_array_equal(found["a"].on(pd.RangeIndex(4)), [False, False, True, False])
    np.testing.assert_array_equal(found["b"].on(pd.RangeIndex(4)), [True, False, False, True])
    assert isinstance(found["a"], ColumnLabels)
    with pytest.raises(DataError, match="no row for the series 'c'"):
        read_labels(path, series=["a", "c"], id="pump")
    with pytest.raises(DataError, match="--id; the columns are pump, label"):
        read_labels(path, series=["a"], id="series")


def test_a_series_without_an_interval_is_normal(tmp_path):
    path = write(tmp_path, "series,start,end\na,5,9\na,30,30\n")
    found = read_labels(path, series=["a", "b"], id="series")
    np.testing.assert_array_equal(found["a"].on(ROWS), marked((5, 9), (30, 30)))
    assert isinstance(found["b"], IntervalLabels)
    assert not found["b"].on(ROWS).any()
    with pytest.raises(DataError, match="any of the series c"):
        read_labels(path, series=["c"], id="series")


def test_a_folder_has_a_file_for_each_series(tmp_path):
    table(tmp_path, "a.csv", marks=marked((5, 9)).astype(int))
    table(tmp_path, "b.csv", marks=marked((2, 3)).astype(int))
    found = read_labels(tmp_path, series=["a", "b"])
    np.testing.assert_array_equal(found["b"].on(HOURS), marked((2, 3)))
    with pytest.raises(DataError, match=r"no file for the series 'c'. It has a, b"):
        read_parts(tmp_path, ["c"])


# ---- tables ----


def test_tables_of_every_kind_hold_the_same_rows(tmp_path):
    frame = pd.DataFrame({"score": [0.5, np.nan, 2.0], "x": [1, 2, 3]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    (tmp_path / "t.json").write_text('[{"score": 0.5, "x": 1}, {"score": null, "x": 2}, {"score": 2.0, "x": 3}]')
    names = ["t.csv", "t.tsv", "t.csv.gz", "t.json"]
    try:
        frame.to_parquet(tmp_path / "t.parquet")
        names.append("t.parquet")
    except ImportError:
        pass
    for name in names:
        pd.testing.assert_frame_equal(read_rows(tmp_path / name), frame)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "cannot be read"),
        ("t.csv", b"a,b\n", "no rows"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", "cannot be read"),
        ("t.csv", b"a\n\xff\xfe\n", "cannot be read"),
        ("t.csv.gz", b"a,b\n1,2\n", "cannot be read"),
        ("t.parquet", b"a,b\n1,2\n", "cannot be read"),
        ("t.json", b'{"a": 1}', "is no table"),
        ("t.json", b"[1, 2]", "is no table"),
    ],
)
def test_a_damaged_table_is_refused_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as refused:
        read_rows(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(DataError, match="folder"):
        read_rows(tmp_path)


def test_the_axis_is_the_row_numbers_where_a_table_has_them():
    found = Table.of(pd.DataFrame({"row": [4, 5, 6], "score": [1.0, 2.0, 3.0]}), "t")
    assert found.axis.equals(pd.RangeIndex(4, 7))
    with pytest.raises(DataError, match="count up"):
        Table.of(pd.DataFrame({"row": [4, 6, 5]}), "t")
