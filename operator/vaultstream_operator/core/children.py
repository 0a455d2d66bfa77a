"""The Kubernetes objects that belong to a job: its keys worker, its records worker, and its signers.

Pure: from a job and the settings to manifests for server-side apply. A manifest holds only what the operator decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from vaultstream.api import SigningJobSpec

Manifest = dict[str, Any]

API_VERSION = "vaultstream.dev/v1alpha1"
KIND = "SigningJob"
JOB_LABEL = "vaultstream.dev/job"
UID_LABEL = "vaultstream.dev/job-uid"
ROLE_LABEL = "app.kubernetes.io/component"

KEYS, RECORDS, SIGNING = "keys", "records", "signing"

_KEK_FOLDER = "/etc/vaultstream/kek"
_USER = 65532
_NEVER_GIVE_UP = 2**31 - 1
"""Starts of a worker's pod. What it fails for can be mended, and then it goes on by itself."""
_MOST_NAME = (
    63 - len("-signing") - len("-0123456789-01234")
)  # a pod's name is a host's name and must not be cut


class WorkerOptions(Protocol):
    """What of the operator's settings goes into pods."""

    @property
    def image(self) -> str: ...

    @property
    def image_pull_policy(self) -> str: ...

    @property
    def service_account(self) -> str: ...

    @property
    def database_secret(self) -> str: ...

    @property
    def nats_secret(self) -> str: ...

    @property
    def kek_secret(self) -> str: ...

    @property
    def grace_seconds(self) -> int: ...

    @property
    def metrics_port(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Owner:
    """The SigningJob that children belong to."""

    namespace: str
    name: str
    uid: str

    @property
    def reference(self) -> Manifest:
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def child_name(owner: Owner, role: str) -> str:
    """Returns the name of a job's child. A name that is too long or has dots is changed, and told apart by the uid."""
    stem = owner.name.replace(".", "-")
    if stem != owner.name or len(stem) > _MOST_NAME:
        stem = f"{stem[: _MOST_NAME - 9].rstrip('-')}-{owner.uid[:8]}"
    return f"{stem}-{role}"


def labels(owner: Owner, role: str) -> dict[str, str]:
    """Returns the labels of a child: Kubernetes' recommended ones, and the job's."""
    return {
        "app.kubernetes.io/name": "vaultstream",
        "app.kubernetes.io/managed-by": "vaultstream-operator",
        "app.kubernetes.io/part-of": "vaultstream",
        ROLE_LABEL: role,
        JOB_LABEL: owner.name[:63].rstrip("-."),
        UID_LABEL: owner.uid,
    }


def selector(owner: Owner, role: str) -> dict[str, str]:
    """Returns the labels that tell a job's pods of one role from all others."""
    return {UID_LABEL: owner.uid, ROLE_LABEL: role}


def worker_job(owner: Owner, role: str, token: str, spec: SigningJobSpec, options: WorkerOptions) -> Manifest:
    """Returns the Kubernetes Job that runs a keys or records worker until the signing job has ended."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(owner, role),
        "spec": {
            "backoffLimit": _NEVER_GIVE_UP,
            "template": _pod(owner, role, token, spec, options, restart="OnFailure"),
        },
    }


def signing_deployment(
    owner: Owner, token: str, spec: SigningJobSpec, options: WorkerOptions, *, replicas: int
) -> Manifest:
    """Returns the Deployment of a job's signers, with the count that was decided."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(owner, SIGNING),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": selector(owner, SIGNING)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
            },
            "template": _pod(owner, SIGNING, token, spec, options, restart="Always"),
        },
    }


def _metadata(owner: Owner, role: str) -> Manifest:
    return {
        "name": child_name(owner, role),
        "namespace": owner.namespace,
        "labels": labels(owner, role),
        "ownerReferences": [owner.reference],
    }


def _pod(
    owner: Owner, role: str, token: str, spec: SigningJobSpec, options: WorkerOptions, *, restart: str
) -> Manifest:
    signer = spec.signer
    unwraps = role in (KEYS, SIGNING)
    own_labels = dict(signer.pod_labels) if role == SIGNING else {}
    annotations = dict(signer.pod_annotations) if role == SIGNING else {}
    pod: Manifest = {
        "restartPolicy": restart,
        "serviceAccountName": options.service_account,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": options.grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(role, token, spec, options)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }
    if unwraps:
        pod["volumes"].append(
            {
                "name": "kek",
                "secret": {
                    "secretName": options.kek_secret,
                    "defaultMode": 0o440,
                    "items": [{"key": "kek", "path": "kek"}],
                },
            }
        )
    if role == SIGNING:
        placement: Mapping[str, Any] = {
            "nodeSelector": dict(signer.node_selector),
            "tolerations": list(signer.tolerations),
            "affinity": dict(signer.affinity),
            "topologySpreadConstraints": [
                {"labelSelector": {"matchLabels": selector(owner, SIGNING)}, **constraint}
                for constraint in signer.topology_spread_constraints
            ],
            "priorityClassName": signer.priority_class_name,
        }
        pod |= {key: value for key, value in placement.items() if value}
    template: Manifest = {"metadata": {"labels": {**own_labels, **labels(owner, role)}}, "spec": pod}
    if annotations:
        template["metadata"]["annotations"] = annotations
    return template


def _container(role: str, token: str, spec: SigningJobSpec, options: WorkerOptions) -> Manifest:
    probe = {"path": "/livez", "port": "metrics"}
    mounts: list[Manifest] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a volume of the pod's own
    env: list[Manifest] = [
        _from_secret("DATABASE_URL", options.database_secret, "url"),
        _from_secret("VAULTSTREAM_NATS_URL", options.nats_secret, "url"),
        _from_secret("VAULTSTREAM_NATS_USER", options.nats_secret, "user"),
        _from_secret("VAULTSTREAM_NATS_PASSWORD", options.nats_secret, "password"),
        {"name": "VAULTSTREAM_LOG_FORMAT", "value": "json"},
        {"name": "VAULTSTREAM_METRICS_PORT", "value": str(options.metrics_port)},
    ]
    if role in (KEYS, SIGNING):
        mounts.append({"name": "kek", "mountPath": _KEK_FOLDER, "readOnly": True})
        env.append({"name": "VAULTSTREAM_KEK_FILE", "value": f"{_KEK_FOLDER}/kek"})
    return {
        "name": "worker",
        "image": options.image,
        "imagePullPolicy": options.image_pull_policy,
        "args": ["worker", role, token],
        "env": env,
        "ports": [{"name": "metrics", "containerPort": options.metrics_port}],
        "resources": _resources(role, spec),
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": {"httpGet": probe, "periodSeconds": 2, "failureThreshold": 60},
        "livenessProbe": {"httpGet": probe, "periodSeconds": 10, "failureThreshold": 3, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": {**probe, "path": "/readyz"}, "periodSeconds": 5},
    }


def _resources(role: str, spec: SigningJobSpec) -> Manifest:
    if role == SIGNING and spec.signer.resources:
        return dict(spec.signer.resources)
    cpu, memory = ("500m", "256Mi") if role == SIGNING else ("50m", "128Mi")
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def _from_secret(variable: str, secret: str, key: str) -> Manifest:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
