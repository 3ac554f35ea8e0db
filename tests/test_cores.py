from __future__ import annotations

import threading
import time

import pytest
import torch

from seqae.anomaly import cores
from seqae.anomaly.cores import ahead, in_turn

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items_whenever_they_are_done():
    def work(k):
        time.sleep(0.02 if k % 3 == 1 else 0.0)
        return k * k, threading.get_ident()

    found = list(in_turn(work, range(20), CPU, 1))
    assert [square for square, _ in found] == [k * k for k in range(20)]
    assert found[0][1] == threading.get_ident()
    assert len({thread for _, thread in found[1:]} - {threading.get_ident()}) >= 2


def test_blocks_are_worked_on_at_the_same_time_and_each_on_one_thread():
    together = threading.Barrier(3, timeout=10)

    def work(k):
        if k:
            together.wait()
        return torch.get_num_threads()

    assert list(in_turn(work, range(7), CPU, 1)) == [1] * 7
    assert torch.get_num_threads() == 3


def test_few_items_are_taken_ahead_of_those_given_out():
    taken = []
    items = (taken.append(k) or k for k in range(100))
    for given in in_turn(lambda k: k, items, CPU, 1):
        assert len(taken) <= given + 6
    assert len(taken) == 100


def test_an_error_ends_the_work_and_leaves_the_threads_as_they_were():
    done = []

    def work(k):
        if k == 4:
            raise ValueError("four")
        time.sleep(0.01)
        done.append(k)
        return k

    with pytest.raises(ValueError, match="four"):
        list(in_turn(work, range(1000), CPU, 1))
    assert max(done) < 12
    assert torch.get_num_threads() == 3
    assert not [one for one in threading.enumerate() if one.name.startswith("seqae-scoring")]


def test_work_that_nobody_waits_for_any_more_ends():
    given = in_turn(lambda k: k, range(1000), CPU, 1)
    assert [next(given) for _ in range(5)] == [0, 1, 2, 3, 4]
    given.close()
    assert torch.get_num_threads() == 3
    assert not [one for one in threading.enumerate() if one.name.startswith("seqae-scoring")]


@pytest.mark.parametrize("why", ["size", "device", "one thread", "autocast"])
def test_all_stays_in_the_callers_thread_where_it_must(why):
    size, device = (cores.HELD if why == "size" else 1), torch.device("meta" if why == "device" else "cpu")
    torch.set_num_threads(1 if why == "one thread" else 3)
    with torch.autocast("cpu", enabled=why == "autocast"):
        found = list(in_turn(lambda _: threading.get_ident(), range(6), device, size))
    assert found == [threading.get_ident()] * 6


def test_large_blocks_get_fewer_workers_with_more_threads_each():
    torch.set_num_threads(6)
    assert list(in_turn(lambda _: torch.get_num_threads(), range(4), CPU, cores.HELD // 2)) == [3] * 4


def test_an_item_is_made_while_the_one_before_is_worked_on():
    made, here = [], threading.get_ident()

    def items():
        for number in range(4):
            assert threading.get_ident() != here
            made.append(number)
            yield number

    for number in ahead(items()):
        until = time.monotonic() + 10
        while len(made) < min(number + 2, 4) and time.monotonic() < until:
            time.sleep(0.001)
        assert made == list(range(min(number + 2, 4)))
    assert list(ahead([])) == []


def test_an_error_ahead_comes_in_its_turn_and_nothing_is_left_running():
    def items():
        yield 1
        yield 2
        raise ValueError("the third")

    given = ahead(items())
    assert [next(given), next(given)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(given)
    stopped = ahead(iter(range(100)))
    next(stopped)
    stopped.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("seqae-ahead")]
