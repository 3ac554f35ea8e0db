"""The Detector: train on normal data, calibrate, score, and find events, on the data's own time axis."""

from __future__ import annotations

__all__ = ["Detection", "Detector"]

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, Self, TypeVar, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from seqae.anomaly import settings
from seqae.anomaly.calibration import Calibration
from seqae.anomaly.fitting import train
from seqae.anomaly.pipeline import Given, Preparation, fingerprint, read_given, require_rows, without_labelled
from seqae.anomaly.scoring import BLOCK, MISSING, SCORERS, Folded, Scorer, fold_outputs, score_windows
from seqae.anomaly.tables import event_table, latent_table, reconstruction_table, sample_table, score_table
from seqae.anomaly.thresholds import THRESHOLDS, Threshold
from seqae.errors import ModelFileError, NotFittedError, OptionError, choose
from seqae.models import Autoencoder, Output
from seqae.nn.likelihoods import Likelihood
from seqae.series import Panel
from seqae.training.checkpoints import read_safetensors, restore_model, save_model
from seqae.training.devices import resolve_device
from seqae.windows import Batch, WindowSet

V = TypeVar("V")

KIND = "detector"
LABELLED = {"keep": lambda panel: panel, "exclude": without_labelled}
"""What becomes of rows that are labelled anomalous, in training and calibration."""

Tables = pd.DataFrame | dict[str, pd.DataFrame]
"""One table for a single series; one for each series of a panel, by its name."""


class Detection(NamedTuple):
    """What a detector found: the scores of every row, the events, and the score above which a row is flagged."""

    scores: Tables
    events: pd.DataFrame
    threshold: float


class Detector:
    """Learns what series normally look like and says of each row how strange it is.

    model, cell, decoder_type, latent, hidden, layers, bidirectional, feedback, reverse, likelihood, prior: the network
        (see `seqae.models`), or model an Autoencoder of your own, trained in place. window: steps that it sees.
    condition: what a CVAE is told beforehand: "calendar", covariate columns, or both; None takes the calendar.
    scaling: how channels are brought to one scale (`seqae.scaling.SCALINGS`), fitted to what the model is fitted to;
        with a Bernoulli likelihood to all that is given to fit.
    scorer: what is strange about a value; mode: which windows give a step its score; missing: whether a missing value
        is ignored or scored; stride: steps between scored windows, None = window // 16 (causal: always 1). See
        `seqae.anomaly.scoring`.
    threshold, alpha: how the threshold follows from the calibration scores (`seqae.anomaly.thresholds`), and the
        share of normal rows that may be flagged. merge, min_length: which flagged rows make an event.

    A Bernoulli likelihood is for data with known bounds: scorer="nll" refuses a value beyond those of the training data
    with a DataError and does not clip it, since a clipped outlier would look like the bound.
    """

    def __init__(
        self, *, model: str | Autoencoder = "VAE", cell: str = "lstm", decoder_type: str = "repeat_latent",
        window: int = 64, latent: int = 8, hidden: int = 64, layers: int = 1, bidirectional: bool = False,
        feedback: str = "hidden", reverse: bool = False, likelihood: str | Likelihood = "normal",
        prior: str = "standard", condition: str | Sequence[str] | None = None, scaling: str = "standard",
        scorer: str | Scorer = "nll", mode: str = "overlap", missing: str = "ignore", stride: int | None = None,
        threshold: str | type[Threshold] = "conformal", alpha: float = 0.01, merge: int = 0, min_length: int = 1,
    ) -> None:  # fmt: skip
        self.options: dict[str, Any] = {name: value for name, value in locals().items() if name != "self"}
        """The options above, as given."""
        self.reading: dict[str, Any] = {}
        """The options of `read_table` that the training data were read with, kept in the file for later readers."""
        self.history: dict[str, Any] = {}
        """What training measured, see `seqae.training.tracking.History`."""
        self.training_data: dict[str, Any] = {}
        """Rows, span and SHA-256 of the data given to fit, and the rows of each part."""
        self.calibration: Calibration | None = None
        """The threshold and where it comes from; None before fit, and with calibration=0."""
        self._model: Autoencoder | None = None
        self._preparation: Preparation | None = None
        settings.check(self.options)

    def __repr__(self) -> str:
        state = "not fitted" if self._preparation is None else f"of {', '.join(self._preparation.channels)}"
        return f"<Detector {self.options['model']}, window {self.window}, {state}>"

    @property
    def window(self) -> int:
        """Steps in a window."""
        return int(self.options["window"])

    @property
    def stride(self) -> int:
        """Steps between scored windows."""
        given = self.options["stride"]
        return given or (1 if self.options["mode"] == "causal" else max(1, self.window // 16))

    @property
    def model(self) -> Autoencoder:
        """The trained model."""
        return self._fitted(self._model)

    @property
    def preparation(self) -> Preparation:
        """The channels, scaling and conditions that the model was trained with."""
        return self._fitted(self._preparation)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def fit(
        self, data: Any, *, epochs: int = 50, batch_size: int = 32, learning_rate: float = 3e-3,
        optimizer: str = "adam", weight_decay: float = 0.0, clip: float | None = 1.0, schedule: str = "constant",
        patience: int | None = 10, max_time: float | None = None, beta: float = 1.0, beta_schedule: str = "linear",
        warmup: float = 10.0, free_bits: float = 0.0, noise: str | None = None, noise_level: float = 0.2,
        teacher_forcing: float = 0.0, forcing_schedule: str = "constant", forcing_epochs: float = 20.0,
        train_stride: int | None = None, min_observed: float = 0.5,
        validation: float = 0.1, calibration: float = 0.2, device: str | torch.device = "auto",
        precision: str = "auto", seed: int = 0, log_dir: str | os.PathLike[str] | None = None, resume: bool = False,
        progress: bool = False, labelled: str = "keep",
    ) -> Self:  # fmt: skip
        """Train, and set the threshold by a part of the data that is held back.

        data: a Series, Panel, DataFrame, array (T,), (T, C) or (N, T, C), or a sequence or mapping of those, taken as
        normal. Its last rows are held back (`seqae.anomaly.pipeline.cut`): the share `validation` says when to stop,
        the share `calibration` sets the threshold; 0 does without. train_stride: steps between training windows, None
        = the smaller of window // 8 and rows // 1000, at least 1; windows with a smaller share of observed values than
        min_observed are left out. beta, free_bits, noise, teacher_forcing: see `seqae.Objective`; warmup and
        forcing_epochs: epochs of their schedules. labelled: "exclude" makes rows that are labelled anomalous missing.
        The rest: see `seqae.fit`.
        """
        chosen = {name: value for name, value in locals().items() if name not in ("self", "data", "labelled")}
        given = read_given(data, settings.columns(self.options["condition"]))
        trained = train(self.options, choose(LABELLED, labelled, "labelled")(given.panel), **chosen)
        self._model, self._preparation, self.history = trained.model, trained.preparation, trained.history.to_document()
        rows = {name: sum(map(len, part or ())) for name, part in trained.parts._asdict().items()}
        self.training_data = {**fingerprint(given.panel), "parts": rows}
        self.calibration = None
        if trained.parts.calibration is not None:
            source = f"the last {calibration:.0%} of the training data, held back"
            self._calibrate(trained.parts.calibration, self.options, source, progress=progress)
        return self

    def calibrate(
        self, data: Any = None, *, threshold: str | type[Threshold] | None = None, alpha: float | None = None,
        labelled: str = "keep", batch_size: int = BLOCK, progress: bool = False,
    ) -> Self:  # fmt: skip
        """Set the threshold anew, by the scores of other normal data, or by the same scores again where data is None.

        threshold, alpha: as the constructor's; None keeps the present one. NotFittedError where there are no scores.
        """
        options = self.options | {"threshold": threshold or self.options["threshold"]}
        options |= {"alpha": self.options["alpha"] if alpha is None else alpha}
        settings.check(options)
        if data is not None:
            panel = choose(LABELLED, labelled, "labelled")(self._read(data).panel)
            self._calibrate(panel, options, "data given to calibrate()", batch_size=batch_size, progress=progress)
        else:
            kind = settings.part_of(THRESHOLDS, options["threshold"], "threshold")
            self.calibration = self._calibrated().again(kind, options["alpha"])
        self.options = options
        return self

    def score(self, data: Any, *, batch_size: int = BLOCK, progress: bool = False) -> Tables:
        """Return how strange each row is: score, p_value, is_anomaly, coverage and each channel's part of the score.

        One row for each row of the data, on its own index; for a Series also for those that fill gaps of its time axis
        (`seqae.anomaly.pipeline.drop_inserted` takes them out). score: the mean of its score_<channel>, higher is
        stranger; NaN, with coverage 0, where nothing could be scored. coverage: windows that saw a value of it.
        After fit(calibration=0) p_value and is_anomaly are missing throughout. batch_size: windows at a time.
        """
        given = self._read(data)
        return given.answer(self._score(given.panel, batch_size, progress))

    def detect(
        self, data: Any, *, merge: int | None = None, min_length: int | None = None, batch_size: int = BLOCK,
        progress: bool = False,
    ) -> Detection:  # fmt: skip
        """Return the scores, the events (see `seqae.anomaly.events.find_events`; a panel's have a column `series`), and
        the score above which a row is flagged. merge, min_length: None takes the constructor's.
        """
        calibration, given = self._calibrated(), self._read(data)
        scores = self._score(given.panel, batch_size, progress)
        events = event_table(
            given.panel, given.for_events(scores), calibration, named=not given.single,
            merge=self.options["merge"] if merge is None else merge,
            min_length=self.options["min_length"] if min_length is None else min_length,
        )  # fmt: skip
        return Detection(given.answer(scores), events, calibration.threshold.value)

    def reconstruct(self, data: Any, level: float = 0.95, *, batch_size: int = BLOCK, progress: bool = False) -> Tables:
        """Return each channel, its reconstruction, and the band with `level` of the likelihood, in the data's units.

        Windows are folded as scores are (mode): in mode overlap the reconstruction and the band's ends are means over
        the windows that cover a row. A missing value is reconstructed too.
        """
        if not 0 < level < 1:
            raise OptionError(f"level={level!r} is the share of the band: give a number between 0 and 1.")
        given, likelihood = self._read(data), self.model.likelihood

        def band(end: int) -> Any:
            return lambda batch, output: likelihood.interval(output.likelihood, level)[end]

        windows = self._windows(given.panel)
        measures = [_mean, band(0), band(1)]
        folded = fold_outputs(
            self.model, windows, measures, mode=self.options["mode"], batch_size=batch_size, progress=progress
        )
        each = zip(given.panel, *(one.split(windows.offsets) for one in folded), strict=True)
        scaler = self.preparation.scaler
        return given.answer({series.name: reconstruction_table(series, three, scaler) for series, *three in each})

    def encode(self, data: Any, *, batch_size: int = BLOCK) -> Tables:
        """Return the mean of q(z | x) of each scored window: start, end, z0, z1, ..."""
        given = self._read(data)
        windows = self._windows(given.panel)
        with torch.inference_mode():
            latents = torch.cat([self.model.encode(*batch).float().cpu() for _, batch in windows.blocks(batch_size)])
        tables = {}
        for number, series in enumerate(given.panel):
            own = windows.series == number
            starts = windows.starts[own] - windows.offsets[number]
            tables[series.name] = latent_table(series, starts, windows.lengths[own], latents.numpy()[own])
        return given.unpack(tables)

    def sample(
        self, n: int = 1, *, steps: int | None = None, condition_from: Any = None, noise: bool = True, seed: int = 0
    ) -> pd.DataFrame:
        """Draw n new stretches of `steps` rows (None: a window): sample, step, and the channels in the data's units.

        condition_from: for a CVAE, a Series or table whose first `steps` rows say under which condition. noise: whether
        values scatter as the likelihood says, or are its mean. OptionError for an AE, which has nothing to draw from.
        """
        preparation, steps = self.preparation, self.window if steps is None else steps
        if n < 1 or steps < 1:
            raise OptionError(f"n={n} and steps={steps} must be at least 1.")
        condition = preparation.condition_of(condition_from, steps)
        if condition is not None:
            condition = condition.to(self.device).expand(n, -1, -1)
        generator = torch.Generator().manual_seed(seed)
        drawn = self.model.sample(n, steps, condition, noise=noise, generator=generator)
        return sample_table(preparation.scaler.invert(drawn.float().cpu().numpy()), preparation.channels)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one .safetensors file with everything that scoring a raw table needs; never half of it."""
        tensors = {} if self.calibration is None else self.calibration.tensors()
        save_model(self.model, path, tensors=tensors, **self._document())

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Self:
        """Read what `save` wrote, onto any device; raises ModelFileError where the file is no detector's."""
        tensors, document = read_safetensors(path)
        if document.get("kind") != KIND:
            raise ModelFileError(
                f"{path} holds a {document.get('kind', 'thing')}, not a detector. Name a file that Detector.save or "
                "`seqae train` wrote; seqae.load_model reads a bare model."
            )
        try:
            detector = cls(**document["options"])
            detector.history, detector.training_data = document["history"], document["training_data"]
            detector.reading = document["reading"]
            provenance = document["threshold"]
            detector._preparation = Preparation.from_document(document["preparation"])
        except (KeyError, TypeError, OptionError) as error:
            raise ModelFileError(
                f"{path} does not fit this version of seqae ({error}). Use the version that wrote it, or train again."
            ) from error
        model = restore_model(tensors, document, resolve_device(device), source=path)
        detector._model = cast(Autoencoder, model)
        detector.calibration = None if provenance is None else Calibration.restore(provenance, tensors)
        return detector

    def describe(self) -> dict[str, Any]:
        """Return what a reader of the model wants to know, as JSON."""
        document, parameters = self._document(), sum(weight.numel() for weight in self.model.parameters())
        epochs = document["history"].pop("epochs", [])
        best = document["history"].get("best_epoch", 0)
        document["history"] |= {"epochs": len(epochs), "best": epochs[best - 1] if best else None}
        conditions = list(self.preparation.conditions.names)
        document["preparation"] |= {"conditions": conditions, "scaler": self.preparation.scaler.kind}
        return document | {"recipe": self.model.recipe, "parameters": parameters, "device": str(self.device)}

    def _document(self) -> dict[str, Any]:
        seconds = None if self.preparation.step is None else self.preparation.step["seconds"]
        return {
            "kind": KIND,
            "options": settings.to_document(self.options, self.model),
            "preparation": self.preparation.to_document(),
            "threshold": None if self.calibration is None else self.calibration.provenance(seconds),
            "history": dict(self.history),
            "training_data": self.training_data,
            "reading": self.reading,
        }

    def _fitted(self, part: V | None) -> V:
        if part is None:
            raise NotFittedError("this detector is not trained yet. Call fit(data) first, or Detector.load(path).")
        return part

    def _calibrated(self) -> Calibration:
        self._fitted(self._model)
        if self.calibration is None:
            raise NotFittedError(
                "this detector has no threshold: fit(calibration=0) set none. Call calibrate(data) first."
            )
        return self.calibration

    def _read(self, data: Any) -> Given:
        given = read_given(data, self.preparation.conditions.columns, self.preparation.channels)
        if given.single:
            require_rows(given.panel, self.window, "Give more rows, or train with --window {rows} or less.")
        self.preparation.check_step(given.panel)
        return given

    def _windows(self, panel: Panel) -> WindowSet:
        return self.preparation.windows(panel, window=self.window, stride=self.stride, tail="align", device=self.device)

    def _parts(self, panel: Panel, batch_size: int, progress: bool) -> list[Folded]:
        """Return the parts and coverage of each series."""
        windows = self._windows(panel)
        folded = score_windows(
            self.model, windows, scorer=settings.part_of(SCORERS, self.options["scorer"], "scorer"),
            mode=self.options["mode"], batch_size=batch_size, progress=progress,
            missing=MISSING[self.options["missing"]](np.array(self.preparation.missing_rate)),
        )  # fmt: skip
        return folded.split(windows.offsets)

    def _score(self, panel: Panel, batch_size: int, progress: bool) -> dict[str, pd.DataFrame]:
        threshold = None if self.calibration is None else self.calibration.threshold
        parts = self._parts(panel, batch_size, progress)
        return {series.name: score_table(series, own, threshold) for series, own in zip(panel, parts, strict=True)}

    def _calibrate(
        self, panel: Panel, options: dict[str, Any], source: str, *, batch_size: int = BLOCK, progress: bool = False
    ) -> None:
        parts = [own.values for own in self._parts(panel, batch_size, progress)]
        kind = settings.part_of(THRESHOLDS, options["threshold"], "threshold")
        self.calibration = Calibration.fit(kind, options["alpha"], panel, parts, window=self.window, source=source)


def _mean(batch: Batch, output: Output) -> Tensor:
    return output.likelihood.mean
