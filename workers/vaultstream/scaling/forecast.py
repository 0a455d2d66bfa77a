"""When a job will end, and how many signers it takes to end in time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vaultstream.scaling.observation import Observation
from vaultstream.scaling.worth import FIRST_STEP

FAR_SECONDS: Final = 100 * 365 * 86_400.0
"""A hundred years in seconds: a later end counts as unknown."""
FAR_STARTS: Final = 12.0
"""A finishing time that is farther than so many starts of a signer leaves the time to measure a few signers first."""
AIM: Final = 0.92
"""Share of the time left in which a job should end: the rest is the margin for a rate that falls."""
SURE: Final = 1.25
"""How many times the records that can be signed must be left, before a rate that settles raises an alarm."""
KEEP: Final = 0.97
"""Share of the time left in which the signers that run must be enough; if they are not, more are started."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The signers that a finishing time requires.

    Attributes:
        needed: signers that are enough; None: more than may run, or the time is too short for a new one.
        seconds: until the finishing time; negative: it has passed.
        left: records left, or expected to be.
        formula: how `needed` was computed, with its numbers.
    """

    needed: int | None
    seconds: float
    left: int
    formula: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of a job.

    Attributes:
        eta_seconds: until its end at the rate measured now; None: unknown.
        rate_per_signer: records per second; None: unknown, or nothing is being signed.
        deadline: what the finishing time asks for; None: no finishing time, or an unknown rate.
        at_risk: the finishing time will be missed even with `most` signers, or has passed with records left. A rate that is still settling raises an alarm only if it is far too low.
    """

    eta_seconds: float | None
    rate_per_signer: float | None
    deadline: Deadline | None
    at_risk: bool


def forecast(observation: Observation, most: int, now: float) -> Forecast:
    """Returns the forecast of a job.

    Args:
        observation: what was observed.
        most: signers that may run at most, `maxReplicaCount`, keys, batches and throughput considered.
        now: Unix seconds.
    """
    timing, progress = observation.timing, observation.progress
    rate = _rate_per_signer(observation)
    eta = time_left(progress.records_left, progress.records_per_second)
    left = progress.records_expected if progress.records_left is None else progress.records_left
    late = timing.finish_at is not None and timing.finish_at <= now and bool(left)
    if not left or rate is None or timing.finish_at is None:
        return Forecast(eta, rate, None, late)
    deadline = _deadline(observation, left, rate, timing.finish_at - now, most)
    missed = deadline.needed is None and (
        not observation.progress.settling or left > SURE * rate * max(0.0, deadline.seconds) * most
    )
    return Forecast(eta, rate, deadline, late or missed)


def time_left(records_left: int | None, rate: float | None) -> float | None:
    """Returns the seconds until a job ends; None: unknown, or later than FAR_SECONDS.

    Args:
        records_left: records that are neither signed nor dead; None: unknown, because not all are planned.
        rate: records per second; None: unknown.
    """
    if records_left is None or (records_left > 0 and not rate):
        return None
    seconds = records_left / rate if rate else 0.0
    return seconds if seconds < FAR_SECONDS else None


def finish_at(
    finish_by: datetime | None, finish_within: int | None, started_at: float | None
) -> float | None:
    """Returns when a job should have ended, in Unix seconds; None: no such time, or not started yet.

    Args:
        finish_by: `finishBy`, with its zone.
        finish_within: `finishWithin`, in seconds from the start.
        started_at: when the job started, in Unix seconds.
    """
    if finish_by is not None:
        return finish_by.timestamp()
    if finish_within is not None and started_at is not None:
        return started_at + finish_within
    return None


def _rate_per_signer(observation: Observation) -> float | None:
    progress, ready = observation.progress, observation.replicas.ready
    if ready > 0 and progress.records_per_second == 0:
        return None  # an earlier rate means nothing while nothing is signed
    return progress.rate_per_signer or None


def _deadline(observation: Observation, left: int, rate: float, seconds: float, most: int) -> Deadline:
    """⌈left / (rate · (0.92 · time left - start - drain))⌉; signers that run already need no start.

    Signers that run are kept as long as half of the margin is left: noise in the rate does not change the count. There is no
    margin while the rate is one of few signers and the time is long: what is missing is added once more signers have shown theirs.
    """
    timing, replicas = observation.timing, observation.replicas
    current, drain, start = replicas.current, timing.drain_seconds, timing.startup_seconds
    few = 0 < replicas.ready <= FIRST_STEP or replicas.ready < current or observation.progress.settling
    aim, keep = (1.0, 1.0) if few and seconds > FAR_STARTS * start else (AIM, KEEP)
    for share in (AIM, keep):
        running = _needed(left, rate, share * seconds - drain, most)
        if running is not None and running <= current:
            count = running if share == AIM else current
            terms = f"{share:g} · {seconds:.0f} s - {drain:g} s drain"
            return Deadline(count, seconds, left, f"⌈{left} / ({rate:.4g} · ({terms}))⌉ = {running}")
    needed = _needed(left, rate, aim * seconds - start - drain, most)
    if needed is None and left <= rate * max(0.0, seconds - start - drain) * most:
        needed = most  # without the margin
    terms = f"{aim:g} · {seconds:.0f} s - {start:g} s start - {drain:g} s drain"
    result = f"more than {most}" if needed is None else needed
    return Deadline(needed, seconds, left, f"⌈{left} / ({rate:.4g} · ({terms}))⌉ = {result}")


def _needed(left: int, rate: float, seconds: float, most: int) -> int | None:
    # compared before it is divided: a product of small numbers may be too small to divide by
    if seconds <= 0 or left > rate * seconds * most:
        return None
    return min(most, math.ceil(left / (rate * seconds)))
