"""A cache of the operator's objects: watches update it, lists repair it, and the operator's own writes keep it current.

Pure bookkeeping. It detects a watch that died silently: lists then show changes that the watch never delivered.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vaultstream.api.signingjob import KIND
from vaultstream_operator.adapters.ailing import Body, of_deployment, of_pod, of_worker_job
from vaultstream_operator.core import children
from vaultstream_operator.core.children import Owner, child_name
from vaultstream_operator.core.pod_problems import Ailment, Cause
from vaultstream_operator.core.view import ChildrenView, SignersView, WorkerJobView

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")

JobKey = tuple[str, str]
"""Namespace and name of a SigningJob."""

_FINGERPRINT = 128
"""More characters than a fingerprint of ours has: what others wrote in its place is not kept."""

_MOST_NAMES = 600

JOBS, DEPLOYMENTS, WORKER_JOBS, PODS = "signingjobs", "deployments", "jobs", "pods"


@dataclass(frozen=True, slots=True)
class MirrorEntry:
    """One object, reduced to what decisions depend on: this saves memory, and irrelevant changes trigger nothing."""

    kind: str
    namespace: str
    name: str
    uid: str
    version: int
    generation: int
    key: JobKey
    owner_uid: str
    role: str
    leaving: bool
    digest: Any
    """The relevant part. A change of anything else is ignored."""


class Mirror:
    """The latest known state of SigningJobs, their children and pods."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str, str], MirrorEntry] = {}
        self._by_owner: dict[tuple[str, str], set[tuple[str, str, str]]] = {}
        """By namespace and UID: in another namespace, anyone may write that UID into a label."""
        self._watched: dict[tuple[str, str, str], int] = {}
        self._suspects: dict[tuple[str, str, str], int] = {}

    def saw(self, kind: str, change: str | None, body: Body) -> JobKey | None:
        """Handles an event of a watch; returns the SigningJob to reconcile, if the event is news.

        Args:
            kind: the plural of the resource.
            change: ADDED, MODIFIED, DELETED, or None for an object of the watch's initial list.
            body: the object.
        """
        entry = read_entry(kind, body)
        if entry is None:
            return None
        place = _place(entry)
        if change == "DELETED":
            self._watched.pop(place, None)
            self._suspects.pop(place, None)
            known = self._entries.get(place)
            if known is not None and known.uid == entry.uid:
                self._drop(place)
            return self._key(entry)
        self._watched[place] = max(entry.version, self._watched.get(place, 0))
        return self._take(entry)

    def wrote(self, kind: str, body: Body) -> None:
        """Stores the answer to one of our own writes, so that the next reconcile does not see the older state."""
        if (entry := read_entry(kind, body)) is not None:
            self._take(entry)

    def listed(
        self, kind: str, entries: Iterable[MirrorEntry], namespaces: Iterable[str], version: int
    ) -> set[JobKey]:
        """Merges a complete list of a kind; returns the SigningJobs with changes that no watch has delivered.

        Args:
            kind: the plural of the resource.
            entries: what `read_entry` returns of the objects.
            namespaces: the namespaces that were listed; empty for all.
            version: the list's resource version. Objects written later can be missing from the list and still exist.
        """
        news: set[JobKey] = set()
        within = set(namespaces)
        present = {_place(entry): entry for entry in entries}
        for entry in present.values():
            if (key := self._take(entry)) is not None:
                news.add(key)
        for place, entry in list(self._entries.items()):
            listed = (
                place[0] == kind and entry.version <= version and (not within or entry.namespace in within)
            )
            if listed and place not in present:
                self._drop(place)
                self._watched.pop(place, None)
                news.add(self._key(entry))
        return news

    def overdue(self, kind: str) -> Counter[str]:
        """Returns the number of changes, by namespace, that were known at the last call and that no watch has delivered since."""
        late = Counter(
            place[1]
            for place, version in self._suspects.items()
            if place[0] == kind and place in self._entries and self._watched.get(place, 0) < version
        )
        kept = {place: version for place, version in self._suspects.items() if place[0] != kind}
        behind = {
            place: entry.version
            for place, entry in self._entries.items()
            if place[0] == kind and self._watched.get(place, 0) < entry.version
        }
        self._suspects = kept | behind
        return late

    def jobs(self) -> set[JobKey]:
        """Returns all known SigningJobs."""
        return {entry.key for entry in self._entries.values() if entry.kind == JOBS}

    def jobs_of(self, namespace: str) -> set[JobKey]:
        """Returns the known SigningJobs of a namespace."""
        return {key for key in self.jobs() if key[0] == namespace}

    def child(self, kind: str, namespace: str, name: str) -> MirrorEntry | None:
        """Returns a known object, or None."""
        return self._entries.get((kind, namespace, name))

    def forget(self, kind: str, namespace: str, name: str) -> None:
        """Removes an object that does not exist."""
        self._drop((kind, namespace, name))

    def children(self, owner: Owner) -> ChildrenView:
        """Returns the children of a SigningJob by role.

        A child must have the expected name, namespace and owner. Labels are not enough: anyone can set them.
        """
        signing = self._child(owner, DEPLOYMENTS, children.SIGNING)
        return ChildrenView(
            keys=self._worker_job(owner, children.KEYS),
            records=self._worker_job(owner, children.RECORDS),
            signing=None if signing is None else self._signers(signing),
        )

    def _child(self, owner: Owner, kind: str, role: str) -> MirrorEntry | None:
        entry = self._entries.get((kind, owner.namespace, child_name(owner, role)))
        return entry if entry is not None and entry.owner_uid == owner.uid else None

    def _signers(self, entry: MirrorEntry) -> SignersView:
        replicas, ready, generation, refused = entry.digest
        problem = self._problem(entry, refused)
        pods = self._pods_of(entry)
        return SignersView(
            replicas, ready, problem, len(pods), generation, _unplaced(pods, replicas, refused)
        )

    def _worker_job(self, owner: Owner, role: str) -> WorkerJobView | None:
        entry = self._child(owner, WORKER_JOBS, role)
        if entry is None:
            return None
        active, failed, succeeded, template, unmade = entry.digest
        problem = self._problem(entry, unmade)
        return WorkerJobView(active, failed, succeeded, problem, template, leaving=entry.leaving)

    def _problem(self, child: MirrorEntry, own: Ailment | None) -> Ailment | None:
        """Returns the worst ailment of a child and its pods; deterministic among equals."""
        pods = sorted(self._pods_of(child), key=lambda entry: entry.name)
        found = [ailment for ailment in (own, *(pod.digest for pod in pods)) if ailment is not None]
        return min(found, key=lambda ailment: ailment.cause, default=None)

    def _pods_of(self, child: MirrorEntry) -> list[MirrorEntry]:
        return [entry for entry in self._of_same_owner(child) if _is_pod_of(entry, child)]

    def _of_same_owner(self, entry: MirrorEntry) -> Iterator[MirrorEntry]:
        owner = entry.namespace, entry.owner_uid
        return (self._entries[place] for place in self._by_owner.get(owner, ()))

    def _take(self, entry: MirrorEntry) -> JobKey | None:
        place = _place(entry)
        known = self._entries.get(place)
        if known is not None and known.uid == entry.uid and known.version >= entry.version:
            return None
        if known is not None and known.owner_uid != entry.owner_uid:
            self._drop(place)
        self._entries[place] = entry
        self._by_owner.setdefault((entry.namespace, entry.owner_uid), set()).add(place)
        same = known is not None and (known.uid, known.leaving, known.digest) == (
            entry.uid,
            entry.leaving,
            entry.digest,
        )
        return None if same else self._key(entry)

    def _key(self, entry: MirrorEntry) -> JobKey:
        """Returns the key of an entry's SigningJob: of the job itself if known, because a pod's label is cut to 63 characters."""
        return next((other.key for other in self._of_same_owner(entry) if other.kind == JOBS), entry.key)

    def _drop(self, place: tuple[str, str, str]) -> None:
        if (entry := self._entries.pop(place, None)) is not None:
            owner = entry.namespace, entry.owner_uid
            places = self._by_owner[owner]
            places.discard(place)
            if not places:
                del self._by_owner[owner]


def _unplaced(pods: list[MirrorEntry], replicas: int, refused: Ailment | None) -> int:
    """Returns how many pods are requested and have no node, or are not created because a quota refuses them."""
    staying = [pod for pod in pods if not pod.leaving]
    missing = max(0, replicas - len(staying)) if refused else 0
    return missing + sum(pod.digest is not None and pod.digest.cause is Cause.NO_NODE for pod in staying)


def read_entry(kind: str, body: Body) -> MirrorEntry | None:
    """Reduces an object to its entry; None if it belongs to no SigningJob, or can't be read. Others shape objects: none raises."""
    try:
        return _read_entry(kind, body)
    except Exception as error:  # noqa: BLE001 - one object must not hide the others
        _tell_once(kind, body, type(error).__name__)
        return None


_told: OrderedDict[int, None] = OrderedDict()
_MOST_TOLD = 10_000


def _tell_once(kind: str, body: Body, problem: str) -> None:
    """Logs that an object can't be read, the first time. Every list has it again."""
    metadata = body.get("metadata") if isinstance(body, Mapping) else None
    named = (
        [metadata.get(name) for name in ("namespace", "name", "uid")] if isinstance(metadata, Mapping) else []
    )
    said = hash((kind, problem, repr(named)[:_MOST_NAMES]))
    if said in _told:
        return
    _told[said] = None
    if len(_told) > _MOST_TOLD:
        _told.popitem(last=False)
    log.warning(
        "can't read an object of %s: %s", kind, problem, extra={"object": repr(named[:2])[:_MOST_NAMES]}
    )


def _read_entry(kind: str, body: Body) -> MirrorEntry | None:
    metadata = body["metadata"]
    namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
    if not all(isinstance(each, str) for each in (namespace, name, uid)):
        raise TypeError("names and UIDs are texts")
    labels = metadata.get("labels") or {}
    if kind == JOBS:
        key, owner_uid, role = (namespace, name), uid, ""
    else:
        owner_uid, role = _owner_uid(kind, metadata, labels), labels.get(children.ROLE_LABEL, "")
        if not owner_uid or not role:
            return None
        key = namespace, _job_name(metadata, labels)
        if not _NAME.fullmatch(key[1]):
            return None
    return MirrorEntry(
        kind=kind,
        namespace=namespace,
        name=name,
        uid=uid,
        version=int(metadata["resourceVersion"]),
        generation=metadata.get("generation", 0),
        key=key,
        owner_uid=owner_uid,
        role=role,
        leaving="deletionTimestamp" in metadata,
        digest=_DIGESTS[kind](body),
    )


def _owner_uid(kind: str, metadata: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Returns the UID of the owning SigningJob: from a pod's label, or from a child's owner reference."""
    if kind == PODS:
        return labels.get(children.UID_LABEL, "")
    references = metadata.get("ownerReferences") or ()
    return next((str(r["uid"]) for r in references if r.get("kind") == KIND), "")


def _job_name(metadata: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("kind") == KIND:
            return str(reference["name"])
    return labels.get(children.JOB_LABEL, "")


def _place(entry: MirrorEntry) -> tuple[str, str, str]:
    return entry.kind, entry.namespace, entry.name


def _is_pod_of(entry: MirrorEntry, child: MirrorEntry) -> bool:
    return entry.kind == PODS and entry.role == child.role


def _job_digest(body: Body) -> str:
    """Returns a digest: others may write a megabyte of annotations and finalizers, and a job that has changed is read again."""
    metadata = body["metadata"]
    relevant = [metadata.get(name) for name in ("generation", "finalizers", "annotations")]
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def _deployment_digest(body: Body) -> Any:
    status = body.get("status") or {}
    counts = body["spec"].get("replicas", 1), status.get("readyReplicas", 0)
    return (*counts, body["metadata"].get("generation", 1), of_deployment(body))


def _worker_job_digest(body: Body) -> Any:
    status = body.get("status") or {}
    counts = (status.get(name, 0) for name in ("active", "failed", "succeeded"))
    return (*counts, children.template_of(dict(body))[:_FINGERPRINT], of_worker_job(body))


_DIGESTS = {
    JOBS: _job_digest,
    DEPLOYMENTS: _deployment_digest,
    WORKER_JOBS: _worker_job_digest,
    PODS: of_pod,
}
