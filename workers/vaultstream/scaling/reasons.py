"""Why a count of signers was decided, in one word for machines and one clause for people.

The words are those of conditions, Events, metrics and `status.scaling`: never change one, add another.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal, get_args

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
    WITHIN_TOLERANCE = "WithinTolerance"
    LAG = "Lag"


LagProblem = Literal[Reason.CONSUMER_MISSING, Reason.NATS_UNREACHABLE, Reason.POSTGRES_UNREACHABLE]
"""Why a lag can't be read. None of them is a lag of zero."""
LAG_PROBLEMS: Final[tuple[LagProblem, ...]] = get_args(LagProblem)


class LimitName(StrEnum):
    """What kept a count from being the one that the rule asked for."""

    MAX_REPLICA_COUNT = "MaxReplicaCount"
    MIN_REPLICA_COUNT = "MinReplicaCount"
    ACTIVE_KEYS = "ActiveKeys"
    BATCHES_LEFT = "BatchesLeft"
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

# A time and no duration: what is said of a long outage is the same at each look, and is written once.
_READING: Final = "since {heldSince}: its lag is unknown, which is not zero"

_CLAUSES: Final[Mapping[Reason, str]] = {
    Reason.PAUSED_REPLICAS: "the annotation vaultstream.dev/paused-replicas asks for {pausedReplicas}",
    Reason.PAUSED: "the annotation vaultstream.dev/paused pauses scaling",
    Reason.JOB_DONE: "no batch is left to sign",
    Reason.FALLBACK: (
        "the lag has been unknown since {heldSince} ({holdState}), for more readings in a row than "
        "fallback.failureThreshold ({failureThreshold}) lets pass, and fallback.behavior is {fallbackBehavior}"
    ),
    Reason.CONSUMER_MISSING: "the job's JetStream consumer has been missing " + _READING,
    Reason.NATS_UNREACHABLE: "NATS has not answered " + _READING,
    Reason.POSTGRES_UNREACHABLE: "Postgres has not answered " + _READING,
    Reason.NOTHING_SIGNED: (
        "{lag} batches wait and the {ready} signers that are ready sign nothing, which more or fewer of them "
        "would not change"
    ),
    Reason.IDLE: "a lag of {lag} does not exceed activationLagThreshold ({activationLagThreshold})",
    Reason.COOLDOWN_OVER: (
        "the lag has not exceeded activationLagThreshold ({activationLagThreshold}) for a cooldownPeriod "
        "({cooldownPeriod} s)"
    ),
    Reason.COOLING_DOWN: (
        "a lag of {lag} does not exceed activationLagThreshold ({activationLagThreshold}), and the cooldown "
        "lasts {cooldownLeft:.0f} s more"
    ),
    Reason.JOB_ENDS_FIRST: (
        "the job ends in about {etaSeconds:.0f} s, before another signer would be ready ({startupSeconds:g} s)"
    ),
    Reason.DATABASE_IS_THE_LIMIT: (
        "Postgres is the limit, as {plateauMore} signers signed {plateauMoreRate:.0f} records/s and "
        "{plateauSigners} signed {plateauRate:.0f}"
    ),
    Reason.DEADLINE: (
        "{recordsLeft} records are to be signed in {deadlineSeconds:.0f} s, and a signer signs "
        "{ratePerSigner:.4g} a second"
    ),
    Reason.WITHIN_TOLERANCE: "a lag of {lag} batches for {current} signers is within tolerance of {lagThreshold} each",
    Reason.LAG: "the lag is {lag} batches, at {lagThreshold} a signer",
}

_LIMIT_CLAUSES: Final[Mapping[LimitName, str]] = {
    LimitName.MAX_REPLICA_COUNT: "maxReplicaCount allows {value}",
    LimitName.MIN_REPLICA_COUNT: "minReplicaCount asks for {value} while there is work",
    LimitName.ACTIVE_KEYS: "{value} keys are active and a signer needs one",
    LimitName.BATCHES_LEFT: "{value} batches are left",
    LimitName.STARTUP_TIME: "a new signer would come too late",
    LimitName.THROUGHPUT: "more than {value} add nothing",
    LimitName.COOLDOWN_PERIOD: "cooldownPeriod keeps {value}",
    LimitName.SCALE_UP_STABILIZATION: "{value} is the least wanted within scaleUp.stabilizationWindowSeconds",
    LimitName.SCALE_DOWN_STABILIZATION: "{value} is the most wanted within scaleDown.stabilizationWindowSeconds",
    LimitName.SCALE_UP_POLICY: "scaleUp.policies allow {value} for now",
    LimitName.SCALE_DOWN_POLICY: "scaleDown.policies allow {value} for now",
    LimitName.SCALE_UP_DISABLED: "scaleUp.selectPolicy is Disabled",
    LimitName.SCALE_DOWN_DISABLED: "scaleDown.selectPolicy is Disabled",
    LimitName.PAUSED_SCALE_IN: "the annotation vaultstream.dev/paused-scale-in keeps {value}",
    LimitName.PAUSED_SCALE_OUT: "the annotation vaultstream.dev/paused-scale-out keeps {value}",
}


def reason_clause(reason: Reason, inputs: Mapping[str, Scalar]) -> str:
    """Returns why, as a clause without a full stop, with the numbers of `inputs` filled in."""
    return _CLAUSES[reason].format_map(inputs)


def limit_clause(name: LimitName, value: int) -> str:
    """Returns what bound the count, as a clause without a full stop. `value`: the count that the limit allows."""
    return _LIMIT_CLAUSES[name].format(value=value)
