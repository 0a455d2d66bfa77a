"""Prints the report of a verification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.errors import AuditError
from vaultstream.plurals import counted
from vaultstream_cli.output import note, print_table

if TYPE_CHECKING:
    from vaultstream.audit.report import AuditReport

SHOWN_EXAMPLES = 5


def print_report(report: AuditReport) -> None:
    """Prints a report for people: the counts, then examples of the problems."""
    details = {"revoked": "  under revoked keys", "deleted": "  whose row was deleted"}
    statement_faults = {
        "before_statements": "batches from before",
        "dropped": "dropped",
        "added": "added",
        "moved": "moved",
        "swapped": "swapped",
        "altered": "altered",
        "retimed": "times changed",
        "bad_statements": "statements invalid",
        "unstated": "statements missing",
        "missing_batches": "batches missing",
        "rekeyed": "keys replaced",
        "unknown_keys": "keys not pinned",
        "distrusted_keys": "keys revoked where pinned",
        "uncovered": "rows in no batch",
        "missing_seals": "seals missing",
        "bad_seals": "seals not genuine",
        "kept_unverified": "kept checkpoints not comparable",
        "rolled_back": "logs rolled back",
        "unlike_seal": "unlike the seal",
        "plan_broken": "plan not kept",
        "removed_batches": "batches removed",
        "removed_statements": "statements removed",
        "restated": "statements replaced",
        "unsealed": "statements not sealed",
        "removed_dead_letters": "dead letters removed",
        "invented_dead_letters": "dead letters invented",
        "altered_dead_letters": "dead letters altered",
        "removed_revocations": "revocations removed",
        "removed_events": "events removed",
        "altered_events": "events altered",
        "added_since": "rows added since",
    }
    print_table(
        ("verified", report.job),
        [
            ("records", report.records),
            ("signed", report.signed),
            ("dead letters", report.dead),
            ("valid", report.valid),
            *((label, getattr(report, name)) for name, label in details.items() if getattr(report, name)),
            ("invalid", report.invalid),
            ("changed since", report.changed),
            ("missing", report.missing),
            ("pending", report.pending),
            ("duplicates", report.duplicates),
            ("lease overlaps", report.lease_overlaps),
            ("committed twice", report.committed_twice),
            ("outside a lease", report.bad_leases),
            ("after revocation", report.after_revocation),
            ("outside the job", report.unplanned),
            ("statements", report.statements),
            ("planned twice", report.planned_twice),
            *(
                (label, getattr(report, name))
                for name, label in statement_faults.items()
                if getattr(report, name)
            ),
            ("seconds", report.seconds),
        ],
    )
    for text in report.notes:
        note(f"note: {text}")
    if seal := report.seal:
        who = "by a known key" if seal.pinned else "by a key that is not pinned"
        note(f"seal: {seal.state}, {seal.sealed_at}, entry of the log {seal.origin}, signed {who}")
    for key in report.revoked_keys[:SHOWN_EXAMPLES]:
        note(
            f"revoked: {counted(key.signatures, 'signature')} under key {key.key_id}, revoked at {key.revoked_at}"
        )
    if (more := len(report.revoked_keys) - SHOWN_EXAMPLES) > 0:
        note(f"revoked: and {counted(more, 'more key')}; --json lists all")
    for kind, examples in report.examples.items():
        for example in examples[:SHOWN_EXAMPLES]:
            where = f"record {example.record!r}: " if example.record is not None else ""
            note(f"{kind}: {where}{example.reason}")
        if (more := getattr(report, kind) - SHOWN_EXAMPLES) > 0:
            note(f"{kind}: and {more:,} more; --json lists up to 20")


def require_ok(report: AuditReport) -> None:
    """Checks that a report has no problems.

    Raises:
        AuditError: it has some; the message lists them.
    """
    if report.ok:
        return
    found = "; ".join(report.problems)
    if report.finished:
        raise AuditError(f"Verification of job {report.job} failed: {found}.")
    raise AuditError(
        f"Job {report.job} is not finished: {found}.",
        hint=f"Verify it again after `vaultstream status {report.job}` shows that it has ended. A failed job is never finished.",
    )
