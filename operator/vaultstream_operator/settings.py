"""Settings of the operator, from its environment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class WorkerSettings(BaseSettings):
    """What the operator puts into the pods of its jobs. It names Secrets; it never reads them."""

    model_config = SettingsConfigDict(env_prefix="VAULTSTREAM_WORKER_", env_ignore_empty=True, frozen=True)

    image: str = "vaultstream:dev"
    image_pull_policy: str = "IfNotPresent"
    service_account: str = "vaultstream-worker"
    database_secret: str = "vaultstream-database"  # noqa: S105 - a Secret's name
    """Secret whose key `url` is the workers' DATABASE_URL."""
    nats_secret: str = "vaultstream-nats"  # noqa: S105 - a Secret's name
    """Secret with the keys `url`, `user` and `password` of NATS."""
    kek_secret: str = "vaultstream-kek"  # noqa: S105 - a Secret's name
    """Secret whose key `kek` is the file of key-encryption keys; only keys workers and signers mount it."""
    grace_seconds: Annotated[int, Field(ge=5, le=3600)] = 60
    """From SIGTERM to SIGKILL: a signer finishes its batches in hand."""
    metrics_port: Annotated[int, Field(ge=1, le=65535)] = 8080


class OperatorSettings(BaseSettings):
    """How the operator finds its services, and how often it looks."""

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True, populate_by_name=True)

    database_url: Annotated[SecretStr, Field(alias="DATABASE_URL")]
    nats_url: Annotated[str, Field(alias="VAULTSTREAM_NATS_URL")]
    nats_user: Annotated[str, Field(alias="VAULTSTREAM_NATS_USER")] = "vaultstream"
    nats_password: Annotated[SecretStr, Field(alias="VAULTSTREAM_NATS_PASSWORD")] = SecretStr("")
    namespaces: Annotated[str, Field(alias="VAULTSTREAM_NAMESPACES")] = ""
    """Namespaces to watch, separated by commas; empty: all."""
    http_port: Annotated[int, Field(alias="VAULTSTREAM_OPERATOR_PORT", ge=0, le=65535)] = 8080
    """Port of metrics and health checks; 0: any free one."""
    kubeconfig: Annotated[str, Field(alias="KUBECONFIG")] = ""
    """Outside of a cluster: the path of a kubeconfig."""
    worker: WorkerSettings = WorkerSettings()

    @property
    def watched(self) -> list[str]:
        """The namespaces to watch; empty: all."""
        return [name.strip() for name in self.namespaces.split(",") if name.strip()]
