"""The database's owner changes what is stored about batches: their statements, keys, leases and rows. `verify` names it."""

from __future__ import annotations

import pytest

from integration.audit.audits import audit, stated
from integration.audit.conftest import MakeJob
from integration.audit.signed_job import payload_of, private_key
from integration.audit.tampering import UNGUARD, only, reason, swap
from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import generate_private_key, public_key_to_bytes, signer
from vaultstream.proof.statement import signed_bytes

pytestmark = pytest.mark.integration

HIDDEN = ["state = 'done', signed = 0, dead = records", "state = 'split', signed = 0, dead = 0"]


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
