"""`vaultstream explain`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaultstream.audit.exports.formats import rfc3339
from vaultstream.local.session import open_session
from vaultstream.scaling.kept import KeptDecision
from vaultstream.settings import Settings
from vaultstream.store.decisions import list_decisions
from vaultstream.store.jobs import Job, get_job
from vaultstream_cli.app import JobName, Json, command
from vaultstream_cli.output import note, print_beside, print_object
from vaultstream_cli.root import app
from vaultstream_cli.watching import read_again

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultstream.store.database import Pool

    Decisions = Sequence[tuple[int, KeptDecision]]

_CHANGE_WIDTH = len("10 → 100")
"""So that lines of different calls are in line."""


@command(app, "explain")
async def explain_signers(
    settings: Settings,
    *,
    job: JobName,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            "-w",
            help="Print new decisions as they are made, until the job has ended. Ctrl-C stops watching; the job keeps running.",
        ),
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Show at most the latest of so many decisions; 0 shows all.")
    ] = 20,
    inputs: Annotated[
        bool,
        typer.Option("--inputs", help="Show the numbers that the rules used, too. JSON always has them."),
    ] = False,
    json: Json = False,
) -> None:
    """Explain a job's number of signers: each decision with its rule, its formula filled in, and the limit that applied.

    A decision is kept if it wants another number than the one before, or the same number for another reason; the latest 500 are.
    With --json --watch, each decision is one line.
    """
    async with open_session(settings, reads=True, nats=False) as session:
        async with session.pool.acquire() as connection:
            found = await get_job(connection, job)
            kept = await list_decisions(connection, found.job_no, limit=limit or None)
        if json and not watch:
            decisions = [_as_object(number, decision) for number, decision in kept]
            print_object({"job": found.name, "token": found.token, "decisions": decisions})
            return
        show = _as_lines if json else _InText(inputs=inputs)
        show(kept)
        if not kept:
            note(_nothing(found))
        if watch:
            await _watch(session.pool, found, kept[-1][0] if kept else 0, show)


async def _watch(pool: Pool, job: Job, number: int, show: Callable[[Decisions], None]) -> None:
    """Shows the decisions after a number until the job has ended."""

    async def read() -> tuple[Job, Decisions]:
        async with pool.acquire(timeout=5) as connection:
            return await get_job(connection, job.token), await list_decisions(
                connection, job.job_no, after=number
            )

    try:
        while not job.ended:
            job, kept = await read_again(read)
            show(kept)
            number = kept[-1][0] if kept else number
    except asyncio.CancelledError:
        return  # Ctrl-C only stops watching


def _nothing(job: Job) -> str:
    if job.deleted_at is not None:
        return f"Job {job.name} has no decisions: they are deleted with the job."
    if job.ended:
        return f"Job {job.name} has no decisions: it ended before any was kept."
    return f"Job {job.name} has no decisions yet. They are made while it runs: `vaultstream run`, or the operator."


def _as_object(number: int, kept: KeptDecision) -> dict[str, Any]:
    return {"number": number, "at": rfc3339(_time(kept)), **kept.shown}


def _as_lines(decisions: Decisions) -> None:
    for number, kept in decisions:
        print_object(_as_object(number, kept), indent=None)


@dataclass(frozen=True)
class _InText:
    """Prints decisions for people: when, the change, and why.

    Attributes:
        inputs: whether the numbers that the rules used follow.
    """

    inputs: bool

    def __call__(self, decisions: Decisions) -> None:
        rows = []
        for _, kept in decisions:
            shown = kept.shown
            change = f"{shown['replicas']} → {shown['desired']}" if kept.changed else str(shown["desired"])
            text = str(shown["message"])
            if self.inputs:
                text += "\n" + ", ".join(f"{name} {value}" for name, value in sorted(shown["inputs"].items()))
            at = _time(kept).strftime("%Y-%m-%d %H:%M:%SZ")
            rows.append(([(at, ""), (f"{change:<{_CHANGE_WIDTH}}", "bold")], text))
        print_beside(rows)


def _time(kept: KeptDecision) -> datetime:
    return datetime.fromtimestamp(kept.at, UTC)
