"""`vaultstream lint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaultstream.api.loader import load_signing_job
from vaultstream.settings import Settings
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.output import print_json, print_line


@command(app, "lint")
async def lint(
    _: Settings,
    *,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="YAML of a SigningJob; - reads standard input.")
    ],
    json: Json = False,
) -> None:
    """Check the YAML of a SigningJob without a service: every problem with its line and its field. Exits 0, or 2 if it is invalid."""
    name = load_signing_job(file).metadata.name
    if json:
        print_json({"job": name, "valid": True})
    else:
        print_line(f"{file}: the SigningJob {name} is valid.")
