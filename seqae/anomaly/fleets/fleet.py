"""A Fleet: a Detector of its own for each of many series, trained, calibrated, scored and kept together."""

from __future__ import annotations

__all__ = ["Fleet", "FleetDetection"]

import contextlib
import copy
import inspect
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar, cast

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from seqae.anomaly.detector import Detection, Detector
from seqae.anomaly.events import EVENT_COLUMNS
from seqae.anomaly.fleets.apart import SHOWN, Said, Task, attempt, pass_on, train_each
from seqae.anomaly.fleets.folder import INDEX, MODELS, file_stems, read_index, write_index
from seqae.anomaly.pipeline import read_given
from seqae.anomaly.scoring import BLOCK
from seqae.anomaly.thresholds.calibration import Calibration
from seqae.anomaly.thresholds.rules import Threshold
from seqae.errors import DataError, NotFittedError, OptionError, SeqaeWarning, UserError
from seqae.series import Series, as_panel

V = TypeVar("V")


class FleetDetection(NamedTuple):
    """What a fleet found in each series, by its name: as a Detection of a panel, and what could not be told."""

    scores: dict[str, pd.DataFrame]
    """One table for each series that was given; without a number where it could not be scored."""
    events: pd.DataFrame
    thresholds: dict[str, float]
    unscored: dict[str, str]
    """Why a series has no score."""
    absent: tuple[str, ...]
    """The series that there is a model for, but no data."""
    remarks: dict[str, list[str]]
    """What scoring warned of, series by series."""


class Fleet:
    """One Detector for each series, all with the same options (see `seqae.Detector`), each with a threshold of its own.

    Each is what training on its series alone gives, with the same seed: it does not depend on the other series, on
    their order, or (but for rounding, where the number of threads differs) on `jobs`.
    """

    def __init__(self, **options: Any) -> None:
        self.options: dict[str, Any] = Detector(**copy.deepcopy(options)).options | options
        """The options of every Detector, as given."""
        self.detectors: dict[str, Detector] = {}
        """The trained ones, by the names of their series."""
        self.failures: dict[str, str] = {}
        """Why a series that was given to fit has no Detector."""
        self.remarks: dict[str, list[str]] = {}
        """What training warned of, series by series."""
        self.interrupted = False
        """Whether training was interrupted."""

    def __repr__(self) -> str:
        return f"<Fleet of {len(self)} detectors ({', '.join(list(self.detectors)[:3])}{', ...' * (len(self) > 3)})>"

    def __len__(self) -> int:
        return len(self.detectors)

    def __getitem__(self, name: str) -> Detector:
        if name not in self.detectors:
            raise DataError(f"{name}: {self._why_not(name)}")
        return self.detectors[name]

    @property
    def calibrations(self) -> dict[str, Calibration]:
        """The threshold of each series that has one."""
        found = {name: detector.calibration for name, detector in self.detectors.items()}
        return {name: one for name, one in found.items() if one is not None}

    def calibration_of(self, name: str) -> Calibration | None:
        """Return the calibration that a series is judged by; None without one."""
        return self.calibrations.get(name)

    @property
    def reading(self) -> dict[str, Any]:
        """The options of `read_table` that the training data were read with; set for all at once."""
        return self._any().reading

    @reading.setter
    def reading(self, reading: Mapping[str, Any]) -> None:
        for detector in self.detectors.values():
            detector.reading = dict(reading)

    def fit(
        self, data: Any, *, jobs: int = 1, progress: bool = False, log_dir: str | os.PathLike[str] | None = None,
        **training: Any,
    ) -> Self:  # fmt: skip
        """Train a Detector for each series, in turn or `jobs` at a time in processes of their own.

        data: a Panel, or a mapping from names to what a Detector takes; anything else that makes a panel
        (`seqae.series.as_panel`). training: the arguments of `Detector.fit`. log_dir: a folder for the runs' folders.
        A series that cannot be trained on is named in a SeqaeWarning and in `failures` with its reason; DataError where
        that is every one. After Ctrl-C the series that are not reached have no model.
        """
        inspect.signature(Detector.fit).bind(None, data, **training)
        for name in ("resume", "warm_start"):
            if training.get(name):
                raise OptionError(f"a fleet cannot go on from an earlier training. Train it again without {name}.")
        members = _members(data)
        logs = [None if log_dir is None else Path(log_dir) / stem for stem in file_stems(members)]
        tasks = [
            Task(name, one, self.options, training | {"log_dir": log})
            for (name, one), log in zip(members.items(), logs, strict=True)
        ]
        trained: dict[str, Detector] = {}
        reasons = dict.fromkeys(members, "training was interrupted before it. Train again.")
        said: dict[str, Said] = {}
        interrupted = False
        with contextlib.closing(train_each(tasks, jobs)) as steps:
            try:
                for name, done in _bar(steps, len(tasks), progress):
                    said[name] = done.said
                    if done.result is None:
                        reasons[name] = str(done.reason)
                        continue
                    trained[name] = done.result
                    interrupted = done.result.history["stopped"] == "interrupted"
                    if interrupted:
                        break
            except KeyboardInterrupt:
                interrupted = True
                if not trained:
                    raise
        failures = {name: reason for name, reason in reasons.items() if name not in trained}
        if not trained:
            raise DataError(f"none of the {len(members)} series could be trained on. {_listed(failures)}")
        self.detectors = {name: trained[name] for name in members if name in trained}
        self.failures, self.interrupted = failures, interrupted
        self.remarks = pass_on({name: said[name] for name in members if name in said})
        _warn_of(failures, "no model for", len(members))
        return self

    def calibrate(
        self, data: Any = None, *, threshold: str | type[Threshold] | None = None, alpha: float | None = None,
        labelled: str = "keep", batch_size: int = BLOCK, progress: bool = False,
    ) -> Self:  # fmt: skip
        """Set each threshold anew, by the series of its name, or by the same scores again where data is None.

        As `Detector.calibrate`; a model whose series is not there keeps its threshold, and is named in a SeqaeWarning.
        """
        chosen: dict[str, Any] = {"threshold": threshold, "alpha": alpha}
        self._any()
        if data is None:
            for detector in self.detectors.values():
                detector.calibrate(**chosen)
            return self
        chosen |= {"labelled": labelled, "batch_size": batch_size}
        self._each(_members(data), lambda own, one: own.calibrate(one, **chosen), "no new threshold for", progress)
        return self

    def score(self, data: Any, *, batch_size: int = BLOCK, progress: bool = False) -> dict[str, pd.DataFrame]:
        """Return the table of each series, scored by the Detector of its name (see `Detector.score`).

        Where there is none, or it cannot score the series, the table holds no score; a SeqaeWarning names the series
        and the reason, and the models without data. DataError where no series can be scored.
        """
        members = _members(data)
        tables, unscored, *_ = self._each(
            members, lambda own, one: own.score(one, batch_size=batch_size), "no score for", progress
        )
        return self._complete(members, {name: one[name] for name, one in tables.items()}, unscored)

    def detect(
        self, data: Any, *, merge: int | None = None, min_length: int | None = None, batch_size: int = BLOCK,
        progress: bool = False,
    ) -> FleetDetection:  # fmt: skip
        """Return scores, as `score` does, events with a column `series` first, and what could not be scored.

        A series whose Detector has no threshold has scores and no events.
        """
        members = _members(data)
        rules: dict[str, Any] = {"merge": merge, "min_length": min_length, "batch_size": batch_size}
        found, unscored, absent, remarks = self._each(
            members, lambda own, one: _detected(own, one, rules), "no score for", progress
        )
        scores = self._complete(members, {name: one.scores[name] for name, one in found.items()}, unscored)
        events = [one.events for one in found.values()]
        together = pd.concat([own for own in events if len(own)] or events[:1], ignore_index=True)
        thresholds = {name: one.threshold for name, one in found.items()}
        return FleetDetection(scores, together, thresholds, unscored, absent, remarks)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a folder: fleet.json, and in models/ one .safetensors file for each series, as `Detector.save` does.

        Whoever loads the folder meanwhile finds the old fleet or the new: new files take no old one's name, the index
        is replaced at once when all are there, and then those that only the old one named are removed. Names of files
        follow those of series as far as any system allows; the index has the names as they are.
        """
        self._any()
        index = Path(folder) / INDEX
        place = index.parent / MODELS
        new: list[str] = []
        try:
            old = read_index(index)["series"].values() if index.exists() else ()
            place.mkdir(parents=True, exist_ok=True)
            held = [file.name.removesuffix(".safetensors") for file in place.iterdir()]
            new = [f"{stem}.safetensors" for stem in file_stems(self.detectors, held)]
            for file, detector in zip(new, self.detectors.values(), strict=True):
                detector.save(place / file)
            write_index(index, dict(zip(self.detectors, new, strict=True)), self.failures, self.remarks)
        except BaseException as error:
            for file in new:
                (place / file).unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise OptionError(f"cannot write the fleet to {folder}: {error.strerror}. Choose another.") from error
            raise
        for file in old:
            (place / file).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str | torch.device = "cpu") -> Self:
        """Read what `save` wrote, onto any device; raises ModelFileError where the folder holds no fleet."""
        index = Path(folder) / INDEX
        document = read_index(index)
        detectors = {
            name: Detector.load(index.parent / MODELS / file, device) for name, file in document["series"].items()
        }
        fleet = cls(**next(iter(detectors.values())).options)
        fleet.detectors, fleet.failures, fleet.remarks = detectors, document["failures"], document["remarks"]
        return fleet

    def describe(self) -> dict[str, Any]:
        """Return what a reader of the fleet wants to know, as JSON; of each model see `Detector.describe`."""
        told = {name: detector.describe() for name, detector in self.detectors.items()}
        each = {
            name: {
                "window": self.detectors[name].window,
                "rows": one["training_data"]["rows"],
                "epochs": one["history"]["epochs"],
                "threshold": (one["threshold"] or {}).get("value"),
                "false_alarm_rate": (one["threshold"] or {}).get("false_alarm_rate"),
            }
            for name, one in told.items()
        }
        options = next(iter(told.values()))["options"] if told else {}
        return {"kind": "fleet", "options": options, "series": each, "failures": self.failures, "remarks": self.remarks}

    def _any(self) -> Detector:
        for detector in self.detectors.values():
            return detector
        raise NotFittedError("this fleet is not trained yet. Call fit(data) first, or Fleet.load(folder).")

    def _why_not(self, name: str) -> str:
        if name in self.failures:
            return f"it has no model: {self.failures[name]}"
        return f"there is no model of that name, but of {', '.join(list(self.detectors)[:3])}. Train one for it, too."

    def _each(
        self, members: Mapping[str, Any], work: Callable[[Detector, Any], Any], lacking: str, progress: bool
    ) -> tuple[dict[str, Any], dict[str, str], tuple[str, ...], dict[str, list[str]]]:
        """Return what the work on each series gave, why there is nothing, models without data, and remarks."""
        self._any()
        results: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        said: dict[str, Said] = {}
        for name, one in _bar(members.items(), len(members), progress):
            if name not in self.detectors:
                reasons[name] = self._why_not(name)
                continue
            done = attempt(partial(work, self.detectors[name], {name: one}))
            said[name] = done.said
            if done.reason is None:
                results[name] = done.result
            else:
                reasons[name] = done.reason
        if not results:
            raise DataError(f"{lacking} any of {len(members)} series. {_listed(reasons)}")
        absent = tuple(name for name in self.detectors if name not in members)
        remarks = pass_on(said)
        _warn_of(reasons, lacking, len(members))
        if absent:
            first = ", ".join(absent[:SHOWN]) + (", ..." if len(absent) > SHOWN else "")
            warnings.warn(f"no data for {len(absent)} of {len(self)} models: {first}.", SeqaeWarning, stacklevel=3)
        return results, reasons, absent, remarks

    def _complete(
        self, members: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], unscored: Iterable[str]
    ) -> dict[str, pd.DataFrame]:
        """Return the tables in the order of the data; one that was not scored has those columns, empty."""
        every = dict(tables)
        like = next(iter(tables.values())).loc[:, "score":]
        for name in unscored:
            with contextlib.suppress(UserError):  # what cannot be read has no rows
                given = read_given({name: members[name]}, self._any().preparation.conditions.columns)
                every |= cast(dict[str, pd.DataFrame], given.answer({name: _blank(given.panel[0], like)}))
        return {name: every[name] for name in members if name in every}


def _detected(own: Detector, data: Any, rules: Mapping[str, Any]) -> Detection:
    if own.calibration is not None:
        return own.detect(data, **rules)
    events = pd.DataFrame({name: [] for name in ("series", *EVENT_COLUMNS)})
    return Detection(own.score(data, batch_size=rules["batch_size"]), events, math.inf)


def _members(data: Any) -> dict[str, Any]:
    """Return what is given of each series, by its name."""
    if not isinstance(data, Mapping):
        return {series.name: series for series in as_panel(data)}
    if len({str(name) for name in data}) < len(data) or not data:
        raise DataError("a mapping of series needs one name or more, each its own as text. Rename them.")
    return {str(name): one for name, one in data.items()}


def _blank(series: Series, like: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the columns of another for a series that has no score: coverage 0, the rest missing."""
    rows = len(series)
    columns: dict[Any, Any] = {name: np.full(rows, np.nan) for name in like}
    columns["is_anomaly"] = pd.array([pd.NA] * rows, dtype="boolean")
    columns["coverage"] = np.zeros(rows, dtype=np.int32)
    return pd.DataFrame(columns, index=series.index_or_range)


def _bar(steps: Iterable[V], total: int, progress: bool) -> Iterable[V]:
    return tqdm(steps, total=total, unit=" series", disable=not progress, leave=False)


def _listed(reasons: Mapping[str, str]) -> str:
    """Return the first few series with their reasons, and how many more there are."""
    shown = [reason if name in reason else f"{name}: {reason}" for name, reason in list(reasons.items())[:SHOWN]]
    more = [f"And {len(reasons) - SHOWN} more."] if len(reasons) > SHOWN else []
    return " ".join([*shown, *more])


def _warn_of(reasons: Mapping[str, str], lacking: str, total: int) -> None:
    if reasons:
        text = f"{lacking} {len(reasons)} of {total} series. {_listed(reasons)}"
        warnings.warn(text, SeqaeWarning, stacklevel=4)
