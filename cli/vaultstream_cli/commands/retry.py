"""`vaultstream retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vaultstream.api import JobState
from vaultstream.errors import UsageError, VaultStreamError
from vaultstream.local.session import open_session
from vaultstream.plurals import counted
from vaultstream.settings import Settings
from vaultstream.store.dead_letters import was_retried
from vaultstream.store.jobs import Job, get_job, retry_dead
from vaultstream_cli.app import Json, command
from vaultstream_cli.output import note, print_object
from vaultstream_cli.root import app
from vaultstream_cli.running import MaxSigners, run_and_show
from vaultstream_cli.summary import FAILED_HINT, get_summary, print_summary, require_all_signed

if TYPE_CHECKING:
    from vaultstream.store.database import Connection


@command(app, "retry", part="operator", names=("job",))
async def retry(
    settings: Settings,
    *,
    job: Annotated[str, typer.Argument(help="Name of the job.")],
    dead: Annotated[
        bool, typer.Option("--dead", hidden=True, help="Retry the dead letters, as without it.")
    ] = True,
    run: Annotated[
        bool,
        typer.Option(
            "--run/--no-run", help="Run the job to its end, or only put the records back in the queue."
        ),
    ] = True,
    max_signers: MaxSigners = None,
    json: Json = False,
) -> None:
    """Put a job's dead letters back in the queue and sign them. Fix their cause first.

    Exits 0 if all records are signed, 3 if some became dead letters again. Run an interrupted retry again to resume it.
    """
    del dead  # what older scripts give
    async with open_session(settings, existing=True, runs=run) as session:
        async with session.pool.acquire() as connection, connection.transaction():
            found = await get_job(connection, job)
            await _leave_to_operator(connection, found)
            require_retriable(found)
            records = await retry_dead(connection, found)
            found = await get_job(connection, found.token)  # another retry may have come first: join it
        left_open = not found.ended
        if records:
            note(f"Put {counted(records, 'record')} of job {found.name} back in the queue.")
        elif left_open:
            note(f"Job {found.name} has no dead letters yet; it has not ended.")
        else:
            note(f"Job {found.name} has no dead letters to retry.")
        resumed = run and (records > 0 or left_open)
        if resumed:
            summary = await run_and_show(session, found.token, max_signers=max_signers)
        else:
            summary = await get_summary(session.pool, found.token)
    if json:
        print_object({"retried": records, **summary.to_json()})
    elif resumed:
        print_summary(summary)
    elif records:
        note(f"To sign them, run the job or `vaultstream retry {found.name}` again.")
    if run:
        require_all_signed(summary)


async def _leave_to_operator(connection: Connection, job: Job) -> None:
    if job.owner_uid is not None and not job.ended and not await was_retried(connection, job.job_no):
        raise UsageError(
            f"Job {job.name} belongs to a SigningJob on Kubernetes, where it has not ended.",
            hint="Retry its dead letters once it has: `kubectl get signingjob` shows that.",
        )


def require_retriable(job: Job) -> None:
    """Checks that a job's dead letters can be put back in the queue.

    Raises:
        UsageError: the job was deleted or is suspended.
        VaultStreamError: the job failed.
    """
    if job.deleted_at is not None:
        raise UsageError(
            f"Job {job.name} was deleted: its signatures can be verified, but its dead letters can't be retried."
        )
    if job.state is JobState.FAILED:
        raise VaultStreamError(f"Job {job.name} failed: {job.message}", hint=FAILED_HINT)
    if job.state is JobState.SUSPENDED:
        raise UsageError(
            f"Job {job.name} is suspended.",
            hint=f"`vaultstream resume {job.name}` sets spec.suspend to false; then retry.",
        )
