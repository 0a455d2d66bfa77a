"""Verifies the files that `prove` writes, with keys that the reader has from elsewhere. It needs no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaultstream.crypto.algorithms import JWS_ALG, public_key_from_bytes, verifier
from vaultstream.errors import ProofError, UsageError
from vaultstream.proof.jws import JwsForm
from vaultstream.proof.record_proof import PROOF_FILE, RECORD_FILE, STATEMENT_FILE, RecordProof
from vaultstream.proof.seal import job_origin
from vaultstream.regular_file import open_regular

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.crypto.jwks import JwkKey
    from vaultstream.proof.checkpoint import Checkpoint
    from vaultstream.proof.dsse import SignatureCheck
    from vaultstream.proof.note import NoteKey
    from vaultstream.proof.statement import BatchStatement

MAX_PROOF_FILE_BYTES = 4 * 1024 * 1024
_MOST_BYTES = 64 * 1024 * 1024
"""Of a payload, or a set of keys."""


@dataclass(frozen=True)
class VerifiedProof:
    """What a proof proves."""

    record_id: str
    statement: BatchStatement
    head: Checkpoint
    """Of the job's log."""

    def to_json(self) -> dict[str, Any]:
        """Returns what the command prints."""
        return {
            "ok": True,
            "record_id": self.record_id,
            "token": self.statement.job_token,
            "batch": self.statement.batch,
            "key_id": self.statement.key_id,
            "signed_at": self.statement.signed_at.isoformat(),
            "origin": self.head.origin,
            "tree_size": self.head.size,
        }


def read_proof(folder: Path) -> RecordProof:
    """Reads the files of a proof.

    Raises:
        UsageError: one of them can't be read.
        ProofError: one of them is malformed.
    """
    return RecordProof.parse(
        {name: _read(folder / name) for name in (RECORD_FILE, STATEMENT_FILE, PROOF_FILE)}
    )


def read_given(path: Path) -> bytes:
    """Returns a payload, or a set of keys, that a user gives beside a proof.

    Raises:
        UsageError: it can't be read, or is longer than a payload may be.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from None
    if len(data) > _MOST_BYTES:
        raise UsageError(
            f"{path} is longer than {_MOST_BYTES >> 20} MiB, which no payload and no set of keys is."
        )
    return data


def verify_proof(
    proof: RecordProof, payload: bytes, keys: Mapping[str, JwkKey], seal_keys: Sequence[NoteKey]
) -> VerifiedProof:
    """Returns what a proof proves.

    Args:
        proof: from `read_proof`.
        payload: the record's.
        keys: the keys that may have signed, by id.
        seal_keys: those of the installation.

    Raises:
        ProofError: it proves nothing, or its key is not among `keys` or is revoked there.
        CustodyError: the key can't be used.
    """
    statement = proof.signed.statement
    key = keys.get(statement.key_id)
    if key is None or key.revoked:
        what = (
            "is not among the keys that were given"
            if key is None
            else "is revoked in the keys that were given"
        )
        raise ProofError(f"The key {statement.key_id} of the proof {what}.")
    if key.algorithm != statement.algorithm:
        raise ProofError(
            f"The statement is of {statement.algorithm}, and the key {key.key_id} of {key.algorithm}."
        )
    origin = _origin(proof, seal_keys)
    signed = proof.verify(payload, _check(key, proof, payload), seal_keys, origin=origin)
    return VerifiedProof(proof.record.record_id, statement, signed.checkpoint)


def _check(key: JwkKey, proof: RecordProof, payload: bytes) -> SignatureCheck:
    """Returns the check of a key's signatures. That of a record is over its payload, or over a JWS of it."""
    verifies = verifier(public_key_from_bytes(key.public_key), key.algorithm)
    jws = JwsForm(JWS_ALG[key.algorithm], proof.signed.statement.job_token)

    def check(signature: bytes, data: bytes) -> bool:
        return verifies(signature, data) or (
            data == payload
            and verifies(signature, jws.signing_input(key.key_id, proof.record.record_id, payload))
        )

    return check


def _origin(proof: RecordProof, seal_keys: Sequence[NoteKey]) -> str:
    """Returns the origin of the proof's log, if it is one that a seal key signs: of the installation's or of a tenant's job."""
    origin = proof.log.checkpoint.partition(b"\n")[0].decode(errors="replace")
    token = proof.signed.statement.job_token
    for name in {key.name for key in seal_keys}:
        tenant = origin.removeprefix(f"{name}/tenants/").removesuffix(f"/jobs/{token}")
        known = {job_origin(name, token)}
        if tenant and "/" not in tenant:
            known.add(job_origin(f"{name}/tenants/{tenant}", token))
        if origin in known:
            return origin
    raise ProofError(
        f"The proof is of the log {origin[:200]!r}, which is no log of job {token} under the seal key that was given."
    )


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            data = file.read(MAX_PROOF_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"{path} can't be read: {error.strerror or error}.",
            hint="`vaultstream prove JOB RECORD` writes the files of a proof.",
        ) from None
    if len(data) > MAX_PROOF_FILE_BYTES:
        raise ProofError(f"{path} is longer than a file of a proof.")
    return data
