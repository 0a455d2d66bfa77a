"""No more signers once they add no records per second: then Postgres is the limit, and the decision says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.scaling import EMPTY, NOW, desired, seen
from vaultstream.api import ScaleDownRules, ScalingBehavior, ScalingSpec
from vaultstream.scaling.decide import decide
from vaultstream.scaling.decision import Limit
from vaultstream.scaling.history import Change, History
from vaultstream.scaling.observation import Observation, Progress, Replicas
from vaultstream.scaling.reasons import LimitName, Reason
from vaultstream.scaling.throughput import (
    ENOUGH_SAMPLES,
    MEMORY_SECONDS,
    MOST_COUNTS,
    Seen,
    learned,
    plateau_of,
    sample,
)

pytestmark = pytest.mark.unit

SPEC = ScalingSpec(
    lag_threshold=1, behavior=ScalingBehavior(scale_down=ScaleDownRules(stabilization_window_seconds=0))
)


def rates(**of: float) -> tuple[Seen, ...]:
    return tuple(
        Seen(signers=int(count[1:]), rate=rate, samples=ENOUGH_SAMPLES, at=NOW - 10)
        for count, rate in of.items()
    )


@pytest.mark.parametrize(
    ("seen_rates", "begins"),
    [
        ((), None),
        (rates(n10=1000), None),
        (rates(n10=1000, n20=2000), None),
        (rates(n10=1000, n20=1500), None),  # three quarters of what twice as many should sign
        (rates(n10=1000, n20=1300), 13),  # as many would sign 1300 at the rate of ten
        (rates(n10=1000, n20=1040), 10),
        (rates(n10=1000, n20=800), 10),
        (rates(n10=1000, n12=1000), None),  # too close to be told apart
        (rates(n5=500, n10=1000, n20=1010, n40=990), 10),
        (rates(n5=500, n10=520, n20=1010), None),
        (rates(n4=400, n91=800), 8),
        (rates(n4=400, n8=730, n91=800), 9),  # eight were tried and did not reach it
        (rates(n4=400, n40=2600, n91=4000), 72),  # a soft knee: between the attempt and what is surely enough
    ],
)
def test_a_plateau_begins_where_additional_signers_add_nothing(
    seen_rates: tuple[Seen, ...], begins: int | None
) -> None:
    found = plateau_of(seen_rates, NOW)
    assert (found.knee if found else None) == begins


def test_a_rate_is_believed_after_enough_readings_and_forgotten_with_time() -> None:
    fewer, more = rates(n10=1000, n20=1000)
    assert plateau_of((fewer, more), NOW)
    assert not plateau_of((fewer, more.model_copy(update={"samples": ENOUGH_SAMPLES - 1})), NOW)
    assert not plateau_of((fewer.model_copy(update={"at": NOW - MEMORY_SECONDS - 1}), more), NOW)


def test_what_was_seen_long_ago_is_tried_again_with_half_as_many_signers_more() -> None:
    enough, more = rates(n8=800, n91=800)
    old = more.model_copy(update={"at": NOW - MEMORY_SECONDS - 1})
    found = plateau_of((enough, old), NOW)
    assert found is not None
    assert found.knee == 12


def test_a_reading_that_differs_much_shows_another_load() -> None:
    known = rates(n4=400, n8=800)
    seen_again = learned(known, 8, 400.0, NOW)
    assert {one.signers: one.rate for one in seen_again} == {4: 200.0, 8: 400.0}
    assert plateau_of(seen_again, NOW) is None  # what four sign now is not known
    fewer_sign_more = learned(rates(n24=2400), 27, 1620.0, NOW)
    assert {one.signers: round(one.rate) for one in fewer_sign_more} == {24: 1440, 27: 1620}


@pytest.mark.parametrize(
    ("current", "lag", "count", "reason"),
    [
        (20, 90, 10, Reason.DATABASE_IS_THE_LIMIT),  # at once: the others sign nothing more
        (10, 90, 10, Reason.DATABASE_IS_THE_LIMIT),
        (4, 90, 8, Reason.DATABASE_IS_THE_LIMIT),  # up to where the plateau begins, at the policies' pace
        (0, 90, 10, Reason.DATABASE_IS_THE_LIMIT),
        (20, 9, 9, Reason.LAG),
        (4, 8, 8, Reason.LAG),
    ],
)
def test_no_signer_is_added_beyond_the_plateau(current: int, lag: int, count: int, reason: Reason) -> None:
    history = History(seen=rates(n10=1000, n20=1010))
    decision = decide(SPEC, seen(lag, current), history, NOW)
    assert (decision.desired, decision.reason) == (count, reason)


def test_the_decision_says_that_postgres_is_the_limit() -> None:
    decision = decide(SPEC, seen(90, 20), History(seen=rates(n10=1000, n20=1010)), NOW)
    assert decision.limit == Limit(LimitName.THROUGHPUT, 10)
    assert decision.reason is Reason.DATABASE_IS_THE_LIMIT
    assert "20 signers signed 1010 records/s, 10 signed 1000 records/s" in decision.explain()


def test_the_minimum_and_the_keys_are_bounds_before_the_plateau() -> None:
    history = History(seen=rates(n10=1000, n20=1010))
    assert desired(SPEC.model_copy(update={"min_replica_count": 15}), seen(90), history) == 15
    decision = decide(SPEC, seen(90, 4, keys=6), history, NOW)
    assert (decision.desired, decision.limit) == (6, Limit(LimitName.ACTIVE_KEYS, 6))


def test_signers_that_may_never_be_removed_stay_beyond_the_knee() -> None:
    spec = ScalingSpec(
        lag_threshold=1, behavior=ScalingBehavior(scale_down=ScaleDownRules(select_policy="Disabled"))
    )
    history = History(seen=rates(n10=1000, n20=1010))
    decision = decide(spec, seen(90, 20), history, NOW)
    assert (decision.desired, decision.limit) == (20, Limit(LimitName.SCALE_DOWN_DISABLED, 20))
    assert desired(spec, seen(90, 4), history) == 8  # up to the knee, as fast as the policies allow


ASKED = (Change(at=NOW - 30, before=0, after=10, reason="Lag"),)
BUSY = seen(90, 10, progress=Progress(steady_rate=1000.0))


@pytest.mark.parametrize(
    ("observation", "told"),
    [
        (BUSY, True),
        (replace(BUSY, replicas=Replicas(10, 9)), False),  # the tenth may sign already
        (replace(BUSY, replicas=Replicas(11, 10, unplaced=1)), True),  # one without a node does not
        (replace(BUSY, replicas=Replicas(0, 0)), False),
        (seen(19, 10, progress=BUSY.progress), False),
        (seen(20, 10, progress=BUSY.progress), True),
        (seen(Reason.NATS_UNREACHABLE, 10, progress=BUSY.progress), False),
        (seen(90, 10, progress=Progress(records_per_second=1000.0)), False),
        (seen(90, 10), False),
    ],
)
def test_a_rate_counts_when_those_that_are_ready_signed_it_and_were_busy(
    observation: Observation, told: bool
) -> None:
    starting = EMPTY.but(changes=ASKED).awaits_signers(observation, NOW)
    assert sample(observation, starting=starting) == ((10, 1000.0) if told else None)


def test_readings_are_smoothed_and_few_counts_are_kept() -> None:
    known = learned(learned((), 10, 1000.0, NOW), 10, 1100.0, NOW + 5)
    assert known == (Seen(signers=10, rate=1050.0, samples=2, at=NOW + 5),)
    for count in range(1, 3 * MOST_COUNTS):
        known = learned(known, count, 10.0 * count, NOW + 10 + count)
    assert [one.signers for one in known] == list(range(2 * MOST_COUNTS, 3 * MOST_COUNTS))
    assert learned(known, 1, 5.0, NOW + 10_000) == (Seen(signers=1, rate=5.0, samples=1, at=NOW + 10_000),)


def test_the_history_learns_from_what_is_observed() -> None:
    history = EMPTY
    for step, (count, rate) in enumerate([(5, 500.0)] * 3 + [(10, 505.0)] * 3):
        observation = seen(90, count, progress=Progress(steady_rate=rate))
        now = NOW + 100 * step
        history = history.observed(SPEC, observation, decide(SPEC, observation, history, now), now)
    assert plateau_of(history.seen, NOW + 500)
