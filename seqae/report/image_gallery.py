"""The pictures of a model of images, by name: from a model and images to a figure, or to the frames of a GIF."""

from __future__ import annotations

__all__ = ["GALLERY", "MOVING", "Look"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from seqae.datasets.images import Images
from seqae.errors import DataError, OptionError
from seqae.generative.image_model import ImageModel
from seqae.report.latent_space import latent_scatter
from seqae.report.pictures import (
    class_rows,
    denoising_rows,
    image_grid,
    interpolation_rows,
    latent_plane,
    reconstruction_rows,
    tile,
    traversal_rows,
)

Array = np.ndarray[Any, Any]
REACH = 2.5
"""Standard deviations of the prior that a walk through the latent space goes to, either way."""
STEPS = 11
LONGEST = 12
"""Latent dimensions that are walked along: those with the largest KL."""


@dataclass(frozen=True)
class Look:
    """What to draw of a model: the images, which of them (numbers), how many, and the chances of it."""

    images: Images | None = None
    chosen: tuple[int, ...] = ()
    count: int = 10
    noise: str = "masking"
    noise_level: float = 0.2
    seed: int = 0

    def some(self) -> Images:
        """Return the images that are shown: those chosen by number, or the first; DataError where there are none."""
        images = self.all()
        if self.chosen:
            beyond = [number for number in self.chosen if number >= len(images)]
            if beyond:
                raise DataError(f"{images.name} has {len(images)} images, counted from 0; there is no {beyond[0]}.")
            return images[np.array(self.chosen)]
        return images[: self.count]

    def all(self) -> Images:
        """Return all images; OptionError where none were given."""
        if self.images is None:
            raise OptionError("this picture is one of images, and none are named. Name DATA after the model.")
        return self.images


def _reconstructions(model: ImageModel, look: Look) -> Figure:
    """Draw originals above what the model makes of them."""
    images = look.some()
    return reconstruction_rows(images.pixels / 255.0, model.reconstruct(images).clip(0, 1))


def _denoising(model: ImageModel, look: Look) -> Figure:
    """Draw originals, corrupted ones, and what the model makes of these."""
    images = look.some()
    noisy, denoised = model.denoise(images, noise=look.noise, level=look.noise_level, seed=look.seed)
    return denoising_rows(images.pixels / 255.0, noisy.clip(0, 1), denoised.clip(0, 1))


def _latent(model: ImageModel, look: Look) -> Figure:
    """Draw the codes of images, coloured by their class."""
    images = look.all()
    names = [f"z{d}" for d in range(model.options["latent"])]  # as `seqae encode` calls them
    return latent_scatter(model.encode(images), images.labels, names=images.classes or None, axis_names=names)


def _plane(model: ImageModel, look: Look) -> Figure:
    """Draw what is decoded over a plane of two latent dimensions."""
    size = model.options["latent"]
    if size != 2:
        raise OptionError(f"the plane is one of 2 latent dimensions, and this model has {size}. Use --what traversals.")
    if model.model.latent.stochastic:
        low, high = np.full(2, -REACH), np.full(2, REACH)
    else:  # an AE's codes lie anywhere: show where those of the images are
        low, high = np.quantile(model.encode(look.all()), [0.02, 0.98], axis=0)
    n = 2 * look.count
    first, second = np.linspace(low[0], high[0], n), np.linspace(low[1], high[1], n)
    z = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
    label = _label_of(model, look)
    images = model.decode(z, None if label is None else np.full(len(z), label)).clip(0, 1)
    title = "Decoded latent plane" + ("" if label is None else f": {model.classes[label]}")
    extent = (low[0], high[0], low[1], high[1])
    return latent_plane(images.reshape(n, n, *images.shape[1:]), extent, names=("z0", "z1"), title=title)


def _ways(model: ImageModel, look: Look) -> Array:
    """Return the ways between pairs of images (P, S, H, W, K), decoded along straight lines between their codes."""
    images = look.some()
    if len(images) < 2 or len(images) % 2:
        raise DataError(
            f"an interpolation is one between two images; got {len(images)}. Name two of them: --images 3,8."
        )
    z = model.encode(images).reshape(-1, 2, model.options["latent"])
    share = np.linspace(0, 1, STEPS)[:, None]
    ways = (1 - share) * z[:, :1] + share * z[:, 1:]
    labels = None
    if model.conditional and images.labels is not None:  # the first image's class along the whole way
        labels = np.repeat(images.labels[::2], STEPS)
    decoded = model.decode(ways.reshape(-1, z.shape[-1]), labels).clip(0, 1)
    return decoded.reshape(len(z), STEPS, *decoded.shape[1:])


def _interpolation(model: ImageModel, look: Look) -> Figure:
    """Draw the ways between pairs of images: the first and the second, the third and the fourth, ..."""
    return interpolation_rows(_ways(model, look))


def _interpolation_frames(model: ImageModel, look: Look) -> Array:
    """Return the frames of the ways between pairs of images, below each other."""
    return np.stack([tile(step[:, None]) for step in _ways(model, look).swapaxes(0, 1)])


def _walks(model: ImageModel, look: Look) -> tuple[Array, Array, Array, Array]:
    """Return images (D, S, H, W, K) decoded along single dimensions, the values (S,), the dimensions (D,), their KL.

    The values are those of z, for an AE standard deviations of the codes about their mean. The other dimensions are
    those of the first image, without images 0.
    """
    size, steps = model.options["latent"], np.linspace(-REACH, REACH, STEPS)
    kl, start = np.zeros(size), np.zeros(size, np.float32)
    middle, unit = np.zeros(size), np.ones(size)
    if look.images is not None or not model.model.latent.stochastic:
        found = model.evaluate(look.all()[:2000], samples=(1,))
        kl = np.array(found.per_dimension_kl or found.per_dimension_variance)
        start = model.encode(look.some())[0]
        if not model.model.latent.stochastic:  # an AE's codes have no unit but their own spread
            middle, unit = model.encode(look.all()[:2000]).mean(0), np.sqrt(np.array(found.per_dimension_variance))
    order = np.argsort(-kl, kind="stable")[:LONGEST]
    z = np.tile(start, (len(order), STEPS, 1))
    for row, dimension in enumerate(order):
        z[row, :, dimension] = middle[dimension] + steps * unit[dimension]
    label = _label_of(model, look)
    decoded = model.decode(
        z.reshape(-1, z.shape[-1]), None if label is None else np.full(z.shape[0] * STEPS, label)
    ).reshape(len(order), STEPS, *(model.shape or ()))
    return decoded.clip(0, 1), steps, order, kl[order]


def _traversals(model: ImageModel, look: Look) -> Figure:
    """Draw what changes along each latent dimension, the ones with the largest KL first."""
    frames, values, order, kl = _walks(model, look)
    names = [f"z{d}" for d in order]
    if not model.model.latent.stochastic:
        return traversal_rows(
            frames, values, names, kl=None, title="Latent traversals, in standard deviations of the codes"
        )
    return traversal_rows(frames, values, names, kl=kl if look.images is not None else None)


def _traversal_frames(model: ImageModel, look: Look) -> Array:
    """Return the frames of the walks along each dimension, below each other."""
    frames = _walks(model, look)[0]
    return np.stack([tile(step[:, None]) for step in frames.swapaxes(0, 1)])


def _samples(model: ImageModel, look: Look) -> Figure:
    """Draw new images; for a CVAE a row for each class."""
    n = look.count
    if not model.conditional:
        drawn = model.sample(n * n, seed=look.seed).clip(0, 1)
        return image_grid(drawn.reshape(n, n, *drawn.shape[1:]), title="Samples")
    classes = tuple(model.trained_classes)
    labels = np.repeat([model.classes.index(name) for name in classes], n)
    drawn = model.sample(len(labels), labels=labels, seed=look.seed).clip(0, 1)
    return class_rows(drawn.reshape(len(classes), n, *drawn.shape[1:]), classes)


def _label_of(model: ImageModel, look: Look) -> int | None:
    """Return the class that a CVAE decodes: that of the first image shown, or the first class."""
    if not model.conditional:
        return None
    if look.images is None or look.images.labels is None:
        return model.classes.index(model.trained_classes[0])
    return int(look.some().labels[0])  # type: ignore[index]


GALLERY: dict[str, Callable[[ImageModel, Look], Figure]] = {
    "reconstructions": _reconstructions,
    "denoising": _denoising,
    "latent": _latent,
    "plane": _plane,
    "interpolation": _interpolation,
    "traversals": _traversals,
    "samples": _samples,
}
MOVING: dict[str, Callable[[ImageModel, Look], Array]] = {
    "interpolation": _interpolation_frames,
    "traversals": _traversal_frames,
}
"""Those that can be a GIF, as frames (S, H, W, K)."""
