"""Sizes the pool of one machine, by the same decision on the same inputs as the operator sizes a Deployment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vaultstream.api import JobState, ScalingSpec
from vaultstream.errors import SourceError
from vaultstream.local.runner import PoolSize, PoolState
from vaultstream.records.source import open_readable_source
from vaultstream.scaling.activity import Activity
from vaultstream.scaling.decide import decide_next
from vaultstream.scaling.decision import Decision
from vaultstream.scaling.forecast import finish_at
from vaultstream.scaling.history import History
from vaultstream.scaling.kept import KeptDecision
from vaultstream.scaling.observation import Lag, Observation, Pause, Replicas, Timing
from vaultstream.scaling.prior import Prior
from vaultstream.scaling.workload import expected_batches, expected_lag
from vaultstream.store.jobs import Job
from vaultstream.store.source_pool import SourcePool
from vaultstream.store.sql import query

PROCESS_STARTUP_SECONDS = 1.0
"""From starting a process until it signs."""
PROCESS_DRAIN_SECONDS = 0.5
LONGEST_INTERVAL_SECONDS = 1.0
"""A poll costs one query on the same machine: jobs of seconds need not wait for the `pollingInterval` of a cluster."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A decision that changed the size of the pool, and when: in Unix seconds."""

    at: float
    decision: Decision

    def to_json(self) -> dict[str, Any]:
        """Returns it as summaries show it, ready for JSON."""
        decision = self.decision
        return {
            "at": round(self.at, 3),
            "before": decision.current,
            "after": decision.desired,
            "reason": str(decision.reason),
            "limit": str(decision.limit.name) if decision.limit else None,
            "formula": decision.formula,
            "message": decision.explain(),
        }


async def estimate_batches(sources: SourcePool, job: Job) -> int:
    """Returns how many batches a job will have, from Postgres's estimate of its rows; 0 if there is no estimate.

    Signers can start while records are still being planned.
    """
    try:
        source = await open_readable_source(sources, job)
        async with sources.read(source) as connection:
            plan = await connection.fetchval(query("estimate_rows", relation=source.relation))
    except SourceError:
        return 0  # the records worker reports the reason
    explained = json.loads(plan)
    return expected_batches(int(explained[0]["Plan"]["Plan Rows"]), job.spec.batch_size)


class LocalScaler:
    """Decides how many signers a job has on this machine. Called at each poll, it decides again once it is due.

    Args:
        spec: `spec.scaling` of the job; `platform_max` limits its `maxReplicaCount`.
        platform_max: signers that this machine runs at most.
        annotations: of the job's manifest, which may pause scaling.
        clock: Unix seconds.
    """

    def __init__(
        self,
        spec: ScalingSpec,
        platform_max: int,
        *,
        annotations: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        most = min(platform_max, spec.max_replica_count or platform_max)
        self._spec = spec.model_copy(update={"max_replica_count": most})
        self._pause = Pause.read(annotations or {})
        self._expected = 0
        self._prior = Prior()
        self._clock = clock
        self._history = History()
        self._activity = Activity()
        self._size: PoolSize | None = None
        self._decided_at = 0.0
        self._batches = 0
        self._kept: KeptDecision | None = None
        self.latest: Decision | None = None
        """The latest decision, whether it changed the size or not; None: none was made yet."""
        self.taken: list[Taken] = []
        """The decisions that changed the size of the pool, oldest first."""

    def expect(self, batches: int) -> None:
        """Sets about how many batches the whole job will have; used until all are planned."""
        self._expected = batches

    def begin_with(self, prior: Prior) -> None:
        """Sets what earlier jobs of the same kind have shown."""
        self._prior = prior

    @property
    def history(self) -> History:
        """What the decisions so far have shown."""
        return self._history

    def __call__(self, state: PoolState) -> PoolSize:
        """Decides once it is due, or there are new batches. Returns the size for the pool, why it was changed last, and the decision if one was made that is news."""
        now = self._clock()
        interval = min(float(self._spec.polling_interval), LONGEST_INTERVAL_SECONDS)
        grown, self._batches = (
            state.snapshot.progress.batches > self._batches,
            state.snapshot.progress.batches,
        )
        if self._size is not None and not grown and 0 <= now - self._decided_at < interval:
            return replace(self._size, news=None)
        decision = self._decide(state, now)
        why = self._size.why if self._size else ""
        if decision.changes_count:
            self.taken.append(Taken(now, decision))
            why = decision.explain()
        self.latest = decision
        kept = KeptDecision.of(decision, now)
        news = kept if kept.is_news(self._kept) else None
        self._kept = news or self._kept
        self._decided_at, self._size = now, PoolSize(decision.desired, why, news)
        return self._size

    def _decide(self, state: PoolState, now: float) -> Decision:
        observation = self._prior.applied(self._observation(state, now), now)
        decision, self._history = decide_next(self._spec, observation, self._history, now)
        return decision

    def _observation(self, state: PoolState, now: float) -> Observation:
        job, counts = state.snapshot.job, state.snapshot.progress
        running = job.state is JobState.RUNNING
        activity = replace(self._activity, batch_size=job.spec.batch_size)
        self._activity = activity.observed(counts, ready=state.ready, running=running, now=now)
        lag = expected_lag(counts, expected=self._expected, batches_done=counts.batches_done)
        started = job.started_at.timestamp() if job.started_at else None
        return Observation(
            lag=Lag(lag),  # Postgres counts all batches, also those in JetStream
            replicas=Replicas(state.signers, state.ready, platform_max=self._spec.max_replica_count or 1),
            timing=Timing(
                created_at=job.created_at.timestamp(),
                finish_at=finish_at(job.spec.finish_by, job.spec.finish_within, started),
                startup_seconds=PROCESS_STARTUP_SECONDS,
                drain_seconds=PROCESS_DRAIN_SECONDS,
            ),
            progress=self._activity.progress(counts, now, expected=self._expected * job.spec.batch_size),
            keys_active=state.snapshot.keys_active,
            keys_asked=job.spec.keys.count,
            pause=self._pause,
        )
