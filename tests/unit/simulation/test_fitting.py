"""A model that is fitted to half of some runs predicts the others, as far as they are runs of one cluster."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vaultstream.api import ScalingSpec
from vaultstream.scaling.curve import Curve
from vaultstream.simulation.fitting import RecordedRun, fit
from vaultstream.simulation.run import simulate
from vaultstream.simulation.scenario import Scenario

pytestmark = [pytest.mark.unit, pytest.mark.no_cover]  # coverage would triple their time

RECORDED = Path(__file__).parent / "recordings/node/runs.jsonl"
NODE = Curve(400.0, 0.2, 0.02)


def recorded(signers: int, records: int, seed: int, *, more: float = 0.0) -> RecordedRun:
    """A run of another model of the node: it takes 2 s longer, and each start 1.5 s. `more`: seconds of a start for each other signer."""
    scaling = ScalingSpec(min_replica_count=signers, max_replica_count=signers, polling_interval=1)
    scenario = Scenario(
        "node",
        NODE,
        records,
        scaling=scaling,
        batch_size=50,
        keys=12,
        start=5.0 + more * (signers - 1),
        start_spread=0.1,
        readiness=1.0,
        noise=0.05,
    )
    run = simulate(scenario, seed)
    settled = tuple((moment.at, records - 50 * moment.lag) for moment in run.moments if moment.at > 4)
    ready = next(moment.at for moment in run.moments if moment.ready >= signers)
    return RecordedRun(
        signers,
        records,
        50,
        12,
        (6.5 + more * (signers - 1),) * signers,
        settled,
        ready + 1.5,
        run.makespan + 2.0,
        run.pod_seconds + 3.0 * signers,
    )


def test_half_of_the_runs_on_the_node_predict_the_others() -> None:
    """The twelve runs of docs/simulation.md, in the order that was fixed before they were recorded."""
    runs = [RecordedRun.read(json.loads(line)) for line in RECORDED.read_text().splitlines()]
    assert len(runs) == 12
    fitted = fit(runs[::2])
    for run in runs[1::2]:
        told = fitted.predicted(run)
        assert told.makespan == pytest.approx(run.makespan, rel=0.1)
        assert told.pod_seconds == pytest.approx(run.pod_seconds, rel=0.1)
        assert told.ready == pytest.approx(run.ready, abs=2.0)


def test_half_of_the_runs_predict_the_others() -> None:
    runs = [recorded(n, size, 7 * n + size) for size in (4_000, 8_000) for n in (1, 2, 4)]
    fitted = fit(runs[:3])
    assert fitted.curve(4) == pytest.approx(NODE(4), rel=0.1)
    for run in runs[3:]:
        told = fitted.predicted(run)
        assert told.makespan == pytest.approx(run.makespan, rel=0.1)
        assert told.pod_seconds == pytest.approx(run.pod_seconds, rel=0.1)
        assert told.ready == pytest.approx(run.ready, abs=2.0)


def test_starts_that_take_longer_the_more_there_are_predict_those_of_others() -> None:
    runs = [recorded(n, 4_000, n, more=2.0) for n in (1, 2, 4)]
    fitted = fit(runs[:2])
    assert fitted.start(4) == pytest.approx(12.5, abs=0.1)
    assert fitted.predicted(runs[2]).ready == pytest.approx(runs[2].ready, abs=2.0)


def test_a_run_with_too_few_readings_shows_a_rate_by_its_end() -> None:
    runs = [recorded(n, 8_000, n) for n in (1, 4)]
    blind = replace(runs[1], settled=((1.0, 0), (runs[1].makespan, 8_000)))
    assert blind.rate is None
    assert fit([runs[0], blind]).curve(4) == pytest.approx(NODE(4), rel=0.1)


def test_a_run_is_stored_as_json() -> None:
    run = recorded(2, 5_000, 1)
    assert RecordedRun.read(json.loads(json.dumps(run.dump()))) == run


def test_runs_without_a_rate_are_refused() -> None:
    with pytest.raises(ValueError, match="no recorded run shows a rate"):
        fit([RecordedRun(1, 10, 1, 1, (5.0,), (), 5.0, 6.0, 7.0)])
