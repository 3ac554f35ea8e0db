"""The scikit-learn face: an outlier detector whose samples are time steps in order."""

from __future__ import annotations

__all__ = ["SequenceOutlierDetector"]

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from seqae.anomaly.detector import Detector
from seqae.anomaly.settings import part_of
from seqae.anomaly.thresholds.rules import THRESHOLDS
from seqae.errors import OptionError
from seqae.series import Series

LONGEST_WINDOW = 64
SAMPLES_PER_WINDOW = 8
FEWEST_SAMPLES = 6
"""Three parts (fit, validation, calibration) of one window of two samples each."""


class SequenceOutlierDetector(OutlierMixin, BaseEstimator):
    """`seqae.Detector` as a scikit-learn outlier detector, with scikit-learn's signs: higher is more normal.

    X: (n_samples, n_features); each row is a time step, evenly spaced and in order; NaN is a missing value. A row's
    score depends on the rows around it, so rows must not be shuffled, and need at least `window` of company.

    window: steps that the model sees at a time; None takes n_samples // 8, at least 2 and at most 64. alpha: the share
    of normal rows that may be called outliers, by the scores of the last fifth of X, which the model is not fitted to.
    The other parameters are those of `seqae.Detector` and `Detector.fit`. A CVAE cannot be used: X has no conditions.

    Attributes: detector_ (the fitted Detector), window_, offset_ (minus the threshold), n_features_in_.
    """

    def __init__(
        self, *, model: str = "VAE", cell: str = "lstm", decoder_type: str = "repeat_latent", window: int | None = None,
        latent: int = 4, hidden: int = 32, likelihood: str = "normal", scaling: str = "standard",
        scorer: str | Sequence[str] = "nll", mode: str = "overlap", smoothing: int | None = 1,
        threshold: str = "quantile", alpha: float = 0.01, epochs: int = 50, batch_size: int = 32,
        learning_rate: float = 3e-3, device: str = "auto", random_state: int | np.random.RandomState | None = None,
    ) -> None:  # fmt: skip
        self.model = model
        self.cell = cell
        self.decoder_type = decoder_type
        self.window = window
        self.latent = latent
        self.hidden = hidden
        self.likelihood = likelihood
        self.scaling = scaling
        self.scorer = scorer
        self.mode = mode
        self.smoothing = smoothing
        self.threshold = threshold
        self.alpha = alpha
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.device = device
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Fit to X (n_samples, n_features), taken as mostly normal; y is ignored."""
        rows = self._rows(X, reset=True)
        seed = int(check_random_state(self.random_state).randint(2**31))
        longest = max(2, min(LONGEST_WINDOW, len(rows) // SAMPLES_PER_WINDOW))
        self.window_ = longest if self.window is None else self.window
        self.detector_ = Detector(
            model=self.model, cell=self.cell, decoder_type=self.decoder_type, window=self.window_, latent=self.latent,
            hidden=self.hidden, likelihood=self.likelihood, scaling=self.scaling, scorer=self.scorer, mode=self.mode,
            smoothing=self.smoothing, threshold=self.threshold, alpha=self.alpha,
        )  # fmt: skip
        if part_of(THRESHOLDS, self.threshold, "threshold").batchwise:
            raise OptionError(
                f"threshold {self.threshold!r} flags rows by all that are scored together, which offset_ cannot say. "
                "Use another, such as 'quantile', or seqae.Detector."
            )
        self.detector_.fit(
            rows, epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate,
            device=self.device, seed=seed,
        )  # fmt: skip
        assert self.detector_.calibration is not None
        self.offset_ = -self.detector_.calibration.threshold.value
        return self

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return minus the detector's score of each row (n_samples,), higher is more normal; NaN without a score."""
        check_is_fitted(self)
        table = self.detector_.score(self._rows(X, reset=False))
        return -np.asarray(table["score"], dtype=np.float64)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return score_samples − offset_, negative for outliers."""
        scores = self.score_samples(X)
        return scores - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return -1 for outliers and 1 for all other rows, those without a score among them."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _rows(self, X: ArrayLike, *, reset: bool) -> Series:
        least = FEWEST_SAMPLES if reset else 1
        values = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=least
        )
        names = getattr(self, "feature_names_in_", [f"x{column}" for column in range(values.shape[1])])
        return Series.from_array(values, channels=[str(name) for name in names], name="X")
