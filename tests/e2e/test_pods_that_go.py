"""Pods are deleted while a job runs, gracefully and by force: the job completes, with each record signed exactly once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from support.waiting import eventually

if TYPE_CHECKING:
    from support.e2e.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]

RECORDS = 6_000
DELETIONS = 6


async def ends_well(site: Site, name: str) -> None:
    status = await site.completes(name)
    assert (status["signed"], status["dead"]) == (RECORDS, 0)
    report = await site.verify(name)
    assert (report["valid"], report["records"]) == (RECORDS, RECORDS), report


async def signs(site: Site, name: str) -> None:
    """Starts a job and waits until it signs."""
    await site.table(name.replace("-", "_"), RECORDS)
    await site.apply(name)
    await site.has_signed(name, 1)


async def delete_and_await_replacement(site: Site, component: str, *, grace: bool = True) -> None:
    (before,) = await site.pods(component=component)
    await site.delete_pod(before["metadata"]["name"], grace=grace)
    await site.pod_is_new({"component": component}, before["metadata"]["uid"])


async def test_signers_deleted_at_random_lose_nothing(site: Site) -> None:
    dice = random.Random(5)
    await site.table("hunted", RECORDS)
    await site.apply("hunted")
    for number in range(DELETIONS):
        signed = await site.has_signed("hunted", 1 + number * RECORDS // (2 * DELETIONS))
        assert signed < RECORDS, "the job ended before all deletions were done"
        pods = await eventually(lambda: site.pods(job="hunted", component="signing"))
        await site.delete_pod(dice.choice(pods)["metadata"]["name"], grace=number % 2 == 0)
    await ends_well(site, "hunted")


@pytest.mark.parametrize("grace", [True, False], ids=["gracefully", "by-force"])
async def test_an_operator_deleted_in_mid_job_is_replaced_and_the_job_completes(
    site: Site, grace: bool
) -> None:
    name = f"headless-{'gently' if grace else 'roughly'}"
    await signs(site, name)
    await delete_and_await_replacement(site, "operator", grace=grace)
    await ends_well(site, name)


async def test_nats_deleted_in_mid_job_comes_back_with_its_data(site: Site) -> None:
    await signs(site, "unsent")
    await delete_and_await_replacement(site, "nats")
    await ends_well(site, "unsent")


async def test_a_nats_that_lost_its_volume_is_filled_again_from_postgres(site: Site) -> None:
    await signs(site, "forgotten")
    (before,) = await site.pods(component="nats")
    claim = next(
        v["persistentVolumeClaim"]["claimName"]
        for v in before["spec"]["volumes"]
        if "persistentVolumeClaim" in v
    )
    path = f"/api/v1/namespaces/{site.release.namespace}/persistentvolumeclaims/{claim}"
    volume = (await site.client.call("GET", path))["spec"]["volumeName"]
    await site.kubectl("delete", "pvc", claim, "--wait=false")
    await site.delete_pod(before["metadata"]["name"], grace=False)

    async def wiped() -> bool:
        found = await site.get(path)
        return bool(found and found["spec"].get("volumeName", volume) != volume)

    await eventually(wiped, seconds=60, what="a new volume for NATS")
    await site.pod_is_new({"component": "nats"}, before["metadata"]["uid"])
    await ends_well(site, "forgotten")


@pytest.mark.parametrize("grace", [True, False], ids=["gracefully", "by-force"])
async def test_postgres_deleted_in_mid_job_comes_back_and_the_job_completes(site: Site, grace: bool) -> None:
    name = f"unheard-{'gently' if grace else 'roughly'}"
    await signs(site, name)
    await delete_and_await_replacement(site, "postgres", grace=grace)
    await ends_well(site, name)


async def test_a_restart_of_kubelet_disturbs_no_job(site: Site) -> None:
    await signs(site, "nodeless")
    before = {pod["metadata"]["uid"] for pod in await site.pods(job="nodeless", component="signing")}
    others = site.cluster.pids() | {"kubelet": None}
    await site.cluster.restart_kubelet()
    after = {pod["metadata"]["uid"] for pod in await site.pods(job="nodeless", component="signing")}
    assert before <= after, "signers keep running without kubelet"
    await ends_well(site, "nodeless")
    assert site.cluster.pids() | {"kubelet": None} == others, "no other process of the node has ended"


@pytest.mark.parametrize("orderly", [True, False], ids=["restarted", "killed"])
async def test_a_restart_of_the_api_server_disturbs_no_job(site: Site, orderly: bool) -> None:
    name = f"unruled-{'gently' if orderly else 'roughly'}"
    await signs(site, name)
    if orderly:
        await site.cluster.api.restart()
    else:
        await site.cluster.api.kill()
        await site.cluster.api.start()
    await ends_well(site, name)
