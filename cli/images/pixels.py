"""Arrays of pixels as files."""

from __future__ import annotations

__all__ = ["check_array", "write_array"]

from pathlib import Path
from typing import Any

import numpy as np

from seqae.cli.output import check_output, replaced
from seqae.errors import OptionError


def check_array(output: Path, *inputs: Path) -> None:
    """Refuse a file that could not be written, before the long work."""
    check_output(output, *inputs)
    if output.suffix.lower() != ".npy":
        raise OptionError(
            f"{output} is no array of pixels. Give a name that ends with .npy; seqae plot draws pictures."
        )


def write_array(images: np.ndarray[Any, Any], output: Path) -> None:
    """Write images (N, H, W, K) in [0, 1] as uint8 pixels."""
    with replaced(output) as part, part.open("wb") as file:
        np.save(file, np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8), allow_pickle=False)
