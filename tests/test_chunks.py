"""Files in pieces: put together, they are the whole file's series, or one line says why they cannot be."""

import gzip
import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqae.datasets import chunks
from seqae.datasets.chunks import count_rows, read_csv_chunks
from seqae.datasets.tables import read_csv
from seqae.errors import DataError, OptionError, SeqaeWarning, TimeAxisError


@pytest.fixture
def write(tmp_path):
    """Write text or bytes to a file and return its path."""

    def write(content, name="pump.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def head(monkeypatch):
    """Set how many rows at least are looked at first."""
    return lambda rows: monkeypatch.setattr(chunks, "_HEAD", rows)


def together(pieces):
    """Return what pieces hold as one: values, index, labels, covariates, present."""
    pieces = list(pieces)
    assert [piece.first_row for piece in pieces] == [0, *np.cumsum([len(piece.series) for piece in pieces])[:-1]]
    held = [piece.series for piece in pieces]
    assert len({(one.channels, one.name) for one in held}) == 1
    index = None if held[0].index is None else held[0].index[:0]
    for one in held:
        index = None if index is None else index.append(one.index)
    labels = None if held[0].labels is None else np.concatenate([one.labels for one in held])
    tables = [one.covariates for one in held if one.covariates is not None]
    present = np.concatenate([np.ones(len(one), dtype=bool) if one.present is None else one.present for one in held])
    covariates = pd.concat(tables, ignore_index=True) if tables else None
    return np.concatenate([one.values for one in held]), index, labels, covariates, present


def assert_same(whole, pieces, rows):
    pieces = list(pieces)
    assert max(len(piece.series) for piece in pieces) <= rows
    values, index, labels, covariates, present = together(pieces)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, whole.values)
    assert pieces[0].series.channels == whole.channels
    assert pieces[0].series.name == whole.name
    if whole.index is None:
        assert index is None
    else:
        assert index.equals(whole.index)
        assert index.name == whole.index.name
        assert str(index.dtype) == str(whole.index.dtype)
    np.testing.assert_array_equal(present, np.ones(len(whole), bool) if whole.present is None else whole.present)
    for mine, theirs in ((labels, whole.labels),):
        assert (mine is None) == (theirs is None)
        np.testing.assert_array_equal(mine, theirs)
    assert (covariates is None) == (whole.covariates is None)
    if covariates is not None:
        pd.testing.assert_frame_equal(covariates, whole.covariates)
    return pieces


def random_table(random, axis):
    """Return a random table as text, the options to read it by, and its step."""
    rows = int(random.integers(3, 30))
    places = np.cumsum(random.choice([1, 1, 1, 1, 1, 2, 7], rows))
    places[1] = places[0] + 1
    options, step = {}, None
    frame = pd.DataFrame({"a": random.normal(size=rows).round(4), "b": random.integers(-9, 9, rows)})
    if axis == "none":
        places = np.arange(rows)
    elif axis == "numbers":
        frame.insert(0, "t", places * 5)
        options, step = {"time": "t"}, 5.0
    elif axis == "decimals":
        frame.insert(0, "t", places * 25 / 100)
        options, step = {"time": "t"}, 0.25
    elif axis == "epoch":
        frame.insert(1, "ts", 1577836800 + 60 * places)
        options, step = {"time_unit": "s"}, "1min"
    elif axis == "zone":
        frame.insert(0, "time", pd.Timestamp("2020-01-01") + places * pd.Timedelta("5min"))
        options, step = {"tz": "Europe/Berlin"}, "5min"
    elif axis == "two":
        stamps = pd.DatetimeIndex(pd.Timestamp("2020-01-01") + places * pd.Timedelta("5min"))
        frame.insert(0, "day", stamps.strftime("%Y-%m-%d"))
        frame.insert(2, "clock", stamps.strftime("%H:%M:%S"))
        options, step = {"time": "day+clock"}, pd.Timedelta("5min")
    elif axis == "german":
        stamps = pd.DatetimeIndex(pd.Timestamp("2020-05-30") + places * pd.Timedelta("1h"))
        frame.insert(0, "Zeit", stamps.strftime("%d.%m.%Y %H:%M"))
        step = "1h"
    elif axis == "offset":
        stamps = pd.DatetimeIndex(pd.Timestamp("2020-01-01", tz="Etc/GMT-1") + places * pd.Timedelta("500ms")).map(
            lambda stamp: stamp.isoformat()
        )
        frame.insert(0, "timestamp", stamps)
        step = "500ms"
    frame.loc[random.random(rows) < 0.2, "a"] = np.nan
    if random.random() < 0.5:
        frame.loc[random.random(rows) < 0.1, "b"] = np.nan
    if random.random() < 0.5:
        frame["label"] = random.integers(0, 2, rows)
    if random.random() < 0.5:
        frame["load"], frame["mode"] = random.integers(0, 5, rows), random.choice(["up", "down, slow", "n/a"], rows)
        options["covariates"] = ["load", "mode"]
    if axis != "none" and random.random() < 0.4:
        frame = frame.loc[np.sort(random.choice([*range(rows), *random.integers(0, rows, 5)], rows, replace=False))]
        options["duplicates"] = str(random.choice(["first", "last"] if "covariates" in options else ["mean", "last"]))
    if "mode" in frame:
        frame.iloc[0, frame.columns.get_loc("mode")] = "up"  # the first row tells that it is text
    text = frame.to_csv(index=False)
    if random.random() < 0.3:
        text = text.replace("\n", "\n\n", 1).replace("\n", "\r\n") + "\r\n"
    return text, options, step


@pytest.mark.parametrize("axis", ["none", "numbers", "decimals", "epoch", "zone", "two", "german", "offset"])
def test_pieces_together_are_the_whole(write, head, axis):
    compared = 0
    for seed in range(8):
        random = np.random.default_rng(seed)
        text, options, step = random_table(random, axis)
        path = write(text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SeqaeWarning)
            try:
                whole = read_csv(path, **options)
            except DataError:
                whole = None  # few rows, mostly gaps: another step than the true one is the usual one
            for rows, first in ((7, 3), (100, 1)) if axis == "german" else ((1, 1), (2, 5), (7, 3), (100, 1)):
                head(first)
                pieces = read_csv_chunks(path, rows=rows, step=step, **options)
                if whole is None or (step is not None and whole.step is None):
                    continue
                if step is not None and whole.step not in {pd.Timedelta(step) if isinstance(step, str) else step}:
                    continue
                try:
                    assert_same(whole, pieces, rows)
                except Exception as problem:
                    problem.add_note(f"seed {seed}, rows {rows}, head {first}, {options}\n{text}")
                    raise
                compared += 1
    assert compared >= 6


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("axis", "width"), [("zone", "10min"), ("offset", "7s"), ("epoch", "1D"), ("numbers", "12"), ("two", "7h")]
)
def test_bins_together_are_the_whole(write, head, axis, width, seed):
    text, options, _ = random_table(np.random.default_rng(seed), axis)
    path = write(text)
    options["resample"] = width
    options.pop("covariates", None)
    options["drop"] = [name for name in ("load", "mode") if name in text.split("\n")[0]]
    whole = read_csv(path, **options)
    for rows, first in ((1, 20), (4, 3), (100, 1)):
        head(first)
        if len(read_lines(text)) <= first + 1 or axis == "epoch":
            first = 60
            head(first)
        assert_same(whole, read_csv_chunks(path, rows=rows, **options), rows)


def read_lines(text):
    return [line for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("seed", range(2))
def test_uneven_steps_are_kept(write, head, seed):
    head(2)
    random = np.random.default_rng(seed)
    stamps = pd.Timestamp("2020-01-01") + np.cumsum(random.integers(1, 99, 40)) * pd.Timedelta("1s")
    path = write(pd.DataFrame({"time": stamps, "v": np.arange(40)}).to_csv(index=False))
    for rows in (1, 6):
        pieces = assert_same(read_csv(path, irregular="keep"), read_csv_chunks(path, rows=rows, irregular="keep"), rows)
        assert {piece.series.step for piece in pieces} == {None}


def test_rounded_stamps_go_on_and_their_gaps_are_refused(write, head):
    head(20)
    stamps = pd.to_datetime(np.rint(np.arange(400) * 1000 / 60).astype(np.int64), unit="ms")
    frame = pd.DataFrame({"time": stamps.strftime("%Y-%m-%dT%H:%M:%S.%f").str[:-3], "v": np.arange(400) % 7})
    path = write(frame.to_csv(index=False))
    for rows in (3, 33):
        assert_same(read_csv(path), read_csv_chunks(path, rows=rows, step="16666667ns"), rows)
    gapped = write(frame.drop(index=range(300, 303)).to_csv(index=False))
    assert len(read_csv(gapped)) == 400
    with pytest.raises(TimeAxisError, match=r"line 302 does not follow on the even steps .* --chunk-rows 0"):
        list(read_csv_chunks(gapped, rows=20))


def test_long_gaps_come_in_pieces_too(write, head):
    head(4)
    places = [*range(40), *range(400, 440)]
    path = write("t,v\n" + "".join(f"{place},1\n" for place in places))
    with pytest.warns(SeqaeWarning, match="leave 360 steps empty"):
        whole = read_csv(path, time="t")
    with pytest.warns(SeqaeWarning, match="leave 360 steps empty"):
        assert_same(whole, read_csv_chunks(path, rows=9, time="t"), 9)


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize(
    "text",
    [
        "v\n1\n\n\n3\n\n4\n\n\n",
        'a,"b ""x"", y"\n"1",2\n3,"4"\n5,6\n',
        'w,v\n"two\nlines",1\n"two\n\nlines",2\nx,3\ny,4\n',
        "\n\na,b\n\n1,2\n   \n3,4\n\n\n\n5,6\n",
        "a,b,\n1,2,\n3,4,\n5,6,\n",
        "a,b\r1,2\r3,4\r5,6\r",
        "\ufeffa,b\n1,2\n3,4\n5,6",
        "größe,温度\n1,2\n3,4\n5,6\n",
        "a\tb\n1\t2\n\t\n\n3\t\n\t\n\t\n",
        "a,b\nTrue,1\n,2\nFalse,3\n",
        "a,b\n,1\n,2\nNA,3\n",
    ],
)
def test_text_is_cut_between_rows(write, head, text, rows):
    head(1)
    options = {"delimiter": "tab"} if "\t" in text else {"drop": "w"} if text.startswith("w") else {}
    for content, name in ((text.encode(), "pump.csv"), (gzip.compress(text.encode()), "pump.csv.gz")):
        path = write(content, name)
        assert_same(read_csv(path, **options), read_csv_chunks(path, rows=rows, **options), rows)


def test_standard_input_is_read(head, monkeypatch):
    head(2)
    text = b"time,v\n" + b"".join(b"2020-01-%02d,%d\n" % (day, day) for day in range(1, 20))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    values, index, *_ = together(read_csv_chunks("-", rows=3))
    np.testing.assert_array_equal(values[:, 0], np.arange(1, 20))
    assert index[-1] == pd.Timestamp("2020-01-19")


# ---- refusals ----

GOOD = [f"2020-01-01 00:{minute:02d}:00,{minute}" for minute in range(40)]


@pytest.mark.parametrize(
    ("line", "row", "said", "options"),
    [
        (21, "2020-01-01 00:19:00,abc", r"holds 'abc' in line 21, not a number", {}),
        (21, "2020-01-01 00:19:00,inf", r"holds inf in line 21", {}),
        (21, "2020-01-01 00:19:00,1,2", r"line 21 has 3 fields, the header has 2", {}),
        (21, "2020-01-01 00:01:00,1", r"in line 21 comes after .* Stamps must increase: use --order sort with", {}),
        (21, "2020-01-01 00:18:00,1", r"in line 21 occurs more than once", {}),
        (22, "2020-01-01 00:19:00,1", r"in line 22 occurs more than once", {}),
        (21, "2020-01-01 00:19:30,1", r"00:19:30 in line 21 does not follow on the even steps of 1min", {}),
        (21, ",1", r"no stamp in line 21", {}),
        (21, "hello,1", r"'hello' in line 21, column 'time', is no date", {}),
        (21, "2020-01-01 00:19:00+01:00,1", r"UTC offset in line 21 .* and none in line 2 ", {}),
        (21, "2020-01-01 00:19:00.123456789,1", r"more digits, than those before .* --chunk-rows 0", {}),
        (21, "2020-01-01 00:19:00,True", r"column 'v' held numbers before, and 'True' in line 21|not a number", {}),
        (21, '2020-01-01 00:19:00,"1', r"CSV from line 21 on", {}),
        (41, "2160-01-01 00:00:00,1", r"would add \d+ empty rows", {}),
    ],
)
@pytest.mark.parametrize("rows", [1, 6, 1000])
def test_bad_rows_are_refused_by_their_line(write, head, line, row, said, options, rows):
    head(8)
    lines = ["time,v", *GOOD]
    lines[line - 1] = row
    path = write("\n".join(lines) + "\n")
    if rows < 1000 or "--chunk-rows" not in said:
        with pytest.raises(DataError) as caught:
            list(read_csv_chunks(path, rows=rows, **options))
        if rows < 1000:
            assert pd.Series([str(caught.value)]).str.contains(said).all(), caught.value


@pytest.mark.parametrize(
    ("text", "said", "options"),
    [
        ("a,label\n" + "1,0\n" * 9 + "1,2\n", "label column 'label' holds '2' in line 11, not 0 or 1", {}),
        ("a,b\n" + "1,2\n" * 9 + "1,True\n", "column 'b' holds 'True' in line 11, not a number", {}),
        ("a,c\n" + "1,2\n" * 9 + "1,x\n", "'c' held numbers before, and 'x' in line 11", {"covariates": "c"}),
        ("a,c\n" + "1,\n" * 9 + "1,x\n", "'c' held nothing before, and 'x' in line 11", {"covariates": "c"}),
        ("a,\n" + "1,\n" * 9 + "1,x\n", "column-2 has no name in the header and held nothing .* line 11", {}),
        ("a,b\n" + ",\n" * 12, "every value of a, b is missing", {}),
        ("a,b\n" + "1,2\n" * 9 + "\xe4,1\n", "not UTF-8: byte 0xe4 in line 11", {}),
        ("t,v\n" + "".join(f"{t},1\n" for t in range(9)) + "9.5,1\n", "held whole numbers .* line 11", {"time": "t"}),
        ("t,v\n" + "".join(f"0{t}/01/2020,1\n" for t in range(1, 9)) + "13/01/2020,1\n", "day or month first", {}),
    ],
)
def test_what_contradicts_the_first_rows_is_refused(write, head, text, said, options):
    head(4)
    path = write(text.encode("latin-1"))
    with pytest.raises(DataError, match=said):
        list(read_csv_chunks(path, rows=3, **options))


def test_days_and_months_stay_as_the_first_rows_show(write, head):
    head(20)
    stamps = pd.date_range("2019-12-20", periods=60).strftime("%d/%m/%Y")
    path = write("date,v\n" + "".join(f"{stamp},1\n" for stamp in stamps))
    assert_same(read_csv(path), read_csv_chunks(path, rows=4), 4)


def test_changing_offsets_need_a_zone(write, head):
    head(5)
    stamps = pd.date_range("2020-03-28 20:00", periods=30, freq="h", tz="Europe/Berlin")
    path = write("time,v\n" + "".join(f"{stamp.isoformat()},1\n" for stamp in stamps))
    with pytest.raises(TimeAxisError, match=r"another UTC offset.* --tz UTC where offsets change"):
        list(read_csv_chunks(path, rows=4))
    for tz in ("UTC", "Europe/Berlin"):
        assert_same(read_csv(path, tz=tz), read_csv_chunks(path, rows=4, tz=tz), 4)


def test_another_usual_step_is_refused_at_the_end(write, head):
    head(4)
    places = [0, 5, 10, 15, 20, *range(30, 300, 10)]
    path = write("t,v\n" + "".join(f"{place},1\n" for place in places))
    with pytest.raises(TimeAxisError, match="must be even"):
        read_csv(path, time="t")
    with pytest.raises(TimeAxisError, match="27 stamps come 10 after the one before, more than come after 5"):
        list(read_csv_chunks(path, rows=4, time="t"))


def test_a_known_step_that_the_file_has_not_is_refused_at_once(write, head):
    head(1200)
    path = write("t,v\n" + "".join(f"{place},1\n" for place in range(0, 20000, 10)))
    with pytest.raises(TimeAxisError, match="has steps of 10 where 5 was expected"):
        next(read_csv_chunks(path, rows=40, time="t", step="5"))


def test_warnings_are_those_of_the_whole_file(write, head):
    head(4)
    path = write("t,v\n" + "".join(f"{place},{1e8 + place % 20 * 1e3}\n" for place in range(40)))
    assert len(list(read_csv_chunks(path, rows=4, time="t"))) == 10
    path = write("t,v\n" + "".join(f"{place},{1e8 + place % 20 / 10:.1f}\n" for place in range(40)))
    with pytest.warns(SeqaeWarning, match="digits of float32 blur") as caught:
        list(read_csv_chunks(path, rows=4, time="t"))
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"id": "pump"}, "--id needs the whole file .* --chunk-rows 0"),
        ({"order": "sort"}, "--order sort needs the whole file .* --chunk-rows 0"),
        ({"rows": 0}, "Use 1 or more"),
        ({"resample": "5min", "irregular": "keep"}, "Use one of the two"),
        ({"step": "often"}, "is no step"),
    ],
)
def test_options_that_need_the_whole_file_are_refused_before_it_is_opened(options, said):
    with pytest.raises(OptionError, match=said):
        read_csv_chunks("nowhere.csv", **options)


def test_months_are_refused_as_bins(write, head):
    head(4)
    path = write("\n".join(["time,v", *GOOD]))
    with pytest.raises(OptionError, match="1MS goes by the calendar"):
        list(read_csv_chunks(path, rows=4, resample="1MS"))


def test_a_file_that_is_not_there_or_empty_is_refused(write, tmp_path):
    with pytest.raises(DataError, match="no file"):
        list(read_csv_chunks(tmp_path / "none.csv"))
    with pytest.raises(DataError, match="is empty"):
        list(read_csv_chunks(write("\n \n")))
    with pytest.raises(DataError, match="a header and no rows"):
        list(read_csv_chunks(write("a,b\n")))
    with pytest.raises(DataError, match="cut short or damaged"):
        list(read_csv_chunks(write(gzip.compress(b"a,b\n" + b"1,2\n" * 999)[:-9], "x.csv.gz")))


def test_rows_are_counted(write):
    assert count_rows(write("a,b\n1,2\n3,4")) == 2
    assert count_rows(write(gzip.compress(b"a,b\n" + b"1,2\n" * 70000), "x.csv.gz")) == 70000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak memory from")
def test_memory_does_not_grow_with_the_file(tmp_path):
    code = (
        "import sys\n"
        "from seqae.datasets.chunks import read_csv_chunks\n"
        "rows = sum(len(piece.series) for piece in read_csv_chunks(sys.argv[1], rows=1 << 14))\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(rows, int(peak.split()[1]) // 1024)\n"
    )
    peaks = []
    for rows in (100_000, 600_000):
        path = tmp_path / f"{rows}.csv"
        stamps = np.datetime_as_string(np.datetime64("2020-01-01", "s") + np.arange(rows))
        path.write_text("time,v\n" + "\n".join(f"{stamp},{row % 997}" for row, stamp in enumerate(stamps)) + "\n")
        out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
        seen, peak = map(int, out.stdout.split())
        assert seen == rows
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 20  # MB; the larger file alone has 15 MB of text and reads into 100


@pytest.mark.parametrize("first", ["off", "3", "-9999"])
def test_codes_of_missing_values_are_the_same_in_pieces(write, head, first):
    head(3)
    rows = [first, "4", "5", "off", "-9999", "6", "7", "-9999.0", "off", "8"]
    path = write("v,w\n" + "".join(f"{value},1\n" for value in rows))
    options = {"na_values": ("-9999", "off")}
    assert_same(read_csv(path, **options), read_csv_chunks(path, rows=2, **options), 2)
