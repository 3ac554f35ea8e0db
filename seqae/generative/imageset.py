"""Images as the training loop takes its data: uint8 on the device, gathered by index, converted a batch at a time."""

from __future__ import annotations

__all__ = ["BINARISE", "ImageSet"]

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqae.datasets.images import Images
from seqae.errors import DataError, choose
from seqae.windows import Batch

FIXED = 0
"""The seed of what is drawn outside of training epochs, so that every look at the same image sees the same."""
TABLE = 1 << 20
Chance = Callable[[Tensor], Tensor]
"""Numbers in [0, 1) for pixels (B, H, W · K), one for each."""


def _grey(pixels: Tensor, chance: Chance) -> Tensor:
    """Return the grey values, multiples of 1/255."""
    return pixels.float() / 255.0


def _threshold(pixels: Tensor, chance: Chance) -> Tensor:
    """Return 1 where a pixel is brighter than half, else 0."""
    return (pixels >= 128).float()


def _dynamic(pixels: Tensor, chance: Chance) -> Tensor:
    """Draw 0 or 1 with the grey value as its probability, anew in every epoch (Salakhutdinov & Murray 2008)."""
    return (255.0 * chance(pixels) < pixels).float()


BINARISE: dict[str, Callable[[Tensor, Chance], Tensor]] = {
    "off": _grey,
    "threshold": _threshold,
    "dynamic": _dynamic,
}


@cache
def _table(device: torch.device) -> Tensor:
    """Return the numbers that draws outside of epochs are made with, the same on every device."""
    return torch.rand(TABLE, generator=torch.Generator().manual_seed(FIXED)).to(device)


class ImageSet:
    """N images as windows x: (B, H, W · K) in [0, 1], all observed; what `seqae.fit` and `evaluate` take.

    labelled: the class as a one-hot condition (B, H, classes), for a CVAE. binarise: a name in BINARISE; what "dynamic"
    draws follows from the generator that each epoch is given, and outside of epochs from the image alone.
    Raises DataError where labels are needed and there are none.
    """

    def __init__(
        self,
        images: Images,
        *,
        labelled: bool = False,
        binarise: str = "off",
        device: str | torch.device = "cpu",
    ) -> None:
        self.images = images
        self.binary = choose(BINARISE, binarise, "binarise")
        self._pixels = torch.from_numpy(images.pixels.reshape(len(images), images.shape[0], -1))
        self._labels: Tensor | None = None
        if labelled:
            if images.labels is None:
                raise DataError(
                    f"{images.name} has no labels to take as conditions. Use the model VAE, or a folder of one "
                    "sub-folder for each class."
                )
            self._labels = torch.from_numpy(images.labels)
        self._draws: torch.Generator | None = None
        """What an epoch draws with; None before the first."""
        self._move(torch.device(device))

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def epoch_size(self) -> int:
        """Number of images in one epoch: all."""
        return len(self)

    @property
    def window(self) -> int:
        """Rows of an image, H."""
        return self.images.shape[0]

    def gather(self, index: Tensor) -> Batch:
        """Return the images `index` (B,) int64; everything happens on the device."""
        return self._batch(index, self._fixed if self._draws is None else self._drawn)

    def _batch(self, index: Tensor, chance: Chance) -> Batch:
        index = index.to(self.device)
        x = self.binary(self._pixels.index_select(0, index), chance)
        condition = None
        if self._labels is not None:
            one_hot = torch.nn.functional.one_hot(self._labels[index], len(self.images.classes)).float()
            condition = one_hot[:, None].expand(-1, x.shape[1], -1)
        return Batch(x, torch.ones((), dtype=torch.bool, device=self.device).expand_as(x), condition)

    def blocks(self, size: int) -> Iterator[tuple[Tensor, Batch]]:
        """Yield (index (B,), Batch) over all images in order, at most `size` at a time; the same draws each time."""
        for low in range(0, len(self), size):
            index = torch.arange(low, min(low + size, len(self)), device=self.device)
            yield index, self._batch(index, self._fixed)

    def _drawn(self, pixels: Tensor) -> Tensor:
        """Return numbers that are new in every epoch."""
        return torch.rand(pixels.shape, generator=self._draws, device=self.device)

    def _fixed(self, pixels: Tensor) -> Tensor:
        """Return numbers that follow from each image's pixels, wherever in a set it stands."""
        size = pixels[0].numel()
        table = _table(self.device)
        place = torch.arange(size, device=self.device)
        first = (pixels.flatten(1).long() * (place * 7919 + 12553)).sum(1) % TABLE
        return table[(first[:, None] + place) % TABLE].view(pixels.shape)

    def epoch(self, generator: torch.Generator) -> Tensor:
        """Return the images of one training epoch in random order, (N,) int64 on the device."""
        order = torch.randperm(len(self), generator=generator)
        seed = int(torch.randint(2**62, (), generator=generator))
        self._draws = torch.Generator(self.device).manual_seed(seed)
        return order.to(self.device)

    def pictures(self, model: Any, batch: Batch, count: int = 10) -> dict[str, NDArray[np.uint8]]:
        """Return pictures of a batch's first images above their reconstructions, and of samples, uint8 pixels.

        Samples are those of a model that has a prior, the same draws each time; of a CVAE, of the classes above.
        """
        x, observed, condition, _ = (None if part is None else part[:count] for part in batch)
        assert x is not None
        rows = {"reconstruction": [x, model.reconstruct(x, observed, condition)]}
        if model.latent.stochastic:
            generator = torch.Generator().manual_seed(FIXED)
            rows["samples"] = [model.sample(len(x), self.window, condition, noise=False, generator=generator)]
        return {name: self._beside(parts) for name, parts in rows.items()}

    def _beside(self, rows: Sequence[Tensor]) -> NDArray[np.uint8]:
        height, width, colours = self.images.shape
        stack = torch.stack([row.view(-1, height, width, colours) for row in rows])  # (R, B, H, W, K)
        sheet = stack.permute(0, 2, 1, 3, 4).reshape(len(rows) * height, -1, colours)
        pixels: NDArray[np.uint8] = (255 * sheet.clamp(0, 1)).round().byte().cpu().numpy()
        return pixels.repeat(2, 0).repeat(2, 1)  # TensorBoard shows small pictures small

    def to(self, device: str | torch.device) -> ImageSet:
        """Return the same images on another device (self where nothing would move)."""
        if torch.device(device) == self.device:
            return self
        moved = copy.copy(self)
        moved._move(torch.device(device))
        return moved

    def _move(self, device: torch.device) -> None:
        self.device = device
        self._pixels = self._pixels.to(device)
        self._labels = None if self._labels is None else self._labels.to(device)
        self._draws = None
