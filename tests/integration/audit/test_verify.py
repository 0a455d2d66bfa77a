"""What `verify` finds in signatures, payloads and dead letters, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from integration.audit.audits import SCRIPTS, UUIDS, audit, found, named
from integration.audit.signed_job import RecordId, commit
from vaultstream.api import Algorithm
from vaultstream.audit import verify
from vaultstream.audit.verify import verify_job

if TYPE_CHECKING:
    from integration.audit.conftest import MakeJob

pytestmark = pytest.mark.integration

BY_DIGEST = (Algorithm.ECDSA_P256_SHA256, Algorithm.RSA_PSS_3072_SHA256)
BY_PAYLOAD = (Algorithm.ED25519, Algorithm.ML_DSA_65)
ALGORITHMS = (*BY_DIGEST, *BY_PAYLOAD)
ONE_OF_EACH_KIND = (Algorithm.ECDSA_P256_SHA256, Algorithm.ED25519)
"""One whose signatures can be checked by the digest, one that needs the payload."""
GAPS: list[RecordId] = [-(2**63), -5, 0, 7, 8, 9, 4_000_000_000, 2**63 - 1]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_an_untouched_job_passes_under_each_algorithm(make: MakeJob, algorithm: Algorithm) -> None:
    report = await audit(await make(algorithm=algorithm, dead=frozenset({5})))
    assert found(report) == {}
    assert report.ok
    assert (report.records, report.signed, report.dead, report.valid) == (12, 11, 1, 11)


@pytest.mark.parametrize(
    ("id_column", "ids", "payload_column"),
    [
        ("int", list(range(1, 13)), "text"),
        ("bigint", GAPS, "bytea"),
        ("bigint", GAPS, "json"),
        ("uuid", UUIDS, "jsonb"),
        ("uuid", UUIDS, "bytea"),
        ("text", SCRIPTS, "text"),
        ("varchar(40)", SCRIPTS, "varchar"),
        ('text COLLATE "C"', SCRIPTS, "jsonb"),
    ],
)
async def test_ids_and_payloads_of_every_type_pass(
    make: MakeJob, id_column: str, ids: list[RecordId], payload_column: str
) -> None:
    dead = frozenset(ids[3:4])
    report = await audit(await make(id_column=id_column, ids=ids, payload_column=payload_column, dead=dead))
    assert found(report) == {}
    assert (report.records, report.valid, report.dead) == (len(ids), len(ids) - 1, 1)


async def test_a_job_without_records_passes(make: MakeJob) -> None:
    report = await audit(await make(ids=[]))
    assert report.ok
    assert (report.records, report.processes) == (0, 1)


async def test_a_job_of_many_runs_is_shared_and_adds_up(make: MakeJob) -> None:
    signed = await make(ids=list(range(1, 3001)), batch_size=100, keys=2, algorithm=Algorithm.ED25519)
    await signed.execute("DELETE FROM {s} WHERE record_id % 1000 = 1")
    await signed.execute("UPDATE receipts SET payload = 'other' WHERE id % 100 = 2")
    seen: list[tuple[int, int]] = []
    report = await verify_job(signed.url, "receipts", processes=2, progress=lambda *at: seen.append(at))
    assert found(report) == {"missing": 3, "changed": 30}
    assert named(report, "missing") == {"1", "1001", "2001"}
    assert len(report.examples["changed"]) == 20
    assert report.processes == 2
    assert seen[0] == (0, 3000)
    assert seen[-1] == (3000, 3000)
    assert seen == sorted(seen)


async def test_processes_report_what_one_process_finds(
    make: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = await make(id_column="text", ids=SCRIPTS, batch_size=2, dead=frozenset({"a b"}), keys=2)
    for change in (
        "UPDATE {s} SET signature = '' WHERE record_id = 'zürich'",
        "UPDATE {s} SET key_no = 99999 WHERE record_id = '東京'",
        "DELETE FROM {s} WHERE record_id = 'القاهرة'",
        "UPDATE receipts SET payload = 'other' WHERE id = 'Αθήνα'",
        "DELETE FROM receipts WHERE id = ''",
        "INSERT INTO vaultstream.dead_letters SELECT job_no, 'it''s', 1, 'r', 'm' FROM vaultstream.jobs",
        "UPDATE vaultstream.statements SET signature = '' WHERE batch_no = 6",
        "UPDATE vaultstream.keys SET state = 'revoked', ended_at = '2020-01-01' WHERE ordinal = 2",
    ):
        await signed.execute(change)
    alone = await audit(signed)
    assert alone.processes == 1
    monkeypatch.setattr(verify, "MIN_RUN_RECORDS", 1)
    shared = await audit(signed)
    assert shared.processes == 2
    assert found(alone).keys() >= {
        *("invalid", "changed", "missing", "duplicates", "bad_leases", "after_revocation")
    }
    unlike = {"seconds", "processes", "examples"}
    assert {k: v for k, v in vars(alone).items() if k not in unlike} == {
        k: v for k, v in vars(shared).items() if k not in unlike
    }
    for kind, examples in alone.examples.items():
        assert set(examples) == set(shared.examples[kind])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_flipped_bit_of_a_signature_is_invalid(make: MakeJob, algorithm: Algorithm) -> None:
    signed = await make(algorithm=algorithm)
    await signed.execute(
        "UPDATE {s} SET signature = set_byte(signature, 40, get_byte(signature, 40) # 1) WHERE record_id = 7"
    )
    report = await audit(signed)
    assert found(report) == {"invalid": 1}
    assert named(report, "invalid") == {"7"}
    assert not report.ok


@pytest.mark.parametrize("garbage", [b"", b"\x00", b"\xff" * 5000])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_garbage_for_a_signature_is_invalid(
    make: MakeJob, algorithm: Algorithm, garbage: bytes
) -> None:
    signed = await make(algorithm=algorithm, ids=[1, 2])
    await signed.execute("UPDATE {s} SET signature = $1 WHERE record_id = 2", garbage)
    assert found(await audit(signed)) == {"invalid": 1}


@pytest.mark.parametrize("algorithm", ONE_OF_EACH_KIND)
async def test_two_swapped_signatures_are_both_invalid(make: MakeJob, algorithm: Algorithm) -> None:
    signed = await make(algorithm=algorithm)
    await signed.execute(
        "UPDATE {s} a SET signature = b.signature FROM {s} b WHERE (a.record_id, b.record_id) IN ((2, 3), (3, 2))"
    )
    report = await audit(signed)
    assert found(report) == {"invalid": 2}
    assert named(report, "invalid") == {"2", "3"}


async def test_a_signature_under_another_key_of_the_job_is_invalid(make: MakeJob) -> None:
    signed = await make(ids=[1, 2, 3, 4])
    await signed.execute(
        "UPDATE {s} SET key_no = (SELECT max(key_no) FROM vaultstream.keys) WHERE record_id = 1"
    )
    assert found(await audit(signed)) == {"invalid": 1, "bad_leases": 1}


async def test_a_signature_that_names_no_key_of_the_job_is_invalid(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("UPDATE {s} SET key_no = 99999 WHERE record_id = 1")
    report = await audit(signed)
    assert found(report) == {"invalid": 1, "bad_leases": 1}
    assert "does not belong to the job" in report.examples["invalid"][0].reason


async def test_a_broken_public_key_makes_its_signatures_invalid(make: MakeJob) -> None:
    signed = await make(ids=[1, 2])
    await signed.execute("UPDATE vaultstream.keys SET public_key = '\\x00'")
    assert found(await audit(signed)) == {"invalid": 2}


@pytest.mark.parametrize("algorithm", ONE_OF_EACH_KIND)
async def test_an_altered_digest_is_invalid_though_the_payload_verifies(
    make: MakeJob, algorithm: Algorithm
) -> None:
    signed = await make(algorithm=algorithm)
    await signed.execute("UPDATE {s} SET digest = sha256('other') WHERE record_id = 4")
    report = await audit(signed)
    assert found(report) == {"invalid": 1}
    assert "the stored digest does not" in report.examples["invalid"][0].reason


async def test_a_deleted_signature_is_missing(make: MakeJob) -> None:
    signed = await make()
    await signed.execute("DELETE FROM {s} WHERE record_id = 5")
    report = await audit(signed)
    assert found(report) == {"missing": 1}
    assert named(report, "missing") == {"5"}
    assert report.signed == 11


async def test_a_deleted_dead_letter_is_missing(make: MakeJob) -> None:
    signed = await make(dead=frozenset({5}))
    await signed.execute("DELETE FROM vaultstream.dead_letters")
    assert found(await audit(signed)) == {"missing": 1}


@pytest.mark.parametrize(
    ("id_column", "ids", "other"),
    [("bigint", None, "900"), ("uuid", UUIDS, str(UUID(int=5))), ("text", SCRIPTS, "Ω")],
)
async def test_a_signature_of_a_record_that_the_job_does_not_cover_is_unplanned(
    make: MakeJob, id_column: str, ids: list[RecordId] | None, other: str
) -> None:
    signed = await make(id_column=id_column, ids=ids)
    await signed.execute(
        "INSERT INTO {s} SELECT $1::text::{t}, key_no, epoch, signed_at, digest, signature FROM {s} LIMIT 1",
        other,
    )
    report = await audit(signed)
    assert found(report) == {"unplanned": 1}
    assert named(report, "unplanned") == {other}
    assert report.signed == 12


@pytest.mark.parametrize(("id_column", "ids"), [("bigint", None), ("uuid", UUIDS), ("text", SCRIPTS)])
async def test_a_dead_letter_of_a_record_that_the_job_does_not_cover_is_unplanned(
    make: MakeJob, id_column: str, ids: list[RecordId] | None
) -> None:
    signed = await make(id_column=id_column, ids=ids)
    await signed.execute(
        "INSERT INTO vaultstream.dead_letters SELECT job_no, '901', 1, 'r', 'm' FROM vaultstream.jobs"
    )
    report = await audit(signed)
    assert found(report) == {"unplanned": 1}
    assert report.dead == 0


async def test_a_record_both_signed_and_dead_is_a_duplicate(make: MakeJob) -> None:
    signed = await make()
    await signed.execute(
        "INSERT INTO vaultstream.dead_letters SELECT job_no, '3', 1, 'r', 'm' FROM vaultstream.jobs"
    )
    report = await audit(signed)
    assert found(report) == {"duplicates": 1}
    assert named(report, "duplicates") == {"3"}
    assert (report.signed, report.dead) == (12, 1)


@pytest.mark.parametrize(("id_column", "ids"), [("bigint", None), ("uuid", UUIDS), ("text", SCRIPTS)])
async def test_a_second_row_is_a_duplicate_where_the_primary_key_was_dropped(
    make: MakeJob, id_column: str, ids: list[RecordId] | None
) -> None:
    signed = await make(id_column=id_column, ids=ids)
    await signed.execute(f"ALTER TABLE {{s}} DROP CONSTRAINT signatures_{signed.job.job_no}_pkey")
    await signed.execute("INSERT INTO {s} SELECT * FROM {s} WHERE record_id = $1", signed.ids[2])
    report = await audit(signed)
    assert found(report) == {"duplicates": 1}
    assert named(report, "duplicates") == {str(signed.ids[2])}
    assert report.signed == report.valid == 13


async def test_a_duplicate_that_hides_a_deletion_is_found_as_both(make: MakeJob) -> None:
    signed = await make()
    await signed.execute(f"ALTER TABLE {{s}} DROP CONSTRAINT signatures_{signed.job.job_no}_pkey")
    await signed.execute("DELETE FROM {s} WHERE record_id = 1")
    await signed.execute("INSERT INTO {s} SELECT * FROM {s} WHERE record_id = 2")
    assert found(await audit(signed)) == {"missing": 1, "duplicates": 1}


@pytest.mark.parametrize(
    ("id_column", "ids"), [("bigint", None), ("bigint", GAPS), ("uuid", UUIDS), ("text", SCRIPTS)]
)
async def test_a_record_in_two_planned_batches_is_planned_twice(
    make: MakeJob, id_column: str, ids: list[RecordId] | None
) -> None:
    signed = await make(id_column=id_column, ids=ids)
    twice = str(signed.ids[1])
    await signed.execute(
        "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids, state, signed) "
        "SELECT job_no, 100, 1, $1, $1, ARRAY[$1], 'done', 1 FROM vaultstream.jobs",
        twice,
    )
    report = await audit(signed)
    assert report.planned_twice == 1
    assert named(report, "planned_twice") == {twice}
    assert report.records == len(signed.ids)
    assert not report.ok


@pytest.mark.parametrize("algorithm", ONE_OF_EACH_KIND)
async def test_a_changed_payload_is_changed_and_not_invalid(make: MakeJob, algorithm: Algorithm) -> None:
    signed = await make(algorithm=algorithm)
    await signed.execute("UPDATE receipts SET payload = 'other' WHERE id = 6")
    report = await audit(signed)
    assert found(report) == {"changed": 1}
    assert named(report, "changed") == {"6"}
    assert report.deleted == 0


@pytest.mark.parametrize("algorithm", ONE_OF_EACH_KIND)
async def test_a_payload_that_became_null_is_changed(make: MakeJob, algorithm: Algorithm) -> None:
    signed = await make(algorithm=algorithm)
    await signed.execute("UPDATE receipts SET payload = NULL WHERE id = 6")
    report = await audit(signed)
    assert found(report) == {"changed": 1}
    assert report.deleted == 0


@pytest.mark.parametrize("algorithm", ONE_OF_EACH_KIND)
async def test_a_deleted_row_is_changed_and_deleted(make: MakeJob, algorithm: Algorithm) -> None:
    signed = await make(algorithm=algorithm)
    await signed.execute("DELETE FROM receipts WHERE id = 6")
    report = await audit(signed)
    assert found(report) == {"changed": 1}
    assert report.deleted == 1


@pytest.mark.parametrize("change", ["DELETE FROM receipts", "UPDATE receipts SET payload = 'other'"])
async def test_a_bad_signature_is_not_hidden_by_a_change_where_its_digest_tells(
    make: MakeJob, change: str
) -> None:
    signed = await make()
    await signed.execute(
        "UPDATE {s} SET signature = set_byte(signature, 40, get_byte(signature, 40) # 1) WHERE record_id = 7"
    )
    await signed.execute(f"{change} WHERE id IN (7, 8)")
    report = await audit(signed)
    assert found(report) == {"invalid": 1, "changed": 1}
    assert named(report, "invalid") == {"7"}


async def test_long_payloads_pass_and_one_grown_over_the_limit_is_changed(make: MakeJob) -> None:
    signed = await make(payload_column="text", max_payload_bytes=100_000, ids=[1, 2, 3])
    payloads = {1: "ä" * 30_000, 2: "x" * 4096, 3: "x" * 4097}
    for record, payload in payloads.items():
        await signed.execute("UPDATE receipts SET payload = $2 WHERE id = $1", record, payload)
    await signed.execute("DELETE FROM {s}")
    await signed.execute("UPDATE vaultstream.batches SET state = 'pending', signed = 0")
    await signed.execute("DELETE FROM vaultstream.leases; DELETE FROM vaultstream.statements")
    await commit(
        signed.connection, signed.job, 1, [1, 2, 3], {i: p.encode() for i, p in payloads.items()}, dead=[]
    )
    assert found(await audit(signed)) == {}
    await signed.execute("UPDATE receipts SET payload = repeat('y', 100001) WHERE id = 1")
    report = await audit(signed)
    assert found(report) == {"changed": 1}
    assert "longer" in report.examples["changed"][0].reason


@pytest.mark.parametrize("algorithm", ONE_OF_EACH_KIND)
@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        ("DROP TABLE receipts", "it was dropped"),
        ("ALTER TABLE receipts RENAME COLUMN payload TO body", "no column 'payload'"),
        ("ALTER TABLE receipts ALTER id TYPE text", "now have the type text"),
    ],
)
async def test_without_its_source_a_job_is_changed_throughout_and_the_report_says_why(
    make: MakeJob, algorithm: Algorithm, loss: str, sentence: str
) -> None:
    signed = await make(algorithm=algorithm, ids=[1, 2, 3])
    await signed.execute(loss)
    report = await audit(signed)
    assert found(report) == {"changed": 3}
    assert sentence in report.notes[0]
    if algorithm in BY_DIGEST:
        await signed.execute(
            "UPDATE {s} SET signature = set_byte(signature, 40, get_byte(signature, 40) # 1)"
        )
        assert found(await audit(signed)) == {"invalid": 3}
