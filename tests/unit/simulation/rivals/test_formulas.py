"""Numaflow's and Flink's formulas, by hand-computed examples in a closed loop."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from vaultstream.scaling.curve import Curve
from vaultstream.simulation.rivals.formulas import Flink, Numaflow
from vaultstream.simulation.run import SimulatedRun, simulate
from vaultstream.simulation.scenario import Scenario

pytestmark = pytest.mark.unit

LONG = Scenario("long", Curve(100.0), records=1_000_000, horizon=3_000.0)


def steps(run: SimulatedRun) -> list[tuple[float, int]]:
    """When the count became which."""
    pairs = pairwise([(0.0, 0), *((m.at, m.requested) for m in run.moments)])
    return [after for before, after in pairs if after[1] != before[1]]


def test_numaflow_adds_two_replicas_each_90_seconds() -> None:
    run = simulate(LONG, autoscaler=lambda _: Numaflow(100, LONG.batch_size, Random(0)))
    changes = steps(run)
    assert [count for _, count in changes][:4] == [1, 3, 5, 7]
    gaps = [after[0] - before[0] for before, after in pairwise(changes[:4])]
    assert all(90.0 <= gap <= 96.0 for gap in gaps)


def test_numaflow_goes_to_zero_two_at_a_time_once_nothing_is_pending() -> None:
    small = Scenario("small", Curve(100.0), records=12_000, horizon=2_000.0)
    run = simulate(small, autoscaler=lambda _: Numaflow(100, small.batch_size, Random(0)))
    assert run.finished
    assert [count for _, count in steps(run)] == [1, 3, 5, 3, 1, 0]


def test_flink_takes_what_works_off_the_backlog_in_half_an_hour_at_its_utilization() -> None:
    run = simulate(LONG, autoscaler=lambda _: Flink(100, LONG.batch_size))
    changes = steps(run)
    # one task signs 100 per second: 970,000 left / 1800 s / (100 · 0.7) = 8
    assert [count for _, count in changes[:2]] == [1, 8]
    assert changes[1][0] - changes[0][0] >= 300.0


def test_flink_keeps_its_tasks_within_the_boundary() -> None:
    slow = Scenario("slow", Curve(100.0), records=140_000, horizon=3_000.0)
    run = simulate(slow, autoscaler=lambda _: Flink(100, slow.batch_size))
    assert run.peak == 1
