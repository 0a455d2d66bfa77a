"""Recognizes files that are not text in UTF-8 by their first bytes: UTF-16, UTF-32, archives, other formats."""

from __future__ import annotations

import codecs
import re

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32LE"),  # before UTF-16LE, whose mark it begins with
    (codecs.BOM_UTF32_BE, "UTF-32BE"),
    (codecs.BOM_UTF16_LE, "UTF-16LE"),
    (codecs.BOM_UTF16_BE, "UTF-16BE"),
)
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_MAGIC = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard"),
    (b"PAR1", "a Parquet file"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4"),
    (b"ARROW1", "an Arrow file"),
    (b"FEA1", "a Feather file"),
    (b"PGDMP", "a dump of Postgres, which pg_restore reads"),
    (b"PGCOPY\n\xff", "a binary copy of Postgres"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"%PDF-", "a PDF document"),
    (
        b"version https://git-lfs.github.com/",
        "a pointer of Git LFS, which `git lfs pull` replaces with the file",
    ),
)
_TAR_PLACE = 257
_MARKUP = (
    (b"<!doctype html", "an HTML page, as a server may return in place of a file"),
    (b"<html", "an HTML page, as a server may return in place of a file"),
    (b"<?xml", "an XML document"),
)
_STRUCTURES = (
    # An array of JSON goes on with a value. A name in brackets, as in [id],[name], is a header.
    (re.compile(rb'\s*(\{|\[\s*([\[{"\]\d-]|$))'), "JSON"),
    (re.compile(rb"\s*---\s*(\n|$)"), "YAML"),
)
NOT_UTF_8 = "is not UTF-8"
"""How the reason begins for which a line in another encoding is rejected."""
_WESTERN = "windows-1252"
TO_UTF_8 = (
    "Convert the file to UTF-8. If it comes from Excel or Windows: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
)
"""Hint where text is in another encoding, which only its author knows for sure."""
_MIN_NULS = 1 / 4
_MIN_ASCII = 1 / 50


def wide_encoding_of(head: bytes) -> str | None:
    """Returns the name of the encoding of 2 or 4 bytes per character that a file's first bytes are in; None: no such.

    A file without a byte order mark is recognized by its NUL bytes: text has none, and in these encodings each ASCII
    character, of which every CSV and JSON file has some, brings at least one. A few NUL bytes in UTF-8 are not enough.
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    nuls = head.count(0)
    if not nuls:
        return None
    mostly_ascii = nuls >= len(head) * _MIN_NULS
    if not mostly_ascii and _is_utf8(head):
        return None
    for codec in _WIDE:
        try:
            text = codecs.getincrementaldecoder(codec)().decode(head)
        except UnicodeDecodeError:
            continue
        ascii_characters = sum(character < "\x80" for character in text)
        if text and "\0" not in text and ascii_characters >= len(text) * _MIN_ASCII:
            return codec.upper().replace("-LE", "LE").replace("-BE", "BE")
    return None


def other_format_of(head: bytes) -> str | None:
    """Returns what a file is that begins with the bytes of another format than text, as the end of "It is …"; or None."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()[:20].lower()
    if head[_TAR_PLACE:].startswith(b"ustar"):
        return "a tar archive"
    found = (what for magic, what in _MAGIC if head.startswith(magic))
    return next(found, next((what for start, what in _MARKUP if text.startswith(start)), None))


def structure_of(head: bytes) -> str | None:
    """Returns JSON or YAML if a file that is read as CSV begins as one of these do; or None."""
    text = head.removeprefix(codecs.BOM_UTF8)
    return next((what for start, what in _STRUCTURES if start.match(text)), None)


def fault_of_bytes(raw: bytes, *, placed: bool = True) -> str:
    """Returns what is wrong with bytes that are not UTF-8, worded to follow "The line …".

    The character that the first wrong byte is in Windows-1252 is named, by which people recognize that encoding. Bytes with other
    characters in proper UTF-8 are likelier damaged than in another encoding.

    Args:
        raw: the bytes.
        placed: whether they are a whole line, of which the position of the byte is said.
    """
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        fault = f"{NOT_UTF_8}: byte 0x{raw[error.start]:02x}" + (
            f" at position {error.start + 1}" if placed else ""
        )
        before = raw[: error.start]
        wrong = raw[error.start : error.start + 1].decode(_WESTERN, errors="ignore")
        return f"{fault}, which is {wrong!r} in Windows-1252" if wrong and before.isascii() else fault
    return NOT_UTF_8


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
