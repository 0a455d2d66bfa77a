"""A payload that is composed of columns: SQL writes the JSON object, and what SQL can't bring into canonical form is finished here.

Null, booleans and integers are JSON's; text, UUIDs and enumerations are strings. A numeric is a string with all its digits, a date
`"2013-01-31"`, a time of day `"10:00:00.000000"`, a timestamp `"2013-01-31T10:00:00.000000"`, one with a time zone in UTC with a `Z`
at the end. A bytea is a string in base64. Floats, JSON and arrays keep their JSON type: they are the ones to finish.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from vaultstream.canonical import MAX_SAFE_INTEGER, CanonicalError, canonical_json, encode_string

if TYPE_CHECKING:
    from collections.abc import Mapping

_STRING = "to_json({column}::text)::text"
_UNBOUNDED = "'NaN', 'Infinity', '-Infinity'"
_YEARS = "{value} >= '0001-01-01' AND {value} < '10000-01-01'"


def _in_years(value: str, form: str) -> str:
    condition = _YEARS.format(value=value)
    return f"CASE WHEN {condition} THEN '\"' || to_char({value}, '{form}') || '\"' END"


_EXACT = {
    "bool": "CASE WHEN {column} THEN 'true' ELSE 'false' END",
    "int2": "{column}::text",
    "int4": "{column}::text",
    "int8": f"CASE WHEN {{column}} BETWEEN -{MAX_SAFE_INTEGER} AND {MAX_SAFE_INTEGER} THEN {{column}}::text END",
    "numeric": f"CASE WHEN {{column}}::text NOT IN ({_UNBOUNDED}) THEN '\"' || {{column}}::text || '\"' END",
    "text": _STRING,
    "varchar": _STRING,
    "bpchar": "to_json({column})::text",  # as text it would lose its spaces at the end
    "name": _STRING,
    "enum": _STRING,
    "uuid": _STRING,
    "bytea": "'\"' || translate(encode({column}, 'base64'), E'\\n', '') || '\"'",
    "date": _in_years("{column}::date", "YYYY-MM-DD"),
    "time": "CASE WHEN {column} < '24:00' THEN '\"' || to_char({column}::interval, 'HH24:MI:SS.US') || '\"' END",
    "timestamp": _in_years("{column}::timestamp", 'YYYY-MM-DD"T"HH24:MI:SS.US'),
    "timestamptz": _in_years("({column} AT TIME ZONE 'UTC')", 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
}
"""From a column's type to the expression that yields its value as canonical JSON, or NULL if the value has none."""

_FLOAT = f"CASE WHEN {{column}}::float8 NOT IN ({_UNBOUNDED}) THEN {{column}}::float8::text END"
_UNFINISHED = {
    "float4": _FLOAT,
    "float8": _FLOAT,
    "json": "{column}::text",
    "jsonb": "{column}::text",
} | dict.fromkeys(
    ("_bool", "_int2", "_int4", "_int8", "_text", "_varchar", "_uuid"), "to_json({column})::text"
)
"""The same for the types of which it yields JSON in another form."""


class PayloadMember(NamedTuple):
    """A column's value as JSON."""

    sql: str
    unfinished: bool


def member_of(column_type: str, column: str) -> PayloadMember | None:
    """Returns how a column becomes a member of the payload; None: its type has no canonical form.

    Args:
        column_type: its name in the catalog, or `enum`.
        column: quoted.
    """
    unfinished = column_type not in _EXACT
    template = _UNFINISHED.get(column_type) if unfinished else _EXACT[column_type]
    if template is None:
        return None
    value = template.replace("{column}", column)
    return PayloadMember(f"CASE WHEN {column} IS NULL THEN 'null' ELSE {value} END", unfinished)


def composed_sql(members: Mapping[str, PayloadMember]) -> str:
    """Returns the expression that yields an object of these members, by their names, sorted as RFC 8785 requires."""
    names = sorted(members, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    parts = [
        f"{_literal('{' if index == 0 else ',', name)} || ({members[name].sql})"
        for index, name in enumerate(names)
    ]
    return f"convert_to({' || '.join(parts)} || '}}', 'UTF8')"


def finished(payload: bytes | None, size: int | None, limit: int) -> tuple[bytes | None, int | None]:
    """Brings what an unfinished expression yielded into canonical form.

    Args:
        payload: JSON in UTF-8; None: NULL, or longer than was to be returned.
        size: of it in bytes; None: NULL.
        limit: the largest payload allowed, in bytes.

    Returns:
        The payload and its size; two Nones if it has no canonical form, or no payload if that is over the limit.
    """
    if payload is None:
        return None, size
    try:
        canonical = canonical_json(_decoder.decode(payload.decode()))
    except (ValueError, RecursionError):  # CanonicalError is a ValueError; the other is far above MAX_LEVELS
        return None, None
    return (canonical if len(canonical) <= limit else None), len(canonical)


def _literal(before: str, name: str) -> str:
    """Returns the SQL of a text: `before` and the name of a member. It means the same whatever standard_conforming_strings is."""
    text = f"{before}{encode_string(name)}:"
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise CanonicalError("has a member more than once")
    return members


_decoder = json.JSONDecoder(object_pairs_hook=_unique_members)
