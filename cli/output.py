"""What a command writes: tables, pictures and run folders, whole or not at all."""

from __future__ import annotations

__all__ = [
    "RUN_FILES",
    "check_inputs",
    "check_output",
    "fresh_run_folder",
    "is_midnight",
    "replaced",
    "stamp_text",
    "stamps",
    "table_writer",
    "to_json",
    "write_table",
    "write_text",
]

import contextlib
import gzip
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqae.anomaly.fleets.folder import INDEX, MODELS
from seqae.cli.tables import iso_text, shortest, write_csv
from seqae.datasets.images import is_image_data
from seqae.errors import DataError, OptionError, UserError

NEW = ".new"
"""The folder within a run's that its successor is written into."""
RUN_FILES = ("model.safetensors", "last.safetensors", "metrics.jsonl", "tensorboard", INDEX, MODELS, "config.toml")


def check_inputs(*paths: Path | str | None) -> None:
    """Refuse an input that is not there, which is to be said before anything about an output; None and - are given."""
    for path in paths:
        if path is None or str(path) == "-" or Path(path).is_file():
            continue
        # A folder is what is in it, whatever it is called.
        if is_image_data(str(Path(path).resolve() if Path(path).exists() else path)):
            raise DataError(
                f"{path} is a set of images, and here tables of series are wanted. A model of images is trained by "
                f"seqae train {path}, and then takes them."
            )
        if not Path(path).exists():
            raise DataError(f"There is no file {path}. Check the path.")


def check_output(path: Path | None, *others: Path | str | None) -> None:
    """Refuse an output file that could not be written, or is one of the other files, before the long work.

    None and - are stdout.
    """
    if path is None or str(path) == "-":
        return
    if path.is_dir():
        raise OptionError(f"cannot write {path}: it is a folder. Give a file name, such as {path / 'out.csv'}.")
    if not path.parent.is_dir():
        raise OptionError(
            f"cannot write {path}: there is no folder {path.parent}. Make it first, or give another path."
        )
    for given in others:
        if given is None or str(given) == "-":
            continue
        held = [Path(given), *(Path(given) / name for name in RUN_FILES)]
        if path.resolve() in [one.resolve() for one in held]:
            raise OptionError(f"{path} is named twice; writing there would destroy what it holds. Give another path.")
    _check_folder(path.parent)


def _check_folder(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise OptionError(f"cannot write to the folder {folder}: {problem.strerror}. Give another path.") from problem


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path` that takes its place at the end, and vanishes after an error."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)  # as a file opened in the usual way; mkstemp's is for the owner alone
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write text to a file, in a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as part:
        part.write_text(text, encoding="utf-8")


def write_table(table: pd.DataFrame, path: Path | None, *, as_json: bool = False, daily: bool | None = None) -> None:
    """Write a table without its index as CSV (gzip where the name ends with .gz), as JSON Lines where it ends with
    .jsonl, or as a JSON list of rows."""
    with table_writer(path, as_json=as_json, daily=daily) as write:
        write(table)


@contextlib.contextmanager
def table_writer(
    path: Path | None, *, as_json: bool = False, daily: bool | None = None
) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Give a function that writes the next rows of a table; the file is there once all are written, or not at all.

    daily: whether stamps are written as dates alone; None where all of the first rows are at midnight.
    """
    with contextlib.ExitStack() as stack:
        if path is None or str(path) == "-":
            out: Any = sys.stdout
        else:
            part = stack.enter_context(replaced(path))
            opened: Any = gzip.open if path.suffix == ".gz" else open
            out = stack.enter_context(opened(part, "wt", encoding="utf-8", newline=""))
        lines = path is not None and path.name.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson"))
        written, dates = 0, daily

        def write(table: pd.DataFrame) -> None:
            nonlocal written, dates
            times = {str(name): column for name, column in table.items() if _is_time(column)}
            if dates is None:  # later rows are written as the first ones
                dates = all(_is_daily(pd.Index(column)) for column in times.values())
            table = table.assign(**{name: stamps(column, daily=dates) for name, column in times.items()})
            narrow = [name for name, column in table.items() if column.dtype == np.float32]
            table = table.assign(**{str(name): shortest(table[name].to_numpy()) for name in narrow})
            if as_json or lines:
                wide = [name for name, column in table.items() if column.dtype == np.float64]
                table = table.assign(**{str(name): [float(f"{value:.9g}") for value in table[name]] for name in wide})
                rows = [to_json(row) for row in table.to_dict("records")]
            if lines:
                out.writelines(row + "\n" for row in rows)
            elif as_json:
                out.write(("[" if not written else ", " if rows else "") + ", ".join(rows))
            else:
                write_csv(table, out, header=not written)
            written += 1

        yield write
        if as_json and not lines:
            out.write("]\n" if written else "[]\n")


def _is_time(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M"


def _is_daily(index: pd.Index) -> bool:
    """Tell whether every stamp is at midnight, and none has a zone."""
    return isinstance(index, pd.DatetimeIndex) and index.tz is None and bool((index == index.normalize()).all())


def stamps(column: Any, *, daily: bool | None = None) -> pd.Index:
    """Return stamps as ISO 8601 text, dates alone where every one is at midnight; anything else as it is.

    daily: whether they are, where that is known already.
    """
    index = pd.Index(column)
    if not isinstance(index, pd.DatetimeIndex):
        return index
    alone = _is_daily(index) if daily is None else daily
    return pd.Index(iso_text(index, "D" if alone else None), dtype=object)


def stamp_text(stamp: Any, *, daily: bool) -> Any:
    """Return one stamp as `stamps` writes it, with `daily` as a date alone at midnight; anything else as it is."""
    if not isinstance(stamp, pd.Timestamp):
        return stamp
    return stamp.strftime("%Y-%m-%d") if daily and is_midnight(stamp) else stamp.isoformat()


def is_midnight(stamp: Any) -> bool:
    """Tell whether a stamp is a midnight without a zone, so that its date alone says all."""
    return isinstance(stamp, pd.Timestamp) and stamp.tz is None and stamp == stamp.normalize()


def to_json(value: Any) -> str:
    """Return strict JSON: null for a number that is not finite, text for a stamp or a path."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, default=str)


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _plain(part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case np.ndarray() | np.generic():
            return _plain(value.tolist())
        case float() if not np.isfinite(value):
            return None
        case _ if value is pd.NA or value is pd.NaT:
            return None
        case _:
            return value


@contextlib.contextmanager
def fresh_run_folder(folder: Path, *, overwrite: bool = False, resume: bool = False) -> Iterator[Path]:
    """Give the folder to write a run into; after an error `folder` is as it was, unless the run can be resumed.

    A run that is already there is refused, or with `overwrite` it stays and can be used until the new one is done,
    which is written into a folder within and takes its place; or with `resume` it is gone on with, complete files and
    all. Other files in the folder are never touched.
    """
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"cannot write the run to {folder}: it is a file. Give a folder with -o.")
    made = not folder.exists()
    nearest = next(parent for parent in [folder, *folder.absolute().parents] if parent.exists())
    if not nearest.is_dir():
        raise OptionError(f"cannot make the folder {folder}: {nearest} is a file. Give another folder with -o.")
    _check_folder(nearest)
    there = bool(_run_files(folder))
    if resume:
        yield folder
    elif there and not overwrite:
        raise OptionError(
            f"{folder} already holds a run. Give another folder with -o, or continue it with --resume, "
            "or replace it with --overwrite."
        )
    elif there:
        new = folder / NEW
        shutil.rmtree(new, ignore_errors=True)  # left by a run that was killed
        try:
            new.mkdir()
            yield new
            for name in RUN_FILES:
                _take_place(new / name, folder / name)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    else:
        try:
            yield folder
        except BaseException as problem:
            if (folder / "last.safetensors").exists() and not isinstance(problem, UserError):
                raise  # complete epochs, which --resume can go on from
            for leftover in _run_files(folder):
                _remove(leftover)
            if made and folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
            raise


def _run_files(folder: Path) -> list[Path]:
    return [folder / name for name in RUN_FILES if (folder / name).exists()]


def _take_place(new: Path, old: Path) -> None:
    """Put a file or folder where an old one may be, which goes in any case; a file at no moment is not there."""
    if not new.is_file() or old.is_dir():
        _remove(old)
    if new.exists():
        new.replace(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
