"""What someone who has the login of the records workers tries: on the plan of a job, which are its batches and checkpoints."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from support.engine import add_job, add_table, open_sources
from support.guarded import GuardedDatabase
from support.log_of_seals import LogOfSeals
from support.records_login import PLAN, state_of
from vaultstream.records.source import open_readable_source
from vaultstream.store.attestations import (
    AttestationKind,
    AttestedCheckpoint,
    add_attestation,
    newest_attested,
)
from vaultstream.store.batches import highest_id, move_published, plan_page
from vaultstream.store.jobs import (
    Job,
    complete_job_if_settled,
    get_job,
    start_job,
)
from vaultstream.store.logs import find_log
from vaultstream.store.sql import query

pytestmark = pytest.mark.integration


async def sealed(planner: asyncpg.Connection, job: Job) -> AttestedCheckpoint:
    """Seals a job in a log of its own; returns the checkpoint, which may be attested."""
    log = LogOfSeals(planner)
    await log.seal(job)
    found = await find_log(planner, log.origin)
    assert found is not None
    checkpoint = await newest_attested(planner, found)
    assert checkpoint is not None
    return checkpoint


async def test_false_attestations_of_a_checkpoint_are_few(
    planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job
) -> None:
    checkpoint = await sealed(planner, planned_job)
    kind = AttestationKind.COSIGNATURE

    async def add(attester: str, value: bytes) -> None:
        await add_attestation(planner, checkpoint, kind, attester, value)

    for number in range(32):
        await add("one", b"false %d" % number)
    await add("one", b"false 1")  # once more
    with pytest.raises(asyncpg.ConfigurationLimitExceededError):
        await add("one", b"another")
    for number in range(31):
        await add(f"witness {number}", b"false")
    with pytest.raises(asyncpg.ConfigurationLimitExceededError):
        await add("one more", b"false")
    await add("witness 1", b"of one that is known")
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await add("witness 2", bytes(2001))
    count = "SELECT count(*) FROM vaultstream.attestations WHERE checkpoint_no = $1"
    assert await owner.fetchval(count, checkpoint.checkpoint_no) == 32 + 31 + 1


async def test_no_attestation_is_counted_from_an_old_snapshot(
    planner: asyncpg.Connection, planned_job: Job
) -> None:
    checkpoint = await sealed(planner, planned_job)
    async with planner.transaction(isolation="repeatable_read"):
        with pytest.raises(asyncpg.InvalidParameterValueError, match="READ COMMITTED"):
            await planner.execute(
                query("add_attestation"), checkpoint.checkpoint_no, "cosignature", "one", b"false"
            )


async def test_the_records_worker_s_own_way_is_open(
    database: GuardedDatabase, planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job
) -> None:
    async with open_sources(database.urls["records"], database.urls["source"]) as sources:
        source = await open_readable_source(sources, planned_job)
        assert await highest_id(sources, source) == "25"
        page = await plan_page(planner, sources, await get_job(planner, planned_job.token), source)
    assert (page.records, page.batches, page.finished) == (15, 3, True)
    await move_published(planner, planned_job.job_no, 5)
    await owner.execute(
        "UPDATE vaultstream.batches SET state = 'done', signed = records WHERE job_no = $1",
        planned_job.job_no,
    )
    assert await complete_job_if_settled(planner, planned_job.job_no)


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
    planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job, batch: tuple[Any, ...]
) -> None:
    before = await state_of(owner, planned_job)
    with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
        await planner.execute(PLAN, planned_job.job_no, *batch)
    assert await state_of(owner, planned_job) == before


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
    planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job
) -> None:
    await planner.execute(
        "UPDATE vaultstream.jobs SET planned_id = '15' WHERE job_no = $1", planned_job.job_no
    )
    with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
        await planner.execute(PLAN, planned_job.job_no, 3, 5, "11", "15", None)
    job = await add_job(owner, keys=1, id_type="uuid")
    await start_job(planner, job.job_no, upper_id=uuid(20))
    await planner.execute(
        "UPDATE vaultstream.jobs SET planned_id = $2 WHERE job_no = $1", job.job_no, uuid(9)
    )
    with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
        await planner.execute(PLAN, job.job_no, 1, 1, uuid(8), uuid(8), [uuid(8)])
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


@pytest.mark.parametrize(
    "ending", ["state = 'Complete'", "state = 'Failed'", "planned = true", "deleted_at = now()"]
)
async def test_a_job_that_is_planned_or_has_ended_gets_no_batch(
    planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job, ending: str
) -> None:
    await owner.execute(f"UPDATE vaultstream.jobs SET {ending} WHERE job_no = $1", planned_job.job_no)
    with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
        await planner.execute(PLAN, planned_job.job_no, 3, 5, "11", "15", None)


async def test_what_is_no_id_is_planned_nowhere(planner: asyncpg.Connection, planned_job: Job) -> None:
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        await planner.execute(PLAN, planned_job.job_no, 3, 3, "11", "14", ["11", "abc", "14"])


@pytest.mark.parametrize("ends", [(" 11", "15"), ("0xb", "15"), ("11", "1_5"), ("+11", "15"), ("11", "15\n")])
async def test_a_number_that_is_written_in_another_way_is_planned_nowhere(
    planner: asyncpg.Connection, planned_job: Job, ends: tuple[str, str]
) -> None:
    """No signer and no auditor would understand it."""
    attempt = planner.transaction()
    await attempt.start()
    with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
        await planner.execute(PLAN, planned_job.job_no, 3, 5, *ends, None)
    await attempt.rollback()


@pytest.mark.parametrize(
    ("id_type", "upper"), [("bigint", " 0x7D0 "), ("bigint", "abc"), ("uuid", "{" + "A" * 32 + "}")]
)
async def test_a_job_has_no_highest_id_that_is_written_in_another_way(
    planner: asyncpg.Connection, owner: asyncpg.Connection, id_type: str, upper: str
) -> None:
    job = await add_job(owner, await add_table(owner, [], id_type=id_type), keys=1, id_type=id_type)
    with pytest.raises((asyncpg.CheckViolationError, asyncpg.InvalidTextRepresentationError)):
        await planner.execute(
            "UPDATE vaultstream.jobs SET state = 'Running', started_at = now(), upper_id = $2 WHERE job_no = $1",
            job.job_no,
            upper,
        )
    assert await owner.fetchval("SELECT upper_id FROM vaultstream.jobs WHERE job_no = $1", job.job_no) is None


@pytest.mark.parametrize("moved", ["next_batch_no = 4", "planned_id = '15'", None])
async def test_a_batch_and_the_checkpoint_after_it_belong_to_one_transaction(
    planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job, moved: str | None
) -> None:
    before = await state_of(owner, planned_job)
    attempt = planner.transaction()
    await attempt.start()
    await planner.execute(PLAN, planned_job.job_no, 3, 5, "11", "15", None)
    if moved:
        await planner.execute(f"UPDATE vaultstream.jobs SET {moved} WHERE job_no = $1", planned_job.job_no)
    with pytest.raises(asyncpg.CheckViolationError, match="not followed"):
        await attempt.commit()
    assert await state_of(owner, planned_job) == before


async def test_the_records_of_the_batch_before_are_not_planned_again_in_one_transaction(
    planner: asyncpg.Connection, planned_job: Job
) -> None:
    attempt = planner.transaction()
    await attempt.start()
    await planner.execute(PLAN, planned_job.job_no, 3, 5, "11", "15", None)
    await planner.execute(
        "UPDATE vaultstream.jobs SET next_batch_no = 4 WHERE job_no = $1", planned_job.job_no
    )
    with pytest.raises(asyncpg.CheckViolationError, match="does not continue"):
        await planner.execute(PLAN, planned_job.job_no, 4, 5, "11", "15", None)
    await attempt.rollback()
