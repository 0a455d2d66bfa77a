"""Events on a real API server: one object per message, with a count that every operator continues."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from support.gate import open_gate
from support.operating import OPERATOR
from support.scraping import by_label
from support.waiting import eventually
from vaultstream_operator.adapters.events import Events
from vaultstream_operator.adapters.kube_api import open_kube_api
from vaultstream_operator.api.reasons import JobReason, Statement
from vaultstream_operator.core.children import Owner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.operating import Site
    from vaultstream_operator.adapters.kube_api import KubeApi

pytestmark = pytest.mark.cluster

SAID = Statement(JobReason.SCALED_OUT, "Scaled from 1 to 4 signers.", "Normal")


@pytest.fixture
async def api(site: Site) -> AsyncIterator[KubeApi]:
    """Requests with the rights of the operator."""
    config = await site.server.service_account_kubeconfig(site.namespace, OPERATOR)
    async with open_kube_api(str(config)) as api:
        yield api


@pytest.fixture
async def owner(site: Site) -> Owner:
    made = await site.apply("job")
    return Owner(site.namespace, "job", made["metadata"]["uid"])


async def only(site: Site) -> dict[str, Any]:
    [event] = await site.events("job")
    return event


async def count(site: Site) -> int:
    return int(((await only(site)).get("series") or {"count": 1})["count"])


async def test_a_repeated_event_increments_its_count(site: Site, api: KubeApi, owner: Owner) -> None:
    events = Events(api)
    for times in (1, 2, 3):
        assert await events.record(owner, SAID)
        assert await count(site) == times
    event = await only(site)
    assert (event["reason"], event["note"], event["type"]) == ("ScaledOut", SAID.message, "Normal")
    assert event["regarding"]["uid"] == owner.uid
    shown = (await site.server.kubectl("describe", "signingjob", "job", "-n", site.namespace)).stdout
    assert SAID.message in shown
    assert "(x3 over" in shown


async def test_a_restarted_operator_continues_the_count(site: Site, api: KubeApi, owner: Owner) -> None:
    for _ in range(3):
        assert await Events(api).record(owner, SAID)
    former = Events(api)
    assert await former.record(owner, SAID)
    assert await Events(api).record(owner, SAID)
    assert await former.record(owner, SAID)
    assert await count(site) == 6


async def test_two_operators_that_record_an_event_at_the_same_time_lose_no_count(
    site: Site, api: KubeApi, owner: Owner
) -> None:
    both = (Events(api), Events(api))
    for round_no in range(1, 6):
        assert await asyncio.gather(*(events.record(owner, SAID) for events in both)) == [True, True]
        assert await count(site) == 2 * round_no


async def test_an_expired_event_is_created_again(site: Site, api: KubeApi, owner: Owner) -> None:
    events = Events(api)
    for _ in range(2):
        await events.record(owner, SAID)
    name = (await only(site))["metadata"]["name"]
    await site.client.call("DELETE", f"/apis/events.k8s.io/v1/namespaces/{site.namespace}/events/{name}")
    assert await events.record(owner, SAID)
    assert await count(site) == 1


async def test_another_message_or_a_later_job_of_the_same_name_gets_its_own_event(
    site: Site, api: KubeApi, owner: Owner
) -> None:
    events = Events(api)
    other = Statement(JobReason.SCALED_OUT, "Scaled from 4 to 5 signers.", "Normal")
    later = Owner(owner.namespace, owner.name, "another-uid")
    for whose, said in ((owner, SAID), (owner, other), (later, SAID)):
        assert await events.record(whose, said)
    found = await site.events("job")
    assert len(found) == 3
    assert not [event for event in found if event.get("series")]


async def test_a_long_message_is_shortened_and_recorded(site: Site, api: KubeApi, owner: Owner) -> None:
    assert await Events(api).record(owner, Statement(JobReason.STARTING, "é" * 2000, "Warning"))
    assert (await only(site))["note"].endswith("é…")


async def test_an_event_that_can_not_be_recorded_is_logged(
    site: Site, api: KubeApi, caplog: pytest.LogCaptureFixture
) -> None:
    events = Events(api)
    with caplog.at_level(logging.WARNING):
        assert not await events.record(Owner("default", "job", "uid"), SAID)
    assert "can't record an Event" in caplog.text
    assert "forbidden" in caplog.text


async def test_an_event_that_is_refused_is_not_counted_as_recorded(site: Site) -> None:
    async with open_gate(site.server, site.namespace) as gate:
        refused = gate.hold("events", lambda body: body["reason"] == "MakingKeys")
        operator = await site.operator()
        await site.apply("job")
        await refused.came()
        refused.refuse()
        await eventually(lambda: any("can't record an Event" in line["message"] for line in operator.lines()))
        await site.apply("other")
        await site.recorded("other", "MakingKeys")

        async def counted() -> dict[str, float] | None:
            found = by_label(await operator.metrics(), "vaultstream_events_total", "reason")
            return found if sum(found.values()) >= 3 else None

        assert await eventually(counted) == {"Starting": 2, "MakingKeys": 1}
