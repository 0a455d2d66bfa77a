"""A job that begins with what earlier ones have shown is faster than the first, and a wrong prior costs little."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaultstream.scaling.curve import Curve
from vaultstream.scaling.prior import Prior
from vaultstream.scaling.reasons import Reason
from vaultstream.simulation.catalog import TRIALS
from vaultstream.simulation.run import learned_from, simulate
from vaultstream.simulation.scenario import Scenario

pytestmark = [pytest.mark.unit, pytest.mark.no_cover]  # coverage would triple their time

BULK = TRIALS["bulk"].scenario


def prior_of(curve: Curve) -> Prior:
    return learned_from(replace(BULK, curve=curve), range(1000, 1002))


def test_the_next_job_does_not_measure_first() -> None:
    first, following = simulate(BULK, 1), simulate(replace(BULK, prior=prior_of(BULK.curve)), 1)
    assert following.decisions[0][1].reason is Reason.EARLIER_JOBS
    assert "X(n) = 1" in following.decisions[0][1].formula
    assert following.makespan <= 0.8 * first.makespan
    assert following.pod_seconds <= 1.05 * first.pod_seconds


@pytest.mark.parametrize("factor", [0.1, 0.3, 3.0, 10.0])
def test_the_prior_of_another_machine_costs_little_more_than_none(factor: float) -> None:
    wrong = replace(BULK, prior=prior_of(BULK.curve.times(factor)))
    first, misled = simulate(BULK, 1), simulate(wrong, 1)
    assert misled.makespan <= 1.1 * first.makespan
    assert misled.pod_seconds <= 1.15 * first.pod_seconds


def test_statistics_that_are_far_too_high_do_not_start_all_signers() -> None:
    small = Scenario("outdated statistics", Curve(1_000.0), 200_000, batch_size=250, estimated=10_000_000)
    knowing = replace(small, prior=prior_of(Curve(1_000.0)))
    right = simulate(replace(knowing, estimated=200_000), 1)
    for scenario in (small, knowing):
        assert simulate(scenario, 1).peak <= 1.5 * max(4, right.peak)  # believed as they are: 98


def test_a_planner_that_is_slower_than_signers_is_not_outrun() -> None:
    planner = TRIALS["planner"].scenario
    for scenario in (planner, replace(planner, prior=learned_from(planner, range(1000, 1003)))):
        run = simulate(scenario, 1)
        assert run.finished
        assert run.pod_seconds <= 3_152  # those of tuned KEDA; before: 15,243
        assert run.makespan <= 215.0
