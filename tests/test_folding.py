"""Folds against their definitions in naive.py, closed forms, and the promises: exact, in blocks, in bounded memory."""

import tracemalloc

import naive
import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seqae import folding
from seqae.errors import DataError, OptionError
from seqae.folding import FOLDS, Fold
from seqae.windows import WindowSet, sliding_windows, window_starts

RULES = {"overlap": naive.overlap_mean, "last": naive.last, "centred": naive.centred, "median": naive.overlap_median}
IN_ONE_CALL = {
    "overlap": folding.overlap_mean,
    "last": folding.last,
    "centred": folding.centred,
    "median": folding.overlap_median,
}

# Few different values, so that ties, signs of zero and nothing at all are common; and any float at all.
SMALL = st.sampled_from([np.nan, np.nan, -0.0, 0.0, 1.0, -1.5, 3.25, 1e-40, 3e38])
ANY = st.floats(width=32, allow_infinity=False)


@st.composite
def windows_said(draw):
    """Parts, starts, sizes, length: any increasing starts, some windows shorter, some longer than what is left."""
    length, window = draw(st.integers(1, 14)), draw(st.integers(1, 8))
    channels = draw(st.integers(1, 3))
    starts = sorted(draw(st.sets(st.integers(0, length - 1), max_size=length)))
    sizes = [draw(st.one_of(st.just(window), st.integers(0, window))) for _ in starts]
    shape = (len(starts), window, channels)
    parts = draw(arrays(np.float32, shape, elements=draw(st.sampled_from([SMALL, ANY])), fill=st.nothing()))
    return parts, np.array(starts, dtype=np.int64), np.array(sizes, dtype=np.int64), length


def same_bits(a, b):
    """Equal to the bit; any NaN equals any other."""
    a, b = np.ascontiguousarray(a, np.float32), np.ascontiguousarray(b, np.float32)
    return a.shape == b.shape and bool(np.all((a.view(np.int32) == b.view(np.int32)) | (np.isnan(a) & np.isnan(b))))


def test_the_menu_is_complete():
    assert set(FOLDS) == set(RULES)


@pytest.mark.parametrize("name", FOLDS)
@settings(max_examples=100, deadline=None)
@given(said=windows_said(), data=st.data())
def test_a_fold_is_its_definition_however_it_is_cut_into_blocks(name, said, data):
    parts, starts, sizes, length = said
    expected, coverage = naive.fold(RULES[name], parts, starts, sizes, length)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(starts)), max_size=4)))
    fold = FOLDS[name](length, parts.shape[2], parts.shape[1])
    for low, high in zip([0, *cuts], [*cuts, len(starts)], strict=True):
        fold.add(starts[low:high], parts[low:high], sizes[low:high])
        if data.draw(st.booleans()):
            fold.result()  # looking must not disturb
    assert np.array_equal(fold.result(), expected, equal_nan=True)
    if name != "median":  # of -0.0 and 0.0 the median may be either
        assert same_bits(fold.result(), expected)
    assert fold.coverage.tolist() == coverage.tolist()
    assert np.array_equal(fold.coverage == 0, np.isnan(fold.result()).all(axis=1))


@pytest.mark.parametrize("name", FOLDS)
def test_blocks_of_a_long_series_give_the_same_bits(name):
    rng = np.random.default_rng(0)
    length, window, channels = 3000, 37, 2
    starts = window_starts(length, window, 2, tail="align")
    parts = rng.normal(size=(len(starts), window, channels)).astype(np.float32)
    parts[rng.random(parts.shape) < 0.3] = np.nan
    whole = IN_ONE_CALL[name](parts, starts, length)
    for size in (1, 7, 64, 1000):
        fold = FOLDS[name](length, channels, window)
        for low in range(0, len(starts), size):
            fold.add(torch.from_numpy(starts[low : low + size]), torch.from_numpy(parts[low : low + size]))
        assert same_bits(fold.result(), whole)


@pytest.mark.parametrize("name", ["overlap", "median", "centred"])
@settings(max_examples=100, deadline=None)
@given(
    values=st.tuples(st.integers(1, 40), st.integers(1, 3)).flatmap(lambda s: arrays(np.float32, s, elements=ANY)),
    window=st.integers(1, 12),
    stride=st.integers(1, 12),
)
def test_the_round_trip_is_exact_to_the_bit(name, values, window, stride):
    window = min(window, len(values))
    starts = window_starts(len(values), window, min(stride, window), tail="align")
    parts = sliding_windows(values, window)[starts]
    assert same_bits(IN_ONE_CALL[name](parts, starts, len(values)), values)
    assert same_bits(IN_ONE_CALL[name](parts[..., 0], starts, len(values)), values[:, 0])


def test_the_round_trip_takes_the_view_itself_and_never_copies_it():
    values = np.random.default_rng(1).normal(size=200_000).astype(np.float32)
    view = sliding_windows(values, 128)
    folding.overlap_mean(view[:10], np.arange(10), len(values))  # compiled
    tracemalloc.start()
    back = folding.overlap_mean(view, np.arange(len(view)), len(values))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert same_bits(back, values)
    assert peak < view.size * 4 / 6, "the 100 MB of windows were copied"


@pytest.mark.parametrize("name", FOLDS)
def test_only_the_result_grows_with_the_series(name):
    length, window, channels = 400_000, 16, 2
    parts = np.ones((64, window, channels), dtype=np.float32)
    small = FOLDS[name](100, channels, window)
    small.add(np.arange(64), parts)
    small.result()  # all is compiled
    tracemalloc.start()
    fold = FOLDS[name](length, channels, window)
    for low in range(0, length - window - 64, 4096):
        fold.add(np.arange(low, low + 64), parts)
    fold.result()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < length * (4 * channels + 4) + 200_000


def test_last_is_blind_to_the_future():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(60, 2)).astype(np.float32)
    scored = np.abs(sliding_windows(values, 9)) + rng.normal(size=(52, 9, 2)).astype(np.float32)
    whole = folding.last(scored, np.arange(52), 60)
    assert np.isnan(whole[:8]).all()
    assert same_bits(whole[8:], scored[:, -1])
    for length in range(9, 60):
        count = length - 8
        assert same_bits(folding.last(scored[:count], np.arange(count), length), whole[:length])


def test_a_short_window_has_no_last_step_but_takes_part_elsewhere():
    parts = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=np.float32)
    assert np.array_equal(folding.last(parts, [0, 2], 4), [np.nan, np.nan, 3, np.nan], equal_nan=True)
    assert folding.overlap_mean(parts, [0, 2], 4).tolist() == [1.0, 2.0, 3.5, 5.0]
    # Centres: 1 for the first, 2.5 for what the series has left of the second; step 2 is nearer to 2.5.
    assert folding.centred(parts, [0, 2], 4).tolist() == [1.0, 2.0, 4.0, 5.0]


def test_of_two_centres_as_near_the_earlier_counts():
    parts = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]], dtype=np.float32)
    assert folding.centred(parts, [0, 2], 5).tolist() == [1.0, 1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(("length", "window"), [(50, 7), (10, 10), (11, 8), (5, 1)])
def test_coverage_at_stride_one_is_the_known_trapezium(length, window):
    fold = FOLDS["overlap"](length, 1, window)
    count = length - window + 1
    fold.add(np.arange(count), np.ones((count, window, 1), dtype=np.float32))
    t = np.arange(length)
    assert np.array_equal(fold.coverage, np.minimum.reduce([t + 1, np.full(length, min(window, count)), length - t]))
    assert fold.coverage.sum() == count * window


def test_a_mean_of_windows_numbered_in_a_row_is_known():
    # Window n says n everywhere: in the middle, step t hears t - W + 1 … t.
    length, window = 100, 9
    parts = np.repeat(np.arange(92, dtype=np.float32)[:, None], window, axis=1)
    for fold in (folding.overlap_mean, folding.overlap_median, folding.centred):
        assert np.array_equal(fold(parts, np.arange(92), length)[8:92], np.arange(8, 92) - 4.0)
    assert np.array_equal(folding.last(parts, np.arange(92), length)[8:], np.arange(92.0))


def test_one_channel_saying_nothing_leaves_the_others_alone():
    parts = np.ones((6, 5, 2), dtype=np.float32)
    parts[..., 1] = np.nan
    for name in FOLDS:
        fold = FOLDS[name](10, 2, 5)
        fold.add(np.arange(6), parts)
        assert np.isnan(fold.result()[:, 1]).all()
        assert (fold.result()[4:, 0] == 1).all()
        assert (fold.coverage[4:] > 0).all()


@pytest.mark.parametrize("name", FOLDS)
@pytest.mark.parametrize(("stride", "tail"), [(1, "drop"), (3, "align"), (4, "pad")])
def test_a_panel_folded_as_one_axis_is_each_series_folded_alone(name, stride, tail):
    rng = np.random.default_rng(3)
    panel = [rng.normal(size=(length, 2)).astype(np.float32) for length in (23, 4, 0, 17, 6)]
    windows = WindowSet(panel, window=6, stride=stride, tail=tail, ragged=True)
    said = rng.normal(size=(len(windows), 6, 2)).astype(np.float32)
    together = FOLDS[name](int(windows.offsets[-1]), 2, 6)
    for index, _ in windows.blocks(5):
        starts, lengths = windows.locate(index)
        together.add(starts, said[index.numpy()], lengths)
    for number, values in enumerate(panel):
        mine = windows.series == number
        low, high = windows.offsets[number : number + 2]
        alone = FOLDS[name](len(values), 2, 6)
        alone.add(windows.starts[mine] - low, said[mine], windows.lengths[mine])
        assert same_bits(together.result()[low:high], alone.result())
        assert np.array_equal(together.coverage[low:high], alone.coverage)


def test_read_only_and_other_types_are_taken_and_never_written():
    parts = np.arange(24, dtype=np.float64).reshape(2, 3, 4)[:, ::-1]
    parts.flags.writeable = False
    kept = parts.copy()
    for name in FOLDS:
        result = IN_ONE_CALL[name](parts, [0, 1], 4)
        expected, _ = naive.fold(RULES[name], parts.astype(np.float32), [0, 1], [3, 3], 4)
        assert same_bits(result, expected)
    assert np.array_equal(parts, kept)


@pytest.mark.parametrize(
    ("starts", "parts", "match"),
    [
        ([0, 0], np.ones((2, 3, 1)), "once each, in the order of their starts"),
        ([2, 1], np.ones((2, 3, 1)), "Sort starts and parts alike"),
        ([-1, 1], np.ones((2, 3, 1)), "from 0 to 7"),
        ([0, 8], np.ones((2, 3, 1)), "got starts 0 to 8"),
        ([0], np.ones((2, 3, 1)), "B starts"),
        ([0, 1], np.ones((2, 4, 1)), "windows of 3 steps and 1 channels"),
        ([0, 1], np.ones((2, 3)), "Give \\(B, W, C\\)"),
    ],
)
def test_windows_that_do_not_fit_are_refused_and_leave_no_trace(starts, parts, match):
    for name in FOLDS:
        fold = FOLDS[name](8, 1, 3)
        with pytest.raises(DataError, match=match):
            fold.add(starts, parts)
        assert np.isnan(fold.result()).all()
        assert not fold.coverage.any()


def test_a_window_cannot_come_a_second_time_in_a_later_block():
    fold = FOLDS["overlap"](8, 1, 3)
    fold.add([0, 2], np.ones((2, 3, 1)))
    with pytest.raises(DataError, match="got starts 2 to 3 after 2"):
        fold.add([2, 3], np.ones((2, 3, 1)))
    fold.add([], np.ones((0, 3, 1)))
    fold.add([3], np.ones((1, 3, 1)))
    assert fold.coverage.tolist() == [1, 1, 2, 2, 2, 1, 0, 0]


def test_what_cannot_be_folded_is_refused_by_name():
    with pytest.raises(OptionError, match="channels=0"):
        FOLDS["last"](8, 0, 3)
    with pytest.raises(DataError, match=r"Give \(N, W\) or \(N, W, C\)"):
        folding.overlap_mean(np.ones(5), [0], 5)
    with pytest.raises(DataError, match="lengths of 0 or more"):
        FOLDS["last"](8, 1, 3).add([0], np.ones((1, 3, 1)), [-1])
    with pytest.raises(TypeError, match="abstract"):
        Fold(8, 1, 3)


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch):
    compile_now = numba.njit

    def nowhere_to_write(function, *, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_now(function, **options)

    monkeypatch.setattr(numba, "njit", nowhere_to_write)
    assert folding.kernel(lambda x: x + 1)(1) == 2
