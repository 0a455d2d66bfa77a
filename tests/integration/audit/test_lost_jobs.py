"""A job that was sealed is gone: only a seal that says so tells its deletion from a loss, also if another job has its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration.audit.sealed_job import FREE, SealedJob, findings
from integration.audit.signed_job import make_job
from integration.audit.tampering import reason
from integration.audit.test_rolled_back_jobs import JOB, remove_job
from vaultstream.audit.report import AuditFinding
from vaultstream.audit.seals.log_history import examine_log, open_kept
from vaultstream.audit.verify import verify_job
from vaultstream.errors import AuditError, UnknownJobError
from vaultstream.store.jobs import delete_job

if TYPE_CHECKING:
    from vaultstream.audit.report import AuditReport

pytestmark = pytest.mark.integration


async def verify(sealed: SealedJob, name: str) -> AuditReport:
    trust = sealed.sealer.against(sealed.made.newest)
    return await verify_job(sealed.signed.url, name, processes=1, seal_trust=trust)


async def delete(sealed: SealedJob, policy: str) -> None:
    await delete_job(sealed.signed.connection, sealed.signed.job.job_no, policy)


async def make_another(sealed: SealedJob) -> None:
    """Makes and seals another job with the name of the one that is gone."""
    connection = sealed.signed.connection
    await connection.execute(FREE.replace("DISABLE", "ENABLE"))  # a trigger numbers keys
    await connection.execute("DROP TABLE receipts")
    signed = await make_job(connection, sealed.signed.url)
    await sealed.sealer.plan(signed)
    await sealed.sealer.seal(signed)


async def test_a_job_that_somebody_deleted_is_not_lost_if_a_seal_says_so(sealed: SealedJob) -> None:
    await delete(sealed, "Retain")
    await sealed.sealer.seal(sealed.signed)
    await delete(sealed, "Delete")
    for name in (sealed.made.token, "receipts"):
        with pytest.raises(UnknownJobError) as raised:
            await verify(sealed, name)
        assert "was deleted, as a seal of" in str(raised.value.hint)


async def test_an_event_that_says_that_a_job_was_deleted_proves_nothing(sealed: SealedJob) -> None:
    await remove_job(sealed)
    await sealed.signed.execute(
        "INSERT INTO vaultstream.audit_events (job_no, action, login, at, arguments) VALUES ($1, 'delete', 'alice', now(), '{{}}')",
        sealed.signed.job.job_no,
    )
    with pytest.raises(AuditError, match="no seal says that it was deleted") as raised:
        await verify(sealed, "receipts")
    assert "An unsealed event says that the login 'alice' deleted it" in str(raised.value.hint)


async def test_a_seal_of_its_deletion_that_nobody_signed(sealed: SealedJob) -> None:
    await remove_job(sealed)
    await sealed.signed.connection.execute(
        "INSERT INTO vaultstream.log_entries (log_no, index, kind, job_no, subject, body, leaf) "
        "SELECT log_no, 3, kind, job_no, '', forged, sha256('\\x00'::bytea || convert_to(forged, 'UTF8')) "
        "FROM vaultstream.log_entries, replace(body, '\"Complete\"', '\"Deleted\"') AS forged WHERE kind = 'seal' AND index = 2"
    )
    await sealed.signed.execute("UPDATE vaultstream.logs SET size = 4 WHERE job_no IS NULL")
    with pytest.raises(AuditError):
        await verify(sealed, "receipts")


async def test_a_job_that_is_gone_and_another_one_has_its_name(sealed: SealedJob) -> None:
    await remove_job(sealed)
    await make_another(sealed)
    report = await verify(sealed, "receipts")
    assert findings(report) == {"lost_jobs": 1}, report.examples
    assert f"Job receipts ({sealed.made.token}) is gone" in reason(report, "lost_jobs")


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_the_name_of_a_job_that_was_deleted_is_free(sealed: SealedJob, policy: str) -> None:
    await delete(sealed, "Retain")
    await sealed.sealer.seal(sealed.signed)
    if policy == "Delete":
        await delete(sealed, policy)
    await make_another(sealed)
    report = await verify(sealed, "receipts")
    assert report.ok, report.examples
    assert f"The name was that of job {sealed.made.token} before" in report.notes[0]


async def call_deleted(sealed: SealedJob) -> None:
    """Removes what belongs to the job, and leaves its row, as a deletion with Retain does."""
    await sealed.execute(
        "DELETE FROM {s}",
        *(f"DELETE FROM vaultstream.{table}" for table in JOB),
        "UPDATE vaultstream.jobs SET deleted_at = now()",
    )


async def test_a_job_that_its_row_calls_deleted_is_lost_if_no_seal_does(sealed: SealedJob) -> None:
    await call_deleted(sealed)
    with pytest.raises(AuditError, match=r"as Postgres says: .* no seal says that it was deleted") as raised:
        await verify(sealed, "receipts")
    assert f"`vaultstream log seal {sealed.made.token} --deleted`" in str(raised.value.hint)
    report = await verify(sealed, sealed.made.token)
    assert any("and no seal does" in each.reason for each in report.examples[AuditFinding.UNLIKE_SEAL])
    keys = sealed.sealer.trust.keys
    history = await examine_log(sealed.signed.url, open_kept(sealed.made.newest, keys), keys)
    assert [finding.problem for finding in history.findings] == ["JobNotSealed"]

    await make_another(sealed)
    report = await verify(sealed, "receipts")
    assert findings(report) == {"lost_jobs": 1}, report.examples
    assert f"Job receipts ({sealed.made.token}) was deleted at" in reason(report, "lost_jobs")


async def test_a_job_whose_row_has_another_name_is_lost_under_its_own(sealed: SealedJob) -> None:
    await sealed.execute("UPDATE vaultstream.jobs SET name = 'other'")
    with pytest.raises(AuditError, match="has another name in Postgres"):
        await verify(sealed, "receipts")


async def test_a_seal_of_a_deletion_that_a_newer_seal_takes_back_proves_none(sealed: SealedJob) -> None:
    await delete(sealed, "Retain")
    await sealed.sealer.seal(sealed.signed)
    await sealed.execute("UPDATE vaultstream.jobs SET deleted_at = NULL")
    await sealed.sealer.seal(sealed.signed)
    await sealed.execute("UPDATE vaultstream.jobs SET deleted_at = now()")
    with pytest.raises(AuditError, match="no seal says that it was deleted"):
        await verify(sealed, "receipts")
