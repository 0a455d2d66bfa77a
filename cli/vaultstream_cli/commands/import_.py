"""`vaultstream import`: loads a file of records into a table."""

from __future__ import annotations

import asyncio
import csv
import time
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from vaultstream.errors import Interrupted, UsageError
from vaultstream.importing import Format, ImportOptions, ImportReport, Mode, import_records
from vaultstream.importing.options import shown_columns
from vaultstream.importing.source import STANDARD_INPUT_NAME
from vaultstream.local.session import open_session
from vaultstream.plurals import counted
from vaultstream.settings import Settings
from vaultstream.store.database import connect
from vaultstream.visible import visible
from vaultstream_cli.app import Json, command
from vaultstream_cli.input import is_standard_input, spooled_input
from vaultstream_cli.output import err, note, print_object, print_text, warn
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultstream.importing.loader import ImportProgress

_SECONDS_BETWEEN_LINES = 5.0
_COLUMNS_SHOWN = 30


@command(app, "import", names=("table",))
async def import_(
    settings: Settings,
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV with a header line, JSON (an object per line, or one array) or Parquet; may be compressed as .gz or .zip. "
            "- reads standard input, and needs --format.",
        ),
    ],
    table: Annotated[
        str,
        typer.Option(
            "--table", help="Table to load into. The name is case-sensitive; SCHEMA.TABLE gives a schema."
        ),
    ],
    id_column: Annotated[
        str,
        typer.Option(
            "--id-column",
            help="Column of the ids: integers, UUIDs or text. If the file has no such column, rows are numbered from 1.",
        ),
    ],
    payload_column: Annotated[
        str | None, typer.Option("--payload-column", help="Column whose exact bytes are the payload.")
    ] = None,
    payload_columns: Annotated[
        str | None,
        typer.Option(
            "--payload-columns",
            help="Comma-separated columns that make up the payload, a canonical JSON object (RFC 8785). "
            "[default: all columns except the id]",
        ),
    ] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", help="Format of FILE. [default: from its extension]")
    ] = None,
    max_rejects: Annotated[
        int | None,
        typer.Option(
            "--max-rejects",
            min=0,
            help="Load nothing if more lines than this are rejected. [default: 100 or a tenth of the lines, whichever is more]",
        ),
    ] = None,
    allow_multiline: Annotated[
        bool,
        typer.Option(
            "--allow-multiline",
            help="Accept quoted CSV values that span lines which look like records. Without it, such a file is refused, "
            "because a stray quote is likelier.",
        ),
    ] = False,
    rejects: Annotated[
        Path | None,
        typer.Option(
            "--rejects",
            help="File to list rejected lines in. [default: FILE.rejected.jsonl; stdin.rejected.jsonl for standard input]",
        ),
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to the table if it exists.")] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Replace the table if it exists, unless a job has signed its records."
        ),
    ] = False,
    replace_signed: Annotated[
        bool,
        typer.Option(
            "--replace-signed",
            help="Replace the table also if a job that has ended has signed its records. Its signatures are kept.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Load a file of records into a table, all or nothing.

    Lines that can't be loaded (malformed, without an id or with a duplicate id) are skipped and listed in FILE.rejected.jsonl
    with their number and the reason. The exit code is still 0, unless more than --max-rejects were skipped.
    """
    if append and (replace or replace_signed):
        raise UsageError("--append and --replace can't be combined.", hint="Give only one of them.")
    mode = Mode.APPEND if append else Mode.REPLACE if replace else Mode.CREATE
    piped = is_standard_input(file)
    options = ImportOptions(
        table=table,
        id_column=id_column,
        payload_column=payload_column,
        payload_columns=_names(payload_columns),
        mode=Mode.REPLACE_SIGNED if replace_signed else mode,
        format=format_,
        max_rejects=max_rejects,
        allow_multiline=allow_multiline,
        piped=piped,
        rejects=rejects or (Path("stdin.rejected.jsonl") if piped else None),
    )
    options.check()
    if piped and format_ is None:
        raise UsageError(
            "Standard input has no name that says its format.", hint="Add --format.", field="--format"
        )
    # Uses its own connection: the pool's connections have a command timeout of two minutes.
    async with (
        AsyncExitStack() as spooled,
        open_session(settings, pool_size=1, nats=False) as session,
        connect(session.services.database_url, role="import") as connection,
    ):
        try:
            if piped:
                file = await spooled.enter_async_context(spooled_input(f"stdin.{format_}"))
            with _shown_progress(STANDARD_INPUT_NAME if piped else file.name) as progress:
                report = await import_records(connection, file, options, progress)
        except asyncio.CancelledError:
            raise Interrupted(
                "Interrupted; nothing was loaded.", hint="Run the same command again to load the file."
            ) from None
    _print_report(report, as_json=as_json)


def _names(text: str | None) -> tuple[str, ...] | None:
    """Splits names at commas; a name that contains a comma is quoted, as in CSV."""
    if text is None:
        return None
    names = tuple(next(csv.reader([text], skipinitialspace=True), []))
    if not names or not all(names):
        raise UsageError("--payload-columns has an empty name.", hint="Write it as A,B,C.")
    return names


@contextmanager
def _shown_progress(name: str) -> Iterator[Callable[[ImportProgress], None]]:
    if err.is_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[rows]:,} rows"),
            TimeRemainingColumn(),
        )
        with ProgressBar(*columns, console=err, transient=True) as bar:
            task = bar.add_task(visible(name), total=None, rows=0)

            def move(state: ImportProgress) -> None:
                bar.update(task, completed=state.position, total=state.size, rows=state.rows)

            yield move
        return
    last = time.monotonic()

    def print_line(state: ImportProgress) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            note(
                f"{name}: {counted(state.rows, 'row')} read, {100 * state.position // state.size}% of the file"
            )

    yield print_line


def _print_report(report: ImportReport, *, as_json: bool) -> None:
    if report.rejected:
        lines = f"{counted(report.rejected, 'line')} {'was' if report.rejected == 1 else 'were'}"
        warn(f"{lines} rejected; {report.rejected_file} lists them with the reasons")
    if report.numbered:
        warn(
            f"the file has no column {report.id_column!r}, so its rows are numbered; its columns are "
            f"{shown_columns(report.columns, _COLUMNS_SHOWN)}"
        )
    if as_json:
        rejected_file = str(report.rejected_file) if report.rejected_file else None
        print_object({**asdict(report), "rejected_file": rejected_file})
        return
    ids = f"{report.id_column} ({report.id_type}{', numbered' if report.numbered else ''})"
    of_array = " of a JSON array" if report.form == "JSON array" else ""
    print_text(
        f"{counted(report.rows, 'row')}{of_array} loaded into {report.table} in {report.seconds:.1f} s: ids in {ids}, "
        f"payloads in {report.payload_column} ({report.payload_type})"
    )
