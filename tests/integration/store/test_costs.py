"""What claims and commits must not do to Postgres's tables, because it would cost more the longer a job runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

import progress_costs
from support.engine import add_batches, add_job, claim_one, commit, signed
from vaultstream.store.database import PLANS_ONCE
from vaultstream.store.leases import COMMITTED
from vaultstream.store.progress import progress_statement
from vaultstream.store.sql import query

pytestmark = pytest.mark.integration


async def test_a_lease_and_its_end_change_no_index_of_the_keys(db: asyncpg.Connection) -> None:
    async def updates() -> tuple[int, int]:
        await db.execute("SELECT pg_stat_force_next_flush()")
        row = await db.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'vaultstream.keys'::regclass"
        )
        assert row is not None
        return row["n_tup_upd"], row["n_tup_hot_upd"]

    job = await add_job(db, keys=3)
    await add_batches(db, job, *([number] for number in range(1, 7)))
    all_before, in_place_before = await updates()
    for number in range(1, 7):
        lease = await claim_one(db, job, "ann", number)
        assert await commit(db, job, signed(number, lease, [number])) == [COMMITTED]
    all_now, in_place = await updates()
    assert all_now - all_before == in_place - in_place_before == 12


async def test_reading_the_progress_of_a_job_costs_the_same_however_many_batches_it_has(
    db: asyncpg.Connection,
) -> None:
    async def pages(batches: int) -> dict[str, int]:
        token = await progress_costs.fill(db, batches)
        await db.execute("VACUUM vaultstream.batches")
        return {name: read for name, (read, _) in (await progress_costs.read(db, token)).items()}

    small, large = await pages(1_000), await pages(60_000)
    assert small.keys() == large.keys() == {"progress", "last settled", "outstanding"}
    for name, read in large.items():
        assert 0 < read <= small[name] + 12, name  # one level more of each index


@pytest.mark.parametrize(
    ("text", "arguments", "alias", "all_of"),
    [
        (progress_statement(), "(text, float8)", "lately", "batches"),
        (query("unlogged_statements"), "(int, bigint, bigint, bigint, int)", "s", "statements"),
    ],
    ids=["the window of the rate", "statements since the last seal"],
)
async def test_a_session_that_plans_once_expects_few_of_the_batches_of_a_job(
    db: asyncpg.Connection, text: str, arguments: str, alias: str, all_of: str
) -> None:
    """If it expected a third of all, it would read all of them, where there is one job."""
    job = await add_job(db)
    async with rolled_back(db):
        await db.execute("SET LOCAL session_replication_role = replica")
        await db.execute(
            f"INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, state, signed, settled_at) "
            f"SELECT {job.job_no}, n, 1, n, n, 'done', 1, now() FROM generate_series(1, 4000) AS n; "
            f"INSERT INTO vaultstream.statements (job_no, batch_no, key_no, epoch, body, signature) "
            f"SELECT {job.job_no}, n, 1, 1, '', '' FROM generate_series(1, 4000) AS n; "
            "ANALYZE vaultstream.batches, vaultstream.statements"
        )
        for name, value in PLANS_ONCE.items():
            await db.execute(f"SET LOCAL {name} = {value}")
        everything = f"SELECT FROM vaultstream.{all_of} AS {alias} WHERE job_no = $1"
        expected = await rows_expected(db, text, arguments, alias)
        assert expected <= max(1, await rows_expected(db, everything, "(int)", alias) / 20)


async def rows_expected(db: asyncpg.Connection, text: str, arguments: str, alias: str) -> float:
    """How many rows a plan that is made for any arguments expects of a relation."""
    await db.execute(f"PREPARE planned {arguments} AS {text}")
    nothing = ", ".join(["NULL"] * len(arguments.split(",")))
    found = json.loads(await db.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE planned ({nothing})"))
    await db.execute("DEALLOCATE planned")
    return next(plan["Plan Rows"] for plan in _plans(found[0]["Plan"]) if plan.get("Alias") == alias)


@asynccontextmanager
async def rolled_back(db: asyncpg.Connection) -> AsyncIterator[None]:
    transaction = db.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


def _plans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _plans(part)
