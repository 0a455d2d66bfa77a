"""What users do to a SigningJob during its life, and how the operator responds."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from support.operating import QUICK
from support.waiting import eventually
from vaultstream.bus.connection import connect_bus
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import RecordsStream

if TYPE_CHECKING:
    from support.operating import Site

pytestmark = pytest.mark.cluster

ROLES = ("keys", "records", "signing")


async def jobs_in_postgres(site: Site, *, deleted: bool = False) -> int:
    where = "deleted_at IS NOT NULL" if deleted else "deleted_at IS NULL"
    return int(await site.db.fetchval(f"SELECT count(*) FROM vaultstream.jobs WHERE {where}"))


async def signatures(site: Site) -> int | None:
    """Rows in all tables of signatures; None: there is no such table."""
    tables = await site.db.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
        "WHERE schemaname = 'vaultstream' AND tablename LIKE 'signatures\\_%'"
    )
    if not tables:
        return None
    return sum([int(await site.db.fetchval(f"SELECT count(*) FROM {table['name']}")) for table in tables])


async def left_in_jetstream(site: Site, token: str) -> bool:
    async with connect_bus(site.services.bus_address, role="test") as bus:
        return await RecordsStream(bus).lag(token) is not None or await KeysStream(bus).count(token) > 0


async def complete(site: Site, name: str = "job", **spec: Any) -> None:
    token = await site.start_planning(name, **spec)
    await site.worker("signing", token)
    await site.becomes(name, "Complete", seconds=40)


async def test_a_suspended_job_has_no_workers_and_continues_when_resumed(site: Site) -> None:
    await site.operator()
    token = await site.start_planning()
    await site.scales_to("job", 4)
    await site.patch("job", spec={"suspend": True})
    await site.becomes("job", "Suspended")
    await site.scales_to("job", 0)
    for role in ("keys", "records"):
        await eventually(lambda role=role: _no_child(site, role))
    assert (await site.status("job"))["state"] == "Suspended"
    assert await site.db.fetchval("SELECT state FROM vaultstream.jobs") == "Suspended"

    await site.recorded("job", "Suspended")  # else it may be resumed while it is still being suspended
    await site.patch("job", spec={"suspend": False})
    await eventually(lambda: _child(site, "records"))
    await eventually(lambda: _not_suspended(site))
    for role in ROLES:
        await site.worker(role, token)
    await site.becomes("job", "Complete", seconds=40)
    await site.recorded("job", "Suspended", "Resumed", "AllSigned")


async def test_a_lower_maximum_takes_effect(site: Site) -> None:
    await site.operator()
    await site.start_planning()
    await site.scales_to("job", 4)
    await site.patch("job", spec={"scaling": {"maxReplicaCount": 2}})
    await site.scales_to("job", 2)

    async def reported() -> dict[str, Any] | None:  # the status is written after the change that it reports
        status = await site.status("job")
        return status if status["observedGeneration"] == 2 else None

    status = await eventually(reported)
    assert status["scaling"]["limit"] == {"name": "MaxReplicaCount", "value": 2}
    stored = await site.db.fetchval("SELECT spec -> 'scaling' ->> 'maxReplicaCount' FROM vaultstream.jobs")
    assert stored == "2"


async def test_scaling_in_keeps_the_signer_that_holds_a_key(site: Site) -> None:
    await site.operator()
    token = await site.start_planning()
    await site.scales_to("job", 4)
    path = f"/api/v1/namespaces/{site.namespace}/pods?labelSelector=app.kubernetes.io/component%3Dsigning"

    async def pods(count: int) -> list[dict[str, Any]] | None:
        found = (await site.client.call("GET", path))["items"]
        return found if len(found) == count else None

    busy = (await eventually(lambda: pods(4)))[2]["metadata"]["name"]
    await site.db.execute(
        "UPDATE vaultstream.keys SET holder = $1, epoch = epoch + 1, lease_until = clock_timestamp() + interval '1 hour' "
        "WHERE key_no = (SELECT min(key_no) FROM vaultstream.keys)",
        f"{busy}:1:abcdef",
    )
    await site.patch("job", spec={"scaling": {"maxReplicaCount": 1}})
    await site.scales_to("job", 1)
    left = await eventually(lambda: pods(1))
    assert left[0]["metadata"]["name"] == busy, token
    assert "controller.kubernetes.io/pod-deletion-cost" not in left[0]["metadata"].get("annotations", {})


async def test_a_pause_by_annotation_takes_effect(site: Site) -> None:
    await site.operator()
    await site.start_planning()
    await site.scales_to("job", 4)
    await site.patch("job", metadata={"annotations": {"vaultstream.dev/paused-replicas": "1"}})
    await site.scales_to("job", 1)
    await site.patch("job", metadata={"annotations": {"vaultstream.dev/paused-replicas": None}})
    await site.scales_to("job", 4)


async def test_a_missing_table_stalls_the_job_until_it_exists(site: Site) -> None:
    await site.operator()
    await site.apply("job", table="later")
    stalled = await site.becomes("job", "Stalled", "TableUnusable")
    assert "later" in stalled["message"]
    await site.recorded("job", "TableUnusable")
    await site.table("later", 30)
    await site.becomes("job", "Reconciling", "MakingKeys")
    token = await site.status_field("job", "token")
    for role in ROLES:
        await site.worker(role, token)
    await site.becomes("job", "Complete", seconds=40)


async def test_a_missing_column_stalls_the_job_until_it_exists(site: Site) -> None:
    await site.operator()
    await site.apply("job", records={"table": "records", "payloadColumn": "body"})
    stalled = await site.becomes("job", "Stalled", "TableUnusable")
    assert "body" in stalled["message"]
    await site.db.execute("ALTER TABLE records RENAME COLUMN payload TO body")
    await site.becomes("job", "Reconciling", "MakingKeys")


async def test_a_job_past_its_deadline_fails(site: Site) -> None:
    await site.operator()
    await site.start_planning(activeDeadlineSeconds=3)
    await site.server.kubectl(
        "wait", "--for=condition=Failed", "signingjob/job", "-n", site.namespace, "--timeout=30s"
    )
    failed = await site.condition("job", "Failed")
    assert failed["reason"] == "DeadlineExceeded"
    assert "activeDeadlineSeconds" in failed["message"]
    await eventually(lambda: _no_child(site, "signing"))
    assert (await site.status("job"))["state"] == "Failed"


async def test_a_job_is_deleted_when_its_time_to_live_is_over(site: Site) -> None:
    await site.operator()
    await complete(site, ttlSecondsAfterFinished=2)
    await eventually(lambda: site.gone("job"), seconds=20)
    assert await signatures(site) == 200
    await site.recorded("job", "TimeToLiveOver")


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_deleting_a_complete_job_keeps_what_its_policy_says(site: Site, policy: str) -> None:
    await site.operator()
    await complete(site, deletionPolicy=policy)
    token = await site.status_field("job", "token")
    await site.delete("job")
    await eventually(lambda: site.gone("job"))
    assert not await left_in_jetstream(site, token)
    assert await signatures(site) == (200 if policy == "Retain" else None)
    assert await jobs_in_postgres(site) == 0


async def sign_some(site: Site, token: str) -> int:
    """Runs a signer for a moment and kills it; returns how many records are signed."""
    signer = await site.worker("signing", token)

    async def some() -> bool:
        return (await signatures(site) or 0) > 0

    await eventually(some)
    await signer.kill()

    async def nobody_commits() -> bool:
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE $1"
        return await site.db.fetchval(sessions, "%signing%") == 0

    await eventually(nobody_commits)
    return await signatures(site) or 0


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize("phase", ["new", "running", "suspended", "stalled", "failed"])
async def test_a_job_can_be_deleted_in_every_phase(site: Site, phase: str, policy: str) -> None:
    await site.db.execute(
        "CREATE FUNCTION slowly(text) RETURNS text STABLE LANGUAGE plpgsql "
        "AS 'BEGIN PERFORM pg_sleep(0.05); RETURN $1; END';"
        "CREATE VIEW slow AS SELECT id, slowly(payload) AS payload FROM records"
    )
    await site.operator()
    token, signed = "", 0
    if phase == "new":
        await site.apply("job", deletionPolicy=policy)
    elif phase == "stalled":
        await site.apply("job", deletionPolicy=policy, table="nowhere")
        await site.becomes("job", "Stalled")
    else:
        limit = {"activeDeadlineSeconds": 8} if phase == "failed" else {}
        token = await site.start_planning(deletionPolicy=policy, table="slow", **limit)
        await site.scales_to("job", 4)
        assert await left_in_jetstream(site, token)
        signed = await sign_some(site, token)
        assert 0 < signed < 200
    if phase == "suspended":
        await site.patch("job", spec={"suspend": True})
        await site.becomes("job", "Suspended")
    elif phase == "failed":
        await site.becomes("job", "Failed")
    for worker in site.workers:  # like pods, which have ended before the operator cleans up
        if worker.process.returncode is None:
            await worker.kill()
    await site.delete("job")
    await eventually(lambda: site.gone("job"))
    assert await jobs_in_postgres(site) == 0
    for role in ROLES:
        assert await site.child("job", role) is None
    assert not (token and await left_in_jetstream(site, token))
    assert (await signatures(site) or 0) == (signed if policy == "Retain" else 0)
    assert policy == "Retain" or await signatures(site) is None


async def test_a_job_deleted_while_the_operator_was_down_is_cleaned_up(site: Site) -> None:
    operator = await site.operator()
    await site.start_planning(deletionPolicy="Delete")
    await site.scales_to("job", 4)
    await operator.kill()
    await site.delete("job")
    assert not await site.gone("job")  # the finalizer keeps it
    await site.operator()
    await eventually(lambda: site.gone("job"))
    assert (await jobs_in_postgres(site), await signatures(site)) == (0, None)


async def test_a_name_can_be_used_again(site: Site) -> None:
    await site.operator()
    await complete(site)
    first = await site.status_field("job", "token")
    await site.delete("job")
    await eventually(lambda: site.gone("job"))
    await site.apply("job", scaling=QUICK)
    second = await site.status_field("job", "token")
    assert first != second
    assert (await site.status("job")).get("signed", 0) == 0


async def test_a_name_reused_while_the_operator_was_down_is_another_job(site: Site) -> None:
    """The finalizer was removed by hand, so nothing was cleaned up."""
    operator = await site.operator()
    await site.start_planning()
    first = await site.status_field("job", "token")
    await operator.kill()
    await site.delete("job")
    await site.patch("job", metadata={"finalizers": None})
    await eventually(lambda: site.gone("job"))
    await site.apply("job", scaling=QUICK)
    await site.operator()
    second = await site.status_field("job", "token")
    assert first != second
    assert await jobs_in_postgres(site) == 1


async def test_two_jobs_on_one_table_each_sign_all_of_it(site: Site) -> None:
    await site.operator()
    await asyncio.gather(complete(site, "one"), complete(site, "two"))
    assert await signatures(site) == 400


async def test_a_count_changed_by_hand_is_corrected(site: Site) -> None:
    await site.operator()
    await site.start_planning()
    await site.scales_to("job", 4)
    await site.server.kubectl("scale", "deployment/job-signing", "--replicas=1", "-n", site.namespace)
    await site.scales_to("job", 4)


async def test_an_operator_with_another_image_replaces_every_worker(site: Site) -> None:
    """Each worker ends with its pods before its replacement starts; the signers are replaced by a rollout."""
    former = await site.operator(VAULTSTREAM_WORKER_IMAGE="vaultstream:1")
    keys = {"count": 5, "algorithm": "ED25519"}  # no more signers run than there are keys
    await site.apply("job", keys=keys, scaling={"pollingInterval": 1, "minReplicaCount": 4})
    await site.scales_to("job", 4)
    for role in ROLES:
        await eventually(lambda role=role: _image(site, role, "vaultstream:1"))
    await former.kill()
    watching = asyncio.create_task(_most_pods_of_workers(site))
    await site.operator(VAULTSTREAM_WORKER_IMAGE="vaultstream:2")
    for role in ROLES:
        await eventually(lambda role=role: _image(site, role, "vaultstream:2"), seconds=20)
    await eventually(lambda: _pods_of_workers_run(site, "vaultstream:2"), seconds=20)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    await site.recorded("job", "WorkersReplaced")
    assert await site.replicas("job") == 4
    assert (await site.condition("job", "Stalled"))["status"] == "False"
    makers = [await site.child("job", role) for role in ("keys", "records")]
    await site.patch("job", spec={"scaling": {"minReplicaCount": 5}})
    await site.scales_to("job", 5)
    assert [child and child["metadata"]["uid"] for child in makers] == [
        child and child["metadata"]["uid"]
        for child in [await site.child("job", role) for role in ("keys", "records")]
    ]


async def _pods_of_workers(site: Site) -> dict[str, list[dict[str, Any]]]:
    """The pods of the keys and records workers, including those that are terminating."""
    listed = await site.client.call("GET", f"/api/v1/namespaces/{site.namespace}/pods")
    by_role: dict[str, list[dict[str, Any]]] = {"keys": [], "records": [], "signing": []}
    for pod in listed["items"]:
        by_role[pod["metadata"]["labels"]["app.kubernetes.io/component"]].append(pod)
    del by_role["signing"]
    return by_role


async def _most_pods_of_workers(site: Site) -> None:
    """Fails as soon as a worker has more than one pod."""
    while True:
        by_role = await _pods_of_workers(site)
        assert all(len(pods) <= 1 for pods in by_role.values()), by_role
        await asyncio.sleep(0.02)


async def _pods_of_workers_run(site: Site, image: str) -> bool:
    by_role = await _pods_of_workers(site)
    return all(
        [pod["spec"]["containers"][0]["image"] for pod in pods] == [image] for pods in by_role.values()
    )


async def test_a_child_deleted_by_hand_is_created_again(site: Site) -> None:
    await site.operator()
    await site.start_planning()
    await site.scales_to("job", 4)
    before = await site.child("job", "signing")
    await site.server.kubectl("delete", "deployment/job-signing", "-n", site.namespace)
    await site.scales_to("job", 4)
    after = await site.child("job", "signing")
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


async def _image(site: Site, role: str, image: str) -> bool:
    child = await site.child("job", role)
    return child is not None and child["spec"]["template"]["spec"]["containers"][0]["image"] == image


async def _not_suspended(site: Site) -> bool:
    return not await site.condition("job", "Suspended")


async def _child(site: Site, role: str) -> bool:
    return await site.child("job", role) is not None


async def _no_child(site: Site, role: str) -> bool:
    return await site.child("job", role) is None
