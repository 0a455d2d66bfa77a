"""A job whose lag can't be read for a while."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaultstream.api import Fallback, ScaleDownRules, ScalingBehavior, ScalingSpec
from vaultstream.scaling.curve import Curve
from vaultstream.scaling.reasons import Reason
from vaultstream.simulation.run import simulate
from vaultstream.simulation.scenario import Outage, Scenario

pytestmark = pytest.mark.unit

JOB = Scenario(
    "outage",
    Curve(100.0),
    records=100_000,
    scaling=ScalingSpec(
        lag_threshold=50,
        fallback=Fallback(failure_threshold=3, replicas=1),
        behavior=ScalingBehavior(scale_down=ScaleDownRules(stabilization_window_seconds=0)),
    ),
)
FLAPPING = tuple(
    Outage(60.0 + 4 * n, 64.0 + 4 * n, (Reason.NATS_UNREACHABLE, Reason.CONSUMER_MISSING)[n % 2])
    for n in range(12)
)


def test_a_nats_that_flaps_between_two_problems_reaches_the_fallback() -> None:
    run = simulate(replace(JOB, outages=FLAPPING))
    fallen = [at for at, decision in run.decisions if decision.reason is Reason.FALLBACK]
    assert fallen
    assert 60.0 + 3 * 5.0 <= fallen[0] <= 60.0 + 5 * 5.0
    assert run.finished


def test_an_outage_that_is_shorter_than_the_threshold_changes_nothing() -> None:
    run = simulate(replace(JOB, outages=FLAPPING[:3]))
    assert Reason.FALLBACK not in {decision.reason for _, decision in run.decisions}
