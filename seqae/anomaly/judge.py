"""From windows to verdicts: the heads, what they learned, their fusion, and the thresholds."""

from __future__ import annotations

__all__ = ["Judge"]

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from seqae.anomaly import settings
from seqae.anomaly.fusion import Fusion, Scored, combine
from seqae.anomaly.heads import Head, window_parts
from seqae.anomaly.neighbours import reference_windows
from seqae.anomaly.pipeline import Preparation
from seqae.anomaly.scoring import BLOCK, MISSING, Folded, head_of, score_windows, stretches
from seqae.anomaly.thresholds.calibration import Calibration
from seqae.anomaly.thresholds.rules import THRESHOLDS
from seqae.errors import ModelFileError, NotFittedError
from seqae.models import Autoencoder
from seqae.series import Panel
from seqae.training.checkpoints import under
from seqae.windows import WindowSet

Tensors = dict[str, Tensor]

PIECE = 1 << 18
"""Rows of a longer series that are scored at a time."""


class Judge:
    """Says how strange each row is and which rows to flag, by the options of a Detector."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.names = settings.head_names(options["scorer"])
        self.heads = [head_of(one) for one in settings.scorers(options["scorer"])]
        self.known: dict[str, NDArray[np.float32]] = {}
        """For the heads whose channels are compared, their parts of windows that they learned from; until `compare`."""
        self.fusion: Fusion | None = None
        """How the heads are made one; None for one alone, and until `compare`."""
        self.calibration: Calibration | None = None
        self.calibrations: dict[str, Calibration] = {}
        """Those of single series, by name."""

    def learn(self, model: Autoencoder, windows: WindowSet) -> None:
        """Let every head learn from normal windows, at most some thousands of them."""
        learners = [head for head in self.heads if type(head).learn is not Head.learn]
        several = len(self.heads) > 1 and windows.channels > 1  # heads, and channels whose errors are compared
        compared = {name: head for name, head in zip(self.names, self.heads, strict=True) if several and head.explains}
        if learners or compared:
            index = reference_windows(windows)
            for head in learners:
                head.learn(model, windows, index)
            self.known = window_parts(model, windows, index, compared)

    def of(self, name: str) -> Calibration | None:
        """Return the calibration that a series is judged by: its own, or else that of all."""
        return self.calibrations.get(name, self.calibration)

    def compare(self, heard: Iterable[tuple[int, Sequence[Folded]]], how: str, variance: float) -> None:
        """Take the heads' tails from what they say of normal series that none has learned from; see `Fusion.fit`."""
        if len(self.heads) > 1:
            heads = dict(zip(self.names, self.heads, strict=True))
            self.fusion = Fusion.fit(heads, how, [said for _, said in heard], variance, self.known)

    def score(
        self, heard: Iterable[tuple[int, Sequence[Folded]]], channels: int, *, slim: bool = False
    ) -> list[Scored]:
        """Return the scores of each series by what `listen` gives; NotFittedError before the heads were compared.

        slim: without what a calibration has no use for.
        """
        if len(self.heads) > 1 and self.fusion is None:
            raise NotFittedError(
                "several score heads are compared by their scores on held-back data, and nothing was held back. "
                "Train with --validation or --calibration above 0, or with one head, such as --score nll."
            )
        pieces: dict[int, list[Scored]] = {}
        for number, said in heard:
            scored = combine(said, channels, self.fusion)
            pieces.setdefault(number, []).append(scored.slim() if slim else scored)
        return [Scored.joined(pieces[number]) for number in sorted(pieces)]

    def listen(
        self, model: Autoencoder, preparation: Preparation, panel: Panel, *, window: int, stride: int, mode: str,
        smoothing: int, missing: str, batch_size: int = BLOCK, progress: bool = False,
    ) -> Iterator[tuple[int, list[Folded]]]:  # fmt: skip
        """Yield the number of a series and what each head says of it; of a long one piece by piece, in time order."""
        unseen, device = MISSING[missing](np.array(preparation.missing_rate)), next(model.parameters()).device

        def said(part: Panel, progress: bool) -> list[list[Folded]]:
            windows = preparation.windows(part, window=window, stride=stride, tail="align", device=device)
            return score_windows(
                model, windows, self.heads, mode=mode, smoothing=smoothing, missing=unseen,
                min_observed=preparation.min_observed, batch_size=batch_size, progress=progress,
            )  # fmt: skip

        short = [number for number, series in enumerate(panel) if len(series) <= PIECE]
        if short:
            yield from zip(short, said(Panel(panel[number] for number in short), progress), strict=True)
        for number, series in enumerate(panel):
            if len(series) > PIECE:
                pieces = list(stretches(len(series), stride * batch_size, window, window + smoothing, PIECE))
                for held, own in tqdm(pieces, desc="scoring", unit=" pieces", disable=not progress):
                    yield number, [one.rows(own) for one in said(Panel([series[held]]), False)[0]]

    def calibrate(
        self, found: Sequence[Scored], panel: Panel, options: Mapping[str, Any], *, window: int, source: str
    ) -> None:
        """Set the threshold by the scores of a panel of normal series; with per_series also one for each of them."""
        kind = settings.part_of(THRESHOLDS, options["threshold"], "threshold")

        def calibrated(members: Panel, own: Sequence[Scored]) -> Calibration:
            return Calibration.fit(kind, options["alpha"], members, own, window=window, source=source)

        together, each = calibrated(panel, found), {}
        if options["per_series"]:  # a series without a score is judged by the threshold of all
            pairs = [pair for pair in zip(panel, found, strict=True) if not np.isnan(pair[1].total).all()]
            each = {series.name: calibrated(Panel([series]), [own]) for series, own in pairs}
        self.calibration, self.calibrations = together, each

    def again(self, options: Mapping[str, Any]) -> None:
        """Set other thresholds by the same scores."""
        assert self.calibration is not None
        kind = settings.part_of(THRESHOLDS, options["threshold"], "threshold")
        self.calibration = self.calibration.again(kind, options["alpha"])
        self.calibrations = {name: one.again(kind, options["alpha"]) for name, one in self.calibrations.items()}

    def to_document(self, step_seconds: float | None) -> dict[str, Any]:
        """Return as JSON how heads are fused, and every threshold and how it came about, first that of all series."""
        return {
            "fusion": None if self.fusion is None else self.fusion.to_document(),
            "thresholds": [[name, one.provenance(step_seconds)] for name, one in self._every()],
        }

    def tensors(self) -> Tensors:
        """Return what a model file holds beside the provenance."""
        found: Tensors = {}
        for name, head in zip(self.names, self.heads, strict=True):
            found |= {f"head.{name}.{key}": tensor.contiguous() for key, tensor in head.state().items()}
        if self.fusion is not None:
            found |= {f"fusion.{key}": tensor for key, tensor in self.fusion.tensors().items()}
        for number, (_, one) in enumerate(self._every()):
            found |= {f"calibration.{number}.{key}": tensor for key, tensor in one.tensors().items()}
        return found

    def restore(self, document: Mapping[str, Any], tensors: Tensors, device: torch.device) -> None:
        """Take what `to_document` and `tensors` gave; raises ModelFileError where that cannot be."""
        try:
            for name, head in zip(self.names, self.heads, strict=True):
                head.restore(under(tensors, f"head.{name}."), device)
            fusion, thresholds = document["fusion"], document["thresholds"]
            self.fusion = None if fusion is None else Fusion.restore(fusion, under(tensors, "fusion."))
        except KeyError as error:
            raise ModelFileError(
                f"the model file lacks what its score heads learned ({error}). Train it again."
            ) from None
        for number, (named, provenance) in enumerate(thresholds):
            calibration = Calibration.restore(provenance, under(tensors, f"calibration.{number}."))
            if named is None:
                self.calibration = calibration
            else:
                self.calibrations[named] = calibration

    def _every(self) -> list[tuple[str | None, Calibration]]:
        return [] if self.calibration is None else [(None, self.calibration), *self.calibrations.items()]
