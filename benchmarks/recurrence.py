"""What the compiled recurrences give: each beside the way without them, and the training step that is made of them.

python benchmarks/recurrence.py
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

import seqae
from seqae.nn import compiled
from seqae.nn.recurrence import CELLS, Feedback, run

WIDTH = 8
"""Inputs of the cells of the grid."""
LARGEST = 256 * 64 * 128
"""B · T · H up to which the grid goes."""


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


def compare(work: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Return median milliseconds with the kernels and without, of at least 5 interleaved pairs (3 if they are slow)."""
    ways = (compiled.fits, lambda *tensors: False)
    taken: tuple[list[float], list[float]] = ([], [])
    start = time.perf_counter()
    while len(taken[0]) < 4 or time.perf_counter() - start < seconds * (1 if len(taken[0]) > 5 else 10):
        for way, times in zip(ways, taken, strict=True):
            with mock.patch.object(compiled, "fits", way):
                begun = time.perf_counter()
                work()
                times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(taken[0][1:]), statistics.median(taken[1][1:])


def layer(name: str, batch: int, steps: int, hidden: int, *, closed: bool, trains: bool) -> Callable[[], object]:
    torch.manual_seed(0)
    cell = CELLS[name]
    rnn = cell.library(WIDTH + hidden * closed, hidden)
    x = torch.randn(steps, batch, WIDTH)
    state = tuple(torch.zeros(1, batch, hidden) for _ in range(cell.states))
    above = torch.randn(steps, batch, hidden)

    def work() -> None:
        with torch.set_grad_enabled(trains):
            found = run(cell, rnn, x, state, Feedback() if closed else None)
        if trains:
            torch.autograd.grad(found, list(rnn.parameters()), above)

    return work


def step(name: str, channels: int, mode: str) -> Callable[[], object]:
    torch.manual_seed(0)
    model = seqae.VAE(channels=channels, latent=8, hidden=64, cell=name, decoder_type=mode)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x: Tensor = torch.randn(32, 64, channels)

    def work() -> None:
        optimizer.zero_grad()
        seqae.elbo(x, model(x, sample=True)).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return work


def steps_table(seconds: float, numbers: list[int]) -> Iterator[str]:
    yield "| threads | cell | decoder | channels | ms with | ms without | without / with |"
    yield "|---|---|---|---|---|---|---|"
    modes = ("repeat_latent", "concat_output_latent")
    for threads, name, mode, channels in itertools.product(numbers, CELLS, modes, (1, 25)):
        torch.set_num_threads(threads)
        fast, slow = compare(step(name, channels, mode), seconds)
        yield f"| {threads} | {name} | {mode} | {channels} | {fast:.1f} | {slow:.1f} | {slow / fast:.1f} |"


def grid_table(seconds: float, numbers: list[int], *, closed: bool, full: bool) -> Iterator[str]:
    heads = [f"{name} {what}" for name in CELLS for what in ("scores", "trains")]
    yield "| threads | B × T × H | " + " | ".join(heads) + " |"
    yield "|---|---|---|---|---|---|"
    batches, lengths, sizes = ((1, 32, 256), (16, 64, 512), (16, 64, 128)) if full else ((32,), (64,), (64,))
    for threads, batch, steps, hidden in itertools.product(numbers, batches, lengths, sizes):
        if batch * steps * hidden > LARGEST:
            continue
        torch.set_num_threads(threads)
        cells = []
        for name, trains in itertools.product(CELLS, (False, True)):
            fast, slow = compare(layer(name, batch, steps, hidden, closed=closed, trains=trains), seconds)
            cells.append(f"{slow / fast:.1f} ({fast:.3g} ms)")
        yield f"| {threads} | {batch} × {steps} × {hidden} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="time for each comparison, at least")
    parser.add_argument("--quick", action="store_true", help="one size instead of the grid")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    numbers = arguments.threads
    machine = f"{processor()}, {os.cpu_count()} cores, PyTorch {torch.__version__}, load {os.getloadavg()[0]:.1f}"
    print("# What the compiled recurrences give\n")
    print(f"`{' '.join(['python', *sys.argv])}`, {time.strftime('%Y-%m-%d')}, {machine}.\n")
    print(
        f"Layers of {WIDTH} inputs: times as fast as without the kernels (and milliseconds with them). scores: forward"
    )
    print(
        "only; trains: forward and backward. A training step is one of a VAE of 64 hidden and 8 latent, 32 × 64 rows.\n"
    )
    for title, lines in (
        ("A training step", steps_table(arguments.seconds, numbers)),
        ("A layer, inputs known", grid_table(arguments.seconds, numbers, closed=False, full=not arguments.quick)),
        ("A layer, closed loop", grid_table(arguments.seconds, numbers, closed=True, full=not arguments.quick)),
    ):
        print(f"## {title}\n")
        for line in lines:
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
