"""The bodies of images: shapes that come back exactly, conditions, counts of weights, and what is refused."""

import itertools

import pytest
import torch
from torch import nn

import seqae
from seqae.errors import DataError, OptionError
from seqae.models import build
from seqae.nn.bodies import BODIES
from seqae.nn.convolutional import plan

COURSE = {
    "name": "conv",
    "channels": [12, 24, 48],
    "kernel_sizes": [4, 4, 4],
    "strides": [2, 2, 2],
    "paddings": [1] * 3,
}


def weights(module):
    return sum(weight.numel() for weight in module.parameters())


def test_the_course_exercises_convolutions():
    model = seqae.AE(image=(32, 32, 3), latent=64, body=COURSE, likelihood="bernoulli")
    first, second, third = (layer for layer in model.encoder.layers if isinstance(layer, nn.Conv2d))
    assert weights(first) == (4 * 4 * 3 + 1) * 12 == 588
    assert weights(second) == (4 * 4 * 12 + 1) * 24
    assert weights(third) == (4 * 4 * 24 + 1) * 48
    assert model.encoder.features == 48 * 4 * 4
    back = [layer for layer in model.decoder.layers if isinstance(layer, nn.ConvTranspose2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in back] == [(48, 24), (24, 12), (12, 3)]


def test_the_seed_mlp_is_784_512_latent():
    model = seqae.AE(image=(28, 28, 1), latent=2, body="mlp")
    assert [weights(layer) for layer in model.encoder.layers if isinstance(layer, nn.Linear)] == [785 * 512]
    assert weights(model.latent) == 513 * 2
    assert weights(model.decoder) == 3 * 512 + 513 * 784


@pytest.mark.parametrize(
    ("height", "width", "kernel", "stride", "padding"),
    list(itertools.product((14, 15), (12, 17), (2, 3, (4, 3)), (1, 2, (3, 2)), (0, 1))),
)
def test_any_size_comes_back_exactly(height, width, kernel, stride, padding):
    model = seqae.VAE(
        image=(height, width, 2), latent=3, likelihood="normal_per_step",
        body={"name": "conv", "channels": [4, 5], "kernel_sizes": [kernel] * 2, "strides": [stride, 1],
              "paddings": [padding] * 2},
    )  # fmt: skip
    layers = plan((height, width), [4, 5], [kernel] * 2, [stride, 1], [padding] * 2)
    x = torch.zeros(1, 2, height, width)
    for layer, convolution in zip(layers, [p for p in model.encoder.layers if isinstance(p, nn.Conv2d)], strict=True):
        x = convolution(x)
        assert tuple(x.shape[2:]) == layer.after
    output = model(torch.rand(3, height, width * 2))
    assert output.likelihood.mean.shape == output.likelihood.scale.shape == (3, height, width * 2)


def test_pixels_keep_their_places_through_the_convolutional_body():
    # A 1 × 1 convolution mixes colours only: what leaves must follow each pixel, colour by colour.
    body = {"name": "conv", "channels": [3], "kernel_sizes": [1], "strides": [1], "paddings": [0]}
    model = seqae.AE(image=(2, 4, 3), latent=24, body=body, likelihood="normal")
    convolution, back = model.encoder.layers[0], model.decoder.layers[-1]
    with torch.no_grad():
        convolution.weight.copy_(torch.eye(3)[:, :, None, None])
        convolution.bias.zero_()
        model.latent.mean.weight.copy_(torch.eye(24))
        model.latent.mean.bias.zero_()
        model.decoder.start.weight.copy_(torch.eye(24))
        model.decoder.start.bias.zero_()
        back.weight.copy_(torch.eye(3)[:, :, None, None])
        back.bias.zero_()
    x = torch.rand(5, 2, 12)
    torch.testing.assert_close(model.reconstruct(x), x)


@pytest.mark.parametrize("body", BODIES)
def test_an_images_label_reaches_encoder_and_decoder(body):
    torch.manual_seed(0)
    model = seqae.CVAE(image=(8, 8, 1), condition=3, latent=2, body=body)
    x, labels = torch.rand(3, 8, 8), torch.eye(3)
    assert not torch.allclose(model.encode(x, condition=labels), model.encode(x, condition=labels.flip(0)))
    z = torch.zeros(3, 2)
    decoded = model.decode(z, 8, labels)
    assert not torch.allclose(decoded[0], decoded[1])
    with pytest.raises(DataError, match="this model is conditional"):
        model.encode(x)


@pytest.mark.parametrize("body", [*BODIES, COURSE | {"strides": [2, [2, 1], 1]}])
def test_the_recipe_builds_the_same_model(body, tmp_path):
    model = seqae.VAE(image=(9, 11, 3), latent=4, body=body, likelihood="discretized_logistic")
    again = build(model.recipe)
    again.load_state_dict(model.state_dict())
    x = torch.rand(2, 9, 33)
    torch.testing.assert_close(again.reconstruct(x), model.reconstruct(x))
    seqae.save_model(model, tmp_path / "model.safetensors")
    torch.testing.assert_close(seqae.load_model(tmp_path / "model.safetensors").reconstruct(x), model.reconstruct(x))


def test_a_window_of_a_series_goes_through_the_mlp_with_its_mask():
    torch.manual_seed(0)
    model = seqae.AE(channels=2, steps=6, latent=3, body={"name": "mlp", "hidden": [16, 8]})
    x = torch.zeros(1, 6, 2)
    observed = torch.ones(1, 6, 2, dtype=torch.bool)
    observed[0, 3, 1] = False
    assert not torch.allclose(model.encode(x), model.encode(x, observed))  # a missing value is no observed 0
    with pytest.raises(DataError, match="windows of 6 steps, no others; got 7"):
        model(torch.zeros(1, 7, 2))
    with pytest.raises(DataError, match="windows of 6 steps, no others; got 5"):
        model.decode(torch.zeros(1, 3), 5)
    timed = seqae.CVAE(channels=1, steps=4, condition=2, latent=2, body="mlp")
    x, condition = torch.zeros(1, 4, 1), torch.zeros(1, 4, 2)
    changed = condition.clone()
    changed[0, 3, 1] = 1.0  # only the last step's
    assert not torch.allclose(timed.encode(x, condition=condition), timed.encode(x, condition=changed))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image": (8, 8, 1), "body": "conv", "cell": "gru", "hidden": 3}, "hidden, cell belongs to the body rnn"),
        ({"image": (8, 8, 1), "channels": 8}, "Give one of the two"),
        ({}, "Give one of the two"),
        ({"image": (8, 8), "body": "mlp"}, r"image is \(height, width, colours\)"),
        ({"image": (8, 0, 1), "body": "mlp"}, "image must be a whole number of at least 1; got 0"),
        ({"channels": 2, "body": "mlp"}, "how long its windows are. Give steps"),
        ({"channels": 2, "body": "conv"}, "one of images"),
        ({"image": (8, 8, 1), "body": {"name": "mlp", "hidden": []}}, "list of layer sizes"),
        ({"image": (8, 8, 1), "body": {"name": "mlp", "width": 3}}, "cannot be made of {'width': 3}"),
        ({"image": (8, 8, 1), "body": "transformer"}, "Choose one of: rnn, mlp, conv"),
        ({"image": (4, 4, 1), "body": COURSE | {"paddings": [0] * 3}}, "layer 2 has a kernel of 4 × 4, and 1 × 1"),
        ({"image": (8, 8, 1), "body": COURSE | {"strides": [2]}}, "3 channels, 3 kernel_sizes, 1 strides"),
        ({"image": (8, 8, 1), "body": COURSE | {"strides": [0, 1, 1]}}, "layer 1 has .* at least 1"),
        ({"image": (8, 8, 1), "body": COURSE | {"strides": [(1, 2, 3), 1, 1]}}, "a whole number or a pair"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, words):
    with pytest.raises(OptionError, match=words):
        seqae.AE(**arguments)
