"""The handlers that kopf calls: they add a key to the queue for each change. They make no decisions and write nothing."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Collection
from types import SimpleNamespace
from typing import Any

import kopf
from kopf._cogs.clients import api, watching
from kopf._cogs.clients.watching import Bookmark
from kopf._cogs.structs.references import Insights, NamespaceName

from vaultstream.errors import shown
from vaultstream.foreign_json import read_foreign_json
from vaultstream_operator.adapters.lists import LIST_PAGE
from vaultstream_operator.adapters.mirror import DEPLOYMENTS, JOBS, PODS, WORKER_JOBS
from vaultstream_operator.adapters.namespaces import REMINDER_SECONDS
from vaultstream_operator.adapters.paths import MANAGED_BY_US
from vaultstream_operator.api.crd import GROUP, VERSION
from vaultstream_operator.queue import MOST_DELAY_SECONDS, backoff
from vaultstream_operator.runtime import Runtime

registry = kopf.OperatorRegistry()

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
_LISTS_IN_A_ROW = 2
_NAMES = ("namespace", "name", "uid", "resourceVersion")


@kopf.on.login(registry=registry)
def log_in(**given: Any) -> kopf.ConnectionInfo | None:
    """Logs in like the rest of the operator: with KUBECONFIG, or else with the pod's service account."""
    return kopf.login_with_kubeconfig(**given) or kopf.login_with_service_account(**given)


@kopf.on.startup(registry=registry)
async def start_up(settings: kopf.OperatorSettings, memo: Runtime, **_: Any) -> None:
    """Configures kopf as an observer, lists all objects, and starts the work."""
    configure(settings)
    await memo.start()


@kopf.on.cleanup(registry=registry)
async def clean_up(memo: Runtime, **_: Any) -> None:
    """Stops the work. Running reconciles are canceled; each can be repeated."""
    await memo.stop()


@kopf.on.event(GROUP, VERSION, JOBS, registry=registry)
async def on_signing_job(event: kopf.RawEvent, memo: Runtime, **_: Any) -> None:
    memo.saw(JOBS, event["type"], event["object"])


@kopf.on.event("apps", "v1", DEPLOYMENTS, registry=registry)
async def on_deployment(event: kopf.RawEvent, memo: Runtime, **_: Any) -> None:
    memo.saw(DEPLOYMENTS, event["type"], event["object"])


@kopf.on.event("batch", "v1", WORKER_JOBS, registry=registry)
async def on_worker_job(event: kopf.RawEvent, memo: Runtime, **_: Any) -> None:
    memo.saw(WORKER_JOBS, event["type"], event["object"])


@kopf.on.event("", "v1", PODS, registry=registry)
async def on_pod(event: kopf.RawEvent, memo: Runtime, **_: Any) -> None:
    memo.saw(PODS, event["type"], event["object"])


_heard: dict[tuple[str, str], float] = {}
"""When the watch of a kind in a namespace delivered something last, by the monotonic clock."""


def silent_for(kind: str, namespace: str) -> float:
    """Returns for how many seconds the watch of a kind in a namespace has delivered nothing. A live one does so each minute.

    Args:
        kind: the plural of the resource.
        namespace: empty for the watch of all namespaces.
    """
    return time.monotonic() - _heard.get((kind, namespace), -math.inf)


def _hear(kind: str, namespace: str, event: Any) -> None:
    """Notes that a watch has delivered an event; those of the list with which it begins are no sign that it lives."""
    if event is not Bookmark.LISTED and event.get("type") is not None:
        _heard[kind, namespace] = time.monotonic()


class Watches:
    """The namespaces that kopf watches. They are not known when it starts, and change while it runs."""

    def __init__(self) -> None:
        self.insights = Insights()
        """What kopf watches: an argument of `kopf.operator`, whose type kopf does not export."""
        self._wanted: frozenset[NamespaceName] = frozenset()
        self._task: asyncio.Task[None] | None = None

    def follow(self, namespaces: Collection[str]) -> None:
        """Starts and stops watches, so that soon these namespaces are watched and no others."""
        self._wanted = frozenset(NamespaceName(name) for name in namespaces)
        if self._wanted != self.insights.namespaces and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._adjust(), name="namespaces to watch")

    async def _adjust(self) -> None:
        async with self.insights.revised:  # kopf holds it for seconds, until watches have stopped
            self.insights.namespaces.clear()
            self.insights.namespaces.update(self._wanted)
            self.insights.revised.notify_all()


NOT_BY_KOPF = "!*"
"""A pattern that names no namespace: without any, kopf would watch all of them."""


class _NoDiffs(kopf.StatusDiffBaseStorage):
    """Stops kopf from storing a copy of each object to compute diffs, which no handler uses."""

    def build(self, **_: Any) -> Any:
        return {}


def configure(settings: kopf.OperatorSettings) -> None:
    """Configures kopf to write to no object, post no Events, and time out watches that hang."""
    for kind in (("apps", "v1", DEPLOYMENTS), ("batch", "v1", WORKER_JOBS), ("", "v1", PODS)):
        settings.watching.label_selectors[kind] = MANAGED_BY_US
    # Whoever writes large objects with our labels, or many, must not fill the operator's memory: kopf has one page of a list at a
    # time, and drops the last event of an object soon after it was handled.
    settings.watching.chunk_size = LIST_PAGE
    settings.queueing.idle_timeout = 0.2
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.watching.inactivity_timeout = 75  # a live watch delivers a bookmark every minute
    settings.watching.connect_timeout = 5
    settings.watching.reconnect_backoff = 0.2
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    # An API server may be unreachable for long. If kopf gives up, the process exits and Kubernetes restarts it.
    settings.networking.error_backoffs = [_RETRY_SECONDS] * 600
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = 30


def _of_one_watch(watch: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    """Returns kopf's watch of one kind in one namespace, which begins again whatever ends it: kopf would end the process."""

    async def lasting(**given: Any) -> AsyncIterator[Any]:
        kind, namespace = str(given["resource"].plural), str(given.get("namespace") or "")
        where = f"{kind} in {namespace or 'all namespaces'}"
        failures, listed_at, told_at = 0, -math.inf, -math.inf
        while True:
            try:
                async for event in watch(**given):
                    now = time.monotonic()
                    if event is Bookmark.LISTED:
                        # A watch that has to begin again at each list must not list without a pause.
                        failures = failures + 1 if now - listed_at < MOST_DELAY_SECONDS else 0
                        listed_at = now
                        if failures > _LISTS_IN_A_ROW:
                            await asyncio.sleep(backoff(failures - _LISTS_IN_A_ROW, random.random()))  # noqa: S311
                    _hear(kind, namespace, event)
                    if event is Bookmark.LISTED or _has_name(event):
                        yield event
                return  # noqa: TRY300 - kopf's watch has ended, in a test
            except kopf.LoginError:
                raise  # the credentials: of all watches
            except Exception as error:  # noqa: BLE001 - whatever it is, it is of one watch
                failures += 1
                if (now := time.monotonic()) - told_at >= REMINDER_SECONDS:
                    told_at = now
                    log.warning("the watch of %s failed, and begins again: %s", where, type(error).__name__)
                log.debug("the watch of %s failed: %s", where, shown(error))
            await asyncio.sleep(backoff(failures, random.random()))  # noqa: S311 - spreads load, no secret

    return lasting


def _has_name(event: Any) -> bool:
    """Returns whether an event is about an object that has a name, or is a bookmark. Kopf expects nothing else."""
    if event.get("type") == "BOOKMARK":
        return True
    found = event.get("object")
    metadata = found.get("metadata") if isinstance(found, dict) else None
    return isinstance(metadata, dict) and all(isinstance(metadata.get(name), str) for name in _NAMES)


_LASTING: list[Callable[..., AsyncIterator[Any]]] = []
"""The watch that takes the place of kopf's, once it does."""


async def _get(url: str, **options: Any) -> Any:
    response = await api.request(method="get", url=url, **options)
    async with response:
        return read_foreign_json(await response.read())


def make_kopf_tolerant() -> None:
    """Has kopf read lists and watches like the rest of the operator. Doing it again changes nothing.

    Kopf's own reader raises RecursionError for an object that is nested too deeply. That ends the watch, and then the process, as
    any other error of one watch does.
    """
    if watching.infinite_watch not in _LASTING:
        lasting = _of_one_watch(watching.infinite_watch)
        _LASTING.append(lasting)
        setattr(watching, "infinite_watch", lasting)  # noqa: B010 - its type is that of a generator
    api.get = _get
    setattr(api, "json", SimpleNamespace(loads=read_foreign_json))  # noqa: B010 - kopf does not export the name
