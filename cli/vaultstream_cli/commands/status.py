"""`vaultstream status`."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table

from vaultstream.api import JobState
from vaultstream.errors import redact
from vaultstream.local.services import Services
from vaultstream.local.session import Session, open_session
from vaultstream.local.status import JobOverview, StatusReader
from vaultstream.plurals import counted
from vaultstream.scaling.workload import RATE_WINDOW_SECONDS
from vaultstream.settings import Settings
from vaultstream_cli.app import JobName, Json, command
from vaultstream_cli.display import duration, eta_text, rate_text
from vaultstream_cli.output import out, print_object, print_text
from vaultstream_cli.root import app
from vaultstream_cli.watching import read_again


@command(app, "status", names=("name",))
async def status(
    settings: Settings,
    *,
    job: JobName,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            "-w",
            help="Refresh every second until the job has ended. Ctrl-C stops watching; the job keeps running.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Show a job's status: counts, lag, rate, keys, workers and services.

    The lag is in batches: those published and not yet acknowledged, plus those not yet published. An unknown lag (no
    consumer, NATS unreachable) is shown as unknown, never as 0. The rate is over the last 20 seconds, or over the whole job
    once it has ended. With --json --watch, each status is one line.
    """
    async with (
        open_session(settings, reads=True) as session,
        StatusReader(session.services, session.pool, job) as reader,
    ):
        first = await reader.read()
        if not watch:
            if json:
                print_object(first.to_json(session.services))
            else:
                out.print(render(first, session.services))
            return
        await _watch(session, reader, first, json=json)


async def _watch(session: Session, reader: StatusReader, overview: JobOverview, *, json: bool) -> None:
    services = session.services

    async def read() -> JobOverview:
        nonlocal services
        services = await services.ensure_running()
        return await reader.read()

    live = Live(console=out, auto_refresh=False) if out.is_terminal and not json else None
    try:
        with live or nullcontext():
            while True:
                if json:
                    print_object(overview.to_json(services), indent=None)
                elif live:
                    live.update(render(overview, services), refresh=True)
                else:
                    print_text(describe_overview(overview))
                if overview.job.ended:
                    return
                overview = await read_again(read)
    except asyncio.CancelledError:
        return  # Ctrl-C only stops watching


def describe_overview(overview: JobOverview) -> str:
    """Returns a job's status as one line."""
    progress = overview.progress
    parts = [
        f"{overview.job.name} {_state(overview)}",
        f"{progress.signed:,} of {_records(overview)} signed",
        f"{progress.dead:,} dead",
        *([] if _is_interrupted(overview) else [rate_text(progress.rate)]),
        f"lag {_lag(overview)}",
        counted(len(overview.signers), "signer"),
    ]
    if not _is_interrupted(overview):
        parts += eta_text(overview.job, progress.eta_seconds)
    if overview.message:
        parts.append(overview.message)
    return " · ".join(parts)


def render(overview: JobOverview, services: Services) -> RenderableType:
    """Returns a job's status for people, one fact per line."""
    job, progress, keys = overview.job, overview.progress, overview.keys
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    waiting = f" ({overview.message})" if overview.message else ""
    failing = f", {progress.batches_failing:,} failing" if progress.batches_failing else ""
    batches = f"{progress.batches:,}, of {counted(job.spec.batch_size, 'record')} each: {progress.batches_done:,} done"
    rows = [
        ("job", f"{job.name} (token {job.token})"),
        ("state", f"{_state(overview)}{' (deleted)' if job.deleted_at else ''}{waiting}"),
        ("records", f"{_records(overview)}: {progress.signed:,} signed, {progress.dead:,} dead"),
        ("batches", f"{batches}, {progress.batches_left:,} pending{failing}"),
        ("lag", _lag(overview)),
        (
            "rate",
            "-"
            if progress.rate is None or _is_interrupted(overview)
            else f"{rate_text(progress.rate)} over {_period(overview)}",
        ),
        (
            "time",
            ", ".join(
                [
                    duration(progress.seconds)
                    + (" since it was started, with its pauses" if _is_interrupted(overview) else ""),
                    *([] if _is_interrupted(overview) else eta_text(job, progress.eta_seconds)),
                ]
            ),
        ),
        (
            "keys",
            f"{keys.active:,} active, {keys.retired:,} retired, {keys.revoked:,} revoked; {keys.leased:,} leased",
        ),
        ("workers", _workers(overview)),
        ("Postgres", _service(services.database_url, services.postgres_pid)),
        ("NATS", _service(services.nats_url, services.nats_pid)),
    ]
    if progress.last_error:
        rows.insert(4, ("last error", progress.last_error))
    for label, value in rows:
        grid.add_row(label, value)
    return Group(grid)


def _is_interrupted(overview: JobOverview) -> bool:
    """Returns whether a job was begun and has no worker: nobody works on it until it is run again. A standby knows of no workers."""
    running = overview.job.state is JobState.RUNNING and not overview.job.ended
    return running and not overview.workers and overview.refused is None


def _state(overview: JobOverview) -> str:
    if _is_interrupted(overview):
        return f"Interrupted: no worker is connected; `vaultstream run {overview.job.name}` goes on"
    return str(overview.job.state)


def _records(overview: JobOverview) -> str:
    return f"{overview.progress.records:,}" + (
        "" if overview.job.planned or overview.job.state is JobState.PENDING else "+"
    )


def _period(overview: JobOverview) -> str:
    return "the whole job" if overview.job.ended else f"the last {RATE_WINDOW_SECONDS:.0f} s"


def _lag(overview: JobOverview) -> str:
    lag = overview.lag
    if lag.batches is None:
        why = (
            f"{lag.state}; the job has ended"
            if overview.job.ended
            else f"{lag.state}; {lag.unpublished:,} unpublished"
        )
        return f"- ({why})"
    parts = f"{lag.pending:,} waiting, {lag.ack_pending:,} in flight, {lag.unpublished:,} unpublished"
    return f"{counted(lag.batches, 'batch', 'batches')} ({parts})"


def _workers(overview: JobOverview) -> str:
    if not overview.workers:
        return "none connected"
    return ", ".join(f"{worker.role} {worker.host}:{worker.pid}" for worker in overview.workers)


def _service(url: str, pid: int | None) -> str:
    return redact(url) + (f" (process {pid})" if pid else "")
