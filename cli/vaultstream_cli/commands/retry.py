"""`vaultstream retry`."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.errors import UsageError, VaultStreamError
from vaultstream.settings import Settings
from vaultstream.store.jobs import Job, JobState, get_job, retry_dead
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.output import note, print_json
from vaultstream_cli.running import MaxSigners, run_to_end
from vaultstream_cli.session import open_session
from vaultstream_cli.summary import FAILED_HINT, get_summary, print_summary, require_all_signed


@command(app, "retry")
async def retry(
    settings: Settings,
    *,
    job: Annotated[str, typer.Argument(help="Name of the job.")],
    dead: Annotated[
        bool, typer.Option("--dead", help="The dead letters; required, says what is retried.")
    ] = False,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Run the job to its end, or only put the records back.")
    ] = True,
    max_signers: MaxSigners = None,
    json: Json = False,
) -> None:
    """Put a job's dead letters back and sign them, once what was wrong with them is mended.

    Exits 0 when all records are signed, 3 when some are in the dead letters again. A retry that was interrupted goes on
    when it is run again.
    """
    if not dead:
        raise UsageError(
            "Say what to retry.", hint=f"`vaultstream retry {job} --dead` retries the dead letters."
        )
    async with open_session(settings) as session:
        async with session.pool.acquire() as connection, connection.transaction():
            found = await get_job(connection, job)
            require_retriable(found)
            records = await retry_dead(connection, found)
            found = await get_job(connection, found.token)  # another retry may have been first: then join it
        left_open = not found.ended
        if records:
            note(f"{records:,} record{'' if records == 1 else 's'} of job {found.name} put back.")
        elif left_open:
            note(f"Job {found.name} has no dead letters; it has not ended yet.")
        else:
            note(f"Job {found.name} has no dead letters: nothing to retry.")
        goes_on = run and (records > 0 or left_open)
        if goes_on:
            summary = await run_to_end(session, found.token, max_signers=max_signers)
        else:
            summary = await get_summary(session.pool, found.token)
    if json:
        print_json({"retried": records, **summary.to_json()})
    elif goes_on:
        print_summary(summary)
    elif records:
        note(f"Run the job, or `vaultstream retry {found.name} --dead` again, to sign them.")
    if run:
        require_all_signed(summary)


def require_retriable(job: Job) -> None:
    """Passes a job whose dead letters can be put back.

    Raises:
        UsageError: it was deleted, or is suspended.
        VaultStreamError: it failed.
    """
    if job.deleted_at is not None:
        raise UsageError(
            f"Job {job.name} was deleted: what it kept is for auditors, and nothing can be signed anew."
        )
    if job.state is JobState.FAILED:
        raise VaultStreamError(f"Job {job.name} failed: {job.message}", hint=FAILED_HINT)
    if job.state is JobState.SUSPENDED:
        raise UsageError(
            f"Job {job.name} is suspended.",
            hint="Set spec.suspend to false and `vaultstream run -f` its YAML; then retry.",
        )
