"""Runs a job to its end with the live display, for `run`, `quick-start` and `retry`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from vaultstream.api import JobState
from vaultstream.bus.connection import connect_bus
from vaultstream.cores import usable_cores
from vaultstream.errors import InvalidJobError
from vaultstream.local.runner import run_job
from vaultstream.local.scaler import LocalScaler, expected_batches
from vaultstream_cli.display import RunDisplay
from vaultstream_cli.summary import Summary, get_summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultstream_cli.session import Session

MaxSigners = Annotated[
    int | None,
    typer.Option(
        "--max-signers", min=1, max=256, help="Maximum number of signing processes. [default: one per core]"
    ),
]


async def run_to_end(
    session: Session, token: str, *, max_signers: int | None, annotations: Mapping[str, str] | None = None
) -> Summary:
    """Runs a job to its end with the live display, and returns its summary.

    Args:
        session: the services.
        token: the job's token.
        max_signers: maximum number of signing processes; None takes MAX_SIGNERS, or else one per processor core.
        annotations: the annotations of the job's manifest, which may pause scaling.

    Raises:
        InvalidJobError: the job was deleted while it ran.
    """
    job = (await get_summary(session.pool, token)).job
    most = max_signers or session.settings.max_signers or usable_cores()
    scaler = LocalScaler(job.spec.scaling, most, annotations=annotations)
    if not job.ended and job.state is not JobState.SUSPENDED:
        async with connect_bus(session.services.bus_address, role="command"):
            pass  # reports a NATS that refuses the login before any worker starts
        if not job.planned:
            async with session.pool.acquire() as connection:
                scaler.expect(await expected_batches(connection, job))
        with RunDisplay() as display:
            job = await run_job(
                session.services, session.pool, job, max_signers=most, show=display.show, scale=scaler
            )
    if job.deleted_at is not None:
        raise InvalidJobError(f"Job {job.name} was deleted while it ran.")
    return replace(await get_summary(session.pool, token), decisions=tuple(scaler.taken))
