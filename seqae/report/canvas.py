"""What all pictures share: a figure on the Agg canvas, the colours, the letters, and checks of what is drawn.

Classes begin with the colours of Okabe and Ito (2008), told apart by colour-blind readers; those after them lie as far
as can be from each other and from white (in CIELAB).
"""

from __future__ import annotations

__all__ = [
    "CLASS_COLOURS",
    "QUIET",
    "blank",
    "finite_values",
    "gradient",
    "image_array",
    "kl_names",
    "literal",
    "quiet_frame",
    "wrapped",
]

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from seqae.errors import DataError

Array = np.ndarray[Any, Any]

CLASS_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#262626", "#3C0084", "#9CE454", "#606000",
    "#780018", "#CC78FC", "#FC3C6C", "#600048", "#FC9C84", "#0078FC", "#008400", "#CCC06C", "#84786C", "#CC0C90",
)  # fmt: skip
QUIET = "#6E6E6E"
LETTERS_PER_INCH = 9.5  # of a bold title at 11 points


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches, laid out by its content."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def gradient() -> ListedColormap:
    """Viridis without its last yellow, which cannot be seen on white."""
    return ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)), name="viridis to green")


def literal(text: object, most: int = 28) -> str:
    """A name as it is: a dollar sign starts no formula, and of more than `most` letters the middle goes."""
    name = str(text)
    name = name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"
    return name.replace("$", r"\$")


def wrapped(title: str | None, inches: float) -> str:
    """A title in lines that fit into so many inches; empty where there is none."""
    lines = textwrap.wrap(title or "", max(12, int(inches * LETTERS_PER_INCH)))
    return "\n".join(literal(line, len(line)) for line in lines)


def kl_names(names: Sequence[str] | None, kl: Any, count: int) -> list[str]:
    """The names of `count` latent dimensions, z1, z2, ... where none are given, each with its KL in nats, (Z,)."""
    names = [f"z{i + 1}" for i in range(count)] if names is None else list(names)
    values = None if kl is None else finite_values("the KL", kl, count)
    for what, given in {"names": names, "values of the KL": names if values is None else values}.items():
        if len(given) != count:
            raise DataError(f"got {len(given)} {what} for {count} latent dimensions. Give one for each.")
    return names if values is None else [f"{name}  KL {nats:.2f}" for name, nats in zip(names, values, strict=True)]


def image_array(images: Any, letters: Sequence[str] = "NHWK") -> Array:
    """Check images, one axis per letter, K 1 (grey) or 3 (RGB), values in [0, 1]; return them as float32."""
    array = np.asarray(images)
    if array.ndim != len(letters) or array.shape[-1] not in (1, 3) or array.size == 0 or array.dtype.kind not in "bfiu":
        raise DataError(
            f"images have the shape {array.shape} and the type {array.dtype}; this picture needs numbers of the shape "
            f"({', '.join(letters)}) with K 1 (grey) or 3 (RGB), none of them 0. Reshape them."
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= -1e-6 and high <= 1 + 1e-6):  # also where one is NaN
        raise DataError(
            f"images hold values from {low:.4g} to {high:.4g}; a picture needs 0 to 1. "
            "Divide bytes by 255, clip noisy images, look for NaN."
        )
    return np.clip(array.astype(np.float32), 0, 1)


def finite_values(what: str, values: Any, count: int) -> Array:
    """Check (count,) finite numbers and return them as floats."""
    array = np.asarray(values)
    if array.shape != (count,) or array.dtype.kind not in "bfiu" or not np.isfinite(array).all():
        raise DataError(
            f"{what} has the shape {array.shape} and the type {array.dtype}; "
            f"this picture needs {count} finite numbers, one for each. Give as many as are drawn."
        )
    return array.astype(float)


def quiet_frame(axes: Axes) -> None:
    """Two spines, a light grid, small ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E9E9E9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, length=3)
