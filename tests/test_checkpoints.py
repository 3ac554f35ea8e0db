"""Files: bit-exact round trips, writes that never leave half a file, and what cannot be read."""

from __future__ import annotations

import json
import os
import stat
import struct

import pytest
import safetensors.torch
import torch
from torch import nn

from seqae.errors import ModelFileError, OptionError
from seqae.models import AE, CVAE, VAE
from seqae.training import checkpoints
from seqae.training.checkpoints import (
    TrainingState,
    load_model,
    read_safetensors,
    restore_model,
    save_model,
    write_safetensors,
)

CONTENT = {"a": torch.arange(6, dtype=torch.float64).reshape(2, 3) / 7, "b": torch.tensor([True, False])}


def same_bits(left, right):
    """Whether two dicts of tensors are the same, NaN payloads and signs of zero included."""
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and left[name]
        .contiguous()
        .view(-1)
        .view(torch.uint8)
        .equal(right[name].contiguous().view(-1).view(torch.uint8))
        for name in left
    )


# Round trips


def test_tensors_come_back_bit_for_bit(tmp_path):
    shared = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    tensors = {
        **{
            str(dtype): torch.tensor([0, 1, 2, 200], dtype=torch.float32).to(dtype)
            for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
        },
        "odd": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
        "scalar": torch.tensor(0.1),
        "empty": torch.zeros(0, 3),
        "shared": shared,
        "tied": shared,
        "slice": shared[1:3, ::2],
        "transposed": shared.T,
        "learned": nn.Parameter(shared.clone()),
    }
    write_safetensors(tmp_path / "x.safetensors", tensors, {})
    found, _ = read_safetensors(tmp_path / "x.safetensors")
    assert same_bits(found, {name: tensor.detach() for name, tensor in tensors.items()})


def test_documents_come_back_exactly(tmp_path):
    document = {
        "float": 0.1 + 0.2,
        "tiny": 5e-324,
        "big": 2**80,
        "text": "σ [nats] 温度\n",
        "nested": [{"a": None}, True],
    }
    write_safetensors(tmp_path / "x", CONTENT, document)
    assert read_safetensors(str(tmp_path / "x"))[1] == {**document, "format_version": checkpoints.FORMAT_VERSION}


def test_other_tools_can_read_the_file(tmp_path):
    write_safetensors(tmp_path / "x", CONTENT, {"kind": "test"})
    assert same_bits(safetensors.torch.load_file(tmp_path / "x"), CONTENT)
    size = struct.unpack("<Q", (tmp_path / "x").read_bytes()[:8])[0]
    header = json.loads((tmp_path / "x").read_bytes()[8 : 8 + size])
    assert json.loads(header["__metadata__"]["seqae"])["kind"] == "test"


def test_the_same_content_is_the_same_file(tmp_path):
    for name in ("x", "y"):
        write_safetensors(tmp_path / name, {**CONTENT, "c": torch.ones(3)}, {"kind": "test", "list": [1, 2]})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_what_was_read_does_not_hang_on_the_file(tmp_path):
    write_safetensors(tmp_path / "x", CONTENT, {})
    found, _ = read_safetensors(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"\xff" * (tmp_path / "x").stat().st_size)
    assert same_bits(found, CONTENT)


# Writing


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    target = tmp_path / "x.safetensors"
    write_safetensors(target, CONTENT, {"kind": "old"})
    before = target.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OptionError, match="No space left on device"):
        write_safetensors(target, CONTENT, {"kind": "new"})
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_a_write_is_synced_before_and_after_the_rename(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(source, target):
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr("pathlib.Path.replace", renamed)
    write_safetensors(tmp_path / "x", CONTENT, {})
    assert calls == ["file", "rename", "folder"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_the_files_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    write_safetensors(tmp_path / "x", CONTENT, {})
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, torch.ones(1)])
def test_what_is_no_json_is_not_written(tmp_path, value):
    with pytest.raises((TypeError, ValueError)):
        write_safetensors(tmp_path / "x", CONTENT, {"value": value})
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written_to(tmp_path):
    with pytest.raises(OptionError, match="is a folder"):
        write_safetensors(tmp_path, CONTENT, {})
    with pytest.raises(OptionError, match=r"no folder .*missing"):
        write_safetensors(tmp_path / "missing" / "x", CONTENT, {})


# Reading


def written(tmp_path, metadata):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors.torch.save(CONTENT, metadata))
    return path


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 60, -1])
def test_truncated_files(tmp_path, size):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, CONTENT, {"kind": "test"})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelFileError, match=r"x\.safetensors is no safetensors file, or was cut off") as caught:
        read_safetensors(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"time,value\n0,1\n" * 50, b"\x80\x04\x95" + b"pickled" * 20, b"PK\x03\x04" + bytes(99)]
)
def test_files_of_another_kind(tmp_path, content):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"x\.csv is no safetensors file"):
        read_safetensors(tmp_path / "x.csv")


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"seqae": "not json"},
        {"seqae": "[1, 2]"},
        {"seqae": "{}"},
        {"seqae": '{"format_version": "one"}'},
        {"seqae": '{"format_version": null}'},
    ],
)
def test_safetensors_of_others(tmp_path, metadata):
    with pytest.raises(ModelFileError, match=r"x\.safetensors was not written by seqae"):
        read_safetensors(written(tmp_path, metadata))


def test_newer_formats(tmp_path):
    newer = json.dumps({"format_version": checkpoints.FORMAT_VERSION + 1})
    with pytest.raises(ModelFileError, match=r"format version 2; this seqae reads up to 1\. Upgrade"):
        read_safetensors(written(tmp_path, {"seqae": newer}))


def test_paths_without_a_file(tmp_path):
    with pytest.raises(ModelFileError, match=r"there is no file .*nothing"):
        read_safetensors(tmp_path / "nothing")
    with pytest.raises(ModelFileError, match="is a folder"):
        read_safetensors(tmp_path)


# Models


def vae(**changes):
    torch.manual_seed(3)
    return VAE(**{"channels": 2, "latent": 3, "hidden": 5, "cell": "lstm", **changes}).eval()


@pytest.mark.parametrize(
    "model",
    [
        lambda: vae(),
        lambda: vae(likelihood="student_t", decoder_type="output_as_input", feedback="output", layers=2),
        lambda: AE(channels=2, latent=2, hidden=4, bidirectional=True).eval(),
        lambda: CVAE(channels=2, condition=3, latent=2, hidden=4, prior="conditional").eval(),
    ],
)
def test_a_loaded_model_computes_the_same(tmp_path, model):
    model = model()
    save_model(model, tmp_path / "model.safetensors")
    before = torch.random.get_rng_state()
    loaded = load_model(tmp_path / "model.safetensors")
    assert torch.equal(before, torch.random.get_rng_state())
    assert not loaded.training
    assert loaded.recipe == model.recipe
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 7, 2, generator=generator)
    condition = torch.randn(4, 7, 3, generator=generator) if model.condition else None
    assert torch.equal(loaded.encode(x, condition=condition), model.encode(x, condition=condition))
    assert torch.equal(loaded.reconstruct(x, condition=condition), model.reconstruct(x, condition=condition))


def test_a_model_file_holds_what_its_owner_adds(tmp_path):
    scores = {"calibration.scores": torch.rand(9)}
    save_model(vae(), tmp_path / "x", tensors=scores, kind="detector", scaler={"centre": [0.5]})
    tensors, document = read_safetensors(tmp_path / "x")
    assert document["kind"] == "detector"
    assert document["scaler"] == {"centre": [0.5]}
    assert document["versions"]["torch"] == torch.__version__
    assert torch.equal(tensors["calibration.scores"], scores["calibration.scores"])
    assert same_bits(dict(restore_model(tensors, document).state_dict()), dict(vae().state_dict()))


def test_a_model_with_a_part_of_ones_own_is_not_saved(tmp_path):
    with pytest.raises(OptionError, match="Linear has no recipe"):
        save_model(nn.Linear(1, 1), tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"kind": "training state"}, "is a training state without a model"),
        ({"recipe": {"builder": "GAN", "arguments": vae().recipe["arguments"]}}, "'GAN' does not exist"),
        ({"recipe": {"builder": "VAE"}}, "KeyError"),
        ({"recipe": {"builder": "VAE", "arguments": {**vae().recipe["arguments"], "hidden": 6}}}, "do not fit"),
        ({"recipe": {"builder": "VAE", "arguments": {**vae().recipe["arguments"], "colour": 6}}}, "TypeError"),
    ],
)
def test_documents_that_describe_no_model(tmp_path, document, message):
    weights = {f"model.{name}": tensor for name, tensor in vae().state_dict().items()}
    write_safetensors(tmp_path / "x", weights, document)
    with pytest.raises(ModelFileError, match=message) as caught:
        load_model(tmp_path / "x")
    assert "\n" not in str(caught.value)


def test_missing_weights_are_noticed(tmp_path):
    save_model(vae(), tmp_path / "x")
    tensors, document = read_safetensors(tmp_path / "x")
    tensors.popitem()
    write_safetensors(tmp_path / "x", tensors, document)
    with pytest.raises(ModelFileError, match="do not fit"):
        load_model(tmp_path / "x")


# The state of a run


def state(optimizer=torch.optim.Adam):
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    return TrainingState(model, optimizer(model.parameters()), {"noise": torch.Generator().manual_seed(2)})


def advance(run, steps=3):
    for _ in range(steps):
        run.optimizer.zero_grad()
        run.model(torch.randn(8, 3, generator=run.generators["noise"])).square().mean().backward()
        run.optimizer.step()
    return run.weights()


@pytest.mark.parametrize("fused", [False, True])
def test_a_restored_state_goes_on_as_the_first_did(fused):
    run = state(lambda weights: torch.optim.Adam(weights, fused=fused, amsgrad=True))
    advance(run)
    captured = run.capture()
    first = advance(run)
    for _ in range(2):  # what was restored is trained on; the capture must not be
        run.restore(*captured)
        assert same_bits(advance(run), first)


def test_a_state_without_a_step_goes_back_to_no_moments():
    run = state()
    captured = run.capture()
    first = advance(run)
    run.restore(*captured)
    assert run.optimizer.state_dict()["state"] == {}
    assert same_bits(advance(run), first)


def test_a_kept_state_goes_on_in_another_process(tmp_path):
    run, path = state(), tmp_path / "new" / "last.safetensors"
    run.keep(path, {"seed": 0}, resume=False)
    advance(run)
    run.add({"epoch": 1, "train_total": 0.1, "validation_total": 0.3}, 1.5)
    best = advance(run)
    run.add({"epoch": 2, "train_total": 0.1, "validation_total": 0.1 + 0.2 - 0.1}, 2.5)
    advance(run)
    run.rate_factor = 0.25
    run.add({"epoch": 3, "train_total": 0.1, "validation_total": 0.25}, 1 / 3)

    other = state()
    advance(other, steps=1)
    other.keep(path, {"seed": 0}, resume=True)
    assert same_bits(other.best, best)
    assert (other.epoch, other.history, other.rate_factor, other.seconds) == (3, run.history, 0.25, 1 / 3)
    assert same_bits(advance(other), advance(run))


def test_another_run_is_not_gone_on_with(tmp_path):
    run, path = state(), tmp_path / "last.safetensors"
    run.keep(
        path, {"seed": 0, "objective": {"Objective": {"beta": 1.0}}, "clip": None, "model": "x" * 99}, resume=False
    )
    run.add({"epoch": 1, "train_total": 1.0}, 1.0)
    changed = {"seed": 0, "objective": {"Objective": {"beta": 0.5}}, "model": "y" * 99, "new": 1}
    with pytest.raises(OptionError) as caught:
        state().keep(path, changed, resume=True)
    for expected in (
        "objective.Objective.beta was 1.0, is 0.5",
        'model was "xxx',
        "new was null, is 1",
        "without --resume",
    ):
        assert expected in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_resume_files_that_are_none(tmp_path):
    with pytest.raises(OptionError, match="nothing to resume"):
        state().keep(tmp_path / "last.safetensors", {}, resume=True)
    save_model(vae(), tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match="no resume file but a model"):
        state().keep(tmp_path / "model.safetensors", {}, resume=True)
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="cannot make the folder"):
        state().keep(tmp_path / "file" / "last.safetensors", {}, resume=False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_travels_between_devices(tmp_path):
    model = vae().to("cuda")
    save_model(model, tmp_path / "x")
    assert same_bits(dict(load_model(tmp_path / "x").state_dict()), dict(vae().state_dict()))
    assert next(load_model(tmp_path / "x", device="cuda").parameters()).device.type == "cuda"
