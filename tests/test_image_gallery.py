"""The pictures of a model of images: which numbers each is drawn from, and that these reach the sheet."""

from __future__ import annotations

import io
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from seqae.datasets.images import Images, digits
from seqae.errors import DataError, OptionError, UserError
from seqae.generative.image_model import ImageModel
from seqae.nn.likelihoods import LIKELIHOODS
from seqae.report import image_gallery
from seqae.report.image_gallery import GALLERY, MOVING, Look
from seqae.report.pictures import tile, write_gif

TRAIN, TEST = digits("train")[:300], digits("test")
CLEAN = TEST.pixels / 255.0


def made(images=TRAIN, *, epochs=6, **options):
    options = {"body": {"name": "mlp", "hidden": [24]}, "latent": 2} | options
    return ImageModel(**options).fit(images, epochs=epochs, batch_size=64, learning_rate=1e-2, device="cpu")


@pytest.fixture(scope="module")
def vae():
    return made()


@pytest.fixture(scope="module")
def cvae():
    return made(model="CVAE")


@pytest.fixture(scope="module")
def ae():
    return made(model="AE")


@pytest.fixture(scope="module")
def wide():
    return made(latent=14)


@pytest.fixture
def drawn(monkeypatch):
    """What each kind of picture is given, by the name of the function that draws it."""
    seen = {}

    def watch(name):
        def draw(*arguments, **options):
            seen[name] = SimpleNamespace(arguments=arguments, **options)
            return Figure()

        monkeypatch.setattr(image_gallery, name, draw)

    for name in ("reconstruction_rows", "denoising_rows", "latent_scatter", "latent_plane", "interpolation_rows",
                 "traversal_rows", "image_grid", "class_rows"):  # fmt: skip
        watch(name)
    return seen


def sheet(figure):
    """The pixels that a figure of images shows."""
    return np.asarray(figure.axes[0].images[0].get_array())


def refused(kind, what, model, look, menu=GALLERY):
    with pytest.raises(kind) as problem:
        menu[what](model, look)
    line = str(problem.value)
    assert "\n" not in line
    assert line.endswith(".")
    return line


# ---- what is drawn ----


def test_reconstructions_are_of_the_first_images_or_of_those_that_are_named(vae, drawn):
    for look, which in ((Look(TEST, count=4), [0, 1, 2, 3]), (Look(TEST, chosen=(8, 3, 8)), [8, 3, 8])):
        GALLERY["reconstructions"](vae, look)
        originals, reconstructions = drawn["reconstruction_rows"].arguments
        np.testing.assert_array_equal(originals, CLEAN[which])
        np.testing.assert_array_equal(reconstructions, vae.reconstruct(TEST[which]))


def test_denoising_shows_clean_noisy_and_denoised(vae, drawn):
    look = Look(TEST, count=5, noise="gaussian", noise_level=0.4, seed=3)
    GALLERY["denoising"](vae, look)
    clean, noisy, denoised = drawn["denoising_rows"].arguments
    expected = vae.denoise(TEST[:5], noise="gaussian", level=0.4, seed=3)
    np.testing.assert_array_equal(clean, CLEAN[:5])
    np.testing.assert_array_equal(noisy, expected[0].clip(0, 1))
    np.testing.assert_array_equal(denoised, expected[1])
    assert (noisy != expected[0]).any()  # such noise leaves [0, 1], and has to be cut off


def test_the_latent_picture_has_every_code_with_its_class(vae, drawn):
    GALLERY["latent"](vae, Look(TEST, count=3))
    told = drawn["latent_scatter"]
    np.testing.assert_array_equal(told.arguments[0], vae.encode(TEST))
    np.testing.assert_array_equal(told.arguments[1], TEST.labels)
    assert told.names == TEST.classes
    assert told.axis_names == ["z0", "z1"]
    GALLERY["latent"](vae, Look(Images(TEST.pixels, None, (), "bare")))
    assert drawn["latent_scatter"].arguments[1] is None
    assert drawn["latent_scatter"].names is None


@pytest.mark.parametrize("name", ["vae", "cvae", "ae"])
def test_a_place_in_the_plane_shows_what_is_decoded_there(name, request, drawn):
    model = request.getfixturevalue(name)
    GALLERY["plane"](model, Look(TEST, count=3))
    images, (left, right, bottom, top) = drawn["latent_plane"].arguments
    if name == "ae":
        low, high = np.quantile(model.encode(TEST), [0.02, 0.98], axis=0)
        np.testing.assert_allclose([left, right, bottom, top], [low[0], high[0], low[1], high[1]], rtol=1e-6)
    else:
        assert [left, right, bottom, top] == [-2.5, 2.5, -2.5, 2.5]
    assert images.shape == (6, 6, 8, 8, 1)
    labels = np.array([TEST.labels[0]]) if name == "cvae" else None
    for i, z1 in enumerate(np.linspace(bottom, top, 6)):
        for j, z0 in enumerate(np.linspace(left, right, 6)):
            np.testing.assert_allclose(
                images[i, j], model.decode(np.array([[z0, z1]]), labels)[0], rtol=1e-4, atol=1e-6
            )
    assert drawn["latent_plane"].names == ("z0", "z1")
    assert drawn["latent_plane"].title == "Decoded latent plane" + (f": {TEST.labels[0]}" if name == "cvae" else "")


def test_the_plane_of_a_cvae_is_of_the_first_image_that_is_shown_or_of_the_first_class(cvae, drawn):
    for look, label in ((Look(TEST, chosen=(4, 0)), TEST.labels[4]), (Look(), 0)):
        GALLERY["plane"](cvae, look)
        images, extent = drawn["latent_plane"].arguments
        corner = cvae.decode(np.array([[extent[0], extent[2]]]), np.array([label]))[0]
        np.testing.assert_allclose(images[0, 0], corner, rtol=1e-4, atol=1e-6)
        assert drawn["latent_plane"].title.endswith(f": {label}")


def test_the_plane_needs_two_dimensions_and_of_an_autoencoder_images(wide, ae):
    assert "this model has 14. Use --what traversals" in refused(OptionError, "plane", wide, Look(TEST))
    assert "Name DATA" in refused(OptionError, "plane", ae, Look())


@pytest.mark.parametrize("name", ["vae", "ae", "wide"])
def test_an_interpolation_goes_from_one_reconstruction_to_the_other(name, request, drawn):
    model = request.getfixturevalue(name)
    GALLERY["interpolation"](model, Look(TEST, chosen=(3, 8, 20, 1)))
    ways = drawn["interpolation_rows"].arguments[0]
    assert ways.shape == (2, 11, 8, 8, 1)
    z, expected = model.encode(TEST).astype(float), model.reconstruct(TEST)
    for way, (first, last) in zip(ways, ((3, 8), (20, 1)), strict=True):
        np.testing.assert_allclose(way[0], expected[first], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(way[10], expected[last], rtol=1e-4, atol=1e-6)
        for step in (3, 5):
            code = z[first] + step / 10 * (z[last] - z[first])
            np.testing.assert_allclose(way[step], model.decode(code[None])[0], rtol=1e-4, atol=1e-6)


def test_a_cvae_interpolates_within_the_class_of_the_first_image(cvae, drawn):
    first, last = 0, int(np.flatnonzero(TEST.labels == TEST.labels[0])[1])
    GALLERY["interpolation"](cvae, Look(TEST, chosen=(first, last, 1, 2)))
    ways = drawn["interpolation_rows"].arguments[0]
    expected = cvae.reconstruct(TEST)
    np.testing.assert_allclose(ways[0, [0, 10]], expected[[first, last]], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ways[1, 0], expected[1], rtol=1e-4, atol=1e-6)
    held = cvae.decode(cvae.encode(TEST[2:3]), TEST.labels[1:2])[0]
    np.testing.assert_allclose(ways[1, 10], held, rtol=1e-4, atol=1e-6)


def test_traversals_move_one_dimension_each_the_ones_with_the_largest_kl_first(wide, drawn):
    GALLERY["traversals"](wide, Look(TEST, chosen=(7, 2)))
    told = drawn["traversal_rows"]
    frames, values, names = told.arguments
    kl = np.array(wide.evaluate(TEST, samples=(1,)).per_dimension_kl)
    order = [int(name[1:]) for name in names]
    assert len(order) == 12  # of 14
    assert kl[order].tolist() == sorted(kl, reverse=True)[:12]
    np.testing.assert_array_equal(told.kl, kl[order])
    np.testing.assert_allclose(values, np.linspace(-2.5, 2.5, 11))
    centre = wide.encode(TEST[7:8])[0]
    for row, dimension in enumerate(order):
        for step in (0, 4, 10):
            z = centre.copy()
            z[dimension] = values[step]
            np.testing.assert_allclose(frames[row, step], wide.decode(z[None])[0], rtol=1e-4, atol=1e-6)


def test_traversals_without_images_start_at_the_origin_and_know_no_kl(wide, drawn):
    GALLERY["traversals"](wide, Look())
    told = drawn["traversal_rows"]
    frames, values, names = told.arguments
    assert told.kl is None
    assert names == [f"z{d}" for d in range(12)]
    z = np.zeros((1, 14))
    np.testing.assert_allclose(frames[:, 5], np.repeat(wide.decode(z), 12, 0), rtol=1e-5, atol=1e-6)
    z[0, 3] = values[8]
    np.testing.assert_allclose(frames[3, 8], wide.decode(z)[0], rtol=1e-4, atol=1e-6)


def test_traversals_of_a_cvae_keep_the_class_of_their_image(cvae, drawn):
    GALLERY["traversals"](cvae, Look(TEST, chosen=(6,)))
    frames, values, names = drawn["traversal_rows"].arguments
    z = cvae.encode(TEST[6:7])
    z[0, int(names[0][1:])] = values[2]
    np.testing.assert_allclose(frames[0, 2], cvae.decode(z, TEST.labels[6:7])[0], rtol=1e-4, atol=1e-6)


def test_traversals_of_an_autoencoder_are_ordered_by_variance_and_reach_as_far_as_the_codes(ae, drawn):
    GALLERY["traversals"](ae, Look(TEST))
    told = drawn["traversal_rows"]
    frames, values, names = told.arguments
    spread = ae.encode(TEST).std(0)
    order = [int(name[1:]) for name in names]
    assert order == np.argsort(-spread).tolist()
    assert told.kl is None
    assert values[-1] == 2.5  # standard deviations of the codes about their mean
    z = ae.encode(TEST[:1])
    z[0, order[0]] = ae.encode(TEST)[:, order[0]].mean() + 2.5 * spread[order[0]]
    np.testing.assert_allclose(frames[0, -1], ae.decode(z)[0], rtol=1e-3, atol=1e-5)


def test_samples_are_the_models_own(vae, cvae, drawn):
    GALLERY["samples"](vae, Look(count=3, seed=5))
    np.testing.assert_array_equal(drawn["image_grid"].arguments[0].reshape(9, 8, 8, 1), vae.sample(9, seed=5))
    GALLERY["samples"](cvae, Look(TEST, count=4, seed=5))  # DATA is not needed, and changes nothing
    rows, names = drawn["class_rows"].arguments
    assert names == cvae.classes
    expected = cvae.sample(40, labels=np.repeat(np.arange(10), 4), seed=5)
    np.testing.assert_array_equal(rows, expected.reshape(10, 4, 8, 8, 1))


def test_a_row_of_samples_is_of_its_class(drawn):
    model = made(TRAIN.only("0", "1"), model="CVAE", latent=3, epochs=60)
    GALLERY["samples"](model, Look(count=20))
    rows, names = drawn["class_rows"].arguments
    means = np.stack([TEST.only(name).pixels.mean(0) / 255 for name in ("0", "1")])
    for row, name in zip(rows, names, strict=True):
        if name in ("0", "1"):
            assert ((row.mean(0) - means) ** 2).sum((1, 2, 3)).argmin() == int(name)


# ---- as it is seen ----


def test_the_numbers_reach_the_sheet(vae):
    images, made_of = CLEAN[[8, 3]], vae.reconstruct(TEST[[8, 3]])
    found = sheet(GALLERY["reconstructions"](vae, Look(TEST, chosen=(8, 3))))
    np.testing.assert_allclose(found, tile(np.stack([images, made_of]), group=2)[..., 0], atol=1e-6)

    plane = sheet(GALLERY["plane"](vae, Look(count=2)))
    corner = vae.decode(np.array([[-2.5, -2.5], [2.5, 2.5]]))[..., 0]
    np.testing.assert_allclose(plane[-8:, :8], corner[0], rtol=1e-4, atol=1e-6)  # both low: at the lower left
    np.testing.assert_allclose(plane[:8, -8:], corner[1], rtol=1e-4, atol=1e-6)

    figure = GALLERY["interpolation"](vae, Look(TEST, chosen=(8, 3)))
    np.testing.assert_allclose(sheet(figure)[:, :8], made_of[0, ..., 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(sheet(figure)[:, -8:], made_of[1, ..., 0], rtol=1e-4, atol=1e-6)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()][::5] == ["0 %", "50 %", "100 %"]

    points = GALLERY["latent"](vae, Look(TEST)).axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(np.sort(points, axis=0), np.sort(vae.encode(TEST), axis=0), rtol=1e-6)


@pytest.mark.parametrize("what", GALLERY)
@pytest.mark.parametrize("name", ["vae", "cvae"])
def test_every_picture_can_be_drawn_and_is_the_same_again(name, what, request):
    model = request.getfixturevalue(name)

    def png():
        file = io.BytesIO()
        GALLERY[what](model, Look(TEST, count=4, seed=1)).savefig(file, format="png", dpi=50)
        return np.asarray(Image.open(file).convert("L"))

    first = png()
    assert first.std() > 5
    np.testing.assert_array_equal(png(), first)


@pytest.mark.parametrize("what", MOVING)
def test_frames_are_the_columns_of_the_picture(what, vae):
    look = Look(TEST, chosen=(3, 8, 1, 2))
    frames = MOVING[what](vae, look)
    assert len(frames) == 11
    picture = sheet(GALLERY[what](vae, look))
    rows = 2
    for step, frame in enumerate(frames):
        column = picture[:, 9 * step : 9 * step + 8]
        assert frame.shape == (rows * 8 + rows - 1, 8, 1)
        np.testing.assert_allclose(frame[..., 0], column, atol=1e-6)


def test_a_gif_holds_the_frames_there_and_back(ae):
    frames = MOVING["interpolation"](ae, Look(TEST, chosen=(3, 8)))
    levels = np.rint(255 * frames)
    assert all((a != b).any() for a, b in pairwise(levels))  # equal neighbours would become one frame
    file = io.BytesIO()
    write_gif(frames, file, scale=1)
    with Image.open(file) as gif:
        assert gif.n_frames == 20  # 11 there, and back without the two ends
        for number in (0, 4, 10, 16):
            gif.seek(number)
            step = min(number, 20 - number)
            expected = np.rint(255 * frames[step][..., 0]).astype(np.uint8)
            np.testing.assert_array_equal(np.asarray(gif.convert("L")), expected)


def test_colours_can_be_drawn():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
    images = Images(pixels, None, (), "coloured")
    model = made(images)
    found = sheet(GALLERY["reconstructions"](model, Look(images, chosen=(4,))))
    np.testing.assert_allclose(found[:6], pixels[4] / 255, atol=1e-6)
    np.testing.assert_allclose(found[-6:], model.reconstruct(images)[4], atol=1e-6)
    for what in GALLERY:
        assert GALLERY[what](model, Look(images, count=4)).axes
    assert MOVING["traversals"](model, Look(images)).shape == (11, 13, 5, 3)


# ---- what is refused ----


@pytest.mark.parametrize("what", ["reconstructions", "denoising", "latent", "interpolation"])
def test_a_picture_of_images_needs_them(what, vae):
    assert "Name DATA after the model." in refused(OptionError, what, vae, Look())


def test_an_image_beyond_the_last_is_refused(vae):
    for what in ("reconstructions", "denoising", "interpolation", "traversals"):
        line = refused(DataError, what, vae, Look(TEST, chosen=(3, 360)))
        assert "digits has 360 images, counted from 0; there is no 360" in line


def test_an_interpolation_needs_two(vae):
    for look in (Look(TEST, chosen=(3,)), Look(TEST, count=1)):
        assert "Name two of them" in refused(DataError, "interpolation", vae, look)
        assert "Name two of them" in refused(DataError, "interpolation", vae, look, MOVING)


def test_an_autoencoder_has_no_samples(ae):
    assert "nothing can be sampled" in refused(OptionError, "samples", ae, Look())


def test_images_that_do_not_suit_the_model_are_refused(vae, cvae):
    small = Images(np.zeros((4, 7, 8, 1), np.uint8), None, (), "small")
    bare = Images(TEST.pixels, None, (), "bare")
    for what in ("reconstructions", "denoising", "latent", "interpolation", "traversals"):
        assert "the model was trained on 8 × 8 × 1" in refused(DataError, what, vae, Look(small))
        assert "bare has the classes none" in refused(DataError, what, cvae, Look(bare))


def test_noise_that_there_is_not_is_refused(vae):
    refused(OptionError, "denoising", vae, Look(TEST, noise="salt"))
    refused(OptionError, "denoising", vae, Look(TEST, noise_level=1.0))


# ---- what once went wrong ----


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_can_be_drawn(likelihood):
    model = made(likelihood=likelihood)
    for what in GALLERY:
        GALLERY[what](model, Look(TEST, count=8))


def test_the_values_above_an_autoencoders_traversals_are_those_of_every_row(ae, drawn):
    GALLERY["traversals"](ae, Look(TEST))
    frames, values, names = drawn["traversal_rows"].arguments
    z, d, codes = ae.encode(TEST[:1]), int(names[1][1:]), ae.encode(TEST)
    z[0, d] = codes[:, d].mean() + values[-1] * codes[:, d].std()
    np.testing.assert_allclose(frames[1, -1], ae.decode(z)[0], rtol=1e-3, atol=1e-5)


def test_traversals_of_an_autoencoder_need_images(ae):
    refused(UserError, "traversals", ae, Look())


def test_an_image_without_a_partner_is_refused(vae):
    refused(UserError, "interpolation", vae, Look(TEST, chosen=(3, 8, 9)))


def test_samples_are_of_the_classes_that_were_trained_on(drawn):
    GALLERY["samples"](made(TRAIN.only("3", "5"), model="CVAE"), Look(count=2))
    assert tuple(drawn["class_rows"].arguments[1]) == ("3", "5")
