"""The table or view that a job signs: finds it, checks it, and writes the SQL that reads it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from vaultstream.errors import SourceError
from vaultstream.store.database import fetch_one
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from vaultstream.api import RecordsSpec
    from vaultstream.store.database import Connection

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

    relation: str
    id_sql: str
    id_type: str
    """How ids are handled: bigint, uuid or text."""
    payload_sql: str
    """An expression over the payload column that yields the bytes to sign."""

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
            ranged: whether $2 and $3 are arrays of the first and last ids of runs; if not, $2 is an array of ids.
        """
        return query(
            "read_ranges" if ranged else "read_listed",
            relation=self.relation,
            id=self.id_sql,
            id_type=self.id_type,
            payload=self.payload_sql,
        )


async def inspect_source(connection: Connection, records: RecordsSpec) -> Source:
    """Finds the table or view that a job names, and checks its columns.

    Raises:
        SourceError: it does not exist, a column is missing, or a column has a type that is not supported.
    """
    relation = await connection.fetchrow(query("find_relation"), records.table)
    if relation is None:
        names = [row["name"] for row in await connection.fetch(query("list_relations"))]
        raise SourceError(
            f"spec.records.table: the database has no table or view {records.table!r}.",
            hint=_nearest(records.table, names, "Its tables and views are"),
        )
    columns = {
        row["name"]: row["type"] for row in await connection.fetch(query("list_columns"), relation["oid"])
    }
    id_type = _column_type(columns, records.id_column, "idColumn", records.table)
    payload_type = _column_type(columns, records.payload_column, "payloadColumn", records.table)
    if id_type not in _ID_TYPES:
        raise SourceError(
            f"spec.records.idColumn: {records.id_column!r} is of type {id_type}; an id is an integer, a UUID or text.",
            hint="Name another column, or a view that casts this one.",
        )
    if payload_type not in _PAYLOADS:
        raise SourceError(
            f"spec.records.payloadColumn: {records.payload_column!r} is of type {payload_type}; "
            "a payload is bytea, text, json or jsonb.",
            hint="Name another column, or a view that casts this one to text.",
        )
    return Source(
        relation=relation["relation"],
        id_sql=quote_identifier(records.id_column),
        id_type=_ID_TYPES[id_type],
        payload_sql=_PAYLOADS[payload_type].format(column=quote_identifier(records.payload_column)),
    )


async def open_source(connection: Connection, records: RecordsSpec) -> Source:
    """Does what `inspect_source` does, and checks that this user may read the two columns.

    Raises:
        SourceError: as `inspect_source`; or a right is missing, and the hint has the GRANT for it.
    """
    source = await inspect_source(connection, records)
    rights = await fetch_one(
        connection, query("source_rights"), source.relation, records.id_column, records.payload_column
    )
    user, schema = (quote_identifier(rights[name]) for name in ("login", "schema"))
    missing = []
    if not rights["enters"]:
        missing.append(f"GRANT USAGE ON SCHEMA {schema} TO {user}")
    if not rights["reads"]:
        columns = ", ".join(dict.fromkeys([source.id_sql, quote_identifier(records.payload_column)]))
        missing.append(f"GRANT SELECT ({columns}) ON {source.relation} TO {user}")
    if missing:
        raise SourceError(
            f"spec.records.table: the database user {rights['login']!r} may not read {source.relation}.",
            hint=f"Let its owner run: {'; '.join(missing)}.",
        )
    return source


def _column_type(columns: dict[str, str], name: str, field: str, table: str) -> str:
    if name not in columns:
        raise SourceError(
            f"spec.records.{field}: {table} has no column {name!r}.",
            hint=_nearest(name, list(columns), "Its columns are"),
        )
    return columns[name]


def _nearest(name: str, names: list[str], introduction: str) -> str:
    if near := difflib.get_close_matches(name, names, n=1):
        return f"Did you mean {near[0]!r}?"
    shown = ", ".join(sorted(names)[:20]) or "none yet"
    return f"{introduction}: {shown}."
