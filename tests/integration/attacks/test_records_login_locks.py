"""What someone who has the login of the records workers tries: a lock on the row of a job, in a transaction that stays open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.as_user import connect
from support.engine import claim_one, expire, open_sources
from support.guarded import GuardedDatabase
from support.sealing import new_seal_key
from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import public_key_to_bytes
from vaultstream.crypto.envelope import WrappedKey
from vaultstream.errors import LockedError
from vaultstream.records.source import open_readable_source
from vaultstream.role import WorkerRole
from vaultstream.sealing.sealer import Sealer
from vaultstream.store import lockers
from vaultstream.store.batches import plan_page
from vaultstream.store.database import open_pool
from vaultstream.store.jobs import Job
from vaultstream.store.keys import NewKey, add_keys, ordinals
from vaultstream.store.leases import claim_batches
from vaultstream.store.logs import lock_log
from vaultstream.worker import session_settings

pytestmark = pytest.mark.integration


@asynccontextmanager
async def locked(planner: asyncpg.Connection, job: Job) -> AsyncIterator[None]:
    attempt = planner.transaction()
    await attempt.start()
    await planner.fetch("SELECT FROM vaultstream.jobs WHERE job_no = $1 FOR UPDATE", job.job_no)
    yield
    await attempt.rollback()


async def test_a_lock_on_the_row_of_a_job_is_named_by_who_makes_keys_or_plans(
    database: GuardedDatabase,
    owner: asyncpg.Connection,
    planner: asyncpg.Connection,
    planned_job: Job,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first needs it for a reference, the second for the checkpoint."""
    job = planned_job
    monkeypatch.setattr(lockers, "LOCK_WAIT", "500ms")
    named = f"process {planner.get_server_pid()} of the user {database.logins['records']}"
    wrapped = WrappedKey(
        job.token, f"{job.token}-2-a", 1, Algorithm.ED25519, f"kek-{'0' * 12}", b"w" * 64, "active"
    )
    key = NewKey(2, public_key_to_bytes(Ed25519PrivateKey.generate()), wrapped)
    async with (
        connect(database.urls["keys"]) as keeper,
        connect(database.urls["records"]) as records,
        open_sources(database.urls["source"]) as sources,
    ):
        source = await open_readable_source(sources, job)
        async with locked(planner, job):
            with pytest.raises(LockedError, match=named):
                await asyncio.wait_for(add_keys(keeper, job, [key]), 60)
            with pytest.raises(LockedError, match=named):
                await asyncio.wait_for(plan_page(records, sources, job, source), 60)
        await add_keys(keeper, job, [key])
        assert await ordinals(owner, job.job_no) == {1, 2}
        assert (await plan_page(records, sources, job, source)).records == 15


async def test_a_lock_on_the_log_of_seals_is_named_by_who_seals(
    database: GuardedDatabase,
    planner: asyncpg.Connection,
    planned_job: Job,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lockers, "LOCK_WAIT", "500ms")
    keys = new_seal_key()
    sealer = Sealer(keys, tmp_path, planned_job)
    named = f"process {planner.get_server_pid()} of the user {database.logins['records']}"
    async with connect(database.urls["records"]) as records:
        attempt = planner.transaction()
        await attempt.start()
        await lock_log(planner, keys.origin)
        with pytest.raises(LockedError, match=named):
            await asyncio.wait_for(sealer.seal(records), 60)
        await attempt.rollback()
        assert await sealer.seal(records) is not None


async def test_a_lock_on_the_row_of_a_job_holds_up_no_claim(
    owner: asyncpg.Connection, planner: asyncpg.Connection, signer: asyncpg.Connection, job: Job
) -> None:
    """The end of the expired lease of a batch that was signed alone may need the job's row, and is left for later."""
    await owner.execute(
        "UPDATE vaultstream.batches SET lost = 2 WHERE job_no = $1 AND batch_no = 1", job.job_no
    )
    await expire(owner, await claim_one(signer, job, "ann", 1))
    async with locked(planner, job):
        [claim] = await asyncio.wait_for(claim_batches(signer, job.job_no, "bob", [2], seconds=30), 60)
        assert claim.lease is not None
    attempts = "SELECT attempts FROM vaultstream.batches WHERE job_no = $1 AND batch_no = 1"
    assert await owner.fetchval(attempts, job.job_no) == 0
    await claim_batches(signer, job.job_no, "bob", [2], seconds=30)
    assert await owner.fetchval(attempts, job.job_no) == 1


@pytest.mark.parametrize("role", [WorkerRole.KEYS, WorkerRole.RECORDS])
async def test_no_wait_of_a_keys_worker_or_a_records_worker_is_without_end(
    database: GuardedDatabase, role: WorkerRole
) -> None:
    async with open_pool(
        database.urls[role], role=role, size=1, settings=session_settings(role), writes=True
    ) as pool:
        assert await pool.fetchval("SHOW lock_timeout") == "10s"
