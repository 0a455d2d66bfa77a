"""An import into a table that is there: added to, replaced or refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from support.engine import add_batches, add_job, claim_one, signed
from support.importing import load, rejected, relations, rows
from vaultstream.errors import SourceError
from vaultstream.importing import Mode
from vaultstream.store import schema
from vaultstream.store.leases import commit_batches

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.integration


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

    async def test_is_not_replaced_once_a_job_has_signed_it_unless_that_is_said(
        self, db: asyncpg.Connection, tmp_path: Path
    ) -> None:
        await schema.migrate(db)
        await load(db, tmp_path / "in.csv", "id,p\n1,a\n", payload_column="p")
        job = await add_job(db, "t", keys=1)
        await add_batches(db, job, [1])
        lease = await claim_one(db, job, "ann", 1)
        await commit_batches(db, job.job_no, "ann", [signed(1, lease, [1])], id_type="bigint")
        await db.execute("UPDATE vaultstream.jobs SET state = 'Complete'")
        with pytest.raises(SourceError, match=f"{job.name}' signed the records") as refused:
            await load(db, tmp_path / "in.csv", mode=Mode.REPLACE)
        assert "--replace-signed" in str(refused.value.hint)
        await load(db, tmp_path / "in.csv", "id,p\n2,b\n", payload_column="p", mode=Mode.REPLACE_SIGNED)
        await load(db, tmp_path / "in.csv", "id,p\n3,c\n", payload_column="p", mode=Mode.REPLACE)
        assert await rows(db) == [(3, "c")]

    @pytest.mark.parametrize("table", ["vaultstream.jobs", "pg_class", "pg_catalog.pg_class"])
    async def test_of_the_system_is_never_touched(
        self, db: asyncpg.Connection, tmp_path: Path, table: str
    ) -> None:
        with pytest.raises(SourceError, match="is reserved for"):
            await load(db, tmp_path / "in.csv", "id,p\n1,a\n", table=table, mode=Mode.REPLACE)


async def test_a_schema_that_is_not_there_is_named(db: asyncpg.Connection, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no schema 'sales'"):
        await load(db, tmp_path / "in.csv", "id,p\n1,a\n", table="sales.t")
