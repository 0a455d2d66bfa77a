"""`vaultstream run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaultstream.api import load_signing_job
from vaultstream.bus.connection import connect_bus
from vaultstream.errors import InvalidJobError
from vaultstream.local.runner import open_job, run_job
from vaultstream.settings import Settings
from vaultstream.store.jobs import JobState
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.display import RunDisplay
from vaultstream_cli.output import note, print_json
from vaultstream_cli.session import Session, open_session
from vaultstream_cli.summary import Summary, get_summary, print_summary, require_all_signed

MaxSigners = Annotated[
    int | None,
    typer.Option(
        "--max-signers", min=1, max=256, help="Signing processes, at the most. [default: one a core]"
    ),
]


@command(app, "run")
async def run(
    settings: Settings,
    *,
    file: Annotated[
        Path, typer.Option("--file", "-f", help="A SigningJob's YAML, as it is applied to Kubernetes.")
    ],
    max_signers: MaxSigners = None,
    json: Json = False,
) -> None:
    """Run a SigningJob to its end on this machine.

    A job of that name that was interrupted goes on where it was; one that has ended is only reported. Exits 0 when every
    record is signed, 3 when some are in the dead letters. Ctrl-C drains: batches in hand are finished, then it exits 130.
    """
    manifest = load_signing_job(file)
    async with open_session(settings) as session:
        async with session.pool.acquire() as connection:
            job = await open_job(connection, manifest.metadata.name, manifest.spec)
        if job.ended:
            note(
                f"Job {job.name} has ended already; `vaultstream delete {job.name}` makes its name free again."
            )
        summary = await run_to_end(session, job.token, max_signers=max_signers)
    if json:
        print_json(summary.to_json())
    else:
        print_summary(summary)
    if summary.job.state is JobState.SUSPENDED:
        note(f"Job {summary.job.name} is suspended (spec.suspend); nothing runs.")
        return
    require_all_signed(summary)


async def run_to_end(session: Session, token: str, *, max_signers: int | None) -> Summary:
    """Runs a job to its end with the live display, and sums it up.

    Raises:
        InvalidJobError: the job was deleted meanwhile.
    """
    job = (await get_summary(session.pool, token)).job
    if not job.ended and job.state is not JobState.SUSPENDED:
        async with connect_bus(session.services.bus_address, role="command"):
            pass  # a NATS that refuses us is said before a worker is started
        with RunDisplay() as display:
            job = await run_job(
                session.services,
                session.pool,
                job,
                max_signers=max_signers or session.settings.max_signers,
                show=display.show,
            )
    if job.deleted_at is not None:
        raise InvalidJobError(f"Job {job.name} was deleted while it ran.")
    return await get_summary(session.pool, token)
