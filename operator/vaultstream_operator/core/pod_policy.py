"""Which settings a spec may request for its pods, and which the operator's administrator must allow first. Pure.

A user who may create SigningJobs may not be allowed to create pods. So no field of the spec may use the operator's
privileges to reach what its author could not reach. The reasons are in docs/adr/0010.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from vaultstream.api import PodShape, SigningJobSpec
from vaultstream_operator.core.pods import WorkerOptions

_RESERVED_DOMAINS: Final = ("kubernetes.io", "k8s.io", "vaultstream.dev")
_RESERVED_NAMES: Final = frozenset(
    {"pod-template-hash", "controller-revision-hash", "controller-uid", "job-name"}
)
_ACROSS_NAMESPACES: Final = ("namespaces", "namespaceSelector")
_EVERY_TAINT: Final = "every taint"


def refused(spec: SigningJobSpec, options: WorkerOptions) -> str:
    """Returns which setting of the spec for pods is not allowed, as a clause with a full stop; empty if all of them are allowed."""
    return _of_pods("spec.workers", spec.workers, options) or _of_pods("spec.signer", spec.signer, options)


def _of_pods(where: str, shape: PodShape, options: WorkerOptions) -> str:
    return (
        _names(f"{where}.podLabels", "labels", shape.pod_labels, options.allowed_pod_labels)
        or _names(
            f"{where}.podAnnotations", "annotations", shape.pod_annotations, options.allowed_pod_annotations
        )
        or _priority_class(where, shape.priority_class_name, options.allowed_priority_classes)
        or _tolerations(where, shape.tolerations, options.allowed_tolerations)
        or _affinity(where, shape.affinity)
    )


def _names(field: str, what: str, given: Iterable[str], allowed: Sequence[str]) -> str:
    for name in sorted(given):
        if _reserved(name):
            return f"{field}: {name} is reserved for Kubernetes or VaultStream."
        if not _matches(name, allowed):
            return (
                f"{field}: {name} is not one of the {what} in the operator's "
                f"VAULTSTREAM_WORKER_ALLOWED_{'POD_LABELS' if what == 'labels' else 'POD_ANNOTATIONS'}."
            )
    return ""


def _priority_class(where: str, name: str | None, allowed: Sequence[str]) -> str:
    if not name or _matches(name, allowed):
        return ""
    return (
        f"{where}.priorityClassName: {name} is not one of the classes in the operator's "
        "VAULTSTREAM_WORKER_ALLOWED_PRIORITY_CLASSES."
    )


def _tolerations(where: str, given: Iterable[Mapping[str, Any]], allowed: Sequence[str]) -> str:
    for toleration in given:
        key = str(toleration.get("key") or "")
        if not (_matches(key, allowed) if key else "*" in allowed):
            return (
                f"{where}.tolerations: {key or _EVERY_TAINT} is not one of the taints in the operator's "
                "VAULTSTREAM_WORKER_ALLOWED_TOLERATIONS."
            )
    return ""


def _affinity(where: str, affinity: Mapping[str, Any]) -> str:
    """Allows affinity within the namespace only: affinity to pods elsewhere could also keep those off a node."""
    for path, value in _walk(affinity):
        if path[-1] in _ACROSS_NAMESPACES and value is not None:
            field = ".".join((where, "affinity", *path))
            return f"{field} refers to pods of other namespaces, which is not allowed."
    return ""


def _walk(value: Any, path: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield (*path, name), inner
            yield from _walk(inner, (*path, name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _walk(inner, path)


def _reserved(name: str) -> bool:
    domain, slash, _ = name.rpartition("/")
    if not slash:
        return name in _RESERVED_NAMES
    return any(domain == reserved or domain.endswith(f".{reserved}") for reserved in _RESERVED_DOMAINS)


def _matches(name: str, allowed: Sequence[str]) -> bool:
    return any(
        pattern in ("*", name) or (pattern.endswith("/*") and name.startswith(pattern[:-1]))
        for pattern in allowed
    )
