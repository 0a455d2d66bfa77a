"""A set of public keys that the seal key vouches for: a file, and a proof beside it.

The seal key signs checkpoints and nothing else, so the proof is one of https://c2sp.org/tlog-proof@v1 for a log with one entry, the
file. The origin of that log contains the job and the file's digest:

    c2sp.org/tlog-proof@v1
    index 0

    example.com/sign/jobs/receipts-0f3c9a1e/jwks/<SHA-256 of the file, in hex>
    1
    <SHA-256(0x00 || the file), in base64>

    — example.com/sign Az3grlgtzPICa5OS8npVmf1…

So no two such logs share an origin, and none has the origin of a job's log or of the installation's: a token has no slash.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.merkle import leaf_hash
from vaultstream.proof.seal import job_origin
from vaultstream.proof.tlog_proof import TlogProof

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.proof.note import NoteSigner, NoteVerifier

PROOF_SUFFIX = ".tlog-proof"
"""Of the proof's file, after the name of the key set's."""
_TOKEN = re.compile("[a-z0-9-]{1,64}")


def key_set_origin(name: str, job_token: str, data: bytes) -> str:
    """Returns the origin of the log that has the key set of a job as its one entry.

    Args:
        name: the installation's, which is that of the seal key.
        job_token: whose keys they are.
        data: the bytes of the file.

    Raises:
        ProofError: no job has such a token.
    """
    if not _TOKEN.fullmatch(job_token):
        raise ProofError(f"The token {job_token[:100]!r} is not that of a job.")
    return f"{job_origin(name, job_token)}/jwks/{sha256(data).hexdigest()}"


def sign_key_set(data: bytes, job_token: str, key: NoteSigner) -> bytes:
    """Returns the proof of a key set.

    Args:
        data: the bytes of the file.
        job_token: whose keys they are.
        key: the seal key.

    Raises:
        ProofError: no job has such a token.
    """
    origin = key_set_origin(key.name, job_token, data)
    return TlogProof(0, (), sign_checkpoint(Checkpoint(origin, 1, leaf_hash(data)), key)).data


def verify_key_set(data: bytes, proof: bytes, job_token: str, keys: Sequence[NoteVerifier]) -> None:
    """Verifies that one of the seal keys of an installation vouches for a key set.

    Args:
        data: the bytes of the file.
        proof: the bytes of the file beside it.
        job_token: whose keys they must be.
        keys: the seal keys that the user trusts, all of one name.

    Raises:
        ProofError: none of them does.
    """
    if not keys:
        raise ProofError("No seal key is given.", hint="`vaultstream log key` prints them.")
    origin = key_set_origin(keys[0].name, job_token, data)
    signed = TlogProof.parse(proof).verify(leaf_hash(data), keys, origin=origin)
    if signed.checkpoint.size != 1 or signed.checkpoint.extensions:
        raise ProofError(f"The log {origin!r} must have one entry, and no lines of its own.")
