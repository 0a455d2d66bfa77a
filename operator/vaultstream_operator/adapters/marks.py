"""Marks on pods of signers, by which Kubernetes removes those first that hold no key.

Anybody who may create pods in a namespace can give them the labels of a job's, so they are read and marked a few at a time, and one
that can't be marked holds up nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any, Final

from vaultstream.plurals import counted
from vaultstream_operator.adapters.kube_api import (
    LIST_OF_METADATA,
    MERGE_PATCH,
    OBJECT_METADATA,
    KubeApi,
    KubeError,
    list_pages,
)
from vaultstream_operator.adapters.lists import LIST_PAGE
from vaultstream_operator.adapters.mirror import PODS
from vaultstream_operator.adapters.paths import MANAGED_BY_US, path_of
from vaultstream_operator.core import children
from vaultstream_operator.core.children import Owner

log = logging.getLogger(__name__)

DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
IDLE_COST: Final = "-100"
"""Lower than a pod's default (0): Kubernetes removes these pods first."""
MARKED_SECONDS: Final = 1.0
"""How long new marks come before the count is lowered: the ReplicaSet's controller reads pods and counts by separate watches."""
MOST_MARKED: Final = 2_000
"""Pods of one job that are looked at: more than its signers, which are 1,000 at most, and those of them that are ending."""

_NOT_FOUND: Final = 404
_REFUSALS: Final = (400, 403, 422)


async def mark_idle(api: KubeApi, owner: Owner, busy: Collection[str]) -> None:
    """Marks the signers of a job that hold no key, and unmarks the others; returns once the marks had time to be noticed.

    Args:
        api: sends the requests.
        owner: the job.
        busy: names of the pods that hold a key.

    Raises:
        KubeError, UnreachableError: the pods can't be listed, or the API server can't mark them now.
    """
    selector = f"{MANAGED_BY_US},{children.UID_LABEL}={owner.uid},{children.ROLE_LABEL}={children.SIGNING}"
    path = path_of(PODS, owner.namespace)
    news, refused, read = 0, 0, 0
    async for page in list_pages(
        api, path, brief=LIST_OF_METADATA, labelSelector=selector, limit=str(LIST_PAGE)
    ):
        pods = [pod["metadata"] for pod in page]
        answers = await asyncio.gather(
            *(_mark(api, owner.namespace, pod, idle=pod["name"] not in busy) for pod in pods)
        )
        read += len(pods)
        news += answers.count(True)
        refused += answers.count(None)
        if read >= MOST_MARKED:
            break
    if refused:
        log.warning(
            "can't mark %s of signers: the API server refuses it",
            counted(refused, "pod"),
            extra={"namespace": owner.namespace, "job": owner.name},
        )
    if news:
        await asyncio.sleep(MARKED_SECONDS)


async def _mark(api: KubeApi, namespace: str, pod: Mapping[str, Any], *, idle: bool) -> bool | None:
    """Marks or unmarks a pod; returns whether that changed it, None if the API server refuses."""
    cost = (pod.get("annotations") or {}).get(DELETION_COST)
    wanted = IDLE_COST if idle else None
    if cost == wanted or "deletionTimestamp" in pod:
        return False
    body = {"metadata": {"annotations": {DELETION_COST: wanted}}}
    try:
        await api.patch(path_of(PODS, namespace, pod["name"]), body, MERGE_PATCH, brief=OBJECT_METADATA)
    except KubeError as error:
        if error.status in _REFUSALS:
            return None
        if error.status != _NOT_FOUND:
            raise
        return False
    return True
