"""Scaling of channels: fitted on training data only, kept with the model, undone for reports."""

from __future__ import annotations

__all__ = ["SCALINGS", "Scaler"]

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqae.errors import DataError, ModelFileError, SeqaeWarning, choose

if TYPE_CHECKING:
    from seqae.series import Panel, Series

_BLOCK = 1 << 16
"""Rows scaled in one go: their float64 copies need not exist for all at once."""

# The interquartile range of a normal distribution, in standard deviations: 2 Φ⁻¹(3/4).
NORMAL_IQR = 1.3489795003921634


def _standard(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation, two-pass around a first value: exact for 1e9 + small variation."""
    origin = np.nanmin(values, axis=0).astype(np.float64)
    count = (~np.isnan(values)).sum(axis=0)

    def pieces() -> Iterator[np.ndarray]:
        for low in range(0, len(values), _BLOCK):
            yield values[low : low + _BLOCK].astype(np.float64)

    centre = origin + sum(np.nansum(piece - origin, axis=0) for piece in pieces()) / count
    largest = np.fmax.reduce([np.fmax.reduce(np.abs(piece - centre)) for piece in pieces()])
    unit = np.where(largest > 0, largest, 1.0)  # squares of tiny deviations would vanish
    squares = sum(np.nansum(np.square((piece - centre) / unit), axis=0) for piece in pieces())
    return centre, unit * np.sqrt(squares / count)


def _robust(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and interquartile range / 1.349, which is the standard deviation of normal data."""
    low, centre, high = np.nanquantile(values.astype(np.float64), [0.25, 0.5, 0.75], axis=0)
    return centre, (high - low) / NORMAL_IQR


def _minmax(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimum and range: the fitted data come to lie in [0, 1]."""
    low = np.nanmin(values, axis=0).astype(np.float64)
    return low, np.nanmax(values, axis=0) - low


def _none(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values as they are."""
    return np.zeros(values.shape[1]), np.ones(values.shape[1])


# name -> function of values (T, C) with NaN = missing; gives centre (C,) and width (C,), float64.
SCALINGS: dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "standard": _standard,
    "robust": _robust,
    "minmax": _minmax,
    "none": _none,
}


@dataclass(frozen=True, eq=False)
class Scaler:
    """An affine map per channel: scaled = (value - centre) / width.

    `centre` and `width` are (C,) float64, finite, width > 0; anything else raises DataError.
    """

    kind: str
    centre: np.ndarray
    width: np.ndarray

    def __post_init__(self) -> None:
        centre = np.array(self.centre, dtype=np.float64)
        width = np.array(self.width, dtype=np.float64)
        if centre.ndim != 1 or centre.shape != width.shape or not len(centre):
            raise DataError(f"a scaler needs a centre and a width per channel, got {centre.shape} and {width.shape}.")
        if not (np.isfinite(centre).all() and np.isfinite(width).all() and (width > 0).all()):
            raise DataError("a scaler needs finite centres and positive, finite widths.")
        for name, array in (("centre", centre), ("width", width)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def fit(
        cls,
        data: Series | Panel | np.ndarray | Sequence[np.ndarray],
        kind: str = "standard",
        *,
        channels: Sequence[str] | None = None,
    ) -> Scaler:
        """Fit to a Series, a Panel, an array (T,), (T, C) or (N, T, C), or a sequence of those; NaN = missing.

        All series count together, row by row, in float64. `channels` names the channels in messages where
        the data do not. A channel that never varies gets width 1 and a SeqaeWarning; so does one whose
        interquartile range is 0 under "robust" (it gets its standard deviation as the width).
        Raises DataError where nothing varies, where a channel has no observed value, or a value is infinite.
        """
        scaling = choose(SCALINGS, kind, "scaling")
        arrays, names = _arrays(data, channels)
        centre, width = np.empty(len(names)), np.empty(len(names))
        constant, narrow = [], []
        for c, name in enumerate(names):  # one at a time: a copy of everything may not fit into memory
            parts = [array[:, c][~np.isnan(array[:, c])] for array in arrays]
            values = (parts[0] if len(parts) == 1 else np.concatenate(parts))[:, None]
            if not len(values):
                raise DataError(f"channel {name!r} has no observed value to fit to. Leave it out (--drop {name}).")
            if not np.isfinite(values).all():
                raise DataError(f"channel {name!r} holds infinite values. Make them missing values or leave it out.")
            centre[c : c + 1], width[c : c + 1] = scaling(values)
            if values.min() == values.max():
                constant.append(name)
                width[c] = 1.0
            elif width[c] == 0:
                narrow.append(name)
                width[c : c + 1] = _standard(values)[1]
        if len(constant) == len(names):
            raise DataError(
                f"nothing varies in the data to fit to ({_listed(constant)}), so there is nothing to learn. "
                "Give data with a channel that changes."
            )
        if constant:
            warnings.warn(
                f"no variation in {_listed(constant)} of the training data; width 1 is taken. "
                f"Where it tells nothing, leave it out (--drop {constant[0]}).",
                SeqaeWarning,
                stacklevel=2,
            )
        if narrow:
            warnings.warn(
                f"the interquartile range of {_listed(narrow)} is 0; the standard deviation is taken as the width.",
                SeqaeWarning,
                stacklevel=2,
            )
        return cls(kind, centre, width)

    def apply(self, values: Any) -> np.ndarray:
        """Scale values (..., C) to float32; NaN stays NaN. The difference is taken in float64, some rows at a time."""
        given = self._fitting(values)
        scaled = np.empty(given.shape, dtype=np.float32)
        rows, to = given.reshape(-1, given.shape[-1]), scaled.reshape(-1, given.shape[-1])
        for low in range(0, len(rows), _BLOCK):
            part = slice(low, low + _BLOCK)
            to[part] = (rows[part].astype(np.float64) - self.centre) / self.width
        return scaled

    def invert(self, values: Any) -> np.ndarray:
        """Bring scaled values (..., C) back to the original units, float64."""
        return self._fitting(values).astype(np.float64) * self.width + self.centre

    def to_document(self) -> dict[str, Any]:
        """Give a JSON-able document; from_document brings back the same bits (JSON keeps float64 by its repr)."""
        return {"kind": self.kind, "centre": self.centre.tolist(), "width": self.width.tolist()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Scaler:
        """Read what to_document wrote; raises ModelFileError where that cannot be."""
        try:
            choose(SCALINGS, document["kind"], "scaling")
            return cls(document["kind"], document["centre"], document["width"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"the model file's scaler cannot be read ({error}). Train the model again.") from None

    def _fitting(self, values: Any) -> np.ndarray:
        array = np.asarray(values)
        if array.ndim == 0 or array.shape[-1] != len(self.centre):
            raise DataError(f"got values of shape {array.shape}; the scaler needs (..., {len(self.centre)}) channels.")
        return array


def _arrays(data: Any, channels: Sequence[str] | None) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Bring whatever fit() takes to arrays (T_i, C) and the channels' names."""
    parts = [data] if isinstance(data, np.ndarray) or hasattr(data, "values") else list(data)
    arrays = []
    for part in parts:
        array = np.atleast_1d(getattr(part, "values", part))
        arrays.append(array[:, None] if array.ndim == 1 else array.reshape(-1, array.shape[-1]))
    widths = {array.shape[1] for array in arrays}
    if len(widths) != 1:
        raise DataError(f"the scaling needs data with one number of channels, got {sorted(widths) or 'no data'}.")
    names = channels or getattr(parts[0], "channels", [f"c{c}" for c in range(widths.pop())])
    if len(names) != arrays[0].shape[1]:
        raise DataError(f"{len(names)} channel names were given for {arrays[0].shape[1]} channels.")
    return arrays, tuple(names)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"channel{'s' if len(names) > 1 else ''} {shown}{more}"
