"""Long runs of many jobs: a line of JSON for each, kept as it comes, and processes of one thread each.

A run that was broken off goes on where it was; a job that takes its process down with it has failed, and no other.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

Job = TypeVar("Job")
Line = dict[str, Any]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def read_cache(path: Path) -> list[Line]:
    """Return the lines of the cache; one that was cut off by an interruption is left out, and said so."""
    found = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"{path}, line {number} is no JSON: left out, its run is done again", file=sys.stderr)
    return found


def append(path: Path, line: Line) -> None:
    """Add a line to the cache, on a line of its own even after one that was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
    with path.open("a") as file:
        file.write(("" if whole else "\n") + json.dumps(line) + "\n")


def work(
    jobs: Sequence[Job],
    workers: int,
    run_one: Callable[[Job], Line],
    keep: Callable[[Line], None],
    died: Callable[[Job], Line],
    told: Callable[[Line], str],
) -> None:
    """Run jobs, and hand over each line as it comes; told: what is said of it on stderr.

    Where a process dies (of too little memory, say), the jobs that were in work are run alone, and one that dies again
    has the line `died` gives.
    """
    for name in THREADS:
        os.environ[name] = "1"
    left = dict.fromkeys(jobs)

    def done(job: Job, line: Line) -> None:
        del left[job]
        keep(line)
        print(f"{len(jobs) - len(left)}/{len(jobs)} {told(line)}", file=sys.stderr)

    while left:
        try:
            with _pool(workers) as pool:
                running = {pool.submit(run_one, job): job for job in left}
                for future in as_completed(running):
                    done(running[future], future.result())
        except BrokenProcessPool:
            for job in list(left)[:workers]:
                try:
                    with _pool(1) as pool:
                        done(job, pool.submit(run_one, job).result())
                except BrokenProcessPool:
                    done(job, died(job))


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
