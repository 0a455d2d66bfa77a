from __future__ import annotations

from hashlib import sha256

import pytest

from vaultstream.errors import LeaseLostError
from vaultstream.signing.read import BatchRecords
from vaultstream.signing.sign import LOOK_EVERY, sign
from vaultstream.store.leases import DeadRecord, Lease, lease_clock

pytestmark = pytest.mark.unit


def lease_for(seconds: float) -> Lease:
    return Lease(key_no=1, key_id="key-1", epoch=7, deadline=lease_clock() + seconds)


def records(count: int) -> BatchRecords:
    return BatchRecords(
        list(range(count)), [b"%d" % n for n in range(count)], [DeadRecord(99, "PayloadNull", "")]
    )


@pytest.mark.parametrize("count", [0, 1, LOOK_EVERY, LOOK_EVERY + 1, 5 * LOOK_EVERY + 3])
def test_each_payload_has_its_signature_and_digest_in_its_place(count: int) -> None:
    batch = sign(3, records(count), lease_for(60), lambda payload, _: b"signed " + payload)
    assert batch.record_ids == list(range(count))
    assert batch.signatures == [b"signed %d" % n for n in range(count)]
    assert batch.digests == [sha256(b"%d" % n).digest() for n in range(count)]
    assert [dead.record_id for dead in batch.dead] == [99]
    assert batch.batch_no == 3


@pytest.mark.parametrize("how", ["ran out", "was lost"])
def test_signing_stops_soon_after_the_lease_ends(how: str) -> None:
    lease = lease_for(60)
    signed: list[bytes] = []

    def signature_of(payload: bytes, digest: bytes) -> bytes:
        signed.append(payload)
        if len(signed) == 10:
            if how == "ran out":
                lease.deadline = lease_clock() - 0.001
            else:
                lease.lost = True
        return payload

    with pytest.raises(LeaseLostError, match="key-1"):
        sign(3, records(20 * LOOK_EVERY), lease, signature_of)
    assert len(signed) == LOOK_EVERY


def test_nothing_is_signed_under_a_lease_that_has_ended() -> None:
    signed: list[bytes] = []
    with pytest.raises(LeaseLostError):
        sign(3, records(1), lease_for(0), lambda payload, _: signed.append(payload) or payload)
    assert signed == []
