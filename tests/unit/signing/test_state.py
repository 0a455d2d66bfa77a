from __future__ import annotations

import random
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from support.batch_signing import Call, NotingSigner, leased_batch, signature_of
from support.engine import make_lease
from vaultstream.errors import LeaseLostError, SigningFaultError
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.proof.statement import BatchStatement, record_leaf, signed_bytes
from vaultstream.signing.read import BatchRecords
from vaultstream.signing.sign import CHECK_EVERY, sign
from vaultstream.signing.state import state
from vaultstream.store.leases import SAFETY_FACTOR, DatabaseClock, lease_clock

if TYPE_CHECKING:
    from vaultstream.signing.batch import Batch

pytestmark = pytest.mark.unit


def signed_batch(signer: NotingSigner, ids: list[Any], number: int = 3) -> Batch:
    batch = leased_batch(make_lease(60, epoch=7), number)
    records = BatchRecords(ids, [str(i).encode() for i in ids], [])
    assert sign({batch: records}, {batch: f"key {number}"}, signer) == {}
    return batch


def state_all(signer: NotingSigner, *batches: Batch) -> dict[Batch, Exception]:
    keys = {batch: f"key {batch.number}" for batch in batches}
    return state(batches, keys, signer, job_token="receipts", algorithm="ED25519")


def stated(batch: Batch, signer: NotingSigner) -> BatchStatement:
    assert state_all(signer, batch) == {}
    assert batch.signed.statement is not None
    return BatchStatement.parse(batch.signed.statement.body)


@pytest.mark.parametrize("ids", [[1], [8, 9, 10], [-5, 3, 20], ["", "a", "ß", "\uffff", "\U0001f512"]])
def test_a_statement_names_the_batch_its_lease_and_its_records(ids: list[Any]) -> None:
    signer = NotingSigner()
    batch = signed_batch(signer, ids)
    before = batch.lease.clock.shown
    statement = stated(batch, signer)
    payloads = {i: str(i).encode() for i in ids}
    leaves = [record_leaf(i, sha256(p).digest(), signature_of("key 3", p)) for i, p in payloads.items()]
    assert statement == BatchStatement(
        job_token="receipts",
        batch=3,
        key_id=batch.lease.key_id,
        epoch=7,
        holder=batch.lease.holder,
        algorithm="ED25519",
        count=len(ids),
        first_id=str(ids[0]),
        last_id=str(ids[-1]),
        root=tree_root([leaf_hash(leaf) for leaf in leaves]),
        signed_at=statement.signed_at,
    )
    assert timedelta(0) <= statement.signed_at - before < timedelta(seconds=20)
    [*_, last] = signer.asked
    assert last == signed_bytes(statement.body)
    assert batch.signed.statement is not None
    assert batch.signed.statement.signature == signature_of("key 3", last)


@pytest.mark.parametrize("ids", [list(range(-50, 50)), [str(n) for n in range(100)]])
def test_records_are_stated_and_sent_in_the_order_of_their_ids(ids: list[Any]) -> None:
    """They are read in another one, if some payloads are long or come from dead letters."""
    signer = NotingSigner()
    straight = stated(signed_batch(signer, sorted(ids)), signer)
    shuffled = signed_batch(signer, random.Random(7).sample(ids, len(ids)))
    assert stated(shuffled, signer).root == straight.root
    sent = shuffled.signed
    assert sent.record_ids == sorted(ids)
    assert sent.rows.signatures == [signature_of("key 3", str(i).encode()) for i in sorted(ids)]
    assert sent.rows.digests == [sha256(str(i).encode()).digest() for i in sorted(ids)]


def test_a_batch_without_a_signed_record_has_no_statement() -> None:
    signer = NotingSigner()
    batch = signed_batch(signer, [])
    assert state_all(signer, batch) == {}
    assert batch.signed.statement is None
    assert signer.asked == []


@pytest.mark.parametrize("count", [2, CHECK_EVERY, CHECK_EVERY + 1])
def test_the_statements_of_batches_are_signed_together_each_with_its_own_key(count: int) -> None:
    alone, signer = NotingSigner(), NotingSigner()
    batches = [signed_batch(alone, [number, number + 1], number) for number in range(count)]
    assert state_all(signer, *batches) == {}
    assert len(signer.calls) == 1 + count // (CHECK_EVERY + 1)
    for batch in batches:
        statement = batch.signed.statement
        assert statement is not None
        assert statement.signature == signature_of(f"key {batch.number}", signed_bytes(statement.body))
        assert BatchStatement.parse(statement.body).batch == batch.number
    roots = [statement.statement.root for each in batches if (statement := each.signed.statement)]
    assert roots == [stated(signed_batch(alone, [n, n + 1], n), alone).root for n in range(count)]


@pytest.mark.parametrize("how", ["ran out", "was lost"])
def test_nothing_is_stated_under_a_lease_that_has_ended(how: str) -> None:
    signer = NotingSigner()
    batch, other = signed_batch(signer, [1, 2]), signed_batch(signer, [3], 4)
    if how == "ran out":
        batch.lease.deadline = lease_clock()
    else:
        batch.lease.lost = True
    errors = state_all(signer, batch, other)
    assert {each: type(error) for each, error in errors.items()} == {batch: LeaseLostError}
    assert batch.signed.statement is None
    assert other.signed.statement is not None, "it concerns that batch alone"
    assert [key for call in signer.calls[2:] for key, _ in call.shares] == ["key 4"]


def test_a_statement_that_can_not_be_signed_is_an_error_of_its_own_batch() -> None:
    batches = [signed_batch(NotingSigner(), [number], number) for number in range(3)]

    def refuse(call: Call) -> None:
        if "key 1" in dict(call.shares):
            raise ValueError("no such key")

    errors = state_all(NotingSigner(meanwhile=refuse), *batches)
    assert {batch.number: str(error) for batch, error in errors.items()} == {1: "no such key"}
    assert [batch.signed.statement is None for batch in batches] == [False, True, False]


def test_the_time_of_a_statement_is_one_that_postgres_has_passed() -> None:
    """Its clock is counted on by the signer's own, more slowly, in case that one is fast."""
    shown = make_lease().clock.shown
    passed = DatabaseClock(shown, lease_clock() - 100).now() - shown
    assert timedelta(seconds=100 * SAFETY_FACTOR) <= passed < timedelta(seconds=100)


def test_what_would_pass_for_a_statement_is_not_signed() -> None:
    signer = NotingSigner()
    reserved = signed_bytes(stated(signed_batch(NotingSigner(), [1]), NotingSigner()).body)
    batch = leased_batch(make_lease(60))
    payloads = [b"one", reserved, b"three", b"DSSEv1 3 abc 0 "]
    assert sign({batch: BatchRecords([1, 2, 3, 4], payloads, [])}, {batch: "key"}, signer) == {}
    assert signer.asked == [payloads[0], payloads[2], payloads[3]]
    assert batch.signed.record_ids == [1, 3, 4]
    assert [(dead.record_id, dead.reason) for dead in batch.signed.dead] == [(2, "PayloadReserved")]


def test_what_signs_is_not_asked_again_once_it_failed() -> None:
    def fail(_: Call) -> None:
        raise SigningFaultError("a lane failed")

    signer = NotingSigner()
    batches = [signed_batch(signer, [number], number) for number in range(3)]
    signer.calls.clear()
    signer.meanwhile = fail
    errors = state_all(signer, *batches)
    assert {batch: str(error) for batch, error in errors.items()} == dict.fromkeys(batches, "a lane failed")
    assert len(signer.calls) == 1
