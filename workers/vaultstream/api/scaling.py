"""How many signers run: KEDA's names and meaning where KEDA has the feature, HPA v2's for `behavior`.

Lag is counted in batches: those published and not yet signed, those in hand, and those not published yet.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vaultstream.api.base import INT32_MAX, Model, Number, Rule, Seconds, Whole

Replicas = Annotated[Whole, Field(ge=0, le=1000)]


class ScalingPolicy(Model):
    """A limit on how fast the number of signers may change."""

    type: Literal["Pods", "Percent"]
    """What `value` counts: signers, or per cent of the signers at the start of the period."""
    value: Annotated[Whole, Field(ge=1, le=INT32_MAX)]
    """The most that may be added or removed within the period, in signers or per cent."""
    period_seconds: Annotated[Whole, Field(ge=1, le=1800)]
    """Length of the period, in seconds."""


class _ScalingRules(Model):
    """What scale-up and scale-down have in common."""

    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    """Which policy counts: the one that allows the greatest change, the least, or no change in this direction at all."""
    tolerance: Annotated[Number, Field(ge=0)] = 0.1
    """Relative difference between the lag per signer and `lagThreshold` that is let be: 0.1 is 10 per cent."""


class ScaleUpRules(_ScalingRules):
    """How the number of signers grows."""

    stabilization_window_seconds: Annotated[Whole, Field(ge=0, le=3600)] = 0
    """The lowest count wanted within so many seconds is the one that is followed. 0: the latest."""
    policies: Annotated[tuple[ScalingPolicy, ...], Field(min_length=1)] = (
        ScalingPolicy(type="Pods", value=4, period_seconds=15),
        ScalingPolicy(type="Percent", value=100, period_seconds=15),
    )
    """How much may be added within a period. Does not limit the step up from 0 or `idleReplicaCount`."""


class ScaleDownRules(_ScalingRules):
    """How the number of signers shrinks."""

    stabilization_window_seconds: Annotated[Whole, Field(ge=0, le=3600)] = 300
    """The highest count wanted within so many seconds is the one that is followed, so that a dip costs no signers."""
    policies: Annotated[tuple[ScalingPolicy, ...], Field(min_length=1)] = (
        ScalingPolicy(type="Percent", value=100, period_seconds=15),
    )
    """How much may be removed within a period."""


class ScalingBehavior(Model):
    """How fast the number of signers changes, in each direction."""

    scale_up: ScaleUpRules = ScaleUpRules()
    """How the number of signers grows."""
    scale_down: ScaleDownRules = ScaleDownRules()
    """How the number of signers shrinks."""


class Fallback(Model):
    """How many signers run once the lag could not be read several times in a row."""

    failure_threshold: Annotated[Whole, Field(ge=0, le=INT32_MAX)]
    """Readings of the lag in a row that may fail; the fallback is taken at the next that does."""
    replicas: Replicas
    """Signers to run then. The bounds and `behavior` hold for them too."""
    behavior: Literal["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"] = (
        "static"
    )
    """`static`: run `replicas`. `currentReplicas`: keep those that run. `currentReplicasIfHigher` and
    `currentReplicasIfLower`: keep those that run if they are more, or fewer, than `replicas`, else run `replicas`."""


class ScalingSpec(Model):
    """How many signers run at a time."""

    polling_interval: Annotated[Whole, Field(ge=1, le=INT32_MAX)] = 5
    """Seconds between two readings of the lag. KEDA's 30 would let a short job end before it was scaled once, and a
    reading costs one request to JetStream for all of a job's signers, so the default is 5."""
    cooldown_period: Seconds = 300
    """Seconds without work before the signers are reduced to `idleReplicaCount`, or to 0 where `minReplicaCount` is 0.
    Without effect if there is a minimum and no idle count. Once a job has no batch left, nothing is waited for."""
    initial_cooldown_period: Seconds = 0
    """Seconds after the job's creation in which the cooldown does not begin."""
    min_replica_count: Replicas = 0
    """Never fewer signers than this while the job has work, unless fewer keys are active or fewer batches left."""
    max_replica_count: Annotated[Whole, Field(ge=1, le=1000)] | None = None
    """Never more signers than this. Not given: on a laptop one a processor core, on Kubernetes 100."""
    idle_replica_count: Replicas | None = None
    """Signers that are kept while there is no work; less than `minReplicaCount`. Not given: `minReplicaCount`."""
    lag_threshold: Annotated[Whole, Field(ge=1, le=INT32_MAX)] = 10
    """Batches of lag for each signer: the count aimed at is the lag divided by this, rounded up. With `finishBy` or
    `finishWithin`, the count aimed at is the one that ends in time, as soon as the rate of a signer is known."""
    activation_lag_threshold: Annotated[Whole, Field(ge=0, le=INT32_MAX)] = 0
    """Batches of lag that must be exceeded before the first signer is started, or the first after the idle ones.
    Without effect if there is a minimum and no idle count."""
    fallback: Fallback | None = None
    """What to run while the lag can't be read. Not given: the signers that run are kept."""
    behavior: ScalingBehavior = ScalingBehavior()
    """How fast the number of signers may change."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "minReplicaCount",
            lambda spec: spec.max_replica_count is None or spec.min_replica_count <= spec.max_replica_count,
            "!has(self.maxReplicaCount) || self.minReplicaCount <= self.maxReplicaCount",
            "minReplicaCount ({minReplicaCount}) must not be more than maxReplicaCount ({maxReplicaCount}): "
            "lower one or raise the other",
        ),
        Rule(
            "idleReplicaCount",
            lambda spec: spec.idle_replica_count is None or spec.idle_replica_count < spec.min_replica_count,
            "!has(self.idleReplicaCount) || self.idleReplicaCount < self.minReplicaCount",
            "idleReplicaCount ({idleReplicaCount}) must be less than minReplicaCount ({minReplicaCount}): "
            "raise minReplicaCount, or leave idleReplicaCount out",
        ),
    )
