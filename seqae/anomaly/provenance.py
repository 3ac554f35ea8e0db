"""Which data something came from: their extent, and a digest that tells them from others."""

from __future__ import annotations

__all__ = ["fingerprint", "span"]

import hashlib
from typing import Any

import numpy as np

from seqae.series import Panel

_BLOCK = 1 << 16  # rows that are hashed at a time


def fingerprint(panel: Panel) -> dict[str, Any]:
    """Return what tells whether data are the same: series, rows, first and last stamp, SHA-256 of names and values."""
    digest = hashlib.sha256()
    for series in panel:
        digest.update(repr((series.name, series.channels, series.values.shape)).encode())
        for low in range(0, len(series), _BLOCK):
            part = series.values[low : low + _BLOCK]
            digest.update(np.where(np.isnan(part), np.float32(np.nan), part).tobytes())
    return {"series": len(panel), "rows": sum(map(len, panel)), **span(panel), "sha256": digest.hexdigest()}


def span(panel: Panel) -> dict[str, str | None]:
    """Return the first and last stamp of a panel as text; None without a common time axis."""
    ends = [(series.index[0], series.index[-1]) for series in panel if series.index is not None and len(series)]
    kinds = {(type(first), getattr(first, "tz", None) is None) for first, _ in ends}
    if len(kinds) != 1:  # no time axis, or several that cannot be compared
        return {"first": None, "last": None}
    return {"first": str(min(first for first, _ in ends)), "last": str(max(last for _, last in ends))}
