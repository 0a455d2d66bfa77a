"""What someone who has the login of the signers tries with a session that reads UTC as another time zone."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest

from support.engine import add_batches, add_job, claim_one, signatures_of, signed, statement_for
from support.signing_login import ANN
from vaultstream.store.jobs import Job
from vaultstream.store.leases import COMMITTED, FENCED, SignedBatch, commit_batches, release_leases

pytestmark = pytest.mark.integration

LIES = ["<UTC>-0:01", "<UTC>-100<Z>-100", "<UTC>100<Z>100", "<UTC>-100:30<ZULU>3,M3.2.0,M11.1.0"]
"""Time zones whose abbreviation is UTC, in POSIX's notation, and which are no UTC."""


@pytest.fixture
async def job(owner: asyncpg.Connection) -> Job:
    job = await add_job(owner, keys=1)
    await add_batches(owner, job, [1, 2], [3])
    return job


async def lie(connection: asyncpg.Connection, zone: str) -> None:
    await connection.execute("SELECT set_config('timezone', $1, false)", zone)


@pytest.mark.parametrize("zone", LIES)
async def test_no_time_zone_of_a_session_moves_what_an_index_has(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job, zone: str
) -> None:
    """An index keeps what the expression was in the session that wrote the row."""
    lease = await claim_one(signer, job, ANN, 1)
    await release_leases(signer, ANN, [lease])
    expressions = await owner.fetch(
        "SELECT indrelid::regclass::text AS relation, pg_get_expr(indexprs, indrelid) AS listed FROM pg_index "
        "JOIN pg_class c ON c.oid = indrelid WHERE relnamespace = 'vaultstream'::regnamespace AND indexprs IS NOT NULL"
    )
    assert "vaultstream.leases" in [each["relation"] for each in expressions]
    for each in expressions:
        ask = f"SELECT ARRAY[ROW({each['listed']})::text] AS seen FROM {each['relation']} ORDER BY 1"
        honest = [row["seen"] for row in await owner.fetch(ask)]
        try:
            await lie(owner, zone)
            assert [row["seen"] for row in await owner.fetch(ask)] == honest
        finally:
            await lie(owner, "UTC")
        assert (
            honest or "AT TIME ZONE '" not in each["listed"].upper()
        )  # of a table without rows, the text tells


@pytest.mark.parametrize("zone", LIES[1:])
@pytest.mark.parametrize("hours", [-100, 100])
async def test_no_time_zone_of_a_session_dates_a_statement_out_of_its_lease(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job, zone: str, hours: int
) -> None:
    lease = await claim_one(signer, job, ANN, 1)
    batch = signed(1, lease, [1, 2])
    batch.statement = statement_for(
        1, lease, [1, 2], batch.rows.digests, batch.rows.signatures,
        signed_at=lease.clock.shown + timedelta(hours=hours),
    )  # fmt: skip
    await lie(signer, zone)
    if hours < 0:
        with pytest.raises(asyncpg.InvalidParameterValueError, match="before its lease"):
            await commit(signer, job, batch)
    else:
        assert await commit(signer, job, batch) == FENCED
    assert await signatures_of(owner, job) == {}


@pytest.mark.parametrize("zone", LIES)
async def test_a_signer_with_another_time_zone_commits_what_is_dated_rightly(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job, zone: str
) -> None:
    await lie(signer, zone)
    lease = await claim_one(signer, job, ANN, 1)
    assert await commit(signer, job, signed(1, lease, [1, 2])) == COMMITTED
    times = await owner.fetch(f"SELECT DISTINCT signed_at FROM {job.signatures_table}")
    assert [row["signed_at"] for row in times] == [lease.clock.shown]


async def commit(connection: asyncpg.Connection, job: Job, batch: SignedBatch) -> str:
    [outcome] = await commit_batches(connection, job.job_no, ANN, [batch], id_type="bigint")
    return outcome
