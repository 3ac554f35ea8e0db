"""Data that come with the package."""

from __future__ import annotations

__all__ = ["BUNDLED", "ELNINO_EVENTS", "elnino"]

from collections.abc import Callable
from importlib import resources

import pandas as pd

from seqae.series import Series

# Strong El Niño episodes by the Oceanic Niño Index: first month, last month, name. The rule is in ELNINO.md.
ELNINO_EVENTS: tuple[tuple[str, str, str], ...] = (
    ("1957-04", "1958-07", "1957–58"),
    ("1965-05", "1966-04", "1965–66"),
    ("1972-05", "1973-03", "1972–73"),
    ("1982-04", "1983-06", "1982–83"),
    ("1986-09", "1988-02", "1986–88"),
    ("1991-05", "1992-06", "1991–92"),
    ("1997-05", "1998-05", "1997–98"),
)


def elnino() -> Series:
    """Return the monthly sea-surface temperature (°C) off Ecuador and Peru, 1950–2010: 732 rows, channel `sst`.

    The labels are the months of ELNINO_EVENTS. Source: NOAA, Niño 1+2 of ERSST v3b, public domain; see ELNINO.md.
    """
    with resources.files("seqae.datasets").joinpath("elnino.csv").open(encoding="utf-8") as table:
        frame = pd.read_csv(table, parse_dates=["date"], index_col="date")
    return Series.from_frame(frame, name="elnino")


BUNDLED: dict[str, Callable[[], Series]] = {"elnino": elnino}
