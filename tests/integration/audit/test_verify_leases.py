"""What `verify` finds in keys and in the history of their leases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from integration.audit.audits import audit, found, named
from integration.audit.signed_job import commit
from vaultstream.audit.verify import verify_job
from vaultstream.crypto.revocations import Revocation, Revocations
from vaultstream.store.jobs import complete_job_if_settled

if TYPE_CHECKING:
    from integration.audit.conftest import MakeJob
    from integration.audit.signed_job import SignedJob

pytestmark = pytest.mark.integration


async def revoke_one(signed: SignedJob) -> tuple[int, int]:
    """Revokes a key that has signed; returns its number and how many signatures it made."""
    key = await signed.connection.fetchrow(
        f"SELECT key_no, count(*) FROM {signed.signatures} GROUP BY 1 LIMIT 1"
    )
    await signed.execute(
        "SELECT vaultstream.end_keys(job_no, ARRAY[key_id], 'revoked') FROM vaultstream.keys WHERE key_no = $1",
        key["key_no"],
    )
    return key["key_no"], key["count"]


async def test_what_a_key_signed_before_it_was_revoked_stays_valid_and_is_counted(make: MakeJob) -> None:
    signed = await make()
    _, signatures = await revoke_one(signed)
    report = await audit(signed)
    assert report.ok
    assert (report.valid, report.revoked) == (12, signatures)
    [revoked] = report.revoked_keys
    assert revoked.signatures == signatures


async def test_what_a_key_signed_after_it_was_revoked_is_found(make: MakeJob) -> None:
    """Someone who has the key writes to Postgres as the schema's owner."""
    signed = await make()
    key_no, signatures = await revoke_one(signed)
    await signed.execute("UPDATE {s} SET signed_at = clock_timestamp() WHERE key_no = $1", key_no)
    report = await audit(signed)
    assert not report.ok
    assert found(report)["after_revocation"] == signatures
    assert report.examples["after_revocation"][0].record is not None


@pytest.mark.parametrize("time", ["infinity", "-infinity"])
async def test_an_infinite_time_is_a_finding_and_no_crash(make: MakeJob, time: str) -> None:
    signed = await make()
    await signed.execute("UPDATE vaultstream.keys SET state = 'revoked', ended_at = '2000-01-01'")
    await signed.execute("UPDATE {s} SET signed_at = $1::text::timestamptz WHERE record_id = 3", time)
    report = await audit(signed)
    assert named(report, "bad_leases") == {"3"}
    assert report.after_revocation == (12 if time == "infinity" else 11)


async def test_a_key_that_was_retired_first_is_revoked_when_it_was_revoked(make: MakeJob) -> None:
    """Its last batch is signed between the two."""
    signed = await make()
    end = "SELECT vaultstream.end_keys(job_no, array_agg(key_id), $1) FROM vaultstream.keys GROUP BY job_no"
    await signed.execute(end, "retired")
    await signed.execute("UPDATE {s} SET signed_at = clock_timestamp()")
    await signed.execute(end, "revoked")
    report = await audit(signed)
    assert report.after_revocation == 0
    assert report.revoked == 12


async def test_a_key_that_only_the_file_of_revocations_names_is_revoked_too(make: MakeJob) -> None:
    signed = await make()
    key = await signed.connection.fetchrow(
        f"SELECT key_id, public_key, count(*) FROM {signed.signatures} JOIN vaultstream.keys USING (key_no) GROUP BY 1, 2 LIMIT 1"
    )
    for at, after in ((timedelta(hours=1), 0), (timedelta(hours=-1), key["count"])):
        entry = Revocation.of(key["key_id"], key["public_key"], at=datetime.now(UTC) + at)
        report = await verify_job(
            signed.url, signed.job.token, processes=2, revocations=Revocations((entry,))
        )
        assert (report.revoked, report.after_revocation) == (key["count"], after)
        assert report.ok is (after == 0)
        assert [each.key_id for each in report.revoked_keys] == [key["key_id"]]


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


async def test_a_batch_that_two_leases_committed_is_found_though_each_record_has_one_signature(
    make: MakeJob,
) -> None:
    signed = await make()
    await signed.execute(
        "INSERT INTO vaultstream.leases SELECT key_no, 77, 'thief', batch_no, '[2001-01-01, 2001-01-02)', 'committed' "
        "FROM vaultstream.leases WHERE outcome = 'committed' ORDER BY key_no LIMIT 1"
    )
    report = await audit(signed)
    assert found(report) == {"committed_twice": 1}
    assert "under 2 leases" in report.examples["committed_twice"][0].reason


async def test_leases_of_another_job_do_not_count_against_this_one(make: MakeJob) -> None:
    signed = await make()
    await _allow_overlaps(signed)
    await signed.execute(
        "INSERT INTO vaultstream.leases SELECT 4711, e, 'x', NULL, '[2020-01-01, 2021-01-01)', 'released' "
        "FROM generate_series(1, 2) AS e"
    )
    assert found(await audit(signed)) == {}


async def test_signatures_made_after_the_clock_was_set_back_are_judged_by_the_time_of_their_commit(
    make: MakeJob,
) -> None:
    """Their lease begins in the future: each begins after the end of the former lease of its key."""
    signed = await make(waiting=frozenset({1, 5, 9}), keys=1)
    await signed.execute("UPDATE vaultstream.keys SET lease_until = now() + interval '1 year'")
    payloads = dict(await signed.connection.fetch("SELECT id, payload FROM receipts"))
    for batch_no, ids in ((1, [1, 2, 3, 4]), (2, [5, 6, 7, 8]), (3, [9, 10, 11, 12])):
        await commit(signed.connection, signed.job, batch_no, ids, payloads, dead=[])
    await complete_job_if_settled(signed.connection, signed.job.job_no)
    report = await audit(signed)
    assert report.ok, report
    assert report.valid == 12
    await signed.execute(f"UPDATE {signed.signatures} SET signed_at = signed_at + interval '1 year'")
    assert found(await audit(signed)) == {"bad_leases": 12}


async def test_a_signature_that_was_dated_back_is_found(make: MakeJob) -> None:
    signed = await make()
    await signed.execute(
        f"UPDATE {signed.signatures} SET signed_at = signed_at - interval '1 minute' WHERE record_id = 3"
    )
    report = await audit(signed)
    assert named(report, "bad_leases") == {"3"}


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
