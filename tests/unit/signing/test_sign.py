from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, cast

import pytest

from support.engine import make_lease
from vaultstream.errors import LeaseLostError
from vaultstream.signing.batch import Batch
from vaultstream.signing.read import BatchRecords
from vaultstream.signing.sign import CHECK_EVERY, sign
from vaultstream.store.leases import DeadRecord, Lease, SignedBatch, lease_clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.msg import Msg

pytestmark = pytest.mark.unit


def signatures_of(payloads: Sequence[bytes], _: Sequence[bytes]) -> list[bytes]:
    return [b"signed " + payload for payload in payloads]


def lease_for(seconds: float) -> Lease:
    return make_lease(seconds, epoch=7)


def leased_batch(lease: Lease) -> Batch:
    batch = Batch(3, cast("Msg", None))
    batch.lease = lease
    batch.signed = SignedBatch.empty(batch.number, lease)
    return batch


def read_part(count: int, first: int = 0) -> BatchRecords:
    ids = list(range(first, first + count))
    return BatchRecords(ids, [b"%d" % n for n in ids], [DeadRecord(99 + first, "PayloadNull", "")])


@pytest.mark.parametrize("count", [0, 1, CHECK_EVERY, CHECK_EVERY + 1, 5 * CHECK_EVERY + 3])
def test_each_payload_has_its_signature_and_digest_in_its_place(count: int) -> None:
    batch = leased_batch(lease_for(60))
    sign(batch, read_part(count), signatures_of)
    assert batch.signed.record_ids == list(range(count))
    assert batch.signed.signatures == [b"signed %d" % n for n in range(count)]
    assert batch.signed.digests == [sha256(b"%d" % n).digest() for n in range(count)]
    assert [dead.record_id for dead in batch.signed.dead] == [99]
    assert batch.signed.batch_no == 3


def test_the_parts_of_a_batch_add_up() -> None:
    batch = leased_batch(lease_for(60))
    for part in (read_part(70), read_part(0, first=70), read_part(30, first=70)):
        sign(batch, part, signatures_of)
    assert batch.signed.record_ids == list(range(100))
    assert batch.signed.signatures == [b"signed %d" % n for n in range(100)]
    assert batch.signed.digests == [sha256(b"%d" % n).digest() for n in range(100)]
    assert [dead.record_id for dead in batch.signed.dead] == [99, 169, 169]


@pytest.mark.parametrize("how", ["ran out", "was lost"])
def test_signing_stops_soon_after_the_lease_ends(how: str) -> None:
    lease = lease_for(60)
    signed: list[bytes] = []

    def sign_and_lose(payloads: Sequence[bytes], digests: Sequence[bytes]) -> list[bytes]:
        signed.extend(payloads)
        if how == "ran out":
            lease.deadline = lease_clock() - 0.001
        else:
            lease.lost = True
        return signatures_of(payloads, digests)

    with pytest.raises(LeaseLostError, match="key-1"):
        sign(leased_batch(lease), read_part(20 * CHECK_EVERY), sign_and_lose)
    assert len(signed) == CHECK_EVERY


def test_nothing_is_signed_under_a_lease_that_has_ended() -> None:
    signed: list[bytes] = []

    def note(payloads: Sequence[bytes], digests: Sequence[bytes]) -> list[bytes]:
        signed.extend(payloads)
        return signatures_of(payloads, digests)

    with pytest.raises(LeaseLostError):
        sign(leased_batch(lease_for(0)), read_part(1), note)
    assert signed == []
