"""What a run tells while it trains: sums on the device, and trackers that write them down or show them."""

from __future__ import annotations

__all__ = [
    "History",
    "JsonLines",
    "Progress",
    "Run",
    "Sums",
    "TensorBoard",
    "Tracker",
    "Windows",
    "standard_trackers",
]

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

Record = dict[str, Any]

REDRAW_SECONDS = (10.0, 0.25)
"""Time between two states of a bar that goes into a file, and of one on a terminal."""


class Windows(Protocol):
    """What the loop needs of its data; `seqae.windows.WindowSet` has it."""

    def __len__(self) -> int: ...
    @property
    def epoch_size(self) -> int: ...
    def to(self, device: torch.device) -> Windows: ...
    def epoch(self, generator: torch.Generator) -> Tensor: ...
    def gather(self, index: Tensor) -> Any: ...
    def blocks(self, size: int) -> Iterator[tuple[Tensor, Any]]: ...


@dataclass
class History:
    """What a run measured."""

    epochs: list[Record]
    """One record for each complete epoch, in nats per window, and per observed value where the name says so."""
    best_epoch: int
    """The epoch (from 1) whose weights the model holds; 0 where none was completed."""
    stopped: str
    """Why it ended: "finished", "early", "time", "interrupted", or, while an error is on its way, "failed"."""
    seconds: float
    """Time taken, with that of the runs that this one resumed."""

    @property
    def best(self) -> Record:
        """Return the best epoch's record; empty where no epoch was completed."""
        return self.epochs[self.best_epoch - 1] if self.best_epoch else {}

    def to_document(self) -> dict[str, Any]:
        """Return the history as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Run:
    """What a tracker is told before the first step."""

    model: Any
    shown: Windows
    """The windows to show results on: those of the validation, where there are any."""
    epochs: int
    windows: int
    """Windows in an epoch."""
    history: Sequence[Record] = ()
    """The epochs that a resumed run has behind it."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)


class Tracker(Protocol):
    """Somebody who is told how a run goes. Each method may do nothing, and does where it is not written."""

    def start(self, run: Run) -> None:
        """Be told what will be trained."""
        return

    def step(self, epoch: int, windows: int, per_value: float) -> None:
        """Be told, a few times a second, an epoch's number (from 1), its windows done and its nats per value so far."""
        return

    def epoch(self, record: Record) -> None:
        """Be told what a complete epoch measured."""
        return

    def finish(self, history: History) -> None:
        """Be told the whole history, with the best weights in the model; also where training failed."""
        return


class Sums:
    """The sums of an epoch's losses, kept on the device so that no step waits for it."""

    def __init__(self, device: torch.device) -> None:
        # Apple's GPU has no float64.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._sums = torch.zeros(5, dtype=dtype, device=device)
        self.windows = 0

    def add(self, terms: Any, norm: Tensor | None = None) -> None:
        """Add a batch's terms, and the norm of its gradient, which only `finite` asks for."""
        total, reconstruction, kl = terms.total.detach(), terms.reconstruction.detach(), terms.kl.detach()
        check = torch.zeros_like(total) if norm is None else norm.to(total)
        n = terms.windows
        self._sums += torch.stack((total * n, reconstruction * n, kl * n, terms.values.to(total), check))
        self.windows += n

    def finite(self) -> bool:
        """Return whether every loss and gradient was finite; waits for the device."""
        return bool(torch.isfinite(self._sums).all())

    def per_value(self) -> float:
        """Return the loss in nats per observed value; waits for the device."""
        total, _, _, values, _ = self._sums.tolist()
        return total / max(values, 1.0)

    def record(self, prefix: str) -> Record:
        """Return the means over windows in nats, and over observed values; waits for the device."""
        total, reconstruction, kl, values, _ = self._sums.tolist()
        n = max(self.windows, 1)
        means = {"total": total / n, "reconstruction": reconstruction / n, "kl": kl / n}
        means["per_value"] = total / max(values, 1.0)
        return {f"{prefix}_{name}": mean for name, mean in means.items()}


class JsonLines(Tracker):
    """One JSON object a line for each epoch; a resumed run's file begins with the epochs before."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def start(self, run: Run) -> None:
        """Begin the file anew."""
        self.path.write_text("".join(json.dumps(record) + "\n" for record in run.history), encoding="utf-8")

    def epoch(self, record: Record) -> None:
        """Add a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


class Progress(Tracker):
    """A bar on stderr: the epoch, windows a second, time left, nats per observed value."""

    LAYOUT = "{desc} {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left{postfix}"

    def start(self, run: Run) -> None:
        """Draw the bar, from where a resumed run goes on."""
        self._epochs, self._windows = run.epochs, run.windows
        self._bar = tqdm(
            total=run.epochs * run.windows, initial=min(len(run.history), run.epochs) * run.windows,
            desc=f"epoch {len(run.history)}/{run.epochs}", unit=" windows", bar_format=self.LAYOUT,
            file=sys.stderr, mininterval=REDRAW_SECONDS[sys.stderr.isatty()], dynamic_ncols=True,
        )  # fmt: skip

    def step(self, epoch: int, windows: int, per_value: float) -> None:
        """Move the bar."""
        self._show(epoch, windows, f"{per_value:.4f} nats per value")

    def epoch(self, record: Record) -> None:
        """Move the bar to the epoch's end."""
        text = f"{record['train_per_value']:.4f} nats per value"
        if "validation_per_value" in record:
            text += f" ({record['validation_per_value']:.4f} in validation)"
        self._show(record["epoch"], self._windows, text)

    def finish(self, history: History) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def _show(self, epoch: int, windows: int, text: str) -> None:
        self._bar.set_description_str(f"epoch {epoch}/{self._epochs}", refresh=False)
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update((epoch - 1) * self._windows + min(windows, self._windows) - self._bar.n)


class TensorBoard(Tracker):
    """Scalars at every epoch; reconstructions and latent means now and then, and of the best weights; hyperparameters.

    Pictures and latents come through the model's own `reconstruct` and `encode`, where it has them, on the same
    windows each time: up to `points` of them, spread evenly. They are drawn every `every` epochs.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, every: int = 10, pictures: int = 4, points: int = 512
    ) -> None:
        self.folder, self.every, self.pictures, self.points = Path(folder), every, pictures, points

    def start(self, run: Run) -> None:
        """Open the event file; what the folder already holds of later epochs is hidden."""
        from torch.utils.tensorboard import SummaryWriter  # takes a while, and only some runs want it

        self._run, self._epoch = run, len(run.history)
        self._writer = SummaryWriter(str(self.folder), purge_step=self._epoch + 1)
        n = len(run.shown)
        self._index = torch.linspace(0, n - 1, min(self.points, n), dtype=torch.float64).round().long()
        self._batch = run.shown.gather(self._index)

    def epoch(self, record: Record) -> None:
        """Write the scalars, and now and then the pictures."""
        self._epoch = record["epoch"]
        for name, value in record.items():
            part, _, measure = name.partition("_")
            tag = f"{measure}/{part}" if part in ("train", "validation") else f"run/{name}"
            self._writer.add_scalar(tag, value, self._epoch)
        if self._epoch % self.every == 0:
            self._draw("training")

    def finish(self, history: History) -> None:
        """Draw the best weights' pictures, write the hyperparameters beside the best epoch's losses, and close."""
        if history.stopped != "failed":
            self._draw("best")
            losses = {f"best/{name}": value for name, value in history.best.items() if name.endswith("_per_value")}
            flat = {name: _plain(value) for name, value in self._run.hyperparameters.items()}
            self._writer.add_hparams(flat, losses, run_name=".", global_step=self._epoch)
        self._writer.close()

    def _draw(self, tag: str) -> None:
        model = self._run.model
        training = model.training
        model.eval()
        with torch.no_grad():
            if hasattr(self._run.shown, "pictures"):  # images know how they are looked at
                for name, image in self._run.shown.pictures(model, self._batch).items():
                    self._writer.add_image(f"{name}/{tag}", image, self._epoch, dataformats="HWC")
            elif hasattr(model, "reconstruct"):
                apart = max(1, len(self._index) // self.pictures)
                few: list[Any] = [None if part is None else part[::apart][: self.pictures] for part in self._batch]
                image = _picture(few[0], few[1], model.reconstruct(*few))
                self._writer.add_image(f"reconstruction/{tag}", image, self._epoch, dataformats="HWC")
            if hasattr(model, "encode"):
                z = model.encode(*self._batch).float().cpu()
                # The writer prints a warning on stdout where an earlier run left the same step.
                shutil.rmtree(self.folder / f"{self._epoch:05d}" / tag, ignore_errors=True)
                self._writer.add_embedding(z, self._index.tolist(), global_step=self._epoch, tag=tag)
        model.train(training)


def _picture(x: Tensor, observed: Tensor, mean: Tensor, most: int = 4) -> NDArray[np.uint8]:
    """Draw windows (B, T, C) and their reconstructions: a row for each window, a column for each of `most` channels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a while, and only some runs want it
    from matplotlib.figure import Figure

    rows, columns = len(x), min(x.shape[-1], most)
    figure = Figure(figsize=(4.0 * columns, 1.6 * rows), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for row, axes in enumerate(figure.subplots(rows, columns, squeeze=False, sharex=True)):
        for channel, axis in enumerate(axes):
            given = torch.where(observed[row], x[row], torch.nan)[:, channel]
            axis.plot(given.float().cpu().numpy(), color="0.4", linewidth=1.0, label="data")
            axis.plot(mean[row, :, channel].float().cpu().numpy(), color="C3", linewidth=1.5, label="reconstruction")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def standard_trackers(log_dir: str | os.PathLike[str] | None, progress: bool) -> list[Tracker]:
    """Return the trackers that a run's folder, if any, and a progress bar, if asked for, mean."""
    bar: list[Tracker] = [Progress()] if progress else []
    if log_dir is None:
        return bar
    return [*bar, JsonLines(Path(log_dir) / "metrics.jsonl"), TensorBoard(Path(log_dir) / "tensorboard")]


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)
