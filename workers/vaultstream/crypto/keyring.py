"""The key-encryption keys (KEKs), which wrap the private keys, and their file.

The file is text, with one KEK per line:

    # comments and empty lines are kept
    kek-3f2a9c0d1e4b q83vEjRWeJASNFZ4kBI0VniQEjRWeJASNFZ4kBI0Vng=
    kek-9b1c...      the former primary

A line is a KEK's id and the base64 of its 32 bytes. The first KEK is the primary, which wraps; all of them unwrap.

An id is `kek-` and the first 12 hexadecimal digits of a SHA-256 over a label and the KEK, so the same KEK has the same
id in every file. It reveals nothing about the KEK. A line whose id does not match its KEK is damaged, and is refused.

The file itself, who may read it and how it is changed: `vaultstream.crypto.key_file`.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Self

from vaultstream.crypto.core_dumps import forbid_core_dumps
from vaultstream.crypto.key_file import KeyFile
from vaultstream.errors import CustodyError

KEK_BYTES = 32

_ID_LABEL = b"vaultstream key-encryption key id 1\0"
_LINE = re.compile(r"(?P<kek_id>kek-[0-9a-f]{12})[ \t]+(?P<secret>[A-Za-z0-9+/]{43}=)")
_HEADER = "# VaultStream's key-encryption keys. The first one wraps, all of them unwrap. Keep this file secret and back it up."


@dataclass(frozen=True)
class KeyEncryptionKey:
    """One KEK: 32 bytes for AES-256, which its repr does not show."""

    kek_id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEK_BYTES:
            raise ValueError(f"a key-encryption key has {KEK_BYTES} bytes")

    @classmethod
    def from_secret(cls, secret: bytes) -> Self:
        """Returns the KEK with the id that its bytes determine."""
        return cls("kek-" + sha256(_ID_LABEL + secret).hexdigest()[:12], secret)

    @classmethod
    def generate(cls) -> Self:
        """Generates a KEK from the operating system's randomness."""
        return cls.from_secret(os.urandom(KEK_BYTES))


@dataclass(frozen=True)
class KeyRing:
    """The KEKs of a file, in its order; at least one."""

    keks: tuple[KeyEncryptionKey, ...]

    @property
    def primary(self) -> KeyEncryptionKey:
        """The KEK that wraps."""
        return self.keks[0]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all KEKs, the primary's first."""
        return tuple(kek.kek_id for kek in self.keks)

    def get(self, kek_id: str) -> KeyEncryptionKey:
        """Returns the KEK with that id.

        Raises:
            CustodyError: it is not in the ring.
        """
        for kek in self.keks:
            if kek.kek_id == kek_id:
                return kek
        raise CustodyError(
            f"The key-encryption key {kek_id} is not in the file, which has {', '.join(self.ids)}.",
            hint="Set VAULTSTREAM_KEK_FILE to the file that the keys were wrapped with, or restore the missing line.",
        )


def load_keyring(path: Path) -> KeyRing:
    """Reads the file of KEKs.

    Raises:
        CustodyError: the file is missing, can't be read, is open to every user, or has a line that is not a KEK. The
            message gives the line's number and never shows its content.
    """
    return _ring(_lines(_file(path).read(), path), path)


def parse_keyring(data: bytes, where: str) -> KeyRing:
    """Parses the content of a file of KEKs that does not come from a file system, such as from a Kubernetes Secret.

    Raises:
        CustodyError: a line is not a KEK, or there is none; the message names `where` and the line's number.
    """
    return _ring(_lines(data, where), where)


def new_keyring() -> bytes:
    """Returns the content of a new file with one new KEK."""
    return _text(_new_lines())


def create_keyring(path: Path) -> KeyRing:
    """Creates a file with one new KEK, mode 0600, and its folder if missing. The file appears complete or not at all.

    Raises:
        CustodyError: the file already exists (it is never overwritten), or can't be written.
    """
    lines = _new_lines()
    _file(path).create(_text(lines))
    return _ring(lines, path)


def rotate_keyring(path: Path) -> KeyRing:
    """Puts a new KEK in front of the others. From now on it wraps; keys that the others wrapped still unwrap.

    The file is replaced atomically and keeps its owner, group and mode. Two concurrent rotations both add their KEK.

    Raises:
        CustodyError: as for `load_keyring`; or the file can't be written and stays as it was.
    """

    def rotated(lines: list[_Line]) -> list[_Line]:
        first = next(place for place, line in enumerate(lines) if line.kek)
        return [*lines[:first], _line_of(KeyEncryptionKey.generate()), *lines[first:]]

    return _change(path, rotated)


def prune_keyring(path: Path, keep: Collection[str]) -> KeyRing:
    """Removes the KEKs whose ids are not in `keep`, permanently. The primary always stays.

    Raises:
        CustodyError: as for `rotate_keyring`.
    """

    def pruned(lines: list[_Line]) -> list[_Line]:
        stay = {_ring(lines, path).primary.kek_id, *keep}
        return [line for line in lines if line.kek is None or line.kek.kek_id in stay]

    return _change(path, pruned)


@dataclass(frozen=True)
class _Line:
    text: str = field(repr=False)
    kek: KeyEncryptionKey | None = None


def _line_of(kek: KeyEncryptionKey) -> _Line:
    return _Line(f"{kek.kek_id} {b64encode(kek.secret).decode('ascii')}", kek)


def _new_lines() -> list[_Line]:
    forbid_core_dumps()
    return [_Line(_HEADER), _line_of(KeyEncryptionKey.generate())]


def _file(path: Path) -> KeyFile:
    return KeyFile(
        path,
        "key-encryption keys",
        "Set VAULTSTREAM_KEK_FILE to its path; if no key was ever wrapped, `vaultstream keys init` creates one.",
    )


def _change(path: Path, change: Callable[[list[_Line]], list[_Line]]) -> KeyRing:
    def changed(data: bytes) -> bytes:
        before = _lines(data, path)
        _ring(before, path)
        return _text(change(before))

    return parse_keyring(_file(path).change(changed), str(path))


def _lines(data: bytes, where: Path | str) -> list[_Line]:
    forbid_core_dumps()
    text = data.decode("utf-8", errors="surrogateescape")
    lines = text.rstrip().split("\n")
    return [_parse(line.strip(), number, where) for number, line in enumerate(lines, start=1)]


def _text(lines: list[_Line]) -> bytes:
    return "".join(f"{line.text}\n" for line in lines).encode("utf-8", errors="surrogateescape")


def _parse(text: str, number: int, where: Path | str) -> _Line:
    if not text or text.startswith("#"):
        return _Line(text)
    match = _LINE.fullmatch(text)
    if match is None:
        raise CustodyError(
            f"Line {number} of {where} is not a key-encryption key.",
            hint="A line is the id, a space, and the base64 of 32 bytes. Restore it from a copy of the file.",
        )
    kek = KeyEncryptionKey.from_secret(b64decode(match["secret"]))
    if kek.kek_id != match["kek_id"]:
        raise CustodyError(
            f"Line {number} of {where} is damaged: its id does not match its key-encryption key.",
            hint="Restore the line from a copy of the file.",
        )
    return _Line(text, kek)


def _ring(lines: list[_Line], where: Path | str) -> KeyRing:
    keks = tuple(line.kek for line in lines if line.kek)
    if not keks:
        raise CustodyError(
            f"{where} has no key-encryption key.",
            hint="Restore it from a copy; if no key was ever wrapped with it, remove it and create a new one.",
        )
    return KeyRing(keks)
