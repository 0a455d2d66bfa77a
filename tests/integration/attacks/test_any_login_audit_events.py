"""What someone with any of the logins tries, so that nobody learns what they did to a job, or that another is blamed for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_batches, add_job, claim_one, commit, signed
from support.guarded import GuardedDatabase
from support.guarded_fixtures import TENANTS
from vaultstream.store import audit_events, jobs, keys
from vaultstream.store.jobs import Job
from vaultstream.store.roles import DatabaseRole

pytestmark = pytest.mark.integration


@pytest.fixture
async def job(owner: asyncpg.Connection) -> AsyncIterator[Job]:
    job = await add_job(owner, keys=3)
    await add_batches(owner, job, [1], [2])
    await owner.execute(
        "INSERT INTO vaultstream.key_material SELECT key_no, 1, 'kek', 'wrapped' FROM vaultstream.keys WHERE job_no = $1",
        job.job_no,
    )
    yield job
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


FORGERIES = """
INSERT INTO vaultstream.audit_events (job_no, action, login, at, arguments) VALUES ({no}, 'revoke', 'another', now(), '{{}}')
DELETE FROM vaultstream.audit_events WHERE job_no = {no}
UPDATE vaultstream.audit_events SET login = 'another' WHERE job_no = {no}
UPDATE vaultstream.audit_events SET number = number + 1 WHERE job_no = {no}
SELECT FROM vaultstream.audit_events WHERE job_no = {no} FOR SHARE
TRUNCATE vaultstream.audit_events
ALTER TABLE vaultstream.audit_events DISABLE TRIGGER ALL
LOCK TABLE vaultstream.audit_events IN SHARE MODE
INSERT INTO vaultstream.audited_jobs (job_no, token, name) VALUES (0, 'mine', 'mine')
DELETE FROM vaultstream.audited_jobs WHERE job_no = {no}
UPDATE vaultstream.audited_jobs SET events = events + 7 WHERE job_no = {no}
SELECT FROM vaultstream.audited_jobs WHERE job_no = {no} FOR UPDATE
LOCK TABLE vaultstream.audited_jobs IN SHARE MODE
ALTER TABLE vaultstream.jobs DISABLE TRIGGER audit
DROP TRIGGER audit ON vaultstream.key_material
SELECT vaultstream.record_event({no}, 'revoke', '{{}}')
"""


@pytest.mark.parametrize("part", [role.part for role in DatabaseRole])
async def test_no_login_forges_changes_hides_or_holds_up_an_event(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job, part: str
) -> None:
    events = await audit_events.list_audit_events(owner, job.job_no)
    async with connect(database.urls[part]) as connection:
        for forgery in FORGERIES.format(no=job.job_no).strip().splitlines():
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"BEGIN; {forgery}; COMMIT")
            await connection.execute("ROLLBACK")
    assert await audit_events.list_audit_events(owner, job.job_no) == events


DEEDS = {
    "suspend": ("operator", "UPDATE vaultstream.jobs SET state = 'Suspended' WHERE job_no = {no}"),
    "update": (
        "operator",
        """UPDATE vaultstream.jobs SET spec = spec || '{{"activeDeadlineSeconds": 7}}' WHERE job_no = {no}""",
    ),
    "delete": ("operator", "SELECT vaultstream.delete_job({no}, 'Retain')"),
    "revoke": ("keys", "SELECT vaultstream.end_keys({no}, '{{{token}-1}}', 'revoked')"),
    "rewrap": (
        "keys",
        """UPDATE vaultstream.key_material SET version = 2, kek_id = 'mine'
           WHERE key_no IN (SELECT key_no FROM vaultstream.keys WHERE job_no = {no})""",
    ),
    "export": ("auditor", "SELECT vaultstream.record_export({no}, '{{}}')"),
}
CUNNING = """
CREATE TEMPORARY TABLE audit_events (event_no int);
CREATE TEMPORARY TABLE audited_jobs (job_no int);
CREATE TEMPORARY TABLE rewrapped (key_no int, kek_id text);
CREATE FUNCTION pg_temp.record_event(int, text, jsonb) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION pg_temp.number_events(int) RETURNS bigint LANGUAGE sql AS 'SELECT 7';
CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$SELECT timestamptz '1970-01-01'$$;
SET search_path = pg_temp, pg_catalog;
SET application_name = 'somebody else';
SET ROLE vaultstream_{part};
SET CONSTRAINTS ALL DEFERRED;
"""


@pytest.mark.parametrize("action", DEEDS)
async def test_no_setting_and_no_object_of_a_session_keeps_what_it_does_from_being_recorded(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job, action: str
) -> None:
    """Nor what it says about who it is."""
    part, deed = DEEDS[action]
    before = await audit_events.list_audit_events(owner, job.job_no)
    async with connect(database.urls[part]) as connection:
        await connection.execute(CUNNING.format(part=part))
        for refused in (
            "SET session_replication_role = replica",
            f"SET SESSION AUTHORIZATION {database.logins['owner']}",
            f"SET ROLE {database.logins['owner']}",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(refused)
        async with connection.transaction():
            await connection.execute(deed.format(no=job.job_no, token=job.token))
    await audit_events.number_audit_events(owner, job.job_no)
    events = await audit_events.list_audit_events(owner, job.job_no)
    assert events[: len(before)] == before
    new = [event for event in events[len(before) :] if event.action != "retire"]  # of the deletion
    assert [(event.action, event.login) for event in new] == [(action, database.logins[part])]
    assert before[-1].at < new[0].at <= await owner.fetchval("SELECT clock_timestamp()")
    assert [event.number for event in events] == list(range(1, len(events) + 1))


async def test_what_is_taken_back_in_the_same_transaction_is_recorded_too(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job
) -> None:
    async with connect(database.urls["operator"]) as operator, operator.transaction():
        await jobs.set_suspended(operator, job.job_no, suspended=True)
        await jobs.set_suspended(operator, job.job_no, suspended=False)
    events = await audit_events.list_audit_events(owner, job.job_no)
    assert [event.action for event in events][-2:] == ["suspend", "resume"]


@pytest.mark.parametrize(
    "arguments",
    [
        None,
        "revoke",
        ["revoke"],
        {"what": {"action": "revoke"}},
        {"what": 1},
        {"what": "x" * 2000},
        {"ä": "x"},
        {"": "x"},
    ],
    ids=["NULL", "text", "array", "nested", "number", "long", "name", "no name"],
)
async def test_an_auditor_records_exports_and_nothing_else(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job, arguments: object
) -> None:
    async with connect(database.urls["auditor"]) as auditor:
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await auditor.execute("SELECT vaultstream.record_export($1, $2)", job.job_no, arguments)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await auditor.execute("SELECT vaultstream.record_export($1, $2)", 10**9, {})
        async with auditor.transaction(
            isolation="repeatable_read"
        ):  # it would show too few exports of the last hour
            with pytest.raises(asyncpg.InvalidParameterValueError, match="READ COMMITTED"):
                await auditor.execute("SELECT vaultstream.record_export($1, $2)", job.job_no, {})
        lie = {"action": "revoke", "login": "another", "number": "1", "at": "1970-01-01"}
        assert await audit_events.record_export(auditor, job.job_no, lie)
    last = (await audit_events.list_audit_events(owner, job.job_no))[-1]
    assert (last.action, last.login, last.arguments) == ("export", database.logins["auditor"], lie)
    assert last.number is None


async def test_an_auditor_fills_no_disk_with_exports(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job
) -> None:
    async with connect(database.urls["auditor"]) as auditor:
        for count in (1001, 1000, 1):
            exports = "SELECT vaultstream.record_export($1, '{}') FROM generate_series(1, $2::int)"
            if count == 1000:
                await auditor.execute(exports, job.job_no, count)
                continue
            with pytest.raises(asyncpg.ConfigurationLimitExceededError, match="1000 times"):
                await auditor.execute(exports, job.job_no, count)
    await owner.execute("SELECT vaultstream.record_export($1, '{}')", job.job_no)


async def test_an_open_transaction_of_an_auditor_holds_up_nothing_and_hides_nothing(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job
) -> None:
    async with (
        connect(database.urls["auditor"]) as auditor,
        connect(database.urls["keys"]) as keeper,
        connect(database.urls["signing"]) as signer,
    ):
        async with auditor.transaction():
            await auditor.fetch("SELECT * FROM vaultstream.audit_events, vaultstream.audited_jobs")
            await audit_events.record_export(auditor, job.job_no, {"what": "jsonl"})
            assert await keys.end_keys(keeper, job.job_no, [f"{job.token}-3"], state="revoked")
            lease = await claim_one(signer, job, "ann", 1)
            assert await commit(signer, job, signed(1, lease, [1])) == ["committed"]
            events = await audit_events.list_audit_events(owner, job.job_no)
            assert [(event.number, event.action) for event in events] == [(1, "create"), (2, "revoke")]
        assert await audit_events.number_audit_events(owner, job.job_no) == 3


async def test_an_auditor_of_a_tenant_records_no_export_of_another_and_sees_none(
    tenants_database: GuardedDatabase,
) -> None:
    """Whether the job is there or was deleted."""
    shop, bank = TENANTS
    async with (
        connect(tenants_database.urls["owner"]) as owner,
        connect(tenants_database.urls[f"auditor-{shop}"]) as auditor,
    ):
        theirs, ours = [await add_job(owner, tenant=tenant) for tenant in (bank, shop)]
        for policy in ("", "Retain", "Delete"):
            if policy:
                for job in (theirs, ours):
                    await jobs.delete_job(owner, job.job_no, policy)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await auditor.execute("SELECT vaultstream.record_export($1, '{}')", theirs.job_no)
            await auditor.execute("SELECT vaultstream.record_export($1, '{}')", ours.job_no)
            seen = await auditor.fetch(
                "SELECT DISTINCT job_no FROM vaultstream.audit_events WHERE job_no IN ($1, $2)",
                theirs.job_no,
                ours.job_no,
            )
            assert [row["job_no"] for row in seen] == [ours.job_no]


async def test_an_export_is_recorded_whatever_isolation_a_login_has_by_default(
    database: GuardedDatabase, job: Job
) -> None:
    async with connect(database.urls["auditor"]) as auditor:
        await auditor.execute("SET default_transaction_isolation = 'repeatable read'")
        assert await audit_events.record_export(auditor, job.job_no, {"what": "jsonl"})
