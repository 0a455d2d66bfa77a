"""Why a Kubernetes Job has no pod, or a pod no container: their status does not say so, only their Events do."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from vaultstream.errors import VaultStreamError
from vaultstream_operator.adapters.ailing import of_refusal, of_set_up
from vaultstream_operator.adapters.kube_api import KubeApi, KubeJson, list_pages
from vaultstream_operator.core import children
from vaultstream_operator.core.children import Owner, child_name
from vaultstream_operator.core.pod_problems import Ailment, Cause
from vaultstream_operator.core.view import ChildrenView, SignersView, WorkerJobView

log = logging.getLogger(__name__)

_Worker = TypeVar("_Worker", WorkerJobView, SignersView)
_FAILED: Final = "FailedCreate"
_NOT_SET_UP: Final = {"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"}
_AGAIN: Final = timedelta(minutes=3)
"""The kubelet tries to mount a volume again after at most two minutes: what it reported earlier than this no longer holds."""
_MOST_EVENTS: Final = 50
_PAGE: Final = 5
"""Events that are read at once: whoever may create them makes them as large as 1.5 MB."""
_MOST_NOTE: Final = 2_000
"""Characters of a note. The API server has a limit for Events of one of its two APIs alone."""
_SETTLED_SECONDS: Final = 10.0
"""How long an answer counts: the API server searches all Events of the namespace for one, and a tenant may make many."""
_UNWRITTEN_SECONDS: Final = 3.0
"""The same of an answer without Events."""
_MOST_ANSWERS: Final = 1_000
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)

_Told = tuple[datetime, str]
"""When an Event happened last, and its note; empty: no Event tells anything."""
_NOTHING: Final[_Told] = (_LONG_AGO, "")


class PodEvents:
    """Reads the Events of Jobs that have had no pod for a while, and of pods that their node has not set up.

    Args:
        api: sends the requests. Without the right to list Events, nothing is known.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._answers: OrderedDict[tuple[str, str], tuple[float, _Told]] = OrderedDict()
        """The latest answers by namespace and selector, each with the time on the monotonic clock until which it counts."""

    async def explain(self, owner: Owner, view: ChildrenView) -> ChildrenView:
        """Returns the children with what the Events say about those whose pods were refused or not set up."""
        return replace(
            view,
            keys=await self._explain(owner, children.KEYS, view.keys),
            records=await self._explain(owner, children.RECORDS, view.records),
            signing=await self._explain(owner, children.SIGNING, view.signing),
        )

    async def _explain(self, owner: Owner, role: str, worker: _Worker | None) -> _Worker | None:
        problem = worker.problem if worker is not None else None
        if worker is None or problem is None or not problem.ripe(datetime.now(UTC)):
            return worker
        answer = None
        if problem.cause is Cause.NOT_MADE:
            answer = await self._refusal(owner.namespace, child_name(owner, role), problem)
        elif problem.cause is Cause.NOT_SET_UP and problem.pod:
            answer = await self._set_up(owner.namespace, problem)
        return worker if answer is None else replace(worker, problem=answer)

    async def _refusal(self, namespace: str, name: str, problem: Ailment) -> Ailment | None:
        selector = f"regarding.kind=Job,regarding.name={name},reason={_FAILED}"
        moment, note = await self._told(namespace, selector, _newest)
        since = problem.since or _LONG_AGO
        return of_refusal(note) if moment > _LONG_AGO and moment >= since else None

    async def _set_up(self, namespace: str, problem: Ailment) -> Ailment | None:
        selector = f"regarding.kind=Pod,regarding.name={problem.pod},type=Warning"
        _, note = await self._told(namespace, selector, lambda events: (_LONG_AGO, note_of_set_up(events)))
        return of_set_up(problem, note) if note else None

    async def _told(self, namespace: str, selector: str, read: Callable[[list[KubeJson]], _Told]) -> _Told:
        """Returns what the Events of a selector tell, which is all that is kept of them."""
        now, kept = time.monotonic(), self._answers.pop((namespace, selector), None)
        if kept is not None and now < kept[0]:
            self._answers[namespace, selector] = kept
            return kept[1]
        try:
            events = await self._list(namespace, selector)
        except VaultStreamError as error:
            log.debug("can't read the Events of %s: %s", selector, error.message)
            return _NOTHING
        told, counts = read(events), _SETTLED_SECONDS if events else _UNWRITTEN_SECONDS
        self._answers[namespace, selector] = now + counts, told
        while len(self._answers) > _MOST_ANSWERS:
            self._answers.popitem(last=False)
        return told

    async def _list(self, namespace: str, selector: str) -> list[KubeJson]:
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        events: list[KubeJson] = []
        async for page in list_pages(self._api, path, fieldSelector=selector, limit=str(_PAGE)):
            events += [_brief(event) for event in page]
            if len(events) >= _MOST_EVENTS:
                break
        return events


def _brief(event: KubeJson) -> KubeJson:
    """Returns of an Event what is read of it."""
    times = {name: event.get(name) for name in ("series", "deprecatedLastTimestamp", "eventTime")}
    return {"reason": event.get("reason"), "note": str(event.get("note", ""))[:_MOST_NOTE], **times}


def _newest(events: Iterable[KubeJson]) -> _Told:
    """Returns when the newest Event happened last, and its note."""
    return max(_notes(events), default=_NOTHING)


def note_of_set_up(events: Iterable[KubeJson]) -> str:
    """Returns why a node can't set up a pod, from the pod's Events; empty if they don't say.

    If several volumes are missing, the kubelet reports each in turn. The first by name is taken, so that the answer stays the same.
    """
    seen = _notes(event for event in events if event.get("reason") in _NOT_SET_UP)
    newest = max((moment for moment, _ in seen), default=None)
    return min((note for moment, note in seen if newest and newest - moment <= _AGAIN), default="")


def _notes(events: Iterable[KubeJson]) -> list[tuple[datetime, str]]:
    """Returns when each Event happened last, and its note."""
    seen = [(_last_seen(event), str(event.get("note", ""))) for event in events]
    return [(moment, note) for moment, note in seen if moment is not None]


def _last_seen(event: KubeJson) -> datetime | None:
    """Returns when an Event happened last; None: it does not say so."""
    series = event.get("series") or {}
    for text in (
        series.get("lastObservedTime"),
        event.get("deprecatedLastTimestamp"),
        event.get("eventTime"),
    ):
        if text:
            try:
                return datetime.fromisoformat(text)
            except ValueError:  # Kubernetes has years that Python has not
                return None
    return None
