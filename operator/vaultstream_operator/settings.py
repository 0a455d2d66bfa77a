"""Settings of the operator, read from its environment."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from vaultstream.credentials import DATABASE_FILE, CredentialFiles, UrlSource
from vaultstream.environment import given_by_environment
from vaultstream.errors import UsageError
from vaultstream_operator.core.pods import OWN_VARIABLES
from vaultstream_operator.core.shapes import WorkerShape

MARGIN_SECONDS: Final = 5
"""Time between the end of a drain and SIGKILL, to close connections and allow for clock skew."""
LEAST_DRAIN_SECONDS: Final = 5

_PREFIX: Final = "VAULTSTREAM_WORKER_"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _listed(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _variables(value: object) -> object:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError('it must be a JSON object such as {"NAME": "value"}') from None
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError("it must be a JSON object whose values are strings")
    for name in value:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is not a valid name of a variable")
        if name in OWN_VARIABLES:
            raise ValueError(f"{name} is reserved: the operator sets it")
    return value


def _shape(value: object) -> object:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError(
                'it must be a JSON object such as {"nodeSelector": {"pool": "signing"}}'
            ) from None
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""Comma-separated names."""


class WorkerSettings(BaseModel):
    """Settings of the jobs' pods. The operator refers to Secrets by name; it never reads them."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    image: str = "vaultstream:dev"
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: Names = ()
    service_account: str = "vaultstream-worker"
    secret_prefix: str = "vaultstream"  # noqa: S105 - a prefix of Secrets' names
    """Prefix of the Secrets `<prefix>-keys`, `<prefix>-records` and `<prefix>-signing`: each role's credentials, in the
    entries `database-url`, `nats-url`, `nats-user` and `nats-password`; for the last two `source-database-url` too."""
    kek_secret: str = "vaultstream-kek"  # noqa: S105 - a Secret's name
    """Secret whose entry `kek` is the file of key-encryption keys. Only keys workers and signers mount it."""
    revocations_config_map: str = "vaultstream-revocations"
    """ConfigMap whose entry `revocations` is the file of revocations. Keys workers and signers mount it, if it exists."""
    seal_key_secret: str = "vaultstream-seal-key"  # noqa: S105 - a Secret's name
    """Secret whose entry `seal-key` is the file of the seal key. Only records workers mount it, if it exists."""
    ca_secret: str = ""
    """Secret whose entry `ca.crt` is the CA of the certificates of Postgres and NATS; empty for none."""
    extra_env: Annotated[dict[str, str], BeforeValidator(_variables)] = Field(default_factory=dict)
    """Additional environment variables of the workers, as a JSON object. They must not be secret."""
    nats_replicas: Literal["1", "3", "5"] = "1"
    """Minimum number of replicas of each stream, on as many servers of a NATS cluster."""
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    metrics_port: Annotated[int, Field(ge=1, le=65535)] = 8080

    grace_seconds: Annotated[int, Field(ge=10, le=7200)] = 60
    """Time from a pod's deletion to SIGKILL: `pre_stop_seconds`, then the drain, then a margin."""
    pre_stop_seconds: Annotated[int, Field(ge=0, le=60)] = 5
    """Time from a pod's deletion to SIGTERM: at least as long as a worker needs to install its signal handler."""

    tenants: Annotated[Names, Field(validation_alias="VAULTSTREAM_TENANTS")] = ()
    """Namespaces that are tenants: only logins of its own see a tenant's jobs, and it has an account of its own in NATS."""

    shape: Annotated[WorkerShape, BeforeValidator(_shape)] = Field(default_factory=WorkerShape)
    """How all pods are shaped, as a JSON object with the fields of `spec.workers`, and with `podSecurityContext` and
    `securityContext`."""

    allowed_pod_labels: Names = ()
    """Labels that `podLabels` of `spec.workers` and `spec.signer` may set: names, `prefix/*`, or `*` for all. None by default."""
    allowed_pod_annotations: Names = ()
    """Annotations that `podAnnotations` may set, in the same form."""
    allowed_priority_classes: Names = ()
    """Priority classes that `priorityClassName` may name, in the same form."""
    allowed_tolerations: Names = ()
    """Taints that `tolerations` may name, in the same form."""

    @property
    def drain_seconds(self) -> int:
        """Time after SIGTERM in which a signer finishes its batches in flight. It returns the rest to the queue."""
        return self.grace_seconds - self.pre_stop_seconds - MARGIN_SECONDS

    @model_validator(mode="after")
    def _leaves_time_to_drain(self) -> Self:
        if self.drain_seconds < LEAST_DRAIN_SECONDS:
            least = self.pre_stop_seconds + MARGIN_SECONDS + LEAST_DRAIN_SECONDS
            raise ValueError(
                f"VAULTSTREAM_WORKER_GRACE_SECONDS must be at least {least}, so that a worker has "
                f"{LEAST_DRAIN_SECONDS} s to finish its batches in flight"
            )
        return self


class OperatorSettings(BaseModel):
    """Settings of the operator's own process and services."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    database_url: Annotated[SecretStr, Field(alias="DATABASE_URL")]
    credentials_dir: Annotated[Path | None, Field(alias="VAULTSTREAM_CREDENTIALS_DIR")] = None
    """Folder with a file for each credential, read again at each connect; see the setting of workers."""
    nats_url: Annotated[str, Field(alias="VAULTSTREAM_NATS_URL")]
    nats_user: Annotated[str, Field(alias="VAULTSTREAM_NATS_USER")] = "vaultstream"
    nats_password: Annotated[SecretStr, Field(alias="VAULTSTREAM_NATS_PASSWORD")] = SecretStr("")
    nats_ca_file: Annotated[Path | None, Field(alias="VAULTSTREAM_NATS_CA_FILE")] = None
    """File with the CA of the certificate of NATS. Without it, a URL with `tls://` trusts the system's CAs."""
    namespaces: Annotated[str, Field(alias="VAULTSTREAM_NAMESPACES")] = ""
    """Comma-separated namespaces to watch. If this and the selector are empty, all are watched."""
    namespace_selector: Annotated[str, Field(alias="VAULTSTREAM_NAMESPACE_SELECTOR")] = ""
    """Label selector of more namespaces to watch, as in `kubectl get -l`."""
    http_port: Annotated[int, Field(alias="VAULTSTREAM_OPERATOR_PORT", ge=0, le=65535)] = 8080
    """Port of metrics and health checks; 0 for any free port."""
    lease: Annotated[
        str, Field(alias="VAULTSTREAM_LEASE", pattern=r"^([a-z0-9.-]{1,63}/[a-z0-9.-]{1,253})?$")
    ] = ""
    """Namespace and name, as in `vaultstream/vaultstream-operator`, of the Lease by which several operators elect the one that
    works. Empty: this is the only operator."""
    pod_name: Annotated[str, Field(alias="VAULTSTREAM_POD_NAME")] = ""
    """The name of the operator's pod, which holds the Lease. Empty: a name of the process."""
    kubeconfig: Annotated[str, Field(alias="KUBECONFIG")] = ""
    """Path of a kubeconfig, for an operator outside of the cluster."""
    worker: WorkerSettings = Field(default_factory=WorkerSettings)

    @property
    def database(self) -> UrlSource:
        """The connection string of Postgres, as it is at each connect."""
        files, given = CredentialFiles(self.credentials_dir), self.database_url.get_secret_value()
        return partial(files.text, DATABASE_FILE, given) if files.folder else given

    @property
    def watched(self) -> list[str]:
        """The namespaces to watch by name."""
        return [name.strip() for name in self.namespaces.split(",") if name.strip()]


def load_operator_settings() -> OperatorSettings:
    """Reads the operator's settings from its environment.

    Raises:
        UsageError: a setting is missing or invalid; the message names the variable.
    """
    try:
        worker = load_worker_settings()
        return OperatorSettings.model_validate({**given_by_environment(OperatorSettings), "worker": worker})
    except ValidationError as error:
        raise _explained(error) from None


def load_worker_settings() -> WorkerSettings:
    """Reads the settings of the jobs' pods from the operator's environment.

    Raises:
        ValidationError: a setting is invalid.
    """
    return WorkerSettings.model_validate(given_by_environment(WorkerSettings, prefix=_PREFIX))


def _explained(error: ValidationError) -> UsageError:
    first: Any = error.errors(include_input=False, include_url=False)[0]
    why = str(first["msg"]).removeprefix("Value error, ")
    name = ".".join(str(part) for part in first["loc"])
    if error.title == WorkerSettings.__name__:
        name = f"{_PREFIX}{name.upper()}"
    if not first["loc"]:
        return UsageError(f"{why}.", hint="Set it in the environment of the operator.")
    return UsageError(
        f"The setting {name} is invalid: {why}.", hint=f"Set {name} in the environment of the operator."
    )
