"""Peak memory of training and scoring, from a CSV file and from an array in memory, as the series grows.

Each run is a process of its own that tells its highest resident size (VmHWM of /proc/self/status, so Linux only).

python benchmarks/memory.py; python benchmarks/memory.py --rows 100000 10000000 --only fit train
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

OUTPUT = Path(__file__).parent / "results" / "memory.md"
PERIOD, BLOCK, WINDOW = 48, 1 << 18, 128
LONGEST = {"score_array": 10**6, "score_whole": 10**6}
"""Rows above which a run needs so much memory that it is left out unless --all is given."""
STRIDED = 10**6
"""Rows above which windows are scored at a stride of half a window: memory knows no stride, but time does."""


class Run(NamedTuple):
    """What is measured: what it is called, and the arguments of its process, from the folder and the rows."""

    told: str
    arguments: Callable[[Path, int], list[str]]


def values(first: int, last: int) -> NDArray[np.float32]:
    """Return the rows first … last − 1 of the series (R, 1)."""
    found = np.empty((last - first, 1), dtype=np.float32)
    for low in range(first, last, BLOCK):
        count = np.arange(low, min(low + BLOCK, last))
        noise = np.random.default_rng(low).standard_normal(len(count))
        found[low - first : low - first + len(count), 0] = np.sin(2 * np.pi * count / PERIOD) + 0.1 * noise
    return found


def write(path: Path, rows: int) -> None:
    """Write a two-column file, block by block."""
    for first in range(0, rows, BLOCK):
        count = np.arange(first, min(first + BLOCK, rows))
        stamps = pd.Timestamp("2000-01-01") + pd.to_timedelta(count, unit="min")
        table = pd.DataFrame({"time": stamps, "flow": values(first, first + len(count))[:, 0].round(4)})
        table.to_csv(path, mode="a" if first else "w", header=not first, index=False)


def model(folder: Path, rows: int) -> str:
    """Return the model that scores so many rows."""
    return str(folder / ("every" if rows <= STRIDED else "some") / "model.safetensors")


def score(pieces: int) -> Callable[[Path, int], list[str]]:
    def arguments(folder: Path, rows: int) -> list[str]:
        how = ["--chunk-rows", str(pieces), "-o", str(folder / "scores.csv")]
        return ["command", "score", model(folder, rows), str(folder / "data.csv"), *how]

    return arguments


def train(data: Path, output: Path, *more: str) -> list[str]:
    fixed = ["--window", str(WINDOW), "--hidden", "16", "--epochs", "1", "--max-time", "20", "--overwrite"]
    return ["command", "train", str(data), *fixed, "-o", str(output), *more]


RUNS: dict[str, Run] = {
    "train": Run(
        "`seqae train`", lambda folder, rows: train(folder / "data.csv", folder / "run", "--train-stride", "1")
    ),
    "score": Run("`seqae score`, in pieces of 65,536 rows", score(65536)),
    "score_whole": Run("`seqae score`, whole", score(0)),
    "fit": Run("`Detector.fit` of a float32 array", lambda folder, rows: ["fit", str(rows)]),
    "score_array": Run(
        "`Detector.score` of a float32 array", lambda folder, rows: ["score", model(folder, rows), str(rows)]
    ),
}


def command(*arguments: str) -> int:
    from seqae.cli.main import run

    return run(list(arguments))


def fit(rows: str) -> int:
    import seqae

    given = values(0, int(rows))
    seqae.Detector(window=WINDOW, hidden=16).fit(given, epochs=1, max_time=20, train_stride=1)
    return 0


def score_array(path: str, rows: str) -> int:
    import seqae

    given = values(0, int(rows))
    return 0 if len(seqae.Detector.load(path).score(given)) == len(given) else 1


CHILDREN: dict[str, Callable[..., int]] = {"command": command, "fit": fit, "score": score_array}


def child(arguments: list[str]) -> int:
    """Do one run in this process and say its highest resident size, in MB, last on stderr."""
    code = CHILDREN[arguments[0]](*arguments[1:])
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), file=sys.stderr)
    return code


def peak(arguments: list[str]) -> tuple[float, float]:
    """Run in a process of its own; return its peak memory in MB, and its seconds."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, "--child", *arguments], capture_output=True, text=True, check=True)
    return float(done.stderr.split()[-1]), time.perf_counter() - start


def table(folder: Path, lengths: list[int], names: list[str], every: bool) -> Iterator[str]:
    """Yield the table's lines; a series' own size is 4 bytes a value and, from a file, 8 a stamp."""
    yield "| | rows | series, MB | stride | seconds | peak, MB | allowed, MB | bytes a row more |"
    yield "|---|---|---|---|---|---|---|---|"
    smallest: dict[str, tuple[int, float]] = {}
    for rows in sorted(lengths):
        write(folder / "data.csv", rows)
        for name in names:
            run = RUNS[name]
            size = rows * (4 if name in ("fit", "score_array") else 12) / 1e6
            stride = "1" if "score" not in name or rows <= STRIDED else str(WINDOW // 2)
            if not every and rows > LONGEST.get(name, rows):
                yield f"| {run.told} | {rows:,} | {size:.1f} | {stride} | not run | | | |"
                continue
            found, seconds = peak(run.arguments(folder, rows))
            count, least = smallest.setdefault(name, (rows, found))
            line = f"| {run.told} | {rows:,} | {size:.1f} | {stride} | {seconds:.0f} | {found:.0f} |"
            if rows == count:
                yield f"{line} | |"
                continue
            allowed, more = least + 1.5 * size, (found - least) * 2**20 / (rows - count)
            yield f"{line} {allowed:.0f}{'' if found <= allowed else ': not kept'} | {more:.1f} |"


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        sys.exit(child(sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**5, 10**6, 10**7], help="lengths of the series")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--all", action="store_true", help="also what needs gigabytes")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "train.csv", 5000)
        for kind, stride in (("every", "1"), ("some", str(WINDOW // 2))):
            peak(train(folder / "train.csv", folder / kind, "--stride", stride))
        for line in table(folder, given.rows, given.only, given.all):
            print(line, flush=True)
            lines.append(line)
    words = " ".join(["python", "benchmarks/memory.py", *sys.argv[1:]])
    told = (
        f"`{words}`, {datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores. Windows of {WINDOW} steps; "
        "training: at every row, 20 seconds of it. Allowed: 1.5 times the series' own size (4 bytes a value and, from "
        "a file, 8 a stamp) and the peak of the shortest series."
    )
    given.output.write_text("\n".join(["# Memory of training and scoring\n", f"{told}\n", *lines]) + "\n")


if __name__ == "__main__":
    main()
