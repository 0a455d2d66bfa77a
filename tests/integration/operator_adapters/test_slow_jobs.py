"""What Postgres answers late about some jobs, or what a login locks, keeps the jobs of others from nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from integration.operator_adapters.stored import SPEC, found, made, trouble
from support.as_user import connect
from support.planning import job_of
from vaultstream.scaling.history import History
from vaultstream_operator.adapters import scaling
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.core.memory import ScalingMemory
from vaultstream_operator.core.view import ObjectView, StoredJob

pytestmark = pytest.mark.integration

MEMORY = ScalingMemory(History().changed(0, 4, reason="FirstStep", now=1.0), generation=1)


def of(namespace: str, name: str = "job") -> ObjectView:
    view = job_of(SPEC)
    owner = replace(view.owner, namespace=namespace, name=name, uid=f"{namespace}-{name}")
    return replace(view, owner=owner)


async def test_a_lock_on_the_row_of_a_job_is_named_by_its_scaling_and_holds_up_no_other_job(
    store: PostgresStore, connection: asyncpg.Connection, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "SCALING_LOCK_WAIT", "100ms")
    shops, bank = [of("shop", f"job-{n}") for n in range(12)], of("bank")
    for view in (*shops, bank):
        await made(store, view)
    async with connect(migrated_url) as records, records.transaction():
        await records.execute("SELECT FROM vaultstream.jobs WHERE name LIKE 'shop/%' FOR UPDATE")
        answers = await asyncio.gather(*(store.remember(MEMORY, view) for view in shops))
        assert {(answer.reason, answer.passing) for answer in answers if answer} == {
            (JobReason.DATABASE_REFUSES, True)
        }
        assert None not in answers
        assert f"process {records.get_server_pid()} of the user" in answers[0].problem  # type: ignore[union-attr]
        assert await store.remember(MEMORY, bank) is None
        await found(store, bank)
    assert await store.remember(MEMORY, shops[0]) is None


async def test_an_answer_that_comes_late_is_no_reason_to_call_postgres_unreachable_for_others(
    store: PostgresStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    shops, bank = [of("shop", f"job-{n}") for n in range(12)], of("bank")
    for view in (*shops, bank):
        await made(store, view)
    await connection.execute(
        "DROP FUNCTION vaultstream.newest_seal(int); CREATE FUNCTION vaultstream.newest_seal(p_job_no int) "
        "RETURNS TABLE (log_no bigint, index bigint, body text, checkpoint text, job_checkpoint text) LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM pg_sleep(60) FROM vaultstream.jobs j WHERE j.job_no = p_job_no AND j.name LIKE 'shop/%'; END $$"
    )
    monkeypatch.setattr("vaultstream_operator.adapters.postgres.POSTGRES_ANSWER_SECONDS", 0.5)
    assert (await trouble(store, shops[0])).reason is JobReason.POSTGRES_UNREACHABLE
    assert isinstance(await store.find(bank), StoredJob)  # at once: nothing is closed

    waiting = [asyncio.create_task(store.find(view)) for view in shops]
    await asyncio.sleep(0)
    assert isinstance(await store.find(bank), StoredJob)
    late = await asyncio.gather(*waiting)
    problems = [each.problem for each in late if not isinstance(each, StoredJob) and each is not None]
    at_once = [each for each in problems if "other jobs of this namespace" in each]
    assert len(problems) == 12
    assert len(at_once) == 10  # two of the eight connections are for them
