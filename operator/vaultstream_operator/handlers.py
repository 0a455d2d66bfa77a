"""The handlers that kopf calls: they add a key to the queue for each change. They make no decisions and write nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import kopf
from kopf._cogs.clients import api
from kopf._cogs.structs.references import Insights, NamespaceName

from vaultstream.foreign_json import read_foreign_json
from vaultstream_operator.adapters.lists import LIST_PAGE
from vaultstream_operator.adapters.mirror import DEPLOYMENTS, JOBS, PODS, WORKER_JOBS
from vaultstream_operator.adapters.paths import MANAGED_BY_US
from vaultstream_operator.api.crd import GROUP, VERSION
from vaultstream_operator.runtime import Runtime

registry = kopf.OperatorRegistry()

_RETRY_SECONDS = 1.0


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


async def _get(url: str, **options: Any) -> Any:
    response = await api.request(method="get", url=url, **options)
    async with response:
        return read_foreign_json(await response.read())


def make_kopf_tolerant() -> None:
    """Has kopf read lists and watches like the rest of the operator. Doing it again changes nothing.

    Kopf's own reader raises RecursionError for an object that is nested too deeply. That ends the watch, and then the process.
    """
    api.get = _get
    setattr(api, "json", SimpleNamespace(loads=read_foreign_json))  # noqa: B010 - kopf does not export the name
