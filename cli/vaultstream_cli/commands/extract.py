"""`vaultstream extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaultstream.audit.exports.extract import extract_record
from vaultstream.errors import AuditError
from vaultstream.local.session import open_session
from vaultstream.settings import Settings
from vaultstream_cli.app import Json, command, named_path
from vaultstream_cli.output import note, print_line, print_object
from vaultstream_cli.root import app


@command(app, "extract", unknown_options_are_arguments=True)  # an id may be negative
async def extract(
    settings: Settings,
    *,
    job: Annotated[str, typer.Argument(help="Name of the job, or its token if it was deleted.")],
    record_id: Annotated[str, typer.Argument(metavar="RECORD_ID", help="Id of the record.")],
    to: Annotated[
        Path, typer.Option("--to", parser=named_path, metavar="<path>", help="Folder to write to.")
    ],
    json: Json = False,
) -> None:
    """Extract one signature into files, and print the openssl command that verifies it.

    Writes payload.bin, signature.bin, public.pem and record.json. Exits 4 if the record changed after it was signed or the
    signature is invalid; the files that can be written are written anyway.
    """
    async with open_session(settings, reads=True, nats=False) as session:
        extracted = await extract_record(
            session.services.database_url, job, record_id, to=to, source_url=session.services.source_url
        )
    if json:
        print_object(extracted.record)
    elif extracted.command is not None:
        note(f"Written to {to}. Verify the signature with:")
        print_line(extracted.command)
    if extracted.problem is not None:
        raise AuditError(extracted.problem, hint=f"The available files were written to {to}.")
