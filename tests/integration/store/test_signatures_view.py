"""`vaultstream.signatures`: what whoever opens psql finds, over all jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from uuid import UUID

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_batches, add_job, claim_one, signed
from support.guarded import GuardedDatabase
from support.guarded_fixtures import TENANTS, owner, tenants_database
from support.waiting import eventually
from vaultstream.store.jobs import Job, delete_job
from vaultstream.store.leases import commit_batches

__all__ = ["owner", "tenants_database"]

pytestmark = pytest.mark.integration


async def sign(connection: asyncpg.Connection, job: Job, *ids: object) -> None:
    [batch] = await add_batches(connection, job, ids)
    lease = await claim_one(connection, job, "ann", batch)
    [outcome] = await commit_batches(
        connection, job.job_no, "ann", [signed(batch, lease, ids)], id_type=job.id_type
    )
    assert outcome == "committed"


async def shown(connection: asyncpg.Connection, *jobs: Job) -> list[tuple[str, str]]:
    rows = await connection.fetch(
        "SELECT job, record_id FROM vaultstream.signatures WHERE job = ANY ($1) ORDER BY job, record_id",
        [job.name for job in jobs],
    )
    return [tuple(row) for row in rows]


async def locked_tables(connection: asyncpg.Connection, statement: str, *values: object) -> set[str]:
    """Returns the tables of signatures that a transaction which runs only this statement has locked."""
    async with connection.transaction():
        await connection.fetch(statement, *values)
        rows = await connection.fetch(
            "SELECT relation::regclass::text AS name FROM pg_locks WHERE pid = pg_backend_pid() AND relation IS NOT NULL"
        )
    return {row["name"] for row in rows if row["name"].startswith("vaultstream.signatures_")}


async def test_a_row_is_a_signature_with_its_job_key_algorithm_time_and_digest(
    db: asyncpg.Connection,
) -> None:
    job = await add_job(db, keys=1)
    await sign(db, job, 7)
    [row] = await db.fetch("SELECT * FROM vaultstream.signatures WHERE token = $1", job.token)
    [stored] = await db.fetch(f"SELECT * FROM {job.signatures_table}")
    assert dict(row) == {
        "job": job.name,
        "record_id": "7",
        "key_id": f"{job.token}-1",
        "algorithm": "ED25519",
        "signed_at": stored["signed_at"],
        "payload_sha256": sha256(b"7").digest(),
        "signature": stored["signature"],
        "token": job.token,
    }


async def test_it_follows_jobs_of_all_types_of_ids_as_they_come_and_go(db: asyncpg.Connection) -> None:
    numbers, texts, uuids = [await add_job(db, id_type=kind) for kind in ("bigint", "text", "uuid")]
    jobs = (numbers, texts, uuids)
    assert await shown(db, *jobs) == []
    one = UUID(int=1)
    for job, record in zip(jobs, (1, "é", one), strict=True):
        await sign(db, job, record)
    everything = {(numbers.name, "1"), (texts.name, "é"), (uuids.name, str(one))}
    assert set(await shown(db, *jobs)) == everything
    await delete_job(db, numbers.job_no, "Delete")
    await delete_job(db, texts.job_no, "Retain")
    assert set(await shown(db, *jobs)) == everything - {(numbers.name, "1")}


async def test_a_table_of_many_portions_is_shown_to_its_last_row(db: asyncpg.Connection) -> None:
    job = await add_job(db, keys=1)
    await db.execute(
        f"INSERT INTO {job.signatures_table} "
        "SELECT n, 0, 1, now(), sha256(n::text::bytea), decode(repeat('00', 1500), 'hex') FROM generate_series(1, 2000) AS n"
    )
    rows = await db.fetch("SELECT record_id, key_id FROM vaultstream.signatures WHERE job = $1", job.name)
    assert sorted(int(row["record_id"]) for row in rows) == list(range(1, 2001))
    assert {row["key_id"] for row in rows} == {None}, "a key that the job does not have hides no signature"


async def test_a_query_locks_and_reads_only_the_jobs_that_it_asks_for(db: asyncpg.Connection) -> None:
    jobs = [await add_job(db, keys=1) for _ in range(5)]
    for job in jobs:
        await sign(db, job, 1)
    wanted = jobs[2]
    for column, value in (("job", wanted.name), ("token", wanted.token)):
        locked = await locked_tables(db, f"SELECT * FROM vaultstream.signatures WHERE {column} = $1", value)
        assert {name.removesuffix("_pkey") for name in locked} == {wanted.signatures_table}
    everything = await locked_tables(db, "SELECT * FROM vaultstream.signatures")
    assert {job.signatures_table for job in jobs} <= everything
    first = await locked_tables(db, "SELECT * FROM vaultstream.signatures LIMIT 1")
    assert len({name.removesuffix("_pkey") for name in first}) == 1


async def test_a_job_that_is_deleted_meanwhile_has_no_signatures(
    db: asyncpg.Connection, engine_url: str
) -> None:
    job = await add_job(db, keys=1)
    await sign(db, job, 1)
    async with connect(engine_url) as reader:
        process = await reader.fetchval("SELECT pg_backend_pid()")
        async with db.transaction():
            await db.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)
            reading = asyncio.create_task(
                reader.fetch("SELECT * FROM vaultstream.signatures_of($1, 0, 128)", job.job_no)
            )

            async def waits() -> bool:
                blocked = "SELECT cardinality(pg_blocking_pids($1)) > 0"
                return bool(await db.fetchval(blocked, process))

            await eventually(waits)
        assert await reading == []


async def test_a_reader_of_the_view_holds_up_no_new_job(db: asyncpg.Connection, engine_url: str) -> None:
    job = await add_job(db, keys=1)
    await sign(db, job, 1)
    async with connect(engine_url) as reader, reader.transaction():
        assert await shown(reader, job) == [(job.name, "1")]
        another = await add_job(db, keys=1)
        await sign(db, another, 1)
        assert len(await shown(reader, job, another)) == 2


@pytest.fixture
async def jobs_of_tenants(tenants_database: GuardedDatabase) -> AsyncIterator[dict[str | None, Job]]:
    async with connect(tenants_database.urls["owner"]) as owner:
        jobs = {tenant: await add_job(owner, keys=1, tenant=tenant) for tenant in (None, *TENANTS)}
        for job in jobs.values():
            await sign(owner, job, 1)
        yield jobs
        for job in jobs.values():
            await delete_job(owner, job.job_no, "Delete")


async def test_a_tenants_auditor_sees_its_own_jobs_and_an_auditor_all(
    tenants_database: GuardedDatabase, jobs_of_tenants: dict[str | None, Job]
) -> None:
    everything = {job.name for job in jobs_of_tenants.values()}
    sees = {"auditor": everything, "owner": everything}
    sees |= {f"auditor-{tenant}": {jobs_of_tenants[tenant].name} for tenant in TENANTS}
    for login, names in sees.items():
        async with connect(tenants_database.urls[login]) as connection:
            rows = await connection.fetch("SELECT job, key_id FROM vaultstream.signatures")
            assert {row["job"] for row in rows} == names, login
            assert all(row["key_id"] for row in rows)
            called = await connection.fetch("SELECT job FROM vaultstream.signed_jobs()")
            assert {row["job"] for row in called} == names


async def test_a_row_that_a_tenant_does_not_see_reaches_no_function_of_the_tenants_query(
    tenants_database: GuardedDatabase, jobs_of_tenants: dict[str | None, Job]
) -> None:
    """A function in a condition could tell what it is given, before row security removes it."""
    shop, bank = TENANTS
    own, other = jobs_of_tenants[shop], jobs_of_tenants[bank]
    async with connect(tenants_database.urls[f"auditor-{shop}"]) as connection:
        for column, secret in (("job", other.name), ("token", other.token)):
            statement = f"SELECT * FROM vaultstream.signatures WHERE 1 / (CASE WHEN {column} = $1 THEN 0 ELSE 1 END) = 1"
            assert [row["job"] for row in await connection.fetch(statement, secret)] == [own.name]
        rows = await connection.fetch("SELECT * FROM vaultstream.signatures_of($1, 0, 128)", other.job_no)
        assert rows == []


async def test_no_role_but_the_auditor_reads_it(
    tenants_database: GuardedDatabase, jobs_of_tenants: dict[str | None, Job]
) -> None:
    for part in ("operator", "keys", "records", "signing", "source"):
        async with connect(tenants_database.urls[part]) as connection:
            for statement in (
                "SELECT * FROM vaultstream.signatures",
                "SELECT * FROM vaultstream.signed_jobs()",
                f"SELECT * FROM vaultstream.signatures_of({jobs_of_tenants[None].job_no}, 0, 1)",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.fetch(statement)
