"""An observation completed by what earlier ones of the job have shown: how long a start takes, and what a signer signs."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vaultstream.scaling.curve import Curve
from vaultstream.scaling.history import LONGEST_START_SECONDS, History
from vaultstream.scaling.observation import Observation
from vaultstream.scaling.pace import SignerPace
from vaultstream.scaling.throughput import MEMORY_SECONDS, Plateau

LATELY_SECONDS: Final = 60.0
"""Seconds for which a rate that was seen is better than one that is measured while signers come or go."""


def with_experience(observation: Observation, history: History, now: float) -> Observation:
    """Returns the observation with the start-up time that was seen, and with the rate of a signer as it is known best.

    That is the rate of the signers that run. While signers come or go, it is the one that was seen just before, and then what was ever
    seen. Without one, it is what is settled per ready signer-second, once those that were asked for should be ready.

    Args:
        observation: what was observed.
        history: what earlier observations have shown.
        now: Unix seconds.
    """
    timing, progress = observation.timing, observation.progress
    startup = history.startup_seconds(timing.startup_seconds)
    if (
        timing.finish_at and history.starting and not history.starts
    ):  # the first start lasts longer than is usual
        startup = max(startup, min(LONGEST_START_SECONDS, now - history.starting.at))
    if startup != timing.startup_seconds:
        observation = replace(observation, timing=replace(timing, startup_seconds=startup))
    ready, starting = observation.replicas.ready, history.awaits_signers(observation, now)
    observation = _with_pace(observation, history, starting=starting, now=now)
    if starting:
        observation = _awaiting(observation, history, startup, now)
    timing, progress = observation.timing, observation.progress
    if progress.records_per_second == 0 and ready > 0:
        return observation
    mixed = ready > 0 and (starting or progress.settling)  # those that start may sign before they are ready
    measured = progress.rate_per_signer
    if measured is None and ready and progress.records_per_second:
        measured = progress.records_per_second / ready
    rate = None if mixed else measured
    lately = [one for one in history.seen if now - one.at <= LATELY_SECONDS]
    if progress.steady_rate and ready and not starting:
        rate = progress.steady_rate / ready
    elif seen := lately or (history.seen if rate is None else ()):
        nearest = min(seen, key=lambda one: abs(one.signers - ready))
        rate = nearest.rate / nearest.signers
    elif rate is None and not history.asked_lately(observation, now):
        rate = measured  # signers that come and go without end leave no better one
    ends_first = not starting and _ends_first(observation, measured)
    return replace(observation, progress=replace(progress, rate_per_signer=rate, ends_first=ends_first))


def _ends_first(observation: Observation, rate: float | None) -> bool:
    """Returns whether the signers that run end the work in half the time that another takes to start: their rate may be lower. `rate`: of one."""
    left, ready = observation.progress.records_believed, observation.replicas.ready
    if not rate or not left or not ready:
        return False
    return left / (rate * ready) <= observation.timing.startup_seconds / 2


def _with_pace(observation: Observation, history: History, *, starting: bool, now: float) -> Observation:
    """Returns the observation with the pace that is known best: while signers start, they may sign before they are seen as ready."""
    pace = observation.progress.pace_before if starting else observation.progress.pace
    before = history.pace
    if pace is None and before is not None and now - before.at <= MEMORY_SECONDS:
        pace = SignerPace(before.rate, before.error)
    return replace(observation, progress=replace(observation.progress, pace=pace))


def _awaiting(observation: Observation, history: History, startup: float, now: float) -> Observation:
    asked = history.asked_seconds(now)
    waiting = 0.0 if asked is None else max(0.0, startup - max(0.0, asked))
    return replace(observation, timing=replace(observation.timing, waiting_seconds=waiting))


def at_the_knee(observation: Observation, plateau: Plateau | None) -> Observation:
    """Returns the observation with the rate that a signer has where more signers add nothing: beyond, it only seems lower."""
    rate = observation.progress.rate_per_signer
    if plateau is None or rate is None:
        return observation
    best = max(plateau.fewer.rate, plateau.more.rate) / plateau.knee
    progress = replace(observation.progress, rate_per_signer=max(rate, best))
    if progress.pace is not None:
        progress = replace(progress, pace=replace(progress.pace, rate=max(progress.pace.rate, best)))
    return replace(observation, progress=progress)


def scaled_curve(observation: Observation, history: History, now: float) -> Curve | None:
    """Returns the curve of earlier jobs at the rate that this one's signers were seen to have; None if either is unknown.

    Args:
        observation: what was observed.
        history: what earlier observations have shown.
        now: Unix seconds.
    """
    learned = observation.learned
    if learned is None:
        return None
    lately = [one for one in history.seen if now - one.at <= LATELY_SECONDS]
    if lately:
        latest = max(lately, key=lambda one: one.at)
        return learned.curve.times(latest.rate / learned.curve(latest.signers)) if latest.rate > 0 else None
    ready, rate = observation.replicas.ready, observation.progress.rate_per_signer
    if not ready or not rate:
        return None
    return learned.curve.times(rate * ready / learned.curve(ready))
