"""Why a Kubernetes Job has no pod: its status does not say so, only its Events have the API server's answer."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from vaultstream.errors import VaultStreamError
from vaultstream_operator.adapters.ailing import of_refusal
from vaultstream_operator.adapters.kube_api import KubeApi, KubeJson
from vaultstream_operator.core import children
from vaultstream_operator.core.children import Owner, child_name
from vaultstream_operator.core.pod_problems import Ailment, Cause
from vaultstream_operator.core.view import ChildrenView, WorkerJobView

log = logging.getLogger(__name__)

_FAILED: Final = "FailedCreate"
_MOST_EVENTS: Final = 50


class UnmadePods:
    """Reads the Events of Jobs that have had no pod for a while.

    Args:
        api: sends the requests. Without the right to list Events, nothing is known.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def explain(self, owner: Owner, view: ChildrenView) -> ChildrenView:
        """Returns the children with the answers to those whose pods were refused."""
        return replace(
            view,
            keys=await self._explain(owner, children.KEYS, view.keys),
            records=await self._explain(owner, children.RECORDS, view.records),
        )

    async def _explain(self, owner: Owner, role: str, worker: WorkerJobView | None) -> WorkerJobView | None:
        problem = worker.problem if worker is not None else None
        if worker is None or problem is None or problem.cause is not Cause.NOT_MADE:
            return worker
        if not problem.ripe(datetime.now(UTC)):
            return worker
        answer = await self._answer(owner.namespace, child_name(owner, role), problem)
        return worker if answer is None else replace(worker, problem=answer)

    async def _answer(self, namespace: str, name: str, problem: Ailment) -> Ailment | None:
        selector = f"regarding.kind=Job,regarding.name={name},reason={_FAILED}"
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        try:
            found = await self._api.get(path, fieldSelector=selector, limit=str(_MOST_EVENTS))
        except VaultStreamError as error:
            log.debug("can't read why %s has no pod: %s", name, error.message)
            return None
        since = problem.since or datetime.min.replace(tzinfo=UTC)
        seen = [(_last_seen(event), str(event.get("note", ""))) for event in found.get("items", ())]
        current = [(moment, note) for moment, note in seen if moment is not None and moment >= since]
        return of_refusal(max(current)[1]) if current else None


def _last_seen(event: KubeJson) -> datetime | None:
    """Returns when an Event happened last; None: it does not say so."""
    series = event.get("series") or {}
    for text in (
        series.get("lastObservedTime"),
        event.get("deprecatedLastTimestamp"),
        event.get("eventTime"),
    ):
        if text:
            return datetime.fromisoformat(text)
    return None
