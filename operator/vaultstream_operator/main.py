"""The operator as a process: all its parts put together, from its start to SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import kopf

from vaultstream.bus.connection import BusAddress
from vaultstream.errors import ServiceError
from vaultstream.telemetry.health import Health
from vaultstream.telemetry.server import TURN_SECONDS, TelemetryServer
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.kube_api import open_kube_api
from vaultstream_operator.adapters.kubernetes import KubernetesCluster
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.handlers import registry
from vaultstream_operator.metrics import OperatorMetrics
from vaultstream_operator.reconciler import Reconciler
from vaultstream_operator.runtime import LIVE_SECONDS, Runtime
from vaultstream_operator.settings import OperatorSettings, load_operator_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["load_operator_settings", "run_operator"]

log = logging.getLogger(__name__)


async def run_operator(settings: OperatorSettings) -> None:
    """Runs until SIGTERM or SIGINT.

    Raises:
        UsageError: there is no login to an API server, or the port is taken.
        ServiceError: kopf gave up: the process is to be started anew.
    """
    quieten_kopf()
    async with AsyncExitStack() as stack:
        metrics, health = OperatorMetrics(), Health("operator", progress_seconds=LIVE_SECONDS)
        await stack.enter_async_context(_served(settings, metrics, health))
        api = await stack.enter_async_context(open_kube_api(settings.kubeconfig))
        cluster = KubernetesCluster(api, settings.watched)
        address = BusAddress(
            settings.nats_url,
            settings.nats_user,
            settings.nats_password.get_secret_value(),
            ca_file=settings.nats_ca_file,
        )
        lags = await stack.enter_async_context(JetStreamLags(address))
        store = await stack.enter_async_context(PostgresStore(settings.database_url.get_secret_value(), lags))
        reconciler = Reconciler(cluster, store, lags, settings.worker, metrics=metrics)
        try:
            await kopf.operator(
                registry=registry,
                memo=Runtime(cluster, reconciler, metrics, health),
                clusterwide=not settings.watched,
                namespaces=settings.watched,
                standalone=True,
            )
        except Exception as error:
            raise ServiceError(
                f"The operator can't go on: {error or type(error).__name__}.",
                hint="It is to be started anew; a Deployment does so by itself.",
            ) from error
    log.info("the operator left")


def quieten_kopf() -> None:
    """Lets kopf tell of trouble alone: at its finest level it logs whole objects."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)


@asynccontextmanager
async def _served(
    settings: OperatorSettings, metrics: OperatorMetrics, health: Health
) -> AsyncIterator[None]:
    """Serves metrics and health from a thread of its own, also while the event loop is stuck."""
    server = TelemetryServer("0.0.0.0", settings.http_port, registry=metrics.registry, health=health)  # noqa: S104 - a kubelet and Prometheus come from outside
    turning = asyncio.create_task(_turn(health))
    log.info("metrics and health are served", extra={"port": server.port})
    try:
        yield
    finally:
        turning.cancel()
        await asyncio.to_thread(server.stop)


async def _turn(health: Health) -> None:
    while True:
        health.turn()
        await asyncio.sleep(TURN_SECONDS)


if __name__ == "__main__":
    sys.exit(asyncio.run(run_operator(load_operator_settings())))
