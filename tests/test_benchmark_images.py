"""The images' benchmark: its figures are what they say, its tables name what failed, was skipped and was not run."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from seqae.datasets.images import Images, digits
from seqae.datasets.sprites import sprites
from seqae.generative.image_model import ImageModel

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
QUICK = {"device": "cpu", "quick": True}


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield {name: importlib.import_module(name) for name in ("image_parts", "images")}
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def parts(modules):
    return modules["image_parts"]


@pytest.fixture
def bench(modules):
    return modules["images"]


def coloured(n, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    return Images(pixels, np.arange(n) % 2, ("a", "b"), "noise")


def line(part, row, figures, **other):
    return {"part": part, "row": row, "figures": figures, "failure": None, "seconds": 2.0, "where": "cpu"} | other


def run(epochs=3, seconds=12.0):
    return {"epochs": epochs, "seconds": seconds, "weights": 7}


# ---- budgets ----


def test_a_budget_scales_epochs_and_never_to_none(parts):
    assert parts.How().epochs(12, 100) == 12
    assert parts.How(minutes=parts.MINUTES / 2).epochs(12, 100) == 6
    assert parts.How(minutes=2 * parts.MINUTES, large=True).epochs(12, 100) == 200
    assert parts.How(minutes=0.01).epochs(12, 100) == 1
    assert parts.How(quick=True).epochs(12, 100) == 1


@pytest.mark.parametrize("classic", [True, False])
def test_rows_train_for_the_epochs_that_they_say(parts, monkeypatch, classic):
    monkeypatch.setattr(parts, "load", lambda name, part: digits(part)[:120])
    figures = parts.nll({"data": "digits", "epochs": (2, 5), "classic": classic}, parts.How())
    assert [one["epochs"] for one in figures["runs"]] == [2]


# ---- parts ----


def test_nll_is_a_bound_that_draws_can_only_better(parts, monkeypatch):
    monkeypatch.setattr(parts, "load", lambda name, part: digits(part))
    figures = parts.nll({"data": "digits", "epochs": (1, 1), "k": 5}, parts.How(**QUICK))
    for part, n, ks in (("all", 300, ["1", "10"]), ("tenth", 30, ["1", "10", "100"])):
        found = figures[part]
        assert found["windows"] == n
        assert list(found["bounds"]) == ks
        assert sorted(found["bounds"].values()) == list(found["bounds"].values())
        assert found["elbo"] == pytest.approx(-found["reconstruction"] - found["kl"])
        assert found["values"] == 64


def test_the_course_s_first_layer_has_588_weights_and_the_mean_image_is_naive(parts, monkeypatch):
    sets = {"train": coloured(40, 0), "test": coloured(20, 1)}
    monkeypatch.setattr(parts, "load", lambda name, part: sets[part])
    figures = parts.course({"data": "cifar10", "epochs": (1, 1)}, parts.How(**QUICK))
    assert figures["first_layer"] == (4 * 4 * 3 + 1) * 12 == 588
    assert figures["images"] == [40, 20]
    mean = (sets["train"].pixels / 255).mean(0)
    assert figures["mean_image"] == pytest.approx(np.mean([(one / 255 - mean) ** 2 for one in sets["test"].pixels]))
    # noise that is 1/12 wide around its mean of 1/2 cannot be told from the mean by a net of one step
    assert figures["squared_error"] == pytest.approx(1 / 12, rel=0.05)


@pytest.mark.parametrize("off", [0, 1])
def test_samples_count_for_the_class_that_was_asked_for(parts, monkeypatch, off):
    train = digits("train")

    class Perfect:
        def sample(self, n, labels):
            rng, pixels = np.random.default_rng(0), train.pixels / np.float32(255)
            return np.stack([pixels[rng.choice(np.flatnonzero(train.labels == (k + off) % 10))] for k in labels])

    monkeypatch.setattr(parts, "load", lambda name, part: digits(part))
    monkeypatch.setattr(parts, "fitted", lambda *some, **others: (Perfect(), run()))
    figures = parts.cvae({"data": "digits", "epochs": (1, 1), "known": 1000}, parts.How(**QUICK))
    assert figures["all_test"] > 0.9
    shares = figures["samples"]
    assert min(shares) > 0.95 if off == 0 else max(shares) < 0.05


def test_sprites_are_measured_on_all_and_reconstructed_where_held_back(parts, monkeypatch):
    monkeypatch.setattr(parts, "sprites", lambda n: sprites(200, scales=2, rotations=2, positions=5))
    figures = parts.beta({"beta": 4, "seed": 1, "epochs": (1, 1)}, parts.How(**QUICK))
    assert figures["windows"] == 25
    assert set(figures["measured"]) == set(parts.MEASURES)
    assert all(0 <= value <= 1 for value in figures["measured"].values())


def test_baselines_score_as_their_naive_versions_and_auroc_counts_pairs(parts, monkeypatch):
    monkeypatch.setattr(parts, "load", lambda name, part: digits(part))
    train, test = digits("train")[: parts.QUICK["train"]], digits("test")[: parts.QUICK["test"]]
    found = {
        how: parts.oneclass({"data": "digits", "scorer": how}, parts.How(**QUICK))["auroc"] for how in ("mean", "pca")
    }
    for k in (1, 8):
        known = parts.flat(train.only(str(k))).astype(np.float64)
        apart = parts.flat(test) - known.mean(0)
        axes = np.linalg.svd(known - known.mean(0), full_matrices=False)[2][: parts.COMPONENTS]
        for how, scores in (("mean", (apart**2).sum(1)), ("pca", ((apart - apart @ axes.T @ axes) ** 2).sum(1))):
            other, own = scores[test.labels != k], scores[test.labels == k]
            pairs = np.sign(other[:, None] - own[None]) / 2 + 0.5
            assert found[how][k] == pytest.approx(pairs.mean(), abs=2e-3), (k, how)


def test_an_autoencoder_of_one_class_tells_it_from_the_others(parts):
    row = parts.METHODS["AE, squared error"] | {"epochs": (25, 25)}
    test = digits("test").only("0", "1")
    scores, figures = parts.SCORERS["model"](digits("train").only("0"), test, parts.How(), row)
    known = test.labels == 0
    assert np.median(scores[~known]) > 2 * np.median(scores[known])
    assert figures["epochs"] == 25


def test_bits_are_only_for_probabilities(parts, monkeypatch):
    monkeypatch.setattr(parts, "load", lambda name, part: digits(part)[:100])
    for likelihood, binarise, has in (
        ("bernoulli", "dynamic", True), ("discretized_logistic", "off", True), ("normal_per_step", "off", False),
    ):  # fmt: skip
        row = {"data": "digits", "likelihood": likelihood, "binarise": binarise, "epochs": (1, 1)}
        found = parts.likelihoods(row, parts.How(**QUICK))
        bits = -found["bounds"]["10"] / (64 * math.log(2)) if has else None
        assert found["bits_per_dimension"] == (pytest.approx(bits, rel=1e-5) if has else None)


def test_bodies_get_seconds_and_no_number_of_epochs(parts, monkeypatch):
    monkeypatch.setattr(parts, "load", lambda name, part: digits(part)[:100])
    given = []
    monkeypatch.setattr(ImageModel, "fit", _told(given, ImageModel.fit))
    parts.bodies({"data": "digits", "options": {"body": "conv"}}, parts.How(**QUICK))
    parts.bodies({"data": "digits", "options": {"body": "mlp"}}, parts.How(minutes=parts.MINUTES / 450))
    assert [one["max_time"] for one in given] == pytest.approx([1.0, 0.1])
    assert min(one["epochs"] for one in given) > 10_000


def _told(given, fit):
    def told(self, images, **options):
        given.append(options)
        return fit(self, images, **options | {"max_time": 0.1})

    return told


# ---- tables ----


def test_every_part_has_a_table_and_every_row_a_set_or_sprites(bench, parts):
    assert set(bench.TABLES) == set(parts.PARTS)
    for name, part in parts.PARTS.items():
        for row, given in part.rows.items():
            assert given.get("data") in {"mnist", "fashion-mnist", "cifar10"} or row.startswith("sprites"), (name, row)


def test_the_sweep_says_whether_it_is_monotone(bench):
    def figures(reconstruction, kl):
        return {"runs": [run()], "reconstruction": reconstruction, "kl": kl, "elbo": -1.0, "active": 1, "latent": 2,
                "symptoms": []}  # fmt: skip

    text = bench.beta({
        "fashion-mnist, β = 1": figures(1.0, 3.0), "fashion-mnist, β = 4": figures(3.0, 1.0),
        "fashion-mnist, β = 2": figures(2.0, 2.0), "sprites, β = 1, seed 1": figures(2.0, 1.0),
        "sprites, β = 4, seed 1": figures(1.0, 2.0),
    })  # fmt: skip
    assert "fashion-mnist, seed 0, β = 1, 2, 4: the reconstruction never gets better with β: yes" in text
    assert "never rises: yes" in text
    assert "sprites, seed 1, β = 1, 4: the reconstruction never gets better with β: **no**" in text
    assert "never rises: **no**" in text


def test_a_bound_that_gets_worse_is_said_so(bench):
    found = {"windows": 9, "elbo": -90.0, "standard_error": 0.5, "bounds": {"1": -90.0, "10": -91.0}}
    text = bench.nll({"VAE": {"runs": [run()], "all": found}})
    assert "| VAE | 3 | 12 | 9 | 90 | 90 | 91 | 0.5 | **no** | 86.8 to 89.9 |" in text
    found["bounds"]["10"] = -89.0
    assert "| 90 | 89 | 0.5 | yes | 86.8 to 89.9 |" in bench.nll({"VAE": {"runs": [run()], "all": found}})


def test_what_failed_was_skipped_or_not_run_is_named(bench, parts):
    course = {"runs": [run(0, 1.25)], "images": [5000, 1000], "first_layer": 588, "squared_error": 0.01,
              "mean_image": 0.06}  # fmt: skip
    lines = [line("course", "AE, 3-12-24-48", course), line("cvae", "CVAE", None, failure="ValueError: no")]
    text = bench.report(lines, "a command", parts.How(minutes=7), {"nll, VAE": "no files"})
    assert "`a command`" in text
    assert "budget 7 min" in text
    assert "| AE, 3-12-24-48 | < 1 | 1.2 | 5,000 + 1,000 | 588 | 7 | 0.01 | 0.06 |" in text
    assert "- cvae, CVAE: ValueError: no\n" in text
    assert "- nll, VAE: skipped, no files\n" in text
    assert "- nll, IWAE, k = 50: not run\n" in text
    assert "- nll, VAE: not run" not in text
    assert "- beta: not run\n" in text
    assert "- course" not in text


# ---- the command ----


@pytest.fixture
def one_part(bench, parts, monkeypatch):
    """A part of two rows that costs nothing, and what was run of it."""
    done = []

    def work(row, how):
        done.append(row["name"])
        if row["name"] == "bad" and len(done) < 3:
            raise ValueError("not today")
        return {"runs": [run()]}

    rows = {"good": {"name": "good"}, "bad": {"name": "bad"}, "gone": {"name": "gone", "data": "cifar10"}}
    monkeypatch.setattr(bench, "PARTS", {"p": parts.Part("A part", rows, work)})
    monkeypatch.setattr(bench, "TABLES", {"p": lambda lines: f"rows: {', '.join(lines)}"})
    return done


def test_rows_are_kept_failures_are_tried_again_and_absent_files_are_named(
    bench, parts, one_part, tmp_path, monkeypatch
):
    monkeypatch.setattr(parts, "DATA", tmp_path / "nothing here")
    parts.load.cache_clear()
    given = ["--cache", str(tmp_path / "cache.jsonl"), "--output", str(tmp_path / "out.md"), "--only", "p"]
    given += ["--device", "cpu"]
    bench.main(given)
    text = (tmp_path / "out.md").read_text()
    assert one_part == ["good", "bad"]
    assert "rows: good\n" in text
    assert "- p, bad: ValueError: not today" in text
    assert (
        "- p, gone: skipped, cifar10 needs cifar-10-binary.tar.gz or cifar-10-python.tar.gz: not in SEQAE_DATA" in text
    )
    assert "nothing here" not in text
    bench.main(given)
    assert one_part == ["good", "bad", "bad"]
    text = (tmp_path / "out.md").read_text()
    assert "rows: good, bad\n" in text
    assert "not today" not in text
    bench.main([*given, "--minutes", "7"])
    assert one_part == ["good", "bad", "bad", "good", "bad"]


def test_quick_keeps_nothing(bench, one_part, tmp_path, capsys):
    bench.main(["--quick", "--cache", str(tmp_path / "cache.jsonl"), "--device", "cpu"])
    assert "quick: no figure means anything" in capsys.readouterr().out
    assert not (tmp_path / "cache.jsonl").exists()


@pytest.mark.parametrize("given", [["--only", "nothing"], ["--minutes", "0"]])
def test_what_cannot_be_asked_for_is_refused(bench, given, capsys):
    with pytest.raises(SystemExit) as stopped:
        bench.main(given)
    assert stopped.value.code == 2
    assert given[0] in capsys.readouterr().err
