"""What was done to a job is recorded by the functions that do it: once, in their transactions, numbered without a gap."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_batches, add_job, claim_one, commit, new_name, signed, waits_for_a_lock
from vaultstream.errors import UnknownJobError
from vaultstream.proof.entries import AuditEntry
from vaultstream.store import audit_events, jobs, keys

pytestmark = pytest.mark.integration


async def actions_of(db: asyncpg.Connection, job: jobs.Job) -> list[tuple[str, dict[str, str]]]:
    events = await audit_events.list_audit_events(db, job.job_no)
    return [(event.action, dict(event.arguments)) for event in events]


async def add_material(db: asyncpg.Connection, job: jobs.Job) -> None:
    await db.execute(
        "INSERT INTO vaultstream.key_material SELECT key_no, 1, 'kek-1', 'secret' FROM vaultstream.keys WHERE job_no = $1",
        job.job_no,
    )


async def test_each_action_is_recorded_with_its_login_time_and_arguments(db: asyncpg.Connection) -> None:
    before = await db.fetchval("SELECT clock_timestamp()")
    job = await add_job(db, batchSize=2)
    await add_batches(db, job, [1, 2])
    await add_material(db, job)
    lease = await claim_one(db, job, "ann", 1)
    await commit(db, job, signed(1, lease, [1], dead=[2]))
    await jobs.set_suspended(db, job.job_no, suspended=True)
    await jobs.set_suspended(db, job.job_no, suspended=False)
    await jobs.update_spec(
        db, job.job_no, job.spec.model_copy(update={"active_deadline_seconds": 9000, "suspend": True})
    )
    assert await jobs.retry_dead(db, job) == 1
    first, second, third = (f"{job.token}-{n}" for n in (1, 2, 3))
    await keys.end_keys(db, job.job_no, [second, first], state="revoked")
    await keys.end_keys(db, job.job_no, [second, third], state="retired")
    await db.execute(
        "UPDATE vaultstream.key_material m SET version = 2, kek_id = 'kek-2' FROM vaultstream.keys k "
        "WHERE k.key_no = m.key_no AND k.job_no = $1",
        job.job_no,
    )
    await db.execute("CREATE TABLE IF NOT EXISTS nowhere (id bigint, payload text)")
    oid = await db.fetchval("SELECT 'nowhere'::regclass::oid")
    await jobs.accept_source(db, job.job_no, oid)
    assert await audit_events.record_export(db, job.job_no, {"what": "jsonl"})
    await jobs.delete_job(db, job.job_no, "Retain")
    await jobs.delete_job(db, job.job_no, "Retain")
    await jobs.delete_job(db, job.job_no, "Delete")
    after = await db.fetchval("SELECT clock_timestamp()")

    assert await actions_of(db, job) == [
        (
            "create",
            {"job": job.name, "table": "nowhere", "algorithm": "ED25519", "keys": "3", "batchSize": "2"},
        ),
        ("suspend", {}),
        ("resume", {}),
        ("update", {"fields": "activeDeadlineSeconds suspend"}),
        ("retry", {"records": "1"}),
        ("revoke", {"count": "2", "keys": f"{first} {second}"}),
        ("retire", {"count": "1", "keys": third}),
        ("rewrap", {"count": "3", "kek": "kek-2", "keys": f"{first} {second} {third}"}),
        ("accept-source", {"oid": str(oid), "formerOid": str(job.source_oid)}),
        ("export", {"what": "jsonl"}),
        ("delete", {"policy": "Retain"}),
        ("delete", {"policy": "Delete"}),
    ]
    events = await audit_events.list_audit_events(db, job.job_no)
    assert {event.login for event in events} == {await db.fetchval("SELECT session_user::text")}
    times = [event.at for event in events]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= after
    assert [event.number for event in events] == list(range(1, 13))
    assert await audit_events.audit_events_after(db, job.job_no, 10) == events[10:]
    assert await audit_events.audit_events_after(db, job.job_no, 3, limit=2) == events[3:5]
    assert await audit_events.list_audit_events(db, job.job_no, limit=2) == events[-2:]
    assert await audit_events.count_audit_events(db, job.job_no) == 12


async def test_a_job_is_adopted_by_a_tenant_once_and_its_events_with_it(db: asyncpg.Connection) -> None:
    job = await add_job(db)
    name = new_name("team").replace("_", "-")
    await db.execute("ALTER TABLE vaultstream.jobs DISABLE TRIGGER guard")
    try:
        await db.execute("UPDATE vaultstream.jobs SET name = $2 || '/a' WHERE job_no = $1", job.job_no, name)
    finally:
        await db.execute("ALTER TABLE vaultstream.jobs ENABLE TRIGGER guard")
    for tenant in ("another", name, name):
        await jobs.adopt_job(db, job.job_no, tenant)
    assert (await actions_of(db, job))[1:] == [("adopt", {"tenant": name})]
    assert (await audit_events.get_audited_job(db, job.token)).tenant == name


async def test_what_changes_nothing_and_what_is_undone_is_no_event(db: asyncpg.Connection) -> None:
    job = await add_job(db)
    await add_material(db, job)
    await jobs.set_suspended(db, job.job_no, suspended=False)
    await jobs.update_spec(db, job.job_no, job.spec)
    await jobs.set_message(db, job.job_no, "waits")
    await keys.end_keys(db, job.job_no, ["another"], state="revoked")
    assert await jobs.retry_dead(db, job) == 0
    await keys.replace_wrapped(db, [])
    undone = db.transaction()
    await undone.start()
    await keys.end_keys(db, job.job_no, [f"{job.token}-1"], state="revoked")
    await undone.rollback()
    await jobs.set_suspended(db, job.job_no, suspended=True)
    assert [
        (event.number, event.action) for event in await audit_events.list_audit_events(db, job.job_no)
    ] == [
        (1, "create"),
        (2, "suspend"),
    ]


async def test_long_and_odd_arguments_are_cut_and_fit_into_an_entry_of_a_log(db: asyncpg.Connection) -> None:
    job = await add_job(db, keys=0)
    evil = 'a\x1b[31m\u202e\n"\\'
    await db.execute(
        "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) "
        "SELECT $1, n, $2 || n, 'ED25519', '' FROM generate_series(1, 1000) AS n",
        job.job_no,
        evil,
    )
    ids = [key.key_id for key in await keys.list_keys(db, job.job_no)]
    await keys.end_keys(db, job.job_no, ids, state="retired")
    event = (await audit_events.list_audit_events(db, job.job_no))[-1]
    assert event.arguments["count"] == "1000"
    listed = event.arguments["keys"]
    assert (len(listed), listed[-1]) == (4000, "…")
    assert " ".join(ids).startswith(listed[:-1])
    entry = AuditEntry(
        job_token=job.token,
        number=event.number or 0,
        action=event.action,
        login=event.login,
        arguments=event.arguments,
        at=event.at,
    )
    assert AuditEntry.parse(entry.data) == entry


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_the_events_of_a_deleted_job_are_found_by_its_token_and_its_name(
    db: asyncpg.Connection, policy: str
) -> None:
    job = await add_job(db)
    await jobs.delete_job(db, job.job_no, policy)
    for name in (job.token, job.name):
        found = await audit_events.get_audited_job(db, name)
        assert (found.job_no, found.token, found.name, found.tenant) == (
            job.job_no,
            job.token,
            job.name,
            None,
        )
    assert [action for action, _ in await actions_of(db, job)] == ["create", "retire", "delete"]
    with pytest.raises(UnknownJobError):
        await audit_events.get_audited_job(db, "nobody-knows-it")


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM vaultstream.audit_events WHERE job_no = {0}",
        "UPDATE vaultstream.audit_events SET login = 'another' WHERE job_no = {0}",
        "UPDATE vaultstream.audit_events SET number = 7 WHERE job_no = {0}",
        "UPDATE vaultstream.audit_events SET number = NULL WHERE job_no = {0}",
        "UPDATE vaultstream.audit_events SET at = at - interval '1 year' WHERE job_no = {0}",
        "DELETE FROM vaultstream.audited_jobs WHERE job_no = {0}",
        "UPDATE vaultstream.audited_jobs SET events = 0 WHERE job_no = {0}",
        "UPDATE vaultstream.audited_jobs SET token = 'another' WHERE job_no = {0}",
        "TRUNCATE vaultstream.audit_events",
        "TRUNCATE vaultstream.audited_jobs",
        "SET session_replication_role = replica; DELETE FROM vaultstream.audit_events WHERE job_no = {0}",
    ],
)
async def test_not_even_the_owner_changes_or_removes_an_event_by_mistake(
    db: asyncpg.Connection, change: str
) -> None:
    job = await add_job(db)
    events = await audit_events.list_audit_events(db, job.job_no)
    with pytest.raises(asyncpg.CheckViolationError, match="only grows"):
        await db.execute(change.format(job.job_no))
    await db.execute("RESET session_replication_role")
    assert await audit_events.list_audit_events(db, job.job_no) == events
    assert (await audit_events.get_audited_job(db, job.token)).name == job.name


async def test_numbers_have_no_gap_whoever_writes_at_once_and_some_undo_it(
    db: asyncpg.Connection, engine_url: str
) -> None:
    job = await add_job(db)
    written, writers = 40, 8

    async def write(writer: int) -> None:
        async with connect(engine_url) as connection:
            for n in range(written):
                transaction = connection.transaction()
                await transaction.start()
                action = "export" if n % 2 else "rewrap"
                await connection.execute(
                    "SELECT vaultstream.record_event($1, $2, $3)",
                    job.job_no,
                    action,
                    {"what": f"{writer} {n}"},
                )
                await (transaction.commit() if n % 5 else transaction.rollback())

    await asyncio.gather(*(write(writer) for writer in range(writers)))
    kept = written - len(range(0, written, 5))
    assert await audit_events.number_audit_events(db, job.job_no) == writers * kept + 1
    events = await audit_events.list_audit_events(db, job.job_no)
    assert [event.number for event in events] == list(range(1, writers * kept + 2))
    for writer in range(writers):  # each sees its own in their order
        mine = [
            each for event in events if (each := event.arguments.get("what", "")).startswith(f"{writer} ")
        ]
        assert mine == [f"{writer} {n}" for n in range(written) if n % 5]


async def test_an_event_waits_for_no_other_and_gets_its_number_later(
    db: asyncpg.Connection, engine_url: str
) -> None:
    """Nor does a claim, a commit or a renewal: they write no event, and touch no row of these tables."""
    job = await add_job(db)
    await add_batches(db, job, [1], [2])
    async with connect(engine_url) as other, connect(engine_url) as third:
        await third.execute("SET lock_timeout = '100ms'; SET statement_timeout = '5s'")
        async with other.transaction():
            await keys.end_keys(other, job.job_no, [f"{job.token}-3"], state="retired")
            lease = await claim_one(third, job, "ann", 1)
            assert await commit(third, job, signed(1, lease, [1])) == ["committed"]
            await keys.end_keys(third, job.job_no, [f"{job.token}-2"], state="revoked")
            await jobs.set_suspended(third, job.job_no, suspended=True)
            assert await audit_events.number_audit_events(third, job.job_no) is None
            assert [
                (event.number, event.action) for event in await audit_events.list_audit_events(db, job.job_no)
            ] == [(1, "create"), (None, "revoke"), (None, "suspend")]
    assert await audit_events.number_audit_events(db, job.job_no) == 4
    assert await audit_events.number_audit_events(db, job.job_no) == 4
    numbered = await audit_events.audit_events_after(db, job.job_no, 0)
    assert [(event.number, event.action) for event in numbered] == [
        (1, "create"),
        (2, "retire"),
        (3, "revoke"),
        (4, "suspend"),
    ]


async def test_a_transaction_with_an_older_snapshot_writes_events_and_numbers_none(
    db: asyncpg.Connection, engine_url: str
) -> None:
    job = await add_job(db)
    async with connect(engine_url) as other:
        async with other.transaction(isolation="repeatable_read"):
            await other.fetchval("SELECT count(*) FROM vaultstream.jobs")
            await jobs.set_suspended(db, job.job_no, suspended=True)
            await keys.end_keys(other, job.job_no, [f"{job.token}-1"], state="retired")
        events = await audit_events.list_audit_events(db, job.job_no)
        assert [(event.number, event.action) for event in events] == [
            (1, "create"),
            (2, "suspend"),
            (None, "retire"),
        ]
    assert await audit_events.number_audit_events(db, job.job_no) == 3


async def test_a_deletion_and_a_rewrap_of_the_same_keys_do_not_deadlock(
    db: asyncpg.Connection, engine_url: str
) -> None:
    """Both write an event in the midst of their locks."""
    job = await add_job(db)
    await add_material(db, job)
    async with connect(engine_url) as other, connect(engine_url) as third:
        async with other.transaction():
            await other.fetch(
                "SELECT FROM vaultstream.key_material JOIN vaultstream.keys USING (key_no) WHERE key_id = $1 FOR UPDATE OF key_material",
                f"{job.token}-1",
            )
            deletion = asyncio.create_task(jobs.delete_job(third, job.job_no, "Delete"))
            await waits_for_a_lock(db)
            await other.execute(
                "UPDATE vaultstream.key_material m SET version = 2 FROM vaultstream.keys k "
                "WHERE k.key_no = m.key_no AND k.key_id = $1",
                f"{job.token}-1",
            )
        await deletion
    actions = [action for action, _ in await actions_of(db, job)]
    assert sorted(actions) == ["create", "delete", "retire", "rewrap"]
