"""The table that an import fills: found, created, replaced or added to, all within the caller's transaction."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import asyncpg

from vaultstream.errors import SourceError, shortened
from vaultstream.importing.ids import SQL_TYPES, IdType
from vaultstream.importing.options import ImportOptions, Mode
from vaultstream.plurals import counted
from vaultstream.records.source import quote_identifier
from vaultstream.store.search_path import users_search_path
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from vaultstream.importing.rows import PayloadType
    from vaultstream.store.database import Connection

_RESERVED_SCHEMAS = ("vaultstream", "information_schema")


@dataclass(frozen=True)
class Existing:
    """A table that already exists."""

    oid: int
    schema: str
    name: str
    id_type: IdType | None
    """None if imports don't create ids of its type."""
    identity: tuple[str, ...] | None
    """Its name, and what a rename of it or of its schema changes, from before its name was used."""


@dataclass(frozen=True)
class Target:
    """The table that rows are copied to, and what happens to it at the end."""

    options: ImportOptions
    schema: str
    name: str
    existing: Existing | None

    @property
    def sql(self) -> str:
        """Its qualified name in SQL."""
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"

    @property
    def appended(self) -> bool:
        return self.existing is not None and self.options.mode is Mode.APPEND

    def names(self) -> dict[str, str]:
        """Returns the values of the placeholders `{table}`, `{id}` and `{payload}` of a statement."""
        return {
            "table": self.sql,
            "id": quote_identifier(self.options.id_column),
            "payload": quote_identifier(self.options.payload_name),
        }


async def find_existing(
    connection: Connection, options: ImportOptions, payload_type: PayloadType
) -> Existing | None:
    """Returns the table of that name, or None if there is none.

    Raises:
        SourceError: there is one, but the options don't say what to do with it, or it can't be added to or replaced.
    """
    if options.table.split(".", 1)[0].startswith("pg_") or options.table.startswith(
        tuple(f"{schema}." for schema in _RESERVED_SCHEMAS)
    ):
        raise SourceError(
            f"{options.table!r} is reserved for Postgres or VaultStream.", hint="Choose another name."
        )
    async with users_search_path(connection):
        found = await connection.fetchrow(query("find_relation"), options.table)
    if found is None:
        return None
    if options.mode is Mode.CREATE:
        raise SourceError(
            f"The table or view {options.table!r} already exists.",
            hint="Add to it with --append, replace it with --replace, or choose another name.",
        )
    identity = await _identity(connection, found["oid"])
    row = await connection.fetchrow(query("import_describe"), found["oid"], options.id_column)
    if row is None or row["kind"] != "r":
        raise SourceError(
            f"{options.table!r} is not an ordinary table: it can't be added to or replaced.",
            hint="Choose another name.",
        )
    columns = {c["name"]: c["type"] for c in await connection.fetch(query("list_columns"), found["oid"])}
    id_type = {"int8": "bigint", "uuid": "uuid", "text": "text"}.get(columns.get(options.id_column, ""))
    if options.mode is Mode.APPEND:
        if missing := await connection.fetchval(query("import_missing_privileges"), found["oid"]):
            raise SourceError(
                f"This user may not add to the table {options.table!r}.",
                hint=f"Ask its owner to run: GRANT {missing} ON {found['relation']} TO the user of DATABASE_URL.",
            )
        fits = (
            set(columns) == {options.id_column, options.payload_name}
            and columns[options.payload_name] == payload_type
            and id_type is not None
            and row["keyed"]
        )
        if not fits:
            shown = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            raise SourceError(
                f"This file can't be added to the table {options.table!r}: its columns are {shown}.",
                hint=f"The table needs exactly the columns {options.id_column!r} (bigint, uuid or text, unique) "
                f"and {options.payload_name!r} ({payload_type}).",
            )
    existing = Existing(found["oid"], row["schema"], row["name"], cast("IdType | None", id_type), identity)
    if options.mode is not Mode.APPEND:
        await _refuse_if_used(connection, existing, options)
    return existing


async def make_target(
    connection: Connection,
    options: ImportOptions,
    existing: Existing | None,
    id_type: IdType,
    payload_type: PayloadType,
) -> Target:
    """Returns the table to fill; creates it unless rows are added to one. A replacement has a temporary name at first.

    Raises:
        SourceError: the table can't be created.
    """
    if existing is not None and options.mode is Mode.APPEND:
        target = Target(options, existing.schema, existing.name, existing)
        await connection.execute(query("import_lock_appended", table=target.sql))
        await _refuse_if_renamed(connection, existing, options.table)
        await _refuse_code_of_others(connection, existing, options.table)
        return target
    if existing is not None:
        target = Target(options, existing.schema, f"vaultstream_import_{secrets.token_hex(8)}", existing)
    elif "." in options.table:
        schema, name = options.table.split(".", 1)
        target = Target(options, schema, name, None)
    else:
        target = Target(options, await _current_schema(connection), options.table, None)
    try:
        await connection.execute(
            query("import_create", **target.names(), id_type=SQL_TYPES[id_type], payload_type=payload_type)
        )
    except asyncpg.InvalidSchemaNameError:
        raise SourceError(
            f"There is no schema {target.schema!r}.", hint=f"CREATE SCHEMA {quote_identifier(target.schema)}"
        ) from None
    except (asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        raise SourceError(
            f"The name {options.table!r} is already used in the database.", hint="Choose another name."
        ) from None
    return target


async def narrow_ids(connection: Connection, target: Target, id_type: IdType) -> None:
    """Sets the type of the ids of a table that is still empty."""
    if id_type != "text" and not target.appended:
        await connection.execute(
            query("import_narrow_ids", **target.names(), column_type=SQL_TYPES[id_type], id_type=id_type)
        )


async def finish_target(connection: Connection, target: Target) -> None:
    """Puts a replacement in place of the old table, adds the primary key and gathers statistics.

    Raises:
        SourceError: the old table can't be dropped.
    """
    existing = target.existing
    if existing is not None and target.appended:
        await _refuse_if_renamed(connection, existing, target.options.table)
    final = target
    if existing is not None and not target.appended:
        final = Target(target.options, existing.schema, existing.name, existing)
        await connection.execute(query("import_lock_replaced", table=final.sql))
        await _refuse_if_renamed(connection, existing, target.options.table)
        await _refuse_if_used(connection, existing, target.options)
        try:
            await connection.execute(query("import_drop", table=final.sql))
        except asyncpg.DependentObjectsStillExistError as error:
            raise SourceError(
                f"{target.options.table!r} can't be replaced: {shortened(error.detail or str(error))}.",
                hint="Drop what depends on it first, or choose another name.",
            ) from None
        await connection.execute(query("import_rename", table=target.sql, name=quote_identifier(final.name)))
    if not target.appended:
        await connection.execute(query("import_add_primary_key", **final.names()))
    await connection.execute(query("analyze", table=final.sql))


async def _refuse_code_of_others(connection: Connection, existing: Existing, table: str) -> None:
    """Checks a locked table: rows that are added to it must not run code of somebody else with this user's privileges."""
    if found := [row["what"] for row in await connection.fetch(query("import_code"), existing.oid)]:
        raise SourceError(
            f"Adding to the table {table!r} could run code of somebody else with the privileges of this user: it has "
            f"{', '.join(found)}.",
            hint="Let the owner of the table import the file, or import it into a new table.",
        )


async def _identity(connection: Connection, oid: int) -> tuple[str, ...] | None:
    row = await connection.fetchrow(query("relation_identity"), oid)
    return tuple(row) if row else None


async def _refuse_if_renamed(connection: Connection, existing: Existing, table: str) -> None:
    """Checks that the name has meant one table since it was looked up: statements have a name, not an oid."""
    if await _identity(connection, existing.oid) != existing.identity:
        raise SourceError(
            f"The table {table!r} or its schema was altered while rows were loaded.",
            hint="Nothing was loaded. Run the command again.",
        )


async def _current_schema(connection: Connection) -> str:
    async with users_search_path(connection):
        schema = await connection.fetchval(query("import_current_schema"))
    if schema is None:
        raise SourceError(
            "None of the schemas in the search path exists.",
            hint="Give the schema with the table, as in --table public.records.",
        )
    return str(schema)


async def _refuse_if_used(connection: Connection, existing: Existing, options: ImportOptions) -> None:
    """Checks that no job needs the records of a table that is replaced: to sign them, or to verify its signatures by them."""
    if await connection.fetchval(query("find_table"), "vaultstream.jobs") is None:
        return
    table = options.table
    for job in await connection.fetch(query("import_open_jobs")):
        async with users_search_path(connection):
            source = await connection.fetchrow(query("find_relation"), job["source"])
        if source is not None and source["oid"] == existing.oid:
            raise SourceError(
                f"The job {job['name']!r} still signs the records of {table!r}.",
                hint=f"Let it finish, or delete it: vaultstream delete {job['name']}",
            )
    if options.mode is Mode.REPLACE and (
        names := [row["name"] for row in await connection.fetch(query("import_signed_by"), existing.oid)]
    ):
        others = f" and {counted(len(names) - 1, 'other job')}" if len(names) > 1 else ""
        raise SourceError(
            f"The job {names[0]!r}{others} signed the records of {table!r}: `verify` compares them with what was signed.",
            hint="Import the file into a new table. --replace-signed replaces this one and keeps the signatures.",
        )
