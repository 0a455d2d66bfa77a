"""Many signers that sign far too little are removed before all have started; rates are not measured while the database is gone."""

from __future__ import annotations

import pytest

from support.scaling import NOW
from vaultstream.scaling.activity import Activity
from vaultstream.scaling.observation import Share
from vaultstream.scaling.throughput import ENOUGH_SAMPLES, MEMORY_SECONDS, Seen, plateau_of, shortfall
from vaultstream.scaling.workload import Counts

pytestmark = pytest.mark.unit

FOUR = Seen(signers=4, rate=4_000.0, samples=1, at=NOW - 20)
SHORT = Seen(signers=80, rate=12_000.0, samples=1, at=NOW)


def sure(signers: int, rate: float, at: float = NOW + 20) -> Seen:
    return Seen(signers=signers, rate=rate, samples=ENOUGH_SAMPLES, at=at)


def activity_of(*steps: tuple[float, int, int], batch_size: int = 100) -> Activity:
    """Activity after steps of seconds, ready signers and records settled since the step before."""
    activity, now, settled = Activity(batch_size=batch_size), 0.0, 0
    for seconds, ready, records in steps:
        now, settled = now + seconds, settled + records
        counts = Counts(False, 1_000_000, 10_000, records, 20.0, signed=settled)
        activity = activity.observed(counts, ready=ready, running=True, now=now)
    return activity


def share_of(*steps: tuple[float, int, int]) -> Share | None:
    return activity_of(*steps).progress(Counts(False, 1, 1, 1, 20.0), 0.0).most_rate


def test_what_the_ready_ones_sign_at_most_is_known_while_others_start() -> None:
    steady = ((1.0, 40, 0), (1.0, 50, 8_000), (1.0, 60, 8_000), (1.0, 70, 8_000))
    assert share_of(*steady) == Share(40, (24_000 + 40 * 100) / 3)


@pytest.mark.parametrize(
    "steps",
    [
        ((1.0, 40, 0), (1.0, 50, 8_000), (1.0, 60, 0), (1.0, 70, 16_000)),  # a hiccup
        ((1.0, 70, 0), (1.0, 60, 8_000), (1.0, 50, 8_000), (1.0, 50, 8_000)),  # those that leave sign, too
        ((1.0, 40, 0), (1.0, 50, 1_000), (1.0, 60, 1_000), (1.0, 70, 1_000)),  # not two batches each yet
        ((1.0, 0, 0), (1.0, 0, 8_000), (1.0, 60, 8_000), (1.0, 70, 8_000)),  # not ready for long enough
    ],
)
def test_too_little_is_known_otherwise(steps: tuple[tuple[float, int, int], ...]) -> None:
    assert share_of(*steps) is None


def test_only_a_rate_that_is_far_too_low_is_a_shortfall() -> None:
    assert shortfall((FOUR,), Share(80, 12_000.0), NOW) == SHORT
    assert shortfall((FOUR,), Share(80, 40_000.0), NOW) is None
    assert shortfall((), Share(80, 12_000.0), NOW) is None  # nothing to compare it with
    assert shortfall((FOUR,), None, NOW) is None


@pytest.mark.parametrize("since", [(), (sure(12, 0.0),)])
def test_one_signer_is_tried_however_little_was_signed(since: tuple[Seen, ...]) -> None:
    found = plateau_of((FOUR, *since), NOW + 30, Seen(signers=80, rate=0.0, samples=1, at=NOW))
    assert found is not None
    assert found.knee >= 1


@pytest.mark.parametrize(
    ("since", "knee"),
    [
        ((), 12),  # the signers that sign 12,000 if none disturbs another
        ((sure(12, 8_000.0),), 8),  # fewer are tried
        ((sure(12, 8_000.0), sure(8, 7_900.0)), 8),  # and sign as much
        (
            (sure(12, 10_000.0), sure(10, 8_000.0)),
            18,
        ),  # they sign less, and all that were tried are worth it: more are tried
        ((sure(12, 10_000.0), sure(10, 8_000.0), sure(18, 10_200.0)), 12),
    ],
)
def test_below_a_shortfall_fewer_are_tried_and_more_if_those_lose(since: tuple[Seen, ...], knee: int) -> None:
    found = plateau_of((FOUR, *since), NOW + 30, SHORT)
    assert found is not None
    assert found.knee == knee


def test_a_shortfall_is_forgotten() -> None:
    assert plateau_of((FOUR,), NOW + MEMORY_SECONDS + 1, SHORT) is None
    fresh = FOUR.model_copy(update={"at": NOW + MEMORY_SECONDS})
    assert plateau_of((fresh,), NOW + MEMORY_SECONDS + 1, SHORT) is None


def test_no_rate_is_measured_over_an_outage() -> None:
    signing = [(1.0, 10, 10_000)] * 5
    outage = [(5.0, 10, 0)] * 3
    counts = Counts(False, 1, 1, 1, 20.0)
    assert activity_of(*signing).progress(counts, 0.0).steady_rate == 10_000.0
    assert activity_of(*signing, *outage).progress(counts, 0.0).steady_rate is None
    after = activity_of(*signing, *outage, (1.0, 10, 2_000), *signing).progress(counts, 0.0)
    assert after.steady_rate == 10_000.0  # before: 3,350
