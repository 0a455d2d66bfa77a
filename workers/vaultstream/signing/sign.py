"""Step 4, sign: this and `state` are the only steps that touch a private key. They run off the event loop."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from secrets import randbelow
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from vaultstream.api import SignatureForm
from vaultstream.crypto.algorithms import JWS_ALG
from vaultstream.crypto.batch_signer import any_begins
from vaultstream.errors import LeaseLostError, SigningFaultError
from vaultstream.proof.jws import JwsForm
from vaultstream.proof.statement import RESERVED_PREFIX, is_reserved
from vaultstream.records.reasons import PAYLOAD_IS_TOKEN, PAYLOAD_RESERVED, SENTENCES
from vaultstream.signing.tokens import is_token
from vaultstream.store.leases import DeadRecord, lease_clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vaultstream.crypto.batch_signer import BatchSigner
    from vaultstream.signing.batch import Batch
    from vaultstream.signing.read import BatchRecords
    from vaultstream.store.jobs import Job

CHECK_EVERY = 64
"""Records signed between two checks of the leases' deadlines: under 50 ms even for the slowest algorithm."""


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


class _Share(NamedTuple):
    """Records of one batch, with one key, that one call signs together with those of other batches."""

    batch: Batch
    key: Any
    payloads: list[bytes]
    messages: list[bytes] | None
    """What is signed, if that is not the payloads."""

    def part(self, start: int, end: int) -> _Share:
        if not start and end == len(self.payloads):
            return self
        messages = self.messages and self.messages[start:end]
        return _Share(self.batch, self.key, self.payloads[start:end], messages)


def sign(
    records: Mapping[Batch, BatchRecords],
    keys: Mapping[Batch, Any],
    signer: BatchSigner[Any],
    form: SigningForm = RAW_FORM,
) -> dict[Batch, Exception]:
    """Signs what was read of several batches, each while its lease holds; adds the rows to what is `signed` of the batch.

    A payload that would pass for a statement of VaultStream is not signed: it becomes a dead record. So does one that is the signing
    input of a token or a DSSE envelope, if the job refuses those.

    One signature of each batch, drawn from all that are made of it here, is verified: a processor that computes wrongly, by itself
    or because someone disturbs it, could otherwise sign much that nobody can verify, and wrong signatures can disclose the key.

    Returns:
        The errors by batch, which must not be sent then. SigningFaultError: what signs can't be trusted; it concerns all batches.
        Any other error concerns its own batch alone. LeaseLostError: the lease expired or was lost meanwhile.
    """
    errors: dict[Batch, Exception] = {}
    shares = []
    for batch, found in records.items():
        try:
            shares.append(_share(batch, found, keys[batch], form))
        except Exception as error:  # noqa: BLE001 - `Failures` tells them apart
            errors[batch] = error
    try:
        for together in _slices(shares):
            _sign_together(together, signer, errors)
        _verify([share for share in shares if share.payloads and share.batch not in errors], signer)
    except SigningFaultError as fault:
        return dict.fromkeys(records, fault) | errors
    return errors


def _verify(shares: Sequence[_Share], signer: BatchSigner[Any]) -> None:
    """Verifies one signature of each share.

    It is drawn: the same place would always be signed by the same one of eight lanes, and the others would never be looked at.

    Raises:
        SigningFaultError: one is not valid.
    """
    if not shares:
        return
    signatures, messages = [], []
    for share in shares:
        rows, drawn = share.batch.signed.rows, randbelow(len(share.payloads))
        signatures.append(rows.signature(len(rows) - len(share.payloads) + drawn))
        messages.append((share.messages or share.payloads)[drawn])
    valid = signer.verify([share.key for share in shares], messages, signatures)
    for share, is_valid in zip(shares, valid, strict=True):
        if not is_valid:
            raise SigningFaultError(
                f"A signature of batch {share.batch.number} by key {share.batch.lease.key_id} is not valid."
            )


def _share(batch: Batch, records: BatchRecords, key: Any, form: SigningForm) -> _Share:
    signed, ids, payloads = batch.signed, records.ids, records.payloads
    if form.refuse_tokens or any_begins(payloads, RESERVED_PREFIX):
        refusals = [_refusal(payload, refuse_tokens=form.refuse_tokens) for payload in payloads]
        signed.dead.extend(
            DeadRecord(i, reason, SENTENCES[reason])
            for i, reason in zip(ids, refusals, strict=True)
            if reason is not None
        )
        kept = [at for at, reason in enumerate(refusals) if reason is None]
        ids, payloads = [ids[at] for at in kept], [payloads[at] for at in kept]
    messages = None
    if form.jws is not None:
        key_id = batch.lease.key_id
        messages = [
            form.jws.signing_input(key_id, str(i), payload) for i, payload in zip(ids, payloads, strict=True)
        ]
    signed.record_ids.extend(ids)
    signed.dead.extend(records.dead)
    return _Share(batch, key, payloads, messages)


def _refusal(payload: bytes, *, refuse_tokens: bool) -> str | None:
    """Returns the reason why a payload is not signed, if there is one."""
    if is_reserved(payload):
        return PAYLOAD_RESERVED
    return PAYLOAD_IS_TOKEN if refuse_tokens and is_token(payload) else None


def _slices(shares: Iterable[_Share]) -> Iterator[list[_Share]]:
    """Yields all records in their order, at most `CHECK_EVERY` at a time."""
    together: list[_Share] = []
    room = CHECK_EVERY
    for share in shares:
        start, count = 0, len(share.payloads)
        while start < count:
            end = min(start + room, count)
            together.append(share.part(start, end))
            room -= end - start
            start = end
            if not room:
                yield together
                together, room = [], CHECK_EVERY
    if together:
        yield together


def _sign_together(
    shares: Sequence[_Share], signer: BatchSigner[Any], errors: dict[Batch, Exception]
) -> None:
    """Signs records in one call; if that fails, those of each batch in a call of its own, so that only one that is at fault fails.

    Raises:
        SigningFaultError: none is at fault. Nothing is signed again: two signatures of one text, one of them wrong, can disclose a key.
    """
    held = _held(shares, errors)
    if not held:
        return
    try:
        rows = signer.sign(
            [share.key for share in held],
            [len(share.payloads) for share in held],
            list(chain.from_iterable([share.payloads for share in held])),
            # All shares have messages, or none.
            None
            if held[0].messages is None
            else list(chain.from_iterable([share.messages or () for share in held])),
        )
    except SigningFaultError:
        raise
    except Exception as error:  # noqa: BLE001 - `Failures` tells them apart
        if len(held) == 1:
            errors[held[0].batch] = error
            return
        for share in held:
            _sign_together([share], signer, errors)
        return
    start = 0
    for share in held:
        end = start + len(share.payloads) * signer.width
        share.batch.signed.rows.data += rows[start:end]
        start = end


def _held(shares: Sequence[_Share], errors: dict[Batch, Exception]) -> Sequence[_Share]:
    """Returns the shares of batches without an error, whose leases hold now; adds the others to the errors."""
    now = lease_clock()
    if not errors and all(share.batch.lease.holds_at(now) for share in shares):
        return shares
    held = []
    for share in shares:
        if share.batch in errors:
            continue
        try:
            require_lease(share.batch)
        except LeaseLostError as error:
            errors[share.batch] = error
        else:
            held.append(share)
    return held


def require_lease(batch: Batch) -> None:
    """Checks that the key of a batch may still be used.

    Raises:
        LeaseLostError: it may not.
    """
    if batch.lease.remaining <= 0:
        raise LeaseLostError(
            f"The lease on key {batch.lease.key_id} ended while batch {batch.number} was being signed."
        )
