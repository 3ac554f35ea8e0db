"""Files of images as arrays: IDX, CIFAR-10's batches, PNG and JPEG. Nothing is written to disk, and nothing is run."""

from __future__ import annotations

__all__ = ["CIFAR10_CLASSES", "cifar10_batches", "read_idx", "read_pictures"]

import contextlib
import gzip
import io
import math
import os
import struct
import tarfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from pickle import Unpickler
from pickletools import genops
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from seqae.errors import DataError, OptionError, choose

if TYPE_CHECKING:
    from PIL import Image

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_BLOCK = 1 << 20
_IDX_DIMENSIONS = {0x00000803: 3, 0x00000801: 1}
_BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
_NAMES = "batches.meta.txt"
_CHANNELS = {1: "L", 3: "RGB"}  # Pillow's names
_SIDE = 32
_VALUES = 3 * _SIDE * _SIDE


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file, unpacked where it is gzip; DataError where it cannot be read."""
    shown = Path(path).name
    try:
        with Path(path).open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            yield cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file
    except FileNotFoundError as problem:
        raise DataError(f"There is no file {os.fspath(path)}. Check the path.") from problem
    except IsADirectoryError as problem:
        raise DataError(f"{shown} is a folder, and a file is needed. Name a file in it.") from problem
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise DataError(f"{shown} is a gzip file that is cut short or damaged. Fetch it again.") from problem
    except OSError as problem:
        raise DataError(f"{shown} cannot be read: {problem.strerror}. Check the path and its permissions.") from problem


# ---- IDX ----


def read_idx(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Return what an IDX file (gzip or plain) holds: images (N, H, W) or labels (N,), as uint8.

    Magic 0x00000803 or 0x00000801, then the sizes, all big-endian 32-bit, then the bytes, the last index fastest.
    DataError where magic, sizes and the number of bytes do not agree; no memory is set aside for sizes merely claimed.
    Source: LeCun, Cortes and Burges, The MNIST database of handwritten digits, "File formats".
    """
    shown = Path(path).name
    with _opened(path) as stream:
        magic = stream.read(4)
        dimensions = _IDX_DIMENSIONS.get(int.from_bytes(magic, "big")) if len(magic) == 4 else None
        if dimensions is None:
            raise DataError(
                f"{shown} begins with {magic.hex() or 'nothing'}, and IDX with 00000803 (images) or 00000801 (labels). "
                "Name an IDX file of bytes."
            )
        sizes = stream.read(4 * dimensions)
        if len(sizes) < 4 * dimensions:
            raise DataError(f"{shown} is cut short in its IDX header. Fetch it again.")
        shape = tuple(int.from_bytes(sizes[k : k + 4], "big") for k in range(0, len(sizes), 4))
        wanted = math.prod(shape)
        content = bytearray()
        while len(content) <= wanted and (block := stream.read(min(_BLOCK, wanted + 1 - len(content)))):
            content += block
    if len(content) != wanted:
        held = f"only {len(content)}" if len(content) < wanted else "more"
        raise DataError(
            f"{shown} says {' x '.join(map(str, shape))} = {wanted} bytes after its header and holds {held}. "
            "Fetch it again."
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


# ---- CIFAR-10 ----


def cifar10_batches(
    path: str | os.PathLike[str], part: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Return pixels (N, 32, 32, 3), labels (N,) and class names of CIFAR-10's "train" or "test".

    path: a .tar or .tar.gz, or a folder of batches; of the binary version (*.bin) or, where that is absent, of the
    Python version. The class names are those of batches.meta.txt where it is there. N is what the batches hold.
    DataError where a batch is missing, twice there, damaged, or asks for anything but arrays and plain values.
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; layout as on his CIFAR-10 page.
    """
    stems = choose(_BATCHES, part, "part")
    shown = Path(path).name
    names: tuple[str, ...] = CIFAR10_CLASSES
    batches: dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]] = {}
    for name, content in _members(path, {_NAMES, *stems, *(f"{stem}.bin" for stem in stems)}):
        if name == _NAMES:
            names = _class_names(content, f"{name} of {shown}")
        else:
            read = _binary_batch if name.endswith(".bin") else _python_batch
            batches[name] = read(content, f"{name} of {shown}")
    ending = ".bin" if any(name.endswith(".bin") for name in batches) or not batches else ""
    missing = [stem + ending for stem in stems if stem + ending not in batches]
    if missing:
        raise DataError(
            f"{shown} has no plain file {', '.join(missing)}, which CIFAR-10's {part} needs. Fetch it again, or name "
            "the .tar.gz or the folder of batches."
        )
    rows, labels = zip(*(batches[stem + ending] for stem in stems), strict=True)
    return np.concatenate(rows), np.concatenate(labels), names


def _members(path: str | os.PathLike[str], wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of the wanted files that a folder or a tar holds, one at a time."""
    if Path(path).is_dir():
        for name in sorted(wanted):
            if (file := Path(path) / name).is_file():
                with _opened(file) as stream:
                    yield name, stream.read()
        return
    shown, seen = Path(path).name, set()
    with _opened(path) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in tar:
                    if member.size < 0:  # some versions of tarfile would read the same member for ever
                        raise tarfile.ReadError("negative size")
                    where = PurePosixPath(member.name)
                    if where.name not in wanted or not member.isreg() or member.issparse():
                        continue
                    if where.is_absolute() or ".." in where.parts:
                        continue
                    if where.name in seen:
                        raise DataError(f"{shown} holds {where.name} twice, and one is needed. Fetch it again.")
                    seen.add(where.name)
                    held = tar.extractfile(member)
                    yield where.name, held.read() if held else b""
            while stream.read(_BLOCK):  # gzip's checksum is at its end, behind that of the tar
                pass
        except (tarfile.TarError, RecursionError, OverflowError) as problem:
            raise DataError(f"{shown} is no tar, or one that is cut short or damaged. Fetch it again.") from problem


def _class_names(content: bytes, shown: str) -> tuple[str, ...]:
    """Return the lines of a list of class names."""
    names = tuple(line.strip() for line in content.decode("ascii", "replace").splitlines() if line.strip())
    if len(names) != len(CIFAR10_CLASSES) or len(set(names)) < len(names) or not content.isascii():
        raise DataError(f"{shown} holds no {len(CIFAR10_CLASSES)} different names, one a line. Fetch it again.")
    return names


def _image_rows(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images (N, 32, 32, 3) from rows (N, 3072) of a red, a green and a blue plane."""
    return np.ascontiguousarray(rows.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))


def _binary_batch(content: bytes, shown: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images and labels of records of one byte of label and 3072 of pixels."""
    if len(content) % (1 + _VALUES) or not content:
        raise DataError(f"{shown} has {len(content)} bytes, not records of {1 + _VALUES}. Fetch it again.")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, 1 + _VALUES)
    return _image_rows(records[:, 1:]), records[:, 0].astype(np.int64)


# ---- CIFAR-10's Python version ----


class _Told:
    """What a pickle says that an object is made of: kept, and not made."""

    def __init__(self, *made_of: Any) -> None:
        self.made_of = made_of
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _latin1(text: Any, encoding: Any) -> bytes:
    """Return the bytes that Python 3 writes as text where a pickle's format has no bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes that are not written as latin1")
    return text.encode("latin1")


# Stand-ins for all that a pickled array names. Neither numpy nor codecs is ever called by what a file says.
_STAND_INS: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _latin1,
    ("codecs", "encode"): _latin1,
    ("numpy", "dtype"): _Told,
    ("numpy", "ndarray"): _Told,
    ("numpy._core.multiarray", "_reconstruct"): _Told,
    ("numpy._core.numeric", "_frombuffer"): _Told,
    ("numpy.core.multiarray", "_reconstruct"): _Told,
    ("numpy.core.numeric", "_frombuffer"): _Told,
}


class _ArrayUnpickler(Unpickler):
    """Python's unpickler, that finds the stand-ins and nothing else; to extend it is the way that Python documents."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise DataError(f"it asks for {module}.{name}")
        return _STAND_INS[module, name]


def _python_batch(content: bytes, shown: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images and labels of a pickled dict with data (N, 3072), uint8, and labels, a list of N numbers."""
    try:
        # The unpickler sets aside room for a memo of any number, and for bytes of any length, before it reads on.
        if any(code.name.endswith("PUT") and (number or 0) > len(content) for code, number, _ in genops(content)):
            raise ValueError("a memo beyond the file")
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except DataError as problem:
        raise DataError(
            f"{shown} is refused: {problem}, and a batch needs only arrays and plain values. Fetch the binary version."
        ) from None
    except Exception as problem:  # a damaged pickle can raise anything
        raise DataError(f"{shown} is no pickle, or one that is cut short or damaged. Fetch it again.") from problem
    held = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in _items(batch)}
    rows, labels = _pixel_rows(held.get("data")), held.get("labels")
    if rows is None or not isinstance(labels, list) or len(labels) != len(rows):
        raise DataError(f"{shown} has no data (N, {_VALUES}) of uint8 with N labels. Fetch the batches of CIFAR-10.")
    if not all(type(label) is int and 0 <= label < len(CIFAR10_CLASSES) for label in labels):
        raise DataError(f"{shown} has labels that are no numbers from 0 to {len(CIFAR10_CLASSES) - 1}. Fetch it again.")
    return _image_rows(rows), np.array(labels, dtype=np.int64)


def _items(batch: Any) -> list[tuple[Any, Any]]:
    return list(batch.items()) if isinstance(batch, dict) else []


def _pixel_rows(told: Any) -> NDArray[np.uint8] | None:
    """Return the array (N, 3072) that a pickle tells of, or None where it is another."""
    if not isinstance(told, _Told):
        return None
    match told.made_of, told.state:
        case _, (int(), (int() as count, width), _Told(made_of=(kind, *_)), fortran, bytes() as raw):
            order = "F" if fortran else "C"
        case (bytes() | bytearray() as raw, _Told(made_of=(kind, *_)), (int() as count, width), order, *_), ():
            pass
        case _:
            return None
    if kind not in ("u1", b"u1") or width != _VALUES or order not in ("C", "F") or len(raw) != count * width:
        return None
    values = np.frombuffer(raw, dtype=np.uint8)
    return values.reshape(width, count).T if order == "F" else values.reshape(count, width)


# ---- PNG and JPEG ----


def read_pictures(files: Sequence[Path], folder: Path) -> NDArray[np.uint8]:
    """Return PNG and JPEG files of one size as (N, H, W, K): K = 1 where all are grey, else 3, a grey one thrice.

    folder: what messages name them from. DataError for another size, transparency, 16 bits, and what is no picture.
    """
    names = [str(file.relative_to(folder)) for file in files]
    size: tuple[int, int] | None = None
    channels = 1
    for file, shown in zip(files, names, strict=True):
        with _picture(file, shown) as picture:
            size = size or picture.size
            if picture.size != size:
                raise DataError(
                    f"{shown} is {picture.width} x {picture.height}, and {names[0]} is {size[0]} x {size[1]}. Bring "
                    "all pictures to one size."
                )
            channels = channels if picture.mode in ("1", "L") else 3
    assert size is not None
    pixels = np.empty((len(files), size[1], size[0], channels), dtype=np.uint8)
    for number, (file, shown) in enumerate(zip(files, names, strict=True)):
        with _picture(file, shown) as picture:
            pixels[number] = np.asarray(picture.convert(_CHANNELS[channels])).reshape(pixels.shape[1:])
    return pixels


@contextlib.contextmanager
def _picture(file: Path, shown: str) -> Iterator[Image.Image]:
    """Open a picture; DataError where it is none, is damaged, or would lose something in 8 bits of grey or RGB."""
    try:
        from PIL import Image
    except ImportError as problem:
        raise OptionError("Reading PNG and JPEG needs Pillow, which is missing: pip install pillow.") from problem
    try:
        with file.open("rb") as stream:
            head = stream.read(25)
            stream.seek(0)
            with Image.open(stream, formats=("PNG", "JPEG")) as picture:
                lost = None
                if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
                    lost = "transparency"
                elif head.startswith(b"\x89PNG") and head[24] == 16:  # Pillow cuts 16-bit RGB down without a word
                    lost = "16 bits a value"
                elif picture.mode not in ("1", "L", "P", "RGB"):
                    lost = f"the colours {picture.mode}"
                if lost:
                    raise DataError(f"{shown} has {lost}. Save it as 8-bit grey or RGB.")
                yield picture
    except DataError:
        raise
    except (
        OSError,
        SyntaxError,
        ValueError,
        IndexError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as problem:
        raise DataError(f"{shown} is no PNG or JPEG, or a damaged one. Save it again, or take it away.") from problem
