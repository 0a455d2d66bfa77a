"""KEDA with its scaler for NATS JetStream, and the HPA that it creates. Both have a clock of their own, with a random phase.

As in KEDA 2.15: `RequestScale` of pkg/scaling/executor/scale_scaledobjects.go takes the count from 0 to the minimum (or 1), and back to 0 after the
cooldown. In between the HPA decides, which reads the lag at each of its syncs. The lag is `num_pending` plus
`num_ack_pending` of the consumer: what is in the stream, not what is planned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

from vaultstream.api import ScaleDownRules, ScaleUpRules, ScalingBehavior, ScalingPolicy
from vaultstream.scaling.observation import Lag
from vaultstream.simulation.plant import Sight
from vaultstream.simulation.rivals.hpa import HorizontalAutoscaler

HPA_SYNC_SECONDS: Final = 15.0
"""`--horizontal-pod-autoscaler-sync-period` of the controller manager."""
_ON_TIME = 1e-6


@dataclass(frozen=True, slots=True)
class KedaOptions:
    """The fields of a ScaledObject, with KEDA's defaults.

    Attributes:
        polling_interval: seconds between two checks whether there is work.
        cooldown_period: seconds without work until the count is 0.
        lag_threshold: of the trigger: messages per replica.
        activation_lag_threshold: of the trigger: messages that must be exceeded.
        behavior: of the HPA.
    """

    polling_interval: float = 30.0
    cooldown_period: float = 300.0
    least: int = 0
    most: int = 100
    lag_threshold: int = 10
    activation_lag_threshold: int = 0
    behavior: ScalingBehavior = field(default_factory=ScalingBehavior)

    def tuned(self) -> KedaOptions:
        """Returns the options with the fastest clocks: a poll per second, no window, no limit of a step, a short cooldown."""
        return KedaOptions(
            polling_interval=1.0,
            cooldown_period=15.0,
            least=self.least,
            most=self.most,
            lag_threshold=self.lag_threshold,
            activation_lag_threshold=self.activation_lag_threshold,
            behavior=UNLIMITED,
        )


UNLIMITED: Final = ScalingBehavior(
    scale_up=ScaleUpRules(policies=(ScalingPolicy(type="Pods", value=1000, period_seconds=1),)),
    scale_down=ScaleDownRules(
        stabilization_window_seconds=0, policies=(ScalingPolicy(type="Pods", value=1000, period_seconds=1),)
    ),
)
"""An HPA that goes to each count at once."""


class Keda:
    """Decides as KEDA and its HPA do.

    Args:
        options: of the ScaledObject.
        random: gives the phases of the two clocks.
    """

    def __init__(self, options: KedaOptions, random: Random) -> None:
        self._options = options
        self._hpa = HorizontalAutoscaler(options.behavior, max(1, options.least), options.most)
        self._next_poll = random.uniform(0.0, options.polling_interval)
        self._next_sync = random.uniform(0.0, HPA_SYNC_SECONDS)
        self._active_at: float | None = None
        self._now = 0.0

    @property
    def interval(self) -> float:
        """Seconds until the next of the two clocks ticks."""
        return max(_ON_TIME, min(self._next_poll, self._next_sync) - self._now)

    def decide(self, sight: Sight) -> int:
        """Returns the count after what is due at this moment."""
        self._now, count = sight.now, sight.requested
        if sight.now + _ON_TIME >= self._next_poll:
            self._next_poll += self._options.polling_interval
            count = self._polled(sight, count)
        if sight.now + _ON_TIME >= self._next_sync:
            self._next_sync += HPA_SYNC_SECONDS
            if count == sight.requested and isinstance(sight.lag, Lag):
                count = self._hpa.sync(count, sight.lag.total, self._options.lag_threshold, sight.now)
        return count

    def _polled(self, sight: Sight, count: int) -> int:
        if not isinstance(sight.lag, Lag):
            return count  # an error of the scaler keeps the count
        if sight.lag.total > self._options.activation_lag_threshold:
            self._active_at = sight.now
            return count or max(1, self._options.least)
        idle_since = self._active_at if self._active_at is not None else 0.0
        over = sight.now - idle_since >= self._options.cooldown_period
        return 0 if self._options.least == 0 and over else count
