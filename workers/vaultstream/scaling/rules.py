"""The rules that follow the work: how many signers it needs, before windows, policies and pauses apply. `decide` has them in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vaultstream.api import ScalingSpec
from vaultstream.scaling import behavior
from vaultstream.scaling.bounds import Bounds
from vaultstream.scaling.deadline import AIM, ENOUGH_ERROR, FAR_STARTS, FIRST_ERROR
from vaultstream.scaling.decision import Limit
from vaultstream.scaling.experience import scaled_curve
from vaultstream.scaling.forecast import Forecast
from vaultstream.scaling.history import History
from vaultstream.scaling.observation import Observation
from vaultstream.scaling.reasons import OPENINGS, LimitName, Reason, Scalar
from vaultstream.scaling.throughput import Plateau
from vaultstream.scaling.worth import FIRST_STEP, enough_by_curve, worth, worth_by_curve


@dataclass(frozen=True, slots=True)
class ScalingCase:
    """The inputs of the rules, and values derived from them."""

    spec: ScalingSpec
    observation: Observation
    history: History
    now: float
    bounds: Bounds
    plateau: Plateau | None
    cap: Limit | None  # signers beyond this did not sign more, or have no node
    forecast: Forecast

    @property
    def current(self) -> int:
        return self.observation.replicas.current


@dataclass(frozen=True, slots=True)
class Proposal:
    """The count that a rule asks for, before the bounds apply."""

    replicas: int
    reason: Reason
    formula: str
    floor: Limit | None = None  # None: no bounds but the maximum
    paced: bool = False
    remembered: bool = False
    hold: bool = False
    pausing: bool = False
    limit: Limit | None = None
    cap: Limit | None = None  # holds at once, whatever HPA's behavior says
    facts: Mapping[str, Scalar] = field(default_factory=dict)


def wanted_by_work(case: ScalingCase, lag: int) -> Proposal:
    """Returns the count for the deadline or the lag, without signers that would start too late or not sign more."""
    wanted = _by_deadline(case) or _by_earlier_jobs(case, lag) or _by_work(case, lag)
    wanted = replace(wanted, cap=case.cap)
    kept = max(case.current, case.bounds.floor.value)
    eta, startup = case.forecast.eta_seconds, case.observation.timing.startup_seconds
    if wanted.replicas > kept and case.current > 0 and eta is not None and eta <= startup:
        limit = Limit(LimitName.STARTUP_TIME, kept)
        return replace(wanted, replicas=kept, reason=Reason.JOB_ENDS_FIRST, limit=limit)
    if case.cap is None or wanted.replicas <= case.cap.value or case.cap.value >= case.bounds.ceiling.value:
        return wanted
    wanted = replace(wanted, replicas=case.cap.value, limit=case.cap)
    if case.plateau is None or case.cap.name is not LimitName.THROUGHPUT:
        return wanted
    return replace(
        wanted, reason=Reason.DATABASE_IS_THE_LIMIT, facts={**wanted.facts, **case.plateau.facts()}
    )


def _by_deadline(case: ScalingCase) -> Proposal | None:
    deadline = case.forecast.deadline
    if deadline is None or _measuring(case):
        return None
    ceiling, floor = case.bounds.ceiling, case.bounds.floor
    facts: dict[str, Scalar] = {
        "deadlineSeconds": deadline.seconds,
        "recordsLeft": deadline.left,
        "ratePerSigner": deadline.rate,
    }
    if deadline.needed is None:
        return Proposal(ceiling.value, Reason.DEADLINE, deadline.formula, floor, limit=ceiling, facts=facts)
    return Proposal(deadline.needed, Reason.DEADLINE, deadline.formula, floor, facts=facts)


def _by_work(case: ScalingCase, lag: int) -> Proposal:
    """Returns the count for the lag threshold, or, without one, for the time that the work that is left takes."""
    spec, timing, progress, current = (
        case.spec,
        case.observation.timing,
        case.observation.progress,
        case.current,
    )
    rate, floor, left = case.forecast.rate_per_signer, case.bounds.floor, progress.records_believed
    if spec.lag_threshold is not None:
        wanted = _by_lag(case, lag, spec.lag_threshold)
        if not _measuring(case):
            return _at_least_measured(case, wanted, lag)
        count = min(wanted.replicas, max(current, FIRST_STEP))
        formula = f"min({wanted.formula}, max(current {current}, {FIRST_STEP})) = {count}"
        return replace(wanted, replicas=count, reason=Reason.FIRST_STEP, formula=formula)
    if rate is None and progress.ends_first:
        formula = f"{current}, which end the work before another starts"
        return Proposal(current, Reason.FIRST_STEP, formula, floor)
    if rate is None or not left or _measuring(case):
        count = max(current, min(FIRST_STEP, lag)) if lag else 0
        return Proposal(
            count, Reason.FIRST_STEP, f"max(current {current}, min({FIRST_STEP}, lag {lag})) = {count}", floor
        )
    most = max(1, case.bounds.ceiling.value)
    at_least = progress.planning_seconds or 0.0
    learned = scaled_curve(case.observation, case.history, case.now)
    if learned is not None:
        found = worth_by_curve(
            left, learned, running=current, most=most, startup=timing.startup_seconds, at_least=at_least
        )
    else:
        found = worth(
            left, rate, running=current, most=most, startup=timing.startup_seconds, at_least=at_least
        )
    count, formula = found.signers, found.formula
    if count != current and behavior.tolerable(spec.behavior, count, current):
        count, formula = current, f"{formula}, within tolerance of {current}"
    return Proposal(count, Reason.WORK_LEFT, formula, floor, facts={"recordsExpected": left})


def _by_earlier_jobs(case: ScalingCase, lag: int) -> Proposal | None:
    """Returns the count that earlier jobs lead to expect, while the rate of this one's signers is unknown; None: there were none."""
    learned, progress, timing = (
        case.observation.learned,
        case.observation.progress,
        case.observation.timing,
    )
    left, by_work = progress.records_believed, case.spec.lag_threshold is None
    if case.forecast.rate_per_signer is not None or learned is None or not left or not lag:
        return None
    most, startup = (
        max(1, min(case.bounds.ceiling.value, max(learned.most, FIRST_STEP))),
        timing.startup_seconds,
    )
    if progress.records_found is not None and progress.planning_seconds is None:
        most = min(most, FIRST_STEP)  # the records that are found first may be all for long
    if timing.finish_at is not None:
        left = max(left, progress.records_expected or 0)
        seconds = AIM * (timing.finish_at - case.now) - timing.drain_seconds
        waiting = startup if timing.waiting_seconds is None else timing.waiting_seconds
        found = enough_by_curve(left, learned.curve, most=most, seconds=seconds - waiting)
        if found.signers > case.current:  # others begin one start later than those that are starting
            found = enough_by_curve(left, learned.curve, most=most, seconds=seconds - startup)
    elif by_work:
        at_least = progress.planning_seconds or 0.0
        found = worth_by_curve(left, learned.curve, running=0, most=most, startup=startup, at_least=at_least)
    else:
        return None
    count, formula = max(case.current, min(found.signers, lag)), found.formula
    if count != found.signers:
        formula += f", max(current {case.current}, min({found.signers}, lag {lag})) = {count}"
    return Proposal(count, Reason.EARLIER_JOBS, formula, case.bounds.floor, facts={"recordsExpected": left})


def _at_least_measured(case: ScalingCase, wanted: Proposal, lag: int) -> Proposal:
    """Returns the count for the lag, or more if a finishing time is near and the rate that decides on it is not known yet."""
    count = max(case.current, min(FIRST_STEP, lag))
    if case.observation.timing.finish_at is None or case.forecast.rate_per_signer or wanted.replicas >= count:
        return wanted
    formula = f"max({wanted.formula}, min({FIRST_STEP}, lag {lag})) = {count}"
    return replace(wanted, replicas=count, reason=Reason.FIRST_STEP, formula=formula)


def _by_lag(case: ScalingCase, lag: int, threshold: int) -> Proposal:
    current = case.current
    count = -(-lag // threshold)
    formula = f"⌈{lag} / {threshold}⌉ = {count}"
    if (
        count != current
        and not is_resting(case)
        and behavior.within_tolerance(case.spec.behavior, lag, threshold, current)
    ):
        formula += f", {lag / (threshold * current):.3g} times lagThreshold per signer"
        return Proposal(current, Reason.WITHIN_TOLERANCE, formula, case.bounds.floor)
    return Proposal(count, Reason.LAG, formula, case.bounds.floor)


def _measuring(case: ScalingCase) -> bool:
    """Returns whether there is time to measure a few signers before the finishing time decides."""
    timing, progress = case.observation.timing, case.observation.progress
    if timing.finish_at is None or timing.finish_at - case.now <= FAR_STARTS * timing.startup_seconds:
        return False
    if case.forecast.deadline is None:
        return True
    enough = ENOUGH_ERROR if timing.waiting_seconds is None else FIRST_ERROR
    sure = progress.pace is not None and progress.pace.error <= enough
    asked = case.history.asked_lately(case.observation, case.now)
    return asked and not sure and is_opening(case) and progress.settling


def is_resting(case: ScalingCase) -> bool:
    return case.current == 0 or (case.bounds.rest is not None and case.current <= case.bounds.rest)


def is_opening(case: ScalingCase) -> bool:
    """Returns whether the next step is still part of the step from rest, which is not slowed down either.

    It is if the signers that run are those of the first step, or if they were asked for so lately that they can't sign yet: records are found
    page by page, and the first page is no reason to be slow with the others.
    """
    latest = case.history.changes[-1] if case.history.changes else None
    if latest is None or latest.after != case.current:
        return False
    if latest.reason in OPENINGS:
        return True
    begun = next((change.at for change in reversed(case.history.changes) if change.before == 0), None)
    soon = begun is not None and case.now - begun <= case.observation.timing.startup_seconds
    return soon and case.spec.lag_threshold is None
