"""The commands on images: what they write, which of them a line means, and what a new user gets wrong."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import signal
import tomllib
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from seqae import Detector
from seqae.cli.images import plot
from seqae.cli.images.options import MODELS_BY_NAME
from seqae.cli.main import run
from seqae.cli.routes import TWINS
from seqae.datasets.images import digits, read_folder
from seqae.generative.image_model import IMAGE_SCORES, ImageModel
from seqae.generative.imageset import BINARISE
from seqae.models import MODELS
from seqae.nn.bodies import BODIES
from seqae.nn.likelihoods import LIKELIHOODS
from seqae.objectives import NOISES, Objective
from seqae.report.image_gallery import GALLERY, MOVING
from seqae.training import tracking

QUICK = ["--epochs", "2", "--mlp-hidden", "16", "--latent", "3", "--batch-size", "256"]
SERIES = ["--epochs", "1", "--window", "16", "--hidden", "4", "--latent", "2"]
TEST = digits("test")

# As the third of the projects that this one starts from describes its configuration files.
SECTIONS = """[configuration]
dataset = digits
path = anywhere
[architecture]
conv_layers = 3
conv_channels = [4,6,8]
conv_kernel_sizes = [(7, 7), (5, 5), (3, 3)]
conv_strides = [(1, 1), (1, 1), (1, 1)]
conv_paddings = [(3, 3), (2, 2), (1, 1)]
z_dimension = 3
[hyperparameters]
epochs = 1
batch_size = 400
learning_rate = 0.002
beta = 7
"""
AS_TOML = """[configuration]
dataset = "digits"
path = "anywhere"
[architecture]
conv_layers = 3
conv_channels = [4, 6, 8]
conv_kernel_sizes = [[7, 7], [5, 5], [3, 3]]
conv_strides = [[1, 1], [1, 1], [1, 1]]
conv_paddings = [[3, 3], [2, 2], [1, 1]]
z_dimension = 3
[hyperparameters]
epochs = 1
batch_size = 400
learning_rate = 0.002
beta = 7
"""


def pump(rows=200) -> pd.DataFrame:
    """A table that nothing is wrong with."""
    stamps = pd.date_range("2024-03-04", periods=rows, freq="10min").strftime("%Y-%m-%d %H:%M:%S")
    return pd.DataFrame({"time": stamps, "flow": np.sin(np.arange(rows) / 7).round(4)})


def pictures(folder: Path, *, size=(8, 8), n=20, low=0) -> None:
    """Grey pictures whose pixels are drawn between `low` and 100 more."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(low)
    for number in range(n):
        Image.fromarray(draw.integers(low, low + 100, size, dtype=np.uint8)).save(folder / f"{number:02}.png")


def published(folder: Path, n=40) -> None:
    """Images and labels in MNIST's own files."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for part in ("train", "t10k"):
        header = b"".join(number.to_bytes(4, "big") for number in (0x803, n, 28, 28))
        pixels = draw.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        header = b"".join(number.to_bytes(4, "big") for number in (0x801, n))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(header + bytes(number % 10 for number in range(n)))


class Program:
    """`seqae` in this process, in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._capsys, self._patch = folder, capsys, monkeypatch

    def __call__(self, *arguments: object, code: int = 0) -> str:
        """Run a command and return its stdout; `self.stderr` keeps what it said."""
        self._patch.chdir(self.folder)
        result = run([str(argument) for argument in arguments])
        out, self.stderr = self._capsys.readouterr()
        assert result == code, self.stderr
        assert "Traceback" not in self.stderr
        return out

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        """The weights of a run."""
        return ImageModel.load(self.folder / name / "model.safetensors").model.state_dict()

    def config(self, name: str) -> dict[str, object]:
        """The options that a run has left behind."""
        return tomllib.loads((self.folder / name / "config.toml").read_text())

    def metrics(self, name: str) -> list[dict[str, float]]:
        """The epochs of a run."""
        return [json.loads(line) for line in (self.folder / name / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module", autouse=True)
def _no_pictures():
    """Leave out the pictures of series for TensorBoard, which take longer than these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "_picture", lambda *_: np.zeros((2, 2, 3), np.uint8))
        yield


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Pictures, tables, settings and models; in each folder of runs/ one that is named as its model is."""
    folder = tmp_path_factory.mktemp("images")
    for name, low in (("dark", 0), ("light", 150)):
        pictures(folder / "photos" / name, low=low)
    pictures(folder / "plain", n=10)
    pictures(folder / "tall", size=(9, 8), n=3)
    (folder / "csvs").mkdir()
    (folder / "tables").mkdir()
    (folder / "empty").mkdir()
    for name in ("pump.csv", "csvs/a.csv", "csvs/b.csv", "tables/a.csv"):
        pump().to_csv(folder / name, index=False)
    pictures(folder / "csvs/plots", n=2)
    pictures(folder / "sizes", n=2)
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "sizes/odd.png")
    published(folder / "published")
    for name, content in SETTINGS.items():
        (folder / name).write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("VAE", "CVAE", "AE"):
            assert run(["train", "digits", "--model", name, *QUICK, "-q", "-o", f"runs/{name.lower()}"]) == 0
        assert run(["train", "digits", *QUICK, "--latent", "2", "-q", "-o", "runs/flat"]) == 0
        assert run(["train", "photos", *QUICK, "--epochs", "1", "-q", "-o", "runs/photos"]) == 0
        assert run(["train", "pump.csv", *SERIES, "--mode", "causal", "-q", "-o", "runs/series"]) == 0
    return folder


@pytest.fixture
def program(workplace, capsys, monkeypatch):
    capsys.readouterr()
    return Program(workplace, capsys, monkeypatch)


@pytest.fixture
def fresh(tmp_path, capsys, monkeypatch):
    return Program(tmp_path, capsys, monkeypatch)


def same(one, other):
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def command_of(name: str) -> click.Command:
    return import_module(f"seqae.cli.images.{name.replace('-', '_')}").command


# ---- train ----


def test_train_tells_what_it_did_and_leaves_the_library_s_model(fresh):
    assert fresh("train", "digits", *QUICK, "--score", "negative_elbo", "--seed", "3", "-o", "run") == ""
    said, folder = fresh.stderr, fresh.folder / "run"
    expected = ImageModel(body={"name": "mlp", "hidden": [16]}, latent=3, score="negative_elbo")
    expected.fit(digits(), epochs=2, batch_size=256, seed=3)
    assert same(fresh.weights("run"), expected.model.state_dict())
    names = {"model.safetensors", "last.safetensors", "metrics.jsonl", "tensorboard", "config.toml"}
    assert {path.name for path in folder.iterdir()} == names
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    records = fresh.metrics("run")
    assert [record["validation_total"] for record in records] == pytest.approx(
        [record["validation_total"] for record in expected.history["epochs"]]
    )
    loss = f"{records[1]['validation_total']:.4g} nats an image (validation; reconstruction"
    weights = sum(tensor.numel() for tensor in expected.model.state_dict().values())
    assert f"VAE (mlp, 3 latent) of {weights} weights trained on digits\n" in said
    assert "1293 of 8 × 8 × 1 fitted, 144 held back\n" in said
    assert f"loss         {loss}" in said
    assert "written to   run: model.safetensors, last.safetensors, metrics.jsonl, tensorboard, config.toml\n" in said


def test_without_o_a_run_is_named_as_its_images_are(fresh):
    pictures(fresh.folder / "Photos of parts", n=20)
    fresh("train", "Photos of parts", *QUICK, "-q")
    assert (fresh.folder / "runs/Photos of parts/model.safetensors").is_file()
    assert fresh.stderr == ""


def test_train_json_is_what_info_tells(fresh):
    told = json.loads(fresh("train", "digits", *QUICK, "-o", "run", "--json"))
    assert (told.pop("folder"), told.pop("model_file")) == ("run", "run/model.safetensors")
    assert told == json.loads(fresh("info", "run", "--json"))
    assert told["options"]["body"] == {"name": "mlp", "hidden": [16]}
    assert told["training_data"] == {
        "name": "digits", "fit": 1293, "held_back": 144, "classes": list("0123456789")
    }  # fmt: skip
    assert told["recipe"]["builder"] == "VAE"


def test_a_b_vae_is_a_vae_with_beta_4_where_none_is_given(fresh):
    for name, options in {
        "b": ["--model", "B-VAE"], "four": ["--beta", "4"], "two": ["--model", "B-VAE", "--beta", "2"], "one": []
    }.items():  # fmt: skip
        fresh("train", "digits", *QUICK, *options, "-o", name)
    assert [fresh.config(name)["beta"] for name in ("b", "four", "two", "one")] == [4, 4, 2, 1]
    assert same(fresh.weights("b"), fresh.weights("four"))
    assert not same(fresh.weights("b"), fresh.weights("two"))
    assert not same(fresh.weights("b"), fresh.weights("one"))
    for name, beta in (("b", 4), ("two", 2), ("one", 1)):
        for record in fresh.metrics(name):
            assert record["train_total"] - record["train_reconstruction"] == pytest.approx(
                beta * record["train_kl"], rel=1e-3
            )
    assert json.loads(fresh("info", "b", "--json"))["recipe"]["builder"] == "VAE"


def test_a_dae_is_an_ae_that_sees_masked_images(fresh):
    for name, options in {
        "dae": ["--model", "DAE"], "ae": ["--model", "AE", "--noise", "masking"],
        "gauss": ["--model", "DAE", "--noise", "gaussian"], "off": ["--model", "DAE", "--noise", "off"],
        "plain": ["--model", "AE"],
    }.items():  # fmt: skip
        fresh("train", "digits", *QUICK, *options, "-o", name)
    assert [fresh.config(name).get("noise") for name in ("dae", "gauss", "off")] == ["masking", "gaussian", None]
    assert same(fresh.weights("dae"), fresh.weights("ae"))
    assert same(fresh.weights("off"), fresh.weights("plain"))
    assert not same(fresh.weights("dae"), fresh.weights("plain"))
    assert not same(fresh.weights("dae"), fresh.weights("gauss"))


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "DAE", "--noise-level", "0.4", "--mlp-hidden", "9,7", "--likelihood", "normal_fixed"],
        ["--model", "B-VAE", "--clip", "2", "--patience", "off", "--classes", "3,5", "--validation", "0.25"],
        ["--model", "CVAE", "--prior", "conditional", "--binarise", "dynamic", "--optimizer", "adamw"],
        ["--body", "conv", "--conv-channels", "3,4", "--conv-kernel-sizes", "(3, 5), 4", "--conv-strides", "2,(1,2)",
         "--conv-paddings", "[1, (0, 1)]", "--importance-samples", "2"],
        ["--body", "rnn", "--hidden", "6", "--cell", "gru", "--decoder_type", "output_as_input", "--free-bits", "0.1"],
    ],
    ids=["DAE", "B-VAE", "CVAE", "conv", "rnn"],
)  # fmt: skip
def test_the_configuration_of_a_run_makes_the_same_model_and_flags_win(options, fresh):
    quick = ["--epochs", "2", "--batch-size", "256", "--latent", "3"]
    fresh("train", "digits", *quick, *options, "-o", "one")
    fresh("train", "--config", "one/config.toml", "-o", "two")
    fresh("train", "--config", "one/config.toml", "--seed", "4", "-o", "three")
    assert same(fresh.weights("one"), fresh.weights("two"))
    assert not same(fresh.weights("one"), fresh.weights("three"))
    assert fresh.config("one") == fresh.config("two") == fresh.config("three") | {"seed": 0}
    assert fresh.config("one")["data"] == "digits"


def test_a_resumed_run_equals_one_that_was_never_stopped(fresh):
    options = [*QUICK, "--model", "B-VAE", "--binarise", "dynamic"]
    fresh("train", "digits", *options, "-o", "whole", "--epochs", "4")
    fresh("train", "digits", *options, "-o", "parts")
    fresh("train", "digits", "-o", "parts", "--resume", "--epochs", "4")
    assert same(fresh.weights("whole"), fresh.weights("parts"))
    assert [record["epoch"] for record in fresh.metrics("parts")] == [1, 2, 3, 4]
    assert fresh.config("parts") == fresh.config("whole")


def test_ctrl_c_keeps_the_model_and_gives_130(fresh, monkeypatch):
    calls, plain = [], Objective.__call__

    def interrupted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 9:  # of 6 steps an epoch
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "__call__", interrupted)
        fresh("train", "digits", *QUICK, "--epochs", "50", "-o", "run", code=130)
    assert "1 in 0 s (interrupted)" in fresh.stderr
    assert len(TEST) == len(ImageModel.load(fresh.folder / "run/model.safetensors").score(TEST))
    fresh("train", "digits", "--resume", "--epochs", "3", "-o", "run")
    fresh("train", "digits", *QUICK, "--epochs", "3", "-o", "whole")
    assert same(fresh.weights("run"), fresh.weights("whole"))


def test_a_run_is_replaced_only_when_asked_and_only_by_a_complete_one(fresh):
    fresh("train", "digits", *QUICK, "-o", "run")
    (fresh.folder / "run/notes.txt").write_text("mine")
    before = listing(fresh.folder)
    fresh("train", "digits", *QUICK, "-o", "run", code=2)
    assert "already holds a run" in fresh.stderr
    fresh("train", "digits", *QUICK, "--classes", "x", "-o", "run", "--overwrite", code=2)
    fresh("train", "digits", "--body", "conv", "--conv-kernel-sizes", "99,9", "-o", "run", "--overwrite", code=2)
    assert listing(fresh.folder) == before
    fresh("train", "digits", *QUICK, "--seed", "1", "-o", "run", "--overwrite")
    after = listing(fresh.folder)
    assert after["run/notes.txt"] == b"mine"
    assert after["run/model.safetensors"] != before["run/model.safetensors"]
    assert len(after) == len(before)


# ---- settings in sections ----


@pytest.mark.parametrize("name", ["sections.ini", "sections.toml", "sections.cfg"])
def test_a_file_in_sections_is_taken_as_it_stands(name, program):
    program("train", "--config", name, "--model", "B-VAE", "-o", f"runs/{name}")
    assert "warning" not in program.stderr
    config = program.config(f"runs/{name}")
    pairs = {"kernel_sizes": [[7, 7], [5, 5], [3, 3]], "strides": [[1, 1]] * 3, "paddings": [[3, 3], [2, 2], [1, 1]]}
    told = {"model": "B-VAE", "body": "conv", "latent": 3, "epochs": 1, "batch_size": 400, "learning_rate": 0.002,
            "beta": 7, "data": "digits", "data_dir": "anywhere"}  # fmt: skip
    assert {key: config[key] for key in told} == told
    assert {key: config[f"conv_{key}"] for key in pairs} == pairs
    expected = ImageModel(body={"name": "conv", "channels": [4, 6, 8], **pairs}, latent=3)
    expected.fit(digits(), epochs=1, batch_size=400, learning_rate=0.002, beta=7)
    assert same(program.weights(f"runs/{name}"), expected.model.state_dict())
    record = program.metrics(f"runs/{name}")[0]
    assert record["validation_total"] - record["validation_reconstruction"] == pytest.approx(
        7 * record["validation_kl"], rel=1e-3, abs=1e-4
    )
    assert (
        json.loads(program("info", f"runs/{name}", "--json"))["recipe"]["arguments"]["body"]["strides"] == [[1, 1]] * 3
    )


def test_the_seeds_own_example_trains_on_files_as_published(program):
    program("train", "--config", "seed.ini", "--model", "B-VAE", "-o", "runs/seed")
    model = ImageModel.load(program.folder / "runs/seed/model.safetensors")
    assert (model.shape, model.training_data["name"], model.options["latent"]) == ((28, 28, 1), "mnist", 5)
    sizes = {name: tuple(tensor.shape) for name, tensor in model.model.encoder.named_parameters() if "weight" in name}
    assert list(sizes.values()) == [(16, 1, 7, 7), (32, 16, 5, 5), (64, 32, 3, 3)]
    assert model.model.encoder.features == 64 * 22 * 22  # 28 → 24 → 22 → 22
    assert program.config("runs/seed")["beta"] == 4
    assert program.config("runs/seed")["learning_rate"] == 1e-6


@pytest.mark.parametrize("options", [[], ["--model", "VAE"]])
@pytest.mark.parametrize("name", ["sections.ini", "sections.toml"])
def test_the_beta_of_a_section_is_for_b_vae_alone(name, options, fresh, program):
    settings = program.folder / name
    fresh("train", "--config", settings, *options, "-o", "run")
    warned = [line for line in fresh.stderr.splitlines() if "warning" in line]
    assert warned == [f"seqae: warning: beta = 7 of {settings} is for --model B-VAE; this VAE is trained with 1."]
    assert fresh.config("run")["beta"] == 1
    record = fresh.metrics("run")[0]
    assert record["train_total"] - record["train_reconstruction"] == pytest.approx(record["train_kl"], rel=1e-3)


def test_what_is_given_wins_over_a_section(program):
    program("train", "photos", "--config", "sections.ini", "--beta", "5", "--latent", "2", "-o", "runs/given")
    assert "warning" not in program.stderr
    config = program.config("runs/given")
    assert (config["data"], config["beta"], config["latent"], config["batch_size"]) == ("photos", 5, 2, 400)


def test_sections_may_leave_things_out_and_options_add_any_other(program):
    program("train", "--config", "more.ini", "-o", "runs/more")
    config = program.config("runs/more")
    assert "warning" not in program.stderr
    assert (config["model"], config["beta"], config["body"], config["classes"]) == ("B-VAE", 4, "mlp", ["3", "5"])
    assert (config["mlp_hidden"], config["epochs"], config["data"]) == ([9], 1, "Digits")


# ---- the other commands ----


def test_score_tells_each_image_its_class_its_score_and_its_p_value(program):
    program("score", "runs/vae", "digits", "-o", "scores.csv")
    assert program.stderr == "360 images scored.\n"
    found, model = (
        pd.read_csv(program.folder / "scores.csv"),
        ImageModel.load(program.folder / "runs/vae/model.safetensors"),
    )
    assert list(found.columns) == ["image", "class", "label", "score", "p_value"]
    assert found["image"].tolist() == list(range(360))
    assert found["class"].tolist() == TEST.labels.tolist()
    assert (found["label"] == 0).all()
    scores = model.score(TEST)
    np.testing.assert_array_equal(found["score"].to_numpy(np.float32), scores)
    np.testing.assert_allclose(found["p_value"], model.p_values(scores), rtol=1e-8)
    rows = json.loads(program("score", "runs/vae/model.safetensors", "digits", "--json"))
    assert [row["score"] for row in rows] == pytest.approx(scores.tolist(), rel=1e-6)
    assert [row["class"] for row in rows] == [str(label) for label in TEST.labels]
    program("score", "runs/vae", "digits", "-o", "scores.jsonl", "-q")
    assert program.stderr == ""
    lines = [json.loads(line) for line in (program.folder / "scores.jsonl").read_text().splitlines()]
    assert lines == rows


def test_classes_and_part_choose_the_images(program):
    program("score", "runs/vae", "digits", "--classes", "3,5", "--part", "train", "-o", "some.csv")
    found = pd.read_csv(program.folder / "some.csv")
    images = digits("train").only("3", "5")
    assert found["class"].tolist() == images.labels.tolist()
    model = ImageModel.load(program.folder / "runs/vae/model.safetensors")
    np.testing.assert_array_equal(found["score"].to_numpy(np.float32), model.score(images))


def test_a_class_that_was_not_trained_on_is_labelled(fresh):
    fresh("train", "digits", *QUICK, "--classes", "0,1,2", "--validation", "0", "-o", "run")
    fresh("score", "run", "digits", "-o", "scores.csv")
    found = pd.read_csv(fresh.folder / "scores.csv")
    assert (found["label"] == (found["class"] > 2)).all()
    assert 0 < found["label"].sum() < 360
    assert list(found.columns) == ["image", "class", "label", "score"]  # nothing was held back to compare with


def test_a_folder_of_pictures_is_read_by_class_or_without(program):
    program("score", "runs/photos", "photos", "-o", "photos.csv")
    found = pd.read_csv(program.folder / "photos.csv")
    assert found["class"].tolist() == ["dark"] * 20 + ["light"] * 20
    model = ImageModel.load(program.folder / "runs/photos/model.safetensors")
    np.testing.assert_array_equal(
        found["score"].to_numpy(np.float32), model.score(read_folder(program.folder / "photos"))
    )
    program("encode", "runs/photos", "plain", "-o", "plain.csv")
    assert list(pd.read_csv(program.folder / "plain.csv").columns) == ["image", "z0", "z1", "z2"]


def test_encode_reconstruct_and_sample_write_the_library_s_numbers(program):
    model = ImageModel.load(program.folder / "runs/vae/model.safetensors")
    program("encode", "runs/vae", "digits", "-o", "latents.csv")
    found = pd.read_csv(program.folder / "latents.csv")
    assert list(found.columns) == ["image", "class", "z0", "z1", "z2"]
    np.testing.assert_array_equal(found[["z0", "z1", "z2"]].to_numpy(np.float32), model.encode(TEST))
    assert found["class"].tolist() == TEST.labels.tolist()

    program("reconstruct", "runs/vae", "digits", "-o", "expected.npy")
    pixels = np.load(program.folder / "expected.npy")
    assert (pixels.dtype, pixels.shape) == (np.uint8, (360, 8, 8, 1))
    np.testing.assert_array_equal(pixels, np.rint(255 * model.reconstruct(TEST)).astype(np.uint8))

    program("sample", "runs/vae", "-n", "5", "--seed", "7", "-o", "new.npy")
    expected = np.rint(255 * model.sample(5, seed=7)).astype(np.uint8)
    np.testing.assert_array_equal(np.load(program.folder / "new.npy"), expected)
    program("sample", "runs/vae", "-n", "5", "--noise", "-o", "noise.npy")
    assert set(np.unique(np.load(program.folder / "noise.npy"))) == {0, 255}


def test_a_cvae_draws_class_after_class(program):
    model = ImageModel.load(program.folder / "runs/cvae/model.safetensors")
    for options, classes in ((["--classes", "5,3"], [5, 3]), ([], range(10))):
        program("sample", "runs/cvae", "-n", "2", *options, "-o", "classes.npy")
        labels = np.repeat(np.array(classes), 2)
        expected = np.rint(255 * model.sample(len(labels), labels=labels)).astype(np.uint8)
        np.testing.assert_array_equal(np.load(program.folder / "classes.npy"), expected)


def test_info_tells_what_is_in_a_model(program):
    text = program("info", "runs/photos")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "VAE of images, 8 × 8 × 1"
    for line in (
        "likelihood bernoulli; prior standard",
        "pixels grey values in [0, 1]",
        "score nll",
        "data photos: 36 images fitted, 4 held back",
        "classes dark, light",
    ):
        assert line in lines
    best = program.metrics("runs/photos")[0]["validation_total"]
    assert any(line.startswith("best epoch 1: ") and f"{best:.4g}" in line for line in lines)
    told = json.loads(program("info", "runs/photos/model.safetensors", "--json"))
    assert f"{told['parameters']:,} weights" in text
    assert told["classes"] == ["dark", "light"]


@pytest.mark.parametrize("what", GALLERY)
def test_plot_draws_what_is_asked_for_with_the_options_given(what, program, monkeypatch):
    seen = []
    monkeypatch.setitem(GALLERY, what, lambda model, look: seen.append((model, look)) or Figure())
    options = ["--images", "8,3", "-n", "4", "--noise", "gaussian", "--noise-level", "0.5", "--seed", "9"]
    program("plot", "runs/cvae", "digits", "--what", what, *options, "--classes", "3,5", "-o", f"{what}.png")
    assert program.stderr == f"{what} drawn in {what}.png.\n"
    ((model, look),) = seen
    assert model.options["model"] == "CVAE"
    np.testing.assert_array_equal(look.images.pixels, TEST.only("3", "5").pixels)
    assert (look.chosen, look.count, look.noise, look.noise_level, look.seed) == ((8, 3), 4, "gaussian", 0.5, 9)


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plot_writes_the_format_of_the_name(ending, start, program):
    program("plot", "runs/vae", "digits", "-n", "3", "-o", f"x.{ending}", "--dpi", "60")
    assert (program.folder / f"x.{ending}").read_bytes().startswith(start)


@pytest.mark.parametrize("what", MOVING)
def test_plot_writes_what_moves_as_a_gif(what, program):
    program("plot", "runs/flat", "digits", "--what", what, "--images", "3,8", "-o", f"{what}.gif")
    with Image.open(program.folder / f"{what}.gif") as gif:
        assert gif.n_frames == 20
        height = {"interpolation": 8, "traversals": 17}[what]
        assert gif.size[1] % height == 0
        assert gif.size[1] // height == gif.size[0] // 8


@pytest.mark.parametrize("what", ["samples", "plane", "traversals"])
def test_pictures_of_the_latent_space_need_no_data(what, program, monkeypatch):
    seen = []
    draw = GALLERY[what]
    monkeypatch.setitem(GALLERY, what, lambda model, look: seen.append(look) or draw(model, look))
    program("plot", "runs/flat", "--what", what, "-n", "3", "-o", f"bare-{what}.png")
    assert seen[0].images is None
    assert (program.folder / f"bare-{what}.png").read_bytes().startswith(b"\x89PNG")


def test_settings_files_go_with_every_command(program):
    (program.folder / "drawing.toml").write_text('what = "interpolation"\nimages = "3,8"\nseed = 2\n')
    program("plot", "runs/vae", "digits", "--config", "drawing.toml", "-o", "drawn.png")
    assert program.stderr.startswith("interpolation drawn")


# ---- which command a line means ----


def test_the_command_for_images_is_the_namesake_of_the_one_for_series():
    for name in TWINS:
        for command in (command_of(name), import_module(f"seqae.cli.{name.replace('-', '_')}").command):
            assert command.name == name
        assert inspect.cleandoc(command_of(name).help or "").splitlines()[0].endswith(".")
        assert len(command_of(name).examples) == 2


def test_choices_are_the_menus_and_defaults_the_library_s_own():
    options = {parameter.name: parameter for parameter in command_of("train").params}
    menus = {"body": BODIES, "likelihood": LIKELIHOODS, "binarise": BINARISE, "score": IMAGE_SCORES}
    for option, menu in menus.items():
        assert list(options[option].type.choices) == list(menu)
    assert list(options["model"].type.choices) == list(MODELS_BY_NAME)
    assert {kind.model for kind in MODELS_BY_NAME.values()} == set(MODELS)
    assert list(options["noise"].type.inner.choices) == list(NOISES)
    for function in (ImageModel, ImageModel.fit):
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name not in {"self", "recurrent", "images", "log_dir", "resume", "progress"}:
                assert options[parameter.name].default == parameter.default, parameter.name
    assert list({p.name: p for p in plot.command.params}["what"].type.choices) == list(GALLERY)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["train", "--help"], "series"),
        (["train", "pump.csv", "--help"], "series"),
        (["train", "mnist", "--help"], "images"),
        (["train", "Fashion_MNIST", "--help"], "images"),
        (["train", "photos", "--help"], "images"),
        (["train", "csvs", "--help"], "series"),
        (["train", "--config", "sections.ini", "--help"], "images"),
        (["train", "--help", "--config=sections.toml"], "images"),
        (["train", "pump.csv", "-o", "digits", "--help"], "series"),
        (["train", "-o", "digits", "pump.csv", "--help"], "series"),
        (["train", "pump.csv", "--label", "digits", "--help"], "series"),
        (["train", "--label", "mnist", "pump.csv", "--help"], "series"),
        (["train", "--id", "cifar10", "--help"], "series"),
        (["train", "--epochs", "3", "digits", "--help"], "images"),
        (["train", "--mlp_hidden", "8", "digits", "--help"], "images"),
        (["score", "--help"], "series"),
        (["score", "runs/vae", "--help"], "images"),
        (["score", "runs/vae/model.safetensors", "digits", "--help"], "images"),
        (["score", "runs/series", "digits", "--help"], "series"),
        (["score", "runs/series", "pump.csv", "--calibrate", "runs/vae", "--help"], "series"),
        (["score", "runs/series", "-o", "runs/vae", "--help"], "series"),
        (["sample", "-n", "3", "runs/cvae", "--help"], "images"),
        (["plot", "-o", "x.png", "runs/ae", "--help"], "images"),
        (["encode", "runs/vae", "--help"], "images"),
        (["reconstruct", "runs/vae", "--help"], "images"),
        (["info", "runs/vae", "--help"], "images"),
        (["info", "runs/series", "--help"], "series"),
        (["info", "runs/vae/last.safetensors", "--help"], "series"),
        (["detect", "digits", "--help"], "series"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_line_means_images_where_it_names_them(arguments, kind, program):
    module = "seqae.cli.images." if kind == "images" else "seqae.cli."
    expected = import_module(module + arguments[0]).command
    text = program(*arguments)
    for example in expected.examples:
        assert example in text
    if arguments[0] in ("train", "sample"):
        assert ("--classes" in text) == (kind == "images")


def test_series_stay_series(program):
    program("train", "pump.csv", *SERIES, "-q", "-o", "digits")  # the folder of the run is called as a set is
    assert Detector.load(program.folder / "digits/model.safetensors").preparation.channels == ("flow",)
    program("score", "digits", "pump.csv", "-q", "-o", "flow.csv")
    assert len(pd.read_csv(program.folder / "flow.csv")) == 200
    program("train", "csvs", *SERIES, "-q", "-o", "both")  # pictures that lie below tables do not make it images
    assert Detector.load(program.folder / "both/model.safetensors").training_data["series"] == 2
    table = pump().assign(digits=0)
    table.to_csv(program.folder / "labelled.csv", index=False)
    program("train", "labelled.csv", *SERIES, "--label", "digits", "-q", "-o", "labelled")
    assert Detector.load(program.folder / "labelled/model.safetensors").preparation.channels == ("flow",)
    program("score", "runs/series", "pump.csv", "-q", "-o", "again.csv")
    assert "coverage" in (program.folder / "again.csv").read_text()
    shutil.rmtree(program.folder / "digits")  # others mean the set by that name


@pytest.mark.parametrize("name", ["vae", "cvae", "ae"])
def test_a_model_of_images_says_so_to_the_commands_for_series(name, program):
    model = f"runs/{name}"
    for arguments in (["stream", model], ["report", model, "pump.csv", "-o", "page.html"]):
        assert program(*arguments, code=2) == ""
        assert f"{model}/model.safetensors holds a model of images, not a detector" in program.stderr
        assert program.stderr.count("\n") == 1
    assert not (program.folder / "page.html").exists()


# ---- what a new user gets wrong ----


def changed(*changes: tuple[str, str]) -> str:
    """The settings in sections with something else in them."""
    text = SECTIONS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


SETTINGS = {
    "sections.ini": SECTIONS,
    "sections.cfg": SECTIONS,
    "sections.toml": AS_TOML,
    "seed.ini": """[configuration]
dataset = MNIST
path = published
[architecture]
conv_layers = 3
conv_channels = [16,32,64]
conv_kernel_sizes = [(7, 7), (5, 5), (3, 3)]
conv_strides = [(1, 1), (1, 1), (1, 1)]
conv_paddings = [(1, 1), (1, 1), (1, 1)]
z_dimension = 5
[hyperparameters]
epochs = 1
batch_size = 32
learning_rate = 0.000001
beta = 4
""",
    "more.ini": "[configuration]\ndataset = Digits\n[hyperparameters]\nepochs = 1\n"
    "[options]\nmodel = B-VAE\nmlp_hidden = 9\nclasses = 3,5\n",
    "more-layers.ini": changed(("conv_layers = 3", "conv_layers = 4")),
    "fewer-channels.ini": changed(("[4,6,8]", "[4,6]")),
    "lists.ini": changed(("conv_layers = 3\n", ""), ("[4,6,8]", "[4,6]"), ("beta = 7\n", "")),
    "kernel.ini": changed(("(7, 7)", "(17, 17)"), ("beta = 7\n", "")),
    "key.ini": changed(("epochs = 1", "epoch = 1")),
    "section.ini": changed(("[architecture]", "[network]")),
    "option.ini": changed(("beta = 7\n", "[options]\nspeed = 3\n")),
    "words.ini": changed(("epochs = 1", "epochs = many"), ("beta = 7\n", "")),
    "numberless.ini": changed(("[4,6,8]", "[4,six,8]"), ("conv_layers = 3\n", ""), ("beta = 7\n", "")),
    "twice.ini": changed(("epochs = 1", "epochs = 1\nepochs = 2")),
    "path.ini": changed(("dataset = digits", "dataset = MNIST"), ("beta = 7\n", "")),
    "bare.ini": "epochs = 1\n",
    "open.ini": "[configuration\n",
    "neither.txt": "train digits, please",
    "bare.toml": 'data = "digits"\nconv_channels = [8, "x"]\nbody = "conv"\n',
    "nested.toml": 'data = "digits"\n[training]\nepochs = 3\n',
    "typo.toml": 'data = "digits"\nepoch = 3\n',
    "typo.ini": changed(("dataset = digits", "dataset = MINST")),
    "nameless.ini": changed(("dataset = digits\n", "")),
    "layers.ini": "[configuration]\ndataset = digits\n[architecture]\nconv_layers = 5\n[hyperparameters]\nepochs = 1\n",
    "six.ini": changed(("[4,6,8]", "[4,six,8]"), ("beta = 7\n", "")),
    "two-lines.ini": changed(("(7, 7)", "(17, 17)")),
    "table.toml": 'architecture = 3\n[configuration]\ndataset = "digits"\n',
}

CONV = ["train", "digits", "--epochs", "1", "--body", "conv"]

# name: (arguments, what the line must say); the folder is `workplace`
COMMANDS: dict[str, tuple[list[str], str]] = {
    "a set that there is not": (["score", "runs/vae", "minst"], "no folder of pictures, and no set. Name a folder, or"),
    "no data": (["score", "runs/vae"], "no DATA is named. Name a folder of images, or one of: mnist"),
    "no data to draw": (["plot", "runs/vae", "-o", "x.png"], "no DATA is named"),
    "a table for a model of images": (["score", "runs/vae", "pump.csv"], "pump.csv is no folder of pictures"),
    "a folder of tables for one": (["encode", "runs/vae", "tables"], "tables holds no picture"),
    "a folder without pictures": (["score", "runs/vae", "empty"], "empty holds no picture"),
    "a set that is not there": (["train", "mnist", "--data-dir", "plain"], "name their folder: --data-dir"),
    "a folder for the set that is not there": (["train", "cifar10", "--data-dir", "nowhere"], "nowhere"),
    "pictures of several sizes": (["train", "sizes"], "odd.png"),
    "pictures of another size": (["score", "runs/vae", "tall"], "has images of 9 × 8 × 1; the model was trained on 8"),
    "other classes for a CVAE": (["score", "runs/cvae", "photos"], "photos has the classes dark, light"),
    "no classes for a CVAE": (["plot", "runs/cvae", "plain", "-o", "x.png"], "plain has the classes none"),
    "a CVAE without classes": (["train", "plain", *QUICK, "--model", "CVAE"], "no labels to take as conditions"),
    "an unknown class": (
        ["train", "digits", "--classes", "3,three"],
        "class 'three' does not exist. Choose one of: 0,",
    ),
    "an unknown class to score": (["score", "runs/vae", "digits", "--classes", "ten"], "Choose one of: 0, 1"),
    "an unknown class to draw": (["sample", "runs/cvae", "--classes", "ten", "-o", "x.npy"], "Choose one of: 0, 1"),
    "classes of a model without": (["sample", "runs/vae", "--classes", "3", "-o", "x.npy"], "Leave it out"),
    "classes of images without": (["train", "plain", "--classes", "a"], "no labels to choose classes by"),
    "an empty class": (["train", "digits", "--classes", "3,,5"], "single commas"),
    "an unknown part": (["score", "runs/vae", "digits", "--part", "validation"], "is not one of 'train', 'test'"),
    "too few to hold any back": (["train", "tall", *QUICK], "tall has 3 images"),
    "an unknown model": (["train", "digits", "--model", "GAN"], "'AE', 'DAE', 'VAE', 'B-VAE', 'CVAE'"),
    "a model in small letters": (["train", "digits", "--model", "b-vae"], "'B-VAE'"),
    "an unknown body": (["train", "digits", "--body", "cnn"], "'rnn', 'mlp', 'conv'"),
    "an unknown likelihood": (["train", "digits", "--likelihood", "mse"], "is not one of"),
    "an unknown score": (["train", "digits", "--score", "energy"], "'nll', 'negative_elbo', 'squared_error'"),
    "an unknown binarisation": (["train", "digits", "--binarise", "yes"], "'off', 'threshold', 'dynamic'"),
    "a window of images": (["train", "digits", "--window", "16"], "No such option '--window'"),
    "calibration of images": (["train", "digits", "--calibration", "0.2"], "No such option '--calibration'"),
    "an option of another body": (["train", "digits", "--conv-channels", "8,16"], "--body mlp contradict each other"),
    "units of another body": (["train", "digits", "--hidden", "16"], "--hidden and --body mlp contradict each other"),
    "a list of other bodies": ([*CONV, "--mlp-hidden", "8"], "--mlp-hidden and --body conv contradict each other"),
    "lists of unequal length": ([*CONV, "--conv-channels", "8,16,32"], "got 3 channels, 2 kernel_sizes"),
    "a kernel too large": ([*CONV, "--conv-kernel-sizes", "11,4"], "kernel of 11 × 11, and 8 × 8 enters it"),
    "strides too large": ([*CONV, "--conv-strides", "9,2"], "layer 2 has a kernel of 4 × 4, and 1 × 1 enters it"),
    "a stride of nothing": ([*CONV, "--conv-strides", "0,2"], "at least 1"),
    "a size in words": ([*CONV, "--conv-channels", "eight"], "Write them as 32,64 or as [(7, 7), (5, 5)]"),
    "half a size": ([*CONV, "--conv-channels", "8.5,4"], "Write them as 32,64"),
    "sizes of three": ([*CONV, "--conv-kernel-sizes", "(3,3,3),4"], "Write them as 32,64"),
    "no size": ([*CONV, "--conv-channels", ""], "Write them as 32,64"),
    "code for a size": ([*CONV, "--conv-channels", "__import__('os').getpid()"], "Write them as 32,64"),
    "a layer of nothing": (["train", "digits", "--mlp-hidden", "16,0"], "at least 1"),
    "no latent": (["train", "digits", "--latent", "0"], "x>=1"),
    "no epochs": (["train", "digits", "--epochs", "0"], "x>=1"),
    "everything held back": (["train", "digits", "--validation", "1"], "0<=x<1"),
    "a prior without classes": (["train", "digits", "--prior", "conditional"], "Use the model CVAE"),
    "levels of binary pixels": (
        ["train", "digits", "--likelihood", "discretized_logistic", "--binarise", "dynamic"],
        "Use --likelihood bernoulli",
    ),
    "importance weights and beta": (["train", "digits", "--model", "B-VAE", "--importance-samples", "5"], "beta at 1"),
    "importance weights of an AE": (["train", "digits", "--model", "AE", "--importance-samples", "5"], "no posterior"),
    "everything masked": (["train", "digits", "--model", "DAE", "--noise-level", "1"], "less than everything"),
    "an absent GPU": (["score", "runs/vae", "digits", "--device", "cuda:99"], "--device cpu"),
    "an unknown device": (["train", "digits", *QUICK, "--device", "tpu"], "auto, cpu, cuda"),
    "a run where one is": (["train", "digits", *QUICK, "-o", "runs/vae"], "--overwrite"),
    "a run where a file is": (["train", "digits", *QUICK, "-o", "pump.csv"], "it is a file"),
    "a run below a file": (["train", "digits", *QUICK, "-o", "pump.csv/run"], "is a file"),
    "resume without a folder": (["train", "digits", "--resume"], "Name it with -o"),
    "resume of nothing": (["train", "digits", "--resume", "-o", "empty"], "holds no run to resume"),
    "resume and overwrite": (["train", "digits", "--resume", "--overwrite", "-o", "runs/vae"], "Give one of them"),
    "resume of another network": (["train", "digits", "--resume", "-o", "runs/vae", "--latent", "4"], "was 3, is 4"),
    "resume of other images": (["train", "photos", "--resume", "-o", "runs/vae"], "data was"),
    "resume of a series": (["train", "digits", "--resume", "-o", "runs/series"], "config.toml"),
    "no model": (["score", "nothing", "digits"], "nothing"),
    "a folder without a model": (["score", "photos", "digits"], "photos/model.safetensors"),
    "a picture as a model": (["score", "plain/00.png", "digits"], "no safetensors file"),
    "a resume file as a model": (["score", "runs/vae/last.safetensors", "digits"], "last.safetensors"),
    "scores in no folder": (["score", "runs/vae", "digits", "-o", "no/s.csv"], "Make it first"),
    "scores where a folder is": (["score", "runs/vae", "digits", "-o", "empty"], "Give a file name"),
    "codes over the model": (
        ["encode", "runs/vae/model.safetensors", "digits", "-o", "runs/vae/model.safetensors"],
        "would destroy",
    ),
    "an array of no name": (["reconstruct", "runs/vae", "digits"], "--output"),
    "an array as a picture": (["reconstruct", "runs/vae", "digits", "-o", "x.png"], "ends with .npy"),
    "an array as a table": (["sample", "runs/vae", "-o", "x.csv"], "ends with .npy"),
    "samples of an AE": (["sample", "runs/ae", "-o", "x.npy"], "nothing can be sampled"),
    "no samples": (["sample", "runs/vae", "-n", "0", "-o", "x.npy"], "x>=1"),
    "data for samples": (["sample", "runs/vae", "digits", "-o", "x.npy"], "unexpected extra argument"),
    "a picture of no name": (["plot", "runs/vae", "digits"], "--output"),
    "a picture of no format": (["plot", "runs/vae", "digits", "-o", "x.jpeg"], ".png, .svg, .pdf, .gif"),
    "a picture of nothing": (["plot", "runs/vae", "digits", "--what", "magic", "-o", "x.png"], "'reconstructions'"),
    "a latent space that moves": (
        ["plot", "runs/vae", "digits", "--what", "latent", "-o", "x.gif"],
        "interpolation or",
    ),
    "a plane of three": (["plot", "runs/vae", "digits", "--what", "plane", "-o", "x.png"], "this model has 3"),
    "samples of an AE, drawn": (["plot", "runs/ae", "--what", "samples", "-o", "x.png"], "nothing can be sampled"),
    "an image beyond": (["plot", "runs/vae", "digits", "--images", "3,360", "-o", "x.png"], "there is no 360"),
    "an image before": (["plot", "runs/vae", "digits", "--images=-1", "-o", "x.png"], "counted from 0"),
    "images by semicolons": (["plot", "runs/vae", "digits", "--images", "3;8", "-o", "x.png"], "Write them as 3,8"),
    "images in words": (["plot", "runs/vae", "digits", "--images", "three", "-o", "x.png"], "Write them as 3,8"),
    "one image to go from": (
        ["plot", "runs/vae", "digits", "--what", "interpolation", "--images", "3", "-o", "x.gif"],
        "Name two of them",
    ),
    "too many images": (["plot", "runs/vae", "digits", "-n", "101", "-o", "x.png"], "1<=x<=100"),
    "a model of series to interpolate": (
        ["plot", "runs/series", "pump.csv", "--images", "3", "-o", "x.png"],
        "--images",
    ),
    "settings that are not there": (["train", "--config", "no.ini"], "there is no settings file no.ini"),
    "more layers than lists": (["train", "--config", "more-layers.ini"], "conv_layers = 4, and conv_channels has 3"),
    "fewer channels than layers": (
        ["train", "--config", "fewer-channels.ini"],
        "conv_layers = 3, and conv_channels has 2",
    ),
    "lists of unequal length in a file": (["train", "--config", "lists.ini"], "got 2 channels, 3 kernel_sizes"),
    "a kernel too large in a file": (["train", "--config", "kernel.ini"], "kernel of 17 × 17"),
    "an unknown key": (
        ["train", "--config", "key.ini"],
        "unknown key 'epoch' in [hyperparameters]. It may have: epochs,",
    ),
    "an unknown section": (["train", "--config", "section.ini"], "section [network]. It may have: configuration,"),
    "an unknown option in a file": (["train", "--config", "option.ini"], "unknown key 'speed'"),
    "epochs in words": (["train", "--config", "words.ini"], "'many' is not a valid whole number"),
    "sizes in words": (["train", "--config", "numberless.ini"], "Write them as 32,64"),
    "a key that is there twice": (["train", "--config", "twice.ini"], "twice.ini is not INI"),
    "a path without the set": (["train", "--config", "path.ini"], "anywhere"),
    "settings without a section": (["train", "--config", "bare.ini"], "bare.ini is not INI"),
    "a section left open": (["train", "digits", "--config", "open.ini"], "open.ini is not INI"),
    "settings in a language of one's own": (["train", "digits", "--config", "neither.txt"], "is not TOML"),
    "a list of words": (["train", "--config", "bare.toml"], "Write them as 32,64"),
    "a table of another name": (
        ["train", "--config", "nested.toml"],
        "section [training]. It may have: configuration,",
    ),
    "a key that is nearly one": (["train", "--config", "typo.toml"], "Did you mean 'epochs'?"),
    "a data set mistyped in a file": (
        ["train", "--config", "typo.ini"],
        "MINST is no folder of pictures, and no set. Name a",
    ),
    "no data set in a file": (["train", "--config", "nameless.ini"], "in a settings file as dataset"),
    "layers without their lists": (
        ["train", "--config", "layers.ini"],
        "conv_layers = 5, and conv_channels is not there",
    ),
    "sizes in words beside their number": (["train", "--config", "six.ini"], "six.ini: conv_channels = [4,six,8]"),
    "a mistake beside an unused beta": (["train", "--config", "two-lines.ini"], "kernel of 17 × 17"),
    "a number for a section": (["train", "--config", "table.toml"], "Write [architecture]"),
    "a list that is left open": ([*CONV, "--conv-channels", "[8,16"], "Write them as 32,64"),
    "one pair for two layers": ([*CONV, "--conv-kernel-sizes", "[[4,4]]"], "2 channels, 1 kernel_sizes"),
    "channels in pairs": ([*CONV, "--conv-channels", "(8,8),(4,4)"], "whole number"),
    "resume without naming the images": (["train", "--resume", "-o", "runs/vae", "--latent", "4"], "was 3, is 4"),
    "images for a model of series": (["score", "runs/series", "digits"], "tables of series are wanted"),
    "pictures for a model of series": (["score", "runs/series", "photos"], "tables of series are wanted"),
    "images to detect": (["detect", "digits"], "tables of series are wanted"),
    "an odd number of images to pair": (
        ["plot", "runs/vae", "digits", "--what", "interpolation", "--images", "3,8,9", "-o", "x.png"],
        "got 3",
    ),
    "scores over the model of a run": (["score", "runs/vae", "digits", "-o", "runs/vae/model.safetensors"], "destroy"),
}


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(program: Program, arguments: list[str], said: str) -> None:
    folder = program.folder
    before, folders = listing(folder), {path for path in folder.rglob("*") if path.is_dir()}
    try:
        assert program(*arguments, code=2) == ""
        err = program.stderr
        assert err.startswith("seqae: error: ")
        assert err.endswith((".\n", "?\n", "--data-dir.\n"))
        assert err.count("\n") == 1
        assert said in err
        assert listing(folder) == before
        assert {path for path in folder.rglob("*") if path.is_dir()} == folders
    finally:  # where something was written after all, the next one finds the folder as it was
        for name, content in before.items():
            if (folder / name).read_bytes() != content:
                (folder / name).write_bytes(content)
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_dir() and path not in folders:
                path.rmdir()
            elif path.is_file() and str(path.relative_to(folder)) not in before:
                path.unlink()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistake_is_refused_in_one_line_with_a_cure(name, program):
    arguments, said = COMMANDS[name]
    if arguments[0] in ("train", "detect") and "-o" not in arguments and "without a folder" not in name:
        arguments = [*arguments, "-o", "out"]
    assert_refused(program, arguments, said)


def test_there_are_enough_of_them():
    assert len(COMMANDS) > 90


# ---- what once went wrong ----


def test_a_table_from_a_pipe_is_read_from_its_beginning(program):
    expected = program("score", "runs/series", "pump.csv")
    read, write = os.pipe()
    content = (program.folder / "pump.csv").read_bytes()
    assert len(content) < 65536  # what a pipe holds before its writer waits
    os.write(write, content)
    os.close(write)
    try:
        assert program("score", "runs/series", f"/dev/fd/{read}") == expected
    finally:
        os.close(read)


def test_a_run_is_resumed_without_naming_its_images_again(fresh):
    fresh("train", "digits", *QUICK, "-o", "run")
    fresh("train", "-o", "run", "--resume", "--epochs", "3")
    fresh("train", "digits", *QUICK, "--epochs", "3", "-o", "whole")
    assert same(fresh.weights("run"), fresh.weights("whole"))


def test_a_cvae_draws_the_classes_that_it_was_trained_on(fresh):
    fresh("train", "digits", *QUICK, "--model", "CVAE", "--classes", "3,5", "-o", "run")
    fresh("sample", "run", "-n", "2", "-o", "new.npy")
    model = ImageModel.load(fresh.folder / "run/model.safetensors")
    expected = np.rint(255 * model.sample(4, labels=np.array([3, 3, 5, 5]))).astype(np.uint8)
    np.testing.assert_array_equal(np.load(fresh.folder / "new.npy"), expected)


def test_a_run_too_short_for_one_epoch_says_so(fresh):
    fresh("train", "digits", *QUICK, "--max-time", "0.000001", "-o", "run")
    assert "0 in 0 s (stopped by --max-time)" in fresh.stderr
    assert "not one epoch was completed" in fresh.stderr


@pytest.mark.parametrize("images", ["[8, 3]", '"8,3"'])
def test_numbers_of_images_in_a_settings_file_are_a_list_or_text(images, program, monkeypatch):
    seen = []
    monkeypatch.setitem(GALLERY, "interpolation", lambda model, look: seen.append(look) or Figure())
    (program.folder / "listed.toml").write_text(f'what = "interpolation"\nimages = {images}\n')
    program("plot", "runs/vae", "digits", "--config", "listed.toml", "-o", "listed.png")
    assert seen[0].chosen == (8, 3)


def test_a_folder_of_tables_may_be_called_as_a_set_is(fresh):
    (fresh.folder / "mnist").mkdir()
    for name in "ab":
        pump().to_csv(fresh.folder / f"mnist/{name}.csv", index=False)
    fresh("train", "./mnist", *SERIES, "-q", "-o", "run")
    expected = fresh("score", "run", "./mnist")
    assert fresh("score", "run", "mnist") == expected
