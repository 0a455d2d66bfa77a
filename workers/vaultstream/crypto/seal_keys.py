"""The seal key, which signs the checkpoints of an installation's logs, and its file.

The file is text:

    PRIVATE+KEY+example.com/sign+1f2e3d4c+AbCd…    the key that signs, in the form of golang.org/x/mod/sumdb/note
    example.com/sign+5a6b7c8d+AeFg…                the public half of each former key, newest first

A rotation puts a new key first, and keeps no more than the public half of the former one. The name is the origin of the
installation's log, so it is the same in each line. Comments and empty lines are kept.

The file itself, who may read it and how it is changed: `vaultstream.crypto.key_file`.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vaultstream.crypto.core_dumps import forbid_core_dumps
from vaultstream.crypto.key_file import KeyFile
from vaultstream.errors import CustodyError, ProofError, UsageError
from vaultstream.proof.note import NoteKey, NoteSigningKey

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_VERIFIER_KEY = re.compile(r"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+=*")
_PRIVATE = "PRIVATE+KEY+"


@dataclass(frozen=True)
class SealKeys:
    """The key that signs, and the public halves of those that did. The representation shows no private half."""

    signing: NoteSigningKey
    former: tuple[NoteKey, ...] = ()
    """Newest first."""

    @property
    def origin(self) -> str:
        """The origin of the log of seals, which is the name of each key."""
        return self.signing.name

    @property
    def known(self) -> tuple[NoteKey, ...]:
        """The public halves of all keys, that of the signing key first."""
        return (self.signing.public_key, *self.former)


def load_seal_keys(path: Path) -> SealKeys:
    """Reads the file of the seal key.

    Raises:
        CustodyError: the file is missing, can't be read, is open to every user, or has a line that is no key. The message
            gives the line's number and never shows its content.
    """
    return parse_seal_keys(_file(path).read(), str(path))


def parse_seal_keys(data: bytes, where: str) -> SealKeys:
    """Parses the content of a file of the seal key, such as from a Kubernetes Secret.

    Raises:
        CustodyError: a line is no key, or there is none; the message names `where` and the line's number.
    """
    forbid_core_dumps()
    signing: NoteSigningKey | None = None
    former: list[NoteKey] = []
    for number, line in enumerate(_lines(data), start=1):
        if not _is_key(line):
            continue
        try:
            if signing is None:
                signing = NoteSigningKey.parse(line)
                continue
            key = NoteKey.parse(line)
        except ProofError:
            kind = "signing key" if signing is None else "verifier key of a former seal key"
            raise CustodyError(
                f"Line {number} of {where} is not the {kind}.", hint="Restore it from a copy of the file."
            ) from None
        if key.name != signing.name:
            raise CustodyError(
                f"Line {number} of {where} has the key of another installation.",
                hint=f"Each key of the file must have the name {signing.name}. Restore it from a copy.",
            )
        former.append(key)
    if signing is None:
        raise CustodyError(
            f"{where} has no seal key.",
            hint="Restore it from a copy; if nothing was ever sealed with it, remove it and create a new one.",
        )
    return SealKeys(signing, tuple(former))


def new_seal_keys(name: str | None = None) -> bytes:
    """Returns the content of a new file with one new key.

    Raises:
        UsageError: the name can't be an origin.
    """
    forbid_core_dumps()
    return _text([_generate(name or f"vaultstream-{secrets.token_hex(4)}").skey])


def create_seal_keys(path: Path, name: str | None = None) -> SealKeys:
    """Creates a file with a new key, mode 0600, and its folder if missing. The file appears complete or not at all.

    Args:
        path: of the file.
        name: the origin of the installation's log; `vaultstream-` and 8 random hexadecimal digits by default.

    Raises:
        UsageError: the name can't be an origin.
        CustodyError: the file already exists (it is never overwritten), or can't be written.
    """
    content = new_seal_keys(name)
    _file(path).create(content)
    return parse_seal_keys(content, str(path))


def rotate_seal_keys(path: Path) -> SealKeys:
    """Puts a new key of the same name first. Of the former signing key the file keeps the public half only.

    The file is replaced atomically and keeps its owner, group and mode. Concurrent rotations wait for each other.

    Raises:
        CustodyError: as for `load_seal_keys`; or the file can't be written and stays as it was.
    """

    def rotated(data: bytes) -> bytes:
        keys = parse_seal_keys(data, str(path))
        new = _generate(keys.origin, {key.key_id for key in keys.known})
        lines = _lines(data)
        first = next(place for place, line in enumerate(lines) if _is_key(line))
        return _text([*lines[:first], new.skey, keys.signing.public_key.vkey, *lines[first + 1 :]])

    return parse_seal_keys(_file(path).change(rotated), str(path))


def parse_verifier_keys(*given: str) -> tuple[NoteKey, ...]:
    """Reads the keys that a user trusts: each value is one or more verifier keys, a line each, or the path of a file of them.

    Raises:
        UsageError: one is neither, or has a line that is no verifier key.
    """
    return tuple(dict.fromkeys(key for value in given for key in _parse_verifier_keys(value)))


def _parse_verifier_keys(given: str) -> tuple[NoteKey, ...]:
    given_lines = [line.strip() for line in given.splitlines() if line.strip()]
    if any(line.startswith(_PRIVATE) for line in given_lines):
        raise _secret_given("The key that was given")
    if given_lines and _VERIFIER_KEY.fullmatch(given_lines[0]):
        return tuple(_verifier_key(line, "The verifier key") for line in given_lines)
    try:
        text = Path(given).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(
            f"The file of verifier keys {given} can't be read: {error.strerror}.",
            hint="Give a verifier key or a file with one on each line, as `vaultstream log key` prints them.",
        ) from None
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    keys = tuple(
        _verifier_key(line, f"Line {number} of {given}") for number, line in lines if line and line[0] != "#"
    )
    if not keys:
        raise UsageError(f"{given} has no verifier key.", hint="`vaultstream log key` prints them.")
    return keys


def _verifier_key(text: str, where: str) -> NoteKey:
    if text.startswith(_PRIVATE):
        raise _secret_given(where)
    try:
        return NoteKey.parse(text)
    except ProofError:
        raise UsageError(
            f"{where} is not a verifier key of Ed25519.", hint="`vaultstream log key` prints them."
        ) from None


def _secret_given(where: str) -> UsageError:
    return UsageError(
        f"{where} is the secret half of a seal key.",
        hint="Give the verifier key instead, which `vaultstream log key` prints.",
    )


def _generate(name: str, taken: frozenset[bytes] | set[bytes] = frozenset()) -> NoteSigningKey:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"The name {name!r} can't be the origin of a log.",
            hint="Use at most 200 letters, digits, dots, dashes and slashes, like example.com/sign.",
        )
    while True:
        key = NoteSigningKey(name, Ed25519PrivateKey.generate())
        if key.key_id not in taken:  # an id has 32 bits, and names the key in each signature
            return key


def _file(path: Path) -> KeyFile:
    return KeyFile(
        path,
        "seal keys",
        "Set VAULTSTREAM_SEAL_KEY_FILE to its path; if nothing was ever sealed, `vaultstream seal-key create` creates one.",
    )


def _lines(data: bytes) -> list[str]:
    return [line.strip() for line in data.decode("utf-8", errors="surrogateescape").rstrip().split("\n")]


def _is_key(line: str) -> bool:
    return bool(line) and not line.startswith("#")


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", errors="surrogateescape")
