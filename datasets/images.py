"""Images as arrays: MNIST, Fashion-MNIST, CIFAR-10, scikit-learn's digits, and folders of PNG and JPEG."""

from __future__ import annotations

__all__ = [
    "IMAGES",
    "Images",
    "Published",
    "digits",
    "is_image_data",
    "load_images",
    "read_cifar10",
    "read_folder",
    "read_idx",
]

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqae.datasets.archives import cifar10_batches, read_idx, read_pictures
from seqae.errors import DataError, OptionError, choose

PathLike = str | os.PathLike[str]

_PARTS = {"train": "train", "test": "t10k"}  # as in the names of MNIST's files
_DIGITS = tuple("0123456789")
_FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_PICTURES = (".png", ".jpg", ".jpeg")
_OTHER_PICTURES = (".bmp", ".gif", ".tif", ".tiff", ".webp")
_TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".pq")


@dataclass(frozen=True, eq=False)
class Images:
    """N >= 1 images of one size, and where they are labelled, their classes.

    pixels: (N, H, W, K) uint8, K = 1 grey or 3 RGB; labels: (N,) int64, numbers of classes; classes: their names.
    DataError where these do not fit together.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        pixels, labels = self.pixels, self.labels
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
            raise DataError(
                f"{self.name} has pixels of {pixels.dtype} {pixels.shape}, and images are uint8 (N, H, W, K) with K "
                "= 1 grey or 3 RGB. Bring them into that form."
            )
        if 0 in pixels.shape:
            raise DataError(f"{self.name} has pixels of shape {pixels.shape}: no image. Give at least one.")
        if labels is None:
            if self.classes:
                raise DataError(f"{self.name} has {len(self.classes)} classes and no labels. Give both or neither.")
            return
        if labels.dtype != np.int64 or labels.shape != (len(pixels),):
            raise DataError(
                f"{self.name} has {len(pixels)} images and labels of {labels.dtype} {labels.shape}. Give one int64 "
                "number for each image."
            )
        if len(set(self.classes)) < len(self.classes):
            raise DataError(f"{self.name} has classes of one name: {', '.join(self.classes)}. Name each differently.")
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise DataError(
                f"{self.name} has labels from {labels.min()} to {labels.max()} and {len(self.classes)} classes. Give "
                "numbers from 0, and the name of each class."
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, which: slice | ArrayLike) -> Images:
        """Return some of the images: a slice, an array of numbers, or of one bool an image; DataError for none."""
        if not isinstance(which, slice):
            which = np.asarray(which)
            if which.ndim != 1 or which.dtype.kind not in "biu":
                raise OptionError(
                    f"Images take a slice or an array (M,) of numbers or bools, not {which.shape} of {which.dtype}. "
                    "Use [i:j]."
                )
            n = len(self)
            if len(which) != n if which.dtype == bool else np.any((which < -n) | (which >= n)):
                raise DataError(f"{self.name} has {n} images, and others are asked for. Count from 0.")
        labels = None if self.labels is None else self.labels[which]
        return Images(self.pixels[which], labels, self.classes, self.name)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (H, W, K) of one image."""
        height, width, channels = self.pixels.shape[1:]
        return height, width, channels

    def only(self, *classes: str) -> Images:
        """Return the images of these classes; labels and `classes` stay as they are.

        OptionError for a class that does not exist, DataError where none is left or there are no labels.
        """
        if self.labels is None:
            raise DataError(
                f"{self.name} has no labels to choose classes by. Give a folder with one sub-folder a class."
            )
        menu = {name: number for number, name in enumerate(self.classes)}
        wanted = [choose(menu, name, "class") for name in classes]
        if not (kept := np.isin(self.labels, wanted)).any():
            raise DataError(f"{self.name} has no image of {', '.join(classes) or 'no class'}. Name another class.")
        return self[kept]

    def split(self, share: float, seed: int) -> tuple[Images, Images]:
        """Return round(share * N) images drawn by chance and the others, both in the order that they had.

        share: of the first part, between 0 and 1; the draw is not stratified. DataError where a part would be empty.
        """
        count = round(share * len(self)) if 0 < share < 1 else 0
        if not 0 < count < len(self):
            raise DataError(
                f"{self.name} has {len(self)} images, and a share of {share} leaves a part without. Use a share "
                "between 0 and 1 that leaves each part an image."
            )
        first = np.zeros(len(self), dtype=bool)
        first[np.random.default_rng(seed).permutation(len(self))[:count]] = True
        return self[first], self[~first]


def read_cifar10(path: PathLike, part: str = "train") -> Images:
    """Return CIFAR-10's "train" or "test" images (N, 32, 32, 3) from a .tar.gz, a .tar or a folder of batches.

    The binary or the Python version; of a tar nothing is written to disk, and of a pickle nothing is run. N is what
    the batches hold: 50,000 and 10,000 as published. DataError as in archives.cifar10_batches.
    """
    pixels, labels, classes = cifar10_batches(path, part)
    return Images(pixels, labels, classes, "cifar10")


def digits(part: str = "train") -> Images:
    """Return scikit-learn's 8 x 8 digits, which need no file: the first 1437 as "train", the last 360 as "test".

    Their values 0..16 are scaled to round(v * 255 / 16). Both are of UCI's test set and may share writers.
    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.
    """
    from sklearn.datasets import load_digits

    which = choose({"train": slice(None, 1437), "test": slice(1437, None)}, part, "part")
    held = load_digits()
    pixels = np.rint(held.images[which] * (255 / 16)).astype(np.uint8)[..., None]
    return Images(pixels, held.target[which].astype(np.int64), _DIGITS, "digits")


# ---- folders of pictures ----


def read_folder(path: PathLike) -> Images:
    """Return the PNG and JPEG files of a folder in the order of their names, without labels, or one sub-folder a class.

    Classes are the sub-folders' names in order. All grey gives K = 1; where one is in colour or has a palette, all are
    RGB. Hidden files and those that are no pictures count for nothing; EXIF's orientation is not applied.
    DataError for other sizes, transparency, 16 bits, other formats, pictures beside sub-folders, and none at all.
    """
    folder = Path(path)
    _, below = _listed(folder)
    return _from_folder(folder, tuple(one.name for one in below), folder.resolve().name)


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the picture files and the sub-folders of a folder, by name, hidden ones left out."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Check the path.")
    held = sorted(one for one in folder.iterdir() if not one.name.startswith("."))
    files = [one for one in held if one.is_file()]
    for one in files:
        if one.suffix.lower() in _OTHER_PICTURES:
            raise DataError(f"{folder.name}/{one.name} is neither PNG nor JPEG. Save it as PNG, or take it away.")
    return [one for one in files if one.suffix.lower() in _PICTURES], [one for one in held if one.is_dir()]


def _from_folder(folder: Path, classes: tuple[str, ...], name: str) -> Images:
    """Return a folder's pictures; classes: the names that the labels are numbers of, none = no labels."""
    files, below = _listed(folder)
    if files and classes:
        raise DataError(
            f"{folder.name} holds pictures beside classes such as {classes[0]}. Give a folder of pictures, or of one "
            "sub-folder a class."
        )
    labels = []
    for one in below:
        inside, deeper = _listed(one)
        if deeper or not inside:
            what = f"the folder {deeper[0].name}" if deeper else "no PNG or JPEG"
            raise DataError(
                f"{folder.name}/{one.name} is taken for a class and holds {what}. Put pictures there alone."
            )
        files += inside
        labels += [classes.index(one.name)] * len(inside)
    if not files:
        raise DataError(f"{folder} holds no picture. Give a folder of PNG or JPEG files, or of one sub-folder a class.")
    pixels = read_pictures(files, folder)
    return Images(pixels, np.array(labels, dtype=np.int64) if classes else None, classes, name)


# ---- the menu ----


@dataclass(frozen=True)
class Published:
    """A published set: how a folder and a part give its images or None, what it looks for, and its publisher's address.

    folders: those in which it usually lies. files: what is missing where it is not found, {0} = "train" or "t10k".
    """

    load: Callable[[Path, str], Images | None]
    folders: tuple[str, ...]
    files: str
    address: str


# Both sets have the same file names: the first labels tell them apart.
_FIRST_LABELS = {
    "mnist": {"train": bytes((5, 0, 4, 1, 9, 2, 1, 3)), "test": bytes((7, 2, 1, 0, 4, 1, 4, 9))},
    "fashion-mnist": {"train": bytes((9, 0, 0, 3, 0, 2, 7, 2)), "test": bytes((9, 2, 1, 1, 6, 1, 4, 6))},
}


def _load_idx(name: str, classes: tuple[str, ...], folder: Path, part: str) -> Images | None:
    stem = _PARTS[part]
    files = [
        next(
            (file for form in forms for end in ("", ".gz") if (file := folder / f"{stem}-{form}{end}").is_file()), None
        )
        for forms in (("images-idx3-ubyte", "images.idx3-ubyte"), ("labels-idx1-ubyte", "labels.idx1-ubyte"))
    ]
    if files[0] is None or files[1] is None:
        return None
    labels, pixels = read_idx(files[1]), read_idx(files[0])
    if labels.ndim != 1 or pixels.ndim != 3:
        raise DataError(f"{files[0].name} and {files[1].name} do not hold images and labels. Name each what it holds.")
    for other, first in _FIRST_LABELS.items():
        if other != name and labels.tobytes().startswith(first[part]):
            raise DataError(f"{files[1]} holds the labels of {other}, not of {name}. Name another folder: --data-dir.")
    return Images(pixels[..., None], labels.astype(np.int64), classes, name)


def _load_cifar10(folder: Path, part: str) -> Images | None:
    first = "data_batch_1" if part == "train" else "test_batch"
    if any((folder / (first + ending)).is_file() for ending in (".bin", "")):
        return read_cifar10(folder, part)
    for version in ("binary", "python"):
        for form in (f"cifar-10-{version}.tar*", f"cifar-10-{version}*.tar*"):
            for file in sorted(folder.glob(form)):
                return read_cifar10(file, part)
    return None


IMAGES: dict[str, Published] = {
    "mnist": Published(
        partial(_load_idx, "mnist", _DIGITS),
        ("mnist", "MNIST/raw", "MNIST"),
        "{0}-images-idx3-ubyte and {0}-labels-idx1-ubyte (.gz or not)",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    "fashion-mnist": Published(
        partial(_load_idx, "fashion-mnist", _FASHION),
        ("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "FashionMNIST"),
        "{0}-images-idx3-ubyte and {0}-labels-idx1-ubyte (.gz or not)",
        "https://github.com/zalandoresearch/fashion-mnist",
    ),
    "cifar10": Published(
        _load_cifar10,
        ("cifar10", "cifar-10-batches-bin", "cifar-10-batches-py"),
        "cifar-10-binary.tar.gz or cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
    "digits": Published(
        lambda folder, part: digits(part),
        (),
        "nothing",
        "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    ),
}


def load_images(name: str, part: str = "train", data_dir: PathLike | None = None) -> Images:
    """Return the "train" or "test" images of a set of IMAGES, in any case and with - or _, or of a folder of pictures.

    data_dir: where a set lies, itself or in a usual sub-folder; None = the folder that SEQAE_DATA names, then ./data.
    A folder of pictures with the sub-folders train/ and test/ gives those, numbered by the classes of both; any other
    is both parts. One that is called as a set is: ./mnist. DataError names what is missing and where it was looked for.
    """
    choose(_PARTS, part, "part")
    key = _key(name)
    if key is None:
        return _load_folder(Path(name), part)
    wanted = IMAGES[key]
    named = [data_dir] if data_dir is not None else [os.environ.get("SEQAE_DATA") or None, "data"]
    roots = [Path(one) for one in named if one is not None]
    for root in roots:
        for folder in (*wanted.folders, "."):
            if (found := wanted.load(root / folder, part)) is not None:
                return found
    raise DataError(
        f"{key} needs {wanted.files.format(_PARTS[part])}: not in {' or '.join(map(str, roots))}, nor in "
        f"{', '.join(wanted.folders)} there. Fetch them from {wanted.address}, and name their folder: --data-dir."
    )


def _load_folder(folder: Path, part: str) -> Images:
    if not folder.is_dir():
        raise DataError(
            f"{folder} is no folder of pictures, and no set. Name a folder, or one of: {', '.join(IMAGES)}."
        )
    if not all((folder / one).is_dir() for one in _PARTS):
        return read_folder(folder)
    classes = {below.name for one in _PARTS for below in _listed(folder / one)[1]}
    return _from_folder(folder / part, tuple(sorted(classes)), folder.resolve().name)


def _key(name: str) -> str | None:
    """Return what the menu calls a set, or None where it has none of that name."""
    plain = {re.sub("[-_]", "", key): key for key in IMAGES}
    return plain.get(re.sub("[-_]", "", os.fspath(name).lower()))


def is_image_data(name: str) -> bool:
    """Tell whether a DATA argument means images: a name of the menu, or a folder with pictures and without tables."""
    if _key(name) is not None:
        return True
    found = False
    for place, folders, files in os.walk(name) if Path(name).is_dir() else ():
        deep = len(Path(place).relative_to(name).parts)
        folders[:] = [one for one in folders if one[0] != "." and deep < 2]  # train/ and test/, then classes
        seen = [one.lower() for one in files if one[0] != "."]
        if any(one.endswith(_TABLES) for one in seen):
            return False
        found = found or any(one.endswith((*_PICTURES, *_OTHER_PICTURES)) for one in seen)
    return found
