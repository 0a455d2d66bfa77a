"""The model of KEDA: its two clocks, its cooldown, and the times that were measured of the real one."""

from __future__ import annotations

from random import Random
from statistics import median

import pytest

from vaultstream.scaling.curve import Curve
from vaultstream.scaling.reasons import Reason
from vaultstream.simulation.rivals.keda import Keda, KedaOptions
from vaultstream.simulation.run import SimulatedRun, simulate
from vaultstream.simulation.scenario import Outage, Scenario

pytestmark = [pytest.mark.unit, pytest.mark.no_cover]  # coverage would triple their time

TWENTY = Scenario(
    "twenty", Curve(1.0), records=100_000, batch_size=500, planning_rate=1e9, start_spread=0.25, horizon=400.0
)
"""200 batches at a threshold of 10 ask for 20 signers until they are started."""
RUNS = 60


def times(options: KedaOptions, *, ready: bool) -> list[float]:
    """Seconds from the first batch until 20 signers are asked for, or ready."""
    found = []
    for seed in range(RUNS):
        run = simulate(TWENTY, seed, lambda _, seed=seed: Keda(options, Random(seed)))
        counts = [(m.at, m.ready if ready else m.requested) for m in run.moments]
        found.append(next(at for at, count in counts if count >= 20) - 3.0)
    return sorted(found)


def band(values: list[float]) -> tuple[float, float]:
    return values[RUNS * 5 // 100], values[RUNS * 95 // 100]


def test_with_defaults_twenty_are_ready_when_they_were_measured_to_be() -> None:
    low, high = band(times(KedaOptions(), ready=True))
    assert low <= 56.0
    assert high >= 80.0
    assert high - low <= 60.0  # a band that holds everything shows nothing


def test_tuned_twenty_are_asked_for_when_they_were_measured_to_be() -> None:
    found = times(KedaOptions().tuned(), ready=False)
    low, high = band(found)
    assert low <= 2.7
    assert high >= 14.4 - 0.5
    assert high <= 16.0
    assert 5.0 <= median(found) <= 11.6


def test_from_zero_one_is_started_by_keda_and_the_others_by_the_hpa() -> None:
    run = simulate(TWENTY, 1, lambda _: Keda(KedaOptions(), Random(1)))
    steps = [m.requested for m in run.moments]
    assert [count for count, before in zip(steps, [0, *steps], strict=False) if count != before] == [
        1,
        5,
        10,
        20,
    ]


def ended(options: KedaOptions) -> SimulatedRun:
    short = Scenario("short", Curve(1_000.0), records=20_000, horizon=2_000.0)
    return simulate(short, 2, lambda _: Keda(options, Random(2)))


def test_after_the_end_the_signers_stay_for_the_cooldown_and_their_time_counts() -> None:
    usual, tuned = ended(KedaOptions()), ended(KedaOptions().tuned())
    assert usual.moments[-1].requested == tuned.moments[-1].requested == 0
    assert usual.moments[-1].at >= usual.makespan + 270.0  # the last poll that saw work
    assert usual.moments[-1].at <= usual.makespan + 400.0
    assert tuned.moments[-1].at <= tuned.makespan + 60.0
    assert usual.pod_seconds > 3 * tuned.pod_seconds


def test_an_unreadable_lag_keeps_the_count() -> None:
    away = Outage(60.0, 200.0, Reason.NATS_UNREACHABLE)
    unread = Scenario("away", Curve(10.0), records=50_000, outages=(away,), horizon=250.0)
    run = simulate(unread, 3, lambda _: Keda(KedaOptions().tuned(), Random(3)))
    during = {m.requested for m in run.moments if 61.0 <= m.at <= 199.0}
    assert during == {10}
