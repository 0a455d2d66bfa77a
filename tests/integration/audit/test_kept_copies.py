"""What the machine of the records worker has kept of a job shows that Postgres was rolled back, and the other way round."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from integration.audit.sealed_job import SealedJob, findings, truncate
from integration.audit.tampering import reason
from vaultstream.audit.seals.kept_copies import read_kept_copies
from vaultstream.audit.seals.seal_trust import SealTrust

pytestmark = pytest.mark.integration


async def keep(sealed: SealedJob, folder: Path, *, seal: int = -1) -> SealTrust:
    """Writes the copies that a sealer has written of the job; returns what its machine trusts, but for the log's own checkpoint."""
    rows = await sealed.signed.connection.fetch(
        "SELECT kind, body FROM vaultstream.log_entries WHERE kind IN ('plan', 'seal') ORDER BY index"
    )
    seals = [row["body"].encode() for row in rows if row["kind"] == "seal"]
    own = folder / "jobs" / sealed.made.token
    own.mkdir(parents=True, exist_ok=True)
    (own / "plan.json").write_text(rows[0]["body"])
    (own / "seal.json").write_bytes(seals[seal])
    (own / "checkpoint").write_bytes(sealed.made.of_job)
    return SealTrust(keys=(sealed.sealer.key.public_key,), folder=folder, asked=True)


async def test_copies_of_what_is_in_the_logs_are_no_finding(sealed: SealedJob, tmp_path: Path) -> None:
    report = await sealed.verify(await keep(sealed, tmp_path))
    assert report.ok, report.examples
    assert report.notes == ()


async def test_copies_of_other_jobs_and_tenants_are_left_alone(sealed: SealedJob, tmp_path: Path) -> None:
    trust = await keep(sealed, tmp_path)
    for other in ("jobs/receipts-00000000", f"tenants/shop/jobs/{sealed.made.token}"):
        (tmp_path / other).mkdir(parents=True)
        (tmp_path / other / "seal.json").write_text("{}")
    copies = read_kept_copies(tmp_path, "receipts")
    assert set(copies) == {
        (None, sealed.made.token),
        (None, "receipts-00000000"),
        ("shop", sealed.made.token),
    }
    assert set(read_kept_copies(tmp_path, "receipts-00000000")) == {(None, "receipts-00000000")}
    assert read_kept_copies(tmp_path, "payslips") == read_kept_copies(None, "receipts") == {}
    assert (await sealed.verify(trust)).ok


async def test_an_older_seal_as_a_file_hides_nothing_that_postgres_has(
    sealed: SealedJob, tmp_path: Path
) -> None:
    """Sealers of earlier versions wrote the checkpoint first: one that was killed in between has left these files."""
    report = await sealed.verify(await keep(sealed, tmp_path, seal=0))
    assert report.ok, report.examples
    [note] = report.notes
    assert "older than the checkpoint beside it" in note
    assert f"`vaultstream log seal {sealed.made.token}` writes it again" in note


async def test_an_older_seal_as_a_file_is_named_if_postgres_does_not_have_the_newer_one(
    sealed: SealedJob, tmp_path: Path
) -> None:
    trust = await keep(sealed, tmp_path, seal=0)
    await truncate(sealed)
    report = await sealed.verify(trust)
    reasons = [each.reason for each in report.examples["rolled_back"]]
    assert any("is older than the checkpoint beside it" in each for each in reasons)


async def test_an_older_seal_as_a_file_is_named_where_no_key_tells_a_genuine_seal(
    sealed: SealedJob, tmp_path: Path
) -> None:
    trust = replace(await keep(sealed, tmp_path, seal=0), keys=())
    report = await sealed.verify(trust)
    assert any(
        "is older than the checkpoint beside it" in each.reason for each in report.examples["rolled_back"]
    )


async def test_older_seals_brought_back_in_postgres(sealed: SealedJob, tmp_path: Path) -> None:
    trust = await keep(sealed, tmp_path)
    await truncate(sealed)
    report = await sealed.verify(trust)
    assert findings(report) == {"missing_seals": 1, "rolled_back": 2}, report.examples
    reasons = [each.reason for each in report.examples["rolled_back"]]
    assert any("does not have the seal of this job that this machine has kept" in each for each in reasons)


async def test_logs_that_are_gone_and_a_file_that_is_no_seal(sealed: SealedJob, tmp_path: Path) -> None:
    trust = await keep(sealed, tmp_path)
    (tmp_path / "jobs" / sealed.made.token / "seal.json").write_text("{}")
    report = await sealed.verify(trust)
    assert findings(report) == {"rolled_back": 1}
    assert "is no seal" in reason(report, "rolled_back")
    await sealed.execute(
        "DELETE FROM vaultstream.checkpoints",
        "DELETE FROM vaultstream.log_entries",
        "DELETE FROM vaultstream.logs",
    )
    report = await sealed.verify(trust)
    assert findings(report) == {"missing_seals": 1, "rolled_back": 3}
