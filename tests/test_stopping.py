"""What ends a run, by hand-made histories; Ctrl-C and the clock within a real run are in test_loop.py."""

from __future__ import annotations

import contextlib
import math
import os
import signal

import pytest

from seqae.training import stopping
from seqae.training.stopping import Halt, best_epoch, ended, losses


def history(*totals, validation=True):
    name = "validation_total" if validation else "train_total"
    return [{"epoch": k + 1, "train_total": 10.0 - k, name: total} for k, total in enumerate(totals)]


def test_the_best_epoch_is_the_first_of_the_lowest():
    assert best_epoch(history(3.0, 1.0, 2.0, 1.0)) == 2
    assert best_epoch(history(1.0, 2.0, 3.0, validation=False)) == 3
    assert best_epoch([]) == 0


def test_losses_are_those_after_the_warm_up():
    assert losses(history(3.0, 1.0, 2.0), 0.0) == [3.0, 1.0, 2.0]
    assert losses(history(3.0, 1.0, 2.0), 0.5) == losses(history(3.0, 1.0, 2.0), 1.0) == [1.0, 2.0]
    assert losses(history(3.0, 1.0), math.inf) == []
    assert losses(history(3.0, 1.0, validation=False), 0.0) == [3.0, 1.0]


@pytest.mark.parametrize(
    ("totals", "patience", "warmup", "expected"),
    [
        ([], 1, 0.0, None),
        ([1.0, 2.0], 2, 0.0, None),
        ([1.0, 2.0, 2.0], 2, 0.0, "early"),
        ([1.0, 1.0, 1.0], 2, 0.0, "early"),
        ([1.0, 2.0, 2.0], 2, 1.5, None),
        ([1.0, 2.0, 2.0, 2.0], 2, 1.5, "early"),
        ([1.0, 2.0, 2.0, 2.0], None, 0.0, None),
        ([1.0, 2.0, 2.0, 2.0, 2.0], None, 0.0, "finished"),
        ([1.0, 2.0, 2.0, 2.0, 2.0], 1, 0.0, "finished"),
    ],
)
def test_ended(totals, patience, warmup, expected):
    assert ended(history(*totals), 5, patience, warmup) == expected


def test_the_clock_runs_from_the_start_of_the_context(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(stopping, "clock", lambda: now[0])
    halt = Halt(5.0)
    now[0] = 200.0
    with halt:
        assert halt.reason is None
        now[0] = 204.9
        assert halt.reason is None
        now[0] = 205.0
        assert halt.reason == "time"
        os.kill(os.getpid(), signal.SIGINT)
        assert halt.reason == "interrupted"


def test_the_handler_of_before_comes_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with contextlib.suppress(ZeroDivisionError), Halt():
        assert signal.getsignal(signal.SIGINT) is not before
        1 / 0  # noqa: B018
    assert signal.getsignal(signal.SIGINT) is before
