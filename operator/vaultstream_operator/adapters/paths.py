"""Paths of the operator's objects on a Kubernetes API server."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from vaultstream_operator.adapters.events import CONTROLLER
from vaultstream_operator.adapters.mirror import DEPLOYMENTS, JOBS, PODS, WORKER_JOBS
from vaultstream_operator.api.crd import GROUP, VERSION

MANAGED_BY_US: Final = f"app.kubernetes.io/managed-by={CONTROLLER}"

GROUPS: Final = {
    JOBS: f"/apis/{GROUP}/{VERSION}",
    DEPLOYMENTS: "/apis/apps/v1",
    WORKER_JOBS: "/apis/batch/v1",
    PODS: "/api/v1",
}
WATCHED: Final = tuple(GROUPS)


def path_of(kind: str, namespace: str = "", name: str = "", part: str = "") -> str:
    """Returns the path of all objects of a kind, of a namespace's, of one object, or of a subresource such as `status`."""
    steps = [GROUPS[kind], f"namespaces/{_quoted(namespace)}" if namespace else "", kind, _quoted(name), part]
    return "/".join(step for step in steps if step)


def _quoted(name: str) -> str:
    return quote(name, safe="")
