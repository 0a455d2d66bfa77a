"""The types of a SigningJob, `vaultstream.dev/v1alpha1`, for laptops and Kubernetes. The CRD is generated from them."""

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic_core import PydanticCustomError

from vaultstream.api.base import (
    INT32_MAX,
    VALIDATIONS,
    Flag,
    Model,
    Number,
    Rule,
    Seconds,
    Whole,
    complete_schema,
)
from vaultstream.api.scaling import ScalingSpec
from vaultstream.api.shape import PodShape, SignerSpec

API_VERSION: Final = "vaultstream.dev/v1alpha1"
KIND: Final = "SigningJob"

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
"""The names that Kubernetes allows for objects (DNS subdomains, RFC 1123)."""

IMMUTABLE = ("records", "batchSize", "keys", "signature")
"""Fields of the spec that are immutable, including everything under them."""

_INSTANT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_NO_INSTANT = "must be a timestamp with a time zone, such as 2026-12-01T06:00:00Z"


def _instant(value: object) -> object:
    # Otherwise pydantic would read numbers, and strings of digits, as seconds since 1970.
    if isinstance(value, datetime) or (isinstance(value, str) and re.fullmatch(_INSTANT, value)):
        return value
    raise PydanticCustomError("instant", _NO_INSTANT)


_INSTANT_FOR_KUBERNETES: dict[str, JsonValue] = {
    "maxLength": 35,
    # timestamp() fails for a day that does not exist
    VALIDATIONS: [
        {
            "rule": f"self.matches(r'^{_INSTANT}$') && timestamp(self).getSeconds() >= 0",
            "message": _NO_INSTANT,
        }
    ],
}
Instant = Annotated[
    AwareDatetime, BeforeValidator(_instant), Field(json_schema_extra=_INSTANT_FOR_KUBERNETES)
]


def _nameable(name: str) -> str:
    """Refuses what Postgres takes in no name. The API server need not: the operator tells."""
    if "\0" in name:
        raise ValueError("must have no NUL character")
    return name


_NAMEABLE = AfterValidator(_nameable)
ColumnName = Annotated[str, Field(min_length=1, max_length=63), _NAMEABLE]
PayloadColumns = Annotated[tuple[ColumnName, ...], Field(min_length=1, max_length=100)]
PositiveSeconds = Annotated[Whole, Field(ge=1, le=INT32_MAX)]


NOT_SEALED: Final = "NotSealed: "
"""How the message of a job begins whose records worker can't seal it."""


class JobState(StrEnum):
    """Where a job stands, in one word for people. Postgres stores all but Deleting, which only a SigningJob's status has."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"
    DELETING = "Deleting"

    @property
    def ended(self) -> bool:
        """True in the states that a job never leaves: Complete and Failed."""
        return self in (JobState.COMPLETE, JobState.FAILED)


class Algorithm(StrEnum):
    """Signature algorithms. Each signs the payload's exact bytes."""

    ECDSA_P256_SHA256 = "ECDSA_P256_SHA256"
    ED25519 = "ED25519"
    RSA_PSS_3072_SHA256 = "RSA_PSS_3072_SHA256"
    ML_DSA_65 = "ML_DSA_65"


class SignatureForm(StrEnum):
    """What is signed of a record."""

    RAW = "Raw"
    JWS = "JWS"


class RecordsSpec(Model):
    """The records to sign: any table or view in the database."""

    table: Annotated[str, Field(min_length=1, max_length=127), _NAMEABLE]
    """Name of the table or view, with its schema if that is not on the search path: `sales.receipts`. If the database has a schema of the
    name before the first dot, the name means a table or view of that schema."""
    id_column: ColumnName = "id"
    """Column that identifies a record: integer, UUID or text, unique and never NULL."""
    payload_column: ColumnName = "payload"
    """Column whose bytes are signed: bytea unchanged; text, json and jsonb as their text in UTF-8."""
    payload_columns: PayloadColumns | None = None
    """Columns that are signed together, as one JSON object in canonical form (RFC 8785): a whole row, without a view. Replaces
    `payloadColumn`. The forms of values are those of an import from Parquet."""
    max_payload_bytes: Annotated[Whole, Field(ge=1, le=64 * 1024 * 1024)] = 1024 * 1024
    """Maximum size of a payload, in bytes. Records with a larger payload become dead letters."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "payloadColumn",
            lambda records: (
                records.payload_columns is not None or records.payload_column != records.id_column
            ),
            "has(self.payloadColumns) || self.payloadColumn != self.idColumn",
            "payloadColumn ({payloadColumn}) must differ from idColumn: set it to the column whose bytes are signed",
        ),
        Rule(
            "payloadColumns",
            lambda records: records.payload_columns is None or records.payload_column == "payload",
            "!has(self.payloadColumns) || self.payloadColumn == 'payload'",
            "payloadColumn ({payloadColumn}) and payloadColumns are mutually exclusive: remove one of them",
        ),
        Rule(
            "payloadColumns",
            lambda records: len(set(records.read_columns)) == len(records.read_columns),
            "!has(self.payloadColumns) || self.payloadColumns.all(a, self.payloadColumns.exists_one(b, a == b))",
            "payloadColumns must not name a column twice: remove one of the two",
        ),
    )

    @property
    def read_columns(self) -> tuple[str, ...]:
        """The columns that the payload is made of."""
        return self.payload_columns or (self.payload_column,)


class KeysSpec(Model):
    """The keys that the job signs with. Immutable."""

    count: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    """Number of keys to create."""
    algorithm: Algorithm = Algorithm.ECDSA_P256_SHA256
    """Signature algorithm of the keys. It signs the payload's exact bytes."""
    deterministic: Flag = False
    """ECDSA only: derive nonces by RFC 6979, so that signing the same payload with the same key gives the same signature."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "deterministic",
            lambda keys: not keys.deterministic or keys.algorithm is Algorithm.ECDSA_P256_SHA256,
            "!self.deterministic || self.algorithm == 'ECDSA_P256_SHA256'",
            "deterministic requires ECDSA_P256_SHA256 and does not apply to this algorithm ({algorithm}): remove it",
        ),
    )


class SignatureSpec(Model):
    """What is signed of a record. Immutable."""

    format: SignatureForm = SignatureForm.RAW
    """`Raw`: the payload's bytes, so that any tool can check a signature. `JWS`: a JWS (RFC 7515) of the payload, whose protected
    header names the key, the job and the record."""
    refuse_tokens: Flag = False
    """If true, a payload that is the signing input of a token (a JWS or JWT) or of a DSSE envelope is not signed: the record becomes
    a dead letter. Set it if anybody accepts these under the job's keys."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "refuseTokens",
            lambda signature: not signature.refuse_tokens or signature.format is SignatureForm.RAW,
            "!self.refuseTokens || self.format == 'Raw'",
            "refuseTokens requires the format Raw: each JWS is a token already, of a type of its own; remove it",
        ),
    )


class Backoff(Model):
    """Delay before a failed batch is retried: exponential backoff with full jitter.

    The delay before attempt n + 1 is uniform in [0, min(maxSeconds, initialSeconds · 2^(n-1))].
    """

    initial_seconds: Annotated[Number, Field(gt=0, le=3600)] = 1.0
    """Maximum delay before the second attempt, in seconds."""
    max_seconds: Annotated[Number, Field(gt=0, le=86_400)] = 60.0
    """Maximum delay before any attempt, in seconds."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "initialSeconds",
            lambda backoff: backoff.initial_seconds <= backoff.max_seconds,
            "self.initialSeconds <= self.maxSeconds",
            "initialSeconds ({initialSeconds:g}) must not exceed maxSeconds ({maxSeconds:g}): "
            "lower one or raise the other",
        ),
    )


class RetriesSpec(Model):
    """What happens to a batch that can't be signed."""

    max_attempts: Annotated[Whole, Field(ge=1, le=100)] = 5
    """Attempts before the batch is split. It is split until the faulty record is alone in a batch and becomes a dead
    letter."""
    backoff: Backoff = Backoff()
    """Delay between two attempts."""


class SigningJobSpec(Model):
    """What to sign, with which keys, how fast and by when."""

    records: RecordsSpec
    """The records to sign. Immutable."""
    batch_size: Annotated[Whole, Field(ge=1, le=20_000)] = 500
    """Number of records that one key signs under one lease. Immutable."""
    keys: KeysSpec = KeysSpec()
    """The keys that the job signs with. Immutable."""
    signature: SignatureSpec = SignatureSpec()
    """What is signed of a record. Immutable."""
    scaling: ScalingSpec = ScalingSpec()
    """How many signers run at a time."""
    retries: RetriesSpec = RetriesSpec()
    """What happens to a batch that can't be signed."""
    workers: PodShape = PodShape()
    """Kubernetes only: settings of the pods of all of the job's workers. The operator's defaults apply where it says nothing."""
    signer: SignerSpec = SignerSpec()
    """Settings of each signing worker."""
    suspend: Flag = False
    """If true, signers finish their batches in flight and exit. The job resumes when this is false again."""
    active_deadline_seconds: PositiveSeconds | None = None
    """Seconds after its start at which an unfinished job fails. If unset, there is no limit."""
    finish_by: Instant | None = None
    """Target time for the end of the job, a timestamp with a time zone. Scaling aims for it. Mutually exclusive with
    `finishWithin`."""
    finish_within: PositiveSeconds | None = None
    """Target duration of the job, in seconds from its start. Scaling aims for it. Mutually exclusive with `finishBy`."""
    ttl_seconds_after_finished: Seconds | None = None
    """Seconds after its end at which the job is deleted by its `deletionPolicy`. If unset, it is kept."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """`Retain`: when the job is deleted, signatures, dead letters, lease history and public keys stay in Postgres and are
    found by the job's token. `Delete`: they are deleted too. Private keys are always deleted."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "finishWithin",
            lambda spec: spec.finish_by is None or spec.finish_within is None,
            "!has(self.finishBy) || !has(self.finishWithin)",
            "finishBy and finishWithin are mutually exclusive: remove one of them",
        ),
        Rule(
            "finishWithin",
            lambda spec: (
                spec.finish_within is None
                or spec.active_deadline_seconds is None
                or spec.finish_within <= spec.active_deadline_seconds
            ),
            "!has(self.finishWithin) || !has(self.activeDeadlineSeconds) || "
            "self.finishWithin <= self.activeDeadlineSeconds",
            "finishWithin ({finishWithin}) must not exceed activeDeadlineSeconds ({activeDeadlineSeconds}), "
            "after which the job fails: lower one or raise the other",
        ),
    )

    def overdue(self, started_at: datetime | None, now: datetime) -> bool:
        """Returns whether a job that started at `started_at` has exceeded its `activeDeadlineSeconds`."""
        if self.active_deadline_seconds is None or started_at is None:
            return False
        return now - started_at > timedelta(seconds=self.active_deadline_seconds)

    def dump(self) -> dict[str, Any]:
        """Returns the spec as JSON-ready values, with the names in YAML.

        `signature`, `workers` and `records.payloadColumns` are left out if they have their defaults: programs from before they were
        added then still read the job.
        """
        left_out: dict[str, Any] = {"signature": True} if self.signature == SignatureSpec() else {}
        left_out |= {"workers": True} if self.workers == PodShape() else {}
        left_out |= {"records": {"payload_columns"}} if self.records.payload_columns is None else {}
        return self.model_dump(mode="json", by_alias=True, exclude=left_out)


class Metadata(BaseModel):
    """The part of Kubernetes' object metadata that is used on a laptop; other fields are ignored."""

    model_config = ConfigDict(
        defer_build=True, extra="ignore", frozen=True, json_schema_extra=complete_schema
    )

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=NAME_PATTERN)]
    """Name of the job: lower-case letters, digits, `-` and `.`, as for all Kubernetes objects."""
    annotations: Annotated[dict[str, str], BeforeValidator(lambda value: value or {})] = Field(
        default_factory=dict
    )
    """Annotations under `vaultstream.dev/` can pause scaling."""


class SigningJob(Model):
    """A job that signs every record of a table exactly once, with a set of keys."""

    api_version: Literal["vaultstream.dev/v1alpha1"]
    """Version of the API."""
    kind: Literal["SigningJob"]
    """Kind of the object."""
    metadata: Metadata
    """Kubernetes' object metadata."""
    spec: SigningJobSpec
    """What to sign, with which keys, how fast and by when."""


def changed_immutable_fields(old: SigningJobSpec, new: SigningJobSpec) -> list[str]:
    """Returns the immutable fields that differ, such as `batchSize` or `keys.count`."""
    before, after = (_leaves(spec.model_dump(mode="json", by_alias=True)) for spec in (old, new))
    return [path for path, value in before.items() if after[path] != value]


def _leaves(spec: dict[str, Any]) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name in IMMUTABLE:
        if isinstance(value := spec[name], dict):
            leaves |= {f"{name}.{inner}": part for inner, part in value.items()}
        else:
            leaves[name] = value
    return leaves
