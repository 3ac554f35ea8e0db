"""What autoencoders of images reach: likelihood, reconstruction, samples, disentanglement, anomalies of one class.

    python benchmarks/images.py

Each row of a table is trained and measured on its own, and kept in the cache: a run that was broken off goes on where
it was. `--minutes` scales the epochs (of bodies: the seconds) of every row; `--quick` only shows that every row runs.
"""

from __future__ import annotations

__all__ = ["measure", "monotone", "report"]

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_parts import BETAS, MEASURES, MINUTES, PARTS, SEEDS, How, needs
from jobs import append, read_cache

import seqae
from seqae.training.devices import device_name, resolve_device

RESULTS = Path(__file__).parent / "results"
NLL_IMAGES = ("all", "tenth")
"""The test images that the part nll looks at."""
Line = dict[str, Any]
Lines = Mapping[str, Line]
"""The figures of a part's rows, by name."""


def measure(part: str, name: str, how: How) -> Line:
    """Return the figures of one row, or what went wrong."""
    line = {"part": part, "row": name, **how._asdict(), "failure": None, "figures": None}
    started = time.perf_counter()
    try:
        line["figures"] = PARTS[part].run(PARTS[part].rows[name], how)
    except Exception as error:
        line["failure"] = f"{type(error).__name__}: {error}"
    return line | {"seconds": time.perf_counter() - started, "where": device_name(resolve_device(how.device))}


def key(line: Line) -> tuple[Any, ...]:
    """Return what a row in the cache was measured for."""
    return line["part"], line["row"], *(line[name] for name in How._fields)


# ---- tables ----


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown: numbers with four digits, what is not there as –."""
    text = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    text += [f"| {' | '.join(map(shown, row))} |" for row in rows]
    return "\n".join(text)


def shown(cell: Any) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 1000 else f"{cell:.0f}"
    return str(cell)


def took(figures: Line) -> tuple[str, str]:
    """Return the epochs and the seconds of a row's trainings: of one, or of how many together."""
    runs = figures["runs"]
    if not runs:
        return "–", "–"
    epochs, seconds = sorted({run["epochs"] for run in runs}), sum(run["seconds"] for run in runs)
    many = f"{len(runs)} × " if len(runs) > 1 else ""
    return many + "/".join(
        str(n) if n else "< 1" for n in epochs
    ), f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"


def monotone(values: Sequence[float], up: bool) -> bool:
    """Tell whether values never fall (up) or never rise."""
    steps = np.diff(values) if up else -np.diff(values)
    return bool((steps >= 0).all())


def _yes(fact: bool) -> str:
    return "yes" if fact else "**no**"


def nll(lines: Lines) -> str:
    ks = sorted({int(k) for one in lines.values() for part in NLL_IMAGES if part in one for k in one[part]["bounds"]})
    rows = []
    for name, figures in lines.items():
        published = PARTS["nll"].rows[name].get("published")
        for part in [part for part in NLL_IMAGES if part in figures]:
            found = figures[part]
            bounds = {int(k): -value for k, value in found["bounds"].items()}
            falls = _yes(monotone([bounds[k] for k in sorted(bounds)], up=False)) if len(bounds) > 1 else None
            rows.append(
                [name, *took(figures), found["windows"], -found["elbo"], *(bounds.get(k) for k in ks),
                 found["standard_error"], falls, published if part == "all" else None]
            )  # fmt: skip
    return "\n\n".join([
        table(["", "epochs", "seconds", "test images", "−ELBO", *(f"k = {k:,}" for k in ks), "± of the last",
               "never worse with k", "published"], rows),
        "784-400-z 40, Bernoulli, pixels drawn anew in every epoch and once for the test; nats an image, lower is "
        "better, the last k is the estimate of −log p(x) (importance sampling). All bounds of a row are of the same "
        "draws in groups of k, so that by Jensen's inequality more draws can only help. A second row of a name is on "
        "every tenth test image. 1/60 of the training images is held back and chooses the epoch; the learning rate "
        "falls from 0.001 in a half cosine. With the usual budget the IWAE has as many epochs as the short VAE. The "
        "published figures are for thousands of epochs (Burda et al. 2016 and others; there 784-200-200-z 50 too); "
        "that of the classic example is its −ELBO after 10 epochs on grey pixels, for which the cross-entropy is no "
        "log probability.",
    ])  # fmt: skip


def course(lines: Lines) -> str:
    rows = [
        [name, *took(figures), " + ".join(f"{n:,}" for n in figures["images"]), figures["first_layer"],
         figures["runs"][0]["weights"], figures["squared_error"], figures["mean_image"]]
        for name, figures in lines.items()
    ]  # fmt: skip
    return "\n\n".join([
        table(["", "epochs", "seconds", "images (train + test)", "weights of the first layer", "of all",
               "squared error", "of the mean image"], rows),
        "Convolutions 4 × 4, stride 2, padding 1, and their transposed twins, cross-entropy. Mean squared error of a "
        "test pixel in [0, 1], beside predicting the mean of the training images. Between the two halves this library "
        "has a linear layer each way: here as many latent numbers as the exercise's code has, 768. Figures of an "
        "archive with fewer than 50,000 + 10,000 images are not to be compared with papers.",
    ])  # fmt: skip


def cvae(lines: Lines) -> str:
    text = []
    for name, figures in lines.items():
        samples, test = figures["samples"], figures["test"]
        rows = [
            ["samples", *samples, float(np.mean(samples))],
            ["real test images", *test, figures["all_test"]],
        ]
        epochs, seconds = took(figures)
        text += [
            table([f"{name}: {epochs} epochs, {seconds} s", *figures["classes"], "all"], rows),
            "100 samples of each class (the mean of p(x | z, class), z from the prior), and the share that a "
            "classifier takes for that class: 40 principal components and a support vector machine, trained on "
            f"{figures['known']:,} real training images. It is right for {figures['all_test']:.1%} of the real test "
            "images.",
        ]
    return "\n\n".join(text)


def beta(lines: Lines) -> str:
    rows, names = [], PARTS["beta"].rows
    for name, figures in lines.items():
        rows.append(
            [name, *took(figures), figures["reconstruction"], figures["kl"], -figures["elbo"],
             f"{figures['active']} of {figures['latent']}", ", ".join(figures["symptoms"]) or "none"]
        )  # fmt: skip
    text = [
        table(["", "epochs", "seconds", "reconstruction", "KL", "−ELBO", "active units", "the doctor says"], rows),
        "Nats an image that was held back, grey pixels. An eighth of the sprites is held back.",
    ]
    said = []
    for what in ("sprites", "fashion-mnist"):
        of_set = {name: figures for name, figures in lines.items() if names[name]["set"] == what}
        for seed in SEEDS:
            swept = {names[name]["beta"]: one for name, one in of_set.items() if names[name]["seed"] == seed}
            if len(swept) < 2:
                continue
            order = sorted(swept)
            worse = monotone([swept[b]["reconstruction"] for b in order], up=True)
            lower = monotone([swept[b]["kl"] for b in order], up=False)
            said.append(
                f"- {what}, seed {seed}, β = {', '.join(map(str, order))}: the reconstruction never gets better with "
                f"β: {_yes(worse)}; the KL never rises: {_yes(lower)}."
            )
    text += ["\n".join(said)] if said else []
    measured = []
    for b in BETAS:
        found = [one["measured"] for name, one in lines.items() if names[name]["beta"] == b and "measured" in one]
        if len(found) > 1:
            values = [[one[measure] for one in found] for measure in MEASURES]
            measured.append([b, len(found), *(f"{np.mean(one):.3f} ± {np.std(one, ddof=1):.3f}" for one in values)])
    if measured:
        text += [
            table(["β", "seeds", "MIG", "SAP", "disentanglement", "completeness", "informativeness"], measured),
            "Of the sprites' five factors on all sprites; mean ± standard deviation over seeds, higher is better.",
        ]
    return "\n\n".join(text)


def oneclass(lines: Lines) -> str:
    text, names = [], PARTS["oneclass"].rows
    for what in dict.fromkeys(names[name]["data"] for name in lines):
        of_set = {names[name]["method"]: one for name, one in lines.items() if names[name]["data"] == what}
        classes = next(iter(of_set.values()))["classes"]
        rows = [
            [method, *took(one), *(f"{a:.3f}" for a in one["auroc"]), f"{np.mean(one['auroc']):.3f}"]
            for method, one in of_set.items()
        ]
        text.append(table([what, "epochs", "seconds", *classes, "mean"], rows))
    text.append(
        "AUROC of the whole test set, by the class whose training images were learned from: its own test images "
        "against those of the other nine. Autoencoders: 400 hidden, latent 32, grey pixels. Seconds of the ten "
        "trainings together; the baselines take a few seconds."
    )
    return "\n\n".join(text)


def bodies(lines: Lines) -> str:
    rows = [
        [name, *took(one), f"{one['runs'][0]['weights']:,}", -one["elbo"], one["reconstruction"], one["kl"]]
        for name, one in lines.items()
    ]
    return "\n\n".join([
        table(["", "epochs", "seconds", "weights", "−ELBO", "reconstruction", "KL"], rows),
        "VAE, latent 20, binarised MNIST, nats a test image. Whole epochs: what was begun when time was up is undone.",
    ])  # fmt: skip


def likelihoods(lines: Lines) -> str:
    rows = [
        [name, *took(one), " + ".join(f"{n:,}" for n in one["images"]), -one["elbo"], -one["bounds"]["10"],
         one["bits_per_dimension"], one["squared_error"]]
        for name, one in lines.items()
    ]  # fmt: skip
    return "\n\n".join([
        table(["", "epochs", "seconds", "images", "−ELBO", "k = 10", "bits per dimension", "squared error"], rows),
        "VAE, 400 hidden, latent 20; nats a test image. Bits per dimension (of the bound with k = 10) only where "
        "log p(x | z) is that of a probability: the others are densities of values in [0, 1], may be negative, and "
        "are to be compared within a set at most, where a density can grow without limit on pixels that are always "
        "the same (σ is bounded at 0.001). The squared error of a pixel in [0, 1] can be compared by all.",
    ])  # fmt: skip


TABLES: dict[str, Callable[[Lines], str]] = {
    "nll": nll, "course": course, "cvae": cvae, "beta": beta, "oneclass": oneclass, "bodies": bodies,
    "likelihoods": likelihoods,
}  # fmt: skip


def report(lines: Sequence[Line], command: str, how: How, skipped: Mapping[str, str]) -> str:
    """Return the whole page: a section a part, and by name what failed, was skipped or has not been run."""
    worked = {(line["part"], line["row"]): line for line in lines if not line["failure"]}
    places = sorted({line["where"] for line in lines})
    text = [
        "# Autoencoders of images",
        f"`{command}`, {date.today()}, {platform.machine()}, {os.cpu_count()} cores, on "
        f"{', '.join(places) or 'nothing'}, seqae {seqae.__version__}, PyTorch {torch.__version__}. "
        f"{'Settings for a GPU' if how.large else 'Settings for a CPU'}, budget {how.minutes:g} min"
        f"{', quick: no figure means anything' if how.quick else ''}. Adam, learning rate 0.001, batches of 128 "
        "(sprites 64), seed 0 where no other is named. Epochs and seconds are what a row's training really had.",
    ]
    missing = []
    for name, part in PARTS.items():
        found = {row: worked[name, row]["figures"] for row in part.rows if (name, row) in worked}
        left = [row for row in part.rows if _not_run(name, row, lines, skipped)]
        whole_part = len(left) == len(part.rows)
        missing += [f"- {name}: not run"] if whole_part else [f"- {name}, {row}: not run" for row in left]
        if found:
            whole = sum(worked[name, row]["seconds"] for row in found)
            text += [f"## {part.title}", TABLES[name](found), f"The whole part: {whole:.0f} s."]
    failed = [f"- {line['part']}, {line['row']}: {line['failure']}" for line in lines if line["failure"]]
    gone = [f"- {name}: skipped, {why}" for name, why in skipped.items()]
    text += ["## Failed, skipped or not run", "\n".join([*failed, *gone, *missing]) or "None."]
    return "\n\n".join(text) + "\n"


def _not_run(part: str, row: str, lines: Sequence[Line], skipped: Mapping[str, str]) -> bool:
    return f"{part}, {row}" not in skipped and not any((line["part"], line["row"]) == (part, row) for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {','.join(PARTS)}")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="the budget that epochs are scaled to")
    parser.add_argument("--large", action="store_true", help="the published settings, for a GPU")
    parser.add_argument("--quick", action="store_true", help="few images, one epoch; printed, nothing is kept")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cache", type=Path, default=RESULTS / ".cache" / "images.jsonl")
    parser.add_argument("--output", type=Path, help="default: results/images.md; with --quick the screen")
    chosen = parser.parse_args(arguments)
    parts = chosen.only.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--only {','.join(unknown)}: there is no such part. Choose of {','.join(PARTS)}")
    if not chosen.minutes > 0:
        parser.error("--minutes must be above 0")
    how = How(chosen.minutes, chosen.large, chosen.quick, resolve_device(chosen.device).type)
    skipped = {
        f"{part}, {name}": why for part in parts for name, row in PARTS[part].rows.items() if (why := needs(row))
    }
    jobs = [(part, name) for part in parts for name in PARTS[part].rows if f"{part}, {name}" not in skipped]
    lines = [] if how.quick else read_cache(chosen.cache)
    kept = {key(line): line for line in lines}
    for number, (part, name) in enumerate(jobs, 1):
        said = (part, name, *how)
        if kept.get(said, {"failure": "not yet"})["failure"]:
            kept[said] = measure(part, name, how)
            if not how.quick:
                append(chosen.cache, kept[said])
        line = kept[said]
        told = line["failure"] or f"{line['seconds']:.1f} s"
        print(f"{number}/{len(jobs)} {part}, {name}: {told}", file=sys.stderr, flush=True)
    of_this = [line for said, line in kept.items() if said[2:] == tuple(how)]
    command = " ".join(["python", "benchmarks/images.py", *(sys.argv[1:] if arguments is None else arguments)])
    text = report(of_this, command, how, skipped)
    output = chosen.output or (None if how.quick else RESULTS / "images.md")
    if output is None:
        print(text)
    else:
        output.write_text(text)


if __name__ == "__main__":
    main()
