"""What the default score was chosen by: NAB and invented series alone, never the collections that detection.md reports.

    python benchmarks/choices.py

Each series' network is trained once; every way to score is then measured on what it says, so that rows of the first
table differ in the score alone. `--networks gru mlp` trains those networks too, and compares them by the default score.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import invented
import labelled
import numpy as np
import torch
from jobs import append, read_cache, work
from numpy.typing import NDArray

import seqae
from seqae.anomaly import fusion
from seqae.anomaly.heads import Head
from seqae.anomaly.metrics import vus, vus_window
from seqae.anomaly.neighbours import WindowPCA
from seqae.anomaly.scoring import SCORERS, Folded, head_of, total_score
from seqae.periods import choose_window

RESULTS = Path(__file__).parent / "results"
KINDS = ("nab", "waves", "plants", "commands")


class Pca80(WindowPCA):
    """The window PCA with 80% of the variance."""

    def __init__(self) -> None:
        super().__init__(0.8)


class Pca95(WindowPCA):
    """The window PCA with 95% of the variance."""

    def __init__(self) -> None:
        super().__init__(0.95)


HEADS: dict[str, Callable[[], str | Head]] = {
    **{name: partial(str, name) for name in SCORERS if name not in ("absolute_error", "reconstruction_probability")},
    "Pca80": Pca80,
    "Pca95": Pca95,
}
"""What every trained network is asked, in the order in which it answers."""
DEFAULT = ("window_error", "nearest_shape", "window_pca")


class Way(NamedTuple):
    """A way to make one score of heads: their names, how they are fused, and what the fusion does not do."""

    names: tuple[str, ...] = DEFAULT
    how: str = "max"
    ranges: bool = True
    """Whether channels are compared in their usual ranges."""
    power: float = fusion.POWER
    """Of the share of the variance that a reconstruction explains, by which it counts."""
    joint: bool = True
    """Whether neighbours in all channels at once count by 1/C."""


WAYS: dict[str, Way] = {
    "**the default: window_error, nearest_shape, window_pca; max**": Way(),
    "their sum": Way(how="sum"),
    "channels not in their usual ranges": Way(ranges=False),
    "reconstructions by the square of what they explain": Way(power=2),
    "by its eighth power": Way(power=8),
    "not by what they explain": Way(power=0),
    "neighbours not by 1/C": Way(joint=False),
    "none of the three": Way(ranges=False, power=0, joint=False),
    "80% of the variance in the PCA": Way(("window_error", "nearest_shape", "Pca80")),
    "95% of it": Way(("window_error", "nearest_shape", "Pca95")),
    "without the network": Way(("nearest_shape", "window_pca")),
    "without the neighbours": Way(("window_error", "window_pca")),
    "without the PCA": Way(("window_error", "nearest_shape")),
    "nearest_window for nearest_shape": Way(("window_error", "nearest_window", "window_pca")),
    "nearest_latent for nearest_shape": Way(("window_error", "nearest_latent", "window_pca")),
    "squared_error for window_error": Way(("squared_error", "nearest_shape", "window_pca")),
    "nll for window_error": Way(("nll", "nearest_shape", "window_pca")),
    "energy as well": Way((*DEFAULT, "energy")),
    "window_nll for window_error": Way(("window_nll", "nearest_shape", "window_pca")),
    **{f"{name} alone": Way((name,)) for name in HEADS},
}

DEFAULT_WAY, NETWORK_ALONE = next(iter(WAYS)), "window_error alone"


def plain(*, channels: int, steps: int) -> seqae.Autoencoder:
    """Return the default network with the weights and biases that PyTorch begins with."""
    model = seqae.VAE(channels=channels, steps=steps)
    for part in model.modules():
        if isinstance(part, torch.nn.RNNBase):
            part.reset_parameters()
    return model


DEFAULT_NETWORK = "default"
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    DEFAULT_NETWORK: ("**the default: VAE, LSTM, hidden 64, latent 8**", {}),
    "plain": ("with PyTorch's first biases", {"model": plain}),
    "gru": ("GRU", {"cell": "gru"}),
    "mlp": ("one dense layer of 512 each way", {"model": partial(seqae.VAE, body="mlp")}),
    "ae": ("AE", {"model": "AE"}),
    "hidden": ("hidden 128", {"hidden": 128}),
    "latent": ("latent 32", {"latent": 32}),
    "masking": ("masking noise", {"noise": "masking"}),
    "beta": ("no KL term (beta 0)", {"beta": 0.0}),
    "rate": ("learning rate .01", {"learning_rate": 0.01}),
}
"""Networks: what they are, and options of Detector and of its fit; `model` may make one, of channels and steps."""
OF_FIT = ("noise", "beta", "learning_rate")
Line = dict[str, Any]
"""What is kept of one series with one network."""


class Job(NamedTuple):
    """A series, a network, seconds of training, a seed."""

    case: str
    network: str
    max_time: float
    seed: int


class Said(NamedTuple):
    """What the heads say of a series: by name (T, C) or (T, 1), the errors last."""

    said: dict[str, Folded]
    known: dict[str, NDArray[np.float32]]
    """Their parts of windows they learned from, where channels are compared."""
    validation: slice
    variance: float
    epochs: int


def listen(case: labelled.Case, options: Mapping[str, Any], names: Sequence[str], max_time: float, seed: int) -> Said:
    """Train on a case's train part, and return what the heads say of all of it."""
    of_fit = {name: value for name, value in options.items() if name in OF_FIT}
    of_detector = {name: value for name, value in options.items() if name not in OF_FIT}
    if callable(make := of_detector.get("model")):
        window = choose_window(case.train).window
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            of_detector |= {"model": make(channels=case.train.shape[1], steps=window), "window": window}
    detector = seqae.Detector(scorer=[HEADS[name]() for name in names], **of_detector)
    detector.fit(case.train, max_time=max_time, device="cpu", seed=seed, **of_fit)
    assert detector.judge.names == list(names)
    series = seqae.Series.from_array(case.values, name="all")
    [(_, found)] = detector.judge.listen(
        detector.model, detector.preparation, seqae.Panel([series]), window=detector.window, stride=detector.stride,
        mode=detector.options["mode"], smoothing=detector.smoothing, missing="ignore",
    )  # fmt: skip
    parts = detector.training_data["parts"]
    validation = slice(parts["fit"], parts["fit"] + parts["validation"])
    scaled = detector.preparation.scaler.apply(series.values)
    variance = float(np.nanmean((scaled[validation] - np.nanmean(scaled[: parts["fit"]], axis=0)) ** 2))
    return Said(
        dict(zip([*names, "error"], found, strict=True)), detector.judge.known, validation, variance,
        len(detector.history["epochs"]),
    )  # fmt: skip


def score(found: Said, way: Way) -> NDArray[np.float64]:
    """Return the score (T,) of every row by a way."""
    if len(way.names) == 1:
        return total_score(found.said[way.names[0]].values)
    heads = {}
    for name in way.names:
        given = HEADS[name]()
        heads[name] = head = head_of(given)
        if not way.joint:
            head.joint = False  # type: ignore[misc]
    series = [found.said[name] for name in (*way.names, "error")]
    held = [Folded(one.values[found.validation], one.coverage[found.validation]) for one in series]
    known = {name: parts for name, parts in found.known.items() if name in way.names and way.ranges}
    with mock.patch.object(fusion, "POWER", way.power):
        return fusion.Fusion.fit(heads, way.how, [held], found.variance, known)(series).total


def measure(scores: NDArray[np.float64], case: labelled.Case) -> float:
    """Return the VUS-PR of the test part, as detection.py takes it."""
    test = scores[case.train_rows :]
    test = np.where(np.isnan(test), np.nanmin(test), test)
    return float(vus(test, case.truth, vus_window(case.test)).pr)


def load(key: str) -> labelled.Case:
    case = invented.load(key) if key.startswith("invented/") else labelled.load(key)
    case.require_train()
    return case


def run(job: Job) -> Line:
    """Return the figures of one series with one network: those of all ways with the default one."""
    torch.set_num_threads(1)
    line = dict(job._asdict()) | {"kind": kind_of(job.case), "figures": {}, "failure": None}
    plain = job.network == DEFAULT_NETWORK
    ways = WAYS if plain else {DEFAULT_WAY: WAYS[DEFAULT_WAY], NETWORK_ALONE: WAYS[NETWORK_ALONE]}
    try:
        case = load(job.case)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = listen(case, NETWORKS[job.network][1], tuple(HEADS) if plain else DEFAULT, job.max_time, job.seed)
            line["figures"] = {name: measure(score(found, way), case) for name, way in ways.items()}
    except Exception as error:
        return line | {"failure": f"{type(error).__name__}: {error}"}
    left = float(np.nanmean(found.said["window_error"].values[found.validation]))
    return line | {"explained": 1 - left / found.variance, "epochs": found.epochs}


def job_of(line: Line) -> Job:
    return Job(*(line[name] for name in Job._fields))


def died(job: Job) -> Line:
    return dict(job._asdict()) | {"kind": kind_of(job.case), "figures": {}, "failure": "the process died"}


def told(line: Line) -> str:
    said = line["failure"] or f"VUS-PR {line['figures'][DEFAULT_WAY]:.3f}, {line['epochs']} epochs"
    return f"{line['case']}, {line['network']}: {said}"


def kind_of(key: str) -> str:
    parts = key.split("/")
    return parts[1] if parts[0] == "invented" else parts[0]


def keys(only: str = "") -> list[str]:
    """Return the series that choices are made on."""
    return [key for key in (*labelled.keys(only="nab/"), *invented.keys()) if key.startswith(only)]


def table(
    lines: Sequence[Line], names: Mapping[str, str], of: Callable[[Line, str], float | None],
    middle: Callable[..., Any] = np.mean,
) -> str:  # fmt: skip
    """Return a table in Markdown: for each name, as it is told, the middle of each kind of series, and their mean."""
    text = [f"| | {' | '.join(KINDS)} | mean |", "|---|" + "---|" * (len(KINDS) + 1)]
    for name, told in names.items():
        means = []
        for kind in KINDS:
            values = [of(line, name) for line in lines if line["kind"] == kind]
            given = [value for value in values if value is not None]
            means.append(float(middle(given)) if given else float("nan"))
        text.append(f"| {told} | {' | '.join(f'{one:.3f}' for one in means)} | {np.mean(means):.3f} |")
    return "\n".join(text)


TEXT = """# What the default score was chosen by

`{command}`, {date}, {machine}, seqae {seqae}, PyTorch {torch}. {max_time:g} s of training a series, seed {seed}, one
thread; {count} series: {nab} of NAB (those with labels), and {waves} waves, {plants} plants and {commands} commands of
benchmarks/invented.py. Mean VUS-PR by kind, and the mean over kinds. Medians: {epochs} epochs, {explained:.0%} of the
variance of the validation part explained by the network.

The series of detection.md but for NAB took no part in any choice.

## One network, several ways to score

{ways}

## Several networks, the default score

{networks}

Their window_error alone:

{alone}

Share of the variance of the validation part that they explain, the median of each kind:

{variance}

## Failed runs

{failed}
"""


def write(lines: Sequence[Line], path: Path, command: str, max_time: float, seed: int) -> None:
    """Write the tables of all that succeeded, and the failures by name."""
    worked = [line for line in lines if not line["failure"]]
    alone = [line for line in worked if line["network"] == DEFAULT_NETWORK]
    counts = {kind: sum(line["kind"] == kind for line in alone) for kind in KINDS}

    def of_network(figure: str) -> Callable[[Line, str], float | None]:
        return lambda line, name: (line["figures"] | line)[figure] if line["network"] == name else None

    told = {name: told for name, (told, _) in NETWORKS.items() if any(line["network"] == name for line in worked)}
    failed = [f"- {line['case']}, {line['network']}: {line['failure']}" for line in lines if line["failure"]]
    path.write_text(
        TEXT.format(
            command=command, date=datetime.date.today(), machine=f"{platform.machine()}, {os.cpu_count()} cores",
            seqae=seqae.__version__, torch=torch.__version__, max_time=max_time, seed=seed, count=len(alone), **counts,
            epochs=int(np.median([line["epochs"] for line in alone])),
            explained=float(np.median([line["explained"] for line in alone])),
            ways=table(alone, dict(zip(WAYS, WAYS, strict=True)), lambda line, name: line["figures"][name]),
            networks=table(worked, told, of_network(DEFAULT_WAY)), alone=table(worked, told, of_network(NETWORK_ALONE)),
            variance=table(worked, told, of_network("explained"), np.median), failed="\n".join(failed) or "None.",
        )
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--networks", nargs="+", choices=list(NETWORKS)[1:], default=[], help="train these networks, too"
    )
    parser.add_argument("--max-time", type=float, default=10.0, help="seconds of training for each series")
    parser.add_argument("--only", default="", help="take the series whose key begins so, such as invented/plants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--cache", type=Path, default=RESULTS / ".cache" / "choices.jsonl")
    parser.add_argument("--output", type=Path, default=RESULTS / "choices.md")
    chosen = parser.parse_args()
    jobs = [
        Job(key, name, chosen.max_time, chosen.seed)
        for name in (DEFAULT_NETWORK, *chosen.networks)
        for key in keys(chosen.only)
    ]
    done = {job_of(line) for line in read_cache(chosen.cache)}
    work([job for job in jobs if job not in done], chosen.workers, run, partial(append, chosen.cache), died, told)
    lines = [line for line in read_cache(chosen.cache) if job_of(line) in set(jobs)]
    command = " ".join(["python", "benchmarks/choices.py", *sys.argv[1:]])
    write(lines, chosen.output, command, chosen.max_time, chosen.seed)


if __name__ == "__main__":
    main()
