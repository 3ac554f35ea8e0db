"""A training step never waits for its device, nor mixes it with the CPU.

PyTorch's meta device stands for a GPU that is not there: its tensors have shapes and no values, so that whoever asks
for a value, or brings a tensor from the CPU, fails.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import seqae
from seqae.generative.imageset import ImageSet
from seqae.models import MODELS
from seqae.nn.decoders import DECODERS, FEEDBACKS
from seqae.nn.likelihoods import LIKELIHOODS
from seqae.nn.recurrence import CELLS
from seqae.objectives import NOISES, Objective
from seqae.training import loop
from seqae.training.checkpoints import TrainingState
from seqae.training.tracking import Sums
from seqae.windows import WindowSet

META = torch.device("meta")
STEPS, CHANNELS = 6, 3


def step(model, data, index, **objective):
    """Take a step down the gradient on the meta device."""
    model = model.to(META)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    state = TrainingState(model, optimizer, {"noise": None})  # there is no generator for what has no values
    run = loop._Loop(
        state, Objective(**objective), data, None, 8, 1, 1.0, 0, META, torch.autocast("cpu", enabled=False), []
    )
    run.step(data.gather(index.to(META)), 0.5, Sums(META))
    assert all(weight.grad is not None for weight in model.parameters() if weight.requires_grad)


def windows(kind="full", condition=0):
    draw = np.random.default_rng(0)
    rows = [draw.random((40, CHANNELS), dtype=np.float32), draw.random((30, CHANNELS), dtype=np.float32)]
    if kind == "gaps":
        rows[0][3:9] = np.nan
    if kind == "short":
        rows.append(draw.random((STEPS - 2, CHANNELS), dtype=np.float32))
    conditions = [np.zeros((len(one), condition), dtype=np.float32) for one in rows] if condition else None
    held = WindowSet(rows, window=STEPS, stride=2, phase="random", ragged=True, conditions=conditions)
    return held.to(META), held.epoch(torch.Generator().manual_seed(0))[:8]


def network(model="VAE", **options):
    known = {"condition": 2} if model == "CVAE" else {}
    return MODELS[model](channels=CHANNELS, steps=STEPS, latent=2, hidden=4, **known, **options)


@pytest.mark.parametrize(("cell", "decoder_type", "feedback"), list(itertools.product(CELLS, DECODERS, FEEDBACKS)))
@pytest.mark.parametrize("layers", [1, 2])
def test_recurrent_networks(cell, decoder_type, feedback, layers):
    given = {"cell": cell, "decoder_type": decoder_type, "feedback": feedback, "layers": layers}
    step(network(**given, bidirectional=layers == 2), *windows())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", ["full", "gaps", "short"])
def test_models_and_missing_values(model, kind):
    step(network(model), *windows(kind, condition=2 if model == "CVAE" else 0))


@pytest.mark.parametrize("likelihood", [name for name in LIKELIHOODS if name != "discretized_logistic"])
def test_likelihoods(likelihood):
    step(network(likelihood=likelihood), *windows())


@pytest.mark.parametrize("noise", NOISES)
def test_noise(noise):
    step(network(), *windows(), noise=noise, noise_level=0.1)


@pytest.mark.parametrize("cell", CELLS)
def test_teacher_forcing(cell):
    fed = network(cell=cell, decoder_type="output_as_input", feedback="output")
    step(fed, *windows(), teacher_forcing=0.5)


def test_importance_weighted_bound():
    step(network(), *windows(), importance_samples=3)


@pytest.mark.parametrize("body", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "discretized_logistic"])
def test_images(body, likelihood):
    images = seqae.load_images("digits")
    model = MODELS["VAE"](image=images.shape, body=body, latent=2, likelihood=likelihood)
    step(model, ImageSet(images).to(META), torch.arange(8))
