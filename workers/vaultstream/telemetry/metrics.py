"""Every metric of the three workers: names, help, units, labels.

Base units (seconds), and labels with few values that are known here or in `vaultstream.records.reasons`. A job is no
label: a process serves one job, and the scrape's target says which. The counters say what this process knows to have
happened; Postgres stays the authority (a commit whose answer got lost counts there, and here as superseded).
"""

from __future__ import annotations

import platform
import time
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

from vaultstream.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from prometheus_client.metrics_core import Metric

BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Seconds, from a tenth of a millisecond (a small batch, signed) to a minute (a service that came back)."""

BATCH_OUTCOMES = ("committed", "superseded", "fenced", "retried", "split", "dead", "returned")
"""What becomes of a batch in hand, one of these each time that it was fetched:

committed: its signatures are in · superseded: it was settled before · fenced: its lease ended first, nothing was written ·
retried: a counted failure, to be tried again · split: its attempts are used up, two halves follow · dead: the same of one
record alone · returned: given back with no one at fault (a service is away, a table is missing, the worker leaves)
"""

LEASE_LOSSES = ("expired", "lost", "fenced")
"""expired: by the holder's own clock · lost: Postgres no longer knew it at a renewal · fenced: Postgres refused the commit."""

RECONCILE_OUTCOMES = ("unchanged", "made", "published", "failed")
"""made: the stream or the consumer, which was missing · published: what was missing in the stream, new or lost."""

LAG_FRESH_SECONDS = 10.0
"""A lag that was looked at longer ago is not served: none is better than a wrong one, and neither reads as zero."""


def process_registry(role: str) -> CollectorRegistry:
    """Returns the registry of a process of ours: with what the system knows of it, and which version of what it is."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter and histogram, which nobody asks for
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = {"version": __version__, "role": role, "python": platform.python_version()}
    Info("vaultstream_build", "What runs here.", registry=registry).info(build)
    return registry


class Metrics:
    """The metrics of one worker process, in a registry of its own.

    Args:
        role: keys, records or signing. Metrics of the other two roles can be set, but are not served: a signer must not
            claim that the lag is zero.
    """

    def __init__(self, role: str) -> None:
        self.registry = process_registry(role)
        self.signing = SigningMetrics(self._registry_of("signing", role))
        self.records = RecordsMetrics(self._registry_of("records", role))
        self.keys = KeysMetrics(self._registry_of("keys", role))

    def _registry_of(self, group: str, role: str) -> CollectorRegistry | None:
        return self.registry if group == role else None


class SigningMetrics:
    """What a signer does: fetch → lease → read → sign → commit → ack."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self.records_signed = Counter(
            "vaultstream_records_signed_total",
            "Records whose signatures this signer committed.",
            registry=registry,
        )
        self.dead_letters = Counter(
            "vaultstream_dead_letters_total",
            "Records that this signer committed to the dead letters, by reason.",
            ["reason"],
            registry=registry,
        )
        self.batches_fetched = Counter(
            "vaultstream_batches_fetched_total",
            "Batches taken in hand; each ends in vaultstream_batches_total, or is in hand.",
            registry=registry,
        )
        self.batches = Counter(
            "vaultstream_batches_total",
            "Batches that left this signer's hands, by outcome: " + ", ".join(BATCH_OUTCOMES) + ".",
            ["outcome"],
            registry=registry,
        )
        self.leases_lost = Counter(
            "vaultstream_leases_lost_total",
            "Leases that ended before their batch was committed, by how: " + ", ".join(LEASE_LOSSES) + ".",
            ["reason"],
            registry=registry,
        )
        self.leases_expired = Counter(
            "vaultstream_leases_expired_total",
            "Leases of any signer that ran out, as this one found them when it leased: also of signers that are gone.",
            registry=registry,
        )
        self.in_hand = Gauge(
            "vaultstream_batches_in_hand",
            "Batches fetched and neither acknowledged nor given back.",
            registry=registry,
        )
        self.batch_seconds = _histogram(
            "vaultstream_batch_duration_seconds", "From a batch's fetch to its acknowledgement.", registry
        )
        self.lease_wait_seconds = _histogram(
            "vaultstream_lease_wait_seconds", "From a batch's fetch to the lease of its key.", registry
        )
        self.read_seconds = _histogram(
            "vaultstream_read_duration_seconds", "Reading a batch's payloads from Postgres.", registry
        )
        self.sign_seconds = _histogram(
            "vaultstream_sign_duration_seconds", "Signing a batch, without the wait for its turn.", registry
        )
        self.commit_seconds = _histogram(
            "vaultstream_commit_duration_seconds",
            "One commit of one or more batches, with its attempts while Postgres is away.",
            registry,
        )
        _start_at_zero(self.batches, BATCH_OUTCOMES)
        _start_at_zero(self.leases_lost, LEASE_LOSSES)

    def committed(self, *, signed: int, dead: Iterable[str]) -> None:
        """Counts the records of a committed batch.

        Args:
            signed: how many have a signature.
            dead: the reasons of those that have none.
        """
        self.records_signed.inc(signed)
        for reason in dead:
            self.dead_letters.labels(reason).inc()


class RecordsMetrics:
    """What the records worker plans, publishes and sees."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self.records_planned = Counter(
            "vaultstream_records_planned_total", "Records cut into batches.", registry=registry
        )
        self.batches_published = Counter(
            "vaultstream_batches_published_total",
            "Batches published for the first time.",
            registry=registry,
        )
        self.batches_republished = Counter(
            "vaultstream_batches_republished_total",
            "Batches published anew because the stream had lost them.",
            registry=registry,
        )
        self.reconciles = _reconciles(registry, RECONCILE_OUTCOMES)
        self.lag = LagMetric()
        if registry is not None:
            registry.register(self.lag)


class KeysMetrics:
    """What the keys worker makes and spreads. It publishes a stream's keys as soon as it made the stream."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self.keys_made = Counter(
            "vaultstream_keys_made_total", "Private keys made and wrapped.", registry=registry
        )
        self.keys_published = Counter(
            "vaultstream_keys_published_total",
            "Messages with a wrapped key, new, changed or lost, that were published.",
            registry=registry,
        )
        self.reconciles = _reconciles(registry, [each for each in RECONCILE_OUTCOMES if each != "made"])


class LagMetric:
    """Batches of the job that wait, as the records worker last saw them; nothing at all once that is long ago."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: tuple[dict[str, int], float] | None = None

    def observe(self, *, pending: int, ack_pending: int, unpublished: int) -> None:
        """Takes note of a lag, in batches.

        Args:
            pending: in the stream, delivered to nobody.
            ack_pending: delivered, not acknowledged.
            unpublished: planned, not in the stream yet.
        """
        states = {"pending": pending, "ack_pending": ack_pending, "unpublished": unpublished}
        self._seen = states, self._clock()

    def unknown(self) -> None:
        """Takes note that there is no consumer to ask."""
        self._seen = None

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "vaultstream_lag_batches",
            "Batches that wait, by state: pending and ack_pending in the stream, unpublished in Postgres. "
            "Absent while unknown.",
            labels=["state"],
        )
        if (seen := self._seen) and self._clock() - seen[1] <= LAG_FRESH_SECONDS:
            for state, batches in seen[0].items():
                family.add_metric([state], batches)
        yield family


def _histogram(name: str, text: str, registry: CollectorRegistry | None) -> Histogram:
    return Histogram(name, text, buckets=BUCKETS, registry=registry)


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
    """Makes series appear before their first event, without which `rate` would miss it."""
    for value in values:
        counter.labels(value)
