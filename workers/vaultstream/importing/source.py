"""Opens the input file: recognizes its format and decompresses it."""

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
from vaultstream.importing.encoding import other_format_of, structure_of, wide_encoding_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ENDINGS = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_PACKED = {".gz": b"\x1f\x8b", ".zip": b"PK"}
"""How files with these endings begin."""
_BUFFER_BYTES = 1 << 18
_ENCRYPTED = 0x1

DAMAGED = (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error)
"""What reading raises when compressed bytes are truncated or corrupt."""


STANDARD_INPUT_NAME = "standard input"


def subject_of(name: str) -> str:
    """Returns the name of an input at the beginning of a sentence."""
    return "Standard input" if name == STANDARD_INPUT_NAME else name


class Format(StrEnum):
    """The format of a file's records."""

    CSV = "csv"
    JSON = "json"
    """One array of objects; also what JSONL is."""
    JSONL = "jsonl"
    """One object per line; also what JSON is."""
    PARQUET = "parquet"


@dataclass(frozen=True)
class ImportSource:
    """An open input."""

    path: Path
    format: Format
    stream: BinaryIO
    """Its bytes, decompressed."""
    size: int
    """Size of the file as it is stored, in bytes."""
    raw: BinaryIO
    """The file itself; its position shows how far it was read."""
    name: str
    """What messages call it: its path, or standard input."""

    @property
    def subject(self) -> str:
        """Its name at the beginning of a sentence."""
        return subject_of(self.name)

    @property
    def position(self) -> int:
        """Bytes of the file read so far, out of `size`."""
        return min(self.raw.tell(), self.size)


@contextmanager
def open_import_source(
    path: Path, wanted: Format | None = None, *, piped: bool = False
) -> Iterator[ImportSource]:
    """Opens a file, decompressing `.gz` and `.zip` as it is read.

    Args:
        path: path of the file.
        wanted: its format; None: derived from its name, or for a zip from the name of the file in it.
        piped: whether it is a copy of standard input, which messages then name.

    Raises:
        ImportFileError: it can't be read, is empty, or has an unknown format.
    """
    name = STANDARD_INPUT_NAME if piped else str(path)
    subject = subject_of(name)
    with ExitStack() as stack:
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                raise ImportFileError(f"{path} is a directory.", hint="Name a file in it.")
            if not stat.S_ISREG(status.st_mode):
                raise ImportFileError(
                    f"{path} is not a regular file.",
                    hint="Write its content to a file first, or pipe it into the command, with - for FILE.",
                )
            raw = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            raise ImportFileError(f"There is no file {path}.", hint="Check the path.") from None
        except OSError as error:
            raise ImportFileError(f"{path} can't be read: {error.strerror}.") from None
        if status.st_size == 0:
            raise ImportFileError(
                f"{subject} is empty.", hint="Is there a command before the pipe?" if piped else None
            )
        inner, stream = _decompressed(path, raw, stack)
        found = wanted or _by_name(inner, path)
        if found is Format.PARQUET and stream is not raw:
            raise ImportFileError(
                f"{subject} is a compressed Parquet file, which can't be read as a stream.",
                hint="Unpack it first; Parquet has its own compression.",
            )
        if found is not Format.PARQUET:
            _refuse_other_content(name, stream, found)
        yield ImportSource(path, found, stream, status.st_size, raw, name)


def _refuse_other_content(name: str, stream: BinaryIO, wanted: Format) -> None:
    try:
        head = cast("io.BufferedReader", stream).peek(_BUFFER_BYTES)
    except DAMAGED:
        return  # reading it says so, with the line
    if encoding := wide_encoding_of(head):
        raise ImportFileError(
            f"{subject_of(name)} is written in {encoding}.",
            hint=f"Convert it to UTF-8: iconv -f {encoding} -t UTF-8",
        )
    if what := other_format_of(head):
        raise ImportFileError(
            f"{subject_of(name)} is not of the format that it is read as: it is {what}.",
            hint="Unpack or convert it first, and give it the extension of its format (or --format).",
        )
    if wanted is Format.CSV and (what := structure_of(head)):
        way_out = (
            "Add --format json or --format jsonl" if what == "JSON" else "Convert it to CSV or JSON first"
        )
        raise ImportFileError(f"{subject_of(name)} is not CSV: it begins as {what} does.", hint=f"{way_out}.")


def _by_name(name: str, path: Path) -> Format:
    ending = PurePath(name).suffix.lower()
    if ending not in _ENDINGS:
        raise ImportFileError(
            f"The extension of {PurePath(name).name}{f' in {path.name}' if name not in (path.name, path.stem) else ''} is not that of a "
            "format that can be imported.",
            hint=f"Set --format to csv, json, jsonl or parquet. Known extensions: {', '.join(_ENDINGS)}; "
            ".gz or .zip may follow.",
        )
    return Format(_ENDINGS[ending])


def _decompressed(path: Path, raw: BinaryIO, stack: ExitStack) -> tuple[str, BinaryIO]:
    """Returns the name that shows the format, and the stream."""
    ending = path.suffix.lower()
    begins = _PACKED.get(ending, b"")
    head = raw.read(len(begins))
    raw.seek(0)
    if head != begins:
        raise ImportFileError(
            f"{path} is not packed as its extension {ending} says.",
            hint="If it was unpacked already, as browsers do, rename it to what it is.",
        )
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
            f"{path} can't be unpacked: {str(error).rstrip('.')}.", hint="Create the archive again."
        ) from None
    return path.name, raw


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        held = "no file" if not members else f"{len(members)} files"
        raise ImportFileError(
            f"{path} contains {held}; a zip to import must contain exactly one.",
            hint="Unpack it and import its files one by one, the later ones with --append.",
        )
    if members[0].flag_bits & _ENCRYPTED:
        raise ImportFileError(f"{path} is encrypted.", hint="Unpack it with its password first.")
    if members[0].file_size == 0:
        raise ImportFileError(f"The file in {path} is empty.")
    return members[0]
