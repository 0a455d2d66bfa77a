"""What may be changed of a job's keys, and what the engine reports of it."""

from __future__ import annotations

import asyncpg
import pytest

from support.engine import add_job
from vaultstream.bus.address import BusAddress
from vaultstream.errors import UsageError
from vaultstream.keys.changes import KeyEnd, choose_keys, end_job_keys
from vaultstream.local.services import Services
from vaultstream.store.database import open_pool
from vaultstream.store.keys import list_states

pytestmark = pytest.mark.integration

NOBODY = BusAddress("nats://127.0.0.1:1", "nobody", "")


def test_either_keys_are_named_or_all_are_meant() -> None:
    for key_ids, every in ((None, False), ([], False), (["a"], True)):
        with pytest.raises(UsageError):
            choose_keys("receipts", key_ids, every=every)
    assert choose_keys("receipts", ["a"], every=False) == ["a"]
    assert choose_keys("receipts", [], every=True) is None


async def test_keys_end_all_or_none_and_the_last_one_leaves_a_job_waiting(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    job = await add_job(db, keys=3)
    for key_no in await db.fetch("SELECT key_no FROM vaultstream.keys WHERE job_no = $1", job.job_no):
        await db.execute(
            "INSERT INTO vaultstream.key_material (key_no, version, kek_id, wrapped) VALUES ($1, 1, 'kek', '')",
            key_no[0],
        )
    first, second, third = sorted(await list_states(db, job.job_no))
    async with open_pool(engine_url, role="test", size=2) as pool:
        with pytest.raises(UsageError, match="'unknown'"):
            await end_job_keys(pool, services.bus_address, job, [first, "unknown"], state=KeyEnd.RETIRED)
        assert {state for state, _ in (await list_states(db, job.job_no)).values()} == {"active"}

        some = await end_job_keys(pool, services.bus_address, job, [first], state=KeyEnd.RETIRED)
        assert (some.key_ids, some.counts.active) == ([first], 2)
        assert (some.signers_notified, some.job_waits) == (True, False)

        again = await end_job_keys(pool, services.bus_address, job, [first], state=KeyEnd.RETIRED)
        assert again.key_ids == []

        rest = await end_job_keys(pool, NOBODY, job, None, state=KeyEnd.REVOKED)
        assert set(rest.key_ids) == {first, second, third}
        assert (rest.signers_notified, rest.job_waits) == (False, True)
