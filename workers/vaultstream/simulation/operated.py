"""The operator's own control loop: its observer and its decision, on what a model shows."""

from __future__ import annotations

from vaultstream.scaling.activity import Activity
from vaultstream.scaling.decide import decide_next
from vaultstream.scaling.decision import Decision
from vaultstream.scaling.history import History
from vaultstream.scaling.observation import Lag, LagUnknown, Observation, Replicas, Timing
from vaultstream.scaling.prior import Prior
from vaultstream.scaling.silence import Silence, failed_again
from vaultstream.scaling.workload import (
    POD_DRAIN_SECONDS,
    POD_STARTUP_SECONDS,
    unplanned_batches,
    wait_for_records,
    whole_lag,
)
from vaultstream.simulation.plant import Sight
from vaultstream.simulation.scenario import Scenario


class Operated:
    """Decides as the operator does. Keeps what the operator keeps between two reconciles."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._spec = scenario.scaling
        self._activity = Activity(batch_size=scenario.batch_size)
        self._silence: Silence | None = None
        self._has_records, self._now = False, 0.0
        self._prior = scenario.prior or Prior()
        self.history = History()
        self.latest: Decision | None = None

    @property
    def interval(self) -> float:
        """Seconds between two decisions, unless a change of a pod asks for one sooner."""
        interval = float(self._spec.polling_interval)
        return interval if self._has_records else min(interval, wait_for_records(self._now))

    def decide(self, sight: Sight) -> Decision | int:
        """Returns the decision on what is seen now; the count as it is while the operator is replaced."""
        if any(restart.begin <= sight.now < restart.end for restart in self._scenario.restarts):
            self._activity, self._silence = Activity(batch_size=self._scenario.batch_size), None
            return sight.requested
        self._now = sight.now
        self._has_records = self._has_records or sight.counts.records_left + sight.counts.settled > 0
        observation = self._prior.applied(self._observed(sight), sight.now)
        history = self.history.beginning_with(sight.requested, sight.now)
        self.latest, self.history = decide_next(self._spec, observation, history, sight.now)
        return self.latest

    def _observed(self, sight: Sight) -> Observation:
        counts, now = sight.counts, sight.now
        self._activity = self._activity.observed(counts, ready=sight.ready, running=True, now=now)
        return Observation(
            lag=self._lag(sight),
            replicas=Replicas(sight.requested, sight.ready, unplaced=sight.unplaced),
            timing=Timing(
                created_at=0.0,
                finish_at=self._scenario.finish_within,
                startup_seconds=POD_STARTUP_SECONDS,
                drain_seconds=POD_DRAIN_SECONDS,
            ),
            progress=self._activity.progress(counts, now, expected=self._scenario.estimated),
            keys_active=sight.keys_active,
            keys_asked=self._scenario.keys,
        )

    def _lag(self, sight: Sight) -> Lag | LagUnknown:
        read: Lag | LagUnknown
        if isinstance(sight.lag, Lag):
            self._silence, read = None, sight.lag
        else:
            self._silence = failed_again(
                self._silence, sight.lag, interval=float(self._spec.polling_interval), now=sight.now
            )
            read = self._silence.unknown
        return whole_lag(
            read,
            batches_left=sight.counts.batches_left,
            unpublished=sight.unpublished,
            unplanned=unplanned_batches(
                sight.counts, expected=self._scenario.estimated, batch_size=self._scenario.batch_size
            ),
            published=sight.batches_done > 0 or sight.counts.batches_left > sight.unpublished,
        )
