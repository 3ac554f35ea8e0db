"""Training: the one loop, and what it is scheduled, stopped, tracked, saved and resumed with."""

from seqae.training.checkpoints import load_model, read_safetensors, save_model, write_safetensors
from seqae.training.devices import resolve_device
from seqae.training.loop import fit
from seqae.training.tracking import History, JsonLines, Progress, TensorBoard, Tracker

__all__ = [
    "History",
    "JsonLines",
    "Progress",
    "TensorBoard",
    "Tracker",
    "fit",
    "load_model",
    "read_safetensors",
    "resolve_device",
    "save_model",
    "write_safetensors",
]
