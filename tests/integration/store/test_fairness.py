"""How strict the order of keys is: one that waits is overtaken by no more than are leased or given back at that moment."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import asyncpg
import pytest

from support.engine import add_batches, add_job, signed
from vaultstream.store.database import connect
from vaultstream.store.jobs import Job
from vaultstream.store.leases import COMMITTED, claim_batches, commit_batches

pytestmark = pytest.mark.integration

HOLDERS, AT_A_TIME, KEYS, BATCHES = 6, 3, 30, 600


async def work(url: str, job: Job, holder: str, queue: list[int]) -> None:
    """Leases up to three keys at a time and commits under them, in an order by chance."""
    chance = random.Random(holder)
    async with connect(url) as connection:
        while queue:
            mine = [queue.pop() for _ in range(min(len(queue), chance.randint(1, AT_A_TIME)))]
            claims = await claim_batches(connection, job.job_no, holder, mine, seconds=60)
            chance.shuffle(claims)
            for claim in claims:
                assert claim.lease, "there are more keys than can be in hand"
                batch = signed(claim.batch.batch_no, claim.lease, [claim.batch.batch_no])
                assert await commit_batches(connection, job.job_no, holder, [batch], id_type="bigint") == [
                    COMMITTED
                ]


async def overtakings(db: asyncpg.Connection, job: Job) -> list[int]:
    """For each wait of a key, from its return to its next lease: how many keys that came back later were leased before it."""
    rows = await db.fetch(
        "WITH waits AS (SELECT l.key_no, lag(upper(l.during)) OVER w AS returned, lower(l.during) AS leased "
        "  FROM vaultstream.leases l JOIN vaultstream.keys k USING (key_no) WHERE k.job_no = $1 "
        "  WINDOW w AS (PARTITION BY l.key_no ORDER BY l.epoch)) "
        "SELECT (SELECT count(*) FROM waits o WHERE o.returned > w.returned AND o.leased < w.leased) AS overtaken "
        "FROM waits w WHERE returned IS NOT NULL",
        job.job_no,
    )
    return [row["overtaken"] for row in rows]


async def test_a_key_that_waits_is_overtaken_by_no_more_keys_than_are_in_hand(
    engine_url: str, db: asyncpg.Connection
) -> None:
    job = await add_job(db, keys=KEYS)
    queue = list(reversed(await add_batches(db, job, *([n] for n in range(1, BATCHES + 1)))))
    await asyncio.gather(*(work(engine_url, job, f"holder {n}", queue) for n in range(HOLDERS)))
    overtaken = await overtakings(db, job)
    assert len(overtaken) == BATCHES - KEYS
    assert max(overtaken) <= HOLDERS * AT_A_TIME
    assert Counter(overtaken)[0] > len(overtaken) / 2, "the rule is the strict order"


async def test_one_holder_alone_sees_the_strict_order(engine_url: str, db: asyncpg.Connection) -> None:
    job = await add_job(db, keys=7)
    queue = await add_batches(db, job, *([n] for n in range(1, 71)))
    for number in queue:
        [claim] = await claim_batches(db, job.job_no, "ann", [number], seconds=60)
        assert claim.lease
        batch = signed(number, claim.lease, [number])
        await commit_batches(db, job.job_no, "ann", [batch], id_type="bigint")
    assert set(await overtakings(db, job)) == {0}
