"""The Kubernetes objects that belong to a job: its keys worker, its records worker, and its signers.

Pure functions that return manifests for server-side apply. A manifest contains only the fields that the operator sets.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from vaultstream.api import SigningJobSpec
from vaultstream.api.signingjob import API_VERSION, KIND
from vaultstream_operator.core.pods import (
    KEYS,
    RECORDS,
    SIGNING,
    Manifest,
    WorkerOptions,
    fingerprint,
    pod_template,
)

__all__ = ["KEYS", "RECORDS", "SIGNING", "Manifest", "Owner", "WorkerOptions"]

JOB_LABEL = "vaultstream.dev/job"
UID_LABEL = "vaultstream.dev/job-uid"
TOKEN_LABEL = "vaultstream.dev/token"  # noqa: S105 - the job's name in Postgres and NATS
TENANT_LABEL = "vaultstream.dev/tenant"
"""Set where namespaces are tenants. Pods are replaced when their namespace becomes one, because their logins change."""
ROLE_LABEL = "app.kubernetes.io/component"
TEMPLATE_ANNOTATION: Final = "vaultstream.dev/template"
"""Annotation of a worker's Kubernetes Job: the fingerprint of the pod template that it was created with."""

DELETED_ARGUMENT: Final = "--deleted"
"""Of a records worker that seals the deletion of its job."""
_NEVER_GIVE_UP = 2**31 - 1
"""Backoff limit of a worker's Job: the cause of a failure can be fixed, and then the worker resumes by itself."""
_MOST_NAME = (
    63 - len("-signing") - len("-0123456789-01234")
)  # a pod's name is a host's name and must not be cut


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
    """Returns the name of a job's child. A name that is too long or has dots is changed, and the uid makes it unique."""
    stem = owner.name.replace(".", "-")
    if stem != owner.name or len(stem) > _MOST_NAME:
        stem = f"{stem[: _MOST_NAME - 9].rstrip('-')}-{owner.uid[:8]}"
    return f"{stem}-{role}"


def labels(owner: Owner, role: str, token: str, tenants: Collection[str] = ()) -> dict[str, str]:
    """Returns the labels of a child and its pods: Kubernetes' recommended ones, and the job's."""
    return {
        "app.kubernetes.io/name": "vaultstream",
        "app.kubernetes.io/managed-by": "vaultstream-operator",
        "app.kubernetes.io/part-of": "vaultstream",
        ROLE_LABEL: role,
        JOB_LABEL: owner.name[:63].rstrip("-."),
        TOKEN_LABEL: token,
        UID_LABEL: owner.uid,
        **({TENANT_LABEL: owner.namespace} if owner.namespace in tenants else {}),
    }


def selector(owner: Owner, role: str) -> dict[str, str]:
    """Returns the labels that select a job's pods of one role and no others."""
    return {UID_LABEL: owner.uid, ROLE_LABEL: role}


def worker_job(owner: Owner, role: str, token: str, spec: SigningJobSpec, options: WorkerOptions) -> Manifest:
    """Returns the Kubernetes Job that runs a keys or records worker until the signing job has ended."""
    template = _template(owner, role, token, spec, options, restart="OnFailure")
    return _job(owner, role, token, options, template)


def deletion_job(owner: Owner, token: str, spec: SigningJobSpec, options: WorkerOptions) -> Manifest:
    """Returns the Kubernetes Job in which a records worker seals that the signing job was deleted. It has the name of the other one."""
    arguments = (DELETED_ARGUMENT,)
    template = _template(owner, RECORDS, token, spec, options, restart="OnFailure", arguments=arguments)
    return _job(owner, RECORDS, token, options, template)


def _job(owner: Owner, role: str, token: str, options: WorkerOptions, template: Manifest) -> Manifest:
    metadata = _metadata(owner, role, token, options)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata | {"annotations": {TEMPLATE_ANNOTATION: fingerprint(template)}},
        "spec": {"backoffLimit": _NEVER_GIVE_UP, "template": template},
    }


def template_of(manifest: Manifest) -> str:
    """Returns the fingerprint that a worker's Kubernetes Job carries; empty: something else created it."""
    return str((manifest["metadata"].get("annotations") or {}).get(TEMPLATE_ANNOTATION, ""))


def signing_deployment(
    owner: Owner, token: str, spec: SigningJobSpec, options: WorkerOptions, *, replicas: int
) -> Manifest:
    """Returns the Deployment of a job's signers, with the count that was decided."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(owner, SIGNING, token, options),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": selector(owner, SIGNING)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"},
            },
            "template": _template(owner, SIGNING, token, spec, options, restart="Always"),
        },
    }


def _metadata(owner: Owner, role: str, token: str, options: WorkerOptions) -> Manifest:
    return {
        "name": child_name(owner, role),
        "namespace": owner.namespace,
        # A policy that requires labels may ask for them here too.
        "labels": {**options.shape.pod_labels, **labels(owner, role, token)},
        "ownerReferences": [owner.reference],
    }


def _template(
    owner: Owner,
    role: str,
    token: str,
    spec: SigningJobSpec,
    options: WorkerOptions,
    *,
    restart: str,
    arguments: tuple[str, ...] = (),
) -> Manifest:
    return pod_template(
        role,
        token,
        spec,
        options,
        labels=labels(owner, role, token, options.tenants),
        selector=selector(owner, role),
        restart=restart,
        arguments=arguments,
    )
