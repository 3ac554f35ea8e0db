"""The folder that a fleet is kept in: an index, and model files whose names suit any system."""

from __future__ import annotations

__all__ = ["INDEX", "MODELS", "file_stems", "holds_fleet", "listed", "member_file", "read_index", "write_index"]

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from seqae.errors import ModelFileError, OptionError

KIND, FORMAT_VERSION = "fleet", 1
INDEX, MODELS = "fleet.json", "models"
"""The index, and the folder of model files beside it."""
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
"""What no file may be called under Windows, whatever its ending."""
LONGEST, LISTED = 80, 10


def holds_fleet(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is the folder of a fleet."""
    return (Path(path) / INDEX).is_file()


def file_stems(names: Iterable[str], held: Collection[str] = ()) -> list[str]:
    """Return for each name what its file may be called on any system, without ending: all different, none of `held`.

    A name of ASCII letters, digits, - and _, with dots within, is kept, up to 80 characters; others become _. Case
    alone makes no difference, as on some systems; what is taken gets a number.
    """
    taken = {stem.lower() for stem in held}
    stems = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:LONGEST].strip(".") or "series"
        if plain.split(".")[0].lower() in RESERVED:
            plain = f"series-{plain}"
        stem, number = plain, 1
        while stem.lower() in taken:
            number += 1
            stem = f"{plain}-{number}"
        taken.add(stem.lower())
        stems.append(stem)
    return stems


def listed(names: Iterable[str]) -> str:
    """Return the first ten names as text, and how many more there are."""
    known = list(names)
    return ", ".join(known[:LISTED]) + (f" and {len(known) - LISTED} more" if len(known) > LISTED else "")


def member_file(folder: str | os.PathLike[str], name: str | None) -> Path:
    """Return the model file of one series; OptionError that lists the names where there is none of this name."""
    place = Path(folder)
    files = read_index(place / INDEX)["series"]
    if name in files:
        return place / MODELS / files[name]
    what = f"has no model for a series {name!r}" if name is not None else "holds a model for each series"
    raise OptionError(f"{place} {what}. Name one of its {len(files)} with --series: {listed(files)}.")


def write_index(
    path: Path, series: Mapping[str, str], failures: Mapping[str, str], remarks: Mapping[str, list[str]]
) -> None:
    """Write the index at once: a reader finds the old one or the new, never half. series: name -> file in models/."""
    document = {
        "kind": KIND, "format_version": FORMAT_VERSION, "series": series, "failures": failures, "remarks": remarks
    }  # fmt: skip
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        with contextlib.suppress(OSError):  # some systems cannot sync a folder, and need not
            descriptor = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    finally:
        draft.unlink(missing_ok=True)


def read_index(path: Path) -> dict[str, Any]:
    """Return series (name -> file), failures and remarks; ModelFileError where there is no index of a fleet."""
    try:
        document = json.loads(path.read_bytes())
        if document["kind"] != KIND:
            raise KeyError("kind")
        version, files = int(document["format_version"]), list(document["series"].values())
        found = {name: dict(document[name]) for name in ("series", "failures", "remarks")}
    except FileNotFoundError:
        raise ModelFileError(
            f"{path.parent} holds no fleet: there is no {path}. Name a folder that Fleet.save or "
            "`seqae train --each` wrote."
        ) from None
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}. Check its permissions.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path} is no index of a fleet, or was cut off. Train the fleet again.") from error
    if version > FORMAT_VERSION:
        raise ModelFileError(f"{path} has format version {version}; this seqae reads up to 1. Upgrade seqae.")
    for file in files:
        if not isinstance(file, str) or file != re.sub(r"[/\\:]", "", file) or file in ("", ".", ".."):
            raise ModelFileError(f"{path} names {file!r}, which is no file of its folder. Train the fleet again.")
    if not files:
        raise ModelFileError(f"{path} names no model. Train the fleet again.")
    return found
