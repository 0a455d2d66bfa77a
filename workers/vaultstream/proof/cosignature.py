"""Cosignatures of https://c2sp.org/tlog-cosignature: a witness says at what time it saw a checkpoint as the log's largest.

Supported is the Ed25519 form, `cosignature/v1`. A signature is the time, 8 bytes, and 64 bytes of Ed25519 over

    cosignature/v1
    time <seconds since 1970>
    <the text of the checkpoint, with its extension lines>
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vaultstream.errors import ProofError
from vaultstream.proof.note import Ed25519Key, Note, NoteSignature, SignatureType, ed25519_verifies

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_TIME_BYTES, _SIGNATURE_BYTES = 8, 64
_MAX_TIME = 2**63 - 1


@dataclass(frozen=True, slots=True)
class CosignerKey(Ed25519Key):
    """The public half of a witness's key. It must be no other cosigner's: the name is not signed."""

    kind = SignatureType.COSIGNATURE

    def verifies(self, text: str, signature: bytes) -> bool:
        seconds = cosignature_time(signature)
        if seconds is None:
            return False
        return ed25519_verifies(self.public, _message(text, seconds), signature[_TIME_BYTES:])

    def time_of(self, note: Note) -> int | None:
        """Returns when this witness saw a checkpoint, in seconds since 1970, or None if it did not sign the note."""
        signatures = [signature for signature in note.verified if signature.is_of(self)]
        return cosignature_time(signatures[0].value) if signatures else None


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness's key at one moment. VaultStream is no witness: tests are."""

    name: str
    private: Ed25519PrivateKey = field(repr=False)
    seconds: int
    """The time to sign, in seconds since 1970."""

    @property
    def public_key(self) -> CosignerKey:
        return CosignerKey(self.name, self.private.public_key().public_bytes_raw())

    @property
    def key_id(self) -> bytes:
        return self.public_key.key_id

    def sign(self, text: str) -> bytes:
        if not 0 <= self.seconds <= _MAX_TIME:
            raise ProofError(f"A cosignature's time must be from 0 to 2^63 - 1, and is {self.seconds}.")
        return self.seconds.to_bytes(_TIME_BYTES) + self.private.sign(_message(text, self.seconds))

    def line(self, text: str) -> str:
        """Returns the line that a witness answers with for the text of a checkpoint."""
        return NoteSignature(self.name, self.key_id, self.sign(text)).line


def cosignature_time(signature: bytes) -> int | None:
    """Returns the time of a cosignature, verified or not, or None if it is malformed."""
    seconds = int.from_bytes(signature[:_TIME_BYTES])
    if len(signature) != _TIME_BYTES + _SIGNATURE_BYTES or seconds > _MAX_TIME:
        return None
    return seconds


def _message(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()
