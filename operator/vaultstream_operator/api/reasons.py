"""The reasons of conditions and Events: one word for programs, one message for people.

The words appear in conditions, Events and metrics: never change one, only add. The reasons of scaling decisions are in
`vaultstream.scaling.reasons`, and a decision has its own message; this module has all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from vaultstream.plurals import NounCount
from vaultstream.scaling.reasons import DEADLINE_AT_RISK as _DEADLINE_AT_RISK
from vaultstream.scaling.reasons import Reason as ScalingReason

EventType = Literal["Normal", "Warning"]


class JobReason(StrEnum):
    """What happened to a job, or what blocks it."""

    # in progress
    STARTING = "Starting"
    MAKING_KEYS = "MakingKeys"
    PLANNING = "Planning"
    SIGNING = "Signing"
    SPEC_CHANGED = "SpecChanged"
    WORKERS_REPLACED = "WorkersReplaced"
    SUSPENDED = "Suspended"
    SUSPENDING = "Suspending"
    RESUMED = "Resumed"
    # the end of a job
    ALL_SIGNED = "AllSigned"
    DEAD_LETTERS = "DeadLetters"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    DELETING = "Deleting"
    DELETED = "Deleted"
    TIME_TO_LIVE_OVER = "TimeToLiveOver"
    # problems that somebody has to fix
    SPEC_NOT_UNDERSTOOD = "SpecNotUnderstood"
    TOO_LARGE = "TooLarge"
    SPEC_NOT_ALLOWED = "SpecNotAllowed"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason, not a password
    SECRET_INCOMPLETE = "SecretIncomplete"  # noqa: S105 - a reason, not a password
    DATABASE_REFUSES = "DatabaseRefuses"
    SCHEMA_NOT_READY = "SchemaNotReady"
    TABLE_UNUSABLE = "TableUnusable"
    NOT_SEALED = "NotSealed"
    KEYS_UNUSABLE = "KeysUnusable"
    NO_ACTIVE_KEY = "NoActiveKey"
    WORKER_FAILING = "WorkerFailing"
    PODS_NOT_STARTING = "PodsNotStarting"
    PODS_REFUSED = "PodsRefused"
    PODS_UNSCHEDULABLE = "PodsUnschedulable"
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    VOLUMES_NOT_MOUNTED = "VolumesNotMounted"
    CHILD_REFUSED = "ChildRefused"
    CHILD_NOT_OURS = "ChildNotOurs"
    NAMESPACE_LOST = "NamespaceLost"
    CLEANUP_BLOCKED = "CleanupBlocked"
    DELETION_UNSEALED = "DeletionUnsealed"
    ANNOTATION_UNREADABLE = "AnnotationUnreadable"
    # unreachable services; the words are those of scaling's holds
    POSTGRES_UNREACHABLE = ScalingReason.POSTGRES_UNREACHABLE.value
    NATS_UNREACHABLE = ScalingReason.NATS_UNREACHABLE.value
    CONSUMER_MISSING = ScalingReason.CONSUMER_MISSING.value
    # scaling
    SCALED_OUT = "ScaledOut"
    SCALED_IN = "ScaledIn"
    SCALING_HELD = "ScalingHeld"
    SCALING_FALLS_BACK = "ScalingFallsBack"
    SCALING_FOLLOWS_LAG = "ScalingFollowsLag"
    DEADLINE_AT_RISK = _DEADLINE_AT_RISK
    DEADLINE_ON_TRACK = "DeadlineOnTrack"


@dataclass(frozen=True, slots=True)
class Statement:
    """A reason with its message.

    Attributes:
        reason: one word.
        message: one or two sentences, with the next step if there is one.
        event_type: type of an Event with this reason: Warning if something is wrong.
    """

    reason: JobReason
    message: str
    event_type: EventType


_NORMAL: Final[Mapping[JobReason, str]] = {
    JobReason.STARTING: "The keys and records workers are being started.",
    JobReason.MAKING_KEYS: "Creating keys: {made:,} of {count:key} created.",
    JobReason.PLANNING: "Planning batches from {table}: {records:record} so far.",
    JobReason.SIGNING: "Records are being signed.",
    JobReason.SPEC_CHANGED: "The spec has changed: {fields}.",
    JobReason.WORKERS_REPLACED: "Replacing the {roles}: the image or the settings have changed.",
    JobReason.SUSPENDING: "spec.suspend is true: {signers:signer} will finish the batches in flight and exit.",
    JobReason.SUSPENDED: "spec.suspend is true: no signers are running. Set it to false to resume.",
    JobReason.RESUMED: "spec.suspend is false again: the job resumes.",
    JobReason.ALL_SIGNED: "Signed all {records:record} of {table}.",
    JobReason.DELETING: "Deleting the job: its workers are stopped, then {what} is removed.",
    JobReason.DELETED: "Deleted the job: {what} was removed.",
    JobReason.TIME_TO_LIVE_OVER: "The job ended more than {seconds} s ago (ttlSecondsAfterFinished) and is being "
    "deleted.",
    JobReason.SCALED_OUT: "{decision}",
    JobReason.SCALED_IN: "{decision}",
    JobReason.SCALING_FOLLOWS_LAG: "{decision}",
    JobReason.DEADLINE_ON_TRACK: "The job can finish by its target time, {finish_at}.",
}

_WARNING: Final[Mapping[JobReason, str]] = {
    JobReason.DEAD_LETTERS: "Signed {signed:,} of {records:record} of {table}; {dead:dead letter}. "
    "`vaultstream dead {token}` lists the reasons.",
    JobReason.DEADLINE_EXCEEDED: "The job did not end within activeDeadlineSeconds ({seconds}): {signed:record} "
    "signed, {left:,} not signed. Delete the job or choose another name, then create it again with more time or more "
    "signers.",
    JobReason.SPEC_NOT_UNDERSTOOD: "The spec is not valid: {problem} Correct it, or install the version of the "
    "operator that matches the CRD.",
    JobReason.TOO_LARGE: "The operator leaves a SigningJob of this size alone: {problem} Remove annotations, or shorten the spec.",
    JobReason.SPEC_NOT_ALLOWED: "The operator does not allow this spec: {problem} Correct the spec, or ask the "
    "operator's administrator to allow it.",
    JobReason.SECRET_MISSING: "There is no Secret {secret} in namespace {namespace} ({problem}): create it "
    "with {keys}. The job then resumes automatically.",
    JobReason.SECRET_INCOMPLETE: "The Secret {secret} in namespace {namespace} lacks {keys}: add what is missing. The "
    "job then resumes automatically.",
    JobReason.VOLUMES_NOT_MOUNTED: "The pods of the {role} worker can't start: {problem} Most likely {secrets} is missing "
    "or incomplete in namespace {namespace}: create it. `kubectl describe pod -n {namespace} {pod}` shows the cause. The "
    "job then resumes automatically.",
    JobReason.DATABASE_REFUSES: "Postgres refuses the operator: {problem} The job then resumes automatically.",
    JobReason.SCHEMA_NOT_READY: "The database schema does not match this version: {problem} Run `vaultstream "
    "migrate`. The job then resumes automatically.",
    JobReason.TABLE_UNUSABLE: "The records can't be read: {problem} Fix the table: the job then resumes automatically. Or "
    "delete the job and create it with the correct spec.records.",
    JobReason.NOT_SEALED: "The job can't be sealed: {problem} Signing goes on, sealing is retried automatically, and the job completes once "
    "it is sealed.",
    JobReason.KEYS_UNUSABLE: "The job's keys can't be used: {problem} Give the workers the key-encryption key that "
    "wraps these keys. The job then resumes automatically.",
    JobReason.NO_ACTIVE_KEY: "The job has {count:key}, none of them active, so nothing can be signed: add keys with "
    "`vaultstream keys add {token}`.",
    JobReason.WORKER_FAILING: "The {role} worker is failing: {problem} See its log: `kubectl logs -n {namespace} {pod}`.",
    JobReason.PODS_NOT_STARTING: "{pods:,} of the job's pods can't start: {problem} Run `kubectl describe pod -n "
    "{namespace} {pod}`.",
    JobReason.PODS_REFUSED: "Kubernetes refuses the pods of the {role} worker: {problem} {help} The job then resumes "
    "automatically, within some 15 s.",
    JobReason.PODS_UNSCHEDULABLE: "The job's pods can't be scheduled: {problem} {help} The job then resumes "
    "automatically.",
    JobReason.IMAGE_UNAVAILABLE: "The image of the {role} worker can't be pulled: {problem} Correct `image` of the "
    "chart (VAULTSTREAM_WORKER_IMAGE of the operator), or `imagePullSecrets` (VAULTSTREAM_WORKER_IMAGE_PULL_SECRETS) and the "
    "Secrets that it names, which must exist in namespace {namespace}. The job then resumes automatically: Kubernetes pulls again at least every 5 minutes.",
    JobReason.CHILD_REFUSED: "The API server refuses the job's {kind} {name}: {problem} Correct the cause: a "
    "quota, an admission policy, spec.workers or spec.signer. The job then resumes automatically.",
    JobReason.CHILD_NOT_OURS: "The {kind} {name} already exists and does not belong to this job: delete or rename it. "
    "The job then resumes automatically.",
    JobReason.NAMESPACE_LOST: "The operator can't work in namespace {namespace}: {problem} Running workers go on, but none "
    "are started, scaled or replaced. The job then resumes automatically.",
    JobReason.CLEANUP_BLOCKED: "The job can't be removed yet: {problem} The removal is retried automatically. If the "
    "service is gone permanently, remove the finalizer {finalizer} by hand: the job's data in that service is then kept.",
    JobReason.DELETION_UNSEALED: "No seal says that the job was deleted, because no records worker sealed that within {seconds} s: "
    "`vaultstream log verify` will report job {token} as gone once its rows are. Check the Secret with the seal key.",
    JobReason.ANNOTATION_UNREADABLE: "{problem}",
    JobReason.POSTGRES_UNREACHABLE: "Postgres is unreachable: {problem} The number of signers is kept, and the job resumes "
    "automatically when Postgres is reachable again.",
    JobReason.NATS_UNREACHABLE: "NATS is unreachable: {problem} The number of signers is kept or set by "
    "scaling.fallback, and the job resumes automatically when NATS is reachable again.",
    JobReason.CONSUMER_MISSING: "The job's JetStream consumer is missing: the records worker will create it again from "
    "Postgres. Until then, the number of signers is kept or set by scaling.fallback.",
    JobReason.SCALING_HELD: "{decision}",
    JobReason.SCALING_FALLS_BACK: "{decision} The count follows the lag again automatically when the lag can be read.",
    JobReason.DEADLINE_AT_RISK: "The job will miss its target time, {finish_at}, even with {most:signer}, the maximum: {shortfall}. "
    "Raise scaling.maxReplicaCount, or accept a later time.",
}


def say(reason: JobReason, **values: object) -> Statement:
    """Returns `reason` with its message, filled in with `values`.

    Raises:
        KeyError: a value that the message needs is missing.
    """
    shown = {name: NounCount(value) if isinstance(value, int) else value for name, value in values.items()}
    if reason in _NORMAL:
        return Statement(reason, _NORMAL[reason].format_map(shown), "Normal")
    return Statement(reason, _WARNING[reason].format_map(shown), "Warning")
