"""Properties of every decision, whatever the spec and the observation."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from support.scaling import counts, play
from vaultstream.api import (
    Fallback,
    ScaleDownRules,
    ScaleUpRules,
    ScalingBehavior,
    ScalingPolicy,
    ScalingSpec,
)
from vaultstream.scaling.decide import decide
from vaultstream.scaling.decision import Decision
from vaultstream.scaling.history import Change, Entry, History
from vaultstream.scaling.observation import (
    Lag,
    LagUnknown,
    Observation,
    Pause,
    Progress,
    Replicas,
    Timing,
)
from vaultstream.scaling.reasons import LAG_PROBLEMS, LimitName, Reason
from vaultstream.scaling.throughput import Seen

pytestmark = pytest.mark.unit

NOW = 1_000_000.0
INT32 = 2**31 - 1
MANY = settings(max_examples=40, deadline=None)

# Small numbers mostly, so that thresholds, bounds and counts meet; and the far ends, so that nothing overflows.
COUNTS = st.integers(0, 30) | st.integers(0, 1000)
BATCHES = st.integers(0, 60) | st.integers(0, 2**63 - 1)
SECONDS = st.integers(0, 600) | st.integers(0, INT32)
TIMES = st.floats(NOW - 900, NOW + 900) | st.floats(-1e12, 1e12)
SPANS = st.floats(0, 100) | st.floats(0, 1e12)
RATES = st.none() | st.just(0.0) | st.floats(0, 1000) | st.floats(0, 1e12)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def policies(longest: int = 1800) -> st.SearchStrategy[tuple[ScalingPolicy, ...]]:
    kinds = st.sampled_from(["Pods", "Percent"])
    values = st.integers(1, 200) | st.integers(1, INT32)
    one = st.tuples(kinds, values, st.integers(1, longest)).map(
        lambda drawn: ScalingPolicy(type=drawn[0], value=drawn[1], period_seconds=drawn[2])
    )
    return st.lists(one, min_size=1, max_size=3).map(tuple)


@st.composite
def behaviors(draw: st.DrawFn, longest: int = 1800) -> ScalingBehavior:
    def rules() -> dict[str, Any]:
        return {
            "stabilization_window_seconds": draw(st.integers(0, longest)),
            "select_policy": draw(st.sampled_from(["Max", "Min", "Disabled"])),
            "tolerance": draw(st.floats(0, 0.5) | st.floats(0, 10)),
            "policies": draw(policies(longest)),
        }

    return ScalingBehavior(scale_up=ScaleUpRules(**rules()), scale_down=ScaleDownRules(**rules()))


@st.composite
def specs(draw: st.DrawFn, longest: int = 1800, most: int = 1000) -> ScalingSpec:
    least = draw(st.just(0) | st.integers(0, 20))
    fallback = draw(
        maybe(
            st.builds(
                Fallback.model_validate,
                st.fixed_dictionaries(
                    {
                        "failureThreshold": st.integers(0, 5),
                        "replicas": st.integers(0, 1000),
                        "behavior": st.sampled_from(
                            [
                                "static",
                                "currentReplicas",
                                "currentReplicasIfHigher",
                                "currentReplicasIfLower",
                            ]
                        ),
                    }
                ),
            )
        )
    )
    return ScalingSpec(
        cooldown_period=draw(st.integers(0, longest)),
        initial_cooldown_period=draw(st.integers(0, longest)),
        min_replica_count=least,
        max_replica_count=draw(maybe(st.integers(max(1, least), most))),
        idle_replica_count=draw(maybe(st.integers(0, least - 1))) if least else None,
        lag_threshold=draw(st.integers(1, 12) | st.integers(1, INT32)),
        activation_lag_threshold=draw(st.just(0) | st.integers(0, 60) | st.integers(0, INT32)),
        fallback=fallback,
        behavior=draw(behaviors(longest)),
    )


LAGS = st.builds(Lag, BATCHES, BATCHES, BATCHES)
UNKNOWN = st.builds(LagUnknown, st.sampled_from(LAG_PROBLEMS), TIMES, st.integers(0, 10))
PROGRESS = st.builds(Progress, maybe(BATCHES), maybe(BATCHES), st.booleans(), RATES, RATES)
TIMINGS = st.builds(Timing, TIMES, maybe(TIMES), SPANS, SPANS)
PAUSES = st.just(Pause()) | st.builds(
    Pause, st.booleans(), maybe(st.integers(0, 1000)), st.booleans(), st.booleans()
)
ENTRIES = st.lists(st.builds(Entry, at=TIMES, replicas=COUNTS), max_size=6).map(tuple)
SEEN = st.lists(
    st.builds(Seen, signers=st.integers(1, 60), rate=st.floats(0, 1e6), samples=st.integers(0, 4), at=TIMES),
    max_size=5,
)
CHANGES = st.lists(
    st.builds(Change, at=TIMES, before=COUNTS, after=COUNTS, reason=st.just("Lag")), max_size=3
)
HISTORIES = st.builds(
    History,
    highs=ENTRIES,
    lows=ENTRIES,
    added=ENTRIES,
    removed=ENTRIES,
    seen=SEEN.map(tuple),
    changes=CHANGES.map(tuple),
    last_active_at=maybe(TIMES),
)


@st.composite
def observations(
    draw: st.DrawFn,
    lags: st.SearchStrategy[Lag | LagUnknown] = LAGS | UNKNOWN,
    pauses: st.SearchStrategy[Pause] = PAUSES,
) -> Observation:
    current = draw(COUNTS)
    return Observation(
        lag=draw(lags),
        replicas=Replicas(current, draw(st.just(current) | COUNTS), draw(st.integers(0, 100))),
        timing=draw(TIMINGS),
        progress=draw(PROGRESS),
        keys_active=draw(maybe(COUNTS)),
        pause=draw(pauses),
    )


def most_of(spec: ScalingSpec, observation: Observation) -> int:
    return spec.max_replica_count or max(1, observation.replicas.platform_max)


def ceiling_of(spec: ScalingSpec, observation: Observation) -> int:
    progress, ceilings = observation.progress, [most_of(spec, observation)]
    if observation.keys_active is not None:
        ceilings.append(observation.keys_active)
    if progress.planned and progress.batches_left is not None:
        ceilings.append(progress.batches_left)
    return min(ceilings)


def free(decision: Decision) -> bool:
    return decision.hold or decision.reason in {Reason.PAUSED, Reason.PAUSED_REPLICAS}


@MANY
@given(specs(), observations(), HISTORIES)
def test_every_valid_input_has_one_decision_that_explains_itself(
    spec: ScalingSpec, observation: Observation, history: History
) -> None:
    decision = decide(spec, observation, history, NOW)
    assert decide(spec, observation, history, NOW) == decision
    assert decision.explain().endswith(".")
    assert "{" not in decision.explain()
    json.dumps(decision.dump(), allow_nan=False)
    after = history.observed(spec, observation, decision, NOW).scaled(spec, decision, NOW)
    assert (
        History.model_validate(json.loads(json.dumps(after.model_dump(mode="json"), allow_nan=False)))
        == after
    )


@MANY
@given(specs(), observations(), HISTORIES)
def test_the_count_is_between_zero_and_the_maximum(
    spec: ScalingSpec, observation: Observation, history: History
) -> None:
    assert 0 <= decide(spec, observation, history, NOW).desired <= most_of(spec, observation)


@MANY
@given(specs(), observations(LAGS, st.just(Pause())), HISTORIES)
def test_there_are_never_more_signers_than_keys_or_batches_left(
    spec: ScalingSpec, observation: Observation, history: History
) -> None:
    assert decide(spec, observation, history, NOW).desired <= ceiling_of(spec, observation)


@MANY
@given(specs(), observations(LAGS, st.just(Pause())), HISTORIES)
def test_there_are_never_fewer_signers_than_the_minimum_while_there_is_work(
    spec: ScalingSpec, observation: Observation, history: History
) -> None:
    assert isinstance(observation.lag, Lag)
    assume(observation.lag.total > spec.activation_lag_threshold)
    floor = min(max(1, spec.min_replica_count), ceiling_of(spec, observation))
    assert decide(spec, observation, history, NOW).desired >= floor


@MANY
@given(specs(), observations(LAGS), HISTORIES, st.integers(0, 200) | BATCHES, st.integers(0, 200) | BATCHES)
def test_more_lag_never_means_fewer_signers(
    spec: ScalingSpec, observation: Observation, history: History, one: int, other: int
) -> None:
    less, more = sorted((one, other))
    low, high = (
        decide(spec, replace(observation, lag=Lag(lag)), history, NOW).desired for lag in (less, more)
    )
    assert low <= high


@MANY
@given(specs(), observations(pauses=st.just(Pause())), HISTORIES)
def test_a_hold_never_changes_the_count(
    spec: ScalingSpec, observation: Observation, history: History
) -> None:
    decision = decide(spec, observation, history, NOW)
    assume(decision.hold)
    assert decision.desired == min(decision.current, most_of(spec, observation))


@MANY
@given(specs(), observations(UNKNOWN, st.just(Pause())), HISTORIES)
def test_an_unknown_lag_is_held_or_falls_back_and_never_reads_as_zero(
    spec: ScalingSpec, observation: Observation, history: History
) -> None:
    assume(not observation.progress.done)
    decision = decide(spec, observation, history, NOW)
    assert decision.hold or decision.reason is Reason.FALLBACK
    assert spec.fallback or decision.hold
    assert "lag" not in decision.inputs


@MANY
@given(specs(), observations(), HISTORIES)
def test_a_pause_wins_over_all_but_the_maximum(
    spec: ScalingSpec, observation: Observation, history: History
) -> None:
    pause, current = observation.pause, observation.replicas.current
    most = most_of(spec, observation)
    desired = decide(spec, observation, history, NOW).desired
    if pause.replicas is not None:
        assert desired == min(pause.replicas, most)
    elif pause.paused:
        assert desired == min(current, most)
    else:
        assert not pause.scale_in or desired >= min(current, most)
        assert not pause.scale_out or desired <= current


@MANY
@given(specs(), observations(), HISTORIES)
def test_a_limit_is_named_whenever_the_count_is_not_the_formulas(
    spec: ScalingSpec, observation: Observation, history: History
) -> None:
    decision = decide(spec, observation, history, NOW)
    if decision.limit is None and decision.reason is Reason.LAG:
        lag, threshold = decision.inputs["lag"], decision.inputs["lagThreshold"]
        assert isinstance(lag, int)
        assert isinstance(threshold, int)
        assert decision.desired == -(-lag // threshold)
    if decision.limit is not None and decision.limit.name is not LimitName.COOLDOWN_PERIOD:
        assert decision.limit.value == decision.desired


@settings(max_examples=60, deadline=None)
@given(
    specs(longest=60, most=40),
    st.integers(0, 500),
    st.integers(0, 40),
    HISTORIES,
    st.sampled_from([(5.0, None), (15.0, None), (15.0, 7), (30.0, 1)]),
)
def test_a_steady_lag_ends_in_one_count_without_flapping(
    spec: ScalingSpec, lag: int, current: int, history: History, case: tuple[float, int | None]
) -> None:
    every, keys = case
    observation = Observation(
        lag=Lag(lag),
        replicas=Replicas(current, current, 40),
        timing=Timing(created_at=NOW - 60),
        keys_active=keys,
    )
    # 40 steps of one signer each 60 s, after the longest window, cooldown and memory of throughput
    steps = int((40 * 60 + 60 + 120 + 900 + 60) / every) + 2
    played = counts(play(spec, [observation] * (steps + 20), every=every, history=history, start=NOW))
    assert len(set(played[steps:])) == 1
    directions = [after > before for before, after in pairwise(played) if after != before]
    assert sum(1 for before, after in pairwise(directions) if before != after) <= 1
