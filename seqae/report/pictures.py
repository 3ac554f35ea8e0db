"""Pictures of images: what went in and what came out, walks through the latent space, and samples.

Pure functions from arrays to a matplotlib Figure: they know no model. Images are floats in [0, 1], (..., H, W, K), K 1
(grey) or 3 (RGB). However many there are, they are drawn as one picture, each pixel as a square of whole screen pixels
at 100 dots per inch (up to 12 inches), so that nothing is blurred.
"""

from __future__ import annotations

__all__ = [
    "class_rows",
    "denoising_rows",
    "image_grid",
    "interpolation_rows",
    "latent_plane",
    "reconstruction_rows",
    "tile",
    "traversal_rows",
    "write_gif",
]

import math
import os
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from seqae.errors import DataError, OptionError
from seqae.report.canvas import QUIET, blank, finite_values, image_array, kl_names, literal, wrapped

Array = np.ndarray[Any, Any]

DPI = 100
IMAGE, SINGLE = 112, 240  # screen pixels of an image's longer side: at most, and of the only one in a row
COMFORT, MOST = 960, 1200  # screen pixels of a picture's side: wanted, and at most
TITLE_ROOM = 220  # screen pixels: however narrow the images are, a title has so much
GIF_SIDE = 224  # pixels of a moving picture's longer side, about


def tile(images: Any, *, gap: int = 1, group: int = 0) -> Array:
    """Lay images (R, S, H, W, K) out as one, (R (H + gap) - gap, S (W + gap) - gap, K), row 0 on top, gaps white.

    After every `group` rows, where it is not 0, the gap is four times as wide.
    """
    images = image_array(images, "RSHWK")
    rows, columns, height, width, depth = images.shape
    tops, lefts = _starts(rows, height, gap, group), _starts(columns, width, gap, 0)
    sheet = np.ones((int(tops[-1]) + height, int(lefts[-1]) + width, depth), np.float32)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            sheet[top : top + height, left : left + width] = images[row, column]
    return sheet


def image_grid(
    images: Any,
    *,
    row_names: Sequence[object] | None = None,
    column_names: Sequence[object] | None = None,
    across: str | None = None,
    group: int = 0,
    title: str | None = None,
) -> Figure:
    """Draw images (R, S, H, W, K) in R rows and S columns, named at the left and above, as one picture.

    across: what the column names are values of. group: so many rows belong together (see `tile`).
    """
    images = image_array(images, "RSHWK")
    rows, columns, height, width, _ = images.shape
    for what, names, count in (("row", row_names, rows), ("column", column_names, columns)):
        if names is not None and len(names) != count:
            raise DataError(f"got {len(names)} {what} names for {count} {what}s of images. Name each, or none.")
    sheet = tile(images, group=group)
    scale = _scale(sheet, max(height, width), columns)
    figure, axes = _sheet(sheet, scale, title)
    axes.set_xticks([])
    axes.set_yticks([])
    if row_names is not None:
        axes.set_yticks(_starts(rows, height, 1, group) + (height - 1) / 2, [literal(name) for name in row_names])
        axes.tick_params(axis="y", labelsize=_letters(9, height * scale))
    if column_names is not None:
        above = [literal(name) for name in column_names]
        size = _letters(9, height * scale)
        axes.set_xticks(_starts(columns, width, 1, 0) + (width - 1) / 2, above)
        if max(map(len, above)) * size * 0.95 > width * scale:  # wider than its column
            size = _letters(9, width * scale)
            axes.tick_params(axis="x", rotation=90)
        axes.tick_params(axis="x", labelsize=size)
    if across is not None:
        axes.set_xlabel(literal(across, 80), fontsize=9, loc="left", color=QUIET)
        axes.xaxis.set_label_position("top")
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    return _fitted(figure, axes, sheet, scale)


def reconstruction_rows(
    originals: Any, reconstructions: Any, *, columns: int = 10, title: str | None = "Reconstructions"
) -> Figure:
    """Draw originals (N, H, W, K) above their reconstructions, `columns` a row."""
    return _compared({"original": originals, "reconstruction": reconstructions}, columns, title)


def denoising_rows(
    clean: Any, noisy: Any, denoised: Any, *, columns: int = 10, title: str | None = "Denoising"
) -> Figure:
    """Draw clean images (N, H, W, K) above their noisy versions above what was made of these, `columns` a row."""
    return _compared({"clean": clean, "noisy": noisy, "denoised": denoised}, columns, title)


def latent_plane(
    decoded: Any,
    extent: tuple[float, float, float, float],
    *,
    names: tuple[str, str] = ("z1", "z2"),
    title: str | None = "Decoded latent plane",
) -> Figure:
    """Draw images over the latent plane they were decoded from, (N2, N1, H, W, K), z1 to the right and z2 upward.

    decoded[i, j] comes from the j-th of N1 even steps of z1 and the i-th of N2 even steps of z2. extent: z1 of the
    first and the last column, z2 of the first and the last row, in latent units: the centres of their images. As
    figure 4 of Kingma and Welling, "Auto-Encoding Variational Bayes" (2014), there with even steps of probability.
    """
    images = image_array(decoded, ("N2", "N1", "H", "W", "K"))
    rows, columns, height, width, _ = images.shape
    left, right, bottom, top = finite_values("the extent", extent, 4)
    if not (left < right and bottom < top and min(rows, columns) > 1):
        raise DataError(
            f"got {rows} x {columns} images from z1 {left:g} to {right:g} and z2 {bottom:g} to {top:g}; a plane needs "
            "at least 2 x 2 and values that rise. Give (first z1, last z1, first z2, last z2)."
        )
    sheet = tile(images[::-1], gap=0)
    scale = _scale(sheet, max(height, width), columns)
    half1, half2 = (right - left) / (columns - 1) / 2, (top - bottom) / (rows - 1) / 2
    edges = (left - half1, right + half1, bottom - half2, top + half2)
    figure, axes = _sheet(sheet, scale, title, edges)
    axes.set_xlabel(literal(names[0]), fontsize=9)
    axes.set_ylabel(literal(names[1]), fontsize=9, rotation=0, ha="right", va="center")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.tick_params(labelsize=8, length=3)
    return _fitted(figure, axes, sheet, scale)


def interpolation_rows(frames: Any, *, title: str | None = "Interpolation") -> Figure:
    """Draw the ways between P pairs of images, (P, S, H, W, K): each row from its first image to its last."""
    frames = image_array(frames, "PSHWK")
    names = [f"{share:.0f} %" for share in np.linspace(0, 100, frames.shape[1])]
    return image_grid(frames, column_names=names, across="share of the way", title=title)


def traversal_rows(
    frames: Any,
    values: Any,
    names: Sequence[str] | None = None,
    *,
    kl: Any = None,
    title: str | None = "Latent traversals",
) -> Figure:
    """Draw images (Z, S, H, W, K) decoded while one latent dimension a row takes the values (S,), the others held.

    names: Z, or z1, z2, ...; kl (Z,): each dimension's KL in nats, written beside its name.
    """
    frames = image_array(frames, "ZSHWK")
    values = finite_values("the traversal's values", values, frames.shape[1])
    named = kl_names(names, kl, len(frames))
    columns = [f"{value:+.3g}".replace("-", "−") if value else "0" for value in values]
    return image_grid(frames, row_names=named, column_names=columns, across="value of the dimension", title=title)


def class_rows(samples: Any, classes: Sequence[object], *, title: str | None = "Samples by class") -> Figure:
    """Draw S samples of each class in its row, (classes, S, H, W, K)."""
    return image_grid(samples, row_names=classes, title=title)


def write_gif(
    frames: Any, file: str | os.PathLike[str] | BinaryIO, *, seconds: float = 0.08, scale: int | None = None
) -> None:
    """Write frames (S, H, W, K) as a GIF that runs forth and back without end; equal neighbours become one.

    seconds: how long each is shown, rounded to hundredths, at least 0.02 (browsers slow down what is faster).
    scale: each pixel becomes so many in a square; a longer side of about 224 where not given. Grey values are exact,
    RGB is drawn in 256 colours a frame.
    """
    frames = image_array(frames, "SHWK")
    if not (math.isfinite(seconds) and 0.02 <= seconds <= 600):
        raise OptionError(f"seconds is {seconds}; a frame of a GIF is shown for 0.02 to 600. Take 0.08.")
    if scale is None:
        scale = max(1, round(GIF_SIDE / max(frames.shape[1:3])))
    if scale < 1 or scale != int(scale):
        raise OptionError(f"scale is {scale}; a pixel becomes a square of 1, 2, 3, ... Give a whole number.")
    pixels = np.rint(frames * 255).astype(np.uint8).repeat(int(scale), axis=1).repeat(int(scale), axis=2)
    there = [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in pixels]
    if there[0].mode == "RGB":
        there = [frame.quantize(256, dither=Image.Dither.NONE) for frame in there]
    way = there + there[-2:0:-1]
    way[0].save(file, format="GIF", save_all=True, append_images=way[1:], duration=round(seconds * 100) * 10, loop=0)


def _starts(count: int, size: int, gap: int, group: int) -> Array:
    """The first pixel of each of `count` images along one side of a sheet."""
    index = np.arange(count)
    return index * (size + gap) + (3 * gap * (index // group) if group else 0)


def _compared(kinds: dict[str, Any], columns: int, title: str | None) -> Figure:
    """Each kind of the same N images in its row, in blocks of `columns`; the last block's rest stays white."""
    if columns < 1:
        raise OptionError(f"columns is {columns}; a row holds at least 1 image. Take 10.")
    stacks = {name: image_array(images) for name, images in kinds.items()}
    if len({stack.shape for stack in stacks.values()}) > 1:
        shapes = ", ".join(f"{name} {stack.shape}" for name, stack in stacks.items())
        raise DataError(f"images that are compared have one shape, and these have: {shapes}. Give the same images.")
    images = np.stack(list(stacks.values()))  # (kinds, N, H, W, K)
    columns = min(columns, images.shape[1])
    blocks = -(-images.shape[1] // columns)
    full = np.ones((len(stacks), blocks * columns, *images.shape[2:]), np.float32)
    full[:, : images.shape[1]] = images
    grid = full.reshape(len(stacks), blocks, columns, *images.shape[2:]).swapaxes(0, 1)
    rows = grid.reshape(-1, columns, *images.shape[2:])
    return image_grid(rows, row_names=list(stacks) * blocks, group=len(stacks), title=title)


def _scale(sheet: Array, side: int, columns: int) -> float:
    """Screen pixels per image pixel: whole where the sheet is not wider or higher than the bound."""
    longest = max(sheet.shape[:2])
    fits = min(max(IMAGE, SINGLE // columns) // side, COMFORT // longest)
    return fits if fits > 1 else 2 if 2 * longest <= MOST else min(1.0, MOST / longest)


def _letters(points: float, room: float) -> float:
    """The size of letters in points for lines `room` screen pixels apart."""
    return max(3.0, min(points, 0.8 * room * 72 / DPI))


def _sheet(
    sheet: Array, scale: float, title: str | None, edges: tuple[float, float, float, float] | None = None
) -> tuple[Figure, Axes]:
    """Draw a sheet; `edges` are its left, right, bottom and top where they are not counted in pixels."""
    height, width = sheet.shape[:2]
    room = 5  # inches for the letters, more than they take: `_fitted` gives the rest back
    figure = blank(max(width * scale, TITLE_ROOM) / DPI + room, height * scale / DPI + room)
    axes = figure.add_subplot()
    axes.imshow(
        sheet[..., 0] if sheet.shape[-1] == 1 else sheet,
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="nearest" if scale >= 1 else "antialiased",  # fewer pixels than there are: their means
        extent=edges,
        aspect=1.0 if edges is None else (edges[1] - edges[0]) / (edges[3] - edges[2]) * height / width,
    )
    axes.set_anchor("NW")
    axes.spines[:].set_visible(edges is not None)
    text = wrapped(title, max(width * scale, TITLE_ROOM) / DPI)
    axes.set_title(text, loc="left", fontsize=11, weight="bold", pad=8)
    return figure, axes


def _fitted(figure: Figure, axes: Axes, sheet: Array, scale: float) -> Figure:
    """Give the figure the size at which the sheet's pixels are drawn `scale` screen pixels wide at 100 dpi."""
    wanted = np.array([max(sheet.shape[1] * scale, TITLE_ROOM), sheet.shape[0] * scale]) / DPI
    for _ in range(2):
        figure.draw_without_rendering()
        size = figure.get_size_inches()
        box = axes.get_position(original=True)
        figure.set_size_inches(size + wanted - size * [box.width, box.height])
    return figure
