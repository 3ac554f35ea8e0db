"""The choices' benchmark: invented series are what they say, ways to score differ in what they name, failures count."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield {name: importlib.import_module(name) for name in ("invented", "choices")}
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.mark.parametrize("key", ["waves/0", "waves/7", "plants/0", "plants/1", "commands/3"])
def test_an_invented_series_has_anomalies_in_its_test_part_alone_and_is_the_same_again(modules, key):
    invented = modules["invented"]
    case = invented.load(f"invented/{key}")
    case.require_train()
    again = invented.load(f"invented/{key}")
    np.testing.assert_array_equal(case.values, again.values)
    np.testing.assert_array_equal(case.labels, again.labels)
    assert np.isfinite(case.values).all()
    assert not case.labels[: invented.FIRST].any()
    assert 10 < case.labels.sum() < 1000
    every = invented.keys()
    assert f"invented/{key}" in every


def test_every_way_of_spoiling_changes_its_rows_and_no_others(modules):
    invented, seen = modules["invented"], set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, _ = invented.repeating(4000, rng, invented.REPEATING[seed % 5])
        was = x.copy()
        way = invented.spoil(x, rng, 3000, 80)
        seen.add(way)
        assert (x[3000:3080] != was[3000:3080]).mean() > 0.5, way
        x[3000:3080] = was[3000:3080]
        np.testing.assert_array_equal(x, was)
    assert len(seen) == 10


def test_ways_differ_in_what_they_name(modules):
    choices = modules["choices"]
    case = modules["invented"].load("invented/plants/6")
    found = choices.listen(case, {"hidden": 8}, ("window_error", "nearest_shape", "window_pca"), 1.0, 0)
    default = choices.score(found, choices.Way())
    assert default.shape == (len(case.values),)
    for changed in ({"ranges": False}, {"power": 0}, {"joint": False}, {"how": "sum"}):
        assert not np.allclose(choices.score(found, choices.Way(**changed)), default, equal_nan=True), changed
    alone = choices.score(found, choices.Way(("window_pca",)))
    np.testing.assert_allclose(alone, found.said["window_pca"].values.mean(axis=1, dtype=np.float64))
    assert 0 < choices.measure(default, case) <= 1


def test_failures_are_counted_and_named_in_the_tables(modules, tmp_path):
    choices = modules["choices"]
    job = choices.Job("invented/waves/0", choices.DEFAULT_NETWORK, 1.0, 0)
    worked = choices.died(job) | {
        "failure": None, "figures": dict.fromkeys(choices.WAYS, 0.25), "explained": 0.5, "epochs": 3,
    }  # fmt: skip
    failed = choices.died(job._replace(case="invented/plants/1"))
    assert choices.job_of(failed) == job._replace(case="invented/plants/1")
    assert "the process died" in choices.told(failed)
    choices.write([worked, failed], tmp_path / "choices.md", "a command", 1.0, 0)
    text = (tmp_path / "choices.md").read_text()
    assert "1 series: 0 of NAB" in text
    assert "- invented/plants/1, default: the process died" in text
    assert "| their sum | nan | 0.250 | nan | nan | nan |" in text


@pytest.mark.parametrize("name", ["plain", "mlp"])
def test_other_networks_are_made_for_the_series(modules, name):
    choices = modules["choices"]
    case = modules["invented"].load("invented/waves/0")
    made = choices.NETWORKS[name][1]["model"](channels=1, steps=30)
    biases = [bias for part, bias in made.named_parameters() if ".rnn.bias" in part]
    assert len(biases) == (4 if name == "plain" else 0)
    assert all(0 < bias.abs().max() <= 1 / 8 for bias in biases)  # PyTorch's, of 64 units: within 1 / √64
    found = choices.listen(case, choices.NETWORKS[name][1], choices.DEFAULT, 0.5, 0)
    assert 0 < choices.measure(choices.score(found, choices.Way()), case) <= 1
