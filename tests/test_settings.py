"""Settings as JSON: the same in every process, different wherever a run would be."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch

from seqae.objectives import Objective
from seqae.training import schedules
from seqae.training.settings import describe, differences, fingerprint
from seqae.windows import WindowSet


def test_plain_values_stay_and_parts_become_their_public_attributes():
    class Part:
        def __init__(self):
            self.size, self.names, self._cache = np.float32(0.5), ("a", None), object()

    assert describe([1, True, "x", 0.1, None, float("inf")]) == [1, True, "x", 0.1, None, "inf"]
    name = Part.__qualname__
    assert describe({"part": Part()}) == {"part": {name: {"size": 0.5, "names": ["a", None]}}}
    assert describe(torch.optim.Adam) == "Adam"


@pytest.mark.slow
def test_a_description_is_the_same_in_another_process():
    code = (
        "import json; from seqae.objectives import Objective; from seqae.training import schedules, settings;"
        "given = Objective(beta=schedules.cyclical(0.5, 4), noise='masking', teacher_forcing=schedules.linear(1.0, 3));"
        "print(json.dumps(settings.describe(given)))"
    )
    given = Objective(beta=schedules.cyclical(0.5, 4), noise="masking", teacher_forcing=schedules.linear(1.0, 3))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == describe(given)
    assert "0x" not in result.stdout


@pytest.mark.parametrize(
    "change",
    [
        {"beta": 0.5},
        {"beta": schedules.linear(1.0, 3)},
        {"free_bits": 0.1},
        {"noise": "gaussian"},
        {"noise": "masking"},
        {"noise_level": 0.3},
        {"teacher_forcing": 0.5},
        {"teacher_forcing": schedules.inverse_sigmoid(0.5, 3)},
    ],
)
def test_every_choice_of_an_objective_shows(change):
    assert len(differences(describe(Objective()), describe(Objective(**change)))) > 0
    assert differences(describe(Objective(**change)), describe(Objective(**change))) == []


def test_differences_are_named_by_their_place():
    stored, given = {"a": {"b": 1, "c": [1, 2]}, "d": None}, {"a": {"b": 2, "c": [1, 2]}, "e": "x"}
    assert differences(stored, given) == ["a.b was 1, is 2", 'e was null, is "x"']
    assert differences({"a": {"b": 1}}, {"a": 3}) == ['a was {"b": 1}, is 3']


def windows(values, **options):
    return WindowSet([values], **{"window": 8, **options})


def test_fingerprints_tell_data_apart():
    values = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    changed, missing = values.copy(), values.copy()
    changed[113, 1] = np.nextafter(changed[113, 1], 9)
    missing[50] = np.nan
    condition = partial(windows, conditions=[values[:, :1]])
    found = [
        fingerprint(given)
        for given in (
            windows(values), windows(changed), windows(missing), windows(values[:-1]), windows(values[:, ::-1].copy()),
            windows(values, stride=2), windows(values, window=9), condition(values),
        )
    ]  # fmt: skip
    assert len(set(found)) == len(found)
    assert fingerprint(windows(values.copy())) == found[0]


def test_fingerprints_of_long_series_look_everywhere_and_stay_cheap():
    values = np.zeros((100_000, 1), dtype=np.float32)
    gathered = []

    class Spy:
        def __init__(self, windows):
            self.windows = windows

        def __len__(self):
            return len(self.windows)

        def gather(self, index):
            gathered.append(index)
            return self.windows.gather(index)

    data = windows(values)
    fingerprint(Spy(data))
    (index,) = gathered
    assert len(index) == 1024
    assert (index[0], index[-1]) == (0, len(data) - 1)
    assert int(index.diff().max()) <= -(-len(data) // 1023)
