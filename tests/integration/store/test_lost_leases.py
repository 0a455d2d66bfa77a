"""Leases that expire: what they count against their batches, and who is signed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.engine import (
    add_batches,
    add_job,
    claim_one,
    covered_by,
    dead_of,
    expire,
    history_of,
    overlaps_of,
    signatures_of,
    signed,
)
from vaultstream.store.batches import fail_batch, pending_after
from vaultstream.store.leases import (
    COMMITTED,
    FENCED,
    Claim,
    claim_batches,
    commit_batches,
    release_leases,
    renew_leases,
)

if TYPE_CHECKING:
    import asyncpg

    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration


async def claim(db: asyncpg.Connection, job: Job, holder: str, *numbers: int, **heard: Any) -> list[Claim]:
    return await claim_batches(db, job.job_no, holder, list(numbers), seconds=30, **heard)


async def lose(db: asyncpg.Connection, job: Job, holder: str, *numbers: int) -> list[bool]:
    """A holder claims batches and is gone; returns for each that it was leased whether it was alone."""
    claims = [each for each in await claim(db, job, holder, *numbers) if each.lease]
    await expire(db, *(each.lease for each in claims if each.lease))
    return [each.alone for each in claims]


async def counts_of(db: asyncpg.Connection, job: Job) -> dict[int, tuple[int, int, str]]:
    """Lost leases, attempts and state of each batch."""
    await db.execute("SELECT vaultstream.expire_leases($1)", job.job_no)
    rows = await db.fetch(
        "SELECT batch_no, lost, attempts, state FROM vaultstream.batches WHERE job_no = $1", job.job_no
    )
    return {row["batch_no"]: (row["lost"], row["attempts"], row["state"]) for row in rows}


async def test_a_lost_lease_makes_a_suspect_of_its_batch_and_costs_it_no_attempt(
    db: asyncpg.Connection,
) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1, 2], [3, 4])
    assert await lose(db, job, "ann", 1, 2) == [False, False]
    assert await counts_of(db, job) == {1: (1, 0, "pending"), 2: (1, 0, "pending")}


async def test_a_lease_that_is_released_committed_or_failed_is_not_lost(db: asyncpg.Connection) -> None:
    job = await add_job(db, retries={"maxAttempts": 5})
    await add_batches(db, job, [1], [2], [3])
    one, two, three = [await claim_one(db, job, "ann", number) for number in (1, 2, 3)]
    await release_leases(db, "ann", [one])
    batch = signed(2, two, [2])
    assert await commit_batches(db, job.job_no, "ann", [batch], id_type="bigint") == [COMMITTED]
    await fail_batch(db, job.job_no, "ann", 3, three, error="no")
    await expire(db, one, two, three)
    assert await counts_of(db, job) == {1: (0, 0, "pending"), 2: (0, 0, "done"), 3: (0, 1, "pending")}


async def test_a_holder_that_lives_and_finds_its_lease_lost_counts_no_second_time(
    db: asyncpg.Connection,
) -> None:
    job = await add_job(db, retries={"maxAttempts": 5})
    await add_batches(db, job, [1, 2])
    for _ in range(2):
        await lose(db, job, "ann", 1)
    lease = await claim_one(db, job, "ann", 1)
    await expire(db, lease)
    assert (await counts_of(db, job))[1] == (2, 1, "split")
    assert await renew_leases(db, "ann", [lease], seconds=30) == [lease]
    await release_leases(db, "ann", [lease])
    assert (await fail_batch(db, job.job_no, "ann", 1, lease, error="late")).outcome == "settled"
    late = signed(2, lease, [1])
    assert await commit_batches(db, job.job_no, "ann", [late], id_type="bigint") == [FENCED]
    assert await counts_of(db, job) == {1: (2, 1, "split"), 2: (2, 0, "pending"), 3: (2, 0, "pending")}


async def test_a_suspect_is_leased_to_a_holder_that_holds_nothing_else_and_nothing_else_meanwhile(
    db: asyncpg.Connection,
) -> None:
    job = await add_job(db, keys=9)
    await add_batches(db, job, [1], [2], [3], [4])
    for _ in range(2):
        await lose(db, job, "ann", 1, 2)

    first = await claim(db, job, "bob", 1, 2, 3)
    assert [(each.batch.batch_no, each.lease is not None, each.alone) for each in first] == [
        (1, False, True),
        (2, False, True),
        (3, True, False),
    ], "those without suspicion go first"
    assert [each.lease for each in await claim(db, job, "bob", 1, 2)] == [None, None]
    lease = first[2].lease
    assert lease is not None
    await commit_batches(db, job.job_no, "bob", [signed(3, lease, [3])], id_type="bigint")

    one, two = await claim(db, job, "bob", 1, 2)
    assert one.lease is not None
    assert (one.alone, two.lease, two.alone) == (True, None, True)
    assert [(each.lease, each.alone) for each in await claim(db, job, "bob", 2, 4)] == [(None, True)] * 2
    [other] = await claim(db, job, "cid", 4)
    assert other.lease is not None, "other holders go on"
    await commit_batches(db, job.job_no, "bob", [signed(1, one.lease, [1])], id_type="bigint")
    [two] = await claim(db, job, "bob", 2)
    assert two.lease is not None


@pytest.mark.parametrize("ids", [list(range(1, 9)), [1, 3, 5, 7, 9, 11, 13, 15]])
async def test_the_record_that_ends_its_signers_dies_alone_and_all_others_are_signed(
    db: asyncpg.Connection, ids: list[int]
) -> None:
    bad = ids[5]
    job = await add_job(db, keys=6, retries={"maxAttempts": 1})
    await add_batches(db, job, ids, [100, 101], [200])
    losses, died = 0, []
    while numbers := await pending_after(db, job.job_no, 0, limit=9):
        claims = [
            each
            for each in await claim(db, job, f"holder {losses}", *numbers, dead=died.append)
            if each.lease
        ]
        batches = []
        for each in claims:
            assert each.lease is not None
            own = [n for n in [*ids, 100, 101, 200] if n in await ids_of(db, job, each.batch.batch_no)]
            batches.append(signed(each.batch.batch_no, each.lease, own))
        if any(bad in batch.record_ids for batch in batches):
            losses += 1
            assert losses < 20
            await expire(db, *(batch.lease for batch in batches))
        else:
            outcomes = await commit_batches(db, job.job_no, f"holder {losses}", batches, id_type="bigint")
            assert set(outcomes) <= {COMMITTED}
    assert await dead_of(db, job) == {str(bad): "SignerLost"}
    assert set(await signatures_of(db, job)) == {*ids, 100, 101, 200} - {bad}
    assert losses == 2 + 3 + 3, "two under suspicion, one to split each of three levels, three alone"
    assert died == [1]
    assert await overlaps_of(db, job) == 0
    assert {outcome for _, _, outcome in await history_of(db, job)} == {"committed", "expired"}
    assert sorted(map(int, await covered_by(db, job, ["done"]))) == sorted([*ids, 100, 101, 200])


async def ids_of(db: asyncpg.Connection, job: Job, number: int) -> set[int]:
    row = await db.fetchrow(
        "SELECT first_id, last_id, ids FROM vaultstream.batches WHERE job_no = $1 AND batch_no = $2",
        job.job_no,
        number,
    )
    return set(map(int, row["ids"] or range(int(row["first_id"]), int(row["last_id"]) + 1)))
