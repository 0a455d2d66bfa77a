"""`vaultstream lint`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vaultstream.api.loader import load_signing_jobs
from vaultstream.errors import ImportFileError, InvalidJobError
from vaultstream.importing.checking import SHOWN_REJECTS, RecordsCheck, check_records, holds_records
from vaultstream.importing.encoding import NOT_UTF_8, TO_UTF_8
from vaultstream.importing.options import ImportOptions
from vaultstream.importing.source import STANDARD_INPUT_NAME, Format
from vaultstream.plurals import counted
from vaultstream.settings import Settings
from vaultstream_cli.app import Json, command
from vaultstream_cli.input import interruptible, is_standard_input, spooled_input
from vaultstream_cli.output import note, print_line, print_object
from vaultstream_cli.root import app

_SKIPPED = "`import` skips such lines and lists them, unless they are too many (--max-rejects)."


@command(app, "lint", names=("jobs",))
async def lint(
    _: Settings,
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="YAML of SigningJobs, one or several documents; or a file of records for `import`. - reads standard input: jobs, or "
            "with --format records.",
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
    piped = is_standard_input(file)
    name = STANDARD_INPUT_NAME if piped else str(file)
    if format_ is None and not holds_records(file):
        _lint_jobs(file, name, as_json=json)
        return
    options = ImportOptions(
        table="-", id_column=id_column, format=format_, allow_multiline=allow_multiline, piped=piped
    )
    async with AsyncExitStack() as spooled:
        path = await spooled.enter_async_context(spooled_input(f"stdin.{format_}")) if piped else file
        with interruptible():
            checked = check_records(path, options)
    if json:
        shown = asdict(checked)
        print_object({"file": str(file), "valid": not checked.rejected, "jobs": [], "records": shown})
    else:
        _print_checked(name, checked, id_column)
    if checked.rejected:
        raise ImportFileError(
            f"{name}: {counted(checked.rejected, 'line')} can't be imported.",
            hint=TO_UTF_8 if any(each.reason.startswith(NOT_UTF_8) for each in checked.rejects) else _SKIPPED,
        )


def _lint_jobs(file: Path, name: str, *, as_json: bool) -> None:
    try:
        with interruptible():
            jobs = [job.metadata.name for job in load_signing_jobs(file)]
    except InvalidJobError as error:
        if error.field is not None:
            raise
        raise InvalidJobError(
            error.message, hint=f"{error.hint or ''} If it has records, add --format.".lstrip()
        ) from None
    if as_json:
        print_object({"file": str(file), "valid": True, "jobs": jobs})
    for job in [] if as_json else jobs:
        print_line(f"{name}: the SigningJob {job} is valid.")


def _print_checked(file: str, checked: RecordsCheck, id_column: str) -> None:
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
