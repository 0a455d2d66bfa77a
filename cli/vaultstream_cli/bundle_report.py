"""Prints the report of a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.errors import AuditError, shortened
from vaultstream.plurals import counted
from vaultstream_cli.output import note, print_table

if TYPE_CHECKING:
    from vaultstream.bundle.verify import BundleReport

SHOWN_FAULTS = 20


def print_bundle_report(report: BundleReport) -> None:
    """Prints a report for people: the counts, what could not be checked, and the faults."""
    print_table(
        ("verified", shortened(report.job)),
        [
            ("token", shortened(report.token)),
            ("records", report.records),
            ("with payload", report.payloads),
            ("statements", report.statements),
            ("sealed at", report.sealed_at or "not sealed"),
            ("faults", report.fault_count),
        ],
    )
    for key_id in report.revoked_keys[:SHOWN_FAULTS]:
        later = ", after the seal" if report.sealed_at and key_id in report.revoked_later else ""
        note(f"key {shortened(key_id)} is revoked{later}")
    for text in report.not_checked:
        note(f"not checked: {text}")
    for text in report.faults[:SHOWN_FAULTS]:
        note(f"fault: {text}")
    if (more := report.fault_count - SHOWN_FAULTS) > 0:
        note(f"fault: and {more:,} more; --json lists up to 100")


def require_genuine(report: BundleReport) -> None:
    """Checks that a bundle is what was signed.

    Raises:
        AuditError: it is not, nothing shows whose keys signed it, or the job was not complete.
    """
    if report.fault_count:
        found = counted(report.fault_count, "fault")
        raise AuditError(
            f"The bundle is not what was signed: {found}, such as: {report.faults[0].removesuffix('.')}."
        )
    if not report.anchored:
        raise AuditError(
            "Nothing is wrong in the bundle, but nothing shows whose keys signed it, or not of all of them.",
            hint="Add --seal-key KEY, or --keys FILE for keys that were added since the seal, with what you have from elsewhere than from the bundle.",
        )
    if report.unfinished:
        raise AuditError(f"{report.unfinished}.", hint="Nothing is wrong in what is there.")
