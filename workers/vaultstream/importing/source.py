"""The input file: found, recognised, and opened through its compression."""

from __future__ import annotations

import gzip
import io
import stat
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO, cast

from vaultstream.errors import ImportFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
_BUFFER_BYTES = 1 << 18
_ENCRYPTED = 0x1

DAMAGED = (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error)
"""What reading raises when compressed bytes are cut short or wrong."""


class Format(StrEnum):
    """How a file's records are written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


@dataclass(frozen=True)
class Source:
    """An open input."""

    path: Path
    format: Format
    stream: BinaryIO
    """Its bytes, decompressed."""
    size: int
    """Bytes of the file as it lies there."""
    raw: BinaryIO
    """The file itself; its position says how far reading has come."""

    @property
    def position(self) -> int:
        """Bytes of the file read so far, out of `size`."""
        return min(self.raw.tell(), self.size)


@contextmanager
def open_source(path: Path, wanted: Format | None = None) -> Iterator[Source]:
    """Opens a file, decompressing `.gz` and `.zip` as it is read.

    Args:
        path: of the file.
        wanted: its format; None goes by its name, of a zip by the name of the file in it.

    Raises:
        ImportFileError: it can't be read, is empty, or its format is not known.
    """
    with ExitStack() as stack:
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                raise ImportFileError(f"{path} is a directory.", hint="Name a file in it.")
            if not stat.S_ISREG(status.st_mode):
                raise ImportFileError(
                    f"{path} is no regular file.", hint="Write its content to a file first."
                )
            raw = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            raise ImportFileError(f"There is no file {path}.", hint="Check the path.") from None
        except OSError as error:
            raise ImportFileError(f"{path} can't be read: {error.strerror}.") from None
        if status.st_size == 0:
            raise ImportFileError(f"{path} is empty.")
        name, stream = _decompressed(path, raw, stack)
        found = wanted or _by_name(name, path)
        if found is Format.PARQUET and stream is not raw:
            raise ImportFileError(
                f"{path} is a compressed Parquet file, which can't be read on the fly.",
                hint="Unpack it first; Parquet is compressed in itself.",
            )
        yield Source(path, found, stream, status.st_size, raw)


def _by_name(name: str, path: Path) -> Format:
    ending = PurePath(name).suffix.lower()
    if ending not in _ENDINGS:
        raise ImportFileError(
            f"The ending of {path.name} names no format that can be imported.",
            hint=f"Say which it is with --format csv, jsonl or parquet; known endings: {', '.join(_ENDINGS)}, "
            "each with .gz or .zip after it.",
        )
    return Format(_ENDINGS[ending])


def _decompressed(path: Path, raw: BinaryIO, stack: ExitStack) -> tuple[str, BinaryIO]:
    """Returns the name that tells the format, and the stream."""
    ending = path.suffix.lower()
    try:
        if ending == ".gz":
            unpacked = stack.enter_context(gzip.GzipFile(fileobj=raw, mode="rb"))
            unpacked.peek(1)
            return path.stem, cast("BinaryIO", unpacked)
        if ending == ".zip":
            archive = stack.enter_context(zipfile.ZipFile(raw))
            member = _only_member(path, archive)
            unzipped = stack.enter_context(archive.open(member))
            name = member.filename if PurePath(member.filename).suffix else path.stem
            buffered = io.BufferedReader(cast("io.RawIOBase", unzipped), _BUFFER_BYTES)
            return name, stack.enter_context(buffered)
    except (*DAMAGED, NotImplementedError) as error:
        raise ImportFileError(
            f"{path} can't be unpacked: {str(error).rstrip('.')}.", hint="Make the archive again."
        ) from None
    return path.name, raw


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        held = "no file" if not members else f"{len(members)} files"
        raise ImportFileError(
            f"{path} holds {held}; a zip that is imported holds one.",
            hint="Unpack it and import its files one by one, the later ones with --append.",
        )
    if members[0].flag_bits & _ENCRYPTED:
        raise ImportFileError(f"{path} is encrypted.", hint="Unpack it with its password first.")
    if members[0].file_size == 0:
        raise ImportFileError(f"The file in {path} is empty.")
    return members[0]
