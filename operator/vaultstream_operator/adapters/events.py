"""Events about SigningJobs: one object per message, with a count of its occurrences."""

from __future__ import annotations

import hashlib
import logging
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vaultstream.api.signingjob import API_VERSION, KIND
from vaultstream.errors import VaultStreamError
from vaultstream_operator.adapters.kube_api import MERGE_PATCH, KubeApi, KubeError, KubeJson
from vaultstream_operator.core.children import Owner

if TYPE_CHECKING:
    from vaultstream_operator.api.reasons import Statement

log = logging.getLogger(__name__)

CONTROLLER = "vaultstream-operator"
MOST_NOTE_BYTES = 1024
"""Maximum length of an Event's note, in bytes, set by the API server."""

_EXISTS, _NOT_FOUND = 409, 404
_TRIES = 5
_ACTION = "Reconcile"


class Events:
    """Records Events of events.k8s.io/v1.

    The name of an Event is derived from its content, and the count is kept only in the Event. So two overlapping operators, or
    one that was restarted, use the same Event and continue its count.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def record(self, owner: Owner, statement: Statement) -> bool:
        """Records an Event or increments its count; returns whether that succeeded. A failure is only logged."""
        name = event_name(owner, statement)
        path = f"/apis/events.k8s.io/v1/namespaces/{owner.namespace}/events"
        problem = "it keeps changing."
        try:
            for _ in range(_TRIES):
                if await self._created(path, event(name, owner, statement, datetime.now(UTC))):
                    return True
                if await self._counted(f"{path}/{name}"):
                    return True
        except VaultStreamError as error:
            if isinstance(error, KubeError) and error.status == _NOT_FOUND:
                return False  # its namespace was deleted
            problem = error.message
        log.warning("can't record an Event: %s", problem)
        return False

    async def _created(self, path: str, manifest: KubeJson) -> bool:
        """Creates an Event; returns False if it already exists."""
        try:
            await self._api.create(path, manifest)
        except KubeError as error:
            if error.status != _EXISTS:
                raise
            return False
        return True

    async def _counted(self, path: str) -> bool:
        """Increments the count of an Event; returns False if it has expired or changed in the meantime."""
        try:
            found = await self._api.patch(
                path, {}, MERGE_PATCH
            )  # an empty patch reads it: the operator may patch Events, not get them
            count = (found.get("series") or {"count": 1})["count"] + 1
            await self._api.patch(
                path,
                {
                    "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
                    "series": {"count": count, "lastObservedTime": micro_time(datetime.now(UTC))},
                },
                MERGE_PATCH,
            )
        except KubeError as error:
            if error.status not in (_EXISTS, _NOT_FOUND):
                raise
            return False
        return True


def event_name(owner: Owner, statement: Statement) -> str:
    """Returns the name of the Event for this statement about this object."""
    said = "\0".join((owner.uid, str(statement.reason), statement.event_type, statement.message))
    return f"{owner.name[:200].rstrip('.-')}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def event(name: str, owner: Owner, statement: Statement, now: datetime) -> KubeJson:
    """Returns an Event's manifest."""
    note = statement.message
    if len(note.encode()) > MOST_NOTE_BYTES:
        note = note.encode()[: MOST_NOTE_BYTES - 3].decode(errors="ignore") + "…"
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
    """Returns a time in the format of Kubernetes' MicroTime."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
