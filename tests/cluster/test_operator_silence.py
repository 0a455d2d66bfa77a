"""Connections that break or fall silent: the operator notices and recovers, and its probes report the true state."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from support.freezing import freeze, thaw
from support.operating import OPERATOR
from support.waiting import eventually
from support.wire import Wire, open_wire
from vaultstream_operator.runtime import LIVE_SECONDS, RESYNC_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.operating import Operator, Site

pytestmark = pytest.mark.cluster

REQUEST_SECONDS = 15.0
"""Time after which the operator gives up on a request."""
WATCH_SECONDS = 75.0
"""Time after which it gives up on a watch that delivers nothing."""


@asynccontextmanager
async def behind_a_wire(site: Site) -> AsyncIterator[tuple[Operator, Wire]]:
    """An operator whose connections to the API server can be disturbed."""
    config = await site.server.service_account_kubeconfig(site.namespace, OPERATOR)
    async with open_wire(urlsplit(site.server.url).port or 0) as (wire, port):
        through = site.folder / "wire.kubeconfig"
        through.write_text(config.read_text().replace(site.server.url, f"https://127.0.0.1:{port}"))
        operator = await site.operator(KUBECONFIG=str(through))
        yield operator, wire
        await operator.kill()


async def test_broken_watches_are_reopened(site: Site) -> None:
    async with behind_a_wire(site) as (operator, wire):
        for n in range(5):
            name = f"job-{n}"
            await site.apply(name, scaling={"minReplicaCount": 1})
            await site.scales_to(name, 1)
            assert wire.cut() >= 4  # the four watches at least
            await site.patch(name, spec={"scaling": {"minReplicaCount": 2}})
            await site.scales_to(name, 2, seconds=10)
        assert (await operator.ask("/livez")).status == 200


async def test_a_change_that_a_silent_watch_misses_is_found_by_a_list(site: Site) -> None:
    """Every open connection falls silent without being closed; new connections work."""
    async with behind_a_wire(site) as (operator, wire):
        await site.apply("before", scaling={"minReplicaCount": 1})
        await site.scales_to("before", 1)
        wire.silence(new=False)
        await site.apply("after", scaling={"minReplicaCount": 1})
        await site.patch("before", spec={"scaling": {"minReplicaCount": 2}})
        for name, count in (("after", 1), ("before", 2)):
            await site.scales_to(name, count, seconds=RESYNC_SECONDS + 2 * REQUEST_SECONDS)
        assert (await operator.ask("/livez")).status == 200
        assert (await operator.metrics())["vaultstream_resync_news_total", frozenset()] >= 1


async def test_a_frozen_operator_does_not_answer_and_continues_when_it_is_thawed(site: Site) -> None:
    operator = await site.operator()
    await site.apply("job", scaling={"minReplicaCount": 1})
    await site.scales_to("job", 1)
    await freeze(operator.process.pid)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(operator.ask("/livez"), 1)
    await site.patch("job", spec={"scaling": {"minReplicaCount": 2}})
    thaw(operator.process.pid)
    await site.scales_to("job", 2)
    assert (await operator.ask("/livez")).status == 200


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_silent_watch_is_reopened_before_the_probe_fails(site: Site) -> None:
    async with behind_a_wire(site) as (operator, wire):
        await site.apply("job", scaling={"minReplicaCount": 1})
        await site.scales_to("job", 1)
        wire.silence(new=False)
        began, count = time.monotonic(), 1
        while (
            time.monotonic() - began < WATCH_SECONDS + LIVE_SECONDS
        ):  # enough changes for the lists to notice a silent watch
            count = 3 - count
            await site.patch("job", spec={"scaling": {"minReplicaCount": count, "maxReplicaCount": count}})
            await site.scales_to("job", count, seconds=RESYNC_SECONDS + 2 * REQUEST_SECONDS)
            assert (await operator.ask("/livez")).status == 200
            await asyncio.sleep(1)
        count = 3 - count
        await site.patch("job", spec={"scaling": {"minReplicaCount": count, "maxReplicaCount": count}})
        await site.scales_to("job", count, seconds=5)  # by a watch again, before the next list


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_an_api_server_that_stays_silent_ends_readiness_but_not_liveness(site: Site) -> None:
    """With more jobs than can be reconciled at once, each of whose requests runs into its timeout."""
    async with behind_a_wire(site) as (operator, wire):
        names = [f"job-{n}" for n in range(60)]
        await asyncio.gather(*(site.apply(name, scaling={"minReplicaCount": 1}) for name in names))
        for name in names:
            await site.scales_to(name, 1, seconds=60)
        wire.silence(new=True)
        began = time.monotonic()
        while time.monotonic() - began < 1.5 * LIVE_SECONDS:
            assert (await operator.ask("/livez")).status == 200
            await asyncio.sleep(1)
        assert (await operator.ask("/readyz")).status == 503
        wire.restore()

        async def is_ready() -> bool:
            return (await operator.ask("/readyz")).status == 200

        await eventually(is_ready, seconds=60)
        await site.patch("job-0", spec={"scaling": {"minReplicaCount": 2}})
        await site.scales_to("job-0", 2, seconds=60)
