"""Large tables, which are read piece by piece, beside the same ones read whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seqae.datasets import chunks, tables
from seqae.datasets.chunks import CHUNK_ROWS
from seqae.datasets.content import content_of
from seqae.datasets.tables import read_csv
from seqae.errors import UserError

ROWS = CHUNK_ROWS + 20_000


def table() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    stamps = pd.date_range("2026-01-01", periods=ROWS, freq="min")
    flow, states = draw.standard_normal(ROWS).round(3), draw.integers(0, 5, ROWS)
    return pd.DataFrame({"time": stamps, "flow": flow, "state": states, "label": (states == 4).astype(int)})


def spelled(form: str) -> pd.DataFrame:
    return table().assign(time=lambda given: given["time"].dt.strftime(form))


def finer() -> pd.DataFrame:
    """Return a table whose first rows are two minutes apart, and more later ones one: that is its step."""
    minutes = np.concatenate([np.arange(ROWS) * 2, 2 * ROWS + np.arange(ROWS + 1)])
    stamps = pd.Timestamp("2026-01-01") + pd.to_timedelta(minutes, unit="min")
    return pd.DataFrame({"time": stamps, "flow": np.sin(minutes).round(3)})


TABLES = {
    "dates": (table, {}),
    "labels": (table, {"label": "label"}),
    "conditions": (table, {"covariates": ["state"]}),
    "a gap at the end": (lambda: table().drop(index=range(ROWS - 900, ROWS - 300)), {}),
    "no time": (lambda: table().drop(columns="time"), {}),
    "the day first": (lambda: spelled("%d/%m/%Y %H:%M"), {}),
    "of a zone": (lambda: spelled("%Y-%m-%dT%H:%M:%SZ"), {}),
    # What only the whole file tells:
    "turned round": (lambda: table()[::-1], {"order": "sort"}),
    "a finer step later": (finer, {}),
}
WHOLE = ("turned round", "a finer step later")


@pytest.mark.parametrize("name", TABLES)
def test_a_large_table_read_piece_by_piece_is_the_whole(name, tmp_path, monkeypatch):
    make, options = TABLES[name]
    path = str(tmp_path / "data.csv")
    make().to_csv(path, index=False)
    whole = read_csv(path, **options)
    asked = []
    monkeypatch.setattr(chunks, "LARGE", 1)
    monkeypatch.setattr(tables, "content_of", lambda *given: asked.append(given) or content_of(*given))
    found = read_csv(path, **options)
    assert bool(asked) == (name in WHOLE)
    assert (found.name, found.channels, found.step) == (whole.name, whole.channels, whole.step)
    np.testing.assert_array_equal(found.values, whole.values)
    for field in ("labels", "present"):
        np.testing.assert_array_equal(getattr(found, field), getattr(whole, field))
    assert (found.index is None) == (whole.index is None)
    if whole.index is not None:
        pd.testing.assert_index_equal(found.index, whole.index)
    assert (found.covariates is None) == (whole.covariates is None)
    if whole.covariates is not None:
        pd.testing.assert_frame_equal(found.covariates, whole.covariates)


def test_what_is_wrong_with_a_large_table_is_told_as_of_the_whole(tmp_path, monkeypatch):
    path = str(tmp_path / "data.csv")
    table().astype({"flow": object}).assign(flow=lambda given: [*given["flow"][:-1], "broken"]).to_csv(
        path, index=False
    )
    with pytest.raises(UserError) as whole:
        read_csv(path)
    monkeypatch.setattr(chunks, "LARGE", 1)
    with pytest.raises(UserError) as found:
        read_csv(path)
    assert str(found.value) == str(whole.value)
