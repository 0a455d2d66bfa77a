"""An audit, what it found, and ids that try it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from vaultstream.audit.report import AuditFinding, AuditReport
from vaultstream.audit.verify import verify_job

if TYPE_CHECKING:
    from integration.audit.signed_job import RecordId, SignedJob

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


async def audit(signed: SignedJob, **options: Any) -> AuditReport:
    report = await verify_job(signed.url, signed.job.token, processes=2, **options)
    assert report.signed == report.valid + report.invalid + report.changed
    return report


BY_STATEMENTS = {
    *("dropped", "added", "moved", "swapped", "altered", "retimed", "bad_statements", "unstated"),
    "missing_batches",
}
"""Findings that compare with what keys stated."""


def found(report: AuditReport) -> dict[str, int]:
    """Returns the findings that are not zero, with their counts; those by statements only if there are no others."""
    every = {str(kind): getattr(report, kind) for kind in AuditFinding if getattr(report, kind)}
    return {kind: number for kind, number in every.items() if kind not in BY_STATEMENTS} or every


def stated(report: AuditReport) -> dict[str, int]:
    """Returns the findings by statements that are not zero, with their counts."""
    return {kind: getattr(report, kind) for kind in BY_STATEMENTS if getattr(report, kind)}


def named(report: AuditReport, kind: str) -> set[str | None]:
    return {example.record for example in report.examples[kind]}
