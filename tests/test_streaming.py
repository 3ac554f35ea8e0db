"""A stream gives the numbers of scoring a table in mode causal, keeps little, and forgets nothing that it needs."""

from __future__ import annotations

import hashlib
import json
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

import seqae
from seqae.anomaly.pipeline import _step_document
from seqae.anomaly.streams.clock import clock_of, read_stamp
from seqae.anomaly.streams.stream import Stream
from seqae.errors import DataError, ModelFileError, NotFittedError, OptionError, TimeAxisError
from seqae.series import Series
from seqae.timeaxis import find_step, lay_out

WINDOW = 8
QUICK = {"window": WINDOW, "hidden": 8, "latent": 2, "mode": "causal", "alpha": 0.05}


def table(rows=400, seed=0, start="2024-03-01", step="10min", tz=None):
    draw = np.random.default_rng(seed)
    t = np.arange(rows)
    values = {"a": 20 + 3 * np.sin(t / 5), "b": 500 + 100 * np.cos(t / 9)}
    frame = pd.DataFrame(values, index=pd.date_range(start, periods=rows, freq=step, tz=tz))
    frame += draw.normal(size=(rows, 2)) * [0.3, 10]
    return frame.assign(load=draw.normal(size=rows).round(2), shift=np.where(t // 20 % 2, "day", "night"))


def today():
    """New rows with missing values, a missing row, a fault, a short gap, and one much longer than a window."""
    frame = table(160, seed=7, start="2024-03-04 00:10")
    frame.iloc[20:23, 0] = np.nan
    frame.iloc[30, :2] = np.nan
    frame.iloc[60:64, 1] += 300
    return frame.drop(frame.index[[3, 40, 41, 42, *range(75, 110)]])


def pushed(stream, frame):
    rows = zip(frame.index, frame.to_dict("records"), strict=True)
    return pd.DataFrame([stream.push(row, time) for time, row in rows], index=frame.index)


def same(found, expected, rtol=1e-6, atol=0.0):
    assert list(found) == list(expected)
    for name in expected:
        one, other = (frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for frame in (found, expected))
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol, err_msg=name)


MADE = {
    "AE gru": {"model": "AE", "cell": "gru", "scorer": "nll"},
    "AE lstm, several": {"model": "AE", "cell": "lstm", "scorer": ("absolute_error", "nearest_latent", "mahalanobis")},
    "VAE gru, defaults": {"model": "VAE", "cell": "gru", "smoothing": 5},
    "VAE lstm, summed": {
        "cell": "lstm", "scorer": ("reconstruction_probability", "nearest_window"), "fusion": "sum", "smoothing": 20,
    },
    "VAE gru, no channels": {"cell": "gru", "scorer": "nearest_latent", "smoothing": 3, "threshold": "pot"},
    "AE gru, adaptive": {"model": "AE", "cell": "gru", "scorer": "nll", "threshold": "adaptive", "alpha": 0.1},
    "VAE gru, missing scored": {"cell": "gru", "scorer": "nll", "missing": "score", "smoothing": 12},
    "CVAE gru, calendar": {"model": "CVAE", "cell": "gru", "condition": "calendar", "scorer": "nll", "smoothing": 2},
    "CVAE lstm, columns": {
        "model": "CVAE", "cell": "lstm", "condition": ("shift", "calendar", "load"), "prior": "conditional",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def detectors():
    made = {}

    def get(name):
        if name not in made:
            options = MADE[name]
            columns = [one for one in np.atleast_1d(options.get("condition", [])) if one != "calendar"]
            frame = table()[["a", "b", *columns]]
            made[name] = seqae.Detector(**QUICK | options).fit(frame, epochs=2, learning_rate=0.01), columns
        return made[name]

    return get


@pytest.mark.filterwarnings("ignore:Threshold pot needs")
@pytest.mark.filterwarnings("ignore:The .* calibration scores are worth")
@pytest.mark.parametrize("name", MADE)
def test_the_numbers_are_those_of_causal_scoring(detectors, name):
    detector, columns = detectors(name)
    frame = today()[["a", "b", *columns]]
    expected = detector.score(frame)
    found = pushed(Stream(detector), frame)
    same(found, expected)
    same(detector.score(frame, batch_size=1), expected)
    # One of the first rows fell into a gap; behind the long one half a window has to come before one says something.
    assert found["score"].isna().sum() - (WINDOW // 2 - 1) in (WINDOW - 1 - 1, WINDOW - 1)
    assert found["score"].iloc[71:77].isna().tolist() == [True, True, True, False, False, False]
    assert found["is_anomaly"].any()


@pytest.mark.filterwarnings("ignore:The .* calibration scores are worth")
def test_rows_that_tie_with_those_held_back_are_flagged_as_in_scoring(detectors):
    detector, _ = detectors("VAE gru, defaults")
    frame = table()[["a", "b"]]
    same(pushed(Stream(detector), frame), detector.score(frame))


def test_rows_come_in_any_form(detectors):
    detector, _ = detectors("AE gru")
    frame = today()[["a", "b"]].dropna().iloc[:30]
    values = frame.to_numpy()
    expected = pushed(Stream(detector, even=False), frame)
    forms = {
        "arrays": list(values),
        "lists": values.tolist(),
        "pandas rows": [row for _, row in frame.iterrows()],
        "mappings in another order": [{"note": "x", "b": b, "a": a} for a, b in values],
    }
    for rows in forms.values():
        stream = Stream(detector)
        same(pd.DataFrame([stream.push(row) for row in rows], index=frame.index), expected)
        assert stream.last is None
    lost = Stream(detector)
    mappings = ({"a": None, "b": 1.0}, {"a": pd.NA, "b": 1}, {"a": math.nan, "b": np.float32(1)})
    for row in (*mappings, np.array([np.nan, 1]), [None, 1]):
        lost.push(row)
    assert np.isnan(lost._memory.rows[:, 0]).all()
    assert len({value.tobytes() for value in lost._memory.rows[:, 1]}) == 1


NEXT = "2024-03-01 00:10"
BAD = {
    "a channel that is not there": ({"a": 1.0}, NEXT, DataError, "has no b"),
    "too many values": ([1.0, 2.0, 3.0], NEXT, DataError, r"shape \(3,\) does not fit"),
    "text": ({"a": "1,5", "b": 2}, NEXT, DataError, "a is '1,5', not a number"),
    "text that is a number": (["1", 2.0], NEXT, DataError, "not a number"),
    "infinity": ([np.inf, 1.0], NEXT, DataError, "a is inf"),
    "beyond float32": ([1.0, 1e39], NEXT, DataError, "b is 1e"),
    "no time": ([1.0, 2.0], None, DataError, "this one has none"),
    "the same time": ([1.0, 2.0], "2024-03-01 00:00", TimeAxisError, "does not come after"),
    "an earlier time": ([1.0, 2.0], pd.Timestamp("2024-02-28"), TimeAxisError, "does not come after"),
    "off the step": ([1.0, 2.0], "2024-03-01 00:15", TimeAxisError, "whole steps of 10min"),
    "another zone": ([1.0, 2.0], "2024-03-01 00:10Z", TimeAxisError, "of two kinds"),
    "a number": ([1.0, 2.0], 17, TimeAxisError, "another kind of time"),
    "no stamp": ([1.0, 2.0], "yesterday", TimeAxisError, "no date and time"),
    "a day that is not": ([1.0, 2.0], "2024-02-30", TimeAxisError, "no date and time"),
    "a day or a month": ([1.0, 2.0], "05/04/2024", TimeAxisError, "can be read in one way"),
    "not a time": ([1.0, 2.0], pd.NaT, TimeAxisError, "no stamp"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_cannot_be_used_leaves_no_trace(detectors, name):
    detector, _ = detectors("AE gru")
    row, time, kind, message = BAD[name]
    stream = Stream(detector)
    stream.push([20.0, 500.0], "2024-03-01 00:00")
    before = stream._memory
    with pytest.raises(kind, match=message):
        stream.push(row, time)
    assert stream._memory is before
    stream.push([20.0, 500.0], "2024-03-01 00:10")
    assert stream.count == 2


def test_what_the_model_refuses_leaves_no_trace():
    values = np.sin(np.arange(300) / 5)
    options = QUICK | {"likelihood": "bernoulli", "scaling": "minmax", "scorer": "nll"}
    stream = Stream(seqae.Detector(**options).fit(values, epochs=1))
    for value in values[:20]:
        stream.push(value)
    before = stream._memory
    with pytest.raises(DataError):
        stream.push(2.0)
    assert stream._memory is before
    assert math.isfinite(stream.push(0.5)["score"])


@pytest.mark.filterwarnings("ignore:The .* calibration scores are worth")
def test_conditions_are_needed_and_checked(detectors):
    stream = Stream(detectors("CVAE lstm, columns")[0])
    row = {"a": 20.0, "b": 500.0, "load": 0.1, "shift": "day"}
    stream.push(row, "2024-03-01 00:00")
    before = stream._memory
    for bad, time, message in (
        ([20.0, 500.0], "2024-03-01 00:10", "no shift"),
        (row | {"shift": "dusk"}, "2024-03-01 00:10", "'dusk' at 2024-03-01 00:10"),
        (row | {"load": None}, "2024-03-01 00:10", "'load' is missing"),
    ):
        with pytest.raises(DataError, match=message):
            stream.push(bad, time)
        assert stream._memory is before
    fresh = Stream(detectors("CVAE gru, calendar")[0])
    with pytest.raises(DataError, match="calendar needs the date"):
        fresh.push([20.0, 500.0])
    with pytest.raises(DataError, match="had no time zone"):
        fresh.push([20.0, 500.0], "2024-03-01 00:00Z")


def test_other_detectors_are_refused(detectors):
    with pytest.raises(OptionError, match="--mode causal"):
        Stream(seqae.Detector(window=WINDOW))
    with pytest.raises(NotFittedError):
        Stream(seqae.Detector(**QUICK))
    values = table(200)[["a", "b"]]
    together = seqae.Detector(**QUICK, scorer="nll", threshold="benjamini_hochberg").fit(values, epochs=1)
    with pytest.raises(OptionError, match=r"judges rows together.*--threshold conformal"):
        Stream(together)
    Stream(together.calibrate(threshold="conformal"))


def test_without_a_threshold_nothing_is_flagged():
    frame = table(200)[["a", "b"]]
    detector = seqae.Detector(**QUICK, scorer="nll").fit(frame, epochs=1, calibration=0)
    record = [Stream(detector).push([20.0, 500.0]), pushed(Stream(detector), frame).iloc[-1]][1]
    assert record["is_anomaly"] is None
    assert math.isnan(record["p_value"])
    assert math.isfinite(record["score"])


@pytest.mark.filterwarnings("ignore:The .* calibration scores are worth")
@pytest.mark.filterwarnings("ignore:Nothing can be flagged")
def test_a_series_has_its_own_threshold():
    panel = {"calm": table(300)[["a", "b"]], "wild": table(300, seed=3)[["a", "b"]] * [1, 1]}
    panel["wild"] = panel["wild"] + np.random.default_rng(0).normal(size=(300, 2)) * [2, 80]
    detector = seqae.Detector(**QUICK, scorer="nll", per_series=True).fit(panel, epochs=2)
    frame = today()[["a", "b"]]
    for name in ("calm", "wild", "new"):
        same(pushed(Stream(detector, series=name), frame), detector.score({name: frame}, batch_size=1)[name])
    limits = [Stream(detector, series=name)._calibration.threshold.value for name in ("calm", "wild", None)]
    assert len(set(limits)) == 3


@pytest.mark.filterwarnings("ignore:The .* calibration scores are worth")
@pytest.mark.parametrize("name", ["VAE gru, defaults", "CVAE lstm, columns", "VAE gru, missing scored"])
@pytest.mark.parametrize("rows", [0, 5, 50])
def test_a_stream_goes_on_where_it_was_saved(detectors, name, rows, tmp_path):
    detector, columns = detectors(name)
    frame = today()[["a", "b", *columns]]
    expected = pushed(Stream(detector), frame)
    first = Stream(detector)
    begun = pushed(first, frame.iloc[:rows])
    first.save(tmp_path / "state.safetensors")
    detector.save(tmp_path / "model.safetensors")
    loaded = seqae.Detector.load(tmp_path / "model.safetensors")
    second = Stream.load(loaded, tmp_path / "state.safetensors")
    assert (second.count, second.last) == (first.count, first.last)
    rest = pushed(second, frame.iloc[rows:])
    same(pd.concat([begun, rest]) if rows else rest, expected, rtol=0)
    third = Stream(detector)
    third.restore(first.state())
    same(pushed(third, frame.iloc[rows:]), rest, rtol=0)


@pytest.mark.filterwarnings("ignore:The .* calibration scores are worth")
def test_a_state_of_something_else_is_refused(detectors, tmp_path):
    detector, _ = detectors("AE gru")
    stream = Stream(detector)
    for row in table(20)[["a", "b"]].to_numpy():
        stream.push(row)
    stream.save(tmp_path / "state")
    with pytest.raises(ModelFileError, match=r"another model or series .*weights"):
        Stream.load(detectors("VAE gru, defaults")[0], tmp_path / "state")
    with pytest.raises(ModelFileError, match=r"series differ"):
        Stream.load(detector, tmp_path / "state", series="pump-2")
    detector.save(tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match="no state of a stream"):
        Stream.load(detector, tmp_path / "model.safetensors")
    (tmp_path / "state").write_bytes((tmp_path / "state").read_bytes()[:-40])
    with pytest.raises(ModelFileError, match="cut off"):
        Stream.load(detector, tmp_path / "state")
    for spoil in ({"count": 3}, {"arrays": {}}, {"last": {"time": "x"}}):
        before = stream._memory
        with pytest.raises(ModelFileError, match="cannot be read"):
            stream.restore({**stream.state(), **spoil})
        assert stream._memory is before


def test_memory_does_not_grow(detectors):
    stream = Stream(detectors("VAE gru, defaults")[0])
    frame = table(300)[["a", "b"]]
    sizes = []
    for time, row in zip(frame.index, frame.to_numpy(), strict=True):
        stream.push(row, time)
        memory = stream._memory
        held = [memory.rows, memory.conditions, *memory.parts]
        sizes.append(sum((array if array.base is None else array.base).nbytes for array in held))
    assert max(sizes[100:]) == min(sizes[100:]) == sizes[2 * WINDOW]
    assert stream.push(frame.iloc[0], frame.index[-1] + pd.Timedelta("9000D"))["coverage"] == 0  # a gap of 25 years
    assert stream.count == 300 + 9000 * 144


def test_a_state_is_text_and_numbers(detectors):
    stream = Stream(detectors("AE gru")[0])
    stream.push([1.0, 2.0], pd.Timestamp("2024-03-01", tz="Europe/Berlin"))
    state = stream.state()
    arrays = state.pop("arrays")
    assert json.loads(json.dumps(state))["last"] == {"time": "2024-03-01T00:00:00+01:00", "zone": "Europe/Berlin"}
    assert arrays["rows"].shape == (1, 2)
    digest = hashlib.sha256()
    for name, weight in sorted(stream.model.state_dict().items()):
        digest.update(name.encode() + weight.numpy().tobytes())
    assert state["of"]["weights"] == digest.hexdigest()


# The clock: the places that the batch reader finds for the same stamps

BERLIN = "Europe/Berlin"
AXES = {
    "minutes": pd.date_range("2024-01-01", periods=40, freq="5min"),
    "local hours over a change of clocks": pd.date_range("2024-03-30 12:00", periods=40, freq="h", tz=BERLIN),
    "local days": pd.date_range("2024-03-20", periods=40, freq="D", tz=BERLIN),
    "weeks of local days": pd.date_range("2024-03-03", periods=40, freq="7D", tz=BERLIN),
    "months": pd.date_range("2023-11-01", periods=40, freq="MS"),
    "ends of months": pd.date_range("2023-11-30", periods=40, freq="ME"),
    "quarters": pd.date_range("2023-11-01", periods=120, freq="MS")[::3] + pd.Timedelta("14D"),
    "years": pd.date_range("1980-02-29", periods=40, freq="YS"),
    "a sixtieth of a second, in ms": pd.DatetimeIndex(pd.to_datetime(np.rint(np.arange(40) * 1e3 / 60), unit="ms")),
    "whole numbers": pd.Index(np.arange(7, 47) * 3),
    "tenths": pd.Index(np.arange(40) / 10),
    "thirds, rounded": pd.Index(np.round(np.arange(40) / 3, 3)),
}


@pytest.mark.parametrize("name", AXES)
def test_steps_are_counted_as_the_batch_reader_counts_them(name):
    index = AXES[name]
    clock = clock_of(_step_document(find_step(index)))
    kept = np.delete(np.arange(40), [3, 4, *range(9, 15), *range(30, 38)])
    given = index[kept]
    assert lay_out(given).steps.tolist() == kept.tolist()
    assert [clock.steps(one, other) for one, other in pairwise(given)] == np.diff(kept).tolist()
    later = clock.after(index[0], np.arange(1, 40))
    if clock.dated:
        assert abs(later - index[1:]).max() <= pd.Timedelta("1ms")
        assert all(clock.steps(index[4], index[8] + pd.Timedelta(f"{part}ms")) == 0 for part in (3, 8, -4))
    else:
        np.testing.assert_allclose(later, index[1:], atol=2e-3)
        assert clock.steps(index[4], index[5] + 0.4 * (index[1] - index[0])) == 0


def test_stamps_written_to_the_second_may_be_one_off():
    clock = clock_of({"text": "5min", "seconds": 300.0})
    start = pd.Timestamp("2024-01-01")
    assert clock.steps(start, pd.Timestamp("2024-01-01 00:05:01")) == 1
    assert clock.steps(start, pd.Timestamp("2024-01-01 00:04:59")) == 1
    assert clock.steps(start, pd.Timestamp("2024-01-01 00:05:02")) == 0
    assert clock.steps(start, pd.Timestamp("2024-01-01 00:05:00.5")) == 0
    assert clock_of({"text": "1s", "seconds": 1.0}).steps(start, start + pd.Timedelta("1.5s")) == 0


def test_stamps_are_read_as_columns_are():
    assert read_stamp("2024-03-01T10:00:00.25+01:00") == pd.Timestamp("2024-03-01 09:00:00.25", tz="UTC")
    assert read_stamp("1709287200", time_unit="s") == pd.Timestamp("2024-03-01 10:00", tz="UTC")
    assert read_stamp(1709287200.5, time_unit="s") == pd.Timestamp("2024-03-01 10:00:00.5", tz="UTC")
    assert read_stamp("20240301", time_format="%Y%m%d") == pd.Timestamp("2024-03-01")
    assert read_stamp("31.03.2024 10:00") == pd.Timestamp("2024-03-31 10:00")
    assert read_stamp(np.datetime64("2024-03-01")) == pd.Timestamp("2024-03-01")
    assert [read_stamp("17"), read_stamp("1.5"), read_stamp(np.int64(3))] == [17, 1.5, 3]
    with pytest.raises(TimeAxisError, match="Use --time-unit ms"):
        read_stamp("1709287200000", time_unit="s")
    for nothing in (True, None, math.nan, "", "now"):
        with pytest.raises(TimeAxisError):
            read_stamp(nothing)


def test_plain_numbers_can_be_the_time():
    frame = table(300)[["a", "b"]].set_axis(pd.Index(np.arange(300) * 0.5, name="seconds"))
    detector = seqae.Detector(**QUICK, scorer="nll").fit(frame, epochs=1)
    given = frame.iloc[:60].drop(frame.index[[20, 21, 30]])
    same(pushed(Stream(detector), given), detector.score(given, batch_size=1))
    with pytest.raises(TimeAxisError, match="another kind of time"):
        Stream(detector).push([1.0, 2.0], "2024-03-01")


def test_a_stream_on_another_step_of_the_same_grid_has_gaps(detectors):
    """Every second row is missing: as the table that says so."""
    detector, _ = detectors("AE gru")
    frame = table(100, seed=5)[["a", "b"]]
    series = Series.from_frame(frame)
    series.values[1::2] = np.nan
    expected = detector.score(series, batch_size=1)[::2]
    same(pushed(Stream(detector), frame[::2]), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu(detectors, tmp_path):
    detector, _ = detectors("VAE gru, defaults")
    detector.save(tmp_path / "model.safetensors")
    moved = seqae.Detector.load(tmp_path / "model.safetensors", device="cuda")
    frame = today()[["a", "b"]]
    same(pushed(Stream(moved), frame), moved.score(frame, batch_size=1), rtol=1e-5, atol=1e-5)
