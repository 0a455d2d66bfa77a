"""Settings of the operator, from its environment."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from vaultstream.errors import UsageError
from vaultstream_operator.core.pods import OWN_VARIABLES

MARGIN_SECONDS: Final = 5
"""Between the end of a drain and SIGKILL: for closing connections, and for clocks that differ."""
LEAST_DRAIN_SECONDS: Final = 5

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
        raise ValueError("it must be a JSON object whose values are text")
    for name in value:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a variable")
        if name in OWN_VARIABLES:
            raise ValueError(f"{name} is set by the operator itself")
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
"""Names separated by commas."""


class WorkerSettings(BaseSettings):
    """What the operator puts into the pods of its jobs. It names Secrets; it never reads them."""

    model_config = SettingsConfigDict(env_prefix="VAULTSTREAM_WORKER_", env_ignore_empty=True, frozen=True)

    image: str = "vaultstream:dev"
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: Names = ()
    service_account: str = "vaultstream-worker"
    secret_prefix: str = "vaultstream"  # noqa: S105 - how Secrets are named
    """The Secrets `<prefix>-keys`, `<prefix>-records` and `<prefix>-signing` hold each role's own credentials, under
    the keys `database-url`, `nats-url`, `nats-user` and `nats-password`."""
    kek_secret: str = "vaultstream-kek"  # noqa: S105 - a Secret's name
    """Secret whose key `kek` is the file of key-encryption keys; only keys workers and signers mount it."""
    ca_secret: str = ""
    """Secret whose key `ca.crt` is the authority that Postgres' and NATS' certificates are from; empty: none."""
    extra_env: Annotated[dict[str, str], NoDecode, BeforeValidator(_variables)] = Field(default_factory=dict)
    """More variables for the workers, as a JSON object; none of them is a secret."""
    nats_replicas: Literal["1", "3", "5"] = "1"
    """Servers of a NATS cluster that the workers keep each stream on, at least."""
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    metrics_port: Annotated[int, Field(ge=1, le=65535)] = 8080

    grace_seconds: Annotated[int, Field(ge=10, le=7200)] = 60
    """From a pod's deletion to SIGKILL: `pre_stop_seconds`, then the drain, then a margin."""
    pre_stop_seconds: Annotated[int, Field(ge=0, le=60)] = 5
    """From a pod's deletion to SIGTERM: at least as long as a worker takes from its start until it listens."""

    allowed_pod_labels: Names = ()
    """Labels that `spec.signer.podLabels` may give to signers: names, `prefix/*`, or `*` for all. None by default."""
    allowed_pod_annotations: Names = ()
    """Likewise for `spec.signer.podAnnotations`."""
    allowed_priority_classes: Names = ()
    """Likewise for `spec.signer.priorityClassName`."""
    allowed_tolerations: Names = ()
    """Likewise for the taints that `spec.signer.tolerations` may name."""

    @property
    def drain_seconds(self) -> int:
        """From SIGTERM on, a signer finishes its batches in hand for so long; the rest it gives back."""
        return self.grace_seconds - self.pre_stop_seconds - MARGIN_SECONDS

    @model_validator(mode="after")
    def _leaves_time_to_drain(self) -> Self:
        if self.drain_seconds < LEAST_DRAIN_SECONDS:
            least = self.pre_stop_seconds + MARGIN_SECONDS + LEAST_DRAIN_SECONDS
            raise ValueError(
                f"VAULTSTREAM_WORKER_GRACE_SECONDS must be at least {least}, so that a worker has "
                f"{LEAST_DRAIN_SECONDS} s to finish what it has in hand"
            )
        return self


class OperatorSettings(BaseSettings):
    """How the operator finds its services, and how often it looks."""

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True, populate_by_name=True)

    database_url: Annotated[SecretStr, Field(alias="DATABASE_URL")]
    nats_url: Annotated[str, Field(alias="VAULTSTREAM_NATS_URL")]
    nats_user: Annotated[str, Field(alias="VAULTSTREAM_NATS_USER")] = "vaultstream"
    nats_password: Annotated[SecretStr, Field(alias="VAULTSTREAM_NATS_PASSWORD")] = SecretStr("")
    nats_ca_file: Annotated[Path | None, Field(alias="VAULTSTREAM_NATS_CA_FILE")] = None
    """The authority that NATS' certificate is from; without it, a URL with `tls://` trusts those of the system."""
    namespaces: Annotated[str, Field(alias="VAULTSTREAM_NAMESPACES")] = ""
    """Namespaces to watch, separated by commas; empty: all."""
    http_port: Annotated[int, Field(alias="VAULTSTREAM_OPERATOR_PORT", ge=0, le=65535)] = 8080
    """Port of metrics and health checks; 0: any free one."""
    kubeconfig: Annotated[str, Field(alias="KUBECONFIG")] = ""
    """Outside of a cluster: the path of a kubeconfig."""
    worker: WorkerSettings = Field(default_factory=WorkerSettings)

    @property
    def watched(self) -> list[str]:
        """The namespaces to watch; empty: all."""
        return [name.strip() for name in self.namespaces.split(",") if name.strip()]


def load_operator_settings() -> OperatorSettings:
    """Reads the operator's settings from its environment.

    Raises:
        UsageError: one is missing or out of bounds; the message names the variable.
    """
    try:
        return OperatorSettings(worker=WorkerSettings())
    except ValidationError as error:
        raise _explained(error) from None


def _explained(error: ValidationError) -> UsageError:
    first: Any = error.errors(include_input=False, include_url=False)[0]
    why = str(first["msg"]).removeprefix("Value error, ")
    name = ".".join(str(part) for part in first["loc"])
    if error.title == WorkerSettings.__name__:
        name = f"VAULTSTREAM_WORKER_{name.upper()}"
    if not first["loc"]:
        return UsageError(f"{why}.", hint="Set it in the environment of the operator.")
    return UsageError(
        f"The setting {name} can't be used: {why}.", hint=f"Set {name} in the environment of the operator."
    )
