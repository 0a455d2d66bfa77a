"""The pool of one machine, sized by the very same decision that sizes Deployments."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vaultstream.api import ScalingSpec
from vaultstream.errors import SourceError
from vaultstream.local.runner import PoolLook, PoolSize
from vaultstream.records.source import inspect_source
from vaultstream.scaling.decide import decide
from vaultstream.scaling.decision import Decision
from vaultstream.scaling.forecast import finish_at
from vaultstream.scaling.history import History
from vaultstream.scaling.observation import Lag, Observation, Pause, Progress, Replicas, Timing
from vaultstream.store.database import Connection
from vaultstream.store.jobs import Job
from vaultstream.store.sql import query

STARTUP_SECONDS = 1.0
"""From starting a process until it signs."""
DRAIN_SECONDS = 0.5
LONGEST_INTERVAL_SECONDS = 1.0
"""A look costs one query on the same machine: jobs of seconds need not wait for a `pollingInterval` of a cluster."""


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


async def expected_batches(connection: Connection, job: Job) -> int:
    """Returns how many batches a job will have, as Postgres estimates its table without reading it; 0: it can't tell.

    So signers start while the records are still being found, and not after.
    """
    try:
        source = await inspect_source(connection, job.spec.records)
    except SourceError:
        return 0  # the records worker tells why
    explained = json.loads(await connection.fetchval(query("estimate_rows", relation=source.relation)))
    return -(-int(explained[0]["Plan"]["Plan Rows"]) // job.spec.batch_size)


class LocalScaler:
    """Decides how many signers a job has on this machine. Called at each look, it decides anew when it is time.

    Args:
        spec: `spec.scaling` of the job; its `maxReplicaCount` counts as far as `platform_max` allows.
        platform_max: signers that this machine runs at the most.
        annotations: of the job's manifest: they may pause scaling.
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
        self._clock = clock
        self._history = History()
        self._size: PoolSize | None = None
        self._decided_at = 0.0
        self.taken: list[Taken] = []
        """The decisions that changed the size of the pool, oldest first."""

    def expect(self, batches: int) -> None:
        """Says how many batches the whole job will have, more or less; it counts until all are planned."""
        self._expected = batches

    def __call__(self, look: PoolLook) -> PoolSize:
        """Returns the size that the pool shall have, and why it was changed last."""
        now = self._clock()
        interval = min(float(self._spec.polling_interval), LONGEST_INTERVAL_SECONDS)
        if self._size is not None and 0 <= now - self._decided_at < interval:
            return self._size
        decision = self._decide(look, now)
        why = self._size.why if self._size else ""
        if decision.changes_count:
            self.taken.append(Taken(now, decision))
            why = decision.explain()
        self._decided_at, self._size = now, PoolSize(decision.desired, why)
        return self._size

    def _decide(self, look: PoolLook, now: float) -> Decision:
        observation = self._observation(look)
        decision = decide(self._spec, observation, self._history, now)
        history = self._history.observed(self._spec, observation, decision, now)
        self._history = history.scaled(self._spec, decision, now)
        return decision

    def _observation(self, look: PoolLook) -> Observation:
        job, progress, keys = look.job, look.progress, look.keys
        left = progress.batches_pending
        if not job.planned:
            left = max(left, self._expected - progress.batches_done)
        started = job.started_at.timestamp() if job.started_at else None
        return Observation(
            lag=Lag(left),  # Postgres knows them all, those in JetStream too
            replicas=Replicas(look.signers, look.ready, platform_max=self._spec.max_replica_count or 1),
            timing=Timing(
                created_at=job.created_at.timestamp(),
                finish_at=finish_at(job.spec.finish_by, job.spec.finish_within, started),
                startup_seconds=STARTUP_SECONDS,
                drain_seconds=DRAIN_SECONDS,
            ),
            progress=Progress(
                records_left=progress.records_pending if job.planned else None,
                batches_left=progress.batches_pending,
                planned=job.planned,
                records_per_second=look.rate,
            ),
            keys_active=keys.active if keys.made >= job.spec.keys.count else None,
            pause=self._pause,
        )
