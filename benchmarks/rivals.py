"""What speed.py compares with: the same models written the usual way, and other packages' detectors, end to end.

python benchmarks/rivals.py "PyOD LSTMAD" --channels 5 --threads 1
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.util
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import seqae
from seqae.datasets import synthetic
from seqae.nn import compiled
from seqae.nn.decoders import RecurrentDecoder

SAME, SAME_GRADIENT = 1e-5, 1e-4
"""How far two ways may be apart, beside their largest value (or 1)."""
ROWS, WINDOW, EPOCHS, BATCH, LATENT, ROUNDS = 10_000, 64, 2, 32, 8, 3
"""Of the training and scoring beside other packages."""
PATIENCE = 300
"""Seconds that one of them may take."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Floats = NDArray[np.float32]
Work = Callable[[], Any]


def agree(what: str, ours: Sequence[Tensor], theirs: Sequence[Tensor], tolerance: float) -> None:
    """Raise where two ways that should give the same do not: their times would not be comparable."""
    for a, b in zip(ours, theirs, strict=True):
        apart = float((a - b).abs().max()) / max(1.0, float(b.abs().max()))
        if not apart <= tolerance:
            raise ArithmeticError(f"{what}: two ways are {apart:.1e} apart, at most {tolerance:.0e} is rounding.")


# --- the usual ways ---------------------------------------------------------------------------------------------------


def looped(decoder: RecurrentDecoder, z: Tensor, steps: int) -> Tensor:
    """Return the location (B, T, C) that a decoder gives, by a loop over steps and layers with the library's cells."""
    start = torch.tanh(decoder.start(z)).view(len(z), -1, decoder.layers, decoder.hidden)
    states = [start[:, :, layer].unbind(1) for layer in range(decoder.layers)]
    hidden, outputs = states[-1][0], []
    for _ in range(steps):
        parts = [z] if decoder.wiring.latent else []
        if decoder.wiring.output:
            parts.append(decoder.location(hidden) if decoder.projected else hidden)
        below = torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]
        for layer, weights in enumerate(decoder.rnn.all_weights):
            if len(states[layer]) == 1:
                states[layer] = (torch.gru_cell(below, states[layer][0], *weights),)
            else:
                states[layer] = torch.lstm_cell(below, states[layer], *weights)
            below = states[layer][0]
        hidden = below
        outputs.append(hidden)
    return decoder.location(torch.stack(outputs, dim=1))


def opened(decoder: RecurrentDecoder, rnn: nn.RNNBase, z: Tensor, steps: int) -> Tensor:
    """Return the location (B, T, C) of one call of the library's, fed z at every step; start and head as they are."""
    start = torch.tanh(decoder.start(z)).view(len(z), -1, decoder.layers, decoder.hidden)
    state = tuple(part.contiguous() for part in start.permute(1, 2, 0, 3))
    hidden = rnn(z.expand(steps, *z.shape), state if len(state) > 1 else state[0])[0]
    return decoder.location(hidden.transpose(0, 1))


class Usual(nn.Module):
    """A variational autoencoder written the usual way, with copies of the weights of one of seqae's (one layer,
    likelihood normal): the library's encoder, and a loop of the library's cells."""

    def __init__(self, model: seqae.Autoencoder) -> None:
        super().__init__()
        own: Any = copy.deepcopy(model)
        self.encoder, self.mean, self.log_var = own.encoder.rnn, own.latent.mean, own.latent.log_var
        self.decoder, self.log_scale = own.decoder, own.likelihood.log_scale
        self.encoder.batch_first = True

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return −ELBO of x (B, T, C) in nats a window, for a z that is drawn."""
        _, state = self.encoder(torch.cat([x, torch.ones_like(x)], dim=-1))
        features = (state[0] if isinstance(state, tuple) else state)[-1]
        mean, log_var = self.mean(features), self.log_var(features)
        z = mean + torch.exp(0.5 * log_var) * torch.randn(mean.shape, generator=generator, device=x.device)
        floor = math.log(1e-3)
        log_scale = floor + nn.functional.softplus(self.log_scale - floor)
        error = (x - looped(self.decoder, z, x.shape[1])) * torch.exp(-log_scale)
        reconstruction = (0.5 * error**2 + log_scale + 0.5 * math.log(2 * math.pi)).sum() / len(x)
        kl = 0.5 * (mean**2 + torch.exp(log_var) - log_var - 1.0).sum() / len(x)
        return reconstruction + kl


def without_kernels(work: Work) -> Work:
    """Return the same work by the library's own calls, recurrences merged where they can be."""

    def plain() -> Any:
        with mock.patch.object(compiled, "fits", return_value=False):
            return work()

    return plain


# --- other packages ---------------------------------------------------------------------------------------------------


class Fitted(NamedTuple):
    """A trained detector: what scores rows (R, C), and its network."""

    score: Callable[[Floats], object]
    network: Any


class Rival(NamedTuple):
    """A way to train a detector on rows (R, C), at one size for each number of channels."""

    module: str
    fit: Callable[[Floats, int], Fitted]
    size: dict[int, int]
    """channels -> hidden size, by which it has about as many parameters as seqae's LSTM."""
    windows: int = ROWS - WINDOW + 1
    """The most that it is given: fewer for what is slow."""
    share: float = 1.0
    """The share of them that it trains on; the rest it holds back."""


def part(module: str, name: str) -> Any:
    """Return a class or function of a package, imported only when it is used."""
    return getattr(importlib.import_module(module), name)


def ours(rows: Floats, hidden: int, *, calibration: float = 0.0, **options: Any) -> Fitted:
    detector = seqae.Detector(model="AE", window=WINDOW, latent=LATENT, hidden=hidden, stride=1, **options)
    parts = {"train_stride": 1, "validation": 0, "calibration": calibration}
    detector.fit(rows, epochs=EPOCHS, batch_size=BATCH, patience=None, **parts)
    return Fitted(detector.score, detector.model)


def sequitur(rows: Floats, hidden: int) -> Fitted:
    windows = list(torch.from_numpy(seqae.sliding_windows(rows, WINDOW).copy()))
    encoder, decoder, _, _ = part("sequitur", "quick_train")(
        part("sequitur.models", "LSTM_AE"), windows, encoding_dim=LATENT, epochs=EPOCHS, h_dims=[hidden]
    )

    def score(given: Floats) -> list[float]:
        with torch.no_grad():
            each = torch.from_numpy(seqae.sliding_windows(given, WINDOW).copy())
            return [float((decoder(encoder(x), WINDOW) - x).square().mean()) for x in each]

    return Fitted(score, nn.ModuleList([encoder, decoder]))


def pyod_autoencoder(rows: Floats, hidden: int) -> Fitted:
    def flat(given: Floats) -> Floats:
        windows = seqae.sliding_windows(given, WINDOW)
        return windows.reshape(len(windows), -1)

    model = part("pyod.models.auto_encoder", "AutoEncoder")(
        hidden_neuron_list=[hidden, LATENT], epoch_num=EPOCHS, batch_size=BATCH, verbose=0, device=torch.device("cpu")
    ).fit(flat(rows))
    return Fitted(lambda given: model.decision_function(flat(given)), model.model)


def on_series(network: str, module: str, name: str, hidden: str, **options: Any) -> Callable[[Floats, int], Fitted]:
    """Return what trains a detector of series; hidden: what it calls its size, network: where it keeps its network."""
    if not hasattr(np, "Inf"):
        np.Inf = np.inf  # type: ignore[attr-defined]  # the one name of NumPy 1 that the models of TSB-AD 1.5 use

    def fit(rows: Floats, size: int) -> Fitted:
        given = {key: value(rows.shape[1]) if callable(value) else value for key, value in options.items()}
        model = part(module, name)(batch_size=BATCH, **given, **{hidden: size})
        model.fit(rows)
        return Fitted(model.decision_function, getattr(model, network))

    return fit


OURS = dict.fromkeys((1, 5), 64)
RIVALS: dict[str, Rival] = {
    "seqae, lstm": Rival("seqae", partial(ours, scorer="window_error"), OURS),
    "seqae, gru": Rival("seqae", partial(ours, scorer="window_error", cell="gru"), OURS),
    "seqae, lstm, default scores": Rival("seqae", partial(ours, calibration=0.1), OURS, share=0.9),
    "sequitur LSTM_AE": Rival("sequitur", sequitur, {1: 45, 5: 45}, windows=400),
    "PyOD LSTMAD": Rival(
        "pyod",
        on_series("model_", "pyod.models.ts_lstm", "LSTMAD", "hidden_size", window_size=WINDOW, epochs=EPOCHS),
        {1: 54, 5: 54},
    ),
    "PyOD AutoEncoder": Rival("pyod", pyod_autoencoder, {1: 255, 5: 57}),
    "dtaianomaly LSTM": Rival(
        "dtaianomaly",
        on_series(
            "neural_network_", "dtaianomaly.anomaly_detection", "LongShortTermMemoryNetwork", "hidden_units",
            window_size=WINDOW, n_epochs=EPOCHS,
        ),
        {1: 88, 5: 65},
    ),
    "TSB-AD LSTMAD": Rival(
        "TSB_AD",
        on_series(
            "model", "TSB_AD.models.LSTMAD", "LSTMAD", "hidden_dim",
            window_size=WINDOW, pred_len=1, epochs=EPOCHS, num_layer=1, feats=lambda channels: channels,
        ),
        {1: 66, 5: 65},
        share=0.8,
    ),
    "DeepOD TcnED": Rival(
        "deepod",
        on_series(
            "net", "deepod.models.time_series.tcned", "TcnED", "hidden_dims",
            seq_len=WINDOW, epochs=EPOCHS, device="cpu", verbose=0,
        ),
        {1: 58, 5: 56},
    ),
}  # fmt: skip


def series(rows: int, channels: int) -> Floats:
    """Return standardised waves (rows, channels)."""
    return synthetic.seasonal(rows, channels, period=48, seed=0).values.astype(np.float32)


def highest() -> float:
    """Return this process's highest resident memory so far, in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def measure(name: str, channels: int, threads: int, most: int) -> dict[str, float]:
    """Train and score in this process; return windows a second of both, the parameters and the memory, in MB."""
    torch.set_num_threads(threads)
    rival = RIVALS[name]
    count = min(most, rival.windows)
    rows, size = series(count + WINDOW - 1, channels), rival.size[channels]
    importlib.import_module(rival.module)
    before = highest()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        rival.fit(rows[: 4 * WINDOW], size).score(rows[: 4 * WINDOW])  # what is paid once, at the first use
        start = time.perf_counter()
        fitted = rival.fit(rows, size)
        trained = time.perf_counter()
        fitted.score(rows)
        scored = time.perf_counter()
    parameters = sum(weight.numel() for weight in fitted.network.parameters())
    return {
        "windows": count, "parameters": parameters, "training": count * rival.share * EPOCHS / (trained - start),
        "scoring": count / (scored - trained), "peak": highest(), "before": before,
    }  # fmt: skip


def apart(name: str, channels: int, threads: int, most: int) -> dict[str, float] | str:
    """Measure in a process of its own; return what went wrong, in a line, where something did."""
    command = [sys.executable, __file__, name, "--channels", str(channels), "--threads", str(threads)]
    environment = os.environ | dict.fromkeys(THREADS, str(threads))
    try:
        done = subprocess.run(
            [*command, "--windows", str(most)], capture_output=True, text=True, timeout=PATIENCE, env=environment
        )
    except subprocess.TimeoutExpired:
        return f"more than {PATIENCE} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def in_turn(names: Sequence[str], rounds: int, *how: int) -> dict[str, dict[str, float] | str]:
    """Measure all in turn, A, B, C, A, B, C, ...; return each one's medians, or what went wrong first."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    wrong: dict[str, str] = {}
    for _, name in itertools.product(range(rounds), names):
        found = wrong.get(name) or apart(name, *how)
        if isinstance(found, str):
            wrong[name] = found
        else:
            runs[name].append(found)
    return {
        name: wrong.get(name) or {key: statistics.median(run[key] for run in own) for key in own[0]}
        for name, own in runs.items()
    }  # fmt: skip


def table(threads: Sequence[int], quick: bool) -> Iterator[str]:
    """Yield the lines of the table, each from processes of its own."""
    there = [name for name, rival in RIVALS.items() if importlib.util.find_spec(rival.module) is not None]
    rounds, most, channels = (1, 2000, (1,)) if quick else (ROUNDS, ROWS, (1, 5))
    yield f"{ROWS:,} rows of waves, windows of {WINDOW} at stride 1, {EPOCHS} epochs in batches of {BATCH} (sequitur:"
    yield "1), sizes that give about as many parameters. Those that are slow get fewer windows. Each in processes of"
    yield f"its own, all in turn, {rounds} times: medians. Training: all of `fit`, for PyOD with the scores of the rows"
    yield "it trained on. Memory: the highest resident size, and how much of it was there with all packages imported.\n"
    heads = ("trained, windows/s", "seqae lstm ÷ it", "scored, windows/s", "seqae lstm ÷ it", "peak, MB", "before")
    yield f"| | channels | threads | parameters | windows | {' | '.join(heads)} |\n|{'---|' * 11}"
    for width, number in itertools.product(channels, threads):
        found = in_turn(there, rounds, width, number, most)
        first = found[there[0]]
        for name, one in found.items():
            if isinstance(one, str) or isinstance(first, str):
                yield f"| {name} | {width} | {number} | {one} |"
                continue
            told = [f"{one['parameters']:,.0f}", f"{one['windows']:,.0f}"]
            for what in ("training", "scoring"):
                told += [f"{one[what]:,.0f}", f"{first[what] / one[what]:.1f}"]
            yield f"| {name} | {width} | {number} | {' | '.join(told)} | {one['peak']:.0f} | {one['before']:.0f} |"
    absent = [name for name in RIVALS if name not in there]
    yield f"\nNot installed, and left out: {', '.join(absent) or 'none'}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=RIVALS)
    parser.add_argument("--channels", type=int, choices=OURS, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--windows", type=int, default=ROWS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    print(json.dumps(measure(given.name, given.channels, given.threads, given.windows)))


if __name__ == "__main__":
    main()
