"""A payload of several columns is the canonical one that an import of the same values defines."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.engine import new_name
from support.reading import read as read_file
from vaultstream.api import RecordsSpec
from vaultstream.audit.checks.payloads import present_payloads
from vaultstream.errors import SourceError
from vaultstream.records.source import inspect_source
from vaultstream.signing.read import read

if TYPE_CHECKING:
    from vaultstream.signing.read import BatchRecords
    from vaultstream.store.source_pool import SourcePool

pytestmark = pytest.mark.integration

MOMENT = dt.datetime(2013, 1, 31, 10, 0, 0, 120, tzinfo=dt.UTC)


async def composed(
    sources: SourcePool,
    db: asyncpg.Connection,
    table: str,
    columns: tuple[str, ...],
    ids: range = range(1, 2),
    *,
    limit: int = 10_000,
) -> BatchRecords:
    """Reads records of a table as a signer does, and checks that `verify` reads the same."""
    source = await inspect_source(db, RecordsSpec(table=table, payload_columns=columns))
    [records] = await read(sources, source, [ids], cap=limit, limit=limit)
    async with sources.transaction() as connection:
        again = {
            record: found
            async for record, found in present_payloads(connection, source, list(ids), max_bytes=limit)
            if isinstance(found, bytes)
        }
    assert again == dict(zip(records.ids, records.payloads, strict=True))
    return records


async def test_a_row_has_the_payload_that_its_import_from_parquet_has(
    sources: SourcePool, db: asyncpg.Connection, tmp_path: Path
) -> None:
    row: dict[str, tuple[str, pa.DataType, Any]] = {
        "flag": ("boolean", pa.bool_(), True),
        "small": ("smallint", pa.int16(), -7),
        "int": ("integer", pa.int32(), 2**31 - 1),
        "big": ("bigint", pa.int64(), 2**53 - 1),
        "float": ("double precision", pa.float64(), 1e21),
        "third": ("double precision", pa.float64(), 1 / 3),
        "whole": ("double precision", pa.float64(), -1.0),
        "tiny": ("double precision", pa.float64(), 5e-324),
        "short": ("real", pa.float32(), 0.1),
        "text": ("text", pa.string(), 'Grüße "an"\\\t\x01\x7f\u2028😀\n'),
        "v": ("varchar(20)", pa.string(), ""),
        "amount": ("numeric(12,2)", pa.decimal128(12, 2), Decimal("-12.50")),
        "day": ("date", pa.date32(), dt.date(9999, 12, 30)),
        "hour": ("time", pa.time64("us"), dt.time(10, 0)),
        "at": ("timestamp", pa.timestamp("us"), MOMENT.replace(tzinfo=None)),
        "zoned": ("timestamptz", pa.timestamp("us", "UTC"), MOMENT),
        "raw": ("bytea", pa.binary(), bytes(range(256))),
        "list": ("text[]", pa.list_(pa.string()), ["a", None, '"']),
        "nothing": ("text", pa.string(), None),
        "we\"ird \\ '{x}": ("integer", pa.int32(), 1),
        "\ufb33": ("integer", pa.int32(), 2),
        "😀": ("integer", pa.int32(), 3),
    }
    table = new_name()
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in row}
    types = ", ".join(f"{quoted[name]} {sql}" for name, (sql, _, _) in row.items())
    await db.execute(f"CREATE TABLE {table} (id bigint, {types})")
    places = ", ".join(f"${n}" for n in range(2, len(row) + 2))
    await db.execute(f"INSERT INTO {table} VALUES ($1, {places})", 1, *(value for *_, value in row.values()))
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({name: pa.array([value], kind) for name, (_, kind, value) in row.items()}), path)

    [imported], _ = read_file(path)
    records = await composed(sources, db, table, tuple(row))
    assert records.payloads == [imported.payload]
    assert records.dead == []


async def test_other_types_of_postgres_have_their_documented_form(
    sources: SourcePool, db: asyncpg.Connection
) -> None:
    table, mood = new_name(), new_name("mood")
    await db.execute(
        f"CREATE TYPE {mood} AS ENUM ('so \"so\"'); CREATE DOMAIN {mood}_d AS {mood};"
        f"CREATE TABLE {table} (id uuid, e {mood}_d, c char(3), j json, b jsonb, n int[], big numeric);"
        f"""INSERT INTO {table} VALUES ('{UUID(int=1)}', 'so "so"', 'x', '{{"b": 1.0,  "a": [1e3, null]}}',
            '{{"z": {{"y": 2, "x": "ü"}}}}', '{{{{1,2}},{{3,4}}}}', 123456789012345678901234567890.10)"""
    )
    source = await inspect_source(
        db, RecordsSpec(table=table, payload_columns=("n", "id", "e", "c", "j", "b", "big"))
    )
    [records] = await read(sources, source, [[UUID(int=1)]], cap=999, limit=999)
    expected = (
        '{"b":{"z":{"x":"ü","y":2}},"big":"123456789012345678901234567890.10","c":"x  ","e":"so \\"so\\"",'
        '"id":"00000000-0000-0000-0000-000000000001","j":{"a":[1000,null],"b":1},"n":[[1,2],[3,4]]}'
    )
    assert records.payloads == [expected.encode()]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bigint", "9007199254740992"),
        ("float8", "NaN"),
        ("float4", "-Infinity"),
        ("numeric", "NaN"),
        ("date", "infinity"),
        ("date", "0044-03-15 BC"),
        ("timestamp", "10000-01-01"),
        ("timestamptz", "0001-01-01 00:00 +01"),
        ("time", "24:00"),
        ("json", '{"a": 1, "a": 2}'),
        ("json", '"\\ud800"'),
        ("jsonb", "9007199254740993"),
        ("bigint[]", "{9007199254740993}"),
    ],
)
async def test_a_value_without_a_canonical_form_is_a_dead_letter_and_the_next_row_is_signed(
    sources: SourcePool, db: asyncpg.Connection, kind: str, value: str
) -> None:
    table = new_name()
    await db.execute(f"CREATE TABLE {table} (id int, v {kind})")
    await db.execute(f"INSERT INTO {table} VALUES (1, $1::text::{kind}), (2, NULL)", value)
    records = await composed(sources, db, table, ("v",), range(1, 3))
    assert (records.ids, records.payloads) == ([2], [b'{"v":null}'])
    assert [(dead.record_id, dead.reason) for dead in records.dead] == [(1, "PayloadNotCanonical")]


async def test_the_settings_of_a_login_or_a_database_do_not_change_a_payload(
    sources: SourcePool, db: asyncpg.Connection, engine_url: str
) -> None:
    table = new_name()
    await db.execute(
        f"""CREATE TABLE {table} (id int, f float8, d date, z timestamptz, b bytea, "a\\b" int);
            INSERT INTO {table} VALUES (1, 0.1::float8 + 0.2, '2013-01-31', '2013-01-31 10:00Z', '\\x00', 1)"""
    )
    before = await composed(sources, db, table, ("f", "d", "z", "b", "a\\b"))
    source = await inspect_source(db, RecordsSpec(table=table, payload_columns=("f", "d", "z", "b", "a\\b")))
    await db.execute(
        "SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Kolkata'; SET bytea_output = 'escape'; "
        "SET standard_conforming_strings = off; SET lc_time = 'C'"
    )
    [row] = await db.fetch(source.read_range_sql(), 999, 1, 1)
    assert b'"f":0.30000000000000004' in before.payloads[0]
    assert row["payload"] == before.payloads[0]


async def test_the_limit_of_a_payload_holds_before_and_after_it_is_finished(
    sources: SourcePool, db: asyncpg.Connection
) -> None:
    table = new_name()
    await db.execute(
        f"""CREATE TABLE {table} (id int, v json);
            INSERT INTO {table} VALUES (1, '1e20'), (2, '12'), (3, '"0123456789"'), (4, '[1, 2]')"""
    )
    records = await composed(sources, db, table, ("v",), range(1, 5), limit=12)
    assert (records.ids, records.payloads) == ([2, 4], [b'{"v":12}', b'{"v":[1,2]}'])
    assert [(dead.record_id, dead.reason) for dead in records.dead] == [
        (1, "PayloadTooLarge"),
        (3, "PayloadTooLarge"),
    ]


async def test_a_column_that_is_not_there_or_has_no_form_is_refused_with_the_names_that_are_there(
    db: asyncpg.Connection,
) -> None:
    table = new_name()
    await db.execute(f"CREATE TABLE {table} (id int, name text, span interval)")
    with pytest.raises(SourceError, match=r"^spec\.records\.payloadColumns: .* no column 'q'") as caught:
        await inspect_source(db, RecordsSpec(table=table, payload_columns=("name", "q")))
    assert "id, name, span" in (caught.value.hint or "")
    with pytest.raises(SourceError, match=r"^spec\.records\.payloadColumns: 'span' is of type interval"):
        await inspect_source(db, RecordsSpec(table=table, payload_columns=("name", "span")))


async def test_as_many_columns_as_a_job_may_have_can_be_read(
    sources: SourcePool, db: asyncpg.Connection
) -> None:
    table, names = new_name(), tuple(f"column_{n}" for n in range(100))
    await db.execute(
        f"CREATE TABLE {table} (id int, {', '.join(f'{n} text' for n in names)}); INSERT INTO {table} VALUES (1)"
    )
    records = await composed(sources, db, table, names)
    assert records.payloads[0].count(b":null") == 100
