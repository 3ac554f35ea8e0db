from __future__ import annotations

import gzip
import io
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps, rcParams
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from matplotlib.dates import date2num
from matplotlib.patches import StepPatch
from matplotlib.text import Text
from PIL import Image, ImageSequence

from seqae.errors import DataError, OptionError
from seqae.report.canvas import CLASS_COLOURS, gradient, literal
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
    write_gif,
)
from seqae.report.window_pictures import series_interpolation, series_samples, series_traversals

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("SEQAE_DATA", ROOT.parent / "shared" / "data"))
MNIST = DATA / "mnist" / "t10k-images-idx3-ubyte.gz"
DRAW = np.random.default_rng(7)


def rendered(figure):
    figure.set_dpi(100)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def sheet_of(figure, shape, scale):
    """The tiled image as it stands on the screen, after checking that each of its pixels is a square there."""
    screen = rendered(figure)
    box = figure.axes[0].get_window_extent()
    left, top = round(box.x0), round(screen.shape[0] - box.y1)
    area = screen[top : top + shape[0] * scale, left : left + shape[1] * scale]
    squares = area.reshape(shape[0], scale, shape[1], scale, 3)
    assert (squares == squares[:, :1, :, :1]).all(), "a pixel is not a square of one colour"
    return squares[:, 0, :, 0]


def texts(figure):
    figure.draw_without_rendering()
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def assert_inside(figure):
    """Every text that is drawn lies within the picture, and row and column names do not cover each other."""
    figure.set_dpi(100)
    seen, draw = [], Text.draw
    Text.draw = lambda text, renderer: seen.append(text)
    try:
        figure.canvas.draw()
    finally:
        Text.draw = draw
    width, height = figure.get_size_inches() * 100
    for text in seen:
        if text.get_visible() and text.get_text().strip():
            box = text.get_window_extent()
            assert box.x0 > -1, text
            assert box.y0 > -1, text
            assert box.x1 < width + 1, text
            assert box.y1 < height + 1, text
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        boxes = [name.get_window_extent() for name in axis.get_ticklabels() if name in seen and name.get_text()]
        for one, other in pairwise(boxes):
            assert not one.overlaps(other), names(axis)


def names(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


# Images


def naive_tile(images, gap, group):
    rows = []
    for r, row in enumerate(images):
        strip = [row[0]]
        for image in row[1:]:
            strip += [np.ones((image.shape[0], gap, image.shape[2])), image]
        strip = np.concatenate(strip, axis=1)
        if r:
            high = 4 * gap if group and r % group == 0 else gap
            rows.append(np.ones((high, *strip.shape[1:])))
        rows.append(strip)
    return np.concatenate(rows)


@pytest.mark.parametrize(("gap", "group"), [(1, 0), (0, 0), (2, 2), (1, 3), (1, 1)])
@pytest.mark.parametrize("depth", [1, 3])
def test_tiles_lie_where_the_naive_version_puts_them(gap, group, depth):
    images = DRAW.random((5, 3, 4, 6, depth)).astype(np.float32)
    np.testing.assert_array_equal(tile(images, gap=gap, group=group), naive_tile(images, gap, group).astype(np.float32))


@pytest.mark.parametrize("depth", [1, 3])
def test_every_pixel_of_a_grid_reaches_the_screen_as_a_square(depth):
    images = DRAW.random((3, 4, 10, 12, depth))
    figure = image_grid(images, row_names="abc", column_names=range(4), title="A grid")
    sheet = tile(images)
    seen = sheet_of(figure, sheet.shape, 9)
    np.testing.assert_allclose(seen, np.broadcast_to(sheet * 255, seen.shape), atol=2)


def test_names_stand_at_the_middle_of_their_rows_and_columns():
    images = np.zeros((3, 2, 10, 20, 1))
    axes = image_grid(images, row_names=["top", "middle", "b$_1$"], column_names=["left", "right"]).axes[0]
    assert names(axes.yaxis) == ["top", "middle", r"b\$_1\$"]
    assert names(axes.xaxis) == ["left", "right"]
    np.testing.assert_allclose(axes.get_yticks(), [4.5, 15.5, 26.5])  # rows begin at 0, 11, 22
    np.testing.assert_allclose(axes.get_xticks(), [9.5, 30.5])
    assert axes.get_ylim() == (31.5, -0.5)  # row 0 on top


def test_many_images_are_one_picture_of_bounded_size_with_whole_pixels():
    images = DRAW.random((20, 20, 28, 28, 1))
    figure = image_grid(images, row_names=range(20), column_names=range(20))
    assert len(figure.axes) == 1
    assert len(figure.axes[0].images) == 1
    assert max(figure.get_size_inches()) <= 12.5
    sheet = tile(images)
    np.testing.assert_allclose(sheet_of(figure, sheet.shape, 2)[..., :1], sheet * 255, atol=2)


def test_more_images_than_screen_pixels_are_averaged_not_dropped():
    images = np.zeros((1, 1, 400, 2600, 1))
    images[..., ::2, :] = 1  # one of about two columns would be black in places and white in others
    figure = image_grid(images)
    assert max(figure.get_size_inches()) <= 12.5
    screen = rendered(figure)
    middle = screen[screen.shape[0] // 2, 300:900].astype(int)
    assert middle.min() > 90
    assert middle.max() < 165


@pytest.mark.parametrize(
    "shape", [(1, 1, 28, 28, 1), (1, 2, 8, 8, 1), (10, 1, 28, 28, 1), (2, 3, 64, 96, 3), (1, 1, 4, 60, 1)]
)
def test_grids_of_any_shape_have_room_for_their_names_and_title(shape):
    images = np.zeros(shape)
    figure = image_grid(
        images,
        row_names=[f"a row of name {i}" for i in range(shape[0])],
        column_names=[f"column of a long name {i}" for i in range(shape[1])],
        across="some value",
        title="What people call a long title for so few images",
    )
    assert_inside(figure)


def test_reconstructions_stand_below_their_originals_in_blocks():
    originals = DRAW.random((7, 8, 8, 1))
    others = DRAW.random((7, 8, 8, 1))
    figure = reconstruction_rows(originals, others, columns=3)
    sheet = np.asarray(figure.axes[0].images[0].get_array())
    assert names(figure.axes[0].yaxis) == ["original", "reconstruction"] * 3
    tops = [0, 9, 21, 30, 42, 51]  # 8 pixels and a gap of 1, between blocks of 4
    for number in range(7):
        block, column = divmod(number, 3)
        for images, top in ((originals, tops[2 * block]), (others, tops[2 * block + 1])):
            np.testing.assert_allclose(
                sheet[top : top + 8, 9 * column : 9 * column + 8], images[number, ..., 0], atol=1e-6
            )
    assert (sheet[42:, 9:] == 1).all()  # the rest of the last block is left white
    assert sheet.shape == (59, 26)


def test_denoising_shows_clean_noisy_denoised_from_the_top():
    clean, noisy, denoised = (np.full((4, 6, 6, 3), level) for level in (0.1, 0.5, 0.9))
    figure = denoising_rows(clean, noisy, denoised)
    sheet = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(sheet[[3, 10, 17], 2], [[0.1] * 3, [0.5] * 3, [0.9] * 3], atol=1e-6)
    assert names(figure.axes[0].yaxis) == ["clean", "noisy", "denoised"]
    assert_inside(figure)


def test_the_latent_plane_has_z1_to_the_right_and_z2_upward_at_the_images_centres():
    levels = np.arange(15).reshape(3, 5) / 15  # decoded[i, j] is one grey value
    decoded = np.broadcast_to(levels[:, :, None, None, None], (3, 5, 9, 7, 1))
    figure = latent_plane(decoded, (-2, 2, 1, 3))
    axes = figure.axes[0]
    screen = rendered(figure)
    for i, z2 in enumerate((1, 2, 3)):
        for j, z1 in enumerate((-2, -1, 0, 1, 2)):
            x, y = axes.transData.transform((z1, z2))
            assert screen[screen.shape[0] - 1 - int(y), int(x), 0] == pytest.approx(255 * levels[i, j], abs=2)
    assert axes.get_xlim() == (-2.5, 2.5)
    assert axes.get_ylim() == (0.5, 3.5)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z1", "z2")
    box = axes.get_window_extent()
    assert box.width / box.height == pytest.approx(5 * 7 / (3 * 9))  # an image's pixels are squares
    assert_inside(figure)


def test_interpolations_count_the_way_in_percent():
    frames = np.linspace(0, 1, 5)[None, :, None, None, None] * np.ones((2, 1, 8, 8, 1))
    axes = interpolation_rows(frames).axes[0]
    assert names(axes.xaxis) == ["0 %", "25 %", "50 %", "75 %", "100 %"]
    sheet = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(sheet[4, 4::9], [0, 0.25, 0.5, 0.75, 1])


def test_traversals_name_dimensions_with_their_kl_and_columns_with_their_values():
    frames = np.zeros((2, 3, 8, 8, 1))
    figure = traversal_rows(frames, [-1.25, 0, 3], kl=[2.345, 0.0])
    assert names(figure.axes[0].yaxis) == ["z1  KL 2.35", "z2  KL 0.00"]  # 2.345 lies above its double
    assert names(figure.axes[0].xaxis) == ["−1.25", "0", "+3"]
    assert names(traversal_rows(frames, [0, 1, 2], ["hue", "size"]).axes[0].yaxis) == ["hue", "size"]
    assert_inside(figure)


def test_classes_are_rows():
    samples = np.stack([np.full((3, 6, 6, 1), k / 4) for k in range(4)])
    axes = class_rows(samples, ["T-shirt/top", "Bag", "Coat", 3]).axes[0]
    assert names(axes.yaxis) == ["T-shirt/top", "Bag", "Coat", "3"]
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array())[2::7, 3], [0, 0.25, 0.5, 0.75])


@pytest.mark.skipif(not MNIST.exists(), reason=f"{MNIST.name} is not under SEQAE_DATA")
def test_real_digits_come_back_from_the_screen():
    with gzip.open(MNIST) as file:
        bytes_ = np.frombuffer(file.read(16 + 8 * 784), np.uint8, offset=16).reshape(8, 28, 28, 1)
    figure = reconstruction_rows(bytes_ / 255, 1 - bytes_ / 255)
    seen = sheet_of(figure, (57, 231), 4)
    np.testing.assert_allclose(seen[:28, 29:57, 0], bytes_[1, ..., 0], atol=1)
    np.testing.assert_allclose(seen[29:, 203:, 0], 255 - bytes_[7, ..., 0], atol=2)


def read_gif(data):
    with Image.open(io.BytesIO(data.getvalue())) as gif:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)]
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
        return np.stack(frames), durations, gif.info.get("loop")


def test_a_gif_runs_forth_and_back_without_end_and_its_greys_are_exact():
    frames, file = DRAW.random((5, 6, 9, 1)), io.BytesIO()
    write_gif(frames, file, seconds=0.12, scale=3)
    seen, durations, loop = read_gif(file)
    way = np.rint(255 * frames[[0, 1, 2, 3, 4, 3, 2, 1]]).astype(np.uint8).repeat(3, axis=1).repeat(3, axis=2)
    np.testing.assert_array_equal(seen, np.broadcast_to(way, seen.shape))
    assert durations == [120] * 8
    assert loop == 0


def test_a_gif_in_few_colours_is_exact_too_and_the_default_is_readable(tmp_path):
    palette = DRAW.random((40, 3))
    frames = palette[DRAW.integers(0, 40, (3, 8, 8))]
    write_gif(frames, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (224, 224)
        assert gif.n_frames == 4
        assert gif.info["duration"] == 80
        seen = np.asarray(gif.convert("RGB"))[::28, ::28]
    np.testing.assert_allclose(seen, 255 * frames[0], atol=3)


@pytest.mark.parametrize("count", [1, 2])
def test_a_gif_of_one_or_two_frames_has_no_way_back(count):
    file = io.BytesIO()
    write_gif(np.linspace(0, 1, count)[:, None, None, None] * np.ones((1, 4, 4, 1)), file)
    with Image.open(io.BytesIO(file.getvalue())) as gif:
        assert gif.n_frames == count


# The latent space


def points_of(figure):
    return next(one for one in figure.axes[0].collections if isinstance(one, PathCollection))


def test_points_of_two_dimensions_are_drawn_where_they_are_in_the_colour_of_their_class():
    z, labels = DRAW.normal(size=(300, 2)), DRAW.integers(0, 3, 300)
    figure = latent_scatter(z, labels, names=["zero", "one", "two"])
    points = points_of(figure)
    drawn = dict(zip(map(tuple, points.get_offsets()), map(tuple, points.get_facecolors()[:, :3]), strict=True))
    assert drawn == {tuple(row): to_rgb(CLASS_COLOURS[label]) for row, label in zip(z, labels, strict=True)}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["zero", "one", "two"]
    for handle, colour in zip(figure.legends[0].legend_handles, CLASS_COLOURS, strict=False):
        assert handle.get_color() == colour
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z1", "z2")
    rendered(figure)
    one, other = np.diff(axes.transData.transform([(0, 0), (1, 1)]), axis=0)[0]
    assert one == pytest.approx(other)  # one scale for both
    assert figure.legends[0].get_window_extent().x0 > axes.get_window_extent().x1
    assert_inside(figure)


def test_names_stand_at_the_classes_medians_unless_they_cover_each_other():
    centres = np.array([[-5.0, 0], [5, 0], [5.05, 0.01]])
    labels = np.arange(300) % 3
    figure = latent_scatter(centres[labels] + 0.1 * DRAW.normal(size=(300, 2)), labels, names=["left", "right", "hid"])
    noted = {text.get_text(): text.xy for text in figure.axes[0].texts}
    assert set(noted) == {"left", "right"}
    np.testing.assert_allclose([noted["left"], noted["right"]], centres[:2], atol=0.1)
    assert not list(latent_scatter(centres, [0, 1, 2]).axes[0].texts)  # among few points they would only confuse


def test_more_dimensions_are_drawn_by_their_principal_components():
    z = DRAW.normal(size=(400, 5)) * [3, 0.5, 1, 2, 0.1] @ np.linalg.qr(DRAW.normal(size=(5, 5)))[0] + 10
    figure = latent_scatter(z, np.zeros(400, int))
    _, singular, turned = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    truth = (z - z.mean(axis=0)) @ turned[:2].T
    seen = np.asarray(points_of(figure).get_offsets())
    for axis in range(2):  # the sign of a component is free
        np.testing.assert_allclose(
            np.sort(np.abs(seen[:, axis])), np.sort(np.abs(truth[:, axis])), rtol=1e-9, atol=1e-9
        )
    shares = 100 * singular**2 / np.sum(singular**2)
    assert figure.axes[0].get_xlabel() == f"principal component 1 ({shares[0]:.0f} % of variance)"
    assert figure.axes[0].get_ylabel() == f"principal component 2 ({shares[1]:.0f} % of variance)"


def test_a_collapsed_space_is_a_picture_too():
    figure = latent_scatter(np.ones((50, 4)), np.arange(50) % 2)
    assert figure.axes[0].get_xlabel() == "principal component 1 (0 % of variance)"
    np.testing.assert_array_equal(points_of(figure).get_offsets(), np.zeros((50, 2)))
    assert_inside(figure)


def test_values_have_a_colour_bar_and_a_few_far_ones_do_not_take_its_colours():
    z, values = DRAW.normal(size=(500, 2)), np.linspace(0, 1, 500)
    figure = latent_scatter(z, values, label="load (kW)")
    bar = figure.axes[1]
    assert bar.get_ylabel() == "load (kW)"
    assert bar.get_ylim() == (0, 1)
    points = points_of(figure)
    place = {tuple(row): value for row, value in zip(z, values, strict=True)}
    expected = gradient()([place[tuple(row)] for row in points.get_offsets()])
    np.testing.assert_allclose(points.get_facecolors()[:, :3], expected[:, :3])
    values[0] = 1000
    assert latent_scatter(z, values).axes[1].get_ylim() == pytest.approx(np.quantile(values, [0.01, 0.99]))


def test_time_has_dates_at_its_colour_bar():
    dates = np.datetime64("1950-01") + np.arange(600)
    figure = latent_scatter(DRAW.normal(size=(600, 2)), dates)
    assert figure.axes[1].get_ylim() == tuple(date2num(dates[[0, -1]]))
    texts(figure)
    assert {"1960", "1970", "1980", "1990"} <= set(names(figure.axes[1].yaxis))


def test_one_dimension_is_a_histogram_for_each_class():
    z, labels = DRAW.normal(size=(900, 1)), np.repeat([0, 2], [600, 300])
    figure = latent_scatter(z, labels, names=["a", "b", "c"])
    steps = [one.get_data() for one in figure.axes[0].findobj(StepPatch)]
    assert names(figure.axes[0].yaxis) == ["c", "a"]  # from below; b has no points
    height = 0
    for (values, edges, baseline), label in zip(steps, (2, 0), strict=True):
        counts = np.histogram(z[labels == label, 0], edges)[0]
        assert counts.sum() == np.sum(labels == label)
        share = (values - baseline) / counts.clip(1) * counts.sum()
        assert np.ptp(share[counts > 0]) == pytest.approx(0, abs=1e-9)  # heights are shares, on one scale
        height = height or share[counts > 0][0]
        assert share[counts > 0][0] == pytest.approx(height)
    counts, edges, _ = latent_scatter(z).axes[0].findobj(StepPatch)[0].get_data()
    np.testing.assert_array_equal(counts, np.histogram(z[:, 0], edges)[0])
    assert counts.sum() == 900


def test_one_dimension_is_drawn_against_a_value():
    z, values = DRAW.normal(size=(20, 1)), np.arange(20.0)
    figure = latent_scatter(z, values, label="hour")
    assert {tuple(row) for row in points_of(figure).get_offsets()} == set(zip(z[:, 0], values, strict=True))
    assert figure.axes[0].get_ylabel() == "hour"


def test_sixty_thousand_points_show_both_of_two_classes_and_are_pixels_in_a_vector_file():
    z, labels = DRAW.normal(size=(60000, 2)), np.repeat([0, 1], 30000)  # the last class lies on the first
    figure = latent_scatter(z, labels, title=None)
    points = points_of(figure)
    assert points.get_rasterized()
    for text in list(figure.axes[0].texts):
        text.remove()
    screen = rendered(figure) / 255
    x, y = figure.axes[0].transData.transform((0, 0)).astype(int)
    core = screen[screen.shape[0] - y - 40 : screen.shape[0] - y + 40, x - 40 : x + 40].reshape(-1, 3)
    shades = np.array([to_rgb(colour) for colour in CLASS_COLOURS[:2]])
    share = (core - shades[0]) @ (shades[1] - shades[0]) / np.sum((shades[1] - shades[0]) ** 2)
    assert 0.4 < share.mean() < 0.6
    rim = screen[screen.shape[0] - y - 5 : screen.shape[0] - y + 5, x + 130 : x + 140]
    assert rim.mean() > core.mean() + 0.1  # where there are fewer points it is lighter


def test_twenty_classes_are_told_apart():
    """Distances in CIELAB (CIE 1976): 10 are seen at a glance; also to the white they are drawn on."""
    rgb = np.array([to_rgb(colour) for colour in (*CLASS_COLOURS, "white")])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / [0.9505, 1, 1.089]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    scaled = np.diff(root, axis=1) * [-500, -200]
    lab = np.column_stack([116 * root[:, 1] - 16, scaled])
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e9 * np.eye(21)
    assert apart.min() > 25
    labels = np.arange(400) % 20
    assert len(latent_scatter(DRAW.normal(size=(400, 2)), labels).legends[0].get_texts()) == 20


# Series


def lines_of(axes):
    return [one for one in axes.collections if isinstance(one, LineCollection)]


def wave(count, channels=1, steps=24):
    size = np.linspace(1, 2, count)[:, None, None] * 10.0 ** np.arange(channels)
    return size * np.sin(2 * np.pi * np.arange(steps)[None, :, None] / 12)


def test_traversals_of_series_are_lines_by_dimension_and_channel():
    frames = np.stack([wave(5, 2), 0.5 * wave(5, 2), np.zeros((5, 24, 2))])
    figure = series_traversals(frames, [-2, -1, 0, 1, 2], ["flow", "load"], kl=[3, 1, 0], units=["l/s", ""])
    grid = np.array(figure.axes[:6]).reshape(3, 2)
    for row in range(3):
        for column in range(2):
            (lines,) = lines_of(grid[row, column])
            assert len(lines.get_segments()) == 5
            for s, segment in enumerate(lines.get_segments()):
                np.testing.assert_allclose(segment, np.column_stack([range(24), frames[row, s, :, column]]))
            np.testing.assert_allclose(lines.get_colors(), gradient()([0, 0.25, 0.5, 0.75, 1.0]), atol=0.01)
    assert [axes.get_ylabel() for axes in grid[:, 0]] == ["z1\nKL 3.00", "z2\nKL 1.00", "z3\nKL 0.00"]
    assert [axes.get_title("left") for axes in grid[0]] == ["flow (l/s)", "load"]
    for column, top in ((0, 2), (1, 20)):
        for axes in grid[:, column]:
            assert axes.get_ylim() == pytest.approx((-1.12 * top, 1.12 * top))  # the range and 6 % at either end
    assert figure.axes[6].get_ylim() == (-2, 2)
    assert figure.axes[6].get_ylabel() == "value of the dimension"
    assert_inside(figure)


def test_of_more_than_four_channels_the_first_four_are_drawn_and_it_says_so():
    figure = series_traversals(wave(3, 6)[None], [0, 1, 2], list("abcdef"))
    assert [axes.get_title("left") for axes in figure.axes[:4]] == list("abcd")
    assert "4 of 6 channels" in [text.get_text() for text in texts(figure)]
    assert_inside(figure)


def test_samples_lie_over_the_real_windows_of_their_group():
    samples, real = wave(4), wave(6) + 1
    figure = series_samples(
        samples,
        ["sst"],
        real=real,
        groups=["Mar", "Jan", "Mar", "Jan"],
        real_groups=["Jan", "Jan", "Mar", "Dec", "Jan", "Mar"],
        units=["°C"],
    )
    march, january = figure.axes
    assert (march.get_title("left"), january.get_title("left")) == ("Mar", "Jan")
    for axes, mine, grey in ((march, [0, 2], [2, 5]), (january, [1, 3], [0, 1, 4])):
        below, above = lines_of(axes)
        np.testing.assert_allclose([one[:, 1] for one in below.get_segments()], real[grey, :, 0])
        np.testing.assert_allclose([one[:, 1] for one in above.get_segments()], samples[mine, :, 0])
        assert tuple(above.get_colors()[0][:3]) == to_rgb(CLASS_COLOURS[0])
        assert len(set(below.get_colors()[0][:3])) == 1  # grey
    assert march.get_ylim() == january.get_ylim()
    assert {"sst (°C)", "sampled", "real"} <= {text.get_text() for text in texts(figure)}
    assert_inside(figure)


def test_real_windows_without_groups_stand_behind_every_panel():
    figure = series_samples(wave(4, 2), ["a", "b"], real=wave(3, 2), groups=[7, 7, 8, 8])
    assert [len(lines_of(axes)[0].get_segments()) for axes in figure.axes] == [3] * 4
    assert [len(lines_of(axes)[1].get_segments()) for axes in figure.axes] == [2] * 4
    assert [axes.get_ylabel() for axes in figure.axes] == ["7", "", "8", ""]
    assert [axes.get_title("left") for axes in figure.axes] == ["a", "b", "", ""]
    one, other, third, fourth = (axes.get_ylim() for axes in figure.axes)
    assert one == third != other == fourth


def test_samples_without_groups_have_a_panel_for_each_channel():
    figure = series_samples(wave(2, 5), list("abcde"), x=np.arange(24) / 2, x_label="hour")
    assert [axes.get_title("left") for axes in figure.axes] == list("abcde")
    np.testing.assert_allclose(lines_of(figure.axes[3])[1].get_segments()[1][:, 1], wave(2, 5)[1, :, 3])
    np.testing.assert_allclose(lines_of(figure.axes[3])[1].get_segments()[1][:, 0], np.arange(24) / 2)
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "hour", "hour", "hour"]  # rows of three
    assert_inside(figure)


def test_of_very_many_windows_some_are_drawn_and_the_legend_says_how_many():
    figure = series_samples(wave(3), ["a"], real=wave(1000))
    below, above = lines_of(figure.axes[0])
    assert (len(below.get_segments()), len(above.get_segments())) == (100, 3)
    np.testing.assert_allclose(below.get_segments()[-1][:, 1], wave(1000)[-1, :, 0])  # from the first to the last
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sampled", "real (100 a panel)"]


def test_interpolations_run_from_the_first_window_to_the_second():
    frames = wave(5, 2)
    figure = series_interpolation(frames, ["a", "b"])
    (lines,) = lines_of(figure.axes[1])
    np.testing.assert_allclose([one[:, 1] for one in lines.get_segments()], frames[..., 1])
    np.testing.assert_allclose(lines.get_colors()[[0, -1]], gradient()([0.0, 1.0]))
    widths = lines.get_linewidths()
    assert widths[0] == widths[4] > widths[1] == widths[2] == widths[3]
    assert figure.axes[2].get_ylabel() == "share of the way (%)"


def test_gaps_stay_gaps_and_a_lone_step_is_a_dot():
    frames = wave(2)
    frames[:, [5, 7, 8]] = np.nan
    axes = series_interpolation(frames, ["a"]).axes[0]
    path = lines_of(axes)[0].get_paths()[1].vertices
    np.testing.assert_array_equal(np.isnan(path[:, 1]).nonzero()[0], [5, 7, 8])
    (dots,) = [one for one in axes.collections if isinstance(one, PathCollection)]
    np.testing.assert_allclose(dots.get_offsets(), [[6, frames[0, 6, 0]], [6, frames[1, 6, 0]]])


def test_steps_may_be_dates_or_texts():
    hours = np.datetime64("2024-03-01T00") + np.arange(24)
    figure = series_interpolation(wave(3), ["a"], x=hours)
    np.testing.assert_allclose(lines_of(figure.axes[0])[0].get_segments()[0][:, 0], date2num(hours))
    texts(figure)
    assert "12:00" in names(figure.axes[0].xaxis)
    assert_inside(figure)
    months = [f"month {i}" for i in range(24)]
    axes = series_samples(wave(3), ["a"], x=months).axes[0]
    shown = dict(zip(axes.get_xticks(), names(axes.xaxis), strict=True))
    assert 4 <= len(shown) < 24
    assert all(text == f"month {place:g}" for place, text in shown.items())
    assert_inside(axes.figure)


# What cannot be drawn


GREY = np.zeros((2, 3, 8, 8, 1))
WRONG = {
    "no depth": (lambda: image_grid(GREY[..., 0]), "images have the shape (2, 3, 8, 8)"),
    "two colours": (lambda: image_grid(np.zeros((2, 3, 8, 8, 2))), "K 1 (grey) or 3 (RGB)"),
    "none": (lambda: image_grid(np.zeros((0, 3, 8, 8, 1))), "none of them 0"),
    "bytes": (lambda: image_grid(np.full((1, 1, 4, 4, 1), 255, np.uint8)), "from 255 to 255; a picture needs 0 to 1"),
    "noise": (lambda: image_grid(GREY - 0.1), "hold values from -0.1 to -0.1"),
    "a NaN": (lambda: image_grid(GREY + np.nan), "look for NaN"),
    "row names": (lambda: image_grid(GREY, row_names="abc"), "got 3 row names for 2 rows"),
    "column names": (lambda: image_grid(GREY, column_names="ab"), "got 2 column names for 3 columns"),
    "classes": (lambda: class_rows(GREY, ["a"]), "got 1 row names for 2 rows"),
    "pairs": (lambda: reconstruction_rows(GREY[0], GREY[0, :2]), "reconstruction (2, 8, 8, 1)"),
    "columns": (lambda: reconstruction_rows(GREY[0], GREY[0], columns=0), "columns is 0"),
    "extent": (lambda: latent_plane(GREY, (3, -3, -3, 3)), "from z1 3 to -3"),
    "one row": (lambda: latent_plane(GREY[:1], (-3, 3, -3, 3)), "at least 2 x 2"),
    "values": (lambda: traversal_rows(GREY, [0, 1]), "this picture needs 3 finite numbers"),
    "dimensions": (lambda: traversal_rows(GREY, [0, 1, 2], ["a"]), "got 1 names for 2 latent dimensions"),
    "kl": (lambda: traversal_rows(GREY, [0, 1, 2], kl=[1]), "the KL has the shape (1,)"),
    "seconds": (lambda: write_gif(GREY[0], io.BytesIO(), seconds=0.001), "seconds is 0.001"),
    "scale": (lambda: write_gif(GREY[0], io.BytesIO(), scale=0), "scale is 0"),
    "codes": (lambda: latent_scatter(np.zeros(5)), "latent codes have the shape (5,)"),
    "bad codes": (lambda: latent_scatter([[np.inf, 0]]), "finite numbers (N, Z)"),
    "labels": (lambda: latent_scatter(np.zeros((5, 2)), [0, 1]), "colour has the shape (2,) for 5 points"),
    "classes too many": (lambda: latent_scatter(np.zeros((2, 2)), [0, 20]), "whole numbers from 0 to 20"),
    "class below": (lambda: latent_scatter(np.zeros((2, 2)), [-1, 2]), "whole numbers from -1 to 2"),
    "class names": (lambda: latent_scatter(np.zeros((2, 2)), [0, 1], names=["a"]), "got 1 names"),
    "names of values": (lambda: latent_scatter(np.zeros((2, 2)), [0.5, 1], names=["a"]), "colour holds none"),
    "axis names": (lambda: latent_scatter(np.zeros((2, 2)), axis_names=["a"]), "got 1 axis names for 2"),
    "value NaN": (lambda: latent_scatter(np.zeros((2, 2)), [np.nan, 1]), "needs 2 finite numbers"),
    "no time": (lambda: latent_scatter(np.zeros((1, 2)), np.array(["NaT"], "M8[s]")), "needs 1 finite numbers"),
    "channels": (lambda: series_interpolation(wave(3), ["a", "b"]), "with C = 2"),
    "infinite": (lambda: series_interpolation(wave(3) + np.inf, ["a"]), "infinite values"),
    "units": (lambda: series_interpolation(wave(3), ["a"], units=[]), "got 0 units for 1 channels"),
    "x": (lambda: series_interpolation(wave(3), ["a"], x=[1, 2]), "x has the shape (2,)"),
    "lengths": (lambda: series_samples(wave(3), ["a"], real=wave(3)[:, :9]), "real windows have 9 steps, samples 24"),
    "groups": (lambda: series_samples(wave(3), ["a"], groups=[1]), "groups has the shape (1,) for 3 windows"),
    "groups alone": (lambda: series_samples(wave(3), ["a"], real=wave(3), real_groups=[1] * 3), "real_groups"),
    "rows": (lambda: series_traversals(np.zeros((25, 2, 9, 1)), [0, 1], ["a"]), "25 rows of panels"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_drawn_is_said_in_one_line(case):
    draw, said = WRONG[case]
    with pytest.raises((DataError, OptionError)) as raised:
        draw()
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_pictures_leave_no_trace_in_matplotlib():
    before = dict(rcParams)
    latent_plane(np.zeros((2, 2, 4, 4, 1)), (0, 1, 0, 1))
    series_interpolation(wave(3), ["a"])
    assert dict(rcParams) == before
    for module in ("canvas", "latent_space", "pictures", "window_pictures"):
        assert "import pyplot" not in (ROOT / "seqae" / "report" / f"{module}.py").read_text(encoding="utf-8")


def test_the_gradient_is_viridis_that_can_be_seen_on_white():
    np.testing.assert_allclose(gradient()(0), colormaps["viridis"](0))
    np.testing.assert_allclose(gradient()(255), colormaps["viridis"](0.9))


def test_long_names_lose_their_middle():
    assert literal("temperature at the inlet of the pump") == "temperature a…et of the pump"
    assert literal("a$b") == r"a\$b"
