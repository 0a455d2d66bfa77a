"""`vaultstream import`: a file of records into a table."""

from __future__ import annotations

import asyncio
import csv
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from vaultstream.errors import Interrupted, UsageError
from vaultstream.importing import Format, ImportOptions, ImportReport, Mode, import_records
from vaultstream.settings import Settings
from vaultstream.store.database import connect
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.output import err, note, out, print_json
from vaultstream_cli.session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultstream.importing.loader import Progress

_SECONDS_BETWEEN_LINES = 5.0


@command(app, "import")
async def import_(
    settings: Settings,
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="CSV with a header line, JSON lines or Parquet; .gz and .zip are unpacked."
        ),
    ],
    table: Annotated[
        str,
        typer.Option(
            "--table", help="Table to load into, exactly as named here; SCHEMA.TABLE names its schema."
        ),
    ],
    id_column: Annotated[
        str,
        typer.Option(
            "--id-column",
            help="Column of the ids: integers, UUIDs or text. If the file has none of this name, its rows are numbered from 1.",
        ),
    ],
    payload_column: Annotated[
        str | None, typer.Option("--payload-column", help="Column whose value is the payload, byte by byte.")
    ] = None,
    payload_columns: Annotated[
        str | None,
        typer.Option(
            "--payload-columns",
            help="Columns that make up the payload, with commas between: an object of canonical JSON (RFC 8785). "
            "[default: all but the id's]",
        ),
    ] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", help="How FILE is written. [default: as its name ends]")
    ] = None,
    max_rejects: Annotated[
        int | None,
        typer.Option(
            "--max-rejects",
            min=0,
            help="Load nothing if more lines than this are rejected. [default: a tenth of them, but at least 100]",
        ),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option("--rejects", help="Where rejected lines are listed. [default: FILE.rejected.jsonl]"),
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to the table if it is there.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put a new table in the place of one that is there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Loads a file of records into a table: all of it, or nothing.

    Lines that can't be loaded (no id, an id that was there before, malformed) are passed over and listed with their
    number and the reason in FILE.rejected.jsonl; the exit code is 0 all the same, unless they are too many.
    """
    if append and replace:
        raise UsageError("--append and --replace are both given.", hint="Give the one that you mean.")
    options = ImportOptions(
        table=table,
        id_column=id_column,
        payload_column=payload_column,
        payload_columns=_names(payload_columns),
        mode=Mode.APPEND if append else Mode.REPLACE if replace else Mode.CREATE,
        format=format_,
        max_rejects=max_rejects,
        rejects=rejects,
    )
    options.check()
    # A connection of its own: those of the pool give up on a command after two minutes.
    async with (
        open_session(settings, pool_size=1) as session,
        connect(session.services.database_url, role="import") as connection,
    ):
        try:
            with _shown_progress(file) as progress:
                report = await import_records(connection, file, options, progress)
        except asyncio.CancelledError:
            raise Interrupted(
                "Interrupted; nothing was loaded.", hint="Run the same command again to load the file."
            ) from None
    _print_report(report, as_json=as_json)


def _names(text: str | None) -> tuple[str, ...] | None:
    """Splits names at commas; one that holds a comma itself stands in quotes, as in CSV."""
    if text is None:
        return None
    names = tuple(next(csv.reader([text], skipinitialspace=True), []))
    if not names or not all(names):
        raise UsageError("--payload-columns has an empty name.", hint="Give it as A,B,C.")
    return names


@contextmanager
def _shown_progress(file: Path) -> Iterator[Callable[[Progress], None]]:
    if err.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[rows]:,} rows"),
            TimeRemainingColumn(),
        )
        with ProgressBar(*columns, console=err, transient=True) as bar:
            task = bar.add_task(file.name, total=None, rows=0)

            def move(state: Progress) -> None:
                bar.update(task, completed=state.position, total=state.size, rows=state.rows)

            yield move
        return
    last = time.monotonic()

    def tell(state: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            note(f"{file.name}: {state.rows:,} rows read, {100 * state.position // state.size} % of the file")

    yield tell


def _print_report(report: ImportReport, *, as_json: bool) -> None:
    if report.rejected:
        lines = "1 line was" if report.rejected == 1 else f"{report.rejected:,} lines were"
        err.print(
            f"warning: {lines} rejected; {report.rejected_file} says which, and why",
            markup=False,
            style="yellow",
        )
    if as_json:
        rejected_file = str(report.rejected_file) if report.rejected_file else None
        print_json({**asdict(report), "rejected_file": rejected_file})
        return
    ids = f"{report.id_column} ({report.id_type}{', numbered' if report.numbered else ''})"
    out.print(
        f"{report.rows:,} rows loaded into {report.table} in {report.seconds:.1f} s: ids in {ids}, "
        f"payloads in {report.payload_column} ({report.payload_type})",
        markup=False,
    )
