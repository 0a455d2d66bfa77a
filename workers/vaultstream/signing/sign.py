"""Step 4, sign: this and `state` are the only steps that touch a private key. They run off the event loop."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from vaultstream.errors import LeaseLostError
from vaultstream.proof.statement import any_reserved, is_reserved
from vaultstream.records.reasons import PAYLOAD_RESERVED, SENTENCES
from vaultstream.store.leases import DeadRecord

if TYPE_CHECKING:
    from vaultstream.crypto.algorithms import DigestSigner
    from vaultstream.signing.batch import Batch
    from vaultstream.signing.read import BatchRecords

CHECK_EVERY = 64
"""Records signed between two checks of the lease's deadline: under 50 ms even for the slowest algorithm."""


def sign(batch: Batch, records: BatchRecords, signature_of: DigestSigner) -> None:
    """Signs the payloads of one part of a batch while the batch's lease holds; adds them to `signed`.

    A payload that would pass for a statement of VaultStream is not signed: it becomes a dead record.

    Raises:
        LeaseLostError: the lease expired or was lost meanwhile; nothing of the batch may be sent.
    """
    signed, ids, payloads = batch.signed, records.ids, records.payloads
    if any_reserved(payloads):
        kept = [(i, payload) for i, payload in zip(ids, payloads, strict=True) if not is_reserved(payload)]
        reserved = [i for i, payload in zip(ids, payloads, strict=True) if is_reserved(payload)]
        signed.dead.extend(DeadRecord(i, PAYLOAD_RESERVED, SENTENCES[PAYLOAD_RESERVED]) for i in reserved)
        ids, payloads = [i for i, _ in kept], [payload for _, payload in kept]
    digests = [sha256(payload).digest() for payload in payloads]
    for start in range(0, len(payloads), CHECK_EVERY):
        require_lease(batch)
        end = start + CHECK_EVERY
        signed.signatures.extend(map(signature_of, payloads[start:end], digests[start:end]))
    signed.record_ids.extend(ids)
    signed.digests.extend(digests)
    signed.dead.extend(records.dead)


def require_lease(batch: Batch) -> None:
    """Checks that the key of a batch may still be used.

    Raises:
        LeaseLostError: it may not.
    """
    if batch.lease.remaining <= 0:
        raise LeaseLostError(
            f"The lease on key {batch.lease.key_id} ended while batch {batch.number} was being signed."
        )
