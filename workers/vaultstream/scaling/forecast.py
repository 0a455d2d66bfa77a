"""When a job will end, and how many signers it takes to end in time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from vaultstream.scaling.deadline import (
    UNSURE,
    Deadline,
    Shortfall,
    deadline_of,
    expected_deadline,
    short_since,
)
from vaultstream.scaling.observation import Observation
from vaultstream.scaling.pace import SignerPace

FAR_SECONDS: Final = 100 * 365 * 86_400.0
"""A hundred years in seconds: a later end counts as unknown."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of a job.

    Attributes:
        eta_seconds: until its end at the rate measured now; None: unknown.
        rate_per_signer: records per second; None: unknown, or nothing is being signed.
        deadline: what the finishing time asks for; None: no finishing time, or an unknown rate.
        late: the finishing time has passed, with records left.
        expected: what earlier jobs lead to expect of the finishing time, as long as `deadline` is not known.
    """

    eta_seconds: float | None
    rate_per_signer: float | None
    deadline: Deadline | None
    late: bool
    expected: Deadline | None = None

    def hopeful(self) -> Forecast:
        """Returns the forecast of a job whose signers may do more than they seem to: a finishing time is not given up."""
        return replace(self, deadline=replace(self.deadline, hopeless=False) if self.deadline else None)


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
    pace = _pace(observation, rate)
    if not left or timing.finish_at is None:
        return Forecast(eta, rate, None, late)
    seconds = timing.finish_at - now
    if pace is None:
        return Forecast(
            eta, rate, None, late, expected_deadline(observation, left=left, seconds=seconds, most=most)
        )
    return Forecast(
        eta, rate, deadline_of(observation, left=left, pace=pace, seconds=seconds, most=most), late
    )


@dataclass(frozen=True, slots=True)
class Risk:
    """Whether a finishing time is at risk.

    Attributes:
        since: since when it can't be met, as far as is known, in Unix seconds; None: it can.
        shortfall: by how much it is missed; None: unknown, or it is not at risk.
    """

    at_risk: bool
    since: float | None
    shortfall: Shortfall | None

    def facts(self) -> dict[str, int]:
        """Returns its numbers as inputs of a decision."""
        return self.shortfall.facts() if self.shortfall else {}


def risk_of(foreseen: Forecast, before: float | None, *, poll: float, now: float) -> Risk:
    """Returns whether a finishing time is at risk.

    Args:
        foreseen: of the job.
        before: `since` of the decision before.
        poll: seconds from one poll to the next.
        now: Unix seconds.
    """
    due = foreseen.deadline or foreseen.expected
    since = short_since(before, due, poll=poll, now=now)
    at_risk = foreseen.late or (since is not None and now - since >= poll)
    return Risk(at_risk, since, due.shortfall if due and at_risk else None)


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


def _pace(observation: Observation, rate: float | None) -> SignerPace | None:
    """Returns the pace of a signer, or its rate, of which less is known; None: neither is known, or nothing is being signed."""
    progress = observation.progress
    if observation.replicas.ready > 0 and progress.records_per_second == 0:
        return None
    return progress.pace or (SignerPace(rate, UNSURE) if rate else None)


def _rate_per_signer(observation: Observation) -> float | None:
    progress, ready = observation.progress, observation.replicas.ready
    if ready > 0 and progress.records_per_second == 0:
        return None  # an earlier rate means nothing while nothing is signed
    return progress.rate_per_signer or None
