"""Reconciles one SigningJob: observes its state, plans, and carries the plan out.

Every reconcile starts from the current state. It may be repeated, interrupted, or run by two operators at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from vaultstream.api import JobState
from vaultstream.scaling.decision import Decision
from vaultstream.scaling.kept import KeptDecision
from vaultstream.scaling.observation import Lag, LagUnknown
from vaultstream.scaling.reasons import LAG_PROBLEMS, LagProblem, Reason
from vaultstream.scaling.silence import Silence, failed_again
from vaultstream_operator.api import conditions
from vaultstream_operator.api.reasons import JobReason, Statement, say
from vaultstream_operator.api.status import ConditionType, JobStatus
from vaultstream_operator.core.children import Manifest, WorkerOptions
from vaultstream_operator.core.plan import Plan, plan
from vaultstream_operator.core.report import Report
from vaultstream_operator.core.view import FINALIZER, ObjectView, StoredJob, Trouble, View
from vaultstream_operator.metrics import OperatorMetrics
from vaultstream_operator.ports import Cluster, ConflictError, Lags, Refusal, Store

log = logging.getLogger(__name__)

AT_ONCE = 0.0
MOST_STEPS = 10
CALM_SECONDS = 1.0
"""Pause after `MOST_STEPS` immediate steps: normally a few are enough, and a reconcile must not spin."""
REFUSED_SECONDS = 5.0
"""Retry interval while the API server refuses a child: no event announces that a quota was raised."""

_DECISIONS = frozenset({JobReason.SCALED_OUT, JobReason.SCALED_IN})
_COUNT_CHANGES = _DECISIONS | {JobReason.SUSPENDING}
_ENDS = frozenset({JobState.COMPLETE, JobState.FAILED})
_SETTLED = _ENDS | {JobState.SUSPENDED}
_PROBLEMS = {JobReason(problem.value): problem for problem in LAG_PROBLEMS}


class Reconciler:
    """Makes SigningJobs match their specs.

    Args:
        cluster: the API server.
        store: the jobs' data in Postgres and JetStream.
        lags: the lag of their consumers.
        options: settings of the pods.
        metrics: the metrics to update.
        clock: returns the current time.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        lags: Lags,
        options: WorkerOptions,
        *,
        metrics: OperatorMetrics,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._lags = lags
        self._options = options
        self._metrics = metrics
        self._clock = clock
        self._silences: dict[tuple[str, str], Silence] = {}
        self._deciding: set[tuple[str, str]] = set()
        self._announced: dict[tuple[str, str], tuple[int, int]] = {}
        self._ends: dict[tuple[str, str], str] = {}
        """The UID of each existing SigningJob of which Postgres knows that it has ended."""

    def decides(self, namespace: str, name: str) -> bool:
        """Returns whether the last reconcile of a SigningJob decided on its count. Then the next one is urgent."""
        return (namespace, name) in self._deciding

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Reconciles a SigningJob; returns the seconds until the next reconcile, or None to wait for an event.

        Raises:
            VaultStreamError: a service is unreachable; retry with backoff.
        """
        with self._metrics.reconciling():
            job: ObjectView | None = None
            for _ in range(MOST_STEPS):
                job = await self._cluster.get(namespace, name, known=job)
                if job is None:
                    self._ends.pop((namespace, name), None)
                    self._forget(namespace, name)
                    return None
                try:
                    again = await self._step(job)
                except ConflictError:
                    self._metrics.conflicts.inc()
                    job = None
                    continue
                if again != AT_ONCE:
                    return again
            return CALM_SECONDS

    async def _step(self, job: ObjectView) -> float | None:
        """Does the next step; returns the seconds until the following one."""
        view = await self._observe(job)
        now = self._clock()
        planned = plan(view, self._options, now)
        trouble = None
        if planned.store is not None:
            trouble = await self._store.act(planned.store, job)
        # Before the count is changed, so that no operator that takes over decides without it.
        if trouble is None and planned.memory is not None:
            decision = KeptDecision.of(planned.decision, now.timestamp()) if planned.decision else None
            trouble = await self._store.remember(planned.memory, job, decision)
        if trouble is not None:
            planned = plan(replace(view, stored=trouble), self._options, now)
        return await self._act(view, planned, now)

    async def _observe(self, job: ObjectView) -> View:
        children = await self._cluster.children(job.owner)
        lost, lost_for = self._cluster.lost(job.owner.namespace)
        ended = conditions.ended_by(job.status.conditions) is not None
        # The status is no proof that a job has ended: before anything is deleted for that, Postgres is asked, and else once.
        acts = children.any or job.spec is None or job.spec.ttl_seconds_after_finished is not None
        key = job.owner.namespace, job.owner.name
        known = ended and not acts and self._ends.get(key) == job.owner.uid
        unneeded = known or (FINALIZER not in job.finalizers and not ended)
        if unneeded and not (job.deleting and FINALIZER in job.finalizers):
            return View(job, stored=None, lag=None, children=children, lost=lost, lost_for=lost_for)
        stored = await self._store.find(job)
        if isinstance(stored, StoredJob) and stored.ours and stored.state in _ENDS:
            self._ends[key] = job.owner.uid
        lag = None if lost else await self._lag(job, stored)
        return View(job, stored=stored, lag=lag, children=children, lost=lost, lost_for=lost_for)

    async def _lag(self, job: ObjectView, stored: StoredJob | Trouble | None) -> Lag | LagUnknown | None:
        match stored:
            case Trouble(passing=True):
                return self._unknown(job, _PROBLEMS.get(stored.reason, Reason.POSTGRES_UNREACHABLE))
            case StoredJob(ours=True) if stored.state not in _SETTLED and not job.deleting:
                found = await self._lags.read(stored.token, stored.tenant)
                if not isinstance(found, Lag):
                    return self._unknown(job, found)
                self._silences.pop((job.owner.namespace, job.owner.name), None)
                return found
            case _:
                return None

    def _unknown(self, job: ObjectView, state: LagProblem) -> LagUnknown:
        key, interval = (job.owner.namespace, job.owner.name), 1.0
        if job.spec:
            interval = float(job.spec.scaling.polling_interval)
        now = self._clock().timestamp()
        silence = failed_again(self._silences.get(key), state, interval=interval, now=now)
        self._silences[key] = silence
        return silence.unknown

    async def _act(self, view: View, planned: Plan, now: datetime) -> float | None:
        job, owner = view.job, view.job.owner
        if planned.remove_finalizer:
            await self._record(job, planned.events)
            await self._cluster.set_finalizer(job, present=False)
            self._ends.pop((owner.namespace, owner.name), None)
            self._forget(job.owner.namespace, job.owner.name)
            return planned.requeue_after
        if planned.add_finalizer:
            await self._cluster.set_finalizer(job, present=True)
            return AT_ONCE
        if planned.mark_idle and isinstance(view.stored, StoredJob):
            await self._cluster.mark_idle(owner, await self._store.busy_pods(view.stored.token))
        status, requeue_after = planned.status, planned.requeue_after
        scaled = tuple(said for said in planned.events if said.reason in _COUNT_CHANGES)
        events = tuple(said for said in planned.events if said.reason not in _COUNT_CHANGES)
        news = False
        if scaled:
            job, news = await self._announce(view, planned, scaled)
        if planned.apply and (refused := await self._apply(planned.apply)) is not None:
            report = _of(job, replace(planned, events=events), now).stalled(refused)
            status, events, requeue_after = report.status, report.events, REFUSED_SECONDS
        for role in planned.nudge:
            await self._cluster.nudge(owner, role)
        for role in planned.delete:
            await self._cluster.delete_child(owner, role)
        if requeue_after != AT_ONCE:  # else the next step follows at once and writes the status
            await self._cluster.write_status(job, status)
        await self._record(job, events)
        self._note(job, status, planned.decision, news=news)
        if planned.delete_object:  # last: a deleted object gets no more Events
            await self._cluster.delete_object(job)
        return requeue_after

    async def _announce(
        self, view: View, planned: Plan, scaled: tuple[Statement, ...]
    ) -> tuple[ObjectView, bool]:
        """Writes a change of the count to the status and reports it before it is made, so that a crash leaves no unexplained change.

        Returns the updated job, and whether the change is new: a change that the API server refuses, or that is not visible
        yet, is planned repeatedly. The rest of the status is written at the end of the step.
        """
        scaling = planned.status.scaling
        job = await self._cluster.write_status(
            view.job, view.job.status.model_copy(update={"scaling": scaling})
        )
        key = job.owner.namespace, job.owner.name
        generation = planned.memory.generation if planned.memory else 0
        change = (generation, scaling.desired if scaling else 0)
        if self._announced.get(key) == change:
            return job, False
        await self._record(job, scaled)
        self._announced[key] = change
        return job, True

    async def _apply(self, manifests: tuple[Manifest, ...]) -> Statement | None:
        """Applies children; returns the statement about the first that the API server refuses."""
        refused: Statement | None = None
        for manifest in manifests:
            try:
                await self._cluster.apply(manifest)
            except Refusal as refusal:
                kind, name = manifest["kind"], manifest["metadata"]["name"]
                if refusal.not_ours:
                    statement = say(JobReason.CHILD_NOT_OURS, kind=kind, name=name)
                else:
                    problem = _sentence(str(refusal))
                    statement = say(JobReason.CHILD_REFUSED, kind=kind, name=name, problem=problem)
                refused = refused or statement
        return refused

    async def _record(self, job: ObjectView, statements: tuple[Statement, ...]) -> None:
        for statement in statements:
            if await self._cluster.record_event(job.owner, statement):
                self._metrics.events.labels(statement.reason).inc()
            if statement.reason in _DECISIONS:
                continue  # logged with the inputs of the decision
            log.log(
                logging.WARNING if statement.event_type == "Warning" else logging.INFO,
                statement.message,
                extra=_where(job) | {"reason": str(statement.reason)},
            )

    def _note(self, job: ObjectView, status: JobStatus, decision: Decision | None, *, news: bool) -> None:
        key = job.owner.namespace, job.owner.name
        if conditions.ended_by(status.conditions) is not None:
            self._forget(*key)
            self._metrics.stands(*key, status.conditions)
            return
        self._metrics.stands(*key, status.conditions)
        if decision is None:
            self._deciding.discard(key)
        else:
            self._deciding.add(key)
        self._metrics.observed(*key, status, decision)
        if decision is not None:
            log.log(
                logging.INFO if news else logging.DEBUG,
                decision.explain(),
                extra=_where(job) | {"reason": str(decision.reason), "decided": decision.dump()},
            )

    def _forget(self, namespace: str, name: str) -> None:
        self._silences.pop((namespace, name), None)
        self._deciding.discard((namespace, name))
        self._announced.pop((namespace, name), None)
        self._metrics.forget(namespace, name)
        self._store.forget(namespace, name)


def _of(job: ObjectView, planned: Plan, now: datetime) -> Report:
    """Returns the report of a plan that was not carried out: Reconciling and Stalled are as before."""
    stands = (ConditionType.RECONCILING, ConditionType.STALLED)
    before = {c.type: c for c in job.status.conditions if c.type in stands}
    listed = tuple(before.get(c.type, c) for c in planned.status.conditions)
    status = planned.status.model_copy(update={"conditions": listed})
    return Report(status, planned.events, job.status, job.generation, now)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _where(job: ObjectView) -> dict[str, str]:
    return {"namespace": job.owner.namespace, "job": job.owner.name}
