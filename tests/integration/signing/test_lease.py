"""Step 2, lease, on a real Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from support.engine import add_batches, add_job, claim_one, signed
from vaultstream.signing.batch import Batch
from vaultstream.signing.commit import commit
from vaultstream.signing.lease import lease
from vaultstream.store.leases import COMMITTED, lease_clock

if TYPE_CHECKING:
    import asyncpg
    from nats.aio.msg import Msg

    from vaultstream.store.database import Pool

pytestmark = pytest.mark.integration


def delivered(number: int) -> Batch:
    return Batch(number, cast("Msg", None))


async def test_batches_are_leased_or_wait_for_a_key_or_were_settled_before(
    pool: Pool, db: asyncpg.Connection
) -> None:
    job = await add_job(db, keys=3)
    await add_batches(db, job, [1], [2], [3], [4])
    done = delivered(1)
    done.lease = await claim_one(db, job, "bob", 1)
    done.signed = signed(1, done.lease, [1])
    assert await commit(pool, job.job_no, "bob", [done], id_type="bigint") == [COMMITTED]
    await claim_one(db, job, "bob", 2)
    before = lease_clock()
    leased = await lease(pool, job.job_no, "ann", [delivered(n) for n in (99, 4, 3, 2, 1)], seconds=10)
    assert len(leased.batches) == 2
    assert len(leased.keyless) == 1
    assert {each.number for each in leased.settled} == {1, 99}
    assert {each.number for each in (*leased.batches, *leased.keyless)} == {2, 3, 4}
    for each in leased.batches:
        assert each.row.batch_no == each.number
        assert each.row.first_id == str(each.number)
        assert before < each.lease.deadline < before + 10
    assert len({each.lease.key_no for each in leased.batches}) == 2
    assert [each.leased for each in (*leased.keyless, *leased.settled)] == [False] * 3


async def test_nothing_to_lease_is_no_error(pool: Pool, db: asyncpg.Connection) -> None:
    job = await add_job(db)
    leased = await lease(pool, job.job_no, "ann", [], seconds=10)
    assert (leased.batches, leased.keyless, leased.settled) == ([], [], [])
