"""A SigningJob from `kubectl apply` to its end, with the operator as a separate process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.waiting import eventually

if TYPE_CHECKING:
    from support.operating import Site

pytestmark = pytest.mark.cluster


async def test_a_job_gets_its_finalizer_its_children_and_a_status(site: Site) -> None:
    await site.operator()
    await site.apply("job")
    token = await site.status_field("job", "token")
    job = await site.job("job")
    assert "vaultstream.dev/cleanup" in job["metadata"]["finalizers"]
    for role in ("keys", "records", "signing"):
        child = await eventually(lambda role=role: site.child("job", role))
        assert child["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
        assert child["spec"]["template"]["spec"]["containers"][0]["args"] == ["worker", role, token]
    status = await site.status("job")
    assert status["observedGeneration"] == 1
    assert (await site.condition("job", "Reconciling"))["status"] == "True"


async def test_a_job_runs_to_complete(site: Site) -> None:
    await site.operator()
    await site.apply("job", scaling={"pollingInterval": 1, "lagThreshold": 5})
    token = await site.status_field("job", "token")
    await site.worker("keys", token)
    await site.worker("records", token)
    await site.scales_to("job", 4)  # 20 batches, 5 each
    await site.worker("signing", token)
    waited = await site.server.kubectl(
        "wait", "--for=condition=Complete", "signingjob/job", "-n", site.namespace, "--timeout=40s"
    )
    assert "condition met" in waited.stdout
    status = await site.status("job")
    assert (status["state"], status["signed"], status["progress"]) == ("Complete", 200, "100% (200/200)")
    for role in ("keys", "records", "signing"):
        await eventually(lambda role=role: _gone(site, role), seconds=20)
    await site.recorded("job", "Starting", "ScaledOut", "AllSigned")
    shown = (await site.server.kubectl("get", "sj", "-n", site.namespace)).stdout
    assert "Complete" in shown
    assert "100% (200/200)" in shown


async def test_a_decision_is_in_status_event_log_and_history(site: Site) -> None:
    operator = await site.operator()
    await site.apply("job", scaling={"pollingInterval": 1, "lagThreshold": 5})
    token = await site.status_field("job", "token")
    await site.worker("keys", token)
    await site.worker("records", token)
    await site.scales_to("job", 4)

    async def reported() -> dict[str, Any] | None:
        scaling = (await site.status("job")).get("scaling") or {}
        return scaling if scaling.get("desired") == 4 else None

    scaling = await eventually(reported)
    changes = scaling["changes"]
    assert [(change["before"], change["after"], change["reason"]) for change in changes] == [(0, 4, "Lag")]
    assert (scaling["reason"], scaling["inputs"]["lag"]) == ("Lag", 20)
    (event,) = await site.recorded("job", "ScaledOut")
    assert event["note"].startswith("Scaled from 0 to 4 signers: lag is 20 batches")
    (line,) = await eventually(
        lambda: [line for line in operator.lines() if line["level"] == "INFO" and "decided" in line]
    )
    assert line["message"] == event["note"]
    assert (line["job"], line["decided"]["desired"], line["decided"]["inputs"]["lag"]) == ("job", 4, 20)


async def test_an_operator_stops_promptly_on_sigterm(site: Site) -> None:
    operator = await site.operator()
    await site.apply("job", scaling={"minReplicaCount": 1})
    await site.scales_to("job", 1)  # it has connected to NATS and Postgres
    assert await operator.leave(seconds=4) == 0


async def _gone(site: Site, role: str) -> bool:
    return await site.child("job", role) is None
