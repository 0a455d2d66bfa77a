"""The verdict of kstatus itself on a SigningJob from the API server, in each state that the operator can report."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from kube import binaries
from support.kstatus import Kstatus
from support.signingjobs import install_definition, manifest, path_of
from support.waiting import eventually
from vaultstream_operator.api.conditions import (
    COMPLETED,
    FAILED,
    PROGRESSING,
    SETTLED,
    STALLED,
    set_conditions,
)
from vaultstream_operator.api.status import JobStatus

if TYPE_CHECKING:
    from kube.apiserver import ApiServer
    from kube.client import Client
    from support.operating import Site
    from vaultstream_operator.api.conditions import Conditions, States

pytestmark = pytest.mark.cluster

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def kstatus() -> Kstatus:
    program = binaries.find("kstatus", pinned=True)
    assert program
    return Kstatus(program)


@pytest.fixture
async def job(api_server: ApiServer, namespace: str) -> dict[str, Any]:
    """A SigningJob without an operator."""
    await install_definition(api_server.client)
    return await api_server.client.call("POST", path_of(namespace), manifest())


async def reported(client: Client, job: dict[str, Any], conditions: Conditions, generation: int = 1) -> Any:
    """Writes a status as the operator does, and returns the object with it."""
    status = JobStatus(observed_generation=generation, conditions=conditions)
    path = path_of(job["metadata"]["namespace"], "job", "status")
    current = await client.call("GET", path)
    return await client.call("PUT", path, current | {"status": status.dump()})


async def test_a_job_that_no_operator_has_seen_is_in_progress(
    api_server: ApiServer, kstatus: Kstatus, job: dict[str, Any]
) -> None:
    path = path_of(job["metadata"]["namespace"], "job")
    for body in (job, await api_server.client.call("GET", path)):
        assert (await kstatus.verdict(body)).status == "InProgress"


@pytest.mark.parametrize(
    ("states", "status", "message"),
    [
        (PROGRESSING, "InProgress", "What it does."),
        (STALLED, "Failed", "What it does."),
        (SETTLED, "Current", "Resource is current"),
        (COMPLETED, "Current", "Resource is current"),
        (FAILED, "Failed", "What it does."),
    ],
)
async def test_kstatus_reads_each_status_as_intended(
    api_server: ApiServer,
    kstatus: Kstatus,
    job: dict[str, Any],
    *,
    states: States,
    status: str,
    message: str,
) -> None:
    said: dict[str, Any] = {"reason": "Reason", "message": "What it does.", "generation": 1, "now": NOW}
    for before in ((), set_conditions((), PROGRESSING, **said), set_conditions((), STALLED, **said)):
        body = await reported(api_server.client, job, set_conditions(before, states, **said))
        assert await kstatus.verdict(body) == (status, message)


async def test_a_change_that_the_operator_has_not_seen_yet_is_in_progress(
    api_server: ApiServer, kstatus: Kstatus, job: dict[str, Any]
) -> None:
    said: dict[str, Any] = {
        "reason": "Reason",
        "message": "All is as asked for.",
        "generation": 1,
        "now": NOW,
    }
    body = await reported(api_server.client, job, set_conditions((), SETTLED, **said))
    assert (await kstatus.verdict(body)).status == "Current"
    path = path_of(job["metadata"]["namespace"], "job")
    body = await api_server.client.call("PUT", path, body | {"spec": body["spec"] | {"suspend": True}})
    assert body["metadata"]["generation"] == 2
    assert (await kstatus.verdict(body)).status == "InProgress"


async def test_a_job_under_the_operator_goes_from_in_progress_to_current(
    site: Site, kstatus: Kstatus
) -> None:
    async def verdict(name: str) -> str:
        return (await kstatus.verdict(await site.job(name))).status

    async def becomes(name: str, wanted: str) -> None:
        async def so() -> bool:
            return await verdict(name) == wanted

        await eventually(so, seconds=30, what=f"{name} is {wanted} to kstatus")

    await site.apply("job")
    assert await verdict("job") == "InProgress"
    await site.operator()
    await site.becomes("job", "Reconciling")
    assert await verdict("job") == "InProgress"
    await site.patch("job", spec={"suspend": True})
    await becomes("job", "Current")
    await site.apply("broken", table="nowhere")
    await becomes("broken", "Failed")
