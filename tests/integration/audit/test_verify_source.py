"""A source that answers each reader as it likes is found, and `verify --source` names rows that belong to no batch."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from integration.audit.audits import audit, found, named
from integration.audit.signed_job import RecordId, payload_of
from vaultstream.audit import verify
from vaultstream.audit.checks import checker, plain_batches, source_rows
from vaultstream.audit.checks.judgement import Absence
from vaultstream.audit.checks.payloads import portions_of_payloads
from vaultstream.audit.verify import verify_job
from vaultstream.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from integration.audit.conftest import MakeJob
    from integration.audit.signed_job import SignedJob

pytestmark = pytest.mark.integration

INSERT = "INSERT INTO receipts VALUES ($1, $2)"


async def insert(signed: SignedJob, record: RecordId) -> None:
    await signed.execute(INSERT, record, payload_of(record).encode())


@pytest.mark.parametrize(
    ("id_column", "ids", "late"),
    [
        ("bigint", [1, 2, 3, 5, 6, 7], 4),
        ("bigint", [5, 6, 7], -3),
        ("uuid", [UUID(int=n) for n in (1, 2, 9)], UUID(int=7)),
        ("text", ["a", "b", "d"], "c"),
        ("text", ["a", "b", "d"], ""),
    ],
)
async def test_a_row_that_committed_late_is_named(
    make: MakeJob, id_column: str, ids: list[RecordId], late: RecordId
) -> None:
    signed = await make(id_column=id_column, ids=ids)
    await insert(signed, late)
    assert (await audit(signed)).ok
    report = await audit(signed, compare_source=True)
    assert found(report) == {"uncovered": 1}
    assert named(report, "uncovered") == {str(late)}
    assert not report.ok


async def test_rows_with_higher_ids_are_counted_and_no_problem(make: MakeJob) -> None:
    signed = await make(dead=frozenset({3}))
    assert (await audit(signed, compare_source=True)).added_since == 0
    await insert(signed, 500)
    await insert(signed, 501)
    report = await audit(signed, compare_source=True)
    assert report.ok, report.examples
    assert report.added_since == 2
    assert (await audit(signed)).added_since is None


async def test_rows_that_were_changed_and_deleted_since_are_named_as_ever(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("UPDATE receipts SET payload = 'other' WHERE id = 2")
    await signed.execute("DELETE FROM receipts WHERE id = 5")
    report = await audit(signed, compare_source=True)
    assert found(report) == {"changed": 2}
    assert report.deleted == 1


async def test_a_record_that_lost_its_signature_is_missing_and_not_uncovered(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("DELETE FROM {s} WHERE record_id = 6")
    assert found(await audit(signed, compare_source=True)) == {"missing": 1}


async def test_rows_without_an_id_and_with_one_that_no_job_can_have_are_found(make: MakeJob) -> None:
    signed = await make(id_column="text", ids=["a", "b", "c"])
    await signed.execute("ALTER TABLE receipts DROP CONSTRAINT receipts_pkey")
    await signed.execute("ALTER TABLE receipts ALTER id DROP NOT NULL")
    await signed.execute("INSERT INTO receipts VALUES (NULL, ''), (repeat('b', 3000), '')")
    report = await audit(signed, compare_source=True)
    assert found(report) == {"uncovered": 2}
    reasons = sorted(each.reason for each in report.examples["uncovered"])
    assert "more than 2,500 bytes, which begins with 'bbbb" in reasons[0]
    assert "has no id" in reasons[1]


async def test_many_rows_are_compared_in_portions(make: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_rows, "ROWS", 2)
    monkeypatch.setattr(source_rows, "UNSETTLED_ROWS", 3)
    signed = await make(ids=[10, 20, 30, 40])
    for late in range(21, 30):
        await insert(signed, late)
    report = await audit(signed, compare_source=True)
    assert found(report) == {"uncovered": 9}
    assert named(report, "uncovered") == {str(n) for n in range(21, 30)}


@pytest.mark.parametrize("id_column", ["bigint", "text"])
async def test_each_row_is_compared_once_by_the_processes_that_share_a_job(
    make: MakeJob, monkeypatch: pytest.MonkeyPatch, id_column: str
) -> None:
    """Rows before, between, within and after the runs, and where the ends of batches were altered."""
    monkeypatch.setattr(verify, "MAX_RUN_RECORDS", 4)  # a run for each batch
    numbers = range(10, 250, 20)
    ids: list[RecordId] = list(numbers) if id_column == "bigint" else [f"r{n:03}" for n in numbers]
    signed = await make(id_column=id_column, ids=ids)
    assert (await audit(signed, compare_source=True)).ok
    late: list[RecordId] = [
        n if id_column == "bigint" else f"r{n:03}" for n in range(5, 230, 10) if n not in numbers
    ]
    for each in late:
        await insert(signed, each)
    with monkeypatch.context() as patch:
        patch.setattr(source_rows, "COMPARED_ROWS", 4)
        report = await audit(signed, compare_source=True)
    assert found(report) == {"uncovered": len(late)}
    await signed.execute(
        "UPDATE vaultstream.batches SET last_id = first_id WHERE planned AND batch_no < (SELECT max(batch_no) FROM vaultstream.batches)"
    )
    assert named(await audit(signed, compare_source=True), "uncovered") >= set(map(str, late[:10]))


async def test_the_memory_for_rows_that_no_run_could_settle_is_bounded(
    make: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six runs of 600 rows each: more than 8 MB of ids."""
    numbers = [f"r{n:03}" for n in range(0, 240, 10)]
    signed = await make(id_column="text", ids=list(numbers))
    await signed.execute(
        "INSERT INTO receipts SELECT 'r' || to_char(40 * run + 5, 'FM000') || repeat('x', 2400) || n, '' "
        "FROM generate_series(0, 5) AS run, generate_series(1, 600) AS n"
    )
    monkeypatch.setattr(verify, "MAX_RUN_RECORDS", 4)  # a run for each batch
    monkeypatch.setattr(source_rows, "COMPARED_ROWS", 1)
    tracemalloc.start()
    try:
        report = await verify_job(signed.url, signed.job.token, processes=1, compare_source=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found(report) == {"uncovered": 3_600}
    assert peak < 7_000_000  # the rows of one run, some times over


@pytest.mark.parametrize("column", ["upper_id", "planned_id"])
async def test_a_last_id_of_another_type_is_an_error_of_the_job_and_not_of_its_source(
    make: MakeJob, column: str
) -> None:
    signed = await make()
    await signed.execute("ALTER TABLE vaultstream.jobs DISABLE TRIGGER guard")
    await signed.execute(f"UPDATE vaultstream.jobs SET {column} = '12x'")
    with pytest.raises(AuditError, match="or the job, ends with an id that has not the type bigint"):
        await audit(signed, compare_source=True)


async def test_rows_that_are_still_to_be_planned_are_not_uncovered(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("ALTER TABLE vaultstream.jobs DISABLE TRIGGER guard")
    await signed.execute("UPDATE vaultstream.jobs SET planned = false, planned_id = '12', upper_id = '100'")
    await insert(signed, 50)
    report = await audit(signed, compare_source=True)
    assert found(report) == {}
    assert report.added_since is None
    assert not report.finished


ANSWERS_ONCE = """
CREATE FUNCTION read_before(n bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN
    IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objid = n::int::oid) THEN
        RETURN true;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(n);
    RETURN false;
END $$"""
"""Tells the first read of a record in a transaction from later ones."""


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param("id, CASE WHEN NOT read_before(id) THEN repeat('x', 5000) END AS payload", id="NULL"),
        pytest.param(
            "id, repeat('x', CASE WHEN read_before(id) THEN 2 * 1024 * 1024 ELSE 5000 END) AS payload",
            id="too long",
        ),
        pytest.param(
            "id, repeat('x', 5000) AS payload FROM stored WHERE NOT read_before(id) UNION ALL SELECT NULL, NULL",
            id="no row",
        ),
    ],
)
async def test_a_long_payload_that_the_source_shows_only_once_is_judged(
    make: MakeJob, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setattr(plain_batches, "multibuffer", lambda: None)  # which would read them before
    signed = await make()
    await signed.execute(ANSWERS_ONCE)
    await signed.read_through(columns)
    report = await audit(signed)
    assert found(report) == {"changed": 12}
    assert {each.reason.partition(";")[0] for each in report.examples["changed"]} == {Absence.UNSTEADY}
    assert not report.ok


async def test_no_report_is_made_of_a_job_with_a_signature_that_was_not_judged(
    make: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def all_but_one(*given: Any, **options: Any) -> AsyncIterator[Any]:
        async for portion in portions_of_payloads(*given, **options):
            yield [found for found in portion if found[0] != 7]

    signed = await make()
    monkeypatch.setattr(plain_batches, "multibuffer", lambda: None)
    monkeypatch.setattr(checker, "portions_of_payloads", all_but_one)
    with pytest.raises(AuditError, match="12 signatures, and 11 were judged"):
        await audit(signed)
