"""`vaultstream audit-log`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from vaultstream.audit.exports.formats import rfc3339
from vaultstream.local.session import open_session
from vaultstream.settings import Settings
from vaultstream.store.audit_events import count_audit_events, get_audited_job, list_audit_events
from vaultstream_cli.app import JobName, Json, command
from vaultstream_cli.output import note, print_object, print_table
from vaultstream_cli.root import app

SHOWN_WORDS = 3
ARGUMENT_CHARACTERS = 200


@command(app, "audit-log", names=("events", "number"), table=True)
async def audit_log(
    settings: Settings,
    *,
    job: JobName,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Show at most the latest of so many events; 0 shows all.")
    ] = 100,
    json: Json = False,
) -> None:
    """Show who did what to a job: its creation, its suspensions, updates and retries, its keys' ends and rewraps, its exports and its deletion.

    Each event has a number, the login to Postgres, the time and the arguments. Postgres writes it in the transaction of what it is
    about, so no login can leave it out. The events of a job stay when it is deleted. Events without a number, such as exports, get one with the next event or seal.
    """
    async with (
        open_session(settings, reads=True, nats=False) as session,
        session.pool.acquire() as connection,
    ):
        found = await get_audited_job(connection, job)
        total = await count_audit_events(connection, found.job_no)
        events = await list_audit_events(connection, found.job_no, limit=limit or None)
    if json:
        shown = [asdict(event) for event in events]
        print_object({"job": found.name, "token": found.token, "total": total, "events": shown})
        return
    if not events:
        note(f"Job {found.name} has no audit events: it was created before they were recorded.")
        return
    print_table(
        ("number", "time", "action", "login", "arguments"),
        [
            (
                event.number,
                rfc3339(event.at),
                event.action,
                event.login,
                " ".join(f"{name}={_short(value)!r}" for name, value in sorted(event.arguments.items())),
            )
            for event in events
        ],
    )
    if total > len(events):
        note(f"Showing {len(events):,} of {total:,}; --limit 0 shows all.")


def _short(value: str) -> str:
    """Returns the first of many words, such as the ids of all keys of a job; --json has all."""
    words = value.split(" ")
    if len(words) <= SHOWN_WORDS or len(value) <= ARGUMENT_CHARACTERS:
        return value
    return f"{' '.join(words[:SHOWN_WORDS])} … and {len(words) - SHOWN_WORDS:,} more"
