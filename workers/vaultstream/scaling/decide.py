"""How many signers a job runs: one pure function from what was observed to a decision that explains itself.

The first rule that applies sets the count, and then the bounds apply. docs/scaling.md has the same table.

| # | Reason | When | Signers | Bounded by |
| --- | --- | --- | --- | --- |
| 1 | `PausedReplicas` | annotation `paused-replicas` | that number | max |
| 2 | `Paused` | annotation `paused` | unchanged | max |
| 3 | `JobDone` | all batches are planned, and none is left | 0, at once | D |
| 4 | `Fallback` | the lag could not be read more than `fallback.failureThreshold` times in a row | from `fallback.behavior` | B H D |
| 5 | `ConsumerMissing`, `NatsUnreachable`, `PostgresUnreachable` | the lag cannot be read | unchanged: a hold | max |
| 6 | `NothingSigned` | lag > 0, signers are ready, and none of them has signed anything for 20 s | unchanged: a hold | max |
| 7 | `Idle` | no activity, and no more than *rest* run | rest | B D |
| 8 | `CooldownOver` | no activity for a whole `cooldownPeriod` | rest | B D |
| 9 | the reason of 11 to 16 | activity, and no more than rest run | as 11 to 16, in one step | B D |
| 10 | `CoolingDown` | no activity, and the cooldown has not ended | as 11 to 16, but none is added | B H D |
| 11 | `Deadline` | a finishing time is set, and the rate per signer is known | those that run, and ⌈(records left - what they sign) / (rate per signer · seconds)⌉ more | B H D |
| 12 | `EarlierJobs` | no rate per signer is known, earlier jobs of the same kind have shown one, and `lagThreshold` is not set or a finishing time is | the fewest that end the work within 10 % of the earliest end, or in time, by what they signed | B H D |
| 13 | `FirstStep` | no rate per signer is known, and `lagThreshold` is not set or a finishing time is | 4, or as many as run | B H D |
| 14 | `WorkLeft` | `lagThreshold` is not set | the fewest that end the work within 10 % of the earliest end | B H D |
| 15 | `WithinTolerance` | the lag per signer is within `tolerance` of `lagThreshold` | unchanged | B H D |
| 16 | `Lag` | otherwise | ⌈lag / `lagThreshold`⌉ | B H D |

- Bounded by **max**: `maxReplicaCount` alone. **B**, bounds: at least `minReplicaCount` (and one, while there is work), at
  most `maxReplicaCount`, the active keys, the batches left and what Postgres has connections for. They hold at once. **H**, HPA's `behavior`: stabilization
  windows, then policies, then B again. **D**, directions: `paused-scale-in` and `paused-scale-out`.
- *Activity* is a lag above `activationLagThreshold`. Once all batches of a job are planned, it is a lag above 0: the batches that
  are left will never become more, so they would wait forever.
- *Rest* is `idleReplicaCount`, or 0 if `minReplicaCount` is 0. With a minimum above 0 and no idle count there is no
  rest, and activation and cooldown have no effect: as in KEDA.
- A hold keeps the count because a reading is missing, so only `maxReplicaCount`, which takes no reading, bounds it.
  Rule 6 holds only a count that is within its bounds.
- Rule 9: KEDA starts one signer and leaves the others to HPA, which doubles them every 15 s. Here windows and policies
  neither slow down nor count the step from rest. If `scaleUp.selectPolicy` is Disabled, the step goes to
  `minReplicaCount`, or to one, as KEDA's own step does.
- Rule 11 replaces the lag: the lag of a bulk job asks for all signers from its start to its end, while a finishing time
  says how many are enough. If even the maximum is not enough, the maximum is wanted.
- Rule 13: the step that follows it is the second half of the step from rest, so windows and policies don't slow it down either.
- Rule 14: signers that are added begin one start later. A signer that would shorten the job by little is not worth its start.
- Rules 9 to 16 add no signers if the job ends before a new one is ready, and keep none beyond the knee, the count at which more
  signers were seen to sign no more records per second, nor more than have a node if the job ends before a node could be added. This
  holds at once, unless `scaleDown.selectPolicy` is Disabled: no later need brings the lost work back.
- A pause wins over everything except `maxReplicaCount`.

The caller applies `pollingInterval`: how often to decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vaultstream.api import ScalingSpec
from vaultstream.scaling import behavior
from vaultstream.scaling.bounds import NODE_SECONDS, bounds, cap_of
from vaultstream.scaling.decision import Decision, Limit
from vaultstream.scaling.experience import at_the_knee, with_experience
from vaultstream.scaling.fallback import fallback_count
from vaultstream.scaling.forecast import forecast, risk_of
from vaultstream.scaling.history import History, active
from vaultstream.scaling.observation import Lag, LagUnknown, Observation, moment_text
from vaultstream.scaling.reasons import LimitName, Reason, Scalar, reason_clause
from vaultstream.scaling.rules import Proposal, ScalingCase, is_opening, is_resting, wanted_by_work
from vaultstream.scaling.throughput import plateau_of


def decide(spec: ScalingSpec, observation: Observation, history: History, now: float) -> Decision:
    """Returns how many signers to run, and why. Never raises for valid arguments; equal ones give equal decisions.

    `decide_next` also returns the history after it, for a caller that carries the decision out.

    Args:
        spec: `spec.scaling` of the job.
        observation: what was observed.
        history: the state kept from earlier decisions.
        now: Unix seconds.
    """
    observation = with_experience(observation, history, now)
    limits = bounds(spec, observation)
    flat = plateau_of(history.seen, now, history.short)
    withdrawn, waited = history.withdrawn_lately(NODE_SECONDS, now), history.asked_seconds(now) or 0.0
    cap = cap_of(observation, limits, flat, withdrawn=withdrawn, waited=waited)
    most = min(limits.ceiling.value, cap.value) if cap else limits.ceiling.value
    if observation.replicas.unplaced:
        most = min(most, observation.replicas.placed)
    foreseen = forecast(at_the_knee(observation, flat), most, now)
    if flat is not None and not flat.confirmed(now):
        foreseen = foreseen.hopeful()
    case = ScalingCase(spec, observation, history, now, limits, flat, cap, foreseen)
    return _settled(case, _proposal(case))


def decide_next(
    spec: ScalingSpec, observation: Observation, history: History, now: float
) -> tuple[Decision, History]:
    """Returns what `decide` does, for a caller that carries the decision out, and the history for the next one."""
    decision = decide(spec, observation, history, now)
    return decision, history.observed(spec, observation, decision, now).scaled(spec, decision, now)


def _proposal(case: ScalingCase) -> Proposal:
    pause, lag, current = case.observation.pause, case.observation.lag, case.current
    if pause.replicas is not None:
        formula = f"paused-replicas = {pause.replicas}"
        facts: dict[str, Scalar] = {"pausedReplicas": pause.replicas}
        return Proposal(pause.replicas, Reason.PAUSED_REPLICAS, formula, pausing=True, facts=facts)
    if pause.paused:
        return Proposal(current, Reason.PAUSED, f"current = {current}", pausing=True)
    if case.observation.progress.done:
        return Proposal(0, Reason.JOB_DONE, "batches left = 0")
    if isinstance(lag, LagUnknown):
        return _without_lag(case, lag)
    return _with_lag(case, lag.total)


def _without_lag(case: ScalingCase, unknown: LagUnknown) -> Proposal:
    facts: dict[str, Scalar] = {"holdState": str(unknown.state), "heldSince": moment_text(unknown.since)}
    fallback = case.spec.fallback
    if fallback is None:
        return _held(case, unknown.state, facts)
    # Counted only as far as it matters, so that a long outage does not change the decision at each reconcile.
    facts["failures"] = min(unknown.failures, fallback.failure_threshold + 1)
    if unknown.failures <= fallback.failure_threshold:
        return _held(case, unknown.state, facts)
    facts |= {
        "failureThreshold": fallback.failure_threshold,
        "fallbackReplicas": fallback.replicas,
        "fallbackBehavior": fallback.behavior,
    }
    count, formula = fallback_count(fallback, case.current)
    return _following(case, Proposal(count, Reason.FALLBACK, formula, case.bounds.least, facts=facts))


def _with_lag(case: ScalingCase, lag: int) -> Proposal:
    spec, current, rest = case.spec, case.current, case.bounds.rest
    progress, ready = case.observation.progress, case.observation.replicas.ready
    if lag > 0 and ready > 0 and progress.records_per_second == 0 and case.bounds.contain(current):
        return _held(case, Reason.NOTHING_SIGNED, {})
    if rest is None or active(spec, case.observation):
        return _following(case, wanted_by_work(case, lag))
    none = Limit(LimitName.MIN_REPLICA_COUNT, 0)
    formula = f"lag {lag} ≤ activationLagThreshold {spec.activation_lag_threshold}, so {rest}"
    if current <= rest:
        return Proposal(rest, Reason.IDLE, formula, none)
    left = _cooldown_left(case)
    if left <= 0:
        return Proposal(rest, Reason.COOLDOWN_OVER, formula, none)
    return _following(case, _cooling(case, wanted_by_work(case, lag), left))


def _held(case: ScalingCase, reason: Reason, facts: Mapping[str, Scalar]) -> Proposal:
    return Proposal(case.current, reason, f"current = {case.current}", hold=True, facts=facts)


def _cooldown_left(case: ScalingCase) -> float:
    begun = case.observation.timing.created_at + case.spec.initial_cooldown_period
    if case.history.last_active_at is not None:
        begun = max(begun, case.history.last_active_at)
    return begun + case.spec.cooldown_period - case.now


def _cooling(case: ScalingCase, wanted: Proposal, left: float) -> Proposal:
    """Returns the wanted count, without adding signers while there is no work or removing the last ones during the cooldown."""
    most = max(case.current, case.bounds.floor.value)
    replicas, limit = wanted.replicas, wanted.limit
    if replicas > most:
        replicas, limit = most, Limit(LimitName.COOLDOWN_PERIOD, most)
    if replicas < case.bounds.floor.value and case.spec.min_replica_count == 0:
        replicas = case.bounds.floor.value
        limit = Limit(LimitName.COOLDOWN_PERIOD, replicas)
    facts: dict[str, Scalar] = {
        **wanted.facts,
        "cooldownLeft": left,
        "cooldownEnds": moment_text(case.now + left),
    }
    return replace(wanted, replicas=replicas, reason=Reason.COOLING_DOWN, limit=limit, facts=facts)


def _following(case: ScalingCase, proposal: Proposal) -> Proposal:
    """Returns the proposal with HPA's behavior applied, unless it is the step from rest."""
    if not is_resting(case) and not (is_opening(case) and proposal.replicas > case.current):
        return replace(proposal, paced=True, remembered=True)
    if (
        case.spec.behavior.scale_up.select_policy == "Disabled"
        and proposal.replicas > case.bounds.floor.value
    ):
        limit = Limit(LimitName.SCALE_UP_DISABLED, case.bounds.floor.value)
        return replace(proposal, replicas=limit.value, limit=limit)
    return replace(proposal, remembered=True)


def _settled(case: ScalingCase, proposal: Proposal) -> Decision:
    desired, limit, recommendation = proposal.replicas, proposal.limit, None

    def bind(outcome: tuple[int, Limit | None]) -> None:
        nonlocal desired, limit
        desired, bound = outcome
        limit = bound or limit

    if proposal.floor is not None:
        bind(case.bounds.bounded(desired, proposal.floor))
        recommendation = desired if proposal.remembered else None
        if proposal.paced:
            hpa = case.spec.behavior
            bind(behavior.stabilized(hpa, case.history, case.current, desired, case.now))
            bind(behavior.paced(hpa, case.history, case.current, desired, case.now))
            bind(case.bounds.bounded(desired, proposal.floor))
        if proposal.cap is not None and desired > proposal.cap.value:
            bind(behavior.capped(case.spec.behavior, case.current, proposal.cap))
    if not proposal.pausing:
        bind(_directed(case, desired))
    if desired > case.bounds.most.value:
        bind((case.bounds.most.value, case.bounds.most))
    over = case.observation.progress.records_left == 0 or case.observation.timing.finish_at is None
    before, poll = None if over else case.history.short_since, float(case.spec.polling_interval)
    risk = risk_of(case.forecast, before, poll=poll, now=case.now)
    inputs = {**_inputs(case), **proposal.facts, **risk.facts()}
    return Decision(
        desired=desired,
        current=case.current,
        reason=proposal.reason,
        limit=limit,
        inputs=inputs,
        formula=proposal.formula,
        hold=proposal.hold,
        message=reason_clause(proposal.reason, inputs),
        recommendation=recommendation,
        paced=proposal.paced,
        eta_seconds=case.forecast.eta_seconds,
        deadline_at_risk=risk.at_risk,
        short_since=risk.since,
        shortfall=risk.shortfall,
        unmeasured=case.history.unmeasured(case.observation, case.now),
    )


def _directed(case: ScalingCase, desired: int) -> tuple[int, Limit | None]:
    pause, current = case.observation.pause, case.current
    if pause.scale_in and desired < current:
        return current, Limit(LimitName.PAUSED_SCALE_IN, current)
    if pause.scale_out and desired > current:
        return current, Limit(LimitName.PAUSED_SCALE_OUT, current)
    return desired, None


def _inputs(case: ScalingCase) -> dict[str, Scalar]:
    lag, progress, replicas = case.observation.lag, case.observation.progress, case.observation.replicas
    known: dict[str, Scalar | None] = {
        "current": replicas.current,
        "ready": replicas.ready,
        "min": case.spec.min_replica_count,
        "max": case.bounds.most.value,
        "lag": lag.total if isinstance(lag, Lag) else None,
        "lagThreshold": case.spec.lag_threshold,
        "activationLagThreshold": case.spec.activation_lag_threshold,
        "cooldownPeriod": case.spec.cooldown_period,
        "keysActive": case.observation.keys_active,
        "keysAsked": case.observation.keys_asked,
        "connectionsLeft": case.observation.connections_left
        if case.bounds.ceiling.name is LimitName.DATABASE_CONNECTIONS
        else None,
        "batchesLeft": progress.batches_left,
        "recordsLeft": progress.records_left,
        "recordsPerSecond": progress.records_per_second,
        "ratePerSigner": case.forecast.rate_per_signer,
        "etaSeconds": case.forecast.eta_seconds,
        "unplaced": replicas.unplaced or None,
        "startupSeconds": case.observation.timing.startup_seconds,
    }
    return {name: value for name, value in known.items() if value is not None}
