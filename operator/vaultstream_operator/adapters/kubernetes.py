"""The port `Cluster` on a Kubernetes API server: SigningJobs and their children.

Children are read from a mirror that watches keep up to date, so a reconcile costs one request. A manifest is applied again only
when it or the applied object has changed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from vaultstream.api.signingjob import KIND
from vaultstream.plurals import counted
from vaultstream_operator.adapters.ailing import Body
from vaultstream_operator.adapters.events import CONTROLLER, Events
from vaultstream_operator.adapters.kube_api import (
    APPLY,
    JSON_PATCH,
    MERGE_PATCH,
    OBJECT_METADATA,
    KubeApi,
    KubeError,
    KubeJson,
)
from vaultstream_operator.adapters.lists import Lists
from vaultstream_operator.adapters.marks import mark_idle
from vaultstream_operator.adapters.mirror import DEPLOYMENTS, JOBS, WORKER_JOBS, JobKey, Mirror
from vaultstream_operator.adapters.namespaces import ServedNamespaces
from vaultstream_operator.adapters.paths import WATCHED, path_of
from vaultstream_operator.adapters.pod_events import PodEvents
from vaultstream_operator.adapters.views import newer_view, view_of
from vaultstream_operator.api.reasons import Statement
from vaultstream_operator.api.status import JobStatus
from vaultstream_operator.core import children
from vaultstream_operator.core.children import Manifest, Owner, child_name
from vaultstream_operator.core.news import is_news
from vaultstream_operator.core.plan import NUDGE_SECONDS
from vaultstream_operator.core.view import FINALIZER, ChildrenView, ObjectView
from vaultstream_operator.ports import ConflictError, Refusal

log = logging.getLogger(__name__)

NUDGED: Final = "vaultstream.dev/nudged-at"

_KINDS = {"Deployment": DEPLOYMENTS, "Job": WORKER_JOBS}
_ROLES = {children.SIGNING: DEPLOYMENTS, children.RECORDS: WORKER_JOBS, children.KEYS: WORKER_JOBS}
_NO_RIGHT = re.compile(r"cannot \w+ resource")
"""In the answer to a request that no Role allows. Quotas and admission policies say something else."""
_NOT_FOUND, _CONFLICT, _FORBIDDEN, _INVALID, _INTERNAL, _TOO_NEW = 404, 409, 403, 422, 500, 504
# 500 is the answer to an unknown field, and when an admission webhook does not answer.
_REFUSALS = (400, _FORBIDDEN, _INVALID, _INTERNAL)


class KubernetesCluster:
    """The port `Cluster` on one API server.

    Args:
        api: sends the requests.
        namespaces: the namespaces to serve; those of which nothing is said here are all of them.
    """

    def __init__(self, api: KubeApi, namespaces: ServedNamespaces | None = None) -> None:
        self._api = api
        self.namespaces = namespaces or ServedNamespaces()
        self._events = Events(api)
        self._pod_events = PodEvents(api)
        self._mirror = Mirror()
        self._lists = Lists(api, self._mirror, self.namespaces)
        self._applied: dict[tuple[str, str, str], tuple[str, str, int]] = {}
        """For each child: the digest of the applied manifest, the UID of the object, and the resulting generation."""
        self._nudged: dict[tuple[str, str, str], float] = {}
        """When each child was last nudged, on the monotonic clock."""
        self._written: dict[JobKey, ObjectView] = {}
        """SigningJobs as they are since our last write, for the step that follows it."""

    # -- observation

    def saw(self, kind: str, change: str | None, body: Body) -> JobKey | None:
        """Handles an event of a watch; returns the SigningJob to reconcile, if the event is news."""
        if not self.namespaces.serves(body["metadata"]["namespace"]):
            return None  # its watch is being stopped
        return self._mirror.saw(kind, change, body)

    async def resync(self, *, only_unsure: bool = False) -> set[JobKey]:
        """Lists all watched objects; returns the SigningJobs with changes that the watches had not delivered.

        Args:
            only_unsure: list only namespaces that were lost or selected since, or that are suspected of being lost.

        Raises:
            KubeError, UnreachableError: the lists can't be read.
        """
        news = await self._lists.read(only_unsure=only_unsure)
        kept: tuple[dict[tuple[str, str, str], Any], ...] = (self._applied, self._nudged)
        for each in kept:  # of children that left with a SigningJob whose finalizer somebody took off
            for place in [place for place in each if self._mirror.child(*place) is None]:
                del each[place]
        return news

    async def find_left(self, names: Collection[str]) -> set[JobKey]:
        """Finds namespaces that are no longer to be served and have SigningJobs; returns these. See `Lists.find_left`."""
        return await self._lists.find_left(names)

    def overdue(self) -> dict[str, str]:
        """Returns which changes, by namespace, no watch has delivered that the previous `resync` saw."""
        late: dict[str, list[str]] = {}
        for kind in WATCHED:
            for namespace, count in self._mirror.overdue(kind).items():
                if not self.namespaces.serves(namespace):
                    continue  # it is not watched
                late.setdefault(namespace, []).append(f"{counted(count, 'change')} of {kind}")
        return {namespace: ", ".join(changes) for namespace, changes in late.items()}

    def jobs(self) -> set[JobKey]:
        """Returns all known SigningJobs."""
        return self._mirror.jobs()

    async def get(self, namespace: str, name: str, *, known: ObjectView | None = None) -> ObjectView | None:
        entry = self._mirror.child(JOBS, namespace, name)
        for view in (self._written.pop((namespace, name), None), known):
            if view is not None and entry is not None and view.resource_version == str(entry.version):
                return view
        try:
            body = await self._read(path_of(JOBS, namespace, name), entry.version if entry else None)
        except KubeError as error:
            if error.status == _NOT_FOUND or (
                error.status == _FORBIDDEN and self.namespaces.why_lost(namespace)
            ):
                self._mirror.forget(JOBS, namespace, name)
                return None
            raise
        metadata = body.get("metadata") or {}
        if (body.get("kind"), metadata.get("namespace"), metadata.get("name")) != (KIND, namespace, name):
            return None  # a name from an object of somebody else
        self._mirror.wrote(JOBS, body)
        return view_of(body)

    async def _read(self, path: str, version: int | None) -> KubeJson:
        """Reads an object that is at least as new as a version: from the API server's cache, and not from etcd."""
        if version is not None:
            try:
                return await self._api.get(path, resourceVersion=str(version))
            except KubeError as error:
                if error.status != _TOO_NEW:  # the cache is behind, or etcd was restored
                    raise
        return await self._api.get(path)

    def lost(self, namespace: str) -> tuple[str, float]:
        return self.namespaces.why_lost(namespace), self.namespaces.lost_for(namespace)

    async def children(self, owner: Owner) -> ChildrenView:
        if self.namespaces.why_lost(owner.namespace):
            return ChildrenView()  # the mirror may still know some, but nobody updates it
        return await self._pod_events.explain(owner, self._mirror.children(owner))

    # -- children

    async def apply(self, manifest: Manifest) -> None:
        kind, metadata = _KINDS[manifest["kind"]], manifest["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        place = (kind, namespace, name)
        known = self._mirror.child(*place)
        digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        if known is not None and known.leaving:
            return  # its deletion triggers a reconcile, which creates it again
        if known is not None and self._applied.get(place) == (digest, known.uid, known.generation):
            return
        path = path_of(kind, namespace, name)
        if known is None or known.owner_uid != metadata["labels"][children.UID_LABEL]:
            await self._require_ours(path, manifest)
        try:
            body = await self._api.patch(path, manifest, APPLY, fieldManager=CONTROLLER, force="true")
        except KubeError as error:
            if error.status == _INVALID and manifest["kind"] == "Job" and "immutable" in error.message:
                raise ConflictError from None  # another operator has created it in the meantime, with another image
            refusal = _refusal(error)
            if error.status == _FORBIDDEN and _NO_RIGHT.search(error.message):
                self.namespaces.suspect(namespace)
            if known is not None and kind == DEPLOYMENTS and isinstance(refusal, Refusal):
                await self._set_count(path, manifest["spec"]["replicas"])
            raise refusal from None
        self._mirror.wrote(kind, body)
        self._applied[place] = (digest, body["metadata"]["uid"], body["metadata"].get("generation", 0))

    async def _set_count(self, path: str, replicas: int) -> None:
        """Tries to set only a Deployment's replicas, so that scaling works even while its new template is refused."""
        try:
            body = await self._api.patch(
                path, {"spec": {"replicas": replicas}}, MERGE_PATCH, fieldManager=CONTROLLER
            )
        except KubeError as error:
            log.debug("can't set the replicas either: %s", error.message)
        else:
            self._mirror.wrote(DEPLOYMENTS, body)

    async def _require_ours(self, path: str, manifest: Manifest) -> None:
        """Checks that an existing object of that name belongs to this job."""
        try:
            body = await self._api.get(path)
        except KubeError as error:
            if error.status == _NOT_FOUND:
                return
            raise
        wanted = manifest["metadata"]["ownerReferences"][0]["uid"]
        if not any(ref["uid"] == wanted for ref in body["metadata"].get("ownerReferences") or ()):
            if "deletionTimestamp" in body["metadata"]:
                raise ConflictError
            raise Refusal("it belongs to something else.", not_ours=True)

    async def delete_child(self, owner: Owner, role: str) -> None:
        kind, name = _ROLES[role], child_name(owner, role)
        known = self._mirror.child(kind, owner.namespace, name)
        self._applied.pop((kind, owner.namespace, name), None)
        self._nudged.pop((kind, owner.namespace, name), None)
        if known is None or known.leaving or known.owner_uid != owner.uid:
            return
        await self._delete(kind, owner.namespace, name, uid=known.uid)

    async def nudge(self, owner: Owner, role: str) -> None:
        # Controllers process an object that has changed at once, however long they would have waited. The controller of
        # Deployments copies annotations to the ReplicaSet, whose controller creates pods.
        place = (_ROLES[role], owner.namespace, child_name(owner, role))
        now = time.monotonic()
        if now - self._nudged.get(place, -NUDGE_SECONDS) < 0.9 * NUDGE_SECONDS:
            return
        self._nudged[place] = now
        body = {"metadata": {"annotations": {NUDGED: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}}}
        try:
            await self._api.patch(
                path_of(*place), body, MERGE_PATCH, brief=OBJECT_METADATA, fieldManager=CONTROLLER
            )
        except KubeError as error:
            log.debug("can't nudge %s %s: %s", place[0], place[2], error.message)

    async def _delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        # Foreground: it is gone only when its pods are, so its replacement never runs beside them.
        options: KubeJson = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
        try:
            body = await self._api.delete(path_of(kind, namespace, name), options)
        except KubeError as error:
            if error.status not in (_NOT_FOUND, _CONFLICT):
                raise
            self._mirror.forget(kind, namespace, name)
            return
        if body.get("kind") in _KINDS:
            self._mirror.wrote(kind, body)

    async def mark_idle(self, owner: Owner, busy: Collection[str]) -> None:
        await mark_idle(self._api, owner, busy)

    # -- the SigningJob itself

    async def set_finalizer(self, job: ObjectView, *, present: bool) -> None:
        others = [name for name in job.finalizers if name != FINALIZER]
        wanted = [*others, FINALIZER] if present else others
        body = {"metadata": {"resourceVersion": job.resource_version, "finalizers": wanted}}
        path = path_of(JOBS, job.owner.namespace, job.owner.name)
        metadata = await self._write(path, body, MERGE_PATCH)
        if metadata is not None and present:
            written = replace(newer_view(job, metadata), finalizers=tuple(wanted))
            self._written[job.owner.namespace, job.owner.name] = written

    async def write_status(self, job: ObjectView, status: JobStatus) -> ObjectView:
        if not is_news(job.status, status):
            return job
        path = path_of(JOBS, job.owner.namespace, job.owner.name, "status")
        patch: list[KubeJson] = [
            {"op": "add", "path": "/metadata/resourceVersion", "value": job.resource_version},
            {"op": "add", "path": "/status", "value": status.dump()},
        ]
        metadata = await self._write(path, patch, JSON_PATCH)
        return job if metadata is None else replace(newer_view(job, metadata), status=status)

    async def delete_object(self, job: ObjectView) -> None:
        options = {"propagationPolicy": "Background", "preconditions": {"uid": job.owner.uid}}
        try:
            await self._api.delete(path_of(JOBS, job.owner.namespace, job.owner.name), options)
        except KubeError as error:
            if error.status not in (_NOT_FOUND, _CONFLICT):
                raise

    async def _write(self, path: str, patch: KubeJson | list[KubeJson], content_type: str) -> KubeJson | None:
        """Patches a SigningJob; returns its metadata, or None if it was deleted; its watch then triggers a reconcile.

        The patch names the version that it changes, so the rest of the object is known: it may be large.
        """
        try:
            body = await self._api.patch(
                path, patch, content_type, brief=OBJECT_METADATA, fieldManager=CONTROLLER
            )
        except KubeError as error:
            if error.status == _CONFLICT:
                raise ConflictError from None
            if error.status == _NOT_FOUND:
                return None
            raise
        self._mirror.wrote(JOBS, body)
        return dict(body["metadata"])

    async def record_event(self, owner: Owner, statement: Statement) -> bool:
        if self.namespaces.why_lost(owner.namespace):
            return False
        return await self._events.record(owner, statement)


def _refusal(error: KubeError) -> Exception:
    if error.status == _CONFLICT:
        return ConflictError()
    if error.status in _REFUSALS:
        return Refusal(error.message)
    return error
