"""What the status of a running job says while Postgres can't be read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.planning import ALL, after, planned, stored_of, trouble_of, view_of
from vaultstream.scaling.observation import Lag
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.core.view import SignersView

pytestmark = pytest.mark.unit

REASONS = [(JobReason.DATABASE_REFUSES, False), (JobReason.POSTGRES_UNREACHABLE, True)]


@pytest.mark.parametrize(("reason", "passing"), REASONS)
def test_signers_are_counted_from_their_deployment_and_no_old_rate_is_shown(
    reason: JobReason, passing: bool
) -> None:
    view = view_of(stored_of(), lag=Lag(38), children=ALL)
    running = planned(view)
    assert (running.status.signers, running.status.progress) == ("4/4", "5% (1000/20000)")
    assert running.status.records_per_second == 500
    fewer = replace(ALL, signing=SignersView(replicas=4, ready=1))
    trouble = replace(after(view, running), stored=trouble_of(reason, passing=passing), children=fewer)
    done = planned(trouble)
    assert done.status.signers == "1/4"
    assert done.status.scaling is not None
    assert (done.status.scaling.ready, done.status.scaling.replicas) == (1, 4)
    assert (done.status.records_per_second, done.status.eta, done.status.lag) == (None, None, None)
    assert done.status.progress == "5% (1000/20000) or more"
    again = planned(after(trouble, done))
    assert again.status.progress == done.status.progress
    back = planned(replace(after(trouble, done), stored=stored_of(signed=2_000), children=ALL))
    assert (back.status.signers, back.status.progress) == ("4/4", "10% (2000/20000)")


def test_a_job_that_postgres_never_showed_has_no_counts_to_qualify() -> None:
    done = planned(view_of(trouble_of(JobReason.DATABASE_REFUSES, passing=False)))
    assert (done.status.progress, done.status.signers, done.status.scaling) == ("", "", None)
