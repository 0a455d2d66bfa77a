"""The database's owner, who has no private key, writes what he likes: `verify` names what was done.

Where he can, he changes everything consistently: the source, the signatures, the batches and the history of leases.
"""

from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from integration.audit.audits import audit, found, named, stated
from integration.audit.conftest import MakeJob
from integration.audit.signed_job import SignedJob, payload_of, private_key
from vaultstream.api import Algorithm
from vaultstream.audit.report import AuditReport
from vaultstream.crypto.algorithms import generate_private_key, public_key_to_bytes, signer
from vaultstream.crypto.low_s import P256_ORDER
from vaultstream.proof.statement import signed_bytes

pytestmark = pytest.mark.integration

UNGUARD = "ALTER TABLE vaultstream.jobs DISABLE TRIGGER guard"
SWAP = """
    UPDATE receipts a SET payload = b.payload FROM receipts b WHERE (a.id, b.id) IN (($1, $2), ($2, $1));
    UPDATE {s} a SET signature = b.signature, digest = b.digest
    FROM {s} b WHERE (a.record_id, b.record_id) IN (($1, $2), ($2, $1))
"""


async def swap(signed: SignedJob, one: int, other: int) -> None:
    for statement in SWAP.replace("$1", str(one)).replace("$2", str(other)).split(";"):
        await signed.execute(statement)


async def only(signed: SignedJob, findings: dict[str, int]) -> AuditReport:
    """Verifies a job, whose only findings are these."""
    report = await audit(signed)
    assert found(report) == findings, report.examples
    assert not report.ok
    return report


def reason(report: AuditReport, kind: str) -> str:
    return report.examples[kind][0].reason


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


@pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_P256_SHA256, Algorithm.ED25519])
async def test_two_records_swapped_with_their_payloads(make: MakeJob, algorithm: Algorithm) -> None:
    signed = await make(algorithm=algorithm)
    await swap(signed, 6, 8)
    report = await only(signed, {"swapped": 1})
    assert named(report, "swapped") == {"6"}
    assert "'8'" in reason(report, "swapped")


async def test_two_records_swapped_between_batches(make: MakeJob) -> None:
    """Under one key: each signature verifies where it is now."""
    signed = await make(keys=1)
    await swap(signed, 2, 10)
    await only(signed, {"altered": 2})


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


async def test_a_deleted_statement(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("DELETE FROM vaultstream.statements WHERE batch_no = 2")
    report = await only(signed, {"unstated": 1})
    assert reason(report, "unstated") == "batch 2 has no statement of its key"


async def test_statements_deleted_and_the_job_called_one_from_before(make: MakeJob) -> None:
    """This leaves the signatures: `verify` says that nothing else is proved. Their times are those of the commits then."""
    signed = await make()
    await signed.execute("DELETE FROM vaultstream.statements")
    await signed.execute(UNGUARD)
    await signed.execute("UPDATE vaultstream.jobs SET stated = false")
    await only(signed, {"bad_leases": 12})
    await signed.execute(
        "UPDATE {s} s SET signed_at = upper(l.during) FROM vaultstream.leases l "
        "WHERE (l.key_no, l.epoch) = (s.key_no, s.epoch)"
    )
    report = await audit(signed)
    assert report.ok
    assert report.before_statements == 3
    assert "nothing proves" in report.notes[0]


async def test_the_statement_of_another_batch(make: MakeJob) -> None:
    signed = await make()
    await signed.execute(
        "UPDATE vaultstream.statements a SET body = b.body, signature = b.signature "
        "FROM vaultstream.statements b WHERE a.batch_no = 1 AND b.batch_no = 3"
    )
    await only(signed, {"bad_statements": 1})


async def test_the_statement_of_another_job_with_the_same_keys(make: MakeJob) -> None:
    signed = await make(keys=1)
    body = await signed.connection.fetchval("SELECT body FROM vaultstream.statements WHERE batch_no = 1")
    other = body.replace(signed.job.token, "another")
    forged = signer(private_key(Algorithm.ECDSA_P256_SHA256, 1), Algorithm.ECDSA_P256_SHA256)(
        signed_bytes(other)
    )
    await signed.execute(
        "UPDATE vaultstream.statements SET body = $1, signature = $2 WHERE batch_no = 1", other, forged
    )
    report = await only(signed, {"bad_statements": 1})
    assert "about the job 'another'" in reason(report, "bad_statements")


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ('"count":4', '"count":3'),
        ('"epoch":1', '"epoch":7'),
        ('"firstId":"1"', '"firstId":"0"'),
        ('"signedAt":"2', '"signedAt":"1'),
        ('"root":"', '"root":"0'),
    ],
)
async def test_a_statement_with_another_text(make: MakeJob, text: str, other: str) -> None:
    signed = await make()
    await signed.execute(
        "UPDATE vaultstream.statements SET body = replace(body, $1, $2) WHERE batch_no = 1", text, other
    )
    report = await only(signed, {"bad_statements": 1})
    assert "is not signed by key" in reason(report, "bad_statements")


async def test_a_statement_and_a_batch_under_another_epoch(make: MakeJob) -> None:
    signed = await make()
    where = "(key_no, epoch) = (SELECT key_no, epoch FROM vaultstream.leases WHERE batch_no = 1)"
    await signed.execute(f"UPDATE {{s}} SET epoch = 77 WHERE {where}")
    await signed.execute(f"UPDATE vaultstream.statements SET epoch = 77 WHERE {where}")
    await signed.execute("UPDATE vaultstream.leases SET epoch = 77 WHERE batch_no = 1")
    report = await only(signed, {"bad_statements": 1})
    assert "about the epoch 1 and not 77" in reason(report, "bad_statements")


async def test_a_batch_under_another_key_of_the_job(make: MakeJob) -> None:
    signed = await make()
    for table in (signed.signatures, "vaultstream.statements"):
        await signed.execute(
            f"UPDATE {table} SET key_no = (SELECT max(key_no) FROM vaultstream.keys), epoch = 50 "
            "WHERE (key_no, epoch) = (SELECT key_no, epoch FROM vaultstream.leases WHERE batch_no = 1)"
        )
    await signed.execute(
        "UPDATE vaultstream.leases SET key_no = (SELECT max(key_no) FROM vaultstream.keys), epoch = 50 WHERE batch_no = 1"
    )
    report = await only(signed, {"invalid": 4})
    assert stated(report) == {"bad_statements": 1}


async def test_a_batch_signed_again_by_a_key_of_the_owner_under_the_name_of_the_jobs_key(
    make: MakeJob,
) -> None:
    """He replaces the public half and each signature under it, but not the statements: those he would have to sign too."""
    signed = await make(keys=1)
    planted = generate_private_key(Algorithm.ECDSA_P256_SHA256)
    sign = signer(planted, Algorithm.ECDSA_P256_SHA256)
    await signed.execute("UPDATE vaultstream.keys SET public_key = $1", public_key_to_bytes(planted))
    for n in signed.ids:
        await signed.execute(
            "UPDATE {s} SET signature = $2 WHERE record_id = $1", n, sign(payload_of(n).encode())
        )
    await only(signed, {"bad_statements": 3})


async def test_a_holder_of_somebody_else_in_the_history(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("UPDATE vaultstream.leases SET holder = 'mallory' WHERE batch_no = 2")
    report = await only(signed, {"bad_statements": 1})
    assert "holder" in reason(report, "bad_statements")


async def test_a_dead_letter_in_the_place_of_a_signature(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("DELETE FROM {s} WHERE record_id = 7")
    await signed.execute("UPDATE vaultstream.batches SET signed = 3, dead = 1 WHERE batch_no = 2")
    await signed.execute(
        "INSERT INTO vaultstream.dead_letters SELECT job_no, '7', 2, 'RecordGone', 'gone' FROM vaultstream.jobs"
    )
    await only(signed, {"dropped": 1})


async def test_a_settled_batch_called_one_to_be_signed(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("UPDATE vaultstream.batches SET state = 'pending' WHERE batch_no = 2")
    report = await audit(signed)
    assert stated(report) == {"missing_batches": 1}


async def test_a_payload_changed_with_its_digest(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("UPDATE receipts SET payload = 'other' WHERE id = 4")
    await signed.execute("UPDATE {s} SET digest = $1 WHERE record_id = 4", sha256(b"other").digest())
    report = await only(signed, {"invalid": 1})
    assert stated(report) == {"altered": 1}


async def add_copy(signed: SignedJob, row: str = "key_no, epoch, signed_at") -> None:
    """Adds record 13 to the last batch, with what key 1 signed for record 2."""
    await signed.execute("INSERT INTO receipts SELECT 13, payload FROM receipts WHERE id = 2")
    await signed.execute(
        f"INSERT INTO {{s}} SELECT 13, {row}, digest, signature FROM {{s}} WHERE record_id = 2"
    )
    await signed.execute(
        "UPDATE vaultstream.batches SET records = 5, signed = 5, last_id = '13' WHERE batch_no = 3"
    )


HIDDEN = ["state = 'done', signed = 0, dead = records", "state = 'split', signed = 0, dead = 0"]


@pytest.mark.parametrize("hidden", HIDDEN)
async def test_a_record_dropped_from_a_batch_whose_row_denies_its_signatures(
    make: MakeJob, hidden: str
) -> None:
    signed = await make()
    await signed.execute("DELETE FROM receipts WHERE id = 6")
    await signed.execute("DELETE FROM {s} WHERE record_id = 6")
    await signed.execute("DELETE FROM vaultstream.statements WHERE batch_no = 2")
    await signed.execute(f"UPDATE vaultstream.batches SET {hidden} WHERE batch_no = 2")
    await signed.execute(
        "UPDATE vaultstream.batches SET records = 3, dead = least(dead, 3), ids = '{{5,7,8}}' WHERE batch_no = 2"
    )
    report = await audit(signed)
    assert reason(report, "unstated") == "batch 2 has no statement of its key"
    assert not report.ok


@pytest.mark.parametrize("hidden", HIDDEN)
async def test_all_batches_deny_their_signatures(make: MakeJob, hidden: str) -> None:
    """Then records are swapped between them."""
    signed = await make(keys=1)
    await signed.execute("DELETE FROM vaultstream.statements")
    await signed.execute(f"UPDATE vaultstream.batches SET {hidden}")
    await swap(signed, 2, 10)
    report = await audit(signed)
    assert report.unstated == 3
    assert not report.ok


async def test_a_statement_whose_batch_denies_its_signatures(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("UPDATE vaultstream.batches SET signed = 0, dead = records WHERE batch_no = 2")
    report = await only(signed, {"altered": 1})
    assert "says that 0 records were signed, and its key signed 4" in reason(report, "altered")


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


async def test_no_number_of_batches_denied_hides_that_a_job_is_one_from_before(make: MakeJob) -> None:
    """The number is that of batches whose signatures are under no statement, whatever their rows say."""
    signed = await make()
    await signed.execute("DELETE FROM vaultstream.statements WHERE batch_no < 3")
    await signed.execute(UNGUARD)
    await signed.execute("ALTER TABLE vaultstream.jobs ALTER stated DROP NOT NULL")
    await signed.execute("UPDATE vaultstream.jobs SET stated = NULL")
    await signed.execute("UPDATE vaultstream.batches SET signed = 0, dead = records WHERE batch_no < 3")
    await signed.execute(
        "UPDATE {s} s SET signed_at = upper(l.during) FROM vaultstream.leases l "
        "WHERE (l.key_no, l.epoch) = (s.key_no, s.epoch) AND l.batch_no < 3"
    )
    report = await audit(signed)
    assert report.before_statements == 2
    assert "none proves that it is complete" in report.notes[0]
    assert "2 batches have signatures and no statement" in report.notes[0]


async def test_a_job_called_one_from_before_that_kept_its_statements_is_not_proved_complete(
    make: MakeJob,
) -> None:
    signed = await make()
    await signed.execute(UNGUARD)
    await signed.execute("UPDATE vaultstream.jobs SET stated = false")
    report = await audit(signed)
    assert report.ok
    assert "0 batches have signatures and no statement" in report.notes[0]


@pytest.mark.parametrize(("first", "last"), [("8", "5"), ("777", "zzz")])
async def test_a_statement_by_the_batch_s_key_with_false_ends(make: MakeJob, first: str, last: str) -> None:
    """As a signer could have it committed that holds the key."""
    signed = await make(keys=1)
    body = await signed.connection.fetchval("SELECT body FROM vaultstream.statements WHERE batch_no = 2")
    body = body.replace('"firstId":"5"', f'"firstId":"{first}"').replace('"lastId":"8"', f'"lastId":"{last}"')
    sign = signer(private_key(Algorithm.ECDSA_P256_SHA256, 1), Algorithm.ECDSA_P256_SHA256)
    await signed.execute(
        "UPDATE vaultstream.statements SET body = $1, signature = $2 WHERE batch_no = 2",
        body,
        sign(signed_bytes(body)),
    )
    report = await only(signed, {"bad_statements": 1})
    assert f"go from '{first}' to '{last}'" in reason(report, "bad_statements")
