"""The bytes of a file: unpacked, checked to be UTF-8 text, whole or cut into stretches of rows at bounded memory."""

from __future__ import annotations

__all__ = ["PathLike", "content_of", "count_lines", "row_stretches", "text_of"]

import contextlib
import csv
import gzip
import io
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NoReturn, cast

import numpy as np

from seqae.errors import DataError

PathLike = str | os.PathLike[str]

_OTHER_FORMATS = {
    b"PAR1": "a Parquet file: use read_parquet, or give it the ending .parquet",
    b"PK\x03\x04": "a ZIP or Excel file: save it as CSV",
    b"\xfd7zXZ": "an xz file: unpack it, or pack it with gzip",
    b"BZh": "a bzip2 file: unpack it, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "a zstd file: unpack it, or pack it with gzip",
    b"\x89HDF": "an HDF5 file: write it as CSV or Parquet",
}
_MARK = b"\xef\xbb\xbf"
_BLOCK = 1 << 20
_LONGEST_RECORD = 1 << 24


@contextlib.contextmanager
def _opened(path: PathLike, shown: str) -> Iterator[IO[bytes]]:
    """Open a file, or "-" for standard input, unpacked where it is gzip; DataError where it cannot be read."""
    with contextlib.ExitStack() as stack:
        try:
            if os.fspath(path) == "-":
                stream: IO[bytes] = sys.stdin.buffer
            else:
                stream = stack.enter_context(Path(path).open("rb"))
            if not hasattr(stream, "peek"):
                stream = io.BufferedReader(stream)  # type: ignore[type-var]
            first = stream.peek(2)[:2]
            packed = first == b"\x1f\x8b"
            if first and not packed and shown.lower().endswith(".gz"):
                raise DataError(f"{shown} is not gzip, though it ends in .gz. Rename it, or pack it with gzip.")
            yield cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=stream))) if packed else stream
        except FileNotFoundError as problem:
            raise DataError(f"There is no file {os.fspath(path)}. Check the path.") from problem
        except IsADirectoryError as problem:
            raise DataError(
                f"{shown} is a folder. Use read_table for one series per file, or name a file."
            ) from problem
        except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
            raise DataError(f"{shown} is a gzip file that is cut short or damaged. Copy or pack it again.") from problem
        except OSError as problem:
            raise DataError(
                f"{shown} cannot be read: {problem.strerror}. Check the path and its permissions."
            ) from problem


def content_of(path: PathLike, shown: str) -> bytes:
    """Return what is in the file, unpacked."""
    with _opened(path, shown) as stream:
        return stream.read()


def _blocks(path: PathLike, shown: str) -> Iterator[bytes]:
    with _opened(path, shown) as stream:
        while block := stream.read(_BLOCK):
            yield block


def count_lines(path: PathLike) -> int:
    """Return how many lines a file has, blank ones and the header included, at a small part of the time to read it."""
    lines, last = 0, b"\n"
    for block in _blocks(path, Path(path).name):
        lines += block.count(b"\n")
        last = block[-1:]
    return lines + (last != b"\n")


# ---- text ----


def text_of(content: bytes, shown: str) -> bytes:
    """Return UTF-8 text without byte order mark, with line ends of \\n or \\r\\n."""
    content = _unmarked(content, shown)
    _refuse_other_encodings(content, shown)
    if b"\n" not in content and b"\r" in content:
        content = content.replace(b"\r", b"\n")
    if not content or content.isspace():
        _refuse_empty(shown)
    return content


def _unmarked(content: bytes, shown: str) -> bytes:
    """Return what a file begins with, without byte order mark; DataError where that is no text."""
    for magic, cure in _OTHER_FORMATS.items():
        if content.startswith(magic):
            raise DataError(f"{shown} is not CSV but {cure}.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in content[:4096]:
        _refuse_encoding(shown, "UTF-16", "it has zero bytes or a UTF-16 mark")
    return content.removeprefix(_MARK)


def _refuse_other_encodings(content: bytes, shown: str, before: int = 0) -> None:
    """Raise DataError where text is not UTF-8; before: lines of the file that it begins after."""
    if content.isascii():
        return
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as problem:
        # The bytes that Windows' code page leaves undefined.
        likely = "ISO-8859-1" if re.search(rb"[\x81\x8d\x8f\x90\x9d]", content) else "CP1252"
        line = before + content.count(b"\n", 0, problem.start) + 1
        _refuse_encoding(shown, likely, f"byte 0x{content[problem.start]:02x} in line {line} is not")


def _refuse_encoding(shown: str, likely: str, why: str) -> NoReturn:
    raise DataError(
        f"{shown} is not UTF-8: {why}. It is likely {likely}: convert it with "
        f"iconv -f {likely} -t UTF-8 {shown} > utf8.csv."
    )


def _refuse_empty(shown: str) -> NoReturn:
    raise DataError(f"{shown} is empty. Give a CSV file with a header line and rows.")


# ---- stretches of rows ----


def row_stretches(path: PathLike, shown: str, delimiter: str, *, first: int, rows: int) -> Iterator[tuple[int, bytes]]:
    """Yield a text's consecutive stretches of whole records, each with the lines of the file that it begins after.

    first: records of the first stretch, the header among them; rows: of every further one. A stretch may hold fewer,
    for blank lines count; those at its end go to the next one, so that none is taken for the end of the file.
    """
    parts: list[bytes] = []
    before, ends, wanted, given = 0, 0, first, False
    for block in _line_blocks(_blocks(path, shown), shown):
        parts.append(block)
        ends += block.count(b"\n")
        while ends >= wanted:
            text = b"".join(parts)
            cut = _record_end(text, wanted, delimiter, shown, before)
            inked = text[:cut].rstrip()
            enough = inked if given else b"\n" in inked.lstrip()  # the first stretch has a row beside the header
            cut = text.find(b"\n", len(inked)) + 1 if enough else 0
            if not cut:
                wanted = ends + 1  # one blank or quoted stretch: more is needed to tell where it ends
                parts = [text]
                break
            _refuse_other_encodings(text[:cut], shown, before)
            yield before, text[:cut]
            lines = text.count(b"\n", 0, cut)
            before, ends, wanted, given, parts = before + lines, ends - lines, rows, True, [text[cut:]]
    rest = b"".join(parts)
    if rest.strip() or (given and delimiter.encode() in rest):
        _refuse_other_encodings(rest, shown, before)
        yield before, rest
    elif not given:
        _refuse_empty(shown)


def _line_blocks(blocks: Iterable[bytes], shown: str) -> Iterator[bytes]:
    """Yield blocks of text whose lines end in \\n or \\r\\n."""
    alone: bool | None = None
    for block in blocks:
        if alone is None:
            block = _unmarked(block, shown)
            alone = b"\n" not in block and b"\r" in block
        if alone and b"\n" in block:
            raise DataError(f"{shown} ends lines with \\r and others with \\n. Read it whole: --chunk-rows 0.")
        yield block.replace(b"\r", b"\n") if alone else block


def _record_end(text: bytes, records: int, delimiter: str, shown: str, before: int) -> int:
    """Return where so many records end, or fewer if the text has no more whole ones; 0 where it has none."""
    if records <= 64:
        end = 0
        for _ in range(records):
            end = text.find(b"\n", end) + 1
    else:
        end = int(np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n"))[records - 1]) + 1
    return end if b'"' not in text[:end] else _quoted_record_end(text, records, delimiter, shown, before)


def _quoted_record_end(text: bytes, records: int, delimiter: str, shown: str, before: int) -> int:
    """Return the same as _record_end where fields are quoted, and may hold line ends."""
    read = 0

    def lines() -> Iterator[str]:
        nonlocal read
        for line in io.BytesIO(text[: text.rfind(b"\n") + 1]):
            read += len(line)
            # A line is one that ends in \n; where it is text at all is told with its number later.
            yield line.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", " ")

    end = 0
    try:
        for number, _ in enumerate(csv.reader(lines(), delimiter=delimiter, skipinitialspace=True, strict=True), 1):
            end = read
            if number == records:
                break
    except csv.Error as problem:
        if read >= text.rfind(b"\n") + 1 and "unexpected end" in str(problem):
            if end == 0 and len(text) > _LONGEST_RECORD:
                raise DataError(
                    f"{shown} cannot be read as CSV from line {before + 1} on: a quote is not closed. Check its quotes."
                ) from problem
            return end
        return end or read  # what is wrong is told with its line when the stretch is read
    return end
