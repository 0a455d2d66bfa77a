"""Runs a job to its end with the live display, for `run`, `quick-start` and `retry`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from vaultstream.local import running
from vaultstream_cli.display import RunDisplay
from vaultstream_cli.summary import Summary, get_summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultstream.local.session import Session

MaxSigners = Annotated[
    int | None,
    typer.Option(
        "--max-signers", min=1, max=256, help="Maximum number of signing processes. [default: one per core]"
    ),
]


async def run_and_show(
    session: Session, token: str, *, max_signers: int | None, annotations: Mapping[str, str] | None = None
) -> Summary:
    """Runs a job to its end with the live display, and returns its summary. See `vaultstream.local.running.run_to_end`."""
    job = (await get_summary(session.pool, token)).job
    with RunDisplay() as display:
        decisions = await running.run_to_end(
            session, job, max_signers=max_signers, annotations=annotations, show=display.show
        )
    return replace(await get_summary(session.pool, token), decisions=decisions)
