from __future__ import annotations

import asyncio

import asyncpg
import pytest

from support.as_user import connect
from support.engine import (
    add_batches,
    add_job,
    claim_one,
    covered_by,
    dead_of,
    fail_one,
    lease_one,
    signatures_of,
    signed,
)
from support.waiting import eventually
from vaultstream.api import JobState
from vaultstream.errors import UnknownJobError
from vaultstream.store import jobs, keys
from vaultstream.store.jobs import Job
from vaultstream.store.leases import COMMITTED, commit_batches
from vaultstream.store.progress import read_job

pytestmark = pytest.mark.integration


async def settle(db: asyncpg.Connection, job: Job, *, dead: list[int]) -> None:
    """Signs records 1 to 6 in two batches, except the dead ones."""
    for number, ids in zip(
        await add_batches(db, job, [1, 2, 3], [4, 5, 6]), ([1, 2, 3], [4, 5, 6]), strict=True
    ):
        batch = signed(
            number,
            await claim_one(db, job, "ann", number),
            [i for i in ids if i not in dead],
            [i for i in ids if i in dead],
        )
        assert await commit_batches(db, job.job_no, "ann", [batch], id_type="bigint") == [COMMITTED]


async def test_dead_letters_are_retried_in_batches_of_the_jobs_size(db: asyncpg.Connection) -> None:
    job = await add_job(db, batchSize=2)
    await settle(db, job, dead=[2, 3, 6])
    assert await jobs.complete_job_if_settled(db, job.job_no)
    assert await jobs.retry_dead(db, job) == 3
    again = await jobs.get_job(db, job.token)
    assert (again.state, again.finished_at, again.next_batch_no) == (JobState.RUNNING, None, 5)
    assert await covered_by(db, job, ["pending"]) == ["2", "3", "6"]
    assert await dead_of(db, job) == {}
    for number, ids in ((3, [2, 3]), (4, [6])):
        batch = signed(number, await claim_one(db, job, "ann", number), ids)
        assert await commit_batches(db, job.job_no, "ann", [batch], id_type="bigint") == [COMMITTED]
    assert set(await signatures_of(db, job)) == set(range(1, 7))
    progress = (await read_job(db, job.token)).progress
    assert (progress.records, progress.signed, progress.dead) == (6, 6, 0)
    assert await jobs.complete_job_if_settled(db, job.job_no)
    assert await jobs.retry_dead(db, job) == 0
    assert (await jobs.get_job(db, job.token)).state is JobState.COMPLETE


async def test_two_concurrent_retries_bring_each_record_back_once(
    engine_url: str, db: asyncpg.Connection
) -> None:
    job = await add_job(db)
    await settle(db, job, dead=[2, 3, 6])

    async def retry() -> int:
        async with connect(engine_url) as connection:
            return await jobs.retry_dead(connection, job)

    assert sorted(await asyncio.gather(retry(), retry(), retry())) == [0, 0, 3]
    assert await covered_by(db, job, ["pending"]) == ["2", "3", "6"]


async def test_a_suspended_job_stays_suspended_when_its_dead_are_retried(db: asyncpg.Connection) -> None:
    job = await add_job(db)
    await settle(db, job, dead=[2])
    await jobs.set_suspended(db, job.job_no, suspended=True)
    assert await jobs.retry_dead(db, job) == 1
    assert (await jobs.get_job(db, job.token)).state is JobState.SUSPENDED


async def test_a_job_does_not_end_over_records_that_are_just_being_retried(
    engine_url: str, db: asyncpg.Connection
) -> None:
    """The records worker checks whether all is settled while an uncommitted retry holds the job."""
    job = await add_job(db)
    await settle(db, job, dead=[2])
    async with connect(engine_url) as retrying, connect(engine_url) as worker:
        async with retrying.transaction():
            assert await jobs.retry_dead(retrying, job) == 1
            completing = asyncio.create_task(jobs.complete_job_if_settled(worker, job.job_no))

            async def waits() -> bool:
                return bool(
                    await db.fetchval(
                        "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'",
                        worker.get_server_pid(),
                    )
                )

            await eventually(waits)
        assert not await completing
    assert (await jobs.get_job(db, job.token)).state is JobState.RUNNING


async def test_a_job_ends_once_all_is_planned_and_settled(db: asyncpg.Connection) -> None:
    job = await add_job(db)
    assert not await jobs.complete_job_if_settled(db, job.job_no)
    await add_batches(db, job, [1])
    assert not await jobs.complete_job_if_settled(db, job.job_no)
    await fail_one(db, job, 1)
    await db.execute("UPDATE vaultstream.jobs SET planned = false WHERE job_no = $1", job.job_no)
    assert not await jobs.complete_job_if_settled(db, job.job_no)
    await db.execute("UPDATE vaultstream.jobs SET planned = true WHERE job_no = $1", job.job_no)
    assert await jobs.complete_job_if_settled(db, job.job_no)
    await jobs.fail_job(db, job.job_no, "too late")
    await jobs.set_suspended(db, job.job_no, suspended=True)
    assert (await jobs.get_job(db, job.token)).state is JobState.COMPLETE


async def test_a_name_is_taken_until_its_job_is_deleted(db: asyncpg.Connection) -> None:
    job = await add_job(db)
    with pytest.raises(asyncpg.UniqueViolationError):
        await jobs.create_job(db, job.name, job.spec, id_type="bigint", source_oid=job.source_oid or 0)
    await jobs.delete_job(db, job.job_no, "Retain")
    second = await jobs.create_job(db, job.name, job.spec, id_type="text", source_oid=job.source_oid or 0)
    assert second.token != job.token
    assert (await jobs.get_job(db, job.name)).job_no == second.job_no
    assert (await jobs.get_job(db, job.token)).job_no == job.job_no


async def test_retain_keeps_what_an_auditor_needs_and_no_private_key(db: asyncpg.Connection) -> None:
    job = await add_job(db)
    await settle(db, job, dead=[2])
    await db.execute(
        "INSERT INTO vaultstream.key_material SELECT key_no, 1, 'kek', '' FROM vaultstream.keys WHERE job_no = $1",
        job.job_no,
    )
    await jobs.delete_job(db, job.job_no, "Retain")
    await jobs.delete_job(db, job.job_no, "Retain")
    assert len(await signatures_of(db, job)) == 5
    stated = "SELECT count(*) FROM vaultstream.statements WHERE job_no = $1"
    assert await db.fetchval(stated, job.job_no) == 2
    assert set(await dead_of(db, job)) == {"2"}
    listed = await keys.list_keys(db, job.job_no)
    assert {key.state for key in listed} == {"retired"}
    assert sum(key.batches for key in listed) == 2
    assert await keys.list_wrapped(db, job) == []
    assert await lease_one(db, job, "ann") is None
    with pytest.raises(UnknownJobError):
        await jobs.get_job(db, job.name)
    assert job.job_no not in {each.job_no for each in await jobs.list_jobs(db)}
    assert job.job_no in {each.job_no for each in await jobs.list_jobs(db, deleted=True)}


async def test_delete_leaves_nothing_behind(db: asyncpg.Connection) -> None:
    job, neighbour = await add_job(db), await add_job(db)
    await settle(db, job, dead=[2])
    await settle(db, neighbour, dead=[2])
    await jobs.delete_job(db, job.job_no, "Delete")
    for table in ("jobs", "keys", "batches", "dead_letters", "statements"):
        assert not await db.fetchval(
            f"SELECT count(*) FROM vaultstream.{table} WHERE job_no = $1", job.job_no
        )
        assert await db.fetchval(
            f"SELECT count(*) FROM vaultstream.{table} WHERE job_no = $1", neighbour.job_no
        )
    assert not await db.fetchval(
        "SELECT count(*) FROM vaultstream.leases l LEFT JOIN vaultstream.keys k USING (key_no) WHERE k.key_no IS NULL"
    )
    assert await db.fetchval(f"SELECT to_regclass('{job.signatures_table}')") is None
    assert len(await signatures_of(db, neighbour)) == 5


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_job_may_be_deleted_while_it_is_being_signed(
    engine_url: str, db: asyncpg.Connection, policy: str
) -> None:
    job = await add_job(db, keys=4)
    numbers = await add_batches(db, job, *([n] for n in range(1, 401)))
    signing = asyncio.Event()

    async def sign(share: list[int], holder: str) -> None:
        async with connect(engine_url) as connection:
            for number in share:
                lease = await lease_one(connection, job, holder)
                if lease is None:
                    return
                batch = signed(number, lease, [], dead=[number])
                try:
                    await commit_batches(connection, job.job_no, holder, [batch], id_type="bigint")
                except asyncpg.UndefinedTableError:
                    return
                signing.set()

    async def delete() -> None:
        await signing.wait()
        await jobs.delete_job(db, job.job_no, policy)

    await asyncio.gather(delete(), *(sign(numbers[n::4], f"holder {n}") for n in range(4)))
    found = await jobs.find_job(db, job.token)
    assert (found is None) is (policy == "Delete")
