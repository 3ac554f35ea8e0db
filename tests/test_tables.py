"""Files as series: what is in the file comes out, or one line says where it does not fit and what to do."""

import gzip
import os
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqae.datasets.tables import read_csv, read_parquet, read_table
from seqae.errors import DataError, OptionError, SeqaeWarning, TimeAxisError
from seqae.series import Panel, Series

DATA = Path(os.environ.get("SEQAE_DATA", Path(__file__).parents[2] / "shared" / "data"))
NAB = sorted((DATA / "nab" / "data").glob("*/*.csv"))
LABELLED = sorted((DATA / "labelled").glob("*/*.csv.gz"))


@pytest.fixture
def write(tmp_path):
    """Write text or bytes to a file and return its path."""

    def write(content, name="pump.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# ---- what is read ----


@pytest.mark.parametrize(
    ("text", "options", "truth"),
    [
        ("a,b\n1,2\n3,\n", {}, [[1, 2], [3, np.nan]]),
        ("a,b\r\n1,2\r\n3,4\r\n", {}, [[1, 2], [3, 4]]),
        ("a,b\r1,2\r3,4\r", {}, [[1, 2], [3, 4]]),
        ("\ufeffa,b\n1,2", {}, [[1, 2]]),
        ("\n\na,b\n\n1,2\n   \n3,4\n\n", {}, [[1, 2], [3, 4]]),
        ("v\n1\n\n3\n", {}, [[1], [np.nan], [3]]),
        ("v\r\n1\r\n\r\n3\r\n\r\n", {}, [[1], [np.nan], [3]]),
        ('v\n1\n""\n3\n', {}, [[1], [np.nan], [3]]),
        ("a;b\n1,5;2\n", {"delimiter": ";", "decimal": ","}, [[1.5, 2]]),
        ('a,b\n"1,5","-2,25"\n"3,0","4"\n', {"delimiter": ",", "decimal": ","}, [[1.5, -2.25], [3, 4]]),
        ("a\tb\n1\t2\n", {"delimiter": "tab"}, [[1, 2]]),
        ("a\tb\n1\t2\n\t\n\n3\t\n", {"delimiter": "tab"}, [[1, 2], [np.nan, np.nan], [3, np.nan]]),
        ("a|b\n1e3|-.5\n", {"delimiter": "|"}, [[1000, -0.5]]),
        ('a,"b ""x"", y"\n"1",2\n', {}, [[1, 2]]),
        ("a, b\n 1, 2\n", {}, [[1, 2]]),
        ("a,b,\n1,2,\n", {}, [[1, 2]]),
        ("0,1\n5,6\n", {}, [[5, 6]]),
        (",a\n0,5\n1,6\n", {"drop": "column-1"}, [[5], [6]]),
        ("a,b\nNA,1\nnull,2\n#N/A,3\n", {}, [[np.nan, 1], [np.nan, 2], [np.nan, 3]]),
        ("a,b\nTrue,1\nFalse,2\n", {}, [[1, 1], [0, 2]]),
        ("größe,温度\n1,2\n", {}, [[1, 2]]),
        ("a,b\n-9999,1\n-9999.0,off\n3,-999\n", {"na_values": "-9999,off"}, [[np.nan, 1], [np.nan] * 2, [3, -999]]),
        ("a,b\n1e30,1\n2,off \n", {"na_values": [1e30, "off"]}, [[np.nan, 1], [2, np.nan]]),
        ("a,b\n5,1\n6,2\n", {"na_values": -9999}, [[5, 1], [6, 2]]),
    ],
)
def test_text_is_read_as_it_stands(write, text, options, truth):
    series = read_csv(write(text), **options)
    np.testing.assert_array_equal(series.values, np.array(truth, dtype=np.float32))
    assert series.index is None
    assert series.present is None
    assert series.name == "pump"


def test_missing_values_of_channels_alone_have_other_names(write):
    text = "time,v,label,load\n1,-1,1,-1\n2,5,0,0\n3,-1,0,7\n"
    series = read_csv(write(text), time="time", covariates="load", na_values="-1")
    np.testing.assert_array_equal(series.values[:, 0], [np.nan, 5, np.nan])
    assert series.covariates["load"].tolist() == [-1, 0, 7]
    with pytest.raises(DataError, match="every value of v is missing"):
        read_csv(write("v\n-1\n-1\n"), na_values=-1)


def test_header_names_are_kept(write):
    assert read_csv(write('größe, "b ""x"", y",c d\n1,2,3\n')).channels == ("größe", 'b "x", y', "c d")


def test_gzip_is_seen_by_content(write):
    text = "timestamp,v\n2020-01-01,1\n2020-01-02,2\n"
    for name in ("pump.csv.gz", "pump.csv"):
        series = read_csv(write(gzip.compress(text.encode()), name))
        assert (series.name, series.values[:, 0].tolist()) == ("pump", [1, 2])
    assert read_csv(write(gzip.compress(text.encode()), "fan.csv.gz")).name == "fan"


def test_standard_input_is_read():
    code = "import seqae.datasets as d; s = d.read_table('-'); print(s.name, s.values[:, 0].tolist(), s.step)"
    given = b"timestamp,v\n2020-01-01,1\n2020-01-02,2\n"
    result = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, check=True)
    assert result.stdout.decode().split("\n")[0] == "series [1.0, 2.0] 1 days 00:00:00"


def test_a_file_with_everything(write):
    text = (
        "timestamp,machine,temp,mode,note,label\n"
        "2021-10-31T02:30:00+02:00,007,1.5,on,x,0\n"
        "2021-10-31T02:30:00+02:00,008,2.5,on,x,0\n"
        "2021-10-31T02:30:00+01:00,007,,off,x,1\n"
        "2021-10-31T02:30:00+01:00,008,4.5,off,x,0\n"
        "2021-10-31T04:30:00+01:00,007,7.5,off,x,0\n"
    )
    panel = read_csv(write(text), id="machine", covariates=["mode"], drop="note", tz="Europe/Berlin")
    assert isinstance(panel, Panel)
    assert panel.names == ("007", "008")
    series = panel["007"]
    assert series.step == pd.Timedelta("1h")
    assert [stamp.isoformat() for stamp in series.index] == [
        "2021-10-31T02:30:00+02:00",
        "2021-10-31T02:30:00+01:00",
        "2021-10-31T03:30:00+01:00",
        "2021-10-31T04:30:00+01:00",
    ]
    np.testing.assert_array_equal(series.values[:, 0], [1.5, np.nan, np.nan, 7.5])
    assert series.present.tolist() == [True, True, False, True]
    assert series.labels.tolist() == [False, True, False, False]
    assert series.covariates["mode"].fillna("").tolist() == ["on", "off", "", "off"]
    assert panel["008"].values[:, 0].tolist() == [2.5, 4.5]


def test_written_and_read_back(write, tmp_path):
    """What pandas wrote is what comes back: values bit for bit, stamps in every resolution and zone."""
    rng = np.random.default_rng(0)
    for index in (
        pd.date_range("2021-10-30", periods=5000, freq="1min", tz="Europe/Berlin"),
        pd.date_range("2021-10-30", periods=5000, freq="1ms"),
        pd.date_range("2021-10-30", periods=5000, freq="17us", tz="UTC"),
        pd.date_range("1700-01-01", periods=3000, freq="MS", unit="s"),
    ):
        frame = pd.DataFrame(rng.normal(size=(len(index), 20)).astype(np.float32), index=index)
        frame = frame.rename(columns="c{}".format).mask(rng.random(frame.shape) < 0.05)
        frame.to_csv(tmp_path / "x.csv", index_label="when")
        series = read_csv(tmp_path / "x.csv", tz=str(index.tz) if index.tz is not None else None)
        np.testing.assert_array_equal(series.values, frame.to_numpy())
        assert list(series.index) == list(index)
        assert series.present is None


# ---- what is refused, and that the cure works ----


REFUSED = {
    "empty": ("", {}, DataError, "pump.csv is empty"),
    "blank": ("\n \n", {}, DataError, "is empty"),
    "only a header": ("a,b\n", {}, DataError, "has a header and no rows"),
    "only one name": ("a\n\n", {}, DataError, "has a header and no rows"),
    "no header": ("1.5,2\n3,4\n", {}, DataError, "has no header: line 1 is '1.5,2'"),
    "no header, dates": ("2020-01-01,2\n2020-01-02,4\n", {}, DataError, "has no header"),
    "no header, one column": ("1\n2\n", {}, DataError, "has no header"),
    "duplicate names": ("a,b,a\n1,2,3\n", {}, DataError, "more than one column 'a' in its header"),
    "nameless numbers": (",a\n0,5\n1,6\n", {}, DataError, "column-1 has no name.*--drop 'column-1'"),
    "semicolons": ("a;b\n1;2\n", {}, DataError, "one column.*'a;b'. Use --delimiter ';'"),
    "tabs": ("a\tb\n1\t2\n", {}, DataError, "Use --delimiter tab"),
    "bars": ("a|b\n1|2\n", {}, DataError, r"Use --delimiter '\|'"),
    "commas": ("a,b\n1,2\n", {"delimiter": ";"}, DataError, "Use --delimiter ','"),
    "short line": ("a,b\n1,2\n\n3\n", {}, DataError, "line 4 has 1 fields, the header has 2"),
    "long line": ("a,b\n1,2\n3,4,5\n", {}, DataError, "line 3 has 3 fields, the header has 2"),
    "long line in one column": ("a\n1\n3,4\n", {}, DataError, "line 3 has 2 fields, the header has 1"),
    "short quoted line": ('a,b\n"1\n0",2\n3\n', {}, DataError, "line 4 has 1 fields"),
    "open quote": ('a,b\n1,"2\n3,4\n', {}, DataError, "from line 2 on.*quotes"),
    "text": ("a,b\n1,2\nx,4\n", {}, DataError, "'x' in line 3, not a number. Use --na-values x .*--drop a"),
    "text after blanks": ("\na,b\n\n1,2\n\nx,4\n", {}, DataError, "'x' in line 6"),
    "text after breaks": ('a,n\n1,"x\ny\nz"\nq,w\n', {"drop": "n"}, DataError, "'q' in line 5"),
    "text after empty fields": ("a\tb\n\t\nx\t2\n", {"delimiter": "tab"}, DataError, "'x' in line 3"),
    "text in one column": ("v\n1\n\nx\n", {}, DataError, "'x' in line 4"),
    "decimal commas": ("a;b\n1;2\n1,5;2\n", {"delimiter": ";"}, DataError, "'1,5' in line 3.*Use --decimal ','"),
    "infinite": ("a,b\n1,2\n3,-inf\n", {}, DataError, "'b' holds -inf in line 3"),
    "too large": ("a,b\n1,2\n3,1e400\n", {}, DataError, "'b' holds (inf|'1e400') in line 3"),
    "nothing but gaps": ("a,b\n,\nNA,NaN\n", {}, DataError, "every value of a, b is missing"),
    "no such column": ("a,b\n1,2\n", {"columns": "c"}, DataError, "no column 'c'.*the columns are a, b"),
    "two roles": ("a,b\n1,2\n", {"columns": "a", "drop": "a"}, OptionError, "both --columns and --drop"),
    "nothing left": ("t,b\n2020-01-01,2\n", {"drop": "b"}, DataError, "no column left"),
    "bad label": ("a,label\n1,0\n2,7\n", {}, DataError, "label column 'label' holds '7' in line 3"),
    "missing label": ("a,label\n1,0\n2,\n", {}, DataError, "label column 'label' holds 'nan' in line 3"),
    "zone without time": ("a\n1\n", {"tz": "UTC"}, OptionError, "no time axis, which --tz UTC needs"),
    "bad stamp": ("time,v\n2020-01-01,1\n2020-02-30,2\n", {}, TimeAxisError, "'2020-02-30' in line 3, column 'time'"),
    "no stamp": ("time,v\n2020-01-01,1\n,2\n", {}, TimeAxisError, "has no stamp in line 3"),
    "epoch": ("ts,v\n1609459200,1\n", {}, TimeAxisError, "--time ts --time-unit s .*or --drop ts"),
    "unsorted": ("t,v\n2020-01-02,1\n2020-01-01,2\n", {}, TimeAxisError, "in line 3 comes after.*--order sort"),
    "repeated": ("t,v\n2020-01-01,1\n2020-01-01,2\n", {}, TimeAxisError, "in line 3 occurs.*--duplicates mean"),
    "in one series": (
        "i,t,v\nA,2020-01-02,1\nB,2020-01-01,1\nA,2020-01-01,2\n",
        {"id": "i"},
        TimeAxisError,
        "A: .*line 4",
    ),
    "no id": ("i,v\nA,1\n,1\n", {"id": "i"}, DataError, "column 'i' is empty in line 3"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), {}, DataError, "is not UTF-8.*iconv -f UTF-16"),
    "UTF-16 without mark": ("a,b\n1,2\n".encode("utf-16-le"), {}, DataError, "iconv -f UTF-16"),
    "Windows": ("a,b\n1,2\nü,2\n".encode("cp1252"), {}, DataError, "0xfc in line 3.*iconv -f CP1252"),
    "Latin 1": ("a,\x81\xfc\n1,2\n".encode("latin-1"), {}, DataError, "line 1.*iconv -f ISO-8859-1"),
    "Parquet": (b"PAR1....", {}, DataError, "a Parquet file: use read_parquet"),
    "Excel": (b"PK\x03\x04....", {}, DataError, "a ZIP or Excel file"),
    "gzip cut short": (gzip.compress(b"a,b\n" + b"1,2\n" * 999)[:-9], {}, DataError, "cut short or damaged"),
    "gzip damaged": (b"\x1f\x8b nothing", {}, DataError, "cut short or damaged"),
    "delimiter": ("a,b\n1,2\n", {"delimiter": ";;"}, OptionError, "Use one character"),
    "decimal": ("a,b\n1,2\n", {"decimal": "'"}, OptionError, "'.' or ',' for decimals"),
    "decimal commas without quotes": ("a,b\n1,5,2\n", {"decimal": ","}, DataError, "line 2 has 3 fields"),
    "words amid numbers": ("a,b\n1,2\n1,off\n", {}, DataError, "--na-values off if that means a missing value"),
    "a column twice": ("a,b\n1,2\n", {"columns": "a,a"}, OptionError, "--columns names 'a' twice"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_where_and_what_to_do(write, case):
    content, options, error, message = REFUSED[case]
    with pytest.raises(error, match=message) as refusal:
        read_csv(write(content), **options)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize(
    ("text", "cure", "truth"),
    [
        ("a;b\n1;2\n", {"delimiter": ";"}, [[1, 2]]),
        ("a;b\n1,5;2\n", {"delimiter": ";", "decimal": ","}, [[1.5, 2]]),
        ('a,b\n"1,5","-2,25"\n"3,0","4"\n', {"delimiter": ",", "decimal": ","}, [[1.5, -2.25], [3, 4]]),
        ("a,b\n1,2\nx,4\n", {"drop": "a"}, [[2], [4]]),
        ("a,b\n1,2\nx,4\n", {"covariates": "a"}, [[2], [4]]),
        ("ts,v\n1609459200,1\n", {"time": "ts", "time_unit": "s"}, [[1]]),
        ("ts,v\n1609459200,1\n", {"drop": "ts"}, [[1]]),
        ("ts,v\n0.5,1\n1.5,2\n", {"time": "ts"}, [[1], [2]]),
        ("date,v\n01022020,1\n02022020,2\n", {"time": "date", "time_format": "%d%m%Y"}, [[1], [2]]),
        ("t,v\n01/02/2020,1\n02/02/2020,2\n", {"time_format": "%d/%m/%Y"}, [[1], [2]]),
        ("t,v\n2020-01-02,1\n2020-01-01,2\n", {"order": "sort"}, [[2], [1]]),
        ("t,v\n2020-01-01,1\n2020-01-01,2\n2020-01-02,5\n", {"duplicates": "mean"}, [[1.5], [5]]),
        ("a,label\n1,0\n2,7\n", {"columns": "a,label"}, [[1, 0], [2, 7]]),
        ("a,label\n1,0\n2,7\n", {"drop": "label"}, [[1], [2]]),
        ("D,T,v\n2020-01-01,00:00,1\n2020-01-01,00:01,2\n", {"time": "D+T"}, [[1], [2]]),
    ],
)
def test_cures_work(write, text, cure, truth):
    path = write(text)
    first = dict(list(cure.items())[: 0 if "decimal" not in cure else 1])
    with pytest.raises((DataError, OptionError)):
        read_csv(path, **first)
    assert read_csv(path, **cure).values.tolist() == truth


def test_paths_that_are_no_file(tmp_path):
    with pytest.raises(DataError, match=r"There is no file .*absent.csv. Check the path"):
        read_csv(tmp_path / "absent.csv")
    with pytest.raises(DataError, match=r"is a folder. Use read_table"):
        read_csv(tmp_path)
    with pytest.raises(DataError, match=r"is a folder without data.*\.parquet"):
        read_table(tmp_path)
    (tmp_path / "pump.csv.gz").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(DataError, match=r"pump.csv.gz is not gzip, though it ends in .gz"):
        read_csv(tmp_path / "pump.csv.gz")


def test_line_numbers_hold_over_many_blocks(write, monkeypatch):
    """The count of fields goes block by block; a block that ends inside a line must not matter."""
    rng = np.random.default_rng(0)
    lines = ["a,b,c"]
    for _ in range(400):
        lines += [""] * (rng.random() < 0.1) + [",".join(str(x) for x in rng.integers(0, 10 ** rng.integers(1, 9), 3))]
    for broken in (1, 137, len(lines) - 1):
        while not lines[broken]:
            broken += 1
        text = "\n".join([*lines[:broken], lines[broken] + ",7", *lines[broken + 1 :]])
        for block in (1, 7, 64, 1 << 20):
            monkeypatch.setattr("seqae.datasets.rows._BLOCK", block)
            with pytest.raises(DataError, match=f"line {broken + 1} has 4 fields"):
                read_csv(write(text))


# ---- folders, Parquet ----


def test_a_folder_is_a_panel(write, tmp_path):
    write("time,a,b\n2020-01-01,1,2\n2020-01-02,3,4\n", "fan.csv")
    write("b\ta\ttime\n2\t1\t2020-01-01\n", "pump.tsv")
    write(gzip.compress(b"time,a,b\n2020-01-01,5,6\n"), "belt.csv.gz")
    write("not data", ".hidden.csv")
    write("not data", "notes.txt")
    panel = read_table(tmp_path)
    assert panel.names == ("belt", "fan", "pump")
    assert panel.channels == ("a", "b")
    assert panel["pump"].values.tolist() == [[1, 2]]
    assert read_table(tmp_path, columns=["b"]).channels == ("b",)
    with pytest.raises(OptionError, match=r"one series per file. Use --id for one long table only"):
        read_table(tmp_path, id="a")
    write("time,a\n2020-01-01,5\n", "other.csv")
    with pytest.raises(DataError, match=r"other has the channels a; belt has a, b.*--columns"):
        read_table(tmp_path)
    write("time,a,b\n2020-01-01,x,6\n", "other.csv")
    with pytest.raises(DataError, match=r"other.csv: column 'a' holds 'x' in line 2"):
        read_table(tmp_path)


def test_files_of_a_folder_that_cannot_be_read_are_left_out_where_asked(tmp_path):
    for name, text in {
        "a": "x,y\n1,2\n", "b": "y,x\n3,4\n", "broken": "x,y\n1\n", "empty": "", "other": "x,z\n1,2\n"
    }.items():  # fmt: skip
        (tmp_path / f"{name}.csv").write_text(text)
    with pytest.raises(DataError, match=r"^broken\.csv: line 2 has 1 fields"):
        read_table(tmp_path)
    with pytest.warns(SeqaeWarning) as told:
        panel = read_table(tmp_path, leave_out=True)
    assert (panel.names, panel.channels) == (("a", "b"), ("x", "y"))
    assert panel["b"].values.tolist() == [[4, 3]]
    assert [str(one.message).split()[:3] for one in told] == [
        ["left", "out:", "broken.csv:"], ["left", "out:", "empty.csv"], ["left", "out:", "other.csv"]
    ]  # fmt: skip
    for name in ("a", "b", "other"):
        (tmp_path / f"{name}.csv").unlink()
    with pytest.raises(DataError, match=r"^broken\.csv: line 2"):
        read_table(tmp_path, leave_out=True)


def test_parquet_reads_as_csv_does(tmp_path):
    pytest.importorskip("pyarrow")
    index = pd.date_range("2021-10-30", periods=50, freq="h", tz="Europe/Berlin", name="when")
    frame = pd.DataFrame({"v": np.arange(50.0), "w": np.nan, "label": np.arange(50) == 7, "mode": "on"}, index=index)
    frame.drop(index=index[20:23]).to_parquet(tmp_path / "pump.parquet")
    frame.drop(index=index[20:23]).to_csv(tmp_path / "pump.csv")
    stored = read_table(tmp_path / "pump.parquet", covariates="mode", delimiter=",")
    text = read_table(tmp_path / "pump.csv", covariates="mode", tz="Europe/Berlin")
    for series in (stored, text):
        assert isinstance(series, Series)
        assert series.name == "pump"
        assert series.index.equals(index)
        assert series.present.tolist() == [row not in (20, 21, 22) for row in range(50)]
        assert series.labels.nonzero()[0].tolist() == [7]
    np.testing.assert_array_equal(stored.values, text.values)
    by_id = frame.reset_index().assign(id=np.repeat(["a", "b"], 25))
    by_id.to_parquet(tmp_path / "long.parquet")
    assert [len(series) for series in read_parquet(tmp_path / "long.parquet", id="id", drop="mode")] == [25, 25]


def test_parquet_refusals(write, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    pd.DataFrame({"v": [1.0, np.inf]}).to_parquet(tmp_path / "inf.parquet")
    with pytest.raises(DataError, match=r"inf.parquet: column 'v' holds inf in row 1"):
        read_table(tmp_path / "inf.parquet")
    cut = (tmp_path / "inf.parquet").read_bytes()[:-9]
    for content, message in (
        (b"", "is empty"),
        (cut, "no Parquet file, or is cut short"),
        (b"a,b\n1,2\n", "cut short"),
    ):
        with pytest.raises(DataError, match=message):
            read_parquet(write(content, "x.parquet"))
    with pytest.raises(DataError, match="There is no file"):
        read_parquet(tmp_path / "absent.parquet")
    with pytest.raises(OptionError, match="has no --delimiter"):
        read_table(tmp_path / "inf.parquet", delimiter=";")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OptionError, match="pip install pyarrow"):
        read_parquet(tmp_path / "inf.parquet")


# ---- real files ----


def naive(path):
    """The file's stamps and values, by the csv module and datetime alone."""
    import csv
    from datetime import datetime

    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [datetime.fromisoformat(row["timestamp"]) for row in rows], [float(row["value"]) for row in rows]


@pytest.mark.skipif(not NAB, reason="no NAB files under SEQAE_DATA")
@pytest.mark.parametrize("path", NAB, ids=[path.stem for path in NAB])
@pytest.mark.filterwarnings("ignore::seqae.errors.SeqaeWarning")
def test_every_nab_file_is_read_or_its_cure_is(path):
    stamps, values = naive(path)
    steps = np.array([(after - before).total_seconds() for before, after in pairwise(stamps)])
    try:
        series = read_csv(path)
    except TimeAxisError as refusal:
        # Refused only where it must be: disorder, a repeated stamp, or a step that is no multiple of the usual one.
        usual = np.unique(steps)[np.unique(steps, return_counts=True)[1].argmax()]
        assert (steps <= 0).any() or (steps % usual != 0).any()
        cure = dict(re.findall(r"--(order|duplicates|resample) (\w+)", str(refusal).split(" or --irregular")[0]))
        assert cure
        series = read_csv(path, **cure)
        assert series.step is not None
        if "resample" not in cure:
            truth = pd.Series(values, index=stamps).groupby(level=0).mean()
            np.testing.assert_allclose(series.values[series.index.isin(truth.index), 0], truth, rtol=1e-6)
        else:
            truth = pd.Series(values, index=pd.DatetimeIndex(stamps)).resample(cure["resample"]).mean()
            np.testing.assert_allclose(series.values[:, 0], truth.to_numpy(), rtol=1e-6)
        return
    given = np.ones(len(series), dtype=bool) if series.present is None else series.present
    assert list(series.index[given].to_pydatetime()) == stamps
    np.testing.assert_array_equal(series.values[given, 0], np.array(values, dtype=np.float32))
    assert np.isnan(series.values[~given]).all()
    assert set(np.diff(series.index.asi8)) == {np.diff(series.index.asi8).min()}


@pytest.mark.skipif(not NAB, reason="no NAB files under SEQAE_DATA")
def test_which_nab_files_need_a_cure():
    refused = {}
    for path in NAB:
        if "realTweets" in str(path) or "artificial" in str(path):
            continue
        try:
            read_csv(path, irregular="keep")
        except TimeAxisError as refusal:
            refused[path.stem] = str(refusal)
    assert sorted(refused) == [
        "ec2_disk_write_bytes_1ef3de",
        "ec2_network_in_5abac7",
        "ec2_request_latency_system_failure",
        "exchange-2_cpc_results",
        "exchange-2_cpm_results",
        "machine_temperature_system_failure",
        "occupancy_t4013",
        "speed_t4013",
    ]
    assert "line 10151" in refused["machine_temperature_system_failure"]
    assert "line 2121 occurs more than once (rows that repeat a stamp: 11)" in refused["ec2_disk_write_bytes_1ef3de"]


@pytest.mark.skipif(not LABELLED, reason="no labelled files under SEQAE_DATA")
@pytest.mark.parametrize("path", LABELLED[::3], ids=[path.name for path in LABELLED[::3]])
def test_labelled_files_keep_labels_apart(path):
    series = read_table(path)
    truth = pd.read_csv(path)
    np.testing.assert_array_equal(series.values, truth.drop(columns="label").to_numpy(dtype=np.float32))
    assert series.labels.tolist() == (truth["label"] == 1).tolist()
    assert series.labels.any()
    assert series.channels == tuple(truth.columns[:-1])
    assert series.index is None


def test_missing_values_of_water_quality():
    path = DATA / "labelled" / "gecco" / "water_quality.csv.gz"
    if not path.exists():
        pytest.skip("no gecco file under SEQAE_DATA")
    series = read_csv(path)
    empty = sum(
        field == "" for line in gzip.decompress(path.read_bytes()).decode().splitlines() for field in line.split(",")
    )
    assert (~series.observed).sum() == empty > 0


@pytest.mark.slow
def test_a_million_rows_take_seconds(tmp_path):
    index = pd.date_range("2021-10-01", periods=10**6, freq="2s", tz="Europe/Berlin")
    values = np.random.default_rng(0).normal(size=10**6).round(3)
    stamps = np.datetime_as_string(index.tz_localize(None).to_numpy(), "ms")
    pd.DataFrame({"time": stamps, "v": values}).to_csv(tmp_path / "long.csv", index=False)
    start = time.perf_counter()
    series = read_csv(tmp_path / "long.csv", tz="Europe/Berlin")
    seconds = time.perf_counter() - start
    assert series.index.equals(index)
    np.testing.assert_array_equal(series.values[:, 0], values.astype(np.float32))
    assert seconds < 20, "about 2 s on an idle machine"


def test_the_public_face_is_lazy():
    code = (
        "import sys, seqae.datasets as d; assert not {'pandas', 'torch', 'numpy'} & set(sys.modules); "
        "assert set(d.__all__) <= set(dir(d)); d.read_csv; assert 'pandas' in sys.modules; "
        "assert 'torch' not in sys.modules; assert callable(d.tables.read_table)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    import seqae.datasets

    with pytest.raises(AttributeError, match="no attribute 'read_excel'"):
        seqae.datasets.read_excel  # noqa: B018
