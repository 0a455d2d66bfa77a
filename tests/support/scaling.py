"""Observations for decisions, and a simulation of a job over many decisions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from vaultstream.api import ScalingSpec
from vaultstream.scaling.decide import decide
from vaultstream.scaling.decision import Decision
from vaultstream.scaling.history import History
from vaultstream.scaling.observation import (
    Lag,
    LagUnknown,
    Observation,
    Pause,
    Progress,
    Replicas,
    Timing,
)
from vaultstream.scaling.reasons import Reason

NOW = 1_800_000_000.0
FRESH = Timing(created_at=NOW)
LONG_AGO = Timing(created_at=NOW - 86_400)
EMPTY = History()


def seen(
    lag: int | Reason = 0,
    current: int = 0,
    *,
    ready: int | None = None,
    failures: int = 1,
    progress: Progress | None = None,
    keys: int | None = None,
    pause: Pause | None = None,
    timing: Timing = LONG_AGO,
) -> Observation:
    """An observation of a lag, or of a failure to read it, with `current` signers requested and ready."""
    if isinstance(lag, Reason):
        reading: Lag | LagUnknown = LagUnknown(lag, since=NOW - 5 * failures, failures=failures)
    else:
        reading = Lag(lag)
    return Observation(
        lag=reading,
        replicas=Replicas(current, current if ready is None else ready),
        timing=timing,
        progress=progress or Progress(),
        keys_active=keys,
        pause=pause or Pause(),
    )


def desired(spec: ScalingSpec, observation: Observation, history: History = EMPTY, now: float = NOW) -> int:
    return decide(spec, observation, history, now).desired


def play(
    spec: ScalingSpec,
    observations: Iterable[Observation],
    *,
    every: float = 15.0,
    history: History = EMPTY,
    start: float = NOW,
) -> list[Decision]:
    """Decides on one observation after the other and carries out each decision; returns the decided counts."""
    decisions: list[Decision] = []
    for number, given in enumerate(observations):
        now = start + number * every
        observation = given
        if decisions:
            count = decisions[-1].desired
            observation = replace(given, replicas=replace(given.replicas, current=count, ready=count))
        decision = decide(spec, observation, history, now)
        history = history.observed(spec, observation, decision, now).scaled(spec, decision, now)
        decisions.append(decision)
    return decisions


def counts(decisions: Iterable[Decision]) -> list[int]:
    return [decision.desired for decision in decisions]
