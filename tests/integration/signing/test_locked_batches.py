"""A batch whose row somebody else has locked: a signer neither waits for it nor gives it all keys."""

from __future__ import annotations

import asyncpg
import pytest

from integration.signing.test_pipeline import slow_view
from support.as_user import connect
from support.deliveries import payloads
from support.engine import history_of
from support.signer import open_bench
from support.waiting import eventually
from vaultstream.local.services import Services

pytestmark = pytest.mark.integration


async def test_a_batch_that_somebody_else_has_locked_takes_no_key_for_long(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    """Its commits are fenced while the lease goes on: the key is released each time, and the other batches are committed."""
    view = await slow_view(db, 30, seconds=0.5)
    async with open_bench(services, engine_url, db, view, key_count=1) as bench:

        async def tried_again_and_again() -> bool:
            how = [outcome for _, _, outcome in await history_of(db, bench.job)]
            return (how.count("released"), how.count("committed")) >= (2, 2)

        async def lock() -> None:
            async with connect(engine_url) as other, other.transaction():
                first = (
                    "SELECT batch_no FROM vaultstream.batches WHERE job_no = $1 AND batch_no = 1 FOR UPDATE"
                )
                await eventually(lambda: other.fetchval(first, bench.job.job_no))
                await eventually(tried_again_and_again)

        await bench.run(during=lock)
        await bench.assert_ended_well(payloads(30))
        lost = "SELECT max(lost) FROM vaultstream.batches WHERE job_no = $1"
        assert await db.fetchval(lost, bench.job.job_no) == 0
