"""The operator is killed with SIGKILL before each of its steps in turn, and started again.

The moment is not left to chance: the API server or Postgres holds the step back until the operator is dead.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from support.fleet import open_fleet
from support.gate import open_gate
from support.operating import QUICK
from support.signingjobs import path_of
from support.waiting import eventually
from support.watching import watching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from support.gate import Body, Hold
    from support.operating import Operator, Site

pytestmark = pytest.mark.cluster

FINALIZER = "vaultstream.dev/cleanup"
CHILDREN = ["job-keys", "job-records", "job-signing"]
THREE_MORE = {"type": "Pods", "value": 3, "periodSeconds": 300}
"""Allows the step from 1 signer to 4, and no other step for five minutes."""
SCALING = {
    **QUICK,
    "minReplicaCount": 1,
    "behavior": {"scaleUp": {"tolerance": 0, "policies": [THREE_MORE]}},
}


def named(name: str) -> Callable[[Body], bool]:
    return lambda body: body["metadata"]["name"] == name


def asks_for(count: int) -> Callable[[Body], bool]:
    return lambda body: body["spec"].get("replicas") == count


def reports_change_to(count: int) -> Callable[[Body], bool]:
    return lambda body: body["reason"] == "ScaledOut" and f" to {count} " in body["note"]


def reports(count: int) -> Callable[[Body], bool]:
    """Recognizes a status whose conditions report the count: the last write of a reconcile."""
    return lambda body: any(
        f" to {count} " in condition["message"]
        for condition in (body.get("status") or {}).get("conditions", [])
    )


async def killed_at(operator: Operator, hold: Hold) -> None:
    """Kills an operator at a held request, and only then refuses the request."""
    await hold.came()
    await operator.kill()
    hold.refuse()


@asynccontextmanager
async def no_new_job(site: Site) -> AsyncIterator[Callable[[], Any]]:
    """Blocks writes of jobs to Postgres; yields a function that returns how many are waiting."""
    other = await asyncpg.connect(site.database_url)
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE vaultstream.jobs IN SHARE MODE")

            def waiting() -> Any:
                return site.db.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE relation = 'vaultstream.jobs'::regclass AND NOT granted"
                )

            yield waiting
    finally:
        await other.close()


async def children(site: Site) -> dict[str, str]:
    """UIDs of the Deployments and Jobs of the namespace, by their names."""
    found = {}
    for path in ("apps/v1/namespaces/{}/deployments", "batch/v1/namespaces/{}/jobs"):
        listed = await site.client.call("GET", f"/apis/{path.format(site.namespace)}")
        found |= {item["metadata"]["name"]: item["metadata"]["uid"] for item in listed["items"]}
    return found


async def test_a_job_gets_each_child_once_whatever_step_the_operator_was_killed_at(site: Site) -> None:
    async with open_gate(site.server, site.namespace) as gate:
        operator = await site.operator()
        async with no_new_job(site) as waiting:
            await site.apply("job")
            await eventually(waiting, what="the operator writes the job to Postgres")
            assert (await site.job("job"))["metadata"]["finalizers"] == [FINALIZER]
            await operator.kill()
            assert await site.db.fetchval("SELECT count(*) FROM vaultstream.jobs") == 0

        hold = gate.hold("jobs", named("job-records"))
        await killed_at(await site.operator(), hold)
        assert sorted(there := await children(site)) == ["job-keys"]

        hold = gate.hold("deployments", named("job-signing"))
        await killed_at(await site.operator(), hold)
        assert sorted(there := there | await children(site)) == ["job-keys", "job-records"]

        hold = gate.hold("signingjobs/status", lambda body: "status" in body)
        await killed_at(await site.operator(), hold)
        assert sorted(there := there | await children(site)) == CHILDREN
        assert "token" not in await site.status("job")

        await site.operator()
        token = await site.status_field("job", "token")
        assert await children(site) == there  # none was created again
        assert [row["token"] for row in await site.db.fetch("SELECT token FROM vaultstream.jobs")] == [token]
        for role in ("keys", "records", "signing"):
            child = await site.child("job", role)
            assert child is not None
            assert child["spec"]["template"]["spec"]["containers"][0]["args"] == ["worker", role, token]
        assert not [
            event for event in await site.events("job") if event.get("series")
        ]  # no Event was repeated


@dataclass(frozen=True)
class Moment:
    """A step of a change of the count from 1 signer to 4.

    Attributes:
        resource: what is about to be written.
        is_it: recognizes that write.
        events: how often Events have reported the change by then.
        count: signers requested by then.
    """

    resource: str
    is_it: Callable[[Body], bool]
    events: int
    count: int


ANNOUNCED = Moment("events", reports_change_to(4), events=0, count=1)
RECORDED = Moment("deployments", asks_for(4), events=1, count=1)
MADE = Moment("signingjobs/status", reports(4), events=1, count=4)


@pytest.mark.parametrize(
    ("moment", "away_seconds"),
    [
        pytest.param(ANNOUNCED, 0, id="announced"),
        pytest.param(RECORDED, 0, id="recorded"),
        pytest.param(RECORDED, 60, id="recorded-a-minute-ago"),
        pytest.param(MADE, 0, id="made"),
    ],
)
async def test_the_count_changes_once_whatever_step_the_operator_was_killed_at(
    site: Site, moment: Moment, away_seconds: float
) -> None:
    deployments = f"/apis/apps/v1/namespaces/{site.namespace}/deployments"
    async with (
        open_gate(site.server, site.namespace) as gate,
        open_fleet(site) as fleet,
        watching(site.server, deployments, path_of(site.namespace)) as watch,
    ):
        operator = await site.operator()
        await site.apply("job", scaling=SCALING, keys={"count": 8})
        job = await fleet.play("job", keys=8)
        await job.publish(5)
        await site.status_field("job", "startTime")
        hold = gate.hold(moment.resource, moment.is_it)
        await job.publish(15)
        await killed_at(operator, hold)
        before = await site.status("job")
        assert changes(before)[-1] == (1, 4)
        assert await site.replicas("job") == moment.count
        assert await times_recorded(site, 4) == moment.events
        remembered = await memory(site)
        if away_seconds:
            await age(site, away_seconds)

        await site.operator()
        await site.scales_to("job", 4)
        after = await eventually(lambda: reported(site, 4))
        history = await memory(site)
        assert changes(after) == changes(before)  # the change is recorded once
        assert sum(step["replicas"] for step in history["added"]) == 3
        if moment.count == 1:
            assert history["changes"][-1]["at"] > remembered["changes"][-1]["at"]
            assert await eventually(lambda: recorded_more_than(site, 4, moment.events)) == moment.events + 1
        else:
            assert await times_recorded(site, 4) == moment.events
        assert (after["token"], after["startTime"]) == (before["token"], before["startTime"])
        assert watch.values("job-signing", lambda body: body["spec"]["replicas"]) == [1, 4]
        assert watch.added() == ["job", "job-signing"]
        assert len(watch.values("job", lambda body: (body.get("status") or {}).get("startTime"))) == 1
    assert sorted(await children(site)) == CHILDREN


def changes(status: dict[str, Any]) -> list[tuple[int, int]]:
    return [(change["before"], change["after"]) for change in status["scaling"]["changes"]]


async def memory(site: Site) -> dict[str, Any]:
    """What scaling remembers of the only job."""
    return dict(json.loads(await site.db.fetchval("SELECT memory -> 'history' FROM vaultstream.scaling")))


async def times_recorded(site: Site, count: int) -> int:
    """How often Events reported a change to this count."""
    events = [event for event in await site.events("job") if reports_change_to(count)(event)]
    return sum((event.get("series") or {"count": 1})["count"] for event in events)


async def recorded_more_than(site: Site, count: int, times: int) -> int | None:
    found = await times_recorded(site, count)
    return found if found > times else None


async def reported(site: Site, count: int) -> dict[str, Any] | None:
    """The status, once it reports this many signers."""
    status = await site.status("job")
    return status if (status.get("scaling") or {}).get("replicas") == count else None


async def age(site: Site, seconds: float) -> None:
    """Makes a job's scaling history older, as after an operator was down for that long."""
    history = await memory(site)
    for entries in history.values():
        for entry in entries if isinstance(entries, list) else []:
            entry["at"] -= seconds
    await site.db.execute(
        "UPDATE vaultstream.scaling SET memory = jsonb_set(memory, '{history}', $1::jsonb)",
        json.dumps(history),
    )


async def test_a_deletion_completes_after_the_operator_was_killed_in_it(site: Site) -> None:
    async with open_gate(site.server, site.namespace) as gate:
        operator = await site.operator()
        await site.apply("job")
        await site.status_field("job", "token")
        hold = gate.hold("signingjobs", lambda body: FINALIZER not in body["metadata"].get("finalizers", []))
        await site.delete("job")
        await killed_at(operator, hold)
        assert await site.db.fetchval("SELECT count(*) FROM vaultstream.jobs WHERE deleted_at IS NULL") == 0
        assert await children(site) == {}
        assert (await site.job("job"))["metadata"]["finalizers"] == [FINALIZER]

        await site.operator()
        await eventually(lambda: site.gone("job"))
        await site.apply("job")  # the name is free again
        await eventually(lambda: all_there(site))
        assert await site.db.fetchval("SELECT count(*) FROM vaultstream.jobs WHERE deleted_at IS NULL") == 1


async def all_there(site: Site) -> bool:
    return sorted(await children(site)) == CHILDREN
