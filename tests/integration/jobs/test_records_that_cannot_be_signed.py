"""What can't be signed ends in the dead letters, exactly that, with its reason; all else is signed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from support.waiting import eventually
from vaultstream.audit.checks.checker import read_keys
from vaultstream.proof.statement import BatchStatement, signed_bytes
from vaultstream.store import jobs

if TYPE_CHECKING:
    from support.lab import Lab


pytestmark = pytest.mark.integration


async def test_null_and_oversized_payloads_and_deleted_rows_are_dead_and_nothing_else_is(lab: Lab) -> None:
    await lab.table((n, f"record {n}") for n in range(1, 201))
    await lab.execute("UPDATE records SET payload = NULL WHERE id IN (3, 150)")
    await lab.execute("UPDATE records SET payload = repeat('x', 1001) WHERE id = 60")
    await lab.execute("UPDATE records SET payload = repeat('x', 1000) WHERE id = 61")
    job = await lab.open(records={"table": "records", "maxPayloadBytes": 1000})
    await lab.plan(job)
    await lab.execute("DELETE FROM records WHERE id IN (1, 199)")

    ended = await lab.finish(job)

    assert ended.job.state == "Complete"
    assert await lab.dead(job) == {
        "3": "PayloadNull",
        "150": "PayloadNull",
        "60": "PayloadTooLarge",
        "1": "RecordGone",
        "199": "RecordGone",
    }
    assert await lab.signed_ids(job) == set(range(1, 201)) - {3, 150, 60, 1, 199}
    report = await lab.verify(job)
    assert (report.ok, report.signed, report.dead) == (True, 195, 5)


async def test_dead_letters_are_signed_by_a_retry_once_the_cause_is_gone(lab: Lab) -> None:
    await lab.table((n, None if n in (5, 77, 120) else f"record {n}") for n in range(1, 151))
    ended = await lab.run()
    assert set(await lab.dead(ended.job)) == {"5", "77", "120"}

    await lab.execute("UPDATE records SET payload = 'fixed' WHERE id IN (5, 120)")
    async with lab.pool.acquire() as connection:
        assert await jobs.retry_dead(connection, ended.job) == 3
        job = await jobs.get_job(connection, ended.job.token)
    again = await lab.finish(job)

    assert await lab.dead(job) == {"77": "PayloadNull"}
    assert (again.progress.records, again.progress.signed, again.progress.dead) == (150, 149, 1)
    report = await lab.verify(job)
    assert (report.ok, report.signed, report.dead) == (True, 149, 1)


async def test_a_batch_that_fails_is_split_until_the_record_at_fault_stands_alone(lab: Lab) -> None:
    await lab.table((n, f"record {n}") for n in range(1, 101))
    await lab.execute(
        "CREATE VIEW fragile AS SELECT id, CASE WHEN id IN (13, 64) THEN (1 / (id - id))::text ELSE payload END "
        "AS payload FROM records"
    )
    ended = await lab.run(records={"table": "fragile"})
    assert await lab.dead(ended.job) == {"13": "Unsignable", "64": "Unsignable"}
    message = await lab.value("SELECT message FROM vaultstream.dead_letters WHERE record_id = '13'")
    assert "division by zero" in message
    assert await lab.signed_ids(ended.job) == set(range(1, 101)) - {13, 64}
    await lab.execute("CREATE OR REPLACE VIEW fragile AS SELECT id, payload FROM records")
    report = await lab.verify(ended.job)
    assert report.ok, "each part has a statement of its own"
    assert report.stated == 98
    parts = await lab.value("SELECT count(*) FROM vaultstream.batches WHERE state = 'done' AND signed > 0")
    assert report.statements == parts


async def test_a_missing_table_is_waited_for_and_makes_no_record_dead(lab: Lab) -> None:
    await lab.table((n, f"record {n}") for n in range(1, 101))
    job = await lab.open()
    await lab.plan(job)
    await lab.execute("ALTER TABLE records RENAME TO elsewhere")

    running = asyncio.create_task(lab.finish(job))
    logs = lab.services.data_dir / "logs" / job.token
    await eventually(
        lambda: any("waiting until this is fixed" in log.read_text() for log in logs.glob("signing-*.log"))
    )
    await lab.execute("ALTER TABLE elsewhere RENAME TO records")
    ended = await running
    assert (ended.progress.signed, ended.progress.dead) == (100, 0)


async def test_a_payload_that_would_pass_for_a_statement_is_not_signed_by_the_jobs_keys(lab: Lab) -> None:
    """Its owner would have a statement of their own choice, by a real key."""
    await lab.table((n, f"record {n}") for n in range(1, 31))
    job = await lab.open()
    forged = BatchStatement(
        job_token=job.token,
        batch=1,
        key_id=f"{job.token}-1",
        epoch=1,
        holder="whoever",
        algorithm="ED25519",
        count=1,
        first_id="1",
        last_id="1",
        root=bytes(32),
        signed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    await lab.execute("UPDATE records SET payload = $1 WHERE id = 7", signed_bytes(forged.body).decode())
    ended = await lab.finish(job)
    assert await lab.dead(ended.job) == {"7": "PayloadReserved"}
    assert await lab.signed_ids(ended.job) == set(range(1, 31)) - {7}
    report = await lab.verify(ended.job)
    assert (report.ok, report.signed, report.dead) == (True, 29, 1)


async def test_each_batch_of_a_job_has_a_statement_by_its_key(lab: Lab) -> None:
    await lab.table((n, None if n in (5, 77) else f"record {n}") for n in range(1, 151))
    ended = await lab.run()
    async with lab.pool.acquire() as connection:
        keys = await read_keys(connection, ended.job.job_no, ended.job.spec.keys.algorithm)
        rows = await connection.fetch(
            "SELECT b.batch_no, b.signed, s.key_no, s.body, s.signature FROM vaultstream.batches b "
            "LEFT JOIN vaultstream.statements s USING (job_no, batch_no) WHERE job_no = $1",
            ended.job.job_no,
        )
    assert sum(row["signed"] for row in rows) == 148
    for row in rows:
        statement, stated = BatchStatement.parse(row["body"]), signed_bytes(row["body"])
        assert (statement.batch, statement.count) == (row["batch_no"], row["signed"])
        key = keys[row["key_no"]]
        assert key.verify(row["signature"], digest=sha256(stated).digest(), payload=stated)
