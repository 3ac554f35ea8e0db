"""A picture of where windows or images lie in the latent space, coloured by class, by a value or by time."""

from __future__ import annotations

__all__ = ["latent_scatter"]

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba_array
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from seqae.errors import DataError
from seqae.report.canvas import CLASS_COLOURS, blank, finite_values, gradient, literal, quiet_frame, wrapped

Array = np.ndarray[Any, Any]

WIDTH, HEIGHT = 6.4, 5.6
ROW = 0.42  # inches of a class's histogram
LETTER = 0.016  # a bold letter's width as a share of the axes
MANY = 200  # points among which a class is found faster by a name than by its colour


def latent_scatter(
    z: Any,
    colour: Any = None,
    *,
    names: Sequence[object] | None = None,
    label: str | None = None,
    axis_names: Sequence[str] | None = None,
    title: str | None = "Latent space",
) -> Figure:
    """Draw points z (N, Z): two dimensions as they are, more by two principal components, one by histograms.

    colour (N,): whole numbers are classes 0, 1, ..., at most 20, with a legend of their `names`; floats and dates are
    values with a colour bar named by `label` (one dimension: z against the value). axis_names: of Z dimensions, z1, z2,
    ... where not given. Axes of two dimensions have one scale, so that distances are seen as they are.
    """
    z = np.asarray(z)
    if z.ndim != 2 or 0 in z.shape or z.dtype.kind not in "bfiu" or not np.isfinite(z).all():
        raise DataError(
            f"latent codes have the shape {z.shape} and the type {z.dtype}; this picture needs finite numbers (N, Z). "
            "Give one row per window."
        )
    z = z.astype(float)
    count, size = z.shape
    axis_names = [f"z{i + 1}" for i in range(size)] if axis_names is None else [literal(name) for name in axis_names]
    if len(axis_names) != size:
        raise DataError(f"got {len(axis_names)} axis names for {size} latent dimensions. Give one for each.")
    classes, values = _read_colour(colour, count)
    class_names = _read_names(classes, names)
    if size > 2:
        z, axis_names = _principal(z)
    figure = blank(WIDTH, HEIGHT if size > 1 or values is not None else max(2.6, 1.2 + ROW * max(1, len(class_names))))
    axes = figure.add_subplot()
    quiet_frame(axes)
    axes.set_xlabel(axis_names[0], fontsize=9)
    if size > 1:
        axes.set_ylabel(axis_names[1], fontsize=9)
        axes.set_aspect("equal", adjustable="datalim")
        if values is None:
            _draw_points(axes, z[:, :2], _shades(count, classes))
        else:
            mappable, beyond = _colours(values)
            _draw_points(axes, z[:, :2], mappable.to_rgba(values))
            _colour_bar(figure, axes, mappable, beyond, colour, label)
        if classes is not None:
            _name_classes(figure, axes, z[:, :2], classes, class_names)
    elif values is not None:
        axes.set_ylabel(literal(label or "value"), fontsize=9)
        _date_axis(axes.yaxis, colour)
        _draw_points(axes, np.column_stack([z[:, 0], values]), _shades(count, None))
    else:
        _draw_histograms(axes, z[:, 0], classes, class_names)
    axes.set_title(wrapped(title, WIDTH - 1), loc="left", fontsize=11, weight="bold")
    return figure


def _read_colour(colour: Any, count: int) -> tuple[Array | None, Array | None]:
    """Classes (N,) or values (N,), whichever the type says; dates as days since 1970."""
    if colour is None:
        return None, None
    array = np.asarray(colour)
    if array.shape != (count,):
        raise DataError(f"colour has the shape {array.shape} for {count} points. Give one label or value for each.")
    if array.dtype.kind == "M" and not np.isnat(array).any():
        return None, np.asarray(date2num(array), float)
    if array.dtype.kind not in "biu":
        return None, finite_values("colour", array, count)
    most = len(CLASS_COLOURS)
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= most:
        raise DataError(
            f"colour holds whole numbers from {low} to {high}; classes are 0 to {most - 1}, as many as can be told "
            "apart. Draw fewer classes, or give floats for a colour bar."
        )
    return array.astype(int), None


def _read_names(classes: Array | None, names: Sequence[object] | None) -> list[str]:
    """The name of each class by its number; the number itself where no names are given."""
    if classes is None:
        if names is not None:
            raise DataError("names are those of classes, and colour holds none. Give whole numbers as colour.")
        return []
    needed = int(classes.max()) + 1
    if names is None:
        return [str(number) for number in range(needed)]
    if len(names) < needed:
        raise DataError(f"got {len(names)} names, and colour holds classes up to {needed - 1}. Name each.")
    return [literal(name) for name in names]


def _principal(z: Array) -> tuple[Array, list[str]]:
    """The first two principal components (N, 2), and their names with the share of the variance each has."""
    from sklearn.decomposition import PCA

    centred = z - z.mean(axis=0)
    shares = np.zeros(2)
    if len(z) > 1 and np.ptp(z, axis=0).any():  # a collapsed latent space is one point, and a picture as well
        pca = PCA(2)
        centred, shares = pca.fit_transform(centred), pca.explained_variance_ratio_
    names = [f"principal component {i + 1} ({100 * share:.0f} % of variance)" for i, share in enumerate(shares)]
    return centred[:, :2], names


def _shades(count: int, classes: Array | None) -> Array:
    """The colour of each point's class, (N, 4); one for all without classes."""
    return to_rgba_array(CLASS_COLOURS)[np.zeros(count, int) if classes is None else classes]


def _draw_points(axes: Axes, points: Array, shades: Array) -> None:
    """Dots that are seen when they are few, and let each other be seen when they are many."""
    count = len(points)
    order = np.random.default_rng(0).permutation(count)  # else the last class would cover the others
    axes.scatter(
        points[order, 0],
        points[order, 1],
        c=shades[order],
        s=float(np.clip(12000 / count, 1.8, 26)),
        alpha=float(np.clip(60 / np.sqrt(count), 0.25, 0.85)),
        linewidths=0,
        rasterized=True,
    )


def _draw_histograms(axes: Axes, z: Array, classes: Array | None, names: list[str]) -> None:
    """One histogram a class, all of the same area, the first class on top; one of all points without classes."""
    edges = np.histogram_bin_edges(z, bins=int(np.clip(np.sqrt(len(z)), 10, 60)))
    if classes is None:
        axes.stairs(np.histogram(z, edges)[0], edges, fill=True, color=CLASS_COLOURS[0])
        axes.set_ylabel("points", fontsize=9)
        return
    present = np.unique(classes)
    shares = np.stack([np.histogram(z[classes == number], edges)[0] / np.sum(classes == number) for number in present])
    heights = 0.92 * shares / shares.max()
    for place, (number, height) in enumerate(zip(present[::-1], heights[::-1], strict=True)):
        axes.stairs(height + place, edges, baseline=place, fill=True, color=CLASS_COLOURS[number], label=names[number])
    axes.set_yticks(range(len(present)), [names[number] for number in present[::-1]])
    axes.set_ylim(-0.05, len(present))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _name_classes(figure: Figure, axes: Axes, points: Array, classes: Array, names: list[str]) -> None:
    """A legend outside; among many points, each class's name at its median, where it covers no other name."""
    present = np.unique(classes)
    medians = np.stack([np.median(points[classes == number], axis=0) for number in present])
    span = max(float(np.ptp(points, axis=0).max()), 1e-300)  # of the longer axis: both have one scale
    named: list[tuple[Array, float]] = []
    for number, median in zip(present, medians / span, strict=True):
        width = LETTER * len(names[number])
        covered = any(
            abs(median[0] - other[0]) < (width + room) / 2 and abs(median[1] - other[1]) < 2 * LETTER
            for other, room in named
        )
        if covered or len(points) < MANY:
            continue
        named.append((median, width))
        axes.annotate(
            names[number],
            tuple(median * span),
            ha="center",
            va="center",
            fontsize=8,
            weight="bold",
            color=CLASS_COLOURS[number],
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
    handles = [
        Line2D([], [], linestyle="none", marker="o", markersize=5, color=CLASS_COLOURS[number], label=names[number])
        for number in present
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)


def _colours(values: Array) -> tuple[ScalarMappable, str]:
    """The colours of values, and on which side some lie beyond them: a few far ones would take the others' colours."""
    low, high = float(values.min()), float(values.max())
    inner = np.quantile(values, [0.01, 0.99])
    beyond = "neither"
    if high - low > 1.5 * (inner[1] - inner[0]) > 0:
        (low, high), beyond = inner, "both"
    return ScalarMappable(Normalize(low, high), gradient()), beyond


def _colour_bar(
    figure: Figure, axes: Axes, mappable: ScalarMappable, beyond: str, colour: Any, label: str | None
) -> None:
    bar = figure.colorbar(mappable, ax=axes, aspect=35, pad=0.02, extend=beyond)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=3)
    _date_axis(bar.ax.yaxis, colour)
    if label:
        bar.set_label(literal(label, 60), fontsize=9)


def _date_axis(axis: Any, colour: Any) -> None:
    """Ticks of dates where `colour` holds dates."""
    if np.asarray(colour).dtype.kind == "M":
        locator = AutoDateLocator(minticks=4, maxticks=9)
        axis.set_major_locator(locator)
        axis.set_major_formatter(ConciseDateFormatter(locator))
