"""Why a condition is as it is and what an Event tells, in one word for machines and one sentence for people.

The words stand in conditions, Events and metrics: never change one, add another. Those of scaling decisions are in
`vaultstream.scaling.reasons`, and a decision explains itself; here are the words for all else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from vaultstream.scaling.reasons import DEADLINE_AT_RISK as _DEADLINE_AT_RISK
from vaultstream.scaling.reasons import Reason as ScalingReason

EventType = Literal["Normal", "Warning"]


class JobReason(StrEnum):
    """What happened to a job, or what keeps it from going on."""

    # on its way
    STARTING = "Starting"
    MAKING_KEYS = "MakingKeys"
    PLANNING = "Planning"
    SIGNING = "Signing"
    SPEC_CHANGED = "SpecChanged"
    WORKERS_REPLACED = "WorkersReplaced"
    SUSPENDED = "Suspended"
    SUSPENDING = "Suspending"
    RESUMED = "Resumed"
    # its end
    ALL_SIGNED = "AllSigned"
    DEAD_LETTERS = "DeadLetters"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    DELETING = "Deleting"
    DELETED = "Deleted"
    TIME_TO_LIVE_OVER = "TimeToLiveOver"
    # what somebody has to mend
    SPEC_NOT_UNDERSTOOD = "SpecNotUnderstood"
    SPEC_NOT_ALLOWED = "SpecNotAllowed"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a word, no password
    SECRET_INCOMPLETE = "SecretIncomplete"  # noqa: S105 - likewise
    DATABASE_REFUSES = "DatabaseRefuses"
    SCHEMA_NOT_READY = "SchemaNotReady"
    TABLE_UNUSABLE = "TableUnusable"
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
    CLEANUP_BLOCKED = "CleanupBlocked"
    ANNOTATION_UNREADABLE = "AnnotationUnreadable"
    # services that come back by themselves; the words are those of the holds of scaling
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
    """A reason with its sentence.

    Attributes:
        reason: one word.
        message: one or two sentences, with what to do if there is anything to do.
        event_type: what an Event about it is: Warning if something is wrong.
    """

    reason: JobReason
    message: str
    event_type: EventType


_NORMAL: Final[Mapping[JobReason, str]] = {
    JobReason.STARTING: "The keys and records workers are being started.",
    JobReason.MAKING_KEYS: "{made} of {count} keys are made.",
    JobReason.PLANNING: "The records of {table} are being found: {records} so far.",
    JobReason.SIGNING: "The records are being signed.",
    JobReason.SPEC_CHANGED: "The spec was changed: {fields}.",
    JobReason.WORKERS_REPLACED: "The operator has another image or other settings for the {roles}: what runs leaves, "
    "and is made anew.",
    JobReason.SUSPENDING: "spec.suspend is true: {signers} signers finish the batches they have in hand and leave.",
    JobReason.SUSPENDED: "spec.suspend is true: no signer runs. Set it to false to go on.",
    JobReason.RESUMED: "spec.suspend is false again: the job goes on.",
    JobReason.ALL_SIGNED: "All {records} records of {table} are signed.",
    JobReason.DELETING: "The job is being deleted: its workers leave, and {what} is removed.",
    JobReason.DELETED: "The job is deleted: {what} was removed.",
    JobReason.TIME_TO_LIVE_OVER: "The job ended {seconds} s ago, as long as ttlSecondsAfterFinished keeps it: it is "
    "being deleted.",
    JobReason.SCALED_OUT: "{decision}",
    JobReason.SCALED_IN: "{decision}",
    JobReason.SCALING_FOLLOWS_LAG: "{decision}",
    JobReason.DEADLINE_ON_TRACK: "The job can end by its finishing time, {finish_at}.",
}

_WARNING: Final[Mapping[JobReason, str]] = {
    JobReason.DEAD_LETTERS: "{signed} of {records} records of {table} are signed; {dead} can't be and are in the dead "
    "letters. `vaultstream dead {token}` tells why.",
    JobReason.DEADLINE_EXCEEDED: "The job did not end within activeDeadlineSeconds ({seconds}): {signed} records are "
    "signed and {left} are not. Create the job anew, under another name or after deleting this one, with more time or "
    "more signers.",
    JobReason.SPEC_NOT_UNDERSTOOD: "The spec can't be understood: {problem} Correct it, or install the operator that "
    "belongs to this version of the resource.",
    JobReason.SPEC_NOT_ALLOWED: "The spec asks for what this operator does not allow: {problem} Correct the spec, or ask "
    "whoever runs the operator to allow it.",
    JobReason.SECRET_MISSING: "There is no Secret {secret} in namespace {namespace} ({problem}): create it with {keys}. "
    "The job goes on by itself then.",
    JobReason.SECRET_INCOMPLETE: "The Secret {secret} in namespace {namespace} lacks {keys}: add what is missing. The "
    "job goes on by itself then.",
    JobReason.VOLUMES_NOT_MOUNTED: "The pods of the {role} worker don't start: {problem} Most likely {secrets} is missing in "
    "namespace {namespace}, or lacks it: create it. `kubectl describe pod -n {namespace} {pod}` names the cause. The "
    "job goes on by itself then.",
    JobReason.DATABASE_REFUSES: "Postgres refuses the operator: {problem} Correct the credentials or the rights of "
    "its user; the job goes on by itself then.",
    JobReason.SCHEMA_NOT_READY: "The database's schema is not the one of this version: {problem} Run `vaultstream "
    "migrate` on it; the job goes on by itself then.",
    JobReason.TABLE_UNUSABLE: "The records can't be read: {problem} Mend the table, or delete the job and create it "
    "with the right spec.records.",
    JobReason.KEYS_UNUSABLE: "The job's keys can't be used: {problem} Give the workers the key-encryption key that "
    "the keys were made under; the job goes on by itself then.",
    JobReason.NO_ACTIVE_KEY: "None of the job's {count} keys is active, so nothing can be signed: make more with "
    "`vaultstream keys add {token}`.",
    JobReason.WORKER_FAILING: "The {role} worker fails: {problem} See its log: `kubectl logs -n {namespace} {pod}`.",
    JobReason.PODS_NOT_STARTING: "{pods} of the job's pods don't start: {problem} See `kubectl describe pod -n "
    "{namespace} {pod}`.",
    JobReason.PODS_REFUSED: "Kubernetes makes no pods for the {role} worker: {problem} Correct the quota or the "
    "admission policy at fault; the job goes on by itself then.",
    JobReason.PODS_UNSCHEDULABLE: "The job's pods find no node to run on: {problem} Add nodes, or correct "
    "spec.signer or scaling.maxReplicaCount; the job goes on by itself then.",
    JobReason.IMAGE_UNAVAILABLE: "The image of the {role} worker can't be pulled: {problem} Correct the operator's "
    "VAULTSTREAM_WORKER_IMAGE, or VAULTSTREAM_WORKER_IMAGE_PULL_SECRETS and the Secrets that it names in namespace "
    "{namespace}; the job goes on by itself then.",
    JobReason.CHILD_REFUSED: "The API server refuses the job's {kind} {name}: {problem} Correct what it names: "
    "a quota, an admission policy, or spec.signer. The job goes on by itself then.",
    JobReason.CHILD_NOT_OURS: "There is a {kind} {name} that belongs to something else: delete or rename it. The job "
    "goes on by itself then.",
    JobReason.CLEANUP_BLOCKED: "The job can't be removed yet: {problem} It is tried again until it works. Should the "
    "service be gone for good, remove the finalizer {finalizer} by hand: what it keeps there then stays.",
    JobReason.ANNOTATION_UNREADABLE: "{problem}",
    JobReason.POSTGRES_UNREACHABLE: "Postgres does not answer: {problem} The signers are kept, and the job goes on by "
    "itself once it answers again.",
    JobReason.NATS_UNREACHABLE: "NATS does not answer: {problem} The signers are kept, or are those of "
    "scaling.fallback, and the job goes on by itself once it answers again.",
    JobReason.CONSUMER_MISSING: "The job's JetStream consumer is missing: the records worker makes it anew from "
    "Postgres. The signers are kept until it has, or are those of scaling.fallback.",
    JobReason.SCALING_HELD: "{decision}",
    JobReason.SCALING_FALLS_BACK: "{decision} The count follows the lag again by itself once that can be read.",
    JobReason.DEADLINE_AT_RISK: "The job will not end by its finishing time, {finish_at}, even with all the {most} "
    "signers that it may have: raise scaling.maxReplicaCount, or accept a later time.",
}


def say(reason: JobReason, **values: object) -> Statement:
    """Returns `reason` with its sentence, filled in with `values`.

    Raises:
        KeyError: a value that the sentence needs is missing.
    """
    if reason in _NORMAL:
        return Statement(reason, _NORMAL[reason].format_map(values), "Normal")
    return Statement(reason, _WARNING[reason].format_map(values), "Warning")
