"""Checkpoints of https://c2sp.org/tlog-checkpoint@v1.0.0: the size and the root of a log, as the text of a signed note.

<origin: which log this is>
<size, in decimal>
<root, in base64>
<extension lines, if any>
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from vaultstream.errors import ProofError
from vaultstream.proof.merkle import HASH_SIZE
from vaultstream.proof.note import (
    Note,
    NoteSigner,
    NoteVerifier,
    decode_base64,
    encode_base64,
    open_note,
    sign_note,
    unverified_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LOG_SIZE = 2**63 - 1
"""What golang.org/x/mod/sumdb/tlog can count."""
DECIMAL = re.compile("0|[1-9][0-9]{0,18}")
"""A number without leading zeroes."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log.

    Raises:
        ProofError: a value can't be in a checkpoint.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()
    """Lines of the log's own. Nobody can check them."""

    def __post_init__(self) -> None:
        if not all(line and "\n" not in line for line in (self.origin, *self.extensions)):
            raise ProofError(
                "The origin and the extensions of a checkpoint must be lines that are not empty."
            )
        if not 0 <= self.size <= MAX_LOG_SIZE:
            raise ProofError(f"A checkpoint's size must be from 0 to 2^63 - 1, and is {self.size}.")
        if len(self.root) != HASH_SIZE:
            raise ProofError(f"A checkpoint's root must have 32 bytes, and has {len(self.root)}.")

    @property
    def text(self) -> str:
        lines = self.origin, str(self.size), encode_base64(self.root), *self.extensions
        return "\n".join(lines) + "\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the text of a note.

        Raises:
            ProofError: it is no checkpoint's.
        """
        *lines, rest = text.split("\n")
        if rest or len(lines) < 3 or "" in lines:  # noqa: PLR2004 - origin, size, root
            raise ProofError("A checkpoint must be three lines or more, none of them empty.")
        origin, size, encoded, *extensions = lines
        root = decode_base64(encoded)
        if not DECIMAL.fullmatch(size):
            raise ProofError("A checkpoint's size must be a number without leading zeroes.")
        if root is None:
            raise ProofError("A checkpoint's root must be base64.")
        return cls(origin, int(size), root, tuple(extensions))


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint whose log has signed it, with the note that it came in."""

    checkpoint: Checkpoint
    note: Note

    def witnesses(self, known: Sequence[NoteVerifier]) -> frozenset[str]:
        """Returns the names of those of the keys that signed. Each of them was given to `open_checkpoint`."""
        return frozenset(key.name for key in known if self.note.is_signed_by(key))


def sign_checkpoint(checkpoint: Checkpoint, *signers: NoteSigner) -> bytes:
    """Returns the signed note of a checkpoint."""
    return sign_note(checkpoint.text, *signers)


def unverified_checkpoint(data: bytes) -> Checkpoint:
    """Returns what a signed note says without verifying a signature: it tells which log to open it for, and means nothing else.

    Raises:
        ProofError: it is no checkpoint.
    """
    return Checkpoint.parse(unverified_text(data))


def open_checkpoint(
    data: bytes, logs: Sequence[NoteVerifier], *, origin: str, witnesses: Sequence[NoteVerifier] = ()
) -> SignedCheckpoint:
    """Returns a checkpoint that the log with that origin has signed.

    Args:
        data: a signed note.
        logs: the keys of the log: one, or several where it was replaced. One of them must have signed.
        origin: which log it must be of.
        witnesses: keys whose signatures are verified too. How many of them are enough is for the caller to say.

    Raises:
        ProofError: the note is malformed, is no checkpoint, is of another log, or is not signed by one of `logs`; or a
            signature of a log or a witness is not valid.
    """
    note = open_note(data, [*logs, *witnesses])
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != origin:
        raise ProofError(f"The checkpoint is of the log {checkpoint.origin!r}, and must be of {origin!r}.")
    if not any(note.is_signed_by(log) for log in logs):
        raise ProofError(
            f"The checkpoint of {origin!r} is signed by witnesses alone, and not by a key of its log."
        )
    return SignedCheckpoint(checkpoint, note)
