"""The ImageModel: train an autoencoder on images, encode, reconstruct, sample, score, and keep it in one file."""

from __future__ import annotations

__all__ = ["IMAGE_SCORES", "KIND", "ImageModel"]

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqae.autoencoder import Autoencoder
from seqae.datasets.images import Images
from seqae.errors import DataError, ModelFileError, NotFittedError, OptionError, choose
from seqae.generative.bounds import Evaluation, evaluate
from seqae.generative.imageset import BINARISE, ImageSet
from seqae.models import MODELS, RECURRENT
from seqae.nn.latents import LatentState
from seqae.nn.likelihoods import LIKELIHOODS
from seqae.objectives import Objective
from seqae.training import loop
from seqae.training.checkpoints import read_safetensors, restore_model, save_model
from seqae.training.devices import resolve_device
from seqae.training.schedules import SCHEDULES
from seqae.windows import Batch

Floats = NDArray[np.float32]
KIND = "images"
BLOCK = 512
HELD = "held_back_scores"

Score = Callable[[Batch, LatentState, Any], Tensor]


def _summed(batch: Batch, values: Tensor) -> Tensor:
    return torch.where(batch.observed, values, 0.0).sum((-2, -1))


def _nll(batch: Batch, state: LatentState, likelihood: Any) -> Tensor:
    """Return −log p(x | z) at the posterior's mean, in nats."""
    return -_summed(batch, likelihood.log_prob(batch.x))


def _negative_elbo(batch: Batch, state: LatentState, likelihood: Any) -> Tensor:
    """Return −log p(x | z) at the posterior's mean plus the KL term, in nats."""
    return _nll(batch, state, likelihood) + state.kl().sum(-1)


def _squared_error(batch: Batch, state: LatentState, likelihood: Any) -> Tensor:
    """Return the sum of squared differences between the image and its reconstruction."""
    return _summed(batch, (batch.x - likelihood.mean).square())


IMAGE_SCORES: dict[str, Score] = {"nll": _nll, "negative_elbo": _negative_elbo, "squared_error": _squared_error}
"""How strange an image is, higher is stranger."""


class ImageModel:
    """An AE, VAE or CVAE of images of one size.

    model: a name in MODELS; a CVAE is conditioned on the class. body, latent, likelihood, prior and recurrent (hidden,
    cell, decoder_type, layers, bidirectional, feedback, reverse): the network, as in `seqae.VAE`; an image goes through
    the body rnn row by row. binarise: whether pixels become 0 or 1 (`seqae.generative.imageset.BINARISE`).
    score: how strange an image is, a name in IMAGE_SCORES.
    """

    def __init__(
        self, *, model: str = "VAE", body: str | Mapping[str, Any] = "mlp", latent: int = 8,
        likelihood: str | Mapping[str, Any] = "bernoulli", prior: str = "standard", binarise: str = "off",
        score: str = "nll", **recurrent: Any,
    ) -> None:  # fmt: skip
        choose(MODELS, model, "model")
        choose(BINARISE, binarise, "binarise")
        choose(IMAGE_SCORES, score, "score")
        name = likelihood.get("name", "") if isinstance(likelihood, Mapping) else likelihood
        unknown = [option for option in recurrent if option not in RECURRENT]
        if unknown:
            raise OptionError(
                f"an ImageModel has no option {unknown[0]!r}. It has model, body, latent, likelihood, prior, binarise, "
                f"score and, for the body rnn, {', '.join(RECURRENT)}."
            )
        if binarise != "off" and name == "discretized_logistic":
            raise OptionError(
                "the discretized logistic is for 256 levels, not for 0 and 1. Use --likelihood bernoulli."
            )
        choose(LIKELIHOODS, name, "likelihood")
        if model != "CVAE" and prior != "standard":
            raise OptionError(f"prior {prior!r} needs a condition, and a {model} has none. Use the model CVAE.")
        self.options: dict[str, Any] = {
            "model": model, "body": body, "latent": latent, "likelihood": likelihood, "prior": prior,
            "binarise": binarise, "score": score, **recurrent,
        }  # fmt: skip
        """The options above, as given."""
        self.shape: tuple[int, int, int] | None = None
        """(H, W, K) of the images it was trained on."""
        self.classes: tuple[str, ...] = ()
        """The names of the classes of the training images."""
        self.history: dict[str, Any] = {}
        """What training measured, see `seqae.training.tracking.History`."""
        self.training_data: dict[str, Any] = {}
        """The name of the training images, how many were fitted and how many held back."""
        self._model: Autoencoder | None = None
        self._held: Floats = np.zeros(0, np.float32)

    def __repr__(self) -> str:
        return f"<ImageModel {self.options['model']}, {'not fitted' if self._model is None else self.shape}>"

    @property
    def model(self) -> Autoencoder:
        """The trained network; NotFittedError before fit."""
        if self._model is None:
            raise NotFittedError("this ImageModel is not trained. Call fit() first, or load a file.")
        return self._model

    @property
    def conditional(self) -> bool:
        """Whether it takes a class label beside the image."""
        return bool(self.options["model"] == "CVAE")

    @property
    def trained_classes(self) -> list[str]:
        """The classes that were among the training images; empty where those had none."""
        return list(self.training_data.get("classes", ()))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def fit(
        self, images: Images, *, epochs: int = 20, batch_size: int = 128, learning_rate: float = 1e-3,
        optimizer: str = "adam", weight_decay: float = 0.0, clip: float | None = None, schedule: str = "constant",
        patience: int | None = 10, max_time: float | None = None, beta: float = 1.0, beta_schedule: str = "constant",
        warmup: float = 10.0, free_bits: float = 0.0, noise: str | None = None, noise_level: float = 0.2,
        importance_samples: int = 1, validation: float = 0.1, device: str | torch.device = "auto",
        precision: str = "auto", seed: int = 0, log_dir: str | os.PathLike[str] | None = None, resume: bool = False,
        progress: bool = False,
    ) -> Self:  # fmt: skip
        """Train on images; the share `validation`, drawn by chance, is held back and says when to stop (0: none).

        noise: "masking" sets the share noise_level of the pixels to 0, "gaussian" adds N(0, noise_level²), for the
        encoder only. The other arguments are those of `seqae.fit` and `seqae.Objective`.
        """
        if not 0 <= validation < 1:
            raise OptionError(f"validation={validation:g} is a share of the images. Give a number from 0, below 1.")
        if validation and not 0 < round(validation * len(images)) < len(images):
            raise DataError(
                f"{images.name} has {len(images)} images, too few to hold a share of {validation:g} back. Use "
                "--validation 0, or give more images."
            )
        held, fitted = images.split(validation, seed) if validation else (None, images)
        network = {name: value for name, value in self.options.items() if name not in ("model", "binarise", "score")}
        prior = network.pop("prior")
        if self.conditional:
            if not images.classes:
                self._set(images)  # says what is missing
            network |= {"condition": len(images.classes), "prior": prior}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = MODELS[self.options["model"]](image=images.shape, **network)
        weight = choose(SCHEDULES, beta_schedule, "beta_schedule")(beta, warmup)
        objective = Objective(
            beta=weight, free_bits=free_bits, noise=noise, noise_level=noise_level,
            importance_samples=importance_samples,
        )  # fmt: skip
        history = loop.fit(
            model, self._set(fitted), objective=objective, validation=None if held is None else self._set(held),
            epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, optimizer=optimizer,
            weight_decay=weight_decay, clip=clip, schedule=schedule, patience=patience, max_time=max_time,
            device=device, precision=precision, seed=seed, log_dir=log_dir, resume=resume, progress=progress,
            hyperparameters={name: str(value) for name, value in self.options.items()},
        )  # fmt: skip
        self._model, self.history = model, history.to_document()
        self.shape, self.classes = images.shape, images.classes
        self.training_data = {
            "name": images.name,
            "fit": len(fitted),
            "held_back": 0 if held is None else len(held),
            "classes": [] if images.labels is None else [images.classes[k] for k in np.unique(images.labels)],
        }
        self._held = np.zeros(0, np.float32) if held is None else np.sort(self.score(held))
        return self

    def encode(self, images: Images) -> Floats:
        """Return the means of q(z | x), (N, Z)."""
        return self._map(images, lambda batch, state: state.mean)

    def reconstruct(self, images: Images) -> Floats:
        """Return the means of p(x | z) at the means of q(z | x), (N, H, W, K); a normal's may leave [0, 1]."""
        found = self._map(images, lambda batch, state: self._emit(batch, state).mean)
        return found.reshape(len(images), *images.shape)

    def denoise(
        self, images: Images, *, noise: str = "masking", level: float = 0.2, seed: int = 0
    ) -> tuple[Floats, Floats]:
        """Return corrupted images and what the model makes of them, both (N, H, W, K)."""
        objective = Objective(noise=noise, noise_level=level)
        assert objective.corrupt is not None
        generator = torch.Generator(self.device).manual_seed(seed)
        noisy, clean = [], []
        with torch.no_grad():
            for _, batch in self._known(images).blocks(BLOCK):
                x, observed = objective.corrupt(batch, level, generator)
                noisy.append(x.cpu().numpy())
                clean.append(self.model.reconstruct(x, observed, batch.condition).cpu().numpy())
        return tuple(np.concatenate(part).reshape(-1, *images.shape) for part in (noisy, clean))  # type: ignore[return-value]

    def decode(self, z: NDArray[Any], labels: NDArray[np.int64] | None = None) -> Floats:
        """Return the means of p(x | z), (N, H, W, K), for z: (N, Z) and, for a CVAE, the classes' numbers (N,)."""
        shape = self._shape()
        latent = torch.as_tensor(z, dtype=torch.float32, device=self.device)
        found = []
        with torch.no_grad():
            for low in range(0, len(latent), BLOCK):
                some = None if labels is None else labels[low : low + BLOCK]
                part = latent[low : low + BLOCK]
                found.append(self.model.decode(part, shape[0], self._one_hot(some, len(part))).cpu().numpy())
        return np.concatenate(found).reshape(-1, *shape)

    def sample(self, n: int, *, labels: NDArray[np.int64] | None = None, noise: bool = False, seed: int = 0) -> Floats:
        """Draw n images (n, H, W, K): z from the prior, then the mean of p(x | z), or with `noise` a draw from it.

        labels: (n,) the classes' numbers, for a CVAE. OptionError for an AE, and where labels do not fit the model.
        """
        generator = torch.Generator().manual_seed(seed)
        condition = self._one_hot(labels, n)
        found = self.model.sample(n, self._shape()[0], condition, noise=noise, generator=generator)
        return found.cpu().numpy().reshape(n, *self._shape())

    def score(self, images: Images) -> Floats:
        """Return how strange each image is, (N,), by the model's `score`; higher is stranger."""
        how = IMAGE_SCORES[self.options["score"]]
        return self._map(images, lambda batch, state: how(batch, state, self._emit(batch, state)))

    def p_values(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """Return for each score the share of the held-back images at least as strange, (1 + count) / (1 + n).

        Conformal (Vovk et al. 2005): among images like the held-back ones a p-value is at most α with probability α;
        nearly, since the held-back ones chose the best epoch, too. NotFittedError for a model that held nothing back.
        """
        if not len(self._held):
            raise NotFittedError("the model held no images back to compare with. Train it with validation above 0.")
        above = len(self._held) - np.searchsorted(self._held, scores, side="left")
        return np.where(np.isnan(scores), np.nan, (1.0 + above) / (1.0 + len(self._held)))

    def evaluate(self, images: Images, *, samples: Sequence[int] = (1, 10, 100), seed: int = 0) -> Evaluation:
        """Measure bounds on the likelihood and what the latent is worth (`seqae.generative.bounds`)."""
        return evaluate(self.model, self._known(images), samples=samples, seed=seed)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one .safetensors file with all that using the model needs; never half of it."""
        save_model(self.model, path, tensors={HELD: torch.from_numpy(self._held)}, kind=KIND, **self.to_document())

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Self:
        """Read what `save` wrote, onto any device; raises ModelFileError where the file is no image model's."""
        tensors, document = read_safetensors(path)
        if document.get("kind") != KIND:
            raise ModelFileError(
                f"{path} holds a {document.get('kind', 'thing')}, not a model of images. Name a file that "
                "`seqae train` wrote for images, or ImageModel.save."
            )
        try:
            found = cls(**document["options"])
            found.shape = cast(tuple[int, int, int], tuple(document["shape"]))
            found.classes = tuple(document["classes"])
            found.history, found.training_data = document["history"], document["training_data"]
            found._held = tensors[HELD].numpy()
        except (KeyError, TypeError, OptionError) as error:
            raise ModelFileError(
                f"{path} does not fit this version of seqae ({error}). Use the version that wrote it, or train again."
            ) from error
        found._model = cast(Autoencoder, restore_model(tensors, document, resolve_device(device), source=path))
        return found

    def describe(self) -> dict[str, Any]:
        """Return what there is to know about the model, as JSON."""
        weights = sum(weight.numel() for weight in self.model.parameters())
        return {**self.to_document(), "parameters": weights, "recipe": self.model.recipe}

    def to_document(self) -> dict[str, Any]:
        """Return what a file holds beside tensors, as JSON."""
        return {
            "options": self.options,
            "shape": list(self._shape()),
            "classes": list(self.classes),
            "history": self.history,
            "training_data": self.training_data,
        }

    def _shape(self) -> tuple[int, int, int]:
        if self.shape is None:
            raise NotFittedError("this ImageModel is not trained. Call fit() first, or load a file.")
        return self.shape

    def _set(self, images: Images) -> ImageSet:
        return ImageSet(images, labelled=self.conditional, binarise=self.options["binarise"])

    def _known(self, images: Images) -> ImageSet:
        """Return images as the model takes them; DataError for those of another size or other classes."""
        if images.shape != self._shape():
            sizes = (" × ".join(map(str, shape)) for shape in (images.shape, self._shape()))
            raise DataError("{} has images of {}; the model was trained on {}.".format(images.name, *sizes))
        if self.conditional and images.classes != self.classes:
            raise DataError(
                f"{images.name} has the classes {', '.join(images.classes) or 'none'}; the model was trained on "
                f"{', '.join(self.classes)}. Give images of these."
            )
        return self._set(images).to(self.device)

    def _one_hot(self, labels: NDArray[np.int64] | None, n: int) -> Tensor | None:
        if not self.conditional:
            if labels is not None:
                raise OptionError(f"a {self.options['model']} takes no classes. Use a CVAE, or leave them out.")
            return None
        if labels is None or len(labels) != n:
            raise OptionError(f"a CVAE needs a class for each of {n} images. Name them: {', '.join(self.classes)}.")
        numbers = torch.as_tensor(np.asarray(labels, dtype=np.int64), device=self.device)
        if n and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(self.classes):
            raise OptionError(
                f"labels are numbers of classes, 0 to {len(self.classes) - 1}; got {int(numbers.min())} to "
                f"{int(numbers.max())}. The classes are {', '.join(self.classes)}."
            )
        return torch.nn.functional.one_hot(numbers, len(self.classes)).float()

    def _emit(self, batch: Batch, state: LatentState) -> Any:
        return self.model.emit(state.mean, batch.x.shape[1], batch.condition)

    def _map(self, images: Images, what: Callable[[Batch, LatentState], Tensor]) -> Floats:
        def blocks() -> Iterator[Floats]:
            for _, batch in self._known(images).blocks(BLOCK):
                state = self.model.posterior(batch.x, batch.observed, batch.condition)
                yield what(batch, state).float().cpu().numpy()

        with torch.no_grad():
            return np.concatenate(list(blocks()))
