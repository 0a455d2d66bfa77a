"""The database's owner restores a job, or its logs, as they were before, or removes them: checkpoints that somebody kept show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration.audit.sealed_job import SealedJob, findings, truncate
from integration.audit.tampering import reason
from integration.audit.test_tamperings_of_sealed_jobs import LAST_BATCH
from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.errors import AuditError, UnknownJobError
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.integration


async def test_both_logs_restored_as_they_were_before_the_last_batch(sealed: SealedJob) -> None:
    await truncate(sealed)
    report = await sealed.verify()
    assert findings(report) == {"missing_seals": 1}
    assert "says that the job was Running" in reason(report, "missing_seals")
    report = await sealed.verify(sealed.sealer.against(sealed.made.newest))
    assert findings(report) == {"missing_seals": 1, "rolled_back": 1}
    assert "had 3 entries, and has 2 now" in reason(report, "rolled_back")
    report = await sealed.verify(sealed.sealer.against(sealed.made.of_job))
    assert findings(report) == {"missing_seals": 1, "rolled_back": 1}
    assert sealed.made.token in reason(report, "rolled_back")


async def test_the_whole_job_restored_as_it_was_before_the_last_batch(sealed: SealedJob) -> None:
    """Only a checkpoint from afterwards tells it from a job that is still to end."""
    await truncate(sealed)
    await sealed.execute(
        *LAST_BATCH[:1],
        *LAST_BATCH[2:4],
        "UPDATE vaultstream.batches SET state = 'pending', signed = 0, settled_at = NULL WHERE batch_no = 3",
        "UPDATE vaultstream.jobs SET state = 'Running', finished_at = NULL",
        "INSERT INTO receipts SELECT n, 'x' FROM generate_series(90, 91) AS n",
    )
    assert findings(await sealed.verify()) == {"pending": 4}
    assert findings(await sealed.verify(sealed.sealer.against(sealed.made.earlier))) == {"pending": 4}
    report = await sealed.verify(sealed.sealer.against(sealed.made.newest))
    assert findings(report) == {"pending": 4, "rolled_back": 1}


JOB = ("statements", "dead_letters", "cleared_dead_letters", "batches")


async def remove_job(sealed: SealedJob, *more: str) -> None:
    await sealed.execute(
        *(f"DELETE FROM vaultstream.{table}" for table in JOB),
        "DELETE FROM vaultstream.leases",
        "DELETE FROM vaultstream.key_material",
        "DELETE FROM vaultstream.keys",
        "DROP TABLE {s}",
        "DELETE FROM vaultstream.jobs",
        *more,
    )


async def test_a_whole_job_without_its_deletion(sealed: SealedJob) -> None:
    await remove_job(sealed, "DELETE FROM vaultstream.audit_events")
    with pytest.raises(AuditError, match=r"is gone: the log .* has it with 12 records"):
        await sealed.verify()


async def test_no_log_of_others_that_is_broken_hides_a_job_that_is_gone(sealed: SealedJob) -> None:
    """A tenant may have entered anything in its own log."""
    await remove_job(
        sealed,
        "INSERT INTO vaultstream.logs (log_no, origin, tenant, size) OVERRIDING SYSTEM VALUE VALUES (0, 'x/tenants/shop', 'shop', 1)",
    )
    with pytest.raises(AuditError, match=r"is gone: the log .* has it with 12 records"):
        await sealed.verify(SealTrust())


async def test_a_whole_job_with_its_logs(sealed: SealedJob) -> None:
    logs = ("log_entries", "checkpoints", "logs", "audit_events", "audited_jobs")
    await remove_job(sealed, *(f"DELETE FROM vaultstream.{table}" for table in logs))
    with pytest.raises(UnknownJobError):
        await sealed.verify()
    with pytest.raises(AuditError, match="had 3 entries, and has 0 now"):
        await sealed.verify(sealed.sealer.against(sealed.made.newest))


async def test_kept_checkpoints_that_are_of_something_else(sealed: SealedJob) -> None:
    other = Checkpoint("example.com/seals/jobs/other-1", 1, bytes(32))
    report = await sealed.verify(sealed.sealer.against(sign_checkpoint(other, sealed.sealer.key)))
    assert findings(report) == {"kept_unverified": 1}
    assert "which is not this job's" in reason(report, "kept_unverified")
    report = await sealed.verify(sealed.sealer.against(b"no note"))
    assert findings(report) == {"kept_unverified": 1}
    fork = Checkpoint("example.com/seals", 2, bytes(32))
    report = await sealed.verify(sealed.sealer.against(sign_checkpoint(fork, sealed.sealer.key)))
    assert findings(report) == {"rolled_back": 1}
    assert "are others than they were" in reason(report, "rolled_back")


async def test_the_checkpoint_of_this_machine_may_be_of_another_database(sealed: SealedJob) -> None:
    """It is no fault of a job that the database never had the log; a checkpoint that the user gives is."""
    other = Checkpoint("example.com/seals/tenants/shop", 7, bytes(32))
    note, key = sign_checkpoint(other, sealed.sealer.key), sealed.sealer.key.public_key
    report = await sealed.verify(SealTrust(keys=(key,), local=(note,)))
    assert report.ok, report.examples
    assert "the database has no such log" in report.notes[0]
    assert findings(await sealed.verify(sealed.sealer.against(note))) == {"rolled_back": 1}
    earlier = SealTrust(keys=(key,), local=(sealed.made.earlier,))
    assert (await sealed.verify(earlier)).notes == ()
