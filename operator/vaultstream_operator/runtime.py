"""The running operator: its queue, its resync and its health."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from operator import itemgetter

from vaultstream.errors import VaultStreamError
from vaultstream.telemetry.health import Health
from vaultstream_operator.adapters.ailing import Body
from vaultstream_operator.adapters.kube_api import KubeError
from vaultstream_operator.adapters.kubernetes import KubernetesCluster
from vaultstream_operator.adapters.mirror import JobKey
from vaultstream_operator.adapters.paths import WATCHED
from vaultstream_operator.metrics import OperatorMetrics
from vaultstream_operator.queue import WorkQueue
from vaultstream_operator.reconciler import Reconciler

log = logging.getLogger(__name__)

RESYNC_SECONDS = 20.0
"""Interval between full lists. They repair events lost by a watch, and detect a watch that died silently."""
UNSURE_SECONDS = 2.0
"""Interval between looks at lost namespaces, and at which namespaces the selector selects."""
RETRY_SECONDS = 1.0
CHILD_SETTLE_SECONDS = 0.05
"""Changes of children come in bursts: one reconcile handles them all."""
HEARD_SECONDS = 80.0
"""A watch that has delivered nothing for this long, not even a bookmark, may be dead. A live one gets a bookmark every minute."""
LIVE_SECONDS = 90.0
"""Without a successful round for this long, the operator is stuck and must be restarted."""

API_SERVER = "Kubernetes API server"
_FORBIDDEN = 403
START, ROUNDS, WATCHES = "start", "reconcile", "watch"

_PROBE: JobKey = ("", "")
"""Passes through the queue like a SigningJob, to show that the queue works."""


class Runtime:
    """Everything that runs between start and stop of the operator.

    Args:
        cluster: the API server.
        reconciler: reconciles one SigningJob.
        metrics: the metrics to update.
        health: the health to update; another thread reads it.
        follow: called with the namespaces to watch whenever they may have changed.
        worked_in: returns the namespaces that ever had jobs; None if that can't be read now.
        listen: listens for hints at new batches of jobs until it is canceled, and passes each with its delay to what it is given.
        disconnect: closes the connections to NATS and Postgres: on exit kopf waits 5 s for tasks left on its loop.
        silent_for: returns for how many seconds the watch of a kind in a namespace has delivered nothing.
    """

    def __init__(
        self,
        cluster: KubernetesCluster,
        reconciler: Reconciler,
        metrics: OperatorMetrics,
        health: Health,
        *,
        follow: Callable[[Collection[str]], None],
        worked_in: Callable[[], Awaitable[set[str] | None]],
        disconnect: Callable[[], Awaitable[None]],
        listen: Callable[[Callable[[JobKey, float], None]], Coroutine[None, None, None]] | None = None,
        silent_for: Callable[[str, str], float] = lambda _kind, _namespace: math.inf,
    ) -> None:
        self._cluster = cluster
        self._reconciler = reconciler
        self._metrics = metrics
        self._health = health
        self._follow = follow
        self._worked_in = worked_in
        self._looked_back = cluster.namespaces.everywhere
        self._disconnect = disconnect
        self._listen = listen
        self._silent_for = silent_for
        self._queue: WorkQueue[JobKey] = WorkQueue(
            self._reconcile,
            urgent=lambda key: reconciler.decides(*key),
            lane=itemgetter(0),  # a tenant's flood of SigningJobs does not hold up other namespaces
            waited=lambda key, seconds: metrics.waited(seconds, scaling=reconciler.decides(*key)),
        )
        self._ended: frozenset[str] = frozenset()
        """Namespaces whose dead watches the last list has ended."""
        self._tasks: list[asyncio.Task[None]] = []
        metrics.watch(self._queue)
        health.expect(API_SERVER, within=3 * RESYNC_SECONDS)
        health.beat(START)  # a start that hangs fails the liveness probe, like any other loop

    async def start(self) -> None:
        """Lists all objects, waiting until the API server is reachable, and starts the work."""
        while not await self._resync():
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
        if self._listen is not None:
            self._tasks.append(asyncio.create_task(self._listen(self._queue.add), name="hints"))
        log.info("operator started", extra={"signing_jobs": len(self._cluster.jobs())})

    async def stop(self) -> None:
        """Stops the work, and disconnects from NATS and Postgres."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self._disconnect()

    def saw(self, kind: str, change: str | None, body: Body) -> None:
        """Handles an event of a watch."""
        if (key := self._cluster.saw(kind, change, body)) is not None:
            self._queue.add(key, 0.0 if kind == "signingjobs" else CHILD_SETTLE_SECONDS)

    async def _reconcile(self, key: JobKey) -> float | None:
        if key == _PROBE:
            self._health.beat(ROUNDS)
            return None
        try:
            again = await self._reconciler.reconcile(*key)
        except VaultStreamError as error:  # a service is unreachable; the operator is not stuck
            self._health.beat(ROUNDS)
            if isinstance(error, KubeError) and error.status == _FORBIDDEN:
                self._cluster.namespaces.suspect(key[0])
            raise
        self._health.beat(ROUNDS)
        return again

    async def _keep_in_sync(self) -> None:
        loop = asyncio.get_running_loop()
        full_at = loop.time() + RESYNC_SECONDS
        while True:
            settled = await self._settled_for(full_at - loop.time())
            await self._resync(only_unsure=not settled)
            if settled:
                self._queue.add(_PROBE)
                full_at = loop.time() + RESYNC_SECONDS

    async def _settled_for(self, seconds: float) -> bool:
        """Waits; returns False as soon as a namespace may have been lost or found, but no later than the time is over.

        So refusals without an end, which a tenant can cause, do not put off the full lists.
        """
        namespaces = self._cluster.namespaces
        if seconds <= 0:
            return True
        limit = seconds if namespaces.settled else min(seconds, UNSURE_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await namespaces.doubt.wait()
            await asyncio.sleep(min(seconds, RETRY_SECONDS))  # refusals come in bursts
            namespaces.doubt.clear()
            return False
        return limit == seconds

    async def _look_back(self) -> None:
        """Finds, once, the namespaces that were taken from the operator while it did not run, and queues their SigningJobs.

        Otherwise a deletion there would never end. What can't be read now is looked for at the next resync.
        """
        if self._looked_back or (names := await self._worked_in()) is None:
            return
        try:
            found = await self._cluster.find_left(names)
        except VaultStreamError as error:
            log.warning("can't look for namespaces that were taken away: %s", error.message)
            return
        self._looked_back = True
        self._metrics.reaches(self._cluster.namespaces.served, self._cluster.namespaces.lost)
        for key in found:
            self._queue.add(key)

    async def _resync(self, *, only_unsure: bool = False) -> bool:
        """Lists all objects once; returns whether the API server answered."""
        try:
            news = await self._cluster.resync(only_unsure=only_unsure)
        except VaultStreamError as error:
            self._health.missed(API_SERVER, error.message)
            self._health.beat(
                WATCHES
            )  # watches are silent while the API server is unreachable; they are not dead
            log.warning("can't list objects: %s", error.message)
            return False
        except Exception as error:
            log.exception("can't read lists")
            self._health.missed(API_SERVER, f"Its lists can't be read: {type(error).__name__}.")
            return False
        self._health.seen(API_SERVER)
        namespaces = self._cluster.namespaces
        self._metrics.reaches(namespaces.served, namespaces.lost)
        self._metrics.namespaces_unlisted.set(namespaces.unlisted)
        late = {} if only_unsure else self._cluster.overdue()  # else the watches have had no time to deliver
        for namespace, changes in late.items():
            log.error("a watch is dead: it has not delivered %s", changes, extra={"namespace": namespace})
        ended = late.keys() - self._ended  # a watch that the last list ended has had no time to deliver
        self._ended = frozenset(ended)
        if not namespaces.everywhere:
            self._follow(namespaces.served - ended)  # watched again after the next list
        # The lists serve a namespace meanwhile, and no tenant whose changes are many ends the operator.
        if not only_unsure and (not late or self._watches_live(namespaces.served - late.keys())):
            self._health.beat(WATCHES)
        self._metrics.resyncs.inc(len(news))
        for key in news:
            self._queue.add(key)
        await self._look_back()
        return True

    def _watches_live(self, punctual: Collection[str]) -> bool:
        """Returns whether a watch delivers in one of these namespaces, or, if all are watched as one, each watch does.

        That there is nothing to tell is no proof: a live watch tells that, too.
        """
        if self._cluster.namespaces.everywhere:
            return all(self._silent_for(kind, "") < HEARD_SECONDS for kind in WATCHED)
        return any(
            self._silent_for(kind, namespace) < HEARD_SECONDS for namespace in punctual for kind in WATCHED
        )
