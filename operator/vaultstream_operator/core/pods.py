"""The pods of a job's workers: their command, environment and volumes, and the Secrets that they use.

Pure functions of a job and the settings. Each role has its own credentials, because each has its own privileges.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from vaultstream.api import SigningJobSpec
from vaultstream.role import WorkerRole
from vaultstream_operator.core.shapes import ShapedPod, WorkerShape, pod_shape

Manifest = dict[str, Any]

KEYS, RECORDS, SIGNING = WorkerRole.KEYS.value, WorkerRole.RECORDS.value, WorkerRole.SIGNING.value

CREDENTIALS: Final = {
    "DATABASE_URL": "database-url",
    "VAULTSTREAM_NATS_URL": "nats-url",
    "VAULTSTREAM_NATS_USER": "nats-user",
    "VAULTSTREAM_NATS_PASSWORD": "nats-password",
}
"""From each variable of a worker to the key of its role's Secret."""

SOURCE_CREDENTIALS: Final = {"VAULTSTREAM_SOURCE_DATABASE_URL": "source-database-url"}
"""The same of the workers that read records, by a login without privileges in VaultStream's schema."""

OPTIONAL_KEYS: Final = frozenset({"nats-user", "nats-password"})
"""Keys of a Secret that can be missing: a login of NATS may be a key or a certificate."""

OWN_VARIABLES: Final = frozenset(
    {
        *CREDENTIALS,
        *SOURCE_CREDENTIALS,
        "PGSSLROOTCERT",
        "VAULTSTREAM_CREDENTIALS_DIR",
        "VAULTSTREAM_CREDENTIALS_SECRET",
        "VAULTSTREAM_DRAIN_SECONDS",
        "VAULTSTREAM_KEK_FILE",
        "VAULTSTREAM_LAST_WORDS_FILE",
        "VAULTSTREAM_LOG_FORMAT",
        "VAULTSTREAM_LOG_LEVEL",
        "VAULTSTREAM_METRICS_PORT",
        "VAULTSTREAM_NATS_CA_FILE",
        "VAULTSTREAM_NATS_REPLICAS",
        "VAULTSTREAM_REVOCATIONS_FILE",
        "VAULTSTREAM_SEALS_DIR",
        "VAULTSTREAM_SEAL_KEY_FILE",
    }
)
"""Variables that only this module sets."""

_CREDENTIALS_FOLDER: Final = "/etc/vaultstream/credentials"
_KEK_FOLDER: Final = "/etc/vaultstream/kek"
_CA_FOLDER: Final = "/etc/vaultstream/ca"
_REVOCATIONS_FOLDER: Final = "/etc/vaultstream/revocations"
_REVOCATIONS_KEY: Final = "revocations"
_SEAL_KEY_FOLDER: Final = "/etc/vaultstream/seal-key"
_SEAL_KEY: Final = "seal-key"
_LAST_WORDS_FILE: Final = "/tmp/last-words.json"  # noqa: S108 - in a volume of the pod's own, which outlives its container
_SEALS_FOLDER: Final = "/tmp/seals"  # noqa: S108 - in a volume of the pod's own, which outlives its container


class WorkerOptions(Protocol):
    """The operator's settings that affect pods."""

    @property
    def image(self) -> str: ...
    @property
    def image_pull_policy(self) -> str: ...
    @property
    def image_pull_secrets(self) -> Sequence[str]: ...
    @property
    def service_account(self) -> str: ...
    @property
    def secret_prefix(self) -> str: ...
    @property
    def kek_secret(self) -> str: ...
    @property
    def revocations_config_map(self) -> str: ...
    @property
    def seal_key_secret(self) -> str: ...
    @property
    def ca_secret(self) -> str: ...
    @property
    def nats_replicas(self) -> str: ...
    @property
    def extra_env(self) -> Mapping[str, str]: ...
    @property
    def log_level(self) -> str: ...
    @property
    def metrics_port(self) -> int: ...
    @property
    def grace_seconds(self) -> int: ...
    @property
    def pre_stop_seconds(self) -> int: ...
    @property
    def drain_seconds(self) -> int: ...
    @property
    def tenants(self) -> Sequence[str]: ...
    @property
    def shape(self) -> WorkerShape: ...
    @property
    def allowed_pod_labels(self) -> Sequence[str]: ...
    @property
    def allowed_pod_annotations(self) -> Sequence[str]: ...
    @property
    def allowed_priority_classes(self) -> Sequence[str]: ...
    @property
    def allowed_tolerations(self) -> Sequence[str]: ...


def credentials(role: str) -> dict[str, str]:
    """Returns the variables of a role that come from its Secret, each with its key."""
    return CREDENTIALS | (SOURCE_CREDENTIALS if role in (RECORDS, SIGNING) else {})


def credentials_secret(role: str, options: WorkerOptions) -> str:
    """Returns the name of the Secret with a role's credentials."""
    return f"{options.secret_prefix}-{role}"


def mounted_secrets(role: str, options: WorkerOptions) -> dict[str, tuple[str, ...]]:
    """Returns the Secrets that pods of a role mount, with the keys that they need: without them no container starts."""
    found: dict[str, tuple[str, ...]] = {}
    if role in (KEYS, SIGNING):
        found[options.kek_secret] = ("kek",)
    if options.ca_secret:
        found[options.ca_secret] = (*found.get(options.ca_secret, ()), "ca.crt")
    return found


def needed_secrets(role: str, options: WorkerOptions) -> dict[str, tuple[str, ...]]:
    """Returns all Secrets that pods of a role need, with their keys."""
    mounted, own = mounted_secrets(role, options), credentials_secret(role, options)
    return mounted | {own: (*credentials(role).values(), *mounted.get(own, ()))}


def fingerprint(template: Manifest) -> str:
    """Returns a hash that identifies a pod template."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]


def pod_template(
    role: str,
    token: str,
    spec: SigningJobSpec,
    options: WorkerOptions,
    *,
    labels: Mapping[str, str],
    selector: Mapping[str, str],
    restart: str,
    arguments: Sequence[str] = (),
) -> Manifest:
    """Returns the template of a role's pods.

    Args:
        role: keys, records or signing.
        token: token of the job.
        spec: spec of the job; its `signer` affects only signers.
        options: the operator's settings.
        labels: that every pod of the role carries. They win over those of the spec.
        selector: the labels that select these pods and no others.
        restart: the pod's restart policy.
        arguments: of the worker, after the token.
    """
    shape = pod_shape(role, spec, options.shape)
    metadata: Manifest = {"labels": {**shape.pod_labels, **labels}}
    if shape.pod_annotations:
        metadata["annotations"] = dict(shape.pod_annotations)
    pod: Manifest = {
        "restartPolicy": restart,
        "serviceAccountName": options.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # the addresses of a namespace's Services are no worker's business
        "terminationGracePeriodSeconds": options.grace_seconds,
        "securityContext": dict(options.shape.pod_security_context),
        "containers": [_container(role, token, shape, options, arguments)],
        "volumes": _volumes(role, options),
    }
    if options.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in options.image_pull_secrets]
    spread = spec.signer.topology_spread_constraints if role == SIGNING else ()
    pod |= _placement(shape, spread, selector)
    return {"metadata": metadata, "spec": pod}


def _placement(
    shape: ShapedPod, spread: Sequence[Mapping[str, Any]], selector: Mapping[str, str]
) -> Manifest:
    placement: Manifest = {
        "nodeSelector": dict(shape.node_selector),
        "tolerations": list(shape.tolerations),
        "affinity": dict(shape.affinity),
        "topologySpreadConstraints": [
            {"labelSelector": {"matchLabels": dict(selector)}, **constraint} for constraint in spread
        ],
        "priorityClassName": shape.priority_class_name,
    }
    return {key: value for key, value in placement.items() if value}


def _volumes(role: str, options: WorkerOptions) -> list[Manifest]:
    volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}]
    volumes.append(_credentials_volume(credentials_secret(role, options)))
    if role in (KEYS, SIGNING):
        volumes.append(_secret_volume("kek", options.kek_secret, "kek", mode=0o440))
        volumes.append(_revocations_volume(options.revocations_config_map))
    if role == RECORDS:
        # Without the Secret the job is not sealed, and signs all the same.
        volumes.append(
            _secret_volume("seal-key", options.seal_key_secret, _SEAL_KEY, mode=0o440, optional=True)
        )
    if options.ca_secret:
        volumes.append(_secret_volume("ca", options.ca_secret, "ca.crt", mode=0o444))
    return volumes


def _secret_volume(name: str, secret: str, key: str, *, mode: int, optional: bool = False) -> Manifest:
    """Returns a volume with only one key of a Secret: the Secret of an authority may also contain its private key."""
    items = [{"key": key, "path": key}]
    source: Manifest = {"secretName": secret, "defaultMode": mode, "items": items}
    return {"name": name, "secret": source | ({"optional": True} if optional else {})}


def _credentials_volume(secret: str) -> Manifest:
    """Returns the volume with a role's credentials, which are read at each connect. The variables from the same Secret are what a pod
    starts with: where one is missing, the kubelet says so at once, and which.
    """
    return {"name": "credentials", "secret": {"secretName": secret, "defaultMode": 0o440, "optional": True}}


def _revocations_volume(name: str) -> Manifest:
    """Returns the volume with the file of revocations. Without the ConfigMap, which people make, it is empty: nothing is revoked."""
    items = [{"key": _REVOCATIONS_KEY, "path": _REVOCATIONS_KEY}]
    source = {"name": name, "optional": True, "defaultMode": 0o444, "items": items}
    return {"name": "revocations", "configMap": source}


def _container(
    role: str, token: str, shape: ShapedPod, options: WorkerOptions, arguments: Sequence[str]
) -> Manifest:
    mounts: list[Manifest] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a volume of the pod's own
    mounts.append({"name": "credentials", "mountPath": _CREDENTIALS_FOLDER, "readOnly": True})
    if role in (KEYS, SIGNING):
        mounts.append({"name": "kek", "mountPath": _KEK_FOLDER, "readOnly": True})
        # As a whole folder: the kubelet updates no single file that is mounted by itself.
        mounts.append({"name": "revocations", "mountPath": _REVOCATIONS_FOLDER, "readOnly": True})
    if role == RECORDS:
        mounts.append({"name": "seal-key", "mountPath": _SEAL_KEY_FOLDER, "readOnly": True})
    if options.ca_secret:
        mounts.append({"name": "ca", "mountPath": _CA_FOLDER, "readOnly": True})
    container: Manifest = {
        "name": "worker",
        "image": options.image,
        "imagePullPolicy": options.image_pull_policy,
        "args": ["worker", role, token, *arguments],
        "env": _environment(role, options),
        "ports": [{"name": "metrics", "containerPort": options.metrics_port}],
        "resources": dict(shape.resources),
        "volumeMounts": mounts,
        "securityContext": dict(options.shape.security_context),
        # The last log lines of a worker say why it stopped. The status of the SigningJob reports them.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    lifecycle: Manifest = {}
    if not arguments:
        container |= _probes()
        # The kubelet probes a container as soon as it runs, before its process listens, and writes an Event if that is refused.
        # The worker works meanwhile: whether it is ready is only reported.
        lifecycle["postStart"] = {"sleep": {"seconds": 1}}
    if options.pre_stop_seconds:
        # The worker is process 1 of its container, and the kernel delivers to it no signal that it does not handle yet.
        # A worker that is deleted while it starts would miss SIGTERM, fetch batches, and be killed with them in flight.
        # So SIGTERM is delayed until a starting worker handles it; a running one keeps working until then.
        lifecycle["preStop"] = {"sleep": {"seconds": options.pre_stop_seconds}}
    if lifecycle:
        container["lifecycle"] = lifecycle
    return container


def _probes() -> Manifest:
    """Returns the probes of a worker. One that only seals a deletion ends by itself within seconds, and serves nothing to probe.

    The kubelet asks for readiness once a container runs, and the answer waits for a worker that starts. A startup probe would
    come first, up to a second later, and the kubelet asks for readiness only when it has looked through the pod and its volumes once
    more. It would protect a slow start from the liveness probe, which therefore comes later.
    """
    probe = {"path": "/livez", "port": "metrics"}
    return {
        "livenessProbe": {
            "httpGet": probe,
            "initialDelaySeconds": 60,
            "periodSeconds": 10,
            "failureThreshold": 3,
            "timeoutSeconds": 5,
        },
        "readinessProbe": {
            "httpGet": {**probe, "path": "/readyz?wait"},
            "periodSeconds": 5,
            "timeoutSeconds": 10,
        },
    }


def _environment(role: str, options: WorkerOptions) -> list[Manifest]:
    secret = credentials_secret(role, options)
    plain = {
        "VAULTSTREAM_CREDENTIALS_DIR": _CREDENTIALS_FOLDER,
        "VAULTSTREAM_CREDENTIALS_SECRET": secret,
        "VAULTSTREAM_DRAIN_SECONDS": str(options.drain_seconds),
        "VAULTSTREAM_LAST_WORDS_FILE": _LAST_WORDS_FILE,
        "VAULTSTREAM_LOG_FORMAT": "json",
        "VAULTSTREAM_LOG_LEVEL": options.log_level,
        "VAULTSTREAM_METRICS_PORT": str(options.metrics_port),
    }
    if role in (KEYS, SIGNING):
        plain["VAULTSTREAM_KEK_FILE"] = f"{_KEK_FOLDER}/kek"
        plain["VAULTSTREAM_REVOCATIONS_FILE"] = f"{_REVOCATIONS_FOLDER}/{_REVOCATIONS_KEY}"
    if role == RECORDS:
        plain["VAULTSTREAM_SEAL_KEY_FILE"] = f"{_SEAL_KEY_FOLDER}/{_SEAL_KEY}"
        plain["VAULTSTREAM_SEALS_DIR"] = _SEALS_FOLDER
    if role in (KEYS, RECORDS):  # who makes the streams
        plain["VAULTSTREAM_NATS_REPLICAS"] = options.nats_replicas
    if options.ca_secret:
        plain |= dict.fromkeys(("VAULTSTREAM_NATS_CA_FILE", "PGSSLROOTCERT"), f"{_CA_FOLDER}/ca.crt")
    return [
        *(_from_secret(variable, secret, key) for variable, key in credentials(role).items()),
        *({"name": name, "value": value} for name, value in plain.items()),
        *({"name": name, "value": value} for name, value in sorted(options.extra_env.items())),
    ]


def _from_secret(variable: str, secret: str, key: str) -> Manifest:
    source: Manifest = {"name": secret, "key": key}
    if key in OPTIONAL_KEYS:
        source["optional"] = True
    return {"name": variable, "valueFrom": {"secretKeyRef": source}}
