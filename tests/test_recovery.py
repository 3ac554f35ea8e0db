"""Injected anomalies of every kind are found by every decoder mode and cell: AUROC of the row scores, with floors.

The floors are stated for these series and settings. A flat or decoupled stretch is easy to reconstruct for a model with
room to spare, so shape anomalies are asked for on a series with a strong season and a narrow latent.
"""

import functools
import itertools

import pytest
from sklearn.metrics import roc_auc_score

import seqae
from seqae.datasets import synthetic
from seqae.nn.decoders import DECODERS
from seqae.nn.recurrence import CELLS

FLOORS = {
    "spike": 0.99,
    "level_shift": 0.99,
    "frequency_change": 0.95,
    "amplitude_change": 0.95,
    "flatline": 0.9,
    "missing_pattern": 0.99,
    "channel_decoupling": 0.7,
}


@functools.cache
def series(kind):
    """Return the normal training rows and the normal rows that anomalies are put into."""
    if kind == "channel_decoupling":
        made = synthetic.multichannel(3200, channels=3, factors=1, period=40, seed=1)
    else:
        made = synthetic.seasonal(3200, channels=2, period=40, seed=1)
    return made[:2000], made[2000:]


@functools.cache
def detector(cell, mode, decoupling):
    train, _ = series("channel_decoupling" if decoupling else "spike")
    sizes = {"window": 20, "latent": 6} if decoupling else {"window": 40, "latent": 4}
    made = seqae.Detector(
        model="VAE", cell=cell, decoder_type=mode, hidden=24, scorer="nll", smoothing=1, missing="score", **sizes
    )
    if decoupling:
        return made.fit(train, epochs=40, learning_rate=1e-2, train_stride=4, seed=0)
    # Values hidden in training teach the model to read windows with holes, so that only the holes are strange.
    return made.fit(train, epochs=40, learning_rate=5e-3, train_stride=4, noise="masking", noise_level=0.2, seed=0)


def test_every_kind_has_a_floor():
    assert set(FLOORS) == set(synthetic.INJECTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLOORS)
@pytest.mark.parametrize(("cell", "mode"), list(itertools.product(CELLS, DECODERS)))
def test_an_injected_anomaly_is_found(cell, mode, kind):
    _, normal = series(kind)
    anomalous = synthetic.inject(normal, kind, count=3, seed=3)
    scores = detector(cell, mode, kind == "channel_decoupling").score(anomalous)["score"]
    scored = scores.notna().to_numpy()
    assert roc_auc_score(anomalous.labels[scored], scores[scored]) >= FLOORS[kind]
