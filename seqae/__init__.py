"""Sequence autoencoders (AE, VAE, CVAE) for time series, and anomaly detection on top of them.

Names are loaded when they are first used: `import seqae` alone imports neither torch nor pandas.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# Threads that spin while they wait take the cores from whoever works on them: beside one other busy process, a small
# network then trains many times slower. OpenMP reads this when torch is loaded, so it is said before; a value that is
# already set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from seqae.anomaly.detector import Detection, Detector
    from seqae.anomaly.fleets.attention import summarise
    from seqae.anomaly.fleets.fleet import Fleet
    from seqae.anomaly.outlier import SequenceOutlierDetector
    from seqae.anomaly.streams.stream import Stream
    from seqae.datasets.images import load_images
    from seqae.datasets.tables import read_csv, read_parquet, read_table
    from seqae.generative.image_model import ImageModel
    from seqae.models import AE, CVAE, MODELS, VAE, Autoencoder
    from seqae.objectives import Objective, elbo
    from seqae.series import Panel, Series
    from seqae.training.checkpoints import load_model, save_model
    from seqae.training.loop import fit
    from seqae.windows import WindowSet, overlap_mean, sliding_windows

_HOMES = {
    "AE": "models",
    "Autoencoder": "models",
    "CVAE": "models",
    "Detection": "anomaly.detector",
    "Detector": "anomaly.detector",
    "Fleet": "anomaly.fleets.fleet",
    "ImageModel": "generative.image_model",
    "MODELS": "models",
    "Objective": "objectives",
    "Panel": "series",
    "SequenceOutlierDetector": "anomaly.outlier",
    "Series": "series",
    "Stream": "anomaly.streams.stream",
    "VAE": "models",
    "WindowSet": "windows",
    "elbo": "objectives",
    "fit": "training.loop",
    "load_images": "datasets.images",
    "load_model": "training.checkpoints",
    "overlap_mean": "windows",
    "read_csv": "datasets.tables",
    "read_parquet": "datasets.tables",
    "read_table": "datasets.tables",
    "save_model": "training.checkpoints",
    "sliding_windows": "windows",
    "summarise": "anomaly.fleets.attention",
}

_SUBMODULES = {
    "anomaly", "conditions", "datasets", "errors", "generative", "models", "nn", "objectives", "report", "scaling",
    "series", "timeaxis", "training", "windows",
}  # fmt: skip

__all__ = [
    "AE",
    "CVAE",
    "MODELS",
    "VAE",
    "Autoencoder",
    "Detection",
    "Detector",
    "Fleet",
    "ImageModel",
    "Objective",
    "Panel",
    "SequenceOutlierDetector",
    "Series",
    "Stream",
    "WindowSet",
    "elbo",
    "fit",
    "load_images",
    "load_model",
    "overlap_mean",
    "read_csv",
    "read_parquet",
    "read_table",
    "save_model",
    "sliding_windows",
    "summarise",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"seqae.{_HOMES[name]}"), name)
    elif name == "__version__":
        value = importlib.import_module("importlib.metadata").version("seqae")
    elif name in _SUBMODULES:
        return importlib.import_module(f"seqae.{name}")
    else:
        raise AttributeError(f"module 'seqae' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBMODULES, "__version__"])
