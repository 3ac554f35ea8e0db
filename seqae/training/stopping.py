"""What ends a run: enough epochs, no better validation, the clock, Ctrl-C."""

from __future__ import annotations

__all__ = ["Halt", "best_epoch", "ended", "losses"]

import math
import signal
import threading
from collections.abc import Mapping, Sequence
from time import monotonic as clock
from types import FrameType, TracebackType
from typing import Any

History = Sequence[Mapping[str, Any]]


def best_epoch(history: History) -> int:
    """Return the epoch (from 1) with the lowest validation total, the last one without validation, 0 without epochs."""
    totals = [record["validation_total"] for record in history if "validation_total" in record]
    return totals.index(min(totals)) + 1 if totals else len(history)


def ended(history: History, epochs: int, patience: int | None, warmup: float) -> str | None:
    """Return "finished" after `epochs` epochs, "early" after `patience` ones without a better validation, or None.

    Epochs of the warm-up are not counted as waiting: what follows it may well be better.
    """
    if len(history) >= epochs:
        return "finished"
    waited = len(history) - max(best_epoch(history), math.ceil(min(warmup, epochs)))
    return "early" if patience is not None and waited >= patience else None


def losses(history: History, warmup: float) -> list[float]:
    """Return the totals (validation's where there is one) of the complete epochs after the warm-up."""
    settled = history[math.ceil(min(warmup, len(history))) :]
    return [record.get("validation_total", record["train_total"]) for record in settled]


class Halt:
    """A context in which the first Ctrl-C only sets `reason` to "interrupted", and `seconds` passing sets it to "time".

    A second Ctrl-C raises KeyboardInterrupt. Python delivers signals to the main thread alone, so in any other nothing
    is caught; nor is it where the process ignores them. The handler of before comes back at the end.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = math.inf if seconds is None else seconds
        self._interrupted = False
        self._before: Any = None

    def __enter__(self) -> Halt:
        self._deadline = clock() + self._seconds
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if before not in (None, signal.SIG_IGN):
                self._before = before
                signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @property
    def reason(self) -> str | None:
        """Return "interrupted", "time" or None."""
        if self._interrupted:
            return "interrupted"
        return "time" if clock() >= self._deadline else None

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
