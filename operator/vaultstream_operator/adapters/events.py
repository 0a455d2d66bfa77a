"""Events about SigningJobs: one object for a sentence however often it is said, counted as Kubernetes counts them."""

from __future__ import annotations

import hashlib
import logging
import socket
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vaultstream.errors import VaultStreamError
from vaultstream_operator.adapters.kube_api import MERGE_PATCH, Json, KubeApi, KubeError
from vaultstream_operator.core.children import API_VERSION, KIND, Owner

if TYPE_CHECKING:
    from vaultstream_operator.api.reasons import Statement

log = logging.getLogger(__name__)

CONTROLLER = "vaultstream-operator"
MOST_CHARACTERS = 1024
"""What the API server allows for an Event's note."""
MOST_REMEMBERED = 2048

_EXISTS, _NOT_FOUND = 409, 404
_ACTION = "Reconcile"


class Events:
    """Records Events, as events.k8s.io/v1 has them.

    The name of an Event follows from what it says: two operators that overlap, or one that was started anew, say it once.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._counts: OrderedDict[str, int] = OrderedDict()

    async def tell(self, owner: Owner, statement: Statement) -> None:
        """Records an Event, or counts one more of the same; failing to do so is logged, and no more."""
        name = event_name(owner, statement)
        path = f"/apis/events.k8s.io/v1/namespaces/{owner.namespace}/events"
        try:
            if name in self._counts and await self._counted(path, name):
                return
            try:
                await self._api.create(path, event(name, owner, statement, datetime.now(UTC)))
            except KubeError as error:
                if error.status != _EXISTS:
                    raise
                await self._count(path, name)
            else:
                self._remember(name, 1)
        except VaultStreamError as error:
            self._counts.pop(name, None)
            if not (isinstance(error, KubeError) and error.status == _NOT_FOUND):  # its namespace has gone
                log.warning("an Event could not be recorded: %s", error.message)

    async def _counted(self, path: str, name: str) -> bool:
        """Counts one more of an Event; False: the API server has let it expire meanwhile."""
        try:
            await self._count(path, name)
        except KubeError as error:
            if error.status != _NOT_FOUND:
                raise
            return False
        return True

    async def _count(self, path: str, name: str) -> None:
        count = self._counts.get(name, 1) + 1
        series = {"count": count, "lastObservedTime": micro_time(datetime.now(UTC))}
        await self._api.patch(f"{path}/{name}", {"series": series}, MERGE_PATCH)
        self._remember(name, count)

    def _remember(self, name: str, count: int) -> None:
        self._counts[name] = count
        self._counts.move_to_end(name)
        while len(self._counts) > MOST_REMEMBERED:
            self._counts.popitem(last=False)


def event_name(owner: Owner, statement: Statement) -> str:
    """Returns the name of the Event that says so of this very object."""
    said = "\0".join((owner.uid, str(statement.reason), statement.event_type, statement.message))
    return f"{owner.name[:200].rstrip('.-')}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def event(name: str, owner: Owner, statement: Statement, now: datetime) -> Json:
    """Returns an Event's manifest."""
    note = statement.message
    if len(note.encode()) > MOST_CHARACTERS:
        note = note.encode()[: MOST_CHARACTERS - 3].decode(errors="ignore") + "…"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": owner.namespace},
        "eventTime": micro_time(now),
        "type": statement.event_type,
        "reason": str(statement.reason),
        "note": note,
        "action": _ACTION,
        "reportingController": CONTROLLER,
        "reportingInstance": f"{CONTROLLER}-{socket.gethostname()}"[:128],
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": owner.namespace,
            "name": owner.name,
            "uid": owner.uid,
        },
    }


def micro_time(moment: datetime) -> str:
    """Returns a time as Kubernetes' MicroTime has it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
