"""What scores and flags are worth against labels: every metric by its name.

The table of all of them, with a random score and the energy beside it, is `seqae.anomaly.metrics.evaluation.evaluate`.
"""

from __future__ import annotations

__all__ = [
    "Affiliation", "Found", "Vus", "affiliation", "auroc", "average_precision", "best_pa_k", "composite_f1",
    "event_precision", "event_recall", "false_alarms_per_thousand", "pa_k", "ucr_hit", "vus", "vus_window",
]  # fmt: skip

from seqae.anomaly.metrics.affiliation import Affiliation, affiliation
from seqae.anomaly.metrics.measures import (
    Found,
    auroc,
    average_precision,
    best_pa_k,
    composite_f1,
    event_precision,
    event_recall,
    false_alarms_per_thousand,
    pa_k,
    ucr_hit,
)
from seqae.anomaly.metrics.vus import Vus, vus, vus_window
