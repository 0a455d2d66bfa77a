"""Step 4, sign: the only step that touches a private key. It runs off the event loop."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from vaultstream.errors import LeaseLostError
from vaultstream.store.leases import SignedBatch

if TYPE_CHECKING:
    from vaultstream.crypto.algorithms import DigestSigner
    from vaultstream.signing.read import BatchRecords
    from vaultstream.store.leases import Lease

LOOK_EVERY = 64
"""Records between two looks at the lease's clock: under 50 ms even for the slowest algorithm."""


def sign(batch_no: int, records: BatchRecords, lease: Lease, signature_of: DigestSigner) -> SignedBatch:
    """Signs each payload of a batch, for as long as the lease holds.

    Raises:
        LeaseLostError: the lease ran out or was lost on the way; nothing of the batch may be sent.
    """
    signatures: list[bytes] = []
    payloads = records.payloads
    digests = [sha256(payload).digest() for payload in payloads]
    for start in range(0, len(payloads), LOOK_EVERY):
        if lease.remaining <= 0:
            raise LeaseLostError(
                f"The lease on key {lease.key_id} ended while batch {batch_no} was being signed."
            )
        end = start + LOOK_EVERY
        signatures += map(signature_of, payloads[start:end], digests[start:end])
    return SignedBatch(
        batch_no=batch_no,
        lease=lease,
        record_ids=records.ids,
        digests=digests,
        signatures=signatures,
        dead=records.dead,
    )
