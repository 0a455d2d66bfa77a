"""The records worker tells the operator of new records, so no job waits for the next poll; what comes page by page is one step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaultstream.simulation.catalog import TRIALS
from vaultstream.simulation.run import simulate

pytestmark = [pytest.mark.unit, pytest.mark.no_cover]  # coverage would triple their time

TRICKLE, BURST = TRIALS["trickle"].scenario, TRIALS["burst"].scenario


@pytest.mark.parametrize("interval", [5, 30, 300])
def test_records_that_come_are_acted_on_within_a_second_at_any_polling_interval(interval: int) -> None:
    seldom = TRICKLE.scaling.model_copy(update={"polling_interval": interval})
    assert simulate(replace(TRICKLE, scaling=seldom), 1).reaction <= 1.0


def test_without_hints_they_wait_for_the_poll() -> None:
    seldom = TRICKLE.scaling.model_copy(update={"polling_interval": 30})
    assert simulate(replace(TRICKLE, scaling=seldom, hinted=False), 1).reaction >= 15.0


def test_a_few_records_that_come_often_need_few_signers() -> None:
    run = simulate(TRICKLE, 1)
    assert (
        run.pod_seconds <= 1_900.0
    )  # before, the rate of signers without work was taken for what they can sign: 3,425


@pytest.mark.parametrize("seed", [0, 3])
def test_the_pages_of_one_arrival_are_one_step(seed: int) -> None:
    assert simulate(BURST, seed).makespan <= 330.0  # before, all but the first page were paced: 350 s
