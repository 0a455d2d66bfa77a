"""The scenarios of the catalog: all end, and where it is promised, VaultStream is as good as tuned KEDA. docs/scenarios.md has 30 seeds."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from vaultstream.simulation.catalog import AS_MANY, TRIALS
from vaultstream.simulation.comparison import keda_options
from vaultstream.simulation.plant import Plant
from vaultstream.simulation.rivals.keda import Keda
from vaultstream.simulation.run import simulate
from vaultstream.simulation.scenario import Preemption, Restart

pytestmark = [pytest.mark.unit, pytest.mark.no_cover]  # coverage would triple their time

PAGE = Path(__file__).parents[3] / "docs" / "scenarios.md"
SLACK = 1.05
"""One seed is farther from the mean than thirty."""


@pytest.mark.parametrize("name", [name for name, trial in TRIALS.items() if trial.worse is None])
def test_where_it_is_promised_it_is_as_good_as_tuned_keda(name: str) -> None:
    scenario = TRIALS[name].scenario
    options = keda_options(scenario).tuned()
    ours, theirs = simulate(scenario), simulate(scenario, 0, lambda _: Keda(options, Random(0)))
    assert ours.finished
    assert ours.makespan <= SLACK * theirs.makespan
    assert ours.pod_seconds <= AS_MANY * theirs.pod_seconds


@pytest.mark.parametrize("name", [name for name, trial in TRIALS.items() if trial.worse is not None])
def test_every_other_one_ends_and_says_why_it_is_worse(name: str) -> None:
    assert simulate(TRIALS[name].scenario).finished
    assert f"as good as tuned KEDA**: {TRIALS[name].worse}\n" in PAGE.read_text()


def test_the_page_has_a_row_and_a_plot_for_each() -> None:
    text = PAGE.read_text()
    assert len(TRIALS) >= 16
    for name in TRIALS:
        slug = name.lower().replace(" ", "-")
        assert f"| [{name}](#{slug}) |" in text
        assert f"images/scenarios/{slug}.svg" in text
        assert (PAGE.parent / "images" / "scenarios" / f"{slug}.svg").is_file()


def test_a_deadline_that_can_be_met_is_met_and_another_is_told() -> None:
    met = simulate(TRIALS["deadline"].scenario)
    assert (met.late(620.0) <= 0.0, met.at_risk_at) == (True, None)
    missed = simulate(TRIALS["impossible"].scenario)
    assert missed.at_risk_at is not None
    assert missed.at_risk_at <= 60.0


def test_signers_that_end_the_work_first_get_no_others_beside_them() -> None:
    run = simulate(TRIALS["trickle"].scenario)
    steps = [
        decision.current
        for _, decision in run.decisions
        if decision.reason == "FirstStep" and decision.desired > decision.current
    ]
    assert set(steps) == {0}  # before: four were asked for beside one that signed the rest in 2 s
    assert run.pod_seconds <= 1_400.0  # before: 1,695


def test_a_wave_takes_its_share_and_others_are_asked_for() -> None:
    plant = Plant(TRIALS["bulk"].scenario, 1)
    plant.pods.scale(10, 0.0)
    plant.advance(25.0)
    assert plant.pods.ready(plant.now) == 10
    plant.pods.preempt(0.5, plant.now)
    assert (plant.pods.requested, plant.pods.ready(plant.now), plant.pods.signing) == (10, 5, 5)


def test_an_operator_that_is_replaced_decides_nothing_meanwhile() -> None:
    restart = TRIALS["restart"].scenario.restarts[0]
    assert isinstance(restart, Restart)
    run = simulate(TRIALS["restart"].scenario)
    assert not [at for at, _ in run.decisions if restart.begin <= at < restart.end]
    assert [at for at, _ in run.decisions if at >= restart.end]
    assert isinstance(TRIALS["spot wave"].scenario.preemptions[0], Preemption)
