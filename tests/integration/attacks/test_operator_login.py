"""What someone who has the operator's login tries: on what a job signs, on its state, and on its dead letters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_batches, add_job, claim_one, make_spec, signed
from support.guarded import GuardedDatabase
from vaultstream.doctor.findings import Level
from vaultstream.doctor.jobs import judge_specs
from vaultstream.errors import InvalidJobError, LockedError
from vaultstream.scaling.kept import KeptDecision
from vaultstream.store import lockers
from vaultstream.store.decisions import keep_decision, list_decisions
from vaultstream.store.jobs import (
    Job,
    get_job,
    list_jobs,
    read_stored_jobs,
    retry_dead,
    set_suspended,
    update_spec,
)
from vaultstream.store.leases import COMMITTED, commit_batches

pytestmark = pytest.mark.integration


@pytest.fixture
async def job(owner: asyncpg.Connection) -> AsyncIterator[Job]:
    """A running job with a record that is a dead letter and a batch that is pending."""
    job = await add_job(owner, "receipts", keys=1)
    await add_batches(owner, job, [1, 2], [3])
    lease = await claim_one(owner, job, "ann", 1)
    batch = signed(1, lease, [1], dead=[2])
    assert await commit_batches(owner, job.job_no, "ann", [batch], id_type="bigint") == [COMMITTED]
    yield job
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


@pytest.fixture
async def operator(database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with connect(database.urls["operator"]) as connection:
        yield connection


CREATE = "SELECT vaultstream.create_job($1, $2, $3, 'bigint', p_source_oid => $4)"


@pytest.fixture
async def source(owner: asyncpg.Connection) -> int:
    """The oid of the table that `make_spec` names."""
    await owner.execute("CREATE TABLE IF NOT EXISTS nowhere (id bigint, payload text)")
    oid: int = await owner.fetchval("SELECT 'nowhere'::regclass::oid")
    return oid


async def row_of(owner: asyncpg.Connection, job: Job) -> dict[str, Any]:
    return dict(await owner.fetchrow("SELECT * FROM vaultstream.jobs WHERE job_no = $1", job.job_no) or {})


@pytest.mark.parametrize(
    "changed",
    [
        {"records": {"table": "salaries"}},
        {"records": {"table": "receipts", "idColumn": "other"}},
        {"records": {"table": "receipts", "maxPayloadBytes": 1}},
        {"batchSize": 1},
        {"signature": {"refuseTokens": True}},
        {"keys": {"count": 1, "algorithm": "ML_DSA_65"}},
        {"retries": {"maxAttempts": 0}},
        {"retries": []},
        {"retries": {"backoff": 5}},
        {"retries": {"maxAttempts": "5"}},
        {"signer": 7},
        {"scaling": []},
        {"activeDeadlineSeconds": "soon"},
        {"activeDeadlineSeconds": -1},
        {"activeDeadlineSeconds": 1.5},
        {"activeDeadlineSeconds": 60.0},
        {"finishWithin": 0},
        {"ttlSecondsAfterFinished": 0.5},
        {"unknown": 1},
        {"signer": {"affinity": {"x": "y" * 300_000}}},
        {"records": None},
    ],
    ids=lambda changed: json.dumps(changed)[:60],
)
async def test_a_job_can_not_be_pointed_at_other_records_or_signed_in_another_way(
    operator: asyncpg.Connection, owner: asyncpg.Connection, job: Job, changed: dict[str, Any]
) -> None:
    before = await row_of(owner, job)
    with pytest.raises(asyncpg.CheckViolationError):
        await operator.execute(
            "UPDATE vaultstream.jobs SET spec = spec || $2 WHERE job_no = $1", job.job_no, changed
        )
    assert await row_of(owner, job) == before


async def test_what_a_job_was_created_with_is_fixed_for_everyone(owner: asyncpg.Connection, job: Job) -> None:
    """Not even its owner changes it without dropping the trigger first."""
    for change in (
        "spec = jsonb_set(spec, '{records,table}', '\"salaries\"')",
        "token = 'another'",
        "name = 'another'",
        "id_type = 'text'",
        "created_at = now()",
    ):
        with pytest.raises(asyncpg.CheckViolationError, match="can't be changed"):
            await owner.execute(f"UPDATE vaultstream.jobs SET {change} WHERE job_no = $1", job.job_no)


@pytest.mark.parametrize(
    "change", ["tenant = 'bank'", "deleted_at = now()", "source_oid = 'pg_class'::regclass"]
)
async def test_what_is_left_to_functions_is_refused_with_a_grant_too_many(
    database: GuardedDatabase, operator: asyncpg.Connection, owner: asyncpg.Connection, job: Job, change: str
) -> None:
    columns = "UPDATE (tenant, deleted_at, source_oid) ON vaultstream.jobs"
    login = database.logins["operator"]
    await owner.execute(f"GRANT {columns} TO {login}")
    try:
        with pytest.raises(asyncpg.CheckViolationError, match="only its functions"):
            await operator.execute(f"UPDATE vaultstream.jobs SET {change} WHERE job_no = $1", job.job_no)
    finally:
        await owner.execute(f"REVOKE {columns} FROM {login}")


async def test_the_other_fields_of_a_spec_can_be_changed(operator: asyncpg.Connection, job: Job) -> None:
    spec = make_spec(
        "receipts",
        key_count=1,
        scaling={"maxReplicaCount": 7},
        retries={"maxAttempts": 9},
        workers={"nodeSelector": {"pool": "signing"}},
        signer={"nodeSelector": {"pool": "signing"}},
    )
    await update_spec(operator, job.job_no, spec)
    assert (await get_job(operator, job.token)).spec == spec
    for suspended in (True, False):
        await set_suspended(operator, job.job_no, suspended=suspended)


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ("Running", "state = 'Complete', finished_at = now()"),
        ("Running", "state = 'Pending'"),
        ("Running", "state = 'Failed', finished_at = now()"),
        ("Running", "finished_at = now()"),
        ("Complete", "state = 'Running', finished_at = NULL"),
        ("Complete", "state = 'Suspended'"),
        ("Complete", "finished_at = NULL"),
        ("Failed", "state = 'Running'"),
        ("Failed", "state = 'Complete'"),
    ],
)
async def test_a_job_neither_ends_before_its_time_nor_comes_back_after_it(
    operator: asyncpg.Connection, owner: asyncpg.Connection, job: Job, before: str, change: str
) -> None:
    await owner.execute(
        "UPDATE vaultstream.jobs SET state = $2, finished_at = CASE WHEN $2 <> 'Running' THEN now() END WHERE job_no = $1",
        job.job_no,
        before,
    )
    with pytest.raises(asyncpg.CheckViolationError):
        await operator.execute(f"UPDATE vaultstream.jobs SET {change} WHERE job_no = $1", job.job_no)
    assert (await row_of(owner, job))["state"] == before


async def test_a_job_fails_when_its_active_deadline_is_over(
    operator: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    await update_spec(operator, job.job_no, make_spec("receipts", key_count=1, activeDeadlineSeconds=60))
    await owner.execute(
        "UPDATE vaultstream.jobs SET started_at = now() - interval '61 s' WHERE job_no = $1", job.job_no
    )
    await operator.execute(
        "UPDATE vaultstream.jobs SET state = 'Failed', finished_at = now() WHERE job_no = $1", job.job_no
    )


@pytest.mark.parametrize(
    "spec",
    [{}, [], "text", None, {"batchSize": 0}, {"keys": {"count": 0}}, {"records": {}}, {"signature": "none"}],
    ids=json.dumps,
)
async def test_a_job_has_a_spec_that_the_functions_can_use(
    operator: asyncpg.Connection, source: int, spec: Any
) -> None:
    whole = make_spec().dump()
    given = {**whole, **spec} if spec and isinstance(spec, dict) else spec
    with pytest.raises((asyncpg.CheckViolationError, asyncpg.NotNullViolationError)):
        await operator.execute(CREATE, "a-token", "a-name", given, source)


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("a.b", "n"),
        ("*", "n"),
        (">", "n"),
        ("a b", "n"),
        ("", "n"),
        ("x" * 65, "n"),
        ("t", ""),
        ("t", "a\x1b[2J"),
    ],
)
async def test_a_job_is_named_so_that_subjects_and_terminals_can_bear_it(
    operator: asyncpg.Connection, source: int, token: str, name: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await operator.execute(CREATE, token, name, make_spec().dump(), source)


async def test_a_retry_keeps_the_trace_of_what_it_clears_and_cuts_batches_as_the_job_does(
    database: GuardedDatabase, operator: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await operator.execute("SELECT vaultstream.retry_dead($1, 0)", job.job_no)
    assert await retry_dead(operator, job) == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await operator.execute("DELETE FROM vaultstream.cleared_dead_letters")
    cleared = await owner.fetch(
        "SELECT record_id, batch_no, reason, cleared_by FROM vaultstream.cleared_dead_letters WHERE job_no = $1",
        job.job_no,
    )
    assert [tuple(row) for row in cleared] == [("2", 1, "PayloadNull", database.logins["operator"])]


@pytest.mark.parametrize("ending", ["state = 'Failed'", "deleted_at = now()"])
async def test_a_retry_brings_no_failed_or_deleted_job_back(
    operator: asyncpg.Connection, owner: asyncpg.Connection, job: Job, ending: str
) -> None:
    await owner.execute(f"UPDATE vaultstream.jobs SET {ending} WHERE job_no = $1", job.job_no)
    before = await row_of(owner, job)
    assert await retry_dead(operator, job) == 0
    assert await row_of(owner, job) == before


@pytest.mark.parametrize("policy", ["delete", "", None])
async def test_a_job_is_deleted_by_a_policy_that_exists(
    operator: asyncpg.Connection, owner: asyncpg.Connection, job: Job, policy: str | None
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await operator.execute("SELECT vaultstream.delete_job($1, $2)", job.job_no, policy)
    assert (await row_of(owner, job))["deleted_at"] is None


async def test_no_job_is_created_without_its_relation(
    operator: asyncpg.Connection, owner: asyncpg.Connection, source: int
) -> None:
    for table in ("nowhere", "vaultstream.key_material", "pg_catalog.pg_authid"):
        for oid in (None, 0):
            with pytest.raises(asyncpg.InvalidParameterValueError, match="not a table or view"):
                await operator.execute(CREATE, "a-token", "a-name", make_spec(table).dump(), oid)
    with pytest.raises(asyncpg.InvalidParameterValueError, match="not a table or view"):
        await operator.execute(
            "SELECT vaultstream.create_job('a-token', 'a-name', $1, 'bigint')", make_spec().dump()
        )
    assert not await owner.fetchval("SELECT count(*) FROM vaultstream.jobs WHERE token = 'a-token'")
    await operator.execute(CREATE, "a-token", "a-name", make_spec().dump(), source)
    await owner.execute(
        "SELECT vaultstream.delete_job(job_no, 'Delete') FROM vaultstream.jobs WHERE token = 'a-token'"
    )


async def test_one_spec_that_no_reader_understands_hides_no_other_job(
    operator: asyncpg.Connection, owner: asyncpg.Connection, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    other = await add_job(owner, "receipts", keys=1)
    await operator.execute(
        "UPDATE vaultstream.jobs SET spec = jsonb_set(spec, '{signer,unknown}', '1') WHERE job_no = $1",
        job.job_no,
    )
    listed = [each.name for each in await list_jobs(operator)]
    assert other.name in listed
    assert job.name not in listed
    assert job.name in caplog.text
    with pytest.raises(InvalidJobError, match=job.name):
        await get_job(operator, job.name)


@pytest.mark.parametrize("ended", ["state = 'Complete'", "state = 'Failed'", "deleted_at = now()"])
async def test_a_spec_that_is_made_unreadable_hides_no_job_that_has_ended(
    operator: asyncpg.Connection, owner: asyncpg.Connection, job: Job, ended: str
) -> None:
    """What was signed, and how, is fixed: it can be verified and exported. `doctor` counts the job as failed in any case."""
    change = (
        "UPDATE vaultstream.jobs SET spec = jsonb_set(spec, '{signer,unknown}', '1') WHERE job_no = $1",
        job.job_no,
    )
    await operator.execute(*change)

    async def told() -> list[str]:
        found = judge_specs(*await read_stored_jobs(owner, deleted=True))
        return [
            each.message
            for each in found
            if each.level is Level.FAILED and f"Job {job.name}:" in each.message
        ]

    assert await told() == [f"Job {job.name}: spec.signer.unknown, as stored in Postgres, is invalid."]
    await owner.execute(f"UPDATE vaultstream.jobs SET {ended} WHERE job_no = $1", job.job_no)
    found = await get_job(operator, job.token)
    assert (found.unreadable, found.ended) == ("spec.signer.unknown", True)
    assert (found.spec.records, found.spec.keys, found.spec.batch_size, found.spec.signature) == (
        job.spec.records,
        job.spec.keys,
        job.spec.batch_size,
        job.spec.signature,
    )
    assert found in await list_jobs(operator, deleted=True)
    assert await told() == [f"Job {job.name}: spec.signer.unknown, as stored in Postgres, is invalid."]


@pytest.mark.parametrize(
    ("value", "why"), [('{"x": ' + "9" * 5000 + "}", "40 digits"), ("[" * 3000 + "]" * 3000, "too deeply")]
)
async def test_a_spec_beyond_the_limits_of_its_readers_is_refused_and_hides_no_job(
    operator: asyncpg.Connection, owner: asyncpg.Connection, job: Job, value: str, why: str
) -> None:
    change = (
        "UPDATE vaultstream.jobs SET spec = jsonb_set(spec, '{workers}', ($2::text)::jsonb) WHERE job_no = $1"
    )
    with pytest.raises(asyncpg.CheckViolationError, match=why):
        await operator.execute(change, job.job_no, '{"y": ' + value + "}")
    other = await add_job(owner, "receipts", keys=1)
    await owner.execute(
        "ALTER TABLE vaultstream.jobs DISABLE TRIGGER USER"
    )  # as from before there was such a check
    try:
        await owner.execute(change, job.job_no, value)
    finally:
        await owner.execute("ALTER TABLE vaultstream.jobs ENABLE TRIGGER USER")
    assert other.name in [each.name for each in await list_jobs(operator)]
    with pytest.raises(InvalidJobError, match=f"Job {job.name}: spec, as stored"):
        await get_job(operator, job.name)


@pytest.mark.parametrize(
    ("at", "decision"),
    [
        ("now()", "'{}'"),
        ("now()", "'[]'"),
        ("now()", "'null'"),
        ("now()", '\'{"replicas": "1", "desired": 2, "message": "x"}\''),
        ("'infinity'", '\'{"replicas": 1, "desired": 2, "message": "x"}\''),
    ],
)
async def test_what_is_no_decision_is_left_out_by_who_explains_a_job(
    database: GuardedDatabase, operator: asyncpg.Connection, job: Job, at: str, decision: str
) -> None:
    genuine = KeptDecision(1.0, {"replicas": 1, "desired": 2, "message": "x", "inputs": {}})
    await keep_decision(operator, job.job_no, genuine)
    await operator.execute(
        f"INSERT INTO vaultstream.decisions (job_no, at, decision) VALUES ($1, {at}, {decision}::jsonb)",
        job.job_no,
    )
    async with connect(database.urls["auditor"]) as auditor:
        assert [kept for _, kept in await list_decisions(auditor, job.job_no)] == [genuine]


async def test_who_locks_the_decisions_is_named_by_who_reads_them(
    database: GuardedDatabase, operator: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockers, "LOCK_WAIT", "500ms")
    named = f"process {operator.get_server_pid()} of the user {database.logins['operator']}"
    async with connect(database.urls["auditor"]) as auditor:
        async with operator.transaction():
            await operator.execute("LOCK TABLE vaultstream.decisions IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(LockedError, match=named):
                await asyncio.wait_for(list_decisions(auditor, 1), 60)
        assert await list_decisions(auditor, -1) == []
