"""What someone who has the login of the signers tries: commits whose statement says something else, or that have none."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from support.engine import (
    add_batches,
    add_job,
    claim_one,
    dead_of,
    history_of,
    signatures_of,
    signed,
    statement_for,
)
from support.signing_login import ANN
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.store.jobs import Job
from vaultstream.store.leases import COMMITTED, FENCED, Lease, SignedBatch, commit_batches

pytestmark = pytest.mark.integration

HOUR = timedelta(hours=1)


async def commit(connection: asyncpg.Connection, job: Job, batch: SignedBatch) -> str:
    [outcome] = await commit_batches(connection, job.job_no, ANN, [batch], id_type="bigint")
    return outcome


def stating(lease: Lease, **changed: Any) -> SignedBatch:
    """Returns batch 1, whose records are 1 and 2, with a statement that says something else."""
    batch = signed(1, lease, [1, 2])
    batch.statement = statement_for(1, lease, [1, 2], batch.rows.digests, batch.rows.signatures, **changed)
    return batch


async def statements_of(connection: asyncpg.Connection, job: Job) -> list[str]:
    rows = await connection.fetch("SELECT body FROM vaultstream.statements WHERE job_no = $1", job.job_no)
    return [row["body"] for row in rows]


@pytest.fixture
async def job(owner: asyncpg.Connection) -> Job:
    job = await add_job(owner, keys=1)
    await add_batches(owner, job, [1, 2], [3])
    return job


WRONG: dict[str, dict[str, Any]] = {
    "another job": {"job_token": "another"},
    "another batch": {"batch": 2},
    "another key": {"key_id": "another-1"},
    "another epoch": {"epoch": 2},
    "another holder": {"holder": "bob"},
    "another algorithm": {"algorithm": "ECDSA_P256_SHA256"},
    "one record less": {"count": 1},
    "another first record": {"first_id": "0"},
    "another last record": {"last_id": "3"},
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_statement_about_something_else_is_not_committed(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job, wrong: str
) -> None:
    lease = await claim_one(signer, job, ANN, 1)
    with pytest.raises(asyncpg.InvalidParameterValueError, match="not about this commit of batch 1"):
        await commit(signer, job, stating(lease, **WRONG[wrong]))
    assert await signatures_of(owner, job) == {}
    assert await commit(signer, job, stating(lease)) == COMMITTED
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ('"root":"', '"root":"G'),
        ('","signedAt"', 'A","signedAt"'),
        ("Z", ""),
        ("Z", "+00:00"),
        ('"count":2', '"count": 2'),
        ('"count":2', '"count":2,"count":2'),
        ("}", ',"more":1}'),
        ("}", "} "),
        ("{", " {"),
    ],
)
async def test_a_statement_in_another_form_is_not_committed(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job, text: str, other: str
) -> None:
    batch = stating(await claim_one(signer, job, ANN, 1))
    assert batch.statement is not None
    batch.statement = StatementEnvelope(batch.statement.body.replace(text, other), b"x")
    with pytest.raises(asyncpg.InvalidParameterValueError, match="not about this commit"):
        await commit(signer, job, batch)
    assert await statements_of(owner, job) == []


@pytest.mark.parametrize(
    ("part", "other"), [(r":\d\d\.\d+Z", ":60.000000Z"), (r"T[\d:.]+Z", "T24:00:00.000000Z")]
)
async def test_a_time_that_only_postgres_reads_is_not_committed(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job, part: str, other: str
) -> None:
    """No seal could be made of a job with such a statement."""
    batch = stating(await claim_one(signer, job, ANN, 1))
    assert batch.statement is not None
    batch.statement = StatementEnvelope(re.sub(part, other, batch.statement.body), b"x")
    with pytest.raises(asyncpg.InvalidParameterValueError, match="not about this commit"):
        await commit(signer, job, batch)
    assert await statements_of(owner, job) == []


async def test_a_statement_from_before_its_lease_is_not_committed(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    lease = await claim_one(signer, job, ANN, 1)
    with pytest.raises(asyncpg.InvalidParameterValueError, match="before its lease"):
        await commit(signer, job, stating(lease, signed_at=lease.clock.shown - HOUR))
    assert await signatures_of(owner, job) == {}


async def test_a_statement_from_the_future_commits_nothing_and_its_key_is_free(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    """As if the clock of Postgres had been set back since it was signed: no attempt is counted."""
    lease = await claim_one(signer, job, ANN, 1)
    assert await commit(signer, job, stating(lease, signed_at=lease.clock.shown + HOUR)) == FENCED
    assert await signatures_of(owner, job) == {}
    assert await statements_of(owner, job) == []
    assert await history_of(owner, job) == {(lease.key_no, 1, "released")}
    assert await commit(signer, job, stating(await claim_one(signer, job, ANN, 1))) == COMMITTED


async def test_signed_records_without_a_statement_are_not_committed(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    batch = stating(await claim_one(signer, job, ANN, 1))
    stated, batch.statement = batch.statement, None
    with pytest.raises(asyncpg.InvalidParameterValueError, match="no statement"):
        await commit(signer, job, batch)
    assert stated is not None
    batch.statement = StatementEnvelope(stated.body, b"")
    with pytest.raises(asyncpg.InvalidParameterValueError, match="not about this commit"):
        await commit(signer, job, batch)
    assert await signatures_of(owner, job) == {}


async def test_a_statement_where_nothing_is_signed_is_not_committed(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    lease = await claim_one(signer, job, ANN, 1)
    batch = signed(1, lease, [], dead=[1, 2])
    batch.statement = stating(lease).statement
    with pytest.raises(asyncpg.InvalidParameterValueError, match="nothing to state"):
        await commit(signer, job, batch)
    assert await dead_of(owner, job) == {}


OLDER = """SELECT outcome FROM vaultstream.commit_batches($1, $2, ARRAY[1], ARRAY[$3::int], ARRAY[1], ARRAY[2], ARRAY[0],
           ARRAY[1::bigint, 2], 35, $4, '{}', '{}', '{}', '{}')"""
ROWS = bytes([*range(32), 0, 1, 7]) * 2


async def test_a_signer_of_an_older_version_commits_nothing_of_a_job_with_statements(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    lease = await claim_one(signer, job, ANN, 1)
    with pytest.raises(asyncpg.UndefinedFunctionError, match="upgrade this signer"):
        await signer.fetch(OLDER, job.job_no, ANN, lease.key_no, ROWS)
    assert await signatures_of(owner, job) == {}


LISTED = """SELECT outcome FROM vaultstream.commit_batches($1, $2, ARRAY[$3::int], ARRAY[$4::int], ARRAY[$5::int],
            ARRAY[cardinality($6::bigint[])], ARRAY[0], $6::bigint[], 35, $7, '{}', '{}', '{}', '{}', $8, '{x}')"""


async def test_a_signer_that_lists_consecutive_ids_commits_them(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    """As those of version 12 to 16 do, each id compared with its batch."""
    for number, ids, others in (1, [1, 2], ([1, 3], [2, 2], [2, 1, 2])), (2, [3], ([2],)):
        lease = await claim_one(signer, job, ANN, number)

        async def listed(given: list[int], lease: Lease = lease, number: int = number) -> str:
            statement = statement_for(number, lease, given, [b""] * len(given), [b""] * len(given))
            rows = bytes([*range(32), 0, 1, 7]) * len(given)
            leased = lease.key_no, lease.epoch
            return await signer.fetchval(
                LISTED, job.job_no, ANN, number, *leased, given, rows, [statement.body]
            )

        for other in others:
            with pytest.raises((asyncpg.InvalidParameterValueError, asyncpg.CheckViolationError)):
                await listed(other)
        assert await listed(ids) == COMMITTED
    assert set(await signatures_of(owner, job)) == {1, 2, 3}


async def test_a_job_from_before_is_signed_by_signers_of_both_versions(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    await owner.execute("ALTER TABLE vaultstream.jobs DISABLE TRIGGER guard")
    await owner.execute("UPDATE vaultstream.jobs SET stated = false WHERE job_no = $1", job.job_no)
    await owner.execute("ALTER TABLE vaultstream.jobs ENABLE TRIGGER guard")
    lease = await claim_one(signer, job, ANN, 1)
    assert await signer.fetchval(OLDER, job.job_no, ANN, lease.key_no, ROWS) == COMMITTED
    assert await statements_of(owner, job) == []
    newer = signed(2, await claim_one(signer, job, ANN, 2), [3])
    assert await commit(signer, job, newer) == COMMITTED
    assert newer.statement is not None
    assert await statements_of(owner, job) == [newer.statement.body]
    assert set(await signatures_of(owner, job)) == {1, 2, 3}


async def test_nobody_says_that_a_job_is_from_before(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    for connection, refused in (
        (signer, asyncpg.InsufficientPrivilegeError),
        (owner, asyncpg.CheckViolationError),
    ):
        with pytest.raises(refused):
            await connection.execute(
                "UPDATE vaultstream.jobs SET stated = false WHERE job_no = $1", job.job_no
            )


async def test_the_time_of_a_statement_is_that_of_its_signatures(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    lease = await claim_one(signer, job, ANN, 1)
    assert await commit(signer, job, stating(lease)) == COMMITTED
    times = await owner.fetch(f"SELECT DISTINCT signed_at FROM {job.signatures_table}")
    assert [row["signed_at"] for row in times] == [lease.clock.shown]
