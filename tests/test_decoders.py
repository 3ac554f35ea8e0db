"""Every cell, mode, feedback, depth, direction and condition against the step-by-step decoder of naive.py."""

import itertools

import naive
import pytest
import torch

from seqae.errors import OptionError
from seqae.nn.decoders import DECODERS, FEEDBACKS, RecurrentDecoder
from seqae.nn.recurrence import CELLS

GRID = list(itertools.product(CELLS, DECODERS, FEEDBACKS, (1, 2), (False, True), (0, 3)))


def make(cell, mode, feedback, layers, reverse, condition, *, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    decoder = RecurrentDecoder(
        latent=3, condition=condition, hidden=5, channels=2, cell=cell, decoder_type=mode,
        layers=layers, feedback=feedback, reverse=reverse,
    ).to(dtype)  # fmt: skip
    z = torch.randn(4, 3, dtype=dtype, requires_grad=True)
    c = torch.randn(4, 7, condition, dtype=dtype) if condition else None
    return decoder, z, c


def gradients(loss, decoder, z):
    parameters = [p for p in decoder.parameters() if p.requires_grad]
    return torch.autograd.grad(loss, [*parameters, z], allow_unused=True)


def assert_same_gradients(mine, theirs, **tolerance):
    for a, b in zip(mine, theirs, strict=True):
        if a is None or b is None:  # an unused parameter may be reported as None or as zeros
            assert a is None or not a.any()
            assert b is None or not b.any()
        else:
            torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize(("cell", "mode", "feedback", "layers", "reverse", "condition"), GRID)
def test_values_and_gradients_are_the_naive_ones(cell, mode, feedback, layers, reverse, condition):
    decoder, z, c = make(cell, mode, feedback, layers, reverse, condition)
    lengths = torch.tensor([7, 3, 5, 1])
    weigh = torch.randn(4, 7, 2, dtype=z.dtype)
    fast, extra = decoder(z, 7, c, lengths)
    slow, _ = naive.decode(decoder, z, 7, c, lengths)
    assert extra is None
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)
    assert_same_gradients(
        gradients((fast * weigh).sum(), decoder, z), gradients((slow * weigh).sum(), decoder, z), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize(("cell", "mode"), list(itertools.product(CELLS, DECODERS)))
def test_float32_rounding_is_all_that_differs_over_a_long_window(cell, mode):
    torch.manual_seed(1)
    decoder = RecurrentDecoder(latent=8, condition=0, hidden=32, channels=3, cell=cell, decoder_type=mode)
    z = torch.randn(2, 8, requires_grad=True)
    fast, _ = decoder(z, 100)
    slow, _ = naive.decode(decoder, z, 100)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=2e-6)
    assert_same_gradients(
        gradients(fast.square().sum(), decoder, z), gradients(slow.square().sum(), decoder, z), rtol=1e-3, atol=2e-4
    )


@pytest.mark.parametrize(("cell", "reverse", "layers"), list(itertools.product(CELLS, (False, True), (1, 2))))
def test_teacher_forcing_feeds_the_truth_before(cell, reverse, layers):
    decoder, z, c = make(cell, "concat_output_latent", "output", layers, reverse, 3)
    truth = torch.randn(4, 7, 2, dtype=z.dtype)
    forced = torch.rand(4, 7, 2) < 0.5
    lengths = torch.tensor([7, 3, 5, 1])
    fast, _ = decoder(z, 7, c, lengths, truth, forced)
    slow, _ = naive.decode(decoder, z, 7, c, lengths, truth, forced)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)
    free, _ = decoder(z, 7, c, lengths)
    assert not torch.allclose(fast, free)


@pytest.mark.parametrize("mode", DECODERS)
def test_the_modes_differ_in_what_they_are_fed(mode):
    decoder, _, _ = make("gru", mode, "output", 1, False, 0)
    wiring = DECODERS[mode]
    assert decoder.rnn.input_size == 3 * wiring.latent + 2 * wiring.output
    hidden, _, _ = make("gru", mode, "hidden", 1, False, 0)
    assert hidden.rnn.input_size == 3 * wiring.latent + 5 * wiring.output


def test_the_latent_reaches_every_step_only_where_it_is_repeated():
    """With h_0 held, repeat_latent still follows z and output_as_input does not."""
    for mode, follows in (("repeat_latent", True), ("concat_output_latent", True), ("output_as_input", False)):
        decoder, z, _ = make("lstm", mode, "hidden", 1, False, 0)
        torch.nn.init.zeros_(decoder.start.weight)
        first, _ = decoder(z, 7)
        second, _ = decoder(z + 1.0, 7)
        assert (not torch.allclose(first, second)) is follows


def test_extra_numbers_come_beside_the_location():
    torch.manual_seed(0)
    decoder = RecurrentDecoder(
        latent=3, condition=0, hidden=5, channels=2, cell="gru", decoder_type="repeat_latent", extras=2
    )
    z = torch.randn(4, 3)
    location, extra = decoder(z, 6)
    _, hidden = naive.decode(decoder, z, 6)
    torch.testing.assert_close(extra, decoder.extra(hidden).view(4, 6, 2, 2))
    assert location.shape == (4, 6, 2)


def test_unknown_names_list_the_menu():
    for option in ({"cell": "rnn"}, {"decoder_type": "none"}, {"feedback": "x"}):
        arguments = {"cell": "gru", "decoder_type": "repeat_latent", "feedback": "hidden", **option}
        with pytest.raises(OptionError, match="Choose one of"):
            RecurrentDecoder(latent=1, condition=0, hidden=2, channels=1, **arguments)
