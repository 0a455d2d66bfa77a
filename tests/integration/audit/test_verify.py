from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import pytest

from integration.audit.signed_job import RecordId, commit, payload_of
from vaultstream.api import Algorithm
from vaultstream.audit.report import AuditReport, Finding
from vaultstream.audit.verify import verify_job
from vaultstream.errors import UnknownJobError
from vaultstream.store.jobs import delete_job, retry_dead

if TYPE_CHECKING:
    from integration.audit.conftest import MakeJob
    from integration.audit.signed_job import SignedJob

pytestmark = pytest.mark.integration

BY_DIGEST = (Algorithm.ECDSA_P256_SHA256, Algorithm.RSA_PSS_3072_SHA256)
BY_PAYLOAD = (Algorithm.ED25519, Algorithm.ML_DSA_65)
ALGORITHMS = (*BY_DIGEST, *BY_PAYLOAD)
ONE_OF_EACH_KIND = (Algorithm.ECDSA_P256_SHA256, Algorithm.ED25519)
"""One whose signatures can be checked by the digest, one that needs the payload."""
UUIDS: list[RecordId] = [UUID(int=(n * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128) for n in range(1, 13)]
SCRIPTS: list[RecordId] = [
    "zürich",
    "東京",
    "القاهرة",
    "Αθήνα",
    "it's",
    'a"b',
    "{id}",
    "a b",
    "",
    "\U0001f512",
    "a",
    "A",
]
GAPS: list[RecordId] = [-(2**63), -5, 0, 7, 8, 9, 4_000_000_000, 2**63 - 1]


async def audit(signed: SignedJob) -> AuditReport:
    report = await verify_job(signed.url, signed.job.token, processes=2)
    assert report.signed == report.valid + report.invalid + report.changed
    return report


def found(report: AuditReport) -> dict[str, int]:
    """What is at fault, and how often; nothing else is."""
    return {str(kind): getattr(report, kind) for kind in Finding if getattr(report, kind)}


def named(report: AuditReport, kind: str) -> set[str | None]:
    return {example.record for example in report.examples[kind]}


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
    assert (report.records, report.processes) == (0, 0)


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
    assert "none of the job's" in report.examples["invalid"][0].reason


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
    assert "stored digest is not that of the payload" in report.examples["invalid"][0].reason


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
        ("DROP TABLE receipts", "no table or view 'receipts'"),
        ("ALTER TABLE receipts RENAME COLUMN payload TO body", "no column 'payload'"),
        ("ALTER TABLE receipts ALTER id TYPE text", "of type text now"),
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


async def test_what_a_key_signed_before_it_was_revoked_stays_valid_and_is_counted(make: MakeJob) -> None:
    signed = await make()
    key = await signed.connection.fetchrow(
        f"SELECT key_no, count(*) FROM {signed.signatures} GROUP BY 1 LIMIT 1"
    )
    await signed.execute(
        "SELECT vaultstream.end_keys(job_no, ARRAY[key_id], 'revoked') FROM vaultstream.keys WHERE key_no = $1",
        key["key_no"],
    )
    report = await audit(signed)
    assert report.ok
    assert (report.valid, report.revoked) == (12, key["count"])


async def _allow_overlaps(signed: SignedJob) -> None:
    constraint = await signed.connection.fetchval(
        "SELECT conname FROM pg_constraint WHERE conrelid = 'vaultstream.leases'::regclass AND contype = 'x'"
    )
    await signed.execute(f"ALTER TABLE vaultstream.leases DROP CONSTRAINT {constraint}")


async def test_overlapping_leases_in_the_history_are_found_without_the_constraint(make: MakeJob) -> None:
    signed = await make()
    await _allow_overlaps(signed)
    await signed.execute(
        "INSERT INTO vaultstream.leases SELECT key_no, 77, 'thief', NULL, during, 'released' "
        "FROM vaultstream.leases WHERE epoch = 1 ORDER BY key_no LIMIT 1"
    )
    report = await audit(signed)
    assert found(report) == {"lease_overlaps": 1}
    assert "epoch" in report.examples["lease_overlaps"][0].reason


async def test_a_lease_within_a_long_one_is_found_though_others_lie_between(make: MakeJob) -> None:
    signed = await make()
    await _allow_overlaps(signed)
    await signed.execute(
        "INSERT INTO vaultstream.leases SELECT k.key_no, e, 'thief', NULL, tstzrange(began, ended), 'released' "
        "FROM (SELECT min(key_no) AS key_no FROM vaultstream.keys) k, (VALUES "
        "(70, '2001-01-01'::timestamptz, '2001-01-09'::timestamptz), "
        "(71, '2001-01-02', '2001-01-03'), (72, '2001-01-05', '2001-01-06'), (73, '2001-01-09', '2001-01-10')"
        ") AS v (e, began, ended)"
    )
    assert found(await audit(signed)) == {"lease_overlaps": 2}


async def test_a_lease_in_force_that_overlaps_the_history_is_found(make: MakeJob) -> None:
    signed = await make()
    lease = await signed.connection.fetchrow(
        "SELECT * FROM vaultstream.lease_keys($1, 'signer', 1, 30)", signed.job.job_no
    )
    assert found(await audit(signed)) == {}
    await signed.execute(
        "UPDATE vaultstream.keys SET leased_at = leased_at - $2::interval WHERE key_no = $1",
        lease["key_no"],
        timedelta(days=1),
    )
    report = await audit(signed)
    assert report.lease_overlaps >= 1
    assert set(found(report)) == {"lease_overlaps"}


async def test_leases_of_another_job_are_not_this_ones_fault(make: MakeJob) -> None:
    signed = await make()
    await _allow_overlaps(signed)
    await signed.execute(
        "INSERT INTO vaultstream.leases SELECT 4711, e, 'x', NULL, '[2020-01-01, 2021-01-01)', 'released' "
        "FROM generate_series(1, 2) AS e"
    )
    assert found(await audit(signed)) == {}


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM vaultstream.leases WHERE (key_no, epoch) = ($1, $2)",
        "UPDATE vaultstream.leases SET outcome = 'expired' WHERE (key_no, epoch) = ($1, $2)",
        "UPDATE vaultstream.leases SET during = '[2001-01-01, 2001-01-02)' WHERE (key_no, epoch) = ($1, $2)",
    ],
)
async def test_signatures_without_a_committed_lease_of_their_time_are_found(
    make: MakeJob, tampering: str
) -> None:
    signed = await make()
    row = await signed.connection.fetchrow(
        f"SELECT key_no, epoch FROM {signed.signatures} WHERE record_id = 1"
    )
    await signed.execute(tampering, row["key_no"], row["epoch"])
    report = await audit(signed)
    assert found(report) == {"bad_leases": 4}
    assert named(report, "bad_leases") == {"1", "2", "3", "4"}


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
    await signed.execute("SELECT vaultstream.fail_batch(job_no, 2, 'why', 1) FROM vaultstream.jobs")
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
    assert report.problems == ["records not yet cut into batches"]


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
    await signed.execute("ALTER TABLE receipts RENAME TO stored")
    await signed.execute("CREATE VIEW receipts AS SELECT id, payload FROM stored")
    assert found(await audit(signed)) == {}


async def test_what_happens_while_it_runs_is_not_seen(make: MakeJob) -> None:
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
