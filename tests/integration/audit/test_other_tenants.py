"""The owner of the database says that a sealed job is of another tenant: what was sealed of it is in a log where nobody looks first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from integration.audit.sealed_job import SealedJob, findings
from integration.audit.test_adopted_jobs import Adopted
from integration.audit.test_kept_copies import keep

if TYPE_CHECKING:
    from pathlib import Path

    from integration.audit.conftest import MakeJob

pytestmark = pytest.mark.integration

WITHOUT_BATCH_3 = (
    "SET session_replication_role = replica",
    "DELETE FROM {s} WHERE record_id >= 9",
    "DELETE FROM vaultstream.statements WHERE batch_no = 3",
    "DELETE FROM vaultstream.leases WHERE batch_no = 3",
    "DELETE FROM vaultstream.batches WHERE batch_no = 3",
    "UPDATE vaultstream.jobs SET next_batch_no = 3, planned_id = '8', upper_id = '8'",
)
OF_ANOTHER = "UPDATE vaultstream.jobs SET tenant = 'x'"


async def test_a_sealed_job_is_no_job_of_a_tenant_because_its_row_says_so(sealed: SealedJob) -> None:
    """Nobody has given the key or a checkpoint: it is the machine's own."""
    trust = replace(sealed.sealer.trust, local=(sealed.made.newest,), asked=False)
    await sealed.execute(OF_ANOTHER)
    report = await sealed.verify(trust)
    assert not report.ok
    assert "missing_seals" in findings(report), report.examples


async def test_what_was_sealed_is_compared_whatever_tenant_the_row_names(sealed: SealedJob) -> None:
    trust = replace(sealed.sealer.trust, local=(sealed.made.newest,), asked=False)
    await sealed.execute(*WITHOUT_BATCH_3, OF_ANOTHER)
    report = await sealed.verify(trust)
    assert {"missing_seals", "removed_batches"} <= findings(report).keys(), report.examples


async def test_copies_count_whatever_tenant_the_row_names(sealed: SealedJob, tmp_path: Path) -> None:
    """The logs are removed, too."""
    trust = replace(await keep(sealed, tmp_path), asked=False)
    logs = [f"DELETE FROM vaultstream.{table}" for table in ("checkpoints", "log_entries", "logs")]
    await sealed.execute(*WITHOUT_BATCH_3, *logs, OF_ANOTHER)
    assert "rolled_back" in findings(await sealed.verify(trust))


@pytest.mark.parametrize("tenant", ["NULL", "'bank'"])
async def test_a_job_of_a_tenant_stays_one_whatever_its_row_says(make: MakeJob, tenant: str) -> None:
    adopted = await Adopted.make(make)
    await adopted.finish()
    await adopted.signed.execute("SET session_replication_role = replica")
    await adopted.signed.execute(f"UPDATE vaultstream.jobs SET tenant = {tenant}")
    report = await adopted.verify(replace(adopted.sealer.trust, asked=False))
    assert not report.ok
    assert "missing_seals" in findings(report), report.examples
