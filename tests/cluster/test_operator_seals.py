"""The newest seal of a job is copied into the status of its SigningJob, on a real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.as_user import connect
from support.log_of_seals import LogOfSeals
from support.waiting import eventually
from vaultstream.audit.seals.log_history import examine_log, open_kept
from vaultstream.crypto.seal_keys import create_seal_keys
from vaultstream.proof.checkpoint import open_checkpoint
from vaultstream.proof.seal import job_origin
from vaultstream.sealing.sealer import Sealer
from vaultstream.store.jobs import find_job, get_job

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


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_records_worker_seals_that_a_job_was_deleted_before_its_rows_go(
    site: Site, policy: str
) -> None:
    await site.operator()
    await site.apply("job", deletionPolicy=policy)
    token = str(await site.status_field("job", "token"))
    keys = create_seal_keys(site.seal_key_file, None)
    async with connect(site.database_url) as connection:
        sealer = Sealer(keys, site.folder / "seals", await get_job(connection, token))
        await sealer.plan.resume(connection, await get_job(connection, token))
        sealed = await sealer.seal(connection)
        assert sealed is not None
        await site.delete("job")

        async def started() -> list[str]:
            child = await site.child("job", "records")
            arguments = child["spec"]["template"]["spec"]["containers"][0]["args"] if child else []
            return list(arguments) if "--deleted" in arguments else []

        arguments = await eventually(started)
        assert (await get_job(connection, token)).deleted_at is not None
        assert not await site.gone("job")
        worker = await site.worker("records", token, *arguments[3:])
        assert await worker.process.wait() == 0, worker.log.read_text()
        await eventually(lambda: site.gone("job"))
        assert (await find_job(connection, token) is None) is (policy == "Delete")
    report = await examine_log(site.database_url, open_kept(sealed.checkpoint, keys.known), keys.known)
    assert (report.ok, report.size, report.findings) == (True, 2, ())
