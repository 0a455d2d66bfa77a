"""Connections that break, and others that fall silent: the operator finds out, goes on, and its probe tells the truth."""

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
"""After which the operator gives a request up."""
WATCH_SECONDS = 75.0
"""After which it gives up a watch that brings nothing."""


@asynccontextmanager
async def behind_a_wire(site: Site) -> AsyncIterator[tuple[Operator, Wire]]:
    """An operator whose way to the API server can be disturbed."""
    config = await site.server.service_account_kubeconfig(site.namespace, OPERATOR)
    async with open_wire(urlsplit(site.server.url).port or 0) as (wire, port):
        through = site.folder / "wire.kubeconfig"
        through.write_text(config.read_text().replace(site.server.url, f"https://127.0.0.1:{port}"))
        operator = await site.operator(KUBECONFIG=str(through))
        yield operator, wire
        await operator.kill()


async def test_watches_that_are_cut_are_made_again(site: Site) -> None:
    async with behind_a_wire(site) as (operator, wire):
        for n in range(5):
            name = f"job-{n}"
            await site.apply(name, scaling={"minReplicaCount": 1})
            await site.scales_to(name, 1)
            assert wire.cut() >= 4  # the four watches at least
            await site.patch(name, spec={"scaling": {"minReplicaCount": 2}})
            await site.scales_to(name, 2, seconds=10)
        assert (await operator.ask("/livez")).status == 200


async def test_a_change_that_a_silent_watch_does_not_bring_is_found_by_a_list(site: Site) -> None:
    """Each connection that is open falls silent, with no end to be seen; new ones work."""
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


async def test_a_process_that_stands_still_does_not_answer_and_goes_on_where_it_was(site: Site) -> None:
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
async def test_a_watch_that_fell_silent_is_made_again_before_the_probe_fails(site: Site) -> None:
    async with behind_a_wire(site) as (operator, wire):
        await site.apply("job", scaling={"minReplicaCount": 1})
        await site.scales_to("job", 1)
        wire.silence(new=False)
        began, count = time.monotonic(), 1
        while (
            time.monotonic() - began < WATCH_SECONDS + LIVE_SECONDS
        ):  # changes enough for lists to miss a watch
            count = 3 - count
            await site.patch("job", spec={"scaling": {"minReplicaCount": count, "maxReplicaCount": count}})
            await site.scales_to("job", count, seconds=RESYNC_SECONDS + 2 * REQUEST_SECONDS)
            assert (await operator.ask("/livez")).status == 200
            await asyncio.sleep(1)
        count = 3 - count
        await site.patch("job", spec={"scaling": {"minReplicaCount": count, "maxReplicaCount": count}})
        await site.scales_to("job", count, seconds=5)  # by a watch again, not by the next list


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_an_api_server_that_is_silent_for_long_takes_readiness_alone(site: Site) -> None:
    """With more jobs than can be asked for at once, each of whose requests takes all the time that it may."""
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
        wire.mend()

        async def is_ready() -> bool:
            return (await operator.ask("/readyz")).status == 200

        await eventually(is_ready, seconds=60)
        await site.patch("job-0", spec={"scaling": {"minReplicaCount": 2}})
        await site.scales_to("job-0", 2, seconds=60)
