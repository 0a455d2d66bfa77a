"""A batch statement with its signature: an envelope of DSSE (https://github.com/secure-systems-lab/dsse), as canonical JSON.

    {"payload":"<the body, in base64>","payloadType":"application/vnd.vaultstream.batch-statement.v1+json",
     "signatures":[{"keyid":"<id of the key>","sig":"<in base64>"}]}

in one line. These bytes are also the entry of the job's log, so the file that others' tools verify is what was logged.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from vaultstream.errors import ProofError
from vaultstream.proof.canonical import parse_canonical
from vaultstream.proof.note import decode_base64, encode_base64
from vaultstream.proof.statement import PAYLOAD_TYPE, BatchStatement, signed_bytes

_quoted = json.encoder.encode_basestring
"""Returns a text as canonical JSON."""

SignatureCheck = Callable[[bytes, bytes], bool]
"""Returns whether a signature, the first argument, is a key's over the second."""


def envelope_data(body: str, signature: bytes, key_id: str) -> bytes:
    """Returns the envelope of a statement by the key that it names. Written out, because each seal makes one for each statement."""
    return (
        f'{{"payload":"{encode_base64(body.encode())}","payloadType":"{PAYLOAD_TYPE}",'
        f'"signatures":[{{"keyid":{_quoted(key_id)},"sig":"{encode_base64(signature)}"}}]}}'
    ).encode()


@dataclass(frozen=True, slots=True)
class StatementEnvelope:
    """A statement as its key signed it."""

    body: str
    signature: bytes

    @property
    def statement(self) -> BatchStatement:
        """What is stated.

        Raises:
            ProofError: the body is not that of a statement.
        """
        try:
            return BatchStatement.parse(self.body)
        except ValueError as error:
            raise ProofError("The body is not that of a batch statement.", hint=str(error)) from None

    @property
    def data(self) -> bytes:
        """The envelope: the entry of the job's log."""
        return envelope_data(self.body, self.signature, self.statement.key_id)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads an envelope. Its signature is not verified.

        Raises:
            ProofError: it is malformed, or is not that of a batch statement with one signature by the key that it names.
        """
        envelope = parse_canonical(data)
        try:
            [signature] = envelope["signatures"]
            body, value = decode_base64(envelope["payload"]), decode_base64(signature["sig"])
            signed = cls((body or b"").decode(), value or b"")
        except (KeyError, TypeError, ValueError):
            raise ProofError("The statement is not an envelope of DSSE with one signature.") from None
        # The envelope of what was read has no other members, types or ids.
        if signed.data != data:
            raise ProofError("The envelope is not that of a batch statement and its key.")
        return signed

    def require_signature(self, check: SignatureCheck) -> BatchStatement:
        """Returns what is stated.

        Args:
            check: of the key with the id that the statement names.

        Raises:
            ProofError: the key has not signed it.
        """
        statement = self.statement
        if not check(self.signature, signed_bytes(self.body)):
            raise ProofError(
                f"The signature of the statement of batch {statement.batch} by key {statement.key_id} is not valid."
            )
        return statement
