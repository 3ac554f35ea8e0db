"""Work on many series, each by itself: what fails for one is noted with its reason and stops no other."""

from __future__ import annotations

__all__ = ["Attempt", "Task", "attempt", "pass_on", "train_each"]

import copy
import json
import multiprocessing
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from tqdm import tqdm

from seqae.anomaly.detector import Detector
from seqae.errors import OptionError, SeqaeError, SeqaeWarning

V = TypeVar("V")
Said = tuple[tuple[type[Warning], str], ...]

SHOWN = 3
"""Series whose warnings are shown one by one; of the others only their number."""


class Attempt(NamedTuple, Generic[V]):
    """What became of the work on one series: its result, or the reason why there is none, and what it warned of."""

    result: V | None
    reason: str | None
    said: Said


def attempt(work: Callable[[], V]) -> Attempt[V]:
    """Do the work and hold back its warnings; an error is the reason why there is no result.

    Only interrupts, and warnings that a filter has made errors, are raised.
    """
    result, reason = None, None
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", SeqaeWarning)
        try:
            result = work()
        except Warning:
            raise
        except SeqaeError as problem:
            reason = str(problem)
        except Exception as problem:
            reason = f"unexpected {type(problem).__name__}: {problem}"
    return Attempt(result, reason, tuple(dict.fromkeys((one.category, str(one.message)) for one in heard)))


def pass_on(said: Mapping[str, Said]) -> dict[str, list[str]]:
    """Warn of what was said of each series, by its name; return seqae's own warnings, those that are not shown, too.

    Of many series the first three are shown, and how many more there are.
    """
    for name, heard in said.items():
        for category, text in heard:
            if not issubclass(category, SeqaeWarning):
                warnings.warn(f"{name}: {text}", category, stacklevel=3)
    told = {
        name: [text for category, text in heard if issubclass(category, SeqaeWarning)] for name, heard in said.items()
    }
    told = {name: texts for name, texts in told.items() if texts}
    for name in list(told)[:SHOWN]:
        for text in told[name]:
            warnings.warn(text if name in text else f"{name}: {text}", SeqaeWarning, stacklevel=3)
    if len(told) > SHOWN:
        warnings.warn(f"there are warnings for {len(told) - SHOWN} more series.", SeqaeWarning, stacklevel=3)
    return told


Steps = Generator[tuple[str, Attempt[Detector]], None, None]


@dataclass(frozen=True)
class Task:
    """The training of one series' own Detector."""

    name: str
    data: Any
    options: Mapping[str, Any]
    training: Mapping[str, Any]

    def detector(self) -> Detector:
        """Train; a caller's own model or head is copied, so that series share nothing."""
        return Detector(**copy.deepcopy(dict(self.options))).fit({self.name: self.data}, **self.training)


def train_each(tasks: Sequence[Task], jobs: int = 1) -> Steps:
    """Train in turn, or `jobs` at a time in processes of their own; yield each as it is done.

    OptionError for options that another process cannot be told. With several processes, a script of your own needs the
    usual `if __name__ == "__main__":`.
    """
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise OptionError(f"jobs={jobs!r} is not possible. Give the number of models to train at a time, from 1.")
    return _in_turn(tasks) if jobs == 1 else _in_processes(tasks, min(jobs, len(tasks)))


def _in_turn(tasks: Sequence[Task]) -> Steps:
    for task in tasks:
        yield task.name, attempt(task.detector)


def _in_processes(tasks: Sequence[Task], jobs: int) -> Steps:
    try:
        json.dumps(dict(tasks[0].options))
    except TypeError as problem:
        raise OptionError(
            f"jobs={jobs} trains in other processes, which can be told only of named parts ({problem}). Use jobs=1."
        ) from problem
    others = set(multiprocessing.active_children())
    threads = max(1, torch.get_num_threads() // jobs)
    context = multiprocessing.get_context("spawn")  # a forked child hangs in the parent's OpenMP threads
    with tempfile.TemporaryDirectory(prefix="seqae-") as folder:
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_settle, initargs=(threads,))
        try:
            files = {task.name: Path(folder) / f"{number}.safetensors" for number, task in enumerate(tasks)}
            running = {pool.submit(_train_to, task, files[task.name]): task for task in tasks}
            for future in as_completed(running):
                task = running[future]
                yield task.name, _fetched(future, files[task.name], task.training.get("device", "auto"))
        except BaseException:  # an interrupt, or nobody wants the rest: what is running would go on for long
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _settle(threads: int) -> None:
    """Prepare a process for its work: its share of the cores, and interrupts left to the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tqdm.set_lock(threading.RLock())  # tqdm's own is a semaphore of the system, left behind by a process that is ended
    torch.set_num_threads(threads)


def _train_to(task: Task, file: Path) -> Attempt[None]:
    """Train and write the model to a file, which is how it comes back: nothing of it is pickled."""
    return attempt(lambda: task.detector().save(file))


def _fetched(future: Future[Attempt[None]], file: Path, device: str | torch.device) -> Attempt[Detector]:
    try:
        done = future.result()
    except BrokenProcessPool:
        return Attempt(None, "a training process ended abruptly, perhaps for want of memory. Use fewer jobs.", ())
    if done.reason is not None:
        return Attempt(None, done.reason, done.said)
    return Attempt(Detector.load(file, device), None, done.said)
