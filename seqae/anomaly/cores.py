"""Work shared out to the processor's cores: each takes a block of its own and computes it on one thread.

Threads that share single products and sums wait for each other at the end of each; where other programs run beside
them, most of the time. Blocks need no waiting, and what comes out does not depend on the number of cores.
"""

from __future__ import annotations

__all__ = ["ahead", "in_turn"]

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import torch

HELD = 1 << 28
"""Numbers that blocks may hold at a time, all together: 1 GiB."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_turn(
    work: Callable[[Item], Result], items: Iterable[Item], device: torch.device, size: int
) -> Generator[Result, None, None]:
    """Yield work(item) of each item, in their order, computed some items ahead on as many cores as torch would take.

    size: about how many numbers the work on an item holds. On another device than the CPU, and under autocast, which is
    a thread's own, all is done in the caller's thread.
    """
    threads = torch.get_num_threads()
    workers = min(threads, max(HELD // max(size, 1), 1))
    if workers == 1 or device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        yield from map(work, items)
        return
    given = iter(items)
    with _threads(threads // workers) as begin, ThreadPoolExecutor(workers, "seqae-scoring", begin) as pool:
        yield from map(work, islice(given, 1))  # what is settled at its first use is settled once
        waiting: deque[Future[Result]] = deque()
        try:
            for item in given:
                waiting.append(pool.submit(work, item))
                if len(waiting) > workers + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


def ahead(items: Iterable[Item]) -> Generator[Item, None, None]:
    """Yield the items, each made in a thread of its own while the one before is worked on."""
    given, end = iter(items), object()
    with ThreadPoolExecutor(1, "seqae-ahead") as pool:
        waiting: Future[Any] = pool.submit(next, given, end)
        while (item := waiting.result()) is not end:
            waiting = pool.submit(next, given, end)
            yield item


@contextlib.contextmanager
def _threads(each: int) -> Iterator[Callable[[], None]]:
    """Let torch take so many threads in this thread, and in those that begin with what is given."""
    before = torch.get_num_threads()
    torch.set_num_threads(each)
    try:
        yield lambda: torch.set_num_threads(each)
    finally:
        torch.set_num_threads(before)
