"""The contract of every model × cell × decoder mode × feedback × depth."""

import itertools
import json

import pytest
import torch

import seqae
from seqae.errors import DataError, OptionError
from seqae.models import MODELS, build
from seqae.nn.decoders import DECODERS, FEEDBACKS
from seqae.nn.likelihoods import LIKELIHOODS, Likelihood, Normal
from seqae.nn.recurrence import CELLS

GRID = list(itertools.product(MODELS, CELLS, DECODERS, FEEDBACKS, (1, 2)))


def made(name="VAE", seed=0, channels=2, **options):
    torch.manual_seed(seed)
    condition = {"condition": 3} if name == "CVAE" else {}
    model = MODELS[name](channels=channels, latent=3, hidden=6, **condition, **options)
    x = torch.randn(4, 9, channels)
    return model, x, (torch.randn(4, 9, 3) if name == "CVAE" else None)


@pytest.fixture(params=GRID, ids=lambda item: "-".join(map(str, item)))
def case(request):
    name, cell, mode, feedback, layers = request.param
    return made(name, cell=cell, decoder_type=mode, feedback=feedback, layers=layers, bidirectional=layers == 2)


def test_contract(case):
    model, x, c = case
    model.eval()
    output = model(x, condition=c)
    assert output.likelihood.mean.shape == x.shape
    assert output.latent.mean.shape == (4, 3)

    # encode and reconstruct use the mean and give the same numbers at each call, whatever the mode
    model.train()
    torch.testing.assert_close(model.encode(x, condition=c), output.latent.mean)
    torch.testing.assert_close(model.reconstruct(x, condition=c), output.likelihood.mean)
    torch.testing.assert_close(model.decode(output.latent.mean, 9, c), output.likelihood.mean)

    # a window's numbers do not depend on the batch it comes in
    torch.testing.assert_close(
        model.reconstruct(x[1:2], condition=None if c is None else c[1:2]), output.likelihood.mean[1:2],
        rtol=1e-4, atol=1e-6,
    )  # fmt: skip

    # every weight learns
    seqae.elbo(x, model(x, condition=c, sample=True)).total.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


def test_nothing_leaks_around_z(case):
    """The decoder sees the window through z and c alone: with z held, another x changes nothing."""
    model, x, c = case
    model.eval()
    z = model.encode(x, condition=c)
    model.latent.forward = lambda features, summary: seqae.nn.latents.LatentState(z)
    torch.testing.assert_close(
        model.reconstruct(x, condition=c), model.reconstruct(torch.randn_like(x), condition=c), rtol=0, atol=0
    )


def test_padding_changes_nothing(case):
    model, x, c = case
    model.eval()
    lengths = torch.tensor([9, 4, 6, 1])
    padded, padding = x.clone(), torch.arange(9)[None, :, None] >= lengths[:, None, None]
    padded[padding.expand_as(x)] = 1e6
    c_padded = None if c is None else torch.where(padding, torch.tensor(-1e3), c)
    output = model(padded, condition=c_padded, lengths=lengths)
    terms = seqae.elbo(padded, output)
    alone = 0.0
    for b, length in enumerate(lengths.tolist()):
        short_c = None if c is None else c[b : b + 1, :length]
        short = model(x[b : b + 1, :length], condition=short_c)
        torch.testing.assert_close(
            output.likelihood.mean[b : b + 1, :length], short.likelihood.mean, rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(output.latent.mean[b : b + 1], short.latent.mean, rtol=1e-4, atol=1e-5)
        alone += seqae.elbo(x[b : b + 1, :length], short).total.item() / 4
    assert terms.total.item() == pytest.approx(alone, rel=1e-4)
    assert terms.values.item() == 2 * lengths.sum().item()


def test_what_is_missing_changes_nothing(case):
    """NaN, or anything marked as unobserved, gives the same numbers and no gradient."""
    model, x, c = case
    model.eval()
    observed = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.7
    holes = torch.where(observed, x, torch.nan)
    marked = torch.where(observed, x, 99.0)
    a, b = model(holes, condition=c), model(marked, observed, c)
    torch.testing.assert_close(a.likelihood.mean, b.likelihood.mean, rtol=0, atol=0)
    first, second = seqae.elbo(holes, a), seqae.elbo(marked, b)
    assert first.total.item() == second.total.item()
    assert first.values.item() == observed.sum().item()
    marked.requires_grad_()
    seqae.elbo(marked, model(marked, observed, c)).total.backward()
    assert not marked.grad[~observed].any()
    assert marked.grad[observed].any()


def test_the_same_seed_gives_the_same_model_and_the_file_gives_it_back(case, request, tmp_path):
    model, x, c = case
    name, cell, mode, feedback, layers = request.node.callspec.params["case"]
    options = {"cell": cell, "decoder_type": mode, "feedback": feedback, "layers": layers}
    again, _, _ = made(name, bidirectional=layers == 2, **options)
    other, _, _ = made(name, seed=1, bidirectional=layers == 2, **options)
    for mine, same, different in zip(model.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, same)
        assert not torch.equal(mine, different) or not mine.any()
    seqae.save_model(model, tmp_path / "model.safetensors")
    loaded = seqae.load_model(tmp_path / "model.safetensors")
    torch.testing.assert_close(
        loaded.eval().reconstruct(x, condition=c), model.eval().reconstruct(x, condition=c), rtol=0, atol=0
    )
    recipe = json.loads(json.dumps(model.recipe))
    twin = build(recipe)
    assert twin.recipe == model.recipe
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(
        twin.eval().reconstruct(x, condition=c), model.eval().reconstruct(x, condition=c), rtol=0, atol=0
    )
    draws = [model(x, condition=c, sample=True, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    torch.testing.assert_close(draws[0].likelihood.mean, draws[1].likelihood.mean, rtol=0, atol=0)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_goes_with_every_model(likelihood):
    for name in MODELS:
        model, x, c = made(name, likelihood=likelihood)
        x = torch.round(255 * torch.sigmoid(x)) / 255
        terms = seqae.elbo(x, model(x, condition=c))
        terms.total.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        assert build(model.recipe).recipe == model.recipe


def test_reversed_decoding_is_another_model_of_the_same_size():
    model, x, _ = made(decoder_type="output_as_input", feedback="output")
    turned, _, _ = made(decoder_type="output_as_input", feedback="output", reverse=True)
    turned.load_state_dict(model.state_dict())
    torch.testing.assert_close(turned.reconstruct(x), model.reconstruct(x).flip(1))


def test_sampling_follows_prior_and_condition():
    model, _, _ = made("CVAE", prior="conditional")
    torch.nn.init.normal_(model.latent.prior_network.network[-1].bias)
    condition = torch.randn(2, 3)
    draws = [model.sample(2, 5, condition, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    torch.testing.assert_close(draws[0], draws[1], rtol=0, atol=0)
    assert not torch.allclose(draws[0], model.sample(2, 5, condition, generator=torch.Generator().manual_seed(2)))
    assert not torch.allclose(draws[0], model.sample(2, 5, condition + 1, generator=torch.Generator().manual_seed(1)))
    state = torch.get_rng_state()
    model.sample(2, 5, condition, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), state), "sampling with a generator must leave the global one alone"


def test_samples_of_an_untrained_prior_have_the_models_own_spread():
    model, _, _ = made("VAE", channels=1)
    clean = model.sample(4000, 3, noise=False, generator=torch.Generator().manual_seed(0))
    noisy = model.sample(4000, 3, generator=torch.Generator().manual_seed(0))
    scale = model.likelihood(torch.zeros(1, 1, 1), None).scale.item()
    assert noisy.var().item() == pytest.approx(clean.var().item() + scale**2, rel=0.05)


def test_teacher_forcing_needs_a_mean_that_is_fed_back():
    model, x, _ = made(decoder_type="output_as_input", feedback="output")
    assert not torch.allclose(model(x, sample=False, teacher_forcing=1.0).likelihood.mean, model.reconstruct(x))
    refused = ({}, {"decoder_type": "output_as_input"})
    refused += ({"decoder_type": "output_as_input", "feedback": "output", "likelihood": "bernoulli"},)
    for options in refused:
        model, x, _ = made(**options)
        with pytest.raises(OptionError, match="teacher forcing"):
            model(x, teacher_forcing=0.5)


def test_teacher_forcing_never_feeds_a_missing_value():
    model, x, _ = made(decoder_type="output_as_input", feedback="output")
    z = model.encode(x)
    model.latent.forward = lambda features, summary: seqae.nn.latents.LatentState(z)
    nothing = torch.zeros_like(x, dtype=torch.bool)
    free = model.decode(z, 9)
    torch.testing.assert_close(model(x, nothing, sample=False, teacher_forcing=1.0).likelihood.mean, free)


def test_a_callers_own_likelihood_is_accepted_and_has_no_recipe():
    class Wide(Likelihood):
        def forward(self, location, extra):
            return torch.distributions.Normal(location, 10.0)

        def interval(self, distribution, level=0.95):
            return distribution.icdf(torch.tensor(0.5 - level / 2)), distribution.icdf(torch.tensor(0.5 + level / 2))

    model = seqae.VAE(channels=2, likelihood=Wide(2))
    assert model.recipe is None
    assert model(torch.randn(1, 4, 2)).likelihood.scale.unique().item() == 10.0
    assert seqae.VAE(channels=2, likelihood=Normal(2)).recipe == seqae.VAE(channels=2).recipe


@pytest.mark.parametrize(
    ("action", "error", "match"),
    [
        (lambda: seqae.VAE(channels=0), OptionError, "channels must be"),
        (lambda: seqae.VAE(channels=1, layers=1.5), OptionError, "layers must be"),
        (lambda: seqae.CVAE(channels=1, condition=0), OptionError, "Use a VAE"),
        (lambda: seqae.VAE(channels=1, likelihood="poisson"), OptionError, "Choose one of: normal"),
        (lambda: seqae.CVAE(channels=1, condition=2, prior="flow"), OptionError, "standard, conditional"),
        (lambda: seqae.VAE(channels=2)(torch.zeros(1, 3, 5)), DataError, r"\(B, T, 2\); got \(1, 3, 5\)"),
        (lambda: seqae.CVAE(channels=1, condition=2)(torch.zeros(1, 3, 1)), DataError, "give a condition"),
        (lambda: seqae.VAE(channels=1)(torch.zeros(1, 3, 1), condition=torch.zeros(1, 2)), DataError, "not a CVAE"),
        (lambda: seqae.AE(channels=1).sample(2, 5), OptionError, "no prior"),
    ],
)
def test_mistakes_are_named_with_their_cure(action, error, match):
    with pytest.raises(error, match=match):
        action()
