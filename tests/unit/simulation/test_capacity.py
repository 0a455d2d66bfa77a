"""How many signers a whole job gets: as many as are worth their start, and no more than the database and the nodes can use."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaultstream.api import ScalingSpec
from vaultstream.scaling.curve import Curve
from vaultstream.scaling.reasons import LimitName, Reason
from vaultstream.simulation.catalog import TRIALS
from vaultstream.simulation.rivals.oracle import Planned, best_plan
from vaultstream.simulation.run import simulate
from vaultstream.simulation.scenario import Nodes, Scenario

pytestmark = [pytest.mark.unit, pytest.mark.no_cover]  # coverage would triple their time

CEILING = Scenario("ceiling at eight", Curve(100.0, ceiling=800.0), records=2_400_000, batch_size=50)


def test_a_job_that_postgres_limits_costs_little_more_than_the_best_fixed_count() -> None:
    best_pod_seconds, best_makespan = 8 * 3000.0, 3000.0 + CEILING.start
    run = simulate(CEILING)
    assert run.finished
    assert run.pod_seconds <= 1.2 * best_pod_seconds  # before: 293,900
    assert run.makespan <= 1.03 * best_makespan
    assert Reason.DATABASE_IS_THE_LIMIT in {decision.reason for _, decision in run.decisions}


def test_the_next_job_begins_at_the_knee() -> None:
    short = replace(CEILING, records=800_000)
    oracle = simulate(short, 0, lambda _: Planned(best_plan(short)))
    run = simulate(replace(short, prior=simulate(short, 1).prior.moved(-4_000.0)))
    assert run.pod_seconds <= 1.2 * oracle.pod_seconds  # before: 10 times as many
    assert run.makespan <= 1.03 * oracle.makespan


def test_signers_beyond_the_knee_are_removed_before_all_have_started() -> None:
    knee = TRIALS["knee"].scenario
    run = simulate(knee, 1)
    removed = next(at for at, decision in run.decisions if decision.desired < decision.current)
    assert removed <= 40.0  # before: 64 s
    assert run.pod_seconds <= 6_000.0  # before: 9,300


def test_a_knee_is_found_again_after_the_load_has_changed() -> None:
    run = simulate(replace(CEILING, records=800_000, noise=0.05, curve=Curve(100.0, 0.0, 0.0, 1600.0)))
    settled = [moment.requested for moment in run.moments if 200.0 <= moment.at <= 400.0]
    assert min(settled) >= 14
    assert max(settled) <= 26


def test_signers_that_are_all_worth_it_are_started_in_two_steps() -> None:
    run = simulate(replace(CEILING, curve=Curve(100.0), records=3_000_000))
    steps = [decision for _, decision in run.decisions[:2]]
    assert [str(step.reason) for step in steps] == ["FirstStep", "WorkLeft"]
    assert steps[1].desired >= 80
    assert run.makespan <= 1.2 * (10.0 + 3_000_000 / (100 * 100.0))


def test_a_tiny_job_is_signed_by_a_few() -> None:
    run = simulate(Scenario("tiny", Curve(6_250.0), records=100_000, batch_size=50))
    assert run.peak == 4
    assert run.pod_seconds <= 100.0  # before: 100 signers for 15 s
    assert run.makespan <= 1.4 * 15.0


def test_a_start_is_learned() -> None:
    slow = simulate(replace(CEILING, curve=Curve(100.0), records=500_000, start=30.0))
    assert [decision.inputs["startupSeconds"] for _, decision in slow.decisions[:2]] != [10.0, 10.0]
    assert float(slow.decisions[1][1].inputs["startupSeconds"]) == pytest.approx(32.5, abs=5.0)


def test_signers_without_a_node_do_not_hide_that_a_deadline_is_missed() -> None:
    spec = ScalingSpec(lag_threshold=10)
    few_nodes = Scenario(
        "Pending", Curve(100.0), 4_000_000, scaling=spec, nodes=Nodes(slots=40), finish_within=600.0
    )
    run = simulate(few_nodes)
    assert run.at_risk_at is not None
    assert run.at_risk_at <= 60.0  # before: 321 s
    capped = [decision for _, decision in run.decisions if decision.limit is not None]
    assert LimitName.SCHEDULABLE in {decision.limit.name for decision in capped if decision.limit}


@pytest.mark.parametrize(
    ("slots", "records", "threshold"), [(3, 300_000, None), (6, 300_000, 10), (10, 800_000, None)]
)
def test_signers_without_a_node_are_withdrawn_once_before_the_end(
    slots: int, records: int, threshold: int | None
) -> None:
    scaling = ScalingSpec(lag_threshold=threshold)
    run = simulate(Scenario("full", Curve(1000.0), records, nodes=Nodes(slots=slots), scaling=scaling))
    withdrawn = [d for _, d in run.decisions if d.limit and d.limit.name is LimitName.SCHEDULABLE]
    assert [decision.desired for decision in withdrawn] == [slots]
    assert run.changes <= 5  # before: 24


def test_signers_whose_nodes_are_on_their_way_are_not_withdrawn() -> None:
    coming = Nodes(slots=10, ready=1, most=4)
    run = simulate(Scenario("coming", Curve(1000.0), 2_000_000, batch_size=250, nodes=coming))
    assert run.makespan <= 160.0  # before: 221 s, as all were withdrawn 8 s before their nodes came
    assert run.peak >= 40


def test_one_signer_without_a_node_does_not_hide_the_knee() -> None:
    run = simulate(replace(CEILING, nodes=Nodes(slots=20), records=800_000))
    assert Reason.DATABASE_IS_THE_LIMIT in {decision.reason for _, decision in run.decisions}
    assert run.pod_seconds <= 1.35 * 8 * 1000.0


def test_the_first_step_counts_the_batches_that_the_table_is_expected_to_have() -> None:
    slowly = Scenario(
        "page by page",
        Curve(1000.0),
        records=2_000_000,
        planning_rate=20_000.0,
        estimated=2_000_000,
        scaling=ScalingSpec(lag_threshold=10),
    )
    run = simulate(slowly)
    assert (run.decisions[0][1].current, run.decisions[0][1].desired) == (0, 100)
    blind = simulate(replace(slowly, estimated=None))
    assert [d.desired for _, d in blind.decisions[:3]] == [10, 20, 40]
