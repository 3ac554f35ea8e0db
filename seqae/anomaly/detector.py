"""The Detector: train on normal data, calibrate, score, and find events, on the data's own time axis."""

from __future__ import annotations

__all__ = ["Detection", "Detector"]

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self, TypeVar, cast

import pandas as pd
import torch

from seqae.anomaly import settings
from seqae.anomaly.doubts import warn_of_fault
from seqae.anomaly.fitting import train, variance_about
from seqae.anomaly.heads import Head, Scorer
from seqae.anomaly.judge import Judge
from seqae.anomaly.pipeline import LABELLED, Given, Preparation, comparison, read_given, require_rows
from seqae.anomaly.provenance import fingerprint
from seqae.anomaly.scoring import BLOCK, LEAST_OBSERVED, Folded, fold_band
from seqae.anomaly.tables import draw, event_table, latent_tables, reconstruction_table, score_table
from seqae.anomaly.thresholds.calibration import Calibration
from seqae.anomaly.thresholds.rules import Threshold
from seqae.errors import ModelFileError, NotFittedError, OptionError, choose
from seqae.models import Autoencoder
from seqae.nn.likelihoods import Likelihood
from seqae.series import Panel
from seqae.training.checkpoints import read_safetensors, restore_model, save_model
from seqae.training.devices import resolve_device
from seqae.windows import WindowSet

V = TypeVar("V")

KIND, KINDS = "detector", {"images": "model of images", None: "thing"}
OWN = ("self", "data", "labelled", "warm_start")  # the arguments of fit that are not training's
TOLD = ("history", "training_data", "reading", "window_choice")
SCORER = ("window_error", "nearest_shape", "window_pca")
"""The default heads, chosen on synthetic series and NAB; what they are worth: benchmarks/results/detection.md."""
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
        (see `seqae.models`), or model an Autoencoder of your own, trained in place. window: steps that it sees; None
        takes one period of the training data (`seqae.periods`).
    condition: what a CVAE is told beforehand: "calendar", covariate columns, or both; None takes the calendar.
    scaling: how channels are brought to one scale (`seqae.scaling.SCALINGS`), fitted to what the model is fitted to;
        with a Bernoulli likelihood to all that is given to fit.
    scorer: one head or several, which say what is strange (`seqae.anomaly.scoring.SCORERS`); several are brought to
        their tail probabilities on held-back data and made one by `fusion` (`seqae.anomaly.fusion`): the score is then
        evidence, about −log10 of a probability. mode: which windows give a step its score; smoothing: rows of the
        moving mean over each head's scores, None = half a window, without one in mode causal; missing: whether a
        missing value is ignored or scored; stride: steps between scored windows, None = window // 16 (causal: 1).
    threshold, alpha: how the threshold follows from the calibration scores (`seqae.anomaly.thresholds.rules`), and the
        share of normal rows that may be flagged; per_series: whether each series of a panel that was calibrated on has
        a threshold of its own. merge, min_length: which flagged rows make an event.

    A Bernoulli likelihood is for data with known bounds: scorer="nll" refuses a value beyond those of the training data
    with a DataError and does not clip it, since a clipped outlier would look like the bound.
    """

    def __init__(
        self, *, model: str | Autoencoder = "VAE", cell: str = "lstm", decoder_type: str = "repeat_latent",
        window: int | None = None, latent: int = 8, hidden: int = 64, layers: int = 1, bidirectional: bool = False,
        feedback: str = "hidden", reverse: bool = False, likelihood: str | Likelihood = "normal",
        prior: str = "standard", condition: str | Sequence[str] | None = None, scaling: str = "standard",
        scorer: str | Scorer | Head | Sequence[str | Scorer | Head] = SCORER, fusion: str = "max",
        mode: str = "overlap", smoothing: int | None = None, missing: str = "ignore", stride: int | None = None,
        threshold: str | type[Threshold] = "conformal", alpha: float = 0.01, per_series: bool = False, merge: int = 0,
        min_length: int = 1,
    ) -> None:  # fmt: skip
        self.options: dict[str, Any] = {name: value for name, value in locals().items() if name != "self"}
        """The options above, as given."""
        self.reading: dict[str, Any] = {}
        """The options of `read_table` that the training data were read with, kept in the file for later readers."""
        self.history: dict[str, Any] = {}
        """What training measured, see `seqae.training.tracking.History`."""
        self.training_data: dict[str, Any] = {}
        """Rows, span and SHA-256 of the data given to fit, and the rows of each part."""
        self.window_choice: dict[str, Any] = {}
        """The window, the period that it follows and the reason, where it was chosen from the data."""
        self._model: Autoencoder | None = None
        self._preparation: Preparation | None = None
        settings.check(self.options)
        self.judge = Judge(self.options)

    def __repr__(self) -> str:
        state = f"of {', '.join(self._preparation.channels)}" if self._preparation else "not fitted"
        return f"<Detector {self.options['model']}, {state}>"

    @property
    def window(self) -> int:
        """Steps in a window; NotFittedError before fit where the data are to settle it."""
        return int(self.options["window"] or self._fitted(self.window_choice.get("window")))

    @property
    def stride(self) -> int:
        """Steps between scored windows."""
        given = self.options["stride"]
        return given or (1 if self.options["mode"] == "causal" else max(1, self.window // 16))

    @property
    def smoothing(self) -> int:
        """Rows of the moving mean over scores."""
        given = self.options["smoothing"]
        return given or (1 if self.options["mode"] == "causal" else max(1, self.window // 2))

    @property
    def calibration(self) -> Calibration | None:
        """The threshold and where it comes from; None before fit, and with calibration=0."""
        return self.judge.calibration

    def calibration_of(self, name: str) -> Calibration | None:
        """Return the calibration that a series is judged by: with per_series its own, or else that of all."""
        return self.judge.of(name)

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
        self, data: Any, *, epochs: int = 50, batch_size: int = 32, least_steps: int = 25, learning_rate: float = 3e-3,
        optimizer: str = "adam", weight_decay: float = 0.0, clip: float | None = 1.0, schedule: str = "constant",
        patience: int | None = 10, max_time: float | None = None, beta: float = 1.0, beta_schedule: str = "linear",
        warmup: float = 10.0, free_bits: float = 0.0, noise: str | None = None, noise_level: float = 0.2,
        importance_samples: int = 1, teacher_forcing: float = 0.0, forcing_schedule: str = "constant",
        forcing_epochs: float = 20.0,
        train_stride: int | None = None, min_observed: float = LEAST_OBSERVED,
        validation: float = 0.1, calibration: float = 0.2, device: str | torch.device = "auto",
        precision: str = "auto", seed: int = 0, log_dir: str | os.PathLike[str] | None = None, resume: bool = False,
        progress: bool = False, labelled: str = "keep", warm_start: bool = False,
    ) -> Self:  # fmt: skip
        """Train, and set the threshold by a part of the data that is held back.

        data: a Series, Panel, DataFrame, array (T,), (T, C) or (N, T, C), or a sequence or mapping of those, taken as
        normal. Its last rows are held back (`seqae.anomaly.pipeline.cut`): the share `validation` says when to stop,
        the share `calibration` sets the threshold; 0 does without. train_stride: steps between training windows, None
        = the smaller of window // 8 and rows // 1000, at least 1. min_observed: windows with a smaller share of values
        are left out, and in scoring those with so few steps that have any. labelled: "exclude" has
        anomalous rows missing. beta, free_bits, noise, ...: see `seqae.Objective`; warmup, forcing_epochs: epochs.
        warm_start: go on from the weights, window and conditions of an earlier fit, on new data with the same channels;
        scaling, heads and threshold are new. The rest: see `seqae.fit`."""
        chosen = {name: value for name, value in locals().items() if name not in OWN}
        settings.check_parts(self.options, validation, calibration)
        start = (self.model, self.preparation) if warm_start else None
        columns = start[1].conditions.columns if start else settings.columns(self.options["condition"])
        given = read_given(data, columns, start[1].channels if start else None)
        options = self.options | ({"window": self.window} if start else {})
        trained = train(options, choose(LABELLED, labelled, "labelled")(given.panel), start=start, **chosen)
        self._model, self._preparation, self.history = trained.model, trained.preparation, trained.history.to_document()
        self.window_choice = self.window_choice if warm_start else trained.window._asdict()
        self.judge = Judge(self.options)
        self.judge.learn(trained.model, trained.reference())
        compared, calibrated = comparison(trained.parts, self.window)
        if compared is not None:
            variance = variance_about(trained.preparation, compared, trained.parts.fit)
            self.judge.compare(self._listen(compared, BLOCK, progress), self.options["fusion"], variance)
        if calibrated is not None:
            source = f"the last {calibration:.0%} of the training data, held back"
            self._calibrate(calibrated, self.options, source, progress=progress)
        self.training_data = {**fingerprint(given.panel), "parts": trained.parts.rows}
        return self

    def calibrate(
        self, data: Any = None, *, threshold: str | type[Threshold] | None = None, alpha: float | None = None,
        labelled: str = "keep", batch_size: int = BLOCK, progress: bool = False,
    ) -> Self:  # fmt: skip
        """Set the threshold anew, by the scores of other normal data, or by the same scores again where data is None.

        threshold, alpha: as the constructor's; None keeps the present one. NotFittedError where there are no scores.
        """
        asked = (("threshold", threshold), ("alpha", alpha))
        options = self.options | {name: value for name, value in asked if value is not None}
        settings.check(options)
        if data is not None:
            panel = choose(LABELLED, labelled, "labelled")(self._read(data).panel)
            self._calibrate(panel, options, "data given to calibrate()", batch_size=batch_size, progress=progress)
        else:
            self._calibrated()
            self.judge.again(options)
        self.options = options
        return self

    def score(self, data: Any, *, batch_size: int = BLOCK, progress: bool = False) -> Tables:
        """Return how strange each row is: score, p_value, is_anomaly, coverage, error, parts by channel and by head.

        One row for each row of the data, on its own index; for a Series also for those that fill gaps of its time axis
        (`seqae.anomaly.pipeline.drop_inserted` takes them out). score: the mean of its score_<channel>, higher is
        stranger; NaN, with coverage 0, where nothing could be scored. coverage: windows that saw a value of it.
        error: the row's own squared error. head_<name>, with several: its evidence. After fit(calibration=0) p_value
        and is_anomaly are missing throughout. batch_size: windows at a time.
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
        asked = (("merge", merge), ("min_length", min_length))
        rules = {name: self.options[name] if value is None else value for name, value in asked}
        of, rules["reach"] = given.for_events(scores), self.window + self.smoothing
        events = event_table(given.panel, of, self.calibration_of, named=not given.single, **rules)
        return Detection(given.answer(scores), events, calibration.threshold.value)

    def reconstruct(self, data: Any, level: float = 0.95, *, batch_size: int = BLOCK, progress: bool = False) -> Tables:
        """Return each channel, its reconstruction, and the band with `level` of the likelihood, in the data's units.

        Windows are folded as scores are (mode): in mode overlap the reconstruction and the band's ends are means over
        the windows that cover a row. A missing value is reconstructed too.
        """
        if not 0 < level < 1:
            raise OptionError(f"level={level!r} is the share of the band: give a number between 0 and 1.")
        given = self._read(data)
        windows, scaler = self._windows(given.panel), self.preparation.scaler
        folded = fold_band(
            self.model, windows, level, mode=self.options["mode"], batch_size=batch_size, progress=progress
        )
        each = zip(given.panel, *(one.split(windows.offsets) for one in folded), strict=True)
        return given.answer({series.name: reconstruction_table(series, three, scaler) for series, *three in each})

    def encode(self, data: Any, *, batch_size: int = BLOCK) -> Tables:
        """Return the mean of q(z | x) of each scored window: start, end, z0, z1, ..."""
        windows = self._windows((given := self._read(data)).panel)
        with torch.inference_mode():
            latents = torch.cat([self.model.encode(*batch).float().cpu() for _, batch in windows.blocks(batch_size)])
        return given.unpack(latent_tables(given.panel, windows, latents.numpy()))

    def sample(
        self, n: int = 1, *, steps: int | None = None, condition_from: Any = None, start: Any = None,
        noise: bool = True, seed: int = 0,
    ) -> pd.DataFrame:  # fmt: skip
        """Draw n new stretches of `steps` rows (None: a window): sample, step, time, channels in the data's units.

        condition_from: a Series or table whose first `steps` rows say when, and for a CVAE under which condition; or
        start: a stamp to begin at. noise: whether values scatter as the likelihood says. OptionError for an AE."""
        own = {"condition_from": condition_from, "start": start, "noise": noise, "seed": seed}
        return draw(self.model, self.preparation, n, self.window if steps is None else steps, **own)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one .safetensors file with all that scoring a raw table needs; never half of it."""
        save_model(self.model, path, tensors=self.judge.tensors(), kind=KIND, **self.to_document())

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Self:
        """Read what `save` wrote, onto any device; raises ModelFileError where the file is no detector's."""
        tensors, document = read_safetensors(path)
        if document.get("kind") != KIND:
            raise ModelFileError(
                f"{path} holds a {KINDS.get(kind := document.get('kind'), kind)}, not a detector. Name a file that "
                "`seqae train` wrote for a table, or Detector.save; seqae.load_model reads a bare model."
            )
        try:
            detector = cls(**document["options"])
            for name in TOLD:
                setattr(detector, name, document[name])
            detector._preparation = Preparation.from_document(document["preparation"])
        except (KeyError, TypeError, OptionError) as error:
            raise ModelFileError(
                f"{path} does not fit this version of seqae ({error}). Use the version that wrote it, or train again."
            ) from error
        place = resolve_device(device)
        detector._model = cast(Autoencoder, restore_model(tensors, document, place, source=path))
        detector.judge.restore(document, tensors, place)
        return detector

    def to_document(self) -> dict[str, Any]:
        """Return what a file holds beside tensors, as JSON."""
        seconds = None if self.preparation.step is None else self.preparation.step["seconds"]
        return (
            {name: getattr(self, name) for name in TOLD}
            | self.judge.to_document(seconds)
            | {
                "options": settings.to_document(self.options, self.model),
                "preparation": self.preparation.to_document(),
            }
        )

    def describe(self) -> dict[str, Any]:
        """Return what a reader of the model wants to know, as JSON."""
        return settings.describe(self.to_document(), self.model, self.preparation)

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
            require_rows(given.panel, self.window, "Give as many, or train with a smaller --window.")
        self.preparation.check_step(given.panel)
        return given

    def _windows(self, panel: Panel) -> WindowSet:
        return self.preparation.windows(panel, window=self.window, stride=self.stride, tail="align", device=self.device)

    def _listen(self, panel: Panel, batch_size: int, progress: bool) -> Iterator[tuple[int, list[Folded]]]:
        return self.judge.listen(
            self.model, self.preparation, panel, window=self.window, stride=self.stride, mode=self.options["mode"],
            smoothing=self.smoothing, missing=self.options["missing"], batch_size=batch_size, progress=progress,
        )  # fmt: skip

    def _score(self, panel: Panel, batch_size: int, progress: bool) -> dict[str, pd.DataFrame]:
        found = self.judge.score(self._listen(panel, batch_size, progress), len(panel.channels))
        each, names = zip(panel, found, strict=True), self.judge.names
        return {series.name: score_table(series, own, self.calibration_of(series.name), names) for series, own in each}

    def _calibrate(
        self, panel: Panel, options: dict[str, Any], source: str, *, batch_size: int = BLOCK, progress: bool = False
    ) -> None:
        found = self.judge.score(self._listen(panel, batch_size, progress), len(panel.channels), slim=True)
        warn_of_fault(panel, found, options["alpha"], self.window + self.smoothing, source)
        self.judge.calibrate(found, panel, options, window=self.window, source=source)
