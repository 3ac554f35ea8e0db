"""Schedules against the formulas of their papers, and learning rates against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seqae.errors import OptionError
from seqae.training import schedules
from seqae.training.schedules import FORCINGS, LEARNING_RATES, SCHEDULES, plateau_rate


def test_constant_is_settled_from_the_start():
    schedule = schedules.constant(0.3)
    assert [schedule(0.0), schedule(7.5)] == [0.3, 0.3]
    assert (schedule.final, schedule.warmup_epochs) == (0.3, 0.0)


def test_linear_rises_at_a_steady_pace_and_stays():
    schedule = schedules.linear(2.0, 8, start=1.0)
    epochs = np.array([0.0, 2.0, 4.0, 7.9, 8.0, 100.0])
    assert [schedule(epoch) for epoch in epochs] == pytest.approx(np.interp(epochs, [0, 8], [1, 2]), abs=1e-12)
    assert (schedule.final, schedule.warmup_epochs) == (2.0, 8.0)


def test_cyclical_agrees_with_the_papers_formula():
    # Fu et al. 2019, eq. 6 and 7: β = f(τ) = τ / R for τ ≤ R, else 1, τ = mod(t, period) / period.
    period, ratio, cycles, value = 5.0, 0.4, 3, 0.8
    schedule = schedules.cyclical(value, period, ratio, cycles)
    for epoch in np.linspace(0.0, period * cycles, 97)[:-1]:
        τ = (epoch % period) / period
        assert schedule(epoch) == pytest.approx(value * min(1.0, τ / ratio), abs=1e-12)
    assert schedule(1000.3) == schedule.final == value


def test_a_warm_up_ends_where_the_value_stays_final():
    for schedule in (schedules.linear(1.0, 7), schedules.cyclical(1.0, 4, 0.5, 3), schedules.linear_decay(0.5, 6)):
        settled = np.linspace(schedule.warmup_epochs, schedule.warmup_epochs + 40, 500)
        assert {schedule(epoch) for epoch in settled} == {schedule.final}
        assert schedule(schedule.warmup_epochs - 0.01) != schedule.final


def test_inverse_sigmoid_has_the_papers_shape_and_does_not_overflow():
    k, value = 5.0, 0.7
    schedule = schedules.inverse_sigmoid(value, k)
    # Bengio et al. 2015: ε = k / (k + exp(i / k)); here divided by its value at i = 0.
    for epoch in (0.0, 1.0, 10.0, 30.0):
        paper = k / (k + math.exp(epoch / k))
        assert schedule(epoch) == pytest.approx(value * paper / (k / (k + 1)))
    assert schedule(0.0) == pytest.approx(value)
    assert schedule(schedule.warmup_epochs) == pytest.approx(0.01 * value)
    assert schedule(1e6) == schedule.final == 0.0


def test_menus_are_called_alike():
    for menu in (SCHEDULES, FORCINGS):
        for make in menu.values():
            schedule = make(0.5, 10.0)
            assert max(schedule(0.0), schedule.final) == pytest.approx(0.5)
            assert schedule.warmup_epochs >= 0.0


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (schedules.linear, (1.0, 0)),
        (schedules.linear, (1.0, math.nan)),
        (schedules.cyclical, (1.0, -1)),
        (schedules.cyclical, (1.0, 4, 1.5)),
        (schedules.cyclical, (1.0, 4, 0.5, 0)),
        (schedules.inverse_sigmoid, (1.0, 0)),
    ],
)
def test_lengths_that_make_no_sense_are_refused(make, arguments):
    with pytest.raises(OptionError, match="got"):
        make(*arguments)


def test_cosine_rate_is_half_a_cosine():
    rates = [LEARNING_RATES["cosine"](0.1, epoch, 8, []) for epoch in range(9)]
    assert rates == pytest.approx(0.05 * (1 + np.cos(np.pi * np.arange(9) / 8)))
    assert rates[0] == 0.1


def test_plateau_rate_agrees_with_torch():
    torch = pytest.importorskip("torch")
    totals = np.random.default_rng(3).integers(0, 30, 80).astype(float)
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    # Torch waits for more than `patience` bad epochs.
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=3, threshold=0.0, eps=0.0)
    for epoch, total in enumerate(totals):
        peer.step(total)
        assert plateau_rate(1.0, epoch + 1, 80, totals[: epoch + 1].tolist()) == optimizer.param_groups[0]["lr"]
    assert optimizer.param_groups[0]["lr"] < 1e-3


def test_steady_rate_is_steady():
    assert LEARNING_RATES["constant"](0.01, 30, 50, [1.0] * 30) == 0.01
