from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions

from seqae.anomaly.heads import absolute_error, nll, squared_error
from seqae.anomaly.neighbours import reference_windows
from seqae.anomaly.scoring import (
    MODES,
    SCORERS,
    Folded,
    fold_outputs,
    head_of,
    score_windows,
    stretches,
    total_score,
)
from seqae.errors import DataError, OptionError
from seqae.models import AE, VAE, Output
from seqae.windows import Batch, WindowSet

W = 9
# Windows that share a batch share matrix products, whose summation order depends on the batch's size.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = VAE(channels=2, latent=3, hidden=8)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return model.eval()


def values(rows, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    array = rng.standard_normal((rows, 2)).astype(np.float32)
    array[rng.random(array.shape) < missing] = np.nan
    return array


def learned(model, scorer):
    """Return a head that has learned from other normal windows."""
    head = head_of(scorer)
    windows = WindowSet([values(80, seed=7)], window=W)
    head.learn(model, windows, reference_windows(windows))
    return head


def score(model, arrays, *, mode="overlap", stride=1, scorer="nll", **options):
    windows = WindowSet(arrays, window=W, stride=stride, tail="align", ragged=True)
    each = score_windows(model, windows, [learned(model, scorer)], mode=mode, **options)
    folded, _ = zip(*each, strict=True)
    return Folded(*(np.concatenate(parts) for parts in zip(*folded, strict=True)))


def naive_windows(model, array, starts, scorer):
    """Score one window at a time."""
    head, parts = learned(model, scorer), {}
    for start in starts:
        window = torch.from_numpy(array[start : start + W])[None]
        observed = ~window.isnan()
        with torch.no_grad():
            batch = Batch(window.nan_to_num(0.0), observed)
            part = head.parts(model, batch, model(window)).expand(1, W, -1)[0].numpy()
        seen = observed[0].numpy()
        if seen.any(axis=1).mean() < 0.5:  # nearly all gap
            part = np.full_like(part, np.nan)
        parts[start] = np.where(seen if head.channelwise else seen.any(axis=1, keepdims=True), part, np.nan)
    return parts


def naive_fold(parts, length, mode):
    """For each step and channel look at every window that covers it and has a value there."""
    channels = next(iter(parts.values())).shape[1]
    folded, coverage = np.full((length, channels), np.nan), np.zeros(length, dtype=int)
    for t in range(length):
        covering = {s: p[t - s] for s, p in parts.items() if s <= t < s + W}
        if mode == "causal":
            covering = {s: p for s, p in covering.items() if t - s == W - 1}
        coverage[t] = sum(not np.isnan(p).all() for p in covering.values())
        for c in range(channels):
            given = {s: p[c] for s, p in covering.items() if not np.isnan(p[c])}
            if given and mode == "centred":
                nearest = min(given, key=lambda s: (abs(t - s - (W - 1) / 2), s))
                folded[t, c] = given[nearest]
            elif given:
                folded[t, c] = np.mean(list(given.values()))
    return folded, coverage


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("stride", [1, 4])
def test_scores_agree_with_one_window_at_a_time(model, mode, scorer, stride):
    array = values(50, missing=0.15)
    array[20:31] = np.nan  # longer than a window
    starts = sorted({*range(0, 50 - W + 1, stride), 50 - W})
    expected, coverage = naive_fold(naive_windows(model, array, starts, scorer), 50, mode)
    folded = score(model, [array], mode=mode, scorer=scorer, stride=stride)
    np.testing.assert_allclose(folded.values, expected, **ROUNDING)
    assert np.array_equal(folded.coverage, coverage)
    assert np.array_equal(folded.coverage > 0, ~np.isnan(folded.values).all(axis=1))


def test_series_of_a_panel_do_not_see_each_other(model):
    long, other, short = values(40, 1), values(25, 2), values(5, 3)
    together = score(model, [long, short, other])
    offsets = np.array([0, 40, 45, 70])
    for alone, part in zip((long, short, other), together.split(offsets), strict=True):
        folded = score(model, [alone])
        np.testing.assert_allclose(part.values, folded.values, **ROUNDING)
        assert np.array_equal(part.coverage, folded.coverage)


def test_a_series_shorter_than_the_window_is_scored_as_if_it_stood_alone(model):
    short = values(5, 3)
    with torch.no_grad():
        output = model(torch.from_numpy(short)[None])
        expected = -output.likelihood.log_prob(torch.from_numpy(short)[None])[0]
    np.testing.assert_allclose(score(model, [values(30), short]).values[30:], expected, **ROUNDING)
    assert np.isnan(score(model, [values(30), short], mode="causal").values[30:]).all()


def test_a_window_that_is_nearly_all_gap_says_nothing_of_its_rows(model):
    array = values(60)
    array[20:40] = np.nan
    array[28, 0] = 1.0  # on an island in the gap
    array[45:50, 1] = np.nan  # steps with one channel are steps with a value
    folded = score(model, [array], mode="causal")
    said = ~np.isnan(folded.values)
    fifth = 40 + 4  # the first whose window of 9 steps has a value in half of them
    assert not said[20:fifth].any()
    assert said[fifth : fifth + 6, 0].all()
    assert np.array_equal(folded.coverage, said.any(axis=1))
    everything = score(model, [array], mode="causal", min_observed=0.0)
    assert not np.isnan(everything.values[40:fifth]).all(axis=1).any()
    np.testing.assert_array_equal(folded.values[said], everything.values[said])
    missing = np.array([3.0, 5.0])
    silent = score(model, [array], mode="causal", missing=missing)  # what is missing is scored all the same
    np.testing.assert_array_equal(silent.values[28], [np.nan, 5.0])
    np.testing.assert_array_equal(silent.values[29:40], np.broadcast_to(missing, (11, 2)))
    short = np.where(np.arange(5)[:, None] < 3, values(5), np.nan)  # half of its own steps
    assert not np.isnan(score(model, [values(30), short]).values[30:33]).any()
    assert np.isnan(score(model, [values(30), short[1:]]).values[30:32]).sum() == 0
    assert np.isnan(score(model, [values(30), short[2:]]).values[30:]).all()


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_number_of_windows_at_a_time_changes_rounding_only(model, batch_size):
    array = values(300, missing=0.1)
    np.testing.assert_allclose(
        score(model, [array], batch_size=batch_size).values, score(model, [array]).values, **ROUNDING
    )


@pytest.mark.parametrize("rows", [W, W + 1, 57, 299])
def test_causal_scores_of_a_beginning_are_the_beginning_of_the_scores(model, rows):
    array = values(300, missing=0.1)
    whole, part = score(model, [array], mode="causal"), score(model, [array[:rows]], mode="causal")
    np.testing.assert_allclose(part.values, whole.values[:rows], **ROUNDING)
    assert np.array_equal(part.coverage, whole.coverage[:rows])


@pytest.mark.parametrize("mode", MODES)
def test_what_a_change_can_reach(model, mode):
    array = values(60)
    changed = array.copy()
    changed[30] += 5
    one, other = (np.nan_to_num(score(model, [one], mode=mode).values) for one in (array, changed))
    moved = np.flatnonzero((one != other).any(axis=1))
    first, last = {"causal": (30, 30 + W - 1), "overlap": (31 - W, 29 + W), "centred": (26, 34)}[mode]
    assert (moved[0], moved[-1]) == (first, last)


def test_scorers_are_their_formulas():
    rng = np.random.default_rng(4)
    x, mean, sigma = (torch.from_numpy(rng.gamma(2.0, size=(3, 5, 2))) for _ in range(3))
    output = Output(None, distributions.Normal(mean, sigma), None)
    a, m, s = x.numpy(), mean.numpy(), sigma.numpy()
    np.testing.assert_allclose(squared_error(x, output), np.square(a - m))
    np.testing.assert_allclose(absolute_error(x, output), np.abs(a - m))
    np.testing.assert_allclose(nll(x, output), -stats.norm.logpdf(a, m, s))


def test_total_score_is_the_mean_of_the_observed_channels():
    parts = np.array([[1.0, 2, 6], [np.nan, 2, 6], [np.nan] * 3, [-4, np.nan, np.nan]], dtype=np.float32)
    assert total_score(parts).tolist()[:2] == [3, 4]
    assert np.isnan(total_score(parts)[2])
    assert total_score(parts)[3] == -4


def test_several_measures_are_folded_in_one_run(model):
    array = values(40)
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    windows = WindowSet([array], window=W)
    two = fold_outputs(model, windows, [lambda b, o: b.x, lambda b, o: 3 * b.x])
    handle.remove()
    assert len(calls) == 1
    np.testing.assert_allclose(two[0].values, array, rtol=1e-6)
    np.testing.assert_allclose(two[1].values, 3 * array, rtol=1e-6)


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("mode", MODES)
def test_the_number_of_threads_changes_no_bit(model, mode, missing):
    array, found, before = values(400, missing=missing), [], torch.get_num_threads()
    heads = [learned(model, name) for name in ("nll", "window_error", "nearest_shape", "window_pca", "nearest_latent")]
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            windows = WindowSet([array], window=W, tail="align")
            found.append(score_windows(model, windows, heads, mode=mode, batch_size=32)[0])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.coverage, other.coverage)


def test_an_error_in_a_block_reaches_the_caller(model):
    def measure(batch, output):
        raise DataError("one block cannot be measured")

    windows, before = WindowSet([values(400)], window=W), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(DataError, match="one block cannot be measured"):
            fold_outputs(model, windows, [measure], batch_size=16)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_scoring_leaves_the_model_as_it_was_and_samples_nothing(capsys):
    model = AE(channels=2, latent=2, hidden=4).train()
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = score(model, [values(30)], progress=True)
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(weight.grad is not None for weight in model.parameters())
    assert np.array_equal(first.values, score(model, [values(30)]).values)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "scoring" in shown.err


def test_an_unknown_mode_is_refused(model):
    with pytest.raises(OptionError, match="Choose one of: causal, overlap, centred"):
        score(model, [values(30)], mode="sideways")


def test_the_total_of_many_rows_is_taken_in_pieces(monkeypatch):
    parts = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)
    parts[4:9, 1] = parts[6] = np.nan
    whole = total_score(parts)
    monkeypatch.setattr("seqae.anomaly.scoring._ROWS", 5)
    np.testing.assert_array_equal(total_score(parts), whole)
    assert np.isnan(whole[6])
    assert np.isfinite(np.delete(whole, 6)).all()


@pytest.mark.parametrize(("rows", "size"), [(1, 50), (50, 50), (51, 50), (5000, 1), (5000, 400), (4999, 1234)])
def test_stretches_have_every_row_once_and_all_that_it_hangs_on(rows, size):
    grid, window, reach = 24, 9, 13
    found, done = list(stretches(rows, grid, window, reach, size)), 0
    for held, own in found:
        assert held.start % grid == 0
        assert held.stop - held.start <= max(size, window + 2 * (reach + grid))
        assert held.start + own.start == done
        assert held.start == 0 or own.start >= reach
        done = held.start + own.stop
        assert held.stop == rows or (held.stop - window) // grid * grid - done >= reach
    assert done == rows == held.stop
    assert len(found) <= 1 + 2 * rows // max(size - window - 2 * (reach + grid), grid)
