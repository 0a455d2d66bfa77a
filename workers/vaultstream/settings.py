"""Settings of every process: from the environment, and for commands else from `.env` in the working directory."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Le
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
)

from vaultstream.environment import given_by_environment
from vaultstream.errors import UsageError, shortened

if TYPE_CHECKING:
    from collections.abc import Container

    from vaultstream.env_file import EnvFile


def _names(value: object) -> object:
    return (
        tuple(name for part in value.split(",") if (name := part.strip()))
        if isinstance(value, str)
        else value
    )


MULTIBUFFER = "VAULTSTREAM_MULTIBUFFER"
_SHOWN = {MULTIBUFFER, "VAULTSTREAM_LOG_LEVEL", "VAULTSTREAM_LOG_FORMAT"}
"""Settings of words whose values an error shows."""

Tenants = Annotated[tuple[str, ...], BeforeValidator(_names)]
"""Comma-separated names."""


class Settings(BaseModel):
    """The settings of a process, immutable. `load_settings` reads them; without arguments, each has its default."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    database_url: Annotated[SecretStr | None, Field(alias="DATABASE_URL")] = None
    source_database_url: Annotated[SecretStr | None, Field(alias="VAULTSTREAM_SOURCE_DATABASE_URL")] = None
    """The same database under a login without privileges in the schema `vaultstream`, by which the records are read."""
    credentials_dir: Annotated[Path | None, Field(alias="VAULTSTREAM_CREDENTIALS_DIR")] = None
    """Folder with a file for each credential, which workers read again at each connect. A file takes precedence over its variable:
    `database-url`, `source-database-url`, `nats-url`, `nats-user`, `nats-password`. Besides: `nats-creds` or `nats-nkey`, a login of NATS
    by a key; `tls.crt` and `tls.key`, the client certificate for NATS."""
    nats_url: Annotated[str | None, Field(alias="VAULTSTREAM_NATS_URL")] = None
    nats_user: Annotated[str, Field(alias="VAULTSTREAM_NATS_USER")] = "vaultstream"
    nats_password: Annotated[SecretStr | None, Field(alias="VAULTSTREAM_NATS_PASSWORD")] = None
    nats_creds_file: Annotated[Path | None, Field(alias="VAULTSTREAM_NATS_CREDS_FILE")] = None
    """File of credentials (`.creds`), in place of user and password."""
    nats_nkey_file: Annotated[Path | None, Field(alias="VAULTSTREAM_NATS_NKEY_FILE")] = None
    """File with the seed of an nkey, in place of user and password."""
    nats_ca_file: Annotated[Path | None, Field(alias="VAULTSTREAM_NATS_CA_FILE")] = None
    """The connection to NATS uses TLS, and verifies its certificate and name, if this is set or the URL begins with `tls://`."""
    nats_cert_file: Annotated[Path | None, Field(alias="VAULTSTREAM_NATS_CERT_FILE")] = None
    """Client certificate, for a NATS that requires one."""
    nats_key_file: Annotated[Path | None, Field(alias="VAULTSTREAM_NATS_KEY_FILE")] = None
    nats_replicas: Annotated[int, Field(alias="VAULTSTREAM_NATS_REPLICAS")] = 1
    """Minimum number of servers of a NATS cluster that store each stream: 3 tolerate the loss of 1 server, 5 of 2."""
    tenants: Annotated[Tenants, Field(alias="VAULTSTREAM_TENANTS")] = ()
    """Namespaces with a NATS account of their own, whose streams `debug streams` and `doctor` show as well."""
    kek_file: Annotated[Path | None, Field(alias="VAULTSTREAM_KEK_FILE")] = None
    revocations_file: Annotated[Path | None, Field(alias="VAULTSTREAM_REVOCATIONS_FILE")] = None
    """Which keys were revoked, outside the database. Not set: `revocations` beside the file of key-encryption keys."""
    seal_key_file: Annotated[Path | None, Field(alias="VAULTSTREAM_SEAL_KEY_FILE")] = None
    """The key that signs checkpoints of logs. Not set: `seal-key` beside the file of key-encryption keys."""
    seals_dir: Annotated[Path | None, Field(alias="VAULTSTREAM_SEALS_DIR")] = None
    """Where plans, seals and checkpoints are copied to. Not set: `seals` beside the file of key-encryption keys."""
    seal_seconds: Annotated[float, Field(alias="VAULTSTREAM_SEAL_SECONDS", ge=1, le=86_400)] = 60.0
    """Seconds between two seals of a job that runs."""
    witnesses: Annotated[str | None, Field(alias="VAULTSTREAM_WITNESSES")] = None
    """Who cosigns checkpoints: a verifier key, a space and a URL each, separated by commas or lines."""
    timestamp_url: Annotated[str | None, Field(alias="VAULTSTREAM_TIMESTAMP_URL")] = None
    """An authority of timestamps (RFC 3161)."""
    timestamp_ca_file: Annotated[Path | None, Field(alias="VAULTSTREAM_TIMESTAMP_CA_FILE")] = None
    """File with the certificates that are trusted for it, in PEM."""
    timestamp_ca: Annotated[str | None, Field(alias="VAULTSTREAM_TIMESTAMP_CA")] = None
    """These certificates themselves, where there is no file."""
    data_dir: Annotated[Path, Field(alias="VAULTSTREAM_DATA_DIR")] = Path(".vaultstream")
    log_level: Annotated[str, Field(alias="VAULTSTREAM_LOG_LEVEL")] = "info"
    log_format: Annotated[str, Field(alias="VAULTSTREAM_LOG_FORMAT", pattern="^(auto|json|text)$")] = "auto"

    last_words_file: Annotated[Path | None, Field(alias="VAULTSTREAM_LAST_WORDS_FILE")] = None
    """File in which a worker in a pod notes why it left, so that it waits inside instead of leaving for the same reason
    again. The operator sets it."""
    metrics_port: Annotated[int | None, Field(alias="VAULTSTREAM_METRICS_PORT", ge=0, le=65535)] = None
    """Port on which a worker serves metrics and health. Not set: it does not serve them; 0: any free port."""
    metrics_host: Annotated[str, Field(alias="VAULTSTREAM_METRICS_HOST")] = "0.0.0.0"  # noqa: S104 - see below
    """All IPv4 addresses by default, because the kubelet and Prometheus connect from outside; `::` adds IPv6."""

    lease_seconds: Annotated[float, Field(alias="VAULTSTREAM_LEASE_SECONDS", ge=0.5, le=3600)] = 30.0
    ack_wait_seconds: Annotated[float, Field(alias="VAULTSTREAM_ACK_WAIT_SECONDS", ge=0.5, le=3600)] = 30.0
    drain_seconds: Annotated[float | None, Field(alias="VAULTSTREAM_DRAIN_SECONDS", ge=1, le=7200)] = None
    """Time in which a draining signer finishes its batches; it returns the rest to the queue. Not set: no limit."""
    max_outstanding: Annotated[int, Field(alias="VAULTSTREAM_MAX_OUTSTANDING", ge=1, le=100_000)] = 4096

    multibuffer: Annotated[Literal["auto", "off"], Field(alias=MULTIBUFFER)] = "auto"
    """Whether the native extension signs where the processor allows it; off: `cryptography` signs everywhere."""

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

    _file: "EnvFile | None" = PrivateAttr(default=None)
    """What was taken from `.env`; None: nothing."""

    @property
    def taken(self) -> dict[str, str]:
        """The variables that were taken from `.env`, with their text: workers that a command starts get them."""
        return self._file.values if self._file else {}

    @property
    def origin(self) -> str | None:
        """Names the variables that were taken from `.env`, never their values; None if there are none."""
        file = self._file
        if file is None or not file.values:
            return None
        shared = ", which its group may write" if file.shared else ""
        return f"Settings from .env in {file.path.parent}{shared}: {', '.join(file.values)}"

    def set_environment(self) -> None:
        """Sets what this process and those that it starts read from the environment alone, as `.env` or another case of its name has it."""
        if os.environ.get(MULTIBUFFER, "auto") != self.multibuffer:
            os.environ[MULTIBUFFER] = self.multibuffer

    @property
    def embedded(self) -> bool:
        """Whether an embedded service is used: unless both URLs are set."""
        return self.database_url is None or self.nats_url is None


def load_settings(file: "EnvFile | None" = None, /, **overrides: object) -> Settings:
    """Reads the settings.

    Args:
        file: settings that count where the environment has none, from `read_env_file`. Workers have no such file.
        overrides: command-line options, by field name; they take precedence unless they are None.

    Raises:
        UsageError: a value is invalid; the message names the variable.
    """
    given = {Settings.model_fields[k].alias or k: v for k, v in overrides.items() if v is not None}
    file = _taken(file, given)
    try:
        values = {**given_by_environment(Settings), **(file.values if file else {}), **given}
        settings = Settings.model_validate(values)
        settings._file = file  # noqa: SLF001 - it is no setting
        return settings  # noqa: TRY300 - only the validation is tried
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        raise UsageError(
            f"{name} {_wanted(name, first['msg'])}{_given(name, first.get('input'))}.",
            hint=f"Correct {name} in the environment, in .env or on the command line.",
            field=name,
        ) from None


def _wanted(name: str, why: str) -> str:
    """Returns what a setting must be, in words of its user."""
    field = next(field for field in Settings.model_fields.values() if field.alias == name)
    kinds = {int: "a whole number", float: "a number"}
    kind = next((text for of, text in kinds.items() if field.annotation in (of, of | None)), None)
    if kind is None:
        if name == "VAULTSTREAM_LOG_FORMAT":
            return "must be auto, json or text"
        return why.removeprefix("Value error, ").replace("Input should be", "must be")
    least = next((limit.ge for limit in field.metadata if isinstance(limit, Ge)), None)
    most = next((limit.le for limit in field.metadata if isinstance(limit, Le)), None)
    if name == "VAULTSTREAM_NATS_REPLICAS":
        return "must be 1, 3 or 5"
    if least is not None and most is not None:
        return f"must be {kind} from {least} to {most}"
    if least is not None:
        return f"must be {kind}, at least {least}"
    return why.removeprefix("Value error, ").replace("Input should be", "must be")


def _given(name: str, value: object) -> str:
    """Returns the value that was given, for a message; nothing of what may be secret."""
    field = next(field for field in Settings.model_fields.values() if field.alias == name)
    if field.annotation not in (int, float, int | None, float | None) and name not in _SHOWN:
        return ""
    return f", not {shortened(str(value), 40)!r}"


def _taken(file: "EnvFile | None", given: "Container[str]") -> "EnvFile | None":
    """Returns the part of a file that has effect: settings that neither an option nor the environment gives."""
    if file is None:
        return None
    known = {str(field.alias).lower(): str(field.alias) for field in Settings.model_fields.values()}
    present = {name.lower() for name, value in os.environ.items() if value}
    values = {
        known[name.lower()]: value
        for name, value in file.values.items()
        if name.lower() in known and name.lower() not in present and known[name.lower()] not in given
    }
    return replace(file, values=values)


def kek_file(settings: Settings) -> Path:
    """Returns the path of the file of key-encryption keys."""
    return settings.kek_file or _whole(settings.data_dir) / "kek"


def _whole(folder: Path) -> Path:
    """Returns the absolute path of the data directory, with its links followed; as it is if it can't be found."""
    try:
        return folder.expanduser().resolve()
    except (RuntimeError, OSError):
        return folder


def revocations_file(settings: Settings) -> Path:
    """Returns the path of the file of revocations."""
    return settings.revocations_file or kek_file(settings).with_name("revocations")


def seal_key_file(settings: Settings) -> Path:
    """Returns the path of the file of the seal key."""
    return settings.seal_key_file or kek_file(settings).with_name("seal-key")


def seals_dir(settings: Settings) -> Path:
    """Returns the path of the folder that plans, seals and checkpoints are copied to."""
    return settings.seals_dir or kek_file(settings).with_name("seals")
