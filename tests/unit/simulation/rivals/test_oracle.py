"""The oracle: nothing that is tried costs less at the same makespan, and what it takes is what the plant takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaultstream.scaling.curve import Curve
from vaultstream.scaling.reasons import Reason
from vaultstream.simulation.rivals.fluid import flow_of, flowed
from vaultstream.simulation.rivals.oracle import ALLOWED_MAKESPAN, Planned, best_fixed, best_plan
from vaultstream.simulation.run import simulate
from vaultstream.simulation.scenario import Arrival, Load, Nodes, Outage, Scenario

pytestmark = pytest.mark.unit

CEILING = Scenario("ceiling", Curve(100.0, ceiling=800.0), records=200_000, batch_size=50)


@pytest.mark.parametrize(
    "scenario",
    [
        CEILING,
        replace(CEILING, curve=Curve(200.0, 0.05, 0.002)),
        replace(CEILING, loads=(Load(60.0, 0.5),)),
        replace(CEILING, arrivals=(Arrival(300.0, 50_000),)),
        replace(CEILING, outages=(Outage(50.0, 90.0, Reason.NATS_UNREACHABLE),)),
    ],
    ids=["ceiling", "law", "load", "arrival", "outage"],
)
def test_the_fluid_takes_what_the_plant_takes(scenario: Scenario) -> None:
    flow = flow_of(scenario)
    counts = [min(6, most) for most in flow.most]
    expected = flowed(flow, counts)
    run = simulate(scenario, autoscaler=lambda _: Planned(((0.0, 6),)))
    assert run.makespan == pytest.approx(expected.makespan, rel=0.03)
    assert run.pod_seconds == pytest.approx(expected.pod_seconds, rel=0.05)


def test_the_best_fixed_count_is_the_knee() -> None:
    assert best_fixed(CEILING) == 8
    assert best_fixed(replace(CEILING, nodes=Nodes(slots=5))) == 5
    assert best_fixed(replace(CEILING, keys=3)) == 3


def test_no_fixed_count_is_better_than_the_oracle() -> None:
    burst = replace(CEILING, records=20_000, arrivals=(Arrival(600.0, 100_000),))
    plan = best_plan(burst)
    oracle = simulate(burst, autoscaler=lambda _: Planned(plan))
    runs = [simulate(burst, autoscaler=lambda _, n=n: Planned(((0.0, n),))) for n in (1, 2, 4, 8, 16)]
    fast = [run for run in runs if run.makespan <= ALLOWED_MAKESPAN * min(r.makespan for r in runs)]
    assert oracle.makespan <= ALLOWED_MAKESPAN * 1.01 * min(run.makespan for run in runs)
    assert oracle.pod_seconds < 0.5 * min(run.pod_seconds for run in fast)


def test_the_oracle_asks_one_start_before_the_records_come() -> None:
    burst = replace(CEILING, records=1_000, arrivals=(Arrival(600.0, 100_000),), start=20.0)
    assert best_plan(burst)[-1] in {(580.0, 7), (580.0, 8)}
