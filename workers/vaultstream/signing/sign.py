"""Step 4, sign: the only step that touches a private key. It runs off the event loop."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from vaultstream.errors import LeaseLostError

if TYPE_CHECKING:
    from vaultstream.crypto.algorithms import DigestSigner
    from vaultstream.signing.batch import Batch
    from vaultstream.signing.read import BatchRecords

CHECK_EVERY = 64
"""Records signed between two checks of the lease's deadline: under 50 ms even for the slowest algorithm."""


def sign(batch: Batch, records: BatchRecords, signature_of: DigestSigner) -> None:
    """Signs the payloads of one part of a batch while the batch's lease holds; adds them to `signed`.

    Raises:
        LeaseLostError: the lease expired or was lost meanwhile; nothing of the batch may be sent.
    """
    lease, signed, payloads = batch.lease, batch.signed, records.payloads
    digests = [sha256(payload).digest() for payload in payloads]
    for start in range(0, len(payloads), CHECK_EVERY):
        if lease.remaining <= 0:
            raise LeaseLostError(
                f"The lease on key {lease.key_id} ended while batch {batch.number} was being signed."
            )
        end = start + CHECK_EVERY
        signed.signatures.extend(map(signature_of, payloads[start:end], digests[start:end]))
    signed.record_ids.extend(records.ids)
    signed.digests.extend(digests)
    signed.dead.extend(records.dead)
