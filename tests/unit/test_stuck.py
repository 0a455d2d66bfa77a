"""Deliveries are stuck if signers wait, there are batches, and none is settled for longer than any batch takes."""

from __future__ import annotations

import pytest

from vaultstream.bus.records import ConsumerLag
from vaultstream.records.stuck import STUCK_SECONDS, StuckWatch

pytestmark = pytest.mark.unit

PUT_OFF = ConsumerLag(pending=0, ack_pending=5, waiting=2)


def looked(*looks: tuple[float, ConsumerLag, int]) -> StuckWatch:
    watch = StuckWatch()
    for now, lag, pending in looks:
        watch = watch.observed(lag, pending, now=now)
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
        (ConsumerLag(pending=0, ack_pending=0, waiting=2), 5),  # there is nothing to deliver
    ],
)
def test_whatever_goes_on_starts_the_time_again(between: tuple[ConsumerLag, int]) -> None:
    lag, pending = between
    watch = looked((10.0, PUT_OFF, 5), (200.0, lag, pending), (201.0, PUT_OFF, pending))
    assert not watch.stuck(10 + STUCK_SECONDS + 1, longest_backoff=0)
    assert watch.stuck(201 + STUCK_SECONDS, longest_backoff=0)


@pytest.mark.parametrize(
    "lag",
    [
        ConsumerLag(pending=7, ack_pending=100, waiting=1),  # no more may be delivered
        ConsumerLag(pending=3, ack_pending=5, waiting=2),  # what is delivered goes elsewhere
        ConsumerLag(pending=3, ack_pending=0, waiting=4096),  # nothing is delivered
    ],
)
def test_a_consumer_whose_batches_do_not_reach_those_who_wait_is_stuck_too(lag: ConsumerLag) -> None:
    assert looked((0.0, lag, 107)).stuck(STUCK_SECONDS, longest_backoff=0)
