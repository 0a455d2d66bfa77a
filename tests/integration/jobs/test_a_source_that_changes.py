"""Rows that are inserted, changed or deleted while a job runs have a defined meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.lab import Lab

pytestmark = pytest.mark.integration


async def test_rows_inserted_after_planning_are_not_the_jobs(lab: Lab) -> None:
    await lab.table((2 * n, f"record {n}") for n in range(1, 101))
    job = await lab.open()
    await lab.plan(job)
    await lab.execute("INSERT INTO records SELECT 2 * n + 1, 'late' FROM generate_series(1, 300) AS n")
    await lab.finish(job)
    assert await lab.signed_ids(job) == {2 * n for n in range(1, 101)}
    assert (await lab.verify(job)).ok


async def test_a_payload_changed_before_it_is_read_is_signed_as_it_is_then(lab: Lab) -> None:
    await lab.table((n, "old") for n in range(1, 101))
    job = await lab.open()
    await lab.plan(job)
    await lab.execute("UPDATE records SET payload = 'new'")
    await lab.finish(job)
    assert (await lab.verify(job)).ok


async def test_a_record_changed_or_deleted_since_is_told_apart_from_a_bad_signature(lab: Lab) -> None:
    await lab.table((n, f"record {n}") for n in range(1, 101))
    job = (await lab.run()).job
    await lab.execute("UPDATE records SET payload = 'forged' WHERE id = 10")
    await lab.execute("DELETE FROM records WHERE id = 20")
    await lab.execute(
        f"UPDATE {job.signatures_table} SET signature = set_byte(signature, 10, get_byte(signature, 10) # 1) "
        "WHERE record_id = 30"
    )
    report = await lab.verify(job)
    assert not report.ok
    assert (report.changed, report.invalid, report.valid, report.missing) == (2, 1, 97, 0)
