"""Every labelled series, seqae beside classical detectors and other packages' autoencoders: one split, one window each.

    python benchmarks/detection.py

Runs what is not in the cache yet (one line of JSON for each series, method and seed), then writes the tables. `--only
ucr/` or `--methods seqae,energy` run a part, `--table` runs nothing. A method that fails is listed with its reason.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import importlib.metadata
import json
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import baselines
import labelled
import numpy as np
import peers
import standings
import torch
from jobs import append, read_cache, work
from numpy.typing import NDArray

import seqae
from seqae.anomaly import metrics
from seqae.anomaly.metrics.vus import vus, vus_window
from seqae.anomaly.thresholds.rules import THRESHOLDS
from seqae.periods import choose_window

DEFAULT: dict[str, Any] = {}
"""What seqae.Detector is given beside its own defaults: the same for every series of every collection."""
OURS: dict[str, dict[str, Any]] = {"seqae": DEFAULT}
ALPHA = 0.01
RESULTS = Path(__file__).parent / "results"


class Outcome(NamedTuple):
    """The scores (M,) of a test part, which of its rows are flagged (M,), the window, and flags by other thresholds."""

    scores: NDArray[np.float64]
    flags: NDArray[np.bool_]
    window: int
    others: Mapping[str, NDArray[np.bool_]] = MappingProxyType({})


class Job(NamedTuple):
    """One run: a case's key, a method, a seed, and the two limits in seconds: of our training, of the whole run."""

    case: str
    method: str
    seed: int
    max_time: float
    limit: float


# ---- methods ----


def kind_of(method: str) -> str:
    """Return `ours`, `classical` or `peer`."""
    return "ours" if method in OURS else "classical" if method in baselines.CLASSICAL else "peer"


def available() -> tuple[list[str], list[str]]:
    """Return the methods that can run here, and the peers that are not installed."""
    there = {name: peer.version is not None for name, peer in peers.PEERS.items()}
    runnable = [name for name, found in there.items() if found]
    return [*OURS, *baselines.CLASSICAL, *runnable], [name for name, found in there.items() if not found]


def made_with(method: str, max_time: float) -> str:
    """Return what a result of a method depends on beside the case and the seed; another text is another result."""
    if method in OURS:
        return f"{json.dumps(OURS[method], sort_keys=True, default=str)} max_time={max_time:g}"
    peer = peers.PEERS.get(method)
    return f"{peer.distribution} {peer.version}" if peer else "classical"


def seeds_of(method: str, seeds: int) -> range:
    """Return the seeds of a method: one where chance has no part."""
    return range(1 if method in baselines.CLASSICAL and method not in baselines.BY_CHANCE else seeds)


def ours(options: dict[str, Any], case: labelled.Case, seed: int, max_time: float) -> Outcome:
    """Fit and calibrate on the train part; score the test part, with the rows before it as context."""
    detector = seqae.Detector(**options)
    detector.fit(case.train, seed=seed, max_time=max_time, device="cpu")
    before = min(case.train_rows, 4 * detector.window)
    table = detector.score(case.values[case.train_rows - before :])[before:]
    scores, flags = table["score"].to_numpy(np.float64), table["is_anomaly"].fillna(False).to_numpy(bool)
    assert detector.calibration is not None
    others = {
        name: detector.calibration.again(kind, ALPHA).threshold.flag(scores)
        for name, kind in THRESHOLDS.items()
        if name != detector.calibration.threshold.name
    }
    return Outcome(scores, flags, detector.window, others)


def fitted(fit: baselines.Fit, case: labelled.Case, seed: int) -> Outcome:
    """Run one of the other methods, with the threshold of its own held-back scores."""
    values = labelled.filled(case.values)
    train, test = values[: case.train_rows], values[case.train_rows :]
    window = choose_window(train).window
    calibration, scores = baselines.scores_of(fit, train, test, window, seed)
    return Outcome(scores, scores > baselines.conformal_threshold(calibration, ALPHA), window)


def run(method: str, case: labelled.Case, seed: int, max_time: float) -> Outcome:
    if method in OURS:
        return ours(OURS[method], case, seed, max_time)
    fit = baselines.CLASSICAL[method] if method in baselines.CLASSICAL else peers.PEERS[method].fit
    return fitted(fit, case, seed)


# ---- measuring ----


def measure(outcome: Outcome, case: labelled.Case) -> dict[str, float | int | None]:
    """Return the metrics of the test part; a row without a score counts as the least strange one, not flagged."""
    scores, truth = outcome.scores, case.truth
    unscored = np.isnan(scores)
    if unscored.all():
        raise ValueError("no row of the test part has a score")
    scores = np.where(unscored, scores[~unscored].min(), scores)
    flags = outcome.flags & ~unscored
    margin = vus_window(case.test)
    volume = vus(scores, truth, margin)
    told = {}
    for name, other in outcome.others.items():
        told[f"false_alarms_{name}"] = metrics.false_alarms_per_thousand(other & ~unscored, truth)
        told[f"event_recall_{name}"] = metrics.event_recall(other & ~unscored, truth)
    one = int((np.diff(truth.astype(np.int8), prepend=0) == 1).sum()) == 1
    return {
        "vus_pr": volume.pr,
        "vus_roc": volume.roc,
        "ap": metrics.average_precision(scores, truth),
        "auroc": metrics.auroc(scores, truth),
        "ucr_hit": float(metrics.ucr_hit(scores, truth)) if case.collection == "ucr" and one else None,
        "false_alarms": metrics.false_alarms_per_thousand(flags, truth),
        "event_recall": metrics.event_recall(flags, truth),
        "window": outcome.window,
        "vus_window": margin,
        "unscored": int(unscored.sum()),
        **told,
    }


@functools.lru_cache(maxsize=2)
def loaded(key: str) -> labelled.Case:
    case = labelled.load(key)
    case.require_train()
    return case


@functools.cache
def warmed(method: str) -> None:
    """Run a method on a toy once in each process, so that imports and compiling are in no series' seconds."""
    wave = np.sin(np.arange(600) / 5)[:, None].astype(np.float32)
    case = labelled.Case("toy", "wave", wave, np.arange(600) > 590, 500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run(method, case, 0, 1.0)
        except Exception as error:  # what it meets on a toy says nothing of the series
            print(f"{method} on the toy: {error}", file=sys.stderr)


def out_of_time(*_: object) -> None:
    raise TimeoutError("out of time")


def about(job: Job) -> dict[str, Any]:
    """Return what a job's line says before anything is measured."""
    return {
        "case": job.case, "method": job.method, "seed": job.seed, "kind": kind_of(job.method),
        "made_with": made_with(job.method, job.max_time), "source": source(), "failure": None,
    }  # fmt: skip


def record(job: Job) -> dict[str, Any]:
    """Run a job; return its line for the cache, with `failure` where it raised or took too long."""
    line = about(job)
    torch.set_num_threads(1)
    warmed(job.method)
    signal.signal(signal.SIGPROF, out_of_time)
    signal.setitimer(signal.ITIMER_PROF, job.limit)  # the processor's time: what else the machine does has no say
    started = time.process_time()
    try:
        case = loaded(job.case)
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = run(job.method, case, job.seed, job.max_time)
        line["seconds"] = time.process_time() - started
        signal.setitimer(signal.ITIMER_PROF, 0)
        return line | measure(outcome, case)
    except Exception as error:
        reason = f"more than {job.limit:g} s" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
        return line | {"failure": " ".join(reason.split())[:300], "seconds": time.process_time() - started}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@functools.cache
def source() -> str:
    """Return a digest of seqae's own code, kept with each result."""
    root = Path(seqae.__file__).parent
    text = b"".join(path.read_bytes() for path in sorted(root.rglob("*.py")))
    return hashlib.sha256(text).hexdigest()[:12]


# ---- the command ----


def wanted(chosen: argparse.Namespace, methods: list[str]) -> Iterator[Job]:
    """Yield every job that the command asks for, series by series."""
    for key in labelled.keys(only=chosen.only):
        for method in methods:
            for seed in seeds_of(method, chosen.seeds):
                yield Job(key, method, seed, chosen.max_time, chosen.limit)


def remaining(jobs: Iterator[Job], cached: list[dict[str, Any]], again: bool) -> list[Job]:
    """Return the jobs that the cache has no result of; again: failures are no result."""
    done = {
        (line["case"], line["method"], line["seed"], line["made_with"])
        for line in cached
        if not (again and line["failure"])
    }
    return [job for job in jobs if (*job[:3], made_with(job.method, job.max_time)) not in done]


def died(job: Job) -> dict[str, Any]:
    return about(job) | {"failure": "the process died", "seconds": 0.0}


def told(line: dict[str, Any]) -> str:
    said = line["failure"] or f"VUS-PR {line['vus_pr']:.3f}"
    return f"{line['case']}, {line['method']}, seed {line['seed']}: {said}, {line['seconds']:.1f} s"


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="run the cases whose key begins so, such as ucr/ or nab/realTweets")
    parser.add_argument("--methods", help="run these, separated by commas; also: ours, classical, peer")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of every method that chance has a part in")
    parser.add_argument("--max-time", type=float, default=20.0, help="seconds of training for each of our models")
    parser.add_argument("--limit", type=float, default=1800.0, help="processor seconds after which a run has failed")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--again", action="store_true", help="run what failed once more")
    parser.add_argument("--table", action="store_true", help="run nothing; write the tables from the cache")
    parser.add_argument("--cache", type=Path, default=RESULTS / ".cache" / "detection.jsonl")
    parser.add_argument("--output", type=Path, default=RESULTS / "detection.md")
    return parser.parse_args(arguments)


def selected(methods: list[str], given: str | None) -> list[str]:
    """Return the methods that `--methods` names, by name or by kind."""
    if given is None:
        return methods
    asked = {name.strip() for name in given.split(",")}
    unknown = asked - {*methods, *map(kind_of, methods)}
    if unknown:
        raise SystemExit(f"cannot run {', '.join(sorted(unknown))}. Here are: {', '.join(methods)}.")
    return [method for method in methods if asked & {method, kind_of(method)}]


def main(arguments: list[str] | None = None) -> None:
    chosen = parsed(arguments)
    methods, absent = available()
    for name in absent:
        print(f"{name} is not installed: skipped (benchmarks/requirements.txt)", file=sys.stderr)
    if not labelled.keys():
        raise SystemExit(
            f"there is nothing labelled under {labelled.DATA} (benchmarks/README.md says what belongs there)"
        )
    if not chosen.table:
        jobs = remaining(wanted(chosen, selected(methods, chosen.methods)), read_cache(chosen.cache), chosen.again)
        work(jobs, chosen.workers, record, functools.partial(append, chosen.cache), died, told)
    current = {method: made_with(method, chosen.max_time) for method in methods}
    lines = [
        line for line in read_cache(chosen.cache) if line["made_with"] == current.get(line["method"], line["made_with"])
    ]
    everything = labelled.keys()
    expected = {
        (key, method, seed)
        for key in everything
        for method in [*methods, *absent]
        for seed in seeds_of(method, chosen.seeds)
    }
    given = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "benchmarks/detection.py", *given])
    standings.write(chosen.output, lines, expected, absent, command=command, versions=versions())


def versions() -> str:
    """Return the versions of what every method stands on."""
    named = {"seqae": seqae.__version__, "PyTorch": torch.__version__, "NumPy": np.__version__}
    for name in ("scikit-learn", "stumpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            named[name] = importlib.metadata.version(name)
    return ", ".join(f"{name} {version}" for name, version in named.items())


if __name__ == "__main__":
    main()
