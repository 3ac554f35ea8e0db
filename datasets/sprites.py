"""Pictures of one white shape on black whose factors are known: shape, scale, rotation, and position in x and y.

After dSprites (Matthey, Higgins, Hassabis & Lerchner, "dSprites: Disentanglement testing Sprites dataset", 2017), drawn
here rather than read. As there, no two combinations of factors give the same picture; other than there, rotations end
before 90 degrees (see `sprites`) and edges are smooth.
"""

from __future__ import annotations

__all__ = ["SHAPES", "Sprites", "sprites"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqae.errors import OptionError, choose

FACTORS = ("shape", "scale", "rotation", "x", "y")
_SUPER = 16  # samples along a pixel's side: 256 a pixel, as many as a byte can tell apart

# A square that stands on its corner has edges through many samples; without this their side would be up to rounding.
_ON_THE_EDGE = 1 + 1e-9


@dataclass(frozen=True, eq=False)
class Sprites:
    """Pictures and the factors that made them.

    pixels: (N, size, size, 1), 0 black to 255 white; factors: (N, 5), for each picture the number of its value of each
    factor, from 0; names (5,) of the factors; sizes (5,): how many values each has on the whole grid.
    """

    pixels: NDArray[np.uint8]
    factors: NDArray[np.int64]
    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def __len__(self) -> int:
        """Return N."""
        return len(self.pixels)


def sprites(
    n: int | None = None,
    *,
    size: int = 32,
    seed: int = 0,
    shapes: Sequence[str] = ("square", "ellipse", "heart"),
    scales: int = 6,
    rotations: int = 8,
    positions: int = 8,
) -> Sprites:
    """Return every combination of the factors in order, the last factor fastest, or `n` different ones at random.

    shape     of SHAPES, all of one circumradius about their centre of mass, which is where the position puts them
    scale     from half to full size in even steps; at full size the circumradius is a quarter of the frame
    rotation  k · 90 / rotations degrees, counter-clockwise. A square repeats after 90 degrees and an ellipse after 180:
              below 90 all differ, and a number means the same angle for each shape, which a range of its own for each
              shape would not give. A heart is therefore never seen upside down
    x, y      even steps of whole pixels, to the right and downwards, centred in the frame, as far as the steps allow
              without the shape leaving it: pictures that differ only in position are exact translations

    A pixel is its covered share of 16 x 16 samples. Raises OptionError where the frame is too small for the positions,
    or for the shapes to be told apart, and where `n` is more than there are combinations.
    """
    for name, number in {"size": size, "scales": scales, "rotations": rotations, "positions": positions}.items():
        _whole(name, number)
    shapes = _checked_shapes(shapes)
    sizes = (len(shapes), scales, rotations, positions, positions)
    step = _step(size, positions)
    chosen = _chosen(n, math.prod(sizes), seed)
    factors = np.stack(np.unravel_index(chosen, sizes), axis=1).astype(np.int64)

    pictures = _centred(shapes, scales, rotations, size, size - (positions - 1) * step)
    number = np.ravel_multi_index(tuple(factors[:, :3].T), sizes[:3])
    pixels = np.zeros((len(factors), size, size, 1), dtype=np.uint8)
    places = np.lib.stride_tricks.sliding_window_view(pixels[..., 0], pictures.shape[1:], axis=(1, 2), writeable=True)
    places[np.arange(len(factors)), step * factors[:, 4], step * factors[:, 3]] = pictures[number]
    return Sprites(pixels, factors, FACTORS, sizes)


# ---- shapes ----
# (x, y), y upwards, from the centre of mass, in circumradii -> whether the point is inside. All areas are about 2.


def _square(x: np.ndarray, y: np.ndarray) -> NDArray[np.bool_]:
    return np.maximum(np.abs(x), np.abs(y)) <= math.sqrt(0.5)


def _ellipse(x: np.ndarray, y: np.ndarray) -> NDArray[np.bool_]:
    return x**2 + (y / 0.6) ** 2 <= 1


def _heart(x: np.ndarray, y: np.ndarray) -> NDArray[np.bool_]:
    # A square of half side 1 on its corner, with a disc of radius 1 around the middle of each upper side. The centre of
    # mass lies `rise` above that of the square, and the lowest corner is the farthest point from it.
    rise = (math.pi + 4 / 3) / (math.sqrt(2) * (math.pi + 4))
    unit = math.sqrt(2) + rise
    x, y = x * unit, y * unit + rise
    along, across = (y + x) / math.sqrt(2), (y - x) / math.sqrt(2)
    discs = ((along - 1) ** 2 + across**2 <= 1) | (along**2 + (across - 1) ** 2 <= 1)
    return (np.maximum(np.abs(along), np.abs(across)) <= 1) | discs


SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], NDArray[np.bool_]]] = {
    "square": _square,
    "ellipse": _ellipse,
    "heart": _heart,
}


def _centred(shapes: Sequence[str], scales: int, rotations: int, size: int, side: int) -> NDArray[np.uint8]:
    """Return each shape at each scale and rotation in the middle of a small picture, (combinations, side, side)."""
    sample = (np.arange(side * _SUPER) + 0.5) / _SUPER - side / 2
    x, y = sample[None, :], -sample[:, None]
    pictures = []
    for shape in shapes:
        for radius in _ON_THE_EDGE * size / 4 * np.linspace(1, 0.5, scales)[::-1]:
            for angle in np.pi / 2 * np.arange(rotations) / rotations:
                cosine, sine = np.cos(angle) / radius, np.sin(angle) / radius
                inside = SHAPES[shape](cosine * x + sine * y, cosine * y - sine * x)
                covered = inside.reshape(side, _SUPER, side, _SUPER).mean(axis=(1, 3))
                pictures.append(np.round(255 * covered).astype(np.uint8))
    if len({picture.tobytes() for picture in pictures}) < len(pictures):
        raise OptionError(
            f"size={size} is too small to tell {scales} scales and {rotations} rotations apart. "
            "Use a larger size, or fewer of them."
        )
    return np.stack(pictures)


# ---- options ----


def _checked_shapes(shapes: Sequence[str]) -> tuple[str, ...]:
    if isinstance(shapes, str) or not len(shapes) or len(set(shapes)) < len(shapes):
        raise OptionError(f"shapes={shapes!r} is not a list of different shapes. Give some of {', '.join(SHAPES)}.")
    for shape in shapes:
        choose(SHAPES, shape, "shape")
    return tuple(shapes)


def _step(size: int, positions: int) -> int:
    """Return the pixels between positions: as many as leave the largest shape, half a frame wide, room for itself."""
    room = size - math.ceil(size / 2)
    if positions - 1 > room:
        raise OptionError(
            f"size={size} has room for {room + 1} positions, not for {positions}. "
            f"Use fewer positions, or a size of at least {2 * (positions - 1)}."
        )
    return room // (positions - 1) if positions > 1 else 0


def _chosen(n: int | None, combinations: int, seed: int) -> NDArray[np.int64]:
    if n is None:
        return np.arange(combinations)
    _whole("n", n)
    _whole("seed", seed, least=0)
    if n > combinations:
        raise OptionError(
            f"n={n} sprites are more than the {combinations} combinations of factors. "
            "Use fewer, or more scales, rotations or positions."
        )
    return np.random.default_rng(seed).choice(combinations, size=n, replace=False)


def _whole(name: str, number: int, least: int = 1) -> None:
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
        raise OptionError(f"{name}={number!r} is not possible. Give a whole number of at least {least}.")
