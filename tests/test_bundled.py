from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib import resources
from itertools import groupby

import numpy as np
import pandas as pd

from seqae.datasets.bundled import BUNDLED, ELNINO_EVENTS, elnino

# NOAA's Oceanic Niño Index (ERSSTv5), tenths of °C, at the middle month of DJF, JFM, ..., NDJ: January to December.
# Sources: see datasets/ELNINO.md.
ONI = """
1950 -15 -13 -12 -12 -11 -9 -5 -4 -4 -4 -6 -8
1951 -8 -5 -2 2 4 6 7 9 10 12 10 8
1952 5 4 3 3 2 0 -1 0 2 1 0 2
1953 4 6 6 7 8 8 8 7 8 8 8 8
1954 8 5 -1 -4 -5 -5 -6 -8 -9 -8 -7 -7
1955 -7 -6 -7 -8 -8 -7 -7 -8 -11 -14 -17 -15
1956 -11 -8 -6 -5 -5 -5 -6 -6 -5 -4 -4 -4
1957 -3 1 4 7 9 11 13 13 13 14 15 17
1958 18 17 13 9 7 6 6 4 4 4 5 6
1959 6 6 5 3 2 -1 -2 -3 -1 0 1 0
1960 -1 -1 -1 0 0 0 1 2 3 2 1 1
1961 0 0 0 1 2 3 1 -1 -3 -3 -2 -2
1962 -2 -2 -2 -3 -3 -2 0 -1 -1 -2 -3 -4
1963 -4 -2 2 3 3 5 9 11 12 13 14 13
1964 11 6 1 -3 -6 -6 -6 -7 -8 -8 -8 -8
1965 -6 -3 -1 2 5 8 12 15 19 20 20 17
1966 14 12 10 7 4 2 2 1 -1 -1 -2 -3
1967 -4 -5 -5 -5 -2 0 1 -2 -3 -4 -3 -4
1968 -6 -7 -6 -4 0 3 6 5 5 6 7 10
1969 11 11 10 8 6 4 4 5 8 9 8 6
1970 5 3 3 2 0 -3 -6 -8 -8 -7 -9 -11
1971 -14 -14 -11 -8 -7 -7 -8 -8 -8 -9 -10 -9
1972 -7 -4 1 4 7 9 11 14 16 18 21 21
1973 18 12 5 -1 -5 -9 -11 -13 -15 -17 -19 -20
1974 -18 -16 -12 -10 -9 -8 -5 -4 -4 -6 -8 -6
1975 -5 -6 -7 -7 -8 -10 -11 -12 -14 -14 -16 -17
1976 -16 -12 -7 -5 -3 0 2 4 6 8 9 8
1977 7 6 3 2 2 3 4 4 6 7 8 8
1978 7 4 1 -2 -3 -3 -4 -4 -4 -3 -1 0
1979 0 1 2 3 2 0 0 2 3 5 5 6
1980 6 5 3 4 5 5 3 0 -1 0 1 0
1981 -3 -5 -5 -4 -3 -3 -3 -2 -2 -1 -2 -1
1982 0 1 2 5 7 7 8 11 16 20 22 22
1983 22 19 15 13 11 7 3 -1 -5 -8 -10 -9
1984 -6 -4 -3 -4 -5 -4 -3 -2 -2 -6 -9 -11
1985 -10 -8 -8 -8 -8 -6 -5 -5 -4 -3 -3 -4
1986 -5 -5 -3 -2 -1 0 2 4 7 9 11 12
1987 12 12 11 9 10 12 15 17 16 15 13 11
1988 8 5 1 -3 -9 -13 -13 -11 -12 -15 -18 -18
1989 -17 -14 -11 -8 -6 -4 -3 -3 -2 -2 -2 -1
1990 1 2 3 3 3 3 3 4 4 3 4 4
1991 4 3 2 3 5 6 7 6 6 8 12 15
1992 17 16 15 13 11 7 4 1 -1 -2 -3 -1
1993 1 3 5 7 7 6 3 3 2 1 0 1
1994 1 1 2 3 4 4 4 4 6 7 10 11
1995 10 7 5 3 1 0 -2 -5 -8 -10 -10 -10
1996 -9 -8 -6 -4 -3 -3 -3 -3 -4 -4 -4 -5
1997 -5 -4 -1 3 8 12 16 19 21 23 24 24
1998 22 19 14 10 5 -1 -8 -11 -13 -14 -15 -16
1999 -15 -13 -11 -10 -10 -10 -11 -11 -12 -13 -15 -17
2000 -17 -14 -11 -8 -7 -6 -6 -5 -5 -6 -7 -7
2001 -7 -5 -4 -3 -3 -1 -1 -1 -2 -3 -3 -3
2002 -1 0 1 2 4 7 8 9 10 12 13 11
2003 9 6 4 0 -3 -2 1 2 3 3 4 4
2004 4 3 2 2 2 3 5 6 7 7 7 7
2005 6 6 4 4 3 1 -1 -1 -1 -3 -6 -8
2006 -9 -8 -6 -4 -1 0 1 3 5 8 9 9
2007 7 2 -1 -3 -4 -5 -6 -8 -11 -13 -15 -16
2008 -16 -15 -13 -10 -8 -6 -4 -2 -2 -4 -6 -7
2009 -8 -8 -6 -3 0 3 5 6 7 10 14 16
2010 15 12 8 4 -2 -7 -10 -13 -16 -16 -16 -15
"""


def strong_episodes() -> list[tuple[str, str]]:
    """At least five consecutive seasons at 0.5 or more, at least three of them in a row at 1.5 or more."""
    rows = [line.split() for line in ONI.split("\n") if line]
    seasons = [(f"{year}-{month:02}", int(tenths)) for year, *oni in rows for month, tenths in enumerate(oni, 1)]
    assert len(seasons) == 61 * 12
    found = []
    for warm, run in groupby(seasons, key=lambda season: season[1] >= 5):
        episode = list(run)
        strong = max(len(list(hot)) if at else 0 for at, hot in groupby(episode, key=lambda season: season[1] >= 15))
        if warm and len(episode) >= 5 and strong >= 3:
            found.append((episode[0][0], episode[-1][0]))
    return found


def test_the_events_are_the_strong_episodes_of_the_published_index() -> None:
    assert [(start, end) for start, end, _ in ELNINO_EVENTS] == strong_episodes()
    for start, end, name in ELNINO_EVENTS:
        assert name == f"{start[:4]}–{end[2:4]}"


def test_labels_are_exactly_the_months_of_the_events() -> None:
    series = elnino()
    months = [str(month) for month in series.index.to_period("M")]
    expected = [any(start <= month <= end for start, end, _ in ELNINO_EVENTS) for month in months]
    assert series.labels.tolist() == expected
    assert series.labels.sum() == 16 + 12 + 11 + 15 + 18 + 14 + 13


def test_every_month_is_there_once() -> None:
    series = elnino()
    assert series.index.equals(pd.date_range("1950-01-01", "2010-12-01", freq="MS"))
    assert series.channels == ("sst",)
    assert series.name == "elnino"
    assert series.values.shape == (732, 1)
    assert series.observed.all()
    assert series.present is None or series.present.all()


def test_the_step_is_the_calendar_month() -> None:
    series = elnino()
    for before, after in zip(series.index[:30], series.index[1:31], strict=True):
        assert before + series.step == after


def test_values_are_those_that_noaa_published() -> None:
    series = elnino().to_frame()["sst"]
    first_and_last = {
        1950: [23.11, 24.20, 25.37, 23.86, 20.15, 19.67, 20.03, 20.02, 21.80],
        2010: [24.70, 26.16, 26.54],
    }
    months = {1950: [1, 2, 3, 4, 8, 9, 10, 11, 12], 2010: [1, 2, 3]}
    for year, values in first_and_last.items():
        given = [series[pd.Timestamp(year, month, 1)] for month in months[year]]
        np.testing.assert_allclose(given, values, atol=1e-6)
    # The digest of the values as text, computed from the source table and not from this file.
    text = "".join(f"{value:.2f}\n" for value in series)
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "a37e5620a2f410b43d18842010d59881cc78e60f93734eca4ad94f69f2f27b68"
    )


def test_strong_el_ninos_are_warm_in_this_series_too() -> None:
    frame = elnino().to_frame()
    above = frame["sst"] - frame["sst"].groupby(frame.index.month).transform("median")
    assert above[frame["label"]].mean() > 1.5
    assert abs(above[~frame["label"]].mean()) < 0.2
    for start, end, _ in ELNINO_EVENTS:
        assert above[start:end].max() > 2


def test_the_menu_and_the_source_note_are_installed() -> None:
    assert BUNDLED["elnino"] is elnino
    note = resources.files("seqae.datasets").joinpath("ELNINO.md").read_text(encoding="utf-8")
    for start, end, name in ELNINO_EVENTS:
        assert f"| {start} to {end} | {name} |" in note
    assert "public domain" in note.lower()


def test_loading_needs_no_torch() -> None:
    code = "import sys; from seqae.datasets.bundled import elnino; elnino(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
