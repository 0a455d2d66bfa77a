"""`vaultstream worker keys|records|signing`: the roles, as they run in the pool's processes and in pods."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.keys.worker import run_keys_worker
from vaultstream.records.worker import run_records_worker
from vaultstream.settings import Settings
from vaultstream.signing.worker import run_signing_worker
from vaultstream_cli.app import app, command

group = typer.Typer(
    help="Run one worker of a job. Settings come from the environment; SIGTERM drains.", no_args_is_help=True
)
app.add_typer(group, name="worker")

JobName = Annotated[str, typer.Argument(metavar="JOB", help="Name or token of the job.")]


@command(group, "keys", worker=True)
async def keys(settings: Settings, job: JobName) -> None:
    """Make the job's keys, wrap them, and spread them on keys.>."""
    await run_keys_worker(settings, job)


@command(group, "records", worker=True)
async def records(settings: Settings, job: JobName) -> None:
    """Cut the job's records into batches, publish them, and see the job to its end."""
    await run_records_worker(settings, job)


@command(group, "signing", worker=True)
async def signing(settings: Settings, job: JobName) -> None:
    """Sign batches: fetch, lease, read, sign, commit, ack."""
    await run_signing_worker(settings, job)
