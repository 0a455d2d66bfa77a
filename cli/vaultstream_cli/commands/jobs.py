"""`vaultstream jobs`."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.errors import NoDatabaseError
from vaultstream.local.session import open_session
from vaultstream.local.status import summarize
from vaultstream.settings import Settings
from vaultstream.store.jobs import list_jobs
from vaultstream.store.progress import JobSnapshot, find_snapshot
from vaultstream_cli.app import Json, Wide, app, command
from vaultstream_cli.output import note, print_json, print_table

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


@command(app, "jobs")
async def jobs(
    settings: Settings,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Include deleted jobs whose signatures were retained.")
    ] = False,
    wide: Wide = False,
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
        print_json([summarize(snapshot) for snapshot in listed])
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
                f"{job.state} (deleted)" if job.deleted_at else str(job.state),
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
            for job, progress in ((each.job, each.progress) for each in listed)
        ],
        wide=wide,
    )


async def _list(settings: Settings, *, everything: bool) -> list[JobSnapshot]:
    async with (
        open_session(settings, reads=True, nats=False) as session,
        session.pool.acquire() as connection,
    ):
        found = [
            await find_snapshot(connection, job.token)
            for job in await list_jobs(connection, deleted=everything)
        ]
    return [snapshot for snapshot in found if snapshot is not None]  # None: deleted since
