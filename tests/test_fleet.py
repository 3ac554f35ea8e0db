from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import seqae
from seqae.anomaly.fleets.apart import attempt, pass_on
from seqae.anomaly.fleets.fleet import Fleet
from seqae.anomaly.fleets.folder import file_stems, holds_fleet
from seqae.anomaly.heads import ErrorDistance
from seqae.errors import DataError, ModelFileError, NotFittedError, OptionError, SeqaeWarning, TrainingError
from seqae.series import Panel, Series

OPTIONS = {"window": 8, "hidden": 8, "latent": 2, "cell": "gru", "alpha": 0.05}
SHORT = {"epochs": 2, "device": "cpu", "seed": 3}


def table(seed, rows=200, fault=None):
    rng = np.random.default_rng(seed)
    t = 2 * np.pi * np.arange(rows) / 8
    values = np.column_stack([np.sin(t), 100 * np.cos(t)]) + rng.standard_normal((rows, 2)) * [0.1, 10]
    if fault is not None:
        values[fault:] += [5, 500]
    return pd.DataFrame(values, index=pd.date_range("2024", periods=rows, freq="h"), columns=["x", "y"])


def series(name, seed, rows=200, fault=None):
    return Series.from_frame(table(seed, rows, fault), name=name)


TRAINED = Panel([series("north", 0), series("south", 1, 240), series("east", 2)])
TODAY = Panel([series("south", 3, 60, fault=50), series("east", 4, 60), series("north", 5, 60)])


@pytest.fixture(scope="module")
def fleet():
    return Fleet(**OPTIONS).fit(TRAINED, **SHORT)


def same_scores(one, other, data=TODAY):
    expected = other.score(data)
    for name, scores in one.score(data).items():
        pd.testing.assert_frame_equal(scores, expected[name], obj=name)


# Each as if it were alone


def test_each_series_is_judged_as_by_a_detector_of_its_own(fleet):
    found, scores = fleet.detect(TODAY), fleet.score(TODAY)
    assert list(found.scores) == list(scores) == ["south", "east", "north"]
    assert list(fleet.detectors) == ["north", "south", "east"]
    events = []
    for one in TODAY:
        alone = seqae.Detector(**OPTIONS).fit(TRAINED[one.name], **SHORT)
        expected = alone.detect(one)
        pd.testing.assert_frame_equal(found.scores[one.name], expected.scores, obj=one.name)
        pd.testing.assert_frame_equal(scores[one.name], expected.scores, obj=one.name)
        assert found.thresholds[one.name] == expected.threshold
        assert fleet.calibrations[one.name].origin == alone.calibration.origin
        expected.events.insert(0, "series", one.name)
        events.append(expected.events)
    assert {len(own) for own in events} != {0}
    pd.testing.assert_frame_equal(found.events, pd.concat(events, ignore_index=True), check_dtype=False)
    assert (found.unscored, found.absent, found.remarks) == ({}, (), {})


def test_a_fleet_of_tables_answers_on_their_own_rows(fleet):
    given = {"east": table(4, 60).reset_index(names="time").set_index(pd.Index(range(100, 160)))}
    with pytest.warns(SeqaeWarning, match="no data for 2 of 3 models: north, south"):
        found = fleet.detect(given)
    pd.testing.assert_index_equal(found.scores["east"].index, given["east"].index)
    np.testing.assert_array_equal(found.scores["east"]["score"], fleet["east"].score(TODAY["east"])["score"])
    assert found.scores["east"].columns[0] == "time"
    assert found.absent == ("north", "south")


def test_series_may_have_channels_of_their_own():
    two = {"north": table(0)[["x"]], "south": table(1)[["y"]]}
    fleet = Fleet(**OPTIONS).fit(two, **SHORT)
    assert [fleet[name].preparation.channels for name in two] == [("x",), ("y",)]
    assert [list(one.filter(like="score_")) for one in fleet.score(two).values()] == [["score_x"], ["score_y"]]


def test_a_callers_own_parts_are_copied_for_each_series():
    model, head = seqae.AE(channels=2, hidden=8, latent=2), ErrorDistance()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    fleet = Fleet(**OPTIONS | {"model": model, "scorer": head}).fit(TRAINED[:2], **SHORT)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert fleet["north"].model is not fleet["south"].model
    heads = [fleet[name].judge.heads[0] for name in ("north", "south")]
    assert head not in heads
    assert any(not torch.equal(one, heads[1].state()[name]) for name, one in heads[0].state().items())


def test_runs_are_logged_in_a_folder_each(tmp_path):
    Fleet(**OPTIONS).fit({"a/b": table(0), "a:b": table(1)}, **SHORT, log_dir=tmp_path / "runs")
    assert sorted(folder.name for folder in (tmp_path / "runs").iterdir()) == ["a_b", "a_b-2"]
    assert all((folder / "metrics.jsonl").exists() for folder in (tmp_path / "runs").iterdir())


# What fails for one


def broken():
    empty = table(8)
    empty[:] = np.nan
    return {"short": table(6, 5), "north": table(0), "empty": empty, "east": table(2)}


def test_a_series_that_cannot_be_trained_on_is_named_and_stops_no_other(fleet):
    with pytest.warns(SeqaeWarning) as said:
        other = Fleet(**OPTIONS).fit(broken(), **SHORT)
    assert list(other.detectors) == ["north", "east"]
    assert list(other.failures) == ["short", "empty"]
    assert other.failures["short"] == "short has 5 rows; window=8 needs at least 8. Give more rows."
    assert "every value of x, y is missing" in other.failures["empty"]
    (text,) = {str(one.message) for one in said}
    assert text.startswith("no model for 2 of 4 series. short has 5 rows; window=8")
    assert " empty: series: every value" in text
    for name in ("north", "east"):
        pd.testing.assert_frame_equal(other[name].score(TODAY[name]), fleet[name].score(TODAY[name]))
    with pytest.raises(DataError, match=r"^short: it has no model: short has 5 rows"):
        other["short"]


def test_a_constant_series_is_trained_or_named_and_stops_no_other():
    constant = table(0)
    constant[:] = 7.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeqaeWarning)
        fleet = Fleet(**OPTIONS).fit({"constant": constant, "north": table(0)}, **SHORT)
        assert "north" in fleet.detectors
        assert ("constant" in fleet.detectors) != ("constant" in fleet.failures)
        same_scores(Fleet(**OPTIONS).fit({"north": table(0)}, **SHORT), fleet, {"north": table(9, 60)})


def test_where_all_fail_the_first_reasons_are_told():
    five = {f"s{k}": table(k, 5) for k in range(5)}
    with pytest.raises(DataError, match=r"none of the 5 series could be trained on\. s0 has .* s2 has .* And 2 more\."):
        Fleet(**OPTIONS).fit(five, **SHORT)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (TrainingError("the loss is not finite."), "the loss is not finite."),
        (ZeroDivisionError("by 0"), "unexpected ZeroDivisionError: by 0"),
    ],
)
def test_any_error_is_a_reason(monkeypatch, problem, reason):
    fit = seqae.Detector.fit

    def failing(self, data, **training):
        if "south" in data:
            raise problem
        return fit(self, data, **training)

    monkeypatch.setattr(seqae.Detector, "fit", failing)
    with pytest.warns(SeqaeWarning, match="no model for 1 of 3 series"):
        fleet = Fleet(**OPTIONS).fit(TRAINED, **SHORT)
    assert fleet.failures == {"south": reason}


def test_an_interrupt_keeps_what_is_trained(monkeypatch):
    fit = seqae.Detector.fit
    interrupted = []

    def failing(self, data, **training):
        if "south" in data:
            raise KeyboardInterrupt
        fit(self, data, **training)
        self.history["stopped"] = "interrupted" if interrupted else "finished"
        return self

    monkeypatch.setattr(seqae.Detector, "fit", failing)
    with pytest.warns(SeqaeWarning, match="no model for 2 of 3 series"):
        fleet = Fleet(**OPTIONS).fit(TRAINED, **SHORT)
    assert fleet.interrupted
    assert list(fleet.detectors) == ["north"]
    assert "interrupted" in fleet.failures["east"]
    with pytest.raises(KeyboardInterrupt):
        Fleet(**OPTIONS).fit(TRAINED[1:], **SHORT)
    interrupted.append(True)  # as the first Ctrl-C in training does: this one's model is kept, the others not begun
    with pytest.warns(SeqaeWarning, match="no model for 1 of 2 series"):
        fleet = Fleet(**OPTIONS).fit(Panel([TRAINED["east"], TRAINED["north"]]), **SHORT)
    assert fleet.interrupted
    assert list(fleet.detectors) == ["east"]


def test_a_series_without_a_model_has_rows_and_no_score(fleet):
    given = {"north": table(5, 60), "west": table(6, 60), "south": table(7, 60)[["x"]]}
    with pytest.warns(SeqaeWarning) as said:
        found = fleet.detect(given)
    assert {str(one.message).split(".")[0] for one in said} == {
        "no score for 2 of 3 series", "no data for 1 of 3 models: east"
    }  # fmt: skip
    assert list(found.unscored) == ["west", "south"]
    assert "there is no model of that name, but of north, south, east" in found.unscored["west"]
    assert "missing: y" in found.unscored["south"]
    assert list(found.scores) == list(given)
    for name in ("west", "south"):
        scores = found.scores[name]
        pd.testing.assert_index_equal(scores.index, given[name].index)
        assert scores[["score", "p_value"]].isna().all(axis=None)
        assert scores["is_anomaly"].isna().all()
        assert (scores["coverage"] == 0).all()
    assert list(found.scores["west"]) == list(found.scores["north"])
    np.testing.assert_array_equal(found.scores["north"]["score"], fleet["north"].score(TODAY["north"])["score"])
    with pytest.raises(DataError, match=r"no score for any of 1 series\. west: there is no model"):
        fleet.score({"west": table(6, 60)})


def test_warnings_name_their_series_and_many_are_counted():
    with pytest.warns(SeqaeWarning) as said:
        fleet = Fleet(**OPTIONS | {"alpha": 0.001}).fit({f"s{k}": table(k) for k in range(5)}, **SHORT)
    texts = [str(one.message) for one in said]
    assert [text[:4] for text in texts[:-1]] == [f"s{k}: " for k in (0, 1, 2) for _ in fleet.remarks[f"s{k}"]]
    assert texts[-1] == "there are warnings for 2 more series."
    assert list(fleet.remarks) == [f"s{k}" for k in range(5)]
    assert any("Nothing can be flagged at alpha=0.001" in text for text in fleet.remarks["s4"])


def test_attempts_hold_back_warnings_and_raise_those_that_are_errors():
    def work():
        warnings.warn("mind this", SeqaeWarning, stacklevel=1)
        warnings.warn("mind this", SeqaeWarning, stacklevel=1)
        return 7

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = attempt(work)
        assert done == (7, None, ((SeqaeWarning, "mind this"),))
        with pytest.raises(RuntimeWarning, match="not ours"):
            attempt(lambda: warnings.warn("not ours", RuntimeWarning, stacklevel=1))
    with pytest.warns(RuntimeWarning, match="a: not ours"):
        assert pass_on({"a": ((RuntimeWarning, "not ours"),)}) == {}
    with pytest.warns(SeqaeWarning, match=r"^a said it$"):
        assert pass_on({"a": ((SeqaeWarning, "a said it"),)}) == {"a": ["a said it"]}


# Calibrating anew


def test_every_threshold_is_set_anew():
    fleet = Fleet(**OPTIONS).fit(TRAINED, **SHORT)
    alone = {one.name: seqae.Detector(**OPTIONS).fit(one, **SHORT).calibrate(alpha=0.2) for one in TRAINED}
    fleet.calibrate(alpha=0.2)
    assert {name: one.threshold.value for name, one in fleet.calibrations.items()} == {
        name: one.calibration.threshold.value for name, one in alone.items()
    }
    before = fleet.calibrations["east"]
    with pytest.warns(SeqaeWarning, match="no data for 1 of 3 models: east"):
        fleet.calibrate(TODAY[0::2], threshold="quantile")
    for name in ("north", "south"):
        alone[name].calibrate(TODAY[name], threshold="quantile")
        assert fleet.calibrations[name].threshold.value == alone[name].calibration.threshold.value
    assert fleet.calibrations["east"] is before


# Options


def test_what_is_asked_wrongly_is_refused_at_once(fleet):
    with pytest.raises(OptionError, match="alpha"):
        Fleet(alpha=2)
    with pytest.raises(TypeError, match="epoch"):
        Fleet(**OPTIONS).fit(TRAINED, epoch=2)
    with pytest.raises(OptionError, match="cannot go on from an earlier training"):
        Fleet(**OPTIONS).fit(TRAINED, resume=True)
    for jobs in (0, 1.5, True):
        with pytest.raises(OptionError, match="jobs"):
            Fleet(**OPTIONS).fit(TRAINED, jobs=jobs, **SHORT)
    with pytest.raises(OptionError, match=r"only of named parts .* Use jobs=1"):
        Fleet(**OPTIONS | {"scorer": ErrorDistance()}).fit(TRAINED, jobs=2, **SHORT)
    for data in ({}, {1: table(0), "1": table(1)}):
        with pytest.raises(DataError, match="needs one name or more"):
            Fleet(**OPTIONS).fit(data, **SHORT)
    for work in ("score", "detect", "calibrate"):
        with pytest.raises(NotFittedError, match=r"Fleet\.load"):
            getattr(Fleet(**OPTIONS), work)(TODAY)
    with pytest.raises(NotFittedError):
        Fleet(**OPTIONS).save("never")
    assert repr(fleet) == "<Fleet of 3 detectors (north, south, east)>"


# Files


def test_a_loaded_fleet_gives_the_same_numbers(fleet, tmp_path):
    fleet.reading = {"time": "t"}
    fleet.save(tmp_path / "runs" / "fleet")
    assert sorted(path.name for path in (tmp_path / "runs" / "fleet").rglob("*")) == [
        "east.safetensors", "fleet.json", "models", "north.safetensors", "south.safetensors"
    ]  # fmt: skip
    loaded = Fleet.load(tmp_path / "runs" / "fleet")
    same_scores(loaded, fleet)
    assert loaded.reading == {"time": "t"}
    assert list(loaded.detectors) == list(fleet.detectors)
    assert loaded.describe() == fleet.describe()
    assert json.loads(json.dumps(loaded.describe()))["series"]["south"]["rows"] == 240
    alone = seqae.Detector.load(tmp_path / "runs" / "fleet" / "models" / "east.safetensors")
    pd.testing.assert_frame_equal(alone.score(TODAY["east"]), fleet["east"].score(TODAY["east"]))


def test_why_a_series_has_no_model_is_kept(tmp_path):
    with pytest.warns(SeqaeWarning):
        fleet = Fleet(**OPTIONS | {"alpha": 0.001}).fit({"a": table(0), "b": table(1, 5)}, **SHORT)
    fleet.save(tmp_path)
    loaded = Fleet.load(tmp_path)
    assert loaded.failures == fleet.failures
    assert loaded.remarks == fleet.remarks
    assert loaded.remarks["a"]
    with pytest.warns(SeqaeWarning):
        assert loaded.detect({"a": table(0), "b": table(1)}).unscored["b"].startswith("it has no model: b has 5 rows")


def test_any_name_of_a_series_makes_a_file():
    names = ["pump", "Pump", "../pump", "a/b", "a:b", "", ".", "..", "con", "Aux.1", "ü", "x" * 300, "x" * 300 + "y"]
    stems = file_stems(names)
    assert stems[:6] == ["pump", "Pump-2", "_pump", "a_b", "a_b-2", "series"]
    assert len({stem.lower() for stem in stems}) == len(names)
    for stem in stems:
        assert stem.strip(".") == stem != ""
        assert all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in stem)
        assert len(stem) <= 100
    assert file_stems(["con", "Aux.1"]) == ["series-con", "series-Aux.1"]
    assert file_stems(["pump", "pump-2"], held=["PUMP"]) == ["pump-2", "pump-2-2"]


def test_names_are_kept_as_they_are(fleet, tmp_path):
    names = {"north": "../n/ö:\n", "south": "con", "east": "\udcff"}
    odd = Fleet(**OPTIONS)
    odd.detectors = {names[name]: fleet[name] for name in names}
    odd.save(tmp_path / "fleet")
    assert [path.name for path in tmp_path.iterdir()] == ["fleet"]
    loaded = Fleet.load(tmp_path / "fleet")
    assert list(loaded.detectors) == list(names.values())
    same_scores(loaded, odd, {names[one.name]: one for one in TODAY})


def test_saving_again_replaces_the_fleet_and_nothing_else(fleet, tmp_path):
    fleet.save(tmp_path)
    (tmp_path / "models" / "mine.txt").write_text("mine")
    smaller = Fleet(**OPTIONS)
    smaller.detectors = {name: fleet[name] for name in ("south", "north")}
    smaller.save(tmp_path)
    assert list(Fleet.load(tmp_path).detectors) == ["south", "north"]
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["fleet.json", "mine.txt", "north-2.safetensors", "south-2.safetensors"]
    smaller.save(tmp_path)
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["fleet.json", "mine.txt", "north.safetensors", "south.safetensors"]


def test_a_failed_save_leaves_the_old_fleet(fleet, tmp_path, monkeypatch):
    fleet.save(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    save, count = seqae.Detector.save, []

    def failing(self, path):
        count.append(path)
        if len(count) == 2:
            raise OSError(28, "No space left on device")
        save(self, path)

    monkeypatch.setattr(seqae.Detector, "save", failing)
    with pytest.raises(OptionError, match=r"cannot write the fleet to .*No space left on device"):
        fleet.save(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="cannot write"):
        fleet.save(tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "detector"}, "is no index of a fleet"),
        ({"format_version": 2}, r"has format version 2; this seqae reads up to 1\. Upgrade"),
        ({"series": {"a": "../../elsewhere.safetensors"}}, "which is no file of its folder"),
        ({"series": {"a": ".."}}, "which is no file of its folder"),
        ({"series": {"a": 3}}, "which is no file of its folder"),
        ({"series": {}}, "names no model"),
        ({"series": []}, "is no index of a fleet"),
        ({"failures": None}, "is no index of a fleet"),
        ({"series": {"a": "lost.safetensors"}}, r"there is no file .*lost\.safetensors"),
    ],
)
def test_what_is_no_fleet_is_refused(fleet, tmp_path, change, message):
    fleet.save(tmp_path)
    index = tmp_path / "fleet.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | change))
    with pytest.raises(ModelFileError, match=message):
        Fleet.load(tmp_path)


def test_a_folder_without_an_index_is_no_fleet(tmp_path):
    assert not holds_fleet(tmp_path)
    with pytest.raises(ModelFileError, match=r"holds no fleet: there is no .*fleet\.json"):
        Fleet.load(tmp_path)
    (tmp_path / "fleet.json").write_text('{"kind": "fl')
    assert holds_fleet(tmp_path)
    with pytest.raises(ModelFileError, match="or was cut off"):
        Fleet.load(tmp_path)


# Several at a time


@pytest.mark.slow
def test_processes_give_the_same_fleet(fleet):
    data = {**{one.name: one for one in TRAINED}, "short": table(6, 5)}
    with pytest.warns(SeqaeWarning, match="no model for 1 of 4 series"):
        apart = Fleet(**OPTIONS).fit(data, jobs=2, **SHORT)
    assert list(apart.detectors) == list(fleet.detectors)
    assert apart.failures == {"short": "short has 5 rows; window=8 needs at least 8. Give more rows."}
    same_scores(apart, fleet)
