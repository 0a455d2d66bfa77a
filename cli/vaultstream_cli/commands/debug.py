"""`vaultstream debug psql|streams|logs|stop`: a closer look at what a job stands on."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import asdict
from typing import Annotated

import typer

from vaultstream.bus.connection import connect_bus
from vaultstream.bus.inspection import list_streams
from vaultstream.errors import ServiceError, UsageError
from vaultstream.local.psql import bundled_psql, psql_command
from vaultstream.local.services import open_services, stop_services
from vaultstream.local.worker_logs import LogReader, choose_job, jobs_with_logs
from vaultstream.settings import Settings
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.output import note, print_json, print_table

LOOK_SECONDS = 0.25

group = typer.Typer(
    help="Look closer: psql on the database, streams and consumers, logs; stop embedded services.",
    no_args_is_help=True,
)
app.add_typer(group, name="debug")


@command(group, "psql", unknown_options_are_arguments=True)  # they are options of psql
async def psql(
    settings: Settings,
    *,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENT", help="Go to psql as they are, such as -c 'SELECT 1'."),
    ] = None,
) -> None:
    """Open psql on the database, the embedded one unless DATABASE_URL is given. Exits as psql does."""
    async with open_services(settings) as services:
        given, environment = psql_command(services.database_url, arguments or [])
        # Ctrl-C is for psql, which ends a query by it; a signal that is ignored here would be ignored there too.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
        try:
            process = await asyncio.create_subprocess_exec(bundled_psql(), *given, env=environment)
        except FileNotFoundError:
            raise ServiceError("There is no psql.", hint="Install PostgreSQL's client programs.") from None
        code = await process.wait()
    raise typer.Exit(code)


@command(group, "streams")
async def streams(settings: Settings, *, json: Json = False) -> None:
    """Show the state of the JetStream streams and of their consumers."""
    async with open_services(settings) as services:
        address = services.bus_address
        async with connect_bus(address, role="auditor", attempts=1) as bus:
            found = await list_streams(bus)
    if json:
        print_json([asdict(stream) for stream in found])
        return
    if not found:
        note("There are no streams yet; the first worker of a job makes them.")
        return
    print_table(
        ("stream", "subjects", "retention", "messages", "bytes", "consumers"),
        [(s.name, " ".join(s.subjects), s.retention, s.messages, s.bytes, len(s.consumers)) for s in found],
    )
    consumers = [(stream.name, consumer) for stream in found for consumer in stream.consumers]
    if consumers:
        print_table(
            ("\nconsumer", "\nstream", "\npending", "\nack pending", "\nredelivered", "\nwaiting"),
            [(c.name, name, c.pending, c.ack_pending, c.redelivered, c.waiting) for name, c in consumers],
        )


@command(group, "logs")
async def logs(
    settings: Settings,
    *,
    job: Annotated[str | None, typer.Argument(help="Name or token of a job. [default: the newest]")] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on as they are written, until Ctrl-C; or end.")
    ] = True,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="Lines shown of what each log has already.")
    ] = 20,
) -> None:
    """Follow the logs of the embedded services and of a job's workers on this machine, each line after its log's name."""
    data_dir = settings.data_dir.expanduser().resolve()
    token = choose_job(jobs_with_logs(data_dir), job)
    if job is not None and token is None:
        raise UsageError(
            f"No worker of a job {job!r} has run on this machine.",
            hint=f"Its logs would be in {data_dir / 'logs'}.",
        )
    reader = LogReader(data_dir, token)
    for name, line in reader.tail(lines):
        typer.echo(f"{name}: {line}")
    try:
        while follow:
            await asyncio.sleep(LOOK_SECONDS)
            for name, line in reader.news():
                typer.echo(f"{name}: {line}")
    except asyncio.CancelledError:
        return  # Ctrl-C is how following ends


@command(group, "stop")
async def stop(
    settings: Settings,
    *,
    force: Annotated[bool, typer.Option("--force", help="Although a command uses them.")] = False,
) -> None:
    """Stop the embedded services, as after a command that was killed; their data stays.

    Commands start them by themselves, and the last one to leave stops them.
    """
    stopped = await stop_services(settings.data_dir, force=force)
    note("Stopped." if stopped else f"Nothing runs in {settings.data_dir}.")
