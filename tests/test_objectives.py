"""The bound against closed forms, and that every option of the objective does what it says."""

import numpy as np
import pytest
import torch
from linear import correlated, linear_vae, optimal_vae, ppca

import seqae
from seqae.errors import OptionError
from seqae.objectives import Objective, elbo
from seqae.windows import Batch


def test_linear_vae_at_its_optimum_has_ppcas_marginal_likelihood():
    model, data, log_likelihood = optimal_vae()
    with torch.no_grad():
        x = torch.from_numpy(data)[..., None]
        generator = torch.Generator().manual_seed(0)
        bounds = [elbo(x, model(x, sample=True, generator=generator)).total.item() for _ in range(50)]
    spread = np.std(bounds) / len(bounds) ** 0.5
    # log_scale's soft floor moves σ by less than 0.1%
    assert np.mean(bounds) == pytest.approx(-log_likelihood, abs=5 * spread + 1e-3)


def test_linear_vae_learns_to_ppcas_marginal_likelihood_and_never_beyond():
    data = correlated()
    log_likelihood = ppca(data, 2)[3]
    model, x = linear_vae(6, 2), torch.from_numpy(data)[..., None]
    objective, batch = Objective(), Batch(x, torch.ones_like(x, dtype=torch.bool), None, None)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    for _ in range(600):
        optimizer.zero_grad()
        objective(model, batch, epoch=0.0, generator=generator).total.backward()
        optimizer.step()
        scheduler.step()
    with torch.no_grad():
        bound = np.mean([objective.evaluate(model, batch, generator=generator).total.item() for _ in range(50)])
    assert -log_likelihood - 0.01 <= bound <= -log_likelihood + 0.05


def made(name="VAE", **options):
    torch.manual_seed(0)
    model = seqae.MODELS[name](channels=2, latent=3, hidden=6, **options)
    x = torch.randn(5, 8, 2)
    return model, Batch(x, torch.ones_like(x, dtype=torch.bool), None, None)


def test_the_convention_is_summed_over_a_window_and_averaged_over_windows():
    model, batch = made()
    output = model(batch.x, sample=False)
    terms = elbo(batch.x, output)
    by_hand = -output.likelihood.log_prob(batch.x).sum(dim=(1, 2)).mean()
    kl = 0.5 * (output.latent.mean**2 + output.latent.log_var.exp() - output.latent.log_var - 1).sum(1).mean()
    assert terms.reconstruction.item() == pytest.approx(by_hand.item(), rel=1e-6)
    assert terms.kl.item() == pytest.approx(kl.item(), rel=1e-5)
    assert terms.total.item() == pytest.approx((by_hand + kl).item(), rel=1e-6)
    assert (terms.values.item(), terms.windows) == (5 * 8 * 2, 5)
    # two copies of the batch are no other loss: nothing depends on the batch's size
    twice = model(torch.cat([batch.x, batch.x]), sample=False)
    assert elbo(torch.cat([batch.x, batch.x]), twice).total.item() == pytest.approx(terms.total.item(), rel=1e-6)


def test_an_autoencoder_has_no_kl():
    model, batch = made("AE")
    terms = elbo(batch.x, model(batch.x), beta=100.0, free_bits=1.0)
    assert terms.kl.item() == 0.0
    assert terms.total.item() == terms.reconstruction.item()


def test_beta_weighs_the_kl_and_changes_the_gradients():
    model, batch = made()
    losses, gradients = [], []
    for beta in (0.0, 1.0, 4.0):
        model.zero_grad()
        terms = Objective(beta=beta)(model, batch, epoch=0.0, generator=torch.Generator().manual_seed(0))
        assert terms.total.item() == pytest.approx((terms.reconstruction + beta * terms.kl).item(), rel=1e-6)
        terms.total.backward()
        losses.append(terms.total.item())
        gradients.append(model.latent.mean.weight.grad.clone())
    assert losses[0] < losses[1] < losses[2]
    torch.testing.assert_close(gradients[2] - gradients[0], 4 * (gradients[1] - gradients[0]), rtol=1e-3, atol=1e-5)


def test_free_bits_cost_nothing_below_and_everything_above():
    model, batch = made()
    output = model(batch.x, sample=False)
    per_dimension = output.latent.kl().mean(0)
    floor = per_dimension.median().item()
    terms = elbo(batch.x, output, free_bits=floor)
    assert terms.kl.item() == pytest.approx(per_dimension.sum().item())
    assert (terms.total - terms.reconstruction).item() == pytest.approx(
        per_dimension.clamp(min=floor).sum().item(), rel=1e-4
    )
    model.zero_grad()
    elbo(batch.x, output, free_bits=1e3, beta=1.0).total.backward()
    # all dimensions are below the floor: the KL term has no gradient left, so only the reconstruction's remains
    mine = model.latent.log_var.bias.grad
    assert mine is None or not mine.any()


def test_beta_follows_its_schedule_in_training_only():
    class Ramp:
        final, warmup_epochs = 2.0, 10.0

        def __call__(self, epoch):
            return min(epoch / 10.0, 1.0) * 2.0

    model, batch = made()
    objective = Objective(beta=Ramp())
    assert objective.warmup_epochs == 10.0
    terms = objective(model, batch, epoch=5.0, generator=torch.Generator().manual_seed(0))
    assert terms.total.item() == pytest.approx((terms.reconstruction + terms.kl).item(), rel=1e-6)
    settled = objective.evaluate(model, batch, generator=torch.Generator().manual_seed(0))
    assert settled.total.item() == pytest.approx((settled.reconstruction + 2 * settled.kl).item(), rel=1e-6)
    assert Objective().warmup_epochs == 0.0


@pytest.mark.parametrize("noise", ["gaussian", "masking"])
def test_denoising_corrupts_what_the_encoder_sees_and_not_the_target(noise):
    model, batch = made("AE")
    seen = []
    model.encoder.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[:2]))
    objective = Objective(noise=noise, noise_level=0.2)
    terms = objective(model, batch, epoch=0.0, generator=torch.Generator().manual_seed(0))
    x, observed = seen[-1]
    assert terms.values.item() == batch.x.numel(), "the target stays whole"
    if noise == "gaussian":
        assert observed.all()
        assert (x - batch.x).std().item() == pytest.approx(0.2, rel=0.3)
    else:
        assert torch.equal(x, torch.where(observed, batch.x, 0.0))
        assert 1 - observed.float().mean().item() == pytest.approx(0.2, abs=0.12)
    objective.evaluate(model, batch)
    assert torch.equal(seen[-1][0], batch.x), "validation sees the clean window"


def test_masking_hides_the_stated_share():
    x = torch.randn(200, 50, 2)
    batch = Batch(x, torch.ones_like(x, dtype=torch.bool), None, None)
    kept = Objective(noise="masking", noise_level=0.3).corrupt(batch, 0.3, torch.Generator().manual_seed(0))[1]
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.01)


def test_gaussian_noise_leaves_missing_values_alone():
    x = torch.zeros(4, 5, 1)
    batch = Batch(x, torch.zeros_like(x, dtype=torch.bool), None, None)
    noisy, observed = Objective(noise="gaussian").corrupt(batch, 0.5, None)
    assert not noisy.any()
    assert not observed.any()


def test_scheduled_teacher_forcing_is_off_in_validation():
    model, batch = made(decoder_type="output_as_input", feedback="output")
    forced = Objective(teacher_forcing=lambda epoch: 1.0 - epoch)
    free = Objective()
    generators = [torch.Generator().manual_seed(0) for _ in range(4)]
    at_start = forced(model, batch, epoch=0.0, generator=generators[0]).total.item()
    at_end = forced(model, batch, epoch=1.0, generator=generators[1]).total.item()
    assert at_start != at_end
    assert at_end == free(model, batch, epoch=0.0, generator=generators[2]).total.item()
    seeded = [o.evaluate(model, batch, generator=torch.Generator().manual_seed(1)).total.item() for o in (forced, free)]
    assert seeded[0] == seeded[1]


def test_a_callable_beta_must_say_where_it_settles():
    with pytest.raises(OptionError, match="final and warmup_epochs"):
        Objective(beta=lambda epoch: min(1.0, epoch / 10))


@pytest.mark.parametrize(
    "options", [{"free_bits": -1.0}, {"noise": "masking", "noise_level": 1.0}, {"noise": "salt"}, {"noise_level": -0.1}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(OptionError):
        Objective(**options)


def test_the_bound_is_not_summed_in_bfloat16():
    model, batch = made(cell="gru")  # not every CPU has an LSTM kernel for bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(batch.x, sample=False)
        terms = elbo(batch.x, output)
    assert output.likelihood.mean.dtype == output.latent.mean.dtype == terms.total.dtype == torch.float32
    assert terms.total.item() == pytest.approx(elbo(batch.x, model(batch.x, sample=False)).total.item(), rel=2e-2)


@pytest.mark.gpu
def test_every_source_of_chance_takes_a_generator_of_either_device():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model, batch = made(decoder_type="output_as_input", feedback="output")
    model, batch = model.cuda(), Batch(batch.x.cuda(), batch.observed.cuda(), None, None)
    for noise in ("gaussian", "masking"):
        objective = Objective(noise=noise, teacher_forcing=0.5)
        for device in ("cpu", "cuda"):
            generator = torch.Generator(device).manual_seed(0)
            assert objective(model, batch, epoch=0.0, generator=generator).total.isfinite()
