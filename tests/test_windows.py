"""Window views and sets against their definitions in naive.py: which windows there are, what they hold and cost."""

import copy
import tracemalloc

import naive
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqae import windows as public
from seqae.errors import DataError, OptionError
from seqae.windows import PHASES, TAILS, WindowSet, sliding_windows, window_starts


def rows(length, channels=1, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(length, channels)).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    return values


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# Views and starts


@given(length=st.integers(0, 60), window=st.integers(1, 12), stride=st.integers(1, 15), tail=st.sampled_from([*TAILS]))
def test_starts_are_their_definition(length, window, stride, tail):
    starts = window_starts(length, window, stride, tail=tail)
    assert starts.dtype == np.int64
    assert starts.tolist() == naive.window_starts(length, window, stride, tail)


@given(length=st.integers(1, 60), channels=st.integers(0, 3), window=st.integers(1, 12), stride=st.integers(1, 15))
def test_sliding_windows_are_the_slices_and_the_memory_itself(length, channels, window, stride):
    values = rows(length, channels) if channels else rows(length)[:, 0]
    if length < window:
        with pytest.raises(DataError, match=f"the series has {length} rows; window={window} needs"):
            sliding_windows(values, window, stride)
        return
    view = sliding_windows(values, window, stride)
    slices = [values[start : start + window] for start in naive.window_starts(length, window, stride)]
    assert np.array_equal(view, np.stack(slices))
    assert np.shares_memory(view, values)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 0


def test_the_way_back_is_here_too():
    from seqae import folding

    for name in folding.__all__:
        assert getattr(public, name) is getattr(folding, name)


# Sets


@st.composite
def panels(draw):
    """Arrays, conditions and options; missing values from none to nearly all."""
    window = draw(st.integers(1, 9))
    ragged = draw(st.booleans())
    lengths = draw(st.lists(st.integers(0 if ragged else window, 30), min_size=1, max_size=5))
    if not any(lengths):
        lengths.append(1)
    channels, seed = draw(st.integers(1, 3)), draw(st.integers(0, 2**16))
    missing = draw(st.sampled_from([0.0, 0.2, 0.9]))
    arrays = [rows(length, channels, seed + k, missing) for k, length in enumerate(lengths)]
    size = draw(st.sampled_from([None, 0, 2]))
    options = {
        "window": window,
        "stride": draw(st.integers(1, 11)),
        "tail": draw(st.sampled_from([*TAILS])),
        "ragged": ragged,
        "conditions": None if size is None else [rows(length, size, seed + 99 + k) for k, length in enumerate(lengths)],
    }
    return arrays, options, draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))


@settings(max_examples=300, deadline=None)
@given(panel=panels(), block=st.integers(1, 7))
def test_a_set_holds_and_gathers_exactly_its_definition(panel, block):
    arrays, options, min_observed = panel
    window, conditions = options["window"], options["conditions"]
    expected = naive.windows_of_panel(arrays, window, options["stride"], options["tail"], min_observed)
    if not expected:
        with pytest.raises(DataError, match=f"no window of {window} rows has min_observed"):
            WindowSet(arrays, min_observed=min_observed, **options)
        return
    held = WindowSet(arrays, min_observed=min_observed, **options)
    assert len(held) == held.epoch_size == len(expected)
    assert held.series.tolist() == [series for series, _, _ in expected]
    assert (held.starts - held.offsets[held.series]).tolist() == [start for _, start, _ in expected]
    assert held.lengths.tolist() == [length for _, _, length in expected]

    seen = 0
    for index, batch in held.blocks(block):
        assert index.tolist() == list(range(seen, min(seen + block, len(held))))
        assert batch.x.dtype == torch.float32
        assert batch.observed.dtype == torch.bool
        assert (batch.lengths is None) <= bool((held.lengths == window).all())
        for place, n in enumerate(index.tolist()):
            series, start, length = expected[n]
            x = np.zeros((window, arrays[0].shape[1]), dtype=np.float32)
            x[:length] = arrays[series][start : start + length]
            observed = ~np.isnan(x) & (np.arange(window) < length)[:, None]
            assert np.array_equal(batch.observed[place].numpy(), observed)
            assert np.array_equal(batch.x[place].numpy(), np.where(observed, x, 0))
            assert batch.lengths is None or batch.lengths[place] == length
            if conditions is None or not conditions[0].shape[1]:
                assert batch.condition is None
                assert held.condition_size == 0
            else:
                condition = np.zeros((window, held.condition_size), dtype=np.float32)
                condition[:length] = conditions[series][start : start + length]
                assert np.array_equal(batch.condition[place].numpy(), condition)
        seen += len(index)
    assert seen == len(held)


@settings(max_examples=60, deadline=None)
@given(panel=panels(), seed=st.integers(0, 9))
def test_gathering_in_any_order_is_gathering_one_by_one(panel, seed):
    arrays, options, _ = panel
    held = WindowSet(arrays, **options)
    index = held.epoch(seeded(seed))
    batch = held.gather(index)
    starts, lengths = held.locate(index)
    assert np.array_equal(starts.numpy(), held.starts[index.numpy()])
    assert np.array_equal(lengths.numpy(), held.lengths[index.numpy()])
    for place, n in enumerate(index):
        alone = held.gather(n[None])
        for part, single in zip(batch, alone, strict=True):
            assert (part is None and single is None) or torch.equal(part[place], single[0])


def test_a_batch_may_be_changed_without_changing_the_data():
    for missing in (0.0, 0.5):
        values = rows(50, 2, missing=missing)
        kept = values.copy()
        held = WindowSet([values], window=8)
        batch = held.gather(torch.arange(4))
        batch.x.fill_(7.0)
        batch.observed.fill_(False)
        assert np.array_equal(values, kept, equal_nan=True)
        assert not (held.gather(torch.arange(4)).x == 7).any()


def test_a_single_array_is_used_as_it_is_and_a_read_only_one_without_a_warning():
    values = rows(50)
    held = WindowSet([values], window=8)
    values[3] = 123.0
    assert held.gather(torch.tensor([3])).x[0, 0, 0] == 123.0
    values.flags.writeable = False
    assert WindowSet([values], window=8).gather(torch.tensor([3])).x[0, 0, 0] == 123.0
    assert WindowSet([np.asfortranarray(rows(50, 3))[::2]], window=8).gather(torch.tensor([1])).x[0].tolist() == (
        rows(50, 3)[::2][1:9].tolist()
    )


@pytest.mark.parametrize("missing", [False, True])
def test_windows_at_every_row_of_a_long_series_cost_next_to_nothing(missing):
    values = np.zeros((2_000_000, 1), dtype=np.float32)
    if missing:
        values[::1000] = np.nan
    conditions = [np.zeros_like(values)]
    tracemalloc.start()
    held = WindowSet([values], window=128, conditions=conditions)
    batch = held.gather(torch.tensor([0, 1_999_872]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(held) == 1_999_873
    assert batch.observed.sum() == (2 * 128 - 1 if missing else 2 * 128)
    assert peak < values.nbytes / 4


def test_leaving_windows_out_needs_one_number_per_window_and_no_more():
    values = np.zeros((1_000_000, 4), dtype=np.float32)
    values[500_000:600_000] = np.nan
    tracemalloc.start()
    held = WindowSet([values], window=100, min_observed=0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # At most 50 of the missing rows: starts up to 499,950 and from 599,950.
    assert len(held) == 499_951 + (999_901 - 599_950)
    assert peak < 8 * len(held) * 3
    share = np.array([1 - min(max(min(s + 100, 600_000) - max(s, 500_000), 0), 100) / 100 for s in held.starts[::997]])
    assert (share >= 0.5).all()


# Epochs


def test_an_epoch_is_every_window_once_in_an_order_that_the_generator_alone_decides():
    held = WindowSet([rows(100), rows(40, seed=1)], window=10, stride=3)
    generator = seeded(5)
    first, second = held.epoch(generator), held.epoch(generator)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(len(held)))
    assert first.tolist() != second.tolist() != sorted(second.tolist())
    generator = seeded(5)
    torch.manual_seed(99)
    assert held.epoch(generator).tolist() == first.tolist()
    assert held.epoch(generator).tolist() == second.tolist()


@settings(max_examples=150, deadline=None)
@given(panel=panels(), seed=st.integers(0, 2**16))
def test_a_random_phase_takes_every_stride_th_window_of_each_series(panel, seed):
    arrays, options, min_observed = panel
    window, stride = options["window"], options["stride"]
    expected = naive.windows_of_panel(arrays, window, 1, min_observed=min_observed)
    if not expected:
        return
    held = WindowSet(arrays, min_observed=min_observed, phase="random", **options)
    assert held.starts.tolist() == [int(held.offsets[series]) + start for series, start, _ in expected]
    generator = seeded(seed)
    for _ in range(3):
        epoch = np.sort(held.epoch(generator).numpy())
        assert len(epoch) <= held.epoch_size
        for number in range(len(arrays)):
            mine = np.flatnonzero(held.series == number)
            places = np.flatnonzero(np.isin(mine, epoch))
            if len(mine):
                # A phase below the stride, then every stride-th to the end.
                assert places[0] < min(stride, len(mine))
                assert places.tolist() == list(range(places[0], len(mine), stride))
    assert held.epoch(seeded(seed)).tolist() == held.epoch(seeded(seed)).tolist()


def test_random_phases_are_drawn_for_each_series_anew_and_evenly():
    stride, epochs = 4, 4000
    held = WindowSet([rows(43), rows(42, seed=1), rows(11, seed=2)], window=10, stride=stride, phase="random")
    assert len(held) == 34 + 33 + 2
    assert held.epoch_size == 9 + 9 + 1
    generator, counts, phases = seeded(), np.zeros(len(held)), []
    for _ in range(epochs):
        epoch = np.sort(held.epoch(generator).numpy())
        counts[epoch] += 1
        phases.append((epoch[0], epoch[epoch >= 34][0] - 34))
    # Each window is in one epoch of `stride`, or of as many as its series has windows: within five standard errors.
    chance = np.where(held.series == 2, 1 / 2, 1 / stride)
    assert np.all(np.abs(counts / epochs - chance) < 5 * np.sqrt(chance * (1 - chance) / epochs))
    assert len(set(phases)) == stride**2, "the series' phases move together"


def test_the_order_of_a_random_epoch_is_shuffled():
    epoch = WindowSet([rows(1000)], window=10, stride=2, phase="random").epoch(seeded(3)).numpy()
    assert abs(np.corrcoef(np.arange(len(epoch)), epoch)[0, 1]) < 0.2


# Moving


def test_moving_to_where_it_is_gives_the_set_itself():
    held = WindowSet([rows(30)], window=5)
    assert held.to("cpu") is held
    assert copy.copy(held).gather(torch.arange(3)).x.tolist() == held.gather(torch.arange(3)).x.tolist()
    assert "26 windows of 5 × 1 from 1 series" in repr(held)


def test_indices_and_rows_all_move_together():
    # The meta device stands in for any other: an operation that mixed devices or looked at a value would raise.
    arrays = [rows(30, 2, missing=0.2), rows(3, 2)]
    held = WindowSet(arrays, window=5, ragged=True, min_observed=0.8, conditions=[rows(30, 3), rows(3, 3)])
    assert 1 < len(held) < 27, "some are left out"
    there = held.to("meta")
    assert held.device.type == "cpu"
    batch = there.gather(torch.empty(4, dtype=torch.int64, device="meta"))
    assert {part.device.type for part in batch} == {"meta"}
    assert there._kept.device.type == "meta"
    assert batch.condition.shape == (4, 5, 3)
    assert there.epoch(seeded()).device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "options", [{}, {"stride": 4, "phase": "random"}, {"tail": "pad", "stride": 3}, {"tail": "align", "stride": 7}]
)
def test_a_gpu_gathers_the_same_windows_without_waiting(options):
    arrays = [rows(500, 3, missing=0.2), rows(7, 3, seed=1), rows(90, 3, seed=2)]
    conditions = [rows(len(values), 2) for values in arrays]
    here = WindowSet(arrays, window=16, ragged=True, min_observed=0.5, conditions=conditions, **options)
    there = here.to("cuda")
    index = there.epoch(seeded())
    assert index.is_cuda
    assert index.tolist() == here.epoch(seeded()).tolist()
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = there.gather(index)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for ours, theirs in zip(here.gather(index.cpu()), batch, strict=True):
        assert torch.equal(ours, theirs.cpu())
    assert np.array_equal(there.starts, here.starts)


# What cannot be used


@pytest.mark.parametrize(
    ("arrays", "options", "error", "match"),
    [
        (
            [rows(90)],
            {"window": 128},
            DataError,
            "the series has 90 rows; window=128 needs at least 128. Use --window 90",
        ),
        ([rows(200), rows(90)], {"window": 128}, DataError, "series 2 of 2 has 90 rows"),
        ([rows(0)], {"window": 4, "ragged": True}, DataError, "there are no rows"),
        (rows(90), {"window": 4}, DataError, r"Give a single one as \[array\]"),
        ([], {"window": 4}, DataError, "one \\(T, C\\) array per series"),
        ([rows(90)[:, 0]], {"window": 4}, DataError, r"got shapes \[\(90,\)\]"),
        (
            [rows(90, 2), rows(90, 3)],
            {"window": 4},
            DataError,
            r"as many channels; got shapes \[\(90, 2\), \(90, 3\)\]",
        ),
        ([rows(90, 0)], {"window": 4}, DataError, "no channels"),
        ([np.full((9, 1), np.inf)], {"window": 4}, DataError, "infinite values"),
        ([rows(9)], {"window": 4, "conditions": [rows(8)]}, DataError, "as many rows as that series"),
        ([rows(9)], {"window": 4, "conditions": [rows(9, missing=0.5)]}, DataError, "known at every row"),
        ([rows(9) * np.nan], {"window": 4, "min_observed": 0.1}, DataError, "the fullest has 0"),
        ([rows(9)], {"window": 0}, OptionError, "window=0"),
        ([rows(9)], {"window": 4.0}, OptionError, "window=4.0"),
        ([rows(9)], {"window": True}, OptionError, "window=True"),
        ([rows(9)], {"window": 4, "stride": -1}, OptionError, "stride=-1"),
        ([rows(9)], {"window": 4, "min_observed": 50}, OptionError, "min_observed=50 is not a share"),
        (
            [rows(9)],
            {"window": 4, "tail": "cut"},
            OptionError,
            "tail 'cut' does not exist. Choose one of: drop, align, pad",
        ),
        (
            [rows(9)],
            {"window": 4, "phase": "late"},
            OptionError,
            "phase 'late' does not exist. Choose one of: fixed, random",
        ),
    ],
)
def test_what_cannot_be_windowed_is_refused_with_the_cure(arrays, options, error, match):
    with pytest.raises(error, match=match) as caught:
        WindowSet(arrays, **options)
    assert "\n" not in str(caught.value)


def test_views_refuse_what_they_cannot_show():
    with pytest.raises(DataError, match=r"shape \(2, 3, 4\)"):
        sliding_windows(np.zeros((2, 3, 4)), 2)
    with pytest.raises(OptionError, match="stride=0"):
        sliding_windows(np.zeros(9), 2, 0)
    with pytest.raises(OptionError, match="tail 'wrap'"):
        window_starts(9, 2, tail="wrap")
    with pytest.raises(OptionError, match="size=0"):
        next(WindowSet([rows(9)], window=4).blocks(0))
    assert set(PHASES) == {"fixed", "random"}


def test_an_epoch_of_all_windows_takes_half_the_room_in_the_same_order():
    held = WindowSet([rows(60)], window=10)
    index = held.epoch(seeded(5))
    assert index.dtype == torch.int32
    assert index.tolist() == torch.randperm(len(held), generator=seeded(5)).tolist()
    assert torch.equal(held.gather(index).x, held.gather(index.long()).x)
