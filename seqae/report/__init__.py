"""What people look at: figures."""

from __future__ import annotations

from seqae.report.figures import figure_series

__all__ = ["figure_series"]
