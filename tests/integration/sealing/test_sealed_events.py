"""Audit events are entries of a job's log, once each and in their order, and outlive the job with its seals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.sealing import Sealing
from vaultstream.deletion import delete_with_messages
from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import open_checkpoint
from vaultstream.proof.entries import AuditEntry
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.proof.seal import SealEntry, job_origin
from vaultstream.sealing import events
from vaultstream.sealing.since import seal_since
from vaultstream.store import audit_events, jobs, keys, logs
from vaultstream.store.logs import EntryKind

if TYPE_CHECKING:
    import asyncpg

    from support.sealing import SealedLogs
    from vaultstream.crypto.seal_keys import SealKeys
    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration


def sealed_events(sealed: SealedLogs) -> list[AuditEntry]:
    return [AuditEntry.parse(e.data or b"") for e in sealed.entries if e.kind is EntryKind.AUDIT_EVENT]


async def test_the_events_of_a_job_are_in_its_log_in_their_order_and_once(
    sealing: Sealing, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVENTS_PER_PAGE", 2)
    job = sealing.job
    await sealing.plan()
    await sealing.sign(1)
    await sealing.sealer.seal(db)
    for suspended in (True, False):
        await jobs.set_suspended(db, job.job_no, suspended=suspended)
    await keys.end_keys(db, job.job_no, [f"{job.token}-3"], state="retired")
    await sealing.sealer.seal(db)
    assert await sealing.sealer.seal(db) is None
    await audit_events.record_export(db, job.job_no, {"what": "jsonl"})
    await sealing.sign()
    sealed = sealed_events(await sealing.complete())

    stored = await audit_events.list_audit_events(db, job.job_no)
    assert [event.action for event in sealed] == ["create", "suspend", "resume", "retire", "export"]
    assert [event.number for event in sealed] == [event.number for event in stored] == [1, 2, 3, 4, 5]
    assert {event.login for event in sealed} == {await db.fetchval("SELECT session_user::text")}
    assert [(event.at, event.arguments) for event in sealed] == [(e.at, e.arguments) for e in stored]


async def test_what_is_done_to_a_job_after_its_end_is_sealed_since(
    sealing: Sealing, db: asyncpg.Connection, seal_keys: SealKeys
) -> None:
    job = sealing.job
    await sealing.plan()
    await sealing.sign()
    await sealing.complete()
    await audit_events.record_export(db, job.job_no, {"what": "csv"})
    await jobs.delete_job(db, job.job_no, "Retain")
    assert await seal_since(db, seal_keys, sealing.folder, job.token, deletion=True) is not None
    assert await seal_since(db, seal_keys, sealing.folder, job.token, deletion=False) is None
    sealed = sealed_events(await sealing.read())
    assert [event.action for event in sealed] == ["create", "export", "retire", "delete"]


async def test_a_job_is_not_sealed_over_a_gap_in_its_events(sealing: Sealing, db: asyncpg.Connection) -> None:
    """The last event has no later one that shows the gap."""
    job = sealing.job
    await sealing.plan()
    await jobs.set_suspended(db, job.job_no, suspended=True)
    await jobs.set_suspended(db, job.job_no, suspended=False)
    async with db.transaction():
        await db.execute("ALTER TABLE vaultstream.audit_events DISABLE TRIGGER guard")
        await db.execute("DELETE FROM vaultstream.audit_events WHERE job_no = $1 AND number = 2", job.job_no)
        await db.execute("ALTER TABLE vaultstream.audit_events ENABLE ALWAYS TRIGGER guard")
    with pytest.raises(ProofError, match=r"Audit event 2 .* was removed before it was sealed"):
        await sealing.sealer.seal(db)


async def whole(db: asyncpg.Connection, keys: SealKeys, origin: str) -> list[logs.StoredEntry]:
    """Returns the entries of a log whose leaves are those under its newest checkpoint; texts that were erased are no fault."""
    log = await logs.find_log(db, origin)
    assert log is not None
    entries = [entry async for entry in logs.read_entries(db, log)]
    leaves = [entry.leaf for entry in entries]
    for entry in entries:
        assert entry.data is None or leaf_hash(entry.data) == entry.leaf
    newest = await logs.newest_checkpoint(db, log)
    assert newest is not None
    head = open_checkpoint(newest.note, keys.known, origin=origin).checkpoint
    assert (head.size, head.root) == (len(entries), tree_root(leaves))
    return entries


async def delete(db: asyncpg.Connection, job: Job, policy: str) -> None:
    """As the command and the operator do."""

    async def remove(*_: object) -> None:
        pass

    await delete_with_messages(db, job, policy, remove=remove)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_deleted_job_leaves_its_logs_its_seals_and_its_events_and_they_verify(
    sealing: Sealing, db: asyncpg.Connection, seal_keys: SealKeys, policy: str
) -> None:
    job = sealing.job
    await sealing.plan()
    await sealing.sign(1, dead=[7])
    await sealing.sign()
    await sealing.complete()
    origin = job_origin(seal_keys.origin, job.token)
    before = await whole(db, seal_keys, origin)

    await delete(db, job, policy)

    after = await whole(db, seal_keys, origin)
    assert [entry.leaf for entry in after] == [entry.leaf for entry in before]
    gone = {EntryKind.STATEMENT, EntryKind.DEAD_LETTER} if policy == "Delete" else set()
    assert {entry.kind for entry in after if entry.data is None} == gone
    of_seals = await whole(db, seal_keys, seal_keys.origin)
    [seal] = [
        SealEntry.parse(entry.data or b"")
        for entry in of_seals
        if (entry.job_no, entry.kind) == (job.job_no, EntryKind.SEAL)
    ]
    assert (seal.state, seal.signed, seal.dead, seal.tree_size) == ("Complete", 24, 1, len(after))
    assert seal.tree_root == tree_root([entry.leaf for entry in after])
    [sealed] = [entry for entry in after if entry.kind is EntryKind.AUDIT_EVENT]
    stored = await audit_events.list_audit_events(db, job.job_no)
    assert [event.action for event in stored] == ["create", "retire", "delete"]
    assert sealed.data == events.audit_entry(job.token, stored[0]).data
    found = await audit_events.get_audited_job(db, job.token)
    assert (found.job_no, found.name) == (job.job_no, job.name)
