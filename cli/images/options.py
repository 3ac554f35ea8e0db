"""Options that the commands for images share; defaults and choices are the library's own."""

from __future__ import annotations

__all__ = [
    "DATA",
    "MODELS_BY_NAME",
    "NETWORK",
    "PART",
    "RUNNING",
    "SET",
    "TRAINING",
    "Kind",
    "Sizes",
    "body_of",
    "chosen",
    "class_names",
    "load",
]

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from seqae.cli.command import Group, Names, OrOff, option
from seqae.cli.options import COUNT, POSITIVE, SHARE, SIZE, WEIGHT, of, one_of
from seqae.cli.reading import MODEL_NAME
from seqae.datasets.images import IMAGES, Images, load_images
from seqae.generative.image_model import IMAGE_SCORES, ImageModel
from seqae.generative.imageset import BINARISE
from seqae.models import RECURRENT
from seqae.nn.bodies import BODIES, convolutional, dense, recurrent
from seqae.nn.decoders import DECODERS, FEEDBACKS
from seqae.nn.latents import PRIORS
from seqae.nn.likelihoods import LIKELIHOODS
from seqae.nn.recurrence import CELLS
from seqae.objectives import NOISES
from seqae.training.devices import PRECISIONS
from seqae.training.loop import OPTIMIZERS
from seqae.training.schedules import LEARNING_RATES, SCHEDULES


class Kind(NamedTuple):
    """A model by the name that people know it by: a builder, and the options that make it so."""

    model: str
    settings: Mapping[str, Any]


MODELS_BY_NAME = {
    "AE": Kind("AE", {}),
    "DAE": Kind("AE", {"noise": "masking"}),
    "VAE": Kind("VAE", {}),
    "B-VAE": Kind("VAE", {"beta": 4.0}),
    "CVAE": Kind("CVAE", {}),
}
"""What --model may be; the options of a kind hold where they are not given."""


class Sizes(click.ParamType):
    """A number or a pair (height, width) for each layer: 32,64 or [(7, 7), (5, 5)]."""

    name, takes_lists = "sizes", True

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[Any]:
        """Return the list; what is no list of whole numbers is refused."""
        try:
            text = value.strip() if isinstance(value, str) else ""
            read = list(value) if not text else ast.literal_eval(text if text.startswith("[") else f"[{text}]")
        except (ValueError, SyntaxError, TypeError):
            read = None
        if not isinstance(read, list) or not read or not all(_is_size(one) for one in read):
            self.fail(f"{value!r} is no list of sizes. Write them as 32,64 or as [(7, 7), (5, 5)].", param, ctx)
        return [one if isinstance(one, int) else list(one) for one in read]


def _is_size(one: Any) -> bool:
    pair = [one] if isinstance(one, int) else list(one) if isinstance(one, tuple | list) else []
    return len(pair) in (1, 2) and all(isinstance(number, int) and not isinstance(number, bool) for number in pair)


def _listed(function: Any, name: str) -> str:
    return ",".join(map(str, inspect.signature(function).parameters[name].default))


def _sizes(flag: str, function: Any, name: str, text: str) -> Any:
    return option(
        f"--{flag}", type=Sizes(), section="Model", help=text, metavar="A,B,...", show_default=_listed(function, name)
    )


_model, _recurrent = of(ImageModel, "Model"), of(recurrent, "Model")
NETWORK = Group(
    option(
        "--model", type=one_of(MODELS_BY_NAME), default="VAE", section="Model",
        help="Autoencoder, denoising (AE with --noise masking), variational, beta-VAE (VAE with --beta 4), or "
        "conditional on the class. What is in brackets holds where no other value is given.",
    ),
    _model("body", one_of(BODIES), "The network: recurrent over the rows, fully connected, or convolutional."),
    _model("latent", SIZE, "Latent dimensions."),
    _model("likelihood", one_of(LIKELIHOODS), "The distribution of a pixel around its reconstruction."),
    _model("prior", one_of(PRIORS), "The latent's prior; conditional needs a CVAE."),
    _model("binarise", one_of(BINARISE), "Make pixels 0 or 1: at half, or by chance anew in each epoch (dynamic)."),
    _model("score", one_of(IMAGE_SCORES), "How strange an image is."),
    _sizes("mlp-hidden", dense, "hidden", "Sizes of the layers of the body mlp, from the image to the latent."),
    _sizes("conv-channels", convolutional, "channels", "Channels of each layer of the body conv."),
    _sizes("conv-kernel-sizes", convolutional, "kernel_sizes", "Its kernels, a number or (height, width) a layer."),
    _sizes("conv-strides", convolutional, "strides", "Its strides."),
    _sizes("conv-paddings", convolutional, "paddings", "Its paddings."),
    _recurrent("cell", one_of(CELLS), "The cell of the body rnn."),
    _recurrent("decoder_type", one_of(DECODERS), "What its decoder is fed.", "--decoder_type", "--decoder-type"),
    _recurrent("feedback", one_of(FEEDBACKS), "What of the row before is fed back."),
    _recurrent("hidden", SIZE, "Units of its layers."),
    _recurrent("layers", SIZE, "Its layers."),
)  # fmt: skip

_fit = of(ImageModel.fit, "Training")
TRAINING = Group(
    _fit("epochs", SIZE, "The most epochs to train."),
    _fit("batch_size", SIZE, "Images in a batch."),
    _fit("learning_rate", POSITIVE, "The optimiser's step."),
    _fit("optimizer", one_of(OPTIMIZERS), "The optimiser."),
    _fit("weight_decay", WEIGHT, "Decay of the weights."),
    _fit("clip", OrOff(POSITIVE), "The largest norm of a gradient, or off."),
    _fit("schedule", one_of(LEARNING_RATES), "How the learning rate changes."),
    _fit("patience", OrOff(SIZE), "Epochs without improvement until training stops, or off."),
    _fit("max_time", OrOff(POSITIVE), "Seconds until training stops, or off."),
    _fit("beta", WEIGHT, "The weight of the KL term.", show_default="1; 4 for B-VAE"),
    _fit("beta_schedule", one_of(SCHEDULES), "How that weight comes up."),
    _fit("warmup", POSITIVE, "Epochs of its rise, or of one cycle."),
    _fit("free_bits", WEIGHT, "Nats of KL a latent dimension has for nothing."),
    _fit("noise", OrOff(one_of(NOISES)), "Corrupt what the encoder sees in training, or off."),
    _fit("noise_level", WEIGHT, "Standard deviation of that noise, or the share of pixels masked."),
    _fit("importance_samples", SIZE, "Draws of the importance-weighted bound to train by (IWAE); 1 is the ELBO."),
    _fit("validation", SHARE, "The share of images held back to stop training by."),
    _fit("device", click.STRING, "auto, cpu, cuda, cuda:1 or mps."),
    _fit("precision", one_of(PRECISIONS), "What matrix products are computed in."),
    _fit("seed", COUNT, "The same seed gives the same model."),
)

SET = Group(
    option(
        "--data-dir", type=click.Path(path_type=Path), metavar="FOLDER", section="Images",
        help="Where a published set lies, in files as published.", show_default="$SEQAE_DATA, then ./data",
    ),
    option("--classes", type=Names(), section="Images", help="Only images of these classes.", show_default="all"),
)  # fmt: skip
PART = option(
    "--part", type=click.Choice(["train", "test"]), default="test", section="Images", help="Which part of a set."
)
RUNNING = Group(PART, *SET.options, option("--device", default="cpu", help="auto, cpu, cuda, cuda:1 or mps."))
DATA = click.argument("data", required=False)


def body_of(settings: Mapping[str, Any]) -> tuple[str | dict[str, Any], dict[str, Any]]:
    """Return the body by its name, or with its own arguments, and those of the body rnn.

    UsageError for an option of another body than the one that is named.
    """
    body = settings["body"]
    own = {
        "mlp": {"mlp_hidden": "hidden"},
        "conv": {f"conv_{name}": name for name in ("channels", "kernel_sizes", "strides", "paddings")},
    }
    given = {name: settings[name] for names in own.values() for name in names if settings[name] is not None}
    rnn = {name: settings[name] for name in RECURRENT if name in settings}
    changed = [] if body == "rnn" else [name for name in rnn if rnn[name] != RECURRENT[name]]
    foreign = [name for name in given if name not in own.get(body, {})] + changed
    if foreign:
        names = ", ".join("--" + name.replace("_", "-") for name in foreign)
        raise click.UsageError(f"{names} and --body {body} contradict each other. Leave one of them out.")
    arguments = {own[body][name]: value for name, value in given.items()}
    return ({"name": body, **arguments} if arguments else body), (rnn if body == "rnn" else {})


def chosen(data: str | None, part: str, settings: Mapping[str, Any]) -> Images:
    """Return the images that DATA, --data-dir and --classes name."""
    if data is None:
        raise click.UsageError(
            f"no DATA is named. Name a folder of images, or one of: {', '.join(IMAGES)}; in a settings file as dataset."
        )
    images = load_images(data, part, settings["data_dir"])
    return images.only(*settings["classes"]) if settings["classes"] else images


def load(path: Path, device: str) -> ImageModel:
    """Load a model of images, or that of a run's folder."""
    return ImageModel.load(path / MODEL_NAME if path.is_dir() else path, device)


def class_names(images: Images) -> np.ndarray[Any, Any] | None:
    """Return the name of each image's class; None without labels."""
    return None if images.labels is None else np.array(images.classes, dtype=object)[images.labels]
