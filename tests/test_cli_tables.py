"""Rows as CSV text, beside what pandas writes."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from seqae.cli import tables
from seqae.cli.tables import iso_text, shortest, write_csv

NUMBERS = [0.0, -0.0, 1.0, 1e-5, 1e-4, 123456789.5, 1e9, 1e22, 1e300, 5e-324, 0.1 + 0.2, -2.5, np.inf, -np.inf, np.nan]
TABLES = {
    "numbers": {"a": NUMBERS, "b": np.arange(len(NUMBERS)) - 7},
    "narrow": {
        "a": np.array([0.1, 23.11, 1e10, np.nan], dtype=np.float32),
        "b": np.array([1, 2, 3, 4], dtype=np.int32),
    },
    "truth": {"a": [True, False, True], "b": pd.array([True, None, False], dtype="boolean")},
    "text": {"a": ["x", None, "100 %"], "b": ["2000-01-01T00:00:00", "", "2000-01-02T00:00:00+01:00"]},
    "text to be quoted": {"a": ["x,y", 'say "so"', "two\nlines"], "b": [1.5, np.nan, 2.0]},
    "one column": {"a": [1.0, np.nan, 3.0]},
    "all missing": {"a": [np.nan, np.nan], "b": [np.nan, 1.0]},
    "mixed": {"a": [1, "x", 2.5], "b": [1, 2, 3]},
    "no rows": {"a": [], "b": []},
    "a name to be quoted": {"a,b": [1.0], "c": ["x"]},
}


def by_pandas(table: pd.DataFrame, *, header: bool) -> str:
    return str(table.to_csv(index=False, header=header, float_format="%.9g", lineterminator="\n"))


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("name", TABLES)
def test_rows_are_what_pandas_writes(name, header, monkeypatch):
    table, out = pd.DataFrame(TABLES[name]), io.StringIO()
    monkeypatch.setattr(tables, "_ROWS", 2)
    write_csv(table, out, header=header)
    assert out.getvalue() == by_pandas(table, header=header)


def test_many_random_numbers_are_what_pandas_writes():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**63, (20_000, 3)).view(np.float64)
    table, out = pd.DataFrame(bits, columns=list("abc")), io.StringIO()
    write_csv(table, out, header=True)
    assert out.getvalue() == by_pandas(table, header=True)


def test_the_shortest_decimals_are_those_that_numpy_writes():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 50_000, dtype=np.uint32).view(np.float32)
    edges = np.float32(
        [0, -0.0, np.nan, np.inf, 1e-45, 3.4e38, 0.1, 23.11, 9.999999, 9.9999995, 16777216, *10.0 ** np.arange(-37, 38)]
    )
    for values in (bits, edges, rng.standard_normal(20_000).astype(np.float32)):
        expected = values.astype(str).astype(np.float64)
        assert [f"{value:.9g}" for value in shortest(values)] == [f"{value:.9g}" for value in expected]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "America/St_Johns"])
def test_stamps_are_written_as_pandas_spells_them(zone, unit):
    stamps = [pd.Timestamp("2026-03-29"), pd.Timestamp("1969-12-31 23:59:59")]
    stamps += [stamps[0] + pd.Timedelta(step, unit) for step in range(3)]
    stamps += [pd.NaT, pd.Timestamp("2026-10-25 00:00:00.5"), pd.Timestamp("2026-06-01 00:00:00.000001")]
    index = pd.DatetimeIndex(stamps).tz_localize(zone).as_unit(unit)
    assert list(iso_text(index)) == [stamp.isoformat() if not pd.isna(stamp) else "" for stamp in index]
    assert list(iso_text(index, "D")) == index.strftime("%Y-%m-%d").fillna("").tolist()


def test_stamps_of_old_local_time_have_seconds_in_their_offset():
    index = pd.DatetimeIndex(["1850-01-01", "2026-01-01"]).tz_localize("Europe/Amsterdam")
    assert list(iso_text(index)) == [stamp.isoformat() for stamp in index]
    assert len(iso_text(pd.DatetimeIndex([]))) == 0
