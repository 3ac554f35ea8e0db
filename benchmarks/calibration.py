"""Does the false-alarm rate hold? Realised against wanted rate, for every threshold, simulated and on real normal data.

    python benchmarks/calibration.py --output benchmarks/results/calibration.md

Simulated: scores of a known law, so that the rate behind a threshold is known exactly. Real: the train parts of
the labelled series, free of anomalies; a model or window-PCA fitted to the first half, calibrated on the next quarter,
tested on the last. Nothing is chosen by the outcome.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
from baselines import window_pca
from labelled import cases
from numpy.typing import NDArray
from scipy import stats
from scipy.signal import lfilter

import seqae
from seqae.anomaly.thresholds.dependence import effective_number, rate_interval
from seqae.anomaly.thresholds.rules import THRESHOLDS, Threshold
from seqae.errors import SeqaeWarning

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
Draw = Callable[[np.random.Generator, int], Floats]

ALPHAS = (0.01, 0.05)
SIZES = (500, 2000, 8000)
SPLITS = 200
WINDOW = 64
SINGLE = {name: kind for name, kind in THRESHOLDS.items() if not kind.batchwise}
T3 = stats.t(3)


def white(rng: np.random.Generator, n: int) -> Floats:
    return rng.standard_normal(n)


def autoregressive(phi: float) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> Floats:
        noise = rng.standard_normal(n + 1000) * np.sqrt(1 - phi**2)
        return lfilter([1.0], [1.0, -phi], noise)[1000:]

    return draw


def moving_mean(rng: np.random.Generator, n: int) -> Floats:
    total = np.cumsum(np.concatenate([[0.0], rng.exponential(size=n + WINDOW - 1)]))
    return (total[WINDOW:] - total[:-WINDOW]) / WINDOW


LAWS: dict[str, tuple[Draw, Callable[[float], float]]] = {
    "independent, normal": (white, stats.norm.sf),
    "independent, exponential": (lambda rng, n: rng.exponential(size=n), stats.expon.sf),
    "independent, Student t, 3 d.f.": (lambda rng, n: rng.standard_t(3, n), T3.sf),
    "AR(1) φ=.5, normal": (autoregressive(0.5), stats.norm.sf),
    "AR(1) φ=.9, normal": (autoregressive(0.9), stats.norm.sf),
    "AR(1) φ=.95, normal": (autoregressive(0.95), stats.norm.sf),
    "AR(1) φ=.9, Student t, 3 d.f.": (lambda rng, n: T3.ppf(stats.norm.cdf(autoregressive(0.9)(rng, n))), T3.sf),
    f"mean of {WINDOW} exponential errors": (moving_mean, stats.gamma(WINDOW, scale=1 / WINDOW).sf),
}
"""name -> how to draw n scores in time order, and the share of all scores above a value."""


def inside(rate: float, interval: tuple[float, float]) -> bool:
    return interval[0] <= rate <= interval[1]


def stated(threshold: Threshold, effective: float) -> tuple[float, float]:
    """Return the interval as a model states it: for as many new rows as it was calibrated on."""
    return rate_interval(threshold.false_alarm_rate, effective, ahead=effective)


def thinned(scores: Floats, effective: float, alpha: float) -> Threshold:
    return SINGLE["conformal"](scores[:: max(1, round(len(scores) / effective))], alpha)


def simulate(seed: int, splits: int) -> Iterator[str]:
    """Yield the tables of the simulated splits."""
    spreads = []
    for alpha in ALPHAS:
        yield from ("", f"### α = {alpha}", "")
        yield "| scores | n | independent | " + " | ".join(SINGLE) + " | conformal, long run |"
        yield "|" + "---|" * (len(SINGLE) + 4)
        for number, (name, (draw, above)) in enumerate(LAWS.items()):
            for n in SIZES:
                rng = np.random.default_rng([seed, number, n])
                rates, held, effective, long_run = defaultdict(list), defaultdict(list), [], []
                for _ in range(splits):
                    both = draw(rng, 2 * n)
                    known, ahead = both[:n], both[n:]
                    effective.append(effective_number([known]))
                    for method, kind in SINGLE.items():
                        threshold = kind(known, alpha)
                        rates[method].append(float(above(threshold.value)))
                        told = stated(threshold, effective[-1])
                        held[method].append(inside(threshold.flag(ahead).mean(), told))
                        if method == "conformal":
                            told = rate_interval(threshold.false_alarm_rate, effective[-1])
                            long_run.append(inside(rates[method][-1], told))
                    rates["thinned"].append(float(above(thinned(known, effective[-1], alpha).value)))
                cells = [f"{np.mean(rates[m]):.4f} ({np.mean(held[m]):.0%})" for m in SINGLE]
                yield f"| {name} | {n} | {np.median(effective):.0f} | {' | '.join(cells)} | {np.mean(long_run):.0%} |"
                print(name, n, alpha, file=sys.stderr)
                error = {m: np.sqrt(np.mean((np.array(rates[m]) - alpha) ** 2)) for m in ("conformal", "thinned")}
                mute = np.mean(np.array(rates["thinned"]) == 0)
                spreads.append(
                    f"| {name} | {n} | {alpha} | {np.mean(rates['conformal']):.4f} | {error['conformal']:.4f} | "
                    f"{np.mean(rates['thinned']):.4f} | {error['thinned']:.4f} | {mute:.0%} |"
                )
    yield from ("", "### All rows, or only every so many-th", "")
    yield "Conformal threshold by all n scores, or by every (n / independent)-th; the error is the root mean square of"
    yield "realised rate − α. Unreachable: the share of splits in which the thinned scores can flag nothing.\n"
    yield "| scores | n | α | all: rate | all: error | thinned: rate | thinned: error | thinned: unreachable |"
    yield "|" + "---|" * 8
    yield from spreads


def simulate_batches(seed: int, splits: int) -> Iterator[str]:
    """Yield the table of Benjamini-Hochberg's false flags."""
    yield "| scores | n | rows | strange rows | α | batches with a flag | false among flags | strange rows found |"
    yield "|" + "---|" * 8
    for name, phi in (("independent, normal", 0.0), ("AR(1) φ=.9, normal", 0.9)):
        for n, m, strange in ((8000, 500, 0), (8000, 500, 10), (2000, 500, 10), (2000, 500, 0)):
            for alpha in (0.05, 0.1):
                rng, any_flag, false, found = np.random.default_rng([seed, n, strange]), [], [], []
                for _ in range(splits):
                    scores = autoregressive(phi)(rng, n + m)
                    truth = np.arange(m) < strange
                    flags = THRESHOLDS["benjamini_hochberg"](scores[:n], alpha).flag(scores[n:] + 8 * truth)
                    any_flag.append(flags.any())
                    false.append((flags & ~truth).sum() / max(flags.sum(), 1))
                    found.append(flags[truth].mean() if strange else np.nan)
                told = f"{np.mean(found):.0%}" if strange else ""
                yield (
                    f"| {name} | {n} | {m} | {strange} | {alpha} | {np.mean(any_flag):.0%} | {np.mean(false):.3f} "
                    f"| {told} |"
                )


def by_pca(rows: Rows, known: Rows, seconds: float) -> Callable[[Rows], Floats]:
    return window_pca(rows, WINDOW, 0)


def by_detector(rows: Rows, known: Rows, seconds: float) -> Callable[[Rows], Floats]:
    detector = seqae.Detector(window=WINDOW)
    detector.fit(rows, max_time=seconds, calibration=0).calibrate(known)  # heads are fused by the calibration part
    return lambda given: detector.score(given)["score"].to_numpy(dtype=np.float64)


MODELS = {"window-PCA": by_pca, "seqae.Detector": by_detector}


def real_scores(seconds: float) -> Iterator[tuple[str, str, Floats, Floats]]:
    """Yield the model, the series, and the scores of the third and the last quarter of its train part."""
    for case in cases():
        rows = case.train
        if case.collection == "nab" or np.isnan(rows).any() or case.labels[: len(rows)].any():
            continue
        half, quarter = len(rows) // 2, len(rows) // 4
        for model, fit in MODELS.items():
            started, before = time.perf_counter(), min(2 * WINDOW, half)
            score = fit(rows[:half], rows[half : half + quarter], seconds)
            known = score(rows[half - before : half + quarter])[before:]
            ahead = score(rows[half + quarter - before :])[before:]
            print(f"{case.key} {model} {time.perf_counter() - started:.1f} s", file=sys.stderr)
            yield model, case.key, known, ahead


def alternate(known: Floats, ahead: Floats, block: int = 2 * WINDOW) -> tuple[list[Floats], list[Floats]]:
    """Return the same scores in blocks that go to calibration and test by turns: a split that drift cannot touch."""
    together = np.concatenate([known, ahead])
    blocks = [together[start : start + block] for start in range(0, len(together), block)]
    return blocks[::2], blocks[1::2]


def real(seconds: float) -> Iterator[str]:
    """Yield the tables of the real splits."""
    outcome, broken, sizes = defaultdict(list), defaultdict(list), defaultdict(list)
    batches = defaultdict(list)
    for model, key, known, ahead in real_scores(seconds):
        splits = {"in time order": ([known], [ahead]), "blocks by turns": alternate(known, ahead)}
        for order, (calibration, test) in splits.items():
            tested, effective = np.concatenate(test), effective_number(calibration)
            if order == "in time order":
                sizes[model].append((len(known), effective))
            for alpha in ALPHAS:
                for method, kind in SINGLE.items():
                    threshold = kind(np.concatenate(calibration), alpha)
                    told, flags = stated(threshold, effective), threshold.flag(tested)
                    rate = float(flags.mean())
                    outcome[model, order, alpha, method].append(
                        (rate, inside(rate, told), rate > told[1], *told, flags.sum(), len(flags))
                    )
                    if order == "in time order" and method == "conformal" and rate > told[1]:
                        broken[model, alpha].append(f"{key} ({rate:.3f}, stated at most {told[1]:.3f})")
                flags = THRESHOLDS["benjamini_hochberg"](np.concatenate(calibration), alpha).flag(tested)
                batches[model, order, alpha].append((flags.any(), flags.mean()))
    for model, found in sizes.items():
        rows, effective = np.median(found, axis=0)
        few = np.mean([worth < 100 for _, worth in found])
        yield (
            f"{model}: {len(found)} series; the median calibration part has {rows:.0f} scores, worth {effective:.0f} "
            f"independent ones; in {few:.0%} of the series it is fewer than 100.\n"
        )
    columns = ("model", "split", "α", "method", "rate, mean", "median", "in the stated interval", "above it")
    columns += ("stated, median", "false alarms per 1,000 rows")
    yield f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"
    for (model, order, alpha, method), split in outcome.items():
        rate, held, above, low, high, count, rows = np.array(split, dtype=float).T
        per_1000 = 1000 * count.sum() / rows.sum()
        yield (
            f"| {model} | {order} | {alpha} | {method} | {rate.mean():.4f} | {np.median(rate):.4f} | "
            f"{held.mean():.0%} | {above.mean():.0%} | {np.median(low):.3f} to {np.median(high):.3f} | {per_1000:.1f} |"
        )
    yield "\nBenjamini-Hochberg with the whole test part as one batch of normal rows, where any flag is false:\n"
    yield "| model | split | α | splits with a flag | share of rows flagged |\n|---|---|---|---|---|"
    for (model, order, alpha), found in batches.items():
        some, share = np.mean(np.array(found, dtype=float), axis=0)
        yield f"| {model} | {order} | {alpha} | {some:.0%} | {share:.4f} |"
    yield "\nSeries whose realised rate is above the interval (conformal, in time order):\n"
    for (model, alpha), names in broken.items():
        yield f"- {model}, α = {alpha}: {', '.join(names)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=SPLITS, help="simulated splits of each kind")
    parser.add_argument("--max-time", type=float, default=4.0, help="seconds of training a model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", SeqaeWarning)  # what they say is what is measured
    started = time.perf_counter()
    simulated, batches = list(simulate(chosen.seed, chosen.splits)), list(simulate_batches(chosen.seed, chosen.splits))
    measured = list(real(chosen.max_time))
    command = f"python benchmarks/calibration.py --splits {chosen.splits} --max-time {chosen.max_time:g}"
    text = HEAD.format(
        command=f"{command} --seed {chosen.seed}", date=date.today(), seconds=time.perf_counter() - started,
        machine=f"{platform.machine()}, {os.cpu_count()} cores", splits=chosen.splits, max_time=chosen.max_time,
        simulated="\n".join(simulated), batches="\n".join(batches), real="\n".join(measured),
    )  # fmt: skip
    if chosen.output:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(text)
    else:
        print(text)


HEAD = """# Does the false-alarm rate hold?

`{command}`, {date}, {machine}, {seconds:.0f} s.

## Simulated scores, {splits} splits each

A cell: the mean realised rate in the long run, known exactly from the law of the scores, and in how many of the splits
the share flagged among the n rows that follow lies in the 90 % interval that the model states for as many rows as it
was calibrated on (`seqae.anomaly.thresholds.dependence.rate_interval`). Independent: the median effective number. Last
column: in how many of the splits the rate in the long run lies in the interval for that. `mad` states its rate by the
calibration scores above it, not by α, which it keeps for normally distributed scores alone.
{simulated}

### Benjamini-Hochberg, {splits} batches each

Strange rows lie 8 standard deviations higher.

{batches}

## Real normal data

Train parts of the labelled series that have no gap, in time order: half to fit (the Detector for at most
{max_time:g} s), a quarter to calibrate, a quarter to test. "Blocks by turns" gives the same scores of the second half
to calibration and test in blocks of two windows by turns: the difference between the two is what drift does. The
interval is the one that the model states, for as many rows as it was calibrated on; its median ends tell its worth.

{real}
"""

if __name__ == "__main__":
    main()
