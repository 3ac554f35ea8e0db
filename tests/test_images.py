"""Image files: the bytes that are published come out as pixels, and whatever is not what it says is refused."""

import gzip
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seqae.datasets.archives import CIFAR10_CLASSES
from seqae.datasets.images import (
    IMAGES,
    Images,
    digits,
    is_image_data,
    load_images,
    read_cifar10,
    read_folder,
    read_idx,
)
from seqae.datasets.rows import ENDINGS
from seqae.errors import DataError, OptionError

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("SEQAE_DATA", ROOT.parent / "shared" / "data"))
CIFAR10 = DATA / "cifar10" / "cifar-10-binary-reduced.tar.gz"


def refusal(kind, act, *arguments, **options):
    """The one line that something is refused with."""
    with pytest.raises(kind) as problem:
        act(*arguments, **options)
    message = str(problem.value)
    assert "\n" not in message
    assert message.endswith(".") or message.endswith("--data-dir.")
    return message


# ---- Images ----


def numbered(n=10, classes=("a", "b", "c")):
    pixels = np.arange(n * 6, dtype=np.uint8).reshape(n, 2, 3, 1)
    return Images(pixels, np.arange(n) % len(classes), classes, "some")


def test_a_part_of_images_is_those_pixels_with_their_labels():
    images = numbered()
    assert (len(images), images.shape) == (10, (2, 3, 1))
    for which, rows in (
        (slice(2, 5), [2, 3, 4]),
        (slice(None, None, -4), [9, 5, 1]),
        (np.array([7, 0, -1]), [7, 0, 9]),
        ([3, 3], [3, 3]),
        (np.array([4, 0], dtype=np.uint8), [4, 0]),
        (np.arange(10) > 7, [8, 9]),
    ):
        part = images[which]
        assert part.pixels[:, 0, 0, 0].tolist() == [6 * row for row in rows]
        assert part.labels.tolist() == [row % 3 for row in rows]
        assert (part.classes, part.name) == (images.classes, "some")


def test_what_is_no_part_is_refused():
    images = numbered()
    for which in (3, [0.5], np.zeros((2, 2), dtype=int), "a", []):
        refusal(OptionError, images.__getitem__, which)
    for which in ([10], [-11], np.ones(9, dtype=bool)):
        assert "has 10 images" in refusal(DataError, images.__getitem__, which)
    for which in (slice(0), np.zeros(10, dtype=bool)):
        assert "no image" in refusal(DataError, images.__getitem__, which)


def test_only_keeps_classes_by_name_and_their_numbers():
    images = numbered()
    part = images.only("c", "a")
    assert part.labels.tolist() == [0, 2, 0, 2, 0, 2, 0]
    assert part.classes == ("a", "b", "c")
    assert refusal(OptionError, images.only, "d").endswith("Choose one of: a, b, c.")
    assert "no image of c" in refusal(DataError, images[:2].only, "c")
    refusal(DataError, images.only)
    assert "no labels" in refusal(DataError, Images(images.pixels, None, (), "bare").only, "a")


def test_split_parts_the_images_by_chance_and_again_alike():
    images = numbered(40)
    first, second = images.split(0.3, seed=1)
    of = [part.pixels[:, 0, 0, 0] // 6 for part in (first, second)]
    assert [len(one) for one in of] == [12, 28]
    assert sorted(np.concatenate(of)) == list(range(40))
    assert all(np.all(np.diff(one.astype(int)) > 0) for one in of)
    np.testing.assert_array_equal(first.pixels, images.split(0.3, seed=1)[0].pixels)
    # Each image is drawn as often as any other: 400 draws of probability 0.3, five standard deviations.
    drawn = sum(
        np.isin(np.arange(40), images.split(0.3, seed)[0].pixels[:, 0, 0, 0] // 6).astype(int) for seed in range(400)
    )
    assert np.all(np.abs(drawn - 120) < 5 * np.sqrt(400 * 0.3 * 0.7))


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5, 0.01, 0.99, float("nan")])
def test_a_split_without_images_in_a_part_is_refused(share):
    assert "leaves a part without" in refusal(DataError, numbered().split, share, seed=0)


@pytest.mark.parametrize(
    ("pixels", "labels", "classes", "told"),
    [
        (np.zeros((2, 4, 4, 1)), None, (), "float64 (2, 4, 4, 1)"),
        (np.zeros((2, 4, 4), dtype=np.uint8), None, (), "uint8 (2, 4, 4)"),
        (np.zeros((2, 4, 4, 2), dtype=np.uint8), None, (), "K = 1 grey or 3 RGB"),
        (np.zeros((0, 4, 4, 1), dtype=np.uint8), None, (), "no image"),
        (np.zeros((2, 0, 4, 1), dtype=np.uint8), None, (), "no image"),
        (np.zeros((2, 4, 4, 1), dtype=np.uint8), None, ("a",), "1 classes and no labels"),
        (np.zeros((2, 4, 4, 1), dtype=np.uint8), np.zeros(3, dtype=np.int64), ("a",), "int64 (3,)"),
        (np.zeros((2, 4, 4, 1), dtype=np.uint8), np.zeros(2, dtype=np.uint8), ("a",), "labels of uint8"),
        (np.zeros((2, 4, 4, 1), dtype=np.uint8), np.array([0, 2]), ("a", "b"), "from 0 to 2 and 2 classes"),
        (np.zeros((2, 4, 4, 1), dtype=np.uint8), np.array([-1, 0]), ("a", "b"), "from -1 to 0"),
        (np.zeros((2, 4, 4, 1), dtype=np.uint8), np.array([0, 1]), ("a", "a"), "classes of one name"),
    ],
)
def test_images_that_do_not_fit_together_are_refused(pixels, labels, classes, told):
    assert told in refusal(DataError, Images, pixels, labels, classes, "some")


# ---- IDX ----


def idx(array, *, shape=None, magic=None):
    array = np.asarray(array, dtype=np.uint8)
    shape = array.shape if shape is None else shape
    return struct.pack(f">I{len(shape)}I", 0x800 + len(shape) if magic is None else magic, *shape) + array.tobytes()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_bytes_are_pixels_row_by_row(tmp_path, pack):
    content = bytes.fromhex("00000803 00000002 00000002 00000003 000102030405 0a0b0c0d0eff")
    images = read_idx(write(tmp_path / "images", pack(content)))
    assert images.dtype == np.uint8
    assert images.tolist() == [[[0, 1, 2], [3, 4, 5]], [[10, 11, 12], [13, 14, 255]]]
    labels = read_idx(write(tmp_path / "labels", pack(bytes.fromhex("00000801 00000003 070009"))))
    assert labels.tolist() == [7, 0, 9]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "begins with nothing"),
        (b"\0\0\x08", "begins with 000008"),
        (b"PNG picture", "begins with 504e4720"),
        (idx(range(4), magic=0x00000D01), "begins with 00000d01"),
        (idx(range(4), magic=0x01080000), "begins with 01080000"),
        (idx(range(4))[:6], "cut short in its IDX header"),
        (idx(range(4))[:-1], "says 4 = 4 bytes after its header and holds only 3"),
        (idx(range(4)) + b"\0", "holds more"),
        (idx(range(8), shape=(2, 2, 3)), "says 2 x 2 x 3 = 12 bytes after its header and holds only 8"),
        (idx([1, 2], shape=(2**32 - 1, 28, 28)), "says 4294967295 x 28 x 28 = 3367254359280 bytes"),
        (idx([1, 2], shape=(2**32 - 1,) * 3), "holds only 2"),
    ],
)
def test_idx_that_is_not_what_it_says_is_refused(tmp_path, content, told):
    for name, packed in (("plain", content), ("packed.gz", gzip.compress(content))):
        message = refusal(DataError, read_idx, write(tmp_path / name, packed))
        assert told in message
        assert name in message


def test_damaged_gzip_and_no_file_are_told(tmp_path):
    packed = gzip.compress(idx(np.random.default_rng(0).integers(0, 256, 5000)))
    wrong_sum = packed[:-8] + bytes(4) + packed[-4:]
    for content in (packed[: len(packed) // 2], packed[:-3], wrong_sum, packed[:20] + b"\xff" * 40 + packed[60:]):
        assert "cut short or damaged" in refusal(DataError, read_idx, write(tmp_path / "damaged.gz", content))
    assert "There is no file" in refusal(DataError, read_idx, tmp_path / "nothing")
    assert "is a folder" in refusal(DataError, read_idx, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and counted as Linux does it")
def test_sizes_that_are_only_claimed_take_no_memory(tmp_path):
    path = write(tmp_path / "claims", idx([1, 2], shape=(2**32 - 1, 28, 28)))
    code = (
        "import resource, sys; from seqae.datasets.images import read_idx\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "limit = 1 << 30; resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "try: read_idx(sys.argv[1])\n"
        "except ValueError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 20_000  # KiB


# ---- CIFAR-10 ----


def batch(seed, n=3):
    """Labels and rows of pixels; the second image is red in its first pixel, green in its second, blue in its last."""
    draws = np.random.default_rng(seed)
    rows = draws.integers(0, 256, (n, 3072), dtype=np.uint8)
    rows[1] = 0
    rows[1, 0] = rows[1, 1024 + 1] = rows[1, 2048 + 1023] = 255
    return draws.integers(0, 10, n), rows


def binary(labels, rows):
    return b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, rows, strict=True))


def python2(labels, rows):
    """What cPickle of Python 2 wrote in format 2: text as byte strings, numpy's old module names."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85" + text(b"b") + b"\x87Rq\x03(K\x01"
        b"("
        + struct.pack("<cicH", b"J", len(rows), b"M", 3072)
        + b"tcnumpy\ndtype\nq\x04"
        + text(b"u1")
        + b"K\x00K\x01\x87R"
        b"q\x05(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + struct.pack("<i", rows.size) + rows.tobytes() + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + numbers + text(b"batch_label") + text(b"x") + b"u."


def python3(labels, rows, **options):
    return pickle.dumps({"data": rows, "labels": labels.tolist(), "filenames": ["a.png"] * len(rows)}, **options)


STEMS = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def files_of(form, ending=""):
    return {stem + ending: form(*batch(seed, n=2 + seed)) for seed, stem in enumerate(STEMS)}


def tar_of(path, files, mode="w:gz", change=None):
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if change:
                change(member)
            tar.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return path


def assert_is_the_batches(images, stems):
    truth = [batch(STEMS.index(stem), n=2 + STEMS.index(stem)) for stem in stems]
    assert images.labels.tolist() == [label for labels, _ in truth for label in labels]
    rows = np.concatenate([rows for _, rows in truth])
    assert images.pixels.shape == (len(rows), 32, 32, 3)
    for y, x, k in ((0, 0, 0), (0, 1, 1), (31, 31, 2), (5, 17, 1)):
        np.testing.assert_array_equal(images.pixels[:, y, x, k], rows[:, 1024 * k + 32 * y + x])
    second = images.pixels[1]
    assert [second[0, 0].tolist(), second[0, 1].tolist(), second[31, 31].tolist()] == np.diag([255] * 3).tolist()
    assert second.sum() == 3 * 255
    assert images.classes == CIFAR10_CLASSES


@pytest.mark.parametrize("layout", ["folder", "w", "w:gz"])
@pytest.mark.parametrize(("form", "ending"), [(binary, ".bin"), (python2, ""), (python3, "")])
def test_every_version_of_cifar10_gives_the_same_images(tmp_path, form, ending, layout):
    files = files_of(form, ending)
    shuffled = {name: files[name] for name in sorted(files, reverse=True)}
    if layout == "folder":
        path = tmp_path
        for name, content in shuffled.items():
            write(path / name, content)
    else:
        inside = {"./cifar-10-batches/" + name: content for name, content in shuffled.items()}
        path = tar_of(tmp_path / "some.tar", inside | {"cifar-10-batches/readme.html": b"<html>"}, layout)
    assert_is_the_batches(read_cifar10(path), STEMS[:5])
    assert_is_the_batches(read_cifar10(path, "test"), STEMS[5:])
    assert refusal(OptionError, read_cifar10, path, "valid").endswith("Choose one of: train, test.")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("lay", [np.ascontiguousarray, np.asfortranarray])
def test_a_python_batch_is_read_however_it_was_saved_again(tmp_path, protocol, lay):
    labels, rows = batch(5, n=7)
    write(tmp_path / "test_batch", python3(labels, lay(rows), protocol=protocol))
    assert_is_the_batches(read_cifar10(tmp_path, "test"), ["test_batch"])


def test_class_names_are_those_of_the_meta_file(tmp_path):
    names = [f"class-{number}" for number in range(10)]
    write(tmp_path / "test_batch.bin", binary(*batch(5)))
    write(tmp_path / "batches.meta.txt", "\n".join([*names, "", ""]).encode())
    assert read_cifar10(tmp_path, "test").classes == tuple(names)
    for content in ("\n".join(names[:9]), "\n".join([*names[:9], names[0]]), "\n".join([*names[:9], "é"])):
        write(tmp_path / "batches.meta.txt", content.encode())
        assert "10 different names" in refusal(DataError, read_cifar10, tmp_path, "test")


class Calls:
    """What pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_pickle_that_would_run_something_is_refused_by_its_name(tmp_path):
    proof = tmp_path / "ran"
    calls = {
        f"{os.system.__module__}.system": Calls(os.system, f"touch {proof}"),
        "builtins.eval": Calls(eval, f"open({str(proof)!r}, 'w')"),
        "numpy.load": Calls(np.load, str(proof)),
        "builtins.getattr": Calls(getattr, np.ndarray, "tofile"),
        "subprocess.Popen": Calls(subprocess.Popen, ["touch", str(proof)]),
    }
    for name, call in calls.items():
        for held in (call, {"data": call}, {"labels": [1], call: 1} if name.endswith("system") else [call]):
            protocols = range(pickle.HIGHEST_PROTOCOL + 1)
            for content in (pickle.dumps(held, protocol, fix_imports=False) for protocol in protocols):
                write(tmp_path / "test_batch", content)
                message = refusal(DataError, read_cifar10, tmp_path, "test")
                assert f"is refused: it asks for {name}," in message
    assert not proof.exists()
    # The same file, handed to Python's own unpickler, does run: the test would notice.
    pickle.loads(pickle.dumps(Calls(os.system, f"touch {proof}")))
    assert proof.exists()


def test_a_pickle_in_a_tar_is_held_to_the_same_list(tmp_path):
    proof = tmp_path / "ran"
    evil = pickle.dumps(Calls(os.system, f"touch {proof}"))
    path = tar_of(tmp_path / "cifar.tar.gz", {"cifar-10-batches-py/test_batch": evil})
    assert "test_batch of cifar.tar.gz is refused: it asks for" in refusal(DataError, read_cifar10, path, "test")
    assert not proof.exists()


LABELS, ROWS = batch(5)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no pickle"),
        (b"not one", "no pickle"),
        (python3(LABELS, ROWS)[:-1], "no pickle"),
        (python3(LABELS, ROWS)[:5000], "no pickle"),
        (python2(LABELS, ROWS)[:5000], "no pickle"),
        (b"\x80\x02]r\xff\xff\xff\x7f.", "no pickle"),  # a memo that the unpickler would make room for
        (b"\x80\x02]p4294967295\n.", "no pickle"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc.", "no pickle"),  # 2**60 bytes
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc.", "no pickle"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf-8\x86R.", "no pickle"),
        (b"\x80\x02c_codecs\nencode\nJ\xff\xff\xff\x7fX\x06\x00\x00\x00latin1\x86R.", "no pickle"),
        (b"\x80\x02cnumpy\ndtype\n}b.", "no pickle"),  # to change the stand-in itself
        (b"\x80\x02]Q.", "no pickle"),  # a persistent id
        (b"\x80\x02\x82\x01.", "no pickle"),  # an extension code
        (pickle.dumps([1, 2]), "has no data"),
        (pickle.dumps({"labels": [1, 2, 3]}), "has no data"),
        (pickle.dumps({"data": ROWS}), "has no data"),
        (pickle.dumps({"data": ROWS.tolist(), "labels": [1, 2, 3]}), "has no data"),
        (python3(LABELS[:2], ROWS), "has no data"),
        (python3(LABELS, ROWS[:, :3071].copy()), "has no data"),
        (python3(LABELS, ROWS.astype(np.int8)), "has no data"),
        (python3(LABELS, ROWS.astype(object)), "has no data"),
        (python3(LABELS, ROWS.ravel()), "has no data"),
        (pickle.dumps({"data": ROWS, "labels": LABELS}), "has no data"),
        (pickle.dumps({"data": ROWS, "labels": [1, 2, 10]}), "no numbers from 0 to 9"),
        (pickle.dumps({"data": ROWS, "labels": [1, 2, -1]}), "no numbers from 0 to 9"),
        (pickle.dumps({"data": ROWS, "labels": [1, 2, 2**70]}), "no numbers from 0 to 9"),
        (pickle.dumps({"data": ROWS, "labels": [1, 2, "3"]}), "no numbers from 0 to 9"),
    ],
)
def test_a_python_batch_that_is_none_is_refused(tmp_path, content, told):
    write(tmp_path / "test_batch", content)
    message = refusal(DataError, read_cifar10, tmp_path, "test")
    assert told in message
    assert "test_batch" in message


def test_a_pickle_that_says_more_than_it_holds_is_refused(tmp_path):
    content = python2(LABELS, ROWS).replace(struct.pack("<ci", b"J", 3), struct.pack("<ci", b"J", 2**31 - 1))
    write(tmp_path / "test_batch", content)
    assert "has no data" in refusal(DataError, read_cifar10, tmp_path, "test")


@pytest.mark.parametrize("content", [b"", b"\0", binary(LABELS, ROWS)[:-1], binary(LABELS, ROWS) + b"\0"])
def test_binary_batches_are_whole_records(tmp_path, content):
    write(tmp_path / "test_batch.bin", content)
    assert f"has {len(content)} bytes, not records of 3073" in refusal(DataError, read_cifar10, tmp_path, "test")


def test_a_label_that_is_no_class_is_refused(tmp_path):
    write(tmp_path / "test_batch.bin", binary([3, 10, 0], ROWS))
    assert "labels from 0 to 10 and 10 classes" in refusal(DataError, read_cifar10, tmp_path, "test")


def test_batches_that_are_missing_are_named(tmp_path):
    files = files_of(binary, ".bin")
    del files["data_batch_2.bin"], files["data_batch_4.bin"]
    path = tar_of(tmp_path / "cifar.tar.gz", files)
    assert "has no plain file data_batch_2.bin, data_batch_4.bin" in refusal(DataError, read_cifar10, path)
    assert len(read_cifar10(path, "test")) == 7
    assert "test_batch.bin" in refusal(DataError, read_cifar10, tmp_path, "test")
    assert "There is no file" in refusal(DataError, read_cifar10, tmp_path / "absent.tar.gz")


def test_odd_members_of_a_tar_are_neither_read_nor_written(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    good = binary(*batch(5))

    def link(member):
        member.type, member.linkname, member.size = tarfile.SYMTYPE, "../../secret", 0

    def hard_link(member):
        member.type, member.linkname, member.size = tarfile.LNKTYPE, "other.bin", 0

    def device(member):
        member.type, member.size = tarfile.CHRTYPE, 0

    for name, change in (
        ("../test_batch.bin", None),
        ("a/../../test_batch.bin", None),
        (f"{tmp_path}/test_batch.bin", None),
        ("test_batch.bin", link),
        ("test_batch.bin", hard_link),
        ("test_batch.bin", device),
    ):
        path = tar_of(work / "cifar.tar", {name: good}, "w", change)
        assert "has no plain file test_batch.bin" in refusal(DataError, read_cifar10, path, "test")
    path = tar_of(work / "cifar.tar", {"../x": b"x", "a/test_batch.bin": good, "a/../test_batch.bin": good}, "w")
    assert len(read_cifar10(path, "test")) == 3
    path = tar_of(work / "cifar.tar", {"a/test_batch.bin": good, "b/test_batch.bin": good}, "w")
    assert "holds test_batch.bin twice" in refusal(DataError, read_cifar10, path, "test")
    assert sorted(tmp_path.rglob("*")) == [work, path]


def test_a_tar_that_is_cut_short_or_none_is_refused(tmp_path):
    whole = tar_of(tmp_path / "whole.tar.gz", files_of(binary, ".bin")).read_bytes()
    plain = gzip.decompress(whole)
    backwards = bytearray(plain)
    backwards[124:136] = b"\xff" * 10 + b"\xf0\x00"  # a negative size
    backwards[148:156] = b"%06o\0 " % (sum(backwards[:148]) + sum(backwards[156:512]) + 8 * 32)
    for content in (whole[:-9], whole[:5000], plain[:1000], b"", b"x" * 2000, gzip.compress(b"x" * 2000), backwards):
        path = write(tmp_path / "cifar.tar.gz", bytes(content))
        assert "cut short or damaged" in refusal(DataError, read_cifar10, path)
    for blocks in (14, 14.5):  # behind the first member, where tarfile itself takes the tar for a whole one
        path = write(tmp_path / "cifar.tar", plain[: int(512 * blocks)])
        assert "has no plain file data_batch_2.bin, data_batch_3.bin" in refusal(DataError, read_cifar10, path)


# ---- pictures ----


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, dtype=np.uint8))).save(
        path, **options
    )
    return path


GREY = np.array([[0, 1, 2], [253, 254, 255]], dtype=np.uint8)
RGB = np.stack([GREY, GREY[::-1], GREY // 2], axis=-1)


def test_grey_pictures_are_their_pixels_in_the_order_of_names(tmp_path):
    save(tmp_path / "b.PNG", GREY)
    save(tmp_path / "a.png", GREY + 1)
    save(tmp_path / "c.png", Image.fromarray(GREY > 100))
    (tmp_path / ".hidden.png").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("nothing")
    images = read_folder(tmp_path)
    np.testing.assert_array_equal(images.pixels[..., 0], [GREY + 1, GREY, (GREY > 100) * 255])
    assert (images.labels, images.classes, images.name) == (None, (), tmp_path.name)


def test_one_picture_in_colour_makes_all_rgb(tmp_path):
    save(tmp_path / "grey.png", GREY)
    save(tmp_path / "rgb.png", RGB)
    palette = save(tmp_path / "with_palette.png", Image.fromarray(RGB).quantize(6))
    with Image.open(palette) as picture:
        assert picture.mode == "P"
    images = read_folder(tmp_path)
    np.testing.assert_array_equal(images.pixels, [np.stack([GREY] * 3, axis=-1), RGB, RGB])


def test_jpeg_is_what_was_saved_but_for_its_rounding(tmp_path):
    y, x = np.mgrid[:16, :24]
    for name, smooth in (("grey.jpg", 8 * y + 4 * x), ("other.JPEG", 255 - 8 * y - 4 * x)):
        save(tmp_path / name, smooth, quality=95)
    images = read_folder(tmp_path)
    assert images.shape == (16, 24, 1)
    assert np.abs(images.pixels[0, ..., 0].astype(int) - (8 * y + 4 * x)).max() <= 3


def test_sub_folders_are_classes(tmp_path):
    save(tmp_path / "dog" / "1.png", GREY + 1)
    save(tmp_path / "cat" / "2.png", GREY)
    save(tmp_path / "cat" / "1.png", GREY + 2)
    (tmp_path / ".cache").mkdir()
    images = read_folder(tmp_path)
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, 0, 1]
    assert images.pixels[:, 0, 0, 0].tolist() == [2, 0, 1]


def png(header, rows):
    """A PNG file of the given header fields and raw rows, each with its filter byte."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", *header)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def test_a_hand_made_png_is_its_bytes(tmp_path):
    write(tmp_path / "a.png", png((2, 2, 8, 2, 0, 0, 0), bytes([0, 1, 2, 3, 4, 5, 6, 0, 7, 8, 9, 10, 11, 255])))
    assert read_folder(tmp_path).pixels.tolist() == [[[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 255]]]]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.png", b"", "x.png is no PNG or JPEG"),
        ("x.png", b"not a picture", "x.png is no PNG or JPEG"),
        ("x.jpg", b"\xff\xd8\xff\xe0 cut", "x.jpg is no PNG or JPEG"),
        ("x.png", b"GIF89a" + bytes(20), "x.png is no PNG or JPEG"),
        ("x.png", png((3, 2, 8, 0, 0, 0, 0), b"\0abc\0def")[:48], "x.png is no PNG or JPEG"),
        ("x.png", png((3, 2, 8, 0, 0, 0, 0), b"\0"), "x.png is no PNG or JPEG"),
        ("x.png", png((3, 2, 8, 0, 0, 0, 0), bytes(8))[:-20] + bytes(20), "x.png is no PNG or JPEG"),
        ("x.png", png((60000, 60000, 8, 0, 0, 0, 0), bytes(8)), "x.png is no PNG or JPEG"),
        ("x.png", png((3, 2, 16, 0, 0, 0, 0), bytes(14)), "x.png has 16 bits a value"),
        ("x.png", png((3, 2, 16, 2, 0, 0, 0), bytes(38)), "x.png has 16 bits a value"),
        ("x.png", png((3, 2, 8, 4, 0, 0, 0), bytes(14)), "x.png has transparency"),
        ("x.png", png((3, 2, 8, 6, 0, 0, 0), bytes(26)), "x.png has transparency"),
        ("x.bmp", b"BM", "x.bmp is neither PNG nor JPEG"),
        ("x.TIF", b"II", "x.TIF is neither PNG nor JPEG"),
    ],
)
def test_a_picture_that_is_none_or_would_lose_something_is_refused(tmp_path, name, content, told):
    save(tmp_path / "a.png", GREY)
    write(tmp_path / name, content)
    assert told in refusal(DataError, read_folder, tmp_path)


def test_a_transparent_palette_and_cmyk_are_refused(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(RGB).quantize(6), transparency=0)
    assert "a.png has transparency" in refusal(DataError, read_folder, tmp_path)
    path.unlink()
    save(tmp_path / "a.jpg", Image.fromarray(RGB).convert("CMYK"))
    assert "a.jpg has the colours CMYK" in refusal(DataError, read_folder, tmp_path)


def test_the_first_picture_of_another_size_is_named(tmp_path):
    for name, shape in (("a", (4, 5)), ("b", (4, 5)), ("c", (5, 4)), ("d", (9, 9))):
        save(tmp_path / "k" / f"{name}.png", np.zeros(shape))
    message = refusal(DataError, read_folder, tmp_path)
    assert "c.png is 4 x 5" in message
    assert "a.png is 5 x 4" in message


def test_folders_that_hold_something_else_are_refused(tmp_path):
    assert "holds no picture" in refusal(DataError, read_folder, tmp_path)
    assert "There is no folder" in refusal(DataError, read_folder, tmp_path / "absent")
    save(tmp_path / "cat" / "1.png", GREY)
    (tmp_path / "dog").mkdir()
    assert "/dog is taken for a class and holds no PNG or JPEG" in refusal(DataError, read_folder, tmp_path)
    save(tmp_path / "dog" / "big" / "1.png", GREY)
    assert "/dog is taken for a class and holds the folder big" in refusal(DataError, read_folder, tmp_path)
    save(tmp_path / "1.png", GREY)
    assert "pictures beside classes such as cat" in refusal(DataError, read_folder, tmp_path)


# ---- the menu ----


def idx_set(folder, train=(3, 1, 2), test=(9,), form="{}-ubyte"):
    for stem, labels in (("train", train), ("t10k", test)):
        pixels = np.arange(len(labels) * 6).reshape(-1, 2, 3) + len(labels)
        for kind, content in (("images{}idx3", idx(pixels)), ("labels{}idx1", idx(labels))):
            name = f"{stem}-{form.format(kind.format('.' if '.idx' in form or form[0] == '.' else '-'))}".lstrip(".")
            write(folder / name, gzip.compress(content) if name.endswith(".gz") else content)


@pytest.mark.parametrize("form", ["{}-ubyte", "{}-ubyte.gz"])
@pytest.mark.parametrize("folder", ["", "mnist", "MNIST/raw"])
def test_mnist_is_found_where_it_usually_lies(tmp_path, form, folder):
    idx_set(tmp_path / folder, form=form)
    for name in ("mnist", "MNIST"):
        train, test = load_images(name, data_dir=tmp_path), load_images(name, "test", tmp_path)
        assert train.labels.tolist() == [3, 1, 2]
        assert train.pixels[1].tolist() == [[[9], [10], [11]], [[12], [13], [14]]]
        assert test.pixels[0, 0, 0, 0] == 1
        assert (test.labels.tolist(), test.name, test.classes[9]) == ([9], "mnist", "9")


@pytest.mark.parametrize("name", ["fashion-mnist", "FashionMNIST", "Fashion_MNIST"])
def test_the_other_spelling_of_the_files_is_found_too(tmp_path, name):
    raw = tmp_path / "FashionMNIST" / "raw"
    write(raw / "train-images.idx3-ubyte", idx(np.zeros((2, 4, 4))))
    write(raw / "train-labels.idx1-ubyte.gz", gzip.compress(idx([9, 0])))
    images = load_images(name, data_dir=tmp_path)
    assert [images.classes[label] for label in images.labels] == ["Ankle boot", "T-shirt/top"]
    assert images.name == "fashion-mnist"


def test_the_folder_is_the_option_then_the_variable_then_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    idx_set(tmp_path / "data", train=(1,))
    idx_set(tmp_path / "variable" / "mnist", train=(2,))
    idx_set(tmp_path / "option", train=(3,))
    monkeypatch.setenv("SEQAE_DATA", str(tmp_path / "variable"))
    assert load_images("mnist", data_dir="option").labels.tolist() == [3]
    assert load_images("mnist").labels.tolist() == [2]
    monkeypatch.setenv("SEQAE_DATA", str(tmp_path / "empty"))
    assert load_images("mnist").labels.tolist() == [1]
    monkeypatch.delenv("SEQAE_DATA")
    assert load_images("mnist").labels.tolist() == [1]


def test_one_set_is_not_taken_for_the_other(tmp_path):
    idx_set(tmp_path, train=(5, 0, 4, 1, 9, 2, 1, 3, 1), test=(9, 2, 1, 1, 6, 1, 4, 6, 5))
    assert len(load_images("mnist", data_dir=tmp_path)) == 9
    assert "labels of mnist, not of fashion-mnist" in refusal(
        DataError, load_images, "fashion-mnist", "train", tmp_path
    )
    assert "labels of fashion-mnist, not of mnist" in refusal(DataError, load_images, "mnist", "test", tmp_path)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    idx_set(tmp_path)
    write(tmp_path / "t10k-labels-idx1-ubyte", idx([1, 2]))
    assert "1 images and labels of int64 (2,)" in refusal(DataError, load_images, "mnist", "test", tmp_path)
    write(tmp_path / "t10k-labels-idx1-ubyte", idx([10]))
    assert "labels from 10 to 10" in refusal(DataError, load_images, "mnist", "test", tmp_path)
    write(tmp_path / "t10k-labels-idx1-ubyte", idx(np.zeros((1, 2, 2))))
    assert "do not hold images and labels" in refusal(DataError, load_images, "mnist", "test", tmp_path)
    write(tmp_path / "train-images-idx3-ubyte", idx(np.zeros((0, 4, 4))))
    write(tmp_path / "train-labels-idx1-ubyte", idx([]))
    assert "no image" in refusal(DataError, load_images, "mnist", "train", tmp_path)


@pytest.mark.parametrize("name", [name for name in IMAGES if name != "digits"])
def test_what_is_absent_is_told_with_where_it_was_looked_for_and_where_it_is_from(tmp_path, monkeypatch, name):
    message = refusal(DataError, load_images, name, "test", tmp_path / "here")
    assert str(tmp_path / "here") in message
    assert IMAGES[name].address in message
    assert message.endswith("--data-dir.")
    assert ("t10k-labels-idx1-ubyte" if "mnist" in name else "cifar-10-binary.tar.gz") in message
    assert all(folder in message for folder in IMAGES[name].folders)
    monkeypatch.setenv("SEQAE_DATA", str(tmp_path / "there"))
    monkeypatch.chdir(tmp_path)
    assert f"not in {tmp_path / 'there'} or data," in refusal(DataError, load_images, name)


def test_cifar10_is_found_as_a_folder_or_a_tar(tmp_path):
    for folder, (form, ending) in (
        ("a/cifar-10-batches-bin", (binary, ".bin")),
        ("b/cifar-10-batches-py", (python3, "")),
        ("c", (binary, ".bin")),
    ):
        for name, content in files_of(form, ending).items():
            write(tmp_path / folder / name, content)
        assert_is_the_batches(load_images("CIFAR-10", data_dir=tmp_path / folder[0]), STEMS[:5])
    for folder, name in (
        ("d", "cifar-10-binary.tar.gz"),
        ("e/cifar10", "cifar-10-python.tar.gz"),
        ("f", "cifar-10-binary.tar"),
    ):
        (tmp_path / folder).mkdir(parents=True)
        files = files_of(*((binary, ".bin") if "binary" in name else (python3, "")))
        tar_of(tmp_path / folder / name, files, "w:gz" if name.endswith(".gz") else "w")
        assert_is_the_batches(load_images("cifar10", "test", tmp_path / folder[0]), STEMS[5:])
    # The whole archive goes before one that was made smaller.
    tar_of(tmp_path / "d" / "cifar-10-binary-reduced.tar.gz", {})
    assert_is_the_batches(load_images("CIFAR10", data_dir=tmp_path / "d"), STEMS[:5])


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    truth = load_digits()
    train, test = digits(), load_images("Digits", "test")
    assert (len(train), len(test)) == (1437, 360)
    scaled = [[[round(value * 255 / 16) for value in row] for row in image] for image in truth.images]
    np.testing.assert_array_equal(np.concatenate([train.pixels, test.pixels])[..., 0], scaled)
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), truth.target)
    assert sorted({value for image in scaled[:50] for row in image for value in row})[8] == 128
    refusal(OptionError, digits, "valid")


def test_a_folder_of_train_and_test_gives_those_numbered_alike(tmp_path):
    for place, shade in (("train/cat", 1), ("train/dog", 2), ("test/dog", 3), ("test/eel", 4)):
        save(tmp_path / place / "1.png", GREY // 2 + shade)
    train, test = load_images(str(tmp_path)), load_images(str(tmp_path), "test")
    assert train.classes == test.classes == ("cat", "dog", "eel")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1], [1, 2])
    assert (train.pixels[:, 0, 0, 0].tolist(), test.pixels[:, 0, 0, 0].tolist()) == ([1, 2], [3, 4])
    assert train.name == tmp_path.name
    whole = tmp_path / "train"
    for part in ("train", "test"):
        assert load_images(str(whole), part).pixels[:, 0, 0, 0].tolist() == [1, 2]


def test_a_folder_that_is_called_as_a_set_has_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "digits" / "1.png", GREY)
    assert len(load_images("digits")) == 1437
    assert len(load_images("./digits")) == 1
    assert "or one of: mnist, fashion-mnist, cifar10, digits" in refusal(DataError, load_images, "nothing")
    assert refusal(OptionError, load_images, "mnist", "valid").endswith("Choose one of: train, test.")


def test_image_data_are_names_and_folders_of_pictures_without_tables(tmp_path):
    assert all(map(is_image_data, ("mnist", "Fashion_MNIST", "CIFAR-10", "digits", "FashionMNIST")))
    assert not any(map(is_image_data, ("elnino", "-", "", "mnist.csv", str(tmp_path / "absent"), str(tmp_path))))
    save(tmp_path / "flat" / "1.PNG", GREY)
    save(tmp_path / "classes" / "cat" / "1.jpg", GREY)
    save(tmp_path / "parts" / "train" / "cat" / "1.jpeg", GREY)
    write(tmp_path / "others" / "1.bmp", b"BM")
    for name in ("flat", "classes", "parts", "others"):
        assert is_image_data(str(tmp_path / name))
    assert not is_image_data(str(tmp_path / "flat" / "1.PNG"))
    save(tmp_path / "hidden" / ".thumbnails" / "1.png", GREY)
    assert not is_image_data(str(tmp_path / "hidden"))
    for ending in ENDINGS:
        write(tmp_path / "both" / "1.png", b"")
        table = write(tmp_path / "both" / f"a{ending.upper()}", b"")
        assert not is_image_data(str(tmp_path / "both"))
        table.unlink()
        assert is_image_data(str(tmp_path / "both"))


def test_reading_images_loads_neither_torch_nor_pandas_nor_scikit_learn(tmp_path):
    path = write(tmp_path / "labels", idx([1, 2]))
    code = (
        f"import sys; from seqae.datasets.images import *; read_idx({str(path)!r}); is_image_data('.')\n"
        "print(sorted({'torch', 'pandas', 'sklearn', 'PIL', 'scipy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# ---- the published files ----


@pytest.mark.parametrize(
    ("name", "folder", "part", "count", "first", "mean"),
    [
        ("mnist", "mnist", "train", 60000, [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], 33.318),
        ("mnist", "mnist", "test", 10000, [7, 2, 1, 0, 4, 1, 4, 9, 5, 9], 33.791),
        ("fashion-mnist", "fashion_mnist", "train", 60000, [9, 0, 0, 3, 0, 2, 7, 2, 5, 5], 72.940),
        ("fashion-mnist", "fashion_mnist", "test", 10000, [9, 2, 1, 1, 6, 1, 4, 6, 5, 7], 73.147),
    ],
)
def test_the_published_sets_are_as_published(name, folder, part, count, first, mean):
    if not (DATA / folder).is_dir():
        pytest.skip(f"no {folder} under SEQAE_DATA")
    images = load_images(name, part, DATA)
    assert (len(images), images.shape, images.name) == (count, (28, 28, 1), name)
    assert images.labels[:10].tolist() == first
    assert images.pixels.mean() == pytest.approx(mean, abs=5e-4)
    if folder == "mnist":
        per_class = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert part == "test" or np.bincount(images.labels).tolist() == per_class
    else:
        assert np.bincount(images.labels).tolist() == [count // 10] * 10


def test_mnist_asked_for_in_the_other_set_s_folder_is_refused():
    if not (DATA / "fashion_mnist").is_dir():
        pytest.skip("no fashion_mnist under SEQAE_DATA")
    message = refusal(DataError, load_images, "mnist", "test", DATA / "fashion_mnist")
    assert "labels of fashion-mnist" in message


def test_the_reduced_cifar10_holds_what_it_holds():
    if not CIFAR10.exists():
        pytest.skip("no cifar10 under SEQAE_DATA")
    train, test = read_cifar10(CIFAR10), load_images("cifar10", "test", DATA)
    assert (len(train), len(test), train.shape) == (5000, 1000, (32, 32, 3))
    with tarfile.open(CIFAR10) as tar:
        last = tar.extractfile("cifar-10-batches-bin/data_batch_5.bin").read()[-3073:]
    assert train.labels[-1] == last[0]
    assert train.pixels[-1, 3, 7].tolist() == [last[1 + 1024 * k + 32 * 3 + 7] for k in range(3)]
    assert train.classes == CIFAR10_CLASSES
    # Neighbouring pixels of photographs are alike across rows and columns, which wrong planes or strides would not be.
    for axis in (1, 2):
        assert np.abs(np.diff(test.pixels.astype(int), axis=axis)).mean() < 20
