"""Step 4, sign, its last part: the batch's statement, by the same key under the same lease."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.merkle import tree_root
from vaultstream.proof.statement import BatchStatement, record_hashes, signed_bytes
from vaultstream.signing.sign import require_lease

if TYPE_CHECKING:
    from vaultstream.crypto.algorithms import DigestSigner
    from vaultstream.signing.batch import Batch


def state(batch: Batch, signatures_of: DigestSigner, *, job_token: str, algorithm: str) -> None:
    """Signs the statement of a batch whose records are all signed, while its lease holds; adds it to `signed`.

    Raises:
        LeaseLostError: the lease expired or was lost meanwhile; nothing of the batch may be sent.
    """
    lease, signed = batch.lease, batch.signed
    if not signed.record_ids:
        return
    # Records come in the order in which they were read: long payloads last, and a retry's as their dead letters were.
    ordered = sorted(signed.record_ids)
    if ordered != signed.record_ids:
        order = sorted(range(len(ordered)), key=signed.record_ids.__getitem__)
        signed.digests = [signed.digests[at] for at in order]
        signed.signatures = [signed.signatures[at] for at in order]
        signed.record_ids = ordered
    tree = tree_root(record_hashes(ordered, signed.digests, signed.signatures))
    require_lease(batch)
    body = BatchStatement(
        job_token=job_token,
        batch=batch.number,
        key_id=lease.key_id,
        epoch=lease.epoch,
        holder=lease.holder,
        algorithm=algorithm,
        count=len(ordered),
        first_id=str(ordered[0]),
        last_id=str(ordered[-1]),
        root=tree,
        signed_at=lease.clock.now(),
    ).body
    stated = signed_bytes(body)
    [signature] = signatures_of([stated], [sha256(stated).digest()])
    signed.statement = StatementEnvelope(body, signature)
