"""`vaultstream debug psql|streams|logs|stop`: inspects the services that jobs run on."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import asdict
from typing import Annotated

import typer

from vaultstream.bus.connection import connect_bus
from vaultstream.bus.inspection import StreamState, list_streams
from vaultstream.errors import ServiceError, UsageError
from vaultstream.local.files import whole_data_dir
from vaultstream.local.psql import bundled_psql, psql_command
from vaultstream.local.services import open_services, permission_explained, stop_services
from vaultstream.local.worker_logs import LogReader, choose_job, has_logs, jobs_with_logs
from vaultstream.settings import Settings
from vaultstream_cli.app import Json, command
from vaultstream_cli.output import note, print_line, print_object, print_table
from vaultstream_cli.root import app

LOG_POLL_SECONDS = 0.25

group = typer.Typer(
    help="Open psql, show streams and logs, and stop the embedded services.",
    no_args_is_help=True,
)
app.add_typer(group, name="debug")


@command(group, "psql", unknown_options_are_arguments=True)  # they are options of psql
async def psql(
    settings: Settings,
    *,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENT", help="Passed to psql unchanged, such as -c 'SELECT 1'."),
    ] = None,
) -> None:
    """Open psql on the database: the embedded one, unless DATABASE_URL is set. Exits with psql's exit code.

    If there is no embedded one yet, it is created: a table to sign can be made here.
    """
    async with open_services(settings, nats=False) as services:
        given, environment = psql_command(services.database_url, arguments or [])
        # Ctrl-C is for psql, where it cancels a query. A handler, because psql would inherit an ignored signal.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
        try:
            process = await asyncio.create_subprocess_exec(bundled_psql(), *given, env=environment)
        except FileNotFoundError:
            raise ServiceError(
                "psql is not installed.", hint="Install PostgreSQL's client programs."
            ) from None
        code = await process.wait()
    raise typer.Exit(exit_code_of(code))


def exit_code_of(code: int) -> int:
    """Returns the exit code for that of a process, which is negative if a signal ended it: 0 if its reader left, else as a shell has it."""
    if code == -signal.SIGPIPE:
        return 0
    return code if code >= 0 else 128 - code


@command(group, "streams", names=("name",), table=True)
async def streams(settings: Settings, *, json: Json = False) -> None:
    """Show the state of the JetStream streams and their consumers."""
    async with open_services(settings, reads=True) as services:
        address = services.bus_address
        async with connect_bus(address, role="auditor", attempts=1) as bus:
            found = [
                stream for tenant in (None, *settings.tenants) for stream in await list_streams(bus, tenant)
            ]
    if json:
        print_object([asdict(stream) for stream in found])
        return
    if not found:
        note("There are no streams yet; a job's first worker creates them.")
        return
    print_table(
        ("stream", "subjects", "retention", "messages", "bytes", "consumers"),
        [
            (_label(s), " ".join(s.subjects), s.retention, s.messages, s.bytes, len(s.consumers))
            for s in found
        ],
    )
    consumers = [(_label(stream), consumer) for stream in found for consumer in stream.consumers]
    if consumers:
        print_table(
            ("\nconsumer", "\nstream", "\npending", "\nack pending", "\nredelivered", "\nwaiting"),
            [(c.name, name, c.pending, c.ack_pending, c.redelivered, c.waiting) for name, c in consumers],
        )


def _label(stream: StreamState) -> str:
    return stream.name if stream.tenant is None else f"{stream.name} of {stream.tenant}"


@command(group, "logs")
async def logs(
    settings: Settings,
    *,
    job: Annotated[str | None, typer.Argument(help="Name or token of a job. [default: the newest]")] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow/--no-follow", help="Keep printing new lines until Ctrl-C, or print once and exit."
        ),
    ] = True,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="Existing lines to show from each log.")
    ] = 20,
) -> None:
    """Follow the logs of the embedded services and of a job's workers on this machine. Lines are prefixed with the log's name."""
    data_dir = whole_data_dir(settings.data_dir)
    with permission_explained(data_dir):
        if not has_logs(data_dir):
            raise UsageError(
                f"There are no logs in {data_dir}.",
                hint="Name another place with --data-dir; `run` writes logs there.",
            )
        token = choose_job(jobs_with_logs(data_dir), job)
        if job is not None and token is None:
            raise UsageError(
                f"No worker of job {job!r} has run on this machine.",
                hint=f"Its logs would be in {data_dir / 'logs'}.",
            )
        reader = LogReader(data_dir, token)
        for name, line in reader.tail(lines):
            print_line(f"{name}: {line}")
        try:
            while follow:
                await asyncio.sleep(LOG_POLL_SECONDS)
                for name, line in reader.news():
                    print_line(f"{name}: {line}")
        except asyncio.CancelledError:
            return  # Ctrl-C ends the following


@command(group, "stop")
async def stop(
    settings: Settings,
    *,
    force: Annotated[bool, typer.Option("--force", help="Stop them even if a command uses them.")] = False,
) -> None:
    """Stop the embedded services, for example after a command was killed. Their data is kept.

    Commands start the services when needed, and the last command to exit stops them.
    """
    stopped = await stop_services(settings.data_dir, force=force)
    note("Stopped." if stopped else f"No services are running in {whole_data_dir(settings.data_dir)}.")
