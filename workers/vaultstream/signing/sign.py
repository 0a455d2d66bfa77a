"""Step 4, sign: this and `state` are the only steps that touch a private key. They run off the event loop."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from vaultstream.api import SignatureForm
from vaultstream.crypto.algorithms import JWS_ALG
from vaultstream.errors import LeaseLostError
from vaultstream.proof.jws import JwsForm
from vaultstream.proof.statement import any_reserved, is_reserved
from vaultstream.records.reasons import PAYLOAD_IS_TOKEN, PAYLOAD_RESERVED, SENTENCES
from vaultstream.signing.tokens import is_token
from vaultstream.store.leases import DeadRecord

if TYPE_CHECKING:
    from vaultstream.crypto.algorithms import DigestSigner
    from vaultstream.signing.batch import Batch
    from vaultstream.signing.read import BatchRecords
    from vaultstream.store.jobs import Job

CHECK_EVERY = 64
"""Records signed between two checks of the lease's deadline: under 50 ms even for the slowest algorithm."""


@dataclass(frozen=True)
class SigningForm:
    """What a job signs of its records."""

    refuse_tokens: bool = False
    jws: JwsForm | None = None
    """None: the payload's bytes."""

    @classmethod
    def of(cls, job: Job) -> Self:
        wanted = job.spec.signature
        jws = (
            JwsForm(JWS_ALG[job.spec.keys.algorithm], job.token)
            if wanted.format is SignatureForm.JWS
            else None
        )
        return cls(wanted.refuse_tokens, jws)


RAW_FORM = SigningForm()


def sign(
    batch: Batch, records: BatchRecords, signatures_of: DigestSigner, form: SigningForm = RAW_FORM
) -> None:
    """Signs the payloads of one part of a batch while the batch's lease holds; adds them to `signed`.

    A payload that would pass for a statement of VaultStream is not signed: it becomes a dead record. So does one that is the signing
    input of a token or a DSSE envelope, if the job refuses those.

    Raises:
        LeaseLostError: the lease expired or was lost meanwhile; nothing of the batch may be sent.
    """
    signed, ids, payloads = batch.signed, records.ids, records.payloads
    if form.refuse_tokens or any_reserved(payloads):
        refusals = [_refusal(payload, refuse_tokens=form.refuse_tokens) for payload in payloads]
        signed.dead.extend(
            DeadRecord(i, reason, SENTENCES[reason])
            for i, reason in zip(ids, refusals, strict=True)
            if reason is not None
        )
        kept = [at for at, reason in enumerate(refusals) if reason is None]
        ids, payloads = [ids[at] for at in kept], [payloads[at] for at in kept]
    digests = payload_digests = [sha256(payload).digest() for payload in payloads]
    if form.jws is not None:
        key_id = batch.lease.key_id
        payloads = [
            form.jws.signing_input(key_id, str(i), payload) for i, payload in zip(ids, payloads, strict=True)
        ]
        digests = [sha256(payload).digest() for payload in payloads]
    for start in range(0, len(payloads), CHECK_EVERY):
        require_lease(batch)
        end = start + CHECK_EVERY
        signed.signatures += signatures_of(payloads[start:end], digests[start:end])
    signed.record_ids.extend(ids)
    signed.digests.extend(payload_digests)
    signed.dead.extend(records.dead)


def _refusal(payload: bytes, *, refuse_tokens: bool) -> str | None:
    """Returns the reason why a payload is not signed, if there is one."""
    if is_reserved(payload):
        return PAYLOAD_RESERVED
    return PAYLOAD_IS_TOKEN if refuse_tokens and is_token(payload) else None


def require_lease(batch: Batch) -> None:
    """Checks that the key of a batch may still be used.

    Raises:
        LeaseLostError: it may not.
    """
    if batch.lease.remaining <= 0:
        raise LeaseLostError(
            f"The lease on key {batch.lease.key_id} ended while batch {batch.number} was being signed."
        )
