"""`vaultstream worker keys|records|signing`: the workers as pods run them."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.role import WorkerRole
from vaultstream.roles import run_worker
from vaultstream_cli.app import DatabaseUrl, DataDir, KekFile, NatsUrl
from vaultstream_cli.root import app

group = typer.Typer(
    help="Run one worker of a job. Settings come from the environment; SIGTERM drains.", no_args_is_help=True
)
app.add_typer(group, name="worker")

WorkerJob = Annotated[str, typer.Argument(metavar="JOB", help="Name or token of the job.")]

Deleted = Annotated[
    bool,
    typer.Option(
        "--deleted",
        help="Records worker: seal that the job was deleted, and exit. The operator starts it before it removes the job's rows.",
    ),
]

_HELP = {
    "keys": "Create the job's keys, wrap them, and publish them on keys.>.",
    "records": "Split the job's records into batches, publish them, and follow the job to its end.",
    "signing": "Sign batches: fetch, lease, read, sign, commit, ack.",
}


def _register(role: str) -> None:
    @group.command(role, help=_HELP[role])
    def run(
        *,
        job: WorkerJob,
        data_dir: DataDir = None,
        database_url: DatabaseUrl = None,
        nats_url: NatsUrl = None,
        kek_file: KekFile = None,
        deleted: Deleted = False,
    ) -> None:
        if deleted and role != WorkerRole.RECORDS:
            raise typer.BadParameter("--deleted is for the records worker, which has the seal key.")
        given = {
            "data_dir": data_dir,
            "database_url": database_url,
            "nats_url": nats_url,
            "kek_file": kek_file,
        }
        raise typer.Exit(run_worker(role, job, deleted=deleted, **given))


for _role in WorkerRole:
    _register(_role)
