"""What a commit writes and what it refuses, batch by batch."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from support.engine import (
    add_batches,
    add_job,
    claim_one,
    commit,
    dead_of,
    expire,
    history_of,
    lease_one,
    overlaps_of,
    signatures_of,
    signed,
)
from vaultstream.crypto.rows import HEAD_BYTES, Rows
from vaultstream.store import keys
from vaultstream.store.jobs import Job
from vaultstream.store.leases import (
    COMMITTED,
    FENCED,
    SUPERSEDED,
)
from vaultstream.store.progress import read_job

pytestmark = pytest.mark.integration


async def state_of(db: asyncpg.Connection, job: Job, batch_no: int) -> str:
    return str(
        await db.fetchval(
            "SELECT state FROM vaultstream.batches WHERE job_no = $1 AND batch_no = $2", job.job_no, batch_no
        )
    )


@pytest.mark.parametrize(
    ("id_type", "ids"),
    [
        ("bigint", [-(2**63), 0, 2**63 - 1]),
        ("uuid", [UUID(int=0), UUID(int=7), UUID(int=2**128 - 1)]),
        ("text", ["", "ß'\"\\", "ウ\n𓀀"]),
    ],
)
async def test_each_type_of_id_comes_back_as_it_was(
    db: asyncpg.Connection, id_type: str, ids: list[Any]
) -> None:
    job = await add_job(db, id_type=id_type)
    await db.execute(
        "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids) VALUES ($1, 1, 3, '', '', $2)",
        job.job_no,
        [str(i) for i in ids],
    )
    lease = await claim_one(db, job, "ann", 1)
    assert await commit(db, job, signed(1, lease, ids[:2], dead=ids[2:])) == [COMMITTED]
    assert set(await signatures_of(db, job)) == set(ids[:2])
    assert await dead_of(db, job) == {str(ids[2]): "PayloadNull"}


async def test_a_batch_with_no_signature_and_all_dead_is_committed(db: asyncpg.Connection) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1, 2])
    lease = await claim_one(db, job, "ann", 1)
    assert await commit(db, job, signed(1, lease, [], dead=[1, 2])) == [COMMITTED]
    progress = (await read_job(db, job.token)).progress
    assert (progress.signed, progress.dead, progress.batches_left) == (0, 2, 0)


async def test_one_call_gives_each_batch_its_own_outcome(db: asyncpg.Connection) -> None:
    """Good, fenced and settled ones mixed: of the last two nothing is written, and the good ones don't suffer."""
    job = await add_job(db, keys=5)
    await add_batches(db, job, [1, 2], [3, 4], [5, 6], [7, 8])
    good, late, doubled, last = [await claim_one(db, job, "ann", n) for n in (1, 2, 3, 4)]
    other = await claim_one(db, job, "bob", 3)
    assert await commit(db, job, signed(3, other, [5], dead=[6]), holder="bob") == [COMMITTED]
    await expire(db, late)
    outcomes = await commit(
        db,
        job,
        signed(3, doubled, [5, 6]),
        signed(2, late, [3], dead=[4]),
        signed(1, good, [1, 2]),
        signed(4, last, [7], dead=[8]),
    )
    assert outcomes == [SUPERSEDED, FENCED, COMMITTED, COMMITTED]
    by = {i: s.decode().split(" by ")[1] for i, s in (await signatures_of(db, job)).items()}
    assert by == {
        1: f"{good.key_no}/{good.epoch}",
        2: f"{good.key_no}/{good.epoch}",
        5: f"{other.key_no}/{other.epoch}",
        7: f"{last.key_no}/{last.epoch}",
    }
    assert set(await dead_of(db, job)) == {"6", "8"}
    assert await state_of(db, job, 2) == "pending"
    assert await history_of(db, job) == {
        (good.key_no, good.epoch, "committed"),
        (last.key_no, last.epoch, "committed"),
        (other.key_no, other.epoch, "committed"),
        (doubled.key_no, doubled.epoch, "superseded"),
    }


async def test_a_commit_whose_answer_got_lost_may_be_sent_again(db: asyncpg.Connection) -> None:
    job = await add_job(db, keys=1)
    await add_batches(db, job, [1], [2])
    batch = signed(1, await claim_one(db, job, "ann", 1), [1])
    assert await commit(db, job, batch) == [COMMITTED]
    assert await commit(db, job, batch) == [SUPERSEDED]
    taken = await claim_one(db, job, "bob", 2)
    assert await commit(db, job, batch) == [SUPERSEDED]
    assert len(await history_of(db, job)) == 1
    assert await commit(db, job, signed(2, taken, [2]), holder="bob") == [COMMITTED]


@pytest.mark.parametrize("wrong", ["holder", "epoch", "job", "key", "expired", "revoked"])
async def test_a_commit_that_does_not_hold_its_key_writes_nothing(db: asyncpg.Connection, wrong: str) -> None:
    job, neighbour = await add_job(db), await add_job(db)
    await add_batches(db, job, [1])
    await add_batches(db, neighbour, [1])
    lease = await claim_one(db, job, "ann", 1)
    target, holder = job, "ann"
    match wrong:
        case "holder":
            holder = "bob"
        case "epoch":
            lease.epoch += 1
        case "job":
            target = neighbour
        case "key":
            lease.key_no += 1
        case "expired":
            await expire(db, lease)
        case "revoked":
            await keys.end_keys(db, job.job_no, [lease.key_id], state="revoked")
    assert await commit(db, target, signed(1, lease, [], dead=[1]), holder=holder) == [FENCED]
    assert await commit(db, target, signed(1, lease, [1]), holder=holder) == [FENCED]
    for each in (job, neighbour):
        assert await signatures_of(db, each) == {}
        assert await dead_of(db, each) == {}
        assert await state_of(db, each, 1) == "pending"


async def test_a_key_retired_in_mid_batch_finishes_it_and_is_not_leased_again(db: asyncpg.Connection) -> None:
    job = await add_job(db, keys=1)
    await add_batches(db, job, [1], [2])
    lease = await claim_one(db, job, "ann", 1)
    assert await keys.end_keys(db, job.job_no, [lease.key_id], state="retired") == [lease.key_id]
    assert await commit(db, job, signed(1, lease, [1])) == [COMMITTED]
    assert await lease_one(db, job, "ann") is None


async def test_counts_that_do_not_add_up_are_refused_with_all_of_the_call(db: asyncpg.Connection) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1, 2], [3])
    short, fine = await claim_one(db, job, "ann", 1), await claim_one(db, job, "ann", 2)
    with pytest.raises(asyncpg.CheckViolationError):
        await commit(db, job, signed(1, short, [1]), signed(2, fine, [3]))
    assert await signatures_of(db, job) == {}
    assert await history_of(db, job) == set()
    assert await commit(db, job, signed(2, fine, [3])) == [COMMITTED]


async def test_a_batch_delivered_twice_to_one_signer_is_committed_once(db: asyncpg.Connection) -> None:
    """Under two keys, in one call, with different results for record 2."""
    job = await add_job(db)
    await add_batches(db, job, [1, 2])
    first, second = await claim_one(db, job, "ann", 1), await claim_one(db, job, "ann", 1)
    outcomes = await commit(db, job, signed(1, first, [1], dead=[2]), signed(1, second, [1, 2]))
    assert sorted(outcomes) == [COMMITTED, SUPERSEDED]
    assert len(await signatures_of(db, job)) + len(await dead_of(db, job)) == 2
    assert {outcome for _, _, outcome in await history_of(db, job)} == {"committed", "superseded"}
    used = {s.split(b" by ")[1] for s in (await signatures_of(db, job)).values()}
    assert len(used) == 1


async def test_a_batch_delivered_twice_is_committed_under_the_key_that_is_still_held(
    db: asyncpg.Connection,
) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1])
    late, held = await claim_one(db, job, "ann", 1), await claim_one(db, job, "ann", 1)
    await expire(db, late)
    assert await commit(db, job, signed(1, late, [1]), signed(1, held, [1])) == [FENCED, COMMITTED]


async def test_nothing_to_commit_is_no_error(db: asyncpg.Connection) -> None:
    job = await add_job(db)
    assert await commit(db, job) == []


async def test_a_clock_set_back_keeps_nobody_from_committing(db: asyncpg.Connection) -> None:
    """As after a correction of the server's time: the lease began in what is now the future."""
    job = await add_job(db)
    await add_batches(db, job, [1])
    lease, idle = await claim_one(db, job, "ann", 1), await lease_one(db, job, "ann")
    await db.execute(
        "UPDATE vaultstream.keys SET leased_at = now() + interval '5 s', lease_until = now() + interval '35 s' "
        "WHERE job_no = $1",
        job.job_no,
    )
    assert idle is not None
    await db.execute(
        "SELECT vaultstream.release_keys('ann', ARRAY[$1::int], ARRAY[$2::int])", idle.key_no, idle.epoch
    )
    assert await commit(db, job, signed(1, lease, [1])) == [COMMITTED]


async def test_a_lease_that_began_after_its_batch_was_signed_costs_no_attempt(db: asyncpg.Connection) -> None:
    """The clock was set back by a moment before the key was leased, so the lease began when its former one had ended."""
    job = await add_job(db, keys=1)
    await add_batches(db, job, [1])
    lease = await claim_one(db, job, "ann", 1)
    began = lease.clock.shown + timedelta(microseconds=1)
    await db.execute("UPDATE vaultstream.keys SET leased_at = $2 WHERE job_no = $1", job.job_no, began)
    assert await commit(db, job, signed(1, lease, [1])) == [FENCED]
    assert await signatures_of(db, job) == {}
    assert await commit(db, job, signed(1, await claim_one(db, job, "ann", 1), [1])) == [COMMITTED]


async def test_a_lease_in_the_future_dates_no_signature_not_even_those_committed_with_it(
    db: asyncpg.Connection,
) -> None:
    """A key that was leased while the clock was a year ahead, committed together with one that was not."""
    job = await add_job(db, keys=2)
    await add_batches(db, job, [1], [2])
    await db.execute(
        "UPDATE vaultstream.keys SET lease_until = now() + interval '1 year' WHERE job_no = $1 AND ordinal = 1",
        job.job_no,
    )
    assert await keys.count_keys_ahead(db, job.job_no) == 1
    before = await db.fetchval("SELECT clock_timestamp()")
    batches = [signed(number, await claim_one(db, job, "ann", number), [number]) for number in (1, 2)]
    assert await commit(db, job, *batches) == [COMMITTED, COMMITTED]
    after = await db.fetchval("SELECT clock_timestamp()")
    rows = await db.fetch(
        f"SELECT signed_at FROM {job.signatures_table} "
        "UNION ALL SELECT settled_at FROM vaultstream.batches WHERE job_no = $1",
        job.job_no,
    )
    assert len(rows) == 4
    assert all(before <= row["signed_at"] <= after for row in rows)
    assert await overlaps_of(db, job) == 0
    assert await keys.count_keys_ahead(db, job.job_no) == 1, "the next lease of the key is still ahead"
    assert await commit(db, job, batches[0]) == [SUPERSEDED]


async def test_a_lease_that_was_renewed_while_the_clock_was_ahead_is_counted(db: asyncpg.Connection) -> None:
    job = await add_job(db, keys=3)
    await db.execute(
        "UPDATE vaultstream.keys SET holder = 'ann', leased_at = now() - interval '9 s', "
        "lease_until = now() + CASE ordinal WHEN 1 THEN interval '2 h' ELSE interval '30 s' END WHERE job_no = $1",
        job.job_no,
    )
    assert await keys.count_keys_ahead(db, job.job_no) == 1


async def test_signatures_of_any_length_come_in_as_they_are(db: asyncpg.Connection) -> None:
    """The longest are those of ML-DSA; those of ECDSA differ among themselves."""
    job = await add_job(db)
    await add_batches(db, job, [1, 2], [3, 4])
    lengths = {1: 70, 2: 72, 3: 3309, 4: 1}
    batches = [
        replace(
            signed(number, await claim_one(db, job, "ann", number), ids),
            rows=Rows.of(
                [sha256(str(i).encode()).digest() for i in ids],
                [bytes([i]) * lengths[i] for i in ids],
                width=HEAD_BYTES + max(lengths.values()),
            ),
        )
        for number, ids in ((1, [1, 2]), (2, [3, 4]))
    ]
    assert await commit(db, job, *batches) == [COMMITTED, COMMITTED]
    assert await signatures_of(db, job) == {i: bytes([i]) * length for i, length in lengths.items()}
    digests = await db.fetch(f"SELECT record_id, digest FROM {job.signatures_table}")
    assert dict(digests) == {i: sha256(str(i).encode()).digest() for i in lengths}


async def test_a_fenced_batch_in_the_middle_shifts_nothing_of_the_others(db: asyncpg.Connection) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1, 2], [3, 4, 5], [6])
    first, fenced, last = [
        signed(number, await claim_one(db, job, "ann", number), ids)
        for number, ids in ((1, [1, 2]), (2, [3, 4, 5]), (3, [6]))
    ]
    await expire(db, fenced.lease)
    assert await commit(db, job, first, fenced, last) == [COMMITTED, FENCED, COMMITTED]
    expected = dict(zip([1, 2, 6], [*first.rows.signatures, *last.rows.signatures], strict=True))
    assert await signatures_of(db, job) == expected
    rows = await db.fetch(f"SELECT record_id, key_no, epoch FROM {job.signatures_table}")
    assert {row["record_id"]: (row["key_no"], row["epoch"]) for row in rows} == {
        i: (batch.lease.key_no, batch.lease.epoch) for batch in (first, last) for i in batch.record_ids
    }


@pytest.mark.parametrize(
    ("id_type", "ids"),
    [
        ("bigint", [1, 2, 3]),
        ("bigint", [1, 2, 30]),
        ("uuid", sorted(UUID(int=n) for n in (1, 2, 30))),
        ("text", ["a", "b", "c"]),
    ],
)
async def test_a_signature_that_is_there_already_stays_as_it_is(
    db: asyncpg.Connection, id_type: str, ids: list[Any]
) -> None:
    """However it came there: it can't have come by a batch."""
    job = await add_job(db, id_type=id_type)
    await add_batches(db, job, ids)
    await db.execute(
        f"INSERT INTO {job.signatures_table} VALUES ($1, 0, 0, now(), '\\x00', '\\x0123')", ids[1]
    )
    batch = signed(1, await claim_one(db, job, "ann", 1), ids)
    assert await commit(db, job, batch) == [COMMITTED]
    assert await signatures_of(db, job) == {
        ids[0]: batch.rows.signatures[0],
        ids[1]: b"\x01#",
        ids[2]: batch.rows.signatures[2],
    }


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("error", ["undefined_function", "unique_violation"])
async def test_a_trigger_of_the_owner_that_fails_fails_the_commit(
    db: asyncpg.Connection, error: str, first: bool
) -> None:
    """Both errors have a meaning in a commit, if a trigger does not raise them."""
    job = await add_job(db)
    await add_batches(db, job, [1, 2], [3, 4])
    if not first:
        assert await commit(db, job, signed(2, await claim_one(db, job, "ann", 2), [3, 4])) == [COMMITTED]
    lease = await claim_one(db, job, "ann", 1)
    await db.execute(
        f"CREATE FUNCTION refuse_{job.job_no}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE {error} USING MESSAGE = 'the trigger fails'; END $$;"
        f"CREATE TRIGGER refuse BEFORE INSERT ON vaultstream.signatures_{job.job_no} "
        f"FOR EACH ROW EXECUTE FUNCTION refuse_{job.job_no}()"
    )
    await db.execute("SET statement_timeout = '5s'")
    with pytest.raises(asyncpg.PostgresError, match="the trigger fails"):
        await commit(db, job, signed(1, lease, [1, 2]))
    await db.execute("RESET statement_timeout")
    await db.execute(f"DROP TRIGGER refuse ON vaultstream.signatures_{job.job_no}")
    assert await commit(db, job, signed(1, lease, [1, 2])) == [COMMITTED]


async def test_rows_that_are_not_those_of_the_batches_are_refused(db: asyncpg.Connection) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1, 2])
    lease = await claim_one(db, job, "ann", 1)
    call = (
        "SELECT outcome FROM vaultstream.commit_batches($1, 'ann', ARRAY[1], ARRAY[$2::int], ARRAY[$3::int], ARRAY[2], "
        "ARRAY[0], $4::bigint[], 35, $5, '{}', '{}', '{}', '{}', '{x}', '{x}')"
    )
    for ids, rows in (([1], bytes(70)), ([1, 2], bytes(69)), ([1, 2, 3], bytes(105)), ([1], bytes(35))):
        with pytest.raises(asyncpg.InvalidParameterValueError, match="do not match p_signed"):
            await db.fetch(call, job.job_no, lease.key_no, lease.epoch, ids, rows)
    assert await signatures_of(db, job) == {}
    assert await state_of(db, job, 1) == "pending"


@pytest.mark.parametrize(
    ("begins", "ends", "allowed"),
    [
        ("5 s", "6 s", True),
        ("0 s", "1 s", True),  # [0, 1) touches [1, 5)
        ("0 s", "1.000001 s", False),
        ("4.999999 s", "6 s", False),
        ("1 s", "5 s", False),
        ("2 s", "2.000001 s", False),
        ("0 s", "9 s", False),
        ("3 s", "3 s", True),  # no time at all
    ],
)
async def test_postgres_itself_refuses_overlapping_leases_of_a_key(
    db: asyncpg.Connection, begins: str, ends: str, allowed: bool
) -> None:
    """To the microsecond, however far from 1970; another key's leases are its own."""
    job = await add_job(db)
    [key_no, other] = [
        row["key_no"]
        for row in await db.fetch("SELECT key_no FROM vaultstream.keys WHERE job_no = $1 LIMIT 2", job.job_no)
    ]
    add = (
        "INSERT INTO vaultstream.leases (key_no, epoch, holder, during, outcome) VALUES ($1, $2, 'ann', "
        "tstzrange('2099-12-31 23:59:50+00'::timestamptz + $3::text::interval, "
        "'2099-12-31 23:59:50+00'::timestamptz + $4::text::interval), 'released')"
    )
    await db.execute(add, key_no, 1, "1 s", "5 s")
    await db.execute(add, other, 1, begins, ends)
    if allowed:
        await db.execute(add, key_no, 2, begins, ends)
    else:
        with pytest.raises(asyncpg.ExclusionViolationError):
            await db.execute(add, key_no, 2, begins, ends)
