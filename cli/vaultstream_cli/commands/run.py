"""`vaultstream run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaultstream.api import JobState
from vaultstream.api.loader import load_signing_job
from vaultstream.crypto.keyring import load_keyring
from vaultstream.local.runner import open_job
from vaultstream.local.session import open_session
from vaultstream.settings import Settings
from vaultstream.store.privileges import EVERY_PART
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.output import note, print_json
from vaultstream_cli.running import MaxSigners, run_and_show
from vaultstream_cli.summary import print_summary, require_all_signed


@command(app, "run", part=EVERY_PART)
async def run(
    settings: Settings,
    *,
    file: Annotated[
        Path,
        typer.Option(
            "--file", "-f", help="YAML of a SigningJob, the same as for Kubernetes; - reads standard input."
        ),
    ],
    max_signers: MaxSigners = None,
    json: Json = False,
) -> None:
    """Run a SigningJob to its end on this machine.

    An interrupted job of the same name is resumed; one that has ended is only reported. Exits 0 if every record is signed, 3
    if some are dead letters. Ctrl-C drains: batches in flight are finished, then it exits 130.
    """
    manifest = load_signing_job(file)
    async with open_session(settings) as session:
        load_keyring(session.services.kek_file)  # without it, a job would be created that nobody can work on
        async with session.pool.acquire() as connection:
            job = await open_job(connection, manifest.metadata.name, manifest.spec)
        if job.ended:
            note(f"Job {job.name} has already ended; `vaultstream delete {job.name}` frees its name.")
        summary = await run_and_show(
            session, job.token, max_signers=max_signers, annotations=manifest.metadata.annotations
        )
    if json:
        print_json(summary.to_json())
    else:
        print_summary(summary)
    if summary.job.state is JobState.SUSPENDED:
        note(f"Job {summary.job.name} is suspended (spec.suspend); no workers are running.")
        return
    require_all_signed(summary)
