"""Training steps, seqae's and the usual way, and how cost grows with the data and the model: parts of speed.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from rivals import Usual, Work
from torch import Tensor, nn

import seqae
from seqae.datasets import synthetic
from seqae.training.loop import OPTIMIZERS
from seqae.windows import Batch

DOUBLED = 4
STEPS: dict[str, tuple[str, int]] = {
    "steps of a window, T = W": ("steps", 32),
    "channels, C": ("channels", 1),
    "hidden size, H": ("hidden", 16),
    "windows in a batch, B": ("batch", 16),
}
"""What of a training step is doubled: the name of its argument, and where it starts."""
ROWS, WINDOW = 4000, 64
LEARNED_FROM = 3000
"""Rows that the detectors which score are trained on."""

Clock = Callable[..., list[float]]


def training_step(
    device: torch.device, *, cell: str = "lstm", mode: str = "repeat_latent", channels: int = 1, batch: int = 32,
    steps: int = 64, hidden: int = 64,
) -> tuple[Work, Work]:  # fmt: skip
    """Return a step of training (forward, loss, backward, clip, Adam) of seqae's VAE and of the usual one."""
    torch.manual_seed(0)
    model = seqae.VAE(channels=channels, latent=8, hidden=hidden, cell=cell, decoder_type=mode).to(device)
    usual, objective = Usual(model), seqae.Objective()
    x = torch.randn(batch, steps, channels, device=device)
    given = Batch(x, torch.ones_like(x, dtype=torch.bool))
    noise = [torch.Generator(device).manual_seed(0) for _ in range(2)]

    def step(part: nn.Module, make: Callable[..., torch.optim.Optimizer], loss: Callable[[], Tensor]) -> Work:
        optimizer = make(part.parameters(), lr=1e-3)

        def work() -> Tensor:
            optimizer.zero_grad()
            total = loss()
            total.backward()
            nn.utils.clip_grad_norm_(part.parameters(), 1.0)
            optimizer.step()
            return total.detach()

        return work

    return (
        step(model, OPTIMIZERS["adam"], lambda: objective(model, given, epoch=0.0, generator=noise[0]).total),
        step(usual, torch.optim.Adam, lambda: usual.loss(x, noise[1])),
    )


def slope(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Return the exponent of the power of the size that fits the times best: the least-squares slope of logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def trained(window: int) -> seqae.Detector:
    """Return a detector with the default settings that has seen one epoch: what it has learned costs no time."""
    series = synthetic.seasonal(LEARNED_FROM, period=48, seed=0)
    return seqae.Detector(window=window).fit(series, epochs=1, train_stride=max(1, window // 8))


def scoring(rows: int, detector: seqae.Detector) -> Work:
    series = synthetic.seasonal(rows, period=48, seed=1)
    return lambda: detector.score(series)


def line(what: str, unit: str, sizes: Sequence[int], times: Sequence[float]) -> str:
    """Return a row of the table: the times, the slope over all, and that of the last doubling."""
    told = ", ".join(f"{size:,}: {time:.3g}" for size, time in zip(sizes, times, strict=True))
    return f"| {what} | {told} {unit} | {slope(sizes, times):.2f} | {slope(sizes[-2:], times[-2:]):.2f} |"


def tables(clock: Clock, device: torch.device, quick: bool) -> Iterator[str]:
    """Yield the lines of the table; scoring is timed on the CPU."""
    doublings = 2 if quick else DOUBLED
    factors = [2**power for power in range(doublings + 1)]
    yield f"Each doubled {doublings} times; the slope of log time over log size, over all and of the last doubling."
    yield "Training step: the default model, 32 windows of 64 steps, 1 channel, 64 hidden where nothing else is said."
    yield f"Scoring: the default Detector on the CPU, window {WINDOW} and {ROWS:,} rows; its stride is a sixteenth of"
    yield "the window, so that 16 windows see each row, whatever their length.\n"
    yield "| of | milliseconds | slope | at the end |\n|---|---|---|---|"
    for what, (name, first) in STEPS.items():
        sizes = [first * factor for factor in factors]
        yield line(
            f"a training step: {what}",
            "ms",
            sizes,
            clock(*(training_step(device, **{name: size})[0] for size in sizes)),
        )
    detector = trained(WINDOW)
    rows = [ROWS * factor for factor in factors]
    yield line("scoring: rows, N", "ms", rows, clock(*(scoring(count, detector) for count in rows)))
    windows = [WINDOW // 2 * factor for factor in factors]
    works = [scoring(ROWS, trained(window)) for window in windows]
    yield line(f"scoring of {ROWS:,} rows: window, W", "ms", windows, clock(*works))
