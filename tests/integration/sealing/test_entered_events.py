"""Audit events become entries of a job's log, once each and in the order of their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.as_user import connect
from support.engine import add_job
from vaultstream.errors import ProofError
from vaultstream.proof.entries import AuditEntry
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.sealing import events
from vaultstream.store import audit_events, jobs, keys, logs

if TYPE_CHECKING:
    import asyncpg

    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration


async def entered(db: asyncpg.Connection, job: Job) -> list[AuditEntry]:
    """Enters what is new; returns all entries."""
    async with db.transaction():
        log = await logs.lock_log(db, f"example/{job.token}", job_no=job.job_no)
        log, last = await events.enter_events(db, job.job_no, job.token, log, after=log.size)
    stored = [entry async for entry in logs.read_entries(db, log)]
    assert [entry.index for entry in stored] == list(range(log.size))
    assert all(leaf_hash(entry.data or b"") == entry.leaf for entry in stored)
    assert log.tree.root() == tree_root([entry.leaf for entry in stored])
    assert last == log.size
    return [AuditEntry.parse(entry.data or b"") for entry in stored]


async def test_each_event_is_entered_once_in_the_order_of_the_numbers(
    db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVENTS_PER_PAGE", 2)
    job = await add_job(db)
    assert [entry.action for entry in await entered(db, job)] == ["create"]
    for suspended in (True, False):
        await jobs.set_suspended(db, job.job_no, suspended=suspended)
    await keys.end_keys(db, job.job_no, [f"{job.token}-3"], state="retired")
    await audit_events.record_export(db, job.job_no, {"what": "jsonl\x1b"})
    for _ in range(2):
        found = await entered(db, job)
        assert [entry.action for entry in found] == ["create", "suspend", "resume", "retire", "export"]
        assert [entry.number for entry in found] == [1, 2, 3, 4, 5]
    stored = await audit_events.list_audit_events(db, job.job_no)
    assert [events.audit_entry(job.token, event) for event in stored] == found


async def test_an_event_that_is_being_written_is_entered_later_and_holds_up_nobody(
    db: asyncpg.Connection, engine_url: str
) -> None:
    job = await add_job(db)
    async with connect(engine_url) as other, connect(engine_url) as sealer:
        await sealer.execute("SET lock_timeout = '100ms'")
        async with other.transaction():
            await keys.end_keys(other, job.job_no, [f"{job.token}-3"], state="revoked")
            await audit_events.record_export(db, job.job_no, {"what": "jsonl"})
            assert [entry.action for entry in await entered(sealer, job)] == ["create"]
        assert [entry.action for entry in await entered(sealer, job)] == ["create", "revoke", "export"]


@pytest.mark.parametrize("removed", [1, 2])
async def test_an_event_that_was_removed_before_it_was_entered_leaves_a_gap(
    db: asyncpg.Connection, removed: int
) -> None:
    """By the schema's owner, who has disabled the trigger."""
    job = await add_job(db)
    if removed > 1:
        await entered(db, job)
    for suspended in (True, False):
        await jobs.set_suspended(db, job.job_no, suspended=suspended)
    async with db.transaction():
        await db.execute("ALTER TABLE vaultstream.audit_events DISABLE TRIGGER guard")
        await db.execute(
            "DELETE FROM vaultstream.audit_events WHERE job_no = $1 AND number = $2", job.job_no, removed
        )
        await db.execute("ALTER TABLE vaultstream.audit_events ENABLE ALWAYS TRIGGER guard")
    with pytest.raises(ProofError, match=f"Audit event {removed} .* was removed before it was sealed"):
        await entered(db, job)
