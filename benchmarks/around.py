"""What stands around a model: measuring scores beside TSB-AD's own code, reading a table beside pandas alone.

python benchmarks/around.py --output benchmarks/results/around.md
"""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib.metadata
import importlib.util
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rivals import Work
from speed import Clock

import seqae
from seqae.anomaly.metrics.vus import vus

SLOW, QUICK = (Clock(0.0, rounds, torch.device("cpu")) for rounds in (3, 5))
LENGTHS, WIDTH, EVERY = (10_000, 30_000, 100_000), 100, 2_000
"""Rows that are measured, the widest margin, and rows from one anomaly of 20 rows to the next."""
TABLES = ((100_000, 1), (100_000, 20), (1_000_000, 1))
"""Rows and channels of the files that are read."""


def measuring() -> Iterator[str]:
    """Yield the table of VUS; TSB-AD's way is left out where it is not installed."""
    theirs = None
    if importlib.util.find_spec("TSB_AD") is not None:
        from TSB_AD.evaluation.basic_metrics import generate_curve

        theirs = generate_curve
    yield "| rows | anomalies | seqae, ms | TSB-AD, ms | TSB-AD / seqae | largest difference |"
    yield "|---|---|---|---|---|---|"
    rng = np.random.default_rng(0)
    for rows in LENGTHS:
        labels = np.arange(rows) % EVERY >= EVERY - 20
        scores = rng.standard_normal(rows) + labels
        ways: list[Work] = [functools.partial(vus, scores, labels, WIDTH)]
        if theirs is not None:
            ways.append(functools.partial(theirs, labels.astype(float), scores, WIDTH))
        own, *other = SLOW(*ways)
        told = "not installed | | |"
        if theirs is not None:
            found, (*_, roc, pr) = ways[0](), ways[1]()
            told = f"{other[0]:,.0f} | {other[0] / own:.0f} | {max(abs(found.pr - pr), abs(found.roc - roc)):.1g} |"
        yield f"| {rows:,} | {rows // EVERY} | {own:.1f} | {told}"


def reading() -> Iterator[str]:
    """Yield the table of CSV files: seqae.read_csv, and what of it is pandas' parser."""
    yield "| rows | channels | MB | seqae.read_csv, ms | C engine, ms | pyarrow, ms | seqae / C engine | rows/s |"
    yield "|---|---|---|---|---|---|---|---|"
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        for rows, channels in TABLES:
            stamps = pd.date_range("2026-01-01", periods=rows, freq="s")
            names = [f"c{number}" for number in range(channels)]
            values = pd.DataFrame(rng.standard_normal((rows, channels)).round(4), columns=names)
            values.insert(0, "time", stamps)
            values.to_csv(path, index=False)
            how = {"parse_dates": ["time"], "index_col": "time"}
            own, parser, arrow = QUICK(
                functools.partial(seqae.read_csv, path),
                functools.partial(pd.read_csv, path, **how),
                functools.partial(pd.read_csv, path, engine="pyarrow", **how),
            )
            size = path.stat().st_size / 1e6
            yield (
                f"| {rows:,} | {channels} | {size:.1f} | {own:.1f} | {parser:.1f} | {arrow:.1f} | {own / parser:.1f} | "
                f"{1000 * rows / own:,.0f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="the file to write")
    given = parser.parse_args()
    versions = [f"pandas {pd.__version__}", f"NumPy {np.__version__}"]
    if importlib.util.find_spec("TSB_AD") is not None:
        versions.append(f"TSB-AD {importlib.metadata.version('TSB-AD')}")
    words = shlex.join(["python", "benchmarks/around.py", *sys.argv[1:]])
    lines = [
        "# Around a model\n",
        f"`{words}`, {datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, {', '.join(versions)}. "
        "Medians of runs in turn.\n",
        "## VUS-PR and VUS-ROC\n",
        f"Margins of 0 to {WIDTH} rows: {vus.__module__}.vus beside TSB-AD's generate_curve (version opt).\n",
        *measuring(),
        "\n## Reading CSV files\n",
        "seqae.read_csv beside two engines of pandas.read_csv with the stamps parsed. What it does beyond that: finds "
        "the delimiter, the header, the time column and the form of its stamps, counts the fields of every line, "
        "checks that stamps rise and that no value loses digits.\n",
        *reading(),
    ]
    for line in lines:
        print(line)
    if given.output is not None:
        given.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
