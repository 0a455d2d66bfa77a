from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from support.batch_signing import LANES, Call, NotingSigner, leased_batch, signature_of
from support.engine import make_lease
from vaultstream.errors import LeaseLostError, SigningFaultError
from vaultstream.proof.jws import JwsForm
from vaultstream.signing.read import BatchRecords
from vaultstream.signing.sign import CHECK_EVERY, SigningForm, sign
from vaultstream.store.leases import DeadRecord, Lease, lease_clock

if TYPE_CHECKING:
    from vaultstream.signing.batch import Batch

pytestmark = pytest.mark.unit


def lease_for(seconds: float = 60) -> Lease:
    return make_lease(seconds, epoch=7)


def read_part(count: int, first: int = 0) -> BatchRecords:
    ids = list(range(first, first + count))
    return BatchRecords(ids, [b"%d" % n for n in ids], [DeadRecord(99 + first, "PayloadNull", "")])


def hand(*counts: int) -> tuple[dict[Batch, BatchRecords], dict[Batch, str]]:
    """Returns what was read of batches with so many records, and a key for each."""
    records = {
        leased_batch(lease_for(), number): read_part(count, first=1000 * number)
        for number, count in enumerate(counts)
    }
    return records, {batch: f"key {batch.number}" for batch in records}


def assert_signed(batch: Batch, ids: range, key: str = "key") -> None:
    payloads = [b"%d" % n for n in ids]
    assert batch.signed.record_ids == list(ids)
    assert batch.signed.rows.signatures == [signature_of(key, each) for each in payloads]
    assert batch.signed.rows.digests == [sha256(each).digest() for each in payloads]


def end(lease: Lease, how: str) -> None:
    if how == "ran out":
        lease.deadline = lease_clock() - 0.001
    else:
        lease.lost = True


@pytest.mark.parametrize("count", [0, 1, CHECK_EVERY, CHECK_EVERY + 1, 5 * CHECK_EVERY + 3])
def test_each_payload_has_its_signature_and_digest_in_its_place(count: int) -> None:
    batch = leased_batch(lease_for())
    assert sign({batch: read_part(count)}, {batch: "key"}, NotingSigner()) == {}
    assert_signed(batch, range(count))
    assert [dead.record_id for dead in batch.signed.dead] == [99]
    assert batch.signed.batch_no == 3


def test_the_parts_of_a_batch_add_up() -> None:
    batch = leased_batch(lease_for())
    for part in (read_part(70), read_part(0, first=70), read_part(30, first=70)):
        assert sign({batch: part}, {batch: "key"}, NotingSigner()) == {}
    assert_signed(batch, range(100))
    assert [dead.record_id for dead in batch.signed.dead] == [99, 169, 169]


@pytest.mark.parametrize("counts", [(50, 50, 50), (1, 0, 63, 1), (200, 3), (64, 64), (10,) * 13])
def test_batches_are_signed_together_each_with_its_own_key(counts: tuple[int, ...]) -> None:
    """As many records in each call as are signed between two looks at their leases."""
    signer, (records, keys) = NotingSigner(), hand(*counts)
    assert sign(records, keys, signer) == {}
    for batch, count in zip(records, counts, strict=True):
        assert_signed(batch, range(1000 * batch.number, 1000 * batch.number + count), keys[batch])
    whole, rest = divmod(sum(counts), CHECK_EVERY)
    assert [len(call.messages) for call in signer.calls] == [CHECK_EVERY] * whole + [rest] * bool(rest)


def test_what_is_signed_can_be_something_else_than_the_payload() -> None:
    form = SigningForm(jws=JwsForm("EdDSA", "receipts"))
    signer, (records, keys) = NotingSigner(), hand(50, 50)
    assert sign(records, keys, signer, form) == {}
    for batch in records:
        ids = batch.signed.record_ids
        inputs = (
            [form.jws.signing_input(batch.lease.key_id, str(i), b"%d" % i) for i in ids] if form.jws else []
        )
        assert batch.signed.rows.signatures == [signature_of(keys[batch], each) for each in inputs]
        assert batch.signed.rows.digests == [sha256(b"%d" % i).digest() for i in ids]


@pytest.mark.parametrize("how", ["ran out", "was lost"])
def test_signing_stops_soon_after_the_lease_ends(how: str) -> None:
    batch = leased_batch(lease_for())
    signer = NotingSigner(meanwhile=lambda _: end(batch.lease, how))
    errors = sign({batch: read_part(20 * CHECK_EVERY)}, {batch: "key"}, signer)
    assert [type(error) for error in errors.values()] == [LeaseLostError]
    assert "key-1" in str(errors[batch])
    assert len(signer.asked) == CHECK_EVERY


@pytest.mark.parametrize("how", ["ran out", "was lost"])
def test_a_lease_that_ends_meanwhile_ends_its_own_batch_alone(how: str) -> None:
    records, keys = hand(50, 200, 50)
    first, lost, last = records

    def lose(call: Call) -> None:
        if keys[last] not in dict(call.shares):
            end(lost.lease, how)

    signer = NotingSigner(meanwhile=lose)
    errors = sign(records, keys, signer)
    assert {batch: type(error) for batch, error in errors.items()} == {lost: LeaseLostError}
    assert_signed(first, range(50), keys[first])
    assert_signed(last, range(2000, 2050), keys[last])
    assert [len(call.messages) for call in signer.calls] == [64, 6, 44], "its other records are not signed"


def test_an_error_of_one_batch_concerns_that_batch_alone() -> None:
    records, keys = hand(30, 30, 30)
    first, bad, last = records

    def refuse(call: Call) -> None:
        if keys[bad] in dict(call.shares):
            raise ValueError("no such key")

    errors = sign(records, keys, NotingSigner(meanwhile=refuse))
    assert {batch: str(error) for batch, error in errors.items()} == {bad: "no such key"}
    assert_signed(first, range(30), keys[first])
    assert_signed(last, range(2000, 2030), keys[last])


def test_nothing_is_signed_under_a_lease_that_has_ended() -> None:
    batch, signer = leased_batch(lease_for(0)), NotingSigner()
    assert [*sign({batch: read_part(1)}, {batch: "key"}, signer)] == [batch]
    assert signer.calls == []


def test_one_signature_of_each_batch_is_verified_each_time_that_some_are_made() -> None:
    signer, (records, keys) = NotingSigner(), hand(50, 0, 200)
    assert sign(records, keys, signer) == {}
    more = {batch: read_part(3, first=7000 + 10 * batch.number) for batch in records}
    assert sign(more, keys, signer) == {}
    parts = [
        ("key 0", 0, 50),
        ("key 2", 2000, 200),
        ("key 0", 7000, 3),
        ("key 1", 7010, 3),
        ("key 2", 7020, 3),
    ]
    assert [key for key, _ in signer.verified] == [key for key, _, _ in parts]
    for (_, message), (_, first, count) in zip(signer.verified, parts, strict=True):
        assert int(message) in range(first, first + count)


@pytest.mark.parametrize("count", [8, 50, 64])
@pytest.mark.parametrize("lane", range(LANES))
def test_a_lane_that_is_always_wrong_is_found_whatever_the_size_of_the_batches(lane: int, count: int) -> None:
    """Of 200 batches, none is found with a probability below 1 in 10^10."""
    records, keys = hand(*[count] * 200)
    errors = sign(records, keys, NotingSigner(broken_lane=lane))
    assert {batch: type(error) for batch, error in errors.items()} == dict.fromkeys(
        records, SigningFaultError
    )


def test_a_signature_is_verified_over_what_was_signed() -> None:
    form = SigningForm(jws=JwsForm("EdDSA", "receipts"))
    signer, (records, keys) = NotingSigner(), hand(2)
    assert sign(records, keys, signer, form) == {}
    [(key, message)] = signer.verified
    assert key == "key 0"
    assert message in signer.asked
    assert b"0" not in signer.asked


def test_a_wrong_signature_is_no_fault_of_a_batch_and_returns_all_of_them() -> None:
    records, keys = hand(50, 50)
    errors = sign(records, keys, NotingSigner(disturbed=("key 1",)))
    assert {batch: type(error) for batch, error in errors.items()} == dict.fromkeys(
        records, SigningFaultError
    )
    assert {str(error) for error in errors.values()} == {"A signature of batch 1 by key key-1 is not valid."}


def test_what_signs_is_not_asked_again_once_it_failed() -> None:
    """A second signature of the same payload, one of them wrong, could disclose the key."""

    def fail(_: Call) -> None:
        raise SigningFaultError("a lane failed")

    signer, (records, keys) = NotingSigner(meanwhile=fail), hand(30, 30, 30)
    errors = sign(records, keys, signer)
    assert {batch: str(error) for batch, error in errors.items()} == dict.fromkeys(records, "a lane failed")
    assert len(signer.calls) == 1


def test_signatures_that_cannot_be_verified_leave_the_other_errors_as_they_are() -> None:
    records, keys = hand(5, 5)
    lost, unverified = records
    lost.lease.lost = True
    errors = sign(records, keys, NotingSigner(unverified=SigningFaultError("a lane failed")))
    assert {batch: type(error) for batch, error in errors.items()} == {
        lost: LeaseLostError,
        unverified: SigningFaultError,
    }
