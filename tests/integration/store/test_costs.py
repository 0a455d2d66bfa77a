"""What claims and commits must not do to Postgres's tables, because it would cost more the longer a job runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

import progress_costs
from support.engine import add_batches, add_job, claim_one, commit, signed
from vaultstream.scaling.workload import RATE_WINDOW_SECONDS
from vaultstream.store.database import PLANS_ONCE
from vaultstream.store.leases import COMMITTED
from vaultstream.store.progress import progress_statement

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


async def test_a_session_that_plans_once_expects_few_batches_in_the_window_of_the_rate(
    db: asyncpg.Connection,
) -> None:
    """If it expected a third of all, it would read all of them, where there is one job."""
    token = await progress_costs.fill(db, 2_000)
    for name, value in PLANS_ONCE.items():
        await db.execute(f"SET {name} = {value}")
    await db.execute(f"PREPARE progress (text, float8) AS {progress_statement()}")
    text = await db.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE progress ('{token}', {RATE_WINDOW_SECONDS})")
    plans = {plan.get("Alias"): plan for plan in _plans(json.loads(text)[0]["Plan"])}
    assert plans["lately"]["Plan Rows"] <= max(1, plans["first"]["Plan Rows"] / 50)


def _plans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _plans(part)
