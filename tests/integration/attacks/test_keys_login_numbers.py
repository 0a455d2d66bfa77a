"""What someone who has the login of the keys workers, or the operator's, tries on the numbers of keys and jobs, which all tenants share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.as_user import connect
from support.engine import add_job
from support.guarded import GuardedDatabase
from vaultstream.crypto.algorithms import public_key_to_bytes
from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration

LAST = 2**31 - 1
ADD = (
    "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) VALUES ($1, $2, $3, 'ED25519', $4) "
    "ON CONFLICT (job_no, ordinal) DO NOTHING RETURNING key_no"
)


@pytest.fixture
async def job(owner: asyncpg.Connection) -> AsyncIterator[Job]:
    job = await add_job(owner, keys=2)
    yield job
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


async def draw_until(owner: asyncpg.Connection, table: str, number: int) -> None:
    """Leaves the sequence as if somebody had drawn all numbers up to this one."""
    column = {"keys": "key_no", "jobs": "job_no"}[table]
    await owner.execute(
        "SELECT setval(pg_get_serial_sequence('vaultstream.' || $1, $2), $3)", table, column, number
    )


async def add_key(keeper: asyncpg.Connection, job: Job, ordinal: int) -> int | None:
    public_key = public_key_to_bytes(Ed25519PrivateKey.generate())
    async with keeper.transaction():
        number: int | None = await keeper.fetchval(
            ADD, job.job_no, ordinal, f"{job.token}-{ordinal}-a", public_key
        )
        if number is not None:
            await keeper.execute(
                "INSERT INTO vaultstream.key_material (key_no, version, kek_id, wrapped) VALUES ($1, 1, 'kek', 'w')",
                number,
            )
    return number


async def test_the_numbers_of_keys_are_never_used_up(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job
) -> None:
    """Each row that is refused, that is there, or that is rolled back, may take one."""
    async with connect(database.urls["keys"]) as keeper:
        await draw_until(owner, "keys", LAST)
        first = await add_key(keeper, job, 3)
        assert first is not None
        assert await add_key(keeper, job, 3) is None
        # What is in use is passed over when the numbers come round, also that of a lease whose key is gone.
        await owner.execute(
            "INSERT INTO vaultstream.leases (key_no, epoch, holder, during, outcome) VALUES "
            "($1, 1, 'ann', tstzrange('2001-01-01', '2001-01-02'), 'expired')",
            first + 1_000_001,
        )
        await owner.execute("DELETE FROM vaultstream.key_material WHERE key_no = $1", first)
        await owner.execute(
            "UPDATE vaultstream.keys SET key_no = $1 WHERE key_no = $2", first + 1_000_000, first
        )
        await draw_until(owner, "keys", first + 999_999)
        assert await add_key(keeper, job, 4) == first + 1_000_002
        await owner.execute("DELETE FROM vaultstream.leases WHERE key_no = $1", first + 1_000_001)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await keeper.fetchval("SELECT nextval(pg_get_serial_sequence('vaultstream.keys', 'key_no'))")


async def test_a_key_that_is_refused_draws_no_number(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job
) -> None:
    async with connect(database.urls["keys"]) as keeper:
        before = await add_key(keeper, job, 3)
        for _ in range(3):
            with pytest.raises(asyncpg.CheckViolationError):
                await add_key(keeper, job, 1000)
        assert before is not None
        assert await add_key(keeper, job, 4) == before + 1


async def test_the_numbers_of_jobs_are_never_used_up(owner: asyncpg.Connection, job: Job) -> None:
    """A job that is not created, because of its name or its source, takes one. What a deleted job left keeps its own."""
    await draw_until(owner, "jobs", LAST)
    after = await add_job(owner, keys=1)
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", after.job_no)
    await draw_until(owner, "jobs", min(after.job_no, job.job_no) - 1 or LAST)
    again = await add_job(owner, keys=1)
    assert again.job_no not in (after.job_no, job.job_no)
    kept = "SELECT count(*) FROM vaultstream.audited_jobs WHERE job_no = $1 AND token = $2"
    assert await owner.fetchval(kept, again.job_no, again.token) == 1
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", again.job_no)
