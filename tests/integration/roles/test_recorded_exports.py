"""An export is recorded before it begins, or fails; a login that may not record it is warned."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import asyncpg
import pytest

from support.engine import add_batches, add_job, claim_one, commit, signed
from vaultstream.audit.exports.export import export_job
from vaultstream.audit.exports.formats import ExportFormat
from vaultstream.errors import DatabaseError, UsageError
from vaultstream.store.audit_events import list_audit_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.guarded import GuardedDatabase
    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration


@pytest.fixture
async def job(owner: asyncpg.Connection) -> AsyncIterator[Job]:
    job = await add_job(owner)
    await add_batches(owner, job, [1, 2])
    await commit(owner, job, signed(1, await claim_one(owner, job, "ann", 1), [1, 2]))
    yield job
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


async def exports_of(owner: asyncpg.Connection, job: Job) -> list[tuple[str, dict[str, str]]]:
    events = await list_audit_events(owner, job.job_no)
    return [(event.login, dict(event.arguments)) for event in events if event.action == "export"]


async def test_an_export_is_recorded_also_if_it_fails(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job, tmp_path: Path
) -> None:
    url, output = database.urls["auditor"], tmp_path / "out"
    assert await export_job(url, job.name, form=ExportFormat.JSONL, output=output) == 2
    assert await export_job(url, job.token, form=ExportFormat.CSV, output=output, records=["2"]) == 1
    with pytest.raises(UsageError):
        await export_job(url, job.name, form=ExportFormat.JSONL, output=output, records=["7", "8"])
    login = database.logins["auditor"]
    assert await exports_of(owner, job) == [
        (login, {"what": "jsonl"}),
        (login, {"what": "csv", "records": "1"}),
        (login, {"what": "jsonl", "records": "2"}),
    ]


async def test_an_export_that_can_not_be_recorded_fails(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job, tmp_path: Path
) -> None:
    url, output = database.urls["auditor"], tmp_path / "out"
    await owner.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    try:
        with pytest.raises(DatabaseError, match="can't be recorded: the database is read-only"):
            await export_job(url, job.name, form=ExportFormat.JSONL, output=output)
    finally:
        await owner.execute(f"ALTER DATABASE {database.name} RESET default_transaction_read_only")
    await owner.execute(
        "INSERT INTO vaultstream.audit_events (job_no, action, login, at, arguments) "
        "SELECT $1, 'export', $2, clock_timestamp(), '{}' FROM generate_series(1, 1000)",
        job.job_no,
        database.logins["auditor"],
    )
    with pytest.raises(DatabaseError, match="1000 times in the last hour"):
        await export_job(url, job.name, form=ExportFormat.JSONL, output=output)
    assert not output.exists()


async def test_a_login_that_may_not_record_an_export_is_warned(
    database: GuardedDatabase,
    owner: asyncpg.Connection,
    job: Job,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, output = database.urls["auditor"], tmp_path / "out"
    function = "FUNCTION vaultstream.record_export(int, jsonb)"
    await owner.execute(f"REVOKE EXECUTE ON {function} FROM vaultstream_auditor")
    try:
        with caplog.at_level(logging.WARNING):
            assert await export_job(url, job.name, form=ExportFormat.JSONL, output=output) == 2
    finally:
        await owner.execute(f"GRANT EXECUTE ON {function} TO vaultstream_auditor")
    assert "not in the audit events" in caplog.text
    assert await exports_of(owner, job) == []
