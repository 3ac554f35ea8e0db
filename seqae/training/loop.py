"""The one training loop. It knows neither the model nor the loss: it calls `objective(model, batch, ...)`.

A run is a `TrainingState` that moves from one complete epoch to the next. What is broken off in between, by Ctrl-C, by
the clock or by a loss that is not finite, leaves no trace in it; so a run can be resumed, bit for bit on the CPU.
"""

from __future__ import annotations

__all__ = ["OPTIMIZERS", "fit"]

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic as clock
from typing import Any

import torch
from torch import nn, optim

from seqae.errors import DataError, SeqaeWarning, TrainingError, choose
from seqae.objectives import Objective
from seqae.training import devices
from seqae.training.checkpoints import TrainingState
from seqae.training.schedules import LEARNING_RATES, WHOLE_RUN, LearningRate
from seqae.training.settings import check, identity, run_settings
from seqae.training.stopping import Halt, best_epoch, ended, losses
from seqae.training.tracking import History, Record, Run, Sums, Tracker, Windows, standard_trackers

OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "adam": partial(optim.Adam, fused=True),
    "adamw": partial(optim.AdamW, fused=True),
}
LOOK_SECONDS = 0.25  # between two looks at a running epoch's loss: each waits for the device
RETRIES = 3


def fit(
    model: nn.Module,
    data: Windows,
    *,
    objective: Any = None,
    validation: Windows | None = None,
    epochs: int = 50,
    batch_size: int = 32,
    least_steps: int = 1,
    optimizer: str | Callable[..., optim.Optimizer] = "adam",
    learning_rate: float = 3e-3,
    weight_decay: float = 0.0,
    clip: float | None = 1.0,
    schedule: str | LearningRate = "constant",
    patience: int | None = 10,
    max_time: float | None = None,
    device: str | torch.device = "auto",
    precision: str = "auto",
    seed: int = 0,
    log_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    trackers: Iterable[Tracker] = (),
    progress: bool = False,
    hyperparameters: Mapping[str, Any] | None = None,
) -> History:
    """Train a model in place and leave it on the device, in eval mode, with the best epoch's weights.

    The best epoch has the lowest validation total; without validation the last weights stay and nothing stops early.
    least_steps: steps that an epoch has at least; where a pass over the data has fewer, an epoch is several passes.
    objective: as `seqae.Objective`. clip: the largest norm of the whole gradient, None = off. patience: epochs without
    a better validation after the objective's warm-up, None = off. max_time: seconds that this call may train.
    seed: drives the order of the windows and every draw; the model's first weights are the caller's.
    log_dir: a folder for metrics.jsonl, tensorboard/ and last.safetensors, from which resume=True goes on with the same
    settings, model and data (epochs, patience and max_time may change; not the epochs of a cosine schedule).
    hyperparameters: what trackers are told besides the settings.

    Ctrl-C stops after the running step, a second one at once. An epoch whose loss or gradient is not finite is undone
    and tried again at half the learning rate, three times at most. Raises TrainingError after that and where memory
    runs out, OptionError and DataError for what cannot be used.
    """
    options = dict(locals())
    check(options)
    place = devices.resolve_device(device)
    model, data, validation = model.to(place), data.to(place), None if validation is None else validation.to(place)
    shown = data if validation is None else validation
    if not len(data) or not len(shown):
        raise DataError("there are no windows to train on, or none to validate with. Give more rows.")
    objective = Objective() if objective is None else objective
    warmup = float(getattr(objective, "warmup_epochs", 0.0))
    rule = choose(LEARNING_RATES, schedule, "schedule") if isinstance(schedule, str) else schedule
    make = choose(OPTIMIZERS, optimizer, "optimizer") if isinstance(optimizer, str) else optimizer
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    generators = {"shuffle": devices.generator(seed, "shuffle"), "noise": devices.generator(seed, "noise", place)}
    state = TrainingState(model, make(weights, lr=learning_rate, weight_decay=weight_decay), generators)
    chosen = run_settings(options | {"objective": objective}, whole_run=rule in WHOLE_RUN)
    if log_dir is not None:
        state.keep(Path(log_dir) / "last.safetensors", chosen | identity(model, data, validation), resume=resume)
    told = [*trackers, *standard_trackers(log_dir, progress)]
    enough = -(-data.epoch_size // batch_size) >= least_steps
    passes = 1 if enough else -(-least_steps * batch_size // data.epoch_size)
    run = Run(model, shown, epochs, passes * data.epoch_size, list(state.history), chosen | dict(hyperparameters or {}))
    for tracker in told:
        tracker.start(run)
    autocast = devices.autocast(place, precision)
    return _Loop(state, objective, data, validation, batch_size, passes, clip, seed, place, autocast, told).run(
        max_time,
        stop=lambda history: ended(history, epochs, patience, warmup),
        rate=lambda history: rule(learning_rate, len(history), epochs, losses(history, warmup)),
    )


class _NotFiniteError(Exception):
    """A loss or a gradient was not finite."""


@dataclass
class _Loop:
    """What moves a run's state on, epoch by epoch."""

    state: TrainingState
    objective: Any
    data: Windows
    validation: Windows | None
    batch_size: int
    passes: int
    clip: float | None
    seed: int
    device: torch.device
    autocast: AbstractContextManager[object]
    trackers: Sequence[Tracker]

    def run(
        self,
        max_time: float | None,
        stop: Callable[[Sequence[Record]], str | None],
        rate: Callable[[Sequence[Record]], float],
    ) -> History:
        """Train until there is a reason to stop, and leave the best weights in the model."""
        state, earlier, began, stopped = self.state, self.state.seconds, clock(), "failed"
        try:
            with Halt(max_time) as halt:
                reason = stop(state.history)
                while reason is None:
                    record = self.epoch(rate(state.history), halt)
                    if record is not None:
                        state.add(record, earlier + clock() - began)
                        for tracker in self.trackers:
                            tracker.epoch(record)
                    reason = stop(state.history) or halt.reason
            stopped = reason
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise TrainingError(f"memory ran out at batch_size={self.batch_size}. Use a smaller one.") from error
        finally:
            if state.best:
                state.model.load_state_dict(state.best)
            state.model.eval()
            history = History(state.history, best_epoch(state.history), stopped, earlier + clock() - began)
            for tracker in self.trackers:
                tracker.finish(history)
        return history

    def epoch(self, rate: float, halt: Halt) -> Record | None:
        """Return a complete epoch's record, or None where `halt` broke it off; undo what was not finite, and retry."""
        state, before = self.state, self.state.capture()
        for retries_left in reversed(range(RETRIES + 1)):
            tried = rate * state.rate_factor
            try:
                record = self.attempt(tried, halt)
                if record is None and state.history:  # the weights are those of the last complete epoch
                    state.restore(*before)
                return record
            except _NotFiniteError as error:
                where = f"the {error} was not finite in epoch {state.epoch + 1}, at learning rate {tried:g}"
                factor = state.rate_factor / 2.0
                state.restore(*before)
                state.rate_factor = factor
            if retries_left:
                warnings.warn(f"{where}: undone, and tried again at half of it.", SeqaeWarning, stacklevel=4)
        raise TrainingError(
            f"{where}, nor at {RETRIES} higher ones. Use a smaller --learning-rate, look for extreme values in the "
            "data, or try --scaling robust."
        )

    def attempt(self, rate: float, halt: Halt) -> Record | None:
        """Train for an epoch, and validate."""
        state, began = self.state, clock()
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        sums = self.train(halt)
        if sums is None:
            return None
        record = {"epoch": state.epoch + 1, **sums.record("train")}  # waits for the device, so the time is the true one
        speed = sums.windows / max(clock() - began, 1e-9)
        if self.validation is not None:
            record |= self.validate(self.validation).record("validation")
        record["learning_rate"] = rate
        if hasattr(self.objective, "beta_at"):
            record["beta"] = self.objective.beta_at(float(state.epoch + 1))
        return record | {"windows_per_second": speed, "seconds": clock() - began}

    def train(self, halt: Halt) -> Sums | None:
        """Take a step for each batch of an epoch; None where `halt` broke it off."""
        state, sums, looked = self.state, Sums(self.device), clock()
        state.model.train()
        each = [self.data.epoch(state.generators["shuffle"]) for _ in range(self.passes)]
        order = each[0] if self.passes == 1 else torch.cat(each)
        starts = range(0, len(order), self.batch_size)  # split() would make all of what may be many views at once
        for number, low in enumerate(starts):
            batch = self.data.gather(order[low : low + self.batch_size])
            self.step(batch, state.epoch + number / len(starts), sums)
            last, reason = number + 1 == len(starts), halt.reason
            look = clock() - looked >= LOOK_SECONDS
            # Elsewhere than on the CPU, to ask is to wait for the device.
            if (look or last or reason or self.device.type == "cpu") and not sums.finite():
                raise _NotFiniteError("loss or its gradient")
            if reason and not last:
                return None
            if look:
                looked = clock()
                for tracker in self.trackers:
                    tracker.step(state.epoch + 1, sums.windows, sums.per_value())
        return sums

    def step(self, batch: Any, epoch: float, sums: Sums) -> None:
        """Take one step down the gradient of a batch's loss."""
        state = self.state
        state.optimizer.zero_grad(set_to_none=True)
        with self.autocast:
            terms = self.objective(state.model, batch, epoch=epoch, generator=state.generators["noise"])
        terms.total.backward()
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), math.inf if self.clip is None else self.clip)
        sums.add(terms, norm)
        state.optimizer.step()

    def validate(self, data: Windows) -> Sums:
        """Measure the validation loss, with the same draws in every epoch."""
        model, sums = self.state.model.eval(), Sums(self.device)
        generator = devices.generator(self.seed, "validation", self.device)
        with torch.no_grad(), self.autocast:
            for _, batch in data.blocks(self.batch_size):
                sums.add(self.objective.evaluate(model, batch, generator=generator))
        if not sums.finite():
            raise _NotFiniteError("validation loss")
        return sums
