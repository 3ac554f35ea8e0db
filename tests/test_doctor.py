"""The doctor finds what was done to a model on purpose, and nothing where nothing was."""

import dataclasses

import numpy as np
import pytest
import torch

import seqae
from seqae.generative.bounds import Evaluation, evaluate
from seqae.generative.doctor import diagnose
from seqae.objectives import Objective
from seqae.windows import WindowSet

HEALTHY = Evaluation(
    windows=500, values=64.0, reconstruction=20.0, squared_error=0.1, kl=8.0, elbo=-28.0,
    bounds={1: -28.0, 100: -27.5}, standard_error=0.1, bits_per_dimension=None, per_dimension_kl=[4.0, 4.0],
    per_dimension_variance=[0.9, 0.9], active_units=2, mutual_information=7.5, marginal_kl=0.5,
)  # fmt: skip
HISTORY = {
    "epochs": [{"train_total": 30.0, "validation_total": 31.0}, {"train_total": 28.0, "validation_total": 29.0}],
    "best_epoch": 1, "stopped": "early",
}  # fmt: skip


def symptoms(history=None, **changes):
    return [one.symptom for one in diagnose(dataclasses.replace(HEALTHY, **changes), history=history)]


def test_a_healthy_model_is_left_alone():
    assert symptoms(HISTORY) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"active_units": 0, "per_dimension_variance": [1e-5, 1e-5]}, "posterior collapse"),
        ({"mutual_information": 0.01}, "posterior collapse"),
        ({"active_units": 1, "per_dimension_variance": [0.9, 1e-5]}, "unused dimensions"),
        ({"marginal_kl": 4.0, "mutual_information": 4.0}, "codes away from the prior"),
        ({"bounds": {1: -28.0, 100: -22.0}}, "a loose bound"),
    ],
)
def test_each_symptom_has_its_name(changes, expected):
    assert symptoms(**changes) == [expected]


def test_training_is_judged_by_its_records():
    worse = HISTORY | {"epochs": [{"train_total": 20.0, "validation_total": 40.0}]}
    assert symptoms(worse) == ["overfitting"]
    assert symptoms(HISTORY | {"best_epoch": 2, "stopped": "finished"}) == ["an unfinished training"]


@pytest.fixture(scope="module")
def waves():
    rng = np.random.default_rng(0)
    t = np.arange(3000)
    values = np.sin(2 * np.pi * t / 25) * (1 + 0.5 * np.sin(t / 170)) + 0.1 * rng.normal(size=len(t))
    return WindowSet([values[:, None].astype(np.float32)], window=24, stride=8)


def trained(waves, **objective):
    torch.manual_seed(0)
    model = seqae.VAE(channels=1, latent=3, hidden=16, cell="gru", likelihood={"name": "normal_fixed", "sigma": 0.3})
    history = seqae.fit(model, waves, objective=Objective(**objective), epochs=12, device="cpu", learning_rate=1e-2)
    return evaluate(model, waves), history


def test_a_crushed_latent_is_called_collapsed_and_free_bits_treat_it(waves):
    crushed, _ = trained(waves, beta=300.0)
    said = diagnose(crushed)
    assert [one.symptom for one in said] == ["posterior collapse"]
    assert "0 of 3 latent dimensions are active" in said[0].evidence
    assert "--free-bits" in said[0].treatment
    treated, _ = trained(waves, beta=1.0, free_bits=0.1)
    assert treated.active_units > 0
    assert "posterior collapse" not in [one.symptom for one in diagnose(treated)]


def test_a_latent_without_a_price_lies_away_from_the_prior(waves):
    free, _ = trained(waves, beta=0.0)
    assert "codes away from the prior" in [one.symptom for one in diagnose(free)]
