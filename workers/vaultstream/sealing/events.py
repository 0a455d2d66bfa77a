"""Audit events as entries of a job's log, in the order of their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.errors import ProofError
from vaultstream.proof.entries import AuditEntry
from vaultstream.store.audit_events import audit_events_after, newest_event_number, number_audit_events
from vaultstream.store.logs import EntryKind, NewEntry, append_entries

if TYPE_CHECKING:
    from vaultstream.store.audit_events import AuditEvent
    from vaultstream.store.database import Connection
    from vaultstream.store.logs import Log

EVENTS_PER_PAGE = 1_000
"""Events that are read and entered at once. One has up to some 10 kB."""


async def enter_events(
    connection: Connection, job_no: int, job_token: str, log: Log, *, after: int
) -> tuple[Log, int]:
    """Appends to a job's log, which is locked, the audit events that it does not have yet.

    Returns the log, and the number of its last event.

    An event whose number another transaction is giving at this moment, or gives later, is left for the next seal: no flood of them
    keeps this one from ending.

    Args:
        connection: of the transaction that has locked the log.
        job_no: the job's.
        job_token: the job's.
        log: the job's.
        after: the number of the last event that the log has, as its entries say: what Postgres says of them can be changed.

    Raises:
        ProofError: an event is missing between those that were entered and those that are there.
    """
    await number_audit_events(connection, job_no)
    last, newest = after, await newest_event_number(connection, job_no)
    while last < newest and (
        events := await audit_events_after(
            connection, job_no, last, limit=min(EVENTS_PER_PAGE, newest - last)
        )
    ):
        entries = [audit_entry(job_token, event) for event in events]
        for expected, entry in enumerate(entries, start=last + 1):
            if entry.number != expected:
                raise ProofError(
                    f"Audit event {expected} of the job {job_token!r} was removed before it was sealed.",
                    hint=f"Event {entry.number} is there: `vaultstream audit-log {job_token}` lists them.",
                )
        log = await append_entries(
            connection,
            log,
            job_no,
            [
                NewEntry(
                    kind=EntryKind.AUDIT_EVENT,
                    leaf=entry.leaf,
                    body=entry.data.decode(),
                    subject=str(entry.number),
                )
                for entry in entries
            ],
        )
        last = entries[-1].number
    return log, last


def audit_entry(job_token: str, event: AuditEvent) -> AuditEntry:
    """Returns the entry of an event that has a number."""
    return AuditEntry(
        job_token=job_token,
        number=event.number or 0,
        action=event.action,
        login=event.login,
        arguments=event.arguments,
        at=event.at,
    )
