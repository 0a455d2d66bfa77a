"""An operator that starts looks for namespaces that were taken from it meanwhile; what fails there holds up nothing else."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, cast

import pytest

from support.waiting import eventually
from vaultstream.errors import ServiceError
from vaultstream.telemetry.health import Health
from vaultstream_operator import runtime
from vaultstream_operator.adapters.namespaces import ServedNamespaces
from vaultstream_operator.metrics import OperatorMetrics
from vaultstream_operator.runtime import Runtime

pytestmark = pytest.mark.unit


class Cluster:
    """An API server that lists the jobs of one namespace once, and those of another one at the second attempt."""

    def __init__(self) -> None:
        self.news = {("served", "job")}
        self.attempts = 0
        self.namespaces = ServedNamespaces(("served",))

    async def resync(self, *, only_unsure: bool) -> set[tuple[str, str]]:
        news, self.news = self.news, set()
        return news

    async def find_left(self, names: set[str]) -> set[tuple[str, str]]:
        assert names == {"gone"}
        self.attempts += 1
        if self.attempts == 1:
            raise ServiceError("The API server has too many requests.")
        return {("gone", "job")}

    def overdue(self) -> dict[str, str]:
        return {}

    def jobs(self) -> set[tuple[str, str]]:
        return set()


class Reconciler:
    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()

    async def reconcile(self, namespace: str, name: str) -> None:
        self.seen.add((namespace, name))

    def decides(self, namespace: str, name: str) -> bool:
        return False


async def test_jobs_are_reconciled_though_a_namespace_that_was_taken_away_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "RESYNC_SECONDS", 0.005)

    async def worked_in() -> set[str] | None:
        return {"gone"}

    cluster, reconciler = Cluster(), Reconciler()
    work = Runtime(
        cast("Any", cluster),
        cast("Any", reconciler),
        OperatorMetrics(),
        Health("operator"),
        follow=lambda _: None,
        worked_in=worked_in,
        disconnect=AsyncExitStack().aclose,
    )
    await work.start()
    try:
        await eventually(lambda: reconciler.seen >= {("served", "job"), ("gone", "job")}, seconds=10)
    finally:
        await work.stop()
    assert cluster.attempts == 2
