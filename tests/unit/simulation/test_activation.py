"""A job whose batches are all planned is never left idle for its activation threshold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaultstream.api import ScaleDownRules, ScalingBehavior, ScalingSpec
from vaultstream.scaling.curve import Curve
from vaultstream.scaling.reasons import Reason
from vaultstream.simulation.run import simulate
from vaultstream.simulation.scenario import Arrival, Scenario

pytestmark = pytest.mark.unit

SMALL = Scenario(
    "below the threshold",
    Curve(1000.0),
    records=20_000,
    scaling=ScalingSpec(activation_lag_threshold=50, lag_threshold=10),
    horizon=300.0,
)


def test_a_planned_job_below_the_threshold_is_signed() -> None:
    run = simulate(SMALL)
    assert run.finished
    assert run.makespan < 30.0


def test_signers_stay_until_the_last_batch_although_the_lag_is_below_the_threshold() -> None:
    at_once = ScalingBehavior(scale_down=ScaleDownRules(stabilization_window_seconds=0))
    spec = SMALL.scaling.model_copy(update={"cooldown_period": 5, "behavior": at_once})
    run = simulate(replace(SMALL, records=60_000, scaling=spec))
    assert run.finished
    assert [d.reason for _, d in run.decisions if d.desired == 0] == [Reason.JOB_DONE]


def test_while_records_are_planned_the_threshold_holds() -> None:
    late = replace(SMALL, records=1_000, arrivals=(Arrival(100.0, 1_000),))
    run = simulate(late)
    assert run.finished
    assert min(at for at, _ in run.decisions) >= 100.0
