"""Step 4, sign, its last part: each batch's statement, by the same key under the same lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaultstream.crypto.batch_signer import roots
from vaultstream.crypto.rows import Rows
from vaultstream.errors import SigningFaultError
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.statement import BatchStatement, signed_bytes
from vaultstream.signing.sign import CHECK_EVERY, require_lease

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaultstream.crypto.batch_signer import BatchSigner
    from vaultstream.signing.batch import Batch


def state(
    batches: Sequence[Batch],
    keys: Mapping[Batch, Any],
    signer: BatchSigner[Any],
    *,
    job_token: str,
    algorithm: str,
) -> dict[Batch, Exception]:
    """Signs the statements of batches whose records are all signed, each while its lease holds; adds them to what is `signed`.

    Returns:
        The errors by batch, as those of `sign`.
    """
    errors: dict[Batch, Exception] = {}
    stating = [batch for batch in batches if batch.signed.record_ids]
    for start in range(0, len(stating), CHECK_EVERY):
        together = stating[start : start + CHECK_EVERY]
        try:
            _state_together(together, keys, signer, job_token, algorithm)
        except SigningFaultError as fault:
            return dict.fromkeys(batches, fault) | errors
        except Exception:  # noqa: BLE001 - one of them is at fault
            for batch in together:
                try:
                    _state_together([batch], keys, signer, job_token, algorithm)
                except Exception as error:  # noqa: BLE001 - `Failures` tells them apart
                    errors[batch] = error
    return errors


def _state_together(
    batches: Sequence[Batch],
    keys: Mapping[Batch, Any],
    signer: BatchSigner[Any],
    job_token: str,
    algorithm: str,
) -> None:
    for batch in batches:
        _put_in_order(batch)
    trees = roots([batch.signed.record_ids for batch in batches], [batch.signed.rows for batch in batches])
    for batch in batches:
        require_lease(batch)
    bodies = [_body(batch, tree, job_token, algorithm) for batch, tree in zip(batches, trees, strict=True)]
    signed = signer.sign(
        [keys[batch] for batch in batches], [1] * len(batches), [signed_bytes(body) for body in bodies]
    )
    signatures = Rows(signer.width, bytearray(signed)).signatures
    for batch, body, signature in zip(batches, bodies, signatures, strict=True):
        batch.signed.statement = StatementEnvelope(body, signature)


def _put_in_order(batch: Batch) -> None:
    """Records come in the order in which they were read: long payloads last, and a retry's as their dead letters were."""
    signed = batch.signed
    ordered = sorted(signed.record_ids)
    if ordered != signed.record_ids:
        signed.rows.reorder(sorted(range(len(ordered)), key=signed.record_ids.__getitem__))
        signed.record_ids = ordered


def _body(batch: Batch, tree: bytes, job_token: str, algorithm: str) -> str:
    lease, ids = batch.lease, batch.signed.record_ids
    return BatchStatement(
        job_token=job_token,
        batch=batch.number,
        key_id=lease.key_id,
        epoch=lease.epoch,
        holder=lease.holder,
        algorithm=algorithm,
        count=len(ids),
        first_id=str(ids[0]),
        last_id=str(ids[-1]),
        root=tree,
        signed_at=lease.clock.now(),
    ).body
