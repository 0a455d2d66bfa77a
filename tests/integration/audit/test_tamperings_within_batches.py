"""The database's owner changes the records of one batch, and everything about them that needs no private key: `verify` names it."""

from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from integration.audit.audits import audit, named, stated
from integration.audit.conftest import MakeJob
from integration.audit.tampering import only, reason, swap
from vaultstream.api import Algorithm
from vaultstream.crypto.low_s import P256_ORDER

pytestmark = pytest.mark.integration


async def test_an_untouched_job_has_a_true_statement_for_each_batch(make: MakeJob) -> None:
    report = await audit(await make(dead=frozenset({2, 9, 10, 11, 12})))
    assert report.ok, report.examples
    assert (report.statements, report.stated, report.before_statements) == (2, 7, 0)


async def test_a_record_dropped_with_its_row_its_signature_and_its_place_in_the_batch(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("DELETE FROM receipts WHERE id = 6")
    await signed.execute("DELETE FROM {s} WHERE record_id = 6")
    await signed.execute(
        "UPDATE vaultstream.batches SET records = 3, signed = 3, ids = '{{5,7,8}}' WHERE batch_no = 2"
    )
    report = await only(signed, {"dropped": 1})
    assert "batch 2" in reason(report, "dropped")
    assert report.records == 11


@pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_P256_SHA256, Algorithm.ED25519])
async def test_two_records_swapped_with_their_payloads(make: MakeJob, algorithm: Algorithm) -> None:
    signed = await make(algorithm=algorithm)
    await swap(signed, 6, 8)
    report = await only(signed, {"swapped": 1})
    assert named(report, "swapped") == {"6"}
    assert "'8'" in reason(report, "swapped")


async def test_two_neighbors_swapped_in_a_batch_of_many(make: MakeJob) -> None:
    signed = await make(ids=list(range(1, 201)), batch_size=200, algorithm=Algorithm.ED25519)
    await swap(signed, 77, 78)
    assert named(await only(signed, {"swapped": 1}), "swapped") == {"77"}


async def test_a_record_added_with_a_copy_of_another_ones_payload_and_signature(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("INSERT INTO receipts SELECT 13, payload FROM receipts WHERE id = 10")
    await signed.execute(
        "INSERT INTO {s} SELECT 13, key_no, epoch, signed_at, digest, signature FROM {s} WHERE record_id = 10"
    )
    await signed.execute(
        "UPDATE vaultstream.batches SET records = 5, signed = 5, last_id = '13' WHERE batch_no = 3"
    )
    report = await only(signed, {"added": 1})
    assert "batch 3" in reason(report, "added")


async def test_a_record_added_in_the_middle_of_a_batch(make: MakeJob) -> None:
    signed = await make(ids=list("abcdefgh"), id_column="text")
    await signed.execute("INSERT INTO receipts SELECT 'bb', payload FROM receipts WHERE id = 'f'")
    await signed.execute(
        "INSERT INTO {s} SELECT 'bb', key_no, epoch, signed_at, digest, signature FROM {s} WHERE record_id = 'f'"
    )
    await signed.execute(
        "UPDATE vaultstream.batches SET records = 5, signed = 5, ids = '{{a,b,bb,c,d}}' WHERE batch_no = 1"
    )
    assert named(await audit(signed), "added") == {"bb"}


async def test_a_record_moved_to_another_id_at_the_end_of_its_batch(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("UPDATE receipts SET id = 900 WHERE id = 12")
    await signed.execute("UPDATE {s} SET record_id = 900 WHERE record_id = 12")
    await signed.execute("UPDATE vaultstream.batches SET ids = '{{9,10,11,900}}' WHERE batch_no = 3")
    report = await only(signed, {"moved": 1})
    assert "'900'" in reason(report, "moved")
    assert "'12'" in reason(report, "moved")


async def test_a_record_moved_to_another_id_within_its_batch(make: MakeJob) -> None:
    signed = await make(ids=[10, 20, 30, 40])
    await signed.execute("UPDATE receipts SET id = 25 WHERE id = 20")
    await signed.execute("UPDATE {s} SET record_id = 25 WHERE record_id = 20")
    await signed.execute("UPDATE vaultstream.batches SET ids = '{{10,25,30,40}}'")
    await only(signed, {"altered": 1})


async def test_one_signature_put_at_the_place_of_another_one(make: MakeJob) -> None:
    """Record 3 gets the payload, the digest and the signature of record 2, and nothing is left of its own."""
    signed = await make()
    await signed.execute(
        "UPDATE receipts SET payload = (SELECT payload FROM receipts WHERE id = 2) WHERE id = 3"
    )
    await signed.execute(
        "UPDATE {s} a SET signature = b.signature, digest = b.digest FROM {s} b WHERE a.record_id = 3 AND b.record_id = 2"
    )
    await only(signed, {"altered": 1})


async def test_all_times_set_back_a_year(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("UPDATE {s} SET signed_at = signed_at - interval '1 year'")
    await signed.execute("UPDATE vaultstream.batches SET settled_at = settled_at - interval '1 year'")
    await signed.execute(
        "UPDATE vaultstream.leases SET committed_at = committed_at - interval '1 year', "
        "during = tstzrange(lower(during) - interval '1 year', upper(during) - interval '1 year')"
    )
    report = await only(signed, {"retimed": 12})
    assert named(report, "retimed") == {str(n) for n in range(1, 13)}


async def test_one_time_changed_within_its_lease(make: MakeJob) -> None:
    signed = await make()
    await signed.execute(
        "UPDATE {s} SET signed_at = (SELECT upper(during) FROM vaultstream.leases WHERE batch_no = 1) WHERE record_id = 3"
    )
    assert named(await only(signed, {"retimed": 1}), "retimed") == {"3"}


@pytest.mark.parametrize("ids", [[3], list(range(1, 13))])
async def test_signatures_replaced_by_their_other_form(make: MakeJob, ids: list[int]) -> None:
    signed = await make()
    for row in await signed.connection.fetch(f"SELECT record_id, signature FROM {signed.signatures}"):
        if row["record_id"] in ids:
            r, s = decode_dss_signature(row["signature"])
            twin = encode_dss_signature(r, P256_ORDER - s)
            await signed.execute("UPDATE {s} SET signature = $2 WHERE record_id = $1", row["record_id"], twin)
    report = await only(signed, {"invalid": len(ids)})
    assert named(report, "invalid") == {str(n) for n in ids}
    assert "in another form than was signed" in reason(report, "altered")


async def test_a_dead_letter_in_the_place_of_a_signature(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("DELETE FROM {s} WHERE record_id = 7")
    await signed.execute("UPDATE vaultstream.batches SET signed = 3, dead = 1 WHERE batch_no = 2")
    await signed.execute(
        "INSERT INTO vaultstream.dead_letters SELECT job_no, '7', 2, 'RecordGone', 'gone' FROM vaultstream.jobs"
    )
    await only(signed, {"dropped": 1})


async def test_a_payload_changed_with_its_digest(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("UPDATE receipts SET payload = 'other' WHERE id = 4")
    await signed.execute("UPDATE {s} SET digest = $1 WHERE record_id = 4", sha256(b"other").digest())
    report = await only(signed, {"invalid": 1})
    assert stated(report) == {"altered": 1}
