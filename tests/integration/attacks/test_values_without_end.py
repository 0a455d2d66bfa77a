"""What a login stores, others read: the operator all jobs, a signer all keys of its job. So no value fills their memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job, add_table
from support.log_of_seals import LogOfSeals
from support.records_login import PLAN

if TYPE_CHECKING:
    from support.guarded import GuardedDatabase
    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration

LONG = 2_501


@pytest.mark.parametrize(("id_type", "upper"), [("text", "x" * LONG), ("bigint", "9".rjust(LONG, "0"))])
@pytest.mark.parametrize("column", ["upper_id", "planned_id"])
async def test_a_job_has_no_id_without_end_for_the_operator_to_read(
    planner: asyncpg.Connection, owner: asyncpg.Connection, id_type: str, upper: str, column: str
) -> None:
    table = await add_table(owner, [], id_type=id_type)
    job = await add_job(owner, table, keys=1, id_type=id_type)
    start = (
        f"UPDATE vaultstream.jobs SET state = 'Running', started_at = now(), {column} = $2 WHERE job_no = $1"
    )
    with pytest.raises(asyncpg.CheckViolationError, match="2,500 bytes"):
        await planner.execute(start, job.job_no, upper)
    assert (
        await owner.fetchval(f"SELECT {column} FROM vaultstream.jobs WHERE job_no = $1", job.job_no) is None
    )


@pytest.mark.parametrize("ends", [("11".rjust(LONG, "0"), "15"), ("11", "15".rjust(LONG, "0"))])
async def test_a_batch_has_no_id_without_end_for_a_signer_to_read(
    planner: asyncpg.Connection, planned_job: Job, ends: tuple[str, str]
) -> None:
    attempt = planner.transaction()  # at the end of one, the plan is compared with the checkpoint
    await attempt.start()
    with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
        await planner.execute(PLAN, planned_job.job_no, 3, 5, *ends, None)
    await attempt.rollback()


async def test_no_id_between_the_ends_of_a_batch_is_too_long_for_a_dead_letter(
    planner: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    job = await add_job(
        owner, await add_table(owner, [], id_type="text"), keys=1, id_type="text", batchSize=5
    )
    start = (
        "UPDATE vaultstream.jobs SET state = 'Running', started_at = now(), upper_id = 'zz' WHERE job_no = $1"
    )
    await owner.execute(start, job.job_no)
    for long, refused in ((2501, True), (2500, False)):
        attempt = planner.transaction()
        await attempt.start()
        ids = ["a", "x" * long, "zz"]
        if refused:
            with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
                await planner.execute(PLAN, job.job_no, 1, 3, "a", "zz", ids)
        else:
            await planner.execute(PLAN, job.job_no, 1, 3, "a", "zz", ids)
        await attempt.rollback()


async def test_a_log_has_no_subject_without_end_for_a_sealer_to_read(
    planner: asyncpg.Connection, planned_job: Job
) -> None:
    log = LogOfSeals(planner)
    await log.seal(planned_job)
    append = "SELECT vaultstream.append_entries(l.log_no, l.size, $2, $3, $4, $5, $6, $7, '') FROM vaultstream.logs l WHERE l.origin = $1"
    entry: list[Any] = [["plan"], [None], ["x" * 10_001], [f'"jobToken":"{planned_job.token}"'], [bytes(32)]]
    with pytest.raises(asyncpg.InvalidParameterValueError, match="no entries of this log"):
        await planner.execute(append, log.origin, planned_job.job_no, *entry)


@pytest.mark.parametrize(("kek_id", "wrapped"), [("kek", bytes(65_537)), ("k" * 1001, b"wrapped")])
async def test_a_wrapped_key_is_no_longer_than_keys_are(
    database: GuardedDatabase, owner: asyncpg.Connection, kek_id: str, wrapped: bytes
) -> None:
    job = await add_job(owner, keys=1)
    [key] = await owner.fetch("SELECT key_no FROM vaultstream.keys WHERE job_no = $1", job.job_no)
    insert = "INSERT INTO vaultstream.key_material (key_no, version, kek_id, wrapped) VALUES ($1, 1, $2, $3)"
    async with connect(database.urls["keys"]) as keeper:
        with pytest.raises(asyncpg.CheckViolationError, match="too long"):
            await keeper.execute(insert, key["key_no"], kek_id, wrapped)
