"""AE, VAE and CVAE: builder functions that compose an encoder, a latent, a decoder and a likelihood."""

from __future__ import annotations

__all__ = ["AE", "CVAE", "MODELS", "RECURRENT", "VAE", "Autoencoder", "Output", "build"]

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, SupportsIndex

from seqae.autoencoder import Autoencoder, Output
from seqae.errors import OptionError, choose
from seqae.nn.bodies import BODIES, Frame, recurrent
from seqae.nn.latents import PRIORS, Latent, NormalLatent, PointLatent
from seqae.nn.likelihoods import LIKELIHOODS, Likelihood


def _autoencoder(
    builder: str,
    *,
    channels: int | None,
    latent: int,
    likelihood: str | Mapping[str, Any] | Likelihood,
    image: Sequence[int] | None,
    steps: int | None,
    body: str | Mapping[str, Any],
    condition: int = 0,
    prior: str | None = None,
    **recurrent: Any,
) -> Autoencoder:
    named = {"name": body} if isinstance(body, str) else dict(body)
    name = named.pop("name", "")
    make = choose(BODIES, name, "body")
    frame = _frame(channels, image, steps, _size("latent", latent), condition)
    if name == "rnn":
        named = {key: _size(key, value) if key in ("hidden", "layers") else value for key, value in recurrent.items()}
    elif changed := [key for key, value in recurrent.items() if value != RECURRENT[key]]:
        raise OptionError(
            f"{', '.join(changed)} belongs to the body rnn, not to {name}. Leave it out; the body's own options are "
            f"given with its name, as in body={{'name': {name!r}, ...}}."
        )
    emission = _likelihood(likelihood, frame.channels)
    frame = frame._replace(extras=emission.extras)
    try:
        encoder, make_decoder = make(frame, **named)
    except TypeError as error:
        raise OptionError(f"the body {name} cannot be made of {named}: {error}.") from error
    if prior is None:
        between: Latent = PointLatent(encoder.features, frame.latent)
    else:
        between = NormalLatent(encoder.features, frame.latent, choose(PRIORS, prior, "prior")(latent, 3 * condition))
    model = Autoencoder(encoder, between, make_decoder(), emission, condition=condition)
    arguments: dict[str, Any] = {"latent": frame.latent, "likelihood": _likelihood_recipe(emission)}
    arguments |= {"channels": frame.channels} if image is None else {"image": list(frame.image or ())}
    arguments |= named if name == "rnn" else {"body": {"name": name, **named}}
    if frame.steps and image is None:
        arguments["steps"] = frame.steps
    if condition:
        arguments |= {"condition": condition, "prior": prior}
    # A caller's own likelihood has no name to be built from again: such a model cannot be saved whole.
    model.recipe = {"builder": builder, "arguments": arguments} if arguments["likelihood"] else None
    return model


def _frame(channels: int | None, image: Sequence[int] | None, steps: int | None, latent: int, condition: int) -> Frame:
    """Return what the data look like to a body, from the channels of a series or the (H, W, K) of images."""
    if (channels is None) == (image is None):
        raise OptionError("a model has the channels of a series or image=(H, W, K). Give one of the two.")
    if image is None:
        steps = None if steps is None else _size("steps", steps)
        return Frame(_size("channels", channels), latent, condition, 0, steps)  # type: ignore[arg-type]
    if len(image) != 3:
        raise OptionError(f"image is (height, width, colours), as (28, 28, 1); got {tuple(image)}.")
    height, width, colours = (_size("image", value) for value in image)
    return Frame(width * colours, latent, condition, 0, height, (height, width, colours))


def AE(
    *,
    channels: int | None = None,
    latent: int = 8,
    hidden: int = 64,
    cell: str = "lstm",
    decoder_type: str = "repeat_latent",
    layers: int = 1,
    bidirectional: bool = False,
    feedback: str = "hidden",
    reverse: bool = False,
    likelihood: str | Mapping[str, Any] | Likelihood = "normal",
    image: Sequence[int] | None = None,
    steps: int | None = None,
    body: str | Mapping[str, Any] = "rnn",
) -> Autoencoder:
    """Build an autoencoder: z is a point, the loss has no KL term.

    channels: C of a series; or image: (H, W, K) of images, which go through as H rows of W · K values. body: "rnn" with
    hidden, cell, decoder_type, layers, bidirectional, feedback and reverse; "mlp" or "conv", by name or with arguments,
    as {"name": "mlp", "hidden": [512]} (see `seqae.nn.bodies`). steps: T of the windows of a series, which the body mlp
    needs; rnn takes windows of any length, and begins with memories as long as this one (64 where none is told).
    Raises OptionError for what cannot be built.
    """
    return _autoencoder("AE", **locals())


def VAE(
    *,
    channels: int | None = None,
    latent: int = 8,
    hidden: int = 64,
    cell: str = "lstm",
    decoder_type: str = "repeat_latent",
    layers: int = 1,
    bidirectional: bool = False,
    feedback: str = "hidden",
    reverse: bool = False,
    likelihood: str | Mapping[str, Any] | Likelihood = "normal",
    image: Sequence[int] | None = None,
    steps: int | None = None,
    body: str | Mapping[str, Any] = "rnn",
) -> Autoencoder:
    """Build a variational autoencoder (Kingma & Welling 2014; β-VAE by the objective's beta); arguments as for `AE`."""
    return _autoencoder("VAE", prior="standard", **locals())


def CVAE(
    *,
    channels: int | None = None,
    condition: int,
    latent: int = 8,
    hidden: int = 64,
    cell: str = "lstm",
    decoder_type: str = "repeat_latent",
    layers: int = 1,
    bidirectional: bool = False,
    feedback: str = "hidden",
    reverse: bool = False,
    likelihood: str | Mapping[str, Any] | Likelihood = "normal",
    image: Sequence[int] | None = None,
    steps: int | None = None,
    body: str | Mapping[str, Any] = "rnn",
    prior: str = "standard",
) -> Autoencoder:
    """Build a conditional variational autoencoder (Sohn, Lee & Yan 2015) with a condition of width K = `condition`.

    prior: "standard" for N(0, I), "conditional" for a learned p(z | c). The other arguments are those of `AE`.
    """
    if condition < 1:
        raise OptionError(
            f"a CVAE needs a condition at least 1 wide; got {condition!r}. Use a VAE where there is none."
        )
    return _autoencoder("CVAE", **locals())


RECURRENT: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(recurrent).parameters.items()
    if parameter.default is not parameter.empty
}
"""The options of the body rnn and their defaults."""

MODELS: dict[str, Callable[..., Autoencoder]] = {"AE": AE, "VAE": VAE, "CVAE": CVAE}


def _size(name: str, value: SupportsIndex) -> int:
    try:
        size = operator.index(value)
    except TypeError:
        size = 0
    if size < 1:
        raise OptionError(f"{name} must be a whole number of at least 1; got {value!r}.")
    return size


def _likelihood(given: str | Mapping[str, Any] | Likelihood, channels: int) -> Likelihood:
    """Return a likelihood from its name, its name with arguments ({"name": "normal_fixed", "sigma": 0.1}) or itself."""
    if isinstance(given, Likelihood):
        return given
    named = {"name": given} if isinstance(given, str) else dict(given)
    return choose(LIKELIHOODS, named.pop("name", ""), "likelihood")(channels, **named)


def _likelihood_recipe(likelihood: Likelihood) -> dict[str, Any] | None:
    for name, kind in LIKELIHOODS.items():
        if type(likelihood) is kind:
            return {"name": name, **likelihood.arguments()}
    return None


def build(recipe: dict[str, Any]) -> Autoencoder:
    """Build the model, with fresh weights, that a model's `recipe` describes."""
    return choose(MODELS, recipe["builder"], "model")(**recipe["arguments"])
