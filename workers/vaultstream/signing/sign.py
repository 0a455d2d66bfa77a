"""Step 4, sign: the only step that touches a private key. It runs off the event loop."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from vaultstream.errors import LeaseLostError
from vaultstream.store.leases import SignedBatch

if TYPE_CHECKING:
    from vaultstream.crypto.algorithms import DigestSigner
    from vaultstream.signing.batch import Batch

CHECK_EVERY = 64
"""Records signed between two checks of the lease's deadline: under 50 ms even for the slowest algorithm."""


def sign(batch: Batch, signature_of: DigestSigner) -> None:
    """Signs each payload of a batch while its lease holds; adds `signed`.

    Raises:
        LeaseLostError: the lease expired or was lost meanwhile; nothing of the batch may be sent.
    """
    records, lease = batch.records, batch.lease
    payloads = records.payloads
    signatures: list[bytes] = []
    digests = [sha256(payload).digest() for payload in payloads]
    for start in range(0, len(payloads), CHECK_EVERY):
        if lease.remaining <= 0:
            raise LeaseLostError(
                f"The lease on key {lease.key_id} ended while batch {batch.number} was being signed."
            )
        end = start + CHECK_EVERY
        signatures += map(signature_of, payloads[start:end], digests[start:end])
    batch.signed = SignedBatch(
        batch_no=batch.number,
        lease=lease,
        record_ids=records.ids,
        digests=digests,
        signatures=signatures,
        dead=records.dead,
    )
