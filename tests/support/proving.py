"""A job's log with batches of records, and the proof of any record in it, made as VaultStream makes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from support.checkers import Proven
from vaultstream.api import Algorithm
from vaultstream.crypto import algorithms
from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.merkle import consistency_path, inclusion_path, leaf_hash, tree_root
from vaultstream.proof.note import NoteKey, NoteSigningKey
from vaultstream.proof.record_proof import ProvenRecord, RecordProof
from vaultstream.proof.statement import BatchStatement, record_hashes, signed_bytes
from vaultstream.proof.tlog_proof import TlogProof

PAYLOAD = "payload"
"""The name of the file with the record's payload."""
STARTED = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@dataclass
class SignedBatch:
    """A batch, its records signed by a key of its own."""

    number: int
    ids: list[str]
    algorithm: Algorithm = Algorithm.ECDSA_P256_SHA256
    token: str = "job1"

    @cached_property
    def key(self) -> algorithms.PrivateKey:
        return algorithms.generate_private_key(self.algorithm)

    @cached_property
    def key_pem(self) -> str:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @cached_property
    def payloads(self) -> list[bytes]:
        return [f"payload of {each}".encode() for each in self.ids]

    @cached_property
    def signatures(self) -> list[bytes]:
        return [*map(algorithms.signer(self.key, self.algorithm), self.payloads)]

    @cached_property
    def leaves(self) -> list[bytes]:
        return record_hashes(self.ids, [sha256(each).digest() for each in self.payloads], self.signatures)

    @cached_property
    def signed(self) -> StatementEnvelope:
        statement = BatchStatement(
            job_token=self.token,
            batch=self.number,
            key_id=f"{self.token}-key-{self.number}",
            epoch=1,
            holder="signer-1",
            algorithm=self.algorithm,
            count=len(self.ids),
            first_id=self.ids[0],
            last_id=self.ids[-1],
            root=tree_root(self.leaves),
            signed_at=STARTED + timedelta(seconds=self.number),
        )
        return self.sign(statement)

    def sign(self, statement: BatchStatement) -> StatementEnvelope:
        signature = algorithms.signer(self.key, self.algorithm)(signed_bytes(statement.body))
        return StatementEnvelope(statement.body, signature)


@dataclass
class SignedLog:
    """A log of batches, sealed by a key of its own."""

    batches: list[SignedBatch]
    origin: str = "example.com/vaultstream/jobs/job1"

    @cached_property
    def seal_key(self) -> NoteSigningKey:
        return NoteSigningKey("example.com/vaultstream", Ed25519PrivateKey.generate())

    @cached_property
    def leaves(self) -> list[bytes]:
        return [leaf_hash(batch.signed.data) for batch in self.batches]

    def checkpoint(self) -> bytes:
        return sign_checkpoint(
            Checkpoint(self.origin, len(self.leaves), tree_root(self.leaves)), self.seal_key
        )

    def proof(self, batch: int, record: int) -> RecordProof:
        """Returns the proof of a record; both numbers count from 0."""
        of = self.batches[batch]
        return RecordProof(
            ProvenRecord(
                of.ids[record],
                sha256(of.payloads[record]).digest(),
                of.signatures[record],
                record,
                tuple(inclusion_path(of.leaves, record)),
            ),
            of.signed,
            TlogProof(batch, tuple(inclusion_path(self.leaves, batch)), self.checkpoint()),
        )

    def proven(self, batch: int, record: int) -> Proven:
        of = self.batches[batch]
        files = self.proof(batch, record).files | {PAYLOAD: of.payloads[record]}
        return Proven(files, self.seal_key.public_key.vkey, self.origin, of.key_pem)


def path_over(leaves: Sequence[bytes]) -> Callable[[int], Awaitable[list[bytes]]]:
    """Returns the function that gives the consistency path from a smaller size to these leaves."""

    async def path(old: int) -> list[bytes]:
        return consistency_path(leaves, old)

    return path


def refusal(proven: Proven) -> str | None:
    """Returns why VaultStream refuses a proof, or None if it accepts it."""
    public = load_pem_public_key(proven.key_pem.encode())
    assert isinstance(public, algorithms.PublicKey)
    check = algorithms.verifier(public, algorithms.algorithm_of(public))
    try:
        RecordProof.parse(proven.files).verify(
            proven.files[PAYLOAD], check, [NoteKey.parse(proven.seal_key)], origin=proven.origin
        )
    except ProofError as error:
        return error.message
    return None
