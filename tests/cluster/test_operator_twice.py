"""Two operators at once, as while one replaces the other: everything that they do is watched from the start."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from support.fleet import open_fleet
from support.operating import QUICK
from support.signingjobs import path_of
from support.waiting import eventually
from support.watching import watching

if TYPE_CHECKING:
    from support.operating import Operator, Site
    from support.watching import Body, Watch

pytestmark = pytest.mark.cluster

JOBS = [f"job-{n}" for n in range(2)]
JUMPS = 4
WORKERS = ("keys", "records", "signing")
STATES = ["Pending", "Running", "Complete"]
SCALING = {
    **QUICK,
    "behavior": {
        "scaleUp": {"tolerance": 0, "policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]}
    },
}
COUNTS = list(range(JUMPS + 1))


async def test_two_operators_at_once_do_what_one_does(site: Site) -> None:
    namespace = f"namespaces/{site.namespace}"
    made = [
        f"/apis/apps/v1/{namespace}/deployments",
        f"/apis/apps/v1/{namespace}/replicasets",
        f"/apis/batch/v1/{namespace}/jobs",
        f"/api/v1/{namespace}/pods",
    ]
    operators = await asyncio.gather(site.operator(), site.operator())
    async with (
        watching(site.server, *made) as children,
        watching(site.server, path_of(site.namespace)) as statuses,
        open_fleet(site) as fleet,
    ):
        await asyncio.gather(*(site.apply(name, scaling=SCALING, keys={"count": JUMPS}) for name in JOBS))
        played = [await fleet.play(name, keys=JUMPS) for name in JOBS]
        for count in COUNTS[1:]:
            await asyncio.gather(*(job.publish(5) for job in played))
            while not all([await at(site, name, count) for name in JOBS]):
                await asyncio.gather(*(wake(site, name) for name in JOBS))
        await site.db.execute("UPDATE vaultstream.jobs SET state = 'Complete', finished_at = now()")
        await asyncio.gather(*(wake(site, name) for name in JOBS))
        for name in JOBS:
            await site.becomes(name, "Complete")
            await site.recorded(name, "AllSigned")
        await eventually(lambda: not alive(children), what="the children are deleted")
        assert await conflicts(operators) > 0  # they did get in each other's way
    assert_one_set_of_workers(children)
    for name in JOBS:
        assert children.values(f"{name}-signing", replicas) == COUNTS
        told = [change.body.get("status", {}) for change in statuses.of(name)]
        assert_nothing_is_lost([status for status in told if "state" in status])
        status = await site.status(name)
        assert decided(status) == [(before, before + 1) for before in COUNTS[:-1]]
        events = [event for event in await site.events(name) if event["reason"] == "ScaledOut"]
        assert len(events) == JUMPS
        for before in COUNTS[:-1]:
            [event] = [e for e in events if e["note"].startswith(f"Scaled from {before} to {before + 1} ")]
            assert (event.get("series") or {"count": 1})["count"] <= len(
                operators
            )  # each operator may count it once
    assert await site.db.fetchval("SELECT count(*) FROM vaultstream.jobs") == len(JOBS)


async def wake(site: Site, name: str) -> None:
    """Makes both operators reconcile a job at the same time, by changing an annotation."""
    await site.patch(name, metadata={"annotations": {"test": uuid4().hex}})


async def at(site: Site, name: str, count: int) -> bool:
    """Whether a job's Deployment and its status have this count."""
    scaling = (await site.status(name)).get("scaling") or {}
    return await site.replicas(name) == count == scaling.get("replicas")


async def conflicts(operators: list[Operator]) -> float:
    served = [await operator.metrics() for operator in operators]
    return sum(series["vaultstream_reconcile_conflicts_total", frozenset()] for series in served)


def replicas(body: Body) -> int | None:
    """The count that a Deployment requests; None: it is being deleted."""
    return None if "deletionTimestamp" in body["metadata"] else int(body["spec"]["replicas"])


def decided(status: dict[str, Any]) -> list[tuple[int, int]]:
    history = status["scaling"]["changes"]
    return [(change["before"], change["after"]) for change in history if change["after"]]


def alive(children: Watch) -> list[str]:
    """Names of the Deployments and Jobs that were created and still exist."""
    made = Counter(change.name for change in children.changes if change.kind == "ADDED" and own(change.body))
    gone = Counter(
        change.name for change in children.changes if change.kind == "DELETED" and own(change.body)
    )
    return sorted((made - gone).elements())


def own(body: Body) -> bool:
    return body["kind"] in {"Deployment", "Job"}


def assert_one_set_of_workers(children: Watch) -> None:
    made = [change for change in children.changes if change.kind == "ADDED"]
    kinds = Counter(change.body["kind"] for change in made)
    assert sorted(change.name for change in made if own(change.body)) == [
        f"{name}-{role}" for name in JOBS for role in WORKERS
    ]
    assert kinds["ReplicaSet"] == len(JOBS)  # both operators create the same signer pods
    for name in JOBS:
        pods: dict[str, set[str]] = {role: set() for role in WORKERS}
        most = dict.fromkeys(WORKERS, 0)
        for change in children.changes:
            labels = change.body["metadata"].get("labels", {})
            if change.body["kind"] != "Pod" or labels["vaultstream.dev/job"] != name:
                continue
            running = pods[labels["app.kubernetes.io/component"]]
            (running.discard if change.kind == "DELETED" else running.add)(change.uid)
            for role in WORKERS:
                most[role] = max(most[role], len(pods[role]))
        assert most == {"keys": 1, "records": 1, "signing": JUMPS}


def assert_nothing_is_lost(seen: list[dict[str, Any]]) -> None:
    """Fixed fields of a status never change, and counters never decrease."""
    assert len(seen) > JUMPS
    for before, after in pairwise(seen):
        for fixed in ("token", "startTime", "completionTime"):
            assert before.get(fixed) in {None, after.get(fixed)}, fixed
        for grows in ("observedGeneration", "records", "signed", "dead"):
            assert before.get(grows, 0) <= after.get(grows, 0), grows
        assert STATES.index(before["state"]) <= STATES.index(after["state"])
        assert before["planned"] <= after["planned"]
        known = {condition["type"] for condition in before.get("conditions", [])}
        lost = known - {condition["type"] for condition in after.get("conditions", [])}
        assert lost <= ({"ScalingActive"} if after["state"] == "Complete" else set())
        if "scaling" in before:
            assert "scaling" in after
            then, now = decided(before), decided(after)
            assert now[: len(then)] == then  # no change is removed or repeated
            assert sorted(set(now)) == now
