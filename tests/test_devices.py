"""Devices, precisions and seeds: what a name means, and what is refused where."""

from __future__ import annotations

import contextlib

import pytest
import torch

from seqae.errors import OptionError
from seqae.training import devices

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_cpu_by_name_and_by_object():
    assert devices.resolve_device("cpu") == devices.resolve_device(torch.device("cpu")) == torch.device("cpu")


def test_auto_takes_cuda_only_where_it_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert devices.resolve_device("auto") == torch.device("cuda", 1)


def test_cuda_devices_are_counted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.resolve_device("cuda") == torch.device("cuda", 0)
    assert devices.resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(OptionError, match=r"cuda:2.*cuda:0 to cuda:1"):
        devices.resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "meta"])
def test_unknown_devices_are_refused(name):
    with pytest.raises(OptionError, match="does not exist"):
        devices.resolve_device(name)


def test_absent_devices_are_refused_with_the_cure(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:1", "mps"):
        with pytest.raises(OptionError, match=rf"{name}.*--device cpu"):
            devices.resolve_device(name)


def test_float32_and_auto_leave_the_cpu_exact():
    a = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    for precision in ("auto", "float32"):
        assert devices.resolve_precision(torch.device("cpu"), precision) is torch.float32
        with devices.autocast(torch.device("cpu"), precision):
            assert torch.equal(a @ a, torch.mm(a, a))
            assert (a @ a).dtype is torch.float32


def test_auto_is_bfloat16_on_gpus_that_have_it(monkeypatch):
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert devices.resolve_precision(gpu) is devices.resolve_precision(gpu, "bfloat16") is torch.bfloat16
    assert devices.resolve_precision(gpu, "float32") is torch.float32
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert devices.resolve_precision(gpu) is torch.float32


def test_bfloat16_is_refused_where_it_only_costs():
    with pytest.raises(OptionError, match="bfloat16 needs a CUDA GPU"):
        devices.autocast(torch.device("cpu"), "bfloat16")
    with pytest.raises(OptionError, match=r"'half' does not exist.*auto, float32, bfloat16"):
        devices.autocast(torch.device("cpu"), "half")


def test_streams_and_seeds_are_unrelated():
    draws = {
        (seed, stream): torch.randn(2000, generator=devices.generator(seed, stream))
        for seed in (0, 1, 2)
        for stream in devices.STREAMS
    }
    together = torch.stack(list(draws.values()))
    off_diagonal = torch.corrcoef(together) - torch.eye(len(together))
    assert off_diagonal.abs().max() < 5 / 2000**0.5


def test_seeds_stay_what_they_are():
    # Golden: another number would silently change every result that somebody reproduces.
    assert devices.fork_seed(0, "shuffle") == 4334430513956379144
    assert devices.fork_seed(12345, "noise") == 770740658761493587


def test_generators_leave_the_global_one_alone():
    before = torch.random.get_rng_state()
    torch.rand(3, generator=devices.generator(7, "noise"))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("seed", [-1, 1.5, None, "a"])
def test_seeds_that_are_none_are_refused(seed):
    with pytest.raises(OptionError, match="whole number"):
        devices.fork_seed(seed, "noise")


def test_unknown_streams_are_refused():
    with pytest.raises(OptionError, match="shuffle, noise, validation"):
        devices.fork_seed(0, "dropout")


def test_names_are_for_people():
    assert devices.device_name(torch.device("cpu")) == f"cpu ({torch.get_num_threads()} threads)"


@pytest.mark.gpu
@needs_cuda
def test_cuda_has_a_name_a_generator_and_bfloat16():
    device = devices.resolve_device("auto")
    assert torch.cuda.get_device_name(device) in devices.device_name(device)
    assert torch.rand(3, device=device, generator=devices.generator(0, "noise", device)).device == device
    a = torch.randn(8, 8, device=device)
    supported = torch.cuda.is_bf16_supported(including_emulation=False)
    with contextlib.ExitStack() as stack:
        stack.enter_context(devices.autocast(device, "auto"))
        assert (a @ a).dtype is (torch.bfloat16 if supported else torch.float32)
