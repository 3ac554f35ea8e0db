"""Pictures of windows of a series: walks through the latent space, samples over real windows, and interpolations.

Pure functions from arrays to a matplotlib Figure: they know no model. Windows are (..., T, C) in the series' own units;
NaN is a gap. A channel has one y axis in all panels of a picture. `x` (T,) is where the steps lie: numbers, datetime64,
or one text a step; 0, 1, ... where not given. `units` are one text a channel, "" for none.
"""

from __future__ import annotations

__all__ = ["series_interpolation", "series_samples", "series_traversals"]

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from seqae.errors import DataError
from seqae.report.canvas import (
    CLASS_COLOURS,
    QUIET,
    blank,
    finite_values,
    gradient,
    kl_names,
    literal,
    quiet_frame,
    wrapped,
)

Array = np.ndarray[Any, Any]
Panels = dict[Axes, int]  # which channel each panel shows

COLUMNS, ROWS = 4, 24  # panels side by side and below each other, at most
WIDTHS, HEIGHT = {1: 6.4, 2: 3.7, 3: 3.0, 4: 2.6}, 1.45  # inches of a panel, by how many stand side by side
LINES = 100  # of one kind in a panel: more are a blot
REAL, SAMPLED = "#A6A6A6", CLASS_COLOURS[0]


def series_traversals(
    frames: Any,
    values: Any,
    channels: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    kl: Any = None,
    x: Any = None,
    x_label: str | None = None,
    units: Sequence[str] | None = None,
    title: str | None = "Latent traversals",
) -> Figure:
    """Draw windows (Z, S, T, C) decoded while one latent dimension a row takes the values (S,), the others held.

    Columns are channels, the first four of more. names: Z, or z1, z2, ...; kl (Z,): each dimension's KL in nats,
    written below its name.
    """
    frames = _windows("frames", frames, "ZSTC", channels)
    values = finite_values("the traversal's values", values, frames.shape[1])
    sides = [name.replace("  KL", "\nKL") for name in kl_names(names, kl, len(frames))]
    headings = _headings(channels, units)[:COLUMNS]
    figure, grid = _grid(len(frames), len(headings), title)
    mappable = ScalarMappable(Normalize(values.min(), values.max()), gradient())
    places = _places(x, frames.shape[2])
    panels: Panels = {}
    for row, (dimension, side) in enumerate(zip(frames, sides, strict=True)):
        for channel, heading in enumerate(headings):
            axes = grid[row, channel]
            _draw_lines(axes, places, dimension[..., channel], mappable.to_rgba(values))
            _name_panel(axes, side if channel == 0 else "", heading if row == 0 else "")
            panels[axes] = channel
    _finish(figure, panels, _limits(frames), places, x, x_label, channels)
    _colour_bar(figure, grid, mappable, "value of the dimension")
    return figure


def series_samples(
    samples: Any,
    channels: Sequence[str],
    *,
    real: Any = None,
    groups: Any = None,
    real_groups: Any = None,
    x: Any = None,
    x_label: str | None = None,
    units: Sequence[str] | None = None,
    title: str | None = "Samples",
) -> Figure:
    """Draw sampled windows (N, T, C) over real ones (M, T, C) in grey, a panel for each channel or group.

    groups (N,), real_groups (M,): what each window belongs to (the month of its condition), drawn in the order in which
    the samples' groups first come; real windows without groups stand behind every panel, those of groups without
    samples nowhere. With groups and several channels, rows are groups and columns channels, the first four of more.
    Of more than 100 windows of one kind in a panel, 100 at even distances are drawn, and the legend says so.
    """
    samples = _windows("samples", samples, "NTC", channels)
    steps = samples.shape[1]
    behind = samples[:0] if real is None else _windows("real windows", real, "MTC", channels)
    if behind.shape[1] != steps:
        raise DataError(f"real windows have {behind.shape[1]} steps, samples {steps}. Give windows of one length.")
    if real_groups is not None and (groups is None or real is None):
        raise DataError("real_groups are given without groups or without real windows. Give all three.")
    member, names = _memberships("groups", groups, len(samples), [])
    behind_member, _ = _memberships("real_groups", real_groups, len(behind), names)
    headings = _headings(channels, units)
    table = groups is not None and len(headings) > 1
    headings = headings[: COLUMNS if table else COLUMNS * ROWS]
    shown = [(group, channel) for group in range(max(1, len(names))) for channel in range(len(headings))]
    columns = len(headings) if table else min(COLUMNS, int(np.ceil(np.sqrt(len(shown)))))
    figure, grid = _grid(-(-len(shown) // columns), columns, title)
    for axes in grid.flat[len(shown) :]:
        axes.remove()
    places = _places(x, steps)
    panels: Panels = {}
    thinned = {SAMPLED: False, REAL: False}
    for axes, (group, channel) in zip(grid.flat, shown, strict=False):
        for colour, windows, belongs, width in ((REAL, behind, behind_member, 1.6), (SAMPLED, samples, member, 0.8)):
            mine = windows[(belongs == group) | (belongs == -1)]
            thinned[colour] |= len(mine) > LINES
            mine = mine[np.linspace(0, len(mine) - 1, min(len(mine), LINES)).astype(int)]
            alpha = float(np.clip(16 / max(1, len(mine)), 0.2, 0.8))
            _draw_lines(axes, places, mine[..., channel], colour, alpha=alpha, linewidths=width)
        leftmost = len(panels) % columns == 0
        if table:
            _name_panel(axes, str(names[group]) if leftmost else "", headings[channel] if group == 0 else "")
        else:
            _name_panel(axes, "", str(names[group]) if names else headings[channel])
        panels[axes] = channel
    if names and not table:
        figure.supylabel(literal(headings[0]), fontsize=9)
    _finish(figure, panels, _limits(samples, behind), places, x, x_label, channels)
    kinds = {"sampled": SAMPLED} | ({"real": REAL} if len(behind) else {})
    handles = [
        Line2D([], [], color=colour, label=name + (f" ({LINES} a panel)" if thinned[colour] else ""))
        for name, colour in kinds.items()
    ]
    figure.legend(handles=handles, loc="outside lower right", ncols=2, frameon=False, fontsize=9)
    return figure


def series_interpolation(
    frames: Any,
    channels: Sequence[str],
    *,
    x: Any = None,
    x_label: str | None = None,
    units: Sequence[str] | None = None,
    title: str | None = "Interpolation",
) -> Figure:
    """Draw the way from one window to another, (S, T, C), a line for each of S even steps, both ends thick.

    Rows are channels, the first four of more.
    """
    frames = _windows("frames", frames, "STC", channels)
    shares = np.linspace(0, 100, len(frames))
    headings = _headings(channels, units)[:COLUMNS]
    figure, grid = _grid(len(headings), 1, title)
    mappable = ScalarMappable(Normalize(0, 100), gradient())
    widths = np.where(np.isin(shares, (0, 100)), 2.2, 1.0)
    places = _places(x, frames.shape[1])
    panels: Panels = {}
    for channel, heading in enumerate(headings):
        axes = grid[channel, 0]
        _draw_lines(axes, places, frames[..., channel], mappable.to_rgba(shares), linewidths=widths)
        _name_panel(axes, "", heading)
        panels[axes] = channel
    _finish(figure, panels, _limits(frames), places, x, x_label, channels)
    _colour_bar(figure, grid, mappable, "share of the way (%)")
    return figure


def _windows(what: str, windows: Any, letters: str, channels: Sequence[str]) -> Array:
    """Check windows, one axis per letter, the last as long as `channels`; NaN is a gap, and not all may be."""
    array = np.asarray(windows)
    shape = f"({', '.join(letters)})"
    fits = array.ndim == len(letters) and 0 not in array.shape and array.shape[-1] == len(channels)
    if not fits or array.dtype.kind not in "fiu":
        raise DataError(
            f"{what} have the shape {array.shape} and the type {array.dtype}; this picture needs numbers of the shape "
            f"{shape} with C = {len(channels)}, as many as channel names. Reshape them."
        )
    if np.isinf(array).any() or np.isnan(array).all():
        raise DataError(f"{what} hold infinite values, or nothing but NaN; lines need numbers. Look where they arose.")
    return array.astype(float)


def _headings(channels: Sequence[str], units: Sequence[str] | None) -> list[str]:
    """Each channel's name with its unit."""
    if units is None:
        return list(channels)
    if len(units) != len(channels):
        raise DataError(f'got {len(units)} units for {len(channels)} channels. Give one for each, "" for none.')
    return [f"{name} ({unit})" if unit else name for name, unit in zip(channels, units, strict=True)]


def _memberships(what: str, groups: Any, count: int, names: list[Any]) -> tuple[Array, list[Any]]:
    """Which of `names` each of `count` windows has, -2 for none of them; -1 everywhere, for all, without groups.

    Names that are not given are those that come, in their order.
    """
    if groups is None:
        return np.full(count, -1), names
    given = np.asarray(groups)
    if given.shape != (count,):
        raise DataError(f"{what} has the shape {given.shape} for {count} windows. Give one for each.")
    listed = given.tolist()
    names = names or list(dict.fromkeys(listed))
    number = {name: place for place, name in enumerate(names)}
    return np.array([number.get(name, -2) for name in listed]), names


def _grid(rows: int, columns: int, title: str | None) -> tuple[Figure, Array]:
    """A figure of so many panels, its title at the left."""
    if rows > ROWS:
        raise DataError(
            f"the picture would have {rows} rows of panels; {ROWS} can be read. Give fewer dimensions or groups."
        )
    width = WIDTHS[columns] * columns + 1.2
    figure = blank(width, max(2.6, HEIGHT * rows * (1.5 if columns == 1 else 1) + 0.9))
    grid = figure.subplots(rows, columns, squeeze=False)
    if title:
        figure.suptitle(wrapped(title, width), x=0.01, ha="left", fontsize=11, weight="bold")
    return figure, grid


def _draw_lines(axes: Axes, places: Array, windows: Array, colours: Any, **style: Any) -> None:
    """One line per window (n, T); a step between two gaps, or alone, is a dot."""
    points = np.stack(np.broadcast_arrays(places, windows), axis=-1)
    lines = LineCollection(list(points), colors=colours, **{"linewidths": 1.0} | style)
    lines.set_in_layout(False)  # they end within the axes, and measuring them takes time
    axes.add_collection(lines, autolim=False)
    gone = np.pad(np.isnan(windows), ((0, 0), (1, 1)), constant_values=True)
    line, step = np.nonzero(~gone[:, 1:-1] & gone[:, :-2] & gone[:, 2:])
    if len(line):
        shades = colours if isinstance(colours, str) else np.asarray(colours)[line]
        axes.scatter(places[step], windows[line, step], s=5, c=shades, linewidths=0, alpha=style.get("alpha"))


def _name_panel(axes: Axes, side: str, above: str) -> None:
    quiet_frame(axes)
    axes.set_title(literal(above), loc="left", fontsize=9)
    axes.set_ylabel("\n".join(map(literal, side.splitlines())), rotation=0, ha="right", va="center", fontsize=9)


def _limits(*stacks: Array) -> Array:
    """The lowest and the highest value of each channel, (C, 2), with a margin."""
    flat = np.concatenate([stack.reshape(-1, stack.shape[-1]) for stack in stacks])
    low, high = np.fmin.reduce(flat, axis=0), np.fmax.reduce(flat, axis=0)
    margin = np.where(high > low, 0.06 * (high - low), 0.5)
    return np.nan_to_num(np.stack([low - margin, high + margin], axis=1), nan=0.5)


def _places(x: Any, steps: int) -> Array:
    """Where the steps lie on the x axis: days since 1970 for dates, their number for texts."""
    if x is None:
        return np.arange(steps, dtype=float)
    given = np.asarray(x)
    if given.dtype.kind in "UO" and given.shape == (steps,) and all(isinstance(text, str) for text in given.tolist()):
        return np.arange(steps, dtype=float)
    if given.dtype.kind == "M" and given.shape == (steps,) and not np.isnat(given).any():
        return np.asarray(date2num(given), float)
    return finite_values("x", given, steps)


def _finish(
    figure: Figure, panels: Panels, limits: Array, places: Array, x: Any, x_label: str | None, channels: Sequence[str]
) -> None:
    """One scale a channel, tick labels only at the left and below, what x is, and how many channels are not shown."""
    at = {}
    for axes, channel in panels.items():
        spec = axes.get_subplotspec()
        assert spec is not None
        at[spec.rowspan.start, spec.colspan.start] = axes, channel
    width = WIDTHS[1 + max(column for _, column in at)]
    margin = 0.02 * float(np.ptp(places)) or 0.5
    for (row, column), (axes, channel) in at.items():
        axes.set_xlim(places.min() - margin, places.max() + margin)
        axes.set_ylim(limits[channel])
        axes.yaxis.set_major_locator(MaxNLocator(4))
        _tick_x(axes, places, x, width)
        lowest = (row + 1, column) not in at
        same_at_left = (row, column - 1) in at and at[row, column - 1][1] == channel
        axes.tick_params(labelleft=not same_at_left, labelbottom=lowest)
        axes.xaxis.get_offset_text().set(fontsize=8, visible=lowest)
        if lowest and (x_label or x is None):
            axes.set_xlabel(literal(x_label or "step", 60), fontsize=8, loc="left")
    if len(set(panels.values())) < len(channels):
        note = f"{len(set(panels.values()))} of {len(channels)} channels"
        figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=QUIET)


def _tick_x(axes: Axes, places: Array, x: Any, width: float) -> None:
    """Ticks for numbers, dates or texts, as many as have room in a panel of so many inches."""
    kind = "f" if x is None else np.asarray(x).dtype.kind
    if kind == "M":
        locator = AutoDateLocator(minticks=3, maxticks=int(width / 0.5))
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    elif kind in "UO":
        texts = [literal(text) for text in np.asarray(x).tolist()]
        room = max(1, int(width / (0.09 * max(map(len, texts)) + 0.1)))
        every = -(-len(texts) // room)
        axes.set_xticks(places[::every], texts[::every])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))


def _colour_bar(figure: Figure, grid: Array, mappable: ScalarMappable, label: str) -> None:
    bar = figure.colorbar(mappable, ax=list(grid.flat), aspect=30, pad=0.01)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=3)
    bar.set_label(label, fontsize=9)
