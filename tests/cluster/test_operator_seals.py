"""The newest seal of a job is copied into the status of its SigningJob, on a real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.log_of_seals import LogOfSeals
from support.waiting import eventually
from vaultstream.proof.checkpoint import open_checkpoint
from vaultstream.proof.seal import job_origin
from vaultstream.store.database import connect
from vaultstream.store.jobs import get_job

if TYPE_CHECKING:
    from support.operating import Site

pytestmark = pytest.mark.cluster


async def test_the_newest_seal_is_in_the_status_and_its_checkpoints_verify(site: Site) -> None:
    await site.operator()
    await site.apply("job", scaling={"pollingInterval": 1})
    token = await site.status_field("job", "token")
    assert "seal" not in await site.status("job")

    async def sealed(size: int) -> dict[str, Any] | None:
        seal: dict[str, Any] = (await site.status("job")).get("seal") or {}
        return seal if seal.get("size") == size else None

    async with connect(site.database_url) as connection:
        job, log = await get_job(connection, token), LogOfSeals(connection)
        for size in (1, 2):
            await log.seal(job, str(size), state="Running")
            seal = await eventually(lambda size=size: sealed(size))
    keys = [log.key.public_key]
    assert (seal["origin"], seal["signed"], seal["dead"]) == (log.origin, 3, 0)
    assert open_checkpoint(seal["checkpoint"].encode(), keys, origin=log.origin).checkpoint.size == 2
    of_job = job_origin(log.origin, token)
    assert open_checkpoint(seal["jobCheckpoint"].encode(), keys, origin=of_job).checkpoint.size == 2
