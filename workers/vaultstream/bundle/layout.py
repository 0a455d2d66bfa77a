"""What a bundle is: a folder with the files of one job, and the texts of its lines.

    README.md                          for its reader
    verify.py, verify.mjs              check it; formats.py and formats.mjs are parts of them
    bundle.json                        what it is about; nothing signs it
    keys.jwks                          all public keys of the job, revoked ones too
    records.jsonl                      one record per line, ascending by id: id, batch, SHA-256, signature, perhaps the payload
    log.jsonl                          the entries of the job's log, one per line, as they were logged; only if it is sealed
    statements.jsonl                   the statements of batches that are in no log
    checkpoint                         the head of the job's log
    seal.json, seal.tlog-proof         the job's seal, and that it is in the installation's log
    plan.json, plan.tlog-proof         what was planned, and that it is in the same log

A file .json is one canonical text, without a newline at its end; so its bytes are those that are in the log.
"""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from vaultstream.errors import ProofError
from vaultstream.proof.canonical import canonical_text, parse_canonical
from vaultstream.proof.note import encode_base64

BUNDLE_VERSION = 1


class BundleFile(StrEnum):
    """The name of a file that all verifiers read."""

    ABOUT = "bundle.json"
    KEYS = "keys.jwks"
    RECORDS = "records.jsonl"
    LOG = "log.jsonl"
    STATEMENTS = "statements.jsonl"
    CHECKPOINT = "checkpoint"
    SEAL = "seal.json"
    SEAL_PROOF = "seal.tlog-proof"
    PLAN = "plan.json"
    PLAN_PROOF = "plan.tlog-proof"


LONGEST_LINE = 128 * 1024 * 1024
"""In bytes. A payload has at most 64 MiB, and base64 makes 86 MiB of them."""


@dataclass(frozen=True, kw_only=True)
class AboutBundle:
    """What `bundle.json` says."""

    job: str
    token: str
    origin: str
    """Of the installation's log; empty if the job is not sealed."""
    algorithm: str
    signature_format: str
    """Raw or JWS."""
    id_type: str
    """bigint, uuid or text: how ids are compared."""
    state: str
    """Of the job, when it was exported."""
    records: int
    payloads: int
    """Records with their payload."""

    @property
    def data(self) -> bytes:
        values = {
            "algorithm": self.algorithm,
            "idType": self.id_type,
            "job": self.job,
            "origin": self.origin,
            "payloads": self.payloads,
            "records": self.records,
            "signatureFormat": self.signature_format,
            "state": self.state,
            "token": self.token,
            "version": BUNDLE_VERSION,
        }
        return canonical_text(values).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads the file.

        Raises:
            ProofError: it is malformed, or of a version that is not known.
        """
        values = parse_canonical(data)
        if values.get("version") != BUNDLE_VERSION:
            raise ProofError(
                f"{BundleFile.ABOUT} is of version {values.get('version')!r}, and only version {BUNDLE_VERSION} is known.",
                hint="Verify it with a newer version of VaultStream, or with the program in it.",
            )
        try:
            about = cls(
                job=values["job"],
                token=values["token"],
                origin=values["origin"],
                algorithm=values["algorithm"],
                signature_format=values["signatureFormat"],
                id_type=values["idType"],
                state=values["state"],
                records=values["records"],
                payloads=values["payloads"],
            )
        except KeyError as error:
            raise ProofError(f"{BundleFile.ABOUT} has no member {error}.") from None
        names = about.job, about.token, about.origin, about.algorithm
        texts = *names, about.signature_format, about.id_type, about.state
        numbers = about.records, about.payloads
        if about.data != data or not all(isinstance(each, str) for each in texts):
            raise ProofError(f"{BundleFile.ABOUT} has other members than it must.")
        if not all(type(each) is int for each in numbers):
            raise ProofError(f"{BundleFile.ABOUT} has a number that is none.")
        return about


@dataclass(frozen=True, slots=True)
class BundledRecord:
    """A record as a line has it."""

    record_id: str
    batch: int
    """Whose key signed it; 0: no key states anything about it."""
    digest: bytes
    """SHA-256 of the payload."""
    signature: bytes
    """As it is stored: of ECDSA in DER."""
    payload: bytes | None = None

    @property
    def line(self) -> str:
        """The canonical text, by an encoder that is given nothing else than simple values in the order of their names."""
        payload = {} if self.payload is None else {"payload": encode_base64(self.payload)}
        return _encode(
            {
                "batch": self.batch,
                "id": self.record_id,
                **payload,
                "sha256": self.digest.hex(),
                "signature": encode_base64(self.signature),
            }
        )

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Reads a line, without its end.

        Raises:
            ProofError: it is malformed.
        """
        try:
            values: dict[str, Any] = json.loads(line)
            payload = b64decode(values["payload"]) if "payload" in values else None
            record = cls(
                values["id"],
                values["batch"],
                bytes.fromhex(values["sha256"]),
                b64decode(values["signature"]),
                payload,
            )
            # The line of what was read has no other members and no other texts.
            same = record.line.encode() == line
        except (KeyError, TypeError, ValueError, RecursionError):
            raise ProofError("It is no canonical JSON of a record.") from None
        if not same or type(record.record_id) is not str or type(record.batch) is not int:
            raise ProofError("It is no canonical JSON of a record, or has other members.")
        return record


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
