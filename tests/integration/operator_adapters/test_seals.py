"""The newest seal of a job, as the operator copies it from a real Postgres."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.log_of_seals import seal_entry
from support.planning import job_of, spec_of
from support.waiting import eventually
from vaultstream.proof.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from vaultstream.proof.merkle import leaf_hash
from vaultstream.proof.note import NoteSigningKey
from vaultstream.proof.seal import DELETED, SealEntry, job_origin
from vaultstream.store import jobs, logs
from vaultstream.store.audit_events import list_audit_events
from vaultstream_operator.api.status import JobStatus
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import StoredJob

if TYPE_CHECKING:
    import asyncpg

    from vaultstream.store.jobs import Job
    from vaultstream.store.logs import Log
    from vaultstream_operator.adapters.postgres import PostgresStore
    from vaultstream_operator.core.view import ObjectView

pytestmark = pytest.mark.integration

KEY = NoteSigningKey("example.com/sign", Ed25519PrivateKey.generate())


async def made(store: PostgresStore, connection: asyncpg.Connection, view: ObjectView) -> Job:
    assert await store.act(StoreAction.CREATE, view) is None
    return await jobs.get_job(connection, "shop/receipts")


async def checkpointed(connection: asyncpg.Connection, log: Log) -> None:
    note = sign_checkpoint(Checkpoint(log.origin, log.size, log.tree.root()), KEY)
    await logs.add_checkpoint(connection, log, note)


async def seal(
    connection: asyncpg.Connection,
    job: Job,
    *,
    signed: int,
    body: str | None = None,
    state: str = "Running",
) -> SealEntry:
    """Seals a job whose log is empty."""
    async with connection.transaction():
        of_job = await logs.lock_log(connection, job_origin(KEY.name, job.token), job_no=job.job_no)
        await checkpointed(connection, of_job)
        entry = seal_entry(job, of_job, state=state, signed=signed, dead=1)
        text = entry.data.decode() if body is None else body
        log = await logs.lock_log(connection, KEY.name)
        new = logs.NewEntry(kind=logs.EntryKind.SEAL, leaf=leaf_hash(text.encode()), body=text)
        await checkpointed(connection, await logs.append_entries(connection, log, job.job_no, [new]))
    return entry


async def found(store: PostgresStore, view: ObjectView) -> StoredJob:
    stored = await store.find(view)
    assert isinstance(stored, StoredJob), stored
    return stored


async def test_the_newest_seal_comes_with_the_checkpoints_that_it_is_under(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    view = job_of(spec_of())
    job = await made(store, connection, view)
    assert (await found(store, view)).seal is None
    for signed in (3, 7):
        entry = await seal(connection, job, signed=signed)
        copy = (await found(store, view)).seal
        assert copy is not None
        assert (copy.origin, copy.signed, copy.dead) == (KEY.name, signed, 1)
        assert copy.sealed_at == entry.sealed_at
        head = open_checkpoint(copy.checkpoint.encode(), [KEY.public_key], origin=KEY.name).checkpoint
        assert (head.size, copy.size) == (1 if signed == 3 else 2,) * 2
        of_job = job_origin(KEY.name, job.token)
        assert open_checkpoint(copy.job_checkpoint.encode(), [KEY.public_key], origin=of_job)


@pytest.mark.parametrize(
    "body",
    ['{"type":"none","jobToken":"TOKEN","treeSize":0}', 'no json "jobToken":"TOKEN"', '{"jobToken":"TOKEN"}'],
)
async def test_what_is_no_seal_does_not_keep_the_operator_from_the_job(
    store: PostgresStore, connection: asyncpg.Connection, body: str
) -> None:
    view = job_of(spec_of())
    job = await made(store, connection, view)
    await seal(connection, job, signed=3, body=body.replace("TOKEN", job.token))
    stored = await found(store, view)
    assert (stored.seal, stored.token) == (None, job.token)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_job_that_the_operator_deletes_leaves_its_seal_its_logs_and_its_events(
    store: PostgresStore, connection: asyncpg.Connection, policy: str
) -> None:
    view = job_of(spec_of().model_copy(update={"deletion_policy": policy}))
    job = await made(store, connection, view)
    await seal(connection, job, signed=3)

    async def deleted() -> bool:
        return await store.act(StoreAction.DELETE, view) is None

    await eventually(deleted)  # the connection to NATS may just be being made

    assert (await jobs.find_job(connection, job.token) is None) is (policy == "Delete")
    of_seals = await logs.find_log(connection, KEY.name)
    assert of_seals is not None
    [entry] = [each async for each in logs.read_entries(connection, of_seals)]
    assert leaf_hash(entry.data or b"") == entry.leaf
    sealed = SealEntry.parse(entry.data or b"")
    assert (sealed.job_token, sealed.signed) == (job.token, 3)
    for log, root in (
        (of_seals, entry.leaf),
        (await logs.find_log(connection, job_origin(KEY.name, job.token)), sealed.tree_root),
    ):
        assert log is not None
        kept = await logs.newest_checkpoint(connection, log)
        assert kept is not None
        head = open_checkpoint(kept.note, [KEY.public_key], origin=log.origin).checkpoint
        assert (head.size, head.root) == (log.size, root)
    events = await list_audit_events(connection, job.job_no)
    assert [event.action for event in events] == ["create", "delete"]
    assert events[-1].arguments == {"policy": policy}


async def test_a_sealed_job_is_found_by_its_token_until_its_deletion_is_sealed_and_its_rows_are_gone(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    view = job_of(spec_of().model_copy(update={"deletion_policy": "Delete"}))
    job = await made(store, connection, view)
    await seal(connection, job, signed=3)
    view = replace(view, deleting=True, status=JobStatus(token=job.token))

    async def marked() -> bool:
        return await store.act(StoreAction.MARK_DELETED, view) is None

    await eventually(marked)
    stored = await found(store, view)
    assert stored.deleted_at is not None
    assert not stored.deletion_sealed
    await seal(connection, job, signed=3, state=DELETED)
    assert (await found(store, view)).deletion_sealed
    assert await store.act(StoreAction.DELETE, view) is None
    assert await store.find(view) is None
    # an object of others with that token finds nothing
    stranger = replace(view, owner=replace(view.owner, uid="another"))
    assert await store.find(stranger) is None
