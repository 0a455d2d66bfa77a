"""Step 2, lease, on a real Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from support.engine import add_batches, add_job, claim_one, signed
from vaultstream.signing.commit import commit
from vaultstream.signing.fetch import Delivery
from vaultstream.signing.lease import lease
from vaultstream.store.leases import COMMITTED, lease_clock

if TYPE_CHECKING:
    import asyncpg
    from nats.aio.msg import Msg

    from vaultstream.store.database import Pool

pytestmark = pytest.mark.integration


def delivery(batch_no: int) -> Delivery:
    return Delivery(batch_no, cast("Msg", None))


async def test_deliveries_are_leased_or_wait_for_a_key_or_were_settled_before(
    pool: Pool, db: asyncpg.Connection
) -> None:
    job = await add_job(db, keys=3)
    await add_batches(db, job, [1], [2], [3], [4])
    batch = signed(1, await claim_one(db, job, "bob", 1), [1])
    assert await commit(pool, job.job_no, "bob", [batch], id_type="bigint") == [COMMITTED]
    await claim_one(db, job, "bob", 2)
    deliveries = [delivery(n) for n in (99, 4, 3, 2, 1)]
    before = lease_clock()
    leased = await lease(pool, job.job_no, "ann", deliveries, seconds=10)
    assert len(leased.batches) == 2
    assert len(leased.keyless) == 1
    assert {each.batch_no for each in leased.settled} == {1, 99}
    assert {b.delivery.batch_no for b in leased.batches} | {d.batch_no for d in leased.keyless} == {2, 3, 4}
    for each in leased.batches:
        assert each.row.batch_no == each.delivery.batch_no
        assert each.row.first_id == str(each.row.batch_no)
        assert before < each.lease.deadline < before + 10
    assert len({each.lease.key_no for each in leased.batches}) == 2


async def test_nothing_to_lease_is_no_error(pool: Pool, db: asyncpg.Connection) -> None:
    job = await add_job(db)
    leased = await lease(pool, job.job_no, "ann", [], seconds=10)
    assert (leased.batches, leased.keyless, leased.settled) == ([], [], [])
