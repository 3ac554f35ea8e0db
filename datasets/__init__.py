"""Data for seqae: CSV and Parquet files, the bundled series, images, synthetic series and sprites.

Names are loaded when they are first used: `import seqae.datasets` alone imports neither pandas nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqae.datasets.bundled import BUNDLED, elnino
    from seqae.datasets.images import load_images
    from seqae.datasets.tables import read_csv, read_parquet, read_table

_HOMES = {
    "BUNDLED": "bundled",
    "elnino": "bundled",
    "load_images": "images",
    "read_csv": "tables",
    "read_parquet": "tables",
    "read_table": "tables",
}
_SUBMODULES = {"bundled", "images", "sprites", "synthetic", "tables"}

__all__ = ["BUNDLED", "elnino", "load_images", "read_csv", "read_parquet", "read_table"]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"seqae.datasets.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'seqae.datasets' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"seqae.datasets.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBMODULES])
