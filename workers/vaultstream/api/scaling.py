"""How many signers run: KEDA's names and semantics where KEDA has the feature, HPA v2's for `behavior`.

The lag is in batches: those waiting in JetStream, those in flight, and those not yet published.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vaultstream.api.base import INT32_MAX, Model, Number, Rule, Seconds, Whole

ReplicaCount = Annotated[Whole, Field(ge=0, le=1000)]


class ScalingPolicy(Model):
    """A limit on how fast the number of signers may change."""

    type: Literal["Pods", "Percent"]
    """Unit of `value`: signers, or percent of the signers at the start of the period."""
    value: Annotated[Whole, Field(ge=1, le=INT32_MAX)]
    """Maximum change within the period, in signers or percent."""
    period_seconds: Annotated[Whole, Field(ge=1, le=1800)]
    """Length of the period, in seconds."""


class _ScalingRules(Model):
    """Fields that scale-up and scale-down share."""

    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    """Policy that applies: `Max` allows the largest change, `Min` the smallest; `Disabled` allows none in this direction."""
    tolerance: Annotated[Number, Field(ge=0)] = 0.1
    """Relative difference between the lag per signer and `lagThreshold` that is tolerated: 0.1 is 10 percent."""


class ScaleUpRules(_ScalingRules):
    """How fast the number of signers may grow."""

    stabilization_window_seconds: Annotated[Whole, Field(ge=0, le=3600)] = 0
    """Seconds to look back when scaling up; the lowest recommendation in that window is used. 0 uses the latest."""
    policies: Annotated[tuple[ScalingPolicy, ...], Field(min_length=1, max_length=16)] = (
        ScalingPolicy(type="Pods", value=4, period_seconds=15),
        ScalingPolicy(type="Percent", value=100, period_seconds=15),
    )
    """Maximum number of signers added per period. Does not limit the step up from 0 or `idleReplicaCount`."""


class ScaleDownRules(_ScalingRules):
    """How fast the number of signers may shrink."""

    stabilization_window_seconds: Annotated[Whole, Field(ge=0, le=3600)] = 300
    """Seconds to look back when scaling down; the highest recommendation in that window is used, so a short dip removes no
    signers."""
    policies: Annotated[tuple[ScalingPolicy, ...], Field(min_length=1, max_length=16)] = (
        ScalingPolicy(type="Percent", value=100, period_seconds=15),
    )
    """Maximum number of signers removed per period."""


class ScalingBehavior(Model):
    """How fast the number of signers may change, in each direction."""

    scale_up: ScaleUpRules = ScaleUpRules()
    """How fast the number of signers may grow."""
    scale_down: ScaleDownRules = ScaleDownRules()
    """How fast the number of signers may shrink."""


class Fallback(Model):
    """How many signers run after several consecutive failures to read the lag."""

    failure_threshold: Annotated[Whole, Field(ge=0, le=INT32_MAX)]
    """Consecutive failures to read the lag that are tolerated. The next failure starts the fallback."""
    replicas: ReplicaCount
    """Signers to run during the fallback. The bounds and `behavior` still apply."""
    behavior: Literal["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"] = (
        "static"
    )
    """`static`: run `replicas`. `currentReplicas`: keep the current count. `currentReplicasIfHigher` and
    `currentReplicasIfLower`: keep the current count if it is higher, or lower, than `replicas`, else run `replicas`."""


class ScalingSpec(Model):
    """How many signers run at a time."""

    polling_interval: Annotated[Whole, Field(ge=1, le=INT32_MAX)] = 5
    """Seconds between two readings of the lag. The default is lower than KEDA's 30, because a short job could end before it
    is scaled once, and a reading is a single request to JetStream."""
    cooldown_period: Seconds = 300
    """Seconds without work before the signers are reduced to `idleReplicaCount`, or to 0 if `minReplicaCount` is 0.
    No effect with a minimum and no idle count. Once a job has no batches left, its signers are removed without waiting."""
    initial_cooldown_period: Seconds = 0
    """Seconds after the job's creation before the cooldown can begin."""
    min_replica_count: ReplicaCount = 0
    """Minimum number of signers while the job has work, unless fewer keys are active or fewer batches are left."""
    max_replica_count: Annotated[Whole, Field(ge=1, le=1000)] | None = None
    """Maximum number of signers. If unset: 100 on Kubernetes, one per processor core on a laptop."""
    idle_replica_count: ReplicaCount | None = None
    """Signers kept while there is no work; less than `minReplicaCount`. If unset, `minReplicaCount`."""
    lag_threshold: Annotated[Whole, Field(ge=1, le=INT32_MAX)] | None = None
    """Target lag per signer, in batches: the recommended count is the lag divided by this, rounded up. If unset, a few signers show
    what a signer signs, and then as many run as end the job within 10 percent of the earliest possible end. With `finishBy` or
    `finishWithin`, it is the count that finishes in time, once the rate per signer is known."""
    activation_lag_threshold: Annotated[Whole, Field(ge=0, le=INT32_MAX)] = 0
    """Lag, in batches, that must be exceeded before the first signer is started, or the first beyond `idleReplicaCount`.
    No effect with a minimum and no idle count, nor once all batches are planned: no more would come."""
    fallback: Fallback | None = None
    """How many signers to run while the lag can't be read. If unset, the current count is kept."""
    behavior: ScalingBehavior = ScalingBehavior()
    """How fast the number of signers may change."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "minReplicaCount",
            lambda spec: spec.max_replica_count is None or spec.min_replica_count <= spec.max_replica_count,
            "!has(self.maxReplicaCount) || self.minReplicaCount <= self.maxReplicaCount",
            "minReplicaCount ({minReplicaCount}) must not exceed maxReplicaCount ({maxReplicaCount}): "
            "lower one or raise the other",
        ),
        Rule(
            "idleReplicaCount",
            lambda spec: spec.idle_replica_count is None or spec.idle_replica_count < spec.min_replica_count,
            "!has(self.idleReplicaCount) || self.idleReplicaCount < self.minReplicaCount",
            "idleReplicaCount ({idleReplicaCount}) must be less than minReplicaCount ({minReplicaCount}): "
            "raise minReplicaCount, or remove idleReplicaCount",
        ),
    )
