"""The modeled plant: what goes in comes out, at the rate of its curve, and each pod's time is counted."""

from __future__ import annotations

import time
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from vaultstream.scaling.curve import Curve
from vaultstream.scaling.observation import Lag
from vaultstream.scaling.reasons import Reason
from vaultstream.simulation.constants import CONSTANTS, POD_START, PRE_STOP, READINESS_PERIOD
from vaultstream.simulation.plant import Plant
from vaultstream.simulation.run import simulate
from vaultstream.simulation.scenario import Arrival, Load, Nodes, Outage, Scenario

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
PLAIN = Scenario(
    "plain", Curve(100.0), records=20_000, batch_size=100, planning_rate=inf, start=10.0, batch_spread=0.0
)


class Fixed:
    """A fixed count, from the start until the end of the job."""

    interval = 5.0

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, scenario: Scenario) -> Fixed:
        return self

    def decide(self, sight: object) -> int:
        counts = sight.counts  # type: ignore[attr-defined]
        return 0 if counts.planned and counts.batches_left == 0 else self.count


def plant(scenario: Scenario, signers: int, until: float) -> Plant:
    made = Plant(scenario, seed=1)
    made.pods.scale(signers, 0.0)
    made.advance(until)
    return made


def test_the_law_has_a_knee_and_a_ceiling() -> None:
    assert Curve(100.0)(7) == 700.0
    assert Curve(100.0, ceiling=450.0)(7) == 450.0
    assert Curve(100.0, contention=1.0)(7) == pytest.approx(100.0)
    falling = Curve(100.0, contention=0.05, coherence=0.005)
    assert falling(14) > falling(30)
    assert Curve(100.0, ceiling=800.0).knee(100) == 8
    assert Curve(100.0)(0) == 0.0


@pytest.mark.parametrize("signers", [1, 4, 20])
def test_records_are_signed_at_the_rate_of_the_curve(signers: int) -> None:
    outcome = simulate(PLAIN, autoscaler=Fixed(signers))
    # the last batches leave some signers without one, so the end may be a batch later
    assert outcome.makespan == pytest.approx(10.0 + 20_000 / (100.0 * signers), abs=1.0)


def test_every_record_is_counted_once() -> None:
    seen = plant(replace(PLAIN, arrivals=(Arrival(20.0, 1_234),)), 3, 40.0)
    line = seen.line
    assert line.records_left + line.settled == 21_234
    assert line.settled == pytest.approx(300.0 * 30.0, abs=300)
    counts = seen.sight().counts
    assert (counts.records_left, counts.batches_left) == (line.records_left, line.batches_left)
    assert counts.recent_rate == pytest.approx(300.0, rel=0.05)


def test_all_records_are_settled_whatever_the_size_of_batches() -> None:
    for size in (1, 7, 500, 100_000):
        outcome = simulate(replace(PLAIN, batch_size=size, records=1_001), autoscaler=Fixed(3))
        assert outcome.finished


def test_records_are_planned_page_by_page() -> None:
    early = Plant(replace(PLAIN, records=200_000, planning_rate=50_000.0), 1)
    early.advance(5.5)  # 3 s for the records worker to start, then a page per second
    counts = early.sight().counts
    assert (counts.planned, counts.records_left) == (False, 100_000)


def test_the_stream_holds_4096_batches_and_all_of_them_count() -> None:
    sight = plant(replace(PLAIN, records=1_000_000), 0, 10.0).sight()
    assert sight.lag == Lag(4096)
    assert sight.unpublished == 10_000 - 4096


def test_readiness_is_seen_after_the_first_batch() -> None:
    made = plant(PLAIN, 2, 11.0)
    assert (made.pods.signing, made.sight().ready) == (2, 0)
    made.advance(10.0 + READINESS_PERIOD.value)
    assert made.sight().ready == 2


def test_a_drain_costs_pod_seconds_and_still_signs() -> None:
    made = plant(PLAIN, 2, 20.0)
    made.pods.scale(0, 20.0)
    made.advance(20.0 + PRE_STOP.value + 5.0)
    assert made.pods.pod_seconds == pytest.approx(2 * (20.0 + PRE_STOP.value))
    assert made.line.settled == pytest.approx(200.0 * (10.0 + PRE_STOP.value), abs=200)


def test_a_pod_that_leaves_before_it_signs_is_a_wasted_start() -> None:
    made = plant(PLAIN, 4, 5.0)
    made.pods.scale(1, 5.0)
    made.advance(6.0)
    assert made.pods.wasted_starts == 3


def test_pods_beyond_the_slots_wait_for_a_node_and_cost_nothing_until_then() -> None:
    waiting = replace(PLAIN, nodes=Nodes(slots=3, ready=1, most=2, provisioning=30.0))
    made = plant(waiting, 10, 5.0)
    assert made.sight().unplaced == 7
    made.advance(29.0)
    assert made.pods.pod_seconds <= 3 * 29.0
    made.advance(45.0)
    assert (made.sight().unplaced, made.pods.signing) == (4, 6)


def test_a_quota_limits_the_pods() -> None:
    assert plant(replace(PLAIN, nodes=Nodes(quota=5)), 9, 15.0).pods.signing == 5


def test_no_more_signers_work_than_there_are_keys() -> None:
    slow = simulate(replace(PLAIN, keys=2), autoscaler=Fixed(20))
    assert slow.makespan == pytest.approx(10.0 + 20_000 / 200.0, abs=1.0)


def test_a_load_slows_all_signers_and_an_outage_stops_them() -> None:
    half = simulate(replace(PLAIN, loads=(Load(0.0, 0.5),)), autoscaler=Fixed(4))
    assert half.makespan == pytest.approx(10.0 + 20_000 / 200.0, abs=1.0)
    outage = Outage(20.0, 50.0, Reason.NATS_UNREACHABLE)
    made = plant(replace(PLAIN, outages=(outage,)), 4, 40.0)
    assert made.sight().lag is Reason.NATS_UNREACHABLE
    assert made.line.settled <= 400 * 11


def test_equal_seeds_give_equal_runs_and_others_differ() -> None:
    noisy = replace(PLAIN, noise=0.3, start_spread=0.5)
    assert simulate(noisy, 1) == simulate(noisy, 1)
    assert simulate(noisy, 1).makespan != simulate(noisy, 2).makespan


def test_a_million_records_in_small_batches_take_less_than_two_seconds() -> None:
    begun = time.process_time()
    outcome = simulate(Scenario("million", Curve(2000.0, ceiling=40_000.0), 1_000_000, batch_size=50))
    assert outcome.finished
    assert time.process_time() - begun < 2.0


def test_each_constant_of_the_model_is_documented() -> None:
    rows = [line for line in (ROOT / "docs/simulation.md").read_text().splitlines() if line.startswith("| `")]
    documented = {cells[1].strip(" `"): cells[2:5] for row in rows if len(cells := row.split("|")) == 6}
    assert set(documented) == set(CONSTANTS)
    for name, constant in CONSTANTS.items():
        value, unit, source = (cell.strip() for cell in documented[name])
        assert (float(value.replace(",", "")), unit, source) == (
            constant.value,
            constant.unit,
            constant.source,
        )


def test_the_decision_assumes_about_the_start_that_the_model_has() -> None:
    assert POD_START.value + READINESS_PERIOD.value / 2 == pytest.approx(10.0, rel=0.1)
