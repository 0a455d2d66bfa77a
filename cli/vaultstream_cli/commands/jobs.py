"""`vaultstream jobs`."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.api import JobState
from vaultstream.errors import NoDatabaseError
from vaultstream.local.session import open_session
from vaultstream.local.status import summarize
from vaultstream.settings import Settings
from vaultstream.store.jobs import Job, list_jobs
from vaultstream.store.progress import JobSnapshot, find_snapshot, with_pauses
from vaultstream.store.sessions import list_worker_sessions
from vaultstream_cli.app import Json, command
from vaultstream_cli.output import note, print_object, print_table
from vaultstream_cli.root import app

COLUMNS = (
    "name",
    "state",
    "records",
    "signed",
    "dead",
    "records/s",
    "seconds",
    "started",
    "algorithm",
    "batch size",
    "token",
)


@command(app, "jobs", names=("name",), table=True)
async def jobs(
    settings: Settings,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Include deleted jobs whose signatures were retained.")
    ] = False,
    json: Json = False,
) -> None:
    """List the jobs, oldest first.

    A deleted job is found only by its token: another job may use its name now.
    """
    where = ""
    try:
        listed = await _list(settings, everything=everything)
    except NoDatabaseError as error:
        listed, where = [], f"{error.message} "
    if json:
        print_object([summarize(snapshot) for snapshot, _ in listed])
        return
    if not listed:
        note(
            f"{where}There are no jobs yet. `vaultstream quick-start` creates a sample job; `vaultstream run -f job.yaml` runs your own."
            + (" --data-dir or DATABASE_URL names another place." if where else "")
        )
        return
    print_table(
        COLUMNS,
        [
            (
                job.name,
                _state(job, manned=manned),
                progress.records,
                progress.signed,
                progress.dead,
                progress.overall_rate,
                job.seconds,
                job.started_at,
                job.spec.keys.algorithm,
                job.spec.batch_size,
                job.token,
            )
            for job, progress, manned in ((each.job, each.progress, manned) for each, manned in listed)
        ],
    )


async def _list(settings: Settings, *, everything: bool) -> list[tuple[JobSnapshot, bool]]:
    """Returns the jobs, each with whether workers of it are connected."""
    async with (
        open_session(settings, reads=True, nats=False) as session,
        session.pool.acquire() as connection,
    ):
        found = [
            await with_pauses(connection, snapshot)
            for job in await list_jobs(connection, deleted=everything)
            if (snapshot := await find_snapshot(connection, job.token))  # None: deleted since
        ]
        manned = {worker.job_no for worker in await list_worker_sessions(connection)}
    return [(each, each.job.job_no in manned) for each in found]


def _state(job: Job, *, manned: bool) -> str:
    if job.deleted_at:
        return f"{job.state} (deleted)"
    return "Interrupted" if job.state is JobState.RUNNING and not manned else str(job.state)
