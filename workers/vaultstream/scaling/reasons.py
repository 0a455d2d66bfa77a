"""Why a count of signers was decided, in one word for machines and one clause for people.

The words are those of conditions, Events, metrics and `status.scaling`: never change one, add another.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal, get_args

from vaultstream.plurals import NounCount

Scalar = str | int | float | bool


class Reason(StrEnum):
    """The rule that made the count. The order is that of the rules: the first that applies decides."""

    PAUSED_REPLICAS = "PausedReplicas"
    PAUSED = "Paused"
    JOB_DONE = "JobDone"
    FALLBACK = "Fallback"
    CONSUMER_MISSING = "ConsumerMissing"
    NATS_UNREACHABLE = "NatsUnreachable"
    POSTGRES_UNREACHABLE = "PostgresUnreachable"
    NOTHING_SIGNED = "NothingSigned"
    IDLE = "Idle"
    COOLDOWN_OVER = "CooldownOver"
    COOLING_DOWN = "CoolingDown"
    JOB_ENDS_FIRST = "JobEndsFirst"
    DATABASE_IS_THE_LIMIT = "DatabaseIsTheLimit"
    DEADLINE = "Deadline"
    EARLIER_JOBS = "EarlierJobs"
    FIRST_STEP = "FirstStep"
    WORK_LEFT = "WorkLeft"
    WITHIN_TOLERANCE = "WithinTolerance"
    LAG = "Lag"


OPENINGS: Final = (Reason.FIRST_STEP, Reason.EARLIER_JOBS)
"""Rules that begin a job before its own rate is known: the step that corrects them is not slowed down."""
LagProblem = Literal[Reason.CONSUMER_MISSING, Reason.NATS_UNREACHABLE, Reason.POSTGRES_UNREACHABLE]
"""Why a lag can't be read. None of them is a lag of zero."""
LAG_PROBLEMS: Final[tuple[LagProblem, ...]] = get_args(LagProblem)


class LimitName(StrEnum):
    """What kept a count from being the one that the rule asked for."""

    MAX_REPLICA_COUNT = "MaxReplicaCount"
    MIN_REPLICA_COUNT = "MinReplicaCount"
    ACTIVE_KEYS = "ActiveKeys"
    KEY_COUNT = "KeyCount"
    BATCHES_LEFT = "BatchesLeft"
    SCHEDULABLE = "Schedulable"
    DATABASE_CONNECTIONS = "DatabaseConnections"
    STARTUP_TIME = "StartupTime"
    THROUGHPUT = "Throughput"
    COOLDOWN_PERIOD = "CooldownPeriod"
    SCALE_UP_STABILIZATION = "ScaleUpStabilization"
    SCALE_DOWN_STABILIZATION = "ScaleDownStabilization"
    SCALE_UP_POLICY = "ScaleUpPolicy"
    SCALE_DOWN_POLICY = "ScaleDownPolicy"
    SCALE_UP_DISABLED = "ScaleUpDisabled"
    SCALE_DOWN_DISABLED = "ScaleDownDisabled"
    PAUSED_SCALE_IN = "PausedScaleIn"
    PAUSED_SCALE_OUT = "PausedScaleOut"


DEADLINE_AT_RISK: Final = "DeadlineAtRisk"
"""Reason of the condition and the Event for a job that will miss its finishing time even with all signers it may have."""

# A time, not a duration: the message of a long outage stays the same at each reconcile, and is written once.
_UNKNOWN: Final = "since {heldSince}, so the lag is unknown (not zero)"

_CLAUSES: Final[Mapping[Reason, str]] = {
    Reason.PAUSED_REPLICAS: "annotation vaultstream.dev/paused-replicas is set",
    Reason.PAUSED: "annotation vaultstream.dev/paused is set",
    Reason.JOB_DONE: "no work is left",
    Reason.FALLBACK: (
        "lag has been unknown since {heldSince} ({holdState}), failed readings in a row exceed "
        "fallback.failureThreshold ({failureThreshold}), fallback.behavior is {fallbackBehavior}"
    ),
    Reason.CONSUMER_MISSING: "the job's JetStream consumer has been missing " + _UNKNOWN,
    Reason.NATS_UNREACHABLE: "NATS has been unreachable " + _UNKNOWN,
    Reason.POSTGRES_UNREACHABLE: "Postgres has been unreachable " + _UNKNOWN,
    Reason.NOTHING_SIGNED: (
        "lag is {lag:batch|batches}, but {ready:ready signer} signed nothing, and more or fewer signers would not help"
    ),
    Reason.IDLE: "the job is idle",
    Reason.COOLDOWN_OVER: "the job has been idle for cooldownPeriod ({cooldownPeriod} s)",
    Reason.COOLING_DOWN: (
        "lag is {lag:batch|batches}, activationLagThreshold is {activationLagThreshold}, the cooldown ends at "
        "{cooldownEnds}"
    ),
    Reason.JOB_ENDS_FIRST: (
        "the job ends in about {etaSeconds:.0f} s, before a new signer would be ready ({startupSeconds:g} s)"
    ),
    Reason.DATABASE_IS_THE_LIMIT: (
        "Postgres is the limit ({plateauMore:signer} signed {plateauMoreRate:.0f} records/s, "
        "{plateauSigners} signed {plateauRate:.0f} records/s, {plateauKnee} are enough)"
    ),
    Reason.DEADLINE: (
        "{recordsLeft:record} left, {deadlineSeconds:.0f} s until the target time, "
        "{ratePerSigner:.4g} records/s per signer"
    ),
    Reason.FIRST_STEP: "no signer's rate is known yet",
    Reason.EARLIER_JOBS: (
        "about {recordsExpected:record} left, X(n) is what n signers signed per second in earlier jobs like this one"
    ),
    Reason.WORK_LEFT: (
        "about {recordsExpected:record} left, {ratePerSigner:.6g} records/s per signer, "
        "a signer starts in {startupSeconds:.3g} s"
    ),
    Reason.WITHIN_TOLERANCE: (
        "lag is {lag:batch|batches}, within tolerance of lagThreshold ({lagThreshold} per signer)"
    ),
    Reason.LAG: "lag is {lag:batch|batches}, lagThreshold is {lagThreshold} per signer",
}

_LIMIT_CLAUSES: Final[Mapping[LimitName, str]] = {
    LimitName.MAX_REPLICA_COUNT: "limited by maxReplicaCount to {value}",
    LimitName.MIN_REPLICA_COUNT: "raised by minReplicaCount to {value}",
    LimitName.ACTIVE_KEYS: "limited by active keys to {value}",
    LimitName.KEY_COUNT: "limited by keys.count to {value}",
    LimitName.BATCHES_LEFT: "limited by batches left to {value}",
    LimitName.SCHEDULABLE: "limited by the signers that have a node to {value}",
    LimitName.DATABASE_CONNECTIONS: "limited by the free connections of Postgres to {value}",
    LimitName.STARTUP_TIME: "limited by startup time to {value}",
    LimitName.THROUGHPUT: "limited by throughput to {value}",
    LimitName.COOLDOWN_PERIOD: "kept by cooldownPeriod at {value}",
    LimitName.SCALE_UP_STABILIZATION: "limited by scaleUp.stabilizationWindowSeconds to {value}",
    LimitName.SCALE_DOWN_STABILIZATION: "kept by scaleDown.stabilizationWindowSeconds at {value}",
    LimitName.SCALE_UP_POLICY: "limited by scaleUp.policies to {value}",
    LimitName.SCALE_DOWN_POLICY: "limited by scaleDown.policies to {value}",
    LimitName.SCALE_UP_DISABLED: "limited by scaleUp.selectPolicy Disabled to {value}",
    LimitName.SCALE_DOWN_DISABLED: "kept by scaleDown.selectPolicy Disabled at {value}",
    LimitName.PAUSED_SCALE_IN: "kept by annotation vaultstream.dev/paused-scale-in at {value}",
    LimitName.PAUSED_SCALE_OUT: "limited by annotation vaultstream.dev/paused-scale-out to {value}",
}


class _Shown:
    """Inputs by name, whose integers may be shown with a noun."""

    def __init__(self, inputs: Mapping[str, Scalar]) -> None:
        self._inputs = inputs

    def __getitem__(self, name: str) -> Scalar:
        value = self._inputs[name]
        return NounCount(value) if isinstance(value, int) else value


def reason_clause(reason: Reason, inputs: Mapping[str, Scalar]) -> str:
    """Returns the reason as a clause without a full stop, with the numbers of `inputs` filled in."""
    return _CLAUSES[reason].format_map(_Shown(inputs))


def limit_clause(name: LimitName, value: int) -> str:
    """Returns the limit as a clause without a full stop. `value` is the number of signers that it allows."""
    return _LIMIT_CLAUSES[name].format(value=value)
