"""The types of a SigningJob, `vaultstream.dev/v1alpha1`: the same on a laptop as on Kubernetes, and their only source."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic_core import PydanticCustomError

from vaultstream.api.base import (
    INT32_MAX,
    VALIDATIONS,
    CheckedAs,
    Flag,
    JsonObject,
    Model,
    Number,
    Rule,
    Seconds,
    Whole,
)
from vaultstream.api.pods import Annotations, ClassName, Labels, Resources, Toleration, label_names
from vaultstream.api.scaling import ScalingSpec

API_VERSION: Final = "vaultstream.dev/v1alpha1"
KIND: Final = "SigningJob"

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
"""What Kubernetes allows as an object's name (a DNS subdomain, RFC 1123)."""

IMMUTABLE = ("records", "batchSize", "keys")
"""Fields of the spec that are fixed for the life of a job, with all that is under them."""

_INSTANT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_NO_INSTANT = "must be a timestamp with its zone, such as 2026-12-01T06:00:00Z"


def _instant(value: object) -> object:
    # Without this, pydantic would take numbers, and text made of digits, for seconds since 1970.
    if isinstance(value, datetime) or (isinstance(value, str) and re.fullmatch(_INSTANT, value)):
        return value
    raise PydanticCustomError("instant", _NO_INSTANT)


_INSTANT_FOR_KUBERNETES: dict[str, JsonValue] = {
    "maxLength": 35,
    # timestamp() fails on a day that no month has
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
ColumnName = Annotated[str, Field(min_length=1, max_length=63)]
PositiveSeconds = Annotated[Whole, Field(ge=1, le=INT32_MAX)]


class Algorithm(StrEnum):
    """What a job signs with. Each signs the payload's bytes exactly as they are."""

    ECDSA_P256_SHA256 = "ECDSA_P256_SHA256"
    ED25519 = "ED25519"
    RSA_PSS_3072_SHA256 = "RSA_PSS_3072_SHA256"
    ML_DSA_65 = "ML_DSA_65"


class RecordsSpec(Model):
    """Where the records are: any table or view of the database."""

    table: Annotated[str, Field(min_length=1, max_length=127)]
    """Name of the table or view, with its schema if it is not on the search path: `sales.receipts`."""
    id_column: ColumnName = "id"
    """Column that identifies a record: integer, UUID or text, unique and never NULL."""
    payload_column: ColumnName = "payload"
    """Column whose bytes are signed: bytea as it is, text as UTF-8, json and jsonb as their text in UTF-8."""
    max_payload_bytes: Annotated[Whole, Field(ge=1, le=64 * 1024 * 1024)] = 1024 * 1024
    """A payload of more bytes than this goes to the dead letters."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "payloadColumn",
            lambda records: records.payload_column != records.id_column,
            "self.payloadColumn != self.idColumn",
            "payloadColumn ({payloadColumn}) must be another column than idColumn: name the one whose bytes are signed",
        ),
    )


class KeysSpec(Model):
    """The ring of keys that the job signs with. Immutable."""

    count: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    """How many keys are made."""
    algorithm: Algorithm = Algorithm.ECDSA_P256_SHA256
    """What the keys sign with, over the payload's bytes exactly as they are."""
    deterministic: Flag = False
    """ECDSA only: nonces by RFC 6979, so that one key gives one payload the same signature each time."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "deterministic",
            lambda keys: not keys.deterministic or keys.algorithm is Algorithm.ECDSA_P256_SHA256,
            "!self.deterministic || self.algorithm == 'ECDSA_P256_SHA256'",
            "deterministic belongs to ECDSA_P256_SHA256, not to this algorithm ({algorithm}): leave it out",
        ),
    )


class Backoff(Model):
    """Delay before a failed batch is tried again: exponential, with full jitter.

    The delay before attempt n + 1 is uniform in [0, min(maxSeconds, initialSeconds · 2^(n-1))].
    """

    initial_seconds: Annotated[Number, Field(gt=0, le=3600)] = 1.0
    """Upper end of the delay before the second attempt, in seconds."""
    max_seconds: Annotated[Number, Field(gt=0, le=86_400)] = 60.0
    """No delay is longer than this, in seconds."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "initialSeconds",
            lambda backoff: backoff.initial_seconds <= backoff.max_seconds,
            "self.initialSeconds <= self.maxSeconds",
            "initialSeconds ({initialSeconds:g}) must not be more than maxSeconds ({maxSeconds:g}): "
            "lower one or raise the other",
        ),
    )


class RetriesSpec(Model):
    """What happens to a batch that can't be signed."""

    max_attempts: Annotated[Whole, Field(ge=1, le=100)] = 5
    """After so many attempts the batch is split, until the record at fault stands alone and goes to the dead letters."""
    backoff: Backoff = Backoff()
    """Delay between two attempts."""


class SignerSpec(Model):
    """One signing worker. All but `concurrency` shapes its pod on Kubernetes, and is without meaning on a laptop."""

    concurrency: Annotated[Whole, Field(ge=1, le=64)] = 64
    """Batches that a signer may have in hand at a time, each under a key of its own. It takes no more than keep it busy."""
    resources: Annotated[JsonObject, CheckedAs(Resources)] = Field(default_factory=dict)
    """Kubernetes only: the container's `requests` and `limits`."""
    node_selector: Labels = Field(default_factory=dict)
    """Kubernetes only: labels that a node must have."""
    tolerations: Annotated[
        tuple[Annotated[JsonObject, CheckedAs(Toleration)], ...], Field(max_length=32)
    ] = ()
    """Kubernetes only: the pod's tolerations of taints."""
    affinity: JsonObject = Field(default_factory=dict)
    """Kubernetes only: the pod's affinity to nodes and to other pods."""
    topology_spread_constraints: tuple[JsonObject, ...] = ()
    """Kubernetes only: how pods spread over zones and nodes."""
    priority_class_name: ClassName | None = None
    """Kubernetes only: the pod's priority class. Not given: the cluster's default."""
    pod_labels: Labels = Field(default_factory=dict)
    """Kubernetes only: labels that are added to the pod."""
    pod_annotations: Annotations = Field(default_factory=dict)
    """Kubernetes only: annotations that are added to the pod."""

    rules: ClassVar[tuple[Rule, ...]] = (
        label_names("nodeSelector", lambda signer: signer.node_selector),
        label_names("podLabels", lambda signer: signer.pod_labels),
        label_names("podAnnotations", lambda signer: signer.pod_annotations),
    )


class SigningJobSpec(Model):
    """What to sign, with what, how fast and until when."""

    records: RecordsSpec
    """Where the records are. Immutable."""
    batch_size: Annotated[Whole, Field(ge=1, le=20_000)] = 500
    """Records that one key signs under one lease. Immutable."""
    keys: KeysSpec = KeysSpec()
    """The ring of keys that the job signs with. Immutable."""
    scaling: ScalingSpec = ScalingSpec()
    """How many signers run at a time."""
    retries: RetriesSpec = RetriesSpec()
    """What happens to a batch that can't be signed."""
    signer: SignerSpec = SignerSpec()
    """What each signing worker is like."""
    suspend: Flag = False
    """True: signers finish the batches in hand and leave; the job goes on when this is false again."""
    active_deadline_seconds: PositiveSeconds | None = None
    """Seconds after its start at which a job that has not ended is failed. Not given: no such limit."""
    finish_by: Instant | None = None
    """When the job should have ended, as a timestamp with its zone: scaling aims at it. Excludes `finishWithin`."""
    finish_within: PositiveSeconds | None = None
    """Seconds after its start in which the job should have ended: scaling aims at it. Excludes `finishBy`."""
    ttl_seconds_after_finished: Seconds | None = None
    """Seconds after its end at which the job is deleted, as `deletionPolicy` says. Not given: it stays."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """`Retain`: signatures, dead letters, lease history and public keys stay in Postgres when the job is deleted, and are
    found by its token. `Delete`: they go with it. Private keys go in any case."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "finishWithin",
            lambda spec: spec.finish_by is None or spec.finish_within is None,
            "!has(self.finishBy) || !has(self.finishWithin)",
            "finishBy and finishWithin exclude each other: leave one of them out",
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
            "finishWithin ({finishWithin}) must not be more than activeDeadlineSeconds ({activeDeadlineSeconds}), "
            "at which the job is failed: lower one or raise the other",
        ),
    )

    def overdue(self, started_at: datetime | None, now: datetime) -> bool:
        """Whether a job that started then has run for longer than its `activeDeadlineSeconds` allows."""
        if self.active_deadline_seconds is None or started_at is None:
            return False
        return now - started_at > timedelta(seconds=self.active_deadline_seconds)

    def dump(self) -> dict[str, Any]:
        """Returns the spec as JSON-ready values under their names in YAML."""
        return self.model_dump(mode="json", by_alias=True)


class Metadata(BaseModel):
    """The part of Kubernetes' object metadata that matters on a laptop; the rest is let through."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=NAME_PATTERN)]
    """The job's name: lower-case letters, digits, `-` and `.`, as Kubernetes names its objects."""
    annotations: Annotated[dict[str, str], BeforeValidator(lambda value: value or {})] = Field(
        default_factory=dict
    )
    """Those under `vaultstream.dev/` pause scaling."""


class SigningJob(Model):
    """A job that signs every record of a table, each exactly once, under a ring of keys."""

    api_version: Literal["vaultstream.dev/v1alpha1"]
    """Version of this form."""
    kind: Literal["SigningJob"]
    """What this object is."""
    metadata: Metadata
    """Kubernetes' object metadata."""
    spec: SigningJobSpec
    """What to sign, with what, how fast and until when."""


def changed_immutable_fields(old: SigningJobSpec, new: SigningJobSpec) -> list[str]:
    """Returns the fields that differ though a job may not change them, such as `batchSize` or `keys.count`."""
    before, after = (_leaves(spec.dump()) for spec in (old, new))
    return [path for path, value in before.items() if after[path] != value]


def _leaves(spec: dict[str, Any]) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name in IMMUTABLE:
        if isinstance(value := spec[name], dict):
            leaves |= {f"{name}.{inner}": part for inner, part in value.items()}
        else:
            leaves[name] = value
    return leaves
