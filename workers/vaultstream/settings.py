"""Settings of every process, from the environment first, then from `.env` in the working directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from vaultstream.errors import UsageError


class Settings(BaseSettings):
    """What a process is told from outside; frozen once read. An empty value counts as not given."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    database_url: Annotated[SecretStr | None, Field(alias="DATABASE_URL")] = None
    nats_url: Annotated[str | None, Field(alias="VAULTSTREAM_NATS_URL")] = None
    nats_user: Annotated[str, Field(alias="VAULTSTREAM_NATS_USER")] = "vaultstream"
    nats_password: Annotated[SecretStr | None, Field(alias="VAULTSTREAM_NATS_PASSWORD")] = None
    nats_ca_file: Annotated[Path | None, Field(alias="VAULTSTREAM_NATS_CA_FILE")] = None
    """With it, or with a URL that begins with `tls://`, NATS is reached over TLS, its certificate and name verified."""
    nats_cert_file: Annotated[Path | None, Field(alias="VAULTSTREAM_NATS_CERT_FILE")] = None
    """Our own certificate, for a NATS that wants one."""
    nats_key_file: Annotated[Path | None, Field(alias="VAULTSTREAM_NATS_KEY_FILE")] = None
    nats_replicas: Annotated[int, Field(alias="VAULTSTREAM_NATS_REPLICAS")] = 1
    """Servers of a NATS cluster that each stream is kept on, at least: one of three may be away, two of five."""
    kek_file: Annotated[Path | None, Field(alias="VAULTSTREAM_KEK_FILE")] = None
    data_dir: Annotated[Path, Field(alias="VAULTSTREAM_DATA_DIR")] = Path(".vaultstream")
    log_level: Annotated[str, Field(alias="VAULTSTREAM_LOG_LEVEL")] = "info"
    log_format: Annotated[str, Field(alias="VAULTSTREAM_LOG_FORMAT", pattern="^(auto|json|text)$")] = "auto"

    metrics_port: Annotated[int | None, Field(alias="VAULTSTREAM_METRICS_PORT", ge=0, le=65535)] = None
    """A worker serves metrics and health here: not at all if it is not set, on any free port if it is 0."""
    metrics_host: Annotated[str, Field(alias="VAULTSTREAM_METRICS_HOST")] = "0.0.0.0"  # noqa: S104 - see below
    """All addresses by default: those who ask, a kubelet and Prometheus, come from outside. `::` for IPv6 as well."""

    lease_seconds: Annotated[float, Field(alias="VAULTSTREAM_LEASE_SECONDS", ge=0.5, le=3600)] = 30.0
    ack_wait_seconds: Annotated[float, Field(alias="VAULTSTREAM_ACK_WAIT_SECONDS", ge=0.5, le=3600)] = 30.0
    drain_seconds: Annotated[float | None, Field(alias="VAULTSTREAM_DRAIN_SECONDS", ge=1, le=7200)] = None
    """A signer told to leave finishes what it has in hand for so long, and gives the rest back. Not set: to its end."""
    max_outstanding: Annotated[int, Field(alias="VAULTSTREAM_MAX_OUTSTANDING", ge=1, le=100_000)] = 4096

    batch_size: Annotated[int, Field(alias="BATCH_SIZE", ge=1, le=20_000)] = 500
    total_records: Annotated[int, Field(alias="TOTAL_RECORDS", ge=0)] = 100_000
    total_keys: Annotated[int, Field(alias="TOTAL_KEYS", ge=1, le=10_000)] = 100
    max_signers: Annotated[int | None, Field(alias="MAX_SIGNERS", ge=1, le=256)] = None

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            raise ValueError("must be debug, info, warning or error")
        return value.lower()

    @field_validator("nats_replicas")
    @classmethod
    def _known_replicas(cls, value: int) -> int:
        if value not in {1, 3, 5}:
            raise ValueError("must be 1, 3 or 5")
        return value

    @property
    def embedded(self) -> bool:
        """Whether the embedded services are used: so it is unless both URLs are given."""
        return self.database_url is None or self.nats_url is None


def load_settings(**overrides: object) -> Settings:
    """Reads the settings; `overrides` (command-line flags, by field name) win over everything, None is not given.

    Raises:
        UsageError: a value is out of bounds; the message names the variable.
    """
    given = {Settings.model_fields[k].alias or k: v for k, v in overrides.items() if v is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"The setting {name} can't be used: {first['msg']}.",
            hint=f"Correct {name} in the environment, in .env or on the command line.",
        ) from None
