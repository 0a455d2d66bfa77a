from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import pytest

from support.engine import make_lease
from vaultstream.errors import LeaseLostError
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.proof.statement import BatchStatement, record_leaf, signed_bytes
from vaultstream.signing.batch import Batch
from vaultstream.signing.read import BatchRecords
from vaultstream.signing.sign import sign
from vaultstream.signing.state import state
from vaultstream.store.leases import SAFETY_FACTOR, DatabaseClock, SignedBatch, lease_clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.msg import Msg

    from vaultstream.store.leases import Lease

pytestmark = pytest.mark.unit


@dataclass
class Key:
    """A key that remembers what it signed."""

    asked: list[bytes] = field(default_factory=list)

    def sign(self, payloads: Sequence[bytes], digests: Sequence[bytes]) -> list[bytes]:
        assert list(digests) == [sha256(payload).digest() for payload in payloads]
        self.asked += payloads
        return [b"signed " + payload for payload in payloads]


def signed_batch(key: Key, ids: list[Any], lease: Lease | None = None) -> Batch:
    batch = Batch(3, cast("Msg", None))
    batch.lease = lease or make_lease(60, epoch=7)
    batch.signed = SignedBatch.empty(3, batch.lease)
    sign(batch, BatchRecords(ids, [str(i).encode() for i in ids], []), key.sign)
    return batch


def stated(batch: Batch, key: Key) -> BatchStatement:
    state(batch, key.sign, job_token="receipts", algorithm="ED25519")
    assert batch.signed.statement is not None
    return BatchStatement.parse(batch.signed.statement.body)


@pytest.mark.parametrize("ids", [[1], [8, 9, 10], [-5, 3, 20], ["", "a", "ß", "\uffff", "\U0001f512"]])
def test_a_statement_names_the_batch_its_lease_and_its_records(ids: list[Any]) -> None:
    key = Key()
    batch = signed_batch(key, ids)
    before = batch.lease.clock.shown
    statement = stated(batch, key)
    leaves = [record_leaf(i, sha256(str(i).encode()).digest(), b"signed " + str(i).encode()) for i in ids]
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
    [*_, last] = key.asked
    assert last == signed_bytes(statement.body)
    assert batch.signed.statement is not None
    assert batch.signed.statement.signature == b"signed " + last


@pytest.mark.parametrize("ids", [list(range(-50, 50)), [str(n) for n in range(100)]])
def test_records_are_stated_and_sent_in_the_order_of_their_ids(ids: list[Any]) -> None:
    """They are read in another one, if some payloads are long or come from dead letters."""
    key = Key()
    straight = stated(signed_batch(key, sorted(ids)), key)
    shuffled = signed_batch(key, random.Random(7).sample(ids, len(ids)))
    assert stated(shuffled, key).root == straight.root
    sent = shuffled.signed
    assert sent.record_ids == sorted(ids)
    assert sent.signatures == [b"signed " + str(i).encode() for i in sorted(ids)]
    assert sent.digests == [sha256(str(i).encode()).digest() for i in sorted(ids)]


def test_a_batch_without_a_signed_record_has_no_statement() -> None:
    key = Key()
    batch = signed_batch(key, [])
    state(batch, key.sign, job_token="receipts", algorithm="ED25519")
    assert batch.signed.statement is None
    assert key.asked == []


@pytest.mark.parametrize("how", ["ran out", "was lost"])
def test_nothing_is_stated_under_a_lease_that_has_ended(how: str) -> None:
    key = Key()
    batch = signed_batch(key, [1, 2])
    if how == "ran out":
        batch.lease.deadline = lease_clock()
    else:
        batch.lease.lost = True
    with pytest.raises(LeaseLostError):
        state(batch, key.sign, job_token="receipts", algorithm="ED25519")
    assert key.asked == [b"1", b"2"]
    assert batch.signed.statement is None


def test_the_time_of_a_statement_is_one_that_postgres_has_passed() -> None:
    """Its clock is counted on by the signer's own, more slowly, in case that one is fast."""
    shown = make_lease().clock.shown
    passed = DatabaseClock(shown, lease_clock() - 100).now() - shown
    assert timedelta(seconds=100 * SAFETY_FACTOR) <= passed < timedelta(seconds=100)


def test_what_would_pass_for_a_statement_is_not_signed() -> None:
    key = Key()
    reserved = signed_bytes(stated(signed_batch(Key(), [1]), Key()).body)
    batch = signed_batch(key, [])
    payloads = [b"one", reserved, b"three", b"DSSEv1 3 abc 0 "]
    sign(batch, BatchRecords([1, 2, 3, 4], payloads, []), key.sign)
    assert key.asked == [payloads[0], payloads[2], payloads[3]]
    assert batch.signed.record_ids == [1, 3, 4]
    assert [(dead.record_id, dead.reason) for dead in batch.signed.dead] == [(2, "PayloadReserved")]
