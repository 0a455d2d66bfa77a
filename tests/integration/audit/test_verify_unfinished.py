"""What `verify` says of jobs that are not done, are gone, or whose source has moved on."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import asyncpg
import pytest

from integration.audit.audits import SCRIPTS, UUIDS, audit, found, named
from integration.audit.signed_job import RecordId, payload_of
from support.engine import fail_one
from vaultstream.audit.verify import verify_job
from vaultstream.errors import UnknownJobError
from vaultstream.store.jobs import delete_job, retry_dead

if TYPE_CHECKING:
    from integration.audit.conftest import MakeJob

pytestmark = pytest.mark.integration


async def test_records_of_pending_batches_are_pending_and_not_missing(make: MakeJob) -> None:
    report = await audit(await make(waiting=frozenset({6})))
    assert found(report) == {"pending": 4}
    assert not report.finished
    assert not report.ok


@pytest.mark.parametrize(("id_column", "ids"), [("bigint", None), ("uuid", UUIDS), ("text", SCRIPTS)])
async def test_a_dead_letter_put_back_is_pending(
    make: MakeJob, id_column: str, ids: list[RecordId] | None
) -> None:
    record = ids[5] if ids else 6
    signed = await make(id_column=id_column, ids=ids, dead=frozenset({record}))
    await retry_dead(signed.connection, signed.job)
    report = await audit(signed)
    assert found(report) == {"pending": 1}
    assert named(report, "pending") == {str(record)}


async def test_a_record_that_no_part_of_its_split_batch_covers_is_missing(make: MakeJob) -> None:
    signed = await make(waiting=frozenset({6}))
    for _ in range(signed.job.spec.retries.max_attempts):
        await fail_one(signed.connection, signed.job, 2)
    assert found(await audit(signed)) == {"pending": 4}
    await signed.execute("DELETE FROM vaultstream.batches WHERE NOT planned AND first_id = '5'")
    report = await audit(signed)
    assert found(report) == {"pending": 2, "missing": 2}
    assert named(report, "missing") == {"5", "6"}


async def test_a_job_not_yet_cut_into_batches_is_not_finished(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("UPDATE vaultstream.jobs SET planned = false")
    report = await audit(signed)
    assert found(report) == {}
    assert not report.ok
    assert report.problems == ["records not yet planned as batches"]


async def test_a_job_deleted_with_retain_is_verified_by_its_token(make: MakeJob) -> None:
    signed = await make()
    await delete_job(signed.connection, signed.job.job_no, "Retain")
    assert (await audit(signed)).ok
    with pytest.raises(UnknownJobError):
        await verify_job(signed.url, "receipts")


async def test_a_row_inserted_into_the_source_afterwards_is_no_record_of_the_job(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("INSERT INTO receipts VALUES (500, $1)", payload_of(500).encode())
    assert found(await audit(signed)) == {}


async def test_a_view_is_verified_like_a_table(make: MakeJob) -> None:
    signed = await make(payload_column="text")
    await signed.read_through("id, payload")
    assert found(await audit(signed)) == {}


async def test_changes_while_it_runs_are_not_seen(make: MakeJob) -> None:
    signed = await make(waiting=frozenset({6}))

    async def tamper() -> None:
        connection = await asyncpg.connect(signed.url)
        await connection.execute(f"DELETE FROM {signed.signatures} WHERE record_id = 1")
        await connection.execute("UPDATE receipts SET payload = 'other' WHERE id = 2")
        await connection.execute("UPDATE vaultstream.batches SET state = 'done', signed = records")
        await connection.close()

    def at_the_start(done: int, _total: int) -> None:
        if done == 0:
            with ThreadPoolExecutor() as thread:
                thread.submit(asyncio.run, tamper()).result()

    report = await verify_job(signed.url, "receipts", processes=2, progress=at_the_start)
    assert found(report) == {"pending": 4}
    assert found(await audit(signed)) == {"missing": 5, "changed": 1}
