"""All metrics of the operator, with their help, units and labels.

Per-job series exist only while their SigningJob runs; those of its conditions, until it is deleted.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from prometheus_client import Counter, Gauge, Histogram

from vaultstream.scaling.decision import Decision
from vaultstream.scaling.reasons import LAG_PROBLEMS, Reason
from vaultstream.telemetry.metrics import process_registry
from vaultstream_operator.api.status import Condition, JobStatus

HOLDS = (*LAG_PROBLEMS, Reason.NOTHING_SIGNED)
"""Reasons for holding the count: too little is known, or another number of signers would make no difference."""

OPERATOR_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BY_JOB = ["namespace", "name"]
_WORK = ("scaling", "other")
_STATES = ("signed", "dead", "left")


class _Queue(Protocol):
    @property
    def depth(self) -> int: ...
    @property
    def busy(self) -> int: ...


class OperatorMetrics:
    """The metrics of one operator process, in their own registry."""

    def __init__(self) -> None:
        registry = self.registry = process_registry("operator")
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, buckets=OPERATOR_BUCKETS, registry=registry)
        self.reconcile_seconds = histogram(
            "vaultstream_reconcile_duration_seconds",
            "Duration of one reconcile of a SigningJob, with all its actions.",
        )
        self.reconcile_errors = counter(
            "vaultstream_reconcile_errors_total", "Reconciles that failed; they are retried."
        )
        self.conflicts = counter(
            "vaultstream_reconcile_conflicts_total",
            "Reconcile steps repeated at once because the SigningJob had changed in the meantime.",
        )
        self.queue_depth = gauge(
            "vaultstream_queue_depth", "SigningJobs that are due and wait for a reconcile."
        )
        self.queue_busy = gauge("vaultstream_queue_busy", "SigningJobs that are being reconciled.")
        self.queue_wait_seconds = histogram(
            "vaultstream_queue_wait_seconds",
            "Time from when a SigningJob was due until its reconcile began. "
            "Work: scaling, for jobs whose signers follow a lag, takes precedence over other.",
            ["work"],
        )
        self.resyncs = counter(
            "vaultstream_resync_news_total",
            "SigningJobs with a change that a list found before a watch delivered it.",
        )
        self.decisions = counter(
            "vaultstream_scaling_decisions_total", "Decisions on the number of signers, by rule.", ["reason"]
        )
        self.events = counter("vaultstream_events_total", "Events recorded, by reason.", ["reason"])
        self._desired = gauge("vaultstream_signers_desired", "Number of signers decided on.", _BY_JOB)
        self._ready = gauge("vaultstream_signers_ready", "Number of signers that are ready.", _BY_JOB)
        self._lag = gauge(
            "vaultstream_job_lag_batches", "Lag of the job, in batches. Absent while unknown.", _BY_JOB
        )
        self._hold = gauge(
            "vaultstream_scaling_hold",
            "1 while the count is held for this reason, else 0. Reasons: " + ", ".join(HOLDS) + ".",
            [*_BY_JOB, "reason"],
        )
        self._records = gauge(
            "vaultstream_job_records",
            "Planned records of the job, by state: signed, dead or left.",
            [*_BY_JOB, "state"],
        )
        self._condition = gauge(
            "vaultstream_job_condition",
            "1 for each condition of a SigningJob that is True, such as Stalled or Failed, until the SigningJob is deleted.",
            [*_BY_JOB, "type", "reason"],
        )
        self.leader = gauge(
            "vaultstream_operator_leader",
            "1 while this operator leads and works, 0 while it stands by.",
        )
        self._true: dict[tuple[str, str], set[tuple[str, str]]] = {}
        """The conditions that are True by job: type and reason."""
        self._lost = gauge(
            "vaultstream_namespace_lost",
            "1 while the operator can't work in this namespace, 0 while it can. Absent if it watches all namespaces.",
            ["namespace"],
        )
        self.namespaces_unlisted = gauge(
            "vaultstream_namespaces_unlisted",
            "1 while the operator may not list namespaces and serves those that its selector selected last, otherwise 0.",
        )
        self._namespaces: set[str] = set()
        for work in _WORK:
            self.queue_wait_seconds.labels(work)

    def watch(self, queue: _Queue) -> None:
        """Makes the gauges of the queue read from `queue`."""
        self.queue_depth.set_function(lambda: queue.depth)
        self.queue_busy.set_function(lambda: queue.busy)

    @contextmanager
    def reconciling(self) -> Iterator[None]:
        """Times a reconcile, and counts it as an error if it raises."""
        began = time.perf_counter()
        try:
            yield
        except Exception:
            self.reconcile_errors.inc()
            raise
        finally:
            self.reconcile_seconds.observe(time.perf_counter() - began)

    def waited(self, seconds: float, *, scaling: bool) -> None:
        """Records how long a due SigningJob waited, in seconds."""
        self.queue_wait_seconds.labels(_WORK[0] if scaling else _WORK[1]).observe(seconds)

    def observed(self, namespace: str, name: str, status: JobStatus, decision: Decision | None) -> None:
        """Records a job's status and the decision on its signers; None if there was no decision."""
        if decision is not None:
            self.decisions.labels(decision.reason).inc()
        if status.scaling is not None:
            self._desired.labels(namespace, name).set(status.scaling.desired)
            self._ready.labels(namespace, name).set(status.scaling.ready)
        held = decision.reason if decision is not None and decision.hold else None
        for reason in HOLDS:
            self._hold.labels(namespace, name, reason).set(reason == held)
        if decision is None or status.lag is None:
            _remove(self._lag, namespace, name)
        else:
            self._lag.labels(namespace, name).set(status.lag)
        if status.records is not None:
            signed, dead = status.signed or 0, status.dead or 0
            counts = (signed, dead, max(0, status.records - signed - dead))
            for state, records in zip(_STATES, counts, strict=True):
                self._records.labels(namespace, name, state).set(records)

    def stands(self, namespace: str, name: str, conditions: Collection[Condition]) -> None:
        """Records which conditions of a job are True."""
        now = {(str(c.type), str(c.reason)) for c in conditions if c.status == "True"}
        before = self._true.get((namespace, name), set())
        for former in before - now:
            _remove(self._condition, namespace, name, *former)
        for kind, reason in now - before:
            self._condition.labels(namespace, name, kind, reason).set(1)
        if now:
            self._true[namespace, name] = now
        else:
            self._true.pop((namespace, name), None)

    def reaches(self, served: Collection[str], lost: Collection[str]) -> None:
        """Records in which namespaces the operator can work, and in which it can't."""
        for namespace in self._namespaces - {*served, *lost}:
            _remove(self._lost, namespace)
        for namespace in (*served, *lost):
            self._lost.labels(namespace).set(namespace in lost)
        self._namespaces = {*served, *lost}

    def forget(self, namespace: str, name: str) -> None:
        """Removes the series of a job that was deleted or has ended."""
        for gauge in (self._desired, self._ready, self._lag):
            _remove(gauge, namespace, name)
        for reason in HOLDS:
            _remove(self._hold, namespace, name, reason)
        for state in _STATES:
            _remove(self._records, namespace, name, state)
        self.stands(namespace, name, ())


def _remove(gauge: Gauge, *labels: str) -> None:
    try:
        gauge.remove(*labels)
    except KeyError:
        return
