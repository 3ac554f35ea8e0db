"""`seqae stream`: a line in, its score out at once; bad lines are named; a stopped stream goes on where it was."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqae.cli.lines import LONGEST, numbered_lines
from seqae.cli.main import run

WINDOW = 8
QUICK = ["--mode", "causal", "--window", WINDOW, "--hidden", 8, "--latent", 2, "--epochs", 2, "--alpha", 0.05, "-q"]


def pump(rows: int, seed: int = 0, start: str = "2024-03-04") -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    t = np.arange(rows)
    values = {"heat": 20 + 3 * np.sin(t / 5), "flow": 7 + np.cos(t / 9)}
    table = (pd.DataFrame(values) + 0.2 * draw.normal(size=(rows, 2))).round(3)
    table.insert(0, "timestamp", pd.date_range(start, periods=rows, freq="10min").strftime("%Y-%m-%dT%H:%M:%S"))
    return table.assign(shift=np.where(t // 20 % 2, "day", "night"), hot=t % 3 == 0)


class Streaming:
    """`seqae` in this process, in a folder of its own, with a text on stdin."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._capsys, self._patch = folder, capsys, monkeypatch

    def __call__(self, text: str | bytes, *arguments: object, code: int = 0) -> str:
        given = text if isinstance(text, bytes) else text.encode()
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        self._patch.chdir(self.folder)
        self._capsys.readouterr()
        result = run(["stream", *map(str, arguments)])
        out, self.stderr = self._capsys.readouterr()
        assert result == code, self.stderr
        assert "Traceback" not in self.stderr
        return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models trained on pump.csv: live (a head), fused (the default ones), told (a CVAE of columns), wide (overlap)."""
    place = tmp_path_factory.mktemp("stream")
    pump(400).to_csv(place / "pump.csv", index=False)
    before = Path.cwd()
    os.chdir(place)
    try:
        plain = ["--drop", "shift,hot"]
        for name, options in {
            "live": [*plain, "--score", "nll", "--smoothing", 3],
            "fused": plain,
            "told": ["--score", "nll", "--model", "CVAE", "--condition", "shift,hot,calendar"],
            "wide": [*plain, "--mode", "overlap"],
            "bare": [*plain, "--score", "nll", "--calibration", 0],
        }.items():
            assert run([str(one) for one in ["train", "pump.csv", *QUICK, *options, "-o", name]]) == 0
        daily = pump(200).assign(timestamp=pd.date_range("2023-01-01", periods=200).strftime("%Y-%m-%d"))
        daily.to_csv(place / "daily.csv", index=False)
        assert (
            run(["train", "daily.csv", *map(str, QUICK), "--drop", "shift,hot", "--score", "nll", "-o", "daily"]) == 0
        )
        (place / "pumps").mkdir()
        parts = {name: pump(300, seed).drop(columns=["shift", "hot"]) for seed, name in enumerate(("north", "south"))}
        for name, part in parts.items():
            part.to_csv(place / "pumps" / f"{name}.csv", index=False)
        pd.concat([part.assign(unit=name) for name, part in parts.items()]).to_csv(place / "long.csv", index=False)
        each = ["--score", "nll", "--epochs", 1, "-q"]
        for options in (
            ["pumps", "--each", "-o", "fleet"],
            ["long.csv", "--id", "unit", "--per-series", "-o", "panel"],
        ):
            assert run([str(one) for one in ["train", *options[:1], *QUICK, *each, *options[1:]]]) == 0
        later = pump(120, seed=1, start="2024-03-07").drop(index=[30, 31])
        later.loc[60:66, "flow"] += 9
        later.loc[50, "heat"] = np.nan
        later.to_csv(place / "today.csv", index=False)
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def stream(folder, capsys, monkeypatch):
    return Streaming(folder, capsys, monkeypatch)


@pytest.fixture
def today(folder):
    return (folder / "today.csv").read_text()


def lines_of(text):
    return text.splitlines(keepends=True)


@pytest.mark.parametrize("name", ["live", "fused", "told"])
def test_it_writes_what_scoring_the_file_writes(stream, today, name):
    found = stream(today, name)
    assert "118 rows scored" in stream.stderr
    assert "0 lines skipped" in stream.stderr
    assert run(["score", name, "today.csv", "-o", f"{name}.csv", "--batch-size", "1", "-q"]) == 0
    assert found == (stream.folder / f"{name}.csv").read_text()
    flagged = [row for row in csv.DictReader(io.StringIO(found)) if row["is_anomaly"] == "True"]
    assert flagged
    only = stream(today, name, "--only-anomalies")
    assert list(csv.DictReader(io.StringIO(only))) == flagged


def test_json_lines(stream, today):
    rows = list(csv.DictReader(io.StringIO(stream(today, "fused"))))
    objects = [json.loads(line) for line in stream(today, "fused", "--json").splitlines()]
    assert len(objects) == len(rows) == 118
    for row, one in zip(rows, objects, strict=True):
        assert list(row) == list(one)
        for name, value in one.items():
            read = {"True": True, "False": False, "": None}.get(row[name], row[name])
            assert value == (read if name == "timestamp" or not isinstance(read, str) else float(read)), name


def test_bad_lines_are_named_and_skipped(stream, today):
    header, *rows = lines_of(today)
    expected = stream(header + "".join(rows[:40]), "live")
    bad = {
        "garbage\n": "line 4 skipped: it has 1 field, not 5: timestamp,",
        "2024-03-07T00:20:00,abc,1,day,True\n": "line 5 skipped: heat is 'abc', not a number",
        "2024-03-07T00:20:00,1_0,1,day,True\n": "line 6 skipped: heat is '1_0', not a number",
        '2024-03-07T00:20:00,"1,5",1,day,True\n': "line 7 skipped: heat is '1,5', not a number. Correct it, or use",
        "2024-03-07T00:10:00,1,1,day,True\n": "line 8 skipped: 2024-03-07 00:10:00 does not come after the row before",
        "2024-03-07T00:25:00,1,1,day,True\n": "line 9 skipped: 2024-03-07 00:25:00 does not follow on",
        "yesterday,1,1,day,True\n": "line 10 skipped: timestamp: 'yesterday' is no date and time",
        ",1,1,day,True\n": "line 11 skipped: timestamp is empty",
        "2024-03-07T00:20:00,inf,1,day,True\n": "line 12 skipped: heat is inf",
        '2024-03-07T00:20:00,"1,1,day,True\n': "line 13 skipped: it cannot be read as CSV",
        "\xff\n": "line 14 skipped: it is not UTF-8",
        "x" * (LONGEST + 5) + "\n": "line 15 skipped: it is longer than",
    }
    text = "".join([header, *rows[:2], *bad, "\n", "  \r\n", *rows[2:40]])
    assert stream(text.encode().replace("\xff".encode(), b"\xff"), "live") == expected
    said = stream.stderr.splitlines()
    for line, wanted in zip(said, bad.values(), strict=False):
        assert wanted in line
    assert f"40 rows scored, 0 above the threshold, {len(bad)} lines skipped; 2 missing rows in gaps" in said[-1]


def test_a_line_says_what_is_wrong_and_offers_what_this_command_has(stream, today):
    header, *rows = lines_of(today)
    stream(header + "".join(rows[:2]) + "2024-03-07T00:25:00,1,1,day,True\n", "live")
    assert "with --irregular keep." in stream.stderr
    stream(header + rows[0] + "03/07/2024 00:20,1,1,day,True\n" + "7,1,1,day,True\n" + rows[2], "live")
    assert "timestamp: '03/07/2024 00:20' is no date and time that can be read in one way" in stream.stderr
    assert "7 is another kind of time than the model was trained on. Write dates and times, or say" in stream.stderr
    assert "2 rows scored, 0 above the threshold, 2 lines skipped; 1 missing rows in gaps" in stream.stderr
    epoch = "timestamp,heat,flow\n1709769600,1,2\nyesterday,1,2\n1709770200,1,2\n1e15,1,2\n"
    found = stream(epoch, "live", "--time", "timestamp", "--time-unit", "s")
    assert len(found.splitlines()) == 3  # one bad line ends no stream
    assert "line 3 skipped: timestamp: 'yesterday' is no number, as --time-unit s has them" in stream.stderr
    assert "line 5 skipped: timestamp: 1000000000000000.0 with --time-unit s is outside" in stream.stderr
    stream("time,heat,flow\n5,1,2\n", "live", code=2)
    assert "or --no-time where it is none" in stream.stderr
    stream("time,heat,fl\xe9w\n".encode("latin-1"), "live", code=2)
    assert "the header cannot be read: it is not UTF-8" in stream.stderr
    stream("", "live")
    assert stream.stderr == "nothing came in, not even a header.\n"


def test_a_threshold_out_of_reach_is_said_once_with_a_cure_of_this_command(stream, today):
    stream(today, "live", "--alpha", 0.0001, "-q")
    (line,) = stream.stderr.splitlines()
    assert line.endswith("Give a larger --alpha.")
    assert "alibrate" not in line


def test_times_are_written_as_scoring_writes_them(stream, today):
    table = pd.read_csv(io.StringIO(today))
    expected = stream(today, "live")
    for form in ("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%d %b %Y %H:%M"):
        written = pd.to_datetime(table["timestamp"]).dt.strftime(form)
        assert stream(table.assign(timestamp=written).to_csv(index=False), "live") == expected
    aware = table.assign(timestamp=table["timestamp"] + "Z").to_csv(index=False)
    (stream.folder / "aware.csv").write_text(aware)
    assert run(["score", "live", "aware.csv", "-o", "aware.out", "--batch-size", "1", "-q"]) == 0
    assert stream(aware, "live") == (stream.folder / "aware.out").read_text()
    daily = pump(60).assign(timestamp=pd.date_range("2024-01-01", periods=60).strftime("%d.%m.%Y"))
    (stream.folder / "days.csv").write_text(daily.to_csv(index=False))
    options = ["--time-format", "%d.%m.%Y"]
    assert run(["score", "daily", "days.csv", "-o", "daily.out", "--batch-size", "1", "-q", *options]) == 0
    found = stream(daily.to_csv(index=False), "daily", *options)
    assert found == (stream.folder / "daily.out").read_text()
    assert found.splitlines()[1].startswith("2024-01-01,")


def test_one_series_of_a_fleet_or_of_a_panel(stream):
    table = pump(40, seed=1, start="2024-03-09").drop(columns=["shift", "hot"])
    text = table.to_csv(index=False)
    (stream.folder / "south.csv").write_text(text)
    found = stream(text, "fleet", "--series", "south")
    assert run(["score", "fleet", "south.csv", "-o", "south.out", "--batch-size", "1", "-q"]) == 0
    assert found == pd.read_csv(stream.folder / "south.out", dtype=str, keep_default_na=False).drop(
        columns="series"
    ).to_csv(index=False)
    for options, told in (
        ([], "holds a model for each series"),
        (["--series", "west"], "no model for a series 'west'"),
    ):
        assert stream(text, "fleet", *options, code=2) == ""
        assert f"{told}. Name one of its 2 with --series: north, south." in stream.stderr
    stream(text, "panel", "--series", "west", code=2)
    assert "no threshold for a series 'west'. The model has one for: north, south." in stream.stderr
    own = stream(text, "panel", "--series", "south")
    assert stream(text, "panel") != own
    assert "the threshold is that of all series; --series takes the own one of north, south." in stream.stderr
    both = pd.concat([table.assign(unit=name, flow=table["flow"] + k) for k, name in enumerate(("south", "north"))])
    mixed = both.sort_values("timestamp", kind="stable").to_csv(index=False)
    assert stream(mixed, "panel", "--series", "south") == own
    assert "40 lines of other series passed over" in stream.stderr
    stream(mixed, "panel", "--series", "south", "--state", "series.state")
    stream(mixed, "panel", "--series", "north", "--state", "series.state", code=2)
    assert "(its series differ)" in stream.stderr
    assert stream(mixed, "panel", code=2) == ""
    assert "column unit says which series each line is of, and a stream is of one" in stream.stderr


def test_a_stream_can_be_resumed(stream, today, tmp_path):
    header, *rows = lines_of(today)
    whole = lines_of(stream(today, "fused"))
    state = tmp_path / "a.state"
    parts = []
    for low, high in ((0, 3), (3, 45), (45, 200)):
        parts += lines_of(stream(header + "".join(rows[low:high]), "fused", "--state", state, "--save-every", 7))[1:]
        assert f"going on after {[0, 3, 47][[0, 3, 45].index(low)]} rows" in stream.stderr or low == 0
    assert parts == whole[1:]
    kept = state.read_bytes()
    assert stream("", "fused", "--state", state) == ""
    assert state.read_bytes() == kept
    assert stream(today, "live", "--state", state, code=2) == ""
    assert "is of another model or series (its score heads, smoothing differ). Give the model" in stream.stderr
    state.write_bytes(b"nonsense")
    stream(today, "fused", "--state", state, code=2)
    assert state.read_bytes() == b"nonsense"
    assert [path.name for path in tmp_path.iterdir()] == ["a.state"]


def test_lines_without_a_header(stream, today):
    table = pd.read_csv(io.StringIO(today))
    plain = table[["heat", "flow"]].to_csv(index=False, header=False)
    numbered = stream(plain, "live", "--no-header")
    assert numbered.startswith("row,score,p_value")
    assert "every line is taken as the next step of 10min" in stream.stderr
    assert numbered.splitlines()[-1].startswith("117,")
    timed = table[["timestamp", "heat", "flow"]].to_csv(index=False, header=False)
    expected = stream(today, "live")
    assert stream(timed, "live", "--no-header", "--time", "timestamp") == expected
    turned = table[["flow", "timestamp", "heat"]].to_csv(index=False, header=False, sep=";", decimal=",")
    options = ["--no-header", "--columns", "flow,timestamp,heat", "--delimiter", ";", "--decimal", ","]
    assert stream(turned, "live", *options) == expected
    header_too = stream(table[["heat", "flow"]].to_csv(index=False), "live", "--no-header", "--no-time")
    assert "line 1 skipped: heat is 'heat', not a number" in stream.stderr
    assert header_too == numbered


def test_stamps_as_the_options_say(stream, today):
    table = pd.read_csv(io.StringIO(today))
    scores = [line.split(",", 1)[1] for line in lines_of(stream(today, "live"))[1:]]

    def told(table, *options):
        return [line.split(",", 1)[1] for line in lines_of(stream(table.to_csv(index=False), "live", *options))[1:]]

    stamps = pd.to_datetime(table["timestamp"])
    epoch = table.assign(timestamp=(stamps - pd.Timestamp(0)) // pd.Timedelta("1s"))
    assert told(epoch, "--time-unit", "s") == scores
    written = stamps.dt.strftime("%d/%m/%Y %H:%M")
    assert told(table.assign(timestamp=written), "--time-format", "%d/%m/%Y %H:%M") == scores
    halves = table.assign(timestamp=stamps.dt.strftime("%Y-%m-%d"), hour=stamps.dt.strftime("%H:%M"))
    assert told(halves, "--time", "timestamp+hour") == scores
    moved = table.assign(timestamp=stamps + pd.Timedelta("7min"))  # on the step, from another start
    assert told(moved) == scores


def test_an_hour_that_clocks_repeat_is_told_apart_by_its_order(stream):
    table = pump(60)
    utc = pd.date_range("2024-10-26 22:00", periods=60, freq="10min", tz="UTC")
    local = table.assign(timestamp=utc.tz_convert("Europe/Berlin").strftime("%Y-%m-%d %H:%M"))
    found = stream(local.to_csv(index=False), "live", "--tz", "Europe/Berlin")
    expected = stream(table.to_csv(index=False), "live")
    without_time = [[line.split(",", 1)[1] for line in text.splitlines()] for text in (found, expected)]
    assert without_time[0] == without_time[1]
    assert "0 lines skipped" in stream.stderr
    stream(local[14:].to_csv(index=False), "live", "--tz", "Europe/Berlin")
    assert "line 2 skipped: 2024-10-27 02:20:00 occurs twice in Europe/Berlin" in stream.stderr


REFUSED = {
    "another mode": ("wide", [], None, "--mode causal"),
    "several heads' order": ("live", ["--threshold", "benjamini_hochberg"], None, "Use --threshold conformal"),
    "no such model, and no folder for the state": (
        "nothing",
        ["--state", "no/a.state"],
        None,
        "there is no file nothing",
    ),
    "a table as the state": ("live", ["--state", "today.csv"], None, "today.csv holds no state of a stream"),
    "no such file": ("nothing", [], None, "there is no file nothing"),
    "a channel that is not there": ("live", [], "timestamp,heat\n", "has no flow, which the model needs"),
    "a condition that is not there": ("told", [], "timestamp,heat,flow,shift\n", "has no hot, which the model needs"),
    "no header": ("live", [], "2024-03-07,1,2\n", "no header: line 1"),
    "a series that it does not know": ("live", ["--series", "zz"], None, "no threshold for a series 'zz'"),
    "another delimiter": ("live", [], "timestamp;heat;flow\n", "Use --delimiter ';'"),
    "no such time column": ("live", ["--time", "when"], "timestamp,heat,flow\n", "has no column 'when'"),
    "a time of numbers": ("live", [], "time,heat,flow\n5,1,2\n", "--time-unit s"),
    "a calendar without time": ("told", [], "heat,flow,shift,hot\n1,2,day,True\n", "Name its column with --time"),
    "columns and a header": ("live", ["--columns", "heat,flow"], None, "Give --no-header, too"),
    "two that contradict": ("live", ["--time", "a", "--no-time"], None, "contradict each other"),
    "a zone that is none": ("live", ["--tz", "Mars"], None, "'Mars' is no time zone"),
    "a state in no folder": ("live", ["--state", "no/a.state"], None, "there is no folder no"),
    "the model as the state": ("live/model.safetensors", ["--state", "live/model.safetensors"], None, "named twice"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_in_one_line(stream, today, name):
    model, options, text, message = REFUSED[name]
    assert stream(today if text is None else text, model, *options, code=2) == ""
    assert message in stream.stderr
    assert len(stream.stderr.splitlines()) == 1
    assert not (stream.folder / "no").exists()


def test_a_model_without_a_threshold_scores(stream, today):
    rows = list(csv.DictReader(io.StringIO(stream(today, "bare"))))
    assert "nothing is flagged" in stream.stderr
    assert {(row["is_anomaly"], row["p_value"]) for row in rows} == {("", "")}
    assert rows[-1]["score"]


def test_another_alpha(stream, today):
    strict, loose = (stream(today, "live", "--only-anomalies", "--alpha", alpha) for alpha in (0.03, 0.3))
    assert 1 < len(lines_of(strict)) < len(lines_of(loose))


def test_lines_are_numbered_as_an_editor_does():
    long = b"y" * LONGEST
    text = b"\xef\xbb\xbfa\n\n \r\nb\n" + long + b"\n" + long + b"zz\nlast"
    found = list(numbered_lines(io.BytesIO(text)))
    assert found == [(1, b"a\n"), (4, b"b\n"), (5, None), (6, None), (7, b"last")]


# A process of its own


@pytest.fixture
def process(folder):
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "seqae.cli", "stream", *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        program = subprocess.Popen(command, cwd=folder, text=True, **pipes)
        started.append(program)
        return program

    yield start
    for program in started:
        program.kill()
        program.wait()
        for pipe in (program.stdin, program.stdout, program.stderr):
            with contextlib.suppress(OSError, ValueError):
                pipe.close()


def ask(program, line):
    program.stdin.write(line)
    program.stdin.flush()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_answer_comes_before_the_next_line_and_a_signal_keeps_the_state(process, stream, today, tmp_path, number):
    header, *rows = lines_of(today)
    expected = lines_of(stream(today, "live"))
    program = process("live", "--state", tmp_path / "a.state")
    ask(program, header)
    found = []
    for row in rows[:20]:
        ask(program, row)  # and nothing more before its answer
        found += [program.stdout.readline()] if found else [program.stdout.readline(), program.stdout.readline()]
    assert found == expected[:21]
    program.send_signal(number)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 128 + number
    assert out == ""
    assert err.splitlines() == ["20 rows scored, 0 above the threshold, 0 lines skipped."]
    assert lines_of(stream(header + "".join(rows[20:]), "live", "--state", tmp_path / "a.state"))[1:] == expected[21:]


@pytest.mark.slow
def test_a_reader_that_leaves_ends_it_quietly(process, today):
    header, *rows = lines_of(today)
    program = process("live", "-q")
    ask(program, header + rows[0])
    program.stdout.readline()
    program.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        for row in rows[1:]:
            ask(program, row)
    with contextlib.suppress(BrokenPipeError):
        program.stdin.close()
    assert program.wait(timeout=60) == 141
    assert program.stderr.read() == ""
