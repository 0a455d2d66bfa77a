"""Deliveries are stuck if signers wait, all batches were delivered, and none is settled for longer than any batch takes."""

from __future__ import annotations

import pytest

from vaultstream.bus.records import ConsumerLag
from vaultstream.records.stuck import STUCK_SECONDS, StuckWatch

pytestmark = pytest.mark.unit

PUT_OFF = ConsumerLag(pending=0, ack_pending=5, waiting=2)


def looked(*looks: tuple[float, ConsumerLag, int], most: int = 100) -> StuckWatch:
    watch = StuckWatch()
    for now, lag, pending in looks:
        watch = watch.observed(lag, pending, max_ack_pending=most, now=now)
    return watch


def test_they_are_stuck_after_the_time_and_the_longest_backoff() -> None:
    watch = looked((10.0, PUT_OFF, 5), (11.0, PUT_OFF, 5))
    assert not watch.stuck(10 + STUCK_SECONDS + 59, longest_backoff=60)
    assert watch.stuck(10 + STUCK_SECONDS + 60, longest_backoff=60)


@pytest.mark.parametrize(
    "between",
    [
        (PUT_OFF, 4),  # a batch was settled
        (ConsumerLag(pending=0, ack_pending=5, waiting=0), 5),  # all signers work, or there are none
        (ConsumerLag(pending=3, ack_pending=5, waiting=2), 5),  # there is more to deliver
        (ConsumerLag(pending=0, ack_pending=0, waiting=2), 5),  # nothing was delivered
    ],
)
def test_whatever_goes_on_starts_the_time_again(between: tuple[ConsumerLag, int]) -> None:
    lag, pending = between
    watch = looked((10.0, PUT_OFF, 5), (200.0, lag, pending), (201.0, PUT_OFF, pending))
    assert not watch.stuck(10 + STUCK_SECONDS + 1, longest_backoff=0)
    assert watch.stuck(201 + STUCK_SECONDS, longest_backoff=0)


def test_a_consumer_that_may_deliver_no_more_is_stuck_too() -> None:
    full = ConsumerLag(pending=7, ack_pending=100, waiting=1)
    assert looked((0.0, full, 107)).stuck(STUCK_SECONDS, longest_backoff=0)
