"""Tables and views as people have them, found and read."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from support.engine import add_table, new_name
from vaultstream.api import RecordsSpec
from vaultstream.errors import SourceError
from vaultstream.records.source import inspect_source
from vaultstream.store.batches import listed_ids

pytestmark = pytest.mark.integration


async def ids_read(
    db: asyncpg.Connection, records: RecordsSpec, ids: list[Any]
) -> dict[Any, tuple[Any, Any]]:
    source = await inspect_source(db, records)
    wanted = listed_ids(ids, source.id_type)
    rows = await db.fetch(source.read_sql(ranged=False), records.max_payload_bytes, wanted)
    return {row["id"]: (row["payload"], row["size"]) for row in rows}


@pytest.mark.parametrize(
    "name", ['We"ird Table', "select", "UPPER", "ünïcode", "a{b}c", "with.dot", "%s $1", "x'y", " space "]
)
async def test_any_name_of_a_table_and_its_columns_can_be_used(db: asyncpg.Connection, name: str) -> None:
    await db.execute('DROP TABLE IF EXISTS "{}"'.format(name.replace('"', '""')))
    await add_table(db, [1, 2], name=name)
    quoted = '"' + name.replace('"', '""') + '"'
    await db.execute(f"ALTER TABLE {quoted} RENAME id TO {quoted}")
    await db.execute(f'ALTER TABLE {quoted} RENAME payload TO "PayLoad "')
    records = RecordsSpec(table=name, id_column=name, payload_column="PayLoad ")
    assert (await ids_read(db, records, [1, 2]))[2] == (b"payload of 2", 12)
    source = await inspect_source(db, records)
    rows = await db.fetch(source.read_sql(ranged=True), 100, "{2}", "{9}")
    assert [row["id"] for row in rows] == [2]


async def test_a_table_of_another_schema_is_named_with_it(db: asyncpg.Connection) -> None:
    schema = new_name("Schema")
    await db.execute(f'CREATE SCHEMA "{schema}"; CREATE TABLE "{schema}"."T.1" (id int, payload text)')
    source = await inspect_source(db, RecordsSpec(table=f"{schema}.T.1"))
    assert await db.fetch(source.read_sql(ranged=True), 1, "{1}", "{1}") == []
    with pytest.raises(SourceError, match="no table or view"):
        await inspect_source(db, RecordsSpec(table="T.1"))


@pytest.mark.parametrize(
    ("payload_type", "value", "expected"),
    [
        ("bytea", b"\x00\xff", b"\x00\xff"),
        ("text", "ß\n", "ß\n".encode()),
        ("varchar(9)", "ß", "ß".encode()),
        ("json", '{"b": 1,  "a":2}', b'{"b": 1,  "a":2}'),
        ("bytea", None, None),
        ("text", "", b""),
    ],
)
async def test_a_payload_is_read_as_the_bytes_that_are_documented(
    db: asyncpg.Connection, payload_type: str, value: Any, expected: bytes | None
) -> None:
    table = new_name()
    await db.execute(f"CREATE TABLE {table} (id int, payload {payload_type})")
    await db.execute(f"INSERT INTO {table} VALUES (1, $1)", value)
    size = None if expected is None else len(expected)
    assert await ids_read(db, RecordsSpec(table=table), [1]) == {1: (expected, size)}


async def test_a_payload_over_the_limit_stays_in_the_database(db: asyncpg.Connection) -> None:
    table = new_name()
    await db.execute(f"CREATE TABLE {table} (id int, payload bytea)")
    await db.execute(f"INSERT INTO {table} VALUES (1, $1), (2, $2)", b"x" * 100, b"x" * 101)
    assert await ids_read(db, RecordsSpec(table=table, max_payload_bytes=100), [1, 2]) == {
        1: (b"x" * 100, 100),
        2: (None, 101),
    }


@pytest.mark.parametrize(
    ("id_type", "ids"),
    [("smallint", [-1, 7]), ("uuid", [UUID(int=3)]), ("varchar(20)", ["a", "ウ"]), ("text", ["", "'"])],
)
async def test_ids_are_given_and_taken_in_their_own_type(
    db: asyncpg.Connection, id_type: str, ids: list[Any]
) -> None:
    table = await add_table(db, ids, id_type=id_type)
    source = await inspect_source(db, RecordsSpec(table=table))
    assert set(await ids_read(db, RecordsSpec(table=table), ids)) == set(ids)
    assert [source.parse_id(str(i)) for i in ids] == ids


@pytest.mark.parametrize(
    "wrong", ["numeric", "float8", "boolean", "date", "int[]", "a_composite", "bytea", "char(3)"]
)
async def test_a_type_that_can_not_be_an_id_is_refused_with_the_field(
    db: asyncpg.Connection, wrong: str
) -> None:
    if not await db.fetchval("SELECT to_regtype('a_composite')"):
        await db.execute("CREATE TYPE a_composite AS (x int)")
    table = new_name()
    await db.execute(f"CREATE TABLE {table} (id {wrong}, payload text)")
    with pytest.raises(SourceError, match=r"^spec\.records\.idColumn: 'id' is of type") as caught:
        await inspect_source(db, RecordsSpec(table=table))
    assert caught.value.hint


@pytest.mark.parametrize("wrong", ["int", "a_record", "xml"])
async def test_a_type_that_can_not_be_a_payload_is_refused_with_the_field(
    db: asyncpg.Connection, wrong: str
) -> None:
    if not await db.fetchval("SELECT to_regtype('a_record')"):
        await db.execute("CREATE TYPE a_record AS (x int)")
    table = new_name()
    await db.execute(f"CREATE TABLE {table} (id int, payload {wrong})")
    with pytest.raises(SourceError, match=r"^spec\.records\.payloadColumn: 'payload' is of type"):
        await inspect_source(db, RecordsSpec(table=table))


async def test_a_missing_table_or_column_is_refused_with_the_nearest_existing_name(
    db: asyncpg.Connection,
) -> None:
    table = await add_table(db, name=new_name("receipts"))
    with pytest.raises(SourceError, match=r"^spec\.records\.table") as caught:
        await inspect_source(db, RecordsSpec(table=table + "x"))
    assert table in (caught.value.hint or "")
    with pytest.raises(SourceError, match=r"^spec\.records\.idColumn: .* has no column 'idd'") as caught:
        await inspect_source(db, RecordsSpec(table=table, id_column="idd"))
    assert "'id'" in (caught.value.hint or "")
    with pytest.raises(SourceError, match="idColumn"):
        await inspect_source(db, RecordsSpec(table=table, id_column="ctid"))


async def test_a_missing_table_is_refused_without_naming_tables_that_this_user_may_not_read(
    db: asyncpg.Connection,
) -> None:
    other, schema, role = new_name("receipts"), new_name("other"), new_name("reader")
    await db.execute(f"CREATE SCHEMA {schema}")
    await db.execute(f"CREATE TABLE {other} (id int, payload text); CREATE TABLE {schema}.{other} (id int)")
    await db.execute(
        f"CREATE ROLE {role}; CREATE TABLE {other}_own (id int); GRANT SELECT ON {other}_own TO {role}"
    )
    await db.execute(f"GRANT SELECT ON {schema}.{other} TO {role}")  # but not to use its schema
    await db.execute(f"SET ROLE {role}")
    try:
        with pytest.raises(SourceError, match=r"^spec\.records\.table") as caught:
            await inspect_source(db, RecordsSpec(table=other + "x"))
    finally:
        await db.execute("RESET ROLE")
        await db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}; DROP SCHEMA {schema} CASCADE")
        await db.execute(f"DROP TABLE {other}, {other}_own")
    shown = f"{caught.value} {caught.value.hint}".replace(f"{other}_own", "OWN").replace(f"{other}x", "")
    assert "OWN" in shown
    assert other not in shown


async def test_a_name_can_not_smuggle_sql(db: asyncpg.Connection) -> None:
    table = await add_table(db, [1])
    for name in (f'{table}"; DROP TABLE {table}; --', f"{table} WHERE true"):
        with pytest.raises(SourceError):
            await inspect_source(db, RecordsSpec(table=name))
    assert await db.fetchval(f"SELECT count(*) FROM {table}") == 1
