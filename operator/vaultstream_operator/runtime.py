"""The operator at work: its queue, its resync, and how it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from vaultstream.errors import VaultStreamError
from vaultstream.telemetry.health import Health
from vaultstream_operator.adapters.kubernetes import KubernetesCluster
from vaultstream_operator.adapters.mirror import Body, Key
from vaultstream_operator.metrics import OperatorMetrics
from vaultstream_operator.queue import WorkQueue
from vaultstream_operator.reconciler import Reconciler

log = logging.getLogger(__name__)

RESYNC_SECONDS = 20.0
"""Between two lists of all there is: they repair what a watch lost, and find out a watch that died in silence."""
RETRY_SECONDS = 1.0
SETTLE_SECONDS = 0.05
"""Changes of children come in bursts: one look answers them all."""
LIVE_SECONDS = 90.0
"""Without a good round for so long, the operator is stuck and wants to be started anew."""

API_SERVER = "Kubernetes API server"
START, ROUNDS, WATCHES = "start", "reconcile", "watch"

_PROBE: Key = ("", "")
"""Goes through the queue as every SigningJob does: that it comes out shows that the queue works."""


class Runtime:
    """What runs between the start and the end of the operator.

    Args:
        cluster: the API server.
        reconciler: looks at one SigningJob.
        metrics: what is counted.
        health: how it is; asked from another thread.
        disconnect: leaves NATS and Postgres: at the end kopf waits 5 s for whatever still runs on its loop.
    """

    def __init__(
        self,
        cluster: KubernetesCluster,
        reconciler: Reconciler,
        metrics: OperatorMetrics,
        health: Health,
        *,
        disconnect: Callable[[], Awaitable[None]],
    ) -> None:
        self._cluster = cluster
        self._reconciler = reconciler
        self._metrics = metrics
        self._health = health
        self._disconnect = disconnect
        self._queue: WorkQueue[Key] = WorkQueue(
            self._look,
            urgent=lambda key: reconciler.decides(*key),
            waited=lambda key, seconds: metrics.waited(seconds, scaling=reconciler.decides(*key)),
        )
        self._tasks: list[asyncio.Task[None]] = []
        metrics.watch(self._queue)
        health.expect(API_SERVER, within=3 * RESYNC_SECONDS)
        health.beat(START)  # a start that stands still ends like any other loop that does

    async def start(self) -> None:
        """Lists all that there is, waiting for an API server that is away, and starts the work."""
        while not await self._resync(exact=True):
            self._health.beat(START)
            await asyncio.sleep(RETRY_SECONDS)
        self._health.rest(START)
        for key in self._cluster.jobs():
            self._queue.add(key)
        self._health.beat(ROUNDS)
        self._health.beat(WATCHES)
        self._tasks = [
            asyncio.create_task(self._queue.run(), name="queue"),
            asyncio.create_task(self._keep_in_sync(), name="resync"),
        ]
        log.info("the operator works", extra={"signing_jobs": len(self._cluster.jobs())})

    async def stop(self) -> None:
        """Ends the work, and leaves NATS and Postgres."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self._disconnect()

    def saw(self, kind: str, change: str | None, body: Body) -> None:
        """Takes in what a watch delivered."""
        if (key := self._cluster.saw(kind, change, body)) is not None:
            self._queue.add(key, 0.0 if kind == "signingjobs" else SETTLE_SECONDS)

    async def _look(self, key: Key) -> float | None:
        if key == _PROBE:
            self._health.beat(ROUNDS)
            return None
        try:
            again = await self._reconciler.reconcile(*key)
        except VaultStreamError:  # a service is away: whoever comes to know that is not stuck
            self._health.beat(ROUNDS)
            raise
        self._health.beat(ROUNDS)
        return again

    async def _keep_in_sync(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_SECONDS)
            await self._resync()
            self._queue.add(_PROBE)

    async def _resync(self, *, exact: bool = False) -> bool:
        """Lists all there is, once; returns whether the API server answered."""
        try:
            news = await self._cluster.resync(exact=exact)
        except VaultStreamError as error:
            self._health.missed(API_SERVER, error.message)
            self._health.beat(
                WATCHES
            )  # while there is nothing to hear, a watch that is silent is none that died
            log.warning("the objects can't be listed: %s", error.message)
            return False
        self._health.seen(API_SERVER)
        if late := self._cluster.overdue():
            log.error("a watch has died: it has not delivered %s", late)
        else:
            self._health.beat(WATCHES)
        self._metrics.resyncs.inc(len(news))
        for key in news:
            self._queue.add(key)
        return True
