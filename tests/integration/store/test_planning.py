"""A source cut into batches on the real Postgres, whatever its ids are."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from support.as_user import connect
from support.engine import add_job, add_table, covered_by, new_name, open_sources
from vaultstream.api import RecordsSpec
from vaultstream.errors import SourceError
from vaultstream.records.source import Source, inspect_source, open_readable_source
from vaultstream.store import batches
from vaultstream.store.batches import highest_id, plan_page
from vaultstream.store.database import fetch_one
from vaultstream.store.jobs import Job, get_job, start_job
from vaultstream.store.source_pool import SourcePool

pytestmark = pytest.mark.integration

BIGINTS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.integers(-10, 30), st.sampled_from([-(2**63), 2**63 - 1])
)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
SOURCES = st.one_of(
    st.tuples(st.just("bigint"), st.sets(BIGINTS, max_size=60)),
    st.tuples(st.just("uuid"), st.sets(st.uuids(), max_size=60)),
    st.tuples(st.just("text"), st.sets(TEXTS, max_size=60)),
    st.tuples(st.just('text COLLATE "C"'), st.sets(TEXTS, max_size=60)),
)


async def start(db: asyncpg.Connection, sources: SourcePool, table: str, **spec: Any) -> tuple[Job, Source]:
    id_type = (await inspect_source(db, RecordsSpec(table=table))).id_type
    job = await add_job(db, table, keys=0, id_type=id_type, **spec)
    source = await open_readable_source(sources, job)
    await start_job(db, job.job_no, upper_id=await highest_id(sources, source))
    return await get_job(db, job.token), source


async def plan(db: asyncpg.Connection, sources: SourcePool, job: Job, source: Source) -> int:
    """Plans all, as after a restart between any two pages; returns how many pages it took."""
    pages = 1
    while not (await plan_page(db, sources, await get_job(db, job.token), source)).finished:
        pages += 1
    return pages


async def sizes_of(db: asyncpg.Connection, job: Job) -> list[int]:
    rows = await db.fetch(
        "SELECT batch_no, records FROM vaultstream.batches WHERE job_no = $1 ORDER BY batch_no", job.job_no
    )
    assert [row["batch_no"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["records"] for row in rows]


async def cut(db: asyncpg.Connection, sources: SourcePool, id_type: str, ids: set[Any], size: int) -> None:
    table = await add_table(db, ids, id_type=id_type)
    job, source = await start(db, sources, table, batchSize=size)
    await plan(db, sources, job, source)
    ordered = [row[0] for row in await db.fetch(f"SELECT t.id::text FROM {table} t ORDER BY t.id")]
    assert await covered_by(db, job, ["pending"]) == ordered
    sizes = await sizes_of(db, job)
    assert all(n == size for n in sizes[:-1])
    assert all(1 <= n <= size for n in sizes)
    await db.execute(f"DROP TABLE {table}")


def test_batches_cover_exactly_the_ids_in_order_each_full_but_the_last(
    engine_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PAGE_RECORDS", 20)
    monkeypatch.setattr(batches, "PAGE_BYTES", 100)
    with asyncio.Runner() as runner:
        context, reading = connect(engine_url), open_sources(engine_url)
        db, sources = runner.run(context.__aenter__()), runner.run(reading.__aenter__())

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(SOURCES, st.integers(1, 25))
        @example(("bigint", {-(2**63), 2**63 - 1}), 2)
        @example(("bigint", set(range(40))), 20)
        def exactly(source: tuple[str, set[Any]], size: int) -> None:
            runner.run(cut(db, sources, *source, size))

        try:
            exactly()
        finally:
            runner.run(reading.__aexit__(None, None, None))
            runner.run(context.__aexit__(None, None, None))


async def test_a_batch_of_long_ids_has_fewer_records_than_others(
    db: asyncpg.Connection, sources: SourcePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_BYTES", 100)
    monkeypatch.setattr(batches, "PAGE_BYTES", 100)
    ids = [f"a{n:029}" for n in range(10)] + [f"b{n:02}" for n in range(40)] + ["c" * 120, "d", "e"]
    table = await add_table(db, ids, id_type="text")
    job, source = await start(db, sources, table, batchSize=20)
    await plan(db, sources, job, source)
    assert await covered_by(db, job, ["pending"]) == ids
    rows = await db.fetch(
        "SELECT records, octet_length(array_to_string(ids, '')) AS bytes FROM vaultstream.batches "
        "WHERE job_no = $1 ORDER BY batch_no",
        job.job_no,
    )
    assert [row["bytes"] for row in rows if row["bytes"] > 100 and row["records"] > 1] == []
    assert max(row["records"] for row in rows) == 20, "short ids fill a batch again"
    assert len(rows) <= 15


async def test_how_many_long_ids_make_a_page_is_known_at_the_second_try(
    db: asyncpg.Connection, sources: SourcePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_BYTES", 100)
    monkeypatch.setattr(batches, "PAGE_BYTES", 100)
    tried: list[int] = []

    async def noted(connection: Any, sql: str, *values: Any) -> Any:
        tried.append(values[2])
        return await fetch_one(connection, sql, *values)

    monkeypatch.setattr(batches, "fetch_one", noted)
    table = await add_table(db, [f"{n:011}" for n in range(10)], id_type="text")
    job, source = await start(db, sources, table, batchSize=1)
    await plan(db, sources, job, source)
    assert tried == [batches.PAGE_RECORDS, 9, batches.PAGE_RECORDS]


async def test_rows_above_the_highest_id_at_the_start_are_left_out(
    db: asyncpg.Connection, sources: SourcePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PAGE_RECORDS", 3)
    table = await add_table(db, [10, 20, 30, 40, 50])
    job, source = await start(db, sources, table, batchSize=3)
    await plan_page(db, sources, job, source)
    await db.execute(f"INSERT INTO {table} VALUES (5, ''), (45, ''), (51, '')")
    await plan(db, sources, job, source)
    assert await covered_by(db, job, ["pending"]) == ["10", "20", "30", "40", "45", "50"]


@pytest.mark.parametrize("page", [2, 3, 50])
@pytest.mark.parametrize("id_type", ["bigint", "text", "uuid"])
async def test_an_id_that_occurs_twice_is_refused_by_name(
    db: asyncpg.Connection, sources: SourcePool, monkeypatch: pytest.MonkeyPatch, page: int, id_type: str
) -> None:
    """Within a batch, over the edge of a batch, and over the edge of a page."""
    monkeypatch.setattr(batches, "PAGE_RECORDS", page)
    numbers = [1, 2, 3, 3, 4, 5]
    ids = {"uuid": [UUID(int=n) for n in numbers], "text": [str(n) for n in numbers]}.get(id_type, numbers)
    table = await add_table(db, ids, id_type=id_type, unique=False)
    job, source = await start(db, sources, table, batchSize=1)
    with pytest.raises(SourceError, match=f"more than one row whose .* is {str(ids[2])!r}") as caught:
        await plan(db, sources, job, source)
    assert "idColumn" in caught.value.message
    planned = await covered_by(db, job, ["pending"])
    assert len(planned) == len(set(planned))


async def test_the_highest_id_twice_is_refused_too(
    db: asyncpg.Connection, sources: SourcePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PAGE_RECORDS", 2)
    table = await add_table(db, [1, 2, 2], unique=False)
    job, source = await start(db, sources, table, batchSize=1)
    with pytest.raises(SourceError, match="is '2'"):
        await plan(db, sources, job, source)


async def test_rows_without_an_id_are_refused(db: asyncpg.Connection, sources: SourcePool) -> None:
    table = await add_table(db, [1, None], unique=False)
    source = await inspect_source(db, RecordsSpec(table=table))
    with pytest.raises(SourceError, match="NULL") as caught:
        await highest_id(sources, source)
    assert table in caught.value.message
    assert caught.value.hint


async def test_a_row_that_loses_its_id_later_does_not_stop_planning(
    db: asyncpg.Connection, sources: SourcePool
) -> None:
    table = await add_table(db, [1, 2], unique=False)
    job, source = await start(db, sources, table)
    await db.execute(f"INSERT INTO {table} VALUES (NULL, '')")
    await plan(db, sources, job, source)
    assert await covered_by(db, job, ["pending"]) == ["1", "2"]


async def test_an_empty_source_is_planned_at_once(db: asyncpg.Connection, sources: SourcePool) -> None:
    job, source = await start(db, sources, await add_table(db))
    assert job.planned
    assert await plan(db, sources, job, source) == 1
    assert await sizes_of(db, job) == []


async def test_two_workers_that_plan_at_once_cut_each_record_once(
    engine_url: str, db: asyncpg.Connection, sources: SourcePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PAGE_RECORDS", 10)
    table = await add_table(db, range(200))
    job, source = await start(db, sources, table, batchSize=7)

    async def one() -> None:
        async with connect(engine_url) as connection:
            await plan(connection, sources, job, source)

    await asyncio.gather(one(), one(), one())
    assert await covered_by(db, job, ["pending"]) == [str(n) for n in range(200)]


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
async def test_a_view_is_a_source_like_a_table(
    db: asyncpg.Connection, sources: SourcePool, kind: str
) -> None:
    table, view = await add_table(db, range(25)), new_name("view")
    await db.execute(f"CREATE {kind} {view} AS SELECT id * 2 AS id, payload FROM {table} WHERE id > 4")
    job, source = await start(db, sources, view)
    await plan(db, sources, job, source)
    assert await covered_by(db, job, ["pending"]) == [str(n) for n in range(10, 50, 2)]


@pytest.mark.parametrize(
    ("base", "ids", "expected"),
    [
        ("smallint", [-3, 4], "bigint"),
        ("integer", [-3, 4], "bigint"),
        ("varchar(10)", ["a", "b"], "text"),
        ("uuid", [UUID(int=1), UUID(int=2)], "uuid"),
    ],
)
async def test_a_column_of_a_domain_counts_as_what_it_is_over(
    db: asyncpg.Connection, sources: SourcePool, base: str, ids: list[Any], expected: str
) -> None:
    inner, outer = new_name("inner"), new_name("outer")
    await db.execute(
        f"CREATE DOMAIN {inner} AS {base}; CREATE DOMAIN {outer} AS {inner} CHECK (VALUE IS NOT NULL)"
    )
    for domain in (base, inner, outer):
        job, source = await start(db, sources, await add_table(db, ids, id_type=domain))
        assert source.id_type == expected
        await plan(db, sources, job, source)
        assert await covered_by(db, job, ["pending"]) == [str(i) for i in ids]
