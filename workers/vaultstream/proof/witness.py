"""Witnesses of https://c2sp.org/tlog-witness: what a log sends to one, and what it answers.

A witness keeps the largest checkpoint that it has seen of each log. It cosigns another one only if a consistency proof shows
that the log has grown from there. So who knows the witness's key sees that nothing was removed from the log, and when.

    POST <url>/add-checkpoint
    old <size that the witness has seen>
    <consistency proof, one hash in base64 per line>

    <the checkpoint, a signed note>
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from vaultstream.errors import ProofError, WitnessError
from vaultstream.proof.checkpoint import DECIMAL, MAX_LOG_SIZE, Checkpoint
from vaultstream.proof.note import encode_base64, parse_signatures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.proof.cosignature import CosignerKey

SIZE_TYPE = "text/x.tlog.size"
"""Media type of an answer that says which size the witness has seen."""


class WitnessRefusal(StrEnum):
    """Why there is no cosignature: a label of a metric."""

    UNREACHABLE = "unreachable"
    MALFORMED = "malformed"
    UNKNOWN_LOG = "unknown_log"
    UNKNOWN_KEY = "unknown_key"
    INCONSISTENT = "inconsistent"
    """The log is not what the witness has seen: entries were removed or altered, or the log exists twice."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Behind:
    """The witness has seen another size than the one that the proof began with."""

    size: int


def add_checkpoint_body(old_size: int, path: Sequence[bytes], note: bytes) -> bytes:
    """Returns the request that offers a checkpoint to a witness.

    Args:
        old_size: what the witness has seen of the log; 0: nothing.
        path: `vaultstream.proof.merkle.consistency_path` from there.
        note: the checkpoint, signed by its log.
    """
    return "\n".join([f"old {old_size}", *map(encode_base64, path), "", ""]).encode() + note


def read_answer(
    witness: CosignerKey, checkpoint: Checkpoint, *, status: int, kind: str, body: bytes
) -> str | Behind:
    """Returns the line with the witness's cosignature, or the size that it has seen instead of the one offered.

    Args:
        witness: the key of who answered.
        checkpoint: what it was offered.
        status: of HTTP.
        kind: the media type of the answer.
        body: the answer.

    Raises:
        WitnessError: there is neither; its `refusal` says why.
    """
    name, origin = witness.name, checkpoint.origin
    match status:
        case 200:
            return _cosignature(witness, checkpoint, body)
        case 409 if kind == SIZE_TYPE:
            text = body.decode(errors="replace").removesuffix("\n")
            if not DECIMAL.fullmatch(text) or int(text) > MAX_LOG_SIZE:
                raise WitnessError(
                    f"The witness {name!r} answered with a size that is no number.", WitnessRefusal.MALFORMED
                )
            return Behind(int(text))
        case 404:
            raise WitnessError(
                f"The witness {name!r} does not know the log {origin!r}.",
                WitnessRefusal.UNKNOWN_LOG,
                hint="Give the witness's operator what `vaultstream log key` prints, or correct the URL.",
            )
        case 403:
            raise WitnessError(
                f"The witness {name!r} does not know the key that signed the checkpoint of the log {origin!r}.",
                WitnessRefusal.UNKNOWN_KEY,
                hint="Give the witness's operator what `vaultstream log key` prints. A key that was rotated must be added there.",
            )
        case 409 | 422:
            raise WitnessError(
                f"The witness {name!r} has seen another log {origin!r} than this one, of {checkpoint.size} entries.",
                WitnessRefusal.INCONSISTENT,
                hint="Entries were removed or altered, or two databases have a log of this name. Keep the database as it is.",
            )
        case _:
            raise WitnessError(
                f"The witness {name!r} answered with the status {status} of HTTP.",
                WitnessRefusal.OTHER,
                hint="The checkpoint will be offered again.",
            )


def behind_error(witness: CosignerKey, origin: str, *, seen: int, size: int) -> WitnessError:
    """Returns what is wrong where a witness has seen more of a log than it has."""
    return WitnessError(
        f"The witness {witness.name!r} has seen {seen} entries of the log {origin!r}, which has {size} now.",
        WitnessRefusal.INCONSISTENT,
        hint="The log was rolled back, or two databases have a log of this name. Keep the database as it is.",
    )


def _cosignature(witness: CosignerKey, checkpoint: Checkpoint, body: bytes) -> str:
    """Returns the line of the witness's own valid cosignature. Others are dropped, as the specification says."""
    try:
        signatures = parse_signatures(body.decode())
    except (ProofError, UnicodeDecodeError):
        raise WitnessError(
            f"The witness {witness.name!r} answered with something else than lines of signatures.",
            WitnessRefusal.MALFORMED,
        ) from None
    for signature in signatures:
        if signature.is_of(witness) and witness.verifies(checkpoint.text, signature.value):
            return signature.line
    raise WitnessError(
        f"The witness {witness.name!r} answered without a valid cosignature by its key {witness.key_id.hex()}.",
        WitnessRefusal.MALFORMED,
        hint="Compare its verifier key in VAULTSTREAM_WITNESSES with the one that its operator publishes.",
    )
