"""A job that the operator deletes: a records worker seals that, under the login of its role, before the rows are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from support.as_user import connect
from support.engine import open_sources
from support.records_login import planned_job, planner
from vaultstream.audit.seals.log_history import examine_log, open_kept
from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.audit.verify import verify_job
from vaultstream.crypto.seal_keys import create_seal_keys
from vaultstream.errors import UnknownJobError, UsageError
from vaultstream.records.deletion import run_records_deletion
from vaultstream.records.source import open_readable_source
from vaultstream.sealing.sealer import Sealer
from vaultstream.settings import Settings
from vaultstream.store.batches import plan_page
from vaultstream.store.jobs import delete_job, get_job
from vaultstream.store.logs import find_log, newest_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

    from support.guarded import GuardedDatabase
    from vaultstream.store.jobs import Job

__all__ = ["planned_job", "planner"]

pytestmark = pytest.mark.integration


async def test_what_a_records_worker_seals_tells_a_deletion_from_rows_that_are_gone(
    database: GuardedDatabase,
    owner: asyncpg.Connection,
    planner: asyncpg.Connection,
    planned_job: Job,
    tmp_path: Path,
) -> None:
    token, number = planned_job.token, planned_job.job_no
    keys = create_seal_keys(tmp_path / "seal-key", None)
    settings = Settings(
        database_url=SecretStr(database.urls["records"]),
        seal_key_file=tmp_path / "seal-key",
        seals_dir=tmp_path / "seals",
        data_dir=tmp_path,
    )
    sealer = Sealer(keys, tmp_path / "seals", planned_job)
    await sealer.plan.resume(planner, planned_job)
    async with open_sources(database.urls["records"], database.urls["source"]) as sources:
        source = await open_readable_source(sources, planned_job)
        page = await plan_page(planner, sources, await get_job(planner, token), source)
    await sealer.plan.follow(planner, await get_job(planner, token), page)
    await sealer.state_plan(planner)
    assert await sealer.seal(planner) is not None
    log = await find_log(owner, keys.origin)
    assert log is not None
    kept = await newest_checkpoint(owner, log)
    assert kept is not None
    since = open_kept(kept.note, keys.known)

    with pytest.raises(UsageError, match="was not deleted"):
        await run_records_deletion(settings, token)
    async with connect(database.urls["operator"]) as operator:
        await delete_job(operator, number, "Retain")
        for _ in range(2):  # its pod may be started again
            await run_records_deletion(settings, token)
        await delete_job(operator, number, "Delete")

    report = await examine_log(database.urls["owner"], since, keys.known)
    assert (report.ok, report.size - since.size) == (True, 1), report.findings
    with pytest.raises(UnknownJobError) as raised:
        await verify_job(database.urls["owner"], token, seal_trust=SealTrust(keys.known))
    assert "was deleted, as a seal of" in str(raised.value.hint)
