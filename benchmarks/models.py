"""Every decoder mode × cell × model on real series: reconstruction, how well scores separate labels, seconds.

    python benchmarks/models.py --output benchmarks/results/models.md

One configuration for all: the library's defaults but for the window and the time limit named in the table's head. The
train part is the stated share of the rows, never labelled ones; everything is reported on the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score

import seqae
from seqae.errors import SeqaeWarning
from seqae.nn.decoders import DECODERS
from seqae.nn.recurrence import CELLS

DATA = Path(os.environ.get("SEQAE_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
NAB = ("realKnownCause/nyc_taxi.csv", "realKnownCause/ambient_temperature_system_failure.csv")


def labelled(series: seqae.Series, path: str) -> np.ndarray:
    """Return NAB's anomaly windows as one bool a row."""
    windows = json.loads((DATA / "nab" / "labels" / "combined_windows.json").read_text())[path]
    index, found = series.index, np.zeros(len(series), dtype=bool)
    for start, end in windows:
        found |= (index >= start) & (index <= end)
    return found


def data() -> Iterator[tuple[str, seqae.Series, np.ndarray, int, dict]]:
    """Yield name, series, labels, rows to train on, and the options that go with the data's length."""
    series = seqae.datasets.elnino()
    # 77 calibration rows cannot tell a false-alarm rate of 1 %
    yield "El Niño (bundled)", series, series.labels, 384, {"window": 24, "alpha": 0.02}
    for path in NAB:
        file = DATA / "nab" / "data" / path
        if not file.exists():
            print(f"{file} is absent: skipped (benchmarks/README.md says where it is published)", file=sys.stderr)
            continue
        series = seqae.read_csv(file)
        labels = labelled(series, path)
        train = min(len(series) // 2, int(np.argmax(labels)))
        yield f"NAB {Path(path).stem}", series, labels, train, {"window": 64, "alpha": 0.01}


def measure(series: seqae.Series, labels: np.ndarray, train: int, options: dict, running: dict) -> dict[str, float]:
    detector = seqae.Detector(scorer="nll", smoothing=1, **options)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeqaeWarning)
        known = "exclude" if series.labels is not None else "keep"
        detector.fit(series[:train], labelled=known, **running)
        fitted = time.perf_counter()
        scores = detector.score(series)
    scored = time.perf_counter()
    table = detector.reconstruct(series)
    channel = series.channels[0]
    later = np.arange(len(series)) >= train
    normal = later & ~labels
    error = (table[channel] - table[f"{channel}_reconstructed"]).to_numpy()
    spread = float(np.nanstd(series.values[:train, 0]))
    usable = later & scores["score"].notna().to_numpy()
    s, y = scores["score"].to_numpy()[usable], labels[usable]
    return {
        "rmse": float(np.sqrt(np.nanmean(error[normal] ** 2))) / spread,
        "auroc": roc_auc_score(y, s),
        "ap": average_precision_score(y, s),
        "flagged": float(scores["is_anomaly"].to_numpy()[normal].mean()),
        "train": fitted - started,
        "score": scored - fitted,
    }


def baselines(series: seqae.Series, train: int, window: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield scores (T,) that no model should be worse than: chance, smoothed z² and window-PCA, folded as ours are."""
    yield "random", np.random.default_rng(0).random(len(series))
    known = series.values[:train].astype(np.float64)
    if series.labels is not None:
        known = known[~series.labels[:train]]
    z = (series.values - np.nanmean(known, axis=0)) / np.nanstd(known, axis=0)
    z = pd.DataFrame(z).interpolate(limit_direction="both").to_numpy()  # these know no missing values
    # a mean over the windows that cover a row of the windows' means: a triangle as wide as two windows
    each = seqae.sliding_windows(z.astype(np.float32) ** 2, window)
    energy = np.broadcast_to(each.mean(axis=1, keepdims=True), each.shape)
    yield "energy (smoothed z²)", seqae.overlap_mean(energy, np.arange(len(each)), len(z))[:, 0]
    windows = seqae.sliding_windows(z.astype(np.float32), window)[:, :, 0]
    clean = (
        np.ones(len(windows), dtype=bool)
        if series.labels is None
        else ~seqae.sliding_windows(series.labels, window).any(axis=1)
    )
    learned = windows[: train - window + 1][clean[: train - window + 1]]
    pca = PCA(8).fit(learned)
    error = (windows - pca.inverse_transform(pca.transform(windows))) ** 2
    yield (
        "window-PCA, 8 components",
        seqae.overlap_mean(error[:, :, None].astype(np.float32), np.arange(len(error)), len(z))[:, 0],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-time", type=float, default=20.0, help="seconds of training a model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--baselines", action="store_true", help="only the scores without a model")
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    lines = [
        "# Decoder modes × cells × models",
        "",
        f"`python benchmarks/models.py --max-time {chosen.max_time:g} --seed {chosen.seed}`, {date.today()}, "
        f"{platform.machine()}, {os.cpu_count()} cores, PyTorch {torch.__version__}, at most {chosen.max_time:g} s of "
        "training a model, one seed.",
        "",
        "RMSE: of the reconstruction on rows neither trained on nor labelled, in standard deviations of the "
        "train part. AUROC and AP (average precision): the scores against the labels, row by row, after the "
        "train part; a random score has AUROC .5 and AP = the labelled share. Flagged: share of unlabelled rows "
        "flagged, to be held against the threshold's α.",
    ]
    for name, series, labels, train, fitting in data():
        print(name, file=sys.stderr)
        lines += [
            "",
            f"## {name}: trained on {train} of {len(series)} rows, window {fitting['window']}, α {fitting['alpha']}",
            "",
        ]
        head = "| model | cell | decoder_type | RMSE | AUROC | AP | flagged | train s | score s |"
        rows = [head, "|" + "---|" * 9]
        for model in () if chosen.baselines else ("AE", "VAE", "CVAE"):
            for cell in CELLS:
                for mode in DECODERS:
                    options = {"model": model, "cell": cell, "decoder_type": mode, **fitting}
                    running = {"epochs": 60, "max_time": chosen.max_time, "seed": chosen.seed}
                    r = measure(series, labels, train, options, running)
                    rows.append(
                        f"| {model} | {cell} | {mode} | {r['rmse']:.3f} | {r['auroc']:.3f} | {r['ap']:.3f} | "
                        f"{r['flagged']:.3f} | {r['train']:.1f} | {r['score']:.1f} |"
                    )
                    print(rows[-1], file=sys.stderr)
        later = (np.arange(len(series)) >= train) & series.observed[:, 0]
        for label, scores in baselines(series, train, fitting["window"]):
            auroc, ap = (f(labels[later], scores[later]) for f in (roc_auc_score, average_precision_score))
            rows.append(f"| {label} | | | | {auroc:.3f} | {ap:.3f} | | | |")
        lines += [f"Labelled share of the rows scored: {labels[later].mean():.3f}.", "", *rows]
    text = "\n".join(lines) + "\n"
    if chosen.output:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
