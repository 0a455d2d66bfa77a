"""The status: what is shown of it, and that scaling finds again what it left there."""

from __future__ import annotations

from dataclasses import fields

import pytest

from vaultstream.scaling import history
from vaultstream.scaling.decision import Decision, Limit
from vaultstream.scaling.reasons import LimitName, Reason
from vaultstream.scaling.throughput import Seen
from vaultstream_operator.api.status import (
    MOST_CHANGES,
    MOST_ENTRIES,
    JobStatus,
    ScalingChange,
    ScalingEntry,
    ScalingHistory,
    ScalingRate,
    ScalingStatus,
    progress_text,
    rate_to_show,
)

pytestmark = pytest.mark.unit

HISTORY = history.History(
    highs=(history.Entry(1.0, 5),),
    lows=(history.Entry(2.0, 4),),
    added=(history.Entry(3.0, 3),),
    removed=(history.Entry(4.0, 2),),
    seen=(Seen(signers=3, rate=100.5, samples=4, at=5.0),),
    changes=(history.Change(6.0, 3, 5, "Lag", "MaxReplicaCount"),),
    last_active_at=7.0,
)


def test_the_history_of_scaling_survives_the_status() -> None:
    written = ScalingHistory.model_validate(HISTORY.dump()).model_dump(mode="json", by_alias=True)
    assert history.History.load(written) == HISTORY


def test_the_status_has_all_that_a_history_is_made_of() -> None:
    assert set(ScalingHistory.model_fields) == {field.name for field in fields(history.History)}
    assert set(ScalingEntry.model_fields) == set(history.Entry._fields)
    assert set(ScalingChange.model_fields) == set(history.Change._fields)
    assert set(ScalingRate.model_fields) == {field.name for field in fields(Seen)}
    assert (history.MOST, history.MOST_CHANGES) == (MOST_ENTRIES, MOST_CHANGES)


@pytest.mark.parametrize("limit", [None, Limit(LimitName.MAX_REPLICA_COUNT, 5)])
def test_a_decision_is_reported_as_it_was_made(limit: Limit | None) -> None:
    decision = Decision(
        desired=5,
        current=3,
        reason=Reason.LAG,
        limit=limit,
        inputs={"lag": 100, "ratePerSigner": 1.5, "planned": True, "holdState": ""},
        formula="ceil(100 / 10) = 10",
        hold=False,
        message="the lag is 100 batches, at 10 a signer",
        recommendation=5,
        paced=True,
        eta_seconds=60.0,
        deadline_at_risk=False,
    )
    dumped = ScalingStatus.model_validate(decision.dump()).model_dump(mode="json", by_alias=True)
    assert decision.dump().items() <= dumped.items()


@pytest.mark.parametrize(
    ("settled", "records", "planned", "shown"),
    [
        (0, None, False, ""),
        (0, 0, False, "0/0+"),
        (5, 500, False, "5/500+"),
        (0, 500, True, "0% (0/500)"),
        (240_000, 500_000, True, "48% (240000/500000)"),
        (99_999, 100_000, True, "99% (99999/100000)"),
        (500, 500, True, "100% (500/500)"),
        (0, 0, True, "100% (0/0)"),
    ],
)
def test_the_progress_never_says_all_before_it_is_all(
    settled: int, records: int | None, planned: bool, shown: str
) -> None:
    assert progress_text(settled=settled, records=records, planned=planned) == shown


@pytest.mark.parametrize(
    ("rate", "shown"), [(0.0, 0.0), (1234.567, 1230.0), (0.012345, 0.0123), (9.999, 10.0)]
)
def test_a_rate_is_shown_without_its_noise(rate: float, shown: float) -> None:
    assert rate_to_show(rate) == shown


def test_what_is_unknown_is_left_out_and_is_not_zero() -> None:
    dumped = JobStatus(signed=0).dump()
    assert dumped["signed"] == 0
    assert not {"lag", "eta", "records", "scaling", "startTime"} & dumped.keys()


def test_fields_of_a_newer_operator_are_passed_over() -> None:
    status = JobStatus.model_validate({"state": "Running", "novelty": {"a": 1}})
    assert status == JobStatus(state=status.state)
