"""The database's owner removes batches, exchanges records between them, or adds some: `verify` names it."""

from __future__ import annotations

import pytest

from integration.audit.audits import audit, named, stated
from integration.audit.conftest import MakeJob
from integration.audit.tampering import UNGUARD, add_copy, only, reason, swap

pytestmark = pytest.mark.integration


async def test_many_records_dropped_with_their_batches(make: MakeJob) -> None:
    """As an owner did once with 500 of them, unseen."""
    signed = await make(ids=list(range(1, 41)))
    await signed.execute("DELETE FROM receipts WHERE id BETWEEN 9 AND 16")
    await signed.execute("DELETE FROM {s} WHERE record_id BETWEEN 9 AND 16")
    await signed.execute("DELETE FROM vaultstream.leases WHERE batch_no IN (3, 4)")
    await signed.execute("DELETE FROM vaultstream.statements WHERE batch_no IN (3, 4)")
    await signed.execute("DELETE FROM vaultstream.batches WHERE batch_no IN (3, 4)")
    report = await only(signed, {"missing_batches": 2})
    assert reason(report, "missing_batches") == "the batches from number 3 to 4 are gone"


async def test_a_batch_whose_number_was_given_to_the_next_one(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("DELETE FROM {s} WHERE record_id BETWEEN 5 AND 8")
    await signed.execute("DELETE FROM receipts WHERE id BETWEEN 5 AND 8")
    for table in ("leases", "statements", "batches"):
        await signed.execute(f"DELETE FROM vaultstream.{table} WHERE batch_no = 2")
        await signed.execute(f"UPDATE vaultstream.{table} SET batch_no = 2 WHERE batch_no = 3")
    await signed.execute(UNGUARD)
    await signed.execute("UPDATE vaultstream.jobs SET next_batch_no = 3")
    report = await only(signed, {"bad_statements": 1})
    assert "is about the batch 3 and not 2" in reason(report, "bad_statements")


async def test_the_last_batch_dropped_but_for_its_statement(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("DELETE FROM {s} WHERE record_id > 8")
    await signed.execute("DELETE FROM vaultstream.batches WHERE batch_no = 3")
    await signed.execute(UNGUARD)
    await signed.execute("UPDATE vaultstream.jobs SET next_batch_no = 3")
    await only(signed, {"missing_batches": 1})


async def test_two_records_swapped_between_batches(make: MakeJob) -> None:
    """Under one key: each signature verifies where it is now."""
    signed = await make(keys=1)
    await swap(signed, 2, 10)
    await only(signed, {"altered": 2})


async def test_a_record_added_under_the_lease_of_another_batch(make: MakeJob) -> None:
    signed = await make()
    await add_copy(signed)
    report = await audit(signed)
    assert named(report, "added") == {"13"}
    assert report.added == 1


async def test_a_record_added_under_a_lease_that_never_was(make: MakeJob) -> None:
    signed = await make()
    await signed.execute(
        "INSERT INTO vaultstream.leases (key_no, epoch, holder, during, outcome) "
        "SELECT key_no, 900, 'signer', '[2020-01-01, 2020-01-02)', 'committed' FROM vaultstream.leases WHERE batch_no = 1"
    )
    await add_copy(signed, "key_no, 900, '2020-01-01 12:00Z'")
    assert named(await audit(signed), "added") == {"13"}


async def test_a_record_added_in_a_split_batch_whose_parts_have_it_not(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("UPDATE vaultstream.batches SET planned = false WHERE batch_no = 2")
    await signed.execute(
        "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids, planned, state) "
        "SELECT job_no, 4, 5, '5', '13', '{{5,6,7,8,13}}', true, 'split' FROM vaultstream.jobs"
    )
    await signed.execute(UNGUARD)
    await signed.execute("UPDATE vaultstream.jobs SET next_batch_no = 5")
    await signed.execute("INSERT INTO receipts SELECT 13, payload FROM receipts WHERE id = 2")
    await signed.execute(
        "INSERT INTO {s} SELECT 13, key_no, epoch, signed_at, digest, signature FROM {s} WHERE record_id = 2"
    )
    report = await audit(signed)
    assert (report.unstated, report.missing_batches) == (1, 1)
    assert not report.ok


async def test_a_second_lease_of_an_epoch_makes_up_for_no_added_records(make: MakeJob) -> None:
    """As many signatures as were stated, if a statement is counted twice."""
    signed = await make()
    await signed.execute("ALTER TABLE vaultstream.leases DROP CONSTRAINT leases_pkey")
    await signed.execute(
        "INSERT INTO vaultstream.leases (key_no, epoch, holder, during, outcome) "
        "SELECT key_no, epoch, holder, '[2020-01-01, 2020-01-02)', outcome FROM vaultstream.leases WHERE batch_no = 3"
    )
    for n in range(13, 17):
        await signed.execute("INSERT INTO receipts SELECT $1, payload FROM receipts WHERE id = 2", n)
        await signed.execute(
            "INSERT INTO {s} SELECT $1, key_no, epoch, signed_at, digest, signature FROM {s} WHERE record_id = 2",
            n,
        )
    await signed.execute(
        "UPDATE vaultstream.batches SET records = 8, last_id = '16', dead = 4 WHERE batch_no = 3"
    )
    report = await audit(signed)
    assert (report.bad_statements, report.added) == (1, 4)
    assert "more than one" in reason(report, "bad_statements")


async def test_a_settled_batch_called_one_to_be_signed(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("UPDATE vaultstream.batches SET state = 'pending' WHERE batch_no = 2")
    report = await audit(signed)
    assert stated(report) == {"missing_batches": 1}


@pytest.mark.parametrize(
    "left",
    [
        "planned = false, state = 'split', signed = 0, dead = 0",
        "records = 0, ids = '{{}}', signed = 0, dead = 0",
        "planned = false, first_id = '1', last_id = '4', signed = 0, dead = 4",
        "planned = false, first_id = '9', last_id = '12', signed = 0, dead = 4",
        "planned = false, signed = 0, dead = 4",
    ],
)
async def test_a_batch_dropped_but_for_its_number(make: MakeJob, left: str) -> None:
    signed = await make()
    await signed.execute("DELETE FROM {s} WHERE record_id BETWEEN 5 AND 8")
    await signed.execute("DELETE FROM receipts WHERE id BETWEEN 5 AND 8")
    await signed.execute("DELETE FROM vaultstream.leases WHERE batch_no = 2")
    await signed.execute("DELETE FROM vaultstream.statements WHERE batch_no = 2")
    await signed.execute(f"UPDATE vaultstream.batches SET {left} WHERE batch_no = 2")
    await only(signed, {"missing_batches": 1})
