"""What someone who has the login of the records workers tries: to end a job that is intact."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest

from support.guarded import GuardedDatabase
from vaultstream.store import audit_events, seals
from vaultstream.store.jobs import Job, complete_job_if_settled, get_job

pytestmark = pytest.mark.integration

DOCUMENT = Path(__file__).parents[3] / "docs" / "failure-modes.md"


async def test_who_refuses_an_intact_job_is_recorded_and_the_schemas_owner_reopens_it(
    database: GuardedDatabase, planner: asyncpg.Connection, owner: asyncpg.Connection, planned_job: Job
) -> None:
    job_no = planned_job.job_no
    await owner.execute(f"UPDATE vaultstream.batches SET state = 'done', signed = 5 WHERE job_no = {job_no}")
    await owner.execute(f"UPDATE vaultstream.jobs SET planned = true WHERE job_no = {job_no}")
    assert await seals.refuse_job(planner, job_no, "any text")
    assert not await seals.refuse_job(planner, job_no, "again")
    assert (await get_job(owner, planned_job.token)).state == "Failed"

    [documented] = re.findall(
        r"```sql\n(UPDATE vaultstream\.jobs SET state = 'Running'.*?)```", DOCUMENT.read_text(), re.DOTALL
    )
    reopen = documented.replace("'TOKEN'", f"'{planned_job.token}'")
    assert reopen != documented
    with pytest.raises(asyncpg.CheckViolationError, match="from Failed, it can't become Running"):
        await planner.execute(reopen)
    assert await owner.execute(reopen) == "UPDATE 1"
    assert await complete_job_if_settled(planner, job_no)
    assert await owner.execute(reopen) == "UPDATE 0"

    events = await audit_events.list_audit_events(owner, job_no)
    assert [(each.action, each.login, each.arguments) for each in events[-2:]] == [
        ("refuse", database.logins["records"], {"message": "any text"}),
        ("reopen", database.logins["owner"], {"message": "any text"}),
    ]
