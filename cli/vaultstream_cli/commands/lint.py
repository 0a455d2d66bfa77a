"""`vaultstream lint`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vaultstream.api.loader import load_signing_jobs
from vaultstream.errors import ImportFileError
from vaultstream.importing.checking import SHOWN_REJECTS, RecordsCheck, check_records, holds_records
from vaultstream.importing.options import ImportOptions
from vaultstream.importing.source import Format
from vaultstream.plurals import counted
from vaultstream.settings import Settings
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.input import interruptible_reading
from vaultstream_cli.output import note, print_line, print_object


@command(app, "lint", names=("jobs",))
async def lint(
    _: Settings,
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="YAML of SigningJobs, one or several documents, where - reads standard input; or a file of records for `import`.",
        ),
    ],
    id_column: Annotated[
        str, typer.Option("--id-column", help="Of a file of records: its column of ids.")
    ] = "id",
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="FILE has records of this format. [default: from its extension]"),
    ] = None,
    allow_multiline: Annotated[
        bool, typer.Option("--allow-multiline", help="Of a CSV file: as for `import`.")
    ] = False,
    json: Json = False,
) -> None:
    """Check a file without a service and without changing anything: the YAML of SigningJobs, or records for `import`.

    Of a job it reports every problem with its line and its field, of records every line that `import` would reject, except
    duplicate ids. Exits 0, or 2 if something is wrong. A table that a job names is not looked for: `submit` does.
    """
    if format_ is None and not holds_records(file):
        with interruptible_reading():
            names = [job.metadata.name for job in load_signing_jobs(file)]
        if json:
            print_object({"file": str(file), "valid": True, "jobs": names})
        for name in [] if json else names:
            print_line(f"{file}: the SigningJob {name} is valid.")
        return
    options = ImportOptions(table="-", id_column=id_column, format=format_, allow_multiline=allow_multiline)
    with interruptible_reading():
        checked = check_records(file, options)
    if json:
        shown = asdict(checked)
        print_object({"file": str(file), "valid": not checked.rejected, "jobs": [], "records": shown})
    else:
        _print_checked(file, checked, id_column)
    if checked.rejected:
        raise ImportFileError(
            f"{file}: {counted(checked.rejected, 'line')} can't be imported.",
            hint="`import` skips such lines and lists them, unless they are too many (--max-rejects).",
        )


def _print_checked(file: Path, checked: RecordsCheck, id_column: str) -> None:
    for reject in checked.rejects:
        print_line(f"{file}:{reject.line}: {reject.reason}")
    if (more := checked.rejected - len(checked.rejects)) > 0:
        note(f"and {more:,} more; the first {SHOWN_REJECTS} are shown")
    ids = (
        f"rows are numbered, as it has no column {id_column!r}" if checked.numbered else f"ids in {id_column}"
    )
    print_line(
        f"{file}: {checked.form}, {counted(checked.rows, 'record')}; {ids}; columns: {', '.join(checked.columns)}"
    )
