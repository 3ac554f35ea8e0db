"""Convolutional encoder and decoder of images, which enter and leave as windows of H rows with W · K values each."""

from __future__ import annotations

__all__ = ["ConvolutionalDecoder", "ConvolutionalEncoder", "Layer", "plan"]

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqae.errors import OptionError
from seqae.nn.decoders import Decoder
from seqae.nn.dense import check_steps, split
from seqae.nn.encoders import Encoder

Pair = tuple[int, int]
Sizes = Sequence[int | Sequence[int]]


class Layer(NamedTuple):
    """One convolution, and what its transposed twin needs to give the same size back."""

    channels: int
    kernel: Pair
    stride: Pair
    padding: Pair
    before: Pair
    """Height and width of what enters."""
    after: Pair
    """Height and width of what leaves."""

    @property
    def output_padding(self) -> Pair:
        """Return the rows and columns that the strides left over: what the transposed convolution has to add."""
        return _pair(
            (size + 2 * padding - kernel) % stride
            for size, padding, kernel, stride in zip(self.before, self.padding, self.kernel, self.stride, strict=True)
        )


def plan(size: Pair, channels: Sequence[int], kernel_sizes: Sizes, strides: Sizes, paddings: Sizes) -> list[Layer]:
    """Return the layers for images of `size` (H, W); a list has a number or a pair (height, width) for each layer.

    The size after a layer is ⌊(s + 2p − k)/stride⌋ + 1. Raises OptionError where the lists are not of one length, a
    number is too small, or a kernel is larger than what enters its layer.
    """
    lists = {"channels": channels, "kernel_sizes": kernel_sizes, "strides": strides, "paddings": paddings}
    if not channels or len({len(given) for given in lists.values()}) != 1:
        told = ", ".join(f"{len(given)} {name}" for name, given in lists.items())
        raise OptionError(f"a convolutional body needs one number a layer in each of its lists; got {told}.")
    made: list[Layer] = []
    for number, (wide, kernel, stride, padding) in enumerate(
        zip(channels, map(_pair, kernel_sizes), map(_pair, strides), map(_pair, paddings), strict=True), 1
    ):
        if not isinstance(wide, int):
            raise OptionError(f"layer {number} has channels {wide}, which are one whole number a layer. Give it so.")
        if min(wide, *kernel, *stride) < 1 or min(padding) < 0:
            raise OptionError(
                f"layer {number} has channels {wide}, kernel {kernel}, stride {stride}, padding {padding}: all must be "
                "at least 1, the padding at least 0."
            )
        if any(k > s + 2 * p for k, s, p in zip(kernel, size, padding, strict=True)):
            raise OptionError(
                f"layer {number} has a kernel of {kernel[0]} × {kernel[1]}, and {size[0]} × {size[1]} enters it with a "
                f"padding of {padding[0]} × {padding[1]}. Use fewer layers, smaller kernels or strides, more padding."
            )
        after = _pair((s + 2 * p - k) // t + 1 for s, p, k, t in zip(size, padding, kernel, stride, strict=True))
        made.append(Layer(wide, kernel, stride, padding, size, after))
        size = after
    return made


def _pair(given: int | Iterable[int]) -> Pair:
    numbers = (given, given) if isinstance(given, int) else tuple(given)
    if len(numbers) != 2 or not all(isinstance(number, int) for number in numbers):
        raise OptionError(f"a layer's size is a whole number or a pair of them (height, width); got {given!r}.")
    return numbers


class ConvolutionalEncoder(Encoder):
    """Convolutions with a ReLU after each; its features are the last layer's channels, flattened.

    A label enters as one constant plane for each of its K numbers. A missing pixel enters as 0.
    """

    def __init__(self, *, image: tuple[int, int, int], condition: int, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.image, parts, wide = image, [], image[2] + condition
        for layer in layers:
            parts += [nn.Conv2d(wide, layer.channels, layer.kernel, layer.stride, layer.padding), nn.ReLU()]
            wide = layer.channels
        self.layers = nn.Sequential(*parts)
        self.features = wide * layers[-1].after[0] * layers[-1].after[1]

    def forward(self, x: Tensor, observed: Tensor, condition: Tensor | None, lengths: Tensor | None) -> Tensor:
        height, width, colours = self.image
        check_steps(x.shape[1], height)
        planes = x.view(-1, height, width, colours).permute(0, 3, 1, 2)
        if condition is not None:
            known = condition[:, 0, :, None, None].expand(-1, -1, height, width)
            planes = torch.cat([planes, known], dim=1)
        features: Tensor = self.layers(planes).flatten(1)
        return features


class ConvolutionalDecoder(Decoder):
    """A linear layer and the encoder's convolutions transposed, a ReLU between them, none after the last.

    Each gives back exactly the size that its twin was given (`Layer.output_padding`).
    """

    def __init__(
        self, *, latent: int, image: tuple[int, int, int], condition: int, layers: Sequence[Layer], extras: int
    ) -> None:
        super().__init__()
        self.image, self.extras, self.channels = image, extras, image[1] * image[2]
        self.first = (layers[-1].channels, *layers[-1].after)
        self.start = nn.Linear(latent + condition, self.first[0] * self.first[1] * self.first[2])
        parts: list[nn.Module] = []
        targets = [image[2] * (1 + extras), *(layer.channels for layer in layers[:-1])]
        for layer, target in zip(reversed(layers), reversed(targets), strict=True):
            parts += [
                nn.ReLU(),
                nn.ConvTranspose2d(
                    layer.channels, target, layer.kernel, layer.stride, layer.padding, layer.output_padding
                ),
            ]
        self.layers = nn.Sequential(*parts)

    def forward(
        self,
        z: Tensor,
        steps: int,
        condition: Tensor | None = None,
        lengths: Tensor | None = None,
        truth: Tensor | None = None,
        forced: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        height, width, colours = self.image
        check_steps(steps, height)
        known = z if condition is None else torch.cat([z, condition[:, 0]], dim=-1)
        planes = self.layers(self.start(known).view(-1, *self.first))  # (B, (1 + extras) · K, H, W)
        numbers = planes.view(len(z), 1 + self.extras, colours, height, width).permute(0, 1, 3, 4, 2)
        return split(numbers.reshape(len(z), 1 + self.extras, height, width * colours))
