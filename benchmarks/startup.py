"""What starting costs: seqae's commands beside a bare interpreter, medians of alternating runs.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import seqae": [sys.executable, "-c", "import seqae"],
    "seqae --version": [sys.executable, "-m", "seqae.cli", "--version"],
    "seqae --help": [sys.executable, "-m", "seqae.cli", "--help"],
    "seqae train --help": [sys.executable, "-m", "seqae.cli", "train", "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main(rounds: int = 7) -> None:
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            taken[name].append(seconds(command))
    bare = statistics.median(taken["python -c pass"])
    print("| | median seconds | × bare interpreter |\n|---|---|---|")
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"| `{name}` | {median:.3f} | {median / bare:.1f} |")


if __name__ == "__main__":
    main()
