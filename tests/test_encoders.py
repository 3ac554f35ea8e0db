"""The encoder against naive.py, and what missing values and padding do to it."""

import itertools

import naive
import pytest
import torch

from seqae.nn.encoders import RecurrentEncoder
from seqae.nn.recurrence import CELLS


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
