"""The encoder against naive.py, what missing values and padding do to it, and how long its first weights remember."""

import itertools
import math

import naive
import numpy as np
import pytest
import torch

import seqae
from seqae.nn.encoders import RecurrentEncoder
from seqae.nn.recurrence import CELLS, MEMORY, remember


@pytest.mark.parametrize(("cell", "layers", "bidirectional"), list(itertools.product(CELLS, (1, 2), (False, True))))
def test_features_are_the_naive_ones_with_ragged_lengths(cell, layers, bidirectional):
    torch.manual_seed(0)
    encoder = RecurrentEncoder(channels=2, condition=3, hidden=4, cell=cell, layers=layers, bidirectional=bidirectional)
    encoder = encoder.double()
    x, c = torch.randn(3, 6, 2, dtype=torch.float64), torch.randn(3, 6, 3, dtype=torch.float64)
    observed = torch.rand(3, 6, 2) < 0.8
    x = torch.where(observed, x, 0.0)
    for lengths in (None, torch.tensor([6, 2, 4])):
        fast = encoder(x, observed, c, lengths)
        torch.testing.assert_close(fast, naive.encode(encoder, x, observed, c, lengths), rtol=1e-10, atol=1e-12)


def test_a_missing_value_is_not_an_observed_zero():
    torch.manual_seed(0)
    encoder = RecurrentEncoder(channels=1, condition=0, hidden=4, cell="gru")
    x, observed = torch.zeros(1, 5, 1), torch.ones(1, 5, 1, dtype=torch.bool)
    hole = observed.clone()
    hole[0, 2] = False
    assert not torch.allclose(encoder(x, observed, None, None), encoder(x, hole, None, None))


@pytest.mark.parametrize(("cell", "steps"), list(itertools.product(CELLS, (None, 2, 100))))
def test_gates_begin_with_memories_from_one_step_to_the_window(cell, steps):
    rnn = CELLS[cell].library(3, 500, num_layers=2, bidirectional=True)
    weight = rnn.weight_hh_l0.clone()
    remember(rnn, steps)
    assert torch.equal(rnn.weight_hh_l0, weight)
    longest = (steps or MEMORY) - 1
    for _, _, bias, hidden_bias in rnn.all_weights:
        gates = (bias + hidden_bias).detach().view(-1, 500)
        length = gates[1].exp()
        assert length.min() >= 1
        assert length.max() <= longest * (1 + 1e-5)
        assert length.mean() == pytest.approx((1 + longest) / 2, rel=0.1)  # uniform
        if cell == "lstm":
            assert torch.equal(gates[0], -gates[1])
        others = gates[2:] if cell == "lstm" else gates[[0, 2]]
        assert 0 < others.abs().max() <= 2 / math.sqrt(500)  # the library's own


def test_a_state_lasts_as_long_as_its_gate_was_told():
    rnn = torch.nn.GRU(1, 1000)
    remember(rnn, 100)
    with torch.no_grad():
        for name, part in rnn.named_parameters():
            gates = part.view(3, 1000, -1)
            if name.startswith("weight"):
                gates.zero_()
            else:  # the candidate is 0, so that only z is at work
                gates[[0, 2]] = 0.0
        left = rnn(torch.zeros(50, 1, 1), torch.ones(1, 1, 1000))[0][-1, 0]
    # After 50 steps z^50 = (1 + 1/u)^-50 is above 1/e where u is above 49.5: for half of the units.
    assert (left > 1 / math.e).float().mean() == pytest.approx(0.5, abs=0.06)


def test_a_detector_tells_its_network_the_window():
    wave = np.sin(np.arange(400) / 5)
    detector = seqae.Detector(window=30, hidden=4, latent=2).fit(wave, epochs=1, calibration=0)
    assert detector.model.recipe["arguments"]["steps"] == 30
    assert detector.model(torch.zeros(1, 17, 1)).likelihood.mean.shape == (1, 17, 1)  # and takes any other
