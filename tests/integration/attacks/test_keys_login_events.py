"""What someone who has the login of the keys workers tries: audit events without end, by wrapping keys again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job
from support.guarded import GuardedDatabase
from vaultstream.crypto.envelope import WrappedKey
from vaultstream.errors import DatabaseError
from vaultstream.sealing import events
from vaultstream.store import logs
from vaultstream.store.audit_events import audit_events_after, list_audit_events
from vaultstream.store.jobs import Job, set_suspended
from vaultstream.store.keys import replace_wrapped

pytestmark = pytest.mark.integration


@pytest.fixture
async def job(owner: asyncpg.Connection) -> AsyncIterator[Job]:
    job = await add_job(owner, keys=1)
    await owner.execute(
        "INSERT INTO vaultstream.key_material SELECT key_no, 1, 'kek', 'wrapped' FROM vaultstream.keys WHERE job_no = $1",
        job.job_no,
    )
    yield job
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


async def test_rewraps_fill_no_disk_with_audit_events(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job
) -> None:
    def again(version: int) -> WrappedKey:
        algorithm = job.spec.keys.algorithm
        return WrappedKey(
            job.token, f"{job.token}-1", version, algorithm, f"kek-{'0' * 12}", b"w" * 64, "active"
        )

    recorded = (
        "INSERT INTO vaultstream.audit_events (job_no, action, login, at, arguments) "
        "SELECT $1, 'rewrap', $2, clock_timestamp() - $3 * interval '1 minute', '{}' FROM generate_series(1, $4)"
    )
    login = database.logins["keys"]
    await owner.execute(recorded, job.job_no, "another", 1, 2000)
    await owner.execute(recorded, job.job_no, login, 61, 2000)
    await owner.execute(recorded, job.job_no, login, 59, 999)
    async with connect(database.urls["keys"]) as keeper:
        assert await replace_wrapped(keeper, [again(2)]) == 1
        with pytest.raises(DatabaseError, match=f"the login {login} has rewrapped keys of job") as refused:
            await replace_wrapped(keeper, [again(3)])
        assert refused.value.hint
    version = (
        "SELECT version FROM vaultstream.key_material JOIN vaultstream.keys USING (key_no) WHERE job_no = $1"
    )
    assert await owner.fetchval(version, job.job_no) == 2
    assert len(await list_audit_events(owner, job.job_no)) == 5001


async def test_no_flood_of_audit_events_keeps_a_seal_from_ending(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What gets its number while earlier events are entered is entered with the next seal."""
    monkeypatch.setattr(events, "EVENTS_PER_PAGE", 1)
    added = 0

    async def after_another(*arguments: Any, **named: Any) -> Any:
        nonlocal added
        await set_suspended(owner, job.job_no, suspended=added % 2 == 0)
        added += 1
        return await audit_events_after(*arguments, **named)

    monkeypatch.setattr(events, "audit_events_after", after_another)
    async with connect(database.urls["records"]) as sealer, sealer.transaction(), asyncio.timeout(60):
        log = await logs.lock_log(sealer, f"example/{job.token}", job_no=job.job_no)
        log, last = await events.enter_events(sealer, job.job_no, job.token, log, after=0)
        assert (log.size, last, added) == (1, 1, 1)
        log, last = await events.enter_events(sealer, job.job_no, job.token, log, after=last)
        assert (log.size, last, added) == (2, 2, 2)
