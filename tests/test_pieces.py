from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import seqae
from seqae.anomaly.pieces import EventTally, score_pieces
from seqae.errors import OptionError
from seqae.series import Series, concatenated


def series(rows=2300, seed=0, dated=True):
    rng = np.random.default_rng(seed)
    turn = 2 * np.pi * np.arange(rows) / 20
    values = np.stack([np.sin(turn), np.cos(turn)], axis=1) + 0.1 * rng.standard_normal((rows, 2))
    for start in (300, 330, 900, 1500, rows - 5):
        values[start : start + 12, 0] += 4
    values[1000:1030] = np.nan
    values[rng.random(values.shape) < 0.02] = np.nan
    if not dated:
        return Series.from_array(values, name="pump")
    index = pd.date_range("2026-01-01", periods=rows, freq="1h", name="time")
    return Series.from_frame(pd.DataFrame(values, index=index, columns=["a", "b"]), name="pump")


def cut(whole, size):
    return [whole[first : first + size] for first in range(0, len(whole), size)]


@pytest.fixture(scope="module")
def detectors():
    normal = series(900, 1)[:299]
    made = {}
    for mode in ("causal", "overlap", "centred"):
        options = {"window": 20, "hidden": 8, "latent": 2, "alpha": 0.05, "mode": mode, "smoothing": 5}
        made[mode] = seqae.Detector(model="CVAE", **options).fit(normal, epochs=2, device="cpu")
    return made


@pytest.mark.parametrize("size", [1, 50, 333, 5000])
@pytest.mark.parametrize("mode", ["causal", "overlap", "centred"])
def test_pieces_give_the_scores_and_events_of_the_whole(detectors, mode, size):
    whole, detector = series(1200 if size == 1 else 2300), detectors[mode]
    found = detector.detect(whole, batch_size=32, merge=2, min_length=2)
    tally, events, tables, first = EventTally(detector, merge=2, min_length=2), [], [], 0
    for scores in score_pieces(detector, cut(whole, size), batch_size=32):
        assert scores.first_row == first
        first += len(scores.table)
        assert scores.series.index.equals(scores.table.index)
        tables.append(scores.table)
        events.append(tally.add(scores))
    events.append(tally.finish())
    assert len(found.events) > 3
    pd.testing.assert_frame_equal(pd.concat(tables), found.scores, check_exact=True, check_freq=False)
    kept = pd.concat([one for one in events if len(one)], ignore_index=True)
    pd.testing.assert_frame_equal(kept, found.events, check_exact=True)


def test_rows_without_a_time_are_counted_on(detectors):
    options = {"window": 20, "hidden": 8, "latent": 2, "alpha": 0.05}
    detector = seqae.Detector(**options).fit(series(900, 1, dated=False)[:299], epochs=2, device="cpu")
    whole = series(dated=False)
    expected = detector.detect(whole, batch_size=16).events
    tally, events = EventTally(detector), []
    for scores in score_pieces(detector, cut(whole, 200), batch_size=16):
        events.append(tally.add(scores))
    events.append(tally.finish())
    kept = pd.concat([one for one in events if len(one)], ignore_index=True)
    assert kept[["start", "end", "peak"]].to_numpy().tolist() == expected[["start", "end", "peak"]].to_numpy().tolist()


def test_what_is_held_does_not_grow(detectors):
    """Rows held: those of a piece, and of a block of windows and their reach before it."""
    detector, most = detectors["overlap"], 0
    score = detector.score

    def spied(data, **options):
        nonlocal most
        most = max(most, len(data))
        return score(data, **options)

    detector.score = spied
    try:
        given = sum(len(one.table) for one in score_pieces(detector, cut(series(), 100), batch_size=16))
    finally:
        del detector.score
    assert given == 2300
    reach = detector.window + detector.smoothing
    assert most <= 100 + 2 * 16 * detector.stride + detector.window + 2 * reach


def test_joined_pieces_are_the_whole():
    whole = Series(
        series().values, ("a", "b"), series().index, labels=np.arange(2300) % 7 == 0,
        covariates=pd.DataFrame({"k": np.arange(2300)}), name="pump",
    )  # fmt: skip
    parts = cut(whole, 700)
    again = concatenated(parts)
    np.testing.assert_array_equal(again.values, whole.values)
    assert again.index.equals(whole.index)
    np.testing.assert_array_equal(again.labels, whole.labels)
    assert again.covariates.equals(whole.covariates)
    assert again.present is None


def test_a_threshold_that_looks_at_all_rows_is_refused(detectors):
    detector = detectors["overlap"]
    detector.calibrate(threshold="benjamini_hochberg")
    try:
        with pytest.raises(OptionError, match="read the file whole: --chunk-rows 0"):
            next(score_pieces(detector, cut(series(), 500)))
    finally:
        detector.calibrate(threshold="conformal")
    with pytest.raises(OptionError, match="no event to finish"):
        EventTally(detector).finish()
