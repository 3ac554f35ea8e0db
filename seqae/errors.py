"""Everything that seqae raises on purpose.

    SeqaeError
    ├── UserError              what was given cannot be used; the CLI exits with 2 (also a ValueError)
    │   ├── DataError          the data: unreadable, empty, too short, other channels than the model knows
    │   │   └── TimeAxisError  the time axis: unsorted, duplicated, irregular, unreadable stamps
    │   ├── OptionError        an option that does not exist, or two that contradict each other
    │   ├── ModelFileError     not a seqae model file, truncated, or of another format version
    │   └── NotFittedError     asked for before fit() or calibrate()
    └── TrainingError          training itself failed; the CLI exits with 1

Every message is one line: what it got, what it needs, the cure.
"""

from __future__ import annotations

__all__ = [
    "DataError",
    "ModelFileError",
    "NotFittedError",
    "OptionError",
    "SeqaeError",
    "SeqaeWarning",
    "TimeAxisError",
    "TrainingError",
    "UserError",
    "choose",
]

from collections.abc import Mapping
from typing import TypeVar

V = TypeVar("V")


class SeqaeError(Exception):
    """Anything that seqae raises on purpose."""

    exit_code = 1


class UserError(SeqaeError, ValueError):
    """What was given cannot be used."""

    exit_code = 2


class DataError(UserError):
    """The data cannot be used: unreadable, empty, too short, or with other channels."""


class TimeAxisError(DataError):
    """The time axis is unsorted, duplicated, irregular or unreadable."""


class OptionError(UserError):
    """An option does not exist, or two contradict each other."""


class ModelFileError(UserError):
    """A file is no seqae model, is truncated, or has another format version."""


class NotFittedError(UserError):
    """Something was asked for before fit() or calibrate() made it."""


class TrainingError(SeqaeError):
    """Training failed: the loss did not stay finite, or memory ran out."""


class SeqaeWarning(UserWarning):
    """Something worth knowing that does not stop the work."""


def choose(menu: Mapping[str, V], name: str, what: str) -> V:
    """Return `menu[name]`; raise OptionError that lists the menu where the name is unknown."""
    if isinstance(name, str) and name in menu:
        return menu[name]
    raise OptionError(f"{what} {name!r} does not exist. Choose one of: {', '.join(menu)}.")
