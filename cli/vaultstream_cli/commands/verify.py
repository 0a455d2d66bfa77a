"""`vaultstream verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.audit.verify import verify_job
from vaultstream.settings import Settings
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.output import print_json
from vaultstream_cli.progress import show_progress
from vaultstream_cli.report import print_report, require_ok
from vaultstream_cli.session import open_session


@command(app, "verify")
async def verify(
    settings: Settings,
    *,
    job: Annotated[str, typer.Argument(help="Name of the job; its token, if it was deleted.")],
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Verifying processes. [default: one a core]")
    ] = None,
    json: Json = False,
) -> None:
    """Verify a job: every record accounted for once, every signature valid, no two leases of a key at one time.

    Looks at one moment of the database, also while the job runs. A record whose payload is not the one that was signed
    counts as changed, told apart from a bad signature. Exits 0 only when nothing was found, else 4.
    """
    async with open_session(settings) as session:
        with show_progress("verifying") as progress:
            report = await verify_job(
                session.services.database_url, job, processes=processes, progress=progress
            )
    if json:
        print_json(report.to_json())
    else:
        print_report(report)
    require_ok(report)
