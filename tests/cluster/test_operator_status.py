"""The status is written when it has news, and the memory of scaling is not in it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from support.fleet import open_fleet
from support.operating import QUICK
from support.signingjobs import path_of
from support.waiting import eventually
from support.watching import watching
from vaultstream_operator.core.memory import STALE_SECONDS

if TYPE_CHECKING:
    from support.operating import Operator, Site

pytestmark = pytest.mark.cluster


async def decisions(operator: Operator) -> float:
    name = "vaultstream_scaling_decisions_total"
    return sum(value for (series, _), value in (await operator.metrics()).items() if series == name)


async def decided_again(operator: Operator, times: int) -> None:
    before = await decisions(operator)

    async def so() -> bool:
        return await decisions(operator) >= before + times

    await eventually(so, seconds=4.0 * times)


async def version_of(site: Site) -> int:
    """Returns how often the memory of the only job was stored."""
    return int(await site.db.fetchval("SELECT version FROM vaultstream.scaling"))


async def test_decisions_that_change_nothing_are_not_written(site: Site) -> None:
    """Neither to the SigningJob nor, more than once in 10 s, to Postgres; a restarted operator writes nothing either."""
    async with open_fleet(site) as fleet:
        operator = await site.operator()
        await site.apply("job", scaling=QUICK, keys={"count": 4})
        job = await fleet.play("job", keys=4)
        await job.publish(10)
        await site.scales_to("job", 2)
        await decided_again(operator, 3)
        async with watching(site.server, path_of(site.namespace)) as watch:
            since, before = time.monotonic(), await version_of(site)
            await decided_again(operator, 6)
            await operator.kill()
            operator = await site.operator()
            await decided_again(operator, 2)
            written, seconds = await version_of(site) - before, time.monotonic() - since
            told = [change.body["status"] for change in watch.of("job")]
        assert written <= seconds / STALE_SECONDS + 1, seconds
        assert len({change.body["metadata"]["resourceVersion"] for change in watch.of("job")}) == 1, told


async def test_a_job_whose_status_says_that_it_has_ended_goes_on_while_postgres_knows_better(
    site: Site,
) -> None:
    """Whoever has the token of another operator may write any status, and Postgres may have been restored to an earlier time.
    Nothing is deleted for that, the job signs all, and its status is corrected.
    """
    operator = await site.operator()
    await site.apply("job", scaling=QUICK)
    token = await site.status_field("job", "token")
    await site.worker("keys", token)
    await site.worker("records", token)
    await site.scales_to("job", 4)
    before = {role: await site.child("job", role) for role in ("keys", "records", "signing")}
    await site.forge_end("job")

    async def corrected() -> bool:
        ended = await site.condition("job", "Complete")
        return (await site.status("job"))["state"] in ("Pending", "Running") and not ended

    await eventually(corrected, seconds=30, what="a status that is corrected")
    await decided_again(operator, 3)
    after = {role: await site.child("job", role) for role in before}
    assert {role: uid_of(child) for role, child in after.items()} == {
        role: uid_of(child) for role, child in before.items()
    }
    await site.worker("signing", token)

    async def signed() -> bool:
        status = await site.status("job")
        return bool(status.get("state") == "Complete" and status.get("signed") == 200)

    await eventually(signed, seconds=60, what="a status that agrees with Postgres")
    assert await site.db.fetchval("SELECT count(*) FROM vaultstream.signatures") == 200


def uid_of(child: dict[str, Any] | None) -> str:
    assert child is not None
    return str(child["metadata"]["uid"])
