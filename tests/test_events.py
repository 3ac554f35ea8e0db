from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seqae.anomaly.events import EVENT_COLUMNS, find_events
from seqae.anomaly.thresholds.rules import Quantile
from seqae.errors import OptionError

THRESHOLD = Quantile(np.linspace(0, 1, 101), 0.1)  # median 0.5, value 0.9
HOURS = pd.date_range("2024-03-01", periods=400, freq="h", tz="Europe/Berlin")


def events(scores, *, parts=None, channels=("a",), index=None, **options):
    scores = np.asarray(scores, dtype=float)
    parts = scores[:, None] if parts is None else parts
    index = pd.RangeIndex(len(scores)) if index is None else index
    return find_events(THRESHOLD.flag(scores), scores, index, parts, channels, threshold=THRESHOLD, **options)


def naive_spans(scores, merge, min_length):
    """Walk along the steps, count what has passed since the last flagged one."""
    spans, start, end, normal, missing = [], None, None, 0, 0
    for t, score in enumerate(scores):
        if score > THRESHOLD.value:
            if start is not None and (normal > merge or missing > merge):
                spans.append((start, end))
                start = None
            start = t if start is None else start
            end, normal, missing = t, 0, 0
        elif np.isnan(score):
            missing += 1
        else:
            normal += 1
    spans += [(start, end)] if start is not None else []
    return [(s, e) for s, e in spans if e - s + 1 >= min_length]


@pytest.mark.parametrize("merge", [0, 1, 2, 5])
@pytest.mark.parametrize("min_length", [1, 2, 4])
def test_spans_agree_with_a_walk_along_the_steps(merge, min_length):
    rng = np.random.default_rng(10 * merge + min_length)
    for _ in range(50):
        scores = rng.choice([0.1, 5.0, np.nan], p=[0.5, 0.3, 0.2], size=60)
        found = events(scores, merge=merge, min_length=min_length)
        assert list(zip(found["start"], found["end"], strict=True)) == naive_spans(scores, merge, min_length)
        assert (found["steps"] == found["end"] - found["start"] + 1).all()


def test_one_event_in_full_on_its_own_timestamps():
    scores = np.zeros(400)
    parts = np.zeros((400, 3))
    parts[100:104] = [[6, 0, 0], [9, 3, 0], [3, 3, 3], [6, 0, 0]]  # sums 24, 6, 3
    scores[100:104] = parts[100:104].mean(axis=1)
    found = events(scores, parts=parts, channels=("hot", "cold", "wet"), index=HOURS)
    assert tuple(found.columns) == EVENT_COLUMNS
    assert len(found) == 1
    event = found.iloc[0]
    assert (event["start"], event["end"], event["peak"]) == (HOURS[100], HOURS[103], HOURS[101])
    assert event["steps"] == 4
    assert event["score"] == 4.0
    assert event["severity"] == pytest.approx((4 - 0.5) / (0.9 - 0.5))
    assert event["channels"] == "hot, cold"  # wet has 3 of 33: below a tenth
    assert event["shares"] == "0.73, 0.18"


def test_shares_count_only_what_is_above_each_channels_usual_part():
    parts = np.array([[10.0, 4.0], [10.0, 4.0]])
    found = events(parts.mean(axis=1), parts=parts, channels=("noisy", "quiet"), baseline=[10.0, 1.0])
    assert found["channels"].tolist() == ["quiet"]
    assert found["shares"].tolist() == ["1.00"]


def test_a_channel_that_is_missing_adds_nothing_and_a_calm_event_names_none():
    parts = np.array([[np.nan, 3.0], [np.nan, 3.0]])
    found = events([3.0, 3.0], parts=parts, channels=("gone", "there"))
    assert found["channels"].tolist() == ["there"]
    found = events([3.0, 3.0], parts=parts, channels=("gone", "there"), baseline=[0.0, 4.0])
    assert found["channels"].tolist() == [""]


def test_at_most_three_channels_and_ties_in_channel_order():
    parts = np.full((2, 5), 2.0)
    found = events(parts.mean(axis=1), parts=parts, channels=tuple("abcde"))
    assert found["channels"].tolist() == ["a, b, c"]
    assert found["shares"].tolist() == ["0.20, 0.20, 0.20"]


def test_no_event_is_an_empty_table_of_the_same_kinds():
    some = events(np.r_[np.zeros(399), 5.0], index=HOURS)
    none = events(np.zeros(400), index=HOURS)
    assert len(none) == 0
    assert none.dtypes.to_dict() == some.dtypes.to_dict()
    assert some["start"].dtype == HOURS.dtype


@pytest.mark.parametrize("options", [{"merge": -1}, {"min_length": 0}])
def test_rules_out_of_range_are_refused(options):
    with pytest.raises(OptionError, match="at least"):
        events([0.0], **options)


def stretch(rows, flagged):
    """A flagged stretch, as scores that spread over windows make it."""
    scores = np.zeros(rows)
    scores[flagged] = 10.0
    return scores


def places(scores, errors, limit, reach, parts=None, **rules):
    rows = len(scores)
    parts = np.stack([scores, np.zeros(rows)], axis=1) if parts is None else parts
    return find_events(
        scores > 5, scores, pd.RangeIndex(rows), parts, ("a", "b"), threshold=Quantile(np.linspace(0, 5, 100), 0.05),
        errors=errors, error_limit=limit, reach=reach, **rules,
    )  # fmt: skip


def test_an_event_is_narrowed_to_where_values_are_clearly_off():
    scores = stretch(60, slice(10, 50))
    scores[12], scores[27] = 12.0, 11.0
    parts = np.stack([scores, np.zeros(60)], axis=1)
    parts[25:30] = [2.0, 18.0]  # another channel than in the rows around
    errors = np.full(60, 0.5)
    errors[[25, 27, 29]] = [3.0, 9.0, 4.0]
    narrow = places(scores, errors, 1.0, 20, parts)
    assert narrow[["start", "peak", "end", "steps"]].to_numpy().tolist() == [[25, 27, 29, 5]]
    assert narrow["channels"][0] == "b, a"
    assert narrow["score"][0] == 11.0  # of its own rows
    assert places(scores, errors, 1.0, 20, parts, min_length=6).empty
    # errors that are no higher than those of a few rows by chance say nothing of where
    for wide in (places(scores, errors, 4.6, 20, parts), places(scores, None, 1.0, 20, parts)):
        assert wide[["start", "peak", "end"]].to_numpy().tolist() == [[10, 12, 49]]
        assert wide["channels"][0] == "a, b"


def test_a_flagged_stretch_with_several_places_makes_several_events_and_loses_none():
    scores, errors = stretch(400, slice(20, 380)), np.full(400, 0.5)
    errors[100:110], errors[200:203] = 50.0, 3.0
    scores[330] = 99.0  # the highest score, where no value is off: a shape
    found = places(scores, errors, 1.0, 30)
    spans = found[["start", "peak", "end", "score"]].to_numpy().tolist()
    # beyond the reach of both, the stretch is flagged for reasons of its own
    assert spans == [
        [20, 20, 69, 10],
        [100, 100, 109, 10],
        [140, 140, 169, 10],
        [200, 200, 202, 10],
        [233, 330, 379, 99],
    ]
