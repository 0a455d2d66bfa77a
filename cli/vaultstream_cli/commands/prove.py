"""`vaultstream prove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaultstream.audit.exports.prove import prove_record
from vaultstream.errors import UsageError
from vaultstream.local.session import open_session
from vaultstream.settings import Settings
from vaultstream_cli.app import Json, command, named_path
from vaultstream_cli.output import note, print_line, print_object
from vaultstream_cli.root import app
from vaultstream_cli.unknown_jobs import explaining_unknown


@command(app, "prove", unknown_options_are_arguments=True)  # an id may be negative
async def prove(
    settings: Settings,
    *,
    job: Annotated[str, typer.Argument(help="Name of the job, or its token if it was deleted.")],
    record_id: Annotated[str, typer.Argument(metavar="RECORD_ID", help="Id of the record.")],
    out: Annotated[
        Path, typer.Option("--out", parser=named_path, metavar="DIR", help="Folder to write to.")
    ] = Path("proof"),
    json: Json = False,
) -> None:
    """Write the proof that a record was signed in its batch, under its id and at its time, and that the job's log has the batch.

    Writes record.json, statement.json and statement.tlog-proof (https://c2sp.org/tlog-proof). To verify them needs no database:
    it needs the record's payload, the public key that the statement names, and the seal key of the installation. The two keys
    must come from elsewhere than this database, such as from a copy of what `keys export` and `log key` printed. The job's log
    must have the record's batch: it does when the job has ended, and before that at intervals.
    """
    async with open_session(settings, reads=True, nats=False) as session, explaining_unknown(session, job):
        made = await prove_record(session.services.database_url, job, record_id)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in made.proof.files.items():
            (out / name).write_bytes(data)
    except OSError as error:
        raise UsageError(f"{error.filename or out} can't be written: {error.strerror}.") from None
    if json:
        print_object(made.to_json() | {"files": [str(out / name) for name in made.proof.files]})
        return
    for name in made.proof.files:
        print_line(str(out / name))
    stated = made.proof.signed.statement
    note(
        f"Record {record_id} is number {made.proof.record.index + 1} of {stated.count} in batch {stated.batch}, which is entry "
        f"{made.proof.log.index} of {made.head.size} in the log {made.head.origin}."
    )
