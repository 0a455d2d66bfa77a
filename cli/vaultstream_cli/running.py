"""Running a job to its end with the live display: what `run`, `quick-start` and `retry` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vaultstream.bus.connection import connect_bus
from vaultstream.errors import InvalidJobError
from vaultstream.local.runner import run_job
from vaultstream.store.jobs import JobState
from vaultstream_cli.display import RunDisplay
from vaultstream_cli.summary import Summary, get_summary

if TYPE_CHECKING:
    from vaultstream_cli.session import Session

MaxSigners = Annotated[
    int | None,
    typer.Option(
        "--max-signers", min=1, max=256, help="Signing processes, at the most. [default: one a core]"
    ),
]


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
