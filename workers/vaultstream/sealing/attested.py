"""Which attestations of a checkpoint are valid. Whoever may seal can have stored others beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.errors import VaultStreamError
from vaultstream.proof.note import add_signatures, open_note
from vaultstream.sealing.timestamp import verify_timestamp
from vaultstream.store.attestations import AttestationKind

if TYPE_CHECKING:
    from vaultstream.proof.note import NoteVerifier
    from vaultstream.sealing.timestamp import TimestampAuthority
    from vaultstream.sealing.witness import Witness
    from vaultstream.store.attestations import AttestedCheckpoint


def cosignature_of(checkpoint: AttestedCheckpoint, witness: Witness) -> bytes | None:
    """Returns the line of a witness's valid cosignature; None: there is none."""
    for line in checkpoint.of(AttestationKind.COSIGNATURE).get(witness.key.vkey, ()):
        if _is_cosignature(checkpoint.note, line, witness.key):
            return line
    return None


def timestamp_of(checkpoint: AttestedCheckpoint, authority: TimestampAuthority) -> bytes | None:
    """Returns a valid timestamp of an authority, whatever its address was; None: there is none."""
    for responses in checkpoint.of(AttestationKind.TIMESTAMP).values():
        for response in responses:
            try:
                return verify_timestamp(response, checkpoint.note, authority.trusted).response
            except VaultStreamError:
                continue
    return None


def _is_cosignature(note: bytes, line: bytes, key: NoteVerifier) -> bool:
    try:
        open_note(add_signatures(note, line.decode()), [key])
    except (VaultStreamError, UnicodeDecodeError):
        return False
    return True
