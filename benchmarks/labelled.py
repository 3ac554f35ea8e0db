"""The labelled series of ../shared/data, each with its train part: what detection.py runs over."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqae.errors import DataError

DATA = Path(os.environ.get("SEQAE_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
COLLECTIONS = ("ucr", "nab", "smd", "asd", "smap_msl", "gecco")
NAB_SHARE, LEAST_TRAIN = 0.25, 100
"""NAB names no train part: the first quarter, or what comes before the first labelled window; at least so many rows."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One labelled series: values (T, C) with NaN gaps, labels (T,), its first `train_rows` rows the train part."""

    collection: str
    name: str
    values: Floats
    labels: NDArray[np.bool_]
    train_rows: int
    index: pd.Index | None = None

    @property
    def key(self) -> str:
        """The collection and the name, as `--only` and the cache name the case."""
        return f"{self.collection}/{self.name}"

    @property
    def train(self) -> Floats:
        """The train part (R, C)."""
        return self.values[: self.train_rows]

    @property
    def test(self) -> Floats:
        """The test part (T - R, C)."""
        return self.values[self.train_rows :]

    @property
    def truth(self) -> NDArray[np.bool_]:
        """The labels of the test part (T - R,)."""
        return self.labels[self.train_rows :]

    def require_train(self) -> None:
        """Raise DataError where the train part is too short, or no row after it is labelled."""
        if self.train_rows < LEAST_TRAIN:
            raise DataError(f"{self.key}: {self.train_rows} rows to train on; {LEAST_TRAIN} are needed")
        if not self.truth.any() or self.truth.all():
            raise DataError(f"{self.key}: the test part needs rows of both kinds; {self.truth.mean():.0%} are labelled")


def filled(values: Floats) -> Floats:
    """Return values (T, C) with each gap filled by the channel's last known value; the first ones by its first."""
    return pd.DataFrame(values).ffill().bfill().fillna(0.0).to_numpy(dtype=np.float32)


def keys(data: Path = DATA, only: str | None = None) -> list[str]:
    """Return the keys of the labelled cases by collection; only: no others than those that begin with it."""
    index = data / "labelled" / "index.csv"
    listed = pd.read_csv(index)["file"].str.removesuffix(".csv.gz").tolist() if index.exists() else []
    listed += [f"nab/{path.removesuffix('.csv')}" for path, windows in _nab_windows(data).items() if windows]
    listed.sort(key=lambda key: COLLECTIONS.index(key.split("/")[0]))
    return [key for key in listed if only is None or key.startswith(only)]


def load(key: str, data: Path = DATA) -> Case:
    """Return the case of a key; raises DataError, naming the file, where there is none."""
    collection, name = key.split("/", 1)
    file = data / "nab" / "data" / f"{name}.csv" if collection == "nab" else data / "labelled" / f"{key}.csv.gz"
    if not file.exists():
        raise DataError(f"{file} is absent (benchmarks/README.md says where it is published)")
    table = pd.read_csv(file)
    return _nab(name, table, data) if collection == "nab" else _labelled(collection, name, table, data)


def cases(data: Path = DATA, only: str | None = None) -> Iterator[Case]:
    """Yield the labelled cases, as `keys` names them."""
    for key in keys(data, only):
        yield load(key, data)


def _labelled(collection: str, name: str, table: pd.DataFrame, data: Path) -> Case:
    index = pd.read_csv(data / "labelled" / "index.csv").set_index("file")
    values = table.drop(columns="label").to_numpy(dtype=np.float32)
    labels = table["label"].to_numpy() > 0
    return Case(collection, name, values, labels, int(index["train_rows"][f"{collection}/{name}.csv.gz"]))


def _nab(name: str, table: pd.DataFrame, data: Path) -> Case:
    stamps = pd.to_datetime(table["timestamp"])
    labels = np.zeros(len(table), dtype=np.bool_)
    for start, end in _nab_windows(data)[f"{name}.csv"]:
        labels |= ((stamps >= start) & (stamps <= end)).to_numpy()
    before = int(np.argmax(labels)) if labels.any() else len(labels)
    values = table[["value"]].to_numpy(dtype=np.float32)
    return Case("nab", name, values, labels, min(int(len(table) * NAB_SHARE), before), pd.DatetimeIndex(stamps))


def _nab_windows(data: Path) -> dict[str, list[list[str]]]:
    """Return NAB's labelled windows, start and end of each, by file."""
    file = data / "nab" / "labels" / "combined_windows.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}
