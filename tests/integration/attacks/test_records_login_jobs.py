"""What someone who has the login of the records workers tries: on the row of a job, with its state, its times and its end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job, claim_one, commit, signed
from support.guarded import GuardedDatabase
from support.records_login import PLAN, state_of
from vaultstream.api import SigningJobSpec
from vaultstream.errors import LockedError
from vaultstream.store import lockers
from vaultstream.store.jobs import (
    Job,
    fail_overdue_job,
    get_job,
    set_suspended,
    update_spec,
)
from vaultstream.store.leases import COMMITTED

pytestmark = pytest.mark.integration


async def test_a_deleted_job_stays_as_it_is(
    planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job
) -> None:
    await owner.execute("SELECT vaultstream.delete_job($1, 'Retain')", planned_job.job_no)
    before = await state_of(owner, planned_job)
    with pytest.raises(asyncpg.CheckViolationError, match="it was deleted"):
        await planner.execute(
            "UPDATE vaultstream.jobs SET message = 'mine' WHERE job_no = $1", planned_job.job_no
        )
    assert await state_of(owner, planned_job) == before


async def test_a_job_runs_from_a_start(planner: asyncpg.Connection, owner: asyncpg.Connection) -> None:
    fresh = await add_job(owner, keys=1)
    with pytest.raises(asyncpg.CheckViolationError, match="has not started"):
        await planner.execute("UPDATE vaultstream.jobs SET state = 'Running' WHERE job_no = $1", fresh.job_no)
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", fresh.job_no)


@pytest.mark.parametrize(
    "change",
    [
        "planned_id = '5'",
        "planned_id = NULL",
        "planned_id = '26'",
        "upper_id = '5'",
        "upper_id = NULL",
        "next_batch_no = 1",
        "next_batch_no = 99",
        "published_through = 0",
        "published_through = 3",
        "started_at = NULL",
        "started_at = now() - interval '1 year'",
        "finished_at = now()",
        "state = 'Pending'",
        "state = 'Complete', finished_at = now()",
        "state = 'Complete', planned = true, finished_at = now()",
        "state = 'Failed', finished_at = now()",
    ],
)
async def test_checkpoints_only_move_forward_and_a_job_ends_when_it_is_done(
    planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job, change: str
) -> None:
    before = await state_of(owner, planned_job)
    with pytest.raises(asyncpg.CheckViolationError):
        await planner.execute(f"UPDATE vaultstream.jobs SET {change} WHERE job_no = $1", planned_job.job_no)
    assert await state_of(owner, planned_job) == before


async def test_a_job_that_started_gets_no_other_end_by_a_pause(
    database: GuardedDatabase, planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job
) -> None:
    async def refuse(login: asyncpg.Connection, change: str, reason: str) -> None:
        with pytest.raises(asyncpg.CheckViolationError, match=reason):
            await login.execute(f"UPDATE vaultstream.jobs SET {change} WHERE job_no = $1", planned_job.job_no)

    await refuse(planner, "state = 'Suspended'", "only the operator")
    async with connect(database.urls["operator"]) as operator:
        await set_suspended(operator, planned_job.job_no, suspended=True)
        for state in ("Running", "Pending"):
            await refuse(planner, f"state = '{state}'", "only the operator")
        await refuse(operator, "state = 'Pending'", "it has started")
        await set_suspended(operator, planned_job.job_no, suspended=False)
    assert (await get_job(owner, planned_job.token)).state == "Running"
    await owner.execute("UPDATE vaultstream.jobs SET state = 'Pending' WHERE job_no = $1", planned_job.job_no)
    await refuse(planner, "upper_id = '99'", "highest id")


async def test_a_lock_on_the_row_of_a_job_holds_up_no_pause_without_end_and_is_named(
    database: GuardedDatabase,
    owner: asyncpg.Connection,
    planner: asyncpg.Connection,
    planned_job: Job,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lockers, "LOCK_WAIT", "500ms")
    overdue = {**planned_job.spec.dump(), "activeDeadlineSeconds": 1}
    await owner.execute(
        "UPDATE vaultstream.jobs SET spec = $2, started_at = now() - interval '1 hour' WHERE job_no = $1",
        planned_job.job_no,
        overdue,
    )
    pid = planner.get_server_pid()
    attempt = planner.transaction()
    await attempt.start()
    await planner.fetch("SELECT FROM vaultstream.jobs FOR UPDATE")
    async with connect(database.urls["operator"]) as operator:
        for change in (
            set_suspended(operator, planned_job.job_no, suspended=True),
            update_spec(operator, planned_job.job_no, planned_job.spec),
            fail_overdue_job(operator, replace(planned_job, spec=SigningJobSpec.model_validate(overdue))),
        ):
            with pytest.raises(LockedError, match=f"process {pid} of the user {database.logins['records']}"):
                await change
        await attempt.rollback()
        await set_suspended(operator, planned_job.job_no, suspended=True)


async def test_a_lock_on_the_row_of_a_job_holds_up_no_commit_with_dead_letters_without_end(
    database: GuardedDatabase, owner: asyncpg.Connection, planner: asyncpg.Connection, job: Job
) -> None:
    bound = "ALTER FUNCTION vaultstream.add_dead_letters SET lock_timeout = '{}'"
    async with connect(database.urls["signing"]) as signer:
        lease = await claim_one(signer, job, "ann", 1)
        await owner.execute(bound.format("300ms"))
        try:
            async with planner.transaction():
                await planner.fetch("SELECT FROM vaultstream.jobs WHERE job_no = $1 FOR UPDATE", job.job_no)
                with pytest.raises(asyncpg.LockNotAvailableError):
                    await asyncio.wait_for(commit(signer, job, signed(1, lease, [], [1])), 30)
        finally:
            await owner.execute(bound.format("10s"))
        assert await commit(signer, job, signed(1, lease, [], [1])) == [COMMITTED]


async def test_an_old_snapshot_completes_no_job(
    database: GuardedDatabase, planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job
) -> None:
    await owner.execute(
        "UPDATE vaultstream.batches SET state = 'done', signed = records WHERE job_no = $1",
        planned_job.job_no,
    )
    async with connect(database.urls["records"]) as old:
        await old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await old.fetchval("SELECT count(*) FROM vaultstream.batches")
        with pytest.raises(asyncpg.CheckViolationError, match="READ COMMITTED"):
            await old.execute(
                "UPDATE vaultstream.jobs SET planned = true, state = 'Complete' WHERE job_no = $1",
                planned_job.job_no,
            )
        await old.execute("ROLLBACK; BEGIN ISOLATION LEVEL SERIALIZABLE")
        with pytest.raises(asyncpg.CheckViolationError, match="READ COMMITTED"):
            await old.execute(PLAN, planned_job.job_no, 3, 5, "11", "15", None)


async def test_the_times_of_a_job_are_those_of_the_clock_of_postgres(
    planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job
) -> None:
    fresh = await add_job(owner, keys=1, activeDeadlineSeconds=3000)
    await planner.execute(
        "UPDATE vaultstream.jobs SET state = 'Running', started_at = now() - interval '1 year', upper_id = '1' WHERE job_no = $1",
        fresh.job_no,
    )
    await fail_overdue_job(planner, await get_job(owner, fresh.token))
    with pytest.raises(asyncpg.CheckViolationError, match="deadline"):
        await planner.execute("UPDATE vaultstream.jobs SET state = 'Failed' WHERE job_no = $1", fresh.job_no)
    await owner.execute(
        "UPDATE vaultstream.jobs SET started_at = now() - interval '1 hour' WHERE job_no = $1", fresh.job_no
    )
    await planner.execute(
        "UPDATE vaultstream.jobs SET state = 'Failed', finished_at = '2001-01-01' WHERE job_no = $1",
        fresh.job_no,
    )
    assert await owner.fetchval(
        "SELECT finished_at > now() - interval '1 minute' FROM vaultstream.jobs WHERE job_no = $1",
        fresh.job_no,
    )


async def test_planned_is_said_once(
    planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job
) -> None:
    await owner.execute("UPDATE vaultstream.jobs SET planned = true WHERE job_no = $1", planned_job.job_no)
    for change in ("planned = false", "planned_id = '20'"):
        with pytest.raises(asyncpg.CheckViolationError):
            await planner.execute(
                f"UPDATE vaultstream.jobs SET {change} WHERE job_no = $1", planned_job.job_no
            )


async def test_no_operator_of_one_s_own_turns_the_guard_around(
    database: GuardedDatabase, planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job
) -> None:
    """The trigger runs with the privileges of the caller, but not with the names that the caller set."""
    await owner.execute(f"CREATE SCHEMA tricks; GRANT ALL ON SCHEMA tricks TO {database.logins['records']}")
    await planner.execute(
        "CREATE FUNCTION tricks.never(bigint, bigint) RETURNS bool LANGUAGE sql AS 'SELECT false';"
        "CREATE OPERATOR tricks.< (FUNCTION = tricks.never, LEFTARG = bigint, RIGHTARG = bigint);"
        "SET search_path = tricks, pg_catalog, public"
    )
    assert not await planner.fetchval("SELECT 1::bigint < 2::bigint")
    try:
        with pytest.raises(asyncpg.CheckViolationError):
            await planner.execute(
                "UPDATE vaultstream.jobs SET published_through = 0 WHERE job_no = $1", planned_job.job_no
            )
    finally:
        await planner.execute("DROP OPERATOR tricks.< (bigint, bigint); DROP FUNCTION tricks.never")
        await owner.execute("DROP SCHEMA tricks")
