"""All metrics of the three workers, with their help, units and labels.

Units are base units (seconds). Labels have few values, defined here or in `vaultstream.records.reasons`. The job is not a
label: a process serves one job, and the scrape target identifies it. Counters count what this process knows; Postgres is the
authority. A commit whose answer was lost counts as superseded here.
"""

from __future__ import annotations

import platform
import time
from bisect import bisect_left
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily

from vaultstream.role import WorkerRole
from vaultstream.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from prometheus_client.metrics_core import Metric

BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Seconds, from 0.1 ms (signing a small batch) to a minute (waiting out an outage)."""

BATCH_OUTCOMES = ("committed", "superseded", "fenced", "retried", "split", "dead", "returned")
"""The outcome of a fetched batch, exactly one per fetch.

committed: its signatures are committed · superseded: it was settled before · fenced: its lease ended first, nothing was
written · retried: it failed and will be retried · split: its attempts are used up, two halves follow · dead: the attempts of a
single record are used up · returned: returned to the queue without a failure of its own (a service is unreachable, a table is
missing, the worker exits)
"""

LEASE_LOSSES = ("expired", "lost", "fenced")
"""expired: by the holder's clock · lost: Postgres refused the renewal · fenced: Postgres refused the commit."""

RECONCILE_OUTCOMES = ("unchanged", "made", "published", "failed")
"""made: created a missing stream or consumer · published: published messages that were new or lost."""

LAG_FRESH_SECONDS = 10.0
"""Seconds after which a lag is no longer served: an absent lag is better than a wrong one."""


def process_registry(role: str) -> CollectorRegistry:
    """Returns a registry with the metrics of the process and its build."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # an additional series per counter and histogram, which nobody uses
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = {"version": __version__, "role": role, "python": platform.python_version()}
    Info("vaultstream_build", "Version and role of this process.", registry=registry).info(build)
    return registry


class Metrics:
    """The metrics of one worker process, in their own registry.

    Args:
        role: keys, records or signing. Metrics of the other two roles can be set but are not served: a signer must not
            report a lag of zero.
    """

    def __init__(self, role: str) -> None:
        self.registry = process_registry(role)
        self.signing = SigningMetrics(self._registry_of(WorkerRole.SIGNING, role))
        self.records = RecordsMetrics(self._registry_of(WorkerRole.RECORDS, role))
        self.keys = KeysMetrics(self._registry_of(WorkerRole.KEYS, role))

    def _registry_of(self, group: str, role: str) -> CollectorRegistry | None:
        return self.registry if group == role else None


class ManyHistogram(Histogram):
    """A histogram in which many equal observations cost as much as one."""

    def observe_times(self, amount: float, times: int) -> None:
        """Observes the same amount a number of times."""
        self._sum.inc(amount * times)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(times)


class SigningMetrics:
    """Metrics of a signer: fetch → lease → read → sign → commit → ack."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(ManyHistogram, buckets=BUCKETS, registry=registry)
        self.records_signed = counter(
            "vaultstream_records_signed_total", "Records whose signatures this signer committed."
        )
        self.dead_letters = counter(
            "vaultstream_dead_letters_total",
            "Dead letters that this signer committed, by reason.",
            ["reason"],
        )
        self.batches_fetched = counter(
            "vaultstream_batches_fetched_total",
            "Batches fetched. Each is counted in vaultstream_batches_total or is still in flight.",
        )
        self.batches = counter(
            "vaultstream_batches_total",
            "Batches that this signer finished, by outcome: " + ", ".join(BATCH_OUTCOMES) + ".",
            ["outcome"],
        )
        self.leases_lost = counter(
            "vaultstream_leases_lost_total",
            "Leases that ended before their batch was committed, by reason: " + ", ".join(LEASE_LOSSES) + ".",
            ["reason"],
        )
        self.leases_expired = counter(
            "vaultstream_leases_expired_total",
            "Expired leases of any signer, found by this signer when it leased a key.",
        )
        self.in_hand = gauge(
            "vaultstream_batches_in_hand", "Batches in flight: fetched and neither acknowledged nor returned."
        )
        self.batch_seconds = histogram(
            "vaultstream_batch_duration_seconds", "Time from the fetch of a batch to its acknowledgment."
        )
        self.lease_wait_seconds = histogram(
            "vaultstream_lease_wait_seconds", "Time from the fetch of a batch to the lease of its key."
        )
        self.read_seconds = histogram(
            "vaultstream_read_duration_seconds", "Time of one read of payloads from Postgres."
        )
        self.sign_seconds = histogram(
            "vaultstream_sign_duration_seconds",
            "Time to sign what one read brought, of one or more batches, without the wait for its turn.",
        )
        self.path = Info(
            "vaultstream_signing_path",
            "What signs in this process: multibuffer, which is the native extension, or cryptography.",
            registry=registry,
        )
        self.commit_seconds = histogram(
            "vaultstream_commit_duration_seconds",
            "Time of one commit of one or more batches, with its retries while Postgres is unreachable.",
        )
        _start_at_zero(self.batches, BATCH_OUTCOMES)
        _start_at_zero(self.leases_lost, LEASE_LOSSES)

    def committed(self, *, signed: int, dead: Iterable[str]) -> None:
        """Counts the records of committed batches.

        Args:
            signed: how many have a signature.
            dead: the reasons of those that have none.
        """
        self.records_signed.inc(signed)
        for reason in dead:
            self.dead_letters.labels(reason).inc()


class RecordsMetrics:
    """Metrics of the records worker: planning, publishing and the lag."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        counter = partial(Counter, registry=registry)
        self.records_planned = counter("vaultstream_records_planned_total", "Records planned into batches.")
        self.batches_published = counter(
            "vaultstream_batches_published_total", "Batches published for the first time."
        )
        self.batches_republished = counter(
            "vaultstream_batches_republished_total",
            "Batches published again because the stream had lost them.",
        )
        self.reconciles = _reconciles(registry, RECONCILE_OUTCOMES)
        self.attestations = counter(
            "vaultstream_checkpoint_attestations_total",
            "Checkpoints offered to witnesses (kind=cosignature) and to an authority of timestamps (kind=timestamp), by outcome.",
            ["kind", "outcome"],
        )
        self.seals_refused = counter(
            "vaultstream_seals_refused_total",
            "Attempts to seal the job, its plan or its end that failed; they are repeated.",
        )
        self.lag = LagMetric()
        if registry is not None:
            registry.register(self.lag)


class KeysMetrics:
    """Metrics of the keys worker: creating and publishing keys. It publishes the keys right after it creates the stream."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        counter = partial(Counter, registry=registry)
        self.keys_made = counter("vaultstream_keys_made_total", "Private keys created and wrapped.")
        self.keys_published = counter(
            "vaultstream_keys_published_total",
            "Messages with a wrapped key published, because it was new, changed or lost.",
        )
        self.keys_ahead = Gauge(
            "vaultstream_keys_ahead",
            "Active keys whose lease, or next lease, begins in the future because the clock of Postgres was set back.",
            registry=registry,
        )
        self.keys_revoked_again = counter(
            "vaultstream_keys_revoked_again_total",
            "Keys that the file of revocations names and Postgres had as usable: a backup was restored.",
        )
        self.reconciles = _reconciles(registry, [each for each in RECONCILE_OUTCOMES if each != "made"])


class LagMetric:
    """The lag that the records worker last read, in batches; absent after `LAG_FRESH_SECONDS`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: tuple[dict[str, int], float] | None = None

    def observe(self, *, pending: int, ack_pending: int, unpublished: int) -> None:
        """Records a lag, in batches.

        Args:
            pending: in the stream and not delivered.
            ack_pending: delivered and not acknowledged.
            unpublished: planned and not yet in the stream.
        """
        states = {"pending": pending, "ack_pending": ack_pending, "unpublished": unpublished}
        self._seen = states, self._clock()

    def unknown(self) -> None:
        """Records that the lag is unknown, because there is no consumer."""
        self._seen = None

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "vaultstream_lag_batches",
            "Lag in batches, by state: pending and ack_pending in the stream, unpublished in Postgres. "
            "Absent while unknown.",
            labels=["state"],
        )
        if (seen := self._seen) and self._clock() - seen[1] <= LAG_FRESH_SECONDS:
            for state, batches in seen[0].items():
                family.add_metric([state], batches)
        yield family


def _reconciles(registry: CollectorRegistry | None, outcomes: Collection[str]) -> Counter:
    counter = Counter(
        "vaultstream_reconciles_total",
        "Comparisons of JetStream with Postgres, by outcome: " + ", ".join(outcomes) + ".",
        ["outcome"],
        registry=registry,
    )
    _start_at_zero(counter, outcomes)
    return counter


def _start_at_zero(counter: Counter, values: Iterable[str]) -> None:
    """Creates the series before their first event; otherwise `rate` would miss that event."""
    for value in values:
        counter.labels(value)
