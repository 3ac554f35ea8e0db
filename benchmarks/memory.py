"""Peak memory of `seqae score`, whole and in pieces, as the file grows.

Each run is a process of its own that tells its highest resident size (VmHWM of /proc/self/status, so Linux only).
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

OUTPUT = Path(__file__).parent / "results" / "memory.md"
PERIOD, BLOCK = 48, 1 << 18
CHILD = """
import re, sys
from seqae.cli.main import run
code = run(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
sys.exit(code)
"""


def write(path: Path, rows: int) -> None:
    """Write a two-column file, block by block."""
    rng = np.random.default_rng(0)
    for first in range(0, rows, BLOCK):
        count = np.arange(first, min(first + BLOCK, rows))
        values = np.sin(2 * np.pi * count / PERIOD) + 0.1 * rng.standard_normal(len(count))
        stamps = pd.Timestamp("2000-01-01") + pd.to_timedelta(count, unit="min")
        table = pd.DataFrame({"time": stamps, "flow": values.round(4)})
        table.to_csv(path, mode="a" if first else "w", header=not first, index=False)


def peak(*arguments: str) -> float:
    """Run a command line; return its peak memory in MB."""
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**5, 10**6, 10**7], help="lengths of the files")
    parser.add_argument("--whole", type=int, default=10**6, help="the longest file that is also read whole")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "train.csv", 5000)
        model = ["--hidden", "16", "--epochs", "5", "--stride", str(PERIOD), "-o", str(folder / "run")]
        peak("train", str(folder / "train.csv"), *model)
        lines = []
        for rows in given.rows:
            data, scores = folder / "data.csv", folder / "scores.csv"
            write(data, rows)
            for pieces in ("65536", "0"):
                if pieces == "0" and rows > given.whole:
                    lines.append(f"| {rows:,} | {data.stat().st_size / 1e6:.0f} | whole | not run |")
                    continue
                how = ["--chunk-rows", pieces, "-o", str(scores)]
                memory = peak("score", str(folder / "run"), str(data), *how)
                told = "in pieces of 65,536 rows" if pieces != "0" else "whole"
                lines.append(f"| {rows:,} | {data.stat().st_size / 1e6:.0f} | {told} | {memory:.0f} |")
                print(lines[-1], flush=True)
    command = " ".join(["python", "benchmarks/memory.py", *sys.argv[1:]])
    head = f"`{command}`, {datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores."
    table = "| rows | file, MB | read | peak memory, MB |\n|---|---|---|---|\n" + "\n".join(lines)
    given.output.write_text(f"# Memory of `seqae score`\n\n{head}\n\n{table}\n")


if __name__ == "__main__":
    main()
