"""The operator process: assembles all parts and runs them until SIGTERM."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

import kopf

from vaultstream.bus.address import BusAddress
from vaultstream.credentials import CredentialFiles
from vaultstream.errors import ServiceError, shown
from vaultstream.telemetry.health import Health
from vaultstream.telemetry.server import serving_on
from vaultstream_operator.adapters.election import Election
from vaultstream_operator.adapters.hints import Hints
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.kube_api import KubeApi, open_kube_api
from vaultstream_operator.adapters.kubernetes import KubernetesCluster
from vaultstream_operator.adapters.mirror import JobKey
from vaultstream_operator.adapters.namespaces import ServedNamespaces
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.handlers import NOT_BY_KOPF, Watches, make_kopf_tolerant, registry, silent_for
from vaultstream_operator.leading import exit_asked, leading
from vaultstream_operator.metrics import OperatorMetrics
from vaultstream_operator.reconciler import Reconciler
from vaultstream_operator.runtime import LIVE_SECONDS, Runtime
from vaultstream_operator.settings import OperatorSettings

log = logging.getLogger(__name__)

_RESTART = "Restart it; a Deployment does so automatically."
_ANY_HOST = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus connect from outside


async def run_operator(settings: OperatorSettings) -> None:
    """Runs until SIGTERM or SIGINT.

    Raises:
        UsageError: there are no credentials for an API server, or the port is in use.
        ServiceError: kopf gave up, or the Lease was lost; restart the process.
    """
    quieten_kopf()
    make_kopf_tolerant()
    asked = exit_asked()  # first: whoever reads that it is ready may also stop it
    async with AsyncExitStack() as stack:
        metrics, health = OperatorMetrics(), Health("operator", progress_seconds=LIVE_SECONDS)
        await stack.enter_async_context(serving_on(_ANY_HOST, settings.http_port, metrics.registry, health))
        api = await stack.enter_async_context(open_kube_api(settings.kubeconfig))
        namespaces, watches = ServedNamespaces(settings.watched, settings.namespace_selector), Watches()
        cluster = KubernetesCluster(api, namespaces)
        address = BusAddress(
            settings.nats_url,
            settings.nats_user,
            settings.nats_password.get_secret_value(),
            ca_file=settings.nats_ca_file,
            files=CredentialFiles(settings.credentials_dir),
        )
        services = await stack.enter_async_context(AsyncExitStack())
        lags = await services.enter_async_context(JetStreamLags(address))
        store = await services.enter_async_context(
            PostgresStore(settings.database, lags, tenants=settings.worker.tenants)
        )
        reconciler = Reconciler(cluster, store, lags, settings.worker, metrics=metrics)
        term = await stack.enter_async_context(leading(_election(settings, api), health, metrics, asked))
        if term is None:
            return

        async def listen(hinted: Callable[[JobKey, float], None]) -> None:
            def heard(job_no: int, delay: float) -> None:
                if (key := store.key_of(job_no)) is not None:
                    hinted(key, delay)

            await Hints(settings.database, heard).listen()

        async def disconnect() -> None:
            term.over.set()  # kopf waits for what waits for it
            await services.aclose()

        runtime = Runtime(
            cluster,
            reconciler,
            metrics,
            health,
            follow=watches.follow,
            worked_in=store.namespaces,
            disconnect=disconnect,
            listen=listen,
            silent_for=silent_for,
        )
        term.stop_work = runtime.stop
        try:
            await kopf.operator(
                registry=registry,
                memo=runtime,
                insights=watches.insights,
                clusterwide=namespaces.everywhere,
                namespaces=[] if namespaces.everywhere else [NOT_BY_KOPF],
                standalone=True,
                stop_flag=term.over,
            )
        except Exception as error:
            raise ServiceError(f"The operator stopped: {shown(error)}.", hint=_RESTART) from error
        if term.lost:
            raise ServiceError("The operator stopped: it has lost its Lease.", hint=_RESTART)
    log.info("operator stopped")


def _election(settings: OperatorSettings, api: KubeApi) -> Election | None:
    if not settings.lease:
        return None
    # A pod's name stays the same when its container restarts, so it need not wait for its own Lease to expire.
    identity = settings.pod_name or f"{socket.gethostname()}-{secrets.token_hex(4)}"
    return Election(api, settings.lease, identity)


def quieten_kopf() -> None:
    """Limits kopf's logging to warnings: at level debug it logs whole objects."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
