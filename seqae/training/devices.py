"""Everything about devices: which one, how precise, and the random numbers that live on it."""

from __future__ import annotations

__all__ = [
    "PRECISIONS",
    "STREAMS",
    "autocast",
    "device_name",
    "fork_seed",
    "generator",
    "resolve_device",
    "resolve_precision",
]

import contextlib
from contextlib import AbstractContextManager

import numpy as np
import torch

from seqae.errors import OptionError, choose

STREAMS = {"shuffle": 0, "noise": 1, "validation": 2}
"""What one seed drives: the order of the windows, training's draws, validation's draws. Numbers must not change."""


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device that a name means: "auto" (a CUDA GPU where there is one, otherwise the CPU), "cpu", "cuda",
    "cuda:1", "mps".

    "auto" never takes Apple's GPU: small recurrent models are slower on it, and it has no float64. Raises OptionError
    where the name is unknown or the device is not there.
    """
    if device == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise OptionError(f"device {device!r} does not exist. Use auto, cpu, cuda, cuda:1 or mps.") from error
    check = choose({"cpu": _check_cpu, "cuda": _check_cuda, "mps": _check_mps}, found.type, "device")
    return check(found)


def _check_cpu(device: torch.device) -> torch.device:
    return torch.device("cpu")


def _check_cuda(device: torch.device) -> torch.device:
    if not torch.cuda.is_available():
        build = "is built without CUDA" if torch.version.cuda is None else "finds no CUDA GPU"
        raise OptionError(
            f"device '{device}' is not there: PyTorch {torch.__version__} {build}. Use --device cpu or auto."
        )
    count = torch.cuda.device_count()
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= count:
        raise OptionError(
            f"device '{device}' is not there: there are {count}, cuda:0 to cuda:{count - 1}. Use one of them."
        )
    return torch.device("cuda", index)


def _check_mps(device: torch.device) -> torch.device:
    if not torch.backends.mps.is_available():
        raise OptionError("device 'mps' is not there: it needs an Apple GPU. Use --device cpu or auto.")
    return torch.device("mps")


def device_name(device: torch.device) -> str:
    """Return what a device is called, for people."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def _auto_precision(device: torch.device) -> torch.dtype:
    supported = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if supported else torch.float32


def _bfloat16(device: torch.device) -> torch.dtype:
    if _auto_precision(device) is not torch.bfloat16:
        raise OptionError(
            f"precision bfloat16 needs a CUDA GPU that computes in it; {device_name(device)} would be slower and less "
            "exact. Use precision auto or float32."
        )
    return torch.bfloat16


PRECISIONS = {"auto": _auto_precision, "float32": lambda device: torch.float32, "bfloat16": _bfloat16}
"""What matrix products are computed in: functions of the device. Weights and the loss stay in float32."""


def resolve_precision(device: torch.device, precision: str = "auto") -> torch.dtype:
    """Return the type that a precision's name means on a device: "auto" is bfloat16 on CUDA GPUs that compute in it.

    Raises OptionError for bfloat16 where it would only cost: on CPUs, Apple's GPU, and CUDA GPUs before Ampere.
    """
    return choose(PRECISIONS, precision, "precision")(device)


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager[object]:
    """Return a context in which matrix products are computed in `resolve_precision(device, precision)`."""
    dtype = resolve_precision(device, precision)
    return contextlib.nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype)


def fork_seed(seed: int, stream: str) -> int:
    """Return a seed of its own for one of STREAMS: streams of one seed, and of neighbouring seeds, are unrelated."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise OptionError(f"seed must be a whole number from 0; got {seed!r}.")
    sequence = np.random.SeedSequence(int(seed), spawn_key=(choose(STREAMS, stream, "random stream"),))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed: int, stream: str, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a generator on a device for one of STREAMS; PyTorch's global one is left alone."""
    return torch.Generator(device).manual_seed(fork_seed(seed, stream))
