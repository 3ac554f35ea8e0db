"""Training steps on a machine that other programs use too: one thread, all threads, and how these wait for each other.

python benchmarks/sharing.py
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

OUTPUT = Path(__file__).parent / "results" / "sharing.md"
CORES = os.cpu_count() or 1
SETTINGS: dict[str, dict[str, str]] = {
    "1 thread": {"OMP_NUM_THREADS": "1"},
    f"{CORES} threads": {},
    f"{CORES}, OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
}
"""What is set in the environment, by what the table calls it."""


def child(way: str, seconds: float) -> None:
    """Print how many training steps of the default model are taken in a second: seqae's, or the usual way's."""
    from growth import training_step

    step = training_step(torch.device("cpu"))[way == "usual"]
    step()
    step()
    began, taken = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        taken += 1
    print(taken / (time.perf_counter() - began))


def rate(way: str, setting: str, seconds: float) -> float:
    """Return the steps a second in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    words = [sys.executable, __file__, "--child", way, str(seconds)]
    done = subprocess.run(words, env=clean | SETTINGS[setting], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def busy() -> None:
    torch.set_num_threads(1)
    matrix = torch.rand(300, 300)
    while True:
        torch.mm(matrix, matrix)


@contextlib.contextmanager
def others(count: int) -> Iterator[None]:
    """Keep so many processes at work beside."""
    kind = multiprocessing.get_context("spawn")
    running = [kind.Process(target=busy, daemon=True) for _ in range(count)]
    for one in running:
        one.start()
    time.sleep(3.0 if running else 0.0)
    try:
        yield
    finally:
        for one in running:
            one.terminate()
            one.join()


def table(rounds: int, seconds: float) -> Iterator[str]:
    names = list(SETTINGS)
    yield f"| | other programs at work | {' | '.join(names)} |"
    yield "|---|---|" + "---|" * len(names)
    for count in (0, CORES):
        found: dict[tuple[str, str], list[float]] = {(way, name): [] for way in ("seqae", "usual") for name in names}
        with others(count):
            for _ in range(rounds):
                for (way, name), rates in found.items():
                    rates.append(rate(way, name, seconds))
        for way, told in (("seqae", "seqae"), ("usual", "the usual way")):
            middle = [statistics.median(found[way, name]) for name in names]
            yield f"| {told} | {count} | {' | '.join(f'{one / middle[0]:.2f}' for one in middle)} |"


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], float(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="processes of each kind, in turn; the median is told")
    parser.add_argument("--seconds", type=float, default=4.0, help="of training steps in each")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    lines = [
        "# Training beside other programs\n",
        f"`{' '.join(['python', 'benchmarks/sharing.py', *sys.argv[1:]])}`, {time.strftime('%Y-%m-%d')}, "
        f"{platform.machine()}, {CORES} cores, PyTorch {torch.__version__}, load {os.getloadavg()[0]:.1f} at first. "
        "Training steps of the default model in a second, in units of those of the same way on one thread in the same "
        "row; the usual way: the library's encoder, a loop of its cells in the decoder.\n",
    ]
    print("\n".join(lines))
    for line in table(given.rounds, given.seconds):
        print(line, flush=True)
        lines.append(line)
    given.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
