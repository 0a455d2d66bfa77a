"""Step 3, read, on a real Postgres."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from support.engine import add_table, new_name
from vaultstream.api import RecordsSpec
from vaultstream.records.source import inspect_source
from vaultstream.signing.read import BatchRecords, planned_ids, read
from vaultstream.store.leases import BatchRow
from vaultstream.store.source_pool import SourceAlteredError

if TYPE_CHECKING:
    from vaultstream.records.source import Source
    from vaultstream.store.source_pool import SourcePool

pytestmark = pytest.mark.integration


async def records_of(
    sources: SourcePool, source: Source, rows: list[BatchRow], limit: int, *, cap: int | None = None
) -> list[BatchRecords]:
    """Reads batches of these rows in one read."""
    wanted = [planned_ids(source, row) for row in rows]
    return await read(sources, source, wanted, cap=limit if cap is None else cap, limit=limit)


async def relation_of(db: asyncpg.Connection, statements: str) -> Source:
    """Creates a table or view by statements in which `$name` stands for its name."""
    name = new_name()
    await db.execute(Template(statements).substitute(name=name))
    return await inspect_source(db, RecordsSpec(table=name))


async def source_of(db: asyncpg.Connection, values: str) -> Source:
    """Creates a table of these rows (id, payload), whose ids may repeat."""
    return await relation_of(
        db, f"CREATE TABLE $name (id bigint, payload text); INSERT INTO $name VALUES {values}"
    )


KINDS = ("range", "ranges", "listed")
"""The queries for payloads: for ids of one range, of several, and of a list."""


def rows_of(kind: str, last: int) -> list[BatchRow]:
    """Returns a batch of the ids from 1 to `last`, and one that makes its read one of this kind."""
    ids = [str(n) for n in range(1, last + 1)]
    row = BatchRow(1, last, "1", str(last), ids if kind == "listed" else None)
    return [row, BatchRow(2, 1, "100", "100", None)] if kind == "ranges" else [row]


@pytest.mark.parametrize("kind", KINDS)
async def test_exactly_the_planned_records_are_read_with_a_reason_for_each_that_is_not(
    sources: SourcePool, db: asyncpg.Connection, kind: str
) -> None:
    source = await source_of(
        db, "(1, 'one'), (3, NULL), (4, 'four is long'), (5, 'five'), (5, 'FIVE'), (6, ''), (7, 'x')"
    )
    records, *_ = await records_of(sources, source, rows_of(kind, 6), 4)
    assert (records.ids, records.payloads) == ([1, 6], [b"one", b""])
    assert {dead.record_id: dead.reason for dead in records.dead} == {
        2: "RecordGone",
        3: "PayloadNull",
        4: "PayloadTooLarge",
        5: "IdNotUnique",
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_a_payload_over_the_cap_stays_in_the_database_and_its_size_is_known(
    sources: SourcePool, db: asyncpg.Connection, kind: str
) -> None:
    source = await source_of(
        db, "(1, 'one'), (2, 'twelve'), (3, 'too long for all'), (4, 'seven'), (4, 'SEVEN')"
    )
    records, *_ = await records_of(sources, source, rows_of(kind, 4), 10, cap=3)
    assert (records.ids, records.payloads, records.long) == ([1], [b"one"], [(2, 6)])
    assert {dead.record_id: dead.reason for dead in records.dead} == {3: "PayloadTooLarge", 4: "IdNotUnique"}


@pytest.mark.parametrize("id_type", ["text", "uuid", "varchar(40)", "smallint"])
async def test_records_of_any_type_of_id_are_read(
    sources: SourcePool, db: asyncpg.Connection, id_type: str
) -> None:
    ids: list[Any] = {"smallint": [-2, 5]}.get(
        id_type, [f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2)]
    )
    table = await add_table(db, ids, id_type=id_type)
    source = await inspect_source(db, RecordsSpec(table=table))
    row = BatchRow(1, 2, str(ids[0]), str(ids[1]), [str(i) for i in ids])
    [records] = await records_of(sources, source, [row], 100)
    assert [str(i) for i in records.ids] == [str(i) for i in ids]
    assert records.payloads == [f"payload of {i}".encode() for i in ids]
    assert records.dead == []


async def test_batches_of_every_kind_are_read_together_each_with_its_own_records(
    sources: SourcePool, db: asyncpg.Connection
) -> None:
    table = await add_table(db, [*range(1, 13), 40, 50])
    source = await inspect_source(db, RecordsSpec(table=table))
    rows = [
        BatchRow(1, 3, "4", "6", None),
        BatchRow(2, 2, "40", "50", ["40", "50"]),
        BatchRow(3, 3, "1", "3", None),
        BatchRow(4, 4, "11", "14", None),
        BatchRow(5, 1, "9", "9", ["9"]),
    ]
    read_ids = [each.ids for each in await records_of(sources, source, rows, 100)]
    assert read_ids == [[4, 5, 6], [40, 50], [1, 2, 3], [11, 12], [9]]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_payload_is_computed_once_per_record(
    sources: SourcePool, db: asyncpg.Connection, kind: str
) -> None:
    """A view's payload may be expensive."""
    source = await relation_of(
        db,
        "CREATE FUNCTION $name(n bigint) RETURNS text STABLE LANGUAGE plpgsql AS 'DECLARE"
        "  n int := coalesce(nullif(current_setting(''a.calls'', true), ''''), ''0'')::int + 1;"
        "BEGIN RETURN set_config(''a.calls'', n::text, true); END';"
        "CREATE VIEW $name AS SELECT id, $name(id) AS payload FROM generate_series(1::bigint, 10) AS id",
    )
    records, *_ = await records_of(sources, source, rows_of(kind, 10), 100)
    assert sorted(map(int, records.payloads)) == list(range(1, 11))


async def test_no_query_for_payloads_is_kept_in_postgres_where_code_of_a_source_could_replace_it(
    sources: SourcePool, db: asyncpg.Connection
) -> None:
    source = await relation_of(
        db,
        "CREATE VIEW $name AS SELECT 1::bigint AS id, (SELECT count(*) FROM pg_prepared_statements)::text AS payload",
    )
    for _ in range(3):
        [records] = await read(sources, source, [range(1, 2)], cap=10, limit=10)
        assert records.payloads == [b"0"]


async def test_a_column_that_gets_another_type_is_described_again(
    sources: SourcePool, db: asyncpg.Connection
) -> None:
    source = await relation_of(
        db, "CREATE TABLE $name (id bigint, payload bytea); INSERT INTO $name VALUES (1, 'text')"
    )
    sql = f"SELECT payload FROM {source.relation}"
    rows, state = await sources.fetch(source, sql)
    await sources.confirm(state)
    assert [row[0] for row in rows] == [b"text"]
    await db.execute(
        f"ALTER TABLE {source.relation} ALTER payload TYPE text USING convert_from(payload, 'UTF8')"
    )
    with pytest.raises(SourceAlteredError):
        await sources.confirm(state)
    rows, state = await sources.fetch(source, sql)
    await sources.confirm(state)
    assert [row[0] for row in rows] == ["text"]
