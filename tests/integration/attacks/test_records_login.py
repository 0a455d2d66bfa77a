"""What someone who has the login of the records workers tries: on batches, checkpoints and states."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from support.engine import add_job, add_table, open_sources
from support.guarded import GuardedDatabase
from vaultstream.api import SigningJobSpec
from vaultstream.errors import LockedError
from vaultstream.records.source import open_readable_source
from vaultstream.store.batches import highest_id, move_published, plan_page
from vaultstream.store.database import connect
from vaultstream.store.jobs import (
    Job,
    complete_job_if_settled,
    fail_overdue_job,
    get_job,
    set_suspended,
    start_job,
    update_spec,
)

pytestmark = pytest.mark.integration


@pytest.fixture
async def planner(database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with connect(database.urls["records"]) as connection:
        yield connection


@pytest.fixture
async def job(
    database: GuardedDatabase, owner: asyncpg.Connection, planner: asyncpg.Connection
) -> AsyncIterator[Job]:
    """A job of which the records worker has planned 10 of 25 records, in two batches, and published one."""
    table = await add_table(owner, range(1, 26))
    await owner.execute(f"GRANT SELECT ON {table} TO {database.logins['source']}")
    job = await add_job(owner, table, keys=1, batchSize=5)
    await start_job(planner, job.job_no, upper_id="25")
    async with planner.transaction():
        await planner.execute(
            "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id) "
            "VALUES ($1, 1, 5, '1', '5'), ($1, 2, 5, '6', '10')",
            job.job_no,
        )
        await planner.execute(
            "UPDATE vaultstream.jobs SET planned_id = '10', next_batch_no = 3 WHERE job_no = $1", job.job_no
        )
    await move_published(planner, job.job_no, 1)
    yield await get_job(owner, job.token)
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


PLAN = (
    "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids) "
    "VALUES ($1, $2, $3, $4, $5, $6)"
)


async def state_of(owner: asyncpg.Connection, job: Job) -> list[dict[str, Any]]:
    return [
        dict(row)
        for table in ("jobs", "batches")
        for row in await owner.fetch(f"SELECT * FROM vaultstream.{table} WHERE job_no = $1", job.job_no)
    ]


async def test_the_records_worker_s_own_way_is_open(
    database: GuardedDatabase, planner: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    async with open_sources(database.urls["records"], database.urls["source"]) as sources:
        source = await open_readable_source(sources, job)
        assert await highest_id(sources, source) == "25"
        page = await plan_page(planner, sources, await get_job(planner, job.token), source)
    assert (page.records, page.batches, page.finished) == (15, 3, True)
    await move_published(planner, job.job_no, 5)
    await owner.execute(
        "UPDATE vaultstream.batches SET state = 'done', signed = records WHERE job_no = $1", job.job_no
    )
    assert await complete_job_if_settled(planner, job.job_no)


@pytest.mark.parametrize(
    "batch",
    [
        (9, 5, "11", "15", None),
        (2**62, 5, "11", "15", None),
        (3, 4, "11", "15", None),
        (3, 0, "11", "10", None),
        (3, -1, "11", "9", None),
        (3, 6, "11", "16", None),
        (3, 5, "6", "10", None),
        (3, 5, "10", "14", None),
        (3, 5, "22", "26", None),
        (3, 2, "11", "13", ["11", "12", "13"]),
        (3, 2, "11", "12", ["11", "13"]),
        (3, 2, "11", "13", ["11", None]),
        (3, 2, "11", "14", ["11", "14"][::-1]),
        (3, 3, "11", "14", ["11", "999", "14"]),
        (3, 3, "11", "14", ["11", "1", "14"]),
        (3, 3, "11", "14", ["11", "11", "14"]),
        (3, 3, "11", "14", ["11", "012", "14"]),
    ],
    ids=str,
)
async def test_a_batch_continues_the_planning_of_its_job(
    planner: asyncpg.Connection, owner: asyncpg.Connection, job: Job, batch: tuple[Any, ...]
) -> None:
    before = await state_of(owner, job)
    with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
        await planner.execute(PLAN, job.job_no, *batch)
    assert await state_of(owner, job) == before


def uuid(number: int) -> str:
    return f"00000000-0000-0000-0000-0000000000{number:02}"


LISTED = {
    "the batch before": ([uuid(1), uuid(2)], [uuid(2), uuid(3)]),
    "a gap in the batch before": ([uuid(1), uuid(5)], [uuid(3), uuid(4)]),
    "the other way round": ([uuid(1), uuid(2)], [uuid(4), uuid(3)]),
    "out of order inside": ([uuid(1), uuid(2)], [uuid(3), uuid(9), uuid(4), uuid(10)]),
    "an id twice": ([uuid(1), uuid(2)], [uuid(3), uuid(3)]),
    "beyond the job": ([uuid(1), uuid(2)], [uuid(3), uuid(21)]),
    "a text twice": (["a", "b"], ["c", "d", "c"]),
}


@pytest.mark.parametrize("how", ["in one statement", "in one transaction", "in two transactions"])
@pytest.mark.parametrize("what", LISTED)
async def test_a_listed_batch_continues_the_planning_of_its_job(
    planner: asyncpg.Connection, owner: asyncpg.Connection, what: str, how: str
) -> None:
    planned, forged = LISTED[what]
    texts = planned[0] == "a"
    job = await add_job(owner, keys=1, id_type="text" if texts else "uuid")
    await start_job(planner, job.job_no, upper_id="z" if texts else uuid(20))
    add = (
        "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids) "
        "SELECT $1, number, cardinality(ids), ids[1], ids[cardinality(ids)], ids "
        "FROM (VALUES ($2::bigint, $3::text[]), ($2::bigint + 1, $4::text[])) AS b (number, ids) WHERE ids IS NOT NULL"
    )
    follow = "UPDATE vaultstream.jobs SET next_batch_no = 2, planned_id = coalesce($2, planned_id) WHERE job_no = $1"
    attempt = planner.transaction()
    await attempt.start()
    if how == "in one statement":
        with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
            await planner.execute(add, job.job_no, 1, planned, forged)
    else:
        await planner.execute(add, job.job_no, 1, planned, None)
        await planner.execute(follow, job.job_no, planned[-1] if how == "in two transactions" else None)
        if how == "in two transactions":
            await attempt.commit()
            attempt = planner.transaction()
            await attempt.start()
        with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
            await planner.execute(add, job.job_no, 2, forged, None)
    await attempt.rollback()
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


@pytest.mark.parametrize(("id_type", "ids"), [("uuid", [uuid(3), uuid(4)]), ("text", ["a", "b"])])
@pytest.mark.parametrize("moved", ["next_batch_no = 2", None])
async def test_a_listed_batch_and_the_checkpoint_after_it_belong_to_one_transaction(
    planner: asyncpg.Connection, owner: asyncpg.Connection, id_type: str, ids: list[str], moved: str | None
) -> None:
    job = await add_job(owner, keys=1, id_type=id_type)
    await start_job(planner, job.job_no, upper_id=ids[-1])
    attempt = planner.transaction()
    await attempt.start()
    await planner.execute(PLAN, job.job_no, 1, 2, ids[0], ids[-1], ids)
    if moved:
        await planner.execute(f"UPDATE vaultstream.jobs SET {moved} WHERE job_no = $1", job.job_no)
    with pytest.raises(asyncpg.CheckViolationError, match="not followed"):
        await attempt.commit()
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


async def test_what_the_checkpoint_has_passed_is_not_planned_later(
    planner: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    await planner.execute("UPDATE vaultstream.jobs SET planned_id = '15' WHERE job_no = $1", job.job_no)
    with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
        await planner.execute(PLAN, job.job_no, 3, 5, "11", "15", None)
    job = await add_job(owner, keys=1, id_type="uuid")
    await start_job(planner, job.job_no, upper_id=uuid(20))
    await planner.execute(
        "UPDATE vaultstream.jobs SET planned_id = $2 WHERE job_no = $1", job.job_no, uuid(9)
    )
    with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
        await planner.execute(PLAN, job.job_no, 1, 1, uuid(8), uuid(8), [uuid(8)])
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


async def test_a_deleted_job_stays_as_it_is(
    planner: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    await owner.execute("SELECT vaultstream.delete_job($1, 'Retain')", job.job_no)
    before = await state_of(owner, job)
    with pytest.raises(asyncpg.CheckViolationError, match="it was deleted"):
        await planner.execute("UPDATE vaultstream.jobs SET message = 'mine' WHERE job_no = $1", job.job_no)
    assert await state_of(owner, job) == before


async def test_a_job_runs_from_a_start(planner: asyncpg.Connection, owner: asyncpg.Connection) -> None:
    fresh = await add_job(owner, keys=1)
    with pytest.raises(asyncpg.CheckViolationError, match="has not started"):
        await planner.execute("UPDATE vaultstream.jobs SET state = 'Running' WHERE job_no = $1", fresh.job_no)
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", fresh.job_no)


@pytest.mark.parametrize(
    "ending", ["state = 'Complete'", "state = 'Failed'", "planned = true", "deleted_at = now()"]
)
async def test_a_job_that_is_planned_or_has_ended_gets_no_batch(
    planner: asyncpg.Connection, owner: asyncpg.Connection, job: Job, ending: str
) -> None:
    await owner.execute(f"UPDATE vaultstream.jobs SET {ending} WHERE job_no = $1", job.job_no)
    with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
        await planner.execute(PLAN, job.job_no, 3, 5, "11", "15", None)


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
    planner: asyncpg.Connection, owner: asyncpg.Connection, job: Job, change: str
) -> None:
    before = await state_of(owner, job)
    with pytest.raises(asyncpg.CheckViolationError):
        await planner.execute(f"UPDATE vaultstream.jobs SET {change} WHERE job_no = $1", job.job_no)
    assert await state_of(owner, job) == before


async def test_what_is_no_id_is_planned_nowhere(planner: asyncpg.Connection, job: Job) -> None:
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        await planner.execute(PLAN, job.job_no, 3, 3, "11", "14", ["11", "abc", "14"])


@pytest.mark.parametrize("moved", ["next_batch_no = 4", "planned_id = '15'", None])
async def test_a_batch_and_the_checkpoint_after_it_belong_to_one_transaction(
    planner: asyncpg.Connection, owner: asyncpg.Connection, job: Job, moved: str | None
) -> None:
    before = await state_of(owner, job)
    attempt = planner.transaction()
    await attempt.start()
    await planner.execute(PLAN, job.job_no, 3, 5, "11", "15", None)
    if moved:
        await planner.execute(f"UPDATE vaultstream.jobs SET {moved} WHERE job_no = $1", job.job_no)
    with pytest.raises(asyncpg.CheckViolationError, match="not followed"):
        await attempt.commit()
    assert await state_of(owner, job) == before


async def test_the_records_of_the_batch_before_are_not_planned_again_in_one_transaction(
    planner: asyncpg.Connection, job: Job
) -> None:
    attempt = planner.transaction()
    await attempt.start()
    await planner.execute(PLAN, job.job_no, 3, 5, "11", "15", None)
    await planner.execute("UPDATE vaultstream.jobs SET next_batch_no = 4 WHERE job_no = $1", job.job_no)
    with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
        await planner.execute(PLAN, job.job_no, 4, 5, "11", "15", None)
    await attempt.rollback()


async def test_a_job_that_started_gets_no_other_end_by_a_pause(
    database: GuardedDatabase, planner: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    async def refuse(login: asyncpg.Connection, change: str, reason: str) -> None:
        with pytest.raises(asyncpg.CheckViolationError, match=reason):
            await login.execute(f"UPDATE vaultstream.jobs SET {change} WHERE job_no = $1", job.job_no)

    await refuse(planner, "state = 'Suspended'", "only the operator")
    async with connect(database.urls["operator"]) as operator:
        await set_suspended(operator, job.job_no, suspended=True)
        for state in ("Running", "Pending"):
            await refuse(planner, f"state = '{state}'", "only the operator")
        await refuse(operator, "state = 'Pending'", "it has started")
        await set_suspended(operator, job.job_no, suspended=False)
    assert (await get_job(owner, job.token)).state == "Running"
    await owner.execute("UPDATE vaultstream.jobs SET state = 'Pending' WHERE job_no = $1", job.job_no)
    await refuse(planner, "upper_id = '99'", "highest id")


async def test_a_lock_on_the_row_of_a_job_holds_up_no_pause_without_end_and_is_named(
    database: GuardedDatabase,
    owner: asyncpg.Connection,
    planner: asyncpg.Connection,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vaultstream.store.jobs.LOCK_WAIT", "500ms")
    overdue = {**job.spec.dump(), "activeDeadlineSeconds": 1}
    await owner.execute(
        "UPDATE vaultstream.jobs SET spec = $2, started_at = now() - interval '1 hour' WHERE job_no = $1",
        job.job_no,
        overdue,
    )
    pid = planner.get_server_pid()
    attempt = planner.transaction()
    await attempt.start()
    await planner.fetch("SELECT FROM vaultstream.jobs FOR UPDATE")
    async with connect(database.urls["operator"]) as operator:
        for change in (
            set_suspended(operator, job.job_no, suspended=True),
            update_spec(operator, job.job_no, job.spec),
            fail_overdue_job(operator, replace(job, spec=SigningJobSpec.model_validate(overdue))),
        ):
            with pytest.raises(LockedError, match=f"process {pid} of the user {database.logins['records']}"):
                await change
        await attempt.rollback()
        await set_suspended(operator, job.job_no, suspended=True)


async def test_an_old_snapshot_completes_no_job(
    database: GuardedDatabase, planner: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    await owner.execute(
        "UPDATE vaultstream.batches SET state = 'done', signed = records WHERE job_no = $1", job.job_no
    )
    async with connect(database.urls["records"]) as old:
        await old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await old.fetchval("SELECT count(*) FROM vaultstream.batches")
        with pytest.raises(asyncpg.CheckViolationError, match="READ COMMITTED"):
            await old.execute(
                "UPDATE vaultstream.jobs SET planned = true, state = 'Complete' WHERE job_no = $1", job.job_no
            )
        await old.execute("ROLLBACK; BEGIN ISOLATION LEVEL SERIALIZABLE")
        with pytest.raises(asyncpg.CheckViolationError, match="READ COMMITTED"):
            await old.execute(PLAN, job.job_no, 3, 5, "11", "15", None)


async def test_the_times_of_a_job_are_those_of_the_clock_of_postgres(
    planner: asyncpg.Connection, owner: asyncpg.Connection, job: Job
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


async def test_planned_is_said_once(planner: asyncpg.Connection, owner: asyncpg.Connection, job: Job) -> None:
    await owner.execute("UPDATE vaultstream.jobs SET planned = true WHERE job_no = $1", job.job_no)
    for change in ("planned = false", "planned_id = '20'"):
        with pytest.raises(asyncpg.CheckViolationError):
            await planner.execute(f"UPDATE vaultstream.jobs SET {change} WHERE job_no = $1", job.job_no)


async def test_no_operator_of_one_s_own_turns_the_guard_around(
    database: GuardedDatabase, planner: asyncpg.Connection, owner: asyncpg.Connection, job: Job
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
                "UPDATE vaultstream.jobs SET published_through = 0 WHERE job_no = $1", job.job_no
            )
    finally:
        await planner.execute("DROP OPERATOR tricks.< (bigint, bigint); DROP FUNCTION tricks.never")
        await owner.execute("DROP SCHEMA tricks")
