"""Batches in which nothing is odd are settled as a whole; each other one is checked record by record, with the same report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from integration.audit.audits import audit
from support.native import the_extension
from vaultstream.audit.checks import plain_batches
from vaultstream.audit.checks.checker import Checker
from vaultstream.audit.report import AuditReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from integration.audit.conftest import MakeJob
    from integration.audit.signed_job import RecordId, SignedJob

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("native")]
native = the_extension

GAPS: list[RecordId] = [-7, *range(2, 5), *range(9, 18, 2), *range(20, 26), 2**62]
"""Batches 1, 2 and 4 list their ids."""


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[RecordId]:
    """Collects the records that are checked by themselves."""
    seen: list[RecordId] = []
    check_slice = Checker._check_slice

    async def noted(checker: Checker, states: Mapping[RecordId, str], *rest: Any) -> Any:
        seen.extend(states)
        return await check_slice(checker, dict(states), *rest)

    monkeypatch.setattr(Checker, "_check_slice", noted)
    return seen


async def audited_both_ways(
    signed: SignedJob, monkeypatch: pytest.MonkeyPatch, alone: list[RecordId], **options: Any
) -> tuple[AuditReport, set[RecordId]]:
    """Returns the report, which must be the same record by record, and the records that were checked by themselves."""
    report = await audit(signed, **options)
    odd = set(alone)
    with monkeypatch.context() as patch:
        patch.setattr(plain_batches, "multibuffer", lambda: None)
        again = await audit(signed, **options)
    assert replace(report, seconds=0) == replace(again, seconds=0)
    return report, odd


@pytest.mark.parametrize("compare_source", [False, True])
@pytest.mark.parametrize("ids", [None, GAPS])
async def test_no_record_of_a_job_in_order_is_checked_by_itself(
    make: MakeJob,
    monkeypatch: pytest.MonkeyPatch,
    alone: list[RecordId],
    ids: list[RecordId] | None,
    compare_source: bool,
) -> None:
    signed = await make(ids=ids)
    report, odd = await audited_both_ways(signed, monkeypatch, alone, compare_source=compare_source)
    assert report.ok
    assert report.valid == report.stated == len(signed.ids)
    assert odd == set()


ODD = {
    "a payload": "UPDATE receipts SET payload = 'other' WHERE id = 6",
    "a digest": "UPDATE {s} SET digest = sha256('other') WHERE record_id = 6",
    "a signature that is gone": "DELETE FROM {s} WHERE record_id = 6",
    "a time without end": "UPDATE {s} SET signed_at = 'infinity' WHERE record_id = 6",
    "an epoch": "UPDATE {s} SET epoch = 7 WHERE record_id = 6",
    "a statement that is gone": "DELETE FROM vaultstream.statements WHERE batch_no = 2",
    "a lease that ended before": (
        "UPDATE vaultstream.leases SET during = tstzrange(lower(during) - interval '2 days', upper(during) - interval '1 day') "
        "WHERE batch_no = 2"
    ),
    "a number": "UPDATE vaultstream.batches SET signed = 3, dead = 1 WHERE batch_no = 2",
    "a dead letter": (
        "INSERT INTO vaultstream.dead_letters (job_no, record_id, batch_no, reason, message) "
        "SELECT job_no, '6', 2, 'PayloadNull', '' FROM vaultstream.jobs"
    ),
}


@pytest.mark.parametrize("statement", ODD.values(), ids=ODD)
async def test_only_the_records_of_an_odd_batch_are_checked_by_themselves(
    make: MakeJob,
    monkeypatch: pytest.MonkeyPatch,
    alone: list[RecordId],
    statement: str,
) -> None:
    signed = await make()
    await signed.execute("SET session_replication_role = replica")  # no guard, no constraint
    await signed.execute(statement)
    report, odd = await audited_both_ways(signed, monkeypatch, alone)
    assert odd == {5, 6, 7, 8}
    assert not report.ok


async def test_a_long_payload_and_a_revoked_key_are_looked_at_by_themselves(
    make: MakeJob, monkeypatch: pytest.MonkeyPatch, alone: list[RecordId]
) -> None:
    signed = await make(keys=3)
    await signed.execute("UPDATE receipts SET payload = repeat('x', 5000)::bytea WHERE id = 1")
    await signed.execute("SET session_replication_role = replica")
    await signed.execute(
        "UPDATE vaultstream.keys SET state = 'revoked', ended_at = now() WHERE key_no = ("
        "SELECT key_no FROM vaultstream.statements WHERE batch_no = 3)"
    )
    report, odd = await audited_both_ways(signed, monkeypatch, alone)
    assert odd == {1, 2, 3, 4, 9, 10, 11, 12}
    assert (report.valid, report.changed, report.revoked) == (11, 1, 4)


async def test_where_batches_overlap_each_record_is_checked_by_itself(
    make: MakeJob, monkeypatch: pytest.MonkeyPatch, alone: list[RecordId]
) -> None:
    signed = await make()
    await signed.execute(
        "UPDATE vaultstream.batches SET first_id = '4', records = 5, signed = 5 WHERE batch_no = 2"
    )
    report, odd = await audited_both_ways(signed, monkeypatch, alone)
    assert odd == set(signed.ids)
    assert report.planned_twice == 1


async def test_a_late_row_is_named_also_behind_copies_of_other_rows(
    make: MakeJob, monkeypatch: pytest.MonkeyPatch, alone: list[RecordId]
) -> None:
    """A source need not have a unique id: each copy takes the place of another row where no more rows are read than there are records."""
    signed = await make(ids=[1, 2, 3, 4, *range(6, 12)])
    await signed.execute("ALTER TABLE receipts DROP CONSTRAINT receipts_pkey")
    await signed.execute("INSERT INTO receipts SELECT * FROM receipts WHERE id = 7")
    await signed.execute("INSERT INTO receipts (id, payload) VALUES (5, 'late')")
    report, _ = await audited_both_ways(signed, monkeypatch, alone, compare_source=True)
    assert report.uncovered == 1
