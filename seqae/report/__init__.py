"""What people look at: figures, and the report of one HTML page.

Names are loaded when they are first used: the page needs no matplotlib, and a figure no plotly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqae.report.figures import figure_series
    from seqae.report.html import report_html, write_report

_HOMES = {"figure_series": "figures", "report_html": "html", "write_report": "html"}

__all__ = ["figure_series", "report_html", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seqae.report' has no attribute {name!r}")
    return getattr(importlib.import_module(f"seqae.report.{_HOMES[name]}"), name)
