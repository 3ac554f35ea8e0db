"""Compiled tasks on several threads: those of PyTorch's own OpenMP pool, or Python's where there is none.

A task is handed the address of its numbers, the first of which counts the parts that threads have claimed; whoever
comes, comes for the next part. PyTorch's threads wait awake for a while after each of its operators, so to call them
costs a few microseconds, and nothing else is on their processors; threads beside them would have to share these.
"""

from __future__ import annotations

__all__ = ["run"]

import ctypes
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

_STARTED = os.getpid()


def run(task: Any, numbers: Sequence[int], threads: int) -> None:
    """Call a task with its numbers, in so many threads; the interpreter's lock is let go."""
    data = (ctypes.c_int64 * len(numbers))(*numbers)
    if threads == 1:
        _function(task)(ctypes.addressof(data))
        return
    together = _together() if os.getpid() == _STARTED else None  # a forked process has no threads of its parent's
    if together is not None:
        together(task.address, ctypes.addressof(data), threads, 0)
        return
    others = [_pool(os.getpid(), threads).submit(_function(task), ctypes.addressof(data)) for _ in range(threads - 1)]
    _function(task)(ctypes.addressof(data))
    for other in others:
        other.result()


@functools.cache
def _function(task: Any) -> Callable[[int], None]:
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(task.address)


@functools.cache
def _together() -> Callable[[int, int, int, int], None] | None:
    """Return GOMP_parallel(function, data, threads, flags) of the OpenMP library that this process has loaded."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
        paths = sorted({line.split(maxsplit=5)[5] for line in lines if ".so" in line and "omp" in line})
        known = [path for path in paths if Path(path).name.startswith(("libgomp", "libiomp", "libomp"))]
        # Other packages bring one of their own; PyTorch's lies beside it, or is the only one.
        folder = Path(torch.__file__).parent
        own = [path for path in known if Path(path).is_relative_to(folder) or Path(path).parent.name == "torch.libs"]
        function = ctypes.CDLL((own or known)[0]).GOMP_parallel if len(own or known) == 1 else None
    except (OSError, AttributeError):
        return None
    if function is None:
        return None
    function.restype, function.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    return function


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return this process's own workers."""
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="seqae-recurrence")
