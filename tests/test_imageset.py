"""Images as the loop takes them: every value in its place, and every draw by its generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqae.datasets.images import Images, digits
from seqae.errors import DataError, OptionError
from seqae.generative.imageset import BINARISE, ImageSet
from seqae.models import MODELS


def coloured(n=7, shape=(4, 5, 3), labelled=True, seed=0):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, n) if labelled else None
    classes = ("a", "b", "c") if labelled else ()
    return Images(draw.integers(0, 256, (n, *shape), dtype=np.uint8), labels, classes, "some")


def every(images, size=1000):
    """All images in order, (N, H, W · K)."""
    return torch.cat([batch.x for _, batch in images.blocks(size)])


def drawn(images, generator):
    """The images of an epoch, each in its own place."""
    order = images.epoch(generator)
    return images.gather(order).x[torch.argsort(order)]


def grey(n=200):
    """Images whose pixels are all the grey values, 0 to 255."""
    pixels = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), (n, 1, 1, 1))
    return Images(pixels, None, (), "grey")


@pytest.mark.parametrize("shape", [(4, 5, 3), (3, 2, 1)])
def test_values_are_pixels_by_255_row_by_row_and_colour_by_colour(shape):
    images = coloured(shape=shape)
    some = ImageSet(images)
    index = torch.tensor([6, 0, 3, 3])
    batch = some.gather(index)
    assert (len(some), some.epoch_size, some.window) == (7, 7, shape[0])
    for b, number in enumerate(index):
        for h in range(shape[0]):
            for w in range(shape[1]):
                for k in range(shape[2]):
                    value = np.float32(images.pixels[number, h, w, k]) / np.float32(255)
                    assert batch.x[b, h, w * shape[2] + k] == value
    assert batch.x.dtype == torch.float32
    assert batch.observed.dtype == torch.bool
    assert batch.observed.shape == batch.x.shape
    assert bool(batch.observed.all())
    assert batch.condition is None
    assert batch.lengths is None


def test_the_threshold_is_half_of_255():
    x = every(ImageSet(grey(1), binarise="threshold")).flatten()
    assert x.tolist() == [0.0] * 128 + [1.0] * 128


def test_blocks_are_all_images_in_order_whatever_their_size():
    images = coloured(10)
    expected = images.pixels.reshape(10, 4, 15) / np.float32(255)
    for size in (1, 3, 10, 99):
        found = list(ImageSet(images).blocks(size))
        assert torch.cat([index for index, _ in found]).tolist() == list(range(10))
        assert max(len(index) for index, _ in found) == min(size, 10)
        np.testing.assert_array_equal(torch.cat([batch.x for _, batch in found]), expected)


def test_an_epoch_is_every_image_once_in_an_order_drawn_anew():
    images, generator = ImageSet(coloured(50)), torch.Generator().manual_seed(3)
    first, second = images.epoch(generator), images.epoch(generator)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert first.tolist() != second.tolist()
    assert first.tolist() == ImageSet(coloured(50)).epoch(torch.Generator().manual_seed(3)).tolist()


def test_dynamic_draws_have_the_grey_value_as_their_mean_and_are_independent():
    images, generator = ImageSet(grey(), binarise="dynamic"), torch.Generator().manual_seed(0)
    epochs = torch.stack([drawn(images, generator) for _ in range(20)])  # 4000 draws of each grey value
    assert set(epochs.unique().tolist()) == {0.0, 1.0}
    p = torch.arange(256).view(16, 16) / 255
    spread = (p * (1 - p) / 4000).sqrt()
    mean = epochs.mean((0, 1))
    assert bool(((mean - p).abs() <= 4.5 * spread).all())
    assert (mean[0, 0], mean[15, 15]) == (0, 1)
    # Two epochs, and two images within one, agree as often as independent draws do: p² + (1 − p)².
    agree = (p**2 + (1 - p) ** 2).mean()
    assert float((epochs[0] == epochs[1]).float().mean()) == pytest.approx(float(agree), abs=0.01)
    assert float((epochs[:, 0] == epochs[:, 1]).float().mean()) == pytest.approx(float(agree), abs=0.03)


def test_dynamic_draws_follow_from_the_generator_alone():
    first = ImageSet(grey(8), binarise="dynamic")
    torch.manual_seed(5)
    one = [drawn(first, generator) for generator in [torch.Generator().manual_seed(1)] for _ in range(3)]
    other = ImageSet(grey(8), binarise="dynamic")
    every(other)  # neither what was looked at before nor the global generator matters
    torch.manual_seed(6)
    generator = torch.Generator().manual_seed(1)
    two = [drawn(other, generator) for _ in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[0], drawn(first, torch.Generator().manual_seed(2)))

    # A run that goes on from a generator's state draws what the run would have drawn.
    generator = torch.Generator().manual_seed(1)
    drawn(first, generator)
    state = generator.get_state()
    expected = drawn(first, generator)
    generator.set_state(state)
    assert torch.equal(drawn(ImageSet(grey(8), binarise="dynamic"), generator), expected)


def test_outside_of_epochs_every_look_sees_the_same_draws():
    images = ImageSet(digits()[:300], binarise="dynamic")
    look = every(images)
    assert set(look.unique().tolist()) == {0.0, 1.0}
    drawn(images, torch.Generator().manual_seed(1))
    torch.manual_seed(9)
    assert torch.equal(every(images), look)
    assert torch.equal(every(images, size=37), look)  # validation's batches and scoring's blocks are of other sizes
    assert torch.equal(every(ImageSet(digits()[:300], binarise="dynamic"), size=128), look)


def test_grey_values_and_thresholds_need_no_chance():
    for name in ("off", "threshold"):
        images = ImageSet(coloured(), binarise=name)
        assert torch.equal(drawn(images, torch.Generator().manual_seed(0)), every(images))


def test_a_label_is_a_one_hot_condition_on_every_row():
    images = coloured(9)
    batch = ImageSet(images, labelled=True).gather(torch.tensor([8, 2, 0]))
    assert batch.condition.shape == (3, 4, 3)
    for b, number in enumerate((8, 2, 0)):
        expected = [float(k == images.labels[number]) for k in range(3)]
        assert batch.condition[b].tolist() == [expected] * 4


def test_a_class_without_an_image_keeps_its_place():
    images = digits().only("3", "5")
    condition = ImageSet(images, labelled=True).gather(torch.arange(len(images))).condition
    assert condition.shape[-1] == 10
    np.testing.assert_array_equal(condition[:, 0].argmax(-1), images.labels)


def test_labels_that_are_not_asked_for_are_left_out():
    assert ImageSet(coloured()).gather(torch.tensor([0])).condition is None


def test_what_cannot_be_a_set_is_refused_in_one_line():
    with pytest.raises(DataError, match=r"^some has no labels to take as conditions\. Use the model VAE, or .*\.$"):
        ImageSet(coloured(labelled=False), labelled=True)
    menu = ", ".join(BINARISE)
    with pytest.raises(OptionError, match=f"^binarise 'half' does not exist. Choose one of: {menu}.$"):
        ImageSet(coloured(), binarise="half")


def test_to_gives_the_same_images_elsewhere_and_itself_where_nothing_would_move():
    images = ImageSet(coloured(12), labelled=True, binarise="dynamic")
    assert images.to("cpu") is images
    assert images.to(torch.device("cpu")) is images
    look = every(images)
    other = images.to("cpu:0")  # what counts as another device on a machine that has one
    assert other is not images
    assert other.device == torch.device("cpu:0")
    assert torch.equal(every(other), look)
    assert torch.equal(other.gather(torch.arange(12)).condition, images.gather(torch.arange(12)).condition)
    # Each has draws of its own: to train on one does not change what the other is about to draw.
    order = images.epoch(torch.Generator().manual_seed(4))
    expected = ImageSet(coloured(12), binarise="dynamic")
    expected.epoch(torch.Generator().manual_seed(4))
    every(other)
    assert torch.equal(images.gather(order).x, expected.gather(order).x)


@pytest.mark.parametrize("name", ["AE", "CVAE"])
def test_pictures_show_images_above_their_reconstructions_and_samples_of_their_classes(name):
    images = ImageSet(coloured(), labelled=name == "CVAE")
    torch.manual_seed(0)
    network = {"image": (4, 5, 3), "latent": 2, "likelihood": "bernoulli", "body": {"name": "mlp", "hidden": [5]}}
    model = MODELS[name](**network, **({"condition": 3} if name == "CVAE" else {})).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5)  # away from the grey of a network that knows nothing
        batch = images.gather(torch.tensor([6, 0, 3]))
        found = images.pictures(model, batch, count=2)
        expected = model.reconstruct(batch.x, batch.observed, batch.condition)
    assert list(found) == (["reconstruction"] if name == "AE" else ["reconstruction", "samples"])
    sheet = found["reconstruction"]
    assert (sheet.dtype, sheet.shape) == (np.uint8, (2 * 8, 2 * 10, 3))
    small = sheet[::2, ::2]
    np.testing.assert_array_equal(small.repeat(2, 0).repeat(2, 1), sheet)  # each pixel four times
    for column, number in enumerate((6, 0)):
        part = small[:, 5 * column : 5 * column + 5]
        np.testing.assert_array_equal(part[:4], images.images.pixels[number])
        made_of = np.rint(255 * expected[column].reshape(4, 5, 3).numpy())
        assert np.abs(part[4:] - made_of).max() <= 1
    for sheet in found.values():
        assert sheet.std() > 10
    np.testing.assert_array_equal(images.pictures(model, batch, count=2)["reconstruction"], found["reconstruction"])
    if name == "CVAE":
        again = images.pictures(model, batch, count=2)["samples"]
        np.testing.assert_array_equal(again, found["samples"])
        other = images.pictures(model, images.gather(torch.tensor([1, 2, 4])), count=2)["samples"]
        classes = images.images.labels[[6, 0, 1, 2]]
        for column in range(2):
            assert (classes[column] == classes[2 + column]) == np.array_equal(
                other[:, 10 * column : 10 * column + 10], again[:, 10 * column : 10 * column + 10]
            )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_pixels_and_labels_are_the_same_and_stay_there():
    images = ImageSet(coloured(12), labelled=True)
    moved = images.to("cuda")
    index = moved.epoch(torch.Generator().manual_seed(0))
    assert index.is_cuda
    here, there = images.gather(index), moved.gather(index)
    assert there.x.is_cuda
    assert there.condition.is_cuda
    torch.testing.assert_close(there.x.cpu(), here.x, rtol=0, atol=1e-7)
    assert torch.equal(there.condition.cpu(), here.condition)
    binary = ImageSet(grey(50), binarise="dynamic", device="cuda")
    assert torch.equal(every(binary), every(binary))
    p = torch.arange(256).view(16, 16) / 255
    torch.testing.assert_close(every(binary).mean(0).cpu(), p, rtol=0, atol=0.35)
