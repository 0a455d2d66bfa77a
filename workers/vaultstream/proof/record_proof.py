"""The proof of one record: three files that are checked offline, with no part of VaultStream.

    record.json           its id, digest and signature, and the path from its leaf to its batch's root
    statement.json        the statement of its batch, which has that root, signed by the batch's key
    statement.tlog-proof  that the statement is an entry of the job's log, whose checkpoint the seal key signed

So the record is bound to its place, its time and its key by the key, and to the job's log by the seal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

from vaultstream.errors import ProofError
from vaultstream.proof.canonical import canonical_text, parse_canonical
from vaultstream.proof.dsse import SignatureCheck, StatementEnvelope
from vaultstream.proof.merkle import leaf_hash, verify_inclusion
from vaultstream.proof.note import NoteVerifier, decode_base64, encode_base64
from vaultstream.proof.statement import record_leaf
from vaultstream.proof.tlog_proof import TlogProof

if TYPE_CHECKING:
    from vaultstream.proof.checkpoint import SignedCheckpoint

RECORD_FILE, STATEMENT_FILE, PROOF_FILE = "record.json", "statement.json", "statement.tlog-proof"


@dataclass(frozen=True, slots=True)
class ProvenRecord:
    """A record and its place in its batch."""

    record_id: str
    payload_sha256: bytes
    signature: bytes
    index: int
    """Its place among the signed records of its batch, from 0."""
    path: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        values = {
            "id": self.record_id,
            "index": self.index,
            "path": [one.hex() for one in self.path],
            "payloadSha256": self.payload_sha256.hex(),
            "signature": encode_base64(self.signature),
        }
        return canonical_text(values).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads the file.

        Raises:
            ProofError: it is malformed.
        """
        values: dict[str, Any] = parse_canonical(data)
        try:
            record = cls(
                record_id=values["id"],
                payload_sha256=bytes.fromhex(values["payloadSha256"]),
                signature=decode_base64(values["signature"]) or b"",
                index=values["index"],
                path=tuple(map(bytes.fromhex, values["path"])),
            )
            read = record.data
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ProofError(f"{RECORD_FILE} is malformed.") from None
        if read != data or not isinstance(record.record_id, str) or not isinstance(record.index, int):
            raise ProofError(f"{RECORD_FILE} has other members or types than a record's proof.")
        return record


@dataclass(frozen=True, slots=True)
class RecordProof:
    """The proof of a record, verified or not."""

    record: ProvenRecord
    signed: StatementEnvelope
    log: TlogProof

    @property
    def files(self) -> dict[str, bytes]:
        return {RECORD_FILE: self.record.data, STATEMENT_FILE: self.signed.data, PROOF_FILE: self.log.data}

    @classmethod
    def parse(cls, files: Mapping[str, bytes]) -> Self:
        """Reads the files.

        Raises:
            ProofError: one of them is malformed.
        """
        return cls(
            ProvenRecord.parse(files[RECORD_FILE]),
            StatementEnvelope.parse(files[STATEMENT_FILE]),
            TlogProof.parse(files[PROOF_FILE]),
        )

    def verify(
        self,
        payload: bytes,
        check: SignatureCheck,
        logs: Sequence[NoteVerifier],
        *,
        origin: str,
        witnesses: Sequence[NoteVerifier] = (),
    ) -> SignedCheckpoint:
        """Returns the checkpoint of the log that has the record's batch.

        Args:
            payload: the record's.
            check: of the key that the statement names, and that is known to be the job's.
            logs: the installation's seal keys; one of them must have signed.
            origin: the job's log.
            witnesses: keys whose cosignatures are verified too. The caller counts them.

        Raises:
            ProofError: the payload, the record, its place, the statement or the log is not what it must be.
        """
        record, statement = self.record, self.signed.require_signature(check)
        if sha256(payload).digest() != record.payload_sha256:
            raise ProofError(f"The payload of record {record.record_id!r} is not what was signed.")
        if not check(record.signature, payload):
            raise ProofError(f"The signature of record {record.record_id!r} is not valid.")
        leaf = leaf_hash(record_leaf(record.record_id, record.payload_sha256, record.signature))
        if not verify_inclusion(leaf, record.index, statement.count, record.path, statement.root):
            raise ProofError(
                f"Record {record.record_id!r} is not the record {record.index} of batch {statement.batch}."
            )
        return self.log.verify(leaf_hash(self.signed.data), logs, origin=origin, witnesses=witnesses)
