"""How long the default settings take to train: 10,000 rows of one channel, beside one pass of each cell and mode.

python benchmarks/training.py
"""

from __future__ import annotations

import os
import platform
import time

import torch

import seqae
from seqae.datasets import synthetic


def main() -> None:
    series = synthetic.seasonal(10_000, period=48, seed=0)
    print(f"{platform.machine()}, {os.cpu_count()} cores, PyTorch {torch.__version__}, 10,000 rows of one channel.\n")
    print("| settings | epochs | seconds | windows a second | validation nats a value |\n|---|---|---|---|---|")
    for name, options in {
        "default (VAE, lstm, repeat_latent)": {},
        "decoder concat_output_latent": {"decoder_type": "concat_output_latent"},
        "cell gru": {"cell": "gru"},
    }.items():
        started = time.perf_counter()
        history = seqae.Detector(window=64, **options).fit(series).history
        seconds = time.perf_counter() - started
        epochs = history["epochs"]
        speed = sum(epoch["windows_per_second"] for epoch in epochs) / len(epochs)
        best = epochs[history["best_epoch"] - 1]["validation_per_value"]
        print(f"| {name} | {len(epochs)} | {seconds:.0f} | {speed:.0f} | {best:.3f} |", flush=True)


if __name__ == "__main__":
    main()
