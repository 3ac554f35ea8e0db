"""The parts of images.py: what is trained and measured for each row of its tables.

A part is a dict of rows by name and a function (row, How) → figures as JSON. A row is what differs between them: the
images it needs (`data`, a name in IMAGES; none for the sprites, which are drawn) and options. `figures["runs"]` are
its trainings: the epochs and seconds that each really had.
"""

from __future__ import annotations

__all__ = ["DATA", "MINUTES", "PARTS", "How", "Part", "load", "needs"]

import math
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from seqae.datasets.images import Images, load_images
from seqae.datasets.sprites import sprites
from seqae.errors import DataError
from seqae.generative.bounds import Evaluation
from seqae.generative.disentanglement import disentanglement
from seqae.generative.doctor import diagnose
from seqae.generative.image_model import ImageModel

DATA = Path(os.environ.get("SEQAE_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
MINUTES = 35.0
"""The budget that the epochs below were set for: all parts on two quiet cores."""
QUICK = {"train": 2000, "test": 300}
"""Images that --quick takes of a set."""
BETAS = (1, 2, 4, 10)
SEEDS = (0, 1, 2)
MLP = {"name": "mlp", "hidden": [400]}
COURSE = {"name": "conv", "channels": [12, 24, 48], "kernel_sizes": [4, 4, 4], "strides": [2, 2, 2],
          "paddings": [1, 1, 1]}  # fmt: skip
COMPONENTS = 32
"""Of the PCA that one-class autoencoders, with as many latent numbers, are compared with."""

Figures = dict[str, Any]
Row = Mapping[str, Any]


class How(NamedTuple):
    """How much of everything: minutes for all parts, `large` for a GPU, `quick` to see that it runs at all."""

    minutes: float = MINUTES
    large: bool = False
    quick: bool = False
    device: str = "cpu"

    def some(self, usual: float, large: float) -> float:
        """Return a row's share of the budget, in the unit of the two numbers."""
        return (large if self.large else usual) * self.minutes / MINUTES

    def epochs(self, usual: int, large: int) -> int:
        return 1 if self.quick else max(1, round(self.some(usual, large)))


class Part(NamedTuple):
    title: str
    rows: dict[str, Row]
    run: Callable[[Row, How], Figures]


@cache
def load(name: str, part: str) -> Images:
    return load_images(name, part, DATA)


def needs(row: Row) -> str | None:
    """Return what a row lacks, in the words of the reader of images, or None."""
    if row.get("data") is None:
        return None
    try:
        for part in ("train", "test"):
            load(row["data"], part)
    except DataError as error:
        return str(error).replace(str(DATA), "SEQAE_DATA")
    return None


def both(row: Row, how: How) -> tuple[Images, Images]:
    """Return a row's images to train on and to test on."""
    train, test = load(row["data"], "train"), load(row["data"], "test")
    return (train[: QUICK["train"]], test[: QUICK["test"]]) if how.quick else (train, test)


def fitted(images: Images, how: How, options: Mapping[str, Any], **fit: Any) -> tuple[ImageModel, Figures]:
    """Train a model, by default on all images and to the last epoch, and say what it took."""
    fit = {"validation": 0.0, "patience": None, "device": how.device} | fit
    model = ImageModel(**options).fit(images, **fit)
    weights = sum(weight.numel() for weight in model.model.parameters())
    done = model.history["epochs"]
    return model, {"epochs": len(done), "seconds": model.history["seconds"], "weights": weights}


def flat(images: Images) -> NDArray[np.float32]:
    """Return pixels (N, H · W · K) in [0, 1]."""
    return images.pixels.reshape(len(images), -1).astype(np.float32) / 255


def plain(found: Evaluation) -> Figures:
    """Return the figures of an evaluation that tables show."""
    kept = ("reconstruction", "kl", "elbo", "bounds", "standard_error", "bits_per_dimension", "squared_error")
    document = found.to_document()
    return {name: document[name] for name in kept} | {
        "active": found.active_units, "latent": len(found.per_dimension_variance),
        "values": found.values, "windows": found.windows,
    }  # fmt: skip


# ---- nll: the likelihood of binarised MNIST, and the classic example ----


def nll(row: Row, how: How) -> Figures:
    """Return bounds on the test images, from k = 1 up; the largest k on every tenth image, or with --large on all."""
    train, test = both(row, how)
    epochs = how.epochs(*row["epochs"])
    if row.get("classic"):  # nothing held back, the last weights: as the example does it
        model, run = fitted(train, how, {"body": MLP, "latent": 20}, epochs=epochs)
        return {"runs": [run], "all": plain(model.evaluate(test, samples=(1,)))}
    options = {"body": MLP, "latent": 40, "binarise": "dynamic"}
    fit = {"validation": 1 / 60, "schedule": "cosine", "importance_samples": row.get("k", 1)}
    model, run = fitted(train, how, options, epochs=epochs, **fit)
    if how.large and not how.quick:
        return {"runs": [run], "all": plain(model.evaluate(test, samples=(1, 10, 100, 1000, 5000)))}
    few, many = ((1, 10), (1, 10, 100)) if how.quick else ((1, 10, 100), (1, 10, 100, 1000))
    return {
        "runs": [run],
        "all": plain(model.evaluate(test, samples=few)),
        "tenth": plain(model.evaluate(test[::10], samples=many)),
    }


NLL: dict[str, Row] = {
    "VAE": {"data": "mnist", "epochs": (30, 300), "published": "86.8 to 89.9"},
    "VAE, a short training": {"data": "mnist", "epochs": (3, 30)},
    "IWAE, k = 50": {"data": "mnist", "epochs": (3, 300), "k": 50, "published": "84.6 to 87.6"},
    "classic: z 20, grey pixels": {"data": "mnist", "epochs": (10, 10), "classic": True, "published": "105.6"},
}


# ---- course: the exercise's convolutional autoencoder ----


def course(row: Row, how: How) -> Figures:
    """Return the squared error of the exercise's autoencoder and of predicting the training images' mean."""
    train, test = both(row, how)
    options = {"model": "AE", "body": COURSE, "latent": 48 * math.prod(side // 8 for side in train.shape[:2])}
    model, run = fitted(train, how, options, epochs=how.epochs(*row["epochs"]))
    return {
        "runs": [run], "images": [len(train), len(test)],
        "first_layer": sum(weight.numel() for weight in model.model.encoder.get_submodule("layers.0").parameters()),
        "squared_error": float(np.mean((model.reconstruct(test) - test.pixels / np.float32(255)) ** 2)),
        "mean_image": float(np.mean((flat(test) - flat(train).mean(0)) ** 2)),
    }  # fmt: skip


# ---- cvae: are samples of a class of that class? ----


def cvae(row: Row, how: How) -> Figures:
    """Return the share of each class's samples that a classifier of real images takes for it."""
    train, test = both(row, how)
    assert test.labels is not None
    known = train[: row["known"]]
    judge = make_pipeline(PCA(min(40, flat(known).shape[1]), random_state=0), SVC(C=10.0))
    judge.fit(flat(known), known.labels)
    options = {"model": "CVAE", "body": MLP, "latent": 20, "binarise": "dynamic"}
    model, run = fitted(train, how, options, epochs=how.epochs(*row["epochs"]))
    wanted = np.repeat(np.arange(len(train.classes)), 100)
    drawn = model.sample(len(wanted), labels=wanted)
    of_samples, of_test = judge.predict(drawn.reshape(len(drawn), -1)) == wanted, judge.predict(flat(test))
    return {
        "runs": [run], "known": len(known), "classes": list(train.classes),
        "samples": [float(of_samples[wanted == k].mean()) for k in range(len(train.classes))],
        "test": [float((of_test == test.labels)[test.labels == k].mean()) for k in range(len(train.classes))],
        "all_test": float((of_test == test.labels).mean()),
    }  # fmt: skip


# ---- beta: what a heavier KL term buys and costs ----


def beta(row: Row, how: How) -> Figures:
    """Return reconstruction, KL and symptoms on held-back images; of sprites, disentanglement on all of them."""
    options = {"body": MLP, "latent": 10}
    fit = {"epochs": how.epochs(*row["epochs"]), "beta": float(row["beta"]), "seed": row["seed"]}
    if row.get("data"):
        train, test = both(row, how)
        model, run = fitted(train, how, options, **fit)
    else:
        drawn = sprites(2000 if how.quick else None)
        whole = Images(drawn.pixels, None, (), "sprites")
        test, train = whole.split(1 / 8, 0)
        model, run = fitted(train, how, options, batch_size=64, **fit)
        measured = disentanglement(model.encode(whole), drawn.factors, drawn.names)
    found = model.evaluate(test, samples=(1, 10))
    figures = plain(found) | {"runs": [run], "symptoms": [one.symptom for one in diagnose(found)]}
    return figures if row.get("data") else figures | {"measured": {name: measured[name] for name in MEASURES}}


MEASURES = ("mig", "sap", "disentanglement", "completeness", "informativeness")
BETA: dict[str, Row] = {
    **{
        f"sprites, β = {b}, seed {seed}": {"beta": b, "seed": seed, "set": "sprites", "epochs": (25, 200)}
        for seed in SEEDS
        for b in BETAS
        if seed == 0 or b != 2
    },
    **{
        f"{name}, β = {b}": {"beta": b, "seed": 0, "set": name, "data": name, "epochs": (6, 60)}
        for name in ("fashion-mnist",)
        for b in BETAS
    },
}


# ---- oneclass: trained on one class, the others are anomalies ----

Scorer = Callable[[Images, Images, How, Row], tuple[NDArray[Any], Figures | None]]


def _by_model(train: Images, test: Images, how: How, row: Row) -> tuple[NDArray[Any], Figures | None]:
    options = {"model": row["model"], "body": MLP, "latent": COMPONENTS, "score": row["score"]}
    model, run = fitted(train, how, options, epochs=how.epochs(*row["epochs"]))
    return model.score(test), run


def _by_pca(train: Images, test: Images, how: How, row: Row) -> tuple[NDArray[Any], Figures | None]:
    known, x = flat(train), flat(test)
    pca = PCA(min(COMPONENTS, len(known) - 1), random_state=0).fit(known)
    return ((x - pca.inverse_transform(pca.transform(x))) ** 2).sum(1), None


def _by_mean(train: Images, test: Images, how: How, row: Row) -> tuple[NDArray[Any], Figures | None]:
    return ((flat(test) - flat(train).mean(0)) ** 2).sum(1), None


SCORERS: dict[str, Scorer] = {"model": _by_model, "pca": _by_pca, "mean": _by_mean}


def oneclass(row: Row, how: How) -> Figures:
    """Return the AUROC of each class's own scores: its test images against those of all others."""
    train, test = both(row, how)
    assert test.labels is not None
    aurocs, runs = [], []
    for k, name in enumerate(train.classes):
        scores, run = SCORERS[row["scorer"]](train.only(name), test, how, row)
        aurocs.append(float(roc_auc_score(test.labels != k, scores)))
        runs += [run] if run else []
    return {"runs": runs, "classes": list(train.classes), "auroc": aurocs}


METHODS: dict[str, Row] = {
    "AE, squared error": {"scorer": "model", "model": "AE", "score": "squared_error", "epochs": (12, 100)},
    "VAE, −ELBO": {"scorer": "model", "model": "VAE", "score": "negative_elbo", "epochs": (12, 100)},
    f"PCA with {COMPONENTS} components, squared error": {"scorer": "pca"},
    "distance to the mean image": {"scorer": "mean"},
}
ONECLASS: dict[str, Row] = {
    f"{name}: {method}": {**row, "data": name, "method": method}
    for name in ("mnist", "fashion-mnist")
    for method, row in METHODS.items()
}


# ---- bodies and likelihoods ----


def bodies(row: Row, how: How) -> Figures:
    """Return the −ELBO that a body reaches in as many seconds as the others; the epoch that is cut off is undone."""
    train, test = both(row, how)
    options = {"binarise": "dynamic", "latent": 20, **row["options"]}
    seconds = 1.0 if how.quick else how.some(45, 300)
    model, run = fitted(train, how, options, epochs=100_000, max_time=seconds)
    return plain(model.evaluate(test, samples=(1,))) | {"runs": [run]}


BODIES: dict[str, Row] = {
    "mlp, 400 hidden": {"data": "mnist", "options": {"body": MLP}},
    "conv, 32 and 64 channels": {"data": "mnist", "options": {"body": "conv"}},
    **{
        f"rnn, LSTM, 128 hidden, {mode}": {
            "data": "mnist",
            "options": {"body": "rnn", "hidden": 128, "cell": "lstm", "decoder_type": mode},
        }
        for mode in ("repeat_latent", "concat_output_latent", "output_as_input")
    },
}


def likelihoods(row: Row, how: How) -> Figures:
    """Return the bounds and the squared error of a VAE by what its decoder's numbers mean."""
    train, test = both(row, how)
    options = {"body": MLP, "latent": 20, "likelihood": row["likelihood"], "binarise": row.get("binarise", "off")}
    model, run = fitted(train, how, options, epochs=how.epochs(*row["epochs"]))
    return plain(model.evaluate(test, samples=(1, 10))) | {"runs": [run], "images": [len(train), len(test)]}


LIKELIHOODS: dict[str, Row] = {
    "mnist, binarised: bernoulli": {
        "data": "mnist", "likelihood": "bernoulli", "binarise": "dynamic", "epochs": (8, 100),
    },
    **{
        f"{name}: {likelihood}": {"data": name, "likelihood": likelihood, "epochs": epochs}
        for name, epochs in (("fashion-mnist", (6, 100)), ("cifar10", (10, 100)))
        for likelihood in ("continuous_bernoulli", "normal_shared", "normal_per_step", "discretized_logistic")
    },
}  # fmt: skip


PARTS: dict[str, Part] = {
    "nll": Part("Likelihood of binarised MNIST", NLL, nll),
    "course": Part("The course exercise's autoencoder", {"AE, 3-12-24-48": {"data": "cifar10", "epochs": (20, 100)}},
                   course),
    "cvae": Part("Samples of a class", {"CVAE": {"data": "mnist", "epochs": (15, 100), "known": 20_000}}, cvae),
    "beta": Part("A heavier KL term", BETA, beta),
    "oneclass": Part("Trained on one class", ONECLASS, oneclass),
    "bodies": Part("Bodies at equal seconds", BODIES, bodies),
    "likelihoods": Part("Likelihoods", LIKELIHOODS, likelihoods),
}  # fmt: skip
