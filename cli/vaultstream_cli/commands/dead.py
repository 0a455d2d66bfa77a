"""`vaultstream dead`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from vaultstream.local.session import open_session
from vaultstream.settings import Settings
from vaultstream.store.dead_letters import (
    ClearedDeadLetter,
    count_cleared,
    count_dead_letters,
    list_cleared,
    list_dead_letters,
)
from vaultstream.store.jobs import get_job
from vaultstream_cli.app import Json, command
from vaultstream_cli.output import note, print_object, print_table
from vaultstream_cli.root import app


@command(app, "dead", names=("dead_letters", "record_id"), table=True)
async def dead(
    settings: Settings,
    *,
    job: Annotated[str, typer.Argument(help="Name of the job, or its token if it was deleted.")],
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Show at most this many dead letters; 0 shows all.")
    ] = 100,
    cleared: Annotated[
        bool,
        typer.Option(
            "--cleared", help="Show those that `vaultstream retry` cleared instead: when, and as which login."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """List a job's dead letters: the records that could not be signed, with the reason for each."""
    async with (
        open_session(settings, reads=True, nats=False) as session,
        session.pool.acquire() as connection,
    ):
        found = await get_job(connection, job)
        count, list_them = (
            (count_cleared, list_cleared) if cleared else (count_dead_letters, list_dead_letters)
        )
        total = await count(connection, found.job_no)
        letters = await list_them(connection, found.job_no, limit=limit or None)
    if json:
        print_object(
            {"job": found.name, "total": total, "dead_letters": [asdict(letter) for letter in letters]}
        )
        return
    if not letters:
        note(f"Job {found.name} has no {'cleared ' if cleared else ''}dead letters.")
        return
    print_table(
        ("record", "reason", "message", "time", *(("cleared", "by") if cleared else ())),
        [
            (letter.record_id, letter.reason, letter.message, letter.died_at)
            + ((letter.cleared_at, letter.cleared_by) if isinstance(letter, ClearedDeadLetter) else ())
            for letter in letters
        ],
    )
    if total > len(letters):
        note(f"Showing {len(letters):,} of {total:,}; --limit 0 shows all.")
