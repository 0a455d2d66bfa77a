"""What kopf calls: a change somewhere becomes a key in the queue. No decision is made here, and nothing is written."""

from __future__ import annotations

from typing import Any

import kopf

from vaultstream_operator.adapters.kubernetes import MANAGED_BY_US
from vaultstream_operator.adapters.mirror import DEPLOYMENTS, JOBS, PODS, WORKER_JOBS
from vaultstream_operator.api.crd import GROUP, VERSION
from vaultstream_operator.runtime import Runtime

registry = kopf.OperatorRegistry()

_RETRY_SECONDS = 1.0


@kopf.on.login(registry=registry)
def log_in(**given: Any) -> kopf.ConnectionInfo | None:
    """Uses the same login as the rest of the operator: KUBECONFIG, or else the pod's service account."""
    return kopf.login_with_kubeconfig(**given) or kopf.login_with_service_account(**given)


@kopf.on.startup(registry=registry)
async def start_up(settings: kopf.OperatorSettings, memo: Runtime, **_: Any) -> None:
    """Sets kopf up as an observer, and starts the work once all that there is was listed."""
    configure(settings)
    await memo.start()


@kopf.on.cleanup(registry=registry)
async def clean_up(memo: Runtime, **_: Any) -> None:
    """Ends the work; looks that are under way are cut short, for each may be repeated."""
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


class _NoDiffs(kopf.StatusDiffBaseStorage):
    """Spares kopf the copies of each object that it compares changes by: here it hands on what it hears, and no more."""

    def build(self, **_: Any) -> Any:
        return {}


def configure(settings: kopf.OperatorSettings) -> None:
    """Sets kopf's own ways: it writes to no object, posts no Events, and lets no watch hang."""
    for kind in (("apps", "v1", DEPLOYMENTS), ("batch", "v1", WORKER_JOBS), ("", "v1", PODS)):
        settings.watching.label_selectors[kind] = MANAGED_BY_US
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.watching.inactivity_timeout = 75  # a watch that lives brings a bookmark each minute
    settings.watching.connect_timeout = 5
    settings.watching.reconnect_backoff = 0.2
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    # An API server may be away for long. Where kopf gives up, the whole process ends, and is started anew.
    settings.networking.error_backoffs = [_RETRY_SECONDS] * 600
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = 30
