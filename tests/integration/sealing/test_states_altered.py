"""Somebody with all rights in Postgres calls a job complete: no seal says so, and `run` does not end well."""

from __future__ import annotations

import asyncpg
import pytest

from integration.sealing.test_refused_seals import as_owner
from support.engine import open_context
from support.sealing import Sealing
from vaultstream.errors import AuditError
from vaultstream.local.services import Services
from vaultstream.records.sealing import JobSealing
from vaultstream.sealing.sealer import UnplannedError
from vaultstream.store.database import open_pool
from vaultstream_cli.summary import get_summary, require_all_signed

pytestmark = pytest.mark.integration


async def call_complete(sealing: Sealing, db: asyncpg.Connection, *, planned: bool = True) -> None:
    async with as_owner(db):
        await db.execute(
            "UPDATE vaultstream.jobs SET state = 'Complete', planned = $2, finished_at = now() WHERE job_no = $1",
            sealing.job.job_no,
            planned,
        )


async def test_a_job_called_complete_while_it_runs_is_not_sealed_as_such(
    sealing: Sealing, db: asyncpg.Connection
) -> None:
    await sealing.plan()
    await sealing.sign(1)
    assert await sealing.sealer.seal(db) is not None
    await call_complete(sealing, db)
    with pytest.raises(UnplannedError, match="Complete, but it has batches after number 1 to be signed"):
        await sealing.sealer.seal(db)
    await sealing.restart()
    with pytest.raises(UnplannedError):
        await sealing.sealer.seal(db)
    assert [seal.state for seal in (await sealing.read()).seals] == ["Running"]


async def test_nor_while_it_is_planned(sealing: Sealing, db: asyncpg.Connection) -> None:
    await sealing.start()
    await sealing.plan_page()
    await sealing.sign(1)
    for planned in (False, True):
        await call_complete(sealing, db, planned=planned)
        with pytest.raises(UnplannedError, match="is still to be planned"):
            await sealing.sealer.seal(db)
    assert (await sealing.read()).seals == []


async def test_the_worker_and_the_run_say_so(
    sealing: Sealing, db: asyncpg.Connection, services: Services, engine_url: str
) -> None:
    await sealing.plan()
    await sealing.sign(1)
    given = {"seal_key_file": sealing.write_key(), "seals_dir": sealing.folder}
    async with open_context(services, engine_url, sealing.job, **given) as context:
        worker = await JobSealing.of(context)
        await worker.resume(db, await sealing.current())
        await call_complete(sealing, db)
        await worker.seal_the_rest()
    message = (await sealing.current()).message
    assert message is not None
    assert "it is not sealed as complete" in message
    async with open_pool(engine_url, role="test", size=1) as pool:
        summary = await get_summary(pool, sealing.job.token)
    with pytest.raises(AuditError, match="Complete, but 2 of 3 batches are still to be signed"):
        require_all_signed(summary)
