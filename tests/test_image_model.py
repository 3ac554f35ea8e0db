"""The model of images against closed forms, naive versions, and a second look at the same seed."""

from __future__ import annotations

import json
import math
import os
import signal

import numpy as np
import pytest
import torch
from scipy import stats

from seqae import VAE, Detector, save_model
from seqae.autoencoder import Autoencoder
from seqae.cli.evaluate_model import lines
from seqae.datasets.images import Images, digits
from seqae.errors import DataError, ModelFileError, NotFittedError, OptionError, TrainingError
from seqae.generative import bounds
from seqae.generative.image_model import IMAGE_SCORES, ImageModel
from seqae.generative.imageset import ImageSet
from seqae.models import MODELS
from seqae.objectives import Objective
from seqae.training.checkpoints import read_safetensors, write_safetensors

SMALL = {"name": "mlp", "hidden": [24]}
QUICK = {"epochs": 2, "batch_size": 64, "device": "cpu"}
TRAIN, TEST = digits("train"), digits("test")
FEW = TRAIN[:160]


def made(images=FEW, *, fit=None, **options):
    """A model trained for a moment."""
    options = {"body": SMALL, "latent": 3} | options
    return ImageModel(**options).fit(images, **(QUICK | (fit or {})))


@pytest.fixture(scope="module")
def vae():
    return made(TRAIN, fit={"epochs": 8, "learning_rate": 1e-2, "validation": 0.2})


@pytest.fixture(scope="module")
def cvae():
    return made(model="CVAE", prior="conditional")


@pytest.fixture(scope="module")
def ae():
    return made(model="AE")


def values(images):
    """The values of images as rows, (N, H · W · K)."""
    return images.pixels.reshape(len(images), -1) / 255.0


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def naive(model, images):
    """Mean and log σ² of q, and p(pixel = 1) at the mean, of a model with the body mlp: plain matrix products."""
    weights = {name: tensor.double().numpy() for name, tensor in model.model.state_dict().items()}

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    known = np.eye(len(images.classes))[images.labels] if model.conditional else np.zeros((len(images), 0))
    features = np.maximum(linear("encoder.layers.0", np.hstack([values(images), known])), 0)
    mean = linear("latent.mean", features)
    log_var = linear("latent.log_var", features) if model.options["model"] != "AE" else None
    decoded = linear("decoder.head", np.maximum(linear("decoder.layers.0", np.hstack([mean, known])), 0))
    return mean, log_var, sigmoid(decoded)


def kl(mean, log_var):
    """KL(N(mean, e^log_var) ‖ N(0, 1)) of each dimension (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean**2 + np.exp(log_var) - log_var - 1)


def weights(model):
    return model.model.state_dict()


def same(one, other):
    return all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


def start(images, *, seed=0, **network):
    """The network as it is before the first step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS["VAE"](image=images.shape, likelihood="bernoulli", **network)


def refused(kind, act, *arguments, **options):
    """The one line that something is refused with."""
    with pytest.raises(kind) as problem:
        act(*arguments, **options)
    line = str(problem.value)
    assert "\n" not in line
    assert line.endswith(".")
    return line


# ---- what it computes ----


@pytest.mark.parametrize("name", ["vae", "ae", "cvae"])
def test_encode_and_reconstruct_are_the_networks_own_numbers(name, request):
    model = request.getfixturevalue(name)
    mean, _, p = naive(model, TEST)
    np.testing.assert_allclose(model.encode(TEST), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.reconstruct(TEST), p.reshape(-1, 8, 8, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("score", IMAGE_SCORES)
@pytest.mark.parametrize("name", ["AE", "VAE"])
def test_scores_are_those_computed_by_hand(name, score):
    model = made(model=name, score=score)
    mean, log_var, p = naive(model, TEST)
    x = values(TEST)
    nll = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1)
    expected = {
        "nll": nll,
        "negative_elbo": nll + (0 if log_var is None else kl(mean, log_var).sum(1)),
        "squared_error": ((x - p) ** 2).sum(1),
    }[score]
    np.testing.assert_allclose(model.score(TEST), expected, rtol=1e-4)


def test_the_kl_in_a_score_is_that_from_the_learned_prior():
    model = made(model="CVAE", prior="conditional", score="negative_elbo", fit={"learning_rate": 1e-2, "epochs": 4})
    one_hot = torch.eye(10)[torch.from_numpy(TEST.labels)]
    with torch.no_grad():
        prior = model.model.latent.prior_network(torch.cat([one_hot] * 3, dim=-1))  # first, mean and last row
    assert prior[0].abs().max() > 1e-3
    mean, log_var, p = naive(model, TEST)
    q = torch.distributions.Normal(torch.from_numpy(mean), torch.from_numpy(np.exp(0.5 * log_var)))
    other = torch.distributions.Normal(prior[0].double(), torch.exp(0.5 * prior[1].double()))
    x = values(TEST)
    nll = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1)
    expected = nll + torch.distributions.kl_divergence(q, other).sum(1).numpy()
    np.testing.assert_allclose(model.score(TEST), expected, rtol=1e-4)


def test_colours_come_back_in_their_places():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 5, 3), dtype=np.uint8)
    images = Images(pixels, None, (), "coloured")
    model = made(images, model="AE", latent=12, fit={"epochs": 150, "learning_rate": 3e-2, "validation": 0})
    assert model.shape == (4, 5, 3)
    error = np.abs(model.reconstruct(images) - pixels / 255)
    assert error.mean() < 0.03  # a pixel or a colour that is elsewhere would be 0.33 away


def test_evaluate_measures_these_images(vae, cvae):
    found = vae.evaluate(TEST, samples=(1, 4), seed=2)
    assert found == bounds.evaluate(vae.model, ImageSet(TEST), samples=(1, 4), seed=2)
    mean, log_var, p = naive(vae, TEST)
    assert (found.windows, found.values) == (len(TEST), 64)
    assert found.kl == pytest.approx(kl(mean, log_var).sum(1).mean(), rel=1e-4)
    assert found.squared_error == pytest.approx(((values(TEST) - p) ** 2).mean(), rel=1e-4)
    conditional = cvae.evaluate(TEST, samples=(1,))
    labelled = bounds.evaluate(cvae.model, ImageSet(TEST, labelled=True), samples=(1,))
    assert conditional == labelled


def test_decode_is_the_mean_at_these_codes_and_classes(vae, cvae):
    np.testing.assert_allclose(vae.decode(vae.encode(TEST)), vae.reconstruct(TEST), rtol=1e-5, atol=1e-6)
    found = cvae.decode(cvae.encode(TEST), TEST.labels)
    np.testing.assert_allclose(found, cvae.reconstruct(TEST), rtol=1e-5, atol=1e-6)
    other = cvae.decode(cvae.encode(TEST), (TEST.labels + 1) % 10)
    assert np.abs(other - found).max() > 1e-3


def test_decode_and_sample_keep_each_class_with_its_image_beyond_one_block(cvae, monkeypatch):
    def told(z, steps, condition, lengths, *_):
        value = z[:, :1] if condition is None else condition[:, 0].argmax(-1, keepdim=True)
        return value.float()[:, :, None].expand(-1, 8, 8), None

    monkeypatch.setattr(cvae.model.decoder, "forward", told)  # the logit of every pixel is the class's number
    labels = np.random.default_rng(0).integers(0, 10, 1100)
    for found in (cvae.decode(np.zeros((1100, 3)), labels), cvae.sample(1100, labels=labels)):
        np.testing.assert_allclose(found, np.broadcast_to(sigmoid(labels)[:, None, None, None], found.shape), rtol=1e-5)


def test_samples_are_decoded_from_the_prior(vae, monkeypatch):
    def logit(z, steps, *_):
        return z[:, :1, None].expand(-1, 8, 8), None

    assert np.array_equal(vae.sample(5, seed=1), vae.sample(5, seed=1))
    assert not np.array_equal(vae.sample(5, seed=1), vae.sample(5, seed=2))
    monkeypatch.setattr(vae.model.decoder, "forward", logit)
    drawn = vae.sample(2000, seed=3)[:, 0, 0, 0].astype(float)
    assert stats.kstest(np.log(drawn / (1 - drawn)), "norm").pvalue > 0.01
    pixels = vae.sample(2000, noise=True, seed=3)
    assert set(np.unique(pixels)) == {0.0, 1.0}
    # 64 pixels an image are drawn with its probability: their mean is that, but for a standard error of at most 1/16.
    assert np.abs(pixels.mean((1, 2, 3)) - drawn).mean() < 1 / 16
    assert np.corrcoef(pixels.mean((1, 2, 3)), drawn)[0, 1] > 0.9


def test_sampling_and_fitting_leave_the_callers_random_numbers_alone(vae):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    vae.sample(4)
    vae.denoise(TEST[:4])
    vae.evaluate(TEST[:4], samples=(1,))
    made(binarise="dynamic", fit={"noise": "masking", "epochs": 1})
    assert torch.equal(torch.rand(3), expected)


# ---- p-values ----


def test_a_p_value_counts_the_held_back_images_at_least_as_strange(tmp_path):
    model = made(fit={"validation": 0.25})
    held, _ = FEW.split(0.25, 0)
    own = model.score(held)
    assert model.training_data["held_back"] == len(own) == 40
    asked = np.concatenate([model.score(TEST), own, [own.max() + 1, own.min() - 1]])
    expected = [(1 + int((own >= score).sum())) / 41 for score in asked]  # own scores are ties, and count
    np.testing.assert_allclose(model.p_values(asked), expected, rtol=1e-12)
    assert model.p_values(np.array([own.max()]))[0] == 2 / 41
    assert (model.p_values(asked[-2:]) == [1 / 41, 1]).all()

    model._held = np.array([1, 2, 2, 3], np.float32)
    found = model.p_values([0.5, 1, 1.5, 2, 2.5, 3, 4])
    np.testing.assert_allclose(found, np.array([5, 5, 4, 4, 2, 2, 1]) / 5, rtol=1e-12)


def test_p_values_of_images_like_the_held_back_ones_are_uniform():
    new, known = TRAIN.split(0.45, 7)
    model = made(known, fit={"validation": 0.4, "epochs": 4, "learning_rate": 1e-2})
    p = model.p_values(model.score(new))
    assert len(p) > 600
    assert model.training_data["held_back"] > 300
    # The 99.9 % point of the two-sample Kolmogorov-Smirnov distance.
    assert stats.kstest(p, "uniform").statistic < 1.95 * math.sqrt(1 / len(p) + 1 / model.training_data["held_back"])
    for alpha in (0.05, 0.1, 0.3):
        assert (p <= alpha).mean() < alpha + 0.05


def test_images_of_another_kind_are_strange():
    model = made(TRAIN.only("0"), latent=4, fit={"epochs": 40, "learning_rate": 1e-2, "validation": 0.2})
    usual, strange = (model.p_values(model.score(TEST.only(name))) for name in ("0", "1"))
    assert np.median(strange) == pytest.approx(1 / (1 + model.training_data["held_back"]))
    assert np.median(usual) > 0.2


def test_without_held_back_images_there_is_nothing_to_compare_with():
    model = made(fit={"validation": 0})
    assert model.training_data["fit"] == len(FEW)
    assert "validation above 0" in refused(NotFittedError, model.p_values, [1.0])


# ---- the same again ----


def test_the_same_seed_gives_the_same_model(vae):
    options = {"binarise": "dynamic", "fit": {"noise": "gaussian", "seed": 4}}
    one, two = made(**options), made(**options)
    assert same(one, two)
    assert one.history["epochs"][-1]["validation_total"] == two.history["epochs"][-1]["validation_total"]
    other = made(**(options | {"fit": {"noise": "gaussian", "seed": 5}}))
    assert not same(one, other)
    assert not np.array_equal(one._held, other._held)


@pytest.mark.parametrize(
    "options",
    [
        {"model": "VAE", "score": "negative_elbo", "likelihood": {"name": "normal_fixed", "sigma": 0.2}},
        {"model": "CVAE", "prior": "conditional", "binarise": "dynamic"},
        {"model": "AE", "body": "rnn", "hidden": 8, "decoder_type": "concat_output_latent", "bidirectional": True},
        {"model": "VAE", "body": {"name": "conv", "channels": [4], "kernel_sizes": [[3, 5]], "strides": [2],
                                  "paddings": [[1, 2]]}, "likelihood": "discretized_logistic"},
    ],
    ids=lambda options: options["model"],
)  # fmt: skip
def test_a_file_gives_back_every_number(options, tmp_path):
    model = made(**options)
    model.save(tmp_path / "model.safetensors")
    before = torch.get_rng_state()
    loaded = ImageModel.load(tmp_path / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert loaded.to_document() == json.loads(json.dumps(model.to_document()))
    assert (loaded.shape, loaded.classes, loaded.options) == (model.shape, model.classes, model.options)
    assert loaded.describe()["parameters"] == sum(tensor.numel() for tensor in weights(model).values())
    labels = TEST.labels if model.conditional else None
    for name in ("encode", "reconstruct", "score"):
        np.testing.assert_array_equal(getattr(loaded, name)(TEST), getattr(model, name)(TEST))
    np.testing.assert_array_equal(loaded.p_values(loaded.score(TEST)), model.p_values(model.score(TEST)))
    np.testing.assert_array_equal(loaded.decode(model.encode(TEST), labels), model.decode(model.encode(TEST), labels))
    assert loaded.evaluate(TEST[:50], samples=(1, 2)) == model.evaluate(TEST[:50], samples=(1, 2))
    for one, other in zip(loaded.denoise(TEST[:9], seed=3), model.denoise(TEST[:9], seed=3), strict=True):
        np.testing.assert_array_equal(one, other)
    if model.options["model"] != "AE":
        drawn = [each.sample(360, labels=labels, noise=True, seed=4) for each in (loaded, model)]
        np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize(
    ("options", "fit"),
    [
        ({"binarise": "dynamic"}, {"noise": "masking"}),
        ({"model": "CVAE"}, {"beta": 3.0, "beta_schedule": "linear", "warmup": 3.0}),
        ({}, {"importance_samples": 3, "validation": 0.0}),
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one(options, fit, tmp_path):
    whole = made(**options, fit={**fit, "epochs": 4, "log_dir": tmp_path / "whole"})
    made(**options, fit={**fit, "epochs": 2, "log_dir": tmp_path / "parts"})
    resumed = made(**options, fit={**fit, "epochs": 4, "log_dir": tmp_path / "parts", "resume": True})
    assert same(resumed, whole)
    np.testing.assert_array_equal(resumed._held, whole._held)
    clocks = ("seconds", "windows_per_second")
    one, other = (
        [{name: value for name, value in record.items() if name not in clocks} for record in model.history["epochs"]]
        for model in (resumed, whole)
    )
    assert one == other
    assert len(one) == 4


def test_a_run_of_other_images_or_options_is_not_resumed(tmp_path):
    made(fit={"log_dir": tmp_path})
    more = {"log_dir": tmp_path, "resume": True, "epochs": 3}
    for images, options, fit, said in (
        (TRAIN[1:161], {}, {}, "data was"),
        (FEW, {"binarise": "threshold"}, {}, "data was"),
        (FEW, {"latent": 4}, {}, "latent was 3, is 4"),
        (FEW, {}, {"beta": 2.0}, "was 1.0, is 2.0"),
        (FEW, {}, {"seed": 1}, "seed was 0, is 1"),
        (FEW, {}, {"validation": 0.2}, "validation was"),
    ):
        line = refused(OptionError, made, images, **options, fit=more | fit)
        assert said in line
    assert len(made(fit=more).history["epochs"]) == 3


def test_ctrl_c_keeps_a_whole_model(monkeypatch, tmp_path):
    calls, plain = [], Objective.__call__

    def interrupted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 5:  # of 3 steps an epoch: within the second one
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "__call__", interrupted)
        model = made(fit={"epochs": 9, "log_dir": tmp_path})
    assert (model.history["stopped"], len(model.history["epochs"])) == ("interrupted", 1)
    assert same(model, made(fit={"epochs": 1}))
    assert same(made(fit={"epochs": 3, "log_dir": tmp_path, "resume": True}), made(fit={"epochs": 3}))


# ---- what training follows ----


@pytest.mark.parametrize("body", ["mlp", "conv", "rnn"])
@pytest.mark.parametrize("name", MODELS)
def test_every_body_of_every_model_learns_with_all_its_weights_and_comes_back(name, body, tmp_path):
    options = {"model": name, "body": body} | ({"hidden": 6} if body == "rnn" else {})
    fit = {"epochs": 1, "learning_rate": 1e-2, "batch_size": 40}
    images = TRAIN[:120]
    once = made(images, **options, fit=fit)
    more = made(images, **options, fit=fit | {"epochs": 3})
    for weight, tensor in weights(once).items():
        assert not torch.equal(tensor, weights(more)[weight]), weight
    totals = [record["train_total"] for record in more.history["epochs"]]
    assert totals[0] == once.history["epochs"][0]["train_total"]
    assert totals[2] < totals[0]
    more.save(tmp_path / "model.safetensors")
    loaded = ImageModel.load(tmp_path / "model.safetensors")
    assert same(loaded, more)
    np.testing.assert_array_equal(loaded.reconstruct(TEST), more.reconstruct(TEST))


@pytest.mark.parametrize("beta", [0.0, 1.0, 5.0])
def test_beta_weighs_the_kl_term_of_the_loss(beta):
    record = made(fit={"beta": beta}).history["epochs"][-1]
    for part in ("train", "validation"):
        kl_term = record[f"{part}_total"] - record[f"{part}_reconstruction"]
        assert kl_term == pytest.approx(beta * record[f"{part}_kl"], rel=1e-4, abs=1e-4)
        assert record[f"{part}_kl"] > 1e-3
    assert record["beta"] == beta


def test_beta_reaches_the_gradient():
    # Adam's first step is the learning rate against the sign of each gradient. Under a large β that is the KL term's:
    # its derivative by the mean's bias is the batch's mean μ, by that of log σ² the mean of ½ (σ² − 1).
    before = start(FEW, body=SMALL, latent=16)
    state = before.posterior(ImageSet(FEW).gather(torch.arange(len(FEW))).x)
    expected = {"mean": state.mean.mean(0), "log_var": 0.5 * (state.log_var.exp() - 1).mean(0)}
    fit = {"epochs": 1, "batch_size": len(FEW), "learning_rate": 1e-3, "validation": 0}
    strong, off = (made(latent=16, fit=fit | {"beta": beta}) for beta in (1e6, 0.0))
    for part, gradient in expected.items():
        name = f"latent.{part}.bias"
        step = weights(strong)[name] - before.state_dict()[name]
        torch.testing.assert_close(step, -1e-3 * gradient.sign(), rtol=1e-2, atol=0)
        assert not torch.equal((weights(off)[name] - before.state_dict()[name]).sign(), -gradient.sign())


def test_a_larger_beta_leaves_less_in_the_latent():
    told = [made(fit={"beta": beta, "epochs": 15, "learning_rate": 1e-2}).evaluate(TEST, samples=(1,)).kl
            for beta in (0.1, 1.0, 4.0)]  # fmt: skip
    assert told[0] > 2 * told[1] > 4 * told[2]


def test_beta_follows_its_schedule():
    fit = {"beta": 4.0, "beta_schedule": "linear", "warmup": 4.0, "epochs": 6, "patience": 1}
    epochs = made(fit=fit).history["epochs"]
    assert [record["beta"] for record in epochs[:5]] == [1.0, 2.0, 3.0, 4.0, 4.0]
    first = epochs[0]  # 3 steps at β = 0, 1/3, 2/3: less than at β = 1
    assert 0 < first["train_total"] - first["train_reconstruction"] < 0.75 * first["train_kl"]
    paid = first["validation_total"] - first["validation_reconstruction"]
    assert paid == pytest.approx(4 * first["validation_kl"], rel=1e-4)  # where the schedule settles


@pytest.mark.parametrize(("noise", "level"), [("masking", 0.3), ("gaussian", 0.15)])
def test_noise_reaches_the_encoder_and_nothing_else(noise, level, monkeypatch):
    seen, meant, forward = [], [], Autoencoder.forward
    from seqae import objectives

    def watched(self, x, observed=None, condition=None, lengths=None, **options):
        seen.append((self.training, x.clone()))
        return forward(self, x, observed, condition, lengths, **options)

    elbo = objectives.elbo
    monkeypatch.setattr(Autoencoder, "forward", watched)
    monkeypatch.setattr(
        objectives, "elbo", lambda x, output, **rest: meant.append((x, rest)) or elbo(x, output, **rest)
    )
    made(fit={"noise": noise, "noise_level": level, "validation": 0.25})
    clean = {tuple(row) for row in (FEW.pixels.reshape(len(FEW), -1) / np.float32(255)).tolist()}
    assert len(seen) == len(meant) > 4
    off = []
    for (training, x), (target, rest) in zip(seen, meant, strict=True):
        assert {tuple(row) for row in target.flatten(1).tolist()} <= clean  # what is to be explained is clean
        assert bool(rest["observed"].all())  # and all of it counts, the hidden pixels too
        if training:
            off.append((x - target).flatten(1))
        else:
            assert torch.equal(x, target)
        if training and noise == "masking":
            assert bool(((x == target) | (x == 0)).all())
    apart = torch.cat(off)
    if noise == "masking":
        bright = torch.cat(
            [target.flatten(1) for (training, _), (target, _) in zip(seen, meant, strict=True) if training]
        )
        assert float((apart != 0)[bright > 0].float().mean()) == pytest.approx(level, abs=0.02)
    else:
        assert float(apart.std()) == pytest.approx(level, rel=0.03)
        assert float(apart.mean()) == pytest.approx(0, abs=0.01)


def test_denoise_shows_the_noise_and_what_becomes_of_it(ae):
    noisy, denoised = ae.denoise(TEST, noise="masking", level=0.3, seed=1)
    clean = TEST.pixels / np.float32(255)
    assert ((noisy == clean) | (noisy == 0)).all()
    assert (noisy == 0)[clean > 0].mean() == pytest.approx(0.3, abs=0.02)
    again, other = (ae.denoise(TEST, noise="masking", level=0.3, seed=seed)[0] for seed in (1, 2))
    np.testing.assert_array_equal(again, noisy)
    assert not np.array_equal(other, noisy)
    pixels = Images(np.rint(255 * noisy).astype(np.uint8), None, (), "noisy")
    np.testing.assert_allclose(denoised, ae.reconstruct(pixels), atol=1e-5)
    shifted, _ = ae.denoise(TEST, noise="gaussian", level=0.25)
    assert (shifted - clean).std() == pytest.approx(0.25, rel=0.03)
    still, plain = ae.denoise(TEST, noise="gaussian", level=0.0)
    np.testing.assert_array_equal(still, clean)
    np.testing.assert_allclose(plain, ae.reconstruct(TEST), atol=1e-6)


def test_a_denoising_autoencoder_takes_noise_away():
    fit = {"epochs": 12, "learning_rate": 1e-2, "batch_size": 128}
    options = {"model": "AE", "latent": 12, "body": {"name": "mlp", "hidden": [64]}}
    denoising, plain = (made(TRAIN, **options, fit=fit | {"noise": noise}) for noise in ("masking", None))
    clean = TEST.pixels / 255
    noisy, taken = denoising.denoise(TEST, level=0.3, seed=1)
    _, left = plain.denoise(TEST, level=0.3, seed=1)
    errors = [((image - clean) ** 2).mean() for image in (noisy, left, taken)]
    assert errors[2] < 0.9 * errors[1]
    assert errors[2] < 0.6 * errors[0]


def test_importance_weighted_training_minimises_the_bound_that_evaluate_measures():
    fit = {"importance_samples": 4, "epochs": 6, "learning_rate": 1e-2, "validation": 0.4}
    model = made(fit=fit)
    totals = [record["validation_total"] for record in model.history["epochs"]]
    assert totals[-1] < totals[0] - 3
    held, _ = FEW.split(0.4, 0)
    found = model.evaluate(held, samples=(1, 4, 400))
    assert model.history["best_epoch"] == len(totals)
    assert min(totals) == pytest.approx(-found.bounds[4], abs=0.25)  # one draw of it, by 64 images
    assert found.bounds[1] < found.bounds[4] < found.bounds[400]
    with pytest.raises(OptionError, match="leave beta at 1"):
        made(fit=fit | {"beta": 4.0})
    with pytest.raises(OptionError, match="an AE has no posterior"):
        made(model="AE", fit=fit)


@pytest.mark.parametrize("likelihood", ["bernoulli", "normal_fixed"])
def test_an_autoencoder_learns_a_few_images_by_heart(likelihood):
    images = TRAIN[:10]
    fit = {"epochs": 200, "batch_size": 10, "learning_rate": 1e-2, "validation": 0}
    model = made(images, model="AE", latent=8, likelihood=likelihood, fit=fit, body={"name": "mlp", "hidden": [64]})
    assert values(images).var(0).mean() > 0.06  # what their mean leaves
    assert ((model.reconstruct(images) - images.pixels / 255) ** 2).mean() < 0.002


def test_a_vae_explains_digits_better_than_their_mean_and_than_an_untrained_one():
    fit = {"epochs": 12, "learning_rate": 1e-2, "batch_size": 128}
    options = {"latent": 8, "body": {"name": "mlp", "hidden": [64]}}
    found = made(TRAIN, **options, fit=fit).evaluate(TEST, samples=(1,))
    untrained = made(TRAIN, **options, fit=fit | {"epochs": 1, "learning_rate": 1e-12}).evaluate(TEST, samples=(1,))
    p = values(TRAIN).mean(0).clip(1e-4, 1 - 1e-4)
    x = values(TEST)
    mean_image = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1).mean()
    assert untrained.elbo == pytest.approx(-64 * math.log(2), abs=2)  # every pixel by the toss of a coin
    assert found.elbo > mean_image + 1 > untrained.elbo + 15
    assert found.kl > 1
    assert found.active_units >= 3


def test_a_cvae_draws_the_class_that_it_is_told():
    model = made(TRAIN.only("0", "1"), model="CVAE", latent=2, fit={"epochs": 30, "learning_rate": 1e-2})
    labels = np.repeat([0, 1], 30)
    drawn = model.sample(60, labels=labels).reshape(60, -1)
    means = np.stack([values(TEST.only(name)).mean(0) for name in ("0", "1")])
    nearest = ((drawn[:, None] - means) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(nearest, labels)
    assert model.trained_classes == ["0", "1"]


# ---- what is refused ----


def test_what_cannot_be_made_is_refused():
    for options, said in (
        ({"model": "GAN"}, "model 'GAN' does not exist"),
        ({"binarise": "half"}, "binarise 'half' does not exist"),
        ({"score": "mse"}, "score 'mse' does not exist"),
        ({"likelihood": "poisson"}, "likelihood 'poisson' does not exist"),
        ({"likelihood": "discretized_logistic", "binarise": "threshold"}, "Use --likelihood bernoulli"),
        ({"prior": "conditional"}, "Use the model CVAE"),
        ({"model": "AE", "prior": "conditional"}, "Use the model CVAE"),
    ):
        assert said in refused(OptionError, ImageModel, **options)
    for options, said in (
        ({"body": "transformer"}, "body 'transformer' does not exist"),
        ({"latent": 0}, "at least 1"),
        ({"hidden": 9}, "belongs to the body rnn"),
        ({"body": {"name": "conv", "channels": [4]}}, "1 channels, 2 kernel_sizes"),
        ({"body": {"name": "conv", "kernel_sizes": [30, 3]}}, "kernel of 30 × 30, and 8 × 8 enters it"),
        ({"body": {"name": "mlp", "hidden": []}}, "hidden=[]"),
    ):
        assert said in refused(OptionError, made, **options)


def test_training_that_cannot_be_is_refused():
    for fit, said in (
        ({"validation": 1.0}, "validation=1 is a share"),
        ({"validation": -0.1}, "validation=-0.1 is a share"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"learning_rate": -1.0}, "learning_rate must be"),
        ({"noise": "salt"}, "noise 'salt' does not exist"),
        ({"noise": "masking", "noise_level": 1.0}, "masking hides less than everything"),
        ({"beta_schedule": "cubic"}, "beta_schedule 'cubic' does not exist"),
        ({"resume": True}, "log_dir"),
    ):
        assert said in refused(OptionError, made, fit=fit)
    assert "Use --validation 0" in refused(DataError, made, FEW[:3])


def test_before_training_everything_says_so(tmp_path):
    model = ImageModel()
    assert repr(model) == "<ImageModel VAE, not fitted>"
    for act in (
        lambda: model.encode(TEST),
        lambda: model.score(TEST),
        lambda: model.sample(1),
        lambda: model.decode(np.zeros((1, 8))),
        lambda: model.p_values([1.0]),
        lambda: model.save(tmp_path / "model.safetensors"),
    ):
        refused(NotFittedError, act)
    assert not list(tmp_path.iterdir())


def test_a_cvae_needs_classes_and_refuses_others(cvae):
    bare = Images(FEW.pixels, None, (), "bare")
    assert "no labels" in refused(DataError, made, bare, model="CVAE")
    other = Images(FEW.pixels, FEW.labels, tuple("abcdefghij"), "letters")
    fewer = Images(FEW.pixels, FEW.labels % 3, tuple("012"), "three")
    for images in (bare, other, fewer):
        for act in (cvae.encode, cvae.reconstruct, cvae.score, cvae.evaluate, cvae.denoise):
            assert f"{images.name} has the classes" in refused(DataError, act, images)
    for labels in (None, np.array([1])):
        assert "a class for each of 2 images" in refused(OptionError, cvae.sample, 2, labels=labels)
        assert "a class for each of 2 images" in refused(OptionError, cvae.decode, np.zeros((2, 3)), labels)


def test_others_take_no_classes(vae, ae):
    labels = np.zeros(2, np.int64)
    assert "a VAE takes no classes" in refused(OptionError, vae.sample, 2, labels=labels)
    assert "a AE takes no classes" in refused(OptionError, ae.decode, np.zeros((2, 3)), labels)
    assert "nothing can be sampled" in refused(OptionError, ae.sample, 2)
    other = Images(FEW.pixels, FEW.labels, tuple("abcdefghij"), "letters")
    np.testing.assert_array_equal(vae.encode(other), vae.encode(FEW))  # what is not used may be anything


def test_images_of_another_size_are_refused(vae):
    for shape in ((3, 8, 7, 1), (3, 8, 8, 3)):
        images = Images(np.zeros(shape, np.uint8), None, (), "odd")
        told = " × ".join(map(str, shape[1:]))
        for act in (vae.encode, vae.score, vae.reconstruct, vae.denoise, vae.evaluate):
            line = refused(DataError, act, images)
            assert f"odd has images of {told}; the model was trained on 8 × 8 × 1." in line


def test_other_files_are_refused_by_what_they_are(tmp_path, vae):
    save_model(VAE(channels=2), tmp_path / "bare.safetensors")
    assert "not a model of images" in refused(ModelFileError, ImageModel.load, tmp_path / "bare.safetensors")
    made(fit={"log_dir": tmp_path / "run"})
    line = refused(ModelFileError, ImageModel.load, tmp_path / "run/last.safetensors")
    assert "holds a training state, not a model of images" in line
    vae.save(tmp_path / "vae.safetensors")
    assert "vae.safetensors holds a model of images" in refused(
        ModelFileError, Detector.load, tmp_path / "vae.safetensors"
    )
    whole = (tmp_path / "vae.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "half.safetensors" in refused(ModelFileError, ImageModel.load, tmp_path / "half.safetensors")
    refused(ModelFileError, ImageModel.load, tmp_path / "none.safetensors")
    assert refused(OptionError, vae.save, tmp_path / "no/vae.safetensors")


def test_a_file_of_other_options_is_refused(tmp_path, vae):
    vae.save(tmp_path / "vae.safetensors")
    tensors, document = read_safetensors(tmp_path / "vae.safetensors")

    for change in ({"options": document["options"] | {"model": "GAN"}}, {"classes": None}, {"recipe": {}}):
        write_safetensors(tmp_path / "odd.safetensors", tensors, document | change)
        assert "odd.safetensors" in refused(ModelFileError, ImageModel.load, tmp_path / "odd.safetensors")


def test_a_loss_that_is_not_finite_is_a_training_error(recwarn):
    with pytest.raises(TrainingError, match="not finite"), pytest.warns(match="tried again at half of it"):
        made(likelihood="normal", fit={"learning_rate": 1e30})


def test_a_fit_that_fails_leaves_the_model_as_it_was():
    model = made()
    before = model.score(TEST)
    refused(OptionError, model.fit, Images(np.zeros((20, 4, 4, 1), np.uint8), None, (), "small"), epochs=0)
    np.testing.assert_array_equal(model.score(TEST), before)


def test_a_class_that_does_not_exist_is_refused(cvae):
    for label in (10, -1):
        refused(OptionError, cvae.sample, 1, labels=np.array([label]))


def test_a_mistyped_option_is_refused():
    refused(OptionError, ImageModel, latnt=3)


def test_a_likelihood_without_a_name_is_refused():
    refused(OptionError, ImageModel, likelihood={"sigma": 0.1})


def test_what_is_said_of_an_image_does_not_depend_on_its_place_in_the_set():
    model = made(binarise="dynamic")
    whole, alone = model.score(TEST), model.score(TEST[3:4])
    assert alone[0] == pytest.approx(whole[3], rel=1e-5)
    np.testing.assert_allclose(model.encode(TEST[5:8]), model.encode(TEST)[5:8], rtol=1e-4, atol=1e-5)


def test_no_score_has_no_p_value():
    found = made(fit={"validation": 0.25}).p_values(np.array([np.nan, np.inf]))
    assert np.isnan(found[0])
    assert found[1] > 0


def test_what_is_told_of_grey_pixels_under_a_bernoulli_is_called_a_cross_entropy(vae):
    told = "\n".join(lines(vae.evaluate(TEST[:40], samples=(1, 2)), [], "image"))
    assert "a cross-entropy" in told
    assert "log p(x)" not in told
    told = "\n".join(lines(made(binarise="threshold").evaluate(TEST[:40], samples=(1, 2)), [], "image"))
    assert "a lower bound of log p(x)" in told
    assert "a dimension" in told
