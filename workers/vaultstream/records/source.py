"""The table or view that a job signs: finds it, checks it, and writes the SQL that reads it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from vaultstream.errors import SourceError
from vaultstream.records.composed import composed_sql, member_of
from vaultstream.store.batches import listed_type
from vaultstream.store.database import fetch_one
from vaultstream.store.search_path import users_search_path
from vaultstream.store.source_pool import SourcePool, replaced
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from vaultstream.api import RecordsSpec
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

_ID_TYPES = {
    "int2": "bigint",
    "int4": "bigint",
    "int8": "bigint",
    "uuid": "uuid",
    "text": "text",
    "varchar": "text",
}
"""From a column's type to the type in which the engine handles its ids."""

_PAYLOADS = {
    "bytea": "{column}",
    "text": "convert_to({column}, 'UTF8')",
    "varchar": "convert_to({column}, 'UTF8')",
    "json": "convert_to({column}::text, 'UTF8')",
    "jsonb": "convert_to({column}::text, 'UTF8')",
}
"""From a column's type to the expression that yields the bytes to sign."""


def quote_identifier(name: str) -> str:
    """Returns `name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Source:
    """A table or view, each part ready for use in SQL."""

    oid: int
    """Of the relation: a job signs this one, whatever has its name later."""
    relation: str
    """Its schema and name."""
    id_sql: str
    id_type: str
    """How ids are handled: bigint, uuid or text."""
    payload_sql: str
    """An expression over the payload column that yields the bytes to sign."""
    composed: bool = False
    """Whether the payload is composed of several columns; it is NULL then if a value has no canonical form."""
    unfinished: bool = False
    """Whether what the expression yields has to go through `records.composed.finished`."""
    stored: bool = False
    """Whether the payload is a column of bytes on disk. That of a view may be another one whenever it is evaluated."""

    def parse_id(self, text: str) -> int | UUID | str:
        """Returns an id in the driver's type, from its text."""
        match self.id_type:
            case "bigint":
                return int(text)
            case "uuid":
                return UUID(text)
            case _:
                return text

    def read_sql(self, *, ranged: bool) -> str:
        """Returns the query for the payloads of batches; $1 limits their size in bytes.

        Args:
            ranged: whether $2 and $3 are the first and last ids of runs; if not, $2 is the ids; as `listed_ids` writes them.
        """
        return self.fill("read_ranges" if ranged else "read_listed")

    def read_range_sql(self) -> str:
        """Returns the query for the payloads from the id $2 to the id $3; $1 limits their size in bytes."""
        return self.fill("read_stored_range" if self.stored else "read_range")

    def fill(self, name: str) -> str:
        """Returns a query over the source, by its name."""
        return query(
            name,
            relation=self.relation,
            id=self.id_sql,
            id_type=self.id_type,
            listed=listed_type(self.id_type),
            payload=self.payload_sql,
            same_id=query("same_text") if self.id_type == "text" else "true",
        )


async def inspect_source(connection: Connection, records: RecordsSpec, *, hints: bool = True) -> Source:
    """Finds the table or view that a job names, and checks its columns. It reads only the catalogs.

    Args:
        connection: of ours; an unqualified name is searched for in its search path.
        records: names the relation and its columns.
        hints: whether errors may name what the user of the connection may read. The owner of the job may not see all of that.

    Raises:
        SourceError: it does not exist, may not be signed, lacks a column, or has a column of an unsupported type.
    """
    async with users_search_path(connection):
        relation = await connection.fetchrow(query("find_relation"), records.table)
    if relation is None:
        hint = "Correct the name, with the schema if it is not in the search path."
        if hints:
            async with users_search_path(connection):
                names = [row["name"] for row in await connection.fetch(query("list_relations"))]
            hint = _nearest(records.table, names, "Tables and views that this user may read")
        raise SourceError(
            f"spec.records.table: the database has no table or view {records.table!r}.", hint=hint
        )
    if relation["reserved"]:
        raise SourceError(
            f"spec.records.table: {relation['relation']} belongs to VaultStream or to Postgres.",
            hint="Name a table or view of your own.",
        )
    return await _describe(connection, relation["oid"], relation["relation"], records, hints=hints)


async def open_source(connection: Connection, job: Job) -> Source:
    """Returns the source of a job: the relation that the job was created for, under the name that the job gives.

    Args:
        connection: a source connection.
        job: the job.

    Raises:
        SourceError: the relation was dropped, replaced or renamed; it, or a column of it, can't be used; or this user may see only
            a part of it.
    """
    if job.source_oid is None:
        raise SourceError(
            f"spec.records.table: job {job.name} was created by an older version, which did not store its relation.",
            hint="The job's records worker does that when it starts.",
        )
    records = job.spec.records
    found = await connection.fetchrow(query("pinned_relation"), job.source_oid)
    if found is None:
        raise replaced(records.table, how="dropped")
    if records.table not in {found["name"], f"{found['schema']}.{found['name']}"}:
        raise replaced(records.table)
    source = await _describe(connection, job.source_oid, found["relation"], records, hints=True)
    if source.id_type != job.id_type:
        raise SourceError(
            f"spec.records.idColumn: the ids in {source.relation} now have the type {source.id_type}; "
            f"the ids of the job's records have the type {job.id_type}.",
            hint="Give the column its former type, or create a new job.",
        )
    await refuse_partial_source(connection, source)
    if found["stored"] and source.payload_sql == quote_identifier(records.payload_column):
        source = replace(source, stored=True)
    return source


async def refuse_partial_source(connection: Connection, source: Source) -> None:
    """Checks that the user of a connection sees all rows of a source: a part must not be signed, or compared, as the whole.

    Args:
        connection: a source connection.
        source: the source.

    Raises:
        SourceError: a policy hides rows from this user, or a view answers each user differently.
    """
    for found in await connection.fetch(query("partial_views"), source.oid):
        if found["by_policy"]:
            raise SourceError(
                f"spec.records.table: row-level security of {found['relation']} may hide rows from the database user "
                f"{found['reader']!r}, so {source.relation} may be only a part of the records.",
                hint="Let the owner of the table create a view of the records to sign, which reads them with the owner's rights, "
                "and sign that view.",
            )
        raise SourceError(
            f"spec.records.table: the view {found['relation']} answers each user or session differently (current_user, "
            f"a setting or a privilege is in it), so {source.relation} may be only a part of the records.",
            hint="Sign a view that names the records by their own columns.",
        )


async def open_readable_source(sources: SourcePool, job: Job) -> Source:
    """Does what `open_source` does, and checks that the source login may read the job's columns.

    Raises:
        SourceError: as `open_source`; or a privilege is missing, and the hint has the GRANT for it.
    """
    records = job.spec.records
    async with sources.transaction() as connection:
        source = await open_source(connection, job)
        read = list(dict.fromkeys([records.id_column, *records.read_columns]))
        rights = await fetch_one(connection, query("source_rights"), source.oid, read)
    user, schema = (quote_identifier(rights[name]) for name in ("login", "schema"))
    missing = []
    if not rights["enters"]:
        missing.append(f"GRANT USAGE ON SCHEMA {schema} TO {user}")
    if not rights["reads"]:
        columns = ", ".join(map(quote_identifier, read))
        missing.append(f"GRANT SELECT ({columns}) ON {source.relation} TO {user}")
    if missing:
        raise SourceError(
            f"spec.records.table: the database user {rights['login']!r} may not read {source.relation}.",
            hint=f"Let its owner run: {'; '.join(missing)}.",
        )
    return source


async def _describe(
    connection: Connection, oid: int, relation: str, records: RecordsSpec, *, hints: bool
) -> Source:
    """Returns the source over a relation, after a check of its columns."""
    rows = await connection.fetch(query("list_columns"), oid)
    id_type = _column_type(rows, records.id_column, "idColumn", records.table, hints=hints)
    if id_type not in _ID_TYPES:
        raise SourceError(
            f"spec.records.idColumn: {records.id_column!r} is of type {id_type}; an id is an integer, a UUID or text.",
            hint="Name another column, or a view that casts this one.",
        )
    source = Source(
        oid=oid,
        relation=relation,
        id_sql=quote_identifier(records.id_column),
        id_type=_ID_TYPES[id_type],
        payload_sql="",
    )
    if records.payload_columns is not None:
        return replace(source, **_composed(rows, records, hints=hints))
    payload_type = _column_type(rows, records.payload_column, "payloadColumn", records.table, hints=hints)
    if payload_type not in _PAYLOADS:
        raise SourceError(
            f"spec.records.payloadColumn: {records.payload_column!r} is of type {payload_type}; "
            "a payload is bytea, text, json or jsonb.",
            hint="Name another column, a view that casts this one to text, or sign it as a member of a JSON object: "
            f"payloadColumns: [{records.payload_column}].",
        )
    payload_sql = _PAYLOADS[payload_type].format(column=quote_identifier(records.payload_column))
    return replace(source, payload_sql=payload_sql)


def _composed(rows: Sequence[asyncpg.Record], records: RecordsSpec, *, hints: bool) -> dict[str, Any]:
    """Returns what a source has of its own if its payload is composed of columns."""
    members = {}
    for name in records.read_columns:
        type_ = _column_type(rows, name, "payloadColumns", records.table, hints=hints)
        member = member_of(type_, quote_identifier(name))
        if member is None:
            raise SourceError(
                f"spec.records.payloadColumns: {name!r} is of type {type_}, which has no canonical JSON form here.",
                hint="Leave it out, or name a view that casts it to text.",
            )
        members[name] = member
    return {
        "payload_sql": composed_sql(members),
        "composed": True,
        "unfinished": any(member.unfinished for member in members.values()),
    }


def _column_type(rows: Sequence[asyncpg.Record], name: str, field: str, table: str, *, hints: bool) -> str:
    for row in rows:
        if row["name"] == name:
            return "enum" if row["enumerated"] else str(row["type"])
    hint = "Correct the name."
    if hints:
        readable = [row["name"] for row in rows if row["readable"]]
        hint = _nearest(name, readable, "Columns that this user may read")
    raise SourceError(f"spec.records.{field}: {table} has no column {name!r}.", hint=hint)


def _nearest(name: str, names: list[str], introduction: str) -> str:
    if near := difflib.get_close_matches(name, names, n=1):
        return f"Did you mean {near[0]!r}?"
    shown = ", ".join(sorted(names)[:20]) or "none"
    return f"{introduction}: {shown}."
