"""Two operators with one Lease: one works, the other stands by and takes over, and no change of a count is lost or made twice."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from support.fleet import open_fleet
from support.freezing import freeze, thaw
from support.gate import open_gate
from support.operating import OPERATOR, QUICK
from support.waiting import eventually
from support.watching import watching
from vaultstream.errors import ExitCode
from vaultstream_operator.adapters.election import LEASE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.operating import Operator, Site
    from support.watching import Body

pytestmark = pytest.mark.cluster

TAKE_OVER_SECONDS = 15.0
SCALING = {
    **QUICK,
    "minReplicaCount": 1,
    "behavior": {
        "scaleUp": {"tolerance": 0, "policies": [{"type": "Pods", "value": 3, "periodSeconds": 300}]}
    },
}


async def candidate(site: Site) -> Operator:
    """Starts an operator, and returns once it leads or stands by."""
    operator = await site.operator(wait=False, VAULTSTREAM_LEASE=f"{site.namespace}/{OPERATOR}")

    async def ready() -> bool:
        assert operator.process.returncode is None, operator.log.read_text()
        stands = ("this operator leads", "standing by while another operator leads")
        stood = any(line["message"] in stands for line in operator.lines())
        return stood and (await operator.ask("/readyz")).status == 200

    await eventually(ready, seconds=20, what="an operator is ready")
    return operator


async def leads(operator: Operator) -> bool:
    return (await operator.metrics())["vaultstream_operator_leader", frozenset()] == 1


async def takes_over(operator: Operator, *, since: float) -> float:
    """Waits until an operator works; returns the seconds from `since`."""

    async def works() -> bool:
        return any("operator started" in line["message"] for line in operator.lines())

    await eventually(works, seconds=2 * TAKE_OVER_SECONDS, what="the other operator takes over")
    assert await leads(operator)
    return time.monotonic() - since


def asks_for(count: int) -> Callable[[Body], bool]:
    return lambda body: body["spec"].get("replicas") == count


def reports_change_to(count: int) -> Callable[[Body], bool]:
    return lambda body: body["reason"] == "ScaledOut" and f" to {count} " in body["note"]


@pytest.mark.parametrize(
    ("resource", "is_it"),
    [("events", reports_change_to(4)), ("deployments", asks_for(4))],
    ids=["decided", "about to be made"],
)
async def test_the_leader_is_killed_within_a_change_and_the_other_makes_it_once(
    site: Site, resource: str, is_it: Callable[[Body], bool]
) -> None:
    deployments = f"/apis/apps/v1/namespaces/{site.namespace}/deployments"
    async with (
        open_gate(site.server, site.namespace) as gate,
        open_fleet(site) as fleet,
        watching(site.server, deployments) as watch,
    ):
        leader = await candidate(site)
        standby = await candidate(site)
        assert [await leads(leader), await leads(standby)] == [True, False]
        await site.apply("job", scaling=SCALING, keys={"count": 8})
        job = await fleet.play("job", keys=8)
        await job.publish(5)
        await site.scales_to("job", 1)
        hold = gate.hold(resource, is_it)
        await job.publish(15)
        await hold.came()
        killed_at = time.monotonic()
        await leader.kill()
        hold.refuse()
        assert await takes_over(standby, since=killed_at) < TAKE_OVER_SECONDS
        await site.scales_to("job", 4)

        async def told() -> Any:
            scaling = (await site.status("job"))["scaling"]
            return scaling["replicas"] == 4 and scaling["changes"]

        changes = await eventually(told)
        assert [(change["before"], change["after"]) for change in changes] == [(0, 1), (1, 4)]
        assert watch.values("job-signing", lambda body: body["spec"]["replicas"])[-2:] == [1, 4]


async def test_a_leader_that_leaves_hands_over_at_once_and_one_that_was_frozen_stops(site: Site) -> None:
    first = await candidate(site)
    second = await candidate(site)
    left_at = time.monotonic()
    assert await first.leave() == ExitCode.OK
    assert await takes_over(second, since=left_at) < LEASE_SECONDS

    third = await candidate(site)
    await site.apply("job", scaling={"minReplicaCount": 1})
    await site.scales_to("job", 1)
    await freeze(second.process.pid)
    frozen_at = time.monotonic()
    assert await takes_over(third, since=frozen_at) < TAKE_OVER_SECONDS
    thaw(second.process.pid)
    assert await asyncio.wait_for(second.process.wait(), 45) == ExitCode.SERVICE
    assert "has lost its Lease" in second.lines()[-1]["message"]
    await site.patch("job", spec={"scaling": {"minReplicaCount": 2}})
    await site.scales_to("job", 2)

    fourth = await candidate(site)
    assert await fourth.leave() == ExitCode.OK  # also while it stands by
    assert await leads(third)
