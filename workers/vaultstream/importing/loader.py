"""The import itself: one transaction, which either loads the whole file or leaves everything as it was."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.errors import DatabaseError, ImportFileError, MissingExtraError, UsageError
from vaultstream.importing.copying import (
    HEADER,
    TRAILER,
    affected_rows,
    copy_binary,
    pack_numbered,
    pack_staged,
)
from vaultstream.importing.csv_header import likelier_separator_in, looks_like_record, not_separated
from vaultstream.importing.csv_reader import CsvReader
from vaultstream.importing.encoding import NOT_UTF_8, TO_UTF_8
from vaultstream.importing.ids import SQL_TYPES, IdType, TypeOfIds
from vaultstream.importing.json_reader import JsonReader
from vaultstream.importing.options import shape_of, shown_columns
from vaultstream.importing.rejects import Reject, RejectFile, too_many
from vaultstream.importing.source import Format, ImportSource, open_import_source
from vaultstream.importing.target import Target, find_existing, finish_target, make_target, narrow_ids
from vaultstream.plurals import counted
from vaultstream.records.source import quote_identifier
from vaultstream.store.search_path import add_users_search_path
from vaultstream.store.serving import is_open
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from vaultstream.importing.options import ImportOptions, Shape
    from vaultstream.importing.rows import Chunk, PayloadType, Reader
    from vaultstream.store.database import Connection

_STAGE = "vaultstream_import"
_EXCERPTS: dict[str, str] = {
    "text": "left(s.payload, 200)",
    "bytea": "encode(substr(s.payload, 1, 100), 'hex')",
}


@dataclass(frozen=True)
class ImportProgress:
    """How far an import has got."""

    position: int
    """Bytes of the file read."""
    size: int
    """Size of the file in bytes."""
    rows: int
    """Rows read, including rejected ones."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did."""

    table: str
    id_column: str
    id_type: IdType
    numbered: bool
    """Whether the rows were numbered because the file had no id."""
    payload_column: str
    payload_type: PayloadType
    rows: int
    """Rows loaded."""
    rejected: int
    """Lines rejected."""
    rejected_file: Path | None
    """Lists the rejected lines, with number and reason; None: there are none."""
    seconds: float
    bytes: int
    """Size of the file as it is stored, before decompression."""
    form: str
    """What the file is: CSV, JSON lines, JSON array or Parquet."""
    columns: tuple[str, ...]
    """The names of its columns; of JSON, the members that the first records have."""


async def import_records(
    connection: Connection,
    path: Path,
    options: ImportOptions,
    progress: Callable[[ImportProgress], None] | None = None,
) -> ImportReport:
    """Loads a file of records into a table, in one transaction.

    Memory use does not depend on the length of the file. If the import ends early, through an error, a cancellation or
    the death of this process, the database stays as it was.

    Args:
        connection: without a command timeout, because a large file takes long, and not in a transaction.
        path: CSV, JSON lines or Parquet; the first two may be compressed (.gz, .zip).
        options: what to load, and into which table.
        progress: called after each part of the file.

    Raises:
        UsageError: the options contradict each other. Its subclasses: ImportFileError, the file can't be imported or too
            many of its lines were rejected; SourceError, the table can't be filled.
        DatabaseError: the connection broke.
    """
    started = time.monotonic()
    options.check()
    with open_import_source(path, options.format, piped=options.piped) as source:
        reader = reader_of(source, options)
        if source.format is Format.CSV:
            refuse_record_as_header(source, reader.columns, options)
        shape = shape_of(options, reader.columns, open_ended=reader.open_ended)
        payload_type = reader.payload_type(shape)
        listed = _place_of_rejects(path, options)
        async with _transaction(connection) as work:
            await connection.execute(query("import_settings"))
            existing = await find_existing(connection, options, payload_type)
            with RejectFile(listed, named=options.rejects is not None) as rejects:
                id_type: IdType = "bigint" if shape.numbered else "text"
                target = await make_target(connection, options, existing, id_type, payload_type)
                await add_users_search_path(connection)
                load = _Load(
                    connection, source, reader, shape, target, rejects, options.max_rejects, progress
                )
                if shape.numbered:
                    rows = await load.numbered()
                else:
                    rows, id_type = await load.with_ids(payload_type)
                load.check_rejects(at_end=True)
                await finish_target(connection, target)
            work.committing = True
    return ImportReport(
        table=options.table,
        id_column=options.id_column,
        id_type=id_type,
        numbered=shape.numbered,
        payload_column=options.payload_name,
        payload_type=payload_type,
        rows=rows,
        rejected=rejects.count,
        rejected_file=rejects.path if rejects.count else None,
        seconds=round(time.monotonic() - started, 3),
        bytes=source.size,
        form=reader.form,
        columns=tuple(reader.columns),
    )


@dataclass
class _Work:
    committing: bool = False


@asynccontextmanager
async def _transaction(connection: Connection) -> AsyncIterator[_Work]:
    """Opens a transaction; if the connection breaks, raises an error that says what happened to the data."""
    work = _Work()
    try:
        async with connection.transaction():
            yield work
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        if is_open(connection):
            raise
        raise DatabaseError(
            "The connection to Postgres broke; "
            + ("either the whole file was loaded or nothing." if work.committing else "nothing was loaded."),
            hint="Check that Postgres is running (`vaultstream doctor`)"
            + (
                ", and check the table before you run the import again."
                if work.committing
                else ", then run the import again."
            ),
        ) from error


def _place_of_rejects(path: Path, options: ImportOptions) -> Path:
    in_the_way = False
    place = options.rejects or path.with_name(path.name + ".rejected.jsonl")
    with suppress(OSError):  # a name that is too long: nothing may have to be listed
        in_the_way = place.is_dir() or place.samefile(path)
    if in_the_way:
        raise UsageError(
            f"Rejected lines can't be listed in {place}: that is the input or a directory.",
            hint="Name another file with --rejects.",
        )
    return place


def reader_of(source: ImportSource, options: ImportOptions) -> Reader:
    """Returns the reader of a file's format, with the names of its columns read.

    Raises:
        ImportFileError: the beginning of the file is not what its format has there.
    """
    match source.format:
        case Format.CSV:
            return CsvReader(source, allow_multiline=options.allow_multiline)
        case Format.JSON | Format.JSONL:
            return JsonReader(source)
        case Format.PARQUET:
            return _parquet_reader(source)


def refuse_record_as_header(source: ImportSource, columns: Sequence[str], options: ImportOptions) -> None:
    """Refuses a CSV file whose first line looks like a record, unless the options name one of its values as a column.

    Raises:
        ImportFileError: the first line looks like a record, or is separated otherwise.
    """
    named = {options.id_column, options.payload_column, *(options.payload_columns or ())}
    if options.id_column not in columns and (separator := likelier_separator_in(columns)):
        raise ImportFileError(
            f"The values of {source.name} seem to be separated by {separator!r}, not by commas.",
            hint="Convert it to commas first, or to JSON lines.",
        )
    if named.isdisjoint(columns) and (how := not_separated(columns, options.id_column)):
        raise ImportFileError(
            f"The columns of {source.name} seem to be {how}, not separated by commas.",
            hint="Convert it to CSV or JSON lines first. If it has one column, name that with --payload-column.",
        )
    if named.isdisjoint(columns) and looks_like_record(columns):
        shown = shown_columns(columns, 5)
        raise ImportFileError(
            f"The first line of {source.name} looks like a record, but it must have the names of the columns: {shown}.",
            hint="Put a line with the names before it. If these are the names, list them with --payload-columns.",
        )


def _parquet_reader(source: ImportSource) -> Reader:
    try:
        from vaultstream.importing.parquet_reader import ParquetReader  # noqa: PLC0415 - not installed everywhere
    except ModuleNotFoundError:
        raise MissingExtraError(
            f"Reading {source.name}",
            "pyarrow",
            extra="parquet",
            otherwise=", or use CSV or JSON. The container image does not include it.",
        ) from None
    return ParquetReader(source)


def _way_out(first: Reject) -> str:
    if first.reason.startswith(NOT_UTF_8):
        return TO_UTF_8
    return "Fix the file, check --format and --id-column, or raise --max-rejects."


@dataclass
class _Load:
    """Loads a file into a table."""

    connection: Connection
    source: ImportSource
    reader: Reader
    shape: Shape
    target: Target
    rejects: RejectFile
    max_rejects: int | None
    progress: Callable[[ImportProgress], None] | None
    rows_read: int = 0

    async def numbered(self) -> int:
        """Copies rows straight into the table, numbered after those that it has. Returns how many."""
        first = 0
        if self.target.appended:
            if self.target.existing and self.target.existing.id_type != "bigint":
                raise ImportFileError(
                    f"The file has no column {self.target.options.id_column!r}, and the table's ids are not integers.",
                    hint="Name the column of the ids with --id-column.",
                )
            first = await self.connection.fetchval(query("import_highest_number", **self.target.names()))

        def pack(chunk: Chunk) -> bytes:
            return pack_numbered((first + row.number, row.payload) for row in chunk.rows)

        return await copy_binary(
            self.connection,
            self._packed(pack, None),
            schema=self.target.schema,
            table=self.target.name,
            columns=[self.target.options.id_column, self.target.options.payload_name],
            freeze=not self.target.appended,  # the table was made in this transaction
        )

    async def with_ids(self, payload_type: PayloadType) -> tuple[int, IdType]:
        """Copies rows to a staging table, and from there those that are not duplicates, with the narrowest type of id.

        Returns:
            How many rows were added to the table, and the type of their ids.
        """
        types = TypeOfIds()
        appended_to = self.target.existing.id_type if self.target.existing and self.target.appended else None

        def pack(chunk: Chunk) -> bytes:
            types.see(row.id for row in chunk.rows)
            return pack_staged((row.number, row.line, row.id.encode(), row.payload) for row in chunk.rows)

        execute = self.connection.execute
        await execute(query("import_stage", payload_type=payload_type))
        await copy_binary(self.connection, self._packed(pack, appended_to), schema="pg_temp", table=_STAGE)
        id_type = appended_to or types.narrowest
        names = {**self.target.names(), "id_type": SQL_TYPES[id_type]}
        await narrow_ids(self.connection, self.target, id_type)
        await execute(query("import_find_duplicates", **names))
        if self.target.appended:
            await execute(query("import_find_present", **names))
        await self._reject_duplicates(payload_type)
        for table in (
            _STAGE,
            f"{_STAGE}_again",
        ):  # or the join may load the rows in another order than the file's
            await execute(query("analyze", table=f"pg_temp.{quote_identifier(table)}"))
        return affected_rows(await execute(query("import_unstage", **names))), id_type

    async def _reject_duplicates(self, payload_type: PayloadType) -> None:
        async for row in self.connection.cursor(
            query("import_rejected", excerpt=_EXCERPTS[payload_type]), prefetch=1000
        ):
            first, line = row["first"], row["line"]
            where = "the table" if first is None else f"line {first}" if first != line else "this line"
            self.rejects.add(
                [Reject(line, f"has the id {row['id']!r}, which {where} already has", row["text"])]
            )

    async def _packed(self, pack: Callable[[Chunk], bytes], wanted: IdType | None) -> AsyncIterator[bytes]:
        yield HEADER
        for chunk in self.reader.chunks(self.shape, wanted):
            self.rows_read += len(chunk.rows) + sum(reject.lines for reject in chunk.rejects)
            self.rejects.add(chunk.rejects)
            self.check_rejects(at_end=False)
            yield pack(chunk)
            self._tell(self.reader.position)
            await asyncio.sleep(0)  # lets Ctrl-C through: sending alone may never yield
        yield TRAILER
        self._tell(self.source.size)

    def _tell(self, position: int) -> None:
        if self.progress:
            self.progress(ImportProgress(position, self.source.size, self.rows_read))

    def check_rejects(self, *, at_end: bool) -> None:
        """Stops the import if too many lines were rejected.

        Raises:
            ImportFileError: too many lines were rejected.
        """
        rejected, first = self.rejects.count, self.rejects.first
        if first is None or not too_many(rejected, self.rows_read, self.max_rejects, at_end=at_end):
            return
        raise ImportFileError(
            f"{rejected:,} of {counted(self.rows_read, 'line')} can't be imported, so nothing was loaded: "
            f"line {first.line} {first.reason}.",
            hint=f"{self.rejects.path} lists them. {_way_out(first)}",
        )
