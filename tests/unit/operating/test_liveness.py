"""The liveness probe: an operator whose watch has died is not alive; one whose API server is unreachable is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest

from support.waiting import eventually
from vaultstream.errors import ServiceError
from vaultstream.telemetry.health import Health
from vaultstream_operator import runtime
from vaultstream_operator.adapters.mirror import PODS
from vaultstream_operator.adapters.namespaces import ServedNamespaces
from vaultstream_operator.adapters.paths import WATCHED
from vaultstream_operator.metrics import OperatorMetrics
from vaultstream_operator.runtime import HEARD_SECONDS, LIVE_SECONDS, Runtime

pytestmark = pytest.mark.unit


class Cluster:
    """An API server that answers or not, and watches that deliver or not."""

    def __init__(self) -> None:
        self.unreachable = False
        self.silent = False
        self.late: dict[str, str] = {}
        self.lists = 0
        self.namespaces = ServedNamespaces()

    async def resync(self, *, only_unsure: bool) -> set[tuple[str, str]]:
        self.lists += 1
        if self.silent:
            await asyncio.Event().wait()
        if self.unreachable:
            raise ServiceError("The API server does not answer.")
        return set()

    def overdue(self) -> dict[str, str]:
        return self.late

    def jobs(self) -> set[tuple[str, str]]:
        return set()

    def saw(self, kind: str, change: str, body: dict[str, str]) -> tuple[str, str]:
        return "default", body["name"]


class Reconciler:
    """Reconciles that fail, or never end."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.reconciles = 0

    async def reconcile(self, namespace: str, name: str) -> None:
        self.reconciles += 1
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()

    def decides(self, namespace: str, name: str) -> bool:
        return False


def nothing(_: object) -> None:
    """Follows no namespaces: all are watched as one."""


async def nowhere() -> set[str] | None:
    """Knows of no namespace that had jobs."""
    return None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def made(
    cluster: Cluster,
    clock: Clock,
    reconciler: Reconciler | None = None,
    *,
    follow: Callable[[Collection[str]], None] = nothing,
    silent: dict[str, float] | None = None,
) -> tuple[Runtime, Health]:
    health = Health("operator", progress_seconds=LIVE_SECONDS, loop_seconds=1e9, clock=clock)
    health.turn()
    work = Runtime(
        cast("Any", cluster),
        cast("Any", reconciler or Reconciler()),
        OperatorMetrics(),
        health,
        follow=follow,
        worked_in=nowhere,
        disconnect=AsyncExitStack().aclose,
        silent_for=lambda kind, namespace: (silent or {}).get(namespace or kind, math.inf),
    )
    return work, health


@asynccontextmanager
async def started(
    cluster: Cluster,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    *,
    reconciler: Reconciler | None = None,
    names: range = range(0),
    resync_seconds: float = 0.005,
    follow: Callable[[Collection[str]], None] = nothing,
    silent: dict[str, float] | None = None,
) -> AsyncIterator[Health]:
    monkeypatch.setattr(runtime, "RESYNC_SECONDS", resync_seconds)
    work, health = made(cluster, clock, reconciler, follow=follow, silent=silent)
    await work.start()
    for name in names:
        work.saw("signingjobs", "ADDED", {"name": str(name)})
    try:
        yield health
    finally:
        await work.stop()


async def rounds(cluster: Cluster) -> None:
    """Waits for some more resyncs, and for the probes that follow them."""
    wanted = cluster.lists + 3
    await eventually(lambda: cluster.lists >= wanted, seconds=5)
    await asyncio.sleep(0)


async def test_an_operator_with_nothing_to_do_stays_alive_and_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, clock = Cluster(), Clock()
    async with started(cluster, clock, monkeypatch) as health:
        clock.now += 10 * LIVE_SECONDS
        await rounds(cluster)
        await eventually(lambda: health.live().ok, seconds=5)
        assert health.ready().ok


@pytest.mark.parametrize("silent", [False, True])
async def test_a_start_that_hangs_ends_liveness_and_one_that_waits_for_an_api_server_does_not(
    monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    monkeypatch.setattr(runtime, "RETRY_SECONDS", 0.005)
    cluster, clock = Cluster(), Clock()
    cluster.silent, cluster.unreachable = silent, not silent
    work, health = made(cluster, clock)
    starting = asyncio.create_task(work.start())
    await eventually(lambda: cluster.lists, seconds=5)
    clock.now += LIVE_SECONDS + 1
    assert not health.live().ok
    if silent:
        assert [check.name for check in health.live().checks if not check.ok] == ["start loop"]
    else:
        await eventually(lambda: health.live().ok, seconds=5)
        cluster.unreachable = False
        await starting
        assert "start loop" not in [check.name for check in health.live().checks]
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await work.stop()


async def test_a_dead_watch_ends_liveness(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, clock = Cluster(), Clock()
    async with started(cluster, clock, monkeypatch) as health:
        cluster.late = {"shop": "2 changes of jobs"}
        await rounds(cluster)
        clock.now += LIVE_SECONDS + 1
        await rounds(cluster)
        failing = [check.name for check in health.live().checks if not check.ok]
        assert failing == ["watch loop"]
        cluster.late = {}
        await rounds(cluster)
        assert health.live().ok


def two_namespaces() -> Cluster:
    cluster = Cluster()
    cluster.namespaces = ServedNamespaces(["bank", "shop"])
    for name in ("bank", "shop"):
        cluster.namespaces.find(name)
    return cluster


@pytest.mark.parametrize(("seconds", "alive"), [(60.0, True), (HEARD_SECONDS + 1, False)])
async def test_a_dead_watch_ends_liveness_unless_that_of_another_namespace_delivers(
    monkeypatch: pytest.MonkeyPatch, seconds: float, alive: bool
) -> None:
    """A namespace in which nothing happens proves nothing: if all watches have died, the lists notice it in others alone."""
    cluster, clock = two_namespaces(), Clock()
    async with started(cluster, clock, monkeypatch, silent={"bank": seconds, "shop": 0.0}) as health:
        cluster.late = {"shop": "2 changes of jobs"}
        await rounds(cluster)
        clock.now += LIVE_SECONDS + 1
        await rounds(cluster)
        failing = [check.name for check in health.live().checks if not check.ok]
        assert failing == ([] if alive else ["watch loop"])


@pytest.mark.parametrize(("seconds", "alive"), [(60.0, True), (HEARD_SECONDS + 1, False)])
async def test_a_flood_that_one_watch_of_all_namespaces_is_behind_with_ends_nothing_while_each_watch_delivers(
    monkeypatch: pytest.MonkeyPatch, seconds: float, alive: bool
) -> None:
    cluster, clock = Cluster(), Clock()
    silent = dict.fromkeys(WATCHED, 1.0) | {PODS: seconds}
    async with started(cluster, clock, monkeypatch, silent=silent) as health:
        cluster.late = {"shop": "900 changes of pods"}
        await rounds(cluster)
        clock.now += LIVE_SECONDS + 1
        await rounds(cluster)
        assert health.live().ok is alive


async def test_refusals_without_an_end_do_not_put_off_full_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant can cause them, for example by a quota that is always exceeded."""
    monkeypatch.setattr(runtime, "RESYNC_SECONDS", 0.05)
    monkeypatch.setattr(runtime, "RETRY_SECONDS", 0.0)
    cluster, full = two_namespaces(), list[bool]()

    async def resync(*, only_unsure: bool) -> set[tuple[str, str]]:
        full.append(not only_unsure)
        cluster.namespaces.suspect("shop")
        await asyncio.sleep(0)
        return set()

    monkeypatch.setattr(cluster, "resync", resync)
    work, _ = made(cluster, Clock())
    await work.start()
    await eventually(lambda: full[1:].count(True) >= 2, seconds=5)
    await work.stop()


async def test_a_dead_watch_is_ended_and_opened_again_however_many_changes_it_misses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The list after the one that ends it finds more that it has not delivered: it was not there."""
    cluster, followed = two_namespaces(), list[frozenset[str]]()
    cluster.late = {"shop": "2 changes of jobs"}
    async with started(cluster, Clock(), monkeypatch, follow=lambda names: followed.append(frozenset(names))):
        await eventually(lambda: len(followed) >= 6, seconds=5)
    alone = followed.index(frozenset({"bank"}))
    assert followed[alone : alone + 4] == [{"bank"}, {"bank", "shop"}, {"bank"}, {"bank", "shop"}]


async def test_an_unreachable_api_server_ends_readiness_but_not_liveness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster, clock = Cluster(), Clock()
    async with started(cluster, clock, monkeypatch) as health:
        cluster.unreachable = True
        await rounds(cluster)
        clock.now += LIVE_SECONDS + 1
        await rounds(cluster)
        await eventually(lambda: health.live().ok, seconds=5)
        verdict = health.ready()
        assert not verdict.ok
        assert "does not answer" in verdict.checks[0].detail


async def test_reconciles_that_never_end_end_liveness(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, clock = Cluster(), Clock()
    async with started(cluster, clock, monkeypatch, names=range(50)) as health:
        await rounds(cluster)
        clock.now += LIVE_SECONDS + 1
        await rounds(cluster)
        assert [check.name for check in health.live().checks if not check.ok] == ["reconcile loop"]


@pytest.mark.parametrize(("error", "alive"), [(ServiceError("Away."), True), (ValueError("A fault."), False)])
async def test_reconciles_that_find_a_service_unreachable_are_a_sign_of_life(
    monkeypatch: pytest.MonkeyPatch, error: Exception, alive: bool
) -> None:
    """Many of them may wait for the service, so that nothing else is reconciled for a long time."""
    cluster, clock, reconciler = Cluster(), Clock(), Reconciler(error)
    given: dict[str, Any] = {"reconciler": reconciler, "names": range(3), "resync_seconds": 3600.0}
    async with started(cluster, clock, monkeypatch, **given) as health:
        clock.now += LIVE_SECONDS + 1
        assert not passes(health)
        reconciles = reconciler.reconciles
        await eventually(lambda: reconciler.reconciles > reconciles + 3, seconds=5)
        assert passes(health) is alive


def passes(health: Health) -> bool:
    return next(check.ok for check in health.live().checks if check.name == "reconcile loop")
