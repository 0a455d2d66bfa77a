"""Finishing times: how many signers end in time, when the job will end, and when that is too late."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from support.scaling import EMPTY, NOW, counts, desired, play, seen
from vaultstream.api import ScaleDownRules, ScalingBehavior, ScalingSpec
from vaultstream.scaling.curve import Curve, LearnedCurve
from vaultstream.scaling.decide import decide, decide_next
from vaultstream.scaling.decision import Limit
from vaultstream.scaling.forecast import finish_at, forecast
from vaultstream.scaling.history import History
from vaultstream.scaling.observation import Observation, Progress, Timing
from vaultstream.scaling.pace import SignerPace
from vaultstream.scaling.reasons import LimitName, Reason
from vaultstream.scaling.throughput import Seen

pytestmark = pytest.mark.unit

SPEC = ScalingSpec(
    lag_threshold=1, behavior=ScalingBehavior(scale_down=ScaleDownRules(stabilization_window_seconds=0))
)


SHORT = History(short_since=NOW - 5)
"""The decision of a poll before found that the time can't be met."""


def due(
    seconds: float | None,
    left: int | None = 60_000,
    current: int = 0,
    *,
    rate: float | None = 100.0,
    total: float | None = None,
    start: float = 10.0,
    drain: float = 5.0,
    lag: int | Reason = 400,
    keys: int | None = None,
    error: float = 0.02,
) -> Observation:
    return seen(
        lag,
        current,
        progress=Progress(
            records_left=left,
            records_per_second=total,
            rate_per_signer=rate,
            pace=SignerPace(rate, error) if rate else None,
        ),
        timing=Timing(NOW - 3600, None if seconds is None else NOW + seconds, start, drain),
        keys=keys,
    )


@pytest.mark.parametrize(
    ("seconds", "left", "current", "count"),
    [
        (75, 60_000, 0, 11),  # 60 000 / (102 · (0.95 · 75 - 10 - 5)) = 10.5
        (73, 60_000, 0, 11),
        (615, 60_000, 0, 2),
        (6150, 60_000, 0, 1),
        (65, 60_000, 8, 11),  # 8 need no start and sign 46 308 at 102 each, and each other 4 769
        (66, 60_000, 11, 11),
        (65, 60_000, 10, 10),  # enough within the error of the rate, and there is time to look again
        (65, 60_000, 20, 12),  # more than enough even at 96 each: 60 000 / (96 · (0.92 · 65 - 5)) = 11.4
        (16, 60_000, 0, 100),  # one second for a new signer: as many as may run
    ],
)
def test_the_count_is_the_one_that_ends_in_time(seconds: float, left: int, current: int, count: int) -> None:
    decision = decide(SPEC, due(seconds, left, current), EMPTY, NOW)
    assert (decision.desired, decision.reason) == (count, Reason.DEADLINE)


def test_the_formula_shows_its_numbers() -> None:
    assert (
        decide(SPEC, due(75), EMPTY, NOW).formula
        == "⌈60000 / (100 · 1.02 · (0.95 · 75 s - 10 s start - 5 s drain))⌉ = 11"
    )
    assert (
        decide(SPEC, due(65, current=8), EMPTY, NOW).formula
        == "8 + ⌈(60000 - 46308 by 8) / (100 · 1.02 · (0.95 · 65 s - 10 s start - 5 s drain))⌉ = 11"
    )
    assert (
        decide(SPEC, due(65, current=20), EMPTY, NOW).formula
        == "⌈60000 / (100 · 0.96 · (0.92 · 65 s - 5 s drain))⌉ = 12"
    )
    late = decide(SPEC, due(16), EMPTY, NOW).formula
    assert late == "⌈60000 / (100 · (0.93 · 16 s - 10 s start - 5 s drain))⌉ = more than 100"


@pytest.mark.parametrize(
    ("observation", "at_risk"),
    [
        (due(75), False),
        (due(16), True),
        (due(75, keys=9), True),
        (due(75, keys=10), False),
        (due(-1), True),
        (due(-1, left=0), False),
        (due(-1, rate=None), True),
        (due(None), False),
        (due(-1, lag=Reason.NATS_UNREACHABLE), True),
        (due(14, current=3), True),
    ],
)
def test_the_deadline_is_at_risk_once_the_maximum_is_not_enough(
    observation: Observation, at_risk: bool
) -> None:
    assert decide(SPEC, observation, SHORT, NOW).deadline_at_risk is at_risk


def test_one_poll_is_not_believed_and_an_alarm_ends_once_the_rate_is_enough() -> None:
    def risk(left: int, history: History, now: float = NOW) -> tuple[bool, History]:
        decision, after = decide_next(SPEC, due(1000 + now - NOW, left, 100, drain=0.0), history, now)
        return decision.deadline_at_risk, after

    told, history = risk(
        11_000_000, EMPTY
    )  # 100 sign 10,000,000 in time, 10,400,000 at a rate that is two errors higher
    assert (told, history.short_since) == (False, NOW)
    told, calmed = risk(10_200_000, history, NOW + 4)
    assert (told, calmed.short_since) == (False, None)
    told, history = risk(11_000_000, history, NOW + 5)
    assert told
    told, history = risk(10_200_000, history, NOW + 10)
    assert told  # it could be met only with luck
    told, history = risk(9_900_000, history, NOW + 15)
    assert (told, history.short_since) == (False, None)


def test_the_drain_alone_raises_no_alarm_in_the_last_seconds() -> None:
    assert decide(SPEC, due(5, 4_000, 10), EMPTY, NOW).short_since is None  # 10 sign 5,000 until then
    assert decide(SPEC, due(5, 6_000, 10), EMPTY, NOW).short_since == NOW


def test_the_shortfall_is_told_in_numbers() -> None:
    decision = decide(SPEC, due(1000, 11_000_000, 100, drain=0.0), SHORT, NOW)
    clause = "about 1,000,000 records would be left then, and it would end 100 s later; 119 signers would be enough"
    assert decision.explain().endswith(f"; the target time is at risk: {clause}.")
    facts = {"shortfallRecords": 1_000_000, "shortfallSeconds": 100, "signersNeeded": 119}
    assert facts.items() <= decision.inputs.items()
    assert "signersNeeded" not in decide(SPEC, due(12, 11_000_000, 100), SHORT, NOW).inputs


def test_earlier_jobs_tell_a_shortfall_before_a_rate_is_known() -> None:
    unknown = due(1000, 20_000_000, rate=None, drain=0.0)
    learned = LearnedCurve(Curve(100.0), 100)
    decision = decide(SPEC, replace(unknown, learned=learned), SHORT, NOW)
    assert decision.deadline_at_risk
    assert decision.inputs["shortfallRecords"] == 10_000_000
    assert not decide(SPEC, replace(unknown, learned=learned), EMPTY, NOW).deadline_at_risk
    for other in (LearnedCurve(Curve(150.0), 100), LearnedCurve(Curve(100.0), 16)):  # too little is known
        assert decide(SPEC, replace(unknown, learned=other), EMPTY, NOW).short_since is None


def test_a_time_that_has_passed_is_told_at_once() -> None:
    assert decide(SPEC, due(-1), EMPTY, NOW).deadline_at_risk
    assert not decide(SPEC, due(16), EMPTY, NOW).deadline_at_risk


def test_a_risk_is_seen_long_before_the_deadline() -> None:
    # 10 million records at 100 a second: 100 signers need 1000 s
    assert decide(SPEC, due(900, 10**7, 100), SHORT, NOW).deadline_at_risk
    assert not decide(SPEC, due(1100, 10**7, 100), EMPTY, NOW).deadline_at_risk


def test_signers_that_add_nothing_meet_no_deadline() -> None:
    observation = due(300, 250_000, 10, rate=None, total=1000.0)
    assert not decide(SPEC, observation, EMPTY, NOW).deadline_at_risk
    flat = History(
        seen=(
            Seen(signers=5, rate=990.0, samples=3, at=NOW - 60),
            Seen(signers=10, rate=1000.0, samples=3, at=NOW - 5),
        )
    )
    decision = decide(SPEC, observation, flat, NOW)
    assert (decision.desired, decision.deadline_at_risk) == (5, False)  # each of 5 signs 200 records/s
    worse = decide(SPEC, due(200, 250_000, 10, rate=None, total=1000.0), flat, NOW)
    assert (worse.desired, worse.deadline_at_risk) == (5, False)  # all may have become slower
    assert worse.reason is Reason.DATABASE_IS_THE_LIMIT
    again = Seen(signers=5, rate=990.0, samples=3, at=NOW - 1)
    sure = History(seen=(*flat.seen[1:], again), short_since=NOW - 5)
    assert decide(SPEC, due(200, 250_000, 5, rate=None, total=990.0), sure, NOW).deadline_at_risk


def test_until_a_rate_is_known_the_lag_decides() -> None:
    assert decide(SPEC, due(75, rate=None, lag=7), EMPTY, NOW).reason is Reason.LAG
    assert decide(SPEC, due(75, rate=0.0, lag=7), EMPTY, NOW).reason is Reason.LAG
    assert decide(SPEC, due(75, left=None, lag=7), EMPTY, NOW).reason is Reason.LAG
    assert decide(SPEC, due(75, left=0, lag=7), EMPTY, NOW).reason is Reason.LAG


def test_the_rate_of_a_signer_is_that_of_all_over_those_ready() -> None:
    assert (
        desired(SPEC, due(65, 60_000, 4, rate=None, total=400.0)) == 8
    )  # 14, of which 4 at a time may be added
    assert desired(SPEC, due(66, 60_000, 11, rate=None, total=1100.0)) == 11


def test_a_deadline_needs_work_to_start_a_signer() -> None:
    assert desired(SPEC, due(75, lag=0)) == 0


def test_a_deadline_is_bounded_as_any_count() -> None:
    decision = decide(SPEC, due(75, keys=4), EMPTY, NOW)
    assert (decision.desired, decision.limit) == (4, Limit(LimitName.ACTIVE_KEYS, 4))


def test_a_job_on_pace_keeps_its_count_to_the_end() -> None:
    step, rate = 15.0, 100.0
    observations = [due(600 - step * number, 59_500 - int(number * step * rate)) for number in range(39)]
    played = play(SPEC, observations, every=0.0)
    assert counts(played)[0] == 2  # the one formula, with a start
    assert set(counts(played)[1:]) == {2}  # one would end on time, without a margin


@pytest.mark.parametrize(
    ("left", "total", "eta"),
    [(1000, 10.0, 100.0), (0, None, 0.0), (0, 5.0, 0.0), (None, 5.0, None), (9, None, None), (9, 0.0, None)],
)
def test_the_eta_is_what_is_left_over_the_rate(
    left: int | None, total: float | None, eta: float | None
) -> None:
    assert decide(SPEC, due(None, left, 3, rate=None, total=total), EMPTY, NOW).eta_seconds == eta


def test_an_end_too_far_off_is_unknown() -> None:
    assert forecast(due(None, 2**62, 3, total=5e-324), 10, NOW).eta_seconds is None
    assert decide(SPEC, due(75, 2**62, rate=5e-324), EMPTY, NOW).desired == 100


def test_a_finishing_time_is_an_instant_or_counts_from_the_start() -> None:
    by = datetime(2027, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert finish_at(by, None, 5.0) == datetime(2027, 1, 1, 10, tzinfo=UTC).timestamp()
    assert finish_at(None, 60, 1000.0) == 1060.0
    assert finish_at(None, 60, None) is None
    assert finish_at(None, None, 1000.0) is None


@pytest.mark.parametrize(("left", "signers"), [(40_000, 46), (400_000, 100)])
def test_no_signer_is_added_that_would_start_after_the_end(left: int, signers: int) -> None:
    spec = ScalingSpec(lag_threshold=1, max_replica_count=100)
    late = due(11.0, left, 46, total=3_500.0)  # over 20 s, in which some came
    decision = decide(spec, late, History(), NOW)  # 46 sign 40,000 in 9 s, a start takes 10 s
    assert decision.recommendation == signers  # before: 100
