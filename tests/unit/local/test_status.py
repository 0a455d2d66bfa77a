from __future__ import annotations

import pytest

from vaultstream.bus.records import ConsumerLag
from vaultstream.local.status import lag_status

pytestmark = pytest.mark.unit


def test_the_lag_counts_waiting_in_flight_and_unpublished_batches() -> None:
    assert lag_status(ConsumerLag(pending=3, ack_pending=2), reachable=True, unpublished=5).batches == 10


@pytest.mark.parametrize(("reachable", "state"), [(True, "no consumer"), (False, "NATS does not answer")])
def test_a_lag_that_is_not_known_says_why_and_is_not_zero(reachable: bool, state: str) -> None:
    status = lag_status(None, reachable=reachable, unpublished=0)

    assert (status.state, status.batches) == (state, None)
