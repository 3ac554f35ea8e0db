from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from seqae.datasets.sprites import SHAPES, sprites
from seqae.errors import OptionError

AREAS = {"square": 2, "ellipse": 0.6 * math.pi, "heart": (math.pi + 4) / (math.sqrt(2) + 0.44307) ** 2}  # of radius 1


@pytest.fixture(scope="module")
def grid():
    return sprites()


def truth(made, size, scales, rotations, positions):
    """Radius, angle, centre x and centre y (pixels from the left and the top) of each sprite, written out."""
    _, scale, rotation, x, y = made.factors.T
    radius = size / 4 * (0.5 + 0.5 * scale / max(scales - 1, 1)) if scales > 1 else np.full(len(made), size / 4)
    step = 0
    while size / 2 - (positions - 1) / 2 * (step + 1) >= size / 4:  # the largest whole step that keeps it inside
        step += 1
        if positions == 1:
            break
    centre = [size / 2 + (place - (positions - 1) / 2) * step for place in (x, y)]
    return radius, math.pi / 2 * rotation / rotations, *centre


def mass(made):
    """Area in pixels, centre of mass x and y in pixels from the left and the top."""
    weights = made.pixels[..., 0] / 255
    middle = np.arange(weights.shape[1]) + 0.5
    area = weights.sum(axis=(1, 2))
    return area, weights.sum(axis=1) @ middle / area, weights.sum(axis=2) @ middle / area


def naive_inside(shape, radius, angle, x, y):
    """Other definitions of the same shapes; x, y are pixels from the centre of mass, y upwards."""
    radius *= 1 + 1e-9  # what is on the edge is inside
    turned = (x + 1j * y) * np.exp(-1j * angle)
    if shape == "square":
        corners = radius * np.exp(1j * np.pi / 4 * np.array([1, 3, 5, 7]))
        sides = zip(corners, np.roll(corners, -1), strict=True)
        return np.all([((b - a).conjugate() * (turned - a)).imag >= 0 for a, b in sides], axis=0)
    if shape == "ellipse":
        focus = 0.8 * radius
        return abs(turned - focus) + abs(turned + focus) <= 2 * radius
    # The heart above the tip of a square on its corner: y between |x| and the upper edge of the two discs.
    unit = radius / (math.sqrt(2) + (math.pi + 4 / 3) / (math.sqrt(2) * (math.pi + 4)))
    x, y = turned.real, turned.imag + radius
    lobe = unit**2 - (abs(x) - unit / math.sqrt(2)) ** 2
    upper = unit * 3 / math.sqrt(2) + np.sqrt(np.maximum(lobe, 0))
    lower = np.where(abs(x) <= unit * math.sqrt(2), abs(x), unit * 3 / math.sqrt(2) - np.sqrt(np.maximum(lobe, 0)))
    return (lobe >= 0) & (y >= lower) & (y <= upper)


@pytest.mark.parametrize("size", [32, 21])
def test_a_pixel_is_the_covered_share_of_the_naive_shape(size):
    made = sprites(40, size=size, seed=3, positions=5)
    at = (np.arange(16 * size) + 0.5) / 16
    for k, (radius, angle, x, y) in enumerate(zip(*truth(made, size, 6, 8, 5), strict=True)):
        shape = list(SHAPES)[made.factors[k, 0]]
        inside = naive_inside(shape, radius, angle, at[None, :] - x, y - at[:, None])
        covered = 255 * inside.reshape(size, 16, size, 16).mean(axis=(1, 3))
        np.testing.assert_allclose(made.pixels[k, ..., 0], covered, atol=1.5)


def test_golden_pixels_of_a_square():
    # Half its side is 8 √½ = 5.657 about (9, 9): from 3.343, where 11 of the 16 samples of pixel 3 are inside.
    picture = sprites(shapes=["square"], rotations=1).pixels[5 * 64, ..., 0]
    share = np.zeros(32)
    share[4:14] = 1
    share[[3, 14]] = 11 / 16
    np.testing.assert_array_equal(picture, np.round(255 * share * share[:, None]))


def test_the_whole_grid_comes_in_order(grid):
    assert grid.names == ("shape", "scale", "rotation", "x", "y")
    assert grid.sizes == (3, 6, 8, 8, 8)
    assert len(grid) == len(grid.pixels) == 9216
    assert grid.factors.tolist() == [list(row) for row in itertools.product(*map(range, grid.sizes))]
    assert grid.pixels.dtype == np.uint8
    assert grid.factors.dtype == np.int64


@pytest.mark.parametrize(
    "options",
    [{}, {"size": 64, "rotations": 20, "positions": 3}, {"size": 16, "positions": 9}, {"size": 28, "scales": 3}],
    ids=str,
)
def test_no_two_combinations_give_the_same_picture(options):
    made = sprites(**options)
    assert len({picture.tobytes() for picture in made.pixels}) == len(made) == math.prod(made.sizes)


@pytest.mark.parametrize(("size", "positions"), [(32, 8), (32, 17), (33, 17), (16, 3), (24, 1)])
def test_the_whole_shape_is_in_the_frame_at_its_place(size, positions):
    made = sprites(size=size, positions=positions, scales=3, rotations=3)
    radius, _, x, y = truth(made, size, 3, 3, positions)
    area, centre_x, centre_y = mass(made)
    expected = np.array([AREAS[shape] for shape in SHAPES])[made.factors[:, 0]] * radius**2
    outline = 6 * radius
    assert (abs(area - expected) <= outline / 32).all()  # half a sample along it
    np.testing.assert_allclose(centre_x, x, atol=1 / 32)
    np.testing.assert_allclose(centre_y, y, atol=1 / 32)
    for place in (x, y):
        assert (place - radius).min() >= 0
        assert (place + radius).max() <= size


def test_pictures_that_differ_in_position_are_translations(grid):
    pictures = grid.pixels.reshape(*grid.sizes, 32, 32)
    for x, y in itertools.product(range(8), repeat=2):
        moved = np.roll(pictures[:, :, :, 0, 0], (2 * y, 2 * x), axis=(-2, -1))
        np.testing.assert_array_equal(pictures[:, :, :, x, y], moved)


def test_an_ellipse_turns_counter_clockwise_by_the_angle_of_its_number():
    made = sprites(shapes=["ellipse"], rotations=12, positions=1, scales=1, size=64)
    at = np.arange(64) - 31.5
    for k, picture in enumerate(made.pixels[..., 0] / 255.0):
        across = [(picture * a * b).sum() for a, b in ((at, at), (at, -at[:, None]), (at[:, None], at[:, None]))]
        angle = math.atan2(2 * across[1], across[0] - across[2]) / 2
        assert math.degrees(angle) == pytest.approx(7.5 * k, abs=0.2)


def test_a_heart_stands_on_its_tip_and_turns_counter_clockwise():
    made = sprites(size=128, shapes=["heart"], rotations=2, positions=1, scales=1)
    upright, turned = made.pixels[..., 0] > 127
    np.testing.assert_array_equal(upright, upright[:, ::-1])
    rows = np.flatnonzero(upright.any(axis=1))
    assert upright[rows[-1]].sum() <= 2 < upright[rows[2]].sum()
    places = np.argwhere(turned) - 63.5
    tip = places[np.hypot(*places.T).argmax()]
    np.testing.assert_allclose(tip, 32 * math.sqrt(0.5), atol=1.5)  # to the lower right


def test_a_sample_is_drawn_from_the_grid_by_the_seed(grid):
    made = sprites(500, seed=7)
    numbers = np.ravel_multi_index(tuple(made.factors.T), grid.sizes)
    np.testing.assert_array_equal(made.pixels, grid.pixels[numbers])
    assert len(set(numbers)) == 500
    np.testing.assert_array_equal(made.factors, sprites(500, seed=7).factors)
    assert not np.array_equal(made.factors, sprites(500, seed=8).factors)
    # Each value of a factor is as likely as the others.
    for factor, size in zip(made.factors.T, made.sizes, strict=True):
        np.testing.assert_allclose(np.bincount(factor, minlength=size), 500 / size, atol=5 * math.sqrt(500 / size))


def test_all_of_the_grid_can_be_drawn():
    made = sprites(3 * 2 * 4 * 9, seed=1, scales=2, rotations=4, positions=3)
    assert len({tuple(row) for row in made.factors}) == 216


def test_the_shapes_are_numbered_as_given(grid):
    made = sprites(shapes=["heart", "square"])
    assert made.sizes == (2, 6, 8, 8, 8)
    np.testing.assert_array_equal(made.pixels[:3072], grid.pixels[6144:])
    np.testing.assert_array_equal(made.pixels[3072:], grid.pixels[:3072])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size=0 is not possible. Give a whole number of at least 1"),
        ({"scales": 1.5}, "scales=1.5 is not possible"),
        ({"rotations": True}, "rotations=True is not possible"),
        ({"positions": -1}, "positions=-1 is not possible"),
        ({"n": 0}, "n=0 is not possible"),
        ({"n": 10, "seed": -1}, "seed=-1 is not possible. Give a whole number of at least 0"),
        ({"n": 9217}, "n=9217 sprites are more than the 9216 combinations"),
        ({"positions": 18}, "room for 17 positions, not for 18. Use fewer positions, or a size of at least 34"),
        ({"size": 8, "positions": 2}, "too small to tell 6 scales and 8 rotations apart"),
        ({"shapes": ["square", "cross"]}, "shape 'cross' does not exist. Choose one of: square, ellipse, heart"),
        ({"shapes": ["square", "square"]}, "not a list of different shapes"),
        ({"shapes": []}, "not a list of different shapes"),
        ({"shapes": "heart"}, "not a list of different shapes"),
    ],
)
def test_impossible_options_say_so(options, message):
    with pytest.raises(OptionError, match=message):
        sprites(**options)


def test_the_cure_for_too_many_positions_works():
    assert sprites(5, size=34, positions=18, rotations=2).pixels.shape == (5, 34, 34, 1)
