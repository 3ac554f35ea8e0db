from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import seqae
from seqae.anomaly.fleets.attention import ATTENTION_COLUMNS, attention_table, summarise
from seqae.anomaly.fleets.fleet import Fleet
from seqae.series import Panel, Series

NAN = math.nan


def scored(scores, flagged=(), index=None):
    """A score table with these scores; `flagged` are row numbers."""
    flags = np.isin(np.arange(len(scores)), list(flagged))
    return pd.DataFrame({"score": scores, "is_anomaly": flags}, index=index)


def found(*rows):
    """Events as (series, start, end, peak, severity, channels)."""
    names = ("series", "start", "end", "peak", "severity", "channels")
    return pd.DataFrame({name: [row[k] for row in rows] for k, name in enumerate(names)})


def order(table):
    return table["series"].tolist()


def test_a_line_holds_what_its_series_shows():
    tables = {"a": scored([1.0, 9, 9, NAN, 1, 1, 5, 5, 1, NAN], [1, 2, 6, 7]), "b": scored([1.0] * 4)}
    events = found(("a", 1, 2, 2, 3.5, "x, y"), ("a", 6, 7, 6, 1.5, "y"))
    table = attention_table(tables, events, expected={"a": 0.05, "b": 0.01}, notes={"b": "said"})
    assert list(table) == list(ATTENTION_COLUMNS)
    a, b = table.to_dict("records")
    assert a == {
        "series": "a", "ongoing": False, "severity": 3.5, "score": 9.0, "events": 2, "peak": 2, "last_end": 7,
        "channels": "x, y", "rows": 10, "scored": 0.8, "flagged": 4, "flagged_share": 0.5, "expected_share": 0.05,
        "note": "",
    }  # fmt: skip
    assert math.isnan(b.pop("severity"))
    assert b == {
        "series": "b", "ongoing": False, "score": 1.0, "events": 0, "peak": None, "last_end": None, "channels": "",
        "rows": 4, "scored": 1.0, "flagged": 0, "flagged_share": 0.0, "expected_share": 0.01, "note": "said",
    }  # fmt: skip


def test_going_on_comes_first_then_what_is_over_then_the_unknown_then_the_quiet():
    tables = {
        "quiet": scored([1.0] * 9),
        "over, mild": scored([1.0] * 9, [3]),
        "unknown": scored([NAN] * 9),
        "going on, mild": scored([1.0] * 9, [8]),
        "over, severe": scored([1.0] * 9, [4]),
        "going on, severe": scored([1.0] * 9, [7, 8]),
    }
    events = found(
        ("over, mild", 3, 3, 3, 1.1, ""), ("going on, mild", 8, 8, 8, 1.2, ""), ("over, severe", 4, 4, 4, 50.0, ""),
        ("going on, severe", 7, 8, 8, 2.0, ""),
    )  # fmt: skip
    table = attention_table(tables, events)
    assert order(table) == [
        "going on, severe", "going on, mild", "over, severe", "over, mild", "unknown", "quiet"
    ]  # fmt: skip
    assert table["ongoing"].tolist() == [True, True, False, False, False, False]
    assert table["expected_share"].isna().all()


def test_equals_stand_by_their_flagged_share_and_then_as_given():
    tables = {
        "c": scored([1.0] * 8, [1]), "b": scored([1.0] * 8, [1, 2]), "a": scored([1.0] * 8, [1]),
        "z": scored([1.0] * 8), "y": scored([1.0] * 8), "x": scored([1.0] * 8, [0]),
    }  # fmt: skip
    events = found(*((name, 1, 1, 1, 2.0, "") for name in "abc"))
    assert order(attention_table(tables, events)) == ["b", "c", "a", "x", "z", "y"]


@pytest.mark.parametrize(
    ("scores", "end", "merge", "expected"),
    [
        ([1, 1, 5, 1, 1], 2, 0, False),
        ([1, 1, 5, 1, 1], 2, 1, False),
        ([1, 1, 5, 1, 1], 2, 2, True),
        ([1, 1, 5, 1, NAN], 2, 1, True),
        ([1, 1, 5, NAN, NAN], 2, 0, True),  # nothing has said that it is over
        ([1, 1, 1, 1, 5], 4, 0, True),
    ],
)
def test_an_event_goes_on_while_a_flagged_row_could_still_join_it(scores, end, merge, expected):
    index = pd.date_range("2024-03-31", periods=5, freq="h", tz="Europe/Berlin")
    table = scored(np.array(scores, dtype=float), [end], index)
    events = found(("a", index[end], index[end], index[end], 2.0, "x"))
    (line,) = attention_table({"a": table}, events, merge=merge).to_dict("records")
    assert line["ongoing"] is expected
    assert line["last_end"] == line["peak"] == index[end]


def test_the_last_end_is_that_of_the_last_event_whatever_their_order():
    tables = {"a": scored([1.0] * 9, [1, 5])}
    for rows in ([1, 5], [5, 1]):
        (line,) = attention_table(tables, found(*(("a", k, k, k, 10.0 - k, "") for k in rows))).to_dict("records")
        assert (line["last_end"], line["peak"], line["severity"]) == (5, 1, 9.0)


def test_a_time_axis_that_was_a_column_stands_before_the_score():
    stamps = pd.date_range("2024", periods=4, freq="h")
    table = scored([1.0, 1, 1, 5], [3]).assign(time=stamps)[["time", "score", "is_anomaly"]]
    (line,) = attention_table({"a": table}, found(("a", stamps[3], stamps[3], stamps[3], 2.0, ""))).to_dict("records")
    assert line["ongoing"] is True


def test_series_with_a_note_and_no_table_have_a_line():
    table = attention_table({"a": scored([1.0])}, found(), notes={"b": "no data for its model"})
    assert order(table) == ["b", "a"]
    line = table.iloc[0]
    assert (line["rows"], line["scored"], line["events"], line["note"]) == (0, 0.0, 0, "no data for its model")


def test_without_a_threshold_nothing_is_flagged():
    table = scored([1.0, 2.0]).assign(is_anomaly=pd.array([pd.NA, pd.NA], dtype="boolean"))
    assert attention_table({"a": table}, found())["flagged"].tolist() == [0]


def test_what_no_threshold_has_judged_stands_by_its_highest_score():
    bare = {"is_anomaly": pd.array([pd.NA] * 3, dtype="boolean")}
    parts = {"score_x": [1.0, 9, 0], "score_y": [0.0, 1, 1], "score_z": [0.0, 0.5, 1]}
    tables = {
        "low": scored([1.0, 2, 1]).assign(**bare),
        "quiet": scored([1.0, 1, 1]),
        "high": scored([1.0, 7, NAN]).assign(**bare, **parts),
        "drifting": scored([1.0, 1.5, 1]).assign(**bare),
    }
    table = attention_table(tables, found(), notes={"drifting": "said"})
    assert order(table) == ["quiet", "drifting", "high", "low"]
    line = table.set_index("series").loc["high"]
    assert (line["score"], line["peak"], line["channels"], line["flagged"]) == (7.0, 1, "x", 0)
    assert math.isnan(line["flagged_share"])
    assert table.set_index("series")["peak"]["quiet"] is None


# What detectors and fleets find


def waves(name, seed, rows=240, fault=None):
    rng = np.random.default_rng(seed)
    t = 2 * np.pi * np.arange(rows) / 8
    values = np.column_stack([np.sin(t), np.cos(t)]) + 0.1 * rng.standard_normal((rows, 2))
    if fault is not None:
        values[fault:, 1] += 5
    return Series(values, ("x", "y"), index=pd.date_range("2024", periods=rows, freq="h"), name=name)


TRAINED = Panel([waves("a", 0), waves("b", 1), waves("c", 2)])
TODAY = Panel([waves("a", 3, 60), waves("b", 4, 60, fault=50), waves("c", 5, 60)])
OPTIONS = {"window": 8, "hidden": 8, "latent": 2, "cell": "gru", "alpha": 0.05, "scorer": "nll"}
SHORT = {"epochs": 2, "device": "cpu"}


@pytest.mark.parametrize("kind", ["one threshold", "a threshold each", "fleet"])
def test_a_panel_is_summarised_as_it_was_judged(kind):
    judge = Fleet(**OPTIONS) if kind == "fleet" else seqae.Detector(**OPTIONS, per_series=kind == "a threshold each")
    judge.fit(TRAINED, **SHORT)
    found = judge.detect(TODAY)
    limits = {judge.calibration_of(name).threshold.value for name in TODAY.names}
    assert len(limits) == (1 if kind == "one threshold" else 3)
    table = summarise(judge, found).set_index("series")
    assert table.index[0] == "b"
    assert table.loc["b", "ongoing"]
    assert table.loc["b", "channels"].startswith("y")
    for name in TODAY.names:
        own = found.events[found.events["series"] == name]
        limit = judge.calibration if kind == "one threshold" else judge.calibration_of(name)
        assert table.loc[name, "events"] == len(own)
        assert table.loc[name, "flagged"] == found.scores[name]["is_anomaly"].sum()
        assert table.loc[name, "expected_share"] == limit.threshold.false_alarm_rate
        assert table.loc[name, "note"] == ""
    assert table.loc["b", "severity"] == found.events.loc[found.events["series"] == "b", "severity"].max()


def test_a_single_series_has_one_line():
    judge = seqae.Detector(**OPTIONS).fit(TRAINED["a"], **SHORT)
    found = judge.detect(TODAY["b"])
    (line,) = summarise(judge, found).to_dict("records")
    assert (line["series"], line["rows"], line["events"], line["ongoing"]) == ("series", 60, len(found.events), True)


def test_a_fleets_notes_say_what_is_not_known():
    fleet = Fleet(**OPTIONS).fit(TRAINED, **SHORT)
    fleet.remarks = {"a": ["Its calibration is short."]}
    with pytest.warns(seqae.errors.SeqaeWarning, match=r"no score for 1 of 2|no data for 2 of 3"):
        found = fleet.detect(Panel([TODAY["a"], waves("new", 7, 60)]))
    notes = summarise(fleet, found).set_index("series")["note"]
    assert set(notes.index) == {"a", "b", "c", "new"}
    assert notes["a"] == "Its calibration is short."
    assert notes["b"] == notes["c"] == "no data for its model"
    assert notes["new"].startswith("not scored: there is no model of that name")


@pytest.mark.filterwarnings("ignore::seqae.errors.SeqaeWarning")
def test_where_nothing_can_be_flagged_the_note_says_so():
    fleet = Fleet(**OPTIONS).fit(TRAINED, **SHORT).calibrate(alpha=1e-4)
    table = summarise(fleet, fleet.detect(TODAY))
    assert table["note"].str.contains("nothing can be flagged").all()
    assert (table["expected_share"] == 0).all()
