from __future__ import annotations

import random

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from support.scraping import Series, by_label, parse, value
from vaultstream.records import reasons
from vaultstream.signing import failures
from vaultstream.store.leases import COMMITTED, FENCED, SUPERSEDED
from vaultstream.telemetry.metrics import (
    BATCH_OUTCOMES,
    BUCKETS,
    LAG_FRESH_SECONDS,
    LEASE_LOSSES,
    LagMetric,
    Metrics,
)

pytestmark = pytest.mark.unit

ROLES = ("signing", "records", "keys")
REASONS = (*reasons.SENTENCES, reasons.UNSIGNABLE, reasons.SIGNER_LOST)
LABELS = {"outcome", "reason", "state", "le", "role", "version", "python"}


def exposed(metrics: Metrics) -> Series:
    return parse(generate_latest(metrics.registry).decode())


def own_names(metrics: Metrics) -> set[str]:
    return {name for name, _ in exposed(metrics) if not name.startswith("process_")}


@pytest.mark.parametrize("role", ROLES)
def test_each_metric_has_its_prefix_its_help_and_a_base_unit(role: str) -> None:
    for family in Metrics(role).registry.collect():
        if family.name.startswith("process_"):
            continue
        assert family.name.startswith("vaultstream_")
        assert family.documentation.endswith((".", "unknown."))
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        assert not any(word in family.name for word in ("millis", "_ms", "minutes", "kilo", "percent"))


@pytest.mark.parametrize("role", ROLES)
def test_the_exposition_parses_in_both_formats(role: str) -> None:
    metrics = Metrics(role)
    plain = exposed(metrics)
    rich = {
        (sample.name, frozenset(sample.labels.items()))
        for family in parse_openmetrics(generate_openmetrics(metrics.registry).decode())
        for sample in family.samples
    }
    assert set(plain) == rich
    assert not any(name.endswith("_created") for name, _ in plain)
    assert value(plain, "process_start_time_seconds") > 0


def test_a_worker_serves_the_metrics_of_its_own_role() -> None:
    signing, records, keys = (own_names(Metrics(role)) for role in ROLES)
    assert "vaultstream_records_signed_total" in signing - records - keys
    assert "vaultstream_batches_published_total" in records - signing - keys
    assert "vaultstream_keys_made_total" in keys - signing - records
    assert signing & records & keys == {"vaultstream_build_info"}


def test_two_workers_in_one_process_count_apart() -> None:
    one, other = Metrics("signing"), Metrics("signing")
    one.signing.committed(signed=7, dead=[])
    assert value(exposed(one), "vaultstream_records_signed_total") == 7
    assert value(exposed(other), "vaultstream_records_signed_total") == 0


def test_a_committed_batch_counts_its_records_by_what_became_of_them() -> None:
    metrics = Metrics("signing")
    metrics.signing.committed(signed=3, dead=[reasons.PAYLOAD_NULL, reasons.PAYLOAD_NULL])
    series = exposed(metrics)
    assert value(series, "vaultstream_records_signed_total") == 3
    assert by_label(series, "vaultstream_dead_letters_total", "reason") == {reasons.PAYLOAD_NULL: 2}


def test_what_can_happen_to_a_batch_is_among_the_outcomes() -> None:
    assert {COMMITTED, FENCED, SUPERSEDED, *failures._OUTCOMES.values()} | {"returned"} == set(BATCH_OUTCOMES)


def test_outcomes_are_there_before_the_first_event() -> None:
    series = exposed(Metrics("signing"))
    for outcome in BATCH_OUTCOMES:
        assert value(series, "vaultstream_batches_total", outcome=outcome) == 0
    for reason in LEASE_LOSSES:
        assert value(series, "vaultstream_leases_lost_total", reason=reason) == 0


@pytest.mark.parametrize("role", ROLES)
def test_labels_are_few_and_known(role: str) -> None:
    assert {label for _, labels in exposed(Metrics(role)) for label, _ in labels} <= LABELS


def test_no_label_grows_with_what_is_signed() -> None:
    metrics = Metrics("signing")

    def work(times: int) -> int:
        for _ in range(times):
            metrics.signing.committed(signed=random.randrange(10**6), dead=REASONS)
            metrics.signing.batches.labels(random.choice(BATCH_OUTCOMES)).inc()
            metrics.signing.batch_seconds.observe(random.expovariate(1))
            metrics.signing.lease_wait_seconds.observe(random.expovariate(1))
            metrics.signing.leases_lost.labels(random.choice(LEASE_LOSSES)).inc()
        return len(exposed(metrics))

    assert work(200) == work(2000) < 200


def test_buckets_reach_from_a_tenth_of_a_millisecond_to_a_minute() -> None:
    assert (BUCKETS[0], BUCKETS[-1]) == (0.0001, 60.0)
    assert list(BUCKETS) == sorted(set(BUCKETS))


def lag_of(lag: LagMetric) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(lag)
    return {
        dict(labels)["state"]: found
        for (_, labels), found in parse(generate_latest(registry).decode()).items()
    }


def test_a_lag_that_is_not_known_is_absent_and_never_zero() -> None:
    now = 100.0
    lag = LagMetric(clock=lambda: now)
    assert lag_of(lag) == {}
    lag.observe(pending=3, ack_pending=0, unpublished=9)
    assert lag_of(lag) == {"pending": 3, "ack_pending": 0, "unpublished": 9}
    now += LAG_FRESH_SECONDS + 0.1
    assert lag_of(lag) == {}
    lag.observe(pending=0, ack_pending=0, unpublished=0)
    assert lag_of(lag) == {"pending": 0, "ack_pending": 0, "unpublished": 0}
    lag.unknown()
    assert lag_of(lag) == {}
