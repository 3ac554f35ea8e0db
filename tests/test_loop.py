"""The loop against a naive one, with a stand-in model, loss and data that it cannot know; then with the real ones."""

from __future__ import annotations

import ast
import itertools
import json
import math
import os
import signal
import threading
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqae.errors import DataError, OptionError, SeqaeWarning, TrainingError
from seqae.models import AE, CVAE, VAE
from seqae.objectives import Objective
from seqae.training import devices, loop, schedules, stopping
from seqae.training.checkpoints import read_safetensors
from seqae.training.loop import fit
from seqae.training.tracking import Tracker
from seqae.windows import WindowSet

# Stand-ins: a mean is learned from points, by half the squared distance.


class Point(NamedTuple):
    x: Tensor


class Points:
    def __init__(self, n=20, seed=0, values=None):
        self.values = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)) if values is None else values
        self.epoch_size = len(self.values)

    def __len__(self):
        return len(self.values)

    def to(self, device):
        return Points(values=self.values.to(device))

    def epoch(self, generator):
        return torch.randperm(len(self), generator=generator)

    def gather(self, index):
        return Point(self.values[index])

    def blocks(self, size):
        for index in torch.arange(len(self)).split(size):
            yield index, self.gather(index)


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor([3.0, -2.0, 1.0]))


class Loss(NamedTuple):
    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    values: Tensor
    windows: int


class Distance:
    """½|x − mean|², with noise on x if asked for; `events` maps the number of a call to what happens in it."""

    def __init__(self, noise=0.0, warmup_epochs=0.0, events=None, totals=None):
        self.noise, self.warmup_epochs = noise, warmup_epochs
        self._events, self._totals = events or {}, None if totals is None else iter(totals)
        self.calls = 0
        self.seen = []

    def __call__(self, model, batch, *, epoch, generator):
        assert model.training
        self.calls += 1
        self.seen.append((epoch, batch.x.detach().clone()))
        x = batch.x
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=generator)
        loss = self.loss(model, x)
        return self._events.get(self.calls, lambda loss: loss)(loss)

    def evaluate(self, model, batch, *, generator):
        assert not model.training
        assert not torch.is_grad_enabled()
        x = batch.x + self.noise * torch.randn(batch.x.shape, generator=generator)
        loss = self.loss(model, x)
        return loss if self._totals is None else loss._replace(total=torch.tensor(next(self._totals)))

    def loss(self, model, x):
        total = (x - model.mean).square().sum() / 2 / len(x)
        return Loss(total, total.detach(), torch.zeros(()), torch.tensor(x.numel()), len(x))


class Recorder(Tracker):
    """Keeps the weights after each epoch."""

    def __init__(self):
        self.weights, self.records, self.history = [], [], None

    def start(self, run):
        self.model, self.windows = run.model, run.windows

    def epoch(self, record):
        self.weights.append(self.model.mean.detach().clone())
        self.records.append(record)

    def finish(self, history):
        self.history = history


def train(objective=None, *, data=None, model=None, **options):
    """Fit a Mean on the CPU; return it and the history."""
    model = Mean() if model is None else model
    options = {"epochs": 4, "batch_size": 8, "learning_rate": 0.1, "device": "cpu", **options}
    history = fit(model, Points() if data is None else data, objective=objective or Distance(), **options)
    return model, history


def sgd(weights, lr, weight_decay):
    return torch.optim.SGD(weights, lr=lr)


def timeless(history):
    """The records without what a clock measured."""
    return [
        {name: value for name, value in record.items() if name not in ("seconds", "windows_per_second")}
        for record in history.epochs
    ]


def same(left, right):
    left, right = left.state_dict(), right.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def interrupt(loss):
    os.kill(os.getpid(), signal.SIGINT)
    return loss


def spoil(loss):
    return loss._replace(total=loss.total * math.nan)


# The loop against the obvious one


def naive(data, epochs, batch_size, step, seed=0):
    """The weights after each epoch, and the mean loss over its points: gradients by hand, `step` moves the mean."""
    mean, generator = torch.tensor([3.0, -2.0, 1.0]), devices.generator(seed, "shuffle")
    found = []
    for _ in range(epochs):
        total = 0.0
        for index in torch.randperm(len(data), generator=generator).split(batch_size):
            x = data.values[index]
            total += float((x - mean).square().sum() / 2)
            mean = step(mean, (mean - x).sum(0) / len(x))
        found.append((mean, total / len(data)))
    return found


def test_it_descends_as_the_obvious_loop_does():
    data, recorder = Points(), Recorder()
    _, history = train(data=data, optimizer=sgd, clip=None, trackers=[recorder], epochs=3)
    expected = naive(data, 3, 8, lambda mean, gradient: mean - 0.1 * gradient)
    for (mean, total), weights, record in zip(expected, recorder.weights, history.epochs, strict=True):
        torch.testing.assert_close(weights, mean, rtol=1e-6, atol=1e-6)
        assert record["train_total"] == record["train_reconstruction"] == pytest.approx(total, rel=1e-6)
        assert record["train_per_value"] == pytest.approx(total / 3, rel=1e-6)
        assert record["train_kl"] == 0.0
    assert [record["epoch"] for record in history.epochs] == [1, 2, 3]
    assert (history.best_epoch, history.stopped) == (3, "finished")


class Counted(Points):
    """Notes which points each step was given."""

    def __init__(self, **options):
        super().__init__(**options)
        self.given = []

    def to(self, device):
        return self

    def gather(self, index):
        self.given.append(index)
        return super().gather(index)


@pytest.mark.parametrize(("least", "passes"), [(1, 1), (3, 1), (4, 2), (5, 2), (6, 3), (25, 10)])
def test_an_epoch_of_few_points_is_several_passes(least, passes):
    data, recorder = Counted(), Recorder()
    train(data=data, least_steps=least, epochs=2, trackers=[recorder])
    steps = len(data.given) // 2
    assert steps == max(-(-passes * 20 // 8), 3) >= least
    for epoch in (data.given[:steps], data.given[steps:]):
        together = torch.cat(epoch).view(passes, 20)
        assert (together.sort(dim=1).values == torch.arange(20)).all()  # every point once in each pass
        assert len(together.unique(dim=0)) == passes  # each in an order of its own
    assert recorder.windows == 20 * passes


def adam(rate, decay=0.0):
    """Kingma & Ba 2015, algorithm 1; with decoupled decay, Loshchilov & Hutter 2019, algorithm 2."""
    m, v, t = 0.0, 0.0, 0

    def step(mean, gradient):
        nonlocal m, v, t
        m, v, t = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2, t + 1
        moved = (m / (1 - 0.9**t)) / (torch.sqrt(v / (1 - 0.999**t)) + 1e-8)
        return mean - rate * moved - rate * decay * mean

    return step


@pytest.mark.parametrize(("name", "decay"), [("adam", 0.0), ("adamw", 0.3)])
def test_optimizers_are_those_of_their_papers(name, decay):
    data = Points()
    model, _ = train(data=data, optimizer=name, weight_decay=decay, clip=None, epochs=5)
    torch.testing.assert_close(model.mean.detach(), naive(data, 5, 8, adam(0.1, decay))[-1][0], rtol=1e-5, atol=1e-5)


def test_clipping_bounds_the_whole_gradient():
    def clipped(mean, gradient):
        return mean - 0.1 * gradient * min(1.0, 0.5 / float(gradient.norm()))

    data = Points()
    model, _ = train(data=data, optimizer=sgd, clip=0.5)
    torch.testing.assert_close(model.mean.detach(), naive(data, 4, 8, clipped)[-1][0], rtol=1e-5, atol=1e-5)


def test_every_window_is_seen_once_an_epoch_in_another_order_each():
    objective, data = Distance(), Points(20)
    train(objective, data=data, epochs=2)
    assert [len(x) for _, x in objective.seen] == [8, 8, 4, 8, 8, 4]
    assert [epoch for epoch, _ in objective.seen] == pytest.approx([0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3])
    first, second = (torch.cat([x for epoch, x in objective.seen if int(epoch) == k]) for k in (0, 1))
    assert not torch.equal(first, second)
    for seen in (first, second):
        assert torch.equal(seen.sort(0).values, data.values.sort(0).values)


@pytest.mark.parametrize("schedule", ["cosine", "plateau", lambda rate, epoch, epochs, totals: rate / (epoch + 1)])
def test_learning_rates_reach_the_optimizer(schedule):
    rates = []

    class Spy(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])

    recorder = Recorder()
    train(Distance(totals=[1.0] * 12), validation=Points(5), optimizer=lambda w, lr, weight_decay: Spy(w, lr=lr),
          schedule=schedule, epochs=12, patience=None, trackers=[recorder])  # fmt: skip
    rule = schedules.LEARNING_RATES[schedule] if isinstance(schedule, str) else schedule
    expected = [rule(0.1, epoch, 12, [1.0] * epoch) for epoch in range(12)]
    assert rates[::3] == rates[1::3] == rates[2::3] == expected
    assert [record["learning_rate"] for record in recorder.records] == expected
    assert len(set(expected)) > 1


# Validation


def test_validation_is_measured_on_all_its_windows():
    validation = Points(21, seed=5)
    model, history = train(validation=validation, epochs=1)
    total = float((validation.values - model.mean.detach()).square().sum() / 2 / 21)
    assert history.epochs[0]["validation_total"] == pytest.approx(total, rel=1e-6)
    assert history.epochs[0]["validation_per_value"] == pytest.approx(total / 3, rel=1e-6)


def test_validation_draws_the_same_noise_every_epoch():
    still = [record["validation_total"] for record in train(
        Distance(noise=1.0), validation=Points(), optimizer=sgd, learning_rate=1e-30, epochs=3)[1].epochs]  # fmt: skip
    assert len(set(still)) == 1


def test_the_best_weights_come_back_bit_for_bit():
    recorder = Recorder()
    objective = Distance(totals=[3.0, 1.0, 2.0, 1.0, 5.0])
    model, history = train(objective, validation=Points(5), epochs=5, trackers=[recorder])
    assert (history.best_epoch, history.stopped) == (2, "finished")
    assert history.best["validation_total"] == 1.0
    assert torch.equal(model.mean, recorder.weights[1])
    assert not torch.equal(model.mean, recorder.weights[-1])
    assert not model.training
    assert recorder.history is history


@pytest.mark.parametrize(
    ("patience", "warmup", "epochs", "stopped"),
    [(2, 0.0, 4, "early"), (3, 0.0, 5, "early"), (2, 5.0, 7, "early"), (2, 4.5, 7, "early"), (None, 0.0, 9, "finished"),
     (1, 8.0, 9, "finished"), (1, math.inf, 9, "finished")],
)  # fmt: skip
def test_early_stopping_waits_for_its_patience_after_the_warm_up(patience, warmup, epochs, stopped):
    objective = Distance(warmup_epochs=warmup, totals=[3.0, 1.0] + [2.0] * 7)
    _, history = train(objective, validation=Points(5), epochs=9, patience=patience)
    assert (len(history.epochs), history.stopped, history.best_epoch) == (epochs, stopped, 2)


def test_nothing_stops_early_without_validation():
    _, history = train(epochs=30, patience=1, learning_rate=0.5)
    assert (len(history.epochs), history.stopped, history.best_epoch) == (30, "finished", 30)


# What is not finite


def halved_from(epoch):
    return lambda rate, now, epochs, totals: rate if now < epoch else rate / 2


@pytest.mark.parametrize("events", [{5: spoil}, {6: spoil}])
def test_an_epoch_that_is_not_finite_is_undone_and_tried_again_at_half_the_rate(events):
    with pytest.warns(SeqaeWarning, match=r"loss or its gradient was not finite in epoch 2, at learning rate 0\.1"):
        model, history = train(Distance(noise=0.1, events=events))
    expected, untroubled = train(Distance(noise=0.1), schedule=halved_from(1))
    assert same(model, expected)
    assert timeless(history) == timeless(untroubled)
    assert [record["learning_rate"] for record in history.epochs] == [0.1, 0.05, 0.05, 0.05]


def test_a_gradient_that_is_not_finite_counts_too():
    def infinite_slope(loss):
        return loss._replace(total=loss.total + torch.sqrt(loss.total - loss.total))

    with pytest.warns(SeqaeWarning, match="not finite in epoch 1"):
        model, _ = train(Distance(events={1: infinite_slope}))
    assert same(model, train(schedule=halved_from(0))[0])


def test_a_validation_loss_that_is_not_finite_counts_too():
    with pytest.warns(SeqaeWarning, match="validation loss was not finite in epoch 2"):
        model, history = train(Distance(totals=[3.0, math.inf, 2.0, 1.0, 0.5]), validation=Points(5))
    assert [record["validation_total"] for record in history.epochs] == [3.0, 2.0, 1.0, 0.5]
    assert same(model, train(schedule=halved_from(1))[0])


def test_it_gives_up_after_three_halvings_and_leaves_the_last_good_weights():
    recorder, objective = Recorder(), Distance(events=dict.fromkeys(range(4, 99), spoil))
    model = Mean()
    with (
        pytest.warns(SeqaeWarning) as said,
        pytest.raises(TrainingError, match=r"learning rate 0\.0125.*--scaling robust"),
    ):
        train(objective, model=model, trackers=[recorder])
    rates = [str(warning.message).split(": undone")[0].split()[-1] for warning in said]
    assert rates == ["0.1", "0.05", "0.025"]
    assert torch.equal(model.mean, recorder.weights[-1])
    assert (len(recorder.weights), recorder.history.stopped, model.training) == (1, "failed", False)


def test_memory_that_runs_out_is_said_in_one_line():
    def exhaust(loss):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    with pytest.raises(TrainingError, match=r"^memory ran out at batch_size=8\. .*smaller"):
        train(Distance(events={2: exhaust}))


# The clock


@pytest.fixture
def ticking(monkeypatch):
    """A clock that moves by one second with each call of the objective, and stands still otherwise."""
    clock = itertools.count()
    now = [next(clock)]
    for module in (loop, stopping):
        monkeypatch.setattr(module, "clock", lambda: now[0])

    def tick(loss):
        now[0] = next(clock)
        return loss

    return dict.fromkeys(range(1, 1000), tick)


def test_time_that_runs_out_ends_the_run_after_the_step_with_the_best_weights(ticking):
    recorder, objective = Recorder(), Distance(events=ticking)
    model, history = train(objective, validation=Points(5), max_time=7.5, epochs=99, trackers=[recorder])
    assert (objective.calls, len(history.epochs), history.stopped, history.seconds) == (8, 2, "time", 8)
    assert torch.equal(model.mean, recorder.weights[history.best_epoch - 1])


def test_time_that_runs_out_at_the_end_of_an_epoch_wastes_nothing(ticking):
    _, history = train(Distance(events=ticking), max_time=6, epochs=99)
    assert (len(history.epochs), history.stopped) == (2, "time")
    _, history = train(Distance(events=ticking), max_time=6, epochs=2)
    assert history.stopped == "finished"


def test_at_least_one_step_is_taken_in_however_little_time():
    objective = Distance()
    model, history = train(objective, max_time=1e-9, epochs=99)
    assert (objective.calls, history.epochs, history.best_epoch, history.stopped) == (1, [], 0, "time")
    assert not same(model, Mean())


def test_records_say_how_long_and_how_fast(ticking):
    _, history = train(Distance(events=ticking), epochs=2)
    assert [record["seconds"] for record in history.epochs] == [3, 3]
    assert [record["windows_per_second"] for record in history.epochs] == pytest.approx([20 / 3] * 2)


def test_trackers_are_told_a_few_times_a_second(ticking, monkeypatch):
    monkeypatch.setattr(loop, "LOOK_SECONDS", 2)
    told = []

    class Spy(Tracker):
        def step(self, epoch, windows, per_value):
            told.append((epoch, windows, round(per_value, 6)))

    objective, data = Distance(events=ticking), Points(20)
    train(objective, data=data, batch_size=4, epochs=1, optimizer=sgd, learning_rate=1e-30, trackers=[Spy()])
    seen = torch.cat([x for _, x in objective.seen])
    losses = [float((seen[:n] - Mean().mean.detach()).square().sum() / 2 / (3 * n)) for n in (8, 16)]
    assert told == [(1, 8, pytest.approx(losses[0], abs=1e-5)), (1, 16, pytest.approx(losses[1], abs=1e-5))]


# Ctrl-C


def test_ctrl_c_finishes_the_step_and_leaves_the_best_weights():
    before, recorder = signal.getsignal(signal.SIGINT), Recorder()
    objective = Distance(events={8: interrupt})
    model, history = train(objective, validation=Points(5), epochs=99, trackers=[recorder])
    assert (objective.calls, len(history.epochs), history.stopped) == (8, 2, "interrupted")
    assert torch.equal(model.mean, recorder.weights[history.best_epoch - 1])
    assert not model.training
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_in_the_first_epoch_leaves_what_was_learned():
    model, history = train(Distance(events={2: interrupt}), validation=Points(5))
    assert (history.epochs, history.best_epoch, history.stopped) == ([], 0, "interrupted")
    generator, mean = devices.generator(0, "shuffle"), Mean().mean.detach()
    step = adam(0.1)
    for index in torch.randperm(20, generator=generator).split(8)[:2]:
        gradient = mean - Points().values[index].mean(0)
        mean = step(mean, gradient * min(1.0, 1.0 / float(gradient.norm())))
    torch.testing.assert_close(model.mean.detach(), mean, rtol=1e-5, atol=1e-5)


def test_a_second_ctrl_c_ends_it_at_once():
    before, recorder = signal.getsignal(signal.SIGINT), Recorder()

    def twice(loss):
        return interrupt(interrupt(loss))

    with pytest.raises(KeyboardInterrupt):
        train(Distance(events={5: twice}), trackers=[recorder])
    assert signal.getsignal(signal.SIGINT) is before
    assert recorder.history.stopped == "failed"


def test_other_threads_train_without_signals():
    done = []
    thread = threading.Thread(target=lambda: done.append(train()[1].stopped))
    thread.start()
    thread.join()
    assert done == ["finished"]


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert train(Distance(events={5: interrupt}))[1].stopped == "finished"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# Seeds


def test_one_seed_drives_everything_and_the_global_one_is_left_alone():
    before = torch.random.get_rng_state(), np.random.get_state()[1].tobytes()
    runs = [train(Distance(noise=0.5), validation=Points(7), seed=seed) for seed in (1, 1, 2)]
    assert same(runs[0][0], runs[1][0])
    assert timeless(runs[0][1]) == timeless(runs[1][1])
    assert not same(runs[0][0], runs[2][0])
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == np.random.get_state()[1].tobytes()


# Resuming


def parts(log_dir):
    tensors, document = read_safetensors(Path(log_dir) / "last.safetensors")
    document["history"] = [
        {name: value for name, value in record.items() if name not in ("seconds", "windows_per_second")}
        for record in document["history"]
    ]
    return tensors, {name: value for name, value in document.items() if name != "seconds"}


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "plateau"])
@pytest.mark.parametrize("k", [1, 4])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, optimizer, schedule, k):
    options = {"validation": Points(7, seed=3), "optimizer": optimizer, "schedule": schedule, "patience": None}
    whole, history = train(Distance(0.7), log_dir=tmp_path / "whole", epochs=7, **options)
    train(Distance(0.7), log_dir=tmp_path / "parts", epochs=k, **options)
    fresh = Mean()
    nn.init.zeros_(fresh.mean)
    resumed, continued = train(Distance(0.7), model=fresh, log_dir=tmp_path / "parts", epochs=7, resume=True, **options)
    assert same(resumed, whole)
    assert timeless(continued) == timeless(history)
    assert (continued.best_epoch, continued.stopped) == (history.best_epoch, "finished")
    tensors, document = parts(tmp_path / "parts")
    expected, expected_document = parts(tmp_path / "whole")
    assert document == expected_document
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    lines = [json.loads(line)["epoch"] for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert lines == list(range(1, 8))


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_run_interrupted_within_an_epoch_resumes_from_the_last_complete_one(tmp_path, schedule):
    options = {"validation": Points(7), "schedule": schedule, "epochs": 6, "patience": None}
    whole, history = train(Distance(0.7), **options)
    _, broken = train(Distance(0.7, events={11: interrupt}), log_dir=tmp_path, **options)
    assert (len(broken.epochs), broken.stopped) == (3, "interrupted")
    resumed, continued = train(Distance(0.7), log_dir=tmp_path, resume=True, **options)
    assert same(resumed, whole)
    assert timeless(continued) == timeless(history)
    assert continued.seconds > broken.epochs[-1]["seconds"]


@pytest.mark.parametrize("k", [3, 5, 8])
def test_early_stopping_counts_on_in_a_resumed_run(tmp_path, k):
    totals = [9.0, 7.0, 8.0, 8.0, 8.0, 6.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0]
    options = {"validation": Points(7), "patience": 4}
    whole, history = train(Distance(totals=totals), epochs=12, **options)
    assert (len(history.epochs), history.best_epoch, history.stopped) == (10, 6, "early")
    train(Distance(totals=totals), epochs=k, log_dir=tmp_path, **options)
    resumed, continued = train(Distance(totals=totals[k:]), epochs=12, log_dir=tmp_path, resume=True, **options)
    assert same(resumed, whole)
    assert (len(continued.epochs), continued.best_epoch, continued.stopped) == (10, 6, "early")
    again, nothing = train(Distance(totals=[]), epochs=12, log_dir=tmp_path, resume=True, **options)
    assert same(again, whole)
    assert (timeless(nothing), nothing.stopped) == (timeless(continued), "early")


def test_a_halved_rate_stays_halved_in_a_resumed_run(tmp_path):
    with pytest.warns(SeqaeWarning):
        train(Distance(0.3, events={4: spoil}), epochs=3, log_dir=tmp_path)
    resumed, history = train(Distance(0.3), epochs=5, log_dir=tmp_path, resume=True)
    assert same(resumed, train(Distance(0.3), epochs=5, schedule=halved_from(1))[0])
    assert [record["learning_rate"] for record in history.epochs] == [0.1] + [0.05] * 4


def test_a_finished_run_is_resumed_by_more_epochs_or_not_at_all(tmp_path):
    first, history = train(epochs=3, log_dir=tmp_path)
    objective = Distance()
    same_again, nothing = train(objective, epochs=3, log_dir=tmp_path, resume=True)
    assert objective.calls == 0
    assert same(same_again, first)
    assert (timeless(nothing), nothing.stopped) == (timeless(history), "finished")
    more, _ = train(epochs=5, log_dir=tmp_path, resume=True)
    assert same(more, train(epochs=5)[0])


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.2}, r"learning_rate was 0\.1, is 0\.2"),
        ({"batch_size": 4}, "batch_size was 8, is 4"),
        ({"least_steps": 9}, "least_steps was 1, is 9"),
        ({"optimizer": "adamw"}, 'optimizer was "adam", is "adamw"'),
        ({"weight_decay": 0.1}, r"weight_decay was 0\.0, is 0\.1"),
        ({"clip": None}, r"clip was 1\.0, is null"),
        ({"schedule": "plateau"}, 'schedule was "constant", is "plateau"'),
        ({"seed": 1}, "seed was 0, is 1"),
        ({"objective": Distance(noise=0.5)}, r"objective\.Distance\.noise was 0\.0, is 0\.5"),
        ({"data": Points(21)}, "data was"),
        ({"data": Points(20, seed=9)}, "data was"),
        ({"validation": Points(5)}, "validation was null"),
        ({"model": Wide()}, r"shapes\.mean was \[3\], is \[1, 3\]"),
    ],
)
def test_another_run_is_not_resumed(tmp_path, change, message):
    train(log_dir=tmp_path)
    before = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(OptionError, match=message):
        train(change.pop("objective", None), log_dir=tmp_path, resume=True, **change)
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_epochs_patience_and_time_may_change_but_not_the_epochs_of_a_cosine(tmp_path):
    train(epochs=2, log_dir=tmp_path)
    assert len(train(epochs=3, patience=3, max_time=1e6, log_dir=tmp_path, resume=True)[1].epochs) == 3
    train(epochs=2, schedule="cosine", log_dir=tmp_path)
    with pytest.raises(OptionError, match="epochs was 2, is 3"):
        train(epochs=3, schedule="cosine", log_dir=tmp_path, resume=True)


def test_a_run_without_resume_starts_anew(tmp_path):
    train(epochs=3, log_dir=tmp_path)
    model, history = train(epochs=2, learning_rate=0.2, log_dir=tmp_path)
    assert same(model, train(epochs=2, learning_rate=0.2)[0])
    assert len(history.epochs) == len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_run_folder_has_its_files(tmp_path):
    _, history = train(log_dir=tmp_path / "runs" / "new", validation=Points(5))
    assert sorted(path.name for path in (tmp_path / "runs" / "new").iterdir()) == [
        "last.safetensors", "metrics.jsonl", "tensorboard",
    ]  # fmt: skip
    lines = (tmp_path / "runs" / "new" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history.epochs


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1; got 0"),
        ({"epochs": None}, "epochs must"),
        ({"batch_size": 2.5}, "batch_size must"),
        ({"least_steps": 0}, "least_steps must"),
        ({"patience": 0}, "patience must"),
        ({"learning_rate": -1.0}, "learning_rate must be a number greater than 0; got -1.0"),
        ({"learning_rate": math.nan}, "learning_rate must"),
        ({"learning_rate": "fast"}, "learning_rate must"),
        ({"clip": 0.0}, "clip must"),
        ({"max_time": math.inf}, "max_time must"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative"),
        ({"optimizer": "sgd"}, "optimizer 'sgd' does not exist. Choose one of: adam, adamw"),
        ({"schedule": "step"}, "schedule 'step' does not exist. Choose one of: constant, cosine, plateau"),
        ({"device": "tpu"}, "device 'tpu' does not exist"),
        ({"precision": "half"}, "precision 'half' does not exist"),
        ({"precision": "bfloat16"}, "precision bfloat16 needs a CUDA GPU"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"resume": True}, "resume needs the folder"),
    ],
)
def test_options_that_make_no_sense(options, message):
    model = Mean()
    with pytest.raises(OptionError, match=message):
        train(model=model, **options)
    assert same(model, Mean())


def test_sets_without_windows():
    for data, validation in ((Points(0), None), (Points(), Points(0))):
        with pytest.raises(DataError, match="no windows"):
            train(data=data, validation=validation)


def test_the_loop_knows_no_model_no_windows_and_no_loss():
    """All that it has of floor 3 and below is the objective that it takes where none is given."""
    known = set()
    for node in ast.walk(ast.parse(Path(loop.__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("seqae.training"):
            known |= {alias.name for alias in node.names if (node.module or "").startswith("seqae")}
    assert known == {"DataError", "Objective", "SeqaeWarning", "TrainingError", "choose"}
    assert Path(loop.__file__).read_text().count("\n") < 250


# The real ones


def waves(length=300, channels=1, **options):
    rng, t = np.random.default_rng(0), np.arange(length)[:, None]
    values = np.sin(2 * np.pi * t / 20 + np.arange(channels)) + 0.1 * rng.normal(size=(length, channels))
    values[rng.random(values.shape) < 0.05] = np.nan
    return WindowSet([values.astype(np.float32)], window=16, **options)


def build(name="VAE", **options):
    torch.manual_seed(0)
    options = {"channels": 1, "latent": 2, "hidden": 6, "cell": "lstm", **options}
    return {"AE": AE, "VAE": VAE, "CVAE": CVAE}[name](**options)


REAL = {
    "latent sampling": ("VAE", {}, {}),
    "gaussian noise": ("VAE", {"cell": "gru"}, {"noise": "gaussian"}),
    "masking": ("AE", {"layers": 2}, {"noise": "masking", "free_bits": 0.1}),
    "scheduled": (
        "VAE",
        {"decoder_type": "output_as_input", "feedback": "output"},
        {"beta": schedules.cyclical(1.0, 2, cycles=2), "teacher_forcing": schedules.linear_decay(0.9, 3)},
    ),
    "conditional": ("CVAE", {"condition": 2, "prior": "conditional"}, {"noise": "gaussian"}),
}


@pytest.mark.parametrize("case", REAL)
def test_real_models_resume_bit_for_bit(tmp_path, case):
    name, arguments, choices = REAL[case]
    conditions = None
    if "condition" in arguments:
        conditions = [np.random.default_rng(1).normal(size=(300, 2)).astype(np.float32)]
    data = waves(stride=4, phase="random", conditions=conditions)
    options = {"validation": waves(stride=8, conditions=conditions), "batch_size": 16, "device": "cpu", "seed": 11}

    def run(**changes):
        model = build(name, **arguments)
        return model, fit(model, data, objective=Objective(**choices), **options, **changes)

    whole, history = run(epochs=4)
    run(epochs=2, log_dir=tmp_path)
    resumed, continued = run(epochs=4, log_dir=tmp_path, resume=True)
    assert same(resumed, whole)
    assert timeless(continued) == timeless(history)
    assert len({record["train_total"] for record in history.epochs}) == 4


def test_a_changed_schedule_of_the_objective_is_another_run(tmp_path):
    options = {"batch_size": 64, "device": "cpu", "log_dir": tmp_path, "epochs": 1}
    fit(build(), waves(stride=8), objective=Objective(beta=schedules.linear(1.0, 5)), **options)
    with pytest.raises(OptionError, match=r"beta\.\w+\.rise was 5, is 6"):
        fit(build(), waves(stride=8), objective=Objective(beta=schedules.linear(1.0, 6)), resume=True, **options)
    with pytest.raises(OptionError, match=r"model\.arguments\.hidden was 6, is 7"):
        fit(build(hidden=7), waves(stride=8), resume=True, **options)


def test_records_of_real_models_add_up():
    objective = Objective(beta=schedules.linear(0.5, 2))
    history = fit(build(), waves(stride=4), objective=objective, validation=waves(stride=8), epochs=3, device="cpu")
    assert [record["beta"] for record in history.epochs] == [0.25, 0.5, 0.5]
    for record in history.epochs:
        total = record["validation_reconstruction"] + 0.5 * record["validation_kl"]
        assert record["validation_total"] == pytest.approx(total, rel=1e-6)
    last = history.epochs[-1]
    assert last["train_total"] == pytest.approx(last["train_reconstruction"] + 0.5 * last["train_kl"], rel=1e-6)


@pytest.mark.slow
def test_a_real_model_learns_a_wave():
    """A wave of amplitude 1 has ½ log(2πe·½) = 1.07 nats a value unlearned; its noise alone, σ = 0.1, −0.88."""
    model, data = build(latent=4, hidden=16), waves(2000, stride=4)
    history = fit(model, data, validation=waves(400, stride=4), epochs=30, learning_rate=2e-2, device="cpu")
    assert history.epochs[0]["validation_per_value"] > 1.0
    assert history.best["validation_per_value"] < 0.0


# GPUs

gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


class TestOnAGpu:
    pytestmark = gpu

    def test_it_learns_what_the_cpu_learns(self):
        found = {}
        for device in ("cpu", "cuda"):
            model = build("AE")
            fit(model, waves(), epochs=2, batch_size=32, device=device, precision="float32")
            assert next(model.parameters()).device.type == device
            found[device] = model.cpu().reconstruct(waves().gather(torch.arange(8)).x)
        torch.testing.assert_close(found["cuda"], found["cpu"], rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("case", REAL)
    def test_every_objective_trains_in_bfloat16(self, case):
        name, arguments, choices = REAL[case]
        conditions = None
        if "condition" in arguments:
            conditions = [np.random.default_rng(1).normal(size=(300, 2)).astype(np.float32)]
        data = waves(conditions=conditions)
        losses = {}
        for precision in ("float32", "auto"):
            history = fit(
                build(name, **arguments),
                data,
                objective=Objective(**choices),
                epochs=2,
                device="cuda",
                precision=precision,
            )
            losses[precision] = history.epochs[-1]["train_per_value"]
        assert losses["auto"] == pytest.approx(losses["float32"], abs=0.05)

    def test_no_step_waits_for_the_device(self):
        model, data = build("VAE"), waves(2000)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                fit(model, data, epochs=1, batch_size=8, device="cuda")
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits = [warning for warning in caught if "synchroniz" in str(warning.message)]
        assert len(waits) < len(data) / 8 / 4
