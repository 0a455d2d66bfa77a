"""How the pods of a job's workers are shaped: by the administrator for all jobs, then by the job, then by its signers' settings.

Pure. Labels, annotations and node selectors add up by name, tolerations add up, and the rest is replaced by who is nearer to the pod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field

from vaultstream.api import PodShape, SigningJobSpec
from vaultstream.api.base import JsonObject
from vaultstream.api.pods import amount
from vaultstream.role import WorkerRole

_SIGNING: Final = WorkerRole.SIGNING.value
_USER: Final = 65532


def _restricted_pod() -> JsonObject:
    return {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "fsGroup": _USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _restricted_container() -> JsonObject:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


class WorkerShape(PodShape):
    """The administrator's settings of the pods of all workers."""

    pod_security_context: JsonObject = Field(default_factory=_restricted_pod)
    """The pods' security context. No job can change it."""
    security_context: JsonObject = Field(default_factory=_restricted_container)
    """The containers' security context. No job can change it."""


@dataclass(frozen=True, slots=True)
class ShapedPod:
    """The sum of all settings of a role's pods. Each was validated; together they may have more entries than one alone may."""

    resources: Mapping[str, Any]
    node_selector: Mapping[str, str]
    tolerations: Sequence[Mapping[str, Any]]
    affinity: Mapping[str, Any]
    priority_class_name: str | None
    pod_labels: Mapping[str, str]
    pod_annotations: Mapping[str, str]


def pod_shape(role: str, spec: SigningJobSpec, shape: WorkerShape) -> ShapedPod:
    """Returns how the pods of a role are shaped.

    Args:
        role: keys, records or signing.
        spec: spec of the job.
        shape: the administrator's settings.
    """
    layers = _layers(role, spec, shape)
    tolerations: list[Any] = []
    for layer in layers:
        tolerations += [each for each in layer.tolerations if each not in tolerations]
    return ShapedPod(
        resources=_resources(role, spec, shape),
        node_selector=_added_up([layer.node_selector for layer in layers]),
        tolerations=tuple(tolerations),
        affinity=next((layer.affinity for layer in reversed(layers) if layer.affinity), {}),
        priority_class_name=next(
            (layer.priority_class_name for layer in reversed(layers) if layer.priority_class_name), None
        ),
        pod_labels=_added_up([layer.pod_labels for layer in layers]),
        pod_annotations=_added_up([layer.pod_annotations for layer in layers]),
    )


def signer_mebibytes(spec: SigningJobSpec) -> int:
    """Returns the default memory of a signer's pod, in MiB.

    A signer reads payloads in portions of 16 MiB. A payload that is longer is read alone; the driver copies it three times.
    """
    payload = -(-spec.records.max_payload_bytes // 1024**2)
    return 256 + 4 * max(0, payload - 16)


def _layers(role: str, spec: SigningJobSpec, shape: WorkerShape) -> list[PodShape]:
    return [shape, spec.workers, *([spec.signer] if role == _SIGNING else [])]


def _added_up(layers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {name: value for layer in layers for name, value in layer.items()}


def _resources(role: str, spec: SigningJobSpec, shape: WorkerShape) -> JsonObject:
    """Returns the resources of a role's container. `spec.signer.resources` leaves none of the defaults."""
    signing = role == _SIGNING
    cpu, memory = ("500m", f"{signer_mebibytes(spec)}Mi") if signing else ("50m", "128Mi")
    defaults: JsonObject = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}
    layers = [layer.resources for layer in _layers(role, spec, shape)]
    if not signing:
        return _overlaid([defaults, *layers])
    own = layers.pop()
    if own:
        return _overlaid([*layers, own])
    return _overlaid([defaults, *(_with_enough_memory(layer, memory) for layer in layers)])


def _with_enough_memory(resources: Mapping[str, Any], least: str) -> JsonObject:
    """Returns resources without amounts of memory that are too little for the payloads that a signer reads."""
    return {
        kind: {
            name: value
            for name, value in (amounts or {}).items()
            if name != "memory" or amount(value) >= amount(least)
        }
        for kind, amounts in resources.items()
    }


def _overlaid(layers: Sequence[Mapping[str, Any]]) -> JsonObject:
    """Returns resources in which the last layer that names an amount decides it, and no request exceeds its limit."""
    found: dict[str, dict[str, tuple[int, Any]]] = {"requests": {}, "limits": {}}
    for rank, layer in enumerate(layers):
        for kind, amounts in layer.items():
            found[kind] |= {name: (rank, value) for name, value in (amounts or {}).items()}
    requests, limits = found["requests"], found["limits"]
    for name in requests.keys() & limits.keys():
        if amount(requests[name][1]) > amount(limits[name][1]):
            requests[name] = limits[name] = max(requests[name], limits[name], key=lambda each: each[0])
    return {
        kind: {name: value for name, (_, value) in amounts.items()}
        for kind, amounts in found.items()
        if amounts
    }
