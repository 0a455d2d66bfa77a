"""The status: what it shows."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vaultstream.scaling.decision import Decision, Limit
from vaultstream.scaling.reasons import LimitName, Reason
from vaultstream_operator.api.status import JobStatus, ScalingStatus, progress_text, rate_to_show

pytestmark = pytest.mark.unit

DECISION = {"replicas": 3, "desired": 5, "reason": "Lag", "formula": "", "message": ""}


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


def test_fields_of_a_newer_operator_are_ignored() -> None:
    status = JobStatus.model_validate({"state": "Running", "novelty": {"a": 1}})
    assert status == JobStatus(state=status.state)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_time_that_no_job_has_is_not_read(moment: str) -> None:
    with pytest.raises(ValidationError, match="no time of a job"):
        JobStatus.model_validate({"completionTime": moment})
