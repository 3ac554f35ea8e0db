"""Bodies: the networks between data and latent, as an encoder and what makes its decoder, by name."""

from __future__ import annotations

__all__ = ["BODIES", "Frame", "convolutional", "dense", "recurrent"]

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from seqae.errors import OptionError
from seqae.nn.convolutional import ConvolutionalDecoder, ConvolutionalEncoder, Sizes, plan
from seqae.nn.decoders import Decoder, RecurrentDecoder
from seqae.nn.dense import DenseDecoder, DenseEncoder
from seqae.nn.encoders import Encoder, RecurrentEncoder

Body = tuple[Encoder, Callable[[], Decoder]]
"""An encoder, and what makes its decoder: weights are drawn in the order encoder, latent, decoder."""


class Frame(NamedTuple):
    """What goes into a body and what comes out."""

    channels: int
    """C values a step; W · K for the rows of an image."""
    latent: int
    condition: int
    extras: int
    """Numbers a value that the likelihood wants beside the location."""
    steps: int | None = None
    """T of a window: the body mlp takes no other; the body rnn takes any, and begins with memories of this length."""
    image: tuple[int, int, int] | None = None
    """(H, W, K) where a window is an image: H = T steps of W · K = C values."""


def recurrent(
    frame: Frame,
    *,
    hidden: int = 64,
    cell: str = "lstm",
    decoder_type: str = "repeat_latent",
    layers: int = 1,
    bidirectional: bool = False,
    feedback: str = "hidden",
    reverse: bool = False,
) -> Body:
    """Return a GRU or LSTM over the steps of a series or the rows of an image (`seqae.nn.recurrence`)."""
    encoder = RecurrentEncoder(
        channels=frame.channels, condition=frame.condition, hidden=hidden, cell=cell, layers=layers,
        bidirectional=bidirectional, steps=frame.steps,
    )  # fmt: skip
    decoder = partial(
        RecurrentDecoder,
        latent=frame.latent, condition=frame.condition, hidden=hidden, channels=frame.channels, cell=cell,
        decoder_type=decoder_type, layers=layers, feedback=feedback, reverse=reverse, extras=frame.extras,
        steps=frame.steps,
    )  # fmt: skip
    return encoder, decoder


def dense(frame: Frame, *, hidden: Sequence[int] = (512,)) -> Body:
    """Return fully connected layers of these sizes from the data to the latent, and the same ones back."""
    if frame.steps is None:
        raise OptionError("the body mlp needs to know how long its windows are. Give steps, or image=(H, W, K).")
    sizes = list(hidden)
    if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise OptionError(f"the body mlp has a list of layer sizes of at least 1; got hidden={hidden!r}.")
    known = frame.steps if frame.image is None else 1  # an image's condition is a label: the same at every step
    shared = {"steps": frame.steps, "channels": frame.channels, "condition": frame.condition, "known": known}
    encoder = DenseEncoder(**shared, hidden=sizes, masked=frame.image is None)
    return encoder, partial(DenseDecoder, **shared, hidden=sizes, latent=frame.latent, extras=frame.extras)


def convolutional(
    frame: Frame,
    *,
    channels: Sequence[int] = (32, 64),
    kernel_sizes: Sizes = (4, 4),
    strides: Sizes = (2, 2),
    paddings: Sizes = (1, 1),
) -> Body:
    """Return convolutions over an image and their transposed twins back (`seqae.nn.convolutional.plan`)."""
    if frame.image is None:
        raise OptionError("the body conv is one of images. Give image=(H, W, K), or use the body rnn or mlp.")
    layers = plan(frame.image[:2], channels, kernel_sizes, strides, paddings)
    encoder = ConvolutionalEncoder(image=frame.image, condition=frame.condition, layers=layers)
    return encoder, partial(
        ConvolutionalDecoder,
        latent=frame.latent, image=frame.image, condition=frame.condition, layers=layers, extras=frame.extras,
    )  # fmt: skip


BODIES: dict[str, Callable[..., Body]] = {"rnn": recurrent, "mlp": dense, "conv": convolutional}
