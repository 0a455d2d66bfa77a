"""What logs of seals say of a job that the database no longer has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.audit.sealed_logs import entries_about, kept_head, rollback
from vaultstream.errors import AuditError, UnknownJobError
from vaultstream.proof.seal import PlanEntry, SealEntry
from vaultstream.store.audit_events import list_audit_events
from vaultstream.store.logs import find_log, leaf_hashes, read_entries
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from vaultstream.audit.seal_trust import SealTrust
    from vaultstream.errors import VaultStreamError
    from vaultstream.store.database import Connection


async def explain_unknown(connection: Connection, name: str, trust: SealTrust) -> VaultStreamError:
    """Returns the error for a job that has no row: it is lost if it was sealed, and nobody has deleted it.

    Args:
        connection: in the transaction with the snapshot.
        name: its name or token.
        trust: checkpoints that were kept, and the keys that signed them.

    Raises:
        ProofError: a kept checkpoint, or an entry of a log, is malformed.
    """
    for note in trust.kept:
        head = kept_head(note, trust)
        log = await find_log(connection, head.origin)
        leaves = await leaf_hashes(connection, log) if log else []
        if reason := rollback(head, leaves):
            return AuditError(
                f"There is no job named {name!r}, and {reason}.",
                hint="The database was rolled back, or is another one.",
            )
    for row in await connection.fetch(query("audit_seal_logs")):
        log = await find_log(connection, row["origin"])
        if log is None:
            continue
        last: SealEntry | PlanEntry | None = None
        job_no = 0
        async for entry in read_entries(connection, log):
            data = entry.data or b""
            found: list[PlanEntry | SealEntry] = [
                *entries_about(PlanEntry, data, name),
                *entries_about(SealEntry, data, name),
            ]
            for about in found:
                if name in {about.job, about.job_token}:
                    last, job_no = about, entry.job_no
        if last is None:
            continue
        deleted = [event for event in await list_audit_events(connection, job_no) if event.action == "delete"]
        if deleted:
            error = UnknownJobError(name)
            error.hint = f"It was deleted at {deleted[-1].at.isoformat()} by the login {deleted[-1].login!r}."
            return error
        what = (
            f"{last.signed + last.dead} records"
            if isinstance(last, SealEntry)
            else f"{last.records} planned records"
        )
        return AuditError(
            f"Job {last.job} ({last.job_token}) is gone: the log {log.origin!r} has it with {what}, and nobody has deleted it.",
            hint="Its rows were removed from the database. Restore them from a backup.",
        )
    return UnknownJobError(name)
