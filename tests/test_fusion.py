from __future__ import annotations

import json

import numpy as np
import pytest

from seqae.anomaly import fusion as fusions
from seqae.anomaly.fusion import FUSIONS, Fusion, Spread, Tail, combine
from seqae.anomaly.scoring import Folded, head_of
from seqae.errors import DataError

NAMES = ("window_error", "nearest_shape", "nearest_latent")


def folded(values):
    values = np.asarray(values, dtype=np.float32)
    return Folded(values, (~np.isnan(values)).any(axis=1).astype(np.int32))


def said(rows, seed=0, channels=2):
    """What three heads, the last without channels, and the errors say of a series."""
    rng = np.random.default_rng(seed)
    widths = (channels, channels, 1, channels)
    return [folded(rng.gamma(2.0, size=(rows, width)) * 10.0**k) for k, width in enumerate(widths)]


def fitted(how="max", variance=40.0, known=None):
    heads = {name: head_of(name) for name in NAMES}
    return Fusion.fit(heads, how, [said(500), said(300, 1)], variance, known or {})


def test_a_tail_is_empirical_inside_and_exponential_outside():
    scores = np.random.default_rng(0).gamma(2.0, size=999)
    tail, (low, high) = Tail(scores), np.quantile(scores, [0.01, 0.99])
    inside = np.sort(scores)[[50, 400, 900]]
    assert tail.evidence(inside) == pytest.approx([-np.log10((1 + n) / 1000) for n in (949, 599, 99)])
    assert tail.evidence([high + 1e-9, 2 * high - low]) == pytest.approx([2, 4])
    assert tail.evidence([low - 0.5 * (high - low)]) == pytest.approx([-1])
    assert np.isnan(tail.evidence([np.nan])).all()
    course = tail.evidence(np.linspace(-5, 20, 4000))
    assert (np.diff(course) >= 0).all()


def test_a_tail_of_equal_scores_tells_more_from_less():
    tail = Tail(np.full(50, 3.0))
    low, same, high = tail.evidence([2.9, 3.0, 3.1])
    assert low < same < high
    assert np.isfinite([low, same, high]).all()
    for nothing in ([], [np.nan], [np.inf]):
        with pytest.raises(DataError, match="needs finite scores"):
            Tail(nothing)


def test_a_tail_of_very_many_scores_keeps_some_at_even_ranks(monkeypatch):
    scores = np.random.default_rng(0).gamma(2.0, size=30_000)
    every = Tail(scores)
    monkeypatch.setattr(fusions, "SCORES", 3000)
    some = Tail(scores)
    assert len(every.scores) == 30_000
    assert len(some.scores) == 3000
    course = np.linspace(-1, 12, 500)
    np.testing.assert_allclose(10 ** -some.evidence(course), 10 ** -every.evidence(course), atol=1 / 3000, rtol=0.05)
    np.testing.assert_array_equal(Tail(some.scores).evidence(course), some.evidence(course))  # as a model file has it


def test_evidence_is_of_the_mean_over_channels_and_weighted_by_what_a_head_explains():
    fusion, new = fitted(), said(40, 7)
    scored = fusion(new)
    # of these three only window_error is the squared error of a reconstruction
    left = np.concatenate([one[0].values for one in (said(500), said(300, 1))]).mean() / 40.0
    # and nearest_shape looks for one neighbour in both channels
    assert fusion.weights == pytest.approx(((1 - left) ** 4, 1 / 2, 1))
    for head, tail, weight, own in zip(new, fusion.tails, fusion.weights, scored.evidence, strict=False):
        np.testing.assert_allclose(own, weight * tail.evidence(head.values.mean(1, dtype=np.float64)))
    np.testing.assert_allclose(scored.total, scored.evidence.max(axis=0))
    np.testing.assert_allclose(fitted("sum")(new).total, scored.evidence.sum(axis=0))
    assert min(fitted(variance=0.1).weights) == 0.01


def test_parts_have_the_score_as_their_mean_and_follow_the_errors_and_the_surest_head():
    fusion, new = fitted(), said(40, 7)
    new[-1].values[5] = [9e4, 10.0]  # the error is one channel's, the surest head says the other
    new[1].values[5] = [0.0, 9e3]
    new[-1].values[6] = [0.0, 0.0]
    for one in new[:2]:
        one.values[6] = [0.0, 0.0]
    scored = fusion(new)
    np.testing.assert_allclose(scored.parts.mean(axis=1), scored.total, rtol=1e-5)
    assert scored.parts[5].tolist() == pytest.approx([scored.total[5]] * 2, rel=1e-6)
    assert scored.parts[6].tolist() == pytest.approx([scored.total[6]] * 2)  # nothing beyond the usual: even
    np.testing.assert_allclose(scored.error, new[-1].values.mean(axis=1, dtype=np.float64))


def test_a_silent_head_has_no_vote_and_a_row_that_none_saw_no_score():
    fusion, new = fitted(), said(10, 3)
    new[1].values[2] = np.nan
    for one in new:
        one.values[4] = np.nan
    for how in FUSIONS:
        scored = Fusion(fusion.names, how, fusion.tails, fusion.weights, fusion.spreads, fusion.usual)(new)
        assert np.isfinite(scored.total[2])
        assert np.isnan(scored.total[4])
        assert np.isnan(scored.parts[4]).all()
    for one in (new[0], new[1], new[-1]):
        one.values[7, 0] = np.nan  # one channel missing: the other has it all
    parts = fusion(new).parts[7]
    assert np.isnan(parts[0])
    assert parts[1] == pytest.approx(fusion(new).total[7], rel=1e-6)


def test_what_is_written_is_read_again():
    fusion = fitted()
    again = Fusion.restore(json.loads(json.dumps(fusion.to_document())), fusion.tensors())
    for one, other in zip(fusion(said(50, 9)), again(said(50, 9)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_head_alone_keeps_its_units():
    head, _, latent, errors = said(20, 4)
    scored = combine([head, errors], 2, None)
    np.testing.assert_array_equal(scored.parts, head.values)
    np.testing.assert_allclose(scored.total, head.values.mean(axis=1, dtype=np.float64))
    assert scored.evidence.shape == (0, 20)
    without = combine([latent, errors], 2, None)
    np.testing.assert_array_equal(without.total, latent.values[:, 0])
    assert np.isnan(without.parts).all()


def test_a_head_that_says_nothing_of_normal_data_is_named():
    nothing = said(30)
    nothing[1].values[:] = np.nan
    with pytest.raises(DataError, match="score head nearest_shape gives no row"):
        Fusion.fit({name: head_of(name) for name in NAMES}, "max", [nothing], 1.0, {})


def test_channels_are_compared_in_their_usual_ranges():
    rng = np.random.default_rng(3)
    known = rng.gamma(2.0, size=(2000, 2)) * [1.0, 1e-3]
    spread = Spread.of(np.vstack([known, [[np.nan, np.nan]]]))
    low, high = np.quantile(known, [0.01, 0.99], axis=0)
    np.testing.assert_allclose(spread.low, low)
    np.testing.assert_allclose(spread.width, high - low)
    inside = spread(np.float32([low, high, [1e9, np.nan], [0, 0]]))
    np.testing.assert_allclose(inside, [[0, 0], [1, 1], [32, np.nan], [0, 0]], atol=1e-5)
    constant = Spread.of(np.full((50, 1), 7.0))
    assert constant(np.float32([[7.0], [7.0001], [7.1]])).ravel().tolist() == pytest.approx([0, 1, 32], rel=1e-2)
    assert Spread.of(np.full((5, 1), np.nan)).width == 1.0


def test_an_error_that_is_high_for_its_channel_counts_as_much_in_a_quiet_channel():
    rng = np.random.default_rng(4)
    quiet = [1.0, 1e-3]

    def given(rows, at=None):
        heads = [folded(rng.gamma(2.0, size=(rows, 2)) * quiet) for _ in range(4)]
        heads[2] = folded(np.ones((rows, 1)))
        if at is not None:
            for one in (heads[0], heads[-1]):
                one.values[at] = [1.0, 0.02]
        return heads

    heads, known = {name: head_of(name) for name in NAMES}, rng.gamma(2.0, size=(500, 2)) * quiet
    plain = Fusion.fit(heads, "max", [given(500)], 40.0, {})
    compared = Fusion.fit(heads, "max", [given(500)], 40.0, {"window_error": known})
    new = given(30, at=7)
    assert plain(new).evidence[0, 7] < 1 < 3 < compared(new).evidence[0, 7]
    assert compared(new).parts[7, 1] > 2 * compared(new).parts[7, 0]
    again = Fusion.restore(json.loads(json.dumps(compared.to_document())), compared.tensors())
    np.testing.assert_array_equal(again(new).total, compared(new).total)


@pytest.mark.parametrize("how", FUSIONS)
def test_rows_fused_some_at_a_time_are_those_fused_at_once(how, monkeypatch):
    fusion, heads = fitted(how), said(50, seed=3)
    whole = fusion(heads)
    monkeypatch.setattr("seqae.anomaly.fusion._BLOCK", 7)
    for mine, true in zip(fusion(heads), whole, strict=True):
        np.testing.assert_array_equal(mine, true)
